//! Where uploads stand, and what this node remembers of that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt, TryStreamExt, stream};
use lru::LruCache;
use object_store::path::Path;

use super::clock::Moment;
use super::keys;
use super::log::{CommitLog, Tail};
use super::objects::{AT_ONCE, Context};
use crate::id::UploadId;
use crate::store::{Cursor, Page, Result, StoreError};
use crate::upload::Upload;

/// An upload as it was when this node read its log.
#[derive(Clone)]
pub(super) struct Snapshot {
    /// The record as the upload began.
    pub(super) record: Arc<Upload>,
    pub(super) tail: Tail,
    pub(super) read: Moment,
    /// How many commits of other nodes came between the last two reads.
    pub(super) gap: u32,
}

pub(super) struct Snapshots {
    pub(super) log: Arc<CommitLog>,
    cache: Mutex<LruCache<UploadId, Snapshot>>,
    limit: usize,
}

impl Snapshots {
    pub(super) fn new(log: Arc<CommitLog>, limit: usize) -> Self {
        // Its bound is kept here: a cache with one of its own allocates all of its memory at once.
        Self { log, cache: Mutex::new(LruCache::unbounded()), limit }
    }

    /// Where an upload stands now, unless it was removed. What is cached, and what a listing says,
    /// only tells where the search begins: it ends at a number that is not there.
    pub(super) async fn current(&self, id: &UploadId) -> Result<Snapshot> {
        let found = self.find(id).await.and_then(Snapshot::unless_removed);
        match &found {
            Ok(snapshot) => self.keep(snapshot.clone()),
            Err(_) => self.forget(id),
        }
        found
    }

    async fn find(&self, id: &UploadId) -> Result<Snapshot> {
        let cached = self.cache().get(id).cloned();
        if let Some(cached) = cached.filter(|cached| self.log.clock.is_fresh(cached.read)) {
            let read = cached.read;
            let found = self.refresh(id, cached).await;
            // Commits that are asked for one after the other may be deleted in between.
            if self.log.clock.is_fresh(read) {
                return found;
            }
        }
        self.fresh(id).await
    }

    async fn refresh(&self, id: &UploadId, cached: Snapshot) -> Result<Snapshot> {
        let read = self.log.clock.moment();
        let Some(tail) = self.log.walk(id, cached.tail.seq, cached.gap + 1).await? else {
            return Ok(Snapshot { read, gap: 0, ..cached });
        };
        let gap = (tail.seq - cached.tail.seq).min(LONGEST_GAP);
        Ok(Snapshot { tail, read, gap, ..cached })
    }

    /// Where an upload stands, whatever is cached. Its last commit may be a tombstone.
    pub(super) async fn fresh(&self, id: &UploadId) -> Result<Snapshot> {
        let read = self.log.clock.moment();
        let record = match self.log.record(id).await {
            Err(StoreError::NotFound) => return Err(StoreError::NotFound),
            record => record,
        };
        let tail = self.log.tail(id).await?.ok_or(StoreError::NotFound)?;
        match record {
            // Whatever the record says, it was removed.
            Err(_) if tail.entry.is_tombstone() => Err(StoreError::NotFound),
            record => Ok(Snapshot { record: Arc::new(record?), tail, read, gap: 0 }),
        }
    }

    /// Whether an upload of this id can be created.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it exists, [`StoreError::Removed`], and [`StoreError::Busy`] while
    /// what was removed is being deleted: a collector deletes all that has its id, whosever that is, and
    /// the tombstone last.
    pub(super) async fn check_free(&self, id: &UploadId) -> Result<()> {
        if self.log.newest(id).await?.is_none() {
            return Ok(());
        }
        match self.fresh(id).await.and_then(Snapshot::unless_removed) {
            Ok(_) => Err(StoreError::Conflict),
            Err(StoreError::NotFound) => Err(StoreError::Busy),
            Err(error) => Err(error),
        }
    }

    /// The record of an upload as it was then.
    pub(super) async fn describe(&self, snapshot: &Snapshot) -> Result<Upload> {
        let id = snapshot.record.id;
        let record = match snapshot.tail.entry.described {
            None => Some(Upload::clone(&snapshot.record)),
            Some(seq) => self.log.list(&id, seq).await?.record,
        };
        let record = record.ok_or_else(|| StoreError::damaged(&id, "a commit has no record"))?;
        Ok(Upload { progress: snapshot.tail.entry.progress.clone(), ..record })
    }

    /// Some of the uploads, which are found by their records.
    pub(super) async fn page(&self, cursor: Option<Cursor>) -> Result<Page> {
        let after = cursor.and_then(|cursor| Path::parse(cursor.as_str()).ok());
        let listing = self.log.objects.list(&self.log.keys.records(), after.as_ref()).take(PAGE);
        let keys: Vec<_> = listing.try_collect().await.context("list records")?;
        let last = keys.last().filter(|_| keys.len() == PAGE);
        let next = last.map(|key| Cursor::new(key.to_string()));
        let ids = stream::iter(keys.iter().filter_map(keys::id_of));
        let look = async |id| self.describe(&self.fresh(&id).await?.unless_removed()?).await;
        let mut uploads: Vec<_> = ids.map(look).buffered(AT_ONCE).collect().await;
        uploads.retain(|found| {
            !matches!(found, Err(StoreError::NotFound | StoreError::Removed { .. }))
        });
        Ok(Page { uploads, next, ..Page::default() })
    }

    fn cache(&self) -> MutexGuard<'_, LruCache<UploadId, Snapshot>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keep(&self, snapshot: Snapshot) {
        let (mut cache, id) = (self.cache(), snapshot.record.id);
        match cache.get_mut(&id) {
            // Two reads at once may end in either order.
            Some(cached) if cached.tail.seq > snapshot.tail.seq => {}
            Some(cached) => *cached = snapshot,
            None if snapshot.size() > LARGEST_CACHED => {}
            None => drop(cache.put(id, snapshot)),
        }
        if cache.len() > self.limit {
            cache.pop_lru();
        }
    }

    pub(super) fn forget(&self, id: &UploadId) {
        self.cache().pop(id);
    }
}

impl Snapshot {
    pub(super) fn unless_removed(self) -> Result<Self> {
        let last = &self.tail.entry;
        if !last.is_tombstone() {
            return Ok(self);
        }
        let upload = Upload { progress: last.progress.clone(), ..Upload::clone(&self.record) };
        Err(StoreError::Removed { upload: Box::new(upload), at: last.written })
    }

    /// How many bytes its record has, written down.
    fn size(&self) -> usize {
        serde_json::to_vec(&*self.record).map_or(usize::MAX, |text| text.len())
    }
}

const PAGE: usize = 256;
/// How long the record of an upload may be that is cached, in bytes.
const LARGEST_CACHED: usize = 4096;
const LONGEST_GAP: u32 = 7;
