//! Let a client repeat the request that creates an upload when its response was lost.
//!
//! The response to the request that creates an upload has the upload's id. If that response is lost,
//! the client does not know whether the upload exists, and cannot name it. Without a key, it has to
//! create another upload, and the first one stays until it expires.
//!
//! With the header `Idempotency-Key` ([an IETF
//! draft](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/)), the client
//! sends the same request again and gets the same upload, with its current offset. There is nothing
//! to switch on, and nothing changes for clients that send no key.
//!
//! # Which requests can have a key?
//!
//! | protocol | request | response to the same request again |
//! |---|---|---|
//! | [chunked](super::protocol) | a first chunk, which has no `upload_id` | 200 with `upload_id`, `offset` and `expires` |
//! | [tus](super::tus) | `POST`: a creation, also with bytes, `partial` or `final` | 201 with `Location`, and with `Upload-Offset` if it brings bytes |
//! | [resumable](super::resumable) | the request that begins the upload | 201 with `Location`, `Upload-Offset` and `Upload-Complete: ?0`; 200 with `?1` when the handler has taken it |
//!
//! The layer ignores the header in all other requests. It does not remove the header, so your handler
//! and other layers see it.
//!
//! The layer skips bytes that it already has. If a first chunk has more bytes than the upload, the
//! layer adds the rest. In the other two protocols, the client continues from the offset in the
//! response. If the first request is still being received, the newer one takes over, as [a newer
//! chunk](super::protocol#can-two-requests-send-to-one-upload) does.
//!
//! If the file is empty (0 bytes) and your handler has not taken it yet, the layer calls the
//! handler again (in tus and in the resumable protocol). While the handler is still running, the
//! response is an error, and the client retries.
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
//! A key has 16 to 255 printable ASCII characters, as a string of structured fields (in quotes) or as
//! one plain word. The layer refuses anything else, and a repeated header, with 400.
//!
//! **A key must be random**, for example a UUID, and is as secret as an id. Each
//! [owner](super::owners) has its own keys. If your uploads have no owner, whoever knows the key gets
//! the upload. The layer never logs a key, and stores only a hash of it: the id of the upload is
//! derived from the key.
//!
//! Use one key per file, and a new key when you start over on purpose. The layer does not compare
//! the bytes that it has with those that are sent again. So if a client sends the same key with
//! other bytes, the upload may become a mixture of both. In the chunked protocol, its completion
//! then fails with `checksum-mismatch`. In the other protocols, nothing notices it unless the
//! client sends a digest of the whole file.
//!
//! # What must be the same?
//!
//! Each owner has its own keys in each protocol. Within these, the following must be the same: the
//! file name, the announced total, the content type, the text fields or metadata, and the kind
//! (whole, part, or the list of parts). In the resumable protocol, the method, the target and the
//! kept headers must be the same, too. If one differs, the response is 409 with the code
//! `key-reused`, and the upload does not change.
//!
//! # How long is a key remembered?
//!
//! A key is remembered as long as the upload's record exists, even after the upload was completed.
//! When the upload has been removed or has expired, the same key creates a new upload. A client
//! should use a new key then, because [a bucket](super::nodes) forgets the key of a removed upload
//! after the [grace](crate::store::bucket) (1 hour by default).
//!
//! # What if several requests come at once?
//!
//! They create exactly one upload, in one process, in several processes that share a folder, and on
//! several nodes that share a bucket. If one of these requests cannot get the upload in time (code
//! `busy` or `superseded`), its response is 409; in tus it is 423 or 503, and in the resumable
//! protocol 503. The client then sends the request again.
//!
//! # What about pages of another origin?
//!
//! A page of another origin may send the header if your CORS layer allows it. The list of
//! [`ChunkedUploadLayer::cors`](crate::ChunkedUploadLayer::cors) has it.
//!
//! # Can I use keys without HTTP?
//!
//! Yes, with [`NewUpload::idempotency_key`](crate::NewUpload::idempotency_key).
