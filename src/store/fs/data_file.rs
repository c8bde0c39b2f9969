//! The file with the bytes of an upload, in the store or where the application has them.
//!
//! Everything here blocks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::{File, Root, is_absent, is_link_on_the_way};
use super::error::Context as _;
use super::follow::Queue;
use super::journal::Notes;
use super::layout::{Layout, link_on_the_way};
use crate::id::UploadId;
use crate::store::commit::Look;
use crate::store::{Result, StoreError};
use crate::upload::Upload;

#[derive(Debug)]
pub(super) struct DataFile {
    id: UploadId,
    /// Where it was opened, for messages.
    path: PathBuf,
    bytes: Bytes,
    pub(super) place: Place,
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
    /// There is no file. Perhaps the application has taken it and moved it elsewhere.
    Missing,
}

/// Whose the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Store,
    /// It is where the application wanted it. The application may change it or make it read-only.
    Application,
}

impl DataFile {
    pub(super) fn create(
        layout: &Layout,
        root: &mut Root<'_>,
        upload: &Upload,
        data_path: &Path,
    ) -> Result<Self> {
        let (id, path, position) = (upload.id, layout.data(data_path), upload.own_bytes());
        let bytes = match root.create(data_path) {
            Err(error) if is_link_on_the_way(&error) => return Err(link_on_the_way(&id)),
            created => Bytes::Whole(created.context("create", &path)?),
        };
        Ok(Self { id, path, bytes, place: Place::Store, position, dirty: false })
    }

    /// Opens the bytes of an upload that exists.
    pub(super) fn open_to_write(
        layout: &Layout,
        root: &mut Root<'_>,
        upload: &Upload,
        notes: &Notes,
    ) -> Result<Self> {
        Self::open(layout, root, upload, notes, Root::open)
    }

    /// Opens the bytes for a reader, who needs no lease.
    pub(super) fn open_to_read(layout: &Layout, upload: &Upload, notes: &Notes) -> Result<File> {
        let mut root = layout.open();
        match Self::open(layout, &mut root, upload, notes, Root::open_to_read)?.bytes {
            Bytes::Whole(file) => Ok(file),
            bytes => Err(bytes.damage(&upload.id)),
        }
    }

    fn open<'a>(
        layout: &Layout,
        root: &mut Root<'a>,
        upload: &Upload,
        notes: &Notes,
        open: fn(&mut Root<'a>, &Path) -> io::Result<File>,
    ) -> Result<Self> {
        let (path, place) = find(layout, notes)?;
        let opened = match place {
            Place::Store => open(root, &notes.data_path),
            Place::Application => layout.disk.open_to_read(&path),
        };
        let (id, position) = (upload.id, place.length(upload));
        if matches!(&opened, Err(error) if is_link_on_the_way(error)) {
            return Err(link_on_the_way(&id));
        }
        let bytes = Bytes::of(opened, position).context("open", &path)?;
        Ok(Self { id, path, bytes, place, position, dirty: false })
    }

