//! The examples as they run: each one's program, on a port of its own, over real sockets.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/ports.rs"]
mod ports;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use md5::{Digest, Md5};
use ports::free_ports;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const CHUNK: &str = "/api/chunked_upload";
const COMPLETE: &str = "/api/chunked_upload_complete";
const CHUNK_SIZE: usize = 300_000;
/// More than any of the servers takes.
const TOO_LARGE: u64 = 1 << 50;
/// What comes with a chunk that is refused: more than sockets and windows hold on the way.
const REFUSED: usize = 8 << 20;

/// An example's program, ended with this value.
struct Server {
    child: Child,
    addr: SocketAddr,
    folder: TempDir,
    // What it prints has to go somewhere.
    _printed: BufReader<ChildStdout>,
}

impl Server {
    async fn start(name: &str) -> Self {
        Self::start_with(name, &[]).await
    }

    async fn start_with(name: &str, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(example(name))
            .env("ADDR", "127.0.0.1:0")
            .env("UPLOADS", folder.path().join("uploads/%Y"))
            .env("MEDIA", folder.path().join("media"))
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{error}: `cargo build --workspace --examples` makes {name}")
            });
        let mut printed = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        soon(printed.read_line(&mut line)).await.unwrap();
        let (_, addr) = line.trim_end().split_once("http://").expect("it prints its address");
        Self { child, addr: addr.parse().unwrap(), folder, _printed: printed }
    }

    /// The one finished file of that id.
    fn kept(&self, id: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(format!("media/{id}-data.bin"))).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.try_into().unwrap()));
        kill_process(pid.expect("it has ended already"), signal).unwrap();
    }

    async fn ends_in_order(mut self) {
        assert_eq!(soon(self.child.wait()).await.unwrap().code(), Some(0));
    }
}

/// `target/<profile>/examples/NAME`, beside `target/<profile>/deps` with this test.
fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let profile = own.parent().and_then(Path::parent).unwrap();
    profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Version {
    Http1,
    Http2,
}

type AnyBody = UnsyncBoxBody<Bytes, Infallible>;

/// One connection.
struct Client {
    addr: SocketAddr,
    sender: Sender,
}

enum Sender {
    Http1(http1::SendRequest<AnyBody>),
    Http2(http2::SendRequest<AnyBody>),
}

impl Client {
    async fn connect(addr: SocketAddr, version: Version) -> Self {
        let io = TokioIo::new(TcpStream::connect(addr).await.unwrap());
        let sender = match version {
            Version::Http1 => {
                let (sender, connection) = http1::handshake(io).await.unwrap();
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            Version::Http2 => {
                let handshake = http2::handshake(TokioExecutor::new(), io);
                let (sender, connection) = handshake.await.unwrap();
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        };
        Self { addr, sender }
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        match self.sender {
            Sender::Http1(_) => {
                Request::builder().uri(path).header(header::HOST, self.addr.to_string())
            }
            Sender::Http2(_) => Request::builder().uri(format!("http://{}{path}", self.addr)),
        }
        .method(method)
    }

    async fn send<B>(&mut self, request: Request<B>) -> (StatusCode, Bytes)
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let response = self.response(request).await;
        (response.status(), soon(response.into_body().collect()).await.unwrap().to_bytes())
    }

    async fn response<B>(&mut self, request: Request<B>) -> Response<hyper::body::Incoming>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let request = request.map(BodyExt::boxed_unsync);
        match &mut self.sender {
            Sender::Http1(sender) => {
                soon(sender.ready()).await.unwrap();
                soon(sender.send_request(request)).await.unwrap()
            }
            Sender::Http2(sender) => {
                soon(sender.ready()).await.unwrap();
                soon(sender.send_request(request)).await.unwrap()
            }
        }
    }

    async fn get(&mut self, path: &str) -> Response<hyper::body::Incoming> {
        let request = self.request(Method::GET, path).body(Full::<Bytes>::default()).unwrap();
        self.response(request).await
    }

