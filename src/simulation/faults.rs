//! An object store as nodes see it: over a network, with what goes wrong there.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::future::Future;
use std::hash::{DefaultHasher, Hasher};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use fastrand::Rng;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

/// What goes wrong, each in so many of 1000 calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Weather {
    /// Refused, and nothing was done.
    pub(super) refused: u32,
    /// Done, and the answer was lost.
    pub(super) lost: u32,
    /// Done, and done again before the answer, which is the second one's.
    pub(super) retried: u32,
    /// Called a failure, and done later.
    pub(super) late: u32,
    /// Done, and later done again.
    pub(super) doubled: u32,
    /// A create that is told that there is such an object, though there is none.
    pub(super) conflict: u32,
    /// A body that ends in its middle.
    pub(super) torn: u32,
    /// Slow.
    pub(super) slow: u32,
    /// A list lacks at most so many of the newest keys.
    pub(super) unlisted: usize,
    /// And only such that are younger than this.
    pub(super) unlisted_for: Duration,
    /// Nothing is done later than this after it was asked for.
    pub(super) latest: Duration,
    /// Removing what is not there fails.
    pub(super) strict_removal: bool,
    /// How many keys come with one call.
    pub(super) page: usize,
}

/// The engine behind all nodes.
pub(super) struct Cloud {
    objects: InMemory,
    start: Instant,
    state: Mutex<State>,
}

struct State {
    weather: Weather,
    dice: Rng,
    written: HashMap<Path, Instant>,
    trace: DefaultHasher,
    /// What was asked for since the last question, like `create log`.
    changes: BTreeSet<String>,
    told: bool,
    calls: u64,
    faults: u64,
}

impl Cloud {
    /// Without faults until there is [weather](Self::set_weather).
    pub(super) fn new(seed: u64, told: bool) -> Arc<Self> {
        let weather = Weather { page: 1000, ..Weather::default() };
        let state = State {
            weather,
            dice: Rng::with_seed(seed),
            written: HashMap::new(),
            trace: DefaultHasher::new(),
            changes: BTreeSet::new(),
            told,
            calls: 0,
            faults: 0,
        };
        let objects = InMemory::new();
        Arc::new(Self { objects, start: Instant::now(), state: Mutex::new(state) })
    }

    pub(super) fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// The true time, which no node knows.
    pub(super) fn now(&self) -> SystemTime {
        self.at(Instant::now())
    }

    fn at(&self, when: Instant) -> SystemTime {
        UNIX_EPOCH + EPOCH + (when - self.start)
    }

    /// The objects as they are, past all faults.
    pub(super) fn objects(&self) -> InMemory {
        self.objects.clone()
    }

    pub(super) fn keys(&self) -> Vec<Path> {
        let all = self.objects.list(None).map_ok(|meta| meta.location);
        all.try_collect().now_or_never().unwrap().unwrap()
    }

    pub(super) fn read(&self, key: &Path) -> Option<Bytes> {
        let object = self.objects.get(key).now_or_never().unwrap().ok()?;
        Some(object.bytes().now_or_never().unwrap().unwrap())
    }

    /// Puts a line into the trace.
    pub(super) fn note(&self, line: fmt::Arguments<'_>) {
        let mut state = self.state();
        let at = self.start.elapsed();
        let line = format!("{:>12.3} {line}", at.as_secs_f64());
        state.trace.write(line.as_bytes());
        if state.told {
            println!("{line}");
        }
    }

    /// The same for two runs that did the same.
    pub(super) fn trace(&self) -> u64 {
        self.state().trace.finish()
    }

    /// How many calls there were, and to how many something happened.
    pub(super) fn counts(&self) -> (u64, u64) {
        let state = self.state();
        (state.calls, state.faults)
    }

