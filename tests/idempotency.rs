//! Creations with a key: a client that got no answer sends the same request again.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;
#[path = "support/tus.rs"]
#[expect(dead_code, reason = "some of it is for other tests")]
mod tus_client;

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::sync::{mpsc, oneshot};
use tower_chunked_upload::store::{FsStore, Reader};
use tower_chunked_upload::{
    AppendMode, ChunkedUploadLayer, CompletedUpload, Context, Error, ErrorKind, Event,
    IdempotencyKey, NewUpload, Observer, Owner, OwnerUploads, Policy, Refusal, Resumable, Tus,
    UploadId, Uploads, UploadsBuilder,
};

use support::*;

const KEY: &str = "\"8e03978e-40d5-43e8-bc93-6894a57f9324\"";
const OTHER_KEY: &str = "0d7e1e24-0d0f-4cf7-8a4a-4f3c0b1b5a11";
const REUSED: &str = "The Idempotency-Key was used for an upload with other parameters";

/// Two services on one store.
struct Two {
    uploads: [Uploads; 2],
    clients: [Client; 2],
}

impl Two {
    fn new(builders: [UploadsBuilder; 2]) -> Self {
        let uploads = builders.map(|builder| builder.build().unwrap());
        let clients = uploads.clone().map(|uploads| Client::new(layer(uploads)));
        Self { uploads, clients }
    }

    async fn ids(&self) -> Vec<UploadId> {
        all_ids(&self.uploads[0]).await
    }

    /// How many files the application has got, and what is in them.
    fn delivered(&self) -> Vec<Vec<u8>> {
        let deliveries = self.clients.iter().flat_map(Client::deliveries);
        deliveries.map(|delivery| delivery.content).collect()
    }
}

fn layer(uploads: Uploads) -> ChunkedUploadLayer {
    ChunkedUploadLayer::new(uploads)
        .tus(Tus::new("/files"))
        .resumable(Resumable::new("/uploads").paths(["/inbox"]))
}

/// On two services that share the uploads in memory, a folder, and a bucket.
fn on_each_store<R: Future<Output = ()>>(test: impl Fn(Two) -> R) {
    let memory = in_memory();
    let clients = [(); 2].map(|()| Client::new(layer(memory.clone())));
    let uploads = [(); 2].map(|()| memory.clone());
    run(test(Two { uploads, clients }));
    on_each_builder(|builders| test(Two::new(builders)));
}

fn on_each_builder<R: Future<Output = ()>>(test: impl Fn([UploadsBuilder; 2]) -> R) {
    let folder = tempfile::tempdir().unwrap();
    let store = || FsStore::new(folder.path().join("up/%Y/%m/%d"));
    run(test([store(), store()].map(Uploads::builder).map(patient)));
    #[cfg(feature = "object-store")]
    run(async {
        use tower_chunked_upload::store::BucketStore;
        let bucket = Arc::new(object_store::memory::InMemory::new());
        let one = BucketStore::builder(Arc::clone(&bucket) as _).connect().await.unwrap();
        let two = BucketStore::builder(bucket).connect().await.unwrap();
        test([one, two].map(Uploads::builder).map(patient)).await;
    });
}

fn id_of(text: &str) -> UploadId {
    text.parse().unwrap()
}

fn keyed(request: Request<TestBody>) -> Request<TestBody> {
    with(request, "idempotency-key", KEY)
}

fn named(name: &str, total: u64, data: &[u8]) -> Request<TestBody> {
    let form = Form::new().file(name, data).end();
    keyed(ranged(&range(0, data.len() as u64, total), TestBody::of(form)))
}

fn first(total: u64, data: &[u8]) -> Request<TestBody> {
    keyed(chunk(None, 0, total, data))
}

