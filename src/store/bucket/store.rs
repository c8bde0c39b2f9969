use std::fmt;
use std::sync::Arc;

use super::node::Node;
use super::writer::BucketWriter;
use super::{check, tasks};
use crate::id::UploadId;
use crate::store::{
    Capabilities, Cursor, HandoffRequest, Page, Reader, Remains, Result, Store, StoreError,
};
use crate::upload::Upload;

/// Keeps uploads in a bucket, for any number of nodes. The [module docs](super) say how. A clone is
/// the same store.
#[derive(Clone)]
pub struct BucketStore {
    pub(super) node: Arc<Node>,
}

impl Store for BucketStore {
    type Writer = BucketWriter;

    /// Its settings were checked when it was [connected](super::BucketStoreBuilder::connect).
    fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn probe(&self) -> Result<()> {
        let node = Arc::clone(&self.node);
        let probe = async move { check::probe(&node.log, &node.files.targets.objects).await };
        tasks::finish(&self.node.tasks, probe).await
    }

    fn capabilities(&self) -> Capabilities {
        // A position in a file is signed where it is read.
        let max_bytes = u64::try_from(i64::MAX).ok();
        Capabilities { expiry_index: true, max_bytes, ..Capabilities::default() }
    }

    async fn create(&self, upload: Upload) -> Result<BucketWriter> {
        BucketWriter::create(&self.node, upload).await
    }

    async fn load(&self, id: &UploadId) -> Result<Upload> {
        let snapshot = self.node.snapshots.current(id).await?;
        self.node.snapshots.describe(&snapshot).await
    }

    async fn writer(&self, id: &UploadId) -> Result<BucketWriter> {
        BucketWriter::take(&self.node, id).await
    }

    fn recall(&self, _: &UploadId) -> Option<Self::Writer> {
        None
    }

    async fn open(&self, id: &UploadId) -> Result<Reader> {
        let snapshots = &self.node.snapshots;
        loop {
            let snapshot = snapshots.current(id).await?;
            let upload = snapshots.describe(&snapshot).await?;
            let seq = snapshot.tail.seq;
            match self.node.files.open(&upload, snapshot.tail).await {
                // It may have been moved elsewhere since.
                Err(StoreError::Damaged { .. }) if snapshots.current(id).await?.tail.seq != seq => {
                }
                opened => return opened,
            }
        }
    }

    async fn list(&self, cursor: Option<Cursor>) -> Result<Page> {
        self.node.snapshots.page(cursor).await
    }

    async fn list_expiring(&self, cursor: Option<Cursor>) -> Result<Page> {
        self.node.expiring_page(cursor).await
    }

    async fn discard(&self, id: &UploadId) -> Result<()> {
        self.node.discard(id).await
    }

    async fn remains(&self, id: &UploadId) -> Result<Remains> {
        self.node.remains(id).await
    }

    async fn remove_damaged(&self, id: &UploadId) -> Result<bool> {
        self.node.remove_damaged(id).await
    }

    // There are no leases to ask for.
    async fn request_handoff(&self, _: &UploadId, _: bool) -> Result<()> {
        Ok(())
    }

    async fn handoff_requests(&self) -> Result<Vec<HandoffRequest>> {
        Ok(Vec::new())
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    async fn settle(&self) {
        self.node.tasks.wait().await;
    }
}

impl fmt::Debug for BucketStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketStore")
            .field("objects", &self.node.log.objects.store.to_string())
            .field("keys", &self.node.log.keys)
            .field("segment", &self.node.files.part)
            .field("grace", &self.node.log.clock.grace)
            .finish_non_exhaustive()
    }
}
