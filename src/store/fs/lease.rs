//! The lease on an upload: the lock on its record, and the work that is done under it.
//!
//! Everything here blocks.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Durability;
use super::journal::{Journal, Line, Moves};
use super::layout::{Layout, create_file, failed, is_absent, open_data, read_all};
use super::sys;
use crate::id::UploadId;
use crate::store::StoreError;
use crate::upload::{Status, Upload};

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
    pub(super) moves: Moves,
    /// Folders with new entries that were not synced yet.
    unsynced: Vec<PathBuf>,
}

impl Lease {
    /// The lease on an upload that exists nowhere yet.
    pub(super) fn unborn(layout: Arc<Layout>, upload: Upload) -> Self {
        let position = upload.offset();
        Self { layout, upload, files: None, position, born: false, dirty: false, problem: None }
    }

    /// Takes the lease on an upload that exists.
    pub(super) fn take(layout: Arc<Layout>, id: &UploadId) -> Result<Self, StoreError> {
        let path = layout.record(id);
        let (record, bytes) = lock(&path)?;
        let mut journal = Journal::parse(id, &bytes)?;
        let (record_end, record_base) = (journal.end, journal.base);
        let moves = std::mem::take(&mut journal.moves);
        let (upload, below) = journal.committed()?;
        // What was moved is the application's, who may have made it read-only.
        let open = if moves.done.is_some() { |path: &Path| File::open(path) } else { sys::open };
        let (data, length) = match open_data(&layout.place(&below, &moves), open)? {
            Some((data, length)) => (Some(data), length),
            None => (None, 0),
        };
        let problem = match data {
            None => Some("its bytes are gone"),
            Some(_) if length < upload.offset() => Some("it has fewer bytes than its record says"),
            Some(_) => None,
        };
        let files = Files {
            record,
            record_path: path,
            record_end,
            record_base,
            data,
            below,
            moves,
            unsynced: Vec::new(),
        };
        if bytes.len() as u64 > record_end {
            files.cut_record()?;
        }
        let position = upload.offset();
        let dirty = length > position && upload.status() == Status::Open;
        Ok(Self { layout, upload, files: Some(files), position, born: true, dirty, problem })
    }

    pub(super) fn upload(&self) -> &Upload {
        &self.upload
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    pub(super) fn path(&self) -> Option<PathBuf> {
        let files = self.files.as_ref()?;
        Some(self.layout.place(&files.below, &files.moves))
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
            sys::write_at(files.data()?, bytes, position).map_err(|error| {
                StoreError::io(format!("write {}", files.below.display()), error)
            })?;
            self.position += bytes.len() as u64;
        }
        Ok(())
    }

