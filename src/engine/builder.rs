//! The settings of the handle.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::buffer::{Pool, SMALL};
use super::check::Checks;
use super::claim::Claims;
use super::core::Engine;
use super::error::ConfigError;
use super::event::Observer;
use super::quota::{Ledger, Quotas};
use super::sweep::Swept;
use super::uploads::Uploads;
use super::watch::Watches;
use crate::checksum::DigestAlgorithm;
use crate::metric;
use crate::store::DynStore;
use crate::upload::Upload;

/// Settings of [`Uploads`].
#[must_use]
pub struct UploadsBuilder {
    engine: Engine,
    batch: usize,
    batches: usize,
    quotas: Quotas,
}

impl UploadsBuilder {
    pub(super) fn new(store: Box<dyn DynStore>) -> Self {
        Self {
            engine: Engine {
                store,
                observer: None,
                claims: Claims::default(),
                checks: Checks::default(),
                watches: Watches::default(),
                watch_interval: Duration::from_secs(1),
                swept: Swept::default(),
                pool: Pool::new(DEFAULT_BATCH, DEFAULT_BATCHES),
                ledger: Arc::default(),
                expiry: Expiry::AfterCreation(DAY),
                max_bytes: None,
                checksum: true,
                digest_algorithm: DigestAlgorithm::Md5,
                read_back: false,
                takeover_timeout: Duration::from_secs(2),
                clock: Arc::new(SystemTime::now),
            },
            batch: DEFAULT_BATCH,
            batches: DEFAULT_BATCHES,
            quotas: Quotas::default(),
        }
    }

