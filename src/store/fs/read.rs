//! Reading uploads, also those that somebody else holds.
//!
//! Everything here blocks.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::data_file::{self, DataFile, Place};
use super::disk::File;
use super::journal::Journal;
use super::layout::Layout;
use super::lease::Lease;
use super::record_file;
use crate::id::UploadId;
use crate::store::{Cursor, Page, Result, StoreError};
use crate::upload::Upload;

/// Reads a record. If a line is pending, it is confirmed first. If somebody holds the record, the
/// line is being synced; the holder is given a moment to finish, or another reader to confirm it.
pub(super) fn load(layout: &Arc<Layout>, id: &UploadId) -> Result<Journal> {
    for _ in 0..RETRIES {
        let journal = record_file::read(layout, id)?;
        if !journal.is_pending() {
            return Ok(journal);
        }
        match Lease::take(Arc::clone(layout), id) {
            // This has confirmed the line.
            Ok(_lease) => {}
            Err(StoreError::Busy) => std::thread::sleep(RETRY_PAUSE),
            // The upload was being removed, and the next sweep does the rest; or the disk has no
            // room for a newline.
            Err(StoreError::NotFound | StoreError::Full { .. }) => return accept(layout, id),
            // Another process may write here and this one may not. That one confirms the line.
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(RETRY_PAUSE);
            }
            // Nothing can be written. If commits are not synced, the line counts as it is.
            Err(StoreError::Io { .. }) if !layout.syncs() => return accept(layout, id),
            Err(error) => return Err(error),
        }
    }
    record_file::read(layout, id)
}

fn accept(layout: &Layout, id: &UploadId) -> Result<Journal> {
    let mut journal = record_file::read(layout, id)?;
    journal.accept_pending()?;
    Ok(journal)
}

/// Opens the bytes of an upload for reading, wherever they are. There is no file if they are those of
/// its parts.
pub(super) fn open(layout: &Arc<Layout>, id: &UploadId) -> Result<(Upload, Option<File>)> {
    loop {
        let journal = load(layout, id)?;
        let end = journal.end;
        let (upload, notes) = journal.committed()?;
        let found = data_file::find(layout, &notes)?;
        if upload.is_joined() && found.1 == Place::Store {
            return Ok((upload, None));
        }
        match DataFile::open_to_read(layout, &upload, &notes) {
            // They may have been moved or removed after the record was read, or moved while it says
            // that they are being moved.
            Err(StoreError::Damaged { .. })
                if record_file::read(layout, id)?.end != end
                    || data_file::find(layout, &notes)? != found => {}
            opened => return Ok((upload, Some(opened?))),
        }
    }
}

/// Opens the bytes of a part for reading, and says how many there are.
pub(super) fn open_part(layout: &Arc<Layout>, id: &UploadId) -> Result<(File, u64)> {
    let (upload, file) = open(layout, id)?;
    let file =
        file.ok_or_else(|| StoreError::damaged(id, "a part is itself joined from others"))?;
    Ok((file, upload.offset()))
}

/// Reads a page of records.
pub(super) fn page(layout: &Arc<Layout>, cursor: Option<Cursor>) -> Result<Page> {
    let (ids, next) = layout.ids(cursor)?;
    let mut page = Page { next, ..Page::default() };
    for id in ids {
        match load(layout, &id).map(|journal| journal.record) {
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
