//! A guide to the whole crate, one question after another.
//!
//! [The table](crate#guide) on the first page lists the chapters in reading order; each can be read
//! by itself. The guide is only part of the documentation, and never compiled into a program. Paths
//! such as `examples/clients` are in the repository of the crate.
//!
//! The examples send requests with a few helpers that they do not show: `chunk(path, name, range,
//! bytes)` and `completion(id, file)` build requests, `send(&app, request)` returns the status and
//! the JSON, and `by(user, request)` adds a header that names the user. They are in
//! `src/guide/client.rs`.
//!
//! Where a name in the API contains `answer`, such as `keep_answers` or
//! [`KeptAnswer`](crate::KeptAnswer), it means the response of your handler.

pub mod clients;
pub mod deploy;
pub mod django;
pub mod error_handling;
pub mod error_messages;
pub mod errors;
pub mod expiry;
pub mod files;
#[cfg(not(doctest))]
pub mod frameworks;
pub mod http2;
pub mod idempotency;
pub mod layer_order;
pub mod layers;
pub mod limits;
pub mod long_completions;
// The code of these runs as doctests of `servers` and `recipes`, which have the crates for it.
#[cfg(not(doctest))]
pub mod nodes;
pub mod nodes_costs;
pub mod nodes_differences;
#[cfg(not(doctest))]
pub mod nodes_stores;
#[cfg(not(doctest))]
pub mod observe;
pub mod owners;
pub mod protocol;
pub mod proxy;
#[cfg(not(doctest))]
pub mod quick_start;
#[cfg(not(doctest))]
pub mod recipes;
pub mod resumable;
pub mod resumable_wire;
pub mod server;
pub mod settings;
pub mod testing;
pub mod tokens;
pub mod tus;
pub mod tus_parts;
pub mod tus_wire;
pub mod uppy;
#[cfg(not(doctest))]
pub mod validation;
