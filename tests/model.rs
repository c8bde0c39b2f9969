//! Random programs of all that can happen to uploads, compared with a small model after each step.
//!
//! `PROPTEST_CASES` says how many programs each test runs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(clippy::future_not_send, reason = "each program is driven by one thread")]

use std::fs;
use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Extensions;
use md5::{Digest as _, Md5};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::runtime::{Builder, Runtime};
use tower_chunked_upload::store::{FileCalls, FsStore, MemoryStore, Store, StoreError};
use tower_chunked_upload::{
    AppendMode, CompletedUpload, Digest, Error, ErrorKind, Event, Expiry, Filter, NewUpload,
    Observer, OperatorUploads, OwnerUploads, Status, Upload, UploadId, Uploads,
};

#[test]
fn uploads_in_memory_do_as_the_model() {
    programs(100, |program| {
        let (store, home) = (MemoryStore::new(), TempDir::new().unwrap());
        let open = move || store.clone();
        World::new(&program.settings, one_thread, open, home, false).run(&program.steps);
    });
}

#[test]
fn uploads_in_files_do_as_the_model() {
    programs(100, |program| {
        let home = TempDir::new().unwrap();
        let pattern = home.path().join("store/%Y");
        let open = move || FsStore::new(&pattern);
        World::new(&program.settings, one_thread, open, home, true).run(&program.steps);
    });
}

#[test]
fn uploads_in_files_do_as_the_model_with_calls_in_place() {
    programs(60, |program| {
        let home = TempDir::new().unwrap();
        let pattern = home.path().join("store/%Y");
        let open = move || FsStore::new(&pattern).file_calls(FileCalls::InPlace);
        World::new(&program.settings, two_workers, open, home, true).run(&program.steps);
    });
}

