//! Tasks that outlive the code that waits for them.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

use crate::log;

/// Work that goes on, on a task, when nobody waits for it any more.
///
/// While somebody does, it needs no task, and so no other thread.
pub(crate) struct Detached<T: Send + 'static>(State<T>);

enum State<T> {
    /// Whoever waits polls it.
    Waited(Pin<Box<dyn Future<Output = T> + Send>>, Handle),
    Task(JoinHandle<T>),
    Done(T),
    /// The result was given out, or the work has panicked.
    Over,
}

impl<T: Send + 'static> Detached<T> {
    /// Must be called on a runtime.
    pub(crate) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(State::Waited(Box::pin(log::in_span(work)), Handle::current()))
    }

    /// Begins work that goes on by itself then, such as on another thread, until somebody waits for
    /// the result. Until then nobody is woken.
    pub(crate) fn begin(&mut self) {
        if let Poll::Ready(Some(result)) =
            Pin::new(&mut *self).poll(&mut Context::from_waker(Waker::noop()))
        {
            self.0 = State::Done(result);
        }
    }

    /// Has a task do the work.
    pub(crate) fn spawn(&mut self) {
        self.0 = match std::mem::replace(&mut self.0, State::Over) {
            State::Waited(work, runtime) => State::Task(runtime.spawn(work)),
            state => state,
        };
    }
}

/// The result; `None` if the runtime is shutting down. A panic goes on in who waits.
impl<T: Send + 'static> Future for Detached<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        // Work that panics is not put back.
        let (state, polled) = match std::mem::replace(&mut self.0, State::Over) {
            State::Waited(mut work, runtime) => match work.as_mut().poll(cx) {
                Poll::Ready(result) => return Poll::Ready(Some(result)),
                Poll::Pending => (State::Waited(work, runtime), Poll::Pending),
            },
            State::Task(mut task) => match Pin::new(&mut task).poll(cx) {
                Poll::Ready(result) => return Poll::Ready(joined(result)),
                Poll::Pending => (State::Task(task), Poll::Pending),
            },
            State::Done(result) => return Poll::Ready(Some(result)),
            State::Over => return Poll::Ready(None),
        };
        self.0 = state;
        polled
    }
}

impl<T: Send + 'static> Unpin for Detached<T> {}

impl<T: Send + 'static> Drop for Detached<T> {
    fn drop(&mut self) {
        if let State::Waited(..) = self.0 {
            self.spawn();
        }
    }
}

/// Returns the result of a future, or its panic.
pub(crate) async fn caught<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = Box::pin(future);
    // A future that has panicked is not polled again, and dropped here.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

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
