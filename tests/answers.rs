//! Completions whose answer is lost, or takes long.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;
#[path = "support/tus.rs"]
#[expect(dead_code, reason = "some of it is for other tests")]
mod tus_client;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tokio::sync::watch;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{
    ChunkedUploadLayer, CompletedUpload, Context, KeptAnswer, LongCompletions, NewUpload, Owner,
    Policy, Refusal, Resumable, Status, Tus, Uploads, UploadsBuilder,
};

use support::*;
use tus_client::{BYTES, memory, on_all_stores};

const HOUR: Duration = Duration::from_secs(60 * 60);
const LATE: Duration = Duration::from_millis(20);
const KEY: (&str, &str) = ("idempotency-key", "8e03978e-40d5-43e8-bc93-6894a57f9324");

/// An application that answers what a test says, when it says so.
#[derive(Clone)]
struct App {
    uploads: Uploads,
    clients: [Client; 2],
    runs: Arc<AtomicUsize>,
    says: Arc<Mutex<(u16, Bytes)>>,
    open: watch::Sender<bool>,
}

impl App {
    fn new(
        uploads: UploadsBuilder,
        set: impl Fn(ChunkedUploadLayer) -> ChunkedUploadLayer,
    ) -> Self {
        let uploads = uploads.build().unwrap();
        let runs = Arc::new(AtomicUsize::new(0));
        let says = Arc::new(Mutex::new((200, Bytes::from_static(b"{\"saved\":true}"))));
        let open = watch::Sender::new(true);
        let clients = [(); 2].map(|()| {
            let layer = ChunkedUploadLayer::new(uploads.clone())
                .tus(Tus::new("/files").response_body(true))
                .resumable(Resumable::new("/uploads").paths(["/inbox"]));
            let (runs, says, open) = (Arc::clone(&runs), Arc::clone(&says), open.clone());
            Client::around(set(layer), move |request: InnerRequest| {
                let (runs, says, mut gate) =
                    (Arc::clone(&runs), Arc::clone(&says), open.subscribe());
                async move {
                    assert!(request.extensions().get::<CompletedUpload>().is_some(), "no upload");
                    runs.fetch_add(1, Ordering::Relaxed);
                    gate.wait_for(|open| *open).await.unwrap();
                    let (status, body) = says.lock().unwrap().clone();
                    Response::builder()
                        .status(status)
                        .header("content-type", "application/json")
                        .header("x-kept", "\u{e9}")
                        .header("set-cookie", "secret=1")
                        .body(Full::from(body))
                        .unwrap()
                }
            })
        });
        Self { uploads, clients, runs, says, open }
    }

    fn keeping(uploads: UploadsBuilder) -> Self {
        let kept = || [http::HeaderName::from_static("x-kept")];
        Self::new(uploads, |layer| layer.keep_answers(HOUR).keep_answer_headers(kept()))
    }

    fn late(uploads: UploadsBuilder) -> Self {
        Self::new(uploads, |layer| {
            layer.keep_answers(HOUR).long_completions(LongCompletions::new("/done").after(LATE))
        })
    }

    fn says(&self, status: u16, body: impl Into<Bytes>) {
        *self.says.lock().unwrap() = (status, body.into());
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::Relaxed)
    }

    async fn ask(&self, client: usize, address: &str) -> Reply {
        let request = Request::get(address).body(TestBody::empty()).unwrap();
        self.clients[client].send(request).await
    }
}

#[track_caller]
fn same(again: &Reply, before: &Reply) {
    assert_eq!((again.status, &again.body), (before.status, &before.body), "{again:?}");
    assert_eq!(again.header("content-type"), before.header("content-type"));
    assert_eq!(again.headers.get("x-kept"), before.headers.get("x-kept"));
    assert_eq!(again.header("set-cookie"), None, "a cookie was kept");
}

#[test]
fn the_same_completion_gets_the_same_answer() {
    on_all_stores(|uploads| async move {
        let app = App::keeping(uploads);
        for (status, body) in [
            (200, Bytes::from_static(b"{\"saved\":true}")),
            (201, Bytes::new()),
            (303, noise(64 * 1024).into()),
        ] {
            app.says(status, body);
            let id = app.clients[0].upload(b"0123").await;
            let before = app.clients[0].complete(&id, &md5(b"0123")).await;
            assert_eq!(before.status, status);
            let runs = app.runs();
            app.says(500, "other");
            for client in &app.clients {
                same(&client.complete(&id, &md5(b"0123")).await, &before);
                // It is no completion of this file.
                let wrong = client.complete(&id, &md5(b"other")).await;
                assert_eq!(wrong.refused(400), "md5 checksum does not match");
            }
            assert_eq!(app.runs(), runs);
        }
    });
}

