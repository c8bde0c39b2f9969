//! Tests whether a [`Store`] keeps the contract of the [`store`](crate::store) module.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! use tower_chunked_upload::conformance::Suite;
//! use tower_chunked_upload::store::MemoryStore;
//!
//! let scratch = tempfile::tempdir()?;
//! Suite::new(MemoryStore::new, scratch.path()).reopen(MemoryStore::clone).run().await;
//! # Ok(())
//! # }
//! ```
//!
//! The suite reports each failed case with what it found, and runs the others. The names are in
//! [`CASES`], and [`Suite::run_case`] runs one of them.
//!
//! The suite needs a Tokio runtime with its timer. It uses every method as the engine does, from
//! many tasks, and drops futures halfway. It cannot cut the power or kill the process, so test
//! separately what survives that.

use std::fmt;
use std::future::{Future, poll_fn, ready};
use std::io::{ErrorKind, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::id::UploadId;
use crate::store::{Batch, Commit, Handover, Reader, Store, StoreError, Writer};
use crate::upload::{Creation, Kind, Part, Status, Upload};

/// Accesses the places that [`Writer::persist`] moves files to, as the application and others
/// would.
///
/// A method panics if it fails.
pub trait Targets: Send + Sync + 'static {
    /// Returns a target at which and beside which nothing exists.
    fn fresh(&self) -> PathBuf;

    /// Returns a target at which no file can exist.
    fn impossible(&self) -> PathBuf;

    /// Returns the bytes of the file at the target, or `None` if there is no file.
    fn read<'a>(&'a self, target: &'a Path) -> Doing<'a, Option<Vec<u8>>>;

    /// Puts a file at the target.
    fn write<'a>(&'a self, target: &'a Path, bytes: &'static [u8]) -> Doing<'a, ()>;

    /// Removes the file at the target.
    fn remove<'a>(&'a self, target: &'a Path) -> Doing<'a, ()>;

    /// Puts something at the target that is not a file. Returns `false` if there is no such thing.
    ///
    /// Default: returns `false`.
    fn obstruct<'a>(&'a self, target: &'a Path) -> Doing<'a, bool> {
        let _ = target;
        Box::pin(ready(false))
    }

    /// Returns what exists at the target and beside it.
    fn around<'a>(&'a self, target: &'a Path) -> Doing<'a, Vec<PathBuf>>;
}

/// The future of a method of [`Targets`].
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A run of the suite for one kind of store, and the abilities of that kind.
#[must_use = "a suite does nothing until it is run"]
pub struct Suite<S> {
    make: Box<dyn Fn() -> S + Send + Sync>,
    targets: Box<dyn Targets>,
    reopen: Option<Box<dyn Fn(&S) -> S + Send + Sync>>,
    room: Option<Box<dyn Fn(&S) -> u64 + Send + Sync>>,
    local_files: bool,
    listed: usize,
}

impl<S: Store> Suite<S> {
    /// Creates a suite for the stores that `make` returns. Each call must return an empty one.
    /// Files are persisted to `scratch`, an existing folder of the local filesystem, or to other
    /// [`targets`](Self::targets).
    pub fn new(make: impl Fn() -> S + Send + Sync + 'static, scratch: impl Into<PathBuf>) -> Self {
        Self {
            make: Box::new(make),
            targets: Box::new(Files { folder: scratch.into() }),
            reopen: None,
            room: None,
            local_files: false,
            listed: 300,
        }
    }

    /// Sets how to get another handle for the uploads of a store, as another process would.
    /// Default: none, so the cases with two handles do nothing.
    pub fn reopen(mut self, reopen: impl Fn(&S) -> S + Send + Sync + 'static) -> Self {
        self.reopen = Some(Box::new(reopen));
        self
    }

    /// Sets where files are persisted to, for a store that does not persist to the local
    /// filesystem.
    pub fn targets(mut self, targets: impl Targets) -> Self {
        self.targets = Box::new(targets);
        self
    }

    /// Sets how to count the bytes of uploads that a store holds, committed or not, without its
    /// records. Default: none, so the suite does not check that rolled-back and removed bytes are
    /// gone.
    pub fn room(mut self, room: impl Fn(&S) -> u64 + Send + Sync + 'static) -> Self {
        self.room = Some(Box::new(room));
        self
    }

    /// Expects [`Writer::path`] to name a file for every committed upload and, for an upload that
    /// is joined from others, once it was persisted.
    pub fn local_files(mut self) -> Self {
        self.local_files = true;
        self
    }

    /// Sets how many uploads to list: more than fit in one page. Default: 300.
    pub fn listed(mut self, uploads: usize) -> Self {
        self.listed = uploads;
        self
    }

    /// Runs all [`CASES`].
    ///
    /// # Panics
    /// When all have run, if one of them failed.
    pub async fn run(&self) {
        let mut failures = Vec::new();
        for name in CASES {
            if let Some(case) = self.case(name)
                && let Err(why) = caught(case).await
            {
                failures.push(format!("{name}: {why}"));
            }
        }
        let count = failures.len();
        assert!(count == 0, "{count} of {} cases failed\n{}", CASES.len(), failures.join("\n"));
    }

    /// Runs one case.
    ///
    /// # Panics
    /// If it fails, or there is none of that name.
    pub async fn run_case(&self, name: &str) {
        match self.case(name) {
            Some(case) => case.await,
            None => panic!("there is no case {name:?}"),
        }
    }

    fn store(&self) -> Arc<S> {
        Arc::new((self.make)())
    }

    fn target(&self) -> PathBuf {
        self.targets.fresh()
    }

    async fn file(&self, target: &Path) -> Vec<u8> {
        let Some(bytes) = self.targets.read(target).await else {
            panic!("there is no file at {}", target.display())
        };
        bytes
    }

    async fn exists(&self, target: &Path) -> bool {
        self.targets.around(target).await.contains(&target.to_owned())
    }

    /// No file was left beside the target.
    async fn alone(&self, target: &Path) {
        assert_eq!(self.targets.around(target).await, [target]);
    }

    /// Waits until the store holds `bytes` bytes of uploads, if that can be asked.
    async fn holds(&self, store: &S, bytes: u64) {
        if let Some(room) = &self.room {
            eventually("the room is given back", || room(store) == bytes).await;
        }
    }
}

/// Targets in a folder of the local filesystem.
struct Files {
    folder: PathBuf,
}

impl Targets for Files {
    fn fresh(&self) -> PathBuf {
        self.folder.join(UploadId::random().as_str()).join("folder").join("file.bin")
    }

    fn impossible(&self) -> PathBuf {
        let folder = self.fresh();
        std::fs::create_dir_all(&folder).must("make a folder");
        folder
    }

    fn read<'a>(&'a self, target: &'a Path) -> Doing<'a, Option<Vec<u8>>> {
        Box::pin(ready(match std::fs::read(target) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            bytes => Some(bytes.must("read a file")),
        }))
    }

    fn write<'a>(&'a self, target: &'a Path, bytes: &'static [u8]) -> Doing<'a, ()> {
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).must("make a folder");
        }
        std::fs::write(target, bytes).must("write a file");
        Box::pin(ready(()))
    }

    fn remove<'a>(&'a self, target: &'a Path) -> Doing<'a, ()> {
        std::fs::remove_file(target).must("remove a file");
        Box::pin(ready(()))
    }

    fn obstruct<'a>(&'a self, target: &'a Path) -> Doing<'a, bool> {
        std::fs::create_dir(target).must("make a folder");
        Box::pin(ready(true))
    }

    fn around<'a>(&'a self, target: &'a Path) -> Doing<'a, Vec<PathBuf>> {
        let entries = target.parent().map(std::fs::read_dir);
        let entries = match entries {
            Some(Err(error)) if error.kind() == ErrorKind::NotFound => None,
            Some(entries) => Some(entries.must("read a folder")),
            None => None,
        };
        let paths = entries.into_iter().flatten().map(|entry| entry.must("read a folder").path());
        Box::pin(ready(paths.collect()))
    }
}

impl<S> fmt::Debug for Suite<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite")
            .field("reopen", &self.reopen.is_some())
            .field("room", &self.room.is_some())
            .field("local_files", &self.local_files)
            .field("listed", &self.listed)
            .finish_non_exhaustive()
    }
}

macro_rules! cases {
    ($($name:ident,)*) => {
        /// The names of the cases, each of which says what must hold.
        pub const CASES: &[&str] = &[$(stringify!($name)),*];

        impl<S: Store> Suite<S> {
            fn case(&self, name: &str) -> Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>> {
                match name {
                    $(stringify!($name) => Some(Box::pin($name(self))),)*
                    _ => None,
                }
            }
        }
    };
}

