//! Uploads in a folder of the local filesystem.
//!
//! ```text
//! chunked_uploads/2026/11/22/5230ec1f….part     the bytes; the folders are the user's pattern
//! chunked_uploads/.records/52/5230ec1f….log     the record
//! ```
//!
//! The record is a journal of readable text. Each commit appends a line, and the last complete line
//! is the truth. A record is found by its id alone and names the file of its bytes. So the pattern
//! may change between restarts, as long as the part before the first `%` stays the same.
//!
//! Files are created with mode 0600 and folders with 0700. On Windows they inherit the permissions of
//! the folder above.
//!
//! # Several processes
//!
//! Any number of processes may use one folder of a local filesystem: the lease is an advisory lock
//! (`flock`) on the record, which the kernel releases when a process dies. Network filesystems
//! differ in how they handle such locks; do not share a folder over one.
//!
//! On Windows, only one process may write to a folder. A file that is locked there cannot be read,
//! so the store locks records only within its process. The first process that writes to the folder
//! locks the file `.records/process.lock`, and keeps it until it has dropped all its stores with
//! this folder. Writes of another process fail with [`StoreError::Io`], and so does
//! [`Uploads::check`](crate::Uploads::check). It can still read uploads.
//!
//! A request that finds its upload held by another process puts a file into `.records/asked`. The
//! holder looks there twice a second and yields, as it does to a newer request of its own process.
//!
//! # Open files
//!
//! The files of uploads that received bytes in the last ten seconds stay open, for the next chunk:
//! see [`FsStore::open_files`]. They are not locked, and before it uses them again, the store
//! checks whether another process has changed, moved or removed anything.
//!
//! # What a check tries
//!
//! [`Uploads::check`](crate::Uploads::check) does what an upload does: it creates, locks, writes,
//! syncs and renames a file in `.records/probe`, and creates, writes, syncs and reads one in the
//! folder of new files. Both are removed, and with them the folders that have become empty. The
//! files that a crash leaves are not locked, so the next check removes them.
//!
//! # Durability
//!
//! See [`Durability`].

mod calls;
mod cleanup;
mod data_file;
#[cfg(not(test))]
mod disk;
#[cfg(test)]
pub(crate) mod disk;
mod durability;
mod error;
mod follow;
mod idle;
mod journal;
mod layout;
mod lease;
mod persist;
mod probe;
mod read;
mod record_file;
#[cfg(test)]
mod tests;
mod turns;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::fs::File;

pub use self::calls::FileCalls;
use self::calls::{Calls, Work};
pub use self::durability::Durability;
use self::follow::{Follower, Pace};
use self::idle::Idle;
#[cfg(any(test, fuzzing))]
pub(crate) use self::journal::trace;
use self::layout::Layout;
use self::lease::{Lease, Released};
use super::{
    Batch, Capabilities, Commit, Cursor, HandoffRequest, Page, Reader, Remains, Result, Store,
    StoreError, Writer,
};
use crate::id::UploadId;
use crate::upload::Upload;

/// Keeps uploads in a folder. The [module docs](self) show the layout. A clone is the same store.
///
/// ```
/// use tower_chunked_upload::store::{Durability, FsStore};
///
/// let store = FsStore::new("chunked_uploads/%Y/%m/%d").durability(Durability::Sync);
/// ```
#[derive(Clone)]
#[must_use]
pub struct FsStore {
    layout: Arc<Layout>,
    calls: Arc<Calls>,
    idle: Arc<Idle>,
}

impl FsStore {
    /// Creates a store that puts new files into the folder that `pattern` names: a path with
    /// directives of `strftime` such as `%Y`, `%m` and `%d`, in UTC.
    ///
    /// The part before the first component with a `%` is the root of the store. Besides the files,
    /// it contains a folder `.records`. Nothing is created on the disk before the first upload.
    ///
    /// The pattern is checked when the [`Uploads`](crate::Uploads) is built. A bad one is a
    /// [`ConfigError`](crate::ConfigError).
    pub fn new(pattern: impl AsRef<Path>) -> Self {
        let layout = Arc::new(Layout::new(pattern.as_ref()));
        Self { layout, calls: Arc::new(Calls::new()), idle: Arc::new(Idle::new()) }
    }

