use std::fs;
use std::future::poll_fn;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::task::Poll;
use std::thread;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::store::Handover;
use crate::upload::{Creation, Kind, Part};
use crate::{DigestAlgorithm, ErrorKind, NewUpload, Uploads};

async fn begin(store: &FsStore, bytes: &'static [u8]) -> (FsWriter, Upload) {
    let mut upload = Upload::new(UploadId::random(), SystemTime::now());
    let mut writer = store.create(upload.clone()).await.unwrap();
    upload.progress.offset = bytes.len() as u64;
    writer.commit(Commit::new(bytes, upload.clone())).await.unwrap();
    (writer, upload)
}

fn note(upload: &Upload, handover: Handover) -> Commit {
    Commit::new(Bytes::new(), upload.clone()).with_handover(handover)
}

fn append(path: &Path, bytes: &[u8]) {
    fs::File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[tokio::test]
async fn what_a_crash_left_after_the_offset_stays_until_the_file_is_handed_over() {
    let home = TempDir::new().unwrap();
    let store = FsStore::new(home.path());
    let (writer, upload) = begin(&store, b"old").await;
    let path = writer.path().unwrap();
    drop(writer);
    append(&path, b"rubbish");
    drop(store.writer(&upload.id).await.unwrap());
    store.settle().await;
    assert_eq!(fs::read(&path).unwrap(), b"oldrubbish");

    let mut writer = store.writer(&upload.id).await.unwrap();
    writer.commit(note(&upload, Handover::Given)).await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

/// A file that was persisted belongs to the application, even if it stays where the store had it.
#[tokio::test]
async fn a_file_that_was_persisted_in_its_place_is_never_cut() {
    for taken in [false, true] {
        let home = TempDir::new().unwrap();
        let store = FsStore::new(home.path());
        let (mut writer, upload) = begin(&store, b"bytes").await;
        let path = writer.path().unwrap();
        writer.commit(note(&upload, Handover::Given)).await.unwrap();
        writer.persist(&path, true).await.unwrap();
        append(&path, b" and more");
        // If it is not taken, the process ended before the application answered.
        if taken {
            writer.commit(note(&upload, Handover::Taken)).await.unwrap();
        }
        drop(writer);

        let mut writer = store.writer(&upload.id).await.unwrap();
        writer.commit(note(&upload, Handover::Given)).await.unwrap();
        drop(writer);
        store.settle().await;
        assert_eq!(fs::read(&path).unwrap(), b"bytes and more", "taken: {taken}");
        store.writer(&upload.id).await.unwrap().remove().await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"bytes and more", "taken: {taken}");
    }
}

/// A move was begun, and failed or not; then nobody can tell for a while where the bytes are.
#[tokio::test]
async fn a_file_that_was_at_the_target_before_is_not_taken_for_the_upload() {
    let denied = disk::plan::Fault::Errno(13);
    for failed in 0.. {
        let home = TempDir::new().unwrap();
        let plan = disk::plan::Plan::new("boot");
        let store = FsStore::new(home.path().join("up")).with_plan(Arc::clone(&plan));
        let (mut writer, upload) = begin(&store, b"bytes").await;
        writer.commit(note(&upload, Handover::Given)).await.unwrap();
        let target = home.path().join("target");
        fs::write(&target, "a file of the application").unwrap();
        plan.fail(denied, failed..failed + 1);
        drop(writer.persist(&target, true).await);
        if !plan.mend() {
            assert!(failed > 2, "{failed}");
            return;
        }
        drop(writer);
        store.settle().await;
        for look in 0.. {
            plan.fail(denied, look..look + 1);
            let opened = store.open(&upload.id).await;
            let is_past = !plan.mend();
            assert!(opened.is_ok() || !is_past, "{failed}");
            if let Ok(mut reader) = opened {
                let mut bytes = Vec::new();
                tokio::io::copy(&mut reader, &mut bytes).await.unwrap();
                assert_eq!(bytes, b"bytes", "{failed}, {look}");
            }
            if is_past {
                break;
            }
        }
    }
}

async fn join(store: &FsStore, parts: &[Part]) -> (FsWriter, Upload) {
    let mut upload = Upload::new(UploadId::random(), SystemTime::now());
    upload.kind = Kind::Joined(parts.to_vec());
    upload.progress.offset = parts.iter().filter_map(|part| part.size).sum();
    let mut writer = store.create(upload.clone()).await.unwrap();
    writer.commit(note(&upload, Handover::Given)).await.unwrap();
    (writer, upload)
}

/// The bytes of the parts, and not a file of as many zeros, are what its length stands for.
#[tokio::test]
async fn the_file_of_a_joined_upload_stays_empty_until_it_goes() {
    let home = TempDir::new().unwrap();
    let store = FsStore::new(home.path().join("up"));
    let (part, record) = begin(&store, b"bytes").await;
    drop(part);
    let (mut writer, upload) = join(&store, &[Part::new(record.id, 5)]).await;
    let own = home.path().join("up").join(format!("{}.part", upload.id));
    assert_eq!(fs::metadata(&own).unwrap().len(), 0);
    writer.persist(&home.path().join("target"), false).await.unwrap();
    assert!(!own.exists());
    drop(writer);
    // Its own place is as good as any other.
    let (mut writer, upload) = join(&store, &[Part::new(record.id, 5)]).await;
    let own = home.path().join("up").join(format!("{}.part", upload.id));
    writer.persist(&own, false).await.unwrap();
    writer.remove().await.unwrap();
    assert_eq!(fs::read(&own).unwrap(), b"bytes");
}

/// Closing it frees its bytes, which must not wait for a worker that drops the lease.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_was_copied_and_removed_is_not_held_open() {
    let home = TempDir::new().unwrap();
    let store = FsStore::new(home.path().join("up"));
    let (part, record) = begin(&store, b"bytes").await;
    drop(part);
    let (mut writer, _) = join(&store, &[Part::new(record.id, 5)]).await;
    writer.persist(&home.path().join("target"), false).await.unwrap();
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let open = open.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
    let deleted: Vec<_> =
        open.filter(|path| path.starts_with(home.path()) && !path.exists()).collect();
    assert!(deleted.is_empty(), "{deleted:?}");
    drop(writer);
}

