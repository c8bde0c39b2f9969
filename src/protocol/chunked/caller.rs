//! Who waits for the answer to a request.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Instant;

use super::config::Config;
use crate::engine::ErrorKind;
use crate::policy::Refusal;

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

    /// What the application decides. It may take its time while its caller waits; afterwards no longer than a
    /// body may be silent, and not beyond a shutdown: nobody would end it otherwise.
    pub(super) async fn ask<T>(
        &self,
        config: &Config,
        decision: impl Future<Output = Result<T, Refusal>> + Send,
    ) -> Result<T, Refusal> {
        let mut decision = pin!(decision);
        let attended = poll_fn(|cx| match decision.as_mut().poll(cx) {
            Poll::Pending if self.has_left() => Poll::Ready(None),
            decided => decided.map(Some),
        });
        if let Some(decided) = attended.await {
            return decided;
        }
        tokio::select! {
            decided = &mut decision => decided,
            () = tokio::time::sleep(config.idle_timeout) => Err(ErrorKind::Superseded.into()),
            () = config.uploads.stopped() => Err(ErrorKind::ShuttingDown.into()),
        }
    }

    /// The same for what cannot refuse.
    pub(super) async fn tell(&self, config: &Config, told: impl Future<Output = ()> + Send) {
        let told = async {
            told.await;
            Ok(())
        };
        // It may only be too late.
        drop(self.ask(config, told).await);
    }
}
