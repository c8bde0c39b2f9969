//! The file of a record: a journal that only the holder of its lock writes.
//!
//! Everything here blocks.

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::disk::{Disk, File, is_absent};
use super::journal::{Journal, Line, Notes, Pending};
use super::layout::{Layout, REWRITTEN, failed};
use crate::id::UploadId;
use crate::store::StoreError;
use crate::upload::Upload;

/// A locked record. Its lock is the lease on the upload.
#[derive(Debug)]
pub(super) struct RecordFile {
    file: File,
    path: PathBuf,
    /// The path of the bytes, below the root.
    pub(super) data_path: PathBuf,
    pub(super) notes: Notes,
    /// The length of the complete lines.
    end: u64,
    /// What `end` was after the first commit or the last rewrite; `None` before the first commit.
    base: Option<u64>,
    tail: Tail,
    /// Folders with new entries that are not synced yet.
    unsynced: Vec<PathBuf>,
}

/// What follows the complete lines of a record.
#[derive(Debug)]
enum Tail {
    /// Nothing.
    Clean,
    /// Perhaps a line that does not count. It is cut off before anything is appended.
    Torn,
    /// A line that lacks only its newline.
    Pending(Vec<u8>),
    /// Nothing. But the file has replaced another one, and a power cut may still undo that:
    /// anything appended here could be lost.
    Unconfirmed,
}

impl RecordFile {
    /// Makes the record of a new upload. It says where the bytes will be, and not yet that the
    /// upload exists.
    pub(super) fn create(
        layout: &Layout,
        id: &UploadId,
        data_path: PathBuf,
    ) -> Result<Self, StoreError> {
        layout.check_record_path(id)?;
        layout.check_path(id, &data_path)?;
        let (mut head, path) = (Vec::new(), layout.record(id));
        Line::head(&data_path)?.write_to(&mut head)?;
        let file = create_locked(&layout.disk, &path)?;
        if let Err(error) = file.write_at(&head, 0) {
            drop(layout.disk.remove(&path));
            return Err(failed("write", &path, error));
        }
        let unsynced = if layout.syncs() { layout.folders(id, &data_path) } else { Vec::new() };
        let (notes, end, tail) = (Notes::default(), head.len() as u64, Tail::Clean);
        Ok(Self { file, path, data_path, notes, end, base: None, tail, unsynced })
    }

    /// Locks and reads the record of an upload that exists. If a line is pending, it is accepted, and
    /// the record without it is returned, too. The line must then be [confirmed](Self::confirm) or
    /// [rejected](Self::reject_pending).
    pub(super) fn open(
        layout: &Layout,
        id: &UploadId,
    ) -> Result<(Self, Upload, Option<Upload>), StoreError> {
        let (file, bytes) = lock(layout, id)?;
        let mut journal = Journal::parse(id, &bytes)?;
        let (end, base) = (journal.end, Some(journal.base));
        let (tail, before) = match journal.accept_pending()? {
            Some(Pending { place, before }) => (Tail::Pending(bytes[place].to_vec()), before),
            None if bytes.len() as u64 > end => (Tail::Torn, None),
            None => (Tail::Clean, None),
        };
        let notes = std::mem::take(&mut journal.notes);
        let (upload, data_path) = journal.committed()?;
        let (path, unsynced) = (layout.record(id), Vec::new());
        Ok((Self { file, path, data_path, notes, end, base, tail, unsynced }, upload, before))
    }

    pub(super) fn is_committed(&self) -> bool {
        self.base.is_some()
    }

    /// Whether there may be a line that failed and that the next holder may still accept.
    pub(super) fn is_torn(&self) -> bool {
        matches!(self.tail, Tail::Torn)
    }

    /// The pending line does not count.
    pub(super) fn reject_pending(&mut self) {
        self.tail = Tail::Torn;
    }

    /// Confirms the pending line, if there is one, and cuts off what does not count.
    pub(super) fn confirm(&mut self, layout: &Layout, upload: &Upload) -> Result<(), StoreError> {
        if let Tail::Pending(line) = &self.tail {
            let line = [line, &b"\n"[..]].concat();
            self.tail = Tail::Torn;
            self.confirm_line(layout, upload, &line)?;
        }
        self.cut()
    }

    /// The sync of the line may have failed, and repeating a failed sync does not make it true. So
    /// the record is written again.
    fn confirm_line(
        &mut self,
        layout: &Layout,
        upload: &Upload,
        line: &[u8],
    ) -> Result<(), StoreError> {
        let end = self.end + line.len() as u64;
        let confirmed = if layout.syncs() {
            self.unsynced = layout.folders(&upload.id, &self.data_path);
            match self.rewrite(layout, upload) {
                // The disk is full, but the line has room where it is.
                Err(StoreError::Full { .. }) if self.is_torn() => self.write_synced(layout, line),
                rewritten => return rewritten,
            }
        } else {
            self.file.write_at(b"\n", end - 1)
        };
        confirmed.map_err(|error| failed("write", &self.path, error))?;
        self.end = end;
        Ok(())
    }

    /// Appends the lines of a commit. A record that has become long is then rewritten.
    pub(super) fn commit(
        &mut self,
        layout: &Layout,
        lines: Vec<Line>,
        upload: &Upload,
    ) -> Result<(), StoreError> {
        self.append(layout, lines)?;
        let base = *self.base.get_or_insert(self.end);
        if self.end - base > MAX_GROWTH {
            // Without a rewrite the commit has succeeded all the same.
            drop(self.rewrite(layout, upload));
        }
        Ok(())
    }