async fn finish(client: &Client, id: &str, at: u64, data: &[u8]) {
    let rest = &data[usize::try_from(at).unwrap()..];
    if !rest.is_empty() {
        let reply = client.chunk(Some(id), at, data.len() as u64, rest).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let reply = client.complete(id, &md5(data)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[test]
fn the_same_first_chunk_gives_the_same_upload_and_answer() {
    on_each_store(|two| async move {
        let data = noise(10);
        let before = two.clients[0].send(first(10, &data[..4])).await;
        assert_eq!(before.status, 200, "{before:?}");
        for client in &two.clients {
            let again = client.send(first(10, &data[..4])).await;
            assert_eq!((again.status, again.json()), (before.status, before.json()));
            assert_eq!(again.header("range"), Some("0-3"));
        }
        // One that has less than what is there gives where the upload stands.
        let shorter = two.clients[1].send(first(10, &data[..2])).await;
        assert_eq!(shorter.json(), before.json());
        let plain = KEY.trim_matches('"');
        let unquoted = with(chunk(None, 0, 10, &data[..4]), "idempotency-key", plain);
        assert_eq!(two.clients[0].send(unquoted).await.json(), before.json());
        assert_eq!(two.ids().await.len(), 1);
        finish(&two.clients[1], &before.id(), 4, &data).await;
        assert_eq!(two.delivered(), [data]);
    });
}

#[test]
fn bytes_that_are_there_already_are_passed_over() {
    on_each_store(|two| async move {
        let data = noise(400_000);
        for (name, start, body) in [("a", 4, 9), ("b", 4, 400_000), ("c", 300_000, 400_000)] {
            let key = format!("{name}-{OTHER_KEY}");
            let send = |client: &Client, end: usize| {
                let range = range(0, end as u64, data.len() as u64);
                let body = TestBody::halting(&Bytes::copy_from_slice(&data[..end]), 70_000);
                client.call(with(raw(None, Some(&range), body), "idempotency-key", &key))
            };
            let before = send(&two.clients[0], start).await;
            assert_eq!(before.json()["offset"], start, "{before:?}");
            let again = send(&two.clients[1], body).await;
            assert_eq!(again.json()["offset"], body, "{again:?}");
            assert_eq!(again.id(), before.id());
            finish(&two.clients[0], &again.id(), body as u64, &data).await;
        }
        assert!(two.delivered().iter().all(|content| *content == data));
        assert_eq!(two.ids().await.len(), 3);
    });
}

#[test]
fn a_whole_file_without_a_range_is_sent_again() {
    on_each_store(|two| async move {
        let form = || {
            let form = Form::new().field("a", "1").file("a.bin", b"0123456789").field("b", "2");
            keyed(form_request(TestBody::of(form.end())))
        };
        let before = two.clients[0].send(form()).await;
        let again = two.clients[1].send(form()).await;
        assert_eq!((again.status, again.json()), (StatusCode::OK, before.json()));
        for (detail, other) in [
            (
                "a byte less",
                Form::new().field("a", "1").file("a.bin", b"012345678").field("b", "2"),
            ),
            ("one more", Form::new().field("a", "1").file("a.bin", b"01234567890").field("b", "2")),
            ("no field", Form::new().field("a", "1").file("a.bin", b"0123456789")),
            ("another", Form::new().field("a", "1").file("a.bin", b"0123456789").field("b", "3")),
        ] {
            let request = keyed(form_request(TestBody::of(other.end())));
            assert_eq!(two.clients[0].send(request).await.refused(409), REUSED, "{detail}");
        }
        finish(&two.clients[0], &before.id(), 10, b"0123456789").await;
        assert_eq!(two.delivered(), [b"0123456789"]);
    });
}

#[test]
fn other_parameters_are_a_conflict_and_change_nothing() {
    on_each_store(|two| async move {
        let before = two.clients[0].send(first(10, b"0123")).await;
        let raw = |media_type: Option<&str>| {
            let request = keyed(raw(None, Some("bytes 0-3/10"), TestBody::of("0123")));
            match media_type {
                Some(it) => with(request, "content-type", it),
                None => request,
            }
        };
        for request in [
            named("b.bin", 10, b"0123"),
            first(11, b"0123"),
            keyed(form_request(TestBody::of(Form::new().file("a.bin", b"0123").end()))),
            keyed(ranged(
                "bytes 0-3/10",
                TestBody::of(Form::new().field("more", "1").file("a.bin", b"0123").end()),
            )),
            keyed(ranged(
                "bytes 0-3/10",
                TestBody::of(Form::new().file("a.bin", b"0123").id(Some(NO_ID)).end()),
            )),
            raw(None),
            raw(Some("image/png")),
        ] {
            assert_eq!(two.clients[1].send(request).await.refused(409), REUSED);
        }
        assert_eq!(two.clients[0].send(first(10, b"0123")).await.json(), before.json());
        assert_eq!(two.ids().await.len(), 1);
        // Later chunks are named by the id, and the key is not looked at.
        let next = with(chunk(Some(&before.id()), 4, 10, b"45"), "idempotency-key", "short");
        assert_eq!(two.clients[0].send(next).await.json()["offset"], 6);
    });
}

#[test]
fn what_is_no_key_is_refused_before_anything_is_stored() {
    run(async {
        let uploads = in_memory();
        let client = Client::new(layer(uploads.clone()));
        for bad in ["", "short", "\"fifteen-letters\"", "two words, with a comma", &"a".repeat(256)]
        {
            let request = with(chunk(None, 0, 4, b"0123"), "idempotency-key", bad);
            let detail = client.send(request).await.refused(400);
            assert!(detail.starts_with("Idempotency-Key: "), "{detail}");
            assert!(bad.len() < 6 || !detail.contains(bad), "{detail}");
        }
        let twice = with(first(4, b"0123"), "idempotency-key", KEY);
        client.send(twice).await.refused(400);
        let tus = with(
            tus_client::request("POST", "/files", &[LENGTH], TestBody::empty()),
            "idempotency-key",
            "short",
        );
        assert_eq!(client.send(tus).await.status, 400);
        let resumable = with(begun(TestBody::of("0123")), "idempotency-key", "short");
        assert_eq!(client.send(resumable).await.status, 400);
        assert!(all_ids(&uploads).await.is_empty());
    });
}

struct Users;

impl Policy for Users {
    async fn authorize(&self, asked: &Context<'_>) -> Result<Option<Owner>, Refusal> {
        let user = asked.request.headers.get("x-user").map(|user| user.to_str().unwrap());
        Ok(user.map(Owner::new))
    }
}

#[test]
fn each_owner_and_protocol_has_keys_of_its_own() {
    run(async {
        let uploads = in_memory();
        let client = Client::new(layer(uploads.clone()).policy(Users));
        let mut ids = BTreeSet::new();
        for user in [None, Some("alice"), Some("bob")] {
            for _ in 0..2 {
                let by = |request| match user {
                    Some(user) => with(request, "x-user", user),
                    None => request,
                };
                let reply = client.send(by(first(4, b"0123"))).await;
                ids.insert(reply.id());
                let reply = client.send(by(created(&[LENGTH], TestBody::empty()))).await;
                ids.insert(reply.header("location").unwrap().replace("/files/", ""));
                let reply = client.send(by(keyed(begun(TestBody::of("0123"))))).await;
                ids.insert(reply.header("location").unwrap().replace("/uploads/", ""));
            }
        }
        assert_eq!(ids.len(), 9);
        assert_eq!(all_ids(&uploads).await.len(), 9);
    });
}

#[test]
fn one_that_is_still_being_received_is_taken_over() {
    on_each_store(|two| async move {
        for (number, newer) in two.clients.iter().enumerate() {
            let key = format!("{number}-{OTHER_KEY}");
            let data = noise(300_000);
            let (sender, body) = TestBody::live();
            let mut probe = body.probe();
            sender.send(Piece::Data(Bytes::copy_from_slice(&data[..200_000]))).unwrap();
            let range = range(0, data.len() as u64, data.len() as u64);
            let older = raw(None, Some(&range), body);
            let older = two.clients[0].spawn(with(older, "idempotency-key", &key));
            probe.waiting().await;
            // Not equally new.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let whole = TestBody::of(data.clone());
            let request = with(raw(None, Some(&range), whole), "idempotency-key", &key);
            let reply = newer.send(request).await;
            assert_eq!(reply.json()["offset"], data.len(), "{reply:?}");
            // In a bucket the older one finds out when it commits.
            drop(sender.send(Piece::Data(Bytes::copy_from_slice(&data[200_000..]))));
            drop(sender);
            older.await.unwrap().refused(409);
            assert_eq!(two.ids().await.len(), number + 1);
            finish(&two.clients[0], &reply.id(), data.len() as u64, &data).await;
            assert_eq!(two.delivered(), vec![data; number + 1]);
        }
    });
}

#[test]
fn of_concurrent_creations_exactly_one_upload_results() {
    on_each_store(|two| async move {
        for round in 0..20 {
            let key = format!("{round}-{OTHER_KEY}");
            let data = noise(20);
            let request = || with(chunk(None, 0, 30, &data), "idempotency-key", &key);
            let sent: Vec<_> = (0..8).map(|n| two.clients[n % 2].spawn(request())).collect();
            let mut ids = BTreeSet::new();
            for reply in sent {
                let reply = reply.await.unwrap();
                match reply.status.as_u16() {
                    200 => drop(ids.insert(reply.id())),
                    409 => assert_ne!(reply.refused(409), REUSED),
                    _ => panic!("{reply:?}"),
                }
            }
            let reply = two.clients[0].send(request()).await;
            ids.insert(reply.id());
            assert_eq!((ids.len(), reply.json()["offset"].as_u64()), (1, Some(20)), "{ids:?}");
            assert_eq!(two.ids().await.len(), round + 1);
        }
    });
}

/// Of two clients that use a key for different files at the same time, one gets the upload.
#[test]
fn concurrent_creations_with_other_parameters_are_never_mixed() {
    on_each_store(|two| async move {
        for round in 0..20 {
            let key = format!("{round}-{OTHER_KEY}");
            let request = |name: &str, byte: u8| {
                let mut request = named(name, 3, &[byte; 3]);
                request.headers_mut().insert("idempotency-key", key.parse().unwrap());
                request
            };
            let sent = [0, 1].map(|n| two.clients[n].spawn(request(&format!("{n}.bin"), n as u8)));
            let mut won = Vec::new();
            for (n, reply) in sent.into_iter().enumerate() {
                let reply = reply.await.unwrap();
                match reply.status.as_u16() {
                    200 => won.push((n, reply.id())),
                    409 => {}
                    _ => panic!("{reply:?}"),
                }
            }
            assert!(won.len() <= 1, "both have won: {won:?}");
            let Some((n, id)) = won.pop() else { continue };
            let record = two.uploads[1].for_owner(None).status(&support::id(&id)).await.unwrap();
            assert_eq!(record.raw_filename, format!("{n}.bin"));
            finish(&two.clients[0], &id, 3, &[n as u8; 3]).await;
        }
    });
}

/// The client leaves at any moment, and sends the same again.
#[test]
fn a_lost_answer_leaves_no_second_upload() {
    on_each_store(|two| async move {
        let data = noise(100_000);
        for polls in 1.. {
            let key = format!("{polls}-{OTHER_KEY}");
            let request = || {
                let form = Form::new().file("a.bin", &data).end();
                let body = TestBody::halting(&form, 30_000).declare(form.len() as u64);
                let request = ranged(&range(0, 100_000, 150_000), body);
                with(request, "idempotency-key", &key)
            };
            let done = poll_times(two.clients[polls % 2].call(request()), polls).await.is_some();
            until("the same request succeeds", async || {
                let again = two.clients[0].send(request()).await;
                if again.status == 409 {
                    assert_ne!(again.refused(409), REUSED);
                    return false;
                }
                assert_eq!(again.json()["offset"], 100_000, "{again:?}");
                true
            })
            .await;
            assert_eq!(two.ids().await.len(), polls);
            if done {
                break;
            }
        }
    });
}

#[test]
fn a_key_names_the_upload_until_that_is_gone() {
    let clock = Clock::new();
    let build = |builder: UploadsBuilder| builder.clock(clock.read()).expires_after(HOUR);
    on_each_builder(|builders| {
        let (two, clock) = (Two::new(builders.map(build)), clock.clone());
        async move {
            let client = &two.clients[0];
            let before = client.send(first(4, b"0123")).await;
            finish(client, &before.id(), 4, b"0123").await;
            assert_eq!(two.clients[1].send(first(4, b"0123")).await.id(), before.id());
            two.uploads[0].for_owner(None).remove(&id(&before.id())).await.unwrap();
            let mut known = vec![before.id()];
            for _ in 0..2 {
                let next = client.send(first(4, b"0123")).await;
                assert_eq!(next.json()["offset"], 4, "{next:?}");
                assert_eq!(two.clients[1].send(first(4, b"0123")).await.id(), next.id());
                assert_eq!(two.ids().await, [id(&next.id())]);
                known.push(next.id());
                assert_eq!(client.cancel(&next.id()).await.status, 204);
            }
            let last = client.send(first(4, b"0123")).await;
            clock.advance(HOUR);
            let next = two.clients[1].send(named("b.bin", 5, b"01234")).await;
            assert_eq!(next.json()["offset"], 5, "{next:?}");
            assert_eq!(two.ids().await, [id(&next.id())]);
            assert_ne!(next.json()["expires"], last.json()["expires"]);
        }
    });
}

#[test]
fn an_upload_fills_its_quota_once() {
    let build = |builder: UploadsBuilder| builder.max_uploads_per_owner(2).max_bytes_per_owner(10);
    let test = async |builders: [UploadsBuilder; 2], sweeps: bool| {
        let two = Two::new(builders.map(build));
        let client = &two.clients[0];
        for round in 0..4 {
            // The same request several times at once, of which the others find the first one's.
            let again = || async {
                loop {
                    let reply = client.send(first(4, b"0123")).await;
                    match reply.status.as_u16() {
                        200 => return reply.id(),
                        409 => tokio::task::yield_now().await,
                        _ => panic!("{round} {reply:?}"),
                    }
                }
            };
            let (a, b, c) = tokio::join!(again(), again(), again());
            assert_eq!((&a, &a), (&b, &c));
            // Another process removes it, of which this one learns nothing.
            assert_eq!(two.clients[1].cancel(&a).await.status, 204);
            if sweeps {
                two.uploads[0].delete_expired().await.unwrap();
            }
        }
        let last = client.send(first(10, b"0123")).await;
        assert_eq!(last.status, 200, "{last:?}");
        finish(client, &last.id(), 4, b"0123456789").await;
        for _ in 0..2 {
            let free = client.chunk(None, 0, 5, b"0").await;
            assert_eq!(free.status, 200, "{free:?}");
        }
        assert_eq!(client.chunk(None, 0, 1, b"0").await.status, 429);
    };
    on_each_builder(|builders| test(builders, true));
    let folder = tempfile::tempdir().unwrap();
    let builders = [(); 2].map(|()| Uploads::builder(FsStore::new(folder.path())));
    run(test(builders, false));
}

/// A handler may keep the file and work on it after its answer. By then the upload may be gone, and
/// its key may have given the id to another one.
#[test]
fn a_file_that_outlives_its_upload_leaves_the_next_one_alone() {
    on_each_builder(|builders| async move {
        let clock = Clock::new();
        let uploads = builders.map(|builder| builder.clock(clock.read()).build().unwrap());
        let kept = Arc::new(Mutex::new(Vec::<CompletedUpload>::new()));
        let keep = Arc::clone(&kept);
        let client = Client::around(layer(uploads[0].clone()), move |request| {
            let file = request.extensions().get::<CompletedUpload>().unwrap().clone();
            keep.lock().unwrap().push(file);
            async { Response::default() }
        });
        let target = tempfile::tempdir().unwrap();
        for works in 0..3 {
            let id = client.send(first(4, b"0123")).await.id();
            assert_eq!(client.complete(&id, &md5(b"0123")).await.status, 200);
            let file = kept.lock().unwrap().pop().unwrap();
            let operator = uploads[1].for_operator();
            operator.remove(&id_of(&id)).await.unwrap();
            // With millisecond precision, an upload is told from the next.
            clock.advance(Duration::from_millis(1));
            let next = client.send(first(9, b"0123")).await;
            let error = match works {
                0 => file.discard().await.unwrap_err(),
                1 => file.persist(target.path().join("file")).await.unwrap_err(),
                _ => match file.open().await {
                    Err(error) => error,
                    Ok(_) => panic!("it has opened another upload"),
                },
            };
            assert_eq!(*error.kind(), ErrorKind::NotFound, "{works}");
            let stands = operator.status(&id_of(&next.id())).await.unwrap();
            assert_eq!(stands.offset(), 4);
            operator.remove(&id_of(&next.id())).await.unwrap();
        }
        assert_eq!(files_below(target.path()), Vec::<std::path::PathBuf>::new());
    });
}

/// Creates an upload of these bytes with the key.
async fn create(uploads: &OwnerUploads, bytes: &'static [u8]) -> UploadId {
    let new = NewUpload::new().idempotency_key(IdempotencyKey::new(KEY).unwrap());
    let mut append = uploads.create(new).await.unwrap();
    append.write(bytes).await.unwrap();
    append.commit().await.unwrap().id
}

/// Opening the file fails because the upload is another one.
fn is_gone(opened: Result<Reader, Error>) {
    match opened {
        Err(error) => assert_eq!(*error.kind(), ErrorKind::NotFound),
        Ok(_) => panic!("it has opened another upload"),
    }
}

#[test]
fn a_file_that_was_not_taken_opens_no_other_bytes() {
    on_each_builder(|builders| async move {
        let clock = Clock::new();
        let uploads = builders.map(|builder| builder.clock(clock.read()).build().unwrap());
        let uploads = uploads.map(|uploads| uploads.for_owner(None));
        let id = create(&uploads[0], b"0123").await;
        let completion = uploads[0].complete(&id, None).await.unwrap();
        let file = completion.file().clone();
        completion.reopen().await.unwrap();
        assert_eq!(content(&file).await, b"0123");
        // An upload without a total may grow.
        let mut append = uploads[1].append(&id, 4, AppendMode::AllOrNothing).await.unwrap();
        append.write(&b"45"[..]).await.unwrap();
        append.commit().await.unwrap();
        is_gone(file.open().await);
        uploads[1].cancel(&id).await.unwrap();
        clock.advance(Duration::from_millis(1));
        create(&uploads[1], b"4567").await;
        is_gone(file.open().await);
    });
}

#[test]
fn a_file_that_is_discarded_while_it_is_opened_opens_no_other_upload() {
    run(async {
        let (clock, store) = (Clock::new(), Double::default());
        let uploads = Uploads::builder(store.clone()).clock(clock.read()).build().unwrap();
        let uploads = uploads.for_owner(None);
        let id = create(&uploads, b"0123").await;
        let completion = uploads.complete(&id, None).await.unwrap();
        let file = completion.file().clone();
        let opens = store.hold(Call::Open);
        let opened = tokio::spawn({
            let file = file.clone();
            async move { file.open().await }
        });
        opens.arrived().await;
        file.discard().await.unwrap();
        drop(completion.finish().await.unwrap_err());
        clock.advance(Duration::from_millis(1));
        assert_eq!(create(&uploads, b"4567").await, id);
        opens.open();
        is_gone(opened.await.unwrap());
    });
}

/// The time stands still, and goes on when nothing else does.
#[tokio::test(start_paused = true)]
async fn what_is_discarded_after_it_was_taken_leaves_the_quota_of_the_next_one_alone() {
    let (clock, store) = (Clock::new(), Double::default());
    let builder = Uploads::builder(store.clone()).clock(clock.read()).takeover_timeout(PATIENCE);
    let uploads = builder.max_uploads_per_owner(1).build().unwrap().for_owner(None);
    let id = create(&uploads, b"0123").await;
    let completion = uploads.complete(&id, None).await.unwrap();
    let file = completion.file().clone();
    completion.finish().await.unwrap();
    clock.advance(Duration::from_millis(1));
    let removed = store.hold(Call::Removed);
    let discarded = tokio::spawn(async move { file.discard().await });
    removed.arrived().await;
    let next = tokio::spawn({
        let uploads = uploads.clone();
        async move { create(&uploads, b"4567").await }
    });
    tokio::time::sleep(PATIENCE / 2).await;
    removed.open();
    discarded.await.unwrap().unwrap();
    assert_eq!(next.await.unwrap(), id);
    let refused = uploads.create(NewUpload::new()).await.map(drop).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::QuotaExceeded { .. }), "{refused}");
}

const HOUR: Duration = Duration::from_secs(60 * 60);
const LENGTH: (&str, &str) = ("upload-length", "10");

fn created(headers: &[(&str, &str)], body: TestBody) -> Request<TestBody> {
    keyed(tus_client::request("POST", "/files", headers, body))
}

fn shown(reply: &Reply) -> (StatusCode, HeaderMap) {
    (reply.status, reply.headers.clone())
}

#[test]
fn a_creation_of_tus_gives_the_same_url() {
    on_each_store(|two| async move {
        let name = ("upload-metadata", "filename YS5iaW4=");
        let before = two.clients[0].send(created(&[LENGTH, name], TestBody::empty())).await;
        assert_eq!(before.status, 201, "{before:?}");
        let url = before.header("location").unwrap();
        for client in &two.clients {
            let again = client.send(created(&[LENGTH, name], TestBody::empty())).await;
            assert_eq!(shown(&again), shown(&before));
        }
        for other in [
            vec![LENGTH],
            vec![("upload-length", "11"), name],
            vec![("upload-defer-length", "1"), name],
            vec![LENGTH, ("upload-metadata", "filename Yi5iaW4=")],
            vec![LENGTH, name, ("upload-concat", "partial")],
        ] {
            let reply = two.clients[1].send(created(&other, TestBody::empty())).await;
            assert_eq!(tus_client::refused(&reply, 409), REUSED, "{other:?}");
        }
        let patch = |at, body: &'static str| tus_client::patch(url, at, &[], TestBody::of(body));
        assert_eq!(two.clients[1].send(patch(0, "01234")).await.status, 204);
        assert_eq!(
            two.clients[0].send(created(&[LENGTH, name], TestBody::empty())).await.status,
            201
        );
        assert_eq!(two.clients[0].send(patch(5, "56789")).await.status, 204);
        let again = two.clients[0].send(created(&[LENGTH, name], TestBody::empty())).await;
        assert_eq!((again.status, again.header("location")), (StatusCode::CREATED, Some(url)));
        assert_eq!(two.delivered(), [b"0123456789"]);
        assert_eq!(two.ids().await.len(), 1);
    });
}

#[test]
fn a_creation_of_tus_with_bytes_tells_where_the_upload_stands() {
    on_each_store(|two| async move {
        let bytes = ("content-type", tus_client::BYTES);
        let send = |client: &Client, body: &'static str| {
            client.call(created(&[LENGTH, bytes], TestBody::of(body)))
        };
        let before = send(&two.clients[0], "0123").await;
        assert_eq!((before.status.as_u16(), before.header("upload-offset")), (201, Some("4")));
        for body in ["0123", "0123456789"] {
            assert_eq!(shown(&send(&two.clients[1], body).await), shown(&before), "{body}");
        }
        assert_eq!(send(&two.clients[1], "0123456789-").await.status, 413);
        let url = before.header("location").unwrap();
        let rest = tus_client::patch(url, 4, &[], TestBody::of("456789"));
        assert_eq!(two.clients[0].send(rest).await.status, 204);
        let again = send(&two.clients[1], "0123").await;
        assert_eq!((again.status.as_u16(), again.header("upload-offset")), (201, Some("10")));
        assert_eq!(two.delivered(), [b"0123456789"]);
    });
}

