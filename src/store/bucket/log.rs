//! The commits of an upload: finding the last one, and making the next.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    GetOptions, GetResult, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};

use super::entry::{ENTRY, Entry, List, attribute};
use super::{Bucket, Moment, Sight, failed, keys};
use crate::id::UploadId;
use crate::store::StoreError;
use crate::upload::Upload;

/// The last commit.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    pub(super) seq: u32,
    pub(super) entry: Arc<Entry>,
}

impl Bucket {
    /// Where an upload stands. What is remembered of it, and what a listing says, is only where the
    /// search begins: it ends at a number that is not there.
    pub(super) async fn look(&self, id: &UploadId) -> Result<Sight, StoreError> {
        let is_young = |seen| self.age(seen) < self.half_grace();
        let known = self.known().get(id).filter(|known| is_young(known.seen));
        let sight = match known {
            Some(known) => {
                let seen = known.seen;
                let sight = self.look_again(id, known).await;
                // What was asked for one after the other may have been deleted in between.
                if is_young(seen) { sight } else { self.look_first(id).await }
            }
            None => self.look_first(id).await,
        };
        match sight {
            Ok(sight) => match sight.tail.entry.why_gone(&sight.record) {
                None => {
                    self.known().put(id, sight.clone());
                    Ok(sight)
                }
                Some(why) => {
                    self.known().forget(id);
                    Err(why)
                }
            },
            Err(error) => {
                self.known().forget(id);
                Err(error)
            }
        }
    }

    async fn look_again(&self, id: &UploadId, known: Sight) -> Result<Sight, StoreError> {
        let seen = self.moment();
        let Some(tail) = self.walk(id, known.tail.seq, known.stride + 1).await? else {
            return Ok(Sight { seen, stride: 0, ..known });
        };
        let stride = (tail.seq - known.tail.seq).min(LONGEST_STRIDE);
        Ok(Sight { tail, seen, stride, ..known })
    }

    pub(super) async fn look_first(&self, id: &UploadId) -> Result<Sight, StoreError> {
        let seen = self.moment();
        let record = match self.record(id).await {
            Err(StoreError::NotFound) => return Err(StoreError::NotFound),
            record => record,
        };
        let tail = self.tail(id).await?.ok_or(StoreError::NotFound)?;
        match record {
            // Whatever it says.
            Err(_) if tail.entry.is_gone() => Err(StoreError::NotFound),
            record => Ok(Sight { record: Arc::new(record?), tail, seen, stride: 0 }),
        }
    }

    /// The record as the upload began.
    pub(super) async fn record(&self, id: &UploadId) -> Result<Upload, StoreError> {
        let bytes = read(&*self.objects, &self.keys.record(id)).await;
        let bytes = bytes.map_err(|error| failed("read a record", error))?;
        let bytes = bytes.ok_or(StoreError::NotFound)?;
        let record: Upload = serde_json::from_slice(&bytes)
            .map_err(|error| StoreError::damaged(id, format!("its record: {error}")))?;
        if record.id != *id {
            return Err(StoreError::damaged(id, "its record is another's"));
        }
        Ok(record)
    }

    /// The last commit of an upload of which nothing is known.
    pub(super) async fn tail(&self, id: &UploadId) -> Result<Option<Tail>, StoreError> {
        for _ in 0..LOOKS {
            let newest = self.newest(id).await?;
            let before = newest.map_or(0, |seq| seq.saturating_sub(1));
            if let Some(tail) = self.walk(id, before, 2).await? {
                return Ok(Some(tail));
            }
            if newest.is_none() {
                break;
            }
            // It was listed and is not there: it is being deleted.
        }
        Ok(None)
    }

    /// The newest commit that a listing has.
    pub(super) async fn newest(&self, id: &UploadId) -> Result<Option<u32>, StoreError> {
        let mut listing = self.objects.list(Some(&self.keys.log(id)));
        let first = listing.next().await.transpose();
        let first = first.map_err(|error| failed("list a log", error))?;
        Ok(first.and_then(|object| keys::seq_of(&object.location)))
    }

