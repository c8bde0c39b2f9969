//! Let an upload go on when the session of its user has ended, or on another device.
//!
//! # What is a token for?
//!
//! A session may end in the middle of a long upload. Or somebody else sends the file: another device,
//! a worker, a page without cookies. A token is a signed text that stands for the owner of one upload
//! for a limited time. With feature `tokens`, a request with such a token needs no session.
//!
//! ```toml
//! [dependencies]
//! tower-chunked-upload = { version = "0.1", features = ["axum", "tokens"] }
//! ```
//!
//! # How do I switch them on?
//!
//! Give the layer a secret of at least 32 random bytes, the same on all servers, and say how long a
//! token is good:
//!
#![cfg_attr(feature = "tokens", doc = "```")]
#![cfg_attr(not(feature = "tokens"), doc = "```ignore")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # fn secret() -> Vec<u8> { vec![7; 32] }
//! # use tower_chunked_upload::store::MemoryStore;
//! use std::time::Duration;
//!
//! use tower_chunked_upload::{ChunkedUploadLayer, TokenKeys, Uploads};
//!
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! let keys = TokenKeys::new(secret())?;
//! let day = Duration::from_secs(24 * 60 * 60);
//! let layer = ChunkedUploadLayer::new(uploads).hand_out_tokens(&keys, day);
//! # Ok(())
//! # }
//! ```
//!
//! From then on, in every protocol, the answer about an unfinished upload has a fresh token in the
//! header `Upload-Token`: that to the request that begins it, and those to the later ones. A client
//! keeps the last one, and sends it back in the same header when the server asks it to log in. The
//! clients of this crate do so by themselves, and [lists for CORS](crate::ChunkedUploadLayer::cors)
//! have the header.
//!
//! A request that a token has admitted gets no new one. So the time that you set is how long an
//! upload can go on after its session has ended, and whoever finds an old token cannot prolong it.
//!
//! # How do I give one to somebody else?
//!
//! Ask a handle of the owner, or the operator's, for one, and only [accept
//! tokens](crate::ChunkedUploadLayer::accept_tokens) in the layer:
//!
#![cfg_attr(feature = "tokens", doc = "```")]
#![cfg_attr(not(feature = "tokens"), doc = "```ignore")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use tower_chunked_upload::store::MemoryStore;
//! use std::time::Duration;
//!
//! use tower_chunked_upload::{ChunkedUploadLayer, NewUpload, Owner, TokenKeys, Uploads};
//!
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! # let keys = TokenKeys::new([7; 32])?;
//! let layer = ChunkedUploadLayer::new(uploads.clone()).accept_tokens(&keys);
//!
//! // A page begins an upload for another device, which gets the id and the token in a QR code.
//! let alices = uploads.for_owner(Owner::new("alice"));
//! let upload = alices.create(NewUpload::new().filename("video.mp4")).await?.commit().await?;
//! let token = alices.token(&keys, &upload.id, Duration::from_secs(3600)).await?;
//! let text = format!("{} {token}", upload.id);
//! # assert_eq!(text.len(), 32 + 1 + 84);
//! # Ok(())
//! # }
//! ```
//!
//! The device sends its chunks with `Upload-Token`. In a form, the field `upload_id` must come before
//! the file, as all known clients send it: a first chunk without it begins an upload, and that needs
//! a session.
//!
//! # What may a token do?
//!
//! What the owner may do with that upload: send chunks, ask where it stands, complete and cancel it,
//! as long as it exists. Nothing else: it begins no upload, also none that is joined from parts in
//! [tus](super::tus), it lists none, and it is good for no other one. For the policy, the quotas, the
//! observer and the handler, the owner is that of the upload.
//! [`Policy::authorize`](crate::Policy::authorize) is not asked. The other methods are, and find no
//! user in the extensions of the request; `Context::by_token` says for whom it acts.
//!
//! The token of a [part](super::tus_parts) does not stand for the joined file: if its last byte completes
//! that file, and the handler [takes long](super::long_completions), the address of the completion
//! needs a session.
//!
//! A token that is forged, has expired or is for another upload changes nothing: the request is
//! authorized as if it had none, so a good session goes on. If that is refused with 401 or 403, [the
//! code](super::errors) is `token-invalid` or `token-expired`.
//!
//! # Can the end of an upload demand a session?
//!
//! Yes. The extensions of a request that a token has admitted have a `ByToken`, and the handler
//! refuses it. The upload stays as it is, and is completed by the next request with a session:
//!
#![cfg_attr(feature = "tokens", doc = "```")]
#![cfg_attr(not(feature = "tokens"), doc = "```ignore")]
//! use axum::extract::Extension;
//! use axum::http::StatusCode;
//! use tower_chunked_upload::{ByToken, CompletedUpload};
//!
//! async fn done(
//!     by_token: Option<Extension<ByToken>>,
//!     upload: CompletedUpload,
//! ) -> Result<String, StatusCode> {
//!     if by_token.is_some() {
//!         return Err(StatusCode::UNAUTHORIZED);
//!     }
//!     Ok(format!("{} bytes", upload.size()))
//! }
//! # let app: axum::Router =
//! #     axum::Router::new().route("/done", axum::routing::post(done));
//! ```
//!
//! # Do my own routes know tokens?
//!
//! `Uploads::for_token` verifies one and returns a handle that sees only its upload, such as for [the
//! progress](super::owners#how-does-another-device-show-the-progress) on another device.
//!
//! # How do I replace the secret?
//!
//! `TokenKeys::also_verify` adds secrets that only verify. First add the new one to all servers; then
//! let it sign, and add the old one; drop that when its last token has expired. If a secret has
//! leaked, drop it at once: clients whose session has ended then log in again.
//!
//! # How secret is a token?
//!
//! As secret as the session that it replaces, for one upload. It is signed with HMAC-SHA256 and not
//! encrypted: whoever has it can read the upload's id and when the token expires, and nothing of the
//! owner. It cannot be revoked by itself; cancelling the upload ends it. The layer takes the header
//! out of the request before your code sees it, and neither its log nor any `Debug` shows a token.
//! Layers outside and proxies do see the header: keep it out of their logs, as `Authorization`, and
//! never put it into a URL.
