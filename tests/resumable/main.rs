//! "Resumable Uploads for HTTP" through the service, before handlers that know nothing of it.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tus.rs"]
#[expect(dead_code, reason = "it is a client of another protocol")]
mod tus_client;

mod digests;
mod interim;
mod late;
mod limits;
mod offsets;
mod once;
mod unchanged;

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use tower_chunked_upload::{
    ChunkedUploadLayer, CompletedUpload, Context, Owner, Policy, Refusal, Resumable, UploadsBuilder,
};

use support::request_with as request;
use support::*;
use tus_client::{memory, on_all_stores};

const PARTIAL: (&str, &str) = ("content-type", "application/partial-upload");
const MORE: (&str, &str) = ("upload-complete", "?0");
const LAST: (&str, &str) = ("upload-complete", "?1");

fn layer(uploads: UploadsBuilder) -> ChunkedUploadLayer {
    let uploads = uploads.build().unwrap();
    ChunkedUploadLayer::new(uploads).resumable(Resumable::new("/uploads").paths(["/inbox"]))
}

fn patch(path: &str, at: u64, complete: (&str, &str), body: TestBody) -> Request<TestBody> {
    request("PATCH", path, &[PARTIAL, ("upload-offset", &at.to_string()), complete], body)
}

/// An application, and the requests that it has got.
#[derive(Clone)]
struct App {
    client: Client,
    got: Arc<Mutex<Vec<(Parts, Bytes)>>>,
    says: Arc<AtomicU16>,
}

impl App {
    fn new(layer: ChunkedUploadLayer) -> Self {
        let got: Arc<Mutex<Vec<(Parts, Bytes)>>> = Arc::default();
        let says = Arc::new(AtomicU16::new(200));
        let (log, status) = (Arc::clone(&got), Arc::clone(&says));
        let client = Client::around(layer, move |request| {
            let (log, status) = (Arc::clone(&log), Arc::clone(&status));
            async move {
                let (parts, body) = request.into_parts();
                let hint = body.size_hint().exact();
                let body = body.collect().await.unwrap().to_bytes();
                if parts.extensions.get::<CompletedUpload>().is_some() {
                    assert_eq!(hint, Some(body.len() as u64));
                    assert_eq!(parts.headers["content-length"], body.len().to_string());
                }
                log.lock().unwrap().push((parts, body.clone()));
                let mut response = Response::new(Full::from(format!("got {}", body.len())));
                *response.status_mut() =
                    StatusCode::from_u16(status.load(Ordering::Relaxed)).unwrap();
                response
            }
        });
        Self { client, got, says }
    }

    async fn send(&self, request: Request<TestBody>) -> Reply {
        self.client.send(request).await
    }

    async fn begin(&self, headers: &[(&str, &str)], bytes: &'static str) -> String {
        let headers = [&[MORE], headers].concat();
        let reply = self.send(request("POST", "/inbox", &headers, TestBody::of(bytes))).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        assert_eq!(reply.header("upload-complete"), Some("?0"), "{reply:?}");
        reply.header("location").expect("a location").to_owned()
    }

    async fn head(&self, path: &str) -> Reply {
        self.send(request("HEAD", path, &[], TestBody::empty())).await
    }

    async fn stands_at(&self, path: &str) -> (String, String) {
        let reply = self.head(path).await;
        assert_eq!(reply.status, 204, "{reply:?}");
        let header = |name| reply.header(name).expect(name).to_owned();
        (header("upload-offset"), header("upload-complete"))
    }

    fn got(&self) -> Vec<(Parts, Bytes)> {
        std::mem::take(&mut *self.got.lock().unwrap())
    }
}

#[track_caller]
fn refused(reply: &Reply, status: u16, kind: Option<&str>) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.header("upload-complete"), Some("?0"), "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{reply:?}");
    let base = "https://iana.org/assignments/http-problem-types#";
    let kind = kind.map(|kind| format!("{base}{kind}").into());
    assert_eq!(reply.json().get("type"), kind.as_ref(), "{reply:?}");
    assert!(reply.json()["title"].is_string(), "{reply:?}");
}

