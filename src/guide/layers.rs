//! Where the layer goes, and which other layers go outside and inside it.
//!
//! # Where does the layer go?
//!
//! | your application | what to use |
//! |---|---|
//! | an axum router | [`around`](#around-a-router) the whole router |
//! | an axum router, if all clients send the paths exactly as they are set, and none speaks [tus](super::tus) | the router's own [`.layer(…)`](#as-a-routers-own-layer), added last |
//! | uploads below a prefix, or beside routes that are put together elsewhere | [`mount`](#mounted) in `nest_service` or `route_service` |
//! | hyper or tonic | [`around`](#around-a-router) your service, or [`mount`](#mounted) if it takes nothing but uploads |
//!
//! ## Around a router
//!
//! [`around`](crate::ChunkedUploadLayer::around) puts the layer in front of everything, so it sees
//! each request before the router looks for a route. Your handler gets the path that it has a route
//! for, even if the client sent a slash at the end of it, as clients of django-chunked-upload do.
//! The router may nest and merge others; only the complete path needs a route, and with
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
//! Layers that belong inside are added to `routes`, which also gets its state first, and layers
//! that belong outside are added to `app`. For a service other than an axum router, `around` and
//! `.layer(…)` are the same.
//!
//! ## As a router's own layer
//!
//! axum looks for the route before it calls a router's layers, and by the path as the client sent
//! it. So with `.layer(…)`, which the other examples of this guide use for brevity, a completion
//! with a slash at its end is answered with 404, and the upload stays to be completed again. The
//! bytes of [tus](super::tus) come to the URL of their upload, which has no route, so your handler
//! is never found: with tus, use [`around`](#around-a-router) or [`mount`](#mounted).
//!
//! Add the layer last, after every route and every `merge`. The chunk path has no route, so it is
//! the router's fallback that the layer wraps, and a later `merge` replaces that.
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
//! For the same reason it does not work on a router that is `nest`ed later: use `mount` there.
//!
//! ## Mounted
//!
//! [`mount`](crate::ChunkedUploadLayer::mount) makes a service of the layer and one handler. It
//! serves the upload paths and answers every other path with 404. Below a prefix, the layer's paths
//! are those without it, and a slash at their end is fine.
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
//! A handler with state is mounted as `post(done).with_state(state)`; layers that belong inside are
//! added to it. Without a prefix, pass a clone of the service to `route_service` for each of the
//! two paths, and for `/files` and `/files/{id}` if [tus](super::tus) is spoken there. Below a
//! prefix, tus has to know [what clients see](super::tus#where-is-an-upload). hyper takes the
//! service as it is:
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
//! tonic's `Routes::into_axum_router` gives an axum router to mount it on;
//! `servers/examples/tonic.rs` in the repository is a whole server with gRPC beside the uploads.
//!
//! # Which order?
//!
//! In axum, the last `.layer(…)` added is the outermost and sees a request first.
//!
//! | layer | where | why |
//! |---|---|---|
//! | tracing | outside | it sees refusals too |
//! | CORS | outside | the layer's own answers need its headers; [`cors`](crate::ChunkedUploadLayer::cors) lists what to allow and expose |
//! | compression of answers | anywhere | the layer's own answers are short |
//! | authentication, sessions | outside | the [`Policy`](crate::Policy) finds the user in the request's extensions |
//! | decompression of requests | outside, if clients compress chunks | `Content-Range` counts the bytes of the file |
//! | limits of the body's size | outside, at least as large as the largest chunk with its form; clients of [tus](super::tus) send whole files | they apply to chunks too; the layer has [finer ones](super::limits) |
//! | timeouts of a whole request | inside | outside, one ends a slow chunk; that costs the chunk, never the upload |
//!
//! axum's `DefaultBodyLimit` affects extractors only, never a chunk, so it may go anywhere. For
//! clients that send nothing, or too little, the layer has [limits of its own](super::limits).
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! # use axum::body::Body;
//! # use axum::extract::Request;
//! # use axum::middleware::Next;
//! # use axum::response::Response;
//! # use client::{CHUNK, by, chunk, read};
//! # use http::HeaderValue;
//! # use tower::ServiceExt;
//! # use tower_chunked_upload::store::MemoryStore;
//! # use tower_chunked_upload::{CompletedUpload, Context, Owner, Refusal, Uploads};
//! use std::time::Duration;
//!
//! use axum::middleware::from_fn;
//! use axum::routing::post;
//! use axum::{Router, http::StatusCode};
//! use tower_chunked_upload::ChunkedUploadLayer;
//! use tower_http::compression::CompressionLayer;
//! use tower_http::cors::CorsLayer;
//! use tower_http::decompression::RequestDecompressionLayer;
//! use tower_http::limit::RequestBodyLimitLayer;
//! use tower_http::timeout::TimeoutLayer;
//! use tower_http::trace::TraceLayer;
//!
//! # struct Users;
//! # impl tower_chunked_upload::Policy for Users {
//! #     async fn authorize(&self, asked: &Context<'_>) -> Result<Option<Owner>, Refusal> {
//! #         let user = asked.request.extensions.get::<Owner>().cloned();
//! #         user.map(Some).ok_or_else(Refusal::unauthenticated)
//! #     }
//! # }
//! # async fn authenticate(mut request: Request, next: Next) -> Response {
//! #     if let Some(Ok(user)) = request.headers().get("x-user").map(HeaderValue::to_str) {
//! #         let user = Owner::from(user);
//! #         request.extensions_mut().insert(user);
//! #     }
//! #     next.run(request).await
//! # }
//! # async fn done(upload: CompletedUpload) -> String {
//! #     if upload.filename() == "slow.txt" { std::future::pending::<()>().await }
//! #     format!("{:?}", upload.filename())
//! # }
//! # fn app(uploads: Uploads, limit: Duration) -> Result<Router, Box<dyn std::error::Error>> {
//! # let thirty_seconds = limit;
//! let layer = ChunkedUploadLayer::new(uploads).policy(Users);
//! let cors = layer.cors();
//! let app = Router::new()
//!     .route("/api/chunked_upload_complete", post(done))
//!     // Inside: it sees completions, but no chunks.
//!     .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, thirty_seconds))
//!     .layer(layer)
//!     // Outside: these see every request.
//!     .layer(RequestBodyLimitLayer::new(64 << 20))
//!     .layer(RequestDecompressionLayer::new())
//!     .layer(from_fn(authenticate))
//!     .layer(CompressionLayer::new())
//!     .layer(
//!         CorsLayer::new()
//!             .allow_origin(["https://app.example.com".parse()?])
//!             .allow_methods(cors.methods)
//!             .allow_headers(cors.request_headers)
//!             .expose_headers(cors.response_headers),
//!     )
//!     .layer(TraceLayer::new_for_http());
//! # Ok(app)
//! # }
//! #
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! # let app = app(uploads, Duration::from_secs(30))?;
//! # let send = async |mut request: Request| {
//! #     let origin = HeaderValue::from_static("https://app.example.com");
//! #     request.headers_mut().insert("origin", origin);
//! #     app.clone().oneshot(request).await.unwrap()
//! # };
//! # // A refusal has the headers that a page of another origin needs to read it.
//! # let refused = send(chunk(CHUNK, "a.txt", "", "Hello")).await;
//! # assert_eq!(refused.status(), StatusCode::FORBIDDEN);
//! # assert!(refused.headers().contains_key("access-control-allow-origin"));
//! # assert!(refused.extensions().get::<Refusal>().is_some());
//! # // A chunk counts as it is when it is unpacked.
//! # let file: &str = "x".repeat(100_000).leak();
//! # let pack = Router::new().route("/", post(async move || file)).layer(CompressionLayer::new());
//! # let packed = Request::post("/").header("accept-encoding", "gzip").body(Body::empty())?;
//! # let packed = pack.oneshot(packed).await?;
//! # assert_eq!(packed.headers()["content-encoding"], "gzip");
//! # let mut first = by("alice", chunk(CHUNK, "a.txt", "bytes 0-99999/100000", ""));
//! # first.headers_mut().insert("content-encoding", HeaderValue::from_static("gzip"));
//! # *first.body_mut() = packed.into_body();
//! # let taken = send(first).await;
//! # assert_eq!(taken.status(), StatusCode::OK);
//! # let (_, answer) = read(taken).await;
//! # let done = send(by("alice", client::completion(&answer["upload_id"], file))).await;
//! # assert_eq!(done.status(), StatusCode::OK);
//! # // A handler that takes too long gets the file again.
//! # let (_, answer) = read(send(by("alice", chunk(CHUNK, "slow.txt", "", "Hello"))).await).await;
//! # for _ in 0..2 {
//! #     let done = send(by("alice", client::completion(&answer["upload_id"], "Hello"))).await;
//! #     assert_eq!(done.status(), StatusCode::GATEWAY_TIMEOUT);
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! # What must not go inside?
//!
//! Anything that answers a completion with 2xx or 3xx in your handler's place, because that says
//! that the file was taken. Examples are a fallback that answers every path with a page, as for a
//! single-page application, and a redirect to a login or to an error page, including one by your
//! handler. Answer with 4xx or 5xx there, or discard the file first.
//!
//! # How do I log refusals?
//!
//! Each refusal of the layer itself is in the extensions of its response, as a
//! [`Refusal`](crate::Refusal), where a layer outside finds it. With feature `tracing` there is
//! also [an event](super::observe) for each: `error` if an operator has to act, `debug` otherwise.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! # use axum::{Router, middleware::map_response};
//! # use tower_chunked_upload::{ChunkedUploadLayer, Uploads, store::MemoryStore};
//! # static SEEN: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
//! # macro_rules! println { ($($said:tt)*) => { SEEN.lock().unwrap().push(format!($($said)*)) } }
//! use axum::response::Response;
//! use tower_chunked_upload::Refusal;
//!
//! /// For `axum::middleware::map_response`.
//! async fn log_refusals(response: Response) -> Response {
//!     if let Some(refusal) = response.extensions().get::<Refusal>() {
//!         println!("{}: {}", refusal.status(), refusal.code());
//!     }
//!     response
//! }
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! # let app = Router::new()
//! #     .layer(ChunkedUploadLayer::new(uploads))
//! #     .layer(map_response(log_refusals));
//! # client::send(&app, client::chunk(client::CHUNK, "a.txt", "bytes", "Hello")).await;
//! # assert_eq!(*SEEN.lock().unwrap(), ["400 Bad Request: malformed-content-range"]);
//! # Ok(())
//! # }
//! ```
