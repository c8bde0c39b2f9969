//! Tracks which request holds which upload in this process: the newest request wins.
//!
//! This is a courtesy, not a safety mechanism. A claim asks the previous request to stop and waits
//! for it, so that a client whose connection died is not locked out by its own earlier request. The
//! store's lease is what prevents two requests from writing at the same time.

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
    /// Set when no new work may start. Cancelled while the slots are locked.
    closing: CancellationToken,
    /// Set when running work must stop. Cancelled while the slots are locked.
    stopping: CancellationToken,
    /// Tracks the claims and other running work.
    work: TaskTracker,
    /// The task that looks for hand-off requests of other processes.
    watcher: TaskTracker,
}

#[derive(Debug, Default)]
struct Slots {
    uploads: HashMap<UploadId, Slot>,
    /// Whether a watcher is running.
    watched: bool,
}

#[derive(Debug)]
struct Slot {
    /// Cancelled when a newer claim than the current newest arrives.
    stop: CancellationToken,
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Set while the application has the file, when no request may stop the claim.
    finishing: bool,
    /// How many claims refer to the slot, including the holder's.
    claims: usize,
    /// When the request of the newest claim arrived.
    arrived: Instant,
}

/// The right to work on an upload, until it is dropped or a newer claim supersedes it.
#[derive(Debug)]
pub(super) struct Claim {
    id: UploadId,
    stop: CancellationToken,
    turn: Option<OwnedMutexGuard<()>>,
    guard: ShutdownGuard,
}

/// Keeps [`Uploads::shutdown`](crate::Uploads::shutdown) waiting until it is dropped.
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
    /// Asks the current holder to stop and waits for it, but no longer than `timeout`. A request
    /// that arrived before the newest claim never stops it, even if it is processed later.
    pub(super) async fn claim(
        &self,
        id: &UploadId,
        arrived: Instant,
        timeout: Duration,
    ) -> Result<Claim, ErrorKind> {
        let (mut claim, turn) = self.enter(id, arrived)?;
        let turn = tokio::select! {
            biased;
            () = claim.stop.cancelled() => return Err(claim.why_stopped()),
            turn = tokio::time::timeout(timeout, turn.lock_owned()) => turn,
        };
        claim.turn = Some(turn.map_err(|_| ErrorKind::Busy)?);
        Ok(claim)
    }

    /// Claims an upload that has no other claim.
    pub(super) fn try_claim(&self, id: &UploadId, arrived: Instant) -> Option<Claim> {
        let mut slots = self.shared.slots();
        if slots.uploads.contains_key(id) || self.is_closed() {
            return None;
        }
        let slot = Slot::new(arrived);
        let turn = Arc::clone(&slot.turn).try_lock_owned().ok()?;
        let stop = slot.stop.clone();
        slots.uploads.insert(*id, slot);
        Some(Claim { id: *id, stop, turn: Some(turn), guard: self.guard() })
    }

    fn enter(
        &self,
        id: &UploadId,
        arrived: Instant,
    ) -> Result<(Claim, Arc<tokio::sync::Mutex<()>>), ErrorKind> {
        let mut slots = self.shared.slots();
        if self.is_closed() {
            return Err(ErrorKind::ShuttingDown);
        }
        let slot = match slots.uploads.entry(*id) {
            Entry::Vacant(slot) => slot.insert(Slot::new(arrived)),
            Entry::Occupied(slot) => {
                let slot = slot.into_mut();
                slot.supersede(arrived)?;
                slot
            }
        };
        let (stop, turn) = (slot.stop.clone(), Arc::clone(&slot.turn));
        Ok((Claim { id: *id, stop, turn: None, guard: self.guard() }, turn))
    }

    /// Returns a guard that a shutdown waits for.
    pub(super) fn guard(&self) -> ShutdownGuard {
        ShutdownGuard { shared: Arc::clone(&self.shared), _work: self.shared.work.token() }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.shared.closing.is_cancelled()
    }

    /// Refuses all new claims from now on.
    pub(super) fn close(&self) {
        let _slots = self.shared.slots();
        self.shared.closing.cancel();
    }

    /// Waits until no work is running.
    pub(super) async fn ended(&self) {
        self.shared.work.wait().await;
    }

    /// Hands the upload off to another process, whose request for it is `age` old. A claim that
    /// arrived after that request is newer and keeps the upload.
    pub(super) fn hand_off(&self, id: &UploadId, age: Duration) {
        let slots = self.shared.slots();
        if let Some(slot) = slots.uploads.get(id)
            && !slot.finishing
            && slot.arrived.elapsed() > age
        {
            slot.stop.cancel();
        }
    }

    /// Starts the watcher unless one is running.
    pub(super) fn watch<F>(&self, watcher: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if !std::mem::replace(&mut self.shared.slots().watched, true) {
            self.shared.watcher.spawn(watcher());
        }
    }

    /// Returns whether the watcher may end because no work is running.
    pub(super) fn end_watch(&self) -> bool {
        let mut slots = self.shared.slots();
        slots.watched = !self.shared.work.is_empty();
        !slots.watched
    }

    pub(super) async fn watch_ended(&self) {
        self.shared.watcher.wait().await;
    }

    /// Asks every claim to stop, except those that are finishing an upload.
    pub(super) fn stop(&self) {
        let slots = self.shared.slots();
        self.shared.stopping.cancel();
        slots.uploads.values().filter(|slot| !slot.finishing).for_each(|slot| slot.stop.cancel());
    }
}

