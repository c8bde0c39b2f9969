//! A client that costs little, so that the server's speed is what is measured.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::http1;
use crate::http2;
use crate::setup::Http;

pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The body's pieces: those of a form stand around the content.
    pub(crate) body: [Bytes; 3],
}

impl Request {
    pub(crate) fn length(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The URL of what was created.
    pub(crate) location: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// One connection.
pub(crate) enum Client {
    One(http1::Connection),
    Two(http2::Connection),
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr, http: Http) -> Self {
        match http {
            Http::One => Self::One(http1::Connection::open(addr)),
            Http::Two(_) => Self::Two(http2::Connection::open(addr)),
        }
    }

    /// Sends a request and waits for its answer, which must be that of success.
    pub(crate) fn ask(&mut self, request: &Request) -> Answer {
        let answer = match self {
            Self::One(connection) => connection.ask(request).unwrap(),
            Self::Two(connection) => connection.ask(request).unwrap(),
        };
        if !matches!(answer.status, 200 | 201 | 204) {
            let body = String::from_utf8_lossy(&answer.body);
            panic!("{} {:?}: {} {body}", request.path, request.headers, answer.status);
        }
        answer
    }
}
