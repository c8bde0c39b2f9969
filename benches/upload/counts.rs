//! What a chunk and a small file cost in calls of the kernel, which are the same on each machine.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::thread;

use crate::client::Client;
use crate::content::Content;
use crate::drive::Plan;
use crate::process::Server;
use crate::report;
use crate::row::{Row, Work};
use crate::setup::{Kind, is_installed};

/// Prints the counts of both ways to write, or only looks whether they are within their bounds.
pub(crate) fn all(smoke: bool) -> Result<(), String> {
    if !is_installed("strace") {
        let missing = "strace is not on the PATH (Debian: strace)";
        println!("counts: {missing}");
        return if smoke { Ok(()) } else { Err(missing.to_owned()) };
    }
    let content = Content::new();
    let mut lines = vec![HEAD.map(str::to_owned).to_vec()];
    let mut exceeded = Vec::new();
    for case in &CASES {
        let mut counts = case.measure(&content, smoke);
        // What else the machine does adds to them, and it may do less the next time.
        for _ in 0..2 {
            if smoke && !case.exceeded(&counts).is_empty() {
                counts = case.measure(&content, smoke);
            }
        }
        lines.push(case.cells(&counts));
        exceeded.extend(case.exceeded(&counts));
    }
    if !smoke {
        report::table(&lines);
    }
    match &exceeded[..] {
        [] => println!("counts: ok"),
        _ if smoke => return Err(exceeded.join("; ")),
        _ => println!("counts: {}", exceeded.join("; ")),
    }
    Ok(())
}

/// What is counted, and the most that it may be.
struct Case {
    name: &'static str,
    server: Kind,
    /// So many of them.
    work: fn(u64) -> Work,
    files: f64,
    hops: Option<f64>,
    switches: f64,
}

impl Case {
    /// Of each: what many cost more than few, so that beginning and end do not count.
    fn measure(&self, content: &Content, smoke: bool) -> Counts {
        let (few, many) = if smoke { (300, 500) } else { (100, 1_100) };
        let run = |count| {
            let row = Row::new(self.server, (self.work)(count));
            let switches = if smoke { 0.0 } else { switches(row, content) };
            Counts { switches, ..traced(row, content) }
        };
        let (less, more) = (run(few), run(many));
        more.less(&less, (many - few) as f64)
    }

    fn cells(&self, counts: &Counts) -> Vec<String> {
        let each = |count: f64| format!("{count:.1}");
        let held = |count: f64, most: f64| format!("{count:.1} (≤ {most})");
        vec![
            format!("{}, {}", self.name, self.server.name()),
            held(counts.files, self.files),
            self.hops.map_or_else(|| each(counts.hops), |most| held(counts.hops, most)),
            held(counts.switches, self.switches),
            each(counts.futex),
            each(counts.epoll),
            each(counts.eventfd),
        ]
    }

    /// Context switches are not held, because they depend on what else the machine does. Neither are
    /// the hops of the server that hops only if a call takes long.
    fn exceeded(&self, counts: &Counts) -> Vec<String> {
        let name = format!("{}, {}", self.name, self.server.name());
        let mut exceeded = Vec::new();
        if counts.files > self.files + ROUNDING {
            exceeded.push(format!("{name}: {:.1} calls on files", counts.files));
        }
        let hops = self.hops.filter(|_| self.server == Kind::Crate);
        if hops.is_some_and(|most| counts.hops > most + ROUNDING) {
            exceeded.push(format!("{name}: {:.1} hops", counts.hops));
        }
        exceeded
    }
}

/// What a server did from its start to its end.
#[derive(Default)]
struct Counts {
    /// Calls with a file or folder below the one where it stores.
    files: f64,
    /// How often a thread for work that blocks has waited for some.
    hops: f64,
    /// Voluntary context switches.
    switches: f64,
    futex: f64,
    epoll: f64,
    /// Writes that wake a thread of the runtime.
    eventfd: f64,
}

