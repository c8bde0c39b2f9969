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
        (Kind::Std | Kind::Hyper, _) => post(format!("/{name}"), vec![range], content),
        // It cannot append, so each chunk is a file.
        (Kind::Nginx, _) => {
            Request { method: "PUT", ..post(format!("/{name}-{start}"), Vec::new(), content) }
        }
        (Kind::Crate, Shape::Raw) => {
            let query = id.map(|id| format!("?upload_id={id}")).unwrap_or_default();
            let name = ("content-disposition", "attachment; filename=\"f.bin\"".to_owned());
            post(format!("{CHUNK}{query}"), vec![range, name], content)
        }
        (Kind::Crate, Shape::Multipart) => {
            let form = ("content-type", "multipart/form-data; boundary=frontier".to_owned());
            let body = [before(id).into(), content, Bytes::from_static(b"\r\n--frontier--\r\n")];
            Request { body, ..post(CHUNK.to_owned(), vec![range, form], Bytes::new()) }
        }
    }
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

/// The id that the answer to a first chunk gives.
pub(crate) fn upload_id(answer: &Answer) -> String {
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    answer["upload_id"].as_str().unwrap().to_owned()
}

fn post(path: String, headers: Vec<(&'static str, String)>, content: Bytes) -> Request {
    Request { method: "POST", path, headers, body: [Bytes::new(), content, Bytes::new()] }
}

/// What stands before the content in a form.
fn before(id: Option<&str>) -> String {
    const FIELD: &str = "--frontier\r\nContent-Disposition: form-data; name=";
    let id = id.map(|id| format!("{FIELD}\"upload_id\"\r\n\r\n{id}\r\n")).unwrap_or_default();
    format!("{id}{FIELD}\"file\"; filename=\"f.bin\"\r\n\r\n")
}

const CHUNK: &str = "/api/chunked_upload";
const COMPLETE: &str = "/api/chunked_upload_complete";
