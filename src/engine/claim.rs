//! Who works on which upload in this process: the newest request wins.
//!
//! This is courtesy, not safety. A claim asks the request before it to stop and waits for it, so
//! that a client whose connection died is not locked out by its own past. That two requests never
//! write at once is the store's lease.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, watch};

use super::error::ErrorKind;
use crate::id::UploadId;

#[derive(Debug, Default)]
pub(super) struct Claims {
    held: Arc<Mutex<HashMap<UploadId, Slot>>>,
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
}

/// The right to work on an upload, until it is dropped or a newer claim asks for it.
#[derive(Debug)]
pub(super) struct Claim {
    id: UploadId,
    held: Arc<Mutex<HashMap<UploadId, Slot>>>,
    stopped: watch::Receiver<bool>,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Claims {
    /// Asks whoever works on the upload to stop, and waits for that, but no longer than `patience`.
    pub(super) async fn claim(
        &self,
        id: &UploadId,
        patience: Duration,
    ) -> Result<Claim, ErrorKind> {
        let (mut claim, turn) = self.enter(id)?;
        let mut stopped = claim.stopped.clone();
        let turn = tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => return Err(ErrorKind::Superseded),
            turn = tokio::time::timeout(patience, turn.lock_owned()) => turn,
        };
        claim.turn = Some(turn.map_err(|_| ErrorKind::Busy)?);
        Ok(claim)
    }

    fn enter(&self, id: &UploadId) -> Result<(Claim, Arc<tokio::sync::Mutex<()>>), ErrorKind> {
        let (stop, stopped) = watch::channel(false);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = match held.entry(*id) {
            Entry::Vacant(slot) => {
                let turn = Arc::default();
                let slot = slot.insert(Slot { stop, turn, finishing: false, claims: 1 });
                Arc::clone(&slot.turn)
            }
            Entry::Occupied(mut slot) => {
                let slot = slot.get_mut();
                if slot.finishing {
                    return Err(ErrorKind::Finishing);
                }
                slot.stop.send_replace(true);
                slot.stop = stop;
                slot.claims += 1;
                Arc::clone(&slot.turn)
            }
        };
        let held = Arc::clone(&self.held);
        Ok((Claim { id: *id, held, stopped, turn: None }, turn))
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

    /// From now on no newer claim can stop this one: it is told that the upload is finishing.
    /// Fails if one has asked already.
    pub(super) fn finish(&self) -> Result<(), ErrorKind> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_stopped() {
            return Err(ErrorKind::Superseded);
        }
        if let Some(slot) = held.get_mut(&self.id) {
            slot.finishing = true;
        }
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = held.get_mut(&self.id) else { return };
        if self.turn.take().is_some() {
            slot.finishing = false;
        }
        slot.claims -= 1;
        if slot.claims == 0 {
            held.remove(&self.id);
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
        let first = claims.claim(&id, PATIENCE).await.unwrap();
        let third = async {
            first.stopped().await;
            // The second has asked and waits.
            let (third, ()) = tokio::join!(claims.claim(&id, PATIENCE), async { drop(first) });
            third
        };
        let (second, third) = tokio::join!(claims.claim(&id, PATIENCE), third);
        assert_eq!(second.unwrap_err(), ErrorKind::Superseded);
        let third = third.unwrap();
        assert!(!third.is_stopped());
        drop(third);
        assert!(claims.held.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_does_not_stop_is_waited_for_in_vain() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let first = claims.claim(&id, PATIENCE).await.unwrap();
        assert_eq!(claims.claim(&id, PATIENCE).await.unwrap_err(), ErrorKind::Busy);
        drop(first);
        claims.claim(&id, PATIENCE).await.unwrap();
        assert!(claims.held.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn nobody_stops_a_finishing_one() {
        let (claims, id) = (Claims::default(), UploadId::random());
        let first = claims.claim(&id, PATIENCE).await.unwrap();
        first.finish().unwrap();
        assert_eq!(claims.claim(&id, PATIENCE).await.unwrap_err(), ErrorKind::Finishing);
        assert!(!first.is_stopped());
        drop(first);
        claims.claim(&id, PATIENCE).await.unwrap();
    }
}
