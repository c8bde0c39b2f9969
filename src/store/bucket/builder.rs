//! The settings of a store in a bucket.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use object_store::ObjectStore;

use super::check;
use super::clock::Clock;
#[cfg(test)]
use super::clock::Mutation;
use super::entry::nonce;
use super::heartbeat::Heartbeats;
use super::index::ExpiryIndex;
use super::keys::Keys;
use super::log::CommitLog;
use super::mover::Mover;
use super::node::Node;
use super::objects::Objects;
use super::pool::Pool;
use super::reader::Files;
use super::snapshot::Snapshots;
use super::store::BucketStore;
use super::targets::Targets;
use crate::store::{Result, StoreError};
use crate::task;

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
    lease: Duration,
    max_commits: u32,
    clock: Clock,
}

impl BucketStore {
    /// Returns the settings for uploads in `objects`.
    pub fn builder(objects: Arc<dyn ObjectStore>) -> BucketStoreBuilder {
        BucketStoreBuilder {
            objects,
            targets: None,
            prefix: "chunked_uploads".to_owned(),
            segment: 8 * 1024 * 1024,
            smallest_part: SMALLEST_PART,
            buffered: 256 * 1024 * 1024,
            remembered: 4096,
            lease: Duration::from_secs(15),
            max_commits: 500_000,
            clock: Clock {
                wall: Arc::new(SystemTime::now),
                grace: Duration::from_secs(60 * 60),
                #[cfg(test)]
                mutation: Mutation::None,
            },
        }
    }
}

impl BucketStoreBuilder {
    /// Sets what the keys of all objects begin with. Default: `chunked_uploads`. It must be the
    /// same on all nodes, and nothing else may be stored below it.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets how many bytes of an upload are buffered in memory before they become an object, from 1
    /// byte to 1 GiB. Default: 8 MiB. A chunk of at most that size is one `PUT`. It may differ
    /// between nodes.
    pub fn segment_bytes(mut self, bytes: usize) -> Self {
        self.segment = bytes;
        self
    }

    /// Sets how many bytes all uploads on this node together may buffer, at least a segment.
    /// Default: 256 MiB. Beyond that, the largest buffers become objects early. Files that are
    /// being persisted may use as much again.
    pub fn max_buffered_bytes(mut self, bytes: usize) -> Self {
        self.buffered = bytes;
        self
    }

    /// Sets how many uploads this node keeps in its cache, of about 1 KiB each. Default: 4,096.
    ///
    /// It should be more than the uploads that clients send to this node at the same time. A chunk
    /// of an upload that is not in the cache costs one more `GET`, `LIST` and `HEAD`. It may differ
    /// between nodes.
    pub fn remembered_uploads(mut self, count: usize) -> Self {
        self.remembered = count;
        self
    }

