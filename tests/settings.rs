//! Every setting, and every method that an application may write itself.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

mod support;

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{Extensions, Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value, json};
use support::*;
use tokio::sync::mpsc;
use tower_chunked_upload::chunked::{Encoder, FormLimits};
use tower_chunked_upload::policy::{MaxBytes, ResponseContent, SizeLimit, Verification};
use tower_chunked_upload::store::{Durability, FsStore, MemoryStore};
use tower_chunked_upload::{
    AppendMode, Candidate, Chunked, ChunkedUploadLayer, CompletedUpload, Context, Digest,
    DigestAlgorithm, Error, ErrorKind, Event, Expired, Expiry, Filter, Listing, NewUpload,
    Observer, Owner, OwnerUploads, Policy, Quota, Refusal, Status, Upload, UploadId, Uploads,
    UploadsBuilder,
};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn layer() -> ChunkedUploadLayer {
    ChunkedUploadLayer::new(in_memory())
}

fn memory() -> UploadsBuilder {
    Uploads::builder(MemoryStore::new())
}

fn with_policy(policy: impl Policy) -> Client {
    Client::new(layer().policy(policy))
}

// --- the layer ---

#[tokio::test]
async fn paths_are_configured_and_the_default_ones_are_then_nobodys() {
    let client =
        Client::new(layer().chunked(Chunked::new().chunk_path("up/").complete_path("/done")));
    let form = Form::new().file("a", b"abc").end();
    for path in ["/up", "/up/"] {
        let request = post(path).header(CONTENT_TYPE, Form::content_type());
        let reply = client.send(request.body(TestBody::of(form.clone())).unwrap()).await;
        let complete = post("/done/").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let body = format!("upload_id={}&md5={}", reply.id(), md5(b"abc"));
        let reply = client.send(complete.body(TestBody::of(body)).unwrap()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    for path in [CHUNK, COMPLETE, "/up/x", "/upx", "/done//"] {
        let reply = client.send(post(path).body(TestBody::empty()).unwrap()).await;
        assert_eq!(reply.body, format!("inner {path}"));
    }
}

#[tokio::test]
async fn the_field_name_is_configured() {
    let client = Client::new(layer().chunked(Chunked::new().field_name("the_file")));
    let form = Form::new().file("wrong", b"no").file_in("the_file", "right", b"yes").end();
    let reply = client.send(form_request(TestBody::of(form))).await;
    assert_eq!(reply.json()["offset"], 3);
    let form = Form::new().file("a", b"no").end();
    client.send(form_request(TestBody::of(form))).await.refused(400);
}

#[tokio::test]
async fn the_range_header_is_configured_and_the_usual_one_is_then_ignored() {
    let client = Client::new(
        layer().chunked(Chunked::new().content_range_header(HeaderName::from_static("x-place"))),
    );
    let form = || TestBody::of(Form::new().file("a", b"abc").end());
    let request = post(CHUNK).header(CONTENT_TYPE, Form::content_type());
    let request = request.header("X-Place", "bytes 0-2/9").header("Content-Range", "nonsense");
    let reply = client.send(request.body(form()).unwrap()).await;
    assert_eq!(client.status(&reply.id()).await.json()["total"], 9);
    let reply = client.send(ranged("bytes 0-2/9", form())).await;
    assert_eq!(client.status(&reply.id()).await.json()["total"], 3);
}

#[tokio::test]
async fn a_range_can_be_required() {
    let client = Client::new(layer().chunked(Chunked::new().require_content_range(true)));
    let body = TestBody::of(Form::new().file("a", b"abc").end());
    let probe = body.probe();
    client.send(form_request(body)).await.refused(400);
    assert_eq!(probe.now().bytes, 0);
    assert_eq!(client.chunk(None, 0, 3, b"abc").await.status, 200);
}

#[tokio::test]
async fn the_md5_check_can_be_switched_off() {
    let client = Client::new(layer().chunked(Chunked::new().md5_check(false)));
    for form in ["", "&md5=", "&md5=nonsense", "&md5=00000000000000000000000000000000"] {
        let id = client.upload(b"abc").await;
        let request = post(COMPLETE).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let body = TestBody::of(format!("upload_id={id}{form}"));
        let reply = client.send(request.body(body).unwrap()).await;
        assert_eq!(reply.status, 200, "{form}: {reply:?}");
    }
    assert_eq!(client.deliveries()[0].upload.digest().unwrap().to_hex(), md5(b"abc"));
}

/// Keys and values by lines.
struct Lines;

impl Encoder for Lines {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("text/x-lines")
    }

    fn encode(&self, answer: &Map<String, Value>) -> Vec<u8> {
        answer.iter().flat_map(|(key, value)| format!("{key}={value}\n").into_bytes()).collect()
    }
}

#[tokio::test]
async fn answers_and_refusals_are_written_by_the_encoder() {
    let client = Client::new(layer().chunked(Chunked::new().encoder(Lines)));
    let reply = client.chunk(None, 0, 3, b"abc").await;
    assert_eq!(reply.header(CONTENT_TYPE), Some("text/x-lines"));
    assert!(String::from_utf8_lossy(&reply.body).contains("offset=3\n"), "{reply:?}");
    let reply = client.status(NO_ID).await;
    assert_eq!((reply.status.as_u16(), reply.header(CONTENT_TYPE)), (404, Some("text/x-lines")));
    assert_eq!(reply.body, "code=\"not-found\"\ndetail=\"Upload not found\"\n");
}

/// Some clients know every member of an answer, and refuse one with another.
#[tokio::test]
async fn an_encoder_can_leave_the_code_out() {
    struct Seed;
    impl Encoder for Seed {
        fn content_type(&self) -> HeaderValue {
            HeaderValue::from_static("application/json")
        }

        fn encode(&self, answer: &Map<String, Value>) -> Vec<u8> {
            let members = answer.iter().filter(|(key, _)| *key != "code");
            let members = members.map(|(key, value)| (key.clone(), value.clone()));
            serde_json::to_vec(&members.collect::<Map<_, _>>()).unwrap()
        }
    }
    let reply = Client::new(layer().chunked(Chunked::new().encoder(Seed))).status(NO_ID).await;
    assert_eq!(reply.json(), json!({ "detail": "Upload not found" }));
    assert_eq!(reply.header("upload-error-code"), Some("not-found"));
}

#[tokio::test]
async fn the_content_type_is_configured() {
    let html = HeaderValue::from_static("text/html");
    for layer in [
        layer().chunked(Chunked::new().content_type(html.clone())),
        layer().chunked(Chunked::new().encoder(Lines).content_type(html)),
    ] {
        let client = Client::new(layer);
        for reply in [client.chunk(None, 0, 3, b"abc").await, client.status(NO_ID).await] {
            assert_eq!(reply.header(CONTENT_TYPE), Some("text/html"));
        }
    }
}

#[tokio::test]
async fn each_form_limit_is_configured() {
    let long = "x".repeat(300);
    let fields = |count: usize| {
        (0..count).fold(Form::new(), |form, n| form.field(&format!("{n}"), "0123456789"))
    };
    let head = |length: usize| {
        let x = "x".repeat(length);
        let head = format!("X-Long: {x}\r\nContent-Disposition: form-data; name=\"a\"");
        Form::new().part(head.as_bytes(), b"")
    };
    let other = |length: usize| Form::new().file_in("other", "b", &noise(length));
    let unlimited = FormLimits::default();
    for (name, limits, good, bad) in [
        ("parts", unlimited.parts(3), fields(2), fields(3)),
        ("part_header_bytes", unlimited.part_header_bytes(200), head(100), head(200)),
        (
            "field_bytes",
            unlimited.field_bytes(100),
            Form::new().field("a", &long[..100]),
            Form::new().field("a", &long[..101]),
        ),
        ("fields_bytes", unlimited.fields_bytes(22), fields(2), fields(3)),
        ("ignored_bytes", unlimited.ignored_bytes(500), other(500), other(501)),
    ] {
        let uploads = in_memory();
        let client = Client::new(
            ChunkedUploadLayer::new(uploads.clone()).chunked(Chunked::new().form_limits(limits)),
        );
        for file_first in [false, true] {
            let whole = |form: &Form| match file_first {
                false => form.clone().file("a", b"abc").end(),
                true => {
                    let rest = form.clone().end();
                    let file = Form::new().file("a", b"abc").end();
                    let end = file.len() - Form::BOUNDARY.len() - 6;
                    [&file[..end], &rest].concat().into()
                }
            };
            let reply = client.send(form_request(TestBody::of(whole(&good)))).await;
            assert_eq!(reply.status, 200, "{name}: {reply:?}");
            let before = all_ids(&uploads).await.len();
            client.send(form_request(TestBody::of(whole(&bad)))).await.refused(400);
            assert_eq!(all_ids(&uploads).await.len(), before, "{name}");
        }
    }
}

#[tokio::test]
async fn the_size_of_a_completion_is_configured() {
    let client = Client::new(layer().max_completion_bytes(100));
    let id = client.upload(b"abc").await;
    let form =
        |length: usize| format!("upload_id={id}&md5={:x<1$}", md5(b"abc") + "&x=", length - 47);
    assert_eq!(form(100).len(), 100, "{}", form(100));
    let request = |body| {
        let request = post(COMPLETE).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        request.body(body).unwrap()
    };
    let known = TestBody::of(form(101));
    let probe = known.probe();
    client.send(request(known)).await.refused(413);
    assert_eq!(probe.now().bytes, 0);
    client.send(request(TestBody::halting(&form(101).into(), 7))).await.refused(413);
    assert_eq!(client.send(request(TestBody::of(form(100)))).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_idle_timeout_is_configured() {
    let client = Client::new(layer().idle_timeout(Duration::from_secs(5)));
    for (seconds, status) in [(4, 200), (6, 408)] {
        let late = Form::new().file("a", b"abc").end();
        let body = TestBody::new([Piece::After(Duration::from_secs(seconds), late)]);
        assert_eq!(client.send(form_request(body)).await.status, status, "{seconds} s");
    }
}

#[tokio::test]
async fn an_idle_timeout_may_be_for_ever() {
    let client = Client::new(layer().idle_timeout(Duration::MAX).drain(u64::MAX, Duration::MAX));
    let form = Form::new().file("a", b"abc").end();
    let reply = client.send(form_request(TestBody::halting(&form, 10))).await;
    assert_eq!(reply.json()["offset"], 3);
}

#[tokio::test]
async fn the_form_limits_may_be_without_bound() {
    let limits = FormLimits::default().parts(usize::MAX).part_header_bytes(usize::MAX);
    let limits = limits.field_bytes(usize::MAX).fields_bytes(usize::MAX).ignored_bytes(u64::MAX);
    let uploads = memory().max_bytes(10).build().unwrap();
    let client =
        Client::new(ChunkedUploadLayer::new(uploads).chunked(Chunked::new().form_limits(limits)));
    client.upload(b"abc").await;
}

// --- the uploads ---

#[tokio::test]
async fn a_file_may_have_exactly_as_many_bytes_as_the_limit() {
    let uploads = memory().max_bytes(10).build().unwrap();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    assert_eq!(client.chunk(None, 0, 10, b"0123456789").await.status, 200);
    client.upload(b"0123456789").await;
    let before = all_ids(&uploads).await.len();

    client.chunk(None, 0, 11, b"01").await.refused(400);
    for body in [TestBody::of, |bytes: Bytes| TestBody::halting(&bytes, 3)] {
        let form = Form::new().file("a", b"0123456789a").end();
        client.send(form_request(body(form))).await.refused(400);
        client.send(raw(None, None, body(Bytes::from_static(b"0123456789a")))).await.refused(400);
    }
    assert_eq!(all_ids(&uploads).await.len(), before);
}

#[tokio::test]
async fn an_upload_without_a_total_cannot_outgrow_the_limit_bit_by_bit() {
    let uploads = memory().max_bytes(10).build().unwrap();
    let mut append = uploads.for_owner(None).create(NewUpload::new()).await.unwrap();
    append.write(&b"01234567"[..]).await.unwrap();
    let id = append.commit().await.unwrap().id;
    let mut append = uploads.for_operator().append(&id, 8, AppendMode::KeepWhatCame).await.unwrap();
    append.write(&b"89"[..]).await.unwrap();
    let error = append.write(&b"a"[..]).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::TooLarge { limit: 10 });
}

#[tokio::test]
async fn uploads_live_a_day_after_their_creation_unless_set() {
    let clock = Clock::new();
    let uploads = memory().clock(clock.read()).build().unwrap();
    let client = Client::new(ChunkedUploadLayer::new(uploads));
    let reply = client.chunk(None, 0, 9, b"abc").await;
    assert_eq!(reply.json()["expires"], "2026-11-23T10:00:00.000Z");

    clock.advance(HOUR);
    let again = client.chunk(Some(&reply.id()), 3, 9, b"abc").await;
    assert_eq!(again.json()["expires"], "2026-11-23T10:00:00.000Z");

    clock.advance(23 * HOUR - Duration::from_millis(1));
    assert_eq!(client.status(&reply.id()).await.status, 200);
    clock.advance(Duration::from_millis(1));
    let id = reply.id();
    for reply in [
        client.status(&id).await,
        client.cancel(&id).await,
        client.chunk(Some(&id), 6, 9, b"abc").await,
        client.chunk(Some(&id), 0, 9, b"abc").await,
        client.send(raw(Some(&id), Some("bytes 6-8/9"), TestBody::of("abc"))).await,
        client.complete(&id, &md5(b"abcabc")).await,
    ] {
        reply.refused(410);
    }
}

#[tokio::test]
async fn the_life_after_creation_is_configured() {
    let clock = Clock::new();
    for builder in [
        memory().expires_after(HOUR),
        memory().expiry(Expiry::AfterCreation(HOUR)),
        memory().expiry(Expiry::Never).expires_after(HOUR),
    ] {
        let uploads = builder.clock(clock.read()).build().unwrap();
        let upload =
            uploads.for_owner(None).create(NewUpload::new()).await.unwrap().commit().await.unwrap();
        assert_eq!(upload.expires(), Some(clock.now() + HOUR));
    }
}

#[tokio::test]
async fn a_sliding_life_begins_again_with_each_chunk() {
    let clock = Clock::new();
    let builder = memory().expiry(Expiry::AfterLastChunk(HOUR)).clock(clock.read());
    let client = Client::new(ChunkedUploadLayer::new(builder.build().unwrap()));
    let id = client.begin(9, b"abc").await;
    for at in [3, 6] {
        clock.advance(HOUR - Duration::from_millis(1));
        assert_eq!(client.chunk(Some(&id), at, 9, b"abc").await.status, 200, "at {at}");
    }
    clock.advance(HOUR - Duration::from_millis(1));
    // Neither asking nor being refused prolongs it.
    assert_eq!(client.offset(&id).await, 9);
    client.chunk(Some(&id), 3, 9, b"abc").await.refused(400);
    clock.advance(Duration::from_millis(1));
    client.status(&id).await.refused(410);
}

#[tokio::test]
async fn uploads_may_live_for_ever() {
    let clock = Clock::new();
    let uploads = memory().expiry(Expiry::Never).clock(clock.read()).build().unwrap();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let reply = client.chunk(None, 0, 3, b"abc").await;
    assert_eq!(reply.json()["expires"], Value::Null);
    clock.advance(24 * 365 * 100 * HOUR);
    assert_eq!(uploads.delete_expired().await.unwrap(), Expired::default());
    assert_eq!(client.complete(&reply.id(), &md5(b"abc")).await.status, 200);
}

#[tokio::test]
async fn the_expiry_of_one_upload_is_set_at_any_time() {
    let (folder, _) = folder();
    let stores: [fn(&Path) -> UploadsBuilder; 2] =
        [|_| memory(), |folder| Uploads::builder(FsStore::new(folder.join("%Y")))];
    for builder in stores {
        let clock = Clock::new();
        let builder = builder(folder.path()).expires_after(HOUR).clock(clock.read());
        let uploads = builder.build().unwrap();
        let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
        let (longer, ended, endless) = (
            client.begin(9, b"abc").await,
            client.begin(9, b"abc").await,
            client.begin(9, b"abc").await,
        );
        let id = |text: &str| text.parse::<UploadId>().unwrap();
        let later = clock.now() + 3 * HOUR;
        let upload = uploads.for_operator().set_expires(&id(&longer), later).await.unwrap();
        assert_eq!((upload.expires(), upload.offset()), (Some(later), 3));
        assert_eq!(
            uploads.for_operator().set_expires(&id(&endless), None).await.unwrap().expires(),
            None
        );
        uploads.for_operator().set_expires(&id(&ended), clock.now()).await.unwrap();

        client.chunk(Some(&ended), 3, 9, b"def").await.refused(410);
        let reply = client.chunk(Some(&longer), 3, 9, b"def").await;
        assert_eq!(reply.json()["expires"], "2026-11-22T13:00:00.000Z");
        assert_eq!(uploads.delete_expired().await.unwrap().incomplete, 1);
        client.status(&ended).await.refused(410);
        clock.advance(24 * HOUR);
        assert_eq!(uploads.delete_expired().await.unwrap().incomplete, 1);
        assert_eq!(client.chunk(Some(&endless), 3, 6, b"def").await.status, 400, "another total");
        assert_eq!(client.chunk(Some(&endless), 3, 9, b"defghi").await.status, 200);
        assert_eq!(client.complete(&endless, &md5(b"abcdefghi")).await.status, 200);
    }
}

#[tokio::test]
async fn the_expiry_of_an_upload_that_is_over_or_anothers_is_not_set() {
    let clock = Clock::new();
    let uploads = memory().expires_after(HOUR).clock(clock.read()).build().unwrap();
    let ann = uploads.for_owner(Owner::new("ann"));
    let id = make(&ann, "a", b"1").await.id;
    let bob = uploads.for_owner(Owner::new("bob"));
    let kind = |result: Result<Upload, Error>| result.unwrap_err().kind().clone();
    assert_eq!(kind(bob.set_expires(&id, None).await), ErrorKind::NotFound);
    uploads.for_operator().complete(&id, None).await.unwrap().finish().await.unwrap();
    assert_eq!(kind(ann.set_expires(&id, None).await), ErrorKind::AlreadyComplete);
    let id = make(&ann, "b", b"1").await.id;
    clock.advance(HOUR);
    assert_eq!(kind(ann.set_expires(&id, None).await), ErrorKind::Expired);
}

#[tokio::test]
async fn a_chunk_under_way_makes_way_for_another_expiry() {
    let uploads = in_memory();
    let id = make(&uploads.for_owner(None), "a", b"1").await.id;
    let mut append = uploads.for_operator().append(&id, 1, AppendMode::AllOrNothing).await.unwrap();
    append.write(&b"2"[..]).await.unwrap();
    let operator = uploads.for_operator();
    let (upload, ()) = tokio::join!(operator.set_expires(&id, None), async {
        append.stopped().await;
        drop(append);
    });
    assert_eq!(upload.unwrap().offset(), 1);
}

#[tokio::test]
async fn a_life_longer_than_time_itself_is_for_ever() {
    let uploads = memory().expires_after(Duration::MAX).build().unwrap();
    let upload =
        uploads.for_owner(None).create(NewUpload::new()).await.unwrap().commit().await.unwrap();
    assert_eq!(upload.expires(), None);
}

#[tokio::test]
async fn without_the_running_checksum_a_digest_costs_one_reading() {
    let store = Double::default();
    let uploads = Uploads::builder(store.clone()).checksum(false).build().unwrap();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let id = client.upload(b"abc").await;
    client.complete(&id, &md5(b"abd")).await.refused(400);
    assert!(store.calls().contains(&Call::Open));
    assert_eq!(client.complete(&id, &md5(b"abc")).await.status, 200);

    let mut append = uploads.for_owner(None).create(NewUpload::new()).await.unwrap();
    append.write(&b"abc"[..]).await.unwrap();
    let upload = append.commit().await.unwrap();
    let reads = store.calls().len();
    let completion = uploads.for_operator().complete(&upload.id, None).await.unwrap();
    assert_eq!((upload.digest(), completion.file().digest()), (None, None));
    assert!(!store.calls()[reads..].contains(&Call::Open));
}

#[tokio::test]
async fn with_the_running_checksum_completing_does_not_open_the_file() {
    let store = Double::default();
    let uploads = Uploads::builder(store.clone()).build().unwrap();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let content = noise(300_000);
    let id = client.begin(300_000, &content[..100_001]).await;
    client.chunk(Some(&id), 100_001, 300_000, &content[100_001..]).await;
    let digest = Digest::md5(&md5(&content)).unwrap();
    let completion =
        uploads.for_operator().complete(&support::id(&id), Some(digest)).await.unwrap();
    assert_eq!(completion.file().digest(), Some(digest));
    assert!(!store.calls().contains(&Call::Open), "{:?}", store.calls());
}

#[tokio::test]
async fn the_running_digest_is_of_the_algorithm_that_is_set() {
    for algorithm in DigestAlgorithm::ALL {
        let store = Double::default();
        let builder = Uploads::builder(store.clone()).digest_algorithm(algorithm);
        let uploads = builder.build().unwrap().for_owner(None);
        let mut append = uploads.create(NewUpload::new()).await.unwrap();
        append.write(&b"sand"[..]).await.unwrap();
        let id = append.commit().await.unwrap().id;
        let mut append = uploads.append(&id, 4, AppendMode::default()).await.unwrap();
        append.compute_digests(&DigestAlgorithm::ALL).await.unwrap();
        append.write(&b" and foam"[..]).await.unwrap();
        let added = append.computed_digests().await.unwrap();
        append.commit().await.unwrap();
        let completion = uploads.complete(&id, None).await.unwrap();
        let digest = completion.file().digest().unwrap();
        assert_eq!(digest.algorithm(), algorithm);
        assert!(!store.calls().contains(&Call::Open), "{:?}", store.calls());
        // What was added is another text.
        let algorithms: Vec<_> = added.iter().map(Digest::algorithm).collect();
        assert_eq!(algorithms, DigestAlgorithm::ALL);
        assert!(!added.contains(&digest));
        completion.reopen().await.unwrap();
        // Another digest takes one reading, and is as right.
        let other = match algorithm {
            DigestAlgorithm::Sha1 => Digest::md5(&md5(b"sand and foam")).unwrap(),
            _ => Digest::from_bytes(
                DigestAlgorithm::Sha1,
                b"\xbe\x7f\x11\x8c\x3a\x7c\x53\xe4\xe9\x16\x7f\x38\xe3\x35\x9b\xbb\xb7\xef\x64\x10",
            )
            .unwrap(),
        };
        uploads.complete(&id, Some(other)).await.unwrap().finish().await.unwrap();
        assert!(store.calls().contains(&Call::Open));
    }
}

/// Remembers what happened.
#[derive(Clone, Debug, Default)]
struct Diary(Arc<Mutex<Vec<(String, Upload)>>>);

impl Diary {
    fn write(&self, event: &Event) {
        let name = format!("{event:?}").split('(').next().unwrap().to_owned();
        self.0.lock().unwrap().push((name, event.upload().clone()));
    }

    fn read(&self) -> Vec<(String, u64)> {
        let diary = self.0.lock().unwrap();
        diary.iter().map(|(name, upload)| (name.clone(), upload.offset())).collect()
    }

    #[track_caller]
    fn says(&self, events: &[(&str, u64)]) {
        let read = self.read();
        let read: Vec<_> = read.iter().map(|(name, offset)| (name.as_str(), *offset)).collect();
        assert_eq!(read, events);
    }
}

impl Observer for Diary {
    async fn on_event(&self, event: &Event, _: Option<&Extensions>) {
        self.write(event);
    }
}

#[tokio::test]
async fn an_observer_is_told_what_requests_calls_and_sweeps_do() {
    let (clock, diary) = (Clock::new(), Diary::default());
    let builder = memory().observer(diary.clone()).clock(clock.read()).expires_after(HOUR);
    let uploads = builder.build().unwrap();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let id = client.begin(6, b"abc").await;
    client.chunk(Some(&id), 0, 6, b"abc").await.refused(400);
    client.chunk(Some(&id), 3, 6, b"abc").await;
    client.complete(&id, &md5(b"wrong")).await.refused(400);
    client.complete(&id, &md5(b"abcabc")).await;
    client.complete(&id, &md5(b"abcabc")).await.refused(400);
    diary.says(&[("Created", 3), ("Grew", 6), ("Completed", 6)]);
    assert_eq!(diary.0.lock().unwrap()[2].1.status(), Status::Complete);

    diary.0.lock().unwrap().clear();
    let other = client.begin(6, b"ab").await;
    client.cancel(&other).await;
    client.cancel(&other).await.refused(404);
    clock.advance(HOUR);
    uploads.delete_expired().await.unwrap();
    uploads.delete_expired().await.unwrap();
    diary.says(&[("Created", 2), ("Cancelled", 2), ("Expired", 6)]);

    diary.0.lock().unwrap().clear();
    let append = uploads.for_owner(None).create(NewUpload::new()).await.unwrap();
    let upload = append.commit().await.unwrap();
    uploads
        .for_operator()
        .append(&upload.id, 0, AppendMode::AllOrNothing)
        .await
        .unwrap()
        .commit()
        .await
        .unwrap();
    uploads.for_operator().complete(&upload.id, None).await.unwrap().finish().await.unwrap();
    diary.says(&[("Created", 0), ("Grew", 0), ("Completed", 0)]);
}

#[test]
fn an_observer_is_told_once_of_each_change_though_clients_leave() {
    let (_folder, store) = folder();
    for builder in [memory(), Uploads::builder(store)] {
        let diary = Diary::default();
        let seen = diary.clone();
        run(async move {
            let builder = builder.observer(diary).takeover_timeout(PATIENCE);
            let client = Client::new(ChunkedUploadLayer::new(builder.build().unwrap()));
            for polls in 1.. {
                let id = client.begin(6, b"abc").await;
                let half = Form::new().id(Some(&id)).file("a", b"def").end();
                let chunk = || ranged("bytes 3-5/6", TestBody::halting(&half, 100));
                let done = poll_times(client.call(chunk()), polls).await.is_some();
                // Either this one or the one before has added it.
                assert_ne!(client.send(chunk()).await.status, 409);
                assert_eq!(client.complete(&id, &md5(b"abcdef")).await.status, 200);
                if done {
                    break;
                }
            }
        });
        let diary = seen.0.lock().unwrap();
        let count = |name: &str| diary.iter().filter(|(event, _)| event == name).count();
        assert!(count("Created") > 3);
        assert_eq!((count("Grew"), count("Completed")), (count("Created"), count("Created")));
        assert_eq!(diary.len(), 3 * count("Created"));
    }
}

#[tokio::test]
async fn a_file_that_the_application_did_not_take_is_not_completed() {
    let diary = Diary::default();
    let uploads = memory().observer(diary.clone()).build().unwrap();
    let client = Client::around(ChunkedUploadLayer::new(uploads), |_| async {
        let mut response = Response::new(Full::from("sorry"));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    });
    let id = client.upload(b"abc").await;
    assert_eq!(client.complete(&id, &md5(b"abc")).await.body, "sorry");
    assert_eq!(client.status(&id).await.json()["status"], "open");
    diary.says(&[("Created", 3)]);
}

#[tokio::test]
async fn batches_are_as_large_as_configured() {
    let store = Double::default();
    let builder = Uploads::builder(store.clone()).batch_bytes(50_000).max_batches(3);
    let uploads = builder.build().unwrap();
    let content = noise(220_000);
    let mut append = uploads.for_owner(None).create(NewUpload::new()).await.unwrap();
    append.write(&content[..]).await.unwrap();
    let id = append.commit().await.unwrap().id;
    let sizes: Vec<_> = store.calls().into_iter().filter_map(written).collect();
    assert_eq!(sizes.iter().sum::<usize>(), content.len());
    assert!(sizes.iter().all(|size| *size <= 50_000) && sizes.contains(&50_000), "{sizes:?}");
    let completion = uploads.for_operator().complete(&id, None).await.unwrap();
    assert_eq!(completion.file().digest().unwrap().to_hex(), md5(&content));
}

fn written(call: Call) -> Option<usize> {
    match call {
        Call::Write(bytes) | Call::Commit(bytes) if bytes > 0 => Some(bytes),
        _ => None,
    }
}

#[tokio::test]
async fn without_large_batches_uploads_get_along_with_small_ones() {
    let store = Double::default();
    let uploads = Uploads::builder(store.clone()).max_batches(0).build().unwrap();
    let mut append = uploads.for_owner(None).create(NewUpload::new()).await.unwrap();
    append.write(&noise(100_000)[..]).await.unwrap();
    append.commit().await.unwrap();
    let sizes: Vec<_> = store.calls().into_iter().filter_map(written).collect();
    assert_eq!(sizes.iter().max(), Some(&(16 * 1024)), "{sizes:?}");
}

#[tokio::test]
async fn large_batches_come_back_when_an_append_is_dropped() {
    let store = Double::default();
    let builder = Uploads::builder(store.clone()).batch_bytes(50_000).max_batches(2);
    let uploads = builder.build().unwrap();
    for _ in 0..10 {
        let mut append = uploads.for_owner(None).create(NewUpload::new()).await.unwrap();
        append.write(&noise(45_000)[..]).await.unwrap();
    }
    let mut append = uploads.for_owner(None).create(NewUpload::new()).await.unwrap();
    append.write(&noise(50_001)[..]).await.unwrap();
    append.commit().await.unwrap();
    let sizes: Vec<_> = store.calls().into_iter().filter_map(written).collect();
    assert_eq!(sizes.first(), Some(&50_000), "{sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn patience_is_configured() {
    for patience in [Duration::from_millis(10), Duration::from_secs(7)] {
        let builder = memory().takeover_timeout(patience);
        let uploads = builder.build().unwrap();
        let upload =
            uploads.for_owner(None).create(NewUpload::new()).await.unwrap().commit().await.unwrap();
        let held =
            uploads.for_operator().append(&upload.id, 0, AppendMode::AllOrNothing).await.unwrap();
        let start = tokio::time::Instant::now();
        let error = uploads
            .for_operator()
            .append(&upload.id, 0, AppendMode::AllOrNothing)
            .await
            .unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Busy);
        // The clock is paused: it only moves when there is nothing but time to wait for.
        let waited = start.elapsed();
        assert!(waited >= patience && waited < patience + Duration::from_millis(5), "{waited:?}");
        drop(held);
    }
}

#[tokio::test]
async fn patience_may_be_for_ever() {
    let uploads = memory().takeover_timeout(Duration::MAX).build().unwrap();
    let upload =
        uploads.for_owner(None).create(NewUpload::new()).await.unwrap().commit().await.unwrap();
    drop(uploads.for_operator().append(&upload.id, 0, AppendMode::AllOrNothing).await.unwrap());
}

#[test]
fn settings_that_cannot_work_are_errors_when_the_uploads_are_built() {
    for (name, builder) in [
        ("batch", memory().batch_bytes(0)),
        ("life", memory().expires_after(Duration::ZERO)),
        ("life", memory().expiry(Expiry::AfterLastChunk(Duration::ZERO))),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(!error.is_empty() && !error.ends_with('.'), "{name}: {error}");
    }
}

// --- the folder ---

#[test]
fn a_bad_pattern_is_an_error_when_the_uploads_are_built() {
    for pattern in
        ["", "up/%", "up/%!", "up/%J", "up/%Y/../x", "up/%Y/%", "%Y/../../etc", "up/%E", "up/%5"]
    {
        let result = Uploads::builder(FsStore::new(pattern)).build();
        let error = result.map(drop).expect_err(pattern).to_string();
        assert!(error.contains("path"), "{pattern}: {error}");
    }
    for pattern in ["up", "up/%Y", "/up/%Y-%m/%d/%H", "../up/%j", "up/100%%/%F", "./up"] {
        Uploads::builder(FsStore::new(pattern)).build().expect(pattern);
    }
}

#[test]
fn a_pattern_with_a_nul_is_an_error_when_the_uploads_are_built() {
    for pattern in ["up/%Y\0", "u\0p/%Y"] {
        assert!(Uploads::builder(FsStore::new(pattern)).build().is_err(), "{pattern:?}");
    }
}

#[test]
fn the_default_pattern_is_that_of_the_original() {
    let default = FsStore::new("chunked_uploads/%Y/%m/%d");
    assert_eq!(format!("{:?}", FsStore::default()), format!("{default:?}"));
}

#[test]
fn a_directive_never_leads_out_of_its_folder() {
    // `%D` is `11/22/26`: folders, and no way out.
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::new();
    let store = FsStore::new(folder.path().join("%D"));
    run(async {
        let uploads = Uploads::builder(store).clock(clock.read()).build().unwrap();
        let mut append = uploads.for_owner(None).create(NewUpload::new()).await.unwrap();
        append.write(&b"abc"[..]).await.unwrap();
        let upload = append.commit().await.unwrap();
        let path = folder.path().join(format!("11/22/26/{}.part", upload.id));
        assert_eq!(std::fs::read(path).unwrap(), b"abc");
    });
}

#[test]
fn files_go_where_the_pattern_says_and_are_found_after_it_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::new();
    let build = |pattern: &str| {
        let store = FsStore::new(folder.path().join(pattern));
        Uploads::builder(store).clock(clock.read()).build().unwrap()
    };
    let id = run(async {
        let client = Client::new(ChunkedUploadLayer::new(build("%Y/%m/%d")));
        client.begin(6, b"abc").await
    });
    let path = folder.path().join(format!("2026/11/22/{id}.part"));
    assert_eq!(std::fs::read(&path).unwrap(), b"abc");
    run(async {
        let client = Client::new(ChunkedUploadLayer::new(build("%H")));
        client.chunk(Some(&id), 3, 6, b"def").await;
        assert_eq!(client.complete(&id, &md5(b"abcdef")).await.status, 200);
        assert_eq!(client.deliveries()[0].content, b"abcdef");
        let new = client.upload(b"x").await;
        assert!(folder.path().join(format!("10/{new}.part")).exists());
    });
    assert_eq!(std::fs::read(&path).unwrap(), b"abcdef");
}

#[cfg(unix)]
#[test]
fn files_and_folders_are_for_nobody_else() {
    use std::os::unix::fs::PermissionsExt;

    let (folder, store) = folder();
    run(async {
        let uploads = Uploads::builder(store).build().unwrap();
        Client::new(ChunkedUploadLayer::new(uploads)).upload(b"abc").await;
    });
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    let files = files_below(folder.path());
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{file:?}");
        for folder in file.ancestors().skip(1).take_while(|at| *at != folder.path()) {
            assert_eq!(mode(folder), 0o700, "{folder:?}");
        }
    }
}

