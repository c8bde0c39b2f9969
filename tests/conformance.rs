//! The conformance suite on both stores, and what only the filesystem store promises.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(feature = "object-store")]
#[path = "support/bucket.rs"]
mod bucket;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tower_chunked_upload::conformance::Suite;
use tower_chunked_upload::store::{
    Batch, Commit, Durability, FileCalls, FsStore, Handover, MemoryStore, Store, StoreError, Writer,
};
use tower_chunked_upload::{Status, Upload, UploadId, Uploads};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_store_keeps_the_contract() {
    let scratch = TempDir::new().unwrap();
    Suite::new(MemoryStore::new, scratch.path()).reopen(MemoryStore::clone).run().await;
}

#[cfg(feature = "object-store")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bucket_store_keeps_the_contract() {
    use object_store::memory::InMemory;

    // A chunk is an object; or pieces and a list of them.
    for segment in [8 << 20, 1000] {
        bucket::suite(|| Arc::new(InMemory::new()), segment).run().await;
    }
}

#[tokio::test]
async fn the_filesystem_store_keeps_the_contract_on_one_thread() {
    let home = TempDir::new().unwrap();
    fs_suite(home.path(), Durability::Process, FileCalls::Pool).run().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_filesystem_store_keeps_the_contract_on_many_threads() {
    let home = TempDir::new().unwrap();
    fs_suite(home.path(), Durability::Process, FileCalls::Pool).run().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_filesystem_store_keeps_the_contract_when_it_syncs() {
    let home = TempDir::new().unwrap();
    fs_suite(home.path(), Durability::Sync, FileCalls::Pool).listed(100).run().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_filesystem_store_keeps_the_contract_with_calls_in_place() {
    for durability in [Durability::Process, Durability::Sync] {
        let home = TempDir::new().unwrap();
        let suite = fs_suite(home.path(), durability, FileCalls::InPlace).listed(100);
        // On a worker, and not on the thread of the test.
        tokio::spawn(async move { suite.run().await }).await.unwrap();
    }
}

#[tokio::test]
async fn the_filesystem_store_keeps_the_contract_with_calls_in_place_on_one_thread() {
    let home = TempDir::new().unwrap();
    fs_suite(home.path(), Durability::Process, FileCalls::InPlace).listed(100).run().await;
}

fn fs_suite(home: &Path, durability: Durability, calls: FileCalls) -> Suite<FsStore> {
    let open = move |root: &Path| {
        FsStore::new(root.join("%Y/%m/%d")).durability(durability).file_calls(calls)
    };
    let (scratch, home) = (home.join("persisted"), home.to_owned());
    fs::create_dir(&scratch).unwrap();
    // The cases run one after the other, each with one store.
    let current = Arc::new(Mutex::new(PathBuf::new()));
    let (made, reopened) = (Arc::clone(&current), Arc::clone(&current));
    let make = move || {
        let root = home.join(UploadId::random().as_str());
        made.lock().unwrap().clone_from(&root);
        open(&root)
    };
    Suite::new(make, scratch)
        .reopen(move |_| open(&reopened.lock().unwrap()))
        .room(move |_| {
            let parts = files(&current.lock().unwrap());
            let parts = parts.iter().filter(|path| path.extension().is_some_and(|e| e == "part"));
            parts.filter_map(|path| Some(path.metadata().ok()?.len())).sum()
        })
        .local_files()
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_may_read_files_or_folders() {
    use std::os::unix::fs::PermissionsExt;

    for durability in [Durability::Process, Durability::Sync] {
        let home = TempDir::new().unwrap();
        let root = home.path().join("new/root");
        let store = FsStore::new(root.join("%Y/%m")).durability(durability);
        let upload = born(&store, day(1), b"abc").await;
        let target = home.path().join("out/file.bin");
        let mut writer = store.writer(&upload.id).await.unwrap();
        for _ in 0..1000 {
            writer.commit(Commit::new(Bytes::new(), upload.clone())).await.unwrap();
        }
        drop(writer);
        let mut writer = store.writer(&upload.id).await.unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let mut found = 0;
        for path in everything(&home.path().join("new")) {
            let want = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(&path), want, "{}", path.display());
            found += 1;
        }
        assert_eq!(found, 7, "{:?}", everything(home.path()));
        assert_eq!(mode(&home.path().join("new")), 0o700);
        writer.persist(&target, true).await.unwrap();
        assert_eq!(mode(&target), 0o600);
    }
}

#[tokio::test]
async fn day_folders_go_with_their_last_upload() {
    let home = TempDir::new().unwrap();
    let root = home.path().join("uploads");
    let store = FsStore::new(root.join("%Y/%m/%d"));
    let folder = |name: &str| root.join(name).exists();

    let one = born(&store, day(0), b"1").await;
    let two = born(&store, day(0), b"2").await;
    let three = born(&store, day(1), b"3").await;
    assert!(folder("1970/01/01") && folder("1970/01/02"));
    store.writer(&one.id).await.unwrap().remove().await.unwrap();
    assert!(folder("1970/01/01"), "it has an upload");
    store.writer(&two.id).await.unwrap().remove().await.unwrap();
    assert!(!folder("1970/01/01") && folder("1970/01/02"));

    let mut writer = store.writer(&three.id).await.unwrap();
    writer.persist(&home.path().join("three"), true).await.unwrap();
    assert!(!folder("1970") && root.exists());
    drop(writer);

    let mut never = store.create(Upload::new(UploadId::random(), day(40))).await.unwrap();
    never.write(Batch::new(Bytes::from_static(b"4"))).await.unwrap();
    assert!(folder("1970/02/10"));
    drop(never);
    eventually(|| !folder("1970")).await;
    assert!(root.exists());
}

#[tokio::test]
async fn the_pattern_may_change_between_restarts() {
    let home = TempDir::new().unwrap();
    let before = FsStore::new(home.path().join("%Y/%m/%d"));
    let old = born(&before, day(0), b"old").await;
    let after = FsStore::new(home.path().join("new-%Y"));
    grow(&after, &old.id, b"er").await;
    assert_eq!(content(&after, &old.id).await, b"older");
    assert!(home.path().join("1970/01/01").join(format!("{}.part", old.id)).is_file());

    let new = born(&after, day(0), b"new").await;
    assert!(home.path().join("new-1970").join(format!("{}.part", new.id)).is_file());
    for store in [&before, &after] {
        assert_eq!(content(store, &old.id).await, b"older");
        assert_eq!(content(store, &new.id).await, b"new");
        assert_eq!(listed(store).await.len(), 2);
    }
    after.writer(&old.id).await.unwrap().remove().await.unwrap();
    before.writer(&new.id).await.unwrap().remove().await.unwrap();
    assert_eq!(files(home.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_torn_last_line_never_happened() {
    let home = TempDir::new().unwrap();
    let (root, upload, log) = three_commits(&home).await;
    let whole = fs::read(&log).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for cut in last..whole.len() - 1 {
        for tail in [&b""[..], &[0; 300]] {
            fs::write(&log, [&whole[..cut], tail].concat()).unwrap();
            let store = FsStore::new(&root);
            assert_eq!(store.load(&upload.id).await.unwrap().offset(), 6, "cut at {cut}");
            assert_eq!(content(&store, &upload.id).await, b"onetwo");
            assert_eq!(listed(&store).await.len(), 1);
            grow(&store, &upload.id, b"3").await;
            let store = FsStore::new(&root);
            assert_eq!(content(&store, &upload.id).await, b"onetwo3", "cut at {cut}");
        }
    }
}

/// With `Durability::Sync` the newline is written after the sync, and may be lost although the line
/// was acknowledged.
#[tokio::test]
async fn a_last_line_that_lacks_only_its_newline_counts_unless_it_is_being_written() {
    let home = TempDir::new().unwrap();
    let (root, upload, log) = three_commits(&home).await;
    let whole = fs::read(&log).unwrap();
    for durability in [Durability::Process, Durability::Sync] {
        for tail in [&b""[..], &[0], &[0; 300], b"\0half of the next line", b"\0a line\n"] {
            fs::write(&log, [&whole[..whole.len() - 1], tail].concat()).unwrap();
            let store = FsStore::new(&root).durability(durability);
            // On Windows nobody but the store can hold it, which confirms the line.
            #[cfg(unix)]
            {
                let held = fs::File::open(&log).unwrap();
                held.lock().unwrap();
                assert_eq!(store.load(&upload.id).await.unwrap().offset(), 6, "{tail:?}");
            }
            assert_eq!(store.load(&upload.id).await.unwrap().offset(), 11, "{tail:?}");
            assert!(fs::read(&log).unwrap().ends_with(b"}\n"), "{tail:?}");
            assert_eq!(content(&store, &upload.id).await, b"onetwothree", "{tail:?}");
            assert_eq!(listed(&store).await.len(), 1);
        }
    }
    let store = FsStore::new(&root);
    grow(&store, &upload.id, b"4").await;
    assert_eq!(content(&store, &upload.id).await, b"onetwothree4");
}

/// A commit failed, its line could not be cut off, and its bytes were.
#[tokio::test]
async fn a_pending_line_whose_bytes_were_rolled_back_is_not_believed() {
    let home = TempDir::new().unwrap();
    let (root, upload, log) = three_commits(&home).await;
    let whole = fs::read(&log).unwrap();
    fs::write(&log, &whole[..whole.len() - 1]).unwrap();
    let data = files(&root).into_iter().find(|path| path.extension().is_some_and(|e| e == "part"));
    fs::File::options().write(true).open(data.unwrap()).unwrap().set_len(6).unwrap();
    for durability in [Durability::Process, Durability::Sync] {
        let store = FsStore::new(&root).durability(durability);
        assert_eq!(store.load(&upload.id).await.unwrap().offset(), 6);
        assert_eq!(content(&store, &upload.id).await, b"onetwo");
    }
    let store = FsStore::new(&root);
    grow(&store, &upload.id, b"3").await;
    assert_eq!(content(&store, &upload.id).await, b"onetwo3");
}

#[tokio::test]
async fn a_crash_at_the_creation_leaves_what_a_sweep_removes() {
    let home = TempDir::new().unwrap();
    let root = home.path().join("before");
    let store = FsStore::new(root.join("%Y"));
    let neighbour = born(&store, day(0), b"neighbour").await;
    let upload = Upload::new(UploadId::random(), day(0));
    let mut writer = store.create(upload.clone()).await.unwrap();
    writer.write(Batch::new(Bytes::from_static(b"bytes"))).await.unwrap();
    let log = record_path(&root, &upload.id);
    let head = fs::read(&log).unwrap();
    for (name, length) in [("empty", 0), ("torn", head.len() / 2), ("whole", head.len())] {
        for bytes_too in [false, true] {
            let image = home.path().join(format!("{name}-{bytes_too}"));
            copy(&root, &image);
            fs::write(record_path(&image, &upload.id), &head[..length]).unwrap();
            if !bytes_too || length < head.len() {
                fs::remove_file(image.join(format!("1970/{}.part", upload.id))).unwrap();
            }
            let store = FsStore::new(image.join("%Y"));
            assert!(matches!(store.load(&upload.id).await, Err(StoreError::NotFound)), "{name}");
            let page = pages(&store).await;
            assert_eq!(page.1, [upload.id], "{name}");
            let uploads = Uploads::builder(store.clone()).build().unwrap();
            assert_eq!(uploads.delete_expired().await.unwrap().skipped, 0);
            assert_eq!(pages(&store).await.1, [], "{name}");
            assert_eq!(content(&store, &neighbour.id).await, b"neighbour");
            assert_eq!(files(&image).len(), 2, "{name}: {:?}", files(&image));
        }
    }
}

#[tokio::test]
async fn a_crash_at_an_append_leaves_rubbish_that_nobody_reads() {
    let home = TempDir::new().unwrap();
    let root = home.path().join("before");
    let store = FsStore::new(&root);
    let upload = born(&store, day(0), b"old").await;
    let mut writer = store.writer(&upload.id).await.unwrap();
    writer.write(Batch::new(Bytes::from_static(b"rubbish"))).await.unwrap();
    let image = home.path().join("after");
    copy(&root, &image);
    assert_eq!(fs::read(image.join(format!("{}.part", upload.id))).unwrap(), b"oldrubbish");

    let store = FsStore::new(&image);
    assert_eq!(content(&store, &upload.id).await, b"old");
    grow(&store, &upload.id, b"+").await;
    assert_eq!(content(&store, &upload.id).await, b"old+");
    let mut writer = store.writer(&upload.id).await.unwrap();
    let mut finishing = writer.upload().clone();
    finishing.progress.status = Status::Finishing;
    let given = Commit::new(Bytes::new(), finishing).with_handover(Handover::Given);
    writer.commit(given).await.unwrap();
    assert_eq!(fs::read(writer.path().unwrap()).unwrap(), b"old+");
}

#[tokio::test]
async fn a_crash_at_a_removal_leaves_what_a_sweep_removes() {
    let home = TempDir::new().unwrap();
    let root = home.path().join("uploads");
    let store = FsStore::new(&root);
    let upload = born(&store, day(0), b"old").await;
    append_line(&record_path(&root, &upload.id), r#"{"removed":{}}"#);
    assert!(matches!(store.load(&upload.id).await, Err(StoreError::NotFound)));
    assert!(matches!(store.writer(&upload.id).await.map(drop), Err(StoreError::NotFound)));
    assert_eq!(pages(&store).await.1, [upload.id]);
    store.discard(&upload.id).await.unwrap();
    assert_eq!(files(&root), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn persisting_goes_on_after_a_crash_at_any_step() {
    for overwrite in [false, true] {
        let home = TempDir::new().unwrap();
        let (root, target) = (home.path().join("uploads"), home.path().join("target"));
        let (store, upload, moves) = persisted(&root, &target).await;
        let part = root.join(format!("{}.part", upload.id));
        for (told, record) in moves.iter().enumerate() {
            let steps = match told {
                0 => &["here"][..],
                _ if told + 1 < moves.len() => &["here", "linked", "moved"],
                _ => &["moved"],
            };
            for step in steps {
                fs::write(record_path(&root, &upload.id), record).unwrap();
                drop((fs::remove_file(&part), fs::remove_file(&target)));
                let place = if *step == "moved" { &target } else { &part };
                fs::write(place, b"bytes").unwrap();
                if *step == "linked" {
                    fs::hard_link(&part, &target).unwrap();
                }
                let case = format!("{step}, {told} lines, overwrite {overwrite}");
                assert_eq!(content(&store, &upload.id).await, b"bytes", "{case}");
                let mut writer = store.writer(&upload.id).await.unwrap();
                let done = writer.persist(&target, overwrite).await;
                done.unwrap_or_else(|error| panic!("{case}: {error}"));
                drop(writer);
                assert_eq!(content(&store, &upload.id).await, b"bytes", "{case}");
                assert_eq!(fs::read(&target).unwrap(), b"bytes", "{case}");
                assert!(!part.exists(), "{case}: two files");
            }
        }
        store.writer(&upload.id).await.unwrap().remove().await.unwrap();
        assert_eq!(files(home.path()), [target]);
    }
}

#[tokio::test]
async fn moving_a_persisted_file_on_survives_a_crash_at_any_step() {
    let home = TempDir::new().unwrap();
    let root = home.path().join("uploads");
    let [first, second] = ["first", "second"].map(|name| home.path().join(name));
    let (store, upload, _) = persisted(&root, &first).await;
    let moves = lines_of_a_move(&store, &root, &upload.id, &second).await;
    for (told, record) in moves.iter().enumerate() {
        for moved in [false, true] {
            if moved != (told > 0) && (told == 0 || told + 1 == moves.len()) {
                continue;
            }
            fs::write(record_path(&root, &upload.id), record).unwrap();
            if moved {
                fs::write(&second, b"bytes").unwrap();
                drop(fs::remove_file(&first));
            } else {
                fs::write(&first, b"bytes").unwrap();
                fs::write(&second, b"what was there before").unwrap();
            }
            let case = format!("{told} lines, moved: {moved}");
            assert_eq!(content(&store, &upload.id).await, b"bytes", "{case}");
            let mut writer = store.writer(&upload.id).await.unwrap();
            writer.persist(&second, true).await.unwrap();
            drop(writer);
            assert_eq!(fs::read(&second).unwrap(), b"bytes", "{case}");
            assert!(!first.exists(), "{case}: two files");
            assert_eq!(content(&store, &upload.id).await, b"bytes", "{case}");
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn persisting_to_another_filesystem_goes_on_after_a_crash_at_any_step() {
    use std::os::unix::fs::MetadataExt;

    // The folder for temporary files may be on the same filesystem.
    let home = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let other = TempDir::new_in("/dev/shm").unwrap();
    let device = |dir: &TempDir| dir.path().metadata().unwrap().dev();
    assert_ne!(device(&home), device(&other), "set CARGO_TARGET_DIR to a folder on a disk");
    let (root, target) = (home.path().join("uploads"), other.path().join("target"));
    let (store, upload, moves) = persisted(&root, &target).await;
    let part = root.join(format!("{}.part", upload.id));
    for overwrite in [false, true] {
        for (told, record) in moves.iter().enumerate() {
            let steps = match told {
                0 => &["here"][..],
                _ if told + 1 < moves.len() => &["here", "copying", "copied", "moved"],
                _ => &["moved"],
            };
            for step in steps {
                fs::write(record_path(&root, &upload.id), record).unwrap();
                drop((fs::remove_file(&part), fs::remove_file(&target)));
                if *step != "moved" {
                    fs::write(&part, b"bytes").unwrap();
                }
                match *step {
                    "copying" => {
                        let near = format!(".{}.part.moving", upload.id);
                        fs::write(other.path().join(near), b"byt").unwrap();
                    }
                    "copied" | "moved" => fs::write(&target, b"bytes").unwrap(),
                    _ => {}
                }
                let case = format!("{step}, {told} lines, overwrite {overwrite}");
                let mut writer = store.writer(&upload.id).await.unwrap();
                let done = writer.persist(&target, overwrite).await;
                done.unwrap_or_else(|error| panic!("{case}: {error}"));
                drop(writer);
                assert_eq!(fs::read(&target).unwrap(), b"bytes", "{case}");
                assert_eq!(files(other.path()), std::slice::from_ref(&target), "{case}");
                assert_eq!(content(&store, &upload.id).await, b"bytes", "{case}");
                assert!(!part.exists(), "{case}: two files");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_come_and_go_do_not_pull_a_folder_from_under_each_other() {
    let home = TempDir::new().unwrap();
    let tasks = [(); 3].map(|()| {
        let store = FsStore::new(home.path().join("%Y/%m/%d/%H/%M/%S"));
        tokio::spawn(async move {
            for round in 0..rounds(400) {
                let upload = Upload::new(UploadId::random(), day(0));
                let mut writer = store.create(upload.clone()).await.unwrap();
                writer.write(Batch::new(Bytes::from_static(b"bytes"))).await.unwrap();
                if round % 2 == 0 {
                    writer.commit(Commit::new(Bytes::new(), upload)).await.unwrap();
                    writer.remove().await.unwrap();
                }
            }
        })
    });
    for task in tasks {
        task.await.unwrap();
    }
    eventually(|| files(home.path()).is_empty()).await;
}

#[tokio::test]
async fn a_record_that_grows_is_kept_short() {
    let home = TempDir::new().unwrap();
    let (store, upload) = (FsStore::new(home.path()), Upload::new(UploadId::random(), day(0)));
    drop(born_as(&store, upload.clone(), b"").await);
    let log = record_path(home.path(), &upload.id);
    let mut longest = 0;
    for _ in 0..2500 {
        grow(&store, &upload.id, b"x").await;
        longest = longest.max(fs::metadata(&log).unwrap().len());
    }
    assert!(longest < 128 * 1024, "{longest} bytes");
    assert_eq!(store.load(&upload.id).await.unwrap().offset(), 2500);
    assert_eq!(files(home.path()).len(), 2);
}

#[tokio::test]
async fn a_record_that_grows_under_one_lease_is_kept_short() {
    let home = TempDir::new().unwrap();
    let store = FsStore::new(home.path());
    let upload = born(&store, day(0), b"").await;
    let log = record_path(home.path(), &upload.id);
    let mut writer = store.writer(&upload.id).await.unwrap();
    let mut longest = 0;
    for offset in 1..=5000 {
        let mut upload = upload.clone();
        upload.progress.offset = offset;
        writer.commit(Commit::new(Bytes::from_static(b"x"), upload)).await.unwrap();
        longest = longest.max(fs::metadata(&log).unwrap().len());
    }
    assert!(matches!(store.writer(&upload.id).await.map(drop), Err(StoreError::Busy)));
    drop(writer);
    assert!(longest < 128 * 1024, "{longest} bytes");
    assert_eq!(store.load(&upload.id).await.unwrap().offset(), 5000);
    assert_eq!(files(home.path()).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_beside_a_record_that_is_rewritten_sees_it_go_forward_only() {
    let home = TempDir::new().unwrap();
    let (one, two) = (FsStore::new(home.path()), FsStore::new(home.path()));
    let mut upload = Upload::new(UploadId::random(), day(0));
    upload.raw_filename = "x".repeat(8000);
    born_as(&one, upload.clone(), b"").await;
    let id = upload.id;
    let writing = tokio::spawn(async move {
        for number in 0..1500_u32 {
            let mut writer = one.writer(&id).await.unwrap();
            let mut upload = writer.upload().clone();
            upload.progress.offset += 1;
            // A whole record instead of a short line now and then, so that it grows fast.
            upload.fields = vec![("number".to_owned(), (number / 3).to_string())];
            writer.commit(Commit::new(Bytes::from_static(b"x"), upload)).await.unwrap();
        }
    });
    let mut seen = 0;
    while seen < 1500 {
        let now = two.load(&id).await.unwrap();
        assert!(now.offset() >= seen, "from {seen} back to {}", now.offset());
        seen = now.offset();
        assert!(content(&two, &id).await.len() as u64 >= seen);
        let page = listed(&two).await;
        assert!(page.len() == 1 && page[0].offset() >= seen);
    }
    writing.await.unwrap();
}

#[tokio::test]
async fn a_rewrite_that_a_crash_cut_leaves_nothing_behind_a_removal() {
    let home = TempDir::new().unwrap();
    let (root, upload, log) = three_commits(&home).await;
    fs::write(log.with_extension("new"), b"half a reco").unwrap();
    let store = FsStore::new(&root);
    assert_eq!(content(&store, &upload.id).await, b"onetwothree");
    store.writer(&upload.id).await.unwrap().remove().await.unwrap();
    assert_eq!(files(&root), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_damaged_record_is_an_error_and_harms_no_other() {
    let home = TempDir::new().unwrap();
    let (root, upload, log) = three_commits(&home).await;
    let store = FsStore::new(&root);
    let neighbour = born(&store, day(0), b"neighbour").await;
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, &bytes).unwrap();
    let damaged = |result: Result<(), StoreError>, what: &str| match result {
        Err(StoreError::Damaged { id, .. }) => assert_eq!(id, upload.id),
        other => panic!("{what}: {other:?}"),
    };
    damaged(store.load(&upload.id).await.map(drop), "load");
    damaged(store.open(&upload.id).await.map(drop), "open");
    damaged(store.writer(&upload.id).await.map(drop), "writer");
    damaged(store.discard(&upload.id).await, "discard");
    let (listed, abandoned) = pages(&store).await;
    assert_eq!((listed.len(), abandoned), (2, vec![]));
    for entry in listed {
        match entry {
            Ok(upload) => assert_eq!(upload, neighbour),
            Err(error) => damaged(Err(error), "list"),
        }
    }

    let later = move || day(400);
    let mut expiring = Upload::new(UploadId::random(), day(0));
    expiring.progress.expires = Some(day(1));
    born_as(&store, expiring, b"late").await;
    let uploads = Uploads::builder(store.clone()).clock(later).build().unwrap();
    let expired = uploads.delete_expired().await.unwrap();
    assert_eq!((expired.incomplete, expired.skipped), (1, 1));
    assert_eq!(content(&store, &neighbour.id).await, b"neighbour");
    assert_eq!(fs::read(&log).unwrap(), bytes, "nothing is done to it");
    assert_eq!(files(&root).len(), 4);
}

#[tokio::test]
async fn bytes_that_are_missing_are_not_passed_over() {
    let home = TempDir::new().unwrap();
    let (root, upload, _) = three_commits(&home).await;
    let part = root.join(format!("{}.part", upload.id));
    let store = FsStore::new(&root);
    for gone in [false, true] {
        if gone {
            fs::remove_file(&part).unwrap();
        } else {
            fs::write(&part, b"onetwothre").unwrap();
        }
        let read = match store.open(&upload.id).await {
            Ok(mut reader) => reader.read_to_end(&mut Vec::new()).await.map(drop),
            Err(error) => Err(io::Error::other(error)),
        };
        assert!(read.is_err(), "gone: {gone}, read as if it were whole");
        for status in [Status::Open, Status::Finishing] {
            let mut writer = store.writer(&upload.id).await.unwrap();
            let mut more = upload.clone();
            more.progress.offset += u64::from(status == Status::Open);
            more.progress.status = status;
            let last = if status == Status::Open { &b"!"[..] } else { b"" };
            let handover = match status {
                Status::Finishing => Handover::Given,
                _ => Handover::None,
            };
            let commit = Commit::new(Bytes::from_static(last), more).with_handover(handover);
            let result = writer.commit(commit).await;
            assert!(matches!(result, Err(StoreError::Damaged { .. })), "gone: {gone}, {result:?}");
        }
        assert_eq!(store.load(&upload.id).await.unwrap(), upload);
    }
    store.writer(&upload.id).await.unwrap().remove().await.unwrap();
    assert_eq!(files(&root), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_creation_that_sweeps_meet_is_spared() {
    let home = TempDir::new().unwrap();
    let store = FsStore::new(home.path());
    for _ in 0..rounds(1000) {
        let mut upload = Upload::new(UploadId::random(), day(0));
        let (id, stop) = (upload.id, Arc::new(AtomicBool::new(false)));
        let sweeps = [(); 3].map(|()| {
            let (store, stop) = (FsStore::new(home.path()), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    match store.discard(&id).await {
                        Ok(()) | Err(StoreError::Busy) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        });
        let mut writer = store.create(upload.clone()).await.unwrap();
        upload.progress.offset = 5;
        let committed = writer.commit(Commit::new(Bytes::from_static(b"bytes"), upload)).await;
        drop(writer);
        stop.store(true, Ordering::Relaxed);
        for sweep in sweeps {
            sweep.await.unwrap();
        }
        committed.unwrap();
        assert_eq!(content(&store, &id).await, b"bytes");
    }
}

#[tokio::test]
async fn a_record_that_leads_outside_is_refused() {
    let home = TempDir::new().unwrap();
    let root = home.path().join("uploads");
    let store = FsStore::new(&root);
    let upload = born(&store, day(0), b"bytes").await;
    let log = record_path(&root, &upload.id);
    let text = fs::read_to_string(&log).unwrap();
    let inside = text.lines().nth(1).unwrap();
    let outside = home.path().join(format!("{}.part", upload.id));
    fs::write(&outside, b"bytes").unwrap();
    for data in [outside.to_str().unwrap().to_owned(), format!("../{}.part", upload.id)] {
        fs::write(&log, b"").unwrap();
        let head = serde_json::json!({ "head": { "version": 1, "data": data } });
        append_line(&log, &head.to_string());
        for with_record in [false, true] {
            if with_record {
                fs::write(&log, format!("{}{inside}\n", fs::read_to_string(&log).unwrap()))
                    .unwrap();
            }
            for result in [
                store.load(&upload.id).await.map(drop),
                store.open(&upload.id).await.map(drop),
                store.writer(&upload.id).await.map(drop),
                store.discard(&upload.id).await,
            ] {
                assert!(matches!(result, Err(StoreError::Damaged { .. })), "{data}: {result:?}");
            }
        }
        assert_eq!(fs::read(&outside).unwrap(), b"bytes");
    }
}

#[tokio::test]
async fn files_that_are_none_of_the_stores_are_left_alone() {
    let home = TempDir::new().unwrap();
    let (root, upload, log) = three_commits(&home).await;
    let shard = log.parent().unwrap();
    let foreign = [
        root.join("readme.txt"),
        root.join(".records/readme.txt"),
        shard.join("readme.log"),
        shard.join(format!("{}.log~", upload.id)),
        root.join(".records/zz"),
        // Where case does not matter, it would be the record itself.
        #[cfg(target_os = "linux")]
        shard.join(format!("{}.log", upload.id.as_str().to_uppercase())),
    ];
    for path in &foreign {
        fs::write(path, b"not ours").unwrap();
    }
    let store = FsStore::new(&root);
    assert_eq!(listed(&store).await.len(), 1);
    let uploads = Uploads::builder(store.clone()).build().unwrap();
    uploads.delete_expired().await.unwrap();
    store.writer(&upload.id).await.unwrap().remove().await.unwrap();
    assert_eq!(files(&root).len(), foreign.len());
}

/// A folder with an upload that has three commits, and its record's path.
async fn three_commits(home: &TempDir) -> (PathBuf, Upload, PathBuf) {
    let root = home.path().join("uploads");
    let store = FsStore::new(&root);
    let upload = born(&store, day(0), b"one").await;
    grow(&store, &upload.id, b"two").await;
    let upload = grow(&store, &upload.id, b"three").await;
    let log = record_path(&root, &upload.id);
    (root, upload, log)
}

/// `CONFORMANCE_ROUNDS` makes the search for a race longer.
fn rounds(default: usize) -> usize {
    std::env::var("CONFORMANCE_ROUNDS").map_or(default, |rounds| rounds.parse().unwrap())
}

/// An upload whose bytes are at `target` now, and what its record said after each line about it.
async fn persisted(root: &Path, target: &Path) -> (FsStore, Upload, Vec<String>) {
    let store = FsStore::new(root);
    let upload = born(&store, day(0), b"bytes").await;
    let moves = lines_of_a_move(&store, root, &upload.id, target).await;
    (store, upload, moves)
}

async fn lines_of_a_move(
    store: &FsStore,
    root: &Path,
    id: &UploadId,
    target: &Path,
) -> Vec<String> {
    let log = record_path(root, id);
    let before = fs::read_to_string(&log).unwrap();
    store.writer(id).await.unwrap().persist(target, true).await.unwrap();
    let after = fs::read_to_string(&log).unwrap();
    let lines = after.strip_prefix(&before).unwrap().split_inclusive('\n');
    let mut states = vec![before.clone()];
    for line in lines {
        states.push(format!("{}{line}", states[states.len() - 1]));
    }
    assert!(states.len() > 2, "it is told before it moves and once it has");
    states
}

fn day(number: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(number * 24 * 60 * 60)
}

async fn born(store: &FsStore, created: SystemTime, bytes: &'static [u8]) -> Upload {
    born_as(store, Upload::new(UploadId::random(), created), bytes).await
}

async fn born_as(store: &FsStore, mut upload: Upload, bytes: &'static [u8]) -> Upload {
    let mut writer = store.create(upload.clone()).await.unwrap();
    upload.progress.offset = bytes.len() as u64;
    writer.commit(Commit::new(Bytes::from_static(bytes), upload.clone())).await.unwrap();
    upload
}

async fn grow(store: &FsStore, id: &UploadId, bytes: &'static [u8]) -> Upload {
    let mut writer = store.writer(id).await.unwrap();
    let mut upload = writer.upload().clone();
    upload.progress.offset += bytes.len() as u64;
    writer.commit(Commit::new(Bytes::from_static(bytes), upload.clone())).await.unwrap();
    upload
}

async fn content(store: &FsStore, id: &UploadId) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.open(id).await.unwrap().read_to_end(&mut bytes).await.unwrap();
    bytes
}

async fn pages(store: &FsStore) -> (Vec<Result<Upload, StoreError>>, Vec<UploadId>) {
    let (mut uploads, mut abandoned, mut cursor) = (Vec::new(), Vec::new(), None);
    loop {
        let page = store.list(cursor).await.unwrap();
        uploads.extend(page.uploads);
        abandoned.extend(page.abandoned);
        cursor = page.next;
        if cursor.is_none() {
            return (uploads, abandoned);
        }
    }
}

async fn listed(store: &FsStore) -> Vec<Upload> {
    pages(store).await.0.into_iter().map(Result::unwrap).collect()
}

fn record_path(root: &Path, id: &UploadId) -> PathBuf {
    root.join(".records").join(&id.as_str()[..2]).join(format!("{id}.log"))
}

fn append_line(log: &Path, json: &str) {
    let mut bytes = fs::read(log).unwrap();
    bytes
        .extend_from_slice(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).as_bytes());
    fs::write(log, bytes).unwrap();
}

/// All files and folders below a folder.
fn everything(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // It may go away meanwhile.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        found.push(entry.path());
        found.extend(everything(&entry.path()));
    }
    found.sort_unstable();
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let is_lock = |path: &Path| cfg!(windows) && path.ends_with(".records/process.lock");
    everything(folder).into_iter().filter(|path| path.is_file() && !is_lock(path)).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

async fn eventually(check: impl Fn() -> bool + Send + Sync) {
    let waiting = async {
        while !check() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
}
