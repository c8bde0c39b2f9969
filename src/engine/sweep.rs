//! Removing expired uploads.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lru::LruCache;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use super::access::Scope;
use super::claim::Arrival;
use super::core::Engine;
use super::error::Error;
use super::event::Event;
use super::lock;
use super::quota::Scan;
use crate::id::UploadId;
use crate::log;
use crate::metric::{self, Timer};
use crate::store::{Cursor, Remains, StoreError};
use crate::task::{self, Detached};
use crate::upload::{Owner, Status, Upload};

/// The result of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expired {
    /// Complete uploads that were removed, with their files unless the application had persisted those.
    pub complete: u64,
    /// Incomplete uploads that were removed.
    pub incomplete: u64,
    /// Damaged uploads that were removed, because what is left of their records shows that they
    /// have expired.
    pub damaged: u64,
    /// Uploads that were not removed: expired ones that are in use or whose removal failed, and
    /// damaged ones that have not expired or whose expiry is unknown.
    pub skipped: u64,
}

/// Sweeps the store without pausing.
pub(super) async fn delete_expired(engine: &Arc<Engine>, scope: &Scope) -> Result<Expired, Error> {
    let mut sweep = Sweep::begin(engine, scope);
    while sweep.page().await? {}
    Ok(sweep.end())
}

/// Sweeps the store at a limited rate. Once `end` completes, it stops before the next page.
async fn delete_throttled(
    engine: &Arc<Engine>,
    end: impl Future<Output = ()>,
) -> Result<(), Error> {
    let mut end = pin!(end);
    let mut sweep = Sweep::begin(engine, &Scope::All);
    loop {
        let (start, waits) = (Instant::now(), sweep.by_index);
        let more = sweep.page().await?;
        // Waiting for the network needs no additional pause.
        let pause = if waits { Duration::ZERO } else { (start.elapsed() * RATIO).min(MAX_PAUSE) };
        tokio::select! {
            biased;
            () = &mut end => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        if !more {
            sweep.end();
            return Ok(());
        }
    }
}

/// A sweep in progress.
struct Sweep<'a> {
    engine: &'a Arc<Engine>,
    scope: &'a Scope,
    /// If it is dropped before it is finished, the ledger forgets nothing.
    scan: Option<Scan>,
    /// Whether the sweep reads the store's expiry index and not all uploads.
    by_index: bool,
    cursor: Option<Cursor>,
    expired: Expired,
    /// How many uploads are not complete, of those that were read.
    unfinished: u64,
    timer: Timer,
}

impl<'a> Sweep<'a> {
    fn begin(engine: &'a Arc<Engine>, scope: &'a Scope) -> Self {
        // Only a sweep of all uploads can correct the ledger.
        let scan = if scope.is_all() { engine.ledger.begin_scan() } else { None };
        let by_index = engine.store.capabilities().expiry_index;
        let expired = Expired::default();
        let timer = Timer::start();
        Self { engine, scope, scan, by_index, cursor: None, expired, unfinished: 0, timer }
    }

    fn end(self) -> Expired {
        if self.scope.is_all() {
            self.timer.swept(self.expired.skipped);
            if !self.engine.store.capabilities().expiry_index {
                metric::unfinished(self.unfinished);
            }
        }
        self.expired
    }

    /// Sweeps one page of uploads, and returns whether there are more.
    async fn page(&mut self) -> Result<bool, Error> {
        let (store, cursor) = (&*self.engine.store, self.cursor.take());
        let page = match &self.scan {
            _ if self.by_index => store.list_expiring(cursor).await?,
            Some(scan) => scan.page(store, cursor).await?,
            None => store.list(cursor).await?,
        };
        let unfinished = |upload: &&Upload| upload.status() != Status::Complete;
        self.unfinished += page.uploads.iter().flatten().filter(unfinished).count() as u64;
        self.remove_expired(page.uploads).await;
        if self.scope.is_all() {
            for id in page.abandoned {
                discard(self.engine, &id).await;
            }
        }
        self.cursor = page.next;
        if self.cursor.is_some() {
            return Ok(true);
        }
        if std::mem::take(&mut self.by_index) {
            // The expired uploads are removed. Correcting the ledger needs a pass over all others.
            return Ok(self.scan.is_some());
        }
        if let Some(scan) = self.scan.take() {
            scan.finish();
        }
        Ok(false)
    }

