//! What feature `tracing` tells the log.

#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;
#[path = "support/tus.rs"]
#[expect(dead_code, reason = "each test uses some of it")]
mod tus;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, Method, Response, StatusCode};
use http_body_util::Full;
use support::request_with as request;
use support::*;
use tokio::sync::watch;
use tower_chunked_upload::{
    ChunkedUploadLayer, CompletedUpload, Context, Event, LongCompletions, Observer, Owner, Policy,
    Refusal, Resumable, Tus, UploadId, Uploads,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Level, Metadata, Subscriber};
use tracing_core::span::Current;

/// Keeps the spans and events of this crate, and of the application of a test.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    spans: Vec<Line>,
    events: Vec<Line>,
    entered: Vec<u64>,
}

/// A span or an event.
#[derive(Clone, Debug)]
struct Line {
    metadata: &'static Metadata<'static>,
    fields: BTreeMap<String, String>,
    /// The number of the span around it.
    within: Option<u64>,
}

impl Line {
    fn level(&self) -> Level {
        *self.metadata.level()
    }

    fn says(&self) -> &str {
        self.get("message")
    }

    fn get(&self, field: &str) -> &str {
        self.fields.get(field).map(String::as_str).unwrap_or_default()
    }
}

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let earlier = self.0.insert(field.name().to_owned(), format!("{value:?}"));
        assert!(earlier.is_none(), "{field} was recorded twice");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        ["tower_chunked_upload", "log"].iter().any(|target| metadata.target().starts_with(target))
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut kept = self.0.lock().unwrap();
        let mut fields = BTreeMap::new();
        span.record(&mut Fields(&mut fields));
        let within = kept.entered.last().copied();
        kept.spans.push(Line { metadata: span.metadata(), fields, within });
        Id::from_u64(kept.spans.len() as u64)
    }

    fn record(&self, span: &Id, record: &Record<'_>) {
        let mut kept = self.0.lock().unwrap();
        record.record(&mut Fields(&mut kept.spans[span.into_u64() as usize - 1].fields));
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut kept = self.0.lock().unwrap();
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        let within = kept.entered.last().copied();
        kept.events.push(Line { metadata: event.metadata(), fields, within });
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, span: &Id) {
        self.0.lock().unwrap().entered.push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        let left = self.0.lock().unwrap().entered.pop();
        assert_eq!(left, Some(span.into_u64()));
    }

    fn current_span(&self) -> Current {
        let kept = self.0.lock().unwrap();
        match kept.entered.last() {
            Some(id) => Current::new(Id::from_u64(*id), kept.spans[*id as usize - 1].metadata),
            None => Current::none(),
        }
    }
}

impl Log {
    fn listens() -> (Self, DefaultGuard) {
        let log = Self::default();
        let guard = tracing::subscriber::set_default(log.clone());
        (log, guard)
    }

    fn spans(&self) -> Vec<Line> {
        self.0.lock().unwrap().spans.clone()
    }

    fn events(&self) -> Vec<Line> {
        self.0.lock().unwrap().events.clone()
    }

    fn last_span(&self) -> Line {
        self.spans().pop().expect("a span")
    }

    /// The events at this level, and forgets all.
    fn take(&self, level: Level) -> Vec<Line> {
        let mut events = std::mem::take(&mut self.0.lock().unwrap().events);
        events.retain(|event| event.level() == level);
        events
    }

    /// Nothing has an id, or what the client has sent.
    #[track_caller]
    fn hides(&self, secrets: &[&str]) {
        for line in self.spans().iter().chain(&self.events()) {
            for secret in secrets {
                assert!(!format!("{:?}", line.fields).contains(secret), "{secret}: {line:?}");
            }
        }
    }
}

fn fingerprint(id: &str) -> String {
    id.parse::<UploadId>().unwrap().fingerprint()
}

fn layer() -> ChunkedUploadLayer {
    ChunkedUploadLayer::new(in_memory())
        .tus(Tus::new("/files").handler_path(COMPLETE))
        .resumable(Resumable::new("/uploads").paths(["/inbox"]))
}

