//! The handles.

use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::Extensions;

use super::access::{Access, Scope};
use super::append::{Append, AppendMode, Origin};
use super::builder::UploadsBuilder;
use super::check::{self, Health};
use super::claim::ShutdownGuard;
use super::complete::{self, Completion};
use super::core::{self, Engine};
use super::error::{Error, ErrorKind};
use super::lease::{Lease, Recall};
use super::list::{Filter, Listing};
use super::new::NewUpload;
use super::sweep::{self, Expired, Sweeper};
use super::watch::Watch;
use crate::checksum::Digest;
use crate::id::UploadId;
use crate::store::{Reader, Store};
#[cfg(feature = "tokens")]
use crate::upload::Identity;
use crate::upload::{Dialect, KeptAnswer, Owner, Upload};

/// Uploads in a store, for use with or without HTTP. A clone refers to the same uploads.
///
/// This handle sweeps and shuts down. To act on uploads, take one of two other handles:
/// [`for_owner`](Self::for_owner) returns one that sees the uploads of one owner and creates new
/// ones, and [`for_operator`](Self::for_operator) one that sees all uploads.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_chunked_upload::store::MemoryStore;
/// use tower_chunked_upload::{AppendMode, NewUpload, Owner, Uploads};
///
/// let uploads = Uploads::builder(MemoryStore::new()).build()?;
/// let alices = uploads.for_owner(Owner::new("alice"));
///
/// let mut first = alices.create(NewUpload::new().filename("a.txt").total(10)).await?;
/// first.write(&b"Hello"[..]).await?;
/// let upload = first.commit().await?;
/// assert_eq!(upload.offset(), 5);
///
/// let mut second = alices.append(&upload.id, 5, AppendMode::AllOrNothing).await?;
/// second.write(&b"World"[..]).await?;
/// second.commit().await?;
///
/// let completion = alices.complete(&upload.id, None).await?;
/// assert_eq!(completion.file().size(), 10);
/// completion.finish().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Uploads {
    engine: Arc<Engine>,
}

/// The uploads of one owner. For this handle, other uploads do not exist.
#[derive(Clone)]
pub struct OwnerUploads {
    access: Access,
}

/// All uploads, for the operator of the server.
#[derive(Clone)]
pub struct OperatorUploads {
    access: Access,
}

impl Uploads {
    /// Returns the settings for uploads in `store`.
    pub fn builder(store: impl Store) -> UploadsBuilder {
        UploadsBuilder::new(Box::new(store))
    }

    #[cfg(any(test, feature = "tokens"))]
    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn new(engine: Engine) -> Self {
        Self { engine: Arc::new(engine) }
    }

    #[cfg(feature = "tokens")]
    pub(super) fn of(engine: &Arc<Engine>) -> Self {
        Self { engine: Arc::clone(engine) }
    }

    /// Returns a handle to the uploads of one owner. `None` stands for uploads without an owner.
    pub fn for_owner(&self, owner: impl Into<Option<Owner>>) -> OwnerUploads {
        let access = Access::new(Arc::clone(&self.engine), Scope::Of(owner.into()));
        OwnerUploads { access }
    }

    /// Returns a handle to the uploads of all owners. Code that clients can reach should use
    /// [`for_owner`](Self::for_owner).
    pub fn for_operator(&self) -> OperatorUploads {
        OperatorUploads { access: Access::new(Arc::clone(&self.engine), Scope::All) }
    }

