//! Files below the folder of a store, on whose way no link is followed.

use std::io;
use std::path::Path;

use super::{Disk, File};

/// The folder of a store, for some files to be opened below it.
///
/// It is opened anew for each piece of work, since somebody may have put another folder in its
/// place.
pub(in super::super) struct Root<'a> {
    disk: &'a Disk,
    path: &'a Path,
    #[cfg(target_os = "linux")]
    folder: Option<std::os::fd::OwnedFd>,
    #[cfg(windows)]
    is_claimed: bool,
}

impl Disk {
    pub(in super::super) fn root<'a>(&'a self, path: &'a Path) -> Root<'a> {
        Root {
            disk: self,
            path,
            #[cfg(target_os = "linux")]
            folder: None,
            #[cfg(windows)]
            is_claimed: false,
        }
    }
}

impl Root<'_> {
    /// Opens a regular file for reading and writing. A link does not count as one.
    pub(in super::super) fn open(&mut self, below: &Path) -> io::Result<File> {
        #[cfg(target_os = "linux")]
        if let Some(opened) = linux::open(self, below, linux::READ_WRITE) {
            return opened;
        }
        #[cfg(windows)]
        self.claim()?;
        self.check(below)?;
        self.disk.open(&self.path.join(below))
    }

    /// Opens a regular file for reading. A link does not count as one.
    pub(in super::super) fn open_to_read(&mut self, below: &Path) -> io::Result<File> {
        #[cfg(target_os = "linux")]
        if let Some(opened) = linux::open(self, below, linux::READ) {
            return opened;
        }
        self.check(below)?;
        self.disk.open_to_read(&self.path.join(below))
    }

    /// Creates a file for reading and writing, and the folders above it. Only its owner may open
    /// it.
    pub(in super::super) fn create(&mut self, below: &Path) -> io::Result<File> {
        let path = self.path.join(below);
        let parent = path.parent().unwrap_or(Path::new(""));
        for _ in 0..ATTEMPTS {
            match self.create_new(below, &path) {
                // The folder is missing, or a sweep has just removed it since it was empty.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.disk.create_folders(parent)?;
                    #[cfg(target_os = "linux")]
                    drop(self.folder.take());
                }
                result => return result,
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    fn create_new(&mut self, below: &Path, path: &Path) -> io::Result<File> {
        #[cfg(target_os = "linux")]
        if let Some(created) = linux::create(self, below) {
            return created;
        }
        #[cfg(windows)]
        self.claim()?;
        self.check(below)?;
        self.disk.create_new(path)
    }

    /// Keeps other processes from writing here.
    #[cfg(windows)]
    fn claim(&mut self) -> io::Result<()> {
        if !self.is_claimed {
            self.check(Path::new(CLAIM))?;
            self.disk.claim.renew(&self.path.join(CLAIM))?;
            self.is_claimed = true;
        }
        Ok(())
    }

    fn check(&self, below: &Path) -> io::Result<()> {
        match self.has_link(below) {
            true => Err(link_on_the_way()),
            false => Ok(()),
        }
    }

    /// Whether a folder on the way to the file is a link, which could lead out of the store.
    pub(in super::super) fn has_link(&self, below: &Path) -> bool {
        folders_above(below).any(|folder| self.disk.is_link(&self.path.join(folder)))
    }
}

/// The folders above a file, innermost first, without the root.
pub(in super::super) fn folders_above(below: &Path) -> impl Iterator<Item = &Path> {
    below.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty())
}

/// The error of a file that is not looked for, since a folder on the way to it is a link.
fn link_on_the_way() -> io::Error {
    io::Error::other(LinkOnTheWay)
}

/// Whether the error is that.
pub(in super::super) fn is_link_on_the_way(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<LinkOnTheWay>())
}

#[derive(Debug)]
struct LinkOnTheWay;

impl std::fmt::Display for LinkOnTheWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a folder on the way to it is a link")
    }
}

impl std::error::Error for LinkOnTheWay {}

/// In one call, where the kernel has it: Linux 5.6.
#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::{Mode, OFlags, ResolveFlags};
    use rustix::io::Errno;

    use super::*;
    #[cfg(test)]
    use crate::store::fs::disk::plan::Call;

    pub(super) const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK);
    pub(super) const READ_WRITE: OFlags = OFlags::RDWR.union(OFlags::NONBLOCK);

    /// Whether the kernel, or what guards it, refuses the call.
    static REFUSED: AtomicBool = AtomicBool::new(false);

    pub(super) fn open(
        root: &mut Root<'_>,
        below: &Path,
        flags: OFlags,
    ) -> Option<io::Result<File>> {
        let opened = call(root, below, flags, Mode::empty())?;
        let path = root.path.join(below);
        if matches!(&opened, Err(error) if is_loop(error)) && root.has_link(below) {
            return Some(Err(link_on_the_way()));
        }
        Some(root.disk.regular(opened, &path))
    }

    pub(super) fn create(root: &mut Root<'_>, below: &Path) -> Option<io::Result<File>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let created = call(root, below, flags, Mode::RUSR | Mode::WUSR)?;
        Some(match created {
            Err(error) if is_loop(&error) => Err(link_on_the_way()),
            created => created.and_then(|file| root.disk.created(file, &root.path.join(below))),
        })
    }

    fn call(
        root: &mut Root<'_>,
        below: &Path,
        flags: OFlags,
        mode: Mode,
    ) -> Option<io::Result<fs::File>> {
        if REFUSED.load(Ordering::Relaxed) {
            return None;
        }
        #[cfg(test)]
        if let Some(plan) = &root.disk.plan
            && let Err(error) = plan.enter(Call::Look)
        {
            return Some(Err(error));
        }
        let folder = match folder(root) {
            Ok(folder) => folder,
            Err(error) => return Some(Err(error)),
        };
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        loop {
            match rustix::fs::openat2(folder, below, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return None,
                // A guard that does not know the call says that it is not permitted. So does the
                // kernel of a file that may not be changed, but not of the folder itself.
                Err(error @ (Errno::NOSYS | Errno::PERM)) => {
                    let flags = OFlags::PATH | OFlags::CLOEXEC;
                    let asked = rustix::fs::openat2(folder, ".", flags, Mode::empty(), resolve);
                    if matches!(asked, Err(Errno::NOSYS | Errno::PERM)) {
                        REFUSED.store(true, Ordering::Relaxed);
                        return None;
                    }
                    return Some(Err(error.into()));
                }
                opened => return Some(opened.map(fs::File::from).map_err(io::Error::from)),
            }
        }
    }

    fn folder<'a>(root: &'a mut Root<'_>) -> io::Result<&'a std::os::fd::OwnedFd> {
        if root.folder.is_none() {
            let path = match root.path {
                path if path.as_os_str().is_empty() => Path::new("."),
                path => path,
            };
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            root.folder = Some(rustix::fs::open(path, flags, Mode::empty())?);
        }
        root.folder.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn is_loop(error: &io::Error) -> bool {
        error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
    }
}

const ATTEMPTS: usize = 8;
/// The file that the process which writes here has locked. It is empty, and never removed.
#[cfg(windows)]
const CLAIM: &str = ".records/process.lock";