/// The id at the end of a location.
fn id_of(reply: &Reply) -> String {
    reply.header("location").unwrap().rsplit('/').next().unwrap().to_owned()
}

fn answer(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

#[tokio::test]
async fn why_a_body_failed_and_what_is_damaged_is_told_and_nothing_of_the_client() {
    let (log, _guard) = Log::listens();
    let (folder, store) = folder();
    let client = Client::new(ChunkedUploadLayer::new(Uploads::builder(store).build().unwrap()));
    let id = client.begin(6, b"abc").await;
    let created = log.take(Level::DEBUG);
    assert_eq!((created.len(), created[0].says()), (1, "upload created"));

    let broken = TestBody::new([Piece::Data("secret".into()), Piece::Fail]);
    client.send(raw(Some(&id), Some("bytes 3-5/6"), broken)).await.refused(400);
    let broken = TestBody::new([Piece::Fail]);
    client.send(raw(Some(&id), Some("bytes 3-5/6"), broken)).await.refused(400);
    let refused = log.take(Level::DEBUG);
    let told: Vec<_> = refused.iter().map(|event| (event.says(), event.get("code"))).collect();
    let source = ("upload refused", "source-failed");
    assert_eq!(told, [("upload refused", "length-mismatch"), source]);
    let cause = "the source of the bytes failed: connection reset by peer (os error 104)";
    assert_eq!(refused[1].get("error"), cause);
    assert_eq!((refused[1].get("status"), refused[1].get("upload")), ("400", &*fingerprint(&id)));

    for file in files_below(folder.path()) {
        if file.extension().is_some_and(|extension| extension == "log") {
            std::fs::write(file, b"rubbish\n").unwrap();
        }
    }
    client.status(&id).await.refused(410);
    let damaged = log.take(Level::ERROR);
    assert_eq!(damaged.len(), 1, "{damaged:?}");
    let [damaged] = &damaged[..] else { panic!("{damaged:?}") };
    assert_eq!((damaged.says(), damaged.get("code")), ("cannot serve an upload", "damaged"));
    assert_eq!(damaged.get("upload"), fingerprint(&id));
    assert!(damaged.get("error").contains("a line does not match its check"), "{damaged:?}");
    log.hides(&["secret", &id, &id[..6]]);
}

#[tokio::test]
async fn the_span_of_an_answer_that_was_kept_says_so() {
    let (log, _guard) = Log::listens();
    let long = LongCompletions::new("/done").after(Duration::ZERO);
    let gate = watch::Sender::new(false);
    let open = gate.clone();
    let client = Client::around(layer().long_completions(long), move |_| {
        let mut gate = open.subscribe();
        async move {
            gate.wait_for(|open| *open).await.unwrap();
            Response::default()
        }
    });
    let id = client.upload(b"abc").await;
    assert_eq!(client.complete(&id, &md5(b"abc")).await.status, 202);
    let span = log.last_span();
    assert_eq!((span.get("status"), span.get("answer")), ("202", "accepted"));
    gate.send_replace(true);
    let ask = || request("GET", &format!("/done/{id}"), &[], TestBody::empty());
    until("it is answered", async || client.send(ask()).await.status == 200).await;
    let span = log.last_span();
    let fields = ["dialect", "action", "status", "answer", "offset"].map(|field| span.get(field));
    assert_eq!(fields, ["other", "completion", "200", "kept", "3"]);
    assert_eq!(span.get("upload"), fingerprint(&id));
    assert_eq!(client.complete(&id, &md5(b"abc")).await.status, 200);
    let span = log.last_span();
    let fields = ["dialect", "action", "answer"].map(|field| span.get(field));
    assert_eq!(fields, ["chunked", "complete", "kept"]);
    log.hides(&[&id, &id[..6]]);
}

/// What the spans of these requests have, apart from the time that they took.
#[track_caller]
fn spans_are(log: &Log, expected: &[&[(&str, &str)]]) {
    for (span, expected) in log.spans().iter().zip(expected) {
        assert_eq!((span.metadata.name(), span.level()), ("upload", Level::INFO));
        let mut fields = span.fields.clone();
        let seconds = fields.remove("seconds").expect("the time that it took");
        assert!(seconds.parse::<f64>().unwrap() >= 0.0);
        let expected = expected.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        assert_eq!(fields, expected.collect());
    }
    assert_eq!(log.spans().len(), expected.len());
}

#[tokio::test]
async fn each_request_of_the_chunked_protocol_has_a_span() {
    let (log, _guard) = Log::listens();
    let client = Client::new(layer());
    let form = Form::new().field("note", "secret").file("secret.pdf", b"abc").end();
    let length = form.len().to_string();
    let begun = client.send(ranged("bytes 0-2/6", TestBody::of(form))).await;
    let id = begun.id();
    let hash = fingerprint(&id);
    client.send(raw(Some(&id), Some("bytes 3-5/6"), TestBody::of("def"))).await;
    client.send(raw(Some(&id), Some("bytes 3-5/6"), TestBody::of("def"))).await.refused(400);
    client.status(&id).await;
    let md5 = md5(b"abcdef");
    let completion = complete(&id, &md5);
    assert_eq!(client.send(completion).await.status, 200);
    client.complete(&id, &md5).await.refused(400);
    assert_eq!(client.cancel(&client.begin(6, b"abc").await).await.status, 204);
    client.cancel(NO_ID).await.refused(404);

    let chunked = ("dialect", "chunked");
    let upload = ("upload", &*hash);
    let body = (id.len() + md5.len() + "upload_id=&md5=".len()).to_string();
    let (append, complete) = (("action", "append"), ("action", "complete"));
    let spans = log.spans();
    let (other, other_length) = (spans[6].get("upload"), spans[6].get("received"));
    let (ok, six) = (("status", "200"), ("offset", "6"));
    spans_are(
        &log,
        &[
            &[chunked, append, upload, ("offset", "3"), ("received", &length), ok],
            &[chunked, append, upload, six, ("received", "3"), ok],
            &[
                chunked,
                append,
                upload,
                ("received", "0"),
                ("status", "400"),
                ("code", "offset-mismatch"),
            ],
            &[chunked, ("action", "status"), upload, six, ("received", "0"), ok],
            &[chunked, complete, upload, six, ("received", &body), ok],
            &[
                chunked,
                complete,
                upload,
                ("received", &body),
                ("status", "400"),
                ("code", "already-complete"),
            ],
            &[chunked, append, ("upload", other), ("offset", "3"), ("received", other_length), ok],
            &[
                chunked,
                ("action", "cancel"),
                ("upload", other),
                ("received", "0"),
                ("status", "204"),
            ],
            &[
                chunked,
                ("action", "cancel"),
                ("upload", &fingerprint(NO_ID)),
                ("received", "0"),
                ("status", "404"),
                ("code", "not-found"),
            ],
        ],
    );
    log.hides(&["secret", "a.bin", &id, &id[..6], NO_ID]);
}

#[tokio::test]
async fn each_request_of_tus_and_of_the_draft_has_a_span() {
    let (log, _guard) = Log::listens();
    let client = Client::new(layer());
    let metadata = ("upload-metadata", "filename c2VjcmV0");
    let headers = [("upload-length", "6"), metadata];
    let begun = client.send(tus::request("POST", "/files", &headers, TestBody::empty())).await;
    let first = id_of(&begun);
    let path = format!("/files/{first}");
    client.send(tus::patch(&path, 0, &[], TestBody::of("abc"))).await;
    client.send(tus::patch(&path, 1, &[], TestBody::of("b"))).await;
    let done = client.send(tus::patch(&path, 3, &[], TestBody::of("def"))).await;
    assert_eq!(done.status, 204);

    let disposition = ("content-disposition", "attachment; filename=secret");
    let more = ("upload-complete", "?0");
    let headers = [more, disposition];
    let begun = client.send(request("POST", "/inbox", &headers, TestBody::of("abc"))).await;
    let second = id_of(&begun);
    let path = format!("/uploads/{second}");
    let patch = |at, complete, body: &'static str| {
        let partial = ("content-type", "application/partial-upload");
        let headers = [partial, ("upload-offset", at), ("upload-complete", complete)];
        request("PATCH", &path, &headers, TestBody::of(body))
    };
    client.send(patch("3", "?0", "de")).await;
    client.send(patch("3", "?0", "de")).await;
    assert_eq!(client.send(patch("5", "?1", "f")).await.status, 200);

    let (create, append) = (("action", "create"), ("action", "append"));
    let (tus, draft) = (("dialect", "tus"), ("dialect", "resumable"));
    let hashes = (fingerprint(&first), fingerprint(&second));
    let (first_hash, second_hash) = (("upload", &*hashes.0), ("upload", &*hashes.1));
    let mismatch = [("status", "409"), ("code", "offset-mismatch")];
    let (created, no_content) = (("status", "201"), ("status", "204"));
    let (at, got) = (|offset| ("offset", offset), |bytes| ("received", bytes));
    spans_are(
        &log,
        &[
            &[tus, create, first_hash, at("0"), got("0"), created],
            &[tus, append, first_hash, at("3"), got("3"), no_content],
            &[tus, append, first_hash, at("3"), got("0"), mismatch[0], mismatch[1]],
            &[tus, append, first_hash, at("6"), got("3"), no_content],
            &[draft, create, second_hash, at("3"), got("3"), created],
            &[draft, append, second_hash, at("5"), got("2"), no_content],
            &[draft, append, second_hash, at("5"), got("0"), mismatch[0], mismatch[1]],
            &[draft, append, second_hash, at("6"), got("1"), ("status", "200")],
        ],
    );
    log.hides(&["secret", "c2VjcmV0", &first, &first[..6], &second, &second[..6]]);
}

