use std::borrow::Cow;

use super::FormError;
use crate::protocol::chunked::disposition::{Param, Params};

/// The boundary of a form (RFC 2046, 5.1.1): 1 to 70 bytes, none of them a line break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boundary(Vec<u8>);

impl Boundary {
    /// Reads a `Content-Type` value.
    ///
    /// # Errors
    ///
    /// [`FormError::NotForm`] for any other type, [`FormError::Boundary`] for a form whose
    /// boundary is missing, malformed or named twice.
    pub(crate) fn from_content_type(value: &[u8]) -> Result<Self, FormError> {
        let (kind, params) = Params::after(value);
        if !kind.eq_ignore_ascii_case(b"multipart/form-data") {
            return Err(FormError::NotForm);
        }
        let mut boundary = None;
        for param in params {
            let Param { key, value, .. } = param.ok_or(FormError::Boundary)?;
            if key.eq_ignore_ascii_case(b"boundary") && boundary.replace(value).is_some() {
                return Err(FormError::Boundary);
            }
        }
        boundary
            .filter(|boundary| is_boundary(boundary))
            .map(Cow::into_owned)
            .map(Self)
            .ok_or(FormError::Boundary)
    }

    /// The boundary itself, without hyphens or line breaks around it.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn is_boundary(value: &[u8]) -> bool {
    (1..=70).contains(&value.len()) && value.iter().all(is_bchar) && !value.ends_with(b" ")
}

fn is_bchar(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn boundaries() {
        let longest = "b".repeat(70);
        for (params, boundary) in [
            ("; boundary=abc", "abc"),
            (";boundary=abc", "abc"),
            (" ; boundary = abc ; ", "abc"),
            ("; charset=utf-8; boundary=abc", "abc"),
            ("; boundary=abc; charset=\"a;b\"", "abc"),
            ("; Boundary=aBc", "aBc"),
            ("; boundary=\"simple-boundary\"", "simple-boundary"),
            ("; boundary=\"aZ09'()+_,-./:=?x\"", "aZ09'()+_,-./:=?x"),
            ("; boundary=----=_Part_1/2:3", "----=_Part_1/2:3"),
            ("; boundary=\"a b\"", "a b"),
            ("; boundary=x", "x"),
            (&*format!("; boundary={longest}"), &*longest),
        ] {
            for kind in ["multipart/form-data", "Multipart/Form-Data"] {
                let value = format!("{kind}{params}");
                let read = Boundary::from_content_type(value.as_bytes());
                assert_eq!(read, Ok(Boundary(boundary.into())), "{value}");
            }
        }
    }

    #[test]
    fn forms_without_a_valid_boundary() {
        for params in [
            "",
            ";",
            "; charset=utf-8",
            "; boundary",
            "; boundary=",
            "; boundary=\"\"",
            "; boundary=\"abc",
            "; boundary=\"abc\"d",
            "; boundary=abc; boundary=abc",
            "; boundary=abc; BOUNDARY=def",
            "; boundary=\"abc \"",
            "; boundary=\"a\\\"b\"",
            "; boundary=a\r\nb",
            "; boundary=a*b",
            "; boundary=ä",
            "; xboundary=abc",
            &format!("; boundary={}", "b".repeat(71)),
        ] {
            let value = format!("multipart/form-data{params}");
            let read = Boundary::from_content_type(value.as_bytes());
            assert_eq!(read, Err(FormError::Boundary), "{value}");
        }
    }

    #[test]
    fn other_content_types() {
        for value in [
            "",
            "application/octet-stream",
            "application/x-www-form-urlencoded; boundary=abc",
            "multipart/mixed; boundary=abc",
            "multipart/form-datax; boundary=abc",
            "multipart/form-data, multipart/form-data; boundary=abc",
        ] {
            let read = Boundary::from_content_type(value.as_bytes());
            assert_eq!(read, Err(FormError::NotForm), "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_keep_the_invariant(
            value in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..64),
                "multipart/form-data;[boundary=;\"\\\\ \r\n]{0,90}".prop_map(String::into_bytes),
            ],
        ) {
            if let Ok(boundary) = Boundary::from_content_type(&value) {
                prop_assert!(is_boundary(boundary.as_bytes()));
            }
        }
    }
}
