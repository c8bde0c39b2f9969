use std::mem;

use bytes::{Buf, Bytes};
use memchr::{memchr, memmem::Finder, memrchr};

use super::{Boundary, FormError};

/// Finds the lines that end the parts, however the body is cut into frames.
///
/// Between frames it remembers how much of such a line it has seen, not the bytes: up to the end
/// of the boundary they are known. A boundary has no CR, so a partial match can only begin anew at
/// the byte that ends it, and no byte is looked at more than twice.
///
/// The first boundary is the only one that no part's content can hold, so more is taken for the
/// beginning of its line: what is behind any line feed, whatever blanks or byte-order marks follow.
pub(super) struct Delimiter {
    line: Bytes,
    finder: Finder<'static>,
    held: usize,
    // Of the held bytes, those in front that the headers or nobody sent.
    unsent: usize,
    after: Vec<u8>,
    in_preamble: bool,
    #[cfg(test)]
    pub(super) examined: u64,
}

pub(super) enum Piece {
    Content(Bytes),
    /// A delimiter: another part begins.
    Next,
    /// The closing delimiter.
    Close,
    NeedData,
}

enum Step {
    Undecided,
    Content,
    Next,
    Close,
}

impl Delimiter {
    /// The delimiter of a form of which nothing has been read.
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

    /// Says that what comes is the beginning of a line, so that a delimiter needs no CR LF.
    pub(super) fn begin_line(&mut self) {
        self.held = LINE_END;
        self.unsent = LINE_END;
        self.after.clear();
    }

    /// Takes the next piece off the front of `frame`.
    ///
    /// # Errors
    ///
    /// [`FormError::BoundaryLine`] if too many blanks follow a boundary.
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
                Step::Undecided => return Ok(Piece::NeedData),
                Step::Next => {
                    self.in_preamble = false;
                    return Ok(Piece::Next);
                }
                Step::Close => return Ok(Piece::Close),
                Step::Content => {
                    let content = self.release();
                    if !content.is_empty() {
                        return Ok(Piece::Content(content));
                    }
                }
            }
        }
    }

    /// How many bytes it keeps between two frames.
    #[cfg(any(test, fuzzing))]
    pub(super) fn held(&self) -> usize {
        self.line.len() + self.after.capacity()
    }

    // Splits off what precedes a place where the first boundary may begin.
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

    // Only the last CR can begin a match that reaches the end.
    fn partial_match(&self, frame: &[u8]) -> usize {
        let from = (frame.len() + 1).saturating_sub(self.line.len());
        let last = &frame[from..];
        match memrchr(b'\r', last) {
            Some(at) if self.line.starts_with(&last[at..]) => from + at,
            _ => frame.len(),
        }
    }

    // Takes bytes for as long as they go on with the held match.
    fn compare(&mut self, frame: &mut Bytes) -> Result<Step, FormError> {
        let expected = &self.line[self.held..];
        let equal = expected.iter().zip(frame.iter());
        let equal = equal.take_while(|(a, b)| a == b).count();
        frame.advance(equal);
        self.held += equal;
        #[cfg(test)]
        {
            self.examined += equal as u64 + 1;
        }
        if self.held < self.line.len() {
            return Ok(if frame.is_empty() { Step::Undecided } else { Step::Content });
        }
        while let Some(&byte) = frame.first() {
            #[cfg(test)]
            {
                self.examined += 1;
            }
            match step(self.after.last().copied(), byte) {
                Step::Content => return Ok(Step::Content),
                Step::Undecided if self.after.len() > MAX_PADDING => {
                    return Err(FormError::BoundaryLine);
                }
                Step::Undecided => self.after.push(byte),
                end => {
                    frame.advance(1);
                    return Ok(end);
                }
            }
            frame.advance(1);
        }
        Ok(Step::Undecided)
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

// A CR or LF, a blank, or a piece of a byte-order mark in UTF-8.
fn is_blank_line(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | b' ' | b'\t' | 0xEF | 0xBB | 0xBF)
}

// What `byte` decides, after a boundary and bytes of which `last` is the last one. The bytes so
// far are a hyphen, or blanks with perhaps a CR behind them.
fn step(last: Option<u8>, byte: u8) -> Step {
    match (last, byte) {
        (Some(b'-'), b'-') => Step::Close,
        (Some(b'\r'), b'\n') => Step::Next,
        (None, b'-') | (None | Some(b' ' | b'\t'), b' ' | b'\t' | b'\r') => Step::Undecided,
        _ => Step::Content,
    }
}

const LINE_END: usize = b"\r\n".len();
// Senders add none; RFC 2046 lets gateways do.
const MAX_PADDING: usize = 64;
