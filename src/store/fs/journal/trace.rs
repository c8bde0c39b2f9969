//! The content of a record's file, for tests and fuzzing.

use std::ops::Range;
use std::path::PathBuf;

use super::{Journal, Line, PROGRESS, checked};
use crate::id::UploadId;
use crate::store::StoreError;
use crate::upload::Upload;

/// What is accepted of a file.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) state: State,
    /// The length of the complete lines.
    pub(crate) end: usize,
    /// The same up to the first record.
    pub(crate) base: usize,
    /// Where a pending line is, and the state with it; an error if it does not fit the others.
    pub(crate) pending: Option<Result<(Range<usize>, State), StoreError>>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct State {
    pub(crate) data: Option<PathBuf>,
    pub(crate) record: Option<Upload>,
    moved: Option<PathBuf>,
    moving: Option<PathBuf>,
    unsynced_since: Option<String>,
}

pub(crate) fn trace(id: &UploadId, bytes: &[u8]) -> Result<Trace, StoreError> {
    let mut journal = Journal::parse(id, bytes)?;
    let (end, base) = (length(journal.end), length(journal.base));
    let state = State::of(&journal);
    let pending = journal.accept_pending().transpose();
    let pending =
        pending.map(|line| line.map(|(line, _)| (end..end + line.len(), State::of(&journal))));
    Ok(Trace { state, end, base, pending })
}

/// Complete lines, read one by one and written again, except for progress that a later line
/// replaces; `None` if one cannot be read.
pub(crate) fn rewritten(lines: &[u8]) -> Option<Vec<u8>> {
    let lines: Vec<_> = lines.split_inclusive(|byte| *byte == b'\n').collect();
    let mut out = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if !is_progress(line) || !lines[at + 1..].iter().any(|later| replaces_progress(later)) {
            parse(line)?.write_to(&mut out).ok()?;
        }
    }
    Some(out)
}

fn parse(line: &[u8]) -> Option<Line> {
    Line::parse(line.strip_suffix(b"\n")?)
}

fn is_progress(line: &[u8]) -> bool {
    line.strip_suffix(b"\n").and_then(checked).is_some_and(|json| json.starts_with(PROGRESS))
}

fn replaces_progress(line: &[u8]) -> bool {
    let replaces = |line| matches!(line, Line::Record(_) | Line::Progress(_) | Line::Removed {});
    is_progress(line) || parse(line).is_some_and(replaces)
}

impl State {
    fn of(journal: &Journal) -> Self {
        Self {
            data: journal.data.clone(),
            record: journal.record.clone(),
            moved: journal.notes.moved.clone(),
            moving: journal.notes.moving.clone(),
            unsynced_since: journal.notes.unsynced_since.clone(),
        }
    }
}

fn length(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
