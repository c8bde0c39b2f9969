//! Write a client of the chunked protocol, or debug one: every request and response.
//!
//! The protocol is that of django-chunked-upload, which browsers speak through jQuery-File-Upload,
//! with a status request and a cancellation added. You can [set](crate::Chunked) the paths and the
//! name of the field. Both paths are accepted with or without a slash at the end.
//!
//! This client sends a file in two chunks, repeats one, asks for the offset and completes the
//! upload:
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! # use axum::{Json, Router, routing::post};
//! # use client::send;
//! # use serde_json::json;
//! # use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Uploads, store::MemoryStore};
//! use axum::body::Body;
//! use http::{Request, StatusCode};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! # let app = Router::new()
//! #     .route(client::COMPLETE, post(|upload: CompletedUpload| async move {
//! #         Json(json!({ "saved": upload.filename() }))
//! #     }))
//! #     .layer(ChunkedUploadLayer::new(uploads));
//! let raw = |path: &str| {
//!     Request::post(path).header("content-disposition", "attachment; filename=\"a.txt\"")
//! };
//!
//! // The first five bytes of ten.
//! let first = raw("/api/chunked_upload").header("content-range", "bytes 0-4/10");
//! let (status, answer) = send(&app, first.body(Body::from("Hello"))?).await;
//! assert_eq!((status, &answer["offset"]), (StatusCode::OK, &json!(5)));
//! let id = answer["upload_id"].as_str().unwrap();
//! let path = format!("/api/chunked_upload?upload_id={id}");
//!
//! // The same chunk again, from a client that did not get the response.
//! let again = raw(&path).header("content-range", "bytes 0-4/10");
//! let (status, answer) = send(&app, again.body(Body::from("Hello"))?).await;
//! assert_eq!((status, &answer["offset"]), (StatusCode::BAD_REQUEST, &json!(5)));
//!
//! // Where is it?
//! let (_, answer) = send(&app, Request::get(&path).body(Body::empty())?).await;
//! assert_eq!((&answer["offset"], &answer["total"]), (&json!(5), &json!(10)));
//!
//! // The rest, and the end.
//! let rest = raw(&path).header("content-range", "bytes 5-9/10");
//! let (_, answer) = send(&app, rest.body(Body::from("World"))?).await;
//! assert_eq!(answer["offset"], 10);
//! let done = json!({ "upload_id": id, "md5": "68e109f0f40ca72a15e05cc22786f8e6" });
//! let done = Request::post("/api/chunked_upload_complete")
//!     .header("content-type", "application/json")
//!     .body(Body::from(done.to_string()))?;
//! assert_eq!(send(&app, done).await, (StatusCode::OK, json!({ "saved": "a.txt" })));
//! # Ok(())
//! # }
//! ```
//!
//! # How does a client send a chunk?
//!
//! The client sends a `POST` to the chunk path, with a header `Content-Range: bytes
//! START-END/TOTAL`, in one of two forms:
//!
//! - `multipart/form-data`: the file is in the field `file`. Every chunk but the first has the text
//!   field `upload_id`, and there may be other fields, in any order. Put `upload_id` before the
//!   file; otherwise the bytes have to be copied once more. As in django-chunked-upload, an
//!   `upload_id` in the query is ignored for a form: a chunk that starts at 0 begins a new upload,
//!   and any other chunk is refused.
//! - a raw body, with `Content-Disposition: attachment; filename="…"`, and with `upload_id` and any
//!   other fields in the query. The name may be percent-encoded, as
//!   jQuery-File-Upload writes it.
//!
//! Without `Content-Range`, the chunk is the whole file. A body counts only if it has ended
//! correctly: with the length that it announced or, in HTTP's chunked transfer coding, with the
//! empty chunk that ends it. The layer refuses a raw body with a `Content-Encoding`, unless [an
//! outer layer](super::layer_order) decodes it.
//!
//! The response is `{"upload_id": "…", "offset": 10000, "expires": "2013-07-18T17:56:22.186Z"}`,
//! with the header `Range: 0-9999`. The bytes up to that offset are kept, whatever happens to the
//! server.
//!
//! # What if a chunk fails?
//!
//! A chunk is all or nothing: after a failure, the client sends the whole chunk again. A client
//! that does not know the offset asks for it, and continues from the `offset` in the response.
//! If the response to the first chunk is lost, the client does not know the id either; with [an
//! idempotency key](super::idempotency) it sends that chunk again and gets the same upload.
//! [Handling errors](super::error_handling) has the rules, and [Errors](super::errors) what each
//! error means.
//!
//! # How does a client ask, cancel and complete?
//!
//! | request | response |
//! |---|---|
//! | `GET` on the chunk path with `?upload_id=…` | the body of a chunk's response, with `total`, `status` (`open`, `finishing`, `complete`) and `filename` |
//! | `HEAD` on the chunk path with `?upload_id=…` | the headers of the `GET`, including `Range` |
//! | `DELETE` on the chunk path with `?upload_id=…` | 204: the upload and its bytes are gone |
//! | `POST` to the complete path with `upload_id` and `md5` (32 hex digits), as a form of either kind or as JSON | your handler's; unless it is 2xx or 3xx, the upload can be completed again |
//! | `OPTIONS` on either path | 204, with `Allow` |
//!
//! # What does my handler get?
//!
//! Your handler gets the client's `POST` to the complete path, with its headers and its body of at
//! most [64 KiB](crate::ChunkedUploadLayer::max_completion_bytes). The upload is in the request's
//! extensions. So the handler can read more fields of the form or of the JSON: extract
//! [`CompletedUpload`](crate::CompletedUpload) first, and then `Form` or `Json`. Its response goes
//! to the client as it is.
//!
//! Responses of the layer itself have `Cache-Control: no-store` and `X-Content-Type-Options:
//! nosniff`. Refusals have [`Upload-Error-Code`](super::errors), and some have `Retry-After`.
//!
//! # Can two requests send to one upload?
//!
//! The newest request wins: the layer stops the older one and answers it with 409. So a client that
//! has lost its connection does not have to wait until the server notices. Chunks that arrive
//! within 25 milliseconds of each other may have been sent in either order. So the later one waits
//! until the earlier one has ended or has received nothing for half a second, but no longer than
//! the takeover timeout. If the requests go to two [nodes](super::nodes), the first to arrive in
//! full counts, and the other gets a 400 with the right `offset`.
