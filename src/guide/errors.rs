//! What each error means, and what a client should do.
//!
//! # What does a client do in general?
//!
//! Every refusal of the layer has a code, a word such as `expired` that never changes. In all
//! protocols it is in the response header `Upload-Error-Code`. In the chunked protocol and in the
//! draft of the IETF it is also the member `code` of the JSON. A program decides by the code, or by
//! the status; the message beside it (`detail`, in the draft `title`, in tus the text) is for people
//! and may change.
//!
//! Most clients of the chunked protocol need no table:
//!
//! 1. **The response has an `offset`**: continue from there.
//! 2. **404 or 410**: begin a new upload.
//! 3. **No response, 408, a 409 with `Retry-After`, 429, the code `finishing`, or 500 and above**:
//!    wait (as long as `Retry-After` says, or one second, then two, then four), [ask for the
//!    offset](super::protocol#how-does-it-ask-cancel-and-complete), and continue from there.
//!    Acknowledged bytes are still there.
//! 4. **Anything else**: stop, show the `detail`, and begin a new upload when the user wants to.
//!
//! A body that is not JSON comes from something else, such as [a proxy](super::proxy) that cannot
//! reach the server. Treat its 502 to 504 as the third case.
//!
//! Clients of tus and of the draft go by [the statuses](super::tus#what-does-each-status-mean) that
//! their protocols have for this.
//!
//! # What does each code mean?
//!
//! With the statuses in the chunked protocol, in tus and in the draft. The answer to a `HEAD` has
//! 423 instead of 5xx in the last two, since clients would begin a new upload.
//!
//! | code | chunked | tus | draft | what is wrong, or what the client does |
//! |---|---|---|---|---|
//! | `not-found` | 404 | 404 | 404 | the upload does not exist, or is another [owner's](super::owners): begin a new one |
//! | `expired` | 410 | 410 | 410 | [it took too long](super::expiry): begin a new one |
//! | `damaged` | 410 | 410 | 410 | its bytes or its record cannot be trusted: begin a new one; with feature `tracing`, the log says why |
//! | `interrupted` | 400 | 410 | 500 | a crash interrupted the hand-over, which [must not be repeated](crate::Resumable::hand_over_once): begin a new one, if the work is not done |
//! | `already-complete` | 400 | 403 | 400 | the application has taken the file: done |
//! | `finishing` | 400 | 423 | 503 | the application has the file just now: wait, then ask where the upload stands |
//! | `offset-mismatch` | 400 | 409 | 409 | the bytes do not start where the upload stands: continue from the offset in the answer |
//! | `incomplete` | 400 | 400 | 400 | bytes are missing: continue from the offset in the answer |
//! | `source-failed` | 400 | 503 | 503 | the request ended before its end: send the rest, or the chunk again |
//! | `superseded` | 409 | 503 | 503 | a newer request has continued or cancelled the upload: stop if it is not your own |
//! | `busy` | 409 | 423 | 503 | another request holds the upload: send it again, a little later |
//! | `shutting-down` | 503 | 503 | 503 | the server is going to restart: send it again, a little later |
//! | `store-failed` | 500 | 500 | 500 | the upload could not be stored: try again later; with feature `tracing`, the log says why |
//! | `already-exists` | 500 | 500 | 500 | a policy has moved the file to where another one is |
//! | `full` | 507 | 507 | 507 | there is no room: try again later. In [a bucket](super::nodes#how-large-should-a-chunk-be), the upload may have too many chunks: begin again with larger ones |
//! | `quota-exceeded` | 413, 429, 507 | 413, 429, 507 | 413, 429, 507 | [a quota](super::limits) of one owner (in bytes: 413, in uploads: 429) or of all (507) is reached: complete or cancel another upload, or wait |
//! | `too-large` | 400 | 413 | 413 | the file is larger than [allowed](super::limits): tell the user |
//! | `too-small` | – | – | 400 | the request, or all of them, have fewer bytes than allowed |
//! | `too-long` | 400 | 413 | 400 | more bytes came than were announced: a bug in the client |
//! | `total-mismatch` | 400 | 400 | 400 | another length was announced before: begin a new upload, since the file has changed |
//! | `length-mismatch` | 400 | 400 | 400 | the lengths that one request gives, or brings, contradict each other |
//! | `checksum-mismatch` | 400 | 460 | 400 | the bytes are not those of the checksum: send the request again, or begin a new upload if the checksum is the file's |
//! | `last-byte-mismatch` | – | 400 | 400 | the last byte differs from the one that was sent before |
//! | `not-completing` | 409 | 409 | 409 | at [the address of a completion](super::long_completions#what-if-the-handler-takes-long): nobody completes the upload (any more): send the completion again |
//! | `answer-not-kept` | 410 | 410 | 410 | the same: the application has taken the file, and what it has said is not known (any more) |
//! | `key-reused` | 409 | 409 | 409 | the [`Idempotency-Key`](super::idempotency) was used for an upload with other parameters: use a new key |
//! | `malformed-key` | 400 | 400 | 400 | the `Idempotency-Key` is no [key](super::idempotency#what-is-a-key), for example too short |
//! | `idle-timeout` | 408 | 503 | 503 | no data came [for too long](crate::ChunkedUploadLayer::idle_timeout): send it again |
//! | `too-slow` | 408 | 503 | 503 | too little data came [in a given time](crate::ChunkedUploadLayer::min_rate): send it again |
//! | `request-too-large` | 413 | 413 | 413 | [a layer outside](super::layers) limits requests: send smaller chunks. Or the body of a completion is more than a small form |
//! | `headers-too-large` | – | 431 | 431 | the metadata, or the headers that must be kept, are too large |
//! | `method-not-allowed` | 405 | 405 | 405 | a bug in the client; `Allow` has the methods |
//! | `wrong-content-type` | – | 415 | 415 | the media type is not the one that the protocol has for bytes |
//! | `unsupported-encoding` | 400, 415 | – | – | a `Content-Encoding`, or a part's `Content-Transfer-Encoding`: send the file without one |
//! | `missing-header` | – | 400 | 400 | a bug in the client; the message names the header. In the draft, one that is malformed is as good as missing |
//! | `repeated-header` | 400 | 400 | – | a header came twice |
//! | `malformed-header` | – | 400 | – | a header has a value that it cannot have |
//! | `contradictory-headers` | – | 400 | 400 | headers that exclude each other |
//! | `malformed-checksum` | – | 400 | 400 | a digest that is none |
//! | `unknown-checksum-algorithm` | – | 400 | – | `Tus-Checksum-Algorithm` of `OPTIONS` has those that are offered |
//! | `no-file` | 400 | – | – | the field's name is wrong, or its `filename` is missing |
//! | `two-files` | 400 | – | – | one request brings one chunk |
//! | `no-content-range` | 400 | – | – | the application [requires it](crate::Chunked::require_content_range) |
//! | `malformed-content-range` | 400 | – | – | `Content-Range` is not `bytes FIRST-LAST/TOTAL` |
//! | `malformed-form` | 400 | – | – | the form is none; the message says why |
//! | `truncated-form` | 400 | – | – | the form ended before its last boundary: send the chunk again |
//! | `form-too-large` | 400 | – | – | the form has more beside the file than [`FormLimits`](crate::chunked::FormLimits) allow |
//! | `malformed-json` | 400 | – | – | the completion's JSON is wrong |
//! | `missing-field` | 400 | – | – | a completion has the id and, unless that is switched off, the MD5 |
//! | `repeated-field` | 400 | – | – | a field came twice with different values |
//! | `id-in-query` | 400 | – | – | a form names its upload in the field `upload_id`, not in the query |
//! | `unsupported-version` | – | 412 | – | `Tus-Version` has the version that the server speaks |
//! | `not-offered` | – | 400 | – | an extension that [is switched off](crate::tus::Extensions) |
//! | `malformed-metadata` | – | 400 | – | `Upload-Metadata` is malformed |
//! | `joined-upload` | – | 400, 403 | – | the bytes of a joined upload are those of its parts |
//! | `no-such-part` | – | 400 | – | `Upload-Concat` names something that is no part |
//! | `incomplete-part` | – | 400 | – | a part must be complete, if the extension `concatenation-unfinished` is switched off |
//! | `too-many-parts` | – | 400 | – | a file can have at most 1000 parts |
//! | `unauthenticated` | 403 | 401 | 401 | log in |
//! | `forbidden` | 403 | 403 | 403 | this user may not do this |
//! | `too-many-requests` | 429 | 429 | 429 | wait |
//! | `unavailable` | 503 | 503 | 503 | try again later |
//! | `failed` | 5xx | 5xx | 5xx | try again later |
//! | `refused` | 4xx | 4xx | 4xx | tell the user; the message says why |
//! | `no-upload` | 500 | 500 | 500 | not the client's fault: the handler's route is not [behind the layer](super::layers) |
//!
//! The last ones are for refusals of your [`Policy`](crate::Policy) that give no code of their own
//! ([`Refusal::with_code`](crate::Refusal::with_code)).
//!
//! # Which words does the chunked protocol have?
//!
//! Clients of django-chunked-upload may know these:
//!
//! | status | `detail` | code |
//! |---|---|---|
//! | 400 | `Offsets do not match`, with `offset` | `offset-mismatch` |
//! | 400 | `A form names its upload in the field 'upload_id', not in the query` | `id-in-query` |
//! | 400 | `N of M bytes have arrived`, with `offset` | `incomplete` |
//! | 400 | `The request ended before its end` | `source-failed` |
//! | 400 | `Upload has already been marked as complete` (with quotes around the last word for a chunk or a cancellation) | `already-complete` |
//! | 400 | `Upload is being completed` | `finishing` |
//! | 400 | `Completion of the upload was interrupted` | `interrupted` |
//! | 400 | `Size of file exceeds the limit (N bytes)` | `too-large` |
//! | 400 | `Size of file was announced as N bytes` | `total-mismatch` |
//! | 400 | `md5 checksum does not match` | `checksum-mismatch` |
//! | 400 | `File size doesn't match headers` | `length-mismatch`, `too-long` |
//! | 400 | `No chunk file was submitted` | `no-file` |
//! | 400 | `Error in request headers` | `no-content-range`, `malformed-content-range`, `repeated-header` |
//! | 400 | `Error in the form: …` | `malformed-form`, `truncated-form`, `form-too-large`, `no-file`, `two-files`, `unsupported-encoding` |
//! | 400 | `Error in the JSON body` | `malformed-json` |
//! | 400 | `'upload_id' was sent twice with different values` | `repeated-field` |
//! | 400 | `Both 'upload_id' and 'md5' are required` (or `'upload_id' is required`) | `missing-field` |
//! | 400 | `Idempotency-Key: …` | `malformed-key` |
//! | 403 | `Authentication credentials were not provided` | `unauthenticated` |
//! | 404 | `Upload not found` | `not-found` |
//! | 405 | `This method is not allowed here`, with `Allow` | `method-not-allowed` |
//! | 408 | `The request brought no data for too long`, or `too little data` | `idle-timeout`, `too-slow` |
//! | 409 | `Upload was taken over by a newer request` | `superseded` |
//! | 409 | `Upload is held by another request`, with `Retry-After` | `busy` |
//! | 409 | `The Idempotency-Key was used for an upload with other parameters` | `key-reused` |
//! | 410 | `Upload has expired` | `expired` |
//! | 410 | `The stored upload is damaged; begin a new one` | `damaged` |
//! | 413 | `Size of the request exceeds the limit (N bytes)`, or without the number | `request-too-large` |
//! | 413 | `The request is too large` | `request-too-large` |
//! | 413 | `The limit is N bytes of one owner's unfinished uploads`, with `limit` | `quota-exceeded` |
//! | 415 | `A body with a Content-Encoding is not taken`, for a raw body | `unsupported-encoding` |
//! | 429 | `The limit is N unfinished uploads of one owner`, with `limit` | `quota-exceeded` |
//! | 500 | `There is no upload to complete` | `no-upload` |
//! | 500 | `The upload could not be stored` | `store-failed`, `already-exists` |
//! | 503 | `The server is shutting down`, with `Retry-After` | `shutting-down` |
//! | 507 | `There is no room for the upload` | `full` |
//! | 507 | `The limit is N bytes of all unfinished uploads`, or `bytes that stay free`, with `limit` | `quota-exceeded` |
//!
//! An answer of 202 to a completion comes only with
//! [`long_completions`](super::long_completions#what-if-the-handler-takes-long).
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
//! # assert_eq!((status.as_u16(), &answer["code"]), (404, &"not-found".into()));
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
//! If your own code calls [`Uploads`](crate::Uploads) outside a policy, choose the response by the
//! error's [`kind`](crate::Error::kind). Its `Display` is safe to show to a client. Its
//! [`source`](std::error::Error::source), what the system said, is for the log and never for the
//! client.
//!
//! [Layers](super::layers#how-do-i-log-refusals) shows how a layer outside logs refusals.
