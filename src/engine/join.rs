//! Uploads that are joined from others.
//!
//! A joined upload names its parts and has no bytes of its own. Each part names the uploads that
//! need it: as long as one of them exists and was not persisted, its bytes stay, even if the part
//! has expired or was cancelled. A part without its last byte also names the upload that waits for
//! it. The joined upload is committed first, so whatever a part names either exists or is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::{JoinError, JoinSet};

use super::access::{Access, Scope};
use super::builder::Expiry;
use super::core::Engine;
use super::detached;
use super::error::{Error, ErrorKind};
use super::event::Event;
use super::lease::Lease;
use super::new::NewUpload;
use super::sweep;
use crate::checksum::Running;
use crate::id::UploadId;
use crate::log;
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
        self.scope.check_creates()?;
        let (access, ids) = (self.clone(), parts.to_vec());
        detached(async move {
            let new = new.joined_from(ids.iter().map(|id| Part::new(*id, None)).collect());
            let mut record = access.new_record(new.clone());
            if !new.has_key() {
                return match access.joined_before(&record).await? {
                    Some(before) => access.join_again(&before).await,
                    None => access.create_joined(record).await,
                };
            }
            for _ in 0..MAX_ROUNDS {
                let before;
                (record, before) = access.look_up(&new, record).await?;
                if let Some(before) = before {
                    return access.join_again(&before.id).await;
                }
                match access.create_joined(record.clone()).await {
                    // It was created in between, perhaps with other parts.
                    Err(error)
                        if matches!(
                            error.kind(),
                            ErrorKind::AlreadyExists | ErrorKind::Superseded
                        ) => {}
                    created => return created,
                }
            }
            Err(ErrorKind::Busy.into())
        })
        .await
    }

    /// Continues with an upload that was joined before, perhaps by a request that still does it.
    async fn join_again(&self, joined: &UploadId) -> Result<Lease, Error> {
        let again = async {
            let mut lease = self.lease(joined).await?;
            if lease.upload().status() != Status::Complete {
                self.pin_all(lease.upload()).await?;
                lease.gather().await?;
            }
            Ok(lease)
        };
        again.await.map_err(|error: Error| match error.kind() {
            // That request could not join it after all.
            ErrorKind::NotFound => ErrorKind::Busy.into(),
            _ => error,
        })
    }

    /// Returns the upload that was joined from the same parts with the same description: a client
    /// that did not get the answer joins them again.
    async fn joined_before(&self, record: &Upload) -> Result<Option<UploadId>, Error> {
        let Some(first) = record.parts().first() else { return Ok(None) };
        let part = self.find_unexpired(&first.id).await?;
        self.same_among(&part.progress.ties().needed_by, record).await
    }

    async fn same_among(
        &self,
        joined: &[UploadId],
        record: &Upload,
    ) -> Result<Option<UploadId>, Error> {
        for id in joined {
            let Ok(upload) = self.find_unexpired(id).await else { continue };
            let is_other = record.creation.is_some() && upload.id != record.id;
            let same = !is_other
                && ids(&upload).eq(ids(record))
                && upload.metadata == record.metadata
                && upload.parts_as_sent == record.parts_as_sent
                && upload.fields == record.fields;
            if same {
                return Ok(Some(*id));
            }
        }
        Ok(None)
    }

    async fn create_joined(&self, record: Upload) -> Result<Lease, Error> {
        let engine = &self.engine;
        let claim =
            engine.claims.claim(&record.id, self.arrival(), engine.takeover_timeout).await?;
        let mut writer = engine.new_writer(&record, &claim).await?;
        writer.commit(Commit::new(Bytes::new(), record)).await?;
        let mut lease = self.leased(writer, claim);
        let joined = async {
            if let Some(before) = self.pin_first(lease.upload()).await? {
                return Ok(Some(before));
            }
            self.pin_all(lease.upload()).await?;
            lease.gather().await?;
            Ok(None)
        };
        match joined.await {
            Ok(None) => {
                engine.tell(Event::Created(lease.upload().clone()), &self.cause).await;
                Ok(lease)
            }
            Ok(Some(before)) => {
                lease.remove().await;
                self.join_again(&before).await
            }
            Err(error) => {
                lease.remove().await;
                Err(error)
            }
        }
    }

    /// Notes in the first part that an upload needs it, before all other parts: whoever joins the
    /// same parts again, at the same time or after a crash, looks there.
    ///
    /// If another request has come first, this returns its upload and notes nothing.
    async fn pin_first(&self, joined: &Upload) -> Result<Option<UploadId>, Error> {
        let Some(first) = joined.parts().first() else { return Ok(None) };
        self.pin(&first.id, &joined.id, Some(joined)).await
    }

    async fn pin_all(&self, joined: &Upload) -> Result<(), Error> {
        let pin = |access: Self, part, joined| async move {
            access.pin(&part, &joined, None).await.map(drop)
        };
        self.for_each_part(joined, pin).await
    }

    /// Notes in a part that an upload needs it, and waits for it if bytes are missing; unless there
    /// is an upload already that is the same as this `record`.
    async fn pin(
        &self,
        part: &UploadId,
        joined: &UploadId,
        record: Option<&Upload>,
    ) -> Result<Option<UploadId>, Error> {
        for _ in 0..MAX_ROUNDS {
            match self.try_pin(part, joined, record).await {
                Err(error) if has_changed(&error) => {}
                pinned => return pinned,
            }
        }
        Err(ErrorKind::Busy.into())
    }

    async fn try_pin(
        &self,
        part: &UploadId,
        joined: &UploadId,
        record: Option<&Upload>,
    ) -> Result<Option<UploadId>, Error> {
        // First, so that a request that is refused, or that has been here before, stops nobody.
        let upload = self.find_unexpired(part).await?;
        if upload.kind != Kind::Part {
            return Err(ErrorKind::NotFound.into());
        }
        let ties = upload.progress.ties();
        let waits = has_all_bytes(&upload) || ties.awaited_by == Some(*joined);
        if waits && ties.needed_by.contains(joined) {
            return Ok(None);
        }
        let Lease { engine, mut writer, claim: _claim, .. } = self.lease(part).await?;
        let mut upload = writer.upload().clone();
        let complete = has_all_bytes(&upload);
        let mut ties = upload.progress.ties().clone();
        engine.forget_removed(&mut ties.needed_by).await?;
        if let Some(record) = record
            && let Some(same) = self.same_among(&ties.needed_by, record).await?
        {
            return Ok(Some(same));
        }
        let awaited_by = ties.awaited_by.filter(|id| ties.needed_by.contains(id));
        if !ties.needed_by.contains(joined) {
            let taken = match awaited_by {
                // One that has expired waits for nothing, even if no sweep has removed it yet.
                Some(other) if !complete => self.find_waiting(&other).await?.is_some(),
                _ => false,
            };
            if taken || ties.needed_by.len() >= MAX_JOINED {
                return Err(ErrorKind::Busy.into());
            }
            ties.needed_by.push(*joined);
        }
        let waiting = if complete { awaited_by } else { Some(*joined) };
        if std::mem::replace(&mut ties.awaited_by, waiting) != waiting {
            // Its end was said for the upload that has waited before, and counts no more.
            ties.ended_at = None;
        }
        upload.progress.change_ties(|old| *old = ties);
        commit_changed(&engine, &mut *writer, upload).await?;
        Ok(None)
    }

    /// Returns the joined upload, unless it needs its parts no more.
    async fn find_waiting(&self, joined: &UploadId) -> Result<Option<Upload>, Error> {
        match self.find_unexpired(joined).await {
            Ok(upload) => Ok(Some(upload).filter(|it| it.status() != Status::Complete)),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::Expired => Ok(None),
                _ => Err(error),
            },
        }
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
        if !upload.progress.ties().needed_by.contains(joined) {
            // It has got the id of the part by its key.
            return Ok(());
        }
        if let Some(other) = upload.progress.ties().awaited_by.filter(|id| id != joined)
            && self.find_waiting(&other).await?.is_some()
        {
            // Its last byte counts when the application has taken that file.
            return Ok(());
        }
        upload.progress.change_ties(|ties| (ties.awaited_by, ties.ended_at) = (None, None));
        upload.progress.total = Some(upload.offset());
        upload.progress.status = Status::Complete;
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
            running.spawn(log::in_span(work(self.clone(), part, joined.id)));
        }
        while !running.is_empty() {
            ended(running.join_next().await)?;
        }
        Ok(())
    }
}

