//! The lease on an upload: its locked record and its bytes, and the work that needs both.
//!
//! Everything here blocks.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::data_file::{self, DataFile, Place};
use super::follow::Queue;
use super::journal::{Line, Notes};
use super::layout::Layout;
use super::record_file::RecordFile;
use crate::id::UploadId;
use crate::store::commit::Look;
use crate::store::{Handover, Result, StoreError};
use crate::upload::{Status, Upload};

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) layout: Arc<Layout>,
    /// The record as last committed, or that of a new upload.
    pub(super) upload: Arc<Upload>,
    /// `None` before the first byte of a new upload, and after the removal.
    files: Option<Files>,
    /// Whether the bytes were compared with their checksum since the last commit.
    pub(super) verified: bool,
}

#[derive(Debug)]
pub(super) struct Files {
    pub(super) record: RecordFile,
    pub(super) data: DataFile,
}

impl Lease {
    /// The lease on a new upload. Nothing of it is on the disk yet.
    pub(super) fn uncommitted(layout: Arc<Layout>, upload: Upload) -> Self {
        Self { layout, upload: Arc::new(upload), files: None, verified: false }
    }

    /// Creates the files of a new upload, whose id others may use for the same upload.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it exists, and [`StoreError::Busy`] if it is being created.
    pub(super) fn create(layout: Arc<Layout>, upload: Upload) -> Result<Self> {
        let mut lease = Self::uncommitted(layout, upload);
        lease.ensure_files()?;
        Ok(lease)
    }

    /// Takes the lease on an upload that exists.
    pub(super) fn take(layout: Arc<Layout>, id: &UploadId) -> Result<Self> {
        let mut root = layout.open();
        let (mut record, mut upload, before) = RecordFile::open(&layout, &mut root, id)?;
        let mut data = DataFile::open_to_write(&layout, &mut root, &upload, &record.notes)?;
        // A commit failed and its bytes were rolled back, but its line could not be cut off. No
        // client was told of it.
        if let Some(before) = before
            && data.is_cut_to(&before)
        {
            record.reject_pending();
            upload = before;
            data = DataFile::open_to_write(&layout, &mut root, &upload, &record.notes)?;
        }
        #[cfg(target_os = "linux")]
        drop(root);
        record.confirm(&upload)?;
        let (upload, files) = (Arc::new(upload), Some(Files { record, data }));
        Ok(Self { layout, upload, files, verified: false })
    }

    /// Whether dropping the lease removes bytes or files.
    pub(super) fn is_dirty(&self) -> bool {
        let files = self.files.as_ref();
        files.is_some_and(|files| !files.record.is_committed() || files.data.dirty)
    }

    /// Whether the bytes may differ from those that were written: they were not synced, and the
    /// machine has been restarted since.
    pub(super) fn needs_verification(&self) -> bool {
        let files = self.files.as_ref();
        let since = files.and_then(|files| files.record.notes.unsynced_since.as_deref());
        since.is_some() && since != self.layout.disk.boot() && !self.verified
    }

    /// Whether bytes are missing.
    pub(super) fn is_damaged(&self) -> bool {
        self.files.as_ref().is_some_and(|files| files.data.check().is_err())
    }