#[test]
fn a_whole_request_reaches_the_handler_as_it_is() {
    on_all_stores(|uploads| async move {
        let app = App::new(layer(uploads));
        let headers = [
            LAST,
            ("content-type", "text/plain"),
            ("content-length", "13"),
            ("content-disposition", "inline; filename=\"sand.txt\""),
            ("authorization", "Bearer x"),
            ("x-other", "kept"),
            ("upload-draft-interop-version", "10"),
        ];
        let body = TestBody::of("sand and foam");
        let reply = app.send(request("PUT", "/inbox?folder=a%20b", &headers, body)).await;
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"got 13"[..]));
        assert_eq!(reply.header("upload-complete"), Some("?1"));
        let got = app.got();
        let [(parts, body)] = &got[..] else { panic!("{got:?}") };
        assert_eq!(&body[..], b"sand and foam");
        assert_eq!(
            (parts.method.as_str(), &*parts.uri.to_string()),
            ("PUT", "/inbox?folder=a%20b")
        );
        assert_eq!(parts.headers["content-type"], "text/plain");
        assert_eq!(parts.headers["authorization"], "Bearer x");
        assert_eq!(parts.headers["x-other"], "kept");
        assert!(parts.headers.keys().all(|name| !name.as_str().starts_with("upload-")));
        let upload = parts.extensions.get::<CompletedUpload>().unwrap();
        assert_eq!((upload.filename(), upload.size()), ("sand.txt", 13));
    });
}

#[test]
fn a_request_in_pieces_is_one_request_of_the_application() {
    on_all_stores(|uploads| async move {
        let app = App::new(layer(uploads));
        let first = [
            ("content-type", "text/plain"),
            ("authorization", "Bearer first"),
            ("cookie", "a=first"),
            ("proxy-authorization", "first"),
            ("content-language", "de"),
            ("x-other", "first"),
        ];
        let path = app.begin(&first, "sand").await;
        assert!(path.starts_with("/uploads/") && path.len() == "/uploads/".len() + 32, "{path}");
        assert_eq!(app.stands_at(&path).await, ("4".to_owned(), "?0".to_owned()));
        let reply = app.send(patch(&path, 4, MORE, TestBody::of(" and"))).await;
        assert_eq!((reply.status.as_u16(), reply.header("upload-offset")), (204, Some("8")));
        assert_eq!(reply.header("upload-complete"), Some("?0"));
        assert!(app.got().is_empty());
        let mut last = patch(&path, 8, LAST, TestBody::of(" foam"));
        last.headers_mut().insert("authorization", "Bearer last".parse().unwrap());
        last.extensions_mut().insert(7_u8);
        let reply = app.send(last).await;
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"got 13"[..]));
        assert_eq!(reply.header("upload-complete"), Some("?1"));
        assert_eq!(reply.header("upload-offset"), Some("13"));
        let got = app.got();
        let [(parts, body)] = &got[..] else { panic!("{got:?}") };
        assert_eq!(&body[..], b"sand and foam");
        assert_eq!((parts.method.as_str(), parts.uri.path()), ("POST", "/inbox"));
        assert_eq!(parts.headers["content-type"], "text/plain");
        assert_eq!(parts.headers["content-language"], "de");
        assert_eq!(parts.headers["authorization"], "Bearer last");
        for name in ["cookie", "proxy-authorization", "x-other"] {
            assert!(!parts.headers.contains_key(name), "{name}");
        }
        assert_eq!(parts.extensions.get::<u8>(), Some(&7));
        let stored =
            serde_json::to_string(parts.extensions.get::<CompletedUpload>().unwrap().record());
        assert!(!stored.unwrap().contains("first\""), "a credential was kept");
        assert_eq!(app.stands_at(&path).await, ("13".to_owned(), "?1".to_owned()));
        // The same again is answered, anything else is too much.
        let reply = app.send(patch(&path, 8, LAST, TestBody::of(" foam"))).await;
        assert_eq!((reply.status.as_u16(), reply.header("upload-complete")), (200, Some("?1")));
        let reply = app.send(patch(&path, 13, MORE, TestBody::of("x"))).await;
        refused(&reply, 400, Some("completed-upload"));
        assert!(app.got().is_empty());
    });
}

#[test]
fn bytes_of_a_request_that_breaks_are_kept() {
    on_all_stores(|uploads| async move {
        let app = App::new(layer(uploads));
        let path = app.begin(&[("upload-length", "13")], "").await;
        let broken = TestBody::new([Piece::Data("sand".into()), Piece::Fail]);
        app.send(patch(&path, 0, LAST, broken)).await;
        assert_eq!(app.stands_at(&path).await, ("4".to_owned(), "?0".to_owned()));
        let head = app.head(&path).await;
        assert_eq!(head.header("upload-length"), Some("13"));
        assert_eq!(head.header("cache-control"), Some("no-store"));
        let reply = app.send(patch(&path, 4, LAST, TestBody::of(" and foam"))).await;
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"got 13"[..]));
    });
}