#[tokio::test]
async fn a_joined_upload_whose_part_is_short_or_gone_is_damaged() {
    let home = TempDir::new().unwrap();
    let store = FsStore::new(home.path().join("up"));
    let (part, record) = begin(&store, b"bytes").await;
    // What was never acknowledged does not count.
    append(&part.path().unwrap(), b"rubbish");
    drop(part);
    for bad in [Part::new(record.id, 6), Part::new(UploadId::random(), 5)] {
        let (mut writer, upload) = join(&store, &[Part::new(record.id, 5), bad]).await;
        let error = writer.persist(&home.path().join("target"), false).await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "something is at the target");
        let mut reader = store.open(&upload.id).await.unwrap();
        assert!(tokio::io::copy(&mut reader, &mut tokio::io::sink()).await.is_err());
    }
}

#[tokio::test]
async fn a_joined_upload_goes_on_after_a_crash_at_any_step() {
    for overwrite in [false, true] {
        let home = TempDir::new().unwrap();
        let (root, target) = (home.path().join("up"), home.path().join("taken/target"));
        let store = FsStore::new(&root);
        let (part, record) = begin(&store, b"bytes").await;
        drop(part);
        let (mut writer, upload) = join(&store, &[Part::new(record.id, 5); 2]).await;
        let id = upload.id.as_str();
        let log = root.join(".records").join(&id[..2]).join(format!("{id}.log"));
        let own = root.join(format!("{id}.part"));
        let near = home.path().join("taken").join(format!(".{id}.part.moving"));
        let before = fs::read(&log).unwrap();
        writer.persist(&target, overwrite).await.unwrap();
        drop(writer);
        let after = fs::read(&log).unwrap();
        let moving =
            before.len() + after[before.len()..].iter().position(|it| *it == b'\n').unwrap();
        for step in ["noted", "copying", "copied", "linked", "removed", "moved"] {
            let told = if step == "moved" { &after[..] } else { &after[..=moving] };
            fs::write(&log, told).unwrap();
            let (is_own, is_there) = match step {
                "noted" | "copying" | "copied" => (true, false),
                "linked" => (true, true),
                _ => (false, true),
            };
            drop((fs::remove_file(&own), fs::remove_file(&target)));
            if is_own {
                fs::write(&own, b"").unwrap();
            }
            if is_there {
                fs::write(&target, b"bytesbytes").unwrap();
            }
            match step {
                "copying" => fs::write(&near, b"byte").unwrap(),
                "copied" | "linked" => fs::write(&near, b"bytesbytes").unwrap(),
                _ => {}
            }
            let read = async || {
                let mut bytes = Vec::new();
                let mut reader = store.open(&upload.id).await.unwrap();
                tokio::io::copy(&mut reader, &mut bytes).await.unwrap();
                bytes
            };
            assert_eq!(read().await, b"bytesbytes", "{step}");
            let mut writer = store.writer(&upload.id).await.unwrap();
            let done = writer.persist(&target, overwrite).await;
            done.unwrap_or_else(|error| panic!("{step}: {error}"));
            assert_eq!(writer.path(), Some(target.clone()), "{step}");
            drop(writer);
            assert_eq!(read().await, b"bytesbytes", "{step}");
            assert_eq!(fs::read(&target).unwrap(), b"bytesbytes", "{step}");
            assert!(!own.exists() && !near.exists(), "{step}: two files");
        }
    }
}

