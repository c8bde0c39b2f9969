//! Where the bytes and the records of uploads live.
//!
//! [`FsStore`] keeps them in a folder; `BucketStore`, with feature `object-store`, in an object
//! store that many nodes share; and [`MemoryStore`] in memory, for tests. For any other place,
//! implement [`Store`] and [`Writer`]. With feature `conformance`, the suite in
//! [`conformance`](crate::conformance) tests whether an implementation keeps the contract.
//!
//! # The contract
//!
//! A store keeps two things for each upload: a sequence of bytes and a record, the [`Upload`].
//!
//! - **The record is the truth.** Bytes past its offset are left over from a write that was never
//!   committed. A store may keep them or cut them off, but a reader never gets them.
//! - **A commit is atomic.** Before it, [`Store::load`] returns the old record; after it, the new
//!   one; after a crash in its middle, either. When it returns `Ok`, the record and every byte up
//!   to its offset survive what the store promises to survive. When it returns an error the old
//!   record stands, or, where an answer was lost, the new one: never a mixture.
//! - **One writer at a time.** A [`Writer`] is a lease. While it lives, other writers of the same
//!   upload get [`StoreError::Busy`], or fail at their commit; in no case do two commits start from
//!   the same record. A store without leases lets two writers begin and refuses the second commit
//!   with [`StoreError::Conflict`]. A lease ends when its writer is dropped and the work that it
//!   started has ended, or when its process dies.
//! - **Dropped without commit is rolled back.** Dropping a writer, or the future of any of these
//!   methods, at any moment leaves the last committed record in force. Work that a store has handed
//!   to another thread holds the lease until it is done. Where there are no leases, it may take
//!   effect until [`Store::settle`] has returned.
//! - **Reading takes no lease** and waits for none.
//! - **An upload that is joined from others has no bytes of its own.** Its record names its
//!   [parts](Upload::parts), whose sizes add up to its offset. [`Store::open`] reads them one after
//!   the other, each under its own id ([`Reader::joined`]), and [`Writer::persist`] makes one file
//!   of them and leaves them where they are. After that, the upload has bytes of its own, at the
//!   target. The writer of a part says whether its bytes [need
//!   verification](Writer::needs_verification). The caller makes sure that no part is removed
//!   before the upload that needs it.
//!
//! A store keeps bytes, records, and optionally an index of when records expire.
//! [`Uploads`](crate::Uploads) decides what an expiry or a status means.
//!
//! No method has a default, so that a store which wraps another cannot forget one. A store that has
//! no use for a method returns what its documentation says.

#[cfg(feature = "object-store")]
pub mod bucket;
mod commit;
mod erased;
mod error;
pub mod fs;
mod joined;
pub mod memory;

use std::future::Future;
use std::io::SeekFrom;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeek, AsyncSeekExt as _, ReadBuf, Take};

#[cfg(feature = "object-store")]
pub use bucket::{BucketStore, BucketStoreBuilder};
pub use commit::{Batch, Commit, Handover};
pub(crate) use erased::{DynStore, DynWriter};
pub(crate) use error::Result;
pub use error::StoreError;
pub use fs::{Durability, FileCalls, FsStore};
pub use memory::MemoryStore;

use crate::id::UploadId;
use crate::upload::{Part, Upload};

