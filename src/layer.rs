//! The layer and its settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use tower_layer::Layer;

use crate::engine::Uploads;
use crate::policy::Policy;
use crate::protocol::chunked::{Config, Encoder, FormLimits};
use crate::service::ChunkedUpload;

/// Receives chunked uploads in front of an inner service, which gets each finished file as a
/// [`CompletedUpload`](crate::CompletedUpload) in the extensions of one ordinary request.
///
/// ```
/// # fn main() -> Result<(), tower_chunked_upload::ConfigError> {
/// use tower_chunked_upload::store::FsStore;
/// use tower_chunked_upload::{ChunkedUploadLayer, Uploads};
///
/// let uploads = Uploads::builder(FsStore::default()).build()?;
/// let layer = ChunkedUploadLayer::new(uploads)
///     .chunk_path("/files/chunk")
///     .complete_path("/files/done");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct ChunkedUploadLayer {
    config: Arc<Config>,
}

impl ChunkedUploadLayer {
    /// A layer with default settings over these uploads. A clone of the handle does everything else:
    /// it lists and sweeps them, and a method without HTTP may continue or complete them.
    pub fn new(uploads: Uploads) -> Self {
        Self { config: Arc::new(Config::new(uploads)) }
    }

    /// Puts the layer around a service. It is [`Layer::layer`] without the trait; for an axum router use it
    /// instead of the router's own `layer` if clients may send a slash at the end of the path.
    ///
    /// An axum router calls its own layers when it has looked for the route already, by the path as the
    /// client has sent it. Around the router, this layer gives it the path that there is a route for:
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
    /// # use axum::http::StatusCode;
    /// # use axum::{Router, routing::post};
    /// # use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Uploads};
    /// # async fn done(_: CompletedUpload) {}
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let uploads = Uploads::builder(tower_chunked_upload::store::MemoryStore::new()).build()?;
    /// let routes = Router::new().route("/api/chunked_upload_complete", post(done));
    /// let app = Router::new().fallback_service(ChunkedUploadLayer::new(uploads).around(routes));
    /// # let (_, answer) = client::send(&app, client::chunk(client::CHUNK, "a.txt", "", "Hello")).await;
    /// # let mut done = client::completion(&answer["upload_id"], "Hello");
    /// # *done.uri_mut() = "/api/chunked_upload_complete/".parse()?;
    /// # assert_eq!(client::send(&app, done).await.0, StatusCode::OK);
    /// # Ok(())
    /// # }
    /// ```
    pub fn around<S>(&self, inner: S) -> ChunkedUpload<S> {
        self.layer(inner)
    }

