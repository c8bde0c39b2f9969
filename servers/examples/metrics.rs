//! A server whose numbers Prometheus collects and Grafana shows.
//!
//!     cargo run -p servers --example metrics
//!     curl http://127.0.0.1:3000/metrics
//!
//! `/health` is for an orchestrator: it answers 503 while uploads cannot be stored, and logs why.
//! `servers/examples/metrics/grafana.json` is a dashboard, to be imported in Grafana.
//!
//! The settings are environment variables, with these defaults:
//!
//! - `ADDR`: the address to listen on; `127.0.0.1:3000`
//! - `UPLOADS`: where unfinished files are kept; `chunked_uploads/%Y/%m/%d`
//! - `MEDIA`: where finished files go; `media`

use std::env;
use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::net::TcpListener;
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Tus, Uploads};

/// From a chunk in memory to a large file on a slow line.
const SECONDS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 600.0];

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Before the first `Uploads`, which describes its metrics.
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let recorder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &SECONDS)?;
    let recorder = recorder.install_recorder()?;
    let upkeep = recorder.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });

    let setting = |name, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let media = PathBuf::from(setting("MEDIA", "media"));
    let uploads = Uploads::builder(FsStore::new(setting("UPLOADS", "chunked_uploads/%Y/%m/%d")));
    let uploads = uploads.build()?;
    let _sweeper = uploads.sweep_every(Duration::from_secs(60 * 60));

    let save = move |file: CompletedUpload| async move {
        let target = media.join(file.id().as_str());
        match file.persist(&target).await {
            Ok(()) => StatusCode::CREATED,
            Err(error) => {
                eprintln!("cannot persist a file: {error}: {:?}", error.source());
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    };
    let health = {
        let uploads = uploads.clone();
        move || async move {
            match uploads.check().await {
                Ok(_) => StatusCode::OK.into_response(),
                Err(error) => {
                    eprintln!("uploads cannot be stored: {error}: {:?}", error.source());
                    StatusCode::SERVICE_UNAVAILABLE.into_response()
                }
            }
        }
    };
    let app = Router::new()
        .route("/api/chunked_upload_complete", post(save))
        .route("/metrics", get(move || async move { recorder.render() }))
        .route("/health", get(health));
    let tus = Tus::new("/files").handler_path("/api/chunked_upload_complete");
    let app = Router::new().fallback_service(ChunkedUploadLayer::new(uploads).tus(tus).around(app));

    let listener = TcpListener::bind(setting("ADDR", "127.0.0.1:3000")).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
