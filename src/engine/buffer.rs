//! The buffers in which arriving bytes are collected before they are written.
//!
//! Every upload has a small buffer. An upload whose bytes arrive faster than they are written
//! borrows a large one. All uploads share a fixed number of large buffers; an upload that gets none
//! continues with its small one. So a thousand slow uploads cost a thousand small buffers, and a
//! few fast ones get large batches.
//!
//! Copying small frames is cheaper than holding them: a held frame makes the HTTP library allocate
//! and fault in a new read buffer, which costs more than the copy. Large frames are written
//! directly, and each counts as a large buffer meanwhile.

use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};

use super::lock;

#[derive(Debug)]
pub(super) struct Pool {
    /// The size of a large buffer.
    pub(super) large: usize,
    // Buffers are reused: mapping and unmapping a large one costs as much as filling it.
    idle: Mutex<Idle>,
}

#[derive(Debug)]
struct Idle {
    buffers: Vec<Vec<u8>>,
    /// How many more permits may be given out.
    available: usize,
}

/// The right to use as much memory as one large buffer.
#[derive(Debug)]
pub(super) struct Permit {
    pool: Arc<Pool>,
}

impl Pool {
    pub(super) fn new(large: usize, count: usize) -> Arc<Self> {
        Arc::new(Self { large, idle: Mutex::new(Idle { buffers: Vec::new(), available: count }) })
    }

    /// Returns a permit that counts as a large buffer until it is dropped.
    pub(super) fn permit(self: &Arc<Self>) -> Option<Permit> {
        let mut idle = lock(&self.idle);
        idle.available = idle.available.checked_sub(1)?;
        drop(idle);
        Some(Permit { pool: Arc::clone(self) })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        lock(&self.pool.idle).available += 1;
    }
}

/// Bytes on their way to the store.
#[derive(Debug)]
pub(super) struct Buffer {
    pool: Arc<Pool>,
    bytes: Vec<u8>,
    /// Present if the buffer is a large one.
    permit: Option<Permit>,
}

impl Buffer {
    pub(super) fn new(pool: &Arc<Pool>) -> Self {
        Self { pool: Arc::clone(pool), bytes: Vec::new(), permit: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_large(&self) -> bool {
        self.permit.is_some()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= self.limit()
    }

    fn limit(&self) -> usize {
        if self.is_large() { self.pool.large } else { SMALL }
    }

    /// Takes as many bytes as fit. If they would fill the small buffer, it gets a large one if
    /// there is one: a single frame may be exactly as long as the small buffer.
    pub(super) fn fill(&mut self, from: &mut impl Buf) {
        if !self.is_large() && self.bytes.len() + from.remaining() >= SMALL {
            self.grow();
        }
        let limit = self.limit();
        while from.has_remaining() && self.bytes.len() < limit {
            let chunk = from.chunk();
            let count = chunk.len().min(limit - self.bytes.len());
            self.bytes.extend_from_slice(&chunk[..count]);
            from.advance(count);
        }
    }

    /// Gives back what a small buffer has in reserve, since the client pauses.
    pub(super) fn shrink(&mut self) {
        if !self.is_large() {
            self.bytes.shrink_to_fit();
        }
    }

    fn grow(&mut self) {
        let Some(permit) = self.pool.permit() else { return };
        let idle = lock(&self.pool.idle).buffers.pop();
        let mut large = idle.unwrap_or_else(|| Vec::with_capacity(self.pool.large));
        large.extend_from_slice(&self.bytes);
        self.bytes = large;
        self.permit = Some(permit);
    }

    /// Returns the bytes. The memory goes back to the pool when the last clone is dropped.
    pub(super) fn freeze(&mut self) -> Bytes {
        if self.bytes.is_empty() {
            return Bytes::new();
        }
        Bytes::from_owner(std::mem::replace(self, Self::new(&self.pool)))
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.is_large() {
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.clear();
            lock(&self.pool.idle).buffers.push(bytes);
        }
    }
}

/// The size of an upload's small buffer.
pub(super) const SMALL: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_are_few_and_come_back() {
        let pool = Pool::new(64 * 1024, 1);
        let bytes = vec![7; 100 * 1024];
        let mut first = Buffer::new(&pool);
        let mut from = &bytes[..];
        first.fill(&mut from);
        assert!(first.is_large() && first.is_full());
        assert_eq!(from.len(), 36 * 1024);

        let mut second = Buffer::new(&pool);
        second.fill(&mut from);
        assert!(!second.is_large() && second.is_full());
        assert_eq!(from.len(), 20 * 1024);

        let frozen = first.freeze();
        assert_eq!(frozen.len(), 64 * 1024);
        assert!(first.is_empty());
        let clone = frozen.clone();
        drop(frozen);
        assert!(pool.permit().is_none());
        drop(clone);
        assert!(pool.permit().is_some());
        assert_eq!(lock(&pool.idle).buffers.pop().unwrap().capacity(), 64 * 1024);
    }

    #[test]
    fn small_bytes_stay_in_the_small_buffer() {
        let pool = Pool::new(64 * 1024, 1);
        let mut buffer = Buffer::new(&pool);
        for _ in 0..15 {
            buffer.fill(&mut &[1; 1024][..]);
            assert!(!buffer.is_large());
        }
        buffer.fill(&mut &[1; 1024][..]);
        assert!(buffer.is_large() && !buffer.is_full());
    }
}