    async fn remove_expired(&mut self, uploads: Vec<Result<Upload, StoreError>>) {
        let at_once = if self.by_index { INDEX_CONCURRENCY } else { 1 };
        // An index may name an upload more than once.
        let (mut removals, mut started) = (JoinSet::new(), HashSet::new());
        for upload in uploads {
            let id = match upload {
                Ok(upload) if !self.scope.contains(&upload) => continue,
                Ok(upload) if !upload.is_expired(self.engine.now()) => continue,
                Ok(upload) => upload.id,
                Err(StoreError::Damaged { id, .. }) => id,
                Err(error) => {
                    log::failed("read a record", None, &error);
                    self.expired.skipped += 1;
                    continue;
                }
            };
            if !started.insert(id) {
                continue;
            }
            if removals.len() == at_once {
                self.add(removals.join_next().await);
            }
            let (engine, scope) = (Arc::clone(self.engine), self.scope.clone());
            removals.spawn(async move { (id, remove(&engine, &scope, &id).await) });
        }
        while !removals.is_empty() {
            self.add(removals.join_next().await);
        }
    }

    fn add(&mut self, removal: Option<Result<Removal, JoinError>>) {
        let Some((id, removed)) = removal.and_then(task::joined) else { return };
        match removed {
            Ok(None) => {}
            Ok(Some(Removed::Complete)) => self.expired.complete += 1,
            Ok(Some(Removed::Incomplete)) => self.expired.incomplete += 1,
            Ok(Some(Removed::Damaged)) => self.expired.damaged += 1,
            Err(error) => {
                if !matches!(error, StoreError::Busy | StoreError::Conflict) {
                    log::failed("remove an expired upload", Some(&id), &error);
                }
                self.expired.skipped += 1;
            }
        }
    }
}

type Removal = (UploadId, Result<Option<Removed>, StoreError>);

/// What kind of upload was removed.
pub(super) enum Removed {
    Complete,
    Incomplete,
    Damaged,
}

/// Removes the upload, unless its expiry was extended since it was listed.
///
/// A removal that has begun ends, even if nobody waits for it any more: what must follow it could not
/// be made up for.
pub(super) async fn remove(
    engine: &Arc<Engine>,
    scope: &Scope,
    id: &UploadId,
) -> Result<Option<Removed>, StoreError> {
    let (engine, scope, id) = (Arc::clone(engine), scope.clone(), *id);
    let removal = Detached::new(async move { remove_claimed(&engine, &scope, &id).await });
    // The runtime is shutting down if there is no result.
    removal.await.unwrap_or(Err(StoreError::Busy))
}

async fn remove_claimed(
    engine: &Engine,
    scope: &Scope,
    id: &UploadId,
) -> Result<Option<Removed>, StoreError> {
    // In a store without leases, only the claim shows that the upload is in use.
    let Some(_claim) = engine.claims.try_claim(id, Arrival::now()) else {
        return Err(StoreError::Busy);
    };
    let writer = match engine.store.writer(id).await {
        Err(StoreError::NotFound | StoreError::Removed { .. }) => return Ok(None),
        Err(damage @ StoreError::Damaged { .. }) => {
            return remove_damaged(engine, scope, id, damage).await;
        }
        writer => writer?,
    };
    let upload: Upload = writer.upload().clone();
    if !engine.is_expired(&upload).await? {
        return Ok(None);
    }
    if engine.is_needed(&upload).await? {
        return Err(StoreError::Busy);
    }
    writer.remove().await?;
    engine.ledger.close(id);
    engine.swept.remember(&upload);
    let removed = match upload.status() {
        Status::Complete => Removed::Complete,
        Status::Open | Status::Finishing | Status::Interrupted => Removed::Incomplete,
    };
    engine.tell(Event::Expired(upload), &None).await;
    Ok(Some(removed))
}

