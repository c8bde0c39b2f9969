//! What a reader says about a body, for tests and fuzzing.

use bytes::Bytes;

use super::{FormError, FormEvent, FormReader};

/// The events of a body, its file's data joined, and how it ended.
#[derive(Debug, PartialEq, Eq)]
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
    let end = loop {
        match reader.next() {
            Ok(FormEvent::NeedData) => match frames.next() {
                Some(frame) => reader.feed(Bytes::copy_from_slice(frame)),
                None if reader.is_finished() => break Ok(()),
                None => break Err(FormError::Truncated),
            },
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
