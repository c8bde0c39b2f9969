//! Removing what is left of an upload that is uncommitted, removed or damaged.
//!
//! Everything here blocks.

use std::path::PathBuf;
use std::sync::Arc;

use super::disk::File;
use super::journal::Journal;
use super::layout::{Layout, record_below};
use super::lease::Lease;
use super::record_file;
use crate::id::UploadId;
use crate::store::{Remains, Result, StoreError};

/// Removes what an interrupted creation or removal has left, unless it is still under way.
pub(super) fn discard(layout: &Layout, id: &UploadId) -> Result<()> {
    match lock_what_is_left(layout, id) {
        Err(StoreError::NotFound | StoreError::Conflict) => Ok(()),
        left => {
            let (_held, journal) = left?;
            remove_left(layout, journal, || layout.search(id))
        }
    }
}

/// Does the same for the creation of an upload with this id.
///
/// # Errors
/// [`StoreError::Conflict`] if there is such an upload, and [`StoreError::Busy`] if somebody else
/// creates or removes it.
pub(super) fn vacate(layout: &Layout, id: &UploadId) -> Result<()> {
    match lock_what_is_left(layout, id) {
        Err(StoreError::NotFound) => Ok(()),
        Err(StoreError::Busy) => match is_upload(record_file::read(layout, id))? {
            true => Err(StoreError::Conflict),
            false => Err(StoreError::Busy),
        },
        left => {
            let (_held, journal) = left?;
            // The bytes come after the line that names them.
            remove_left(layout, journal, || None)
        }
    }
}

/// Locks a record that is none of an upload. It is locked as long as the file is open.
///
/// # Errors
/// [`StoreError::Conflict`] if it is one.
fn lock_what_is_left(layout: &Layout, id: &UploadId) -> Result<(File, Journal)> {
    let (held, bytes) = record_file::lock(layout, &mut layout.open(), id)?;
    let mut journal = Journal::parse(id, &bytes)?;
    journal.accept_pending()?;
    match journal.record {
        Some(_) => Err(StoreError::Conflict),
        None => Ok((held, journal)),
    }
}

/// Whether it is the record of an upload that exists, whose holder may be syncing the last line.
fn is_upload(journal: Result<Journal>) -> Result<bool> {
    let mut journal = match journal {
        Err(StoreError::NotFound) => return Ok(false),
        journal => journal?,
    };
    journal.accept_pending()?;
    Ok(journal.record.is_some())
}

fn remove_left(
    layout: &Layout,
    journal: Journal,
    search: impl FnOnce() -> Option<PathBuf>,
) -> Result<()> {
    let in_place =
        journal.data.as_ref().is_some_and(|data| layout.is_taken_in_place(data, journal.moved()));
    let data = if in_place { None } else { journal.data.or_else(search) };
    remove_all(layout, &journal.id, data)
}

/// What can still be told of an upload whose record is damaged.
pub(super) fn remains(layout: &Layout, id: &UploadId) -> Remains {
    if layout.check_path(id, &record_below(id)).is_err() {
        return Remains::default();
    }
    let bytes = record_file::read_bytes(layout, id);
    let record = bytes.ok().and_then(|bytes| Journal::before_damage(id, &bytes).record);
    Remains { record, written: layout.disk.modified(&layout.record(id)), ..Remains::default() }
}

/// Removes an upload that cannot be trusted.
pub(super) fn remove_damaged(layout: &Arc<Layout>, id: &UploadId) -> Result<bool> {
    match Lease::take(Arc::clone(layout), id) {
        Ok(lease) if lease.is_damaged() => lease.remove().map(|()| true),
        Ok(_) => Ok(false),
        Err(StoreError::Damaged { .. }) => {
            layout.check_path(id, &record_below(id))?;
            // If there is no record file, nobody can hold it.
            let (_held, bytes) = match record_file::lock(layout, &mut layout.open(), id) {
                Err(StoreError::Damaged { .. } | StoreError::NotFound) => (None, Vec::new()),
                locked => locked.map(|(held, bytes)| (Some(held), bytes))?,
            };
            let mut journal = Journal::before_damage(id, &bytes);
            // What a link leads to is nobody's.
            journal.data = journal.data.filter(|below| !layout.open().has_link(below));
            remove_left(layout, journal, || layout.search(id)).map(|()| true)
        }
        Err(error) => Err(error),
    }
}

/// Removes the files of an upload.
fn remove_all(layout: &Layout, id: &UploadId, data: Option<PathBuf>) -> Result<()> {
    if let Some(below) = &data {
        layout.check_path(id, below)?;
    }
    layout.remove_files(id, data.as_deref())?;
    data.iter().for_each(|below| layout.remove_empty_folders(below));
    Ok(())
}