impl Lease {
    /// Ends a part that has all its bytes, and returns the upload that has waited for it, if that
    /// upload now has all its parts and can be completed. The part is complete when this returns
    /// `None`, or when the application has taken that upload.
    ///
    /// The total of a part that has none is its offset, which is noted only when it is complete.
    /// Until then the record has it in [`Ties::ended_at`](crate::Ties::ended_at).
    ///
    /// # Errors
    /// [`ErrorKind::Finishing`], [`ErrorKind::Busy`] and [`ErrorKind::Superseded`] if another
    /// request is at work on that upload, [`ErrorKind::TooLarge`] if its parts are larger than it
    /// may be, and the errors of the store.
    pub async fn end_part(mut self) -> Result<Option<Self>, Error> {
        self = self.confirmed().await?;
        let mut part = self.upload().clone();
        let end = part.offset();
        let Some(joined) = part.progress.ties().awaited_by else {
            part.progress.total = Some(end);
            commit_changed(&self.engine, &mut *self.writer, part).await?;
            return Ok(None);
        };
        if part.total().is_none() {
            // Before the look: of two parts that end at the same time, at least one sees that the
            // other has ended.
            part.progress.change_ties(|ties| ties.ended_at = Some(end));
            match commit_changed(&self.engine, &mut *self.writer, part.clone()).await {
                Err(error) if *error.kind() == ErrorKind::AlreadyComplete => return Ok(None),
                committed => committed?,
            }
        }
        let access = Access::like(&self.engine, &part);
        let access = Access { cause: self.cause.clone(), ..access };
        let waits = match access.find_waiting(&joined).await? {
            Some(upload) => match self.engine.parts(&upload).await {
                Ok(parts) => parts.values().all(has_ended),
                // One is gone, so the others wait in vain.
                Err(StoreError::NotFound | StoreError::Removed { .. }) => false,
                Err(error) => return Err(error.into()),
            },
            None => false,
        };
        if waits {
            // The application gets the parts, so they are held no longer.
            drop(self);
            let gathered = async {
                let mut lease = access.lease(&joined).await?;
                lease.gather_for(Some(&part)).await?;
                Ok(lease)
            };
            let lease = gathered.await.map_err(|error: Error| match error.kind() {
                // It was removed in between.
                ErrorKind::NotFound => ErrorKind::Busy.into(),
                _ => error,
            })?;
            return match lease.upload().status() {
                Status::Complete => Err(ErrorKind::Busy.into()),
                _ => Ok(Some(lease)),
            };
        }
        part.progress.total = Some(end);
        part.progress.change_ties(|ties| (ties.awaited_by, ties.ended_at) = (None, None));
        match commit_changed(&self.engine, &mut *self.writer, part).await {
            // On another node the application has taken the file in between.
            Err(error) if *error.kind() == ErrorKind::AlreadyComplete => Ok(None),
            committed => committed.map(|()| None),
        }
    }

