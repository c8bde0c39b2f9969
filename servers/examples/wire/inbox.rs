//! A resource of an application that knows nothing of uploads: it takes the body of an ordinary
//! request.

use std::error::Error as StdError;
use std::io::{self, Write as _};
use std::path::Path;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower_chunked_upload::{OperatorUploads, Status};

use crate::{BoxError, answer, hex, hook_status, is_set};

/// The path, with or without a slash at its end.
pub(crate) const PATH: &str = "/inbox";

/// Answers a request, and keeps its body in the folder, if there is one.
pub(crate) async fn receive<B>(folder: Option<&Path>, request: Request<B>) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    let (head, body) = request.into_parts();
    if let Some(refusal) = refuse(&head) {
        return refusal;
    }
    match take(folder, body).await {
        Ok((size, sha256)) => {
            let content_type = head.headers.get(header::CONTENT_TYPE);
            let content_type = content_type.map(|it| String::from_utf8_lossy(it.as_bytes()));
            let content = json!({
                "method": head.method.as_str(),
                "size": size,
                "sha256": sha256,
                "content_type": content_type,
            });
            answer(StatusCode::OK, &content)
        }
        Err(Failed::Body(error)) => {
            eprintln!("{PATH}: {error}");
            answer(StatusCode::BAD_REQUEST, &json!({ "detail": "The request broke off" }))
        }
        Err(Failed::Disk(error)) => {
            eprintln!("{PATH}: {error}");
            answer(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "detail": "Internal error" }))
        }
    }
}

/// The answer to a request whose body is not read.
fn refuse(head: &Parts) -> Option<Response<Full<Bytes>>> {
    if ![Method::POST, Method::PUT].contains(&head.method) {
        let content = json!({ "detail": "Method not allowed" });
        let mut refusal = answer(StatusCode::METHOD_NOT_ALLOWED, &content);
        refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST, PUT"));
        return Some(refusal);
    }
    if is_set("WIRE_AUTH") && !head.headers.contains_key("x-user") {
        let content = json!({ "detail": "Authentication credentials were not provided" });
        return Some(answer(StatusCode::FORBIDDEN, &content));
    }
    hook_status(&head.headers).map(|status| answer(status, &json!({})))
}

enum Failed {
    Body(Box<dyn StdError + Send + Sync>),
    Disk(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// Reads the body to its end. Returns the number of its bytes and their SHA-256.
async fn take<B>(folder: Option<&Path>, mut body: B) -> Result<(u64, String), Failed>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    let mut part = match folder.map(NamedTempFile::new_in).transpose()? {
        Some(part) => {
            let (file, path) = part.into_parts();
            Some((tokio::fs::File::from_std(file), path))
        }
        None => None,
    };
    let (mut size, mut digest) = (0, Sha256::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failed::Body(error.into()))?;
        let Ok(bytes) = frame.into_data() else { continue };
        size += bytes.len() as u64;
        digest.update(&bytes);
        if let Some((file, _)) = &mut part {
            file.write_all(&bytes).await?;
        }
    }
    let sha256 = hex(&digest.finalize());
    if let (Some((mut file, path)), Some(folder)) = (part, folder) {
        file.flush().await?;
        count(&folder.join(format!("{sha256}.deliveries")))?;
        let target = folder.join(format!("{sha256}.bin"));
        path.persist(target).map_err(|refused| refused.error)?;
    }
    Ok((size, sha256))
}

/// Counts a run. If the process is killed, the count stays.
fn count(counter: &Path) -> io::Result<()> {
    std::fs::OpenOptions::new().create(true).append(true).open(counter)?.write_all(b".")
}

/// The bytes of a finished upload, for a `GET` of its URL.
pub(crate) async fn finished(
    uploads: &OperatorUploads,
    method: Method,
    uri: Uri,
) -> Option<Vec<u8>> {
    let id = uri.path().strip_prefix("/uploads/")?.parse().ok()?;
    if method != Method::GET || uploads.status(&id).await.ok()?.status() != Status::Complete {
        return None;
    }
    let mut content = Vec::new();
    uploads.open(&id).await.ok()?.read_to_end(&mut content).await.ok()?;
    Some(content)
}
