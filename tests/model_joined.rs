//! Random programs of what can happen to parts and to the uploads that are joined from them,
//! compared with a small model after each step.
//!
//! `PROPTEST_CASES` says how many programs each test runs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(clippy::future_not_send, reason = "each program runs on one thread")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::runtime::Builder;
use tower_chunked_upload::store::{FileCalls, FsStore, MemoryStore, Store};
use tower_chunked_upload::{
    AppendMode, Completion, ErrorKind, Expiry, NewUpload, OwnerUploads, Status, UploadId, Uploads,
};

use support::files_below;

const LIFE: u64 = 1000;

#[derive(Clone, Debug)]
enum Op {
    /// Creates a part of so many bytes and sends some of them.
    Part {
        bytes: Vec<u8>,
        sent: usize,
    },
    /// Sends more bytes of a part, or its last one again.
    Send {
        part: usize,
        count: usize,
        then: Then,
    },
    Join {
        parts: Vec<usize>,
        then: Then,
    },
    CancelPart(usize),
    CancelJoined(usize),
    Pass(u64),
    Sweep,
    Restart,
}

/// What the application does with a file that it is given.
#[derive(Clone, Copy, Debug)]
enum Then {
    Take,
    Persist,
    Refuse,
    Forget,
}

fn op() -> impl Strategy<Value = Op> {
    let then = prop_oneof![
        3 => Just(Then::Take),
        2 => Just(Then::Persist),
        2 => Just(Then::Refuse),
        1 => Just(Then::Forget),
    ];
    let bytes = prop::collection::vec(any::<u8>(), 0..12);
    let which = 0..6_usize;
    prop_oneof![
        4 => (bytes, 0..16_usize).prop_map(|(bytes, sent)| {
            let sent = sent.min(bytes.len());
            Op::Part { bytes, sent }
        }),
        6 => (which.clone(), 0..12_usize, then.clone())
            .prop_map(|(part, count, then)| Op::Send { part, count, then }),
        5 => (prop::collection::vec(which.clone(), 1..4), then)
            .prop_map(|(parts, then)| Op::Join { parts, then }),
        1 => which.clone().prop_map(Op::CancelPart),
        1 => which.prop_map(Op::CancelJoined),
        2 => (1..LIFE / 2).prop_map(Op::Pass),
        2 => Just(Op::Sweep),
        1 => Just(Op::Restart),
    ]
}

struct Part {
    id: UploadId,
    bytes: Vec<u8>,
    sent: usize,
    expires: u64,
    /// Whether a client cancelled it.
    cancelled: bool,
    /// The joined upload that waits for it.
    awaited_by: Option<usize>,
}

struct Joined {
    id: UploadId,
    parts: Vec<usize>,
    expires: u64,
    exists: bool,
    taken: bool,
    persisted: Option<PathBuf>,
}

struct World<S, F> {
    open: F,
    uploads: Uploads,
    now: Arc<AtomicU64>,
    home: TempDir,
    parts: Vec<Part>,
    joined: Vec<Joined>,
    _store: std::marker::PhantomData<S>,
}

impl<S: Store, F: Fn() -> S> World<S, F> {
    fn new(open: F, home: TempDir) -> Self {
        let now = Arc::new(AtomicU64::new(1));
        let uploads = build(open(), &now);
        let (parts, joined, _store) = (Vec::new(), Vec::new(), std::marker::PhantomData);
        Self { open, uploads, now, home, parts, joined, _store }
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }

    fn owner(&self) -> OwnerUploads {
        self.uploads.for_owner(None)
    }

    fn part_is_there(&self, part: usize) -> bool {
        let part = &self.parts[part];
        !part.cancelled && part.expires > self.now()
    }

    /// Whether the joined upload is in the store and can be used.
    fn is_usable(&self, joined: usize) -> bool {
        self.joined[joined].exists && self.joined[joined].expires > self.now()
    }

    fn has_all(&self, joined: usize) -> bool {
        let parts = &self.joined[joined].parts;
        parts.iter().all(|part| self.parts[*part].sent == self.parts[*part].bytes.len())
    }

