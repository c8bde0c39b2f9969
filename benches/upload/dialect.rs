//! What is said to a server: chunks of an upload, and its completion.

use std::ops::Range;

use bytes::Bytes;
use serde_json::Value;

use crate::client::{Answer, Request};
use crate::row::{Row, Shape};
use crate::setup::Kind;

/// A chunk of the file of that name, or of the upload, which has no id yet at its first one.
pub(crate) fn chunk(
    row: &Row,
    name: &str,
    id: Option<&str>,
    place: &Range<u64>,
    content: Bytes,
) -> Request {
    let Range { start, end } = place;
    let range = ("content-range", format!("bytes {start}-{}/{}", end - 1, row.work.size));
    match (row.setup.server, row.shape) {
        (Kind::Std | Kind::Hyper | Kind::HyperPool, _) => {
            post(format!("/{name}"), vec![range], content)
        }
        // It cannot append, so each chunk is a file.
        (Kind::Nginx, _) => {
            Request { method: "PUT", ..post(format!("/{name}-{start}"), Vec::new(), content) }
        }
        (_, Shape::Raw) => {
            let query = id.map(|id| format!("?upload_id={id}")).unwrap_or_default();
            let name = ("content-disposition", "attachment; filename=\"f.bin\"".to_owned());
            post(format!("{CHUNK}{query}"), vec![range, name], content)
        }
        (_, Shape::Multipart) => {
            let form = ("content-type", "multipart/form-data; boundary=frontier".to_owned());
            let body = [before(id).into(), content, Bytes::from_static(b"\r\n--frontier--\r\n")];
            Request { body, ..post(CHUNK.to_owned(), vec![range, form], Bytes::new()) }
        }
        (_, Shape::Tus | Shape::TusWithUpload) => {
            let Some(id) = id else { return creation(row, content) };
            let headers = vec![tus_version(), tus_bytes(), ("upload-offset", start.to_string())];
            Request { method: "PATCH", ..post(format!("{TUS}/{id}"), headers, content) }
        }
    }
}

/// Creates an upload of tus, with its first bytes unless there are none.
pub(crate) fn creation(row: &Row, content: Bytes) -> Request {
    let length = ("upload-length", row.work.size.to_string());
    let name = ("upload-metadata", "filename Zi5iaW4=".to_owned());
    let mut headers = vec![tus_version(), length, name];
    if !content.is_empty() {
        headers.push(tus_bytes());
    }
    post(TUS.to_owned(), headers, content)
}

pub(crate) fn completion(id: &str, md5: Option<&str>) -> Request {
    let md5 = md5.map(|md5| format!("&md5={md5}")).unwrap_or_default();
    let form = ("content-type", "application/x-www-form-urlencoded".to_owned());
    post(COMPLETE.to_owned(), vec![form], format!("upload_id={id}{md5}").into())
}

/// A request that stores nothing.
pub(crate) fn empty(name: &str) -> Request {
    post(format!("/{name}"), Vec::new(), Bytes::new())
}

/// The id that the answer to a creation or a first chunk gives.
pub(crate) fn upload_id(answer: &Answer) -> String {
    if let Some((_, id)) = answer.location.as_ref().and_then(|url| url.rsplit_once('/')) {
        return id.to_owned();
    }
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    answer["upload_id"].as_str().unwrap().to_owned()
}

fn post(path: String, headers: Vec<(&'static str, String)>, content: Bytes) -> Request {
    Request { method: "POST", path, headers, body: [Bytes::new(), content, Bytes::new()] }
}

fn tus_version() -> (&'static str, String) {
    ("tus-resumable", "1.0.0".to_owned())
}

/// The type of a body that has bytes of the file.
fn tus_bytes() -> (&'static str, String) {
    ("content-type", "application/offset+octet-stream".to_owned())
}

/// What stands before the content in a form.
fn before(id: Option<&str>) -> String {
    const FIELD: &str = "--frontier\r\nContent-Disposition: form-data; name=";
    let id = id.map(|id| format!("{FIELD}\"upload_id\"\r\n\r\n{id}\r\n")).unwrap_or_default();
    format!("{id}{FIELD}\"file\"; filename=\"f.bin\"\r\n\r\n")
}

const CHUNK: &str = "/api/chunked_upload";
const COMPLETE: &str = "/api/chunked_upload_complete";
const TUS: &str = "/files";