#[test]
fn both_durabilities_take_the_same_uploads() {
    for durability in [Durability::Process, Durability::Sync] {
        let (_folder, store) = folder();
        run(async {
            let store = store.durability(durability);
            let client =
                Client::new(ChunkedUploadLayer::new(Uploads::builder(store).build().unwrap()));
            let id = client.begin(6, b"abc").await;
            client.chunk(Some(&id), 3, 6, b"def").await;
            assert_eq!(client.complete(&id, &md5(b"abcdef")).await.status, 200);
            assert_eq!(client.deliveries()[0].content, b"abcdef");
        });
    }
}

// --- new uploads without HTTP ---

#[tokio::test]
async fn everything_that_is_said_of_a_new_upload_is_in_its_record() {
    let uploads = in_memory();
    let fields = vec![("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())];
    let new = NewUpload::new().filename("../Über.txt").content_type("text/plain".to_owned());
    let new = new.fields(fields.clone()).attributes(json!({ "folder": 7 })).total(3);
    let of_ann = uploads.for_owner(Owner::new("ann"));
    let mut append = of_ann.create(new).await.unwrap();
    append.write(&b"abc"[..]).await.unwrap();
    let id = append.commit().await.unwrap().id;

    let upload = uploads.for_operator().status(&id).await.unwrap();
    assert_eq!(upload.raw_filename, "../Über.txt");
    assert_eq!(upload.filename().as_deref(), Some("Über.txt"));
    assert_eq!(upload.content_type.as_deref(), Some("text/plain"));
    assert_eq!((upload.fields, upload.attributes), (fields.clone(), json!({ "folder": 7 })));
    assert_eq!(upload.owner, Some(Owner::new("ann")));
    assert_eq!(upload.progress.total, Some(3));

    let completion = uploads.for_operator().complete(&id, None).await.unwrap();
    let file = completion.file();
    assert_eq!((file.raw_filename(), file.filename()), ("../Über.txt", "Über.txt"));
    assert_eq!((file.fields(), file.field("a")), (&fields[..], Some("1")));
    assert_eq!(file.owner().map(Owner::as_str), Some("ann"));
    assert_eq!((file.size(), file.content_type()), (3, Some("text/plain")));
    assert_eq!(content(file).await, b"abc");
}

#[tokio::test]
async fn a_new_upload_may_have_a_limit_of_its_own() {
    let uploads = memory().max_bytes(10).build().unwrap();
    let new = |limit, total| NewUpload::new().max_bytes(limit).total(total);
    for (limit, total, good) in [(5, 5, true), (5, 6, false), (20, 20, true), (20, 21, false)] {
        let result = uploads.for_owner(None).create(new(Some(limit), Some(total))).await.map(drop);
        assert_eq!(result.is_ok(), good, "{limit} {total}");
    }
    let mut append = uploads.for_owner(None).create(new(Some(2), None)).await.unwrap();
    let error = append.write(&b"abc"[..]).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::TooLarge { limit: 2 });
    let error = uploads.for_owner(None).create(new(None, Some(11))).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::TooLarge { limit: 10 });
}