#[tokio::test]
async fn a_creation_that_is_sent_again_names_its_upload() {
    let (log, _guard) = Log::listens();
    let client = Client::new(layer());
    let key = ("idempotency-key", "8e03978e-40d5-43e8-bc93-6894a57f9324");
    let chunk = || {
        let form = Form::new().file("a", b"abc").end();
        with_key(ranged("bytes 0-2/6", TestBody::of(form)), key)
    };
    let tus = || {
        let headers = [("upload-length", "6"), ("content-type", tus::BYTES)];
        with_key(tus::request("POST", "/files", &headers, TestBody::of("abc")), key)
    };
    let draft = || {
        let headers = [("upload-complete", "?0")];
        with_key(request("POST", "/inbox", &headers, TestBody::of("abc")), key)
    };
    for (number, again) in [&chunk as &dyn Fn() -> _, &tus, &draft].into_iter().enumerate() {
        for _ in 0..2 {
            assert!(client.send(again()).await.status.is_success());
        }
        let spans = log.spans();
        let [first, second] = &spans[2 * number..] else { panic!("{spans:?}") };
        assert_eq!((second.get("upload").len(), second.get("offset")), (12, "3"), "{second:?}");
        assert_eq!(first.get("upload"), second.get("upload"));
    }
    let form = Form::new().file("a", b"abc").field("other", "1").end();
    let other = with_key(ranged("bytes 0-2/6", TestBody::of(form)), key);
    client.send(other).await.refused(409);
    assert_eq!(log.last_span().get("upload"), log.spans()[0].get("upload"));
}

