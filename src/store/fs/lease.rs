//! The lease on an upload: the lock on its record, and the work that is done under it.
//!
//! Everything here blocks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, File, is_absent};
use super::journal::{Journal, Line, Notes};
use super::layout::{GONE, Layout, SHORT, failed, open_data};
use super::record_file::{self, REWRITTEN};
use crate::id::UploadId;
use crate::store::{Handover, StoreError};
use crate::upload::Upload;

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) layout: Arc<Layout>,
    upload: Upload,
    /// `None` before the first byte of a new upload.
    files: Option<Files>,
    /// Where the next byte is written.
    position: u64,
    /// Whether there was a commit: what is not born is removed when the lease ends.
    born: bool,
    /// Whether the lease's end has bytes or files to clear away.
    dirty: bool,
    /// Why the bytes cannot be trusted. Such an upload can still be removed.
    problem: Option<&'static str>,
    /// Whether the bytes were compared with their checksum since the lease was taken.
    verified: bool,
}

#[derive(Debug)]
pub(super) struct Files {
    record: File,
    record_path: PathBuf,
    /// The length of the record's whole lines.
    record_end: u64,
    /// How much of it stays when it is rewritten.
    record_base: u64,
    /// `None` if the bytes are gone: perhaps the application has taken them and moved on.
    data: Option<File>,
    /// Where the bytes are, below the root.
    pub(super) below: PathBuf,
    pub(super) notes: Notes,
    /// Whether the bytes are where the application wanted them.
    pub(super) moved: bool,
    /// Folders with new entries that were not synced yet.
    unsynced: Vec<PathBuf>,
    /// Whether there may be something behind the record's whole lines.
    torn: bool,
    /// Whether the record's file took the place of another one, and perhaps only in memory.
    unconfirmed: bool,
}

impl Lease {
    /// The lease on an upload that exists nowhere yet.
    pub(super) fn unborn(layout: Arc<Layout>, upload: Upload) -> Self {
        let position = upload.offset();
        Self {
            layout,
            upload,
            files: None,
            position,
            born: false,
            dirty: false,
            problem: None,
            verified: false,
        }
    }

    /// Takes the lease on an upload that exists.
    pub(super) fn take(layout: Arc<Layout>, id: &UploadId) -> Result<Self, StoreError> {
        let (record, record_path, bytes) = record_file::lock(&layout, id)?;
        let mut journal = Journal::parse(id, &bytes)?;
        let mut pending = journal.accept_pending()?;
        let (record_end, record_base) = (journal.end, journal.base);
        let notes = std::mem::take(&mut journal.notes);
        let (mut upload, below) = journal.committed()?;
        layout.check_way(id, &below)?;
        let place = layout.place(&below, &notes);
        // What was moved is the application's, who may have made it read-only.
        let moved = notes.moved.is_some() || place != layout.data(&below);
        let opened =
            if moved { layout.disk.open_to_read(&place) } else { layout.disk.open(&place) };
        let (data, length) = match open_data(opened, &below)? {
            Some((data, length)) => (Some(data), length),
            None => (None, 0),
        };
        // Its bytes were rolled back, and it could not be cut off: nobody was told of it.
        if let Some(before) = pending.as_mut().and_then(|pending| pending.before.take())
            && (before.offset()..upload.offset()).contains(&length)
        {
            (upload, pending) = (before, None);
        }
        let problem = match data {
            None => Some(GONE),
            Some(_) if length < upload.offset() => Some(SHORT),
            Some(_) => None,
        };
        let mut files = Files {
            record,
            record_path,
            record_end,
            record_base,
            data,
            below,
            notes,
            moved,
            unsynced: Vec::new(),
            torn: bytes.len() as u64 > record_end,
            unconfirmed: false,
        };
        if let Some(pending) = pending {
            files.confirm(&layout, &upload, &bytes[pending.place])?;
        }
        files.cut_record()?;
        let position = upload.offset();
        // What lies behind the offset is written over, or cut off when the file is handed over.
        let dirty = false;
        let (files, born) = (Some(files), true);
        Ok(Self { layout, upload, files, position, born, dirty, problem, verified: false })
    }

