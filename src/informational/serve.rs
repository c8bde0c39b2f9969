//! The stream and the service of HTTP/1.1 for `axum::serve`.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::connection::Connection;
use super::http1::Http1;
use super::service::{Http1ResponseFuture, Http1Service};
use crate::protocol::BoxError;

/// A listener for `axum::serve` whose connections are wrapped in [`Http1`].
///
/// The application is wrapped in [`Http1Make`].
#[derive(Debug)]
pub struct Http1Listener<L> {
    listener: L,
}

impl<L> Http1Listener<L> {
    /// Wraps a listener.
    pub fn new(listener: L) -> Self {
        Self { listener }
    }
}

impl<L: Listener> Listener for Http1Listener<L> {
    type Io = Http1<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = self.listener.accept().await;
        (Http1::new(stream), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that an [`Http1Listener`] has accepted.
///
/// A service that wants to know it is made with `into_make_service_with_connect_info::<T>`. If `T`
/// is a [`SocketAddr`], it is the client's address, as with `axum::serve` alone:
///
/// ```
/// use std::net::SocketAddr;
///
/// use axum::Router;
/// use axum::extract::ConnectInfo;
/// use axum::routing::get;
/// use tower_chunked_upload::informational::Http1Make;
///
/// async fn hello(ConnectInfo(client): ConnectInfo<SocketAddr>) -> String {
///     format!("Hello, {client}")
/// }
///
/// let app = Router::new().route("/", get(hello));
/// let app = Http1Make::new(app.into_make_service_with_connect_info::<SocketAddr>());
/// ```
///
/// A type of your own gets it from here:
///
/// ```
/// use axum::extract::connect_info::Connected;
/// use tokio::net::TcpListener;
/// use tower_chunked_upload::informational::Accepted;
///
/// #[derive(Clone)]
/// struct Ttl(Option<u32>);
///
/// impl Connected<Accepted<'_, TcpListener>> for Ttl {
///     fn connect_info(connection: Accepted<'_, TcpListener>) -> Self {
///         Self(connection.io().ttl().ok())
///     }
/// }
/// ```
pub struct Accepted<'a, L: Listener>(IncomingStream<'a, Http1Listener<L>>);

impl<L: Listener> Accepted<'_, L> {
    /// Returns the stream that the inner listener has accepted.
    pub fn io(&self) -> &L::Io {
        self.0.io().get_ref()
    }

    /// Returns the client's address.
    pub fn remote_addr(&self) -> &L::Addr {
        self.0.remote_addr()
    }
}

impl<L: Listener<Addr = SocketAddr>> Connected<Accepted<'_, L>> for SocketAddr {
    fn connect_info(connection: Accepted<'_, L>) -> Self {
        *connection.remote_addr()
    }
}

impl<L: Listener<Addr: fmt::Debug>> fmt::Debug for Accepted<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("remote_addr", self.remote_addr()).finish_non_exhaustive()
    }
}

/// An application for `axum::serve` whose requests of HTTP/1.1 get an
/// [`Informational`](super::Informational).
///
/// The listener is wrapped in [`Http1Listener`]. The application may answer with any body that axum
/// can send, so it can be a [`ChunkedUpload`](crate::ChunkedUpload):
///
/// ```no_run
/// use axum::extract::Request;
/// use axum::{Router, ServiceExt};
/// use tokio::net::TcpListener;
/// use tower_chunked_upload::ChunkedUpload;
/// use tower_chunked_upload::informational::{Http1Listener, Http1Make};
///
/// async fn serve(listener: TcpListener, app: ChunkedUpload<Router>) -> std::io::Result<()> {
///     let app = ServiceExt::<Request>::into_make_service(app);
///     axum::serve(Http1Listener::new(listener), Http1Make::new(app)).await
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Http1Make<M> {
    make: M,
}

impl<M> Http1Make<M> {
    /// Wraps what makes a service for each connection, for example
    /// `Router::into_make_service`. It gets an [`Accepted`].
    pub fn new(make: M) -> Self {
        Self { make }
    }
}

impl<'a, L, M> Service<IncomingStream<'a, Http1Listener<L>>> for Http1Make<M>
where
    L: Listener,
    M: Service<Accepted<'a, L>>,
{
    type Response = Http1App<M::Response>;
    type Error = M::Error;
    type Future = Http1MakeFuture<M::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        self.make.poll_ready(cx)
    }

    fn call(&mut self, stream: IncomingStream<'a, Http1Listener<L>>) -> Self::Future {
        let connection = stream.io().connection();
        Http1MakeFuture { inner: self.make.call(Accepted(stream)), connection }
    }
}

pin_project! {
    /// The future of [`Http1Make`].
    #[derive(Debug)]
    pub struct Http1MakeFuture<F> {
        #[pin]
        inner: F,
        connection: Arc<Connection>,
    }
}

impl<F, S, E> Future for Http1MakeFuture<F>
where
    F: Future<Output = Result<S, E>>,
{
    type Output = Result<Http1App<S>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let service = ready!(this.inner.poll(cx))?;
        let service = Http1Service::new(service, Arc::clone(this.connection));
        Poll::Ready(Ok(Http1App { service }))
    }
}

/// The service of one connection that [`Http1Make`] makes.
#[derive(Clone, Debug)]
pub struct Http1App<S> {
    service: Http1Service<S>,
}

impl<S, B> Service<Request<Body>> for Http1App<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Http1AppFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // Without the type of the request, which `Http1Service` is generic over, it is ambiguous.
        Service::<Request<Body>>::poll_ready(&mut self.service, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Http1AppFuture { inner: self.service.call(request) }
    }
}

pin_project! {
    /// The future of [`Http1App`].
    #[derive(Debug)]
    pub struct Http1AppFuture<F> {
        #[pin]
        inner: Http1ResponseFuture<F>,
    }
}

impl<F, B, E> Future for Http1AppFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.project().inner.poll(cx))?;
        Poll::Ready(Ok(response.map(Body::new)))
    }
}
