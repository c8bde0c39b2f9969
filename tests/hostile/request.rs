//! Requests as bytes.

use crate::support::*;

/// A request of HTTP/1.1 that can still be bent.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    /// Without the lines that say where the body ends, and without the blank line.
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n").into_bytes();
        Self { head, body: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// A chunk as a raw body.
    pub(crate) fn chunk(id: Option<&str>, range: Option<&str>, data: &[u8]) -> Self {
        let target = id.map_or_else(|| CHUNK.to_owned(), |id| format!("{CHUNK}?upload_id={id}"));
        let request = Self::new("POST", &target);
        let request = request.header("Content-Disposition", "attachment; filename=\"a%20b.bin\"");
        match range {
            Some(range) => request.header("Content-Range", range),
            None => request,
        }
        .body(data)
    }

    /// A chunk as a form.
    pub(crate) fn form(range: &str, form: Form) -> Self {
        Self::new("POST", CHUNK)
            .header("Content-Type", &Form::content_type())
            .header("Content-Range", range)
            .body(form.end().to_vec())
    }

    pub(crate) fn completion(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", COMPLETE).header("Content-Type", content_type).body(body)
    }

    /// The whole of it, with the body's true length.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes_of_length(self.body.len())
    }

    /// The whole of it, whatever length it says that the body has.
    pub(crate) fn bytes_of_length(&self, length: usize) -> Vec<u8> {
        self.framed(&format!("Content-Length: {length}\r\n"), &self.body)
    }

    pub(crate) fn framed(&self, lines: &str, body: &[u8]) -> Vec<u8> {
        [&self.head[..], lines.as_bytes(), b"\r\n", body].concat()
    }
}