    /// Sets which failures an acknowledged byte survives. Default: [`Durability::Process`].
    pub fn durability(mut self, durability: Durability) -> Self {
        Arc::make_mut(&mut self.layout).durability = durability;
        self
    }

    /// Sets which threads make the calls on files. Default: [`FileCalls::Pool`].
    pub fn file_calls(mut self, calls: FileCalls) -> Self {
        Arc::make_mut(&mut self.layout).calls = calls;
        self
    }

    /// Sets how many files of idle uploads stay open, so that the next chunk does not have to open
    /// them: two for each upload, for ten seconds. Default: 256. They are never more than a quarter
    /// of the files that the process may open (`RLIMIT_NOFILE`). On systems other than Unix, none
    /// stay open.
    pub fn open_files(mut self, count: usize) -> Self {
        Arc::make_mut(&mut self.layout).set_open_files(count);
        self
    }

    /// Puts the plan of a test in the place of the system.
    #[cfg(test)]
    pub(crate) fn with_plan(mut self, plan: Arc<disk::plan::Plan>) -> Self {
        Arc::make_mut(&mut self.layout).disk.plan = Some(plan);
        self
    }

    /// The bytes of an upload's parts.
    fn joined(&self, upload: &Upload) -> Reader {
        let store = self.clone();
        Reader::joined(upload.parts_with_bytes(), move |id| {
            let store = store.clone();
            Box::pin(async move {
                let open = move |layout: &_| read::open_part(layout, &id);
                let (file, end) = store.blocking(open).await?;
                Ok(Reader::new(File::from_std(file.into_inner()), end))
            })
        })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Arc<Layout>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(Work::Long, job).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: Work,
        job: impl FnOnce(&Arc<Layout>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let layout = Arc::clone(&self.layout);
        self.calls.run(layout.calls, work, move || job(&layout)).await?
    }

    fn writing(&self, held: Held) -> FsWriter {
        let (upload, store) = (Arc::clone(held.upload()), self.clone());
        FsWriter { held: Some(held), upload, store, pace: None, follower: None }
    }
}

impl fmt::Debug for FsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FsStore")
            .field("pattern", &self.layout.whole_pattern())
            .field("durability", &self.layout.durability)
            .field("file_calls", &self.layout.calls)
            .finish_non_exhaustive()
    }
}

impl Default for FsStore {
    /// `chunked_uploads/%Y/%m/%d`, in the current folder.
    fn default() -> Self {
        Self::new("chunked_uploads/%Y/%m/%d")
    }
}

impl Store for FsStore {
    type Writer = FsWriter;

    fn check(&self) -> Result<()> {
        self.layout.check()
    }

    async fn probe(&self) -> Result<()> {
        self.blocking(|layout| probe::probe(layout)).await
    }

    fn capabilities(&self) -> Capabilities {
        // A position in a file is a signed number.
        let max_bytes = u64::try_from(i64::MAX).ok();
        Capabilities {
            handoff: true,
            unattended_writes: true,
            max_bytes,
            ..Capabilities::default()
        }
    }

    async fn create(&self, upload: Upload) -> Result<FsWriter> {
        if upload.creation.is_some() {
            // At once, since others may create it, too, and only one of them may receive it.
            let create = move |layout: &Arc<Layout>| Lease::create(Arc::clone(layout), upload);
            return Ok(self.writing(Held::Lease(self.run(Work::Short, create).await?)));
        }
        // The files are created with the first bytes, in the same hop to a blocking thread.
        Ok(self.writing(Held::Lease(Lease::uncommitted(Arc::clone(&self.layout), upload))))
    }

    async fn load(&self, id: &UploadId) -> Result<Upload> {
        let id = *id;
        self.run(Work::Short, move |layout| Ok(read::load(layout, &id)?.committed()?.0)).await
    }

    async fn writer(&self, id: &UploadId) -> Result<FsWriter> {
        let (id, released) = (*id, self.idle.take(id));
        // What a commit has left is confirmed, and that is synced, too.
        let work = Work::long_if(self.layout.syncs());
        let lease = self.run(work, move |layout| match released.map(Released::take) {
            Some(Ok(lease)) => Ok(lease),
            Some(Err(StoreError::Busy)) => Err(StoreError::Busy),
            _ => Lease::take(Arc::clone(layout), &id),
        });
        Ok(self.writing(Held::Lease(lease.await?)))
    }

