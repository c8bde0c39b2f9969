//! What becomes of lost answers, refusals and competitors; what is deleted and when; what it costs.

#![expect(clippy::mem_forget, reason = "a node that is gone drops nothing")]

use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::io::AsyncReadExt;

use super::double::{Call, Double, Fate};
use super::keys::Keys;
use super::{BucketStore, BucketStoreBuilder, BucketWriter};
use crate::engine::{AppendMode, ErrorKind, Filter, NewUpload, Uploads};
use crate::id::UploadId;
use crate::store::{Batch, Commit, Handover, Store, StoreError, Writer};
use crate::upload::{Creation, Kind, Part, Status, Upload};

fn builder(double: &Double) -> BucketStoreBuilder {
    BucketStore::builder(Arc::new(double.clone())).segment_bytes(100)
}

fn node(double: &Double) -> BucketStore {
    builder(double).unchecked().unwrap()
}

fn uploads(store: BucketStore) -> Uploads {
    Uploads::builder(store).build().unwrap()
}

async fn born(store: &BucketStore, bytes: &'static [u8]) -> Upload {
    let mut upload = Upload::new(UploadId::random(), SystemTime::now());
    let mut writer = store.create(upload.clone()).await.unwrap();
    upload.progress.offset = bytes.len() as u64;
    writer.commit(Commit::new(Bytes::from_static(bytes), upload.clone())).await.unwrap();
    upload
}

async fn grow(store: &BucketStore, id: &UploadId, bytes: &'static [u8]) -> Result<(), StoreError> {
    let mut writer = store.writer(id).await?;
    let mut upload = writer.upload().clone();
    upload.progress.offset += bytes.len() as u64;
    writer.commit(Commit::new(Bytes::from_static(bytes), upload)).await
}

fn keys() -> Keys {
    Keys::new("chunked_uploads").unwrap()
}

