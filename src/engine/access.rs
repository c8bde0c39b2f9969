//! The uploads that one caller may access.

use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::append::{Append, AppendMode, Origin};
use super::claim::Arrival;
use super::core::Engine;
use super::error::{Error, ErrorKind};
use super::event::Cause;
use super::lease::Recall;
use super::new::NewUpload;
use super::sweep;
use crate::id::UploadId;
use crate::store::{Reader, StoreError};
use crate::upload::{Dialect, Owner, Status, Upload};

/// The shared implementation of the handles.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) engine: Arc<Engine>,
    pub(super) scope: Scope,
    /// When the request being served arrived; `None` means that each call counts as a request of
    /// its own.
    pub(super) arrived: Option<Instant>,
    /// How far apart requests may arrive to count as equally new.
    pub(super) tolerance: Duration,
    pub(super) cause: Cause,
    /// The protocol that the uploads belong to, unless all may be seen.
    pub(super) dialect: Option<Dialect>,
}

#[derive(Clone, Debug)]
pub(super) enum Scope {
    All,
    Of(Option<Owner>),
    /// This upload, and the parts that it is joined from. With the time of its creation, it is not the
    /// next upload that gets the id either.
    One {
        id: UploadId,
        owner: Option<Owner>,
        created: Option<SystemTime>,
    },
}

impl Access {
    pub(super) fn new(engine: Arc<Engine>, scope: Scope) -> Self {
        Self { engine, scope, arrived: None, tolerance: Duration::ZERO, cause: None, dialect: None }
    }

    /// The uploads of the owner of this one.
    pub(super) fn like(engine: &Arc<Engine>, upload: &Upload) -> Self {
        Self::new(Arc::clone(engine), Scope::Of(upload.owner.clone()))
    }

    pub(super) fn arrival(&self) -> Arrival {
        let at = self.arrived.unwrap_or_else(Instant::now);
        Arrival { at, tolerance: self.tolerance }
    }

    /// Starts an upload, or stages bytes that will later be moved to an existing one. An upload with
    /// a key may exist already; then this continues it.
    pub(super) async fn create(&self, new: NewUpload, origin: Origin) -> Result<Append, Error> {
        if origin == Origin::New {
            self.scope.check_creates()?;
        }
        let engine = &self.engine;
        let limit = engine.within_reach(new.limit_within(engine.max_bytes));
        let mut upload = self.new_record(new.clone());
        for _ in 0..MAX_ROUNDS {
            if new.has_key() {
                let before;
                (upload, before) = self.look_up(&new, upload).await?;
                if let Some(before) = before {
                    // Until it is held, the next upload may get its id.
                    let check = |now: Upload| ready(new.check_describes(&upload, &now));
                    let (lease, ()) = self.acquire(&before.id, Recall::Never, check).await?;
                    let mut append = lease.append(AppendMode::AllOrNothing);
                    append.set_limit(limit);
                    return Ok(append);
                }
            }
            match self.begin(&upload, origin, limit).await {
                // It was created in between.
                Err(error) if *error.kind() == ErrorKind::AlreadyExists => {}
                begun => return begun,
            }
        }
        Err(ErrorKind::Busy.into())
    }

    async fn begin(
        &self,
        upload: &Upload,
        origin: Origin,
        limit: Option<u64>,
    ) -> Result<Append, Error> {
        let engine = &self.engine;
        if let (Some(total), Some(limit)) = (upload.total(), limit)
            && total > limit
        {
            return Err(ErrorKind::TooLarge { limit }.into());
        }
        let claim =
            engine.claims.claim(&upload.id, self.arrival(), engine.takeover_timeout).await?;
        let staged = origin == Origin::Staged;
        // One that exists by now has its own place in the quotas.
        let writer = engine.new_writer(upload, &claim).await?;
        let reservation = engine.ledger.open(&*engine.store, upload, staged).await?;
        let lease = self.leased(writer, claim);
        Ok(Append::new(lease, AppendMode::AllOrNothing, origin, limit, reservation))
    }

    /// Returns where the upload stands that was created with the key of this one before.
    pub(super) async fn created_before(&self, new: &NewUpload) -> Result<Option<Upload>, Error> {
        if !new.has_key() {
            return Ok(None);
        }
        let (record, before) = self.look_up(new, self.new_record(new.clone())).await?;
        let Some(before) = before else { return Ok(None) };
        let now = self.status(&before.id).await?;
        new.check_describes(&record, &now)?;
        Ok(Some(now))
    }

