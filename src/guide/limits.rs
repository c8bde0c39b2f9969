//! How much one may upload, how fast, and what a server needs for it.
//!
//! # What is limited if I set nothing?
//!
//! Everything that a client can prolong: the form around the file
//! ([`FormLimits`](crate::chunked::FormLimits)), a completion
//! ([`max_completion_bytes`](crate::ChunkedUploadLayer::max_completion_bytes)), the metadata of tus
//! ([`max_metadata_bytes`](crate::Tus::max_metadata_bytes)), the time in which a body brings
//! nothing ([`idle_timeout`](crate::ChunkedUploadLayer::idle_timeout)), what is read of a refused
//! body ([`drain`](crate::ChunkedUploadLayer::drain)), and the memory of each upload and of all
//! uploads together.
//!
//! # And what is not?
//!
//! The size of a file, the number of unfinished uploads, the space that they take, and how slow a
//! client may be. Set these limits before strangers may upload:
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! # use axum::Router;
//! # use client::{CHUNK, chunk, send};
//! use std::time::Duration;
//! use tower_chunked_upload::store::FsStore;
//! use tower_chunked_upload::{ChunkedUploadLayer, Uploads};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let store = FsStore::new(folder.path().join("%Y"));
//! const MIB: u64 = 1 << 20;
//! let uploads = Uploads::builder(store)
//!     .max_bytes(500 * MIB)
//!     .max_uploads_per_owner(2)
//!     .max_bytes_per_owner(600 * MIB)
//!     .max_bytes_in_all(2000 * MIB)
//!     .min_free_bytes(MIB)
//!     .build()?;
//! let layer = ChunkedUploadLayer::new(uploads).min_rate(10_000, Duration::from_secs(10));
//! # let app = Router::new().layer(layer);
//! # let of = |total: u64| chunk(CHUNK, "a.txt", format!("bytes 0-4/{total}").leak(), "Hello");
//! # assert_eq!(send(&app, of(501 * MIB)).await.0, 400);
//! # assert_eq!(send(&app, of(400 * MIB)).await.0, 200);
//! # let (status, answer) = send(&app, of(300 * MIB)).await;
//! # assert_eq!((status.as_u16(), &answer["limit"]), (413, &(600 * MIB).into()));
//! # assert_eq!(send(&app, of(100 * MIB)).await.0, 200);
//! # let (status, answer) = send(&app, of(10)).await;
//! # assert_eq!((status.as_u16(), &answer["limit"]), (429, &2.into()));
//! # Ok(())
//! # }
//! ```
//!
//! [`Policy::max_bytes`](super::validation) may lower `max_bytes` for one request or user
//! ([`AtMost`](crate::policy::MaxBytes::AtMost)) or replace it
//! ([`Override`](crate::policy::MaxBytes::Override)).
//!
//! # When does a quota count?
//!
//! An upload reserves its announced total when it begins, so parallel uploads cannot get around a
//! quota. The reservation ends when your handler has taken or
//! [discarded](crate::CompletedUpload::discard) the file, and when the upload is cancelled, or is
//! [swept](super::expiry) after it has expired. An upload that your handler answers with an error,
//! and does not discard, counts until then. Uploads without an [owner](super::owners) count as
//! those of one owner.
//!
//! # How large may a chunk be?
//!
//! As large as the client likes; memory does not depend on it. But a chunk is all or nothing, so a
//! large one costs more when the connection breaks. With [tus](super::tus), all bytes that arrived
//! are kept, so a client may as well send the whole file in one request.
//!
//! # What ends a silent connection?
//!
//! The layer's timeouts start with a request's head. What comes before that is up to the server.
//! `axum::serve` waits forever for a client that sends nothing, stops in the middle of a head, or
//! has sent one request and no other, and each such client holds a descriptor. It does not notice
//! that an HTTP/2 client is gone, either. A client that closes its sending side after a whole
//! request, as `nc -N` does, gets no response, and its request is carried out only if the
//! application has begun to handle it by then. `axum::serve` has no settings for any of this, but
//! there are two solutions:
//!
//! - **A proxy in front**, such as [nginx](super::proxy). It passes a request on when its head is
//!   complete, and closes silent connections itself (`client_header_timeout`, `keepalive_timeout`).
//!   It treats a client that closes its sending side as one that has left.
//! - **hyper-util's server** instead, for an axum `Router` as for any tower service:
//!
//! ```
//! use std::time::Duration;
//!
//! use hyper_util::rt::{TokioExecutor, TokioTimer};
//! use hyper_util::server::conn::auto;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! const TIMEOUT: Duration = Duration::from_secs(10);
//! let mut server = auto::Builder::new(TokioExecutor::new());
//! server.http1().timer(TokioTimer::new()).header_read_timeout(TIMEOUT).half_close(true);
//! server
//!     .http2()
//!     .timer(TokioTimer::new())
//!     .keep_alive_interval(TIMEOUT)
//!     .keep_alive_timeout(2 * TIMEOUT);
//! # use axum::Router;
//! # use axum::routing::get;
//! # use hyper_util::rt::TokioIo;
//! # use hyper_util::service::TowerToHyperService;
//! # use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! # let app = Router::new().route("/", get(async || "here"));
//! # let service = TowerToHyperService::new(app);
//! # for silent in ["GET / HTT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
//! #     let (mut near, far) = tokio::io::duplex(1 << 16);
//! #     near.write_all(silent.as_bytes()).await?;
//! #     let ended = server.serve_connection(TokioIo::new(far), service.clone()).await;
//! #     assert!(ended.is_err(), "{silent:?}");
//! # }
//! # let (mut near, far) = tokio::io::duplex(1 << 16);
//! # near.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await?;
//! # near.shutdown().await?;
//! # assert!(server.serve_connection(TokioIo::new(far), service).await.is_ok());
//! # let mut answer = String::new();
//! # near.read_to_string(&mut answer).await?;
//! # assert!(answer.ends_with("here"), "{answer}");
//! # Ok(())
//! # }
//! ```
//!
//! Before these timeouts start, the builder waits for the first bytes, to detect the HTTP version.
//! So the stream that it is given must fail if they do not arrive. The folder `serve` of the
//! repository has all of it, in two files to copy: that stream, and the loop that accepts
//! connections. tonic's server has a timeout for a head (30 s) and settings for HTTP/2 clients that
//! are gone, and takes that stream too, as in `servers/examples/tonic.rs`.
//!
//! # How much does a server need?
//!
//! - **Descriptors.** An in-flight upload keeps three open: its connection, its file and its
//!   record. Allow (`ulimit -n`) three for each and a hundred more; the usual 1,024 are enough for
//!   300 uploads. With [a bucket](super::nodes), the descriptors are the connection and those to
//!   the object store.
//! - **Memory of the layer.** About 8 KiB for a slow upload, and up to 16 KiB more while its bytes
//!   arrive. Uploads whose bytes arrive faster than they are written borrow large buffers:
//!   [`max_batches`](crate::UploadsBuilder::max_batches) of
//!   [`batch_bytes`](crate::UploadsBuilder::batch_bytes) for all uploads together, 16 MiB by
//!   default. [A bucket](super::nodes) buffers more, 256 MiB in total by default.
//! - **Memory of the HTTP library.** A hyper connection keeps the largest read buffer that it ever
//!   needed. `http1().max_buf_size(…)` limits it (`axum::serve` has no such setting). With 8 KiB, a
//!   connection and its slow upload take less than 32 KiB together, so 5,000 take 130 MB; with 64
//!   KiB, up to 95 KiB each; with hyper's default, about 350 KiB each after a fast start. 64 KiB is
//!   as fast as the default; 8 KiB costs a tenth more CPU, and limits a request's head to 8 KiB.
//! - **[HTTP/2 windows](super::http2)**, up to 4 MiB per connection if they are as large as that
//!   chapter suggests.
//! - **Disk.** Space for all unfinished uploads, on the same filesystem as [the final place of the
//!   files](super::files).
//!
//! If many clients send much at the same moment, the server needs more for that moment, and the
//! allocator may not give it back.
//!
//! # How does a load balancer know that the server can take files?
//!
//! [`Uploads::check`](crate::Uploads::check) writes something to the store, syncs it, reads it back
//! and removes it. A health route calls it, with a timeout for a disk that hangs:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::error::Error as _;
//! use std::time::Duration;
//!
//! use axum::extract::State;
//! use axum::http::StatusCode;
//! use axum::{Router, routing::get};
//! use tower_chunked_upload::{Uploads, store::FsStore};
//!
//! async fn health(State(uploads): State<Uploads>) -> Result<String, StatusCode> {
//!     match tokio::time::timeout(Duration::from_secs(3), uploads.check()).await {
//!         Ok(Ok(health)) => return Ok(format!("{:?}", health.free_bytes)),
//!         // The source names the step and the path.
//!         Ok(Err(error)) => eprintln!("{error}: {:?}", error.source()),
//!         Err(_) => eprintln!("the store does not answer"),
//!     }
//!     Err(StatusCode::SERVICE_UNAVAILABLE)
//! }
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path().join("uploads");
//! let uploads = Uploads::builder(FsStore::new(&folder)).build()?;
//! // The server does not start on a folder that it cannot write to.
//! uploads.check().await?;
//! let app: Router = Router::new().route("/health", get(health).with_state(uploads.clone()));
//! # use tower::ServiceExt as _;
//! # let asked = || axum::extract::Request::get("/health").body(axum::body::Body::empty());
//! # assert_eq!(app.clone().oneshot(asked()?).await?.status(), StatusCode::OK);
//! # std::fs::remove_dir(&folder)?;
//! # std::fs::write(&folder, "")?;
//! # assert_eq!(app.clone().oneshot(asked()?).await?.status(), StatusCode::SERVICE_UNAVAILABLE);
//! # Ok(())
//! # }
//! ```
//!
//! A process checks once at a time, so a route that is asked too often costs little. A full disk
//! fails the check before it fails an upload; [`min_free_bytes`](crate::UploadsBuilder::min_free_bytes)
//! does not, so compare `free_bytes` with what you need. From the beginning of a
//! [shutdown](crate::Uploads::shutdown) the check fails. In [a bucket](super::nodes) a check takes
//! seven requests: one every ten seconds costs 14 cents a day on S3, for each node.
