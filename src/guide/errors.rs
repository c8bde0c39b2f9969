//! What each error means, and what a client should do.
//!
//! This is about [the chunked protocol](super::protocol). In tus, errors are plain text, and [their
//! statuses](super::tus#what-does-each-status-mean) are those that its clients expect.
//!
//! # What does a client do in general?
//!
//! Every response of the layer is JSON, and each refusal has a `detail` for a person to read. Most
//! clients need no table:
//!
//! 1. **The response has an `offset`**: continue from there.
//! 2. **404 or 410**: begin a new upload.
//! 3. **No response, 408, a 409 with `Retry-After`, 429, `Upload is being completed`, or 500 and
//!    above**: wait (as long as `Retry-After` says, or one second, then two, then four), [ask for
//!    the offset](super::protocol#how-does-it-ask-cancel-and-complete), and continue from there.
//!    Acknowledged bytes are still there.
//! 4. **Anything else**: stop, show the `detail`, and begin a new upload when the user wants to.
//!
//! A body that is not JSON comes from something else, such as [a proxy](super::proxy) that cannot
//! reach the server. Treat its 502 to 504 as the third case.
//!
//! # What does each one mean?
//!
//! | status | `detail` | what the client does, or what is wrong |
//! |---|---|---|
//! | 400 | `Offsets do not match`, with `offset` | continue from that offset |
//! | 400 | `A form names its upload in the field 'upload_id', not in the query` | a bug in the client |
//! | 400 | `N of M bytes have arrived`, with `offset` | completed too early: continue from that offset |
//! | 400 | `The request ended before its end` | send the chunk again |
//! | 400 | `Upload has already been marked as complete` (with quotes around the last word for a chunk or a cancellation) | done |
//! | 400 | `Upload is being completed` | wait, then ask for the status |
//! | 400 | `Size of file exceeds the limit (N bytes)` | tell the user |
//! | 400 | `Size of file was announced as N bytes` | begin a new upload: the file has changed |
//! | 400 | `md5 checksum does not match` | begin a new upload: the bytes are not the file's |
//! | 400 | `File size doesn't match headers` | there were more or fewer bytes than the `Content-Range` says |
//! | 400 | `No chunk file was submitted` | the field's name is wrong, or its `filename` is missing |
//! | 400 | `Error in request headers` | the `Content-Range` is wrong or missing |
//! | 400 | `Error in the form: …` | the form is wrong, or exceeds [`FormLimits`](crate::chunked::FormLimits) |
//! | 400 | `Error in the JSON body` | the completion's JSON is wrong |
//! | 400 | `'upload_id' was sent twice with different values` | a bug in the client |
//! | 400 | `Both 'upload_id' and 'md5' are required` (or `'upload_id' is required`) | one of them is missing |
//! | 403 | `Authentication credentials were not provided` | log in |
//! | 404 | `Upload not found` | begin a new upload; also the answer for another [owner's](super::owners) upload |
//! | 405 | `This method is not allowed here`, with `Allow` | a bug in the client |
//! | 408 | `The request brought no data for too long`, or `too little data` | send the chunk again |
//! | 409 | `Upload was taken over by a newer request` | stop: another tab has continued or cancelled the upload, as its status shows |
//! | 409 | `Upload is held by another request`, with `Retry-After` | send the chunk again, a little later |
//! | 410 | `Upload has expired` | begin a new upload |
//! | 410 | `The stored upload is damaged; begin a new one` | begin a new upload; with feature `tracing`, the log says why |
//! | 413 | `Size of the request exceeds the limit (N bytes)`, or without the number | send smaller chunks: [a layer outside](super::layers) has that limit |
//! | 413 | `The request is too large` | the completion is more than a small form |
//! | 413 | `The limit is N bytes of one owner's unfinished uploads`, with `limit` | tell the user, who has to complete or cancel another upload first |
//! | 415 | `A body with a Content-Encoding is not taken`, for a raw body | send the file without an encoding |
//! | 429 | `The limit is N unfinished uploads of one owner`, with `limit` | wait, or cancel another upload |
//! | 500 | `There is no upload to complete` | not the client's fault: the handler's route is not [behind the layer](super::layers) |
//! | 500 | `The upload could not be stored` | try again later; with feature `tracing`, the log says why |
//! | 503 | `The server is shutting down`, with `Retry-After` | send the chunk again, a little later |
//! | 507 | `There is no room for the upload` | try again later. In [a bucket](super::nodes#how-large-should-a-chunk-be), the upload may have too many chunks: begin again with larger ones |
//! | 507 | `The limit is N bytes of all unfinished uploads`, or `bytes that stay free`, with `limit` | try again later |
//!
//! Refusals of your [`Policy`](crate::Policy) and responses of your handler come in addition. If
//! your handler answers a completion with an error, the upload is still there, unless it was
//! [discarded](crate::CompletedUpload::discard). The client can cancel it, or complete it again
//! without sending a byte, for example after a login. So let your handler answer 404 or 410 only
//! after `discard`, because clients then begin a new upload.
//!
//! # How do I make such a response myself?
//!
//! In a [`Policy`](crate::Policy), use `?`. An [`Error`](crate::Error) of
//! [`Uploads`](crate::Uploads) becomes a [`Refusal`](crate::Refusal), and the client gets the same
//! response, in the words of its protocol, as if the layer itself had met that error:
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
//! If your own code calls [`Uploads`](crate::Uploads) outside a policy, choose the response by the
//! error's [`kind`](crate::Error::kind). Its `Display` is safe to show to a client. Its
//! [`source`](std::error::Error::source), what the system said, is for the log and never for the
//! client.
//!
//! [Layers](super::layers#how-do-i-log-refusals) shows how a layer outside logs refusals.
