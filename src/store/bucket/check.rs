//! Whether an object store can be trusted with uploads, and whether the nodes agree.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};

use super::entry::{attribute, attributes};
use super::keys::Keys;
use super::log::{Tries, delete, read};
use super::{Bucket, failed, nonce};
use crate::store::StoreError;

impl Bucket {
    /// Tries everything that this store rests on, and whether the other nodes have the same settings.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let name = nonce();
        let probe = Probe {
            objects: &*self.objects,
            what: "the object store",
            keys: &self.keys,
            name: &name,
        };
        probe.checked(true).await?;
        if !Arc::ptr_eq(&self.objects, &self.targets) {
            let what = "the object store to persist to";
            Probe { objects: &*self.targets, what, ..probe }.checked(false).await?;
        }
        self.agree().await
    }

    /// Whether what all nodes must have alike is what the first of them had.
    async fn agree(&self) -> Result<(), StoreError> {
        let key = self.keys.settings();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let here = Settings {
            format: FORMAT,
            grace_millis: millis(self.grace),
            completion_lease_millis: millis(self.lease),
        };
        let text = serde_json::to_string(&here).unwrap_or_default();
        let mut tries = Tries::default();
        let there = loop {
            let put =
                self.objects.put_opts(&key, text.clone().into(), PutMode::Create.into()).await;
            let error = match put {
                Ok(_) => return Ok(()),
                Err(error @ object_store::Error::AlreadyExists { .. }) => error,
                Err(error) => return Err(failed("write the settings of all nodes", error)),
            };
            match read(&*self.objects, &key).await {
                Ok(Some(there)) => break there,
                // Two came at once and neither was written, or somebody has just deleted it.
                Ok(None) => tries.after(error).await,
                Err(error) => Err(error),
            }
            .map_err(|error| failed("read the settings of all nodes", error))?;
        };
        if serde_json::from_slice(&there).is_ok_and(|there: Settings| there == here) {
            return Ok(());
        }
        let there = String::from_utf8_lossy(&there).into_owned();
        Err(StoreError::Config {
            problem: format!(
                "all nodes must have the same grace and completion lease: {key} says {there}, and this \
                 node {text}. To change them, stop all nodes and delete that object"
            ),
        })
    }
}

/// What two nodes that differ in it would lose bytes by.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Settings {
    /// Of the objects of this store.
    format: u32,
    grace_millis: u64,
    completion_lease_millis: u64,
}

/// Objects that are written to see what becomes of them.
#[derive(Clone, Copy)]
struct Probe<'a> {
    objects: &'a dyn ObjectStore,
    what: &'a str,
    keys: &'a Keys,
    name: &'a str,
}