    /// Returns the upload that was created with the key of this one before; and the record with
    /// which to create it, if there is none.
    ///
    /// One that has expired is removed on the way. Some stores do not give the id of an upload that
    /// was removed to another one for a while: then the id follows from that and when it was removed.
    pub(super) async fn look_up(
        &self,
        new: &NewUpload,
        mut record: Upload,
    ) -> Result<(Upload, Option<Upload>), Error> {
        for _ in 0..MAX_ROUNDS {
            match self.engine.store.load(&record.id).await {
                Ok(found) if self.engine.is_expired(&found).await? => {
                    sweep::remove(&self.engine, &self.scope, &record.id).await?;
                }
                Ok(found) if !self.contains(&found) => return Err(ErrorKind::KeyReused.into()),
                Ok(found) => {
                    new.check_describes(&record, &found)?;
                    return Ok((record, Some(found)));
                }
                Err(StoreError::NotFound) => return Ok((record, None)),
                Err(StoreError::Removed { at, .. }) => record.id = successor(&record.id, at),
                Err(error) => return Err(self.load_error(&record.id, error).await),
            }
        }
        Err(ErrorKind::Busy.into())
    }

    pub(super) fn new_record(&self, new: NewUpload) -> Upload {
        let now = self.engine.now();
        let owner = match &self.scope {
            Scope::All => None,
            Scope::Of(owner) | Scope::One { owner, .. } => owner.clone(),
        };
        let dialect = self.dialect.unwrap_or(Dialect::Chunked);
        let (expires, computed) =
            (self.engine.expiry.at_creation(now), self.engine.computed_digest());
        let mut upload = new.into_record(owner, dialect, now, expires, computed);
        upload.dialect = Some(dialect).filter(|dialect| *dialect != Dialect::Chunked);
        upload
    }

    pub(super) async fn status(&self, id: &UploadId) -> Result<Upload, Error> {
        let (mut upload, store) = (self.find(id).await?, &self.engine.store);
        let is_ours = self.engine.claims.is_finishing(id);
        if is_ours && upload.status() == Status::Open {
            // Its file is being verified.
            upload.progress.status = Status::Finishing;
        } else if upload.status() == Status::Finishing
            && !is_ours
            && let Ok(writer) = store.writer(id).await
            && self.contains(writer.upload())
        {
            // Nobody holds it: the completion has ended since the record was loaded, or the process
            // that was completing the upload has. Then it can be completed again.
            upload = writer.upload().clone();
            if upload.status() == Status::Finishing {
                upload.progress.status = Status::Open;
            }
        }
        // An upload does not expire while the application has its file.
        if upload.status() != Status::Finishing && self.engine.is_expired(&upload).await? {
            return Err(ErrorKind::Expired.into());
        }
        if upload.status() != Status::Complete {
            // An offset is only valid if the bytes up to it exist.
            drop(store.open(id).await?);
        }
        Ok(upload)
    }

    pub(super) async fn end_append(&self, id: &UploadId) -> Result<Upload, Error> {
        self.find_unexpired(id).await?;
        let (claims, timeout) = (&self.engine.claims, self.engine.takeover_timeout);
        let ended = match claims.end(id, self.arrival(), timeout).await {
            Ok(()) => self.end_elsewhere(id).await,
            Err(kind) => Err(kind.into()),
        };
        match ended {
            // A newer request has the upload, or it cannot grow any more.
            Err(error) if matches!(error.kind(), ErrorKind::Superseded | ErrorKind::Finishing) => {}
            ended => ended?,
        }
        self.status(id).await
    }

    /// Ends an append in another process that shares the store. It keeps what it has committed.
    async fn end_elsewhere(&self, id: &UploadId) -> Result<(), Error> {
        let store = &self.engine.store;
        if !store.capabilities().handoff {
            return Ok(());
        }
        match store.writer(id).await {
            Err(StoreError::Busy) => self.lease(id).await.map(drop),
            // On a disk that cannot be written to, the upload still stands where it does.
            _ => Ok(()),
        }
    }