/// After a power cut, its parts have to be compared with their checksums, and it has none.
#[tokio::test]
async fn a_joined_upload_leaves_verification_to_its_parts() {
    let home = TempDir::new().unwrap();
    let start = |boot| FsStore::new(home.path()).with_plan(disk::plan::Plan::new(boot));
    let (part, record) = begin(&start("first"), b"bytes").await;
    let (writer, upload) = join(&start("first"), &[Part::new(record.id, 5)]).await;
    drop((part, writer));
    let store = start("second");
    assert!(store.writer(&record.id).await.unwrap().needs_verification());
    assert!(!store.writer(&upload.id).await.unwrap().needs_verification());
}

/// A checksum that this version cannot read does not keep the others from being compared.
#[tokio::test]
async fn after_a_power_cut_the_bytes_are_compared_with_every_checksum() {
    for (main, spoilt) in [(false, false), (false, true), (true, false), (true, true)] {
        let home = TempDir::new().unwrap();
        let start = |boot| {
            let store = FsStore::new(home.path()).with_plan(disk::plan::Plan::new(boot));
            (store.clone(), Uploads::builder(store).build().unwrap().for_owner(None))
        };
        let (store, uploads) = start("first");
        let new = NewUpload::new().digests([DigestAlgorithm::Sha256]);
        let mut append = uploads.create(new).await.unwrap();
        append.write(&b"bytes"[..]).await.unwrap();
        let mut upload = append.commit().await.unwrap();
        if !main {
            upload.progress.checksum = "sha3.later".parse().ok();
        }
        let mut writer = store.writer(&upload.id).await.unwrap();
        writer.commit(Commit::new(Bytes::new(), upload.clone())).await.unwrap();
        let path = writer.path().unwrap();
        drop((writer, uploads, store));
        if spoilt {
            fs::write(path, b"bytez").unwrap();
        }
        let (store, uploads) = start("second");
        let completed = uploads.complete(&upload.id, None).await;
        if spoilt {
            assert_eq!(*completed.unwrap_err().kind(), ErrorKind::Damaged, "{main}");
            continue;
        }
        let completion = completed.unwrap();
        let (sha, file) = (DigestAlgorithm::Sha256, completion.file());
        assert_eq!(file.digest_of(sha), upload.digest_of(sha), "{main}");
        assert_eq!(file.digest().is_some(), main);
        completion.reopen().await.unwrap();
        assert!(!store.writer(&upload.id).await.unwrap().needs_verification(), "{main}");
    }
}

