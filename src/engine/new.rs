//! What is known of an upload when it begins.

use std::time::SystemTime;

use crate::id::UploadId;
use crate::upload::{Owner, Upload};

/// What is known of an upload when it begins.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct NewUpload {
    filename: String,
    content_type: Option<String>,
    fields: Vec<(String, String)>,
    attributes: serde_json::Value,
    total: Option<u64>,
    max_bytes: Option<u64>,
    limit: Limit,
}

/// How large the file may get by the append that begins the upload.
#[derive(Clone, Copy, Debug, Default)]
enum Limit {
    /// As large as an upload of its kind may be.
    #[default]
    Usual,
    Other(Option<u64>),
}

impl NewUpload {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// The file's name as the client sent it.
    pub fn filename(mut self, name: impl Into<String>) -> Self {
        self.filename = name.into();
        self
    }

    /// The media type that the client claims.
    pub fn content_type(mut self, media_type: impl Into<Option<String>>) -> Self {
        self.content_type = media_type.into();
        self
    }

    /// Names and values that came with it.
    pub fn fields(mut self, fields: Vec<(String, String)>) -> Self {
        self.fields = fields;
        self
    }

    /// What the application attaches.
    pub fn attributes(mut self, attributes: serde_json::Value) -> Self {
        self.attributes = attributes;
        self
    }

    /// How many bytes the file will have.
    pub fn total(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.total = bytes.into();
        self
    }

    /// The largest size that is taken, instead of the one for all uploads. It is kept with the upload and
    /// holds for whatever is added later.
    ///
    /// Over HTTP [`Policy::max_bytes`](crate::Policy::max_bytes) has the last word. It is asked with this
    /// limit when the upload is known; a form that starts at the file's beginning may be refused before, by
    /// its headers, if it is larger than other uploads may be.
    pub fn max_bytes(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.max_bytes = bytes.into();
        self
    }

    /// The largest size that is taken by the [`Append`](crate::Append) that begins the upload, instead of
    /// every other limit; `None` for no limit. It is not kept with the upload.
    pub fn limit(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.limit = Limit::Other(bytes.into());
        self
    }

    /// The limit of its size, where `configured` is the one of all uploads.
    pub(super) fn limit_within(&self, configured: Option<u64>) -> Option<u64> {
        match self.limit {
            Limit::Usual => self.max_bytes.or(configured),
            Limit::Other(limit) => limit,
        }
    }

    pub(super) fn into_record(
        self,
        owner: Option<Owner>,
        created: SystemTime,
        expires: Option<SystemTime>,
    ) -> Upload {
        let mut upload = Upload::new(UploadId::random(), created);
        upload.owner = owner;
        upload.raw_filename = self.filename;
        upload.content_type = self.content_type;
        upload.fields = self.fields;
        upload.attributes = self.attributes;
        upload.max_bytes = self.max_bytes;
        upload.progress.total = self.total;
        upload.progress.expires = expires;
        upload
    }
}