#[test]
fn files_of_tus_in_parts_are_joined_once_for_each_key() {
    on_each_store(|two| async move {
        let partial = ("upload-concat", "partial");
        let bytes = ("content-type", tus_client::BYTES);
        let part = |client: &Client| {
            client.call(created(&[LENGTH, partial, bytes], TestBody::of("0123456789")))
        };
        let before = part(&two.clients[0]).await;
        assert_eq!(shown(&part(&two.clients[1]).await), shown(&before));
        let url = before.header("location").unwrap();
        let list = format!("final;{url} {url}");
        let join = |client: &Client, key: &str, name: &str| {
            let headers = [("upload-concat", &*list), ("upload-metadata", name)];
            let request = tus_client::request("POST", "/files", &headers, TestBody::empty());
            client.call(with(request, "idempotency-key", key))
        };
        let joined = join(&two.clients[0], OTHER_KEY, "a").await;
        assert!(joined.status.is_success(), "{joined:?}");
        let again = join(&two.clients[1], OTHER_KEY, "a").await;
        assert_eq!(again.header("location"), joined.header("location"), "{again:?}");
        let other = join(&two.clients[0], OTHER_KEY, "b").await;
        assert_eq!(tus_client::refused(&other, 409), REUSED);
        assert_eq!(two.delivered(), [b"01234567890123456789"]);
        let more = format!("more-{OTHER_KEY}");
        let other = join(&two.clients[1], &more, "a").await;
        assert_ne!(other.header("location"), joined.header("location"), "{other:?}");
        assert_eq!(two.delivered().len(), 2);
    });
}

