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
use crate::store::{Batch, Commit, DynWriter, StoreError};
use crate::time;
use crate::upload::{Status, Upload};

/// An upload that no other caller can change until this is dropped or a newer request takes it
/// over.
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
    /// Whether the writer knows the upload from memory, and takes the store's lease when it writes.
    pub(super) recalled: bool,
    // Dropped last: the next request must find the store's lease free.
    pub(super) claim: Claim,
}

/// When a lease may begin with what this process remembers of the upload, which saves a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recall {
    Never,
    /// While bytes are lacking. If none are, a request is answered by the record alone, which must not
    /// be outdated then.
    ToAppend,
    /// While it cannot grow, since all bytes of the total are there. Where an upload without one
    /// ends is for the record to say.
    ToComplete,
}

impl Access {
    /// Acquires an open upload whose record passes the check.
    ///
    /// An idle upload is leased first and checked under the lease. If another request holds the
    /// upload, its record is checked before the lease is requested, so that a request that is
    /// refused stops nobody. The upload is never held while a check is pending, since the check may
    /// take long or may itself change the upload. If the upload has grown since the check, or the
    /// client was told of its last byte, it is checked again, and so is another upload that has got
    /// its id; the other parts of a record that a check can go by never change.
    ///
    /// Nobody is refused because of a record that is only remembered.
    pub(super) async fn acquire<T, E, F>(
        &self,
        id: &UploadId,
        recall: Recall,
        check: impl Fn(Upload) -> F + Send,
    ) -> Result<(Lease, T), E>
    where
        F: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: From<Error> + Send,
    {
        let mut lease = self.try_lease(id, recall).await;
        for _ in 0..MAX_ROUNDS {
            let (seen, passed) = match lease.take() {
                Some(held) => {
                    let (recalled, seen) = (held.recalled, state(held.upload()));
                    let checking = check(held.upload().clone());
                    match self.check(held, checking).await {
                        (Ok(held), Ok(passed)) => return Ok((held, passed)),
                        (Err(_), Ok(passed)) => (seen, passed),
                        (held, Err(refusal)) if recalled => {
                            let waited = held.is_err();
                            let remembered = held.map_or_else(|it| it, |it| it.upload().clone());
                            lease = self.try_lease(id, Recall::Never).await;
                            match &lease {
                                Some(now) if *now.upload() == remembered => return Err(refusal),
                                // A check that takes long may have ended the upload itself.
                                None if waited => return Err(refusal),
                                _ => continue,
                            }
                        }
                        (_, Err(refusal)) => return Err(refusal),
                    }
                }
                None => {
                    let upload = self.find_open(id).await?;
                    (state(&upload), check(upload).await?)
                }
            };
            let fresh = self.lease_to(id, recall).await?;
            // The id may be that of another upload by now.
            if !self.contains(fresh.upload()) {
                return Err(Error::from(ErrorKind::NotFound).into());
            }
            // Its time may be up by now.
            let open = self.engine.check_open(fresh.upload()).is_ok();
            if open && state(fresh.upload()) == seen {
                return Ok((fresh, passed));
            }
            lease = Some(fresh);
        }
        Err(Error::from(ErrorKind::Busy).into())
    }

