//! The part of a file that has been read, and its checksum.

use std::io;

use bytes::Bytes;
use md5::{Digest, Md5};

use crate::source::Source;

/// The first bytes of a file. It is copied before each chunk, so that after a failure only that
/// chunk has to be read again.
#[derive(Clone, Default)]
pub(crate) struct Prefix {
    md5: Md5,
    length: u64,
}

impl Prefix {
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn md5(&self) -> String {
        self.md5.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Continues to read and passes the pieces on, as long as somebody takes them. Blocks.
    pub(crate) fn read_to(
        mut self,
        end: u64,
        source: &Source,
        mut take: impl FnMut(Bytes) -> bool,
    ) -> io::Result<Self> {
        let mut content = source.open(self.length)?;
        while self.length < end {
            let length = usize::try_from(end - self.length).unwrap_or(PIECE).min(PIECE);
            let mut piece = vec![0; length];
            content.read_exact(&mut piece)?;
            self.md5.update(&piece);
            self.length += length as u64;
            if !take(piece.into()) {
                break;
            }
        }
        Ok(self)
    }
}

const PIECE: usize = 256 << 10;
