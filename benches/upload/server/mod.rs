//! The servers; each is a process of its own.

mod frames;
mod layer;
mod listen;
mod sink;
mod threads;

use std::io;
use std::net::TcpListener;
use std::path::Path;

use crate::setup::{Kind, Setup};

/// Tells its address and serves until standard input ends.
pub(crate) fn serve(setup: &Setup, data: &Path) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    let _runtime = match setup.server {
        Kind::Std => {
            threads::start(listener, *setup, data);
            None
        }
        Kind::Hyper => Some(frames::start(listener, *setup, data)?),
        Kind::Crate => Some(layer::start(listener, *setup, data)?),
    };
    println!("{addr}");
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