    /// Sends the whole file, each second chunk as a form.
    async fn upload(&mut self, data: &[u8]) -> String {
        let mut id = String::new();
        for (number, chunk) in data.chunks(CHUNK_SIZE).enumerate() {
            let start = number * CHUNK_SIZE;
            let range = format!("bytes {start}-{}/{}", start + chunk.len() - 1, data.len());
            let request = if number % 2 == 0 {
                let path = if id.is_empty() {
                    CHUNK.to_owned()
                } else {
                    format!("{CHUNK}?upload_id={id}")
                };
                self.request(Method::POST, &path)
                    .header(header::CONTENT_DISPOSITION, "attachment; filename=\"data.bin\"")
                    .header(header::CONTENT_RANGE, range)
                    .body(Full::from(chunk.to_vec()))
            } else {
                self.request(Method::POST, CHUNK)
                    .header(header::CONTENT_TYPE, "multipart/form-data; boundary=XX")
                    .header(header::CONTENT_RANGE, range)
                    .body(Full::from(form(&id, chunk)))
            };
            let (status, answer) = self.send(request.unwrap()).await;
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!((status, &answer["offset"]), (StatusCode::OK, &json!(start + chunk.len())));
            id = answer["upload_id"].as_str().unwrap().to_owned();
        }
        id
    }

    async fn complete(&mut self, path: &str, id: &str, data: &[u8]) {
        let request = self
            .request(Method::POST, path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::<Bytes>::from(format!("upload_id={id}&md5={}", md5_of(data))))
            .unwrap();
        let (status, answer) = self.send(request).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!((&answer["saved"], &answer["size"]), (&json!("data.bin"), &json!(data.len())));
    }
}

fn form(id: &str, chunk: &[u8]) -> Vec<u8> {
    let head = format!(
        "--XX\r\nContent-Disposition: form-data; name=\"upload_id\"\r\n\r\n{id}\r\n--XX\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"data.bin\"\r\n\r\n"
    );
    [head.as_bytes(), chunk, b"\r\n--XX--\r\n"].concat()
}

fn md5_of(data: &[u8]) -> String {
    Md5::digest(data).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of which no part is like another.
fn data(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(4 * CHUNK_SIZE + 12_345).collect()
}

/// A hang is a failure, not a test that never ends.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it hangs")
}

async fn takes_a_file(server: &Server, version: Version) {
    let data = data(server.addr.port().into());
    let mut client = Client::connect(server.addr, version).await;
    // Clients of django-chunked-upload end the path with a slash.
    for path in [COMPLETE.to_owned(), format!("{COMPLETE}/")] {
        let id = client.upload(&data).await;
        client.complete(&path, &id, &data).await;
        assert!(server.kept(&id) == data, "the file is another one");
    }
}

mod files {
    use super::*;

    #[tokio::test]
    async fn are_taken_by_axum() {
        takes_a_file(&Server::start("axum").await, Version::Http1).await;
    }

    #[tokio::test]
    async fn are_taken_by_hyper_over_either_version_on_one_port() {
        let server = Server::start("hyper").await;
        tokio::join!(takes_a_file(&server, Version::Http1), takes_a_file(&server, Version::Http2));
    }

    #[tokio::test]
    async fn are_taken_by_tonic_over_either_version_on_one_port() {
        let server = Server::start("tonic").await;
        tokio::join!(takes_a_file(&server, Version::Http1), takes_a_file(&server, Version::Http2));
    }
}

mod other_paths {
    use super::*;

