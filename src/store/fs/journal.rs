//! The record on disk.
//!
//! A journal is lines of text. Each is the CRC-32 of its content in eight hex digits, a space and
//! the content, which is a JSON object with one key:
//!
//! ```text
//! 51d0b2f3 {"head":{"version":1,"data":"2026/11/22/5230ec1f….part"}}
//! 0e7b9a11 {"record":{"id":"5230ec1f…","created":…,"offset":10000,"total":50000,…}}
//! 77aa01cd {"progress":{"offset":20000,"checksum":"md5:…","total":50000,…}}
//! ```
//!
//! The lines are applied in their order, and the result is the state. A torn last line never
//! happened: its write was interrupted, so no client was told of it. If a complete line does not
//! match its checksum, it was damaged later, and the whole record is refused rather than accepted
//! in part.
//!
//! A line that lacks only its newline is *pending*: it is being synced. The newline is written once
//! the sync has succeeded, so no reader sees, and tells a client, what a power cut could still
//! take. If nobody holds the record, the process that wrote the line has ended in between. Whoever
//! finds the line then writes and syncs it again, and confirms it.
//!
//! `boot` names the boot of the machine in which bytes were acknowledged without being synced. If
//! the machine was restarted since, those bytes may be lost even though the file has its length.

#[cfg(test)]
mod tests;
#[cfg(any(test, fuzzing))]
pub(crate) mod trace;

use std::path::{Component, Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::id::UploadId;
use crate::store::{Result, StoreError};
use crate::upload::{Progress, Upload};

/// The content of a record's file.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) id: UploadId,
    /// The path of the bytes below the root; `None` if not even the head was written.
    pub(super) data: Option<PathBuf>,
    /// `None` before the first commit and after the removal.
    pub(super) record: Option<Upload>,
    notes: Notes,
    /// A last line that was not confirmed, and its bytes.
    pending: Option<(Line, Vec<u8>)>,
    /// The length of the complete lines.
    pub(super) end: u64,
    /// The length of the lines up to the first record. Rewriting the file makes it no shorter.
    pub(super) base: u64,
}

/// What a journal says about the bytes, besides how many there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// Their path in the store, below the root.
    pub(super) data_path: PathBuf,
    /// Where they were moved to last, if they have left the store.
    pub(super) moved: Option<PathBuf>,
    /// Where they were to be moved after that. The move may have been completed.
    pub(super) moving: Option<PathBuf>,
    /// The boot in which bytes were committed without a sync; the oldest, if there are several.
    pub(super) unsynced_since: Option<String>,
}

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Line {
    Head {
        version: u32,
        data: PathBuf,
    },
    Record(Box<Upload>),
    Progress(Box<Progress>),
    Moving(PathBuf),
    Moved(PathBuf),
    /// The commits after it are not synced.
    Boot(String),
    /// The bytes of the commits before it are synced, or were compared with their checksum.
    Sound {},
    Removed {},
}

impl Line {
    pub(super) fn head(data: &Path) -> Self {
        Self::Head { version: VERSION, data: data.to_owned() }
    }

    /// Appends the line in the form that it has in the file.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) -> Result<()> {
        let failed = |error: serde_json::Error| StoreError::io("write down a record", error.into());
        let json = serde_json::to_string(self).map_err(failed)?;
        if let Self::Record(_) = self {
            // The application's attributes may be nested deeper than can be read.
            serde_json::from_str::<Self>(&json).map_err(failed)?;
        }
        out.extend_from_slice(format!("{} {json}\n", check(json.as_bytes())).as_bytes());
        Ok(())
    }

    fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(checked(line)?).ok()
    }
}

fn check(json: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(json))
}

/// The content of a line, if it matches its checksum.
fn checked(line: &[u8]) -> Option<&[u8]> {
    let (found, json) = line.split_at_checked(8)?;
    let json = json.strip_prefix(b" ")?;
    // Upper-case digits and signs were never written.
    let mut check = [0; 4];
    HEXLOWER.decode_mut(found, &mut check).ok()?;
    (u32::from_be_bytes(check) == crc32fast::hash(json)).then_some(json)
}

impl Journal {
    /// Parses the content of a record's file.
    pub(super) fn parse(id: &UploadId, bytes: &[u8]) -> Result<Self> {
        let mut journal = Self::empty(id);
        let rest = journal.take(bytes)?;
        let line = rest.split(|byte| *byte == 0).next().unwrap_or(rest);
        journal.pending = Line::parse(line).map(|parsed| (parsed, line.to_vec()));
        Ok(journal)
    }

    /// What it says before the damage.
    pub(super) fn before_damage(id: &UploadId, bytes: &[u8]) -> Self {
        let mut journal = Self::empty(id);
        drop(journal.take(bytes));
        journal
    }

    fn empty(id: &UploadId) -> Self {
        let (id, notes) = (*id, Notes::default());
        Self { id, data: None, record: None, notes, pending: None, end: 0, base: 0 }
    }