    async fn step(&mut self, op: &Op) {
        match op {
            Op::Part { bytes, sent } => self.create(bytes, *sent).await,
            Op::Send { part, count, then } => {
                if let Some(part) = index(*part, self.parts.len()) {
                    self.send(part, *count, *then).await;
                }
            }
            Op::Join { parts, then } => {
                let parts: Vec<_> =
                    parts.iter().filter_map(|part| index(*part, self.parts.len())).collect();
                if !parts.is_empty() {
                    self.join(parts, *then).await;
                }
            }
            Op::CancelPart(part) => {
                if let Some(part) = index(*part, self.parts.len()) {
                    let removed = self.owner().remove(&self.parts[part].id).await;
                    assert_eq!(removed.is_ok(), self.part_is_there(part), "{removed:?}");
                    self.parts[part].cancelled |= removed.is_ok();
                }
            }
            Op::CancelJoined(joined) => {
                if let Some(joined) = index(*joined, self.joined.len()) {
                    let removed = self.owner().remove(&self.joined[joined].id).await;
                    assert_eq!(removed.is_ok(), self.is_usable(joined), "{removed:?}");
                    self.joined[joined].exists &= removed.is_err();
                }
            }
            Op::Pass(millis) => {
                self.now.fetch_add(*millis, Ordering::SeqCst);
            }
            Op::Sweep => self.sweep().await,
            Op::Restart => self.uploads = build((self.open)(), &self.now),
        }
    }

    async fn create(&mut self, bytes: &[u8], sent: usize) {
        let new = NewUpload::new().part().total(bytes.len() as u64);
        let mut append = self.owner().create(new).await.unwrap();
        append.write(&bytes[..sent]).await.unwrap();
        let id = append.commit().await.unwrap().id;
        let (bytes, expires) = (bytes.to_vec(), self.now() + LIFE);
        self.parts.push(Part { id, bytes, sent, expires, cancelled: false, awaited_by: None });
    }

    async fn send(&mut self, part: usize, count: usize, then: Then) {
        let Part { id, ref bytes, sent, .. } = self.parts[part];
        let end = bytes.len().min(sent + count);
        let lease = match self.owner().acquire(&id).await {
            Ok(lease) => lease,
            Err(error) if *error.kind() == ErrorKind::AlreadyComplete => {
                let taken = self.joined.iter().any(|it| it.taken && it.parts.contains(&part));
                assert!(taken, "nothing with part {part} was taken");
                return;
            }
            Err(error) => {
                assert!(!self.part_is_there(part), "{error}");
                return;
            }
        };
        assert!(self.part_is_there(part));
        let mut append = lease.append(AppendMode::KeepWhatCame);
        append.write(&bytes[sent..end]).await.unwrap();
        let lease = append.commit_and_keep().await.unwrap();
        self.parts[part].sent = end;
        if end < self.parts[part].bytes.len() {
            return;
        }
        let waits = self.parts[part].awaited_by.filter(|it| self.is_usable(*it));
        let waits = waits.filter(|it| self.has_all(*it) && !self.joined[*it].taken);
        match (lease.end_part().await.unwrap(), waits) {
            (None, None) => {
                self.parts[part].awaited_by = None;
                let upload = self.owner().status(&id).await.unwrap();
                assert_eq!(upload.progress.ties().awaited_by, None);
            }
            (Some(lease), Some(joined)) => {
                assert_eq!(lease.upload().id, self.joined[joined].id);
                let completion = lease.complete(None).await.unwrap();
                self.hand_over(joined, completion, then).await;
            }
            (found, wanted) => panic!("{found:?} and not {wanted:?}"),
        }
    }