    /// Checks whether uploads can be stored at this moment: writes something to the store, syncs it,
    /// reads it back and removes it. Use it for a health route, and when the server starts.
    ///
    /// No listing and no sweep sees what it writes, and nothing of it stays, even if the check fails
    /// in the middle or its future is dropped. Any number of processes and nodes may check at the same
    /// time. In a process there is one check at a time: a call during another one waits for it, and
    /// calls that wait together share the next one. So a disk that hangs occupies one thread, however
    /// often the check is called; put your own timeout around it.
    ///
    /// - In a folder ([`FsStore`](crate::store::FsStore)): the folders exist or can be created, and a
    ///   file can be created, locked (so that no other can lock it), written, synced, renamed, read and
    ///   removed there.
    /// - In a bucket ([`BucketStore`](crate::store::BucketStore)): an object can be created, is not
    ///   created twice, is read back with its metadata, and can be deleted; also where files are
    ///   persisted to, if that is another bucket. This takes seven requests.
    /// - In memory, there is nothing to check.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let folder = folder.path().join("uploads");
    /// use tower_chunked_upload::Uploads;
    /// use tower_chunked_upload::store::FsStore;
    ///
    /// let uploads = Uploads::builder(FsStore::new(&folder)).build()?;
    /// let health = uploads.check().await?;
    /// # #[cfg(unix)]
    /// assert!(health.free_bytes > Some(0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Full`](crate::ErrorKind::Full) or
    /// [`ErrorKind::Store`](crate::ErrorKind::Store): the [source](std::error::Error::source) says
    /// what could not be done and where, with the path or the response of the object store. It is
    /// for the operator, while the error itself may be shown to anyone.
    /// [`ErrorKind::ShuttingDown`](crate::ErrorKind::ShuttingDown) after the beginning of a
    /// [shutdown](Self::shutdown), so that a load balancer sends nothing more.
    pub async fn check(&self) -> Result<Health, Error> {
        check::check(&self.engine).await
    }

    /// Removes expired uploads, and what interrupted creations and removals have left.
    ///
    /// It reads all records, or only the expired ones if the store keeps an expiry index
    /// ([`Store::list_expiring`]), as fast as it can. Its memory use does not depend on the number
    /// of records. [`sweep_every`](Self::sweep_every) does the same at a limited rate.
    ///
    /// An upload that is being written or handed over is left for the next sweep. (In a bucket, a
    /// chunk that arrives at another node is refused.) A file that the application has
    /// [persisted](crate::CompletedUpload::persist) is never touched.
    ///
    /// # Errors
    /// The errors of the store, if it cannot be listed. Uploads that cannot be removed are counted
    /// as skipped.
    pub async fn delete_expired(&self) -> Result<Expired, Error> {
        self.for_operator().delete_expired().await
    }

    /// Runs [`delete_expired`](Self::delete_expired) in the background: immediately, and again each
    /// time `every` has passed since the previous sweep ended, until the [`Sweeper`] is stopped or
    /// dropped.
    ///
    /// The sweep limits its rate: after each page of the store (at most 256 uploads in the stores
    /// of this crate) it pauses three times as long as the page took, but at most a minute. So it
    /// uses at most a quarter of one core and takes four times as long. For a store with an [expiry
    /// index](crate::store::Capabilities::expiry_index), such as a bucket, most of the time is
    /// spent waiting for the network: there it does not pause, and removes 16 uploads concurrently.
    /// When the sweeper ends or a [shutdown](Self::shutdown) begins, it stops after the current
    /// page.
    ///
    /// If `every` is zero, the next sweep begins as soon as one has ended, so the store is read all
    /// the time.
    ///
    /// Each process that sweeps a store reads all of its records, unless the store has an index and
    /// there are no quotas. If several processes share a store, one sweeper is enough; with quotas,
    /// each process needs its own.
    ///
    /// # Panics
    /// If it is called outside of a Tokio runtime.
    pub fn sweep_every(&self, every: Duration) -> Sweeper {
        Sweeper::start(Arc::clone(&self.engine), every)
    }