#[test]
fn a_limit_of_its_own_holds_for_all_that_is_added_to_an_upload() {
    let (_folder, store) = folder();
    for builder in [memory(), Uploads::builder(store)] {
        run(async {
            let uploads = builder.max_bytes(10).build().unwrap();
            let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
            let content = noise(21);
            for (limit, size, good) in
                [(5, 5, true), (5, 6, false), (20, 20, true), (20, 21, false)]
            {
                let name = format!("{size} of {limit}");
                let make = async || {
                    let mut new = uploads
                        .for_owner(None)
                        .create(NewUpload::new().max_bytes(limit))
                        .await
                        .unwrap();
                    new.write(&content[..1]).await.unwrap();
                    new.commit().await.unwrap().id
                };
                let id = make().await;
                assert_eq!(
                    uploads.for_operator().status(&id).await.unwrap().max_bytes,
                    Some(limit)
                );
                let mut append =
                    uploads.for_operator().append(&id, 1, AppendMode::AllOrNothing).await.unwrap();
                let written = append.write(&content[1..size]).await;
                let kind = written.as_ref().map_err(|error| error.kind().clone());
                let refused = Err(ErrorKind::TooLarge { limit });
                assert_eq!(kind, if good { Ok(&()) } else { refused }, "{name}");
                drop(append);

                let id = make().await.to_string();
                let all = size as u64;
                // Its limit is known when its id is, which may come last.
                let behind = Form::new().file("a.bin", &content[1..2]).id(Some(&id)).end();
                let reply = client.send(ranged(&range(1, 1, all), TestBody::of(behind))).await;
                assert_eq!(reply.status, if good { 200 } else { 400 }, "{name}: {reply:?}");
                let id = make().await.to_string();
                let status = if good { 200 } else { 400 };
                for request in [
                    chunk(Some(&id), 1, all, &content[1..2]),
                    raw(Some(&id), Some(&range(2, 1, all)), TestBody::of(content[2..3].to_vec())),
                ] {
                    let reply = client.send(request).await;
                    assert_eq!(reply.status, status, "{name}: {reply:?}");
                }
                let id = uploads
                    .for_owner(None)
                    .create(NewUpload::new().max_bytes(limit))
                    .await
                    .unwrap();
                let id = id.commit().await.unwrap().id.to_string();
                let whole = raw(Some(&id), None, TestBody::of(content[..size].to_vec()));
                let reply = client.send(whole).await;
                assert_eq!(reply.status, status, "{name}: {reply:?}");
            }
        });
    }
}