cases! {
    a_good_store_passes_its_check,
    a_probe_shows_nowhere_and_leaves_nothing,
    dropping_a_probing_future_leaves_nothing,
    an_unknown_upload_is_not_found,
    a_creation_is_invisible_before_its_first_commit,
    a_creation_dropped_before_its_commit_leaves_nothing,
    an_upload_may_be_empty,
    a_record_comes_back_as_it_was_given,
    a_later_commit_may_change_the_whole_record,
    bytes_of_any_size_come_back,
    one_lease_makes_many_commits,
    work_beside_a_batch_is_done_once_and_its_record_counts,
    bytes_past_the_offset_are_written_over,
    a_dropped_write_is_rolled_back,
    a_dropped_write_does_not_show_in_a_finished_file,
    a_reader_seeks_like_a_file,
    a_reader_shows_committed_bytes_only,
    an_interrupted_read_loses_nothing,
    there_is_one_writer_at_a_time,
    a_lease_ends_when_its_writer_is_dropped,
    competing_commits_never_start_from_the_same_record,
    reading_waits_for_no_lease,
    a_reader_of_the_record_sees_it_go_forward_only,
    what_was_written_can_be_read_back_instead_of_committed,
    persisting_moves_the_bytes,
    persisting_again_ends_in_the_same_place,
    persisting_to_another_target_moves_the_file,
    persisting_replaces_a_file_only_if_told,
    a_failed_persist_leaves_the_bytes_where_they_were,
    a_persisted_upload_may_be_empty,
    a_persisted_file_outlives_its_record,
    a_persisted_file_is_found_after_its_writer_was_dropped,
    nothing_is_added_to_a_persisted_file,
    an_upload_whose_persisted_file_is_gone_can_be_removed,
    a_removed_upload_is_gone,
    a_joined_upload_reads_as_its_parts,
    a_joined_upload_is_empty_until_all_sizes_are_known,
    a_joined_upload_may_have_many_parts,
    a_joined_upload_is_sound_without_bytes_of_its_own,
    persisting_a_joined_upload_makes_one_file_and_leaves_its_parts,
    persisting_a_joined_upload_again_ends_in_the_same_place,
    persisting_a_joined_upload_replaces_a_file_only_if_told,
    a_failed_persist_of_a_joined_upload_leaves_its_parts,
    nothing_is_added_to_a_joined_upload_that_was_persisted,
    a_removed_joined_upload_leaves_its_parts,
    every_upload_is_listed_once,
    a_listing_is_not_upset_by_uploads_that_come_and_go,
    discarding_spares_what_exists,
    only_a_damaged_upload_is_removed_as_one,
    an_upload_that_is_asked_for_is_named_to_others,
    dropping_a_reading_future_changes_nothing,
    dropping_an_appending_future_leaves_the_old_record_or_the_new,
    dropping_a_creating_future_leaves_nothing_or_the_upload,
    dropping_a_future_that_reads_back_changes_nothing,
    dropping_a_persisting_future_loses_no_byte,
    dropping_a_removing_future_leaves_the_upload_or_nothing,
    another_handle_is_the_same_store,
    another_handle_keeps_to_the_lease,
    what_is_remembered_is_written_if_it_stands,
    what_is_remembered_is_not_written_if_another_handle_has_changed_it,
    handles_that_compete_never_commit_from_the_same_record,
    an_upload_that_exists_is_not_created_again,
    of_creations_that_compete_one_makes_the_first_commit,
    what_a_creation_left_is_in_nobodys_way,
    an_upload_that_was_removed_is_created_again_or_not_at_all,
}

async fn a_good_store_passes_its_check<S: Store>(suite: &Suite<S>) {
    suite.store().check().must("check");
}

async fn a_probe_shows_nowhere_and_leaves_nothing<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let other = suite.reopen.as_ref().map(|reopen| Arc::new(reopen(&store)));
    for uploads in [0, 1] {
        if uploads == 1 {
            born(&*store, &data(1, 50)).await;
        }
        let stores = [&store, other.as_ref().unwrap_or(&store)];
        let probes = stores.into_iter().cycle().take(10).map(Arc::clone);
        let probes: Vec<_> =
            probes.map(|store| tokio::spawn(async move { store.probe().await })).collect();
        while !probes.iter().all(|probe| probe.is_finished()) {
            let page = store.list(None).await.must("list");
            assert_eq!((page.uploads.len(), page.abandoned.len()), (uploads, 0));
            tokio::task::yield_now().await;
        }
        for probe in probes {
            probe.await.must("end").must("probe");
        }
        suite.holds(&store, 50 * uploads as u64).await;
    }
}

async fn dropping_a_probing_future_leaves_nothing<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    for polls in 0..POLLS {
        let done = polled(polls, store.probe()).await.is_some();
        store.settle().await;
        suite.holds(&store, 0).await;
        store.probe().await.must("probe");
        assert!(listed(&*store).await.is_empty(), "it is listed");
        if done {
            break;
        }
    }
}

async fn an_unknown_upload_is_not_found<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    for known in [0, 1] {
        if known == 1 {
            born(&*store, &data(1, 10)).await;
        }
        let id = UploadId::random();
        not_found(store.load(&id).await, "load");
        not_found(store.open(&id).await.map(drop), "open");
        not_found(store.writer(&id).await.map(drop), "writer");
        store.discard(&id).await.must("discard");
        assert_eq!(listed(&*store).await.len(), known);
    }
}

async fn a_creation_is_invisible_before_its_first_commit<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let (upload, bytes) = (new(), data(1, 100_000));
    let mut writer = store.create(upload.clone()).await.must("create");
    assert_eq!(writer.upload(), &upload);
    for look in 0..2 {
        not_found(store.load(&upload.id).await, "load");
        not_found(store.open(&upload.id).await.map(drop), "open");
        assert!(listed(&*store).await.is_empty(), "it is listed");
        match store.writer(&upload.id).await {
            Err(StoreError::NotFound | StoreError::Removed { .. } | StoreError::Busy) => {}
            other => panic!("writer gave {:?}", other.map(drop)),
        }
        // What is under way may look like what a crash left, and must live through that.
        match store.discard(&upload.id).await {
            Ok(()) | Err(StoreError::Busy) => {}
            other => panic!("discard gave {other:?}"),
        }
        if look == 0 {
            writer.write(Batch::new(bytes.clone())).await.must("write");
        }
    }
    let upload = at(&upload, bytes.len());
    writer.commit(Commit::new(Bytes::new(), upload.clone())).await.must("commit");
    assert_eq!(writer.upload(), &upload);
    drop(writer);
    holds(&*store, &upload, &bytes).await;
    assert_eq!(listed(&*store).await, [upload]);
}

async fn a_creation_dropped_before_its_commit_leaves_nothing<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let neighbour = born(&*store, &data(9, 50)).await;
    for length in [None, Some(0), Some(70_000)] {
        let upload = new();
        let mut writer = store.create(upload.clone()).await.must("create");
        if let Some(length) = length {
            writer.write(Batch::new(data(1, length))).await.must("write");
        }
        drop(writer);
        nothing_left(&*store, &upload.id).await;
        suite.holds(&store, 50).await;
    }
    assert_eq!(listed(&*store).await, [neighbour]);
}

async fn an_upload_may_be_empty<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let upload = born(&*store, &Bytes::new()).await;
    holds(&*store, &upload, b"").await;
    assert_eq!(listed(&*store).await, std::slice::from_ref(&upload));
    let upload = grow(&*store, &upload.id, &data(1, 3)).await;
    holds(&*store, &upload, &data(1, 3)).await;
}

async fn a_record_comes_back_as_it_was_given<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    for (status, expires) in [
        (Status::Open, None),
        (Status::Finishing, Some(UNIX_EPOCH)),
        (Status::Complete, Some(UNIX_EPOCH + Duration::from_millis(253_402_300_799_999))),
    ] {
        let mut upload = rich(new());
        upload.progress.status = status;
        upload.progress.expires = expires;
        let mut writer = store.create(upload.clone()).await.must("create");
        assert_eq!(writer.upload(), &upload);
        let bytes = data(1, 17);
        let upload = at(&upload, bytes.len());
        writer.commit(Commit::new(bytes.clone(), upload.clone())).await.must("commit");
        assert_eq!(writer.upload(), &upload);
        drop(writer);
        holds(&*store, &upload, &bytes).await;
        assert_eq!(self::writer(&*store, &upload.id).await.upload(), &upload);
        assert!(listed(&*store).await.contains(&upload), "it is listed otherwise");
    }
}

async fn a_later_commit_may_change_the_whole_record<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let plain = born(&*store, &data(1, 5)).await;
    let mut writer = self::writer(&*store, &plain.id).await;
    let mut changed = rich(plain.clone());
    changed.owner.clone_from(&plain.owner);
    writer.commit(Commit::new(Bytes::new(), changed.clone())).await.must("commit");
    drop(writer);
    holds(&*store, &changed, &data(1, 5)).await;

    let mut back = plain.clone();
    back.progress.total = Some(7);
    let mut writer = self::writer(&*store, &plain.id).await;
    writer.commit(Commit::new(data(2, 2), at(&back, 7))).await.must("commit");
    drop(writer);
    let bytes = [data(1, 5), data(2, 2)].concat();
    holds(&*store, &at(&back, 7), &bytes).await;
}

async fn bytes_of_any_size_come_back<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    for length in [1, 2, 511, 4095, 4096, 4097, 65_535, 65_536, 65_537, (1 << 20) + 1] {
        let upload = born(&*store, &data(3, length)).await;
        holds(&*store, &upload, &data(3, length)).await;
    }
    let upload = new();
    let mut writer = store.create(upload.clone()).await.must("create");
    let mut bytes = Vec::new();
    let odd = [0, 1, 3, 4096, 0, 70_001, 5, 3 << 20, 2, 4095];
    for (seed, length) in odd.into_iter().enumerate() {
        writer.write(Batch::new(data(seed, length))).await.must("write");
        bytes.extend_from_slice(&data(seed, length));
    }
    for seed in 0..300 {
        writer.write(Batch::new(data(seed, seed % 7))).await.must("write");
        bytes.extend_from_slice(&data(seed, seed % 7));
    }
    let last = data(77, 13);
    bytes.extend_from_slice(&last);
    let upload = at(&upload, bytes.len());
    writer.commit(Commit::new(last, upload.clone())).await.must("commit");
    drop(writer);
    holds(&*store, &upload, &bytes).await;
}

async fn one_lease_makes_many_commits<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let upload = new();
    let mut writer = store.create(upload.clone()).await.must("create");
    let mut bytes = Vec::new();
    for round in 0..40 {
        let (one, two) = (data(round, round % 3 * 50), data(round + 1000, round % 5));
        writer.write(Batch::new(one.clone())).await.must("write");
        bytes.extend_from_slice(&one);
        bytes.extend_from_slice(&two);
        let upload = at(&upload, bytes.len());
        writer.commit(Commit::new(two, upload.clone())).await.must("commit");
        assert_eq!(writer.upload(), &upload);
        assert_eq!(store.load(&upload.id).await.must("load"), upload);
    }
    holds(&*store, &at(&upload, bytes.len()), &bytes).await;
    writer.write(Batch::new(data(5, 1000))).await.must("write");
    drop(writer);
    holds(&*store, &at(&upload, bytes.len()), &bytes).await;
}