    /// Appends lines and applies them to the notes. If it fails, the last of them does not count.
    pub(super) fn append(&mut self, layout: &Layout, lines: Vec<Line>) -> Result<(), StoreError> {
        self.cut()?;
        let mut bytes = Vec::with_capacity(512);
        for line in &lines {
            line.write_to(&mut bytes)?;
        }
        self.tail = Tail::Torn;
        let written = if layout.syncs() {
            self.write_synced(layout, &bytes)
        } else {
            self.file.write_at(&bytes, self.end)
        };
        if let Err(error) = written {
            drop(self.cut());
            return Err(failed("write", &self.path, error));
        }
        self.tail = Tail::Clean;
        self.end += bytes.len() as u64;
        lines.into_iter().for_each(|line| self.notes.apply(line));
        Ok(())
    }

    /// The newline is written last, so that nobody sees a line before it is synced.
    fn write_synced(&mut self, layout: &Layout, lines: &[u8]) -> io::Result<()> {
        let (newline, line) = lines.split_last().unwrap_or((&b'\n', lines));
        self.file.write_at(line, self.end)?;
        self.file.sync()?;
        self.sync_folders(&layout.disk)?;
        self.file.write_at(&[*newline], self.end + line.len() as u64)
    }

    /// Cuts off what follows the complete lines.
    fn cut(&mut self) -> Result<(), StoreError> {
        let cut = match self.tail {
            Tail::Clean => Ok(()),
            Tail::Torn | Tail::Pending(_) => self.file.set_len(self.end),
            Tail::Unconfirmed => Err(io::Error::other("the sync of its rewriting failed")),
        };
        cut.map_err(|error| failed("cut", &self.path, error))?;
        self.tail = Tail::Clean;
        Ok(())
    }

    fn sync_folders(&mut self, disk: &Disk) -> io::Result<()> {
        for folder in &self.unsynced {
            match disk.sync_folder(folder) {
                // Its last file was moved out of it.
                Err(error) if is_absent(&error) => {}
                synced => synced?,
            }
        }
        self.unsynced.clear();
        Ok(())
    }

    /// Replaces the record by one that says the same in few lines.
    fn rewrite(&mut self, layout: &Layout, upload: &Upload) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        Line::head(&self.data_path)?.write_to(&mut bytes)?;
        for line in self.notes.lines() {
            line.write_to(&mut bytes)?;
        }
        Line::Record(Box::new(upload.clone())).write_to(&mut bytes)?;
        let end = bytes.len() as u64;
        if layout.syncs() {
            // It repeats the record, and is pending until the new name is synced.
            Line::Progress(Box::new(upload.progress.clone())).write_to(&mut bytes)?;
            bytes.pop();
        }
        self.replace(layout, &bytes, end).map_err(|error| failed("rewrite", &self.path, error))
    }

    fn replace(&mut self, layout: &Layout, bytes: &[u8], end: u64) -> io::Result<()> {
        let (disk, new) = (&layout.disk, self.path.with_extension(REWRITTEN));
        disk.remove(&new)?;
        let file = disk.create_new(&new)?;
        // It is locked before it can be found, so that the lease has no gap.
        file.try_lock()?;
        file.write_at(bytes, 0)?;
        if layout.syncs() {
            file.sync()?;
        }
        disk.rename(&new, &self.path)?;
        self.file = file;
        self.start_from(end);
        if layout.syncs() {
            self.tail = Tail::Unconfirmed;
            self.unsynced.extend(self.path.parent().map(Path::to_owned));
            self.sync_folders(disk)?;
            self.file.write_at(b"\n", bytes.len() as u64)?;
            self.start_from(bytes.len() as u64 + 1);
        }
        Ok(())
    }

    /// The file was rewritten and has complete lines of this length.
    fn start_from(&mut self, end: u64) {
        (self.end, self.base, self.tail) = (end, Some(end), Tail::Clean);
    }
}

/// Reads the record of an upload, also of one that is uncommitted or removed.
pub(super) fn read(layout: &Layout, id: &UploadId) -> Result<Journal, StoreError> {
    layout.check_record_path(id)?;
    let path = layout.record(id);
    let bytes = layout.disk.read(&path).map_err(|error| cannot_open(id, &path, error))?;
    Journal::parse(id, &bytes)
}

/// Creates and locks a new record. Before it is locked, a sweep may find it and remove it, since it
/// is empty.
fn create_locked(disk: &Disk, path: &Path) -> Result<File, StoreError> {
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
        // A sweep holds it, and is about to remove it.
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(StoreError::Busy)
}

/// Opens, locks and reads the record of an upload.
pub(super) fn lock(layout: &Layout, id: &UploadId) -> Result<(File, Vec<u8>), StoreError> {
    layout.check_record_path(id)?;
    let path = layout.record(id);
    loop {
        let file = layout.disk.open(&path).map_err(|error| cannot_open(id, &path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Busy),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &path, error)),
        }
        // It may have been rewritten or removed after it was opened.
        if file.is_at(&path).map_err(|error| failed("look at", &path, error))? {
            let bytes = file.read_all().map_err(|error| failed("read", &path, error))?;
            return Ok((file, bytes));
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

/// A record that has grown by more than this is rewritten.
const MAX_GROWTH: u64 = 64 * 1024;
/// How many times a new record may be removed by a sweep before its creation fails.
const CREATE_ATTEMPTS: usize = 100;
