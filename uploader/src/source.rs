//! What is sent.

use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use walkdir::WalkDir;

use crate::args::Args;
use crate::resume;

/// A file on a disk, or a generated one.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The name that the user sees.
    pub(crate) label: String,
    /// The name for the server.
    pub(crate) name: String,
    content: Content,
    size: u64,
}

#[derive(Clone, Debug)]
enum Content {
    Disk {
        path: PathBuf,
        modified: SystemTime,
    },
    /// Repeats one block: generating random bytes would take longer than sending them.
    MadeUp(Bytes),
}

/// All files that are asked for, and a line for each that exists but cannot be sent.
pub(crate) fn find(args: &Args) -> (Vec<Source>, Vec<String>) {
    if let Some(size) = args.random {
        return (vec![Source::made_up(size)], Vec::new());
    }
    let (mut sources, mut problems) = (Vec::new(), Vec::new());
    for entry in args.paths.iter().flat_map(|path| WalkDir::new(path).sort_by_file_name()) {
        let found = entry.map_err(|error| error.to_string()).and_then(|entry| {
            let is_beside = entry.depth() > 0 && resume::is_record(entry.path());
            if entry.file_type().is_dir() || is_beside {
                return Ok(None);
            }
            let is_link = entry.depth() > 0 && entry.path_is_symlink();
            let source = if is_link { Err(not_a_file()) } else { Source::on_disk(entry.path()) };
            source.map(Some).map_err(|error| format!("{}: {error}", entry.path().display()))
        });
        match found {
            Ok(source) => sources.extend(source),
            Err(problem) => problems.push(problem),
        }
    }
    (sources, problems)
}

impl Source {
    fn on_disk(path: &Path) -> io::Result<Self> {
        let (size, modified) = stamp(path)?;
        let name = path.file_name().unwrap_or(path.as_os_str()).as_encoded_bytes();
        // If it is not UTF-8, it is most likely Latin-1.
        let name = str::from_utf8(name)
            .map_or_else(|_| name.iter().copied().map(char::from).collect(), str::to_owned);
        Ok(Self {
            label: path.display().to_string(),
            // A line break would end the header that it is in.
            name: name.replace(char::is_control, "_"),
            content: Content::Disk { path: path.to_owned(), modified },
            size,
        })
    }

    fn made_up(size: u64) -> Self {
        let mut block = vec![0; BLOCK];
        fastrand::fill(&mut block);
        let name = "random.bin".to_owned();
        Self { label: name.clone(), name, content: Content::MadeUp(block.into()), size }
    }

    pub(crate) fn numbered(mut self, number: u64) -> Self {
        self.label = format!("{} #{number}", self.label);
        self
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Its path, and when it was modified, if it is on a disk.
    pub(crate) fn on_which_disk(&self) -> Option<(&Path, SystemTime)> {
        match &self.content {
            Content::Disk { path, modified } => Some((path, *modified)),
            Content::MadeUp(_) => None,
        }
    }

    /// Whether it is still the file that was found.
    pub(crate) fn is_unchanged(&self) -> bool {
        let Some((path, modified)) = self.on_which_disk() else { return true };
        stamp(path).is_ok_and(|stamp| stamp == (self.size, modified))
    }

    /// Its bytes from this position on.
    pub(crate) fn open(&self, at: u64) -> io::Result<Box<dyn Read + Send>> {
        match &self.content {
            Content::Disk { path, .. } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(at))?;
                Ok(Box::new(file))
            }
            Content::MadeUp(block) => Ok(Box::new(MadeUp { block: block.clone(), at })),
        }
    }
}

fn stamp(path: &Path) -> io::Result<(u64, SystemTime)> {
    let file = fs::metadata(path)?;
    if !file.is_file() {
        return Err(not_a_file());
    }
    Ok((file.len(), file.modified()?))
}

fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

struct MadeUp {
    block: Bytes,
    at: u64,
}

impl Read for MadeUp {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = Cursor::new(&self.block);
        rest.set_position(self.at % self.block.len() as u64);
        let read = rest.read(buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

const BLOCK: usize = 1 << 20;