    /// Whether it has all the bytes of the record, in the store, and none was written that is not
    /// committed.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.bytes, Bytes::Whole(_)) && self.place == Place::Store && !self.dirty
    }

    /// Whether the bytes are where they were, as many as before or more, for a file of the store that
    /// was open while nobody had the lease.
    pub(super) fn is_still_there(&self) -> Result<bool> {
        match &self.bytes {
            Bytes::Whole(file) => {
                let length = file.length_at(&self.path).context("look at", &self.path)?;
                Ok(length.is_some_and(|length| length >= self.position))
            }
            _ => Ok(false),
        }
    }

    /// Whether there are too few bytes, but as many as this earlier record says.
    pub(super) fn is_cut_to(&self, before: &Upload) -> bool {
        matches!(self.bytes, Bytes::Short(_, length) if length >= self.place.length(before))
    }

    /// Fails if there are fewer bytes than the record says.
    pub(super) fn check(&self) -> Result<()> {
        match &self.bytes {
            Bytes::Whole(_) => Ok(()),
            bytes => Err(bytes.damage(&self.id)),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.check()?;
        self.dirty = true;
        self.file()?.write_at(bytes, self.position).context("write", &self.path)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Leaves the bytes from this position on to those who look at them.
    pub(super) fn leave_to(&self, queue: &Queue, position: u64, look: Look) -> Result<()> {
        let length = self.position - position;
        queue.push(self.file()?, position, length, look).context("open", &self.path)
    }

    /// Marks the bytes of this record as committed. The next byte is written after them.
    pub(super) fn commit(&mut self, upload: &Upload) {
        let end = self.place.length(upload);
        self.dirty = self.position != end;
        self.position = end;
    }

    /// All bytes, which end there, are now where the application wanted them.
    pub(super) fn moved(&mut self, end: u64) {
        (self.place, self.position) = (Place::Application, end);
    }

    /// The bytes are now in this file, a copy. Closing the original frees its bytes, since it has been
    /// removed, and may take a while; so that is done here and not where the lease ends.
    pub(super) fn copied(&mut self, copy: File) {
        self.bytes = Bytes::Whole(copy);
    }

    /// Cuts off the bytes after those of this record, unless the file belongs to the application.
    pub(super) fn cut(&self, upload: &Upload) -> Result<()> {
        let (file, end) = (self.file()?, self.place.length(upload));
        if self.place == Place::Store && file.len().context("look at", &self.path)? != end {
            file.set_len(end).context("cut", &self.path)?;
        }
        Ok(())
    }

    /// Syncs the bytes, if there are any.
    pub(super) fn sync(&self) -> Result<()> {
        let Ok(file) = self.file() else { return Ok(()) };
        file.sync().context("sync", &self.path)
    }

    /// Another handle, for reading from `position` on.
    pub(super) fn reader_at(&self, position: u64) -> Result<fs::File> {
        self.file()?.reader_at(position).context("open", &self.path)
    }

    fn file(&self) -> Result<&File> {
        match &self.bytes {
            Bytes::Whole(file) | Bytes::Short(file, _) => Ok(file),
            Bytes::Missing => Err(StoreError::NotFound),
        }
    }
}

impl Place {
    /// How long the file of an upload is there. What is joined from others has no bytes in the store.
    pub(super) fn length(self, upload: &Upload) -> u64 {
        match self {
            Self::Store => upload.own_bytes(),
            Self::Application => upload.offset(),
        }
    }
}

impl Bytes {
    /// Compares the length of a file with what it must be. If there is a link or a folder in its place,
    /// it is missing.
    fn of(opened: io::Result<File>, least: u64) -> io::Result<Self> {
        match opened {
            Ok(file) if file.first_length() < least => {
                let length = file.first_length();
                Ok(Self::Short(file, length))
            }
            Ok(file) => Ok(Self::Whole(file)),
            Err(error) if is_absent(&error) || error.kind() == io::ErrorKind::InvalidInput => {
                Ok(Self::Missing)
            }
            Err(error) => Err(error),
        }
    }

    /// The error for bytes that are not whole.
    fn damage(&self, id: &UploadId) -> StoreError {
        let problem = match self {
            Self::Missing => "its bytes are missing",
            _ => "it has fewer bytes than its record says",
        };
        StoreError::damaged(id, problem)
    }
}

/// Where the bytes are, and whose. A move that was begun may have been completed: if the bytes are
/// no longer at its source, they are at its target.
pub(super) fn find(layout: &Layout, notes: &Notes) -> Result<(PathBuf, Place)> {
    let (path, place) = match &notes.moved {
        Some(moved) => (moved.clone(), Place::Application),
        None => (layout.data(&notes.data_path), Place::Store),
    };
    Ok(match &notes.moving {
        Some(to) if layout.disk.is_missing(&path).context("look for", &path)? => {
            (to.clone(), Place::Application)
        }
        _ => (path, place),
    })
}
