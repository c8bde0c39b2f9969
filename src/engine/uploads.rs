//! The handles.

use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::Extensions;

use super::access::{Access, Scope};
use super::append::{Append, AppendMode};
use super::builder::UploadsBuilder;
use super::claim::ShutdownGuard;
use super::complete::{self, Completion};
use super::core::{self, Engine};
use super::error::Error;
use super::lease::Lease;
use super::list::{Filter, Listing};
use super::new::NewUpload;
use super::sweep::{self, Expired, Sweeper};
use crate::checksum::Digest;
use crate::id::UploadId;
use crate::store::Store;
use crate::upload::{Owner, Upload};

/// Uploads in a store, with or without HTTP. A clone is the same uploads.
///
/// It sweeps and shuts down. Whoever wants to do something to an upload says in whose name:
/// [`for_owner`](Self::for_owner) gives a handle that knows one owner's uploads and begins new ones,
/// [`for_operator`](Self::for_operator) one that knows all.
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

/// The uploads of one owner. Every other upload looks as if it did not exist.
#[derive(Clone)]
pub struct OwnerUploads {
    access: Access,
}

/// All uploads, for whoever runs the server.
#[derive(Clone)]
pub struct OperatorUploads {
    access: Access,
}

impl Uploads {
    /// Settings for uploads in `store`.
    pub fn builder(store: impl Store) -> UploadsBuilder {
        UploadsBuilder::new(Box::new(store))
    }

    pub(super) fn new(engine: Engine) -> Self {
        Self { engine: Arc::new(engine) }
    }

    /// The uploads of one owner, and new ones in its name. `None` is the owner of uploads without
    /// owner.
    pub fn for_owner(&self, owner: impl Into<Option<Owner>>) -> OwnerUploads {
        let access = Access::new(Arc::clone(&self.engine), Scope::Of(owner.into()));
        OwnerUploads { access }
    }

    /// The uploads of all owners. What a client may reach should go through
    /// [`for_owner`](Self::for_owner).
    pub fn for_operator(&self) -> OperatorUploads {
        OperatorUploads { access: Access::new(Arc::clone(&self.engine), Scope::All) }
    }

    /// Removes the expired uploads, and what interrupted ones left.
    ///
    /// It reads all records, or those that are due where the store keeps an index of them
    /// ([`Store::list_expiring`]), as fast as it can; its memory does not grow with their number.
    /// [`sweep_every`](Self::sweep_every) takes its time.
    ///
    /// One that is being written to or handed over at this moment is left for the next time. (In a
    /// bucket, a chunk that comes to another node is refused.) A file that the application has taken is
    /// never touched.
    ///
    /// # Errors
    /// Those of the store, if it cannot be listed. What cannot be removed is counted as skipped.
    pub async fn delete_expired(&self) -> Result<Expired, Error> {
        self.for_operator().delete_expired().await
    }

    /// Does what [`delete_expired`](Self::delete_expired) does, in the background, now and each time
    /// `every` after the sweep before it has ended, until the [`Sweeper`] is stopped or dropped.
    ///
    /// Such a sweep is gentle: after each page of the store (at most 256 uploads in the stores of this
    /// crate) it rests three times as long as that page took, but no longer than a minute. So it takes
    /// at most a quarter of one core, and four times as long. A store with an index
    /// ([`Capabilities::expiry_index`](crate::store::Capabilities::expiry_index)), such as a bucket, it waits for more than it works: there it does not
    /// rest, and removes 16 uploads at the same time. When the sweeper ends or a
    /// [shutdown](Self::shutdown) begins, it stops after the page that it is at.
    ///
    /// Each process that sweeps a store reads all of its records, unless the store has an index and there
    /// are no quotas. Where several share a store, one sweeper is enough; with quotas each of them needs
    /// its own.
    pub fn sweep_every(&self, every: Duration) -> Sweeper {
        Sweeper::start(Arc::clone(&self.engine), every)
    }

