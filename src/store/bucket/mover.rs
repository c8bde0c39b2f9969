//! Persisting a file: moving it out of the store, to a key of the application's choice.
//!
//! The log notes first where the file goes and with what mark, then the object is written, then the
//! log notes that it is whole, and then the file is deleted from where it was before. After a crash
//! in between, the mark says which object is ours. From the first note on the bytes stay as they
//! are, so a write that comes late writes the same. And the file never comes back to a place that
//! it has left, so a deletion that comes late hits nothing.

use std::path::{Component, Path};
use std::sync::Arc;

use futures_util::TryStreamExt;
use futures_util::stream::FuturesUnordered;
use object_store::path::Path as Key;
use object_store::{MultipartUpload, ObjectStore, PutMultipartOptions, PutPayload};
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::appender::Appender;
use super::entry::{MARK, Moved, attributes, nonce};
use super::index::ExpiryIndex;
use super::log::Tail;
use super::objects::Context;
use super::reader::Files;
use super::targets::{Found, exists};
use super::tasks;
use crate::id::UploadId;
use crate::store::{Reader, Result, StoreError};
use crate::upload::Upload;

pub(super) struct Mover {
    files: Arc<Files>,
    index: ExpiryIndex,
    tasks: TaskTracker,
    /// The smallest part of a large file.
    part: u64,
    /// The memory for files on their way, in KiB. They wait for each other, since what they hold
    /// comes and goes at the store's pace.
    room: Semaphore,
    whole_room: u32,
}

/// A file on its way.
struct Move {
    id: UploadId,
    /// The number of the commit that notes it.
    noted: u32,
    size: u64,
    key: Key,
    mark: String,
    overwrite: bool,
}

impl Mover {
    pub(super) fn new(
        files: &Arc<Files>,
        index: ExpiryIndex,
        tasks: TaskTracker,
        part: u64,
        memory: usize,
    ) -> Self {
        let (files, whole_room) = (Arc::clone(files), kib(memory as u64));
        let room = Semaphore::new(whole_room as usize);
        Self { files, index, tasks, part, room, whole_room }
    }

    pub(super) async fn persist(
        self: &Arc<Self>,
        log: &mut Appender,
        upload: &Upload,
        target: &Path,
        overwrite: bool,
    ) -> Result<()> {
        let key = self.key(target)?;
        let tail = log.tail().cloned().ok_or(StoreError::NotFound)?;
        let size = tail.entry.progress.offset;
        let Some(places) = self.next_places(&log.id, &tail, &key, overwrite).await? else {
            return self.finish_again(&tail, &key).await;
        };
        let mark = places[0].mark.clone();
        if !overwrite && self.files.targets.find(&key, &mark).await? == Found::Other {
            return Err(exists(&key));
        }
        let mut places = note(log, upload, places).await?;
        let (id, noted, this) = (log.id, log.seq(), Arc::clone(self));
        let (to, from) = (Move { id, noted, size, key, mark, overwrite }, upload.clone());
        let copied = async move {
            let file = this.files.open(&from, tail).await?;
            this.copy(file, &to).await
        };
        tasks::finish(&self.tasks, copied).await?;
        // What is in the store is deleted when nobody can be reading it any more.
        let clock = &self.files.log().clock;
        self.index.put(&id, clock.now() + clock.grace).await?;
        places[0].done = true;
        let places = note(log, upload, places).await?;
        self.files.targets.clear(&places[1..]).await;
        Ok(())
    }

    /// The key of a target, which is none of the store's own.
    fn key(&self, target: &Path) -> Result<Key> {
        let (key, log) = (key(target)?, &self.files.log());
        if self.files.targets.objects.is(&log.objects) && log.keys.is_own(&key) {
            let problem = format!("{key} is reserved for the store");
            return Err(StoreError::Config { problem });
        }
        Ok(key)
    }

    /// Where the file goes, and then where it may be from before; `None` if it is there already.
    async fn next_places(
        &self,
        id: &UploadId,
        tail: &Tail,
        key: &Key,
        overwrite: bool,
    ) -> Result<Option<Vec<Moved>>> {
        let mut places = tail.entry.moved.clone();
        let whole = places.iter().position(|place| place.done);
        match places.iter().position(|place| place.target == key.as_ref()) {
            Some(at) if whole == Some(at) => return Ok(None),
            // It was on its way there, and nothing was deleted since.
            Some(at) if whole.is_none_or(|whole| at < whole) => places[..=at].rotate_right(1),
            None if places.is_empty() || !self.was_at(id, tail, key).await? => {
                places.insert(0, Moved { target: key.to_string(), mark: nonce(), done: false });
            }
            _ => return self.files.targets.refuse(key, overwrite).await,
        }
        Ok(Some(places))
    }

