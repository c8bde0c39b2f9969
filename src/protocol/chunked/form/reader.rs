use std::{fmt, mem, sync::Arc};

use bytes::Bytes;

use super::{
    Boundary, FormError, FormLimits,
    delimiter::{Delimiter, Piece},
    encoding::Encoding,
    head::Head,
};
use crate::{filename, protocol::disposition::Disposition};

/// Reads a form frame by frame.
///
/// The caller takes events with [`next`](Self::next), and supplies the next frame after
/// [`FormEvent::NeedData`]. A body that ends before [`FormEvent::End`] was truncated.
pub(crate) struct FormReader {
    delimiter: Delimiter,
    file_field: Option<Arc<str>>,
    limits: FormLimits,
    frame: Bytes,
    state: State,
    parts: usize,
    fields_bytes: usize,
    ignored_bytes: u64,
    has_file: bool,
}

/// An event of [`FormReader`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FormEvent {
    /// The frame is used up.
    NeedData,
    /// A decoded text field. Bytes that are not UTF-8 are replaced.
    Field {
        /// The field's name.
        name: String,
        /// Its value.
        value: String,
    },
    /// The file starts.
    File {
        /// The name as the client sent it; [`safe`](filename::safe) returns a safe name.
        filename: String,
        /// The content type of the part, if it is a plain header value.
        content_type: Option<String>,
    },
    /// The next bytes of the file, never empty.
    Data(Bytes),
    /// The form is complete; anything that follows is ignored.
    End,
}

#[derive(Debug)]
enum State {
    /// In the preamble, or in a part that is neither the file nor a field.
    Ignored,
    /// In a part of the file's field whose filename contains no name.
    Unnamed,
    Head(Head),
    Field {
        name: String,
        value: Vec<u8>,
        encoding: Encoding,
    },
    File,
    Closed,
    Failed(FormError),
}

impl FormReader {
    /// Creates a reader of a form with its file in the field `file_field`; without one, files are
    /// ignored.
    pub(crate) fn new(
        boundary: &Boundary,
        file_field: Option<Arc<str>>,
        limits: FormLimits,
    ) -> Self {
        Self {
            delimiter: Delimiter::new(boundary),
            file_field,
            limits,
            frame: Bytes::new(),
            state: State::Ignored,
            parts: 0,
            fields_bytes: 0,
            ignored_bytes: 0,
            has_file: false,
        }
    }

    /// Adds a frame. To be called after [`FormEvent::NeedData`].
    pub(crate) fn feed(&mut self, frame: Bytes) {
        if self.frame.is_empty() {
            self.frame = frame;
            return;
        }
        debug_assert!(false, "fed before the reader needed data");
        self.frame = [&self.frame[..], &frame].concat().into();
    }

    /// Returns the next event. After the form has ended, this is always [`FormEvent::End`].
    ///
    /// # Errors
    ///
    /// What is wrong with the form. The reader then repeats the same error.
    pub(crate) fn next(&mut self) -> Result<FormEvent, FormError> {
        let event = self.advance();
        if let Err(error) = event {
            self.state = State::Failed(error);
        }
        // An empty slice would keep the frame's whole buffer alive.
        if matches!(event, Ok(FormEvent::NeedData) | Err(_)) {
            self.frame = Bytes::new();
        }
        event
    }

