//! Who works on which upload in this process: the newest request wins.
//!
//! This is courtesy, not safety. A claim asks the request before it to stop and waits for it, so
//! that a client whose connection died is not locked out by its own past. That two requests never
//! write at once is the store's lease.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedMutexGuard, watch};

use super::error::ErrorKind;
use crate::id::UploadId;

#[derive(Debug)]
pub(super) struct Claims {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    slots: Mutex<HashMap<UploadId, Slot>>,
    /// Whether new claims are refused. It changes under the lock of the slots.
    phase: watch::Sender<Phase>,
    /// How many claims and other work there is.
    running: watch::Sender<usize>,
    /// Whether somebody looks for what other processes ask for.
    watched: watch::Sender<bool>,
}

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// Nothing new begins.
    Closed,
    /// Nothing goes on.
    Stopped,
}

#[derive(Debug)]
struct Slot {
    // Told to the newest claim when an even newer one comes.
    stop: watch::Sender<bool>,
    turn: Arc<tokio::sync::Mutex<()>>,
    // A claim that nobody may stop: the application has the file.
    finishing: bool,
    // How many claims, the holder among them, refer to the slot.
    claims: usize,
    // When the newest of them came.
    since: Instant,
}

/// The right to work on an upload, until it is dropped or a newer claim asks for it.
#[derive(Debug)]
pub(super) struct Claim {
    id: UploadId,
    stopped: watch::Receiver<bool>,
    turn: Option<OwnedMutexGuard<()>>,
    work: Work,
}

/// Work that a shutdown waits for.
#[derive(Debug)]
pub(crate) struct Work {
    shared: Arc<Shared>,
}

