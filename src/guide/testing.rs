//! How to test your own handler and policy.
//!
//! # Do I need a server, or files?
//!
//! Neither: [`MemoryStore`](crate::store::MemoryStore) keeps uploads in memory, and a layer with
//! what is behind it is a service that can be called.
//!
//! # How do I test my handler as a client sees it?
//!
//! With `oneshot`, of the crate `tower` (feature `util`). One chunk without `Content-Range` is a
//! whole file. To spare the test an MD5, switch
//! [`md5_check`](crate::ChunkedUploadLayer::md5_check) off in it.
//!
//! ```
//! use axum::Router;
//! use axum::body::{Body, to_bytes};
//! use axum::http::{Request, StatusCode};
//! use axum::routing::post;
//! use tower::ServiceExt;
//! use tower_chunked_upload::store::MemoryStore;
//! use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Uploads};
//!
//! async fn done(upload: CompletedUpload) -> String {
//!     format!("{} has {} bytes", upload.filename(), upload.size())
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! let app = Router::new()
//!     .route("/api/chunked_upload_complete", post(done))
//!     .layer(ChunkedUploadLayer::new(uploads).md5_check(false));
//!
//! let chunk = Request::post("/api/chunked_upload")
//!     .header("content-disposition", "attachment; filename=\"a.txt\"")
//!     .body(Body::from("Hello"))?;
//! let answer = app.clone().oneshot(chunk).await?;
//! assert_eq!(answer.status(), StatusCode::OK);
//!
//! // What a completion needs, the `upload_id`, is in the answer to the chunk.
//! let complete = Request::post("/api/chunked_upload_complete")
//!     .header("content-type", "application/json")
//!     .body(answer.into_body())?;
//! let answer = app.oneshot(complete).await?;
//! assert_eq!(to_bytes(answer.into_body(), 1000).await?, "a.txt has 5 bytes");
//! # Ok(())
//! # }
//! ```
//!
//! # How do I call the handler alone?
//!
//! [`Uploads`](crate::Uploads) makes a [`CompletedUpload`](crate::CompletedUpload) without HTTP.
//! Keep the [`Completion`](crate::Completion) as long as the handler works: dropped, it takes the
//! file back.
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
//! let uploads = Uploads::builder(MemoryStore::new()).build()?;
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
//! Its methods are async functions of a request's parts. A [`Candidate`](crate::Candidate) cannot
//! be made by hand: for `validate` and `attributes` send a chunk, as above.
//!
//! ```
//! use http::request::Parts;
//! use http::{Request, StatusCode};
//! use tower_chunked_upload::{Owner, Policy, Refusal};
//!
//! struct Users;
//!
//! impl Policy for Users {
//!     async fn authorize(&self, asked: &Context<'_>) -> Result<Option<Owner>, Refusal> {
//!         let user = asked.request.extensions.get::<Owner>().cloned();
//!         user.map(Some).ok_or_else(Refusal::unauthenticated)
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() {
//! let (mut parts, ()) = Request::new(()).into_parts();
//! assert_eq!(Users.authorize(&parts).await.unwrap_err().status(), StatusCode::FORBIDDEN);
//! parts.extensions.insert(Owner::new("alice"));
//! assert_eq!(Users.authorize(&parts).await.unwrap(), Some(Owner::new("alice")));
//! # }
//! ```
//!
//! # How do I test what happens after a day?
//!
//! With a [`clock`](crate::UploadsBuilder::clock) of your own that the test sets.
//!
//! # How do I test a store of my own?
//!
//! Feature `conformance` has [a suite](crate#features) for [the
//! contract](crate::store#the-contract).
