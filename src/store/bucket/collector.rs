//! The deletion of what nobody needs, and the listing by the expiry index that leads to it.

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::keys::{IndexKey, stamp};
use super::log::Tail;
use super::node::Node;
use super::objects::{AT_ONCE, Context, DELETED_AT_ONCE};
use crate::id::UploadId;
use crate::store::{Cursor, Handover, Page, Remains, Result, StoreError};
use crate::upload::Upload;

impl Node {
    /// The uploads whose place in the index is past, some at a time. What was removed long enough
    /// ago is deleted on the way.
    pub(super) async fn expiring_page(&self, cursor: Option<Cursor>) -> Result<Page> {
        let now = stamp(self.log.clock.now());
        let (entries, next) = self.index.page(cursor, &now).await?;
        let looks = stream::iter(entries).map(|entry| self.look(entry, &now));
        let found: Vec<_> = looks.buffered(AT_ONCE).collect().await;
        let uploads = found.into_iter().filter_map(Result::transpose).collect();
        Ok(Page { uploads, next, ..Page::default() })
    }

    /// The upload, unless its place in the index is later than `now`.
    async fn look(&self, entry: IndexKey, now: &str) -> Result<Option<Upload>> {
        let id = entry.id;
        let snapshot = match self.snapshots.fresh(&id).await {
            Ok(snapshot) => snapshot,
            Err(StoreError::NotFound) => return self.look_at_rest(entry).await.map(|()| None),
            Err(error) => return Err(error),
        };
        if snapshot.tail.entry.is_tombstone() {
            return self.look_at_tombstone(entry, &snapshot.tail).await.map(|()| None);
        }
        let upload = self.snapshots.describe(&snapshot).await?;
        if upload.expires().is_some_and(|expires| stamp(expires).as_str() <= now) {
            self.snapshots.keep(snapshot);
            return Ok(Some(upload));
        }
        self.look_later(entry, &upload, &snapshot.tail).await.map(|()| None)
    }

    /// Moves an entry that is too early, and trims the file if that was persisted and taken.
    async fn look_later(&self, entry: IndexKey, upload: &Upload, tail: &Tail) -> Result<()> {
        let mut later = upload.expires();
        if tail.entry.place().is_some() && tail.entry.handover == Handover::Taken {
            // Until then somebody may be reading what is in the store.
            let unread = tail.entry.written + self.log.clock.grace;
            if unread <= self.log.clock.now() {
                self.trim(&upload.id, tail).await?;
            } else {
                later = Some(later.map_or(unread, |expires| expires.min(unread)));
            }
        }
        match later {
            Some(later) => self.index.move_to(entry, later).await,
            None => self.index.remove(entry).await,
        }
    }

    /// There is no record, or no commit.
    async fn look_at_rest(&self, entry: IndexKey) -> Result<()> {
        let id = entry.id;
        let tail = self.log.tail(&id).await?;
        let last = match &tail {
            Some(tail) if tail.entry.is_tombstone() => {
                return self.look_at_tombstone(entry, tail).await;
            }
            // The record has come since.
            Some(_) if self.log.has_record(&id).await? => return Ok(()),
            Some(tail) => tail.seq,
            None if self.has_nothing(&id).await? => return self.index.remove(entry).await,
            None => 0,
        };
        // A creation that never came to its end. After a tombstone it cannot come true late.
        match self.log.bury(&id, last).await {
            Err(StoreError::Conflict) => return Ok(()),
            buried => buried?,
        }
        self.index_tombstone(&id).await?;
        self.index.remove(entry).await
    }

    async fn look_at_tombstone(&self, entry: IndexKey, tail: &Tail) -> Result<()> {
        if !self.is_collectable(tail) {
            let collectable = tail.entry.written + self.log.clock.retention();
            return self.index.move_to(entry, collectable).await;
        }
        self.collect(&entry.id, tail).await?;
        // When everything else is deleted.
        self.index.remove(entry).await
    }

    /// Has a tombstone looked at when it can be collected.
    async fn index_tombstone(&self, id: &UploadId) -> Result<()> {
        self.index.put(id, self.log.clock.now() + self.log.clock.retention()).await
    }

