//! The progress of an upload, as another device or an operator sees it.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::{Router, routing::get};
use serde_json::{Value, json};
use support::*;
use tokio::time::timeout;
use tower_chunked_upload::store::{FsStore, MemoryStore, Store};
use tower_chunked_upload::{
    AppendMode, ChunkedUploadLayer, Ended, ErrorKind, IdempotencyKey, NewUpload, Owner, Snapshot,
    Status, UploadId, Uploads, Watch,
};

const HOUR: Duration = Duration::from_secs(3600);
/// Nothing here takes so long.
const HANGS: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// What is pushed comes although the store is not looked at.
fn pushed(store: impl Store) -> Uploads {
    Uploads::builder(store).watch_interval(HOUR).build().unwrap()
}

/// The time of day, as the stores have it.
fn clock() -> Clock {
    let clock = Clock::new();
    clock.advance(SystemTime::now().duration_since(clock.now()).unwrap());
    clock
}

async fn begin(uploads: &Uploads, total: u64, first: &'static [u8]) -> UploadId {
    let mut append = uploads.for_owner(None).create(NewUpload::new().total(total)).await.unwrap();
    append.write(first).await.unwrap();
    append.commit().await.unwrap().id
}

async fn grow(uploads: &Uploads, id: &UploadId, at: u64, bytes: &'static [u8]) {
    let mode = AppendMode::AllOrNothing;
    let mut append = uploads.for_operator().append(id, at, mode).await.unwrap();
    append.write(bytes).await.unwrap();
    append.commit().await.unwrap();
}

async fn next(watch: &mut Watch) -> Snapshot {
    timeout(HANGS, watch.next()).await.expect("there is nothing new").expect("it has ended")
}

/// The last snapshot, after which there is none.
async fn end(watch: &mut Watch) -> Snapshot {
    loop {
        let now = next(watch).await;
        if now.ended.is_some() {
            assert_eq!(timeout(HANGS, watch.next()).await.unwrap(), None);
            assert_eq!(timeout(HANGS, watch.next()).await.unwrap(), None);
            return now;
        }
    }
}

async fn is_quiet(watch: &mut Watch) -> bool {
    poll_times(watch.next(), 1).await.is_none()
}

macro_rules! on_each_store {
    ($($test:ident),* $(,)?) => {
        mod in_memory {
            $(#[test]
            fn $test() {
                super::run(super::$test(super::MemoryStore::new(), super::MemoryStore::clone));
            })*
        }

        mod in_a_folder {
            $(#[test]
            fn $test() {
                let folder = tempfile::tempdir().unwrap();
                let store = super::FsStore::new(folder.path().join("up/%Y"));
                // As another process has it.
                let again = |_: &_| super::FsStore::new(folder.path().join("up/%Y"));
                super::run(super::$test(store, again));
            })*
        }

        #[cfg(feature = "object-store")]
        mod in_a_bucket {
            $(#[test]
            fn $test() {
                let objects = std::sync::Arc::new(object_store::memory::InMemory::new());
                let open = |objects: &std::sync::Arc<object_store::memory::InMemory>| {
                    let objects = std::sync::Arc::clone(objects);
                    let store = tower_chunked_upload::store::BucketStore::builder(objects).connect();
                    tokio::task::block_in_place(|| {
                        tokio::runtime::Handle::current().block_on(store).unwrap()
                    })
                };
                super::run(async {
                    let store = open(&objects);
                    super::$test(store, |_: &_| open(&objects)).await;
                });
            })*
        }
    };
}

on_each_store! {
    each_change_is_pushed_until_the_application_has_the_file,
    the_end_is_told_whatever_it_is,
    a_slow_watcher_gets_the_latest_state_alone,
    what_another_process_does_is_found,
    what_is_removed_elsewhere_has_ended,
    the_next_upload_of_a_key_is_watched_by_itself,
    an_upload_whose_key_another_process_has_used_again_has_ended,
    bytes_are_told_before_they_are_acknowledged,
    bytes_that_are_kept_are_told_as_they_are_committed,
}

