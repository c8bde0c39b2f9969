//! The settings of the dialect.

use std::fmt;
use std::sync::Arc;

use http::header::{CONTENT_RANGE, HeaderName, HeaderValue};

use super::answer::{Encoder, JsonEncoder};
use super::form::FormLimits;
use crate::protocol::path::Path;

/// Settings of the django-chunked-upload protocol, for
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
    /// Returns the default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the path for chunks. Default: `/api/chunked_upload`.
    ///
    /// It is compared byte by byte with the path of the request as the layer sees it: under axum's
    /// `nest` and `nest_service`, without the prefix. A trailing slash makes no difference.
    pub fn chunk_path(mut self, path: impl Into<String>) -> Self {
        self.chunk_path = Path::new(path);
        self
    }

    /// Sets the path for completing uploads. Default: `/api/chunked_upload_complete`. It is matched
    /// in the same way as [`chunk_path`](Self::chunk_path), which takes precedence if both are the
    /// same.
    ///
    /// The inner service must answer `POST` requests to this path. It gets the path as it is
    /// written here, whether or not the client has sent a trailing slash. The layers of an axum
    /// router run too late for that, see
    /// [`ChunkedUploadLayer::around`](crate::ChunkedUploadLayer::around).
    pub fn complete_path(mut self, path: impl Into<String>) -> Self {
        self.complete_path = Path::new(path);
        self
    }

    /// Sets the name of the form field with the chunk. Default: `file`.
    pub fn field_name(mut self, name: impl Into<String>) -> Self {
        self.field = name.into().into();
        self
    }

    /// Sets the header with the chunk's position in the file. Default: `Content-Range`.
    pub fn content_range_header(mut self, name: HeaderName) -> Self {
        self.range_header = name;
        self
    }

    /// Sets whether a chunk must have this header. Default: off, so that a chunk without it is the
    /// whole file.
    pub fn require_content_range(mut self, required: bool) -> Self {
        self.range_required = required;
        self
    }

    /// Sets whether a completion must have the correct MD5 of the file. Default: on. If it is off,
    /// an `md5` in the request is ignored.
    ///
    /// To save the cost of the checksum too, switch off
    /// [`UploadsBuilder::checksum`](crate::UploadsBuilder::checksum).
    pub fn md5_check(mut self, on: bool) -> Self {
        self.md5_check = on;
        self
    }

    /// Sets the encoder of responses. Default: [`JsonEncoder`].
    pub fn encoder(mut self, encoder: impl Encoder) -> Self {
        self.encoder = Arc::new(encoder);
        self
    }

    /// Sets the media type of responses. Default: that of the encoder.
    pub fn content_type(mut self, media_type: HeaderValue) -> Self {
        self.content_type = Some(media_type);
        self
    }

    /// Sets the limits on a form apart from its file; see [`FormLimits`] for the defaults.
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