/// It hears of an upload's own limit, and has the last word.
#[tokio::test]
async fn the_policy_may_give_less_than_an_upload_of_its_own_limit_has() {
    struct Half;
    impl Policy for Half {
        async fn max_bytes(&self, limit: &SizeLimit<'_>) -> Result<MaxBytes, Refusal> {
            Ok(MaxBytes::AtMost(limit.configured.unwrap() / 2))
        }
    }
    let uploads = memory().max_bytes(10).build().unwrap();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()).policy(Half));
    let new = uploads.for_owner(None).create(NewUpload::new().max_bytes(40)).await.unwrap();
    let id = new.commit().await.unwrap().id.to_string();
    let first = |total| raw(Some(&id), Some(&range(0, 1, total)), TestBody::of("a"));
    let detail = client.send(first(21)).await.refused(400);
    assert_eq!(detail, "Size of file exceeds the limit (20 bytes)");
    assert_eq!(client.send(first(20)).await.status, 200);
}

#[test]
fn what_no_store_can_hold_is_refused_at_once() {
    const MOST: u64 = i64::MAX as u64;
    let (_folder, store) = folder();
    for builder in [memory(), Uploads::builder(store)] {
        run(async {
            let uploads = builder.build().unwrap();
            let too_large = ErrorKind::TooLarge { limit: MOST };
            for total in [MOST + 1, u64::MAX] {
                let error = uploads
                    .for_owner(None)
                    .create(NewUpload::new().total(total))
                    .await
                    .unwrap_err();
                assert_eq!(*error.kind(), too_large);
                let mut append = uploads.for_owner(None).create(NewUpload::new()).await.unwrap();
                assert_eq!(*append.set_total(total).await.unwrap_err().kind(), too_large);
                let id = uploads
                    .for_owner(None)
                    .create(NewUpload::new())
                    .await
                    .unwrap()
                    .commit()
                    .await
                    .unwrap()
                    .id;
                let mut append =
                    uploads.for_operator().append(&id, 0, AppendMode::AllOrNothing).await.unwrap();
                assert_eq!(*append.set_total(total).await.unwrap_err().kind(), too_large);
            }
            drop(uploads.for_owner(None).create(NewUpload::new().total(MOST)).await.unwrap());
        });
    }
}

#[test]
fn a_byte_that_the_disk_has_changed_is_found_where_files_are_read_back() {
    for (reads_back, checksum) in [(true, true), (true, false), (false, true)] {
        let (folder, store) = folder();
        run(async {
            let builder = Uploads::builder(store).read_back(reads_back).checksum(checksum);
            let uploads = builder.build().unwrap();
            let layer =
                ChunkedUploadLayer::new(uploads).chunked(Chunked::new().md5_check(checksum));
            let client = Client::new(layer);
            let content = noise(300_000);
            let id = client.upload(&content).await;
            let files = files_below(folder.path());
            let file = files.iter().find(|path| path.extension().is_some_and(|ext| ext == "part"));
            let mut stored = std::fs::read(file.unwrap()).unwrap();
            stored[123_456] ^= 1;
            std::fs::write(file.unwrap(), &stored).unwrap();
            let reply = client.complete(&id, &md5(&content)).await;
            if !reads_back {
                assert_eq!(reply.status, 200, "{reply:?}");
                return;
            }
            let detail = reply.refused(410);
            assert_eq!(detail, "The stored upload is damaged; begin a new one", "{checksum}");
            assert!(client.deliveries().is_empty());
            stored[123_456] ^= 1;
            std::fs::write(file.unwrap(), &stored).unwrap();
            assert_eq!(client.complete(&id, &md5(&content)).await.status, 200, "{checksum}");
            assert!(client.deliveries().pop().unwrap().content == content, "{checksum}");
        });
    }
}

// --- who may upload, and whose it is ---

/// The header `X-User` names the user.
struct Users;

impl Policy for Users {
    async fn authorize(&self, asked: &Context<'_>) -> Result<Option<Owner>, Refusal> {
        let user = asked.request.headers.get("x-user").ok_or_else(Refusal::unauthenticated)?;
        Ok(Some(Owner::new(user.to_str().unwrap())))
    }
}