fn begun(body: TestBody) -> Request<TestBody> {
    post("/inbox").header("upload-complete", "?0").body(body).unwrap()
}

#[test]
fn a_resumable_request_is_begun_once() {
    on_each_store(|two| async move {
        let send =
            |client: &Client, body: &'static str| client.call(keyed(begun(TestBody::of(body))));
        let before = send(&two.clients[0], "0123").await;
        assert_eq!(before.status, 201, "{before:?}");
        let again = send(&two.clients[1], "0123").await;
        for name in ["location", "upload-complete", "upload-offset"] {
            assert_eq!(again.header(name), before.header(name), "{name}: {again:?}");
        }
        assert_eq!(again.status, 201);
        let mut other = keyed(begun(TestBody::of("0123")));
        *other.uri_mut() = "/inbox?other".parse().unwrap();
        let other = two.clients[0].send(other).await;
        assert_eq!(other.status, 409, "{other:?}");
        assert_eq!(other.json()["title"], REUSED);
        let url = before.header("location").unwrap();
        let rest = Request::patch(url).header("content-type", "application/partial-upload");
        let rest = rest.header("upload-offset", "4").header("upload-complete", "?1");
        let done = two.clients[1].send(rest.body(TestBody::of("56")).unwrap()).await;
        assert_eq!(done.status, 200, "{done:?}");
        let again = send(&two.clients[0], "0123").await;
        assert_eq!((again.status.as_u16(), again.header("upload-complete")), (200, Some("?1")));
        assert_eq!(two.delivered(), [b"012356"]);
    });
}

