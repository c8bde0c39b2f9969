//! A guide to the whole crate, one question after another.
//!
//! [The table](crate#guide) on the first page lists the chapters in reading order; each can be read
//! by itself. The guide is only part of the documentation, and never compiled into a program.

pub mod clients;
pub mod django;
pub mod errors;
pub mod expiry;
pub mod files;
pub mod http2;
pub mod idempotency;
pub mod layers;
pub mod limits;
pub mod long_completions;
// The code of these runs as doctests of `servers`, which has the clients and crates for it.
#[cfg(not(doctest))]
pub mod nodes;
#[cfg(not(doctest))]
pub mod observe;
pub mod owners;
pub mod protocol;
pub mod proxy;
#[cfg(not(doctest))]
pub mod quick_start;
pub mod resumable;
pub mod testing;
pub mod tus;
pub mod uppy;
#[cfg(not(doctest))]
pub mod validation;
