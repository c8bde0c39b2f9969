//! The key that makes a creation repeatable.

use std::borrow::Cow;
use std::fmt;

use sfv::{Parser, StringRef};

use crate::id::UploadId;
use crate::upload::{Dialect, Owner};

/// The value of an `Idempotency-Key`: 16 to 255 printable ASCII characters. A client that lost the
/// response to a creation sends the same request with the same key again, and gets the same upload.
///
/// Whoever knows the key of an upload without an owner gets the upload. So a key is a secret, must be
/// random, such as a UUID, and `Debug` does not show it.
///
/// ```
/// use tower_chunked_upload::IdempotencyKey;
///
/// assert!(IdempotencyKey::new("8e03978e-40d5-43e8-bc93-6894a57f9324").is_ok());
/// assert!(IdempotencyKey::new("1").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Box<str>);

impl IdempotencyKey {
    /// Creates a key from its text.
    ///
    /// # Errors
    /// [`ParseKeyError`] if the text is too short, too long, or has other characters.
    pub fn new(text: impl Into<String>) -> Result<Self, ParseKeyError> {
        let text = text.into();
        let is_printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        match text.len() {
            _ if !is_printable => Err(ParseKeyError::Malformed),
            ..SHORTEST => Err(ParseKeyError::TooShort),
            SHORTEST..=LONGEST => Ok(Self(text.into_boxed_str())),
            _ => Err(ParseKeyError::TooLong),
        }
    }

    /// Reads the value of the header: a String of RFC 9651, or the same without quotes, as many
    /// clients send it. Parameters are passed over.
    pub(crate) fn parse(value: &[u8]) -> Result<Self, ParseKeyError> {
        if value.len() > 2 * LONGEST + 2 {
            return Err(ParseKeyError::TooLong);
        }
        if !value.starts_with(b"\"") {
            let is_bare = |byte: &u8| byte.is_ascii_graphic() && !b"\"\\,;".contains(byte);
            let text = std::str::from_utf8(value).ok().filter(|_| value.iter().all(is_bare));
            return Self::new(text.ok_or(ParseKeyError::Malformed)?);
        }
        let text = Parser::new(value).parse_item::<Cow<'_, StringRef>>();
        Self::new(text.map_err(|_| ParseKeyError::Malformed)?.as_str())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the upload that the owner creates with this key.
    pub(crate) fn upload_id(&self, owner: Option<&Owner>, dialect: Dialect) -> UploadId {
        let owner =
            owner.map_or([&b"none"[..], b""], |owner| [b"owner", owner.as_str().as_bytes()]);
        let dialect: &[u8] = match dialect {
            Dialect::Tus => b"tus",
            Dialect::Resumable => b"resumable",
            Dialect::Chunked | Dialect::Other => b"chunked",
        };
        UploadId::derived([
            b"tower-chunked-upload key 1",
            dialect,
            owner[0],
            owner[1],
            self.0.as_bytes(),
        ])
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey(…)")
    }
}

/// The error for a text that is not a valid [`IdempotencyKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseKeyError {
    /// It has fewer than 16 characters, so it could be guessed.
    TooShort,
    /// It has more than 255 characters.
    TooLong,
    /// It is neither a string of structured fields (RFC 9651) nor a plain word.
    Malformed,
}

impl fmt::Display for ParseKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => write!(f, "an idempotency key has at least {SHORTEST} characters"),
            Self::TooLong => write!(f, "an idempotency key has at most {LONGEST} characters"),
            Self::Malformed => f.write_str("an idempotency key is a string of printable ASCII"),
        }
    }
}

impl std::error::Error for ParseKeyError {}

/// What a client would have to guess is at least as long as a random id of 64 bits in hex.
const SHORTEST: usize = 16;
const LONGEST: usize = 255;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_a_string_or_a_word() {
        let uuid = "8e03978e-40d5-43e8-bc93-6894a57f9324";
        let quoted = format!("\"{uuid}\"");
        for same in [uuid, &quoted, &format!("{quoted};v=1"), &format!(" {quoted} ")[1..]] {
            assert_eq!(IdempotencyKey::parse(same.as_bytes()).unwrap().as_str(), uuid, "{same}");
        }
        let escaped = IdempotencyKey::parse(br#""a \"quoted\" key \\""#).unwrap();
        assert_eq!(escaped.as_str(), r#"a "quoted" key \"#);
        for (bad, why) in [
            ("", ParseKeyError::TooShort),
            ("fifteen-letters", ParseKeyError::TooShort),
            ("\"fifteen-letters\"", ParseKeyError::TooShort),
            ("two words that are long enough", ParseKeyError::Malformed),
            ("a-list-of-keys, another-one", ParseKeyError::Malformed),
            ("a-key-with-parameters;a=1", ParseKeyError::Malformed),
            ("\"not closed and long enough", ParseKeyError::Malformed),
            ("\"closed twice, long enough\"\"", ParseKeyError::Malformed),
            ("not-ascii-but-long-enough-é", ParseKeyError::Malformed),
            (&"a".repeat(256), ParseKeyError::TooLong),
            (&format!("\"{}\"", "a".repeat(256)), ParseKeyError::TooLong),
            (&"\"".repeat(513), ParseKeyError::TooLong),
        ] {
            assert_eq!(IdempotencyKey::parse(bad.as_bytes()), Err(why), "{bad}");
        }
        for length in [16, 255] {
            assert!(IdempotencyKey::parse("a".repeat(length).as_bytes()).is_ok(), "{length}");
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        let key = IdempotencyKey::new("0123456789abcdef").unwrap();
        assert_eq!(format!("{key:?}"), "IdempotencyKey(…)");
    }

    /// Records of older versions are found by it.
    #[test]
    fn the_id_is_pinned_and_differs_by_owner_and_protocol() {
        let key = IdempotencyKey::new("8e03978e-40d5-43e8-bc93-6894a57f9324").unwrap();
        let id =
            |owner: Option<&str>, dialect| key.upload_id(owner.map(Owner::from).as_ref(), dialect);
        let all = [
            id(None, Dialect::Chunked),
            id(Some(""), Dialect::Chunked),
            id(Some("alice"), Dialect::Chunked),
            id(None, Dialect::Tus),
            id(None, Dialect::Resumable),
        ];
        assert_eq!(all[0].as_str(), "5d3128361467801db59c6c3b069f40f4");
        assert_eq!(&all[0].as_str()[12..13], "8");
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    proptest! {
        #[test]
        fn any_key_comes_back_quoted(text in "[ -~]{16,255}") {
            let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let key = IdempotencyKey::parse(quoted.as_bytes());
            prop_assert_eq!(key.as_ref().map(IdempotencyKey::as_str), Ok(&*text));
        }

        #[test]
        fn any_value_is_read_or_refused(value in "(?s:\"?.{0,300}\"?)|\"[ -~\\\\]{0,40}\"?(;[a-z=]{0,5})?") {
            crate::fuzzing::idempotency_key(value.as_bytes());
        }
    }
}