    fn is_collectable(&self, tombstone: &Tail) -> bool {
        tombstone.entry.written + self.log.clock.retention() <= self.log.clock.now()
    }

    async fn has_nothing(&self, id: &UploadId) -> Result<bool> {
        Ok(!self.log.has_record(id).await? && self.pieces(id).await?.is_empty())
    }

    async fn pieces(&self, id: &UploadId) -> Result<Vec<Path>> {
        let log = &self.log;
        let listing = log.objects.list(&log.keys.pieces(id), None);
        listing.try_collect().await.context("list pieces")
    }

    /// Deletes what is left of an upload that was removed longer ago than the grace.
    pub(super) async fn discard(&self, id: &UploadId) -> Result<()> {
        match self.log.tail(id).await? {
            Some(tail) if tail.entry.is_tombstone() && self.is_collectable(&tail) => {
                self.collect(id, &tail).await
            }
            _ => Ok(()),
        }
    }

    /// Deletes the record first, which a late writer looks for, and the tombstone last.
    async fn collect(&self, id: &UploadId, tombstone: &Tail) -> Result<()> {
        let (log, keys) = (&self.log, &self.log.keys);
        self.snapshots.forget(id);
        log.delete(&[keys.record(id)]).await?;
        let mut left = self.pieces(id).await?;
        left.push(keys.heartbeat(id));
        log.delete(&left).await?;
        self.delete_commits(id, tombstone.seq, None).await?;
        log.delete(&[keys.entry(id, tombstone.seq)]).await
    }

    /// Deletes the bytes of an upload whose file was moved away.
    async fn trim(&self, id: &UploadId, tail: &Tail) -> Result<()> {
        self.log.delete(&self.pieces(id).await?).await?;
        self.delete_commits(id, tail.seq, tail.entry.described).await
    }

    /// Deletes the commits before `end` except one, some at a time.
    async fn delete_commits(&self, id: &UploadId, end: u32, except: Option<u32>) -> Result<()> {
        let seqs: Vec<_> = (1..end).filter(|seq| except != Some(*seq)).collect();
        for seqs in seqs.chunks(DELETED_AT_ONCE) {
            let keys: Vec<_> = seqs.iter().map(|seq| self.log.keys.entry(id, *seq)).collect();
            self.log.delete(&keys).await?;
        }
        Ok(())
    }

    pub(super) async fn remove_damaged(&self, id: &UploadId) -> Result<bool> {
        let sound = async {
            let snapshot = self.snapshots.current(id).await?;
            let upload = self.snapshots.describe(&snapshot).await?;
            self.files.check(&upload, snapshot.tail).await
        };
        match sound.await {
            Ok(()) => return Ok(false),
            Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        // First, so that the sweep finds what a crash leaves.
        self.index_tombstone(id).await?;
        let newest = self.log.newest(id).await?.unwrap_or(0);
        match self.log.bury(id, newest).await {
            Err(StoreError::Conflict) => return Err(StoreError::Busy),
            buried => buried?,
        }
        self.snapshots.forget(id);
        Ok(true)
    }

    /// What can still be told of an upload whose record or commits are damaged.
    pub(super) async fn remains(&self, id: &UploadId) -> Result<Remains> {
        let log = &self.log;
        let tail = readable(log.tail(id).await)?.flatten();
        let record = readable(log.record(id).await)?;
        let Some(Tail { entry, .. }) = tail else {
            let head = log.objects.store.head(&log.keys.record(id)).await;
            let written = head.ok().map(|object| object.last_modified.into());
            return Ok(Remains { record, written, ..Remains::default() });
        };
        let record = record.map(|record| Upload { progress: entry.progress.clone(), ..record });
        Ok(Remains { record, expires: entry.progress.expires, written: Some(entry.written) })
    }
}

/// What is there and not damaged.
fn readable<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Err(StoreError::NotFound | StoreError::Damaged { .. }) => Ok(None),
        read => read.map(Some),
    }
}