    /// Whether the closing delimiter was found. If not, a body that ends was truncated.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// How many bytes the reader keeps between two frames.
    #[cfg(any(test, fuzzing))]
    pub(super) fn held(&self) -> usize {
        let part = match &self.state {
            State::Head(head) => head.held(),
            State::Field { name, value, .. } => name.len() + value.capacity(),
            State::Ignored | State::Unnamed | State::File | State::Closed | State::Failed(_) => 0,
        };
        self.frame.len() + self.delimiter.held() + part
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn limits(&self) -> FormLimits {
        self.limits
    }

    #[cfg(test)]
    pub(super) fn examined(&self) -> u64 {
        self.delimiter.examined
    }

    fn advance(&mut self) -> Result<FormEvent, FormError> {
        loop {
            let event = match &mut self.state {
                State::Failed(error) => return Err(*error),
                State::Closed => {
                    self.frame = Bytes::new();
                    return Ok(FormEvent::End);
                }
                State::Head(head) => {
                    if !head.take(&mut self.frame, self.limits.part_header_bytes)? {
                        return Ok(FormEvent::NeedData);
                    }
                    let head = mem::take(head);
                    self.begin_part(head)?
                }
                State::File | State::Field { .. } | State::Ignored | State::Unnamed => {
                    match self.delimiter.next(&mut self.frame)? {
                        Piece::NeedData => return Ok(FormEvent::NeedData),
                        Piece::Content(bytes) if matches!(self.state, State::File) => {
                            return Ok(FormEvent::Data(bytes));
                        }
                        Piece::Content(bytes) => {
                            self.keep_or_drop(&bytes)?;
                            None
                        }
                        Piece::Next if self.parts >= self.limits.parts => {
                            return Err(FormError::TooManyParts);
                        }
                        Piece::Next => {
                            self.parts += 1;
                            self.end_part(State::Head(Head::default()))?
                        }
                        Piece::Close => self.end_part(State::Closed)?,
                    }
                }
            };
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    fn begin_part(&mut self, head: Head) -> Result<Option<FormEvent>, FormError> {
        // The line end of the blank line may start a delimiter.
        self.delimiter.begin_line();
        self.state = State::Ignored;
        let Some(Disposition { name: Some(name), filename }) = head.disposition else {
            return Ok(None);
        };
        let encoding = head.encoding.unwrap_or_default();
        let Some(filename) = filename else {
            count_field_bytes(&mut self.fields_bytes, &self.limits, name.len(), usize::MAX)?;
            let value = Vec::new();
            self.state = State::Field { name, value, encoding };
            return Ok(None);
        };
        if self.file_field.as_deref() != Some(&*name) {
            return Ok(None);
        }
        // Browsers send an empty file input as a file without a name.
        if filename::safe(&filename).is_none() {
            self.state = State::Unnamed;
            return Ok(None);
        }
        if encoding != Encoding::Identity {
            return Err(FormError::Encoding);
        }
        if mem::replace(&mut self.has_file, true) {
            return Err(FormError::TwoFiles);
        }
        self.state = State::File;
        Ok(Some(FormEvent::File { filename, content_type: head.content_type }))
    }

    fn keep_or_drop(&mut self, bytes: &[u8]) -> Result<(), FormError> {
        if let State::Field { name, value, .. } = &mut self.state {
            let left = self.limits.field_bytes - value.len();
            let counted =
                count_field_bytes(&mut self.fields_bytes, &self.limits, bytes.len(), left);
            // A text field of this name that is this long was meant to be the file.
            let is_file = self.file_field.as_deref() == Some(&**name);
            counted.map_err(|error| if is_file { FormError::NoFilename } else { error })?;
            value.extend_from_slice(bytes);
            return Ok(());
        }
        self.ignored_bytes = self.ignored_bytes.saturating_add(bytes.len() as u64);
        if self.ignored_bytes <= self.limits.ignored_bytes {
            return Ok(());
        }
        Err(match self.state {
            State::Unnamed => FormError::Unnamed,
            _ => FormError::TooMuchIgnored,
        })
    }

    fn end_part(&mut self, next: State) -> Result<Option<FormEvent>, FormError> {
        match mem::replace(&mut self.state, next) {
            State::Field { name, value, encoding } => {
                let value = encoding.decode(value).ok_or(FormError::Undecodable)?;
                let value = String::from_utf8_lossy(&value).into_owned();
                Ok(Some(FormEvent::Field { name, value }))
            }
            _ => Ok(None),
        }
    }
}

// The client's data must not appear in a log.
impl fmt::Debug for FormReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FormReader")
            .field("parts", &self.parts)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

// If a frame exceeds both limits, the one that is exceeded first is reported.
fn count_field_bytes(
    total: &mut usize,
    limits: &FormLimits,
    bytes: usize,
    left_of_field: usize,
) -> Result<(), FormError> {
    let left = limits.fields_bytes - *total;
    if bytes > left.min(left_of_field) {
        let is_field = left_of_field <= left;
        return Err(if is_field { FormError::FieldTooLong } else { FormError::FieldsTooLong });
    }
    *total += bytes;
    Ok(())
}

/// Returns the text fields of a complete form, in their order; files are ignored.
///
/// # Errors
///
/// The errors of [`Boundary::from_content_type`] and [`FormReader::next`], and
/// [`FormError::Truncated`].
pub(crate) fn read_all(
    content_type: Option<&[u8]>,
    body: &[u8],
    limits: FormLimits,
) -> Result<Vec<(String, String)>, FormError> {
    let content_type = content_type.ok_or(FormError::NotForm)?;
    let boundary = Boundary::from_content_type(content_type)?;
    let mut reader = FormReader::new(&boundary, None, limits);
    reader.feed(Bytes::copy_from_slice(body));
    let mut fields = Vec::new();
    loop {
        match reader.next()? {
            FormEvent::Field { name, value } => fields.push((name, value)),
            FormEvent::End => return Ok(fields),
            FormEvent::NeedData => return Err(FormError::Truncated),
            FormEvent::File { .. } | FormEvent::Data(_) => {}
        }
    }
}