#[test]
fn what_is_too_large_is_passed_on_and_not_kept() {
    on_all_stores(|uploads| async move {
        let app = App::keeping(uploads);
        let large = Bytes::from(noise(64 * 1024 + 1));
        app.says(200, large.clone());
        let id = app.clients[0].upload(b"0123").await;
        let before = app.clients[0].complete(&id, &md5(b"0123")).await;
        assert_eq!((before.status, before.body), (StatusCode::OK, large));
        let again = app.clients[0].complete(&id, &md5(b"0123")).await;
        assert_eq!(again.refused(400), "Upload has already been marked as complete");
        assert_eq!(app.runs(), 1);
    });
}

/// Completes an upload with a handler that answers with this body. Returns what the client gets of
/// it, its trailers or the failure, and what the same completion gets again.
async fn with_body(
    set: impl Fn(ChunkedUploadLayer) -> ChunkedUploadLayer,
    body: TestBody,
    meanwhile: impl AsyncFnOnce(),
) -> (Bytes, Result<Option<HeaderMap>, BodyFailed>, Reply) {
    let uploads = memory().build().unwrap();
    let body = Arc::new(Mutex::new(Some(body)));
    let service = set(ChunkedUploadLayer::new(uploads.clone())).layer(service_fn(move |_| {
        let body = body.lock().unwrap().take().expect("the handler runs once");
        async move { Ok::<_, std::convert::Infallible>(Response::new(body)) }
    }));
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let id = client.upload(b"0123").await;
    let request = || complete(&id, &md5(b"0123"));
    let response = service.clone().oneshot(request()).await.unwrap();
    assert_eq!(response.status(), 200);
    // Whatever becomes of the body.
    let upload = uploads.for_operator().status(&support::id(&id)).await.unwrap();
    assert_eq!(upload.status(), Status::Complete);
    meanwhile().await;
    let mut body = response.into_body();
    let (mut bytes, mut trailers) = (Vec::new(), Ok(None));
    while let Some(frame) = body.frame().await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => bytes.extend(data),
            Ok(Err(frame)) => trailers = Ok(frame.into_trailers().ok()),
            Err(failed) => trailers = Err(failed),
        }
    }
    let (parts, body) = service.oneshot(request()).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let again = Reply { status: parts.status, headers: parts.headers, body };
    (bytes.into(), trailers, again)
}

const COMPLETE_ALREADY: &str = "Upload has already been marked as complete";

async fn nothing() {}

#[test]
fn a_body_that_fails_is_passed_on_as_it_comes_and_the_file_is_taken() {
    run(async {
        for begun in [vec![Piece::Data("01".into())], vec![]] {
            let sent = begun.len() * 2;
            let body = TestBody::new(begun.into_iter().chain([Piece::Fail])).declare(4);
            let (bytes, end, again) =
                with_body(|layer| layer.keep_answers(HOUR), body, nothing).await;
            assert_eq!(bytes, "01"[..sent]);
            assert!(end.is_err(), "the failure was hidden");
            assert_eq!(again.refused(400), COMPLETE_ALREADY);
        }
    });
}

#[test]
fn a_body_with_trailers_is_passed_on_with_them_and_not_kept() {
    run(async {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-end", "1".parse().unwrap());
        let pieces = [Piece::Data("01".into()), Piece::TrailersOf(trailers.clone())];
        let body = TestBody::new(pieces).declare(2);
        let (bytes, end, again) = with_body(|layer| layer.keep_answers(HOUR), body, nothing).await;
        assert_eq!((bytes, end.unwrap()), ("01".into(), Some(trailers)));
        assert_eq!(again.refused(400), COMPLETE_ALREADY);
    });
}

