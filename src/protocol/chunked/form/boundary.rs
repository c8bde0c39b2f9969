use super::FormError;
use crate::protocol::disposition::{Param, Params, is_tchar};

/// The boundary of a form: 1 to 201 bytes of printable ASCII that do not end with a space.
///
/// RFC 2046 (5.1.1) allows 70 bytes and fewer characters. Widely copied recipes violate both, and
/// the protocol's first server accepts them within these limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boundary(Vec<u8>);

impl Boundary {
    pub(super) const MAX_BYTES: usize = 201;

    /// Parses a `Content-Type` value.
    ///
    /// # Errors
    ///
    /// [`FormError::NotForm`] for any other type, [`FormError::Boundary`] for a form whose boundary
    /// is missing, malformed, repeated, or not separated from the type by a semicolon.
    pub(crate) fn from_content_type(value: &[u8]) -> Result<Self, FormError> {
        let (kind, params) = Params::after(value);
        if !kind.eq_ignore_ascii_case(FORM) {
            let is_form = starts_with_form(kind);
            return Err(if is_form { FormError::Boundary } else { FormError::NotForm });
        }
        let mut boundary = None;
        for param in params {
            let Param { key, value, .. } = param.ok_or(FormError::Boundary)?;
            if key.eq_ignore_ascii_case(b"boundary") && boundary.replace(value).is_some() {
                return Err(FormError::Boundary);
            }
        }
        let boundary = boundary.filter(|boundary| is_boundary(boundary));
        boundary.map(|boundary| Self(boundary.into_owned())).ok_or(FormError::Boundary)
    }

    /// The boundary itself, without hyphens or line breaks around it.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

// Whether the value was meant for a form, but no semicolon follows the type.
fn starts_with_form(kind: &[u8]) -> bool {
    let Some((begin, rest)) = kind.split_at_checked(FORM.len()) else { return false };
    begin.eq_ignore_ascii_case(FORM) && rest.first().is_some_and(|byte| !is_tchar(byte))
}

// A CR in the boundary would start a delimiter within the delimiter, which the search excludes.
fn is_boundary(value: &[u8]) -> bool {
    let is_printable = |byte: &u8| matches!(*byte, b' '..=b'~');
    (1..=Boundary::MAX_BYTES).contains(&value.len())
        && value.iter().all(is_printable)
        && !value.ends_with(b" ")
}

const FORM: &[u8] = b"multipart/form-data";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn white_space_before_the_type_is_passed_over() {
        for value in ["multipart/form-data; boundary=a", " multipart/form-data; boundary=a"] {
            let boundary = Boundary::from_content_type(value.as_bytes()).unwrap();
            assert_eq!(boundary.as_bytes(), b"a");
            crate::fuzzing::disposition(value.as_bytes());
        }
    }

    #[test]
    fn boundaries() {
        let longest = "b".repeat(201);
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
            ("; boundary=*****", "*****"),
            ("; boundary=----------ThIs_Is_tHe_bouNdaRY_$", "----------ThIs_Is_tHe_bouNdaRY_$"),
            ("; boundary={3F2504E0-4F89}", "{3F2504E0-4F89}"),
            ("; boundary=a&b=c", "a&b=c"),
            ("; boundary=<a>@[b]!#%^`|~\\c", "<a>@[b]!#%^`|~\\c"),
            ("; boundary=\"a;b\"", "a;b"),
            ("; boundary=\"a\\\"b\"", "a\"b"),
            ("; boundary=a\"b", "a\"b"),
            ("; boundary=\" a\"", " a"),
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
            "; boundary=a\r\nb",
            "; boundary=\"a\rb\"",
            "; boundary=\"a\nb\"",
            "; boundary=a\0b",
            "; boundary=a\tb",
            "; boundary=a\x7Fb",
            " boundary=abc",
            ", boundary=abc",
            ", multipart/form-data; boundary=abc",
            "/; boundary=abc",
            "; boundary=ä",
            "; xboundary=abc",
            &format!("; boundary={}", "b".repeat(202)),
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
            "multipart/form-data+x; boundary=abc",
            "multipart/form",
            "multipart/form-dat\u{E9}; boundary=abc",
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
                "multipart/form-data[; ]boundary=[boundary=;\"\\\\*&{}$ \r\n]{0,250}".prop_map(String::into_bytes),
            ],
        ) {
            if let Ok(boundary) = Boundary::from_content_type(&value) {
                prop_assert!(is_boundary(boundary.as_bytes()));
            }
        }
    }
}
