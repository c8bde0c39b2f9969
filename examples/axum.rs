//! A page where one drops files, and the server that takes them.
//!
//!     cargo run --example axum
//!
//! Then open http://127.0.0.1:3000. Settings in the environment, with their defaults:
//!
//! - `ADDR`, where it listens: `127.0.0.1:3000`
//! - `UPLOADS`, where unfinished files wait: `chunked_uploads/%Y/%m/%d`
//! - `MEDIA`, where finished ones go: `media`
//! - `MAX_BYTES` of a file: 20 GiB
//! - `EXPIRES_AFTER`, in seconds, how long an upload may take: a day

use std::env;
use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Uploads};

#[path = "axum/form.rs"]
mod form;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = FsStore::new(setting("UPLOADS", "chunked_uploads/%Y/%m/%d"));
    let uploads = Uploads::builder(store)
        .max_bytes(setting("MAX_BYTES", "21474836480").parse()?)
        .expires_after(Duration::from_secs(setting("EXPIRES_AFTER", "86400").parse()?))
        .build()?;
    let sweeper = uploads.sweep_every(Duration::from_secs(60));

    let layer = ChunkedUploadLayer::new(uploads.clone());
    let takes_files = Router::new()
        .route("/api/chunked_upload_complete", post(done))
        .with_state(PathBuf::from(setting("MEDIA", "media")));
    let app = takes_files
        .clone()
        .layer(layer.clone())
        // A form cannot compute a checksum.
        .route(
            "/form",
            post(form::whole_file).with_state(takes_files.layer(layer.md5_check(false))),
        )
        .merge(page());

    let listener = tokio::net::TcpListener::bind(setting("ADDR", "127.0.0.1:3000")).await?;
    println!("drop files at http://{}", listener.local_addr()?);
    let server = axum::serve(listener, app).with_graceful_shutdown(terminated());
    tokio::select! {
        ended = server => ended?,
        // A client that keeps a connection open for nothing must not keep the server.
        () = async {
            terminated().await;
            uploads.shutdown(PATIENCE).await;
            tokio::time::sleep(PATIENCE).await;
        } => {}
    }
    sweeper.stop().await;
    Ok(())
}

/// Takes a finished file.
async fn done(
    State(media): State<PathBuf>,
    upload: CompletedUpload,
) -> Result<Json<Value>, StatusCode> {
    // The id keeps two files of one name apart.
    let target = media.join(format!("{}-{}", upload.id(), upload.filename()));
    upload.persist(target).await.map_err(|error| {
        eprintln!("keep {:?}: {error}: {:?}", upload.id(), error.source());
        StatusCode::INTERNAL_SERVER_ERROR
    })?;
    Ok(Json(json!({
        "saved": upload.filename(),
        "size": upload.size(),
        "md5": upload.digest().map(|digest| digest.to_hex()),
    })))
}

/// The page is files of its own, without a framework or a build step.
fn page() -> Router {
    Router::new()
        .route("/", get(|| file("text/html; charset=utf-8", include_str!("page/index.html"))))
        .route("/page.css", get(|| file("text/css", include_str!("page/page.css"))))
        .route("/page.js", get(|| file("text/javascript", include_str!("page/page.js"))))
        .route("/md5.js", get(|| file("text/javascript", include_str!("page/md5.js"))))
}

async fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers: [(HeaderName, &'static str); 4] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}

fn setting(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// Ctrl-C, or what a service manager sends.
async fn terminated() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    drop(tokio::signal::ctrl_c().await);
}

const PATIENCE: Duration = Duration::from_secs(3);
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; worker-src 'self'; img-src 'self' data:; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";
