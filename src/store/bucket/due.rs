//! The expiry index, the listing, and the deletion of what is gone.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use super::entry::{Body, Entry};
use super::keys::{self, DueKey};
use super::log::Tail;
use super::reader::check;
use super::{AT_ONCE, Bucket, nonce};
use crate::id::UploadId;
use crate::store::{Cursor, Handover, Page, Remains, StoreError};
use crate::upload::{Progress, Status, Upload};

impl Bucket {
    /// Has the upload looked at again when that time has come.
    pub(super) async fn put_due(&self, id: &UploadId, at: SystemTime) -> Result<(), StoreError> {
        self.put(&self.keys.due(id, at), PutPayload::new()).await
    }

    /// The uploads that have expired. What is gone for long enough is deleted on the way.
    pub(super) async fn due(&self, cursor: Option<Cursor>) -> Result<Page, StoreError> {
        let now = keys::stamp(self.now());
        let (keys, next) = self.due_keys(cursor, &now).await?;
        let looks = stream::iter(keys).map(|(key, due)| self.look_at_due(key, due));
        let found: Vec<_> = looks.buffered(AT_ONCE).collect().await;
        let uploads = found.into_iter().filter_map(Result::transpose).collect();
        Ok(Page { uploads, next, ..Page::default() })
    }

