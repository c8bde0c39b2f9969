//! Writing to an upload.

use std::collections::hash_map;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use object_store::{ObjectStoreExt, PutPayload};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::entry::{Body, Entry, List, Moved, Piece};
use super::log::{Tail, read};
use super::pool::Buffer;
use super::{Bucket, Moment, Sight, failed, nonce, reader};
use crate::id::UploadId;
use crate::store::{Batch, Commit, Handover, Reader, StoreError, Writer};
use crate::upload::Upload;

/// The right to try to write to an upload in a [`BucketStore`](super::BucketStore): the first to commit
/// wins.
pub struct BucketWriter {
    pub(super) bucket: Arc<Bucket>,
    pub(super) upload: Upload,
    /// The record as the upload began; `None` until the first commit.
    record: Option<Arc<Upload>>,
    /// `None` until the first commit.
    pub(super) tail: Option<Tail>,
    /// When the tail was read.
    seen: Moment,
    stride: u32,
    /// Where the index has a new upload.
    due: SystemTime,
    /// Whether a first commit was tried, which may come true later.
    tried: bool,
    /// What was written since the last commit.
    buffer: Arc<Buffer>,
    /// Signs of life, while the application has the upload.
    alive: Option<Alive>,
}

struct Alive {
    bucket: Arc<Bucket>,
    id: UploadId,
    task: JoinHandle<()>,
}

impl BucketWriter {
    pub(super) async fn create(bucket: &Arc<Bucket>, upload: Upload) -> Result<Self, StoreError> {
        let last = bucket.now() + LONGEST_CREATION + bucket.grace;
        let due = upload.expires().map_or(last, |expires| expires.max(last));
        let writer = Self {
            buffer: Buffer::new(&bucket.pool, upload.id, nonce()),
            bucket: Arc::clone(bucket),
            upload,
            record: None,
            tail: None,
            seen: bucket.moment(),
            stride: 0,
            due,
            tried: false,
            alive: None,
        };
        // Before anything else, so that the sweep finds what a crash leaves.
        bucket.put_due(&writer.id(), due).await?;
        Ok(writer)
    }

    pub(super) async fn take(bucket: &Arc<Bucket>, id: &UploadId) -> Result<Self, StoreError> {
        let sight = bucket.look(id).await?;
        let upload = bucket.describe(&sight).await?;
        if sight.tail.entry.handover == Handover::Given {
            bucket.check_silent(id, &sight.tail).await?;
        }
        Ok(Self {
            buffer: Buffer::new(&bucket.pool, *id, nonce()),
            bucket: Arc::clone(bucket),
            upload,
            record: Some(sight.record),
            tail: Some(sight.tail),
            seen: sight.seen,
            stride: sight.stride,
            due: bucket.now(),
            tried: false,
            alive: None,
        })
    }

    pub(super) fn id(&self) -> UploadId {
        self.upload.id
    }

    fn offset(&self) -> u64 {
        self.tail.as_ref().map_or(0, |tail| tail.entry.progress.offset)
    }

    pub(super) fn seq(&self) -> u32 {
        self.tail.as_ref().map_or(0, |tail| tail.seq)
    }

    fn moved(&self) -> &[Moved] {
        self.tail.as_ref().map_or(&[], |tail| &tail.entry.moved)
    }

    /// The next entry, without bytes and with the same record.
    pub(super) fn next(&self, upload: &Upload) -> Entry {
        Entry {
            nonce: nonce(),
            node: self.bucket.node.clone(),
            written: self.bucket.now(),
            at: self.offset(),
            body: Body::Bytes,
            described: self.tail.as_ref().and_then(|tail| tail.entry.described),
            moved: self.moved().to_vec(),
            handover: self.tail.as_ref().map_or(Handover::None, |tail| tail.entry.handover),
            progress: upload.progress.clone(),
        }
    }

