//! Reading uploads that somebody else may hold.
//!
//! Everything here blocks.

use std::sync::Arc;
use std::time::Duration;

use super::data_file::DataFile;
use super::disk::File;
use super::journal::Journal;
use super::layout::Layout;
use super::lease::Lease;
use super::record_file;
use crate::id::UploadId;
use crate::store::{Cursor, Page, StoreError};

/// Reads a record. A pending line is confirmed first, unless somebody is at it: then it is being
/// synced, and its writer is given a moment to end, or another reader to confirm it.
pub(super) fn load(layout: &Arc<Layout>, id: &UploadId) -> Result<Journal, StoreError> {
    let mut journal = record_file::read(layout, id)?;
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
        journal = record_file::read(layout, id)?;
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
        let mut journal = load(layout, id)?;
        let (end, notes) = (journal.end, std::mem::take(&mut journal.notes));
        let (upload, data_path) = journal.committed()?;
        match DataFile::open_to_read(layout, &upload, &data_path, &notes) {
            // They may have been moved or removed after the record was read.
            Err(StoreError::Damaged { .. }) if record_file::read(layout, id)?.end != end => {}
            opened => return Ok((opened?, upload.offset())),
        }
    }
}

/// Reads a page of records.
pub(super) fn page(layout: &Arc<Layout>, cursor: Option<Cursor>) -> Result<Page, StoreError> {
    let (ids, next) = layout.ids(cursor)?;
    let mut page = Page { next, ..Page::default() };
    for id in ids {
        match load(layout, &id).map(Journal::into_committed) {
            Ok(Some(upload)) => page.uploads.push(Ok(upload)),
            Ok(None) => page.abandoned.push(id),
            // It was removed after the folder was read.
            Err(StoreError::NotFound) => {}
            Err(error) => page.uploads.push(Err(error)),
        }
    }
    Ok(page)
}

/// How many times, and after what pause, to read a record again that somebody is writing.
const RETRIES: usize = 20;
const RETRY_PAUSE: Duration = Duration::from_millis(5);
