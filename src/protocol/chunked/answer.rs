//! The layer's own answers.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value};

use super::config::Chunked;
use super::form::FormError;
use crate::code;
use crate::engine::{Error, ErrorKind};
use crate::policy::Refusal;
pub(super) use crate::protocol::refusals::bad;
use crate::protocol::{BodyError, Problem, refusals};
use crate::time;
use crate::upload::Upload;

/// Encodes the layer's own responses: those to chunks, and all refusals.
///
/// ```
/// use http::HeaderValue;
/// use serde_json::{Map, Value};
/// use tower_chunked_upload::chunked::Encoder;
///
/// /// `upload_id=…&offset=…`
/// struct Form;
///
/// impl Encoder for Form {
///     fn content_type(&self) -> HeaderValue {
///         HeaderValue::from_static("application/x-www-form-urlencoded")
///     }
///
///     fn encode(&self, answer: &Map<String, Value>) -> Vec<u8> {
///         let pairs = answer.iter().map(|(key, value)| format!("{key}={value}"));
///         pairs.collect::<Vec<_>>().join("&").into_bytes()
///     }
/// }
/// ```
pub trait Encoder: Send + Sync + 'static {
    /// Returns the media type of what [`encode`](Self::encode) writes.
    fn content_type(&self) -> HeaderValue;

    /// Encodes the content of a response.
    fn encode(&self, answer: &Map<String, Value>) -> Vec<u8>;
}

/// Encodes responses as `application/json`. This is the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonEncoder;

impl Encoder for JsonEncoder {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/json")
    }

    fn encode(&self, answer: &Map<String, Value>) -> Vec<u8> {
        // A map from strings to values can always be encoded.
        serde_json::to_vec(answer).unwrap_or_default()
    }
}

/// An answer that is not yet encoded.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content: Option<Map<String, Value>>,
    pub(super) headers: HeaderMap,
}

impl Answer {
    pub(super) fn ok(content: Map<String, Value>) -> Self {
        Self { content: Some(content), ..Self::empty(StatusCode::OK) }
    }

    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, content: None, headers: HeaderMap::new() }
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds the `Range` of the bytes that have arrived. jQuery-File-Upload continues after it.
    pub(super) fn with_range(self, offset: u64) -> Self {
        match offset.checked_sub(1).map(|last| HeaderValue::try_from(format!("0-{last}"))) {
            Some(Ok(range)) => self.header(header::RANGE, range),
            _ => self,
        }
    }
}

impl Chunked {
    pub(super) fn response(
        &self,
        status: StatusCode,
        headers: HeaderMap,
        content: Option<&Map<String, Value>>,
    ) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if let Some(content) = content {
            let media_type = self.content_type.clone();
            let media_type = media_type.unwrap_or_else(|| self.encoder.content_type());
            response.headers_mut().insert(CONTENT_TYPE, media_type);
            *response.body_mut() = self.encoder.encode(content).into();
        }
        response
    }
}

/// The status body: `upload_id`, `offset` and `expires`, which every answer about an upload has.
pub(super) fn status_body(upload: &Upload) -> Map<String, Value> {
    let mut content = Map::new();
    content.insert("upload_id".to_owned(), upload.id.as_str().into());
    content.insert("offset".to_owned(), upload.offset().into());
    let expires = upload.expires().map(time::to_rfc3339);
    content.insert("expires".to_owned(), expires.into());
    content
}

/// Returns the protocol's status and message for a problem, without the details of the store.
pub(super) fn refusal(problem: Problem) -> Refusal {
    match problem {
        Problem::Refused(refusal) if refusal.is_unauthenticated() => {
            refusal.with_status(StatusCode::FORBIDDEN)
        }
        Problem::Refused(refused) => refused.in_words_of(|error| refusal(error.into())),
        Problem::Engine(error) => engine_refusal(error.kind()).because_of(error),
        Problem::Body(error) => body_refusal(error),
    }
}

