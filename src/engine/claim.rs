//! Tracks which request holds which upload in this process: the newest request wins.
//!
//! This is a courtesy, not a safety mechanism. A claim asks the previous request to stop and waits
//! for it, so that a client whose connection died is not locked out by its own earlier request. The
//! store's lease is what prevents two requests from writing at the same time.
//!
//! A server may read two connections in either order. If a client breaks a chunk off and sends it
//! again at once, the broken request can therefore arrive after the new one, with everything that
//! its client had sent before. It must not stop the new one. So claims may tolerate a wrong order:
//! if they arrived at nearly the same time, they are equally new, and the later one waits as long as
//! the earlier one receives bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::error::ErrorKind;
use super::lock;
use crate::id::UploadId;
use crate::metric;

#[derive(Debug, Default)]
pub(super) struct Claims {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
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
    /// The signals of the newest claim.
    signals: Signals,
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Set while the application has the file, when no request may stop the claim.
    finishing: bool,
    /// Whether another process has asked for the upload.
    handing_off: bool,
    /// How many claims refer to the slot, including the holder's.
    claims: usize,
    /// When the newest claim arrived, or the first of several that are equally new.
    arrival: Arrival,
}

/// When the request of a claim arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) at: Instant,
    /// Claims that arrived within this time of each other are equally new.
    pub(super) tolerance: Duration,
}

/// What a claim is told by later ones.
#[derive(Clone, Debug, Default)]
struct Signals {
    /// Cancelled when another claim waits for the upload.
    wanted: CancellationToken,
    /// Cancelled before `wanted` if that claim is newer. Equally new claims share this token.
    stop: CancellationToken,
    /// Cancelled before `stop` if that claim brings no bytes and wants to know what has come.
    keep: CancellationToken,
}

/// The right to work on an upload, until it is dropped or a newer claim supersedes it.
#[derive(Debug)]
pub(super) struct Claim {
    id: UploadId,
    signals: Signals,
    turn: Option<OwnedMutexGuard<()>>,
    guard: ShutdownGuard,
}

/// Keeps [`Uploads::shutdown`](crate::Uploads::shutdown) waiting until it is dropped.
#[derive(Debug)]
pub struct ShutdownGuard {
    shared: Arc<Shared>,
    _work: TaskTrackerToken,
}

impl Shared {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        lock(&self.slots)
    }

    /// Returns why a claim was stopped: by a newer claim, or by a shutdown.
    fn why_stopped(&self) -> ErrorKind {
        if self.stopping.is_cancelled() { ErrorKind::ShuttingDown } else { ErrorKind::Superseded }
    }

    /// Whether anybody waits for the upload.
    fn is_wanted(&self, id: &UploadId) -> bool {
        self.slots().uploads.get(id).is_none_or(|slot| slot.claims > 1 || slot.handing_off)
    }
}

impl Claims {
    /// Asks the current holder to stop and waits for it, but no longer than `timeout`. A request
    /// that arrived before the newest claim never stops it, even if it is processed later.
    pub(super) async fn claim(
        &self,
        id: &UploadId,
        arrival: Arrival,
        timeout: Duration,
    ) -> Result<Claim, ErrorKind> {
        let (mut claim, turn) = self.enter(&mut self.shared.slots(), id, arrival)?;
        let held = turn.try_lock().is_err();
        let turn = tokio::select! {
            biased;
            () = claim.signals.stop.cancelled() => return Err(self.shared.why_stopped()),
            turn = tokio::time::timeout(timeout, turn.lock_owned()) => turn,
        };
        claim.turn = Some(turn.map_err(|_| ErrorKind::Busy)?);
        if held {
            metric::taken_over(true);
        }
        Ok(claim)
    }

    /// Asks the current holder, if there is one, to stop and to keep what it has received, and waits
    /// for it, but no longer than `timeout`.
    pub(super) async fn end(
        &self,
        id: &UploadId,
        arrival: Arrival,
        timeout: Duration,
    ) -> Result<(), ErrorKind> {
        let (claim, turn) = {
            let mut slots = self.shared.slots();
            let Some(slot) = slots.uploads.get(id) else { return Ok(()) };
            if arrival.at >= slot.arrival.at && !slot.finishing {
                slot.signals.keep.cancel();
            }
            self.enter(&mut slots, id, arrival)?
        };
        let ended = tokio::select! {
            biased;
            () = claim.signals.stop.cancelled() => return Err(self.shared.why_stopped()),
            turn = tokio::time::timeout(timeout, turn.lock_owned()) => turn,
        };
        ended.map(drop).map_err(|_| ErrorKind::Busy)
    }