    /// Applies the complete lines and returns what follows them. If one is damaged, those before it
    /// have been applied.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let (mut rest, mut progress) = (bytes, None);
        let taken = loop {
            match self.take_line(rest, &mut progress) {
                Ok(Some(behind)) => rest = behind,
                Ok(None) => break Ok(rest),
                Err(error) => break Err(error),
            }
        };
        // Most lines are the progress of chunks, and only the last of those counts.
        if let Some(line) = progress {
            let line = self.read(line)?;
            self.apply(line)?;
        }
        taken
    }

    /// Applies one line, if there is a complete one, and returns what follows it.
    fn take_line<'a>(
        &mut self,
        rest: &'a [u8],
        progress: &mut Option<&'a [u8]>,
    ) -> Result<Option<&'a [u8]>> {
        let Some(end) = memchr::memchr(b'\n', rest) else { return Ok(None) };
        let Some(line) = checked(&rest[..end]) else {
            // The newline of a pending line may be lost although what was written after it is not.
            if starts_pending(rest) || is_torn(rest) {
                return Ok(None);
            }
            return Err(self.damaged("a line does not match its check"));
        };
        let first = self.record.is_none();
        if line.starts_with(PROGRESS) && !first {
            *progress = Some(line);
        } else {
            let line = self.read(line)?;
            if let Line::Record(_) | Line::Progress(_) | Line::Removed {} = line {
                *progress = None;
            }
            self.apply(line)?;
        }
        self.end += end as u64 + 1;
        if first {
            self.base = self.end;
        }
        Ok(Some(&rest[end + 1..]))
    }

    fn read(&self, line: &[u8]) -> Result<Line> {
        serde_json::from_slice(line).map_err(|_| self.damaged("a line makes no sense"))
    }

    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Applies the pending line, if there is one. Returns its bytes and the record without it.
    pub(super) fn accept_pending(&mut self) -> Result<Option<(Vec<u8>, Option<Upload>)>> {
        let Some((line, bytes)) = self.pending.take() else { return Ok(None) };
        let before = self.record.clone();
        self.apply(line)?;
        Ok(Some((bytes, before)))
    }

    fn apply(&mut self, line: Line) -> Result<()> {
        match line {
            Line::Head { version, data } => {
                if version > VERSION {
                    return Err(self.damaged(&format!("version {version} is newer than {VERSION}")));
                }
                self.data = Some(self.inside(data)?);
            }
            Line::Record(upload) if upload.id == self.id => self.record = Some(*upload),
            Line::Record(_) => return Err(self.damaged("the record is another upload's")),
            Line::Progress(progress) => match &mut self.record {
                Some(record) => record.progress = *progress,
                None => return Err(self.damaged("progress without a record")),
            },
            Line::Removed {} => self.record = None,
            note => self.notes.apply(note),
        }
        Ok(())
    }

    /// Checks that the path stays inside the store, whoever wrote the record.
    fn inside(&self, path: PathBuf) -> Result<PathBuf> {
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        let name = path.file_name().and_then(|name| name.to_str());
        if !plain || name.and_then(|name| name.split('.').next()) != Some(self.id.as_str()) {
            return Err(self.damaged("its bytes would be outside the store"));
        }
        Ok(path)
    }

    /// Where the bytes were moved to last.
    pub(super) fn moved(&self) -> Option<&Path> {
        self.notes.moved.as_deref()
    }

    /// The record, and what is noted about its bytes.
    pub(super) fn committed(self) -> Result<(Upload, Notes)> {
        match (self.record, self.data) {
            (Some(record), Some(data_path)) => Ok((record, Notes { data_path, ..self.notes })),
            (Some(_), None) => Err(StoreError::damaged(&self.id, "a record without a head")),
            (None, _) => Err(StoreError::NotFound),
        }
    }

    fn damaged(&self, problem: &str) -> StoreError {
        StoreError::damaged(&self.id, problem)
    }
}

impl Notes {
    /// The lines that say this.
    pub(super) fn lines(&self) -> Vec<Line> {
        let mut lines = vec![Line::head(&self.data_path)];
        lines.extend(self.unsynced_since.clone().map(Line::Boot));
        lines.extend(self.moved.clone().map(Line::Moved));
        lines.extend(self.moving.clone().map(Line::Moving));
        lines
    }

    /// Applies a line, unless it is about something else.
    pub(super) fn apply(&mut self, line: Line) {
        match line {
            Line::Moving(path) => self.moving = Some(path),
            Line::Moved(path) => (self.moved, self.moving) = (Some(path), None),
            Line::Boot(boot) => {
                self.unsynced_since.get_or_insert(boot);
            }
            Line::Sound {} => self.unsynced_since = None,
            Line::Head { .. } | Line::Record(_) | Line::Progress(_) | Line::Removed {} => {}
        }
    }
}

/// Whether there is a line that is complete except that its newline is a zero.
fn starts_pending(rest: &[u8]) -> bool {
    memchr::memchr(0, rest).is_some_and(|end| Line::parse(&rest[..end]).is_some())
}

/// Whether a bad line that ends with a newline was never written completely: after a power cut
/// there can be blocks of zeros before bytes that were written later.
fn is_torn(rest: &[u8]) -> bool {
    let zeros = memchr::memmem::find(rest, &[0; 2]).is_some();
    zeros && !rest.split(|byte| *byte == b'\n').any(|line| Line::parse(line).is_some())
}

/// The beginning of a line of progress.
const PROGRESS: &[u8] = br#"{"progress":"#;
const VERSION: u32 = 1;
