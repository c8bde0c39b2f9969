//! The bodies of requests and responses: ours or theirs.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::protocol::{Answered, BoxError};

pin_project! {
    /// The body of a request to the inner service: the client's, or, when an upload is completed, a
    /// replay of the small form that requested it.
    #[derive(Debug)]
    pub struct RequestBody<B> {
        // The body of an answer is also theirs or ours.
        #[pin]
        inner: ResponseBody<B>,
    }
}

pin_project! {
    /// The body of an answer: the inner service's or the layer's.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        inner: Inner<B>,
    }
}

pin_project! {
    #[project = InnerProjection]
    #[derive(Debug)]
    enum Inner<B> {
        Theirs { #[pin] body: B },
        Ours { bytes: Option<Bytes>, answered: Option<Answered> },
    }
}

impl<B> RequestBody<B> {
    pub(crate) fn theirs(body: B) -> Self {
        Self { inner: ResponseBody::theirs(body) }
    }

    pub(crate) fn replay(bytes: Bytes) -> Self {
        Self { inner: ResponseBody::ours(bytes, None) }
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn theirs(body: B) -> Self {
        Self { inner: Inner::Theirs { body } }
    }

    /// `answered` is dropped when the answer is being sent.
    pub(crate) fn ours(bytes: Bytes, answered: Option<Answered>) -> Self {
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
        Self { inner: Inner::Ours { bytes, answered } }
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    /// The error of the client's body, boxed so that other errors fit, too.
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        self.project().inner.poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().inner.project() {
            InnerProjection::Theirs { body } => body.poll_frame(cx),
            InnerProjection::Ours { bytes, answered } => {
                drop(answered.take());
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Theirs { body } => body.is_end_stream(),
            Inner::Ours { bytes, .. } => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Theirs { body } => body.size_hint(),
            Inner::Ours { bytes, .. } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}
