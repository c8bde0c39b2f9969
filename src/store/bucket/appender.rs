//! The next commit of an upload, made by one writer.

use std::sync::Arc;
use std::time::Duration;

use object_store::PutPayload;
use tokio_util::task::TaskTracker;

use super::clock::Moment;
use super::entry::{Entry, Moved};
use super::log::{CommitLog, Tail};
use super::objects::Context;
use super::snapshot::{Snapshot, Snapshots};
use super::tasks;
use crate::id::UploadId;
use crate::store::{Result, StoreError};
use crate::upload::Upload;

/// The log of an upload as its writer has read it. The first to append to it makes the next commit.
pub(super) struct Appender {
    pub(super) id: UploadId,
    snapshots: Arc<Snapshots>,
    tasks: TaskTracker,
    begun: Moment,
    /// `None` until the first commit.
    snapshot: Option<Snapshot>,
    /// Whether a first commit was tried, which may come true later.
    pub(super) tried: bool,
}

impl Appender {
    /// For an upload that has no commit yet, or of which this is the last one.
    pub(super) fn new(
        snapshots: &Arc<Snapshots>,
        tasks: &TaskTracker,
        id: UploadId,
        snapshot: Option<Snapshot>,
    ) -> Self {
        let begun = snapshots.log.clock.moment();
        let (snapshots, tasks) = (Arc::clone(snapshots), tasks.clone());
        Self { id, snapshots, tasks, begun, snapshot, tried: false }
    }

    fn log(&self) -> &CommitLog {
        &self.snapshots.log
    }

    pub(super) fn is_new(&self) -> bool {
        self.snapshot.is_none()
    }

    pub(super) fn tail(&self) -> Option<&Tail> {
        self.snapshot.as_ref().map(|snapshot| &snapshot.tail)
    }

    fn last(&self) -> Option<&Entry> {
        self.tail().map(|tail| &*tail.entry)
    }

    pub(super) fn seq(&self) -> u32 {
        self.tail().map_or(0, |tail| tail.seq)
    }

    pub(super) fn moved(&self) -> &[Moved] {
        self.last().map_or(&[], |entry| &entry.moved)
    }

    /// The next entry, without bytes and with the same record. It says of the application what the
    /// last one did.
    pub(super) fn next(&self, upload: &Upload) -> Entry {
        let log = &self.snapshots.log;
        let entry = Entry::new(&log.node, log.clock.now(), upload.progress.clone());
        let mut entry = match self.last().cloned() {
            Some(Entry { described, moved, handover, progress, .. }) => {
                Entry { at: progress.offset, described, moved, handover, ..entry }
            }
            None => entry,
        };
        // What is joined from others has no bytes in its log. Once it is moved, it is a file like any
        // other.
        if upload.is_joined() && entry.moved.is_empty() {
            entry.at = upload.offset();
        }
        entry
    }

    pub(super) async fn append(
        &mut self,
        entry: Entry,
        payload: PutPayload,
        upload: &Upload,
    ) -> Result<()> {
        if !self.is_new() && self.is_stale() {
            self.look_before().await?;
        }
        let (read, entry) = (self.log().clock.moment(), Arc::new(entry));
        let record = self.put(&entry, payload, upload).await?;
        let tail = Tail { seq: self.seq() + 1, entry };
        if self.is_stale() {
            self.look_after(&tail).await?;
        }
        let gap = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.gap);
        let snapshot = Snapshot { record, tail, read, gap };
        self.snapshots.keep(snapshot.clone());
        self.snapshot = Some(snapshot);
        Ok(())
    }

    /// Fails unless this is still the last commit: the next number may be free because the commit
    /// that had it was deleted.
    async fn look_before(&mut self) -> Result<()> {
        let now = self.snapshots.fresh(&self.id).await?.unless_removed()?;
        if now.tail.seq != self.seq() {
            return Err(StoreError::Conflict);
        }
        self.snapshot = Some(now);
        Ok(())
    }

    /// Writes the record of a new upload that others may create, too. Returns whether the record that
    /// is there then is this one: otherwise the first commit must say what the upload is.
    pub(super) async fn reserve(&self, upload: &Upload) -> Result<bool> {
        let record = serde_json::to_vec(upload).map_err(|error| unwritable(&self.id, &error))?;
        let (log, id) = (Arc::clone(&self.snapshots.log), self.id);
        let work = async move { log.create_record(&id, &record).await };
        tasks::finish(&self.tasks, work).await
    }

    /// Writes the next commit, and the record with the first one; gives the record as the upload
    /// began.
    async fn put(
        &mut self,
        entry: &Arc<Entry>,
        payload: PutPayload,
        upload: &Upload,
    ) -> Result<Arc<Upload>> {
        let (log, id, seq) = (Arc::clone(&self.snapshots.log), self.id, self.seq() + 1);
        let (read, entry) = (self.read(), Arc::clone(entry));
        if let Some(snapshot) = &self.snapshot {
            let work = async move { log.append(&id, seq, &entry, payload, read).await };
            tasks::finish(&self.tasks, work).await?;
            return Ok(Arc::clone(&snapshot.record));
        }
        // The sweep may have given the creation up.
        if log.clock.age(read) > LONGEST_CREATION {
            let upload = Box::new(upload.clone());
            return Err(StoreError::Removed { upload, at: log.clock.now() });
        }
        self.tried = true;
        if upload.creation.is_some() {
            let work = async move { log.append(&id, seq, &entry, payload, read).await };
            tasks::finish(&self.tasks, work).await?;
            return Ok(Arc::new(upload.clone()));
        }
        let record = serde_json::to_vec(upload).map_err(|error| unwritable(&id, &error))?;
        let work = async move {
            let key = log.keys.record(&id);
            let append = log.append(&id, seq, &entry, payload, read);
            let (record, appended) = tokio::join!(log.objects.put(&key, record.into()), append);
            record.context("write a record").and(appended)
        };
        tasks::finish(&self.tasks, work).await?;
        Ok(Arc::new(upload.clone()))
    }

    /// Fails unless a commit that took long counts.
    async fn look_after(&self, made: &Tail) -> Result<()> {
        let log = self.log();
        if !log.has_record(&self.id).await? {
            // So nobody can have gone on from it.
            log.delete(&[log.keys.entry(&self.id, made.seq)]).await?;
            return Err(StoreError::NotFound);
        }
        // Others have gone on from it, or it has the number of a commit whose bytes were moved
        // away.
        let last = log.tail(&self.id).await?;
        let is_made = |last: Tail| last.seq == made.seq && last.entry.nonce == made.entry.nonce;
        if !last.is_some_and(is_made) {
            let why = std::io::Error::other("it took too long");
            return Err(StoreError::io("know whether a commit counts", why));
        }
        Ok(())
    }

    fn read(&self) -> Moment {
        self.snapshot.as_ref().map_or(self.begun, |snapshot| snapshot.read)
    }

    /// Whether the log was read so long ago that the upload may have been collected since.
    fn is_stale(&self) -> bool {
        let clock = &self.log().clock;
        #[cfg(test)]
        if clock.is(super::clock::Mutation::NoEndCheck) {
            return false;
        }
        !clock.is_fresh(self.read())
    }
}

pub(super) fn unwritable(id: &UploadId, error: &serde_json::Error) -> StoreError {
    StoreError::damaged(id, format!("its record cannot be written: {error}"))
}

/// How long the first chunk of an upload may take.
pub(super) const LONGEST_CREATION: Duration = Duration::from_secs(12 * 60 * 60);
