//! Test your handler and your policy without a server and without files.
//!
//! # Do I need a server or files?
//!
//! No. [`MemoryStore`](crate::store::MemoryStore) keeps uploads in memory, and a layer around a
//! handler is a service that a test can call.
//!
//! # How do I test my handler as a client sees it?
//!
//! Call the service with `oneshot` from the crate `tower` (feature `util`). One chunk without
//! `Content-Range` is a whole file. Switch off [`md5_check`](crate::Chunked::md5_check), so that
//! the test does not have to compute an MD5.
//!
//! ```
//! use axum::Router;
//! use axum::body::{Body, to_bytes};
//! use axum::http::{Request, StatusCode};
//! use axum::routing::post;
//! use tower::ServiceExt;
//! use tower_chunked_upload::store::MemoryStore;
//! use tower_chunked_upload::{Chunked, ChunkedUploadLayer, CompletedUpload, Uploads};
//!
//! async fn done(upload: CompletedUpload) -> String {
//!     format!("{} has {} bytes", upload.filename(), upload.size())
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! let layer = ChunkedUploadLayer::new(uploads).chunked(Chunked::new().md5_check(false));
//! let app = Router::new().route("/api/chunked_upload_complete", post(done)).layer(layer);
//!
//! let chunk = Request::post("/api/chunked_upload")
//!     .header("content-disposition", "attachment; filename=\"a.txt\"")
//!     .body(Body::from("Hello"))?;
//! let answer = app.clone().oneshot(chunk).await?;
//! assert_eq!(answer.status(), StatusCode::OK);
//!
//! // The response to the chunk is JSON with `upload_id`. A completion may be JSON too, and its other
//! // members are ignored, so the test sends the same body.
//! let complete = Request::post("/api/chunked_upload_complete")
//!     .header("content-type", "application/json")
//!     .body(answer.into_body())?;
//! let answer = app.oneshot(complete).await?;
//! assert_eq!(to_bytes(answer.into_body(), 1000).await?, "a.txt has 5 bytes");
//! # Ok(())
//! # }
//! ```
//!
//! Over tus, one `POST` can be a whole file. A client gets the headers of your handler's response,
//! and its content only with [`response_body`](crate::Tus::response_body):
//!
//! ```
//! # use axum::Router;
//! # use axum::body::{Body, to_bytes};
//! # use axum::http::{Request, StatusCode};
//! # use axum::routing::post;
//! # use tower::ServiceExt;
//! # use tower_chunked_upload::store::MemoryStore;
//! # use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Uploads};
//! use tower_chunked_upload::Tus;
//!
//! # async fn done(upload: CompletedUpload) -> String {
//! #     format!("{} has {} bytes", upload.filename(), upload.size())
//! # }
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! let layer = ChunkedUploadLayer::new(uploads).tus(Tus::new("/files").response_body(true));
//! let app = Router::new().fallback_service(layer.around(Router::new().route("/files", post(done))));
//!
//! let file = Request::post("/files")
//!     .header("tus-resumable", "1.0.0")
//!     .header("upload-length", "5")
//!     .header("upload-metadata", "filename YS50eHQ=") // a.txt in Base64
//!     .header("content-type", "application/offset+octet-stream")
//!     .body(Body::from("Hello"))?;
//! let answer = app.oneshot(file).await?;
//! assert_eq!(answer.status(), StatusCode::CREATED);
//! assert_eq!(to_bytes(answer.into_body(), 1000).await?, "a.txt has 5 bytes");
//! # Ok(())
//! # }
//! ```
//!
//! # How do I call the handler alone?
//!
//! [`Uploads`](crate::Uploads) gives you a [`CompletedUpload`](crate::CompletedUpload) without
//! HTTP. Keep the [`Completion`](crate::Completion) while the handler works: if it is dropped, the
//! upload is open again.
//!
//! ```
//! use std::path::Path;
//!
//! use tower_chunked_upload::store::MemoryStore;
//! use tower_chunked_upload::{CompletedUpload, Error, NewUpload, Uploads};
//!
//! async fn keep(upload: CompletedUpload, folder: &Path) -> Result<(), Error> {
//!     upload.persist_new(folder.join(upload.filename())).await
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let uploads = Uploads::builder(MemoryStore::new()).build()?.for_owner(None);
//! let mut file = uploads.create(NewUpload::new().filename("a.txt")).await?;
//! file.write(&b"Hello"[..]).await?;
//! let id = file.commit().await?.id;
//! let completion = uploads.complete(&id, None).await?;
//!
//! let folder = tempfile::tempdir()?;
//! keep(completion.file().clone(), folder.path()).await?;
//! completion.finish().await?;
//! assert_eq!(std::fs::read(folder.path().join("a.txt"))?, b"Hello");
//! # Ok(())
//! # }
//! ```
//!
//! # How do I test a policy?
//!
//! With a request, because only the layer can make the arguments of a policy's methods. The test
//! puts into the request's extensions what your outer layers would put there.
//!
//! ```
//! use axum::Router;
//! use axum::body::Body;
//! use axum::http::{Request, StatusCode};
//! use tower::ServiceExt;
//! use tower_chunked_upload::store::MemoryStore;
//! use tower_chunked_upload::{ChunkedUploadLayer, Context, Owner, Policy, Refusal, Uploads};
//!
//! struct Users;
//!
//! impl Policy for Users {
//!     async fn authorize(&self, context: &Context<'_>) -> Result<Option<Owner>, Refusal> {
//!         let user = context.request.extensions.get::<Owner>().cloned();
//!         user.map(Some).ok_or_else(Refusal::unauthenticated)
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! let app: Router = Router::new().layer(ChunkedUploadLayer::new(uploads).policy(Users));
//!
//! let chunk = || {
//!     Request::post("/api/chunked_upload")
//!         .header("content-disposition", "attachment; filename=\"a.txt\"")
//! };
//! let answer = app.clone().oneshot(chunk().body(Body::from("Hello"))?).await?;
//! assert_eq!(answer.status(), StatusCode::FORBIDDEN);
//! let alices = chunk().extension(Owner::new("alice")).body(Body::from("Hello"))?;
//! assert_eq!(app.oneshot(alices).await?.status(), StatusCode::OK);
//! # Ok(())
//! # }
//! ```
//!
//! # How do I test what happens after a day?
//!
//! Pass a [`clock`](crate::UploadsBuilder::clock) that the test sets:
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use std::time::{Duration, SystemTime};
//!
//! use tower_chunked_upload::store::MemoryStore;
//! use tower_chunked_upload::{NewUpload, Uploads};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = Arc::new(Mutex::new(SystemTime::now()));
//! let clock = Arc::clone(&now);
//! let uploads = Uploads::builder(MemoryStore::new())
//!     .clock(move || *clock.lock().unwrap())
//!     .expires_after(Duration::from_secs(24 * 60 * 60))
//!     .build()?;
//! uploads.for_owner(None).create(NewUpload::new().total(5)).await?.commit().await?;
//!
//! *now.lock().unwrap() += Duration::from_secs(24 * 60 * 60);
//! assert_eq!(uploads.delete_expired().await?.incomplete, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # How do I test a store of my own?
//!
//! Run [the test suite](crate#features) of feature `conformance`, which checks [the
//! contract](crate::store#the-contract).
