use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use memchr::memchr;

/// The content transfer encoding of a part (RFC 2045, 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `binary`, `8bit` or `7bit`: not encoded.
    #[default]
    Identity,
    Base64,
    QuotedPrintable,
}

impl Encoding {
    /// Parses a `Content-Transfer-Encoding` value. Returns `None` if it is unknown.
    pub(super) fn named(value: &[u8]) -> Option<Self> {
        let is = |name: &&(&[u8], Self)| value.eq_ignore_ascii_case(name.0);
        NAMES.iter().find(is).map(|(_, encoding)| *encoding)
    }

    /// Decodes a value; the result is never longer. Returns `None` if the value is invalid.
    pub(super) fn decode(self, mut value: Vec<u8>) -> Option<Vec<u8>> {
        match self {
            Self::Identity => Some(value),
            Self::Base64 => {
                // Mail clients split it into lines.
                value.retain(|byte| !byte.is_ascii_whitespace());
                BASE64.decode(&value).ok()
            }
            Self::QuotedPrintable => decode_quoted_printable(&value),
        }
    }
}

// Written by hand, since the crate for it either drops what it cannot decode, or refuses a soft
// line break at the very end, which Indy writes.
fn decode_quoted_printable(value: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = memchr(b'=', rest) {
        decoded.extend_from_slice(&rest[..at]);
        rest = match &rest[at + 1..] {
            [high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                decoded.push(hex(*high) << 4 | hex(*low));
                after
            }
            after => after_soft_break(after)?,
        };
    }
    decoded.extend_from_slice(rest);
    Some(decoded)
}

// A soft line break is not part of the text. Whitespace may have been added before it on the way.
fn after_soft_break(rest: &[u8]) -> Option<&[u8]> {
    let blanks = rest.iter().take_while(|byte| matches!(**byte, b' ' | b'\t')).count();
    match &rest[blanks..] {
        [] | [b'\r'] => Some(&[]),
        [b'\r', b'\n', after @ ..] | [b'\n', after @ ..] => Some(after),
        _ => None,
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

const NAMES: [(&[u8], Encoding); 5] = [
    (b"binary", Encoding::Identity),
    (b"8bit", Encoding::Identity),
    (b"7bit", Encoding::Identity),
    (b"base64", Encoding::Base64),
    (b"quoted-printable", Encoding::QuotedPrintable),
];
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quoted_printable::{InputMode, Options, encode_with_options};

    use super::*;

    fn decode(name: &str, value: &[u8]) -> Option<Vec<u8>> {
        Encoding::named(name.as_bytes()).expect("a known encoding").decode(value.to_vec())
    }

    #[test]
    fn names() {
        for (name, encoding) in [
            ("Binary", Some(Encoding::Identity)),
            ("8BIT", Some(Encoding::Identity)),
            ("7bit", Some(Encoding::Identity)),
            ("BASE64", Some(Encoding::Base64)),
            ("Quoted-Printable", Some(Encoding::QuotedPrintable)),
            ("", None),
            ("gzip", None),
            ("x-uuencode", None),
        ] {
            assert_eq!(Encoding::named(name.as_bytes()), encoding, "{name}");
        }
    }

    #[test]
    fn base64() {
        for (value, decoded) in [
            ("", Some("")),
            ("aGVsbG8=", Some("hello")),
            ("aGVsbG8", Some("hello")),
            ("aGVs\r\nbG8=\r\n", Some("hello")),
            (" aGVs\tbG8 =", Some("hello")),
            ("aGVsbG8=aGVsbG8=", None),
            ("aGVsbG8==", None),
            ("aGVsb", None),
            ("aGVs-G8=", None),
            ("aGVsbG9=", None),
            ("hello!", None),
        ] {
            let decoded = decoded.map(|text| text.as_bytes().to_vec());
            assert_eq!(decode("base64", value.as_bytes()), decoded, "{value:?}");
        }
    }

    #[test]
    fn quoted_printable() {
        for (value, decoded) in [
            ("", Some("")),
            ("hello", Some("hello")),
            ("a=3Db=20", Some("a=b ")),
            ("na=C3=afve", Some("na\u{EF}ve")),
            ("na\u{EF}ve", Some("na\u{EF}ve")),
            ("two\r\nlines\n", Some("two\r\nlines\n")),
            ("a=\r\nb=\nc= \t\r\nd", Some("abcd")),
            ("a=", Some("a")),
            ("a= ", Some("a")),
            ("a=\r", Some("a")),
            ("a=\r\n", Some("a")),
            ("a=b", None),
            ("a=1", None),
            ("a=G0", None),
            ("a=0G", None),
            ("a==", None),
            ("a=\rb", None),
            ("a= b", None),
        ] {
            let decoded = decoded.map(|text| text.as_bytes().to_vec());
            assert_eq!(decode("quoted-printable", value.as_bytes()), decoded, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn any_value_comes_back(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            let encoded = base64::engine::general_purpose::STANDARD.encode(&value);
            prop_assert_eq!(decode("base64", encoded.as_bytes()), Some(value.clone()));
            let options = Options::default().input_mode(InputMode::Binary);
            let encoded = encode_with_options(&value, options);
            prop_assert_eq!(decode("quoted-printable", encoded.as_bytes()), Some(value));
        }

        #[test]
        fn what_is_decoded_is_no_longer(value in "[=A-F0-9a-g \r\n\t]{0,40}") {
            for name in ["base64", "quoted-printable", "binary"] {
                let decoded = decode(name, value.as_bytes()).unwrap_or_default();
                prop_assert!(decoded.len() <= value.len());
            }
        }
    }
}
