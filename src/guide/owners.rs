//! Decide who may upload, and give each user access to their own uploads only.
//!
//! # Who may upload by default?
//!
//! Everyone. Anyone who knows the id of an upload may also continue, complete and cancel it. An id
//! has 122 random bits, so it cannot be guessed. (If the client sends an [idempotency
//! key](super::idempotency), the id is derived from the key, and is as hard to guess as the key.)
//! The id is a secret: keep it out of logs and of URLs that are shared.
//!
//! # How do I restrict uploads to my users?
//!
//! Implement [`Policy::authorize`](crate::Policy::authorize). The layer calls it first, for each
//! request of each protocol except `OPTIONS` and requests that a [token](super::tokens) admits. It
//! returns the [`Owner`](crate::Owner): a name such as a user's key. Another layer, [outside this
//! one](super::layer_order), authenticates the user and puts it into the request's extensions.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! # use client::{by, chunk, request, send};
//! # use serde_json::json;
//! use axum::extract::{Extension, Request};
//! use axum::http::StatusCode;
//! use axum::middleware::{Next, from_fn};
//! use axum::response::Response;
//! use axum::routing::{get, post};
//! use axum::{Json, Router};
//! use tower_chunked_upload::store::MemoryStore;
//! use tower_chunked_upload::{
//!     ChunkedUploadLayer, CompletedUpload, Context, Filter, Owner, Policy, Refusal, Status, Uploads,
//! };
//!
//! #[derive(Clone)]
//! struct User(String);
//!
//! struct Users;
//!
//! impl Policy for Users {
//!     async fn authorize(&self, context: &Context<'_>) -> Result<Option<Owner>, Refusal> {
//!         let user = context.request.extensions.get::<User>();
//!         let user = user.ok_or_else(Refusal::unauthenticated)?;
//!         Ok(Some(Owner::new(user.0.as_str())))
//!     }
//! }
//!
//! fn app(uploads: Uploads) -> Router {
//!     let layer = ChunkedUploadLayer::new(uploads.clone()).policy(Users);
//!     Router::new()
//!         .route("/api/chunked_upload_complete", post(done))
//!         .layer(layer)
//!         .route("/api/unfinished", get(unfinished))
//!         .layer(Extension(uploads))
//!         .layer(from_fn(authenticate))
//! }
//!
//! /// Stands for your own authentication: a session, a token.
//! async fn authenticate(mut request: Request, next: Next) -> Response {
//!     let user = request.headers().get("x-user").and_then(|user| user.to_str().ok());
//!     if let Some(user) = user.map(|user| User(user.to_owned())) {
//!         request.extensions_mut().insert(user);
//!     }
//!     next.run(request).await
//! }
//!
//! /// The user's unfinished uploads, to resume.
//! async fn unfinished(
//!     Extension(uploads): Extension<Uploads>,
//!     Extension(user): Extension<User>,
//! ) -> Result<Json<Vec<String>>, StatusCode> {
//!     let own = uploads.for_owner(Owner::from(user.0));
//!     let mut listing = own.list(Filter::all().status(Status::Open).expired(false));
//!     let mut ids = Vec::new();
//!     while let Some(upload) = listing.next().await {
//!         ids.push(upload.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?.id.to_string());
//!     }
//!     Ok(Json(ids))
//! }
//! #
//! # async fn done(upload: CompletedUpload) -> Json<u64> { Json(upload.size()) }
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let app = app(Uploads::builder(MemoryStore::new()).build()?);
//! # let first = || chunk("/api/chunked_upload", "a.txt", "bytes 0-4/10", "Hello");
//! # let get = |path: &str| request(http::Method::GET, path);
//!
//! let (status, _) = send(&app, first()).await;
//! assert_eq!(status, StatusCode::FORBIDDEN);
//!
//! let (_, answer) = send(&app, by("alice", first())).await;
//! let id = answer["upload_id"].as_str().unwrap();
//! let path = format!("/api/chunked_upload?upload_id={id}");
//! assert_eq!(send(&app, by("alice", get(&path))).await.0, StatusCode::OK);
//! assert_eq!(send(&app, by("bob", get(&path))).await.0, StatusCode::NOT_FOUND);
//!
//! let (_, alices) = send(&app, by("alice", get("/api/unfinished"))).await;
//! assert_eq!(alices, json!([id]));
//! # assert_eq!(send(&app, by("bob", get("/api/unfinished"))).await.1, json!([]));
//! # Ok(())
//! # }
//! ```
//!
//! [`Refusal::unauthenticated`](crate::Refusal::unauthenticated) is a 401, except in the chunked
//! protocol, where it is a 403, as in django-chunked-upload.
//!
//! # What can other users see of an upload?
//!
//! Nothing: for every other owner, the upload does not exist. `None` is an owner too: that of all
//! uploads that were begun without one.
//!
//! # What else can I do for one owner?
//!
//! [`Uploads::for_owner`](crate::Uploads::for_owner) returns a handle that sees only that owner's
//! uploads. Your own code can create, continue, complete, cancel and list them.
//! [`Uploads::for_operator`](crate::Uploads::for_operator) returns a handle that sees all uploads,
//! so nothing that a client can reach should use it. [Quotas](super::limits) count per owner.
//!
//! # How do I show the progress on another device?
//!
//! [`watch`](crate::OwnerUploads::watch) returns a stream of the upload's state: the current one,
//! each change, and finally how the upload ended. Changes by this process are pushed. To find
//! changes by other processes and [nodes](super::nodes), the stream polls the store each
//! [second](crate::UploadsBuilder::watch_interval). A slow connection gets the latest state instead
//! of a queue of old ones. With axum, it becomes server-sent events:
//!
//! ```
//! use axum::extract::{Path, State};
//! use axum::http::StatusCode;
//! use axum::response::sse::{Event, KeepAlive, Sse};
//! use futures_util::{Stream, StreamExt};
//! use serde_json::json;
//! use tower_chunked_upload::{UploadId, Uploads};
//!
//! async fn progress(
//!     State(uploads): State<Uploads>,
//!     Path(id): Path<UploadId>,
//! ) -> Result<Sse<impl Stream<Item = Result<Event, axum::Error>>>, StatusCode> {
//!     // With owners: `for_owner` of the user who asks.
//!     let watch = uploads.for_owner(None).watch(&id).await;
//!     let watch = watch.map_err(|_| StatusCode::NOT_FOUND)?;
//!     let events = watch.map(|now| {
//!         // The page closes its `EventSource` at this event, or it would connect again.
//!         let name = if now.ended.is_some() { "ended" } else { "message" };
//!         let data = json!({ "offset": now.upload.offset(), "total": now.upload.total() });
//!         Event::default().event(name).json_data(data)
//!     });
//!     Ok(Sse::new(events).keep_alive(KeepAlive::default()))
//! }
//! # let app: axum::Router<Uploads> =
//! #     axum::Router::new().route("/progress/{id}", axum::routing::get(progress));
//! ```
//!
//! An operator's [`watch`](crate::OperatorUploads::watch) sees all uploads. At the beginning of a
//! [shutdown](crate::Uploads::shutdown) the streams end, so these connections do not prevent a
//! server from stopping.
//!
//! # What if the session ends in the middle of an upload?
//!
//! Then `authorize` refuses the next chunk. With [tokens](super::tokens), the client can continue
//! the upload.
//!
//! # What about cross-site requests (CSRF)?
//!
//! If cookies identify your users, require a CSRF token as well. Let the page send it in a header,
//! and check it in `authorize`. Or let it send the token in a field of the form, and check it in
//! [`validate`](super::validation), since `authorize` does not see the body. Another site cannot
//! continue an upload whose id it does not know, so only the chunk that begins an upload needs the
//! token. Requests of [tus](super::tus) need none: they have no effect without the header
//! `Tus-Resumable`, and a browser sends that header from another site only if your CORS layer
//! allows it.