async fn each_change_is_pushed_until_the_application_has_the_file<S: Store>(
    store: S,
    _: impl Fn(&S) -> S,
) {
    let uploads = pushed(store);
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let id = client.begin(10, b"abc").await;
    let owned = uploads.for_owner(None);
    let mut watch = owned.watch(&id.parse().unwrap()).await.unwrap();
    let now = next(&mut watch).await;
    assert_eq!((now.upload.offset(), now.received, now.ended), (3, 3, None));
    assert_eq!(now.upload.total(), Some(10));
    assert!(is_quiet(&mut watch).await);
    client.chunk(Some(&id), 3, 10, b"defg").await;
    let now = next(&mut watch).await;
    assert_eq!((now.upload.offset(), now.received, now.ended), (7, 7, None));
    client.chunk(Some(&id), 7, 10, b"hij").await;
    let now = next(&mut watch).await;
    assert_eq!((now.upload.offset(), now.upload.status(), now.ended), (10, Status::Open, None));
    // It is given to the application, which does not take it.
    let completion = owned.complete(&now.upload.id, None).await.unwrap();
    assert_eq!(next(&mut watch).await.upload.status(), Status::Finishing);
    completion.reopen().await.unwrap();
    assert_eq!(next(&mut watch).await.upload.status(), Status::Open);
    assert_eq!(client.complete(&id, &md5(b"abcdefghij")).await.status, 200);
    let now = end(&mut watch).await;
    assert_eq!((now.ended, now.upload.status()), (Some(Ended::Completed), Status::Complete));
    let mut late = owned.watch(&now.upload.id).await.unwrap();
    assert_eq!(end(&mut late).await.ended, Some(Ended::Completed));
}

async fn the_end_is_told_whatever_it_is<S: Store>(store: S, _: impl Fn(&S) -> S) {
    let clock = clock();
    let uploads = Uploads::builder(store).watch_interval(HOUR).clock(clock.read()).build().unwrap();
    let owned = uploads.for_owner(None);

    let id = begin(&uploads, 3, b"ab").await;
    let mut watch = owned.watch(&id).await.unwrap();
    owned.cancel(&id).await.unwrap();
    let now = end(&mut watch).await;
    assert_eq!((now.ended, now.upload.offset()), (Some(Ended::Cancelled), 2));
    assert_eq!(*owned.watch(&id).await.unwrap_err().kind(), ErrorKind::NotFound);

    let id = begin(&uploads, 3, b"abc").await;
    let mut watch = uploads.for_operator().watch(&id).await.unwrap();
    owned.complete(&id, None).await.unwrap().file().discard().await.unwrap();
    assert_eq!(end(&mut watch).await.ended, Some(Ended::Discarded));

    let id = begin(&uploads, 3, b"abc").await;
    let mut watch = owned.watch(&id).await.unwrap();
    next(&mut watch).await;
    let expires = clock.now() + HOUR;
    owned.set_expires(&id, expires).await.unwrap();
    assert_eq!(next(&mut watch).await.upload.expires().map(millis), Some(millis(expires)));
    clock.advance(2 * HOUR);
    assert!(uploads.for_operator().delete_if_expired(&id).await.unwrap());
    assert_eq!(end(&mut watch).await.ended, Some(Ended::Expired));
    assert_eq!(*owned.watch(&id).await.unwrap_err().kind(), ErrorKind::Expired);
}

fn millis(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap().as_millis()
}

async fn a_slow_watcher_gets_the_latest_state_alone<S: Store>(store: S, _: impl Fn(&S) -> S) {
    let uploads = pushed(store);
    let id = begin(&uploads, 100, b"").await;
    let mut watch = uploads.for_owner(None).watch(&id).await.unwrap();
    for at in 0..20 {
        grow(&uploads, &id, at, b"x").await;
    }
    assert_eq!(next(&mut watch).await.upload.offset(), 20);
    assert!(is_quiet(&mut watch).await);
    for at in 20..40 {
        grow(&uploads, &id, at, b"x").await;
    }
    uploads.for_owner(None).cancel(&id).await.unwrap();
    let now = next(&mut watch).await;
    assert_eq!((now.upload.offset(), now.ended), (40, Some(Ended::Cancelled)));
}