/// A place for uploads; the [module docs](self) are its contract.
pub trait Store: Send + Sync + 'static {
    /// The lease on one upload.
    type Writer: Writer;

    /// Checks the settings, without touching what is stored. It is called once, when an
    /// [`Uploads`](crate::Uploads) is built.
    fn check(&self) -> Result<()>;

    /// Tests whether uploads can be stored now: writes something that is not an upload, as durably
    /// as uploads are written, reads it back and removes it, and tests whatever else the store
    /// relies on. No listing shows it, and several callers may do this at the same time.
    ///
    /// It leaves nothing, even if it fails or its future is dropped. A later call removes what a
    /// crash has left. [`Uploads::check`](crate::Uploads::check) calls it, once at a time.
    ///
    /// A store that cannot fail does nothing.
    ///
    /// # Errors
    /// What could not be done, and where.
    fn probe(&self) -> impl Future<Output = Result<()>> + Send;

    /// Returns what the store can do. It is called often, and must always return the same.
    fn capabilities(&self) -> Capabilities;

    /// Returns a writer for an upload that does not exist yet.
    ///
    /// The upload is not visible before the writer's first commit. A writer dropped before that
    /// leaves nothing, and if the process died, [`Page::abandoned`] names what is left, or
    /// [`list_expiring`](Self::list_expiring) removes it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the upload exists, [`StoreError::Busy`] if another writer is
    /// creating it, and [`StoreError::Removed`] if its id may not be used again yet. A store may
    /// find these out at the first commit only.
    fn create(&self, upload: Upload) -> impl Future<Output = Result<Self::Writer>> + Send;

    /// Returns the record as last committed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::Removed`] if the store still knows the removed
    /// upload; [`StoreError::Damaged`] if there is a record that cannot be trusted.
    fn load(&self, id: &UploadId) -> impl Future<Output = Result<Upload>> + Send;

    /// Takes the lease on an upload, or fails at once if another writer has it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if another writer holds it, and those of [`load`](Self::load).
    fn writer(&self, id: &UploadId) -> impl Future<Output = Result<Self::Writer>> + Send;

    /// Returns a writer for an upload as this process has last seen it, at once and without reading
    /// the store; `None` if the store does not remember it.
    ///
    /// The record may be outdated, and another writer may hold the upload. So the lease begins with
    /// the first call of [`Writer::write`] or [`Writer::commit`]. If another writer holds it then,
    /// or has changed the record, the call fails with [`StoreError::Busy`] or
    /// [`StoreError::Conflict`], before anything is written or inspected, and the writer can only
    /// be dropped.
    ///
    /// A store that remembers nothing returns `None`.
    fn recall(&self, id: &UploadId) -> Option<Self::Writer>;

    /// Opens the bytes up to the record's offset, wherever they are now.
    fn open(&self, id: &UploadId) -> impl Future<Output = Result<Reader>> + Send;

    /// Returns a page of the uploads, in an order that the store chooses, starting after `cursor`.
    /// Its memory does not grow with the number of uploads.
    ///
    /// An upload that exists through the whole listing is listed once. One that is created or
    /// removed meanwhile may be listed or not.
    fn list(&self, cursor: Option<Cursor>) -> impl Future<Output = Result<Page>> + Send;

    /// Returns a page of the uploads that may have expired, as [`list`](Self::list) does. It must
    /// include every upload that has expired. Meanwhile the store may clean up its index, and what
    /// is left of removed uploads. It is called only if [`Capabilities::expiry_index`] is set;
    /// otherwise a sweep reads the [list](Self::list).
    ///
    /// A store without such an index lists all uploads.
    fn list_expiring(&self, cursor: Option<Cursor>) -> impl Future<Output = Result<Page>> + Send;

    /// Removes what the creation or the removal of an upload left behind when it was interrupted.
    /// Does nothing to an upload that exists.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if the creation is still under way.
    fn discard(&self, id: &UploadId) -> impl Future<Output = Result<()>> + Send;

    /// Returns what is still known of a damaged upload, from which a sweep computes when to remove
    /// it.
    ///
    /// A store that knows nothing returns the default.
    fn remains(&self, id: &UploadId) -> impl Future<Output = Result<Remains>> + Send;

    /// Removes an upload whose record or bytes cannot be trusted, and everything that can be found
    /// of it. Returns whether the upload was damaged.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], and [`StoreError::Busy`] if a writer holds it.
    fn remove_damaged(&self, id: &UploadId) -> impl Future<Output = Result<bool>> + Send;

    /// Asks the holder of an upload's lease in another process to end it or, if `wanted` is false,
    /// withdraws the request. The holder does not have to comply, and the request may be forgotten
    /// after some seconds. It is called only if [`Capabilities::handoff`] is set.
    ///
    /// A store whose leases apply to one process only does nothing.
    fn request_handoff(
        &self,
        id: &UploadId,
        wanted: bool,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Returns the leases that other processes ask for at this moment. It is called only if
    /// [`Capabilities::handoff`] is set.
    fn handoff_requests(&self) -> impl Future<Output = Result<Vec<HandoffRequest>>> + Send;

    /// Returns how many bytes can still be stored; `None` if that is unknown.
    fn free_bytes(&self) -> impl Future<Output = Result<Option<u64>>> + Send;

    /// Waits until all work has ended that was begun for dropped futures and writers. A shutdown
    /// ends with it.
    fn settle(&self) -> impl Future<Output = ()> + Send;
}

