//! The layer's own answers.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::checksum;
use super::config::Tus;
use super::headers::{
    TUS_CHECKSUM_ALGORITHM, TUS_EXTENSION, TUS_MAX_SIZE, TUS_RESUMABLE, TUS_VERSION,
    UPLOAD_EXPIRES, UPLOAD_OFFSET, VERSION,
};
use crate::code;
use crate::engine::{Error, ErrorKind};
use crate::id::UploadId;
use crate::policy::Refusal;
pub(super) use crate::protocol::refusals::bad;
use crate::protocol::{BodyError, Exchange, Problem, refusals};
use crate::time;
use crate::upload::{Kind, Status, Upload};

/// Returns the offset that a client is told. The last byte only counts when the application has
/// taken the file. The application gets no part, but perhaps the upload that waits for it.
pub(super) fn shown_offset(upload: &Upload) -> u64 {
    let offset = upload.offset();
    match upload.status() {
        Status::Complete => offset,
        _ if upload.kind == Kind::Part && upload.progress.ties().awaited_by.is_none() => offset,
        _ if upload.total() == Some(offset) => offset.saturating_sub(1),
        _ => offset,
    }
}

pub(super) fn empty(status: StatusCode, mut headers: HeaderMap) -> Response<Bytes> {
    headers.insert(TUS_RESUMABLE, VERSION);
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// A header whose value consists of visible characters.
pub(super) fn insert(headers: &mut HeaderMap, name: HeaderName, value: impl ToString) {
    if let Ok(value) = HeaderValue::try_from(value.to_string()) {
        headers.insert(name, value);
    }
}

impl Tus {
    pub(super) fn options(&self, exchange: &Exchange<'_>) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        headers.insert(TUS_VERSION, VERSION);
        let extensions = self.extensions.names();
        if !extensions.is_empty() {
            insert(headers, TUS_EXTENSION, extensions);
        }
        if let Some(bytes) = exchange.settings.uploads.max_bytes() {
            insert(headers, TUS_MAX_SIZE, bytes);
        }
        if self.extensions.checksum {
            insert(headers, TUS_CHECKSUM_ALGORITHM, checksum::names());
        }
        response
    }

    /// The headers that every answer about an upload has: where it stands, and how long it lives.
    pub(super) fn headers(&self, upload: &Upload) -> HeaderMap {
        let mut headers = HeaderMap::new();
        insert(&mut headers, UPLOAD_OFFSET, shown_offset(upload));
        self.insert_expires(&mut headers, upload);
        headers
    }

    pub(super) fn insert_expires(&self, headers: &mut HeaderMap, upload: &Upload) {
        headers.extend(self.expires(upload).map(|expires| (UPLOAD_EXPIRES, expires)));
    }

    /// Only unfinished uploads expire as far as clients are concerned.
    pub(super) fn expires(&self, upload: &Upload) -> Option<HeaderValue> {
        let expires = upload.expires().filter(|_| self.extensions.expiration)?;
        let unfinished = upload.status() != Status::Complete;
        HeaderValue::try_from(time::to_imf_fixdate(expires)).ok().filter(|_| unfinished)
    }

    /// The URL of an upload that a request to this target has created.
    pub(super) fn location(&self, parts: &Parts, id: &UploadId) -> String {
        self.location.url(parts, parts.uri.path(), id)
    }
}

/// Returns the protocol's status and message for a problem, without the details of the store.
///
/// Clients give up after most statuses of 4xx. After 423 and 5xx they ask where the upload stands,
/// and continue.
pub(super) fn refusal(problem: Problem) -> Refusal {
    match problem {
        Problem::Refused(refused) => refused.in_words_of(|error| refusal(error.into())),
        Problem::Engine(error) => engine_refusal(error.kind()).because_of(error),
        Problem::Body(error) => body_refusal(error),
    }
}

fn body_refusal(error: BodyError) -> Refusal {
    match error {
        BodyError::Idle => later(code::IDLE_TIMEOUT, "No data arrived for too long"),
        BodyError::Slow => later(code::TOO_SLOW, "Data arrived too slowly"),
        BodyError::TooLarge(_, error) => {
            let (code, status) = (code::REQUEST_TOO_LARGE, StatusCode::PAYLOAD_TOO_LARGE);
            Refusal::coded(code, status, "The request is too large")
                .because_of(Error::source_failed(error))
        }
        BodyError::Failed(error) => refusal(Error::source_failed(error).into()),
    }
}

fn engine_refusal(kind: &ErrorKind) -> Refusal {
    let code = kind.code();
    match kind {
        ErrorKind::NotFound => Refusal::coded(code, StatusCode::NOT_FOUND, "Upload not found"),
        ErrorKind::Expired => Refusal::coded(code, StatusCode::GONE, "Upload has expired"),
        ErrorKind::Damaged => {
            Refusal::coded(code, StatusCode::GONE, "The stored upload is damaged")
        }
        ErrorKind::AlreadyComplete => {
            Refusal::coded(code, StatusCode::FORBIDDEN, "Upload is already complete")
        }
        ErrorKind::Finishing => locked(code, "Upload is being completed"),
        ErrorKind::Interrupted => {
            Refusal::coded(code, StatusCode::GONE, "Completion of the upload was interrupted")
        }
        ErrorKind::Busy => locked(code, "Upload is held by another request"),
        ErrorKind::OffsetMismatch { offset } => {
            Refusal::coded(code, StatusCode::CONFLICT, "Offsets do not match")
                .header(UPLOAD_OFFSET, HeaderValue::from(*offset))
        }
        ErrorKind::TotalMismatch { total } => {
            bad(code, format!("Length of the upload was announced as {total} bytes"))
        }
        ErrorKind::TooLong { total } => Refusal::coded(
            code,
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("More than the announced {total} bytes arrived"),
        ),
        ErrorKind::TooLarge { limit } => Refusal::coded(
            code,
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("Size of file exceeds the limit ({limit} bytes)"),
        ),
        ErrorKind::QuotaExceeded { quota, limit } => refusals::exceeded(quota, *limit),
        ErrorKind::Incomplete { offset, total } => {
            bad(code, format!("{offset} of {total} bytes have arrived"))
        }
        ErrorKind::ChecksumMismatch => checksum_mismatch(),
        ErrorKind::Superseded => later(code, "Upload was taken over by a newer request"),
        ErrorKind::KeyReused => refusals::key_reused(),
        ErrorKind::ShuttingDown => later(code, "The server is shutting down"),
        ErrorKind::Source => later(code, "The request body ended early"),
        ErrorKind::InvalidToken | ErrorKind::ExpiredToken => refusals::bad_token(kind),
        ErrorKind::Full => refusals::full(),
        ErrorKind::Store | ErrorKind::AlreadyExists => refusals::not_stored(code),
    }
}

/// A client asks where the upload stands, and continues there.
fn later(code: &'static str, detail: &str) -> Refusal {
    Refusal::coded(code, StatusCode::SERVICE_UNAVAILABLE, detail).header(RETRY_AFTER, SOON)
}

/// A client tries again.
fn locked(code: &'static str, detail: &str) -> Refusal {
    Refusal::coded(code, StatusCode::LOCKED, detail).header(RETRY_AFTER, SOON)
}

/// The status that the checksum extension defines.
pub(super) fn checksum_mismatch() -> Refusal {
    let status = StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST);
    Refusal::coded(code::CHECKSUM_MISMATCH, status, "Checksum does not match")
}

