//! Send files from a page, a form, a shell or a program.
//!
//! Any client of django-chunked-upload works unchanged. So does any client of [tus](super::tus),
//! once tus is on. The recipes here speak [the chunked protocol](super::protocol), and are complete
//! files in the folder `examples/clients` of the repository. [Handling
//! errors](super::error_handling) says what a client does after each response.
//!
//! Two requests are enough for a small file:
//!
//! ```sh
//! url=http://127.0.0.1:3000/api/chunked_upload
//! curl -F file=@a.txt $url
//! # {"expires":"2026-11-23T10:00:00.000Z","offset":5,"upload_id":"5230ec1f59d1485d9d7974b853802e31"}
//! md5=$(openssl md5 -r a.txt | cut -c -32)
//! curl -d upload_id=5230ec1f59d1485d9d7974b853802e31 -d md5=$md5 ${url}_complete
//! ```
//!
//! # Which client should I use?
//!
//! | you have | use | resumes after a failure |
//! |---|---|---|
//! | a page without a library | [`fetch`](#fetch) | yes |
//! | a page or Node, and [an existing handler that stays as it is](super::resumable) | [another `fetch`](super::resumable_wire#how-does-a-page-or-node-send-a-file) | yes |
//! | a page with jQuery | [jQuery-File-Upload](#jquery-file-upload) | yes |
//! | a page with a ready-made file picker | [Uppy](super::uppy), over tus | yes |
//! | a page without JavaScript | [a form](#a-plain-form) | no: it is one request |
//! | a shell | [`curl`](#curl) | yes |
//! | a clone of the repository | `cargo run --release -p chunked-upload -- FILE`, which sends to the example `axum`; `--help` has more | yes |
//! | Python | [`requests`](#python), or tuspy over [tus](super::tus) | yes |
//! | an app | a client of [tus](super::tus), such as TUSKit or tus-java-client | yes |
//! | something else | [your own library](#another-library) | if you implement that |
//!
//! In the chunked protocol, 4 to 16 MiB is a good chunk size: larger chunks cost more when they
//! fail, smaller ones wait for a response more often. With [a
//! bucket](super::nodes_costs#how-large-should-a-chunk-be), 8 MiB is best.
//!
//! # fetch
//!
//! This client cuts the file with `Blob.slice` and sends each piece as a form. After a failure it
//! asks for the offset of the upload, and continues from there. It computes the MD5 with
//! `page/md5.js`: copy that file to where the recipe imports it from.
//!
//! ```js
#![doc = include_str!("../../examples/clients/fetch.js")]
//! ```
//!
//! A page on another origin needs [CORS](super::layer_order) on the server.
//!
//! # jQuery-File-Upload
//!
//! The library cuts the file by itself if it has a `maxChunkSize`, and takes the start of the next
//! chunk from the `Range` header of each response. To resume an earlier upload, the page asks for
//! its offset and passes it to the library as `uploadedBytes`. It computes the MD5 with `page/md5.js`,
//! as above.
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
//! This is one request with the whole file. A form can neither compute a checksum nor send a second
//! request, so a route of its own completes the upload on the server, as in `page/src/form.rs`.
//!
//! ```html
#![doc = include_str!("../../examples/clients/form.html")]
//! ```
//!
//! # curl
//!
//! This script cuts the file with `tail` and `head` and sends each piece as a form. It continues
//! from the `offset` in each response, including refusals. To wait for a handler that [takes
//! long](super::long_completions), it needs curl 7.84.
//!
//! ```sh
#![doc = include_str!("../../examples/clients/curl.sh")]
//! ```
//!
//! # Python
//!
//! This client reads the file piece by piece, so it handles any size, and computes the MD5
//! incrementally. It needs the package `requests`.
//!
//! ```python
#![doc = include_str!("../../examples/clients/upload.py")]
//! ```
//!
//! # Another library
//!
//! Any library that sends forms or plain bodies works. In a form, the server takes names as they
//! are written (`%22` stands for a quote), in UTF-8 (or in Latin-1 if they are not UTF-8) or as
//! `filename*`. Some libraries write names differently, or wait where they should not:
//!
//! - **aiohttp** percent-encodes the names of files and fields, so `my file.txt` arrives as
//!   `my%20file.txt`. `FormData(quote_fields=False)` writes them as they are.
//! - **Libraries made for mail** may write a name that is not ASCII as an encoded word of RFC 2047,
//!   `=?utf-8?B?R3LDtsOfZS50eHQ=?=`. Forms do not have encoded words, so the server takes that as
//!   the name. With Indy, set `HeaderCharset` to `utf-8` and `HeaderEncoding` to `8` on what
//!   `AddFile` returns. With Python's `email`, give its messages the policy `email.policy.HTTP`.
//! - **Java's `HttpClient`** in JDK 17, with `expectContinue(true)`, waits forever if it gets a
//!   refusal where it expects `100 Continue` (JDK-8286171). Leave the option out, which is the
//!   default.