/// What somebody else has put there after the crash is not taken for the file.
#[tokio::test]
async fn another_file_at_the_target_is_not_that_of_a_joined_upload() {
    let home = TempDir::new().unwrap();
    let target = home.path().join("target");
    let store = FsStore::new(home.path().join("up"));
    let (part, record) = begin(&store, b"bytes").await;
    drop(part);
    let (mut writer, _) = join(&store, &[Part::new(record.id, 5); 2]).await;
    fs::create_dir(&target).unwrap();
    writer.persist(&target, true).await.unwrap_err();
    fs::remove_dir(&target).unwrap();
    for other in [&b"bytesbyte"[..], b"bytesbytes!", b"bytesBytes", b""] {
        fs::write(&target, other).unwrap();
        let error = writer.persist(&target, false).await.unwrap_err();
        assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error:?}");
        assert_eq!(fs::read(&target).unwrap(), other);
    }
}

/// The path of a file below a relative root is relative, and that of a target is not.
#[tokio::test]
async fn a_file_is_persisted_in_its_place_below_a_relative_root() {
    let here = std::env::current_dir().unwrap();
    // No path leads from one drive of Windows to another.
    let home = TempDir::new_in(&here).unwrap();
    let store = FsStore::new(home.path().strip_prefix(&here).unwrap());
    let (mut writer, _) = begin(&store, b"bytes").await;
    let path = writer.path().unwrap();
    assert!(path.is_relative());
    writer.persist(&path, true).await.unwrap();
    writer.remove().await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"bytes");
}

/// Who looks at an upload must not be kept from it by who holds it.
#[tokio::test]
async fn an_upload_that_is_held_can_be_read_and_not_taken() {
    let home = TempDir::new().unwrap();
    let (store, other) = (FsStore::new(home.path()), FsStore::new(home.path()));
    let (writer, upload) = begin(&store, b"bytes").await;
    drop(writer);
    let held = store.writer(&upload.id).await.unwrap();
    for store in [&store, &other] {
        assert_eq!(store.load(&upload.id).await.unwrap(), upload);
        assert_eq!(store.list(None).await.unwrap().uploads.len(), 1);
        store.open(&upload.id).await.unwrap();
        let error = store.writer(&upload.id).await.unwrap_err();
        assert!(matches!(error, StoreError::Busy), "{error}");
    }
    drop(held);
    other.writer(&upload.id).await.unwrap();
}

/// Whichever call of a reader comes before the move, and whichever after it.
#[test]
fn a_file_that_is_moved_while_it_is_opened_is_found() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let home = TempDir::new().unwrap();
    let plan = disk::plan::Plan::new("boot");
    let store = FsStore::new(home.path().join("up")).with_plan(Arc::clone(&plan));
    let (mut writer, upload) = runtime.block_on(begin(&store, b"bytes"));
    let (source, target) = (writer.path().unwrap(), home.path().join("target"));
    let Some(Held::Lease(lease)) = &mut writer.held else { panic!("it has the lease") };
    lease.files().unwrap().record.append(vec![journal::Line::Moving(target.clone())]).unwrap();
    for call in 0.. {
        plan.fail(disk::plan::Fault::Hang, call..call + 1);
        let hung = thread::scope(|scope| {
            let reader = scope.spawn(|| read::open(&store.layout, &upload.id));
            while !plan.hangs() && !reader.is_finished() {
                thread::yield_now();
            }
            let hung = plan.hangs();
            fs::rename(&source, &target).unwrap();
            plan.mend();
            let (_, file) =
                reader.join().unwrap().unwrap_or_else(|error| panic!("{call}: {error}"));
            assert_eq!(file.unwrap().len().unwrap(), 5, "{call}");
            hung
        });
        fs::rename(&target, &source).unwrap();
        if !hung {
            assert!(call > 2, "{call}");
            return;
        }
    }
}