    /// Whether the file was ever at `key`, or on its way there, as far back as the log goes.
    async fn was_at(&self, id: &UploadId, tail: &Tail, key: &Key) -> Result<bool> {
        let mut seq = tail.seq;
        while let Some(before) = seq.checked_sub(1)
            && let Some(entry) = self.files.log().entry(id, before).await?
            && !entry.moved.is_empty()
        {
            if entry.moved.iter().any(|place| place.target == key.as_ref()) {
                return Ok(true);
            }
            seq = before;
        }
        Ok(false)
    }

    /// Does what may be left to do for a file that is at `key` already.
    async fn finish_again(&self, tail: &Tail, key: &Key) -> Result<()> {
        let (places, size) = (&tail.entry.moved, tail.entry.progress.offset);
        let at = places.iter().position(|place| place.done).unwrap_or_default();
        match self.files.targets.find(key, &places[at].mark).await? {
            Found::Ours(length) if length >= size => {
                self.files.targets.clear(&places[at + 1..]).await;
                Ok(())
            }
            _ => Err(StoreError::io(format!("find {key}"), std::io::ErrorKind::NotFound.into())),
        }
    }

    async fn copy(&self, mut file: Reader, to: &Move) -> Result<()> {
        let Move { size, key, mark, overwrite, .. } = to;
        let part = self.part.max(size.div_ceil(PARTS));
        let memory = kib(*size.min(&(part * (PARTS_AT_ONCE as u64 + 1))));
        // A file that needs more than there is has all of it. The semaphore is never closed.
        let _room = self.room.acquire_many(memory.min(self.whole_room)).await.ok();
        if *size <= part {
            let bytes = read(&mut file, *size).await?;
            self.check_last(to).await?;
            return self.files.targets.create(key, bytes, mark, *overwrite).await;
        }
        if !overwrite {
            // A multipart upload has no condition, so the name is taken first. It is taken before
            // the parts are sent, since on Azure they would be lost with it.
            self.files.targets.create(key, PutPayload::new(), mark, false).await?;
        }
        let attributes = attributes(MARK, mark);
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let store = &self.files.targets.objects.store;
        let mut parts = store.put_multipart_opts(key, options).await.context("write a file")?;
        let copied = self.copy_parts(&mut file, &mut *parts, part, to).await;
        if copied.is_err() {
            // The name, if it was taken, is kept for the next try.
            drop(parts.abort().await);
        }
        copied
    }

    async fn copy_parts(
        &self,
        file: &mut Reader,
        parts: &mut dyn MultipartUpload,
        part: u64,
        to: &Move,
    ) -> Result<()> {
        let (mut left, mut under_way) = (to.size, FuturesUnordered::new());
        while left > 0 {
            let bytes = read(file, part.min(left)).await?;
            left -= bytes.content_length() as u64;
            under_way.push(parts.put_part(bytes));
            if under_way.len() == PARTS_AT_ONCE {
                under_way.try_next().await.context("write a file")?;
            }
        }
        under_way.try_collect::<()>().await.context("write a file")?;
        self.check_last(to).await?;
        parts.complete().await.context("write a file").map(drop)
    }

    /// Fails if somebody has gone on from the note. A node that stood still for long must not write
    /// any more.
    async fn check_last(&self, to: &Move) -> Result<()> {
        match self.files.log().entry(&to.id, to.noted + 1).await? {
            None => Ok(()),
            Some(_) => Err(StoreError::Conflict),
        }
    }
}

/// Notes where the file is, which comes back as it was written.
async fn note(log: &mut Appender, upload: &Upload, places: Vec<Moved>) -> Result<Vec<Moved>> {
    let mut entry = log.next(upload);
    entry.moved = places;
    while entry.size() > LARGEST_ENTRY {
        // Where the file is and where it goes must be known. At any other place it may be left
        // behind.
        let whole = entry.moved.iter().position(|place| place.done);
        let last = (1..entry.moved.len()).rev().find(|last| Some(*last) != whole);
        let Some(last) = last else {
            let problem = "the key to persist to is too long to be noted in an object's metadata";
            return Err(StoreError::Config { problem: problem.to_owned() });
        };
        entry.moved.remove(last);
    }
    let places = entry.moved.clone();
    log.append(entry, PutPayload::new(), upload).await?;
    Ok(places)
}

