//! What a test makes of the system: calls that fail or hang, and a trace of those that worked.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// A call, as it is made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call<'a> {
    /// One that changes nothing, or makes a file, which is told by [`Plan::opened`].
    Look,
    Cut(u64, u64),
    Sync(u64),
    SyncFolder(&'a Path),
    CreateFolder(&'a Path),
    RemoveFolder(&'a Path),
    Rename(&'a Path, &'a Path),
    Link(&'a Path, &'a Path),
    Remove(&'a Path),
}

/// What a call that was made has changed. Files have numbers, given when they are made.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Create(PathBuf, u64),
    Write(u64, u64, Vec<u8>),
    Cut(u64, u64),
    Sync(u64),
    /// What was not synced before it will not be synced by a later one either.
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
    /// With this error of the system.
    Errno(i32),
    /// A write stops half-way, and the disk is full.
    ShortWrite,
    /// A sync says that it failed; every other call works.
    FailedSync,
    /// It does not return before it is let go.
    Hang,
}

#[derive(Debug)]
pub(crate) struct Plan {
    boot: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    calls: usize,
    fault: Option<(Fault, std::ops::Range<usize>)>,
    /// How many calls hang.
    hanging: usize,
    struck: bool,
    trace: Vec<Change>,
    files: HashMap<PathBuf, u64>,
    last_file: u64,
}

impl Plan {
    pub(crate) fn new(boot: &str) -> Arc<Self> {
        Arc::new(Self { boot: boot.to_owned(), state: Mutex::default(), changed: Condvar::new() })
    }

    /// The calls of this range, from now on, go wrong.
    pub(crate) fn fail(&self, fault: Fault, calls: std::ops::Range<usize>) {
        let mut state = self.state();
        state.struck = false;
        let start = state.calls;
        let end = calls.end.saturating_add(start);
        state.fault = Some((fault, calls.start + start..end));
    }

    /// From now on everything works, and what hangs goes on. Says whether anything went wrong.
    pub(crate) fn mend(&self) -> bool {
        let mut state = self.state();
        state.fault = None;
        self.changed.notify_all();
        state.struck
    }

    pub(crate) fn calls(&self) -> usize {
        self.state().calls
    }

    /// Whether a call hangs at this moment.
    pub(crate) fn hangs(&self) -> bool {
        self.state().hanging > 0
    }

    pub(crate) fn trace(&self) -> Vec<Change> {
        self.state().trace.clone()
    }

    /// How many changes there were so far.
    pub(crate) fn moment(&self) -> usize {
        self.state().trace.len()
    }

    pub(super) fn boot(&self) -> &str {
        &self.boot
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The number of a file that was opened.
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

    /// Counts the call, and fails or hangs if it is its turn.
    pub(super) fn enter(&self, call: Call<'_>) -> io::Result<()> {
        let (mut state, fault) =
            self.next(matches!(call, Call::Sync(_) | Call::SyncFolder(_)), false);
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
            Call::Look => return Ok(()),
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

    /// How many of the bytes are to be written, and what the caller is told then.
    pub(super) fn write(&self, file: u64, bytes: &[u8], at: u64) -> (usize, io::Result<()>) {
        let (mut state, fault) = self.next(false, true);
        let fits = match &fault {
            None => bytes.len(),
            Some(error) if error.raw_os_error() == Some(NO_SPACE) => bytes.len() / 2,
            Some(_) => 0,
        };
        state.trace.push(Change::Write(file, at, bytes[..fits].to_vec()));
        (fits, fault.map_or(Ok(()), Err))
    }

    fn next(&self, is_sync: bool, is_write: bool) -> (MutexGuard<'_, State>, Option<io::Error>) {
        let mut state = self.state();
        let number = state.calls;
        state.calls += 1;
        let turn = |state: &State| match &state.fault {
            Some((fault, calls)) if calls.contains(&number) => Some(*fault),
            _ => None,
        };
        let error = match turn(&state) {
            Some(Fault::Errno(errno)) => Some(errno),
            Some(Fault::ShortWrite) if is_write => Some(NO_SPACE),
            Some(Fault::FailedSync) if is_sync => Some(IO_ERROR),
            Some(Fault::Hang) => {
                state.struck = true;
                state.hanging += 1;
                while turn(&state).is_some() {
                    state = self.changed.wait(state).unwrap();
                }
                state.hanging -= 1;
                None
            }
            _ => None,
        };
        state.struck |= error.is_some();
        (state, error.map(io::Error::from_raw_os_error))
    }
}

pub(crate) const IO_ERROR: i32 = 5;
pub(crate) const NO_SPACE: i32 = 28;
pub(crate) const READ_ONLY: i32 = 30;
