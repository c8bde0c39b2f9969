//! The settings of the dialect.

use std::fmt;
use std::sync::Arc;

use http::header::{CONTENT_RANGE, HeaderName, HeaderValue};

use super::answer::{Encoder, JsonEncoder};
use super::form::FormLimits;
use crate::protocol::path::Path;

/// Settings of the protocol of django-chunked-upload, for
/// [`ChunkedUploadLayer::chunked`](crate::ChunkedUploadLayer::chunked).
#[derive(Clone)]
#[must_use]
pub struct Chunked {
    pub(super) chunk_path: Path,
    pub(super) complete_path: Path,
    pub(super) field: Arc<str>,
    pub(super) range_header: HeaderName,
    pub(super) range_required: bool,
    pub(super) md5_check: bool,
    pub(super) encoder: Arc<dyn Encoder>,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) form_limits: FormLimits,
}

impl Default for Chunked {
    fn default() -> Self {
        Self {
            chunk_path: Path::new("/api/chunked_upload"),
            complete_path: Path::new("/api/chunked_upload_complete"),
            field: Arc::from("file"),
            range_header: CONTENT_RANGE,
            range_required: false,
            md5_check: true,
            encoder: Arc::new(JsonEncoder),
            content_type: None,
            form_limits: FormLimits::default(),
        }
    }
}

impl Chunked {
    /// The settings of a layer that was given none.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where chunks are sent; `/api/chunked_upload` unless set.
    ///
    /// The path is compared byte by byte with that of the request as the layer sees it: under axum's
    /// `nest` and `nest_service`, without the prefix. It also matches with or without a slash at its
    /// end.
    pub fn chunk_path(mut self, path: impl Into<String>) -> Self {
        self.chunk_path = Path::new(path);
        self
    }

    /// Where uploads are completed; `/api/chunked_upload_complete` unless set. It matches as
    /// [`chunk_path`](Self::chunk_path) does, and comes after it if both are the same.
    ///
    /// The inner service must answer to `POST` here. It gets the path as it is written here, whether or
    /// not the client has sent a slash at its end. The layers of an axum router come too late for that,
    /// see [`ChunkedUploadLayer::around`](crate::ChunkedUploadLayer::around).
    pub fn complete_path(mut self, path: impl Into<String>) -> Self {
        self.complete_path = Path::new(path);
        self
    }

    /// The form field with the chunk; `file` unless set.
    pub fn field_name(mut self, name: impl Into<String>) -> Self {
        self.field = name.into().into();
        self
    }

    /// The header with the chunk's place in the file; `Content-Range` unless set.
    pub fn content_range_header(mut self, name: HeaderName) -> Self {
        self.range_header = name;
        self
    }

    /// Whether a chunk must say where in the file it belongs. Unless set, one that does not is the
    /// whole file.
    pub fn require_content_range(mut self, required: bool) -> Self {
        self.range_required = required;
        self
    }

    /// Whether a completion must name the file's MD5, and it must be right; it must unless switched
    /// off. Switched off, an `md5` that is sent is not looked at.
    ///
    /// To save the work of the checksum too, switch it off in
    /// [`UploadsBuilder::checksum`](crate::UploadsBuilder::checksum).
    pub fn md5_check(mut self, on: bool) -> Self {
        self.md5_check = on;
        self
    }

    /// How answers are written; [`JsonEncoder`] unless set.
    pub fn encoder(mut self, encoder: impl Encoder) -> Self {
        self.encoder = Arc::new(encoder);
        self
    }

    /// The media type that answers claim, instead of the encoder's.
    pub fn content_type(mut self, media_type: HeaderValue) -> Self {
        self.content_type = Some(media_type);
        self
    }

    /// The bounds of a form beside its file; see [`FormLimits`] for each one's default.
    pub fn form_limits(mut self, limits: FormLimits) -> Self {
        self.form_limits = limits;
        self
    }
}

impl fmt::Debug for Chunked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunked")
            .field("chunk_path", &self.chunk_path)
            .field("complete_path", &self.complete_path)
            .field("field", &self.field)
            .field("range_header", &self.range_header)
            .field("range_required", &self.range_required)
            .field("md5_check", &self.md5_check)
            .field("form_limits", &self.form_limits)
            .finish_non_exhaustive()
    }
}
