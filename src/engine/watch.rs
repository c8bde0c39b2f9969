//! The progress of single uploads, for those who watch them.
//!
//! What this process does to an upload is pushed to whoever watches it. What others do is found by
//! looking at the store, once at an interval for each upload that is watched, and by the futures of
//! those who wait: there is no task, and nothing is done while nobody watches.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::watch::{Receiver, Sender};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::core::Engine;
use super::error::Error;
use super::event::Event;
use super::lock;
use crate::erased::BoxFuture;
use crate::id::UploadId;
use crate::store::StoreError;
use crate::time;
use crate::upload::{Status, Upload};

/// An upload at one moment, as a [`Watch`] saw it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The record as last committed. Its offset never decreases from one snapshot to the next.
    pub upload: Upload,
    /// How many bytes the upload has, including those that were received and are not acknowledged
    /// yet: at least the offset. It is updated with each batch that is written, and falls back to the
    /// offset if a chunk fails. Bytes that another process receives are not counted.
    pub received: u64,
    /// How the upload ended; `None` until then.
    pub ended: Option<Ended>,
}

/// How a watched upload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The application has taken the file.
    Completed,
    /// A crash interrupted its hand-over, and it must not be handed over again.
    Interrupted,
    /// The upload was cancelled: by its client, or by a call of `cancel` or `remove`.
    Cancelled,
    /// The application discarded it.
    Discarded,
    /// It has expired.
    Expired,
    /// Its record cannot be trusted any more.
    Damaged,
    /// It was removed by another process, which cancelled or discarded it.
    Removed,
}

/// The progress of an upload: a stream of its [`Snapshot`]s.
///
/// The first one shows the upload as it is. After that there is one for each change, or for several
/// at once if they came faster than they were taken: a slow watcher gets the latest state, and never
/// a queue of old ones. The last one says how the upload [ended](Snapshot::ended). The stream also
/// ends, without that, when a [shutdown](crate::Uploads::shutdown) begins, so that a client can ask
/// another node.
///
/// It is a `Stream`, and also has a method [`next`](Self::next).
#[must_use]
pub struct Watch {
    // `None` when it has ended, and while it is in `next`.
    watcher: Option<Watcher>,
    next: Option<BoxFuture<'static, (Watcher, Option<Snapshot>)>>,
}

impl Watch {
    /// Returns the next snapshot, or `None` after the last one. It is safe to drop the future and
    /// call this again.
    pub async fn next(&mut self) -> Option<Snapshot> {
        std::future::poll_fn(|cx| self.poll_snapshot(cx)).await
    }

    fn poll_snapshot(&mut self, cx: &mut Context<'_>) -> Poll<Option<Snapshot>> {
        if let Some(watcher) = self.watcher.take() {
            self.next = Some(Box::pin(watcher.next()));
        }
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let (watcher, snapshot) = ready!(next.as_mut().poll(cx));
        self.next = None;
        // After the last one, nothing is kept for a watcher that is not dropped.
        self.watcher = snapshot.as_ref().is_some_and(|it| it.ended.is_none()).then_some(watcher);
        Poll::Ready(snapshot)
    }
}