    pub(super) fn upload(&self) -> &Upload {
        &self.upload
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Whether bytes may be others than were written: the machine stopped before they were synced.
    pub(super) fn needs_verification(&self) -> bool {
        let since = self.files.as_ref().and_then(|files| files.notes.unsynced_since.as_deref());
        since.is_some() && since != self.layout.disk.boot() && !self.verified
    }

    /// Whether the record or the bytes cannot be trusted.
    pub(super) fn is_damaged(&self) -> bool {
        self.problem.is_some()
    }

    pub(super) fn mark_verified(&mut self) {
        self.verified = true;
    }

    pub(super) fn path(&self) -> Option<PathBuf> {
        let files = self.files.as_ref()?;
        Some(self.layout.place(&files.below, &files.notes))
    }

    fn sound(&self) -> Result<(), StoreError> {
        match self.problem {
            Some(problem) => Err(StoreError::damaged(&self.upload.id, problem)),
            None => Ok(()),
        }
    }

    pub(super) fn files(&mut self) -> Result<&mut Files, StoreError> {
        self.files.as_mut().ok_or(StoreError::NotFound)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.begin()?;
        let position = self.position;
        if !bytes.is_empty() {
            self.sound()?;
            self.dirty = true;
            let files = self.files()?;
            files
                .data()?
                .write_at(bytes, position)
                .map_err(|error| failed("write", &files.below, error))?;
            self.position += bytes.len() as u64;
        }
        Ok(())
    }

    /// The order is bytes, sync, record, sync: an offset that is told is an offset that stays.
    pub(super) fn commit(
        &mut self,
        last: &[u8],
        upload: Upload,
        handover: Handover,
    ) -> Result<(), StoreError> {
        self.write(last)?;
        let sync = self.layout.syncs();
        let (born, position, layout) = (self.born, self.position, Arc::clone(&self.layout));
        let grown = !born || upload.offset() != self.upload.offset();
        let same_record =
            Upload { progress: upload.progress.clone(), ..self.upload.clone() } == upload;
        if grown || handover == Handover::Given {
            self.sound()?;
        }
        let verified = self.verified;
        let files = self.files()?;
        if handover == Handover::Given && !files.moved {
            // What is handed over is the acknowledged bytes and nothing behind them.
            files.cut_data(upload.offset())?;
        }
        if sync && (grown || files.notes.unsynced_since.is_some() && files.data.is_some()) {
            files.data()?.sync().map_err(|error| failed("sync", &files.below, error))?;
        }
        let (mut lines, unsynced_since) =
            files.soundness(layout.disk.boot(), sync, grown, verified);
        lines.push(if born && same_record {
            Line::Progress(Box::new(upload.progress.clone()))
        } else {
            Line::Record(Box::new(upload.clone()))
        });
        files.append(&layout.disk, &lines, sync)?;
        files.notes.unsynced_since = unsynced_since;
        self.verified = false;
        let files = self.files()?;
        if !born {
            files.record_base = files.record_end;
        }
        if files.record_end - files.record_base > LONG {
            // It was committed already: that it could not be shortened is no failure.
            drop(files.rewrite(&layout, &upload));
        }
        self.born = true;
        self.dirty = position != upload.offset();
        self.position = upload.offset();
        self.upload = upload;
        Ok(())
    }

    /// The bytes that were written and not committed.
    pub(super) fn written(&mut self) -> Result<(std::fs::File, u64, u64), StoreError> {
        self.begin()?;
        let (start, end) = (self.upload.offset(), self.position);
        let files = self.files()?;
        let file =
            files.data()?.try_clone().map_err(|error| failed("open", &files.below, error))?;
        Ok((file, start, end))
    }

    pub(super) fn remove(mut self) -> Result<(), StoreError> {
        let sync = self.layout.syncs();
        if let Some(files) = &mut self.files {
            match files.append(&self.layout.disk, &[Line::Removed {}], sync) {
                // On a full disk it goes without saying. A crash before the end leaves a record
                // without bytes, which can be removed again.
                Err(StoreError::Full { .. }) => {}
                appended => appended?,
            }
        }
        self.born = false;
        self.clear()
    }

    /// Makes the files of a new upload: first the record, which names the other, so that a crash
    /// leaves nothing that no record knows of.
    fn begin(&mut self) -> Result<(), StoreError> {
        if self.files.is_some() {
            return Ok(());
        }
        let id = self.upload.id;
        let (layout, disk) = (&self.layout, &self.layout.disk);
        let below = layout.new_data(&id, self.upload.created)?;
        layout.check_way_to_record(&id)?;
        layout.check_way(&id, &below)?;
        let record_path = layout.record(&id);
        let record = record_file::create_locked(disk, &record_path)?;
        let mut head = Vec::new();
        let made = Line::head(&below)?
            .write_to(&mut head)
            .and_then(|()| {
                record.write_at(&head, 0).map_err(|error| failed("write", &record_path, error))
            })
            .and_then(|()| {
                let path = layout.data(&below);
                disk.create_with_folders(&path).map_err(|error| failed("create", &path, error))
            });
        let data = made.inspect_err(|_| drop(disk.remove(&record_path)))?;
        let unsynced = if layout.syncs() { layout.folders(&id, &below) } else { Vec::new() };
        self.dirty = true;
        self.files = Some(Files {
            record,
            record_path,
            record_end: head.len() as u64,
            record_base: 0,
            data: Some(data),
            below,
            notes: Notes::default(),
            moved: false,
            unsynced,
            torn: false,
            unconfirmed: false,
        });
        Ok(())
    }

    /// Removes the bytes, then the record that names them.
    fn clear(&mut self) -> Result<(), StoreError> {
        let Some(files) = self.files.take() else { return Ok(()) };
        let data = self.layout.data(&files.below);
        let half_rewritten = files.record_path.with_extension(REWRITTEN);
        // The application may have taken the file where it was.
        let taken = files.notes.moved == std::path::absolute(&data).ok();
        let data = (!taken).then_some(&data);
        for path in data.into_iter().chain([&half_rewritten, &files.record_path]) {
            self.layout.disk.remove(path).map_err(|error| failed("remove", path, error))?;
        }
        self.layout.remove_empty_folders(&files.below);
        self.dirty = false;
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.dirty {
            return;
        }
        if !self.born {
            // If it fails, the next sweep finds the record without a commit.
            drop(self.clear());
        } else if let Some(files) = &self.files
            // A line that could not be cut off may still be believed.
            && !files.torn
            && !files.moved
            && let Some(data) = &files.data
        {
            // Only to give the room back: nobody reads beyond the record's offset.
            drop(data.set_len(self.upload.offset()));
        }
    }
}

impl Files {
    /// What a commit has to say of bytes that are not synced, and since when there are such then.
    fn soundness(
        &self,
        boot: Option<&str>,
        sync: bool,
        grown: bool,
        verified: bool,
    ) -> (Vec<Line>, Option<String>) {
        let mut lines = Vec::new();
        let mut since = self.notes.unsynced_since.clone();
        // A sync reaches what was written in this start of the machine, and no other.
        if since.is_some() && (verified || sync && since.as_deref() == boot) {
            lines.push(Line::Sound {});
            since = None;
        }
        if let (false, true, None, Some(boot)) = (sync, grown || verified, &since, boot) {
            lines.push(Line::Boot(boot.to_owned()));
            since = Some(boot.to_owned());
        }
        (lines, since)
    }

