//! Repeat a response of your handler that was lost, and answer 202 while your handler takes long.
//!
//! The handler of a completion may do much: move the file, convert it, ask other services. If its
//! answer is lost, the client that asks again is told that the upload is complete, and not what the
//! handler has said. And if it takes long, a proxy or the client may give up before it has answered.
//!
//! # How does a client get an answer that was lost?
//!
//! With [`keep_answers`](crate::ChunkedUploadLayer::keep_answers), it sends the same completion
//! again, and gets the same answer. The handler does not run again.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! # use axum::{Json, Router, routing::post};
//! # use client::{CHUNK, chunk, completion, send};
//! # use http::StatusCode;
//! # use serde_json::json;
//! # use tower_chunked_upload::{CompletedUpload, Uploads, store::MemoryStore};
//! # use std::sync::atomic::{AtomicU32, Ordering};
//! use std::time::Duration;
//! use tower_chunked_upload::ChunkedUploadLayer;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! # static RUNS: AtomicU32 = AtomicU32::new(0);
//! # async fn done(_: CompletedUpload) -> Json<serde_json::Value> {
//! #     Json(json!({ "run": RUNS.fetch_add(1, Ordering::Relaxed) }))
//! # }
//! # let routes = Router::new().route("/api/chunked_upload_complete", post(done));
//! let layer = ChunkedUploadLayer::new(uploads).keep_answers(Duration::from_secs(3600));
//! # let app = Router::new().fallback_service(layer.around(routes));
//! # let (_, answer) = send(&app, chunk(CHUNK, "a.txt", "", "Hello")).await;
//! for _ in 0..2 {
//!     let (status, answer) = send(&app, completion(&answer["upload_id"], "Hello")).await;
//!     assert_eq!((status, answer), (StatusCode::OK, json!({ "run": 0 })));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | protocol | the same completion is | |
//! |---|---|---|
//! | [chunked](super::protocol) | the `POST` to the complete path, with the same `upload_id` and `md5` | |
//! | [tus](super::tus) | the `PATCH` that has brought the last byte, or a `POST` with all bytes or of `final` with [a key](super::idempotency) | a client that asks by `HEAD` first learns that the upload is complete |
//! | [resumable](super::resumable) | the `PATCH` that has ended the upload, or the whole request with a key | |
//!
//! The answer is kept in the record of the upload, by the very commit that says that the handler has
//! taken the file. So there is no moment at which one is there without the other, it survives a
//! crash, and any node can give it. It is told to the [owner](super::owners) of the upload only, and
//! as long as the setting says, or until the record is removed if that is earlier.
//!
//! What is kept: the status, `Content-Type`, `Content-Encoding`, `Content-Language`,
//! `Content-Disposition`, `ETag`, `Last-Modified`, `Location`, the headers of the protocol, [those
//! that you name](crate::ChunkedUploadLayer::keep_answer_headers), and the body. (Cookies are not kept
//! unless you name them: think about who may ask again.) A body is kept if it says how long it is and
//! has at most 64 KiB; the client gets it when all of it is there. Any other answer is passed on as it
//! comes, and not kept: one of unknown length, with trailers, whose body fails, or of which nothing
//! comes for the [idle timeout](crate::ChunkedUploadLayer::idle_timeout). The file is taken all the
//! same, and who asks again is told what it is told without the setting.
//!
//! An answer of 4xx or 5xx takes no file. So the same completion runs the handler again, as always.
//!
//! # What if the handler takes long?
//!
//! With [`long_completions`](crate::ChunkedUploadLayer::long_completions) the client waits for a
//! time that you set. After that it gets 202 and an address in `Location`, and the handler goes on.
//! (If the process ends before, it does not.)
//!
//! ```
//! # fn main() -> Result<(), tower_chunked_upload::ConfigError> {
//! # use tower_chunked_upload::{Uploads, store::MemoryStore};
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! use std::time::Duration;
//! use tower_chunked_upload::{ChunkedUploadLayer, LongCompletions};
//!
//! let layer = ChunkedUploadLayer::new(uploads)
//!     .keep_answers(Duration::from_secs(24 * 3600))
//!     .long_completions(LongCompletions::new("/api/completions").after(Duration::from_secs(10)));
//! # Ok(())
//! # }
//! ```
//!
//! A `GET` of that address, which is the path and the id of the upload, gives:
//!
//! | status | meaning |
//! |---|---|
//! | 202, with `Retry-After` | the handler runs, here or on another node |
//! | that of the handler | it has answered, and this is what it has said. After a 4xx or 5xx the upload can be completed again |
//! | 404 | there is no such upload of this owner; or the handler has [discarded](crate::CompletedUpload::discard) it, with its answer |
//! | 409, `not-completing` | nobody completes it: nobody has begun, or a crash has interrupted the handler. The client sends the completion again |
//! | 410, `answer-not-kept` | the upload is complete and its answer is not kept (any more) |
//! | 410, `expired` | the upload has expired |
//!
//! The 202 has the address in `Content-Location`, too, and JSON with `"status": "finishing"`, by which
//! a client tells it from a 202 of your handler. The page, the recipes and the uploader of this
//! repository follow it to the answer.
//!
//! The address is a path as the layer sees it. If a router or a proxy in front removes a prefix, set
//! [`public_url`](crate::LongCompletions::public_url); [`absolute_urls`
//! ](crate::LongCompletions::absolute_urls) makes it a whole URL.
//!
//! On nodes that share [a bucket](super::nodes) it takes up to 15 seconds (unless set) until a node
//! that has crashed counts as one.
//!
//! The same completion again, while the handler runs, gives 202, too, in the chunked protocol. In the
//! other two the last byte does not count until the handler has taken the file, so the client sends it
//! again, and is refused as before (423 or 503) until then.
//!
//! An upload does not expire while the handler runs, and not before its answer does. After a 202,
//! an answer of 4xx leaves the upload until it expires, also where it would have been removed
//! otherwise, since the client asks for that answer later.
//!
//! # What do clients of the draft of the IETF do?
//!
//! The 202 has `Upload-Complete: ?0` and an offset without the last byte, the upload's URL in
//! `Location`, and the address of the completion in `Content-Location`. A client that does not know
//! the address sends the last byte until the handler has taken the file.
//!
//! # What do clients of tus do?
//!
//! A 202 in tus has no `Upload-Offset`, since the last byte does not count yet. The answer to a `POST`
//! that brings the whole file has the upload's URL in `Location`, as each creation has, and the address
//! of the completion in `Content-Location` alone. A client that knows neither takes the missing offset
//! for a failure: it asks by `HEAD`, gets 423 while the handler runs, and sees the upload complete
//! afterwards. So give such clients retries that last as long as your handler, such as `retryDelays` of
//! tus-js-client, or let them wait, with a long [`after`](crate::LongCompletions::after).
