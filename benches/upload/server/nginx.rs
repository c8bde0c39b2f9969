//! nginx, which stores each body in a file of its own.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::getuid;

/// Becomes nginx, in the foreground, which takes over the socket.
pub(crate) fn serve(listener: &TcpListener, data: &Path) -> io::Result<Infallible> {
    let config = data.join("nginx.conf");
    fs::write(&config, text(listener.local_addr()?))?;
    fcntl_setfd(listener, FdFlags::empty())?;
    // Its workers, which accept from the same socket, would wait in there.
    listener.set_nonblocking(true)?;
    Err(Command::new("nginx")
        .args(["-e", "stderr", "-p"])
        .arg(data)
        .arg("-c")
        .arg(config)
        .env("NGINX", format!("{};", listener.as_raw_fd()))
        .exec())
}

/// Bodies arrive beside the files, so that a rename puts them there. A `POST` is the request that
/// stores nothing.
fn text(addr: SocketAddr) -> String {
    // Its workers would be another user, who may not write here.
    let user = if getuid().is_root() { "user root root;" } else { "" };
    let unused =
        ["proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path unused;"));
    format!(
        "daemon off;
        worker_processes auto;
        pid nginx.pid;
        {user}
        events {{}}
        http {{
            access_log off;
            keepalive_requests 1000000;
            client_max_body_size 0;
            client_body_temp_path bodies;
            {}
            server {{
                listen {addr};
                location / {{
                    if ($request_method = POST) {{ return 204; }}
                    root .;
                    dav_methods PUT;
                }}
            }}
        }}",
        unused.concat()
    )
}
