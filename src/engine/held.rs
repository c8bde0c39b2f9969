//! Who holds an upload: in this process by a claim, before all others by the store's lease.

use std::sync::Arc;
use std::time::Duration;

use super::append::{Append, AppendMode, Options};
use super::claim::Claim;
use super::error::{Error, ErrorKind};
use super::uploads::{Engine, Uploads};
use crate::checksum::Running;
use crate::id::UploadId;
use crate::store::{DynWriter, StoreError};
use crate::upload::{Status, Upload};

/// An upload on which nobody else works.
pub(crate) struct Held {
    pub(super) engine: Arc<Engine>,
    pub(super) writer: Box<dyn DynWriter>,
    // Last: whoever comes next must find the lease free.
    pub(super) claim: Claim,
}

impl Uploads {
    /// Holds an upload on which nobody works, in one step: who has nobody to stop need not look
    /// first whether there is a reason to. `None` if somebody does or there is anything else to say.
    pub(crate) async fn hold_idle(&self, id: &UploadId) -> Option<Held> {
        let engine = Arc::clone(&self.engine);
        let Some(claim) = engine.claims.claim_idle(id, self.came()) else {
            // How long it takes to be refused must not tell others that somebody works on it.
            drop(engine.store.load(id).await);
            return None;
        };
        let writer = engine.store.writer(id).await.ok()?;
        let held = Held { engine, writer, claim };
        self.scope.knows(held.upload()).then_some(held)
    }

    /// Asks whoever works on the upload to stop, and waits for it.
    pub(super) async fn hold(&self, id: &UploadId) -> Result<Held, Error> {
        let engine = Arc::clone(&self.engine);
        let claim = engine.claims.claim(id, self.came(), engine.patience).await?;
        let writer = engine.lease(id, &claim).await?;
        Ok(Held { engine, writer, claim })
    }
}

impl Held {
    pub(crate) fn upload(&self) -> &Upload {
        self.writer.upload()
    }

    pub(crate) fn append(
        self,
        at: u64,
        mode: AppendMode,
        limit: Option<u64>,
    ) -> Result<Append, Error> {
        let Self { engine, claim, writer } = self;
        let upload = writer.upload();
        engine.check_offset(upload, at)?;
        let checksum = match &upload.progress.checksum {
            Some(state) => Running::resume(state),
            None => (upload.offset() == 0).then(|| engine.new_checksum()),
        };
        let reservation = engine.ledger.resume(upload);
        let options = Options { mode, new: false, limit, reservation };
        Ok(Append::new(engine, claim, writer, checksum, options))
    }
}

impl Engine {
    /// The store's lease. In this process the claim has made way for it, unless the work of a
    /// dropped request is still on its way to the disk; another process is asked for it.
    async fn lease(&self, id: &UploadId, claim: &Claim) -> Result<Box<dyn DynWriter>, Error> {
        let mut asked = false;
        let lease = self.wait_for_lease(id, claim, &mut asked).await;
        if asked {
            // At worst it is forgotten after a while.
            drop(self.store.request_handoff(id, false).await);
        }
        lease
    }

    async fn wait_for_lease(
        &self,
        id: &UploadId,
        claim: &Claim,
        asked: &mut bool,
    ) -> Result<Box<dyn DynWriter>, Error> {
        let deadline = crate::time::deadline(self.patience);
        let mut pause = Duration::from_millis(1);
        loop {
            match self.store.writer(id).await {
                Err(StoreError::Busy) => {}
                result => return Ok(result?),
            }
            // Whoever asks for the status of such an upload holds it for a moment too.
            if pause > GLIMPSE {
                if self.store.load(id).await?.status() == Status::Finishing {
                    return Err(ErrorKind::Finishing.into());
                }
                if !std::mem::replace(asked, true) {
                    // On a full disk there is no asking, only waiting.
                    drop(self.store.request_handoff(id, true).await);
                }
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(ErrorKind::Busy.into());
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_millis(50)),
                () = claim.stopped() => return Err(claim.why_stopped().into()),
            }
        }
    }
}

const GLIMPSE: Duration = Duration::from_millis(10);
