//! Uploads on a bare hyper server, in front of a service that is one function.
//!
//!     cargo run --example hyper
//!
//! It reads HTTP/1 and cleartext HTTP/2 on one port. `ADDR`, `UPLOADS` (where unfinished files wait)
//! and `MEDIA` (where finished ones go) are settings in the environment. A file in two chunks:
//!
//!     url=http://127.0.0.1:3000/api/chunked_upload
//!     id=$(printf 'Hello, ' | curl -sF 'file=@-;filename=hello.txt' \
//!         -H 'Content-Range: bytes 0-6/12' $url | grep -oE '[0-9a-f]{32}')
//!     printf 'world' | curl -sF upload_id=$id -F 'file=@-;filename=hello.txt' \
//!         -H 'Content-Range: bytes 7-11/12' $url
//!     curl -sd "upload_id=$id&md5=$(printf 'Hello, world' | md5sum | cut -c-32)" ${url}_complete

use std::convert::Infallible;
use std::env;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tower::Layer;
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Uploads};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = FsStore::new(setting("UPLOADS", "chunked_uploads/%Y/%m/%d"));
    let uploads = Uploads::builder(store).max_bytes(20 * GIB).build()?;
    let sweeper = uploads.sweep_every(Duration::from_secs(60));

    let media: Arc<Path> = PathBuf::from(setting("MEDIA", "media")).into();
    let application = tower::service_fn(move |request| application(Arc::clone(&media), request));
    let service =
        TowerToHyperService::new(ChunkedUploadLayer::new(uploads.clone()).layer(application));

    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    server.http2().timer(TokioTimer::new());
    let listener = TcpListener::bind(setting("ADDR", "127.0.0.1:3000")).await?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = pin!(async {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
    });
    println!("takes files at http://{}", listener.local_addr()?);

    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut interrupted => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // No descriptor is left, say: others will close theirs.
                eprintln!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let connection = server.serve_connection(TokioIo::new(stream), service.clone());
        let connection = connections.watch(connection.into_owned());
        tokio::spawn(async move {
            // A client that leaves in the middle is no event here.
            drop(connection.await);
        });
    }
    drop(listener);
    tokio::join!(uploads.shutdown(SHUTDOWN), async {
        // Beyond the chunks there is only what a client keeps open for nothing.
        drop(tokio::time::timeout(2 * SHUTDOWN, connections.shutdown()).await);
    });
    sweeper.stop().await;
    Ok(())
}

/// What stands behind the layer.
async fn application<B>(
    media: Arc<Path>,
    request: Request<B>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = match request.extensions().get::<CompletedUpload>() {
        Some(upload) => done(&media, upload).await,
        None => (StatusCode::NOT_FOUND, "there is nothing here but uploads\n".to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    Ok(response)
}

/// Takes a finished file.
async fn done(media: &Path, upload: &CompletedUpload) -> (StatusCode, String) {
    // The id keeps two files of one name apart.
    let target = media.join(format!("{}-{}", upload.id(), upload.filename()));
    if let Err(error) = upload.persist(target).await {
        eprintln!("keep {:?}: {error}", upload.id());
        return (StatusCode::INTERNAL_SERVER_ERROR, String::new());
    }
    (StatusCode::OK, json!({ "saved": upload.filename(), "size": upload.size() }).to_string())
}

fn setting(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

const GIB: u64 = 1 << 30;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const SHUTDOWN: Duration = Duration::from_secs(5);
