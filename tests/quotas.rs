//! What unfinished uploads may take up, and how slow a body may be.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use support::*;
use tower_chunked_upload::store::{FsStore, MemoryStore, Store};
use tower_chunked_upload::{
    AppendMode, ChunkedUploadLayer, Context, ErrorKind, NewUpload, Owner, Policy, Quota, Refusal,
    Uploads, UploadsBuilder,
};

struct Users;

impl Policy for Users {
    async fn authorize(&self, asked: &Context<'_>) -> Result<Option<Owner>, Refusal> {
        let user = asked.request.headers.get("x-user").and_then(|user| user.to_str().ok());
        Ok(user.map(Owner::from))
    }
}

fn client(builder: UploadsBuilder) -> Client {
    Client::new(ChunkedUploadLayer::new(builder.build().unwrap()).policy(Users))
}

fn memory() -> UploadsBuilder {
    Uploads::builder(MemoryStore::new())
}

fn by(user: &str, mut request: http::Request<TestBody>) -> http::Request<TestBody> {
    request.headers_mut().insert("x-user", user.parse().unwrap());
    request
}

/// What a refusal says of the limit.
#[track_caller]
fn limit(reply: &Reply, status: u16) -> u64 {
    let detail = reply.refused(status);
    let limit = reply.json()["limit"].as_u64().expect("a limit");
    assert!(detail.contains(&limit.to_string()), "{detail}");
    limit
}

#[test]
fn uploads_side_by_side_cannot_have_more_than_the_quota() {
    let (folder, store) = folder();
    run(async {
        let client = client(
            Uploads::builder(store)
                .max_uploads_per_owner(5)
                .max_bytes_per_owner(10_000)
                .max_bytes_in_all(15_000),
        );
        let flood = |user: &'static str, total: u64| {
            let replies: Vec<_> =
                (0..50).map(|_| client.spawn(by(user, chunk(None, 0, total, b"abc")))).collect();
            async move {
                let mut taken = Vec::new();
                let mut refused = Vec::new();
                for reply in replies {
                    let reply = reply.await.unwrap();
                    if reply.status == 200 { taken.push(reply) } else { refused.push(reply) }
                }
                (taken, refused)
            }
        };
        let (taken, refused) = flood("many", 10).await;
        assert_eq!(taken.len(), 5);
        assert!(refused.iter().all(|reply| limit(reply, 429) == 5));
        let (taken, refused) = flood("large", 3000).await;
        assert_eq!(taken.len(), 3);
        assert!(refused.iter().all(|reply| limit(reply, 413) == 10_000));
        let (taken, refused) = flood("rest", 3000).await;
        assert_eq!(taken.len(), 1);
        assert!(refused.iter().all(|reply| limit(reply, 507) == 15_000));
    });
    // What was refused left nothing: of nine uploads there are two files each.
    assert_eq!(files_below(folder.path()).len(), 18);
}

#[tokio::test]
async fn room_comes_back_when_an_upload_is_completed_cancelled_or_swept() {
    let clock = Clock::new();
    let uploads = memory().max_uploads_per_owner(1).clock(clock.read()).build().unwrap();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let begin = async || client.chunk(None, 0, 3, b"abc").await;

    let first = begin().await.id();
    assert_eq!(limit(&begin().await, 429), 1);
    assert_eq!(client.complete(&first, &md5(b"abc")).await.status, 200);

    let second = begin().await.id();
    assert_eq!(limit(&begin().await, 429), 1);
    assert_eq!(client.send(on_id(http::Method::DELETE, &second)).await.status, 204);

    begin().await.id();
    clock.advance(Duration::from_secs(100_000));
    assert_eq!(limit(&begin().await, 429), 1);
    uploads.delete_expired().await.unwrap();
    begin().await.id();
}

#[tokio::test]
async fn room_that_was_reserved_for_nothing_comes_back() {
    let client = client(memory().max_uploads_per_owner(1).max_bytes_per_owner(1000));
    let cut = TestBody::new([Piece::Data(Form::new().open_file("a")), Piece::Fail]);
    client.send(ranged("bytes 0-499/1000", cut)).await.refused(400);
    let dropped = client.call(ranged(
        "bytes 0-499/1000",
        TestBody::new([
            Piece::Data(Form::new().open_file("a")),
            Piece::Data(Bytes::from_static(b"abc")),
            Piece::Stall,
        ]),
    ));
    assert!(poll_times(dropped, 1).await.is_none());
    until("the room comes back", async || client.chunk(None, 0, 1000, b"abc").await.status == 200)
        .await;
}

