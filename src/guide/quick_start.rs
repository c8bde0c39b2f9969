//! Write a server that receives files in chunks, and send it a file.
//!
//! # What do I need?
//!
//! Run `cargo add tower-chunked-upload --features axum,tracing`. Also add `axum`, `serde_json`,
//! `tracing-subscriber`, and `tokio` with its feature `full`. You can also [use the layer without
//! axum](#can-i-use-it-without-axum).
//!
//! # What does a server look like?
//!
//! It has three parts: the uploads, which know where unfinished files are kept; the layer, which
//! takes chunks from the network; and your handler, which gets each finished file.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/guide/client.rs"));
//! use std::path::PathBuf;
//! use std::time::Duration;
//!
//! use axum::extract::State;
//! use axum::http::StatusCode;
//! use axum::routing::post;
//! use axum::{Json, Router};
//! use serde_json::{Value, json};
//! use tokio::net::TcpListener;
//! use tower_chunked_upload::store::FsStore;
//! use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Uploads};
//!
//! # mod shown {
//! # use super::*;
//! #[tokio::main]
//! # pub
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     tracing_subscriber::fmt::init();
//!     let uploads = Uploads::builder(FsStore::new("chunked_uploads/%Y/%m/%d")).build()?;
//!     let listener = TcpListener::bind("127.0.0.1:3000").await?;
//!     let stop = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
//!     serve(listener, uploads, "media".into(), stop).await?;
//!     Ok(())
//! }
//! # }
//!
//! async fn serve(
//!     listener: TcpListener,
//!     uploads: Uploads,
//!     media: PathBuf,
//!     stop: impl Future<Output = ()> + Send + 'static,
//! ) -> std::io::Result<()> {
//!     let routes = Router::new()
//!         .route("/api/chunked_upload_complete", post(done))
//!         .with_state(media);
//!     let layer = ChunkedUploadLayer::new(uploads.clone());
//!     let app = Router::new().fallback_service(layer.around(routes));
//!
//!     // Removes expired uploads.
//!     let sweeper = uploads.sweep_every(Duration::from_secs(60));
//!     let stop = async move {
//!         stop.await;
//!         // Lets in-flight chunks finish; new ones are refused with 503.
//!         uploads.shutdown(Duration::from_secs(10)).await;
//!     };
//!     axum::serve(listener, app).with_graceful_shutdown(stop).await?;
//!     sweeper.stop().await;
//!     Ok(())
//! }
//!
//! /// Takes a finished file.
//! async fn done(
//!     State(media): State<PathBuf>,
//!     upload: CompletedUpload,
//! ) -> Result<Json<Value>, StatusCode> {
//!     // The id keeps files of the same name apart.
//!     let target = media.join(format!("{}-{}", upload.id(), upload.filename()));
//!     // The layer logs the cause.
//!     upload.persist(target).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
//!     Ok(Json(json!({ "saved": upload.filename(), "size": upload.size() })))
//! }
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! #     let folder = tempfile::tempdir()?;
//! #     let store = FsStore::new(folder.path().join("chunked_uploads/%Y/%m/%d"));
//! #     let uploads = Uploads::builder(store).build()?;
//! #     let listener = TcpListener::bind("127.0.0.1:0").await?;
//! #     let url = format!("http://{}{}", listener.local_addr()?, client::CHUNK);
//! #     let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//! #     let stopped = async { stopped.await.unwrap_or_default() };
//! #     let server = serve(listener, uploads, folder.path().join("media"), stopped);
//! #     let server = tokio::spawn(async { server.await.unwrap() });
//! #     rustls::crypto::ring::default_provider().install_default().ok();
//! #     let http = reqwest::Client::new();
//! #     let first = http.post(&url).header("content-disposition", "attachment; filename=a.txt");
//! #     let first = first.header("content-range", "bytes 0-4/10").body("Hello");
//! #     let answer: Value = first.send().await?.json().await?;
//! #     assert_eq!(answer["offset"], 5);
//! #     let id = answer["upload_id"].as_str().unwrap().to_owned();
//! #     let second = http.post(format!("{url}?upload_id={id}"));
//! #     let second = second.header("content-disposition", "attachment; filename=a.txt");
//! #     let second = second.header("content-range", "bytes 5-9/10").body("World");
//! #     assert_eq!(second.send().await?.json::<Value>().await?["offset"], 10);
//! #     let done = http.post(format!("{url}_complete")).body(client::form(&answer["upload_id"], "HelloWorld"));
//! #     let done = done.header("content-type", "application/x-www-form-urlencoded");
//! #     assert_eq!(done.send().await?.json::<Value>().await?, json!({ "saved": "a.txt", "size": 10 }));
//! #     let kept = std::fs::read(folder.path().join(format!("media/{id}-a.txt")))?;
//! #     assert_eq!(kept, b"HelloWorld");
//! #     stop.send(()).unwrap();
//! #     server.await?;
//! #     Ok(())
//! # }
//! ```
//!
//! # How do I send a file?
//!
//! Use any of [the clients](super::clients): a page with jQuery-File-Upload or a few lines of
//! JavaScript, a plain form, `curl`, or Python. Uppy and other tus clients can send files to the
//! same handler, once you [switch on tus](super::tus). In the repository, `cargo run --example
//! axum` is this server with such a page.
//!
//! # Where is the file?
//!
//! While the file is arriving, it is in `chunked_uploads`. When the whole file has arrived and its
//! checksum is right, the layer calls your handler, which moves the file to `media`: see
//! [Files](super::files). If your handler responds with an error, [the log](super::observe) says
//! what failed, and the client can complete the upload again.
//!
//! # Why around the router, and not `.layer(…)`?
//!
//! axum chooses the route before it calls a router's own layers. So with `.layer(…)`, the request
//! that completes a tus upload and a completion with a trailing slash get a 404. `.layer(…)` works
//! only if no client uses [tus](super::tus) or the [IETF draft](super::resumable), the router is
//! not nested, and no client sends a completion with a trailing slash. To serve uploads below a
//! prefix, `mount` the layer. [The chapter about layers](super::layers#where-does-the-layer-go)
//! compares all three.
//!
//! # Can I use it without axum?
//!
//! Yes. The layer is a [tower](https://docs.rs/tower) `Layer` for any service of HTTP requests. The
//! upload is in the request's extensions: `request.extensions().get::<CompletedUpload>()`. In the
//! repository, the example `hyper` is a complete server, and `servers/examples/tonic.rs` is one for
//! gRPC.
//!
//! # Can I use it without HTTP?
//!
//! Yes, [`Uploads`](crate::Uploads) works by itself. A gRPC method can begin an upload whose chunks
//! arrive over HTTP, or complete it, [for its owner](crate::Uploads::for_owner). A job can list and
//! remove uploads [as the operator](crate::Uploads::for_operator).
//!
//! # What should I read next?
//!
//! Before you accept uploads from strangers, read the chapters about [owners](super::owners),
//! [validation](super::validation) and [limits](super::limits). Before you deploy, read about [the
//! order of layers](super::layer_order), [proxies](super::proxy) and [the server](super::server).
