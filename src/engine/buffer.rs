//! The memory in which arriving bytes are gathered before they are written.
//!
//! Every upload has a small buffer of its own. One whose bytes come faster than it can hand them
//! over borrows a large one; there is a fixed number of those for all uploads together, and who
//! finds none goes on with the small one. So a thousand slow uploads cost a thousand small buffers,
//! and a few fast ones get large batches.
//!
//! Copying small frames out beats holding them: a held frame makes the HTTP library allocate and fault
//! in a new read buffer, which costs more than the copy. Large ones are written as they are, and
//! count like a large buffer meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};

#[derive(Debug)]
pub(super) struct Pool {
    large: usize,
    // Kept and given out again: mapping and unmapping a large buffer costs as much as filling it.
    idle: Mutex<Idle>,
}

#[derive(Debug)]
struct Idle {
    buffers: Vec<Vec<u8>>,
    /// How many more may be lent.
    left: usize,
}

/// The right to as much memory as a large buffer has.
#[derive(Debug)]
pub(super) struct Permit {
    pool: Arc<Pool>,
}

impl Pool {
    pub(super) fn new(large: usize, count: usize) -> Arc<Self> {
        Arc::new(Self { large, idle: Mutex::new(Idle { buffers: Vec::new(), left: count }) })
    }

    /// The size of a large buffer.
    pub(super) fn large(&self) -> usize {
        self.large
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts like a large buffer until it is dropped.
    pub(super) fn permit(self: &Arc<Self>) -> Option<Permit> {
        let mut idle = self.idle();
        idle.left = idle.left.checked_sub(1)?;
        drop(idle);
        Some(Permit { pool: Arc::clone(self) })
    }

    fn take(self: &Arc<Self>) -> Option<(Vec<u8>, Permit)> {
        let permit = self.permit()?;
        let buffer = self.idle().buffers.pop();
        Some((buffer.unwrap_or_else(|| Vec::with_capacity(self.large)), permit))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pool.idle().left += 1;
    }
}

/// Bytes on their way to the store.
#[derive(Debug)]
pub(super) struct Buffer {
    pool: Arc<Pool>,
    bytes: Vec<u8>,
    /// With a large one.
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

    /// Takes as much as fits, and gets a large buffer, if there is one, for what would fill the
    /// small one: frames may be just as long as that.
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

    fn grow(&mut self) {
        let Some((mut large, permit)) = self.pool.take() else { return };
        large.extend_from_slice(&self.bytes);
        self.bytes = large;
        self.permit = Some(permit);
    }

    /// The bytes, to be shared; the memory goes back to the pool after the last use.
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
            self.pool.idle().buffers.push(bytes);
        }
    }
}

/// The size of an upload's own buffer.
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
        assert!(pool.take().is_none());
        drop(clone);
        assert_eq!(pool.take().unwrap().0.capacity(), 64 * 1024);
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
