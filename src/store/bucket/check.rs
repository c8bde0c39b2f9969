//! Whether an object store can be trusted with uploads, and whether the nodes agree. All is tried
//! when a node starts, and what every commit needs again at each check.

use std::fmt::Display;
use std::time::{Duration, SystemTime};

use futures_util::future::{join_all, ready};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, Error, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload,
};
use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::entry::{attribute, attributes, nonce};
use super::keys::Keys;
use super::log::CommitLog;
use super::objects::{Context, DELETED_AT_ONCE, Objects, Retries};
use crate::id::UploadId;
use crate::store::{Result, StoreError};

/// Tries everything that a store rests on, and whether the other nodes have the same settings.
pub(super) async fn check(log: &CommitLog, targets: &Objects, lease: Duration) -> Result<()> {
    let name = nonce();
    for probe in probes(log, targets, &name) {
        probe.checked(async || probe.trusted(probe.objects.is(&log.objects)).await).await?;
    }
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let here = Settings {
        format: FORMAT,
        grace_millis: millis(log.clock.grace),
        completion_lease_millis: millis(lease),
    };
    here.agree(&log.objects, &log.keys.settings()).await
}

/// Tries what a commit needs, while the store is in use.
pub(super) async fn probe(log: &CommitLog, targets: &Objects) -> Result<()> {
    let name = nonce();
    for probe in probes(log, targets, &name) {
        probe.remove_left(&log.clock).await;
        probe.checked(async || probe.creates_once().await).await?;
    }
    Ok(())
}

/// For the store, and for the one that files are persisted to if that is another.
fn probes<'a>(
    log: &'a CommitLog,
    targets: &'a Objects,
    name: &'a str,
) -> impl Iterator<Item = Probe<'a>> {
    let (objects, what) = (&log.objects, "the object store");
    let probe = Probe { objects, what, keys: &log.keys, name };
    let what = "the object store to persist to";
    let other = (!targets.is(objects)).then_some(Probe { objects: targets, what, ..probe });
    std::iter::once(probe).chain(other)
}

/// If two nodes differed in these, bytes could be lost.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Settings {
    /// Of the objects of this store.
    format: u32,
    grace_millis: u64,
    completion_lease_millis: u64,
}

impl Settings {
    /// Fails if the first of all nodes had others.
    async fn agree(&self, objects: &Objects, key: &Path) -> Result<()> {
        let here = serde_json::to_string(self).unwrap_or_default();
        let mut retries = Retries::default();
        let there = loop {
            let put = objects.create(key, here.clone().into(), Attributes::new()).await;
            let error = match put {
                Ok(()) => return Ok(()),
                Err(error @ Error::AlreadyExists { .. }) => error,
                Err(error) => return Err(error).context("write the settings of all nodes"),
            };
            let read = "read the settings of all nodes";
            if let Some(there) = objects.read(key).await.context(read)? {
                break there;
            }
            // Two came at once and neither was written, or somebody has just deleted it.
            retries.after(error).await.context(read)?;
        };
        if serde_json::from_slice(&there).is_ok_and(|there: Self| there == *self) {
            return Ok(());
        }
        let there = String::from_utf8_lossy(&there);
        let problem = format!(
            "all nodes must have the same grace and completion lease: {key} says {there}, and \
             this node {here}. To change them, stop all nodes and delete that object"
        );
        Err(StoreError::Config { problem })
    }
}

/// Whether this is the key of an object that a check has written. Where files are persisted to, the
/// application may have others below the same folder.
fn is_probe(folder: &Path, key: &Path) -> bool {
    let Some(mut parts) = key.prefix_match(folder) else { return false };
    let (nonce, name, more) = (parts.next(), parts.next(), parts.next());
    let is_nonce = nonce.is_some_and(|nonce| nonce.as_ref().parse::<UploadId>().is_ok());
    let is_name = name.is_some_and(|name| {
        let round = name.as_ref().strip_prefix("race-").map(str::parse::<usize>);
        name.as_ref() == "once" || round.is_some_and(|round| round.is_ok())
    });
    is_nonce && is_name && more.is_none()
}

/// Objects that are written to find out what the store does with them.
#[derive(Clone, Copy)]
struct Probe<'a> {
    objects: &'a Objects,
    what: &'a str,
    keys: &'a Keys,
    name: &'a str,
}

