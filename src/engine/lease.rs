//! The right to change one upload: in this process by a claim, before all others by the store's lease.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::access::Access;
use super::append::{Append, AppendMode};
use super::claim::Claim;
use super::core::Engine;
use super::error::{Error, ErrorKind};
use super::event::{Cause, Event};
use crate::id::UploadId;
use crate::store::{Commit, DynWriter, Handover, StoreError};
use crate::time;
use crate::upload::{Status, Upload};

/// An upload that nobody else can change until this is dropped, or until a newer request asks for it.
///
/// Everything that changes an upload begins with
/// [`acquire`](crate::OwnerUploads::acquire), and goes on with the methods of what that gives, one after
/// the other and with nobody in between:
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
    // Last: whoever comes next must find the lease free.
    pub(super) claim: Claim,
}

impl Access {
    /// Acquires an upload that is open and that the check lets pass.
    ///
    /// An idle upload is leased at once, and checked under the lease. Of one that somebody works on the
    /// record is checked first: what is refused stops nobody. A check that takes its time, or has its
    /// own way with the upload, never finds it held. What it has not seen is checked again.
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
        loop {
            let (seen, passed) = match lease.take() {
                Some(lease) => {
                    let seen = lease.upload().clone();
                    self.engine.check_open(&seen).map_err(Error::from)?;
                    let mut checking = pin!(check(seen.clone()));
                    match poll_fn(|cx| Poll::Ready(checking.as_mut().poll(cx))).await {
                        Poll::Ready(passed) => return Ok((lease, passed?)),
                        Poll::Pending => drop(lease),
                    }
                    (seen, checking.await?)
                }
                None => {
                    let seen = self.find_open(id).await?;
                    (seen.clone(), check(seen).await?)
                }
            };
            let held = self.lease(id).await?;
            if *held.upload() == seen {
                return Ok((held, passed));
            }
            lease = Some(held);
        }
    }

    /// Leases an upload on which nobody works, in one hop. `None` if somebody does, or if there is
    /// anything else to say.
    async fn try_lease(&self, id: &UploadId) -> Option<Lease> {
        let Some(claim) = self.engine.claims.try_claim(id, self.came()) else {
            // How long it takes to be refused must not tell others that somebody works on it.
            drop(self.engine.store.load(id).await);
            return None;
        };
        let writer = self.engine.store.writer(id).await.ok()?;
        self.scope.knows(writer.upload()).then(|| self.leased(writer, claim))
    }

    /// Asks whoever works on the upload to stop, and waits for it.
    async fn lease(&self, id: &UploadId) -> Result<Lease, Error> {
        let engine = &self.engine;
        let claim = engine.claims.claim(id, self.came(), engine.takeover_timeout).await?;
        let writer = engine.writer(id, &claim).await?;
        Ok(self.leased(writer, claim))
    }

    fn leased(&self, writer: Box<dyn DynWriter>, claim: Claim) -> Lease {
        let (engine, cause) = (Arc::clone(&self.engine), self.cause.clone());
        Lease { engine, cause, writer, claim }
    }
}

impl Lease {
    /// The record of the upload.
    pub fn upload(&self) -> &Upload {
        self.writer.upload()
    }

    /// Adds bytes behind those that the upload has.
    pub fn append(self, mode: AppendMode) -> Append {
        Append::resume(self, mode)
    }

    /// Sets when the upload expires, `None` for never. With a time that has come it is refused from
    /// now on, and the next sweep removes it.
    ///
    /// Where each chunk prolongs an upload's life ([`Expiry`](crate::Expiry)), the next one does so
    /// again.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn set_expires(self, expires: impl Into<Option<SystemTime>>) -> Result<Self, Error> {
        let expires = expires.into().map(time::to_millis);
        let Self { engine, cause, mut writer, claim } = self;
        let change = tokio::spawn(async move {
            let mut upload = writer.upload().clone();
            upload.progress.expires = expires;
            writer.commit(Commit::new(Bytes::new(), upload)).await?;
            Ok(Self { engine, cause, writer, claim })
        });
        super::joined(change).await
    }

    /// Removes the upload and its bytes; gives its last record.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn cancel(self) -> Result<Upload, Error> {
        let Self { engine, cause, writer, claim } = self;
        let removal = tokio::spawn(async move {
            let upload = writer.upload().clone();
            writer.remove().await?;
            engine.ledger.close(&upload.id);
            engine.tell(Event::Cancelled(upload.clone()), &cause).await;
            drop(claim);
            Ok(upload)
        });
        super::joined(removal).await
    }
}

impl Engine {
    /// The store's lease. In this process the claim has made way for it, unless the work of a
    /// dropped request is still on its way to the disk; another process is asked for it.
    async fn writer(&self, id: &UploadId, claim: &Claim) -> Result<Box<dyn DynWriter>, Error> {
        let mut asked = false;
        let writer = self.wait_for_writer(id, claim, &mut asked).await;
        if asked {
            // At worst it is forgotten after a while.
            drop(self.store.request_handoff(id, false).await);
        }
        writer
    }

    async fn wait_for_writer(
        &self,
        id: &UploadId,
        claim: &Claim,
        asked: &mut bool,
    ) -> Result<Box<dyn DynWriter>, Error> {
        let deadline = time::deadline(self.takeover_timeout);
        let mut pause = Duration::from_millis(1);
        loop {
            match self.store.writer(id).await {
                Err(StoreError::Busy) => {}
                result => return Ok(result?),
            }
            // Whoever asks for the status of such an upload holds it for a moment too.
            if pause > MOMENT {
                if self.store.load(id).await?.status() == Status::Finishing {
                    return Err(ErrorKind::Finishing.into());
                }
                if self.store.capabilities().handoff && !std::mem::replace(asked, true) {
                    // On a full disk there is no asking, only waiting.
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

    /// Commits a record without bytes.
    pub(super) async fn note(
        &self,
        writer: &mut dyn DynWriter,
        upload: Upload,
        handover: Handover,
    ) -> Result<(), Error> {
        let before = writer.upload().clone();
        let commit = Commit::new(Bytes::new(), upload).with_handover(handover);
        match writer.commit(commit).await {
            Err(error) => Err(self.overtaken(&before, error).await),
            Ok(()) => Ok(()),
        }
    }

    /// Why a commit failed that began with this record. Where another node was faster, the error says
    /// what that has made of the upload.
    pub(super) async fn overtaken(&self, before: &Upload, error: StoreError) -> Error {
        if !matches!(error, StoreError::Conflict) {
            return error.into();
        }
        match self.store.load(&before.id).await {
            Err(error) => error.into(),
            Ok(now) => match self.check_offset(&now, before.offset()) {
                Err(error) => error,
                Ok(()) if now.status() == Status::Finishing => ErrorKind::Finishing.into(),
                Ok(()) => StoreError::Conflict.into(),
            },
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("upload", &self.upload().id).finish_non_exhaustive()
    }
}

/// How long a lease may be held in passing.
const MOMENT: Duration = Duration::from_millis(10);
