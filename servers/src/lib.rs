//! The examples of this package are the servers that tests need, and its tests start them.
//!
//! The library is empty. Its doctests are the code of the pages of documentation that need HTTP or
//! bucket clients, or a subscriber of `tracing`.

#[cfg(doctest)]
#[path = "../../src/guide/nodes.rs"]
pub mod nodes;
#[cfg(doctest)]
#[path = "../../src/guide/observe.rs"]
pub mod observe;
#[cfg(doctest)]
#[path = "../../src/guide/quick_start.rs"]
pub mod quick_start;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
