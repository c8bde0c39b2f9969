//! What many uploads cost: requests of each kind, how evenly they spread over the shards, and
//! memory.
//!
//! `LONG=1` has 1,000,000 pending uploads and prints the table that the docs have; do it in a
//! release build.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use allocation_counter::measure;
use async_trait::async_trait;
use bytes::Bytes;
use fastrand::Rng;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attribute, AttributeValue, CopyOptions, Error, GetOptions, GetResult, GetResultPayload,
    ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::is_long;
use crate::id::seeded;
use crate::store::BucketStore;
use crate::{AppendMode, NewUpload, UploadId, Uploads};

#[test]
fn load_spreads_over_the_shards_and_costs_a_few_requests() {
    let load = if is_long() {
        Load { uploads: 1_000_000, active: 2500, rate: 10_000, seconds: 20 }
    } else {
        Load { uploads: 1000, active: 250, rate: 1000, seconds: 1 }
    };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    // So that the dice fall in the same way each time.
    seeded::set(Some(1));
    let info = measure(|| runtime.block_on(load.run()));
    seeded::set(None);
    let peak = info.bytes_max >> 20;
    println!("memory of {NODES} nodes and their clients: {peak} MiB at most");
    // What they remember is bounded, and what is under way; neither grows with the uploads.
    assert!(peak < 256, "{peak} MiB");
}

struct Load {
    uploads: usize,
    /// So many of them get chunks when it is not all.
    active: usize,
    /// Chunks in a second.
    rate: usize,
    seconds: usize,
}

/// An upload as its client knows it.
struct Pending {
    id: UploadId,
    offset: u64,
    node: usize,
}

impl Load {
    async fn run(&self) {
        println!("{} pending uploads, {} chunks/s, {NODES} nodes", self.uploads, self.rate);
        let objects = Counted::default();
        let nodes: Vec<_> = (0..NODES).map(|_| node(&objects)).collect();
        let counted = &objects.0;
        let mut pending = self.begin(&nodes).await;
        let mut dice = Rng::with_seed(1);
        counted.report("a creation", self.uploads, 4.0);

        let strangers: Vec<_> = (0..NODES).map(|_| node(&objects)).collect();
        for (what, nodes, among, sticky, most) in [
            (
                "a chunk on a node that does not know the upload",
                &strangers,
                self.uploads,
                false,
                5.5,
            ),
            ("a chunk on one node after the other", &nodes, self.active, false, 7.0),
            ("a chunk on the node of the one before", &nodes, self.active, true, 2.5),
        ] {
            if among == self.active {
                // The nodes get to know them.
                for _ in 0..NODES {
                    self.chunks(nodes, &mut pending, among, sticky, &mut dice).await;
                }
                counted.reset();
            }
            let mut all = vec![0; SHARDS];
            let mut ratios = Vec::new();
            for _ in 0..self.seconds {
                self.chunks(nodes, &mut pending, among, sticky, &mut dice).await;
                let second = counted.end_of_second();
                ratios.push(busiest(&second));
                all.iter_mut().zip(second).for_each(|(all, one)| *all += one);
            }
            let worst = ratios.iter().copied().fold(0.0, f64::max);
            let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
            println!(
                "the busiest shard has {mean:.2} times the mean in a second, {worst:.2} in the worst of \
                 {}, {:.2} in all of them",
                ratios.len(),
                busiest(&all)
            );
            // As dice fall: more than five deviations never happen.
            let uploads = among.min(self.rate);
            let deviation = (SHARDS as f64 / uploads as f64).sqrt();
            assert!((worst - 1.0) / deviation < 5.0, "{what}: {worst:.2}");
            // With few uploads some shards have more of them than others, for as long as they last.
            assert!(busiest(&all) < 1.5 || uploads < 10_000, "{what}: {:.2}", busiest(&all));
            counted.report(what, self.seconds * self.rate, most);
        }

        nodes[0].delete_expired().await.unwrap();
        // Each shard's part of the index is left at its first entry of the future.
        let pages = counted.report("a sweep of nothing", 1, f64::INFINITY);
        let most = self.uploads.div_ceil(1000) + 2 * SHARDS;
        assert!(pages <= most, "{pages} requests, {most} were due");

        sleep(LIFE).await;
        let expired = nodes[1].delete_expired().await.unwrap();
        assert_eq!(expired.incomplete, self.uploads as u64);
        counted.report("an upload that expires", self.uploads, 8.5);
        sleep(2 * GRACE).await;
        nodes[2].delete_expired().await.unwrap();
        counted.report("an upload that is deleted", self.uploads, 30.0);
        let left: Vec<_> = counted.state().objects.keys().take(3).cloned().collect();
        assert_eq!(left, <[String; 0]>::default());
    }

