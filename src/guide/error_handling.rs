//! Decide what a client does after an error, and respond with errors of your own.
//!
//! ```text
//! HTTP/1.1 400 Bad Request
//! upload-error-code: offset-mismatch
//!
//! {"code":"offset-mismatch","detail":"Offsets do not match","offset":5}
//! ```
//!
//! After this response, the client continues from byte 5. [Errors](super::errors) lists all codes.
//!
//! # What do clients of the chunked protocol do?
//!
//! Most of them need only four rules:
//!
//! 1. **The response has an `offset`**: continue from there.
//! 2. **404 or 410**: begin a new upload.
//! 3. **No response, 408, a 409 with `Retry-After`, 429, 500 and above, or the code `finishing`,
//!    `source-failed` or `truncated-form`**: wait (as long as `Retry-After` says, or one second,
//!    then two, then four), [ask for the
//!    offset](super::protocol#how-does-a-client-ask-cancel-and-complete), and continue from there.
//!    Acknowledged bytes are still there.
//! 4. **Anything else**: stop, show the `detail`, and begin a new upload when the user wants to.
//!
//! Three codes come first: `already-complete` (400) means that the file was taken, so the client is
//! done. With [long completions](super::long_completions), so does `answer-not-kept` (410), and
//! `not-completing` (409) means that the client sends the completion again.
//!
//! A body that is not JSON comes from something else, such as [a proxy](super::proxy) that cannot
//! reach the server. Treat its 502, 503 and 504 as the third case.
//!
//! # What do tus clients do?
//!
//! They have built-in rules, so respond with 4xx where a retry does not help, and with 5xx where it
//! does:
//!
//! | response | tus-js-client 4, Uppy | tuspy 1.1 | TUSKit | tus-java-client 0.5 |
//! |---|---|---|---|---|
//! | 5xx, or none | asks by `HEAD` and continues | the same, if told to retry | tries twice | tries four times |
//! | 409 | asks by `HEAD` and continues | the same | continues from its `Upload-Offset` | stops |
//! | 423 | tries again | tries again | tries twice | tries again |
//! | 429 | stops; Uppy pauses and tries again | as after a 5xx | tries twice | stops |
//! | any other 4xx | stops | as after a 5xx | tries twice | stops |
//! | 404 for `HEAD` | begins a new upload | begins a new upload | fails | begins a new upload |
//! | 410 for `HEAD` | begins a new upload | begins a new upload | fails | stops |
//! | 5xx for `HEAD` | begins a new upload | stops | fails | tries again |
//!
//! # What if my handler responds with an error?
//!
//! The upload is still there, unless the handler has [discarded](crate::CompletedUpload::discard)
//! it, or [its client could not continue it](super::validation#can-my-handler-refuse-a-file). The
//! client can cancel it, or complete it again without sending the file once more, for
//! example after a login. So let your handler respond with 404 or 410 only after `discard`, because
//! clients then begin a new upload.
//!
//! # How do I respond with one of these errors?
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
//! # assert_eq!((status.as_u16(), &answer["code"]), (404, &"not-found".into()));
//! # let quota = |quota| ErrorKind::QuotaExceeded { quota, limit: 7 };
//! # let table = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/error_messages.rs"));
//! # for (kind, status, detail) in [
//! #     (ErrorKind::OffsetMismatch { offset: 7 }, 400, "Offsets do not match"),
//! #     (ErrorKind::Incomplete { offset: 7, total: 7 }, 400, "N of M bytes have arrived"),
//! #     (ErrorKind::Source, 400, "The request body ended early"),
//! #     (ErrorKind::Finishing, 400, "Upload is being completed"),
//! #     (ErrorKind::TooLarge { limit: 7 }, 400, "Size of file exceeds the limit (N bytes)"),
//! #     (ErrorKind::TotalMismatch { total: 7 }, 400, "Size of file was announced as N bytes"),
//! #     (ErrorKind::ChecksumMismatch, 400, "md5 checksum does not match"),
//! #     (ErrorKind::TooLong { total: 7 }, 400, "File size doesn't match headers"),
//! #     (ErrorKind::NotFound, 404, "Upload not found"),
//! #     (ErrorKind::Superseded, 409, "Upload was taken over by a newer request"),
//! #     (ErrorKind::Busy, 409, "Upload is held by another request"),
//! #     (ErrorKind::KeyReused, 409, "The Idempotency-Key was used for an upload with other parameters"),
//! #     (ErrorKind::Expired, 410, "Upload has expired"),
//! #     (quota(Quota::OwnerBytes), 413, "The limit is N bytes of one owner's unfinished uploads"),
//! #     (quota(Quota::OwnerUploads), 429, "The limit is N unfinished uploads of one owner"),
//! #     (ErrorKind::Store, 500, "The upload could not be stored"),
//! #     (ErrorKind::Damaged, 410, "The stored upload is damaged; begin a new one"),
//! #     (ErrorKind::ShuttingDown, 503, "The server is shutting down"),
//! #     (ErrorKind::Full, 507, "There is no room for the upload"),
//! #     (quota(Quota::AllBytes), 507, "The limit is N bytes of all unfinished uploads"),
//! # ] {
//! #     let code = kind.code();
//! #     let app = Router::new().layer(ChunkedUploadLayer::new(uploads.clone()).policy(Fails(kind)));
//! #     let told = client::send(&app, client::chunk(client::CHUNK, "a.txt", "", "Hello")).await;
//! #     let words = detail.replace('N', "7").replace("of M", "of 7");
//! #     assert_eq!((told.0.as_u16(), &told.1["detail"]), (status, &words.into()));
//! #     assert_eq!(told.1["code"], code);
//! #     let row = format!("//! | {status} | `{detail}`");
//! #     let row = table.lines().find(|line| line.starts_with(&row)).ok_or(detail)?;
//! #     assert!(row.contains(&format!("`{code}`")), "{row}");
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! If your code calls [`Uploads`](crate::Uploads) outside a policy, choose the response by the
//! error's [`kind`](crate::Error::kind). Its `Display` is safe to show to a client. Its
//! [`source`](std::error::Error::source) says what the system reported: log it, and never send it
//! to a client.
//!
//! # How do I log refusals?
//!
//! The layer puts each of its refusals into the extensions of the response, as a
//! [`Refusal`](crate::Refusal), where an outer layer finds it. With feature `tracing`, there is
//! also [an event](super::observe#which-events-are-there) for each: `error` if an operator has to
//! act, `debug` otherwise.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! # use axum::{Router, middleware::map_response};
//! # use tower_chunked_upload::{ChunkedUploadLayer, Uploads, store::MemoryStore};
//! # static SEEN: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
//! # macro_rules! println { ($($said:tt)*) => { SEEN.lock().unwrap().push(format!($($said)*)) } }
//! use axum::response::Response;
//! use tower_chunked_upload::Refusal;
//!
//! /// For `axum::middleware::map_response`.
//! async fn log_refusals(response: Response) -> Response {
//!     if let Some(refusal) = response.extensions().get::<Refusal>() {
//!         println!("{}: {}", refusal.status(), refusal.code());
//!     }
//!     response
//! }
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! # let app = Router::new()
//! #     .layer(ChunkedUploadLayer::new(uploads))
//! #     .layer(map_response(log_refusals));
//! # client::send(&app, client::chunk(client::CHUNK, "a.txt", "bytes", "Hello")).await;
//! # assert_eq!(*SEEN.lock().unwrap(), ["400 Bad Request: malformed-content-range"]);
//! # Ok(())
//! # }
//! ```
