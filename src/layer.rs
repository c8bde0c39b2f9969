//! The layer and its settings.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use tower_layer::Layer;

use crate::cors::Cors;
use crate::dialects::Dialects;
#[cfg(feature = "tokens")]
use crate::engine::TokenKeys;
use crate::engine::Uploads;
use crate::policy::Policy;
use crate::protocol::Settings;
use crate::service::ChunkedUpload;

/// Receives chunked uploads in front of an inner service, which gets each finished file as a
/// [`CompletedUpload`](crate::CompletedUpload) in the extensions of one ordinary request.
///
/// ```
/// # fn main() -> Result<(), tower_chunked_upload::ConfigError> {
/// use std::time::Duration;
///
/// use tower_chunked_upload::store::FsStore;
/// use tower_chunked_upload::{Chunked, ChunkedUploadLayer, Uploads};
///
/// let uploads = Uploads::builder(FsStore::default()).build()?;
/// let layer = ChunkedUploadLayer::new(uploads)
///     .chunked(Chunked::new().chunk_path("/files/chunk").complete_path("/files/done"))
///     .idle_timeout(Duration::from_secs(30));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ChunkedUploadLayer {
    config: Arc<Config>,
}

/// The settings of a layer.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
    pub(crate) dialects: Dialects,
}

impl ChunkedUploadLayer {
    /// Creates a layer with default settings for these uploads. Use a clone of the handle for
    /// everything else, such as listing and sweeping uploads, or continuing and completing them
    /// without HTTP.
    pub fn new(uploads: Uploads) -> Self {
        let settings = Settings::new(uploads);
        Self { config: Arc::new(Config { settings, dialects: Dialects::default() }) }
    }

    /// Wraps a service in the layer, like [`Layer::layer`] but without importing the trait. For an
    /// axum router, use it instead of `Router::layer`, which can serve neither tus, nor the IETF
    /// draft, nor completions with a trailing slash.
    ///
    /// An axum router calls its own layers after it has chosen the route by the path that the
    /// client has sent. If this layer wraps the router instead, the router gets the path that it
    /// has a route for:
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
    /// # let chunk = client::chunk(client::CHUNK, "a.txt", "", "Hello");
    /// # let (_, answer) = client::send(&app, chunk).await;
    /// # let mut done = client::completion(&answer["upload_id"], "Hello");
    /// # *done.uri_mut() = "/api/chunked_upload_complete/".parse()?;
    /// # assert_eq!(client::send(&app, done).await.0, StatusCode::OK);
    /// # Ok(())
    /// # }
    /// ```
    pub fn around<S>(&self, inner: S) -> ChunkedUpload<S> {
        self.layer(inner)
    }

    /// Creates a service for the protocols' paths only, which passes finished uploads to `handler`.
    /// All other paths get a 404.
    ///
    /// Mount it like any service: in axum with `nest_service` or `route_service`, in hyper as the
    /// service of a connection. An application without a router therefore needs no dummy route for
    /// the upload paths.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
    /// # use axum::http::StatusCode;
    /// # use axum::{Router, routing::post};
    /// # use tower_chunked_upload::{Chunked, ChunkedUploadLayer, CompletedUpload, Uploads};
    /// # async fn done(_: CompletedUpload) {}
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let uploads = Uploads::builder(tower_chunked_upload::store::MemoryStore::new()).build()?;
    /// let chunked = Chunked::new().chunk_path("/").complete_path("/complete");
    /// let layer = ChunkedUploadLayer::new(uploads).chunked(chunked);
    /// let app: Router = Router::new().nest_service("/files", layer.mount(post(done)));
    /// # let (_, answer) = client::send(&app, client::chunk("/files", "a.txt", "", "Hello")).await;
    /// # let mut done = client::completion(&answer["upload_id"], "Hello");
    /// # *done.uri_mut() = "/files/complete".parse()?;
    /// # assert_eq!(client::send(&app, done).await.0, StatusCode::OK);
    /// # Ok(())
    /// # }
    /// ```
    pub fn mount<S>(&self, handler: S) -> ChunkedUpload<S> {
        ChunkedUpload::new(handler, Arc::clone(&self.config), true)
    }

    /// Returns the methods and headers that pages of other origins need, for an outer CORS layer.
    pub fn cors(&self) -> Cors {
        self.config.dialects.cors(&self.config.settings)
    }

