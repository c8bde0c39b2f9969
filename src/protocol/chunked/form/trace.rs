//! The events of a reader, for tests and fuzzing.

use bytes::Bytes;

use super::{
    Boundary, FormError, FormEvent, FormLimits, FormReader, encoding::Encoding, head::Head,
};
use crate::protocol::disposition::Disposition;

/// The events of a body, its file's data joined, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) events: Vec<FormEvent>,
    pub(crate) data: Vec<u8>,
    pub(crate) end: Result<(), FormError>,
}

/// Feeds `frames` to `reader` until the form or the body ends.
pub(crate) fn trace<'a>(
    reader: &mut FormReader,
    frames: impl IntoIterator<Item = &'a [u8]>,
) -> Trace {
    let mut frames = frames.into_iter();
    let (mut events, mut data) = (Vec::new(), Vec::new());
    let mut fed = Bytes::new();
    let end = loop {
        match reader.next() {
            Ok(FormEvent::NeedData) => {
                assert!(reader.held() <= max_held(reader.limits()), "{} bytes", reader.held());
                assert!(fed.is_empty() || fed.is_unique(), "a frame is kept that was used up");
                match frames.next() {
                    Some(frame) => {
                        fed = Bytes::copy_from_slice(frame);
                        reader.feed(fed.clone());
                    }
                    None if reader.is_finished() => break Ok(()),
                    None => break Err(FormError::Truncated),
                }
            }
            Ok(FormEvent::Data(bytes)) => {
                assert!(!bytes.is_empty(), "an empty piece of data");
                data.extend_from_slice(&bytes);
            }
            Ok(FormEvent::End) => break Ok(()),
            Ok(event) => events.push(event),
            Err(error) => break Err(error),
        }
    };
    assert_eq!(reader.is_finished(), end.is_ok());
    Trace { events, data, end }
}

/// The headers of a part, and what follows their blank line if that was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HeadTrace {
    pub(crate) disposition: Option<Disposition>,
    pub(crate) content_type: Option<String>,
    pub(crate) encoding: Option<Encoding>,
    pub(crate) rest: Option<Vec<u8>>,
}

/// Reads the headers of a part from `frames`.
pub(crate) fn trace_head<'a>(
    frames: impl IntoIterator<Item = &'a [u8]>,
    limit: usize,
) -> Result<HeadTrace, FormError> {
    let mut head = Head::default();
    let mut frames = frames.into_iter();
    let mut rest = None;
    while let (None, Some(frame)) = (&rest, frames.next()) {
        let mut frame = Bytes::copy_from_slice(frame);
        if head.take(&mut frame, limit)? {
            let behind = frames.by_ref().collect::<Vec<_>>().concat();
            rest = Some([&frame[..], &behind].concat());
        } else {
            assert!(frame.is_empty(), "a frame was not used up");
        }
        assert!(head.held() <= max_held_of_head(limit), "{} bytes", head.held());
    }
    let Head { disposition, content_type, encoding, .. } = head;
    Ok(HeadTrace { disposition, content_type, encoding, rest })
}

/// Splits `bytes` into frames of the given lengths, with the rest in the last one.
pub(crate) fn cut(mut bytes: &[u8], lengths: impl IntoIterator<Item = usize>) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    for length in lengths {
        let (frame, rest) = bytes.split_at(length.min(bytes.len()));
        frames.push(frame);
        bytes = rest;
    }
    frames.push(bytes);
    frames
}

// A growing buffer may have twice the capacity. The name of a text field counts like its value.
fn max_held(limits: FormLimits) -> usize {
    let field = limits.fields_bytes.saturating_mul(2).saturating_add(MIN_CAPACITY);
    MAX_DELIMITER + max_held_of_head(limits.part_header_bytes).max(field)
}

// Each byte that is not UTF-8 becomes two.
fn max_held_of_head(limit: usize) -> usize {
    limit.saturating_mul(2).saturating_add(MIN_CAPACITY)
}

const MIN_CAPACITY: usize = 8;
// CR LF, two hyphens, the boundary, and the capacity for the whitespace after it.
const MAX_DELIMITER: usize = 2 + 2 + Boundary::MAX_BYTES + 128;
