//! Where the bytes and the records of uploads live.
//!
//! [`FsStore`] keeps them in a folder; `BucketStore`, with feature `object-store`, in an object store
//! that many nodes share; [`MemoryStore`] in memory, for tests. Any other place is an implementation of
//! [`Store`] and [`Writer`], and with feature `conformance` the suite in
//! [`conformance`](crate::conformance) says whether it keeps the contract.
//!
//! # The contract
//!
//! A store knows two things of each upload: a sequence of bytes and a record, the [`Upload`].
//!
//! - **The record is the truth.** Bytes past its offset are the rubbish of a write that was never
//!   committed. A store may keep or cut them, and never shows them to a reader.
//! - **A commit is atomic.** Before it, [`Store::load`] gives the old record; after it, the new
//!   one; after a crash in its middle, either. When it returns `Ok`, the record and every byte up to
//!   its offset survive what the store promises to survive. When it returns an error the old
//!   record stands, or, where an answer was lost, the new one: never a mixture.
//! - **One writer at a time.** A [`Writer`] is a lease. While it lives, other writers of the same
//!   upload get [`StoreError::Busy`], or fail at their commit; in no case do two commits start from
//!   the same record. A store without leases lets two writers begin and refuses the second commit
//!   with [`StoreError::Conflict`]. A lease ends when its writer is dropped and what it started has come to rest,
//!   and when its process dies.
//! - **Dropped without commit is rolled back.** Dropping a writer, or the future of any of these
//!   methods, at any moment leaves the last committed record in force. Work that a store has handed
//!   to another thread goes on holding the lease until it is done; where there are no leases, it may
//!   come true until [`Store::settle`] has returned.
//! - **Reading takes no lease** and waits for none.
//! - **An upload that is joined from others has no bytes of its own.** Its record names its
//!   [parts](Upload::parts), whose sizes add up to its offset. [`Store::open`] reads them one after
//!   the other, each under its own id ([`Reader::joined`]), and [`Writer::persist`] makes one file of
//!   them and leaves them where they are. After that, the upload has bytes of its own, at the target.
//!   Whether the bytes of a part [need verification](Writer::needs_verification), the part's own writer
//!   says.
//!   Whoever removes uploads sees to it that no part goes before the upload that needs it.
//!
//! A store keeps bytes, records, and perhaps an index of when records expire. What an expiry or a status
//! means is decided above it, in [`Uploads`](crate::Uploads).
//!
//! No method has a default, so that a store which wraps another cannot forget one. One that has nothing
//! to say to a method does nothing in it; each says what that is.

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

    /// Checks the settings, without touching what is stored. Called once, when an
    /// [`Uploads`](crate::Uploads) is built.
    fn check(&self) -> Result<()>;

    /// Tries whether uploads can be kept now: writes something that is no upload, as durably as
    /// uploads are written, reads it back and removes it, and tries whatever else the store relies
    /// on. Nobody sees it in a listing, and others may do the same at the same time.
    ///
    /// It leaves nothing, also if it fails or its future is dropped. What a crash has left, a later
    /// one removes. [`Uploads::check`](crate::Uploads::check) calls it, once at a time.
    ///
    /// A store that cannot fail does nothing.
    ///
    /// # Errors
    /// What could not be done, and where.
    fn probe(&self) -> impl Future<Output = Result<()>> + Send;

    /// What the store can do. Called often, and always says the same.
    fn capabilities(&self) -> Capabilities;

    /// A writer for an upload that does not exist yet.
    ///
    /// Nobody sees the upload before the writer's first commit. A writer dropped before that leaves
    /// nothing, and if the process died, [`Page::abandoned`] names what is left, or
    /// [`list_expiring`](Self::list_expiring) removes it.
    fn create(&self, upload: Upload) -> impl Future<Output = Result<Self::Writer>> + Send;

    /// The record as last committed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::Removed`] if the store still knows what there was;
    /// [`StoreError::Damaged`] if there is a record that cannot be trusted.
    fn load(&self, id: &UploadId) -> impl Future<Output = Result<Upload>> + Send;

    /// Takes the lease on an upload, or says at once that somebody has it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if another writer holds it, and those of [`load`](Self::load).
    fn writer(&self, id: &UploadId) -> impl Future<Output = Result<Self::Writer>> + Send;

    /// A writer for an upload as this process has seen it last, at once and without a look at what is
    /// stored; `None` if the store does not remember it.
    ///
    /// The record may be outdated, and somebody else may hold the upload. So the lease begins with the
    /// first call of [`Writer::write`] or [`Writer::commit`]. If another writer holds it then, or has
    /// changed the record, the call fails with [`StoreError::Busy`] or [`StoreError::Conflict`], before
    /// anything is written or looked at, and the writer is only good for being dropped.
    ///
    /// A store that remembers nothing gives `None`.
    fn recall(&self, id: &UploadId) -> Option<Self::Writer>;

    /// The bytes up to the record's offset, wherever they are now.
    fn open(&self, id: &UploadId) -> impl Future<Output = Result<Reader>> + Send;

    /// The uploads, some at a time, in an order of the store's own, starting after `cursor`. Its
    /// memory does not grow with the number of uploads.
    ///
    /// An upload that exists through the whole listing is listed once. One that comes or goes
    /// meanwhile may be listed or not.
    fn list(&self, cursor: Option<Cursor>) -> impl Future<Output = Result<Page>> + Send;

    /// The uploads whose expiry may have come, some at a time, as [`list`](Self::list) does: none whose
    /// time is up is missing. The store may tidy up its index on the way, and what is left of uploads
    /// that were removed. Called only where [`Capabilities::expiry_index`] says so; a sweep goes through
    /// the [list](Self::list) otherwise.
    ///
    /// A store without such an index lists all uploads.
    fn list_expiring(&self, cursor: Option<Cursor>) -> impl Future<Output = Result<Page>> + Send;

    /// Removes what the creation or the removal of an upload left behind when it was interrupted.
    /// Does nothing to an upload that exists.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if the creation is still under way.
    fn discard(&self, id: &UploadId) -> impl Future<Output = Result<()>> + Send;

    /// What can still be told of an upload that is damaged: a sweep removes it when its time has come.
    ///
    /// A store of which nothing can be told gives the default.
    fn remains(&self, id: &UploadId) -> impl Future<Output = Result<Remains>> + Send;

    /// Removes an upload whose record or bytes cannot be trusted, and what can be found of it; says
    /// whether it was one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], and [`StoreError::Busy`] if a writer holds it.
    fn remove_damaged(&self, id: &UploadId) -> impl Future<Output = Result<bool>> + Send;

    /// Asks those in other processes who hold the lease of an upload to end it, or, with `wanted`
    /// false, not any more. Nobody has to follow, and the request may be forgotten after some seconds.
    /// Called only where [`Capabilities::handoff`] says so.
    ///
    /// A store whose leases hold in one process only does nothing.
    fn request_handoff(
        &self,
        id: &UploadId,
        wanted: bool,
    ) -> impl Future<Output = Result<()>> + Send;

    /// The leases that others ask for at this moment. Called only where [`Capabilities::handoff`] says
    /// so.
    fn handoff_requests(&self) -> impl Future<Output = Result<Vec<HandoffRequest>>> + Send;

    /// How many bytes can still be stored; `None` if that cannot be told.
    fn free_bytes(&self) -> impl Future<Output = Result<Option<u64>>> + Send;

    /// Waits until nothing is under way any more of what was begun for futures and writers that were
    /// dropped. A shutdown ends with it.
    fn settle(&self) -> impl Future<Output = ()> + Send;
}

