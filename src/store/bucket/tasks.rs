//! Work that goes on when nobody waits for it any more but a shutdown.

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::store::{Result, StoreError};
use crate::task;

/// The tasks of a store on this node; a clone tracks the same ones.
#[derive(Clone)]
pub(super) struct Tasks(TaskTracker);

impl Tasks {
    pub(super) fn new() -> Self {
        Self(task::tracker())
    }

    /// Does something that may as well fail. Without a runtime it is not done at all.
    pub(super) fn detach(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = Handle::try_current() {
            drop(self.0.spawn_on(work, &runtime));
        }
    }

    /// Does something to its end, even if the caller is dropped: a request that was sent may come
    /// true, and what depends on it must know.
    pub(super) async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let finished = task::join(self.0.spawn(work)).await;
        finished.unwrap_or_else(|| Err(StoreError::shutting_down("finish a request")))
    }

    /// Waits until none is left.
    pub(super) async fn settle(&self) {
        self.0.wait().await;
    }
}
