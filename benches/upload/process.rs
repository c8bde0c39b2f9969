//! The server's process, and what the kernel tells of it.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::setup::Setup;

/// The first argument of a process that is to be a server.
pub(crate) const SERVE: &str = "--serve";

pub(crate) struct Server {
    child: Child,
    folder: TempDir,
    pub(crate) addr: SocketAddr,
}

/// What a process has used since it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) switches: u64,
}

impl Server {
    pub(crate) fn start(setup: &Setup) -> Self {
        let folder = TempDir::with_prefix_in("upload-", env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut child = Command::new(env::current_exe().unwrap())
            .args([SERVE, &serde_json::to_string(setup).unwrap()])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim().parse().unwrap();
        Self { child, folder, addr }
    }

    /// Where it stores.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn usage(&self) -> Usage {
        let stat = fs::read_to_string(self.proc("stat")).unwrap();
        // The name, in parentheses, may hold spaces.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let [user, system] = [11, 12].map(|at| fields.split(' ').nth(at).unwrap());
        let ticks = user.parse::<u64>().unwrap() + system.parse::<u64>().unwrap();
        let a_second = rustix::param::clock_ticks_per_second() as f64;
        Usage { cpu: Duration::from_secs_f64(ticks as f64 / a_second), switches: self.switches() }
    }

    /// Context switches of the threads that there are.
    fn switches(&self) -> u64 {
        let threads = fs::read_dir(self.proc("task")).unwrap();
        threads
            .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("status")).ok())
            .map(|status| {
                number(&status, "voluntary_ctxt_switches:")
                    + number(&status, "nonvoluntary_ctxt_switches:")
            })
            .sum()
    }

    /// Bytes of memory in use.
    pub(crate) fn resident(&self) -> u64 {
        number(&fs::read_to_string(self.proc("status")).unwrap(), "VmRSS:") * 1024
    }

    /// The most that there were.
    pub(crate) fn peak(&self) -> u64 {
        number(&fs::read_to_string(self.proc("status")).unwrap(), "VmHWM:") * 1024
    }

    /// From now on the peak is that of what follows.
    pub(crate) fn forget_peak(&self) {
        fs::write(self.proc("clear_refs"), "5").unwrap();
    }

    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.child.id()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends with its standard input.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// The number after a name at the start of a line.
fn number(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    value.split_whitespace().next().unwrap().parse().unwrap()
}
