//! Moving a file out of the store, to a key of the application's choice.
//!
//! The log is told first where the file goes and with what mark, then the object is written, then the
//! log is told that it is whole, and then the file is deleted where it was before. After a crash in between,
//! the mark says which object is ours. From the first word on the bytes stay as they are, so that a write
//! that comes late writes the same; and where the file was once it does not come again, so that
//! a deletion that comes late hits nothing.

use std::path::{Component, Path};
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use object_store::path::Path as Key;
use object_store::{ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload};
use tokio::io::AsyncReadExt;

use super::entry::{MARK, Moved, attribute, attributes};
use super::log::{Tail, Tries, delete, head};
use super::reader::open;
use super::writer::BucketWriter;
use super::{Bucket, failed, nonce};
use crate::id::UploadId;
use crate::store::{Reader, StoreError};

impl BucketWriter {
    pub(super) async fn move_to(
        &mut self,
        target: &Path,
        overwrite: bool,
    ) -> Result<(), StoreError> {
        let key = key(target)?;
        let Some(tail) = self.tail.clone() else { return Err(StoreError::NotFound) };
        let (bucket, id) = (Arc::clone(&self.bucket), self.id());
        let targets = &*bucket.targets;
        if Arc::ptr_eq(&bucket.objects, &bucket.targets) && bucket.keys.is_own(&key) {
            return Err(StoreError::Config {
                problem: format!("{key} is a key of the store's own"),
            });
        }
        let size = tail.entry.progress.offset;
        let mut moved = tail.entry.moved.clone();
        let place = moved.iter().position(|moved| moved.done);
        match moved.iter().position(|moved| moved.target == key.as_ref()) {
            Some(at) if place == Some(at) => {
                return match find(targets, &key, &moved[at].mark).await? {
                    There::Ours(length) if length >= size => {
                        bucket.leave(&moved[at + 1..]).await;
                        Ok(())
                    }
                    _ => Err(gone(&key)),
                };
            }
            // It was on its way there, and nothing was deleted since.
            Some(at) if place.is_none_or(|place| at < place) => moved[..=at].rotate_right(1),
            Some(_) => return Err(bucket.refusal(&key, overwrite).await?),
            None => {
                if !moved.is_empty() && bucket.was_at(&id, &tail, &key).await? {
                    return Err(bucket.refusal(&key, overwrite).await?);
                }
                moved.insert(0, Moved { target: key.to_string(), mark: nonce(), done: false });
            }
        }
        let mark = moved[0].mark.clone();
        if !overwrite && find(targets, &key, &mark).await? == There::Another {
            return Err(exists(&key));
        }
        let mut moved = self.note(moved).await?;
        let (this, noted) = (Arc::clone(&bucket), self.seq());
        let copied = bucket.tasks.finish(async move {
            let file = open(&this, &id, tail).await?;
            this.copy((&id, noted), file, size, &key, &mark, overwrite).await
        });
        copied.await?;
        // What is here is deleted when nobody can be reading it any more.
        bucket.put_due(&id, bucket.now() + bucket.grace).await?;
        moved[0].done = true;
        let moved = self.note(moved).await?;
        bucket.leave(&moved[1..]).await;
        Ok(())
    }

    /// Writes down where the file is, which comes back as it was written.
    async fn note(&mut self, moved: Vec<Moved>) -> Result<Vec<Moved>, StoreError> {
        let upload = self.upload.clone();
        let mut entry = self.next(&upload);
        entry.moved = moved;
        while entry.size() > LARGEST_ENTRY {
            // Where it is and where it goes must be known; what else there may be is left there.
            let place = entry.moved.iter().position(|moved| moved.done);
            let last = (1..entry.moved.len()).rev().find(|last| Some(*last) != place);
            let Some(last) = last else {
                let problem =
                    "the key to persist to is too long to be noted in an object's metadata";
                return Err(StoreError::Config { problem: problem.to_owned() });
            };
            entry.moved.remove(last);
        }
        let moved = entry.moved.clone();
        self.append(entry, PutPayload::new(), &upload).await?;
        Ok(moved)
    }
}

impl Bucket {
    /// Whether the file was ever at `key`, or on its way there, as far back as the log goes.
    async fn was_at(&self, id: &UploadId, tail: &Tail, key: &Key) -> Result<bool, StoreError> {
        let mut seq = tail.seq;
        while let Some(before) = seq.checked_sub(1)
            && let Some(entry) = self.entry(id, before).await?
            && !entry.moved.is_empty()
        {
            if entry.moved.iter().any(|moved| moved.target == key.as_ref()) {
                return Ok(true);
            }
            seq = before;
        }
        Ok(false)
    }

    /// What to say of a key that the file was moved away from.
    async fn refusal(&self, key: &Key, overwrite: bool) -> Result<StoreError, StoreError> {
        let taken = !overwrite && find(&*self.targets, key, "").await? == There::Another;
        let problem = format!("the file was moved away from {key}, and cannot go back");
        Ok(if taken { exists(key) } else { StoreError::Config { problem } })
    }

    /// Deletes the file where it is not any more, and where it cannot be again: no deletion has a condition,
    /// and one that was sent may come late.
    ///
    /// What fails is tried again by the next `persist` to the same place, and by nobody else.
    async fn leave(&self, places: &[Moved]) {
        for place in places {
            if let Ok(key) = Key::parse(&place.target)
                && let Ok(There::Ours(_)) = find(&*self.targets, &key, &place.mark).await
            {
                drop(delete(&*self.targets, &[key]).await);
            }
        }
    }

