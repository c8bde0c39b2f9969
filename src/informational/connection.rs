//! What the service and the stream of a connection share: the heads that wait to be written.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use http::Response;

use super::head;
use super::{NotSent, SendInformational};

/// How many heads may wait.
pub(super) const MAX_HEADS: usize = 8;
/// How many bytes they may have together.
pub(super) const MAX_BYTES: usize = 8 << 10;

/// The heads that wait to be written to a connection.
#[derive(Default)]
pub(super) struct Connection {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number of the last request.
    last: u64,
    /// The request whose final response has not begun.
    open: Option<Open>,
}

struct Open {
    number: u64,
    /// Whether all that was written for earlier requests has left the HTTP library.
    reached: bool,
    heads: VecDeque<Bytes>,
    bytes: usize,
    /// The task of the connection.
    waker: Option<Waker>,
}

/// A request whose final response has not begun; until it is dropped.
pub(super) struct OpenRequest {
    connection: Arc<Connection>,
    number: u64,
}

struct Sender {
    connection: Arc<Connection>,
    number: u64,
}

impl Connection {
    /// A request has arrived. There is one at a time, so the final response to the one before it
    /// has begun.
    pub(super) fn open(self: &Arc<Self>) -> OpenRequest {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        let open = Open { number, reached: false, heads: VecDeque::new(), bytes: 0, waker: None };
        let before = state.open.replace(open);
        drop(state);
        drop(before);
        OpenRequest { connection: Arc::clone(self), number }
    }

    /// Nothing that the HTTP library has been given before is still in its buffer. What is queued
    /// from now on wakes the task of the connection.
    pub(super) fn reach(&self, waker: &Waker) {
        let mut state = self.lock();
        let Some(open) = &mut state.open else { return };
        open.reached = true;
        if open.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            return;
        }
        let before = open.waker.replace(waker.clone());
        drop(state);
        drop(before);
    }

    /// Takes the next head, if it can be written now. It then has to be written.
    pub(super) fn next_head(&self) -> Option<Bytes> {
        let mut state = self.lock();
        let open = state.open.as_mut().filter(|open| open.reached)?;
        let head = open.heads.pop_front()?;
        open.bytes -= head.len();
        Some(head)
    }

    /// The connection is gone.
    pub(super) fn close(&self) {
        let open = self.lock().open.take();
        drop(open);
    }

    fn end(&self, number: u64) {
        let mut state = self.lock();
        let open = state.open.take_if(|open| open.number == number);
        // To drop a waker may run code of its task, which may want the lock.
        drop(state);
        drop(open);
    }

    fn push(&self, number: u64, head: Bytes) -> Result<(), NotSent> {
        let mut state = self.lock();
        let Some(open) = state.open.as_mut().filter(|open| open.number == number) else {
            return Err(NotSent::TooLate);
        };
        if open.heads.len() == MAX_HEADS || open.bytes + head.len() > MAX_BYTES {
            return Err(NotSent::Full);
        }
        open.bytes += head.len();
        open.heads.push_back(head);
        let waker = open.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenRequest {
    pub(super) fn sender(&self) -> impl SendInformational + use<> {
        Sender { connection: Arc::clone(&self.connection), number: self.number }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.connection.end(self.number);
    }
}

impl SendInformational for Sender {
    fn send(&self, response: Response<()>) -> Result<(), NotSent> {
        let head = head::encode(response.status(), response.headers());
        self.connection.push(self.number, head)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl fmt::Debug for OpenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenRequest").field("number", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use http::HeaderValue;

    use super::*;
    use crate::informational::Informational;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn response(value: &str) -> Response<()> {
        let value = HeaderValue::try_from(value).unwrap();
        Response::builder().status(104).header("x", value).body(()).unwrap()
    }

    #[test]
    fn heads_are_bounded_in_number_and_in_bytes() {
        let connection = Arc::new(Connection::default());
        let request = connection.open();
        let informational = Informational::new(request.sender());
        for _ in 0..MAX_HEADS {
            assert_eq!(informational.send(response("1")), Ok(()));
        }
        assert_eq!(informational.send(response("1")), Err(NotSent::Full));
        connection.reach(Waker::noop());
        let head = connection.next_head().unwrap();
        let rest = MAX_BYTES - (MAX_HEADS - 1) * head.len();
        let fits = "1".repeat(rest - head.len() + 1);
        assert_eq!(informational.send(response(&format!("{fits}1"))), Err(NotSent::Full));
        assert_eq!(informational.send(response(&fits)), Ok(()));
        for _ in 0..MAX_HEADS {
            assert!(connection.next_head().is_some());
        }
        assert_eq!(connection.next_head(), None);
        assert_eq!(informational.send(response(&"1".repeat(MAX_BYTES))), Err(NotSent::Full));
        assert_eq!(informational.send(response(&fits)), Ok(()));
    }

    #[test]
    fn the_handle_of_an_earlier_request_does_nothing() {
        let connection = Arc::new(Connection::default());
        let first = connection.open();
        let earlier = Informational::new(first.sender());
        drop(first);
        assert_eq!(earlier.send(response("1")), Err(NotSent::TooLate));
        let second = connection.open();
        let later = Informational::new(second.sender());
        connection.reach(Waker::noop());
        assert_eq!(earlier.send(response("1")), Err(NotSent::TooLate));
        assert_eq!(connection.next_head(), None);
        assert_eq!(later.send(response("2")), Ok(()));
        connection.close();
        assert_eq!(connection.next_head(), None);
        assert_eq!(later.send(response("2")), Err(NotSent::TooLate));
    }

    #[test]
    fn the_end_of_an_earlier_request_does_not_end_the_next_one() {
        let connection = Arc::new(Connection::default());
        let first = connection.open();
        let second = connection.open();
        let informational = Informational::new(second.sender());
        drop(first);
        assert_eq!(informational.send(response("1")), Ok(()));
    }

    #[test]
    fn a_head_from_another_thread_wakes_the_task_of_the_connection_while_the_request_is_open() {
        let connection = Arc::new(Connection::default());
        let request = connection.open();
        let informational = Informational::new(request.sender());
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        for expected in 1..4 {
            connection.reach(Waker::noop());
            connection.reach(&waker);
            let sender = informational.clone();
            std::thread::spawn(move || sender.send(response("1"))).join().unwrap().unwrap();
            assert_eq!(woken.0.load(Ordering::SeqCst), expected);
        }
        connection.reach(&waker);
        drop(request);
        drop(waker);
        assert_eq!(informational.send(response("1")), Err(NotSent::TooLate));
        assert_eq!(woken.0.load(Ordering::SeqCst), 3);
        assert_eq!(Arc::strong_count(&woken), 1, "the waker of an ended request is kept");
    }
}
