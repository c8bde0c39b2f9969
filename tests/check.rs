//! Whether uploads can be stored, as a server asks when it starts and a balancer all the time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::error::Error as _;
use std::fs::{self, File};
use std::future::{Future as _, poll_fn};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use support::*;
use tower_chunked_upload::store::{Durability, FsStore, MemoryStore};
use tower_chunked_upload::{Error, ErrorKind, NewUpload, UploadId, Uploads};

fn uploads(pattern: &Path) -> Uploads {
    Uploads::builder(FsStore::new(pattern)).build().unwrap()
}

/// A client learns nothing of the disk, and the operator where it is.
fn failed(error: &Error, path: &Path) -> String {
    assert_eq!(*error.kind(), ErrorKind::Store);
    assert_eq!(error.to_string(), "the store failed");
    let why = error.source().unwrap().to_string();
    assert!(why.contains(path.to_str().unwrap()), "{why}");
    why
}

fn everything(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(everything(&path));
        }
        all.push(path);
    }
    all
}

#[test]
fn a_store_in_memory_is_always_well() {
    let uploads = Uploads::builder(MemoryStore::new()).build().unwrap();
    assert_eq!(run(uploads.check()).unwrap().free_bytes, None);
}

#[test]
fn a_folder_is_made_and_nothing_is_left_in_it() {
    for durability in [Durability::Process, Durability::Sync] {
        for pattern in ["a/b/%Y/%m/%d", "a/b"] {
            let home = tempfile::tempdir().unwrap();
            let store = FsStore::new(home.path().join(pattern)).durability(durability);
            let uploads = Uploads::builder(store).build().unwrap();
            let health = run(uploads.check()).unwrap();
            assert!(health.free_bytes.is_some_and(|free| free > 0) || cfg!(not(unix)));
            assert!(home.path().join("a/b").is_dir());
            assert_eq!(everything(&home.path().join("a/b")), [""; 0].map(PathBuf::from));
        }
    }
}

#[test]
fn uploads_stay_as_they_are() {
    let (folder, store) = folder();
    let uploads = Uploads::builder(store).build().unwrap();
    run(async {
        let owned = uploads.for_owner(None);
        let mut append = owned.create(NewUpload::new().total(5)).await.unwrap();
        append.write(&b"abc"[..]).await.unwrap();
        // It holds an upload, and has not committed it.
        let before = everything(folder.path());
        uploads.check().await.unwrap();
        let id = append.commit().await.unwrap().id;
        let committed = everything(folder.path());
        assert!(before.iter().all(|path| committed.contains(path)));
        uploads.check().await.unwrap();
        assert_eq!(everything(folder.path()), committed);
        assert_eq!(owned.status(&id).await.unwrap().offset(), 3);
    });
}

#[test]
fn what_is_in_the_way_is_named() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("up");
    let today = |uploads: &Uploads| run(uploads.check()).unwrap_err();

    File::create(&root).unwrap();
    let why = failed(&today(&uploads(&root.join("%Y"))), &root);
    assert!(why.contains("create "), "{why}");
    fs::remove_file(&root).unwrap();

    fs::create_dir(&root).unwrap();
    File::create(root.join(".records")).unwrap();
    failed(&today(&uploads(&root.join("%Y"))), &root);
    fs::remove_file(root.join(".records")).unwrap();

    // The folder of new files, while that of the records is well.
    File::create(root.join("100%")).unwrap();
    let why = failed(&today(&uploads(&root.join("100%%/%Y"))), &root.join("100%"));
    assert!(why.contains("create "), "{why}");
    assert_eq!(everything(&root), [root.join("100%")]);
    fs::remove_file(root.join("100%")).unwrap();
    run(uploads(&root.join("100%%/%Y")).check()).unwrap();
}

#[cfg(unix)]
#[test]
fn no_link_is_followed() {
    let home = tempfile::tempdir().unwrap();
    let (root, elsewhere) = (home.path().join("up"), home.path().join("elsewhere"));
    fs::create_dir_all(root.join(".records")).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    let left = elsewhere.join(UploadId::random().as_str());
    fs::write(&left, "").unwrap();
    let link = root.join(".records/probe");
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    failed(&run(uploads(&root).check()).unwrap_err(), &link);
    fs::remove_file(&link).unwrap();
    fs::rename(root.join(".records"), home.path().join("records")).unwrap();
    std::os::unix::fs::symlink(home.path().join("records"), root.join(".records")).unwrap();
    failed(&run(uploads(&root).check()).unwrap_err(), &root.join(".records"));
    assert_eq!(everything(&elsewhere), [left]);
}

