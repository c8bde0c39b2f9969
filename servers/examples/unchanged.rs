//! Two ordinary handlers that know nothing of uploads, and whose requests can be resumed.
//!
//!     cargo run -p servers --example unchanged
//!
//! One takes the body of a request, and the other one the form at http://127.0.0.1:3000. They keep
//! files in `media`. A client of "Resumable Uploads for HTTP" resumes by itself, `curl` by hand:
//!
//!     url=http://127.0.0.1:3000
//!     curl -T big.iso $url/files/big.iso      # an ordinary request
//!     split -n 2 big.iso part-                # the same in two requests: part-aa and part-ab
//!     curl -iT part-aa $url/files/big.iso -H 'Upload-Complete: ?0'
//!     upload=$url/uploads/5230ec1f59d1485d9d7974b853802e31    # the location that you got
//!     curl -I $upload                         # upload-offset: the size of part-aa
//!     curl -X PATCH -T part-ab $upload -H 'Content-Type: application/partial-upload' \
//!         -H "Upload-Offset: $(wc -c <part-aa)" -H 'Upload-Complete: ?1'

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Multipart, Path, Request};
use axum::http::StatusCode;
use axum::response::{Html, Result};
use axum::routing::{get, post, put};
use axum::serve::ListenerExt;
use axum::{BoxError, Router, ServiceExt};
use futures_util::{Stream, StreamExt};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use tower_chunked_upload::informational::{Http1Listener, Http1Make};
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{ChunkedUploadLayer, Resumable, Uploads};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let routes = Router::new()
        .route("/", get(async || Html(FORM)))
        .route("/files", post(form))
        .route("/files/{name}", put(file))
        .layer(DefaultBodyLimit::disable());
    let uploads = Uploads::builder(FsStore::new("chunked_uploads/%Y/%m/%d")).build()?;
    let _sweeper = uploads.sweep_every(Duration::from_secs(60));
    let resumable = Resumable::new("/uploads").requests(|it| it.uri.path().starts_with("/files"));
    let app = ChunkedUploadLayer::new(uploads).resumable(resumable).around(routes);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("send a file at http://{}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let app = Http1Make::new(ServiceExt::<Request>::into_make_service(app));
    Ok(axum::serve(Http1Listener::new(listener), app).await?)
}

/// Takes the body of a request.
async fn file(Path(name): Path<String>, body: Body) -> Result<String> {
    Ok(save(&name, body.into_data_stream()).await.map_err(failed)?)
}

/// Takes the files of a form.
async fn form(mut form: Multipart) -> Result<String> {
    let mut saved = String::new();
    while let Some(file) = form.next_field().await? {
        let name = file.file_name().unwrap_or_default().to_owned();
        saved += &save(&name, file).await.map_err(failed)?;
    }
    Ok(saved)
}

/// Keeps a whole file or nothing, so it does no harm if the request is handled again.
async fn save<E: Into<BoxError>>(
    name: &str,
    mut stream: impl Stream<Item = Result<Bytes, E>> + Unpin,
) -> Result<String, BoxError> {
    let name = std::path::Path::new(name).file_name().ok_or("there is no file name")?;
    tokio::fs::create_dir_all("media").await?;
    let (file, part) = NamedTempFile::new_in("media")?.into_parts();
    let mut file = tokio::fs::File::from_std(file);
    while let Some(bytes) = stream.next().await {
        file.write_all(&bytes.map_err(Into::into)?).await?;
    }
    file.flush().await?;
    part.persist(format!("media/{}", name.display()))?;
    Ok(format!("saved {}\n", name.display()))
}

fn failed(error: BoxError) -> (StatusCode, &'static str) {
    eprintln!("a file was not saved: {error}");
    (StatusCode::INTERNAL_SERVER_ERROR, "The file was not saved\n")
}

const FORM: &str = r#"<form action="/files" method="post" enctype="multipart/form-data">
<input name="file" type="file" multiple required> <button>Send</button></form>"#;
