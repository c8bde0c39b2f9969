//! The client that waits for the answer to a request.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Instant;

/// When a request arrived, and whether its client still waits for the answer. Once the connection
/// has ended or the server drops the request, only the bytes that have already arrived are
/// processed.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    arrived: Instant,
    left: Arc<AtomicBool>,
}

impl Caller {
    pub(crate) fn now() -> Self {
        Self { arrived: tokio::time::Instant::now().into_std(), left: Arc::default() }
    }

    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    pub(super) fn arrived(&self) -> Instant {
        self.arrived
    }

    /// Waits for `work` as long as the client waits; `None` if the client has left before it
    /// completed.
    pub(super) async fn until_left<F: Future>(&self, mut work: Pin<&mut F>) -> Option<F::Output> {
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Pending if self.has_left() => Poll::Ready(None),
            done => done.map(Some),
        })
        .await
    }
}
