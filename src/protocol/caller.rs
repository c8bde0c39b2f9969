//! Who waits for the answer to a request.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Instant;

/// When a request came, and whether anybody still waits for its answer: the connection may have ended, or
/// the service was told to stop. Then only what has come already is looked at.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    came: Instant,
    left: Arc<AtomicBool>,
}

impl Caller {
    pub(crate) fn now() -> Self {
        Self { came: Instant::now(), left: Arc::default() }
    }

    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    pub(super) fn came(&self) -> Instant {
        self.came
    }

    /// Waits for something as long as the caller waits; `None` if the caller has left before.
    pub(super) async fn attend<F: Future>(&self, mut work: Pin<&mut F>) -> Option<F::Output> {
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Pending if self.has_left() => Poll::Ready(None),
            done => done.map(Some),
        })
        .await
    }
}
