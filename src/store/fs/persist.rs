//! Moving the bytes of an upload out of the store.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::data_file::Place;
use super::disk::Disk;
use super::error::Context as _;
use super::journal::Line;
use super::lease::Lease;
use crate::store::{Result, StoreError};

/// Moves the bytes to `target`.
///
/// The target is noted in the record before anything is moved. If the bytes are missing in the
/// store after a crash, they are found at the target, and repeating the move has the same result.
pub(super) fn persist(lease: &mut Lease, target: &Path, overwrite: bool) -> Result<()> {
    let target = std::path::absolute(target).context("find", target)?;
    let layout = Arc::clone(&lease.layout);
    let disk = &layout.disk;
    let source = lease.path().ok_or(StoreError::NotFound)?;
    let folder = target.parent().unwrap_or(Path::new("/")).to_owned();
    let changed: Vec<_> = new_entries(&folder).collect();
    disk.create_application_folders(&folder).context("make", &folder)?;

    let already = || StoreError::AlreadyExists { target: target.display().to_string() };
    let files = lease.files()?;
    let begun = files.record.notes.moving.as_deref() == Some(&target);
    let same_content = || same_content(&source, &target).unwrap_or(false);
    let ours = same_file(&source, &target) || begun && same_content();
    if !overwrite && !ours && target.symlink_metadata().is_ok() {
        return Err(already());
    }
    files.record.append(vec![Line::Moving(target.clone())])?;
    match move_file(disk, &source, &target, overwrite || ours) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(already()),
        moved => moved.context("move the upload to", &target)?,
    }
    if layout.syncs() {
        for folder in changed {
            disk.sync_folder(folder).context("sync", folder)?;
        }
    }
    files.record.append(vec![Line::Moved(target)])?;
    files.data.place = Place::Application;
    layout.remove_empty_folders(&files.record.notes.data_path);
    Ok(())
}

/// The folders that get a new entry when a file is put into `folder`: the folder itself, and the
/// parents of those that have to be created.
fn new_entries(folder: &Path) -> impl Iterator<Item = &Path> {
    let missing = folder.ancestors().take_while(|folder| !folder.is_dir()).count();
    folder.ancestors().take(missing + 1)
}

fn move_file(disk: &Disk, source: &Path, target: &Path, overwrite: bool) -> io::Result<()> {
    if source == target {
        return Ok(());
    }
    if same_file(source, target) {
        // A crash came after the link and before the removal.
        return disk.remove(source);
    }
    let put =
        |from: &Path| if overwrite { disk.rename(from, target) } else { link(disk, from, target) };
    match put(source) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
        moved => return moved,
    }
    let near = beside(target, source);
    if let Err(error) = copy(disk, source, &near).and_then(|()| put(&near)) {
        drop(disk.remove(&near));
        return Err(error);
    }
    disk.remove(source)
}

/// Renames a file, unless there is something at the target.
fn link(disk: &Disk, source: &Path, target: &Path) -> io::Result<()> {
    disk.link(source, target)?;
    disk.remove(source)
}

/// Copies to a name beside the target, which gets no file before it is complete and synced.
fn copy(disk: &Disk, source: &Path, near: &Path) -> io::Result<()> {
    disk.remove(near)?;
    disk.create_new(near)?.copy_from(&disk.open_to_read(source)?)
}

/// Whether the files are equal: a crash came after the copy and before the removal of its source.
fn same_content(source: &Path, target: &Path) -> io::Result<bool> {
    let (mut source, mut target) = (File::open(source)?, File::open(target)?);
    let mut same = source.metadata()?.len() == target.metadata()?.len();
    let (mut one, mut other) = (vec![0; COMPARED], vec![0; COMPARED]);
    while same {
        let read = source.read(&mut one)?;
        if read == 0 {
            break;
        }
        target.read_exact(&mut other[..read])?;
        same = one[..read] == other[..read];
    }
    Ok(same)
}

fn beside(target: &Path, source: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(source.file_name().unwrap_or_default());
    name.push(".moving");
    target.with_file_name(name)
}

#[cfg(unix)]
fn same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let identity = |path: &Path| fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

#[cfg(not(unix))]
fn same_file(one: &Path, other: &Path) -> bool {
    matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

const COMPARED: usize = 64 * 1024;
