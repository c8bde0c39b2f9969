//! The future of a response.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, StatusCode};
use pin_project_lite::pin_project;
use tokio::runtime::Handle;

use crate::body::ResponseBody;
use crate::protocol::Caller;

pin_project! {
    /// The future of [`ChunkedUpload`](crate::ChunkedUpload): the inner service's own future for a
    /// request that is not an upload, or the layer's.
    ///
    /// Servers drop it when a connection ends. The work on an upload then continues on a task. A
    /// request that has arrived completely is carried out. An incomplete one is not waited for, and
    /// the upload is released as it was last acknowledged. Without a runtime the work ends
    /// immediately.
    pub struct ResponseFuture<F, B, E> {
        #[pin]
        kind: Kind<F, B, E>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<F, B, E> {
        Inner { #[pin] future: F },
        Upload { upload: Upload<B, E> },
        NotFound,
    }
}

/// The work on an upload.
struct Upload<B, E> {
    /// Boxed because it is large. `None` once it has completed.
    work: Option<Pin<Box<dyn Work<B, E>>>>,
    caller: Caller,
}

/// Work that can continue on a task.
pub(crate) trait Work<B, E>:
    Future<Output = Result<Response<ResponseBody<B>>, E>> + Send
{
    fn spawn(self: Pin<Box<Self>>, runtime: &Handle);
}

impl<T, B, E> Work<B, E> for T
where
    T: Future<Output = Result<Response<ResponseBody<B>>, E>> + Send + 'static,
{
    fn spawn(self: Pin<Box<Self>>, runtime: &Handle) {
        runtime.spawn(async move { drop(self.await) });
    }
}

impl<F, B, E> ResponseFuture<F, B, E> {
    pub(crate) fn inner(future: F) -> Self {
        Self { kind: Kind::Inner { future } }
    }

    /// The answer to a path that a mounted service does not know.
    pub(crate) fn not_found() -> Self {
        Self { kind: Kind::NotFound }
    }

    pub(crate) fn upload(work: Pin<Box<dyn Work<B, E>>>, caller: Caller) -> Self {
        Self { kind: Kind::Upload { upload: Upload { work: Some(work), caller } } }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Inner { future } => {
                let response = ready!(future.poll(cx))?;
                Poll::Ready(Ok(response.map(ResponseBody::theirs)))
            }
            KindProjection::Upload { upload } => upload.poll(cx),
            KindProjection::NotFound => {
                let mut response = Response::new(ResponseBody::ours(Bytes::new(), None));
                *response.status_mut() = StatusCode::NOT_FOUND;
                Poll::Ready(Ok(response))
            }
        }
    }
}

impl<B, E> Upload<B, E> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<ResponseBody<B>>, E>> {
        // A future that panics is not put back.
        let Some(mut work) = self.work.take() else { return Poll::Pending };
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<B, E> Drop for Upload<B, E> {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.work.take(), Handle::try_current()) {
            self.caller.leave();
            work.spawn(&runtime);
        }
    }
}

impl<F, B, E> fmt::Debug for ResponseFuture<F, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
