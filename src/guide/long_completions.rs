//! Repeat a response of your handler that was lost, and answer 202 while your handler takes long.
//!
//! A handler may move the file, convert it, or call other services. If its response is lost, a client
//! that asks again learns that the upload is complete, but not what the handler said. And if the
//! handler takes long, a proxy or the client may give up first.
//!
//! # How does a client get a response that was lost?
//!
//! With [`keep_answers`](crate::ChunkedUploadLayer::keep_answers), the client sends the same
//! completion again and gets the same response. The handler does not run again.
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
//! | protocol | the same completion is |
//! |---|---|
//! | [chunked](super::protocol) | the `POST` to the complete path, with the same `upload_id` and `md5` |
//! | [tus](super::tus) | the `PATCH` that brought the last byte, or a `POST` with all bytes or of `final` with [a key](super::idempotency) |
//! | [resumable](super::resumable) | the `PATCH` that ended the upload, or the whole request with a key |
//!
//! A client of tus that sends `HEAD` first learns only that the upload is complete.
//!
//! The response is stored in the upload's record, in the same commit that marks the upload as
//! complete. So it survives a crash, and any node can give it. Only the upload's
//! [owner](super::owners) gets it, until the time that you set has passed or the upload is removed.
//!
//! The layer keeps the status, `Content-Type`, `Content-Encoding`, `Content-Language`,
//! `Content-Disposition`, `ETag`, `Last-Modified`, `Location`, the headers of the protocol, [those
//! that you name](crate::ChunkedUploadLayer::keep_answer_headers), and the body. It does not keep
//! cookies unless you name them; consider who may ask again. It keeps a body whose length is known
//! and at most 64 KiB. Such a body is read completely before the response is sent, so a kept
//! response is not streamed. It passes other responses on without keeping them: those of unknown
//! length, those with trailers, those whose kept headers exceed 16 KiB, those whose body fails,
//! and those whose body stalls for the [idle timeout](crate::ChunkedUploadLayer::idle_timeout). If the
//! disk is full, it keeps none. The file is taken in any case.
//!
//! A response of 4xx or 5xx does not take the file. The same completion then runs the handler again.
//!
//! # What if the handler takes long?
//!
//! With [`long_completions`](crate::ChunkedUploadLayer::long_completions), the client waits for a
//! time that you set. Then it gets 202 and an address in `Location`, and the handler continues,
//! unless the process ends. The time starts when the handler is called, after
//! [`Policy::verify`](crate::Policy::verify). The response is then kept for as long as
//! `keep_answers` says, or for one hour if you do not call it.
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
//! A `GET` or `HEAD` of that address, which is the path, a slash and the id of the upload, returns:
//!
//! | status | meaning |
//! |---|---|
//! | 202, with `Retry-After` | the handler runs, here or on another node |
//! | that of the handler | the handler's response. After a 4xx or 5xx, the upload can be completed again |
//! | 404 | there is no such upload of this owner, or the handler has [discarded](crate::CompletedUpload::discard) it, which also removes its kept response. The client should not send the file again automatically |
//! | 409, `not-completing` | no completion is running: none was sent, a crash interrupted the handler, it panicked, or its refusal could not be kept. The client sends the completion again, a few times at most |
//! | 410, `answer-not-kept` | the upload is complete, and its response was not kept or is too old |
//! | 410, `expired` | the upload has expired |
//! | 410, `interrupted` | a crash interrupted a handler that [must not run twice](crate::Resumable::hand_over_once) |
//! | 410, `damaged` | the stored upload cannot be trusted |
//!
//! The 202 also has the address in `Content-Location`, and JSON with `"status": "finishing"`, which
//! distinguishes it from a 202 of your handler. The page, the scripts in `examples/clients` and the
//! uploader of this repository follow it.
//!
//! The address is a path as the layer sees it. If a router or a proxy in front removes a prefix, set
//! [`public_url`](crate::LongCompletions::public_url); [`absolute_urls`
//! ](crate::LongCompletions::absolute_urls) makes it a whole URL.
//!
//! If a node of [a bucket](super::nodes) crashes, the others notice it after at most 15 seconds by
//! default ([`completion_lease`](crate::store::BucketStoreBuilder::completion_lease)).
//!
//! In the chunked protocol, the same completion gets 202 again while the handler runs. In the other
//! two, the last byte does not count until the handler has taken the file. So the client sends it
//! again, and gets 423 or 503 until then.
//!
//! An upload does not expire while the handler runs, nor before its kept response does. After a 202, a
//! response of 4xx leaves the upload in place until it expires, so that the client can ask for that
//! response.
//!
//! # What do clients of the IETF draft do?
//!
//! The 202 has `Upload-Complete: ?0` and an offset without the last byte, the upload's URL in
//! `Location`, and the address of the completion in `Content-Location`. A client that does not know
//! the address sends the last byte until the handler has taken the file.
//!
//! # What do tus clients do?
//!
//! A 202 in tus has no `Upload-Offset`, since the last byte does not count yet. The response to a
//! `POST` with the whole file has the upload's URL in `Location`, as for each creation, and the address
//! of the completion in `Content-Location`. A client that does not know this treats the missing offset
//! as a failure: it sends `HEAD`, gets 423 while the handler runs, and finds the upload complete
//! afterwards. So configure such clients with retries that last as long as your handler, for example
//! with `retryDelays` of tus-js-client, or let them wait, with a long
//! [`after`](crate::LongCompletions::after).
