//! The system calls of the store. All of them may block.
//!
//! They are in one place so that a test can watch them, make any of them fail, and forget what was
//! not synced, as a power cut does.

#[cfg(test)]
pub(crate) mod plan;
mod root;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::fs::{self, DirBuilder, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
#[cfg(any(test, windows))]
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::SystemTime;

#[cfg(test)]
use self::plan::{Call, Plan};
pub(super) use self::root::{Root, folders_above, is_link_on_the_way};
#[cfg(unix)]
pub(super) use self::unix::Identity;
#[cfg(unix)]
use self::unix::{read_at, write_all_at};
#[cfg(windows)]
pub(super) use self::windows::Identity;
#[cfg(windows)]
use self::windows::{Claim, Lock, read_at, write_all_at};

/// The system, or what a test puts in its place.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub(super) plan: Option<Arc<Plan>>,
    #[cfg(windows)]
    claim: Arc<Claim>,
}

/// An open file.
#[derive(Debug)]
pub(super) struct File {
    file: fs::File,
    identity: Identity,
    /// It ends after the file is closed.
    #[cfg(windows)]
    lock: Lock,
    /// How long it was when it was opened.
    first_length: u64,
    #[cfg(test)]
    plan: Option<Arc<Plan>>,
    /// Its number in the plan.
    #[cfg(test)]
    number: u64,
}

/// Reports a call to the test, if there is one. The test may let it fail.
macro_rules! enter {
    ($self:expr, $call:expr) => {
        #[cfg(test)]
        if let Some(plan) = &$self.plan {
            plan.enter($call)?;
        }
    };
}

#[allow(clippy::unused_self, reason = "elsewhere it has fields")]
impl Disk {
    /// Creates a file for reading and writing. Only its owner may open it.
    pub(super) fn create_new(&self, path: &Path) -> io::Result<File> {
        enter!(self, Call::Look);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        self.created(options.open(path)?, path)
    }

