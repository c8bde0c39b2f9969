//! Choose or write a client for resumable requests, and see what it sends and gets.
//!
//! # Which requests are there?
//!
//! This client sends a file in two pieces, `sand` and ` and foam`. Only `Upload-Complete: ?1`
//! completes an upload, however many bytes there are:
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
//! | request | response |
//! |---|---|
//! | the first one with `?1`: all bytes | your handler's, with `Upload-Complete: ?1`; before it a 104 with the URL |
//! | the first one with `?0`: the beginning, or nothing | 201; `Location` is the URL |
//! | `PATCH` with `?0`: more bytes | 204; `Upload-Offset` is the new offset |
//! | `PATCH` with `?1`: the rest, or nothing | your handler's |
//! | `HEAD` or `GET` | 204 with `Upload-Offset`, `Upload-Complete`, and `Upload-Length` if it is known |
//! | `DELETE` | 204: the upload is gone |
//!
//! A wrong `Upload-Offset` gets a 409 that has the right one. The layer keeps the bytes of a
//! `PATCH` that breaks off, and those of a first request if a 104 has told its client the URL. A
//! newer request ends the older one. A client may announce the whole length at once with
//! `Upload-Length`. The content of a refusal is `application/problem+json` with [a
//! `code`](super::errors).
//!
//! If your handler has failed, `HEAD` reports one byte less than there are, since some clients
//! treat the full offset as success. The client sends that byte again, and the layer calls the
//! handler again.
//!
//! # Which clients are there?
//!
//! | client | how it resumes |
//! |---|---|
//! | Apple's `URLSession`, iOS 18.1 and macOS 15 or later | by itself in upload tasks, if it got a 104 |
//! | [tus-js-client](https://github.com/tus/tus-js-client) 4 | with `protocol: "ietf-draft-05"`, the path as its `endpoint`; it needs no 104 |
//! | [the recipe](#how-does-a-page-or-node-send-a-file) | in a page or in Node; it needs no 104 |
//! | `curl`, any program | by hand, as above; it needs no 104 |
//!
//! tus-js-client 4.3 has limits of its own with this protocol. It never completes a file from
//! `fs.createReadStream` in Node (use a `Buffer`, or its tus protocol), nor an empty file.
//!
//! # When does a client need a 104?
//!
//! A client that sends everything at once learns the URL of the upload only from the informational
//! response 104, which comes before the end. hyper cannot send such a response. The wrappers in
//! [`informational`](crate::informational) can, over **HTTP/1.1 only**. Over HTTP/2 there are no
//! 104s: the requests of such a client are ordinary ones there, and cannot be resumed. Clients that
//! begin with `?0` resume over HTTP/2 too, and without the wrappers.
//!
//! # How does a page or Node send a file?
//!
//! This client begins with an empty request, and sends the file in pieces of 8 MB so that it can
//! show progress. With `chunkBytes: Infinity` it sends the rest at once.
//!
//! ```js
#![doc = include_str!("../../examples/clients/resumable.js")]
//! ```
//!
//! On another origin, it needs [CORS](super::layer_order).
//!
//! # Which versions of the draft are supported?
//!
//! Those with the interop versions 5, 6, 8, 9 and 10, which are the drafts 03 to 13. They differ in
//! what a server sends, and the layer sends all of it. Bytes of version 5 need no media type.
//! Requests of version 3 (iOS 17), whose header has another name, are ordinary ones. The client has
//! to send its version, in `Upload-Draft-Interop-Version`, only to get a 104.
//!
//! # What are digests for?
//!
//! - `Content-Digest` covers the bytes of one request. If it does not match, the layer refuses the
//!   request with 400 and keeps none of its bytes. It does not keep any if the request breaks off,
//!   either.
//! - `Repr-Digest`, in the first request or the last one, covers the whole file. If it does not
//!   match, the layer refuses the request with 400 and does not call your handler.
//! - `Want-Repr-Digest`, in the first request, asks for the digest of the whole file. When all
//!   bytes have arrived, the response to `HEAD` has it as `Repr-Digest`.
//!
//! The algorithms are `sha-256` and `sha-512`; others are ignored. The first two fields may also
//! follow the content as trailers. For `Content-Digest`, the header `Trailer` has to announce it.
//!
//! # What must a proxy do?
//!
//! It must stream the body, as for [the other
//! protocols](super::proxy#how-do-i-configure-nginx-for-the-ietf-draft). A proxy may drop a 104,
//! and then clients that rely on it begin again after a failure. Others, such as nginx, take the
//! 104 for the final response, and break requests of HTTP/2 clients. Let such a proxy remove
//! `Upload-Draft-Interop-Version`, so that the layer sends no 104. If it removes a prefix of the
//! path, set [`public_url`](crate::Resumable::public_url).
