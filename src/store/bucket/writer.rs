//! Writing to an upload.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use object_store::PutPayload;

use super::appender::{Appender, LONGEST_CREATION, unwritable};
use super::entry::{Body, Entry, List, Piece};
use super::heartbeat::Heartbeat;
use super::node::Node;
use super::pool::Buffer;
use super::reader;
use super::snapshot::Snapshot;
use crate::id::UploadId;
use crate::store::{Batch, Commit, Handover, Reader, Result, StoreError, Writer};
use crate::upload::Upload;

/// The right to try to write to an upload in a [`BucketStore`](super::BucketStore): the first to
/// commit wins.
pub struct BucketWriter {
    node: Arc<Node>,
    upload: Upload,
    log: Appender,
    /// Where the expiry index has the upload at the latest.
    indexed: Option<SystemTime>,
    /// What was written since the last commit.
    buffer: Arc<Buffer>,
    /// Beats while the application has the upload.
    heartbeat: Option<Heartbeat>,
}

impl BucketWriter {
    pub(super) async fn create(node: &Arc<Node>, upload: Upload) -> Result<Self> {
        if upload.creation.is_some() {
            node.snapshots.check_free(&upload.id).await?;
        }
        let clock = &node.log.clock;
        let last = clock.now() + LONGEST_CREATION + clock.grace;
        let indexed = upload.expires().map_or(last, |expires| expires.max(last));
        let writer = Self::new(node, upload, None, Some(indexed));
        // Before anything else, so that the sweep finds what a crash leaves.
        node.index.put(&writer.upload.id, indexed).await?;
        Ok(writer)
    }

    pub(super) async fn take(node: &Arc<Node>, id: &UploadId) -> Result<Self> {
        let snapshot = node.snapshots.current(id).await?;
        #[cfg_attr(not(test), expect(unused_mut, reason = "a test makes a mistake"))]
        let mut upload = node.snapshots.describe(&snapshot).await?;
        #[cfg(test)]
        if node.log.clock.is(super::clock::Mutation::RunsAgain) {
            upload.progress.status = crate::upload::Status::Open;
        }
        if snapshot.tail.entry.handover == Handover::Given {
            node.heartbeats.check_silent(id, &snapshot.tail).await?;
        }
        let indexed = upload.expires();
        Ok(Self::new(node, upload, Some(snapshot), indexed))
    }

    fn new(
        node: &Arc<Node>,
        upload: Upload,
        snapshot: Option<Snapshot>,
        indexed: Option<SystemTime>,
    ) -> Self {
        let log = Appender::new(&node.snapshots, &node.tasks, upload.id, snapshot);
        let buffer = Buffer::new(&node.pool, upload.id);
        Self { node: Arc::clone(node), upload, log, indexed, buffer, heartbeat: None }
    }

    /// Makes the bytes since the last commit, up to the record's offset, the next object.
    async fn commit_bytes(&mut self, upload: Upload, handover: Handover) -> Result<()> {
        let mut entry = Entry { handover, ..self.log.next(&upload) };
        let buffer = Arc::clone(&self.buffer);
        let mut inner = buffer.inner.lock().await;
        inner.check()?;
        let length = self.check_length(entry.at, upload.offset(), inner.written())?;
        let changed = match self.log.is_new() {
            true => upload.creation.is_some() && !self.log.reserve(&upload).await?,
            false => self.is_described_otherwise(&upload),
        };
        let mut pieces = Vec::new();
        let payload = if inner.pieces.is_empty() && !changed {
            inner.truncate(usize::try_from(length).unwrap_or(usize::MAX));
            inner.payload()
        } else {
            buffer.flush(&mut inner).await?;
            let record = changed.then(|| upload.clone());
            // From now on a commit may name them, even if nobody is told that it was made.
            pieces = std::mem::take(&mut inner.pieces);
            let list = List { pieces: cut(&pieces, length), record };
            entry.body = Body::List;
            let text = serde_json::to_vec(&list);
            text.map_err(|error| unwritable(&self.log.id, &error))?.into()
        };
        if changed {
            entry.described = Some(self.log.seq() + 1);
        }
        let appended = self.log.append(entry, payload, &upload).await;
        buffer.empty(&mut inner);
        if let Err(StoreError::Conflict | StoreError::NotFound) = appended {
            inner.pieces = pieces;
        }
        appended?;
        self.upload = upload;
        Ok(())
    }

    /// How many bytes there are between two offsets, if so many were written and may be added.
    fn check_length(&self, from: u64, to: u64, written: u64) -> Result<u64> {
        if self.log.seq() >= self.node.max_commits && to > from {
            let action = format!("make more than {} commits", self.node.max_commits);
            return Err(StoreError::Full { action, source: ErrorKind::QuotaExceeded.into() });
        }
        if !self.log.moved().is_empty() && to > from {
            let why = std::io::Error::other("the application has it, or was about to have it");
            return Err(StoreError::io("add to a file that was moved away", why));
        }
        let length = to.checked_sub(from).filter(|length| *length <= written);
        length.ok_or_else(|| {
            StoreError::damaged(&self.log.id, "there are fewer bytes than committed")
        })
    }

