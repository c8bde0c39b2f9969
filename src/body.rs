//! The bodies of requests and responses: ours or theirs.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
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
        // Never locked: it is there so that the body can be shared if theirs can.
        Begun { body: Mutex<Box<dyn Ahead<B>>>, left: u64 },
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

impl<B> ResponseBody<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Send,
{
    /// Reads a body that says how long it is, if that is at most `limit` bytes. Returns what is to be
    /// sent in its place, with all that was read; and the bytes, if they are all that it has.
    pub(crate) async fn read_small(
        body: B,
        limit: u64,
        patience: Duration,
    ) -> (Self, Option<Bytes>) {
        let Some(size) = body.size_hint().exact().filter(|size| *size <= limit) else {
            return (Self::theirs(body), None);
        };
        let mut begun = Begun { read: VecDeque::new(), rest: Some(Box::pin(body)) };
        // What comes too late comes when it is sent.
        drop(tokio::time::timeout(patience, begun.read()).await);
        let whole = begun.whole(size);
        let body = match &whole {
            Some(bytes) => Self::ours(bytes.clone(), None),
            None => Self { inner: Inner::Begun { body: Mutex::new(Box::new(begun)), left: size } },
        };
        (body, whole)
    }
}

/// A body whose beginning was read ahead.
struct Begun<B: Body> {
    read: VecDeque<Result<Frame<B::Data>, B::Error>>,
    /// `None` once all was read, or it has failed.
    rest: Option<Pin<Box<B>>>,
}

/// The same without a bound on `B`, for types that have none.
trait Ahead<B>: Send {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>>
    where
        B: Body;
}

impl<B: Body> Begun<B> {
    async fn read(&mut self) {
        while let Some(body) = &mut self.rest {
            let frame = poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
            if !matches!(frame, Some(Ok(_))) {
                self.rest = None;
            }
            self.read.extend(frame);
        }
    }

    /// The bytes, if there is nothing else and they are as many as the body has said.
    fn whole(&mut self, size: u64) -> Option<Bytes>
    where
        B::Data: Buf,
    {
        let length = |frame: &Result<Frame<B::Data>, _>| {
            frame.as_ref().ok().and_then(Frame::data_ref).map(|data| data.remaining() as u64)
        };
        let length = self.read.iter().map(length).sum::<Option<u64>>();
        if self.rest.is_some() || length != Some(size) {
            return None;
        }
        let mut bytes = BytesMut::new();
        let frames = self.read.drain(..).filter_map(|frame| frame.ok()?.into_data().ok());
        frames.for_each(|data| bytes.put(data));
        Some(bytes.freeze())
    }
}

impl<B> Ahead<B> for Begun<B>
where
    B: Body + Send,
    B::Data: Send,
    B::Error: Send,
{
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match (self.read.pop_front(), &mut self.rest) {
            (None, Some(rest)) => rest.as_mut().poll_frame(cx),
            (frame, _) => Poll::Ready(frame),
        }
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
            InnerProjection::Begun { body, left } => {
                let body = body.get_mut().unwrap_or_else(PoisonError::into_inner);
                let frame = ready!(body.poll_frame(cx));
                if let Some(Ok(frame)) = &frame
                    && let Some(data) = frame.data_ref()
                {
                    *left = left.saturating_sub(data.remaining() as u64);
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Theirs { body } => body.is_end_stream(),
            Inner::Ours { bytes, .. } => bytes.is_none(),
            // Trailers may follow.
            Inner::Begun { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Theirs { body } => body.size_hint(),
            Inner::Ours { bytes, .. } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Inner::Begun { left, .. } => SizeHint::with_exact(*left),
        }
    }
}

impl<B> fmt::Debug for dyn Ahead<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").finish_non_exhaustive()
    }
}

/// How much of a file is read at once.
const FRAME: usize = 128 * 1024;
