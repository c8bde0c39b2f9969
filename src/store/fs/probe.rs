//! Whether a folder can take uploads now.
//!
//! Everything here blocks.

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::{File, Root};
use super::error::Context as _;
use super::layout::{Layout, PROBES, REWRITTEN};
use super::record_file::create_locked;
use crate::id::UploadId;
use crate::store::Result;

/// Does with two files what is done with those of an upload.
pub(super) fn probe(layout: &Layout) -> Result<()> {
    for (id, below) in layout.probes()? {
        // If it cannot be removed, the files of this check cannot be either, and that is told.
        drop(remove_left(layout, &id, &below));
    }
    let mut root = layout.open();
    let mut probe = Probe::create(layout, &mut root)?;
    let tried = probe.record(&mut root).and_then(|()| probe.bytes(&mut root));
    let removed = probe.remove();
    tried.and(removed)
}

/// A check that is under way. As the record of an upload does, its first file names the second and
/// is locked, so that what a crash leaves is found.
struct Probe<'a> {
    layout: &'a Layout,
    id: UploadId,
    /// Locked.
    file: File,
    /// Where it is, below the root.
    below: PathBuf,
    /// The other file, below the root.
    data: PathBuf,
}

impl<'a> Probe<'a> {
    fn create(layout: &'a Layout, root: &mut Root<'_>) -> Result<Self> {
        let id = UploadId::random();
        let below = Path::new(PROBES).join(format!("{id}.{REWRITTEN}"));
        let data = layout.probe_data(&id)?;
        let file = create_locked(layout, root, &below, || Ok(()))?;
        Ok(Self { layout, id, file, below, data })
    }

    fn record(&mut self, root: &mut Root<'_>) -> Result<()> {
        let (disk, path) = (&self.layout.disk, self.layout.data(&self.below));
        let other = root.open(&self.below).context("open", &path)?;
        match other.try_lock() {
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error).context("lock", &path),
            Ok(()) => return Err(io::Error::other("it was locked twice")).context("lock", &path),
        }
        // The path has been formatted from text.
        let content = self.data.as_os_str().as_encoded_bytes();
        // Some systems let nobody else read what is locked.
        write_and_read(&self.file, &self.file, content, &path)?;
        let target = Path::new(PROBES).join(self.id.as_str());
        disk.rename(&path, &self.layout.data(&target)).context("rename", &path)?;
        self.below = target;
        self.sync_folder(&self.below)
    }

    fn bytes(&self, root: &mut Root<'_>) -> Result<()> {
        let path = self.layout.data(&self.data);
        let file = root.create(&self.data).context("create", &path)?;
        let other = root.open_to_read(&self.data).context("open", &path)?;
        write_and_read(&file, &other, &BYTES, &path)?;
        self.sync_folder(&self.data)
    }

    /// Only with [`Durability::Sync`](super::Durability::Sync) anything rests on that.
    fn sync_folder(&self, below: &Path) -> Result<()> {
        let path = self.layout.data(below);
        match path.parent() {
            Some(folder) if self.layout.syncs() => {
                self.layout.disk.sync_folder(folder).context("sync", folder)
            }
            _ => Ok(()),
        }
    }

    fn remove(self) -> Result<()> {
        remove(self.layout, &self.below, Some(&self.data))
    }
}

fn write_and_read(file: &File, other: &File, bytes: &[u8], path: &Path) -> Result<()> {
    file.write_at(bytes, 0).context("write", path)?;
    // Some disks report only then that they cannot write.
    file.sync().context("sync", path)?;
    match other.read_first(bytes.len() as u64).context("read", path)? {
        read if read == bytes => Ok(()),
        _ => Err(io::Error::other("other bytes came back than were written")).context("read", path),
    }
}

/// Removes the files of a check whose process has ended.
fn remove_left(layout: &Layout, id: &UploadId, below: &Path) -> Result<()> {
    let path = layout.data(below);
    let file = layout.open().open(below).context("open", &path)?;
    file.try_lock().map_err(io::Error::from).context("lock", &path)?;
    let Some(length) = file.length_at(&path).context("look at", &path)? else { return Ok(()) };
    let content = file.read_first(length.min(LONGEST_PATH)).context("read", &path)?;
    let data = String::from_utf8(content).ok().map(PathBuf::from);
    let data = data.filter(|data| Layout::is_probe_data(id, data) && !layout.open().has_link(data));
    remove(layout, below, data.as_deref())
}

/// Removes what is there, the file that names the other one last.
fn remove(layout: &Layout, below: &Path, data: Option<&Path>) -> Result<()> {
    for below in data.into_iter().chain([below]) {
        let path = layout.data(below);
        layout.disk.remove(&path).context("remove", &path)?;
        layout.remove_empty_folders(below);
    }
    Ok(())
}

/// A page, which has to find room.
const BYTES: [u8; 4096] = [0x5a; 4096];
const LONGEST_PATH: u64 = 64 * 1024;
