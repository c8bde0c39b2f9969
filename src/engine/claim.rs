//! Who works on which upload in this process: the newest request wins.
//!
//! This is courtesy, not safety. A claim asks the request before it to stop and waits for it, so
//! that a client whose connection died is not locked out by its own past. That two requests never
//! write at once is the store's lease.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::error::ErrorKind;
use crate::id::UploadId;
use crate::task;

#[derive(Debug)]
pub(super) struct Claims {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    slots: Mutex<Slots>,
    /// Nothing new begins. It is cancelled under the lock of the slots.
    closing: CancellationToken,
    /// Nothing goes on. It is cancelled under the same lock.
    stopping: CancellationToken,
    /// The claims and other work.
    work: TaskTracker,
    /// The task that looks for hand-off requests of other processes.
    watcher: TaskTracker,
}

#[derive(Debug, Default)]
struct Slots {
    uploads: HashMap<UploadId, Slot>,
    /// Whether there is a watcher.
    watched: bool,
}

#[derive(Debug)]
struct Slot {
    /// The newest claim is told when an even newer one comes.
    stop: CancellationToken,
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The application has the file, so nobody may stop the claim.
    finishing: bool,
    /// How many claims, the holder among them, refer to the slot.
    claims: usize,
    /// When the newest of them came.
    since: Instant,
}

/// The right to work on an upload, until it is dropped or a newer claim asks for it.
#[derive(Debug)]
pub(super) struct Claim {
    id: UploadId,
    stop: CancellationToken,
    turn: Option<OwnedMutexGuard<()>>,
    guard: ShutdownGuard,
}

/// Something that [`Uploads::shutdown`](crate::Uploads::shutdown) waits for, until this is dropped.
#[derive(Debug)]
pub struct ShutdownGuard {
    shared: Arc<Shared>,
    _work: TaskTrackerToken,
}

