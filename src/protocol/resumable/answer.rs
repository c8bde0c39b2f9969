//! The layer's own answers.

use std::time::SystemTime;

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::json;

use super::config::Resumable;
use super::fields::{
    KNOWN, MAX_INTEGER, REPR_DIGEST, UPLOAD_COMPLETE, UPLOAD_LENGTH, UPLOAD_LIMIT, UPLOAD_OFFSET,
    from_bool, limits,
};
use crate::checksum::Digest;
use crate::code;
use crate::engine::{Error, ErrorKind};
use crate::policy::Refusal;
pub(super) use crate::protocol::refusals::bad;
use crate::protocol::{BodyError, Exchange, Problem, refusals};
use crate::upload::{Status, Upload};

const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// Returns the offset that a client is told. Some clients take an upload with all bytes for one
/// that has succeeded, so the last byte only counts when the application has taken the request,
/// unless the client has been told of it.
pub(super) fn shown_offset(upload: &Upload) -> u64 {
    let offset = upload.offset();
    let counts = upload.status() == Status::Complete || upload.progress.end_acknowledged;
    match upload.total() == Some(offset) && !counts {
        true => offset.saturating_sub(1),
        false => offset,
    }
}

pub(super) fn empty(status: StatusCode, headers: HeaderMap) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

impl Resumable {
    pub(super) fn options(&self, exchange: &Exchange<'_>) -> Response<Bytes> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_PATCH, HeaderValue::from_static(PARTIAL_UPLOAD));
        let limit = exchange.settings.uploads.max_bytes();
        headers.insert(UPLOAD_LIMIT, self.limits(limit, None));
        empty(StatusCode::OK, headers)
    }

    /// The headers that an answer about an upload has: where it stands, and its limits.
    pub(super) fn headers(&self, exchange: &Exchange<'_>, upload: &Upload) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let complete = upload.status() == Status::Complete;
        headers.insert(UPLOAD_OFFSET, shown_offset(upload).into());
        headers.insert(UPLOAD_COMPLETE, from_bool(complete));
        let total = upload.total().or(complete.then(|| upload.offset()));
        headers.extend(total.map(|total| (UPLOAD_LENGTH, total.into())));
        headers.insert(UPLOAD_LIMIT, self.limits_of(exchange, upload));
        headers
    }

    pub(super) fn limits_of(&self, exchange: &Exchange<'_>, upload: &Upload) -> HeaderValue {
        let limit = upload.max_bytes.or(exchange.settings.uploads.max_bytes());
        self.limits(limit, upload.expires())
    }

    /// The limits, which older versions of the draft know by other names.
    pub(super) fn limits(&self, max: Option<u64>, expires: Option<SystemTime>) -> HeaderValue {
        // What a store can hold at most is no limit that a client comes near.
        let max = max.filter(|max| *max < MAX_INTEGER).map(|max| ("max-size", max));
        let mut entries: Vec<_> = max.into_iter().collect();
        entries.extend((self.min_bytes > 0).then_some(("min-size", self.min_bytes)));
        entries.extend(self.max_append_bytes.map(|max| ("max-append-size", max)));
        let min_append = (self.min_append_bytes > 0).then_some(self.min_append_bytes);
        entries.extend(min_append.map(|min| ("min-append-size", min)));
        if let Some(expires) = expires {
            let left = expires.duration_since(SystemTime::now()).unwrap_or_default().as_secs();
            entries.extend([("max-age", left), ("expires", left)]);
        }
        limits(&entries)
    }

    /// Refuses content of one request that is too large or too small.
    pub(super) fn check_size(&self, size: Option<u64>, completes: bool) -> Result<(), Problem> {
        if let Some(limit) = self.max_append_bytes.filter(|most| size > Some(*most)) {
            return Err(ErrorKind::TooLarge { limit }.into());
        }
        let is_small = size.is_some_and(|size| size > 0 && size < self.min_append_bytes);
        match is_small && !completes {
            true => Err(too_small(self.min_append_bytes).into()),
            false => Ok(()),
        }
    }

    /// Refuses a whole that is too small.
    pub(super) fn check_total(&self, total: Option<u64>) -> Result<(), Refusal> {
        match total.is_some_and(|total| total < self.min_bytes) {
            true => Err(too_small(self.min_bytes)),
            false => Ok(()),
        }
    }
}

