//! Heartbeats of nodes that have given an upload to the application.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{log::Tail, objects::Context, snapshot::Snapshots};
use crate::id::UploadId;
use crate::store::{Result, StoreError};

/// Which uploads are being completed, and by which node.
pub(super) struct Heartbeats {
    snapshots: Arc<Snapshots>,
    lease: Duration,
    /// What the handles of this node complete, or try to: an id for each handle.
    here: Mutex<Vec<UploadId>>,
    /// What was last seen of other nodes.
    elsewhere: Mutex<HashMap<UploadId, Seen>>,
}

struct Seen {
    seq: u32,
    heartbeat: Option<Bytes>,
    since: Instant,
}

/// Renews the heartbeat of an upload until it is dropped.
pub(super) struct Heartbeat {
    all: Arc<Heartbeats>,
    id: UploadId,
    task: JoinHandle<()>,
}

impl Heartbeats {
    pub(super) fn new(snapshots: &Arc<Snapshots>, lease: Duration) -> Self {
        let snapshots = Arc::clone(snapshots);
        Self { snapshots, lease, here: Mutex::default(), elsewhere: Mutex::default() }
    }

    pub(super) fn start(self: &Arc<Self>, id: UploadId) -> Heartbeat {
        lock(&self.here).push(id);
        let this = Arc::clone(self);
        let task = tokio::spawn(async move { this.renew(&id).await });
        Heartbeat { all: Arc::clone(self), id, task }
    }

    async fn renew(&self, id: &UploadId) {
        let log = &self.snapshots.log;
        let (key, pause, mut read) =
            (log.keys.heartbeat(id), self.lease / BEATS, log.clock.moment());
        for beat in 0_u64.. {
            tokio::time::sleep(pause).await;
            if !log.clock.is_fresh(read) {
                // The heartbeat of an upload that was removed by now would stay for ever.
                let now = log.clock.moment();
                match self.snapshots.current(id).await {
                    Ok(_) => read = now,
                    Err(StoreError::NotFound | StoreError::Removed { .. }) => return,
                    Err(_) => continue,
                }
            }
            // If a heartbeat is lost or takes too long, the next one makes up for it.
            let put = log.objects.store.put(&key, format!("{} {beat}", log.node).into());
            drop(tokio::time::timeout(pause, put).await);
        }
    }

    /// Fails as long as somebody may be completing an upload whose last commit has given it to the
    /// application.
    ///
    /// No clock is compared with another node's: a node that wants to know watches the heartbeat
    /// for the time of the lease.
    pub(super) async fn check_silent(&self, id: &UploadId, tail: &Tail) -> Result<()> {
        let log = &self.snapshots.log;
        if tail.entry.node == log.node {
            let here = lock(&self.here).contains(id);
            return if here { Err(StoreError::Busy) } else { Ok(()) };
        }
        let heartbeat = log.objects.read(&log.keys.heartbeat(id)).await;
        let (heartbeat, now) = (heartbeat.context("look for a heartbeat")?, Instant::now());
        let mut elsewhere = lock(&self.elsewhere);
        if elsewhere.len() > WATCHED {
            elsewhere.retain(|_, seen| now - seen.since < FORGOTTEN * self.lease);
        }
        let (seq, since) = (tail.seq, now);
        // Once a node has been silent for that long, this stays so for the next request until there
        // is another commit or heartbeat.
        let seen = elsewhere.entry(*id).or_insert_with(|| Seen { seq, heartbeat: None, since });
        if (seen.seq, &seen.heartbeat) != (seq, &heartbeat) {
            *seen = Seen { seq, heartbeat, since };
        }
        if now - seen.since < self.lease { Err(StoreError::Busy) } else { Ok(()) }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.task.abort();
        let mut here = lock(&self.all.here);
        if let Some(at) = here.iter().position(|id| *id == self.id) {
            here.swap_remove(at);
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many heartbeats a node gives in the time after which it is taken for dead.
const BEATS: u32 = 4;
/// How many completions of others to watch before old ones are forgotten, and how old, in leases.
const WATCHED: usize = 1024;
const FORGOTTEN: u32 = 8;