fn by(user: Option<&'static str>, mut request: http::Request<TestBody>) -> http::Request<TestBody> {
    if let Some(user) = user {
        request.headers_mut().insert("x-user", HeaderValue::from_static(user));
    }
    request
}

/// One request of each kind that names the upload.
fn every_verb(id: &str) -> Vec<(&'static str, http::Request<TestBody>)> {
    vec![
        ("chunk", chunk(Some(id), 3, 6, b"def")),
        ("chunk at a wrong place", chunk(Some(id), 1, 6, b"def")),
        ("id last", {
            let form = Form::new().file("a", b"def").id(Some(id)).end();
            ranged("bytes 3-5/6", TestBody::of(form))
        }),
        ("raw chunk", raw(Some(id), Some("bytes 3-5/6"), TestBody::of("def"))),
        ("complete", complete(id, &md5(b"abc"))),
        ("status", on_id(Method::GET, id)),
        ("head", on_id(Method::HEAD, id)),
        ("cancel", on_id(Method::DELETE, id)),
    ]
}

#[tokio::test]
async fn who_may_not_upload_gets_a_403_before_anything_else() {
    let client = with_policy(Users);
    let id = client.send(by(Some("ann"), chunk(None, 0, 6, b"abc"))).await.id();
    for wanted in [id.as_str(), NO_ID, "no-id"] {
        for (name, request) in every_verb(wanted) {
            let probe = request.body().probe();
            let detail = client.send(request).await.refused(403);
            assert_eq!(detail, "Authentication credentials were not provided", "{name}");
            assert_eq!(probe.now().bytes, 0, "{name}");
        }
    }
    let bad = post(CHUNK).header("Content-Range", "nonsense").body(TestBody::empty()).unwrap();
    client.send(bad).await.refused(403);
}

#[tokio::test]
async fn anothers_upload_looks_as_if_it_did_not_exist() {
    let client = with_policy(Users);
    let id = client.send(by(Some("ann"), chunk(None, 0, 6, b"abc"))).await.id();
    for ((name, foreign), (_, unknown)) in every_verb(&id).into_iter().zip(every_verb(NO_ID)) {
        let foreign = client.send(by(Some("bob"), foreign)).await;
        let unknown = client.send(by(Some("bob"), unknown)).await;
        foreign.refused(404);
        assert_eq!((foreign.headers, foreign.body), (unknown.headers, unknown.body), "{name}");
    }
    let reply = client.send(by(Some("ann"), on_id(Method::GET, &id))).await;
    assert_eq!(reply.json()["offset"], 3);
}

#[tokio::test]
async fn an_expired_upload_of_another_looks_as_if_it_did_not_exist_before_and_after_the_sweep() {
    let clock = Clock::new();
    let uploads = memory().expires_after(HOUR).clock(clock.read()).build().unwrap();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()).policy(Users));
    let id = client.send(by(Some("ann"), chunk(None, 0, 6, b"abc"))).await.id();
    clock.advance(HOUR);
    for _ in 0..2 {
        client.send(by(Some("bob"), on_id(Method::GET, &id))).await.refused(404);
        client.send(by(Some("ann"), on_id(Method::GET, &id))).await.refused(410);
        uploads.delete_expired().await.unwrap();
    }
}

#[tokio::test]
async fn a_name_that_begins_or_ends_like_the_owners_is_another() {
    let uploads = in_memory();
    let of = |name: &str| uploads.for_owner(Owner::new(name));
    let upload = of("ann").create(NewUpload::new()).await.unwrap().commit().await.unwrap();
    for other in ["", "an", "anna", "Ann", "ann ", "ann\0"] {
        let error = of(other).status(&upload.id).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::NotFound, "{other:?}");
    }
    let error = uploads.for_owner(None).status(&upload.id).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NotFound);
    assert_eq!(of("ann").status(&upload.id).await.unwrap().id, upload.id);
    assert_eq!(uploads.for_operator().status(&upload.id).await.unwrap().id, upload.id);
}

#[tokio::test]
async fn a_refusal_says_what_the_application_wrote() {
    struct Login;
    impl Policy for Login {
        async fn authorize(&self, _: &Context<'_>) -> Result<Option<Owner>, Refusal> {
            let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "Log in first");
            let refusal = refusal.with("login", "/login").with("tries", 3);
            assert_eq!((refusal.status().as_u16(), refusal.detail()), (401, "Log in first"));
            Err(refusal.header(WWW_AUTHENTICATE, HeaderValue::from_static("Basic")))
        }
    }
    let reply = with_policy(Login).chunk(None, 0, 3, b"abc").await;
    assert_eq!(reply.refused(401), "Log in first");
    let said = json!({
        "code": "unauthenticated", "detail": "Log in first", "login": "/login", "tries": 3,
    });
    assert_eq!(reply.json(), said);
    assert_eq!(reply.header(WWW_AUTHENTICATE), Some("Basic"));
}

// --- what a policy is told ---

/// Remembers what it was asked, and in which context.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<String>>>);

impl Asked {
    fn note(&self, question: &str, context: &Context<'_>) {
        let Context { action, upload_id, dialect, .. } = context;
        let id = if upload_id.is_some() { "an id" } else { "no id" };
        self.0.lock().unwrap().push(format!("{question}: {action:?} {id} {dialect:?}"));
    }

    #[track_caller]
    fn was(&self, questions: &[&str]) {
        let asked = std::mem::take(&mut *self.0.lock().unwrap());
        let want: Vec<_> = questions.iter().map(|asked| format!("{asked} Chunked")).collect();
        assert_eq!(asked, want);
    }
}

impl Policy for Asked {
    async fn authorize(&self, asked: &Context<'_>) -> Result<Option<Owner>, Refusal> {
        self.note("authorize", asked);
        Ok(None)
    }

    async fn max_bytes(&self, limit: &SizeLimit<'_>) -> Result<MaxBytes, Refusal> {
        self.note("max_bytes", limit);
        Ok(MaxBytes::Configured)
    }

    async fn validate(&self, chunk: &Candidate<'_>) -> Result<(), Refusal> {
        self.note("validate", chunk);
        Ok(())
    }

    async fn attributes(&self, chunk: &Candidate<'_>) -> Result<Value, Refusal> {
        self.note("attributes", chunk);
        Ok(Value::Null)
    }

    async fn verify(&self, finished: &Verification<'_>) -> Result<(), Refusal> {
        self.note("verify", finished);
        Ok(())
    }

    async fn respond(&self, answer: &mut ResponseContent<'_>) {
        self.note("respond", answer);
    }
}

#[tokio::test]
async fn a_policy_is_told_what_is_asked_for_and_of_which_upload() {
    let asked = Asked::default();
    // Behind a pointer it is a policy, too.
    let client = with_policy(Arc::new(asked.clone()));
    let id = client.begin(6, b"abc").await;
    asked.was(&[
        "authorize: Append no id",
        "max_bytes: Append no id",
        "validate: Append no id",
        "attributes: Append no id",
        "respond: Append an id",
    ]);
    client.chunk(Some(&id), 3, 6, b"def").await;
    asked.was(&[
        "authorize: Append no id",
        "max_bytes: Append no id",
        "validate: Append an id",
        "respond: Append an id",
    ]);
    client.send(raw(Some(&id), Some("bytes 6-6/7"), TestBody::of("g"))).await.refused(400);
    asked.was(&["authorize: Append an id", "max_bytes: Append an id"]);
    client.status(&id).await;
    asked.was(&["authorize: Status an id", "respond: Status an id"]);
    client.complete(&id, &md5(b"abcdef")).await;
    asked.was(&["authorize: Complete no id", "verify: Complete an id"]);
    client.cancel(&id).await.refused(400);
    asked.was(&["authorize: Cancel an id"]);
}

/// It says no with whatever it was told.
struct PassesOn(ErrorKind);

impl Policy for PassesOn {
    async fn validate(&self, _: &Candidate<'_>) -> Result<(), Refusal> {
        Err(Error::from(self.0.clone()))?;
        Ok(())
    }
}

#[tokio::test]
async fn an_error_that_a_policy_passes_on_is_answered_as_the_protocol_has_it() {
    for (kind, status, detail) in [
        (ErrorKind::NotFound, 404, "Upload not found"),
        (ErrorKind::Busy, 409, "Upload is held by another request"),
        (ErrorKind::Full, 507, "There is no room for the upload"),
    ] {
        let refused = with_policy(PassesOn(kind)).chunk(None, 0, 3, b"abc").await;
        assert_eq!(refused.refused(status), detail);
    }
}

/// What the application adds stays, and a header of its own replaces the protocol's.
#[tokio::test]
async fn what_is_added_to_a_passed_on_error_stays() {
    struct Adds;
    impl Policy for Adds {
        async fn validate(&self, _: &Candidate<'_>) -> Result<(), Refusal> {
            let refusal = Refusal::from(Error::from(ErrorKind::Busy)).with("hint", "later");
            Err(refusal.header(http::header::RETRY_AFTER, HeaderValue::from_static("77")))
        }
    }
    let reply = with_policy(Adds).chunk(None, 0, 3, b"abc").await;
    assert_eq!(reply.refused(409), "Upload is held by another request");
    assert_eq!((&reply.json()["hint"], reply.header("retry-after")), (&json!("later"), Some("77")));
}

#[tokio::test]
async fn a_policy_is_told_that_there_is_no_limit() {
    struct Unlimited;
    impl Policy for Unlimited {
        async fn max_bytes(&self, limit: &SizeLimit<'_>) -> Result<MaxBytes, Refusal> {
            assert_eq!(limit.configured, None);
            Ok(MaxBytes::AtMost(5))
        }
    }
    let client = with_policy(Unlimited);
    client.chunk(None, 0, 6, b"abc").await.refused(400);
    assert_eq!(client.chunk(None, 0, 5, b"abc").await.status, 200);
}

/// A form names its upload in a field, and what stands in its query is none of its.
#[tokio::test]
async fn a_policy_is_not_told_of_an_upload_that_a_form_has_in_its_query() {
    let asked = Asked::default();
    let client = with_policy(asked.clone());
    let mut request = form_request(TestBody::of(Form::new().file("a", b"abc").end()));
    *request.uri_mut() = format!("{CHUNK}?upload_id={NO_ID}").parse().unwrap();
    assert_eq!(client.send(request).await.status, 200);
    asked.was(&[
        "authorize: Append no id",
        "max_bytes: Append no id",
        "validate: Append no id",
        "attributes: Append no id",
        "respond: Append an id",
    ]);
}

#[test]
fn a_refusal_has_the_status_of_what_it_is() {
    assert_eq!(Refusal::unauthenticated().status(), StatusCode::UNAUTHORIZED);
    assert!(Refusal::unauthenticated().is_unauthenticated());
    let refusal = Refusal::from(Error::from(ErrorKind::NotFound));
    assert_eq!(*refusal.error().unwrap().kind(), ErrorKind::NotFound);
    assert!(!refusal.is_unauthenticated());
}

// --- the limit of one request ---

/// The extension is the limit.
#[derive(Clone, Copy)]
struct Limit(Option<u64>);

