//! Uploads that are joined from others.
//!
//! A joined upload names its parts and has no bytes of its own. Each part names the uploads that
//! need it: as long as one of them exists, its bytes stay, even if the part has expired or was
//! cancelled. A part without its last byte also names the upload that waits for it. The joined
//! upload is committed first, so whatever a part names either exists or is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::{JoinError, JoinSet};

use super::access::{Access, Scope};
use super::core::Engine;
use super::detached;
use super::error::{Error, ErrorKind};
use super::event::Event;
use super::lease::Lease;
use super::new::NewUpload;
use crate::checksum::Running;
use crate::id::UploadId;
use crate::store::{Commit, DynWriter, StoreError};
use crate::task;
use crate::upload::{Kind, Part, Status, Upload};

impl Access {
    /// Joins parts, on a task: an upload that only some of its parts know of could not be joined
    /// again.
    pub(super) async fn join(&self, new: NewUpload, parts: &[UploadId]) -> Result<Lease, Error> {
        if parts.is_empty() {
            return Err(ErrorKind::NotFound.into());
        }
        let (access, ids) = (self.clone(), parts.to_vec());
        detached(async move {
            let new = new.joined_from(ids.iter().map(|id| Part::new(*id, None)).collect());
            let record = access.new_record(new);
            if let Some(before) = access.joined_before(&record).await? {
                return access.lease(&before).await?.pin_parts(&access).await;
            }
            access.create_joined(record).await
        })
        .await
    }

