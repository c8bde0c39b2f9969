//! The right to change one upload: a claim in this process, and the store's lease across processes.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::access::Access;
use super::append::{Append, AppendMode, Origin};
use super::claim::Claim;
use super::core::{Engine, check_offset};
use super::error::{Error, ErrorKind};
use super::event::{Cause, Event};
use crate::id::UploadId;
use crate::store::{Commit, DynWriter, StoreError};
use crate::time;
use crate::upload::{Status, Upload};

/// An upload that nobody else can change until this is dropped or a newer request takes it over.
///
/// Every change to an upload starts with [`acquire`](crate::OwnerUploads::acquire). The methods of
/// the lease then run one after the other, and no other request can come in between:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::time::{Duration, SystemTime};
/// # use tower_chunked_upload::store::MemoryStore;
/// # use tower_chunked_upload::{AppendMode, NewUpload, Uploads};
/// # let uploads = Uploads::builder(MemoryStore::new()).build()?.for_owner(None);
/// # let id = uploads.create(NewUpload::new()).await?.commit().await?.id;
/// let lease = uploads.acquire(&id).await?;
/// let lease = lease.set_expires(SystemTime::now() + Duration::from_secs(3600)).await?;
/// let mut append = lease.append(AppendMode::AllOrNothing);
/// append.write(&b"the end"[..]).await?;
/// let completion = append.commit_and_keep().await?.complete(None).await?;
/// completion.finish().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "the upload is given back when the lease is dropped"]
pub struct Lease {
    pub(super) engine: Arc<Engine>,
    pub(super) cause: Cause,
    pub(super) writer: Box<dyn DynWriter>,
    // Dropped last: the next request must find the store's lease free.
    pub(super) claim: Claim,
}

impl Access {
    /// Acquires an open upload whose record passes the check.
    ///
    /// An idle upload is leased first and checked under the lease. If another request holds the
    /// upload, its record is checked before the lease is requested, so that a request that is
    /// refused stops nobody. The upload is never held while a check is pending, since the check may
    /// take long or may itself change the upload. If the upload has grown since the check, it is
    /// checked again; the other parts of a record that a check can go by never change.
    pub(super) async fn acquire<T, E, F>(
        &self,
        id: &UploadId,
        check: impl Fn(Upload) -> F + Send,
    ) -> Result<(Lease, T), E>
    where
        F: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: From<Error> + Send,
    {
        let mut lease = self.try_lease(id).await;
        for _ in 0..MAX_ROUNDS {
            let (checked, passed) = match lease.take() {
                Some(lease) => {
                    self.engine.check_open(lease.upload()).map_err(Error::from)?;
                    let checked = length(lease.upload());
                    let mut checking = pin!(check(lease.upload().clone()));
                    match poll_fn(|cx| Poll::Ready(checking.as_mut().poll(cx))).await {
                        Poll::Ready(passed) => return Ok((lease, passed?)),
                        Poll::Pending => drop(lease),
                    }
                    (checked, checking.await?)
                }
                None => {
                    let upload = self.find_open(id).await?;
                    (length(&upload), check(upload).await?)
                }
            };
            let fresh = self.lease(id).await?;
            // Its time may be up by now.
            self.engine.check_open(fresh.upload()).map_err(Error::from)?;
            if length(fresh.upload()) == checked {
                return Ok((fresh, passed));
            }
            lease = Some(fresh);
        }
        Err(Error::from(ErrorKind::Busy).into())
    }

    pub(super) async fn remove_complete(&self, id: &UploadId) -> Result<(), Error> {
        let lease = self.lease(id).await?;
        match self.contains(lease.upload()) {
            true => lease.cancel().await.map(drop),
            false => Err(ErrorKind::NotFound.into()),
        }
    }

    /// Leases an idle upload in one hop. Returns `None` if it is held, or if there is any other
    /// problem.
    async fn try_lease(&self, id: &UploadId) -> Option<Lease> {
        let Some(claim) = self.engine.claims.try_claim(id, self.arrival()) else {
            // The time until a refusal must not reveal whether the upload is held.
            drop(self.engine.store.load(id).await);
            return None;
        };
        let writer = self.engine.store.writer(id).await.ok()?;
        self.contains(writer.upload()).then(|| self.leased(writer, claim))
    }

    /// Asks the current holder of the upload to stop, and waits for it.
    pub(super) async fn lease(&self, id: &UploadId) -> Result<Lease, Error> {
        let engine = &self.engine;
        let claim = engine.claims.claim(id, self.arrival(), engine.takeover_timeout).await?;
        let writer = engine.writer(id, &claim).await?;
        Ok(self.leased(writer, claim))
    }

    pub(super) fn leased(&self, writer: Box<dyn DynWriter>, claim: Claim) -> Lease {
        let (engine, cause) = (Arc::clone(&self.engine), self.cause.clone());
        Lease { engine, cause, writer, claim }
    }
}

/// The part of a record by which a check can tell that the upload has changed.
fn length(upload: &Upload) -> (u64, Option<u64>) {
    (upload.offset(), upload.total())
}

impl Lease {
    /// Waits until a newer request asks for the upload, and returns the reason. The newer request
    /// waits for this lease to be dropped, but only for a short time.
    pub fn stopped(&self) -> impl Future<Output = ErrorKind> + Send + use<> {
        self.engine.watch();
        self.claim.stopped()
    }

    /// The record of the upload.
    pub fn upload(&self) -> &Upload {
        self.writer.upload()
    }