impl Policy for Limit {
    async fn max_bytes(&self, limit: &SizeLimit<'_>) -> Result<MaxBytes, Refusal> {
        assert_eq!(limit.configured, Some(10));
        Ok(MaxBytes::Override(limit.request.extensions.get::<Self>().unwrap_or(self).0))
    }
}

#[tokio::test]
async fn a_request_may_have_a_limit_of_its_own() {
    for (limit, size, status) in
        [(Some(5), 5, 200), (Some(5), 6, 400), (Some(20), 20, 200), (Some(20), 21, 400)]
    {
        let uploads = memory().max_bytes(10).build().unwrap();
        let client = Client::new(ChunkedUploadLayer::new(uploads).policy(Limit(limit)));
        let content = noise(size);
        let form = || Form::new().file("a", &content).end();
        for request in [
            form_request(TestBody::of(form())),
            form_request(TestBody::halting(&form(), 10)),
            chunk(None, 0, size as u64, &content[..2]),
            raw(None, None, TestBody::of(content.clone())),
            raw(None, None, TestBody::halting(&content.clone().into(), 3)),
        ] {
            let reply = client.send(request).await;
            assert_eq!(reply.status, status, "{limit:?} {size}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn a_request_may_be_without_limit_where_others_have_one() {
    let uploads = memory().max_bytes(10).build().unwrap();
    let client = Client::new(ChunkedUploadLayer::new(uploads).policy(Limit(None)));
    let content = noise(30);
    let reply = client.chunk(None, 0, 30, &content[..20]).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(client.chunk(Some(&reply.id()), 20, 30, &content[20..]).await.status, 200);
}

#[tokio::test]
async fn each_request_for_an_upload_has_its_own_limit() {
    let uploads = memory().max_bytes(10).build().unwrap();
    let client = Client::new(ChunkedUploadLayer::new(uploads).policy(Limit(Some(20))));
    let id = client.begin(20, b"abc").await;
    let with_limit = |limit, mut request: http::Request<TestBody>| {
        request.extensions_mut().insert(Limit(Some(limit)));
        request
    };
    client.send(with_limit(19, chunk(Some(&id), 3, 20, b"abc"))).await.refused(400);
    let reply = client.send(with_limit(20, chunk(Some(&id), 3, 20, b"abc"))).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test]
async fn a_policy_loosens_the_limit_only_if_it_says_so() {
    struct Says(MaxBytes);
    impl Policy for Says {
        async fn max_bytes(&self, _: &SizeLimit<'_>) -> Result<MaxBytes, Refusal> {
            Ok(self.0)
        }
    }
    for (says, limit) in [
        (MaxBytes::Configured, 10),
        (MaxBytes::AtMost(5), 5),
        (MaxBytes::AtMost(20), 10),
        (MaxBytes::Override(Some(20)), 20),
        (MaxBytes::Override(None), 1000),
    ] {
        let uploads = memory().max_bytes(10).build().unwrap();
        let client = Client::new(ChunkedUploadLayer::new(uploads).policy(Says(says)));
        let reply = client.chunk(None, 0, limit, b"a").await;
        assert_eq!(reply.status, 200, "{says:?} {reply:?}");
        if limit < 1000 {
            client.chunk(None, 0, limit + 1, b"a").await.refused(400);
        }
    }
}

#[tokio::test]
async fn the_limit_may_be_a_refusal() {
    struct Quota;
    impl Policy for Quota {
        async fn max_bytes(&self, _: &SizeLimit<'_>) -> Result<MaxBytes, Refusal> {
            Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "Come back tomorrow"))
        }
    }
    let client = with_policy(Quota);
    let request = chunk(None, 0, 3, b"abc");
    let probe = request.body().probe();
    assert_eq!(client.send(request).await.refused(429), "Come back tomorrow");
    assert_eq!(probe.now().bytes, 0);
}

// --- is this file welcome ---

type Seen = Arc<Mutex<Vec<Value>>>;

/// Notes every candidate, and refuses what is named `bad`.
#[derive(Clone, Default)]
struct Door(Seen);

impl Policy for Door {
    async fn validate(&self, chunk: &Candidate<'_>) -> Result<(), Refusal> {
        assert_eq!(chunk.request.method, Method::POST);
        self.0.lock().unwrap().push(json!({
            "raw": chunk.raw_filename,
            "name": chunk.filename(),
            "type": chunk.content_type,
            "total": chunk.total,
            "offset": chunk.offset,
            "fields": chunk.fields,
            "kind": chunk.field("kind"),
            "upload": chunk.upload.map(|upload| upload.id),
        }));
        if chunk.raw_filename.contains("bad") {
            let refusal = Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Not this one");
            return Err(refusal.with("allowed", json!(["image/png"])));
        }
        Ok(())
    }
}

#[tokio::test]
async fn validation_sees_what_is_known_before_the_bytes() {
    let door = Door::default();
    let client = with_policy(door.clone());
    let form = Form::new().field("kind", "x").field("kind", "y").file("../a.bin", b"abc");
    let body = TestBody::of(form.field("late", "z").end());
    let id = client.send(ranged("bytes 0-2/6", body)).await.id();
    client.chunk(Some(&id), 3, 6, b"def").await;
    let uri = format!("{CHUNK}?kind=q&x=%20");
    let request = post(&uri).header("Content-Disposition", "attachment; filename=\"r%C3%A4w\"");
    let request = request.header(CONTENT_TYPE, "image/png").body(TestBody::of("abc")).unwrap();
    assert_eq!(client.send(request).await.status, 200);

    let octets = "application/octet-stream";
    assert_eq!(
        *door.0.lock().unwrap(),
        [
            json!({
                "raw": "../a.bin", "name": "a.bin", "type": octets, "total": 6, "offset": 0,
                "fields": [["kind", "x"], ["kind", "y"]], "kind": "x", "upload": null,
            }),
            json!({
                "raw": "a.bin", "name": "a.bin", "type": octets, "total": 6, "offset": 3,
                "fields": [], "kind": null, "upload": id,
            }),
            json!({
                "raw": "räw", "name": "räw", "type": "image/png", "total": null, "offset": 0,
                "fields": [["kind", "q"], ["x", " "]], "kind": "q", "upload": null,
            }),
        ]
    );
}

#[tokio::test]
async fn what_validation_refuses_is_refused_before_its_bytes() {
    let store = Double::default();
    let uploads = Uploads::builder(store.clone()).build().unwrap();
    let client = Client::new(ChunkedUploadLayer::new(uploads).policy(Door::default()));
    let good = client.begin(6, b"abc").await;
    let before = store.calls().len();

    let refused = |reply: Reply| {
        assert_eq!(reply.refused(415), "Not this one");
        assert_eq!(reply.json()["allowed"], json!(["image/png"]));
    };
    for id in [None, Some(good.as_str())] {
        let (at, total) = if id.is_some() { (3, 6) } else { (0, 3) };
        let range = range(at, 3, total);
        let mut request = raw(id, Some(&range), TestBody::of("abc"));
        let bad = HeaderValue::from_static("attachment; filename=bad");
        request.headers_mut().insert("content-disposition", bad);
        let probe = request.body().probe();
        refused(client.send(request).await);
        assert_eq!(probe.now().bytes, 0, "{id:?}");

        // Of a form it must read what is before the file, and waits for no byte of the file.
        let head = Form::new().id(id).open_file("bad");
        let stalls = TestBody::new([Piece::Data(head), Piece::Stall]);
        refused(client.send(ranged(&range, stalls)).await);
    }
    let changes = |call: &Call| !matches!(call, Call::Load | Call::Writer);
    assert!(!store.calls()[before..].iter().any(changes), "{:?}", &store.calls()[before..]);
}

/// Takes its time, and then cancels the upload that it is asked about.
struct Canceller(Uploads);

impl Policy for Canceller {
    async fn validate(&self, chunk: &Candidate<'_>) -> Result<(), Refusal> {
        let Some(upload) = chunk.upload else { return Ok(()) };
        self.0.for_operator().cancel(&upload.id).await?;
        Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Not this one"))
    }
}

#[tokio::test]
async fn validation_may_do_with_the_upload_what_it_wants() {
    let (_folder, store) = folder();
    let in_files = Uploads::builder(store).build().unwrap();
    let in_memory = Uploads::builder(MemoryStore::new()).build().unwrap();
    for uploads in [in_files, in_memory] {
        let policy = Canceller(uploads.clone());
        let client = Client::new(ChunkedUploadLayer::new(uploads).policy(policy));
        let id = client.begin(6, b"abc").await;
        client.chunk(Some(&id), 3, 6, b"def").await.refused(415);
        client.send(on_id(Method::GET, &id)).await.refused(404);
    }
}

#[tokio::test]
async fn an_id_after_the_file_is_validated_with_its_upload() {
    let door = Door::default();
    let client = with_policy(door.clone());
    let id = client.begin(6, b"abc").await;
    let form = |name: &str| Form::new().file(name, b"def").id(Some(&id)).end();
    let reply = client.send(ranged("bytes 3-5/6", TestBody::of(form("bad")))).await;
    reply.refused(415);
    assert_eq!(door.0.lock().unwrap().last().unwrap()["upload"], json!(id));
    assert_eq!(client.offset(&id).await, 3);
    let reply = client.send(ranged("bytes 3-5/6", TestBody::of(form("good")))).await;
    assert_eq!(reply.json()["offset"], 6);
}

#[tokio::test]
async fn attributes_are_set_at_creation_and_handed_over() {
    struct Folder;
    impl Policy for Folder {
        async fn attributes(&self, chunk: &Candidate<'_>) -> Result<Value, Refusal> {
            let folder = chunk.request.headers.get("x-folder").map(|value| value.to_str().unwrap());
            let folder = folder.ok_or_else(|| Refusal::new(StatusCode::CONFLICT, "No folder"))?;
            Ok(json!({ "folder": folder, "of": chunk.raw_filename }))
        }
    }
    let (_keep, store) = folder();
    let uploads = Uploads::builder(store).build().unwrap();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()).policy(Folder));
    let mut first = chunk(None, 0, 6, b"abc");
    first.headers_mut().insert("x-folder", HeaderValue::from_static("7"));
    let id = client.send(first).await.id();
    // A later chunk has no attributes of its own, and is not asked for them.
    assert_eq!(client.chunk(Some(&id), 3, 6, b"def").await.status, 200);
    assert_eq!(client.complete(&id, &md5(b"abcdef")).await.status, 200);
    let want = json!({ "folder": "7", "of": "a.bin" });
    assert_eq!(*client.deliveries()[0].upload.attributes(), want);
    assert_eq!(uploads.for_operator().status(&support::id(&id)).await.unwrap().attributes, want);

    client.chunk(None, 0, 6, b"abc").await.refused(409);
    assert_eq!(all_ids(&uploads).await.len(), 1);
}

