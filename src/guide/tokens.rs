//! Let a client continue an upload after its user's session has ended, or from another device.
//!
//! # What is a token for?
//!
//! A session may end in the middle of a long upload. Or somebody else sends the file: another
//! device, a worker, a page without cookies. A token is a signed string. Until it expires, a
//! request that carries it acts as the owner of one upload, and needs no session. Tokens are in
//! feature `tokens`.
//!
//! Tokens matter only if your [policy](super::owners) refuses requests without a session. Without a
//! policy, whoever knows the id may continue the upload anyway.
//!
//! ```toml
//! [dependencies]
//! tower-chunked-upload = { version = "0.1", features = ["axum", "tokens"] }
//! ```
//!
//! # How do I switch them on?
//!
//! Give the layer a secret of at least 32 random bytes, the same on all servers, and the lifetime
//! of a token. Create the secret once, for example with `openssl rand -hex 32`, and keep it where
//! you keep passwords:
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
//! From then on, in every protocol, each successful response of the layer about an unfinished
//! upload has a new token in the header `Upload-Token`. So does a response of your handler, or a
//! refusal of `verify`, that does not take the file. Other refusals have none. A client keeps the
//! last token that it got, and sends it in the same header once the server has asked it to log in.
//! The page, `fetch.js`, `upload.py` and the uploader of this repository do that, and [the lists for
//! CORS](crate::ChunkedUploadLayer::cors) have the header. (In the IETF draft, a request whose client
//! was never told the URL of its upload has no token if your handler fails.)
//!
//! A request that was admitted by a token gets no new token. So the lifetime is how long an upload can
//! continue after its session has ended, and whoever finds an old token cannot prolong it.
//!
//! # How do I give one to somebody else?
//!
//! Create one with a handle of the owner or of the operator, and let the layer only [accept
//! tokens](crate::ChunkedUploadLayer::accept_tokens):
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
//! the file, as all known clients send it: a first chunk without the field creates an upload, which
//! needs a session.
//!
//! # What may a token do?
//!
//! What the owner may do with that upload, as long as it exists: send chunks, ask for the offset,
//! complete it and cancel it. It cannot create uploads, join parts in [tus](super::tus), list
//! uploads, or do anything with another upload. The policy, the quotas, the observer and the
//! handler see the upload's owner. The layer does not call
//! [`Policy::authorize`](crate::Policy::authorize). It calls the other methods, which may find no
//! user in the extensions of the request; `Context::by_token` has the owner.
//!
//! A token for a [part](super::tus_parts) is not valid for the joined file. If the last byte of the
//! part completes the joined file and the handler [takes long](super::long_completions), the client
//! needs a session to ask at the address of the completion.
//!
//! If a token is forged, has expired or is for another upload, the layer authorizes the request as if
//! it had no token, so a valid session still works. If that is refused with 401 or 403, [the
//! code](super::errors) is `token-invalid` or `token-expired`.
//!
//! # Can I require a session for the completion?
//!
//! Yes. A request that was admitted by a token has a `ByToken` in its extensions, and your handler
//! can refuse it. The upload does not change, and the next request with a session completes it:
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
//! # How do my own routes accept tokens?
//!
//! `Uploads::for_token` verifies a token and returns a handle that sees only its upload, for
//! example to [show the progress](super::owners#how-do-i-show-the-progress-on-another-device) on
//! another device:
//!
#![cfg_attr(feature = "tokens", doc = "```")]
#![cfg_attr(not(feature = "tokens"), doc = "```ignore")]
//! use axum::extract::{Path, State};
//! use axum::http::{HeaderMap, StatusCode};
//! use tower_chunked_upload::{TokenKeys, UploadId, Uploads};
//!
//! async fn offset(
//!     State((uploads, keys)): State<(Uploads, TokenKeys)>,
//!     Path(id): Path<UploadId>,
//!     headers: HeaderMap,
//! ) -> Result<String, StatusCode> {
//!     let token = headers.get("upload-token").and_then(|token| token.to_str().ok());
//!     let token = token.ok_or(StatusCode::UNAUTHORIZED)?;
//!     let upload = uploads.for_token(&keys, token).await.map_err(|_| StatusCode::UNAUTHORIZED)?;
//!     let upload = upload.status(&id).await.map_err(|_| StatusCode::NOT_FOUND)?;
//!     Ok(upload.offset().to_string())
//! }
//! # let app: axum::Router<(Uploads, TokenKeys)> =
//! #     axum::Router::new().route("/offset/{id}", axum::routing::get(offset));
//! ```
//!
//! # How do I replace the secret?
//!
//! `TokenKeys::also_verify` adds secrets that only verify. First add the new secret to all servers.
//! Then let the new one sign and the old one verify. Drop the old one when its last token has expired.
//! If a secret has leaked, drop it at once: clients whose session has ended then have to log in again.
//!
//! # How secret is a token?
//!
//! As secret as the session that it replaces, for one upload. It is signed with HMAC-SHA256 and not
//! encrypted: whoever has it can read the upload's id, when the upload was created and when the
//! token expires, but nothing about the owner. You cannot revoke a single token; cancelling the
//! upload ends it. From requests of its own protocols, the layer removes the header before your
//! policy, handler and inner layers see it, and neither its log nor any `Debug` shows a token. On
//! your other routes, the header stays. Outer layers and proxies see it, too: keep it out of their
//! logs, as you do with `Authorization`, and never put a token into a URL.
