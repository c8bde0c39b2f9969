//! What a client learns of the uploads of others: nothing.

use std::time::{Duration, Instant};

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request};
use serde_json::json;
use tower_chunked_upload::{ChunkedUploadLayer, Context, Owner, Policy, Refusal, Uploads};

use crate::is_long;
use crate::support::{self, *};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Believes what a header says.
struct Named;

impl Policy for Named {
    async fn authorize(&self, asked: &Context<'_>) -> Result<Option<Owner>, Refusal> {
        let user = asked.request.headers.get("x-user").map(|user| user.to_str().unwrap());
        Ok(user.map(Owner::new))
    }
}

fn by(user: Option<&'static str>, mut request: Request<TestBody>) -> Request<TestBody> {
    if let Some(user) = user {
        request.headers_mut().insert("x-user", HeaderValue::from_static(user));
    }
    request
}

type Make = fn(&str) -> Request<TestBody>;

fn completion(kind: &str, body: impl Into<bytes::Bytes>) -> Request<TestBody> {
    post(COMPLETE).header(CONTENT_TYPE, kind).body(TestBody::of(body)).unwrap()
}

fn id_last(id: &str, place: &str) -> Request<TestBody> {
    ranged(place, TestBody::of(Form::new().file("a", b"defghij").id(Some(id)).end()))
}

/// Every way to name an upload.
const QUESTIONS: &[(&str, Make)] = &[
    ("chunk", |id| chunk(Some(id), 3, 10, b"defghij")),
    ("chunk at another place", |id| chunk(Some(id), 0, 10, b"abc")),
    ("chunk of another total", |id| chunk(Some(id), 3, 11, b"defghij")),
    ("id last", |id| id_last(id, "bytes 3-9/10")),
    ("id last, another place", |id| id_last(id, "bytes 2-8/10")),
    ("whole file", |id| {
        support::form_request(TestBody::of(Form::new().id(Some(id)).file("a", b"abc").end()))
    }),
    ("raw", |id| raw(Some(id), Some("bytes 3-9/10"), TestBody::of("defghij"))),
    ("raw at another place", |id| raw(Some(id), Some("bytes 4-9/10"), TestBody::of("efghij"))),
    ("raw, whole", |id| raw(Some(id), None, TestBody::of("abc"))),
    ("get", |id| on_id(Method::GET, id)),
    ("head", |id| on_id(Method::HEAD, id)),
    ("delete", |id| on_id(Method::DELETE, id)),
    ("complete", |id| complete(id, &md5(b"abcdefghij"))),
    ("complete, wrong md5", |id| complete(id, &md5(b""))),
    ("complete, no md5 at all", |id| complete(id, "x")),
    ("complete, multipart", |id| {
        let form = Form::new().id(Some(id)).field("md5", &md5(b"abcdefghij"));
        completion(&Form::content_type(), form.end())
    }),
    ("complete, json", |id| {
        let json = json!({ "upload_id": id, "md5": md5(b"abcdefghij") });
        completion("application/json", json.to_string())
    }),
];

/// What has become of an upload.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Begun,
    /// Its owner's chunk holds the lease and brings nothing.
    Stalled,
    Whole,
    Finishing,
    Complete,
    Expired,
    Swept,
}

const STATES: [State; 7] = [
    State::Begun,
    State::Stalled,
    State::Whole,
    State::Finishing,
    State::Complete,
    State::Expired,
    State::Swept,
];