async fn work_beside_a_batch_is_done_once_and_its_record_counts<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let upload = new();
    let mut writer = store.create(upload.clone()).await.must("create");
    let mut bytes = Vec::new();
    // What is small may be done elsewhere than what is large.
    for length in [0, 100, 300_000] {
        let (one, two) = (data(1, length), data(2, length));
        let done = Arc::new(AtomicUsize::new(0));
        let look = {
            let (done, one) = (Arc::clone(&done), one.clone());
            move |bytes: &[u8]| {
                assert_eq!(bytes, one, "what is looked at");
                done.fetch_add(1, Ordering::SeqCst);
            }
        };
        writer.write(Batch::looked_at(one.clone(), true, look)).await.must("write");
        assert_eq!(done.load(Ordering::SeqCst), 1, "the work");
        bytes.extend_from_slice(&one);
        bytes.extend_from_slice(&two);
        let upload = at(&upload, bytes.len());
        let record = {
            let (done, upload, two) = (Arc::clone(&done), upload.clone(), two.clone());
            move |bytes: &[u8]| {
                assert_eq!(bytes, two, "what is looked at");
                done.fetch_add(1, Ordering::SeqCst);
                upload
            }
        };
        writer.commit(Commit::computed(two, true, record)).await.must("commit");
        assert_eq!(done.load(Ordering::SeqCst), 2, "the record");
        assert_eq!(writer.upload(), &upload);
        assert_eq!(store.load(&upload.id).await.must("load"), upload);
    }
    drop(writer);
    holds(&*store, &at(&upload, bytes.len()), &bytes).await;
}

async fn bytes_past_the_offset_are_written_over<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let upload = born(&*store, &data(1, 10)).await;
    let mut writer = self::writer(&*store, &upload.id).await;
    writer.commit(Commit::new(data(2, 100), at(&upload, 30))).await.must("commit");
    let mut bytes = [data(1, 10), data(2, 20)].concat();
    holds(&*store, &at(&upload, 30), &bytes).await;
    writer.write(Batch::new(data(3, 4))).await.must("write");
    writer.commit(Commit::new(data(4, 3), at(&upload, 37))).await.must("commit");
    bytes.extend_from_slice(&data(3, 4));
    bytes.extend_from_slice(&data(4, 3));
    drop(writer);
    holds(&*store, &at(&upload, 37), &bytes).await;
}

async fn a_dropped_write_is_rolled_back<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let mut bytes = data(1, 10).to_vec();
    let mut upload = born(&*store, &data(1, 10)).await;
    for (rubbish, chunk) in [(1000, 5), (70_000, 1), (1, 1000), (100, 0)] {
        let mut writer = self::writer(&*store, &upload.id).await;
        assert_eq!(writer.upload(), &upload);
        writer.write(Batch::new(data(2, rubbish / 2))).await.must("write");
        writer.write(Batch::new(data(3, rubbish - rubbish / 2))).await.must("write");
        holds(&*store, &upload, &bytes).await;
        drop(writer);
        holds(&*store, &upload, &bytes).await;
        suite.holds(&store, bytes.len() as u64).await;
        upload = grow(&*store, &upload.id, &data(4, chunk)).await;
        bytes.extend_from_slice(&data(4, chunk));
        holds(&*store, &upload, &bytes).await;
    }
}

async fn a_dropped_write_does_not_show_in_a_finished_file<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let upload = born(&*store, &data(1, 10)).await;
    let mut writer = self::writer(&*store, &upload.id).await;
    writer.write(Batch::new(data(2, 1000))).await.must("write");
    let finishing = with_status(&upload, Status::Finishing);
    let given = Commit::new(Bytes::new(), finishing).with_handover(Handover::Given);
    writer.commit(given).await.must("commit");
    holds(&*store, &with_status(&upload, Status::Finishing), &data(1, 10)).await;
    let path = writer.path();
    assert!(path.is_some() || !suite.local_files, "there is no path");
    if let Some(path) = path {
        assert_eq!(std::fs::read(path).must("read a file"), data(1, 10), "the file at the path");
    }
    let target = suite.target();
    writer.persist(&target, true).await.must("persist");
    assert_eq!(suite.file(&target).await, data(1, 10), "the persisted file");
}

async fn a_reader_seeks_like_a_file<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let bytes = data(1, 150_000);
    let upload = born(&*store, &bytes).await;
    let mut writer = self::writer(&*store, &upload.id).await;
    writer.write(Batch::new(data(2, 1000))).await.must("write");
    seeks_like(store.open(&upload.id).await.must("open"), &bytes).await;
}

async fn a_reader_shows_committed_bytes_only<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let upload = born(&*store, &data(1, 5000)).await;
    let mut writer = self::writer(&*store, &upload.id).await;
    writer.write(Batch::new(data(2, 1000))).await.must("write");
    let mut before = store.open(&upload.id).await.must("open");
    let mut first = vec![0; 4000];
    before.read_exact(&mut first).await.must("read");
    writer.commit(Commit::new(data(3, 1000), at(&upload, 7000))).await.must("commit");
    writer.write(Batch::new(data(4, 1000))).await.must("write");
    let all = [data(1, 5000), data(2, 1000), data(3, 1000)].concat();

    // Whether a reader follows later commits is the store's to say.
    let rest = read(&mut before).await;
    first.extend_from_slice(&rest);
    assert!(first.len() >= 5000 && all.starts_with(&first), "{} bytes", first.len());
    holds(&*store, &at(&upload, 7000), &all).await;
    drop(writer);
    drop(self::writer(&*store, &upload.id).await);
    before.seek(SeekFrom::Start(0)).await.must("seek");
    let again = read(&mut before).await;
    assert!(again.len() >= 5000 && all.starts_with(&again), "{} bytes", again.len());
}

async fn an_interrupted_read_loses_nothing<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let bytes = data(1, 60_000);
    let upload = born(&*store, &bytes).await;
    let mut reader = store.open(&upload.id).await.must("open");
    let mut came = Vec::new();
    let mut buffer = [0; 7000];
    loop {
        let length = came.len() % 6999 + 1;
        // Dropped before its end, such a read has taken no byte.
        let read = match polled(1, reader.read(&mut buffer[..length])).await {
            Some(read) => read.must("read"),
            None => reader.read(&mut buffer[..length]).await.must("read"),
        };
        if read == 0 {
            break;
        }
        came.extend_from_slice(&buffer[..read]);
        drop(polled(1, reader.read(&mut buffer[..0])).await);
    }
    assert!(came == bytes, "{} bytes came", came.len());
    drop(polled(1, reader.seek(SeekFrom::Start(5))).await);
    reader.seek(SeekFrom::Start(7)).await.must("seek");
    assert!(read(&mut reader).await == bytes[7..], "other bytes after a seek");
}

async fn there_is_one_writer_at_a_time<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    exclusive(&*store, &*store).await;
}

async fn a_lease_ends_when_its_writer_is_dropped<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let upload = born(&*store, &data(1, 10)).await;
    drop(self::writer(&*store, &upload.id).await);
    let mut dirty = self::writer(&*store, &upload.id).await;
    dirty.write(Batch::new(data(2, 100))).await.must("write");
    drop(dirty);
    let mut committed = self::writer(&*store, &upload.id).await;
    committed.commit(Commit::new(data(3, 1), at(&upload, 11))).await.must("commit");
    drop(committed);
    let reader = self::writer(&*store, &upload.id).await.into_reader().await.must("into_reader");
    drop(reader);
    let mut failed = self::writer(&*store, &upload.id).await;
    let impossible = suite.targets.impossible();
    assert!(failed.persist(&impossible, true).await.is_err(), "there can be no file");
    drop(failed);
    usable(&*store, &upload.id, &[data(1, 10), data(3, 1)].concat()).await;
}

async fn competing_commits_never_start_from_the_same_record<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    compete(&[Arc::clone(&store), Arc::clone(&store), Arc::clone(&store), store]).await;
}

async fn reading_waits_for_no_lease<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let upload = born(&*store, &data(1, 10)).await;
    let mut writer = self::writer(&*store, &upload.id).await;
    holds(&*store, &upload, &data(1, 10)).await;
    writer.write(Batch::new(data(2, 10))).await.must("write");
    holds(&*store, &upload, &data(1, 10)).await;
    assert_eq!(listed(&*store).await, [upload]);
}

async fn a_reader_of_the_record_sees_it_go_forward_only<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let all = data(1, 1000);
    let upload = born(&*store, &Bytes::new()).await;
    let writing = async {
        let mut end = 0;
        while end < all.len() {
            let next = (end + 10).min(all.len());
            grow(&*store, &upload.id, &all.slice(end..next)).await;
            end = next;
            let mut rubbish = self::writer(&*store, &upload.id).await;
            rubbish.write(Batch::new(data(2, 20))).await.must("write");
        }
    };
    let reading = async {
        let mut seen = 0;
        while seen < all.len() as u64 {
            // A store in memory may have all at once, and the other half of this task waits.
            tokio::task::yield_now().await;
            let offset = store.load(&upload.id).await.must("load").offset();
            assert!(offset >= seen, "from {seen} back to {offset}");
            let bytes = content(&*store, &upload.id).await;
            assert!(bytes.len() as u64 >= offset && all.starts_with(&bytes), "at {offset}");
            let page = listed(&*store).await;
            assert!(page.len() == 1 && page[0].offset() >= offset, "{page:?}");
            seen = offset;
        }
    };
    tokio::join!(writing, reading);
}

async fn what_was_written_can_be_read_back_instead_of_committed<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let bytes = data(2, 150_000);

    let unborn = new();
    let mut writer = store.create(unborn.clone()).await.must("create");
    writer.write(Batch::new(bytes.clone())).await.must("write");
    let mut reader = writer.into_reader().await.must("into_reader");
    assert!(read(&mut reader).await == bytes, "other bytes");
    reader.seek(SeekFrom::Start(0)).await.must("seek");
    seeks_like(reader, &bytes).await;
    nothing_left(&*store, &unborn.id).await;
    suite.holds(&store, 0).await;

    let empty = store.create(new()).await.must("create");
    let mut reader = empty.into_reader().await.must("into_reader");
    assert_eq!(read(&mut reader).await, b"");
    drop(reader);

    let upload = born(&*store, &data(1, 1000)).await;
    let mut writer = self::writer(&*store, &upload.id).await;
    for part in [0..1, 1..100_000, 100_000..bytes.len()] {
        writer.write(Batch::new(bytes.slice(part))).await.must("write");
    }
    let reader = writer.into_reader().await.must("into_reader");
    holds(&*store, &upload, &data(1, 1000)).await;
    seeks_like(reader, &bytes).await;
    usable(&*store, &upload.id, &data(1, 1000)).await;
}

