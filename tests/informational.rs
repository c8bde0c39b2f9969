//! Informational responses over real sockets, with hyper and with `axum::serve`.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Extension, Request};
use axum::routing::{get, post};
use axum::{Router, ServiceExt};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tower::Service;
use tower_chunked_upload::informational::{
    Http1, Http1Listener, Http1Make, Informational, NotSent,
};
use tower_chunked_upload::store::MemoryStore;
use tower_chunked_upload::{ChunkedUploadLayer, Uploads};

const HEAD_104: &str = "HTTP/1.1 104 Upload Resumption Supported\r\n";
const POST: &str = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n";

/// Fails instead of hanging.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it hangs")
}

fn progress(offset: usize) -> Response<()> {
    Response::builder().status(104).header("upload-offset", offset).body(()).unwrap()
}

fn head(offset: usize) -> String {
    format!("{HEAD_104}upload-offset: {offset}\r\n\r\n")
}

/// Reads the body, and tells after each frame how much has come.
async fn receive(request: Request) -> String {
    let informational = request.extensions().get::<Informational>().cloned();
    let send = |offset| informational.as_ref().map(|handle| handle.send(progress(offset)));
    send(0);
    let mut come = 0;
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        come += frame.unwrap().into_data().unwrap().len();
        send(come);
    }
    // The last head is dropped if the response begins at once.
    tokio::task::yield_now().await;
    format!("got {come}, {}", informational.is_some())
}

/// A client that writes and reads bytes.
struct Raw {
    stream: TcpStream,
    come: Vec<u8>,
}

impl Raw {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, come: Vec::new() }
    }

    async fn write(&mut self, text: &str) {
        soon(self.stream.write_all(text.as_bytes())).await.unwrap();
    }

    async fn expect(&mut self, expected: &str) {
        let read = self.read(expected.len()).await;
        assert_eq!(read, expected);
    }

    async fn read(&mut self, length: usize) -> String {
        while self.come.len() < length {
            let read = soon(self.stream.read_buf(&mut self.come)).await.unwrap();
            assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&self.come));
        }
        String::from_utf8(self.come.drain(..length).collect()).unwrap()
    }

    /// Reads a head up to its empty line.
    async fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.come.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                return self.read(at + 4).await;
            }
            let length = self.come.len() + 1;
            let read = self.read(length).await;
            self.come.splice(..0, read.into_bytes());
        }
    }

    /// Reads a final response, which has to be a 200 with this body.
    async fn ok(&mut self, body: &str) {
        let head = self.head().await;
        assert!(head.contains(" 200 OK\r\n"), "{head}");
        let length = format!("content-length: {}\r\n", body.len());
        assert!(head.to_ascii_lowercase().contains(&length), "{head}");
        self.expect(body).await;
    }

    /// The server has nothing more to say.
    async fn end(mut self) {
        self.stream.shutdown().await.unwrap();
        soon(self.stream.read_to_end(&mut self.come)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&self.come), "");
    }
}

/// Which server of hyper.
#[derive(Clone, Copy, Debug)]
enum Server {
    Http1,
    Http1PipelineFlush,
    Auto,
}

/// Starts hyper with a service.
async fn hyper<S>(server: Server, service: S) -> SocketAddr
where
    S: Service<Request, Response = axum::response::Response, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let stream = Http1::new(stream);
            let mut service = stream.serve(service.clone());
            let service = tower::service_fn(move |request: http::Request<_>| {
                service.call(request.map(Body::new))
            });
            let service = TowerToHyperService::new(service);
            let stream = TokioIo::new(stream);
            tokio::spawn(async move {
                match server {
                    Server::Auto => {
                        let server = auto::Builder::new(TokioExecutor::new());
                        drop(server.serve_connection(stream, service).await);
                    }
                    Server::Http1 => {
                        drop(http1::Builder::new().serve_connection(stream, service).await);
                    }
                    Server::Http1PipelineFlush => {
                        let mut server = http1::Builder::new();
                        server.pipeline_flush(true);
                        drop(server.serve_connection(stream, service).await);
                    }
                }
            });
        }
    });
    address
}

fn receiver() -> Router {
    Router::new().route("/", post(receive))
}

/// Starts `axum::serve` with the receiver.
async fn axum_serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Http1Make::new(receiver().into_make_service());
    tokio::spawn(axum::serve(Http1Listener::new(listener), app).into_future());
    address
}