/// Neither is read before the client reads it, so nothing waits for it.
#[test]
fn a_body_of_unknown_length_and_any_body_without_the_setting_are_passed_on() {
    run(async {
        for (keeps, size) in [(true, None), (false, Some(4))] {
            let (pieces, body) = TestBody::live();
            let body = size.into_iter().fold(body, TestBody::declare);
            let set = |layer: ChunkedUploadLayer| match keeps {
                true => layer.keep_answers(HOUR),
                false => layer,
            };
            let meanwhile = async move || pieces.send(Piece::Data("0123".into())).unwrap();
            let (bytes, end, again) = with_body(set, body, meanwhile).await;
            assert_eq!((bytes, end.is_ok()), ("0123".into(), true));
            assert_eq!(again.refused(400), COMPLETE_ALREADY);
        }
    });
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for_and_the_file_is_taken() {
    run(async {
        let (pieces, body) = TestBody::live();
        pieces.send(Piece::Data("01".into())).unwrap();
        let set = |layer: ChunkedUploadLayer| {
            layer.keep_answers(HOUR).idle_timeout(Duration::from_millis(1))
        };
        let meanwhile = async move || pieces.send(Piece::Data("23".into())).unwrap();
        let (bytes, end, again) = with_body(set, body.declare(4), meanwhile).await;
        assert_eq!((bytes, end.is_ok()), ("0123".into(), true));
        assert_eq!(again.refused(400), COMPLETE_ALREADY);
    });
}

#[test]
fn an_answer_that_takes_no_file_is_not_given_for_another_run() {
    on_all_stores(|uploads| async move {
        let app = App::keeping(uploads);
        let id = app.clients[0].upload(b"0123").await;
        for status in [422, 500, 200] {
            app.says(status, status.to_string());
            let reply = app.clients[0].complete(&id, &md5(b"0123")).await;
            assert_eq!(
                (reply.status.as_u16(), &*reply.body),
                (status, status.to_string().as_bytes())
            );
        }
        assert_eq!(app.runs(), 3);
        assert_eq!(app.clients[1].complete(&id, &md5(b"0123")).await.body, "200");
        assert_eq!(app.runs(), 3);
    });
}

#[test]
fn an_answer_is_kept_for_its_time_and_only_if_that_is_set() {
    run(async {
        let clock = Clock::new();
        let app = App::keeping(memory().clock(clock.read()).expires_after(2 * HOUR));
        let id = app.clients[0].upload(b"0123").await;
        app.clients[0].complete(&id, &md5(b"0123")).await;
        clock.advance(HOUR - Duration::from_millis(1));
        assert_eq!(app.clients[0].complete(&id, &md5(b"0123")).await.status, 200);
        clock.advance(Duration::from_millis(1));
        app.clients[0].complete(&id, &md5(b"0123")).await.refused(400);
        assert_eq!(app.runs(), 1);

        let app = App::new(memory(), |layer| layer);
        let id = app.clients[0].upload(b"0123").await;
        app.clients[0].complete(&id, &md5(b"0123")).await;
        app.clients[0].complete(&id, &md5(b"0123")).await.refused(400);
        let record = app.uploads.for_owner(None).status(&support::id(&id)).await.unwrap();
        assert_eq!(record.answer, None);
    });
}

/// The client leaves at any moment of a completion, and asks again.
#[test]
fn whenever_the_answer_is_lost_the_handler_runs_once() {
    on_all_stores(|uploads| async move {
        let app = App::keeping(uploads);
        for polls in 1.. {
            let id = app.clients[0].upload(b"0123").await;
            let before = app.runs();
            let request = || complete(&id, &md5(b"0123"));
            let done = poll_times(app.clients[0].call(request()), polls).await.is_some();
            until("the same completion is answered", async || {
                let again = app.clients[1].send(request()).await;
                if again.status == 200 {
                    assert_eq!(again.body, "{\"saved\":true}");
                    return true;
                }
                assert_eq!(again.refused(400), "Upload is being completed");
                false
            })
            .await;
            assert_eq!(app.runs(), before + 1);
            if done {
                break;
            }
        }
    });
}

#[test]
fn the_last_bytes_of_tus_get_the_same_answer_again() {
    on_all_stores(|uploads| async move {
        let app = App::keeping(uploads);
        let length = ("upload-length", "10");
        let create = tus_client::request("POST", "/files", &[length], TestBody::empty());
        let url = app.clients[0].send(create).await.header("location").unwrap().to_owned();
        let patch = |at, body: &'static str| tus_client::patch(&url, at, &[], TestBody::of(body));
        assert_eq!(app.clients[0].send(patch(0, "0123")).await.status, 204);
        let before = app.clients[0].send(patch(4, "456789")).await;
        assert_eq!(before.status, 200, "{before:?}");
        for client in &app.clients {
            let again = client.send(patch(4, "456789")).await;
            same(&again, &before);
            assert_eq!(again.header("upload-offset"), Some("10"));
            assert_eq!(again.header("tus-resumable"), Some("1.0.0"));
            assert_eq!(client.send(patch(4, "45678")).await.status, 409);
        }
        // With a key, so does a whole file.
        let headers = [length, ("content-type", BYTES), KEY];
        let whole = || tus_client::request("POST", "/files", &headers, TestBody::of("0123456789"));
        let before = app.clients[0].send(whole()).await;
        assert_eq!(before.status, 201, "{before:?}");
        let again = app.clients[1].send(whole()).await;
        same(&again, &before);
        assert_eq!(again.header("location"), before.header("location"));
        assert_eq!(app.runs(), 2);
    });
}

#[test]
fn a_resumable_request_gets_the_same_answer_again() {
    on_all_stores(|uploads| async move {
        let app = App::keeping(uploads);
        let whole = || {
            let request = Request::post("/inbox").header("upload-complete", "?1");
            request.header(KEY.0, KEY.1).body(TestBody::of("0123")).unwrap()
        };
        let before = app.clients[0].send(whole()).await;
        assert_eq!(before.status, 200, "{before:?}");
        for client in &app.clients {
            let again = client.send(whole()).await;
            same(&again, &before);
            assert_eq!(again.header("upload-complete"), Some("?1"));
        }
        assert_eq!(app.runs(), 1);
    });
}

#[test]
fn a_completion_that_takes_long_is_answered_at_its_address() {
    on_all_stores(|uploads| async move {
        let app = App::late(uploads);
        for status in [200, 422] {
            app.says(status, format!("said {status}"));
            app.open.send_replace(false);
            let id = app.clients[0].upload(b"0123").await;
            let before = app.runs();
            let address = format!("/done/{id}");
            assert_eq!(
                app.ask(0, &address).await.refused(409),
                "The upload is not being completed"
            );
            for client in [0, 1] {
                let accepted = app.clients[client].complete(&id, &md5(b"0123")).await;
                assert_eq!(accepted.status, 202, "{accepted:?}");
                assert_eq!(accepted.header("location"), Some(&*address));
                let asked = app.ask(client, &address).await;
                assert_eq!(
                    (asked.status, asked.header("retry-after")),
                    (StatusCode::ACCEPTED, Some("1"))
                );
                assert_eq!(asked.json()["status"], "finishing");
            }
            app.open.send_replace(true);
            until("it is answered", async || app.ask(1, &address).await.status != 202).await;
            for client in [0, 1] {
                let asked = app.ask(client, &address).await;
                assert_eq!(
                    (asked.status.as_u16(), asked.body),
                    (status, format!("said {status}").into())
                );
            }
            assert_eq!(app.runs(), before + 1);
            // What takes no file can be completed again, and says another thing then.
            app.says(201, "again");
            let mut again = app.clients[0].complete(&id, &md5(b"0123")).await;
            if status != 200 && again.status == 202 {
                until("it is answered", async || {
                    again = app.ask(0, &address).await;
                    again.status != 202
                })
                .await;
            }
            let expected = if status == 200 { (200, "said 200") } else { (201, "again") };
            assert_eq!((again.status.as_u16(), &*again.body), (expected.0, expected.1.as_bytes()));
            assert_eq!(app.ask(0, &address).await.body, expected.1);
        }
    });
}

#[test]
fn an_answer_that_comes_in_time_comes_as_it_is() {
    run(async {
        let app = App::new(memory(), |layer| {
            layer.long_completions(LongCompletions::new("/done").after(HOUR))
        });
        let id = app.clients[0].upload(b"0123").await;
        let reply = app.clients[0].complete(&id, &md5(b"0123")).await;
        assert_eq!((reply.status.as_u16(), reply.header("set-cookie")), (200, Some("secret=1")));
        assert_eq!(app.ask(0, &format!("/done/{id}")).await.body, reply.body);
    });
}

#[test]
fn the_address_of_a_completion_is_its_owners_and_ends_with_its_time() {
    struct Users;
    impl Policy for Users {
        async fn authorize(&self, asked: &Context<'_>) -> Result<Option<Owner>, Refusal> {
            let user = asked.request.headers.get("x-user").map(|user| user.to_str().unwrap());
            Ok(user.map(Owner::new))
        }
    }
    run(async {
        let clock = Clock::new();
        let builder = memory().clock(clock.read()).expires_after(2 * HOUR);
        let app = App::new(builder, |layer| {
            layer
                .policy(Users)
                .keep_answers(HOUR)
                .long_completions(LongCompletions::new("/done").after(LATE))
        });
        let by = |user: &str, mut request: Request<TestBody>| {
            request.headers_mut().insert("x-user", user.parse().unwrap());
            request
        };
        let id = app.clients[0].send(by("alice", chunk(None, 0, 4, b"0123"))).await.id();
        let done = app.clients[0].send(by("alice", complete(&id, &md5(b"0123")))).await;
        assert_eq!(done.status, 200);
        let ask = |user, method: Method| {
            let request = Request::builder().method(method).uri(format!("/done/{id}"));
            app.clients[0].call(by(user, request.body(TestBody::empty()).unwrap()))
        };
        assert_eq!(ask("alice", Method::GET).await.status, 200);
        ask("bob", Method::GET).await.refused(404);
        assert_eq!(app.ask(0, &format!("/done/{NO_ID}")).await.refused(404), "Upload not found");
        assert_eq!(app.ask(0, "/done/x").await.refused(404), "Upload not found");
        let other = ask("alice", Method::DELETE).await;
        other.refused(405);
        assert_eq!(other.header("allow"), Some("GET, HEAD"));
        clock.advance(HOUR);
        ask("alice", Method::GET).await.refused(410);
        clock.advance(HOUR);
        ask("alice", Method::GET).await.refused(410);
    });
}

#[test]
fn a_long_completion_of_tus_ends_at_its_address_and_the_client_sees_it_complete() {
    on_all_stores(|uploads| async move {
        let app = App::late(uploads);
        app.open.send_replace(false);
        let create =
            tus_client::request("POST", "/files", &[("upload-length", "4")], TestBody::empty());
        let url = app.clients[0].send(create).await.header("location").unwrap().to_owned();
        let accepted =
            app.clients[0].send(tus_client::patch(&url, 0, &[], TestBody::of("0123"))).await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        assert_eq!(accepted.header("tus-resumable"), Some("1.0.0"));
        assert_eq!(accepted.header("upload-offset"), None);
        let address = accepted.header("location").unwrap();
        assert_eq!(app.ask(1, address).await.status, 202);
        let head = tus_client::request("HEAD", &url, &[], TestBody::empty());
        assert_eq!(app.clients[1].send(head).await.status, 423);
        app.open.send_replace(true);
        until("it is answered", async || app.ask(1, address).await.status == 200).await;
        assert_eq!(app.ask(0, address).await.body, "{\"saved\":true}");
        let head = tus_client::request("HEAD", &url, &[], TestBody::empty());
        assert_eq!(app.clients[1].send(head).await.header("upload-offset"), Some("4"));
        assert_eq!(app.runs(), 1);
    });
}

/// The client finds its upload by `Location`, as in every answer to a creation.
#[test]
fn a_file_of_tus_in_one_request_is_accepted_and_found_complete() {
    on_all_stores(|uploads| async move {
        let app = App::late(uploads);
        app.open.send_replace(false);
        let headers = [("upload-length", "4"), ("content-type", BYTES), KEY];
        let whole = || tus_client::request("POST", "/files", &headers, TestBody::of("0123"));
        let accepted = app.clients[0].send(whole()).await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        assert_eq!(accepted.header("tus-resumable"), Some("1.0.0"));
        assert_eq!(accepted.header("upload-offset"), None);
        let url = accepted.header("location").unwrap();
        let id = url.strip_prefix("/files/").unwrap();
        let address = format!("/done/{id}");
        assert_eq!(accepted.header("content-location"), Some(&*address));
        assert_eq!(accepted.json()["upload_id"], id);
        let head = || tus_client::request("HEAD", url, &[], TestBody::empty());
        assert_eq!(app.clients[1].send(head()).await.status, 423);
        // The last byte does not count yet, and is not taken from anybody else.
        let again = app.clients[1].send(whole()).await;
        assert_eq!((again.status.as_u16(), again.header("upload-offset")), (201, Some("3")));
        let last = || tus_client::patch(url, 3, &[], TestBody::of("3"));
        assert_eq!(app.clients[1].send(last()).await.status, 423);
        app.open.send_replace(true);
        until("it is answered", async || app.ask(1, &address).await.status == 201).await;
        assert_eq!(app.clients[1].send(head()).await.header("upload-offset"), Some("4"));
        for again in [app.ask(0, &address).await, app.clients[1].send(whole()).await] {
            assert_eq!((again.status.as_u16(), &*again.body), (201, &b"{\"saved\":true}"[..]));
            assert_eq!(again.header("location"), Some(url));
        }
        // It has created nothing.
        let again = app.clients[1].send(last()).await;
        assert_eq!((again.status.as_u16(), &*again.body), (200, &b"{\"saved\":true}"[..]));
        assert_eq!((again.header("location"), again.header("upload-offset")), (None, Some("4")));
        assert_eq!(app.runs(), 1);
    });
}

#[test]
fn a_resumable_request_that_takes_long_is_answered_at_its_address() {
    on_all_stores(|uploads| async move {
        let app = App::late(uploads);
        app.open.send_replace(false);
        let more = request_with("POST", "/inbox", &[("upload-complete", "?0")], TestBody::of("01"));
        let url = app.clients[0].send(more).await.header("location").unwrap().to_owned();
        let headers = [
            ("upload-complete", "?1"),
            ("upload-offset", "2"),
            ("content-type", "application/partial-upload"),
        ];
        let last = || request_with("PATCH", &url, &headers, TestBody::of("23"));
        let accepted = app.clients[0].send(last()).await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        // Nobody knows yet whether the application takes it.
        let told = ["upload-complete", "upload-offset", "location"];
        let told = told.map(|name| accepted.header(name));
        assert_eq!(told, [Some("?0"), Some("3"), Some(&*url)]);
        let address = accepted.header("content-location").unwrap();
        assert_eq!(app.ask(1, address).await.status, 202);
        // The last byte does not count yet, and is not taken from anybody else.
        let again = app.clients[1].send(last()).await;
        assert_eq!((again.status.as_u16(), again.header("upload-offset")), (409, Some("3")));
        let headers = [headers[0], ("upload-offset", "3"), headers[2]];
        let again = request_with("PATCH", &url, &headers, TestBody::of("3"));
        assert_eq!(app.clients[1].send(again).await.status, 503);
        app.open.send_replace(true);
        until("it is answered", async || app.ask(1, address).await.status == 200).await;
        let (asked, again) = (app.ask(0, address).await, app.clients[1].send(last()).await);
        assert_eq!(asked.body, "{\"saved\":true}");
        same(&again, &asked);
        assert_eq!(app.runs(), 1);
    });
}

/// An answer that takes no file can be asked for too, also where the upload would have been removed if
/// the client had waited for it.
#[test]
fn a_late_answer_that_takes_no_file_is_told() {
    on_all_stores(|uploads| async move {
        let app = App::late(uploads);
        let whole = |path: &str, headers: &[(&str, &str)], bytes: &'static str| {
            request_with("POST", path, headers, TestBody::of(bytes))
        };
        for status in [422, 503] {
            app.open.send_replace(false);
            app.says(status, "no");
            let draft = whole("/inbox", &[("upload-complete", "?1")], "0123");
            let empty = [("tus-resumable", "1.0.0"), ("upload-length", "0")];
            for request in [draft, whole("/files", &empty, "")] {
                let accepted = app.clients[0].send(request).await;
                assert_eq!(accepted.status, 202, "{accepted:?}");
                let address = accepted.header("content-location").unwrap().to_owned();
                app.open.send_replace(true);
                until("it is answered", async || app.ask(1, &address).await.status != 202).await;
                let told = app.ask(0, &address).await;
                assert_eq!((told.status.as_u16(), &*told.body), (status, &b"no"[..]), "{told:?}");
                app.open.send_replace(false);
            }
        }
    });
}

