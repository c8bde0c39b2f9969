//! Resumable without changing the handler: the draft of the IETF, for requests that you have.
//!
//! # What is it?
//!
//! You have a handler that takes the body of a request, and some of its clients are on bad lines.
//! With ["Resumable Uploads for
//! HTTP"](https://datatracker.ietf.org/doc/draft-ietf-httpbis-resumable-upload/), a draft of the
//! IETF, a client sends the request as ever and can go on with it after its connection broke. The
//! layer keeps the bytes. Your handler is called when all of them have arrived, with one ordinary
//! request:
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
//! /// The handler that you have.
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
//!     // With these two around it, a server of HTTP/1.1 can tell a client where to resume.
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
//! The layer has to be around the router. As a layer of the router itself it would not be called
//! for `/uploads/…`, for which the router has no route. `cargo run -p servers --example unchanged`
//! is a whole program, with a streaming handler and with a form. Without axum, [`Http1`] is the
//! stream below hyper. `Http1` needs feature `informational`, and `Http1Listener` needs
//! `axum-serve`.
//!
//! # Which requests are resumable?
//!
//! Those that you choose, by their path ([`paths`](crate::Resumable::paths)) or by a rule
//! ([`requests`](crate::Resumable::requests)), and of these the ones with the header
//! `Upload-Complete`, unless they are `GET` or `HEAD`. All others pass as if the layer were not
//! there. A header alone chooses nothing: Apple's URLSession sends it with any upload, and your
//! other routes must not notice. `OPTIONS` to a chosen path is answered by the layer, with the
//! limits.
//!
//! Below the path of [`Resumable::new`](crate::Resumable::new) everything belongs to the layer.
//! Each upload has a URL there, which nobody can guess.
//!
//! # What does my handler see?
//!
//! | of the request | from |
//! |---|---|
//! | method, path, query, and the headers of the content (`Content-Type`, `Content-Disposition`, …) | the first request; others if you [name them](crate::Resumable::keep_headers) |
//! | credentials and all other headers, extensions, the client's address | the last request |
//! | body | the store, as a stream; `Content-Length` is its size |
//! | [`CompletedUpload`](crate::CompletedUpload) | in the extensions, if you want to [persist](super::files) the file instead of copying it |
//!
//! The body is only read when all of it has arrived, so it neither breaks off nor comes slowly. It
//! has been written to the store, and is read from there; if that fails, the client gets a 500 and
//! tries again, whatever your handler has answered. Otherwise its answer decides:
//!
//! | the handler answers | what becomes of the upload |
//! |---|---|
//! | 2xx or 3xx | it is complete, and the client has the answer |
//! | 5xx | the client asks where the upload stands and sends its end again; so the handler is called again |
//! | 4xx | the answer is final for clients; the upload [expires](super::expiry), unless you [discard](crate::CompletedUpload::discard) it, or its client never learned its URL |
//!
//! The stored bytes stay until the upload expires, also if your handler has copied them. If it is
//! to have them without a copy, it [persists](super::files) the
//! [`CompletedUpload`](crate::CompletedUpload).
//!
//! # Must my handler change for that?
//!
//! Only if it cannot bear to be called twice with the same request. It is called *at least once*:
//! after a 5xx, a panic or a crash it is called again, even if it had done its work before the
//! crash. Handlers have always had that problem with clients that repeat a request. So do the last
//! step atomically (write to another file, then rename it), or remember the id of the
//! [`CompletedUpload`](crate::CompletedUpload), which stays the same. If only the answer is lost,
//! the handler is not called again: the client is told that the upload is complete, with an empty
//! 200.
//!
//! A handler that must never run twice, because it charges a card, has
//! [`hand_over_once`](crate::Resumable::hand_over_once): if a crash interrupts it, the upload ends
//! with a 500 whose `Upload-Complete: ?1` tells clients not to try again, and stays in the listing
//! as [`Status::Interrupted`](crate::Status::Interrupted) for you to look at. It still runs again
//! after it has answered with a 5xx.
//!
//! # What does it cost?
//!
//! A request with `Upload-Complete: ?1` that arrives without a break is stored all the same: its
//! bytes are written once, with a few kilobytes of records, and read back for your handler. On one
//! machine, with no network in between, 64 MiB took 2.7 times as long as without the header, and a
//! request of 1,000 bytes 2 ms more. So choose requests that bring files. If nobody needs MD5,
//! [`checksum(false)`](crate::UploadsBuilder::checksum) saves its time.
//!
//! # What goes over the wire?
//!
//! A client with a file in two pieces, `sand` and ` and foam`. Only `Upload-Complete: ?1` completes
//! an upload, however many bytes there are:
//!
//! ```sh
//! url=http://127.0.0.1:3000
//! curl -i $url/inbox -d sand -H 'Content-Type: text/plain' -H 'Upload-Complete: ?0'
//! # HTTP/1.1 201 Created
//! # location: /uploads/5230ec1f59d1485d9d7974b853802e31
//! # upload-complete: ?0
//! # upload-offset: 4
//! # upload-limit: max-age=86399, expires=86399
//!
//! upload=$url/uploads/5230ec1f59d1485d9d7974b853802e31      # the one that you got
//! curl -I $upload
//! # HTTP/1.1 204 No Content
//! # upload-complete: ?0
//! # upload-offset: 4
//!
//! curl -i -X PATCH $upload -d ' and foam' -H 'Content-Type: application/partial-upload' \
//!     -H 'Upload-Offset: 4' -H 'Upload-Complete: ?1'
//! # HTTP/1.1 200 OK
//! # upload-complete: ?1
//! # upload-offset: 13
//! #
//! # I have got 13 bytes
//! ```
//!
//! | request | answer |
//! |---|---|
//! | the first one with `?1`: all bytes | your handler's, with `Upload-Complete: ?1`; before it a 104 with the URL |
//! | the first one with `?0`: the beginning, or nothing | 201; `Location` is the URL |
//! | `PATCH` with `?0`: more bytes | 204; `Upload-Offset` is the new one |
//! | `PATCH` with `?1`: the rest, or nothing | your handler's |
//! | `HEAD` or `GET` | 204 with `Upload-Offset`, `Upload-Complete`, and `Upload-Length` if it is known |
//! | `DELETE` | 204: the upload is gone |
//!
//! A wrong `Upload-Offset` is a 409 that has the right one. Bytes of a `PATCH` that breaks are
//! kept, and so are those of the first request if a 104 has told its client the URL. A newer
//! request ends the older one. A client may say the whole length at once with `Upload-Length`. The
//! content of a refusal is `application/problem+json` with [a `code`](super::errors).
//!
//! If your handler has failed, `HEAD` tells one byte less than there are, since some clients take
//! the whole offset for success. The client sends that byte again, and the handler is called once
//! more.
//!
//! # Which clients are there?
//!
//! | client | how it resumes |
//! |---|---|
//! | Apple's `URLSession`, iOS 18.1 and macOS 15 or later | by itself in upload tasks, if it got a 104 |
//! | [tus-js-client](https://github.com/tus/tus-js-client) 4 | with `protocol: "ietf-draft-05"`, the path as its `endpoint`; it needs no 104 |
//! | [the recipe](#a-page-or-node) | in a page or in Node; it needs no 104 |
//! | `curl`, any program | by hand, as above; it needs no 104 |
//!
//! tus-js-client has limits of its own with this protocol, seen with version 4.3: a file from
//! `fs.createReadStream` in Node is never completed (use a `Buffer`, or its tus), nor is an empty
//! one.
//!
//! A client that sends everything at once knows the upload's URL only from the informational
//! response 104 that comes before the end. hyper cannot send such a response; the wrappers in
//! [`informational`](crate::informational) can, over **HTTP/1.1 only**. Over HTTP/2 there are no
//! 104s: the requests of such a client are ordinary ones there, and are not resumed. All clients
//! that begin with `?0` resume over HTTP/2, too, and without the wrappers.
//!
//! # A page, or Node?
//!
//! This client begins with an empty request, and sends the file in pieces of 8 MB so that there is
//! progress to show; with `chunkBytes: Infinity` it sends the rest at once.
//!
//! ```js
#![doc = include_str!("../../examples/clients/resumable.js")]
//! ```
//!
//! On another origin, it needs [CORS](super::layers#which-order).
//!
//! # Who may do what?
//!
//! [`Policy`](crate::Policy) is asked as for the other protocols, with
//! [`Context::dialect`](crate::Context::dialect) to tell them apart: `authorize` for each request,
//! `max_bytes`, `validate` and `attributes` when an upload begins, `verify` before your handler is
//! called. Without a policy, whoever knows the URL may continue an upload; your handler still sees
//! the credentials of the last request and decides.
//!
//! # What do limits of other layers limit?
//!
//! What is inside sees one request with the whole body, and what is outside sees each request by
//! itself:
//!
//! - axum's `DefaultBodyLimit` (2 MB unless changed) is in the extractors, so inside: `Bytes`
//!   refuses a larger whole, after it was uploaded. Set it and
//!   [`max_bytes`](crate::UploadsBuilder::max_bytes) to the same number, and clients are refused at
//!   once.
//! - tower-http's `RequestBodyLimitLayer` limits the whole if it is a layer of the router, and each
//!   request if it is around this layer.
//! - A timeout outside ends a slow request, not the upload. Inside, it applies to your handler
//!   alone.
//!
//! # Which limits are there?
//!
//! | limit | setting | a request beyond it |
//! |---|---|---|
//! | size of the whole | [`max_bytes`](crate::UploadsBuilder::max_bytes), [`Policy::max_bytes`](crate::Policy::max_bytes) | 413 |
//! | size of one request, for a proxy that limits bodies | [`max_append_bytes`](crate::Resumable::max_append_bytes) | 413 |
//! | size at least, of the whole and of one request | [`min_bytes`](crate::Resumable::min_bytes), [`min_append_bytes`](crate::Resumable::min_append_bytes) | 400 |
//! | head that is kept: method, target, headers of the content; 8 KiB | [`max_head_bytes`](crate::Resumable::max_head_bytes) | a whole request is an ordinary one, a part a 431 |
//! | age | [`expires_after`](crate::UploadsBuilder::expires_after) | 410 |
//!
//! Clients are told of all but the head's in `Upload-Limit`. [Quotas, and what is
//! slow](super::limits), are limited as in the other protocols.
//!
//! # Which versions of the draft?
//!
//! Those that call themselves 5 to 10, which are the drafts 03 to 13. Their differences are in what
//! a server says, and the layer says all of it. Bytes of version 5 need no media type. Requests of
//! version 3 (iOS 17), whose header has another name, are ordinary ones. The number itself, in
//! `Upload-Draft-Interop-Version`, is needed only for a 104.
//!
//! # What are digests for?
//!
//! - `Content-Digest` is about the bytes of one request. If it does not match, the request is
//!   refused with 400, and nothing of it is kept; nor is any of it if it breaks off.
//! - `Repr-Digest`, in the first request or the last one, is about the whole. If it does not match,
//!   your handler is not called, and the request is refused with 400.
//! - `Want-Repr-Digest`, in the first request, asks for the digest of the whole. When all bytes have
//!   arrived, the answer to `HEAD` has it as `Repr-Digest`.
//!
//! The algorithms are `sha-256` and `sha-512`; others are ignored. The first two may also follow the
//! content as trailers. For `Content-Digest`, the header `Trailer` has to say so.
//!
//! # And behind a proxy?
//!
//! As for [the other protocols](super::proxy#and-for-the-draft-of-the-ietf), it must stream the
//! body. A proxy may drop a 104, and then its clients begin again after a failure. Or it takes the
//! 104 for the final response, as nginx does, and breaks the request of a client of HTTP/2. So have
//! it remove `Upload-Draft-Interop-Version`, and no 104 is sent. If it removes a prefix of the
//! path, set [`public_url`](crate::Resumable::public_url).
//!
//! [`Http1`]: crate::informational::Http1
