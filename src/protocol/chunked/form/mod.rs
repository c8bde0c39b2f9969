//! A reader of `multipart/form-data` (RFC 7578) that never holds more than it must.
//!
//! [`FormReader`] does no I/O: it is fed the body's frames and gives events. The bytes of the file
//! come out as slices of these frames, text fields as whole strings, and everything that a client
//! can make long is bounded by [`FormLimits`] while it streams. How the body is cut into frames
//! changes nothing but where the file's bytes are cut.
//!
//! Where RFC 2046 leaves a choice, the reader takes the one that loses no byte, and where senders keep
//! to no RFC, what they must have meant:
//!
//! - A line that begins with the boundary and goes on with anything but blanks or `--` belongs to
//!   the content. A sender chooses a boundary that no line of its content begins with, so only a
//!   boundary that is the beginning of another one meets this.
//! - `--boundary--` ends the form whatever follows, since more may never come.
//! - A part may end where its headers do: the blank line's end then begins the delimiter.
//! - A boundary may have any printable sign, and up to 201 of them.
//! - The first boundary needs no CR LF: before it may be a line feed, blanks, and a byte-order mark,
//!   which scripts print in front of a form without knowing. Every other boundary needs it, since
//!   what is before it is somebody's content.
//! - A text field in quoted-printable or base64 is decoded, and the limits are for what is sent, which
//!   is never shorter. A file is refused in either: what is sent would not be what is stored.
//! - The type in a part's disposition may be any, for it says nothing that the names do not.
//! - Names that are no UTF-8 are Latin-1; how they may be quoted is said in `disposition.rs`.

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