    #[tokio::test]
    async fn reach_the_page_of_axum() {
        let server = Server::start("axum").await;
        let mut client = Client::connect(server.addr, Version::Http1).await;
        let page = client.get("/").await;
        assert_eq!(page.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let uppy = client.get("/uppy").await;
        assert_eq!(uppy.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(client.get("/nowhere").await.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn reach_the_function_behind_hyper() {
        let server = Server::start("hyper").await;
        for version in [Version::Http1, Version::Http2] {
            let mut client = Client::connect(server.addr, version).await;
            let request = client.request(Method::GET, "/nowhere");
            let (status, text) = client.send(request.body(Full::default()).unwrap()).await;
            assert_eq!(status, StatusCode::NOT_FOUND);
            assert_eq!(text, "there is nothing here but uploads\n");
        }
    }

    #[tokio::test]
    async fn reach_the_grpc_router_of_tonic() {
        let server = Server::start("tonic").await;
        let mut client = Client::connect(server.addr, Version::Http2).await;
        let answer = client.get("/no.such.Service/Method").await;
        // "Unimplemented", as gRPC says it.
        assert_eq!(answer.headers()["grpc-status"], "12");
    }
}

mod calls {
    use super::*;

    async fn is_serving(client: &mut HealthClient<tonic::transport::Channel>) -> bool {
        let answer = soon(client.check(HealthCheckRequest::default())).await.unwrap();
        answer.into_inner().status() == ServingStatus::Serving
    }

    #[tokio::test]
    async fn go_through_before_during_and_after_an_upload() {
        let server = Server::start("tonic").await;
        let endpoint = Endpoint::from_shared(format!("http://{}", server.addr)).unwrap();
        let mut health = HealthClient::new(soon(endpoint.connect()).await.unwrap());
        assert!(is_serving(&mut health).await);

        let data = data(1);
        let size = data.len();
        let mut raw = Raw::connect(server.addr).await;
        raw.begin(&data).await;
        assert!(is_serving(&mut health).await);
        raw.write(&data[..size / 2]).await;
        assert!(is_serving(&mut health).await);
        raw.write(&data[size / 2..]).await;
        let (status, answer) = raw.answer().await;
        assert_eq!(status, StatusCode::OK, "{answer}");

        let id = answer["upload_id"].as_str().unwrap();
        let mut client = Client::connect(server.addr, Version::Http2).await;
        client.complete(COMPLETE, id, &data).await;
        assert!(server.kept(id) == data, "the file is another one");
        assert!(is_serving(&mut health).await);
    }
}

/// A connection that writes when the test says so.
struct Raw(BufReader<TcpStream>);

impl Raw {
    async fn connect(addr: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(addr).await.unwrap()))
    }

    async fn write(&mut self, bytes: &[u8]) {
        soon(self.0.get_mut().write_all(bytes)).await.unwrap();
    }

    /// Begins a chunk that is all of `data`: the server is at work on it, and asks for the body.
    async fn begin(&mut self, data: &[u8]) {
        let size = data.len();
        let head = format!(
            "POST {CHUNK} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\
             Content-Disposition: attachment; filename=\"data.bin\"\r\n\
             Content-Range: bytes 0-{}/{size}\r\nContent-Length: {size}\r\n\r\n",
            size - 1
        );
        self.write(head.as_bytes()).await;
        assert_eq!(self.head().await.0, StatusCode::CONTINUE);
    }

    /// The status of the next answer and the length of its body.
    async fn head(&mut self) -> (StatusCode, usize) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(
                soon(self.0.read_line(&mut head)).await.unwrap(),
                0,
                "closed after {head:?}"
            );
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut lengths = head.lines().filter_map(|line| line.strip_prefix("content-length: "));
        (status, lengths.next().map_or(0, |length| length.parse().unwrap()))
    }

    async fn answer(&mut self) -> (StatusCode, Value) {
        let (status, length) = self.head().await;
        let mut body = vec![0; length];
        soon(self.0.read_exact(&mut body)).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }
}

mod refusals {
    use super::*;

    fn is_refusal((status, answer): (StatusCode, Value)) -> bool {
        status == StatusCode::BAD_REQUEST && answer["code"] == "too-large"
    }