    /// The kinds of changes that were asked for since this was called last.
    pub(super) fn changes(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.state().changes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn wrote(&self, key: &Path) {
        self.state().written.insert(key.clone(), Instant::now());
    }

    fn dated(&self, mut meta: ObjectMeta) -> ObjectMeta {
        let when = self.state().written.get(&meta.location).copied();
        meta.last_modified = self.at(when.unwrap_or(self.start)).into();
        meta
    }

    /// The listed objects but for some of the newest.
    fn listed(&self, found: Vec<ObjectMeta>) -> Vec<ObjectMeta> {
        let mut hidden = {
            let mut state = self.state();
            let State { weather, dice, written, .. } = &mut *state;
            let young = |meta: &&ObjectMeta| {
                written.get(&meta.location).is_some_and(|at| at.elapsed() < weather.unlisted_for)
            };
            let mut hidden: Vec<_> =
                found.iter().filter(young).map(|meta| meta.location.clone()).collect();
            hidden.sort_by_key(|key| std::cmp::Reverse(written[key]));
            hidden.truncate(dice.usize(0..=weather.unlisted));
            hidden
        };
        hidden.sort();
        let seen = found.into_iter().filter(|meta| hidden.binary_search(&meta.location).is_err());
        seen.map(|meta| self.dated(meta)).collect()
    }

    fn plan(&self, kind: Kind) -> Plan {
        let mut state = self.state();
        let State { weather, dice, .. } = &mut *state;
        let delay = |dice: &mut Rng| {
            let slowest = if dice.u32(0..1000) < weather.slow { 10_000 } else { 30 };
            Duration::from_millis(dice.u64(1..=slowest))
        };
        let late = |dice: &mut Rng| {
            let latest = weather.latest.as_millis();
            Duration::from_millis(dice.u64(0..=u64::try_from(latest).unwrap()))
        };
        let mut point = dice.u32(0..1000);
        let mut falls = |share| match u32::checked_sub(point, share) {
            Some(rest) => {
                point = rest;
                false
            }
            None => {
                point = u32::MAX;
                true
            }
        };
        let fate = if falls(weather.refused) {
            Fate::Refused
        } else if falls(weather.lost) {
            Fate::Lost
        } else if falls(weather.retried) && kind.is_change() {
            Fate::Retried
        } else if falls(weather.late) && kind.is_change() {
            Fate::Late(late(dice))
        } else if falls(weather.doubled) && kind.is_repeatable() {
            Fate::Doubled(late(dice))
        } else if falls(weather.conflict) && kind == Kind::Create {
            Fate::Conflict
        } else if falls(weather.torn) && kind == Kind::Get {
            Fate::Torn
        } else {
            Fate::Good
        };
        let plan = Plan {
            fate,
            going: delay(dice),
            coming: delay(dice),
            silence: Duration::from_millis(dice.u64(10..30_000)),
            left: Left { goes_on: dice.bool(), after: dice.bool().then(|| late(dice)) },
        };
        state.calls += 1;
        state.faults += u64::from(fate != Fate::Good);
        plan
    }
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cloud").finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Put,
    Create,
    Get,
    Delete,
    List,
    Copy,
    Begin,
    Part,
    Complete,
}

impl Kind {
    fn is_change(self) -> bool {
        !matches!(self, Self::Get | Self::List)
    }

    /// Parts are consumed by what is made of them.
    fn is_repeatable(self) -> bool {
        matches!(self, Self::Put | Self::Create | Self::Delete | Self::Copy)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Good,
    Refused,
    Lost,
    Retried,
    Late(Duration),
    Doubled(Duration),
    Conflict,
    Torn,
}

struct Plan {
    fate: Fate,
    going: Duration,
    coming: Duration,
    /// How long a failure takes.
    silence: Duration,
    left: Left,
}

/// What becomes of a call whose caller has gone while it was under way.
struct Left {
    goes_on: bool,
    after: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Up,
    /// No answer comes through.
    Frozen,
    Dead,
}

/// The engine as one node sees it. A clone is the same node's.
#[derive(Clone)]
pub(super) struct FaultStore {
    cloud: Arc<Cloud>,
    node: usize,
    health: Arc<Mutex<Health>>,
    /// Wakes in the order of waiting, unlike a channel, so that a seed gives the same run again.
    changed: Arc<Notify>,
}

impl FaultStore {
    pub(super) fn new(cloud: &Arc<Cloud>, node: usize) -> Self {
        let health = Arc::new(Mutex::new(Health::Up));
        Self { cloud: Arc::clone(cloud), node, health, changed: Arc::default() }
    }

    /// From now on all calls hang. What is under way may still be done.
    pub(super) fn die(&self) {
        self.change(|_| Health::Dead);
    }

