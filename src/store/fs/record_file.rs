//! The file of a record: a journal that only the holder of its lock writes.
//!
//! Everything here blocks.

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::cleanup;
use super::disk::{File, Root, is_absent, is_link_on_the_way};
use super::error::Context as _;
use super::journal::{Journal, Line, Notes};
use super::layout::{Layout, REWRITTEN, link_on_the_way, record_below};
use crate::id::UploadId;
use crate::store::{Result, StoreError};
use crate::upload::Upload;

/// A locked record. Its lock is the lease on the upload.
#[derive(Debug)]
pub(super) struct RecordFile {
    layout: Arc<Layout>,
    file: File,
    path: PathBuf,
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
    /// Perhaps a line that does not count. It is cut off before another one is appended.
    Torn,
    /// This line, which lacks only its newline.
    Pending(Vec<u8>),
    /// Nothing. But this file has replaced another one, and a power cut may still undo that, so
    /// nothing may be appended.
    Unconfirmed,
}

impl RecordFile {
    /// Creates the record of a new upload. It names the data file, and does not say yet that the
    /// upload exists.
    pub(super) fn create(
        layout: &Arc<Layout>,
        root: &mut Root<'_>,
        upload: &Upload,
        data_path: PathBuf,
    ) -> Result<Self> {
        let id = &upload.id;
        let (path, mut head) = (layout.record(id), Vec::new());
        Line::head(&data_path).write_to(&mut head)?;
        let vacate = || match cleanup::vacate(layout, id) {
            // Nobody else creates an upload with a random id: a sweep holds it, and not for long.
            Err(StoreError::Busy) if upload.creation.is_none() => Ok(()),
            vacated => vacated,
        };
        let created = create_locked(layout, root, &record_below(id), vacate);
        let file = created.map_err(|error| match error {
            StoreError::Io { source, .. } if is_link_on_the_way(&source) => link_on_the_way(id),
            error => error,
        })?;
        let written = file.write_at(&head, 0).context("write", &path);
        written.inspect_err(|_| drop(layout.disk.remove(&path)))?;
        let unsynced = if layout.syncs() { layout.folders(id, &data_path) } else { Vec::new() };
        let (notes, end) = (Notes { data_path, ..Notes::default() }, head.len() as u64);
        let layout = Arc::clone(layout);
        Ok(Self { layout, file, path, notes, end, base: None, tail: Tail::Clean, unsynced })
    }

    /// Locks and reads the record of an upload that exists. If a line is pending, it is accepted,
    /// and the record without it is returned, too. The line must then be [confirmed](Self::confirm)
    /// or [rejected](Self::reject_pending).
    pub(super) fn open(
        layout: &Arc<Layout>,
        root: &mut Root<'_>,
        id: &UploadId,
    ) -> Result<(Self, Upload, Option<Upload>)> {
        let (file, bytes) = lock(layout, root, id)?;
        let mut journal = Journal::parse(id, &bytes)?;
        let (end, base) = (journal.end, Some(journal.base));
        let (tail, before) = match journal.accept_pending()? {
            Some((line, before)) => (Tail::Pending(line), before),
            None if bytes.len() as u64 > end => (Tail::Torn, None),
            None => (Tail::Clean, None),
        };
        let (upload, notes) = journal.committed()?;
        let (layout, path, unsynced) = (Arc::clone(layout), layout.record(id), Vec::new());
        Ok((Self { layout, file, path, notes, end, base, tail, unsynced }, upload, before))
    }

    pub(super) fn is_committed(&self) -> bool {
        self.base.is_some()
    }

    /// Whether there may be a line of a failed commit that the next holder would accept.
    pub(super) fn is_torn(&self) -> bool {
        matches!(self.tail, Tail::Torn)
    }

    /// Whether the file has the lines that count, and nothing else, and the bytes are where they were
    /// written.
    pub(super) fn is_settled(&self) -> bool {
        let moves = self.notes.moving.is_some() || self.notes.moved.is_some();
        self.is_committed() && matches!(self.tail, Tail::Clean) && !moves
    }