    /// Checks the record of a lease, and gives the lease back; or the record, if that took a while.
    async fn check<T, E: From<Error>>(
        &self,
        lease: Lease,
        checking: impl Future<Output = Result<T, E>> + Send,
    ) -> (Result<Lease, Upload>, Result<T, E>) {
        if let Err(kind) = self.engine.check_open(lease.upload()) {
            return (Ok(lease), Err(Error::from(kind).into()));
        }
        let mut checking = pin!(checking);
        match poll_fn(|cx| Poll::Ready(checking.as_mut().poll(cx))).await {
            Poll::Ready(checked) => (Ok(lease), checked),
            Poll::Pending => {
                let upload = lease.upload().clone();
                drop(lease);
                (Err(upload), checking.await)
            }
        }
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
    async fn try_lease(&self, id: &UploadId, recall: Recall) -> Option<Lease> {
        let Some(claim) = self.engine.claims.try_claim(id, self.arrival()) else {
            // The time until a refusal must not reveal whether the upload is held.
            drop(self.engine.store.load(id).await);
            return None;
        };
        // Nor must it reveal whether the upload of another owner is remembered.
        let recalled = self.engine.recall(id, recall);
        if let Some(writer) = recalled.filter(|writer| self.contains(writer.upload())) {
            return Some(Lease { recalled: true, ..self.leased(writer, claim) });
        }
        let writer = self.engine.store.writer(id).await.ok()?;
        self.contains(writer.upload()).then(|| self.leased(writer, claim))
    }

    /// Asks the current holder of the upload to stop, and waits for it.
    pub(super) async fn lease(&self, id: &UploadId) -> Result<Lease, Error> {
        self.lease_to(id, Recall::Never).await
    }

    async fn lease_to(&self, id: &UploadId, recall: Recall) -> Result<Lease, Error> {
        let engine = &self.engine;
        let claim = engine.claims.claim(id, self.arrival(), engine.takeover_timeout).await?;
        if let Some(writer) = engine.recall(id, recall) {
            return Ok(Lease { recalled: true, ..self.leased(writer, claim) });
        }
        let writer = engine.writer(id, &claim).await?;
        Ok(self.leased(writer, claim))
    }

    pub(super) fn leased(&self, writer: Box<dyn DynWriter>, claim: Claim) -> Lease {
        let (engine, cause) = (Arc::clone(&self.engine), self.cause.clone());
        Lease { engine, cause, writer, recalled: false, claim }
    }
}

/// The part of a record by which a check can tell that the upload has changed, or is another one.
fn state(upload: &Upload) -> (SystemTime, u64, Option<u64>, bool) {
    // A client may have been told meanwhile that all bytes have arrived.
    let told = upload.progress.end_acknowledged;
    (upload.created, upload.offset(), upload.total(), told)
}

impl Lease {
    /// Waits until a newer request asks for the upload, and returns the reason. The newer request
    /// waits for this lease to be dropped, but only for a short time.
    pub fn stopped(&self) -> impl Future<Output = ErrorKind> + Send + use<> {
        self.engine.watch();
        self.claim.stopped()
    }

    /// Returns the record of the upload.
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

    /// Takes the store's lease, if that was left to the first write. The record may be another one
    /// then.
    pub(super) async fn confirmed(mut self) -> Result<Self, Error> {
        if std::mem::take(&mut self.recalled) {
            match self.writer.write(Batch::new(Bytes::new())).await {
                Err(StoreError::Busy | StoreError::Conflict) => {
                    let engine = Arc::clone(&self.engine);
                    self.writer = engine.renewed(self.writer.upload(), &self.claim).await?;
                }
                written => written?,
            }
        }
        Ok(self)
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
        let mut lease = self.confirmed().await?;
        super::detached(async move {
            let mut upload = lease.upload().clone();
            upload.progress.expires = expires;
            lease.writer.commit(Commit::new(Bytes::new(), upload)).await?;
            lease.engine.watches.committed(lease.upload());
            Ok(lease)
        })
        .await
    }

