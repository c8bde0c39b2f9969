//! What is remembered beside a file, so that another run can resume it.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::source::Source;

/// The path of a file's record: `NAME.upload`.
#[derive(Debug)]
pub(crate) struct Resume {
    path: PathBuf,
    file: Identity,
}

/// What must be unchanged for an upload to be resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    url: String,
    size: u64,
    modified: SystemTime,
}

#[derive(Serialize, Deserialize)]
struct Record {
    upload_id: String,
    #[serde(flatten)]
    file: Identity,
}

impl Resume {
    /// `None` for a file that is not on a disk.
    pub(crate) fn of(source: &Source, url: &str) -> Option<Self> {
        let (file, modified) = source.on_which_disk()?;
        let mut path = file.as_os_str().to_owned();
        path.push(format!(".{EXTENSION}"));
        let file = Identity { url: url.to_owned(), size: source.size(), modified };
        Some(Self { path: path.into(), file })
    }

    /// The upload that was begun with this file as it is now; that of a different file is
    /// forgotten, and so is an empty record.
    pub(crate) fn recall(&self) -> Option<String> {
        let record = read(&self.path);
        if let Some(record) = record.filter(|record| record.file == self.file) {
            return Some(record.upload_id);
        }
        self.forget();
        None
    }

    /// Never overwrites anything, because the user may have a file of this name.
    pub(crate) fn remember(&self, upload_id: &str) -> io::Result<()> {
        let record = Record { upload_id: upload_id.to_owned(), file: self.file.clone() };
        let text = serde_json::to_vec(&record)?;
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
        };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        // Anyone with the id of an upload without an owner can continue it.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&self.path).map_err(named)?;
        file.write_all(&text).map_err(|error| {
            // It would stand in the way of the next one.
            drop(fs::remove_file(&self.path));
            named(error)
        })
    }

    pub(crate) fn forget(&self) {
        if is_record(&self.path) {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Whether a file is a record, and not a file to send.
pub(crate) fn is_record(path: &Path) -> bool {
    path.extension() == Some(OsStr::new(EXTENSION)) && (read(path).is_some() || is_empty(path))
}

/// Whether a file is a record that a crash has left empty. A user may have an empty file of this
/// name, which everybody may read.
fn is_empty(path: &Path) -> bool {
    let is_ours = |file: fs::Metadata| {
        #[cfg(unix)]
        let is_private = std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o077 == 0;
        #[cfg(not(unix))]
        let is_private = true;
        file.is_file() && file.len() == 0 && is_private
    };
    path.with_extension("").is_file() && fs::symlink_metadata(path).is_ok_and(is_ours)
}

fn read(path: &Path) -> Option<Record> {
    let is_small = fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= LARGEST);
    serde_json::from_slice(&is_small.then(|| fs::read(path).ok())??).ok()
}

const EXTENSION: &str = "upload";
/// A user's file that happens to have this name may be large.
const LARGEST: u64 = 64 << 10;
