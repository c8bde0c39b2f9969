//! What `benches/parts` measures and no user can name.

use bytes::Bytes;

use crate::checksum::{ChecksumState, Running};
use crate::protocol::chunked::content_range::ContentRange;
use crate::protocol::chunked::form::{Boundary, FormEvent, FormLimits, FormReader};
use crate::protocol::disposition::Disposition;

/// Reads a form with a file in the field `file` and says how long that is; `None` if it is no form.
pub fn form(content_type: &str, frames: impl IntoIterator<Item = Bytes>) -> Option<usize> {
    let boundary = Boundary::from_content_type(content_type.as_bytes()).ok()?;
    let mut reader = FormReader::new(&boundary, Some("file".into()), FormLimits::default());
    let mut frames = frames.into_iter();
    let mut length = 0;
    loop {
        match reader.next().ok()? {
            FormEvent::NeedData => reader.feed(frames.next()?),
            FormEvent::Data(bytes) => length += bytes.len(),
            FormEvent::Field { .. } | FormEvent::File { .. } => {}
            FormEvent::End => return Some(length),
        }
    }
}

/// The length that the header says the chunk has.
pub fn content_range(value: &[u8]) -> Option<u64> {
    ContentRange::parse(value).map(|range| range.len())
}

/// The file's name, of a part of a form.
pub fn disposition_of_part(value: &[u8]) -> Option<String> {
    Disposition::of_part(value)?.filename
}

/// The file's name, of a request.
pub fn disposition_of_request(value: &[u8]) -> Option<String> {
    Disposition::of_request(value)?.filename
}

#[derive(Debug)]
pub struct Checksum(Running);

impl Checksum {
    pub fn md5() -> Self {
        Self(Running::md5())
    }

    pub fn crc32() -> Self {
        Self(Running::crc32())
    }

    pub fn resume(state: &ChecksumState) -> Option<Self> {
        Running::resume(state).map(Self)
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn save(&self) -> ChecksumState {
        self.0.save()
    }
}
