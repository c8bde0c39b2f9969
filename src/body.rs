//! The bodies of requests and responses: ours or theirs.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, ReadBuf};

use crate::log;
use crate::protocol::{Answered, BoxError, Replay, Unreadable};
use crate::store::Reader;

pin_project! {
    /// The body of a request to the inner service: that of the client or, when an upload is
    /// completed, a replay of the small form that requested the completion, or of the file.
    #[derive(Debug)]
    pub struct RequestBody<B> {
        #[pin]
        inner: RequestInner<B>,
    }
}

pin_project! {
    #[project = RequestProjection]
    #[derive(Debug)]
    enum RequestInner<B> {
        // The body of an answer is also theirs or ours.
        Whole { #[pin] body: ResponseBody<B> },
        Stored { body: StoredBody },
    }
}

pin_project! {
    /// The body of a response: that of the inner service or of the layer.
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

/// The bytes of a stored file.
#[derive(Debug)]
struct StoredBody {
    reader: Reader,
    left: u64,
    /// Empty, or as long as the frame that is being read.
    buffer: Vec<u8>,
    unreadable: Unreadable,
}

impl<B> RequestBody<B> {
    pub(crate) fn theirs(body: B) -> Self {
        Self { inner: RequestInner::Whole { body: ResponseBody::theirs(body) } }
    }

    pub(crate) fn replay(replay: Replay) -> Self {
        let inner = match replay {
            Replay::Bytes(bytes) => RequestInner::Whole { body: ResponseBody::ours(bytes, None) },
            Replay::File(reader, unreadable) => {
                let (left, buffer) = (reader.size(), Vec::new());
                RequestInner::Stored { body: StoredBody { reader, left, buffer, unreadable } }
            }
        };
        Self { inner }
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

impl StoredBody {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let bytes = ready!(self.poll_reader(cx));
        if let Some(Err(error)) = &bytes {
            log::failed("read a finished upload", None, error);
            self.unreadable.store(true, Ordering::Relaxed);
        }
        Poll::Ready(bytes)
    }

    fn poll_reader(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if self.buffer.is_empty() {
            let frame = usize::try_from(self.left).map_or(FRAME, |left| left.min(FRAME));
            self.buffer = vec![0; frame];
        }
        let mut buffer = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(&mut self.reader).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        if read == 0 {
            self.left = 0;
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        self.left = self.left.saturating_sub(read as u64);
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.truncate(read);
        Poll::Ready(Some(Ok(bytes.into())))
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
        match self.project().inner.project() {
            RequestProjection::Whole { body } => body.poll_frame(cx).map_err(Into::into),
            RequestProjection::Stored { body } => {
                let bytes = ready!(body.poll_bytes(cx));
                Poll::Ready(bytes.map(|bytes| match bytes {
                    Ok(bytes) => Ok(Frame::data(bytes.into())),
                    Err(error) => Err(error.into()),
                }))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            RequestInner::Whole { body } => body.is_end_stream(),
            RequestInner::Stored { body } => body.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            RequestInner::Whole { body } => body.size_hint(),
            RequestInner::Stored { body } => SizeHint::with_exact(body.left),
        }
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

/// How much of a file is read at once.
const FRAME: usize = 128 * 1024;