    fn recall(&self, id: &UploadId) -> Option<FsWriter> {
        Some(self.writing(Held::Released(self.idle.take(id)?)))
    }

    async fn open(&self, id: &UploadId) -> Result<Reader> {
        let id = *id;
        let (upload, file) = self.blocking(move |layout| read::open(layout, &id)).await?;
        Ok(match file {
            Some(file) => Reader::new(File::from_std(file.into_inner()), upload.offset()),
            None => self.joined(&upload),
        })
    }

    async fn discard(&self, id: &UploadId) -> Result<()> {
        let id = *id;
        self.blocking(move |layout| cleanup::discard(layout, &id)).await
    }

    async fn remove_damaged(&self, id: &UploadId) -> Result<bool> {
        let id = *id;
        self.blocking(move |layout| cleanup::remove_damaged(layout, &id)).await
    }

    async fn list(&self, cursor: Option<Cursor>) -> Result<Page> {
        self.blocking(move |layout| read::page(layout, cursor)).await
    }

    async fn remains(&self, id: &UploadId) -> Result<Remains> {
        let id = *id;
        self.blocking(move |layout| Ok(cleanup::remains(layout, &id))).await
    }

    async fn list_expiring(&self, cursor: Option<Cursor>) -> Result<Page> {
        self.list(cursor).await
    }

    async fn request_handoff(&self, id: &UploadId, wanted: bool) -> Result<()> {
        let id = *id;
        self.blocking(move |layout| layout.request_handoff(&id, wanted)).await
    }

    async fn handoff_requests(&self) -> Result<Vec<HandoffRequest>> {
        self.blocking(|layout| layout.handoff_requests()).await
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        self.blocking(|layout| layout.free_bytes()).await
    }

    async fn settle(&self) {
        let idle = Arc::clone(&self.idle);
        let closed = self.blocking(move |_| {
            idle.clear();
            Ok(())
        });
        drop(closed.await);
        self.calls.tasks().wait().await;
    }
}

/// The lease on an upload in an [`FsStore`].
#[derive(Debug)]
pub struct FsWriter {
    // `None` while calls are made with it, and for good if the future of those was dropped.
    held: Option<Held>,
    upload: Arc<Upload>,
    store: FsStore,
    pace: Option<Pace>,
    /// Present while bytes are looked at beside their writing.
    follower: Option<Follower>,
}

/// What a writer has of an upload.
#[derive(Debug)]
enum Held {
    Lease(Lease),
    /// Open files. The lease begins with the first call that is made with them.
    Released(Released),
}

impl Held {
    fn upload(&self) -> &Arc<Upload> {
        match self {
            Self::Lease(lease) => &lease.upload,
            Self::Released(released) => released.upload(),
        }
    }

    fn lease(self) -> Result<Lease> {
        match self {
            Self::Lease(lease) => Ok(lease),
            Self::Released(released) => released.take(),
        }
    }
}

impl FsWriter {
    /// Makes calls with the lease, which moves to the thread that makes them. If this future is
    /// dropped, the upload stays leased until they are made.
    async fn with<T: Send + 'static>(
        &mut self,
        work: Work,
        job: impl FnOnce(&mut Lease) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (result, lease) = self.run(work, move |mut lease| (job(&mut lease), lease)).await?;
        self.upload = Arc::clone(&lease.upload);
        self.held = Some(Held::Lease(lease));
        result
    }

    /// Makes calls with the lease, and leaves it to them.
    async fn run<T: Send + 'static>(
        &mut self,
        work: Work,
        job: impl FnOnce(Lease) -> T + Send + 'static,
    ) -> Result<T> {
        let held = self.held.take().ok_or(StoreError::Busy)?;
        self.store.run(work, move |_| held.lease().map(job)).await
    }

    /// Who looks at the next batch after it was written, if that shall be done beside: for an upload
    /// whose bytes come faster than they are looked at.
    async fn following(&mut self) -> Result<Option<&Follower>> {
        if let Some(follower) = &self.follower {
            follower.near().await?;
            if !follower.goes_on() {
                self.inspected().await?;
            }
        } else if self.pace.take().is_some_and(Pace::holds_up) {
            self.follower = self.store.calls.follower();
        }
        Ok(self.follower.as_ref())
    }

    fn lease(&self) -> Option<&Lease> {
        match self.held.as_ref()? {
            Held::Lease(lease) => Some(lease),
            Held::Released(_) => None,
        }
    }
}

