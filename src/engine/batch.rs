//! The batches of an append, and the task that writes them.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::buffer::Permit;
use super::checksums::Checksums;
use super::claim::Claim;
use super::error::{Error, ErrorKind};
use super::lock;
use crate::checksum::{Digest, DigestAlgorithm, Running};
use crate::store::{Batch, Commit, DynWriter, StoreError};
use crate::task;
use crate::upload::Upload;

/// The writer: idle here, or moved into the task that writes a batch.
pub(super) enum WriterState {
    Idle(BatchWriter),
    Busy(JoinHandle<(BatchWriter, Result<(), StoreError>)>),
    Failed,
}

/// The store's writer and the running checksum.
pub(super) struct BatchWriter {
    pub(super) writer: Box<dyn DynWriter>,
    pub(super) checksum: Checksum,
    /// Keeps the claim while a batch is being written, even if the append was dropped.
    pub(super) _claim: Arc<Claim>,
}

impl WriterState {
    /// Waits for the current write.
    pub(super) async fn writer(&mut self) -> Result<BatchWriter, Error> {
        if let Self::Busy(task) = self {
            let (writer, result) = task::joined(task.await).ok_or(ErrorKind::Store)?;
            result?;
            return Ok(writer);
        }
        match std::mem::replace(self, Self::Failed) {
            Self::Idle(writer) => Ok(writer),
            Self::Busy(_) | Self::Failed => Err(ErrorKind::Store.into()),
        }
    }
}

/// A frame that is written without being copied.
pub(super) struct LargeFrame {
    pub(super) bytes: Bytes,
    pub(super) _permit: Option<Permit>,
}

impl AsRef<[u8]> for LargeFrame {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl BatchWriter {
    /// Hashes and writes one batch.
    pub(super) async fn write(
        &mut self,
        batch: Bytes,
        keep: Option<Upload>,
    ) -> Result<(), StoreError> {
        let checksum = self.checksum.clone();
        let Some(upload) = keep else {
            let batch = Batch::looked_at(batch, move |bytes| checksum.update(bytes));
            return self.writer.write(batch).await;
        };
        self.writer.commit(checksum.into_commit(batch, upload)).await
    }
}

/// The incremental checksums, which move with each batch to the thread that writes it.
///
/// Hashing and writing one after the other, while the next batch is collected, is faster than doing
/// both in parallel: fetching the batch to a third core costs more than it saves.
#[derive(Clone)]
pub(super) struct Checksum(Arc<Mutex<Sums>>);

struct Sums {
    /// Of the whole upload.
    upload: Checksums,
    /// Of the bytes that this append adds.
    added: Vec<Running>,
}

impl Checksum {
    pub(super) fn new(upload: Checksums) -> Self {
        Self(Arc::new(Mutex::new(Sums { upload, added: Vec::new() })))
    }

    /// Computes digests of the bytes that are added from now on.
    pub(super) fn compute(&self, algorithms: &[DigestAlgorithm]) {
        lock(&self.0).added = algorithms.iter().map(|it| Running::new(*it)).collect();
    }

    /// Returns the digests of the bytes that were added since then.
    pub(super) fn computed(&self) -> Vec<Digest> {
        lock(&self.0).added.iter().filter_map(Running::digest).collect()
    }

    fn update(&self, bytes: &[u8]) {
        let mut sums = lock(&self.0);
        let Sums { upload, added } = &mut *sums;
        upload.update(bytes);
        added.iter_mut().for_each(|sum| sum.update(bytes));
    }

    /// The commit of these bytes, with the states of the checksums after them.
    pub(super) fn into_commit(self, last: Bytes, mut upload: Upload) -> Commit {
        Commit::computed(last, move |last| {
            self.update(last);
            lock(&self.0).upload.save(&mut upload.progress);
            upload
        })
    }
}
