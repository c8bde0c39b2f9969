//! Uploads files over some connections at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Answer, Client, Request};
use crate::content::Content;
use crate::dialect::{self, Shape};

/// What is uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) files: u64,
    pub(crate) size: u64,
    pub(crate) chunk: u64,
    pub(crate) connections: usize,
}

/// What follows the chunks of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    Completion,
    Nothing,
    /// What a completion costs where there is nothing to complete.
    Empty,
}

pub(crate) struct Plan<'a> {
    /// Keeps the files of one plan apart from those of another.
    pub(crate) prefix: &'static str,
    pub(crate) work: Work,
    pub(crate) shape: Shape,
    pub(crate) finish: Finish,
    pub(crate) content: &'a Content,
    pub(crate) md5: Option<String>,
    /// Where the server stores, if it is to be looked at whether it did.
    pub(crate) check: Option<&'a Path>,
}

#[derive(Default)]
pub(crate) struct Latencies {
    pub(crate) chunks: Vec<Duration>,
    pub(crate) completions: Vec<Duration>,
}

impl Plan<'_> {
    pub(crate) fn drive(&self, clients: &mut [Client]) -> Latencies {
        let next = AtomicU64::new(0);
        let mut all = Latencies::default();
        thread::scope(|scope| {
            let threads: Vec<_> = clients
                .iter_mut()
                .map(|client| scope.spawn(|| self.upload_some(client, &next)))
                .collect();
            for thread in threads {
                let latencies = thread.join().unwrap();
                all.chunks.extend(latencies.chunks);
                all.completions.extend(latencies.completions);
            }
        });
        all
    }

    fn upload_some(&self, client: &mut Client, next: &AtomicU64) -> Latencies {
        let mut latencies = Latencies::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.work.files {
                return latencies;
            }
            self.upload(client, &format!("{}{number}", self.prefix), &mut latencies);
        }
    }

    fn upload(&self, client: &mut Client, name: &str, latencies: &mut Latencies) {
        let mut id = None;
        let mut start = 0;
        while start < self.work.size {
            let end = self.work.size.min(start + self.work.chunk);
            let request = self.chunk(name, id.as_deref(), start, end);
            let answer = timed(client, &request, &mut latencies.chunks);
            if id.is_none() && self.finish == Finish::Completion {
                id = Some(dialect::upload_id(&answer));
            }
            start = end;
        }
        if let Some(folder) = self.check {
            self.check(folder, id.as_deref().unwrap_or(name));
        }
        let request = match (self.finish, id) {
            (Finish::Completion, Some(id)) => dialect::completion(&id, self.md5.as_deref()),
            (Finish::Empty, _) => dialect::empty(name),
            _ => return,
        };
        timed(client, &request, &mut latencies.completions);
    }

    fn chunk(&self, name: &str, id: Option<&str>, start: u64, end: u64) -> Request {
        let (place, total) = (start..end, self.work.size);
        let content = self.content.slice(start..end);
        match self.finish {
            Finish::Completion => dialect::chunk(self.shape, id, &place, total, content),
            Finish::Nothing | Finish::Empty => dialect::named_chunk(name, &place, total, content),
        }
    }

    /// Compares what is stored with what was sent.
    fn check(&self, folder: &Path, name: &str) {
        let path = find(folder, name).unwrap_or_else(|| panic!("{name} is not stored"));
        let stored = fs::read(path).unwrap();
        assert_eq!(stored.len() as u64, self.work.size, "{name}");
        let mut place = 0;
        for block in stored.chunks(self.work.chunk.try_into().unwrap()) {
            let end = place + block.len() as u64;
            assert!(self.content.slice(place..end) == block, "{name} differs from {place} on");
            place = end;
        }
    }
}

fn timed(client: &mut Client, request: &Request, latencies: &mut Vec<Duration>) -> Answer {
    let start = Instant::now();
    let answer = client.ask(request);
    latencies.push(start.elapsed());
    answer
}

/// The file of that name, with or without an extension, but not the record beside it.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).find_map(|path| {
        if path.is_dir() {
            return find(&path, name);
        }
        let is_it = path.file_stem()? == name && path.extension().is_none_or(|end| end == "part");
        is_it.then_some(path)
    })
}