    async fn begin(&self, nodes: &[Uploads]) -> Vec<Pending> {
        let mut pending = uncounted(|| Vec::with_capacity(self.uploads));
        let mut tasks = JoinSet::new();
        for number in 0..self.uploads {
            let node = number % nodes.len();
            let uploads = nodes[node].clone();
            tasks.spawn(async move {
                let mut append =
                    uploads.for_owner(None).create(NewUpload::new().total(1 << 40)).await.unwrap();
                append.write(&b"bytes"[..]).await.unwrap();
                let upload = append.commit().await.unwrap();
                Pending { id: upload.id, offset: upload.offset(), node }
            });
            if tasks.len() == AT_ONCE {
                pending.extend(tasks.join_next().await.map(|task| task.unwrap()));
            }
        }
        while let Some(task) = tasks.join_next().await {
            pending.push(task.unwrap());
        }
        pending
    }

    /// A second of chunks, each to another upload.
    async fn chunks(
        &self,
        nodes: &[Uploads],
        pending: &mut [Pending],
        among: usize,
        sticky: bool,
        dice: &mut Rng,
    ) {
        let mut tasks = JoinSet::new();
        let begin = Instant::now();
        let (first, step) = (dice.usize(0..among), stride(among));
        for number in 0..self.rate {
            let chosen = (first + number * step) % among;
            let Pending { id, offset, node } = &mut pending[chosen];
            if !sticky {
                *node = (*node + 1) % nodes.len();
            }
            let (uploads, id, at) = (nodes[*node].clone(), *id, *offset);
            *offset += CHUNK.len() as u64;
            // The next chunk of the same upload comes when this one is done.
            let turn = (number / among) as u32;
            let turns = self.rate.div_ceil(among) as u32;
            let slot = Duration::from_secs(1) / turns;
            let start = begin + slot * turn + slot.mul_f64(dice.f64() / 2.0);
            tasks.spawn(async move {
                tokio::time::sleep_until(start).await;
                let mut append =
                    uploads.for_operator().append(&id, at, AppendMode::AllOrNothing).await.unwrap();
                append.write(CHUNK).await.unwrap();
                append.commit().await.unwrap();
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
        tokio::time::sleep_until(begin + Duration::from_secs(1)).await;
    }
}

/// How much more than the mean the busiest has.
fn busiest(shards: &[usize]) -> f64 {
    let (most, all) = (shards.iter().max().unwrap(), shards.iter().sum::<usize>());
    *most as f64 * shards.len() as f64 / all as f64
}

/// A step that comes to all of so many before it comes back.
fn stride(among: usize) -> usize {
    let mut step = among * 5 / 13 + 1;
    let common = |mut one: usize, mut two: usize| {
        while two > 0 {
            (one, two) = (two, one % two);
        }
        one
    };
    while common(among, step) != 1 {
        step += 1;
    }
    step
}

fn node(counted: &Counted) -> Uploads {
    let start = counted.0.start;
    let clock = move || UNIX_EPOCH + EPOCH + start.elapsed();
    let store = BucketStore::builder(Arc::new(counted.clone()))
        .grace(GRACE)
        .clock(clock)
        .unchecked()
        .unwrap();
    Uploads::builder(store).expires_after(LIFE).clock(clock).build().unwrap()
}

/// Objects that count who asks for them, and whose memory is nobody's.
#[derive(Clone, Debug, Default)]
struct Counted(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    start: Instant,
    state: Mutex<State>,
    calls: [AtomicUsize; KINDS.len()],
}

#[derive(Debug)]
struct State {
    objects: BTreeMap<String, Object>,
    shards: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Object {
    bytes: Bytes,
    attributes: Vec<(Attribute, AttributeValue)>,
    written: SystemTime,
}

#[derive(Clone, Copy)]
enum Kind {
    Put,
    Get,
    Head,
    List,
    Delete,
}

const KINDS: [&str; 5] = ["PUT", "GET", "HEAD", "LIST", "DELETE"];

impl Default for Counts {
    fn default() -> Self {
        let state = State { objects: BTreeMap::new(), shards: vec![0; SHARDS] };
        Self { start: Instant::now(), state: Mutex::new(state), calls: Default::default() }
    }
}

impl Counts {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn call(&self, kind: Kind, key: &Path) {
        self.calls[kind as usize].fetch_add(1, Ordering::Relaxed);
        let shard = key.as_ref().split('/').nth(2);
        if let Some(shard) = shard.and_then(|shard| usize::from_str_radix(shard, 16).ok()) {
            self.state().shards[shard] += 1;
        }
        sleep(ROUND_TRIP).await;
    }

    /// The requests for each shard in this second.
    fn end_of_second(&self) -> Vec<usize> {
        std::mem::replace(&mut self.state().shards, vec![0; SHARDS])
    }

    fn reset(&self) -> Vec<usize> {
        self.state().shards.fill(0);
        self.calls.iter().map(|calls| calls.swap(0, Ordering::Relaxed)).collect()
    }

    /// Tells what so many of these have cost, which is at most so many requests each.
    fn report(&self, what: &str, count: usize, most: f64) -> usize {
        let calls = self.reset();
        let each = |calls: usize| calls as f64 / count as f64;
        let all = calls.iter().sum();
        let kinds = KINDS.iter().zip(&calls).filter(|(_, calls)| **calls > 0);
        let kinds: Vec<_> =
            kinds.map(|(kind, calls)| format!("{:.2} {kind}", each(*calls))).collect();
        println!("| {what} | {:.2} | {} |", each(all), kinds.join(", "));
        assert!(each(all) <= most, "{what}: {:.2} requests", each(all));
        all
    }
}

impl Counted {
    fn pages(
        &self,
        prefix: Option<&Path>,
        after: Option<String>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned().unwrap_or_default();
        let below = format!("{prefix}/");
        let first = after.unwrap_or_else(|| below.clone());
        let counts = Arc::clone(&self.0);
        let pages = stream::try_unfold(Some(first), move |after| {
            let (counts, prefix, below) = (Arc::clone(&counts), prefix.clone(), below.clone());
            async move {
                let Some(after) = after else { return Ok::<_, Error>(None) };
                counts.call(Kind::List, &prefix).await;
                let state = counts.state();
                let rest = (Bound::Excluded(after), Bound::Unbounded);
                let found =
                    state.objects.range(rest).take_while(|(key, _)| key.starts_with(&below));
                let page: Vec<_> =
                    found.take(PAGE).map(|(key, object)| Ok(meta(key, object))).collect();
                let last = page.last().filter(|_| page.len() == PAGE);
                let next = last.and_then(|last| Some(last.as_ref().ok()?.location.to_string()));
                Ok(Some((stream::iter(page), next)))
            }
        });
        pages.try_flatten().boxed()
    }
}

fn meta(key: &str, object: &Object) -> ObjectMeta {
    ObjectMeta {
        location: Path::from(key),
        last_modified: object.written.into(),
        size: object.bytes.len() as u64,
        e_tag: None,
        version: None,
    }
}

/// Memory that is not a node's.
fn uncounted<T>(work: impl FnOnce() -> T) -> T {
    let mut result = None;
    allocation_counter::opt_out(|| result = Some(work()));
    result.unwrap()
}

fn unasked() -> Error {
    Error::NotSupported { source: "nobody should ask for this".into() }
}

#[async_trait]
impl ObjectStore for Counted {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        self.0.call(Kind::Put, location).await;
        uncounted(|| {
            let mut state = self.0.state();
            let key = location.as_ref();
            if opts.mode == PutMode::Create && state.objects.contains_key(key) {
                let source = "412".into();
                return Err(Error::AlreadyExists { path: key.to_owned(), source });
            }
            let attributes = opts.attributes.iter();
            let attributes = attributes.map(|(name, value)| (name.clone(), value.clone()));
            let bytes: Vec<u8> = payload.iter().flatten().copied().collect();
            let object = Object {
                bytes: bytes.into(),
                attributes: attributes.collect(),
                written: UNIX_EPOCH + EPOCH + self.0.start.elapsed(),
            };
            state.objects.insert(key.to_owned(), object);
            Ok(())
        })?;
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(unasked())
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.call(if options.head { Kind::Head } else { Kind::Get }, location).await;
        let key = location.as_ref();
        let found = self.0.state().objects.get(key).cloned();
        let Some(object) = found else {
            return Err(Error::NotFound { path: key.to_owned(), source: "404".into() });
        };
        let range = 0..object.bytes.len() as u64;
        Ok(GetResult {
            meta: meta(key, &object),
            payload: GetResultPayload::Stream(stream::iter([Ok::<_, Error>(object.bytes)]).boxed()),
            range,
            attributes: object.attributes.into_iter().collect(),
            extensions: Default::default(),
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let counted = Arc::clone(&self.0);
        let deleted = locations.then(move |key| {
            let counted = Arc::clone(&counted);
            async move {
                let key = key?;
                counted.call(Kind::Delete, &key).await;
                uncounted(|| drop(counted.state().objects.remove(key.as_ref())));
                Ok(key)
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.pages(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.pages(prefix, Some(offset.to_string()))
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(unasked())
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(unasked())
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("objects that are counted")
    }
}

const NODES: usize = 4;
const SHARDS: usize = 256;
const CHUNK: &[u8] = b"some bytes";
const AT_ONCE: usize = 2000;
const PAGE: usize = 1000;
const ROUND_TRIP: Duration = Duration::from_millis(10);
const GRACE: Duration = Duration::from_secs(3600);
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
const EPOCH: Duration = Duration::from_secs(1_700_000_000);
