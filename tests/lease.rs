//! Everything that can be done to an upload, one after the other under one claim.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::future::{poll_fn, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use support::*;
use tower_chunked_upload::store::{Commit, FsStore, MemoryStore, Store as _, Writer as _};
use tower_chunked_upload::{
    AppendMode, Completion, Digest, Error, ErrorKind, IdempotencyKey, NewUpload, Owner,
    OwnerUploads, Status, Upload, UploadId, Uploads, UploadsBuilder,
};

fn alices(builder: UploadsBuilder) -> OwnerUploads {
    builder.build().unwrap().for_owner(Owner::new("alice"))
}

async fn begin(uploads: &OwnerUploads, bytes: &[u8]) -> UploadId {
    let mut append = uploads.create(NewUpload::new()).await.unwrap();
    append.write(bytes).await.unwrap();
    append.commit().await.unwrap().id
}

fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    result.map(drop).unwrap_err().kind().clone()
}

#[test]
fn nothing_comes_between_the_steps_of_a_lease() {
    on_both_stores(|_, builder| async move {
        let uploads = alices(builder);
        let id = begin(&uploads, b"one").await;
        let expires = SystemTime::now() + Duration::from_secs(1000);

        let lease = uploads.acquire(&id).await.unwrap();
        assert_eq!(lease.upload().offset(), 3);
        let lease = lease.set_expires(expires).await.unwrap();
        let mut append = lease.append(AppendMode::AllOrNothing);
        append.write(&b"two"[..]).await.unwrap();
        let lease = append.commit_and_keep().await.unwrap();
        assert_eq!(lease.upload().offset(), 6);
        let mut append = lease.append(AppendMode::KeepWhatCame);
        append.write(&b"three"[..]).await.unwrap();
        let lease = append.commit_and_keep().await.unwrap();
        assert_eq!(lease.upload().offset(), 11);

        // Somebody else is only let in when a lease has ended.
        let completion = lease.complete(None).await.unwrap();
        assert_eq!(kind(uploads.acquire(&id).await), ErrorKind::Finishing);
        assert_eq!(completion.file().size(), 11);
        completion.reopen().await.unwrap();
        let status = uploads.status(&id).await.unwrap();
        assert_eq!((status.offset(), status.status()), (11, Status::Open));
        assert!(status.expires().unwrap() <= expires && status.expires() > Some(SystemTime::now()));

        let removed = uploads.acquire(&id).await.unwrap().cancel().await.unwrap();
        assert_eq!(removed.offset(), 11);
        assert_eq!(kind(uploads.status(&id).await), ErrorKind::NotFound);
    });
}

#[test]
fn a_lease_that_is_dropped_changes_nothing() {
    on_both_stores(|_, builder| async move {
        let uploads = alices(builder);
        let id = begin(&uploads, b"one").await;
        drop(uploads.acquire(&id).await.unwrap());
        let mut append = uploads.acquire(&id).await.unwrap().append(AppendMode::AllOrNothing);
        append.write(&b"lost"[..]).await.unwrap();
        drop(append);
        assert_eq!(uploads.acquire(&id).await.unwrap().upload().offset(), 3);
    });
}

#[test]
fn a_newer_request_takes_the_lease_over() {
    on_both_stores(|_, builder| async move {
        let uploads = alices(builder);
        let id = begin(&uploads, b"one").await;
        let old = uploads.acquire(&id).await.unwrap();
        let mut old = old.append(AppendMode::AllOrNothing);
        let (new, reason) = tokio::join!(uploads.acquire(&id), async {
            let reason = old.stopped().await;
            assert_eq!(kind(old.write(&b"late"[..]).await), ErrorKind::Superseded);
            drop(old);
            reason
        });
        assert_eq!(reason, ErrorKind::Superseded);
        assert_eq!(new.unwrap().upload().offset(), 3);
    });
}

