//! The record on disk.
//!
//! A journal is lines of text, each the CRC-32 of its content in eight hex digits, a blank and the
//! content, a JSON object with one key:
//!
//! ```text
//! 51d0b2f3 {"head":{"version":1,"data":"2026/11/22/5230ec1f….part"}}
//! 0e7b9a11 {"record":{"id":"5230ec1f…","created":…,"offset":10000,"total":50000,…}}
//! 77aa01cd {"progress":{"offset":20000,"checksum":"md5:…","total":50000,…}}
//! ```
//!
//! The state is what the lines say one after the other. A torn last line never happened: its
//! write was cut, so nobody was told of it. A line that is whole and does not match its check was
//! damaged later, and the record is refused rather than believed in part.
//!
//! A line that has all but its newline is *pending*: it is being synced. Its newline is written when
//! the sync has succeeded, so nobody sees, and tells, what a power cut could still take. If nobody
//! holds the record any more, the process that did ended in between; whoever finds the line writes
//! and syncs it anew, and confirms it.
//!
//! `boot` says in which start of the machine bytes were acknowledged that nobody has synced. If it
//! is another one than now, they may be lost although the file has its length.

#[cfg(any(test, fuzzing))]
pub(crate) mod trace;

use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::id::UploadId;
use crate::store::StoreError;
use crate::upload::{Progress, Upload};

/// What a record's file says.
#[derive(Debug)]
pub(super) struct Journal {
    id: UploadId,
    /// Where the bytes are, below the root; `None` if not even the head was written.
    pub(super) data: Option<PathBuf>,
    /// `None` before the first commit and after the removal.
    pub(super) record: Option<Upload>,
    pub(super) moves: Moves,
    /// In which start of the machine bytes were committed without a sync; the oldest, if several.
    pub(super) unsynced_since: Option<String>,
    /// A last line that was not confirmed, and how long it is.
    pending: Option<(Line, usize)>,
    /// The length of the whole lines.
    pub(super) end: u64,
    /// The length of the lines up to the first record, which no rewriting makes shorter.
    pub(super) base: u64,
}

/// Where the bytes went, if they left the store.
#[derive(Clone, Debug, Default)]
pub(super) struct Moves {
    /// Where they were moved to last.
    pub(super) done: Option<PathBuf>,
    /// Where they were about to be moved after that, perhaps with success.
    pub(super) begun: Option<PathBuf>,
}

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Line {
    Head {
        version: u32,
        data: String,
    },
    Record(Box<Upload>),
    Progress(Box<Progress>),
    Moving(PathBuf),
    Moved(PathBuf),
    /// What is committed behind it is not synced.
    Boot(String),
    /// What is committed before it is synced, or was compared with its checksum.
    Sound {},
    Removed {},
}

impl Line {
    pub(super) fn head(data: &Path) -> Result<Self, StoreError> {
        let data = data.to_str().ok_or_else(|| StoreError::Config {
            problem: "the upload path is not valid unicode".to_owned(),
        })?;
        Ok(Self::Head { version: VERSION, data: data.to_owned() })
    }

    /// Appends the line as it stands in the file.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) -> Result<(), StoreError> {
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

/// The content of a line, if it matches its check.
fn checked(line: &[u8]) -> Option<&[u8]> {
    let (found, json) = line.split_at_checked(8)?;
    let json = json.strip_prefix(b" ")?;
    // Other spellings of the number were never written.
    let digits = found.iter().try_fold(0, |number, digit| match digit {
        b'0'..=b'9' => Some(number << 4 | u32::from(digit - b'0')),
        b'a'..=b'f' => Some(number << 4 | u32::from(digit - b'a' + 10)),
        _ => None,
    });
    (digits? == crc32fast::hash(json)).then_some(json)
}

impl Journal {
    /// Reads the content of a record's file.
    pub(super) fn parse(id: &UploadId, bytes: &[u8]) -> Result<Self, StoreError> {
        let mut journal = Self::empty(id);
        let rest = journal.take(bytes)?;
        let line = rest.split(|byte| *byte == 0).next().unwrap_or(rest);
        journal.pending = Line::parse(line).map(|parsed| (parsed, line.len()));
        Ok(journal)
    }