async fn read(file: &mut Reader, length: u64) -> Result<PutPayload> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let read = file.read_exact(&mut bytes).await;
    read.map_err(|error| StoreError::io("read an upload", error))?;
    Ok(bytes.into())
}

/// The key of a target: its parts, without the root.
fn key(target: &Path) -> Result<Key> {
    let problem = |why| StoreError::Config {
        problem: format!("{} is not a valid key: {why}", target.display()),
    };
    let mut parts = Vec::new();
    for part in target.components() {
        match part {
            Component::Normal(part) => {
                parts.push(part.to_str().ok_or_else(|| problem("it is not UTF-8"))?);
            }
            Component::RootDir | Component::CurDir => {}
            _ => return Err(problem("it contains `..` or a drive")),
        }
    }
    if parts.is_empty() {
        return Err(problem("it has no name"));
    }
    Key::parse(parts.join("/")).map_err(|_| problem("it has characters that no key may have"))
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes / 1024).unwrap_or(u32::MAX)
}

/// S3 takes 2 KiB of metadata, names included. A later commit may have an expiry, or another
/// record, to add.
const LARGEST_ENTRY: usize = 1900;
/// The largest number of parts on S3.
const PARTS: u64 = 10_000;
const PARTS_AT_ONCE: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DigestAlgorithm;
    use crate::checksum::Running;
    use crate::store::Handover;
    use crate::store::bucket::entry::{Body, Entry};
    use crate::upload::{Progress, Status, Ties};

    /// The state over bytes of which many are still to be hashed.
    fn sum(algorithm: DigestAlgorithm) -> Running {
        let mut sum = Running::new(algorithm);
        sum.update(&[0xff; 127]);
        sum
    }

    /// The states of all checksums that there are, the longest of them in hex digits, and as many
    /// uploads as the engine lets need a part.
    #[test]
    fn the_longest_entry_fits() {
        let mut upload = Upload::new(UploadId::random(), std::time::SystemTime::now());
        let others = DigestAlgorithm::ALL.into_iter().filter(|it| *it != DigestAlgorithm::Sha512);
        let ties = Ties {
            needed_by: vec![upload.id; 8],
            awaited_by: Some(upload.id),
            ended_at: Some(u64::MAX),
            persisted: true,
        };
        upload.progress = Progress {
            offset: u64::MAX,
            total: Some(u64::MAX),
            checksum: Some(sum(DigestAlgorithm::Sha512).save()),
            checksums: others.map(|algorithm| sum(algorithm).save_compact()).collect(),
            expires: Some(upload.created),
            status: Status::Finishing,
            end_acknowledged: true,
            ties: Some(Box::new(ties)),
        };
        let mut entry = Entry::new(&nonce(), upload.created, upload.progress);
        (entry.at, entry.body, entry.described) = (u64::MAX, Body::List, Some(u32::MAX));
        entry.handover = Handover::Given;
        assert!(entry.size() <= LARGEST_ENTRY, "{}", entry.size());
    }

    /// The name of a file has at most 200 bytes, of which each takes three characters here.
    #[test]
    fn where_a_file_with_three_checksums_goes_fits_whatever_its_name_is() {
        let mut upload = Upload::new(UploadId::random(), std::time::SystemTime::now());
        upload.progress = Progress {
            offset: u64::MAX,
            total: Some(u64::MAX),
            checksum: Some(sum(DigestAlgorithm::Md5).save()),
            checksums: [DigestAlgorithm::Sha256, DigestAlgorithm::Sha512]
                .map(|algorithm| sum(algorithm).save_compact())
                .into(),
            expires: Some(upload.created),
            status: Status::Finishing,
            end_acknowledged: true,
            ties: None,
        };
        let mut entry = Entry::new(&nonce(), upload.created, upload.progress);
        (entry.at, entry.body, entry.described) = (u64::MAX, Body::List, Some(u32::MAX));
        entry.handover = Handover::Given;
        let target = format!("media/{}/{}", upload.id, "é".repeat(100));
        entry.moved = vec![Moved { target, mark: nonce(), done: false }];
        assert!(entry.size() <= LARGEST_ENTRY, "{}", entry.size());
    }

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
