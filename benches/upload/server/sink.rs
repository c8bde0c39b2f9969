//! What a reference server does with the bytes of a request.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use md5::{Digest, Md5};

use crate::content::hex;
use crate::setup::Setup;

pub(crate) struct Sink {
    file: File,
    offset: u64,
    /// Of the chunk alone, which costs the same as of the file.
    md5: Option<Md5>,
    sync: bool,
}

impl Sink {
    /// `path` is that of the request.
    pub(crate) fn open(setup: &Setup, data: &Path, path: &str, range: &str) -> io::Result<Self> {
        let start = range.strip_prefix("bytes ").and_then(|range| range.split_once('-'));
        let (start, _) = start.ok_or(io::ErrorKind::InvalidInput)?;
        let offset = start.parse().map_err(io::Error::other)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(offset == 0)
            .open(data.join(path.trim_start_matches('/')))?;
        Ok(Self { file, offset, md5: setup.md5.then(Md5::new), sync: setup.sync })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
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