    /// Removes an upload that could not be joined, unless another node has gone on with it.
    async fn remove(self) {
        let Self { writer, claim: _claim, .. } = self;
        drop(writer.remove().await);
    }

    async fn gather(&mut self) -> Result<(), Error> {
        self.gather_for(None).await
    }

    /// Makes the parts the bytes of this upload, if all of them have ended. Fails if that is so
    /// already and this `last` one has grown since.
    async fn gather_for(&mut self, last: Option<&Upload>) -> Result<(), Error> {
        let mut upload = self.upload().clone();
        if has_all_bytes(&upload) {
            return last.map_or(Ok(()), |part| check_size(&upload, part));
        }
        let parts = self.engine.parts(&upload).await?;
        let total = total(&upload, |part| end_of(parts.get(part)?));
        let limit = self.engine.within_reach(upload.max_bytes.or(self.engine.max_bytes));
        if let Some(limit) =
            limit.filter(|limit| total.is_some_and(|total| total > (*limit).into()))
        {
            return Err(ErrorKind::TooLarge { limit }.into());
        }
        upload.progress.total = total.and_then(|total| u64::try_from(total).ok());
        if parts.values().all(has_ended) {
            let size = |id| Part::new(id, parts.get(&id).map(Upload::offset));
            upload.kind = Kind::Joined(ids(&upload).map(size).collect());
            upload.progress.offset = upload.total().unwrap_or_default();
            upload.progress.expires = self.engine.expiry.after_chunk(&upload, self.engine.now());
            upload.progress.checksum = checksum(&upload, &parts).map(|sum| sum.save());
        }
        match commit_changed(&self.engine, &mut *self.writer, upload).await {
            Err(error) if has_changed(&error) => Err(ErrorKind::Busy.into()),
            committed => committed,
        }
    }
}