    /// Whether the part of the record that seldom changes is another than the last commit has.
    fn is_described_otherwise(&self, upload: &Upload) -> bool {
        #[cfg_attr(not(test), expect(unused_mut, reason = "a test makes a mistake"))]
        let mut before = Upload { progress: upload.progress.clone(), ..self.upload.clone() };
        #[cfg(test)]
        if self.node.log.clock.is(super::clock::Mutation::NoAnswer) {
            before.answer.clone_from(&upload.answer);
        }
        *upload != before
    }
}

impl Writer for BucketWriter {
    fn upload(&self) -> &Upload {
        &self.upload
    }

    /// There is none.
    fn path(&self) -> Option<PathBuf> {
        None
    }

    fn needs_verification(&self) -> bool {
        false
    }

    fn mark_verified(&mut self) {}

    async fn write(&mut self, batch: Batch) -> Result<()> {
        self.buffer.push(batch.prepare().await?).await
    }

    async fn inspected(&mut self) -> Result<()> {
        Ok(())
    }

    async fn commit(&mut self, commit: Commit) -> Result<()> {
        let (last, upload, handover) = commit.prepare().await?;
        self.buffer.push(last).await?;
        let (node, id, is_new) = (Arc::clone(&self.node), self.log.id, self.log.is_new());
        // The index may have an upload too early, and never too late.
        let is_earlier = |expires: &SystemTime| self.indexed.is_none_or(|at| *expires < at);
        let earlier = upload.expires().filter(is_earlier);
        if let Some(expires) = earlier {
            node.index.put(&id, expires).await?;
        }
        let trimmed = handover == Handover::Taken && !self.log.moved().is_empty();
        // Before others can see that the application gets it.
        let heartbeat = (handover == Handover::Given).then(|| node.heartbeats.start(id));
        self.commit_bytes(upload, handover).await?;
        self.heartbeat = heartbeat;
        self.indexed = self.upload.expires();
        match earlier {
            // A sweep that saw the record before this moves the entry to a later time, now or a
            // little later. So there is another entry, with a name of its own.
            Some(expires) if !is_new => {
                let later = expires.checked_add(Duration::from_secs(1)).unwrap_or(expires);
                node.index.put(&id, later).await
            }
            _ if trimmed && self.indexed.is_none() => {
                node.index.put(&id, node.log.clock.now() + node.log.clock.grace).await
            }
            _ => Ok(()),
        }
    }

    async fn into_reader(self) -> Result<Reader> {
        let buffer = Arc::clone(&self.buffer);
        let size = {
            let inner = buffer.inner.lock().await;
            inner.check()?;
            inner.written()
        };
        Ok(reader::staged(buffer, self, size))
    }

    async fn persist(&mut self, target: &Path, overwrite: bool) -> Result<()> {
        self.node.mover.persist(&mut self.log, &self.upload, target, overwrite).await
    }

    async fn remove(mut self) -> Result<()> {
        if self.log.is_new() {
            return Ok(());
        }
        let (node, id) = (Arc::clone(&self.node), self.log.id);
        let collectable = node.log.clock.now() + node.log.clock.retention();
        node.index.put(&id, collectable).await?;
        let entry = Entry { body: Body::Tombstone, ..self.log.next(&self.upload) };
        self.log.append(entry, PutPayload::new(), &self.upload).await?;
        node.snapshots.forget(&id);
        let keys = &node.log.keys;
        let before = self.upload.expires().map(|expires| keys.index_entry(&id, expires));
        if let Some(before) = before.filter(|key| *key != keys.index_entry(&id, collectable)) {
            // Most often the index has it there. The sweep finds any other entry.
            node.clean(vec![before]);
        }
        Ok(())
    }
}

impl Drop for BucketWriter {
    fn drop(&mut self) {
        // Whoever holds the lock is making a piece of it, which the sweep finds.
        let Ok(mut inner) = self.buffer.inner.try_lock() else { return };
        let untouched = inner.begun == 0;
        let pieces = std::mem::take(&mut inner.pieces);
        drop(inner);
        let (keys, id) = (&self.node.log.keys, self.log.id);
        let mut left: Vec<_> = pieces.iter().map(|piece| keys.piece(&id, &piece.name)).collect();
        // Another writer that creates the same upload may need the entry.
        let only = self.log.is_new() && self.upload.creation.is_none();
        if only && !self.log.tried && untouched {
            left.extend(self.indexed.map(|at| keys.index_entry(&id, at)));
        }
        if !left.is_empty() {
            self.node.clean(left);
        }
    }
}

/// The pieces with so many bytes, the last of them perhaps shorter than its object.
fn cut(pieces: &[Piece], mut length: u64) -> Vec<Piece> {
    let mut kept = pieces.to_vec();
    for piece in &mut kept {
        piece.length = piece.length.min(length);
        length -= piece.length;
    }
    kept.retain(|piece| piece.length > 0);
    kept
}

impl fmt::Debug for BucketWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketWriter").field("id", &self.log.id).finish_non_exhaustive()
    }
}