    /// Ends the upload if a crash has interrupted its hand-over, so that the application does not
    /// get it twice. Then this fails with [`ErrorKind::Interrupted`], as all later calls do. The
    /// file stays until the upload expires or is removed.
    ///
    /// Without this an upload whose hand-over was interrupted can be completed again.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`], and the errors of the store.
    pub async fn end_interrupted(self) -> Result<Self, Error> {
        // Another process may have ended since this one has seen the upload.
        let lease = self.confirmed().await?;
        // Who holds an upload that is being handed over holds it until the application answers.
        if lease.upload().status() != Status::Finishing {
            return Ok(lease);
        }
        let Self { engine, mut writer, claim, .. } = lease;
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
        let Self { engine, cause, writer, claim, .. } = self.confirmed().await?;
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
    /// A writer from memory.
    fn recall(&self, id: &UploadId, recall: Recall) -> Option<Box<dyn DynWriter>> {
        if recall == Recall::Never {
            return None;
        }
        let writer = self.store.recall(id)?;
        let upload = writer.upload();
        let lacks_bytes = upload.total() != Some(upload.offset());
        (lacks_bytes == (recall == Recall::ToAppend)).then_some(writer)
    }

    /// Acquires the store's lease of an upload of which another record was remembered. An append
    /// goes on only where it began.
    pub(super) async fn renewed(
        &self,
        remembered: &Upload,
        claim: &Claim,
    ) -> Result<Box<dyn DynWriter>, Error> {
        let writer = self.writer(&remembered.id, claim).await?;
        self.check_open(writer.upload())?;
        check_offset(writer.upload(), remembered.offset())?;
        Ok(writer)
    }

    /// What an append makes of a record, if it began with another one.
    pub(super) fn carry_over(&self, appended: &Upload, now: &Upload) -> Result<Upload, Error> {
        let total = match (now.total(), appended.total()) {
            (Some(total), Some(other)) if total != other => {
                return Err(ErrorKind::TotalMismatch { total }.into());
            }
            (known, added) => known.or(added),
        };
        if let Some(total) = total.filter(|total| *total < appended.offset()) {
            return Err(ErrorKind::TooLong { total }.into());
        }
        let mut upload = now.clone();
        upload.progress.offset = appended.offset();
        upload.progress.total = total;
        upload.progress.status = appended.status();
        upload.progress.end_acknowledged = appended.progress.end_acknowledged;
        upload.progress.expires = self.expiry.after_chunk(&upload, self.now());
        Ok(upload)
    }

    /// Acquires the store's lease. In this process the claim already has the upload to itself,
    /// except that a write of a dropped request may still be running. Another process gets a
    /// hand-off request.
    async fn writer(&self, id: &UploadId, claim: &Claim) -> Result<Box<dyn DynWriter>, Error> {
        self.acquired(id, None, claim).await
    }

    /// Acquires the store's lease of an upload that does not exist yet. If another process is creating
    /// the same one, it gets a hand-off request.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] if it exists by now.
    pub(super) async fn new_writer(
        &self,
        upload: &Upload,
        claim: &Claim,
    ) -> Result<Box<dyn DynWriter>, Error> {
        self.acquired(&upload.id, Some(upload), claim).await
    }

    async fn acquired(
        &self,
        id: &UploadId,
        new: Option<&Upload>,
        claim: &Claim,
    ) -> Result<Box<dyn DynWriter>, Error> {
        let mut requested = false;
        let writer = self.wait_for_writer(id, new, claim, &mut requested).await;
        if requested {
            // If this fails, the request times out by itself.
            drop(self.store.request_handoff(id, false).await);
        }
        writer
    }

    async fn wait_for_writer(
        &self,
        id: &UploadId,
        new: Option<&Upload>,
        claim: &Claim,
        requested: &mut bool,
    ) -> Result<Box<dyn DynWriter>, Error> {
        let deadline = time::deadline(self.takeover_timeout);
        let mut pause = Duration::from_millis(1);
        loop {
            let writer = match new {
                Some(upload) => self.store.create(upload.clone()).await,
                None => self.store.writer(id).await,
            };
            match writer {
                Err(StoreError::Busy) => {}
                Err(StoreError::Conflict | StoreError::Removed { .. }) if new.is_some() => {
                    return Err(ErrorKind::AlreadyExists.into());
                }
                result => return Ok(result?),
            }
            // A status request holds such an upload briefly, too.
            if pause > BRIEF_HOLD {
                if new.is_none() && self.store.load(id).await?.status() == Status::Finishing {
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
            result => {
                result?;
                self.watches.committed(writer.upload());
                return Ok(());
            }
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
