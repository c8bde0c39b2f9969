//! A store with many unfinished uploads: a sweep and a listing of them, and a chunk beside them.
//!
//! The default run has 2,000 uploads, `LONG=1` 100,000; then the figures are worth a look.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/ports.rs"]
mod ports;
#[path = "support/process.rs"]
mod process;
#[path = "support/server.rs"]
mod server;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::env;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use serde_json::Value;
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{ErrorKind, Filter, NewUpload, Quota, Upload, UploadId, Uploads};

use process::KIB;
use server::{Plan, Server, Shape, World, exchange, has_extension, is_long, rerun};
use support::{Call, Clock, Double, all_ids, files_below, run};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

#[tokio::test]
async fn a_sweep_removes_what_has_expired_and_nothing_else_and_quotas_know_all() {
    let (folder, store) = support::folder();
    let root = folder.path().join("up");
    let clock = Clock::new();
    let half = count() / 2;
    let uploads = || {
        let builder = Uploads::builder(store.clone()).clock(clock.read()).expires_after(2 * LATER);
        builder.max_uploads_per_owner(half + 1).max_bytes_in_all((half + 1) * TOTAL)
    };
    let make = Uploads::builder(store.clone()).clock(clock.read()).expires_after(2 * LATER);
    let make = make.build().unwrap();
    let old = begin(&make).await;
    clock.advance(LATER);
    let new = begin(&make).await;
    copy(&root, old.id.as_str(), half - 1);
    copy(&root, new.id.as_str(), half - 1);
    clock.advance(LATER);

    let uploads = uploads().build().unwrap();
    let refused = uploads.for_owner(None).create(NewUpload::new().total(TOTAL)).await.unwrap_err();
    let quota = Quota::OwnerUploads;
    assert_eq!(*refused.kind(), ErrorKind::QuotaExceeded { quota, limit: half + 1 });
    let start = Instant::now();
    let expired = uploads.delete_expired().await.unwrap();
    println!("{} uploads swept, half of them removed, in {:?}", 2 * half, start.elapsed());
    assert_eq!((expired.incomplete, expired.complete, expired.skipped), (half, 0, 0));
    assert_eq!(files_below(&root).len() as u64, 2 * half);
    assert_eq!(all_ids(&uploads).await.len() as u64, half);
    let mut listing = uploads.for_operator().list(Filter::all().expired(true));
    assert!(listing.next().await.is_none());

    // There is room for one, and for no byte more than it announces.
    let last = uploads.for_owner(None).create(NewUpload::new().total(TOTAL)).await.unwrap();
    let refused = uploads.for_owner(None).create(NewUpload::new()).await.unwrap_err();
    assert_eq!(*refused.kind(), ErrorKind::QuotaExceeded { quota, limit: half + 1 });
    drop(last);
    let refused =
        uploads.for_owner(None).create(NewUpload::new().total(TOTAL + 1)).await.unwrap_err();
    let (quota, limit) = (Quota::AllBytes, (half + 1) * TOTAL);
    assert_eq!(*refused.kind(), ErrorKind::QuotaExceeded { quota, limit });
}

#[test]
fn the_memory_of_a_sweep_and_of_a_listing_does_not_grow_with_the_store() {
    if env::var_os(ALONE).is_none() {
        // In a process of its own, since it counts what all of it has allocated.
        let name = "the_memory_of_a_sweep_and_of_a_listing_does_not_grow_with_the_store";
        return rerun(name, ALONE, &[]);
    }
    let (folder, store) = support::folder();
    let root = folder.path().join("up");
    let template = run(async { begin(&Uploads::builder(store.clone()).build().unwrap()).await });
    let mut there = 1;
    let mut peak_with = |uploads: u64| {
        copy(&root, template.id.as_str(), uploads - there);
        there = uploads;
        peak_of(&store, uploads)
    };
    let all = if is_long() { count() } else { 4 * count() };
    // The first one brings what is made only once.
    peak_with(all / 8);
    let (few, many) = (peak_with(all / 4), peak_with(all));
    println!("peak with {} uploads + {few} bytes, with {all} uploads + {many} bytes", all / 4);
    // Less for each of the others than anything that could be kept of one.
    assert!(many < few + 4 * (all - all / 4), "{few} bytes, then {many}");
}

/// What a sweep and a listing allocate at the same time, in bytes. The kernel's peak of a process is too
/// rough for this: it is counted in batches of pages for each processor, and may be below what there
/// was when it was set back.
fn peak_of(store: &FsStore, uploads: u64) -> u64 {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let handle = Uploads::builder(store.clone()).build().unwrap();
        ALLOCATED.reset_peak_usage();
        let before = ALLOCATED.peak_usage();
        assert_eq!(handle.delete_expired().await.unwrap().incomplete, 0);
        let mut listing = handle.for_operator().list(Filter::all());
        let mut listed = 0;
        while let Some(upload) = listing.next().await {
            upload.unwrap();
            listed += 1;
        }
        assert_eq!(listed, uploads);
        (ALLOCATED.peak_usage() - before) as u64
    })
}

#[tokio::test]
async fn a_listing_asks_for_a_page_when_it_needs_it() {
    let store = Double::default();
    let uploads = Uploads::builder(store.clone()).build().unwrap();
    for _ in 0..200 {
        begin(&uploads).await;
    }
    let lists = || store.calls().iter().filter(|call| **call == Call::List).count();
    let mut listing = uploads.for_operator().list(Filter::all());
    assert_eq!(lists(), 0);
    listing.next().await.unwrap().unwrap();
    assert_eq!(lists(), 1);
    let mut listed = 1;
    while listing.next().await.is_some() {
        listed += 1;
    }
    assert_eq!((listed, lists()), (200, 4));
}

