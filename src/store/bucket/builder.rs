//! What can be set of a store in a bucket.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use object_store::ObjectStore;

#[cfg(test)]
use super::Mutation;
use super::keys::Keys;
use super::pool::Pool;
use super::tasks::Tasks;
use super::{Bucket, BucketStore, Known, nonce};
use crate::store::StoreError;

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

impl BucketStoreBuilder {
    pub(super) fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self {
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
            tasks: Tasks::new(),
            #[cfg(test)]
            mutation: self.mutation,
        };
        Ok(BucketStore { bucket: Arc::new(bucket) })
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
/// The smallest part of a multipart upload on S3 but for the last.
const SMALLEST_PART: usize = 5 * 1024 * 1024;
const DEFAULT_BUFFERED: usize = 256 * 1024 * 1024;
const LONGEST_TIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);
const DEFAULT_REMEMBERED: usize = 4096;