async fn content(store: &BucketStore, id: &UploadId) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.open(id).await.unwrap().read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_commit_is_no_loss() {
    for fates in [
        // The bytes are there, nobody said so; the next try is told that the object exists.
        &[Fate::Lost][..],
        &[Fate::Refused, Fate::Lost],
        &[Fate::Refused, Fate::Refused, Fate::Refused],
        // 409: there is one, and then there is none.
        &[Fate::Contended],
        &[Fate::Contended, Fate::Contended, Fate::Lost],
    ] {
        for chunk in [&b"hello"[..], &[7; 1000]] {
            let double = Double::default();
            let store = node(&double);
            let upload = born(&store, b"first").await;
            double.plan(Call::Put, "/log/", fates);
            let chunk: &'static [u8] = Vec::leak(chunk.to_vec());
            grow(&store, &upload.id, chunk).await.unwrap_or_else(|e| panic!("{fates:?}: {e:?}"));
            assert!(double.is_done());
            assert_eq!(content(&node(&double), &upload.id).await, [b"first", chunk].concat());
            grow(&node(&double), &upload.id, b"more").await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_first_commit_is_no_loss() {
    for (key, fates) in [
        ("/log/", &[Fate::Lost][..]),
        ("/rec/", &[Fate::Lost]),
        ("/due/", &[Fate::Lost]),
        ("/rec/", &[Fate::Refused, Fate::Refused]),
        ("/due/", &[Fate::Refused, Fate::Lost]),
        ("/log/", &[Fate::Contended, Fate::Refused]),
    ] {
        let double = Double::default();
        double.plan(Call::Put, key, fates);
        let upload = born(&node(&double), b"first").await;
        assert!(double.is_done());
        assert_eq!(content(&node(&double), &upload.id).await, b"first");
        assert_eq!(double.keys().await.len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_is_an_error_and_the_old_record_or_the_new() {
    for (fate, offset) in [(Fate::Refused, 5), (Fate::Lost, 9)] {
        let double = Double::default();
        let store = node(&double);
        let upload = born(&store, b"first").await;
        double.plan(Call::Put, "/log/", &[fate; 4]);
        // Nor can be seen what became of it.
        double.plan(Call::Head, "/log/", &[]);
        let mut writer = store.writer(&upload.id).await.unwrap();
        double.plan(Call::Head, "/log/", &[Fate::Refused; 4]);
        let mut more = upload.clone();
        more.progress.offset = 9;
        let failed = writer.commit(Commit::new(Bytes::from_static(b"more"), more)).await;
        assert!(matches!(failed, Err(StoreError::Io { .. })), "{failed:?}");
        drop(writer);
        assert_eq!(store.load(&upload.id).await.unwrap().offset(), offset);
        assert_eq!(content(&node(&double), &upload.id).await.len() as u64, offset);
        grow(&store, &upload.id, b"!").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_came_true_after_its_error_keeps_its_pieces() {
    let double = Double::default();
    let store = node(&double);
    let upload = born(&store, b"first").await;
    let mut writer = store.writer(&upload.id).await.unwrap();
    double.plan(Call::Put, "/log/", &[Fate::Lost; 4]);
    double.plan(Call::Head, "/log/", &[Fate::Refused; 4]);
    let mut more = upload.clone();
    more.progress.offset = 1005;
    assert!(writer.commit(Commit::new(Bytes::from_static(&[7; 1000]), more)).await.is_err());
    drop(writer);
    store.settle().await;
    assert_eq!(content(&store, &upload.id).await, [&b"first"[..], &[7; 1000]].concat());
}

#[tokio::test(start_paused = true)]
async fn who_comes_second_is_told_and_leaves_nothing() {
    let double = Double::default();
    let (one, two) = (node(&double), node(&double));
    for chunk in [5, 1000] {
        let upload = born(&one, b"first").await;
        let before = double.keys().await.len();
        let mut slow = two.writer(&upload.id).await.unwrap();
        slow.write(Batch::new(vec![9; chunk])).await.unwrap();
        grow(&one, &upload.id, b"fast").await.unwrap();
        let mut more = upload.clone();
        more.progress.offset = 5 + chunk as u64;
        let second = slow.commit(Commit::new(Bytes::new(), more)).await;
        assert!(matches!(second, Err(StoreError::Conflict)), "{second:?}");
        drop(slow);
        two.settle().await;
        assert_eq!(content(&two, &upload.id).await, b"firstfast");
        assert_eq!(double.keys().await.len(), before + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_of_somebody_elses_is_no_success() {
    let double = Double::default();
    let store = node(&double);
    let upload = born(&store, b"first").await;
    double.plan(Call::Put, "/log/", &[Fate::Taken]);
    let taken = grow(&store, &upload.id, b"more").await;
    assert!(matches!(taken, Err(StoreError::Io { .. })), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_is_overtaken_is_told_the_right_offset() {
    let double = Double::default();
    let (one, two) = (uploads(node(&double)), uploads(node(&double)));
    let mut first = one.for_owner(None).create(NewUpload::new()).await.unwrap();
    first.write(&b"first"[..]).await.unwrap();
    let id = first.commit().await.unwrap().id;

    let mut slow = one.for_operator().append(&id, 5, AppendMode::AllOrNothing).await.unwrap();
    slow.write(&b"slow"[..]).await.unwrap();
    let mut fast = two.for_operator().append(&id, 5, AppendMode::AllOrNothing).await.unwrap();
    fast.write(&b"faster"[..]).await.unwrap();
    fast.commit().await.unwrap();
    let overtaken = slow.commit().await.unwrap_err();
    assert_eq!(*overtaken.kind(), ErrorKind::OffsetMismatch { offset: 11 });

    let mut slow = one.for_operator().append(&id, 11, AppendMode::AllOrNothing).await.unwrap();
    slow.write(&b"slow"[..]).await.unwrap();
    two.for_operator().complete(&id, None).await.unwrap().finish().await.unwrap();
    assert_eq!(*slow.commit().await.unwrap_err().kind(), ErrorKind::AlreadyComplete);

    let (mut late, id) = (one.for_owner(None).create(NewUpload::new()).await.unwrap(), id);
    late.write(&b"late"[..]).await.unwrap();
    let other = late.commit().await.unwrap().id;
    let late = one.for_operator().append(&other, 4, AppendMode::AllOrNothing).await.unwrap();
    two.for_operator().cancel(&other).await.unwrap();
    assert_eq!(*late.commit().await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(
        *one.for_operator().cancel(&id).await.unwrap_err().kind(),
        ErrorKind::AlreadyComplete
    );
}

#[tokio::test(start_paused = true)]
async fn of_two_nodes_that_complete_one_is_refused_until_the_other_is_silent() {
    let double = Double::default();
    let (one, two) = (uploads(node(&double)), uploads(node(&double)));
    let mut first = one.for_owner(None).create(NewUpload::new()).await.unwrap();
    first.write(&b"first"[..]).await.unwrap();
    let id = first.commit().await.unwrap().id;

    let given = one.for_operator().complete(&id, None).await.unwrap();
    for _ in 0..20 {
        // As long as the application works on it.
        let refused = two.for_operator().complete(&id, None).await.unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::Finishing);
        assert_eq!(two.for_operator().status(&id).await.unwrap().status(), Status::Finishing);
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    given.reopen().await.unwrap();
    assert_eq!(two.for_operator().status(&id).await.unwrap().status(), Status::Open);
    let given = two.for_operator().complete(&id, None).await.unwrap();
    // Its node dies in the middle of it.
    std::mem::forget(given);
    // Heartbeats go on in this test's process, so they are stopped at the store.
    double.plan(Call::Put, "/busy/", &[Fate::Refused; 1000]);
    let mut refused = 0;
    let again = loop {
        // A node that only asks does not change how long it takes.
        drop(one.for_operator().status(&id).await.unwrap());
        match one.for_operator().complete(&id, None).await {
            Ok(again) => break again,
            Err(error) => assert_eq!(*error.kind(), ErrorKind::Finishing),
        }
        refused += 1;
        tokio::time::sleep(Duration::from_secs(3)).await;
    };
    assert!((2..10).contains(&refused), "{refused}");
    again.finish().await.unwrap();
    assert_eq!(
        *two.for_operator().complete(&id, None).await.unwrap_err().kind(),
        ErrorKind::AlreadyComplete
    );
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_never_ends_leaves_no_sign_of_an_upload_that_is_gone() {
    let double = Double::default();
    let (_, one, _) = timed(&double);
    let (_, two, _) = timed(&double);
    let id = one.for_owner(None).create(NewUpload::new()).await.unwrap().commit().await.unwrap().id;
    let stalled = one.for_operator().complete(&id, None).await.unwrap();
    double.plan(Call::Put, "/busy/", &[Fate::Refused; 8]);
    while two.for_operator().complete(&id, None).await.map(drop).is_err() {
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    while two.for_operator().cancel(&id).await.is_err() {
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(double.keys().await.iter().any(|key| key.contains("/busy/")));
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        two.delete_expired().await.unwrap();
    }
    assert_eq!(double.keys().await, [""; 0]);
    drop(stalled);
}

#[tokio::test(start_paused = true)]
async fn who_loses_a_race_to_complete_does_not_say_that_nobody_completes() {
    let double = Double::default();
    let store = node(&double);
    let handles = [(); 3].map(|()| uploads(store.clone()));
    let mut first = handles[0].for_owner(None).create(NewUpload::new()).await.unwrap();
    first.write(&b"first"[..]).await.unwrap();
    let id = first.commit().await.unwrap().id;
    double.plan(Call::Put, "/log/", &[Fate::Slow(Duration::from_millis(10)); 2]);
    let (one, two) = (handles[0].for_operator(), handles[1].for_operator());
    let (one, two) = tokio::join!(one.complete(&id, None), two.complete(&id, None));
    assert!(double.is_done());
    assert_eq!([&one, &two].iter().filter(|given| given.is_ok()).count(), 1);
    let refused = handles[2].for_operator().complete(&id, None).await.unwrap_err();
    assert_eq!(*refused.kind(), ErrorKind::Finishing);
    one.or(two).unwrap().reopen().await.unwrap();
    handles[2].for_operator().complete(&id, None).await.unwrap().finish().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_completion_that_was_taken_over_is_told() {
    let double = Double::default();
    let (one, two) = (uploads(node(&double)), uploads(node(&double)));
    let id = one.for_owner(None).create(NewUpload::new()).await.unwrap().commit().await.unwrap().id;
    double.plan(Call::Put, "/busy/", &[Fate::Refused; 1000]);
    let stalled = one.for_operator().complete(&id, None).await.unwrap();
    assert!(two.for_operator().complete(&id, None).await.is_err());
    tokio::time::sleep(Duration::from_secs(15)).await;
    let given = two.for_operator().complete(&id, None).await.unwrap();
    assert_eq!(*stalled.finish().await.unwrap_err().kind(), ErrorKind::Superseded);
    given.finish().await.unwrap();
    assert_eq!(two.for_operator().status(&id).await.unwrap().status(), Status::Complete);
}

#[tokio::test(start_paused = true)]
async fn a_note_of_a_target_inherits_the_handover_and_a_commit_sets_it() {
    let double = Double::default();
    let (one, two) = (node(&double), node(&double));
    let id = born(&one, b"bytes").await.id;
    let last = async || one.node.log.tail(&id).await.unwrap().unwrap().entry.handover;
    let commit = async |writer: &mut BucketWriter, handover| {
        let commit = Commit::new(Bytes::new(), writer.upload().clone());
        writer.commit(commit.with_handover(handover)).await.unwrap();
    };
    let mut dead = one.writer(&id).await.unwrap();
    commit(&mut dead, Handover::Given).await;
    dead.persist(FilePath::new("media/a"), true).await.unwrap();
    assert_eq!(last().await, Handover::Given);
    double.plan(Call::Put, "/busy/", &[Fate::Refused; 1000]);
    assert!(matches!(two.writer(&id).await, Err(StoreError::Busy)));
    tokio::time::sleep(Duration::from_secs(15)).await;
    let mut writer = two.writer(&id).await.unwrap();
    // Nobody's file, whatever the status says: no other node has to wait for the lease again.
    commit(&mut writer, Handover::None).await;
    assert_eq!(last().await, Handover::None);
    drop(one.writer(&id).await.unwrap());
    writer.persist(FilePath::new("media/b"), true).await.unwrap();
    assert_eq!(last().await, Handover::None);
    commit(&mut writer, Handover::Taken).await;
    writer.persist(FilePath::new("media/c"), true).await.unwrap();
    assert_eq!(last().await, Handover::Taken);
    drop(dead);
}

/// When the clocks of nodes with a clock of their own begin.
fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// A node with a clock that can be set ahead.
fn timed(double: &Double) -> (BucketStore, Uploads, Arc<AtomicU64>) {
    let ahead = Arc::new(AtomicU64::new(0));
    let (store, uploads) = set_ahead(double, &ahead);
    (store, uploads, ahead)
}

fn set_ahead(double: &Double, ahead: &Arc<AtomicU64>) -> (BucketStore, Uploads) {
    let clock = {
        let (ahead, start) = (Arc::clone(ahead), tokio::time::Instant::now());
        move || self::start() + start.elapsed() + Duration::from_secs(ahead.load(Ordering::Relaxed))
    };
    let store = builder(double).clock(clock.clone()).unchecked().unwrap();
    (store.clone(), Uploads::builder(store).clock(clock).build().unwrap())
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_deleted_after_the_grace_and_nothing_else() {
    let double = Double::default();
    let (store, uploads, ahead) = timed(&double);
    let hour = 3600;
    let mut ids = Vec::new();
    for _ in 0..5 {
        let mut first = uploads.for_owner(None).create(NewUpload::new()).await.unwrap();
        first.write(&[1; 1000][..]).await.unwrap();
        ids.push(first.commit().await.unwrap().id);
    }
    let [cancelled, expired, prolonged, complete, persisted] = ids[..] else { unreachable!() };
    uploads.for_operator().cancel(&cancelled).await.unwrap();
    uploads.for_operator().set_expires(&prolonged, None).await.unwrap();
    uploads.for_operator().complete(&complete, None).await.unwrap().finish().await.unwrap();
    let given = uploads.for_operator().complete(&persisted, None).await.unwrap();
    given.file().persist("media/file").await.unwrap();
    given.finish().await.unwrap();
    let below = async |id: &UploadId| {
        double.keys().await.into_iter().filter(|key| key.contains(id.as_str())).count()
    };

    let nothing = uploads.delete_expired().await.unwrap();
    assert_eq!((nothing.complete, nothing.incomplete, nothing.skipped), (0, 0, 0));
    assert!(below(&cancelled).await > 10, "within the grace");
    assert!(below(&persisted).await > 10, "within the grace");
    ahead.store(hour + 2, Ordering::Relaxed);
    uploads.delete_expired().await.unwrap();
    store.settle().await;
    assert_eq!(below(&persisted).await, 3, "record, last commit, index");
    assert_eq!(uploads.for_operator().status(&persisted).await.unwrap().status(), Status::Complete);
    assert_eq!(below(&cancelled).await, 0, "{:?}", double.keys().await);

    ahead.store(25 * hour, Ordering::Relaxed);
    let swept = uploads.delete_expired().await.unwrap();
    assert_eq!((swept.complete, swept.incomplete, swept.skipped), (2, 1, 0));
    assert_eq!(content(&store, &prolonged).await, [1; 1000]);
    ahead.store(27 * hour, Ordering::Relaxed);
    uploads.delete_expired().await.unwrap();
    for id in [cancelled, expired, complete, persisted] {
        assert_eq!(below(&id).await, 0, "{:?}", double.keys().await);
    }
    assert_eq!(content(&store, &prolonged).await, [1; 1000]);
    assert_eq!(double.objects.get(&Path::from("media/file")).await.unwrap().meta.size, 1000);
    uploads.for_operator().cancel(&prolonged).await.unwrap();
    ahead.store(30 * hour, Ordering::Relaxed);
    uploads.delete_expired().await.unwrap();
    assert_eq!(double.keys().await, ["media/file"]);
}

#[tokio::test(start_paused = true)]
async fn every_node_knows_what_another_has_swept() {
    let double = Double::default();
    let (_, one, ahead) = timed(&double);
    let other = uploads(node(&double));
    let theirs = Some(crate::upload::Owner::new("alice"));
    let upload = one.for_owner(theirs.clone()).create(NewUpload::new()).await.unwrap();
    let id = upload.commit().await.unwrap().id;
    let cancelled =
        one.for_owner(None).create(NewUpload::new()).await.unwrap().commit().await.unwrap().id;
    one.for_operator().cancel(&cancelled).await.unwrap();
    ahead.store(25 * 3600, Ordering::Relaxed);
    assert_eq!(one.delete_expired().await.unwrap().incomplete, 1);
    let kind = |status: Result<Upload, crate::Error>| status.unwrap_err().kind().clone();
    let operator = other.for_operator();
    assert_eq!(kind(operator.status(&id).await), ErrorKind::Expired);
    assert_eq!(kind(other.for_owner(theirs).status(&id).await), ErrorKind::Expired);
    assert_eq!(kind(other.for_owner(None).status(&id).await), ErrorKind::NotFound);
    assert_eq!(kind(operator.status(&cancelled).await), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_left_of_a_creation_is_deleted() {
    let double = Double::default();
    let (_, uploads, ahead) = timed(&double);
    let mut dead = uploads.for_owner(None).create(NewUpload::new()).await.unwrap();
    dead.write(vec![1; 600_000].as_slice()).await.unwrap();
    dead.flush_idle().await.unwrap();
    assert!(double.keys().await.len() > 1000, "pieces");
    std::mem::forget(dead);
    for hours in [25, 27] {
        ahead.store(hours * 3600, Ordering::Relaxed);
        uploads.delete_expired().await.unwrap();
    }
    assert_eq!(double.keys().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_was_given_up_cannot_come_true_late() {
    for (bytes, sweeps) in [(600_000, 1), (600_000, 3), (10, 1), (10, 3)] {
        let double = Double::default();
        let (_, uploads, ahead) = timed(&double);
        let mut slow = uploads.for_owner(None).create(NewUpload::new()).await.unwrap();
        slow.write(vec![1; bytes].as_slice()).await.unwrap();
        slow.flush_idle().await.unwrap();
        for sweep in 0..sweeps {
            ahead.store((25 + 2 * sweep) * 3600, Ordering::Relaxed);
            uploads.delete_expired().await.unwrap();
        }
        tokio::time::advance(Duration::from_secs(25 * 3600)).await;
        assert_eq!(*slow.commit().await.unwrap_err().kind(), ErrorKind::NotFound, "{bytes}");
        assert!(double.keys().await.iter().all(|key| !key.contains("/rec/")), "{bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_chunk_that_takes_longer_than_an_upload_lives_is_not_lost() {
    let double = Double::default();
    let (store, _, ahead) = timed(&double);
    let clock = store.node.log.clock.clone();
    let life = crate::engine::Expiry::AfterLastChunk(Duration::from_secs(60));
    let uploads = Uploads::builder(store.clone()).clock(move || clock.now()).expiry(life);
    let uploads = uploads.build().unwrap();
    let mut slow = uploads.for_owner(None).create(NewUpload::new()).await.unwrap();
    slow.write(vec![1; 600_000].as_slice()).await.unwrap();
    slow.flush_idle().await.unwrap();
    for hours in [1, 4, 8] {
        ahead.store(hours * 3600, Ordering::Relaxed);
        uploads.delete_expired().await.unwrap();
    }
    let id = slow.commit().await.unwrap().id;
    assert_eq!(content(&store, &id).await.len(), 600_000);
    for hours in [9, 11] {
        ahead.store(hours * 3600, Ordering::Relaxed);
        uploads.delete_expired().await.unwrap();
    }
    assert!(matches!(store.load(&id).await, Err(StoreError::NotFound)));
    ahead.store(30 * 3600, Ordering::Relaxed);
    uploads.delete_expired().await.unwrap();
    assert_eq!(double.keys().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_first_commit_without_its_record_is_deleted() {
    let double = Double::default();
    let (store, uploads, ahead) = timed(&double);
    let mut upload = Upload::new(UploadId::random(), SystemTime::now());
    let mut writer = store.create(upload.clone()).await.unwrap();
    double.plan(Call::Put, "/rec/", &[Fate::Refused; 4]);
    upload.progress.offset = 1000;
    assert!(writer.commit(Commit::new(Bytes::from_static(&[1; 1000]), upload)).await.is_err());
    drop(writer);
    assert!(double.keys().await.len() > 10, "its pieces and its commit");
    for hours in [14, 16] {
        ahead.store(hours * 3600, Ordering::Relaxed);
        uploads.delete_expired().await.unwrap();
    }
    assert_eq!(double.keys().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_upload_has_only_so_many_commits_and_can_be_completed_then() {
    let double = Double::default();
    let store = builder(&double).max_commits(3).unchecked().unwrap();
    let upload = born(&store, b"1").await;
    grow(&store, &upload.id, b"2").await.unwrap();
    grow(&store, &upload.id, b"3").await.unwrap();
    let refused = grow(&store, &upload.id, b"4").await;
    assert!(matches!(refused, Err(StoreError::Full { .. })), "{refused:?}");
    uploads(store).for_operator().complete(&upload.id, None).await.unwrap().finish().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_far_behind_catches_up_with_one_listing() {
    let double = Double::default();
    let (one, two) = (node(&double), node(&double));
    let upload = born(&one, b"first").await;
    grow(&two, &upload.id, b"x").await.unwrap();
    for _ in 0..500 {
        grow(&one, &upload.id, b"x").await.unwrap();
    }
    double.counts();
    assert_eq!(two.load(&upload.id).await.unwrap().offset(), 506);
    let counts = double.counts();
    assert!(counts.iter().all(|(_, count)| *count < 100), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_being_written_to_is_not_swept() {
    let double = Double::default();
    let (_, uploads, ahead) = timed(&double);
    let id =
        uploads.for_owner(None).create(NewUpload::new()).await.unwrap().commit().await.unwrap().id;
    let mut under_way =
        uploads.for_operator().append(&id, 0, AppendMode::AllOrNothing).await.unwrap();
    under_way.write(&b"more"[..]).await.unwrap();
    ahead.store(25 * 3600, Ordering::Relaxed);
    let swept = uploads.delete_expired().await.unwrap();
    assert_eq!((swept.incomplete, swept.skipped), (0, 1));
    drop(under_way);
    assert_eq!(uploads.delete_expired().await.unwrap().incomplete, 1);
}

/// Of virtual time: each removal waits for its requests, and not for the others.
#[tokio::test(start_paused = true)]
async fn a_sweeper_keeps_up_with_a_store_that_is_far_away() {
    let double = Double::default();
    let (_, uploads, ahead) = timed(&double);
    for _ in 0..300 {
        drop(
            uploads.for_owner(None).create(NewUpload::new()).await.unwrap().commit().await.unwrap(),
        );
    }
    ahead.store(25 * 3600, Ordering::Relaxed);
    let second = Duration::from_secs(1);
    double.plan(Call::Put, "/log/", &[Fate::Slow(second); 300]);
    let start = tokio::time::Instant::now();
    let sweeper = uploads.sweep_every(1000 * second);
    while uploads.for_operator().list(Filter::all().expired(true)).next().await.is_some() {
        tokio::time::sleep(second).await;
    }
    assert!(start.elapsed() < 30 * second, "{:?}", start.elapsed());
    sweeper.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_commit_to_an_upload_that_was_collected_is_not_acknowledged() {
    let double = Double::default();
    let (store, uploads, ahead) = timed(&double);
    let upload = born(&store, b"first").await;
    let other = node(&double);
    let mut zombie = other.writer(&upload.id).await.unwrap();
    uploads.for_operator().cancel(&upload.id).await.unwrap();
    ahead.store(2 * 3600, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(2 * 3600)).await;
    for _ in 0..2 {
        uploads.delete_expired().await.unwrap();
    }
    let mut more = upload.clone();
    more.progress.offset = 10;
    let late = zombie.commit(Commit::new(Bytes::from_static(b"later"), more)).await;
    assert!(matches!(late, Err(StoreError::NotFound)), "{late:?}");
    assert!(double.keys().await.iter().all(|key| !key.contains("/log/")), "it left something");
}

#[tokio::test(start_paused = true)]
async fn a_late_removal_is_not_taken_for_anothers() {
    let double = Double::default();
    let (store, _, _) = timed(&double);
    let upload = born(&store, b"first").await;
    let writer = store.writer(&upload.id).await.unwrap();
    double.plan(Call::Put, "/log/", &[Fate::Slow(Duration::from_secs(40 * 60))]);
    double.plan(Call::Get, "/rec/", &[Fate::Refused]);
    writer.remove().await.unwrap();
    assert!(matches!(node(&double).load(&upload.id).await, Err(StoreError::NotFound)));
}

/// An upload that is complete and whose bytes are at the application's place only, and somebody who
/// knows it as it was before.
async fn trimmed(double: &Double) -> (Uploads, BucketWriter) {
    let (store, uploads, ahead) = timed(double);
    let upload = born(&store, b"first").await;
    let zombie = node(double).writer(&upload.id).await.unwrap();
    let given = uploads.for_operator().complete(&upload.id, None).await.unwrap();
    given.file().persist("media/file").await.unwrap();
    given.finish().await.unwrap();
    ahead.store(2 * 3600, Ordering::Relaxed);
    uploads.delete_expired().await.unwrap();
    (uploads, zombie)
}

#[tokio::test(start_paused = true)]
async fn a_late_commit_under_a_number_whose_bytes_were_moved_away_is_not_acknowledged() {
    let double = Double::default();
    let (uploads, mut zombie) = trimmed(&double).await;
    tokio::time::advance(Duration::from_secs(2 * 3600)).await;
    let upload = zombie.upload().clone();
    let mut more = upload.clone();
    more.progress.offset = 10;
    let late = zombie.commit(Commit::new(Bytes::from_static(b"later"), more)).await;
    assert!(matches!(late, Err(StoreError::Conflict)), "{late:?}");
    assert_eq!(uploads.for_operator().status(&upload.id).await.unwrap().status(), Status::Complete);
    assert_eq!(content(&node(&double), &upload.id).await, b"first");
}

/// Its monotonic clock stood still with it.
#[tokio::test(start_paused = true)]
async fn a_node_that_slept_believes_nothing_that_it_knew() {
    let double = Double::default();
    let (_, sleeper, slept) = timed(&double);
    let (store, uploads, ahead) = timed(&double);
    let mut first = sleeper.for_owner(None).create(NewUpload::new()).await.unwrap();
    first.write(&b"first"[..]).await.unwrap();
    let id = first.commit().await.unwrap().id;
    let mut under_way =
        sleeper.for_operator().append(&id, 5, AppendMode::AllOrNothing).await.unwrap();
    under_way.write(&b"later"[..]).await.unwrap();

    let given = uploads.for_operator().complete(&id, None).await.unwrap();
    given.file().persist("media/file").await.unwrap();
    given.finish().await.unwrap();
    ahead.store(2 * 3600, Ordering::Relaxed);
    uploads.delete_expired().await.unwrap();
    assert!(double.keys().await.iter().filter(|key| key.contains("/log/")).count() == 1);

    slept.store(2 * 3600, Ordering::Relaxed);
    let late = under_way.commit().await.unwrap_err();
    assert_eq!(*late.kind(), ErrorKind::AlreadyComplete);
    let again = sleeper.for_operator().complete(&id, None).await.unwrap_err();
    assert_eq!(*again.kind(), ErrorKind::AlreadyComplete);
    assert_eq!(content(&store, &id).await, b"first");
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_began_before_an_upload_was_to_expire_does_not_hide_it() {
    let double = Double::default();
    let (_, uploads, ahead) = timed(&double);
    let id =
        uploads.for_owner(None).create(NewUpload::new()).await.unwrap().commit().await.unwrap().id;
    uploads.for_operator().set_expires(&id, None).await.unwrap();
    let expires = start() + Duration::from_secs(60);
    uploads.for_operator().set_expires(&id, expires).await.unwrap();
    // It had seen the entry and not yet the commit, and its deletion comes last.
    double.objects.delete(&keys().index_entry(&id, expires)).await.unwrap();
    ahead.store(62, Ordering::Relaxed);
    assert_eq!(uploads.delete_expired().await.unwrap().incomplete, 1);
    ahead.store(25 * 3600, Ordering::Relaxed);
    uploads.delete_expired().await.unwrap();
    assert_eq!(double.keys().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_the_index_names_twice_is_removed_once() {
    let double = Double::default();
    let (_, uploads, ahead) = timed(&double);
    let id =
        uploads.for_owner(None).create(NewUpload::new()).await.unwrap().commit().await.unwrap().id;
    let expires = start() + Duration::from_secs(60);
    uploads.for_operator().set_expires(&id, expires).await.unwrap();
    let named = double.keys().await.into_iter().filter(|key| key.contains("/due/")).count();
    assert!(named > 1);
    ahead.store(25 * 3600, Ordering::Relaxed);
    let swept = uploads.delete_expired().await.unwrap();
    assert_eq!((swept.incomplete, swept.skipped), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_is_late_misleads_nobody() {
    let double = Double::default();
    let upload = born(&node(&double), b"first").await;
    for at in 0..20 {
        double.plan(Call::List, "/log/", &[Fate::Refused]);
        let fresh = node(&double);
        assert_eq!(fresh.load(&upload.id).await.unwrap().offset(), 5 + 4 * at);
        grow(&fresh, &upload.id, b"more").await.unwrap();
        assert!(double.is_done(), "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_chunk_costs_one_put_and_as_many_heads_as_nodes_take_turns() {
    let double = Double::default();
    let nodes = [node(&double), node(&double), node(&double)];
    let upload = born(&nodes[0], b"first").await;
    assert_eq!(double.counts(), [(Call::Put, 3)], "index, record, commit");
    for _ in 0..3 {
        grow(&nodes[0], &upload.id, b"x").await.unwrap();
        assert_eq!(double.counts(), [(Call::Put, 1), (Call::Head, 1)], "the same node");
    }
    for node in &nodes[1..] {
        grow(node, &upload.id, b"x").await.unwrap();
        let first = [(Call::Put, 1), (Call::Get, 1), (Call::Head, 2), (Call::List, 1)];
        assert_eq!(double.counts(), first, "a node that knows nothing of it");
    }
    grow(&nodes[0], &upload.id, b"x").await.unwrap();
    double.counts();
    for _ in 0..3 {
        for node in [&nodes[1], &nodes[2], &nodes[0]] {
            grow(node, &upload.id, b"x").await.unwrap();
        }
    }
    double.counts();
    for node in [&nodes[1], &nodes[2], &nodes[0]] {
        grow(node, &upload.id, b"x").await.unwrap();
        assert_eq!(double.counts(), [(Call::Put, 1), (Call::Head, 3)], "nodes that take turns");
    }
    grow(&nodes[0], &upload.id, Vec::leak(vec![1; 250])).await.unwrap();
    let counts = double.counts();
    assert!(counts.contains(&(Call::Put, 4)), "three pieces and their list: {counts:?}");
}

#[tokio::test(start_paused = true)]
async fn completing_costs_two_puts_whatever_the_size() {
    for chunks in [1, 50] {
        let double = Double::default();
        let uploads = uploads(node(&double));
        let mut first = uploads.for_owner(None).create(NewUpload::new()).await.unwrap();
        first.write(&b"x"[..]).await.unwrap();
        let id = first.commit().await.unwrap().id;
        for at in 1..chunks {
            let mut next =
                uploads.for_operator().append(&id, at, AppendMode::AllOrNothing).await.unwrap();
            next.write(&b"x"[..]).await.unwrap();
            next.commit().await.unwrap();
        }
        double.counts();
        uploads.for_operator().complete(&id, None).await.unwrap().finish().await.unwrap();
        assert_eq!(double.counts(), [(Call::Put, 2), (Call::Head, 1)]);
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(work)
}

/// How many bytes are allocated at most meanwhile.
fn peak_of(work: impl Future<Output = ()>) -> u64 {
    allocation_counter::measure(|| block_on(work)).bytes_max
}

const MIB: usize = 1 << 20;

#[test]
fn memory_is_bounded_and_nobody_waits_for_a_silent_client() {
    let double = Double::default();
    double.forget_bytes();
    let bounds = builder(&double).segment_bytes(MIB).max_buffered_bytes(4 * MIB);
    let store = bounds.unchecked().unwrap();
    let chunk = Bytes::from(vec![0; MIB / 2]);
    let pool = Arc::clone(&store.node.pool);
    let peak = peak_of(async move {
        let mut silent = Vec::new();
        for _ in 0..16 {
            let mut writer =
                store.create(Upload::new(UploadId::random(), SystemTime::now())).await.unwrap();
            for bytes in [chunk.len(), chunk.len() - 1] {
                writer.write(Batch::new(chunk.slice(..bytes))).await.unwrap();
            }
            silent.push(writer);
        }
        let loud = (0..4).map(|_| {
            let (store, chunk) = (store.clone(), chunk.clone());
            tokio::spawn(async move {
                let mut upload = Upload::new(UploadId::random(), SystemTime::now());
                let mut writer = store.create(upload.clone()).await.unwrap();
                for _ in 0..512 {
                    writer.write(Batch::new(chunk.clone())).await.unwrap();
                }
                upload.progress.offset = 256 << 20;
                writer.commit(Commit::new(Bytes::new(), upload)).await.unwrap();
            })
        });
        for upload in loud.collect::<Vec<_>>() {
            upload.await.unwrap();
        }
        for mut writer in silent {
            let mut upload = writer.upload().clone();
            upload.progress.offset = MIB as u64;
            writer.commit(Commit::new(Bytes::from_static(b"!"), upload)).await.unwrap();
        }
    });
    // The rest is the double's: the keys of a thousand pieces.
    assert!((3 * MIB..6 * MIB).contains(&(peak as usize)), "{peak}");
    // Neither bytes nor buffers are left.
    assert_eq!(pool.used(), (0, 0));
}

#[test]
fn files_that_are_persisted_at_once_share_their_memory() {
    let double = Double::default();
    let store = builder(&double).segment_bytes(MIB).max_buffered_bytes(8 * MIB);
    let store = store.unchecked().unwrap();
    let bytes: &[u8] = Vec::leak(vec![7; 4 * MIB]);
    let uploads = block_on(futures_util::future::join_all((0..8).map(|_| born(&store, bytes))));
    double.forget_bytes();
    double.plan(Call::Put, "media/", &[Fate::Slow(Duration::from_secs(1)); 8]);
    let peak = peak_of(async {
        let mut moves = tokio::task::JoinSet::new();
        for upload in uploads {
            let (store, id) = (store.clone(), upload.id);
            moves.spawn(async move {
                let mut writer = store.writer(&id).await.unwrap();
                let target = format!("media/{id}");
                writer.persist(FilePath::new(&target), true).await.unwrap();
            });
        }
        moves.join_all().await;
    });
    assert!(double.is_done());
    assert!((8 * MIB..10 * MIB).contains(&(peak as usize)), "{peak}");
}

#[tokio::test(start_paused = true)]
async fn a_piece_that_could_not_be_written_fails_its_own_chunk() {
    let double = Double::default();
    let small = builder(&double).segment_bytes(100).max_buffered_bytes(100);
    let store = small.unchecked().unwrap();
    let (one, two) = (born(&store, b"one").await, born(&store, b"two").await);
    let mut unlucky = store.writer(&one.id).await.unwrap();
    unlucky.write(Batch::new(Bytes::from_static(&[1; 80]))).await.unwrap();
    double.plan(Call::Put, "/piece/", &[Fate::Refused; 4]);
    grow(&store, &two.id, Vec::leak(vec![2; 90])).await.unwrap();
    let mut more = one.clone();
    more.progress.offset = 83;
    assert!(unlucky.commit(Commit::new(Bytes::new(), more)).await.is_err());
    assert_eq!(content(&store, &one.id).await, b"one");
    assert_eq!(content(&store, &two.id).await.len(), 93);
}

#[tokio::test(start_paused = true)]
async fn a_file_read_in_order_costs_one_get_a_commit() {
    let double = Double::default();
    let store = node(&double);
    let upload = born(&store, b"0").await;
    for _ in 0..30 {
        grow(&store, &upload.id, b"x").await.unwrap();
    }
    let mut reader = store.open(&upload.id).await.unwrap();
    double.counts();
    reader.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(double.counts(), [(Call::Get, 31)]);
    // A place in the middle is searched for, and found again.
    tokio::io::AsyncSeekExt::seek(&mut reader, std::io::SeekFrom::Start(17)).await.unwrap();
    assert_eq!(reader.read_u8().await.unwrap(), b'x');
    assert_eq!(double.counts(), [(Call::Get, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_breaks_off_goes_on_where_it_was() {
    let bytes: Vec<u8> = (0..1000_u32).map(|n| (n % 251) as u8).collect();
    for place in ["/log/", "/piece/", "media/"] {
        let double = Double::default();
        let store = builder(&double).smallest_part(100).unchecked().unwrap();
        let upload = if place == "/log/" {
            let upload = born(&store, b"").await;
            for part in bytes.chunks(100) {
                grow(&store, &upload.id, Vec::leak(part.to_vec())).await.unwrap();
            }
            upload
        } else {
            born(&store, Vec::leak(bytes.clone())).await
        };
        if place == "media/" {
            let mut writer = store.writer(&upload.id).await.unwrap();
            writer.persist(FilePath::new("media/a"), true).await.unwrap();
        }
        // Of a large object a request asks for no more than comes in the time that it has.
        double.counts();
        assert!(content(&store, &upload.id).await == bytes, "{place}");
        let requests = if place == "media/" { 10 } else { 11 };
        assert!(double.counts().contains(&(Call::Get, requests)), "{place}");

        double.plan(Call::Get, place, &[Fate::Torn; 5]);
        assert!(content(&store, &upload.id).await == bytes, "{place}");
        assert!(double.is_done(), "{place}");
        double.plan(Call::Get, place, &[Fate::Refused]);
        let mut reader = store.open(&upload.id).await.unwrap();
        assert!(reader.read_to_end(&mut Vec::new()).await.is_err(), "{place}");
    }
}

#[tokio::test]
async fn another_uploads_file_is_not_taken_for_this_ones() {
    let double = Double::default();
    let store = node(&double);
    let (one, two) = (born(&store, b"one").await, born(&store, b"the other").await);
    for upload in [&one, &two] {
        let mut writer = store.writer(&upload.id).await.unwrap();
        writer.persist(FilePath::new("media/same"), true).await.unwrap();
    }
    let refused = store.open(&one.id).await.map(drop);
    assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
    assert_eq!(content(&store, &two.id).await, b"the other");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_shows_before_its_metadata_is_waited_for() {
    let double = Double::default();
    let store = node(&double);
    let upload = born(&store, b"first").await;
    double.plan(Call::Head, "/log/", &[Fate::Bare; 2]);
    assert_eq!(node(&double).load(&upload.id).await.unwrap().offset(), 5);
    assert!(double.is_done());
    // Even if it takes longer, a commit of one's own is not taken for another's.
    double.plan(Call::Put, "/log/", &[Fate::Lost]);
    double.plan(Call::Head, "0000fffffffd", &[Fate::Bare; 4]);
    grow(&store, &upload.id, Vec::leak(vec![7; 500])).await.unwrap();
    assert_eq!(content(&node(&double), &upload.id).await.len(), 505);
}

#[tokio::test(start_paused = true)]
async fn persisting_survives_lost_answers_and_never_replaces_unasked() {
    for overwrite in [false, true] {
        for (call, fates) in [
            (Call::Put, &[Fate::Lost][..]),
            (Call::Put, &[Fate::Refused, Fate::Lost]),
            (Call::Put, &[Fate::Contended]),
        ] {
            let double = Double::default();
            let store = node(&double);
            let upload = born(&store, b"bytes").await;
            let mut writer = store.writer(&upload.id).await.unwrap();
            double.plan(call, "media/", fates);
            writer.persist(FilePath::new("media/a"), overwrite).await.unwrap();
            let there = double.objects.get(&Path::from("media/a")).await.unwrap();
            assert_eq!(there.bytes().await.unwrap(), "bytes");
            assert_eq!(content(&store, &upload.id).await, b"bytes");
        }
    }
    let double = Double::default();
    let store = node(&double);
    let upload = born(&store, b"bytes").await;
    let mut writer = store.writer(&upload.id).await.unwrap();
    double.plan(Call::Put, "media/", &[Fate::Taken]);
    let taken = writer.persist(FilePath::new("media/a"), false).await;
    assert!(matches!(taken, Err(StoreError::AlreadyExists { .. })), "{taken:?}");
    let there = double.objects.get(&Path::from("media/a")).await.unwrap();
    assert_eq!(there.bytes().await.unwrap(), "another's");
}

#[tokio::test(start_paused = true)]
async fn a_file_never_goes_back_to_where_a_deletion_may_still_come() {
    for (fates, there) in [(&[][..], true), (&[Fate::Refused; 4], false), (&[Fate::Lost; 4], true)]
    {
        let double = Double::default();
        let store = node(&double);
        let upload = born(&store, b"bytes").await;
        let mut writer = store.writer(&upload.id).await.unwrap();
        double.plan(Call::Put, "media/a", fates);
        let looks = if fates.is_empty() { 0 } else { 4 };
        double.plan(Call::Head, "media/a", &[Fate::Refused; 4][..looks]);
        let first = writer.persist(FilePath::new("media/a"), true).await;
        assert_eq!(first.is_ok(), fates.is_empty(), "{first:?}");
        assert!(double.is_done());
        assert_eq!(double.objects.head(&Path::from("media/a")).await.is_ok(), there);
        // Whether or not it was whole, the next place is its last.
        writer.persist(FilePath::new("media/b"), true).await.unwrap();
        assert!(double.objects.head(&Path::from("media/a")).await.is_err());
        for overwrite in [true, false] {
            drop(writer);
            writer = node(&double).writer(&upload.id).await.unwrap();
            let back = writer.persist(FilePath::new("media/a"), overwrite).await;
            assert!(matches!(back, Err(StoreError::Config { .. })), "{back:?}");
            writer.persist(FilePath::new("media/b"), false).await.unwrap();
            writer.commit(Commit::new(Bytes::new(), writer.upload().clone())).await.unwrap();
        }
        writer.persist(FilePath::new("media/c"), false).await.unwrap();
        writer.persist(FilePath::new("media/d"), false).await.unwrap();
        for left in ["media/a", "media/b", "media/c"] {
            let back = writer.persist(FilePath::new(left), true).await;
            assert!(matches!(back, Err(StoreError::Config { .. })), "{left}: {back:?}");
        }
        assert_eq!(double.media().await, ["media/d"]);
        assert_eq!(content(&store, &upload.id).await, b"bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_moves_a_file_twice_can_be_run_again_if_a_move_failed() {
    for fate in [Fate::Refused, Fate::Lost] {
        let double = Double::default();
        let upload = born(&node(&double), b"bytes").await;
        for failing in [Some("media/first"), Some("media/final"), Some("media/final"), None] {
            let mut writer = node(&double).writer(&upload.id).await.unwrap();
            if let Some(failing) = failing {
                double.plan(Call::Put, failing, &[fate; 4]);
                double.plan(Call::Head, failing, &[fate; 4]);
            }
            for target in ["media/first", "media/final"] {
                let moved = writer.persist(FilePath::new(target), true).await;
                assert_eq!(moved.is_err(), failing == Some(target), "{target}: {moved:?}");
                assert_eq!(content(&node(&double), &upload.id).await, b"bytes");
                if moved.is_err() {
                    break;
                }
            }
            assert!(double.is_done());
        }
        assert_eq!(double.media().await, ["media/final"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_another_took_in_the_middle_stays_taken() {
    let double = Double::default();
    let upload = born(&node(&double), b"bytes").await;
    double.plan(Call::Put, "media/a", &[Fate::Taken]);
    for _ in 0..2 {
        let mut writer = node(&double).writer(&upload.id).await.unwrap();
        let taken = writer.persist(FilePath::new("media/a"), false).await;
        assert!(matches!(taken, Err(StoreError::AlreadyExists { .. })), "{taken:?}");
        writer.persist(FilePath::new("media/b"), false).await.unwrap();
        assert_eq!(double.media().await, ["media/a", "media/b"]);
    }
    let there = double.objects.get(&Path::from("media/a")).await.unwrap();
    assert_eq!(there.bytes().await.unwrap(), "another's");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_whole_is_not_said_to_be_persisted() {
    let double = Double::default();
    let upload = born(&node(&double), b"bytes").await;
    let mut writer = node(&double).writer(&upload.id).await.unwrap();
    writer.persist(FilePath::new("media/a"), true).await.unwrap();
    let key = Path::from("media/a");
    let mark = double.objects.get(&key).await.unwrap().attributes;
    double.put_with(&key, "byte", mark).await;
    let again = writer.persist(FilePath::new("media/a"), true).await;
    assert!(matches!(again, Err(StoreError::Io { .. })), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn a_file_is_not_persisted_among_the_stores_own_objects() {
    let double = Double::default();
    let upload = born(&node(&double), b"bytes").await;
    let mut writer = node(&double).writer(&upload.id).await.unwrap();
    for own in ["chunked_uploads/settings", "chunked_uploads/piece/00/x"] {
        let refused = writer.persist(FilePath::new(own), true).await;
        assert!(matches!(refused, Err(StoreError::Config { .. })), "{own}: {refused:?}");
    }
    let (targets, other) = (Arc::new(InMemory::new()), Double::default());
    let store = builder(&other).persist_to(Arc::clone(&targets) as _).unchecked().unwrap();
    let upload = born(&store, b"bytes").await;
    let mut writer = store.writer(&upload.id).await.unwrap();
    writer.persist(FilePath::new("chunked_uploads/piece/00/x"), true).await.unwrap();
}

/// As one does that stood still between its note and its write.
#[tokio::test(start_paused = true)]
async fn who_was_overtaken_does_not_write_to_the_applications_place() {
    let double = Double::default();
    let upload = born(&node(&double), b"bytes").await;
    let mut writer = node(&double).writer(&upload.id).await.unwrap();
    // The note is commit 2. Another node has gone on from it by the time this one looks.
    let later = double.objects.get(&keys().entry(&upload.id, 1)).await.unwrap().attributes;
    double.put_with(&keys().entry(&upload.id, 3), "", later).await;
    let overtaken = writer.persist(FilePath::new("media/a"), true).await;
    assert!(matches!(overtaken, Err(StoreError::Conflict)), "{overtaken:?}");
    assert_eq!(double.media().await, [""; 0]);
}

/// Its number was free again, since what had it was trimmed.
#[tokio::test(start_paused = true)]
async fn a_late_commit_that_stood_still_on_its_way_is_not_acknowledged() {
    let double = Double::default();
    let (uploads, mut zombie) = trimmed(&double).await;
    // Sent before the time was over, and done after it.
    double.plan(Call::Put, "/log/", &[Fate::Slow(Duration::from_secs(3600))]);
    let upload = zombie.upload().clone();
    let mut more = upload.clone();
    more.progress.offset = 10;
    let late = zombie.commit(Commit::new(Bytes::from_static(b"later"), more)).await;
    assert!(matches!(late, Err(StoreError::Io { .. })), "{late:?}");
    assert_eq!(uploads.for_operator().status(&upload.id).await.unwrap().status(), Status::Complete);
    assert_eq!(content(&node(&double), &upload.id).await, b"first");
}

#[tokio::test(start_paused = true)]
async fn to_a_file_that_is_on_its_way_nothing_is_added() {
    let double = Double::default();
    let store = node(&double);
    let upload = born(&store, b"bytes").await;
    let mut writer = store.writer(&upload.id).await.unwrap();
    double.plan(Call::Put, "media/a", &[Fate::Refused; 4]);
    assert!(writer.persist(FilePath::new("media/a"), true).await.is_err());
    // One of the four may come late, and would be of another file.
    let added = grow(&store, &upload.id, b"more").await;
    assert!(matches!(added, Err(StoreError::Io { .. })), "{added:?}");
    assert_eq!(content(&store, &upload.id).await, b"bytes");
}

#[tokio::test(start_paused = true)]
async fn however_often_it_is_moved_its_places_fit_into_the_metadata() {
    let double = Double::default();
    let store = node(&double);
    let upload = born(&store, b"bytes").await;
    let mut writer = store.writer(&upload.id).await.unwrap();
    let name = "n".repeat(300);
    writer.persist(FilePath::new(&format!("media/whole-{name}")), true).await.unwrap();
    for number in 0..10 {
        double.plan(Call::Put, "media/", &[Fate::Refused; 4]);
        let target = format!("media/{number}-{name}");
        let failed = writer.persist(FilePath::new(&target), true).await;
        assert!(matches!(failed, Err(StoreError::Io { .. })), "{failed:?}");
        assert_eq!(content(&store, &upload.id).await, b"bytes");
    }
    let long = writer.persist(FilePath::new(&"n".repeat(1900)), true).await;
    assert!(
        matches!(&long, Err(StoreError::Config { problem }) if problem.contains("too long")),
        "{long:?}"
    );
    writer.persist(FilePath::new("media/end"), true).await.unwrap();
    assert_eq!(double.media().await, ["media/end"]);
}

#[tokio::test]
async fn a_large_file_is_persisted_in_parts_to_another_store() {
    let (objects, targets) = (Arc::new(InMemory::new()), Arc::new(InMemory::new()));
    let other: Arc<dyn ObjectStore> = Arc::clone(&targets) as _;
    let settings = BucketStore::builder(objects).segment_bytes(1 << 20).persist_to(other);
    let store = settings.connect().await.unwrap();
    let bytes: Vec<u8> = (0..13_000_001_u32).map(|n| (n % 251) as u8).collect();
    let mut upload = Upload::new(UploadId::random(), SystemTime::now());
    let mut writer = store.create(upload.clone()).await.unwrap();
    upload.progress.offset = bytes.len() as u64;
    writer.commit(Commit::new(bytes.clone(), upload.clone())).await.unwrap();
    targets.put(&Path::from("taken"), "mine".into()).await.unwrap();
    let taken = writer.persist(FilePath::new("taken"), false).await;
    assert!(matches!(taken, Err(StoreError::AlreadyExists { .. })), "{taken:?}");
    writer.persist(FilePath::new("a/b.bin"), false).await.unwrap();
    writer.persist(FilePath::new("a/b.bin"), false).await.unwrap();
    let there = targets.get(&Path::from("a/b.bin")).await.unwrap().bytes().await.unwrap();
    assert!(there == bytes);
    assert!(content(&store, &upload.id).await == bytes);
}

#[tokio::test(start_paused = true)]
async fn a_large_file_that_did_not_arrive_is_persisted_by_the_next_try() {
    for overwrite in [false, true] {
        for fate in [Fate::Refused, Fate::Lost] {
            for target in ["media/a", "media/b"] {
                let double = Double::default();
                let node = || builder(&double).segment_bytes(1 << 20).unchecked().unwrap();
                let store = node();
                let upload = born(&store, Vec::leak(vec![7; 6 << 20])).await;
                let mut writer = store.writer(&upload.id).await.unwrap();
                double.plan(Call::Complete, "media/", &[fate]);
                let failed = writer.persist(FilePath::new("media/a"), overwrite).await;
                assert!(matches!(failed, Err(StoreError::Io { .. })), "{failed:?}");
                drop(writer);
                let mut writer = node().writer(&upload.id).await.unwrap();
                writer.persist(FilePath::new(target), overwrite).await.unwrap();
                assert_eq!(double.media().await, [target]);
                let there = double.objects.get(&Path::from(target)).await.unwrap();
                assert!(there.bytes().await.unwrap() == vec![7; 6 << 20]);
            }
        }
    }
}

#[tokio::test]
async fn a_damaged_upload_is_refused_and_can_be_removed() {
    for part in ["/rec/", "/log/"] {
        let double = Double::default();
        let store = node(&double);
        let upload = born(&store, b"bytes").await;
        let keys = double.keys().await;
        let key = keys.iter().find(|key| key.contains(part)).unwrap();
        double.objects.put(&Path::from(key.as_str()), "rubbish".into()).await.unwrap();
        let fresh = node(&double);
        let refused = fresh.load(&upload.id).await;
        assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
        assert!(fresh.list(None).await.unwrap().uploads[0].is_err());
        assert!(fresh.remove_damaged(&upload.id).await.unwrap());
        assert!(matches!(
            fresh.load(&upload.id).await,
            Err(StoreError::NotFound | StoreError::Removed { .. })
        ));
        assert!(fresh.list(None).await.unwrap().uploads.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_upload_is_swept_when_its_time_has_come() {
    for (damages, known) in
        [(&["/rec/"][..], false), (&["/log/"], true), (&["/rec/", "/log/"], false)]
    {
        let double = Double::default();
        let (_, uploads, ahead) = timed(&double);
        let mut append = uploads.for_owner(None).create(NewUpload::new()).await.unwrap();
        append.write(&b"bytes"[..]).await.unwrap();
        let id = append.commit().await.unwrap().id;
        for part in damages {
            let keys = double.keys().await;
            let key = keys.iter().find(|key| key.contains(part)).unwrap();
            double.objects.put(&Path::from(key.as_str()), "rubbish".into()).await.unwrap();
        }
        // Another node, which has not seen it whole.
        let (_, uploads) = set_ahead(&double, &ahead);
        ahead.store(23 * 3600, Ordering::Relaxed);
        assert_eq!(uploads.delete_expired().await.unwrap().damaged, 0, "{damages:?}");
        let refused = uploads.for_operator().status(&id).await.unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::Damaged, "{damages:?}");
        // Where nothing can be read, by the clock of the bucket.
        let late = if damages.len() == 2 { 100 * 365 * 24 } else { 25 };
        ahead.store(late * 3600, Ordering::Relaxed);
        let swept = uploads.delete_expired().await.unwrap();
        assert_eq!((swept.damaged, swept.skipped), (1, 0), "{damages:?}");
        let gone = uploads.for_operator().status(&id).await.unwrap_err();
        let why = if known { ErrorKind::Expired } else { ErrorKind::NotFound };
        assert_eq!(*gone.kind(), why, "{damages:?}");
        ahead.store((late + 14) * 3600, Ordering::Relaxed);
        uploads.delete_expired().await.unwrap();
        assert_eq!(double.keys().await, <[String; 0]>::default(), "{damages:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_upload_that_was_prolonged_is_swept_after_that() {
    let double = Double::default();
    let (_, uploads, ahead) = timed(&double);
    let id =
        uploads.for_owner(None).create(NewUpload::new()).await.unwrap().commit().await.unwrap().id;
    let year = Duration::from_secs(365 * 24 * 3600);
    uploads.for_operator().set_expires(&id, start() + year).await.unwrap();
    let keys = double.keys().await;
    let key = keys.iter().find(|key| key.contains("/rec/")).unwrap();
    double.objects.put(&Path::from(key.as_str()), "rubbish".into()).await.unwrap();
    let (_, uploads) = set_ahead(&double, &ahead);
    for (days, swept) in [(30, 0), (366, 1)] {
        ahead.store(days * 24 * 3600, Ordering::Relaxed);
        assert_eq!(uploads.delete_expired().await.unwrap().damaged, swept, "{days}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_application_discards_is_gone_and_its_file_stays() {
    for persists in [false, true] {
        let double = Double::default();
        let (store, uploads, ahead) = timed(&double);
        let mut append = uploads.for_owner(None).create(NewUpload::new()).await.unwrap();
        append.write(&b"bytes"[..]).await.unwrap();
        let id = append.commit().await.unwrap().id;
        let completion = uploads.for_operator().complete(&id, None).await.unwrap();
        if persists {
            completion.file().persist("media/a").await.unwrap();
        }
        completion.file().discard().await.unwrap();
        drop(completion);
        let fresh = Uploads::builder(node(&double)).build().unwrap();
        for uploads in [&uploads, &fresh] {
            let gone = uploads.for_operator().complete(&id, None).await.map(drop).unwrap_err();
            assert_eq!(*gone.kind(), ErrorKind::NotFound);
        }
        // What it was indexed under is deleted in the background.
        store.settle().await;
        ahead.store(14 * 3600, Ordering::Relaxed);
        uploads.delete_expired().await.unwrap();
        let left = double.keys().await;
        assert_eq!(left, if persists { vec!["media/a".to_owned()] } else { Vec::new() });
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_without_its_bytes_can_be_removed_and_leaves_nothing() {
    for part in ["/piece/", "/log/", "media/"] {
        for shorter in [false, true] {
            let double = Double::default();
            let (store, uploads, ahead) = timed(&double);
            let upload = born(&store, Vec::leak(vec![7; 250])).await;
            grow(&store, &upload.id, b"more").await.unwrap();
            if part == "media/" {
                let mut writer = store.writer(&upload.id).await.unwrap();
                writer.persist(FilePath::new("media/a"), true).await.unwrap();
            }
            assert!(!store.remove_damaged(&upload.id).await.unwrap());
            let keys = double.keys().await;
            // Of the commits not the last one, which says what there is.
            let key = keys.iter().rev().find(|key| key.contains(part)).unwrap();
            let key = Path::from(key.as_str());
            let kept = double.objects.get(&key).await.unwrap();
            let attributes = kept.attributes.clone();
            double.objects.delete(&key).await.unwrap();
            if shorter {
                let bytes = kept.bytes().await.unwrap();
                double.put_with(&key, bytes.slice(..bytes.len() / 2), attributes).await;
            }
            // A crash in its middle leaves an upload that is found.
            double.plan(Call::Put, "/log/", &[Fate::Refused; 4]);
            assert!(store.remove_damaged(&upload.id).await.is_err(), "{part}");
            assert!(double.keys().await.iter().any(|key| key.contains("/due/")));
            assert!(store.remove_damaged(&upload.id).await.unwrap(), "{part} {shorter}");
            ahead.store(14 * 3600, Ordering::Relaxed);
            uploads.delete_expired().await.unwrap();
            let left = double.keys().await;
            assert!(left.iter().all(|key| key == "media/a"), "{left:?}");
        }
    }
}

#[tokio::test]
async fn missing_bytes_are_an_error_and_no_shorter_file() {
    let double = Double::default();
    let store = node(&double);
    let upload = born(&store, b"one").await;
    grow(&store, &upload.id, b"two").await.unwrap();
    grow(&store, &upload.id, Vec::leak(vec![1; 250])).await.unwrap();
    let mut needed = 0;
    for key in double.keys().await {
        if !(key.contains("/log/") || key.contains("/piece/")) {
            continue;
        }
        let path = Path::from(key.as_str());
        let kept = double.objects.get(&path).await.unwrap();
        let attributes = kept.attributes.clone();
        let bytes = kept.bytes().await.unwrap();
        double.objects.delete(&path).await.unwrap();
        let read = async {
            let mut reader = store.open(&upload.id).await.map_err(std::io::Error::other)?;
            reader.read_to_end(&mut Vec::new()).await
        };
        // Without its last commit an upload is shorter, and that is a record of the store's truth.
        if !key.ends_with("fffffffc") {
            assert!(read.await.is_err(), "{key}");
            needed += 1;
        }
        double.put_with(&path, bytes, attributes).await;
    }
    assert_eq!(needed, 5);
}

#[tokio::test]
async fn a_store_that_ignores_the_condition_is_refused() {
    let careless = Double::default();
    careless.ignore_conditions();
    let refused = builder(&careless).connect().await.unwrap_err();
    assert!(
        refused.to_string().contains("the object store does not keep to create-only"),
        "{refused}"
    );
    let double = Double::default();
    let refused =
        builder(&double).persist_to(Arc::new(careless.clone())).connect().await.unwrap_err();
    assert!(
        refused.to_string().contains("to persist to does not keep to create-only"),
        "{refused}"
    );
    for double in [double, careless] {
        assert_eq!(double.keys().await, [""; 0]);
    }
}

#[tokio::test]
async fn a_store_that_hides_what_is_missing_is_refused() {
    let double = Double::default();
    double.plan(Call::Head, "/missing", &[Fate::Refused]);
    let refused = builder(&double).connect().await.unwrap_err();
    assert!(refused.to_string().contains("s3:ListBucket"), "{refused}");
    assert_eq!(double.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_probe_tries_what_a_commit_needs_and_leaves_nothing() {
    let (double, targets) = (Double::default(), Double::default());
    let settings = builder(&double).persist_to(Arc::new(targets.clone()));
    let store = settings.unchecked().unwrap();
    store.probe().await.unwrap();
    let once = [(Call::Put, 2), (Call::Get, 1), (Call::Head, 2), (Call::List, 1)];
    for double in [&double, &targets] {
        let counts = double.counts();
        assert_eq!(counts.iter().filter(|(call, _)| *call != Call::Delete).count(), once.len());
        assert!(once.iter().all(|call| counts.contains(call)), "{counts:?}");
    }
    let failures = [
        (Call::Put, Fate::Refused, "does not let this node write"),
        (Call::Head, Fate::Refused, "does not let this node read"),
        (Call::Head, Fate::Bare, "does not keep metadata"),
        (Call::Get, Fate::Refused, "does not let this node read"),
    ];
    for (call, fate, step) in failures {
        for (double, what) in [(&double, "store"), (&targets, "store to persist to")] {
            double.plan(call, "/check/", &[fate]);
            let error = store.probe().await.unwrap_err().to_string();
            assert!(error.starts_with(&format!("the object {what} {step}: ")), "{error}");
        }
    }
    double.plan(Call::Put, "/check/", &[Fate::Repeated]);
    store.probe().await.unwrap();
    // It says so, and has written nothing.
    double.plan(Call::Put, "/check/", &[Fate::Contended]);
    store.probe().await.unwrap_err();
    targets.ignore_conditions();
    let error = store.probe().await.unwrap_err().to_string();
    assert!(error.contains("to persist to does not keep to create-only"), "{error}");
    for double in [double, targets] {
        assert!(double.is_done());
        assert_eq!(double.keys().await, [""; 0]);
    }
}

#[tokio::test]
async fn what_a_probe_left_is_deleted_after_the_grace_and_nothing_else() {
    let double = Double::default();
    let (ahead, grace) = (Arc::new(AtomicU64::new(0)), Duration::from_secs(3600));
    let clock = {
        let ahead = Arc::clone(&ahead);
        // The double writes down when an object was written, by the clock of the machine.
        move || SystemTime::now() + Duration::from_secs(ahead.load(Ordering::Relaxed))
    };
    let store = builder(&double).clock(clock).grace(grace).unchecked().unwrap();
    let upload = born(&store, b"abc").await;
    // Of the application, where files are persisted to.
    let theirs = keys().probes("2026").join("once");
    double.put_with(&theirs, "", object_store::Attributes::new()).await;
    let before = double.keys().await;
    let left = keys().probes(&"f".repeat(32)).join("once");
    double.put_with(&left, "", object_store::Attributes::new()).await;
    for (seconds, is_left) in [(0, true), (3500, true), (3601, false)] {
        ahead.store(seconds, Ordering::Relaxed);
        store.probe().await.unwrap();
        assert_eq!(double.keys().await.contains(&left.to_string()), is_left, "{seconds}");
    }
    assert_eq!(double.keys().await, before);
    assert_eq!(content(&store, &upload.id).await, b"abc");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_nobody_waits_for_any_more_leaves_nothing() {
    let double = Double::default();
    let store = node(&double);
    double.plan(Call::Put, "/check/", &[Fate::Slow(Duration::from_secs(2))]);
    assert!(tokio::time::timeout(Duration::from_secs(1), store.probe()).await.is_err());
    store.settle().await;
    assert!(double.is_done());
    assert!(double.counts().contains(&(Call::Put, 2)), "it has ended");
    assert_eq!(double.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_setting_that_cannot_work_is_refused() {
    let settings = |double: &Double| BucketStore::builder(Arc::new(double.clone()));
    let double = Double::default();
    for settings in [
        settings(&double).segment_bytes(0),
        settings(&double).segment_bytes(1000).max_buffered_bytes(999),
        settings(&double).prefix("a//b"),
        settings(&double).grace(Duration::ZERO),
        settings(&double).completion_lease(Duration::MAX),
    ] {
        assert!(matches!(settings.connect().await, Err(StoreError::Config { .. })));
    }
    assert_eq!(double.keys().await, [""; 0]);
}

#[tokio::test]
async fn the_check_leaves_only_what_all_nodes_must_have_alike() {
    let (double, targets) = (Double::default(), Double::default());
    for _ in 0..2 {
        builder(&double).persist_to(Arc::new(targets.clone())).connect().await.unwrap();
    }
    assert_eq!(double.keys().await, ["chunked_uploads/settings"]);
    assert_eq!(targets.keys().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_set_otherwise_than_the_others_is_refused() {
    let double = Double::default();
    let minute = Duration::from_secs(60);
    builder(&double).grace(minute).connect().await.unwrap();
    builder(&double).grace(minute).segment_bytes(7).remembered_uploads(0).connect().await.unwrap();
    for other in [builder(&double), builder(&double).grace(minute).completion_lease(minute)] {
        let refused = other.connect().await.unwrap_err();
        assert!(matches!(refused, StoreError::Config { .. }), "{refused:?}");
        assert!(refused.to_string().contains("chunked_uploads/settings"), "{refused}");
    }
    double.objects.delete(&Path::from("chunked_uploads/settings")).await.unwrap();
    builder(&double).connect().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_first_nodes_that_both_come_too_late_agree() {
    let double = Double::default();
    // 409: there is one, and then there is none.
    double.plan(Call::Put, "/settings", &[Fate::Contended, Fate::Contended]);
    builder(&double).connect().await.unwrap();
    assert!(double.is_done());
    assert_eq!(double.keys().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_remembers_as_many_uploads_as_it_is_told() {
    for (limit, known) in [(0, 0), (2, 2), (4096, 3), (usize::MAX, 3)] {
        let double = Double::default();
        let store = builder(&double).remembered_uploads(limit).unchecked().unwrap();
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(born(&store, b"first").await.id);
        }
        for _ in 0..100 {
            // What is forgotten makes room.
            let writer = store.writer(&born(&store, b"gone").await.id).await.unwrap();
            writer.remove().await.unwrap();
            for id in &ids[ids.len() - known..] {
                drop(store.load(id).await);
            }
        }
        store.settle().await;
        double.counts();
        for id in ids.iter().rev() {
            store.load(id).await.unwrap();
        }
        let lists =
            double.counts().iter().find(|(call, _)| *call == Call::List).map_or(0, |at| at.1);
        assert_eq!(lists, 3 - known, "{limit}");
    }
}

/// An upload of which the first commit does not know how long its parts are.
async fn joined(store: &BucketStore, parts: &[&Upload]) -> Upload {
    let mut upload = Upload::new(UploadId::random(), SystemTime::now());
    let list = |sized: bool| {
        let sized = |it: &&Upload| Part::new(it.id, sized.then(|| it.offset()));
        Kind::Joined(parts.iter().map(sized).collect())
    };
    upload.kind = list(false);
    let mut writer = store.create(upload.clone()).await.unwrap();
    writer.commit(Commit::new(Bytes::new(), upload.clone())).await.unwrap();
    upload.kind = list(true);
    upload.progress.offset = parts.iter().map(|part| part.offset()).sum();
    upload.progress.total = Some(upload.offset());
    writer.commit(Commit::new(Bytes::new(), upload.clone())).await.unwrap();
    upload
}

#[tokio::test(start_paused = true)]
async fn what_is_in_the_log_of_a_joined_upload_is_trimmed_and_its_parts_stay() {
    let double = Double::default();
    let (store, uploads, ahead) = timed(&double);
    let large: &'static [u8] = Vec::leak(vec![7; 1000]);
    let (one, two) = (born(&store, b"first").await, born(&store, large).await);
    let upload = joined(&store, &[&one, &two, &one]).await;
    let bytes = [b"first", large, b"first"].concat();
    assert_eq!(content(&node(&double), &upload.id).await, bytes);
    let given = uploads.for_operator().complete(&upload.id, None).await.unwrap();
    given.file().persist("media/file").await.unwrap();
    given.finish().await.unwrap();
    ahead.store(2 * 3600, Ordering::Relaxed);
    uploads.delete_expired().await.unwrap();
    let log = keys().log(&upload.id);
    let left = double.keys().await.iter().filter(|key| key.starts_with(log.as_ref())).count();
    // The commit with the list of the parts, and the last one.
    assert_eq!(left, 2, "{:?}", double.keys().await);
    for store in [store, node(&double)] {
        assert_eq!(content(&store, &upload.id).await, bytes);
        assert_eq!(store.load(&upload.id).await.unwrap().parts().len(), 3);
        assert!(!store.remove_damaged(&upload.id).await.unwrap());
        assert_eq!(content(&store, &one.id).await, b"first");
        assert_eq!(content(&store, &two.id).await, large);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_commit_of_a_joined_upload_is_no_loss() {
    let double = Double::default();
    let store = node(&double);
    let part = born(&store, b"first").await;
    for fates in [&[Fate::Lost][..], &[Fate::Refused, Fate::Lost], &[Fate::Contended]] {
        double.plan(Call::Put, "/log/", fates);
        let upload = joined(&store, &[&part, &part]).await;
        assert!(double.is_done());
        assert_eq!(content(&node(&double), &upload.id).await, b"firstfirst");
        assert_eq!(node(&double).load(&upload.id).await.unwrap(), upload);
        assert!(!node(&double).remove_damaged(&upload.id).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_joined_upload_whose_part_is_gone_is_not_persisted() {
    let double = Double::default();
    let store = node(&double);
    let (part, other) = (born(&store, b"first").await, born(&store, b"other").await);
    let upload = joined(&store, &[&part, &other]).await;
    store.writer(&other.id).await.unwrap().remove().await.unwrap();
    let mut writer = store.writer(&upload.id).await.unwrap();
    writer.persist(FilePath::new("media/file"), true).await.unwrap_err();
    assert!(!double.keys().await.iter().any(|key| key.contains("media")));
    let mut reader = store.open(&upload.id).await.unwrap();
    reader.read_to_end(&mut Vec::new()).await.unwrap_err();
}

fn keyed(name: &str) -> Upload {
    let mut upload = Upload::new(UploadId::random(), SystemTime::now());
    upload.creation = Some(Creation::new(5));
    upload.raw_filename = name.to_owned();
    upload
}

async fn created(store: &BucketStore, upload: &Upload, bytes: &[u8]) -> Result<(), StoreError> {
    let mut writer = store.create(upload.clone()).await?;
    let mut upload = upload.clone();
    upload.progress.offset = bytes.len() as u64;
    writer.commit(Commit::new(Bytes::copy_from_slice(bytes), upload)).await
}

/// A node has died between the record and the first commit, or another has written its record and
/// was slower.
#[tokio::test(start_paused = true)]
async fn a_first_commit_counts_with_its_own_record_whosever_record_is_there() {
    for bytes in [&b""[..], b"later", &[7; 1000]] {
        let double = Double::default();
        let (before, later) = (keyed("before"), keyed("later"));
        let later = Upload { id: before.id, ..later };
        double.plan(Call::Put, "/log/", &[Fate::Refused; 4]);
        created(&node(&double), &before, b"before").await.unwrap_err();
        assert!(matches!(node(&double).load(&before.id).await, Err(StoreError::NotFound)));
        created(&node(&double), &later, bytes).await.unwrap();
        let refused = created(&node(&double), &before, b"before").await;
        assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
        let store = node(&double);
        for more in [0, 4] {
            assert_eq!(store.load(&later.id).await.unwrap().raw_filename, "later");
            assert_eq!(content(&store, &later.id).await, [bytes, &b"more"[..more]].concat());
            let listed = store.list(None).await.unwrap().uploads;
            assert_eq!(listed[0].as_ref().unwrap().raw_filename, "later");
            if more == 0 {
                grow(&node(&double), &later.id, b"more").await.unwrap();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_first_commit_with_a_key_is_no_loss() {
    for (key, fates) in [
        ("/log/", &[Fate::Lost][..]),
        ("/rec/", &[Fate::Lost]),
        ("/rec/", &[Fate::Refused, Fate::Lost]),
        ("/rec/", &[Fate::Contended, Fate::Refused]),
        ("/log/", &[Fate::Contended, Fate::Refused]),
    ] {
        let double = Double::default();
        double.plan(Call::Put, key, fates);
        let upload = keyed("first");
        created(&node(&double), &upload, b"first").await.unwrap();
        assert!(double.is_done());
        assert_eq!(content(&node(&double), &upload.id).await, b"first");
        assert_eq!(double.keys().await.len(), 3);
    }
}

/// Whatever has the id is deleted until the tombstone is.
#[tokio::test(start_paused = true)]
async fn what_is_being_collected_is_created_again_when_it_is_gone() {
    for bytes in [&b"again"[..], &[7; 1000]] {
        let double = Double::default();
        let (store, _, ahead) = timed(&double);
        let upload = keyed("before");
        created(&store, &upload, b"before").await.unwrap();
        store.writer(&upload.id).await.unwrap().remove().await.unwrap();
        let refused = created(&store, &upload, bytes).await;
        assert!(matches!(refused, Err(StoreError::Removed { .. })), "{refused:?}");
        ahead.store(2 * 24 * 3600, Ordering::Relaxed);
        // Only the tombstone is left.
        double.plan(Call::Delete, "/fffffffd", &[Fate::Refused]);
        store.discard(&upload.id).await.unwrap_err();
        let refused = created(&store, &upload, bytes).await;
        assert!(matches!(refused, Err(StoreError::Busy)), "{refused:?}");
        assert!(double.keys().await.iter().all(|key| !key.contains("/piece/")));
        store.discard(&upload.id).await.unwrap();
        created(&store, &upload, bytes).await.unwrap();
        store.discard(&upload.id).await.unwrap();
        assert_eq!(content(&store, &upload.id).await, bytes);
    }
}
