//! Put the layer where it sees every request of an upload: around a router, on a router, or at a
//! prefix.
//!
//! ```
//! # use axum::{Router, routing::post};
//! # use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Uploads, store::MemoryStore};
//! # async fn done(_: CompletedUpload) {}
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let layer = ChunkedUploadLayer::new(Uploads::builder(MemoryStore::new()).build()?);
//! let routes = Router::new().route("/api/chunked_upload_complete", post(done));
//! let app: Router = Router::new().fallback_service(layer.around(routes));
//! # Ok(())
//! # }
//! ```
//!
//! # Where does the layer go?
//!
//! | your application | what to use |
//! |---|---|
//! | an axum router | [`around`](#around-a-router) the whole router |
//! | an axum router, if all clients send exactly the paths that are set, and none speaks [tus](super::tus) or the [IETF draft](super::resumable) | the router's own [`.layer(…)`](#as-a-routers-own-layer), added last |
//! | uploads below a prefix, or beside routes that are assembled elsewhere | [`mount`](#mounted) in `nest_service` or `route_service` |
//! | hyper or tonic | [`around`](#around-a-router) your service, or [`mount`](#mounted) if it serves nothing but uploads |
//!
//! [The order of layers](super::layer_order) says which other layers go outside and inside.
//!
//! ## Around a router
//!
//! [`around`](crate::ChunkedUploadLayer::around) puts the layer in front of everything, so it sees
//! each request before the router looks for a route. Your handler gets the path that it has a route
//! for, even if the client sent it with a slash at the end, as clients of django-chunked-upload do.
//! The router may nest and merge others. Only the complete path needs a route, and with
//! [tus](super::tus) the path of its handler.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! # use axum::routing::{get, post};
//! # use client::{CHUNK, COMPLETE, chunk, completion, send};
//! # use tower_chunked_upload::{CompletedUpload, Uploads, store::MemoryStore};
//! use axum::Router;
//! use tower_chunked_upload::ChunkedUploadLayer;
//!
//! # async fn done(upload: CompletedUpload) -> String { format!("{:?}", upload.filename()) }
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let layer = ChunkedUploadLayer::new(Uploads::builder(MemoryStore::new()).build()?);
//! # let pages = Router::new().route("/", get(async || "Hello"));
//! let api = Router::new().route("/chunked_upload_complete", post(done));
//! let routes = Router::new().nest("/api", api).merge(pages);
//! // A router again, for the layers outside and for `axum::serve`.
//! let app: Router = Router::new().fallback_service(layer.around(routes));
//!
//! let (_, answer) = send(&app, chunk("/api/chunked_upload/", "a.txt", "", "Hello")).await;
//! let mut done = completion(&answer["upload_id"], "Hello");
//! *done.uri_mut() = "/api/chunked_upload_complete/".parse()?;
//! assert_eq!(send(&app, done).await.0, 200);
//! # Ok(())
//! # }
//! ```
//!
//! Add inner layers and the state to `routes`, and outer layers to `app`. For a service other than
//! an axum router, `around` and `.layer(…)` do the same.
//!
//! ## As a router's own layer
//!
//! axum looks for the route before it calls a router's layers, and uses the path as the client sent
//! it. So with `.layer(…)`, which the other examples of this guide use for brevity, a completion
//! with a slash at its end gets a 404, and the upload can be completed again. The bytes of
//! [tus](super::tus) go to the URL of their upload, which has no route, so your handler is never
//! called: with tus, use [`around`](#around-a-router) or [`mount`](#mounted).
//!
//! Add the layer last, after every route and every `merge`. The chunk path has no route, so the
//! layer serves it by wrapping the router's fallback, and a later `merge` replaces that fallback.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! # use client::{CHUNK, COMPLETE, chunk, send};
//! # use axum::Router;
//! # use axum::routing::{get, post};
//! # use tower_chunked_upload::store::MemoryStore;
//! # use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Uploads};
//! # async fn done(upload: CompletedUpload) -> String { format!("{:?}", upload.filename()) }
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let layer = ChunkedUploadLayer::new(Uploads::builder(MemoryStore::new()).build()?);
//! # let takes_files = Router::new().route(COMPLETE, post(done));
//! # let pages = Router::new().route("/", get(async || "Hello"));
//! let right = takes_files.clone().merge(pages.clone()).layer(layer.clone());
//! let wrong = takes_files.layer(layer).merge(pages);
//!
//! assert_eq!(send(&right, chunk(CHUNK, "a.txt", "", "Hello")).await.0, 200);
//! assert_eq!(send(&wrong, chunk(CHUNK, "a.txt", "", "Hello")).await.0, 404);
//! # Ok(())
//! # }
//! ```
//!
//! For the same reason, `.layer(…)` does not work on a router that you `nest` later: use `mount`
//! there.
//!
//! ## Mounted
//!
//! [`mount`](crate::ChunkedUploadLayer::mount) makes a service of the layer and one handler. It
//! serves the upload paths and answers every other path with 404. Below a prefix, set the layer's
//! paths without the prefix. Clients may send a slash at their end.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! # use client::{chunk, completion, request, send};
//! # use tower_chunked_upload::{CompletedUpload, Uploads, store::MemoryStore};
//! use axum::Router;
//! use axum::routing::{get, post};
//! use tower_chunked_upload::{Chunked, ChunkedUploadLayer};
//!
//! # async fn done(upload: CompletedUpload) -> String { format!("{:?}", upload.filename()) }
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! let chunked = Chunked::new().chunk_path("/chunk").complete_path("/done");
//! let files = ChunkedUploadLayer::new(uploads).chunked(chunked).mount(post(done));
//! let app = Router::new().route("/", get(async || "Hello")).nest_service("/files", files);
//!
//! let (_, answer) = send(&app, chunk("/files/chunk", "a.txt", "", "Hello")).await;
//! let mut done = completion(&answer["upload_id"], "Hello");
//! *done.uri_mut() = "/files/done/".parse()?;
//! assert_eq!(send(&app, done).await.0, 200);
//! # assert_eq!(send(&app, chunk("/chunk", "a.txt", "", "Hello")).await.0, 404);
//! # assert_eq!(send(&app, request(http::Method::GET, "/files/other")).await.0, 404);
//! # assert_eq!(send(&app, request(http::Method::GET, "/")).await.0, 200);
//! # Ok(())
//! # }
//! ```
//!
//! Mount a handler with state as `post(done).with_state(state)`, and add inner layers to it.
//! Without a prefix, pass a clone of the service to `route_service` for each of the two paths, and
//! for `/files` and `/files/{id}` if [tus](super::tus) is on there. Below a prefix, tus has to know
//! [what clients see](super::tus#how-do-i-mount-tus-below-a-prefix). hyper takes the service as it
//! is:
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! # use http_body_util::BodyExt;
//! # use hyper_util::rt::{TokioExecutor, TokioIo};
//! # use hyper_util::server::conn::auto;
//! # use tower_chunked_upload::{Uploads, store::MemoryStore};
//! use std::convert::Infallible;
//!
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use hyper_util::service::TowerToHyperService;
//! use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload};
//!
//! async fn done<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
//!     let name = request.extensions().get::<CompletedUpload>().map(CompletedUpload::filename);
//!     Ok(Response::new(Full::from(format!("{name:?}"))))
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! let files = ChunkedUploadLayer::new(uploads).mount(tower::service_fn(done));
//! let service = TowerToHyperService::new(files);
//! # let (near, far) = tokio::io::duplex(1 << 16);
//! # tokio::spawn(async move {
//! #     let server = auto::Builder::new(TokioExecutor::new());
//! #     drop(server.serve_connection(TokioIo::new(far), service).await);
//! # });
//! # let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await?;
//! # tokio::spawn(connection);
//! # let answer = client.send_request(client::chunk(client::CHUNK, "a.txt", "", "Hello")).await?;
//! # let answer = answer.into_body().collect().await?.to_bytes();
//! # let answer: serde_json::Value = serde_json::from_slice(&answer)?;
//! # client.ready().await?;
//! # let done = client::completion(&answer["upload_id"], "Hello");
//! # let answer = client.send_request(done).await?.into_body().collect().await?.to_bytes();
//! # assert_eq!(answer, "Some(\"a.txt\")");
//! # client.ready().await?;
//! # let other = client.send_request(client::request(http::Method::GET, "/")).await?;
//! # assert_eq!(other.status(), 404);
//! # Ok(())
//! # }
//! ```
//!
//! # How do I serve two kinds of uploads?
//!
//! Give each kind a layer and [`Uploads`](crate::Uploads) of its own, with a folder of its own. Limits,
//! policies and handlers are then separate. (Two layers with the same `Uploads` would share the
//! uploads: one that was begun at the first could be completed at the second.)
//!
//! ```
//! # use tower_chunked_upload::CompletedUpload;
//! use axum::Router;
//! use axum::routing::post;
//! use tower_chunked_upload::store::FsStore;
//! use tower_chunked_upload::{Chunked, ChunkedUploadLayer, Uploads};
//!
//! # async fn avatar(_: CompletedUpload) {}
//! # async fn video(_: CompletedUpload) {}
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let chunked = Chunked::new().chunk_path("/chunk").complete_path("/done");
//! let avatars = Uploads::builder(FsStore::new(folder.join("avatars"))).max_bytes(2 << 20).build()?;
//! let videos = Uploads::builder(FsStore::new(folder.join("videos"))).max_bytes(50 << 30).build()?;
//! let avatars = ChunkedUploadLayer::new(avatars).chunked(chunked.clone());
//! let videos = ChunkedUploadLayer::new(videos).chunked(chunked);
//! let app: Router = Router::new()
//!     .nest_service("/avatars", avatars.mount(post(avatar)))
//!     .nest_service("/videos", videos.mount(post(video)));
//! # Ok(())
//! # }
//! ```
//!
//! # Can I use it with tonic?
//!
//! tonic's `Routes::into_axum_router` returns an axum router on which you can mount it.
//! `servers/examples/tonic.rs` in the repository is a complete server with gRPC and uploads.