/// Removes a damaged upload if it has expired according to what is left of its record, or else
/// according to when it was last written.
async fn remove_damaged(
    engine: &Engine,
    scope: &Scope,
    id: &UploadId,
    damage: StoreError,
) -> Result<Option<Removed>, StoreError> {
    let Remains { record, expires, written, .. } = engine.store.remains(id).await?;
    let (ours, expires) = match &record {
        Some(record) => (scope.contains(record), record.expires()),
        None => {
            let life = || written.and_then(|time| engine.expiry.at_creation(time));
            (scope.is_all(), expires.or_else(life))
        }
    };
    if !ours {
        return Ok(None);
    }
    if expires.is_none_or(|expires| expires > engine.now()) {
        return Err(damage);
    }
    if !engine.store.remove_damaged(id).await? {
        return Ok(None);
    }
    log::failed("trust an expired upload, so it is removed", Some(id), &damage);
    engine.ledger.close(id);
    if let Some(record) = record {
        engine.swept.remember(&record);
        engine.tell(Event::Expired(record), &None).await;
    }
    Ok(Some(Removed::Damaged))
}

async fn discard(engine: &Engine, id: &UploadId) {
    match engine.store.discard(id).await {
        Ok(()) | Err(StoreError::Busy | StoreError::Conflict) => {}
        Err(error) => log::failed("remove what is left of an upload", Some(id), &error),
    }
}

/// The uploads that were swept most recently. Their clients are told that the upload has expired,
/// and not that it never existed.
#[derive(Debug)]
pub(super) struct Swept {
    owners: Mutex<LruCache<UploadId, Option<Owner>>>,
}

impl Default for Swept {
    fn default() -> Self {
        Self { owners: Mutex::new(LruCache::new(SWEPT_CAPACITY)) }
    }
}

impl Swept {
    fn remember(&self, upload: &Upload) {
        lock(&self.owners).put(upload.id, upload.owner.clone());
    }

    /// Whether the upload is one of them and within the scope.
    pub(super) fn contains(&self, id: &UploadId, scope: &Scope) -> bool {
        lock(&self.owners).peek(id).is_some_and(|owner| scope.owns(id, owner.as_ref()))
    }
}

/// Removes expired uploads in the background until it is stopped or dropped, or until the uploads
/// are [shut down](crate::Uploads::shutdown).
#[derive(Debug)]
#[must_use = "the sweeper stops when it is dropped"]
pub struct Sweeper {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Sweeper {
    pub(super) fn start(engine: Arc<Engine>, every: Duration) -> Self {
        // Also cancelled when the handle is dropped.
        let stop = engine.claims.closing();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            loop {
                // Taken before the check, so that a shutdown that starts right after it waits for
                // this sweep.
                let guard = engine.claims.guard();
                if engine.claims.is_closed() {
                    return;
                }
                let (engine, end) = (Arc::clone(&engine), stopped.clone().cancelled_owned());
                // On a separate task, so that a panic of an observer ends only this sweep.
                let sweep = async move {
                    let _guard = guard;
                    delete_throttled(&engine, end).await
                };
                match tokio::spawn(sweep).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => log::failed("sweep the store", None, &error),
                    Err(error) => log::failed("sweep the store", None, &error),
                }
                tokio::select! {
                    () = tokio::time::sleep(every) => {}
                    () = stopped.cancelled() => return,
                }
            }
        });
        Self { stop: stop.drop_guard(), task }
    }

    /// Stops the sweeper. If a sweep is in progress, it stops after the current page of the store,
    /// and this waits for it. The next sweep removes the rest.
    pub async fn stop(self) {
        drop(self.stop);
        // If the runtime has ended the task, there is nothing to wait for.
        let _ended: Option<()> = task::join(self.task).await;
    }
}

const SWEPT_CAPACITY: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// How many uploads are removed concurrently from a store with an expiry index, which is usually
/// remote.
const INDEX_CONCURRENCY: usize = 16;
/// How long a background sweep pauses after each page, as a multiple of the time that the page
/// took.
const RATIO: u32 = 3;
/// The longest pause. A page that took more than a third of it was mostly waiting for a disk or an
/// observer, and used little CPU time.
const MAX_PAUSE: Duration = Duration::from_secs(60);