/// All servers, each with the receiver.
async fn receivers() -> Vec<SocketAddr> {
    vec![
        hyper(Server::Http1, receiver()).await,
        hyper(Server::Http1PipelineFlush, receiver()).await,
        hyper(Server::Auto, receiver()).await,
        axum_serve().await,
    ]
}

#[tokio::test]
async fn responses_come_while_the_body_is_still_being_sent() {
    for address in receivers().await {
        let mut client = Raw::connect(address).await;
        // The second round is on the same connection.
        for _ in 0..2 {
            client.write(&format!("{POST}\r\n")).await;
            client.expect(&head(0)).await;
            client.write("abc").await;
            client.expect(&head(3)).await;
            client.write("def").await;
            client.expect(&head(6)).await;
            client.ok("got 6, true").await;
        }
        client.end().await;
    }
}

#[tokio::test]
async fn a_response_comes_before_the_client_is_asked_to_continue() {
    for address in receivers().await {
        let mut client = Raw::connect(address).await;
        client.write(&format!("{POST}expect: 100-continue\r\n\r\n")).await;
        client.expect(&head(0)).await;
        client.expect("HTTP/1.1 100 Continue\r\n\r\n").await;
        client.write("abc").await;
        client.expect(&head(3)).await;
        client.write("def").await;
        client.expect(&head(6)).await;
        client.ok("got 6, true").await;
        client.end().await;
    }
}

#[tokio::test]
async fn requests_of_http_1_0_have_no_handle() {
    for address in receivers().await {
        let mut client = Raw::connect(address).await;
        client.write("POST / HTTP/1.0\r\ncontent-length: 3\r\n\r\nabc").await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
        client.expect("got 3, false").await;
        client.end().await;
    }
}

#[tokio::test]
async fn requests_of_http_2_have_no_handle() {
    let address = hyper(Server::Auto, receiver()).await;
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://x/").body(Full::new(Bytes::from("abc"))).unwrap();
    let response = soon(client.send_request(request)).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "got 3, false");
}

#[tokio::test]
async fn a_client_that_expects_none_gets_the_final_response() {
    for address in receivers().await {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (mut client, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..3 {
            let request = http::Request::post("/").header("host", "x");
            let request = request.body(Full::new(Bytes::from("abcdef"))).unwrap();
            let response = soon(client.send_request(request)).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, "got 6, true");
        }
    }
}