async fn what_another_process_does_is_found<S: Store>(store: S, again: impl Fn(&S) -> S) {
    let clock = clock();
    let elsewhere = Uploads::builder(again(&store)).clock(clock.read()).build().unwrap();
    let here = Uploads::builder(store).watch_interval(Duration::from_millis(5));
    let here = here.clock(clock.read()).build().unwrap();
    let id = begin(&elsewhere, 3, b"a").await;
    let owned = here.for_owner(None);
    let mut watch = owned.watch(&id).await.unwrap();
    assert_eq!(next(&mut watch).await.upload.offset(), 1);
    grow(&elsewhere, &id, 1, b"b").await;
    let now = next(&mut watch).await;
    assert_eq!((now.upload.offset(), now.received), (2, 2));
    grow(&elsewhere, &id, 2, b"c").await;
    assert_eq!(next(&mut watch).await.upload.offset(), 3);
    elsewhere.for_owner(None).complete(&id, None).await.unwrap().finish().await.unwrap();
    assert_eq!(end(&mut watch).await.ended, Some(Ended::Completed));
    // Nobody sweeps.
    let id = begin(&elsewhere, 3, b"a").await;
    let mut watch = owned.watch(&id).await.unwrap();
    next(&mut watch).await;
    clock.advance(100 * HOUR);
    assert_eq!(end(&mut watch).await.ended, Some(Ended::Expired));
}

async fn what_is_removed_elsewhere_has_ended<S: Store>(store: S, again: impl Fn(&S) -> S) {
    let elsewhere = pushed(again(&store));
    let here = Uploads::builder(store).watch_interval(Duration::from_millis(5)).build().unwrap();
    let id = begin(&elsewhere, 3, b"a").await;
    let mut watch = here.for_owner(None).watch(&id).await.unwrap();
    next(&mut watch).await;
    elsewhere.for_owner(None).cancel(&id).await.unwrap();
    let now = end(&mut watch).await;
    assert_eq!((now.ended, now.upload.offset()), (Some(Ended::Removed), 1));
}

fn keyed() -> NewUpload {
    NewUpload::new()
        .total(10)
        .idempotency_key(IdempotencyKey::new("8e03978e-40d5-43e8-bc93-6894a57f9324").unwrap())
}

async fn the_next_upload_of_a_key_is_watched_by_itself<S: Store>(store: S, _: impl Fn(&S) -> S) {
    let clock = clock();
    let uploads = Uploads::builder(store).watch_interval(HOUR).clock(clock.read()).build().unwrap();
    let owned = uploads.for_owner(None);
    let before = owned.create(keyed()).await.unwrap().commit().await.unwrap();
    let mut of_before = owned.watch(&before.id).await.unwrap();
    owned.cancel(&before.id).await.unwrap();
    clock.advance(Duration::from_millis(1));
    let id = owned.create(keyed()).await.unwrap().commit().await.unwrap().id;
    let mut watch = owned.watch(&id).await.unwrap();
    let now = next(&mut watch).await;
    assert_eq!((now.upload.created > before.created, now.ended), (true, None));
    // Who watches the last one neither sees the next nor takes its place away.
    grow(&uploads, &id, 0, b"abc").await;
    let now = end(&mut of_before).await;
    assert_eq!((now.upload.created, now.received), (before.created, 0));
    assert_eq!(now.ended, Some(Ended::Cancelled));
    drop(of_before);
    grow(&uploads, &id, 3, b"defg").await;
    assert_eq!(next(&mut watch).await.upload.offset(), 7);
}

async fn an_upload_whose_key_another_process_has_used_again_has_ended<S: Store>(
    store: S,
    again: impl Fn(&S) -> S,
) {
    let clock = clock();
    let elsewhere = Uploads::builder(again(&store)).clock(clock.read()).build().unwrap();
    let here = Uploads::builder(store).watch_interval(Duration::from_millis(5));
    let here = here.clock(clock.read()).build().unwrap();
    let (theirs, ours) = (elsewhere.for_owner(None), here.for_owner(None));
    let before = theirs.create(keyed()).await.unwrap().commit().await.unwrap();
    grow(&elsewhere, &before.id, 0, b"abc").await;
    let mut of_before = ours.watch(&before.id).await.unwrap();
    let mut looking = ours.watch(&before.id).await.unwrap();
    assert_eq!(next(&mut looking).await.upload.offset(), 3);
    theirs.cancel(&before.id).await.unwrap();
    clock.advance(Duration::from_millis(1));
    let id = theirs.create(keyed()).await.unwrap().commit().await.unwrap().id;
    // It has fewer bytes, and nobody here knows yet that there is another.
    let mut watch = ours.watch(&id).await.unwrap();
    let now = next(&mut watch).await;
    assert_eq!((now.upload.created > before.created, now.upload.offset()), (true, 0));
    for of_before in [&mut of_before, &mut looking] {
        let now = end(of_before).await;
        assert_eq!((now.upload.created, now.ended), (before.created, Some(Ended::Removed)));
    }
    // A look finds the next one as well.
    let mut looking = ours.watch(&id).await.unwrap();
    next(&mut looking).await;
    theirs.cancel(&id).await.unwrap();
    clock.advance(Duration::from_millis(1));
    theirs.create(keyed()).await.unwrap().commit().await.unwrap();
    assert_eq!(end(&mut looking).await.ended, Some(Ended::Removed));
}

