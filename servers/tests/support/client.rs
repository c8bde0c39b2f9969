//! Plain clients of HTTP/1.1 and HTTP/2, whose requests can be cut at any byte.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses some of it, and all of it is tests"
)]

use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::{HeaderMap, Request};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::server::{DEADLINE, connect, until};

/// An answer, whatever the version of HTTP.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, String::from_utf8_lossy(&self.body))
    }
}

impl Reply {
    pub(crate) fn of_status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.as_str())
    }

    pub(crate) fn offset(&self) -> Option<usize> {
        self.header("upload-offset").map(|offset| offset.parse().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What it says, in short.
    pub(crate) fn told(&self) -> (u16, Option<usize>) {
        (self.status, self.offset())
    }
}

/// Reads one answer, which may be an interim one.
pub(crate) fn read_reply(stream: &mut TcpStream, method: &str) -> io::Result<Reply> {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        let read = stream.read_exact(&mut byte);
        read.inspect_err(|error| {
            assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "the server does not answer");
        })?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    let headers = head.lines().filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    let mut reply = Reply { status, headers, body: Vec::new() };
    if method != "HEAD" {
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        reply.body.resize(length, 0);
        stream.read_exact(&mut reply.body)?;
    }
    Ok(reply)
}

/// Reads up to the final answer; gives the interim ones, too.
pub(crate) fn read_all(stream: &mut TcpStream, method: &str) -> io::Result<(Vec<Reply>, Reply)> {
    let mut interim = Vec::new();
    loop {
        match read_reply(stream, method)? {
            reply if reply.status < 200 => interim.push(reply),
            reply => return Ok((interim, reply)),
        }
    }
}

/// The answer to a request on a connection of its own.
pub(crate) fn ask(addr: SocketAddr, method: &str, request: &[u8]) -> Reply {
    try_ask(addr, method, request).unwrap()
}

/// The same from a server that may end.
pub(crate) fn try_ask(addr: SocketAddr, method: &str, request: &[u8]) -> io::Result<Reply> {
    let mut stream = connect(addr)?;
    let written = stream.write_all(request);
    // Also after a failed write: a refusal may be on its way.
    let reply = read_reply(&mut stream, method)?;
    assert!(written.is_ok() || reply.status >= 400, "answered before its end: {reply:?}");
    Ok(reply)
}

/// What ends a request that was cut or whose server goes: an error after which clients go on, or
/// nothing. On return the server has closed the connection.
pub(crate) fn read_end(stream: &mut TcpStream) {
    if let Ok((_, reply)) = read_all(stream, "PATCH") {
        assert_eq!(reply.status, 503, "{reply:?}");
        // A reset is an end, too.
        drop(stream.read_to_end(&mut Vec::new()));
    }
}

/// A client's HTTP/2 connection that knows what it has sent.
pub(crate) struct Http2 {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
    connection: JoinHandle<()>,
    socket: TcpStream,
    sent: Arc<Mutex<Sent>>,
    host: SocketAddr,
}