/// Gives each request's handle away, and answers when it is told to.
fn giver(
    handles: mpsc::UnboundedSender<(Informational, tokio::sync::oneshot::Sender<&'static str>)>,
) -> Router {
    let handler = move |Extension(handle): Extension<Informational>| async move {
        let (answer, answered) = tokio::sync::oneshot::channel();
        handles.send((handle, answer)).unwrap();
        answered.await.unwrap_or("left alone")
    };
    Router::new().route("/", get(handler))
}

#[tokio::test]
async fn another_task_sends_them_while_the_connection_sleeps() {
    let (handles, mut given) = mpsc::unbounded_channel();
    let mut client = Raw::connect(hyper(Server::Http1, giver(handles)).await).await;
    client.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let (handle, answer) = soon(given.recv()).await.unwrap();
    for number in 0..20 {
        let handle = handle.clone();
        tokio::task::spawn_blocking(move || handle.send(progress(number))).await.unwrap().unwrap();
        client.expect(&head(number)).await;
    }
    answer.send("done").unwrap();
    client.ok("done").await;
    client.end().await;
}

#[tokio::test]
async fn a_late_handle_does_nothing() {
    for server in [Server::Http1, Server::Http1PipelineFlush, Server::Auto] {
        let (handles, mut given) = mpsc::unbounded_channel();
        let mut client = Raw::connect(hyper(server, giver(handles)).await).await;
        client.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let (first, answer) = soon(given.recv()).await.unwrap();
        answer.send("first").unwrap();
        client.ok("first").await;
        assert_eq!(first.send(progress(1)), Err(NotSent::TooLate));
        client.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let (second, answer) = soon(given.recv()).await.unwrap();
        assert_eq!(first.send(progress(1)), Err(NotSent::TooLate));
        assert_eq!(second.send(progress(2)), Ok(()));
        client.expect(&head(2)).await;
        answer.send("second").unwrap();
        client.ok("second").await;
        client.end().await;
        assert_eq!(second.send(progress(2)), Err(NotSent::TooLate));
    }
}

#[tokio::test]
async fn responses_to_pipelined_requests_stay_in_order() {
    let (handles, mut given) = mpsc::unbounded_channel();
    let mut client = Raw::connect(hyper(Server::Http1, giver(handles)).await).await;
    client.write(&"GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(3)).await;
    for (number, body) in ["first", "second", "third"].into_iter().enumerate() {
        let (handle, answer) = soon(given.recv()).await.unwrap();
        handle.send(progress(number)).unwrap();
        client.expect(&head(number)).await;
        answer.send(body).unwrap();
        client.ok(body).await;
        assert_eq!(handle.send(progress(number)), Err(NotSent::TooLate));
    }
    client.end().await;
}

/// With `pipeline_flush`, hyper holds responses back while the next request is there already.
#[tokio::test]
async fn a_response_that_hyper_holds_back_stays_in_front() {
    let wait = |Extension(handle): Extension<Informational>| async move {
        handle.send(progress(1)).unwrap();
        tokio::task::yield_now().await;
        "later"
    };
    let app = Router::new().route("/", get("now")).route("/wait", get(wait));
    for server in [Server::Http1, Server::Http1PipelineFlush, Server::Auto] {
        let mut client = Raw::connect(hyper(server, app.clone()).await).await;
        let now = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        client.write(&format!("{now}{now}GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        client.ok("now").await;
        client.ok("now").await;
        client.expect(&head(1)).await;
        client.ok("later").await;
        client.end().await;
    }
}

/// A response that is complete at once has none before it: it begins first.
#[tokio::test]
async fn a_response_that_is_there_at_once_has_none() {
    let handler = |Extension(handle): Extension<Informational>| async move {
        handle.send(progress(1)).unwrap();
        "done"
    };
    let app = Router::new().route("/", get(handler));
    for server in [Server::Http1, Server::Http1PipelineFlush, Server::Auto] {
        let mut client = Raw::connect(hyper(server, app.clone()).await).await;
        client.write(&"GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(5)).await;
        for _ in 0..5 {
            client.ok("done").await;
        }
        client.end().await;
    }
}

/// The handle of a request whose client has left does nothing.
#[tokio::test]
async fn the_handle_ends_with_the_connection() {
    let (handles, mut given) = mpsc::unbounded_channel();
    let mut client = Raw::connect(hyper(Server::Http1, giver(handles)).await).await;
    client.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let (handle, mut answer) = soon(given.recv()).await.unwrap();
    drop(client);
    soon(answer.closed()).await;
    assert_eq!(handle.send(progress(1)), Err(NotSent::TooLate));
}

#[tokio::test]
async fn axum_serves_a_layer_around_a_router_and_knows_the_client() {
    async fn hello(ConnectInfo(client): ConnectInfo<SocketAddr>, request: Request) -> String {
        let handle = request.extensions().get::<Informational>().unwrap();
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::EARLY_HINTS;
        response.headers_mut().insert("link", HeaderValue::from_static("</style.css>"));
        handle.send(response).unwrap();
        tokio::task::yield_now().await;
        client.to_string()
    }
    let uploads = Uploads::builder(MemoryStore::new()).build().unwrap();
    let app = ChunkedUploadLayer::new(uploads).around(Router::new().route("/", get(hello)));
    let app = ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(app);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = axum::serve(Http1Listener::new(listener), Http1Make::new(app));
    assert_eq!(server.local_addr().unwrap(), address);
    tokio::spawn(server.into_future());
    let mut client = Raw::connect(address).await;
    client.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.expect("HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n").await;
    let own = client.stream.local_addr().unwrap();
    client.ok(&own.to_string()).await;
    client.end().await;
}

/// What comes after an upgrade belongs to nobody's response.
#[tokio::test]
async fn a_handle_does_nothing_after_an_upgrade() {
    let (handles, mut given) = mpsc::unbounded_channel();
    let handler = move |Extension(handle): Extension<Informational>, request: Request| async move {
        tokio::spawn(async move {
            let upgraded = hyper::upgrade::on(request).await.unwrap();
            let mut stream = TokioIo::new(upgraded);
            let late = handle.send(progress(1));
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
            handles.send(late).unwrap();
        });
        let response = Response::builder().status(101).header("connection", "upgrade");
        response.header("upgrade", "x").body(Body::new(Empty::new())).unwrap()
    };
    let app = Router::new().route("/", get(handler)).into_make_service();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(Http1Listener::new(listener), Http1Make::new(app)).into_future());
    let mut client = Raw::connect(address).await;
    client.write("GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client.expect("hello").await;
    client.end().await;
    assert_eq!(soon(given.recv()).await, Some(Err(NotSent::TooLate)));
}