    /// Opens a regular file for reading and writing. A link does not count as one.
    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        self.open_with(path, OpenOptions::new().read(true).write(true))
    }

    /// Opens a regular file for reading. A link does not count as one.
    pub(super) fn open_to_read(&self, path: &Path) -> io::Result<File> {
        self.open_with(path, OpenOptions::new().read(true))
    }

    fn open_with(&self, path: &Path, options: &mut OpenOptions) -> io::Result<File> {
        enter!(self, Call::Look);
        // Opening a pipe in the place of a file must not block.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            options,
            (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed(),
        );
        // The flag of Windows that opens a link itself would also open, in the place of a file that a
        // filter has compressed, what that made of it.
        #[cfg(windows)]
        if self.is_link(path) {
            return Err(not_a_regular_file());
        }
        self.regular(options.open(path), path)
    }

    /// What was opened, if it is a regular file.
    fn regular(&self, opened: io::Result<fs::File>, path: &Path) -> io::Result<File> {
        match opened.and_then(|file| Ok((file.metadata()?, file))) {
            Ok((metadata, _)) if !metadata.is_file() => {}
            Ok((metadata, file)) => return self.watch(file, &metadata, path, false),
            Err(error) if fs::symlink_metadata(path).map_or(true, |there| there.is_file()) => {
                return Err(error);
            }
            Err(_) => {}
        }
        Err(not_a_regular_file())
    }

    /// What was created.
    fn created(&self, file: fs::File, path: &Path) -> io::Result<File> {
        let metadata = file.metadata()?;
        self.watch(file, &metadata, path, true)
    }

    fn watch(
        &self,
        file: fs::File,
        metadata: &fs::Metadata,
        path: &Path,
        new: bool,
    ) -> io::Result<File> {
        #[cfg(not(test))]
        let _ = (path, new);
        let identity = Identity::of(&file, metadata)?;
        Ok(File {
            file,
            identity,
            #[cfg(windows)]
            lock: Lock::new(identity),
            first_length: metadata.len(),
            #[cfg(test)]
            plan: self.plan.clone(),
            #[cfg(test)]
            number: self.plan.as_ref().map_or(0, |plan| plan.opened(path, new)),
        })
    }

    pub(super) fn is_link(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|there| there.is_symlink())
    }

    pub(super) fn is_readable(&self, path: &Path) -> bool {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        fs::File::open(path).is_ok()
    }

    /// Whether there is nothing at the path, not even a link.
    pub(super) fn is_missing(&self, path: &Path) -> io::Result<bool> {
        enter!(self, Call::Look);
        match fs::symlink_metadata(path) {
            Err(error) if is_absent(&error) => Ok(true),
            there => there.map(|_| false),
        }
    }

    /// Whether the path is a folder or leads to one.
    pub(super) fn leads_to_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    /// Whether the path is a folder. A link to one does not count.
    pub(super) fn is_folder(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|there| there.is_dir())
    }

    /// Creates a folder and those above it. Only their owner may enter them.
    pub(super) fn create_folders(&self, path: &Path) -> io::Result<()> {
        let is_missing = |at: &&Path| !at.as_os_str().is_empty() && !self.leads_to_folder(at);
        let missing: Vec<_> = path.ancestors().take_while(is_missing).collect();
        let builder = &mut DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(builder, 0o700);
        for folder in missing.into_iter().rev() {
            enter!(self, Call::CreateFolder(folder));
            match builder.create(folder) {
                // Its parent was empty and has just been removed. The caller finds that the folder
                // is missing, and tries again.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Creates a folder of the application, and those above it, with the default mode.
    pub(super) fn create_application_folders(&self, path: &Path) -> io::Result<()> {
        enter!(self, Call::CreateFolder(path));
        fs::create_dir_all(path)
    }

    /// The names in a folder, except those that are not valid Unicode. A missing folder is empty.
    pub(super) fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        self.each_name(folder, |name| names.push(name))?;
        Ok(names)
    }

    /// Visits the names in a folder that may have too many to keep in memory.
    pub(super) fn each_name(&self, folder: &Path, mut see: impl FnMut(String)) -> io::Result<()> {
        enter!(self, Call::Look);
        let entries = match fs::read_dir(folder) {
            Err(error) if is_absent(&error) => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            if let Ok(name) = entry?.file_name().into_string() {
                see(name);
            }
        }
        Ok(())
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        enter!(self, Call::Rename(from, to));
        fs::rename(from, to)
    }

    pub(super) fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        enter!(self, Call::Link(from, to));
        fs::hard_link(from, to)
    }

    /// Removes a file, or an empty folder in its place. It may be missing.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        enter!(self, Call::Remove(path));
        match fs::remove_file(path) {
            Err(error) if is_absent(&error) => Ok(()),
            Err(_) if self.is_folder(path) => fs::remove_dir(path),
            result => result,
        }
    }

    /// Removes a folder, if it is empty.
    pub(super) fn remove_folder(&self, path: &Path) -> io::Result<()> {
        enter!(self, Call::RemoveFolder(path));
        fs::remove_dir(path)
    }

    /// Syncs the entries of a folder, so that they survive a power cut.
    pub(super) fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        enter!(self, Call::SyncFolder(path));
        // A test only counts syncs.
        #[cfg(test)]
        if self.plan.is_some() {
            return Ok(());
        }
        // On other systems a folder cannot be opened.
        if cfg!(unix) { fs::File::open(path)?.sync_all() } else { Ok(()) }
    }

    /// When a file was last written.
    pub(super) fn modified(&self, path: &Path) -> Option<SystemTime> {
        fs::symlink_metadata(path).ok()?.modified().ok()
    }

    /// How many bytes this process can still write to the filesystem of a folder.
    #[cfg(unix)]
    pub(super) fn free(&self, folder: &Path) -> io::Result<Option<u64>> {
        let found = rustix::fs::statvfs(folder)?;
        Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
    }

    #[cfg(not(unix))]
    pub(super) fn free(&self, _: &Path) -> io::Result<Option<u64>> {
        Ok(None)
    }

    /// How many files this process may have open; `None` if there is no limit.
    #[cfg(unix)]
    pub(super) fn max_open_files() -> Option<usize> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
        usize::try_from(limit).ok()
    }

    #[cfg(not(unix))]
    pub(super) fn max_open_files() -> Option<usize> {
        None
    }

    /// Identifies the current boot of the machine; `None` if the system does not tell.
    pub(super) fn boot(&self) -> Option<&str> {
        #[cfg(test)]
        if let Some(plan) = &self.plan {
            return Some(plan.boot());
        }
        static BOOT: OnceLock<Option<String>> = OnceLock::new();
        let read = || {
            let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
            Some(id.trim().to_owned())
        };
        BOOT.get_or_init(read).as_deref()
    }
}