fn body_refusal(error: BodyError) -> Refusal {
    let timeout = |code, detail| Refusal::coded(code, StatusCode::REQUEST_TIMEOUT, detail);
    match error {
        BodyError::Idle => timeout(code::IDLE_TIMEOUT, "No data arrived for too long"),
        BodyError::Slow => timeout(code::TOO_SLOW, "Data arrived too slowly"),
        BodyError::TooLarge(limit, error) => {
            let limit = limit.map(|limit| format!(" ({limit} bytes)")).unwrap_or_default();
            let detail = format!("Size of the request exceeds the limit{limit}");
            request_too_large(detail).because_of(Error::source_failed(error))
        }
        BodyError::Failed(error) => refusal(Error::source_failed(error).into()),
    }
}

fn engine_refusal(kind: &ErrorKind) -> Refusal {
    let code = kind.code();
    match kind {
        ErrorKind::NotFound => Refusal::coded(code, StatusCode::NOT_FOUND, "Upload not found"),
        ErrorKind::Expired => Refusal::coded(code, StatusCode::GONE, "Upload has expired"),
        ErrorKind::AlreadyComplete => bad(code, "Upload has already been marked as \"complete\""),
        ErrorKind::Finishing => bad(code, "Upload is being completed"),
        ErrorKind::Interrupted => bad(code, "Completion of the upload was interrupted"),
        ErrorKind::OffsetMismatch { offset } => {
            bad(code, "Offsets do not match").with("offset", *offset)
        }
        ErrorKind::TotalMismatch { total } => {
            bad(code, format!("Size of file was announced as {total} bytes"))
        }
        ErrorKind::TooLong { .. } => wrong_size(code),
        ErrorKind::TooLarge { limit } => {
            bad(code, format!("Size of file exceeds the limit ({limit} bytes)"))
        }
        ErrorKind::QuotaExceeded { quota, limit } => {
            refusals::exceeded(quota, *limit).with("limit", *limit)
        }
        ErrorKind::Incomplete { offset, total } => {
            bad(code, format!("{offset} of {total} bytes have arrived")).with("offset", *offset)
        }
        ErrorKind::ChecksumMismatch => bad(code, "md5 checksum does not match"),
        ErrorKind::Superseded => {
            Refusal::coded(code, StatusCode::CONFLICT, "Upload was taken over by a newer request")
        }
        ErrorKind::Busy => {
            Refusal::coded(code, StatusCode::CONFLICT, "Upload is held by another request")
                .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
        }
        ErrorKind::KeyReused => refusals::key_reused(),
        ErrorKind::ShuttingDown => {
            Refusal::coded(code, StatusCode::SERVICE_UNAVAILABLE, "The server is shutting down")
                .header(header::RETRY_AFTER, HeaderValue::from_static("5"))
        }
        ErrorKind::InvalidToken | ErrorKind::ExpiredToken => {
            refusals::bad_token(kind).with_status(StatusCode::FORBIDDEN)
        }
        ErrorKind::Full => refusals::full(),
        ErrorKind::Source => bad(code, "The request body ended early"),
        ErrorKind::Damaged => {
            Refusal::coded(code, StatusCode::GONE, "The stored upload is damaged; begin a new one")
        }
        ErrorKind::Store | ErrorKind::AlreadyExists => refusals::not_stored(code),
    }
}

impl From<FormError> for Refusal {
    fn from(error: FormError) -> Self {
        bad(error.code(), format!("Error in the form: {error}"))
    }
}

impl From<FormError> for Problem {
    fn from(error: FormError) -> Self {
        Self::Refused(error.into())
    }
}

pub(super) fn request_too_large(detail: impl Into<String>) -> Refusal {
    Refusal::coded(code::REQUEST_TOO_LARGE, StatusCode::PAYLOAD_TOO_LARGE, detail)
}

/// Returns the refusal of a body with a content coding. Storing it would not store the file that
/// its name and its length describe.
pub(super) fn encoded_body() -> Refusal {
    let detail = "A body with a Content-Encoding is not accepted";
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    let refusal = Refusal::coded(code::UNSUPPORTED_ENCODING, status, detail);
    // RFC 9110, 12.5.3: the codings that are supported.
    refusal.header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
}

pub(super) fn no_file() -> Refusal {
    bad(code::NO_FILE, "No chunk file was submitted")
}

pub(super) fn bad_headers(code: &'static str) -> Refusal {
    bad(code, "Error in request headers")
}

pub(super) fn wrong_size(code: &'static str) -> Refusal {
    bad(code, "File size doesn't match headers")
}