#[tokio::test(start_paused = true)]
async fn an_upload_of_another_is_answered_like_none_at_once_and_with_the_same_work() {
    let mut compared = 0;
    for (owner, other) in [(Some("ann"), Some("bob")), (Some("ann"), None), (None, Some("ann"))] {
        for state in STATES {
            let (clock, store) = (Clock::new(), Double::default());
            let uploads = Uploads::builder(store.clone()).clock(clock.read()).build().unwrap();
            let client = Client::new(ChunkedUploadLayer::new(uploads.clone()).policy(Named));
            let id = client.send(by(owner, chunk(None, 0, 10, b"abc"))).await.id();
            let typed = support::id(&id);

            // Whatever holds the upload does so while the questions are asked.
            let (more, body) = TestBody::live();
            let mut stalled = None;
            let mut finishing = None;
            match state {
                State::Begun => {}
                State::Stalled => {
                    let mut probe = body.probe();
                    let request = by(owner, raw(Some(&id), Some("bytes 3-9/10"), body));
                    more.send(Piece::Data("def".into())).unwrap();
                    stalled = Some(client.spawn(request));
                    probe.waiting().await;
                }
                State::Expired | State::Swept => {
                    clock.advance(2 * DAY);
                    if state == State::Swept {
                        assert_eq!(uploads.delete_expired().await.unwrap().incomplete, 1);
                    }
                }
                State::Whole | State::Finishing | State::Complete => {
                    client.send(by(owner, chunk(Some(&id), 3, 10, b"defghij"))).await;
                    if state == State::Finishing {
                        finishing =
                            Some(uploads.for_operator().complete(&typed, None).await.unwrap());
                    }
                    if state == State::Complete {
                        client.send(by(owner, complete(&id, &md5(b"abcdefghij")))).await;
                    }
                }
            }

            for (question, make) in QUESTIONS {
                let ask = async |id: &str| {
                    let before = store.calls().len();
                    let start = tokio::time::Instant::now();
                    let reply = client.send(by(other, make(id))).await;
                    let took = start.elapsed();
                    // Both read a record.
                    let calls = store.calls().split_off(before).into_iter();
                    let calls: Vec<_> = calls
                        .map(|call| if call == Call::Writer { Call::Load } else { call })
                        .collect();
                    (reply.status, reply.headers, reply.body, calls, took)
                };
                let name = format!("{question} of {other:?} for {state:?} of {owner:?}");
                let (foreign, unknown) = (ask(&id).await, ask(NO_ID).await);
                assert_eq!(foreign, unknown, "{name}");
                assert_eq!((foreign.0.as_u16(), foreign.4), (404, Duration::ZERO), "{name}");
                compared += 1;
            }

            if let Some(reply) = stalled {
                more.send(Piece::Data("ghij".into())).unwrap();
                drop(more);
                assert_eq!(reply.await.unwrap().json()["offset"], 10, "{owner:?} was disturbed");
            }
            if let Some(completion) = finishing {
                completion.finish().await.unwrap();
            }
            let status = client.send(by(owner, on_id(Method::GET, &id))).await.status.as_u16();
            let gone = matches!(state, State::Expired | State::Swept);
            assert_eq!(status, if gone { 410 } else { 200 }, "{state:?} of {owner:?}");
        }
    }
    println!("uploads of others: {compared} questions, 0 told from unknown ones, 0 waited");
}

/// Prints how long both take on a disk; what that says is for a human to judge.
#[test]
fn the_times_for_an_upload_of_another_and_for_none_are_printed() {
    let rounds = if is_long() { 10_000 } else { 1_000 };
    let (_folder, store) = folder();
    run(async {
        let uploads = Uploads::builder(store).build().unwrap();
        let client = Client::new(ChunkedUploadLayer::new(uploads).policy(Named));
        let id = client.send(by(Some("ann"), chunk(None, 0, 10, b"abc"))).await.id();
        let timed = ["chunk", "id last", "raw", "get", "delete", "complete"];
        for (question, make) in QUESTIONS.iter().filter(|(name, _)| timed.contains(name)) {
            let mut times = [Vec::new(), Vec::new()];
            for round in 0..2 * rounds {
                let (id, times) = match round % 2 {
                    0 => (id.as_str(), &mut times[0]),
                    _ => (NO_ID, &mut times[1]),
                };
                let request = by(Some("bob"), make(id));
                let start = Instant::now();
                let reply = client.send(request).await;
                times.push(start.elapsed());
                assert_eq!(reply.status, 404, "{question}");
            }
            let [foreign, unknown] = times.map(|mut times| {
                times.sort();
                times[times.len() / 2]
            });
            println!("{question}: median of {rounds}: {foreign:?} another's, {unknown:?} none");
        }
    });
}