impl File {
    pub(super) fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        #[cfg(test)]
        if let Some(plan) = &self.plan {
            let fits = plan.write(self.number, bytes, position);
            write_all_at(&self.file, &bytes[..fits.0], position)?;
            return fits.1;
        }
        write_all_at(&self.file, bytes, position)
    }

    pub(super) fn set_len(&self, length: u64) -> io::Result<()> {
        enter!(self, Call::Cut(self.number, length));
        self.file.set_len(length)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        enter!(self, Call::Sync(self.number));
        #[cfg(test)]
        if self.plan.is_some() {
            return Ok(());
        }
        self.file.sync_data()
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    pub(super) fn try_lock(&self) -> Result<(), TryLockError> {
        #[cfg(test)]
        if let Some(plan) = &self.plan {
            plan.enter(Call::Look).map_err(TryLockError::Error)?;
        }
        #[cfg(unix)]
        {
            self.file.try_lock()
        }
        #[cfg(windows)]
        self.lock.try_take()
    }

    pub(super) fn unlock(&self) -> io::Result<()> {
        enter!(self, Call::Unlock);
        #[cfg(windows)]
        self.lock.release();
        #[cfg(unix)]
        self.file.unlock()?;
        Ok(())
    }

    /// How long it was when it was opened.
    pub(super) fn first_length(&self) -> u64 {
        self.first_length
    }

    /// Reads the first bytes through this handle, which may hold its lock: so many, or all that there
    /// are.
    pub(super) fn read_first(&self, length: u64) -> io::Result<Vec<u8>> {
        enter!(self, Call::Look);
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        let mut filled = 0;
        while filled < bytes.len() {
            match read_at(&self.file, &mut bytes[filled..], filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Another handle, for reading beside this one.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            file: self.file.try_clone()?,
            identity: self.identity,
            #[cfg(windows)]
            lock: Lock::new(self.identity),
            first_length: self.first_length,
            #[cfg(test)]
            plan: self.plan.clone(),
            #[cfg(test)]
            number: self.number,
        })
    }

    /// Reads so many bytes.
    pub(super) fn read_exact_at(&self, mut bytes: &mut [u8], mut position: u64) -> io::Result<()> {
        enter!(self, Call::Look);
        while !bytes.is_empty() {
            match read_at(&self.file, bytes, position) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    bytes = &mut bytes[read..];
                    position += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Another handle, for reading from `position` on.
    pub(super) fn reader_at(&self, position: u64) -> io::Result<fs::File> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(position)).map(|_| file)
    }

    pub(super) fn into_inner(self) -> fs::File {
        self.file
    }

    /// Appends the first bytes of another file, which was opened for this. This file is new, and only
    /// this method has written to it.
    pub(super) fn append_from(&self, from: &File, size: u64) -> io::Result<()> {
        enter!(from, Call::Look);
        let mut bytes = (&from.file).take(size);
        #[cfg(test)]
        if self.plan.is_some() {
            let mut read = Vec::new();
            bytes.read_to_end(&mut read)?;
            return self.write_at(&read, self.len()?);
        }
        // From file to file, the kernel copies without showing the bytes to this process.
        if io::copy(&mut bytes, &mut &self.file)? < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// The length of the file at the path, if that is still this one. If it is not, a lock on this one
    /// protects nothing.
    pub(super) fn length_at(&self, path: &Path) -> io::Result<Option<u64>> {
        enter!(self, Call::Look);
        match Identity::at(path) {
            Ok((there, length)) => Ok((self.identity == there).then_some(length)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a file that was just created has been removed again.
    pub(super) fn was_removed(&self, path: &Path) -> io::Result<bool> {
        #[cfg(unix)]
        {
            let _ = path;
            use std::os::unix::fs::MetadataExt as _;
            Ok(self.file.metadata()?.nlink() == 0)
        }
        #[cfg(windows)]
        Ok(self.length_at(path)?.is_none())
    }
}

fn not_a_regular_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