    /// The record as it stood before what is damaged.
    pub(super) fn remains(id: &UploadId, bytes: &[u8]) -> Option<Upload> {
        let mut journal = Self::empty(id);
        drop(journal.take(bytes));
        journal.record
    }

    fn empty(id: &UploadId) -> Self {
        Self {
            id: *id,
            data: None,
            record: None,
            moves: Moves::default(),
            unsynced_since: None,
            pending: None,
            end: 0,
            base: 0,
        }
    }

    /// Takes the whole lines, and gives what is behind them. Those before one that is damaged have been
    /// taken all the same.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], StoreError> {
        let (mut rest, mut progress) = (bytes, None);
        let taken = loop {
            match self.take_line(rest, &mut progress) {
                Ok(Some(behind)) => rest = behind,
                Ok(None) => break Ok(rest),
                Err(error) => break Err(error),
            }
        };
        // Most of a record is the progress of chunks, and only the last of it counts.
        if let Some(line) = progress {
            let line = self.read(line)?;
            self.apply(line)?;
        }
        taken
    }

    /// Takes one line, if there is a whole one, and gives what is behind it.
    fn take_line<'a>(
        &mut self,
        rest: &'a [u8],
        progress: &mut Option<&'a [u8]>,
    ) -> Result<Option<&'a [u8]>, StoreError> {
        let Some(end) = memchr::memchr(b'\n', rest) else { return Ok(None) };
        let Some(line) = checked(&rest[..end]) else {
            // The newline of a pending line may be lost where what was written behind it is not.
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

    fn read(&self, line: &[u8]) -> Result<Line, StoreError> {
        serde_json::from_slice(line).map_err(|_| self.damaged("a line makes no sense"))
    }

    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Believes the pending line, if there is one, and says where in the file it stands. Only for who
    /// holds the record, and confirms it.
    pub(super) fn believe(&mut self) -> Result<Option<Range<usize>>, StoreError> {
        let Some((line, length)) = self.pending.take() else { return Ok(None) };
        self.apply(line)?;
        let start = usize::try_from(self.end).unwrap_or(usize::MAX);
        Ok(Some(start..start + length))
    }

    fn apply(&mut self, line: Line) -> Result<(), StoreError> {
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
            Line::Moving(path) => self.moves.begun = Some(path),
            Line::Moved(path) => self.moves = Moves { done: Some(path), begun: None },
            Line::Boot(boot) => {
                self.unsynced_since.get_or_insert(boot);
            }
            Line::Sound {} => self.unsynced_since = None,
            Line::Removed {} => self.record = None,
        }
        Ok(())
    }

    /// A record must not lead out of the store, whoever wrote it.
    fn inside(&self, data: String) -> Result<PathBuf, StoreError> {
        let path = PathBuf::from(data);
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || path.file_stem().and_then(|stem| stem.to_str()) != Some(self.id.as_str()) {
            return Err(self.damaged("its bytes would be outside the store"));
        }
        Ok(path)
    }

    /// The record and where its bytes are.
    pub(super) fn committed(self) -> Result<(Upload, PathBuf), StoreError> {
        match (self.record, self.data) {
            (Some(record), Some(data)) => Ok((record, data)),
            (Some(_), None) => Err(StoreError::damaged(&self.id, "a record without a head")),
            (None, _) => Err(StoreError::NotFound),
        }
    }

    pub(super) fn into_committed(self) -> Option<Upload> {
        self.record
    }

    fn damaged(&self, problem: &str) -> StoreError {
        StoreError::damaged(&self.id, problem)
    }
}

/// Whether there is a line that is whole but for its newline, in whose place there is nothing.
fn starts_pending(rest: &[u8]) -> bool {
    memchr::memchr(0, rest).is_some_and(|end| Line::parse(&rest[..end]).is_some())
}

