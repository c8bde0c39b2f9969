//! Sends each request to the next node in turn, and keeps no state about it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::uri::Uri;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::ext::on_informational;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use serve::Server;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::service_fn;
use tower_chunked_upload::informational::Informational;

use crate::nodes::Addresses;

type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// Serves until it is told to stop; returns the connections that are still open.
pub(crate) async fn serve(
    server: &Server,
    listener: TcpListener,
    nodes: Arc<Addresses>,
    stop: impl Future<Output = ()>,
) -> GracefulShutdown {
    let service = service_fn(move |request| {
        let nodes = Arc::clone(&nodes);
        async move { Ok::<_, Infallible>(answer(&nodes, request).await) }
    });
    server.serve(listener, service, stop).await
}

async fn answer(nodes: &Addresses, request: Request<Incoming>) -> Answer {
    let (mut head, body) = request.into_parts();
    if head.headers.contains_key(header::TRANSFER_ENCODING) {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    without_hops(&mut head.headers);
    if let Some(authority) = head.uri.authority().filter(|_| head.version == Version::HTTP_2)
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.entry(header::HOST).or_insert(host);
    }
    head.uri = head.uri.path_and_query().cloned().map_or(head.uri, Uri::from);
    head.version = Version::HTTP_11;

    let broken = Arc::new(AtomicBool::new(false));
    let (wants, mut wanted) = watch::channel(());
    let wait = head.headers.contains_key(header::EXPECT).then(|| {
        let wait = async move { drop(wanted.changed().await) };
        Box::pin(wait) as Pin<Box<dyn Future<Output = ()> + Send>>
    });
    let body = Passed { body, wait, broken: Arc::clone(&broken) };
    let mut request = Request::from_parts(head, body);
    let wants_it = wants.clone();
    let client = request.extensions().get::<Informational>().cloned();
    on_informational(&mut request, move |told| match &client {
        _ if told.status() == StatusCode::CONTINUE => wants_it.send_replace(()),
        Some(client) => tell(client, told.status(), told.headers()),
        None => {}
    });

    let Some((number, stream)) = connect(nodes).await else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "No node is there\n");
    };
    let answered = exchange(stream, request).await;
    wants.send_replace(());
    match answered {
        Ok(mut answer) => {
            without_hops(answer.headers_mut());
            answer.headers_mut().insert(NODE, number.into());
            answer.map(Either::Left)
        }
        // A client may have closed only its side of the connection.
        Err(_) if broken.load(Ordering::Relaxed) => {
            refuse(StatusCode::BAD_REQUEST, "The request broke off\n")
        }
        Err(error) => {
            eprintln!("node {number} does not answer: {error}");
            refuse(StatusCode::BAD_GATEWAY, "The node broke off\n")
        }
    }
}

/// A connection to the next node that accepts one.
async fn connect(nodes: &Addresses) -> Option<(usize, TcpStream)> {
    for (number, address) in nodes.in_turn() {
        if let Ok(stream) = TcpStream::connect(address).await {
            drop(stream.set_nodelay(true));
            return Some((number, stream));
        }
    }
    None
}

/// A connection carries one request. Its task continues after the response: a node may respond
/// before it has read the whole request, and then continues to read.
async fn exchange(
    stream: TcpStream,
    request: Request<Passed>,
) -> Result<Response<Incoming>, hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    sender.send_request(request).await
}

/// Passes an informational response on. One that cannot be sent any more is not missed.
fn tell(client: &Informational, status: StatusCode, headers: &HeaderMap) {
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers.clone();
    without_hops(response.headers_mut());
    drop(client.send(response));
}

fn refuse(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Either::Right(Full::from(text)));
    *answer.status_mut() = status;
    answer
}

/// Removes the headers that are about one connection.
fn without_hops(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|names| names.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [header::CONNECTION, header::TE, header::TRANSFER_ENCODING, header::UPGRADE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// A client's body on its way to a node. A client that waits for "100 Continue" gets it as soon as
/// its body is read: that is when the node has sent it, or has responded.
struct Passed {
    body: Incoming,
    wait: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// The client's connection ended before the body did.
    broken: Arc<AtomicBool>,
}

impl Body for Passed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(cx));
            self.wait = None;
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Err(_)) = frame {
            self.broken.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Says which node has responded.
const NODE: HeaderName = HeaderName::from_static("x-node");
