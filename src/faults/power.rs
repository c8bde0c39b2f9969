//! The power is cut at every moment of an upload's life.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tempfile::TempDir;

use super::image::{Image, Luck};
use super::{Case, ENDS, WAYS, World, files_below, is_long, run};
use crate::store::fs::disk::plan::{Change, Fault};
use crate::store::{Commit, Durability, FileCalls, FsStore, Store, StoreError, Writer};
use crate::{AppendMode, ErrorKind, Upload, UploadId};

/// What a client was told, and how many changes the disk had seen by then.
#[derive(Clone, Copy, Debug)]
struct Told {
    moment: usize,
    id: UploadId,
    offset: usize,
    is_complete: bool,
}

/// Two uploads: one in a few chunks, with failures of syncs on the way, one in so many that its
/// record is rewritten. Each is asked for after each step.
async fn live(world: &World, mode: AppendMode, failing: Option<usize>) -> Vec<Told> {
    let told = Mutex::new(Vec::new());
    let tell = |id, offset, is_complete| {
        let moment = world.plan.moment();
        told.lock().unwrap().push(Told { moment, id, offset, is_complete });
    };
    if let Some(sync) = failing {
        world.plan.fail(Fault::FailedSync, sync..sync + 6);
    }
    let many = || (1..=if is_long() { 400 } else { 250 }).map(|chunk| chunk * 3);
    let plans: [Vec<usize>; 2] = [ENDS.to_vec(), many().chain([ENDS[5]]).collect()];
    for ends in plans {
        let mut upload: Option<(UploadId, usize)> = None;
        for end in ends {
            // Twice, for one that a sync fails.
            while upload.map_or(0, |(_, at)| at) < end {
                match world.push(upload, end, mode).await {
                    Ok((id, at)) => {
                        upload = Some((id, at));
                        tell(id, at, false);
                    }
                    Err(error) => assert_eq!(*error.kind(), ErrorKind::Store),
                }
                world.store.settle().await;
                if let Some((id, _)) = upload
                    && let Ok(standing) = world.uploads.for_operator().status(&id).await
                {
                    let at = usize::try_from(standing.offset()).unwrap();
                    upload = Some((id, at));
                    tell(id, at, false);
                }
            }
        }
        let (id, at) = upload.unwrap();
        while let Err(error) = world.finish(&id).await {
            if *error.kind() == ErrorKind::AlreadyComplete {
                break;
            }
        }
        tell(id, at, true);
    }
    told.into_inner().unwrap()
}

/// What became of an upload after a power cut.
#[derive(Debug, Default)]
struct Found {
    cuts: usize,
    whole: usize,
    refused: usize,
    damaged: usize,
    back: usize,
}

fn cut_everywhere(mut world: World, mode: AppendMode, failing: Option<usize>, found: &mut Found) {
    let (durability, way, checksum) = (world.durability, world.calls, world.checksum);
    let told;
    (world, told) = run(way, async move {
        let told = live(&world, mode, failing).await;
        (world, told)
    });
    let trace = world.plan.trace();
    let mut image = Image::default();
    let moments = trace.len();
    let cuts = match way {
        _ if is_long() => 60,
        FileCalls::Pool => 8,
        // At other moments.
        FileCalls::InPlace => 5,
    };
    let stride = moments / cuts + 1;
    for (moment, change) in trace.iter().enumerate() {
        image.apply(change);
        let moment = moment + 1;
        // Right after an answer, and now and then in between.
        let answered = told.iter().filter(|told| told.moment <= moment).count();
        let just_answered = told.iter().any(|told| told.moment == moment);
        if moment % stride != 0 && !(just_answered && answered % (stride / 2 + 1) == 0) {
            continue;
        }
        for luck in [
            Luck::Nothing,
            Luck::Everything,
            Luck::NamesAndLengths,
            Luck::Bytes,
            Luck::Records,
            Luck::RecordsAndSome(moment as u64 * 41),
            Luck::Random(moment as u64 * 31),
            Luck::Random(moment as u64 * 37),
        ] {
            let case = format!("{way:?} {durability:?} {mode:?} {failing:?} {moment} {luck:?}");
            let _case = Case(case);
            let last = |id: &UploadId| {
                told.iter().rev().find(|told| told.id == *id && told.moment <= moment).copied()
            };
            let mut ids: Vec<UploadId> = told.iter().map(|told| told.id).collect();
            ids.sort_unstable();
            ids.dedup();
            image.restore(world.folder.path(), luck);
            world = World::open(world.folder, durability, way, "second start", checksum);
            // What is named would be compared anyway.
            world.named = durability == Durability::Sync;
            found.cuts += 1;
            for told in ids.iter().filter_map(last) {
                let mut so_far = std::mem::take(found);
                (world, *found) = run(way, async move {
                    check(&world, told, durability, &mut so_far).await;
                    (world, so_far)
                });
            }
        }
    }
}

