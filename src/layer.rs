//! The layer and its settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use crate::cors::Cors;
use crate::engine::Uploads;
use crate::policy::Policy;
use crate::protocol::{Dialects, Settings};
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
#[derive(Clone)]
#[must_use]
pub struct ChunkedUploadLayer {
    config: Arc<Config>,
}

/// The settings of a layer.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
    pub(crate) dialects: Dialects,
}

impl Config {
    fn new(uploads: Uploads) -> Self {
        Self { settings: Settings::new(uploads), dialects: Dialects::default() }
    }
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

    /// A service for the protocol's paths alone, with `handler` for finished uploads. Every other path is a
    /// 404.
    ///
    /// It is mounted like any service: in axum with `nest_service` or `route_service`, in hyper as the
    /// service of a connection. So an application that has no router around which the layer could
    /// stand needs no route that is never called.
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
        ChunkedUpload::mounted(handler, Arc::clone(&self.config))
    }

    /// What pages of other origins need, for a CORS layer outside of this one.
    pub fn cors(&self) -> Cors {
        self.config.dialects.cors()
    }

    pub(crate) fn set(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    /// What the application decides; `()`, which takes everything from everybody, unless set.
    pub fn policy(self, policy: impl Policy) -> Self {
        self.set(|config| config.settings.policy = Arc::new(policy))
    }

    /// The largest body of a completion, in bytes; 64 KiB unless set.
    pub fn max_completion_bytes(self, bytes: usize) -> Self {
        self.set(|config| config.settings.replayed_bytes = bytes)
    }

    /// A body that brings no byte for this long is ended with a 408; 60 seconds unless set.
    pub fn idle_timeout(self, time: Duration) -> Self {
        self.set(|config| config.settings.idle_timeout = time)
    }

    /// A body that brings fewer than so many bytes in any such `time` is ended with a 408; as slow
    /// as it likes unless set. Only the time counts in which the client is waited for.
    ///
    /// [`idle_timeout`](Self::idle_timeout) ends a client that sends nothing; this one also a client that
    /// sends a byte now and then to keep its connection.
    pub fn min_rate(self, bytes: u64, time: Duration) -> Self {
        self.set(|config| config.settings.min_rate = Some((bytes, time)))
    }

    /// How much of a refused body is still read, and for how long: 32 MiB and 10 seconds unless
    /// set.
    ///
    /// A client that is still sending may not read an answer before it is done, and loses it if the
    /// connection is closed under it. The answer goes out at once; what follows is read and thrown
    /// away up to these bounds, or until nothing has come for 5 seconds, and then the connection is closed.
    pub fn drain(self, bytes: u64, time: Duration) -> Self {
        self.set(|config| config.settings.drain = (bytes, time))
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

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { uploads, policy: _, replayed_bytes, idle_timeout, min_rate, drain } =
            &self.settings;
        f.debug_struct("Config")
            .field("uploads", uploads)
            .field("dialects", &self.dialects)
            .field("max_completion_bytes", replayed_bytes)
            .field("idle_timeout", idle_timeout)
            .field("min_rate", min_rate)
            .field("drain", drain)
            .finish_non_exhaustive()
    }
}
