//! Refuse files by their name, size, type or content: before, during and after the upload.
//!
//! # How do I check a file?
//!
//! This policy accepts PDF files only, with a lower limit for visitors than for users:
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/guide/client.rs"));
//! # use axum::{Json, Router, routing::post};
//! # use client::{CHUNK, chunk, send, upload};
//! # use serde_json::json;
//! # use tower_chunked_upload::{ChunkedUploadLayer, Uploads, store::MemoryStore};
//! use http::StatusCode;
//! use serde_json::Value;
//! use tokio::io::AsyncReadExt;
//! use tower_chunked_upload::policy::{MaxBytes, SizeLimit, Verification};
//! use tower_chunked_upload::{Candidate, CompletedUpload, Policy, Refusal};
//!
//! struct Documents;
//!
//! /// Put into the extensions of a request by your authentication.
//! #[derive(Clone)]
//! struct User(String);
//!
//! impl Policy for Documents {
//!     async fn max_bytes(&self, limit: &SizeLimit<'_>) -> Result<MaxBytes, Refusal> {
//!         // Visitors may send less than users.
//!         let is_user = limit.request.extensions.get::<User>().is_some();
//!         Ok(if is_user { MaxBytes::Configured } else { MaxBytes::AtMost(100) })
//!     }
//!
//!     async fn validate(&self, chunk: &Candidate<'_>) -> Result<(), Refusal> {
//!         match chunk.filename() {
//!             Some(name) if name.ends_with(".pdf") => Ok(()),
//!             // A program knows the refusal by its code.
//!             _ => Err(Refusal::new(StatusCode::BAD_REQUEST, "Only PDF files are taken")
//!                 .with_code("not-a-pdf")),
//!         }
//!     }
//!
//!     async fn attributes(&self, chunk: &Candidate<'_>) -> Result<Value, Refusal> {
//!         Ok(serde_json::json!({ "folder": chunk.field("folder") }))
//!     }
//!
//!     async fn verify(&self, finished: &Verification<'_>) -> Result<(), Refusal> {
//!         let broken = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "Cannot read the file");
//!         let mut start = Vec::new();
//!         let reader = finished.file.open().await?;
//!         reader.take(5).read_to_end(&mut start).await.map_err(broken)?;
//!         match &start[..] {
//!             b"%PDF-" => Ok(()),
//!             _ => {
//!                 // It will never be a PDF, so it need not wait until it expires.
//!                 finished.file.discard().await?;
//!                 Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "This is not a PDF file"))
//!             }
//!         }
//!     }
//! }
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(MemoryStore::new()).max_bytes(1000).build()?;
//! # let done = async |upload: CompletedUpload| Json(upload.attributes().clone());
//! # let app = Router::new()
//! #     .route(client::COMPLETE, post(done))
//! #     .layer(ChunkedUploadLayer::new(uploads).policy(Documents));
//! # let (status, refusal) = send(&app, chunk(CHUNK, "a.exe", "", "MZ")).await;
//! # assert_eq!((status, &refusal["code"]), (StatusCode::BAD_REQUEST, &json!("not-a-pdf")));
//! # let by_user = |mut request: http::Request<_>| {
//! #     request.extensions_mut().insert(User("alice".to_owned()));
//! #     request
//! # };
//! # let large = || chunk(CHUNK, "a.pdf", "bytes 0-4/101", "%PDF-");
//! # assert_eq!(send(&app, large()).await.0, StatusCode::BAD_REQUEST);
//! # assert_eq!(send(&app, by_user(large())).await.0, StatusCode::OK);
//! # assert_eq!(upload(&app, "a.pdf", "MZ").await.0, StatusCode::UNPROCESSABLE_ENTITY);
//! # let (status, answer) = send(&app, chunk(&format!("{CHUNK}?folder=7"), "a.pdf", "", "%PDF-1.7")).await;
//! # assert_eq!(status, StatusCode::OK, "{answer}");
//! # let done = send(&app, client::completion(&answer["upload_id"], "%PDF-1.7")).await;
//! # assert_eq!(done, (StatusCode::OK, json!({ "folder": "7" })));
//! # Ok(())
//! # }
//! ```
//!
//! [`AtMost`](crate::policy::MaxBytes::AtMost) can only lower the server's limit;
//! [`Override`](crate::policy::MaxBytes::Override) is the one that can exceed it.
//!
//! # When is each check called?
//!
//! Every check is a method of [`Policy`](crate::Policy), with a default that allows everything.
//!
//! | method | is called | sees | after a refusal |
//! |---|---|---|---|
//! | [`authorize`](crate::Policy::authorize) | first, for every request except `OPTIONS` and those that a [token](super::tokens) admits | headers and extensions | nothing was taken |
//! | [`max_bytes`](crate::Policy::max_bytes) | for each chunk, before its body; and again for an upload with [a limit of its own](crate::NewUpload::max_bytes) | headers, extensions and the configured limit | nothing was taken |
//! | [`validate`](crate::Policy::validate) | for each chunk, when its file begins | name, media type, size, fields before the file | nothing was taken of this chunk |
//! | [`attributes`](crate::Policy::attributes) | for the first chunk | the same | there is no upload |
//! | [`first_bytes`](crate::Policy::first_bytes) | once for each new file, as soon as its [first bytes](crate::Policy::first_bytes_wanted) are there | up to 4 KiB of the file | the upload is removed |
//! | [`verify`](crate::Policy::verify) | when the file is whole and its checksum right | the file itself, all fields | it can be completed again or cancelled, unless `verify` has discarded it |
//!
//! Each method gets one argument, which dereferences to the [`Context`](crate::Context): the head
//! of the request, what it wants to do, and the upload that it names.
//!
//! In [tus](super::tus#when-is-my-policy-called), the first chunk is the request that creates an
//! upload, with or without bytes, and each later request with bytes is a chunk. For the [parts of a
//! joined file](super::tus_parts), only `authorize` and `max_bytes` are called. For the joined file,
//! `first_bytes` is never called: check its type in `verify`.
//!
//! # What can be trusted?
//!
//! Only the bytes, which `verify` sees. The name, media type and fields are what the client claims:
//! use them to refuse early, before the bytes are sent. Fields after the file in a form come too
//! late for `validate`, but `verify` sees them.
//!
//! # How do I refuse a wrong type before the whole file is sent?
//!
//! Implement [`first_bytes`](crate::Policy::first_bytes). It sees the beginning of each new file
//! before more of the file is written, in every protocol and for chunks of any size. A crate that
//! detects types by their first bytes, such as `infer`, needs only some hundred:
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/guide/client.rs"));
//! # use axum::Router;
//! # use client::{CHUNK, chunk, send};
//! # use tower_chunked_upload::{ChunkedUploadLayer, Uploads, store::MemoryStore};
//! use http::StatusCode;
//! use tower_chunked_upload::policy::FirstBytes;
//! use tower_chunked_upload::{Policy, Refusal};
//!
//! struct Images;
//!
//! impl Policy for Images {
//!     fn first_bytes_wanted(&self) -> usize {
//!         512
//!     }
//!
//!     async fn first_bytes(&self, first: &FirstBytes<'_>) -> Result<(), Refusal> {
//!         match infer::is_image(first.bytes) {
//!             true => Ok(()),
//!             false => Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Only images")),
//!         }
//!     }
//! }
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! # let app = Router::new().layer(ChunkedUploadLayer::new(uploads.clone()).policy(Images));
//! # let gif = "GIF89a and more";
//! # assert_eq!(send(&app, chunk(CHUNK, "a.gif", "", gif)).await.0, StatusCode::OK);
//! # let (status, refusal) = send(&app, chunk(CHUNK, "a.gif", "", "MZ and more")).await;
//! # assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{refusal}");
//! # Ok(())
//! # }
//! ```
//!
//! The client gets the refusal after the chunk that brings the last of these bytes, or, if it sends
//! the whole file in one request, while it is still sending. A refusal with a 5xx keeps the upload,
//! so use it if your check has failed, and not the file. What follows the first bytes can be
//! anything: this check saves time, and `verify` protects.
//!
//! # Can my handler refuse a file?
//!
//! Yes. Only a response of 2xx or 3xx says that the file was taken. After any other response, or a
//! panic, the upload can be completed again or cancelled. (One that its client could not continue is
//! removed: an empty file in tus, and in the IETF draft a refused file whose URL the client was never
//! told.) If trying again would not help, call
//! [`CompletedUpload::discard`](crate::CompletedUpload::discard): the upload is then gone, and so
//! is the file, unless it was persisted. `verify` may do so too.
//!
//! # Where do I put my own data about the upload?
//!
//! Return it from `attributes`, as JSON: it is kept in the record, and a client can neither see nor
//! change it. The handler finds it in
//! [`CompletedUpload::attributes`](crate::CompletedUpload::attributes). What the client sent along
//! with the file is in [`fields`](crate::CompletedUpload::fields).
//!
//! # Is an MD5 enough?
//!
//! Yes, against transmission errors. It does not protect against a crafted file, and does not have
//! to: whoever sends the file also sends the MD5.
//!
//! If your application needs another digest of each file, choose it with
//! [`digest_algorithm`](crate::UploadsBuilder::digest_algorithm): SHA-256 if nobody may be able to
//! forge it, CRC-32C if it should cost as little as possible. An upload that your code begins can
//! have several ([`NewUpload::digests`](crate::NewUpload::digests)). Clients of the chunked
//! protocol still send an MD5, for which each completion then reads the whole file. Switch off
//! [`md5_check`](crate::Chunked::md5_check) if you do not need it.
