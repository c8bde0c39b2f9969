//! Who may upload, and whose an upload is.
//!
//! # Who may upload if I say nothing?
//!
//! Everybody; and who knows an upload's id may continue, complete and cancel it. An id is 122
//! random bits, so it cannot be guessed, but it is a secret: keep it out of logs and of URLs that
//! are shared.
//!
//! # How do I say who?
//!
//! With [`Policy::authorize`](crate::Policy::authorize). It is asked first, for each chunk,
//! status, completion and cancellation, and gives the [`Owner`](crate::Owner): a name such as a
//! user's key. Who that is, another layer knows, [outside this one](super::layers), which leaves
//! the user in the request's extensions.
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
//!     async fn authorize(&self, asked: &Context<'_>) -> Result<Option<Owner>, Refusal> {
//!         let user = asked.request.extensions.get::<User>().ok_or_else(Refusal::unauthenticated)?;
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
//! /// A stand-in for what you have: a session, a token.
//! async fn authenticate(mut request: Request, next: Next) -> Response {
//!     let user = request.headers().get("x-user").and_then(|user| user.to_str().ok());
//!     if let Some(user) = user.map(|user| User(user.to_owned())) {
//!         request.extensions_mut().insert(user);
//!     }
//!     next.run(request).await
//! }
//!
//! /// The user's unfinished uploads, to pick up again.
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
//! # What do others see of an upload?
//!
//! Nothing: to every other owner it looks like one that does not exist. `None` is an owner too,
//! that of uploads that nobody in particular began.
//!
//! # Is there more that I can do for one owner?
//!
//! [`Uploads::for_owner`](crate::Uploads::for_owner) gives a handle that knows only that owner's uploads:
//! create, continue, complete, cancel and list them from code of your own.
//! [`Uploads::for_operator`](crate::Uploads::for_operator) gives one that knows all uploads; nothing that a
//! client can reach should use it. [Quotas](super::limits) count for each owner.
//!
//! # What about requests that another site makes for my users (CSRF)?
//!
//! If cookies say who asks, ask for a token too: in a header, and look at it in `authorize`; or in
//! a field of the form, which is checked in [`validate`](super::validation), as `authorize` does
//! not see the body. Another site cannot go on with an upload that it does not know, so the chunk
//! that begins one is what counts.
