//! The examples of this package are the servers that tests need, and its tests start them.
//!
//! The library is empty. Its doctests are the code of the pages of documentation that need HTTP or
//! bucket clients, a subscriber of `tracing`, or other crates.

#[cfg(doctest)]
#[path = "../../src/guide/nodes.rs"]
pub mod nodes;
#[cfg(doctest)]
#[path = "../../src/guide/nodes_stores.rs"]
pub mod nodes_stores;
#[cfg(doctest)]
#[path = "../../src/guide/observe.rs"]
pub mod observe;
#[cfg(doctest)]
#[path = "../../src/guide/quick_start.rs"]
pub mod quick_start;

#[cfg(doctest)]
#[path = "../../src/guide/validation.rs"]
pub mod validation;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
