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
#[cfg(test)]
mod tests;
mod writer;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::keys::Keys;
use self::log::Tail;
use self::pool::Pool;
pub use self::writer::BucketWriter;
use super::{Cursor, Page, Reader, Store, StoreError};
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
    /// How much is going on that nobody may be waiting for.
    under_way: watch::Sender<usize>,
    #[cfg(test)]
    mutation: Mutation,
}

/// Where uploads stood when this node last looked.
struct Known {
    limit: usize,
    uploads: HashMap<UploadId, (u64, Sight)>,
    /// Oldest first, also those that were forgotten since.
    order: VecDeque<(u64, UploadId)>,
    came: u64,
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

/// Settings of a [`BucketStore`].
#[must_use]
pub struct BucketStoreBuilder {
    objects: Arc<dyn ObjectStore>,
    targets: Option<Arc<dyn ObjectStore>>,
    prefix: String,
    segment: usize,
    smallest_part: usize,
    buffered: usize,
    remembered: usize,
    grace: Duration,
    lease: Duration,
    max_commits: u32,
    clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    #[cfg(test)]
    mutation: Mutation,
}

impl BucketStore {
    /// Settings for uploads in `objects`.
    pub fn builder(objects: Arc<dyn ObjectStore>) -> BucketStoreBuilder {
        BucketStoreBuilder {
            objects,
            targets: None,
            prefix: "chunked_uploads".to_owned(),
            segment: DEFAULT_SEGMENT,
            smallest_part: SMALLEST_PART,
            buffered: DEFAULT_BUFFERED,
            remembered: DEFAULT_REMEMBERED,
            grace: Duration::from_secs(60 * 60),
            lease: Duration::from_secs(15),
            max_commits: 100_000,
            clock: Arc::new(SystemTime::now),
            #[cfg(test)]
            mutation: Mutation::None,
        }
    }
}

impl BucketStoreBuilder {
    /// What the keys of all objects begin with: `chunked_uploads` unless set. It is the same on all nodes, and
    /// nothing else is kept below it.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How many bytes of an upload are gathered in memory before they are an object: 8 MiB unless set, from 1
    /// byte to 1 GiB. A chunk of at most so many bytes is one `PUT`. It may differ between nodes.
    pub fn segment_bytes(mut self, bytes: usize) -> Self {
        self.segment = bytes;
        self
    }

    /// How many bytes all uploads on this node together may gather: 256 MiB unless set, and at least a
    /// segment. Beyond that, the fullest buffers become objects early. As much again may be in use by the
    /// files that are being persisted.
    pub fn max_buffered_bytes(mut self, bytes: usize) -> Self {
        self.buffered = bytes;
        self
    }

    /// Of how many uploads this node remembers where they stood: 4,096 unless set, of about 1 KiB each.
    ///
    /// It should be more than are sent to this node at the same time. A chunk of an upload that is not
    /// remembered costs a `GET`, a `LIST` and a `HEAD` more. It may differ between nodes.
    pub fn remembered_uploads(mut self, count: usize) -> Self {
        self.remembered = count;
        self
    }

    /// How long the objects of a removed upload are kept: 1 hour unless set, from a second to a year.
    ///
    /// It is the same on all nodes: what one has read is believed for half as long. So a node that is set
    /// otherwise than the first was is refused. It must be longer than twice what a request to the store
    /// can take, with all tries of its client, and much longer than the nodes' clocks differ. With
    /// `object_store`'s own defaults, three and a half minutes at most for each of the four tries that are made
    /// here, the hour is enough.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long a node that has given an upload to the application may be silent before another node
    /// may complete it: 15 seconds unless set, from a second to a year, and the same on all nodes, like the
    /// [grace](Self::grace). A node that lives gives a sign four times as often.
    ///
    /// After a crash in the middle of a completion the next one is told for so long that the upload is
    /// being completed. A node that stands still for longer, and then goes on, has given the application
    /// a file that another node gave it too.
    pub fn completion_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How many commits with bytes an upload may have, which are mostly its chunks: 100,000 unless set. One
    /// more is refused as if there were no room, 507 on the wire. Each is an object, and a request on the
    /// bill.
    pub fn max_commits(mut self, count: u32) -> Self {
        self.max_commits = count;
        self
    }

