//! Uploads in an object store that many nodes share: S3 and what speaks it, Azure Blob Storage, Google
//! Cloud Storage.
//!
//! Behind a balancer the chunks of one upload come to different nodes. With a [`BucketStore`] that just
//! works, with nothing else to run: no lock server, no database, no clock that must be exact.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use object_store::memory::InMemory;
//! use tower_chunked_upload::Uploads;
//! use tower_chunked_upload::store::BucketStore;
//!
//! // On S3: `AmazonS3Builder::from_env().with_bucket_name("files").build()?`
//! let objects = Arc::new(InMemory::new());
//! let store = BucketStore::builder(objects).prefix("chunked_uploads").connect().await?;
//! let uploads = Uploads::builder(store).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! Each commit is a new object whose name is the number of the commit, and it is created only if there
//! is none of that name (`If-None-Match: *`). Whoever creates it has made the commit; everybody else is
//! told that it exists, reads on from there and refuses his client with the right offset. Nothing that
//! counts is ever written over, so nothing can expire at the wrong moment: across nodes there is no
//! lease to wait for. What an object holds is in its metadata, so one `HEAD` gives the whole state.
//!
//! - **A chunk costs** one `PUT`, and `HEAD`s to learn where the upload stands: one on the node that had
//!   the chunk before, a few in parallel on another. The first chunk has two small `PUT`s more, a completion two.
//! - **A chunk larger than a segment** (8 MiB unless set) becomes pieces under names of their own, and its commit
//!   the list of them. So memory is bounded, whatever the client sends.
//! - **A lost answer** is no loss: each commit carries a nonce, and who is told that his object exists looks
//!   whether it is his.
//! - **A removed upload** gets a last commit that says so. Its objects are deleted by the sweep
//!   after a time of grace (1 hour unless set), when no request that began before can still be under way.
//! - **An upload that is being completed** is another node's until that node has answered, or has given no sign of
//!   life for 15 seconds (unless set).
//!
//! # What it needs of the store
//!
//! Creating under a condition that is atomic, metadata, ranges, listing, and reading what was written.
//! [`connect`](BucketStoreBuilder::connect) tries all of it and refuses a store that ignores the condition
//! or lets two writers win. Listing may be late: it is a hint here, never the truth. Clocks of the nodes may differ by
//! minutes, as long as that is little compared with the grace.

mod builder;
mod check;
#[cfg(test)]
mod double;
mod due;
mod entry;
mod keys;
mod log;
mod persist;
mod pool;
mod reader;
mod tasks;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use lru::LruCache;
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::time::Instant;

pub use self::builder::BucketStoreBuilder;
use self::keys::Keys;
use self::log::Tail;
use self::pool::Pool;
use self::tasks::Tasks;
pub use self::writer::BucketWriter;
use super::{Capabilities, Cursor, HandoffRequest, Page, Reader, Remains, Store, StoreError};
use crate::id::UploadId;
use crate::upload::Upload;

/// Keeps uploads in a bucket, for as many nodes as like; a clone is the same store. The
/// [module docs](self) say how.
#[derive(Clone)]
pub struct BucketStore {
    bucket: Arc<Bucket>,
}

/// What all handles and writers of a store on this node share.
struct Bucket {
    objects: Arc<dyn ObjectStore>,
    /// Where files are persisted to.
    targets: Arc<dyn ObjectStore>,
    keys: Keys,
    segment: usize,
    smallest_part: usize,
    grace: Duration,
    lease: Duration,
    max_commits: u32,
    clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    node: String,
    pool: Arc<Pool>,
    known: Mutex<Known>,
    completing: Mutex<Completing>,
    tasks: Tasks,
    #[cfg(test)]
    mutation: Mutation,
}

/// Where uploads stood when this node last looked.
struct Known {
    limit: usize,
    uploads: LruCache<UploadId, Sight>,
}

#[derive(Clone)]
struct Sight {
    /// The record as the upload began.
    record: Arc<Upload>,
    tail: Tail,
    seen: Moment,
    /// How many commits of others came between two looks.
    stride: u32,
}

/// A moment by the clock that never goes back, and by the one that knows how long a machine has slept.
#[derive(Clone, Copy)]
struct Moment {
    even: Instant,
    wall: SystemTime,
}

/// Who completes which upload.
#[derive(Default)]
struct Completing {
    /// This node, at this moment, and those of its handles that try to.
    here: HashMap<UploadId, usize>,
    /// Others: their commit, their last sign of life, and since when it is the last.
    elsewhere: HashMap<UploadId, (u32, Option<Bytes>, Instant)>,
}

/// Mistakes, each of which the simulation must notice.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mutation {
    #[default]
    None,
    /// An object that exists is taken for this node's own.
    NoNonceCheck,
    /// An object that exists is taken for another's.
    NoHeadAfterConflict,
    /// A commit that took long is acknowledged without a look whether the upload is gone.
    NoEndCheck,
    /// What is gone is deleted at once.
    NoGrace,
}

impl BucketStore {
    /// Settings for uploads in `objects`.
    pub fn builder(objects: Arc<dyn ObjectStore>) -> BucketStoreBuilder {
        BucketStoreBuilder::new(objects)
    }
}

