use std::time::{Duration, SystemTime};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::fuzzing;

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
    Line::head(Path::new("2026/5230ec1f59d1485d9d7974b853802e31.part"))
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
        let remains = Journal::before_damage(&id(), &spoiled).record;
        assert_eq!(remains.map(|upload| upload.offset()), offset);
    }
    assert_eq!(Journal::before_damage(&id(), b"rubbish\n").record, None);
    // The last progress is not accepted without being read.
    let mut makes_no_sense = good;
    let line = br#"{"progress":{"offset":"four"}}"#;
    makes_no_sense.extend_from_slice(format!("{} ", check(line)).as_bytes());
    makes_no_sense.extend_from_slice(line);
    makes_no_sense.push(b'\n');
    assert!(Journal::parse(&id(), &makes_no_sense).is_err());
    assert_eq!(
        Journal::before_damage(&id(), &makes_no_sense).record.map(|upload| upload.offset()),
        Some(0)
    );
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
        let bytes = lines(&[Line::head(Path::new(data))]);
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
    let head =
        Line::Head { version: VERSION + 1, data: "x/5230ec1f59d1485d9d7974b853802e31.part".into() };
    assert!(Journal::parse(&id(), &lines(&[head])).is_err());
}

fn time() -> impl Strategy<Value = SystemTime> {
    any::<u32>().prop_map(|millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis.into()))
}

fn progress() -> impl Strategy<Value = Progress> {
    let status = prop_oneof![Just("open"), Just("finishing"), Just("complete")];
    let sizes = (any::<u64>(), option::of(any::<u64>()));
    let joins = (prop::collection::vec(upload_id(), 0..3), option::of(upload_id()));
    let sums = (option::of("crc32:[0-9a-f]{8}"), vec("sha1[.][0-9A-Za-z_-]{8}", 0..3));
    (sizes, sums, option::of(time()), status, joins).prop_map(
        |((offset, total), (checksum, checksums), expires, status, (needed_by, awaited_by))| {
            let checksum = checksum.map(|checksum| checksum.parse().unwrap());
            let checksums = checksums.iter().map(|checksum| checksum.parse().unwrap()).collect();
            let status = serde_json::from_value(status.into()).unwrap();
            let mut progress = Progress {
                offset,
                total,
                checksum,
                checksums,
                expires,
                status,
                end_acknowledged: false,
                ties: None,
            };
            progress.change_ties(|ties| {
                (ties.needed_by, ties.awaited_by) = (needed_by, awaited_by);
                ties.ended_at = awaited_by.and(total);
                ties.persisted = awaited_by.is_some();
            });
            progress
        },
    )
}

fn upload_id() -> impl Strategy<Value = UploadId> {
    "[0-9a-f]{32}".prop_map(|text| text.parse().unwrap())
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
    let bytes = include_bytes!("../testdata/record-v1.log");
    let (upload, notes) =
        Journal::parse(&"15b7d8bebaa04d86b189ceb642ae602d".parse().unwrap(), bytes)
            .unwrap()
            .committed()
            .unwrap();
    assert_eq!(notes.data_path, Path::new("2026/11/24/15b7d8bebaa04d86b189ceb642ae602d.part"));
    assert_eq!(upload.owner, Some("alice".into()));
    assert_eq!(upload.raw_filename, "naïve.txt");
    assert_eq!((upload.offset(), upload.total()), (20000, Some(50000)));
    assert_eq!(upload.fields, [("a".to_owned(), "1".to_owned())]);
    let checksum = upload.progress.checksum.unwrap();
    assert!(crate::checksum::Running::resume(&checksum).is_some());
}
