//! The file with the bytes of an upload, in the store or where the application has them.
//!
//! Everything here blocks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Disk, File, is_absent};
use super::journal::Notes;
use super::layout::{Layout, failed};
use crate::id::UploadId;
use crate::store::StoreError;
use crate::upload::Upload;

#[derive(Debug)]
pub(super) struct DataFile {
    /// Where it was opened, for messages.
    path: PathBuf,
    bytes: Bytes,
    place: Place,
    /// Where the next byte is written.
    pub(super) position: u64,
    /// Whether bytes were written that are not committed.
    pub(super) dirty: bool,
}

/// How many bytes there are.
#[derive(Debug)]
enum Bytes {
    /// At least as many as the record says.
    Whole(File),
    /// Only this many, which are fewer.
    Short(File, u64),
    /// There is no file: perhaps the application has taken it and moved it on.
    Missing,
}

/// Whose the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Store,
    /// It is where the application wanted it, who may append to it or make it read-only.
    Application,
}

impl DataFile {
    pub(super) fn create(
        layout: &Layout,
        data_path: &Path,
        offset: u64,
    ) -> Result<Self, StoreError> {
        let path = layout.data(data_path);
        let created = layout.disk.create_with_folders(&path);
        let file = created.map_err(|error| failed("create", &path, error))?;
        let bytes = Bytes::Whole(file);
        Ok(Self { path, bytes, place: Place::Store, position: offset, dirty: false })
    }

    /// Opens the bytes of an upload that exists.
    pub(super) fn open_to_write(
        layout: &Layout,
        upload: &Upload,
        data_path: &Path,
        notes: &Notes,
    ) -> Result<Self, StoreError> {
        Self::open(layout, upload, data_path, notes, Disk::open)
    }

    /// The same for a reader who holds no lease.
    pub(super) fn open_to_read(
        layout: &Layout,
        upload: &Upload,
        data_path: &Path,
        notes: &Notes,
    ) -> Result<File, StoreError> {
        match Self::open(layout, upload, data_path, notes, Disk::open_to_read)?.bytes {
            Bytes::Whole(file) => Ok(file),
            bytes => Err(bytes.damage(&upload.id)),
        }
    }

    fn open(
        layout: &Layout,
        upload: &Upload,
        data_path: &Path,
        notes: &Notes,
        open: fn(&Disk, &Path) -> io::Result<File>,
    ) -> Result<Self, StoreError> {
        layout.check_path(&upload.id, data_path)?;
        let (path, place) = find(layout, data_path, notes);
        let opened = match place {
            Place::Store => open(&layout.disk, &path),
            Place::Application => layout.disk.open_to_read(&path),
        };
        let bytes = Bytes::of(opened, upload.offset());
        let bytes = bytes.map_err(|error| failed("open", &path, error))?;
        Ok(Self { path, bytes, place, position: upload.offset(), dirty: false })
    }

    /// Whether it lacks bytes, but not of those before this offset.
    pub(super) fn is_cut_to(&self, offset: u64) -> bool {
        matches!(self.bytes, Bytes::Short(_, length) if length >= offset)
    }

    /// Fails if there are fewer bytes than the record says.
    pub(super) fn check(&self, id: &UploadId) -> Result<(), StoreError> {
        match &self.bytes {
            Bytes::Whole(_) => Ok(()),
            bytes => Err(bytes.damage(id)),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.dirty = true;
        let written = self.file()?.write_at(bytes, self.position);
        written.map_err(|error| failed("write", &self.path, error))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// The bytes before the offset are committed; the next one is written there.
    pub(super) fn commit(&mut self, offset: u64) {
        self.dirty = self.position != offset;
        self.position = offset;
    }

    /// Cuts off the bytes after the offset, unless the file is the application's.
    pub(super) fn cut(&self, offset: u64) -> Result<(), StoreError> {
        if self.place == Place::Application {
            return Ok(());
        }
        let file = self.file()?;
        let length = file.len().map_err(|error| failed("look at", &self.path, error))?;
        if length != offset {
            file.set_len(offset).map_err(|error| failed("cut", &self.path, error))?;
        }
        Ok(())
    }

    /// Syncs the bytes, if there are any.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let Ok(file) = self.file() else { return Ok(()) };
        file.sync().map_err(|error| failed("sync", &self.path, error))
    }

    /// Another handle of the file, for reading.
    pub(super) fn try_clone(&self) -> Result<fs::File, StoreError> {
        self.file()?.try_clone().map_err(|error| failed("open", &self.path, error))
    }

    /// The file was moved to where the application wants it.
    pub(super) fn give_away(&mut self) {
        self.place = Place::Application;
    }

    fn file(&self) -> Result<&File, StoreError> {
        match &self.bytes {
            Bytes::Whole(file) | Bytes::Short(file, _) => Ok(file),
            Bytes::Missing => Err(StoreError::NotFound),
        }
    }
}

impl Bytes {
    /// Compares the length of a file with the offset. A link or a folder in its place counts as
    /// missing.
    fn of(opened: io::Result<File>, offset: u64) -> io::Result<Self> {
        match opened.and_then(|file| Ok((file.len()?, file))) {
            Ok((length, file)) if length < offset => Ok(Self::Short(file, length)),
            Ok((_, file)) => Ok(Self::Whole(file)),
            Err(error) if is_absent(&error) || error.kind() == io::ErrorKind::InvalidInput => {
                Ok(Self::Missing)
            }
            Err(error) => Err(error),
        }
    }

    /// What is wrong if they are not whole.
    fn damage(&self, id: &UploadId) -> StoreError {
        let problem = match self {
            Self::Missing => "its bytes are missing",
            _ => "it has fewer bytes than its record says",
        };
        StoreError::damaged(id, problem)
    }
}

/// Where the bytes are, and whose they are there. A move that was begun may have been done: if they
/// are not where they came from, they are at its target.
pub(super) fn find(layout: &Layout, data_path: &Path, notes: &Notes) -> (PathBuf, Place) {
    let source = match &notes.moved {
        Some(path) => (path.clone(), Place::Application),
        None => (layout.data(data_path), Place::Store),
    };
    match &notes.moving {
        Some(target) if fs::symlink_metadata(&source.0).is_err() => {
            (target.clone(), Place::Application)
        }
        _ => source,
    }
}