    /// The last commit after `seq`, if there is any. It asks for so many at once as there may be.
    async fn walk(
        &self,
        id: &UploadId,
        mut seq: u32,
        window: u32,
    ) -> Result<Option<Tail>, StoreError> {
        let (mut last, mut window) = (Ok(None), window);
        loop {
            let next = (1..=window).filter_map(|step| seq.checked_add(step));
            let found = join_all(next.map(|seq| async move { (seq, self.entry(id, seq).await) }));
            for (next, entry) in found.await {
                last = match entry {
                    Ok(None) => return last,
                    Ok(Some(entry)) => Ok(Some(Tail { seq: next, entry: Arc::new(entry) })),
                    // One that cannot be read is of no matter if another came after it.
                    Err(error @ StoreError::Damaged { .. }) => Err(error),
                    Err(error) => return Err(error),
                };
                seq = next;
            }
            if window == LONGEST_WALK {
                // It is far. All between the listed one and here are there.
                let listed = self.newest(id).await?.map_or(0, |newest| newest.saturating_sub(1));
                seq = seq.max(listed);
            }
            window = (window * 2).min(LONGEST_WALK);
        }
    }

    /// The commit of that number.
    pub(super) async fn entry(&self, id: &UploadId, seq: u32) -> Result<Option<Entry>, StoreError> {
        Ok(self.sized_entry(id, seq).await?.map(|(entry, _)| entry))
    }

    /// And how many bytes its object has.
    pub(super) async fn sized_entry(
        &self,
        id: &UploadId,
        seq: u32,
    ) -> Result<Option<(Entry, u64)>, StoreError> {
        let found = head(&*self.objects, &self.keys.entry(id, seq), ENTRY).await;
        let Some(found) = found.map_err(|error| failed("look at a commit", error))? else {
            return Ok(None);
        };
        match Entry::read(&found.attributes) {
            Ok(entry) => Ok(Some((entry, found.meta.size))),
            Err(why) => Err(StoreError::damaged(id, format!("commit {seq}: {why}"))),
        }
    }

    /// The record as it is now.
    pub(super) async fn describe(&self, sight: &Sight) -> Result<Upload, StoreError> {
        let id = sight.record.id;
        let mut upload = match sight.tail.entry.described {
            None => Upload::clone(&sight.record),
            Some(seq) => {
                let list = self.list_of(&id, seq).await?;
                list.record.ok_or_else(|| StoreError::damaged(&id, "a commit has no record"))?
            }
        };
        upload.progress = sight.tail.entry.progress.clone();
        Ok(upload)
    }

    /// What a commit of many pieces lists.
    pub(super) async fn list_of(&self, id: &UploadId, seq: u32) -> Result<List, StoreError> {
        let bytes = read(&*self.objects, &self.keys.entry(id, seq)).await;
        let bytes = bytes.map_err(|error| failed("read a commit", error))?;
        parse_list(id, seq, &bytes.ok_or_else(|| missing(id, seq))?)
    }

    /// Makes commit number `seq`, unless somebody else has.
    ///
    /// An answer may be lost, and then come twice; so who is told that there is one looks whose it is.
    /// And a store may say that there is one when two came at the same time and neither was
    /// written: then it is tried again, for as long as what was `seen` can be believed.
    pub(super) async fn append(
        &self,
        id: &UploadId,
        seq: u32,
        entry: &Entry,
        payload: PutPayload,
        seen: Moment,
    ) -> Result<(), StoreError> {
        let key = self.keys.entry(id, seq);
        let options = PutOptions {
            mode: PutMode::Create,
            attributes: entry.attributes(),
            ..PutOptions::default()
        };
        let mut tries = Tries::default();
        loop {
            let put = self.objects.put_opts(&key, payload.clone(), options.clone());
            let Err(error) = put.await else { return Ok(()) };
            #[cfg(test)]
            if let object_store::Error::AlreadyExists { .. } = error {
                if self.is(super::Mutation::NoNonceCheck) {
                    return Ok(());
                }
                if self.is(super::Mutation::NoHeadAfterConflict) {
                    return Err(StoreError::Conflict);
                }
            }
            match self.entry(id, seq).await {
                Ok(Some(found)) if found.nonce == entry.nonce => return Ok(()),
                Ok(Some(_)) => return Err(StoreError::Conflict),
                // Of one that cannot be read nobody knows whose it is.
                Ok(None) | Err(_) => {}
            }
            let again = match self.age(seen) > self.half_grace() {
                true => Err(error),
                false => tries.after(error).await,
            };
            again.map_err(|error| failed("make a commit", error))?;
        }
    }