    /// Appends lines to the record. If it fails, the last of them never happened.
    pub(super) fn append(
        &mut self,
        disk: &Disk,
        lines: &[Line],
        sync: bool,
    ) -> Result<(), StoreError> {
        if self.unconfirmed {
            let error = io::Error::other("the sync of its rewriting failed");
            return Err(failed("write", &self.record_path, error));
        }
        self.cut_record()?;
        let mut bytes = Vec::with_capacity(512);
        for line in lines {
            line.write_to(&mut bytes)?;
        }
        self.torn = true;
        let end = self.record_end + bytes.len() as u64;
        let written = if sync {
            self.append_synced(disk, &bytes)
        } else {
            self.record.write_at(&bytes, self.record_end)
        };
        if let Err(error) = written {
            drop(self.cut_record());
            return Err(failed("write", &self.record_path, error));
        }
        self.torn = false;
        self.record_end = end;
        Ok(())
    }

    /// The newline comes last: nobody sees a line before it is synced.
    fn append_synced(&mut self, disk: &Disk, bytes: &[u8]) -> io::Result<()> {
        let (newline, line) = bytes.split_last().unwrap_or((&b'\n', bytes));
        self.record.write_at(line, self.record_end)?;
        self.record.sync()?;
        self.sync_folders(disk)?;
        self.record.write_at(&[*newline], self.record_end + line.len() as u64)
    }

