//! Work that goes on when nobody waits for it any more but a shutdown.

use tokio_util::task::TaskTracker;

use crate::log;
use crate::store::{Result, StoreError};
use crate::task;

/// Does something to its end, even if the caller is dropped: a request that was sent may come
/// true, and what depends on it must know.
pub(super) async fn finish<T: Send + 'static>(
    tasks: &TaskTracker,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let finished = task::join(tasks.spawn(log::in_span(work))).await;
    finished.unwrap_or_else(|| Err(StoreError::shutting_down("finish a request")))
}