impl Stream for Watch {
    type Item = Snapshot;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Snapshot>> {
        self.get_mut().poll_snapshot(cx)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// The uploads of one engine that are watched.
#[derive(Debug, Default)]
pub(super) struct Watches {
    /// How many there are, to know without a lock that there are none. A commit that does not see a
    /// watcher who has just come has changed what that one then reads from the store.
    count: AtomicUsize,
    slots: Mutex<HashMap<UploadId, Slot>>,
}

#[derive(Debug)]
struct Slot {
    latest: Arc<Sender<Latest>>,
    watchers: usize,
}

/// What is known of an upload that is watched.
#[derive(Debug)]
struct Latest {
    snapshot: Option<Snapshot>,
    /// How often it was changed by this process, which a look at the store must not undo that began
    /// before.
    changes: u64,
    /// When to look at the store.
    due: Instant,
}

impl Watches {
    /// An upload was committed.
    pub(super) fn committed(&self, upload: &Upload) {
        self.change(upload, ended(upload));
    }

    /// An upload was removed, or has ended otherwise than its record tells.
    pub(super) fn removed(&self, event: &Event) {
        let ended = match event {
            Event::Created(_) | Event::Grew(_) | Event::Completed(_) => return,
            Event::Cancelled(_) => Ended::Cancelled,
            Event::Discarded(_) => Ended::Discarded,
            Event::Expired(_) => Ended::Expired,
        };
        self.change(event.upload(), Some(ended));
    }

    /// So many bytes of an upload have come, which may not be acknowledged; with `None`, those that
    /// are not will never be.
    pub(super) fn received(&self, id: &UploadId, bytes: Option<u64>) {
        let Some(latest) = self.latest(id) else { return };
        latest.send_if_modified(|latest| {
            let Some(snapshot) = &mut latest.snapshot else { return false };
            if snapshot.ended.is_some() {
                return false;
            }
            let offset = snapshot.upload.offset();
            let received = bytes.map_or(offset, |bytes| bytes.max(offset));
            std::mem::replace(&mut snapshot.received, received) != received
        });
    }

    fn change(&self, upload: &Upload, ended: Option<Ended>) {
        if let Some(latest) = self.latest(&upload.id) {
            latest.send_if_modified(|latest| {
                latest.changes += 1;
                latest.set(upload.clone(), ended)
            });
        }
    }

    fn latest(&self, id: &UploadId) -> Option<Arc<Sender<Latest>>> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        lock(&self.slots).get(id).map(|slot| Arc::clone(&slot.latest))
    }

    fn enter(&self, id: &UploadId) -> Arc<Sender<Latest>> {
        let mut slots = lock(&self.slots);
        // The next upload of a key has the same id. Who watches the last one still has its slot.
        if slots.get(id).is_some_and(|slot| slot.latest.borrow().has_ended()) {
            slots.remove(id);
        }
        let slot = slots.entry(*id).or_insert_with(|| {
            let latest = Latest { snapshot: None, changes: 0, due: Instant::now() };
            Slot { latest: Arc::new(Sender::new(latest)), watchers: 0 }
        });
        slot.watchers += 1;
        let latest = Arc::clone(&slot.latest);
        self.count.store(slots.len(), Ordering::Relaxed);
        latest
    }

    fn leave(&self, id: &UploadId, latest: &Arc<Sender<Latest>>) {
        let mut slots = lock(&self.slots);
        if let Some(slot) = slots.get_mut(id).filter(|slot| Arc::ptr_eq(&slot.latest, latest)) {
            slot.watchers -= 1;
            if slot.watchers == 0 {
                slots.remove(id);
            }
        }
        self.count.store(slots.len(), Ordering::Relaxed);
    }
}

impl Snapshot {
    /// Whether it shows this upload, and not another one that has had the same id.
    fn is_of(&self, upload: &Upload) -> bool {
        self.upload.created == upload.created
    }
}

impl Latest {
    fn has_ended(&self) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| snapshot.ended.is_some())
    }

    /// Returns whether that is something new.
    fn set(&mut self, upload: Upload, ended: Option<Ended>) -> bool {
        if let Some(known) = &mut self.snapshot
            && !known.is_of(&upload)
        {
            // Another upload has got the id, so the one that is watched is gone.
            let is_new = known.ended.is_none();
            known.ended.get_or_insert(Ended::Removed);
            return is_new;
        }
        // Two looks at the store may end in another order than they began.
        let is_old = |known: &Snapshot| {
            known.ended.is_some() || ended.is_none() && upload.offset() < known.upload.offset()
        };
        if self.snapshot.as_ref().is_some_and(is_old) {
            return false;
        }
        let received = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.received);
        let received = received.max(upload.offset());
        let new = Some(Snapshot { upload, received, ended });
        let is_new = self.snapshot != new;
        self.snapshot = new;
        is_new
    }
}

fn ended(upload: &Upload) -> Option<Ended> {
    match upload.status() {
        Status::Complete => Some(Ended::Completed),
        Status::Interrupted => Some(Ended::Interrupted),
        Status::Open | Status::Finishing => None,
    }
}

impl Access {
    pub(super) async fn watch(&self, id: &UploadId) -> Result<Watch, Error> {
        loop {
            // First, so that no change is missed between the record and the next one.
            let mut watcher = Watcher::enter(&self.engine, id);
            let began = watcher.latest.borrow().changes;
            let upload = self.find_unexpired(id).await?;
            watcher.see(began, |_| Some((upload.clone(), ended(&upload))));
            watcher.news.mark_changed();
            // Others may have watched an upload that had the id before, which has ended then.
            if watcher.news.borrow().snapshot.as_ref().is_some_and(|known| known.is_of(&upload)) {
                return Ok(Watch { watcher: Some(watcher), next: None });
            }
        }
    }
}

/// Somebody who watches an upload.
struct Watcher {
    engine: Arc<Engine>,
    id: UploadId,
    latest: Arc<Sender<Latest>>,
    news: Receiver<Latest>,
    closing: CancellationToken,
}

impl Watcher {
    fn enter(engine: &Arc<Engine>, id: &UploadId) -> Self {
        let latest = engine.watches.enter(id);
        let (news, closing) = (latest.subscribe(), engine.claims.closing());
        Self { engine: Arc::clone(engine), id: *id, latest, news, closing }
    }

    async fn next(mut self) -> (Self, Option<Snapshot>) {
        loop {
            let look = look_when_due(&self.engine, &self.id, &self.latest);
            tokio::select! {
                biased;
                // This process has the sender, too.
                Ok(()) = self.news.changed() => {
                    let snapshot = self.news.borrow_and_update().snapshot.clone();
                    if snapshot.is_some() {
                        return (self, snapshot);
                    }
                }
                () = self.closing.cancelled() => return (self, None),
                found = look => self.found(found),
            }
        }
    }