async fn persisting_moves_the_bytes<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let bytes = data(1, 70_000);
    for overwrite in [true, false] {
        let (upload, mut writer) = finishing(&*store, &bytes).await;
        let target = suite.target();
        writer.persist(&target, overwrite).await.must("persist");
        assert!(suite.file(&target).await == bytes, "the target has other bytes");
        suite.alone(&target).await;
        holds(&*store, &upload, &bytes).await;
        if suite.local_files {
            assert_eq!(writer.path(), Some(target.clone()));
        }
        let complete = with_status(&upload, Status::Complete);
        let taken = Commit::new(Bytes::new(), complete.clone()).with_handover(Handover::Taken);
        writer.commit(taken).await.must("commit");
        drop(writer);
        suite.holds(&store, 0).await;
        holds(&*store, &complete, &bytes).await;
        assert!(suite.file(&target).await == bytes, "the target has other bytes");
    }
}

async fn persisting_again_ends_in_the_same_place<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let bytes = data(1, 1000);
    let (upload, mut writer) = finishing(&*store, &bytes).await;
    let target = suite.target();
    for overwrite in [false, true, false] {
        writer.persist(&target, overwrite).await.must("persist");
        assert_eq!(suite.file(&target).await, bytes);
        drop(writer);
        writer = self::writer(&*store, &upload.id).await;
        writer.persist(&target, overwrite).await.must("persist in another lease");
        assert_eq!(suite.file(&target).await, bytes);
        holds(&*store, &upload, &bytes).await;
    }
    suite.alone(&target).await;
}

async fn persisting_to_another_target_moves_the_file<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let bytes = data(1, 1000);
    let (upload, mut writer) = finishing(&*store, &bytes).await;
    let (first, second) = (suite.target(), suite.target());
    writer.persist(&first, true).await.must("persist");
    writer.persist(&second, false).await.must("persist elsewhere");
    assert_eq!(suite.file(&second).await, bytes);
    assert!(!suite.exists(&first).await, "there are two files");
    holds(&*store, &upload, &bytes).await;
}

async fn persisting_replaces_a_file_only_if_told<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let bytes = data(1, 1000);
    let (upload, mut writer) = finishing(&*store, &bytes).await;
    let (taken, free) = (suite.target(), suite.target());
    suite.targets.write(&taken, b"somebody's").await;
    for persisted in [false, true] {
        match writer.persist(&taken, false).await {
            Err(StoreError::AlreadyExists { .. }) => {}
            other => panic!("persisted: {persisted}, gave {other:?}"),
        }
        assert_eq!(suite.file(&taken).await, b"somebody's");
        holds(&*store, &upload, &bytes).await;
        if !persisted {
            writer.persist(&free, false).await.must("persist elsewhere");
        }
    }
    writer.persist(&taken, true).await.must("replace");
    assert_eq!(suite.file(&taken).await, bytes);
    suite.alone(&taken).await;
    assert!(!suite.exists(&free).await, "there are two files");
    holds(&*store, &upload, &bytes).await;
}

async fn a_failed_persist_leaves_the_bytes_where_they_were<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let bytes = data(1, 1000);
    let (upload, mut writer) = finishing(&*store, &bytes).await;
    let target = suite.target();
    for persisted in [false, true] {
        let impossible = suite.targets.impossible();
        assert!(writer.persist(&impossible, true).await.is_err(), "there can be no file");
        holds(&*store, &upload, &bytes).await;
        drop(writer);
        holds(&*store, &upload, &bytes).await;
        writer = self::writer(&*store, &upload.id).await;
        assert_eq!(suite.exists(&target).await, persisted);
        writer.persist(&target, false).await.must("persist after a failure");
        assert_eq!(suite.file(&target).await, bytes);
        holds(&*store, &upload, &bytes).await;
    }
}

async fn a_persisted_upload_may_be_empty<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let (upload, mut writer) = finishing(&*store, &Bytes::new()).await;
    let target = suite.target();
    writer.persist(&target, false).await.must("persist");
    assert_eq!(suite.file(&target).await, b"");
    drop(writer);
    holds(&*store, &upload, b"").await;
}

async fn a_persisted_file_outlives_its_record<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let bytes = data(1, 1000);
    for reopened in [false, true] {
        let (upload, mut writer) = finishing(&*store, &bytes).await;
        let target = suite.target();
        writer.persist(&target, true).await.must("persist");
        if reopened {
            drop(writer);
            writer = self::writer(&*store, &upload.id).await;
        }
        writer.remove().await.must("remove");
        nothing_left(&*store, &upload.id).await;
        assert_eq!(suite.file(&target).await, bytes);
        suite.alone(&target).await;
    }
}

async fn a_persisted_file_is_found_after_its_writer_was_dropped<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let bytes = data(1, 1000);
    let (upload, mut writer) = finishing(&*store, &bytes).await;
    let target = suite.target();
    writer.persist(&target, true).await.must("persist");
    drop(writer);
    holds(&*store, &upload, &bytes).await;
    let mut writer = self::writer(&*store, &upload.id).await;
    assert_eq!(writer.upload(), &upload);
    writer
        .commit(Commit::new(Bytes::new(), with_status(&upload, Status::Open)))
        .await
        .must("commit");
    drop(writer);
    holds(&*store, &with_status(&upload, Status::Open), &bytes).await;
    assert_eq!(suite.file(&target).await, bytes);
}

async fn nothing_is_added_to_a_persisted_file<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let bytes = data(1, 1000);
    let (upload, mut writer) = finishing(&*store, &bytes).await;
    let target = suite.target();
    writer.persist(&target, true).await.must("persist");
    let open = with_status(&upload, Status::Open);
    writer.commit(Commit::new(Bytes::new(), open.clone())).await.must("commit");
    drop(writer);
    let mut writer = self::writer(&*store, &upload.id).await;
    let mut longer = open.clone();
    longer.progress.offset += 3;
    let adding = async {
        writer.write(Batch::new(data(99, 3))).await?;
        writer.commit(Commit::new(Bytes::new(), longer)).await
    };
    assert!(adding.await.is_err(), "bytes were added to a file of the application's");
    drop(writer);
    holds(&*store, &open, &bytes).await;
    assert_eq!(suite.file(&target).await, bytes);
}

async fn an_upload_whose_persisted_file_is_gone_can_be_removed<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let bytes = data(1, 1000);
    for now in ["nothing", "a shorter file", "no file"] {
        let (upload, mut writer) = finishing(&*store, &bytes).await;
        let target = suite.target();
        writer.persist(&target, true).await.must("persist");
        drop(writer);
        // The file is the application's, to do with as it likes.
        suite.targets.remove(&target).await;
        let there = match now {
            "a shorter file" => {
                suite.targets.write(&target, b"mine").await;
                true
            }
            "no file" => suite.targets.obstruct(&target).await,
            _ => false,
        };
        assert_eq!(store.load(&upload.id).await.must("load"), upload);
        let writer = leased(&*store, &upload.id).await.must(now);
        writer.remove().await.must(now);
        nothing_left(&*store, &upload.id).await;
        assert_eq!(suite.exists(&target).await, there, "{now}");
    }
}

async fn a_removed_upload_is_gone<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let neighbour = born(&*store, &data(9, 50)).await;
    for rubbish in [0, 1000] {
        let upload = born(&*store, &data(1, 1000)).await;
        let mut writer = self::writer(&*store, &upload.id).await;
        writer.write(Batch::new(data(2, rubbish))).await.must("write");
        writer.remove().await.must("remove");
        not_found(store.load(&upload.id).await, "load");
        not_found(store.open(&upload.id).await.map(drop), "open");
        not_found(store.writer(&upload.id).await.map(drop), "writer");
        nothing_left(&*store, &upload.id).await;
        suite.holds(&store, 50).await;
    }
    let unborn = new();
    let mut writer = store.create(unborn.clone()).await.must("create");
    writer.write(Batch::new(data(3, 1000))).await.must("write");
    writer.remove().await.must("remove");
    nothing_left(&*store, &unborn.id).await;
    suite.holds(&store, 50).await;
    assert_eq!(listed(&*store).await, [neighbour]);
}

async fn a_joined_upload_reads_as_its_parts<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let (parts, bytes) = parts(&*store).await;
    let upload = joined(&*store, &parts).await;
    holds(&*store, &upload, &bytes).await;
    seeks_like(store.open(&upload.id).await.must("open"), &bytes).await;
    // The first commit may know all sizes already.
    let upload = sized(&Upload { id: UploadId::random(), ..upload }, &parts);
    let mut writer = store.create(upload.clone()).await.must("create");
    writer.commit(Commit::new(Bytes::new(), upload.clone())).await.must("commit");
    drop(writer);
    holds(&*store, &upload, &bytes).await;
    suite.holds(&store, PARTS.iter().sum::<usize>() as u64).await;
}

async fn a_joined_upload_is_empty_until_all_sizes_are_known<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let (parts, bytes) = parts(&*store).await;
    let mut upload = new();
    let known = |part: &Upload, size| Part::new(part.id, size);
    upload.kind =
        Kind::Joined(vec![known(&parts[0], Some(PARTS[0] as u64)), known(&parts[1], None)]);
    let mut writer = store.create(upload.clone()).await.must("create");
    writer.commit(Commit::new(Bytes::new(), upload.clone())).await.must("commit");
    assert_eq!(writer.path(), None);
    drop(writer);
    holds(&*store, &upload, b"").await;
    assert!(listed(&*store).await.contains(&upload), "it is listed otherwise");

    let mut writer = self::writer(&*store, &upload.id).await;
    assert_eq!(writer.upload(), &upload);
    let upload = sized(&upload, &parts);
    writer.commit(Commit::new(Bytes::new(), upload.clone())).await.must("commit");
    holds(&*store, &upload, &bytes).await;
    assert!(listed(&*store).await.contains(&upload), "it is listed otherwise");
    drop(writer);
    assert_eq!(self::writer(&*store, &upload.id).await.upload(), &upload);
}

