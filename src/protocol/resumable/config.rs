//! The settings of the dialect.

use std::fmt;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::request::Parts;

use super::head;
use crate::id::UploadId;
use crate::protocol::location::Location;
use crate::protocol::path::Path;

/// Settings of "Resumable Uploads for HTTP", for
/// [`ChunkedUploadLayer::resumable`](crate::ChunkedUploadLayer::resumable).
#[derive(Clone)]
#[must_use]
pub struct Resumable {
    /// `None` if the protocol is not spoken.
    pub(super) path: Option<Path>,
    chosen: Chosen,
    location: Location,
    head_bytes: usize,
    pub(super) kept_headers: Vec<HeaderName>,
    pub(super) max_append_bytes: Option<u64>,
    pub(super) min_append_bytes: u64,
    pub(super) min_bytes: u64,
    pub(super) hands_over_once: bool,
}

/// Which requests are resumable.
#[derive(Clone)]
enum Chosen {
    Paths(Vec<Path>),
    Rule(Arc<dyn Fn(&Parts) -> bool + Send + Sync>),
}

impl Resumable {
    /// Creates settings in which each upload has a URL one segment below this path: `/uploads`
    /// gives `/uploads/0123…`. No request is resumable until you choose some with
    /// [`paths`](Self::paths) or [`requests`](Self::requests).
    ///
    /// The path must be one that neither the application nor another protocol uses. It is compared
    /// byte by byte with that of the request as the layer sees it.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: Some(Path::new(path)), ..Self::off() }
    }

    /// The protocol is not spoken.
    pub(crate) fn off() -> Self {
        Self {
            path: None,
            chosen: Chosen::Paths(Vec::new()),
            location: Location::Path,
            head_bytes: 8 * 1024,
            kept_headers: Vec::new(),
            max_append_bytes: None,
            min_append_bytes: 0,
            min_bytes: 0,
            hands_over_once: false,
        }
    }

    /// Makes the requests to these paths resumable, whatever their method is, except `GET`, `HEAD`,
    /// `OPTIONS`, `TRACE` and `CONNECT`. A trailing slash makes no difference. It replaces an
    /// earlier `paths` or [`requests`](Self::requests).
    ///
    /// Requests that are not chosen pass as if the layer were not there, with all their headers:
    /// some clients, among them Apple's URLSession, send those of the draft with any request.
    pub fn paths(mut self, paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.chosen = Chosen::Paths(paths.into_iter().map(Path::new).collect());
        self
    }

    /// Makes the requests resumable for whose head this rule returns true, with the same exceptions.
    /// It replaces an earlier [`paths`](Self::paths) or `requests`.
    pub fn requests(mut self, rule: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.chosen = Chosen::Rule(Arc::new(rule));
        self
    }

    /// Sets the URL that clients see in front of an upload's id, such as
    /// `https://example.org/api/uploads` or `/api/uploads`. Default: the path of the uploads, as
    /// the layer sees it.
    ///
    /// This is needed if a proxy or an outer router, such as axum's `nest`, removes a prefix of the
    /// path.
    pub fn public_url(mut self, url: impl AsRef<str>) -> Self {
        self.location = Location::base(url.as_ref());
        self
    }

    /// Sends clients the absolute URL of an upload, with the host that the request names. Default:
    /// off, so the URL is a path, which all clients understand and which stays right behind any
    /// proxy.
    ///
    /// If `forwarded` is true, `X-Forwarded-Proto` and `X-Forwarded-Host` are used: pass true only
    /// behind a proxy that sets them. If it is false, the scheme is that of the request's URI, or
    /// `http` if it has none, as over HTTP/1.1, even behind TLS. This setting and
    /// [`public_url`](Self::public_url) replace each other.
    pub fn absolute_urls(mut self, forwarded: bool) -> Self {
        self.location = Location::Host { forwarded };
        self
    }

    /// Sets the maximum size of what is kept of a request's head, in bytes: its method, target and
    /// headers of the content. Default: 8 KiB. Beyond that, a request with the whole content passes
    /// as an ordinary one, and one with a part of it gets a 431.
    pub fn max_head_bytes(mut self, bytes: usize) -> Self {
        self.head_bytes = bytes;
        self
    }

    /// Sets which headers of the request that begins an upload the handler gets from it, besides
    /// those that describe the content. Default: none. All others come from the request that
    /// completes the upload.
    ///
    /// `Authorization`, `Cookie` and those of proxies are never kept.
    pub fn keep_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.kept_headers = names.into_iter().collect();
        self
    }

    /// Sets the maximum size of the content of one request, in bytes, for a proxy that limits
    /// bodies. The layer announces it to clients, and refuses a larger request with 413 (code
    /// `too-large`). Default: no limit.
    pub fn max_append_bytes(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.max_append_bytes = bytes.into();
        self
    }

    /// Sets the minimum size of the content of one request, in bytes, so that no client sends a file
    /// in too many requests. The layer announces it to clients, and refuses a smaller request with
    /// 400 (code `too-small`). Default: 0. Requests without content, and those that complete an
    /// upload, may be smaller, and so may those whose size is not known beforehand. It must not
    /// exceed [`max_append_bytes`](Self::max_append_bytes).
    pub fn min_append_bytes(mut self, bytes: u64) -> Self {
        self.min_append_bytes = bytes;
        self
    }

    /// Sets the minimum size of the whole content, in bytes. The layer announces it to clients, and
    /// refuses a smaller upload with 400 (code `too-small`). Default: 0.
    pub fn min_bytes(mut self, bytes: u64) -> Self {
        self.min_bytes = bytes;
        self
    }

    /// Sets whether an upload ends when a crash interrupts its hand-over, for a handler that must
    /// not run twice. Default: off; the client's next request then runs the handler again.
    ///
    /// It is unknown what the handler did before the crash. The client gets a 500, and the upload
    /// stays in the listing as [`Status::Interrupted`](crate::Status::Interrupted) until it expires
    /// or is removed.
    pub fn hand_over_once(mut self, once: bool) -> Self {
        self.hands_over_once = once;
        self
    }

    /// The limit of the size for a request that begins at `offset`, where `whole` is that of the
    /// whole.
    pub(super) fn limit_at(&self, offset: u64, whole: Option<u64>) -> Option<u64> {
        let request = self.max_append_bytes.map(|bytes| offset.saturating_add(bytes));
        request.into_iter().chain(whole).min()
    }

    /// The URL of an upload.
    pub(super) fn url(&self, request: &Parts, id: &UploadId) -> Option<HeaderValue> {
        let url = self.location.url(request, self.path.as_ref()?.as_str(), id);
        HeaderValue::try_from(url).ok()
    }

    pub(super) fn is_chosen(&self, request: &Parts) -> bool {
        match &self.chosen {
            Chosen::Paths(paths) => paths.iter().any(|path| path.matches(request.uri.path())),
            Chosen::Rule(rule) => rule(request),
        }
    }

    /// Whether the head is small enough to be kept.
    pub(super) fn can_keep(&self, request: &Parts) -> bool {
        head::size(self, request) <= self.head_bytes
    }
}

impl fmt::Debug for Resumable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumable").field("path", &self.path).finish_non_exhaustive()
    }
}