/// What a check of another process has there while it runs, and after it was killed.
#[test]
fn what_a_dead_process_left_is_removed_and_what_a_living_one_has_stays() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("up");
    let uploads = uploads(&root.join("%Y"));
    let id = UploadId::random();
    let (probe, data) = (root.join(format!(".records/probe/{id}")), root.join("1999"));
    fs::create_dir_all(probe.parent().unwrap()).unwrap();
    fs::create_dir(&data).unwrap();
    let data = data.join(format!("{id}.probe"));
    fs::write(&data, "bytes").unwrap();
    let file = File::create(&probe).unwrap();
    fs::write(&probe, format!("1999/{id}.probe")).unwrap();
    file.lock().unwrap();
    let living = everything(&root);
    run(uploads.check()).unwrap();
    assert_eq!(everything(&root), living);
    drop(file);
    run(uploads.check()).unwrap();
    assert_eq!(everything(&root), [""; 0].map(PathBuf::from));
}

#[test]
fn what_no_check_has_written_is_not_removed() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("up");
    let uploads = uploads(&root.join("%Y"));
    let (id, other) = (UploadId::random(), UploadId::random());
    fs::create_dir_all(root.join(".records/probe")).unwrap();
    fs::create_dir(root.join("1999")).unwrap();
    let outside = home.path().join(format!("{id}.probe"));
    for file in [&outside, &root.join(format!("1999/{other}.probe")), &root.join("1999/a.part")] {
        fs::write(file, "bytes").unwrap();
    }
    let before = everything(home.path());
    for content in [
        format!("../{id}.probe"),
        outside.to_str().unwrap().to_owned(),
        format!("1999/{other}.probe"),
        "1999/a.part".to_owned(),
        "1999".to_owned(),
        "\0".to_owned(),
        String::new(),
    ] {
        fs::create_dir_all(root.join(".records/probe")).unwrap();
        fs::write(root.join(format!(".records/probe/{id}")), &content).unwrap();
        run(uploads.check()).unwrap();
        assert!(!root.join(format!(".records/probe/{id}")).exists(), "{content:?}");
        let now = everything(home.path());
        let lost: Vec<_> =
            before.iter().filter(|path| !path.starts_with(root.join(".records"))).collect();
        assert!(lost.iter().all(|path| now.contains(path)), "{content:?}: {now:?}");
    }
}

#[test]
fn many_nodes_check_at_once() {
    let home = tempfile::tempdir().unwrap();
    let pattern = home.path().join("up/%Y/%m/%d");
    run(async {
        let checks = (0..8).map(|_| {
            let uploads = uploads(&pattern);
            tokio::spawn(async move {
                for _ in 0..50 {
                    uploads.check().await.map_err(|error| format!("{error:?}"))?;
                }
                Ok::<_, String>(())
            })
        });
        for check in checks.collect::<Vec<_>>() {
            check.await.unwrap().unwrap();
        }
    });
    assert_eq!(everything(&home.path().join("up")), [""; 0].map(PathBuf::from));
}

#[test]
fn any_store_is_asked_and_nothing_else_is_done_to_it() {
    let double = Double::default();
    let uploads = Uploads::builder(double.clone()).build().unwrap();
    double.set_room(7);
    run(async {
        assert_eq!(uploads.check().await.unwrap().free_bytes, Some(7));
        assert_eq!(double.calls(), [Call::Probe]);
        for (errno, kind) in [(5, ErrorKind::Store), (28, ErrorKind::Full), (30, ErrorKind::Store)]
        {
            double.fail(Call::Probe, errno);
            let error = uploads.check().await.unwrap_err();
            assert_eq!(*error.kind(), kind);
            assert!(!error.to_string().contains("secret"), "{error}");
            assert!(error.source().unwrap().to_string().contains("/srv/uploads/secret.part"));
        }
        double.mend();
        for call in [Call::Create, Call::Load, Call::List, Call::Open, Call::Writer] {
            double.fail(call, 5);
            uploads.check().await.unwrap();
        }
    });
}

#[test]
fn a_check_that_is_given_up_goes_on_and_others_wait_for_it() {
    let double = Double::default();
    let uploads = Uploads::builder(double.clone()).build().unwrap();
    run(async {
        let gate = double.hold(Call::Probe);
        assert!(poll_times(uploads.check(), 1).await.is_none());
        gate.arrived().await;
        let mut waiting = pin!(join_all((0..10).map(|_| uploads.check())));
        let first = poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending()));
        assert!(first.await);
        assert_eq!(double.calls(), [Call::Probe]);
        gate.open();
        assert!(waiting.await.iter().all(Result::is_ok));
        assert_eq!(double.calls(), [Call::Probe; 2], "they share one");
    });
}

#[test]
fn after_the_beginning_of_a_shutdown_a_server_is_not_ready() {
    let double = Double::default();
    let uploads = Uploads::builder(double.clone()).build().unwrap();
    run(async {
        uploads.shutdown(Duration::ZERO).await;
        let refused = uploads.check().await.unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::ShuttingDown);
    });
    assert_eq!(double.calls(), []);
}