/// The capabilities of a store. The default is a store that can do nothing beyond its contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Whether [`Store::list_expiring`] finds what has expired without reading all uploads. In such
    /// a store, a sweep removes several uploads at the same time.
    pub expiry_index: bool,
    /// Whether other processes may hold the leases of the same uploads. A request that finds an
    /// upload held then [asks](Store::request_handoff) for it, and holders regularly check whether
    /// others [ask for theirs](Store::handoff_requests). A store without leases does not set this.
    pub handoff: bool,
    /// Whether a write continues when its future is not polled, as on another thread. For other
    /// stores, a task polls the write while the next bytes are collected.
    pub unattended_writes: bool,
    /// The maximum size of an upload in bytes, regardless of free space; `None` if there is no
    /// limit.
    pub max_bytes: Option<u64>,
}

/// The lease on one upload, and the position at which its next byte is written.
pub trait Writer: Send + 'static {
    /// Returns the record as last committed or, for a new upload, as passed to [`Store::create`].
    fn upload(&self) -> &Upload;

    /// Returns the path of the local file that holds the bytes, or `None` if there is no such file.
    /// An upload that is joined from others has none before it is persisted.
    fn path(&self) -> Option<PathBuf>;

    /// Returns whether the bytes up to the record's offset may differ from those that were written,
    /// because the machine stopped before they had reached the disk. They are then compared with
    /// their checksum before anyone gets them.
    ///
    /// A store in which that cannot happen returns `false`.
    fn needs_verification(&self) -> bool;

    /// Records that the bytes were compared, and are the same. The next commit may store that.
    fn mark_verified(&mut self);

    /// Appends bytes to those that were written before. The first write starts at the record's
    /// offset.
    ///
    /// After an error, the writer can only be dropped.
    fn write(&mut self, batch: Batch) -> impl Future<Output = Result<()>> + Send;

    /// Waits until all written bytes have been inspected, as a commit does. A store that inspects
    /// them before it writes them has nothing to wait for.
    ///
    /// After an error, the writer can only be dropped.
    fn inspected(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Writes the last bytes of a [`Commit`], then makes its upload the record.
    ///
    /// The record's offset is at most the position after the last bytes. The id, the owner and
    /// `created` never change after the first commit.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if another writer has committed since this one began.
    fn commit(&mut self, commit: Commit) -> impl Future<Output = Result<()>> + Send;

    /// Gives the lease back without a commit, and returns a reader of what was written under it,
    /// from its start. The bytes are gone when the reader is dropped.
    fn into_reader(self) -> impl Future<Output = Result<Reader>> + Send;

    /// Moves the bytes to `target`. From then on, the store does not remove them. The record stays,
    /// and [`Store::open`] opens them there.
    ///
    /// It can be repeated: after a crash in its middle, or with the same target again, it ends with
    /// the whole file at `target`. After a move, no bytes can be added: a commit with more bytes
    /// fails.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] if there is something else at `target` and `overwrite` is false. A
    /// store may refuse to move a file back to where it was before.
    fn persist(
        &mut self,
        target: &Path,
        overwrite: bool,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Removes the record, and the bytes unless they were persisted.
    fn remove(self) -> impl Future<Output = Result<()>> + Send;
}

/// A reader of the bytes of an upload, which can also seek.
pub struct Reader {
    /// Its limit is what is left to read.
    inner: Take<Pin<Box<dyn Read>>>,
    /// Where the bytes are in `inner`.
    range: Range<u64>,
    position: u64,
    /// It is dropped with the reader.
    _guard: Box<dyn Send + Sync>,
}

trait Read: AsyncRead + AsyncSeek + Send + Sync {}

impl<T: AsyncRead + AsyncSeek + Send + Sync> Read for T {}

impl Reader {
    /// Creates a reader of `size` bytes of `inner`.
    pub fn new(inner: impl AsyncRead + AsyncSeek + Send + Sync + 'static, size: u64) -> Self {
        Self::part(inner, 0..size, ())
    }

    /// Creates a reader of these parts, one after the other. Each is opened when its first byte is
    /// needed.
    pub fn joined(
        parts: &[Part],
        open: impl Fn(UploadId) -> Pin<Box<dyn Future<Output = Result<Self, StoreError>> + Send>>
        + Send
        + Sync
        + Unpin
        + 'static,
    ) -> Self {
        let joined = joined::Joined::new(parts, open);
        let size = joined.size();
        Self::new(joined, size)
    }

    /// Reads a range of the bytes of `inner`, which is at the start of that.
    fn part(
        inner: impl AsyncRead + AsyncSeek + Send + Sync + 'static,
        range: Range<u64>,
        guard: impl Send + Sync + 'static,
    ) -> Self {
        let inner: Pin<Box<dyn Read>> = Box::pin(inner);
        let (inner, position) = (inner.take(range.end - range.start), range.start);
        Self { inner, range, position, _guard: Box::new(guard) }
    }

    /// Reads the last byte.
    pub(crate) async fn last_byte(mut self) -> Result<u8, StoreError> {
        let read = async {
            self.seek(SeekFrom::End(-1)).await?;
            self.read_u8().await
        };
        read.await.map_err(|error| StoreError::io("read the last byte of an upload", error))
    }

    /// Returns how many bytes there are in total.
    pub fn size(&self) -> u64 {
        self.range.end - self.range.start
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.inner.limit();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.position += left - self.inner.limit();
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for Reader {
    fn start_seek(mut self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let Range { start, end } = self.range;
        let target = match to {
            SeekFrom::Start(at) => start.checked_add(at),
            SeekFrom::End(by) => end.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        let outside = "a place before the start or beyond all files";
        let target = target.filter(|target| *target >= start);
        let target = target.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, outside))?;
        self.inner.get_mut().as_mut().start_seek(SeekFrom::Start(target))?;
        self.inner.set_limit(end.saturating_sub(target));
        self.position = target;
        Ok(())
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        ready!(self.inner.get_mut().as_mut().poll_complete(cx))?;
        Poll::Ready(Ok(self.position - self.range.start))
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("size", &self.size()).finish_non_exhaustive()
    }
}

/// What is still known of a damaged upload.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Remains {
    /// The newest record that can be read.
    pub record: Option<Upload>,
    /// When the upload would have expired, if that can be read without a record.
    pub expires: Option<SystemTime>,
    /// When any of its data was last written.
    pub written: Option<SystemTime>,
}

/// A request of another process for the lease of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandoffRequest {
    /// The upload.
    pub id: UploadId,
    /// How long ago the request was made. It does not concern a holder that began later.
    pub age: Duration,
}

impl HandoffRequest {
    /// Creates a request for the upload that was made `age` ago.
    pub fn new(id: UploadId, age: Duration) -> Self {
        Self { id, age }
    }
}

/// The place where a listing continues. Only the store that made it knows what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    /// Creates a cursor from a text that the store understands.
    pub fn new(place: impl Into<String>) -> Self {
        Self(place.into())
    }

    /// Returns that text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A page of a listing: some of the uploads of a store.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Page {
    /// The records. A damaged one is an error that names it.
    pub uploads: Vec<Result<Upload>>,
    /// Ids whose creation or removal has begun and not ended: it may be under way, or interrupted
    /// by a crash. [`Store::discard`] finds out which.
    pub abandoned: Vec<UploadId>,
    /// Where the next page starts; `None` if this was the last.
    pub next: Option<Cursor>,
}
