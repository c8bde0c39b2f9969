//! The memory in which chunks are gathered until they are an object.
//!
//! There is one bound for all uploads. Who needs room and finds none makes some: the fullest buffer
//! becomes a piece in the store, whoever's it is. So nobody waits for a slow client.
//!
//! Files that are being persisted have as much room again, and wait for each other: what they hold comes
//! and goes at the store's pace, and no buffer could make room for them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use object_store::PutPayload;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::Bucket;
use super::entry::Piece;
use crate::id::UploadId;
use crate::store::StoreError;

#[derive(Debug)]
pub(super) struct Pool {
    limit: usize,
    state: Mutex<State>,
    freed: Notify,
    /// In KiB.
    copies: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    /// By the order in which they came.
    buffers: BTreeMap<u64, Weak<Buffer>>,
    came: u64,
}

/// What was written to an upload and is not committed.
#[derive(Debug)]
pub(super) struct Buffer {
    id: UploadId,
    number: u64,
    name: String,
    /// How much memory it has, for those who look for the fullest.
    held: AtomicUsize,
    inner: tokio::sync::Mutex<Inner>,
    pool: Arc<Pool>,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    full: Vec<Bytes>,
    last: BytesMut,
    length: usize,
    pub(super) pieces: Vec<Piece>,
    begun: usize,
    /// Somebody else tried to write its bytes away, and failed.
    failed: Option<String>,
}

impl Pool {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        let copies = Semaphore::new(kib(limit as u64) as usize);
        Arc::new(Self { limit, state: Mutex::default(), freed: Notify::new(), copies })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many bytes are in use, and how many buffers there are.
    #[cfg(test)]
    pub(super) fn used(&self) -> (usize, usize) {
        self.with(|state| (state.used, state.buffers.len()))
    }

    fn take(&self, bytes: usize) -> bool {
        self.with(|state| {
            let fits = state.used + bytes <= self.limit;
            if fits {
                state.used += bytes;
            }
            fits
        })
    }

    fn give(&self, bytes: usize) {
        self.with(|state| state.used -= bytes);
        self.freed.notify_waiters();
    }

    /// Waits for room for what a copy holds in memory. One that needs more than there is has all of it.
    pub(super) async fn room_for_copy(&self, bytes: u64) -> Option<SemaphorePermit<'_>> {
        let all = kib(self.limit as u64);
        // It is never closed.
        self.copies.acquire_many(kib(bytes).min(all)).await.ok()
    }

    /// The buffers, the fullest first.
    fn fullest(&self) -> Vec<Arc<Buffer>> {
        let upgraded =
            |state: &mut State| state.buffers.values().filter_map(Weak::upgrade).collect();
        let mut buffers: Vec<_> = self.with(upgraded);
        buffers.retain(|buffer| buffer.held.load(Ordering::Relaxed) > 0);
        buffers.sort_by_key(|buffer| std::cmp::Reverse(buffer.held.load(Ordering::Relaxed)));
        buffers
    }
}

impl Buffer {
    pub(super) fn new(pool: &Arc<Pool>, id: UploadId, name: String) -> Arc<Self> {
        let number = pool.with(|state| {
            state.came += 1;
            state.came
        });
        let buffer = Arc::new(Self {
            id,
            number,
            name,
            held: AtomicUsize::new(0),
            inner: tokio::sync::Mutex::default(),
            pool: Arc::clone(pool),
        });
        pool.with(|state| state.buffers.insert(number, Arc::downgrade(&buffer)));
        buffer
    }

