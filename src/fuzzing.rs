//! What the targets in `fuzz/` call: the parsers of client bytes, with their promises asserted.

use crate::{
    engine::filename,
    protocol::chunked::{
        content_range::ContentRange,
        disposition::Disposition,
        form::{
            Boundary, FormLimits, FormReader,
            trace::{Trace, trace},
        },
    },
};

/// The body is `input` but for its first four bytes, which choose the boundary and three cuts.
pub fn form(input: &[u8]) {
    let Some(([choice, cuts @ ..], body)) = input.split_first_chunk::<4>() else {
        return;
    };
    let boundary = BOUNDARIES[usize::from(*choice) % BOUNDARIES.len()];
    let Ok(boundary) = Boundary::from_content_type(boundary.as_bytes()) else {
        unreachable!("the boundaries are valid");
    };
    let read = |frames: Vec<&[u8]>| -> Trace {
        // Low enough for an input of the fuzzer's length to reach them.
        let limits = FormLimits::default()
            .parts(4)
            .part_header_bytes(200)
            .field_bytes(16)
            .fields_bytes(24)
            .ignored_bytes(32);
        trace(&mut FormReader::new(&boundary, "f", limits), frames)
    };

    let whole = read(vec![body]);
    assert_eq!(read(body.chunks(1).collect()), whole);
    let mut frames = Vec::new();
    let mut rest = body;
    for cut in cuts {
        let (frame, after) = rest.split_at(usize::from(*cut).min(rest.len()));
        frames.push(frame);
        rest = after;
    }
    frames.push(rest);
    assert_eq!(read(frames), whole);
}

pub fn content_range(value: &[u8]) {
    let Some(range) = ContentRange::parse(value) else {
        return;
    };
    assert!(range.start <= range.end && range.end < range.total);
    assert_eq!(range.start + (range.len() - 1), range.end);
    let ContentRange { start, end, total } = range;
    let plain = format!("bytes {start}-{end}/{total}");
    assert_eq!(ContentRange::parse(plain.as_bytes()), Some(range));
}

pub fn disposition(value: &[u8]) {
    let part = Disposition::of_part(value);
    let request = Disposition::of_request(value);
    assert_eq!(part.is_some(), request.is_some());
    for disposition in [part, request].into_iter().flatten() {
        assert!(!disposition.kind.is_empty());
        if let Some(name) = disposition.filename.and_then(|raw| filename::safe(&raw)) {
            assert_safe(&name);
        }
    }
    let _ = Boundary::from_content_type(value);
}

pub fn filename(raw: &[u8]) {
    if let Some(name) = filename::safe(&String::from_utf8_lossy(raw)) {
        assert_safe(&name);
    }
}

fn assert_safe(name: &str) {
    assert!((1..=255).contains(&name.len()));
    assert!(name != "." && name != "..");
    assert!(!name.contains(['/', '\\']) && !name.contains(char::is_control));
    assert_eq!(filename::safe(name).as_deref(), Some(name));
}

const BOUNDARIES: [&str; 3] = [
    "multipart/form-data; boundary=x",
    "multipart/form-data; boundary=--",
    "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxk",
];
