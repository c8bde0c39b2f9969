//! Combine the layer with CORS, authentication, limits, timeouts, compression and tracing.
//!
//! In axum, the last `.layer(…)` added is the outermost and sees a request first:
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
//! #     async fn authorize(&self, context: &Context<'_>) -> Result<Option<Owner>, Refusal> {
//! #         let user = context.request.extensions.get::<Owner>().cloned();
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
//! # Which layer goes outside, and which inside?
//!
//! | layer | where | why |
//! |---|---|---|
//! | tracing | outside | it sees refusals too |
//! | CORS | outside | the layer's own responses need its headers; [`cors`](crate::ChunkedUploadLayer::cors) lists the methods and headers of all protocols that are on |
//! | compression of responses | anywhere | the layer's own responses are short |
//! | authentication, sessions | outside | the [`Policy`](crate::Policy) finds the user in the request's extensions |
//! | decompression of requests | outside, if clients compress chunks | `Content-Range` counts the bytes of the file |
//! | limits of the body's size | outside, at least as large as the largest chunk with its form; clients of [tus](super::tus) send whole files | they apply to chunks too; the layer has [finer limits](super::limits) |
//! | timeouts of a whole request | inside | an outer one ends slow chunks; that costs the chunk, never the upload |
//!
//! axum's `DefaultBodyLimit` affects extractors only, never a chunk, so it may go anywhere. For
//! clients that send nothing, or too little, the layer has [limits of its own](super::limits).
//!
//! # What must not go inside?
//!
//! Anything that answers a completion with 2xx or 3xx instead of your handler, because such a
//! response says that the file was taken. Examples are a fallback that answers every path with a
//! page, as for a single-page application, and a redirect to a login or to an error page. A
//! redirect by your handler counts too. Respond with 4xx or 5xx there, or discard the file first.