    async fn copy(
        &self,
        note: (&UploadId, u32),
        mut file: Reader,
        size: u64,
        key: &Key,
        mark: &str,
        overwrite: bool,
    ) -> Result<(), StoreError> {
        let part = (self.segment.max(self.smallest_part) as u64).max(size.div_ceil(PARTS));
        let _room = self.pool.room_for_copy(size.min(part * (PARTS_AT_ONCE as u64 + 1))).await;
        if size <= part {
            let bytes = read(&mut file, size).await?;
            self.check_last(note).await?;
            return self.create_target(key, bytes, mark, overwrite).await;
        }
        if !overwrite {
            // A multipart upload has no condition, so the name is taken first. Before the parts, since on
            // Azure they would be gone with it.
            self.create_target(key, PutPayload::new(), mark, false).await?;
        }
        let attributes = attributes(MARK, mark);
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let write = |error| failed("write a file", error);
        let mut upload = self.targets.put_multipart_opts(key, options).await.map_err(write)?;
        let copied = async {
            let (mut left, mut under_way) = (size, FuturesUnordered::new());
            while left > 0 {
                let bytes = read(&mut file, part.min(left)).await?;
                left -= bytes.content_length() as u64;
                under_way.push(upload.put_part(bytes));
                if under_way.len() == PARTS_AT_ONCE
                    && let Some(part) = under_way.next().await
                {
                    part.map_err(write)?;
                }
            }
            while let Some(part) = under_way.next().await {
                part.map_err(write)?;
            }
            drop(under_way);
            self.check_last(note).await?;
            upload.complete().await.map_err(write)
        };
        let copied = copied.await;
        if copied.is_err() {
            // The name, if it was taken, is kept for the next try.
            drop(upload.abort().await);
        }
        copied.map(drop)
    }

    /// Whether nobody has gone on from a commit. Who stood still for long must not write any more.
    async fn check_last(&self, (id, seq): (&UploadId, u32)) -> Result<(), StoreError> {
        match self.entry(id, seq + 1).await? {
            None => Ok(()),
            Some(_) => Err(StoreError::Conflict),
        }
    }

    /// Writes an object, or finds that it was written and the answer lost.
    async fn create_target(
        &self,
        key: &Key,
        bytes: PutPayload,
        mark: &str,
        overwrite: bool,
    ) -> Result<(), StoreError> {
        let targets = &*self.targets;
        let mode = if overwrite { PutMode::Overwrite } else { PutMode::Create };
        let mut options =
            PutOptions { mode, attributes: attributes(MARK, mark), ..PutOptions::default() };
        let mut tries = Tries::default();
        loop {
            let put = targets.put_opts(key, bytes.clone(), options.clone()).await;
            let Err(error) = put else { return Ok(()) };
            match find(targets, key, mark).await {
                Ok(There::Ours(size)) if size >= bytes.content_length() as u64 => return Ok(()),
                // Of a try before this one, with smaller segments, which has only taken the name.
                Ok(There::Ours(_)) => options.mode = PutMode::Overwrite,
                Ok(There::Another) if !overwrite => return Err(exists(key)),
                _ => {}
            }
            tries.after(error).await.map_err(|error| failed("write a file", error))?;
        }
    }
}

/// What is at a key of the application's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum There {
    Nothing,
    /// The file, or its beginning: so many bytes.
    Ours(u64),
    Another,
}

pub(super) async fn find(
    targets: &dyn ObjectStore,
    key: &Key,
    mark: &str,
) -> Result<There, StoreError> {
    let found = head(targets, key, MARK).await;
    Ok(match found.map_err(|error| failed("look at a target", error))? {
        None => There::Nothing,
        Some(found) if attribute(&found.attributes, MARK).as_deref() == Some(mark) => {
            There::Ours(found.meta.size)
        }
        Some(_) => There::Another,
    })
}

async fn read(file: &mut Reader, length: u64) -> Result<PutPayload, StoreError> {
    let whole = usize::try_from(length).unwrap_or(usize::MAX);
    let mut bytes = BytesMut::with_capacity(whole);
    let read = |error| StoreError::io("read an upload", error);
    while bytes.len() < whole {
        if file.take((whole - bytes.len()) as u64).read_buf(&mut bytes).await.map_err(read)? == 0 {
            return Err(read(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(bytes.freeze().into())
}

/// The key of a target: its parts, without the root.
fn key(target: &Path) -> Result<Key, StoreError> {
    let problem = |why| StoreError::Config { problem: format!("{} {why}", target.display()) };
    let mut parts = Vec::new();
    for part in target.components() {
        match part {
            Component::Normal(part) => {
                parts.push(part.to_str().ok_or_else(|| problem("is no key: it is not UTF-8"))?);
            }
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(problem("is no key: it leads elsewhere"));
            }
        }
    }
    if parts.is_empty() {
        return Err(problem("is no key: it has no name"));
    }
    Key::parse(parts.join("/")).map_err(|_| problem("is no key: it has characters that none has"))
}

fn exists(key: &Key) -> StoreError {
    StoreError::AlreadyExists { target: key.to_string() }
}

fn gone(key: &Key) -> StoreError {
    StoreError::io(format!("find {key}"), std::io::ErrorKind::NotFound.into())
}

/// S3 takes 2 KiB of metadata, names included. A later commit may have an expiry, or another record, to add.
const LARGEST_ENTRY: usize = 1900;
/// The largest number of parts on S3.
const PARTS: u64 = 10_000;
const PARTS_AT_ONCE: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_key_and_leads_nowhere_else() {
        for (target, want) in
            [("a", "a"), ("/a/b.bin", "a/b.bin"), ("./a//b/", "a/b"), ("ü/é x", "ü/é x")]
        {
            assert_eq!(key(Path::new(target)).unwrap().as_ref(), want, "{target}");
        }
        for target in ["", "/", ".", "..", "a/../b", "../a"] {
            assert!(key(Path::new(target)).is_err(), "{target}");
        }
    }
}
