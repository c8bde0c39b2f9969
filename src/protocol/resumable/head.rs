//! The head of the request that begins an upload, kept for the handler.

use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE, EXPECT, TRAILER,
    TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::config::Resumable;
use super::fields::{
    CONTENT_DIGEST, INTEROP_VERSION, REPR_DIGEST, UPLOAD_COMPLETE, UPLOAD_LENGTH, UPLOAD_LIMIT,
    UPLOAD_OFFSET, WANT_REPR_DIGEST,
};
use crate::upload::{Head, Upload};

/// What is kept of a request.
pub(super) fn of(resumable: &Resumable, request: &Parts) -> Head {
    let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut head = Head::new(request.method.as_str(), target);
    for (name, value) in kept(resumable, request) {
        let text = value.as_bytes().iter().copied().map(char::from).collect();
        head.headers.push((name.as_str().to_owned(), text));
    }
    head
}

/// How many bytes that would be.
pub(super) fn size(resumable: &Resumable, request: &Parts) -> usize {
    let target = request.uri.path_and_query().map_or(1, |target| target.as_str().len());
    let headers = kept(resumable, request).map(|(name, value)| name.as_str().len() + value.len());
    request.method.as_str().len() + target + headers.sum::<usize>()
}

fn kept<'a>(
    resumable: &'a Resumable,
    request: &'a Parts,
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
    request.headers.iter().filter(|(name, _)| {
        describes_content(name) || resumable.kept_headers.contains(name) && !is_secret(name)
    })
}

/// Whether a header is about the content as a whole (RFC 9110, 8).
fn describes_content(name: &HeaderName) -> bool {
    // That of the whole is computed, and the others are about one request.
    let of_request = [CONTENT_LENGTH, CONTENT_DIGEST, CONTENT_RANGE].contains(name);
    let describes = name.as_str().starts_with("content-") && !of_request;
    describes || [REPR_DIGEST, WANT_REPR_DIGEST].contains(name)
}

fn is_secret(name: &HeaderName) -> bool {
    [AUTHORIZATION, COOKIE].contains(name) || name.as_str().starts_with("proxy-")
}

/// Gives the request that completes an upload the head of the one that began it; it may be the same
/// one, and then its digest is that of the whole.
pub(super) fn restore(request: &mut Parts, upload: &Upload, is_same: bool) {
    let headers = &mut request.headers;
    let about_content = headers.keys().filter(|name| {
        name.as_str().starts_with("content-") && !(is_same && *name == CONTENT_DIGEST)
    });
    for name in about_content.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
    if let Some(head) = &upload.head {
        restore_kept(request, head);
    }
    // Whatever was kept, these are about the requests that have brought the content.
    let headers = &mut request.headers;
    for name in [
        UPLOAD_COMPLETE,
        UPLOAD_OFFSET,
        UPLOAD_LENGTH,
        UPLOAD_LIMIT,
        INTEROP_VERSION,
        EXPECT,
        TRAILER,
        TRANSFER_ENCODING,
    ] {
        headers.remove(name);
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(upload.offset()));
}

fn restore_kept(request: &mut Parts, head: &Head) {
    if let Ok(method) = Method::from_bytes(head.method.as_bytes()) {
        request.method = method;
    }
    let mut uri = std::mem::take(&mut request.uri).into_parts();
    if let Ok(target) = head.target.parse() {
        uri.path_and_query = Some(target);
    }
    request.uri = uri.try_into().unwrap_or_default();
    let mut first = std::collections::HashSet::new();
    for (name, value) in &head.headers {
        let (Ok(name), Some(value)) = (HeaderName::try_from(name), kept_value(value)) else {
            continue;
        };
        // The first value replaces that of the completing request.
        if first.insert(name.clone()) {
            request.headers.insert(name, value);
        } else {
            request.headers.append(name, value);
        }
    }
}

/// The bytes of a value, each of which is kept as one character.
fn kept_value(text: &str) -> Option<HeaderValue> {
    let bytes = text.chars().map(|char| u8::try_from(u32::from(char)).ok());
    HeaderValue::try_from(bytes.collect::<Option<Vec<u8>>>()?).ok()
}

/// A field of the request that began the upload, if it was kept.
pub(super) fn field(upload: &Upload, name: &HeaderName) -> HeaderMap {
    let headers = upload.head.iter().flat_map(|head| &head.headers);
    let values = headers.filter(|(other, _)| other == name.as_str());
    values.filter_map(|(_, value)| Some((name.clone(), kept_value(value)?))).collect()
}

/// The media type of the whole.
pub(super) fn content_type(request: &Parts) -> Option<String> {
    let media_type = request.headers.get(CONTENT_TYPE)?;
    media_type.to_str().ok().map(str::to_owned)
}
