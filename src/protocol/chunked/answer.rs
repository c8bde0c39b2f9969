//! The layer's own answers.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value};

use super::config::Config;
use super::form::FormError;
use crate::engine::{Error, ErrorKind, Quota};
use crate::log;
use crate::policy::Refusal;
use crate::time;
use crate::upload::Upload;

/// Writes the layer's own answers: those to chunks and all refusals.
///
/// ```
/// use http::HeaderValue;
/// use serde_json::{Map, Value};
/// use tower_chunked_upload::Encoder;
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
///         let pairs: Vec<_> = answer.iter().map(|(key, value)| format!("{key}={value}")).collect();
///         pairs.join("&").into_bytes()
///     }
/// }
/// ```
pub trait Encoder: Send + Sync + 'static {
    /// The media type of what [`encode`](Self::encode) writes.
    fn content_type(&self) -> HeaderValue;

    /// Writes an answer.
    fn encode(&self, answer: &Map<String, Value>) -> Vec<u8>;
}

/// `application/json`: the encoder unless another one is set.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonEncoder;

impl Encoder for JsonEncoder {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/json")
    }

    fn encode(&self, answer: &Map<String, Value>) -> Vec<u8> {
        // A map of strings and values can always be written.
        serde_json::to_vec(answer).unwrap_or_default()
    }
}

/// An answer that is not yet written.
pub(super) struct Answer {
    status: StatusCode,
    content: Option<Map<String, Value>>,
    headers: HeaderMap,
    refusal: Option<Refusal>,
}

impl Answer {
    pub(super) fn ok(content: Map<String, Value>) -> Self {
        Self { content: Some(content), ..Self::empty(StatusCode::OK) }
    }

    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, content: None, headers: HeaderMap::new(), refusal: None }
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Tells jQuery-File-Upload, which takes its next start from it, what has arrived.
    pub(super) fn with_range(self, offset: u64) -> Self {
        match offset.checked_sub(1).map(|last| HeaderValue::try_from(format!("0-{last}"))) {
            Some(Ok(range)) => self.header(header::RANGE, range),
            _ => self,
        }
    }

    pub(super) fn into_response(self, config: &Config) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(content) = self.content {
            let media_type = config.content_type.clone();
            let media_type = media_type.unwrap_or_else(|| config.encoder.content_type());
            headers.insert(CONTENT_TYPE, media_type);
            *response.body_mut() = config.encoder.encode(&content).into();
        }
        if let Some(refusal) = self.refusal {
            log::refused(&refusal);
            response.extensions_mut().insert(refusal);
        }
        response
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self {
            status: refusal.status(),
            content: Some(refusal.content().clone()),
            headers: refusal.headers().clone(),
            refusal: Some(refusal),
        }
    }
}

/// `upload_id`, `offset` and `expires`: what every answer about an upload says.
pub(super) fn standing(upload: &Upload) -> Map<String, Value> {
    let mut content = Map::new();
    content.insert("upload_id".to_owned(), upload.id.as_str().into());
    content.insert("offset".to_owned(), upload.offset().into());
    let expires = upload.expires().map(time::to_rfc3339);
    content.insert("expires".to_owned(), expires.into());
    content
}

impl From<Error> for Refusal {
    /// The protocol's words for it, without what the store said.
    fn from(error: Error) -> Self {
        Self::from(error.kind().clone()).because_of(error)
    }
}

impl From<ErrorKind> for Refusal {
    fn from(kind: ErrorKind) -> Self {
        let bad = |detail: &str| Self::new(StatusCode::BAD_REQUEST, detail);
        match kind {
            ErrorKind::NotFound => Self::new(StatusCode::NOT_FOUND, "Upload not found"),
            ErrorKind::Expired => Self::new(StatusCode::GONE, "Upload has expired"),
            ErrorKind::AlreadyComplete => bad("Upload has already been marked as \"complete\""),
            ErrorKind::Finishing => bad("Upload is being completed"),
            ErrorKind::OffsetMismatch { offset } => {
                bad("Offsets do not match").with("offset", offset)
            }
            ErrorKind::TotalMismatch { total } => {
                bad(&format!("Size of file was announced as {total} bytes"))
            }
            ErrorKind::TooLong { .. } => bad(WRONG_SIZE),
            ErrorKind::TooLarge { limit } => {
                bad(&format!("Size of file exceeds the limit ({limit} bytes)"))
            }
            ErrorKind::QuotaExceeded { quota, limit } => {
                let status = match quota {
                    Quota::OwnerUploads => StatusCode::TOO_MANY_REQUESTS,
                    Quota::OwnerBytes => StatusCode::PAYLOAD_TOO_LARGE,
                    Quota::AllBytes | Quota::FreeBytes => StatusCode::INSUFFICIENT_STORAGE,
                };
                Self::new(status, format!("The limit is {limit} {quota}")).with("limit", limit)
            }
            ErrorKind::Incomplete { offset, total } => {
                bad(&format!("{offset} of {total} bytes have arrived")).with("offset", offset)
            }
            ErrorKind::ChecksumMismatch => bad("md5 checksum does not match"),
            ErrorKind::Superseded => {
                Self::new(StatusCode::CONFLICT, "Upload was taken over by a newer request")
            }
            ErrorKind::Busy => Self::new(StatusCode::CONFLICT, "Upload is held by another request")
                .header(header::RETRY_AFTER, HeaderValue::from_static("1")),
            ErrorKind::ShuttingDown => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "The server is shutting down")
                    .header(header::RETRY_AFTER, HeaderValue::from_static("5"))
            }
            ErrorKind::Full => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "There is no room for the upload")
            }
            ErrorKind::Source => bad("The request ended before its end"),
            ErrorKind::Damaged => {
                Self::new(StatusCode::GONE, "The stored upload is damaged; begin a new one")
            }
            ErrorKind::Store | ErrorKind::AlreadyExists => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "The upload could not be stored")
            }
        }
    }
}

impl From<FormError> for Refusal {
    fn from(error: FormError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("Error in the form: {error}"))
    }
}

/// The request's media type; two of them are none.
pub(super) fn media_type(parts: &Parts) -> Result<Option<&HeaderValue>, Refusal> {
    let mut types = parts.headers.get_all(CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (media_type, None) => Ok(media_type),
        _ => Err(bad_headers()),
    }
}

/// Refuses a body in a content coding: what would be stored is not the file that its name and its length
/// speak of.
pub(super) fn plain(parts: &Parts) -> Result<(), Refusal> {
    let codings = parts.headers.get_all(CONTENT_ENCODING).iter();
    let mut codings = codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    if codings.all(|coding| matches!(&*coding.trim_ascii().to_ascii_lowercase(), b"" | b"identity"))
    {
        return Ok(());
    }
    let refusal = Refusal::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "A body with a Content-Encoding is not taken",
    );
    // RFC 9110, 12.5.3: which ones would be.
    Err(refusal.header(ACCEPT_ENCODING, HeaderValue::from_static("identity")))
}

pub(super) fn no_file() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "No chunk file was submitted")
}

pub(super) fn bad_headers() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "Error in request headers")
}

pub(super) fn wrong_size() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, WRONG_SIZE)
}

const WRONG_SIZE: &str = "File size doesn't match headers";