impl Http2 {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let socket = connect(addr).unwrap();
        let stream = socket.try_clone().unwrap();
        stream.set_nonblocking(true).unwrap();
        let sent = Arc::default();
        let counted = Arc::clone(&sent);
        let (sender, connection) = runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let stream = Counted { stream, sent: counted };
            let (sender, connection) = h2::client::handshake(stream).await.unwrap();
            (sender, tokio::spawn(async move { drop(connection.await) }))
        });
        Self { runtime, sender, connection, socket, sent, host: addr }
    }

    /// Begins a request whose body is still to come.
    pub(crate) fn begin(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Stream {
        let mut request =
            Request::builder().method(method).uri(format!("http://{}{path}", self.host));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        let before = self.sent.lock().unwrap().data;
        let (answer, body) = self.runtime.block_on(async {
            let sender = self.sender.clone();
            sender.ready().await.unwrap().send_request(request, false).unwrap()
        });
        Stream { answer, body, before }
    }

    /// Hands bytes over to the connection, as the server's windows allow. They need not have been
    /// sent on return.
    pub(crate) fn send(&self, stream: &mut Stream, mut bytes: &[u8]) {
        let body = &mut stream.body;
        self.runtime.block_on(async {
            while !bytes.is_empty() {
                body.reserve_capacity(bytes.len());
                while body.capacity() == 0 {
                    poll_fn(|cx| body.poll_capacity(cx)).await.unwrap().unwrap();
                }
                let (now, later) = bytes.split_at(body.capacity().min(bytes.len()));
                body.send_data(Bytes::copy_from_slice(now), false).unwrap();
                bytes = later;
            }
        });
    }

    /// Ends the request, perhaps with trailers.
    pub(crate) fn end(&self, mut stream: Stream, trailers: Option<HeaderMap>) -> Reply {
        match trailers {
            Some(trailers) => stream.body.send_trailers(trailers).unwrap(),
            None => stream.body.send_data(Bytes::new(), true).unwrap(),
        }
        self.answer(stream).unwrap()
    }

    pub(crate) fn answer(&self, stream: Stream) -> Result<Reply, h2::Error> {
        let Stream { mut answer, body: _body, .. } = stream;
        let whole = async {
            let interim = poll_fn(|cx| answer.poll_informational(cx)).await;
            // This server has no way to send them.
            assert!(!matches!(interim, Some(Ok(_))), "{interim:?} over HTTP/2");
            let (parts, mut content) = answer.await?.into_parts();
            let mut body = Vec::new();
            while let Some(bytes) = content.data().await {
                body.extend_from_slice(&bytes?);
            }
            let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                (name.to_string(), value.to_str().unwrap().to_owned())
            };
            let headers = parts.headers.iter().map(text).collect();
            Ok(Reply { status: parts.status.as_u16(), headers, body })
        };
        let whole = async { tokio::time::timeout(DEADLINE, whole).await };
        self.runtime.block_on(whole).unwrap()
    }

    /// Breaks the request off; gives how many bytes of it the server has got.
    pub(crate) fn reset(&self, mut stream: Stream) -> usize {
        let resets = self.sent.lock().unwrap().resets;
        stream.body.send_reset(Reason::CANCEL);
        until("the reset is sent", || self.sent.lock().unwrap().resets > resets);
        self.given(&stream)
    }

    /// Ends the connection, wherever in a frame it is; gives how many bytes of the request the
    /// server has got or will get, and the socket: closing it while there is something to read
    /// would reset it, and its last bytes would be lost.
    pub(crate) fn cut(self, stream: &Stream) -> (usize, TcpStream) {
        self.connection.abort();
        // It was cancelled, unless it had ended already.
        drop(self.runtime.block_on(self.connection));
        self.socket.shutdown(Shutdown::Write).unwrap();
        let given = self.sent.lock().unwrap().data - stream.before;
        (given, self.socket)
    }

    /// Waits until so many bytes of the request have been sent.
    pub(crate) fn sends(&self, stream: &Stream, bytes: usize) {
        until("it is sent", || self.given(stream) >= bytes);
    }

    fn given(&self, stream: &Stream) -> usize {
        self.sent.lock().unwrap().data - stream.before
    }
}

/// One request over HTTP/2. There is only one at a time on a connection.
pub(crate) struct Stream {
    answer: ResponseFuture,
    body: SendStream<Bytes>,
    before: usize,
}

/// What of an HTTP/2 connection's frames has been written.
#[derive(Debug)]
struct Sent {
    /// How many bytes of whole DATA frames.
    data: usize,
    resets: usize,
    header: Vec<u8>,
    kind: u8,
    length: usize,
    /// How much is missing of the current frame.
    left: usize,
}

impl Default for Sent {
    fn default() -> Self {
        let kind = PREFACE;
        Self { data: 0, resets: 0, header: Vec::new(), kind, length: 24, left: 24 }
    }
}

impl Sent {
    fn add(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let now = self.left.min(bytes.len());
                self.left -= now;
                bytes = &bytes[now..];
                self.end_frame();
                continue;
            }
            self.header.push(*first);
            bytes = rest;
            if let [a, b, c, kind, _, _, _, _, _] = self.header[..] {
                self.header.clear();
                self.length = u32::from_be_bytes([0, a, b, c]) as usize;
                (self.kind, self.left) = (kind, self.length);
                self.end_frame();
            }
        }
    }

    fn end_frame(&mut self) {
        match (self.left, self.kind) {
            (0, DATA) => self.data += self.length,
            (0, RST_STREAM) => self.resets += 1,
            _ => {}
        }
    }
}

struct Counted {
    stream: tokio::net::TcpStream,
    sent: Arc<Mutex<Sent>>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = written {
            self.sent.lock().unwrap().add(&bytes[..written]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
/// No kind of frame.
const PREFACE: u8 = 255;