    /// Shuts down gracefully: chunks in progress may continue for `timeout`, while new chunks and
    /// completions are refused with [`ErrorKind::ShuttingDown`](crate::ErrorKind::ShuttingDown),
    /// 503 on the wire. After that time, requests that still receive data are stopped as if their
    /// clients had disconnected. It waits without a limit for a file that was handed to the
    /// application, and for a system call that does not return. The status of an upload stays
    /// available. When this returns, no task, write or sweep is running any more.
    ///
    /// Call it when the server begins to stop, and before the runtime ends. With axum, await it in
    /// the future that is given to `with_graceful_shutdown`, as in the [quick
    /// start](crate::guide::quick_start): new chunks then get a 503 with `Retry-After` until the
    /// server stops accepting connections.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use tower_chunked_upload::{ErrorKind, NewUpload, Uploads, store::MemoryStore};
    /// # let uploads = Uploads::builder(MemoryStore::new()).build()?;
    /// uploads.shutdown(Duration::from_secs(10)).await;
    /// let refused = uploads.for_owner(None).create(NewUpload::new()).await.unwrap_err();
    /// assert_eq!(*refused.kind(), ErrorKind::ShuttingDown);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn shutdown(&self, timeout: Duration) {
        let claims = &self.engine.claims;
        claims.close();
        if tokio::time::timeout(timeout, claims.ended()).await.is_err() {
            claims.stop();
            claims.ended().await;
        }
        claims.watch_ended().await;
        self.engine.store.settle().await;
    }

    /// Returns a guard that a [shutdown](Self::shutdown) waits for and that reports when one
    /// begins.
    pub fn shutdown_guard(&self) -> ShutdownGuard {
        self.engine.claims.guard()
    }

    /// Returns the [configured](UploadsBuilder::max_bytes) maximum size of a file in bytes, or
    /// `None` if there is no limit.
    pub fn max_bytes(&self) -> Option<u64> {
        self.engine.max_bytes
    }

    /// Returns the response of the application that is [kept](Completion::keep_answer) with an
    /// upload, or `None` if there is none or its time has passed.
    pub fn kept_answer<'a>(&self, upload: &'a Upload) -> Option<&'a KeptAnswer> {
        upload.answer.as_deref().filter(|answer| self.engine.now() < answer.until)
    }

    /// Returns the current time of the [clock](UploadsBuilder::clock).
    pub fn now(&self) -> SystemTime {
        self.engine.now()
    }

    /// Returns the smaller of `limit` and the largest size that the store can hold, in bytes;
    /// `None` if neither exists.
    pub fn within_reach(&self, limit: Option<u64>) -> Option<u64> {
        self.engine.within_reach(limit)
    }
}

impl OwnerUploads {
    /// Sets the request that the calls serve: when it arrived, and the extensions that are passed
    /// to an [`Observer`](crate::Observer). A request that arrived later counts as the newer one,
    /// even if its calls are made first. Without this, each call arrives when it is made.
    #[must_use]
    pub fn for_request(mut self, arrived: Instant, extensions: &Extensions) -> Self {
        self.access.arrived = Some(arrived.into());
        let observed = self.access.engine.observer.is_some();
        self.access.cause = observed.then(|| Arc::new(extensions.clone()));
        self
    }

    /// Restricts the calls that name an upload to the uploads of one protocol. Those that the
    /// handle starts belong to it; without this they belong to the protocol of
    /// django-chunked-upload. [`list`](Self::list) returns the uploads of all protocols.
    #[must_use]
    pub fn for_dialect(mut self, dialect: Dialect) -> Self {
        self.access.dialect = Some(dialect);
        self
    }