    async fn join(&mut self, parts: Vec<usize>, then: Then) {
        let ids: Vec<_> = parts.iter().map(|part| self.parts[*part].id).collect();
        // A list that was joined before gives the same upload.
        let before = (0..self.joined.len())
            .find(|it| self.is_usable(*it) && self.joined[*it].parts == parts);
        let lease = match self.owner().join(NewUpload::new(), &ids).await {
            Ok(lease) => lease,
            Err(error) => {
                let gone = parts.iter().any(|part| !self.part_is_there(*part));
                let busy = self.is_awaited_by_another(&parts) || self.is_needed_by_many(&parts);
                match error.kind() {
                    ErrorKind::NotFound | ErrorKind::Expired => assert!(gone, "{error}"),
                    ErrorKind::Busy => assert!(busy, "{error}"),
                    _ => panic!("{error}"),
                }
                return;
            }
        };
        let joined = before.unwrap_or(self.joined.len());
        if before.is_none() {
            assert!(parts.iter().all(|part| self.part_is_there(*part)));
            let (id, expires) = (lease.upload().id, self.now() + LIFE);
            let (exists, taken, persisted) = (true, false, None);
            self.joined.push(Joined {
                id,
                parts: parts.clone(),
                expires,
                exists,
                taken,
                persisted,
            });
        }
        assert_eq!(lease.upload().id, self.joined[joined].id);
        assert_eq!(lease.upload().status() == Status::Complete, self.joined[joined].taken);
        if self.joined[joined].taken {
            return;
        }
        for part in parts {
            if self.parts[part].sent < self.parts[part].bytes.len() {
                let before = self.parts[part].awaited_by.replace(joined);
                let before = before.filter(|before| self.joined[*before].exists);
                assert!(before.is_none_or(|before| before == joined), "two wait for {part}");
            }
        }
        let total: usize =
            self.joined[joined].parts.iter().map(|part| self.parts[*part].bytes.len()).sum();
        assert_eq!(lease.upload().total(), Some(total as u64));
        match self.has_all(joined) {
            true => {
                let completion = lease.complete(None).await.unwrap();
                self.hand_over(joined, completion, then).await;
            }
            false => {
                let refused = lease.complete(None).await.unwrap_err();
                assert!(matches!(refused.kind(), ErrorKind::Incomplete { .. }), "{refused}");
            }
        }
    }

    fn is_awaited_by_another(&self, parts: &[usize]) -> bool {
        let mut awaited = parts.iter().filter_map(|part| self.parts[*part].awaited_by);
        awaited.any(|joined| self.joined[joined].exists)
    }

    fn is_needed_by_many(&self, parts: &[usize]) -> bool {
        let needs = |it: &&Joined, part| it.exists && it.parts.contains(part);
        parts.iter().any(|part| self.joined.iter().filter(|it| needs(it, part)).count() >= 8)
    }

    async fn hand_over(&mut self, joined: usize, completion: Completion, then: Then) {
        let file = completion.file().clone();
        let content = self.content(joined);
        let mut read = Vec::new();
        file.open().await.unwrap().read_to_end(&mut read).await.unwrap();
        assert_eq!(read, content);
        match then {
            Then::Take => drop(completion.finish().await.unwrap()),
            Then::Persist => {
                let target = self.home.path().join(format!("kept/{}", file.id()));
                file.persist(&target).await.unwrap();
                assert_eq!(std::fs::read(&target).unwrap(), content);
                self.joined[joined].persisted = Some(target);
                completion.finish().await.unwrap();
            }
            Then::Refuse => drop(completion.reopen().await.unwrap()),
            Then::Forget => {
                drop(completion);
                // It is given back on a task.
                while self.owner().acquire(&self.joined[joined].id).await.is_err() {
                    tokio::task::yield_now().await;
                }
            }
        }
        if let Then::Take | Then::Persist = then {
            self.joined[joined].taken = true;
            for part in self.joined[joined].parts.clone() {
                if self.parts[part].awaited_by == Some(joined) {
                    self.parts[part].awaited_by = None;
                }
            }
        }
    }

    fn content(&self, joined: usize) -> Vec<u8> {
        self.joined[joined].parts.iter().flat_map(|part| self.parts[*part].bytes.clone()).collect()
    }

    async fn sweep(&mut self) {
        self.uploads.delete_expired().await.unwrap();
        let now = self.now();
        self.joined.iter_mut().for_each(|it| it.exists &= it.expires > now);
    }

