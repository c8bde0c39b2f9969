//! Accept uploads from Uppy, tus-js-client, tuspy and every other client of tus 1.0.
//!
//! # How do I switch on tus?
//!
//! Call [`ChunkedUploadLayer::tus`](crate::ChunkedUploadLayer::tus) with the path at which clients
//! create uploads. The chunked protocol stays on, and one handler can serve both:
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! # use axum::body::Body;
//! # use axum::http::Request;
//! # use tower::ServiceExt;
//! use axum::http::StatusCode;
//! use axum::routing::post;
//! use axum::{Json, Router};
//! use serde_json::{Value, json};
//! use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Tus, Uploads};
//!
//! fn app(uploads: Uploads) -> Router {
//!     let tus = Tus::new("/files").handler_path("/api/chunked_upload_complete");
//!     let layer = ChunkedUploadLayer::new(uploads).tus(tus);
//!     let routes = Router::new().route("/api/chunked_upload_complete", post(done));
//!     Router::new().fallback_service(layer.around(routes))
//! }
//!
//! async fn done(upload: CompletedUpload) -> Result<Json<Value>, StatusCode> {
//!     let target = format!("media/{}-{}", upload.id(), upload.filename());
//! #     let folder = tempfile::tempdir().unwrap();
//! #     let target = folder.path().join(target);
//!     upload.persist(target).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
//!     Ok(Json(json!({ "saved": upload.filename() })))
//! }
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(tower_chunked_upload::store::MemoryStore::new()).build()?;
//! # let both = app(uploads.clone());
//! # let done_by_chunks = client::upload(&both, "a.txt", "Hello").await;
//! # assert_eq!(done_by_chunks, (StatusCode::OK, json!({ "saved": "a.txt" })));
//! # let whole = || {
//! #     Request::post("/files")
//! #         .header("tus-resumable", "1.0.0")
//! #         .header("upload-length", "5")
//! #         .header("content-type", "application/offset+octet-stream")
//! #         .body(Body::from("Hello"))
//! # };
//! # let created = both.oneshot(whole()?).await?;
//! # assert_eq!(created.status(), StatusCode::CREATED);
//! # assert_eq!(created.headers()["upload-offset"], "5");
//! # // As a router's own layer it finds no handler for what comes to the URL of an upload.
//! # let routes = Router::new().route("/files", post(done));
//! # let wrong = routes.layer(ChunkedUploadLayer::new(uploads).tus(Tus::new("/files")));
//! # let empty = Request::post("/files").header("upload-length", "5");
//! # let empty = empty.header("tus-resumable", "1.0.0").body(Body::empty())?;
//! # let created = wrong.clone().oneshot(empty).await?;
//! # let bytes = Request::patch(created.headers()["location"].to_str()?)
//! #     .header("tus-resumable", "1.0.0")
//! #     .header("upload-offset", "0")
//! #     .header("content-type", "application/offset+octet-stream")
//! #     .body(Body::from("Hello"))?;
//! # assert_eq!(wrong.oneshot(bytes).await?.status(), 404);
//! # Ok(())
//! # }
//! ```
//!
//! Without [`handler_path`](crate::Tus::handler_path), the handler's route is the path at which
//! uploads are created, here `/files`. Your service gets each finished file in a `POST` without a
//! body.
//!
//! Put the layer [around the router](super::layers#around-a-router), or
//! [mount](#how-do-i-mount-tus-below-a-prefix) it. The router's own `.layer(…)` does not work:
//! clients send bytes to the URL of the upload, for which axum has no route, so the layer would
//! call the fallback instead of your handler.
//!
//! # What is tus, and which clients speak it?
//!
//! [tus](https://tus.io/protocols/resumable-upload) is an open protocol for resumable uploads.
//! Pages speak it through Uppy or tus-js-client, Python programs through tuspy, and apps through
//! TUSKit (iOS) or tus-java-client (Android). The layer implements version 1.0.0.
//! [Uppy](super::uppy) has a chapter of its own, with a page of thirty lines.
//!
//! One request creates an upload, which has a URL of its own. The client sends the bytes to that
//! URL, in one request or in many. The upload is complete as soon as it has all of its bytes: no
//! request says so. Your handler gets the same [`CompletedUpload`](crate::CompletedUpload) as with
//! [the chunked protocol](super::protocol), and your [`Policy`](crate::Policy) decides about both.
//!
//! Each protocol has its own uploads. An upload that was begun with one protocol is a 404 in the
//! other, and [`Upload::dialect`](crate::Upload::dialect) names the protocol. If [your own
//! code](crate::OwnerUploads::create) creates an upload for tus clients, call
//! [`for_dialect`](crate::OwnerUploads::for_dialect) first.
//!
//! # What does the client get of my handler's response?
//!
//! | your handler responds with | the client gets |
//! |---|---|
//! | 2xx or 3xx | 204 (201 for a `POST`) with `Upload-Offset` and your headers, without a body |
//! | the same, with [`response_body`](crate::Tus::response_body) | 200 (201 for a `POST`), and your body as well |
//! | anything else | your response as it is, with `Tus-Resumable`; the upload can be completed again |
//!
//! With tus-js-client, a page reads your headers in `onAfterResponse`. A 201 does not carry a
//! `Location` of your own, because there it names the upload.
//!
//! Most clients treat a 4xx as final, so [discard](crate::CompletedUpload::discard) a file that you
//! will never take. A 5xx makes them retry, and a 423 makes them wait.
//!
//! # Why is the last byte missing?
//!
//! The protocol has no request that completes an upload, so clients treat the full offset as
//! success. If a client saw the full offset before your handler had taken the file, it would report
//! success for an upload that your handler could not store. So the last byte only counts once your
//! handler has responded with 2xx or 3xx. Until then the layer reports an offset of one byte less
//! than the length, which contradicts no earlier response.
//!
//! After a 5xx from your handler, a client does what it does after any error. It asks for the
//! offset with `HEAD` and sends the one byte that seems to be missing, and the layer calls your
//! handler again:
//!
//! ```
//! # use std::sync::atomic::{AtomicBool, Ordering};
//! # use axum::{body::Body, routing::post};
//! # use http::{Request, StatusCode, request};
//! # use tower::ServiceExt;
//! # use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Tus, Uploads};
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # static HAS_ROOM: AtomicBool = AtomicBool::new(false);
//! # let done = async |_: CompletedUpload| match HAS_ROOM.swap(true, Ordering::Relaxed) {
//! #     true => StatusCode::OK,
//! #     false => StatusCode::INSUFFICIENT_STORAGE,
//! # };
//! # let uploads = Uploads::builder(tower_chunked_upload::store::MemoryStore::new()).build()?;
//! # let app = ChunkedUploadLayer::new(uploads).tus(Tus::new("/files")).mount(post(done));
//! # let tus = |method: &str, url: &str| {
//! #     Request::builder().method(method).uri(url).header("tus-resumable", "1.0.0")
//! # };
//! # let send = async |request: request::Builder, bytes: &'static str| {
//! #     app.clone().oneshot(request.body(Body::from(bytes)).unwrap()).await.unwrap()
//! # };
//! # let bytes_at = |url: &str, offset: &str| {
//! #     tus("PATCH", url)
//! #         .header("content-type", "application/offset+octet-stream")
//! #         .header("upload-offset", offset)
//! # };
//! # let created = send(tus("POST", "/files").header("upload-length", "5"), "").await;
//! # let url = created.headers()["location"].to_str()?;
//! // The handler has no room for the file yet.
//! let whole = send(bytes_at(url, "0"), "Hello").await;
//! assert_eq!(whole.status(), StatusCode::INSUFFICIENT_STORAGE);
//!
//! let stands = send(tus("HEAD", url), "").await;
//! assert_eq!(stands.headers()["upload-offset"], "4");
//!
//! let last = send(bytes_at(url, "4"), "o").await;
//! assert_eq!(last.status(), StatusCode::NO_CONTENT);
//! assert_eq!(last.headers()["upload-offset"], "5");
//! # assert_eq!(send(tus("HEAD", url), "").await.headers()["upload-offset"], "5");
//! # Ok(())
//! # }
//! ```
//!
//! While your handler has the file, the layer answers `HEAD` with 423, and clients ask again. An
//! empty file has no last byte: if your handler does not take it, the layer removes the upload, and
//! the client creates it anew.
//!
//! # Where do the file name and the fields come from?
//!
//! They come from the header `Upload-Metadata`, whose values clients encode in Base64:
//!
//! | key | in your code |
//! |---|---|
//! | `filename`, or else `name` | [`filename`](crate::CompletedUpload::filename), made safe |
//! | `filetype`, or else `type` | [`content_type`](crate::CompletedUpload::content_type), unchecked |
//! | all keys whose values are text, including these | [`field`](crate::CompletedUpload::field) and [`fields`](crate::CompletedUpload::fields) |
//! | the whole header, as it was sent | [`Upload::metadata`](crate::Upload::metadata) |
//!
//! Uppy sends the whole `meta` of a file, so you add a field with `uppy.setMeta({ folder: "7" })`.
//!
//! # When is my policy called?
//!
//! The layer calls the same methods as for chunks. [`Context::dialect`](crate::Context::dialect)
//! tells the protocols apart:
//!
//! | request | calls |
//! |---|---|
//! | `POST` | [`authorize`](crate::Policy::authorize) for `Append`, [`max_bytes`](crate::Policy::max_bytes); unless it creates a part, also [`validate`](crate::Policy::validate) and [`attributes`](crate::Policy::attributes) |
//! | `PATCH` | `authorize` for `Append`, `max_bytes`; unless the upload is a part, also `validate` |
//! | the first one that brings enough bytes | also [`first_bytes`](crate::Policy::first_bytes), unless the upload is a part |
//! | the one that brings the last byte | also [`verify`](crate::Policy::verify), for `Complete` |
//! | `HEAD` | `authorize` for `Status` |
//! | `DELETE` | `authorize` for `Cancel` |
//!
//! The metadata arrives with the first request, so `validate` sees all fields. The layer does not
//! call [`respond`](crate::Policy::respond), because the protocol's responses have no content.
//!
//! # How do I mount tus below a prefix?
//!
//! `Location` is the path of the request and the id of the upload, `/files/5230ec1f…`. Clients
//! resolve it against the URL that they know, so a proxy may change the scheme or the host.
//!
//! If something outside the layer removes a prefix of the path, such as axum's `nest_service` or a
//! proxy, tell the layer what clients see with [`public_url`](crate::Tus::public_url):
//!
//! ```
//! # use axum::body::Body;
//! # use http::Request;
//! # use tower::ServiceExt;
//! # use tower_chunked_upload::{CompletedUpload, Uploads, store::MemoryStore};
//! use axum::Router;
//! use axum::routing::{get, post};
//! use tower_chunked_upload::{ChunkedUploadLayer, Tus};
//!
//! # async fn done(_: CompletedUpload) {}
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! let tus = Tus::new("/").public_url("/api/files");
//! let files = ChunkedUploadLayer::new(uploads).tus(tus).mount(post(done));
//! let app = Router::new().route("/", get(async || "Hello")).nest_service("/api/files", files);
//! # let create = Request::post("/api/files").header("upload-length", "5");
//! # let create = create.header("tus-resumable", "1.0.0").body(Body::empty())?;
//! # let created = app.clone().oneshot(create).await?;
//! # let url = created.headers()["location"].to_str()?;
//! # assert!(url.starts_with("/api/files/"), "{url}");
//! # let bytes = Request::patch(url)
//! #     .header("tus-resumable", "1.0.0")
//! #     .header("upload-offset", "0")
//! #     .header("content-type", "application/offset+octet-stream")
//! #     .body(Body::from("Hello"))?;
//! # assert_eq!(app.oneshot(bytes).await?.status(), 204);
//! # Ok(())
//! # }
//! ```
//!
//! It can also be a whole URL (`https://example.org/api/files`). For a client that needs absolute
//! URLs, use [`absolute_urls`](crate::Tus::absolute_urls), which takes the host from the request.
//! If a proxy always sets `X-Forwarded-Proto` and `X-Forwarded-Host`, it can take the scheme and
//! the host from these.
//!
//! # What does a page on another origin, or a proxy, need?
//!
//! A page on another origin needs [CORS](super::layer_order). A proxy must stream the body, and
//! must not limit it, because many clients send the whole file in one request: see [the
//! configuration of nginx](super::proxy#how-do-i-configure-nginx-for-tus).
