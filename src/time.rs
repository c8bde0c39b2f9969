//! Points in time with millisecond precision, as in the record and on the wire.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Rounds a time down to milliseconds, so that storing it does not change it.
pub(crate) fn to_millis(time: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis_since_epoch(time))
}

/// Returns the instant after this time, or in a hundred years if the time is too long.
pub(crate) fn deadline(after: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(after).unwrap_or_else(|| now + CENTURY)
}

pub(crate) fn millis_since_epoch(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the last time that can be written in milliseconds, or what comes closest to it.
pub(crate) fn never() -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(u64::MAX)).unwrap_or(UNIX_EPOCH + CENTURY)
}

/// `2013-07-18T17:56:22.186Z`: RFC 3339 in UTC with milliseconds.
pub(crate) fn to_rfc3339(time: SystemTime) -> String {
    let millis = i64::try_from(millis_since_epoch(time)).unwrap_or(i64::MAX);
    let timestamp = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    format!("{timestamp:.3}")
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`: the date format of HTTP (RFC 9110, 5.6.7).
pub(crate) fn to_imf_fixdate(time: SystemTime) -> String {
    let millis = i64::try_from(millis_since_epoch(time)).unwrap_or(i64::MAX);
    let timestamp = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    // Years after 9999 cannot be written.
    printer.timestamp_to_rfc9110_string(&timestamp).unwrap_or_default()
}

/// Serialises a `SystemTime` as milliseconds since the Unix epoch.
pub(crate) mod millis {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(super::millis_since_epoch(*time))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        UNIX_EPOCH
            .checked_add(Duration::from_millis(u64::deserialize(from)?))
            .ok_or_else(|| serde::de::Error::custom("a time that is out of range"))
    }
}

/// Does the same for an upload that may never expire.
pub(crate) mod millis_option {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Millis(#[serde(with = "super::millis")] SystemTime);

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<SystemTime>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(Millis).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        Ok(Option::<Millis>::deserialize(from)?.map(|millis| millis.0))
    }
}

const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_format_has_three_digits_always() {
        let at = |millis| to_rfc3339(UNIX_EPOCH + Duration::from_millis(millis));
        assert_eq!(at(1_374_170_182_186), "2013-07-18T17:56:22.186Z");
        assert_eq!(at(1_374_170_182_000), "2013-07-18T17:56:22.000Z");
        // Windows has no such time.
        if let Some(far) = UNIX_EPOCH.checked_add(Duration::from_millis(u64::MAX)) {
            assert_eq!(to_rfc3339(far), at(u64::MAX));
        }
    }

    #[test]
    fn cutting_to_milliseconds_rounds_down() {
        let fine = UNIX_EPOCH + Duration::from_nanos(1_999_999);
        assert_eq!(to_millis(fine), UNIX_EPOCH + Duration::from_millis(1));
    }
}
