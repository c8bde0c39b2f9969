//! The batches of an append, and the task that writes them.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::buffer::Permit;
use super::checksums::Checksums;
use super::claim::Claim;
use super::core::Engine;
use super::error::{Error, ErrorKind};
use super::event::Cause;
use super::lease::Lease;
use super::lock;
use crate::checksum::{Digest, DigestAlgorithm, Running};
use crate::metric::{self, Timer};
use crate::store::{Batch, Commit, DynWriter, Reader, StoreError};
use crate::task::Detached;
use crate::upload::Upload;

/// The writer: idle here, or at work with a batch.
pub(super) enum WriterState {
    Idle(BatchWriter),
    Busy(Detached<(BatchWriter, Result<(), Error>)>),
    Failed,
}

/// The store's writer and the running checksum.
pub(super) struct BatchWriter {
    engine: Arc<Engine>,
    writer: Box<dyn DynWriter>,
    /// Whether the writer knows the upload from memory, and has not compared it with the store yet.
    recalled: bool,
    /// The record that was there in place of the remembered one, for the append to go on with.
    renewed: Option<Box<Upload>>,
    pub(super) checksum: Checksum,
    /// Keeps the claim while a batch is being written, even if the append was dropped.
    claim: Arc<Claim>,
}

impl WriterState {
    /// Waits for the current write.
    pub(super) async fn writer(&mut self) -> Result<BatchWriter, Error> {
        if let Self::Busy(write) = self {
            let (writer, result) = write.await.ok_or(ErrorKind::Store)?;
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
    pub(super) fn new(
        engine: &Arc<Engine>,
        (writer, recalled): (Box<dyn DynWriter>, bool),
        checksum: Checksum,
        claim: &Arc<Claim>,
    ) -> Self {
        let (engine, claim) = (Arc::clone(engine), Arc::clone(claim));
        Self { engine, writer, recalled, renewed: None, checksum, claim }
    }

    /// The record as last committed.
    pub(super) fn upload(&self) -> &Upload {
        self.writer.upload()
    }

    /// The record with which the append goes on, if it is another one than it began with.
    pub(super) fn renewed(&mut self) -> Option<Box<Upload>> {
        self.renewed.take()
    }

    /// Begins to hash and write one batch.
    pub(super) fn start(mut self, batch: Bytes, keep: Option<Upload>) -> WriterState {
        let unattended = self.engine.store.capabilities().unattended_writes;
        // The work owns the writer and thus the lease. If it is dropped, the write still completes
        // before anybody else can write.
        let mut write = Detached::new(async move {
            let result = match keep {
                None => self.write(batch).await,
                Some(upload) => self.commit(batch, upload, false).await,
            };
            (self, result)
        });
        if unattended {
            write.begin()
        } else {
            write.spawn()
        }
        WriterState::Busy(write)
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        metric::received(bytes.len());
        let batch = |checksum: Checksum, bytes: &Bytes| {
            let slow = checksum.is_slow();
            Batch::looked_at(bytes.clone(), slow, move |bytes| checksum.update(bytes))
        };
        if self.recalled {
            let written = self.writer.write(batch(self.checksum.clone(), &bytes)).await;
            if !self.is_outdated(&written).await? {
                return Ok(written?);
            }
        }
        Ok(self.writer.write(batch(self.checksum.clone(), &bytes)).await?)
    }

    /// Waits until all bytes that were written are in the checksum.
    pub(super) async fn inspected(&mut self) -> Result<(), Error> {
        Ok(self.writer.inspected().await?)
    }

    /// Hashes and writes the last bytes, and commits the record. The lease ends with it, if nothing
    /// else is to be done under it.
    pub(super) async fn commit(
        &mut self,
        last: Bytes,
        upload: Upload,
        releases: bool,
    ) -> Result<(), Error> {
        let (timer, before) = (Timer::start(), self.upload().offset());
        metric::received(last.len());
        self.commit_or_renew(last, upload, releases).await?;
        timer.committed();
        metric::acknowledged(self.upload().offset().saturating_sub(before));
        Ok(())
    }

    async fn commit_or_renew(
        &mut self,
        last: Bytes,
        mut upload: Upload,
        releases: bool,
    ) -> Result<(), Error> {
        // The append was dropped before it could look.
        if self.renewed.take().is_some() {
            upload = self.engine.carry_over(&upload, self.writer.upload())?;
        }
        if self.recalled {
            let commit = self.checksum.commit(last.clone(), upload.clone(), releases);
            let committed = self.writer.commit(commit).await;
            if !self.is_outdated(&committed).await? {
                committed?;
                self.engine.watches.committed(self.writer.upload());
                return Ok(());
            }
            upload = self.engine.carry_over(&upload, self.writer.upload())?;
        }
        let commit = self.checksum.commit(last, upload, releases);
        self.engine.commit(&mut *self.writer, commit).await
    }

    /// Whether the first call with a writer from memory has found another record, or another process
    /// that holds the upload. Then nothing was done, and this takes the lease as it would have been
    /// taken without the memory.
    async fn is_outdated(&mut self, result: &Result<(), StoreError>) -> Result<bool, Error> {
        self.recalled = false;
        if !matches!(result, Err(StoreError::Busy | StoreError::Conflict)) {
            return Ok(false);
        }
        // Boxed because it is seldom needed, and each batch would have room for it.
        let renewed = Box::pin(self.engine.renewed(self.writer.upload(), &self.claim));
        self.writer = renewed.await?;
        self.checksum.resume(self.writer.upload());
        self.renewed = Some(Box::new(self.writer.upload().clone()));
        Ok(true)
    }

    /// Gives back without a commit what was written, for it to be read.
    pub(super) async fn into_reader(self) -> Result<Reader, StoreError> {
        self.writer.into_reader().await
    }

    /// The lease on, if nobody else has the claim.
    pub(super) fn into_lease(self, cause: Cause) -> Option<Lease> {
        let Self { engine, writer, recalled, claim, .. } = self;
        Some(Lease { engine, cause, writer, recalled, claim: Arc::into_inner(claim)? })
    }
}

/// The incremental checksums, which move with each batch to the thread that writes it.
///
/// Hashing and writing one after the other, while the next batch is collected, is faster than doing
/// both in parallel: fetching the batch to a third core costs more than it saves. Only if batches
/// come faster than that, the store may compute them behind the writing.
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

    /// Whether computing them takes longer than writing the bytes.
    fn is_slow(&self) -> bool {
        let sums = lock(&self.0);
        sums.upload.iter().chain(&sums.added).any(|sum| !sum.is_fast())
    }

    /// Goes on with the states in this record, of which no byte was added yet.
    fn resume(&self, upload: &Upload) {
        lock(&self.0).upload = Checksums::resume(&upload.progress);
    }

    /// The commit of these bytes, with the states of the checksums after them.
    fn commit(&self, last: Bytes, mut upload: Upload, releases: bool) -> Commit {
        let (sums, slow) = (self.clone(), self.is_slow());
        let commit = Commit::computed(last, slow, move |last| {
            sums.update(last);
            lock(&sums.0).upload.save(&mut upload.progress);
            upload
        });
        if releases { commit.with_release() } else { commit }
    }
}