    /// Ends the work in order: chunks that are under way may go on for as long as `timeout`, new ones
    /// and completions are refused with [`ErrorKind::ShuttingDown`](crate::ErrorKind::ShuttingDown), 503 on the wire. After that time
    /// what still receives is stopped, as if its client had left; a file that the application has been
    /// given is waited for, and so is a call of the system that does not return. Where an upload stands
    /// can still be asked. When this returns, nothing is under way any more: no task, no write, no
    /// sweep.
    ///
    /// Call it when the server stops to accept connections, and before the runtime ends.
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

    /// A guard that a [shutdown](Self::shutdown) waits for, and that says when one begins.
    pub fn shutdown_guard(&self) -> ShutdownGuard {
        self.engine.claims.guard()
    }

    /// The largest size of a file, in bytes: as [set](UploadsBuilder::max_bytes), and no more than the
    /// store can hold. `None`: there is no limit.
    pub fn max_bytes(&self) -> Option<u64> {
        self.engine.within_reach(self.engine.max_bytes)
    }

    /// The limit, or what the store can hold if that is less.
    pub fn within_reach(&self, limit: Option<u64>) -> Option<u64> {
        self.engine.within_reach(limit)
    }
}

impl OwnerUploads {
    /// Says which request the calls serve: when it came, and the extensions that an
    /// [`Observer`](crate::Observer) is given. Whoever came later is the newer one, even if its turn
    /// comes first. Without this, each call comes when it is made.
    #[must_use]
    pub fn for_request(mut self, came: Instant, extensions: &Extensions) -> Self {
        self.access.came = Some(came);
        let observed = self.access.engine.observer.is_some();
        self.access.cause = observed.then(|| Arc::new(extensions.clone()));
        self
    }

    /// Begins an upload. It exists for others after the [`Append`]'s commit.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) if the announced total is;
    /// [`ErrorKind::QuotaExceeded`](crate::ErrorKind::QuotaExceeded).
    pub async fn create(&self, new: NewUpload) -> Result<Append, Error> {
        self.access.create(new, false).await
    }

    /// Takes bytes of which it is not known yet to which upload they belong, for
    /// [`Append::take_from`]. They are no upload themselves, and should not be committed.
    ///
    /// They are counted apart from the uploads, up to the same quotas: the upload that they join has
    /// reserved its bytes already.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn stage(&self) -> Result<Append, Error> {
        self.access.create(NewUpload::new().limit(None), true).await
    }
}

impl OperatorUploads {
    /// Removes an upload whose record or bytes cannot be trusted, and what can be found of it; says
    /// whether it was one. Such an upload is refused with [`ErrorKind::Damaged`](crate::ErrorKind::Damaged); a
    /// [`list`](Self::list) names it in an error ([`Error::damaged_upload`]), and a sweep removes it when
    /// its time has come by what can still be told of it: its record as it was before, or when that was
    /// written last and how long a new upload lives. One whose bytes were found to differ when it was
    /// completed is none of these, since its record is whole: [`cancel`](Self::cancel) it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound), [`ErrorKind::Busy`](crate::ErrorKind::Busy) if it is in use, and those of the store.
    pub async fn remove_damaged(&self, id: &UploadId) -> Result<bool, Error> {
        let engine = &self.access.engine;
        let removed = engine.store.remove_damaged(id).await?;
        if removed {
            engine.ledger.close(id);
        }
        Ok(removed)
    }
}

