//! Moving a file out of the store, to a key of the application's choice.
//!
//! The log is told first where the file goes and with what mark, then the object is written, then the
//! log is told that it is whole. After a crash in between, the mark says which object is ours.

use std::path::{Component, Path};
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use object_store::path::Path as Key;
use object_store::{PutMode, PutMultipartOptions, PutOptions, PutPayload};
use tokio::io::AsyncReadExt;

use super::entry::{MARK, Moved, attributes};
use super::log::Tries;
use super::reader::{is_marked, open, place};
use super::writer::BucketWriter;
use super::{Bucket, failed, nonce};
use crate::store::{Reader, StoreError};

impl BucketWriter {
    pub(super) async fn move_to(
        &mut self,
        target: &Path,
        overwrite: bool,
    ) -> Result<(), StoreError> {
        let key = key(target)?;
        let targets = Arc::clone(&self.bucket.targets);
        let Some(tail) = self.tail.clone() else { return Err(StoreError::NotFound) };
        let moved = tail.entry.moved.clone();
        let (mut from, mut mark) = (place(&tail.entry).cloned(), nonce());
        match moved {
            Some(moved) if moved.target == key.as_ref() => {
                if moved.done {
                    return match is_marked(&*targets, &key, &moved.mark).await? {
                        Some(true) => self.leave(moved.from.as_deref()).await,
                        _ => Err(gone(&key)),
                    };
                }
                mark = moved.mark;
            }
            // It was on its way to another place, and may have arrived.
            Some(moved) if !moved.done => self.leave(Some(&moved)).await?,
            _ => {}
        }
        if let Some(from) = &mut from {
            from.from = None;
        }
        if !overwrite && is_marked(&*targets, &key, &mark).await? == Some(false) {
            return Err(exists(&key));
        }
        let moving = Moved {
            target: key.to_string(),
            mark: mark.clone(),
            done: false,
            from: from.clone().map(Box::new),
        };
        self.note(moving.clone()).await?;
        let id = self.id();
        let bucket = Arc::clone(&self.bucket);
        let (node, to) = (Arc::clone(&bucket), key.clone());
        let copied = bucket.finish(async move {
            let size = tail.entry.progress.offset;
            let file = open(&node, &id, tail).await?;
            node.copy(file, size, &to, &mark, overwrite).await
        });
        copied.await?;
        // What is here is deleted when nobody can be reading it any more.
        bucket.put_due(&id, bucket.now() + bucket.grace).await?;
        self.note(Moved { done: true, ..moving }).await?;
        self.leave(from.as_ref()).await
    }

    async fn note(&mut self, moved: Moved) -> Result<(), StoreError> {
        let upload = self.upload.clone();
        let mut entry = self.next(&upload);
        entry.moved = Some(moved);
        if entry.size() > LARGEST_ENTRY {
            let problem = "the key to persist to is too long to be noted in an object's metadata";
            return Err(StoreError::Config { problem: problem.to_owned() });
        }
        self.append(entry, PutPayload::new(), &upload).await
    }

    /// Deletes the file where it is not any more.
    async fn leave(&self, place: Option<&Moved>) -> Result<(), StoreError> {
        let Some(place) = place else { return Ok(()) };
        let targets = &*self.bucket.targets;
        let key = Key::parse(&place.target)
            .map_err(|error| StoreError::damaged(&self.id(), error.to_string()))?;
        if is_marked(targets, &key, &place.mark).await? != Some(true) {
            return Ok(());
        }
        match object_store::ObjectStoreExt::delete(targets, &key).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("delete a file that was moved", error)),
        }
    }
}

impl Bucket {
    async fn copy(
        &self,
        mut file: Reader,
        size: u64,
        key: &Key,
        mark: &str,
        overwrite: bool,
    ) -> Result<(), StoreError> {
        let part = self.segment.max(SMALLEST_PART) as u64;
        if size <= part {
            let bytes = read(&mut file, size).await?;
            return self.create_target(key, bytes, mark, overwrite).await;
        }
        let part = part.max(size.div_ceil(PARTS));
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
            if !overwrite {
                // A multipart upload has no condition: the name is taken first.
                self.create_target(key, PutPayload::new(), mark, false).await?;
            }
            upload.complete().await.map_err(write)
        };
        let copied = copied.await;
        if copied.is_err() {
            drop(upload.abort().await);
            if !overwrite && is_marked(&*self.targets, key, mark).await? == Some(true) {
                // The name alone is no file. (One that is whole after all is written again.)
                drop(object_store::ObjectStoreExt::delete(&*self.targets, key).await);
            }
        }
        copied.map(drop)
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
            match is_marked(targets, key, mark).await {
                // Of a try before this one, of which perhaps only the name is there.
                Ok(Some(true)) if !overwrite => {
                    if is_whole(targets, key, &bytes).await {
                        return Ok(());
                    }
                    options.mode = PutMode::Overwrite;
                }
                Ok(Some(false)) if !overwrite => return Err(exists(key)),
                _ => {}
            }
            tries.after(error).await.map_err(|error| failed("write a file", error))?;
        }
    }
}

async fn is_whole(targets: &dyn object_store::ObjectStore, key: &Key, bytes: &PutPayload) -> bool {
    let head = object_store::ObjectStoreExt::head(targets, key).await;
    head.is_ok_and(|object| object.size >= bytes.content_length() as u64)
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

/// S3 takes 2 KiB of metadata, names included.
const LARGEST_ENTRY: usize = 2000;
/// The smallest part of a multipart upload on S3 but for the last, and the largest number of them.
const SMALLEST_PART: usize = 5 * 1024 * 1024;
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
