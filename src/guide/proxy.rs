//! Behind a proxy: nginx, and what any other proxy has to do.
//!
//! # How do I configure nginx?
//!
//! Add this to the `server` that you have:
//!
//! ```nginx
#![doc = include_str!("../../examples/nginx/upload.conf")]
//! ```
//!
//! It applies to both paths, because one is a prefix of the other. With [other
//! paths](crate::Chunked::chunk_path), write a `location` for each.
//!
//! # And the whole configuration?
//!
//! This includes the same file, and is for the server of [the quick start](super::quick_start):
//!
//! ```nginx
#![doc = include_str!("../../examples/nginx/nginx.conf")]
//! ```
//!
//! For TLS and HTTP/2, use `listen 443 ssl http2;` and your certificate (from nginx 1.25.1 on,
//! `listen 443 ssl;` and `http2 on;`). The `location` stays as it is.
//!
//! # And for tus?
//!
//! The same, in a `location` for the path of [tus](super::tus):
//!
//! ```nginx
#![doc = include_str!("../../examples/nginx/tus.conf")]
//! ```
//!
//! Without `proxy_request_buffering off`, nginx keeps each request until it is complete, and passes
//! on nothing of one that breaks: a client that sends the whole file in one request then starts at
//! 0 each time. `Location` is a path, so a client behind HTTPS is not sent to HTTP. If nginx
//! removes a prefix of the path, set [`public_url`](crate::Tus::public_url). A client that sends [a
//! file in parts](super::tus#what-about-files-in-parts) names them by their whole URLs, whose host
//! must be that in `Host`, as `proxy_set_header Host $host` in the configuration above sets it.
//!
//! # And for the draft of the IETF?
//!
//! For [requests that can be resumed](super::resumable), the `location` has the paths of these
//! requests and that of the uploads:
//!
//! ```nginx
#![doc = include_str!("../../examples/nginx/resumable.conf")]
//! ```
//!
//! nginx does not expect a 104. It takes it for the final response, and a client of HTTP/2 gets an
//! error instead of the response. Without the header that this removes, no 104 is sent.
//!
//! # What does another proxy have to do?
//!
//! 1. **Stream the body.** A proxy that buffers it first writes each byte twice and answers late,
//!    and a chunk that is cut off never reaches the layer.
//! 2. **Not limit the body's size**, or set a limit above the largest chunk with its form.
//! 3. **Wait for the response** as long as your handler takes for a completion, or for the last
//!    byte of an upload over tus.
//! 4. **Report a client that has left**, by closing its connection to the server. Even if it does
//!    not, the next chunk need not wait: the newest request
//!    [wins](super::protocol#may-two-requests-send-to-one-upload).
//! 5. **Send all requests of an upload to one machine**, because [machines cannot share a
//!    folder](super::files#may-several-servers-share-a-folder). With [a bucket](super::nodes), this
//!    is not necessary.
//!
//! # What does a client see of it?
//!
//! Refusals of the layer pass through unchanged, including those that are sent while the client is
//! still sending. A page of the proxy itself, such as its 502 while the server restarts, is not
//! JSON: a client [waits and asks again](super::errors#what-does-a-client-do-in-general).