impl Slot {
    fn new(arrived: Instant) -> Self {
        let stop = CancellationToken::new();
        Self { stop, turn: Arc::default(), finishing: false, claims: 1, arrived }
    }

    /// Registers a newer claim and asks the previous one to stop.
    fn supersede(&mut self, arrived: Instant) -> Result<(), ErrorKind> {
        if self.finishing {
            return Err(ErrorKind::Finishing);
        }
        if self.arrived > arrived {
            return Err(ErrorKind::Superseded);
        }
        std::mem::take(&mut self.stop).cancel();
        self.claims += 1;
        self.arrived = arrived;
        Ok(())
    }
}

impl ShutdownGuard {
    /// Waits until a shutdown begins. Do not start new work after that.
    pub fn closing(&self) -> impl Future<Output = ()> + Send + use<> {
        self.shared.closing.clone().cancelled_owned()
    }

    /// Waits until the shutdown's timeout has passed. Abandon what is still running.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        self.shared.stopping.clone().cancelled_owned()
    }
}

impl Claim {
    /// Waits until a newer claim asks for the upload, and returns the reason to stop.
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

    /// Marks the upload as finishing, so that newer claims are refused and cannot stop this one.
    /// Fails if a newer claim has already asked for it.
    pub(super) fn finish(&self) -> Result<(), ErrorKind> {
        let mut slots = self.guard.shared.slots();
        self.check()?;
        if let Some(slot) = slots.uploads.get_mut(&self.id) {
            slot.finishing = true;
        }
        Ok(())
    }
}

/// Returns why a claim was stopped: by a newer claim, or by a shutdown.
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
            // The second claim has asked for the upload and is waiting.
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
    async fn an_older_request_does_not_stop_a_newer_one() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let arrived = Instant::now();
        let newer = claims.claim(&id, arrived + Duration::from_nanos(1), TIMEOUT).await.unwrap();
        let older = claims.claim(&id, arrived, TIMEOUT).await;
        assert_eq!(older.unwrap_err(), ErrorKind::Superseded);
        assert!(newer.check().is_ok());
        drop(newer);
        // No claim is left.
        claims.claim(&id, arrived, TIMEOUT).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_does_not_stop_makes_others_time_out() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let first = claims.claim(&id, Instant::now(), TIMEOUT).await.unwrap();
        assert_eq!(claims.claim(&id, Instant::now(), TIMEOUT).await.unwrap_err(), ErrorKind::Busy);
        drop(first);
        claims.claim(&id, Instant::now(), TIMEOUT).await.unwrap();
        assert!(claims.shared.slots().uploads.is_empty());
    }

    #[tokio::test]
    async fn a_finishing_claim_is_not_stopped() {
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
    async fn a_hand_off_request_stops_only_older_claims() {
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
