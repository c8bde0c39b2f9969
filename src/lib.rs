//! Chunked, resumable uploads of large files as a tower [`Layer`](tower_layer::Layer), in front of
//! any HTTP service: axum, hyper, tonic.
//!
//! The layer takes the chunks, checks their offsets, streams them into a [`store`] (temporary
//! files, or a bucket) and computes the checksum incrementally. The application sees none of that:
//! it gets one ordinary request, with one finished, verified file in its extensions, a
//! [`CompletedUpload`].
//!
//! It speaks three protocols. One is [that of django-chunked-upload](guide::protocol), which
//! browsers speak through jQuery-File-Upload or a few lines of JavaScript. You can switch on two
//! more: [tus 1.0](guide::tus), which Uppy, tus-js-client, tuspy and others speak, with the same
//! handler; and [Resumable Uploads for HTTP](guide::resumable), an IETF draft that makes the
//! requests to an existing handler resumable.
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
//! | chapter | question |
//! |---|---|
//! | [Quick start](guide::quick_start) | How do I start? |
//! | [Clients](guide::clients) | How does a page, a form or a script send a file? |
//! | [The chunked protocol](guide::protocol) | What does a client of django-chunked-upload send and get? |
//! | [tus](guide::tus) | How do I accept files from Uppy and other tus clients? |
//! | [tus on the wire](guide::tus_wire) | What does a client of tus send and get? |
//! | [tus in parts](guide::tus_parts) | How does a client send the parts of a file at the same time? |
//! | [Uppy](guide::uppy) | What does a page with Uppy look like? |
//! | [Resumable without changing the handler](guide::resumable) | How do I make requests to an existing handler resumable? |
//! | [Resumable on the wire](guide::resumable_wire) | Which clients resume, and what do they send and get? |
//! | [Idempotency](guide::idempotency) | What does a client do if the response that creates an upload was lost? |
//! | [Long completions](guide::long_completions) | What if the response to a completion is lost, or takes a long time? |
//! | [Errors](guide::errors) | What does each error code mean? |
//! | [Error messages](guide::error_messages) | Which code does a message have? |
//! | [Handling errors](guide::error_handling) | What does a client do after an error, and how do I respond with one? |
//! | [Owners](guide::owners) | Who may upload, and who owns an upload? |
//! | [Tokens](guide::tokens) | How does a client continue an upload after its session has ended? |
//! | [Validation](guide::validation) | How do I refuse a file? |
//! | [Limits](guide::limits) | How much may clients upload, and how slowly? |
//! | [Settings](guide::settings) | What can be set, and what are the defaults? |
//! | [Expiry](guide::expiry) | How long is an unfinished upload kept, and what removes it? |
//! | [Files](guide::files) | Where are the files, and how do I take one? |
//! | [Layers](guide::layers) | Where does the layer go? |
//! | [The order of layers](guide::layer_order) | Which other layers go outside and inside? |
//! | [The server](guide::server) | Which timeouts, resources and health check does a server need? |
//! | [Nodes](guide::nodes) | How do several machines share the uploads? |
//! | [Object stores](guide::nodes_stores) | Which object stores work, and how do I connect to one? |
//! | [Costs of a bucket](guide::nodes_costs) | What do uploads in a bucket cost, and how large should a chunk be? |
//! | [Buckets and folders](guide::nodes_differences) | What works differently in a bucket than in a folder? |
//! | [Proxies](guide::proxy) | How do I configure nginx? |
//! | [Recipes](guide::recipes) | What do I do with a finished file: a database, a virus scan, thumbnails, S3? |
//! | [Deploy](guide::deploy) | How do I run it in Docker and Kubernetes, and behind other proxies? |
//! | [Frameworks and systems](guide::frameworks) | Does it work with poem or actix, on macOS, on Windows? |
//! | [HTTP/2](guide::http2) | Why is an upload slow, and which window sizes make it fast? |
//! | [Observe](guide::observe) | What do the log and the metrics say? |
//! | [Testing](guide::testing) | How do I test my own handler? |
//! | [From Django](guide::django) | Where are my django-chunked-upload settings? |
//!
//! # What it promises
//!
//! - **An acknowledged offset is never lost and never moves backwards.** It survives a dropped
//!   connection, a panic, `kill -9` and a full disk. With
//!   [`Durability::Sync`](store::Durability::Sync), it also survives a power cut.
//! - **Your handler gets the file byte for byte as the client sent it, or it is not called.**
//!   Without `Durability::Sync`, a power cut may take acknowledged bytes. On Linux this is
//!   detected, and the file is refused, even if its length is still right.
//! - **A dead connection locks nobody out.** There is one writer at a time per upload, and the
//!   newest request wins, also across all processes that share a folder (on Windows, only one
//!   process can write to a folder). If nodes share a bucket, the first to commit wins.
//! - **Over tus, a broken connection costs no bytes**: the server keeps what arrived before it
//!   broke. Three cases differ: a request with a checksum of its own and a request that creates an
//!   upload are all or nothing, and `kill -9` or a newer request may cost up to half a second of
//!   bytes that were not acknowledged.
//! - **Completing costs the same for 1 KiB and for 1 TiB.** The file is read once more only if
//!   [`read_back`](UploadsBuilder::read_back) is on, if a power cut may have taken bytes, or if the
//!   client's checksum uses an algorithm that was not computed while the bytes arrived.
//! - **Memory per upload is bounded** by the settings, whatever a client sends.
//! - **A finished upload waits for your handler**, until the handler takes it (with a 2xx or 3xx
//!   response) or discards it ([`CompletedUpload::discard`]), or until it expires or is cancelled.
//!   With tus and the IETF draft, clients see it as complete only after the handler has taken it.
//! - **A request that is not part of an upload passes through** as if the layer were not there. A
//!   layer that is mounted as a service of its own answers it with 404.
//! - **Nothing that a client sends is used in a path, a log line or a header without being
//!   sanitized.**
//!
//! # Features
//!
//! No feature is on by default.
//!
//! - `axum`: [`CompletedUpload`] is an extractor.
//! - `tracing`: a span for each request to an upload, and events for changes of uploads and for
//!   failures. The guide [lists their fields](guide::observe).
//! - `metrics`: counters, gauges and histograms of the facade `metrics`. The guide [lists
//!   them](guide::observe#which-metrics-are-there).
//! - `fast-md5`: computes MD5 in assembly where an implementation exists (1.4 times as fast on
//!   x86-64). It can be switched on and off between releases: stored uploads stay readable.
//! - `object-store`: [`BucketStore`](store::BucketStore), for many nodes on S3, Azure or Google
//!   Cloud Storage.
//! - `informational`: [informational responses](informational) of HTTP/1.1 on hyper, such as the
//!   104 that tells a client [where to resume](guide::resumable).
//! - `axum-serve`: informational responses for `axum::serve`; includes `informational`.
//! - `tokens`: [signed tokens](guide::tokens), each for one upload, with which a client continues
//!   it after its session has ended.
//! - `conformance`: the test suite that any implementation of [`Store`](store::Store) can run.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(any(doc, doctest))]
pub mod guide;
pub mod informational;
pub mod policy;
pub mod store;

