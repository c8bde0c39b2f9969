//! Tasks that outlive whoever waits for them.

use tokio::task::{JoinError, JoinHandle};

/// What a task gives. A panic in it goes on here; `None` if the runtime is shutting down.
pub(crate) async fn join<T>(task: JoinHandle<T>) -> Option<T> {
    joined(task.await)
}

/// The same for a task that somebody else has waited for.
pub(crate) fn joined<T>(result: Result<T, JoinError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => None,
        },
    }
}

/// Counts what is under way, and can be waited for at any time, more than once.
pub(crate) fn tracker() -> tokio_util::task::TaskTracker {
    let tracker = tokio_util::task::TaskTracker::new();
    // Its `wait` ends when nothing is tracked and it is closed; more can be tracked all the same.
    tracker.close();
    tracker
}
