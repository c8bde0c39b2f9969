//! Configure nginx, or any other proxy, in front of the layer.
//!
//! # How do I configure nginx?
//!
//! Add this to your `server` block:
//!
//! ```nginx
#![doc = include_str!("../../examples/nginx/upload.conf")]
//! ```
//!
//! It applies to both paths, because one is a prefix of the other. With [other
//! paths](crate::Chunked::chunk_path), write a `location` for each.
//!
//! # What does a whole configuration look like?
//!
//! This one includes the same file and the one for tus below. It is for the example `axum` of the
//! repository; leave out `tus.conf` if tus is off:
//!
//! ```nginx
#![doc = include_str!("../../examples/nginx/nginx.conf")]
//! ```
//!
//! For TLS and HTTP/2, use `listen 443 ssl http2;` and your certificate (from nginx 1.25.1 on,
//! `listen 443 ssl;` and `http2 on;`). The `location` stays as it is.
//!
//! # How do I configure nginx for tus?
//!
//! Use the same directives, in a `location` for the path of [tus](super::tus):
//!
//! ```nginx
#![doc = include_str!("../../examples/nginx/tus.conf")]
//! ```
//!
//! Without `proxy_request_buffering off`, nginx keeps each request until it is complete, and passes
//! on nothing of one that breaks. A client that sends the whole file in one request then starts at
//! 0 each time. `Location` is a path, so a client behind HTTPS is not sent to HTTP. If nginx
//! removes a prefix of the path, set [`public_url`](crate::Tus::public_url). A client that sends [a
//! file in parts](super::tus_parts) names them by absolute URLs, whose host must be that in `Host`.
//! `proxy_set_header Host $host` in the configuration above sets it.
//!
//! # How do I configure nginx for the IETF draft?
//!
//! For [resumable requests](super::resumable), the `location` covers the paths of these requests
//! and that of the uploads:
//!
//! ```nginx
#![doc = include_str!("../../examples/nginx/resumable.conf")]
//! ```
//!
//! nginx does not expect a 104. It takes it for the final response, and a client of HTTP/2 gets an
//! error instead of the response. The configuration removes the header that asks for a 104, so the
//! layer sends none.
//!
//! # What does another proxy have to do?
//!
//! 1. **Stream the body.** A proxy that buffers it first writes each byte twice and answers late,
//!    and a chunk that is cut off never reaches the layer.
//! 2. **Not limit the size of the body**, or set a limit above the largest chunk with its form.
//! 3. **Wait for the response** as long as your handler takes for a completion, or for the last
//!    byte of an upload over tus.
//! 4. **Report a client that has left**, by closing its connection to the server. Even if it does
//!    not, the next chunk does not have to wait: the newest request
//!    [wins](super::protocol#can-two-requests-send-to-one-upload).
//! 5. **Send all requests of an upload to one machine**, because [machines cannot share a
//!    folder](super::files#can-several-servers-share-a-folder). With [a bucket](super::nodes), this
//!    is not necessary.
//!
//! # What does a client see of the proxy?
//!
//! Refusals of the layer pass through unchanged, including those that are sent while the client is
//! still sending. A page of the proxy itself, such as its 502 while the server restarts, is not
//! JSON: a client [waits and asks
//! again](super::error_handling#what-do-clients-of-the-chunked-protocol-do).
