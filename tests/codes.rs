//! The words by which programs know errors: in each dialect, where the guide says so.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;
#[path = "support/tus.rs"]
#[expect(dead_code, reason = "each test uses some of it")]
mod tus;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt::Debug;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::post;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use tower::{ServiceExt as _, service_fn};
use tower_chunked_upload::chunked::FormLimits;
use tower_chunked_upload::tus::Extensions;
use tower_chunked_upload::{
    Chunked, ChunkedUploadLayer, CompletedUpload, Context, Error, ErrorKind, LongCompletions,
    Owner, Policy, Quota, Refusal, Resumable, Tus,
};

use support::request_with as request;
use support::*;

const GUIDE: &str = include_str!("../src/guide/errors.rs");
const DIALECTS: [&str; 3] = ["chunked", "tus", "draft"];

/// The statuses of each code in the three dialects, as the guide has them.
fn table() -> BTreeMap<&'static str, [Vec<&'static str>; 3]> {
    let rows = GUIDE.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let rows = rows.map(|row| {
        let (code, rest) = row.split_once("` | ").unwrap();
        let mut columns = rest.split(" | ").map(|column| match column {
            "–" => Vec::new(),
            statuses => statuses.split(", ").collect(),
        });
        (code, std::array::from_fn(|_| columns.next().unwrap()))
    });
    rows.collect()
}

/// Compares a refusal with the guide, and gives its code.
#[track_caller]
fn coded(dialect: usize, reply: &Reply) -> String {
    let code = reply.header("upload-error-code").unwrap_or_else(|| panic!("no code: {reply:?}"));
    let table = table();
    let statuses = &table.get(code).unwrap_or_else(|| panic!("{code}: {reply:?}"))[dialect];
    let status = reply.status.as_str();
    let class = format!("{}xx", &status[..1]);
    let told = statuses.iter().any(|it| *it == status || *it == class);
    assert!(told, "{} of {}: {reply:?}", DIALECTS[dialect], code);
    match reply.header("content-type") {
        Some("text/plain; charset=utf-8") => assert_eq!(dialect, 1, "{reply:?}"),
        _ => assert_eq!(reply.json()["code"], code, "{reply:?}"),
    }
    code.to_owned()
}

/// Refuses everything.
struct Refuses(Refusal);

impl Policy for Refuses {
    async fn authorize(&self, _: &Context<'_>) -> Result<Option<Owner>, Refusal> {
        Err(self.0.clone())
    }
}

fn layer() -> ChunkedUploadLayer {
    let mut limits = FormLimits::default();
    limits.field_bytes = 40;
    ChunkedUploadLayer::new(in_memory())
        .chunked(Chunked::new().form_limits(limits))
        .tus(Tus::new("/files").max_metadata_bytes(100))
        .resumable(Resumable::new("/uploads").paths(["/inbox"]).max_head_bytes(100).min_bytes(3))
}

/// Around an application that takes nothing.
fn failing() -> Client {
    Client::around(layer(), async |_| {
        let mut answer = Response::default();
        *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        answer
    })
}

/// A request that begins an upload in each of the dialects.
fn beginnings() -> [Request<TestBody>; 3] {
    let bytes = ("content-type", tus::BYTES);
    [
        chunk(None, 0, 4, b"abcd"),
        tus::request("POST", "/files", &[bytes, ("upload-length", "4")], TestBody::of("abcd")),
        request("POST", "/inbox", &[("upload-complete", "?1")], TestBody::of("abcd")),
    ]
}

