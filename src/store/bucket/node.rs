//! What all handles and writers of a store share on this node.

use std::sync::Arc;

use object_store::path::Path;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::heartbeat::Heartbeats;
use super::index::ExpiryIndex;
use super::log::CommitLog;
use super::mover::Mover;
use super::pool::Pool;
use super::reader::Files;
use super::snapshot::Snapshots;

pub(super) struct Node {
    pub(super) log: Arc<CommitLog>,
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) index: ExpiryIndex,
    pub(super) files: Arc<Files>,
    pub(super) heartbeats: Arc<Heartbeats>,
    pub(super) mover: Arc<Mover>,
    pub(super) pool: Arc<Pool>,
    /// The tasks under way, for which a shutdown waits.
    pub(super) tasks: TaskTracker,
    /// How many commits with bytes an upload may have.
    pub(super) max_commits: u32,
}

impl Node {
    /// Deletes what nobody needs, sooner or later: if it fails, or there is no runtime, the sweep
    /// does it.
    pub(super) fn clean(&self, keys: Vec<Path>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let objects = self.log.objects.clone();
        drop(self.tasks.spawn_on(async move { drop(objects.delete(&keys).await) }, &runtime));
    }
}
