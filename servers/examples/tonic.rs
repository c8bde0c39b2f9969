//! Uploads and gRPC on one port.
//!
//!     cargo run -p servers --example tonic
//!
//! The gRPC service is tonic's ready-made health check. The settings are environment variables:
//! `ADDR`, `UPLOADS` (where unfinished files are kept), `MEDIA` (where finished files go) and
//! `HEAD_TIMEOUT` (for how many seconds a client may be silent before it begins). To send a file in
//! two chunks:
//!
//!     url=http://127.0.0.1:3000/api/chunked_upload
//!     id=$(printf 'Hello, ' | curl -sF 'file=@-;filename=hello.txt' \
//!         -H 'Content-Range: bytes 0-6/12' $url | grep -oE '[0-9a-f]{32}')
//!     printf 'world' | curl -sF upload_id=$id -F 'file=@-;filename=hello.txt' \
//!         -H 'Content-Range: bytes 7-11/12' $url
//!     curl -sd "upload_id=$id&md5=$(printf 'Hello, world' | openssl md5 -r | cut -c-32)" ${url}_complete

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpIncoming};
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Uploads};

use self::begins::Begins;

#[path = "../../serve/src/begins.rs"]
#[expect(unreachable_pub, reason = "it is part of a library, too")]
mod begins;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    serve::log_errors();
    let store = FsStore::new(setting("UPLOADS", "chunked_uploads/%Y/%m/%d"));
    let uploads = Uploads::builder(store).max_bytes(20 * GIB).build()?;
    let sweeper = uploads.sweep_every(Duration::from_secs(60));

    let (_reporter, health) = tonic_health::server::health_reporter();
    // A finished file arrives as an ordinary HTTP request, on an axum route beside the gRPC
    // methods.
    let media = PathBuf::from(setting("MEDIA", "media"));
    let routes = Routes::new(health)
        .into_axum_router()
        .route("/api/chunked_upload_complete", post(done).with_state(media));

    let incoming = TcpIncoming::bind(setting("ADDR", "127.0.0.1:3000").parse()?)?;
    let head_timeout = Duration::from_secs(setting("HEAD_TIMEOUT", "10").parse()?);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let layer = ChunkedUploadLayer::new(uploads.clone());
    let stopping = tokio::spawn(async move {
        serve::terminated().await;
        drop(stop);
        uploads.shutdown(PATIENCE).await;
    });
    println!("takes calls and files at http://{}", incoming.local_addr()?);
    let accepted = incoming.with_nodelay(Some(true));
    let accepted = accepted.map_ok(move |stream| Begins::new(stream, head_timeout));
    let server = Server::builder()
        // gRPC needs HTTP/2 only; browsers speak HTTP/1 to a server without TLS.
        .accept_http1(true)
        // An HTTP/2 client that has been silent for this long is pinged.
        .http2_keepalive_interval(Some(head_timeout))
        .http2_keepalive_timeout(Some(2 * head_timeout))
        .layer(layer)
        .add_routes(Routes::from(routes))
        .serve_with_incoming_shutdown(accepted, async {
            drop(stopped.await);
        });
    tokio::select! {
        ended = server => ended?,
        // A call that stays open, or a silent client, must not keep the server running.
        () = async {
            drop(stopping.await);
            tokio::time::sleep(PATIENCE).await;
        } => {}
    }
    sweeper.stop().await;
    Ok(())
}

impl<T: Connected> Connected for Begins<T> {
    type ConnectInfo = T::ConnectInfo;

    fn connect_info(&self) -> T::ConnectInfo {
        self.stream.connect_info()
    }
}

/// Takes a finished file.
async fn done(
    State(media): State<PathBuf>,
    upload: CompletedUpload,
) -> Result<Json<Value>, StatusCode> {
    // The id keeps files of the same name apart.
    let target = media.join(format!("{}-{}", upload.id(), upload.filename()));
    // The layer logs the cause.
    upload.persist(target).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Json(json!({ "saved": upload.filename(), "size": upload.size() })))
}

fn setting(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

const PATIENCE: Duration = Duration::from_secs(3);
const GIB: u64 = 1 << 30;
