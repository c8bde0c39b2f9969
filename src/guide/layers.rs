//! Which layers stand outside this one, and which inside.
//!
//! In axum, the last `.layer(…)` added is the outermost and sees a request first.
//!
//! # Which order?
//!
//! | layer | where | why |
//! |---|---|---|
//! | tracing | outside | it sees refusals too |
//! | CORS | outside | the layer's own answers need its headers; [`cors`](crate::cors) has the lists |
//! | compression of answers | anywhere | the layer's own answers are short |
//! | authentication, sessions | outside | the [`Policy`](crate::Policy) finds the user in the request's extensions |
//! | decompression of requests | outside, if clients compress chunks | `Content-Range` counts the bytes of the file |
//! | limits of the body's size | outside, at least as large as the largest chunk with its form | they count a chunk too; the layer has [finer ones](super::limits) |
//! | timeouts of a whole request | inside | outside, one ends a slow chunk; that costs the chunk, never the upload |
//!
//! axum's `DefaultBodyLimit` concerns extractors only, and so never a chunk: it may be anywhere.
//! For clients that send nothing, or too little, the layer has [limits of its own](super::limits).
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
//! # use tower_chunked_upload::{CompletedUpload, Owner, Refusal, Uploads};
//! use std::time::Duration;
//!
//! use axum::middleware::from_fn;
//! use axum::routing::post;
//! use axum::{Router, http::StatusCode};
//! use tower_chunked_upload::{ChunkedUploadLayer, cors};
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
//! let app = Router::new()
//!     .route("/api/chunked_upload_complete", post(done))
//!     // Inside: it sees a completion, and never a chunk.
//!     .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, thirty_seconds))
//!     .layer(ChunkedUploadLayer::new(uploads).policy(Users))
//!     // Outside: these see all.
//!     .layer(RequestBodyLimitLayer::new(64 << 20))
//!     .layer(RequestDecompressionLayer::new())
//!     .layer(from_fn(authenticate))
//!     .layer(CompressionLayer::new())
//!     .layer(
//!         CorsLayer::new()
//!             .allow_origin(["https://app.example.com".parse()?])
//!             .allow_methods(cors::METHODS)
//!             .allow_headers(cors::REQUEST_HEADERS)
//!             .expose_headers(cors::RESPONSE_HEADERS),
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
//! # What must not stand inside?
//!
//! Anything that answers a completion with 2xx or 3xx in your handler's place, since that says that the file
//! was taken: a fallback that answers every path with a page, as for a single-page application; a redirect to
//! a login or to an error page, your handler's own too. Answer 4xx or 5xx there, or discard the file first.
//!
//! # Around a router, or one of its layers?
//!
//! axum calls the layers of a router when it has looked for the route, by the path as the client has sent
//! it. So `.layer(…)` serves clients that send the paths as they are set, and answers 404 to a
//! completion with a slash at its end, as clients of django-chunked-upload send it; the upload can
//! then be completed again. [Around the router](crate::ChunkedUploadLayer::around) the layer comes first, and
//! your handler gets the path that you have a route for, whatever the client has sent:
//!
//! ```
//! # use axum::{Router, routing::post};
//! # use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Uploads, store::MemoryStore};
//! # async fn done(upload: CompletedUpload) -> String { format!("{:?}", upload.filename()) }
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! let routes = Router::new().route("/api/chunked_upload_complete", post(done));
//! // A router again, for the layers outside and for `axum::serve`.
//! let app = Router::new().fallback_service(ChunkedUploadLayer::new(uploads).around(routes));
//! # let app: Router = app;
//! # Ok(())
//! # }
//! ```
//!
//! So take `around` whenever clients are not all your own; `.layer(…)`, as in other examples of this guide, is
//! enough if they send the paths exactly as they are set. Layers that belong inside are added to
//! `routes`, which gets its state first, and those that belong outside to `app`. For other services than an
//! axum router both are the same.
//!
//! # How do I log refusals?
//!
//! Each of the layer's own is in the extensions of its response, as [`Refusal`](crate::Refusal),
//! where a layer outside finds it. With feature `tracing` there is an event for each too: an error
//! for what an operator must mend, debug for the rest.
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
//!         println!("{}: {}", refusal.status(), refusal.detail());
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
//! # assert_eq!(*SEEN.lock().unwrap(), ["400 Bad Request: Error in request headers"]);
//! # Ok(())
//! # }
//! ```
//!
//! # What about routers that are put together?
//!
//! Put them together first, and the layer around that. As one of a router's layers, add it last, after
//! every route and every `merge`. The chunk path has no route: it is the router's fallback that the layer
//! is around, and what is merged later replaces that.
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
//! On a router that is `nest`ed, axum calls a layer only for paths that have a route: give the
//! chunk path one, whose handler is never called, or use `nest_service`, as in
//! `nest_service("/files", layer.around(files))`. The layer's paths are
//! then those without the prefix.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! # use client::{chunk, send};
//! use axum::Router;
//! use axum::routing::post;
//! # use tower_chunked_upload::store::MemoryStore;
//! # use tower_chunked_upload::{CompletedUpload, Uploads};
//! use tower_chunked_upload::ChunkedUploadLayer;
//!
//! # async fn done(upload: CompletedUpload) -> String { format!("{:?}", upload.filename()) }
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! let files = Router::new()
//!     .route("/chunk", post(async || "never called"))
//!     .route("/done", post(done))
//!     .layer(ChunkedUploadLayer::new(uploads).chunk_path("/chunk").complete_path("/done"));
//! let app = Router::new().nest("/files", files);
//! # let (status, answer) = send(&app, chunk("/files/chunk", "a.txt", "", "Hello")).await;
//! # assert_eq!((status.as_u16(), &answer["offset"]), (200, &5.into()));
//! # assert_eq!(send(&app, chunk("/chunk", "a.txt", "", "Hello")).await.0, 404);
//! # Ok(())
//! # }
//! ```
