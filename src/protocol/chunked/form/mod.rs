//! An incremental parser of `multipart/form-data` (RFC 7578) with bounded memory.
//!
//! [`FormReader`] does no I/O: it is given the frames of the body and returns events. The bytes of
//! the file are slices of these frames and text fields are complete strings. Everything that a
//! client can make arbitrarily long is limited by [`FormLimits`] while it is read. How the body is
//! split into frames only affects how the file's bytes are split.
//!
//! Where RFC 2046 leaves a choice, the reader takes the one that loses no byte. Where senders
//! violate the RFCs, it takes what they must have meant:
//!
//! - A line that starts with the boundary and continues with anything but whitespace or `--`
//!   belongs to the content. A sender chooses a boundary that no line of its content starts with,
//!   so this only occurs if the boundary is the beginning of another one.
//! - `--boundary--` ends the form whatever follows, since more may never arrive.
//! - A part may end directly after its headers: the line end of the blank line then starts the
//!   delimiter.
//! - A boundary may consist of any printable characters, up to 201 of them.
//! - The first boundary does not need a CR LF: a line feed, whitespace and a byte-order mark may
//!   precede it, which scripts print without noticing. Every other boundary needs the CR LF, since
//!   what precedes it is content.
//! - A text field in quoted-printable or base64 is decoded. The limits apply to the encoded text,
//!   which is never shorter. A file in either encoding is refused, since the stored bytes would not
//!   be those that were sent.
//! - The type of a part's disposition may be anything, since the names already say everything.
//! - Names that are not UTF-8 are read as Latin-1. `disposition.rs` describes how they may be
//!   quoted.

mod boundary;
mod delimiter;
mod encoding;
mod error;
mod head;
mod limits;
mod reader;
#[cfg(any(test, fuzzing))]
pub(crate) mod trace;

#[cfg(test)]
mod tests;

pub use self::limits::FormLimits;
pub(crate) use self::{
    boundary::Boundary,
    error::FormError,
    head::plain_media_type,
    reader::{FormEvent, FormReader, read_all},
};