async fn check(world: &World, told: Told, durability: Durability, found: &mut Found) {
    let Told { id, offset, is_complete, .. } = told;
    let standing = match world.uploads.for_operator().status(&id).await {
        Ok(standing) => standing,
        Err(error) if durability == Durability::Process => {
            assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Damaged), "{error:?}");
            found.refused += 1;
            return;
        }
        Err(error) => panic!("{error:?}"),
    };
    let now = usize::try_from(standing.offset()).unwrap();
    if durability == Durability::Sync {
        assert!(now >= offset, "{offset} bytes were acknowledged, and it stands at {now}");
        if is_complete {
            world.check_taken(&id);
        }
        world.go_on(&id, now).await;
        found.whole += 1;
        return;
    }
    found.back += usize::from(now < offset);
    // The application had it: what it did with it is its own.
    if is_complete {
        return;
    }
    let end = world.content.len();
    let rest = async {
        if now < end {
            world.push(Some((id, now)), end, AppendMode::AllOrNothing).await?;
        }
        world.finish(&id).await
    };
    match rest.await {
        Ok(()) => {
            world.check_taken(&id);
            found.whole += 1;
        }
        Err(error) if *error.kind() == ErrorKind::AlreadyComplete => {}
        Err(error) => {
            assert_eq!(*error.kind(), ErrorKind::Damaged);
            found.damaged += 1;
        }
    }
}

#[test]
fn with_sync_no_acknowledged_byte_is_missing_after_a_power_cut() {
    for way in WAYS {
        let mut found = Found::default();
        let world = || World::new(Durability::Sync, way);
        for mode in [AppendMode::AllOrNothing, AppendMode::KeepWhatCame] {
            cut_everywhere(world(), mode, None, &mut found);
            for failing in if is_long() { vec![10, 25, 40, 77, 150, 1200] } else { vec![25, 40] } {
                cut_everywhere(world(), mode, Some(failing), &mut found);
            }
        }
        println!("{way:?}: power cuts with Sync: {found:?}, lost 0, wrong 0");
        assert_eq!((found.refused, found.back), (0, 0));
        assert!(found.whole > 100);
    }
}

/// An upload that grows by a byte with each commit, in one lease or in one for each.
struct Growing {
    world: World,
    upload: Upload,
    writer: Option<<FsStore as Store>::Writer>,
    one_lease: bool,
}

impl Growing {
    async fn new(calls: FileCalls, one_lease: bool) -> Self {
        let world = World::new(Durability::Sync, calls);
        let upload = Upload::new(UploadId::random(), SystemTime::now());
        let writer = world.store.create(upload.clone()).await.unwrap();
        Self { world, upload, writer: Some(writer), one_lease }
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.world.store.writer(&self.upload.id).await?,
        };
        let mut upload = writer.upload().clone();
        // Long lines, so that the record is long after a few.
        upload.progress.checksum = "x".repeat(3000).parse().ok();
        let at = usize::try_from(upload.offset()).unwrap();
        upload.progress.offset += 1;
        let byte = self.world.content[at..=at].to_vec();
        let committed = writer.commit(Commit::new(byte, upload.clone())).await;
        if committed.is_ok() {
            self.upload = upload;
            self.writer = self.one_lease.then_some(writer);
        }
        committed
    }
}

/// A record that has grown long is replaced by a shorter one. If the sync of its name fails, what is
/// told afterwards must not be in a file that nobody finds after a power cut.
#[test]
fn a_rewriting_whose_sync_fails_takes_nothing_back() {
    for way in WAYS {
        for one_lease in [false, true] {
            every_sync_of_a_rewriting_fails(way, one_lease);
        }
    }
}