    pub(super) async fn lock(&self) -> tokio::sync::MutexGuard<'_, Inner> {
        self.inner.lock().await
    }

    pub(super) fn try_lock(&self) -> Option<tokio::sync::MutexGuard<'_, Inner>> {
        self.inner.try_lock().ok()
    }

    /// Adds bytes. What does not fit into a segment any more becomes a piece first.
    pub(super) async fn push(&self, bucket: &Bucket, mut bytes: Bytes) -> Result<(), StoreError> {
        let mut inner = self.inner.lock().await;
        inner.check()?;
        while !bytes.is_empty() {
            if inner.length >= bucket.segment {
                self.spill(bucket, &mut inner).await?;
            }
            let room = (bucket.segment - inner.length).min(BLOCK);
            let part = bytes.split_to(bytes.len().min(room));
            self.reserve(bucket, &mut inner, part.len()).await?;
            inner.fill(&part);
        }
        Ok(())
    }

    async fn reserve(
        &self,
        bucket: &Bucket,
        inner: &mut Inner,
        bytes: usize,
    ) -> Result<(), StoreError> {
        loop {
            let mut freed = std::pin::pin!(self.pool.freed.notified());
            freed.as_mut().enable();
            if self.pool.take(bytes) {
                self.held.fetch_add(bytes, Ordering::Relaxed);
                return Ok(());
            }
            if !self.make_room(bucket, inner).await? {
                // A buffer that somebody was at may be free again without having given anything back.
                drop(tokio::time::timeout(PAUSE, freed).await);
            }
        }
    }

    /// Writes the fullest buffer away that nobody is at; whether there was one.
    async fn make_room(&self, bucket: &Bucket, own: &mut Inner) -> Result<bool, StoreError> {
        for buffer in self.pool.fullest() {
            if std::ptr::eq(&*buffer, self) {
                self.spill(bucket, own).await?;
                return Ok(true);
            }
            let Some(mut inner) = buffer.try_lock() else { continue };
            if let Err(error) = buffer.spill(bucket, &mut inner).await {
                // It is for its own writer to report; its bytes are lost to it.
                inner.failed = Some(error.to_string());
                buffer.empty(&mut inner);
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Makes a piece of what is in memory.
    pub(super) async fn spill(&self, bucket: &Bucket, inner: &mut Inner) -> Result<(), StoreError> {
        if inner.length == 0 {
            self.empty(inner);
            return Ok(());
        }
        // If this future is dropped, the bytes are here and the next try has another name.
        let name = format!("{}-{}", self.name, inner.begun);
        inner.begun += 1;
        let payload = inner.payload();
        let length = payload.content_length() as u64;
        bucket.put_piece(&self.id, &name, payload).await?;
        inner.pieces.push(Piece { name, length });
        self.empty(inner);
        Ok(())
    }

    /// Gives the memory back.
    pub(super) fn empty(&self, inner: &mut Inner) {
        inner.full = Vec::new();
        inner.last = BytesMut::new();
        inner.length = 0;
        self.pool.give(self.held.swap(0, Ordering::Relaxed));
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.with(|state| state.buffers.remove(&self.number));
        self.pool.give(*self.held.get_mut());
    }
}

impl Inner {
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match &self.failed {
            None => Ok(()),
            Some(why) => Err(StoreError::io("write a piece", std::io::Error::other(why.clone()))),
        }
    }

    fn fill(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        let (now, later) = bytes.split_at(bytes.len().min(self.last.capacity() - self.last.len()));
        self.last.extend_from_slice(now);
        if !later.is_empty() {
            self.freeze();
            self.last.reserve(later.len().max(SMALL));
            self.last.extend_from_slice(later);
        }
    }

    fn freeze(&mut self) {
        if !self.last.is_empty() {
            self.full.push(std::mem::take(&mut self.last).freeze());
        }
    }

    /// Whether no piece was ever begun. One may come late, even after it was deleted.
    pub(super) fn is_untouched(&self) -> bool {
        self.begun == 0
    }

    /// How many bytes there are in all.
    pub(super) fn written(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.length).sum::<u64>() + self.length as u64
    }

    /// What is in memory, which stays there.
    pub(super) fn payload(&mut self) -> PutPayload {
        self.freeze();
        self.full.iter().cloned().collect()
    }

    /// Forgets all but the first bytes of what is in memory.
    pub(super) fn truncate(&mut self, mut length: usize) {
        self.freeze();
        self.length = self.length.min(length);
        for block in &mut self.full {
            block.truncate(length);
            length -= block.len();
        }
    }
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes / 1024).unwrap_or(u32::MAX)
}

const PAUSE: Duration = Duration::from_millis(20);
/// As much as is copied at once.
const BLOCK: usize = 512 * 1024;
const SMALL: usize = 4 * 1024;
