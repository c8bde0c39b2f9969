//! What hostile clients send.
//!
//! The default run is short; `LONG=1` takes full sizes. `HOSTILE_SEED` repeats the mutations of a run
//! that printed it.

// What happens to the files beside a store is seen by their rights and times.
#![cfg(unix)]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod desync;
mod dice;
mod http2;
mod mutated;
mod names;
mod numbers;
mod owner;
mod request;
mod server;
mod snapshot;
mod work;

fn is_long() -> bool {
    std::env::var_os("LONG").is_some_and(|value| !value.is_empty())
}