#[tokio::test]
async fn an_upload_without_a_total_reserves_what_comes() {
    let client = client(memory().max_bytes_per_owner(100_000));
    let endless = TestBody::new([
        Piece::Data(Form::new().open_file("a")),
        Piece::Endless(Bytes::from_static(&[7; 1000])),
    ]);
    let mut probe = endless.probe();
    assert_eq!(limit(&client.send(form_request(endless)).await, 413), 100_000);
    assert!(probe.begun().await.bytes < 110_000);
    client.upload(&noise(60_000)).await;
    client.upload(&noise(40_000)).await;
    let form = Form::new().file("a", b"x").end();
    assert_eq!(limit(&client.send(form_request(TestBody::of(form))).await, 413), 100_000);
}

#[tokio::test]
async fn a_chunk_whose_id_is_still_to_come_is_not_refused_for_its_own_uploads_sake() {
    let client = client(memory().max_uploads_per_owner(1).max_bytes_per_owner(10));
    let id = client.begin(10, b"01234").await;
    let form = Form::new().file("a", b"56789").field("upload_id", &id).end();
    let reply = client.send(ranged("bytes 5-9/10", TestBody::of(form))).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    // Such chunks have a bound all the same.
    let stall = || TestBody::new([Piece::Data(Form::new().open_file("a")), Piece::Stall]);
    let body = stall();
    let mut probe = body.probe();
    let held = client.spawn(ranged("bytes 5-9/10", body));
    probe.waiting().await;
    assert_eq!(limit(&client.send(ranged("bytes 5-9/10", stall())).await, 429), 1);
    held.abort();
}

#[test]
fn what_was_begun_before_a_restart_counts() {
    let (_folder, store) = folder();
    run(async {
        let before = client(Uploads::builder(store.clone()));
        for _ in 0..3 {
            let reply = before.send(by("a", chunk(None, 0, 1000, b"abc"))).await;
            assert_eq!(reply.status, 200);
        }
        let done = before.send(by("a", chunk(None, 0, 3, b"abc"))).await.id();
        assert_eq!(before.send(by("a", complete(&done, &md5(b"abc")))).await.status, 200);

        let after = client(Uploads::builder(store.clone()).max_bytes_per_owner(3500));
        let reply = after.send(by("a", chunk(None, 0, 501, b"abc"))).await;
        assert_eq!(limit(&reply, 413), 3500);
        assert_eq!(after.send(by("a", chunk(None, 0, 500, b"abc"))).await.status, 200);
        assert_eq!(after.send(by("b", chunk(None, 0, 3500, b"abc"))).await.status, 200);
    });
}

#[test]
fn a_sweep_counts_what_another_process_has_begun_and_cancelled() {
    let (_folder, store) = folder();
    run(async {
        let quota = |store: FsStore| Uploads::builder(store).max_uploads_per_owner(2).build();
        let ours = quota(store.clone()).unwrap();
        let theirs = Uploads::builder(store).build().unwrap();
        let begin = async |uploads: &Uploads| {
            let append = uploads.for_owner(None).create(NewUpload::new()).await?;
            append.commit().await
        };
        begin(&ours).await.unwrap();
        let other = begin(&theirs).await.unwrap();
        ours.delete_expired().await.unwrap();
        let refused = begin(&ours).await.unwrap_err();
        let exceeded = ErrorKind::QuotaExceeded { quota: Quota::OwnerUploads, limit: 2 };
        assert_eq!(*refused.kind(), exceeded);
        theirs.for_operator().cancel(&other.id).await.unwrap();
        ours.delete_expired().await.unwrap();
        begin(&ours).await.unwrap();
    });
}

/// What has been read and is not counted yet must not undo what has been reserved since.
#[tokio::test]
async fn a_length_that_is_announced_during_a_sweep_stays_reserved() {
    let store = Double::default();
    let uploads = Uploads::builder(store.clone()).max_bytes_in_all(1000).build().unwrap();
    let owned = uploads.for_owner(None);
    let id = owned.create(NewUpload::new()).await.unwrap().commit().await.unwrap().id;
    let gate = store.hold(Call::Listed);
    let sweep = tokio::spawn(async move { uploads.delete_expired().await });
    gate.arrived().await;
    let mut append = owned.append(&id, 0, AppendMode::AllOrNothing).await.unwrap();
    append.set_total(1000).await.unwrap();
    append.commit().await.unwrap();
    gate.open();
    sweep.await.unwrap().unwrap();
    let refused = owned.create(NewUpload::new().total(1000)).await.unwrap_err();
    let exceeded = ErrorKind::QuotaExceeded { quota: Quota::AllBytes, limit: 1000 };
    assert_eq!(*refused.kind(), exceeded);
}