async fn bytes_are_told_before_they_are_acknowledged<S: Store>(store: S, _: impl Fn(&S) -> S) {
    let uploads =
        Uploads::builder(store).watch_interval(HOUR).batch_bytes(16 * 1024).build().unwrap();
    let id = begin(&uploads, 1 << 20, b"abc").await;
    let owned = uploads.for_owner(None);
    let mut watch = owned.watch(&id).await.unwrap();
    next(&mut watch).await;
    let mut append = owned.append(&id, 3, AppendMode::AllOrNothing).await.unwrap();
    let mut received = 3;
    for _ in 0..3 {
        append.write(&[7; 40_000][..]).await.unwrap();
        let now = next(&mut watch).await;
        assert!(now.received > received && now.received <= append.position(), "{now:?}");
        assert_eq!(now.upload.offset(), 3);
        received = now.received;
    }
    // The client breaks off.
    drop(append);
    let now = next(&mut watch).await;
    assert_eq!((now.upload.offset(), now.received), (3, 3));
    given_back(&uploads, &id).await;
    grow(&uploads, &id, 3, b"defg").await;
    let now = next(&mut watch).await;
    assert_eq!((now.upload.offset(), now.received), (7, 7));
}

async fn bytes_that_are_kept_are_told_as_they_are_committed<S: Store>(
    store: S,
    _: impl Fn(&S) -> S,
) {
    let uploads = pushed(store);
    let id = begin(&uploads, 1 << 20, b"").await;
    let owned = uploads.for_owner(None);
    let mut watch = owned.watch(&id).await.unwrap();
    let mut append = owned.append(&id, 0, AppendMode::KeepWhatCame).await.unwrap();
    let mut now = next(&mut watch).await;
    while now.upload.offset() == 0 {
        append.write(&[7; 8 * 1024][..]).await.unwrap();
        append.flush_idle().await.unwrap();
        now = next(&mut watch).await;
        assert!(now.received >= now.upload.offset() && now.received <= append.position());
        // Bytes are committed twice a second.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    append.write(&[7; 100][..]).await.unwrap();
    let position = append.position();
    drop(append);
    while now.upload.offset() < position {
        now = next(&mut watch).await;
    }
}

#[test]
fn another_owners_upload_looks_like_none() {
    run(async {
        let uploads = in_memory();
        let alices = uploads.for_owner(Owner::new("alice"));
        let id = alices.create(NewUpload::new()).await.unwrap().commit().await.unwrap().id;
        for other in [uploads.for_owner(Owner::new("bob")), uploads.for_owner(None)] {
            assert_eq!(*other.watch(&id).await.unwrap_err().kind(), ErrorKind::NotFound);
        }
        next(&mut alices.watch(&id).await.unwrap()).await;
        next(&mut uploads.for_operator().watch(&id).await.unwrap()).await;
    });
}

fn loads(double: &Double) -> usize {
    double.calls().iter().filter(|call| **call == Call::Load).count()
}

#[tokio::test(start_paused = true)]
async fn the_store_is_looked_at_once_for_all_who_watch_and_not_otherwise() {
    let double = Double::default();
    let uploads = Uploads::builder(double.clone()).build().unwrap();
    let id = begin(&uploads, 10, b"abc").await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(loads(&double), 0);
    let mut watches = Vec::new();
    for _ in 0..10 {
        watches.push(uploads.for_operator().watch(&id).await.unwrap());
        next(watches.last_mut().unwrap()).await;
    }
    let before = loads(&double);
    let waiting = watches.iter_mut().map(Watch::next);
    let waited = timeout(Duration::from_millis(60_500), futures_util::future::join_all(waiting));
    assert!(waited.await.is_err(), "nothing has changed");
    assert_eq!(loads(&double) - before, 60);
    // What fails once is looked at again.
    double.fail(Call::Load, 5);
    assert!(timeout(10 * SECOND, watches[0].next()).await.is_err());
    double.mend();
    grow(&uploads, &id, 3, b"d").await;
    assert_eq!(next(&mut watches[0]).await.upload.offset(), 4);
    drop(watches);
    let before = loads(&double);
    tokio::time::sleep(HOUR).await;
    assert_eq!(loads(&double), before);
}

/// A look at the store that began before a change must not undo it.
#[tokio::test(start_paused = true)]
async fn a_late_look_does_not_show_what_was_before() {
    let double = Double::default();
    let uploads = Uploads::builder(double.clone()).build().unwrap();
    let id = begin(&uploads, 10, b"abc").await;
    let operator = uploads.for_operator();
    let mut looking = operator.watch(&id).await.unwrap();
    let mut told = operator.watch(&id).await.unwrap();
    next(&mut looking).await;
    next(&mut told).await;
    let gate = double.hold(Call::Loaded);
    let look = tokio::spawn(async move { (looking.next().await, looking) });
    gate.arrived().await;
    // The record was read, and has not come yet.
    grow(&uploads, &id, 3, b"d").await;
    assert_eq!(next(&mut told).await.upload.offset(), 4);
    gate.open();
    let (now, _looking) = look.await.unwrap();
    assert_eq!(now.unwrap().upload.offset(), 4);
    assert!(timeout(10 * SECOND, told.next()).await.is_err());
}

#[test]
fn a_shutdown_ends_those_who_watch_and_does_not_wait_for_them() {
    run(async {
        let uploads = in_memory();
        let id = begin(&uploads, 10, b"abc").await;
        let mut watch = uploads.for_owner(None).watch(&id).await.unwrap();
        next(&mut watch).await;
        let waiting = tokio::spawn(async move { watch.next().await });
        uploads.shutdown(Duration::ZERO).await;
        assert_eq!(timeout(HANGS, waiting).await.unwrap().unwrap(), None);
    });
}

#[test]
fn an_interval_of_zero_is_refused() {
    let refused = Uploads::builder(MemoryStore::new()).watch_interval(Duration::ZERO).build();
    assert!(refused.unwrap_err().to_string().contains("must not be zero"));
}

/// The server-sent events of the example, one at a time.
struct Events(BufReader<TcpStream>);

impl Events {
    fn connect(address: SocketAddr, id: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(HANGS)).unwrap();
        write!(stream, "GET /api/uploads/{id}/progress HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut events = Self(BufReader::new(stream));
        assert!(events.line().starts_with("HTTP/1.1 200 "));
        let mut is_stream = false;
        loop {
            match events.line().to_lowercase().as_str() {
                "" => break,
                line => is_stream |= line == "content-type: text/event-stream",
            }
        }
        assert!(is_stream);
        events
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The name of the next event, and its data.
    fn next(&mut self) -> (String, Value) {
        let mut name = String::new();
        loop {
            let line = self.line();
            if let Some(event) = line.strip_prefix("event: ") {
                event.clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return (name, serde_json::from_str(data).unwrap());
            }
        }
    }
}

#[test]
fn a_browser_gets_the_progress_as_events() {
    let folder = tempfile::tempdir().unwrap();
    let store = FsStore::new(folder.path().join("up/%Y"));
    run(async {
        let uploads = pushed(store);
        let app = Router::new().route(
            "/api/uploads/{id}/progress",
            get(page::progress::progress).with_state(uploads.clone()),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, app).await });
        let client = Client::new(ChunkedUploadLayer::new(uploads));
        let id = client.begin(10, b"abc").await;
        let events = Arc::new(std::sync::Mutex::new(Events::connect(address, &id)));
        let event = async || {
            let events = Arc::clone(&events);
            tokio::task::spawn_blocking(move || events.lock().unwrap().next()).await.unwrap()
        };
        let at = |offset: u64, ended: Option<&str>| json!({ "offset": offset, "received": offset, "total": 10, "ended": ended });
        assert_eq!(event().await, (String::new(), at(3, None)));
        client.chunk(Some(&id), 3, 10, b"defg").await;
        assert_eq!(event().await, (String::new(), at(7, None)));
        client.chunk(Some(&id), 7, 10, b"hij").await;
        assert_eq!(event().await, (String::new(), at(10, None)));
        assert_eq!(client.complete(&id, &md5(b"abcdefghij")).await.status, 200);
        loop {
            match event().await {
                (name, data) if name == "ended" => {
                    assert_eq!(data, at(10, Some("completed")));
                    break;
                }
                (_, data) => assert_eq!(data, at(10, None)),
            }
        }
        server.abort();
    });
}