/// Clients of tus begin a new upload after most other statuses of a `HEAD`.
pub(super) fn not_now(problem: Problem) -> Refusal {
    let refusal = refusal(problem);
    if !refusal.status().is_server_error() {
        return refusal;
    }
    let says_when = refusal.headers().contains_key(RETRY_AFTER);
    let refusal = refusal.with_status(StatusCode::LOCKED);
    if says_when { refusal } else { refusal.header(RETRY_AFTER, SOON) }
}

pub(super) fn wrong_media_type() -> Refusal {
    Refusal::coded(
        code::WRONG_CONTENT_TYPE,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "The media type of the bytes must be application/offset+octet-stream",
    )
}

pub(super) fn not_allowed() -> Refusal {
    let allow = HeaderValue::from_static("OPTIONS, POST, HEAD, PATCH, DELETE");
    let (code, status) = (code::METHOD_NOT_ALLOWED, StatusCode::METHOD_NOT_ALLOWED);
    Refusal::coded(code, status, "This method is not allowed here").header(ALLOW, allow)
}

pub(super) fn encode(refusal: &Refusal) -> Response<Bytes> {
    let mut response = empty(refusal.status(), refusal.headers().clone());
    *response.body_mut() = Bytes::from(refusal.detail().to_owned());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

const SOON: HeaderValue = HeaderValue::from_static("1");
