//! From a request to the bytes on the line.

use super::case::{BOUNDARY, Final, Form, Headers, Part, Request, Send};
use super::data::Data;

pub(crate) const CHUNK_PATH: &str = "/api/chunked_upload/";
pub(crate) const COMPLETE_PATH: &str = "/api/chunked_upload_complete/";

/// A request that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) method: String,
    pub(crate) send: Send,
    pub(crate) conn: Option<String>,
}

pub(crate) fn prepare(request: Request, host: &str, field: &str) -> Prepared {
    let Request { method, mut headers, send, conn, bare, .. } = request;
    let mut body = request.body.unwrap_or_default().0;
    if let Some(form) = &request.multipart {
        let boundary = form.shape.boundary.as_deref().unwrap_or(BOUNDARY);
        body = multipart(form, boundary, field);
        let kind = format!("multipart/form-data; boundary={boundary}");
        let kind = form.shape.content_type.clone().or(kind).unwrap_or_default();
        if !kind.is_empty() && !has(&headers, "content-type") {
            add(&mut headers, "Content-Type", kind);
        }
    }
    if let Some(user) = request.user {
        add(&mut headers, "X-User", user);
    }
    if !bare && !has(&headers, "host") {
        headers.insert(0, ("Host".to_owned(), host.to_owned()));
    }
    if !bare && conn.is_none() {
        add(&mut headers, "Connection", "close");
    }
    if let Some(size) = send.te_chunked {
        add(&mut headers, "Transfer-Encoding", "chunked");
        body = chunked(&body, size.size());
    } else if !bare
        && (!body.is_empty()
            || send.declare.is_some()
            || ["POST", "PUT", "PATCH"].contains(&&*method))
    {
        let size = send.declare.map_or(body.len(), |number| number.size());
        add(&mut headers, "Content-Length", size.to_string());
    }
    if send.expect_100 {
        add(&mut headers, "Expect", "100-continue");
    }
    let mut head = format!("{method} {} HTTP/1.1\r\n", path(&request.path));
    for (name, value) in &headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    Prepared { head: head.into_bytes(), body, method, send, conn }
}

fn add(headers: &mut Headers, name: &str, value: impl Into<String>) {
    headers.push((name.to_owned(), value.into()));
}

fn has(headers: &Headers, name: &str) -> bool {
    headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name))
}

/// `@chunk` and `@complete`; with `-` after them, without the trailing slash.
fn path(text: &str) -> String {
    let path = if let Some(rest) = text.strip_prefix("@chunk") {
        format!("{CHUNK_PATH}{rest}")
    } else if let Some(rest) = text.strip_prefix("@complete") {
        format!("{COMPLETE_PATH}{rest}")
    } else {
        text.to_owned()
    };
    let path = path.replace("/-?", "?");
    path.strip_suffix("/-").map(str::to_owned).unwrap_or(path)
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for block in body.chunks(size.max(1)) {
        out.extend_from_slice(format!("{:x}\r\n", block.len()).as_bytes());
        out.extend_from_slice(block);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

fn multipart(form: &Form, boundary: &str, field: &str) -> Vec<u8> {
    let shape = &form.shape;
    let eol = shape.eol.as_deref().unwrap_or("\r\n");
    let mark = format!("--{boundary}");
    let mut out = Vec::new();
    if let Some(Data(preamble)) = &shape.preamble {
        out.extend_from_slice(preamble);
        out.extend_from_slice(eol.as_bytes());
    }
    let parts = form.parts.iter();
    let parts = parts.flat_map(|part| std::iter::repeat_n(part, part.times.unwrap_or(1)));
    for (index, part) in parts.enumerate() {
        match &shape.first_mark {
            Some(Data(first)) if index == 0 => out.extend_from_slice(first),
            _ => out.extend_from_slice(format!("{mark}{eol}").as_bytes()),
        }
        match &part.head {
            Some(Data(head)) => out.extend_from_slice(head),
            None => out.extend_from_slice(part_head(part, index, field, eol).as_bytes()),
        }
        out.extend_from_slice(&part.data.0);
        out.extend_from_slice(eol.as_bytes());
    }
    match &shape.last {
        Final::Usual(true) => out.extend_from_slice(format!("{mark}--{eol}").as_bytes()),
        Final::Usual(false) => {}
        Final::Own(Data(last)) => out.extend_from_slice(last),
    }
    if let Some(Data(epilogue)) = &shape.epilogue {
        out.extend_from_slice(epilogue);
    }
    out
}

fn part_head(part: &Part, index: usize, field: &str, eol: &str) -> String {
    let disposition = match &part.disposition {
        Some(line) => line.replace("@field", field),
        None => {
            let name = part.name.as_deref().unwrap_or("@field");
            let name = name.replace("@field", field).replace('#', &index.to_string());
            let file = part.filename.as_ref();
            let file = file.map(|name| format!("; filename=\"{name}\"")).unwrap_or_default();
            format!("form-data; name=\"{name}\"{file}")
        }
    };
    let mut head = format!("Content-Disposition: {disposition}{eol}");
    if let Some(kind) = part.kind.as_deref().filter(|kind| !kind.is_empty()) {
        head += &format!("Content-Type: {kind}{eol}");
    }
    for (name, value) in &part.headers {
        head += &format!("{name}: {value}{eol}");
    }
    head + eol
}