#[test]
fn a_handler_that_fails_gets_the_request_again_with_the_last_byte() {
    on_all_stores(|uploads| async move {
        let app = App::new(layer(uploads));
        let path = app.begin(&[("upload-length", "13")], "sand").await;
        app.says.store(500, Ordering::Relaxed);
        let reply = app.send(patch(&path, 4, LAST, TestBody::of(" and foam"))).await;
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (500, &b"got 13"[..]));
        assert_eq!(reply.header("upload-complete"), Some("?0"));
        assert_eq!(reply.header("location"), Some(&*path));
        assert_eq!(app.stands_at(&path).await, ("12".to_owned(), "?0".to_owned()));
        refused(&app.send(patch(&path, 12, LAST, TestBody::of("x"))).await, 400, None);
        app.says.store(422, Ordering::Relaxed);
        let reply = app.send(patch(&path, 12, LAST, TestBody::of("m"))).await;
        assert_eq!((reply.status.as_u16(), reply.header("upload-complete")), (422, Some("?1")));
        app.says.store(303, Ordering::Relaxed);
        let reply = app.send(patch(&path, 12, LAST, TestBody::of("m"))).await;
        assert_eq!((reply.status.as_u16(), reply.header("upload-complete")), (303, Some("?1")));
        let got = app.got();
        assert_eq!(got.len(), 3);
        assert!(got.iter().all(|(_, body)| body == "sand and foam"));
        assert_eq!(app.stands_at(&path).await, ("13".to_owned(), "?1".to_owned()));
    });
}

#[test]
fn an_offset_that_was_told_never_falls() {
    on_all_stores(|uploads| async move {
        let app = App::new(layer(uploads));
        for (before, length) in [&[("upload-length", "13")][..], &[]].into_iter().enumerate() {
            app.says.store(200, Ordering::Relaxed);
            let path = app.begin(length, "sand").await;
            let reply = app.send(patch(&path, 4, MORE, TestBody::of(" and foam"))).await;
            assert_eq!((reply.status.as_u16(), reply.header("upload-offset")), (204, Some("13")));
            assert_eq!(app.got().len(), 2 * before);
            app.says.store(500, Ordering::Relaxed);
            let reply = app.send(patch(&path, 13, LAST, TestBody::empty())).await;
            assert_eq!((reply.status.as_u16(), reply.header("upload-complete")), (500, Some("?0")));
            assert_eq!(app.stands_at(&path).await, ("13".to_owned(), "?0".to_owned()));
            app.says.store(200, Ordering::Relaxed);
            let reply = app.send(patch(&path, 13, LAST, TestBody::empty())).await;
            assert_eq!((reply.status.as_u16(), reply.header("upload-complete")), (200, Some("?1")));
        }
    });
}

#[tokio::test]
async fn lengths_agree_or_the_request_is_refused() {
    let app = App::new(layer(memory().max_bytes(1000)));
    let inconsistent = Some("inconsistent-upload-length");
    let post = |headers: &[(&str, &str)], body| request("POST", "/inbox", headers, body);
    let reply = app.send(post(&[LAST, ("upload-length", "14")], TestBody::of("sand"))).await;
    refused(&reply, 400, inconsistent);
    let reply = app.send(post(&[MORE, ("upload-length", "3")], TestBody::of("sand"))).await;
    refused(&reply, 400, inconsistent);
    let chunked = TestBody::new([Piece::Data("sand".into())]);
    let reply = app.send(post(&[LAST, ("upload-length", "14")], chunked)).await;
    refused(&reply, 400, inconsistent);
    let reply = app.send(post(&[MORE, ("upload-length", "1001")], TestBody::empty())).await;
    refused(&reply, 413, None);
    assert!(reply.header("upload-limit").unwrap().starts_with("max-size=1000"), "{reply:?}");

    let path = app.begin(&[("upload-length", "8")], "sand").await;
    let reply = app.send(patch(&path, 9, LAST, TestBody::of("foam"))).await;
    refused(&reply, 409, Some("mismatching-upload-offset"));
    assert_eq!(reply.header("upload-offset"), Some("4"));
    assert_eq!(
        (&reply.json()["expected-offset"], &reply.json()["provided-offset"]),
        (&4.into(), &9.into())
    );
    let mut other = patch(&path, 4, MORE, TestBody::of("x"));
    other.headers_mut().insert("upload-length", "9".parse().unwrap());
    refused(&app.send(other).await, 400, inconsistent);
    refused(&app.send(patch(&path, 4, LAST, TestBody::of("x"))).await, 400, inconsistent);
    assert_eq!(app.stands_at(&path).await.0, "4");
    let too_long = TestBody::new([Piece::Data("123456789".into())]);
    refused(&app.send(patch(&path, 4, MORE, too_long)).await, 400, inconsistent);
    refused(&app.head(&path).await, 404, None);
    assert!(app.got().is_empty());
}