    /// Where [`persist`](crate::CompletedUpload::persist) moves files to, such as another bucket: the same
    /// store unless set, and the same for all nodes. It must keep metadata and create-only writes too, which is
    /// tried like with the first: with objects below the same prefix, which are deleted at once.
    pub fn persist_to(mut self, objects: Arc<dyn ObjectStore>) -> Self {
        self.targets = Some(objects);
        self
    }

    /// Another clock, for tests of what happens when time passes. [`Uploads`](crate::Uploads) has
    /// [one of its own](crate::UploadsBuilder::clock): set both.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Of what a file that is persisted is made from, as on a store that takes smaller parts than S3.
    #[cfg(test)]
    pub(crate) fn smallest_part(mut self, bytes: usize) -> Self {
        self.smallest_part = bytes;
        self
    }

    #[cfg(test)]
    pub(crate) fn mutation(mut self, mutation: Mutation) -> Self {
        self.mutation = mutation;
        self
    }

    /// Checks the settings, and that the object store does what everything rests on, which takes some hundred
    /// milliseconds. The first node leaves an object, `PREFIX/settings`, with what all must have alike: the
    /// [grace](Self::grace) and the [lease](Self::completion_lease). To change these, stop all nodes and
    /// delete it.
    ///
    /// # Errors
    /// [`StoreError::Config`] if a setting cannot work or is another than the other nodes have, if the
    /// store cannot be reached or does not let this node read, write, list and delete, and if it ignores or
    /// races the condition of a write.
    pub async fn connect(self) -> Result<BucketStore, StoreError> {
        let store = self.unchecked()?;
        store.bucket.check().await?;
        Ok(store)
    }

    /// Without a look at the object store.
    pub(crate) fn unchecked(self) -> Result<BucketStore, StoreError> {
        let refuse = |problem: &str| StoreError::Config { problem: problem.to_owned() };
        let keys = Keys::new(&self.prefix).ok_or_else(|| {
            refuse("the prefix of a bucket's keys has an empty part, `.` or `..`")
        })?;
        if self.segment == 0 || self.segment > LARGEST_SEGMENT {
            return Err(refuse("a segment has between 1 byte and 1 GiB"));
        }
        let second = Duration::from_secs(1);
        if [self.grace, self.lease].iter().any(|time| *time < second || *time > LONGEST_TIME) {
            return Err(refuse("a grace and a lease have between a second and a year"));
        }
        if self.buffered < self.segment {
            return Err(refuse("max_buffered_bytes is less than segment_bytes"));
        }
        let bucket = Bucket {
            targets: self.targets.unwrap_or_else(|| Arc::clone(&self.objects)),
            objects: self.objects,
            keys,
            segment: self.segment,
            smallest_part: self.smallest_part,
            grace: self.grace,
            lease: self.lease,
            max_commits: self.max_commits,
            clock: self.clock,
            node: nonce(),
            pool: Pool::new(self.buffered),
            known: Mutex::new(Known::new(self.remembered)),
            completing: Mutex::default(),
            under_way: watch::Sender::new(0),
            #[cfg(test)]
            mutation: self.mutation,
        };
        Ok(BucketStore { bucket: Arc::new(bucket) })
    }
}

impl Store for BucketStore {
    type Writer = BucketWriter;

