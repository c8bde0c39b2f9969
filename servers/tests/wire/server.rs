//! The server under test, one for each config, which may be killed and started again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::ports::free_ports;

/// Process groups that have to end with this process.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

#[derive(Clone, Copy, Debug)]
enum Signal {
    Term,
    Kill,
}

/// Environment variables that ask a server for a config such as `max_bytes=100+auth`.
fn settings(config: &str) -> Result<BTreeMap<String, String>, String> {
    let mut out = BTreeMap::new();
    for word in config.split('+').filter(|word| *word != "default") {
        let (name, value) = match word.split_once('=') {
            Some((key @ ("max_bytes" | "field"), value)) => (key, value),
            Some(("expiry", "short")) => ("expiry_seconds", "2"),
            Some(("expiry", value)) => ("expiry_seconds", value),
            Some(("idle", value)) => ("idle_seconds", value),
            None if ["auth", "no_md5", "fail_if_no_header", "echo", "sync"].contains(&word) => {
                (word, "1")
            }
            _ => return Err(format!("the case is broken: unknown config {word:?}")),
        };
        if name == "expiry_seconds" {
            // No case is about sweeping, and what was swept is unknown and no longer expired.
            out.insert("WIRE_SWEEP_SECONDS".to_owned(), "3600".to_owned());
        }
        out.insert(format!("WIRE_{}", name.to_uppercase()), value.to_owned());
    }
    Ok(out)
}

#[derive(Debug)]
pub(crate) struct Server {
    command: Vec<String>,
    pub(crate) addr: SocketAddr,
    env: BTreeMap<String, String>,
    folder: TempDir,
    child: Mutex<Option<Child>>,
}

impl Server {
    pub(crate) fn new(command: &[String], config: &str) -> Result<Self, String> {
        let mut env = settings(config)?;
        let make = || -> std::io::Result<TempDir> {
            let folder = tempfile::Builder::new().prefix("wire-").tempdir()?;
            fs::create_dir(folder.path().join("data"))?;
            Ok(folder)
        };
        let folder = make().map_err(|error| format!("no place for a server: {error}"))?;
        let addr = SocketAddr::from(([127, 0, 0, 1], free_ports(1)));
        env.insert("WIRE_ADDR".to_owned(), addr.to_string());
        let data = folder.path().join("data").to_string_lossy().into_owned();
        env.insert("WIRE_DATA".to_owned(), data);
        Ok(Self { command: command.to_vec(), addr, env, folder, child: Mutex::new(None) })
    }

    pub(crate) fn start(&self) -> Result<(), String> {
        if self.alive() {
            return Ok(());
        }
        let child = self.spawn().map_err(|error| format!("{}: {error}", self.command[0]))?;
        *self.child() = Some(child);
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            if !self.alive() {
                return Err(format!("the server ended at once:\n{}", self.tail()));
            }
            if TcpStream::connect_timeout(&self.addr, Duration::from_secs(1)).is_ok() {
                return Ok(());
            }
            sleep(Duration::from_millis(20));
        }
        Err("the server did not listen within 60 s".to_owned())
    }

    pub(crate) fn alive(&self) -> bool {
        let mut child = self.child();
        child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    pub(crate) fn stop(&self) {
        let mut slot = self.child();
        if let Some(child) = slot.as_mut() {
            signal(child, Signal::Term);
            let end = Instant::now() + Duration::from_secs(8);
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
                sleep(Duration::from_millis(5));
            }
        }
        drop(slot);
        self.kill9();
    }

    /// Kills the whole group, and waits until it is gone and the port is free.
    pub(crate) fn kill9(&self) {
        let Some(mut child) = self.child().take() else {
            return;
        };
        signal(&mut child, Signal::Kill);
        let _ = child.wait();
        let end = Instant::now() + Duration::from_secs(10);
        while group_exists(&child) && Instant::now() < end {
            sleep(Duration::from_millis(5));
        }
        lock(&RUNNING).retain(|pid| *pid != child.id());
    }

    /// The end of what the server printed.
    pub(crate) fn tail(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(2000)..]).into_owned()
    }

    /// How many files there are in the data folder, and how many bytes.
    pub(crate) fn disk(&self) -> (i64, i64) {
        let files = files(&self.folder.path().join("data"));
        (files.len() as i64, files.iter().map(|(_, file)| file.len() as i64).sum())
    }

    /// The peak resident set of the group's biggest process, in KiB; None without /proc.
    pub(crate) fn peak(&self) -> Option<u64> {
        let peaks = self.group()?.into_iter().filter_map(|folder| {
            let status = fs::read_to_string(folder.join("status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.split_whitespace().next()?.parse().ok()
        });
        peaks.max()
    }

    pub(crate) fn forget_peak(&self) -> Option<()> {
        for folder in self.group()? {
            fs::write(folder.join("clear_refs"), "5").ok()?;
        }
        Some(())
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"))?;
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WIRE_") {
                command.env_remove(name);
            }
        }
        command.envs(&self.env).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut running = lock(&RUNNING);
        if interrupted() {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let child = command.spawn()?;
        running.push(child.id());
        Ok(child)
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        lock(&self.child)
    }

    /// The folders in /proc of the server's processes.
    fn group(&self) -> Option<Vec<PathBuf>> {
        let id = self.child().as_ref()?.id().to_string();
        let all = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
        let ours = all.filter(|folder| {
            let stat = fs::read_to_string(folder.join("stat")).unwrap_or_default();
            let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
            fields.and_then(|fields| fields.split_whitespace().nth(2)) == Some(&id)
        });
        Some(ours.collect()).filter(|_| Path::new("/proc/self/clear_refs").exists())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// All files below a folder.
pub(crate) fn files(folder: &Path) -> Vec<(PathBuf, fs::Metadata)> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(found) if found.is_dir() => out.append(&mut files(&entry.path())),
            Ok(found) if found.is_file() => out.push((entry.path(), found)),
            _ => {}
        }
    }
    out
}

/// On Ctrl-C, ends the servers, which have process groups of their own; the rest then comes to
/// its end by itself.
pub(crate) fn end_on_interrupt() {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if runtime.and_then(|runtime| runtime.block_on(tokio::signal::ctrl_c())).is_ok() {
            let running = lock(&RUNNING);
            INTERRUPTED.store(true, Ordering::SeqCst);
            running.iter().for_each(|pid| signal_group(*pid, Signal::Kill));
        }
    });
}

pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn signal(child: &mut Child, what: Signal) {
    signal_group(child.id(), what);
    if cfg!(not(unix)) {
        let _ = child.kill();
    }
}

#[cfg(unix)]
fn group_id(pid: u32) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)
}

#[cfg(unix)]
fn signal_group(pid: u32, what: Signal) {
    let what = match what {
        Signal::Term => rustix::process::Signal::TERM,
        Signal::Kill => rustix::process::Signal::KILL,
    };
    let _ = group_id(pid).map(|group| rustix::process::kill_process_group(group, what));
}

#[cfg(not(unix))]
fn signal_group(_pid: u32, _what: Signal) {}

#[cfg(unix)]
fn group_exists(child: &Child) -> bool {
    let group = group_id(child.id());
    group.is_some_and(|group| rustix::process::test_kill_process_group(group).is_ok())
}

#[cfg(not(unix))]
fn group_exists(_child: &Child) -> bool {
    false
}