#[cfg(feature = "axum")]
mod axum;
mod body;
mod checksum;
mod code;
mod cors;
mod dialects;
mod engine;
mod erased;
#[cfg(test)]
mod faults;
mod filename;
mod future;
mod id;
mod idempotency;
mod layer;
mod log;
mod metric;
mod protocol;
mod service;
#[cfg(all(feature = "object-store", feature = "tokens"))]
#[cfg(test)]
mod simulation;
mod task;
mod time;
mod upload;

#[cfg(feature = "axum")]
pub use self::axum::NoUpload;
pub use body::{RequestBody, ResponseBody};
pub use checksum::{ChecksumState, Digest, DigestAlgorithm};
pub use cors::Cors;
pub use engine::{
    Append, AppendMode, CompletedUpload, Completion, ConfigError, Ended, Error, ErrorKind, Event,
    Expired, Expiry, Filter, Health, Lease, Listing, NewUpload, Observer, OperatorUploads,
    OwnerUploads, Quota, ShutdownGuard, Snapshot, Sweeper, Uploads, UploadsBuilder, Watch,
};
#[cfg(feature = "tokens")]
pub use engine::{TokenKeys, UploadToken};
pub use future::ResponseFuture;
pub use id::{ParseIdError, UploadId};
pub use idempotency::{IdempotencyKey, ParseKeyError};
pub use layer::ChunkedUploadLayer;
#[cfg(feature = "tokens")]
pub use policy::ByToken;
pub use policy::{Candidate, Context, Policy, Refusal};
pub use protocol::chunked::Chunked;
pub use protocol::completions::LongCompletions;
pub use protocol::resumable::Resumable;
pub use protocol::tus::Tus;
pub use service::ChunkedUpload;
pub use upload::{Creation, Head, KeptAnswer, Kind, Owner, Part, Progress, Status, Ties, Upload};

/// Types for the settings of [`Chunked`]: the encoder of responses and the limits on forms.
pub mod chunked {
    pub use crate::protocol::chunked::{Encoder, FormLimits, JsonEncoder};
}

/// Types for the settings of [`Tus`]: the extensions that the layer offers.
pub mod tus {
    pub use crate::protocol::tus::Extensions;
}

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;

#[cfg(bench)]
#[doc(hidden)]
pub mod benching;