/// The latency of chunks with nothing in the folder and with very much, by turns, while both servers
/// sweep; and what the sweep takes.
#[test]
fn chunks_are_taken_beside_all_that() {
    let mut stages = [Stage::new(0), Stage::new(count())];
    let rounds = if is_long() { 4000 } else { 50 };
    for round in 0..rounds {
        for stage in &mut stages {
            stage.push(round);
        }
    }
    let [empty, full] = stages.map(|stage| {
        let figures = stage.figures();
        stage.world.no_panic();
        figures
    });
    println!(
        "chunks of {} KiB, p50: {:?} in an empty folder, {:?} beside {} uploads, ratio {:.3}; \
         p99: {:?}, {:?}",
        CHUNK / 1024,
        empty.p50,
        full.p50,
        count(),
        full.p50.as_secs_f64() / empty.p50.as_secs_f64(),
        empty.p99,
        full.p99
    );
    println!(
        "sweeps in {:?}: {:.1} % of a core, {:.1} % with nothing to read; all records read {:.2} \
         times; peak {} KiB, {} KiB",
        look(),
        full.share * 100.0,
        empty.share * 100.0,
        full.passes,
        full.peak,
        empty.peak
    );
}

/// A server, and an upload to it that goes on and on.
struct Stage {
    world: World,
    server: Server,
    stream: TcpStream,
    plan: Plan,
    id: String,
    took: Vec<Duration>,
    records: u64,
}

struct Figures {
    p50: Duration,
    p99: Duration,
    share: f64,
    passes: f64,
    peak: u64,
}

impl Stage {
    fn new(uploads: u64) -> Self {
        let world = World::new();
        if uploads > 0 {
            let server = world.start(&[]);
            let template = server.begin(&Plan::of_length(7, 0, 30_000), 20_000);
            server.kill();
            copy(&world.data().join("chunked_uploads"), &template, uploads - 1);
        }
        let records = world.files().into_iter().filter(|path| has_extension(path, "log"));
        let records = records.map(|path| path.metadata().unwrap().len()).sum();
        // The connection waits while the other stage is set up.
        let server = world.start(&[("WIRE_HEAD_SECONDS", "600")]);
        let plan = Plan::of_length(7, 2, 64 * CHUNK);
        let stream = server.connect();
        Self { world, server, stream, plan, id: String::new(), took: Vec::new(), records }
    }

    fn push(&mut self, round: usize) {
        let number = round % 64;
        let range = number * CHUNK..(number + 1) * CHUNK;
        let id = (number > 0).then_some(self.id.as_str());
        let chunk = self.plan.chunk(range.clone(), id, Shape::Raw);
        let start = Instant::now();
        let answer = exchange(&mut self.stream, &chunk.bytes).unwrap().accepted().unwrap();
        self.took.push(start.elapsed());
        assert_eq!(answer["offset"], range.end);
        self.id = server::upload_id(&answer);
    }

    fn figures(&self) -> Figures {
        let mut took = self.took.clone();
        took.sort_unstable();
        let (cpu, [read, ..]) = (self.server.cpu(), self.server.io());
        thread::sleep(look());
        let (cpu, read) = (self.server.cpu() - cpu, self.server.io()[0] - read);
        Figures {
            p50: took[took.len() / 2],
            p99: took[took.len() * 99 / 100],
            share: cpu.as_secs_f64() / look().as_secs_f64(),
            passes: read as f64 / self.records.max(1) as f64,
            peak: self.server.peak() / KIB,
        }
    }
}

async fn begin(uploads: &Uploads) -> Upload {
    let new = NewUpload::new().filename("a.bin").total(TOTAL);
    let mut append = uploads.for_owner(None).create(new).await.unwrap();
    append.write(&b"abc"[..]).await.unwrap();
    append.commit().await.unwrap()
}

/// Makes uploads that differ from one in the store by their ids alone; their bytes are holes.
fn copy(root: &Path, id: &str, count: u64) {
    let record = fs::read_to_string(record(root, id)).unwrap();
    let head: Value = serde_json::from_str(&record.lines().next().unwrap()[9..]).unwrap();
    let bytes = root.join(head["head"]["data"].as_str().unwrap());
    let length = bytes.metadata().unwrap().len();
    for _ in 0..count {
        let other = UploadId::random().to_string();
        let place = self::record(root, &other);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, named(&record, id, &other)).unwrap();
        let bytes = bytes.with_file_name(format!("{other}.part"));
        File::create(bytes).unwrap().set_len(length).unwrap();
    }
}

fn record(root: &Path, id: &str) -> std::path::PathBuf {
    root.join(".records").join(&id[..2]).join(format!("{id}.log"))
}

/// A record with another id, and the checks of its lines anew.
fn named(record: &str, id: &str, other: &str) -> String {
    let line = |line: &str| {
        let json = line[9..].replace(id, other);
        format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
    };
    record.lines().map(line).collect()
}

/// How many uploads there are.
fn count() -> u64 {
    if is_long() { 100_000 } else { 2_000 }
}

/// How long a sweep is watched.
fn look() -> Duration {
    Duration::from_secs(if is_long() { 30 } else { 1 })
}

/// Set in the process that measures itself.
const ALONE: &str = "SCALE_ALONE";
const LATER: Duration = Duration::from_secs(1800);
/// The size of a copied upload, and of a chunk beside them.
const TOTAL: u64 = 10;
const CHUNK: usize = 64 * 1024;
