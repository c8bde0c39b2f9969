//! Looking at bytes beside their writing, on a thread that reads them back from the file.
//!
//! A digest takes longer than writing, and one upload arrives over one connection, so its bytes
//! would wait for a thread that does both. They are not kept in memory until they were looked at:
//! they have just been written, so reading them costs a copy from the page cache.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::disk::File;
use crate::metric;
use crate::store::commit::Look;
use crate::store::{Result, StoreError};

/// The threads of a store that may look at bytes beside their writing: as many as the machine has
/// cores, since more of them look no faster.
pub(super) fn followers() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(thread::available_parallelism().map_or(1, usize::from)))
}

/// How long it took to look at the last batch and to write it, and when that ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) took: Duration,
    pub(super) ended: Instant,
}

impl Pace {
    pub(super) fn since(began: Instant) -> Self {
        let ended = Instant::now();
        Self { took: ended - began, ended }
    }

    /// Whether the next batch has waited for this one.
    pub(super) fn holds_up(self) -> bool {
        self.ended.elapsed() < self.took / 2
    }
}

/// The bytes of one writer that were written and not looked at yet. It gives up when it is dropped.
#[derive(Debug)]
pub(super) struct Follower {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    left: Condvar,
    advanced: Notify,
    followers: Arc<Semaphore>,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    /// Another handle, so that the thread needs no lease. There is none while no thread looks.
    file: Option<Arc<File>>,
    written: VecDeque<Written>,
    /// How many bytes were not looked at.
    behind: u64,
    /// How many may be left for what waits to go on.
    awaited: u64,
    /// For a thread that shall start.
    permit: Option<OwnedSemaphorePermit>,
    /// Whether a thread looks at them.
    runs: bool,
    failed: Option<Arc<io::Error>>,
    given_up: bool,
}

/// A batch in the file.
struct Written {
    position: u64,
    length: u64,
    look: Look,
}

impl Follower {
    /// A follower, if there is a thread for it.
    pub(super) fn start(followers: &Arc<Semaphore>, tasks: &TaskTracker) -> Option<Self> {
        let permit = Arc::clone(followers).try_acquire_owned().ok();
        let state = State { permit: Some(permit?), ..State::default() };
        let shared = Shared {
            state: Mutex::new(state),
            left: Condvar::new(),
            advanced: Notify::new(),
            followers: Arc::clone(followers),
            tasks: tasks.clone(),
        };
        Some(Self { shared: Arc::new(shared) })
    }

    /// Another handle on the same follower, for the thread that writes.
    pub(super) fn queue(&self) -> Queue {
        Queue(Arc::clone(&self.shared))
    }

    /// Whether there still is a thread for it.
    pub(super) fn goes_on(&self) -> bool {
        let mut state = self.shared.state();
        if !state.runs && state.permit.is_none() {
            state.permit = self.shared.permit();
        }
        state.runs || state.permit.is_some()
    }

    #[cfg(test)]
    pub(super) fn has_file(&self) -> bool {
        self.shared.state().file.is_some()
    }

    #[cfg(test)]
    pub(super) fn behind(&self) -> u64 {
        self.shared.state().behind
    }

    /// Waits until all bytes were looked at.
    ///
    /// # Errors
    /// [`StoreError::Io`] if they cannot be read.
    pub(super) async fn caught_up(&self) -> Result<()> {
        self.at_most(0).await
    }

    /// Waits until so few bytes were not looked at that more may be written.
    ///
    /// # Errors
    /// [`StoreError::Io`] if they cannot be read.
    pub(super) async fn near(&self) -> Result<()> {
        self.at_most(MAX_BEHIND).await
    }