/// A lock on a file that is no longer the one at its path protects nothing.
#[test]
fn a_file_that_was_replaced_is_noticed() {
    let home = TempDir::new().unwrap();
    let (path, disk) = (home.path().join("file"), disk::Disk::default());
    let file = disk.create_new(&path).unwrap();
    file.write_at(b"one", 0).unwrap();
    assert_eq!(file.length_at(&path).unwrap(), Some(3));
    fs::rename(&path, home.path().join("away")).unwrap();
    assert_eq!(file.length_at(&path).unwrap(), None);
    fs::write(&path, "two").unwrap();
    assert_eq!(file.length_at(&path).unwrap(), None);
}

/// The test runs itself as the other process.
#[cfg(windows)]
#[tokio::test]
async fn another_process_may_read_a_store_and_not_write_to_it() {
    const ROOT: &str = "ROOT_OF_ANOTHER_PROCESS";
    const ID: &str = "UPLOAD_OF_ANOTHER_PROCESS";
    if let (Some(root), Ok(id)) = (std::env::var_os(ROOT), std::env::var(ID)) {
        let store = FsStore::new(root);
        let id = id.parse().unwrap();
        assert_eq!(store.load(&id).await.unwrap().offset(), 5);
        let taken = store.writer(&id).await.map(drop);
        println!("taken: {taken:?}; probe: {}", store.probe().await.is_ok());
        return;
    }
    let home = TempDir::new().unwrap();
    let store = FsStore::new(home.path());
    let (writer, upload) = begin(&store, b"bytes").await;
    drop(writer);
    let other = || {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--nocapture", "another_process_may_read_a_store_and_not_write_to_it"])
            .env(ROOT, home.path())
            .env(ID, upload.id.as_str())
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{printed}");
        printed
    };
    let printed = other();
    assert!(printed.contains("another process uses this store"), "{printed}");
    assert!(printed.contains("probe: false"), "{printed}");
    store.settle().await;
    drop(store);
    let printed = other();
    assert!(printed.contains("taken: Ok(()); probe: true"), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_commit_has_left_is_not_synced_on_a_worker() {
    let home = TempDir::new().unwrap();
    let plan = disk::plan::Plan::new("boot");
    let store = FsStore::new(home.path()).durability(Durability::Sync);
    let store = store.file_calls(FileCalls::InPlace).with_plan(Arc::clone(&plan));
    let (writer, upload) = begin(&store, b"bytes").await;
    drop(writer);
    // The line lacks only its newline.
    let record = fs::File::options().write(true).open(store.layout.record(&upload.id)).unwrap();
    record.set_len(record.metadata().unwrap().len() - 1).unwrap();
    let calls = plan.calls();
    let leased = tokio::spawn(async move {
        // In place it would be made here, before anything is awaited.
        let worker = std::thread::current().id();
        assert_eq!(store.writer(&upload.id).await.unwrap().upload(), &upload);
        worker
    });
    let worker = leased.await.unwrap();
    assert!(plan.calls() > calls);
    assert!(!plan.callers(calls).contains(&worker));
}

/// What was looked at so far, in order, and the gate before each look.
#[derive(Clone, Default)]
struct Looks {
    seen: Arc<Mutex<Vec<u8>>>,
    closed: Arc<(Mutex<bool>, Condvar)>,
}

impl Looks {
    /// A batch of which each look waits for the gate.
    fn batch(&self, bytes: &Bytes) -> Batch {
        let looks = self.clone();
        Batch::looked_at(bytes.clone(), true, move |piece| {
            let (closed, opened) = &*looks.closed;
            drop(opened.wait_while(closed.lock().unwrap(), |closed| *closed).unwrap());
            looks.seen.lock().unwrap().extend_from_slice(piece);
        })
    }

    fn close(&self, closed: bool) {
        *self.closed.0.lock().unwrap() = closed;
        self.closed.1.notify_all();
    }

    fn seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

/// As if the next batch had waited for the last one.
async fn is_held_up(writer: &mut FsWriter) {
    // The threads that have followed give back their places.
    writer.store.settle().await;
    writer.pace = Some(Pace { took: Duration::from_secs(3600), ended: Instant::now() });
}

/// A writer of a new upload of which 1 MiB is written and waits at the gate to be looked at.
async fn following(store: &FsStore, looks: &Looks) -> (FsWriter, Upload) {
    let upload = Upload::new(UploadId::random(), SystemTime::now());
    let mut writer = store.create(upload.clone()).await.unwrap();
    is_held_up(&mut writer).await;
    looks.close(true);
    writer.write(looks.batch(&Bytes::from(vec![7; 1 << 20]))).await.unwrap();
    (writer, upload)
}

#[test]
fn a_batch_that_came_late_was_not_held_up() {
    let ended = Instant::now();
    assert!(Pace { took: Duration::from_secs(3600), ended }.holds_up());
    assert!(!Pace { took: Duration::ZERO, ended }.holds_up());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_come_fast_are_looked_at_beside_their_writing_before_the_commit() {
    for calls in [FileCalls::Pool, FileCalls::InPlace] {
        let home = TempDir::new().unwrap();
        let store = FsStore::new(home.path()).file_calls(calls);
        let looks = Looks::default();
        let mut upload = Upload::new(UploadId::random(), SystemTime::now());
        let mut writer = store.create(upload.clone()).await.unwrap();
        let (one, two) = (Bytes::from(vec![1; 300_000]), Bytes::from(vec![2; 100_000]));
        writer.write(looks.batch(&one)).await.unwrap();
        let mut written = one.to_vec();
        assert_eq!(looks.seen(), written.len(), "what comes slowly is looked at first");
        assert!(writer.pace.is_some());

        is_held_up(&mut writer).await;
        looks.close(true);
        for bytes in [&two, &one] {
            writer.write(looks.batch(bytes)).await.unwrap();
            written.extend_from_slice(bytes);
        }
        assert_eq!(looks.seen(), one.len());
        looks.close(false);
        writer.inspected().await.unwrap();
        assert_eq!(*looks.seen.lock().unwrap(), written);

        is_held_up(&mut writer).await;
        writer.write(looks.batch(&two)).await.unwrap();
        // What is looked at before it is written waits for its turn.
        writer.write(looks.batch(&Bytes::from_static(b"few"))).await.unwrap();
        written.extend_from_slice(&two);
        written.extend_from_slice(b"few");
        assert_eq!(*looks.seen.lock().unwrap(), written);

        is_held_up(&mut writer).await;
        looks.close(true);
        writer.write(looks.batch(&one)).await.unwrap();
        written.extend_from_slice(&one);
        upload.progress.offset = written.len() as u64;
        let (seen, before) = (Arc::clone(&looks.seen), written.clone());
        let commit = Commit::computed(Bytes::new(), true, move |_| {
            assert_eq!(*seen.lock().unwrap(), before, "before the commit");
            upload
        });
        let (committed, ()) = tokio::join!(writer.commit(commit), async { looks.close(false) });
        committed.unwrap();
        assert_eq!(fs::read(writer.path().unwrap()).unwrap(), written);
    }
}

#[tokio::test]
async fn writing_waits_for_those_who_look_and_are_far_behind() {
    let home = TempDir::new().unwrap();
    let store = FsStore::new(home.path());
    let looks = Looks::default();
    let (mut writer, _) = following(&store, &looks).await;
    let bytes = Bytes::from(vec![7; 1 << 20]);
    let mut written = bytes.to_vec();
    let behind = |writer: &FsWriter| writer.follower.as_ref().unwrap().behind();
    while behind(&writer) <= 16 << 20 {
        writer.write(looks.batch(&bytes)).await.unwrap();
        written.extend_from_slice(&bytes);
    }
    let path = writer.path().unwrap();
    let mut waiting = Box::pin(writer.write(looks.batch(&bytes)));
    let polled = poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_ready()));
    assert!(!polled.await, "it does not wait");
    // The only thing under way is what waits at the gate.
    assert_eq!(store.calls.tasks().len(), 1);
    assert_eq!(fs::metadata(&path).unwrap().len(), written.len() as u64);
    looks.close(false);
    waiting.await.unwrap();
    written.extend_from_slice(&bytes);
    writer.inspected().await.unwrap();
    assert_eq!(*looks.seen.lock().unwrap(), written);
}

/// Its client may be silent for long then.
#[tokio::test]
async fn a_file_is_open_once_when_all_of_it_was_looked_at() {
    let home = TempDir::new().unwrap();
    let store = FsStore::new(home.path());
    let looks = Looks::default();
    let (mut writer, _) = following(&store, &looks).await;
    let has_file = |writer: &FsWriter| writer.follower.as_ref().unwrap().has_file();
    assert!(has_file(&writer));
    looks.close(false);
    store.settle().await;
    assert!(!has_file(&writer));

    let before = looks.seen();
    looks.close(true);
    writer.write(looks.batch(&Bytes::from(vec![8; 1 << 20]))).await.unwrap();
    assert!(has_file(&writer));
    looks.close(false);
    writer.inspected().await.unwrap();
    assert_eq!(looks.seen(), before + (1 << 20));
}

#[tokio::test]
async fn a_writer_that_is_dropped_is_not_looked_after() {
    let home = TempDir::new().unwrap();
    let store = FsStore::new(home.path());
    let looks = Looks::default();
    let (writer, _) = following(&store, &looks).await;
    drop(writer);
    looks.close(false);
    store.settle().await;
    // A thread may have been in the middle of a piece.
    assert!(looks.seen() <= 256 * 1024, "{}", looks.seen());
    // What was looked at is dropped, and another upload finds all threads.
    assert_eq!(Arc::strong_count(&looks.seen), 1);
    let free = store.calls.free_followers();
    assert_eq!(free, thread::available_parallelism().unwrap().get());
}

#[tokio::test]
async fn an_upload_whose_bytes_cannot_be_read_back_is_not_committed() {
    let home = TempDir::new().unwrap();
    let store = FsStore::new(home.path());
    for panics in [false, true] {
        let looks = Looks::default();
        let (mut writer, upload) = following(&store, &looks).await;
        if panics {
            let panic = |_: &[u8]| panic!("it is not looked at");
            let bytes = vec![7; 1 << 20];
            writer.write(Batch::looked_at(bytes.into(), true, panic)).await.unwrap();
        } else {
            fs::File::create(writer.path().unwrap()).unwrap();
        }
        looks.close(false);
        let commit = Commit::computed(Bytes::new(), false, |_| panic!("it is committed"));
        let error = writer.commit(commit).await.unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
        // The writer is good for nothing else, and hangs nowhere.
        writer.inspected().await.unwrap_err();
        drop(writer);
        store.settle().await;
        assert!(matches!(store.load(&upload.id).await, Err(StoreError::NotFound)));
    }
}

#[test]
fn a_runtime_that_has_ended_looks_at_nothing_and_hangs_nobody() {
    let home = TempDir::new().unwrap();
    let store = FsStore::new(home.path());
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ended = runtime();
    let handle = ended.handle().clone();
    drop(ended);
    let follower = store.calls.follower().unwrap();
    let file = store.layout.disk.create_new(&home.path().join("file")).unwrap();
    let entered = handle.enter();
    follower.queue().push(&file, 0, 3, Box::new(|_| panic!("it is looked at"))).unwrap();
    drop(entered);
    runtime().block_on(follower.caught_up()).unwrap_err();
}

fn keyed() -> Upload {
    let mut upload = Upload::new(UploadId::random(), SystemTime::now());
    upload.creation = Some(Creation::new(5));
    upload
}

async fn begin_keyed(store: &FsStore, upload: &Upload) -> FsWriter {
    let mut writer = store.create(upload.clone()).await.unwrap();
    let mut upload = upload.clone();
    upload.progress.offset = 5;
    writer.commit(Commit::new(&b"bytes"[..], upload)).await.unwrap();
    writer
}

/// A power cut has taken its record, or the application has taken it where it was.
#[tokio::test]
async fn a_file_without_a_record_is_in_no_way_of_a_key_and_stays() {
    for in_place in [false, true] {
        let home = TempDir::new().unwrap();
        let store = FsStore::new(home.path().join("up"));
        let upload = keyed();
        let mut writer = begin_keyed(&store, &upload).await;
        let path = writer.path().unwrap();
        let record = store.layout.record(&upload.id);
        if in_place {
            writer.persist(&path, true).await.unwrap();
            writer.remove().await.unwrap();
        } else {
            drop(writer);
            store.settle().await;
            fs::remove_file(&record).unwrap();
        }
        for left in [None, Some(&b""[..]), Some(b"torn")] {
            if let Some(left) = left {
                fs::write(&record, left).unwrap();
            }
            begin_keyed(&store, &upload).await.remove().await.unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"bytes");
            assert!(!record.exists());
        }
        fs::write(&record, b"").unwrap();
        store.discard(&upload.id).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"bytes");
    }
}