    /// Claims an upload that has no other claim.
    pub(super) fn try_claim(&self, id: &UploadId, arrival: Arrival) -> Option<Claim> {
        let mut slots = self.shared.slots();
        if slots.uploads.contains_key(id) {
            return None;
        }
        let (mut claim, turn) = self.enter(&mut slots, id, arrival).ok()?;
        // Nobody else has seen the turn yet, so it is free.
        claim.turn = turn.try_lock_owned().ok();
        Some(claim)
    }

    fn enter(
        &self,
        slots: &mut Slots,
        id: &UploadId,
        arrival: Arrival,
    ) -> Result<(Claim, Arc<tokio::sync::Mutex<()>>), ErrorKind> {
        if self.is_closed() {
            return Err(ErrorKind::ShuttingDown);
        }
        let slot = slots.uploads.entry(*id).or_insert_with(|| Slot::new(arrival));
        if slot.claims > 0 {
            slot.ask(arrival)?;
        }
        slot.claims += 1;
        let (signals, turn) = (slot.signals.clone(), Arc::clone(&slot.turn));
        Ok((Claim { id: *id, signals, turn: None, guard: self.guard() }, turn))
    }

    /// Returns a guard that a shutdown waits for.
    pub(super) fn guard(&self) -> ShutdownGuard {
        ShutdownGuard { shared: Arc::clone(&self.shared), _work: self.shared.work.token() }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.shared.closing.is_cancelled()
    }

    /// Returns a token that is cancelled when no new work may start, or before that by its owner.
    pub(super) fn closing(&self) -> CancellationToken {
        self.shared.closing.child_token()
    }

    /// Refuses all new claims from now on.
    pub(super) fn close(&self) {
        let _slots = self.shared.slots();
        self.shared.closing.cancel();
    }

    /// Waits until no work is running.
    pub(super) async fn ended(&self) {
        // A tracker can be waited for once it is closed. New work can still be tracked.
        self.shared.work.close();
        self.shared.work.wait().await;
    }

    /// Hands the upload off to another process, whose request for it is `age` old. A claim that
    /// arrived after that request is newer and keeps the upload.
    pub(super) fn hand_off(&self, id: &UploadId, age: Duration) {
        let mut slots = self.shared.slots();
        let slot = slots.uploads.get_mut(id).filter(|slot| !slot.finishing);
        let Some(slot) = slot else { return };
        let (elapsed, tolerance) = (slot.arrival.at.elapsed(), slot.arrival.tolerance);
        if elapsed > age.saturating_add(tolerance) {
            metric::taken_over(false);
            slot.signals.stop();
        } else if elapsed + tolerance > age {
            slot.handing_off = true;
            slot.signals.wanted.cancel();
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
        self.shared.watcher.close();
        self.shared.watcher.wait().await;
    }

    /// Whether a claim of this process is finishing the upload.
    pub(super) fn is_finishing(&self, id: &UploadId) -> bool {
        self.shared.slots().uploads.get(id).is_some_and(|slot| slot.finishing)
    }

    /// Asks every claim to stop, except those that are finishing an upload.
    pub(super) fn stop(&self) {
        let slots = self.shared.slots();
        self.shared.stopping.cancel();
        slots.uploads.values().filter(|slot| !slot.finishing).for_each(|slot| slot.signals.stop());
    }
}

impl Arrival {
    pub(super) fn now() -> Self {
        Self { at: Instant::now(), tolerance: Duration::ZERO }
    }
}

impl Signals {
    fn stop(&self) {
        self.stop.cancel();
        self.wanted.cancel();
    }
}

impl Slot {
    fn new(arrival: Arrival) -> Self {
        Self {
            signals: Signals::default(),
            turn: Arc::default(),
            finishing: false,
            handing_off: false,
            claims: 0,
            arrival,
        }
    }