#[tokio::test]
async fn room_stays_free_when_all_has_come_that_was_begun() {
    let store = Double::default();
    store.set_room(10_000);
    let client = client(Uploads::builder(store.clone()).min_free_bytes(4000));
    let together = (0..20).map(|_| client.spawn(chunk(None, 0, 1000, b"abc")));
    let mut taken = 0;
    for reply in together.collect::<Vec<_>>() {
        let reply = reply.await.unwrap();
        taken += u64::from(reply.status == 200);
        assert!(reply.status == 200 || limit(&reply, 507) == 4000);
    }
    // Who asks while another reserves counts that twice rather than not at all.
    assert!((1..=6).contains(&taken), "{taken}");
    for _ in taken..6 {
        assert_eq!(client.chunk(None, 0, 1000, b"abc").await.status, 200);
    }
    assert_eq!(limit(&client.chunk(None, 0, 1000, b"abc").await, 507), 4000);
    store.set_room(20_000);
    assert_eq!(client.chunk(None, 0, 1000, b"abc").await.status, 200);

    // Of an upload that does not say how large it is, each mebibyte is looked at.
    let endless = TestBody::new([
        Piece::Data(Form::new().open_file("a")),
        Piece::Endless(Bytes::from_static(&[7; 10_000])),
    ]);
    assert_eq!(limit(&client.send(form_request(endless)).await, 507), 4000);
}

/// What has come is not counted a second time as what is still to come.
#[tokio::test(start_paused = true)]
async fn an_upload_does_not_stand_in_its_own_way() {
    const MIB: u64 = 1 << 20;
    let store = Double::default();
    store.set_room(30 * MIB);
    let client = client(Uploads::builder(store.clone()).min_free_bytes(10 * MIB));
    let (sender, body) = TestBody::live();
    let mut probe = body.probe();
    let reply = client.spawn(raw(None, None, body));
    for mib in 1..=16 {
        sender.send(Piece::Data(Bytes::from(vec![7; 1 << 20]))).unwrap();
        // The batch is written while the client pauses.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(probe.waiting().await.bytes, mib * MIB);
        store.set_room((30 - mib) * MIB);
    }
    drop(sender);
    assert_eq!(reply.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_store_that_cannot_tell_its_room_takes_nothing_if_some_must_stay_free() {
    let client = client(Uploads::builder(Double::default()).min_free_bytes(1));
    client.chunk(None, 0, 1000, b"abc").await.refused(500);
}

#[test]
fn a_folder_has_room_and_not_without_end() {
    let (_folder, store) = folder();
    run(async {
        let free = store.free_bytes().await.unwrap();
        assert_eq!(free.is_some(), cfg!(unix));
        if let Some(free) = free {
            let client = client(Uploads::builder(store).min_free_bytes(free * 2));
            assert_eq!(limit(&client.chunk(None, 0, 10, b"abc").await, 507), free * 2);
        }
    });
}

// --- how slow a body may be

/// A piece of so many bytes after each second.
fn slowly(bytes: usize, pieces: usize) -> TestBody {
    let piece = Bytes::from(vec![7; bytes]);
    TestBody::new((0..pieces).map(|_| Piece::After(Duration::from_secs(1), piece.clone())))
}

#[tokio::test(start_paused = true)]
async fn a_body_that_brings_too_little_is_ended_and_gives_the_upload_back() {
    let layer = ChunkedUploadLayer::new(in_memory());
    let client = Client::new(layer.min_rate(1000, Duration::from_secs(10)));
    let id = client.begin(5000, b"abc").await;
    let reply = client.send(raw(Some(&id), Some("bytes 3-4999/5000"), slowly(99, 51))).await;
    assert_eq!(reply.refused(408), "Data arrived too slowly");
    assert_eq!(client.offset(&id).await, 3);
    let body = slowly(100, 50);
    let reply = client.send(raw(Some(&id), Some("bytes 3-5002/5003"), body)).await;
    assert_eq!(reply.refused(400), "Size of file was announced as 5000 bytes");
    let reply = client.send(raw(None, Some("bytes 0-4999/5000"), slowly(100, 50))).await;
    assert_eq!(reply.status, 200);
    // A byte now and then is not idle, and too slow even before the next one comes.
    let now_and_then = TestBody::new([
        Piece::After(Duration::from_secs(8), Bytes::from_static(b"x")),
        Piece::After(Duration::from_secs(50), Bytes::from_static(b"x")),
    ]);
    let start = tokio::time::Instant::now();
    client.send(raw(None, None, now_and_then)).await.refused(408);
    assert_eq!(start.elapsed().as_secs(), 10);
}

/// What the store takes its time for is not the client's fault.
#[tokio::test(start_paused = true)]
async fn a_slow_store_makes_no_client_too_slow() {
    let store = Double::default();
    let uploads = Uploads::builder(store.clone()).build().unwrap();
    let layer = ChunkedUploadLayer::new(uploads);
    let client = Client::new(layer.min_rate(1000, Duration::from_secs(10)));
    let gate = store.hold(Call::Write(0));
    let body = TestBody::new((0..100).map(|_| Piece::Data(Bytes::from_static(&[7; 10_000]))));
    let reply = client.spawn(raw(None, None, body));
    gate.arrived().await;
    tokio::time::sleep(Duration::from_secs(1000)).await;
    gate.open();
    assert_eq!(reply.await.unwrap().status, 200);
}
