//! Write a client of tus, or debug one: the requests, the responses, and what happens when a
//! connection breaks.
//!
//! # Which requests are there?
//!
//! This client sends a file in two requests and repeats one of them:
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
//! | request | response |
//! |---|---|
//! | `POST` to `/files` with `Upload-Length`, and optionally `Upload-Metadata` | 201; `Location` is the URL of the upload |
//! | the same with `Upload-Defer-Length: 1` instead | the same; a later `PATCH` brings `Upload-Length` |
//! | the same with bytes in its body | the same, with `Upload-Offset` |
//! | `PATCH` to the upload with `Upload-Offset`, and with bytes in its body | 204; `Upload-Offset` is the new offset |
//! | whichever of these brings the last byte | [your handler's](super::tus#what-does-the-client-get-of-my-handlers-response) |
//! | `HEAD` | 200 with `Upload-Offset`; `Upload-Length`, or `Upload-Defer-Length: 1`; `Upload-Metadata` as it was sent |
//! | `DELETE` | 204: the upload is gone, even if it was complete; a file that you have [persisted](super::files) stays |
//! | `OPTIONS` to either path | 200 with `Tus-Version`, `Tus-Extension`, `Tus-Checksum-Algorithm`, and `Tus-Max-Size` if there is a [limit](super::limits) |
//! | `POST` with `X-HTTP-Method-Override` | that of the method in this header |
//!
//! Bytes have the media type `application/offset+octet-stream`. All requests except `OPTIONS` need
//! the header `Tus-Resumable: 1.0.0`, and the layer's responses to them have it too. While an
//! upload is unfinished, the responses about it say in `Upload-Expires` when it
//! [expires](super::expiry).
//!
//! The layer answers `HEAD`, `PATCH`, `DELETE` and `OPTIONS` for all paths that are one segment
//! below the path of the creation. A `GET`, and a `POST` to the path itself that has none of the
//! protocol's headers, reach your service. Serve downloads under another path, because a `HEAD` for
//! `/files/a.txt` would not reach your route for it.
//!
//! The content of a refusal is plain text for a person to read. Clients decide by the status, and
//! your own programs can read the header `Upload-Error-Code`: see [the
//! messages](super::error_messages#which-messages-does-tus-have), [the codes](super::errors), and
//! [what clients do](super::error_handling#what-do-tus-clients-do).
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
//! | `concatenation` | send a file [in parts](super::tus_parts) and have them joined |
//! | `concatenation-unfinished` | have them joined before they are complete |
//!
//! The layer does not announce an extension that is off. It refuses creations and removals with
//! 405, bytes in a creation with 415, and the headers `Upload-Defer-Length` and `Upload-Concat`
//! with 400, and it ignores checksums. In this example, the application creates the uploads and
//! gives their URLs to the client:
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
//! # What happens when a connection breaks?
//!
//! The layer keeps every byte that arrived, so a client that sends a whole file in one request
//! loses nothing. It commits bytes twice a second while they arrive, and the rest when the request
//! ends, however it ends. If the server is killed, about half a second of bytes is lost, but
//! nothing that was acknowledged to a client. With [a
//! bucket](super::nodes_costs#how-large-should-a-chunk-be), each commit is an object.
//!
//! The client asks for the offset with `HEAD` and continues there. It does not have to wait until
//! the server notices that the old connection is dead: the newest request wins. The request before
//! it gets a 503. What that request has not committed by then is discarded, since the newer one
//! sends it again.
//!
//! Two kinds of requests are all or nothing:
//!
//! - Requests with a checksum of their own, in `Upload-Checksum` or announced by `Trailer`. If the
//!   checksum is wrong, or the request is cut off, the layer keeps none of its bytes.
//! - Requests that create an upload, because a client that does not get the response does not know
//!   the URL.