impl Store for BucketStore {
    type Writer = BucketWriter;

    /// Its settings were checked when it was [connected](BucketStoreBuilder::connect).
    fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        // A position in a file is signed where it is read.
        let max_bytes = u64::try_from(i64::MAX).ok();
        Capabilities { expiry_index: true, max_bytes, ..Capabilities::default() }
    }

    async fn create(&self, upload: Upload) -> Result<BucketWriter, StoreError> {
        BucketWriter::create(&self.bucket, upload).await
    }

    async fn load(&self, id: &UploadId) -> Result<Upload, StoreError> {
        let sight = self.bucket.look(id).await?;
        self.bucket.describe(&sight).await
    }

    async fn writer(&self, id: &UploadId) -> Result<BucketWriter, StoreError> {
        BucketWriter::take(&self.bucket, id).await
    }

    async fn open(&self, id: &UploadId) -> Result<Reader, StoreError> {
        loop {
            let sight = self.bucket.look(id).await?;
            let seq = sight.tail.seq;
            match reader::open(&self.bucket, id, sight.tail).await {
                // It may have been moved elsewhere since.
                Err(StoreError::Damaged { .. }) if self.bucket.look(id).await?.tail.seq != seq => {}
                opened => return opened,
            }
        }
    }

    async fn discard(&self, id: &UploadId) -> Result<(), StoreError> {
        self.bucket.discard(id).await
    }

    async fn remove_damaged(&self, id: &UploadId) -> Result<bool, StoreError> {
        self.bucket.remove_damaged(id).await
    }

    async fn remains(&self, id: &UploadId) -> Result<Remains, StoreError> {
        self.bucket.remains(id).await
    }

    async fn list(&self, cursor: Option<Cursor>) -> Result<Page, StoreError> {
        self.bucket.list(cursor).await
    }

    async fn list_expiring(&self, cursor: Option<Cursor>) -> Result<Page, StoreError> {
        self.bucket.due(cursor).await
    }

    // There are no leases to ask for.
    async fn request_handoff(&self, _: &UploadId, _: bool) -> Result<(), StoreError> {
        Ok(())
    }

    async fn handoff_requests(&self) -> Result<Vec<HandoffRequest>, StoreError> {
        Ok(Vec::new())
    }

    async fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    async fn settle(&self) {
        self.bucket.tasks.settle().await;
    }
}

impl Bucket {
    fn now(&self) -> SystemTime {
        (self.clock)()
    }

    fn moment(&self) -> Moment {
        Moment { even: Instant::now(), wall: self.now() }
    }

    /// How long ago that was, by the clock that says more.
    fn age(&self, moment: Moment) -> Duration {
        moment.even.elapsed().max(self.now().duration_since(moment.wall).unwrap_or_default())
    }

    /// How long what was read can be believed without looking whether the upload is gone.
    fn half_grace(&self) -> Duration {
        self.grace / 2
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn completing(&self) -> MutexGuard<'_, Completing> {
        self.completing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes what nobody needs, sooner or later: if it fails, the sweep does it.
    fn clean(self: &Arc<Self>, keys: Vec<Path>) {
        let bucket = Arc::clone(self);
        self.tasks.detach(async move { drop(bucket.delete(keys).await) });
    }

    #[cfg(test)]
    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == mutation
    }
}

impl Known {
    fn new(limit: usize) -> Self {
        // It is bounded here: one with a bound of its own takes all of its memory at once.
        Self { limit, uploads: LruCache::unbounded() }
    }

    fn get(&mut self, id: &UploadId) -> Option<Sight> {
        self.uploads.get(id).cloned()
    }

    fn put(&mut self, id: &UploadId, sight: Sight) {
        match self.uploads.get_mut(id) {
            // Two looks at once may end in either order.
            Some(old) if old.tail.seq > sight.tail.seq => return,
            Some(old) => *old = sight,
            None if sight.weighs() > LARGEST_KNOWN => return,
            None => drop(self.uploads.put(*id, sight)),
        }
        if self.uploads.len() > self.limit {
            self.uploads.pop_lru();
        }
    }

    fn forget(&mut self, id: &UploadId) {
        self.uploads.pop(id);
    }
}

impl Sight {
    /// How long its record is, written down.
    fn weighs(&self) -> usize {
        serde_json::to_vec(&*self.record).map_or(usize::MAX, |text| text.len())
    }
}

/// A name that nobody else has.
fn nonce() -> String {
    UploadId::random().to_string()
}

fn failed(action: impl Into<String>, error: object_store::Error) -> StoreError {
    StoreError::io(action, std::io::Error::other(error))
}

impl fmt::Debug for BucketStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bucket.fmt(f)
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketStore")
            .field("objects", &self.objects.to_string())
            .field("keys", &self.keys)
            .field("segment", &self.segment)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

/// How many uploads, or commits, to look at at the same time.
const AT_ONCE: usize = 16;
/// How long the record of an upload may be that is remembered, in bytes.
const LARGEST_KNOWN: usize = 4096;
