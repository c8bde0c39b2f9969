//! The commits of an upload: finding the last one, and making the next.

use std::ops::Range;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::join_all;
use object_store::path::Path;
use object_store::{Attributes, PutPayload};

#[cfg(test)]
use super::clock::Mutation;
use super::clock::{Clock, Moment};
use super::entry::{Body, ENTRY, Entry, List};
use super::keys::{self, Keys};
use super::objects::{Context, Objects, Retries};
use crate::id::UploadId;
use crate::store::{Result, StoreError};
use crate::upload::Upload;

/// The logs of all uploads.
pub(super) struct CommitLog {
    pub(super) objects: Objects,
    pub(super) keys: Keys,
    pub(super) clock: Clock,
    /// The name of this node, which is another after each start.
    pub(super) node: String,
}

/// The last commit of an upload.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    pub(super) seq: u32,
    pub(super) entry: Arc<Entry>,
}

impl CommitLog {
    /// The record as the upload began.
    pub(super) async fn record(&self, id: &UploadId) -> Result<Upload> {
        let bytes = self.objects.read(&self.keys.record(id)).await.context("read a record")?;
        match serde_json::from_slice::<Upload>(&bytes.ok_or(StoreError::NotFound)?) {
            Ok(record) if record.id == *id => Ok(record),
            Ok(_) => Err(StoreError::damaged(id, "its record belongs to another upload")),
            Err(error) => Err(StoreError::damaged(id, format!("its record: {error}"))),
        }
    }

    /// Writes the record of an upload that others may create, too, unless one is there. Returns
    /// whether it is this one that is there then.
    pub(super) async fn create_record(&self, id: &UploadId, record: &[u8]) -> Result<bool> {
        let key = self.keys.record(id);
        let mut retries = Retries::default();
        loop {
            let payload = PutPayload::from(record.to_vec());
            let created = self.objects.create(&key, payload, Attributes::default()).await;
            let Err(error) = created else { return Ok(true) };
            // It may be the one of an earlier try whose answer was lost.
            if let Ok(Some(found)) = self.objects.read(&key).await {
                return Ok(found == record);
            }
            retries.after(error).await.context("write a record")?;
        }
    }

    /// Whether the upload's record is still there, which is the first object that a collector
    /// deletes.
    pub(super) async fn has_record(&self, id: &UploadId) -> Result<bool> {
        let size = self.objects.size(&self.keys.record(id)).await;
        Ok(size.context("look at a record")?.is_some())
    }

    /// The last commit of an upload of which nothing is known.
    pub(super) async fn tail(&self, id: &UploadId) -> Result<Option<Tail>> {
        for _ in 0..LOOKS {
            let newest = self.newest(id).await?;
            let before = newest.map_or(0, |seq| seq.saturating_sub(1));
            let tail = self.walk(id, before, 2).await?;
            if tail.is_some() || newest.is_none() {
                return Ok(tail);
            }
            // It was listed and is not there, so it is being deleted.
        }
        Ok(None)
    }

    /// The newest commit that a listing has.
    pub(super) async fn newest(&self, id: &UploadId) -> Result<Option<u32>> {
        let first = self.objects.list(&self.keys.log(id), None).next().await;
        Ok(first.transpose().context("list a log")?.and_then(|key| keys::seq_of(&key)))
    }

    /// The last commit after `seq`, if there is any. It first asks for `at_once` commits at the same
    /// time.
    pub(super) async fn walk(&self, id: &UploadId, seq: u32, at_once: u32) -> Result<Option<Tail>> {
        let (mut seq, mut window, mut last) = (seq, at_once, Ok(None));
        loop {
            let next = (1..=window).filter_map(|step| seq.checked_add(step));
            let found = join_all(next.map(|seq| async move { (seq, self.entry(id, seq).await) }));
            for (next, entry) in found.await {
                last = match entry {
                    Ok(None) => return last,
                    Ok(Some(entry)) => Ok(Some(Tail { seq: next, entry: Arc::new(entry) })),
                    // An entry that cannot be read does not matter if another came after it.
                    Err(error @ StoreError::Damaged { .. }) => Err(error),
                    Err(error) => return Err(error),
                };
                seq = next;
            }
            if window == LONGEST_WALK {
                // The end is far. All entries between here and the newest listed one are there.
                let listed = self.newest(id).await?.map_or(0, |newest| newest.saturating_sub(1));
                seq = seq.max(listed);
            }
            window = (window * 2).min(LONGEST_WALK);
        }
    }

