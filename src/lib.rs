//! Chunked, resumable uploads of big files as a tower [`Layer`](tower_layer::Layer), in front of any
//! HTTP service: axum, hyper, tonic.
//!
//! The layer takes the chunks, checks their offsets, streams them into a [`store`] (temporary files, or a
//! bucket) and computes the checksum on the way. The application sees none of that. It gets one ordinary request, with
//! one finished, verified file in its extensions: a [`CompletedUpload`].
//!
//! On the wire it speaks [the protocol](guide::protocol) of django-chunked-upload, which browsers speak
//! through jQuery-File-Upload.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! use axum::http::StatusCode;
//! use axum::routing::post;
//! use axum::{Json, Router};
//! use serde_json::{Value, json};
//! use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Uploads};
//!
//! fn app(uploads: Uploads) -> Router {
//!     let routes = Router::new().route("/api/chunked_upload_complete", post(done));
//!     Router::new().fallback_service(ChunkedUploadLayer::new(uploads).around(routes))
//! }
//!
//! async fn done(upload: CompletedUpload) -> Result<Json<Value>, StatusCode> {
//!     let target = format!("media/{}-{}", upload.id(), upload.filename());
//! #     let folder = tempfile::tempdir().unwrap();
//! #     let target = folder.path().join(target);
//!     upload.persist(target).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
//!     Ok(Json(json!({ "saved": upload.filename() })))
//! }
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(tower_chunked_upload::store::MemoryStore::new()).build()?;
//! # let done = client::upload(&app(uploads), "a.txt", "Hello").await;
//! # assert_eq!(done, (StatusCode::OK, json!({ "saved": "a.txt" })));
//! # Ok(())
//! # }
//! ```
//!
//! The whole server is in [the quick start](guide::quick_start).
//!
//! # Guide
//!
//! | chapter | its question |
//! |---|---|
//! | [Quick start](guide::quick_start) | How do I begin? |
//! | [Clients](guide::clients) | How does a page, a form or a script send a file? |
//! | [The protocol](guide::protocol) | What goes over the wire? |
//! | [Errors](guide::errors) | What does each error mean, and what should a client do? |
//! | [Owners](guide::owners) | Who may upload, and whose is an upload? |
//! | [Validation](guide::validation) | What may be uploaded? |
//! | [Limits](guide::limits) | How much, how fast, and what does a server need for it? |
//! | [Expiry](guide::expiry) | How long does an unfinished upload wait, and who removes it? |
//! | [Files](guide::files) | Where are the files, and how does one become mine? |
//! | [Layers](guide::layers) | Where does the layer go, and which others outside and inside it? |
//! | [Nodes](guide::nodes) | How do several machines share the uploads? |
//! | [Proxies](guide::proxy) | What has nginx to do? |
//! | [HTTP/2](guide::http2) | Why is one upload slow, and which windows make it fast? |
//! | [Testing](guide::testing) | How do I test my own handler? |
//! | [From Django](guide::django) | Where is what I had set in django-chunked-upload? |
//!
//! # What it promises
//!
//! 1. An acknowledged offset is never lost and never moves backwards: not by a dropped connection, a
//!    panic, `kill -9`, a full disk. With [`Durability::Sync`](store::Durability::Sync), not by a
//!    power cut.
//! 2. What the application gets is byte for byte what the client sent, or it gets nothing. (Without
//!    `Durability::Sync` a power cut may take acknowledged bytes. On Linux that is noticed, and the
//!    file refused, even if it kept its length.)
//! 3. One writer at a time per upload, in all processes that share a folder. A fresh request is not
//!    locked out by a dead one: the newest wins. (On nodes that share a bucket, the first to commit.)
//! 4. Completing costs the same for 1 KiB and for 1 TiB, unless [`read_back`](UploadsBuilder::read_back) is
//!    switched on or a power cut may have taken bytes.
//! 5. Memory per upload is a constant that the settings bound, whatever the client sends.
//! 6. A request that is no upload passes as if the layer were not there.
//! 7. A finished upload stays completable until the application has taken it, which an answer of 2xx or
//!    3xx says, or has ended it ([`CompletedUpload::discard`]), or it expires or is cancelled.
//! 8. Nothing that a client sends becomes a path, a log line or a header unescaped.
//!
//! # Features
//!
//! - `axum`: [`CompletedUpload`] is an extractor.
//! - `tracing`: refusals and failures are told to `tracing`.
//! - `fast-md5`: MD5 in assembly where there is some, on x86-64 1.4 times as fast. Records stay the same.
//! - `object-store`: [`BucketStore`](store::BucketStore), for many nodes on S3, Azure or Google Cloud Storage.
//! - `conformance`: the suite that an implementation of [`Store`](store::Store) can run.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(any(doc, doctest))]
pub mod guide;
pub mod policy;
pub mod store;

#[cfg(feature = "axum")]
mod axum;
mod body;
mod checksum;
mod cors;
mod engine;
mod erased;
#[cfg(test)]
mod faults;
mod filename;
mod future;
mod id;
mod layer;
mod log;
mod protocol;
mod service;
#[cfg(feature = "object-store")]
#[cfg(test)]
mod simulation;
mod task;
mod time;
mod upload;

#[cfg(feature = "axum")]
pub use self::axum::NoUpload;
pub use body::{RequestBody, ResponseBody};
pub use checksum::{ChecksumState, Digest};
pub use cors::Cors;
pub use engine::{
    Append, AppendMode, CompletedUpload, Completion, ConfigError, Error, ErrorKind, Event, Expired,
    Expiry, Filter, Lease, Listing, NewUpload, Observer, OperatorUploads, OwnerUploads, Quota,
    ShutdownGuard, Sweeper, Uploads, UploadsBuilder,
};
pub use future::ResponseFuture;
pub use id::{ParseIdError, UploadId};
pub use layer::ChunkedUploadLayer;
pub use policy::{Candidate, Context, Policy, Refusal};
pub use protocol::chunked::Chunked;
pub use service::ChunkedUpload;
pub use upload::{Owner, Progress, Status, Upload};

/// The protocol of django-chunked-upload: what can be set beside the paths and rules of [`Chunked`].
pub mod chunked {
    pub use crate::protocol::chunked::{Encoder, FormLimits, JsonEncoder};
}

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;

#[cfg(bench)]
#[doc(hidden)]
pub mod benching;