async fn a_joined_upload_may_have_many_parts<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let (mut parts, mut bytes) = (Vec::new(), Vec::new());
    for seed in 0..10 {
        parts.push(born(&*store, &data(seed, 3)).await);
        bytes.extend_from_slice(&data(seed, 3));
    }
    let (parts, bytes) = ([&*parts; 100].concat(), bytes.repeat(100));
    let upload = joined(&*store, &parts).await;
    holds(&*store, &upload, &bytes).await;
    let (_, mut writer) = given(&*store, &upload).await;
    let target = suite.target();
    writer.persist(&target, false).await.must("persist");
    assert!(suite.file(&target).await == bytes, "the target has other bytes");
}

async fn a_joined_upload_is_sound_without_bytes_of_its_own<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let (parts, bytes) = parts(&*store).await;
    let upload = joined(&*store, &parts).await;
    let sound = async |upload: &Upload| {
        assert!(!store.remove_damaged(&upload.id).await.must("remove_damaged"), "it was sound");
        eventually_ok("discard", || store.discard(&upload.id)).await;
        holds(&*store, upload, &bytes).await;
    };
    sound(&upload).await;
    let (finishing, mut writer) = given(&*store, &upload).await;
    assert!(!writer.needs_verification());
    let open = with_status(&finishing, Status::Open);
    writer.commit(Commit::new(Bytes::new(), open.clone())).await.must("give back");
    drop(writer);
    sound(&open).await;
    let (finishing, mut writer) = given(&*store, &open).await;
    writer.persist(&suite.target(), true).await.must("persist");
    drop(writer);
    sound(&finishing).await;
}

async fn persisting_a_joined_upload_makes_one_file_and_leaves_its_parts<S: Store>(
    suite: &Suite<S>,
) {
    let store = suite.store();
    for overwrite in [true, false] {
        let (parts, bytes) = parts(&*store).await;
        let upload = joined(&*store, &parts).await;
        let (upload, mut writer) = given(&*store, &upload).await;
        assert_eq!(writer.path(), None);
        let target = suite.target();
        writer.persist(&target, overwrite).await.must("persist");
        assert!(suite.file(&target).await == bytes, "the target has other bytes");
        suite.alone(&target).await;
        holds(&*store, &upload, &bytes).await;
        if suite.local_files {
            assert_eq!(writer.path(), Some(target.clone()));
        }
        let complete = with_status(&upload, Status::Complete);
        let taken = Commit::new(Bytes::new(), complete.clone()).with_handover(Handover::Taken);
        writer.commit(taken).await.must("commit");
        drop(writer);
        parts_stand(&*store, &parts).await;
        suite.holds(&store, PARTS.iter().sum::<usize>() as u64).await;
        // From then on it needs them no longer.
        for part in &parts[..PARTS.len()] {
            self::writer(&*store, &part.id).await.remove().await.must("remove");
        }
        suite.holds(&store, 0).await;
        holds(&*store, &complete, &bytes).await;
        assert!(suite.file(&target).await == bytes, "the target has other bytes");
    }
}

async fn persisting_a_joined_upload_again_ends_in_the_same_place<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let (parts, bytes) = parts(&*store).await;
    let upload = joined(&*store, &parts).await;
    let (upload, mut writer) = given(&*store, &upload).await;
    let (first, second) = (suite.target(), suite.target());
    for target in [&first, &second] {
        for overwrite in [false, true, false] {
            writer.persist(target, overwrite).await.must("persist");
            drop(writer);
            writer = self::writer(&*store, &upload.id).await;
            assert!(suite.file(target).await == bytes, "the target has other bytes");
            holds(&*store, &upload, &bytes).await;
        }
        suite.alone(target).await;
    }
    assert!(!suite.exists(&first).await, "there are two files");
    parts_stand(&*store, &parts).await;
}

async fn persisting_a_joined_upload_replaces_a_file_only_if_told<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let (parts, bytes) = parts(&*store).await;
    let upload = joined(&*store, &parts).await;
    let (upload, mut writer) = given(&*store, &upload).await;
    let target = suite.target();
    suite.targets.write(&target, b"somebody's").await;
    match writer.persist(&target, false).await {
        Err(StoreError::AlreadyExists { .. }) => {}
        other => panic!("gave {other:?}"),
    }
    assert_eq!(suite.file(&target).await, b"somebody's");
    holds(&*store, &upload, &bytes).await;
    writer.persist(&target, true).await.must("replace");
    assert!(suite.file(&target).await == bytes, "the target has other bytes");
    suite.alone(&target).await;
    holds(&*store, &upload, &bytes).await;
}

async fn a_failed_persist_of_a_joined_upload_leaves_its_parts<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let (parts, bytes) = parts(&*store).await;
    let upload = joined(&*store, &parts).await;
    let (upload, mut writer) = given(&*store, &upload).await;
    let impossible = suite.targets.impossible();
    assert!(writer.persist(&impossible, true).await.is_err(), "there can be no file");
    holds(&*store, &upload, &bytes).await;
    assert_eq!(writer.path(), None);
    drop(writer);
    parts_stand(&*store, &parts).await;
    let mut writer = self::writer(&*store, &upload.id).await;
    let target = suite.target();
    writer.persist(&target, false).await.must("persist after a failure");
    assert!(suite.file(&target).await == bytes, "the target has other bytes");
    holds(&*store, &upload, &bytes).await;
}

async fn nothing_is_added_to_a_joined_upload_that_was_persisted<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let (parts, bytes) = parts(&*store).await;
    let upload = joined(&*store, &parts).await;
    let (upload, mut writer) = given(&*store, &upload).await;
    let target = suite.target();
    writer.persist(&target, true).await.must("persist");
    drop(writer);
    let mut writer = self::writer(&*store, &upload.id).await;
    let mut longer = upload.clone();
    longer.progress.offset += 3;
    let adding = async {
        writer.write(Batch::new(data(99, 3))).await?;
        writer.commit(Commit::new(Bytes::new(), longer)).await
    };
    assert!(adding.await.is_err(), "bytes were added to a file of the application's");
    drop(writer);
    holds(&*store, &upload, &bytes).await;
    assert!(suite.file(&target).await == bytes, "the target has other bytes");
}

async fn a_removed_joined_upload_leaves_its_parts<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let (parts, bytes) = parts(&*store).await;
    for persisted in [false, true] {
        let upload = joined(&*store, &parts).await;
        let (upload, mut writer) = given(&*store, &upload).await;
        let target = suite.target();
        if persisted {
            writer.persist(&target, true).await.must("persist");
        }
        writer.remove().await.must("remove");
        nothing_left(&*store, &upload.id).await;
        parts_stand(&*store, &parts).await;
        assert_eq!(suite.exists(&target).await, persisted);
        if persisted {
            assert!(suite.file(&target).await == bytes, "the target has other bytes");
        }
    }
}

async fn every_upload_is_listed_once<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    assert!(listed(&*store).await.is_empty());
    let mut ids = Vec::new();
    for number in 0..suite.listed {
        // Half of them alike in their beginning, for stores that sort by it.
        let mut upload = new();
        if number % 2 == 0 {
            upload.id = alike(&upload.id);
        }
        let mut writer = store.create(upload.clone()).await.must("create");
        writer.commit(Commit::new(Bytes::new(), upload.clone())).await.must("commit");
        ids.push(upload.id);
    }
    ids.sort_unstable();
    let mut found: Vec<_> = listed(&*store).await.iter().map(|upload| upload.id).collect();
    found.sort_unstable();
    assert!(found == ids, "{} are listed, {} exist", found.len(), ids.len());
}

async fn a_listing_is_not_upset_by_uploads_that_come_and_go<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let (mut stay, mut go) = (Vec::new(), Vec::new());
    for number in 0..suite.listed {
        let upload = Upload { id: alike(&UploadId::random()), ..new() };
        let mut writer = store.create(upload.clone()).await.must("create");
        writer.commit(Commit::new(Bytes::new(), upload.clone())).await.must("commit");
        if number % 3 == 0 { go.push(upload.id) } else { stay.push(upload.id) }
    }
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let page = store.list(cursor).await.must("list");
        found.extend(page.uploads.into_iter().map(|upload| upload.must("a record").id));
        for id in go.drain(..go.len().min(20)) {
            self::writer(&*store, &id).await.remove().await.must("remove");
        }
        born(&*store, &Bytes::new()).await;
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let count = found.len();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), count, "some are listed twice");
    let missing = stay.iter().filter(|id| found.binary_search(id).is_err()).count();
    assert_eq!(missing, 0, "some are not listed");
}

async fn discarding_spares_what_exists<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let upload = born(&*store, &data(1, 1000)).await;
    eventually_ok("discard", || store.discard(&upload.id)).await;
    holds(&*store, &upload, &data(1, 1000)).await;
    let mut writer = self::writer(&*store, &upload.id).await;
    writer.write(Batch::new(data(2, 1000))).await.must("write");
    match store.discard(&upload.id).await {
        Ok(()) | Err(StoreError::Busy) => {}
        other => panic!("gave {other:?}"),
    }
    writer.commit(Commit::new(Bytes::new(), at(&upload, 2000))).await.must("commit");
    drop(writer);
    usable(&*store, &upload.id, &[data(1, 1000), data(2, 1000)].concat()).await;
}

async fn only_a_damaged_upload_is_removed_as_one<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let upload = born(&*store, &data(1, 1000)).await;
    assert!(!store.remove_damaged(&upload.id).await.must("remove_damaged"), "it was sound");
    let remains = store.remains(&upload.id).await.must("remains");
    if let Some(record) = remains.record {
        assert_eq!(record, upload, "remains gave the record of something else");
    }
    usable(&*store, &upload.id, &data(1, 1000)).await;
    not_found(store.remove_damaged(&UploadId::random()).await.map(drop), "remove_damaged");
}

/// For a store that says that it is shared; with two handles.
async fn an_upload_that_is_asked_for_is_named_to_others<S: Store>(suite: &Suite<S>) {
    let Some(reopen) = &suite.reopen else { return };
    let one = suite.store();
    if !one.capabilities().handoff {
        return;
    }
    let two = reopen(&one);
    let upload = born(&*one, &data(1, 1000)).await;
    let asked = async |store: &S| {
        let asked = store.handoff_requests().await.must("handoff_requests");
        asked.into_iter().map(|request| request.id).collect::<Vec<_>>()
    };
    assert_eq!(asked(&two).await, []);
    for _ in 0..2 {
        one.request_handoff(&upload.id, true).await.must("request_handoff");
    }
    assert_eq!(asked(&two).await, [upload.id]);
    assert_eq!(asked(&one).await, [], "it asks itself");
    for _ in 0..2 {
        one.request_handoff(&upload.id, false).await.must("request_handoff");
    }
    assert_eq!(asked(&two).await, []);
    assert_eq!(listed(&two).await, [upload]);
}

