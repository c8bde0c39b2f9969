//! What is spoken on the wire, one folder a dialect.
//!
//! A dialect knows HTTP and calls the engine; it never opens a file.

pub(crate) mod chunked;
