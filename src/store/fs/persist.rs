//! Moving the bytes of an upload out of the store.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::data_file::{self, Place};
use super::disk::{Disk, File, Identity};
use super::error::Context as _;
use super::journal::{Line, Notes};
use super::layout::Layout;
use super::lease::Lease;
use super::read;
use crate::store::{Result, StoreError};
use crate::upload::{Part, Upload};

/// What is moved.
struct Source {
    /// The file of the upload.
    path: PathBuf,
    /// The parts whose bytes make the file at the target. If there are none, it is that of the upload.
    parts: Vec<Part>,
}

/// Moves the bytes to `target`.
///
/// The target is noted in the record before anything is moved. If the file of the upload is missing in
/// the store after a crash, the bytes are at the target, and repeating the move has the same result.
pub(super) fn persist(lease: &mut Lease, target: &Path, overwrite: bool) -> Result<()> {
    let target = std::path::absolute(target).context("find", target)?;
    let (layout, upload) = (Arc::clone(&lease.layout), Arc::clone(&lease.upload));
    let (disk, files) = (&layout.disk, lease.files()?);
    let source = Source::of(&layout, &upload, &files.record.notes)?;
    let begun = files.record.notes.moving.as_deref() == Some(&target);
    let same_content = || source.is_at(&layout, &target).unwrap_or(false);
    let ours = same_file(&source.path, &target) || begun && same_content();
    if !overwrite && !ours && !disk.is_missing(&target).context("look for", &target)? {
        return Err(already_there(&target));
    }
    files.record.append(vec![Line::Moving(target.clone())])?;
    let folder = target.parent().unwrap_or(Path::new("/")).to_owned();
    let changed = changed_folders(disk, &folder, begun);
    disk.create_application_folders(&folder).context("make", &folder)?;
    let copied = source.put(&layout, &target, overwrite || ours)?;
    if layout.syncs() {
        for folder in changed {
            disk.sync_folder(folder).context("sync", folder)?;
        }
    }
    // From then on the bytes are looked for at the target.
    if copied && !same_file(&source.path, &target) {
        disk.remove(&source.path).context("remove", &source.path)?;
    }
    let copy = copied.then(|| disk.open_to_read(&target).ok()).flatten();
    files.record.append(vec![Line::Moved(target)])?;
    files.data.moved(upload.offset());
    if let Some(copy) = copy {
        files.data.copied(copy);
    }
    layout.remove_empty_folders(&files.record.notes.data_path);
    Ok(())
}

impl Source {
    fn of(layout: &Layout, upload: &Upload, notes: &Notes) -> Result<Self> {
        let (path, place) = data_file::find(layout, notes)?;
        let path = std::path::absolute(&path).context("find", &path)?;
        let parts = match place {
            Place::Store => upload.parts_with_bytes().to_vec(),
            Place::Application => Vec::new(),
        };
        Ok(Self { path, parts })
    }

