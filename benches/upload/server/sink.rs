//! What a reference server does with the bytes of a request.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use md5::{Digest, Md5};
use rustix::io::pwritev;

use crate::content::hex;
use crate::setup::Setup;

/// Where the bytes go.
pub(crate) struct Place {
    path: PathBuf,
    offset: u64,
    md5: bool,
    sync: bool,
}

pub(crate) struct Sink {
    file: File,
    offset: u64,
    /// Of the chunk alone, which costs the same as of the file.
    md5: Option<Md5>,
    sync: bool,
}

impl Place {
    /// `path` is that of the request.
    pub(crate) fn of(setup: &Setup, data: &Path, path: &str, range: &str) -> io::Result<Self> {
        let start = range.strip_prefix("bytes ").and_then(|range| range.split_once('-'));
        let (start, _) = start.ok_or(io::ErrorKind::InvalidInput)?;
        let offset = start.parse().map_err(io::Error::other)?;
        let path = data.join(path.trim_start_matches('/'));
        Ok(Self { path, offset, md5: setup.md5, sync: setup.sync })
    }

    pub(crate) fn open(self) -> io::Result<Sink> {
        let Self { path, offset, md5, sync } = self;
        let file = OpenOptions::new().write(true).create_new(offset == 0).open(path)?;
        Ok(Sink { file, offset, md5: md5.then(Md5::new), sync })
    }
}

impl Sink {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        Ok(())
    }

    /// Writes pieces that follow each other.
    pub(crate) fn write_batch(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        let mut slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut slices = &mut *slices;
        while !slices.is_empty() {
            let count = pwritev(&self.file, &slices[..slices.len().min(IOV_MAX)], self.offset)?;
            self.offset += count as u64;
            IoSlice::advance_slices(&mut slices, count);
        }
        if let Some(md5) = &mut self.md5 {
            pieces.iter().for_each(|piece| md5.update(piece));
        }
        Ok(())
    }

    /// The answer, in JSON.
    pub(crate) fn finish(self) -> io::Result<String> {
        if self.sync {
            self.file.sync_data()?;
        }
        let md5 = self.md5.map(|md5| hex(&md5.finalize())).unwrap_or_default();
        Ok(format!("{{\"offset\":{},\"md5\":\"{md5}\"}}", self.offset))
    }
}

/// How many slices the kernel takes in one call.
const IOV_MAX: usize = 1024;