impl Default for Claims {
    fn default() -> Self {
        let shared = Shared {
            slots: Mutex::default(),
            phase: watch::Sender::new(Phase::Open),
            running: watch::Sender::new(0),
            watched: watch::Sender::new(false),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Slot {
    fn new(stop: watch::Sender<bool>, since: Instant) -> Self {
        Self { stop, turn: Arc::default(), finishing: false, claims: 1, since }
    }
}

impl Shared {
    fn slots(&self) -> MutexGuard<'_, HashMap<UploadId, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reaches(&self, phase: Phase) -> impl Future<Output = ()> + Send + use<> {
        let mut now = self.phase.subscribe();
        async move {
            // A sender that is gone has nothing left to shut down.
            if now.wait_for(|now| *now >= phase).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Claims {
    /// Asks whoever works on the upload to stop, and waits for that, but no longer than `patience`. Who came
    /// before whoever asks or works, though it is looked at only now, stops nobody.
    pub(super) async fn claim(
        &self,
        id: &UploadId,
        came: Instant,
        patience: Duration,
    ) -> Result<Claim, ErrorKind> {
        let (mut claim, turn) = self.enter(id, came)?;
        let mut stopped = claim.stopped.clone();
        let turn = tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => return Err(claim.why_stopped()),
            turn = tokio::time::timeout(patience, turn.lock_owned()) => turn,
        };
        claim.turn = Some(turn.map_err(|_| ErrorKind::Busy)?);
        Ok(claim)
    }

    /// The claim on an upload that nobody claims.
    pub(super) fn claim_idle(&self, id: &UploadId, came: Instant) -> Option<Claim> {
        let mut slots = self.shared.slots();
        if slots.contains_key(id) || *self.shared.phase.borrow() != Phase::Open {
            return None;
        }
        let (stop, stopped) = watch::channel(false);
        let slot = Slot::new(stop, came);
        let turn = Arc::clone(&slot.turn).try_lock_owned().ok()?;
        slots.insert(*id, slot);
        Some(Claim { id: *id, stopped, turn: Some(turn), work: self.work() })
    }

    fn enter(
        &self,
        id: &UploadId,
        came: Instant,
    ) -> Result<(Claim, Arc<tokio::sync::Mutex<()>>), ErrorKind> {
        let (stop, stopped) = watch::channel(false);
        let mut slots = self.shared.slots();
        if *self.shared.phase.borrow() != Phase::Open {
            return Err(ErrorKind::ShuttingDown);
        }
        let turn = match slots.entry(*id) {
            Entry::Vacant(slot) => Arc::clone(&slot.insert(Slot::new(stop, came)).turn),
            Entry::Occupied(mut slot) => {
                let slot = slot.get_mut();
                if slot.finishing {
                    return Err(ErrorKind::Finishing);
                }
                if slot.since > came {
                    return Err(ErrorKind::Superseded);
                }
                slot.stop.send_replace(true);
                slot.stop = stop;
                slot.claims += 1;
                slot.since = came;
                Arc::clone(&slot.turn)
            }
        };
        Ok((Claim { id: *id, stopped, turn: None, work: self.work() }, turn))
    }

    /// Counts as work until it is dropped.
    pub(super) fn work(&self) -> Work {
        self.shared.running.send_modify(|running| *running += 1);
        Work { shared: Arc::clone(&self.shared) }
    }

    /// Waits until a shutdown begins.
    pub(super) fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        self.shared.reaches(Phase::Closed)
    }

    /// Waits until a shutdown has no patience any more.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        self.shared.reaches(Phase::Stopped)
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.shared.phase.borrow() != Phase::Open
    }

    /// Refuses every claim from now on.
    pub(super) fn close(&self) {
        let _slots = self.shared.slots();
        self.shared.phase.send_modify(|phase| *phase = Phase::Closed.max(*phase));
    }

    /// Waits until nobody works any more.
    pub(super) async fn ended(&self) {
        let mut running = self.shared.running.subscribe();
        // The sender lives as long as this.
        drop(running.wait_for(|running| *running == 0).await);
    }

    /// Somebody in another process asks for the upload, since so long: whoever came after that is the
    /// newer one.
    pub(super) fn ask(&self, id: &UploadId, age: Duration) {
        let slots = self.shared.slots();
        if let Some(slot) = slots.get(id)
            && !slot.finishing
            && slot.since.elapsed() > age
        {
            slot.stop.send_replace(true);
        }
    }

    /// Whether the caller is the one who has to look what other processes ask for.
    pub(super) fn watch(&self) -> bool {
        let _slots = self.shared.slots();
        !self.shared.watched.send_replace(true)
    }

    /// Nobody needs to look any more, unless somebody works again.
    pub(super) fn end_watch(&self) -> bool {
        let _slots = self.shared.slots();
        let idle = *self.shared.running.borrow() == 0;
        if idle {
            self.shared.watched.send_replace(false);
        }
        idle
    }

    pub(super) async fn watch_ended(&self) {
        drop(self.shared.watched.subscribe().wait_for(|watched| !watched).await);
    }

    /// Asks everybody to stop but those who finish an upload.
    pub(super) fn stop(&self) {
        let slots = self.shared.slots();
        self.shared.phase.send_replace(Phase::Stopped);
        for slot in slots.values().filter(|slot| !slot.finishing) {
            slot.stop.send_replace(true);
        }
    }
}

impl Work {
    /// Waits until a shutdown begins.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        self.shared.reaches(Phase::Closed)
    }

    /// Waits until a shutdown has no patience any more.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        self.shared.reaches(Phase::Stopped)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.shared.running.send_modify(|running| *running -= 1);
    }
}

