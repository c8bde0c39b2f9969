//! The file of a record.
//!
//! Everything here blocks.

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::disk::{Disk, File, is_absent};
use super::journal::Journal;
use super::layout::{Layout, failed};
use crate::id::UploadId;
use crate::store::StoreError;

/// Reads the record of an upload, also of one that is uncommitted or removed.
pub(super) fn read(layout: &Layout, id: &UploadId) -> Result<Journal, StoreError> {
    layout.check_way_to_record(id)?;
    let path = layout.record(id);
    let bytes = layout.disk.read(&path).map_err(|error| cannot_open(id, &path, error))?;
    Journal::parse(id, &bytes)
}

/// Makes and locks a new record. A sweep may find it before it is locked, and remove it for being
/// empty.
pub(super) fn create_locked(disk: &Disk, path: &Path) -> Result<File, StoreError> {
    for _ in 0..CREATE_ATTEMPTS {
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
        let file = layout.disk.open(&path).map_err(|error| cannot_open(id, &path, error))?;
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

/// Why a record could not be opened.
fn cannot_open(id: &UploadId, path: &Path, error: io::Error) -> StoreError {
    match error.kind() {
        _ if is_absent(&error) => StoreError::NotFound,
        io::ErrorKind::InvalidInput => StoreError::damaged(id, "its record is no regular file"),
        _ => failed("open", path, error),
    }
}

/// The extension of a record that is about to replace another.
pub(super) const REWRITTEN: &str = "new";
/// How many times a new record may be removed by a sweep before its creation fails.
const CREATE_ATTEMPTS: usize = 100;