    /// Cuts off what stands behind the record's whole lines.
    fn cut_record(&mut self) -> Result<(), StoreError> {
        if self.torn {
            self.record
                .set_len(self.record_end)
                .map_err(|error| failed("cut", &self.record_path, error))?;
            self.torn = false;
        }
        Ok(())
    }

    fn data(&self) -> Result<&File, StoreError> {
        self.data.as_ref().ok_or(StoreError::NotFound)
    }

    fn cut_data(&self, length: u64) -> Result<(), StoreError> {
        let data = self.data()?;
        let cut = || {
            if data.len()? != length {
                data.set_len(length)?;
            }
            Ok(())
        };
        cut().map_err(|error| failed("cut", &self.below, error))
    }

    fn sync_folders(&mut self, disk: &Disk) -> io::Result<()> {
        for folder in &self.unsynced {
            match disk.sync_folder(folder) {
                // The file was moved out of it, and was the last.
                Err(error) if is_absent(&error) => {}
                synced => synced?,
            }
        }
        self.unsynced.clear();
        Ok(())
    }

    /// Confirms the pending line, which is believed already. A sync of it may have failed, and what
    /// failed once is not synced by trying again: it is written anew.
    fn confirm(&mut self, layout: &Layout, upload: &Upload, line: &[u8]) -> Result<(), StoreError> {
        let end = self.record_end + line.len() as u64;
        let confirmed = if layout.syncs() {
            self.unsynced = layout.folders(&upload.id, &self.below);
            match self.rewrite(layout, upload) {
                // Where it stands there is room for it.
                Err(StoreError::Full { .. }) if !self.unconfirmed => {
                    self.append_synced(&layout.disk, &[line, b"\n"].concat())
                }
                rewritten => return rewritten,
            }
        } else {
            self.record.write_at(b"\n", end)
        };
        confirmed.map_err(|error| failed("write", &self.record_path, error))?;
        self.record_end = end + 1;
        Ok(())
    }

    /// Replaces the record by one that says the same in few lines.
    fn rewrite(&mut self, layout: &Layout, upload: &Upload) -> Result<(), StoreError> {
        let (disk, sync) = (&layout.disk, layout.syncs());
        let mut bytes = Vec::new();
        Line::head(&self.below)?.write_to(&mut bytes)?;
        if let Some(boot) = &self.notes.unsynced_since {
            Line::Boot(boot.clone()).write_to(&mut bytes)?;
        }
        if let Some(path) = &self.notes.moved {
            Line::Moved(path.clone()).write_to(&mut bytes)?;
        }
        if let Some(path) = &self.notes.moving {
            Line::Moving(path.clone()).write_to(&mut bytes)?;
        }
        Line::Record(Box::new(upload.clone())).write_to(&mut bytes)?;
        let end = bytes.len() as u64;
        if sync {
            // Pending until the new name is synced.
            Line::Progress(Box::new(upload.progress.clone())).write_to(&mut bytes)?;
            bytes.pop();
        }
        let path = self.record_path.with_extension(REWRITTEN);
        let replace = || {
            disk.remove(&path)?;
            let file = disk.create_new(&path)?;
            // Locked before it can be found, so the lease passes from file to file without a gap.
            file.try_lock()?;
            file.write_at(&bytes, 0)?;
            if sync {
                file.sync()?;
            }
            disk.rename(&path, &self.record_path)?;
            Ok::<_, io::Error>(file)
        };
        self.record = replace().map_err(|error| failed("rewrite", &self.record_path, error))?;
        self.record_end = end;
        self.record_base = end;
        self.torn = false;
        if sync {
            self.unconfirmed = true;
            self.unsynced.extend(self.record_path.parent().map(Path::to_owned));
            self.sync_folders(disk)
                .and_then(|()| self.record.write_at(b"\n", bytes.len() as u64))
                .map_err(|error| failed("rewrite", &self.record_path, error))?;
            self.unconfirmed = false;
            self.record_end = bytes.len() as u64 + 1;
            self.record_base = self.record_end;
        }
        Ok(())
    }
}

/// A record that has grown by more than this is rewritten.
const LONG: u64 = 64 * 1024;
