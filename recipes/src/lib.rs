//! The recipes of the guide, with the crates that they need.
//!
//! The library is empty. Its doctests are the code of those chapters, so each recipe is compiled and
//! run.

#[cfg(doctest)]
#[path = "../../src/guide/frameworks.rs"]
pub mod frameworks;
#[cfg(doctest)]
#[path = "../../src/guide/recipes.rs"]
pub mod recipes;
