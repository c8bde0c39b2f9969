//! The files of uploads that nobody holds, which stay open for the next chunk.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lru::LruCache;

use super::lease::Released;
use crate::id::UploadId;

/// A number of uploads, the one that was released last first.
#[derive(Debug)]
pub(super) struct Idle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    emptied: Condvar,
}

#[derive(Debug)]
struct State {
    uploads: LruCache<UploadId, (Instant, Released)>,
    /// Whether a thread is there that closes files which have been idle for long.
    closing: bool,
}

impl Idle {
    pub(super) fn new() -> Self {
        let state = State { uploads: LruCache::unbounded(), closing: false };
        let (state, emptied) = (Mutex::new(state), Condvar::new());
        Self { shared: Arc::new(Shared { state, emptied }) }
    }

    /// Takes the files of an upload. Nobody else finds them then.
    pub(super) fn take(&self, id: &UploadId) -> Option<Released> {
        Some(self.shared.state().uploads.pop(id)?.1)
    }

    /// Keeps files open, and closes those of others that are too many.
    pub(super) fn put(&self, released: Released, limit: usize) {
        let mut closed = Vec::new();
        let mut state = self.shared.state();
        let id = released.upload().id;
        closed.extend(state.uploads.put(id, (Instant::now(), released)));
        while state.uploads.len() > limit {
            closed.extend(state.uploads.pop_lru().map(|(_, entry)| entry));
        }
        if !state.uploads.is_empty() && !std::mem::replace(&mut state.closing, true) {
            // No task, since the runtime may end before the store.
            let shared = Arc::clone(&self.shared);
            let closer = thread::Builder::new().name("idle-uploads".to_owned());
            if closer.spawn(move || shared.close_old()).is_err() {
                state.closing = false;
                closed.extend(std::iter::from_fn(|| Some(state.uploads.pop_lru()?.1)));
            }
        }
        // Closing a file that was removed frees its blocks, which may take a while.
        drop(state);
    }

    /// Closes all of them.
    pub(super) fn clear(&self) {
        let mut state = self.shared.state();
        let uploads = std::mem::replace(&mut state.uploads, LruCache::unbounded());
        drop(state);
        self.shared.emptied.notify_all();
        drop(uploads);
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes files that nobody asks for: an open file that another process has removed takes up room
    /// on the disk. Ends when there are none.
    fn close_old(&self) {
        let mut state = self.state();
        while !state.uploads.is_empty() {
            let waited = self.emptied.wait_timeout(state, LIFETIME / 2);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            let old = state.take_old();
            if !old.is_empty() {
                drop(state);
                drop(old);
                state = self.state();
            }
        }
        state.closing = false;
    }
}

impl State {
    /// Takes those out that have been idle for long.
    fn take_old(&mut self) -> Vec<Released> {
        let mut old = Vec::new();
        while self.uploads.peek_lru().is_some_and(|(_, (since, _))| since.elapsed() >= LIFETIME) {
            old.extend(self.uploads.pop_lru().map(|(_, (_, released))| released));
        }
        old
    }
}

/// How long files stay open.
const LIFETIME: Duration = Duration::from_secs(10);
