//! Where the calls on files are made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::follow::{self, Follower};
use super::turns::Turn;
use crate::metric;
use crate::store::{Result, StoreError};
use crate::task;

/// The threads that make the calls on files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileCalls {
    /// The threads of the runtime for blocking work. A disk that is slow or hangs blocks nothing
    /// but the uploads on it.
    #[default]
    Pool,
    /// The workers of the runtime, as in nginx, for a fast local disk. A small chunk then changes
    /// no thread, and costs about half as much.
    ///
    /// This applies to short calls: those that create and open the files of an upload, and write a
    /// batch or a record, and to computing a digest of at most 64 KiB. At most half of the workers
    /// make such calls at a time, and after one that took more than 2 ms none do for fifty times as
    /// long as it took, at most ten seconds. All other calls, and all calls on a runtime with one
    /// worker, are left to the threads of [`Pool`](Self::Pool). So a disk that hangs costs at most
    /// half of the workers, each with the tasks that would have been its next, and one that is busy
    /// costs none for long.
    ///
    /// Syncing is not a short call: with [`Durability::Sync`](super::Durability::Sync), the other
    /// threads make the commits.
    InPlace,
}

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// As long as it takes to write a batch.
    Short,
    /// It depends on the size of a file, or on the disk.
    Long,
}

impl Work {
    pub(super) fn long_if(long: bool) -> Self {
        if long { Self::Long } else { Self::Short }
    }
}

/// The calls of one store.
#[derive(Debug)]
pub(super) struct Calls {
    /// Those on other threads.
    tasks: TaskTracker,
    start: Instant,
    /// Until when no worker makes one, in milliseconds since `start`.
    paused_until: AtomicU64,
    followers: Arc<Semaphore>,
}

impl Calls {
    pub(super) fn new() -> Self {
        Self {
            tasks: task::tracker(),
            start: Instant::now(),
            paused_until: AtomicU64::new(0),
            followers: follow::followers(),
        }
    }

    /// Tracks the calls that are under way on other threads, which a shutdown waits for.
    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// A thread that looks at bytes beside their writing, if one is free.
    pub(super) fn follower(&self) -> Option<Follower> {
        Follower::start(&self.followers, &self.tasks)
    }

    #[cfg(test)]
    pub(super) fn free_followers(&self) -> usize {
        self.followers.available_permits()
    }

    /// Makes calls. On another thread they are made to the end even if this future is dropped, and a
    /// shutdown waits for them.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        calls: FileCalls,
        work: Work,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        if calls == FileCalls::InPlace
            && work == Work::Short
            && let Some(turn) = self.turn()
        {
            let done = job();
            self.note(turn.began.elapsed());
            return Ok(done);
        }
        metric::hopped();
        let done = task::join(self.tasks.spawn_blocking(job)).await;
        done.ok_or_else(|| StoreError::shutting_down("start a file call"))
    }

    /// The turn of this thread, if it may make a call now.
    fn turn(&self) -> Option<Turn> {
        let runtime = Handle::try_current().ok()?;
        if runtime.runtime_flavor() != RuntimeFlavor::MultiThread {
            return None;
        }
        let now = Instant::now();
        let paused = self.millis(now) < self.paused_until.load(Ordering::Relaxed);
        if paused { None } else { Turn::take(runtime, now) }
    }

    /// Leaves a disk that was slow to other threads for a while.
    fn note(&self, took: Duration) {
        if took > SLOW {
            let until = Instant::now() + took.saturating_mul(PAUSE).min(MAX_PAUSE);
            self.paused_until.fetch_max(self.millis(until), Ordering::Relaxed);
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }
}

/// A call that takes longer is one on a disk that is busy.
const SLOW: Duration = Duration::from_millis(2);
/// For so many times as long as that, such a disk is left to other threads. So it never holds up a
/// worker for more than a fiftieth of its time.
const PAUSE: u32 = 50;
const MAX_PAUSE: Duration = Duration::from_secs(10);