#[tokio::test]
async fn what_is_not_chosen_passes_with_its_headers() {
    let app = App::new(layer(memory()));
    let huge = "x".repeat(9000);
    for (path, headers) in [
        ("/other", vec![LAST]),
        ("/inbox", vec![]),
        ("/inbox", vec![("upload-complete", "true")]),
        ("/inbox", vec![LAST, LAST]),
        ("/inbox/x", vec![MORE]),
        ("/uploads", vec![MORE]),
        ("/inbox", vec![LAST, ("content-type", &*huge)]),
    ] {
        let body = TestBody::of("sand");
        let reply = app.send(request("POST", path, &headers, body)).await;
        assert_eq!((reply.status.as_u16(), reply.header("upload-complete")), (200, None), "{path}");
        let got = app.got();
        let [(parts, body)] = &got[..] else { panic!("{got:?}") };
        assert_eq!((&body[..], parts.headers.len()), (&b"sand"[..], headers.len()), "{path}");
        assert!(parts.extensions.get::<CompletedUpload>().is_none(), "{path}");
    }
    // A part of a request must not pass for a whole one.
    let headers = [MORE, ("content-type", &*huge)];
    refused(&app.send(request("POST", "/inbox", &headers, TestBody::of("s"))).await, 431, None);
    assert!(app.got().is_empty());
}

#[tokio::test]
async fn an_upload_can_be_asked_for_and_removed() {
    let app = App::new(layer(memory().max_bytes(1000)));
    for path in ["/inbox", "/uploads/0123"] {
        let reply = app.send(request("OPTIONS", path, &[], TestBody::empty())).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("accept-patch"), Some("application/partial-upload"));
        assert_eq!(reply.header("upload-limit"), Some("max-size=1000"));
    }
    let path = app.begin(&[], "sand").await;
    let limits = app.head(&path).await.header("upload-limit").unwrap().to_owned();
    assert!(limits.starts_with("max-size=1000, max-age=86"), "{limits}");
    for bad in [("upload-offset", "4"), MORE] {
        refused(&app.send(request("HEAD", &path, &[bad], TestBody::empty())).await, 400, None);
        refused(&app.send(request("DELETE", &path, &[bad], TestBody::empty())).await, 400, None);
    }
    for (method, headers, status) in [
        ("PATCH", vec![("content-type", "text/plain"), ("upload-offset", "4"), MORE], 415),
        ("PATCH", vec![PARTIAL, MORE], 400),
        ("PATCH", vec![PARTIAL, ("upload-offset", "4")], 400),
        ("PATCH", vec![PARTIAL, ("upload-offset", "4"), ("upload-complete", "1")], 400),
        ("POST", vec![], 405),
    ] {
        let reply = app.send(request(method, &path, &headers, TestBody::of("x"))).await;
        refused(&reply, status, None);
    }
    // In version 5 the bytes have no media type.
    let old = [("upload-draft-interop-version", "5"), ("upload-offset", "4"), MORE];
    let reply = app.send(request("PATCH", &path, &old, TestBody::of("x"))).await;
    assert_eq!((reply.status.as_u16(), reply.header("upload-offset")), (204, Some("5")));
    let gone = app.send(request("DELETE", &path, &[], TestBody::empty())).await;
    assert_eq!(gone.status, 204);
    refused(&app.head(&path).await, 404, None);
    refused(&app.send(request("DELETE", &path, &[], TestBody::empty())).await, 404, None);
}

struct Users;

impl Policy for Users {
    async fn authorize(&self, asked: &Context<'_>) -> Result<Option<Owner>, Refusal> {
        let user = asked.request.headers.get("x-user").and_then(|user| user.to_str().ok());
        Ok(Some(Owner::new(user.ok_or_else(Refusal::unauthenticated)?)))
    }
}

#[tokio::test]
async fn another_owner_sees_no_upload() {
    let app = App::new(layer(memory()).policy(Users));
    let (alice, bob) = (("x-user", "alice"), ("x-user", "bob"));
    let post = |headers: &[(&str, &str)]| request("POST", "/inbox", headers, TestBody::of("sand"));
    refused(&app.send(post(&[MORE])).await, 401, None);
    let reply = app.send(post(&[MORE, alice])).await;
    let path = reply.header("location").unwrap().to_owned();
    let last = |user| {
        let mut request = patch(&path, 4, LAST, TestBody::of("x"));
        request.headers_mut().insert("x-user", http::HeaderValue::from_static(user));
        request
    };
    for method in ["HEAD", "GET", "DELETE"] {
        refused(&app.send(request(method, &path, &[bob], TestBody::empty())).await, 404, None);
    }
    refused(&app.send(last("bob")).await, 404, None);
    assert_eq!(app.send(last("alice")).await.status, 200);
    assert_eq!(app.got().len(), 1);
}