    /// Its settings were checked when it was [connected](BucketStoreBuilder::connect).
    fn check(&self) -> Result<(), StoreError> {
        Ok(())
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

    async fn list(&self, cursor: Option<Cursor>) -> Result<Page, StoreError> {
        self.bucket.list(cursor).await
    }

    fn keeps_due(&self) -> bool {
        true
    }

    async fn due(&self, cursor: Option<Cursor>) -> Result<Page, StoreError> {
        self.bucket.due(cursor).await
    }

    async fn settle(&self) {
        let mut under_way = self.bucket.under_way.subscribe();
        // The sender lives as long as this.
        drop(under_way.wait_for(|under_way| *under_way == 0).await);
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

    /// Does something that goes on when nobody waits for it any more but [`Store::settle`].
    fn begin<T: Send + 'static>(
        self: &Arc<Self>,
        runtime: &Handle,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.under_way.send_modify(|under_way| *under_way += 1);
        let ended = Ended(Arc::clone(self));
        runtime.spawn(async move {
            let _ended = ended;
            work.await
        })
    }

    /// Deletes what nobody needs, sooner or later.
    fn clean(self: &Arc<Self>, keys: Vec<Path>) {
        // Without a runtime, or if it fails, the sweep does it.
        let Ok(runtime) = Handle::try_current() else { return };
        let bucket = Arc::clone(self);
        drop(self.begin(&runtime, async move { drop(bucket.delete(keys).await) }));
    }

    /// Does something to the end. A request that was sent may come true, so what depends on it must know.
    async fn finish<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self.begin(&Handle::current(), work).await {
            Ok(result) => result,
            Err(error) => Err(StoreError::io("finish a request", std::io::Error::other(error))),
        }
    }

    #[cfg(test)]
    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == mutation
    }
}

struct Ended(Arc<Bucket>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.under_way.send_modify(|under_way| *under_way -= 1);
    }
}

impl Known {
    fn new(limit: usize) -> Self {
        Self { limit, uploads: HashMap::new(), order: VecDeque::new(), came: 0 }
    }

    fn get(&self, id: &UploadId) -> Option<Sight> {
        self.uploads.get(id).map(|(_, sight)| sight.clone())
    }

    fn put(&mut self, id: &UploadId, sight: Sight) {
        if let Some((_, old)) = self.uploads.get_mut(id) {
            // Two looks at once may end in either order.
            if old.tail.seq <= sight.tail.seq {
                *old = sight;
            }
            return;
        }
        if sight.weighs() > LARGEST_KNOWN {
            return;
        }
        self.came += 1;
        self.uploads.insert(*id, (self.came, sight));
        self.order.push_back((self.came, *id));
        while self.uploads.len() > self.limit
            && let Some((came, oldest)) = self.order.pop_front()
        {
            if self.uploads.get(&oldest).is_some_and(|(known, _)| *known == came) {
                self.uploads.remove(&oldest);
            }
        }
        if self.order.len() > self.limit.saturating_mul(2) {
            let Self { order, uploads, .. } = self;
            order.retain(|(came, id)| uploads.get(id).is_some_and(|(known, _)| known == came));
        }
    }

    fn forget(&mut self, id: &UploadId) {
        self.uploads.remove(id);
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

impl fmt::Debug for BucketStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketStoreBuilder")
            .field("objects", &self.objects.to_string())
            .field("prefix", &self.prefix)
            .field("segment", &self.segment)
            .finish_non_exhaustive()
    }
}

const DEFAULT_SEGMENT: usize = 8 * 1024 * 1024;
const LARGEST_SEGMENT: usize = 1 << 30;
/// How many uploads, or commits, to look at at the same time.
const AT_ONCE: usize = 16;
/// The smallest part of a multipart upload on S3 but for the last.
const SMALLEST_PART: usize = 5 * 1024 * 1024;
const DEFAULT_BUFFERED: usize = 256 * 1024 * 1024;
const LONGEST_TIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);
const DEFAULT_REMEMBERED: usize = 4096;
/// How long the record of an upload may be that is remembered, in bytes.
const LARGEST_KNOWN: usize = 4096;
