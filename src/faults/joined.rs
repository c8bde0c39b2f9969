//! A file is made of uploads that are joined, on a disk that fails or loses its power.

use std::path::PathBuf;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::io::AsyncReadExt;

use super::calls::FAULTS;
use super::image::{Image, Luck};
use super::{CONTENT, Case, WAYS, World, files_below, run, sample_of};
use crate::store::fs::disk::plan::Fault;
use crate::store::{Commit, Durability, FileCalls, Handover, Store, StoreError, Writer};
use crate::upload::{Kind, Part, Status};
use crate::{Upload, UploadId};

/// Two uploads, and one that is joined from the first, the second and the first again.
struct Joined {
    world: World,
    parts: [Upload; 2],
    upload: Upload,
    overwrite: bool,
}

impl Joined {
    async fn new(calls: FileCalls, durability: Durability, overwrite: bool) -> Self {
        let world = World::new(durability, calls);
        let parts =
            [begun(&world, &CONTENT[..5000]).await, begun(&world, &CONTENT[5000..9000]).await];
        let mut upload = begun(&world, b"").await;
        upload.kind = Kind::Joined(Vec::new());
        let joined = Self { world, parts, upload, overwrite };
        joined.commit(&joined.record(false), Handover::None).await.unwrap();
        Self { upload: joined.record(true), ..joined }
    }

    /// The record before the sizes of the parts are known, and after that.
    fn record(&self, sized: bool) -> Upload {
        let [one, two] = &self.parts;
        let part = |it: &Upload| Part::new(it.id, sized.then(|| it.offset()));
        let mut upload = self.upload.clone();
        upload.kind = Kind::Joined(vec![part(one), part(two), part(one)]);
        upload.progress.offset = if sized { 2 * one.offset() + two.offset() } else { 0 };
        upload
    }

    fn content() -> Vec<u8> {
        [&CONTENT[..9000], &CONTENT[..5000]].concat()
    }

    fn target(&self) -> PathBuf {
        self.world.target(&self.upload.id)
    }

    async fn commit(&self, upload: &Upload, handover: Handover) -> Result<(), StoreError> {
        let mut writer = self.world.store.writer(&upload.id).await?;
        writer.commit(Commit::new(Bytes::new(), upload.clone()).with_handover(handover)).await
    }

    /// The application gets the file, moves it and takes it.
    async fn hand_over(&self) -> Result<(), StoreError> {
        let note = |status, handover| {
            let mut upload = self.upload.clone();
            upload.progress.status = status;
            Commit::new(Bytes::new(), upload).with_handover(handover)
        };
        let mut writer = self.world.store.writer(&self.upload.id).await?;
        writer.commit(note(Status::Finishing, Handover::Given)).await?;
        writer.persist(&self.target(), self.overwrite).await?;
        writer.commit(note(Status::Complete, Handover::Taken)).await
    }

    async fn read(&self, id: &UploadId) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let mut reader = self.world.store.open(id).await?;
        reader.read_to_end(&mut bytes).await.map_err(|error| StoreError::io("read", error))?;
        Ok(bytes)
    }

    /// Whatever has failed, no byte is missing, or there are not yet any.
    async fn check_readable(&self) {
        let read = self.read(&self.upload.id).await.unwrap();
        assert!(read.is_empty() || read == Self::content(), "it has {} bytes", read.len());
        let [one, two] = &self.parts;
        assert!(self.read(&one.id).await.unwrap() == CONTENT[..5000]);
        assert!(self.read(&two.id).await.unwrap() == CONTENT[5000..9000]);
    }

    async fn check_taken(&self) {
        self.check_readable().await;
        assert!(std::fs::read(self.target()).unwrap() == Self::content(), "a wrong file was taken");
        let taken = files_below(self.target().parent().unwrap());
        assert_eq!(taken, [self.target()], "something was left beside it");
    }

    /// With its parts, it leaves nothing but the file that was taken.
    async fn check_removable(&self) {
        for id in [self.upload.id, self.parts[0].id, self.parts[1].id] {
            self.world.store.writer(&id).await.unwrap().remove().await.unwrap();
        }
        assert_eq!(files_below(&self.world.root()), <[PathBuf; 0]>::default());
        assert!(std::fs::read(self.target()).unwrap() == Self::content());
    }

    /// How many calls the hand-over makes.
    async fn calls(calls: FileCalls, durability: Durability, overwrite: bool) -> usize {
        let joined = Self::new(calls, durability, overwrite).await;
        let before = joined.world.plan.calls();
        joined.hand_over().await.unwrap();
        let calls = joined.world.plan.calls() - before;
        joined.check_taken().await;
        joined.check_removable().await;
        calls
    }
}