async fn dropping_a_reading_future_changes_nothing<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let mut bytes = data(1, 1000).to_vec();
    let upload = born(&*store, &data(1, 1000)).await;
    for polls in 0..POLLS {
        let reading = async {
            store.load(&upload.id).await.must("load");
            store.open(&upload.id).await.must("open");
            store.list(None).await.must("list");
            // A writer that was asked for before may still be on its way to be dropped.
            match store.writer(&upload.id).await {
                Ok(_) | Err(StoreError::Busy) => {}
                Err(error) => panic!("writer: {error}"),
            }
            match store.discard(&upload.id).await {
                Ok(()) | Err(StoreError::Busy) => {}
                Err(error) => panic!("discard: {error}"),
            }
        };
        let done = polled(polls, reading).await.is_some();
        store.settle().await;
        usable(&*store, &upload.id, &bytes).await;
        bytes.extend_from_slice(&data(99, 3));
        if done {
            break;
        }
    }
}

async fn dropping_an_appending_future_leaves_the_old_record_or_the_new<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    for polls in 0..POLLS {
        let upload = born(&*store, &data(1, 1000)).await;
        let states = [
            data(1, 1000).to_vec(),
            [data(1, 1000), data(2, 2000)].concat(),
            [data(1, 1000), data(2, 2000), data(3, 3000)].concat(),
        ];
        let appending = async {
            let mut writer = store.writer(&upload.id).await.must("writer");
            writer.write(Batch::new(data(2, 1500))).await.must("write");
            let last = data(2, 2000).slice(1500..);
            writer.commit(Commit::new(last, at(&upload, 3000))).await.must("commit");
            writer.write(Batch::new(data(3, 3000))).await.must("write");
            writer.commit(Commit::new(Bytes::new(), at(&upload, 6000))).await.must("commit");
            writer.write(Batch::new(data(4, 4000))).await.must("write");
        };
        let done = polled(polls, appending).await.is_some();
        store.settle().await;
        let now = self::writer(&*store, &upload.id).await.upload().clone();
        let state = states.iter().find(|state| state.len() as u64 == now.offset());
        let Some(state) = state else { panic!("{polls} polls: {now:?}") };
        holds(&*store, &at(&upload, state.len()), state).await;
        usable(&*store, &upload.id, state).await;
        if done {
            assert_eq!(now.offset(), 6000);
            break;
        }
    }
}

async fn dropping_a_creating_future_leaves_nothing_or_the_upload<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    for polls in 0..POLLS {
        let upload = new();
        let committed = at(&upload, 3000);
        let creating = async {
            let mut writer = store.create(upload.clone()).await.must("create");
            writer.write(Batch::new(data(1, 2000))).await.must("write");
            let last = data(1, 3000).slice(2000..);
            writer.commit(Commit::new(last, committed.clone())).await.must("commit");
        };
        let done = polled(polls, creating).await.is_some();
        store.settle().await;
        let mut born = false;
        eventually_async("it exists or is gone", || async {
            match store.load(&upload.id).await {
                Ok(loaded) => {
                    assert_eq!(loaded, committed, "{polls} polls");
                    true
                }
                Err(StoreError::NotFound | StoreError::Removed { .. }) => {
                    let discarded = store.discard(&upload.id).await.is_ok();
                    discarded && !abandoned(&*store).await.contains(&upload.id)
                }
                Err(error) => panic!("{polls} polls: {error}"),
            }
        })
        .await;
        if store.load(&upload.id).await.is_ok() {
            born = true;
            usable(&*store, &upload.id, &data(1, 3000)).await;
        }
        if done {
            assert!(born, "it was created and is gone");
            break;
        }
    }
}

async fn dropping_a_future_that_reads_back_changes_nothing<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    for polls in 0..POLLS {
        let upload = born(&*store, &data(1, 1000)).await;
        let reading = async {
            let mut writer = store.writer(&upload.id).await.must("writer");
            writer.write(Batch::new(data(2, 2000))).await.must("write");
            let mut reader = writer.into_reader().await.must("into_reader");
            assert!(read(&mut reader).await == data(2, 2000), "other bytes");
        };
        let done = polled(polls, reading).await.is_some();
        store.settle().await;
        usable(&*store, &upload.id, &data(1, 1000)).await;
        if done {
            break;
        }
    }
}

async fn dropping_a_persisting_future_loses_no_byte<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let bytes = data(1, 1000);
    for polls in 0..POLLS {
        let (upload, writer) = finishing(&*store, &bytes).await;
        drop(writer);
        let (first, second) = (suite.target(), suite.target());
        let persisting = async {
            let mut writer = store.writer(&upload.id).await.must("writer");
            writer.persist(&first, false).await.must("persist");
            writer.persist(&second, true).await.must("persist elsewhere");
        };
        let done = polled(polls, persisting).await.is_some();
        store.settle().await;
        let mut writer = self::writer(&*store, &upload.id).await;
        holds(&*store, &upload, &bytes).await;
        writer.persist(&second, true).await.must("persist again");
        assert_eq!(suite.file(&second).await, bytes, "{polls} polls");
        assert!(!suite.exists(&first).await, "{polls} polls left two files");
        suite.alone(&second).await;
        drop(writer);
        holds(&*store, &upload, &bytes).await;
        if done {
            break;
        }
    }
}

async fn dropping_a_removing_future_leaves_the_upload_or_nothing<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    for polls in 0..POLLS {
        let upload = born(&*store, &data(1, 1000)).await;
        let removing = async {
            let writer = store.writer(&upload.id).await.must("writer");
            writer.remove().await.must("remove");
        };
        let done = polled(polls, removing).await.is_some();
        store.settle().await;
        match leased(&*store, &upload.id).await {
            Ok(writer) => {
                assert!(!done, "it was removed and is there");
                drop(writer);
                usable(&*store, &upload.id, &data(1, 1000)).await;
                self::writer(&*store, &upload.id).await.remove().await.must("remove");
            }
            Err(StoreError::NotFound | StoreError::Removed { .. }) => {}
            Err(error) => panic!("{polls} polls: {error}"),
        }
        nothing_left(&*store, &upload.id).await;
        suite.holds(&store, 0).await;
        if done {
            break;
        }
    }
}

async fn another_handle_is_the_same_store<S: Store>(suite: &Suite<S>) {
    let Some(reopen) = &suite.reopen else { return };
    let one = suite.store();
    let upload = rich(new());
    let mut writer = one.create(upload.clone()).await.must("create");
    writer.write(Batch::new(data(1, 1000))).await.must("write");
    let two = reopen(&one);
    not_found(two.load(&upload.id).await, "load");
    let upload = at(&upload, 1000);
    writer.commit(Commit::new(Bytes::new(), upload.clone())).await.must("commit");
    drop(writer);
    holds(&two, &upload, &data(1, 1000)).await;
    assert_eq!(listed(&two).await, std::slice::from_ref(&upload));
    usable(&two, &upload.id, &data(1, 1000)).await;
    usable(&*one, &upload.id, &[data(1, 1000), data(99, 3)].concat()).await;
    self::writer(&two, &upload.id).await.remove().await.must("remove");
    nothing_left(&*one, &upload.id).await;
    nothing_left(&reopen(&two), &upload.id).await;
}

async fn another_handle_keeps_to_the_lease<S: Store>(suite: &Suite<S>) {
    let Some(reopen) = &suite.reopen else { return };
    let one = suite.store();
    exclusive(&*one, &reopen(&one)).await;

    let unborn = new();
    let mut writer = one.create(unborn.clone()).await.must("create");
    writer.write(Batch::new(data(1, 1000))).await.must("write");
    let two = reopen(&one);
    match two.discard(&unborn.id).await {
        Ok(()) | Err(StoreError::Busy) => {}
        other => panic!("discard gave {other:?}"),
    }
    writer.commit(Commit::new(Bytes::new(), at(&unborn, 1000))).await.must("commit");
    drop(writer);
    usable(&two, &unborn.id, &data(1, 1000)).await;
}

async fn what_is_remembered_is_written_if_it_stands<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let mut upload = released(&*store, &born(&*store, &data(1, 10)).await.id, &data(2, 5)).await;
    let mut bytes = [data(1, 10), data(2, 5)].concat();
    for seed in 3..6 {
        let Some(mut writer) = store.recall(&upload.id) else { return };
        assert_eq!(writer.upload(), &upload);
        // What is dropped unused is remembered still.
        drop(writer);
        writer = match store.recall(&upload.id) {
            Some(writer) => writer,
            None => panic!("what was not used is forgotten"),
        };
        let (first, last) = (data(seed, 100), data(seed + 10, 200));
        bytes.extend([&first[..], &last[..]].concat());
        upload = at(&upload, bytes.len());
        writer.write(Batch::new(first)).await.must("write");
        assert!(store.recall(&upload.id).is_none(), "two have it from memory");
        let commit = Commit::new(last, upload.clone()).with_release();
        writer.commit(commit).await.must("commit");
        drop(writer);
        holds(&*store, &upload, &bytes).await;
    }
    usable(&*store, &upload.id, &bytes).await;
    writer(&*store, &upload.id).await.remove().await.must("remove");
    assert!(store.recall(&upload.id).is_none(), "a removed upload is remembered");
}