    fn found(&self, found: Option<(u64, Found)>) {
        let Some((began, found)) = found else { return };
        self.see(began, |known| match found {
            Found::Upload(upload, ended) => Some((*upload, ended)),
            Found::Gone(ended) => {
                let upload = known?.upload.clone();
                let expired = ended == Ended::Removed && upload.is_expired(self.engine.now());
                Some((upload, Some(if expired { Ended::Expired } else { ended })))
            }
        });
    }

    /// Takes what was found in the store, unless this process has changed it since.
    fn see(
        &self,
        began: u64,
        found: impl FnOnce(Option<&Snapshot>) -> Option<(Upload, Option<Ended>)>,
    ) {
        let due = time::deadline(self.engine.watch_interval);
        self.latest.send_if_modified(|latest| {
            latest.due = due;
            if latest.changes != began {
                return false;
            }
            match found(latest.snapshot.as_ref()) {
                Some((upload, ended)) => latest.set(upload, ended),
                None => false,
            }
        });
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.engine.watches.leave(&self.id, &self.latest);
    }
}

/// What the store has of an upload that is watched.
enum Found {
    Upload(Box<Upload>, Option<Ended>),
    /// No record.
    Gone(Ended),
}

/// Looks at the store when nobody has for a while, and returns what there is, and how often this
/// process had changed the upload when the look began. `None` if another watcher looks, or if the
/// store fails, which may pass.
async fn look_when_due(
    engine: &Engine,
    id: &UploadId,
    latest: &Sender<Latest>,
) -> Option<(u64, Found)> {
    let due = latest.borrow().due;
    tokio::time::sleep_until(due).await;
    let mut began = None;
    latest.send_if_modified(|latest| {
        if latest.due <= Instant::now() {
            latest.due = time::deadline(engine.watch_interval);
            began = Some(latest.changes);
        }
        false
    });
    Some((began?, look(engine, id).await?))
}

async fn look(engine: &Engine, id: &UploadId) -> Option<Found> {
    match engine.store.load(id).await {
        Ok(upload) => {
            let expired = engine.is_expired(&upload).await.ok()?;
            let ended = ended(&upload).or(expired.then_some(Ended::Expired));
            Some(Found::Upload(Box::new(upload), ended))
        }
        Err(StoreError::Removed { upload, at }) if upload.is_expired(at) => {
            Some(Found::Gone(Ended::Expired))
        }
        Err(StoreError::NotFound | StoreError::Removed { .. }) => Some(Found::Gone(Ended::Removed)),
        Err(StoreError::Damaged { .. }) => Some(Found::Gone(Ended::Damaged)),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::MemoryStore;
    use crate::{NewUpload, Uploads};

    fn watched(watches: &Watches) -> usize {
        assert_eq!(watches.count.load(Ordering::Relaxed), lock(&watches.slots).len());
        lock(&watches.slots).len()
    }

    #[test]
    fn what_is_older_or_comes_after_the_end_is_not_shown() {
        let at = |offset| {
            let mut upload = Upload::new(UploadId::random(), std::time::SystemTime::UNIX_EPOCH);
            upload.progress.offset = offset;
            upload
        };
        let mut latest = Latest { snapshot: None, changes: 0, due: Instant::now() };
        assert!(latest.set(at(10), None));
        assert!(!latest.set(at(5), None));
        assert!(latest.set(at(12), None));
        assert!(latest.set(at(7), Some(Ended::Cancelled)));
        assert!(!latest.set(at(20), None));
        assert_eq!(latest.snapshot.unwrap().ended, Some(Ended::Cancelled));
    }

    #[tokio::test]
    async fn nothing_is_kept_of_watchers_that_are_gone() {
        let uploads = Uploads::builder(MemoryStore::new()).build().unwrap();
        let (owned, watches) = (uploads.for_owner(None), &uploads.engine().watches);
        let id = owned.create(NewUpload::new()).await.unwrap().commit().await.unwrap().id;
        let other = owned.create(NewUpload::new()).await.unwrap().commit().await.unwrap().id;
        owned.watch(&UploadId::random()).await.unwrap_err();
        drop(owned.watch(&id));
        assert_eq!(watched(watches), 0);
        let mut first = owned.watch(&id).await.unwrap();
        let mut second = owned.watch(&id).await.unwrap();
        let third = owned.watch(&other).await.unwrap();
        assert_eq!(watched(watches), 2);
        drop(third);
        first.next().await.unwrap();
        // In the middle of waiting.
        let waits = tokio::time::timeout(Duration::from_millis(1), first.next());
        assert!(waits.await.is_err());
        drop(first);
        assert_eq!(watched(watches), 1);
        owned.cancel(&id).await.unwrap();
        assert_eq!(second.next().await.unwrap().ended, Some(Ended::Cancelled));
        assert_eq!(watched(watches), 0, "although it is not dropped");
        assert_eq!(second.next().await, None);
    }
}
