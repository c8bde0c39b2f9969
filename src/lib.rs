//! Chunked, resumable uploads of big files as a tower [`Layer`](tower_layer::Layer), in front of any
//! HTTP service: axum, hyper, tonic.
//!
//! The layer takes the chunks, checks their offsets, streams them to temporary files and computes
//! the checksum on the way. The application sees none of that. It gets one ordinary request, with
//! one finished, verified file in its extensions: a [`CompletedUpload`].
//!
//! On the wire it speaks the protocol of django-chunked-upload, which browsers speak through
//! jQuery-File-Upload; [The protocol](#the-protocol) below is all of it.
//!
//! # Quick start
//!
//! ```no_run
//! # #[cfg(feature = "axum")]
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use axum::http::StatusCode;
//! use axum::routing::post;
//! use axum::{Json, Router};
//! use serde_json::{Value, json};
//! use tower_chunked_upload::store::FsStore;
//! use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Uploads};
//!
//! let uploads = Uploads::builder(FsStore::new("chunked_uploads/%Y/%m/%d"))
//!     .max_bytes(20 << 30)
//!     .expires_after(Duration::from_secs(24 * 60 * 60))
//!     .build()?;
//! let sweeper = uploads.sweep_every(Duration::from_secs(60));
//!
//! let app: Router = Router::new()
//!     .route("/api/chunked_upload_complete", post(done))
//!     .layer(ChunkedUploadLayer::new(uploads.clone())
//!         .chunk_path("/api/chunked_upload")
//!         .complete_path("/api/chunked_upload_complete"));
//!
//! async fn done(upload: CompletedUpload) -> Result<Json<Value>, StatusCode> {
//!     let target = format!("media/{}-{}", upload.id(), upload.filename());
//!     upload.persist(target).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
//!     Ok(Json(json!({ "saved": upload.filename() })))
//! }
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! let stop = async move {
//!     tokio::signal::ctrl_c().await.ok();
//!     // Chunks that are under way may end, new ones are refused with 503.
//!     uploads.shutdown(Duration::from_secs(10)).await;
//! };
//! axum::serve(listener, app).with_graceful_shutdown(stop).await?;
//! sweeper.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! Without axum, the handler takes the upload out of the request's extensions; the examples `hyper`
//! and `tonic` of the repository are whole servers.
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
//!    locked out by a dead one: the newest wins.
//! 4. Completing costs the same for 1 KiB and for 1 TiB.
//! 5. Memory per upload is a constant that the settings bound, whatever the client sends.
//! 6. A request that is no upload passes as if the layer were not there.
//! 7. A finished upload stays completable until the application has answered without a server
//!    error.
//! 8. Nothing that a client sends becomes a path, a log line or a header unescaped.
//!
//! # The protocol
//!
//! A chunk is a `POST` to the chunk path with `Content-Range: bytes START-END/TOTAL`, in one of two
//! shapes:
//!
//! - `multipart/form-data`: the file in the field `file`, the text field `upload_id` for every chunk
//!   but the first, and any other fields, in any order. Put `upload_id` before the file: if it comes
//!   after it, the bytes have to be copied once more.
//! - a raw body, with `Content-Disposition: attachment; filename="…"`, and `upload_id` in the query.
//!
//! Without `Content-Range` the chunk is the whole file. A chunk is all or nothing: after a failure
//! the whole chunk is sent again. The answer is
//! `{"upload_id": "…", "offset": 10000, "expires": "2013-07-18T17:56:22.186Z"}`, with
//! `Range: 0-9999` as a header.
//!
//! `GET` on the chunk path with `?upload_id=…` gives the same with `total`, `status` and `filename`;
//! `DELETE` cancels the upload.
//!
//! A `POST` of `upload_id` and `md5` to the complete path, as a form of either kind or as JSON, ends
//! it. The answer is the inner service's.
//!
//! | status | `detail` | what a client does |
//! |---|---|---|
//! | 400 | `Offsets do not match`, with `offset` | goes on from that offset |
//! | 400 | `No chunk file was submitted` | has the field's name wrong, or its `filename` missing |
//! | 400 | `Error in request headers` | has the `Content-Range` wrong or missing |
//! | 400 | `File size doesn't match headers` | sent more or fewer bytes than its `Content-Range` says |
//! | 400 | `Size of file exceeds the limit (N bytes)` | tells its user |
//! | 400 | `Size of file was announced as N bytes` | begins a new upload: the file has changed |
//! | 400 | `Error in the form: …` | has the form wrong, or exceeds [`FormLimits`] |
//! | 400 | `N of M bytes have arrived`, with `offset` | completes too early: goes on from that offset |
//! | 400 | `md5 checksum does not match` | begins a new upload: the bytes are not the file's |
//! | 400 | `Upload has already been marked as complete` (with quotes around the last word for a chunk) | is done |
//! | 400 | `Upload is being completed` | waits, then asks for the status |
//! | 403 | `Authentication credentials were not provided` | logs in |
//! | 404 | `Upload not found` | begins a new upload |
//! | 408 | `The request brought no data for too long`, or `too little data` | sends the chunk again |
//! | 409 | `Upload was taken over by a newer request` | stops: another tab goes on with it |
//! | 409 | `Upload is held by another request` | sends the chunk again, a little later |
//! | 410 | `Upload has expired` | begins a new upload |
//! | 413 | `The request is too large` | has something else than a small form in its completion |
//! | 413 | `The limit is N bytes of one owner's unfinished uploads`, with `limit` | ends or cancels another upload first |
//! | 429 | `The limit is N unfinished uploads of one owner`, with `limit` | ends or cancels another upload first |
//! | 400 | `The request ended before its end` | sends the chunk again |
//! | 400 | `'upload_id' was sent twice with different values` | has a bug |
//! | 400 | `Both 'upload_id' and 'md5' are required` | has one of them wrong |
//! | 405 | `This method is not allowed here`, with `Allow` | has a bug |
//! | 500 | `The upload could not be stored` | tries again later; with feature `tracing` the log says why |
//! | 500 | `The stored upload is damaged` | begins a new upload |
//! | 503 | `The server is shutting down`, with `Retry-After` | sends the chunk again, a little later |
//! | 507 | `There is no room for the upload` | tries again later |
//! | 507 | `The limit is N bytes of all unfinished uploads`, or `bytes that stay free`, with `limit` | tries again later |
//!
//! # Who may do what
//!
//! A [`Policy`] says who asks, how large a file may be, whether a chunk and a finished file are
//! welcome, and what is attached to the upload. An [`Observer`] is told what happened, whoever
//! caused it. To everybody but its owner an upload looks like one that does not exist.
//!
//! # The order of layers
//!
//! In axum, the last `.layer(…)` added is the outermost and sees a request first.
//!
//! - **Authentication and sessions: outside**, so that the [`Policy`] finds the user in the request's
//!   extensions.
//! - **CORS: outside**, so that the layer's own answers get the headers too. Allow `Content-Range`,
//!   `Content-Disposition` and the methods `GET`, `POST`, `DELETE`; expose `Range`.
//! - **Limits of the body's size** (`tower_http::limit`): inside, or at least as large as the largest
//!   chunk with its form. axum's `DefaultBodyLimit` concerns extractors only, and so never a chunk.
//! - **Timeouts of a whole request: inside**, or long enough for the slowest chunk. One that strikes
//!   costs the chunk, never the upload. For clients that send nothing there is
//!   [`idle_timeout`](ChunkedUploadLayer::idle_timeout).
//! - **Decompression of requests: outside**, if clients compress chunks: `Content-Range` counts the
//!   bytes of the file.
//! - **Tracing: outside.** A refusal is in the extensions of its response, as [`Refusal`].
//!
//! # Without HTTP
//!
//! [`Uploads`] does all of it by itself: a gRPC method may begin an upload whose chunks come by HTTP,
//! or complete it; a job may list and remove them.
//!
//! # Expiry
//!
//! An upload expires a day after it began, unless [`expiry`](UploadsBuilder::expiry) says otherwise.
//! Nothing is removed by itself: start [`Uploads::sweep_every`] once, or call
//! [`Uploads::delete_expired`] from a job. A file that the application has
//! [persisted](CompletedUpload::persist) is never touched.
//!
//! What cannot be read has no expiry: a [`list`](Uploads::list) names a damaged upload in an error
//! ([`Error::damaged_upload`]), and [`Uploads::remove_damaged`] removes it.
//!
//! # Limits and quotas
//!
//! Nothing that a client can make long is without a bound: see [`FormLimits`],
//! [`max_completion_bytes`](ChunkedUploadLayer::max_completion_bytes),
//! [`idle_timeout`](ChunkedUploadLayer::idle_timeout) and [`drain`](ChunkedUploadLayer::drain). How large
//! a file may be, how many unfinished uploads and bytes an owner may have, how many bytes all together,
//! how many must stay free, and how slow a client may be, is unlimited unless set:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use tower_chunked_upload::store::FsStore;
//! use tower_chunked_upload::{ChunkedUploadLayer, Uploads};
//!
//! const GIB: u64 = 1 << 30;
//! let uploads = Uploads::builder(FsStore::default())
//!     .max_bytes(20 * GIB)
//!     .max_uploads_per_owner(10)
//!     .max_bytes_per_owner(50 * GIB)
//!     .max_bytes_in_all(500 * GIB)
//!     .min_free_bytes(10 * GIB)
//!     .build()?;
//! let layer = ChunkedUploadLayer::new(uploads).min_rate(10_000, Duration::from_secs(10));
//! # Ok(())
//! # }
//! ```
//!
//! What an upload will have is reserved when it begins, so uploads side by side cannot get around it.
//!
//! # How much a server needs
//!
//! - **Descriptors.** An upload under way keeps three open: its connection, its file and its record.
//!   Allow (`ulimit -n`) three for each and a hundred more; the usual 1,024 are enough for 300.
//! - **Memory of the layer.** Some 8 KiB for a slow upload, up to 16 KiB more while its bytes come. Those
//!   whose bytes come faster than they are written borrow large buffers, of which there are
//!   [`max_batches`](UploadsBuilder::max_batches) of [`batch_bytes`](UploadsBuilder::batch_bytes) for all
//!   together: 16 MiB, unless set.
//! - **Memory of the HTTP library.** A connection of hyper's keeps the largest read buffer that it ever
//!   needed; `http1().max_buf_size(…)` bounds it (`axum::serve` has no such setting). With 8 KiB a
//!   connection and its slow upload take less than 32 KiB together, so 5,000 take 130 MB; with 64 KiB up
//!   to 95 KiB each; with hyper's default some 350 KiB each after a fast start. 64 KiB is as fast as the
//!   default; 8 KiB costs a tenth more CPU, and limits a request's head to 8 KiB.
//!
//! - **Windows of HTTP/2.** hyper's own are made for small messages. For uploads give its builder
//!   `initial_stream_window_size(2 << 20)`, `initial_connection_window_size(4 << 20)` and
//!   `max_frame_size(256 << 10)`; a client may then have that much under way on each connection.
//!
//! Many clients that send much in one moment take more for that moment, and the allocator may not give
//! it back.
//!
//! # Features
//!
//! - `axum`: [`CompletedUpload`] is an extractor.
//! - `tracing`: refusals and failures are told to `tracing`.
//! - `fast-md5`: MD5 in assembly where there is some, on x86-64 1.4 times as fast. Records stay the same.
//! - `conformance`: the suite that an implementation of [`Store`](store::Store) can run.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod cors;
pub mod store;

#[cfg(feature = "axum")]
mod axum;
mod body;
mod checksum;
mod engine;
#[cfg(test)]
mod faults;
mod future;
mod id;
mod layer;
mod log;
mod policy;
mod protocol;
mod service;
mod time;
mod upload;

#[cfg(feature = "axum")]
pub use self::axum::NoUpload;
pub use body::{RequestBody, ResponseBody};
pub use checksum::{ChecksumState, Digest};
pub use engine::{
    Append, AppendMode, CompletedUpload, Completion, ConfigError, Error, ErrorKind, Event, Expired,
    Expiry, Filter, Listing, NewUpload, Observer, Quota, Sweeper, Uploads, UploadsBuilder,
};
pub use future::ResponseFuture;
pub use id::{ParseIdError, UploadId};
pub use layer::ChunkedUploadLayer;
pub use policy::{Candidate, Policy, Refusal};
pub use protocol::chunked::{Encoder, FormLimits, JsonEncoder};
pub use service::ChunkedUpload;
pub use upload::{Owner, Progress, Status, Upload};

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;

#[cfg(bench)]
#[doc(hidden)]
pub mod benching;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
