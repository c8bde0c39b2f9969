//! The id of an upload.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The id of an upload: the 32 lower-case hex digits of a random UUID (version 4), or of one
/// (version 8) that follows from an [idempotency key](crate::IdempotencyKey).
///
/// Anyone who knows an id and is its owner can write to the upload. So an id is a secret, and
/// `Debug` only shows its [fingerprint](Self::fingerprint). `Display` shows all of it.
///
/// An id has only one spelling. A text with upper-case digits, dashes or whitespace is not an id,
/// so an `UploadId` needs no escaping in a path or a header. Do not log it: log its
/// [fingerprint](Self::fingerprint).
///
/// ```
/// use tower_chunked_upload::UploadId;
///
/// let id = UploadId::random();
/// assert_eq!(id.as_str().parse::<UploadId>().unwrap(), id);
/// assert!("5230EC1F59D1485D9D7974B853802E31".parse::<UploadId>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId([u8; LENGTH]);

impl UploadId {
    /// Creates an id from 122 random bits of the operating system.
    pub fn random() -> Self {
        let mut digits = [0; LENGTH];
        random_uuid().as_simple().encode_lower(&mut digits);
        Self(digits)
    }

    /// Returns a short text that stands for the id in logs, where the id itself must not appear:
    /// the first 12 digits of the SHA-256 of its 32 digits. In a shell:
    ///
    /// ```sh
    /// printf %s "$id" | sha256sum | cut -c -12
    /// ```
    ///
    /// The id cannot be computed from it.
    ///
    /// ```
    /// use tower_chunked_upload::UploadId;
    ///
    /// let id: UploadId = "5230ec1f59d1485d9d7974b853802e31".parse().unwrap();
    /// assert_eq!(id.fingerprint(), "9ddb9fd519b3");
    /// ```
    pub fn fingerprint(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(self.0)[..6])
    }

    /// The id that follows from these parts, and from no others.
    pub(crate) fn derived<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let hash: [u8; 32] = hash.finalize().into();
        let (bytes, _) = hash.split_first_chunk().unwrap_or((&[0; 16], &[]));
        let mut digits = [0; LENGTH];
        uuid::Builder::from_custom_bytes(*bytes).into_uuid().as_simple().encode_lower(&mut digits);
        Self(digits)
    }

    /// Returns the 32 digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Returns 122 random bits of the operating system, or in a simulation, of its seed.
pub(crate) fn random_uuid() -> Uuid {
    #[cfg(test)]
    if let Some(bytes) = seeded::bytes() {
        return uuid::Builder::from_random_bytes(bytes).into_uuid();
    }
    Uuid::new_v4()
}

#[cfg(test)]
pub(crate) mod seeded {
    use std::cell::RefCell;

    thread_local! {
        static DICE: RefCell<Option<fastrand::Rng>> = const { RefCell::new(None) };
    }

    // Only used by the simulation.
    #[cfg(all(feature = "object-store", feature = "tokens"))]
    /// From now on, random bits on this thread come from the seed, or from the system again.
    pub(crate) fn set(seed: Option<u64>) {
        DICE.set(seed.map(fastrand::Rng::with_seed));
    }

    pub(super) fn bytes() -> Option<[u8; 16]> {
        DICE.with_borrow_mut(|dice| Some(dice.as_mut()?.u128(..).to_le_bytes()))
    }
}

impl FromStr for UploadId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let digits = text.as_bytes().try_into().ok();
        let digits = digits.filter(|digits: &[u8; LENGTH]| digits.iter().all(is_digit));
        digits.map(Self).ok_or(ParseIdError(()))
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UploadId(#{})", self.fingerprint())
    }
}

impl Serialize for UploadId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for UploadId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The error for a text that is not an [`UploadId`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseIdError(());

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an upload id has 32 lower-case hex digits")
    }
}

impl std::error::Error for ParseIdError {}

pub(crate) const LENGTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_are_version_4_and_differ() {
        let (one, two) = (UploadId::random(), UploadId::random());
        assert_ne!(one, two);
        assert_eq!(&one.as_str()[12..13], "4");
        assert_eq!(one.as_str().parse(), Ok(one));
    }

    #[test]
    fn derived_ids_differ_where_their_parts_do() {
        let derived =
            |parts: &[&'static str]| UploadId::derived(parts.iter().map(|it| it.as_bytes()));
        assert_eq!(derived(&["a", "b"]), derived(&["a", "b"]));
        for other in [&["ab"][..], &["a", "", "b"], &["", "ab"], &["b", "a"], &[]] {
            assert_ne!(derived(&["a", "b"]), derived(other), "{other:?}");
        }
        assert_eq!(&derived(&["a"]).as_str()[12..13], "8");
    }

    #[test]
    fn only_one_spelling_is_an_id() {
        let good = "5230ec1f59d1485d9d7974b853802e31";
        assert!(good.parse::<UploadId>().is_ok());
        for bad in [
            "",
            "5230ec1f",
            "5230EC1F59D1485D9D7974B853802E31",
            "5230ec1f-59d1-485d-9d79-74b853802e31",
            "{5230ec1f59d1485d9d7974b853802e}",
            " 5230ec1f59d1485d9d7974b853802e3",
            "5230ec1f59d1485d9d7974b853802e3/",
            "../../../../../../../../etc/pass",
            "٠١٢٣٤٥٦٧٨٩٠١٢٣٤٥",
        ] {
            assert!(bad.parse::<UploadId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        let id: UploadId = "5230ec1f59d1485d9d7974b853802e31".parse().unwrap();
        assert_eq!(format!("{id:?}"), "UploadId(#9ddb9fd519b3)");
    }
}