    async fn at_most(&self, behind: u64) -> Result<()> {
        loop {
            let mut advanced = pin!(self.shared.advanced.notified());
            advanced.as_mut().enable();
            {
                let mut state = self.shared.state();
                state.awaited = behind;
                if let Some(error) = &state.failed {
                    let error = io::Error::new(error.kind(), Arc::clone(error));
                    return Err(StoreError::io("read back what was written", error));
                }
                if state.behind <= behind {
                    return Ok(());
                }
            }
            advanced.await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.given_up = true;
        self.shared.left.notify_one();
        let left = (std::mem::take(&mut state.written), state.file.take(), state.permit.take());
        drop(state);
        drop(left);
    }
}

/// Where the thread that writes leaves a batch to be looked at.
pub(super) struct Queue(Arc<Shared>);

impl Queue {
    /// Leaves a batch, which was written at this position of the file.
    pub(super) fn push(
        &self,
        file: &File,
        position: u64,
        length: u64,
        look: Look,
    ) -> io::Result<()> {
        let mut state = self.0.state();
        if state.given_up {
            return Ok(());
        }
        if state.file.is_none() {
            state.file = Some(Arc::new(file.try_clone()?));
        }
        state.written.push_back(Written { position, length, look });
        state.behind += length;
        self.0.left.notify_one();
        if std::mem::replace(&mut state.runs, true) {
            return Ok(());
        }
        // The last thread may have just ended. A batch that it did not see must be looked at even if
        // another upload has taken its place.
        let permit = state.permit.take().or_else(|| self.0.permit());
        // A runtime that is shutting down drops the work here, which takes the lock.
        drop(state);
        let run = Run { shared: Arc::clone(&self.0), ended: false };
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        metric::hopped();
        drop(self.0.tasks.spawn_blocking_on(move || run.look(permit), &runtime));
        Ok(())
    }
}

/// The work of a thread.
struct Run {
    shared: Arc<Shared>,
    /// Whether it has looked at all that there was. The next batch begins another run.
    ended: bool,
}

impl Run {
    fn look(mut self, permit: Option<OwnedSemaphorePermit>) {
        let _permit = permit;
        let mut buffer = vec![0; PIECE_BYTES];
        while let Some((file, mut batch)) = self.next() {
            while batch.length > 0 {
                let left = usize::try_from(batch.length).unwrap_or(PIECE_BYTES);
                let length = left.min(PIECE_BYTES);
                let piece = &mut buffer[..length];
                if let Err(error) = file.read_exact_at(piece, batch.position) {
                    self.shared.state().failed = Some(Arc::new(error));
                    return;
                }
                (batch.look)(piece);
                batch.position += length as u64;
                batch.length -= length as u64;
                let mut state = self.shared.state();
                if state.given_up {
                    return;
                }
                state.behind -= length as u64;
                let advanced = state.behind <= state.awaited;
                drop(state);
                if advanced {
                    self.shared.advanced.notify_waiters();
                }
            }
        }
    }

    fn next(&mut self) -> Option<(Arc<File>, Written)> {
        let state = self.shared.state();
        let lingers = |state: &mut State| state.written.is_empty() && !state.given_up;
        let waited = self.shared.left.wait_timeout_while(state, LINGER, lingers);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let next = state.file.clone().zip(state.written.pop_front());
        self.ended = next.is_none();
        state.runs = !self.ended;
        // A client may be silent for long, and its upload has the file open already.
        let unused = state.file.take_if(|_| self.ended);
        drop(state);
        drop(unused);
        next
    }
}

impl Drop for Run {
    /// What is left could not be read, or looking at it has panicked.
    fn drop(&mut self) {
        if !self.ended {
            let panicked = || Arc::new(io::Error::other("the thread that reads it has panicked"));
            self.shared.state().failed.get_or_insert_with(panicked);
        }
        self.shared.advanced.notify_waiters();
    }
}

impl Shared {
    fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.followers).try_acquire_owned().ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written")
            .field("position", &self.position)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// How many bytes may be written that were not looked at. A core computes an MD5 over so many in
/// about 25 ms, for which a commit may have to wait.
const MAX_BEHIND: u64 = 16 * 1024 * 1024;
/// How long a thread waits for the next batch, since another one would have to be woken for it.
const LINGER: Duration = Duration::from_millis(2);
/// How many bytes are read at a time.
const PIECE_BYTES: usize = 256 * 1024;
