//! Removing what has expired.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as StdInstant};

use lru::LruCache;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::access::Scope;
use super::core::Engine;
use super::error::Error;
use super::event::Event;
use super::quota::Count;
use crate::id::UploadId;
use crate::log;
use crate::store::{Cursor, Remains, StoreError};
use crate::task;
use crate::upload::{Owner, Status, Upload};

/// What a sweep has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expired {
    /// Uploads that were complete. Their files are gone unless the application had taken them.
    pub complete: u64,
    /// Uploads that were not.
    pub incomplete: u64,
    /// Uploads that were damaged, and whose time had come by what could still be told of them.
    pub damaged: u64,
    /// Expired uploads that are left, since they are in use or the store failed, and damaged ones whose time
    /// has not come or cannot be told.
    pub skipped: u64,
}

/// Goes through the store without a pause.
pub(super) async fn delete_expired(engine: &Arc<Engine>, scope: &Scope) -> Result<Expired, Error> {
    let mut sweep = Sweep::begin(engine, scope);
    while sweep.page().await? {}
    Ok(sweep.expired)
}

/// The same at a bounded rate, until `end` comes: then it stops before the next page.
async fn delete_at_leisure(
    engine: &Arc<Engine>,
    scope: &Scope,
    end: impl Future<Output = ()>,
) -> Result<(), Error> {
    let mut end = pin!(end);
    let mut sweep = Sweep::begin(engine, scope);
    loop {
        let (start, waits) = (Instant::now(), sweep.by_index);
        let more = sweep.page().await?;
        // Who waits for a network need not rest from it.
        let rest = if waits { Duration::ZERO } else { (start.elapsed() * REST).min(LONGEST_REST) };
        tokio::select! {
            biased;
            () = &mut end => return Ok(()),
            () = tokio::time::sleep(rest) => {}
        }
        if !more {
            return Ok(());
        }
    }
}

/// A sweep on its way through the store.
struct Sweep<'a> {
    engine: &'a Arc<Engine>,
    scope: &'a Scope,
    /// Dropped without its end, it has forgotten nothing.
    count: Option<Count>,
    /// Whether the store's index of what is due is gone through, and not all uploads.
    by_index: bool,
    cursor: Option<Cursor>,
    expired: Expired,
}

impl<'a> Sweep<'a> {
    fn begin(engine: &'a Arc<Engine>, scope: &'a Scope) -> Self {
        // Only who sees all uploads can count them.
        let count = if scope.is_all() { engine.ledger.begin_count() } else { None };
        let by_index = engine.store.capabilities().expiry_index;
        Self { engine, scope, count, by_index, cursor: None, expired: Expired::default() }
    }

