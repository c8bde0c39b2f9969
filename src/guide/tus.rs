//! tus 1.0: uploads from Uppy, tus-js-client, tuspy and all other clients of that protocol.
//!
//! # What is it, and which clients speak it?
//!
//! [tus](https://tus.io/protocols/resumable-upload) is an open protocol for resumable uploads.
//! Pages speak it through Uppy or tus-js-client, Python programs through tuspy, and apps through
//! TUSKit (iOS) or tus-java-client (Android). The layer speaks its version 1.0.0.
//!
//! An upload is created by one request and has a URL of its own. The client sends bytes there, in
//! one request or in many, and the upload is complete as soon as it has all of them: no request
//! says so. Your handler gets the same [`CompletedUpload`](crate::CompletedUpload) as from [the
//! chunked protocol](super::protocol), and your [`Policy`](crate::Policy) decides about both.
//!
//! # How do I switch it on?
//!
//! With [`ChunkedUploadLayer::tus`](crate::ChunkedUploadLayer::tus), and a path at which uploads
//! are created. The chunked protocol stays as it is, and one handler may serve both:
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
//! Without [`handler_path`](crate::Tus::handler_path), the handler's route is the path where
//! uploads are created, here `/files`. Your service gets each finished file in a `POST` without a
//! body.
//!
//! Put the layer [around the router](super::layers#around-a-router), or
//! [mount](#where-is-an-upload) it. The router's own `.layer(…)` does not work: the bytes come to
//! the URL of the upload, for which axum has no route, so the layer would call the fallback and not
//! your handler.
//!
//! Each protocol has its own uploads. An upload that one has begun is a 404 in the other, and
//! [`Upload::dialect`](crate::Upload::dialect) says which one it is. If [your own
//! code](crate::OwnerUploads::create) creates an upload that clients of tus shall continue, say so
//! with [`for_dialect`](crate::OwnerUploads::for_dialect).
//!
//! # What goes over the wire?
//!
//! | request | answer |
//! |---|---|
//! | `POST` to `/files` with `Upload-Length`, and with `Upload-Metadata` if the client likes | 201; `Location` is the URL of the upload |
//! | the same with `Upload-Defer-Length: 1` instead | the same; a later `PATCH` brings `Upload-Length` |
//! | the same with bytes in its body | the same, with `Upload-Offset` |
//! | `PATCH` to the upload with `Upload-Offset`, and with bytes in its body | 204; `Upload-Offset` is the new one |
//! | the one of these that brings the last byte | [your handler's](#what-does-a-client-get-of-my-handlers-answer) |
//! | `HEAD` | 200 with `Upload-Offset`; `Upload-Length`, or `Upload-Defer-Length: 1`; `Upload-Metadata` as it was sent |
//! | `DELETE` | 204: the upload is gone, even if it was complete; a file that you have [persisted](super::files) stays |
//! | `OPTIONS` to either path | 200 with `Tus-Version`, `Tus-Extension`, `Tus-Checksum-Algorithm`, and `Tus-Max-Size` if there is a [limit](super::limits) |
//! | `POST` with `X-HTTP-Method-Override` | that of the method in this header |
//!
//! Bytes have the media type `application/offset+octet-stream`. All requests but `OPTIONS` need the
//! header `Tus-Resumable: 1.0.0`, and the layer's answers to them have it. As long as an upload is
//! unfinished, the answers about it say in `Upload-Expires` when it [expires](super::expiry).
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! # use axum::{Router, routing::post};
//! # use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Tus, Uploads};
//! use axum::body::Body;
//! use http::{Request, StatusCode, request};
//! use tower::ServiceExt;
//!
//! # async fn done(upload: CompletedUpload) {
//! #     assert_eq!(upload.filename(), "a.txt");
//! #     assert_eq!(upload.content_type(), Some("text/plain"));
//! #     assert_eq!(upload.field("folder"), Some("7"));
//! # }
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(tower_chunked_upload::store::MemoryStore::new()).build()?;
//! # let routes = Router::new().route("/files", post(done));
//! # let layer = ChunkedUploadLayer::new(uploads).tus(Tus::new("/files"));
//! # let app = Router::new().fallback_service(layer.around(routes));
//! let tus = |method: &str, url: &str| {
//!     Request::builder().method(method).uri(url).header("tus-resumable", "1.0.0")
//! };
//! let send = async |request: request::Builder, bytes: &'static str| {
//!     app.clone().oneshot(request.body(Body::from(bytes)).unwrap()).await.unwrap()
//! };
//! let bytes_at = |url: &str, offset: &str| {
//!     tus("PATCH", url)
//!         .header("content-type", "application/offset+octet-stream")
//!         .header("upload-offset", offset)
//! };
//!
//! // `a.txt`, `text/plain` and `7`, in Base64.
//! let metadata = "filename YS50eHQ=,filetype dGV4dC9wbGFpbg==,folder Nw==";
//! let create = tus("POST", "/files").header("upload-length", "10");
//! let created = send(create.header("upload-metadata", metadata), "").await;
//! assert_eq!(created.status(), StatusCode::CREATED);
//! let url = created.headers()["location"].to_str()?;
//!
//! // The first five bytes of ten.
//! let stored = send(bytes_at(url, "0"), "Hello").await;
//! assert_eq!(stored.status(), StatusCode::NO_CONTENT);
//! assert_eq!(stored.headers()["upload-offset"], "5");
//!
//! // The same again, from a client that did not get the answer.
//! let again = send(bytes_at(url, "0"), "Hello").await;
//! assert_eq!(again.status(), StatusCode::CONFLICT);
//! assert_eq!(again.headers()["upload-offset"], "5");
//!
//! // Where is it?
//! let stands = send(tus("HEAD", url), "").await;
//! assert_eq!(stands.headers()["upload-offset"], "5");
//! assert_eq!(stands.headers()["upload-length"], "10");
//! assert_eq!(stands.headers()["upload-metadata"], metadata);
//!
//! // The rest. The handler is called before this is answered.
//! let rest = send(bytes_at(url, "5"), "World").await;
//! assert_eq!(rest.status(), StatusCode::NO_CONTENT);
//! assert_eq!(rest.headers()["upload-offset"], "10");
//! # let options = send(tus("OPTIONS", url), "").await;
//! # assert_eq!(options.headers()["tus-version"], "1.0.0");
//! # assert!(!options.headers().contains_key("tus-resumable"));
//! # assert_eq!(send(tus("GET", url), "").await.status(), 404);
//! # assert_eq!(send(Request::head(url), "").await.status(), 412);
//! # let delete = send(tus("POST", url).header("x-http-method-override", "DELETE"), "").await;
//! # assert_eq!(delete.status(), 204);
//! # Ok(())
//! # }
//! ```
//!
//! The layer answers `HEAD`, `PATCH`, `DELETE` and `OPTIONS` for all paths that are one segment
//! below that of the creation. A `GET`, and a `POST` to the path itself that has none of the
//! protocol's headers, reach your service. So let people download files somewhere else, because a
//! `HEAD` for `/files/a.txt` would not reach the route for it.
//!
//! # Which extensions are offered?
//!
//! All of the following, unless you [switch them off](crate::tus::Extensions):
//!
//! | extension | what a client may do |
//! |---|---|
//! | `creation` | create an upload; otherwise only your own code does |
//! | `creation-with-upload` | send bytes in the request that creates an upload |
//! | `creation-defer-length` | create an upload whose length is not known yet |
//! | `expiration` | know when an upload expires |
//! | `checksum` | send a checksum of the bytes in a request: `sha1`, `sha256`, `sha512` or `md5` |
//! | `checksum-trailer` | send it after the bytes |
//! | `termination` | remove an upload |
//! | `concatenation` | send a file [in parts](#what-about-files-in-parts) and have them joined |
//! | `concatenation-unfinished` | have them joined before they are complete |
//!
//! What is off is neither announced nor done. In this example, the application decides which
//! uploads there are, and tells the client their URLs:
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! # use axum::{Router, body::Body, routing::post};
//! # use http::Request;
//! # use tower::ServiceExt;
//! # use tower_chunked_upload::CompletedUpload;
//! use tower_chunked_upload::policy::Dialect;
//! use tower_chunked_upload::tus::Extensions;
//! use tower_chunked_upload::{ChunkedUploadLayer, NewUpload, Tus, Uploads};
//!
//! # async fn done(_: CompletedUpload) {}
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(tower_chunked_upload::store::MemoryStore::new()).build()?;
//! let mut extensions = Extensions::default();
//! extensions.creation = false;
//! extensions.termination = false;
//! let tus = Tus::new("/files").extensions(extensions);
//! let layer = ChunkedUploadLayer::new(uploads.clone()).tus(tus);
//!
//! let uploads = uploads.for_owner(None).for_dialect(Dialect::Tus);
//! let new = uploads.create(NewUpload::new().total(5)).await?;
//! let url = format!("/files/{}", new.commit().await?.id);
//! # let app = layer.mount(post(done));
//! # let request = |method: &str, url: &str| {
//! #     Request::builder().method(method).uri(url).header("tus-resumable", "1.0.0")
//! # };
//! # let options = app.clone().oneshot(request("OPTIONS", "/files").body(Body::empty())?).await?;
//! # assert_eq!(options.headers()["tus-extension"], "expiration,checksum,checksum-trailer");
//! # let create = request("POST", "/files").header("upload-length", "5").body(Body::empty())?;
//! # assert_eq!(app.clone().oneshot(create).await?.status(), 405);
//! # let bytes = request("PATCH", &url)
//! #     .header("upload-offset", "0")
//! #     .header("content-type", "application/offset+octet-stream")
//! #     .body(Body::from("Hello"))?;
//! # assert_eq!(app.clone().oneshot(bytes).await?.status(), 204);
//! # assert_eq!(app.oneshot(request("DELETE", &url).body(Body::empty())?).await?.status(), 405);
//! # Ok(())
//! # }
//! ```
//!
//! # What if a connection breaks?
//!
//! Every byte that arrived is kept, so a client that sends a whole file in one request loses
//! nothing. Bytes are committed twice a second while they arrive, and the rest when the request
//! ends, however it ends. If the server is killed, about half a second of bytes is lost, but
//! nothing that a client was told.
//!
//! The client asks by `HEAD` where the upload stands, and continues there. It need not wait until
//! the server notices that the old connection is dead: the newest request wins. The one before it
//! is answered with 503, and what it has not committed by then is discarded, since the newer one
//! brings it again.
//!
//! Two kinds of requests are all or nothing:
//!
//! - those with a checksum of their own, in `Upload-Checksum` or announced by `Trailer`. If the
//!   checksum is wrong, or the request is cut off, nothing of it is kept;
//! - those that create an upload, because a client that does not get the answer does not know the
//!   URL.
//!
//! With [a bucket](super::nodes#how-large-should-a-chunk-be), each commit is an object.
//!
//! # Why is the last byte missing?
//!
//! The protocol has no request that completes an upload, so clients take the full offset as
//! success. If they saw it before your handler has taken the file, an upload that your handler
//! could not store would look as if it had been stored. So the last byte only counts when your
//! handler has answered with 2xx or 3xx. Until then a client is told the length less one, which no
//! earlier answer contradicts.
//!
//! A client that gets a 5xx from your handler does what it does after any error. It asks by `HEAD`
//! and sends the one byte that seems to be missing, and the layer calls your handler again:
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
//! While your handler has the file, `HEAD` is answered with 423, and clients ask again. An empty
//! file has no last byte: if your handler does not take it, the upload is removed, and the client
//! creates it anew.
//!
//! # What about files in parts?
//!
//! tus-js-client with `parallelUploads: 4` sends the four parts of a file at the same time, each as an
//! upload of its own, and then has them joined. Your handler gets the joined file, and nothing of its
//! parts:
//!
//! ```
//! # use axum::{body::Body, routing::post};
//! # use http::{Request, StatusCode, request};
//! # use tower::ServiceExt;
//! # use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Tus, Uploads};
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let done = async |upload: CompletedUpload| assert_eq!(upload.size(), 10);
//! # let uploads = Uploads::builder(tower_chunked_upload::store::MemoryStore::new()).build()?;
//! # let app = ChunkedUploadLayer::new(uploads).tus(Tus::new("/files")).mount(post(done));
//! # let tus = |method: &str, url: &str| {
//! #     Request::builder().method(method).uri(url).header("tus-resumable", "1.0.0")
//! # };
//! # let send = async |request: request::Builder, bytes: &'static str| {
//! #     app.clone().oneshot(request.body(Body::from(bytes)).unwrap()).await.unwrap()
//! # };
//! let part = || {
//!     tus("POST", "/files")
//!         .header("upload-concat", "partial")
//!         .header("upload-length", "5")
//!         .header("content-type", "application/offset+octet-stream")
//! };
//! let first = send(part(), "Hello").await;
//! let second = send(part(), "World").await;
//!
//! let urls = [&first, &second].map(|part| part.headers()["location"].to_str().unwrap());
//! let list = format!("final;{}", urls.join(" "));
//! let joined = send(tus("POST", "/files").header("upload-concat", list), "").await;
//! assert_eq!(joined.status(), StatusCode::CREATED);
//! assert_eq!(joined.headers()["upload-offset"], "10");
//! # Ok(())
//! # }
//! ```
//!
//! Nothing is copied: joining 1 TiB takes as long as joining 1 KiB. The file is read from its parts,
//! and [`persist`](crate::CompletedUpload::persist) writes it once, with the blocks of the parts where
//! the filesystem can share them. Until then it has no [`path`](crate::CompletedUpload::path). It has a
//! [`digest`](crate::CompletedUpload::digest) only if that can be computed from those of its parts,
//! which is so for CRC-32C.
//!
//! - [`authorize`](crate::Policy::authorize) and [`max_bytes`](crate::Policy::max_bytes) are asked about
//!   parts too, [`validate`](crate::Policy::validate) and [`attributes`](crate::Policy::attributes) only
//!   about the joined file, whose metadata come with the request that joins it. So check in `authorize`
//!   what must hold before a byte is stored.
//! - Parts of one owner can be joined by that owner, in any order, again and again. If your handler
//!   does not take the file, or the answer is lost, the same request gives the same upload, as long as
//!   the parts have not expired.
//! - A part and the joined upload [expire](super::expiry) on their own; an upload that waits for a part
//!   lives at least as long as that if [chunks prolong it](crate::Expiry::AfterLastChunk). The bytes of
//!   a part stay in the store as long as an upload that is joined from it needs them: until your handler
//!   has persisted the file and has taken it, or until the joined upload is gone.
//! - [Quotas](super::limits) count the bytes of parts until your handler has taken a file with them.
//! - If parts are joined before they are complete, the request that brings the last byte of the last
//!   part calls your handler, and its answer goes there. An unfinished part can be awaited by one upload
//!   at a time.
//! - If a request that sends a part is under way when the parts are joined, it is answered with 503, and
//!   continues where `HEAD` says.
//! - A file has at most 1,000 parts, of which one may be named several times: set
//!   [`max_bytes`](crate::UploadsBuilder::max_bytes), which holds for the sum. Lists of more than a few
//!   hundred parts exceed what proxies and HTTP/2 allow in headers unless told otherwise. Eight uploads
//!   that exist can be joined from one part.
//! - The URLs in the list are paths as in `Location`, or absolute. The host of an absolute one must be
//!   that of the request, so a proxy in front must pass `Host` on; otherwise set
//!   [`public_url`](crate::Tus::public_url).
//!
//! # What does each status mean?
//!
//! The content of a refusal is plain text for a person to read. Clients look at the status. A
//! program of your own can also look at the header `Upload-Error-Code`, whose words never change:
//! [what they mean](super::errors#what-does-each-code-mean).
//!
//! | status | text | what it means |
//! |---|---|---|
//! | 400 | `Upload-Length is required` | a header is missing |
//! | 400 | `Upload-Offset is required` | a header is missing |
//! | 400 | `… is not a number`, `… was sent twice` | a header is wrong |
//! | 400 | `Upload-Metadata has …` | a key is empty or comes twice, or a value is not Base64 |
//! | 400 | `Upload-Defer-Length is not 1` | a header is wrong |
//! | 400 | `Upload-Defer-Length is not offered` | its extension is off |
//! | 400 | `Upload-Concat is not offered` | its extension is off |
//! | 400 | `Upload-Concat is neither partial nor final with a list`, `… names more than 1000 parts` | a header is wrong |
//! | 400 | `Upload-Concat names something that is no part of this server` | a part has expired, or was never there; or the URL has another host |
//! | 400 | `A part is not complete` | its extension is off |
//! | 400 | `The algorithm of Upload-Checksum is not offered` | `OPTIONS` lists those that are |
//! | 400 | `Upload-Checksum is not Base64` | a bug in the client |
//! | 400 | `Length of the upload was announced as N bytes` | the file has changed |
//! | 400 | `The last byte is not the one that was sent before` | the file has changed |
//! | 401 | `Authentication credentials were not provided` | log in |
//! | 403 | `Upload is already complete` | it cannot be changed any more |
//! | 403 | `The bytes of the upload are those of its parts` | it is joined from them |
//! | 404 | `Upload not found` | there is none with this id, or it belongs to another [owner](super::owners) or protocol |
//! | 405 | `This method is not allowed here`, with `Allow` | also if its extension is off |
//! | 409 | `Offsets do not match`, with `Upload-Offset` | continue there |
//! | 409 | `The Idempotency-Key was used for an upload with other parameters` | use [a new key](super::idempotency) |
//! | 410 | `Upload has expired` | begin a new upload |
//! | 410 | `The stored upload is damaged` | begin a new upload; with feature `tracing`, the log says why |
//! | 412 | `This server speaks version 1.0.0 of tus`, with `Tus-Version` | `Tus-Resumable` is missing or names another version |
//! | 413 | `Size of file exceeds the limit (N bytes)` | the file is too large |
//! | 413 | `The upload was announced with N bytes` | there are more bytes than that |
//! | 413 | `The limit is N bytes of one owner's unfinished uploads` | another upload has to be completed or removed first |
//! | 413 | `The request is too large` | [a layer outside](super::layers) has that limit |
//! | 415 | `The media type of the bytes is application/offset+octet-stream` | bytes have another type, or none; or `creation-with-upload` is off |
//! | 423 | `Upload is being completed`, with `Retry-After` | your handler has the file |
//! | 423 | `Upload is held by another request`, with `Retry-After` | that request did not stop in time; or another upload waits for the part, or eight are joined from it |
//! | 429 | `The limit is N unfinished uploads of one owner` | another upload has to be completed or removed first |
//! | 431 | `Upload-Metadata has more than 4096 bytes` | unless [another limit](crate::Tus::max_metadata_bytes) is set |
//! | 460 | `Checksum does not match` | the bytes have changed on their way; nothing of them is kept |
//! | 500 | `The upload could not be stored` | with feature `tracing`, the log says why |
//! | 503 | `The request ended before its end`, with `Retry-After` | ask where the upload stands, and continue |
//! | 503 | `The request brought no data for too long`, or `too little data` | the same |
//! | 503 | `The server is shutting down` | the same |
//! | 503 | `Upload was taken over by a newer request` | the newer request brings the rest |
//! | 507 | `There is no room for the upload` | try again later |
//! | 507 | `The limit is N bytes of all unfinished uploads`, or `bytes that stay free` | try again later |
//!
//! A `HEAD` that cannot be answered now gets 423 instead of any 5xx, because clients would begin a
//! new upload after that.
//!
//! [Refusals](crate::Refusal) of your policy come in addition. Their status, text and headers are
//! sent, and what was added by [`with`](crate::Refusal::with) is not. What clients do is in their
//! hands, so answer 4xx where trying again does not help, and 5xx where it does:
//!
//! | answer | tus-js-client 4, Uppy | tuspy 1.1 | TUSKit | tus-java-client 0.5 |
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
//! # Where do the name and the fields come from?
//!
//! From `Upload-Metadata`, whose values clients send in Base64:
//!
//! | key | in your code |
//! |---|---|
//! | `filename`, or else `name` | [`filename`](crate::CompletedUpload::filename), made safe |
//! | `filetype`, or else `type` | [`content_type`](crate::CompletedUpload::content_type), unchecked |
//! | all keys whose values are text, these included | [`field`](crate::CompletedUpload::field) and [`fields`](crate::CompletedUpload::fields) |
//! | the whole header, as it was sent | [`Upload::metadata`](crate::Upload::metadata) |
//!
//! Uppy sends all of a file's `meta`, so a field of your own is `uppy.setMeta({ folder: "7" })`.
//!
//! # What does my policy see?
//!
//! The same as of chunks, with [`Context::dialect`](crate::Context::dialect) to tell them apart:
//!
//! | request | calls |
//! |---|---|
//! | `POST` | [`authorize`](crate::Policy::authorize) for `Append`, [`max_bytes`](crate::Policy::max_bytes), [`validate`](crate::Policy::validate), [`attributes`](crate::Policy::attributes) |
//! | `PATCH` | `authorize` for `Append`, `max_bytes`, `validate` |
//! | the one that brings the last byte | also [`verify`](crate::Policy::verify), for `Complete` |
//! | `HEAD` | `authorize` for `Status` |
//! | `DELETE` | `authorize` for `Cancel` |
//!
//! The metadata is there from the beginning, so `validate` sees all fields.
//! [`respond`](crate::Policy::respond) is not called, since the protocol's answers have no content.
//!
//! # Where is an upload?
//!
//! `Location` is the path of the request and the upload's id, `/files/5230ec1f…`. Clients resolve
//! it against the URL that they know, so a proxy that changes the scheme or the host does no harm.
//!
//! If something outside removes a prefix of the path, such as axum's `nest_service` or a proxy, say
//! what clients see with [`public_url`](crate::Tus::public_url):
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
//! A whole URL (`https://example.org/api/files`) is possible too. A client that insists on whole
//! URLs is also served by [`absolute_urls`](crate::Tus::absolute_urls), which takes the host from
//! the request. If a proxy always sets `X-Forwarded-Proto` and `X-Forwarded-Host`, it can take the
//! scheme and the host from these.
//!
//! # What does a client get of my handler's answer?
//!
//! | your handler answers | the client gets |
//! |---|---|
//! | 2xx or 3xx | 204 (201 for a `POST`) with `Upload-Offset` and your headers, without a body |
//! | the same, with [`response_body`](crate::Tus::response_body) | 200 (201 for a `POST`), and your body as well |
//! | anything else | your answer as it is, with `Tus-Resumable`; the upload can be completed again |
//!
//! With tus-js-client, a page reads your headers in `onAfterResponse`. A `Location` of your own is
//! lost in a 201, where it names the upload.
//!
//! Most clients take a 4xx as final, so [discard](crate::CompletedUpload::discard) a file that you
//! will never take. A 5xx makes them try again, and 423 makes them wait.
//!
//! # And on another origin?
//!
//! A page of another origin needs CORS, from a layer outside.
//! [`cors`](crate::ChunkedUploadLayer::cors) lists the methods and headers of all protocols that
//! the layer speaks; [the chapter about layers](super::layers#which-order) has the code.
//!
//! # And behind a proxy?
//!
//! A proxy must stream the body. With `proxy_request_buffering on`, which is nginx's default, it
//! passes on nothing of a request that breaks, so each attempt starts at 0. It must not limit the
//! body either, because many clients send the whole file in one request. [The
//! settings](super::proxy#and-for-tus) are those of the chunked protocol.
//!
//! # And a page?
//!
//! [The chapter about Uppy](super::uppy) has one in thirty lines.

/// The table of statuses is true.
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
///     let text = answer.into_body().collect().await.unwrap().to_bytes();
///     let mut text = String::from_utf8(text.to_vec()).unwrap();
///     for before in ["announced as ", "(", "is ", "with "] {
///         text = text.replace(&format!("{before}7 "), &format!("{before}N "));
///     }
///     let table = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/tus.rs"));
///     assert!(table.contains(&format!("//! | {status} | `{text}`")), "{status} {text}");
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
