//! Headers that all dialects read in the same way.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue};

/// A header was sent more than once.
#[derive(Debug)]
pub(crate) struct Repeated;

/// Returns the value of a header that may be sent only once.
pub(crate) fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, Repeated> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Repeated),
    }
}

/// Returns the media type of the body.
pub(crate) fn media_type(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Repeated> {
    single(headers, &CONTENT_TYPE)
}

/// Returns a media type without its parameters, in lower case.
pub(crate) fn essence(media_type: &[u8]) -> Vec<u8> {
    let essence = media_type.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().to_ascii_lowercase()
}

/// Whether the body has no content coding (RFC 9110, 8.4), so that its length is the file's.
pub(crate) fn is_plain(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(CONTENT_ENCODING).iter();
    let mut codings = codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.all(|coding| matches!(&*coding.trim_ascii().to_ascii_lowercase(), b"" | b"identity"))
}

/// Returns the `Content-Length` of the body.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the field follows the content (RFC 9110, 6.6.2).
pub(super) fn announces_trailer(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.get_all(TRAILER).iter().any(|names| {
        let mut names = names.as_bytes().split(|byte| *byte == b',');
        names.any(|other| other.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
    })
}