    /// Makes the bytes since the last commit, up to the record's offset, the next object.
    async fn commit_bytes(&mut self, upload: Upload, handover: Handover) -> Result<(), StoreError> {
        let id = self.id();
        let mut entry = Entry { handover, ..self.next(&upload) };
        let buffer = Arc::clone(&self.buffer);
        let mut inner = buffer.lock().await;
        inner.check()?;
        if self.seq() >= self.bucket.max_commits && upload.offset() > entry.at {
            let action = format!("make more than {} commits", self.bucket.max_commits);
            return Err(StoreError::Full { action, source: ErrorKind::QuotaExceeded.into() });
        }
        if !self.moved().is_empty() && upload.offset() > entry.at {
            let why = std::io::Error::other("the application has it, or was about to have it");
            return Err(StoreError::io("add to a file that was moved away", why));
        }
        let length = upload.offset().checked_sub(entry.at);
        let Some(length) = length.filter(|length| *length <= inner.written()) else {
            return Err(StoreError::damaged(&id, "there are fewer bytes than committed"));
        };
        let changed = self.tail.is_some() && self.is_described_otherwise(&upload);
        let mut pieces = Vec::new();
        let payload = if inner.pieces.is_empty() && !changed {
            inner.truncate(usize::try_from(length).unwrap_or(usize::MAX));
            inner.payload()
        } else {
            buffer.spill(&self.bucket, &mut inner).await?;
            let record = changed.then(|| upload.clone());
            // From now on a commit may name them, even if nobody is told that it was made.
            pieces = std::mem::take(&mut inner.pieces);
            let list = List { pieces: cut(&pieces, length), record };
            entry.body = Body::List;
            let text = serde_json::to_vec(&list).map_err(|error| unwritable(&id, &error))?;
            PutPayload::from(text)
        };
        if changed {
            entry.described = Some(self.seq() + 1);
        }
        let appended = self.append(entry, payload, &upload).await;
        buffer.empty(&mut inner);
        if let Err(StoreError::Conflict | StoreError::NotFound) = appended {
            inner.pieces = pieces;
        }
        appended?;
        self.upload = upload;
        Ok(())
    }

    /// Whether the part of the record that seldom changes is another than the last commit has.
    fn is_described_otherwise(&self, upload: &Upload) -> bool {
        let mut same = self.upload.clone();
        same.progress = upload.progress.clone();
        same != *upload
    }

    pub(super) async fn append(
        &mut self,
        entry: Entry,
        payload: PutPayload,
        upload: &Upload,
    ) -> Result<(), StoreError> {
        if self.record.is_some() && self.is_late() {
            self.look_before().await?;
        }
        let (sent, entry) = (self.bucket.moment(), Arc::new(entry));
        self.put(&entry, payload, upload).await?;
        let tail = Tail { seq: self.seq() + 1, entry };
        if self.is_late() {
            self.look_after(&tail).await?;
        }
        (self.tail, self.seen) = (Some(tail.clone()), sent);
        if let Some(record) = &self.record {
            let (record, stride) = (Arc::clone(record), self.stride);
            self.bucket.known().put(&self.id(), Sight { record, tail, seen: sent, stride });
        }
        Ok(())
    }

    /// Whether this is still the last commit: the next number may be free since what had it is deleted.
    async fn look_before(&mut self) -> Result<(), StoreError> {
        let sight = self.bucket.look_first(&self.id()).await?;
        if let Some(why) = sight.tail.entry.why_gone(&sight.record) {
            return Err(why);
        }
        if sight.tail.seq != self.seq() {
            return Err(StoreError::Conflict);
        }
        self.seen = sight.seen;
        Ok(())
    }

    /// Writes the next commit, and the record with the first.
    async fn put(
        &mut self,
        entry: &Arc<Entry>,
        payload: PutPayload,
        upload: &Upload,
    ) -> Result<(), StoreError> {
        let (bucket, id, seq) = (Arc::clone(&self.bucket), self.id(), self.seq() + 1);
        let (seen, entry) = (self.seen, Arc::clone(entry));
        if self.record.is_some() {
            let work = async move { bucket.append(&id, seq, &entry, payload, seen).await };
            return self.bucket.tasks.finish(work).await;
        }
        // The sweep may have given it up.
        if bucket.age(seen) > LONGEST_CREATION {
            let upload = Box::new(upload.clone());
            return Err(StoreError::Removed { upload, at: bucket.now() });
        }
        self.tried = true;
        let record = serde_json::to_vec(upload).map_err(|error| unwritable(&id, &error))?;
        let work = async move {
            let key = bucket.keys.record(&id);
            let record = bucket.put(&key, record.into());
            let log = bucket.append(&id, seq, &entry, payload, seen);
            let (record, log) = tokio::join!(record, log);
            record.and(log)
        };
        self.bucket.tasks.finish(work).await?;
        self.record = Some(Arc::new(upload.clone()));
        Ok(())
    }