impl Writer for FsWriter {
    fn upload(&self) -> &Upload {
        &self.upload
    }

    fn path(&self) -> Option<PathBuf> {
        self.lease()?.path()
    }

    fn needs_verification(&self) -> bool {
        match &self.held {
            Some(Held::Lease(lease)) => lease.needs_verification(),
            Some(Held::Released(released)) => released.needs_verification(),
            None => false,
        }
    }

    fn mark_verified(&mut self) {
        if let Some(Held::Lease(lease)) = &mut self.held {
            lease.verified = true;
        }
    }

    async fn write(&mut self, batch: Batch) -> Result<()> {
        if !batch.is_long_to_look_at() {
            self.inspected().await?;
            return self.with(Work::Short, move |lease| lease.write(&batch.into_bytes())).await;
        }
        if let Some(queue) = self.following().await?.map(Follower::queue) {
            let (bytes, look) = batch.into_bytes_and_look();
            let look = look.unwrap_or_else(|| Box::new(|_| ()));
            return self
                .with(Work::Short, move |lease| lease.write_ahead(&bytes, look, &queue))
                .await;
        }
        // Looking at the bytes here brings them into the cache of the core that writes them.
        let write = move |lease: &mut Lease| {
            let began = Instant::now();
            lease.write(&batch.into_bytes())?;
            Ok(Pace::since(began))
        };
        self.pace = Some(self.with(Work::Long, write).await?);
        Ok(())
    }

    async fn inspected(&mut self) -> Result<()> {
        // Without its follower the digest would lack these bytes, so it stays until then.
        if let Some(follower) = &self.follower {
            follower.caught_up().await?;
        }
        self.follower = None;
        Ok(())
    }

    async fn commit(&mut self, commit: Commit) -> Result<()> {
        let work = Work::long_if(self.store.layout.syncs() || commit.is_long_to_look_at());
        let releases = commit.releases();
        self.inspected().await?;
        let job = move |lease: &mut Lease| {
            let (last, upload, handover) = commit.into_parts();
            lease.commit(&last, upload, handover)
        };
        if !releases {
            return self.with(work, job).await;
        }
        let (idle, limit) = (Arc::clone(&self.store.idle), self.store.layout.open_uploads());
        let (result, upload) = self
            .run(work, move |mut lease| {
                let (result, upload) = (job(&mut lease), Arc::clone(&lease.upload));
                if result.is_ok()
                    && limit > 0
                    && let Some(released) = lease.release()
                {
                    idle.put(released, limit);
                }
                (result, upload)
            })
            .await?;
        self.upload = upload;
        result
    }

    async fn into_reader(mut self) -> Result<Reader> {
        let (file, range) = self.with(Work::Short, |lease| lease.uncommitted_bytes()).await?;
        Ok(Reader::part(File::from_std(file), range, self))
    }

    async fn persist(&mut self, target: &Path, overwrite: bool) -> Result<()> {
        let target = target.to_owned();
        self.with(Work::Long, move |lease| persist::persist(lease, &target, overwrite)).await
    }

    async fn remove(mut self) -> Result<()> {
        self.run(Work::Long, Lease::remove).await?
    }
}

impl Drop for FsWriter {
    fn drop(&mut self) {
        match self.held.take() {
            // Rolling back removes or cuts a file, which may take a while.
            Some(Held::Lease(lease)) if lease.is_dirty() => {
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    let tasks = self.store.calls.tasks();
                    drop(tasks.spawn_blocking_on(move || drop(lease), &runtime));
                }
            }
            Some(Held::Released(released)) => {
                self.store.idle.put(released, self.store.layout.open_uploads());
            }
            Some(Held::Lease(_)) | None => {}
        }
    }
}