/// What a store can do. The default is a store that can do nothing but keep its contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Whether [`Store::list_expiring`] finds what has expired without going through all uploads. Of such
    /// a store a sweep removes some uploads at the same time.
    pub expiry_index: bool,
    /// Whether other processes may hold the leases of the same uploads. A request that finds an upload
    /// held then [asks](Store::request_handoff) for it, and whoever holds one looks now and then whether
    /// it is [asked for](Store::handoff_requests). A store without leases has nobody to ask.
    pub handoff: bool,
    /// Whether a write that was begun goes on although nobody polls its future, as one on another thread
    /// does. A task polls those of other stores, while the next bytes are collected.
    pub unattended_writes: bool,
    /// How many bytes an upload can have at most, whatever room there is; `None` if there is no bound.
    pub max_bytes: Option<u64>,
}

/// The lease on one upload, and the position at which its next byte is written.
pub trait Writer: Send + 'static {
    /// The record as last committed; for a new upload, as given to [`Store::create`].
    fn upload(&self) -> &Upload;

    /// The local file that holds the bytes, where there is one. An upload that is joined from others has
    /// none before it is persisted.
    fn path(&self) -> Option<PathBuf>;

    /// Whether the bytes up to the record's offset may be others than were written, since the machine
    /// stopped before they had reached the disk. They are then compared with their checksum before
    /// anybody gets them.
    ///
    /// A store in which that cannot happen says no.
    fn needs_verification(&self) -> bool;

    /// The bytes were compared, and are the same. The next commit may write that down.
    fn mark_verified(&mut self);

    /// Writes after what was written before. The first write starts at the record's offset.
    ///
    /// After an error the writer is only good for being dropped.
    fn write(&mut self, batch: Batch) -> impl Future<Output = Result<()>> + Send;

    /// Waits until all bytes that were written have been looked at, as a commit does. A store that
    /// looks at them before it writes them has nothing to wait for.
    ///
    /// After an error the writer is only good for being dropped.
    fn looked(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Writes the last bytes of a [`Commit`], then makes its upload the record.
    ///
    /// The record's offset is at most the position after the last bytes. The id, the owner and
    /// `created` never change after the first commit.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if another writer has committed since this one began.
    fn commit(&mut self, commit: Commit) -> impl Future<Output = Result<()>> + Send;

    /// Gives the lease back without a commit and reads what was written in it, from its start.
    /// What it reads is gone when the reader is dropped.
    fn into_reader(self) -> impl Future<Output = Result<Reader>> + Send;

    /// Moves the bytes to `target`, out of the store's care: nothing in the store removes them any
    /// more. The record stays, and [`Store::open`] follows.
    ///
    /// It can be repeated: after a crash in its middle, or with the same target again, it ends with
    /// the whole file at `target`. To what was moved no bytes are added: a commit of more fails.
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

/// The bytes of an upload, as a file: read, and read from elsewhere.
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
    /// Reads `size` bytes from `inner`.
    pub fn new(inner: impl AsyncRead + AsyncSeek + Send + Sync + 'static, size: u64) -> Self {
        Self::part(inner, 0..size, ())
    }

    /// Reads these parts one after the other. Each is opened when its first byte is needed.
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

    /// How many bytes there are.
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

/// What can be told of a damaged upload.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Remains {
    /// The newest record that can be read.
    pub record: Option<Upload>,
    /// When it was to expire, if that can be read without a record.
    pub expires: Option<SystemTime>,
    /// When anything of it was written last.
    pub written: Option<SystemTime>,
}

/// Somebody in another process asks for the lease of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandoffRequest {
    /// The upload.
    pub id: UploadId,
    /// Since when. Whoever began to hold it after that is not meant.
    pub age: Duration,
}

impl HandoffRequest {
    /// Somebody asks for the upload since so long.
    pub fn new(id: UploadId, age: Duration) -> Self {
        Self { id, age }
    }
}

/// Where a listing goes on. Only the store that made it knows what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    /// A cursor that means this to its store.
    pub fn new(place: impl Into<String>) -> Self {
        Self(place.into())
    }

    /// What it means.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Some of a store's uploads.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Page {
    /// Their records; a damaged one is an error that names it.
    pub uploads: Vec<Result<Upload>>,
    /// Ids whose creation or removal was begun and not ended: perhaps under way, perhaps left by a
    /// crash. [`Store::discard`] tells which.
    pub abandoned: Vec<UploadId>,
    /// Where the next page starts; `None` if this was the last.
    pub next: Option<Cursor>,
}
