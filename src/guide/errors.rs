//! What each error means, and what a client should do.
//!
//! # What does a client do in general?
//!
//! Every answer of the layer is JSON, and each refusal has a `detail` for a person to read. For
//! most of them a client needs no table:
//!
//! 1. **An `offset` in the answer**: go on from there.
//! 2. **404 or 410**: begin a new upload.
//! 3. **No answer, 408, a 409 with `Retry-After`, 429, `Upload is being completed`, 500 or more**:
//!    wait (as long as `Retry-After` says, or a second, then two, then four), [ask where the
//!    upload stands](super::protocol#how-does-it-ask-cancel-and-complete), and go on from there.
//!    What was acknowledged is still there.
//! 4. **Anything else**: stop, show the `detail`, and begin a new upload when the user wants to.
//!
//! A body that is no JSON comes from elsewhere, such as [a proxy](super::proxy) that cannot reach
//! the server: its 502 to 504 are of the third kind.
//!
//! # What does each one mean?
//!
//! | status | `detail` | what a client does |
//! |---|---|---|
//! | 400 | `Offsets do not match`, with `offset` | goes on from that offset |
//! | 400 | `A form names its upload in the field 'upload_id', not in the query` | has a bug |
//! | 400 | `N of M bytes have arrived`, with `offset` | completes too early: goes on from that offset |
//! | 400 | `The request ended before its end` | sends the chunk again |
//! | 400 | `Upload has already been marked as complete` (with quotes around the last word for a chunk or a cancellation) | is done |
//! | 400 | `Upload is being completed` | waits, then asks for the status |
//! | 400 | `Size of file exceeds the limit (N bytes)` | tells its user |
//! | 400 | `Size of file was announced as N bytes` | begins a new upload: the file has changed |
//! | 400 | `md5 checksum does not match` | begins a new upload: the bytes are not the file's |
//! | 400 | `File size doesn't match headers` | sent more or fewer bytes than its `Content-Range` says |
//! | 400 | `No chunk file was submitted` | has the field's name wrong, or its `filename` missing |
//! | 400 | `Error in request headers` | has the `Content-Range` wrong or missing |
//! | 400 | `Error in the form: …` | has the form wrong, or exceeds [`FormLimits`](crate::chunked::FormLimits) |
//! | 400 | `Error in the JSON body` | has the completion's JSON wrong |
//! | 400 | `'upload_id' was sent twice with different values` | has a bug |
//! | 400 | `Both 'upload_id' and 'md5' are required` (or `'upload_id' is required`) | has one of them missing |
//! | 403 | `Authentication credentials were not provided` | logs in |
//! | 404 | `Upload not found` | begins a new upload; also if it is another [owner's](super::owners) |
//! | 405 | `This method is not allowed here`, with `Allow` | has a bug |
//! | 408 | `The request brought no data for too long`, or `too little data` | sends the chunk again |
//! | 409 | `Upload was taken over by a newer request` | stops: another tab goes on with it, or it is being cancelled; the status tells |
//! | 409 | `Upload is held by another request`, with `Retry-After` | sends the chunk again, a little later |
//! | 410 | `Upload has expired` | begins a new upload |
//! | 410 | `The stored upload is damaged; begin a new one` | begins a new upload; with feature `tracing` the log says why |
//! | 413 | `Size of the request exceeds the limit (N bytes)`, or without the number | sends smaller chunks: [a layer outside](super::layers) has that limit |
//! | 413 | `The request is too large` | has something else than a small form in its completion |
//! | 413 | `The limit is N bytes of one owner's unfinished uploads`, with `limit` | tells its user, who ends or cancels another upload first |
//! | 415 | `A body with a Content-Encoding is not taken`, of a raw body | sends the file as it is |
//! | 429 | `The limit is N unfinished uploads of one owner`, with `limit` | waits, or cancels another upload |
//! | 500 | `There is no upload to complete` | has no part in it: the handler's route is not [behind the layer](super::layers) |
//! | 500 | `The upload could not be stored` | tries again later; with feature `tracing` the log says why |
//! | 503 | `The server is shutting down`, with `Retry-After` | sends the chunk again, a little later |
//! | 507 | `There is no room for the upload` | tries again later; in [a bucket](super::nodes#how-large-should-a-chunk-be) it can be that the upload has too many chunks: then begins again, with larger ones |
//! | 507 | `The limit is N bytes of all unfinished uploads`, or `bytes that stay free`, with `limit` | tries again later |
//!
//! What your [`Policy`](crate::Policy) refuses and what your handler answers come on top. After a completion
//! that your handler has answered with an error the upload is still there, unless it was
//! [discarded](crate::CompletedUpload::discard): the client can complete it again, say after a login, without
//! sending a byte, or cancel it. So let your handler answer 404 or 410 only with `discard`, since clients
//! begin anew then.
//!
//! # How do I make such an answer myself?
//!
//! In a [`Policy`](crate::Policy), with `?`. An [`Error`](crate::Error) of [`Uploads`](crate::Uploads)
//! becomes a [`Refusal`](crate::Refusal), and the client is told the same as if the layer itself had met
//! that error:
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! use tower_chunked_upload::{Candidate, OwnerUploads, Policy, Refusal, UploadId};
//!
//! /// Takes signatures of files that are still being uploaded.
//! struct Signatures {
//!     files: OwnerUploads,
//! }
//!
//! impl Policy for Signatures {
//!     async fn validate(&self, chunk: &Candidate<'_>) -> Result<(), Refusal> {
//!         let file: Option<UploadId> = chunk.field("file_id").and_then(|id| id.parse().ok());
//!         if let Some(file) = file {
//!             self.files.status(&file).await?; // 404 or 410, among others
//!         }
//!         Ok(())
//!     }
//! }
//! # use axum::Router;
//! # use tower_chunked_upload::store::MemoryStore;
//! # use tower_chunked_upload::{ChunkedUploadLayer, Context, Error, ErrorKind, Owner, Quota, Uploads};
//! # struct Fails(ErrorKind);
//! # impl Policy for Fails {
//! #     async fn authorize(&self, _: &Context<'_>) -> Result<Option<Owner>, Refusal> {
//! #         Err(Error::from(self.0.clone()).into())
//! #     }
//! # }
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! # let path = format!("{}?file_id={}", client::CHUNK, "0".repeat(32));
//! # let policy = Signatures { files: uploads.for_owner(None) };
//! # let app = Router::new().layer(ChunkedUploadLayer::new(uploads.clone()).policy(policy));
//! # let (status, answer) = client::send(&app, client::chunk(&path, "a.sig", "", "Hello")).await;
//! # assert_eq!((status.as_u16(), &answer["detail"]), (404, &"Upload not found".into()));
//! # let quota = |quota| ErrorKind::QuotaExceeded { quota, limit: 7 };
//! # let table = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/errors.rs"));
//! # for (kind, status, detail) in [
//! #     (ErrorKind::OffsetMismatch { offset: 7 }, 400, "Offsets do not match"),
//! #     (ErrorKind::Incomplete { offset: 7, total: 7 }, 400, "N of M bytes have arrived"),
//! #     (ErrorKind::Source, 400, "The request ended before its end"),
//! #     (ErrorKind::Finishing, 400, "Upload is being completed"),
//! #     (ErrorKind::TooLarge { limit: 7 }, 400, "Size of file exceeds the limit (N bytes)"),
//! #     (ErrorKind::TotalMismatch { total: 7 }, 400, "Size of file was announced as N bytes"),
//! #     (ErrorKind::ChecksumMismatch, 400, "md5 checksum does not match"),
//! #     (ErrorKind::TooLong { total: 7 }, 400, "File size doesn't match headers"),
//! #     (ErrorKind::NotFound, 404, "Upload not found"),
//! #     (ErrorKind::Superseded, 409, "Upload was taken over by a newer request"),
//! #     (ErrorKind::Busy, 409, "Upload is held by another request"),
//! #     (ErrorKind::Expired, 410, "Upload has expired"),
//! #     (quota(Quota::OwnerBytes), 413, "The limit is N bytes of one owner's unfinished uploads"),
//! #     (quota(Quota::OwnerUploads), 429, "The limit is N unfinished uploads of one owner"),
//! #     (ErrorKind::Store, 500, "The upload could not be stored"),
//! #     (ErrorKind::Damaged, 410, "The stored upload is damaged; begin a new one"),
//! #     (ErrorKind::ShuttingDown, 503, "The server is shutting down"),
//! #     (ErrorKind::Full, 507, "There is no room for the upload"),
//! #     (quota(Quota::AllBytes), 507, "The limit is N bytes of all unfinished uploads"),
//! # ] {
//! #     let app = Router::new().layer(ChunkedUploadLayer::new(uploads.clone()).policy(Fails(kind)));
//! #     let told = client::send(&app, client::chunk(client::CHUNK, "a.txt", "", "Hello")).await;
//! #     let words = detail.replace('N', "7").replace("of M", "of 7");
//! #     assert_eq!((told.0.as_u16(), &told.1["detail"]), (status, &words.into()));
//! #     assert!(table.contains(&format!("//! | {status} | `{detail}`")), "{detail}");
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! Where your own code calls [`Uploads`](crate::Uploads) outside of a policy, choose the answer by the
//! error's [`kind`](crate::Error::kind). Its `Display` is safe to show to a client.
//!
//! Its [`source`](std::error::Error::source) is what the system said: that is for the log, never for the
//! client. How a layer outside logs refusals is in [its
//! chapter](super::layers#how-do-i-log-refusals).
