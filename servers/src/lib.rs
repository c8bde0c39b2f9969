//! The servers that tests need are the examples of this package, and what starts them its tests.
//!
//! The library is empty. Its documentation tests are the Rust of those pages about the crate whose code needs
//! clients of HTTP and of buckets.

#[cfg(doctest)]
#[path = "../../src/guide/nodes.rs"]
pub mod nodes;
#[cfg(doctest)]
#[path = "../../src/guide/quick_start.rs"]
pub mod quick_start;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
