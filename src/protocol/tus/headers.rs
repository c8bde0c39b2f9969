//! The headers of the protocol.

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

use super::answer::bad;
use crate::code;
use crate::policy::Refusal;
use crate::protocol::headers::{essence, is_plain, single};

pub(super) const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");
pub(super) const TUS_CHECKSUM_ALGORITHM: HeaderName =
    HeaderName::from_static("tus-checksum-algorithm");
pub(super) const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
pub(super) const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
pub(super) const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
pub(super) const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
pub(super) const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");
pub(super) const UPLOAD_CONCAT: HeaderName = HeaderName::from_static("upload-concat");
pub(super) const UPLOAD_DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
pub(super) const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
pub(super) const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub(super) const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
pub(super) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");

pub(super) const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");

/// Refuses a request of another version, or of none.
pub(super) fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    match single(headers, &TUS_RESUMABLE) {
        Ok(Some(version)) if *version == VERSION => Ok(()),
        _ => Err(Refusal::coded(
            code::UNSUPPORTED_VERSION,
            StatusCode::PRECONDITION_FAILED,
            "This server speaks version 1.0.0 of tus",
        )
        .header(TUS_VERSION, VERSION)),
    }
}

/// Whether a request is of this protocol although it names no version of it.
///
/// The IETF draft has `Upload-Length`, too, and always with `Upload-Complete`. FilePond sends it
/// with a form, and whatever a form is for, it is not for this protocol.
pub(super) fn creates(headers: &HeaderMap) -> bool {
    if headers.contains_key(UPLOAD_COMPLETE) || is_form(headers) {
        return false;
    }
    headers.contains_key(UPLOAD_LENGTH)
        || headers.contains_key(UPLOAD_DEFER_LENGTH)
        || headers.contains_key(UPLOAD_CONCAT)
        || has_bytes(headers)
}

fn is_form(headers: &HeaderMap) -> bool {
    let media_type = single(headers, &CONTENT_TYPE).ok().flatten();
    let essence = media_type.map(|it| essence(it.as_bytes())).unwrap_or_default();
    matches!(&*essence, b"multipart/form-data" | b"application/x-www-form-urlencoded")
}

/// Whether the body consists of the bytes of an upload, as they are.
pub(super) fn has_bytes(headers: &HeaderMap) -> bool {
    if !is_plain(headers) {
        return false;
    }
    let media_type = single(headers, &CONTENT_TYPE).ok().flatten();
    media_type.is_some_and(|it| essence(it.as_bytes()) == b"application/offset+octet-stream")
}

/// Returns the value of a header that is sent at most once.
pub(super) fn value<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, Refusal> {
    single(headers, name).map_err(|_| bad(code::REPEATED_HEADER, format!("{name} was sent twice")))
}

/// Returns the number in a header.
pub(super) fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, Refusal> {
    let Some(value) = value(headers, name)? else { return Ok(None) };
    let number = parse_number(value.as_bytes());
    let malformed = || bad(code::MALFORMED_HEADER, format!("{name} is not a number"));
    number.map(Some).ok_or_else(malformed)
}

/// Digits only: Rust's own parser also takes a sign.
pub(crate) fn parse_number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_digits_are_a_number() {
        for (text, number) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("+5", None),
            ("-5", None),
            ("0x5", None),
            ("5 ", None),
            ("5,5", None),
            ("5.0", None),
            ("٥", None),
        ] {
            assert_eq!(parse_number(text.as_bytes()), number, "{text}");
        }
    }

    #[test]
    fn a_form_or_a_request_of_the_draft_creates_nothing() {
        let creates = |fields: &[(&'static str, &'static str)]| {
            let names = fields.iter().map(|(name, _)| HeaderName::from_static(name));
            let values = fields.iter().map(|(_, value)| HeaderValue::from_static(value));
            creates(&names.zip(values).collect())
        };
        let bytes = ("content-type", "application/offset+octet-stream");
        for field in [
            ("upload-length", "1"),
            ("upload-defer-length", "1"),
            ("upload-concat", "partial"),
            bytes,
        ] {
            assert!(creates(&[field]), "{field:?}");
            for complete in ["?1", "?0", "true"] {
                assert!(!creates(&[field, ("upload-complete", complete)]), "{field:?} {complete}");
            }
        }
        let length = ("upload-length", "1");
        for form in [
            "multipart/form-data; boundary=x",
            "Multipart/Form-Data;boundary=x",
            "application/x-www-form-urlencoded",
            "application/x-www-form-urlencoded ; charset=utf-8",
        ] {
            assert!(!creates(&[length, ("content-type", form)]), "{form}");
        }
        for other in ["text/plain", "multipart/form-datax", "multipart/mixed", "", "form-data"] {
            assert!(creates(&[length, ("content-type", other)]), "{other}");
        }
        assert!(creates(&[length, bytes]));
        assert!(!creates(&[]));
    }

    proptest! {
        #[test]
        fn a_number_that_was_written_is_read(number: u64) {
            prop_assert_eq!(parse_number(number.to_string().as_bytes()), Some(number));
        }

        #[test]
        fn anything_else_is_refused(text in "[0-9 +,.x-]{0,24}") {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            prop_assert_eq!(
                parse_number(text.as_bytes()),
                text.parse().ok().filter(|_: &u64| digits)
            );
        }
    }
}