/// Returns the protocol's status and message for a problem, without the details of the store.
///
/// Clients ask where the upload stands after a 5xx, and give up after most statuses of 4xx.
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
            problem(bad(code, "Upload is already complete"), "completed-upload")
        }
        ErrorKind::Finishing => later(code, "The request is being handled"),
        ErrorKind::Interrupted => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Refusal::coded(code, status, "A crash has interrupted the handling of the request")
                .header(UPLOAD_COMPLETE, from_bool(true))
        }
        ErrorKind::Busy => later(code, "Upload is held by another request"),
        ErrorKind::OffsetMismatch { offset } => {
            let refusal = Refusal::coded(code, StatusCode::CONFLICT, "Offsets do not match");
            problem(refusal, "mismatching-upload-offset")
                .with("expected-offset", *offset)
                .header(UPLOAD_OFFSET, HeaderValue::from(*offset))
        }
        ErrorKind::TotalMismatch { total } => {
            inconsistent(code, format!("Length of the upload was announced as {total} bytes"))
        }
        ErrorKind::TooLong { total } => {
            inconsistent(code, format!("More than the announced {total} bytes arrived"))
        }
        ErrorKind::Incomplete { offset, total } => {
            inconsistent(code, format!("{offset} of {total} bytes have arrived"))
        }
        ErrorKind::TooLarge { limit } => Refusal::coded(
            code,
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("Size of the content exceeds the limit ({limit} bytes)"),
        ),
        ErrorKind::QuotaExceeded { quota, limit } => refusals::exceeded(quota, *limit),
        ErrorKind::ChecksumMismatch => wrong_digest(&REPR_DIGEST, &[]),
        ErrorKind::Superseded => later(code, "Upload was taken over by a newer request"),
        ErrorKind::KeyReused => refusals::key_reused(),
        ErrorKind::ShuttingDown => later(code, "The server is shutting down"),
        ErrorKind::Source => later(code, "The request body ended early"),
        ErrorKind::InvalidToken | ErrorKind::ExpiredToken => refusals::bad_token(kind),
        ErrorKind::Full => refusals::full(),
        ErrorKind::Store | ErrorKind::AlreadyExists => refusals::not_stored(code),
    }
}

pub(super) fn inconsistent(code: &'static str, detail: impl Into<String>) -> Refusal {
    problem(bad(code, detail), "inconsistent-upload-length")
}

/// The `digests` that the field has given are not those of the content.
pub(super) fn wrong_digest(field: &HeaderName, digests: &[Digest]) -> Refusal {
    let wrong = digests.iter().filter_map(|digest| {
        let (_, key) = KNOWN.iter().find(|known| known.0 == digest.algorithm())?;
        let provided = format!(":{}:", BASE64.encode(digest.as_bytes()));
        let (algorithm, header) = (key.as_str(), field.as_str());
        Some(json!({ "algorithm": algorithm, "provided-digest": provided, "header": header }))
    });
    let wrong: Vec<_> = wrong.collect();
    let refusal = bad(code::CHECKSUM_MISMATCH, "A digest does not match the content");
    problem(refusal, "digest-mismatching-values").with("mismatching-digests", wrong)
}

/// The field has no digest that anything could have.
pub(super) fn invalid_digest(field: &HeaderName) -> Refusal {
    let refusal = bad(code::MALFORMED_CHECKSUM, format!("The field {field} has no valid digest"));
    problem(refusal, "digest-invalid-values")
}

/// The content is smaller than content may be.
fn too_small(limit: u64) -> Refusal {
    bad(code::TOO_SMALL, format!("Size of the content is below the limit ({limit} bytes)"))
}

/// Names a problem type (RFC 9457).
fn problem(refusal: Refusal, name: &str) -> Refusal {
    refusal.with("type", format!("https://iana.org/assignments/http-problem-types#{name}"))
}

/// A client asks where the upload stands, and continues there.
fn later(code: &'static str, detail: &str) -> Refusal {
    Refusal::coded(code, StatusCode::SERVICE_UNAVAILABLE, detail).header(RETRY_AFTER, SOON)
}

/// Some clients begin a new upload after a 5xx of a `HEAD`.
pub(super) fn not_now(problem: Problem) -> Refusal {
    let refusal = refusal(problem);
    let has_ended = refusal.headers().contains_key(UPLOAD_COMPLETE);
    if has_ended || !refusal.status().is_server_error() {
        return refusal;
    }
    let says_when = refusal.headers().contains_key(RETRY_AFTER);
    let refusal = refusal.with_status(StatusCode::LOCKED);
    if says_when { refusal } else { refusal.header(RETRY_AFTER, SOON) }
}

pub(super) fn wrong_media_type() -> Refusal {
    let partial = HeaderValue::from_static(PARTIAL_UPLOAD);
    let (code, status) = (code::WRONG_CONTENT_TYPE, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    Refusal::coded(code, status, "The media type must be application/partial-upload")
        .header(ACCEPT_PATCH, partial)
}

pub(super) fn not_allowed() -> Refusal {
    let allow = HeaderValue::from_static("OPTIONS, GET, HEAD, PATCH, DELETE");
    let (code, status) = (code::METHOD_NOT_ALLOWED, StatusCode::METHOD_NOT_ALLOWED);
    Refusal::coded(code, status, "This method is not allowed here").header(ALLOW, allow)
}

/// Encodes a refusal as a problem (RFC 9457).
pub(super) fn encode(refusal: &Refusal) -> Response<Bytes> {
    let mut content = refusal.content();
    let title = content.remove("detail").unwrap_or_default();
    content.insert("title".to_owned(), title);
    let mut response = empty(refusal.status(), refusal.headers().clone());
    // A map from strings to values can always be encoded.
    *response.body_mut() = serde_json::to_vec(&content).unwrap_or_default().into();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.entry(UPLOAD_COMPLETE).or_insert(from_bool(false));
    response
}

const SOON: HeaderValue = HeaderValue::from_static("1");
pub(super) const PARTIAL_UPLOAD: &str = "application/partial-upload";