    pub(super) fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }

    /// Locks a record that was unlocked, if it is the same as it was.
    pub(super) fn lock_again(&self) -> Result<()> {
        match self.file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(StoreError::Busy),
            locked => locked.map_err(io::Error::from).context("lock", &self.path)?,
        }
        match self.file.length_at(&self.path).context("look at", &self.path)? {
            Some(length) if length == self.end => Ok(()),
            _ => Err(StoreError::Conflict),
        }
    }

    /// Treats the pending line as if it had not been written.
    pub(super) fn reject_pending(&mut self) {
        self.tail = Tail::Torn;
    }

    /// Confirms the pending line, if there is one, and cuts off what does not count.
    ///
    /// The line may be pending because its sync failed, and a failed sync does not come true when
    /// it is repeated. So the record is written again.
    pub(super) fn confirm(&mut self, upload: &Upload) -> Result<()> {
        let Tail::Pending(line) = &mut self.tail else { return self.cut() };
        let line = [&line[..], b"\n"].concat();
        self.tail = Tail::Torn;
        let confirmed = if self.layout.syncs() {
            self.unsynced = self.layout.folders(&upload.id, &self.notes.data_path);
            match self.rewrite(upload) {
                // The disk is full, but the line has room where it is.
                Err(StoreError::Full { .. }) if self.is_torn() => self.write(&line),
                rewritten => return rewritten,
            }
        } else {
            self.file.write_at(b"\n", self.end + line.len() as u64 - 1)
        };
        confirmed.context("write", &self.path)?;
        self.end += line.len() as u64;
        self.cut()
    }

    /// Appends the lines of a commit. A record that has become long is then rewritten.
    pub(super) fn commit(&mut self, lines: Vec<Line>, upload: &Upload) -> Result<()> {
        self.append(lines)?;
        let base = *self.base.get_or_insert(self.end);
        if self.end - base > MAX_GROWTH {
            // If this fails, the commit has succeeded all the same.
            drop(self.rewrite(upload));
        }
        Ok(())
    }

    /// Appends lines and applies them to the notes. If it fails, the last of them does not count.
    pub(super) fn append(&mut self, lines: Vec<Line>) -> Result<()> {
        self.cut()?;
        let mut bytes = Vec::with_capacity(512);
        for line in &lines {
            line.write_to(&mut bytes)?;
        }
        self.tail = Tail::Torn;
        self.write(&bytes).context("write", &self.path).inspect_err(|_| drop(self.cut()))?;
        self.tail = Tail::Clean;
        self.end += bytes.len() as u64;
        lines.into_iter().for_each(|line| self.notes.apply(line));
        Ok(())
    }

    /// Writes the last newline after the sync, so that no reader accepts a line that is not synced.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if !self.layout.syncs() {
            return self.file.write_at(lines, self.end);
        }
        let (newline, line) = lines.split_last().unwrap_or((&b'\n', lines));
        self.file.write_at(line, self.end)?;
        self.file.sync()?;
        self.sync_folders()?;
        self.file.write_at(&[*newline], self.end + line.len() as u64)
    }

    /// Cuts off what follows the complete lines.
    fn cut(&mut self) -> Result<()> {
        let cut = match self.tail {
            Tail::Clean => Ok(()),
            Tail::Torn | Tail::Pending(_) => self.file.set_len(self.end),
            Tail::Unconfirmed => Err(io::Error::other("the sync of its rewriting failed")),
        };
        cut.context("cut", &self.path)?;
        self.tail = Tail::Clean;
        Ok(())
    }

    fn sync_folders(&mut self) -> io::Result<()> {
        for folder in &self.unsynced {
            match self.layout.disk.sync_folder(folder) {
                // The last file in it was moved away, and the folder was removed.
                Err(error) if is_absent(&error) => {}
                synced => synced?,
            }
        }
        self.unsynced.clear();
        Ok(())
    }

    /// Replaces the record by one that says the same in few lines.
    fn rewrite(&mut self, upload: &Upload) -> Result<()> {
        let mut bytes = Vec::new();
        for line in self.notes.lines() {
            line.write_to(&mut bytes)?;
        }
        Line::Record(Box::new(upload.clone())).write_to(&mut bytes)?;
        let end = bytes.len() as u64;
        if self.layout.syncs() {
            // This line repeats the progress. It is pending until the folder is synced.
            Line::Progress(Box::new(upload.progress.clone())).write_to(&mut bytes)?;
            bytes.pop();
        }
        self.replace(&bytes, end).context("rewrite", &self.path)
    }

    fn replace(&mut self, bytes: &[u8], end: u64) -> io::Result<()> {
        let (disk, new) = (&self.layout.disk, self.path.with_extension(REWRITTEN));
        disk.remove(&new)?;
        let file = disk.create_new(&new)?;
        // It is locked before it gets the name of the record, so the lease has no gap.
        file.try_lock()?;
        file.write_at(bytes, 0)?;
        if self.layout.syncs() {
            file.sync()?;
        }
        disk.rename(&new, &self.path)?;
        self.file = file;
        (self.end, self.base, self.tail) = (end, Some(end), Tail::Clean);
        if self.layout.syncs() {
            self.tail = Tail::Unconfirmed;
            self.unsynced.extend(self.path.parent().map(Path::to_owned));
            self.sync_folders()?;
            self.file.write_at(b"\n", bytes.len() as u64)?;
            let end = bytes.len() as u64 + 1;
            (self.end, self.base, self.tail) = (end, Some(end), Tail::Clean);
        }
        Ok(())
    }
}