/// Whether a bad line with a newline behind it was never written whole: after a power cut there can
/// be blocks of zeros before bytes that were written after them.
fn is_torn(rest: &[u8]) -> bool {
    let zeros = memchr::memmem::find(rest, &[0; 2]).is_some();
    zeros && !rest.split(|byte| *byte == b'\n').any(|line| Line::parse(line).is_some())
}

/// How a line begins that says how far the upload has come.
const PROGRESS: &[u8] = br#"{"progress":"#;
const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::fuzzing;
    use crate::upload::Status;

    fn id() -> UploadId {
        "5230ec1f59d1485d9d7974b853802e31".parse().unwrap()
    }

    fn upload() -> Upload {
        Upload::new(id(), SystemTime::UNIX_EPOCH)
    }

    fn lines(lines: &[Line]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in lines {
            line.write_to(&mut out).unwrap();
        }
        out
    }

    fn at(offset: u64) -> Line {
        let mut progress = upload().progress;
        progress.offset = offset;
        Line::Progress(Box::new(progress))
    }

    fn head() -> Line {
        Line::head(Path::new("2026/5230ec1f59d1485d9d7974b853802e31.part")).unwrap()
    }

    fn whole() -> Vec<u8> {
        lines(&[head(), Line::Record(Box::new(upload())), at(1), at(2), at(3)])
    }

    fn offset(bytes: &[u8]) -> Result<u64, StoreError> {
        Ok(Journal::parse(&id(), bytes)?.committed()?.0.offset())
    }

    #[test]
    fn the_last_whole_line_is_the_truth() {
        let bytes = whole();
        let journal = Journal::parse(&id(), &bytes).unwrap();
        assert_eq!(journal.end, bytes.len() as u64);
        assert_eq!(offset(&bytes).unwrap(), 3);
    }

    #[test]
    fn a_journal_cut_anywhere_gives_an_older_state() {
        let bytes = whole();
        for cut in 0..bytes.len() {
            let journal = Journal::parse(&id(), &bytes[..cut]).unwrap();
            assert!(journal.end <= cut as u64);
            if let Some(record) = journal.record {
                assert!(record.offset() <= 3);
                assert!(journal.data.is_some());
            }
        }
        assert_eq!(offset(&bytes[..bytes.len() - 1]).unwrap(), 2);
    }

    #[test]
    fn what_stood_before_the_damage_can_still_be_told() {
        let good = whole();
        for (damage, offset) in [(b"rubbish\n" as &[u8], Some(3)), (b"00000000 {}\n", Some(3))] {
            let spoiled = [&good, damage, &good].concat();
            assert!(Journal::parse(&id(), &spoiled).is_err());
            let remains = Journal::remains(&id(), &spoiled);
            assert_eq!(remains.map(|upload| upload.offset()), offset);
        }
        assert_eq!(Journal::remains(&id(), b"rubbish\n"), None);
        // The last progress is not believed without being read.
        let mut makes_no_sense = good;
        let line = br#"{"progress":{"offset":"four"}}"#;
        makes_no_sense.extend_from_slice(format!("{} ", check(line)).as_bytes());
        makes_no_sense.extend_from_slice(line);
        makes_no_sense.push(b'\n');
        assert!(Journal::parse(&id(), &makes_no_sense).is_err());
        assert_eq!(Journal::remains(&id(), &makes_no_sense).map(|upload| upload.offset()), Some(0));
    }

    #[test]
    fn zeros_of_a_power_cut_are_a_torn_line() {
        let mut bytes = whole();
        let end = bytes.len();
        bytes.extend_from_slice(&[0; 100]);
        bytes.extend_from_slice(b"rest\n");
        let journal = Journal::parse(&id(), &bytes).unwrap();
        assert_eq!(journal.end, end as u64);
        assert_eq!(journal.record.unwrap().offset(), 3);
    }

    #[test]
    fn a_flipped_bit_is_damage_or_a_torn_end_and_never_another_state() {
        let bytes = whole();
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[place] ^= 1 << bit;
                match offset(&bad) {
                    Ok(offset) => assert!(offset == 3 || place == bytes.len() - 1, "{place} {bit}"),
                    Err(StoreError::Damaged { .. } | StoreError::NotFound) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
    }

    #[test]
    fn a_record_never_leads_outside() {
        for data in [
            "/etc/passwd",
            "../5230ec1f59d1485d9d7974b853802e31.part",
            "a/../../5230ec1f59d1485d9d7974b853802e31.part",
            "2026/ffffffffffffffffffffffffffffffff.part",
            "",
        ] {
            let bytes = lines(&[Line::head(Path::new(data)).unwrap()]);
            let error = Journal::parse(&id(), &bytes).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{data}: {error}");
        }
    }

    #[test]
    fn a_record_is_not_written_if_it_could_not_be_read() {
        let nested = |depth: usize| {
            let mut upload = upload();
            upload.attributes = (0..depth).fold(Value::Null, |inner, _| Value::from(vec![inner]));
            Line::Record(Box::new(upload))
        };
        let mut bytes = lines(&[head(), nested(125)]);
        assert!(Journal::parse(&id(), &bytes).unwrap().record.is_some());
        let whole = bytes.clone();
        assert!(nested(126).write_to(&mut bytes).is_err());
        assert_eq!(bytes, whole);
    }

    #[test]
    fn lines_that_do_not_fit_together_are_damage() {
        let another = Upload { id: UploadId::random(), ..upload() };
        for (name, line) in
            [("progress of nothing", at(1)), ("another's record", Line::Record(Box::new(another)))]
        {
            let error = Journal::parse(&id(), &lines(&[head(), line])).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{name}: {error}");
        }
    }

    #[test]
    fn only_the_last_progress_is_read() {
        let checked = |json: &str| format!("{} {json}\n", check(json.as_bytes())).into_bytes();
        let senseless = checked(r#"{"progress":{"offset":9}"#);
        let replaced = [whole(), senseless.clone(), lines(&[at(4)])].concat();
        assert_eq!(offset(&replaced).unwrap(), 4);
        let error = offset(&[whole(), senseless].concat()).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        // Whatever its spelling.
        let other = checked(r#"{ "progress":{"offset":5,"status":"open"}}"#);
        assert_eq!(offset(&[whole(), other].concat()).unwrap(), 5);
    }

    #[test]
    fn a_check_has_one_spelling() {
        let bytes = lines(&[head()]);
        assert!(Journal::parse(&id(), &bytes).unwrap().data.is_some());
        let upper = [bytes[..8].to_ascii_uppercase(), bytes[8..].to_vec()].concat();
        assert_ne!(upper, bytes);
        assert!(Journal::parse(&id(), &upper).is_err());
    }

    #[test]
    fn a_newer_version_is_refused() {
        let head = Line::Head {
            version: VERSION + 1,
            data: "x/5230ec1f59d1485d9d7974b853802e31.part".to_owned(),
        };
        assert!(Journal::parse(&id(), &lines(&[head])).is_err());
    }

    fn time() -> impl Strategy<Value = SystemTime> {
        any::<u32>()
            .prop_map(|millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis.into()))
    }

    fn progress() -> impl Strategy<Value = Progress> {
        let status =
            prop_oneof![Just(Status::Open), Just(Status::Finishing), Just(Status::Complete)];
        let sizes = (any::<u64>(), option::of(any::<u64>()));
        (sizes, option::of("crc32:[0-9a-f]{8}"), option::of(time()), status).prop_map(
            |((offset, total), checksum, expires, status)| {
                let checksum = checksum.map(|checksum| checksum.parse().unwrap());
                Progress { offset, total, checksum, expires, status }
            },
        )
    }

    fn attributes() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 16, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn uploads() -> impl Strategy<Value = Upload> {
        let claims = (option::of(".{0,8}"), "(?s:.{0,8})", option::of("[ -~]{1,8}"));
        let fields = vec(("(?s:.{0,8})", "(?s:.{0,8})"), 0..3);
        (claims, fields, attributes(), time(), progress()).prop_map(
            |((owner, raw_filename, content_type), fields, attributes, created, progress)| Upload {
                owner: owner.map(Into::into),
                raw_filename,
                content_type,
                fields,
                attributes,
                progress,
                ..Upload::new(id(), created)
            },
        )
    }

    /// What a record may consist of, with or without sense.
    fn any_line() -> impl Strategy<Value = Line> {
        let path = "[a-z/.é]{0,8}";
        prop_oneof![
            Just(()).prop_map(|()| head()),
            uploads().prop_map(|upload| Line::Record(Box::new(upload))),
            progress().prop_map(|progress| Line::Progress(Box::new(progress))),
            path.prop_map(|path| Line::Moving(path.into())),
            path.prop_map(|path| Line::Moved(path.into())),
            "[a-z]{0,4}".prop_map(Line::Boot),
            Just(()).prop_map(|()| Line::Sound {}),
            Just(()).prop_map(|()| Line::Removed {}),
        ]
    }

    /// What [`fuzzing::record`] reads.
    fn with_place(place: u16, bytes: &[u8]) -> Vec<u8> {
        [&place.to_le_bytes(), bytes].concat()
    }

    proptest! {
        #[test]
        fn any_upload_is_read_back_as_it_was(upload in uploads(), progress in progress()) {
            let mut bytes = lines(&[head(), Line::Record(Box::new(upload.clone()))]);
            let (read, _) = Journal::parse(&id(), &bytes).unwrap().committed().unwrap();
            prop_assert_eq!(&read, &upload);
            Line::Progress(Box::new(progress.clone())).write_to(&mut bytes).unwrap();
            let (read, _) = Journal::parse(&id(), &bytes).unwrap().committed().unwrap();
            prop_assert_eq!(read, Upload { progress, ..upload });
        }

        #[test]
        fn any_lines_are_believed_only_as_far_as_they_are_whole(
            written in vec(any_line(), 0..6),
            rest in prop_oneof!["".prop_map(String::into_bytes), vec(prop_oneof![Just(0), any::<u8>()], 0..40)],
            place: u16,
        ) {
            let bytes = [lines(&written), rest].concat();
            let place = place % (u16::try_from(bytes.len()).unwrap_or(u16::MAX).saturating_add(1));
            fuzzing::record(&with_place(place, &bytes));
        }

        #[test]
        fn any_bytes_are_a_record_or_damaged(
            pieces in vec(
                prop_oneof![
                    any_line().prop_map(|line| lines(&[line])),
                    any_line().prop_map(|line| serde_json::to_vec(&line).unwrap()),
                    Just(b"\n".to_vec()),
                    Just(vec![0; 9]),
                    vec(any::<u8>(), 0..20),
                ],
                0..6,
            ),
            place: u16,
        ) {
            fuzzing::record(&with_place(place % 1000, &pieces.concat()));
        }
    }

    // Written by version 0.1.0; later versions must read it.
    #[test]
    fn the_format_of_version_1_is_pinned() {
        let bytes = include_bytes!("testdata/record-v1.log");
        let (upload, data) =
            Journal::parse(&"15b7d8bebaa04d86b189ceb642ae602d".parse().unwrap(), bytes)
                .unwrap()
                .committed()
                .unwrap();
        assert_eq!(data, Path::new("2026/11/24/15b7d8bebaa04d86b189ceb642ae602d.part"));
        assert_eq!(upload.owner, Some("alice".into()));
        assert_eq!(upload.raw_filename, "naïve.txt");
        assert_eq!((upload.offset(), upload.total()), (20000, Some(50000)));
        assert_eq!(upload.fields, [("a".to_owned(), "1".to_owned())]);
        let checksum = upload.progress.checksum.unwrap();
        assert!(crate::checksum::Running::resume(&checksum).is_some());
    }
}
