//! Tasks that outlive the code that waits for them.

use tokio::task::{JoinError, JoinHandle};

/// Returns the result of a task, and resumes its panic. `None` if the runtime is shutting down.
pub(crate) async fn join<T>(task: JoinHandle<T>) -> Option<T> {
    joined(task.await)
}

/// Does the same for a task that has already been awaited.
pub(crate) fn joined<T>(result: Result<T, JoinError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => None,
        },
    }
}

/// Creates a tracker of running work that can be awaited at any time, and repeatedly.
pub(crate) fn tracker() -> tokio_util::task::TaskTracker {
    let tracker = tokio_util::task::TaskTracker::new();
    // `wait` completes when the tracker is empty and closed. New work can still be tracked.
    tracker.close();
    tracker
}
