//! Logging with `tracing`. Without that feature it does nothing, and takes no room.
//!
//! Ids are secrets, so only their fingerprints are logged. Nothing that a client sent is, apart from
//! what the application makes of it: a path to which it persists a file, or an owner's name, and of
//! these no character that ends or turns a line.

#[cfg(not(feature = "tracing"))]
mod off;
#[cfg(feature = "tracing")]
mod on;

#[cfg(not(feature = "tracing"))]
pub(crate) use self::off::{Request, Settings, changed, failed, in_span, not_taken};
#[cfg(feature = "tracing")]
pub(crate) use self::on::{Request, Settings, changed, failed, in_span, not_taken};