#[test]
fn an_upload_does_not_expire_while_the_handler_has_its_file() {
    on_all_stores(|uploads| async move {
        let clock = Clock::new();
        let minute = Duration::from_secs(60);
        let app = App::late(uploads.clock(clock.read()).expires_after(minute));
        app.open.send_replace(false);
        let id = app.clients[0].upload(b"0123").await;
        let digest = md5(b"0123");
        assert_eq!(app.clients[0].complete(&id, &digest).await.status, 202);
        clock.advance(2 * minute);
        let address = format!("/done/{id}");
        for _ in 0..2 {
            assert_eq!(app.ask(1, &address).await.status, 202);
            assert_eq!(app.clients[1].complete(&id, &digest).await.status, 202);
            app.uploads.delete_expired().await.unwrap();
        }
        app.open.send_replace(true);
        until("it is answered", async || app.ask(1, &address).await.status == 200).await;
        app.uploads.delete_expired().await.unwrap();
        let asked = app.ask(1, &address).await;
        same(&app.clients[0].complete(&id, &digest).await, &asked);
        clock.advance(HOUR);
        assert_eq!(app.ask(1, &address).await.status, 410);
        assert_eq!(app.runs(), 1);
    });
}

/// Its head says that the file is taken.
#[tokio::test]
async fn a_body_that_panics_takes_the_file_all_the_same() {
    struct Panics;

    impl http_body::Body for Panics {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            panic!("it cannot be read");
        }

        fn size_hint(&self) -> http_body::SizeHint {
            http_body::SizeHint::with_exact(4)
        }
    }

    let uploads = in_memory();
    let plain = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let id = plain.upload(b"0123").await;
    let inner = tower::service_fn(|_: Request<_>| async {
        Ok::<_, std::convert::Infallible>(Response::new(Panics))
    });
    let service = ChunkedUploadLayer::new(uploads.clone()).keep_answers(HOUR).layer(inner);
    let request = complete(&id, &md5(b"0123"));
    let ended = tokio::spawn(async move { service.oneshot(request).await.map(drop) }).await;
    assert!(ended.unwrap_err().is_panic());
    let upload = uploads.for_operator().status(&self::id(&id)).await.unwrap();
    assert_eq!(upload.status(), Status::Complete);
}

