//! The expiry index: empty objects whose names say when to look at an upload again.
//!
//! An upload has an entry that is never later than its expiry. One that is earlier is moved by the
//! sweep that meets it.

use std::time::SystemTime;

use futures_util::StreamExt;
use object_store::PutPayload;
use object_store::path::Path;

use super::keys::{IndexKey, Keys, stamp};
use super::objects::{Context, Objects};
use crate::id::UploadId;
use crate::store::{Cursor, Result};

#[derive(Clone)]
pub(super) struct ExpiryIndex {
    pub(super) objects: Objects,
    pub(super) keys: Keys,
}

impl ExpiryIndex {
    /// Has the upload looked at when that time has come.
    pub(super) async fn put(&self, id: &UploadId, at: SystemTime) -> Result<()> {
        let put = self.objects.put(&self.keys.index_entry(id, at), PutPayload::new()).await;
        put.context("write an index entry")
    }

    pub(super) async fn remove(&self, entry: IndexKey) -> Result<()> {
        self.objects.delete(&[entry.path]).await.context("delete an index entry")
    }

    pub(super) async fn move_to(&self, entry: IndexKey, at: SystemTime) -> Result<()> {
        if stamp(at) == entry.stamp {
            return Ok(());
        }
        self.put(&entry.id, at).await?;
        self.remove(entry).await
    }

    /// Some entries that are not later than `now`. In each shard they come before the later ones,
    /// which are passed over.
    pub(super) async fn page(
        &self,
        cursor: Option<Cursor>,
        now: &str,
    ) -> Result<(Vec<IndexKey>, Option<Cursor>)> {
        let mut after = cursor.and_then(|cursor| Path::parse(cursor.as_str()).ok());
        let mut past = Vec::new();
        'listing: loop {
            let mut listing = self.objects.list(&self.keys.index(), after.as_ref());
            let mut later = 0;
            while let Some(path) = listing.next().await {
                let Some(entry) = IndexKey::parse(path.context("list the expiry index")?) else {
                    continue;
                };
                if entry.stamp.as_str() <= now {
                    later = 0;
                    past.push(entry);
                } else if later == PASSED_OVER {
                    after = Some(self.keys.index_after(&entry));
                    continue 'listing;
                } else {
                    later += 1;
                }
                if past.len() == PAGE {
                    let next = past.last().map(|entry| Cursor::new(entry.path.to_string()));
                    return Ok((past, next));
                }
            }
            return Ok((past, None));
        }
    }
}

const PAGE: usize = 256;
/// How many later entries are passed over, which is as many as come in one answer, before the
/// listing begins anew behind them.
const PASSED_OVER: usize = 1000;