async fn begun(world: &World, bytes: &'static [u8]) -> Upload {
    let mut upload = Upload::new(UploadId::random(), SystemTime::now());
    let mut writer = world.store.create(upload.clone()).await.unwrap();
    upload.progress.offset = bytes.len() as u64;
    writer.commit(Commit::new(bytes, upload.clone())).await.unwrap();
    upload
}

#[test]
fn whichever_call_fails_a_joined_upload_is_persisted_in_the_end() {
    for way in WAYS {
        for durability in [Durability::Process, Durability::Sync] {
            for overwrite in [true, false] {
                every_call_fails(way, durability, overwrite);
            }
        }
    }
}

fn every_call_fails(way: FileCalls, durability: Durability, overwrite: bool) {
    let calls = run(way, Joined::calls(way, durability, overwrite));
    let (mut lives, mut failures) = (0, 0);
    for (number, fault) in FAULTS.into_iter().enumerate() {
        for lasting in [false, true] {
            let one_of = if number == 0 { 1 } else { 5 };
            for call in sample_of(way, calls, number + usize::from(lasting), one_of) {
                let case = format!("{way:?} {durability:?} {overwrite} {fault:?} {call} {lasting}");
                let _case = Case(case);
                failures += run(way, fails(way, durability, overwrite, fault, call, lasting));
                lives += 1;
            }
        }
    }
    println!(
        "{way:?}, {durability:?}, overwrite {overwrite}: {calls} calls, {lives} lives with a \
         fault, {failures} failures"
    );
    assert!(failures > lives / 2);
}

async fn fails(
    way: FileCalls,
    durability: Durability,
    overwrite: bool,
    fault: Fault,
    call: usize,
    lasting: bool,
) -> usize {
    let joined = Joined::new(way, durability, overwrite).await;
    let end = if lasting { usize::MAX } else { call + 1 };
    joined.world.plan.fail(fault, call..end);
    let mut failures = 0;
    while let Err(error) = joined.hand_over().await {
        assert!(matches!(error, StoreError::Io { .. } | StoreError::Full { .. }), "{error:?}");
        joined.world.store.settle().await;
        joined.world.plan.mend();
        joined.check_readable().await;
        failures += 1;
    }
    joined.world.plan.mend();
    joined.check_taken().await;
    if durability == Durability::Sync {
        let mut image = Image::default();
        joined.world.plan.trace().iter().for_each(|change| image.apply(change));
        image.restore(joined.world.folder.path(), Luck::Nothing);
        let world = World::open(joined.world.folder, durability, way, "second start", true);
        let joined = Joined { world, ..joined };
        joined.check_taken().await;
        joined.check_removable().await;
    } else {
        joined.check_removable().await;
    }
    failures
}

#[test]
fn with_sync_a_joined_upload_is_whole_after_a_power_cut_at_any_moment() {
    for way in WAYS {
        let cuts: usize =
            [true, false].map(|overwrite| cut_everywhere(way, overwrite)).iter().sum();
        println!("{way:?}: {cuts} power cuts while a joined upload is persisted, lost 0, wrong 0");
        assert!(cuts > 200);
    }
}

fn cut_everywhere(way: FileCalls, overwrite: bool) -> usize {
    let mut cuts = 0;
    let (mut joined, start) = run(way, async move {
        let joined = Joined::new(way, Durability::Sync, overwrite).await;
        let start = joined.world.plan.moment();
        joined.hand_over().await.unwrap();
        (joined, start)
    });
    let trace = joined.world.plan.trace();
    let mut image = Image::default();
    trace[..start].iter().for_each(|change| image.apply(change));
    for (moment, change) in trace[start..].iter().enumerate() {
        image.apply(change);
        let fates = [Luck::Nothing, Luck::Everything, Luck::NamesAndLengths, Luck::Bytes];
        let dice = sample_of(way, 40, moment, 10);
        let dice = dice.map(|die| Luck::Random((moment * 40 + die) as u64));
        for luck in fates.into_iter().chain(dice) {
            let _case = Case(format!("{way:?}, overwrite {overwrite}, {moment} {luck:?}"));
            image.restore(joined.world.folder.path(), luck);
            let folder = joined.world.folder;
            let world = World::open(folder, Durability::Sync, way, "second start", true);
            joined = Joined { world, ..joined };
            let is_last = start + moment + 1 == trace.len();
            joined = run(way, async move {
                joined.check_readable().await;
                if is_last {
                    joined.check_taken().await;
                }
                joined.hand_over().await.unwrap();
                joined.check_taken().await;
                joined.check_removable().await;
                joined
            });
            cuts += 1;
        }
    }
    cuts
}