    pub(super) fn is_dead(&self) -> bool {
        *self.health.lock().unwrap() == Health::Dead
    }

    pub(super) async fn died(&self) {
        self.until(|health| health == Health::Dead).await;
    }

    /// No answer comes through until it is [thawed](Self::thaw).
    pub(super) fn freeze(&self) {
        self.change(|health| if health == Health::Up { Health::Frozen } else { health });
    }

    pub(super) fn thaw(&self) {
        self.change(|health| if health == Health::Frozen { Health::Up } else { health });
    }

    fn change(&self, change: impl Fn(Health) -> Health) {
        let mut health = self.health.lock().unwrap();
        *health = change(*health);
        self.changed.notify_waiters();
    }

    async fn until(&self, test: impl Fn(Health) -> bool) -> Health {
        loop {
            let changed = self.changed.notified();
            let mut changed = pin!(changed);
            changed.as_mut().enable();
            let health = *self.health.lock().unwrap();
            if test(health) {
                return health;
            }
            changed.await;
        }
    }

    /// One call: `effect` is what it does to the objects, whole or not at all.
    async fn call<T: Send + 'static>(
        &self,
        kind: Kind,
        key: &Path,
        effect: impl Fn() -> Result<T> + Send + Sync + 'static,
    ) -> Result<T> {
        if self.is_dead() {
            return std::future::pending().await;
        }
        let plan = self.cloud.plan(kind);
        if kind.is_change() {
            let change = format!("{kind:?} {}", kind_of(key)).to_lowercase();
            self.cloud.state().changes.insert(change);
        }
        let (node, fate) = (self.node, plan.fate);
        self.cloud.note(format_args!("node {node} {kind:?} {key} {fate:?}"));
        let (answer, answered) = oneshot::channel();
        let (link, key) = (self.clone(), key.clone());
        // On a task of its own: what was sent does not come back when its sender goes.
        tokio::spawn(async move {
            sleep(plan.going).await;
            if link.is_dead() || answer.is_closed() {
                if !plan.left.goes_on {
                    return;
                }
                sleep(plan.left.after.unwrap_or_default()).await;
            }
            let effect = || {
                let result = effect();
                let done = if result.is_ok() { "done" } else { "in vain" };
                link.cloud.note(format_args!("node {node} {kind:?} {key} {done}"));
                result
            };
            match fate {
                Fate::Good | Fate::Torn => {
                    let result = effect();
                    sleep(plan.coming).await;
                    drop(answer.send(result));
                }
                Fate::Refused => {
                    sleep(plan.silence).await;
                    drop(answer.send(Err(failed("503 Slow Down"))));
                }
                Fate::Lost => {
                    drop(effect());
                    sleep(plan.silence).await;
                    drop(answer.send(Err(failed("the answer did not come"))));
                }
                Fate::Retried => {
                    drop(effect());
                    sleep(plan.coming).await;
                    drop(answer.send(effect()));
                }
                Fate::Late(after) => {
                    drop(answer.send(Err(failed("the connection was lost"))));
                    sleep(after).await;
                    drop(effect());
                }
                Fate::Doubled(after) => {
                    let result = effect();
                    sleep(plan.coming).await;
                    drop(answer.send(result));
                    sleep(after).await;
                    drop(effect());
                }
                Fate::Conflict => {
                    sleep(plan.coming).await;
                    let source = "409 ConditionalRequestConflict".into();
                    let path = key.to_string();
                    drop(answer.send(Err(Error::AlreadyExists { path, source })));
                }
            }
        });
        let Ok(result) = answered.await else { return std::future::pending().await };
        match self.until(|health| health != Health::Frozen).await {
            Health::Up => result,
            _ => std::future::pending().await,
        }
    }

    async fn delete_one(&self, key: Path) -> Result<Path> {
        let cloud = Arc::clone(&self.cloud);
        let removed = key.clone();
        let effect = move || {
            let strict = cloud.state().weather.strict_removal;
            if strict && cloud.read(&removed).is_none() {
                let source = "404 BlobNotFound".into();
                return Err(Error::NotFound { path: removed.to_string(), source });
            }
            cloud.state().written.remove(&removed);
            now(cloud.objects.delete(&removed))
        };
        self.call(Kind::Delete, &key, effect).await?;
        Ok(key)
    }

