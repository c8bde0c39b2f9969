use bytes::{Buf, Bytes};
use memchr::{memchr, memchr2};

use super::{FormError, encoding::Encoding};
use crate::protocol::disposition::{Disposition, is_token, split_once};

/// The headers of a part, as far as the reader needs them.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) disposition: Option<Disposition>,
    pub(super) content_type: Option<String>,
    pub(super) encoding: Option<Encoding>,
    line: Vec<u8>,
    bytes: usize,
}

impl Head {
    /// Removes header lines from the front of `frame`, and returns whether the blank line was among
    /// them. If not, the whole frame was removed.
    ///
    /// # Errors
    ///
    /// [`FormError::HeaderTooLong`] past `limit` bytes, [`FormError::Header`] or
    /// [`FormError::Encoding`] for a header that is refused.
    pub(super) fn take(&mut self, frame: &mut Bytes, limit: usize) -> Result<bool, FormError> {
        while !frame.is_empty() {
            let end = memchr(b'\n', frame).map(|at| at + 1);
            let piece = &frame[..end.unwrap_or(frame.len())];
            if piece.len() > limit - self.bytes {
                return Err(FormError::HeaderTooLong);
            }
            self.bytes += piece.len();
            self.line.extend_from_slice(piece);
            frame.advance(piece.len());
            if end.is_none() {
                return Ok(false);
            }
            let line = std::mem::take(&mut self.line);
            let line = line.strip_suffix(b"\r\n").ok_or(FormError::Header)?;
            if line.is_empty() {
                return Ok(true);
            }
            self.read(line)?;
        }
        Ok(false)
    }

    /// How many bytes it keeps between two frames.
    #[cfg(any(test, fuzzing))]
    pub(super) fn held(&self) -> usize {
        let named = self.disposition.iter();
        let named = named.flat_map(|is| [is.name.as_ref(), is.filename.as_ref()]);
        let texts = named.chain([self.content_type.as_ref()]).flatten();
        self.line.capacity() + texts.map(String::len).sum::<usize>()
    }

    fn read(&mut self, line: &[u8]) -> Result<(), FormError> {
        if memchr2(b'\r', b'\0', line).is_some() {
            return Err(FormError::Header);
        }
        // A folded line starts with whitespace, so it has no name.
        let (name, value) = split_once(line, b':').ok_or(FormError::Header)?;
        let value = value.trim_ascii();
        if !is_token(name) {
            return Err(FormError::Header);
        }
        if name.eq_ignore_ascii_case(b"content-disposition") {
            let disposition = Disposition::of_part(value).ok_or(FormError::Header)?;
            if self.disposition.replace(disposition).is_some() {
                return Err(FormError::Header);
            }
        } else if name.eq_ignore_ascii_case(b"content-type") {
            self.content_type = plain_media_type(value);
        } else if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
            let encoding = Encoding::named(value).ok_or(FormError::Encoding)?;
            if self.encoding.replace(encoding).is_some_and(|other| other != encoding) {
                return Err(FormError::Encoding);
            }
        }
        Ok(())
    }
}

// Only a plain header value of moderate length is kept: it is unchecked, stored with the upload,
// and perhaps sent back.
pub(crate) fn plain_media_type(value: &[u8]) -> Option<String> {
    let is_plain = value.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    let is_kept = is_plain && (1..=MAX_CONTENT_TYPE).contains(&value.len());
    is_kept.then(|| String::from_utf8_lossy(value).into_owned())
}

const MAX_CONTENT_TYPE: usize = 255;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use crate::fuzzing;

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            Just("Content-Disposition: form-data; name=a\r\n"),
            Just("content-disposition: form-data; name=\"\\\"%22\"; filename=\"a.bin\""),
            Just("; filename*=UTF-8''na%C3%AFve.txt"),
            Just("Content-Type: text/plain"),
            Just("Content-Transfer-Encoding: 8bit\r\n"),
            Just("Content-Transfer-Encoding: base64\r\n"),
            Just("Content-Disposition: file; name=\"dir\\\"; filename=\"a\"b\"\r\n"),
            Just("X: y\r\n"),
            Just("\r\n"),
            Just("\r"),
            Just("\n"),
            Just(":"),
            Just(" "),
        ]
        .prop_map(|piece| piece.as_bytes().to_vec())
        .boxed()
        .prop_union(vec(any::<u8>(), 0..80).boxed())
    }

    proptest! {
        #[test]
        fn any_headers_read_the_same_however_they_are_cut_and_none_past_the_limit_is_held(
            pieces in vec(piece(), 0..8),
            limit_and_cuts: [u8; 4],
        ) {
            fuzzing::head(&[&limit_and_cuts, &pieces.concat()[..]].concat());
        }
    }
}
