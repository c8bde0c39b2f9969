use std::mem;

use bytes::{Buf, Bytes};
use memchr::{memchr, memmem::Finder, memrchr};

use super::{Boundary, FormError};

/// Finds the lines that end the parts, however the body is split into frames.
///
/// Between frames it only keeps how much of such a line has matched, not the bytes: up to the end
/// of the boundary they are known. A boundary contains no CR, so a partial match can only restart
/// at the byte that ends it, and no byte is examined more than twice.
///
/// The first boundary is the only one that no content can precede. So more is accepted as the start
/// of its line: anything after a line feed, even if whitespace or byte-order marks follow it.
pub(super) struct Delimiter {
    line: Bytes,
    finder: Finder<'static>,
    held: usize,
    // How many of the held bytes belong to the headers or were never sent.
    unsent: usize,
    after: Vec<u8>,
    in_preamble: bool,
    #[cfg(test)]
    pub(super) examined: u64,
}

pub(super) enum Piece {
    Content(Bytes),
    /// A delimiter: another part follows.
    Next,
    /// The closing delimiter.
    Close,
    NeedData,
}

enum Step {
    Undecided,
    Content,
    End(Piece),
}

impl Delimiter {
    /// Creates the search for a form of which nothing has been read.
    pub(super) fn new(boundary: &Boundary) -> Self {
        let line = Bytes::from([b"\r\n--", boundary.as_bytes()].concat());
        let mut delimiter = Self {
            finder: Finder::new(&line).into_owned(),
            line,
            held: 0,
            unsent: 0,
            after: Vec::new(),
            in_preamble: true,
            #[cfg(test)]
            examined: 0,
        };
        delimiter.begin_line();
        delimiter
    }

    /// Marks the start of a line, so that a delimiter needs no CR LF.
    pub(super) fn begin_line(&mut self) {
        self.held = LINE_END;
        self.unsent = LINE_END;
        self.after.clear();
    }

    /// Removes the next piece from the front of `frame`.
    ///
    /// # Errors
    ///
    /// [`FormError::BoundaryLine`] if too much whitespace follows a boundary.
    pub(super) fn next(&mut self, frame: &mut Bytes) -> Result<Piece, FormError> {
        loop {
            if self.in_preamble
                && let Some(content) = self.skip(frame)
            {
                return Ok(Piece::Content(content));
            }
            if self.held == 0 {
                match self.search(frame) {
                    Some(content) => return Ok(Piece::Content(content)),
                    None if self.held == 0 => return Ok(Piece::NeedData),
                    None => {}
                }
            }
            match self.compare(frame)? {
                Piece::Content(content) if content.is_empty() => {}
                piece => return Ok(piece),
            }
        }
    }

    /// How many bytes it keeps between two frames.
    #[cfg(any(test, fuzzing))]
    pub(super) fn held(&self) -> usize {
        self.line.len() + self.after.capacity()
    }

    // Splits off what precedes a position at which the first boundary may start.
    fn skip(&mut self, frame: &mut Bytes) -> Option<Bytes> {
        let len = match self.held {
            0 => match memchr(b'\n', frame) {
                Some(at) => {
                    self.begin_line();
                    at + 1
                }
                None => frame.len(),
            },
            LINE_END => frame.iter().take_while(|byte| is_blank_line(**byte)).count(),
            _ => 0,
        };
        #[cfg(test)]
        {
            self.examined += len as u64 + 1;
        }
        (len > 0).then(|| frame.split_to(len))
    }

    // Splits off what precedes the first whole or partial match, and holds the match.
    fn search(&mut self, frame: &mut Bytes) -> Option<Bytes> {
        let (at, held) = match self.finder.find(frame) {
            Some(at) => (at, self.line.len()),
            None => {
                let at = self.partial_match(frame);
                (at, frame.len() - at)
            }
        };
        #[cfg(test)]
        {
            self.examined += (at + held) as u64;
        }
        self.held = held;
        if held == 0 {
            return (at > 0).then(|| mem::take(frame));
        }
        let content = (at > 0).then(|| frame.split_to(at));
        frame.advance(held);
        content
    }

    // Only the last CR can start a match that reaches the end.
    fn partial_match(&self, frame: &[u8]) -> usize {
        let from = (frame.len() + 1).saturating_sub(self.line.len());
        let last = &frame[from..];
        match memrchr(b'\r', last) {
            Some(at) if self.line.starts_with(&last[at..]) => from + at,
            _ => frame.len(),
        }
    }

    // Removes bytes as long as they continue the held match.
    fn compare(&mut self, frame: &mut Bytes) -> Result<Piece, FormError> {
        let expected = &self.line[self.held..];
        let equal = expected.iter().zip(frame.iter());
        let equal = equal.take_while(|(a, b)| a == b).count();
        frame.advance(equal);
        self.held += equal;
        #[cfg(test)]
        {
            self.examined += equal as u64 + 1;
        }
        if self.held < self.line.len() && !frame.is_empty() {
            return Ok(Piece::Content(self.release()));
        }
        while let Some(&byte) = frame.first() {
            #[cfg(test)]
            {
                self.examined += 1;
            }
            match step(self.after.last().copied(), byte) {
                Step::Content => return Ok(Piece::Content(self.release())),
                Step::Undecided if self.after.len() > MAX_PADDING => {
                    return Err(FormError::BoundaryLine);
                }
                Step::Undecided => self.after.push(byte),
                Step::End(end) => {
                    frame.advance(1);
                    self.in_preamble = false;
                    return Ok(end);
                }
            }
            frame.advance(1);
        }
        Ok(Piece::NeedData)
    }

    // The held bytes, which turned out to be content.
    fn release(&mut self) -> Bytes {
        let mut content = self.line.slice(self.unsent..self.held);
        if !self.after.is_empty() {
            content = [&content[..], &self.after].concat().into();
        }
        self.held = 0;
        self.unsent = 0;
        self.after.clear();
        content
    }
}

// A CR or LF, a space or tab, or a byte of a UTF-8 byte-order mark.
fn is_blank_line(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | b' ' | b'\t' | 0xEF | 0xBB | 0xBF)
}

// Decides on `byte`, which follows a boundary and further bytes, the last of which is `last`. Those
// are either one hyphen, or whitespace with an optional CR after it.
fn step(last: Option<u8>, byte: u8) -> Step {
    match (last, byte) {
        (Some(b'-'), b'-') => Step::End(Piece::Close),
        (Some(b'\r'), b'\n') => Step::End(Piece::Next),
        (None, b'-') | (None | Some(b' ' | b'\t'), b' ' | b'\t' | b'\r') => Step::Undecided,
        _ => Step::Content,
    }
}

const LINE_END: usize = b"\r\n".len();
// Senders add no padding, but RFC 2046 allows gateways to.
const MAX_PADDING: usize = 64;