fn programs(cases: u32, check: impl Fn(Program)) {
    let mut config = ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    let result = TestRunner::new(config).run(&program(), |program| {
        check(program);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// A handle of either kind.
enum Handle {
    Operator(OperatorUploads),
    Owner(OwnerUploads),
}

/// The same call on a handle of either kind.
macro_rules! with {
    ($handle:ident$($call:tt)+) => {
        match &$handle {
            Handle::Operator(uploads) => uploads$($call)+,
            Handle::Owner(uploads) => uploads$($call)+,
        }
    };
}

#[derive(Clone, Debug)]
struct Program {
    settings: Settings,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
struct Settings {
    sliding: bool,
    checksum: bool,
    batch: usize,
    max_bytes: Option<u64>,
}

#[derive(Clone, Debug)]
struct Step {
    op: Op,
    /// The operation is dropped after so many polls, and perhaps the process with it.
    cut: Option<Cut>,
}

#[derive(Clone, Debug)]
struct Cut {
    polls: usize,
    restart: bool,
}

#[derive(Clone, Debug)]
enum Op {
    Create {
        owner: usize,
        total: Option<u64>,
        chunk: Chunk,
    },
    Chunk {
        which: usize,
        who: Who,
        at: At,
        total: Option<Announced>,
        mode: Mode,
        chunk: Chunk,
    },
    Status {
        which: usize,
        who: Who,
    },
    /// Two chunks for the same place, the second of which takes over.
    Race {
        which: usize,
        loser: Chunk,
        stopped: Stopped,
        winner: Chunk,
    },
    Complete {
        which: usize,
        who: Who,
        digest: Named,
        then: Then,
    },
    Cancel {
        which: usize,
        who: Who,
    },
    Pass {
        millis: u64,
    },
    Sweep {
        who: Option<usize>,
    },
    SweepOne {
        which: usize,
        who: Who,
    },
    Restart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Everybody,
    Owner,
    Another,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Right,
    Early(u64),
    Late(u64),
}

#[derive(Clone, Copy, Debug)]
enum Announced {
    WithMore(u64),
    Wrong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    AllOrNothing,
    KeepWhatCame,
}

#[derive(Clone, Copy, Debug)]
enum Stopped {
    Dropped,
    Writes,
    Commits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Right,
    Wrong,
    None,
}

#[derive(Clone, Copy, Debug)]
struct Then {
    persist: bool,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Taken,
    ServerError,
    Panic,
}

#[derive(Clone, Debug)]
struct Chunk {
    seed: u64,
    /// `None`: as many as are missing.
    length: Option<usize>,
    frame: usize,
}

fn program() -> impl Strategy<Value = Program> {
    let settings = (
        any::<bool>(),
        prop::bool::weighted(0.8),
        prop::sample::select(vec![17_000, 17_000, 70_000, 256 * 1024]),
        prop::option::weighted(0.3, Just(50_000)),
    );
    let settings = settings.prop_map(|(sliding, checksum, batch, max_bytes)| Settings {
        sliding,
        checksum,
        batch,
        max_bytes,
    });
    (settings, prop::collection::vec(step(), 1..30))
        .prop_map(|(settings, steps)| Program { settings, steps })
}

fn step() -> impl Strategy<Value = Step> {
    let cut = (0_usize..12, prop::bool::weighted(0.3));
    let cut = cut.prop_map(|(polls, restart)| Cut { polls, restart });
    (op(), prop::option::weighted(0.3, cut)).prop_map(|(op, cut)| Step { op, cut })
}

fn op() -> impl Strategy<Value = Op> {
    let which = 0_usize..6;
    let total = prop_oneof![
        3 => Just(None),
        2 => (0_u64..300).prop_map(Some),
        2 => (0_u64..150_000).prop_map(Some),
    ];
    let create = (0_usize..2, total, chunk()).prop_map(|(owner, total, chunk)| Op::Create {
        owner,
        total,
        chunk,
    });
    let at = prop_oneof![
        9 => Just(At::Right),
        1 => (1_u64..20).prop_map(At::Early),
        1 => prop_oneof![1_u64..20, Just(u64::MAX)].prop_map(At::Late),
    ];
    let announced = prop_oneof![
        6 => Just(None),
        2 => prop_oneof![Just(0), 0_u64..50].prop_map(|more| Some(Announced::WithMore(more))),
        1 => Just(Some(Announced::Wrong)),
    ];
    let mode = prop_oneof![2 => Just(Mode::AllOrNothing), 1 => Just(Mode::KeepWhatCame)];
    let append = (which.clone(), who(), at, announced, mode, chunk()).prop_map(
        |(which, who, at, total, mode, chunk)| Op::Chunk { which, who, at, total, mode, chunk },
    );
    let stopped = prop::sample::select(vec![Stopped::Dropped, Stopped::Writes, Stopped::Commits]);
    let race = (which.clone(), chunk(), stopped, chunk())
        .prop_map(|(which, loser, stopped, winner)| Op::Race { which, loser, stopped, winner });
    let digest =
        prop_oneof![4 => Just(Named::Right), 1 => Just(Named::Wrong), 1 => Just(Named::None)];
    let verdict = prop_oneof![
        3 => Just(Verdict::Taken),
        2 => Just(Verdict::ServerError),
        1 => Just(Verdict::Panic),
    ];
    let then = (prop::bool::weighted(0.3), verdict)
        .prop_map(|(persist, verdict)| Then { persist, verdict });
    let complete = (which.clone(), who(), digest, then)
        .prop_map(|(which, who, digest, then)| Op::Complete { which, who, digest, then });
    let sweep = prop::option::of(0_usize..2).prop_map(|who| Op::Sweep { who });
    prop_oneof![
        6 => create,
        12 => append,
        1 => (which.clone(), who()).prop_map(|(which, who)| Op::Status { which, who }),
        2 => race,
        6 => complete,
        2 => (which.clone(), who()).prop_map(|(which, who)| Op::Cancel { which, who }),
        3 => (1_u64..LIFE).prop_map(|millis| Op::Pass { millis }),
        2 => sweep,
        1 => (which, who()).prop_map(|(which, who)| Op::SweepOne { which, who }),
        2 => Just(Op::Restart),
    ]
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![8 => Just(Who::Owner), 1 => Just(Who::Everybody), 1 => Just(Who::Another)]
}

fn chunk() -> impl Strategy<Value = Chunk> {
    let length = prop_oneof![
        4 => Just(None),
        5 => (0_usize..100).prop_map(Some),
        2 => (0_usize..3000).prop_map(Some),
        4 => (15_000_usize..90_000).prop_map(Some),
    ];
    let frame = prop_oneof![1_usize..100, 1000_usize..30_000];
    (any::<u64>(), length, frame).prop_map(|(seed, length, frame)| Chunk { seed, length, frame })
}

impl Chunk {
    fn bytes(&self, missing: Option<u64>) -> Vec<u8> {
        let mut state = self.seed;
        let length = self.length.or_else(|| missing?.try_into().ok()).unwrap_or(10);
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        };
        (0..length).map(|_| next()).collect()
    }

    /// Small frames for small chunks only: thousands of them tell nothing more.
    fn frames<'a>(&self, bytes: &'a [u8]) -> std::slice::Chunks<'a, u8> {
        bytes.chunks(self.frame.max(bytes.len() / 50).max(1))
    }
}

/// What the model knows of an upload.
#[derive(Clone, Debug)]
struct Known {
    id: UploadId,
    owner: usize,
    bytes: Vec<u8>,
    total: Option<u64>,
    expires: u64,
    state: State,
    persisted: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Complete,
    /// It was cancelled, or never came to be.
    Gone,
    Swept {
        /// Whether the handle must know why it is gone; `None`: it may.
        remembered: Option<bool>,
    },
}

impl Known {
    fn offset(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn exists(&self) -> bool {
        matches!(self.state, State::Open | State::Complete)
    }

    fn missing(&self) -> Option<u64> {
        self.total?.checked_sub(self.offset())
    }

    /// Why whoever asks is told no, whatever the question.
    fn unknown(&self, who: Who, now: u64) -> Vec<ErrorKind> {
        match self.state {
            State::Swept { remembered } if who != Who::Another => match remembered {
                Some(true) => vec![ErrorKind::Expired],
                Some(false) => vec![ErrorKind::NotFound],
                None => vec![ErrorKind::Expired, ErrorKind::NotFound],
            },
            State::Gone | State::Swept { .. } => vec![ErrorKind::NotFound],
            _ if who == Who::Another => vec![ErrorKind::NotFound],
            _ if now >= self.expires => vec![ErrorKind::Expired],
            _ => vec![],
        }
    }

    /// Why it takes nothing more.
    fn closed(&self, who: Who, now: u64) -> Vec<ErrorKind> {
        let unknown = self.unknown(who, now);
        if unknown.is_empty() && self.state == State::Complete {
            return vec![ErrorKind::AlreadyComplete];
        }
        unknown
    }
}

struct World<S, F> {
    open: F,
    store: S,
    home: TempDir,
    in_files: bool,
    settings: Settings,
    start: fn() -> Runtime,
    runtime: Option<Runtime>,
    uploads: Uploads,
    clock: Arc<AtomicU64>,
    events: Events,
    known: Vec<Known>,
}

#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<Event>>>);

impl Observer for Events {
    async fn on_event(&self, event: &Event, _: Option<&Extensions>) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl<S: Store + Clone, F: Fn() -> S> World<S, F> {
    fn new(
        settings: &Settings,
        start: fn() -> Runtime,
        open: F,
        home: TempDir,
        in_files: bool,
    ) -> Self {
        let clock = Arc::new(AtomicU64::new(1_700_000_000_000));
        let (events, store) = (Events::default(), open());
        Self {
            uploads: handle(settings, store.clone(), &clock, &events),
            start,
            runtime: Some(start()),
            settings: settings.clone(),
            known: Vec::new(),
            open,
            store,
            home,
            in_files,
            clock,
            events,
        }
    }

    fn run(mut self, steps: &[Step]) {
        for step in steps {
            self.step(step);
            self.settle();
            self.compare();
        }
        // In the end everything expires, and nothing is left but what the application took.
        self.clock.fetch_add(LIFE, Ordering::Relaxed);
        self.step(&Step { op: Op::Sweep { who: None }, cut: None });
        self.settle();
        self.compare();
        assert!(!self.known.iter().any(Known::exists));
    }

    fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn pick(&self, which: usize) -> Option<usize> {
        which.checked_rem(self.known.len())
    }

    fn asks(&self, known: &Known, who: Who) -> Handle {
        match who {
            Who::Everybody => self.handle(None),
            Who::Owner => self.handle(Some(known.owner)),
            Who::Another => self.handle(Some(1 - known.owner)),
        }
    }

    fn handle(&self, owner: Option<usize>) -> Handle {
        match owner {
            None => Handle::Operator(self.uploads.for_operator()),
            Some(owner) => Handle::Owner(self.uploads.for_owner(Some(OWNERS[owner].into()))),
        }
    }

    /// Runs an operation, or its beginning.
    fn attempt<T>(&mut self, cut: &Option<Cut>, future: impl Future<Output = T>) -> Option<T> {
        let runtime = self.runtime.as_ref().unwrap();
        let Some(cut) = cut else { return Some(runtime.block_on(future)) };
        let result = runtime.block_on(polled(cut.polls, future));
        if result.is_none() && cut.restart {
            self.restart();
        }
        result
    }

    /// Ends the process, as far as a test can: tasks stop where they are, file calls run out.
    fn restart(&mut self) {
        drop(self.runtime.replace((self.start)()));
        self.store = (self.open)();
        self.uploads = handle(&self.settings, self.store.clone(), &self.clock, &self.events);
        for known in &mut self.known {
            if let State::Swept { remembered } = &mut known.state {
                *remembered = Some(false);
            }
        }
    }

    fn step(&mut self, step: &Step) {
        self.events.0.lock().unwrap().clear();
        let cut = &step.cut;
        match &step.op {
            Op::Create { owner, total, chunk } => self.create(*owner, *total, chunk, cut),
            Op::Chunk { which, who, at, total, mode, chunk } => {
                let Some(index) = self.pick(*which) else { return };
                self.chunk(index, *who, *at, *total, *mode, chunk, cut);
            }
            Op::Status { which, who } => {
                let Some(index) = self.pick(*which) else { return };
                let known = self.known[index].clone();
                let (asks, expected) = (self.asks(&known, *who), known.unknown(*who, self.now()));
                if let Some(result) =
                    self.attempt(cut, async { with!(asks.status(&known.id).await) })
                {
                    outcome(result, &expected, "status");
                }
                self.told(&[]);
            }
            Op::Race { which, loser, stopped, winner } => {
                let Some(index) = self.pick(*which) else { return };
                self.race(index, loser, *stopped, winner, cut);
            }
            Op::Complete { which, who, digest, then } => {
                let Some(index) = self.pick(*which) else { return };
                self.complete(index, *who, *digest, *then, cut);
            }
            Op::Cancel { which, who } => {
                let Some(index) = self.pick(*which) else { return };
                self.cancel(index, *who, cut);
            }
            Op::Pass { millis } => {
                self.clock.fetch_add(*millis, Ordering::Relaxed);
            }
            Op::Sweep { who } => self.sweep(*who, cut),
            Op::SweepOne { which, who } => {
                let Some(index) = self.pick(*which) else { return };
                self.sweep_one(index, *who, cut);
            }
            Op::Restart => self.restart(),
        }
    }

    fn create(&mut self, owner: usize, total: Option<u64>, chunk: &Chunk, cut: &Option<Cut>) {
        let bytes = chunk.bytes(total);
        let limit = self.settings.max_bytes;
        let expected = match (total, limit) {
            (Some(total), Some(limit)) if total > limit => Some(ErrorKind::TooLarge { limit }),
            _ => too_much(total, limit, bytes.len() as u64),
        };
        let asks = self.uploads.for_owner(Some(OWNERS[owner].into()));
        let id = Mutex::new(None);
        let creating = async {
            let mut append = asks.create(NewUpload::new().filename("a.bin").total(total)).await?;
            *id.lock().unwrap() = Some(append.upload().id);
            for frame in chunk.frames(&bytes) {
                append.write(frame).await?;
            }
            append.commit().await
        };
        let result = self.attempt(cut, creating);
        let Some(id) = id.into_inner().unwrap() else {
            if let Some(result) = result {
                outcome(result, &Vec::from_iter(expected), "create");
            }
            return;
        };
        let mut known = Known {
            id,
            owner,
            bytes: Vec::new(),
            total,
            expires: self.now() + LIFE,
            state: State::Gone,
            persisted: None,
        };
        match result {
            None => {
                self.settle();
                if self.record(&id).is_some() {
                    assert!(expected.is_none(), "{expected:?} and yet created");
                    known.bytes = bytes;
                    known.state = State::Open;
                }
                self.told_at_most(Event::Created, known.state == State::Open);
            }
            Some(result) => {
                if let Some(upload) = outcome(result, &Vec::from_iter(expected), "create") {
                    assert_eq!(upload.id, id);
                    known.bytes = bytes;
                    known.state = State::Open;
                    self.told(&[Event::Created(upload)]);
                } else {
                    self.told(&[]);
                }
            }
        }
        self.known.push(known);
    }

    #[expect(clippy::too_many_arguments, reason = "they are the operation's")]
    fn chunk(
        &mut self,
        index: usize,
        who: Who,
        at: At,
        total: Option<Announced>,
        mode: Mode,
        chunk: &Chunk,
        cut: &Option<Cut>,
    ) {
        let known = self.known[index].clone();
        let offset = known.offset();
        let bytes = chunk.bytes(known.missing());
        let end = offset + bytes.len() as u64;
        let at = match at {
            At::Right => offset,
            At::Early(by) => offset.saturating_sub(by),
            At::Late(by) => offset.saturating_add(by),
        };
        let total = total.map(|total| match total {
            Announced::WithMore(more) => known.total.unwrap_or(end + more),
            Announced::Wrong => known.total.map_or(offset.saturating_sub(1), |total| total + 1),
        });
        let limit = self.settings.max_bytes;
        let mut expected = known.closed(who, self.now());
        if expected.is_empty() {
            expected.extend(match (total, known.total) {
                _ if at != offset => Some(ErrorKind::OffsetMismatch { offset }),
                (Some(total), Some(before)) if total != before => {
                    Some(ErrorKind::TotalMismatch { total: before })
                }
                (Some(total), _) if limit.is_some_and(|limit| total > limit) => {
                    limit.map(|limit| ErrorKind::TooLarge { limit })
                }
                (Some(total), _) if offset > total => Some(ErrorKind::TooLong { total }),
                _ if bytes.is_empty() => None,
                _ => too_much(total.or(known.total), limit, end),
            });
        }
        let store_mode = match mode {
            Mode::AllOrNothing => AppendMode::AllOrNothing,
            Mode::KeepWhatCame => AppendMode::KeepWhatCame,
        };
        let asks = self.asks(&known, who);
        let result = self.attempt(cut, async {
            let mut append = with!(asks.append(&known.id, at, store_mode).await)?;
            if let Some(total) = total {
                append.set_total(total).await?;
            }
            for frame in chunk.frames(&bytes) {
                append.write(frame).await?;
            }
            append.commit().await
        });
        let mut grown = known.clone();
        grown.bytes.extend_from_slice(&bytes);
        grown.total = total.or(known.total);
        grown.expires = self.after_chunk(&known);
        match result {
            Some(Ok(upload)) => {
                assert_eq!(expected, [], "a chunk was taken");
                self.known[index] = grown;
                self.told(&[Event::Grew(upload)]);
            }
            Some(Err(error)) if mode == Mode::AllOrNothing => {
                assert!(expected.contains(error.kind()), "{error:?} instead of {expected:?}");
                self.told(&[]);
            }
            uncertain => {
                if let Some(Err(error)) = uncertain {
                    assert!(expected.contains(error.kind()), "{error:?} instead of {expected:?}");
                }
                if !known.exists() {
                    return;
                }
                self.settle();
                let record = self.record(&known.id).expect("a chunk does not remove it");
                let now = record.offset();
                let ended = now == end && expected.is_empty();
                match mode {
                    Mode::AllOrNothing => assert!(now == offset || ended, "{record:?}"),
                    Mode::KeepWhatCame => assert!((offset..=end).contains(&now), "{record:?}"),
                }
                if record.total() != known.total {
                    assert_eq!(record.total(), grown.total);
                }
                if millis(record.expires()) != known.expires {
                    assert_eq!(millis(record.expires()), grown.expires);
                }
                let known = &mut self.known[index];
                known.bytes.extend_from_slice(&bytes[..usize::try_from(now - offset).unwrap()]);
                known.total = record.total();
                known.expires = millis(record.expires());
                let kept = mode == Mode::KeepWhatCame && now > offset;
                self.told_at_most(Event::Grew, ended || kept);
            }
        }
    }

    fn race(
        &mut self,
        index: usize,
        loser: &Chunk,
        stopped: Stopped,
        winner: &Chunk,
        cut: &Option<Cut>,
    ) {
        let known = self.known[index].clone();
        if !known.closed(Who::Owner, self.now()).is_empty() {
            return;
        }
        let limit = self.settings.max_bytes;
        let fits = |bytes: &[u8]| {
            bytes.is_empty()
                || too_much(known.total, limit, known.offset() + bytes.len() as u64).is_none()
        };
        let (lost, won) = (loser.bytes(known.missing()), winner.bytes(known.missing()));
        if !fits(&lost) || !fits(&won) {
            return;
        }
        let asks = self.asks(&known, Who::Owner);
        let mode = AppendMode::AllOrNothing;
        let result = self.attempt(cut, async {
            let mut first = with!(asks.append(&known.id, known.offset(), mode).await)?;
            for frame in loser.frames(&lost) {
                first.write(frame).await?;
            }
            let second = async { with!(asks.append(&known.id, known.offset(), mode).await) };
            let gives_way = async {
                first.stopped().await;
                let late = match stopped {
                    Stopped::Dropped => return,
                    Stopped::Writes => first.write(&b"late"[..]).await,
                    Stopped::Commits => first.commit().await.map(drop),
                };
                assert_eq!(late.unwrap_err().kind(), &ErrorKind::Superseded);
            };
            let (second, ()) = tokio::join!(second, gives_way);
            let mut second = second?;
            for frame in winner.frames(&won) {
                second.write(frame).await?;
            }
            second.commit().await
        });
        let mut grown = known.clone();
        grown.bytes.extend_from_slice(&won);
        grown.expires = self.after_chunk(&known);
        match result {
            Some(result) => {
                let upload = outcome(result, &[], "the newer chunk").unwrap();
                self.known[index] = grown;
                self.told(&[Event::Grew(upload)]);
            }
            None => {
                self.settle();
                let record = self.record(&known.id).expect("a chunk does not remove it");
                if agrees(&record, &grown) {
                    self.known[index] = grown;
                }
                self.told_at_most(Event::Grew, true);
            }
        }
    }

    fn complete(&mut self, index: usize, who: Who, named: Named, then: Then, cut: &Option<Cut>) {
        let known = self.known[index].clone();
        let (offset, total) = (known.offset(), known.total.unwrap_or(known.offset()));
        let mut expected = known.closed(who, self.now());
        if expected.is_empty() {
            if offset != total {
                expected.push(ErrorKind::Incomplete { offset, total });
            } else if named == Named::Wrong {
                expected.push(ErrorKind::ChecksumMismatch);
            }
        }
        let right = Digest::Md5(Md5::digest(&known.bytes).into());
        let digest = match named {
            Named::Right => Some(right),
            Named::Wrong => Some(Digest::Md5([7; 16])),
            Named::None => None,
        };
        let target = self.home.path().join("taken").join(known.id.as_str());
        let (asks, all) = (self.asks(&known, who), self.uploads.clone());
        let has_digest = self.settings.checksum || digest.is_some();
        let result = self.attempt(cut, async {
            let completion = with!(asks.complete(&known.id, digest).await)?;
            let file = completion.file().clone();
            assert_eq!((file.size(), file.id()), (offset, &known.id));
            // A digest that an earlier completion had to compute may still be known.
            let digest = file.digest();
            assert!(digest == Some(right) || digest.is_none() && !has_digest, "{digest:?}");
            assert!(read(&file).await == known.bytes, "the application reads other bytes");
            hands_off(&all, &known).await;
            if then.persist {
                file.persist(&target).await?;
                assert!(read(&file).await == known.bytes, "it reads other bytes once persisted");
            }
            match then.verdict {
                Verdict::Taken => completion.finish().await.map(Some),
                Verdict::ServerError => completion.reopen().await.map(Some),
                Verdict::Panic => {
                    drop((completion, file));
                    Ok(None)
                }
            }
        });
        let now = &mut self.known[index];
        match result {
            Some(Err(error)) => {
                assert!(expected.contains(error.kind()), "{error:?} instead of {expected:?}");
                self.told(&[]);
            }
            Some(Ok(upload)) => {
                assert_eq!(expected, [], "it was completed");
                // What was not taken may still grow, unless the application has moved the file.
                if then.persist || then.verdict == Verdict::Taken {
                    now.total = Some(total);
                }
                if then.persist {
                    now.persisted = Some(target);
                }
                if then.verdict == Verdict::Taken {
                    now.state = State::Complete;
                    self.told(&[Event::Completed(upload.unwrap())]);
                } else {
                    self.told(&[]);
                }
            }
            None if !known.exists() => self.told(&[]),
            None => {
                self.settle();
                let record = self.record(&known.id).expect("completing does not remove it");
                let now = &mut self.known[index];
                if record.total() != known.total {
                    assert_eq!((record.total(), &expected), (Some(total), &vec![]));
                    now.total = Some(total);
                }
                if record.status() == Status::Complete && known.state == State::Open {
                    assert_eq!((then.verdict, &expected), (Verdict::Taken, &vec![]));
                    now.state = State::Complete;
                }
                if target.exists() && known.persisted.is_none() {
                    assert!(then.persist && expected.is_empty());
                    now.persisted = Some(target);
                }
                let completed = now.state != known.state;
                self.told_at_most(Event::Completed, completed);
            }
        }
    }

    fn cancel(&mut self, index: usize, who: Who, cut: &Option<Cut>) {
        let known = self.known[index].clone();
        let expected = known.closed(who, self.now());
        let asks = self.asks(&known, who);
        match self.attempt(cut, async { with!(asks.cancel(&known.id).await) }) {
            Some(result) => match outcome(result, &expected, "cancel") {
                Some(upload) => {
                    assert_eq!(upload.offset(), known.offset());
                    self.known[index].state = State::Gone;
                    self.told(&[Event::Cancelled(upload)]);
                }
                None => self.told(&[]),
            },
            None => {
                self.settle();
                let gone = known.exists() && self.record(&known.id).is_none();
                if gone {
                    assert_eq!(expected, [], "it was cancelled");
                    self.known[index].state = State::Gone;
                }
                self.told_at_most(Event::Cancelled, gone);
            }
        }
    }

    fn sweep(&mut self, who: Option<usize>, cut: &Option<Cut>) {
        let now = self.now();
        let asks = self.handle(who);
        let concerned = |known: &Known| {
            known.exists() && now >= known.expires && who.is_none_or(|owner| owner == known.owner)
        };
        let Some(result) = self.attempt(cut, async { with!(asks.delete_expired().await) }) else {
            self.settle();
            for index in 0..self.known.len() {
                let known = &self.known[index];
                if concerned(known) && self.record(&known.id).is_none() {
                    let restarted = cut.as_ref().is_some_and(|cut| cut.restart);
                    let remembered = if restarted { Some(false) } else { None };
                    self.known[index].state = State::Swept { remembered };
                }
            }
            return;
        };
        let swept = result.unwrap();
        let (mut complete, mut incomplete) = (0, 0);
        for known in self.known.iter_mut().filter(|known| concerned(known)) {
            match known.state {
                State::Complete => complete += 1,
                _ => incomplete += 1,
            }
            known.state = State::Swept { remembered: Some(true) };
        }
        assert_eq!((swept.complete, swept.incomplete, swept.skipped), (complete, incomplete, 0));
        assert_eq!(self.events.0.lock().unwrap().len() as u64, complete + incomplete);
    }

    fn sweep_one(&mut self, index: usize, who: Who, cut: &Option<Cut>) {
        let known = self.known[index].clone();
        let expired = known.exists() && self.now() >= known.expires;
        let mut expected = known.unknown(who, self.now());
        if expired && who != Who::Another {
            expected.clear();
        }
        let asks = self.asks(&known, who);
        let result = self.attempt(cut, async { with!(asks.delete_if_expired(&known.id).await) });
        let remembered = match result {
            Some(result) => match outcome(result, &expected, "delete_if_expired") {
                Some(removed) => {
                    assert_eq!(removed, expired);
                    Some(true)
                }
                None => return,
            },
            None => {
                self.settle();
                let restarted = cut.as_ref().is_some_and(|cut| cut.restart);
                if restarted { Some(false) } else { None }
            }
        };
        if expired && self.record(&known.id).is_none() {
            assert_eq!(expected, []);
            self.known[index].state = State::Swept { remembered };
        }
    }

    fn after_chunk(&self, known: &Known) -> u64 {
        if self.settings.sliding { self.now() + LIFE } else { known.expires }
    }

    /// The record, whoever may see it.
    fn record(&self, id: &UploadId) -> Option<Upload> {
        let load = async {
            match (self.open)().load(id).await {
                Ok(upload) => Some(upload),
                Err(StoreError::NotFound) => None,
                Err(error) => panic!("{error:?}"),
            }
        };
        self.runtime.as_ref().unwrap().block_on(load)
    }

    fn told(&self, expected: &[Event]) {
        let told = self.events.0.lock().unwrap();
        assert_eq!(format!("{told:?}"), format!("{expected:?}"));
    }

    /// Of an operation that was cut, its own event at most, and once.
    fn told_at_most(&self, event: fn(Upload) -> Event, happened: bool) {
        let told = self.events.0.lock().unwrap();
        assert!(told.len() <= usize::from(happened), "{told:?}");
        if let Some(told) = told.first() {
            let same = event(told.upload().clone());
            assert_eq!(std::mem::discriminant(told), std::mem::discriminant(&same));
        }
    }

    /// Waits until all work that dropped operations left behind is done.
    fn settle(&self) {
        let settling = async {
            while tokio::runtime::Handle::current().metrics().num_alive_tasks() > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            // Calls of the store whose futures were dropped may still take a lease, or give one back.
            self.store.settle().await;
            let store = (self.open)();
            for known in &self.known {
                while let Err(StoreError::Busy) = store.writer(&known.id).await.map(drop) {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        let settling = async { tokio::time::timeout(PATIENCE, settling).await };
        self.runtime.as_ref().unwrap().block_on(settling).expect("something goes on for ever");
    }

    fn compare(&self) {
        self.runtime.as_ref().unwrap().block_on(async {
            let store = (self.open)();
            for known in &self.known {
                for who in [Who::Everybody, Who::Owner, Who::Another] {
                    let expected = known.unknown(who, self.now());
                    let asks = self.asks(known, who);
                    let status = with!(asks.status(&known.id).await);
                    if let Some(record) = outcome(status, &expected, "status") {
                        assert!(agrees(&record, known), "{record:?} is not {known:?}");
                    }
                }
                if known.exists() {
                    let record = store.load(&known.id).await.unwrap();
                    assert!(agrees(&record, known), "{record:?} is not {known:?}");
                    let mut bytes = Vec::new();
                    let mut reader = store.open(&known.id).await.unwrap();
                    reader.read_to_end(&mut bytes).await.unwrap();
                    assert!(bytes == known.bytes, "other bytes in {known:?}");
                }
                if let Some(target) = &known.persisted {
                    assert!(fs::read(target).unwrap() == known.bytes, "other bytes at {target:?}");
                }
            }
            self.compare_lists().await;
            if self.in_files {
                self.compare_files().await;
            }
        });
    }

    async fn compare_lists(&self) {
        for who in [None, Some(0), Some(1)] {
            let asks = self.handle(who);
            let mut listing = with!(asks.list(Filter::all()));
            let mut listed = Vec::new();
            while let Some(upload) = listing.next().await {
                listed.push(upload.unwrap().id);
            }
            let all = self.known.iter().filter(|known| known.exists());
            let own = all.filter(|known| who.is_none_or(|owner| owner == known.owner));
            let mut ids: Vec<_> = own.map(|known| known.id).collect();
            ids.sort_unstable();
            listed.sort_unstable();
            assert_eq!(listed, ids, "the list of {who:?}");
        }
    }

    /// Each upload has its record and its bytes, and there is nothing else.
    async fn compare_files(&self) {
        let mut expected = Vec::new();
        for known in self.known.iter().filter(|known| known.exists()) {
            expected.push((format!("{}.log", known.id), None));
            if known.persisted.is_none() {
                expected.push((format!("{}.part", known.id), Some(known.offset())));
            }
        }
        expected.sort_unstable();
        let store = self.home.path().join("store");
        let mut found = files(&store);
        // What was rolled back is cleared away on a thread of its own.
        let cleared = async {
            while found != expected {
                tokio::time::sleep(PAUSE).await;
                found = files(&store);
            }
        };
        let cleared = tokio::time::timeout(PATIENCE, cleared).await;
        assert!(cleared.is_ok(), "there is {found:?} instead of {expected:?}");
    }
}

/// While the application has a file, nobody else can touch it, and everybody can see it.
async fn hands_off(uploads: &Uploads, known: &Known) {
    let append =
        uploads.for_operator().append(&known.id, known.offset(), AppendMode::KeepWhatCame).await;
    assert_eq!(append.unwrap_err().kind(), &ErrorKind::Finishing);
    let complete = uploads.for_operator().complete(&known.id, None).await;
    assert_eq!(complete.unwrap_err().kind(), &ErrorKind::Finishing);
    let cancel = uploads.for_operator().cancel(&known.id).await;
    assert_eq!(cancel.unwrap_err().kind(), &ErrorKind::Finishing);
    assert_eq!(uploads.for_operator().status(&known.id).await.unwrap().status(), Status::Finishing);
}

fn agrees(record: &Upload, known: &Known) -> bool {
    let status = match record.status() {
        // A completion without verdict leaves it open for another.
        Status::Finishing if record.total().is_none_or(|total| total == record.offset()) => {
            State::Open
        }
        Status::Open => State::Open,
        Status::Complete => State::Complete,
        _ => return false,
    };
    record.id == known.id
        && record.owner.as_ref().is_some_and(|owner| owner.as_str() == OWNERS[known.owner])
        && (record.offset(), record.total()) == (known.offset(), known.total)
        && millis(record.expires()) == known.expires
        && status == known.state
}

/// The result if there is one, and otherwise one of the errors that were expected.
#[track_caller]
fn outcome<T>(result: Result<T, Error>, expected: &[ErrorKind], what: &str) -> Option<T> {
    match result {
        Ok(done) => {
            assert!(expected.is_empty(), "{what} instead of {expected:?}");
            Some(done)
        }
        Err(error) => {
            assert!(expected.contains(error.kind()), "{what}: {error:?} instead of {expected:?}");
            None
        }
    }
}

fn too_much(total: Option<u64>, limit: Option<u64>, end: u64) -> Option<ErrorKind> {
    match (total, limit) {
        (Some(total), _) if end > total => Some(ErrorKind::TooLong { total }),
        (None, Some(limit)) if end > limit => Some(ErrorKind::TooLarge { limit }),
        _ => None,
    }
}

fn handle(settings: &Settings, store: impl Store, clock: &Arc<AtomicU64>, to: &Events) -> Uploads {
    let life = Duration::from_millis(LIFE);
    let clock = Arc::clone(clock);
    let builder = Uploads::builder(store)
        .batch_bytes(settings.batch)
        .checksum(settings.checksum)
        .takeover_timeout(PATIENCE)
        .observer(to.clone())
        .expiry(match settings.sliding {
            true => Expiry::AfterLastChunk(life),
            false => Expiry::AfterCreation(life),
        })
        .clock(move || UNIX_EPOCH + Duration::from_millis(clock.load(Ordering::Relaxed)));
    let builder = match settings.max_bytes {
        Some(bytes) => builder.max_bytes(bytes),
        None => builder,
    };
    builder.build().unwrap()
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Of which calls on files may hold one.
fn two_workers() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn read(file: &CompletedUpload) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.open().await.unwrap().read_to_end(&mut bytes).await.unwrap();
    bytes
}

fn millis(time: Option<SystemTime>) -> u64 {
    let since = time.unwrap().duration_since(UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

/// The names of the files below a folder, and the lengths of those that hold bytes.
fn files(folder: &Path) -> Vec<(String, Option<u64>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let is_part = path.extension().is_some_and(|extension| extension == "part");
            let length = path.metadata().map_or(0, |meta| meta.len());
            found.push((entry.file_name().into_string().unwrap(), is_part.then_some(length)));
        }
    }
    found.sort_unstable();
    found
}

/// Polls a future so many times at most and drops it.
async fn polled<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

const OWNERS: [&str; 2] = ["alice", "bob"];
const LIFE: u64 = 1000;
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_micros(200);
