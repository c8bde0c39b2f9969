//! Find the code and the meaning of a message that a client got.
//!
//! ```json
//! { "detail": "Upload has expired", "code": "expired" }
//! ```
//!
//! The messages of refusals are for people, and may change. Each belongs to a
//! [code](super::errors), which never changes and says what the client should do. In the IETF
//! draft, the message is the `title` of an `application/problem+json`, and the code is beside it.
//!
//! # Which messages does the chunked protocol have?
//!
//! The message is the `detail` of the JSON:
//!
//! | status | `detail` | code |
//! |---|---|---|
//! | 400 | `Offsets do not match`, with `offset` | `offset-mismatch` |
//! | 400 | `A form names its upload in the field 'upload_id', not in the query` | `id-in-query` |
//! | 400 | `N of M bytes have arrived`, with `offset` | `incomplete` |
//! | 400 | `The request body ended early` | `source-failed` |
//! | 400 | `Upload has already been marked as complete` (with quotes around the last word, for a chunk or a cancellation) | `already-complete` |
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
//! | 400 | `Idempotency-Key: …` | `malformed-key` |
//! | 400 | `'upload_id' was sent twice with different values` | `repeated-field` |
//! | 400 | `Both 'upload_id' and 'md5' are required` (or `'upload_id' is required`) | `missing-field` |
//! | 403 | `Authentication credentials were not provided` | `unauthenticated` |
//! | 404 | `Upload not found` | `not-found` |
//! | 405 | `This method is not allowed here`, with `Allow` | `method-not-allowed` |
//! | 408 | `No data arrived for too long`, or `Data arrived too slowly` | `idle-timeout`, `too-slow` |
//! | 409 | `The Idempotency-Key was used for an upload with other parameters` | `key-reused` |
//! | 409 | `Upload was taken over by a newer request` | `superseded` |
//! | 409 | `Upload is held by another request`, with `Retry-After` | `busy` |
//! | 410 | `Upload has expired` | `expired` |
//! | 410 | `The stored upload is damaged; begin a new one` | `damaged` |
//! | 413 | `Size of the request exceeds the limit (N bytes)`, or without the number | `request-too-large` |
//! | 413 | `The request is too large` | `request-too-large` |
//! | 413 | `The limit is N bytes of one owner's unfinished uploads`, with `limit` | `quota-exceeded` |
//! | 415 | `A body with a Content-Encoding is not accepted`, for a raw body | `unsupported-encoding` |
//! | 429 | `The limit is N unfinished uploads of one owner`, with `limit` | `quota-exceeded` |
//! | 500 | `There is no upload to complete` | `no-upload` |
//! | 500 | `The upload could not be stored` | `store-failed`, `already-exists` |
//! | 503 | `The server is shutting down`, with `Retry-After` | `shutting-down` |
//! | 507 | `There is no room for the upload` | `full` |
//! | 507 | `The limit is N bytes of all unfinished uploads`, or `bytes of disk space to keep free`, with `limit` | `quota-exceeded` |
//!
//! # Which messages does tus have?
//!
//! The message is the content of the response, as plain text:
//!
//! | status | text | code |
//! |---|---|---|
//! | 400 | `Upload-Length is required` | `missing-header` |
//! | 400 | `Upload-Offset is required` | `missing-header` |
//! | 400 | `… is not a number`, `… was sent twice` | `malformed-header`, `repeated-header` |
//! | 400 | `Idempotency-Key: …` | `malformed-key` |
//! | 400 | `Upload-Metadata has …` | `malformed-metadata` |
//! | 400 | `Upload-Defer-Length is not 1` | `malformed-header` |
//! | 400 | `Upload-Length and Upload-Defer-Length exclude each other` | `contradictory-headers` |
//! | 400 | `Upload-Length is not allowed for a joined upload` | `contradictory-headers` |
//! | 400 | `Upload-Length is less than the offset` | `length-mismatch` |
//! | 400 | `Upload-Defer-Length is not offered` | `not-offered` |
//! | 400 | `Upload-Concat is not offered` | `not-offered` |
//! | 400 | `Upload-Concat is neither partial nor final with a list`, `… names more than 1000 parts` | `malformed-header`, `too-many-parts` |
//! | 400 | `Upload-Concat names something that is not a part on this server` | `no-such-part` |
//! | 400 | `A part is not complete` | `incomplete-part` |
//! | 400 | `The algorithm of Upload-Checksum is not offered` | `unknown-checksum-algorithm` |
//! | 400 | `Upload-Checksum is not Base64` | `malformed-checksum` |
//! | 400 | `Length of the upload was announced as N bytes` | `total-mismatch` |
//! | 400 | `The last byte is not the one that was sent before` | `last-byte-mismatch` |
//! | 401 | `Authentication credentials were not provided` | `unauthenticated` |
//! | 403 | `Upload is already complete` | `already-complete` |
//! | 403 | `A joined upload accepts no bytes of its own` | `joined-upload` |
//! | 404 | `Upload not found` | `not-found` |
//! | 405 | `This method is not allowed here`, with `Allow` | `method-not-allowed` |
//! | 409 | `Offsets do not match`, with `Upload-Offset` | `offset-mismatch` |
//! | 409 | `The Idempotency-Key was used for an upload with other parameters` | `key-reused` |
//! | 410 | `Upload has expired` | `expired` |
//! | 410 | `The stored upload is damaged` | `damaged` |
//! | 410 | `Completion of the upload was interrupted` | `interrupted` |
//! | 412 | `This server speaks version 1.0.0 of tus`, with `Tus-Version` | `unsupported-version` |
//! | 413 | `Size of file exceeds the limit (N bytes)` | `too-large` |
//! | 413 | `More than the announced N bytes arrived` | `too-long` |
//! | 413 | `The limit is N bytes of one owner's unfinished uploads` | `quota-exceeded` |
//! | 413 | `The request is too large` | `request-too-large` |
//! | 415 | `The media type of the bytes must be application/offset+octet-stream` | `wrong-content-type` |
//! | 423 | `Upload is being completed`, with `Retry-After` | `finishing` |
//! | 423 | `Upload is held by another request`, with `Retry-After` | `busy` |
//! | 429 | `The limit is N unfinished uploads of one owner` | `quota-exceeded` |
//! | 431 | `Upload-Metadata has more than 4096 bytes`, or [your limit](crate::Tus::max_metadata_bytes) | `headers-too-large` |
//! | 460 | `Checksum does not match` | `checksum-mismatch` |
//! | 500 | `The upload could not be stored` | `store-failed`, `already-exists` |
//! | 503 | `The request body ended early`, with `Retry-After` | `source-failed` |
//! | 503 | `No data arrived for too long`, or `Data arrived too slowly`, with `Retry-After` | `idle-timeout`, `too-slow` |
//! | 503 | `The server is shutting down`, with `Retry-After` | `shutting-down` |
//! | 503 | `Upload was taken over by a newer request`, with `Retry-After` | `superseded` |
//! | 507 | `There is no room for the upload` | `full` |
//! | 507 | `The limit is N bytes of all unfinished uploads`, or `bytes of disk space to keep free` | `quota-exceeded` |
//!
//! The response to a `HEAD` has 423 instead of any 5xx, because clients would begin a new upload
//! after a 5xx.
//!
//! # Which messages are my own?
//!
//! A [`Refusal`](crate::Refusal) of your [`Policy`](crate::Policy) has your status (except for a
//! `HEAD`, as above), your message and your headers, in every protocol. What you add with
//! [`with`](crate::Refusal::with) is sent where the content is JSON, and not in tus. [Error
//! responses of your handler](super::error_handling#what-if-my-handler-responds-with-an-error) are
//! passed on as they are, except that tus and the draft add their headers.
//!
//! # Which messages do all protocols have?
//!
//! With [tokens](super::tokens), where the policy would respond with 401 or 403:
//!
//! | text | code |
//! |---|---|
//! | `The token has expired` | `token-expired` |
//! | `The token is not valid for this upload` | `token-invalid` |
//!
//! At [the address of a completion](super::long_completions#what-if-the-handler-takes-long), as the
//! `detail` of JSON:
//!
//! | status | `detail` | code |
//! |---|---|---|
//! | 409 | `The upload is not being completed` | `not-completing` |
//! | 410 | `The response to the completion is no longer available` | `answer-not-kept` |
//! | 410 | `The completion was interrupted` | `interrupted` |
//!
//! For the IETF draft, look up the [code](super::errors).