/// Reads the record of an upload, which may be uncommitted or removed.
pub(super) fn read(layout: &Layout, id: &UploadId) -> Result<Journal> {
    Journal::parse(id, &read_bytes(layout, id)?)
}

/// The content of the record.
pub(super) fn read_bytes(layout: &Layout, id: &UploadId) -> Result<Vec<u8>> {
    let read = |file: File| file.read_first(file.first_length());
    let bytes = layout.open().open_to_read(&record_below(id)).and_then(read);
    bytes.map_err(|error| cannot_open(layout, id, error))
}

/// Creates and locks a record, or a file of a check. Before it is locked, a sweep or another check
/// may find it empty and remove it. If there is a file in its place, `vacate` may remove that.
pub(super) fn create_locked(
    layout: &Layout,
    root: &mut Root<'_>,
    below: &Path,
    vacate: impl Fn() -> Result<()>,
) -> Result<File> {
    let path = layout.data(below);
    for _ in 0..CREATE_ATTEMPTS {
        match root.create(below) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => vacate()?,
            Err(error) => return Err(error).context("create", &path),
            Ok(file) => match file.try_lock() {
                Ok(()) if matches!(file.was_removed(&path), Ok(false)) => return Ok(file),
                Err(TryLockError::Error(error)) => {
                    drop(layout.disk.remove(&path));
                    return Err(error).context("lock", &path);
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
pub(super) fn lock(layout: &Layout, root: &mut Root<'_>, id: &UploadId) -> Result<(File, Vec<u8>)> {
    let (below, path) = (record_below(id), layout.record(id));
    loop {
        let file = root.open(&below).map_err(|error| cannot_open(layout, id, error))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(StoreError::Busy),
            locked => locked.map_err(io::Error::from).context("lock", &path)?,
        }
        // It may have been rewritten or removed after it was opened.
        if let Some(length) = file.length_at(&path).context("look at", &path)? {
            let bytes = file.read_first(length).context("read", &path)?;
            return Ok((file, bytes));
        }
    }
}

/// Why a record could not be opened.
fn cannot_open(layout: &Layout, id: &UploadId, error: io::Error) -> StoreError {
    match error.kind() {
        _ if is_link_on_the_way(&error) => link_on_the_way(id),
        _ if is_absent(&error) => StoreError::NotFound,
        io::ErrorKind::InvalidInput => StoreError::damaged(id, "its record is not a regular file"),
        _ => StoreError::io(format!("open {}", layout.record(id).display()), error),
    }
}

/// A record that has grown by more than this is rewritten.
const MAX_GROWTH: u64 = 64 * 1024;
/// How many times a new record may be removed by a sweep before its creation fails.
const CREATE_ATTEMPTS: usize = 100;