#[tokio::test]
async fn a_finished_file_may_be_refused_with_the_file_at_hand_and_completed_later() {
    #[derive(Clone, Default)]
    struct Scan(Arc<Mutex<Vec<Vec<u8>>>>);
    impl Policy for Scan {
        async fn verify(&self, finished: &Verification<'_>) -> Result<(), Refusal> {
            let content = content(finished.file).await;
            self.0.lock().unwrap().push(content);
            if finished.request.headers.contains_key("x-clean") {
                return Ok(());
            }
            Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "Not clean").with("line", 7))
        }
    }
    for in_memory in [true, false] {
        let (_folder, store) = folder();
        let builder = if in_memory { memory() } else { Uploads::builder(store) };
        let scan = Scan::default();
        let client =
            Client::new(ChunkedUploadLayer::new(builder.build().unwrap()).policy(scan.clone()));
        let id = client.upload(b"abc").await;
        client.complete(&id, &md5(b"abd")).await.refused(400);
        assert!(scan.0.lock().unwrap().is_empty(), "a file whose digest is wrong");
        for _ in 0..2 {
            let reply = client.complete(&id, &md5(b"abc")).await;
            assert_eq!(reply.refused(422), "Not clean");
            assert_eq!(reply.json()["line"], 7);
        }
        assert_eq!(client.status(&id).await.json()["status"], "open");
        assert!(client.deliveries().is_empty());

        let mut clean = complete(&id, &md5(b"abc"));
        clean.headers_mut().insert("x-clean", HeaderValue::from_static("1"));
        assert_eq!(client.send(clean).await.status, 200);
        assert_eq!(client.deliveries().len(), 1);
        assert_eq!(*scan.0.lock().unwrap(), [b"abc", b"abc", b"abc"]);
    }
}

#[tokio::test]
async fn a_file_that_was_refused_at_its_end_can_be_cancelled() {
    struct No;
    impl Policy for No {
        async fn verify(&self, _: &Verification<'_>) -> Result<(), Refusal> {
            Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "No"))
        }
    }
    let client = with_policy(No);
    let id = client.upload(b"abc").await;
    client.complete(&id, &md5(b"abc")).await.refused(422);
    assert_eq!(client.cancel(&id).await.status, 204);
    client.status(&id).await.refused(404);
}

#[tokio::test]
async fn answers_say_more_if_the_application_wants() {
    struct More;
    impl Policy for More {
        async fn respond(&self, answer: &mut ResponseContent<'_>) {
            let method = answer.request.method.as_str().into();
            let percent = answer.upload.offset() * 100 / answer.upload.total().unwrap();
            answer.content.insert("method".to_owned(), method);
            answer.content.insert("percent".to_owned(), percent.into());
            answer.content.remove("expires");
        }
    }
    let client = with_policy(More);
    let reply = client.chunk(None, 0, 6, b"abc").await;
    let id = reply.id();
    let want = json!({ "upload_id": id, "offset": 3, "method": "POST", "percent": 50 });
    assert_eq!(reply.json(), want);
    let reply = client.chunk(Some(&id), 3, 6, b"def").await;
    assert_eq!(reply.json()["percent"], 100);
    let reply = client.status(&id).await;
    assert_eq!((&reply.json()["method"], &reply.json()["total"]), (&json!("GET"), &json!(6)));
    // A refusal is none of these.
    let refusal = json!({ "code": "not-found", "detail": "Upload not found" });
    assert_eq!(client.status(NO_ID).await.json(), refusal);
}

#[tokio::test]
async fn the_answer_to_a_completion_is_the_applications_own() {
    let client = Client::around(layer(), |request| async move {
        let upload = request.extensions().get::<CompletedUpload>().unwrap();
        let mut response = Response::new(Full::from(format!("{} bytes", upload.size())));
        *response.status_mut() = StatusCode::CREATED;
        response.headers_mut().insert("x-mine", HeaderValue::from_static("1"));
        response
    });
    let id = client.upload(b"abc").await;
    let reply = client.complete(&id, &md5(b"abc")).await;
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (201, &b"3 bytes"[..]));
    assert_eq!((reply.header("x-mine"), reply.header("x-content-type-options")), (Some("1"), None));
}

#[tokio::test]
async fn the_application_gets_the_request_as_it_was_sent() {
    let client = client();
    let id = client.upload(b"abc").await;
    let mut request = complete(&id, &format!("{}&note=a%20b", md5(b"abc")));
    let form = format!("upload_id={id}&md5={}&note=a%20b", md5(b"abc"));
    request.headers_mut().insert(CONTENT_LENGTH, form.len().into());
    assert_eq!(client.send(request).await.status, 200);
    assert_eq!(client.deliveries()[0].form, form);
}

#[tokio::test]
async fn an_observer_is_told_what_requests_did_whatever_shape_they_have() {
    let diary = Diary::default();
    let uploads = memory().observer(diary.clone()).build().unwrap();
    let client = Client::new(ChunkedUploadLayer::new(uploads));
    let id = client.begin(6, b"abc").await;
    client.chunk(Some(&id), 0, 6, b"abc").await.refused(400);
    let last = Form::new().file("a", b"def").id(Some(&id)).end();
    client.send(ranged("bytes 3-5/6", TestBody::of(last))).await;
    client.complete(&id, &md5(b"abcdef")).await;
    let other = client.begin(6, b"ab").await;
    client.cancel(&other).await;
    diary.says(&[("Created", 3), ("Grew", 6), ("Completed", 6), ("Created", 2), ("Cancelled", 2)]);
}

// --- the list ---

async fn make(uploads: &OwnerUploads, name: &str, content: &[u8]) -> Upload {
    let mut append = uploads.create(NewUpload::new().filename(name)).await.unwrap();
    append.write(content).await.unwrap();
    append.commit().await.unwrap()
}

async fn names(mut listing: Listing) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(upload) = listing.next().await {
        names.push(upload.unwrap().raw_filename);
    }
    names.sort();
    names
}

#[tokio::test]
async fn the_list_is_filtered_by_status_name_and_age_and_by_owner() {
    let (_folder, store) = folder();
    for builder in [memory(), Uploads::builder(store)] {
        let clock = Clock::new();
        let uploads = builder.clock(clock.read()).expires_after(2 * HOUR).build().unwrap();
        let ann = uploads.for_owner(Owner::new("ann"));
        make(&ann, "Old Photo.JPG", b"1").await;
        clock.advance(HOUR);
        let done = make(&ann, "photo.png", b"2").await;
        uploads.for_operator().complete(&done.id, None).await.unwrap().finish().await.unwrap();
        let busy = make(&uploads.for_owner(None), "ÜBER.txt", b"3").await;
        let busy = uploads.for_operator().complete(&busy.id, None).await.unwrap();
        clock.advance(HOUR);

        let all = ["Old Photo.JPG", "photo.png", "ÜBER.txt"];
        assert_eq!(names(uploads.for_operator().list(Filter::all())).await, all);
        assert_eq!(names(ann.list(Filter::all())).await, all[..2]);
        assert_eq!(names(uploads.for_owner(None).list(Filter::all())).await, all[2..]);
        assert!(names(uploads.for_owner(Owner::new("bob")).list(Filter::all())).await.is_empty());
        for (status, names_of_it) in [
            (Status::Open, &all[..1]),
            (Status::Complete, &all[1..2]),
            (Status::Finishing, &all[2..]),
        ] {
            assert_eq!(
                names(uploads.for_operator().list(Filter::all().status(status))).await,
                names_of_it
            );
        }
        for (part, found) in [
            ("PHOTO", &all[..2]),
            ("über", &all[2..]),
            (".p", &all[1..2]),
            ("*", &[]),
            ("", &all[..]),
        ] {
            assert_eq!(
                names(uploads.for_operator().list(Filter::all().filename(part))).await,
                found,
                "{part}"
            );
        }
        assert_eq!(names(uploads.for_operator().list(Filter::all().expired(true))).await, all[..1]);
        assert_eq!(
            names(uploads.for_operator().list(Filter::all().expired(false))).await,
            all[1..]
        );
        let both = Filter::all().filename("photo").status(Status::Complete).expired(false);
        assert_eq!(names(ann.list(both)).await, all[1..2]);
        drop(busy);
    }
}

#[tokio::test]
async fn a_long_list_is_read_to_its_end_and_names_nothing_twice() {
    let (_folder, store) = folder();
    for builder in [memory(), Uploads::builder(store)] {
        let uploads = builder.build().unwrap();
        let mut made = Vec::new();
        for _ in 0..300 {
            made.push(make(&uploads.for_owner(None), "a", b"x").await.id);
        }
        made.sort();
        let mut listed = all_ids(&uploads).await;
        listed.sort();
        assert_eq!(listed, made);
    }
}

// --- what expires ---

async fn expired_and_others(uploads: &Uploads, clock: &Clock) -> Vec<Upload> {
    let nobodys = &uploads.for_owner(None);
    make(nobodys, "open", b"1").await;
    let complete = make(nobodys, "complete", b"2").await;
    uploads.for_operator().complete(&complete.id, None).await.unwrap().finish().await.unwrap();
    let left = make(nobodys, "left", b"3").await;
    drop(uploads.for_operator().complete(&left.id, None).await.unwrap());
    given_back(uploads, &left.id).await;
    make(&uploads.for_owner(Owner::new("ann")), "of ann", b"4").await;
    clock.advance(HOUR);
    vec![make(nobodys, "young", b"5").await]
}

#[test]
fn a_sweep_counts_the_complete_and_the_incomplete_and_leaves_the_young() {
    let (folder, store) = folder();
    for builder in [memory(), Uploads::builder(store)] {
        run(async {
            let clock = Clock::new();
            let uploads = builder.clock(clock.read()).expires_after(HOUR).build().unwrap();
            let young = expired_and_others(&uploads, &clock).await;
            let ann = uploads.for_owner(Owner::new("ann"));
            let count = |expired: Expired| (expired.complete, expired.incomplete, expired.skipped);
            assert_eq!(count(ann.delete_expired().await.unwrap()), (0, 1, 0));
            assert_eq!(count(uploads.delete_expired().await.unwrap()), (1, 2, 0));
            assert_eq!(count(uploads.delete_expired().await.unwrap()), (0, 0, 0));
            assert_eq!(all_ids(&uploads).await, [young[0].id]);
        });
    }
    assert_eq!(files_below(folder.path()).len(), 2);
}

#[tokio::test]
async fn a_sweep_leaves_what_is_in_use_for_the_next_time() {
    let (_folder, store) = folder();
    for builder in [memory(), Uploads::builder(store)] {
        let clock = Clock::new();
        let uploads = builder.clock(clock.read()).expires_after(HOUR).build().unwrap();
        let written = make(&uploads.for_owner(None), "a", b"1").await.id;
        let mut append =
            uploads.for_operator().append(&written, 1, AppendMode::AllOrNothing).await.unwrap();
        append.write(&b"2"[..]).await.unwrap();
        let handed = make(&uploads.for_owner(None), "b", b"1").await.id;
        let completion = uploads.for_operator().complete(&handed, None).await.unwrap();
        clock.advance(HOUR);
        let expired = uploads.delete_expired().await.unwrap();
        assert_eq!((expired.complete, expired.incomplete, expired.skipped), (0, 0, 2));
        assert_eq!(append.commit().await.unwrap().offset(), 2);
        assert_eq!(content(completion.file()).await, b"1");
        completion.finish().await.unwrap();
        let expired = uploads.delete_expired().await.unwrap();
        assert_eq!((expired.complete, expired.incomplete, expired.skipped), (1, 1, 0));
    }
}