impl Probe<'_> {
    async fn trusted(&self, lists: bool) -> Result<()> {
        self.creates_once().await?;
        for round in 0..RACES {
            self.race(round).await?;
        }
        if lists { self.lists().await } else { Ok(()) }
    }

    /// Does this, and deletes what it has written, whatever came of it.
    async fn checked(&self, work: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
        let checked = work().await;
        let races = (0..RACES).map(|round| self.key(&format!("race-{round}")));
        let keys: Vec<_> = races.chain([self.key("once")]).collect();
        let deleted = self.objects.delete(&keys).await;
        checked?;
        self.granted("does not let this node delete", deleted)
    }

    /// Deletes what nodes have left that ended in the middle, when no request of theirs can still
    /// be under way. If it fails, a later check does it.
    async fn remove_left(&self, clock: &Clock) {
        let folder = self.keys.all_probes();
        let listing = self.objects.store.list(Some(&folder));
        let is_left = |object: &ObjectMeta| {
            is_probe(&folder, &object.location)
                && SystemTime::from(object.last_modified) + clock.grace <= clock.now()
        };
        let left = listing.try_filter(|object| ready(is_left(object))).take(DELETED_AT_ONCE);
        if let Ok(left) = left.map_ok(|object| object.location).try_collect::<Vec<_>>().await {
            drop(self.objects.delete(&left).await);
        }
    }

    fn key(&self, name: &str) -> Path {
        self.keys.probes(self.name).join(name)
    }

    /// The condition, metadata, ranges, and what is not there.
    async fn creates_once(&self) -> Result<()> {
        let key = self.key("once");
        let value = r#"{"a":"ü b  c","n":[1,2]}"#;
        let put = |text: &'static str| {
            let payload = PutPayload::from_static(BYTES);
            self.objects.create(&key, payload, attributes(PROBE, text))
        };
        match put(value).await {
            Err(error @ (Error::NotImplemented { .. } | Error::NotSupported { .. })) => {
                return Err(self.refuse("has no create-only write (If-None-Match)", &error));
            }
            // The name is nobody else's: it is this write, whose first answer was lost.
            Err(Error::AlreadyExists { .. }) => {}
            put => self.granted("does not let this node write", put)?,
        }
        match put("another").await {
            Err(Error::AlreadyExists { .. }) => {}
            Ok(()) => {
                return Err(self.refuse(IGNORES, &"it accepted a second object of the same name"));
            }
            put => self.granted(IGNORES, put)?,
        }
        let head = GetOptions { head: true, ..GetOptions::default() };
        let found = self.granted(UNREADABLE, self.objects.store.get_opts(&key, head).await)?;
        let came = attribute(&found.attributes, PROBE);
        if came.as_deref() != Some(value) {
            return Err(self.refuse("does not keep metadata", &format!("{came:?} came back")));
        }
        let bytes = self.granted(UNREADABLE, self.objects.store.get_range(&key, 2..5).await)?;
        if bytes != BYTES[2..5] {
            let came = format!("{} bytes", bytes.len());
            return Err(self.refuse("does not respect ranges", &came));
        }
        let silent = "does not say that an object is missing (on S3, that requires s3:ListBucket)";
        match self.granted(silent, self.objects.size(&self.key("missing")).await)? {
            None => Ok(()),
            Some(_) => Err(self.refuse(silent, &"it found one that was never written")),
        }
    }

    /// A listing may be late, but it must be in order, and begin where it is told to.
    async fn lists(&self) -> Result<()> {
        let below = self.keys.probes(self.name);
        let list = async |after| {
            let keys = self.objects.list(&below, after).try_collect::<Vec<_>>().await;
            self.granted("does not let this node list", keys)
        };
        if !list(None).await?.is_sorted() {
            return Err(self.refuse("does not list in order", &"the keys were not sorted"));
        }
        let after = self.key("race-0");
        match list(Some(&after)).await?.iter().all(|key| *key > after) {
            true => Ok(()),
            false => {
                Err(self.refuse("does not list from a given key", &"it began before that key"))
            }
        }
    }

    /// If many create the same object at once, one wins and its bytes are there.
    async fn race(&self, round: usize) -> Result<()> {
        let key = self.key(&format!("race-{round}"));
        let racers = (0..RACERS).map(async |racer| {
            let put = self.objects.create(&key, racer.to_string().into(), Attributes::new()).await;
            put.is_ok().then_some(racer)
        });
        let winners: Vec<_> = join_all(racers).await.into_iter().flatten().collect();
        if winners.len() > 1 {
            let why = format!("{} of {RACERS} writers won at the same time", winners.len());
            return Err(self.refuse(IGNORES, &why));
        }
        let there = self.granted(UNREADABLE, self.objects.read(&key).await)?;
        match winners.first() {
            Some(winner) if there.as_deref() != Some(winner.to_string().as_bytes()) => {
                Err(self.refuse(IGNORES, &"the object is not what the winner wrote"))
            }
            // Or nobody has won: S3 may refuse all that come at the same moment.
            _ => Ok(()),
        }
    }

    /// What came of a request. The store is refused if it failed.
    fn granted<T>(&self, what: &str, came: Result<T, Error>) -> Result<T> {
        came.map_err(|error| self.refuse(what, &with_source(&error)))
    }

    fn refuse(&self, what: &str, why: &dyn Display) -> StoreError {
        StoreError::Config { problem: format!("{} {what}: {why}", self.what) }
    }
}

/// An error with everything that led to it, which shows what is wrong with a setting.
fn with_source(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    for error in std::iter::successors(error.source(), |error| error.source()) {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
    }
    text
}

const PROBE: &str = "probe";
const UNREADABLE: &str = "does not let this node read";
const BYTES: &[u8] = b"0123456789";
const IGNORES: &str = "does not keep to create-only writes (If-None-Match), without which two nodes \
                       would write over each other's chunks";
/// Nodes whose formats differ must not work on the same bucket.
const FORMAT: u32 = 1;
const RACES: usize = 3;
const RACERS: usize = 20;
