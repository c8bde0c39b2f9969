//! The system as a test wants it: calls that fail or hang, and a trace of those that worked.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// A call, as it is made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call<'a> {
    /// It changes nothing, or creates a file, which [`Plan::opened`] reports.
    Look,
    /// It changes nothing, after a commit.
    Unlock,
    Cut(u64, u64),
    Sync(u64),
    SyncFolder(&'a Path),
    CreateFolder(&'a Path),
    RemoveFolder(&'a Path),
    Rename(&'a Path, &'a Path),
    Link(&'a Path, &'a Path),
    Remove(&'a Path),
}

/// What a call has changed. Files are numbered in the order in which they are first opened.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Create(PathBuf, u64),
    Write(u64, u64, Vec<u8>),
    Cut(u64, u64),
    Sync(u64),
    /// What was not synced before it is not synced by a later sync either.
    FailedSync(u64),
    SyncFolder(PathBuf),
    FailedSyncFolder(PathBuf),
    CreateFolder(PathBuf),
    RemoveFolder(PathBuf),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails with this error number.
    Errno(i32),
    /// A write stops halfway because the disk is full.
    ShortWrite,
    /// A sync fails, and every other call works.
    FailedSync,
    /// It does not return until [`Plan::mend`] is called.
    Hang,
    /// It works, after this time.
    Slow(Duration),
}

#[derive(Debug)]
pub(crate) struct Plan {
    boot: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The thread of each call.
    callers: Vec<ThreadId>,
    fault: Option<(Fault, std::ops::Range<usize>)>,
    /// The threads whose calls are hanging.
    hanging: Vec<ThreadId>,
    /// Whether one of them gives a lease back.
    hangs_at_unlock: bool,
    struck: bool,
    trace: Vec<Change>,
    files: HashMap<PathBuf, u64>,
    last_file: u64,
}

impl Plan {
    pub(crate) fn new(boot: &str) -> Arc<Self> {
        Arc::new(Self { boot: boot.to_owned(), state: Mutex::default(), changed: Condvar::new() })
    }

    /// Makes the calls of this range, counted from now on, go wrong.
    pub(crate) fn fail(&self, fault: Fault, calls: std::ops::Range<usize>) {
        let mut state = self.state();
        state.struck = false;
        let start = state.callers.len();
        let end = calls.end.saturating_add(start);
        state.fault = Some((fault, calls.start + start..end));
    }

    /// Makes all calls work from now on, and those that hang return. Returns whether any went
    /// wrong.
    pub(crate) fn mend(&self) -> bool {
        let mut state = self.state();
        state.fault = None;
        self.changed.notify_all();
        state.struck
    }

    pub(crate) fn calls(&self) -> usize {
        self.state().callers.len()
    }

    /// The threads that have made the calls from this one on.
    pub(crate) fn callers(&self, from: usize) -> Vec<ThreadId> {
        self.state().callers[from..].to_vec()
    }

    /// Whether a call is hanging.
    pub(crate) fn hangs(&self) -> bool {
        !self.state().hanging.is_empty()
    }

    /// The threads whose calls are hanging.
    pub(crate) fn hanging(&self) -> Vec<ThreadId> {
        self.state().hanging.clone()
    }

    /// Whether a call is hanging that gives a lease back.
    pub(crate) fn hangs_at_unlock(&self) -> bool {
        self.state().hangs_at_unlock
    }

    pub(crate) fn trace(&self) -> Vec<Change> {
        self.state().trace.clone()
    }

    /// How many changes there have been.
    pub(crate) fn moment(&self) -> usize {
        self.state().trace.len()
    }

    pub(super) fn boot(&self) -> &str {
        &self.boot
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Numbers a file that was opened.
    pub(super) fn opened(&self, path: &Path, new: bool) -> u64 {
        let mut state = self.state();
        if let (false, Some(file)) = (new, state.files.get(path)) {
            return *file;
        }
        state.last_file += 1;
        let file = state.last_file;
        state.files.insert(path.to_owned(), file);
        if new {
            state.trace.push(Change::Create(path.to_owned(), file));
        }
        file
    }

    /// Counts a call. It fails or hangs if its number is in the range.
    pub(super) fn enter(&self, call: Call<'_>) -> io::Result<()> {
        let (mut state, fault) = self.next(match call {
            Call::Sync(_) | Call::SyncFolder(_) => Kind::Sync,
            Call::Unlock => Kind::Unlock,
            _ => Kind::Other,
        });
        if let Some(error) = fault {
            match call {
                Call::Sync(file) => state.trace.push(Change::FailedSync(file)),
                Call::SyncFolder(path) => {
                    state.trace.push(Change::FailedSyncFolder(path.to_owned()));
                }
                _ => {}
            }
            return Err(error);
        }
        let change = match call {
            Call::Look | Call::Unlock => return Ok(()),
            Call::Cut(file, length) => Change::Cut(file, length),
            Call::Sync(file) => Change::Sync(file),
            Call::SyncFolder(path) => Change::SyncFolder(path.to_owned()),
            Call::CreateFolder(path) => Change::CreateFolder(path.to_owned()),
            Call::RemoveFolder(path) => Change::RemoveFolder(path.to_owned()),
            Call::Rename(from, to) => {
                if let Some(file) = state.files.remove(from) {
                    state.files.insert(to.to_owned(), file);
                }
                Change::Rename(from.to_owned(), to.to_owned())
            }
            Call::Link(from, to) => {
                if let Some(file) = state.files.get(from).copied() {
                    state.files.insert(to.to_owned(), file);
                }
                Change::Link(from.to_owned(), to.to_owned())
            }
            Call::Remove(path) => {
                state.files.remove(path);
                Change::Remove(path.to_owned())
            }
        };
        state.trace.push(change);
        Ok(())
    }

    /// How many of the bytes to write, and what to return to the caller.
    pub(super) fn write(&self, file: u64, bytes: &[u8], at: u64) -> (usize, io::Result<()>) {
        let (mut state, fault) = self.next(Kind::Write);
        let fits = match &fault {
            None => bytes.len(),
            Some(error) if error.raw_os_error() == Some(NO_SPACE) => bytes.len() / 2,
            Some(_) => 0,
        };
        state.trace.push(Change::Write(file, at, bytes[..fits].to_vec()));
        (fits, fault.map_or(Ok(()), Err))
    }

    fn next(&self, kind: Kind) -> (MutexGuard<'_, State>, Option<io::Error>) {
        let mut state = self.state();
        let (number, caller) = (state.callers.len(), thread::current().id());
        state.callers.push(caller);
        let turn = |state: &State| match &state.fault {
            Some((fault, calls)) if calls.contains(&number) => Some(*fault),
            _ => None,
        };
        let error = match turn(&state) {
            Some(Fault::Errno(errno)) => Some(errno),
            Some(Fault::ShortWrite) if kind == Kind::Write => Some(NO_SPACE),
            Some(Fault::FailedSync) if kind == Kind::Sync => Some(IO_ERROR),
            Some(Fault::Hang) => {
                state.struck = true;
                state.hanging.push(caller);
                state.hangs_at_unlock = kind == Kind::Unlock;
                while turn(&state).is_some() {
                    state = self.changed.wait(state).unwrap();
                }
                state.hanging.retain(|other| *other != caller);
                None
            }
            Some(Fault::Slow(time)) => {
                state.struck = true;
                drop(state);
                thread::sleep(time);
                state = self.state();
                None
            }
            _ => None,
        };
        state.struck |= error.is_some();
        (state, error.map(io::Error::from_raw_os_error))
    }
}

/// What a fault goes by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sync,
    Write,
    Unlock,
    Other,
}

pub(crate) const IO_ERROR: i32 = 5;
pub(crate) const NO_SPACE: i32 = 28;
pub(crate) const READ_ONLY: i32 = 30;