    /// Some of the keys after `after`.
    async fn page(&self, prefix: &Path, after: Option<Path>) -> Result<Vec<ObjectMeta>> {
        let (cloud, within) = (Arc::clone(&self.cloud), prefix.clone());
        let effect = move || {
            let found = match &after {
                Some(after) => cloud.objects.list_with_offset(Some(&within), after),
                None => cloud.objects.list(Some(&within)),
            };
            let mut found = cloud.listed(now(found.try_collect())?);
            found.truncate(cloud.state().weather.page);
            Ok(found)
        };
        self.call(Kind::List, prefix, effect).await
    }

    fn pages(
        &self,
        prefix: Option<&Path>,
        after: Option<Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (link, prefix) = (self.clone(), prefix.cloned().unwrap_or_default());
        let pages = stream::try_unfold(Some(after), move |after| {
            let (link, prefix) = (link.clone(), prefix.clone());
            async move {
                let Some(after) = after else { return Ok::<_, Error>(None) };
                let size = link.cloud.state().weather.page;
                let page = link.page(&prefix, after).await?;
                let last = page.last().filter(|_| page.len() == size);
                let next = last.map(|meta| Some(meta.location.clone()));
                Ok(Some((stream::iter(page.into_iter().map(Ok)), next)))
            }
        });
        pages.try_flatten().boxed()
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let kind = if opts.mode == PutMode::Create { Kind::Create } else { Kind::Put };
        let (cloud, key) = (Arc::clone(&self.cloud), location.clone());
        let effect = move || {
            let result = now(cloud.objects.put_opts(&key, payload.clone(), opts.clone()))?;
            cloud.wrote(&key);
            Ok(result)
        };
        self.call(kind, location, effect).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.call(Kind::Begin, location, || Ok(())).await?;
        let (link, key) = (self.clone(), location.clone());
        let parts = Arc::new(Mutex::new(Some(Vec::new())));
        let parts = Parts { link, key, attributes: opts.attributes, parts };
        Ok(Box::new(parts) as _)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (cloud, key, head) = (Arc::clone(&self.cloud), location.clone(), options.head);
        let effect = move || {
            let mut found = now(cloud.objects.get_opts(&key, options.clone()))?;
            found.meta = cloud.dated(found.meta);
            Ok(found)
        };
        let mut found = self.call(Kind::Get, location, effect).await?;
        let torn = !head && self.cloud.plan(Kind::Get).fate == Fate::Torn;
        let GetResultPayload::Stream(body) = found.payload;
        let mut body: Vec<Result<Bytes>> = body.collect().await;
        if torn && let Some(Ok(bytes)) = body.first_mut() {
            bytes.truncate(bytes.len() / 2);
            body.push(Err(failed("the body ended early")));
        }
        found.payload = GetResultPayload::Stream(stream::iter(body).boxed());
        Ok(found)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let link = self.clone();
        let removed = locations.then(move |key| {
            let link = link.clone();
            async move { link.delete_one(key?).await }
        });
        removed.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.pages(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.pages(prefix, Some(offset.clone()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (cloud, within) = (Arc::clone(&self.cloud), prefix.cloned());
        let effect = move || {
            let mut found = now(cloud.objects.list_with_delimiter(within.as_ref()))?;
            found.objects = cloud.listed(found.objects);
            Ok(found)
        };
        self.call(Kind::List, &prefix.cloned().unwrap_or_default(), effect).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (cloud, source, target) = (Arc::clone(&self.cloud), from.clone(), to.clone());
        let effect = move || {
            now(cloud.objects.copy_opts(&source, &target, options.clone()))?;
            cloud.wrote(&target);
            Ok(())
        };
        self.call(Kind::Copy, to, effect).await
    }
}

/// Parts under way, which one object is made of.
#[derive(Debug)]
struct Parts {
    link: FaultStore,
    key: Path,
    attributes: Attributes,
    /// `None` once they are consumed.
    parts: Arc<Mutex<Option<Vec<Option<PutPayload>>>>>,
}

#[async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let number = self.parts.lock().unwrap().as_mut().map_or(0, |parts| {
            parts.push(None);
            parts.len() - 1
        });
        let (link, key, parts) = (self.link.clone(), self.key.clone(), Arc::clone(&self.parts));
        let effect = move || {
            let mut parts = parts.lock().unwrap();
            let part = parts.as_mut().and_then(|parts| parts.get_mut(number));
            *part.ok_or(failed("404 NoSuchUpload"))? = Some(data.clone());
            Ok(())
        };
        Box::pin(async move { link.call(Kind::Part, &key, effect).await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (cloud, key, parts) =
            (Arc::clone(&self.link.cloud), self.key.clone(), Arc::clone(&self.parts));
        let attributes = self.attributes.clone();
        let effect = move || {
            let parts = parts.lock().unwrap().take().ok_or(failed("404 NoSuchUpload"))?;
            let parts: Option<Vec<_>> = parts.into_iter().collect();
            let parts = parts.ok_or(failed("400 InvalidPart"))?;
            let bytes: PutPayload = parts.iter().flatten().cloned().collect();
            let options = PutOptions { attributes: attributes.clone(), ..PutOptions::default() };
            let result = now(cloud.objects.put_opts(&key, bytes, options))?;
            cloud.wrote(&key);
            Ok(result)
        };
        self.link.call(Kind::Complete, &self.key, effect).await
    }

    async fn abort(&mut self) -> Result<()> {
        let parts = Arc::clone(&self.parts);
        let effect = move || {
            drop(parts.lock().unwrap().take());
            Ok(())
        };
        self.link.call(Kind::Begin, &self.key, effect).await
    }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.node)
    }
}