#[test]
fn a_key_of_the_application_does_the_same_without_http() {
    on_each_store(|two| async move {
        let uploads = two.uploads.clone().map(|uploads| uploads.for_owner(Owner::new("alice")));
        let key = IdempotencyKey::new(OTHER_KEY).unwrap();
        let new = NewUpload::new().filename("a").total(6).idempotency_key(key);
        assert_eq!(uploads[0].created_before(&new).await.unwrap(), None);
        let mut append = uploads[0].create(new.clone()).await.unwrap();
        assert!(append.is_new());
        append.write(&b"012"[..]).await.unwrap();
        let first = append.commit().await.unwrap();
        assert_eq!(uploads[1].created_before(&new).await.unwrap(), Some(first.clone()));
        let mut append = uploads[1].create(new.clone()).await.unwrap();
        assert!(!append.is_new());
        assert_eq!((append.upload().id, append.position()), (first.id, 3));
        append.write(&b"345"[..]).await.unwrap();
        append.commit().await.unwrap();
        let refused = uploads[0].create(new.clone().total(7)).await.unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::KeyReused);
        uploads[1].complete(&first.id, None).await.unwrap().finish().await.unwrap();
        let late = uploads[0].create(new.clone()).await.unwrap_err();
        assert_eq!(*late.kind(), ErrorKind::AlreadyComplete);
        let late = uploads[0].append(&first.id, 6, AppendMode::AllOrNothing).await.unwrap_err();
        assert_eq!(*late.kind(), ErrorKind::AlreadyComplete);
    });
}