    /// The file with the bytes. What is joined from others has none before it is persisted.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let notes = &self.files.as_ref()?.record.notes;
        let (path, place) = data_file::find(&self.layout, notes).ok()?;
        (place == Place::Application || !self.upload.is_joined()).then_some(path)
    }

    pub(super) fn files(&mut self) -> Result<&mut Files> {
        self.files.as_mut().ok_or(StoreError::NotFound)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.ensure_files()?.data.write(bytes)
    }

    /// Writes bytes that are looked at afterwards.
    pub(super) fn write_ahead(&mut self, bytes: &[u8], look: Look, queue: &Queue) -> Result<()> {
        let data = &mut self.ensure_files()?.data;
        let position = data.position;
        data.write(bytes)?;
        data.leave_to(queue, position, look)
    }

    /// Writes the last bytes, then the record. If commits are synced, the bytes are synced before
    /// the record is written, and the record before this returns.
    pub(super) fn commit(&mut self, last: &[u8], upload: Upload, handover: Handover) -> Result<()> {
        self.write(last)?;
        let Self { layout, upload: before, files: Some(files), verified } = self else {
            return Err(StoreError::NotFound);
        };
        let Files { record, data } = files;
        let grown = !record.is_committed() || upload.offset() != before.offset();
        if grown || handover == Handover::Given {
            data.check()?;
        }
        if handover == Handover::Given {
            // The application gets the acknowledged bytes and nothing after them.
            data.cut(&upload)?;
        }
        if layout.syncs() && (grown || record.notes.unsynced_since.is_some()) {
            data.sync()?;
        }
        // Whether the bytes of parts are synced is in the records of those.
        let mut lines = sync_lines(layout, &record.notes, grown && !upload.is_joined(), *verified);
        let same = Upload { progress: upload.progress.clone(), ..Upload::clone(before) } == upload;
        lines.push(if same && record.is_committed() {
            Line::Progress(Box::new(upload.progress.clone()))
        } else {
            Line::Record(Box::new(upload.clone()))
        });
        record.commit(lines, &upload)?;
        data.commit(&upload);
        (*before, *verified) = (Arc::new(upload), false);
        Ok(())
    }

    /// The bytes that were written and not committed: a file, and where they are in it.
    pub(super) fn uncommitted_bytes(&mut self) -> Result<(std::fs::File, Range<u64>)> {
        self.ensure_files()?;
        let Self { upload, files: Some(Files { data, .. }), .. } = self else {
            return Err(StoreError::NotFound);
        };
        let start = data.place.length(upload);
        Ok((data.reader_at(start)?, start..data.position))
    }

    /// Gives the lease back and keeps the files open, if the upload is one that more bytes are added
    /// to.
    pub(super) fn release(self) -> Option<Released> {
        let Files { record, data } = self.files.as_ref()?;
        let grows = self.upload.status() == Status::Open && !self.upload.is_joined();
        let keeps = cfg!(unix) && grows && record.is_settled() && data.is_settled();
        (keeps && record.unlock().is_ok()).then_some(Released(self))
    }

    pub(super) fn remove(mut self) -> Result<()> {
        if let Some(files) = &mut self.files {
            match files.record.append(vec![Line::Removed {}]) {
                // A full disk must not prevent the removal. If a crash interrupts it, a record
                // without bytes is left, which can be removed again.
                Err(StoreError::Full { .. }) => {}
                appended => appended?,
            }
        }
        self.clear()
    }

    /// Creates the files of a new upload, unless they exist. The record comes first and names the
    /// data file, so a crash leaves no file that no record knows of.
    fn ensure_files(&mut self) -> Result<&mut Files> {
        if self.files.is_none() {
            let (layout, upload) = (&self.layout, &self.upload);
            let data_path = layout.new_data(upload)?;
            let mut root = layout.open();
            let record = RecordFile::create(layout, &mut root, upload, data_path)?;
            let data = DataFile::create(layout, &mut root, upload, &record.notes.data_path);
            let data =
                data.inspect_err(|_| drop(layout.disk.remove(&layout.record(&upload.id))))?;
            #[cfg(target_os = "linux")]
            drop(root);
            self.files = Some(Files { record, data });
        }
        self.files()
    }

    /// Removes the files. The lock is held until they are removed.
    fn clear(&mut self) -> Result<()> {
        let Some(files) = self.files.take() else { return Ok(()) };
        let (layout, notes) = (&self.layout, &files.record.notes);
        let taken_in_place = layout.is_taken_in_place(&notes.data_path, notes.moved.as_deref());
        let data = (!taken_in_place).then_some(&*notes.data_path);
        layout.remove_files(&self.upload.id, data)?;
        layout.remove_empty_folders(&notes.data_path);
        Ok(())
    }
}

/// The open files of an upload that nobody holds, and its record as it was when it was released.
#[derive(Debug)]
pub(super) struct Released(Lease);

impl Released {
    pub(super) fn upload(&self) -> &Arc<Upload> {
        &self.0.upload
    }

    /// Whether the bytes need verification, as far as is known.
    pub(super) fn needs_verification(&self) -> bool {
        self.0.needs_verification()
    }

    /// Takes the lease again, if nobody has changed the upload meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if somebody has.
    pub(super) fn take(self) -> Result<Lease> {
        let Self(mut lease) = self;
        let files = lease.files()?;
        files.record.lock_again()?;
        match files.data.is_still_there()? {
            true => Ok(lease),
            false => Err(StoreError::Conflict),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(Files { record, data }) = &self.files else { return };
        if !record.is_committed() {
            // If this fails, the next sweep finds a record without a commit.
            drop(self.clear());
        } else if data.dirty && !record.is_torn() {
            // This only frees disk space: nobody reads beyond the offset of the record.
            drop(data.cut(&self.upload));
        }
    }
}

/// The lines with which a commit notes that bytes are synced, or are not.
fn sync_lines(layout: &Layout, notes: &Notes, grown: bool, verified: bool) -> Vec<Line> {
    let (sync, boot) = (layout.syncs(), layout.disk.boot());
    let since = notes.unsynced_since.as_deref();
    // A sync only affects what was written since the last boot.
    let sound = since.is_some() && (verified || sync && since == boot);
    let begins = !sync && (grown || verified) && (sound || since.is_none());
    let sound = sound.then_some(Line::Sound {});
    let boot = boot.filter(|_| begins).map(|boot| Line::Boot(boot.to_owned()));
    sound.into_iter().chain(boot).collect()
}