impl fmt::Debug for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first part of a key that says what the object is.
pub(super) fn kind_of(key: &Path) -> String {
    let mut parts = key.parts().filter(|part| part.as_ref() != "chunked_uploads");
    parts.next().map_or_else(String::new, |part| part.as_ref().to_owned())
}

/// What in memory takes no time.
fn now<T>(doing: impl Future<Output = T>) -> T {
    doing.now_or_never().expect("in memory nothing waits")
}

fn failed(why: &'static str) -> Error {
    Error::Generic { store: "cloud", source: why.into() }
}

const EPOCH: Duration = Duration::from_secs(1_700_000_000);

#[cfg(test)]
mod tests {
    use super::*;

    const ALWAYS: u32 = 1000;

    fn cloud(weather: Weather) -> (Arc<Cloud>, FaultStore) {
        let cloud = Cloud::new(1, false);
        cloud.set_weather(Weather { page: 1000, latest: Duration::from_secs(60), ..weather });
        let node = FaultStore::new(&cloud, 1);
        (cloud, node)
    }

    fn key() -> Path {
        Path::from("a/b")
    }

    async fn create(node: &FaultStore, bytes: &'static str) -> Result<PutResult> {
        node.put_opts(&key(), bytes.into(), PutMode::Create.into()).await
    }

