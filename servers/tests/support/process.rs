//! What the kernel tells of a process.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses some of it, and all of it is tests"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::server::Server;

pub(crate) const KIB: u64 = 1024;
pub(crate) const MIB: u64 = 1024 * KIB;

impl Server {
    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid()))
    }

    /// Bytes of memory that it has in use.
    pub(crate) fn resident(&self) -> u64 {
        number(&self.proc("status"), "VmRSS:") * KIB
    }

    /// The most that there were.
    pub(crate) fn peak(&self) -> u64 {
        number(&self.proc("status"), "VmHWM:") * KIB
    }

    /// The most that there were above a resident set: none, where the server has given memory back.
    pub(crate) fn peak_above(&self, resident: u64) -> u64 {
        self.peak().saturating_sub(resident)
    }

    /// From now on the peak is that of what follows; gives the resident set. The kernel takes its peak
    /// from counts that lag by some pages for each processor, so that it can be below what this gives.
    pub(crate) fn forget_peak(&self) -> u64 {
        fs::write(self.proc("clear_refs"), "5").unwrap();
        self.resident()
    }

    /// Bytes read by any file call, those of them that came from the disk, and bytes written.
    pub(crate) fn io(&self) -> [u64; 3] {
        ["rchar:", "read_bytes:", "wchar:"].map(|name| number(&self.proc("io"), name))
    }

    /// The time that its threads have worked, those of the kernel's calls included.
    pub(crate) fn cpu(&self) -> Duration {
        let text = fs::read_to_string(self.proc("stat")).unwrap();
        // The name in front, in brackets, may have blanks.
        let (_, fields) = text.rsplit_once(')').unwrap();
        let ticks = fields.split_whitespace().skip(11).take(2);
        Duration::from_millis(10) * ticks.map(|ticks| ticks.parse::<u32>().unwrap()).sum()
    }

    pub(crate) fn descriptors(&self) -> u64 {
        fs::read_dir(self.proc("fd")).unwrap().count() as u64
    }
}

/// The number after a name in a file of /proc.
pub(crate) fn number(path: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    value.split_whitespace().next().unwrap().parse().unwrap()
}
