//! The service of a connection, whose requests get an [`Informational`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Version};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::Informational;
use super::connection::{Connection, OpenRequest};

/// Puts an [`Informational`] into the extensions of each request of HTTP/1.1 on a connection; made
/// by [`Http1::serve`](super::Http1::serve).
///
/// It does nothing any more when the future of the response completes or is dropped.
#[derive(Clone, Debug)]
pub struct Http1Service<S> {
    inner: S,
    connection: Arc<Connection>,
}

impl<S> Http1Service<S> {
    pub(super) fn new(inner: S, connection: Arc<Connection>) -> Self {
        Self { inner, connection }
    }
}

impl<S, B> Service<Request<B>> for Http1Service<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Http1ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let open = (request.version() == Version::HTTP_11).then(|| self.connection.open());
        if let Some(open) = &open {
            request.extensions_mut().insert(Informational::new(open.sender()));
        }
        Http1ResponseFuture { inner: self.inner.call(request), open }
    }
}

pin_project! {
    /// The future of [`Http1Service`].
    #[derive(Debug)]
    pub struct Http1ResponseFuture<F> {
        #[pin]
        inner: F,
        open: Option<OpenRequest>,
    }
}

impl<F: Future> Future for Http1ResponseFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx));
        *this.open = None;
        Poll::Ready(response)
    }
}
