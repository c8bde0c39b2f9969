//! Removing what is left of an upload that is uncommitted, removed or damaged.
//!
//! Everything here blocks.

use std::path::PathBuf;
use std::sync::Arc;

use super::journal::Journal;
use super::layout::{Layout, record_below};
use super::lease::Lease;
use super::record_file;
use crate::id::UploadId;
use crate::store::{Remains, Result, StoreError};

/// Removes what an interrupted creation or removal has left, unless it is still under way.
pub(super) fn discard(layout: &Layout, id: &UploadId) -> Result<()> {
    let (_held, bytes) = match record_file::lock(layout, &mut layout.open(), id) {
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
    if layout.check_path(id, &record_below(id)).is_err() {
        return Remains::default();
    }
    let bytes = record_file::read_bytes(layout, id);
    let record = bytes.ok().and_then(|bytes| Journal::remains(id, &bytes));
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
            let _held = match record_file::lock(layout, &mut layout.open(), id) {
                Err(StoreError::Damaged { .. } | StoreError::NotFound) => None,
                locked => Some(locked?),
            };
            remove_all(layout, id, None).map(|()| true)
        }
        Err(error) => Err(error),
    }
}

/// Removes the files of an upload. If its record does not say where the bytes are, they are
/// searched for.
fn remove_all(layout: &Layout, id: &UploadId, data: Option<PathBuf>) -> Result<()> {
    let data = data.or_else(|| layout.search(id));
    if let Some(below) = &data {
        layout.check_path(id, below)?;
    }
    layout.remove_files(id, data.as_deref())?;
    data.iter().for_each(|below| layout.remove_empty_folders(below));
    Ok(())
}
