//! Build a page with Uppy in thirty lines.
//!
//! [Uppy](https://uppy.io) is a file picker with drag and drop, progress, pause and retry. It
//! speaks [tus](super::tus), so switch tus on first.
//!
//! # What does the page look like?
//!
//! This is `examples/uppy.html` of the repository. Serve it from the origin of the layer:
//!
#![doc = concat!("```html\n", include_str!("../../examples/uppy.html"), "```\n")]
//!
//! To try it, run `cargo run --example axum`, which serves tus at `/files`, and open
//! <http://127.0.0.1:3000/uppy>.
//!
//! # What does a user see?
//!
//! This is tested with Uppy 6.0.1 in Chromium:
//!
//! | what happens | what Uppy shows and does |
//! |---|---|
//! | the connection breaks | it continues by itself, at the byte at which it was cut off |
//! | the server restarts, or is killed | the same, as long as `retryDelays` last |
//! | the page is closed or reloaded | if the user drops the same file again, the upload continues |
//! | the user pauses | it sends nothing until the upload is resumed, and nothing twice |
//! | the user cancels | the upload is removed from the server |
//! | your handler responds with a 5xx | it sends the last byte again, and so [completes the upload once more](super::tus#why-is-the-last-byte-missing) |
//! | your handler or your policy responds with a 4xx | the message of the response, and a button to try again |
//! | the file is over [the limit](super::limits) | the message, before a byte is sent |
//!
//! # Which settings matter?
//!
//! - `endpoint` is the path of [`Tus::new`](crate::Tus::new), or
//!   [`public_url`](crate::Tus::public_url) if there is one.
//! - Leave `chunkSize` as it is, so that a file is one request: every byte of a request that breaks
//!   is kept anyway. Set it only if a proxy limits the size of requests.
//! - `retryDelays` says how long a server or a network may be away.
//! - `removeFingerprintOnSuccess` lets a user send the same file again later.
//! - Add fields with `uppy.setMeta({ folder: "7" })`, and read them with
//!   [`field("folder")`](crate::CompletedUpload::field) in your handler.
//!
//! # What if the page is on another origin?
//!
//! Set `endpoint` to the whole URL, and put [a CORS layer](super::layer_order) outside. For
//! cookies, set `withCredentials: true`. For a token, set `headers: { "X-CSRF-Token": token }`, and
//! allow that header. The example `cross_origin` in the package `servers` is such a server.
