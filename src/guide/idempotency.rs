//! Let a client repeat the request that creates an upload when its response was lost.
//!
//! The id of an upload is in the answer to the request that creates it. If that answer is lost, the
//! client does not know whether there is an upload, and cannot name it. Without more it has to begin
//! another one, and the first stays until it expires.
//!
//! With the header `Idempotency-Key` ([a draft of the
//! IETF](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/)) it sends the
//! same request again, and gets the same upload, with the offset at which that stands. Nothing has to
//! be switched on, and a client without a key is served as before.
//!
//! # Which requests can have a key?
//!
//! | protocol | request | response to the same request again |
//! |---|---|---|
//! | [chunked](super::protocol) | a first chunk, which has no `upload_id` | 200 with `upload_id`, `offset` and `expires` |
//! | [tus](super::tus) | `POST`: a creation, also with bytes, `partial` or `final` | 201 with `Location`, and with `Upload-Offset` if it brings bytes |
//! | [resumable](super::resumable) | the request that begins the upload | 201 with `Location`, `Upload-Offset` and `Upload-Complete: ?0`; 200 with `?1` when the handler has taken it |
//!
//! In all other requests the layer does not look at the header. It only reads it: the handler and
//! the layers around see it as it came.
//!
//! Bytes that are there already are passed over. If a first chunk brings more than there is, the
//! rest is added; in the other two protocols the client continues from the offset that it is told. A
//! request that is still being received is taken over by the newer one, as a chunk is by [a newer
//! chunk](super::protocol#what-if-a-chunk-fails).
//!
//! An empty file of tus, or empty content of the resumable protocol that is complete, is handed over
//! again if the handler has not taken it: the response is then that of a first creation. While the
//! handler is still running, it is an error, and the client sends the request once more.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! # use axum::Router;
//! # use client::{CHUNK, chunk, send};
//! # use http::StatusCode;
//! # use tower_chunked_upload::{ChunkedUploadLayer, Uploads, store::MemoryStore};
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! # let app = Router::new().layer(ChunkedUploadLayer::new(uploads));
//! let first = |filename| {
//!     let mut first = chunk(CHUNK, filename, "bytes 0-4/10", "Hello");
//!     let key = "\"8e03978e-40d5-43e8-bc93-6894a57f9324\"".parse().unwrap();
//!     first.headers_mut().insert("idempotency-key", key);
//!     first
//! };
//! let (_, answer) = send(&app, first("a.txt")).await;
//! let (status, again) = send(&app, first("a.txt")).await;
//! assert_eq!((status, again), (StatusCode::OK, answer));
//!
//! let (status, answer) = send(&app, first("b.txt")).await;
//! assert_eq!(status, StatusCode::CONFLICT);
//! assert_eq!(answer["detail"], "The Idempotency-Key was used for an upload with other parameters");
//! # Ok(())
//! # }
//! ```
//!
//! # What is a key?
//!
//! From 16 to 255 printable ASCII characters, as a string of structured fields (in quotes), or as
//! one plain word. Anything else is refused with 400, and so is a header that is sent twice.
//!
//! **A key must be random**, for example a UUID, and is as secret as an id. Each
//! [owner](super::owners) has keys of its own. But if your uploads have no owner, whoever knows the
//! key gets the upload. The layer never logs a key, and stores only a hash of it (the id of the
//! upload follows from it).
//!
//! Use one key for one file, and make a new one when you begin again on purpose. The bytes that are
//! there are not compared with those that are sent again. So the same key, name and size with other
//! bytes gives a mixture, which the checksum of the completion refuses.
//!
//! # What must be the same?
//!
//! Owner, protocol, file name, announced total, content type, text fields or metadata, kind (whole,
//! part, or the list of parts), and in the resumable protocol the method, target and kept headers.
//! Otherwise the response is a 409 that says so, and the upload stays as it is.
//!
//! # How long does it last?
//!
//! As long as the record of the upload, so also after it was completed. When the upload was removed
//! or has expired, the key creates a new one.
//!
//! In [a bucket](super::nodes) that holds for the [grace](crate::store::bucket) after the removal (1
//! hour unless set). Then the bucket forgets it, and with it which upload the key names. So a client
//! should not use the key of an upload that was removed again, but make a new one.
//!
//! # What if several requests come at once?
//!
//! Exactly one upload results, in one process, in several on one folder, and on the nodes of a
//! bucket. A request that came too late is answered with 409 (503 in the other two protocols) if it
//! cannot be told where the upload stands. The client sends it again.
//!
//! # And from a page of another origin?
//!
//! The list of [`ChunkedUploadLayer::cors`](crate::ChunkedUploadLayer::cors) has the header.
//!
//! # And in Rust?
//!
//! [`NewUpload::idempotency_key`](crate::NewUpload::idempotency_key) does the same.
