//! The server's process, and what the kernel tells of it.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::iter;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::setup::Setup;

/// The first argument of a process that is to be a server.
pub(crate) const SERVE: &str = "--serve";

pub(crate) struct Server {
    child: Child,
    folder: Arc<TempDir>,
    pub(crate) addr: SocketAddr,
}

/// What a server has used since it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) switches: u64,
    /// Those of them that wait for something.
    pub(crate) voluntary: u64,
}

impl Server {
    pub(crate) fn start(setup: &Setup) -> Self {
        Self::launch(Command::new(env::current_exe().unwrap()), setup)
    }

    /// Under strace, whose lines come until the server has ended.
    pub(crate) fn traced(setup: &Setup) -> (Self, ChildStderr) {
        let mut strace = Command::new("strace");
        // The server is the child, and strace the child of nobody.
        strace
            .args(["-D", "-f", "-qq", "-y", "-s", "0", "-e", "trace=%file,%desc,futex"])
            .arg(env::current_exe().unwrap())
            .stderr(Stdio::piped());
        let mut server = Self::launch(strace, setup);
        let lines = server.child.stderr.take().unwrap();
        (server, lines)
    }

    fn launch(mut command: Command, setup: &Setup) -> Self {
        let folder = TempDir::with_prefix_in("upload-", env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut child = command
            .args([SERVE, &serde_json::to_string(setup).unwrap()])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim().parse().unwrap();
        let mut server = Self { child, folder: Arc::new(folder), addr };
        if setup.server.is_tus_peer() {
            server.await_socket();
        }
        server
    }

    /// Waits until a program has opened its own socket.
    fn await_socket(&mut self) {
        while TcpStream::connect(self.addr).is_err() {
            assert!(self.child.try_wait().unwrap().is_none(), "the server has ended");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Where it stores.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// As long as it lives, what was stored stays.
    pub(crate) fn keep(&self) -> Arc<TempDir> {
        Arc::clone(&self.folder)
    }

    pub(crate) fn usage(&self) -> Usage {
        let ticks = self.sum(ticks) as f64;
        let a_second = rustix::param::clock_ticks_per_second() as f64;
        let cpu = Duration::from_secs_f64(ticks / a_second);
        let voluntary = self.sum(|process| switches(process, "voluntary_ctxt_switches:"));
        let involuntary = self.sum(|process| switches(process, "nonvoluntary_ctxt_switches:"));
        Usage { cpu, switches: voluntary + involuntary, voluntary }
    }

    /// Bytes of memory in use.
    pub(crate) fn resident(&self) -> u64 {
        self.sum(|process| number(&read(process, "status"), "VmRSS:") * 1024)
    }

    /// The most that there were.
    pub(crate) fn peak(&self) -> u64 {
        self.sum(|process| number(&read(process, "status"), "VmHWM:") * 1024)
    }

    /// From now on the peak is that of what follows.
    pub(crate) fn forget_peak(&self) {
        self.processes().for_each(|process| fs::write(process.join("clear_refs"), "5").unwrap());
    }

    fn sum(&self, of: impl Fn(&Path) -> u64) -> u64 {
        self.processes().map(|process| of(&process)).sum()
    }

    /// Where the kernel tells of the server's process and of its workers, if it has any.
    fn processes(&self) -> impl Iterator<Item = PathBuf> {
        let id = self.child.id();
        let workers = read(Path::new("/proc"), &format!("{id}/task/{id}/children"));
        let workers: Vec<_> = workers.split_whitespace().map(str::to_owned).collect();
        iter::once(id.to_string()).chain(workers).map(|id| Path::new("/proc").join(id))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }
}

/// Ticks of the CPU, of the user and of the system.
fn ticks(process: &Path) -> u64 {
    let stat = read(process, "stat");
    // The name, in parentheses, may hold spaces.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// Context switches of the threads that there are, of one kind.
fn switches(process: &Path, kind: &str) -> u64 {
    let threads = fs::read_dir(process.join("task")).unwrap();
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("status")).ok())
        .map(|status| number(&status, kind))
        .sum()
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

/// The number after a name at the start of a line.
fn number(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    value.split_whitespace().next().unwrap().parse().unwrap()
}