#[tokio::test]
async fn one_upload_is_removed_only_if_it_has_expired_and_is_not_in_use() {
    let (_folder, store) = folder();
    for builder in [memory(), Uploads::builder(store)] {
        let clock = Clock::new();
        let uploads = builder.clock(clock.read()).expires_after(HOUR).build().unwrap();
        let ann = uploads.for_owner(Owner::new("ann"));
        let id = make(&ann, "a", b"1").await.id;
        assert!(!uploads.for_operator().delete_if_expired(&id).await.unwrap());
        assert_eq!(uploads.for_operator().status(&id).await.unwrap().offset(), 1);

        let append = uploads.for_operator().append(&id, 1, AppendMode::AllOrNothing).await.unwrap();
        clock.advance(HOUR);
        let error = uploads.for_operator().delete_if_expired(&id).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Busy);
        drop(append);
        let bob = uploads.for_owner(Owner::new("bob"));
        let error = bob.delete_if_expired(&id).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::NotFound);
        assert!(ann.delete_if_expired(&id).await.unwrap());
        assert!(all_ids(&uploads).await.is_empty());
    }
}

/// An application that keeps each file, or fails after it has kept it.
fn keeping(layer: ChunkedUploadLayer, target: &Path, status: StatusCode) -> Client {
    let target = target.to_owned();
    Client::around(layer, move |request| {
        let target = target.clone();
        async move {
            let upload = request.extensions().get::<CompletedUpload>().unwrap();
            upload.persist(&target).await.unwrap();
            let mut response = Response::new(Full::default());
            *response.status_mut() = status;
            response
        }
    })
}

#[test]
fn a_file_that_the_application_took_is_never_deleted() {
    for status in [StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR] {
        let (folder, store) = folder();
        for builder in [Uploads::builder(store), memory()] {
            let target = folder.path().join("media/kept.bin");
            std::fs::create_dir_all(folder.path().join("media")).unwrap();
            run(async {
                let clock = Clock::new();
                let uploads = builder.clock(clock.read()).expires_after(HOUR).build().unwrap();
                let client = keeping(ChunkedUploadLayer::new(uploads.clone()), &target, status);
                let id = client.upload(b"abc").await;
                assert_eq!(client.complete(&id, &md5(b"abc")).await.status, status);
                clock.advance(HOUR);
                let expired = uploads.delete_expired().await.unwrap();
                let complete = u64::from(status.is_success());
                assert_eq!((expired.complete, expired.incomplete), (complete, 1 - complete));
            });
            assert_eq!(files_below(folder.path()), std::slice::from_ref(&target));
            assert_eq!(std::fs::read(&target).unwrap(), b"abc");
            std::fs::remove_file(target).unwrap();
        }
    }
}

#[test]
fn cancelling_does_not_delete_what_the_application_took_either() {
    let (folder, store) = folder();
    let target = folder.path().join("media/kept.bin");
    run(async {
        let uploads = Uploads::builder(store).build().unwrap();
        let failing = StatusCode::INTERNAL_SERVER_ERROR;
        let client = keeping(ChunkedUploadLayer::new(uploads), &target, failing);
        let id = client.upload(b"abc").await;
        client.complete(&id, &md5(b"abc")).await;
        assert_eq!(client.cancel(&id).await.status, 204);
    });
    assert_eq!(files_below(folder.path()), std::slice::from_ref(&target));
    assert_eq!(std::fs::read(&target).unwrap(), b"abc");
}

/// The record of a file that the application took must go, whatever the application did with it.
fn record_goes(what: &str, change: impl FnOnce(&Path)) {
    let (folder, store) = folder();
    let target = folder.path().join("media/kept.bin");
    let clock = Clock::new();
    let expired = run(async {
        let uploads =
            Uploads::builder(store).clock(clock.read()).expires_after(HOUR).build().unwrap();
        let client = keeping(ChunkedUploadLayer::new(uploads.clone()), &target, StatusCode::OK);
        let id = client.upload(b"abc").await;
        client.complete(&id, &md5(b"abc")).await;
        change(&target);
        clock.advance(HOUR);
        uploads.delete_expired().await.unwrap()
    });
    assert_eq!((expired.complete, expired.skipped), (1, 0), "{what}");
    assert!(
        files_below(folder.path()).iter().all(|path| path.starts_with(folder.path().join("media")))
    );
}

#[test]
fn the_record_of_a_taken_file_goes_after_the_application_has_deleted_the_file() {
    record_goes("deleted", |target| std::fs::remove_file(target).unwrap());
}

#[test]
fn the_record_of_a_taken_file_goes_after_the_application_has_moved_the_file() {
    record_goes("moved", |target| std::fs::rename(target, target.with_extension("x")).unwrap());
}

#[test]
fn the_record_of_a_taken_file_goes_after_the_application_has_shortened_the_file() {
    record_goes("cut", |target| std::fs::write(target, b"a").unwrap());
}

#[tokio::test]
async fn who_comes_after_the_sweep_is_told_that_it_is_too_late() {
    let clock = Clock::new();
    let uploads = memory().clock(clock.read()).expires_after(HOUR).build().unwrap();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let id = client.begin(6, b"abc").await;
    clock.advance(HOUR);
    uploads.delete_expired().await.unwrap();
    for (name, request) in every_verb(&id) {
        let reply = client.send(request).await;
        assert_eq!(reply.status, 410, "{name}: {reply:?}");
    }
    client.status(NO_ID).await.refused(404);
}

/// Tells a test of what has expired.
struct Bell(mpsc::UnboundedSender<u64>);

impl Observer for Bell {
    async fn on_event(&self, event: &Event, _: Option<&Extensions>) {
        if let Event::Expired(upload) = event {
            let _ = self.0.send(upload.offset());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sweeper_sweeps_at_once_and_then_so_often_and_no_more_when_it_is_stopped() {
    let (clock, store) = (Clock::new(), Double::default());
    let (bell, mut rings) = mpsc::unbounded_channel();
    let builder = Uploads::builder(store.clone()).clock(clock.read()).expires_after(HOUR);
    let uploads = builder.observer(Bell(bell)).build().unwrap();
    make(&uploads.for_owner(None), "a", b"1").await;
    clock.advance(HOUR);
    let sweeper = uploads.sweep_every(Duration::from_secs(60));
    assert_eq!(rings.recv().await, Some(1));
    make(&uploads.for_owner(None), "b", b"12").await;
    clock.advance(HOUR);
    let start = tokio::time::Instant::now();
    assert_eq!(rings.recv().await, Some(2));
    assert_eq!(start.elapsed().as_secs(), 60);

    sweeper.stop().await;
    let sweeps = store.calls().iter().filter(|call| **call == Call::List).count();
    tokio::time::advance(10 * HOUR).await;
    tokio::task::yield_now().await;
    assert_eq!(store.calls().iter().filter(|call| **call == Call::List).count(), sweeps);
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_the_sweep_under_way() {
    let store = Double::default();
    let uploads = Uploads::builder(store.clone()).build().unwrap();
    let gate = store.hold(Call::List);
    let sweeper = uploads.sweep_every(HOUR);
    gate.arrived().await;
    let mut stop = Box::pin(sweeper.stop());
    let early = tokio::time::timeout(HOUR, &mut stop).await;
    assert!(early.is_err(), "the sweep is still under way");
    gate.open();
    stop.await;
}

#[tokio::test(start_paused = true)]
async fn a_sweeper_that_is_dropped_ends() {
    let store = Double::default();
    let uploads = Uploads::builder(store.clone()).build().unwrap();
    let gate = store.hold(Call::List);
    let sweeper = uploads.sweep_every(HOUR);
    gate.arrived().await;
    drop(sweeper);
    gate.open();
    tokio::time::sleep(10 * HOUR).await;
    assert_eq!(store.calls(), [Call::List]);
}

#[tokio::test(start_paused = true)]
async fn only_the_background_rests_three_times_as_long_as_it_works() {
    let store = Double::default();
    let uploads = Uploads::builder(store.clone()).build().unwrap();
    // More than fit on a page.
    for _ in 0..100 {
        make(&uploads.for_owner(None), "a", b"1").await;
    }
    let rest = async || {
        let first = store.hold(Call::List);
        first.arrived().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let second = store.hold(Call::List);
        first.open();
        let start = tokio::time::Instant::now();
        second.arrived().await;
        second.open();
        start.elapsed().as_secs()
    };
    let (rested, swept) = tokio::join!(rest(), uploads.delete_expired());
    assert_eq!((rested, swept.unwrap()), (0, Expired::default()));
    let sweeper = uploads.sweep_every(HOUR);
    assert_eq!(rest().await, 3);
    sweeper.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_is_cut_short_reads_no_other_page_and_forgets_no_upload() {
    for end in ["stop", "drop", "shutdown"] {
        let store = Double::default();
        let uploads = Uploads::builder(store.clone()).max_uploads_per_owner(100).build().unwrap();
        for _ in 0..100 {
            make(&uploads.for_owner(None), "a", b"1").await;
        }
        let (before, gate) = (store.calls().len(), store.hold(Call::List));
        let sweeper = uploads.sweep_every(HOUR);
        gate.arrived().await;
        tokio::time::sleep(HOUR).await;
        gate.open();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let start = tokio::time::Instant::now();
        match end {
            "stop" => sweeper.stop().await,
            "drop" => drop(sweeper),
            _ => uploads.shutdown(HOUR).await,
        }
        assert_eq!(start.elapsed(), Duration::ZERO, "{end}");
        tokio::time::sleep(HOUR).await;
        assert_eq!(store.calls()[before..], [Call::List], "{end}");
        if end != "shutdown" {
            let refused = uploads.for_owner(None).create(NewUpload::new()).await.unwrap_err();
            let quota = ErrorKind::QuotaExceeded { quota: Quota::OwnerUploads, limit: 100 };
            assert_eq!(*refused.kind(), quota, "{end}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_fails_is_tried_again() {
    let store = Double::default();
    let clock = Clock::new();
    let (bell, mut rings) = mpsc::unbounded_channel();
    let builder = Uploads::builder(store.clone()).clock(clock.read()).expires_after(HOUR);
    let uploads = builder.observer(Bell(bell)).build().unwrap();
    make(&uploads.for_owner(None), "a", b"1").await;
    clock.advance(HOUR);
    store.fail(Call::List, 5);
    assert_eq!(*uploads.delete_expired().await.unwrap_err().kind(), ErrorKind::Store);
    store.mend();
    store.fail(Call::Remove, 5);
    let expired = uploads.delete_expired().await.unwrap();
    assert_eq!((expired.complete, expired.incomplete, expired.skipped), (0, 0, 1));
    let _sweeper = uploads.sweep_every(HOUR);
    tokio::task::yield_now().await;
    store.mend();
    assert_eq!(rings.recv().await, Some(1));
}

// A future that is not `Send` cannot be spawned by a server.
fn is_send(_: &(impl Future + Send)) {}

#[tokio::test]
async fn everything_can_be_done_on_any_thread() {
    let uploads = in_memory();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    is_send(&client.call(chunk(None, 0, 3, b"abc")));
    is_send(&uploads.delete_expired());
    is_send(&uploads.for_owner(None).create(NewUpload::new()));
    is_send(&uploads.for_operator().set_expires(&UploadId::random(), None));
}
