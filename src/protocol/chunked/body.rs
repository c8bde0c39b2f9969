//! Reading a request's body.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::EXPECT;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame};
use tokio::time::Instant;

use super::config::Config;
use crate::engine::{Append, ErrorKind, Work};
use crate::policy::Refusal;
use crate::time;

/// A body that is read as long as it brings something.
pub(super) struct Incoming<B> {
    body: Pin<Box<B>>,
    idle_timeout: Duration,
    rate: Rate,
    drain: (u64, Duration),
    /// Whether nobody sends any more: the end has come, or was never asked for.
    ended: bool,
    work: Work,
}

impl<B> Incoming<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    pub(super) fn new(body: B, headers: &HeaderMap, config: &Config) -> Self {
        Self {
            body: Box::pin(body),
            idle_timeout: config.idle_timeout,
            rate: Rate { floor: config.min_rate, waited: Duration::ZERO, brought: 0 },
            drain: config.drain,
            // A client that waits to be asked for its body (RFC 9110, 10.1.1) is asked by the first
            // poll, and not at all if it is refused before.
            ended: headers.contains_key(EXPECT),
            work: config.uploads.work(),
        }
    }

    /// How many bytes the body has, if it says so.
    pub(super) fn exact_size(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// The next bytes; `None` at the end.
    ///
    /// With an append under way, it is told when the bytes are slow to come, and this ends when a
    /// newer request wants the upload.
    pub(super) async fn next(
        &mut self,
        mut append: Option<&mut Append>,
    ) -> Result<Option<Bytes>, Refusal> {
        // What is there already needs no clock, and nobody to watch over it.
        let data = poll_fn(|cx| match self.poll_data(cx) {
            Poll::Ready(data) => Poll::Ready(Some(data)),
            Poll::Pending => Poll::Ready(None),
        });
        if let Some(data) = data.await {
            return self.reckon(Duration::ZERO, data?);
        }
        let deadline = time::deadline(self.idle_timeout);
        loop {
            let lull = append.as_deref().is_some_and(Append::minds_lull);
            let start = Instant::now();
            let mut pause = deadline.min(time::deadline(self.rate.left()));
            if lull {
                pause = pause.min(start + LULL);
            }
            let stopped = append.as_deref().map(Append::stopped);
            // Who has not begun to receive a file need not begin any more.
            let closed = self.work.closed();
            let stopped = async move {
                match stopped {
                    Some(stopped) => stopped.await,
                    None => closed.await,
                }
            };
            let data = poll_fn(|cx| self.poll_data(cx));
            tokio::select! {
                biased;
                data = data => return self.reckon(start.elapsed(), data?),
                () = stopped => {
                    let known = append.as_deref().map(Append::why_stopped);
                    return Err(known.unwrap_or(ErrorKind::ShuttingDown).into());
                }
                () = tokio::time::sleep_until(pause) => {}
            }
            if Instant::now() >= deadline {
                let detail = "The request brought no data for too long";
                return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, detail));
            }
            if !self.rate.suffices(start.elapsed(), 0) {
                return Err(too_slow());
            }
            if let (Some(append), true) = (&mut append, lull) {
                append.lull().await?;
            }
        }
    }

    /// Bytes have come after the client was waited for so long.
    fn reckon(&mut self, waited: Duration, data: Option<Bytes>) -> Result<Option<Bytes>, Refusal> {
        let Some(data) = data else { return Ok(None) };
        match self.rate.suffices(waited, data.len() as u64) {
            true => Ok(Some(data)),
            false => Err(too_slow()),
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Refusal>> {
        self.ended = false;
        for _ in 0..EMPTY {
            match ready!(self.body.as_mut().poll_frame(cx)).map(|frame| frame.map(Frame::into_data))
            {
                Some(Ok(Ok(mut data))) if data.has_remaining() => {
                    return Poll::Ready(Ok(Some(data.copy_to_bytes(data.remaining()))));
                }
                // Trailers, or nothing.
                Some(Ok(_)) => {}
                Some(Err(_)) => {
                    self.ended = true;
                    return Poll::Ready(Err(ErrorKind::Source.into()));
                }
                None => {
                    self.ended = true;
                    return Poll::Ready(Ok(None));
                }
            }
        }
        // A source of nothing that is always ready must not keep the thread.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads what is left, up to the bounds of the settings, without anybody waiting for it: a
    /// client that is still sending may read its answer only afterwards.
    pub(super) fn drain(self) {
        if self.ended || self.body.is_end_stream() {
            return;
        }
        let Self { mut body, drain: (mut left, time), work, .. } = self;
        tokio::spawn(tokio::time::timeout(time, async move {
            loop {
                let frame = poll_fn(|cx| {
                    let frame = std::task::ready!(body.as_mut().poll_frame(cx));
                    let length = |frame: Frame<B::Data>| frame.data_ref().map_or(0, Buf::remaining);
                    Poll::Ready(frame.and_then(Result::ok).map(length))
                });
                let length = tokio::select! {
                    length = frame => length,
                    () = work.stopped() => return,
                };
                let Some(length) = length else { return };
                match u64::try_from(length).ok().and_then(|length| left.checked_sub(length)) {
                    Some(rest) => left = rest,
                    None => return,
                }
                // A source that is always ready must not keep the thread.
                tokio::task::consume_budget().await;
            }
        }));
    }
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

fn too_slow() -> Refusal {
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "The request brought too little data")
}

/// How many frames without data are taken in a row.
const EMPTY: usize = 32;
/// A client this slow does not need a large buffer.
const LULL: Duration = Duration::from_millis(10);
