//! Nodes, and what is set by the seed.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::io::AsyncReadExt;
use tokio::task::unconstrained;
use tokio::time::sleep;

use super::Checked;
use super::faults::{Cloud, FaultStore, Weather};
use super::known::Known;
use crate::store::bucket::Mutation;
use crate::store::{BucketStore, DynStore, StoreError};
use crate::{Error, Event, Expiry, Observer, TokenKeys, UploadId, Uploads};

/// What a seed sets for its whole run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) nodes: usize,
    pub(super) uploads: usize,
    pub(super) steps: usize,
    pub(super) weather: Weather,
    pub(super) segment: usize,
    /// How many segments all uploads of a node may gather together.
    pub(super) segments: usize,
    pub(super) expiry: Expiry,
    /// Two clients have one upload.
    pub(super) races: bool,
    pub(super) cancels: bool,
    pub(super) persists: bool,
    /// Chunks of more than one batch.
    pub(super) large: bool,
    /// One in so many chunks and completions takes longer than the grace.
    pub(super) stalls: Option<u64>,
    pub(super) kills: bool,
    pub(super) freezes: bool,
    pub(super) sweeps: bool,
    pub(super) mutation: Mutation,
}

impl Plan {
    pub(super) fn new(dice: &mut Rng, mutation: Mutation) -> Self {
        let rate = [0, 10, 40, 120][dice.usize(0..4)];
        let often = |dice: &mut Rng| dice.u8(0..4) > 0;
        let share = |dice: &mut Rng| if dice.bool() { dice.u32(0..=rate) } else { 0 };
        let weather = Weather {
            refused: share(dice),
            lost: share(dice),
            retried: share(dice),
            late: share(dice),
            doubled: share(dice),
            conflict: share(dice),
            torn: share(dice),
            slow: share(dice),
            unlisted: if dice.bool() { dice.usize(1..4) } else { 0 },
            unlisted_for: Duration::from_secs(dice.u64(1..10)),
            latest: LATEST,
            strict_removal: dice.bool(),
            page: [2, 5, 1000][dice.usize(0..3)],
        };
        // Chunks of more than one batch.
        let large = dice.u8(0..4) == 0;
        let segments = if large { [3000, 10_000, 20_000, 50_000] } else { [7, 40, 150, 1000] };
        let expiry = if dice.bool() { Expiry::AfterCreation } else { Expiry::AfterLastChunk };
        let mut plan = Self {
            nodes: dice.usize(2..=4),
            uploads: dice.usize(1..=4),
            steps: dice.usize(4..=16),
            weather,
            segment: segments[dice.usize(0..4)],
            segments: [1, 3, 1000][dice.usize(0..3)],
            expiry: expiry(LIFE),
            races: often(dice),
            cancels: often(dice),
            persists: dice.bool(),
            large,
            stalls: [None, Some(20), Some(3)][dice.usize(0..3)],
            kills: dice.bool(),
            freezes: dice.bool(),
            sweeps: often(dice),
            mutation,
        };
        if mutation == Mutation::NoGrace {
            // Few seeds have all that it takes: an upload that is removed and collected while a
            // request to it is on its way.
            (plan.cancels, plan.races, plan.sweeps) = (true, true, true);
            plan.weather.late = 120;
            plan.weather.doubled = 120;
        }
        plan
    }
}

/// A process that serves uploads.
pub(super) struct Node {
    pub(super) number: usize,
    pub(super) link: FaultStore,
    pub(super) store: Box<dyn DynStore>,
    pub(super) uploads: Uploads,
}

pub(super) struct World {
    pub(super) cloud: Arc<Cloud>,
    pub(super) plan: Plan,
    /// Those of all nodes.
    pub(super) keys: TokenKeys,
    dice: Mutex<Rng>,
    nodes: Mutex<Vec<Arc<Node>>>,
    count: Mutex<usize>,
    /// Sees the objects as they are.
    audit: Box<dyn DynStore>,
    known: Arc<Register>,
    again: AtomicU64,
}

/// The uploads that clients know, and the first thing that was found wrong.
#[derive(Default)]
pub(super) struct Register {
    known: Mutex<Vec<Arc<Mutex<Known>>>>,
    wrong: Mutex<Option<String>>,
}

/// What came of a request.
pub(super) enum Answer<T, E = Error> {
    Got(T),
    Failed(E),
    /// Nobody knows.
    Lost,
}