async fn what_is_remembered_is_not_written_if_another_handle_has_changed_it<S: Store>(
    suite: &Suite<S>,
) {
    let one = suite.store();
    let two = suite.reopen.as_ref().map_or_else(|| Arc::clone(&one), |it| Arc::new(it(&one)));
    for change in ["grown", "held", "expiring", "persisted", "removed"] {
        let born = born(&*one, &data(1, 10)).await;
        let upload = released(&*one, &born.id, &data(2, 5)).await;
        let bytes = [data(1, 10), data(2, 5)].concat();
        let Some(mut remembered) = one.recall(&upload.id) else { return };
        let mut other = writer(&*two, &upload.id).await;
        let mut now = upload.clone();
        match change {
            "grown" => {
                now = at(&upload, 18);
                other.commit(Commit::new(data(3, 3), now.clone())).await.must("commit");
            }
            "expiring" => {
                now.progress.expires = Some(upload.created + Duration::from_secs(9));
                other.commit(Commit::new(Bytes::new(), now.clone())).await.must("commit");
            }
            "persisted" => other.persist(&suite.target(), true).await.must("persist"),
            _ => {}
        }
        let other = match change {
            "held" => Some(other),
            "removed" => {
                other.remove().await.must("remove");
                None
            }
            _ => None,
        };
        let look = |_: &[u8]| panic!("it is looked at before it is known to be written");
        match remembered.write(Batch::looked_at(data(4, 50), true, look)).await {
            Err(StoreError::Busy | StoreError::Conflict) => {}
            other => panic!("an upload that is {change} was written: {other:?}"),
        }
        drop((remembered, other));
        match change {
            "removed" => nothing_left(&*one, &upload.id).await,
            "grown" => holds(&*one, &now, &[&bytes[..], &data(3, 3)].concat()).await,
            _ => holds(&*one, &now, &bytes).await,
        }
    }
}

async fn handles_that_compete_never_commit_from_the_same_record<S: Store>(suite: &Suite<S>) {
    let Some(reopen) = &suite.reopen else { return };
    let one = suite.store();
    let two = Arc::new(reopen(&one));
    compete(&[Arc::clone(&one), Arc::clone(&two), one, two]).await;
}

async fn an_upload_that_exists_is_not_created_again<S: Store>(suite: &Suite<S>) {
    let one = suite.store();
    let two = suite.reopen.as_ref().map(|reopen| Arc::new(reopen(&one)));
    let upload = created(&*one, &keyed(), &data(1, 10)).await.must("create");
    for store in [Some(&one), two.as_ref()].into_iter().flatten() {
        for held in [false, true] {
            let holder = if held { Some(writer(&**store, &upload.id).await) } else { None };
            let mut other = rich(Upload::new(upload.id, UNIX_EPOCH));
            other.creation = upload.creation;
            for bytes in [data(2, 0), data(2, 20), data(2, 1 << 20)] {
                match created(&**store, &other, &bytes).await {
                    Err(StoreError::Conflict) => {}
                    other => panic!("gave {other:?}"),
                }
            }
            drop(holder);
        }
        holds(&**store, &upload, &data(1, 10)).await;
    }
    assert_eq!(listed(&*one).await, std::slice::from_ref(&upload));
    usable(&*one, &upload.id, &data(1, 10)).await;
}

async fn of_creations_that_compete_one_makes_the_first_commit<S: Store>(suite: &Suite<S>) {
    let one = suite.store();
    let two = suite.reopen.as_ref().map(|reopen| Arc::new(reopen(&one)));
    let mut begun = 0;
    for round in 0..30 {
        let upload = keyed();
        let mut tasks = Vec::new();
        for number in 0..6 {
            let store = Arc::clone(two.as_ref().filter(|_| number % 2 == 1).unwrap_or(&one));
            let upload = Upload { raw_filename: number.to_string(), ..upload.clone() };
            tasks.push(tokio::spawn(async move {
                let bytes = data(number, [0, 7, 70_000, 3 << 20][(round + number) % 4]);
                (created(&*store, &upload, &bytes).await, bytes)
            }));
        }
        let mut won = Vec::new();
        for task in tasks {
            match task.await.must("a creator's task") {
                (Ok(upload), bytes) => won.push((upload, bytes)),
                (Err(StoreError::Busy | StoreError::Conflict), _) => {}
                (Err(error), _) => panic!("create: {error:?}"),
            }
        }
        assert!(won.len() < 2, "{} have created it", won.len());
        // All may have been in each other's way.
        if let Some((upload, bytes)) = won.pop() {
            begun += 1;
            holds(&*one, &upload, &bytes).await;
            usable(&**two.as_ref().unwrap_or(&one), &upload.id, &bytes).await;
        }
    }
    assert!(begun > 0, "nobody has created any");
}

async fn what_a_creation_left_is_in_nobodys_way<S: Store>(suite: &Suite<S>) {
    let one = suite.store();
    let two = suite.reopen.as_ref().map(|reopen| Arc::new(reopen(&one)));
    let two = two.as_ref().unwrap_or(&one);
    for length in [None, Some(0), Some(70_000)] {
        let upload = keyed();
        let mut writer = one.create(upload.clone()).await.must("create");
        if let Some(length) = length {
            writer.write(Batch::new(data(1, length))).await.must("write");
        }
        drop(writer);
        let other = Upload { raw_filename: "other".to_owned(), ..upload };
        // What was dropped may still be under way.
        let again = || async {
            match created(&**two, &other, &data(2, 9)).await {
                Err(StoreError::Busy) => None,
                created => Some(created.must("create")),
            }
        };
        eventually_async("it is created", || async { again().await.is_some() }).await;
        holds(&*one, &at(&other, 9), &data(2, 9)).await;
    }
}

async fn an_upload_that_was_removed_is_created_again_or_not_at_all<S: Store>(suite: &Suite<S>) {
    let store = suite.store();
    let upload = created(&*store, &keyed(), &data(1, 10)).await.must("create");
    writer(&*store, &upload.id).await.remove().await.must("remove");
    match created(&*store, &at(&upload, 0), &data(2, 20)).await {
        Ok(upload) => holds(&*store, &upload, &data(2, 20)).await,
        Err(StoreError::Removed { .. } | StoreError::Conflict) => {
            match store.load(&upload.id).await {
                Err(StoreError::Removed { .. }) => {}
                other => panic!("load gave {other:?}"),
            }
        }
        Err(error) => panic!("create: {error:?}"),
    }
}

/// Two writers at once: the second is refused, or its commit is.
async fn exclusive<S: Store>(one: &S, two: &S) {
    let upload = born(one, &data(1, 10)).await;
    let mut first = writer(one, &upload.id).await;
    first.write(Batch::new(data(2, 100))).await.must("write");
    match two.writer(&upload.id).await {
        Err(StoreError::Busy) => {
            first.commit(Commit::new(Bytes::new(), at(&upload, 110))).await.must("commit");
            match two.writer(&upload.id).await {
                Err(StoreError::Busy) => {}
                other => panic!("after a commit: {:?}", other.map(drop)),
            }
        }
        Ok(mut second) => {
            drop(second.write(Batch::new(data(3, 50))).await);
            first.commit(Commit::new(Bytes::new(), at(&upload, 110))).await.must("commit");
            let late = second.commit(Commit::new(Bytes::new(), at(&upload, 60))).await;
            assert!(late.is_err(), "two commits start from the same record");
        }
        Err(error) => panic!("gave {error:?}"),
    }
    let bytes = [data(1, 10), data(2, 100)].concat();
    holds(two, &at(&upload, 110), &bytes).await;
    drop(first);
    usable(two, &upload.id, &bytes).await;
}

/// Each handle adds bytes as often as it gets the lease.
async fn compete<S: Store>(handles: &[Arc<S>]) {
    let Some(first) = handles.first() else { return };
    let upload = born(&**first, &Bytes::new()).await;
    let mut tasks = Vec::new();
    for (number, store) in handles.iter().enumerate() {
        let (store, upload) = (Arc::clone(store), upload.clone());
        tasks.push(tokio::spawn(async move {
            let mut commits = Vec::new();
            for round in 0..50 {
                tokio::task::yield_now().await;
                let mut writer = match store.writer(&upload.id).await {
                    Err(StoreError::Busy) => continue,
                    writer => writer.must("writer"),
                };
                let from = writer.upload().offset();
                let bytes = data(number * 1000 + round, round % 9 + 1);
                writer.write(Batch::new(bytes.slice(..1))).await.must("write");
                if round % 5 == 4 {
                    continue;
                }
                let end = at(&upload, 0).offset() + from + bytes.len() as u64;
                let mut record = upload.clone();
                record.progress.offset = end;
                match writer.commit(Commit::new(bytes.slice(1..), record)).await {
                    Ok(()) => commits.push((from, bytes)),
                    Err(StoreError::Busy | StoreError::Conflict) => {}
                    Err(error) => panic!("commit: {error}"),
                }
            }
            commits
        }));
    }
    let mut commits = Vec::new();
    for task in tasks {
        commits.extend(task.await.must("a writer's task"));
    }
    commits.sort_unstable();
    let mut all = Vec::new();
    for (from, bytes) in &commits {
        assert_eq!(*from, all.len() as u64, "a commit starts where none ended");
        all.extend_from_slice(bytes);
    }
    assert!(commits.len() > 1, "nobody got the lease");
    holds(&**first, &at(&upload, all.len()), &all).await;
}

/// Seeks and reads here and there.
async fn seeks_like(mut reader: Reader, bytes: &[u8]) {
    let end = bytes.len();
    for (to, place) in [
        (SeekFrom::Start(0), 0),
        (SeekFrom::Start(70_000), 70_000),
        (SeekFrom::Current(-1000), 69_010),
        (SeekFrom::Current(10), 69_030),
        (SeekFrom::End(-5), end - 5),
        (SeekFrom::End(-100_000), end - 100_000),
        (SeekFrom::Start(end as u64 - 1), end - 1),
        (SeekFrom::End(0), end),
        (SeekFrom::Start(end as u64 + 50), end + 50),
        (SeekFrom::Start(1), 1),
    ] {
        let at = reader.seek(to).await.must("seek");
        assert_eq!(at, place as u64, "{to:?}");
        assert_eq!(reader.stream_position().await.must("position"), place as u64);
        let want = &bytes[place.min(end)..(place + 10).min(end)];
        let mut got = Vec::new();
        (&mut reader).take(10).read_to_end(&mut got).await.must("read");
        assert_eq!(got, want, "{to:?}");
    }
    assert!(reader.seek(SeekFrom::End(-(end as i64) - 1)).await.is_err(), "before the start");
    reader.seek(SeekFrom::Start(1000)).await.must("seek");
    assert!(read(&mut reader).await == bytes[1000..], "the rest is other bytes");
}

fn new() -> Upload {
    Upload::new(UploadId::random(), SystemTime::now())
}

/// An id that begins as others do.
fn alike(id: &UploadId) -> UploadId {
    let text = format!("abc{}", &id.as_str()[3..]);
    text.parse().must("an id")
}

