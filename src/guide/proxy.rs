//! Behind a proxy: nginx, and what any other one has to do.
//!
//! # What has to be set for nginx?
//!
//! This, in the `server` that is there already:
//!
//! ```nginx
#![doc = include_str!("../../examples/nginx/upload.conf")]
//! ```
//!
//! It goes for both paths, as one is the beginning of the other; with [other
//! paths](crate::Chunked::chunk_path) write a `location` for each.
//!
//! # And the whole?
//!
//! The same file, included in a configuration for the server of [the quick
//! start](super::quick_start):
//!
//! ```nginx
#![doc = include_str!("../../examples/nginx/nginx.conf")]
//! ```
//!
//! For TLS and HTTP/2, `listen 443 ssl http2;` and your certificate (from nginx 1.25.1 on `listen
//! 443 ssl;` and `http2 on;`); the `location` stays as it is.
//!
//! # What has another proxy to do?
//!
//! 1. **Pass the body on while it comes.** One that gathers it first writes each byte twice and
//!    answers late, and a chunk that is cut never gets to the layer.
//! 2. **Have no limit of the body's size**, or one above the largest chunk with its form.
//! 3. **Wait for the answer** as long as your handler takes for a completion.
//! 4. **Say when the client has left**, by closing its connection to the server. The next chunk
//!    need not wait even if it does not: the newest request
//!    [wins](super::protocol#may-two-requests-send-to-one-upload).
//! 5. **Send all requests of an upload to one machine**, since [machines cannot share a
//!    folder](super::files#may-several-servers-share-a-folder). With [a bucket](super::nodes) it need not.
//!
//! # What does a client see of it?
//!
//! Refusals of the layer pass as they are, also those that come while the client is still sending.
//! A page of the proxy's own, such as its 502 while the server restarts, is no JSON: a client
//! [waits and asks again](super::errors#what-does-a-client-do-in-general).