    /// The order is bytes, sync, record, sync: an offset that is told is an offset that stays.
    pub(super) fn commit(&mut self, last: &[u8], upload: Upload) -> Result<(), StoreError> {
        self.write(last)?;
        let sync = self.layout.durability == Durability::Sync;
        let (born, position, layout) = (self.born, self.position, Arc::clone(&self.layout));
        let grown = !born || upload.offset() != self.upload.offset();
        let same_record =
            Upload { progress: upload.progress.clone(), ..self.upload.clone() } == upload;
        if grown || upload.status() == Status::Finishing {
            self.sound()?;
        }
        let files = self.files()?;
        if upload.status() == Status::Finishing && files.moves.done.is_none() {
            // What is handed over is the acknowledged bytes and nothing behind them.
            files.cut_data(upload.offset())?;
        }
        if sync && grown {
            files.data()?.sync_data().map_err(|error| failed("sync", &files.below, error))?;
        }
        let line = if born && same_record {
            Line::Progress(Box::new(upload.progress.clone()))
        } else {
            Line::Record(Box::new(upload.clone()))
        };
        files.append(&line, sync)?;
        if sync {
            files.sync_folders()?;
        }
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
    pub(super) fn written(&mut self) -> Result<(File, u64, u64), StoreError> {
        self.begin()?;
        let (start, end) = (self.upload.offset(), self.position);
        let files = self.files()?;
        let file =
            files.data()?.try_clone().map_err(|error| failed("open", &files.below, error))?;
        Ok((file, start, end))
    }

    pub(super) fn remove(mut self) -> Result<(), StoreError> {
        let sync = self.layout.durability == Durability::Sync;
        if let Some(files) = &mut self.files {
            files.append(&Line::Removed {}, sync)?;
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
        let below = self.layout.new_data(&id, self.upload.created)?;
        let record_path = self.layout.record(&id);
        let record = create_locked(&record_path)?;
        let mut head = Vec::new();
        let made = Line::head(&below)?
            .write_to(&mut head)
            .and_then(|()| {
                sys::write_at(&record, &head, 0)
                    .map_err(|error| failed("write", &record_path, error))
            })
            .and_then(|()| {
                let path = self.layout.data(&below);
                create_file(&path).map_err(|error| failed("create", &path, error))
            });
        let data = made.inspect_err(|_| drop(fs::remove_file(&record_path)))?;
        let unsynced = match self.layout.durability {
            Durability::Sync => self.layout.folders(&id, &below),
            Durability::Process => Vec::new(),
        };
        self.dirty = true;
        self.files = Some(Files {
            record,
            record_path,
            record_end: head.len() as u64,
            record_base: 0,
            data: Some(data),
            below,
            moves: Moves::default(),
            unsynced,
        });
        Ok(())
    }

    /// Removes the bytes, then the record that names them.
    fn clear(&mut self) -> Result<(), StoreError> {
        let Some(files) = self.files.take() else { return Ok(()) };
        let data = self.layout.data(&files.below);
        let half_rewritten = files.record_path.with_extension(REWRITTEN);
        for path in [&data, &half_rewritten, &files.record_path] {
            match fs::remove_file(path) {
                Err(error) if !is_absent(&error) => return Err(failed("remove", path, error)),
                _ => {}
            }
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
            && files.moves.done.is_none()
            && let Some(data) = &files.data
        {
            // Only to give the room back: nobody reads beyond the record's offset.
            drop(data.set_len(self.upload.offset()));
        }
    }
}

impl Files {
    /// Appends a line to the record. If it fails, the line never happened.
    pub(super) fn append(&mut self, line: &Line, sync: bool) -> Result<(), StoreError> {
        let mut bytes = Vec::with_capacity(512);
        line.write_to(&mut bytes)?;
        let written = sys::write_at(&self.record, &bytes, self.record_end)
            .and_then(|()| if sync { self.record.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            drop(self.cut_record());
            return Err(failed("write", &self.record_path, error));
        }
        self.record_end += bytes.len() as u64;
        Ok(())
    }

    /// Cuts off a line that a crash tore.
    fn cut_record(&self) -> Result<(), StoreError> {
        self.record
            .set_len(self.record_end)
            .map_err(|error| failed("cut", &self.record_path, error))
    }

    fn data(&self) -> Result<&File, StoreError> {
        self.data.as_ref().ok_or(StoreError::NotFound)
    }

    fn cut_data(&self, length: u64) -> Result<(), StoreError> {
        let data = self.data()?;
        let cut = || {
            if data.metadata()?.len() != length {
                data.set_len(length)?;
            }
            Ok(())
        };
        cut().map_err(|error| failed("cut", &self.below, error))
    }

    fn sync_folders(&mut self) -> Result<(), StoreError> {
        for folder in &self.unsynced {
            sys::sync_dir(folder).map_err(|error| failed("sync", folder, error))?;
        }
        self.unsynced.clear();
        Ok(())
    }

    /// Replaces a record that has grown long by one that says the same in few lines.
    fn rewrite(&mut self, layout: &Layout, upload: &Upload) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        Line::head(&self.below)?.write_to(&mut bytes)?;
        Line::Record(Box::new(upload.clone())).write_to(&mut bytes)?;
        if let Some(path) = &self.moves.done {
            Line::Moved(path.clone()).write_to(&mut bytes)?;
        }
        if let Some(path) = &self.moves.begun {
            Line::Moving(path.clone()).write_to(&mut bytes)?;
        }
        let path = self.record_path.with_extension(REWRITTEN);
        drop(fs::remove_file(&path));
        let replace = || {
            let file = sys::create_new(&path)?;
            // Locked before it can be found, so the lease passes from file to file without a gap.
            file.try_lock()?;
            sys::write_at(&file, &bytes, 0)?;
            if layout.durability == Durability::Sync {
                file.sync_data()?;
            }
            fs::rename(&path, &self.record_path)?;
            Ok::<_, io::Error>(file)
        };
        let file = replace().map_err(|error| failed("rewrite", &self.record_path, error))?;
        self.record = file;
        self.record_end = bytes.len() as u64;
        self.record_base = self.record_end;
        if layout.durability == Durability::Sync {
            // If it fails now, the next commit tries it again before it is acknowledged.
            self.unsynced.extend(self.record_path.parent().map(Path::to_owned));
            self.sync_folders()?;
        }
        Ok(())
    }
}

/// Removes what a creation or a removal left, unless somebody is at it.
pub(super) fn discard(layout: Arc<Layout>, id: &UploadId) -> Result<(), StoreError> {
    let path = layout.record(id);
    let (_record, bytes) = match lock(&path) {
        Err(StoreError::NotFound) => return Ok(()),
        locked => locked?,
    };
    let journal = Journal::parse(id, &bytes)?;
    if journal.record.is_some() {
        return Ok(());
    }
    if let Some(below) = journal.data {
        remove_if_there(&layout.data(&below))?;
        layout.remove_empty_folders(&below);
    }
    remove_if_there(&path)
}

fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if !is_absent(&error) => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

/// Makes and locks a new record. A sweep may find it before it is locked, and remove it for being
/// empty.
fn create_locked(path: &Path) -> Result<File, StoreError> {
    for _ in 0..SWEEPS {
        match create_file(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("create", path, error)),
            Ok(file) => {
                let locked = file.try_lock().is_ok();
                if locked && sys::is_at(&file, path).unwrap_or(false) {
                    return Ok(file);
                }
            }
        }
        // The sweep is at it, and removes it at once.
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(StoreError::Busy)
}

/// Opens and locks the record at the path, and reads it.
fn lock(path: &Path) -> Result<(File, Vec<u8>), StoreError> {
    loop {
        let file = match sys::open(path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Err(StoreError::NotFound),
            Err(error) => return Err(failed("open", path, error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Busy),
            Err(TryLockError::Error(error)) => return Err(failed("lock", path, error)),
        }
        // It may have been rewritten or removed between the opening and the lock.
        if sys::is_at(&file, path).map_err(|error| failed("look at", path, error))? {
            let bytes = read_all(&file, path)?;
            return Ok((file, bytes));
        }
    }
}

/// How often a new record may fall to a sweep before its creation fails.
const SWEEPS: usize = 100;
/// Ends the name of a record that is about to take the place of another.
const REWRITTEN: &str = "new";
/// A record that has grown by more than this is rewritten.
const LONG: u64 = 64 * 1024;