    /// Writes an object whose name nobody else has.
    pub(super) async fn put(&self, key: &Path, payload: PutPayload) -> Result<(), StoreError> {
        let mut tries = Tries::default();
        loop {
            let put = self.objects.put(key, payload.clone()).await;
            let Err(error) = put else { return Ok(()) };
            tries.after(error).await.map_err(|error| failed("write an object", error))?;
        }
    }

    pub(super) async fn put_piece(
        &self,
        id: &UploadId,
        name: &str,
        payload: PutPayload,
    ) -> Result<(), StoreError> {
        self.put(&self.keys.piece(id, name), payload).await
    }

    /// Whether the upload's record is still there, which is the first thing that a collector deletes.
    pub(super) async fn is_there(&self, id: &UploadId) -> Result<bool, StoreError> {
        match self.objects.head(&self.keys.record(id)).await {
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed("look at a record", error)),
            Ok(_) => Ok(true),
        }
    }

    pub(super) async fn delete(&self, keys: Vec<Path>) -> Result<(), StoreError> {
        let deleted = delete(&*self.objects, &keys).await;
        deleted.map_err(|error| failed("delete an object", error))
    }

    pub(super) async fn keys_below(&self, prefix: &Path) -> Result<Vec<Path>, StoreError> {
        let listing = self.objects.list(Some(prefix)).map_ok(|object| object.location);
        listing.try_collect().await.map_err(|error| failed("list objects", error))
    }
}

/// The whole of an object, if it is there.
pub(super) async fn read(
    objects: &dyn ObjectStore,
    key: &Path,
) -> object_store::Result<Option<Bytes>> {
    match async { objects.get(key).await?.bytes().await }.await {
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        bytes => bytes.map(Some),
    }
}

/// What a commit of many pieces holds.
pub(super) fn parse_list(id: &UploadId, seq: u32, bytes: &[u8]) -> Result<List, StoreError> {
    serde_json::from_slice(bytes)
        .map_err(|error| StoreError::damaged(id, format!("commit {seq}: {error}")))
}

pub(super) fn missing(id: &UploadId, seq: u32) -> StoreError {
    StoreError::damaged(id, format!("commit {seq} is missing"))
}

/// What is known of an object, if it is there, and its metadata, of which one has this name.
pub(super) async fn head(
    objects: &dyn ObjectStore,
    key: &Path,
    name: &'static str,
) -> object_store::Result<Option<GetResult>> {
    let mut looks = 0;
    loop {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let found = match objects.get_opts(key, options).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            found => found?,
        };
        // Some stores show an object a moment before its metadata.
        if attribute(&found.attributes, name).is_some() || looks == LOOKS {
            return Ok(Some(found));
        }
        looks += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Deletes what there is of these.
pub(super) async fn delete(objects: &dyn ObjectStore, keys: &[Path]) -> object_store::Result<()> {
    for some in keys.chunks(DELETED) {
        let keys: Vec<_> = some.iter().cloned().map(Ok).collect();
        let mut deleted = objects.delete_stream(stream::iter(keys).boxed());
        while let Some(deleted) = deleted.next().await {
            match deleted {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Tries of one request. The object store's client tries again by itself; these are for what it cannot know
/// the outcome of.
pub(super) struct Tries {
    left: u32,
    pause: Duration,
}

impl Default for Tries {
    fn default() -> Self {
        Self { left: 3, pause: PAUSE }
    }
}

impl Tries {
    /// Waits before another try. The error comes back if there were enough, or if one would not help.
    pub(super) async fn after(&mut self, error: object_store::Error) -> object_store::Result<()> {
        if self.left == 0 || is_final(&error) {
            return Err(error);
        }
        tokio::time::sleep(self.pause).await;
        self.left -= 1;
        self.pause *= 2;
        Ok(())
    }
}

/// What another try would not change.
fn is_final(error: &object_store::Error) -> bool {
    matches!(
        error,
        object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. }
            | object_store::Error::NotSupported { .. }
            | object_store::Error::NotImplemented { .. }
            | object_store::Error::InvalidPath { .. }
    )
}

/// How often to begin anew when what was listed is not there.
const LOOKS: usize = 3;
/// How many commits to ask for at once: as many as lay between the last two looks and one more, then more.
const LONGEST_STRIDE: u32 = 7;
const LONGEST_WALK: u32 = 16;
const PAUSE: Duration = Duration::from_millis(20);
/// How many objects to delete in one request.
const DELETED: usize = 100;
