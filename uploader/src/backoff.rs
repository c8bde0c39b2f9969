//! How long to wait before the next try.

use std::time::Duration;

use jiff::Timestamp;

/// The wait after this many failures in a row; the server may have said how long.
///
/// `jitter`, from 0 to 1, separates clients that failed at the same moment.
pub(crate) fn delay(failures: u32, told: Option<Duration>, jitter: f64) -> Duration {
    match told {
        Some(told) => told.min(LONGEST_TOLD) + FIRST.mul_f64(jitter),
        None => {
            let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
            FIRST.saturating_mul(doubled).min(LONGEST).mul_f64(0.5 + jitter / 2.0)
        }
    }
}

/// Reads a `Retry-After`: seconds, or a date.
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    // There is no wait for a date in the past.
    Some(date.duration_since(now).try_into().unwrap_or_default())
}

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// A server that asks for a year has made a mistake.
const LONGEST_TOLD: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_a_bound() {
        let longest = |failures| delay(failures, None, 1.0);
        assert_eq!(longest(1), FIRST);
        assert_eq!(longest(2), 2 * FIRST);
        assert_eq!(longest(3), 4 * FIRST);
        for failures in [7, 31, 32, 33, u32::MAX] {
            assert_eq!(longest(failures), LONGEST, "{failures}");
            assert_eq!(delay(failures, None, 0.0), LONGEST / 2, "{failures}");
        }
    }

    #[test]
    fn what_the_server_says_is_kept_to() {
        let told = Duration::from_secs(7);
        assert_eq!(delay(9, Some(told), 0.0), told);
        assert_eq!(delay(1, Some(told), 1.0), told + FIRST);
        assert_eq!(delay(1, Some(Duration::MAX), 0.0), LONGEST_TOLD);
    }

    #[test]
    fn a_retry_after_is_seconds_or_a_date() {
        let now = "1994-11-06T08:49:30Z".parse().unwrap();
        let seconds = |value| retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
        assert_eq!(seconds("Sat, 05 Nov 1994 08:49:37 GMT"), Some(0));
        for value in ["", "-1", "1.5", "soon", "99999999999999999999"] {
            assert_eq!(seconds(value), None, "{value}");
        }
    }
}