/// The upload with all that a record can hold.
fn rich(mut upload: Upload) -> Upload {
    let odd = "naïve \"😀\"\u{202e}\r\n\t\0\\/../%s,;=\u{feff}";
    upload.owner = Some(odd.into());
    upload.raw_filename = odd.to_owned();
    upload.content_type = Some("text/plain; charset=\"utf-8\"".to_owned());
    upload.fields = vec![
        ("b".to_owned(), odd.to_owned()),
        ("a".to_owned(), String::new()),
        ("b".to_owned(), "x".repeat(10_000)),
        (String::new(), "no name".to_owned()),
    ];
    upload.attributes = serde_json::json!({
        "": null, "list": [1, -1, u64::MAX, 0.5, true], "nested": { "name": odd },
    });
    upload.progress.total = Some(u64::MAX);
    upload.progress.checksum = "a state of 1 checksum, or {another}".parse().ok();
    let states = ["sha256.Z-YJ_w", "", "sha256.Z-YJ_w", "another \"{:,}"];
    upload.progress.checksums = states.iter().filter_map(|state| state.parse().ok()).collect();
    upload.progress.expires = Some(UNIX_EPOCH + Duration::from_millis(1_800_000_000_123));
    upload
}

fn at(upload: &Upload, offset: usize) -> Upload {
    let mut upload = upload.clone();
    upload.progress.offset = offset as u64;
    upload
}

fn with_status(upload: &Upload, status: Status) -> Upload {
    let mut upload = upload.clone();
    upload.progress.status = status;
    upload
}

/// Bytes that differ from those of another seed, and from themselves moved along.
fn data(seed: usize, length: usize) -> Bytes {
    let mut state = seed as u64 + 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

async fn born<S: Store>(store: &S, bytes: &Bytes) -> Upload {
    let upload = new();
    let mut writer = store.create(upload.clone()).await.must("create");
    let upload = at(&upload, bytes.len());
    writer.commit(Commit::new(bytes.clone(), upload.clone())).await.must("commit");
    upload
}

/// An upload that others may create, too.
fn keyed() -> Upload {
    let mut upload = new();
    upload.creation = Some(Creation::new(1000));
    upload
}

async fn created<S: Store>(
    store: &S,
    upload: &Upload,
    bytes: &Bytes,
) -> Result<Upload, StoreError> {
    let mut writer = store.create(upload.clone()).await?;
    let middle = bytes.len() / 2;
    writer.write(Batch::new(bytes.slice(..middle))).await?;
    let upload = at(upload, bytes.len());
    writer.commit(Commit::new(bytes.slice(middle..), upload.clone())).await?;
    Ok(upload)
}

async fn grow<S: Store>(store: &S, id: &UploadId, bytes: &Bytes) -> Upload {
    let mut writer = writer(store, id).await;
    let mut upload = writer.upload().clone();
    upload.progress.offset += bytes.len() as u64;
    writer.commit(Commit::new(bytes.clone(), upload.clone())).await.must("commit");
    upload
}

/// Adds bytes, and gives the lease back with the commit.
async fn released<S: Store>(store: &S, id: &UploadId, bytes: &Bytes) -> Upload {
    let mut writer = writer(store, id).await;
    let length = writer.upload().offset() + bytes.len() as u64;
    let upload = at(writer.upload(), usize::try_from(length).must("a length"));
    let commit = Commit::new(bytes.clone(), upload.clone()).with_release();
    writer.commit(commit).await.must("commit");
    upload
}

async fn finishing<S: Store>(store: &S, bytes: &Bytes) -> (Upload, S::Writer) {
    let upload = born(store, bytes).await;
    given(store, &upload).await
}

async fn given<S: Store>(store: &S, upload: &Upload) -> (Upload, S::Writer) {
    let mut writer = writer(store, &upload.id).await;
    let upload = with_status(upload, Status::Finishing);
    let given = Commit::new(Bytes::new(), upload.clone()).with_handover(Handover::Given);
    writer.commit(given).await.must("commit");
    (upload, writer)
}

/// Three uploads of which one is empty, then the first of them again; and their bytes.
async fn parts<S: Store>(store: &S) -> (Vec<Upload>, Vec<u8>) {
    let (mut parts, mut bytes) = (Vec::new(), Vec::new());
    for (seed, length) in PARTS.into_iter().enumerate() {
        let mut part = new();
        part.kind = Kind::Part;
        let mut writer = store.create(part.clone()).await.must("create");
        let part = at(&part, length);
        writer.commit(Commit::new(data(seed, length), part.clone())).await.must("commit");
        parts.push(part);
        bytes.extend_from_slice(&data(seed, length));
    }
    parts.push(parts[0].clone());
    bytes.extend_from_slice(&data(0, PARTS[0]));
    (parts, bytes)
}

async fn parts_stand<S: Store>(store: &S, parts: &[Upload]) {
    for (seed, length) in PARTS.into_iter().enumerate() {
        holds(store, &parts[seed], &data(seed, length)).await;
    }
}

/// An upload that is joined from these, of which a first commit did not know the sizes.
async fn joined<S: Store>(store: &S, parts: &[Upload]) -> Upload {
    let mut upload = new();
    upload.kind = Kind::Joined(parts.iter().map(|part| Part::new(part.id, None)).collect());
    let mut writer = store.create(upload.clone()).await.must("create");
    writer.commit(Commit::new(Bytes::new(), upload.clone())).await.must("commit");
    let upload = sized(&upload, parts);
    writer.commit(Commit::new(Bytes::new(), upload.clone())).await.must("commit");
    upload
}

fn sized(upload: &Upload, parts: &[Upload]) -> Upload {
    let mut upload = upload.clone();
    upload.progress.offset = parts.iter().map(Upload::offset).sum();
    upload.progress.total = Some(upload.offset());
    upload.kind = Kind::Joined(parts.iter().map(|it| Part::new(it.id, it.offset())).collect());
    upload
}

/// The lease, as soon as what a dropped writer started has come to rest.
async fn leased<S: Store>(store: &S, id: &UploadId) -> Result<S::Writer, StoreError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match store.writer(id).await {
            Err(StoreError::Busy) => {}
            result => return result,
        }
        assert!(Instant::now() < deadline, "a dropped writer keeps its lease");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn writer<S: Store>(store: &S, id: &UploadId) -> S::Writer {
    leased(store, id).await.must("writer")
}

async fn read(reader: &mut Reader) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await.must("read");
    bytes
}

async fn content<S: Store>(store: &S, id: &UploadId) -> Vec<u8> {
    read(&mut store.open(id).await.must("open")).await
}

/// The store has this record and these bytes.
async fn holds<S: Store>(store: &S, upload: &Upload, bytes: &[u8]) {
    assert_eq!(&store.load(&upload.id).await.must("load"), upload);
    let found = content(store, &upload.id).await;
    assert!(found == bytes, "{} other bytes instead of {}", found.len(), bytes.len());
}

/// The upload holds these bytes and takes more.
async fn usable<S: Store>(store: &S, id: &UploadId, bytes: &[u8]) {
    let upload = grow(store, id, &data(99, 3)).await;
    holds(store, &upload, &[bytes, &data(99, 3)].concat()).await;
}

async fn listed<S: Store>(store: &S) -> Vec<Upload> {
    let mut uploads = Vec::new();
    let mut cursor = None;
    loop {
        let page = store.list(cursor).await.must("list");
        uploads.extend(page.uploads.into_iter().map(|upload| upload.must("a listed record")));
        cursor = page.next;
        if cursor.is_none() {
            return uploads;
        }
    }
}

async fn abandoned<S: Store>(store: &S) -> Vec<UploadId> {
    let mut ids = Vec::new();
    let mut cursor = None;
    loop {
        let page = store.list(cursor).await.must("list");
        ids.extend(page.abandoned);
        cursor = page.next;
        if cursor.is_none() {
            return ids;
        }
    }
}

async fn nothing_left<S: Store>(store: &S, id: &UploadId) {
    not_found(store.load(id).await, "load");
    not_found(store.open(id).await.map(drop), "open");
    eventually_ok("discard", || store.discard(id)).await;
    assert!(!abandoned(store).await.contains(id), "it is abandoned after it was discarded");
    assert!(listed(store).await.iter().all(|upload| upload.id != *id), "it is listed");
    not_found(store.writer(id).await.map(drop), "writer");
}

#[track_caller]
fn not_found<T: fmt::Debug>(result: Result<T, StoreError>, what: &str) {
    assert!(
        matches!(result, Err(StoreError::NotFound | StoreError::Removed { .. })),
        "{what} gave {result:?}"
    );
}

async fn eventually(what: &str, check: impl Fn() -> bool + Send + Sync) {
    eventually_async(what, || std::future::ready(check())).await;
}

async fn eventually_ok<F>(what: &str, call: impl Fn() -> F + Send + Sync)
where
    F: Future<Output = Result<(), StoreError>> + Send,
{
    eventually_async(what, || async {
        match call().await {
            Err(StoreError::Busy) => false,
            result => {
                result.must(what);
                true
            }
        }
    })
    .await;
}

async fn eventually_async<F>(what: &str, check: impl Fn() -> F + Send + Sync)
where
    F: Future<Output = bool> + Send,
{
    let deadline = Instant::now() + PATIENCE;
    while !check().await {
        assert!(Instant::now() < deadline, "{what}: not in {PATIENCE:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Polls a future so many times at most and drops it.
async fn polled<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn caught(mut case: Pin<Box<dyn Future<Output = ()> + Send + '_>>) -> Result<(), String> {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| case.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Poll::Ready(Err(text.unwrap_or_default()))
        }
    })
    .await
}

trait Must<T> {
    fn must(self, what: &str) -> T;
}

impl<T, E: fmt::Debug> Must<T> for Result<T, E> {
    #[track_caller]
    fn must(self, what: &str) -> T {
        match self {
            Ok(value) => value,
            Err(error) => panic!("{what}: {error:?}"),
        }
    }
}

/// How long the parts of a joined upload are.
const PARTS: [usize; 3] = [70_005, 0, 50_000];
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(1);
/// More than any sequence of calls here takes, in a store that waits now and then.
const POLLS: usize = 200;
