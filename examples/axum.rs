//! A page to drop files on, the server that takes them, and a page that shows an operator how they
//! arrive.
//!
//!     cargo run --example axum
//!
//! Then open http://127.0.0.1:3000, and http://127.0.0.1:3000/operator beside it. The page speaks
//! the chunked protocol. The same handler takes files from tus clients, whose endpoint is
//! http://127.0.0.1:3000/files: from Uppy at http://127.0.0.1:3000/uppy, which a browser fetches from
//! the internet, and from `curl` in one request:
//!
//!     curl -i http://127.0.0.1:3000/files -H 'Tus-Resumable: 1.0.0' -H 'Upload-Length: 13' \
//!         -H 'Upload-Metadata: filename aGVsbG8udHh0' \
//!         -H 'Content-Type: application/offset+octet-stream' -d 'Hello, world!'
//!
//! The settings are environment variables, with these defaults:
//!
//! - `ADDR`: the address to listen on; `127.0.0.1:3000`. The operator's page has no authentication:
//!   anyone who can reach it sees all uploads and can end them.
//! - `UPLOADS`: where unfinished files are kept; `chunked_uploads/%Y/%m/%d`
//! - `MEDIA`: where finished files go; `media`
//! - `MAX_BYTES`: the largest file; 20 GiB
//! - `EXPIRES_AFTER`: how long an upload may take, in seconds; a day
//! - `HEAD_TIMEOUT`: how long a client may be silent before and between its requests, in seconds;
//!   10

use std::env;
use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::{get, post};
use axum::{Json, Router};
use page::{form, list, operator, progress, user};
use serde_json::{Value, json};
use serve::Server;
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{Chunked, ChunkedUploadLayer, CompletedUpload, Tus, Uploads};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    serve::log_errors();
    let watch = operator::Watch::default();
    let uploads = Uploads::builder(FsStore::new(setting("UPLOADS", "chunked_uploads/%Y/%m/%d")))
        .max_bytes(setting("MAX_BYTES", "21474836480").parse()?)
        .expires_after(Duration::from_secs(setting("EXPIRES_AFTER", "86400").parse()?))
        .observer(watch.clone())
        .build()?;
    let sweeper = uploads.sweep_every(Duration::from_secs(60));
    tokio::spawn(watch.clone().run(uploads.clone()));

    let tus = Tus::new("/files").handler_path("/api/chunked_upload_complete");
    let layer = ChunkedUploadLayer::new(uploads.clone()).policy(user::ByCookie).tus(tus);
    let takes_files = Router::new()
        .route("/api/chunked_upload_complete", post(done))
        .with_state(PathBuf::from(setting("MEDIA", "media")));
    // A form without JavaScript cannot compute a checksum.
    let takes_forms =
        layer.clone().chunked(Chunked::new().md5_check(false)).around(takes_files.clone());
    let takes_forms = Router::new().fallback_service(takes_forms);
    let routes = takes_files
        .route("/api/chunked_upload_form", form::route(takes_forms))
        .route("/api/uploads", get(list::mine).with_state(uploads.clone()))
        .route("/api/uploads/{id}/progress", get(progress::progress).with_state(uploads.clone()))
        .route("/health", get(health).with_state(uploads.clone()))
        .route("/uppy", get(async || Html(include_str!("uppy.html"))))
        .merge(operator::routes(uploads.clone(), watch))
        .merge(page::pages());
    let app = Router::new().fallback_service(layer.around(routes));

    let listener = tokio::net::TcpListener::bind(setting("ADDR", "127.0.0.1:3000")).await?;
    let address = listener.local_addr()?;
    println!("drop files at http://{address}");
    println!("see how they come in at http://{address}/operator");
    let server = Server::new(Duration::from_secs(setting("HEAD_TIMEOUT", "10").parse()?));
    let connections = server.serve(listener, app, serve::terminated()).await;
    tokio::join!(uploads.shutdown(PATIENCE), async {
        // A client that keeps an idle connection open must not keep the server running.
        drop(tokio::time::timeout(2 * PATIENCE, connections.shutdown()).await);
    });
    sweeper.stop().await;
    Ok(())
}

/// Tells a load balancer whether files can be stored now.
async fn health(State(uploads): State<Uploads>) -> Result<Json<Value>, StatusCode> {
    match tokio::time::timeout(PATIENCE, uploads.check()).await {
        Ok(Ok(health)) => return Ok(Json(json!({ "free_bytes": health.free_bytes }))),
        Ok(Err(error)) => eprintln!("check the store: {error}: {:?}", error.source()),
        Err(_) => eprintln!("check the store: it does not answer"),
    }
    Err(StatusCode::SERVICE_UNAVAILABLE)
}

/// Takes a finished file.
async fn done(
    State(media): State<PathBuf>,
    upload: CompletedUpload,
) -> Result<Json<Value>, StatusCode> {
    // The user's list tells it again after a reload of the page.
    let saved_as = list::saved_as(upload.record());
    // The layer logs the cause.
    upload.persist(media.join(&saved_as)).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Json(json!({
        "name": upload.raw_filename(),
        "saved": upload.filename(),
        "saved_as": saved_as,
        "size": upload.size(),
        "md5": upload.digest().map(|digest| digest.to_hex()),
    })))
}

fn setting(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

const PATIENCE: Duration = Duration::from_secs(3);