/// While a creation is compared with the upload that is there, another one may get the id.
#[test]
fn no_creation_goes_on_with_the_next_upload_of_its_key() {
    for asks in [false, true] {
        run(async {
            let (clock, store) = (Clock::new(), Double::default());
            let builder = Uploads::builder(store.clone()).clock(clock.read());
            let uploads = builder.build().unwrap().for_owner(None);
            let new = |name| {
                let key = IdempotencyKey::new(OTHER_KEY).unwrap();
                NewUpload::new().filename(name).idempotency_key(key)
            };
            let create = async |name| {
                let mut append = uploads.create(new(name)).await.unwrap();
                append.write(&b"012"[..]).await.unwrap();
                append.commit().await.unwrap().id
            };
            let before = create("a").await;
            let loaded = store.hold(Call::Loaded);
            let (asking, again) = (uploads.clone(), new("a"));
            let asking = tokio::spawn(async move {
                match asks {
                    true => asking.created_before(&again).await.map(drop),
                    false => asking.create(again).await.map(drop),
                }
            });
            loaded.arrived().await;
            // Others are not held.
            store.hold(Call::Probe);
            uploads.cancel(&before).await.unwrap();
            clock.advance(Duration::from_millis(1));
            assert_eq!(create("b").await, before);
            loaded.open();
            let refused = asking.await.unwrap().unwrap_err();
            assert_eq!(*refused.kind(), ErrorKind::KeyReused, "{asks}");
        });
    }
}