fn every_sync_of_a_rewriting_fails(way: FileCalls, one_lease: bool) {
    // After how many commits it comes, and how many calls it makes.
    let (commits, calls) = run(way, async move {
        let mut growing = Growing::new(way, one_lease).await;
        for commits in 0.. {
            let plan = Arc::clone(&growing.world.plan);
            let (calls, moment) = (plan.calls(), plan.moment());
            growing.commit().await.unwrap();
            if plan.trace()[moment..].iter().any(is_rewriting) {
                return (commits, plan.calls() - calls);
            }
        }
        unreachable!("it grows and grows")
    });
    let mut failed = 0;
    for call in 0..calls {
        let _case = Case(format!("{way:?}, call {call} of {calls}, one lease: {one_lease}"));
        let (growing, struck) = run(way, async move {
            let mut growing = Growing::new(way, one_lease).await;
            for _ in 0..commits {
                growing.commit().await.unwrap();
            }
            growing.world.plan.fail(Fault::FailedSync, call..call + 1);
            drop(growing.commit().await);
            let struck = growing.world.plan.mend();
            let mut told = 0;
            while told < 3 {
                told += usize::from(growing.commit().await.is_ok());
            }
            (growing, struck)
        });
        failed += usize::from(struck);
        let Growing { world, upload, .. } = growing;
        let mut image = Image::default();
        world.plan.trace().iter().for_each(|change| image.apply(change));
        image.restore(world.folder.path(), Luck::Nothing);
        let world = World::open(world.folder, Durability::Sync, way, "second start", true);
        let id = upload.id;
        let after = run(way, async move { world.uploads.for_operator().status(&id).await });
        let after = after.unwrap();
        assert!(after.offset() >= upload.offset(), "{after:?} {upload:?}");
    }
    println!(
        "{way:?}, one lease {one_lease}: a rewriting after {commits} commits has {calls} calls, \
         {failed} syncs failed, nothing was taken back"
    );
    assert!(failed >= 3);
}

/// Whether it gives a new record its name.
fn is_rewriting(change: &Change) -> bool {
    let is_new = |path: &Path| path.extension().is_some_and(|end| end == "new");
    matches!(change, Change::Rename(from, _) if is_new(from))
}

/// What was written after one restart is doubtful after the next, though it was compared in between.
#[test]
fn a_second_power_cut_is_noticed_too() {
    for way in WAYS {
        two_power_cuts(way);
    }
}

fn two_power_cuts(way: FileCalls) {
    let folder = TempDir::new().unwrap();
    let process = Durability::Process;
    let mut world = World::open(folder, process, way, "first start", true);
    let end = world.content.len();
    let begun;
    (world, begun) = run(way, async move {
        let begun = world.push(None, ENDS[0], AppendMode::AllOrNothing).await.unwrap();
        (world, begun)
    });

    world = World::open(world.folder, process, way, "second start", true);
    world.named = false;
    let id = begun.0;
    world = run(way, async move {
        world.push(Some(begun), end, AppendMode::AllOrNothing).await.unwrap();
        world
    });
    world = run(way, async move {
        // The application is asked and refuses, so that it is compared and written down.
        world.uploads.for_operator().complete(&id, None).await.unwrap().reopen().await.unwrap();
        world
    });
    let data =
        files_below(&world.root()).into_iter().find(|path| path.ends_with(format!("{id}.part")));
    let mut bytes = world.content.to_vec();
    bytes[ENDS[0]..].fill(0);
    std::fs::write(data.unwrap(), bytes).unwrap();

    world = World::open(world.folder, process, way, "third start", true);
    let refused = run(way, async move {
        world.uploads.for_operator().complete(&id, None).await.map(drop).unwrap_err()
    });
    assert_eq!(*refused.kind(), ErrorKind::Damaged);
}

#[test]
fn without_sync_damage_by_a_power_cut_is_noticed() {
    for way in WAYS {
        let mut found = Found::default();
        for mode in [AppendMode::AllOrNothing, AppendMode::KeepWhatCame] {
            for checksum in [true, false] {
                let folder = TempDir::new().unwrap();
                let process = Durability::Process;
                let world = World::open(folder, process, way, "first start", checksum);
                cut_everywhere(world, mode, None, &mut found);
            }
        }
        println!("{way:?}: power cuts with Process: {found:?}, wrong 0");
        assert!(found.refused > 10 && found.damaged > 10 && found.whole > 10, "{found:?}");
    }
}
