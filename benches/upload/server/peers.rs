//! Other servers that speak tus. They open their own socket, at the address that ours had.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// It keeps a whole body in memory, and refuses more than 256 KiB of one unless it is told to.
/// Neither its log nor its hooks have anything to do; CORS cannot be turned off.
pub(super) fn rustus(listener: TcpListener, data: &Path) -> io::Result<Infallible> {
    let addr = give_up(listener)?;
    let error = Command::new("rustus")
        .args(["--host", &addr.ip().to_string(), "--port", &addr.port().to_string()])
        .args(["--log-level", "OFF", "--hooks", "pre-terminate"])
        .args(["--max-body-size", LARGEST_BODY])
        .arg("--data-dir")
        .arg(data)
        .arg("--info-dir")
        .arg(data)
        // Its greeting.
        .stderr(Stdio::null())
        .exec();
    Err(error)
}

pub(super) fn salvo_tus(listener: TcpListener, data: &Path) -> io::Result<Infallible> {
    let addr = give_up(listener)?;
    Err(Command::new("salvo-tus-peer").arg(addr.to_string()).arg(data).exec())
}

/// Tells the address once nobody answers there, so that whoever does later is the peer.
fn give_up(listener: TcpListener) -> io::Result<SocketAddr> {
    let addr = listener.local_addr()?;
    drop(listener);
    println!("{addr}");
    Ok(addr)
}

const LARGEST_BODY: &str = "1073741824";
