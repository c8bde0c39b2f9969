//! What the parts cost by themselves: `benches/run parts`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

#[cfg(bench)]
mod checksum;
#[cfg(bench)]
mod form;
#[cfg(bench)]
mod headers;
mod record;
#[path = "../../tests/support/mod.rs"]
mod support;

use criterion::criterion_main;

criterion_main!(record::benches, private);

/// Parts that no user can name.
#[cfg(bench)]
fn private() {
    checksum::benches();
    form::benches();
    headers::benches();
}

#[cfg(not(bench))]
fn private() {
    eprintln!("checksum, form and headers are private: benches/run parts");
}
