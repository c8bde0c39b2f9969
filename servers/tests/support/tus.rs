//! Clients of tus on plain sockets, whose requests can be cut at any byte.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses some of it, and all of it is tests"
)]

use std::fs;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::server::{DEADLINE, Plan, Server, World, connect, request, until, until_or};

pub(crate) const BYTES: &str = "application/offset+octet-stream";

/// An answer, whatever the version of HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    /// Of HTTP/1.1.
    pub(crate) body: Vec<u8>,
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

    /// What it says, in short.
    pub(crate) fn told(&self) -> (u16, Option<usize>) {
        (self.status, self.offset())
    }
}

/// A whole request of this version of tus; each header is a line with its end.
pub(crate) fn tus(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    request(method, path, &format!("Tus-Resumable: 1.0.0\r\n{headers}"), body)
}

pub(crate) fn patch_headers(at: usize) -> String {
    format!("Content-Type: {BYTES}\r\nUpload-Offset: {at}\r\n")
}

/// The head of a request that brings bytes, up to its empty line. `framing` says how long it is.
pub(crate) fn patch_head(path: &str, at: usize, framing: &str) -> String {
    let headers = patch_headers(at);
    format!("PATCH {path} HTTP/1.1\r\nHost: here\r\nTus-Resumable: 1.0.0\r\n{headers}{framing}\r\n")
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
    if let Ok(reply) = read_reply(stream, "PATCH") {
        assert_eq!(reply.status, 503, "{reply:?}");
        // A reset is an end, too.
        drop(stream.read_to_end(&mut Vec::new()));
    }
}

/// An upload as its client knows it.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) addr: SocketAddr,
    pub(crate) path: String,
    pub(crate) plan: Plan,
    /// The most that any answer has told. It never falls.
    pub(crate) shown: usize,
    /// The most that the server can have been given.
    pub(crate) sent: usize,
}

impl Upload {
    pub(crate) fn create(addr: SocketAddr, plan: Plan) -> Self {
        Self::create_with(addr, plan, "")
    }

    pub(crate) fn create_with(addr: SocketAddr, plan: Plan, headers: &str) -> Self {
        let headers = format!("Upload-Length: {}\r\n{headers}", plan.content.len());
        let reply = ask(addr, "POST", &tus("POST", "/files", &headers, b""));
        assert_eq!(reply.status, 201, "{reply:?}");
        let path = reply.header("location").unwrap().to_owned();
        Self { addr, path, plan, shown: 0, sent: 0 }
    }

    pub(crate) fn id(&self) -> &str {
        self.path.rsplit('/').next().unwrap()
    }

    pub(crate) fn total(&self) -> usize {
        self.plan.content.len()
    }

    /// What `HEAD` answers.
    pub(crate) fn head(&self) -> Reply {
        ask(self.addr, "HEAD", &tus("HEAD", &self.path, "", b""))
    }

    /// Where `HEAD` shows it.
    pub(crate) fn offset(&mut self) -> usize {
        let reply = self.head();
        self.showed(&reply)
    }

    pub(crate) fn showed(&mut self, reply: &Reply) -> usize {
        assert_eq!(reply.status, 200, "{reply:?}");
        let total = self.total().to_string();
        assert_eq!(reply.header("upload-length"), Some(total.as_str()), "{reply:?}");
        let offset = reply.offset().unwrap();
        assert!(offset >= self.shown, "{} was told, now it is {offset}", self.shown);
        self.shown = offset;
        offset
    }

    /// After a restart a look at what was cut short may hold the upload for a moment.
    pub(crate) fn offset_when_free(&mut self) -> usize {
        let mut reply = self.head();
        until("nobody holds it", || {
            reply = self.head();
            reply.status != 423
        });
        self.showed(&reply)
    }

    /// Waits until `HEAD` shows that it has all that was given, and not more.
    pub(crate) fn shows(&mut self, given: usize) {
        let request = tus("HEAD", &self.path, "", b"");
        let mut stream = connect(self.addr).unwrap();
        until_or("all that was given is there", || {
            stream.write_all(&request).unwrap();
            let reply = read_reply(&mut stream, "HEAD").unwrap();
            let offset = self.showed(&reply);
            assert!(offset <= given, "{offset} of {given} bytes");
            if offset == given { Ok(()) } else { Err((offset, given)) }
        });
    }