impl Probe<'_> {
    async fn checked(&self, lists: bool) -> Result<(), StoreError> {
        let checked = async {
            self.creates_once().await?;
            for round in 0..RACES {
                self.race(round).await?;
            }
            if lists { self.lists().await } else { Ok(()) }
        };
        let checked = checked.await;
        let races = (0..RACES).map(|round| self.key(&format!("race-{round}")));
        let keys: Vec<_> = races.chain([self.key("once")]).collect();
        let deleted = delete(self.objects, &keys).await;
        checked?;
        deleted.map_err(|error| self.refuse("does not let this node delete", &with_source(&error)))
    }

    fn key(&self, name: &str) -> Path {
        self.keys.probe(self.name, name)
    }

    /// The condition, metadata, ranges, and what is not there.
    async fn creates_once(&self) -> Result<(), StoreError> {
        let key = self.key("once");
        let value = r#"{"a":"ü b  c","n":[1,2]}"#;
        let create = |text: &str| PutOptions {
            mode: PutMode::Create,
            attributes: attributes(PROBE, text),
            ..PutOptions::default()
        };
        let put = |text: &'static str| {
            self.objects.put_opts(&key, PutPayload::from_static(BYTES), create(text))
        };
        if let Err(error) = put(value).await {
            return Err(match error {
                object_store::Error::NotImplemented { .. }
                | object_store::Error::NotSupported { .. } => {
                    self.refuse("has no create-only write (If-None-Match)", &error)
                }
                _ => self.refuse("does not let this node write", &with_source(&error)),
            });
        }
        match put("another").await {
            Err(object_store::Error::AlreadyExists { .. }) => {}
            Ok(_) => return Err(self.refuse(IGNORES, &"a second one of the same name was taken")),
            Err(error) => return Err(self.refuse(IGNORES, &with_source(&error))),
        }
        let head = GetOptions { head: true, ..GetOptions::default() };
        match self.objects.get_opts(&key, head).await {
            Ok(found) if attribute(&found.attributes, PROBE).as_deref() == Some(value) => {}
            Ok(found) => {
                let came = attribute(&found.attributes, PROBE);
                return Err(self.refuse("does not keep metadata", &format!("{came:?} came back")));
            }
            Err(error) => return Err(self.unreadable(&error)),
        }
        match self.objects.get_range(&key, 2..5).await {
            Ok(bytes) if bytes == BYTES[2..5] => {}
            Ok(bytes) => {
                let came = format!("{} bytes", bytes.len());
                return Err(self.refuse("does not keep to ranges", &came));
            }
            Err(error) => return Err(self.unreadable(&error)),
        }
        let silent = "does not say that an object is missing (which on S3 takes s3:ListBucket)";
        match self.objects.head(&self.key("missing")).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.refuse(silent, &with_source(&error))),
            Ok(_) => Err(self.refuse(silent, &"there is one that nobody wrote")),
        }
    }

    /// A listing may be late, but must be in order, and pass over what it is told to.
    async fn lists(&self) -> Result<(), StoreError> {
        let below = self.keys.probes(self.name);
        let unlisted = |error| self.refuse("does not let this node list", &with_source(&error));
        let listing = self.objects.list(Some(&below)).map_ok(|object| object.location);
        let listed: Vec<_> = listing.try_collect().await.map_err(unlisted)?;
        if !listed.is_sorted() {
            return Err(self.refuse("does not list in order", &"keys came as they liked"));
        }
        let after = self.key("race-0");
        let listing = self.objects.list_with_offset(Some(&below), &after);
        let listing = listing.map_ok(|object| object.location);
        let listed: Vec<_> = listing.try_collect().await.map_err(unlisted)?;
        match listed.iter().all(|key| *key > after) {
            true => Ok(()),
            false => Err(self.refuse("does not list from a key on", &"it began before that key")),
        }
    }

    /// Of many that create the same object at once, one wins and its bytes are there.
    async fn race(&self, round: usize) -> Result<(), StoreError> {
        let key = self.key(&format!("race-{round}"));
        let racers = (0..RACERS).map(|racer| {
            let key = &key;
            let bytes = PutPayload::from(racer.to_string());
            let options = PutOptions::from(PutMode::Create);
            async move { (racer, self.objects.put_opts(key, bytes, options).await) }
        });
        let ended = join_all(racers).await;
        let winners: Vec<_> =
            ended.iter().filter(|(_, put)| put.is_ok()).map(|(racer, _)| *racer).collect();
        if winners.len() > 1 {
            let why = format!("{} of {RACERS} writers won at the same time", winners.len());
            return Err(self.refuse(IGNORES, &why));
        }
        let there = read(self.objects, &key).await.map_err(|error| self.unreadable(&error))?;
        match winners.first() {
            Some(winner) if there.as_deref() != Some(winner.to_string().as_bytes()) => {
                Err(self.refuse(IGNORES, &"what is there is not what the winner has written"))
            }
            // Or nobody has won: S3 may refuse all who come at the same moment.
            _ => Ok(()),
        }
    }

    fn unreadable(&self, error: &object_store::Error) -> StoreError {
        self.refuse("does not let this node read", &with_source(error))
    }

    fn refuse(&self, what: &str, why: &dyn Display) -> StoreError {
        StoreError::Config { problem: format!("{} {what}: {why}", self.what) }
    }
}

/// An error with all that led to it, which a setting's mistake is found by.
fn with_source(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

const PROBE: &str = "probe";
const BYTES: &[u8] = b"0123456789";
const IGNORES: &str = "does not keep to create-only writes (If-None-Match), without which two nodes \
                       would write over each other's chunks";
/// Another one says that nodes of this version must not work beside those of the other.
const FORMAT: u32 = 1;
const RACES: usize = 3;
const RACERS: usize = 20;