#[test]
fn a_handler_that_panics_late_leaves_the_upload_to_be_completed_again() {
    run(async {
        let (open, runs) = (watch::Sender::new(false), Arc::new(AtomicUsize::new(0)));
        let long = LongCompletions::new("/done").after(Duration::ZERO);
        let layer = ChunkedUploadLayer::new(memory().build().unwrap()).long_completions(long);
        let gate = open.clone();
        let client = Client::around(layer, move |_| {
            let (run, mut gate) = (runs.fetch_add(1, Ordering::Relaxed), gate.subscribe());
            async move {
                gate.wait_for(|open| *open).await.unwrap();
                assert_ne!(run, 0, "the first one panics");
                Response::default()
            }
        });
        let id = client.upload(b"0123").await;
        assert_eq!(client.complete(&id, &md5(b"0123")).await.status, 202);
        open.send_replace(true);
        let ask = || {
            let address = format!("/done/{id}");
            client.call(request_with("GET", &address, &[], TestBody::empty()))
        };
        until("it has panicked", async || ask().await.status == 409).await;
        client.complete(&id, &md5(b"0123")).await;
        until("it is answered", async || ask().await.status == 200).await;
    });
}

#[test]
fn the_address_of_a_completion_is_right_for_a_proxy() {
    run(async {
        let long = || LongCompletions::new("/done/").after(Duration::ZERO);
        for (long, host, shown) in [
            (long(), "", "/done/"),
            (long().public_url("https://example.org/v1/done/"), "", "https://example.org/v1/done/"),
            (long().absolute_urls(false), "example.org", "http://example.org/done/"),
            (long().absolute_urls(true), "localhost", "https://example.org/done/"),
        ] {
            let app = App::new(memory(), |layer| layer.long_completions(long.clone()));
            app.open.send_replace(false);
            let id = app.clients[0].upload(b"0123").await;
            let mut request = complete(&id, &md5(b"0123"));
            for (name, value) in [
                ("host", host),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "example.org, proxy"),
            ] {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
            let accepted = app.clients[0].send(request).await;
            assert_eq!(accepted.status, 202);
            assert_eq!(accepted.header("location"), Some(&*format!("{shown}{id}")));
            assert_eq!(accepted.header("content-location"), accepted.header("location"));
            app.open.send_replace(true);
        }
    });
}

