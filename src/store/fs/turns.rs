//! Which workers of a runtime are making calls on files.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Id};

/// The calls that workers are making, whatever the store and the runtime.
static MAKING: Mutex<Making> = Mutex::new(Making { calls: Vec::new(), watched: false });

struct Making {
    calls: Vec<Call>,
    /// Whether a thread is there that looks after those that take long.
    watched: bool,
}

struct Call {
    runtime: Handle,
    began: Instant,
}

/// The right of a worker to make a call.
pub(super) struct Turn {
    runtime: Id,
    pub(super) began: Instant,
}

impl Turn {
    /// A turn, unless half of the workers have one.
    pub(super) fn take(runtime: Handle, now: Instant) -> Option<Self> {
        let (id, most) = (runtime.id(), runtime.metrics().num_workers() / 2);
        let mut making = making();
        let taken = making.calls.iter().filter(|call| call.runtime.id() == id).count();
        if taken >= most {
            return None;
        }
        if !making.watched {
            // Without it a call that hangs could hold up the whole runtime.
            thread::Builder::new().name("calls-in-place".to_owned()).spawn(watch).ok()?;
            making.watched = true;
        }
        making.calls.push(Call { runtime, began: now });
        Some(Self { runtime: id, began: now })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut making = making();
        let same = |call: &Call| call.began == self.began && call.runtime.id() == self.runtime;
        if let Some(at) = making.calls.iter().position(same) {
            let ended = making.calls.swap_remove(at);
            drop(making);
            drop(ended);
        }
    }
}

/// Wakes another worker for as long as a call hangs. It may be that the one which makes the call was
/// the one that waits for sockets and timers, and that all others wait for a task.
fn watch() {
    let mut idle = 0;
    while idle < IDLE_LOOKS {
        thread::sleep(INTERVAL);
        let hang = |call: &&Call| call.began.elapsed() >= INTERVAL;
        let making = making();
        idle = if making.calls.is_empty() { idle + 1 } else { 0 };
        let hung: Vec<_> = making.calls.iter().filter(hang).map(|it| it.runtime.clone()).collect();
        drop(making);
        hung.iter().for_each(|runtime| drop(runtime.spawn(async {})));
    }
    // A call that has begun meanwhile is looked after by the next thread, with the next call.
    let mut making = making();
    making.watched = false;
    if !making.calls.is_empty() {
        making.watched = thread::Builder::new().spawn(watch).is_ok();
    }
}

fn making() -> MutexGuard<'static, Making> {
    MAKING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often calls are looked after.
const INTERVAL: Duration = Duration::from_millis(10);
/// After so many looks at no call there is nothing more to look after.
const IDLE_LOOKS: u32 = 100;