    /// Returns the upload that was joined from the same parts with the same description: a client
    /// that did not get the answer joins them again.
    async fn joined_before(&self, record: &Upload) -> Result<Option<UploadId>, Error> {
        let Some(first) = record.parts().first() else { return Ok(None) };
        let part = self.find_unexpired(&first.id).await?;
        for id in part.progress.needed_by {
            let Ok(upload) = self.find_unexpired(&id).await else { continue };
            let same = ids(&upload).eq(ids(record))
                && upload.metadata == record.metadata
                && upload.parts_as_sent == record.parts_as_sent
                && upload.fields == record.fields;
            if same {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    async fn create_joined(&self, record: Upload) -> Result<Lease, Error> {
        let engine = &self.engine;
        let claim =
            engine.claims.claim(&record.id, self.arrival(), engine.takeover_timeout).await?;
        let mut writer = engine.store.create(record.clone()).await?;
        writer.commit(Commit::new(Bytes::new(), record)).await?;
        let created = writer.upload().clone();
        let joined = self.leased(writer, claim).pin_parts(self).await;
        match &joined {
            Ok(lease) => engine.tell(Event::Created(lease.upload().clone()), &self.cause).await,
            // Nobody knows it.
            Err(_) => drop(self.lease(&created.id).await?.writer.remove().await),
        }
        joined
    }

    /// Notes in a part that an upload needs it, and waits for it if bytes are missing.
    async fn pin(&self, part: &UploadId, joined: &UploadId) -> Result<(), Error> {
        // First, so that a request that is refused stops nobody.
        if self.find_unexpired(part).await?.kind != Kind::Part {
            return Err(ErrorKind::NotFound.into());
        }
        let Lease { engine, mut writer, claim: _claim, .. } = self.lease(part).await?;
        let mut upload = writer.upload().clone();
        let complete = has_all_bytes(&upload);
        let progress = &mut upload.progress;
        engine.forget_removed(&mut progress.needed_by).await?;
        let awaited_by = progress.awaited_by.filter(|id| progress.needed_by.contains(id));
        let taken = !complete && awaited_by.is_some_and(|id| id != *joined);
        if !progress.needed_by.contains(joined) {
            if taken || progress.needed_by.len() >= MAX_JOINED {
                return Err(ErrorKind::Busy.into());
            }
            progress.needed_by.push(*joined);
        }
        progress.awaited_by = if complete { awaited_by } else { Some(*joined) };
        commit_changed(&engine, &mut *writer, upload).await
    }

    /// Notes in each part that the application has taken a file with it.
    ///
    /// This is best effort: a part that does not know stays reserved until it expires, and the
    /// client finds out when it sends the last byte again.
    pub(super) async fn release_parts(&self, joined: &Upload) {
        let release = |access: Self, part, joined| async move {
            drop(access.release(&part, &joined).await);
            Ok(())
        };
        drop(self.for_each_part(joined, release).await);
    }

    async fn release(&self, part: &UploadId, joined: &UploadId) -> Result<(), Error> {
        let Lease { engine, mut writer, claim: _claim, .. } = self.lease(part).await?;
        let mut upload = writer.upload().clone();
        upload.progress.status = Status::Complete;
        upload.progress.awaited_by = upload.progress.awaited_by.filter(|id| id != joined);
        commit_changed(&engine, &mut *writer, upload).await?;
        engine.ledger.close(part);
        Ok(())
    }

    /// Does something with each part, and with some at the same time, since a store may be far
    /// away.
    async fn for_each_part<F>(
        &self,
        joined: &Upload,
        work: impl Fn(Self, UploadId, UploadId) -> F,
    ) -> Result<(), Error>
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let mut running = JoinSet::new();
        for part in distinct(joined) {
            if running.len() == AT_ONCE {
                ended(running.join_next().await)?;
            }
            running.spawn(work(self.clone(), part, joined.id));
        }
        while !running.is_empty() {
            ended(running.join_next().await)?;
        }
        Ok(())
    }
}

impl Lease {
    /// For a part that has all its bytes: returns the upload that has waited for it, if that now
    /// has all its parts and can be completed. The part is complete when this returns `None`, or
    /// when the application has taken that upload.
    ///
    /// # Errors
    /// [`ErrorKind::Finishing`], [`ErrorKind::Busy`] and [`ErrorKind::Superseded`] if another
    /// request is at work on that upload, [`ErrorKind::TooLarge`] if its parts are larger than it
    /// may be, and the errors of the store.
    pub async fn end_part(mut self) -> Result<Option<Self>, Error> {
        let Some(joined) = self.upload().progress.awaited_by else { return Ok(None) };
        let access = Access::new(Arc::clone(&self.engine), self.owner());
        let access = Access { cause: self.cause.clone(), ..access };
        let waits = match access.find_unexpired(&joined).await {
            Ok(upload) if upload.status() == Status::Complete => false,
            Ok(upload) => self.engine.parts(&upload).await?.values().all(has_all_bytes),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::Expired => false,
                _ => return Err(error),
            },
        };
        if waits {
            // The application gets the parts, so they are held no longer.
            drop(self);
            let lease = access.lease(&joined).await?.gather().await?;
            return match lease.upload().status() {
                Status::Complete => Err(ErrorKind::Busy.into()),
                _ => Ok(Some(lease)),
            };
        }
        let mut upload = self.upload().clone();
        upload.progress.awaited_by = None;
        commit_changed(&self.engine, &mut *self.writer, upload).await?;
        Ok(None)
    }

    fn owner(&self) -> Scope {
        Scope::Of(self.upload().owner.clone())
    }

    async fn pin_parts(self, access: &Access) -> Result<Self, Error> {
        if self.upload().status() == Status::Complete {
            return Ok(self);
        }
        let pin = |access: Access, part, joined| async move { access.pin(&part, &joined).await };
        access.for_each_part(self.upload(), pin).await?;
        self.gather().await
    }

    /// Makes the parts the bytes of this upload, if all of them are complete.
    async fn gather(mut self) -> Result<Self, Error> {
        let mut upload = self.upload().clone();
        if has_all_bytes(&upload) {
            return Ok(self);
        }
        let parts = self.engine.parts(&upload).await?;
        let total = total(&upload, |part| parts.get(part)?.total());
        let limit = self.engine.within_reach(upload.max_bytes.or(self.engine.max_bytes));
        if let Some(limit) =
            limit.filter(|limit| total.is_some_and(|total| total > (*limit).into()))
        {
            return Err(ErrorKind::TooLarge { limit }.into());
        }
        upload.progress.total = total.and_then(|total| u64::try_from(total).ok());
        if parts.values().all(has_all_bytes) {
            let size = |id| Part::new(id, parts.get(&id).map(Upload::offset));
            upload.kind = Kind::Joined(ids(&upload).map(size).collect());
            upload.progress.offset = upload.total().unwrap_or_default();
            upload.progress.expires = self.engine.expiry.after_chunk(&upload, self.engine.now());
            upload.progress.checksum = checksum(&upload, &parts).map(|sum| sum.save());
        }
        commit_changed(&self.engine, &mut *self.writer, upload).await?;
        Ok(self)
    }
}

impl Engine {
    /// Whether there is an upload that is joined from this one.
    pub(super) async fn is_needed(&self, upload: &Upload) -> Result<bool, StoreError> {
        let mut needed_by = upload.progress.needed_by.clone();
        self.forget_removed(&mut needed_by).await?;
        Ok(!needed_by.is_empty())
    }