    /// Puts the file at the target. Says whether it is a copy, so that the file of the upload is still
    /// there.
    fn put(&self, layout: &Arc<Layout>, target: &Path, overwrite: bool) -> Result<bool> {
        let disk = &layout.disk;
        let put = |from: &Path| match overwrite {
            true => disk.rename(from, target),
            false => link(disk, from, target),
        };
        let done = |put: io::Result<()>| match put {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(already_there(target))
            }
            put => put.context("move the upload to", target),
        };
        if self.parts.is_empty() {
            match self.rename(disk, target, put) {
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
                moved => return done(moved).map(|()| false),
            }
        }
        let near = beside(target, &self.path);
        let copied = self.copy(layout, &near).and_then(|()| done(put(&near)));
        copied.inspect_err(|_| drop(disk.remove(&near)))?;
        Ok(true)
    }

    fn rename(
        &self,
        disk: &Disk,
        target: &Path,
        put: impl Fn(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.path == target {
            return Ok(());
        }
        if same_file(&self.path, target) {
            // A crash came after the link and before the removal.
            return disk.remove(&self.path);
        }
        put(&self.path)
    }

    /// Copies to a name beside the target, which gets no file before it is complete and synced.
    fn copy(&self, layout: &Arc<Layout>, near: &Path) -> Result<()> {
        layout.disk.remove(near).context("remove", near)?;
        let copy = layout.disk.create_new(near).context("create", near)?;
        for file in self.files(layout) {
            let (file, size) = file?;
            copy.append_from(&file, size).context("write", near)?;
        }
        copy.sync().context("sync", near)
    }

    /// Whether the file at the target has the same content: a crash came after the copy and before the
    /// removal of its source.
    fn is_at(&self, layout: &Arc<Layout>, target: &Path) -> Result<bool> {
        let there = layout.disk.open_to_read(target).context("open", target)?;
        let mut there = there.into_inner();
        for file in self.files(layout) {
            let (file, size) = file?;
            let here = file.into_inner().take(size);
            if !begins_with(&mut there, here).context("read", target)? {
                return Ok(false);
            }
        }
        Ok(there.read(&mut [0]).context("read", target)? == 0)
    }

    /// The files with the bytes, one after the other, and how many each has. One is opened when its
    /// turn has come, since there may be more than a process may open.
    fn files<'a>(
        &'a self,
        layout: &'a Arc<Layout>,
    ) -> impl Iterator<Item = Result<(File, u64)>> + use<'a> {
        let own = self.parts.is_empty().then(|| open(&layout.disk, &self.path));
        own.into_iter().chain(self.parts.iter().map(|part| open_part(layout, part)))
    }
}

fn open(disk: &Disk, path: &Path) -> Result<(File, u64)> {
    let opened = disk.open_to_read(path).and_then(|file| Ok((file.len()?, file)));
    opened.map(|(length, file)| (file, length)).context("open", path)
}

fn open_part(layout: &Arc<Layout>, part: &Part) -> Result<(File, u64)> {
    let damaged = |problem| StoreError::damaged(&part.id, problem);
    let (file, end) = match read::open_part(layout, &part.id) {
        Err(StoreError::NotFound) => Err(damaged("it is a part of an upload, and is not there")),
        opened => opened,
    }?;
    match part.size.unwrap_or(0) {
        size if size <= end => Ok((file, size)),
        _ => Err(damaged("it is a part of an upload, which has more bytes of it")),
    }
}

/// Whether the next bytes of a file are these.
fn begins_with(there: &mut impl Read, mut here: impl Read) -> io::Result<bool> {
    let (mut one, mut other) = (vec![0; COMPARED], vec![0; COMPARED]);
    loop {
        let read = here.read(&mut one)?;
        if read == 0 {
            return Ok(true);
        }
        there.read_exact(&mut other[..read])?;
        if one[..read] != other[..read] {
            return Ok(false);
        }
    }
}

fn already_there(target: &Path) -> StoreError {
    StoreError::AlreadyExists { target: target.display().to_string() }
}

/// The folders that get a new entry when a file is put into `folder`: the folder itself, and the
/// parents of those that have to be created. If the move was begun before, nobody knows which those
/// were.
fn changed_folders<'a>(disk: &Disk, folder: &'a Path, begun: bool) -> Vec<&'a Path> {
    let missing = folder.ancestors().take_while(|folder| !disk.leads_to_folder(folder)).count();
    let above = folder.ancestors().skip(missing + 1);
    let above = above.filter(|folder| begun && disk.is_readable(folder));
    folder.ancestors().take(missing + 1).chain(above).collect()
}

/// Renames a file, unless there is something at the target.
fn link(disk: &Disk, source: &Path, target: &Path) -> io::Result<()> {
    disk.link(source, target)?;
    disk.remove(source)
}

fn beside(target: &Path, source: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(source.file_name().unwrap_or_default());
    name.push(".moving");
    target.with_file_name(name)
}

fn same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| Identity::at(path).map(|(identity, _)| identity);
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

const COMPARED: usize = 64 * 1024;