    /// Some index entries of the past. In each shard they come before those of the future, which are
    /// passed over.
    async fn due_keys(
        &self,
        cursor: Option<Cursor>,
        now: &str,
    ) -> Result<(Vec<(Path, DueKey)>, Option<Cursor>), StoreError> {
        let prefix = self.keys.dues();
        let mut offset = cursor.and_then(|cursor| Path::parse(cursor.as_str()).ok());
        let mut due = Vec::new();
        'listing: loop {
            let mut listing = match &offset {
                Some(offset) => self.objects.list_with_offset(Some(&prefix), offset),
                None => self.objects.list(Some(&prefix)),
            };
            let mut later = 0;
            while let Some(object) = listing.next().await {
                let key =
                    object.map_err(|error| super::failed("list what is due", error))?.location;
                let Some(parsed) = DueKey::parse(&key) else { continue };
                if parsed.stamp.as_str() > now {
                    later += 1;
                    if later > PASSED_OVER {
                        offset = Some(self.keys.after_dues(&parsed));
                        continue 'listing;
                    }
                    continue;
                }
                later = 0;
                due.push((key.clone(), parsed));
                if due.len() == PAGE {
                    return Ok((due, Some(Cursor::new(key.to_string()))));
                }
            }
            return Ok((due, None));
        }
    }

    /// The upload, if it has expired.
    async fn look_at_due(&self, key: Path, due: DueKey) -> Result<Option<Upload>, StoreError> {
        let (id, now) = (due.id, self.now());
        let sight = match self.look_first(&id).await {
            Ok(sight) => sight,
            Err(StoreError::NotFound) => return self.look_at_rest(key, due).await,
            Err(error) => return Err(error),
        };
        if sight.tail.entry.is_gone() {
            return self.look_at_gone(key, due, &sight.tail).await;
        }
        let upload = self.describe(&sight).await?;
        if upload.is_expired(now) {
            self.known().put(&id, sight);
            return Ok(Some(upload));
        }
        let mut later = upload.expires();
        if sight.tail.entry.place().is_some() && sight.tail.entry.handover == Handover::Taken {
            let unread = sight.tail.entry.written + self.grace;
            if unread <= now {
                self.trim(&id, &sight.tail).await?;
            } else {
                later = Some(later.map_or(unread, |expires| expires.min(unread)));
            }
        }
        match later {
            Some(later) => self.look_later(key, &due, later).await?,
            None => self.delete(vec![key]).await?,
        }
        Ok(None)
    }

    /// There is no record, or no commit.
    async fn look_at_rest(&self, key: Path, due: DueKey) -> Result<Option<Upload>, StoreError> {
        let id = due.id;
        let tail = self.tail(&id).await?;
        let last = match &tail {
            Some(tail) if tail.entry.is_gone() => return self.look_at_gone(key, due, tail).await,
            // It has come since.
            Some(_) if self.is_there(&id).await? => return Ok(None),
            Some(tail) => Some(tail.seq),
            None if self.is_empty(&id).await? => None,
            None => Some(0),
        };
        if let Some(last) = last {
            // A creation that never came to its end. With an end of ours it cannot come true late.
            match self.end(&id, last).await {
                Err(StoreError::Conflict) => return Ok(None),
                ended => ended?,
            }
            self.put_due(&id, self.now() + self.kept()).await?;
        }
        self.delete(vec![key]).await?;
        Ok(None)
    }

    async fn look_at_gone(
        &self,
        key: Path,
        due: DueKey,
        tail: &Tail,
    ) -> Result<Option<Upload>, StoreError> {
        let id = due.id;
        if self.is_collectable(&tail.entry, self.now()) {
            self.collect(&id, tail).await?;
            // When all else is gone.
            self.delete(vec![key]).await?;
        } else {
            let collectable = tail.entry.written + self.kept();
            self.look_later(key, &due, collectable).await?;
        }
        Ok(None)
    }

    /// Moves an index entry to a later time.
    async fn look_later(&self, key: Path, due: &DueKey, at: SystemTime) -> Result<(), StoreError> {
        if keys::stamp(at) == due.stamp {
            return Ok(());
        }
        self.put_due(&due.id, at).await?;
        self.delete(vec![key]).await
    }

    fn is_collectable(&self, end: &Entry, now: SystemTime) -> bool {
        end.written + self.kept() <= now
    }

    /// How long what is gone is kept.
    pub(super) fn kept(&self) -> Duration {
        #[cfg(test)]
        if self.is(super::Mutation::NoGrace) {
            return Duration::ZERO;
        }
        self.grace
    }

    async fn is_empty(&self, id: &UploadId) -> Result<bool, StoreError> {
        Ok(!self.is_there(id).await? && self.keys_below(&self.keys.pieces(id)).await?.is_empty())
    }

    /// Makes the commit after `seq` the last one.
    async fn end(&self, id: &UploadId, seq: u32) -> Result<(), StoreError> {
        let progress = Progress {
            offset: 0,
            total: None,
            checksum: None,
            expires: None,
            status: Status::Open,
        };
        let entry = Entry {
            nonce: nonce(),
            node: self.node.clone(),
            written: self.now(),
            at: 0,
            body: Body::Gone,
            described: None,
            moved: Vec::new(),
            handover: Handover::None,
            progress,
        };
        self.append(id, seq + 1, &entry, PutPayload::new(), self.moment()).await
    }

    /// Deletes what is left of an upload that is gone for as long as the grace.
    pub(super) async fn discard(&self, id: &UploadId) -> Result<(), StoreError> {
        match self.tail(id).await? {
            Some(tail) if tail.entry.is_gone() && self.is_collectable(&tail.entry, self.now()) => {
                self.collect(id, &tail).await
            }
            _ => Ok(()),
        }
    }

    /// First the record, which a late writer looks for, last what says that the upload is gone.
    async fn collect(&self, id: &UploadId, end: &Tail) -> Result<(), StoreError> {
        self.known().forget(id);
        self.delete(vec![self.keys.record(id)]).await?;
        let mut left = self.keys_below(&self.keys.pieces(id)).await?;
        left.extend((1..end.seq).map(|seq| self.keys.entry(id, seq)));
        left.push(self.keys.busy(id));
        self.delete(left).await?;
        self.delete(vec![self.keys.entry(id, end.seq)]).await
    }

    /// Deletes the bytes of an upload whose file was moved away.
    async fn trim(&self, id: &UploadId, tail: &Tail) -> Result<(), StoreError> {
        let mut left = self.keys_below(&self.keys.pieces(id)).await?;
        let bytes = (1..tail.seq).filter(|seq| tail.entry.described != Some(*seq));
        left.extend(bytes.map(|seq| self.keys.entry(id, seq)));
        self.delete(left).await
    }

    pub(super) async fn remove_damaged(
        self: &Arc<Self>,
        id: &UploadId,
    ) -> Result<bool, StoreError> {
        let sound = async {
            let sight = self.look(id).await?;
            self.describe(&sight).await?;
            check(self, id, sight.tail).await
        };
        match sound.await {
            Ok(_) => return Ok(false),
            Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        // First, so that what a crash leaves is found.
        self.put_due(id, self.now() + self.kept()).await?;
        let newest = self.newest(id).await?.unwrap_or(0);
        match self.end(id, newest).await {
            Err(StoreError::Conflict) => return Err(StoreError::Busy),
            ended => ended?,
        }
        self.known().forget(id);
        Ok(true)
    }

    /// What can still be told of an upload whose record or commits are damaged.
    pub(super) async fn remains(&self, id: &UploadId) -> Result<Remains, StoreError> {
        let tail = readable(self.tail(id).await)?.flatten();
        let mut record = readable(self.record(id).await)?;
        if let (Some(record), Some(tail)) = (&mut record, &tail) {
            record.progress = tail.entry.progress.clone();
        }
        let expires = tail.as_ref().and_then(|tail| tail.entry.progress.expires);
        let written = match tail {
            Some(tail) => Some(tail.entry.written),
            None => {
                let found = self.objects.head(&self.keys.record(id)).await;
                found.ok().map(|object| object.last_modified.into())
            }
        };
        Ok(Remains { record, expires, written })
    }

    /// All uploads, by their records.
    pub(super) async fn list(&self, cursor: Option<Cursor>) -> Result<Page, StoreError> {
        let prefix = self.keys.records();
        let listing = match cursor.and_then(|cursor| Path::parse(cursor.as_str()).ok()) {
            Some(offset) => self.objects.list_with_offset(Some(&prefix), &offset),
            None => self.objects.list(Some(&prefix)),
        };
        let keys =
            listing.map_ok(|object| object.location).take(PAGE).try_collect::<Vec<_>>().await;
        let keys = keys.map_err(|error| super::failed("list records", error))?;
        let next =
            keys.last().filter(|_| keys.len() == PAGE).map(|key| Cursor::new(key.to_string()));
        let ids = keys.iter().filter_map(keys::id_of);
        let looks = stream::iter(ids).map(|id| self.look_at(id)).buffered(AT_ONCE);
        let found: Vec<_> = looks.collect().await;
        let mut page = Page { next, ..Page::default() };
        for found in found {
            match found {
                Err(StoreError::NotFound | StoreError::Removed { .. }) => {}
                found => page.uploads.push(found),
            }
        }
        Ok(page)
    }

    async fn look_at(&self, id: UploadId) -> Result<Upload, StoreError> {
        let sight = self.look_first(&id).await?;
        match sight.tail.entry.why_gone(&sight.record) {
            Some(why) => Err(why),
            None => self.describe(&sight).await,
        }
    }
}

/// What is there and not damaged.
fn readable<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Err(StoreError::NotFound | StoreError::Damaged { .. }) => Ok(None),
        read => read.map(Some),
    }
}

const PAGE: usize = 256;
/// How many index entries of the future are passed over, which is as many as come in one answer, before
/// the listing begins anew behind them.
const PASSED_OVER: usize = 1000;