/// What the handles of an owner and of the operator can both do.
macro_rules! handle {
    ($handle:ident) => {
        impl $handle {
            /// Acquires an upload that is not complete, to change it. Whoever works on it is asked to stop,
            /// and waited for briefly.
            ///
            /// # Errors
            /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound),
            /// [`ErrorKind::Expired`](crate::ErrorKind::Expired),
            /// [`ErrorKind::AlreadyComplete`](crate::ErrorKind::AlreadyComplete),
            /// [`ErrorKind::Finishing`](crate::ErrorKind::Finishing),
            /// [`ErrorKind::Superseded`](crate::ErrorKind::Superseded),
            /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) and those of the store.
            pub async fn acquire(&self, id: &UploadId) -> Result<Lease, Error> {
                Ok(self.acquire_if(id, |_| ready(Ok::<_, Error>(()))).await?.0)
            }

            /// Acquires an upload that a check of its record lets pass; gives what the check gives, too.
            ///
            /// The record that the check has let pass is the one that the lease begins with: if it has
            /// changed in between, it is checked again. What is refused stops nobody who works on the
            /// upload. While a check waits for something, nobody holds the upload for it.
            ///
            /// # Errors
            /// What the check refuses with, and the errors of [`acquire`](Self::acquire).
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
                self.access.acquire(id, check).await
            }

            /// Adds bytes to an upload, from offset `at` on.
            ///
            /// An append of the same upload that is under way is asked to stop and waited for briefly.
            ///
            /// # Errors
            /// [`ErrorKind::OffsetMismatch`](crate::ErrorKind::OffsetMismatch), and those of
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

            /// Where an upload stands. It waits for nobody who writes to it.
            ///
            /// # Errors
            /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound), [`ErrorKind::Expired`](crate::ErrorKind::Expired) and those of the store.
            pub async fn status(&self, id: &UploadId) -> Result<Upload, Error> {
                self.access.status(id).await
            }

            /// Hands over a finished upload; `digest`, if one is given, must be the file's.
            ///
            /// Its cost does not depend on the file's size, unless the bytes are to be [read
            /// back](UploadsBuilder::read_back), a power cut may have taken some of them, or no checksum of the
            /// digest's kind has run along: then the file is read once.
            ///
            /// # Errors
            /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound), [`ErrorKind::Expired`](crate::ErrorKind::Expired), [`ErrorKind::AlreadyComplete`](crate::ErrorKind::AlreadyComplete),
            /// [`ErrorKind::Finishing`](crate::ErrorKind::Finishing), [`ErrorKind::Incomplete`](crate::ErrorKind::Incomplete), [`ErrorKind::ChecksumMismatch`](crate::ErrorKind::ChecksumMismatch),
            /// [`ErrorKind::Busy`](crate::ErrorKind::Busy), [`ErrorKind::Superseded`](crate::ErrorKind::Superseded) and those of the store; where another node was faster
            /// [`ErrorKind::OffsetMismatch`](crate::ErrorKind::OffsetMismatch).
            pub async fn complete(
                &self,
                id: &UploadId,
                digest: Option<Digest>,
            ) -> Result<Completion, Error> {
                let check = |upload: Upload| ready(complete::check_whole(&upload));
                self.acquire_if(id, check).await?.0.complete(digest).await
            }

            /// Removes an upload that is not complete, and its bytes; gives its last record.
            ///
            /// # Errors
            /// Those of [`acquire`](Self::acquire).
            pub async fn cancel(&self, id: &UploadId) -> Result<Upload, Error> {
                self.acquire(id).await?.cancel().await
            }

            /// Sets when an upload that is not complete expires, `None` for never; gives its record. With a time
            /// that has come it is refused from now on, and the next sweep removes it.
            ///
            /// A chunk under way makes way for it, as for a newer chunk. Where each chunk prolongs an upload's
            /// life ([`Expiry`](crate::Expiry)), the next one does so again.
            ///
            /// ```
            /// # #[tokio::main(flavor = "current_thread")]
            /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// # use std::time::{Duration, SystemTime};
            /// # use tower_chunked_upload::{AppendMode, ErrorKind, NewUpload, Uploads, store::MemoryStore};
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
            /// As [`cancel`](Self::cancel).
            pub async fn set_expires(
                &self,
                id: &UploadId,
                expires: impl Into<Option<SystemTime>>,
            ) -> Result<Upload, Error> {
                Ok(self.acquire(id).await?.set_expires(expires).await?.upload().clone())
            }

            /// The uploads that match, as a stream.
            pub fn list(&self, filter: Filter) -> Listing {
                Listing::new(Arc::clone(&self.access.engine), self.access.scope.clone(), filter)
            }

            /// Does what [`Uploads::delete_expired`] does, to the uploads that this handle knows.
            ///
            /// # Errors
            /// Those of the store when it lists its uploads.
            pub async fn delete_expired(&self) -> Result<Expired, Error> {
                sweep::delete_expired(&self.access.engine, &self.access.scope).await
            }

            /// Removes one upload if it has expired, and says whether it did.
            ///
            /// # Errors
            /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound),
            /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) if it is in use, and those of the store.
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