    pub(super) async fn open(&self, id: &UploadId) -> Result<Reader, Error> {
        self.find_unexpired(id).await?;
        Ok(self.engine.store.open(id).await?)
    }

    pub(super) async fn find_unexpired(&self, id: &UploadId) -> Result<Upload, Error> {
        let upload = self.find(id).await?;
        match self.engine.is_expired(&upload).await? {
            true => Err(ErrorKind::Expired.into()),
            false => Ok(upload),
        }
    }

    pub(super) async fn delete_if_expired(&self, id: &UploadId) -> Result<bool, Error> {
        self.find(id).await?;
        Ok(sweep::remove(&self.engine, &self.scope, id).await?.is_some())
    }

    pub(super) async fn find_open(&self, id: &UploadId) -> Result<Upload, Error> {
        let upload = self.find(id).await?;
        self.engine.check_open(&upload)?;
        Ok(upload)
    }

    /// Whether the caller may access the upload.
    pub(super) fn contains(&self, upload: &Upload) -> bool {
        let own = upload.dialect.unwrap_or(Dialect::Chunked);
        self.scope.contains(upload) && self.dialect.is_none_or(|dialect| dialect == own)
    }

    pub(super) async fn find(&self, id: &UploadId) -> Result<Upload, Error> {
        match self.engine.store.load(id).await {
            Ok(upload) if self.contains(&upload) => Ok(upload),
            Ok(_) => Err(ErrorKind::NotFound.into()),
            Err(error) => Err(self.load_error(id, error).await),
        }
    }

    /// Returns the error for an upload that the store cannot load.
    async fn load_error(&self, id: &UploadId, error: StoreError) -> Error {
        match &error {
            StoreError::Removed { upload, at }
                if self.scope.contains(upload) && upload.is_expired(*at) =>
            {
                ErrorKind::Expired.into()
            }
            StoreError::NotFound | StoreError::Removed { .. }
                if self.engine.swept.contains(id, &self.scope) =>
            {
                ErrorKind::Expired.into()
            }
            StoreError::Damaged { .. } if !self.owns_damaged(id).await => {
                ErrorKind::NotFound.into()
            }
            _ => error.into(),
        }
    }

    /// Whether a damaged upload belongs to the caller. To everybody else it does not exist.
    async fn owns_damaged(&self, id: &UploadId) -> bool {
        let owner = match &self.scope {
            Scope::All => return true,
            Scope::One { id: only, .. } if only != id => return false,
            Scope::Of(owner) | Scope::One { owner, .. } => owner,
        };
        let remains = self.engine.store.remains(id).await.unwrap_or_default();
        match &remains.record {
            Some(record) => self.scope.contains(record),
            // The owner is unknown. Without owners that does not matter.
            None => owner.is_none(),
        }
    }
}

/// The id of the next upload with the same key as one that was removed then.
fn successor(id: &UploadId, removed: SystemTime) -> UploadId {
    let since = removed.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let millis = since.as_millis().to_le_bytes();
    UploadId::derived([b"tower-chunked-upload next 1", id.as_str().as_bytes(), &millis])
}

/// How often to look again for an upload that comes and goes.
const MAX_ROUNDS: usize = 16;

impl Scope {
    pub(super) fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    pub(super) fn contains(&self, upload: &Upload) -> bool {
        let is_part_of = |only| upload.progress.ties().needed_by.contains(only);
        match self {
            Self::One { id, owner, .. } if is_part_of(id) => *owner == upload.owner,
            Self::One { created: Some(created), .. } if *created != upload.created => false,
            _ => self.owns(&upload.id, upload.owner.as_ref()),
        }
    }

    /// Whether it contains the upload with this id, which is nothing that others are joined from.
    pub(super) fn owns(&self, id: &UploadId, whose: Option<&Owner>) -> bool {
        match self {
            Self::All => true,
            Self::Of(owner) => owner.as_ref() == whose,
            Self::One { id: only, owner, .. } => only == id && owner.as_ref() == whose,
        }
    }

    /// Fails if no upload may begin.
    pub(super) fn check_creates(&self) -> Result<(), ErrorKind> {
        match self {
            Self::One { .. } => Err(ErrorKind::NotFound),
            Self::All | Self::Of(_) => Ok(()),
        }
    }
}