    pub(crate) fn set(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    /// Sets the application's policy. Default: `()`, which accepts everything from everyone.
    pub fn policy(self, policy: impl Policy) -> Self {
        self.set(|config| config.settings.policy = Arc::new(policy))
    }

    /// Sets the maximum size of the body of a completion in the chunked protocol, in bytes. A
    /// larger one is refused with 413 and the code `request-too-large`. Default: 64 KiB. The other
    /// protocols have no request with such a body.
    pub fn max_completion_bytes(self, bytes: usize) -> Self {
        self.set(|config| config.settings.replayed_bytes = bytes)
    }

    /// Sets how long a body may be idle before the request ends with a 408 (in tus and in the IETF
    /// draft, a 503). Default: 60 seconds.
    pub fn idle_timeout(self, time: Duration) -> Self {
        self.set(|config| config.settings.idle_timeout = time)
    }

    /// Sets the minimum number of bytes that a body must bring in each period of `time`; a slower
    /// request ends with a 408 (in tus and in the IETF draft, a 503). Only the time spent waiting
    /// for the client counts. Default: no minimum.
    ///
    /// [`idle_timeout`](Self::idle_timeout) stops clients that send nothing. This setting also
    /// stops clients that send a byte now and then to keep their connection.
    pub fn min_rate(self, bytes: u64, time: Duration) -> Self {
        self.set(|config| config.settings.min_rate = Some((bytes, time)))
    }

    /// Keeps the response of the handler to a completion for `time`. A client that lost the
    /// response sends the same completion again and gets the same response; the handler does not
    /// run again. Default: off.
    ///
    /// The layer keeps the status, [some headers](Self::keep_answer_headers), and a body of known
    /// length of at most 64 KiB. They are stored in the record of the upload, in the commit that
    /// marks it as complete. Any other response is passed on and not kept. An upload does not
    /// expire before its kept response does. See [the chapter](crate::guide::long_completions).
    pub fn keep_answers(self, time: Duration) -> Self {
        self.set(|config| config.settings.answers.time = Some(time))
    }

    /// Sets further headers of a response to keep, in addition to `Content-Type`,
    /// `Content-Encoding`, `Content-Language`, `Content-Disposition`, `ETag`, `Last-Modified`,
    /// `Location` and those of the protocol. Default: none. So `Set-Cookie` is kept only if you
    /// name it.
    ///
    /// A response with more than 16 KiB of kept headers is not kept at all.
    pub fn keep_answer_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names = names.into_iter().map(|name| name.as_str().to_owned()).collect();
        self.set(|config| config.settings.answers.headers = Arc::new(names))
    }

    /// Sets how much of a refused body is still read, and for how long. Default: 32 MiB and 10
    /// seconds.
    ///
    /// A client that is still sending may not read the response before it is done, and loses the
    /// response if the connection is closed before. So the layer sends the response immediately,
    /// then reads and discards the rest of the body up to these limits, or until nothing has
    /// arrived for 5 seconds; then the connection is closed.
    pub fn drain(self, bytes: u64, time: Duration) -> Self {
        self.set(|config| config.settings.drain = (bytes, time))
    }
}

#[cfg(feature = "tokens")]
impl ChunkedUploadLayer {
    /// Accepts tokens that these keys verify: a request with such a token in the header
    /// `Upload-Token` acts as the owner of its upload, and
    /// [`Policy::authorize`](crate::Policy::authorize) is not called. Default: no keys, and the
    /// layer ignores the header.
    ///
    /// A token that is forged, has expired or is for another upload does not fail the request by
    /// itself: the request is authorized as if it had no token. The layer removes the header from
    /// the requests of its protocols, so that no handler logs it or sends it on. The guide has
    /// [what a token may do](crate::guide::tokens).
    ///
    /// ```
    /// # fn main() -> Result<(), tower_chunked_upload::ConfigError> {
    /// # use tower_chunked_upload::store::MemoryStore;
    /// use tower_chunked_upload::{ChunkedUploadLayer, TokenKeys, Uploads};
    ///
    /// # let uploads = Uploads::builder(MemoryStore::new()).build()?;
    /// # let secret = [7; 32];
    /// let keys = TokenKeys::new(secret)?;
    /// let layer = ChunkedUploadLayer::new(uploads).accept_tokens(&keys);
    /// # Ok(())
    /// # }
    /// ```
    pub fn accept_tokens(self, keys: &TokenKeys) -> Self {
        self.set(|config| config.settings.tokens.keys = Some(keys.clone()))
    }

    /// Accepts tokens as [`accept_tokens`](Self::accept_tokens) does, and adds a new one, valid for
    /// `life`, to each successful response about an unfinished upload, in the header
    /// `Upload-Token`. Default: no tokens are handed out.
    ///
    /// A request that was admitted by a token gets no new token. So `life` is how long an upload
    /// can continue after its session has ended.
    pub fn hand_out_tokens(self, keys: &TokenKeys, life: Duration) -> Self {
        self.accept_tokens(keys).set(|config| config.settings.tokens.life = Some(life))
    }
}

#[cfg(feature = "tracing")]
impl ChunkedUploadLayer {
    /// Sets whether the span of a request has the name of the upload's owner. Default: off, since
    /// the name may be personal data.
    ///
    /// The guide says [what else is logged](crate::guide::observe).
    pub fn log_owners(self, on: bool) -> Self {
        self.set(|config| config.settings.log.owner = on)
    }
}

impl<S> Layer<S> for ChunkedUploadLayer {
    type Service = ChunkedUpload<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ChunkedUpload::new(inner, Arc::clone(&self.config), false)
    }
}