#[tokio::test]
async fn each_error_has_its_word_and_its_status_in_each_dialect() {
    let (offset, total, limit) = (1, 2, 3);
    let quota = |quota| ErrorKind::QuotaExceeded { quota, limit };
    for kind in [
        ErrorKind::NotFound,
        ErrorKind::Expired,
        ErrorKind::AlreadyComplete,
        ErrorKind::Finishing,
        ErrorKind::Interrupted,
        ErrorKind::OffsetMismatch { offset },
        ErrorKind::TotalMismatch { total },
        ErrorKind::TooLong { total },
        ErrorKind::TooLarge { limit },
        quota(Quota::OwnerUploads),
        quota(Quota::OwnerBytes),
        quota(Quota::AllBytes),
        quota(Quota::FreeBytes),
        ErrorKind::Incomplete { offset, total },
        ErrorKind::ChecksumMismatch,
        ErrorKind::Superseded,
        ErrorKind::Busy,
        ErrorKind::ShuttingDown,
        ErrorKind::AlreadyExists,
        ErrorKind::Full,
        ErrorKind::Damaged,
        ErrorKind::InvalidToken,
        ErrorKind::ExpiredToken,
        ErrorKind::Source,
        ErrorKind::Store,
    ] {
        let refusal = Refusal::from(Error::from(kind.clone()));
        assert_eq!(refusal.code(), kind.code());
        let client = Client::new(layer().policy(Refuses(refusal.clone())));
        for (dialect, request) in beginnings().into_iter().enumerate() {
            assert_eq!(coded(dialect, &client.send(request).await), kind.code());
        }
        let client = Client::new(layer().policy(Refuses(refusal.with_code("mine"))));
        for request in beginnings() {
            let reply = client.send(request).await;
            assert_eq!(reply.header("upload-error-code"), Some("mine"), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_of_the_application_has_a_code_by_its_status_or_of_its_own() {
    for (status, code) in [
        (400, "refused"),
        (401, "unauthenticated"),
        (403, "forbidden"),
        (404, "not-found"),
        (409, "refused"),
        (410, "refused"),
        (413, "too-large"),
        (415, "wrong-content-type"),
        (422, "refused"),
        (429, "too-many-requests"),
        (500, "failed"),
        (502, "failed"),
        (503, "unavailable"),
        (507, "full"),
    ] {
        let refusal = Refusal::new(StatusCode::from_u16(status).unwrap(), "no");
        assert_eq!(refusal.code(), code);
        let client = Client::new(layer().policy(Refuses(refusal)));
        for request in beginnings() {
            let reply = client.send(request).await;
            assert_eq!(reply.status, status);
            assert_eq!(reply.header("upload-error-code"), Some(code), "{reply:?}");
        }
    }
    let client = Client::new(layer().policy(Refuses(Refusal::unauthenticated())));
    for (dialect, request) in beginnings().into_iter().enumerate() {
        assert_eq!(coded(dialect, &client.send(request).await), "unauthenticated");
    }
    let own = Refusal::new(StatusCode::BAD_REQUEST, "Only PDF files are taken");
    let client = Client::new(layer().policy(Refuses(own.clone().with_code("not-a-pdf"))));
    for request in beginnings() {
        let reply = client.send(request).await;
        assert_eq!(reply.header("upload-error-code"), Some("not-a-pdf"));
    }
    // What it has written into the content itself is its own affair.
    let client = Client::new(layer().policy(Refuses(own.with("code", 7))));
    let [request, ..] = beginnings();
    assert_eq!(client.send(request).await.json()["code"], 7);
    // No header can have it.
    let odd = Refusal::new(StatusCode::BAD_REQUEST, "no").with_code("no\nheader");
    let client = Client::new(layer().policy(Refuses(odd)));
    let [request, ..] = beginnings();
    let reply = client.send(request).await;
    assert_eq!(reply.header("upload-error-code"), None);
    assert_eq!(reply.json()["code"], "no\nheader");
}

/// The answer to a `HEAD` has no content, and another status than that to a `PATCH`.
#[tokio::test]
async fn a_client_that_asks_gets_the_code_too() {
    for (kind, status) in [(ErrorKind::NotFound, 404), (ErrorKind::Store, 423)] {
        let client = Client::new(layer().policy(Refuses(Error::from(kind.clone()).into())));
        for path in ["/files/", "/uploads/"] {
            let path = format!("{path}{NO_ID}");
            let reply = client.send(tus::request("HEAD", &path, &[], TestBody::empty())).await;
            assert_eq!(reply.status, status, "{path}");
            assert_eq!(reply.header("upload-error-code"), Some(kind.code()), "{path}");
        }
    }
    let client = Client::new(layer().policy(Refuses(Refusal::new(StatusCode::BAD_GATEWAY, "no"))));
    let path = format!("/files/{NO_ID}");
    let reply = client.send(tus::request("HEAD", &path, &[], TestBody::empty())).await;
    assert_eq!((reply.status.as_u16(), reply.header("upload-error-code")), (423, Some("failed")));
}

fn form(form: Form) -> Request<TestBody> {
    form_request(TestBody::of(form.end()))
}

fn completion(media_type: &str, body: &str) -> Request<TestBody> {
    request("POST", COMPLETE, &[("content-type", media_type)], TestBody::of(body.to_owned()))
}

/// One that the first request of a test has.
const KEY: (&str, &str) = ("idempotency-key", "8e03978e-40d5-43e8-bc93-6894a57f9324");
/// Too short.
const SHORT_KEY: (&str, &str) = ("idempotency-key", "a");

const URLENCODED: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn the_codes_of_the_chunked_protocol() {
    let client = Client::new(layer());
    let whole = || TestBody::of("abcd");
    let file = || Form::new().file("a", b"abcd");
    let encoding = "Content-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\
                    Content-Transfer-Encoding: base64";
    let mut in_query = chunk(None, 4, 8, b"efgh");
    *in_query.uri_mut() = format!("{CHUNK}?upload_id={NO_ID}").parse().unwrap();
    let boundary = ("content-type", "multipart/form-data");
    let keyed =
        |total, key: (&'static str, &str)| with(chunk(None, 0, total, b"abcd"), key.0, key.1);
    assert_eq!(client.send(keyed(8, KEY)).await.status, 200);
    let mut seen = BTreeSet::new();
    for (code, request) in [
        ("no-file", form(Form::new().field("a", "b"))),
        ("no-file", request("POST", CHUNK, &[], whole())),
        ("two-files", form(file().file("b", b"e"))),
        ("truncated-form", form_request(TestBody::of(file().bytes()))),
        ("malformed-form", request("POST", CHUNK, &[boundary], whole())),
        ("form-too-large", form(Form::new().field("a", &"b".repeat(41)).file("a", b"e"))),
        ("unsupported-encoding", form(Form::new().part(encoding.as_bytes(), b"YQ=="))),
        ("unsupported-encoding", with(raw(None, None, whole()), "content-encoding", "gzip")),
        ("malformed-content-range", raw(None, Some("bytes 3-1/4"), whole())),
        ("repeated-header", with(chunk(None, 0, 4, b"abcd"), "content-range", "bytes 0-3/4")),
        ("length-mismatch", raw(None, Some("bytes 0-2/4"), whole())),
        ("malformed-json", completion("application/json", "{")),
        ("missing-field", completion(URLENCODED, "")),
        ("repeated-field", completion(URLENCODED, "upload_id=a&upload_id=b")),
        ("id-in-query", in_query),
        ("key-reused", keyed(9, KEY)),
        ("malformed-key", keyed(8, SHORT_KEY)),
        ("method-not-allowed", request("PUT", CHUNK, &[], whole())),
        ("source-failed", raw(None, Some("bytes 0-3/4"), TestBody::new([Piece::Fail]))),
        ("request-too-large", completion(URLENCODED, &"a".repeat(100_000))),
        ("not-found", chunk(Some(NO_ID), 4, 8, b"efgh")),
        ("offset-mismatch", chunk(None, 4, 8, b"efgh")),
    ] {
        assert_eq!(coded(0, &client.send(request).await), code);
        seen.insert(code);
    }
    let client = Client::new(layer().chunked(Chunked::new().require_content_range(true)));
    let reply = client.send(raw(None, None, whole())).await;
    assert_eq!(coded(0, &reply), "no-content-range");
    seen.insert("no-content-range");
    all_but_shared(0, seen);
}

#[tokio::test]
async fn the_codes_of_tus() {
    let client = Client::new(layer());
    let post =
        |headers: &[(&str, &str)]| tus::request("POST", "/files", headers, TestBody::empty());
    let metadata = |value| post(&[("upload-length", "4"), ("upload-metadata", value)]);
    let created = client.send(post(&[("upload-length", "4")])).await;
    let path = created.header("location").unwrap();
    let checked =
        |checksum| tus::patch(path, 0, &[("upload-checksum", checksum)], TestBody::of("abc"));
    let part = client.send(post(&[("upload-length", "1"), ("upload-concat", "partial")])).await;
    let joined = format!("final;{}", part.header("location").unwrap());
    let final_upload = client.send(post(&[("upload-concat", &joined)])).await;
    let final_path = final_upload.header("location").unwrap();
    let long = "a".repeat(101);
    let many = format!("final;{}", "/a ".repeat(1001));
    let text = ("content-type", "text/plain");
    assert_eq!(client.send(post(&[("upload-length", "4"), KEY])).await.status, 201);
    let mut seen = BTreeSet::new();
    for (code, request) in [
        ("unsupported-version", request("PATCH", path, &[], TestBody::empty())),
        ("missing-header", post(&[])),
        ("repeated-header", post(&[("upload-length", "4"), ("upload-length", "4")])),
        ("malformed-header", post(&[("upload-length", "four")])),
        ("malformed-header", post(&[("upload-defer-length", "2")])),
        ("malformed-header", post(&[("upload-concat", "half"), ("upload-length", "4")])),
        ("contradictory-headers", post(&[("upload-length", "4"), ("upload-defer-length", "1")])),
        ("contradictory-headers", post(&[("upload-concat", &joined), ("upload-length", "4")])),
        ("headers-too-large", metadata(&long)),
        ("malformed-metadata", metadata("a !")),
        (
            "wrong-content-type",
            tus::request("POST", "/files", &[text, ("upload-length", "4")], TestBody::of("abcd")),
        ),
        ("malformed-checksum", checked("sha1 !")),
        ("unknown-checksum-algorithm", checked("rot13 AAAA")),
        ("checksum-mismatch", checked("sha1 vn8RjDp8U+TpFn844zWbu7fvZBA=")),
        ("joined-upload", tus::patch(final_path, 0, &[], TestBody::of("a"))),
        (
            "joined-upload",
            tus::request("POST", "/files", &[("upload-concat", &joined)], TestBody::of("a")),
        ),
        ("key-reused", post(&[("upload-length", "5"), KEY])),
        ("malformed-key", post(&[("upload-length", "4"), SHORT_KEY])),
        ("no-such-part", post(&[("upload-concat", "final;/files/a")])),
        ("too-many-parts", post(&[("upload-concat", &many)])),
        ("method-not-allowed", tus::request("PUT", path, &[], TestBody::empty())),
        ("offset-mismatch", tus::patch(path, 1, &[], TestBody::of("a"))),
        ("too-long", tus::patch(path, 0, &[], TestBody::of("abcde"))),
        ("total-mismatch", tus::patch(path, 0, &[("upload-length", "5")], TestBody::of("a"))),
    ] {
        assert_eq!(coded(1, &client.send(request).await), code);
        seen.insert(code);
    }

    let deferred = client.send(post(&[("upload-defer-length", "1")])).await;
    let deferred = deferred.header("location").unwrap();
    assert_eq!(client.send(tus::patch(deferred, 0, &[], TestBody::of("abc"))).await.status, 204);
    let shorter = tus::patch(deferred, 3, &[("upload-length", "2")], TestBody::empty());
    assert_eq!(coded(1, &client.send(shorter).await), "length-mismatch");

    let failing = failing();
    let created = failing.send(post(&[("upload-length", "2")])).await;
    let path = created.header("location").unwrap();
    let reply = failing.send(tus::patch(path, 0, &[], TestBody::of("ab"))).await;
    // The application has refused it, and not the layer.
    assert_eq!((reply.status.as_u16(), reply.header("upload-error-code")), (500, None));
    let reply = failing.send(tus::patch(path, 1, &[], TestBody::of("x"))).await;
    assert_eq!(coded(1, &reply), "last-byte-mismatch");

    let mut extensions = Extensions::default();
    extensions.concatenation_unfinished = false;
    extensions.creation_defer_length = false;
    let client = Client::new(layer().tus(Tus::new("/files").extensions(extensions)));
    let reply = client.send(post(&[("upload-defer-length", "1")])).await;
    assert_eq!(coded(1, &reply), "not-offered");
    let part = client.send(post(&[("upload-length", "1"), ("upload-concat", "partial")])).await;
    let joined = format!("final;{}", part.header("location").unwrap());
    let reply = client.send(post(&[("upload-concat", &joined)])).await;
    assert_eq!(coded(1, &reply), "incomplete-part");
    seen.extend(["length-mismatch", "last-byte-mismatch", "not-offered", "incomplete-part"]);
    all_but_shared(1, seen);
}

#[tokio::test]
async fn the_codes_of_the_draft() {
    let more = ("upload-complete", "?0");
    let end = ("upload-complete", "?1");
    let partial = ("content-type", "application/partial-upload");
    let at = |offset| ("upload-offset", offset);
    let failing = failing();
    let begun = failing.send(request("POST", "/inbox", &[more], TestBody::of("abc"))).await;
    let path = begun.header("location").unwrap();
    let patch = |headers: &[(&str, &str)], body: &'static str| {
        request("PATCH", path, headers, TestBody::of(body))
    };
    let long = format!("attachment; filename=\"{}\"", "a".repeat(100));
    let long = ("content-disposition", &*long);
    let digest = |value| ("content-digest", value);
    let keyed = |key, length| {
        request("POST", "/inbox", &[more, key, ("upload-length", length)], TestBody::of("abc"))
    };
    assert_eq!(failing.send(keyed(KEY, "9")).await.status, 201);
    let sha = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
    let mut seen = BTreeSet::new();
    for (code, request) in [
        ("missing-header", patch(&[partial, more], "d")),
        ("missing-header", patch(&[partial, at("3")], "d")),
        ("wrong-content-type", patch(&[at("3"), more], "d")),
        ("contradictory-headers", request("HEAD", path, &[more], TestBody::empty())),
        ("key-reused", keyed(KEY, "8")),
        ("malformed-key", keyed(SHORT_KEY, "9")),
        ("too-small", request("POST", "/inbox", &[end], TestBody::of("ab"))),
        ("headers-too-large", request("POST", "/inbox", &[more, long], TestBody::of("abc"))),
        (
            "length-mismatch",
            request("POST", "/inbox", &[end, ("upload-length", "9")], TestBody::of("abc")),
        ),
        ("malformed-checksum", patch(&[partial, at("3"), more, digest("sha-256=:AA==:")], "d")),
        ("checksum-mismatch", patch(&[partial, at("3"), more, digest(sha)], "d")),
        ("method-not-allowed", request("PUT", path, &[], TestBody::empty())),
        ("offset-mismatch", patch(&[partial, at("1"), more], "d")),
    ] {
        let reply = failing.send(request).await;
        assert_eq!(coded(2, &reply), code);
        seen.insert(code);
    }
    let failed = failing.send(patch(&[partial, at("3"), end], "d")).await;
    assert_eq!((failed.status.as_u16(), failed.header("upload-error-code")), (500, None));
    let reply = failing.send(patch(&[partial, at("3"), end], "x")).await;
    assert_eq!(coded(2, &reply), "last-byte-mismatch");
    seen.insert("last-byte-mismatch");
    all_but_shared(2, seen);
}

/// Those that all dialects read in the same way.
#[tokio::test]
async fn the_codes_of_bodies() {
    let slow = Client::new(layer().idle_timeout(Duration::from_millis(1)));
    for (dialect, request) in beginnings().into_iter().enumerate() {
        let request = request.map(|_| TestBody::new([Piece::Stall]));
        assert_eq!(coded(dialect, &slow.send(request).await), "idle-timeout");
    }
    let slow = Client::new(layer().min_rate(u64::MAX, Duration::from_nanos(1)));
    for (dialect, request) in beginnings().into_iter().enumerate() {
        let request = request.map(|_| TestBody::new([Piece::Stall]));
        assert_eq!(coded(dialect, &slow.send(request).await), "too-slow");
    }
    let inner = service_fn(async |_| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())));
    let limited = layer().around(inner);
    for (dialect, request) in beginnings().into_iter().enumerate() {
        let body = TestBody::new([Piece::Data("abcd".into())]);
        let request = request.map(|_| Limited::new(body, 2));
        let reply = reply_of(limited.clone().oneshot(request).await.unwrap()).await;
        assert_eq!(coded(dialect, &reply), "request-too-large");
    }
}

/// It is the same for all dialects.
#[tokio::test]
async fn the_codes_at_the_address_of_a_completion() {
    let client = Client::new(layer().long_completions(LongCompletions::new("/done")));
    let ask =
        |method: &str, id: &str| request(method, &format!("/done/{id}"), &[], TestBody::empty());
    let id = client.upload(b"abcd").await;
    for (code, request) in [
        ("not-found", ask("GET", NO_ID)),
        ("not-completing", ask("GET", &id)),
        ("method-not-allowed", ask("PUT", &id)),
    ] {
        let reply = client.send(request).await;
        for dialect in 0..DIALECTS.len() {
            assert_eq!(coded(dialect, &reply), code);
        }
    }
    // It was completed when no answers were kept.
    let uploads = in_memory();
    let before = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let id = before.upload(b"abcd").await;
    assert_eq!(before.complete(&id, &md5(b"abcd")).await.status, 200);
    let layer = ChunkedUploadLayer::new(uploads).long_completions(LongCompletions::new("/done"));
    let reply = Client::new(layer).send(ask("GET", &id)).await;
    for dialect in 0..DIALECTS.len() {
        assert_eq!(coded(dialect, &reply), "answer-not-kept");
    }
}

#[tokio::test]
async fn a_handler_that_is_not_behind_the_layer_says_so() {
    let app = Router::new().route("/done", post(async |_: CompletedUpload| ()));
    let response = app.oneshot(Request::post("/done").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(coded(0, &reply_of(response).await), "no-upload");
}

async fn reply_of<B: http_body::Body<Data = Bytes, Error: Debug>>(response: Response<B>) -> Reply {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Reply { status: parts.status, headers: parts.headers, body }
}

/// The codes that the guide has for the dialect were seen, except those that the other tests see.
#[track_caller]
fn all_but_shared(dialect: usize, mut seen: BTreeSet<&'static str>) {
    let table = table();
    let is_shared = |code: &str| SHARED.contains(&code);
    let told =
        table.iter().filter(|(code, statuses)| !statuses[dialect].is_empty() && !is_shared(code));
    seen.retain(|code| !is_shared(code));
    assert_eq!(seen, told.map(|(code, _)| *code).collect(), "{}", DIALECTS[dialect]);
}

/// The kinds of errors, and the codes of bodies and of the application.
const SHARED: [&str; 34] = [
    "not-found",
    "expired",
    "already-complete",
    "finishing",
    "interrupted",
    "offset-mismatch",
    "total-mismatch",
    "too-long",
    "too-large",
    "quota-exceeded",
    "incomplete",
    "checksum-mismatch",
    "superseded",
    "busy",
    "shutting-down",
    "already-exists",
    "full",
    "damaged",
    "token-invalid",
    "token-expired",
    "source-failed",
    "store-failed",
    "not-completing",
    "answer-not-kept",
    "idle-timeout",
    "too-slow",
    "request-too-large",
    "unauthenticated",
    "forbidden",
    "too-many-requests",
    "refused",
    "unavailable",
    "failed",
    "no-upload",
];
