//! What can be set of the handle.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::buffer::{Pool, SMALL};
use super::claim::Claims;
use super::core::Engine;
use super::error::ConfigError;
use super::event::Observer;
use super::quota::{Ledger, Quotas};
use super::sweep::Swept;
use super::uploads::Uploads;
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
                swept: Swept::default(),
                pool: Pool::new(DEFAULT_BATCH, DEFAULT_BATCHES),
                ledger: Arc::default(),
                expiry: Expiry::AfterCreation(DAY),
                max_bytes: None,
                checksum: true,
                read_back: false,
                takeover_timeout: Duration::from_secs(2),
                clock: Arc::new(SystemTime::now),
            },
            batch: DEFAULT_BATCH,
            batches: DEFAULT_BATCHES,
            quotas: Quotas::default(),
        }
    }

    /// The largest size of a file, in bytes. It counts for the announced total and for the bytes
    /// that come. Unlimited unless set.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.engine.max_bytes = Some(bytes);
        self
    }

    /// How long after its beginning an upload expires; one day unless set.
    pub fn expires_after(self, life: Duration) -> Self {
        self.expiry(Expiry::AfterCreation(life))
    }

    /// When uploads expire; one day after their beginning unless set.
    pub fn expiry(mut self, expiry: Expiry) -> Self {
        self.engine.expiry = expiry;
        self
    }

    /// Whether an MD5 runs along with the bytes; it does unless switched off.
    ///
    /// Without it, completing with a digest reads the whole file. A CRC-32, which costs next to
    /// nothing, runs along instead, so that what a power cut damages is noticed, and
    /// [`read_back`](Self::read_back) has something to compare with.
    pub fn checksum(mut self, on: bool) -> Self {
        self.engine.checksum = on;
        self
    }

    /// Whether each completion reads the stored bytes and compares them with the checksum that ran along
    /// when they came; it does not unless switched on, and completing then costs the same for every size.
    ///
    /// For a disk that is not trusted to give back what it was given. A file that has changed is refused
    /// with [`Damaged`](crate::ErrorKind::Damaged), 410 on the wire. (Where a power cut may have taken
    /// bytes, the file is read once in any case.)
    pub fn read_back(mut self, on: bool) -> Self {
        self.engine.read_back = on;
        self
    }

    /// Who is told what happens to uploads.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.engine.observer = Some(Box::new(observer));
        self
    }

    /// How many bytes are gathered at most before they are written: 512 KiB unless set, from 16 KiB
    /// to 1 GiB.
    ///
    /// An upload holds up to two such batches.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch = bytes;
        self
    }

    /// How many batches all uploads together may gather at the same time: 32 unless set, 16 MiB in
    /// all. Uploads beyond that, and slow ones, get along with 16 KiB each, and with less while they
    /// wait for their client.
    ///
    /// A frame of 256 KiB or more, as hyper has them from a fast client, is written as it is and counts
    /// as a batch; an upload beyond the number holds one such frame at a time.
    pub fn max_batches(mut self, count: usize) -> Self {
        self.batches = count;
        self
    }

    /// How many unfinished uploads an owner may have; one more is refused with
    /// [`QuotaExceeded`](crate::ErrorKind::QuotaExceeded), 429 on the wire. Unlimited unless set.
    ///
    /// Here and in [`max_bytes_per_owner`](Self::max_bytes_per_owner), all uploads without owner are
    /// one owner's. An upload counts until the application has taken or discarded its file, it was
    /// cancelled, or it was swept after its expiry. A chunk whose `upload_id` comes behind it is counted apart while
    /// it waits, up to the same limit.
    ///
    /// With any quota set, the first creation reads all records, and each unfinished upload takes some
    /// 200 bytes of memory. What other processes on the same store create is counted from the next sweep
    /// ([`sweep_every`](Uploads::sweep_every)) on.
    pub fn max_uploads_per_owner(mut self, count: u64) -> Self {
        self.quotas.owner_uploads = Some(count);
        self
    }

    /// How many bytes an owner's unfinished uploads may have together: of each its total, or what has
    /// come as long as that is not known. What would exceed it is refused with
    /// [`QuotaExceeded`](crate::ErrorKind::QuotaExceeded), 413 on the wire. Unlimited unless set.
    pub fn max_bytes_per_owner(mut self, bytes: u64) -> Self {
        self.quotas.owner_bytes = Some(bytes);
        self
    }

    /// How many bytes all unfinished uploads may have together, counted in the same way; 507 on the
    /// wire. Unlimited unless set.
    pub fn max_bytes_in_all(mut self, bytes: u64) -> Self {
        self.quotas.all_bytes = Some(bytes);
        self
    }

    /// How many bytes must stay free in the store when all uploads have come that were begun; 507 on the
    /// wire. Not looked at unless set. A store that cannot tell takes no upload then.
    pub fn min_free_bytes(mut self, bytes: u64) -> Self {
        self.quotas.free_bytes = Some(bytes);
        self
    }

    /// How long a request waits for another one that holds the same upload and was asked to stop:
    /// 2 seconds unless set.
    pub fn takeover_timeout(mut self, timeout: Duration) -> Self {
        self.engine.takeover_timeout = timeout;
        self
    }

    /// Another clock, for tests of what happens when time passes.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.engine.clock = Arc::new(clock);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// A store's path pattern that is not one, a batch that is too small or too large, a life of no
    /// time.
    pub fn build(mut self) -> Result<Uploads, ConfigError> {
        self.engine.store.check().map_err(|error| ConfigError::new(error.to_string()))?;
        if !(SMALL..=LARGEST_BATCH).contains(&self.batch) {
            return Err(ConfigError::new("a batch has between 16 KiB and 1 GiB"));
        }
        if let Expiry::AfterCreation(Duration::ZERO) | Expiry::AfterLastChunk(Duration::ZERO) =
            self.engine.expiry
        {
            return Err(ConfigError::new("uploads would expire when they begin"));
        }
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

/// When uploads expire: nothing more is taken for them, and a sweep removes them.
///
/// A file that the application has taken is not touched; only its record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expiry {
    /// Never.
    Never,
    /// This long after they began.
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