    /// Sets how long the objects of a removed upload are kept, from a second to a year. Default: 1
    /// hour.
    ///
    /// It must be the same on all nodes, since each trusts what it has read for half as long. So a
    /// node whose setting differs from that of the first node is refused. It must be longer than
    /// twice the time that a request to the store can take, with all retries of its client, and
    /// much longer than the nodes' clocks differ. With the defaults of `object_store`, which are
    /// three and a half minutes at most for each of the four tries that are made here, an hour is
    /// enough.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.clock.grace = grace;
        self
    }

    /// Sets how long a node that has given an upload to the application may be silent before
    /// another node may complete it, from a second to a year. Default: 15 seconds. It must be the
    /// same on all nodes, like the [grace](Self::grace). A living node writes four heartbeats in
    /// that time.
    ///
    /// After a crash in the middle of a completion, requests are refused for that long, because the
    /// upload is being completed. If a node is stalled for longer and then continues, the
    /// application may have got the file from two nodes.
    pub fn completion_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets how many commits with bytes an upload may have, which are mostly its chunks. Default:
    /// 500,000. One more is refused as if the store were full, 507 on the wire. Each is an object,
    /// and costs a request.
    pub fn max_commits(mut self, count: u32) -> Self {
        self.max_commits = count;
        self
    }

    /// Sets where [`persist`](crate::CompletedUpload::persist) moves files to, such as another
    /// bucket. Default: the same store. It must be the same on all nodes, and must support metadata
    /// and create-only writes too. [`connect`](Self::connect) tests that as with the first store:
    /// with objects below the same prefix, which it deletes at once.
    pub fn persist_to(mut self, objects: Arc<dyn ObjectStore>) -> Self {
        self.targets = Some(objects);
        self
    }

    /// Sets another clock, for tests of what happens when time passes. Default: the system's.
    /// [`Uploads`](crate::Uploads) has [a clock of its own](crate::UploadsBuilder::clock): set
    /// both.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock.wall = Arc::new(clock);
        self
    }

    /// The smallest part of a persisted file, as on a store that takes smaller parts than S3.
    #[cfg(test)]
    pub(crate) fn smallest_part(mut self, bytes: usize) -> Self {
        self.smallest_part = bytes;
        self
    }

    #[cfg(test)]
    pub(crate) fn mutation(mut self, mutation: Mutation) -> Self {
        self.clock.mutation = mutation;
        self
    }

    /// Checks the settings, tests whether the object store can do what is needed, and returns the
    /// store. This takes some hundred milliseconds. The first node leaves an object,
    /// `PREFIX/settings`, with the settings that all nodes must share: the [grace](Self::grace) and
    /// the [lease](Self::completion_lease). To change these, stop all nodes and delete it.
    ///
    /// # Errors
    /// [`StoreError::Config`] if a setting cannot work or differs from that of the other nodes, if
    /// the store cannot be reached or does not let this node read, write, list and delete, and if
    /// it ignores the condition of a write or lets two writers win.
    pub async fn connect(self) -> Result<BucketStore> {
        let lease = self.lease;
        let store = self.unchecked()?;
        check::check(&store.node.log, &store.node.files.targets.objects, lease).await?;
        Ok(store)
    }

    /// Without a look at the object store.
    pub(crate) fn unchecked(self) -> Result<BucketStore> {
        let keys = self.checked()?;
        let objects = Objects { store: self.objects };
        let targets = self.targets.map_or_else(|| objects.clone(), |store| Objects { store });
        let pool = Pool::new(objects.clone(), keys.clone(), self.segment, self.buffered);
        let index = ExpiryIndex { objects: objects.clone(), keys: keys.clone() };
        let log = Arc::new(CommitLog { objects, keys, clock: self.clock, node: nonce() });
        let snapshots = Arc::new(Snapshots::new(Arc::clone(&log), self.remembered));
        let (targets, part) = (Targets { objects: targets }, self.segment as u64);
        let files = Arc::new(Files { snapshots: Arc::clone(&snapshots), targets, part });
        let tasks = task::tracker();
        let part = self.segment.max(self.smallest_part) as u64;
        let mover = Mover::new(&files, index.clone(), tasks.clone(), part, self.buffered);
        let heartbeats = Arc::new(Heartbeats::new(&snapshots, self.lease));
        let (mover, max_commits) = (Arc::new(mover), self.max_commits);
        let node =
            Node { log, snapshots, index, files, heartbeats, mover, pool, tasks, max_commits };
        Ok(BucketStore { node: Arc::new(node) })
    }

    fn checked(&self) -> Result<Keys> {
        let refuse = |problem: &str| Err(StoreError::Config { problem: problem.to_owned() });
        let Some(keys) = Keys::new(&self.prefix) else {
            return refuse("the prefix of a bucket's keys has an empty part, `.` or `..`");
        };
        if self.segment == 0 || self.segment > LARGEST_SEGMENT {
            return refuse("a segment must have between 1 byte and 1 GiB");
        }
        let times = Duration::from_secs(1)..=LONGEST_TIME;
        if [self.clock.grace, self.lease].iter().any(|time| !times.contains(time)) {
            return refuse("a grace and a lease must be between a second and a year");
        }
        if self.buffered < self.segment {
            return refuse("max_buffered_bytes is less than segment_bytes");
        }
        Ok(keys)
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

const LARGEST_SEGMENT: usize = 1 << 30;
/// The smallest part of a multipart upload on S3 but for the last.
const SMALLEST_PART: usize = 5 * 1024 * 1024;
const LONGEST_TIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);