#[test]
fn the_address_of_a_completion_is_right_under_a_nested_router() {
    run(async {
        let long = LongCompletions::new("/done").after(Duration::ZERO).public_url("/v1/done");
        let layer = ChunkedUploadLayer::new(memory().build().unwrap()).long_completions(long);
        let open = watch::Sender::new(false);
        let gate = open.clone();
        let done = move || {
            let mut gate = gate.subscribe();
            async move { gate.wait_for(|open| *open).await.map(|_| "saved").unwrap() }
        };
        let routes = Router::new().route(COMPLETE, axum::routing::post(done));
        let inner = Router::new().fallback_service(layer.around(routes));
        let app = Router::new().nest("/v1", inner);
        let send = async |request: Request<TestBody>| {
            let request = request.map(axum::body::Body::new);
            let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            Reply { status: parts.status, headers: parts.headers, body }
        };
        let nested = |mut request: Request<TestBody>| {
            *request.uri_mut() = format!("/v1{}", request.uri()).parse().unwrap();
            request
        };
        let id = send(nested(chunk(None, 0, 4, b"0123"))).await.id();
        let accepted = send(nested(complete(&id, &md5(b"0123")))).await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        let address = accepted.header("location").unwrap();
        let ask = || send(request_with("GET", address, &[], TestBody::empty()));
        assert_eq!(ask().await.status, 202);
        open.send_replace(true);
        until("it is answered", async || ask().await.status == 200).await;
        assert_eq!(ask().await.body, "saved");
    });
}

