//! Ports for programs that are told where to listen, and that may end and come back.

use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};

/// The first of so many, below those that the system gives out for outgoing connections: one of those
/// may be taken before its program listens again, and a client that knocks too early there may be
/// connected to itself.
pub(crate) fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let next =
            std::process::id() * 97 % 18_000 + NEXT.fetch_add(count.into(), Ordering::Relaxed);
        let first = 12_000 + (next % 18_000) as u16;
        if (first..first + count).all(is_silent) {
            return first;
        }
    }
}

/// Asks and does not listen there to find out: a program that another thread starts at that moment
/// has a copy of the listener until it runs, and is taken for the one that is waited for.
fn is_silent(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_err()
}
