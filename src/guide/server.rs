//! Give the server the timeouts, the resources and the health check that uploads need.
//!
//! # What ends a silent connection?
//!
//! The layer's timeouts start with the head of a request. What comes before that is up to the
//! server:
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
//! `axum::serve` waits forever for a client that sends nothing, stops in the middle of a request
//! head, or has sent one request and no other. Each such client holds a descriptor. It does not
//! notice that an HTTP/2 client is gone, either. A client that closes its sending side after a
//! whole request, as `nc -N` does, gets no response, and its request is carried out only if the
//! application has begun to handle it by then. `axum::serve` has no settings for any of this, but
//! there are two solutions:
//!
//! - **A proxy in front**, such as [nginx](super::proxy). It passes a request on when its head is
//!   complete, and closes silent connections itself (`client_header_timeout`, `keepalive_timeout`).
//!   It treats a client that closes its sending side as one that has left.
//! - **hyper-util's server**, as above, which serves an axum `Router` like any tower service.
//!
//! Before these timeouts start, the builder waits for the first bytes, to detect the HTTP version.
//! So the stream that you give it must fail if they do not arrive. The package `serve` of the
//! repository has both to copy: that stream in `begins.rs`, and the loop that accepts connections
//! in `lib.rs`, which needs the feature `informational` of this crate. tonic's server has a timeout
//! for a head (30 s) and settings for HTTP/2 clients that are gone, and takes that stream too, as
//! in `servers/examples/tonic.rs`.
//!
//! # How much does a server need?
//!
//! - **Descriptors.** An upload in flight keeps three open: its connection, its file and its
//!   record. The store also keeps [some files](crate::store::FsStore::open_files) open between two
//!   chunks, 256 by default and at most a quarter of the limit. Set `ulimit -n` to three for each
//!   upload and 400 more; the usual 1,024 are enough for 200 uploads. With [a
//!   bucket](super::nodes), the descriptors are the connection and those to the object store.
//! - **Memory of the layer.** About 8 KiB for a slow upload, and up to 16 KiB more while its bytes
//!   arrive. Uploads whose bytes arrive faster than they are written borrow large buffers:
//!   [`max_batches`](crate::UploadsBuilder::max_batches) of
//!   [`batch_bytes`](crate::UploadsBuilder::batch_bytes) for all uploads together, 16 MiB by
//!   default. [A bucket](super::nodes_costs#how-much-memory-does-it-take) buffers more, 256 MiB in
//!   total by default.
//! - **Memory of the HTTP library.** A hyper connection keeps the largest read buffer that it ever
//!   needed. `http1().max_buf_size(…)` limits it (`axum::serve` has no such setting). With 8 KiB, a
//!   connection and its slow upload take less than 32 KiB together, so 5,000 take 130 MB; with 64
//!   KiB, up to 95 KiB each; with hyper's default, about 350 KiB each after a fast start. 64 KiB is
//!   as fast as the default. 8 KiB costs a tenth more CPU, and limits the head of a request to 8
//!   KiB.
//! - **[HTTP/2 windows](super::http2)**, up to 4 MiB per connection if they are as large as that
//!   chapter suggests.
//! - **Disk.** Space for all unfinished uploads, on the same filesystem as [the final place of the
//!   files](super::files).
//!
//! If many clients send much at the same moment, the server needs more memory for that moment, and
//! the allocator may not give it back.
//!
//! # How does a load balancer know that the server can take files?
//!
//! [`Uploads::check`](crate::Uploads::check) writes something to the store, syncs it, reads it back
//! and removes it. Call it in a health route, with a timeout for a disk that hangs:
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
//! A process runs one check at a time, so a route that is called too often costs little. A full
//! disk fails the check before it fails an upload.
//! [`min_free_bytes`](crate::UploadsBuilder::min_free_bytes) does not fail it, so compare
//! `free_bytes` with what you need. From the beginning of a [shutdown](crate::Uploads::shutdown),
//! the check fails. In [a bucket](super::nodes), a check takes seven requests: one every ten
//! seconds costs 14 cents a day on S3, for each node.
//!
//! # How do I stop a server without losing chunks?
//!
//! Call [`Uploads::shutdown`](crate::Uploads::shutdown) when the signal comes, as [the quick
//! start](super::quick_start) does. Chunks in flight get the time to finish, and new ones get a 503
//! with `Retry-After`. `shutdown` waits without a limit for your handler, so give a handler that
//! may hang a timeout of its own. After that, axum waits without a limit for connections that are
//! still open, such as one that stalls in the middle of a request head. To limit this too, put
//! [`timeout`](tokio::time::timeout) around the server, as `examples/axum.rs` does. Docker,
//! Kubernetes and systemd send SIGTERM by default, so wait for that as well as for Ctrl-C:
//!
//! ```
//! /// Waits for Ctrl-C or SIGTERM.
//! async fn terminated() {
//!     #[cfg(unix)]
//!     {
//!         use tokio::signal::unix::{SignalKind, signal};
//!         if let Ok(mut terminate) = signal(SignalKind::terminate()) {
//!             tokio::select! {
//!                 _ = terminate.recv() => {}
//!                 _ = tokio::signal::ctrl_c() => {}
//!             }
//!             return;
//!         }
//!     }
//!     tokio::signal::ctrl_c().await.unwrap_or_default();
//! }
//! # let _ = terminated;
//! ```
//!
//! # How do I update a server that has unfinished uploads?
//!
//! Stop the old version and start the new one: clients wait for it and continue. Versions may also
//! run side by side, and an older one may come back, since each reads the records of the others. A
//! field of a record that an older version does not know is lost when that version writes the
//! record. The [changelog](https://docs.rs/crate/tower-chunked-upload/latest/source/CHANGELOG.md)
//! says if a release makes an exception.
//!
//! # What do I back up, and what may I delete?
//!
//! Back up what your handler has [persisted](super::files). The store's folder has unfinished uploads,
//! which clients continue or begin again, and until they expire the records of complete ones, with
//! the files that your handler took without persisting them. A copy of it that is made while the
//! server runs is not consistent. If the server is stopped, and no file in it is needed, you may
//! delete the whole folder: clients then get a 404 and begin again.
//! To delete single uploads, cancel them with
//! [`Uploads::for_operator`](crate::Uploads::for_operator).