impl Default for Claims {
    fn default() -> Self {
        let shared = Shared {
            slots: Mutex::default(),
            closing: CancellationToken::new(),
            stopping: CancellationToken::new(),
            work: task::tracker(),
            watcher: task::tracker(),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Shared {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claims {
    /// Asks whoever works on the upload to stop, and waits for that, but no longer than `timeout`. A
    /// request that came before the one that asks or works stops nobody, even if it is looked at later.
    pub(super) async fn claim(
        &self,
        id: &UploadId,
        came: Instant,
        timeout: Duration,
    ) -> Result<Claim, ErrorKind> {
        let (mut claim, turn) = self.enter(id, came)?;
        let turn = tokio::select! {
            biased;
            () = claim.stop.cancelled() => return Err(claim.why_stopped()),
            turn = tokio::time::timeout(timeout, turn.lock_owned()) => turn,
        };
        claim.turn = Some(turn.map_err(|_| ErrorKind::Busy)?);
        Ok(claim)
    }

    /// The claim on an upload that nobody claims.
    pub(super) fn try_claim(&self, id: &UploadId, came: Instant) -> Option<Claim> {
        let mut slots = self.shared.slots();
        if slots.uploads.contains_key(id) || self.is_closed() {
            return None;
        }
        let slot = Slot::new(came);
        let turn = Arc::clone(&slot.turn).try_lock_owned().ok()?;
        let stop = slot.stop.clone();
        slots.uploads.insert(*id, slot);
        Some(Claim { id: *id, stop, turn: Some(turn), guard: self.guard() })
    }

    fn enter(
        &self,
        id: &UploadId,
        came: Instant,
    ) -> Result<(Claim, Arc<tokio::sync::Mutex<()>>), ErrorKind> {
        let mut slots = self.shared.slots();
        if self.is_closed() {
            return Err(ErrorKind::ShuttingDown);
        }
        let slot = match slots.uploads.entry(*id) {
            Entry::Vacant(slot) => slot.insert(Slot::new(came)),
            Entry::Occupied(slot) => {
                let slot = slot.into_mut();
                slot.pass_on(came)?;
                slot
            }
        };
        let (stop, turn) = (slot.stop.clone(), Arc::clone(&slot.turn));
        Ok((Claim { id: *id, stop, turn: None, guard: self.guard() }, turn))
    }

    /// A shutdown waits for the guard.
    pub(super) fn guard(&self) -> ShutdownGuard {
        ShutdownGuard { shared: Arc::clone(&self.shared), _work: self.shared.work.token() }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.shared.closing.is_cancelled()
    }

    /// Refuses every claim from now on.
    pub(super) fn close(&self) {
        let _slots = self.shared.slots();
        self.shared.closing.cancel();
    }

    /// Waits until nobody works any more.
    pub(super) async fn ended(&self) {
        self.shared.work.wait().await;
    }

    /// Somebody in another process asks for the upload, since so long: whoever came after that is the
    /// newer one.
    pub(super) fn hand_off(&self, id: &UploadId, age: Duration) {
        let slots = self.shared.slots();
        if let Some(slot) = slots.uploads.get(id)
            && !slot.finishing
            && slot.since.elapsed() > age
        {
            slot.stop.cancel();
        }
    }

    /// Starts the watcher, unless there is one.
    pub(super) fn watch<F>(&self, watcher: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if !std::mem::replace(&mut self.shared.slots().watched, true) {
            self.shared.watcher.spawn(watcher());
        }
    }

    /// Whether the watcher may end, since nobody works any more.
    pub(super) fn end_watch(&self) -> bool {
        let mut slots = self.shared.slots();
        slots.watched = !self.shared.work.is_empty();
        !slots.watched
    }

    pub(super) async fn watch_ended(&self) {
        self.shared.watcher.wait().await;
    }

    /// Asks everybody to stop but those who finish an upload.
    pub(super) fn stop(&self) {
        let slots = self.shared.slots();
        self.shared.stopping.cancel();
        slots.uploads.values().filter(|slot| !slot.finishing).for_each(|slot| slot.stop.cancel());
    }
}

impl Slot {
    fn new(since: Instant) -> Self {
        let stop = CancellationToken::new();
        Self { stop, turn: Arc::default(), finishing: false, claims: 1, since }
    }

    /// A newer claim asks the one before it to stop.
    fn pass_on(&mut self, came: Instant) -> Result<(), ErrorKind> {
        if self.finishing {
            return Err(ErrorKind::Finishing);
        }
        if self.since > came {
            return Err(ErrorKind::Superseded);
        }
        std::mem::take(&mut self.stop).cancel();
        self.claims += 1;
        self.since = came;
        Ok(())
    }
}

impl ShutdownGuard {
    /// Waits until a shutdown begins. Nothing new should be begun from then on.
    pub fn closing(&self) -> impl Future<Output = ()> + Send + use<> {
        self.shared.closing.clone().cancelled_owned()
    }

    /// Waits until a shutdown waits no longer. What still goes on should be given up.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        self.shared.stopping.clone().cancelled_owned()
    }
}

impl Claim {
    /// Waits until a newer claim asks for the upload; gives the reason.
    pub(super) fn stopped(&self) -> impl Future<Output = ErrorKind> + Send + use<> {
        let (stop, stopping) = (self.stop.clone(), self.guard.shared.stopping.clone());
        async move {
            stop.cancelled().await;
            why_stopped(&stopping)
        }
    }

    pub(super) fn check(&self) -> Result<(), ErrorKind> {
        if self.stop.is_cancelled() { Err(self.why_stopped()) } else { Ok(()) }
    }

    fn why_stopped(&self) -> ErrorKind {
        why_stopped(&self.guard.shared.stopping)
    }

    /// From now on no newer claim can stop this one: it is told that the upload is finishing.
    /// Fails if one has asked already.
    pub(super) fn finish(&self) -> Result<(), ErrorKind> {
        let mut slots = self.guard.shared.slots();
        self.check()?;
        if let Some(slot) = slots.uploads.get_mut(&self.id) {
            slot.finishing = true;
        }
        Ok(())
    }
}

/// Who has stopped a claim: a newer one, unless nobody can make one any more.
fn why_stopped(stopping: &CancellationToken) -> ErrorKind {
    if stopping.is_cancelled() { ErrorKind::ShuttingDown } else { ErrorKind::Superseded }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut slots = self.guard.shared.slots();
        let Some(slot) = slots.uploads.get_mut(&self.id) else { return };
        if self.turn.take().is_some() {
            slot.finishing = false;
        }
        slot.claims -= 1;
        if slot.claims == 0 {
            slots.uploads.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn the_newest_claim_wins() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let first = claims.claim(&id, Instant::now(), TIMEOUT).await.unwrap();
        let third = async {
            first.stopped().await;
            // The second has asked and waits.
            let (third, ()) =
                tokio::join!(claims.claim(&id, Instant::now(), TIMEOUT), async { drop(first) });
            third
        };
        let (second, third) = tokio::join!(claims.claim(&id, Instant::now(), TIMEOUT), third);
        assert_eq!(second.unwrap_err(), ErrorKind::Superseded);
        let third = third.unwrap();
        assert!(third.check().is_ok());
        drop(third);
        assert!(claims.shared.slots().uploads.is_empty());
    }

    #[tokio::test]
    async fn who_came_before_stops_nobody() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let came = Instant::now();
        let newer = claims.claim(&id, came + Duration::from_nanos(1), TIMEOUT).await.unwrap();
        let older = claims.claim(&id, came, TIMEOUT).await;
        assert_eq!(older.unwrap_err(), ErrorKind::Superseded);
        assert!(newer.check().is_ok());
        drop(newer);
        // Nobody works on it any more.
        claims.claim(&id, came, TIMEOUT).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_does_not_stop_is_waited_for_in_vain() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let first = claims.claim(&id, Instant::now(), TIMEOUT).await.unwrap();
        assert_eq!(claims.claim(&id, Instant::now(), TIMEOUT).await.unwrap_err(), ErrorKind::Busy);
        drop(first);
        claims.claim(&id, Instant::now(), TIMEOUT).await.unwrap();
        assert!(claims.shared.slots().uploads.is_empty());
    }

    #[tokio::test]
    async fn nobody_stops_a_finishing_one() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let first = claims.claim(&id, Instant::now(), TIMEOUT).await.unwrap();
        first.finish().unwrap();
        assert_eq!(
            claims.claim(&id, Instant::now(), TIMEOUT).await.unwrap_err(),
            ErrorKind::Finishing
        );
        assert!(first.check().is_ok());
        drop(first);
        claims.claim(&id, Instant::now(), TIMEOUT).await.unwrap();
    }

    #[tokio::test]
    async fn another_process_stops_only_who_is_older_than_its_question() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let claim = claims.claim(&id, Instant::now(), TIMEOUT).await.unwrap();
        claims.hand_off(&id, Duration::from_secs(5));
        assert!(claim.check().is_ok());
        claims.hand_off(&UploadId::random(), Duration::ZERO);
        assert!(claim.check().is_ok());
        std::thread::sleep(Duration::from_millis(1));
        claims.hand_off(&id, Duration::ZERO);
        assert!(claim.check().is_err());
    }

    #[tokio::test]
    async fn a_shutdown_waits_for_claims_and_refuses_new_ones() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let claim = claims.claim(&id, Instant::now(), TIMEOUT).await.unwrap();
        claims.close();
        let new = claims.claim(&UploadId::random(), Instant::now(), TIMEOUT).await;
        assert_eq!(new.unwrap_err(), ErrorKind::ShuttingDown);
        assert!(claim.check().is_ok());
        claims.stop();
        tokio::join!(claims.ended(), async {
            claim.stopped().await;
            drop(claim);
        });
        claims.ended().await;
        claims.close();
        assert!(claims.shared.stopping.is_cancelled());
    }
}
