//! Reading a request's body.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::EXPECT;
use http_body::{Body, Frame, SizeHint};
use http_body_util::LengthLimitError;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::caller::Caller;
use super::exchange::{Problem, Settings};
use super::headers::content_length;
use crate::engine::{Append, ErrorKind, ShutdownGuard};
use crate::time;

/// Why a body could not be read.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// No data arrived for too long.
    Idle,
    /// Data arrived too slowly.
    Slow,
    /// An outer layer found the body too large. With the limit, if it is known.
    TooLarge(Option<u64>, BoxError),
    /// The body ended early.
    Failed(BoxError),
}

/// The body of a request as an HTTP library gives it.
pub(crate) trait Payload: Body<Data: Send, Error: Into<BoxError>> + Send + 'static {}

impl<B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static> Payload for B {}

/// A request body with its timeouts and limits.
pub(crate) struct Incoming<B> {
    body: Pin<Box<B>>,
    /// The body's size hint before any of it was read.
    size: SizeHint,
    /// The `Content-Length`.
    announced: Option<u64>,
    received: u64,
    idle_timeout: Duration,
    rate: Rate,
    drain: (u64, Duration),
    /// How long no data had arrived when the body was given up.
    idle_for: Duration,
    /// Whether the client waits for `100 Continue` (RFC 9110, 10.1.1). The first poll sends it; a
    /// request that is refused before never does.
    awaits_continue: bool,
    ended: bool,
    /// Whether the body may have been truncated where it ended.
    maybe_truncated: bool,
    trailers: Option<HeaderMap>,
    caller: Caller,
    guard: ShutdownGuard,
}

impl<B: Payload> Incoming<B> {
    pub(super) fn new(body: B, headers: &HeaderMap, settings: &Settings, caller: Caller) -> Self {
        Self {
            size: body.size_hint(),
            announced: content_length(headers),
            ended: body.is_end_stream(),
            body: Box::pin(body),
            received: 0,
            idle_timeout: settings.idle_timeout,
            rate: Rate { minimum: settings.min_rate, waited: Duration::ZERO, received: 0 },
            drain: settings.drain,
            idle_for: Duration::ZERO,
            awaits_continue: headers.contains_key(EXPECT),
            maybe_truncated: false,
            trailers: None,
            caller,
            guard: settings.uploads.shutdown_guard(),
        }
    }

    /// Returns the size of the body, if it is known.
    pub(crate) fn exact_size(&self) -> Option<u64> {
        // The size hint of another layer's limit is that limit if more bytes will follow.
        let size = self.size.exact()?;
        self.announced.is_none_or(|announced| announced == size).then_some(size)
    }

    /// How many bytes have come.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Whether the client still waits for `100 Continue` before it sends its body.
    pub(super) fn is_awaiting_continue(&self) -> bool {
        self.awaits_continue && !self.ended
    }

    /// Reads the whole body, if it has at most `limit` bytes.
    pub(crate) async fn read_small(&mut self, limit: usize) -> Result<Option<Bytes>, Problem> {
        if self.exact_size().is_some_and(|size| size > limit as u64) {
            return Ok(None);
        }
        let mut content = BytesMut::new();
        while let Some(bytes) = self.next(None).await? {
            if bytes.len() > limit - content.len() {
                return Ok(None);
            }
            content.extend_from_slice(&bytes);
        }
        Ok(Some(content.freeze()))
    }

    /// The trailers, once the body has been read.
    pub(crate) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// Refuses a body that may have been truncated. Bodies that show their own length or end, such
    /// as a range or a form, need no check.
    pub(crate) fn check_truncation(&self) -> Result<(), BodyError> {
        match self.maybe_truncated {
            true => Err(BodyError::Failed("it may have been truncated".into())),
            false => Ok(()),
        }
    }

