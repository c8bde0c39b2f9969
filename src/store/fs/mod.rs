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
//! Files are created with mode 0600 and folders with 0700.
//!
//! # Several processes
//!
//! Any number of processes may use one folder of a local filesystem: the lease is an advisory lock
//! (`flock`) on the record, which the kernel releases when a process dies. Network filesystems
//! differ in how they handle such locks; do not share a folder over one.
//!
//! A request that finds its upload held by another process puts a file into `.records/asked`. The
//! holder looks there twice a second and yields, as it does to a newer request of its own process.
//!
//! # What survives what
//!
//! See [`Durability`].

mod cleanup;
mod data_file;
#[cfg(not(test))]
mod disk;
#[cfg(test)]
pub(crate) mod disk;
mod durability;
mod error;
mod journal;
mod layout;
mod lease;
mod persist;
mod read;
mod record_file;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::fs::File;
use tokio_util::task::TaskTracker;

pub use self::durability::Durability;
#[cfg(any(test, fuzzing))]
pub(crate) use self::journal::trace;
use self::layout::Layout;
use self::lease::Lease;
use super::{
    Batch, Capabilities, Commit, Cursor, HandoffRequest, Page, Reader, Remains, Result, Store,
    StoreError, Writer,
};
use crate::id::UploadId;
use crate::task;
use crate::upload::Upload;

/// Keeps uploads in a folder; the [module docs](self) show the layout. A clone is the same store.
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
    /// The file calls under way.
    tasks: TaskTracker,
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
        Self { layout, tasks: task::tracker() }
    }

    /// Sets what an acknowledged byte survives. The default is [`Durability::Process`].
    pub fn durability(mut self, durability: Durability) -> Self {
        Arc::make_mut(&mut self.layout).durability = durability;
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
        work: impl FnOnce(&Arc<Layout>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let layout = Arc::clone(&self.layout);
        run(&self.tasks, move || work(&layout)).await?
    }
}

impl fmt::Debug for FsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FsStore")
            .field("pattern", &self.layout.whole_pattern())
            .field("durability", &self.layout.durability)
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

    fn capabilities(&self) -> Capabilities {
        // A position in a file is a signed number.
        let max_bytes = u64::try_from(i64::MAX).ok();
        Capabilities { handoff: true, max_bytes, ..Capabilities::default() }
    }

    async fn create(&self, upload: Upload) -> Result<FsWriter> {
        // The files are created with the first bytes, in the same hop to a blocking thread.
        let lease = Lease::uncommitted(Arc::clone(&self.layout), upload);
        Ok(FsWriter::new(lease, self.tasks.clone()))
    }

    async fn load(&self, id: &UploadId) -> Result<Upload> {
        let id = *id;
        self.blocking(move |layout| Ok(read::load(layout, &id)?.committed()?.0)).await
    }

    async fn writer(&self, id: &UploadId) -> Result<FsWriter> {
        let id = *id;
        let lease = self.blocking(move |layout| Lease::take(Arc::clone(layout), &id)).await?;
        Ok(FsWriter::new(lease, self.tasks.clone()))
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
        self.tasks.wait().await;
    }
}

/// The lease on an upload in an [`FsStore`].
#[derive(Debug)]
pub struct FsWriter {
    // `None` while a blocking thread works with it, and for good if the future of that work was
    // dropped.
    lease: Option<Lease>,
    upload: Arc<Upload>,
    tasks: TaskTracker,
}

impl FsWriter {
    fn new(lease: Lease, tasks: TaskTracker) -> Self {
        Self { upload: Arc::clone(&lease.upload), lease: Some(lease), tasks }
    }

    /// Does `work` on a blocking thread and moves the lease there. If this future is dropped, the
    /// upload stays leased until the work is done.
    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Lease) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut lease = self.lease.take().ok_or(StoreError::Busy)?;
        let (result, lease) = run(&self.tasks, move || (work(&mut lease), lease)).await?;
        self.upload = Arc::clone(&lease.upload);
        self.lease = Some(lease);
        result
    }
}

impl Writer for FsWriter {
    fn upload(&self) -> &Upload {
        &self.upload
    }

    fn path(&self) -> Option<PathBuf> {
        self.lease.as_ref()?.path()
    }

    fn needs_verification(&self) -> bool {
        self.lease.as_ref().is_some_and(Lease::needs_verification)
    }

    fn mark_verified(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.verified = true;
        }
    }

    async fn write(&mut self, batch: Batch) -> Result<()> {
        // Looking at the bytes here brings them into the cache of the core that writes them.
        self.with(move |lease| lease.write(&batch.into_bytes())).await
    }

    async fn commit(&mut self, commit: Commit) -> Result<()> {
        self.with(move |lease| {
            let (last, upload, handover) = commit.into_parts();
            lease.commit(&last, upload, handover)
        })
        .await
    }

    async fn into_reader(mut self) -> Result<Reader> {
        let (file, range) = self.with(|lease| lease.uncommitted_bytes()).await?;
        Ok(Reader::part(File::from_std(file), range, self))
    }

    async fn persist(&mut self, target: &Path, overwrite: bool) -> Result<()> {
        let target = target.to_owned();
        self.with(move |lease| persist::persist(lease, &target, overwrite)).await
    }

    async fn remove(mut self) -> Result<()> {
        let lease = self.lease.take().ok_or(StoreError::Busy)?;
        run(&self.tasks, move || lease.remove()).await?
    }
}

impl Drop for FsWriter {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        // Rolling back removes or cuts a file, which may take a while.
        if lease.is_dirty()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            drop(self.tasks.spawn_blocking_on(move || drop(lease), &runtime));
        }
    }
}

/// Runs file calls where they may block. A shutdown waits for them, whoever else does.
async fn run<T: Send + 'static>(
    tasks: &TaskTracker,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let done = task::join(tasks.spawn_blocking(work)).await;
    done.ok_or_else(|| StoreError::shutting_down("start a file call"))
}
