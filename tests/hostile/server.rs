//! A server in this process, and a client that reads what its socket brings.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tower::{Layer, service_fn};
use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload};

use crate::support::{content, md5};

/// What is said of a file that is not what it was said to be.
pub(crate) const BROKEN: &str = "broken";
/// Somebody waits longer for no answer only if none ever comes.
const NEVER: Duration = Duration::from_secs(60);

/// hyper, with the layer around an application that reads each file, as in `examples/hyper.rs`.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    accepting: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(layer: ChunkedUploadLayer, head_timeout: Duration) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let application = service_fn(move |request| application(Arc::clone(&log), request));
        let service = TowerToHyperService::new(layer.layer(application));
        let mut server = auto::Builder::new(TokioExecutor::new());
        server.http1().timer(TokioTimer::new()).header_read_timeout(head_timeout);
        server.http2().timer(TokioTimer::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let connection = server.serve_connection(TokioIo::new(stream), service.clone());
                let connection = connection.into_owned();
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        Self { addr, asked, accepting }
    }

    /// What reached the application: paths, and `id length whole` of files.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection { stream: TcpStream::connect(self.addr).await.unwrap(), read: Vec::new() }
    }

    /// The answer to an honest request on a connection of its own.
    pub(crate) async fn ask(&self, request: &[u8]) -> Answer {
        let mut connection = self.connect().await;
        connection.send(request).await;
        connection.answer().await.expect("an answer")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn application<B>(
    asked: Arc<Mutex<Vec<String>>>,
    request: Request<B>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let upload = request.extensions().get::<CompletedUpload>().cloned();
    let text = match upload {
        None => request.uri().to_string(),
        Some(upload) => {
            let content = content(&upload).await;
            let digest = upload.digest().map(|digest| digest.to_hex());
            let is_whole = content.len() as u64 == upload.size() && digest == Some(md5(&content));
            let word = if is_whole { "whole" } else { BROKEN };
            format!("{} {} {word}", upload.id().as_str(), content.len())
        }
    };
    asked.lock().unwrap().push(text.clone());
    Ok(Response::new(Full::from(text)))
}

/// An answer of HTTP/1.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether it says that it is the connection's last.
    pub(crate) is_last: bool,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first answer in the bytes, but for those that only say to go on, and where it ends.
    fn first_in(bytes: &[u8]) -> Option<(Self, usize)> {
        let blank = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&bytes[..blank]).expect("an answer's head is text");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status.and_then(|status| status.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("no answer: {head}"));
        if status < 200 {
            let (answer, end) = Self::first_in(&bytes[blank..])?;
            return Some((answer, blank + end));
        }
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse().expect("a length"))
        });
        let end = blank + length.unwrap_or(0);
        let body = bytes.get(blank..end)?.to_vec();
        let is_last = head.to_ascii_lowercase().contains("\r\nconnection: close\r\n");
        Some((Self { status, is_last, body }, end))
    }
}

/// A connection on which nothing is right.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    /// Sends the bytes; the server need not read them.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let sent = self.stream.write_all(bytes);
        drop(tokio::time::timeout(NEVER, sent).await.expect("nobody reads, nobody closes"));
    }

    /// Says that nothing more comes.
    pub(crate) async fn close(&mut self) {
        drop(self.stream.shutdown().await);
    }

    /// The next answer; `None` if the connection ends before one.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        loop {
            if let Some((answer, end)) = Answer::first_in(&self.read) {
                self.read.drain(..end);
                return Some(answer);
            }
            let read = tokio::time::timeout(NEVER, self.stream.read_buf(&mut self.read));
            match read.await.expect("neither an answer nor an end comes") {
                Ok(read) if read > 0 => {}
                _ => return None,
            }
        }
    }

    /// What is answered until the connection ends.
    pub(crate) async fn answers(mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        self.close().await;
        while let Some(answer) = self.answer().await {
            answers.push(answer);
        }
        answers
    }
}