    /// Whether the time of an upload is up. One that waits for a part lives as long as that.
    pub(super) async fn is_expired(&self, upload: &Upload) -> Result<bool, StoreError> {
        if !upload.is_expired(self.now()) || !upload.is_joined() || has_all_bytes(upload) {
            return Ok(upload.is_expired(self.now()));
        }
        for part in distinct(upload) {
            let awaits = |part: &Upload| part.progress.awaited_by == Some(upload.id);
            match self.store.load(&part).await {
                Ok(part) if awaits(&part) && !part.is_expired(self.now()) => return Ok(false),
                Ok(_) | Err(StoreError::NotFound | StoreError::Removed { .. }) => {}
                Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn forget_removed(&self, ids: &mut Vec<UploadId>) -> Result<(), StoreError> {
        for id in std::mem::take(ids) {
            match self.store.load(&id).await {
                Err(StoreError::NotFound | StoreError::Removed { .. }) => {}
                Ok(_) | Err(StoreError::Damaged { .. }) => ids.push(id),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Loads the parts of an upload.
    async fn parts(&self, joined: &Upload) -> Result<BTreeMap<UploadId, Upload>, StoreError> {
        let mut parts = BTreeMap::new();
        for part in distinct(joined) {
            parts.insert(part, self.store.load(&part).await?);
        }
        Ok(parts)
    }
}

/// The parts of an upload, each once.
pub(super) fn distinct(joined: &Upload) -> BTreeSet<UploadId> {
    ids(joined).collect()
}

fn ids(joined: &Upload) -> impl Iterator<Item = UploadId> {
    joined.parts().iter().map(|part| part.id)
}

/// The sum of the sizes of all parts, as often as they occur.
fn total(joined: &Upload, size: impl Fn(&UploadId) -> Option<u64>) -> Option<u128> {
    joined.parts().iter().map(|part| size(&part.id).map(u128::from)).sum()
}

/// Returns the checksum of the whole file, if it can be computed from those of its parts.
fn checksum(joined: &Upload, parts: &BTreeMap<UploadId, Upload>) -> Option<Running> {
    let mut sums = ids(joined).map(|id| {
        let part = parts.get(&id)?;
        Some((Running::resume(part.progress.checksum.as_ref()?)?, part.offset()))
    });
    let (first, _) = sums.next()??;
    sums.try_fold(first, |sum, next| {
        let (next, length) = next?;
        sum.combine(&next, length)
    })
}

fn has_all_bytes(upload: &Upload) -> bool {
    upload.total() == Some(upload.offset())
}

fn ended(task: Option<Result<Result<(), Error>, JoinError>>) -> Result<(), Error> {
    task.and_then(task::joined).unwrap_or_else(|| Err(ErrorKind::Store.into()))
}

async fn commit_changed(
    engine: &Engine,
    writer: &mut dyn DynWriter,
    upload: Upload,
) -> Result<(), Error> {
    if *writer.upload() == upload {
        return Ok(());
    }
    engine.commit(writer, Commit::new(Bytes::new(), upload)).await
}

/// How many parts are changed at the same time.
const AT_ONCE: usize = 16;
/// How many uploads may be joined from one part at the same time.
const MAX_JOINED: usize = 8;