impl World {
    pub(super) fn new(cloud: Arc<Cloud>, plan: Plan, dice: Rng) -> Checked<Arc<Self>> {
        let clock = {
            let cloud = Arc::clone(&cloud);
            move || cloud.now()
        };
        let audit = connect(Arc::new(cloud.objects()), &plan, clock)?;
        let nodes = plan.nodes;
        let mut keys = TokenKeys::new([7; 32]).map_err(|error| error.to_string())?;
        keys.is_good_for_all = plan.mutation == Mutation::NoUploadInToken;
        let world = Self {
            cloud,
            plan,
            keys,
            dice: Mutex::new(dice),
            nodes: Mutex::default(),
            count: Mutex::new(0),
            audit: Box::new(audit),
            known: Arc::default(),
            again: AtomicU64::new(0),
        };
        for _ in 0..nodes {
            world.start_node()?;
        }
        world.cloud.set_weather(world.plan.weather.clone());
        Ok(Arc::new(world))
    }

    pub(super) fn dice(&self) -> MutexGuard<'_, Rng> {
        self.dice.lock().unwrap()
    }

    /// Whether it happens, in one of so many cases.
    pub(super) fn one_in(&self, cases: u64) -> bool {
        self.below(cases) == 0
    }

    pub(super) fn below(&self, limit: u64) -> u64 {
        self.dice().u64(0..limit)
    }

    pub(super) fn flip(&self) -> bool {
        self.dice().bool()
    }

    /// As long as this at most.
    pub(super) fn time(&self, longest: Duration) -> Duration {
        let millis = u64::try_from(longest.as_millis()).unwrap();
        Duration::from_millis(self.below(millis + 1))
    }

    /// Takes very long, now and then.
    pub(super) async fn stall(&self) {
        if self.plan.stalls.is_some_and(|cases| self.one_in(cases)) {
            self.cloud.note(format_args!("somebody takes very long"));
            sleep(2 * GRACE + self.time(2 * GRACE)).await;
        }
    }

    pub(super) async fn pause(&self, longest: Duration) {
        let pause = self.time(longest);
        sleep(pause).await;
    }

    pub(super) fn start_node(&self) -> Checked<Arc<Node>> {
        let number = {
            let mut count = self.count.lock().unwrap();
            *count += 1;
            *count
        };
        let (link, cloud) = (FaultStore::new(&self.cloud, number), Arc::clone(&self.cloud));
        let (skew, back) = (Duration::from_millis(self.below(SKEW)), self.flip());
        let clock = move || if back { cloud.now() - skew } else { cloud.now() + skew };
        let store = connect(Arc::new(link.clone()), &self.plan, clock.clone())?;
        let uploads = Uploads::builder(store.clone())
            .expiry(self.plan.expiry)
            .batch_bytes(16 * 1024)
            .clock(clock)
            .observer(Watcher(Arc::clone(&self.known)))
            .build()
            .map_err(|error| error.to_string())?;
        let node = Arc::new(Node { number, link, store: Box::new(store), uploads });
        self.cloud.note(format_args!("node {number} starts"));
        self.nodes().push(Arc::clone(&node));
        Ok(node)
    }

    pub(super) fn nodes(&self) -> MutexGuard<'_, Vec<Arc<Node>>> {
        self.nodes.lock().unwrap()
    }

    /// A node that lives.
    pub(super) async fn pick(&self) -> Arc<Node> {
        loop {
            {
                let nodes = self.nodes();
                if !nodes.is_empty() {
                    let number = self.dice().usize(0..nodes.len());
                    return Arc::clone(&nodes[number]);
                }
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// An upload was begun by a creation with a key that was sent again, as its answer was lost.
    pub(super) fn begun_again(&self) {
        self.again.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn again(&self) -> u64 {
        self.again.load(Ordering::Relaxed)
    }

    pub(super) fn kill(&self, node: &Arc<Node>) {
        self.cloud.note(format_args!("node {} dies", node.number));
        self.nodes().retain(|other| !Arc::ptr_eq(other, node));
        node.link.die();
    }

    /// What the node answers, unless it dies or its client loses its patience.
    pub(super) async fn ask<T, E>(
        &self,
        node: &Node,
        patience: Duration,
        work: impl Future<Output = Result<T, E>>,
    ) -> Answer<T, E> {
        tokio::select! {
            biased;
            result = work => match result {
                Ok(answer) => Answer::Got(answer),
                Err(error) => Answer::Failed(error),
            },
            () = node.link.died() => Answer::Lost,
            () = sleep(patience) => Answer::Lost,
        }
    }

    /// How long a client waits for an answer.
    pub(super) fn patience(&self) -> Duration {
        match self.below(10) {
            0 => Duration::from_millis(self.below(2000)),
            1 | 2 => LONG,
            _ if self.plan.stalls.is_some() => LONG,
            _ => Duration::from_secs(self.dice().u64(5..120)),
        }
    }

    pub(super) fn enter(&self, known: Known) -> Arc<Mutex<Known>> {
        let known = Arc::new(Mutex::new(known));
        self.known.known.lock().unwrap().push(Arc::clone(&known));
        known
    }

    pub(super) fn known(&self) -> Vec<Arc<Mutex<Known>>> {
        self.known.known.lock().unwrap().clone()
    }

    pub(super) fn blame(&self, wrong: String) {
        self.known.blame(wrong);
    }

    pub(super) fn wrong(&self) -> Checked {
        self.known.wrong.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    /// The objects tell of the upload what they must.
    pub(super) async fn check(&self, known: &Mutex<Known>) -> Checked {
        let id = known.lock().unwrap().id;
        let (record, file) = unconstrained(async {
            let record = self.audit.load(&id).await;
            let file = match self.audit.open(&id).await {
                Ok(mut reader) => {
                    let mut bytes = Vec::new();
                    let read = reader.read_to_end(&mut bytes).await;
                    read.map(|_| bytes).map_err(|error| StoreError::io("read", error))
                }
                Err(error) => Err(error),
            };
            (record, file)
        })
        .await;
        let (mut known, now) = (known.lock().unwrap(), self.cloud.now());
        let record = match record {
            Err(StoreError::NotFound | StoreError::Removed { .. }) if !known.must_live(now) => {
                return Ok(());
            }
            record => record.map_err(|error| format!("its record: {error:?}"))?,
        };
        if known.must_be_gone() {
            return Err("it is gone and still there".to_owned());
        }
        let finished = known.finished;
        known.check_record(&record, finished)?;
        if record.offset() < known.floor {
            return Err(format!("it stood at {}, its record says {record:?}", known.floor));
        }
        let file = file.map_err(|error| format!("its bytes: {error:?}"))?;
        if file.len() as u64 != record.offset() {
            return Err(format!("it has {} bytes, its record says {record:?}", file.len()));
        }
        known.holds(&file, "the file")
    }

    /// Where the application puts its files.
    pub(super) fn target(&self, id: &UploadId) -> Path {
        Path::from(format!("{MEDIA}/{}-{}", id, self.dice().u8(0..2)))
    }

    /// Nothing is left but what the application has taken.
    pub(super) fn check_remains(&self) -> Checked {
        for key in self.cloud.keys() {
            let name = key.as_ref();
            let Some(name) = name.strip_prefix(MEDIA).and_then(|name| name.strip_prefix('/'))
            else {
                return Err(format!("{key} is left"));
            };
            let known = self.known();
            let known = known.iter().map(|known| known.lock().unwrap());
            let Some(known) = { known }.find(|known| name.starts_with(known.id.as_str())) else {
                return Err(format!("{key} is nobody's"));
            };
            let bytes = self.cloud.read(&key).unwrap_or_default();
            known.is_made_of_chunks(&bytes, "a file of the application's")?;
        }
        for known in self.known() {
            let known = known.lock().unwrap();
            if let (Some(target), Some(taken)) = (&known.target, &known.taken)
                && self.cloud.read(target).as_deref() != Some(taken)
            {
                return Err(format!("the application's file is not at {target}"));
            }
        }
        Ok(())
    }
}

impl Register {
    fn blame(&self, wrong: String) {
        self.wrong.lock().unwrap().get_or_insert(wrong);
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.number)
    }
}

fn connect(
    objects: Arc<dyn ObjectStore>,
    plan: &Plan,
    clock: impl Fn() -> SystemTime + Send + Sync + 'static,
) -> Checked<BucketStore> {
    BucketStore::builder(objects)
        .segment_bytes(plan.segment)
        .max_buffered_bytes(plan.segment * plan.segments)
        .smallest_part(1)
        .grace(GRACE)
        .clock(clock)
        .mutation(plan.mutation)
        .unchecked()
        .map_err(|error| format!("a node does not start: {error:?}"))
}

/// Sees what becomes of uploads, also where their clients do not.
struct Watcher(Arc<Register>);

impl Observer for Watcher {
    async fn on_event(&self, event: &Event, _: Option<&http::Extensions>) {
        let upload = event.upload();
        let found = {
            let known = self.0.known.lock().unwrap();
            known.iter().find(|known| known.lock().unwrap().id == upload.id).cloned()
        };
        let Some(found) = found else { return };
        let mut known = found.lock().unwrap();
        let seen = match event {
            Event::Cancelled(_) => known.cancelled(upload.offset()),
            Event::Expired(_) => known.gone(upload.offset()),
            Event::Completed(_) => known.completed(),
            _ => Ok(()),
        };
        if let Err(wrong) = seen {
            self.0.blame(format!("upload {}: {wrong}", upload.id));
        }
    }
}

/// How long the objects of a removed upload are kept.
pub(super) const GRACE: Duration = Duration::from_secs(600);
/// A request that takes so long has its effect no later than this.
pub(super) const LATEST: Duration = Duration::from_secs(270);
pub(super) const LIFE: Duration = Duration::from_secs(3600);
/// Longer than anything is waited for.
pub(super) const LONG: Duration = Duration::from_secs(4 * 3600);
const SKEW: u64 = 5000;
const MEDIA: &str = "media";
