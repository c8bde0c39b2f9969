//! Uploads on a bare hyper server, in front of a service that is a single function.
//!
//!     cargo run --example hyper
//!
//! It speaks HTTP/1 and cleartext HTTP/2 on one port. The settings are environment variables:
//! `ADDR`, `UPLOADS` (where unfinished files are kept), `MEDIA` (where finished files go) and
//! `HEAD_TIMEOUT` (for how many seconds a client may be silent before and between its requests). To
//! send a file in two chunks:
//!
//!     url=http://127.0.0.1:3000/api/chunked_upload
//!     id=$(printf 'Hello, ' | curl -sF 'file=@-;filename=hello.txt' \
//!         -H 'Content-Range: bytes 0-6/12' $url | grep -oE '[0-9a-f]{32}')
//!     printf 'world' | curl -sF upload_id=$id -F 'file=@-;filename=hello.txt' \
//!         -H 'Content-Range: bytes 7-11/12' $url
//!     curl -sd "upload_id=$id&md5=$(printf 'Hello, world' | openssl md5 -r | cut -c-32)" ${url}_complete
//!
//! It also speaks tus, at `/files`. To send the same file so, in one request:
//!
//!     curl -i http://127.0.0.1:3000/files -H 'Tus-Resumable: 1.0.0' -H 'Upload-Length: 12' \
//!         -H 'Upload-Metadata: filename aGVsbG8udHh0' \
//!         -H 'Content-Type: application/offset+octet-stream' -d 'Hello, world'

use std::convert::Infallible;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;
use serve::Server;
use tokio::net::TcpListener;
use tower::Layer;
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Tus, Uploads};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    serve::log_errors();
    let store = FsStore::new(setting("UPLOADS", "chunked_uploads/%Y/%m/%d"));
    let uploads = Uploads::builder(store).max_bytes(20 * GIB).build()?;
    let sweeper = uploads.sweep_every(Duration::from_secs(60));

    let media: Arc<Path> = PathBuf::from(setting("MEDIA", "media")).into();
    let application = tower::service_fn(move |request| application(Arc::clone(&media), request));
    let layer = ChunkedUploadLayer::new(uploads.clone()).tus(Tus::new("/files"));
    let service = layer.layer(application);

    let server = Server::new(Duration::from_secs(setting("HEAD_TIMEOUT", "10").parse()?));
    let listener = TcpListener::bind(setting("ADDR", "127.0.0.1:3000")).await?;
    println!("takes files at http://{}", listener.local_addr()?);

    let connections = server.serve(listener, service, serve::terminated()).await;
    tokio::join!(uploads.shutdown(SHUTDOWN), async {
        // Apart from the chunks, only idle connections are left.
        drop(tokio::time::timeout(2 * SHUTDOWN, connections.shutdown()).await);
    });
    sweeper.stop().await;
    Ok(())
}

/// The service inside the layer.
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
    // The id keeps files of the same name apart.
    let target = media.join(format!("{}-{}", upload.id(), upload.filename()));
    if upload.persist(target).await.is_err() {
        // The layer logs the cause.
        return (StatusCode::INTERNAL_SERVER_ERROR, String::new());
    }
    (StatusCode::OK, json!({ "saved": upload.filename(), "size": upload.size() }).to_string())
}

fn setting(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

const GIB: u64 = 1 << 30;
const SHUTDOWN: Duration = Duration::from_secs(5);