    /// Sets the maximum size of a file, in bytes. It applies to the announced total and to the
    /// bytes that arrive. A larger file is refused with [`TooLarge`](crate::ErrorKind::TooLarge),
    /// 413 on the wire (400 in the chunked protocol). Default: unlimited.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.engine.max_bytes = Some(bytes);
        self
    }

    /// Sets how long after its creation an upload expires. Default: one day. This also ends an
    /// upload that is still receiving chunks. If large files take longer than that, use
    /// [`Expiry::AfterLastChunk`] with [`expiry`](Self::expiry).
    pub fn expires_after(self, life: Duration) -> Self {
        self.expiry(Expiry::AfterCreation(life))
    }

    /// Sets when uploads expire. Default: one day after their creation.
    pub fn expiry(mut self, expiry: Expiry) -> Self {
        self.engine.expiry = expiry;
        self
    }

    /// Sets whether a digest of the file is computed incrementally. Default: on.
    ///
    /// If it is off, completing with a digest reads the whole file. A CRC-32, which costs almost
    /// nothing, is computed instead, so that damage from a power cut is noticed and
    /// [`read_back`](Self::read_back) has something to compare with.
    pub fn checksum(mut self, on: bool) -> Self {
        self.engine.checksum = on;
        self
    }

    /// Sets the algorithm of this digest: MD5, SHA-1, SHA-256, SHA-512 or CRC-32C. Default: MD5,
    /// which the protocol of django-chunked-upload compares.
    ///
    /// Its state is part of the record, so that a file of any size has its digest as soon as the
    /// last byte has arrived ([`CompletedUpload::digest`](crate::CompletedUpload::digest)).
    /// Completing with a digest of another algorithm reads the whole file.
    pub fn digest_algorithm(mut self, algorithm: DigestAlgorithm) -> Self {
        self.engine.digest_algorithm = algorithm;
        self
    }

    /// Sets whether each completion reads the stored bytes and compares them with the checksum that
    /// was computed when they arrived. Default: off, so completing costs the same for every size.
    ///
    /// Use it if you do not trust the disk to return what was written. A file that has changed is
    /// refused with [`Damaged`](crate::ErrorKind::Damaged), 410 on the wire. (If a power cut may
    /// have taken bytes, the file is always read once.)
    pub fn read_back(mut self, on: bool) -> Self {
        self.engine.read_back = on;
        self
    }

    /// Sets the observer, which is notified of the events of all uploads. Default: none.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.engine.observer = Some(Box::new(observer));
        self
    }

    /// Sets how many bytes are collected before they are written, from 16 KiB to 1 GiB. Default:
    /// 512 KiB.
    ///
    /// An upload holds up to two such batches.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch = bytes;
        self
    }

    /// Sets how many batches all uploads together may collect at the same time. Default: 32, which
    /// is 16 MiB in total. Further uploads, and slow ones, use at most 16 KiB each, and less while
    /// they wait for their client.
    ///
    /// A frame of 256 KiB or more, as hyper delivers them from a fast client, is written without
    /// being copied and counts as a batch. An upload beyond the limit holds one such frame at a
    /// time.
    pub fn max_batches(mut self, count: usize) -> Self {
        self.batches = count;
        self
    }

    /// Sets how many unfinished uploads an owner may have. One more is refused with
    /// [`QuotaExceeded`](crate::ErrorKind::QuotaExceeded), 429 on the wire. Default: unlimited.
    ///
    /// Here and in [`max_bytes_per_owner`](Self::max_bytes_per_owner), all uploads without an owner
    /// count as one owner's. An upload counts until the application has taken or discarded its
    /// file, until it is cancelled, or until it is swept after its expiry. A chunk whose
    /// `upload_id` follows it is counted separately until then, up to the same limit.
    ///
    /// If any quota is set, the first creation reads all records, and each unfinished upload takes
    /// about 200 bytes of memory. Uploads that other processes create on the same store are counted
    /// after the next sweep ([`sweep_every`](Uploads::sweep_every)).
    pub fn max_uploads_per_owner(mut self, count: u64) -> Self {
        self.quotas.owner_uploads = Some(count);
        self
    }

    /// Sets how many bytes an owner's unfinished uploads may have in total. Each counts with its
    /// total size, or with the bytes received so far while that is unknown. A request that would
    /// exceed the limit is refused with [`QuotaExceeded`](crate::ErrorKind::QuotaExceeded), 413 on
    /// the wire. Default: unlimited.
    pub fn max_bytes_per_owner(mut self, bytes: u64) -> Self {
        self.quotas.owner_bytes = Some(bytes);
        self
    }

    /// Sets how many bytes all unfinished uploads may have in total, counted in the same way. A
    /// request that would exceed the limit is refused with
    /// [`QuotaExceeded`](crate::ErrorKind::QuotaExceeded), 507 on the wire. Default: unlimited.
    pub fn max_bytes_in_all(mut self, bytes: u64) -> Self {
        self.quotas.all_bytes = Some(bytes);
        self
    }

    /// Sets how much disk space to keep free in the store, in bytes, once all unfinished uploads
    /// have arrived completely. An upload that would need more is refused with
    /// [`QuotaExceeded`](crate::ErrorKind::QuotaExceeded), 507 on the wire. Default: not checked.
    ///
    /// With this setting, a store that cannot report its free space accepts no uploads: they fail
    /// with [`Store`](crate::ErrorKind::Store), 500 on the wire. Those of this crate are
    /// [`MemoryStore`](crate::store::MemoryStore), the store in a bucket, and
    /// [`FsStore`](crate::store::FsStore) on Windows. [`Uploads::check`] succeeds all the same,
    /// with `None` for the [free space](crate::Health::free_bytes).
    pub fn min_free_bytes(mut self, bytes: u64) -> Self {
        self.quotas.free_bytes = Some(bytes);
        self
    }

    /// Sets how long a request waits for another one that holds the same upload and was asked to
    /// stop. Default: 2 seconds. After that, the request is refused with
    /// [`Busy`](crate::ErrorKind::Busy): 409 on the wire, in tus 423, in the IETF draft 503.
    pub fn takeover_timeout(mut self, timeout: Duration) -> Self {
        self.engine.takeover_timeout = timeout;
        self
    }

    /// Sets how often the store is polled for an upload that is
    /// [watched](crate::OwnerUploads::watch), to find what other processes do to it and whether it
    /// has expired. Default: 1 second. Changes by this process are pushed at once.
    pub fn watch_interval(mut self, interval: Duration) -> Self {
        self.engine.watch_interval = interval;
        self
    }

    /// Sets another clock, for tests of what happens when time passes. Default: the system clock.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.engine.clock = Arc::new(clock);
        self
    }

    /// Checks the settings and returns the handle.
    ///
    /// # Errors
    /// [`ConfigError`] if the store's path pattern is invalid, a batch is too small or too large,
    /// uploads would expire immediately, or the [`watch_interval`](Self::watch_interval) is zero.
    pub fn build(mut self) -> Result<Uploads, ConfigError> {
        self.engine.store.check().map_err(|error| ConfigError::new(error.to_string()))?;
        if !(SMALL..=LARGEST_BATCH).contains(&self.batch) {
            return Err(ConfigError::new("a batch must have between 16 KiB and 1 GiB"));
        }
        if let Expiry::AfterCreation(Duration::ZERO) | Expiry::AfterLastChunk(Duration::ZERO) =
            self.engine.expiry
        {
            return Err(ConfigError::new("the lifetime of uploads must not be zero"));
        }
        if self.engine.watch_interval.is_zero() {
            return Err(ConfigError::new("the watch interval must not be zero"));
        }
        metric::describe();
        self.engine.pool = Pool::new(self.batch, self.batches);
        self.engine.ledger = Ledger::new(self.quotas);
        Ok(Uploads::new(self.engine))
    }
}

impl fmt::Debug for UploadsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadsBuilder")
            .field("expiry", &self.engine.expiry)
            .field("max_bytes", &self.engine.max_bytes)
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}

/// When uploads expire. An expired upload accepts no more bytes, and a sweep removes it.
///
/// If the application has [persisted](crate::CompletedUpload::persist) a file, only its record is
/// removed. A finished file that it left in the store goes with the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expiry {
    /// Never.
    Never,
    /// This long after their creation.
    AfterCreation(Duration),
    /// This long after the last chunk.
    AfterLastChunk(Duration),
}

impl Expiry {
    pub(super) fn at_creation(self, now: SystemTime) -> Option<SystemTime> {
        let (Self::AfterCreation(life) | Self::AfterLastChunk(life)) = self else { return None };
        now.checked_add(life).map(crate::time::to_millis)
    }

    pub(super) fn after_chunk(self, upload: &Upload, now: SystemTime) -> Option<SystemTime> {
        match self {
            Self::AfterLastChunk(_) => self.at_creation(now),
            _ => upload.expires(),
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_BATCH: usize = 512 * 1024;
const LARGEST_BATCH: usize = 1 << 30;
const DEFAULT_BATCHES: usize = 32;