fn with_key(
    mut request: http::Request<TestBody>,
    (name, key): (&'static str, &str),
) -> http::Request<TestBody> {
    request.headers_mut().insert(name, key.parse().unwrap());
    request
}

#[tokio::test]
async fn what_happens_to_uploads_is_told_at_debug() {
    let (log, _guard) = Log::listens();
    let clock = Clock::new();
    let uploads = Uploads::builder(tower_chunked_upload::store::MemoryStore::new());
    let uploads = uploads.expires_after(Duration::from_secs(60)).clock(clock.read());
    let uploads = uploads.build().unwrap();
    let discards = async |request: InnerRequest| {
        let upload = request.extensions().get::<CompletedUpload>().unwrap().clone();
        if upload.size() == 3 {
            upload.discard().await.unwrap();
        }
        answer(StatusCode::OK)
    };
    let client = Client::around(ChunkedUploadLayer::new(uploads.clone()), discards);
    let taken = client.begin(4, b"abc").await;
    client.chunk(Some(&taken), 3, 4, b"d").await;
    client.complete(&taken, &md5(b"abcd")).await;
    let discarded = client.begin(3, b"abc").await;
    client.complete(&discarded, &md5(b"abc")).await;
    let cancelled = client.begin(6, b"abc").await;
    client.cancel(&cancelled).await;
    let expired = client.begin(6, b"abc").await;
    clock.advance(Duration::from_secs(61));
    uploads.for_operator().delete_expired().await.unwrap();

    let told = log.events();
    let told = told.iter().filter(|event| event.level() == Level::DEBUG);
    let told: Vec<_> = told.map(|event| (event.says(), event.get("upload").to_owned())).collect();
    let expected: Vec<_> = [
        ("upload created", &taken),
        ("upload completed", &taken),
        ("upload created", &discarded),
        ("upload discarded", &discarded),
        ("upload created", &cancelled),
        ("upload cancelled", &cancelled),
        ("upload created", &expired),
    ]
    .into_iter()
    .map(|(what, id)| (what, fingerprint(id)))
    .collect();
    assert_eq!(told[..expected.len()], expected);
    // A sweep removes what was taken long ago, too.
    let swept: Vec<_> = told[expected.len()..].iter().map(|(what, _)| *what).collect();
    assert_eq!(swept, ["upload expired"; 2]);
    let grew = log.events();
    let grew: Vec<_> = grew.iter().filter(|event| event.says() == "upload grew").collect();
    assert_eq!((grew.len(), grew[0].level(), grew[0].get("offset")), (1, Level::TRACE, "4"));
}

#[tokio::test]
async fn an_application_that_fails_is_an_error_and_one_that_refuses_is_none() {
    let (log, _guard) = Log::listens();
    for (status, level) in
        [(500, Level::ERROR), (503, Level::ERROR), (422, Level::DEBUG), (404, Level::DEBUG)]
    {
        let says = StatusCode::from_u16(status).unwrap();
        let client = Client::around(layer(), move |_| std::future::ready(answer(says)));
        let id = client.upload(b"abc").await;
        log.take(level);
        assert_eq!(client.complete(&id, &md5(b"abc")).await.status, status);
        let told = log.take(level);
        let [told] = &told[..] else { panic!("{told:?}") };
        let what = if level == Level::ERROR { "failed to take" } else { "not taken" };
        assert_eq!(told.says(), format!("the application has {what} an upload"));
        let seen = (told.get("upload"), told.get("status"));
        assert_eq!(seen, (&*fingerprint(&id), &*status.to_string()));
        assert_eq!(log.last_span().get("status"), status.to_string());
    }

    let client = Client::around(layer(), async |request: InnerRequest| {
        assert!(request.extensions().get::<CompletedUpload>().is_none(), "it panics");
        answer(StatusCode::OK)
    });
    let id = client.upload(b"abc").await;
    log.take(Level::ERROR);
    assert!(client.spawn(complete(&id, &md5(b"abc"))).await.is_err());
    let told = log.take(Level::ERROR);
    let [told] = &told[..] else { panic!("{told:?}") };
    assert_eq!((told.get("upload"), told.get("status")), (&*fingerprint(&id), ""));
}

/// As in the README: the handler tells nobody why.
#[tokio::test]
async fn a_file_that_cannot_be_kept_is_an_error_with_its_path_and_without_its_id() {
    let (log, _guard) = Log::listens();
    let (folder, store) = folder();
    let media = folder.path().join("media");
    std::fs::write(&media, b"a file").unwrap();
    let target = media.clone();
    let layer = ChunkedUploadLayer::new(Uploads::builder(store).build().unwrap());
    let client = Client::around(layer, move |request: InnerRequest| {
        let upload = request.extensions().get::<CompletedUpload>().unwrap().clone();
        let target = target.join(format!("{}-{}", upload.id(), upload.filename()));
        async move {
            match upload.persist(target).await {
                Ok(()) => answer(StatusCode::OK),
                Err(_) => answer(StatusCode::INTERNAL_SERVER_ERROR),
            }
        }
    });
    let id = client.upload(b"abc").await;
    let reply = client.complete(&id, &md5(b"abc")).await;
    assert_eq!((reply.status.as_u16(), &*reply.body), (500, &b""[..]));
    let told = log.take(Level::ERROR);
    let [persist, answered] = &told[..] else { panic!("{told:?}") };
    assert_eq!(persist.says(), "cannot persist a finished upload");
    assert_eq!(persist.get("upload"), fingerprint(&id));
    assert!(persist.get("error").contains(media.to_str().unwrap()), "{persist:?}");
    assert!(persist.get("error").starts_with("the store failed: make "), "{persist:?}");
    assert!(persist.get("error").contains("os error"), "{persist:?}");
    assert_eq!(answered.says(), "the application has failed to take an upload");
    assert!(told.iter().all(|event| event.within == Some(log.spans().len() as u64)), "{told:?}");
    log.hides(&[&id, &id[..6]]);

    std::fs::remove_file(&media).unwrap();
    assert_eq!(client.complete(&id, &md5(b"abc")).await.status, 200);
    assert_eq!(log.take(Level::ERROR).len(), 0);
}

#[tokio::test]
async fn that_a_file_exists_already_is_an_answer_and_one_that_is_lost_an_error() {
    let (log, _guard) = Log::listens();
    let (folder, store) = folder();
    let there = folder.path().join("there");
    std::fs::write(&there, b"a file").unwrap();
    let layer = ChunkedUploadLayer::new(Uploads::builder(store).build().unwrap());
    let kept = Arc::new(Mutex::new(None));
    let keeps = Arc::clone(&kept);
    let client = Client::around(layer, move |request: InnerRequest| {
        let upload = request.extensions().get::<CompletedUpload>().unwrap().clone();
        *keeps.lock().unwrap() = Some(upload.clone());
        let there = there.clone();
        async move {
            upload.persist_new(there).await.unwrap_err();
            answer(StatusCode::UNPROCESSABLE_ENTITY)
        }
    });
    let id = client.upload(b"abc").await;
    client.complete(&id, &md5(b"abc")).await;
    assert_eq!(log.take(Level::ERROR).len(), 0);
    let upload = kept.lock().unwrap().take().unwrap();
    upload.discard().await.unwrap_err();
    let told = log.take(Level::ERROR);
    let [told] = &told[..] else { panic!("{told:?}") };
    assert_eq!(told.says(), "cannot discard a finished upload");
    assert_eq!(told.get("upload"), fingerprint(&id));
}

/// Says where it is.
#[derive(Clone)]
struct Says;

impl Policy for Says {
    async fn authorize(&self, _: &Context<'_>) -> Result<Option<Owner>, Refusal> {
        tracing::info!("policy");
        Ok(Some(Owner::new("alice\n")))
    }
}

impl Observer for Says {
    async fn on_event(&self, _: &Event, _: Option<&Extensions>) {
        tracing::info!("observer");
    }
}

#[tokio::test]
async fn the_application_is_called_within_the_span_also_after_the_client_has_left() {
    let (log, _guard) = Log::listens();
    let uploads = Uploads::builder(tower_chunked_upload::store::MemoryStore::new());
    let uploads = uploads.observer(Says).build().unwrap();
    let layer = ChunkedUploadLayer::new(uploads.clone()).policy(Says);
    let client = Client::around(layer, async |_| {
        // Not in one go with what is before.
        tokio::task::yield_now().await;
        tracing::info!("handler");
        answer(StatusCode::OK)
    });
    let id = client.upload(b"abc").await;
    log.take(Level::INFO);
    client.leave(complete(&id, &md5(b"abc")));
    let upload = id.parse().unwrap();
    until("it is complete", async || {
        let status = uploads.for_operator().status(&upload).await.unwrap().status();
        status == tower_chunked_upload::Status::Complete
    })
    .await;
    until("it is answered", async || !log.last_span().get("status").is_empty()).await;
    let told = log.events();
    let told: Vec<_> = told
        .iter()
        .filter(|event| event.level() < Level::TRACE)
        .map(|event| (event.says(), event.within))
        .collect();
    let span = Some(2);
    let expected = ["policy", "handler", "upload completed", "observer"];
    assert_eq!(told, expected.map(|says| (says, span)));
    assert_eq!(log.last_span().get("action"), "complete");
}

#[tokio::test]
async fn an_owner_is_only_logged_if_the_application_says_so() {
    let (log, _guard) = Log::listens();
    let client = Client::new(layer().policy(Says));
    client.begin(6, b"abc").await;
    log.hides(&["alice"]);
    let client = Client::new(layer().policy(Says).log_owners(true));
    client.begin(6, b"abc").await;
    assert_eq!(log.last_span().get("owner"), "\"alice\\n\"");
}

#[cfg(feature = "tokens")]
#[tokio::test]
async fn a_token_is_never_logged_and_its_owner_as_that_of_a_session() {
    use tower_chunked_upload::TokenKeys;

    let (log, _guard) = Log::listens();
    let keys = TokenKeys::new([7; 32]).unwrap();
    let layer = layer().policy(Says).log_owners(true);
    let client = Client::new(layer.hand_out_tokens(&keys, Duration::from_secs(60)));
    let begun = client.chunk(None, 0, 6, b"abc").await;
    let (id, token) = (begun.id(), begun.header("upload-token").unwrap().to_owned());
    let cut = token[1..].to_owned();
    for (request, token) in [
        (on_id(Method::GET, &id), &token),
        (chunk(Some(&id), 3, 6, b"def"), &token),
        (complete(&id, &md5(b"abcdef")), &token),
        (on_id(Method::GET, NO_ID), &token),
        (on_id(Method::GET, &id), &cut),
    ] {
        let mut request = request;
        request.headers_mut().insert("upload-token", token.parse().unwrap());
        client.send(request).await;
        assert_eq!(log.last_span().get("owner"), "\"alice\\n\"");
    }
    log.hides(&[&id, &token, &cut]);
}

#[tokio::test]
async fn a_request_that_is_no_upload_has_no_span() {
    let (log, _guard) = Log::listens();
    let client = Client::new(layer());
    for (method, path) in [("GET", "/"), ("POST", "/inbox"), ("GET", "/files/x")] {
        client.send(request(method, path, &[], TestBody::empty())).await;
    }
    assert_eq!((log.spans().len(), log.events().len()), (0, 0));
    client.send(on_id(Method::GET, NO_ID)).await.refused(404);
    assert_eq!(log.spans().len(), 1);
}

/// In tus a client that disconnects, or meets another one, gets a 503.
#[tokio::test]
async fn what_clients_do_is_no_error_and_a_policy_that_fails_is_one() {
    struct Fails(StatusCode);
    impl Policy for Fails {
        async fn authorize(&self, _: &Context<'_>) -> Result<Option<Owner>, Refusal> {
            Err(Refusal::new(self.0, "secret"))
        }
    }
    let (log, _guard) = Log::listens();
    let client = Client::new(layer());
    let headers = [("upload-length", "6")];
    let begun = client.send(tus::request("POST", "/files", &headers, TestBody::empty())).await;
    let path = format!("/files/{}", id_of(&begun));
    let broken = tus::patch(&path, 0, &[], TestBody::new([Piece::Fail]));
    assert_eq!(client.send(broken).await.status, 503);
    assert_eq!(log.take(Level::ERROR).len(), 0);
    for (status, errors) in [(500, 1), (502, 1), (503, 0), (507, 0), (403, 0)] {
        let policy = Fails(StatusCode::from_u16(status).unwrap());
        let reply = Client::new(layer().policy(policy)).chunk(None, 0, 6, b"abc").await;
        assert_eq!(reply.status, status);
        log.hides(&["secret"]);
        assert_eq!(log.take(Level::ERROR).len(), errors, "{status}");
    }
}