/// The handler runs in one process, and another one is asked.
async fn is_told_by_another_process(builders: [UploadsBuilder; 2]) {
    let [one, two] = builders.map(App::late);
    one.open.send_replace(false);
    let id = one.clients[0].upload(b"0123").await;
    let address = format!("/done/{id}");
    let before = one.clients[0].complete(&id, &md5(b"0123")).await;
    assert_eq!(before.header("location"), Some(&*address), "{before:?}");
    assert_eq!(two.ask(0, &address).await.status, 202);
    assert_eq!(two.clients[0].complete(&id, &md5(b"0123")).await.status, 202);
    one.open.send_replace(true);
    until("it is answered", async || two.ask(0, &address).await.status != 202).await;
    for reply in [two.ask(0, &address).await, two.clients[0].complete(&id, &md5(b"0123")).await] {
        assert_eq!((reply.status.as_u16(), &*reply.body), (200, &b"{\"saved\":true}"[..]));
    }
    assert_eq!((one.runs(), two.runs()), (1, 0));
}

#[test]
fn another_process_says_that_the_handler_runs_and_what_it_has_said() {
    let folder = tempfile::tempdir().unwrap();
    let store = || FsStore::new(folder.path().join("up/%Y/%m/%d"));
    run(is_told_by_another_process([store(), store()].map(Uploads::builder)));
    #[cfg(feature = "object-store")]
    run(async {
        use tower_chunked_upload::store::BucketStore;
        let bucket = Arc::new(object_store::memory::InMemory::new());
        let one = BucketStore::builder(Arc::clone(&bucket) as _).connect().await.unwrap();
        let two = BucketStore::builder(bucket).connect().await.unwrap();
        is_told_by_another_process([one, two].map(Uploads::builder)).await;
    });
}

/// Nobody holds the upload by then, as if the process that was completing it had ended.
#[test]
fn a_status_that_meets_the_end_of_a_completion_has_what_came_of_it() {
    for end in [Status::Complete, Status::Open] {
        run(async {
            let store = Double::default();
            let all = Uploads::builder(store.clone()).build().unwrap().for_owner(None);
            let mut append = all.create(NewUpload::new()).await.unwrap();
            append.write(&b"bytes"[..]).await.unwrap();
            let id = append.commit().await.unwrap().id;
            let completion = all.complete(&id, None).await.unwrap();
            let gate = store.hold(Call::Loaded);
            let (asking, asked) = (all.clone(), id);
            let status = tokio::spawn(async move { asking.status(&asked).await.unwrap() });
            gate.arrived().await;
            completion.keep_answer(KeptAnswer::new(422, "no", SystemTime::now() + HOUR));
            match end {
                Status::Complete => completion.finish().await.map(drop).unwrap(),
                _ => completion.reopen().await.map(drop).unwrap(),
            }
            gate.open();
            let told = status.await.unwrap();
            assert_eq!(told.status(), end);
            assert_eq!(told.answer.expect("the answer").status, 422);
        });
    }
}
