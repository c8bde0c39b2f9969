//! How requests end: well, badly, or while nobody waits for them any more.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

mod support;

use std::convert::Infallible;
use std::error::Error as _;
use std::future::Future;
use std::task::{Context, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Extensions, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{Empty, Full, Limited};
use support::*;
use tokio::sync::Semaphore;
use tower::{Layer, ServiceExt, service_fn};
use tower_chunked_upload::policy::Verification;
use tower_chunked_upload::{
    AppendMode, Candidate, ChunkedUploadLayer, CompletedUpload, Error, ErrorKind, Event, NewUpload,
    Observer, Policy, Refusal, RequestBody, Uploads,
};
use tower_http::limit::RequestBodyLimitLayer;

fn layer() -> ChunkedUploadLayer {
    ChunkedUploadLayer::new(in_memory())
}

type Kind = (&'static str, fn(&str, &[u8]) -> Request<TestBody>);

/// Bytes 3 to 5 of six, all of which have come when the request is looked at.
const WHOLE: &[Kind] = &[
    ("raw", |id, data| raw(Some(id), Some("bytes 3-5/6"), TestBody::of(data.to_vec()))),
    ("raw of unknown length", |id, data| {
        let body = TestBody::new([Piece::Data(data.to_vec().into())]);
        raw(Some(id), Some("bytes 3-5/6"), body)
    }),
    ("form", |id, data| chunk(Some(id), 3, 6, data)),
    ("form of unknown length", |id, data| {
        let form = Form::new().id(Some(id)).file("a.bin", data).end();
        let pieces = form.chunks(20).map(|piece| Piece::Data(Bytes::copy_from_slice(piece)));
        ranged("bytes 3-5/6", TestBody::new(pieces))
    }),
    ("form with its id behind the file", |id, data| {
        let form = Form::new().file("a.bin", data).id(Some(id)).end();
        ranged("bytes 3-5/6", TestBody::of(form))
    }),
];

/// Waits until the upload stands there.
async fn reaches(client: &Client, id: &str, offset: u64) {
    until("it is carried out", async || client.offset(id).await == offset).await;
}

// --- nobody waits any more ---

#[test]
fn a_chunk_that_has_come_whole_is_taken_though_its_client_has_left() {
    for (kind, make) in WHOLE {
        // Servers drop the future without having polled it, too.
        for polls in 0..3 {
            on_both_stores(|store, builder| async move {
                let client = Client::new(ChunkedUploadLayer::new(builder.build().unwrap()));
                let id = client.begin(6, b"abc").await;
                if poll_times(client.call_now(make(&id, b"def")), polls).await.is_some() {
                    return;
                }
                reaches(&client, &id, 6).await;
                let reply = client.complete(&id, &md5(b"abcdef")).await;
                assert_eq!(reply.status, 200, "{kind}, {store}, {polls}: {reply:?}");
                assert_eq!(client.deliveries().pop().unwrap().content, b"abcdef", "{kind}");
            });
        }
    }
}

#[test]
fn a_first_chunk_that_has_come_whole_is_taken_though_its_client_has_left() {
    on_both_stores(|store, builder| async move {
        let uploads = builder.build().unwrap();
        let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
        client.leave(chunk(None, 0, 6, b"abc"));
        until("it is carried out", async || !all_ids(&uploads).await.is_empty()).await;
        let id = all_ids(&uploads).await[0];
        assert_eq!(client.offset(&id.to_string()).await, 3, "{store}");
    });
}

#[test]
fn a_completion_that_has_come_whole_is_carried_out_though_its_client_has_left() {
    for polls in 0..3 {
        on_both_stores(|store, builder| async move {
            let client = Client::new(ChunkedUploadLayer::new(builder.build().unwrap()));
            let id = client.upload(b"abc").await;
            if poll_times(client.call_now(complete(&id, &md5(b"abc"))), polls).await.is_some() {
                return;
            }
            until("it is carried out", async || {
                client.status(&id).await.json()["status"] == "complete"
            })
            .await;
            assert_eq!(client.deliveries().len(), 1, "{store}");
        });
    }
}

#[test]
fn a_cancellation_is_carried_out_though_its_client_has_left() {
    on_both_stores(|_, builder| async move {
        let client = Client::new(ChunkedUploadLayer::new(builder.build().unwrap()));
        let id = client.begin(6, b"abc").await;
        client.leave(on_id(Method::DELETE, &id));
        until("it is carried out", async || client.status(&id).await.status == 404).await;
    });
}

/// Nothing more is waited for, and what is not known to be whole does not count.
#[tokio::test]
async fn a_body_that_is_not_all_there_is_given_up_when_its_client_leaves() {
    let uploads = in_memory();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let id = client.begin(6, b"abc").await;
    let form = Form::new().id(Some(&id)).open_file("a");
    let without_end = [form.clone(), "def".into(), Form::close().slice(..4)].concat();
    let data = || Piece::Data("def".into());
    let on = |body| raw(Some(&id), Some("bytes 3-5/6"), body);
    for (name, request) in [
        ("stalls", on(TestBody::new([Piece::Data("de".into()), Piece::Stall]))),
        ("breaks off", on(TestBody::new([Piece::Data("de".into()), Piece::Fail]))),
        ("is short of its length", on(TestBody::new([Piece::Data("de".into())]).declare(3))),
        ("is short of its range", on(TestBody::new([Piece::Data("de".into())]))),
        ("is whole and does not end", on(TestBody::new([data(), Piece::Stall]))),
        ("is longer than its length", on(TestBody::new([data()]).declare(4))),
        ("form without its end", ranged("bytes 3-5/6", TestBody::of(without_end))),
        ("form that stalls behind its end", {
            let pieces = [form, "def".into(), Form::close()].map(Piece::Data);
            ranged("bytes 3-5/6", TestBody::new(pieces.into_iter().chain([Piece::Stall])))
        }),
        // A connection that was given up ends like a body without a length.
        ("a whole file without a length", raw(None, None, TestBody::new([data()]))),
        ("completion that stalls", {
            let request = post(COMPLETE).header(CONTENT_TYPE, "application/json");
            let body = [Piece::Data("{}".into()), Piece::Stall];
            request.body(TestBody::new(body)).unwrap()
        }),
    ] {
        let mut probe = request.body().probe();
        client.leave(request);
        probe.dropped().await;
        assert_eq!(client.offset(&id).await, 3, "{name}");
        // Nobody holds it any more.
        let append =
            uploads.for_operator().append(&support::id(&id), 3, AppendMode::AllOrNothing).await;
        assert_eq!(append.unwrap().position(), 3, "{name}");
        assert_eq!(all_ids(&uploads).await.len(), 1, "{name}");
    }
    // With its client waiting, a body without a length ends where it ends.
    let reply = client.send(raw(None, None, TestBody::new([data()]))).await;
    assert_eq!(reply.json()["offset"], 3);
}

/// It came before the one that its client has sent instead, whenever it is looked at.
#[tokio::test]
async fn who_has_left_stops_nobody_who_came_later() {
    let uploads = in_memory();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    for (_, make) in WHOLE {
        let id = client.begin(6, b"abc").await;
        let request = make(&id, b"xyz");
        let mut probe = request.body().probe();
        let older = client.call_now(request);
        let newer =
            uploads.for_operator().append(&support::id(&id), 3, AppendMode::AllOrNothing).await;
        let mut newer = newer.unwrap();
        drop(older);
        probe.dropped().await;
        newer.write(&b"def"[..]).await.unwrap();
        assert_eq!(newer.commit().await.unwrap().offset(), 6);
        let reply = client.complete(&id, &md5(b"abcdef")).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

/// Whoever waits for a client that is gone makes way for it, though its own client has left, too.
#[test]
fn who_has_left_need_not_wait_for_who_came_before() {
    for (kind, make) in WHOLE {
        on_both_stores(|store, builder| async move {
            let client = Client::new(ChunkedUploadLayer::new(builder.build().unwrap()));
            let id = client.begin(6, b"abc").await;
            let head = Form::new().id(Some(&id)).open_file("a");
            let dead = TestBody::new([Piece::Data(head), Piece::Data("d".into()), Piece::Stall]);
            let mut probe = dead.probe();
            let dead = client.spawn(ranged("bytes 3-5/6", dead));
            probe.waiting().await;
            client.leave(make(&id, b"def"));
            reaches(&client, &id, 6).await;
            assert_eq!(dead.await.unwrap().refused(409), TAKEN_OVER, "{kind}, {store}");
        });
    }
}

#[tokio::test]
async fn a_completion_that_came_before_a_chunk_does_not_stop_it() {
    let uploads = in_memory();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let id =
        uploads.for_owner(None).create(NewUpload::new()).await.unwrap().commit().await.unwrap().id;
    let request = complete(&id.to_string(), &md5(b""));
    let mut probe = request.body().probe();
    let older = client.call_now(request);
    let mut chunk = uploads.for_operator().append(&id, 0, AppendMode::AllOrNothing).await.unwrap();
    drop(older);
    probe.dropped().await;
    chunk.write(&b"abc"[..]).await.unwrap();
    assert_eq!(chunk.commit().await.unwrap().offset(), 3);
}

/// Its own end is enough, whatever becomes of the connection.
#[tokio::test]
async fn a_completion_of_unknown_length_is_carried_out_where_it_names_its_end() {
    let client = client();
    for kind in ["json", "form", "urlencoded"] {
        let id = client.upload(b"abc").await;
        let md5 = md5(b"abc");
        let (media_type, body) = match kind {
            "json" => {
                let json = format!("{{\"upload_id\":\"{id}\",\"md5\":\"{md5}\"}}");
                ("application/json".to_owned(), Bytes::from(json))
            }
            "form" => (Form::content_type(), Form::new().id(Some(&id)).field("md5", &md5).end()),
            _ => {
                let pairs = format!("upload_id={id}&md5={md5}").into();
                ("application/x-www-form-urlencoded".to_owned(), pairs)
            }
        };
        let body = TestBody::new([Piece::Data(body)]);
        let mut probe = body.probe();
        client.leave(post(COMPLETE).header(CONTENT_TYPE, media_type).body(body).unwrap());
        probe.dropped().await;
        if kind == "urlencoded" {
            assert_eq!(client.status(&id).await.json()["status"], "open");
        } else {
            until("it is carried out", async || {
                client.status(&id).await.json()["status"] == "complete"
            })
            .await;
        }
    }
}

/// A policy that takes its time sees the end of it.
#[tokio::test]
async fn a_request_that_was_left_in_the_policy_goes_on() {
    struct Slow(&'static Semaphore);
    impl Policy for Slow {
        async fn validate(&self, _: &Candidate<'_>) -> Result<(), Refusal> {
            self.0.acquire().await.unwrap().forget();
            Ok(())
        }
    }
    static GO: Semaphore = Semaphore::const_new(1);
    let client = Client::new(layer().policy(Slow(&GO)));
    let id = client.begin(6, b"abc").await;
    let mut call = Box::pin(client.call(chunk(Some(&id), 3, 6, b"def")));
    for _ in 0..3 {
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    drop(call);
    GO.add_permits(1);
    reaches(&client, &id, 6).await;
}

/// Nobody would end it otherwise: neither its client, nor a layer outside, nor a shutdown.
#[tokio::test(start_paused = true)]
async fn a_policy_that_does_not_return_is_not_waited_for_without_a_client() {
    struct Stuck;
    impl Policy for Stuck {
        async fn authorize(
            &self,
            _: &tower_chunked_upload::Context<'_>,
        ) -> Result<Option<tower_chunked_upload::Owner>, Refusal> {
            std::future::pending().await
        }
    }
    let uploads = in_memory();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()).policy(Stuck));
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = alive();
    for request in
        [chunk(None, 0, 3, b"abc"), complete(NO_ID, &md5(b"")), on_id(Method::GET, NO_ID)]
    {
        client.leave(request);
    }
    assert_eq!(alive(), before + 3);
    until("they have ended", async || alive() == before).await;
    client.leave(chunk(None, 0, 3, b"abc"));
    uploads.shutdown(std::time::Duration::from_secs(1)).await;
    until("it has ended", async || alive() == before).await;
}

#[test]
fn a_future_without_a_runtime_is_dropped_like_any_other() {
    let client = Client::new(layer());
    client.leave(chunk(None, 0, 3, b"abc"));
}

// --- the body ---

#[tokio::test]
async fn a_body_that_does_not_end_well_does_not_count() {
    let client = client();
    let id = client.begin(6, b"abc").await;
    let form = Form::new().id(Some(&id)).file("a", b"def").end();
    let pieces = |last| TestBody::new([Piece::Data(form.clone()), last]);
    let length = form.len() as u64;
    for (name, body) in [
        ("breaks behind the form", pieces(Piece::Fail)),
        ("breaks in the epilogue", {
            let epilogue = Piece::Data("words".into());
            TestBody::new([Piece::Data(form.clone()), epilogue, Piece::Fail])
        }),
        ("is short of its length", TestBody::of(form.clone()).declare(length + 1)),
    ] {
        let detail = client.send(ranged("bytes 3-5/6", body)).await.refused(400);
        assert_eq!(detail, "The request body ended early", "{name}");
        assert_eq!(client.offset(&id).await, 3, "{name}");
    }
    let raw_of = |body| raw(Some(&id), Some("bytes 3-5/6"), body);
    let short = TestBody::new([Piece::Data("def".into())]).declare(3);
    let broken = TestBody::new([Piece::Data("def".into()), Piece::Fail]);
    client.send(raw_of(broken)).await.refused(400);
    assert_eq!(client.send(raw_of(short)).await.json()["offset"], 6);
    let json = format!("{{\"upload_id\":\"{id}\",\"md5\":\"{}\"}}", md5(b"abcdef"));
    let request = || post(COMPLETE).header(CONTENT_TYPE, "application/json");
    let short = TestBody::of(json.clone()).declare(json.len() as u64 + 1);
    client.send(request().body(short).unwrap()).await.refused(400);
    assert_eq!(client.send(request().body(TestBody::of(json)).unwrap()).await.status, 200);
}

#[tokio::test]
async fn why_a_body_failed_is_for_the_log() {
    let service = layer().layer(service_fn(async |_: Request<RequestBody<TestBody>>| {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    }));
    let request = raw(None, None, TestBody::new([Piece::Data("abc".into()), Piece::Fail]));
    let response = service.oneshot(request).await.unwrap();
    let refusal = response.extensions().get::<Refusal>().unwrap();
    assert_eq!(refusal.detail(), "The request body ended early");
    let cause = refusal.error().and_then(Error::source).unwrap();
    assert_eq!(cause.to_string(), "connection reset by peer (os error 104)");
}

fn with_length(mut request: Request<TestBody>, length: u64) -> Request<TestBody> {
    request.headers_mut().insert(CONTENT_LENGTH, length.into());
    request
}

#[tokio::test]
async fn a_limit_of_another_layer_is_named() {
    let service = layer()
        .layer(service_fn(async |_| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))));
    let service = RequestBodyLimitLayer::new(1000).layer(service);
    // Where its length is known, too, if not to whoever limits it.
    for request in [
        raw(None, Some("bytes 0-15999/16000"), TestBody::of(vec![7; 16_000])),
        chunk(None, 0, 16_000, &[7; 16_000]),
    ] {
        let length = request.body().size_hint().exact().unwrap();
        let request = with_length(request, length).map(|body| Limited::new(body, 1000));
        let service = layer().layer(service_fn(async |_| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        }));
        let response = service.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
    // Its length is not known before.
    let pieces = |count| (0..count).map(|_| Piece::Data(Bytes::from_static(&[7; 400])));
    for (kind, count) in [("raw", 2), ("raw", 40), ("form", 40), ("completion", 40)] {
        let mut request = raw(None, None, TestBody::new(pieces(count)));
        match kind {
            "form" => {
                let form = Form::new().open_file("a");
                request = form_request(TestBody::new(
                    [Piece::Data(form)].into_iter().chain(pieces(count)),
                ));
            }
            "completion" => *request.uri_mut() = COMPLETE.parse().unwrap(),
            _ => {}
        }
        let mut probe = request.body().probe();
        let response = service.clone().oneshot(request).await.unwrap();
        if count == 2 {
            assert_eq!(response.status(), StatusCode::OK);
            continue;
        }
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE, "{kind}");
        let refusal = response.extensions().get::<Refusal>().unwrap();
        assert_eq!(
            refusal.detail(),
            "Size of the request exceeds the limit (1000 bytes)",
            "{kind}"
        );
        assert_eq!(*refusal.error().unwrap().kind(), ErrorKind::Source);
        // Its client is still sending, and reads the answer afterwards.
        assert!(probe.dropped().await.bytes >= 40 * 400, "{kind}");
    }
}

// --- the application ---

#[derive(Clone, Default)]
struct Told(std::sync::Arc<std::sync::Mutex<Vec<String>>>);

impl Observer for Told {
    async fn on_event(&self, event: &Event, _: Option<&Extensions>) {
        let text = format!("{event:?}");
        self.0.lock().unwrap().push(text[..text.find('(').unwrap()].to_owned());
    }
}

#[test]
fn what_the_application_discards_is_gone_for_good() {
    on_both_stores(|store, builder| async move {
        let (target, told) = (tempfile::tempdir().unwrap(), Told::default());
        let kept = target.path().join("kept");
        let uploads = builder.observer(told.clone()).max_uploads_per_owner(1).build().unwrap();
        for (persists, status) in [(false, 422), (true, 422), (false, 200), (true, 500)] {
            let path = kept.clone();
            let client = Client::around(ChunkedUploadLayer::new(uploads.clone()), move |request| {
                let path = path.clone();
                async move {
                    let upload = request.extensions().get::<CompletedUpload>().unwrap();
                    if persists {
                        upload.persist(&path).await.unwrap();
                    }
                    upload.discard().await.unwrap();
                    upload.discard().await.unwrap();
                    assert!(upload.persist(&path).await.is_err());
                    let mut response = Response::new(Full::default());
                    *response.status_mut() = StatusCode::from_u16(status).unwrap();
                    response
                }
            });
            let id = client.upload(b"abc").await;
            assert_eq!(client.complete(&id, &md5(b"abc")).await.status, status);
            client.complete(&id, &md5(b"abc")).await.refused(404);
            client.status(&id).await.refused(404);
            client.send(chunk(Some(&id), 3, 6, b"def")).await.refused(404);
            assert_eq!(all_ids(&uploads).await, [], "{store}");
            assert_eq!(*told.0.lock().unwrap(), ["Created", "Discarded"], "{store}, {status}");
            told.0.lock().unwrap().clear();
        }
        assert_eq!(std::fs::read(&kept).unwrap(), b"abc", "{store}");
    });
}

#[test]
fn a_file_that_was_taken_can_be_discarded_later() {
    on_both_stores(|store, builder| async move {
        let uploads = builder.build().unwrap();
        let mut append = uploads.for_owner(None).create(NewUpload::new()).await.unwrap();
        append.write(&b"abc"[..]).await.unwrap();
        let id = append.commit().await.unwrap().id;
        let lost = uploads.for_operator().complete(&id, None).await.unwrap();
        let file = lost.file().clone();
        lost.reopen().await.unwrap();
        assert_eq!(*file.discard().await.unwrap_err().kind(), ErrorKind::Superseded, "{store}");
        let taken = uploads.for_operator().complete(&id, None).await.unwrap();
        let file = taken.file().clone();
        taken.finish().await.unwrap();
        file.discard().await.unwrap();
        assert_eq!(
            *uploads.for_operator().status(&id).await.unwrap_err().kind(),
            ErrorKind::NotFound,
            "{store}"
        );
    });
}

/// An application that waits for a sweep only so long.
#[test]
fn a_sweep_that_nobody_waits_for_ends_the_removal_that_it_has_begun() {
    for sweeps in [true, false] {
        run(async {
            let (store, told) = (Double::default(), Told::default());
            let builder = Uploads::builder(store.clone()).observer(told.clone());
            let all = builder.max_uploads_per_owner(1).build().unwrap();
            let uploads = all.for_owner(None);
            let begin = async || {
                let append = uploads.create(NewUpload::new()).await.unwrap();
                append.commit().await.unwrap().id
            };
            let id = begin().await;
            uploads.set_expires(&id, SystemTime::UNIX_EPOCH).await.unwrap();
            let removed = store.hold(Call::Removed);
            tokio::select! {
                biased;
                () = removed.arrived() => {}
                _ = all.delete_expired(), if sweeps => panic!("it has ended"),
                _ = uploads.delete_if_expired(&id), if !sweeps => panic!("it has ended"),
            }
            removed.open();
            until("it is told", async || told.0.lock().unwrap().len() == 2).await;
            assert_eq!(*told.0.lock().unwrap(), ["Created", "Expired"]);
            assert_eq!(*uploads.status(&id).await.unwrap_err().kind(), ErrorKind::Expired);
            // The quota has room for it.
            begin().await;
        });
    }
}

/// Discards the file that it has, when it is told of the completion.
#[derive(Clone, Default)]
struct Discards(Told, std::sync::Arc<std::sync::Mutex<Option<CompletedUpload>>>);

impl Observer for Discards {
    async fn on_event(&self, event: &Event, request: Option<&Extensions>) {
        self.0.on_event(event, request).await;
        let file = self.1.lock().unwrap().take_if(|_| matches!(event, Event::Completed(_)));
        if let Some(file) = file {
            file.discard().await.unwrap();
        }
    }
}

/// The time stands still, and goes on when nothing else does.
#[tokio::test(start_paused = true)]
async fn a_file_is_told_to_be_taken_before_it_is_told_to_be_discarded() {
    for waits in [false, true] {
        let (store, observer) = (Double::default(), Discards::default());
        let uploads = Uploads::builder(store.clone()).observer(observer.clone()).build().unwrap();
        let uploads = uploads.for_owner(None);
        let part = uploads.create(NewUpload::new().part().total(0)).await.unwrap();
        let part = part.commit().await.unwrap().id;
        let lease = uploads.join(NewUpload::new(), &[part]).await.unwrap();
        let completion = lease.complete(None).await.unwrap();
        let file = completion.file().clone();
        if waits {
            *observer.1.lock().unwrap() = Some(file.clone());
        }
        // It is taken, and its parts are released before that is told.
        let released = store.hold(Call::Writer);
        let finished = tokio::spawn(completion.finish());
        released.arrived().await;
        drop(store.hold(Call::Probe));
        let discarded = tokio::spawn(async move { file.discard().await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        released.open();
        finished.await.unwrap().unwrap();
        discarded.await.unwrap().unwrap();
        let told = observer.0.0.lock().unwrap().clone();
        assert_eq!(told, ["Created", "Created", "Completed", "Discarded"], "waits: {waits}");
    }
}

#[tokio::test]
async fn a_verdict_on_what_was_discarded_says_that_it_is_gone() {
    let uploads = in_memory();
    for finishes in [true, false] {
        let id = uploads
            .for_owner(None)
            .create(NewUpload::new())
            .await
            .unwrap()
            .commit()
            .await
            .unwrap()
            .id;
        let completion = uploads.for_operator().complete(&id, None).await.unwrap();
        completion.file().discard().await.unwrap();
        let verdict = if finishes { completion.finish().await } else { completion.reopen().await };
        assert_eq!(*verdict.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn while_a_verdict_is_written_down_the_file_waits_for_it() {
    on_both_stores(|store, builder| async move {
        let uploads = builder.build().unwrap();
        for _ in 0..20 {
            let id = uploads
                .for_owner(None)
                .create(NewUpload::new())
                .await
                .unwrap()
                .commit()
                .await
                .unwrap()
                .id;
            let completion = uploads.for_operator().complete(&id, None).await.unwrap();
            let file = completion.file().clone();
            let (taken, discarded) = tokio::join!(biased; completion.finish(), file.discard());
            assert!(discarded.is_ok(), "{store}: {discarded:?}");
            // On several threads either may be first.
            let kind = taken.map_err(|error| error.kind().clone()).map(drop);
            assert!(matches!(kind, Ok(()) | Err(ErrorKind::NotFound)), "{store}: {kind:?}");
            let gone = uploads.for_operator().status(&id).await.unwrap_err();
            assert_eq!(*gone.kind(), ErrorKind::NotFound, "{store}");
        }
    });
}

/// A client that is impatient must not have it read anew each time.
#[tokio::test]
async fn a_file_that_is_read_back_is_read_to_its_end() {
    // In this store the first has the upload when the second is polled.
    let store = tower_chunked_upload::store::MemoryStore::new();
    let uploads = Uploads::builder(store).read_back(true).build().unwrap();
    let mut append = uploads.for_owner(None).create(NewUpload::new()).await.unwrap();
    append.write(&noise(1 << 20)[..]).await.unwrap();
    let id = append.commit().await.unwrap().id;
    let operator = uploads.for_operator();
    let (first, second) =
        tokio::join!(biased; operator.complete(&id, None), operator.complete(&id, None));
    assert!(first.is_ok(), "{first:?}");
    assert_eq!(*second.map(drop).unwrap_err().kind(), ErrorKind::Finishing);
}

/// gRPC says with a 200 that it has no such method.
#[tokio::test]
async fn an_error_of_grpc_takes_no_file() {
    for (status, taken) in [(None, true), (Some("0"), true), (Some("12"), false)] {
        let client = Client::around(layer(), move |_| async move {
            let mut response = Response::new(Full::default());
            if let Some(status) = status {
                response.headers_mut().insert("grpc-status", status.parse().unwrap());
            }
            response
        });
        let id = client.upload(b"abc").await;
        assert_eq!(client.complete(&id, &md5(b"abc")).await.status, 200);
        let stands = if taken { "complete" } else { "open" };
        assert_eq!(client.status(&id).await.json()["status"], stands, "{status:?}");
    }
}

/// The policy, asked before the handler, may end it too: with its own words, or without.
#[tokio::test]
async fn a_file_that_the_policy_discards_reaches_no_handler() {
    struct Strict {
        refuses: bool,
    }
    impl Policy for Strict {
        async fn verify(&self, finished: &Verification<'_>) -> Result<(), Refusal> {
            finished.file.discard().await?;
            let refusal = Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "This is a virus");
            if self.refuses { Err(refusal) } else { Ok(()) }
        }
    }
    for (refuses, status, words) in
        [(true, 422, "This is a virus"), (false, 404, "Upload not found")]
    {
        let told = Told::default();
        let store = tower_chunked_upload::store::MemoryStore::new();
        let uploads = Uploads::builder(store).observer(told.clone()).build().unwrap();
        let client = Client::new(ChunkedUploadLayer::new(uploads).policy(Strict { refuses }));
        let id = client.upload(b"abc").await;
        let detail = client.complete(&id, &md5(b"abc")).await.refused(status);
        assert_eq!(detail, words);
        client.complete(&id, &md5(b"abc")).await.refused(404);
        assert_eq!(*told.0.lock().unwrap(), ["Created", "Discarded"]);
        assert!(client.deliveries().is_empty());
    }
}