    /// Whether a commit that took long counts.
    async fn look_after(&self, made: &Tail) -> Result<(), StoreError> {
        let (bucket, id) = (&self.bucket, self.id());
        if !bucket.is_there(&id).await? {
            // So nobody can have gone on from it.
            bucket.delete(vec![bucket.keys.entry(&id, made.seq)]).await?;
            return Err(StoreError::NotFound);
        }
        // Others have gone on from it, or it has the number of one whose bytes were moved away.
        let last = bucket.tail(&id).await?;
        let is_made = |last: Tail| last.seq == made.seq && last.entry.nonce == made.entry.nonce;
        if !last.is_some_and(is_made) {
            let why = std::io::Error::other("it took too long");
            return Err(StoreError::io("know whether a commit counts", why));
        }
        Ok(())
    }

    /// Whether what this rests on was read so long ago that the upload may have been collected since.
    fn is_late(&self) -> bool {
        #[cfg(test)]
        if self.bucket.is(super::Mutation::NoEndCheck) {
            return false;
        }
        self.bucket.age(self.seen) > self.bucket.half_grace()
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

    async fn write(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.buffer.push(&self.bucket, batch.prepare().await?).await
    }

    async fn commit(&mut self, commit: Commit) -> Result<(), StoreError> {
        let (last, upload, handover) = commit.prepare().await?;
        self.buffer.push(&self.bucket, last).await?;
        // The index may name an upload too early, and never too late.
        let id = self.id();
        let before = if self.record.is_some() { self.upload.expires() } else { Some(self.due) };
        let earlier =
            upload.expires().filter(|expires| before.is_none_or(|before| *expires < before));
        if let Some(expires) = earlier {
            self.bucket.put_due(&id, expires).await?;
        }
        let is_new = self.record.is_none();
        let trimmed = handover == Handover::Taken && !self.moved().is_empty();
        // Before others can see that it is being completed.
        let alive = (handover == Handover::Given).then(|| Alive::new(&self.bucket, id));
        self.commit_bytes(upload, handover).await?;
        self.alive = alive;
        match earlier {
            // A sweep that saw the record before moves the entry to a later time, now or a little later: so
            // there is another one, with a name of its own.
            Some(expires) if !is_new => {
                let later = expires.checked_add(Duration::from_secs(1)).unwrap_or(expires);
                self.bucket.put_due(&id, later).await
            }
            _ if trimmed && self.upload.expires().is_none() => {
                self.bucket.put_due(&id, self.bucket.now() + self.bucket.grace).await
            }
            _ => Ok(()),
        }
    }

    async fn into_reader(self) -> Result<Reader, StoreError> {
        let buffer = Arc::clone(&self.buffer);
        let size = {
            let inner = buffer.lock().await;
            inner.check()?;
            inner.written()
        };
        Ok(reader::staged(self, buffer, size))
    }

    async fn persist(&mut self, target: &Path, overwrite: bool) -> Result<(), StoreError> {
        self.move_to(target, overwrite).await
    }

    async fn remove(mut self) -> Result<(), StoreError> {
        if self.record.is_none() {
            return Ok(());
        }
        let (bucket, id) = (Arc::clone(&self.bucket), self.id());
        let later = bucket.now() + bucket.kept();
        bucket.put_due(&id, later).await?;
        let mut entry = self.next(&self.upload);
        entry.body = Body::Gone;
        let upload = self.upload.clone();
        self.append(entry, PutPayload::new(), &upload).await?;
        bucket.known().forget(&id);
        let before = upload.expires().map(|expires| bucket.keys.due(&id, expires));
        if let Some(before) = before.filter(|before| *before != bucket.keys.due(&id, later)) {
            // Most often the index has it there. Another entry is found by the sweep.
            bucket.clean(vec![before]);
        }
        Ok(())
    }
}

impl Drop for BucketWriter {
    fn drop(&mut self) {
        // Who holds the lock is making a piece of it, which the sweep finds.
        let Some(mut inner) = self.buffer.try_lock() else { return };
        let untouched = inner.is_untouched();
        let pieces = std::mem::take(&mut inner.pieces);
        drop(inner);
        let (keys, id) = (&self.bucket.keys, self.id());
        let mut left: Vec<_> = pieces.iter().map(|piece| keys.piece(&id, &piece.name)).collect();
        if self.record.is_none() && !self.tried && untouched {
            left.push(self.bucket.keys.due(&self.id(), self.due));
        }
        if !left.is_empty() {
            self.bucket.clean(left);
        }
    }
}

impl Alive {
    fn new(bucket: &Arc<Bucket>, id: UploadId) -> Self {
        *bucket.completing().here.entry(id).or_default() += 1;
        let this = Arc::clone(bucket);
        let task = tokio::spawn(async move {
            let (key, mut seen) = (this.keys.busy(&id), this.moment());
            for sign in 0_u64.. {
                tokio::time::sleep(this.lease / SIGNS).await;
                if this.age(seen) > this.half_grace() {
                    // A sign of what is gone by now would stay for ever.
                    let now = this.moment();
                    match this.look(&id).await {
                        Ok(_) => seen = now,
                        Err(StoreError::NotFound | StoreError::Removed { .. }) => return,
                        Err(_) => continue,
                    }
                }
                // A sign that is lost, or takes too long, is made good by the next.
                let put = this.objects.put(&key, format!("{} {sign}", this.node).into());
                drop(tokio::time::timeout(this.lease / SIGNS, put).await);
            }
        });
        Self { bucket: Arc::clone(bucket), id, task }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.task.abort();
        let here = &mut self.bucket.completing().here;
        if let hash_map::Entry::Occupied(mut tries) = here.entry(self.id) {
            *tries.get_mut() -= 1;
            if *tries.get() == 0 {
                tries.remove();
            }
        }
    }
}

impl Bucket {
    /// Whether nobody completes an upload that was being completed when it was last heard of.
    ///
    /// No clock is compared with another: who wants to know looks for so long whether a sign of life
    /// comes.
    async fn check_silent(&self, id: &UploadId, tail: &Tail) -> Result<(), StoreError> {
        if tail.entry.node == self.node {
            let here = self.completing().here.contains_key(id);
            return if here { Err(StoreError::Busy) } else { Ok(()) };
        }
        let sign = read(&*self.objects, &self.keys.busy(id)).await;
        let sign = sign.map_err(|error| failed("look for a sign of life", error))?;
        let now = Instant::now();
        let elsewhere = &mut self.completing().elsewhere;
        if elsewhere.len() > WATCHED {
            elsewhere.retain(|_, (_, _, since)| now - *since < FORGOTTEN * self.lease);
        }
        let watched = elsewhere.entry(*id).or_insert_with(|| (tail.seq, sign.clone(), now));
        if (watched.0, &watched.1) != (tail.seq, &sign) {
            *watched = (tail.seq, sign, now);
        }
        // Who has been silent stays so, for the next who asks, until another commit or sign comes.
        if now - watched.2 < self.lease { Err(StoreError::Busy) } else { Ok(()) }
    }
}

/// The pieces with so many bytes, the last of them perhaps shorter than its object.
fn cut(pieces: &[Piece], mut length: u64) -> Vec<Piece> {
    let mut kept = Vec::new();
    for piece in pieces {
        let part = piece.length.min(length);
        if part > 0 {
            kept.push(Piece { name: piece.name.clone(), length: part });
        }
        length -= part;
    }
    kept
}

fn unwritable(id: &UploadId, error: &serde_json::Error) -> StoreError {
    StoreError::damaged(id, format!("its record cannot be written: {error}"))
}

impl fmt::Debug for BucketWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketWriter").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// How long the first chunk of an upload may take.
const LONGEST_CREATION: Duration = Duration::from_secs(12 * 60 * 60);
/// How many signs of life a node gives in the time after which it is taken for dead.
const SIGNS: u32 = 4;
/// How many completions of others to watch before the oldest are forgotten, and what is old, in leases.
const WATCHED: usize = 1024;
const FORGOTTEN: u32 = 8;
