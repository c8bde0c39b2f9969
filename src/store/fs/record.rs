//! The records as files: found, read, made, locked and removed.
//!
//! Everything here blocks.

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::disk::{Disk, File};
use super::journal::Journal;
use super::layout::{Layout, failed, no_record};
use super::lease::{Lease, REWRITTEN};
use crate::id::UploadId;
use crate::store::{Remains, StoreError};

/// Reads a record. A pending line is confirmed first, unless somebody is at it: then it is being
/// synced, and its writer is given a moment to end, or another reader to confirm it.
pub(super) fn load(layout: &Arc<Layout>, id: &UploadId) -> Result<Journal, StoreError> {
    let mut journal = layout.read(id)?;
    for _ in 0..RETRIES {
        if !journal.is_pending() {
            break;
        }
        let unwritable = match Lease::take(Arc::clone(layout), id) {
            Ok(lease) => {
                drop(lease);
                false
            }
            Err(StoreError::Busy) => {
                std::thread::sleep(RETRY_PAUSE);
                false
            }
            // It was being removed, and what is left is for the next sweep; or there is no room for a
            // newline; or, where no sync is promised, nothing can be written.
            Err(StoreError::NotFound | StoreError::Full { .. }) => true,
            Err(StoreError::Io { .. }) if !layout.syncs() => true,
            Err(error) => return Err(error),
        };
        journal = layout.read(id)?;
        if unwritable {
            journal.accept_pending()?;
            break;
        }
    }
    Ok(journal)
}

/// Opens the bytes of an upload for reading, wherever they are.
pub(super) fn open(layout: &Arc<Layout>, id: &UploadId) -> Result<(File, u64), StoreError> {
    loop {
        let journal = load(layout, id)?;
        let end = journal.end;
        match layout.open(journal) {
            // They may have been moved or removed since the record was read.
            Err(StoreError::Damaged { .. }) if layout.read(id)?.end != end => {}
            opened => return opened,
        }
    }
}

/// Removes what a creation or a removal left, unless somebody is at it.
pub(super) fn discard(layout: &Layout, id: &UploadId) -> Result<(), StoreError> {
    let (_record, _, bytes) = match lock(layout, id) {
        Err(StoreError::NotFound) => return Ok(()),
        locked => locked?,
    };
    let mut journal = Journal::parse(id, &bytes)?;
    journal.accept_pending()?;
    if journal.record.is_some() {
        return Ok(());
    }
    remove_all(layout, id, journal.data)
}

/// What can still be told of an upload whose record is damaged.
pub(super) fn remains(layout: &Layout, id: &UploadId) -> Remains {
    if layout.check_way_to_record(id).is_err() {
        return Remains::default();
    }
    let path = layout.record(id);
    let record = layout.disk.read(&path).ok();
    Remains {
        record: record.and_then(|bytes| Journal::remains(id, &bytes)),
        expires: None,
        written: layout.disk.modified(&path),
    }
}

/// Removes an upload that cannot be trusted.
pub(super) fn remove_damaged(layout: &Arc<Layout>, id: &UploadId) -> Result<bool, StoreError> {
    match Lease::take(Arc::clone(layout), id) {
        Ok(lease) if lease.is_damaged() => lease.remove().map(|()| true),
        Ok(_) => Ok(false),
        Err(StoreError::Damaged { .. }) => {
            layout.check_way_to_record(id)?;
            // What is no record can be held by nobody.
            let _held = match lock(layout, id) {
                Err(StoreError::Damaged { .. } | StoreError::NotFound) => None,
                locked => Some(locked?),
            };
            remove_all(layout, id, None).map(|()| true)
        }
        Err(error) => Err(error),
    }
}

/// Removes the bytes, which are searched for if their place is not known, and the record.
fn remove_all(layout: &Layout, id: &UploadId, data: Option<PathBuf>) -> Result<(), StoreError> {
    let remove =
        |path: &Path| layout.disk.remove(path).map_err(|error| failed("remove", path, error));
    if let Some(below) = data.or_else(|| layout.search(id)) {
        layout.check_way(id, &below)?;
        remove(&layout.data(&below))?;
        layout.remove_empty_folders(&below);
    }
    let path = layout.record(id);
    remove(&path.with_extension(REWRITTEN))?;
    remove(&path)
}

/// Makes and locks a new record. A sweep may find it before it is locked, and remove it for being
/// empty.
pub(super) fn create_locked(disk: &Disk, path: &Path) -> Result<File, StoreError> {
    for _ in 0..SWEEPS {
        match disk.create_with_folders(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("create", path, error)),
            Ok(file) => match file.try_lock() {
                Ok(()) if file.is_at(path).unwrap_or(false) => return Ok(file),
                Err(TryLockError::Error(error)) => {
                    drop(disk.remove(path));
                    return Err(failed("lock", path, error));
                }
                _ => {}
            },
        }
        // The sweep is at it, and removes it at once.
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(StoreError::Busy)
}

/// Opens and locks the record of an upload, and reads it.
pub(super) fn lock(layout: &Layout, id: &UploadId) -> Result<(File, PathBuf, Vec<u8>), StoreError> {
    layout.check_way_to_record(id)?;
    let path = layout.record(id);
    loop {
        let file = layout.disk.open(&path).map_err(|error| no_record(id, &path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Busy),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &path, error)),
        }
        // It may have been rewritten or removed between the opening and the lock.
        if file.is_at(&path).map_err(|error| failed("look at", &path, error))? {
            let bytes = file.read_all().map_err(|error| failed("read", &path, error))?;
            return Ok((file, path, bytes));
        }
    }
}

/// How often, and after what time, to look again at a record that somebody is writing.
const RETRIES: usize = 20;
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// How often a new record may fall to a sweep before its creation fails.
const SWEEPS: usize = 100;