#[tokio::test]
async fn a_chunk_that_is_repeated_goes_on_with_no_other_upload() {
    let (clock, store) = (Clock::new(), Double::default());
    let uploads = Uploads::builder(store.clone()).clock(clock.read()).build().unwrap();
    let client = Client::new(layer(uploads));
    let data = noise(10);
    let before = client.send(named("a", 10, &data[..4])).await.id();
    let opened = store.hold(Call::Open);
    let repeating = client.spawn(named("a", 10, &data[..8]));
    opened.arrived().await;
    store.hold(Call::Probe);
    assert_eq!(client.cancel(&before).await.status, 204);
    clock.advance(Duration::from_millis(1));
    assert_eq!(client.send(named("b", 10, b"abcd")).await.id(), before);
    opened.open();
    assert_eq!(repeating.await.unwrap().refused(409), REUSED);
    assert_eq!(client.offset(&before).await, 4);
}

/// Passing over the bytes that a repeated creation brings takes a while.
#[tokio::test]
async fn a_creation_that_is_repeated_tells_of_no_other_upload() {
    let tus = |name: &str, body| {
        let name = if name == "a" { "filename YQ==" } else { "filename Yg==" };
        let bytes = ("content-type", tus_client::BYTES);
        created(&[LENGTH, bytes, ("upload-metadata", name)], body)
    };
    let draft = |name: &str, body| {
        let name = if name == "a" { "filename=\"a\"" } else { "filename=\"b\"" };
        with(keyed(begun(body)), "content-disposition", &format!("attachment; {name}"))
    };
    let protocols: [&dyn Fn(&str, TestBody) -> Request<TestBody>; 2] = [&tus, &draft];
    for create in protocols {
        let clock = Clock::new();
        let uploads = tus_client::memory().clock(clock.read()).build().unwrap();
        let client = Client::new(layer(uploads.clone()));
        let before = client.send(create("a", TestBody::of("0123"))).await;
        assert_eq!(before.status, 201, "{before:?}");
        let (more, body) = TestBody::live();
        let mut probe = body.probe();
        let repeating = client.spawn(create("a", body));
        probe.waiting().await;
        let [id] = all_ids(&uploads).await[..] else { panic!("there is one") };
        uploads.for_operator().cancel(&id).await.unwrap();
        clock.advance(Duration::from_millis(1));
        let next = client.send(create("b", TestBody::of("01"))).await;
        assert_eq!(next.header("location"), before.header("location"));
        drop(more);
        let reply = repeating.await.unwrap();
        assert_eq!(reply.status, 409, "{reply:?}");
        assert_eq!(reply.header("location"), None);
    }
}

