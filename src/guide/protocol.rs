//! What goes over the wire: all of it.
//!
//! It is the protocol of django-chunked-upload, which browsers speak through jQuery-File-Upload,
//! with a question and a cancellation on top. The paths and the field's name are
//! [settings](crate::Chunked). Both paths are taken with or without a slash at their end.
//!
//! # How does a client send a chunk?
//!
//! With a `POST` to the chunk path and a header `Content-Range: bytes START-END/TOTAL`, in one of
//! two shapes:
//!
//! - `multipart/form-data`: the file in the field `file`, the text field `upload_id` for every
//!   chunk but the first, and any other fields, in any order. Put `upload_id` before the file: if
//!   it comes after it, the bytes have to be copied once more. An `upload_id` in the query does not name
//!   the upload of a form, as in the original: one from 0 on begins a new upload, any other is refused.
//! - a raw body, with `Content-Disposition: attachment; filename="…"`, and `upload_id` and any
//!   other fields in the query.
//!
//! Without `Content-Range` the chunk is the whole file. A body counts when it has ended well: with the length
//! that it has announced or, in HTTP's chunked transfer coding, with the empty chunk that ends it. A raw one in a `Content-Encoding` is refused, unless [a layer
//! outside](super::layers) unpacks it.
//!
//! The answer is `{"upload_id": "…", "offset": 10000, "expires": "2013-07-18T17:56:22.186Z"}`,
//! with `Range: 0-9999` as a header. What it says is kept, whatever happens to the server.
//!
//! # What if a chunk fails?
//!
//! A chunk is all or nothing: after a failure the whole chunk is sent again. A client that does
//! not know how far it is asks, and goes on from the `offset` of the answer. [What each error
//! means](super::errors) is a chapter of its own.
//!
//! # How does it ask, cancel and complete?
//!
//! | request | answer |
//! |---|---|
//! | `GET` on the chunk path with `?upload_id=…` | the same as for a chunk, with `total`, `status` (`open`, `finishing`, `complete`) and `filename` |
//! | `HEAD` on the chunk path with `?upload_id=…` | the headers of the `GET`, `Range` among them |
//! | `DELETE` on the chunk path with `?upload_id=…` | 204: the upload and its bytes are gone |
//! | `POST` to the complete path of `upload_id` and `md5` (32 hex digits), as a form of either kind or as JSON | your handler's; after any but 2xx and 3xx the upload can be completed again |
//! | `OPTIONS` on either path | 204, with `Allow` |
//!
//! # All of it, once
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
//! // The same once more, as a client does that has not heard the answer.
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
//! # May two requests send to one upload?
//!
//! The newest wins: the one before it is stopped, and answered with 409. So a client that has lost
//! its connection need not wait until the server notices. If they come to two [nodes](super::nodes), the
//! first to be whole counts, and the other is answered with 400 and the right `offset`.