    /// Compares all that can be seen with the model.
    async fn check(&self) {
        for (number, part) in self.parts.iter().enumerate() {
            let status = self.owner().status(&part.id).await;
            assert_eq!(status.is_ok(), self.part_is_there(number), "{number}: {status:?}");
            if let Ok(upload) = status {
                assert_eq!(upload.offset(), part.sent as u64);
                let mut read = Vec::new();
                let mut reader = self.owner().open(&part.id).await.unwrap();
                reader.read_to_end(&mut read).await.unwrap();
                assert_eq!(read, part.bytes[..part.sent]);
            }
        }
        for (number, joined) in self.joined.iter().enumerate() {
            let status = self.owner().status(&joined.id).await;
            assert_eq!(status.is_ok(), self.is_usable(number), "{number}: {status:?}");
            let Ok(upload) = status else { continue };
            assert_eq!(upload.status() == Status::Complete, joined.taken);
            let mut read = Vec::new();
            let mut reader = self.owner().open(&joined.id).await.unwrap();
            reader.read_to_end(&mut read).await.unwrap();
            if upload.offset() > 0 {
                assert_eq!(read, self.content(number), "{upload:?}");
            } else {
                assert!(read.is_empty());
            }
        }
    }

    /// When all time is up, nothing is left but what the application has.
    async fn end(mut self, store: Option<&Path>) {
        self.now.fetch_add(2 * LIFE, Ordering::SeqCst);
        // The parts go when nothing needs them any more.
        self.sweep().await;
        self.sweep().await;
        let mut listing = self.uploads.for_operator().list(tower_chunked_upload::Filter::all());
        assert!(listing.next().await.is_none());
        for joined in &self.joined {
            if let Some(target) = &joined.persisted {
                assert!(target.exists());
            }
        }
        if let Some(store) = store.filter(|store| store.exists()) {
            let files = files_below(store);
            assert!(files.is_empty(), "{files:?}");
        }
    }
}

fn build(store: impl Store, now: &Arc<AtomicU64>) -> Uploads {
    let now = Arc::clone(now);
    let builder = Uploads::builder(store)
        .clock(move || UNIX_EPOCH + Duration::from_millis(now.load(Ordering::SeqCst)))
        .expiry(Expiry::AfterCreation(Duration::from_millis(LIFE)))
        .max_bytes_per_owner(1 << 20);
    builder.build().unwrap()
}

fn index(which: usize, count: usize) -> Option<usize> {
    which.checked_rem(count)
}

fn run<S: Store>(open: impl Fn() -> S, home: TempDir, store: Option<&Path>, ops: &[Op]) {
    run_on(Builder::new_current_thread(), open, home, store, ops);
}

fn run_on<S: Store>(
    mut runtime: Builder,
    open: impl Fn() -> S,
    home: TempDir,
    store: Option<&Path>,
    ops: &[Op],
) {
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(open, home);
        for op in ops {
            world.step(op).await;
            world.check().await;
        }
        world.end(store).await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: if std::env::var_os("PROPTEST_CASES").is_some() {
            ProptestConfig::default().cases
        } else {
            40
        },
        ..ProptestConfig::default()
    })]

    #[test]
    fn parts_in_memory_do_as_the_model(ops in prop::collection::vec(op(), 1..40)) {
        let store = MemoryStore::new();
        run(move || store.clone(), TempDir::new().unwrap(), None, &ops);
    }

    #[test]
    fn parts_in_files_do_as_the_model(ops in prop::collection::vec(op(), 1..40)) {
        let home = TempDir::new().unwrap();
        let store = home.path().join("store");
        let pattern = store.join("%Y");
        run(move || FsStore::new(&pattern), home, Some(&store), &ops);
    }

    #[test]
    fn parts_in_files_do_as_the_model_with_calls_in_place(
        ops in prop::collection::vec(op(), 1..40),
    ) {
        let home = TempDir::new().unwrap();
        let store = home.path().join("store");
        let pattern = store.join("%Y");
        let open = move || FsStore::new(&pattern).file_calls(FileCalls::InPlace);
        run_on(Builder::new_multi_thread(), open, home, Some(&store), &ops);
    }
}