/// No offset tells a client that the application has not taken a file without bytes, so it must not
/// be told that it has succeeded.
#[test]
fn a_file_without_bytes_is_created_once_the_application_has_taken_it() {
    let tus = || created(&[("upload-length", "0")], TestBody::empty());
    let draft = || keyed(request_with("POST", "/inbox", &[WHOLE], TestBody::empty()));
    for (request, success) in [(&tus as &dyn Fn() -> _, 201), (&draft, 200)] {
        on_each_builder(|builders| async move {
            let (calls, mut called) = mpsc::unbounded_channel::<oneshot::Sender<u16>>();
            let uploads = builders.map(|builder| builder.build().unwrap());
            // The application answers when the test says so, or panics.
            let clients = uploads.clone().map(|uploads| {
                let calls = calls.clone();
                Client::around(layer(uploads), move |_| {
                    let (answer, answered) = oneshot::channel();
                    calls.send(answer).unwrap();
                    async move {
                        let Ok(status) = answered.await else { resume_unwind(Box::new("")) };
                        let mut response = Response::new(Full::default());
                        *response.status_mut() = StatusCode::from_u16(status).unwrap();
                        response
                    }
                })
            });
            let first = clients[0].spawn(request());
            let answer = called.recv().await.unwrap();
            for client in &clients {
                let reply = client.send(request()).await;
                assert!(reply.status.as_u16() >= 400, "{reply:?}");
            }
            drop(answer);
            first.await.unwrap_err();
            let mut again = async |client: &Client, status| {
                let mut last = None;
                until("the application gets it", async || {
                    let mut sent = client.spawn(request());
                    tokio::select! {
                        answer = called.recv() => {
                            answer.unwrap().send(status).unwrap();
                            last = Some(sent.await.unwrap());
                            true
                        }
                        // Nobody knows yet that the first one has ended.
                        reply = &mut sent => {
                            assert!(reply.as_ref().unwrap().status.as_u16() >= 400, "{reply:?}");
                            false
                        }
                    }
                })
                .await;
                last.unwrap()
            };
            assert_eq!(again(&clients[0], 500).await.status, 500);
            let done = again(&clients[1], 200).await;
            assert_eq!(done.status, success, "{done:?}");
            let repeated = clients[0].send(request()).await;
            assert_eq!(repeated.status, success, "{repeated:?}");
            if let Some(url) = done.header("location") {
                assert_eq!(repeated.header("location"), Some(url));
            }
            assert!(called.try_recv().is_err(), "the application gets it again");
            assert_eq!(all_ids(&uploads[1]).await.len(), 1);
        });
    }
}

const WHOLE: (&str, &str) = ("upload-complete", "?1");

fn whole(headers: &[(&str, &str)], body: &'static str) -> Request<TestBody> {
    keyed(request_with("POST", "/inbox", &[&[WHOLE], headers].concat(), TestBody::of(body)))
}

/// Its disk fails as soon as there is an upload.
struct Breaks(Double);

impl Observer for Breaks {
    async fn on_event(&self, event: &Event, _: Option<&Extensions>) {
        if let Event::Created(_) = event {
            self.0.fail(Call::Commit(0), 5);
        }
    }
}

/// By then another one may go on with it, or have ended.
#[test]
fn a_creation_that_failed_leaves_what_the_same_request_goes_on_with() {
    run(async {
        let store = Double::default();
        let uploads = Uploads::builder(store.clone()).observer(Breaks(store.clone()));
        let client = Client::new(layer(uploads.build().unwrap()));
        let first = client.send(whole(&[], "0123")).await;
        assert_eq!(first.header("upload-error-code"), Some("store-failed"), "{first:?}");
        store.mend();
        let again = client.send(whole(&[], "0123")).await;
        assert_eq!(again.status, 201, "{again:?}");
        let (url, at) = (again.header("location").unwrap(), again.header("upload-offset"));
        assert_eq!(at, Some("3"));
        let partial = ("content-type", "application/partial-upload");
        let headers = [partial, ("upload-offset", "3"), WHOLE];
        let last = client.send(request_with("PATCH", url, &headers, TestBody::of("3"))).await;
        assert_eq!(last.status, 200, "{last:?}");
        assert_eq!(client.deliveries()[0].content, b"0123");
    });
}

/// Otherwise the key would lead to bytes that nobody can complete.
#[test]
fn content_with_another_digest_leaves_the_key_free() {
    on_each_store(|two| async move {
        // Of "0123".
        let digest = "sha-256=:G+LkUrRteg2WVrux92joJI66G3W67WX12Z6vqUiJmmo=:";
        let digest = [("repr-digest", digest)];
        let refused = two.clients[0].send(whole(&digest, "0124")).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(two.ids().await.is_empty());
        let taken = two.clients[1].send(whole(&digest, "0123")).await;
        assert_eq!(taken.status, 200, "{taken:?}");
        assert_eq!(two.delivered(), [b"0123"]);
    });
}

#[test]
fn fewer_bytes_than_are_there_are_no_whole_file() {
    on_each_store(|two| async move {
        // As an application begins it that does not know the size either.
        let new = NewUpload::new().filename("a.bin").content_type(Some(OCTETS.to_owned()));
        let key = IdempotencyKey::new(KEY.trim_matches('"')).unwrap();
        let new = new.idempotency_key(key);
        let mut append = two.uploads[0].for_owner(None).create(new).await.unwrap();
        append.write(&b"01234"[..]).await.unwrap();
        let upload = append.commit().await.unwrap();
        let form = |bytes: &[u8]| {
            keyed(form_request(TestBody::of(Form::new().file("a.bin", bytes).end())))
        };
        assert_eq!(two.clients[1].send(form(b"0123")).await.refused(409), REUSED);
        let stands = two.uploads[1].for_owner(None).status(&upload.id).await.unwrap();
        assert_eq!((stands.offset(), stands.total()), (5, None));
        let done = two.clients[1].send(form(b"0123456")).await;
        assert_eq!((done.id(), &done.json()["offset"]), (upload.id.to_string(), &7.into()));
        finish(&two.clients[0], &done.id(), 7, b"0123456").await;
        assert_eq!(two.delivered(), [b"0123456"]);
    });
}

const OCTETS: &str = "application/octet-stream";