impl Engine {
    /// Whether there is an upload that is joined from this one.
    pub(super) async fn is_needed(&self, upload: &Upload) -> Result<bool, StoreError> {
        for id in &upload.progress.ties().needed_by {
            match self.store.load(id).await {
                Ok(joined) if joined.progress.ties().persisted => {}
                Err(StoreError::NotFound | StoreError::Removed { .. }) => {}
                Ok(_) | Err(StoreError::Damaged { .. }) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Removes the parts that have expired or were cancelled, and were kept for this upload. If this
    /// fails, a sweep does it.
    pub(super) async fn remove_expired_parts(self: &Arc<Self>, joined: &Upload) {
        for part in distinct(joined) {
            drop(sweep::remove(self, &Scope::All, &part).await);
        }
    }

    /// Whether the time of an upload is up. If chunks prolong it, one that waits for a part lives as
    /// long as that.
    pub(super) async fn is_expired(&self, upload: &Upload) -> Result<bool, StoreError> {
        let prolonged = matches!(self.expiry, Expiry::AfterLastChunk(_));
        let waits = prolonged && upload.is_joined() && !has_all_bytes(upload);
        if !upload.is_expired(self.now()) || !waits {
            return Ok(upload.is_expired(self.now()));
        }
        for part in distinct(upload) {
            let awaits = |part: &Upload| part.progress.ties().awaited_by == Some(upload.id);
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

/// Fails if a part has grown since its total was noted, which only its own client can have done.
fn check_size(joined: &Upload, part: &Upload) -> Result<(), Error> {
    let noted = joined.parts().iter().find(|it| it.id == part.id).and_then(|it| it.size);
    match noted.filter(|size| *size != part.offset()) {
        Some(total) => Err(ErrorKind::TooLong { total }.into()),
        None => Ok(()),
    }
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

/// Returns where a part ends, once that is known. If its client has only said so, that does not
/// count any more when the part has grown.
fn end_of(part: &Upload) -> Option<u64> {
    let ended_at = part.progress.ties().ended_at.filter(|end| *end == part.offset());
    part.total().or(ended_at)
}

fn has_ended(part: &Upload) -> bool {
    end_of(part) == Some(part.offset())
}

/// Whether another node has added bytes to an upload, or has completed it, before a commit.
fn has_changed(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::OffsetMismatch { .. } | ErrorKind::AlreadyComplete)
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
/// How often a part that another node changes in between is looked at again.
const MAX_ROUNDS: usize = 8;
/// How many uploads may be joined from one part at the same time.
const MAX_JOINED: usize = 8;
