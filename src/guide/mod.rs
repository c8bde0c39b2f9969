//! A guide to the whole crate, one question after the other.
//!
//! The order to read it in is that of [the table](crate#guide) on the first page; each chapter can
//! be read by itself. It is here in the documentation only, and in no program.

pub mod clients;
pub mod django;
pub mod errors;
pub mod expiry;
pub mod files;
pub mod http2;
pub mod layers;
pub mod limits;
// The Rust of these two runs as tests of `servers`, which has the clients of HTTP and of buckets that it needs.
#[cfg(not(doctest))]
pub mod nodes;
pub mod owners;
pub mod protocol;
pub mod proxy;
#[cfg(not(doctest))]
pub mod quick_start;
pub mod testing;
pub mod validation;