    /// Restricts the handle to one upload, and the parts that it is joined from. All others are not
    /// found, and [`create`](Self::create) and [`join`](Self::join) fail with
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound).
    #[must_use]
    pub fn only(mut self, id: &UploadId) -> Self {
        let owner = self.owner().cloned();
        self.access.scope = Scope::One { id: *id, owner, created: None };
        self
    }

    /// Restricts the handle to an upload, so that the next one that gets the id is not found.
    #[cfg(feature = "tokens")]
    pub(super) fn only_this(mut self, upload: Identity) -> Self {
        let (owner, created) = (self.owner().cloned(), Some(upload.created));
        self.access.scope = Scope::One { id: upload.id, owner, created };
        self
    }

    /// Returns the owner whose uploads this handle sees; `None` for uploads without an owner.
    pub fn owner(&self) -> Option<&Owner> {
        match &self.access.scope {
            Scope::Of(owner) | Scope::One { owner, .. } => owner.as_ref(),
            Scope::All => None,
        }
    }

    /// Sets how far apart two requests may arrive and still count as equally new. Both handles must
    /// have it set. Default: zero.
    ///
    /// A server may read two connections in either order, so a request that its client broke off
    /// may arrive after the one that was sent next. If the requests are equally new, the later one
    /// waits as long as the earlier one receives bytes. If the earlier one receives nothing for
    /// half a second, the later one stops it.
    #[must_use]
    pub fn order_tolerance(mut self, tolerance: Duration) -> Self {
        self.access.tolerance = tolerance;
        self
    }

    /// Starts an upload. It is visible to others after the [`Append`]'s commit.
    ///
    /// If one was created with the same [idempotency key](NewUpload::idempotency_key) before, this
    /// continues it, as [`append`](Self::append) does: the caller writes from
    /// [`Append::position`] on.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) if the announced total exceeds the
    /// limit; [`ErrorKind::QuotaExceeded`](crate::ErrorKind::QuotaExceeded). With a key also
    /// [`ErrorKind::KeyReused`](crate::ErrorKind::KeyReused) and the errors of
    /// [`acquire`](Self::acquire).
    pub async fn create(&self, new: NewUpload) -> Result<Append, Error> {
        self.access.create(new, Origin::New).await
    }

    /// Returns the record of the upload that was created before with the
    /// [idempotency key](NewUpload::idempotency_key) of this one; `None` if there is none, or no key.
    ///
    /// # Errors
    /// [`ErrorKind::KeyReused`](crate::ErrorKind::KeyReused) if the key was used for an upload with
    /// another description, [`ErrorKind::Busy`](crate::ErrorKind::Busy) if one that has expired is
    /// still in use, and the errors of the store.
    pub async fn created_before(&self, new: &NewUpload) -> Result<Option<Upload>, Error> {
        self.access.created_before(new).await
    }

    /// Starts an upload that is joined from [parts](NewUpload::part), in this order, without copying
    /// them, and holds it. A part may occur several times, and in several uploads.
    ///
    /// If all parts are complete, the upload can be completed. Otherwise it waits, and
    /// [`Lease::end_part`] of the last part returns it. If the same parts were joined before with
    /// the same description, that upload is returned, which may be complete. With an
    /// [idempotency key](NewUpload::idempotency_key), that is the one that was joined with this key.
    ///
    /// The parts expire on their own. The bytes of one that has expired or was cancelled stay as
    /// long as an upload that is joined from it exists, unless the application has persisted that
    /// upload. They count towards the quotas until the application has taken a file with them.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) or
    /// [`ErrorKind::Expired`](crate::ErrorKind::Expired) if there is no such part,
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge),
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) if another upload waits for one of the parts or
    /// eight uploads are joined from it, and the errors of the store.
    pub async fn join(&self, new: NewUpload, parts: &[UploadId]) -> Result<Lease, Error> {
        self.access.join(new, parts).await
    }

    /// Receives bytes whose upload is not known yet, for [`Append::take_from`]. They are not an
    /// upload themselves and cannot be committed.
    ///
    /// They are counted separately from the uploads, up to the same quotas, since the upload that
    /// they will belong to has already reserved its bytes.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub async fn stage(&self) -> Result<Append, Error> {
        self.access.create(NewUpload::new().limit(None), Origin::Staged).await
    }
}

