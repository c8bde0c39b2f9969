//! Uploads files over some connections at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::client::{Answer, Client, Request};
use crate::content::Content;
use crate::dialect;
use crate::row::{Row, Shape};

pub(crate) struct Plan<'a> {
    /// Keeps the files of one plan apart from those of another.
    pub(crate) prefix: &'static str,
    pub(crate) row: Row,
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
        // Each client begins with a file of its own, so that none is left out of the warm-up.
        let next = &AtomicU64::new(clients.len() as u64);
        let mut all = Latencies::default();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..)
                .zip(clients)
                .map(|(first, client)| scope.spawn(move || self.upload_some(client, first, next)))
                .collect();
            for thread in threads {
                let latencies = thread.join().unwrap();
                all.chunks.extend(latencies.chunks);
                all.completions.extend(latencies.completions);
            }
        });
        all
    }

    fn upload_some(&self, client: &mut Client, first: u64, next: &AtomicU64) -> Latencies {
        let mut latencies = Latencies::default();
        let mut number = first;
        while number < self.row.work.files {
            self.upload(client, &format!("{}{number}", self.prefix), &mut latencies);
            number = next.fetch_add(1, Ordering::Relaxed);
        }
        latencies
    }

    fn upload(&self, client: &mut Client, name: &str, latencies: &mut Latencies) {
        let Row { setup, shape, work, two_requests, .. } = &self.row;
        let mut id = None;
        if *shape == Shape::Tus {
            let created = client.ask(&dialect::creation(&self.row, Bytes::new()));
            id = Some(dialect::upload_id(&created));
        }
        let mut start = 0;
        while start < work.size {
            let place = start..work.size.min(start + work.chunk);
            let content = self.content.slice(place.clone());
            let request = dialect::chunk(&self.row, name, id.as_deref(), &place, content);
            let answer = timed(client, &request, &mut latencies.chunks);
            if id.is_none() && setup.server.has_uploads() {
                id = Some(dialect::upload_id(&answer));
            }
            start = place.end;
        }
        if let Some(folder) = self.check {
            self.check(folder, id.as_deref().unwrap_or(name));
        }
        let request = match id {
            Some(_) if shape.is_tus() => return,
            Some(id) => dialect::completion(&id, self.md5.as_deref()),
            None if *two_requests => dialect::empty(name),
            None => return,
        };
        timed(client, &request, &mut latencies.completions);
    }

    /// Compares what is stored with what was sent.
    fn check(&self, folder: &Path, name: &str) {
        let path = find(folder, name).unwrap_or_else(|| panic!("{name} is not stored"));
        let stored = fs::read(path).unwrap();
        assert_eq!(stored.len() as u64, self.row.work.size, "{name}");
        let mut place = 0;
        for block in stored.chunks(self.row.work.chunk.try_into().unwrap()) {
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