    /// Appends bytes to the upload.
    pub fn append(self, mode: AppendMode) -> Append {
        let (engine, upload) = (&self.engine, self.upload());
        let limit = engine.within_reach(upload.max_bytes.or(engine.max_bytes));
        let reservation = engine.ledger.resume(upload);
        Append::new(self, mode, Origin::Existing, limit, reservation)
    }

    /// Sets when the upload expires; `None` means never. If that time has passed, all further
    /// requests are refused and the next sweep removes the upload.
    ///
    /// If the [`Expiry`](crate::Expiry) is extended by each chunk, the next chunk extends it again.
    ///
    /// # Errors
    /// The errors of the store.
    pub async fn set_expires(self, expires: impl Into<Option<SystemTime>>) -> Result<Self, Error> {
        let expires = expires.into().map(time::to_millis);
        let Self { engine, cause, mut writer, claim } = self;
        super::detached(async move {
            let mut upload = writer.upload().clone();
            upload.progress.expires = expires;
            writer.commit(Commit::new(Bytes::new(), upload)).await?;
            Ok(Self { engine, cause, writer, claim })
        })
        .await
    }

    /// Ends the upload if a crash has interrupted its hand-over, so that the application does not
    /// get it twice; then this fails with [`ErrorKind::Interrupted`], as all later calls do. The
    /// file stays until the upload expires or is removed.
    ///
    /// Without this an upload whose hand-over was interrupted can be completed again.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`], and the errors of the store.
    pub async fn end_interrupted(self) -> Result<Self, Error> {
        // Who holds an upload that is being handed over holds it until the application answers.
        if self.upload().status() != Status::Finishing {
            return Ok(self);
        }
        let Self { engine, mut writer, claim, .. } = self;
        super::detached(async move {
            let mut upload = writer.upload().clone();
            upload.progress.status = Status::Interrupted;
            engine.commit(&mut *writer, Commit::new(Bytes::new(), upload)).await?;
            drop(claim);
            Err(ErrorKind::Interrupted.into())
        })
        .await
    }

    /// Removes the upload and its bytes, and returns its last record. If another upload is joined
    /// from it, the upload only expires, and its bytes stay as long as they are needed.
    ///
    /// # Errors
    /// The errors of the store.
    pub async fn cancel(self) -> Result<Upload, Error> {
        let Self { engine, cause, writer, claim } = self;
        super::detached(async move {
            let mut writer = writer;
            let mut upload = writer.upload().clone();
            if engine.is_needed(&upload).await? {
                // A sweep removes it when nothing needs it any more.
                upload.progress.expires = Some(time::to_millis(engine.now()));
                writer.commit(Commit::new(Bytes::new(), upload.clone())).await?;
            } else {
                writer.remove().await?;
                engine.ledger.close(&upload.id);
                engine.remove_expired_parts(&upload).await;
            }
            engine.tell(Event::Cancelled(upload.clone()), &cause).await;
            drop(claim);
            Ok(upload)
        })
        .await
    }
}

impl Engine {
    /// Acquires the store's lease. In this process the claim already has the upload to itself,
    /// except that a write of a dropped request may still be running. Another process gets a
    /// hand-off request.
    async fn writer(&self, id: &UploadId, claim: &Claim) -> Result<Box<dyn DynWriter>, Error> {
        let mut requested = false;
        let writer = self.wait_for_writer(id, claim, &mut requested).await;
        if requested {
            // If this fails, the request times out by itself.
            drop(self.store.request_handoff(id, false).await);
        }
        writer
    }

    async fn wait_for_writer(
        &self,
        id: &UploadId,
        claim: &Claim,
        requested: &mut bool,
    ) -> Result<Box<dyn DynWriter>, Error> {
        let deadline = time::deadline(self.takeover_timeout);
        let mut pause = Duration::from_millis(1);
        loop {
            match self.store.writer(id).await {
                Err(StoreError::Busy) => {}
                result => return Ok(result?),
            }
            // A status request holds such an upload briefly, too.
            if pause > BRIEF_HOLD {
                if self.store.load(id).await?.status() == Status::Finishing {
                    return Err(ErrorKind::Finishing.into());
                }
                if self.store.capabilities().handoff && !std::mem::replace(requested, true) {
                    // On a full disk the request cannot be stored. Then this only waits.
                    drop(self.store.request_handoff(id, true).await);
                }
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(ErrorKind::Busy.into());
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_millis(50)),
                why = claim.stopped() => return Err(why.into()),
            }
        }
    }

    /// Commits. If another node was faster, the error tells what that node has done to the upload.
    pub(super) async fn commit(
        &self,
        writer: &mut dyn DynWriter,
        commit: Commit,
    ) -> Result<(), Error> {
        let (id, offset) = (writer.upload().id, writer.upload().offset());
        match writer.commit(commit).await {
            Err(StoreError::Conflict) => {}
            result => return Ok(result?),
        }
        let now = self.store.load(&id).await?;
        self.check_open(&now)?;
        check_offset(&now, offset)?;
        match now.status() {
            Status::Finishing => Err(ErrorKind::Finishing.into()),
            _ => Err(StoreError::Conflict.into()),
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("upload", &self.upload().id).finish_non_exhaustive()
    }
}

/// How long a lease may be held by a request that only looks at the upload.
const BRIEF_HOLD: Duration = Duration::from_millis(10);
/// How often an upload that grows during its check is checked again.
const MAX_ROUNDS: usize = 8;