impl Claim {
    /// Waits until a newer claim asks for the upload.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stopped = self.stopped.clone();
        async move {
            if stopped.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Who has stopped it: a newer claim, unless nobody can make one any more.
    pub(super) fn why_stopped(&self) -> ErrorKind {
        match *self.work.shared.phase.borrow() {
            Phase::Stopped => ErrorKind::ShuttingDown,
            _ => ErrorKind::Superseded,
        }
    }

    /// From now on no newer claim can stop this one: it is told that the upload is finishing.
    /// Fails if one has asked already.
    pub(super) fn finish(&self) -> Result<(), ErrorKind> {
        let mut slots = self.work.shared.slots();
        if self.is_stopped() {
            return Err(self.why_stopped());
        }
        if let Some(slot) = slots.get_mut(&self.id) {
            slot.finishing = true;
        }
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut slots = self.work.shared.slots();
        let Some(slot) = slots.get_mut(&self.id) else { return };
        if self.turn.take().is_some() {
            slot.finishing = false;
        }
        slot.claims -= 1;
        if slot.claims == 0 {
            slots.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn the_newest_claim_wins() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let first = claims.claim(&id, Instant::now(), PATIENCE).await.unwrap();
        let third = async {
            first.stopped().await;
            // The second has asked and waits.
            let (third, ()) =
                tokio::join!(claims.claim(&id, Instant::now(), PATIENCE), async { drop(first) });
            third
        };
        let (second, third) = tokio::join!(claims.claim(&id, Instant::now(), PATIENCE), third);
        assert_eq!(second.unwrap_err(), ErrorKind::Superseded);
        let third = third.unwrap();
        assert!(!third.is_stopped());
        drop(third);
        assert!(claims.shared.slots().is_empty());
    }

    #[tokio::test]
    async fn who_came_before_stops_nobody() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let came = Instant::now();
        let newer = claims.claim(&id, came + Duration::from_nanos(1), PATIENCE).await.unwrap();
        let older = claims.claim(&id, came, PATIENCE).await;
        assert_eq!(older.unwrap_err(), ErrorKind::Superseded);
        assert!(!newer.is_stopped());
        drop(newer);
        // Nobody works on it any more.
        claims.claim(&id, came, PATIENCE).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_does_not_stop_is_waited_for_in_vain() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let first = claims.claim(&id, Instant::now(), PATIENCE).await.unwrap();
        assert_eq!(claims.claim(&id, Instant::now(), PATIENCE).await.unwrap_err(), ErrorKind::Busy);
        drop(first);
        claims.claim(&id, Instant::now(), PATIENCE).await.unwrap();
        assert!(claims.shared.slots().is_empty());
    }

    #[tokio::test]
    async fn nobody_stops_a_finishing_one() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let first = claims.claim(&id, Instant::now(), PATIENCE).await.unwrap();
        first.finish().unwrap();
        assert_eq!(
            claims.claim(&id, Instant::now(), PATIENCE).await.unwrap_err(),
            ErrorKind::Finishing
        );
        assert!(!first.is_stopped());
        drop(first);
        claims.claim(&id, Instant::now(), PATIENCE).await.unwrap();
    }

    #[tokio::test]
    async fn another_process_stops_only_who_is_older_than_its_question() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let claim = claims.claim(&id, Instant::now(), PATIENCE).await.unwrap();
        claims.ask(&id, Duration::from_secs(5));
        assert!(!claim.is_stopped());
        claims.ask(&UploadId::random(), Duration::ZERO);
        assert!(!claim.is_stopped());
        std::thread::sleep(Duration::from_millis(1));
        claims.ask(&id, Duration::ZERO);
        assert!(claim.is_stopped());
    }

    #[tokio::test]
    async fn a_shutdown_waits_for_claims_and_refuses_new_ones() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let claim = claims.claim(&id, Instant::now(), PATIENCE).await.unwrap();
        claims.close();
        let new = claims.claim(&UploadId::random(), Instant::now(), PATIENCE).await;
        assert_eq!(new.unwrap_err(), ErrorKind::ShuttingDown);
        assert!(!claim.is_stopped());
        claims.stop();
        tokio::join!(claims.ended(), async {
            claim.stopped().await;
            drop(claim);
        });
        claims.ended().await;
        claims.close();
        assert_eq!(*claims.shared.phase.borrow(), Phase::Stopped);
    }
}