    /// Asks the newest claim to stop for one that is not older.
    fn ask(&mut self, arrival: Arrival) -> Result<(), ErrorKind> {
        if self.finishing {
            return Err(ErrorKind::Finishing);
        }
        let (older, newer) = (arrival.at.min(self.arrival.at), arrival.at.max(self.arrival.at));
        if newer - older < arrival.tolerance.min(self.arrival.tolerance) {
            std::mem::take(&mut self.signals.wanted).cancel();
        } else if arrival.at < self.arrival.at {
            return Err(ErrorKind::Superseded);
        } else {
            std::mem::take(&mut self.signals).stop();
            self.arrival = arrival;
        }
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
    /// Waits until a newer claim asks for the upload, or an equally new one still does after a
    /// while, and returns the reason to stop.
    pub(super) fn stopped(&self) -> impl Future<Output = ErrorKind> + Send + use<> {
        let (id, signals) = (self.id, self.signals.clone());
        let shared = Arc::clone(&self.guard.shared);
        async move {
            signals.wanted.cancelled().await;
            // An equally new claim may have given up by then.
            while tokio::time::timeout(SILENCE, signals.stop.cancelled()).await.is_err()
                && !shared.is_wanted(&id)
            {}
            shared.why_stopped()
        }
    }

    pub(super) fn check(&self) -> Result<(), ErrorKind> {
        let is_stopped = self.signals.stop.is_cancelled();
        if is_stopped { Err(self.guard.shared.why_stopped()) } else { Ok(()) }
    }

    /// Whether a newer claim brings again what this one has not committed.
    pub(super) fn is_overtaken(&self) -> bool {
        self.check() == Err(ErrorKind::Superseded) && !self.signals.keep.is_cancelled()
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

/// How long a claim that an equally new one waits for may receive nothing.
const SILENCE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(2);
    const TOLERANCE: Duration = Duration::from_secs(1);

    fn receiving(at: Instant) -> Arrival {
        Arrival { at, tolerance: TOLERANCE }
    }

    fn exact(at: Instant) -> Arrival {
        Arrival { at, tolerance: Duration::ZERO }
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_claim_wins() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let first = claims.claim(&id, Arrival::now(), TIMEOUT).await.unwrap();
        let third = async {
            first.stopped().await;
            // The second claim has asked for the upload and is waiting.
            let (third, ()) =
                tokio::join!(claims.claim(&id, Arrival::now(), TIMEOUT), async { drop(first) });
            third
        };
        let (second, third) = tokio::join!(claims.claim(&id, Arrival::now(), TIMEOUT), third);
        assert_eq!(second.unwrap_err(), ErrorKind::Superseded);
        let third = third.unwrap();
        assert!(third.check().is_ok());
        drop(third);
        assert!(claims.shared.slots().uploads.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_only_wants_to_know_does_not_overtake() {
        let (claims, id) = (Claims::default(), UploadId::random());
        // Nobody holds it.
        assert_eq!(claims.end(&id, Arrival::now(), TIMEOUT).await, Ok(()));
        let first = claims.claim(&id, Arrival::now(), TIMEOUT).await.unwrap();
        assert!(!first.is_overtaken());
        let holder = async {
            assert_eq!(first.stopped().await, ErrorKind::Superseded);
            assert!(!first.is_overtaken());
            drop(first);
        };
        let (ended, ()) = tokio::join!(claims.end(&id, Arrival::now(), TIMEOUT), holder);
        assert_eq!(ended, Ok(()));
        assert!(claims.shared.slots().uploads.is_empty());

        // A later claim that brings bytes overtakes as ever, and so it does who wants to know.
        let first = claims.claim(&id, Arrival::now(), TIMEOUT).await.unwrap();
        let mut asks = std::pin::pin!(claims.end(&id, Arrival::now(), TIMEOUT));
        assert!(tokio::time::timeout(Duration::ZERO, asks.as_mut()).await.is_err());
        let mut brings = std::pin::pin!(claims.claim(&id, Arrival::now(), TIMEOUT));
        assert!(tokio::time::timeout(Duration::ZERO, brings.as_mut()).await.is_err());
        assert_eq!(asks.await, Err(ErrorKind::Superseded));
        assert!(!first.is_overtaken());
        drop(first);
        let second = brings.await.unwrap();
        let third = claims.claim(&id, Arrival::now(), Duration::ZERO).await;
        assert_eq!(third.unwrap_err(), ErrorKind::Busy);
        assert!(second.is_overtaken());

        // An older question changes nothing.
        let (claims, now) = (Claims::default(), Instant::now());
        let holder = claims.claim(&id, exact(now + TOLERANCE), TIMEOUT).await.unwrap();
        assert_eq!(claims.end(&id, exact(now), TIMEOUT).await, Err(ErrorKind::Superseded));
        assert!(holder.check().is_ok());
        holder.finish().unwrap();
        let later = exact(now + 2 * TOLERANCE);
        assert_eq!(claims.end(&id, later, TIMEOUT).await, Err(ErrorKind::Finishing));
    }

    #[tokio::test]
    async fn an_older_request_does_not_stop_a_newer_one() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let arrived = Instant::now();
        let newer =
            claims.claim(&id, exact(arrived + Duration::from_nanos(1)), TIMEOUT).await.unwrap();
        let older = claims.claim(&id, exact(arrived), TIMEOUT).await;
        assert_eq!(older.unwrap_err(), ErrorKind::Superseded);
        assert!(newer.check().is_ok());
        drop(newer);
        // No claim is left.
        claims.claim(&id, exact(arrived), TIMEOUT).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_chunk_that_arrives_with_another_waits_while_that_one_receives() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let start = Instant::now();
        let first = claims.claim(&id, receiving(start), TIMEOUT).await.unwrap();
        // Read first, but sent later or earlier: nobody can know.
        let later = claims.claim(&id, receiving(start + TOLERANCE / 2), TIMEOUT);
        let earlier = claims.claim(&id, receiving(start - TOLERANCE / 2), TIMEOUT);
        let first = async {
            // As long as there is data, the claim keeps the upload.
            for _ in 0..4 {
                let stopped = tokio::time::timeout(SILENCE / 2, first.stopped()).await;
                assert!(stopped.is_err() && first.check().is_ok());
            }
            assert_eq!(first.stopped().await, ErrorKind::Superseded);
            drop(first);
        };
        let later = async { later.await.map(drop) };
        let earlier = async { earlier.await.map(drop) };
        assert_eq!(tokio::join!(first, later, earlier), ((), Ok(()), Ok(())));
        assert!(claims.shared.slots().uploads.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_gave_up_stops_nobody_that_is_equally_new() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let arrival = receiving(Instant::now());
        let first = claims.claim(&id, arrival, TIMEOUT).await.unwrap();
        let second = claims.claim(&id, arrival, Duration::ZERO).await;
        assert_eq!(second.unwrap_err(), ErrorKind::Busy);
        assert!(tokio::time::timeout(4 * SILENCE, first.stopped()).await.is_err());
        let third = async { claims.claim(&id, arrival, TIMEOUT).await.map(drop) };
        let first = async {
            first.stopped().await;
            drop(first);
        };
        assert_eq!(tokio::join!(third, first), (Ok(()), ()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_newer_request_stops_all_that_were_equally_new() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let start = Instant::now();
        let first = claims.claim(&id, receiving(start), TIMEOUT).await.unwrap();
        let second = claims.claim(&id, receiving(start), TIMEOUT);
        let third = async {
            tokio::task::yield_now().await;
            let third = claims.claim(&id, receiving(start + TOLERANCE), TIMEOUT).await;
            third.map(drop)
        };
        let first = async {
            assert_eq!(first.stopped().await, ErrorKind::Superseded);
            assert_eq!(first.check(), Err(ErrorKind::Superseded));
            drop(first);
        };
        let (second, third, ()) = tokio::join!(second, third, first);
        assert_eq!((second.map(drop), third), (Err(ErrorKind::Superseded), Ok(())));
    }

    #[tokio::test]
    async fn an_exact_claim_is_not_equally_new() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let start = Instant::now();
        let chunk = claims.claim(&id, receiving(start), TIMEOUT).await.unwrap();
        let (removal, ()) = tokio::join!(claims.claim(&id, exact(start), TIMEOUT), async move {
            assert_eq!(chunk.check(), Err(ErrorKind::Superseded));
            drop(chunk);
        });
        removal.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_does_not_stop_makes_others_time_out() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let first = claims.claim(&id, Arrival::now(), TIMEOUT).await.unwrap();
        assert_eq!(claims.claim(&id, Arrival::now(), TIMEOUT).await.unwrap_err(), ErrorKind::Busy);
        drop(first);
        claims.claim(&id, Arrival::now(), TIMEOUT).await.unwrap();
        assert!(claims.shared.slots().uploads.is_empty());
    }

    #[tokio::test]
    async fn a_finishing_claim_is_not_stopped() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let first = claims.claim(&id, Arrival::now(), TIMEOUT).await.unwrap();
        first.finish().unwrap();
        assert_eq!(
            claims.claim(&id, Arrival::now(), TIMEOUT).await.unwrap_err(),
            ErrorKind::Finishing
        );
        assert!(first.check().is_ok());
        drop(first);
        claims.claim(&id, Arrival::now(), TIMEOUT).await.unwrap();
    }

    #[tokio::test]
    async fn a_hand_off_request_stops_only_older_claims() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let claim = claims.claim(&id, Arrival::now(), TIMEOUT).await.unwrap();
        claims.hand_off(&id, Duration::from_secs(5));
        assert!(claim.check().is_ok());
        claims.hand_off(&UploadId::random(), Duration::ZERO);
        assert!(claim.check().is_ok());
        std::thread::sleep(Duration::from_millis(1));
        claims.hand_off(&id, Duration::ZERO);
        assert!(claim.check().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_hand_off_request_waits_for_a_chunk_that_arrived_with_it() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let claim = claims.claim(&id, receiving(Instant::now()), TIMEOUT).await.unwrap();
        claims.hand_off(&id, 2 * TOLERANCE);
        assert!(!claim.signals.wanted.is_cancelled());
        claims.hand_off(&id, TOLERANCE / 2);
        assert!(claim.check().is_ok());
        assert_eq!(claim.stopped().await, ErrorKind::Superseded);
    }

    #[tokio::test]
    async fn a_shutdown_waits_for_claims_and_refuses_new_ones() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let claim = claims.claim(&id, Arrival::now(), TIMEOUT).await.unwrap();
        claims.close();
        let new = claims.claim(&UploadId::random(), Arrival::now(), TIMEOUT).await;
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
