//! Whether an object store can be trusted with uploads.

use std::fmt::Display;

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use object_store::{GetOptions, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::entry::{attribute, attributes};
use super::{Bucket, nonce};
use crate::store::StoreError;

impl Bucket {
    /// Tries everything that this store rests on.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let name = nonce();
        let checked = self.check_all(&name).await;
        let probes = self.keys_below(&self.keys.probes(&name)).await;
        let deleted = match probes {
            Ok(probes) => self.delete(probes).await,
            Err(error) => Err(error),
        };
        checked?;
        deleted.map_err(|error| refuse("does not let this node delete", &with_source(&error)))
    }

    async fn check_all(&self, name: &str) -> Result<(), StoreError> {
        let key = self.keys.probe(name, "once");
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
                    refuse("has no create-only write (If-None-Match)", &error)
                }
                _ => refuse("does not let this node write", &with_source(&error)),
            });
        }
        match put("another").await {
            Err(object_store::Error::AlreadyExists { .. }) => {}
            Ok(_) => return Err(refuse(IGNORES, &"a second one of the same name was taken")),
            Err(error) => return Err(refuse(IGNORES, &with_source(&error))),
        }
        let head = GetOptions { head: true, ..GetOptions::default() };
        match self.objects.get_opts(&key, head).await {
            Ok(found) if attribute(&found.attributes, PROBE).as_deref() == Some(value) => {}
            Ok(found) => {
                let came = attribute(&found.attributes, PROBE);
                return Err(refuse("does not keep metadata", &format!("{came:?} came back")));
            }
            Err(error) => return Err(refuse("does not let this node read", &with_source(&error))),
        }
        match self.objects.get_range(&key, 2..5).await {
            Ok(bytes) if bytes == BYTES[2..5] => {}
            Ok(bytes) => {
                return Err(refuse("does not keep to ranges", &format!("{} bytes", bytes.len())));
            }
            Err(error) => return Err(refuse("does not let this node read", &with_source(&error))),
        }
        for round in 0..RACES {
            self.race(name, round).await?;
        }
        // A listing may be late, but must be in order, and pass over what it is told to.
        match self.keys_below(&self.keys.probes(name)).await {
            Ok(listed) if listed.is_sorted() => {}
            Ok(_) => return Err(refuse("does not list in order", &"keys came as they liked")),
            Err(error) => return Err(refuse("does not let this node list", &with_source(&error))),
        }
        let after = self.keys.probe(name, "race-0");
        let listing = self.objects.list_with_offset(Some(&self.keys.probes(name)), &after);
        let listed = listing.map_ok(|object| object.location).try_collect::<Vec<_>>().await;
        match listed {
            Ok(listed) if listed.iter().all(|key| *key > after) => Ok(()),
            Ok(_) => Err(refuse("does not list from a key on", &"it began before that key")),
            Err(error) => Err(refuse("does not let this node list", &with_source(&error))),
        }
    }

    /// Of many that create the same object at once, one wins and its bytes are there.
    async fn race(&self, name: &str, round: usize) -> Result<(), StoreError> {
        let key = self.keys.probe(name, &format!("race-{round}"));
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
            return Err(refuse(IGNORES, &why));
        }
        let there = async { self.objects.get(&key).await?.bytes().await };
        let there = match there.await {
            Ok(there) => there,
            // Nobody has won: S3 may refuse all who come at the same moment.
            Err(object_store::Error::NotFound { .. }) if winners.is_empty() => return Ok(()),
            Err(error) => return Err(refuse("does not let this node read", &with_source(&error))),
        };
        match winners.first() {
            Some(winner) if there != winner.to_string() => {
                Err(refuse(IGNORES, &"another writer's bytes than the winner's are there"))
            }
            _ => Ok(()),
        }
    }
}

fn refuse(what: &str, why: &dyn Display) -> StoreError {
    StoreError::Config { problem: format!("the object store {what}: {why}") }
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
const RACES: usize = 3;
const RACERS: usize = 20;