    /// Reads the rest of the body and discards it, up to `limit` bytes, because the bytes are there
    /// already. Returns how many there were, or `None` if there were more.
    pub(crate) async fn skip(&mut self, limit: u64) -> Result<Option<u64>, Problem> {
        let mut skipped = 0_u64;
        while let Some(bytes) = self.next(None).await? {
            skipped = skipped.saturating_add(bytes.len() as u64);
            if skipped > limit {
                return Ok(None);
            }
        }
        Ok(Some(skipped))
    }

    /// Reads the rest of the body and discards it, up to `limit` bytes, since a body that ends
    /// early has not arrived completely. Returns whether the end was reached.
    pub(crate) async fn discard_rest(
        &mut self,
        mut limit: u64,
        mut append: Option<&mut Append>,
    ) -> Result<bool, Problem> {
        while let Some(bytes) = self.next(append.as_deref_mut()).await? {
            match limit.checked_sub(bytes.len() as u64) {
                Some(left) => limit = left,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Returns the next bytes, or `None` at the end.
    ///
    /// If an append is given, it is flushed when the bytes are slow to arrive, and this fails when
    /// a newer request asks for the upload.
    pub(crate) async fn next(
        &mut self,
        mut append: Option<&mut Append>,
    ) -> Result<Option<Bytes>, Problem> {
        // Data that is already available needs neither a timeout nor the check for newer requests.
        if let Poll::Ready(data) = poll_fn(|cx| Poll::Ready(self.poll_data(cx))).await {
            return Ok(self.count_data(Duration::ZERO, data?)?);
        }
        let deadline = time::deadline(self.idle_timeout);
        loop {
            let flush = append.as_deref().and_then(Append::flush_delay);
            let start = Instant::now();
            let mut pause = deadline.min(time::deadline(self.rate.left()));
            if let Some(delay) = flush {
                pause = pause.min(start + delay);
            }
            let stopped = append.as_deref().map(Append::stopped);
            // A request that is not receiving a file yet ends when a shutdown begins.
            let closing = self.guard.closing();
            let stopped = async move {
                match stopped {
                    Some(stopped) => stopped.await,
                    None => {
                        closing.await;
                        ErrorKind::ShuttingDown
                    }
                }
            };
            let data = poll_fn(|cx| self.poll_data(cx));
            tokio::select! {
                biased;
                data = data => return Ok(self.count_data(start.elapsed(), data?)?),
                why = stopped => return Err(why.into()),
                () = tokio::time::sleep_until(pause) => {}
            }
            if Instant::now() >= deadline {
                self.idle_for = self.idle_timeout;
                return Err(BodyError::Idle.into());
            }
            if !self.rate.record(start.elapsed(), 0) {
                return Err(BodyError::Slow.into());
            }
            if let (Some(append), true) = (&mut append, flush.is_some()) {
                append.flush_idle().await?;
            }
        }
    }

    /// Counts the data that arrived after waiting this long.
    fn count_data(
        &mut self,
        waited: Duration,
        data: Option<Bytes>,
    ) -> Result<Option<Bytes>, BodyError> {
        match &data {
            Some(data) if !self.rate.record(waited, data.len() as u64) => Err(BodyError::Slow),
            _ => Ok(data),
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        // A body that knows its end need not be polled until the connection reports it.
        if self.body.is_end_stream() {
            return Poll::Ready(self.end().map(|()| None));
        }
        self.awaits_continue = false;
        for _ in 0..MAX_EMPTY_FRAMES {
            let frame = match self.body.as_mut().poll_frame(cx) {
                Poll::Pending if self.caller.has_left() => {
                    return Poll::Ready(Err(self.failed("the client disconnected".into())));
                }
                frame => ready!(frame),
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(mut data))) if data.has_remaining() => {
                    let bytes = data.copy_to_bytes(data.remaining());
                    self.received = self.received.saturating_add(bytes.len() as u64);
                    return Poll::Ready(Ok(Some(bytes)));
                }
                Some(Ok(Ok(_))) => {}
                Some(Ok(Err(frame))) => self.trailers = frame.into_trailers().ok(),
                Some(Err(error)) => return Poll::Ready(Err(self.failed(error.into()))),
                None => return Poll::Ready(self.end().map(|()| None)),
            }
        }
        // A source of empty frames that is always ready must not block the thread.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Handles the reported end of the body.
    fn end(&mut self) -> Result<(), BodyError> {
        self.ended = true;
        let Some(size) = self.exact_size() else {
            // If a connection is aborted, its body ends like a complete one.
            self.maybe_truncated = self.caller.has_left();
            return Ok(());
        };
        match self.received < size {
            true => Err(BodyError::Failed("it ended too early".into())),
            false => Ok(()),
        }
    }

    fn failed(&mut self, error: BoxError) -> BodyError {
        if exceeds_limit(&*error) {
            // The client continues to send.
            return BodyError::TooLarge(self.size.upper(), error);
        }
        self.ended = true;
        BodyError::Failed(error)
    }

    /// Reads the rest of the body in the background, up to the configured bounds: a client that is
    /// still sending may not read its answer before.
    ///
    /// If the client waits for `100 Continue`, the body is only read after the returned value is
    /// dropped. Reading it requests it from the client, unless the answer is already being sent.
    pub(super) fn drain(self) -> Option<Answered> {
        if self.ended || self.body.is_end_stream() || self.caller.has_left() {
            return None;
        }
        let (answered, is_answered) = oneshot::channel();
        let answered = self.awaits_continue.then_some(answered);
        let Self { mut body, drain: (mut left, time), idle_for, guard, .. } = self;
        tokio::spawn(tokio::time::timeout(time, async move {
            tokio::select! {
                // Nothing is ever sent; this completes when the sender is dropped.
                _ = is_answered => {}
                () = guard.stopping() => return,
            }
            let mut linger = LINGERING_TIMEOUT.saturating_sub(idle_for);
            loop {
                let frame = poll_fn(|cx| body.as_mut().poll_frame(cx));
                let frame = tokio::select! {
                    biased;
                    frame = frame => frame,
                    () = guard.stopping() => return,
                    () = tokio::time::sleep(linger) => return,
                };
                let length = match frame.map(|frame| frame.map_err(Into::into)) {
                    Some(Ok(frame)) => frame.data_ref().map_or(0, Buf::remaining) as u64,
                    Some(Err(error)) if exceeds_limit(&*error) => OVERSIZED_FRAME_BYTES,
                    _ => return,
                };
                match left.checked_sub(length) {
                    Some(rest) => left = rest,
                    None => return,
                }
                linger = LINGERING_TIMEOUT;
                // A source that is always ready must not block the thread.
                tokio::task::consume_budget().await;
            }
        }));
        answered
    }
}

/// Dropped when the answer is being sent.
pub(crate) type Answered = oneshot::Sender<()>;

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// Whether an outer layer found the body too large.
fn exceeds_limit(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The client's transfer rate, measured over the time spent waiting for it.
struct Rate {
    /// The minimum number of bytes in each period.
    minimum: Option<(u64, Duration)>,
    waited: Duration,
    received: u64,
}

impl Rate {
    /// The time that is left of the current period.
    fn left(&self) -> Duration {
        self.minimum.map_or(Duration::MAX, |(_, time)| time.saturating_sub(self.waited))
    }

    /// Counts what arrived while waiting, and returns whether the rate is high enough.
    fn record(&mut self, waited: Duration, received: u64) -> bool {
        let Some((minimum, time)) = self.minimum else { return true };
        self.waited += waited;
        self.received = self.received.saturating_add(received);
        if self.waited < time {
            return true;
        }
        let sufficient = self.received >= minimum;
        (self.waited, self.received) = (Duration::ZERO, 0);
        sufficient
    }
}

/// How many empty frames are accepted in a row.
const MAX_EMPTY_FRAMES: usize = 32;
/// A client that has sent nothing for this long does not lose its answer when its connection is
/// closed. nginx has the same default for `lingering_timeout`.
const LINGERING_TIMEOUT: Duration = Duration::from_secs(5);
/// The assumed size of a frame that a limit has swallowed.
const OVERSIZED_FRAME_BYTES: u64 = 64 * 1024;
