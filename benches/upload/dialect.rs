//! What is said to a server: chunks of an upload, and its completion.

use std::ops::Range;

use bytes::Bytes;
use serde_json::Value;

use crate::client::{Answer, Request};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Raw,
    Multipart,
}

/// A chunk of the file that a reference server stores under the name.
pub(crate) fn named_chunk(name: &str, place: &Range<u64>, total: u64, content: Bytes) -> Request {
    Request {
        path: format!("/{name}"),
        headers: vec![content_range(place, total)],
        body: [Bytes::new(), content, Bytes::new()],
    }
}

/// A request that stores nothing, in place of a completion.
pub(crate) fn empty(name: &str) -> Request {
    Request { path: format!("/{name}"), headers: Vec::new(), body: Default::default() }
}

/// A chunk of an upload; the first one has no id yet.
pub(crate) fn chunk(
    shape: Shape,
    id: Option<&str>,
    place: &Range<u64>,
    total: u64,
    content: Bytes,
) -> Request {
    let range = content_range(place, total);
    match shape {
        Shape::Raw => {
            let query = id.map(|id| format!("?upload_id={id}")).unwrap_or_default();
            let name = "attachment; filename=\"f.bin\"".to_owned();
            Request {
                path: format!("/api/chunked_upload{query}"),
                headers: vec![range, ("content-disposition", name)],
                body: [Bytes::new(), content, Bytes::new()],
            }
        }
        Shape::Multipart => {
            let form = "multipart/form-data; boundary=frontier".to_owned();
            Request {
                path: "/api/chunked_upload".to_owned(),
                headers: vec![range, ("content-type", form)],
                body: [before(id).into(), content, Bytes::from_static(b"\r\n--frontier--\r\n")],
            }
        }
    }
}

pub(crate) fn completion(id: &str, md5: Option<&str>) -> Request {
    let md5 = md5.map(|md5| format!("&md5={md5}")).unwrap_or_default();
    Request {
        path: "/api/chunked_upload_complete".to_owned(),
        headers: vec![("content-type", "application/x-www-form-urlencoded".to_owned())],
        body: [Bytes::new(), format!("upload_id={id}{md5}").into(), Bytes::new()],
    }
}

/// The id that the answer to a first chunk gives.
pub(crate) fn upload_id(answer: &Answer) -> String {
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    answer["upload_id"].as_str().unwrap().to_owned()
}

fn content_range(place: &Range<u64>, total: u64) -> (&'static str, String) {
    ("content-range", format!("bytes {}-{}/{total}", place.start, place.end - 1))
}

/// What stands before the content in a form.
fn before(id: Option<&str>) -> String {
    const FIELD: &str = "--frontier\r\nContent-Disposition: form-data; name=";
    let id = id.map(|id| format!("{FIELD}\"upload_id\"\r\n\r\n{id}\r\n")).unwrap_or_default();
    format!("{id}{FIELD}\"file\"; filename=\"f.bin\"\r\n\r\n")
}
