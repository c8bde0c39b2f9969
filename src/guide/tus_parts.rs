//! Accept a file that a client of tus sends as several uploads at the same time.
//!
//! # How does a client send a file in parts?
//!
//! tus-js-client with `parallelUploads: 4` sends the four parts of a file at the same time, each as
//! an upload of its own, and then has them joined. Your handler gets the joined file, and is not
//! called for its parts:
//!
//! ```
//! # use axum::{body::Body, routing::post};
//! # use http::{Request, StatusCode, request};
//! # use tower::ServiceExt;
//! # use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Tus, Uploads};
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let done = async |upload: CompletedUpload| assert_eq!(upload.size(), 10);
//! # let uploads = Uploads::builder(tower_chunked_upload::store::MemoryStore::new()).build()?;
//! # let app = ChunkedUploadLayer::new(uploads).tus(Tus::new("/files")).mount(post(done));
//! # let tus = |method: &str, url: &str| {
//! #     Request::builder().method(method).uri(url).header("tus-resumable", "1.0.0")
//! # };
//! # let send = async |request: request::Builder, bytes: &'static str| {
//! #     app.clone().oneshot(request.body(Body::from(bytes)).unwrap()).await.unwrap()
//! # };
//! let part = || {
//!     tus("POST", "/files")
//!         .header("upload-concat", "partial")
//!         .header("upload-length", "5")
//!         .header("content-type", "application/offset+octet-stream")
//! };
//! let first = send(part(), "Hello").await;
//! let second = send(part(), "World").await;
//!
//! let urls = [&first, &second].map(|part| part.headers()["location"].to_str().unwrap());
//! let list = format!("final;{}", urls.join(" "));
//! let joined = send(tus("POST", "/files").header("upload-concat", list), "").await;
//! assert_eq!(joined.status(), StatusCode::CREATED);
//! assert_eq!(joined.headers()["upload-offset"], "10");
//! # Ok(())
//! # }
//! ```
//!
//! # What does joining cost?
//!
//! Nothing is copied: joining 1 TiB takes as long as joining 1 KiB. The file is read from its
//! parts. [`persist`](crate::CompletedUpload::persist) writes it once, and shares the blocks of the
//! parts where the filesystem can do so. Until then the file has no
//! [`path`](crate::CompletedUpload::path). It has a [`digest`](crate::CompletedUpload::digest) only
//! if the digest can be computed from those of its parts, which is the case for CRC-32C.
//!
//! # When is my policy called?
//!
//! [`authorize`](crate::Policy::authorize) and [`max_bytes`](crate::Policy::max_bytes) are called
//! for parts too. [`validate`](crate::Policy::validate) and
//! [`attributes`](crate::Policy::attributes) are called only for the joined file, whose metadata
//! comes with the request that joins it. So check in `authorize` what must hold before a byte is
//! stored.
//!
//! # Which parts can be joined?
//!
//! - An owner can join their own parts, in any order, any number of times. If your handler does not
//!   take the file, or the response is lost, the same request yields the same upload, as long as
//!   the parts have not expired.
//! - Parts can be joined before they are complete. Then the request that brings the last byte of
//!   the last part calls your handler, and gets its response. Only one upload at a time can wait
//!   for an unfinished part; another one gets a 423.
//! - If a request is still sending a part when the parts are joined, it gets a 503, and the client
//!   continues where `HEAD` says.
//! - A file has at most 1,000 parts, and a part may be named several times. So set
//!   [`max_bytes`](crate::UploadsBuilder::max_bytes), which applies to the sum.
//! - At most eight existing uploads can be joined from one part; the ninth gets a 423.
//! - Proxies and HTTP/2 limit the size of headers. By default, they allow lists of a few hundred
//!   parts.
//! - The URLs in the list are paths as in `Location`, or absolute URLs. The host of an absolute one
//!   must be that of the request, so a proxy in front must pass `Host` on; otherwise set
//!   [`public_url`](crate::Tus::public_url).
//!
//! # How long are parts kept?
//!
//! A part and the joined upload [expire](super::expiry) independently. An upload that waits for a
//! part lives at least as long as that part, if [chunks prolong it](crate::Expiry::AfterLastChunk).
//! The store keeps the bytes of a part as long as an upload that is joined from it needs them:
//! until your handler has persisted and taken the file, or until the joined upload is gone.
//!
//! [Quotas](super::limits) count the bytes of parts until your handler has taken a file that
//! consists of them.
