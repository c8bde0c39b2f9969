//! Recipes for clients: a page, a form, a script.
//!
//! Any client of django-chunked-upload works as it is. The ones here are files in the folder
//! `examples/clients` of the repository, each whole; what they have in common is in [the
//! protocol](super::protocol), and what to do about each answer in [the errors](super::errors).
//!
//! # Which one?
//!
//! | you have | take | goes on after a failure |
//! |---|---|---|
//! | a page, and no library | [`fetch`](#fetch) | yes |
//! | a page with jQuery | [jQuery-File-Upload](#jquery-file-upload) | yes |
//! | a page without JavaScript | [a form](#a-plain-form) | no: it is one request |
//! | a shell | [`curl`](#curl) | yes |
//! | Python | [`requests`](#python) | yes |
//! | something else | [what you have](#another-library) | as you write it |
//!
//! A chunk of 4 to 16 MiB is a good size: larger ones cost more when they fail, smaller ones wait
//! more often for an answer. On [nodes](super::nodes) that share a bucket 8 MiB is the best.
//!
//! # fetch
//!
//! Cuts the file with `Blob.slice` and sends each piece as a form. After a failure it asks how far
//! the upload is, and goes on from there. The MD5 is by `page/md5.js`: copy it to where the
//! recipe imports it from.
//!
//! ```js
#![doc = include_str!("../../examples/clients/fetch.js")]
//! ```
//!
//! A page of another origin needs [CORS](super::layers#which-order) on the server.
//!
//! # jQuery-File-Upload
//!
//! The library cuts the file by itself, if it is told a `maxChunkSize`, and takes the place of the
//! next chunk from the `Range` of each answer. To go on with an earlier upload, the page asks for
//! its offset and gives it to the library as `uploadedBytes`.
//!
//! ```html
#![doc = include_str!("../../examples/clients/jquery.html")]
//! ```
//!
//! ```js
#![doc = include_str!("../../examples/clients/jquery.js")]
//! ```
//!
//! # A plain form
//!
//! One request with the whole file. A form cannot compute a checksum, nor send a second request:
//! on the server, a route of its own completes the upload, as in `page/src/form.rs`.
//!
//! ```html
#![doc = include_str!("../../examples/clients/form.html")]
//! ```
//!
//! # curl
//!
//! Cuts the file with `tail` and `head` and sends each piece as a form. It goes on from the
//! `offset` of each answer, also from that of a refusal.
//!
//! ```sh
#![doc = include_str!("../../examples/clients/curl.sh")]
//! ```
//!
//! # Python
//!
//! Reads the file piece by piece, so that its size does not matter, and computes the MD5 on the
//! way. It needs the package `requests`.
//!
//! ```python
#![doc = include_str!("../../examples/clients/upload.py")]
//! ```
//!
//! # Another library
//!
//! Any that sends forms or plain bodies will do. Names are taken as they are written, in UTF-8 (in
//! Latin-1 where they are no UTF-8) or as `filename*`, and some libraries write them otherwise or wait where they should not:
//!
//! - **aiohttp** percent-encodes the names of files and fields: `my file.txt` arrives as
//!   `my%20file.txt`. `FormData(quote_fields=False)` writes them as they are.
//! - **Libraries made for mail** may write a name that is not ASCII in the words of RFC 2047,
//!   `=?utf-8?B?R3LDtsOfZS50eHQ=?=`. Forms know no such words, so that is then the name. With
//!   Indy, set `HeaderCharset` to `utf-8` and `HeaderEncoding` to `8` on what `AddFile` gives.
//!   With Python's `email`, give its messages the policy `email.policy.HTTP`.
//! - **Java's `HttpClient`** of JDK 17, with `expectContinue(true)`, waits without end when it gets a
//!   refusal where it expects `100 Continue` (JDK-8286171). Leave it out, which is the default.
