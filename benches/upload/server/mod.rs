//! The servers; each is a process of its own.

mod frames;
mod layer;
mod listen;
mod nginx;
mod peers;
mod pool;
mod sink;
mod threads;

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::path::Path;

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::setup::{Kind, Setup};

/// Tells its address and serves until it is terminated, which it is with the benchmark at the latest.
pub(crate) fn serve(setup: &Setup, data: &Path) -> io::Result<Infallible> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    if !setup.server.is_tus_peer() {
        println!("{}", listener.local_addr()?);
    }
    match setup.server {
        Kind::Std => threads::serve(&listener, *setup, data),
        Kind::Hyper | Kind::HyperPool => frames::serve(listener, *setup, data),
        Kind::Nginx => nginx::serve(&listener, data),
        Kind::Rustus => peers::rustus(listener, data),
        Kind::SalvoTus => peers::salvo_tus(listener, data),
        Kind::Crate | Kind::CrateInPlace => layer::serve(listener, *setup, data),
    }
}