/// The table of the messages of tus is true.
///
/// ```
/// use axum::{Router, body::Body};
/// use http::Request;
/// use http_body_util::BodyExt;
/// use tower::ServiceExt;
/// use tower_chunked_upload::store::MemoryStore;
/// use tower_chunked_upload::{
///     ChunkedUploadLayer, Context, Error, ErrorKind, Owner, Policy, Quota, Refusal, Tus, Uploads,
/// };
///
/// struct Fails(ErrorKind);
///
/// impl Policy for Fails {
///     async fn authorize(&self, _: &Context<'_>) -> Result<Option<Owner>, Refusal> {
///         Err(Error::from(self.0.clone()).into())
///     }
/// }
///
/// async fn check(layer: ChunkedUploadLayer, request: http::request::Builder, status: u16) {
///     let request = request.header("tus-resumable", "1.0.0").body(Body::empty()).unwrap();
///     let app = layer.tus(Tus::new("/files")).mount(Router::<()>::new());
///     let answer = app.oneshot(request).await.unwrap();
///     assert_eq!(answer.status().as_u16(), status);
///     assert_eq!(answer.headers().contains_key("retry-after"), status == 423 || status == 503);
///     let code = answer.headers()["upload-error-code"].to_str().unwrap().to_owned();
///     let text = answer.into_body().collect().await.unwrap().to_bytes();
///     let mut text = String::from_utf8(text.to_vec()).unwrap();
///     for before in ["announced as ", "announced ", "(", "is "] {
///         text = text.replace(&format!("{before}7 "), &format!("{before}N "));
///     }
///     let table = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/error_messages.rs"));
///     let row = format!("//! | {status} | `{text}`");
///     let mut rows = table.lines().filter(|line| line.starts_with(&row));
///     assert!(rows.any(|row| row.contains(&format!("`{code}`"))), "{status} {text} {code}");
/// }
///
/// #[tokio::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let uploads = Uploads::builder(MemoryStore::new()).max_bytes(7).build()?;
///     let layer = ChunkedUploadLayer::new(uploads);
///     let quota = |quota| ErrorKind::QuotaExceeded { quota, limit: 7 };
///     for (kind, status) in [
///         (ErrorKind::TotalMismatch { total: 7 }, 400),
///         (ErrorKind::AlreadyComplete, 403),
///         (ErrorKind::NotFound, 404),
///         (ErrorKind::OffsetMismatch { offset: 7 }, 409),
///         (ErrorKind::Expired, 410),
///         (ErrorKind::Damaged, 410),
///         (ErrorKind::TooLarge { limit: 7 }, 413),
///         (ErrorKind::TooLong { total: 7 }, 413),
///         (quota(Quota::OwnerBytes), 413),
///         (ErrorKind::Finishing, 423),
///         (ErrorKind::Busy, 423),
///         (quota(Quota::OwnerUploads), 429),
///         (ErrorKind::ChecksumMismatch, 460),
///         (ErrorKind::Store, 500),
///         (ErrorKind::Source, 503),
///         (ErrorKind::Superseded, 503),
///         (ErrorKind::ShuttingDown, 503),
///         (ErrorKind::Full, 507),
///         (quota(Quota::AllBytes), 507),
///     ] {
///         check(layer.clone().policy(Fails(kind)), Request::post("/files"), status).await;
///     }
///     let unknown = format!("/files/{}", "0".repeat(32));
///     let post = || Request::post("/files").header("upload-length", "7");
///     let long = post().header("upload-metadata", "a".repeat(4097));
///     let no_offset =
///         Request::patch(&unknown).header("content-type", "application/offset+octet-stream");
///     for (request, status) in [
///         (Request::post("/files"), 400),
///         (no_offset, 400),
///         (post().header("upload-concat", "final"), 400),
///         (post().header("upload-checksum", "sha1 !"), 400),
///         (Request::put(&unknown), 405),
///         (Request::delete(&unknown), 404),
///         (Request::delete(&unknown).header("tus-resumable", "0.2.2"), 412),
///         (Request::post("/files").header("upload-length", "8"), 413),
///         (Request::patch(&unknown), 415),
///         (long, 431),
///     ] {
///         check(layer.clone(), request, status).await;
///     }
///     Ok(())
/// }
/// ```
#[cfg(doctest)]
struct Statuses;