    fn exists(result: Result<PutResult>) -> bool {
        matches!(result, Err(Error::AlreadyExists { .. }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_call_does_nothing() {
        let (cloud, node) = cloud(Weather { refused: ALWAYS, ..Weather::default() });
        assert!(create(&node, "one").await.is_err());
        sleep(Duration::from_secs(100)).await;
        assert_eq!(cloud.keys(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_answer_is_lost_is_done() {
        let (cloud, node) = cloud(Weather { lost: ALWAYS, ..Weather::default() });
        assert!(matches!(create(&node, "one").await, Err(Error::Generic { .. })));
        assert_eq!(cloud.read(&key()).unwrap(), "one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_create_that_is_tried_again_meets_itself() {
        let (cloud, node) = cloud(Weather { retried: ALWAYS, ..Weather::default() });
        assert!(exists(create(&node, "one").await));
        assert_eq!(cloud.read(&key()).unwrap(), "one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_call_is_done_after_its_failure() {
        let (cloud, node) = cloud(Weather { late: ALWAYS, ..Weather::default() });
        assert!(create(&node, "one").await.is_err());
        assert_eq!(cloud.keys(), []);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(cloud.keys(), [key()]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_doubled_create_comes_again_if_the_key_is_free_then() {
        for freed in [false, true] {
            let (cloud, node) = cloud(Weather { doubled: ALWAYS, ..Weather::default() });
            create(&node, "one").await.unwrap();
            let put = if freed { PutMode::Create } else { PutMode::Overwrite };
            if freed {
                cloud.objects().delete(&key()).await.unwrap();
            } else {
                cloud.objects().put_opts(&key(), "two".into(), put.into()).await.unwrap();
            }
            sleep(Duration::from_secs(60)).await;
            assert_eq!(cloud.read(&key()).unwrap(), if freed { "one" } else { "two" });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_conflict_is_told_and_nothing_is_written() {
        let (cloud, node) = cloud(Weather { conflict: ALWAYS, ..Weather::default() });
        assert!(exists(create(&node, "one").await));
        sleep(Duration::from_secs(100)).await;
        assert_eq!(cloud.keys(), []);
        node.put(&key(), "one".into()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_torn_body_fails_in_its_middle() {
        let (_, node) = cloud(Weather { torn: ALWAYS, ..Weather::default() });
        create(&node, "whole").await.unwrap();
        assert!(node.get(&key()).await.unwrap().bytes().await.is_err());
        assert_eq!(node.head(&key()).await.unwrap().size, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_comes_in_pages_and_lacks_only_what_is_new() {
        let (cloud, node) = cloud(Weather::default());
        let keys: Vec<_> = (0..10).map(|number| Path::from(format!("a/{number}"))).collect();
        for key in &keys {
            node.put(key, "".into()).await.unwrap();
        }
        let unlisted_for = Duration::from_secs(5);
        cloud.set_weather(Weather { page: 3, unlisted: 2, unlisted_for, ..Weather::default() });
        let listed = async || {
            let found = node.list_with_offset(Some(&Path::from("a")), &keys[0]);
            found.map_ok(|meta| meta.location).try_collect::<Vec<_>>().await.unwrap()
        };
        let mut fewest = usize::MAX;
        for _ in 0..20 {
            let now = listed().await;
            assert!(now.starts_with(&keys[1..3]), "{now:?}");
            fewest = fewest.min(now.len());
        }
        assert!(fewest < 9, "it never lacks anything");
        sleep(unlisted_for).await;
        assert_eq!(listed().await, keys[1..]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_dead_or_frozen_node_has_sent_may_be_done() {
        let mut done = [0; 2];
        for seed in 0..20 {
            for (number, done) in done.iter_mut().enumerate() {
                let cloud = Cloud::new(seed, false);
                let node = FaultStore::new(&cloud, 1);
                let sender = node.clone();
                let sent = tokio::spawn(async move { create(&sender, "one").await });
                tokio::task::yield_now().await;
                if number == 0 {
                    node.die()
                } else {
                    node.freeze()
                }
                sleep(Duration::from_secs(100)).await;
                assert!(!sent.is_finished());
                *done += cloud.keys().len();
                node.thaw();
                sleep(Duration::from_secs(1)).await;
                assert_eq!(sent.is_finished(), number == 1);
            }
        }
        assert!(0 < done[0] && done[0] < 20, "{done:?}");
        assert_eq!(done[1], 20);
    }

    #[tokio::test(start_paused = true)]
    async fn parts_become_one_object_once() {
        let (cloud, node) = cloud(Weather::default());
        let mut upload = node.put_multipart(&key()).await.unwrap();
        upload.put_part("one ".into()).await.unwrap();
        upload.put_part("two".into()).await.unwrap();
        assert_eq!(cloud.keys(), []);
        upload.complete().await.unwrap();
        assert_eq!(cloud.read(&key()).unwrap(), "one two");
        assert!(upload.complete().await.is_err());
        let mut given_up = node.put_multipart(&Path::from("c")).await.unwrap();
        given_up.put_part("three".into()).await.unwrap();
        given_up.abort().await.unwrap();
        assert!(given_up.complete().await.is_err());
        assert_eq!(cloud.keys(), [key()]);
    }

    #[tokio::test(start_paused = true)]
    async fn removing_what_is_not_there_fails_where_it_does() {
        for strict_removal in [false, true] {
            let (_, node) = cloud(Weather { strict_removal, ..Weather::default() });
            assert_eq!(node.delete(&key()).await.is_err(), strict_removal);
            create(&node, "one").await.unwrap();
            node.delete(&key()).await.unwrap();
        }
    }
}
