//! Reading a request's body.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
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

/// A body that did not come as it should.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// Nothing came for too long.
    Silent,
    /// Too little came for too long.
    Slow,
    /// A layer outside has found it too large. With the limit, if it is known.
    TooLarge(Option<u64>, BoxError),
    /// It broke off.
    Failed(BoxError),
}

/// The body of a request as an HTTP library gives it.
pub(crate) trait Payload: Body<Data: Send, Error: Into<BoxError>> + Send + 'static {}

impl<B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static> Payload for B {}

/// A body that is read as long as it brings something.
pub(crate) struct Incoming<B> {
    body: Pin<Box<B>>,
    /// What the body said of its length before any of it was read.
    size: SizeHint,
    /// What its client has said of it.
    announced: Option<u64>,
    received: u64,
    idle_timeout: Duration,
    rate: Rate,
    drain: (u64, Duration),
    /// For how long nothing has come when it was given up.
    silent: Duration,
    /// Whether the client waits to be asked for its body (RFC 9110, 10.1.1). It is by the first poll, and
    /// not at all if it is refused before.
    unasked: bool,
    ended: bool,
    /// Whether the body may have been cut where it ended.
    perhaps_cut: bool,
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
            rate: Rate { floor: settings.min_rate, waited: Duration::ZERO, brought: 0 },
            drain: settings.drain,
            silent: Duration::ZERO,
            unasked: headers.contains_key(EXPECT),
            perhaps_cut: false,
            caller,
            guard: settings.uploads.shutdown_guard(),
        }
    }

    /// How many bytes the body has, if it says so.
    pub(crate) fn exact_size(&self) -> Option<u64> {
        // A limit of another layer says that it is the size where more will come.
        let size = self.size.exact()?;
        self.announced.is_none_or(|announced| announced == size).then_some(size)
    }

    /// Whether there is a body that its client was not asked for.
    pub(super) fn is_unasked(&self) -> bool {
        self.unasked && !self.ended
    }

    /// The whole body, if it has no more bytes than `limit`.
    pub(crate) async fn read_small(&mut self, limit: usize) -> Result<Option<Bytes>, Problem> {
        if self.exact_size().is_some_and(|size| size > limit as u64) {
            return Ok(None);
        }
        let mut whole = BytesMut::new();
        while let Some(bytes) = self.next(None).await? {
            if bytes.len() > limit - whole.len() {
                return Ok(None);
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(Some(whole.freeze()))
    }

    /// Refuses a body of which nobody can tell whether it was cut where it ended. What names its own
    /// length or end, a range or a form, need not ask.
    pub(crate) fn check_end(&self) -> Result<(), BodyError> {
        match self.perhaps_cut {
            true => Err(BodyError::Failed("its end may not be its own".into())),
            false => Ok(()),
        }
    }

    /// Reads what nobody needs to the end of the body, but no more than so many bytes: a body that breaks
    /// off has not come whole. Says whether the end has come.
    pub(crate) async fn read_out(
        &mut self,
        mut most: u64,
        append: &mut Append,
    ) -> Result<bool, Problem> {
        while let Some(bytes) = self.next(Some(append)).await? {
            match most.checked_sub(bytes.len() as u64) {
                Some(left) => most = left,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The next bytes; `None` at the end.
    ///
    /// With an append under way, it is told when the bytes are slow to come, and this ends when a
    /// newer request wants the upload.
    pub(crate) async fn next(
        &mut self,
        mut append: Option<&mut Append>,
    ) -> Result<Option<Bytes>, Problem> {
        // What is there already needs no clock, and nobody to watch over it.
        let data = poll_fn(|cx| match self.poll_data(cx) {
            Poll::Ready(data) => Poll::Ready(Some(data)),
            Poll::Pending => Poll::Ready(None),
        });
        if let Some(data) = data.await {
            return Ok(self.reckon(Duration::ZERO, data?)?);
        }
        let deadline = time::deadline(self.idle_timeout);
        loop {
            let flush = append.as_deref().is_some_and(Append::wants_flush);
            let start = Instant::now();
            let mut pause = deadline.min(time::deadline(self.rate.left()));
            if flush {
                pause = pause.min(start + IDLE);
            }
            let stopped = append.as_deref().map(Append::stopped);
            // Who has not begun to receive a file need not begin any more.
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
                data = data => return Ok(self.reckon(start.elapsed(), data?)?),
                why = stopped => return Err(why.into()),
                () = tokio::time::sleep_until(pause) => {}
            }
            if Instant::now() >= deadline {
                self.silent = self.idle_timeout;
                return Err(BodyError::Silent.into());
            }
            if !self.rate.suffices(start.elapsed(), 0) {
                return Err(BodyError::Slow.into());
            }
            if let (Some(append), true) = (&mut append, flush) {
                append.flush_idle().await?;
            }
        }
    }

    /// Bytes have come after the client was waited for so long.
    fn reckon(
        &mut self,
        waited: Duration,
        data: Option<Bytes>,
    ) -> Result<Option<Bytes>, BodyError> {
        let Some(data) = data else { return Ok(None) };
        match self.rate.suffices(waited, data.len() as u64) {
            true => Ok(Some(data)),
            false => Err(BodyError::Slow),
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        // Whoever knows that nothing more comes need not wait until its connection says so.
        if self.body.is_end_stream() {
            return Poll::Ready(self.end().map(|()| None));
        }
        self.unasked = false;
        for _ in 0..EMPTY {
            let frame = match self.body.as_mut().poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending if self.caller.has_left() => {
                    self.ended = true;
                    return Poll::Ready(Err(BodyError::Failed("its client has left".into())));
                }
                Poll::Pending => return Poll::Pending,
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(mut data))) if data.has_remaining() => {
                    let bytes = data.copy_to_bytes(data.remaining());
                    self.received = self.received.saturating_add(bytes.len() as u64);
                    return Poll::Ready(Ok(Some(bytes)));
                }
                // Trailers, or nothing.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(self.failed(error.into()))),
                None => return Poll::Ready(self.end().map(|()| None)),
            }
        }
        // A source of nothing that is always ready must not keep the thread.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The body says that it has ended.
    fn end(&mut self) -> Result<(), BodyError> {
        self.ended = true;
        let Some(size) = self.exact_size() else {
            // The body of a connection that was given up ends like one that is whole.
            self.perhaps_cut = self.caller.has_left();
            return Ok(());
        };
        match self.received < size {
            true => Err(BodyError::Failed("it ended before its length".into())),
            false => Ok(()),
        }
    }

    fn failed(&mut self, error: BoxError) -> BodyError {
        if exceeds_limit(&*error) {
            // Its client goes on sending.
            return BodyError::TooLarge(self.size.upper(), error);
        }
        self.ended = true;
        BodyError::Failed(error)
    }

    /// Reads what is left, up to the bounds of the settings, without anybody waiting for it: a
    /// client that is still sending may read its answer only afterwards.
    ///
    /// A body that its client was not asked for is not read before what this gives is dropped. That asks
    /// for it, unless the answer is on its way.
    pub(super) fn drain(self) -> Option<Answered> {
        if self.ended || self.body.is_end_stream() || self.caller.has_left() {
            return None;
        }
        let (answered, is_answered) = oneshot::channel();
        let answered = self.unasked.then_some(answered);
        let Self { mut body, drain: (mut left, time), silent, guard, .. } = self;
        tokio::spawn(tokio::time::timeout(time, async move {
            tokio::select! {
                // Nothing is sent, so it ends with its sender.
                _ = is_answered => {}
                () = guard.stopping() => return,
            }
            let mut patience = SILENCE.saturating_sub(silent);
            loop {
                let frame = poll_fn(|cx| body.as_mut().poll_frame(cx));
                let frame = tokio::select! {
                    biased;
                    frame = frame => frame,
                    () = guard.stopping() => return,
                    () = tokio::time::sleep(patience) => return,
                };
                let length = match frame.map(|frame| frame.map_err(Into::into)) {
                    Some(Ok(frame)) => frame.data_ref().map_or(0, Buf::remaining) as u64,
                    Some(Err(error)) if exceeds_limit(&*error) => LOST,
                    _ => return,
                };
                match left.checked_sub(length) {
                    Some(rest) => left = rest,
                    None => return,
                }
                patience = SILENCE;
                // A source that is always ready must not keep the thread.
                tokio::task::consume_budget().await;
            }
        }));
        answered
    }
}

/// Dropped when an answer is on its way.
pub(crate) type Answered = oneshot::Sender<()>;

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// Whether a layer outside has found the body too large.
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

/// How much a client brings in the time that it is waited for.
struct Rate {
    /// So many bytes in each of these times.
    floor: Option<(u64, Duration)>,
    waited: Duration,
    brought: u64,
}

impl Rate {
    /// How long it may take until the next reckoning.
    fn left(&self) -> Duration {
        self.floor.map_or(Duration::MAX, |(_, time)| time.saturating_sub(self.waited))
    }

    fn suffices(&mut self, waited: Duration, brought: u64) -> bool {
        let Some((least, time)) = self.floor else { return true };
        self.waited += waited;
        self.brought = self.brought.saturating_add(brought);
        if self.waited < time {
            return true;
        }
        let suffices = self.brought >= least;
        (self.waited, self.brought) = (Duration::ZERO, 0);
        suffices
    }
}

/// How many frames without data are taken in a row.
const EMPTY: usize = 32;
/// A client that has sent nothing for so long does not lose its answer when its connection is closed: what
/// nginx has for `lingering_timeout`.
const SILENCE: Duration = Duration::from_secs(5);
/// How large a frame counts that a limit has swallowed.
const LOST: u64 = 64 * 1024;
/// A client this slow does not need a large buffer.
const IDLE: Duration = Duration::from_millis(10);
