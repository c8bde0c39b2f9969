//! The memory in which chunks are gathered until they become an object.
//!
//! There is one bound for all uploads. If the pool is full, the largest buffer is flushed to a
//! piece in the store, no matter which upload owns it. So nobody waits for a slow client.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use object_store::PutPayload;
use tokio::sync::{Mutex as AsyncMutex, Notify};

use super::entry::{Piece, nonce};
use super::keys::Keys;
use super::objects::{Chunks, Context, Objects};
use crate::id::UploadId;
use crate::store::{Result, StoreError};

pub(super) struct Pool {
    objects: Objects,
    keys: Keys,
    segment: usize,
    limit: usize,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Default)]
struct State {
    used: usize,
    /// In the order in which they were made.
    buffers: BTreeMap<u64, Weak<Buffer>>,
    made: u64,
}

/// What was written to an upload and is not committed.
pub(super) struct Buffer {
    id: UploadId,
    number: u64,
    name: String,
    /// How much memory it holds, for those who look for the largest.
    held: AtomicUsize,
    pub(super) inner: AsyncMutex<Inner>,
    pool: Arc<Pool>,
}

#[derive(Default)]
pub(super) struct Inner {
    full: Vec<Bytes>,
    last: BytesMut,
    length: usize,
    pub(super) pieces: Vec<Piece>,
    /// How many pieces were begun. One may come late, even after it was deleted.
    pub(super) begun: usize,
    /// Why another writer failed to flush it.
    failed: Option<String>,
}

impl Pool {
    pub(super) fn new(objects: Objects, keys: Keys, segment: usize, limit: usize) -> Arc<Self> {
        let (state, freed) = (Mutex::default(), Notify::new());
        Arc::new(Self { objects, keys, segment, limit, state, freed })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes are in use, and how many buffers there are.
    #[cfg(test)]
    pub(super) fn used(&self) -> (usize, usize) {
        let state = self.state();
        (state.used, state.buffers.len())
    }

    fn take(&self, bytes: usize) -> bool {
        let mut state = self.state();
        let fits = state.used + bytes <= self.limit;
        if fits {
            state.used += bytes;
        }
        fits
    }

    fn give(&self, bytes: usize) {
        self.state().used -= bytes;
        self.freed.notify_waiters();
    }

    /// The buffers that hold something, the largest first.
    fn largest(&self) -> Vec<Arc<Buffer>> {
        let mut buffers: Vec<_> = self.state().buffers.values().filter_map(Weak::upgrade).collect();
        buffers.retain(|buffer| buffer.held.load(Ordering::Relaxed) > 0);
        buffers.sort_by_key(|buffer| std::cmp::Reverse(buffer.held.load(Ordering::Relaxed)));
        buffers
    }
}

impl Buffer {
    pub(super) fn new(pool: &Arc<Pool>, id: UploadId) -> Arc<Self> {
        let (held, inner) = (AtomicUsize::new(0), AsyncMutex::default());
        let mut state = pool.state();
        state.made += 1;
        let (number, pool) = (state.made, Arc::clone(pool));
        let buffer = Arc::new(Self { id, number, name: nonce(), held, inner, pool });
        state.buffers.insert(number, Arc::downgrade(&buffer));
        buffer
    }

    /// Adds bytes. A full segment is flushed to a piece first.
    pub(super) async fn push(&self, mut bytes: Bytes) -> Result<()> {
        let mut inner = self.inner.lock().await;
        inner.check()?;
        while !bytes.is_empty() {
            if inner.length >= self.pool.segment {
                self.flush(&mut inner).await?;
            }
            let room = (self.pool.segment - inner.length).min(BLOCK);
            let part = bytes.split_to(bytes.len().min(room));
            self.reserve(&mut inner, part.len()).await?;
            inner.fill(&part);
        }
        Ok(())
    }

    async fn reserve(&self, inner: &mut Inner, bytes: usize) -> Result<()> {
        loop {
            let mut freed = std::pin::pin!(self.pool.freed.notified());
            freed.as_mut().enable();
            if self.pool.take(bytes) {
                self.held.fetch_add(bytes, Ordering::Relaxed);
                return Ok(());
            }
            if !self.make_room(inner).await? {
                // A buffer that was locked may be unlocked without having given anything back.
                drop(tokio::time::timeout(PAUSE, freed).await);
            }
        }
    }

    /// Flushes the largest buffer that nobody has locked; says whether there was one.
    async fn make_room(&self, own: &mut Inner) -> Result<bool> {
        for buffer in self.pool.largest() {
            if std::ptr::eq(&*buffer, self) {
                self.flush(own).await?;
                return Ok(true);
            }
            let Ok(mut inner) = buffer.inner.try_lock() else { continue };
            if let Err(error) = buffer.flush(&mut inner).await {
                // Its own writer is told when it goes on; its bytes are lost.
                inner.failed = Some(error.to_string());
                buffer.empty(&mut inner);
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Makes a piece of what is in memory.
    pub(super) async fn flush(&self, inner: &mut Inner) -> Result<()> {
        if inner.length == 0 {
            self.empty(inner);
            return Ok(());
        }
        // If this future is dropped, the bytes are still here and the next try has another name.
        let name = format!("{}-{}", self.name, inner.begun);
        inner.begun += 1;
        let payload = inner.payload();
        let length = payload.content_length() as u64;
        let (objects, key) = (&self.pool.objects, self.pool.keys.piece(&self.id, &name));
        objects.put(&key, payload).await.context("write a piece")?;
        inner.pieces.push(Piece { name, length });
        self.empty(inner);
        Ok(())
    }

    /// The bytes from there on, or some of them. What is in memory may have become a piece since
    /// the last time.
    pub(super) async fn read(&self, position: u64) -> Result<Chunks> {
        let mut inner = self.inner.lock().await;
        inner.check()?;
        let mut start = 0;
        for piece in &inner.pieces {
            if position < start + piece.length {
                let key = self.pool.keys.piece(&self.id, &piece.name);
                return self.pool.objects.stream(&key, position - start..piece.length).await;
            }
            start += piece.length;
        }
        let mut skip = usize::try_from(position - start).unwrap_or(usize::MAX);
        let blocks = inner.payload().into_iter().map(move |block| {
            let passed = block.len().min(skip);
            skip -= passed;
            Ok(block.slice(passed..))
        });
        Ok(stream::iter(blocks).boxed())
    }

    /// Gives the memory back.
    pub(super) fn empty(&self, inner: &mut Inner) {
        (inner.full, inner.last, inner.length) = Default::default();
        self.pool.give(self.held.swap(0, Ordering::Relaxed));
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.state().buffers.remove(&self.number);
        self.pool.give(*self.held.get_mut());
    }
}

impl Inner {
    pub(super) fn check(&self) -> Result<()> {
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

const PAUSE: Duration = Duration::from_millis(20);
/// How much is copied at once.
const BLOCK: usize = 512 * 1024;
const SMALL: usize = 4 * 1024;
