//! The bytes that are sent: one block without pattern, over and over.

use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;

use bytes::Bytes;
use md5::{Digest, Md5};

/// Chunks divide it or are divided by it, so that each is one slice.
pub(crate) const BLOCK: u64 = 8 << 20;

pub(crate) struct Content {
    block: Bytes,
    md5: HashMap<u64, String>,
}

impl Content {
    pub(crate) fn new() -> Self {
        let mut state = 1_u64;
        let block: Vec<u8> = (0..BLOCK / 8)
            .flat_map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()
            })
            .collect();
        Self { block: block.into(), md5: HashMap::new() }
    }

    /// The bytes of a file in a range that does not cross the end of a block.
    pub(crate) fn slice(&self, range: Range<u64>) -> Bytes {
        let start = usize::try_from(range.start % BLOCK).unwrap();
        self.block.slice(start..start + usize::try_from(range.end - range.start).unwrap())
    }

    /// The MD5 of the first bytes, in hex.
    pub(crate) fn md5(&mut self, size: u64) -> String {
        if !self.md5.contains_key(&size) {
            let mut md5 = Md5::new();
            let mut left = size;
            while left > 0 {
                let length = left.min(BLOCK);
                md5.update(self.slice(0..length));
                left -= length;
            }
            self.md5.insert(size, hex(&md5.finalize()));
        }
        self.md5[&size].clone()
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}
