//! Limit how much clients may upload, and how slowly.
//!
//! # Which limits should I set?
//!
//! By default, the layer limits neither the size of a file, nor the number of unfinished uploads,
//! nor the space that they take, and a client may be slow. Set these limits before strangers may
//! upload:
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
//!     .min_free_bytes(1024 * MIB)
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
//! The two limits per owner need a policy that [names owners](super::owners). Without one, all
//! uploads count as those of a single owner, and this example would allow two uploads for all
//! clients together. If clients of tus send a file in [parts](super::tus_parts), each part counts as
//! an upload, and so does the file: allow for all of them, or switch off
//! [`Extensions::concatenation`](crate::tus::Extensions::concatenation).
//!
//! [`Policy::max_bytes`](super::validation) may lower `max_bytes` for one request or user
//! ([`AtMost`](crate::policy::MaxBytes::AtMost)) or replace it
//! ([`Override`](crate::policy::MaxBytes::Override)).
//!
//! # What is limited by default?
//!
//! - the form around the file: [`FormLimits`](crate::chunked::FormLimits)
//! - a completion: [`max_completion_bytes`](crate::ChunkedUploadLayer::max_completion_bytes)
//! - the metadata of tus: [`max_metadata_bytes`](crate::Tus::max_metadata_bytes)
//! - the time in which a body brings no bytes:
//!   [`idle_timeout`](crate::ChunkedUploadLayer::idle_timeout)
//! - how much is read of a refused body: [`drain`](crate::ChunkedUploadLayer::drain)
//! - [the memory](super::server#how-much-does-a-server-need) of each upload and of all uploads
//!   together
//!
//! The layer does not limit how many requests there are at the same time: use a limit of tower
//! outside of it, or of the proxy. The server in front of the layer has [its own
//! timeouts](super::server).
//!
//! # When does a quota count?
//!
//! An upload reserves its announced total when it begins, so parallel uploads cannot get around a
//! quota. The reservation ends when your handler has taken or
//! [discarded](crate::CompletedUpload::discard) the file, and when the upload is cancelled, or
//! [swept](super::expiry) after it has expired. If your handler responds with an error and does not
//! discard the file, the upload counts until then. Uploads without an [owner](super::owners) count
//! as those of one owner.
//!
//! # How large may a chunk be?
//!
//! As large as the client likes: the memory that it takes does not depend on its size. But a chunk
//! is all or nothing, so a large one costs more when the connection breaks. With [tus](super::tus),
//! all bytes that arrived are kept, so a client may as well send the whole file in one request.