    /// The commit of that number.
    pub(super) async fn entry(&self, id: &UploadId, seq: u32) -> Result<Option<Entry>> {
        Ok(self.sized_entry(id, seq).await?.map(|(entry, _)| entry))
    }

    /// The commit of that number, and how many bytes its object has.
    async fn sized_entry(&self, id: &UploadId, seq: u32) -> Result<Option<(Entry, u64)>> {
        let found = self.objects.head(&self.keys.entry(id, seq), ENTRY).await;
        let Some(found) = found.context("look at a commit")? else { return Ok(None) };
        Ok(Some((Entry::of_commit(&found.attributes, id, seq)?, found.meta.size)))
    }

    /// What a commit of many pieces lists.
    pub(super) async fn list(&self, id: &UploadId, seq: u32) -> Result<List> {
        let bytes = self.objects.read(&self.keys.entry(id, seq)).await.context("read a commit")?;
        List::read(&bytes.ok_or_else(|| missing(id, seq))?, id, seq)
    }

    /// Which bytes a commit has. It fails unless their objects are there.
    pub(super) async fn measure(&self, id: &UploadId, seq: u32) -> Result<Range<u64>> {
        let found = self.sized_entry(id, seq).await?;
        let (entry, size) = found.ok_or_else(|| missing(id, seq))?;
        let range = entry.at..entry.progress.offset;
        let lacks = |what: &str| StoreError::damaged(id, format!("commit {seq} lacks {what}"));
        if entry.body != Body::List {
            let whole = size >= range.end.saturating_sub(range.start);
            return if whole { Ok(range) } else { Err(lacks("bytes")) };
        }
        for piece in self.list(id, seq).await?.pieces {
            let size = self.objects.size(&self.keys.piece(id, &piece.name)).await;
            if size.context("look at a piece")?.is_none_or(|size| size < piece.length) {
                return Err(lacks(&format!("bytes of the piece {}", piece.name)));
            }
        }
        Ok(range)
    }

    /// Makes commit number `seq`, unless another node has.
    ///
    /// If the answer to an earlier try was lost, the store says that the object exists, so its
    /// nonce tells whose it is. The store may also say so if two writers came at the same time and
    /// neither object was written: then it is tried again, for as long as what was `read` can be
    /// believed.
    pub(super) async fn append(
        &self,
        id: &UploadId,
        seq: u32,
        entry: &Entry,
        payload: PutPayload,
        read: Moment,
    ) -> Result<()> {
        let key = self.keys.entry(id, seq);
        let mut retries = Retries::default();
        loop {
            let created = self.objects.create(&key, payload.clone(), entry.attributes()).await;
            let Err(error) = created else { return Ok(()) };
            #[cfg(test)]
            if let object_store::Error::AlreadyExists { .. } = error {
                if self.clock.is(Mutation::NoNonceCheck) {
                    return Ok(());
                }
                if self.clock.is(Mutation::NoHeadAfterConflict) {
                    return Err(StoreError::Conflict);
                }
            }
            match self.entry(id, seq).await {
                Ok(Some(found)) if found.nonce == entry.nonce => return Ok(()),
                Ok(Some(_)) => return Err(StoreError::Conflict),
                // Nobody knows whose an entry is that cannot be read.
                Ok(None) | Err(_) => {}
            }
            let believed = self.clock.is_fresh(read);
            let again = if believed { retries.after(error).await } else { Err(error) };
            again.context("make a commit")?;
        }
    }

    /// Makes the commit after `seq` a tombstone.
    pub(super) async fn bury(&self, id: &UploadId, seq: u32) -> Result<()> {
        let nothing = Upload::new(*id, self.clock.now()).progress;
        let entry = Entry::new(&self.node, self.clock.now(), nothing);
        let entry = Entry { body: Body::Tombstone, ..entry };
        self.append(id, seq + 1, &entry, PutPayload::new(), self.clock.moment()).await
    }

    pub(super) async fn delete(&self, keys: &[Path]) -> Result<()> {
        self.objects.delete(keys).await.context("delete an object")
    }
}

pub(super) fn missing(id: &UploadId, seq: u32) -> StoreError {
    StoreError::damaged(id, format!("commit {seq} is missing"))
}

/// How often to begin anew when what was listed is not there.
const LOOKS: usize = 3;
/// How many commits to ask for at once at most.
const LONGEST_WALK: u32 = 16;