    /// A whole request with bytes of this range.
    pub(crate) fn patch(&mut self, range: Range<usize>, headers: &str) -> Reply {
        let all = patch_headers(range.start) + headers;
        self.sent = self.sent.max(range.end);
        let request = tus("PATCH", &self.path, &all, &self.plan.content[range]);
        let reply = ask(self.addr, "PATCH", &request);
        if reply.status == 204 {
            self.took(&reply);
        }
        reply
    }

    /// Bytes were taken.
    pub(crate) fn took(&mut self, reply: &Reply) {
        assert_eq!(reply.status, 204, "{reply:?}");
        let offset = reply.offset().unwrap();
        assert!(offset >= self.shown, "{} was told, now it is {offset}", self.shown);
        self.shown = offset;
    }

    /// Begins a request for all that is missing, of which none is sent yet.
    pub(crate) fn begin_patch(&self, framing: &str) -> TcpStream {
        let mut stream = connect(self.addr).unwrap();
        let head = patch_head(&self.path, self.shown, framing);
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    /// The header that says how much is missing.
    pub(crate) fn length(&self) -> String {
        format!("Content-Length: {}\r\n", self.total() - self.shown)
    }

    /// Sends what is missing, and looks at the file that was delivered.
    pub(crate) fn finish(&mut self, world: &World) {
        let (at, total) = (self.offset_when_free(), self.total());
        assert_eq!(self.patch(at..total, "").told(), (204, Some(total)));
        self.is_delivered(world, 1..=1);
    }

    /// The application has the file, and has got it so often.
    pub(crate) fn is_delivered(&mut self, world: &World, times: std::ops::RangeInclusive<u64>) {
        assert_eq!(self.offset(), self.total());
        let file = fs::read(world.final_of(self.id())).unwrap();
        assert!(file == self.plan.content, "{} is another file", self.path);
        let deliveries = world.deliveries(self.id());
        assert!(times.contains(&deliveries), "delivered {deliveries} times");
    }

    /// What was told to be there is in the server's folder.
    pub(crate) fn is_kept(&self, world: &World) {
        let kept = world.part_of(self.id()).map_or(Vec::new(), |part| fs::read(part).unwrap());
        assert!(kept.get(..self.shown) == Some(&self.plan.content[..self.shown]), "{}", self.path);
    }

    pub(crate) fn delete(&self) -> Reply {
        ask(self.addr, "DELETE", &tus("DELETE", &self.path, "", b""))
    }

    /// Whether a request has it: the server has its bytes open, and not only to read them.
    pub(crate) fn is_held_by(&self, server: &Server) -> bool {
        let name = format!("{}.part", self.id());
        let process = PathBuf::from(format!("/proc/{}", server.pid()));
        let open = fs::read_dir(process.join("fd")).unwrap();
        // They come and go.
        open.flatten().any(|open| {
            fs::read_link(open.path()).is_ok_and(|target| target.ends_with(&name))
                && fs::read_to_string(process.join("fdinfo").join(open.file_name()))
                    .is_ok_and(|info| is_writable(&info))
        })
    }
}

/// Whether a descriptor is, by what the kernel tells of it: the last digit of its flags is 0 if not.
fn is_writable(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.is_some_and(|flags| !flags.ends_with('0'))
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

    /// Begins a request with bytes for that place.
    pub(crate) fn begin_patch(&self, path: &str, at: usize, headers: &[(&str, &str)]) -> Stream {
        let mut request = Request::patch(format!("http://{}{path}", self.host))
            .header("tus-resumable", "1.0.0")
            .header("content-type", BYTES)
            .header("upload-offset", at);
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

    /// A whole request.
    pub(crate) fn patch(&self, path: &str, at: usize, bytes: &[u8]) -> Reply {
        let mut stream = self.begin_patch(path, at, &[]);
        self.send(&mut stream, bytes);
        self.end(stream, None)
    }

    pub(crate) fn answer(&self, stream: Stream) -> Result<Reply, h2::Error> {
        let answer = async { tokio::time::timeout(DEADLINE, stream.answer).await };
        let answer = self.runtime.block_on(answer).unwrap()?;
        let headers = answer.headers().iter();
        let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        let (status, headers) = (answer.status().as_u16(), headers.map(text).collect());
        Ok(Reply { status, headers, body: Vec::new() })
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