impl Counts {
    /// Of the lines of strace.
    fn read(lines: impl Read, folder: &Path) -> Self {
        let folder = folder.to_str().unwrap();
        let mut counts = Self::default();
        for line in BufReader::new(lines).lines() {
            counts.add(&line.unwrap(), folder);
        }
        counts
    }

    fn add(&mut self, line: &str, folder: &str) {
        let call = line.strip_prefix("[pid ").and_then(|line| line.split_once("] "));
        let call = call.map_or(line, |(_, call)| call);
        // The end of a call whose begin has a line of its own.
        if call.starts_with("<... ") {
            return;
        }
        let is = |name| call.starts_with(name);
        let one = |counts: bool| f64::from(u8::from(counts));
        // Without optimization, the standard library looks at each descriptor before it closes it.
        self.files += one(call.contains(folder) && !call.contains("F_GETFD"));
        self.epoll += one(is("epoll_"));
        self.eventfd += one(is("write(") && call.contains("[eventfd]"));
        self.futex += one(is("futex("));
        // A thread for work that blocks waits for a while and then ends. No other has a timeout.
        self.hops += one(is("futex(") && call.contains("tv_sec="));
    }

    fn less(&self, less: &Self, count: f64) -> Self {
        let each = |of: fn(&Self) -> f64| (of(self) - of(less)) / count;
        Self {
            files: each(|counts| counts.files),
            hops: each(|counts| counts.hops),
            switches: each(|counts| counts.switches),
            futex: each(|counts| counts.futex),
            epoll: each(|counts| counts.epoll),
            eventfd: each(|counts| counts.eventfd),
        }
    }
}

fn traced(row: Row, content: &Content) -> Counts {
    let (server, lines) = Server::traced(&row.setup);
    let folder = server.folder().to_owned();
    let counts = thread::spawn(move || Counts::read(lines, &folder));
    drive(row, content, &server);
    drop(server);
    counts.join().unwrap()
}

/// Those of a server that is left alone.
fn switches(row: Row, content: &Content) -> f64 {
    let server = Server::start(&row.setup);
    drive(row, content, &server);
    server.usage().voluntary as f64
}

fn drive(row: Row, content: &Content, server: &Server) {
    let mut client = [Client::connect(server.addr, row.setup.http)];
    Plan { prefix: "f", row, content, md5: None, check: None }.drive(&mut client);
}

/// One file in so many chunks.
fn chunks(count: u64) -> Work {
    Work { files: 1, size: count * CHUNK, chunk: CHUNK, connections: 1 }
}

/// So many files, each created and completed.
fn files(count: u64) -> Work {
    Work { files: count, size: SMALL, chunk: SMALL, connections: 1 }
}

const HEAD: [&str; 7] =
    ["", "calls on files", "hops", "voluntary switches", "futex", "epoll_wait", "eventfd"];

const A_CHUNK: &str = "a chunk of 64 KiB";
const A_FILE: &str = "a file of 16 KiB";
const CASES: [Case; 4] = [
    Case {
        name: A_CHUNK,
        server: Kind::Crate,
        work: chunks,
        files: 8.0,
        hops: Some(1.0),
        switches: 3.0,
    },
    Case {
        name: A_CHUNK,
        server: Kind::CrateInPlace,
        work: chunks,
        files: 6.0,
        hops: Some(0.0),
        switches: 1.2,
    },
    Case { name: A_FILE, server: Kind::Crate, work: files, files: 24.0, hops: None, switches: 7.0 },
    Case {
        name: A_FILE,
        server: Kind::CrateInPlace,
        work: files,
        files: 22.0,
        hops: None,
        switches: 2.5,
    },
];

/// Some of the record is written again now and then, and some files are in a folder of their own.
const ROUNDING: f64 = 0.1;
const CHUNK: u64 = 64 << 10;
const SMALL: u64 = 16 << 10;