/// The removal of an upload whose file the application has where it was is interrupted.
#[tokio::test]
async fn what_is_left_of_a_removal_is_removed_without_what_the_application_has() {
    let home = TempDir::new().unwrap();
    for upload in [keyed(), Upload::new(UploadId::random(), SystemTime::now())] {
        let store = FsStore::new(home.path().join("up"));
        let mut writer = begin_keyed(&store, &upload).await;
        let path = writer.path().unwrap();
        let record = store.layout.record(&upload.id);
        writer.persist(&path, true).await.unwrap();
        let before = fs::read(&record).unwrap();
        writer.remove().await.unwrap();
        let mut removed = before.clone();
        journal::Line::Removed {}.write_to(&mut removed).unwrap();
        fs::write(&record, &removed).unwrap();
        store.discard(&upload.id).await.unwrap();
        assert!(!record.exists());
        assert_eq!(fs::read(&path).unwrap(), b"bytes");
        // A line after those that say where the file is.
        fs::write(&record, [&before[..], b"00000000 {}\n"].concat()).unwrap();
        assert!(store.remove_damaged(&upload.id).await.unwrap());
        assert!(!record.exists());
        assert_eq!(fs::read(&path).unwrap(), b"bytes");
    }
}

#[tokio::test]
async fn the_bytes_of_a_damaged_upload_with_a_key_go_with_it() {
    let home = TempDir::new().unwrap();
    let store = FsStore::new(home.path().join("up"));
    let upload = keyed();
    let path = begin_keyed(&store, &upload).await.path().unwrap();
    store.settle().await;
    let record = store.layout.record(&upload.id);
    append(&record, b"00000000 {}\n");
    assert!(store.remove_damaged(&upload.id).await.unwrap());
    assert!(!record.exists() && !path.exists());
}

/// The engine asks the other process for it, and that must not come late.
#[tokio::test]
async fn what_another_process_creates_is_busy_at_once() {
    let home = TempDir::new().unwrap();
    let plan = disk::plan::Plan::new("boot");
    let store = FsStore::new(home.path().join("up"));
    let other = FsStore::new(home.path().join("up")).with_plan(Arc::clone(&plan));
    let upload = keyed();
    let writer = store.create(upload.clone()).await.unwrap();
    assert!(matches!(other.create(upload.clone()).await, Err(StoreError::Busy)));
    assert!(plan.calls() < 30, "{} calls", plan.calls());
    drop(writer);
    store.settle().await;
    drop(begin_keyed(&other, &upload).await);
}
