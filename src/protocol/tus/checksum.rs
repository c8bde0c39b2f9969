//! `Upload-Checksum`: the digest of a request's body.

use data_encoding::BASE64;

use crate::checksum::{Digest, DigestAlgorithm};
use crate::code;

/// The digest that a client expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) algorithm: DigestAlgorithm,
    /// `None` if no body can have it, since its length is another one.
    pub(crate) digest: Option<Digest>,
}

/// Why a checksum was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChecksumError {
    /// The algorithm is not offered.
    Algorithm,
    /// It is not Base64.
    Value,
}

impl Expected {
    pub(crate) fn parse(text: &[u8]) -> Result<Self, ChecksumError> {
        let mut words = text.splitn(2, |byte| *byte == b' ');
        let name = std::str::from_utf8(words.next().unwrap_or_default());
        let algorithm = name.ok().and_then(DigestAlgorithm::from_name);
        let algorithm = algorithm.filter(|algorithm| OFFERED.contains(algorithm));
        let algorithm = algorithm.ok_or(ChecksumError::Algorithm)?;
        let value = words.next().filter(|value| !value.is_empty()).ok_or(ChecksumError::Value)?;
        let bytes = BASE64.decode(value).map_err(|_| ChecksumError::Value)?;
        Ok(Self { algorithm, digest: Digest::from_bytes(algorithm, &bytes) })
    }
}

impl ChecksumError {
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Algorithm => code::UNKNOWN_CHECKSUM_ALGORITHM,
            Self::Value => code::MALFORMED_CHECKSUM,
        }
    }

    pub(super) fn detail(self) -> &'static str {
        match self {
            Self::Algorithm => "The algorithm of Upload-Checksum is not offered",
            Self::Value => "Upload-Checksum is not Base64",
        }
    }
}

/// The names of the algorithms.
pub(super) fn names() -> String {
    OFFERED.map(DigestAlgorithm::name).join(",")
}

/// What clients send. CRC-32C is not among it, and each algorithm that is offered runs over every
/// body whose checksum comes after it.
pub(super) const OFFERED: [DigestAlgorithm; 4] =
    [DigestAlgorithm::Sha1, DigestAlgorithm::Sha256, DigestAlgorithm::Sha512, DigestAlgorithm::Md5];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn checksums_are_looked_up_by_name() {
        let sha1 = Expected::parse(b"sha1 vn8RjDp8U+TpFn844zWbu7fvZBA=").unwrap();
        assert_eq!(sha1.algorithm, DigestAlgorithm::Sha1);
        assert_eq!(sha1.digest.unwrap().to_hex(), "be7f118c3a7c53e4e9167f38e3359bbbb7ef6410");
        assert_eq!(Expected::parse(b"sha1 AAAA").unwrap().digest, None);
        for (text, error) in [
            ("rot13 AAAA", ChecksumError::Algorithm),
            ("SHA1 AAAA", ChecksumError::Algorithm),
            ("crc32c 4waSgw==", ChecksumError::Algorithm),
            ("../sha1 AAAA", ChecksumError::Algorithm),
            ("", ChecksumError::Algorithm),
            ("sha1", ChecksumError::Value),
            ("sha1 ", ChecksumError::Value),
            ("sha1 !", ChecksumError::Value),
            ("sha1  AAAA", ChecksumError::Value),
        ] {
            assert_eq!(Expected::parse(text.as_bytes()), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_a_client_writes_is_read(which in 0..OFFERED.len(), bytes: [u8; 64]) {
            let algorithm = OFFERED[which];
            let length = crate::checksum::Running::new(algorithm).digest().unwrap().as_bytes().len();
            let text = format!("{} {}", algorithm.name(), BASE64.encode(&bytes[..length]));
            let digest = Expected::parse(text.as_bytes()).unwrap().digest.unwrap();
            prop_assert_eq!(digest.as_bytes(), &bytes[..length]);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(sha1|md5|sha256|x| )( |  )[A-Za-z0-9+/=!]{0,40}") {
            crate::fuzzing::tus_checksum(text.as_bytes());
        }
    }
}
