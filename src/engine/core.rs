//! The state that all handles share.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::buffer::Pool;
use super::builder::Expiry;
use super::check::Checks;
use super::claim::Claims;
use super::error::{Error, ErrorKind};
use super::event::DynObserver;
use super::quota::Ledger;
use super::sweep::Swept;
use super::watch::Watches;
use crate::checksum::{DigestAlgorithm, Running};
use crate::store::DynStore;
use crate::upload::{Status, Upload};

pub(super) struct Engine {
    pub(super) store: Box<dyn DynStore>,
    pub(super) observer: Option<Box<dyn DynObserver>>,
    pub(super) claims: Claims,
    pub(super) checks: Checks,
    pub(super) watches: Watches,
    pub(super) watch_interval: Duration,
    pub(super) swept: Swept,
    pub(super) pool: Arc<Pool>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) expiry: Expiry,
    pub(super) max_bytes: Option<u64>,
    pub(super) checksum: bool,
    pub(super) digest_algorithm: DigestAlgorithm,
    pub(super) read_back: bool,
    pub(super) takeover_timeout: Duration,
    pub(super) clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Engine {
    pub(super) fn now(&self) -> SystemTime {
        (self.clock)()
    }

    /// Returns the limit, capped at what the store can hold.
    pub(super) fn within_reach(&self, limit: Option<u64>) -> Option<u64> {
        let max = self.store.capabilities().max_bytes;
        limit.map_or(max, |limit| Some(max.map_or(limit, |max| max.min(limit))))
    }

    pub(super) fn new_checksum(&self) -> Running {
        if self.checksum { Running::new(self.digest_algorithm) } else { Running::crc32() }
    }

    /// The algorithm of the digest that is computed of each upload.
    pub(super) fn computed_digest(&self) -> Option<DigestAlgorithm> {
        self.checksum.then_some(self.digest_algorithm)
    }

    /// Fails with the reason if the upload accepts no more changes.
    pub(super) fn check_open(&self, upload: &Upload) -> Result<(), ErrorKind> {
        if upload.is_expired(self.now()) {
            // An upload does not expire while the application has its file.
            let is_finishing = self.claims.is_finishing(&upload.id);
            return Err(if is_finishing { ErrorKind::Finishing } else { ErrorKind::Expired });
        }
        match upload.status() {
            Status::Complete => Err(ErrorKind::AlreadyComplete),
            Status::Interrupted => Err(ErrorKind::Interrupted),
            Status::Open | Status::Finishing => Ok(()),
        }
    }

    /// Polls for hand-off requests of other processes as long as this process holds any upload.
    pub(super) fn watch(self: &Arc<Self>) {
        if !self.store.capabilities().handoff {
            return;
        }
        self.claims.watch(|| {
            let engine = Arc::clone(self);
            async move {
                loop {
                    tokio::select! {
                        () = tokio::time::sleep(WATCH_INTERVAL) => {
                            let requests = engine.store.handoff_requests().await;
                            for request in requests.unwrap_or_default() {
                                engine.claims.hand_off(&request.id, request.age);
                            }
                        }
                        () = engine.claims.ended() => {
                            if engine.claims.end_watch() {
                                return;
                            }
                        }
                    }
                }
            }
        });
    }
}

/// Fails with the current offset if that is not `at`.
pub(super) fn check_offset(upload: &Upload, at: u64) -> Result<(), Error> {
    match upload.offset() {
        offset if offset == at => Ok(()),
        offset => Err(ErrorKind::OffsetMismatch { offset }.into()),
    }
}

/// The interval between two polls for hand-off requests of other processes.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);