#[test]
fn what_a_check_refuses_stops_nobody() {
    on_both_stores(|_, builder| async move {
        let uploads = alices(builder);
        let id = begin(&uploads, b"one").await;
        let mut append = uploads.append(&id, 3, AppendMode::AllOrNothing).await.unwrap();
        append.write(&b"two"[..]).await.unwrap();
        let refuse = |_: Upload| ready(Err::<(), Error>(ErrorKind::ChecksumMismatch.into()));
        assert_eq!(kind(uploads.acquire_if(&id, refuse).await), ErrorKind::ChecksumMismatch);
        assert_eq!(append.commit().await.unwrap().offset(), 6);
        // An idle one is given back at once.
        assert_eq!(kind(uploads.acquire_if(&id, refuse).await), ErrorKind::ChecksumMismatch);
        drop(uploads.acquire(&id).await.unwrap());
    });
}

#[test]
fn a_lease_begins_with_the_record_that_its_check_has_seen() {
    on_both_stores(|_, builder| async move {
        let uploads = alices(builder);
        let id = begin(&uploads, b"one").await;
        let (checks, other) = (AtomicUsize::new(0), uploads.clone());
        let (lease, seen) = uploads
            .acquire_if(&id, |upload| {
                let (first, other) = (checks.fetch_add(1, Ordering::SeqCst) == 0, other.clone());
                async move {
                    // The first check takes its time, and finds the upload free meanwhile.
                    if first {
                        tokio::task::yield_now().await;
                        let mut append =
                            other.append(&upload.id, 3, AppendMode::AllOrNothing).await?;
                        append.write(&b"two"[..]).await?;
                        append.commit().await?;
                    }
                    Ok::<_, Error>(upload.offset())
                }
            })
            .await
            .unwrap();
        assert_eq!((lease.upload().offset(), seen), (6, 6));
        assert_eq!(checks.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn what_was_staged_joins_an_upload_and_is_none_itself() {
    on_both_stores(|_, builder| async move {
        let uploads = alices(builder.max_uploads_per_owner(1).max_bytes(1_000_000));
        let (one, two) = (noise(300_000), noise(600_001));
        let id = begin(&uploads, &one).await;
        let mut staged = uploads.stage().await.unwrap();
        staged.write(&two[..]).await.unwrap();
        let mut append = uploads.append(&id, 300_000, AppendMode::AllOrNothing).await.unwrap();
        append.take_from(staged).await.unwrap();
        assert_eq!(append.commit().await.unwrap().offset(), 900_001);
        let completion = uploads.complete(&id, None).await.unwrap();
        let want = md5(&[&one[..], &two[..]].concat());
        assert_eq!(completion.file().digest().unwrap().to_hex(), want);
        let mut listing = uploads.list(tower_chunked_upload::Filter::all());
        assert_eq!(listing.next().await.unwrap().unwrap().id, id);
        assert!(listing.next().await.is_none());
    });
}

#[test]
fn an_append_may_have_a_limit_of_its_own() {
    on_both_stores(|_, builder| async move {
        let uploads = alices(builder.max_bytes(4));
        let new = NewUpload::new().total(6).limit(6);
        let mut append = uploads.create(new).await.unwrap();
        append.write(&b"sixsix"[..]).await.unwrap();
        let id = append.commit().await.unwrap().id;
        let mut append = uploads.append(&id, 6, AppendMode::AllOrNothing).await.unwrap();
        append.set_limit(5);
        assert_eq!(kind(append.write(&b"!"[..]).await), ErrorKind::TooLarge { limit: 5 });
        let other = begin(&uploads, b"abcd").await;
        let mut append = uploads.append(&other, 4, AppendMode::AllOrNothing).await.unwrap();
        append.set_limit(None);
        append.write(&b"more"[..]).await.unwrap();
        assert_eq!(append.commit().await.unwrap().offset(), 8);
    });
}

/// Neither handle is the other, and the owner's knows nothing of another's.
#[tokio::test]
async fn an_owner_sees_its_own_uploads_and_the_operator_all() {
    let uploads = in_memory();
    let (ann, bob) = (uploads.for_owner(Owner::new("ann")), uploads.for_owner(Owner::new("bob")));
    let id = begin(&ann, b"abc").await;
    assert_eq!(kind(bob.acquire(&id).await), ErrorKind::NotFound);
    assert_eq!(kind(bob.status(&id).await), ErrorKind::NotFound);
    assert_eq!(kind(uploads.for_owner(None).cancel(&id).await), ErrorKind::NotFound);
    assert_eq!(ann.acquire(&id).await.unwrap().upload().id, id);
    assert_eq!(uploads.for_operator().acquire(&id).await.unwrap().upload().id, id);
}

#[test]
fn a_check_that_changes_the_upload_itself_comes_to_an_end() {
    on_both_stores(|_, builder| async move {
        let uploads = alices(builder);
        let id = begin(&uploads, b"one").await;
        let checks = AtomicUsize::new(0);
        let checked = |grows: bool| {
            let (uploads, checks) = (&uploads, &checks);
            move |upload: Upload| async move {
                checks.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                if grows {
                    let at = upload.offset();
                    let mut append =
                        uploads.append(&upload.id, at, AppendMode::AllOrNothing).await?;
                    append.write(&b"!"[..]).await?;
                    append.commit().await?;
                } else {
                    let later = SystemTime::now() + Duration::from_secs(1000);
                    uploads.set_expires(&upload.id, later).await?;
                }
                Ok::<_, Error>(())
            }
        };
        drop(uploads.acquire_if(&id, checked(false)).await.unwrap());
        assert_eq!(checks.swap(0, Ordering::SeqCst), 1, "another expiry is no reason to ask again");
        assert_eq!(kind(uploads.acquire_if(&id, checked(true)).await), ErrorKind::Busy);
        assert!(checks.load(Ordering::SeqCst) < 100);
    });
}

/// What the check has seen is no longer there, and the next upload has its id.
#[tokio::test]
async fn the_next_upload_of_a_key_is_checked_itself() {
    let clock = Clock::new();
    let uploads = Uploads::builder(MemoryStore::new()).clock(clock.read()).build().unwrap();
    let uploads = uploads.for_owner(None);
    let create = async |name: &str| {
        let key = IdempotencyKey::new("8e03978e-40d5-43e8-bc93-6894a57f9324").unwrap();
        let new = NewUpload::new().filename(name).idempotency_key(key);
        uploads.create(new).await.unwrap().commit().await.unwrap().id
    };
    let id = create("a").await;
    let check = async |upload: Upload| {
        // The upload is given back meanwhile.
        tokio::task::yield_now().await;
        if upload.raw_filename == "a" {
            uploads.cancel(&id).await?;
            clock.advance(Duration::from_millis(1));
            assert_eq!(create("b").await, id);
        }
        Ok::<_, Error>(upload.raw_filename)
    };
    let (lease, seen) = uploads.acquire_if(&id, check).await.unwrap();
    assert_eq!((&*lease.upload().raw_filename, &*seen), ("b", "b"));
}

#[test]
fn an_upload_that_expires_during_its_check_is_refused() {
    on_both_stores(|_, builder| async move {
        let uploads = alices(builder);
        let id = begin(&uploads, b"one").await;
        let expire = |upload: Upload| {
            let uploads = uploads.clone();
            async move {
                tokio::task::yield_now().await;
                uploads.set_expires(&upload.id, SystemTime::UNIX_EPOCH).await.map(drop)
            }
        };
        assert_eq!(kind(uploads.acquire_if(&id, expire).await), ErrorKind::Expired);
    });
}

#[test]
fn bytes_that_are_not_whole_or_not_staged_join_nothing() {
    on_both_stores(|_, builder| async move {
        let uploads = alices(builder.batch_bytes(64 << 10));
        let (id, other) = (begin(&uploads, b"").await, begin(&uploads, b"").await);
        let mut target = uploads.append(&id, 0, AppendMode::AllOrNothing).await.unwrap();

        let mut half = uploads.stage().await.unwrap();
        let content = noise(4 << 20);
        // The store may be quicker than this task.
        while let Some(written) = poll_times(half.write(&content[..]), 1).await {
            written.unwrap();
        }
        assert_eq!(kind(target.take_from(half).await), ErrorKind::Store);

        let mut kept = uploads.append(&other, 0, AppendMode::KeepWhatCame).await.unwrap();
        kept.write(&b"other"[..]).await.unwrap();
        assert_eq!(kind(target.take_from(kept).await), ErrorKind::Store);
        drop(target);

        let mut staged = uploads.stage().await.unwrap();
        staged.write(&b"staged"[..]).await.unwrap();
        assert_eq!(kind(staged.commit().await), ErrorKind::NotFound);
        assert_eq!(uploads.status(&id).await.unwrap().offset(), 0);
    });
}

#[test]
fn a_lease_is_told_of_a_newer_request() {
    on_both_stores(|_, builder| async move {
        let uploads = alices(builder);
        let id = begin(&uploads, b"one").await;
        let lease = uploads.acquire(&id).await.unwrap();
        let (new, reason) = tokio::join!(uploads.acquire(&id), async {
            let reason = lease.stopped().await;
            drop(lease);
            reason
        });
        assert_eq!(reason, ErrorKind::Superseded);
        drop(new.unwrap());
    });
}

/// Two processes that share a folder: the first remembers an upload of three bytes, and the second
/// is about to change it.
async fn two_processes(
    build: impl Fn(UploadsBuilder) -> UploadsBuilder,
) -> (tempfile::TempDir, OwnerUploads, OwnerUploads, UploadId) {
    let (home, store) = folder();
    let other = FsStore::new(home.path().join("up/%Y/%m/%d"));
    let [one, two] = [store, other].map(|store| alices(build(Uploads::builder(store))));
    let id = begin(&one, b"one").await;
    (home, one, two, id)
}

/// What a process remembers is not what the upload is.
#[test]
fn a_check_that_takes_long_refuses_nobody_for_what_is_only_remembered() {
    run(async {
        let (_home, one, two, id) = two_processes(|it| it).await;
        let mut append = two.append(&id, 3, AppendMode::AllOrNothing).await.unwrap();
        append.write(&b"two"[..]).await.unwrap();
        append.commit().await.unwrap();
        let check = |upload: Upload| async move {
            tokio::task::yield_now().await;
            if upload.offset() == 6 { Ok(()) } else { Err(Error::from(ErrorKind::Busy)) }
        };
        let (lease, ()) = one.acquire_if(&id, check).await.unwrap();
        assert_eq!(lease.upload().offset(), 6);
    });
}

#[test]
fn an_upload_without_a_total_is_completed_with_what_another_process_has_added() {
    run(async {
        for digest in [None, Some(b"onetwo"), Some(b"wrong!")] {
            let (_home, one, two, id) = two_processes(|it| it).await;
            let mut append = two.append(&id, 3, AppendMode::AllOrNothing).await.unwrap();
            append.write(&b"two"[..]).await.unwrap();
            append.commit().await.unwrap();
            let want = digest.map(|bytes| Digest::md5(&md5(bytes)).unwrap());
            match one.complete(&id, want).await {
                Ok(completion) => {
                    assert_eq!(completion.file().size(), 6);
                    assert_ne!(digest, Some(b"wrong!"));
                }
                Err(error) => {
                    assert_eq!(*error.kind(), ErrorKind::ChecksumMismatch, "{digest:?}");
                    assert_eq!(digest, Some(b"wrong!"));
                }
            }
        }
    });
}

/// The answer for an upload that is gone does not depend on what is remembered.
#[test]
fn an_upload_that_another_process_has_ended_is_not_compared_with_a_digest() {
    run(async {
        for completes in [true, false] {
            let (_home, one, two, id) = two_processes(|it| it).await;
            let want = if completes {
                two.complete(&id, None).await.unwrap().finish().await.unwrap();
                ErrorKind::AlreadyComplete
            } else {
                two.cancel(&id).await.unwrap();
                ErrorKind::NotFound
            };
            let wrong = Digest::md5(&md5(b"wrong")).unwrap();
            assert_eq!(kind(one.complete(&id, Some(wrong)).await), want);
        }
    });
}

/// A process ends while the application has the file. Who remembers the upload as it was before
/// must not hand it over again.
#[test]
fn a_hand_over_that_was_interrupted_is_found_by_who_remembers_the_upload_open() {
    run(async {
        let (home, one, two, id) = two_processes(|it| it).await;
        let mut upload = two.status(&id).await.unwrap();
        let crashed = FsStore::new(home.path().join("up/%Y/%m/%d"));
        let mut writer = crashed.writer(&id).await.unwrap();
        upload.progress.status = Status::Finishing;
        writer.commit(Commit::new(bytes::Bytes::new(), upload)).await.unwrap();
        drop(writer);
        let check = |_| ready(Ok::<_, Error>(()));
        let (lease, ()) = one.acquire_if(&id, check).await.unwrap();
        assert_eq!(kind(lease.end_interrupted().await), ErrorKind::Interrupted);
    });
}

/// What comes is kept, and so is what another process has noted in the record.
#[test]
fn an_append_that_is_dropped_keeps_what_another_process_has_noted() {
    run(async {
        let (_home, one, two, id) = two_processes(|it| it).await;
        let bytes = noise(400_000);
        let mut append = two.append(&id, 3, AppendMode::AllOrNothing).await.unwrap();
        append.set_total(400_003).await.unwrap();
        append.commit().await.unwrap();
        let mut append = one.append(&id, 3, AppendMode::KeepWhatCame).await.unwrap();
        append.write_bytes(bytes.into()).await.unwrap();
        drop(append);
        until("it is kept", async || one.status(&id).await.unwrap().offset() == 400_003).await;
        assert_eq!(one.status(&id).await.unwrap().total(), Some(400_003));
    });
}

#[test]
fn an_append_ends_before_the_total_that_another_process_has_set() {
    run(async {
        for waits in [false, true] {
            let (_home, one, two, id) = two_processes(|it| it).await;
            let mut append = two.append(&id, 3, AppendMode::AllOrNothing).await.unwrap();
            append.set_total(4).await.unwrap();
            append.commit().await.unwrap();
            let mut append = one.append(&id, 3, AppendMode::AllOrNothing).await.unwrap();
            let ended = async {
                // A store that keeps no files open reads the record now, and others do it later.
                append.write(&b"three"[..]).await?;
                if waits {
                    append.flush_idle().await?;
                }
                append.commit().await
            };
            assert_eq!(kind(ended.await), ErrorKind::TooLong { total: 4 }, "waits: {waits}");
            let now = one.status(&id).await.unwrap();
            assert_eq!((now.offset(), now.total()), (3, Some(4)), "waits: {waits}");
        }
    });
}

/// An application that gave up waiting for a file to be moved, but has not dropped the future.
#[test]
fn what_is_begun_with_a_file_goes_on_while_nobody_waits_for_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    // The one thread on which a file can be moved is busy while the future is polled.
    let runtime = { runtime }.worker_threads(2).max_blocking_threads(1).enable_all().build();
    runtime.unwrap().block_on(async {
        let (home, one, _two, id) = two_processes(|it| it).await;
        let completion = one.complete(&id, None).await.unwrap();
        let file = completion.file().clone();
        let (go_on, busy) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || busy.recv().is_err());
        let mut moved = pin!(file.persist(home.path().join("target")));
        assert!(poll_fn(|cx| Poll::Ready(moved.as_mut().poll(cx))).await.is_pending());
        drop(go_on);
        assert!(busy.await.unwrap());
        tokio::time::timeout(HANGS, file.discard()).await.expect("it hangs").unwrap();
    });
}

/// Joins two parts, and completes the upload that they make.
async fn joined(uploads: &OwnerUploads) -> (UploadId, Completion) {
    let mut parts = Vec::new();
    for bytes in [&b"one"[..], b"two"] {
        let mut part = uploads.create(NewUpload::new().part().total(3)).await.unwrap();
        part.write(bytes).await.unwrap();
        parts.push(part.commit().await.unwrap().id);
    }
    let lease = uploads.join(NewUpload::new(), &parts).await.unwrap();
    (parts[0], lease.complete(None).await.unwrap())
}

/// A part that something needs would only expire.
async fn is_not_needed(uploads: &OwnerUploads, part: &UploadId) {
    uploads.remove(part).await.unwrap();
    assert_eq!(kind(uploads.status(part).await), ErrorKind::NotFound);
}

#[test]
fn the_parts_of_a_file_that_is_moved_while_it_is_taken_are_needed_no_more() {
    run(async {
        let (home, store) = (tempfile::tempdir().unwrap(), Double::default());
        let uploads = alices(Uploads::builder(store.clone()));
        let (part, completion) = joined(&uploads).await;
        let (file, target) = (completion.file().clone(), home.path().join("target"));
        let moves = store.hold(Call::Persist);
        let moved = tokio::spawn(async move { file.persist(target).await });
        moves.arrived().await;
        let mut finished = pin!(completion.finish());
        assert!(poll_fn(|cx| Poll::Ready(finished.as_mut().poll(cx))).await.is_pending());
        moves.open();
        finished.await.unwrap();
        moved.await.unwrap().unwrap();
        is_not_needed(&uploads, &part).await;
    });
}

#[test]
fn the_parts_of_a_file_that_is_moved_after_it_was_taken_are_needed_no_more() {
    let test = |builder| async move {
        let uploads = alices(builder);
        let (part, completion) = joined(&uploads).await;
        let (home, file) = (tempfile::tempdir().unwrap(), completion.file().clone());
        completion.finish().await.unwrap();
        file.persist(home.path().join("target")).await.unwrap();
        is_not_needed(&uploads, &part).await;
        assert_eq!(content(&file).await, b"onetwo");
    };
    on_both_stores(|_, builder| test(builder));
    #[cfg(feature = "object-store")]
    run(async {
        let bucket = std::sync::Arc::new(object_store::memory::InMemory::new());
        let store = tower_chunked_upload::store::BucketStore::builder(bucket).connect().await;
        test(Uploads::builder(store.unwrap())).await;
    });
}

#[test]
fn a_store_outlives_the_runtime_of_an_append() {
    for mode in [AppendMode::AllOrNothing, AppendMode::KeepWhatCame] {
        let runtime =
            || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let first = runtime();
        let (_home, one, two, id) = first.block_on(two_processes(patient));
        let bytes = noise(1_400_000);
        let mut append = first.block_on(one.append(&id, 3, mode)).unwrap();
        first.block_on(append.write_bytes(bytes.into())).unwrap();
        first.shutdown_background();
        drop(append);
        let second = runtime();
        second.block_on(async {
            let lease = one.acquire(&id).await.unwrap();
            assert_eq!(lease.upload().offset(), 3);
            let mut append = lease.append(mode);
            append.write(&b"two"[..]).await.unwrap();
            append.commit().await.unwrap();
            assert_eq!(
                two.complete(&id, None).await.unwrap().file().digest().unwrap().to_hex(),
                md5(b"onetwo")
            );
        });
    }
}