    /// Sweeps some of the uploads; whether there are more.
    async fn page(&mut self) -> Result<bool, Error> {
        let (store, cursor) = (&*self.engine.store, self.cursor.take());
        let page = match &self.count {
            _ if self.by_index => store.list_expiring(cursor).await?,
            Some(count) => count.page(store, cursor).await?,
            None => store.list(cursor).await?,
        };
        self.look_at(page.uploads).await;
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
            // What is due is gone; to count the rest all are gone through.
            return Ok(self.count.is_some());
        }
        if let Some(count) = self.count.take() {
            count.finish();
        }
        Ok(false)
    }

    async fn look_at(&mut self, uploads: Vec<Result<Upload, StoreError>>) {
        let at_once = if self.by_index { AT_ONCE } else { 1 };
        // An index may name an upload more than once.
        let (mut removals, mut begun) = (JoinSet::new(), HashSet::new());
        for upload in uploads {
            let id = match upload {
                Ok(upload) if !self.scope.knows(&upload) => continue,
                Ok(upload) if !upload.is_expired(self.engine.now()) => continue,
                Ok(upload) => upload.id,
                Err(StoreError::Damaged { id, .. }) => id,
                Err(error) => {
                    log::failed("read a record", None, &error);
                    self.expired.skipped += 1;
                    continue;
                }
            };
            if !begun.insert(id) {
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
        let (id, removed) = match removal.and_then(task::joined) {
            Some(removal) => removal,
            None => return,
        };
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

/// What an upload was that was removed.
pub(super) enum Removed {
    Complete,
    Incomplete,
    Damaged,
}

/// Removes the upload unless it lives again since it was listed.
pub(super) async fn remove(
    engine: &Engine,
    scope: &Scope,
    id: &UploadId,
) -> Result<Option<Removed>, StoreError> {
    // In a store without leases nobody else says that it is in use.
    let Some(_claim) = engine.claims.try_claim(id, StdInstant::now()) else {
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
    if !upload.is_expired(engine.now()) {
        return Ok(None);
    }
    writer.remove().await?;
    engine.ledger.close(id);
    engine.swept.remember(&upload);
    let removed = match upload.status() {
        Status::Complete => Removed::Complete,
        Status::Open | Status::Finishing => Removed::Incomplete,
    };
    engine.tell(Event::Expired(upload), &None).await;
    Ok(Some(removed))
}

/// Removes the upload if its time has come by its own record, or else by when it was written last.
async fn remove_damaged(
    engine: &Engine,
    scope: &Scope,
    id: &UploadId,
    damage: StoreError,
) -> Result<Option<Removed>, StoreError> {
    let Remains { record, expires, written, .. } = engine.store.remains(id).await?;
    let (ours, expires) = match &record {
        Some(record) => (scope.knows(record), record.expires()),
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
    log::failed("trust an upload that has expired, and removes it", Some(id), &damage);
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
        Err(error) => log::failed("remove what an upload left", Some(id), &error),
    }
}

/// The uploads that were swept last, so that their clients are told that they came too late and not
/// that there never was such an upload.
#[derive(Debug)]
pub(super) struct Swept {
    owners: Mutex<LruCache<UploadId, Option<Owner>>>,
}

impl Default for Swept {
    fn default() -> Self {
        Self { owners: Mutex::new(LruCache::new(REMEMBERED)) }
    }
}

impl Swept {
    fn owners(&self) -> MutexGuard<'_, LruCache<UploadId, Option<Owner>>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, upload: &Upload) {
        self.owners().put(upload.id, upload.owner.clone());
    }

    /// Whether the upload was one of them, and the scope's.
    pub(super) fn knows(&self, id: &UploadId, scope: &Scope) -> bool {
        self.owners().peek(id).is_some_and(|owner| scope.owns(owner.as_ref()))
    }
}

/// Removes expired uploads in the background, until it is stopped or dropped or the uploads are
/// [shut down](crate::Uploads::shutdown).
#[derive(Debug)]
#[must_use = "the sweeper stops when it is dropped"]
pub struct Sweeper {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Sweeper {
    pub(super) fn start(engine: Arc<Engine>, every: Duration) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            loop {
                // Before the look, so that a shutdown that begins now waits for it.
                let guard = engine.claims.guard();
                if engine.claims.is_closed() {
                    return;
                }
                let end = ended(stopped.clone(), guard.closing());
                let stop = ended(stopped.clone(), guard.closing());
                let engine = Arc::clone(&engine);
                // On a task of its own, so that a panic of an observer ends this sweep and not all.
                let sweep = async move {
                    let _guard = guard;
                    delete_at_leisure(&engine, &Scope::All, end).await
                };
                match tokio::spawn(sweep).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => log::failed("sweep the store", None, &error),
                    Err(error) => log::failed("sweep the store", None, &error),
                }
                tokio::select! {
                    () = tokio::time::sleep(every) => {}
                    () = stop => return,
                }
            }
        });
        Self { stop: stop.drop_guard(), task }
    }

    /// Ends the sweep that is under way, if one is, as soon as it has done with the page of the store
    /// that it is at, and waits for that. What is left is for another sweep.
    pub async fn stop(self) {
        drop(self.stop);
        // Of a task that the runtime has ended nothing is under way.
        let _ended: Option<()> = task::join(self.task).await;
    }
}

/// Waits until a sweeper is to end.
async fn ended(stopped: CancellationToken, closing: impl Future<Output = ()>) {
    tokio::select! {
        // Also when the handle is dropped.
        () = stopped.cancelled() => {}
        () = closing => {}
    }
}

const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// How many uploads to remove at the same time from a store whose index is far away.
const AT_ONCE: usize = 16;
/// How many times as long as a page took the background rests after it.
const REST: u32 = 3;
/// A page that took a third of this has waited, for a disk or an observer, and not worked.
const LONGEST_REST: Duration = Duration::from_secs(60);
