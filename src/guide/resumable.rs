//! Make the uploads of an existing handler resumable without changing the handler.
//!
//! # How do I switch it on?
//!
//! Suppose a handler takes the body of a request, and some of its clients are on unreliable
//! connections. Name its path, and put the layer around the router:
//!
//! ```
//! # use axum::body::Body;
//! # use http::{Request as HttpRequest, StatusCode};
//! # use http_body_util::BodyExt;
//! # use tower::ServiceExt as _;
//! use axum::body::Bytes;
//! use axum::extract::Request;
//! use axum::routing::post;
//! use axum::serve::ListenerExt;
//! use axum::{Router, ServiceExt};
//! use tokio::net::TcpListener;
//! use tower_chunked_upload::informational::{Http1Listener, Http1Make};
//! use tower_chunked_upload::{ChunkedUpload, ChunkedUploadLayer, Resumable, Uploads};
//!
//! /// The existing handler.
//! async fn inbox(body: Bytes) -> String {
//!     format!("I have got {} bytes", body.len())
//! }
//!
//! fn app(uploads: Uploads) -> ChunkedUpload<Router> {
//!     let routes = Router::new().route("/inbox", post(inbox));
//!     let resumable = Resumable::new("/uploads").paths(["/inbox"]);
//!     ChunkedUploadLayer::new(uploads).resumable(resumable).around(routes)
//! }
//!
//! async fn serve(listener: TcpListener, uploads: Uploads) -> std::io::Result<()> {
//!     let app = ServiceExt::<Request>::into_make_service(app(uploads));
//!     // These two let a server of HTTP/1.1 send a client the URL at which to resume.
//!     let listener = Http1Listener::new(listener.tap_io(|tcp| drop(tcp.set_nodelay(true))));
//!     axum::serve(listener, Http1Make::new(app)).await
//! }
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(tower_chunked_upload::store::MemoryStore::new()).build()?;
//! # let listener = TcpListener::bind("127.0.0.1:0").await?;
//! # tokio::spawn(serve(listener, uploads.clone()));
//! # let app = app(uploads);
//! # let ordinary = HttpRequest::post("/inbox").body(Body::from("sand and foam"))?;
//! # let answer = app.clone().oneshot(ordinary).await?;
//! # assert!(!answer.headers().contains_key("upload-complete"));
//! # assert_eq!(answer.into_body().collect().await?.to_bytes(), "I have got 13 bytes");
//! # let begin = HttpRequest::post("/inbox").header("upload-complete", "?0");
//! # let begun = app.clone().oneshot(begin.body(Body::from("sand"))?).await?;
//! # assert_eq!(begun.status(), StatusCode::CREATED);
//! # let rest = HttpRequest::patch(begun.headers()["location"].to_str()?)
//! #     .header("content-type", "application/partial-upload")
//! #     .header("upload-offset", "4")
//! #     .header("upload-complete", "?1")
//! #     .body(Body::from(" and foam"))?;
//! # let answer = app.oneshot(rest).await?;
//! # assert_eq!(answer.headers()["upload-complete"], "?1");
//! # assert_eq!(answer.into_body().collect().await?.to_bytes(), "I have got 13 bytes");
//! # Ok(())
//! # }
//! ```
//!
//! With ["Resumable Uploads for
//! HTTP"](https://datatracker.ietf.org/doc/draft-ietf-httpbis-resumable-upload/), an IETF draft, a
//! client sends the request as usual, and can continue it after its connection broke. The layer
//! keeps the bytes. When the whole file has arrived, it calls your handler with one ordinary
//! request.
//!
//! The layer must be around the router. The router's own `.layer(…)` would not be called for
//! `/uploads/…`, for which the router has no route. In the repository, `cargo run -p servers
//! --example unchanged` is a complete program, with a streaming handler and with a form. Without
//! axum, wrap the stream below hyper in [`Http1`]. `Http1` needs feature `informational`, and
//! `Http1Listener` needs `axum-serve`.
//!
//! # Which requests are resumable?
//!
//! You choose them by path ([`paths`](crate::Resumable::paths)) or by a rule
//! ([`requests`](crate::Resumable::requests)). A chosen request is resumable if it has the header
//! `Upload-Complete` and is neither a `GET` nor a `HEAD`. All other requests pass through as if the
//! layer were not there. The header alone is not enough: Apple's URLSession sends it with every
//! upload, and your other routes must not be affected. The layer answers `OPTIONS` for a chosen
//! path with the limits.
//!
//! Each path one segment below that of [`Resumable::new`](crate::Resumable::new) belongs to the layer.
//! There each upload has a URL that nobody can guess.
//!
//! # What does my handler see?
//!
//! | of the request | from |
//! |---|---|
//! | method, path, query, and the headers of the content (`Content-Type`, `Content-Disposition`, …) | the first request; [add](crate::Resumable::keep_headers) other headers by name |
//! | credentials and all other headers, extensions, the client's address | the last request |
//! | body | the store, as a stream; `Content-Length` is its size |
//! | [`CompletedUpload`](crate::CompletedUpload) | in the extensions, if you want to [persist](super::files) the file instead of copying it |
//!
//! The body is read from the store after the whole file has arrived, so no client can break it off
//! or stall it. If the store fails, reading the body returns an error. Do not respond with 2xx or
//! 3xx then: after any other response, the client gets a 500 and retries. Otherwise the response
//! decides:
//!
//! | the handler responds with | what happens to the upload |
//! |---|---|
//! | 2xx or 3xx | it is complete, and the client gets the response |
//! | 5xx | the client asks for the offset and sends the end again, and the layer calls the handler again |
//! | 4xx | the response is final for clients; the upload [expires](super::expiry), unless you [discard](crate::CompletedUpload::discard) it, or its client never learned its URL |
//!
//! The stored bytes stay until the upload expires, even if your handler has copied them. To take
//! the file without a copy, [persist](super::files) the
//! [`CompletedUpload`](crate::CompletedUpload).
//!
//! # Does my handler have to change?
//!
//! Only if it does not tolerate being called twice with the same request. It is called *at least
//! once*: after a 5xx, a panic or a crash, it is called again, even if it had done its work before
//! the crash. Handlers have always had that problem with clients that repeat a request. So make the
//! last step atomic (write to another file, then rename it), or remember the id of the
//! [`CompletedUpload`](crate::CompletedUpload), which stays the same. If only the response is lost,
//! the handler is not called again: the client gets an empty 200, which says that the upload is
//! complete.
//!
//! For a handler that must never run twice, because it charges a card, set
//! [`hand_over_once`](crate::Resumable::hand_over_once). If a crash interrupts such a handler, the
//! upload ends with a 500 whose `Upload-Complete: ?1` tells clients not to retry. The upload stays
//! in the listing as [`Status::Interrupted`](crate::Status::Interrupted) for you to look at. The
//! handler still runs again after it has responded with a 5xx.
//!
//! # What does it cost?
//!
//! A request with `Upload-Complete: ?1` is stored even if it arrives without a break: its bytes are
//! written once, with a few kilobytes of records, and read back for your handler. On one machine,
//! with no network in between, 64 MiB took 2.7 times as long as without the header, and a request
//! of 1,000 bytes took 2 ms longer. So choose requests that bring files. If no client speaks the
//! chunked protocol, which sends an MD5, [`checksum(false)`](crate::UploadsBuilder::checksum) saves
//! its time.
//!
//! # When is my policy called?
//!
//! [`Context::dialect`](crate::Context::dialect) tells the protocols apart. The layer calls
//! [`authorize`](crate::Policy::authorize) for each request except `OPTIONS`; `max_bytes` and
//! `validate` for each request that creates an upload or brings bytes; `attributes` when an upload
//! begins; [`first_bytes`](crate::Policy::first_bytes)
//! once enough bytes have arrived; and `verify` before your handler. Without a policy, anyone who
//! knows the URL may continue an upload; your handler still sees the credentials of the last
//! request and decides.
//!
//! # How do limits of other layers apply?
//!
//! Inner layers see one request with the whole body. Outer layers see each request by itself:
//!
//! - axum's `DefaultBodyLimit` (2 MB by default) applies in the extractors, which are inside.
//!   `Bytes` refuses a larger file only after it was uploaded. Set the limit and
//!   [`max_bytes`](crate::UploadsBuilder::max_bytes) to the same number, and clients are refused at
//!   once.
//! - tower-http's `RequestBodyLimitLayer` limits the whole file if it is a layer of the router, and
//!   each request if it is around this layer.
//! - An outer timeout ends a slow request, not the upload. An inner one applies to your handler
//!   alone.
//!
//! # Which limits does the layer have?
//!
//! | limit | setting | a request beyond it |
//! |---|---|---|
//! | size of the whole file | [`max_bytes`](crate::UploadsBuilder::max_bytes), [`Policy::max_bytes`](crate::Policy::max_bytes) | 413 |
//! | size of one request, for a proxy that limits bodies | [`max_append_bytes`](crate::Resumable::max_append_bytes) | 413 |
//! | minimum size of the whole file and of one request | [`min_bytes`](crate::Resumable::min_bytes), [`min_append_bytes`](crate::Resumable::min_append_bytes) | 400 |
//! | kept head: method, target, headers of the content; 8 KiB | [`max_head_bytes`](crate::Resumable::max_head_bytes) | a request with the whole file passes as an ordinary one, a part gets 431 |
//! | age | [`expires_after`](crate::UploadsBuilder::expires_after) | 410 |
//!
//! `Upload-Limit` tells clients all of them except the head's. [Quotas and minimum
//! rates](super::limits) apply as in the other protocols.
//!
//! [`Http1`]: crate::informational::Http1