    fn set(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    /// Where chunks are sent; `/api/chunked_upload` unless set.
    ///
    /// The path is compared byte by byte with that of the request as this layer sees it: under
    /// axum's `nest`, without the prefix. It also matches with or without a slash at its end.
    ///
    /// A layer on a router that is nested is only called for paths that have a route there, so such a
    /// router needs a route for the chunk path too; its handler is never called. With
    /// `nest_service`, and on the outermost router, there is no need for one.
    pub fn chunk_path(self, path: impl Into<String>) -> Self {
        self.set(|config| config.chunk_path = normal(path.into()))
    }

    /// Where uploads are completed; `/api/chunked_upload_complete` unless set. It matches as
    /// [`chunk_path`](Self::chunk_path) does, and comes after it if both are the same.
    ///
    /// The inner service must answer to `POST` here. It gets the path as it is written here, whether or not
    /// the client has sent a slash at its end; the layers of an axum router come too late for that, see
    /// [`around`](Self::around).
    pub fn complete_path(self, path: impl Into<String>) -> Self {
        let mut path = path.into();
        if !path.starts_with('/') {
            path.insert(0, '/');
        }
        self.set(|config| {
            config.complete_path = normal(path.clone());
            config.handler_path = path;
        })
    }

    /// The form field with the chunk; `file` unless set.
    pub fn field_name(self, name: impl Into<String>) -> Self {
        self.set(|config| config.field = name.into().into())
    }

    /// The header with the chunk's place in the file; `Content-Range` unless set.
    pub fn content_range_header(self, name: HeaderName) -> Self {
        self.set(|config| config.range_header = name)
    }

    /// Whether a chunk must say where in the file it belongs. Unless set, one that does not is the
    /// whole file.
    pub fn require_content_range(self, required: bool) -> Self {
        self.set(|config| config.range_required = required)
    }

    /// Whether a completion must name the file's MD5, and it must be right; it must unless switched
    /// off. Switched off, an `md5` that is sent is not looked at.
    ///
    /// To save the work of the checksum too, switch it off in
    /// [`UploadsBuilder::checksum`](crate::UploadsBuilder::checksum).
    pub fn md5_check(self, on: bool) -> Self {
        self.set(|config| config.md5_check = on)
    }

    /// What the application decides; `()`, which takes everything from everybody, unless set.
    pub fn policy(self, policy: impl Policy) -> Self {
        self.set(|config| config.policy = Arc::new(policy))
    }

    /// How answers are written; [`JsonEncoder`](crate::JsonEncoder) unless set.
    pub fn encoder(self, encoder: impl Encoder) -> Self {
        self.set(|config| config.encoder = Arc::new(encoder))
    }

    /// The media type that answers claim, instead of the encoder's.
    pub fn content_type(self, media_type: HeaderValue) -> Self {
        self.set(|config| config.content_type = Some(media_type))
    }

    /// The bounds of a form beside its file; see [`FormLimits`] for each one's default.
    pub fn form_limits(self, limits: FormLimits) -> Self {
        self.set(|config| config.form_limits = limits)
    }

    /// The largest body of a completion, in bytes; 64 KiB unless set.
    pub fn max_completion_bytes(self, bytes: usize) -> Self {
        self.set(|config| config.completion_bytes = bytes)
    }

    /// A body that brings no byte for this long is ended with a 408; 60 seconds unless set.
    pub fn idle_timeout(self, time: Duration) -> Self {
        self.set(|config| config.idle_timeout = time)
    }

    /// A body that brings fewer than so many bytes in any such `time` is ended with a 408; as slow
    /// as it likes unless set. Only the time counts in which the client is waited for.
    ///
    /// [`idle_timeout`](Self::idle_timeout) ends a client that sends nothing; this one also a client that
    /// sends a byte now and then to keep its connection.
    pub fn min_rate(self, bytes: u64, time: Duration) -> Self {
        self.set(|config| config.min_rate = Some((bytes, time)))
    }

    /// How much of a refused body is still read, and for how long: 32 MiB and 10 seconds unless
    /// set.
    ///
    /// A client that is still sending may not read an answer before it is done, and loses it if the
    /// connection is closed under it. The answer goes out at once; what follows is read and thrown
    /// away up to these bounds, or until nothing has come for 5 seconds, and then the connection is closed.
    pub fn drain(self, bytes: u64, time: Duration) -> Self {
        self.set(|config| config.drain = (bytes, time))
    }
}

impl<S> Layer<S> for ChunkedUploadLayer {
    type Service = ChunkedUpload<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ChunkedUpload::new(inner, Arc::clone(&self.config))
    }
}

impl fmt::Debug for ChunkedUploadLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkedUploadLayer").field("config", &self.config).finish()
    }
}

/// With a slash at the beginning and none at the end.
fn normal(mut path: String) -> String {
    path.truncate(path.trim_end_matches('/').len());
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_brought_into_one_form() {
        for (given, want) in [("/a/b/", "/a/b"), ("a", "/a"), ("/a//", "/a"), ("/", "/"), ("", "/")]
        {
            assert_eq!(normal(given.to_owned()), want, "{given:?}");
        }
    }
}