    /// The answer is there when half of the body is not; and when that has come too, the next
    /// request on the connection is answered.
    async fn arrive_over_http1(name: &str) {
        let server = Server::start(name).await;
        let mut raw = Raw::connect(server.addr).await;
        raw.write(
            format!(
                "POST {CHUNK} HTTP/1.1\r\nHost: x\r\n\
                 Content-Disposition: attachment; filename=\"data.bin\"\r\n\
                 Content-Range: bytes 0-{}/{TOO_LARGE}\r\nContent-Length: {REFUSED}\r\n\r\n",
                REFUSED - 1
            )
            .as_bytes(),
        )
        .await;
        raw.write(&vec![7; REFUSED / 2]).await;
        assert!(is_refusal(raw.answer().await));
        raw.write(&vec![7; REFUSED / 2]).await;
        for _ in 0..2 {
            raw.write(format!("DELETE {COMPLETE} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
            assert_eq!(raw.answer().await.0, StatusCode::METHOD_NOT_ALLOWED);
        }
    }

    /// A client that says that it waits to be asked, and does not: Python's and Node's do so.
    async fn arrive_though_nobody_waited_to_be_asked(name: &str) {
        let server = Server::start(name).await;
        let mut raw = Raw::connect(server.addr).await;
        raw.write(
            format!(
                "POST {CHUNK} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\
                 Content-Disposition: attachment; filename=\"data.bin\"\r\n\
                 Content-Range: bytes 0-{}/{TOO_LARGE}\r\nContent-Length: {REFUSED}\r\n\r\n",
                REFUSED - 1
            )
            .as_bytes(),
        )
        .await;
        raw.write(&vec![7; REFUSED]).await;
        let mut answer = String::new();
        // The connection ends in order behind it.
        soon(raw.0.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert!(answer.contains("Size of file exceeds the limit"), "{answer}");
    }

    /// The same on a stream of HTTP/2.
    async fn arrive_over_http2(name: &str) {
        for expects in [false, true] {
            arrive_on_a_stream(name, expects).await;
        }
    }

    async fn arrive_on_a_stream(name: &str, expects: bool) {
        let server = Server::start(name).await;
        let mut client = Client::connect(server.addr, Version::Http2).await;
        let (feed, body) = mpsc::channel(1);
        let mut request = client
            .request(Method::POST, CHUNK)
            .header(header::CONTENT_DISPOSITION, "attachment; filename=\"data.bin\"")
            .header(header::CONTENT_RANGE, format!("bytes 0-{}/{TOO_LARGE}", REFUSED - 1))
            .header(header::CONTENT_LENGTH, REFUSED)
            .body(Fed(body))
            .unwrap();
        if expects {
            request.headers_mut().insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        }
        let piece = Bytes::from(vec![7; 64 * 1024]);
        feed.send(piece.clone()).await.unwrap();
        let (status, answer) = client.send(request).await;
        assert!(is_refusal((status, serde_json::from_slice(&answer).unwrap())));
        for _ in 1..REFUSED / piece.len() {
            soon(feed.send(piece.clone())).await.expect("the stream was reset");
        }
        // The client takes no more than the server lets it.
        soon(feed.reserve()).await.map(drop).expect("the stream was reset");
        drop(feed);
        let request = client.request(Method::DELETE, COMPLETE).body(Full::default()).unwrap();
        assert_eq!(client.send(request).await.0, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn of_axum_arrive_during_the_body_and_keep_the_connection() {
        arrive_over_http1("axum").await;
    }

    #[tokio::test]
    async fn of_hyper_arrive_during_the_body_and_keep_the_connection() {
        arrive_over_http1("hyper").await;
    }

    #[tokio::test]
    async fn of_tonic_arrive_during_the_body_and_keep_the_connection() {
        arrive_over_http1("tonic").await;
    }

    #[tokio::test]
    async fn of_axum_arrive_though_nobody_waited_to_be_asked() {
        arrive_though_nobody_waited_to_be_asked("axum").await;
    }

    #[tokio::test]
    async fn of_hyper_arrive_though_nobody_waited_to_be_asked() {
        arrive_though_nobody_waited_to_be_asked("hyper").await;
    }

    #[tokio::test]
    async fn of_tonic_arrive_though_nobody_waited_to_be_asked() {
        arrive_though_nobody_waited_to_be_asked("tonic").await;
    }

    #[tokio::test]
    async fn of_hyper_arrive_during_the_body_over_http2() {
        arrive_over_http2("hyper").await;
    }

    #[tokio::test]
    async fn of_tonic_arrive_during_the_body_over_http2() {
        arrive_over_http2("tonic").await;
    }

    /// A body of what is sent to it.
    struct Fed(mpsc::Receiver<Bytes>);

    impl Body for Fed {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
        }
    }
}

mod silence {
    use super::*;

    const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    /// An empty frame of settings: with it a client of HTTP/2 has begun.
    const SETTINGS: &str = "\0\0\0\x04\0\0\0\0\0";
    const REQUEST: &str = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n";
    /// tonic has its own time for these, which is long.
    const HTTP1: [&str; 5] = [
        "G",
        "PRI * HTTP/1",
        "POST /api/chunked_upload HTTP/1.1\r\nHost: x\r\n",
        REQUEST,
        "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\nGET /",
    ];

    /// Each of these is all that a client says.
    async fn is_ended(addr: SocketAddr, beginnings: &[&str]) {
        let preface = [PREFACE, SETTINGS].concat();
        let beginnings = ["", "P", &PREFACE[..20], PREFACE, &preface]
            .into_iter()
            .chain(beginnings.iter().copied());
        // All are silent at the same time.
        let mut connections = Vec::new();
        for beginning in beginnings {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            soon(stream.write_all(beginning.as_bytes())).await.unwrap();
            connections.push((beginning.to_owned(), stream));
        }
        for (beginning, mut stream) in connections {
            // What has not been read by then makes it a reset.
            let ended = async { drop(stream.read_to_end(&mut Vec::new()).await) };
            let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
            assert!(ended.is_ok(), "{beginning:?} is not ended");
        }
    }

    async fn is_ended_by(name: &str, beginnings: &[&str]) {
        let server = Server::start_with(name, &[("HEAD_TIMEOUT", "1")]).await;
        is_ended(server.addr, beginnings).await;
    }

    #[tokio::test]
    async fn is_ended_by_axum() {
        is_ended_by("axum", &HTTP1).await;
    }

    #[tokio::test]
    async fn is_ended_by_cross_origin() {
        is_ended_by("cross_origin", &HTTP1).await;
    }

    #[tokio::test]
    async fn is_ended_by_hyper() {
        is_ended_by("hyper", &HTTP1).await;
    }

    #[tokio::test]
    async fn is_ended_by_tonic() {
        is_ended_by("tonic", &[]).await;
    }

    #[tokio::test]
    async fn is_ended_by_wire() {
        is_ended(Wire::start("1").await.addr, &HTTP1).await;
    }

    /// A client that says nothing more, but is there and answers, is let be.
    #[tokio::test]
    async fn of_a_client_of_http2_that_is_there_is_not_ended() {
        for name in ["hyper", "tonic"] {
            let server = Server::start_with(name, &[("HEAD_TIMEOUT", "3")]).await;
            let mut client = Client::connect(server.addr, Version::Http2).await;
            client.get("/nowhere").await;
            // By the time that this one is ended, the other would have been.
            let mut silent = TcpStream::connect(server.addr).await.unwrap();
            soon(silent.write_all(PREFACE.as_bytes())).await.unwrap();
            drop(soon(silent.read_to_end(&mut Vec::new())).await);
            client.get("/nowhere").await;
        }
    }

    /// The bytes of a slow body are words enough.
    #[tokio::test]
    async fn before_a_slow_body_ends_nothing() {
        let server = Server::start_with("hyper", &[("HEAD_TIMEOUT", "5")]).await;
        let data = data(3);
        let mut raw = Raw::connect(server.addr).await;
        raw.begin(&data).await;
        raw.write(&data[..1000]).await;
        let mut silent = TcpStream::connect(server.addr).await.unwrap();
        drop(soon(silent.read_to_end(&mut Vec::new())).await);
        raw.write(&data[1000..]).await;
        assert_eq!(raw.answer().await.0, StatusCode::OK);
    }
}

mod half_closed {
    use super::*;

    /// What a client has sent before it ends its sending is carried out, and answered.
    async fn requests_are_answered(addr: SocketAddr) {
        let whole = b"all of it";
        let head = format!(
            "POST {CHUNK} HTTP/1.1\r\nHost: x\r\n\
             Content-Disposition: attachment; filename=\"data.bin\"\r\n\
             Content-Range: bytes 0-8/9\r\nContent-Length: 9\r\n\r\n"
        );
        let (status, answer) = answer_to(addr, &[head.as_bytes(), whole].concat()).await;
        assert_eq!((status, &answer["offset"]), (StatusCode::OK, &json!(9)));
        let id = answer["upload_id"].as_str().unwrap();
        let body = format!("upload_id={id}&md5={}", md5_of(whole));
        let completion = format!(
            "POST {COMPLETE} HTTP/1.1\r\nHost: x\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, answer) = answer_to(addr, completion.as_bytes()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    async fn answer_to(addr: SocketAddr, request: &[u8]) -> (StatusCode, Value) {
        let mut raw = Raw::connect(addr).await;
        raw.write(request).await;
        soon(raw.0.get_mut().shutdown()).await.unwrap();
        let answer = raw.answer().await;
        assert_eq!(soon(raw.0.read_to_end(&mut Vec::new())).await.unwrap(), 0);
        answer
    }

    #[tokio::test]
    async fn connections_of_axum_are_answered() {
        requests_are_answered(Server::start("axum").await.addr).await;
    }

    #[tokio::test]
    async fn connections_of_hyper_are_answered() {
        requests_are_answered(Server::start("hyper").await.addr).await;
    }

    #[tokio::test]
    async fn connections_of_wire_are_answered() {
        requests_are_answered(Wire::start("10").await.addr).await;
    }
}

/// The example `wire`, which prints nothing and has settings of its own names.
struct Wire {
    addr: SocketAddr,
    _child: Child,
    _folder: TempDir,
}

impl Wire {
    async fn start(head_seconds: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let addr = SocketAddr::from(([127, 0, 0, 1], free_ports(1)));
        let child = Command::new(example("wire"))
            .env("WIRE_ADDR", addr.to_string())
            .env("WIRE_DATA", folder.path())
            .env("WIRE_HEAD_SECONDS", head_seconds)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{error}: `cargo build -p servers --examples` makes wire")
            });
        soon(async { while TcpStream::connect(addr).await.is_err() {} }).await;
        Self { addr, _child: child, _folder: folder }
    }
}

mod termination {
    use super::*;

    /// With connections that are open and idle.
    async fn is_in_order(name: &str) {
        let server = Server::start(name).await;
        let mut one = Client::connect(server.addr, Version::Http1).await;
        let mut two = Client::connect(server.addr, Version::Http2).await;
        one.get("/").await;
        two.get("/").await;
        server.signal(Signal::TERM);
        server.ends_in_order().await;
    }

    /// A chunk that has begun is taken to its end, when nobody can connect any more.
    async fn waits_for_a_chunk(name: &str, signal: Signal) {
        let server = Server::start(name).await;
        let data = data(2);
        let mut raw = Raw::connect(server.addr).await;
        raw.begin(&data).await;
        // The server does not wait for long.
        let (most, last) = data.split_at(data.len() - 1);
        raw.write(most).await;
        server.signal(signal);
        soon(async { while TcpStream::connect(server.addr).await.is_ok() {} }).await;
        raw.write(last).await;
        let (status, answer) = raw.answer().await;
        assert_eq!((status, &answer["offset"]), (StatusCode::OK, &json!(data.len())));
        server.ends_in_order().await;
    }

    #[tokio::test]
    async fn of_axum_waits_for_a_chunk() {
        waits_for_a_chunk("axum", Signal::INT).await;
    }

    #[tokio::test]
    async fn of_hyper_waits_for_a_chunk() {
        waits_for_a_chunk("hyper", Signal::TERM).await;
    }

    #[tokio::test]
    async fn of_tonic_waits_for_a_chunk() {
        waits_for_a_chunk("tonic", Signal::INT).await;
    }

    #[tokio::test]
    async fn of_hyper_is_in_order() {
        is_in_order("hyper").await;
    }

    #[tokio::test]
    async fn of_tonic_is_in_order() {
        is_in_order("tonic").await;
    }
}
