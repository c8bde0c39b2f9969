//! Where the bytes and the records of uploads live.
//!
//! [`FsStore`] keeps them in a folder; `BucketStore`, with feature `object-store`, in an object store that
//! many nodes share; [`MemoryStore`] in memory, for tests. Any other place is an implementation of [`Store`] and [`Writer`], and with feature `conformance` the suite
//! in [`conformance`](crate::conformance) says whether it keeps the contract.
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

#[cfg(feature = "object-store")]
pub mod bucket;
mod erased;
mod error;
pub mod fs;
pub mod memory;

use std::future::{Future, ready};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncSeek};

#[cfg(feature = "object-store")]
pub use bucket::{BucketStore, BucketStoreBuilder};
pub(crate) use erased::{DynStore, DynWriter};
pub use error::StoreError;
pub use fs::{Durability, FsStore};
pub use memory::MemoryStore;

use crate::id::UploadId;
use crate::upload::Upload;

/// A place for uploads; the [module docs](self) are its contract.
pub trait Store: Send + Sync + 'static {
    /// The lease on one upload.
    type Writer: Writer;

    /// Checks the settings, without touching what is stored. Called once, when an
    /// [`Uploads`](crate::Uploads) is built.
    fn check(&self) -> Result<(), StoreError>;

    /// A writer for an upload that does not exist yet.
    ///
    /// Nobody sees the upload before the writer's first commit; a writer dropped before that
    /// leaves nothing, and if the process died, [`Page::abandoned`] names what is left, or
    /// [`due`](Self::due) removes it.
    fn create(
        &self,
        upload: Upload,
    ) -> impl Future<Output = Result<Self::Writer, StoreError>> + Send;

    /// The record as last committed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::Expired`] if the store still knows why;
    /// [`StoreError::Damaged`] if there is one that cannot be trusted.
    fn load(&self, id: &UploadId) -> impl Future<Output = Result<Upload, StoreError>> + Send;

    /// Takes the lease on an upload, or says at once that somebody has it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if another writer holds it, and those of [`load`](Self::load).
    fn writer(
        &self,
        id: &UploadId,
    ) -> impl Future<Output = Result<Self::Writer, StoreError>> + Send;

    /// The bytes up to the record's offset, wherever they are now.
    fn open(&self, id: &UploadId) -> impl Future<Output = Result<Reader, StoreError>> + Send;

    /// Removes what the creation or the removal of an upload left behind when it was interrupted.
    /// Does nothing to an upload that exists.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if the creation is still under way.
    fn discard(&self, id: &UploadId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes an upload whose record or bytes cannot be trusted, and what can be found of it; says
    /// whether it was one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], and [`StoreError::Busy`] if a writer holds it.
    fn remove_damaged(
        &self,
        id: &UploadId,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The uploads, some at a time, in an order of the store's own, starting after `cursor`. Its
    /// memory does not grow with the number of uploads.
    ///
    /// An upload that exists through the whole listing is listed once; one that comes or goes
    /// meanwhile may be listed or not.
    fn list(&self, cursor: Option<Cursor>)
    -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// The uploads whose time may have come, some at a time, as [`list`](Self::list) does: none that has
    /// expired is missing. What the store keeps to find them it may tidy up on the way, and what is left of
    /// uploads that are gone. Called only where [`keeps_due`](Self::keeps_due) says so; a sweep goes through
    /// the [list](Self::list) otherwise.
    ///
    /// Default: all uploads.
    fn due(&self, cursor: Option<Cursor>) -> impl Future<Output = Result<Page, StoreError>> + Send {
        self.list(cursor)
    }

    /// Whether [`due`](Self::due) finds what has expired without going through all uploads. Of such a store a
    /// sweep removes some uploads at the same time.
    ///
    /// Default: no.
    fn keeps_due(&self) -> bool {
        false
    }

    /// Whether other processes may hold the leases of the same uploads. Then a request that finds an
    /// upload held [asks](Self::ask) for it, and whoever holds one looks now and then whether it is
    /// [asked for](Self::asked). A store without leases has nobody to ask.
    ///
    /// Default: no.
    fn is_shared(&self) -> bool {
        false
    }

    /// Asks those in other processes who hold the lease of an upload to end it, or, with `wanted`
    /// false, not any more. Nobody has to follow, and it may be forgotten after some seconds.
    ///
    /// Default: nothing.
    fn ask(
        &self,
        id: &UploadId,
        wanted: bool,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        let _ = (id, wanted);
        ready(Ok(()))
    }

    /// The uploads that others ask for at this moment, and since how long: who began to hold one after
    /// that is not meant.
    ///
    /// Default: none.
    fn asked(&self) -> impl Future<Output = Result<Vec<(UploadId, Duration)>, StoreError>> + Send {
        ready(Ok(Vec::new()))
    }

    /// How many bytes can still be stored; `None` if that cannot be told.
    ///
    /// Default: it cannot.
    fn free_bytes(&self) -> impl Future<Output = Result<Option<u64>, StoreError>> + Send {
        ready(Ok(None))
    }

    /// How many bytes an upload can have here at most, whatever room there is; `None` if there is no bound.
    ///
    /// Default: none.
    fn max_bytes(&self) -> Option<u64> {
        None
    }

    /// What can still be told of an upload that is damaged: a sweep removes it when its time has come.
    ///
    /// Default: nothing.
    fn remains(&self, id: &UploadId) -> impl Future<Output = Result<Remains, StoreError>> + Send {
        let _ = id;
        ready(Ok(Remains::default()))
    }

    /// Waits until nothing is under way any more of what was begun for futures and writers that were
    /// dropped. A shutdown ends with it.
    ///
    /// Default: there never is.
    fn settle(&self) -> impl Future<Output = ()> + Send {
        ready(())
    }
}

/// The lease on one upload, and the position at which its next byte is written.
pub trait Writer: Send + 'static {
    /// The record as last committed; for a new upload, as given to [`Store::create`].
    fn upload(&self) -> &Upload;

    /// Writes after what was written before; the first write starts at the record's offset.
    ///
    /// After an error the writer is only good for being dropped.
    fn write(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes `last`, then makes `upload` the record.
    ///
    /// `upload.offset()` is at most the position after `last`. The id, the owner and `created`
    /// never change after the first commit.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if another writer has committed since this one began.
    fn commit(
        &mut self,
        last: Bytes,
        upload: Upload,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The same as [`write`](Self::write), with work of the caller's on the bytes that takes a
    /// processor's time, such as hashing: it is called once, and both are done when this ends.
    ///
    /// Default: side by side, the work on a thread where it may block.
    fn write_with(
        &mut self,
        bytes: Bytes,
        work: Box<dyn FnOnce() + Send>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        async move {
            let (worked, written) =
                tokio::join!(blocking(bytes.len(), work), self.write(bytes.clone()));
            worked.and(written)
        }
    }

    /// The same as [`commit`](Self::commit), where the record takes a processor's time to make; it is
    /// made once.
    ///
    /// Default: it is made on a thread where it may block, then committed.
    fn commit_with(
        &mut self,
        last: Bytes,
        upload: Box<dyn FnOnce() -> Upload + Send>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        async move {
            let upload = blocking(last.len(), upload).await?;
            self.commit(last, upload).await
        }
    }

    /// Gives the lease back without a commit and reads what was written in it, from its start.
    /// What it reads is gone when the reader is dropped.
    fn into_reader(self) -> impl Future<Output = Result<Reader, StoreError>> + Send;

    /// Whether the bytes up to the record's offset may be others than were written, since the machine
    /// stopped before they had reached the disk. They are then compared with their checksum before
    /// anybody gets them.
    ///
    /// Default: never.
    fn is_doubtful(&self) -> bool {
        false
    }

    /// They were compared, and are the same. The next commit may write that down.
    ///
    /// Default: nothing.
    fn vouch(&mut self) {}

    /// The local file that holds the bytes, where there is one.
    fn path(&self) -> Option<PathBuf>;

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
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes the record, and the bytes unless they were persisted.
    fn remove(self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Does little work where it stands, since a hop to another thread costs more.
async fn blocking<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    if bytes <= WORK_IN_PLACE {
        return Ok(work());
    }
    let worked = tokio::task::spawn_blocking(work).await;
    worked.map_err(|error| StoreError::io("work on a batch", std::io::Error::other(error)))
}

const WORK_IN_PLACE: usize = 64 * 1024;

/// The bytes of an upload.
pub type Reader = Box<dyn Read>;

/// What a [`Reader`] can do; implemented for every type that can.
pub trait Read: AsyncRead + AsyncSeek + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncSeek + Send + Sync + Unpin> Read for T {}

impl std::fmt::Debug for dyn Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

/// What can be told of a damaged upload.
#[derive(Clone, Debug, Default)]
pub struct Remains {
    /// The newest record that can be read.
    pub record: Option<Upload>,
    /// When it was to expire, if that can be read without a record.
    pub expires: Option<SystemTime>,
    /// When anything of it was written last.
    pub written: Option<SystemTime>,
}

/// Where a listing goes on. Only the store that made it knows what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub String);

/// Some of a store's uploads.
#[derive(Debug, Default)]
pub struct Page {
    /// Their records; a damaged one is an error that names it.
    pub uploads: Vec<Result<Upload, StoreError>>,
    /// Ids whose creation or removal was begun and not ended: perhaps under way, perhaps left by a
    /// crash. [`Store::discard`] tells which.
    pub abandoned: Vec<UploadId>,
    /// Where the next page starts; `None` if this was the last.
    pub next: Option<Cursor>,
}
