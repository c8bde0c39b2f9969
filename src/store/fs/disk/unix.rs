//! What Unix does in its own way.

use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::{fs, io};

/// What tells a file from others, as long as it is open: its device and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Identity(u64, u64);

impl Identity {
    pub(super) fn of(_: &fs::File, metadata: &fs::Metadata) -> io::Result<Self> {
        Ok(Self(metadata.dev(), metadata.ino()))
    }

    /// That of the file at the path, and its length. A link is not followed.
    pub(in super::super) fn at(path: &Path) -> io::Result<(Self, u64)> {
        let there = fs::symlink_metadata(path)?;
        Ok((Self(there.dev(), there.ino()), there.len()))
    }
}

pub(super) fn read_at(file: &fs::File, bytes: &mut [u8], position: u64) -> io::Result<usize> {
    file.read_at(bytes, position)
}

pub(super) fn write_all_at(file: &fs::File, bytes: &[u8], position: u64) -> io::Result<()> {
    file.write_all_at(bytes, position)
}
