//! What Windows does in other ways.
//!
//! Its locks are mandatory: what is locked can be read through no other handle, not even by the same
//! process. So a file is locked within the process only, and other processes are kept out of the
//! whole store by a file that nobody reads.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions, TryLockError};
use std::io;
use std::os::windows::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What tells a file from others, as long as it is open: its volume and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Identity(u64, u64);

impl Identity {
    pub(super) fn of(file: &fs::File, _: &fs::Metadata) -> io::Result<Self> {
        Ok(Self::and_length(file)?.0)
    }

    /// That of the file at the path, and its length. A link is not followed.
    pub(in super::super) fn at(path: &Path) -> io::Result<(Self, u64)> {
        let flags = FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS;
        Self::and_length(&OpenOptions::new().access_mode(0).custom_flags(flags).open(path)?)
    }

    fn and_length(file: &fs::File) -> io::Result<(Self, u64)> {
        let found = winapi_util::file::information(file)?;
        Ok((Self(found.volume_serial_number(), found.file_index()), found.file_size()))
    }
}

/// The files that are locked.
static LOCKED: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

/// The lock on an open file, if it is held. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    identity: Identity,
    is_held: AtomicBool,
}

impl Lock {
    pub(super) fn new(identity: Identity) -> Self {
        Self { identity, is_held: AtomicBool::new(false) }
    }

    pub(super) fn try_take(&self) -> Result<(), TryLockError> {
        if !guard(&LOCKED).insert(self.identity) {
            return Err(TryLockError::WouldBlock);
        }
        self.is_held.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn release(&self) {
        if self.is_held.swap(false, Ordering::Relaxed) {
            guard(&LOCKED).remove(&self.identity);
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.release();
    }
}

/// The files by which this process has claimed stores, locked, and how many claims there are on each.
static CLAIMED: Mutex<BTreeMap<Identity, (fs::File, usize)>> = Mutex::new(BTreeMap::new());

/// What keeps other processes out of a store, until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Claim(Mutex<Option<Identity>>);

impl Claim {
    /// Claims a store by the file at this path, which may be another one than before.
    pub(super) fn renew(&self, path: &Path) -> io::Result<()> {
        let mut mine = guard(&self.0);
        if let (Some(mine), Ok((there, _))) = (*mine, Identity::at(path))
            && mine == there
        {
            return Ok(());
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.custom_flags(FILE_FLAG_OPEN_REPARSE_POINT).open(path)?;
        let (identity, _) = Identity::and_length(&file)?;
        let mut claimed = guard(&CLAIMED);
        match claimed.entry(identity) {
            Entry::Occupied(mut entry) => entry.get_mut().1 += 1,
            Entry::Vacant(entry) => {
                file.try_lock().map_err(|error| match error {
                    TryLockError::WouldBlock => io::Error::new(
                        io::ErrorKind::ResourceBusy,
                        "another process uses this store, and on Windows only one may",
                    ),
                    TryLockError::Error(error) => error,
                })?;
                entry.insert((file, 1));
            }
        }
        if let Some(before) = mine.replace(identity) {
            give_back(&mut claimed, before);
        }
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(mine) = guard(&self.0).take() {
            give_back(&mut guard(&CLAIMED), mine);
        }
    }
}

/// Closes the file with the last claim on it, before another one can be made.
fn give_back(claimed: &mut BTreeMap<Identity, (fs::File, usize)>, identity: Identity) {
    if let Entry::Occupied(mut entry) = claimed.entry(identity) {
        entry.get_mut().1 -= 1;
        if entry.get().1 == 0 {
            entry.remove();
        }
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn read_at(file: &fs::File, bytes: &mut [u8], position: u64) -> io::Result<usize> {
    file.seek_read(bytes, position)
}

pub(super) fn write_all_at(file: &fs::File, mut bytes: &[u8], mut position: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = file.seek_write(bytes, position)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
        position += written as u64;
    }
    Ok(())
}

// Those of `CreateFileW`.
const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