impl OperatorUploads {
    /// Removes an upload whose record or bytes cannot be trusted, and everything that is left of
    /// it. Returns whether it was damaged.
    ///
    /// Requests for a damaged upload are refused with
    /// [`ErrorKind::Damaged`](crate::ErrorKind::Damaged). [`list`](Self::list) reports it in an
    /// error ([`Error::damaged_upload`]). A sweep removes it when it has expired, according to its
    /// earlier record, or else to when the record was last written and how long new uploads live.
    /// An upload whose bytes turned out to differ when it was completed is not damaged in this
    /// sense, since its record is intact: [`cancel`](Self::cancel) it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound),
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) if it is in use, and the errors of the store.
    pub async fn remove_damaged(&self, id: &UploadId) -> Result<bool, Error> {
        let engine = &self.access.engine;
        let removed = engine.store.remove_damaged(id).await?;
        if removed {
            engine.ledger.close(id);
        }
        Ok(removed)
    }
}

/// The methods that the handles of an owner and of the operator share.
macro_rules! handle {
    ($handle:ident) => {
        impl $handle {
            #[cfg(feature = "tokens")]
            pub(super) fn access(&self) -> &Access {
                &self.access
            }

            /// Acquires an incomplete upload in order to change it. If another request holds it,
            /// asks that request to stop, and waits for it briefly.
            ///
            /// # Errors
            /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound),
            /// [`ErrorKind::Expired`](crate::ErrorKind::Expired),
            /// [`ErrorKind::AlreadyComplete`](crate::ErrorKind::AlreadyComplete),
            /// [`ErrorKind::Finishing`](crate::ErrorKind::Finishing),
            /// [`ErrorKind::Superseded`](crate::ErrorKind::Superseded),
            /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) and the errors of the store.
            pub async fn acquire(&self, id: &UploadId) -> Result<Lease, Error> {
                let check = |_| ready(Ok::<_, Error>(()));
                Ok(self.access.acquire(id, Recall::Never, check).await?.0)
            }

            /// Acquires an upload whose record passes a check, and also returns the result of the
            /// check.
            ///
            /// The lease starts where the check saw the upload: if the upload has grown in between, or
            /// an [idempotency key](crate::IdempotencyKey) has given its id to the next one, that is
            /// checked again. A request that is refused does not stop the current holder of the
            /// upload. The upload is not held while a check is pending.
            ///
            /// An upload that lacks bytes may be checked as this process has seen it last. If another
            /// process has added bytes since, the first write under the lease fails with
            /// [`ErrorKind::OffsetMismatch`](crate::ErrorKind::OffsetMismatch).
            ///
            /// # Errors
            /// The error of the check, and the errors of [`acquire`](Self::acquire).
            /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) also if the upload grows during each of
            /// several checks.
            pub async fn acquire_if<T, E, F>(
                &self,
                id: &UploadId,
                check: impl Fn(Upload) -> F + Send,
            ) -> Result<(Lease, T), E>
            where
                F: Future<Output = Result<T, E>> + Send,
                T: Send,
                E: From<Error> + Send,
            {
                self.access.acquire(id, Recall::ToAppend, check).await
            }

            /// Appends bytes to an upload, starting at offset `at`.
            ///
            /// An append to the same upload that is in progress is asked to stop and waited for
            /// briefly.
            ///
            /// # Errors
            /// [`ErrorKind::OffsetMismatch`](crate::ErrorKind::OffsetMismatch), and the errors of
            /// [`acquire`](Self::acquire).
            pub async fn append(
                &self,
                id: &UploadId,
                at: u64,
                mode: AppendMode,
            ) -> Result<Append, Error> {
                let check = |upload: Upload| ready(core::check_offset(&upload, at));
                Ok(self.acquire_if(id, check).await?.0.append(mode))
            }

            /// Returns the record of an upload, without waiting for a request that writes to it.
            ///
            /// # Errors
            /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound),
            /// [`ErrorKind::Expired`](crate::ErrorKind::Expired) and the errors of the store.
            pub async fn status(&self, id: &UploadId) -> Result<Upload, Error> {
                self.access.status(id).await
            }

            /// Ends an append that is in progress, and returns the record of the upload. It is for
            /// clients that ask where to continue after their connection broke, before the server
            /// has noticed that. What the append has received is kept, if it [keeps what
            /// came](AppendMode::KeepWhatCame); in another process that shares the store, what it
            /// has committed. It does not end an append on another node of a bucket.
            ///
            /// # Errors
            /// The errors of [`status`](Self::status),
            /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) if the append does not end in time, and
            /// [`ErrorKind::ShuttingDown`](crate::ErrorKind::ShuttingDown).
            pub async fn end_append(&self, id: &UploadId) -> Result<Upload, Error> {
                self.access.end_append(id).await
            }

            /// Watches the progress of an upload: returns a stream of its state now and after each
            /// change, until it has ended.
            ///
            /// Changes by this process are pushed at once. To find changes by other processes, the
            /// store is polled each [second](UploadsBuilder::watch_interval), once for all watches
            /// of the same upload in this process. Without a watch, nothing is polled. Drop the
            /// [`Watch`] to stop.
            ///
            /// ```
            /// # #[tokio::main(flavor = "current_thread")]
            /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// # use tower_chunked_upload::store::MemoryStore;
            /// # use tower_chunked_upload::{AppendMode, Ended, NewUpload, Uploads};
            /// # let uploads = Uploads::builder(MemoryStore::new()).build()?.for_owner(None);
            /// # let id = uploads.create(NewUpload::new().total(5)).await?.commit().await?.id;
            /// let mut watch = uploads.watch(&id).await?;
            /// # let mut append = uploads.append(&id, 0, AppendMode::AllOrNothing).await?;
            /// # append.write(&b"Hello"[..]).await?;
            /// # append.commit().await?;
            /// # uploads.complete(&id, None).await?.finish().await?;
            /// while let Some(now) = watch.next().await {
            ///     println!("{} of {:?} bytes", now.upload.offset(), now.upload.total());
            ///     if let Some(ended) = now.ended {
            ///         assert_eq!(ended, Ended::Completed);
            ///     }
            /// }
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound),
            /// [`ErrorKind::Expired`](crate::ErrorKind::Expired) and the errors of the store, for the
            /// state at the beginning. Later errors of the store are not reported: the next look may
            /// work.
            pub async fn watch(&self, id: &UploadId) -> Result<Watch, Error> {
                self.access.watch(id).await
            }

            /// Opens the bytes of an upload up to its offset, for as long as they are in the store:
            /// until it expires, or until the application moves the file.
            ///
            /// # Errors
            /// The errors of [`status`](Self::status).
            pub async fn open(&self, id: &UploadId) -> Result<Reader, Error> {
                self.access.open(id).await
            }

            /// Hands over a finished upload. Each of the given `digests` must match the file:
            /// `None` for none, `Some(digest)`, or several.
            ///
            /// The cost does not depend on the file's size, unless the bytes are to be [read
            /// back](UploadsBuilder::read_back), a power cut may have taken some of them, or a
            /// digest is given whose algorithm was neither the
            /// [configured](UploadsBuilder::digest_algorithm) one nor [asked
            /// for](NewUpload::digests). In these cases the file is read once.
            ///
            /// # Errors
            /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound),
            /// [`ErrorKind::Expired`](crate::ErrorKind::Expired),
            /// [`ErrorKind::AlreadyComplete`](crate::ErrorKind::AlreadyComplete),
            /// [`ErrorKind::Finishing`](crate::ErrorKind::Finishing),
            /// [`ErrorKind::Incomplete`](crate::ErrorKind::Incomplete),
            /// [`ErrorKind::ChecksumMismatch`](crate::ErrorKind::ChecksumMismatch),
            /// [`ErrorKind::Busy`](crate::ErrorKind::Busy),
            /// [`ErrorKind::Superseded`](crate::ErrorKind::Superseded) and the errors of the store;
            /// [`ErrorKind::OffsetMismatch`](crate::ErrorKind::OffsetMismatch) if another node was
            /// faster.
            pub async fn complete(
                &self,
                id: &UploadId,
                digests: impl IntoIterator<Item = Digest>,
            ) -> Result<Completion, Error> {
                let check = |upload: Upload| ready(complete::check_all_received(&upload));
                let (lease, ()) = self.access.acquire(id, Recall::ToComplete, check).await?;
                lease.complete(digests).await
            }

            /// Removes an incomplete upload and its bytes, and returns its last record.
            ///
            /// # Errors
            /// The errors of [`acquire`](Self::acquire).
            pub async fn cancel(&self, id: &UploadId) -> Result<Upload, Error> {
                self.acquire(id).await?.cancel().await
            }

            /// Removes an upload and its bytes, whether or not it has ended. A file that the
            /// application has [persisted](crate::CompletedUpload::persist) stays.
            ///
            /// # Errors
            /// The errors of [`acquire`](Self::acquire), except that the upload may be complete or
            /// interrupted.
            pub async fn remove(&self, id: &UploadId) -> Result<(), Error> {
                match self.cancel(id).await {
                    Err(error) if has_ended(error.kind()) => self.access.remove_complete(id).await,
                    removed => removed.map(drop),
                }
            }

            /// Sets when an incomplete upload expires, and returns its record; `None` means never.
            /// If that time has passed, further requests are refused and the next sweep removes the
            /// upload.
            ///
            /// A chunk in progress is stopped, as by a newer chunk. If the
            /// [`Expiry`](crate::Expiry) is extended by each chunk, the next chunk extends it
            /// again.
            ///
            /// ```
            /// # #[tokio::main(flavor = "current_thread")]
            /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// # use std::time::{Duration, SystemTime};
            /// # use tower_chunked_upload::store::MemoryStore;
            /// # use tower_chunked_upload::{AppendMode, ErrorKind, NewUpload, Uploads};
            /// # let uploads = Uploads::builder(MemoryStore::new()).build()?.for_owner(None);
            /// # let id = uploads.create(NewUpload::new()).await?.commit().await?.id;
            /// uploads.set_expires(&id, SystemTime::now() + Duration::from_secs(3600)).await?;
            /// uploads.set_expires(&id, SystemTime::now()).await?;
            /// let refused = uploads.append(&id, 0, AppendMode::AllOrNothing).await.unwrap_err();
            /// assert_eq!(*refused.kind(), ErrorKind::Expired);
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// See [`cancel`](Self::cancel).
            pub async fn set_expires(
                &self,
                id: &UploadId,
                expires: impl Into<Option<SystemTime>>,
            ) -> Result<Upload, Error> {
                Ok(self.acquire(id).await?.set_expires(expires).await?.upload().clone())
            }

            /// Returns the uploads that match the filter as a stream.
            pub fn list(&self, filter: Filter) -> Listing {
                Listing::new(Arc::clone(&self.access.engine), self.access.scope.clone(), filter)
            }

            /// Does the same as [`Uploads::delete_expired`], but only for the uploads that this
            /// handle sees.
            ///
            /// # Errors
            /// The errors of the store, if it cannot be listed.
            pub async fn delete_expired(&self) -> Result<Expired, Error> {
                sweep::delete_expired(&self.access.engine, &self.access.scope).await
            }

            /// Removes one upload if it has expired, and returns whether it was removed.
            ///
            /// # Errors
            /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound),
            /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) if it is in use, and the errors of the
            /// store.
            pub async fn delete_if_expired(&self, id: &UploadId) -> Result<bool, Error> {
                self.access.delete_if_expired(id).await
            }
        }

        impl fmt::Debug for $handle {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut debug = f.debug_struct(stringify!($handle));
                debug.field("scope", &self.access.scope).finish_non_exhaustive()
            }
        }
    };
}

fn has_ended(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::AlreadyComplete | ErrorKind::Interrupted)
}

handle!(OwnerUploads);
handle!(OperatorUploads);

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploads")
            .field("expiry", &self.engine.expiry)
            .field("max_bytes", &self.engine.max_bytes)
            .finish_non_exhaustive()
    }
}
