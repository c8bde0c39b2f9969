//! What the protocol promises beyond the wire cases.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

mod support;

use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RANGE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use support::*;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};
use tower_chunked_upload::chunked::FormLimits;
use tower_chunked_upload::store::{FsStore, MemoryStore};
use tower_chunked_upload::{
    AppendMode, Chunked, ChunkedUploadLayer, CompletedUpload, ErrorKind, Filter, NewUpload,
    RequestBody, Status, Uploads, UploadsBuilder,
};

fn layer() -> ChunkedUploadLayer {
    ChunkedUploadLayer::new(in_memory())
}

fn with(
    mut request: Request<TestBody>,
    name: &'static str,
    value: &'static str,
) -> Request<TestBody> {
    request.headers_mut().append(name, HeaderValue::from_static(value));
    request
}

// --- chunks as raw bodies ---

#[test]
fn a_file_comes_in_raw_chunks_as_jquery_file_upload_sends_them() {
    on_both_stores(|name, builder| async move {
        let client = Client::new(ChunkedUploadLayer::new(builder.build().unwrap()));
        let content = noise(50_000);
        let mut id: Option<String> = None;
        for (at, part) in (0..).step_by(20_000).zip(content.chunks(20_000)) {
            let place = range(at, part.len() as u64, 50_000);
            let body = TestBody::halting(&part.to_vec().into(), 7_000);
            let mut request =
                with(raw(id.as_deref(), Some(&place), body), "content-type", "image/png");
            if id.is_none() {
                *request.uri_mut() = format!("{CHUNK}?b=2&a=1&b=%C3%A4+").parse().unwrap();
            }
            let reply = client.send(request).await;
            let offset = at + part.len() as u64;
            assert_eq!(reply.status, 200, "{name}: {reply:?}");
            assert_eq!(reply.json()["offset"], offset);
            assert_eq!(reply.header(RANGE), Some(&*format!("0-{}", offset - 1)));
            id = Some(reply.id());
        }
        let reply = client.complete(&id.unwrap(), &md5(&content)).await;
        assert_eq!(reply.status, 200, "{name}: {reply:?}");
        let delivery = client.deliveries().remove(0);
        assert_eq!(delivery.content, content);
        assert_eq!(delivery.upload.filename(), "a b.bin");
        assert_eq!(delivery.upload.content_type(), Some("image/png"));
        let fields: Vec<_> = delivery.upload.fields().iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(fields, [("b", "2"), ("a", "1"), ("b", "ä ")]);
    });
}

#[tokio::test]
async fn a_raw_body_without_a_range_is_the_whole_file() {
    let client = client();
    for content in [&b"abc"[..], b""] {
        let reply = client.send(raw(None, None, TestBody::of(content.to_vec()))).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(client.status(&reply.id()).await.json()["total"], content.len());
        assert_eq!(client.complete(&reply.id(), &md5(content)).await.status, 200);
        assert_eq!(client.deliveries().last().unwrap().content, content);
    }
}

#[tokio::test]
async fn a_raw_chunk_of_another_length_than_its_range_changes_nothing() {
    let client = client();
    let id = client.begin(9, b"abc").await;
    for content in ["de", "defg", ""] {
        for body in [TestBody::of(content), TestBody::halting(&content.into(), 1)] {
            let detail = client.send(raw(Some(&id), Some("bytes 3-5/9"), body)).await.refused(400);
            assert_eq!(detail, "File size doesn't match headers", "{content:?}");
            assert_eq!(client.offset(&id).await, 3);
        }
    }
}

#[tokio::test]
async fn a_raw_body_without_a_file_name_is_no_chunk() {
    let client = client();
    for disposition in [
        None,
        Some("attachment"),
        Some("attachment; filename=\"\""),
        Some("attachment; filename=\"..\""),
        Some("attachment; filename=\"%2F\""),
        Some("attachment; filename=\"a"),
        Some("attachment; filename=a; filename=b"),
    ] {
        let mut request = raw(None, None, TestBody::of("abc"));
        request.headers_mut().remove("content-disposition");
        if let Some(disposition) = disposition {
            request = with(request, "content-disposition", disposition);
        }
        let detail = client.send(request).await.refused(400);
        assert_eq!(detail, "No chunk file was submitted", "{disposition:?}");
    }
}

// --- where an upload stands ---

#[tokio::test]
async fn a_status_says_all_that_is_needed_to_go_on() {
    let clock = Clock::new();
    let uploads = Uploads::builder(Double::default()).clock(clock.read()).build().unwrap();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let id = client.begin(6, b"abc").await;
    let status = |offset: u64, status: &str| {
        json!({
            "upload_id": id, "offset": offset, "expires": "2026-11-23T10:00:00.000Z",
            "total": 6, "status": status, "filename": "a.bin",
        })
    };
    let reply = client.status(&id).await;
    assert_eq!((reply.status.as_u16(), reply.json()), (200, status(3, "open")));
    assert_eq!(reply.header(RANGE), Some("0-2"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let head = client.send(on_id(Method::HEAD, &id)).await;
    assert_eq!((head.status, &head.headers), (reply.status, &reply.headers));

    client.chunk(Some(&id), 3, 6, b"def").await;
    let completion = uploads.for_operator().complete(&support::id(&id), None).await.unwrap();
    assert_eq!(client.status(&id).await.json(), status(6, "finishing"));
    completion.finish().await.unwrap();
    assert_eq!(client.status(&id).await.json(), status(6, "complete"));
}

#[tokio::test]
async fn a_status_is_null_where_nothing_is_known() {
    let uploads = in_memory();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let upload =
        uploads.for_owner(None).create(NewUpload::new()).await.unwrap().commit().await.unwrap();
    let reply = client.status(upload.id.as_str()).await;
    let json = reply.json();
    assert_eq!((&json["total"], &json["filename"]), (&Value::Null, &Value::Null));
    assert_eq!(json["offset"], 0);
    assert_eq!(reply.header(RANGE), None, "there is no last byte");
}

#[tokio::test]
async fn an_upload_that_is_not_there_is_not_found_by_any_question() {
    let client = client();
    for method in [Method::GET, Method::HEAD, Method::DELETE] {
        for wrong in [NO_ID, "x", "%00", "..", "%2e%2e%2f", "5230EC1F59D1485D9D7974B853802E31"] {
            client.send(on_id(method.clone(), wrong)).await.refused(404);
        }
        client.send(on_id(method.clone(), &format!("{NO_ID}&upload_id=x"))).await.refused(400);
    }
    let id = client.begin(6, b"abc").await;
    let twice = format!("{id}&upload_id={id}&upload_id=");
    assert_eq!(client.status(&twice).await.json()["offset"], 3);
    assert_eq!(client.cancel(&format!("{id}&upload_id={NO_ID}")).await.status, 400);
    assert_eq!(client.offset(&id).await, 3);
}

#[tokio::test]
async fn a_cancelled_upload_leaves_nothing_and_is_not_found_again() {
    let (folder, store) = folder();
    let uploads = Uploads::builder(store).build().unwrap();
    let client = Client::new(ChunkedUploadLayer::new(uploads));
    let id = client.begin(6, b"abc").await;
    assert_eq!(files_below(folder.path()).len(), 2);
    let reply = client.cancel(&id).await;
    assert_eq!((reply.status.as_u16(), reply.body.len()), (204, 0));
    assert_eq!(reply.header(CONTENT_TYPE), None);
    assert_eq!(files_below(folder.path()), <[&Path; 0]>::default());
    client.cancel(&id).await.refused(404);
    client.status(&id).await.refused(404);
    client.chunk(Some(&id), 3, 6, b"def").await.refused(404);
    client.complete(&id, &md5(b"abc")).await.refused(404);
}

#[tokio::test]
async fn a_complete_upload_takes_nothing_more_and_is_not_cancelled() {
    let client = client();
    let id = client.upload(b"abc").await;
    client.complete(&id, &md5(b"abc")).await;
    client.cancel(&id).await.refused(400);
    client.chunk(Some(&id), 3, 3, b"").await.refused(400);
    client.send(raw(Some(&id), Some("bytes 3-3/4"), TestBody::of("d"))).await.refused(400);
    let detail = client.complete(&id, &md5(b"abc")).await.refused(400);
    assert_eq!(detail, "Upload has already been marked as complete");
    assert_eq!(client.status(&id).await.json()["status"], "complete");
    assert_eq!(client.deliveries().len(), 1);
}

#[tokio::test]
async fn other_methods_say_which_ones_are_allowed() {
    let client = client();
    let id = client.begin(6, b"abc").await;
    let with_id = format!("{CHUNK}?upload_id={id}");
    let all = "GET, HEAD, POST, DELETE, OPTIONS";
    for (method, uri, status, allow) in [
        ("GET", CHUNK, 405, "POST, OPTIONS"),
        ("GET", &*format!("{CHUNK}?upload_id="), 405, "POST, OPTIONS"),
        ("DELETE", CHUNK, 405, "POST, OPTIONS"),
        ("PUT", &*with_id, 405, all),
        ("PATCH", &*with_id, 405, all),
        ("FOO", &*with_id, 405, all),
        ("OPTIONS", &*with_id, 204, all),
        ("OPTIONS", CHUNK, 204, "POST, OPTIONS"),
        ("GET", COMPLETE, 405, "POST, OPTIONS"),
        ("DELETE", COMPLETE, 405, "POST, OPTIONS"),
        ("OPTIONS", COMPLETE, 204, "POST, OPTIONS"),
    ] {
        let body = TestBody::of("abc");
        let probe = body.probe();
        let reply =
            client.send(Request::builder().method(method).uri(uri).body(body).unwrap()).await;
        assert_eq!(
            (reply.status.as_u16(), reply.header(ALLOW)),
            (status, Some(allow)),
            "{method} {uri}"
        );
        if status == 405 {
            reply.refused(405);
        }
        assert_eq!(probe.now().polls, 0, "{method} {uri}");
    }
    assert_eq!(client.offset(&id).await, 3);
}

// --- what a chunk answers, and what is kept ---

#[tokio::test]
async fn each_chunk_answers_with_the_range_that_has_arrived() {
    let client = client();
    let reply = client.chunk(None, 0, 6, b"a").await;
    assert_eq!(reply.header(RANGE), Some("0-0"));
    let reply = client.chunk(Some(&reply.id()), 1, 6, b"bcdef").await;
    assert_eq!(reply.header(RANGE), Some("0-5"));
    let refused = client.chunk(Some(&reply.id()), 1, 6, b"bcdef").await;
    assert_eq!(
        (refused.refused(400).as_str(), refused.header(RANGE)),
        ("Offsets do not match", None)
    );
    assert_eq!(refused.json()["offset"], 6);
    let empty = Form::new().file("a", b"").end();
    let reply = client.send(form_request(TestBody::of(empty))).await;
    assert_eq!((reply.json()["offset"].as_u64(), reply.header(RANGE)), (Some(0), None));
}

#[test]
fn the_fields_of_the_first_chunk_are_kept_in_their_order_and_handed_over() {
    on_both_stores(|name, builder| async move {
        let client = Client::new(ChunkedUploadLayer::new(builder.build().unwrap()));
        let form = Form::new().field("z", "1").field("a", "ä\r\n\"").field("z", "");
        let form = form.file("f.bin", b"abc").field("b", "2").field("a", "3").field("", "4");
        let reply = client.send(ranged("bytes 0-2/6", TestBody::of(form.end()))).await;
        let id = reply.id();
        // Those of a later chunk change nothing, wherever the id stands.
        let form = Form::new().field("z", "no").file("g.bin", b"d").field("y", "no").id(Some(&id));
        client.send(ranged("bytes 3-3/6", TestBody::of(form.end()))).await;
        let form = Form::new().id(Some(&id)).field("z", "no").file("g.bin", b"ef").field("y", "no");
        client.send(ranged("bytes 4-5/6", TestBody::of(form.end()))).await;
        let reply = client.complete(&id, &md5(b"abcdef")).await;
        assert_eq!(reply.status, 200, "{name}: {reply:?}");
        let upload = client.deliveries().remove(0).upload;
        let fields: Vec<_> = upload.fields().iter().map(|(k, v)| (&**k, &**v)).collect();
        let want = [("z", "1"), ("a", "ä\r\n\""), ("z", ""), ("b", "2"), ("a", "3"), ("", "4")];
        assert_eq!(fields, want, "{name}");
        assert_eq!(upload.filename(), "f.bin");
    });
}

#[test]
fn an_id_after_the_file_finds_its_upload_whatever_the_size() {
    on_both_stores(|name, builder| async move {
        let uploads = builder.build().unwrap();
        let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
        let content = noise(1_000_000);
        let id = client.begin(1_000_000, &content[..10]).await;
        for (at, end) in [(10, 11), (11, 300_000), (300_000, 1_000_000)] {
            let form = Form::new().file("a", &content[at..end]).id(Some(&id)).end();
            let place = range(at as u64, (end - at) as u64, 1_000_000);
            let reply = client.send(ranged(&place, TestBody::halting(&form, 65_536))).await;
            assert_eq!(reply.json()["offset"], end, "{name}: {reply:?}");
        }
        assert_eq!(client.complete(&id, &md5(&content)).await.status, 200);
        assert!(client.deliveries()[0].content == content, "{name}");
        assert_eq!(all_ids(&uploads).await, [support::id(&id)], "{name}");
    });
}

#[tokio::test]
async fn an_id_before_or_after_the_file_says_the_same() {
    // The upload was begun without HTTP: nothing has come, and its total is known or not.
    for (total, status, known) in
        [(None, 200, json!(3)), (Some(3), 200, json!(3)), (Some(9), 400, json!(9))]
    {
        for id_last in [false, true] {
            let uploads = in_memory();
            let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
            let new = NewUpload::new().total(total);
            let id = uploads.for_owner(None).create(new).await.unwrap().commit().await.unwrap().id;
            let form = match id_last {
                true => Form::new().file("a", b"abc").id(Some(id.as_str())),
                false => Form::new().id(Some(id.as_str())).file("a", b"abc"),
            };
            let reply = client.send(form_request(TestBody::of(form.end()))).await;
            assert_eq!(reply.status, status, "{total:?}, id last: {id_last}: {reply:?}");
            let total_now = &client.status(id.as_str()).await.json()["total"];
            assert_eq!(*total_now, known, "{total:?}, id last: {id_last}");
        }
    }
}

// --- what is refused ---

#[test]
fn a_store_that_fails_is_an_error_without_its_words_and_loses_nothing() {
    let content = noise(300_000);
    let chunk_of = |id: &str| chunk(Some(id), 100_000, 300_000, &content[100_000..]);
    let id_last = |id: &str| {
        let form = Form::new().file("a", &content[100_000..]).id(Some(id)).end();
        ranged("bytes 100000-299999/300000", TestBody::of(form))
    };
    type Make<'a> = &'a (dyn Fn(&str) -> Request<TestBody> + Sync);
    let (raw_of, done): (Make<'_>, Make<'_>) = (
        &|id| {
            raw(
                Some(id),
                Some("bytes 100000-299999/300000"),
                TestBody::of(content[100_000..].to_vec()),
            )
        },
        &|id| complete(id, &md5(&content)),
    );
    let first: Make<'_> = &|_| chunk(None, 0, 300_000, &content);
    let rows: &[(&str, Make<'_>, &[Call])] = &[
        ("first", first, &[Call::Create, Call::Write(0), Call::Commit(0)]),
        ("later", &chunk_of, &[Call::Writer, Call::Write(0), Call::Commit(0)]),
        (
            "id last",
            &id_last,
            &[Call::Create, Call::Writer, Call::Write(0), Call::Commit(0), Call::Reread],
        ),
        ("raw", raw_of, &[Call::Writer, Call::Write(0), Call::Commit(0)]),
        ("status", &|id| on_id(Method::GET, id), &[Call::Load]),
        ("cancel", &|id| on_id(Method::DELETE, id), &[Call::Writer, Call::Remove]),
        ("complete", done, &[Call::Writer, Call::Commit(0)]),
    ];
    for (name, request, calls) in rows {
        for call in *calls {
            for (errno, status) in [(5, 500), (28, 507), (13, 500)] {
                run(async {
                    let store = Double::default();
                    let builder = Uploads::builder(store.clone()).batch_bytes(64 << 10);
                    let uploads = builder.build().unwrap();
                    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
                    let at = if *name == "complete" { 300_000 } else { 100_000 };
                    let id = client.begin(300_000, &content[..at]).await;
                    store.fail(*call, errno);
                    let reply = client.send(request(&id)).await;
                    assert_eq!(reply.status, status, "{name} {call:?}: {reply:?}");
                    reply.refused(status);
                    store.mend();
                    assert_eq!(client.offset(&id).await, at as u64, "{name} {call:?}");
                    assert_eq!(all_ids(&uploads).await.len(), 1, "{name} {call:?}");
                    if at < 300_000 {
                        let reply = client.send(chunk_of(&id)).await;
                        assert_eq!(reply.status, 200, "{name} {call:?}: {reply:?}");
                    }
                    let reply = client.complete(&id, &md5(&content)).await;
                    assert_eq!(reply.status, 200, "{name} {call:?}: {reply:?}");
                    assert!(client.deliveries()[0].content == content, "{name} {call:?}");
                });
            }
        }
    }
}

#[tokio::test]
async fn a_write_that_was_dropped_in_its_middle_cannot_be_committed() {
    let store = Double::default();
    let uploads = Uploads::builder(store.clone()).batch_bytes(16 << 10).build().unwrap();
    let mut append = uploads.for_owner(None).create(NewUpload::new()).await.unwrap();
    let gate = store.hold(Call::Write(0));
    // Two batches fit, one that is being written and one that waits for it.
    let bytes = noise(100_000);
    assert!(poll_times(append.write(&bytes[..]), 1).await.is_none());
    gate.open();
    let error = append.commit().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Store), "{error:?}");
    assert!(all_ids(&uploads).await.is_empty());
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_an_error_without_its_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), b"").unwrap();
    let store = FsStore::new(folder.path().join("file/secret/%Y"));
    let client = Client::new(ChunkedUploadLayer::new(Uploads::builder(store).build().unwrap()));
    let form = Form::new().file("a", b"abc").id(Some(NO_ID)).end();
    for request in [
        chunk(None, 0, 3, b"abc"),
        raw(None, None, TestBody::of("abc")),
        ranged("bytes 3-5/6", TestBody::of(form)),
        on_id(Method::GET, NO_ID),
        on_id(Method::DELETE, NO_ID),
        complete(NO_ID, &md5(b"")),
    ] {
        let name = format!("{} {:?}", request.method(), request.headers());
        let reply = client.send(request).await;
        let text = format!("{reply:?}");
        assert!(!text.contains("secret"), "{name}: {text}");
        reply.refused(if [500, 404].contains(&reply.status.as_u16()) {
            reply.status.into()
        } else {
            500
        });
    }
    let chunk = client.chunk(None, 0, 3, b"abc").await;
    chunk.refused(500);
}

#[tokio::test]
async fn a_damaged_record_is_gone_for_its_client_without_its_name() {
    let (folder, store) = folder();
    let client = Client::new(ChunkedUploadLayer::new(Uploads::builder(store).build().unwrap()));
    let id = client.begin(6, b"abc").await;
    for file in files_below(folder.path()) {
        if file.extension().is_some_and(|extension| extension == "log") {
            std::fs::write(file, b"00000000 {\"nothing\":1}\n").unwrap();
        }
    }
    for request in [
        chunk(Some(&id), 3, 6, b"def"),
        raw(Some(&id), Some("bytes 3-5/6"), TestBody::of("def")),
        on_id(Method::GET, &id),
        on_id(Method::DELETE, &id),
        complete(&id, &md5(b"abc")),
    ] {
        let detail = client.send(request).await.refused(410);
        assert_eq!(detail, "The stored upload is damaged; begin a new one");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_changes_nothing() {
    let uploads = in_memory();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let id = client.begin(6, b"abc").await;
    let form = Form::new().id(Some(&id)).file("a", b"def").end();
    for cut in 0..form.len() - 2 {
        for last in [None, Some(Piece::Fail), Some(Piece::Trailers)] {
            let pieces = [Piece::Data(form.slice(..cut))].into_iter().chain(last);
            client.send(ranged("bytes 3-5/6", TestBody::new(pieces))).await.refused(400);
        }
    }
    let broken = TestBody::new([Piece::Data("de".into()), Piece::Fail]);
    client.send(raw(Some(&id), Some("bytes 3-5/6"), broken)).await.refused(400);
    client
        .send(raw(None, None, TestBody::new([Piece::Data("de".into()), Piece::Fail])))
        .await
        .refused(400);
    assert_eq!(client.offset(&id).await, 3);
    assert_eq!(all_ids(&uploads).await.len(), 1);
    // The last line end may be missing, and trailers may follow.
    let pieces = [Piece::Data(form.slice(..form.len() - 2)), Piece::Trailers];
    assert_eq!(client.send(ranged("bytes 3-5/6", TestBody::new(pieces))).await.json()["offset"], 6);
}

/// Requests that can be refused by what their headers say.
async fn hopeless(client: &Client, clock: &Clock) -> Vec<(&'static str, u16, Request<TestBody>)> {
    let expired = client.begin(6, b"abc").await;
    clock.advance(Duration::from_secs(24 * 60 * 60));
    let id = client.begin(6, b"abc").await;
    let complete = client.upload(b"abc").await;
    client.complete(&complete, &md5(b"abc")).await;
    let endless = || TestBody::new([Piece::Endless(Bytes::from_static(&[7; 1000]))]);
    let form = |range| ranged(range, endless());
    let raw_of = |id: Option<&str>, range: &str| raw(id, Some(range), endless());
    let mut other_boundary = form_request(endless());
    other_boundary
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("multipart/form-data"));
    let mut octets = form_request(endless());
    octets.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let of_size = |size| endless().declare(size);
    vec![
        ("announced total over the limit", 400, form("bytes 0-9/1001")),
        ("announced total over the limit, raw", 400, raw_of(None, "bytes 0-9/1001")),
        ("length over the limit", 400, form_request(of_size(5_000_000))),
        ("length over the limit, raw", 400, raw(None, None, of_size(1001))),
        ("bad range", 400, form("bytes 0-9")),
        ("bad range, raw", 400, raw_of(None, "bytes 9-0/20")),
        ("two ranges", 400, with(form("bytes 0-9/20"), "content-range", "bytes 0-9/20")),
        ("two types", 400, with(form("bytes 0-9/20"), "content-type", "text/plain")),
        ("no boundary", 400, other_boundary),
        ("no file name", 400, octets),
        ("unknown id", 404, raw_of(Some(NO_ID), "bytes 3-5/6")),
        ("no id at all", 404, raw_of(Some("x"), "bytes 3-5/6")),
        ("two ids", 400, raw_of(Some(&format!("{id}&upload_id={NO_ID}")), "bytes 3-5/6")),
        ("wrong place", 400, raw_of(Some(&id), "bytes 2-4/6")),
        ("wrong total", 400, raw_of(Some(&id), "bytes 3-5/7")),
        ("expired", 410, raw_of(Some(&expired), "bytes 3-5/6")),
        ("complete", 400, raw_of(Some(&complete), "bytes 3-5/6")),
        ("other length than the range", 400, raw(Some(&id), Some("bytes 3-5/6"), of_size(4))),
        ("completion over the limit", 413, {
            let request = post(COMPLETE).header(CONTENT_TYPE, "application/json");
            request.body(of_size(64 * 1024 + 1)).unwrap()
        }),
    ]
}

/// The same, by the length of the body and the range alone.
fn hopeless_by_length() -> Vec<(&'static str, u16, Request<TestBody>)> {
    let of_size =
        |size| TestBody::new([Piece::Endless(Bytes::from_static(&[7; 1000]))]).declare(size);
    vec![
        ("a later chunk without an id", 400, raw(None, Some("bytes 3-5/6"), of_size(3))),
        ("shorter than its range", 400, ranged("bytes 0-999/1000", of_size(999))),
        ("far longer than its range", 400, ranged("bytes 0-9/10", of_size(5_000_000))),
    ]
}

fn limited(clock: &Clock) -> Uploads {
    Uploads::builder(Double::default()).max_bytes(1000).clock(clock.read()).build().unwrap()
}

#[tokio::test]
async fn what_the_headers_settle_is_refused_before_the_body_is_asked_for() {
    let clock = Clock::new();
    let client = Client::new(ChunkedUploadLayer::new(limited(&clock)));
    let requests = hopeless(&client, &clock).await;
    refused_unread(&client, requests).await;
}

#[tokio::test]
async fn what_the_length_settles_is_refused_before_the_body_is_asked_for() {
    refused_unread(&client(), hopeless_by_length()).await;
}

#[tokio::test]
async fn a_whole_file_for_a_known_upload_over_the_limit_is_refused_unread_and_stops_nobody() {
    let uploads = limited(&Clock::new());
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let id =
        uploads.for_owner(None).create(NewUpload::new()).await.unwrap().commit().await.unwrap().id;
    let mut good = uploads.for_operator().append(&id, 0, AppendMode::AllOrNothing).await.unwrap();
    let endless = TestBody::new([Piece::Endless(Bytes::from_static(&[7; 1000]))]).declare(1001);
    let probe = endless.probe();
    client.send(raw(Some(id.as_str()), None, endless)).await.refused(400);
    assert_eq!(probe.now().polls, 0);
    good.write(&b"abc"[..]).await.unwrap();
    assert_eq!(good.commit().await.unwrap().offset(), 3);
}

async fn refused_unread(client: &Client, requests: Vec<(&str, u16, Request<TestBody>)>) {
    let mut late = Vec::new();
    for (name, status, request) in requests {
        let probe = request.body().probe();
        // On one thread nothing else runs before the answer is here.
        client.send(request).await.refused(status);
        if probe.now().polls > 0 {
            late.push(name);
        }
    }
    assert!(late.is_empty(), "{late:?}");
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_is_not_asked_for_a_body_that_is_refused() {
    let service = layer().layer(service_fn(async |_: Request<RequestBody<TestBody>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let form = Form::new().file("a", b"abc").end();
    for (version, place, status, closes) in [
        (Version::HTTP_11, "nonsense", 400, true),
        (Version::HTTP_10, "nonsense", 400, true),
        (Version::HTTP_2, "nonsense", 400, false),
        (Version::HTTP_11, "bytes 0-2/3", 200, false),
    ] {
        let body = TestBody::of(form.clone());
        let mut request = with(ranged(place, body), "expect", "100-continue");
        *request.version_mut() = version;
        let mut probe = request.body().probe();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status);
        let closed = response.headers().get("connection").map(HeaderValue::as_bytes);
        assert_eq!(closed, closes.then_some(&b"close"[..]), "{version:?}");
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        // What is refused is asked for by nobody until the answer is on its way.
        assert_eq!(probe.now().polls > 0, status == 200, "{version:?}");
        // A client that does not wait is still sending.
        drop(response.into_body().collect().await.unwrap());
        assert_eq!(probe.dropped().await.bytes, form.len() as u64, "{version:?}");
    }
}

#[tokio::test]
async fn a_refused_body_is_read_on_as_far_as_the_bound_and_no_further() {
    let clock = Clock::new();
    for bound in [0, 100_000] {
        let layer = ChunkedUploadLayer::new(limited(&clock)).drain(bound, Duration::from_secs(10));
        let client = Client::new(layer);
        for (name, status, request) in hopeless(&client, &clock).await {
            let mut probe = request.body().probe();
            client.send(request).await.refused(status);
            // One frame more shows that there are more.
            let read = probe.dropped().await.bytes;
            // What was read before the refusal came does not count.
            assert!((bound..=bound + 3000).contains(&read), "{name}: {read} of {bound}");
        }
    }
}

#[tokio::test]
async fn a_refused_body_that_ends_within_the_bound_is_read_to_its_end() {
    let client = client();
    for pieces in [10, 20_000] {
        let pieces = (0..pieces).map(|_| Piece::Data(Bytes::from_static(&[7; 1000])));
        let body = TestBody::new(pieces.chain([Piece::Trailers]));
        let (mut probe, pieces) = (body.probe(), body.len());
        client.send(ranged("nonsense", body)).await.refused(400);
        assert_eq!(probe.dropped().await.bytes, (pieces as u64 - 1) * 1000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_body_is_read_for_as_long_as_the_bound_and_no_longer() {
    for seconds in [3, 10] {
        let time = Duration::from_secs(seconds);
        let client = Client::new(layer().drain(1_000_000, time));
        let start = Instant::now();
        let drip = (0..100).map(|_| Piece::After(Duration::from_secs(2), "x".into()));
        // A short silence is the end too.
        for (body, time) in [
            (TestBody::new([Piece::Stall]), time.min(Duration::from_secs(5))),
            (TestBody::new(drip), time),
        ] {
            let begin = start.elapsed();
            let mut probe = body.probe();
            client.send(ranged("nonsense", body)).await.refused(400);
            assert_eq!(start.elapsed(), begin, "the answer does not wait");
            assert!(!probe.now().dropped);
            probe.dropped().await;
            let took = start.elapsed() - begin;
            assert!(took >= time && took < time + Duration::from_millis(5), "{took:?}");
        }
    }
}

#[tokio::test]
async fn what_follows_a_form_is_not_read_for_ever() {
    let layer = layer().drain(10_000, Duration::from_secs(10));
    let client = Client::new(
        layer.chunked(Chunked::new().form_limits(FormLimits::default().ignored_bytes(20_000))),
    );
    let form = Form::new().file("a", b"abc").end();
    let epilogue = Piece::Endless(Bytes::from_static(&[7; 1000]));
    let body = TestBody::new([Piece::Data(form.clone()), epilogue]);
    let mut probe = body.probe();
    // Nobody knows whether it would have ended well.
    let detail = client.send(form_request(body)).await.refused(400);
    assert_eq!(detail, "Error in the form: the form has too much content besides the file");
    let read = probe.dropped().await.bytes - form.len() as u64;
    // As far as a form may have something beside the file, and then as any refused body.
    assert!((30_000..=32_000).contains(&read), "{read}");
}

// --- slow and dead clients ---

#[tokio::test(start_paused = true)]
async fn a_body_that_brings_nothing_is_ended_and_gives_the_upload_back() {
    let uploads = in_memory();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let id = client.begin(60_000, b"abc").await;
    let part = Bytes::from(noise(30_000));
    let head = Form::new().id(Some(&id)).open_file("a");
    let id_only = Form::new().id(Some(&id)).end().slice(..20);
    for (name, request) in [
        ("nothing", ranged("bytes 3-59999/60000", TestBody::new([Piece::Stall]))),
        (
            "in a field",
            ranged("bytes 3-59999/60000", TestBody::new([Piece::Data(id_only), Piece::Stall])),
        ),
        (
            "at the file",
            ranged("bytes 3-59999/60000", TestBody::new([Piece::Data(head.clone()), Piece::Stall])),
        ),
        ("in the file", {
            let pieces = [Piece::Data(head), Piece::Data(part.clone()), Piece::Stall];
            ranged("bytes 3-59999/60000", TestBody::new(pieces))
        }),
        ("raw", {
            let pieces = [Piece::Data(part.clone()), Piece::Stall];
            raw(Some(&id), Some("bytes 3-59999/60000"), TestBody::new(pieces))
        }),
        ("new", raw(None, None, TestBody::new([Piece::Data(part.clone()), Piece::Stall]))),
        ("completion", {
            let request = post(COMPLETE).header(CONTENT_TYPE, "application/json");
            request.body(TestBody::new([Piece::Data("{".into()), Piece::Stall])).unwrap()
        }),
    ] {
        let start = Instant::now();
        client.send(request).await.refused(408);
        let took = start.elapsed();
        assert!(took.as_secs() == 60 && took.subsec_millis() < 5, "{name}: {took:?}");
        assert_eq!(client.offset(&id).await, 3, "{name}");
        // Nobody holds the upload any more.
        let start = Instant::now();
        drop(
            uploads
                .for_operator()
                .append(&support::id(&id), 3, AppendMode::AllOrNothing)
                .await
                .unwrap(),
        );
        assert_eq!(start.elapsed(), Duration::ZERO, "{name}");
    }
    assert_eq!(all_ids(&uploads).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_always_brings_something_may_take_its_time() {
    let client = client();
    let form = Form::new().file("a", b"abcdefghij").end();
    let drip = form
        .chunks(10)
        .map(|piece| Piece::After(Duration::from_secs(59), Bytes::copy_from_slice(piece)));
    let reply = client.send(form_request(TestBody::new(drip))).await;
    assert_eq!(reply.json()["offset"], 10, "{reply:?}");
}

/// A body that keeps to tokio's budget, as a channel does: what is ready is taken, however much it is.
#[tokio::test(start_paused = true)]
async fn a_body_that_has_used_its_budget_up_is_not_forgotten() {
    let client = client();
    for frames in [100, 300, 1000] {
        let (sender, body) = TestBody::live();
        for _ in 0..frames {
            sender.send(Piece::Data(Bytes::from_static(b"0123456789"))).unwrap();
        }
        drop(sender);
        let length = frames * 10;
        let start = tokio::time::Instant::now();
        let reply = client.spawn(raw(None, Some(&range(0, length, length)), body)).await.unwrap();
        assert_eq!((reply.status.as_u16(), start.elapsed()), (200, Duration::ZERO), "{frames}");
    }
}

#[tokio::test(start_paused = true)]
async fn empty_frames_bring_nothing() {
    let client = client();
    let drip = || (0..10).map(|_| Piece::After(Duration::from_secs(59), Bytes::new()));
    client.send(raw(None, None, TestBody::new(drip()))).await.refused(408);
    client.send(form_request(TestBody::new(drip()))).await.refused(408);
}

/// Longer than requests may be apart that count as equally new.
const TOGETHER: Duration = Duration::from_secs(1);

/// A chunk of which half has come.
struct Stalled {
    more: tokio::sync::mpsc::UnboundedSender<Piece>,
    probe: Probe,
    reply: tokio::task::JoinHandle<Reply>,
}

impl Stalled {
    /// Bytes 3 to 9 of 10, of which the first three have come.
    async fn begin(client: &Client, id: &str, is_raw: bool) -> Self {
        let mut stalled = Self::start(client, id, is_raw);
        stalled.probe.waiting().await;
        stalled
    }

    fn start(client: &Client, id: &str, is_raw: bool) -> Self {
        let (more, body) = TestBody::live();
        let probe = body.probe();
        let place = "bytes 3-9/10";
        let request = if is_raw { raw(Some(id), Some(place), body) } else { ranged(place, body) };
        if !is_raw {
            more.send(Piece::Data(Form::new().id(Some(id)).open_file("a"))).unwrap();
        }
        more.send(Piece::Data("OLD".into())).unwrap();
        let reply = client.spawn(request);
        Self { more, probe, reply }
    }

    /// Sends the rest; it may be that nobody listens any more.
    fn go_on(&self, is_raw: bool) {
        drop(self.more.send(Piece::Data("OLDO".into())));
        if !is_raw {
            drop(self.more.send(Piece::Data(Form::close())));
        }
    }

    async fn end(self) -> Reply {
        drop(self.more);
        self.reply.await.unwrap()
    }
}

#[test]
fn the_newest_request_wins_and_no_later_byte_of_the_old_one_is_written() {
    on_both_stores(|name, builder| async move {
        let client = Client::new(ChunkedUploadLayer::new(builder.build().unwrap()));
        for (old_raw, new_raw) in [(false, false), (false, true), (true, false), (true, true)] {
            let id = client.begin(10, b"abc").await;
            let mut old = Stalled::begin(&client, &id, old_raw).await;
            let reply = match new_raw {
                true => {
                    client.send(raw(Some(&id), Some("bytes 3-9/10"), TestBody::of("defghij"))).await
                }
                false => client.chunk(Some(&id), 3, 10, b"defghij").await,
            };
            assert_eq!(reply.json()["offset"], 10, "{name}: {reply:?}");
            old.go_on(old_raw);
            // The old client is told, and what it still sends is read and thrown away.
            drop(std::mem::replace(&mut old.more, tokio::sync::mpsc::unbounded_channel().0));
            let mut probe = old.probe.clone();
            old.end().await.refused(409);
            probe.dropped().await;
            let reply = client.complete(&id, &md5(b"abcdefghij")).await;
            assert_eq!(reply.status, 200, "{name}: {reply:?}");
            assert_eq!(client.deliveries().last().unwrap().content, b"abcdefghij", "{name}");
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_stalled_request_gives_way_at_once() {
    for is_raw in [false, true] {
        let client = client();
        let id = client.begin(10, b"abc").await;
        let mut older = Vec::new();
        for _ in 0..5 {
            older.push(Stalled::begin(&client, &id, is_raw).await);
            // Requests that arrive together may have been sent in any order.
            tokio::time::advance(TOGETHER).await;
        }
        let start = Instant::now();
        let newest = older.pop().unwrap();
        for old in older {
            // Nothing more comes of it, not even its end.
            assert_eq!(old.reply.await.unwrap().refused(409), TAKEN_OVER);
        }
        newest.go_on(is_raw);
        assert_eq!(newest.end().await.json()["offset"], 10);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}

/// A chunk that its client broke off may be read after the one that was sent next.
#[tokio::test(start_paused = true)]
async fn a_broken_chunk_that_is_read_late_does_not_stop_the_next_one() {
    for is_raw in [false, true] {
        let client = client();
        let id = client.begin(10, b"abc").await;
        let mut next = Stalled::start(&client, &id, is_raw);
        let broken = TestBody::new([Piece::Data("OL".into()), Piece::Fail]);
        let broken = client.spawn(raw(Some(&id), Some("bytes 3-9/10"), broken));
        next.probe.waiting().await;
        tokio::time::advance(Duration::from_millis(400)).await;
        next.go_on(is_raw);
        assert_eq!(next.end().await.json()["offset"], 10);
        assert_eq!(broken.await.unwrap().refused(400), "Offsets do not match");
    }
}

#[tokio::test(start_paused = true)]
async fn a_chunk_waits_for_one_that_was_read_before_it_although_it_arrived_after_it() {
    let client = client();
    let id = client.begin(10, b"abc").await;
    let (more, body) = TestBody::live();
    let mut probe = body.probe();
    // This chunk arrives first, and claims the upload when the field with its id does.
    let next = client.spawn(ranged("bytes 3-9/10", body));
    probe.waiting().await;
    tokio::time::advance(Duration::from_millis(1)).await;
    let broken = Stalled::begin(&client, &id, true).await;
    more.send(Piece::Data(Form::new().id(Some(&id)).open_file("a"))).unwrap();
    more.send(Piece::Data("defghij".into())).unwrap();
    more.send(Piece::Data(Form::close())).unwrap();
    drop(more);
    tokio::time::advance(Duration::from_millis(400)).await;
    broken.more.send(Piece::Fail).unwrap();
    broken.end().await.refused(400);
    assert_eq!(next.await.unwrap().json()["offset"], 10);
}

#[test]
fn a_request_whose_bytes_never_pause_gives_way_too() {
    on_both_stores(|name, builder| async move {
        let client = Client::new(ChunkedUploadLayer::new(builder.build().unwrap()));
        let id = client.begin(1 << 40, b"abc").await;
        let bytes = Bytes::from_static(&[7; 1000]);
        let body = TestBody::new([Piece::After(TOGETHER, bytes.clone()), Piece::Endless(bytes)]);
        let place = range(3, (1 << 40) - 3, 1 << 40);
        let mut probe = body.probe();
        let old = client.spawn(raw(Some(&id), Some(&place), body));
        probe.begun().await;
        let reply = client.chunk(Some(&id), 3, 1 << 40, b"def").await;
        assert_eq!(reply.json()["offset"], 6, "{name}: {reply:?}");
        old.await.unwrap().refused(409);
    });
}

#[tokio::test]
async fn an_append_that_was_taken_over_takes_no_more_bytes() {
    let uploads = in_memory();
    let id =
        uploads.for_owner(None).create(NewUpload::new()).await.unwrap().commit().await.unwrap().id;
    for commits in [false, true] {
        let mut old =
            uploads.for_operator().append(&id, 0, AppendMode::AllOrNothing).await.unwrap();
        old.write(&b"old"[..]).await.unwrap();
        let operator = uploads.for_operator();
        let mut new = Box::pin(operator.append(&id, 0, AppendMode::AllOrNothing));
        // It asks the old one to stop as soon as it is polled.
        assert!(poll_times(&mut new, 1).await.is_none());
        let error = match commits {
            true => old.commit().await.unwrap_err(),
            false => old.write(&b"old"[..]).await.unwrap_err(),
        };
        assert_eq!(*error.kind(), ErrorKind::Superseded);
    }
    assert_eq!(uploads.for_operator().status(&id).await.unwrap().offset(), 0);
}

#[tokio::test(start_paused = true)]
async fn cancelling_takes_over_from_a_stalled_chunk() {
    let client = client();
    let id = client.begin(10, b"abc").await;
    let old = Stalled::begin(&client, &id, true).await;
    let start = Instant::now();
    assert_eq!(client.cancel(&id).await.status, 204);
    assert_eq!(start.elapsed(), Duration::ZERO);
    old.go_on(true);
    old.end().await.refused(409);
    client.status(&id).await.refused(404);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_write_does_not_end_is_not_waited_for_long() {
    let store = Double::default();
    let uploads = Uploads::builder(store.clone()).build().unwrap();
    let client = Client::new(ChunkedUploadLayer::new(uploads));
    let id = client.begin(10, b"abc").await;
    let gate = store.hold(Call::Commit(0));
    let old = client.spawn(chunk(Some(&id), 3, 10, b"OLDOLDO"));
    gate.arrived().await;
    let start = Instant::now();
    let reply = client.chunk(Some(&id), 3, 10, b"defghij").await;
    reply.refused(409);
    assert_eq!((start.elapsed().as_secs(), reply.header(RETRY_AFTER)), (2, Some("1")));
    assert_eq!(client.offset(&id).await, 3, "a status waits for nobody");
    gate.open();
    assert_eq!(old.await.unwrap().json()["offset"], 10);
    client.chunk(Some(&id), 3, 10, b"defghij").await.refused(400);
    assert_eq!(client.complete(&id, &md5(b"abcOLDOLDO")).await.status, 200);
}

#[test]
fn a_status_is_answered_while_a_chunk_is_stalled() {
    on_both_stores(|name, builder| async move {
        let client = Client::new(ChunkedUploadLayer::new(builder.build().unwrap()));
        let id = client.begin(10, b"abc").await;
        let stalled = Stalled::begin(&client, &id, false).await;
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(client.send(on_id(method, &id)).await.json()["offset"], 3, "{name}");
        }
        // And the chunk goes on.
        stalled.go_on(false);
        assert_eq!(stalled.end().await.json()["offset"], 10, "{name}");
    });
}

#[tokio::test]
async fn a_request_that_is_refused_stops_nobody() {
    let id_last = |id: &str, place: &str, data: &[u8]| {
        ranged(place, TestBody::of(Form::new().file("a", data).id(Some(id)).end()))
    };
    type Make<'a> = &'a dyn Fn(&str) -> Request<TestBody>;
    let rows: &[(&str, Make<'_>)] = &[
        ("wrong place", &|id| chunk(Some(id), 2, 10, b"x")),
        ("over the limit", &|id| chunk(Some(id), 3, 1001, b"x")),
        ("id last, wrong place", &|id| id_last(id, "bytes 2-4/10", b"xxx")),
        ("raw of the wrong length", &|id| raw(Some(id), Some("bytes 3-9/10"), TestBody::of("x"))),
        ("wrong total", &|id| chunk(Some(id), 3, 11, b"x")),
        ("wrong total, raw", &|id| raw(Some(id), Some("bytes 3-3/11"), TestBody::of("x"))),
        ("id last, wrong length", &|id| id_last(id, "bytes 3-9/10", b"x")),
        ("id last, wrong total", &|id| id_last(id, "bytes 3-3/11", b"x")),
        ("complete too early", &|id| complete(id, &md5(b"abc"))),
        ("complete with no md5", &|id| complete(id, "")),
        ("complete with what is no md5", &|id| complete(id, "x")),
    ];
    let clock = Clock::new();
    let mut stopped = Vec::new();
    for (name, request) in rows {
        let client = Client::new(ChunkedUploadLayer::new(limited(&clock)));
        let id = client.begin(10, b"abc").await;
        let good = Stalled::begin(&client, &id, false).await;
        let reply = client.send(request(&id)).await;
        reply.refused(400);
        good.go_on(false);
        if good.end().await.status != 200 {
            stopped.push(*name);
        }
    }
    assert!(stopped.is_empty(), "{stopped:?}");
}

type MakeChunk = fn(&str, u64, &[u8]) -> Request<TestBody>;

const KINDS: [(&str, MakeChunk); 3] = [
    ("form", |id, at, data| {
        let form = Form::new().id(Some(id)).file("a", data).field("b", "c").end();
        ranged(
            &range(at, data.len() as u64, at + data.len() as u64),
            TestBody::halting(&form, 9_000),
        )
    }),
    ("id last", |id, at, data| {
        let form = Form::new().file("a", data).id(Some(id)).end();
        ranged(
            &range(at, data.len() as u64, at + data.len() as u64),
            TestBody::halting(&form, 9_000),
        )
    }),
    ("raw", |id, at, data| {
        let place = range(at, data.len() as u64, at + data.len() as u64);
        raw(Some(id), Some(&place), TestBody::halting(&data.to_vec().into(), 9_000))
    }),
];

#[test]
fn a_request_that_is_dropped_anywhere_leaves_the_old_offset_or_the_new_one() {
    let content = noise(120_000);
    for (kind, make) in KINDS {
        on_both_stores(|store, builder| {
            let content = content.clone();
            async move {
                let builder = builder.batch_bytes(20_000).max_batches(2);
                let client = Client::new(ChunkedUploadLayer::new(builder.build().unwrap()));
                let mut polls = 1;
                loop {
                    let name = format!("{kind}, {store}, {polls} polls");
                    let id = client.begin(120_000, &content[..20_001]).await;
                    let request = make(&id, 20_001, &content[20_001..]);
                    let answered = poll_times(client.call(request), polls).await;
                    let offset = client.offset(&id).await;
                    assert!(offset == 20_001 || offset == 120_000, "{name}: {offset}");
                    if let Some(reply) = &answered {
                        assert_eq!((reply.status.as_u16(), offset), (200, 120_000), "{name}");
                    }
                    // What was dropped may still have moved it.
                    let again = client.send(make(&id, 20_001, &content[20_001..])).await;
                    if again.status != 200 {
                        again.refused(400);
                        assert_eq!(again.json()["offset"], 120_000, "{name}: {again:?}");
                    }
                    let reply = client.complete(&id, &md5(&content)).await;
                    assert_eq!(reply.status, 200, "{name}: {reply:?}");
                    assert!(client.deliveries().pop().unwrap().content == content, "{name}");
                    if answered.is_some() {
                        assert!(polls > 10, "{name}");
                        return;
                    }
                    polls += 1;
                }
            }
        });
    }
}

#[test]
fn first_chunks_that_are_dropped_anywhere_leave_nothing_or_a_whole_chunk() {
    let (folder, store) = folder();
    let content = noise(60_000);
    let ids = run(async {
        let builder = Uploads::builder(store).batch_bytes(20_000);
        let client = Client::new(ChunkedUploadLayer::new(builder.build().unwrap()));
        for polls in 1.. {
            let body = TestBody::halting(&content.clone().into(), 9_000);
            let request = raw(None, Some("bytes 0-59999/100000"), body);
            if let Some(reply) = poll_times(client.call(request), polls).await {
                assert_eq!(reply.status, 200, "{reply:?}");
                // One for each piece of the body.
                assert!(polls > 7, "{polls}");
                break;
            }
        }
        client
    });
    drop(ids);
    let files = files_below(folder.path());
    let parts = files.iter().filter(|path| path.extension().is_some_and(|ext| ext == "part"));
    let mut count = 0;
    for part in parts {
        count += 1;
        assert!(std::fs::read(part).unwrap() == content, "{part:?}");
    }
    assert!(count > 0);
    assert_eq!(files.len(), 2 * count, "{files:?}");
}

#[test]
fn a_completion_that_is_dropped_anywhere_completes_once_or_can_be_sent_again() {
    let test = |store: &'static str, builder: UploadsBuilder| async move {
        let delivered = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&delivered);
        let layer = ChunkedUploadLayer::new(builder.build().unwrap());
        let client = Client::around(layer, move |_| {
            let count = Arc::clone(&count);
            async move {
                // So that a request is dropped here, however fast the store is.
                tokio::task::yield_now().await;
                count.fetch_add(1, Ordering::SeqCst);
                Response::new(Full::default())
            }
        });
        for polls in 1.. {
            let name = format!("{store}, {polls} polls");
            let before = delivered.load(Ordering::SeqCst);
            let id = client.upload(b"abc").await;
            let done = poll_times(client.call(complete(&id, &md5(b"abc"))), polls).await.is_some();
            // The one that was left may still be under way.
            loop {
                let reply = client.complete(&id, &md5(b"abc")).await;
                match reply.status.as_u16() {
                    200 => break,
                    400 if reply.refused(400) == "Upload is being completed" => {
                        tokio::task::yield_now().await;
                    }
                    _ => {
                        reply.refused(400);
                        break;
                    }
                }
            }
            assert_eq!(client.status(&id).await.json()["status"], "complete", "{name}");
            assert_eq!(delivered.load(Ordering::SeqCst), before + 1, "{name}");
            if done {
                assert!(polls > 1, "{name}");
                return;
            }
        }
    };
    run_alone(test("memory", Uploads::builder(MemoryStore::new()).takeover_timeout(PATIENCE)));
    let (_folder, store) = folder();
    run_alone(test("folder", Uploads::builder(store).takeover_timeout(PATIENCE)));
}

// --- how much a form may have ---

struct Junk {
    name: &'static str,
    before: Bytes,
    junk: Bytes,
    bound: u64,
}

fn junk() -> Vec<Junk> {
    let kib = |byte: u8| Bytes::from(vec![byte; 1024]);
    let line = |text: &str| Bytes::from(format!("--{}\r\n{text}", Form::BOUNDARY));
    let field = |name: &str, length: usize| Form::new().field(name, &"x".repeat(length)).bytes();
    vec![
        Junk { name: "preamble", before: Bytes::new(), junk: kib(b'x'), bound: 1 << 20 },
        Junk { name: "headers", before: line(""), junk: b"X-A: b\r\n"[..].into(), bound: 16 << 10 },
        Junk { name: "header", before: line("X-A: "), junk: kib(b'x'), bound: 16 << 10 },
        Junk {
            name: "field",
            before: line("Content-Disposition: form-data; name=\"a\"\r\n\r\n"),
            junk: kib(b'x'),
            bound: 64 << 10,
        },
        Junk {
            name: "upload_id",
            before: line("Content-Disposition: form-data; name=\"upload_id\"\r\n\r\n"),
            junk: kib(b'0'),
            bound: 64 << 10,
        },
        Junk { name: "fields", before: Bytes::new(), junk: field("a", 60_000), bound: 320 << 10 },
        Junk {
            name: "names",
            before: Bytes::new(),
            junk: field(&"a".repeat(16_000), 0),
            bound: 300 << 10,
        },
        Junk { name: "parts", before: Bytes::new(), junk: field("a", 1), bound: 128 * 80 },
        Junk {
            name: "parts without a name",
            before: Bytes::new(),
            junk: Form::new().part(b"X-A: b", b"").bytes(),
            bound: 128 * 40,
        },
        Junk {
            name: "other file",
            before: line("Content-Disposition: form-data; name=\"x\"; filename=\"y\"\r\n\r\n"),
            junk: kib(b'x'),
            bound: 1 << 20,
        },
        Junk {
            name: "blanks behind a boundary",
            before: line("")[..14].to_vec().into(),
            junk: kib(b' '),
            bound: 2048,
        },
    ]
}

#[test]
fn what_a_client_can_make_long_is_refused_at_its_bound_and_leaves_nothing() {
    for file_first in [false, true] {
        for Junk { name, before, junk, bound } in junk() {
            if file_first && name == "preamble" {
                continue;
            }
            let (folder, store) = folder();
            run(async {
                let uploads = Uploads::builder(store).build().unwrap();
                let layer = ChunkedUploadLayer::new(uploads).drain(0, Duration::from_secs(10));
                let client = Client::new(layer);
                let mut pieces = Vec::new();
                if file_first {
                    pieces.push(Piece::Data(Form::new().file("a", &noise(100_000)).bytes()));
                }
                pieces.extend([Piece::Data(before), Piece::Endless(junk.clone())]);
                let body = TestBody::new(pieces);
                let mut probe = body.probe();
                client.send(form_request(body)).await.refused(400);
                let read = probe.dropped().await.bytes;
                let most = bound + u64::from(file_first) * 101_000 + 2 * junk.len() as u64 + 1024;
                assert!(read <= most, "{name}: {read} > {most}");
            });
            assert_eq!(files_below(folder.path()), <[&Path; 0]>::default(), "{name}");
        }
    }
}

#[tokio::test]
async fn a_completion_form_is_bounded_too() {
    let client = Client::new(layer().drain(0, Duration::from_secs(10)));
    for Junk { name, before, junk, .. } in junk() {
        for kind in
            [Form::content_type().as_str(), "application/json", "application/x-www-form-urlencoded"]
        {
            let request = post(COMPLETE).header(CONTENT_TYPE, kind);
            let body = TestBody::new([Piece::Data(before.clone()), Piece::Endless(junk.clone())]);
            let mut probe = body.probe();
            client.send(request.body(body).unwrap()).await.refused(413);
            let read = probe.dropped().await.bytes;
            assert!(read <= (64 << 10) + 2 * junk.len() as u64 + 1024, "{name}: {read}");
        }
    }
}

#[test]
fn an_endless_file_is_refused_at_its_bound_and_leaves_nothing() {
    let (folder, store) = folder();
    run(async {
        let uploads = Uploads::builder(store).max_bytes(100_000).build().unwrap();
        let layer = ChunkedUploadLayer::new(uploads).drain(0, Duration::from_secs(10));
        let client = Client::new(layer);
        let head = Form::new().open_file("a");
        let file = || [Piece::Data(head.clone()), Piece::Endless(Bytes::from_static(&[7; 1000]))];
        let data = || [Piece::Endless(Bytes::from_static(&[7; 1000]))];
        for (name, bound, request) in [
            ("limit", 100_000, form_request(TestBody::new(file()))),
            ("limit, raw", 100_000, raw(None, None, TestBody::new(data()))),
            ("range", 50_000, ranged("bytes 0-49999/90000", TestBody::new(file()))),
            ("range, raw", 50_000, raw(None, Some("bytes 0-49999/90000"), TestBody::new(data()))),
            ("range, id to come", 50_000, ranged("bytes 9-50008/90000", TestBody::new(file()))),
        ] {
            let mut probe = request.body().probe();
            client.send(request).await.refused(400);
            let read = probe.dropped().await.bytes;
            assert!(read <= bound + 3000, "{name}: {read}");
        }
    });
    assert_eq!(files_below(folder.path()), <[&Path; 0]>::default());
}

// --- what is said twice ---

#[tokio::test]
async fn what_is_said_twice_and_differently_is_refused() {
    let uploads = in_memory();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let id = client.begin(9, b"abc").await;
    let other = client.begin(9, b"abc").await;
    let place = "bytes 3-5/9";
    let form = |form: Form| ranged(place, TestBody::of(form.end()));
    let new = || Form::new().id(Some(&id));
    let raw_of = |query: &str| raw(Some(query), Some(place), TestBody::of("def"));
    for (name, request) in [
        ("ids", form(new().id(Some(&other)).file("a", b"def"))),
        ("ids around the file", form(new().file("a", b"def").id(Some(&other)))),
        ("ids after the file", form(Form::new().file("a", b"def").id(Some(&id)).id(Some(&other)))),
        ("ids in the query", raw_of(&format!("{id}&upload_id={other}"))),
        ("files", form(new().file("a", b"def").file("b", b"def"))),
        ("files, one empty", form(new().file("a", b"def").file("b", b""))),
        ("ranges", with(form(new().file("a", b"def")), "content-range", "bytes 0-2/9")),
        ("equal ranges", with(form(new().file("a", b"def")), "content-range", place)),
        ("ranges, raw", with(raw_of(&id), "content-range", place)),
        ("types", with(form(new().file("a", b"def")), "content-type", "text/plain")),
        ("types, raw", with(with(raw_of(&id), "content-type", "a/b"), "content-type", "a/b")),
    ] {
        let reply = client.send(request).await;
        assert_eq!(reply.status, 400, "{name}: {reply:?}");
        reply.refused(400);
        assert_eq!((client.offset(&id).await, client.offset(&other).await), (3, 3), "{name}");
    }
    assert_eq!(all_ids(&uploads).await.len(), 2);
    let twice = form(new().id(Some("")).id(Some(&id)).file("a", b"def").id(Some(&id)));
    assert_eq!(client.send(twice).await.json()["offset"], 6);
}

#[tokio::test]
async fn a_form_that_names_its_upload_in_the_query_is_told_where_it_belongs() {
    let client = client();
    let id = client.begin(6, b"abc").await;
    let mut request = chunk(None, 3, 6, b"def");
    *request.uri_mut() = format!("{CHUNK}?upload_id={id}").parse().unwrap();
    let reply = client.send(request).await;
    let detail = reply.refused(400);
    assert_eq!(detail, "A form names its upload in the field 'upload_id', not in the query");
    // A client that goes on from an offset would begin one upload after the other.
    assert_eq!(reply.json().get("offset"), None);
    assert_eq!(client.offset(&id).await, 3);
    // One without any id has only the offset wrong.
    assert_eq!(client.send(chunk(None, 3, 6, b"def")).await.refused(400), "Offsets do not match");
}

#[tokio::test]
async fn a_raw_chunk_with_two_file_names_is_refused() {
    let client = client();
    let request = raw(None, None, TestBody::of("abc"));
    let two = with(request, "content-disposition", "attachment; filename=b");
    client.send(two).await.refused(400);
}

fn completion(kind: &str, body: impl Into<Bytes>) -> Request<TestBody> {
    post(COMPLETE).header(CONTENT_TYPE, kind).body(TestBody::of(body)).unwrap()
}

#[tokio::test]
async fn a_completion_that_contradicts_itself_is_refused() {
    let client = client();
    let (id, other) = (client.upload(b"abc").await, client.upload(b"abd").await);
    let (md5, wrong) = (md5(b"abc"), md5(b"abd"));
    let urlencoded = "application/x-www-form-urlencoded";
    let multipart = Form::content_type();
    for (name, request) in [
        ("ids", completion(urlencoded, format!("upload_id={id}&md5={md5}&upload_id={other}"))),
        ("md5s", completion(urlencoded, format!("upload_id={id}&md5={md5}&md5={wrong}"))),
        ("ids, multipart", {
            let form = Form::new().id(Some(&id)).field("md5", &md5).id(Some(&other));
            completion(&multipart, form.end())
        }),
        ("md5s, multipart", {
            let form = Form::new().id(Some(&id)).field("md5", &md5).field("md5", &wrong);
            completion(&multipart, form.end())
        }),
    ] {
        let reply = client.send(request).await;
        assert_eq!(reply.status, 400, "{name}: {reply:?}");
        reply.refused(400);
    }
    assert!(client.deliveries().is_empty());
    let twice = format!("upload_id={id}&md5=&md5={md5}&upload_id={id}&md5={md5}");
    assert_eq!(client.send(completion(urlencoded, twice)).await.status, 200);
}

#[tokio::test]
async fn a_json_completion_that_contradicts_itself_is_refused() {
    let client = client();
    let (id, other) = (client.upload(b"abc").await, client.upload(b"abd").await);
    let (md5, wrong) = (md5(b"abc"), md5(b"abd"));
    for json in [
        format!(r#"{{"upload_id":"{other}","md5":"{md5}","upload_id":"{id}"}}"#),
        format!(r#"{{"upload_id":"{id}","md5":"{wrong}","md5":"{md5}"}}"#),
    ] {
        client.send(completion("application/json", json)).await.refused(400);
    }
    assert!(client.deliveries().is_empty());
}

#[tokio::test]
async fn a_completion_whose_type_lacks_its_semicolon_is_told_so() {
    let client = client();
    let id = client.upload(b"abc").await;
    let form = Form::new().id(Some(&id)).field("md5", &md5(b"abc")).end();
    let kind = Form::content_type().replace(';', "");
    let detail = client.send(completion(&kind, form)).await.refused(400);
    assert_eq!(detail, "Error in the form: the content type has no valid boundary");
}

#[tokio::test]
async fn a_completion_of_two_types_is_refused() {
    let client = client();
    let id = client.upload(b"abc").await;
    let json = json!({ "upload_id": id, "md5": md5(b"abc") }).to_string();
    let two = with(completion("application/json", json), "content-type", "text/plain");
    client.send(two).await.refused(400);
}

#[tokio::test]
async fn a_completion_may_be_json() {
    let client = client();
    let id = client.upload(b"abc").await;
    let md5 = md5(b"abc");
    for bad in [
        "",
        "null",
        "[]",
        "{",
        "\"x\"",
        "{}",
        "{\"upload_id\":1,\"md5\":2}",
        "\u{FEFF}{}",
        &format!("{{\"upload_id\":[\"{id}\"],\"md5\":\"{md5}\"}}"),
        &format!("{{\"upload_id\":\"{id}\",\"md5\":null}}"),
        &format!("{{\"upload_id\":\"{id}\",\"md5\":\"{md5}\"}}x"),
        &format!("{{\"a\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000)),
    ] {
        client.send(completion("application/json", bad.to_owned())).await.refused(400);
    }
    let json = format!(r#" {{"note":{{"deep":[1]}},"md5":"{md5}","upload_id":"{id}"}} "#);
    let reply = client.send(completion("Application/JSON; charset=utf-8", json.clone())).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(client.deliveries()[0].form, json);
}

#[tokio::test]
async fn a_completion_over_the_limit_is_refused_and_can_be_sent_again() {
    let client = client();
    let id = client.upload(b"abc").await;
    let form = format!("upload_id={id}&md5={}&x=", md5(b"abc"));
    let form = |length: usize| Bytes::from(format!("{form}{:x<1$}", "", length - form.len()));
    let urlencoded = "application/x-www-form-urlencoded";
    for body in [TestBody::of(form(65_537)), TestBody::halting(&form(65_537), 1000)] {
        let request = post(COMPLETE).header(CONTENT_TYPE, urlencoded).body(body).unwrap();
        client.send(request).await.refused(413);
    }
    assert_eq!(client.send(completion(urlencoded, form(65_536))).await.status, 200);
}

// --- races ---

const TASKS: usize = 24;
const ROUNDS: usize = 15;

/// Sends all requests at the same moment, each on a task of its own.
async fn together(client: &Client, requests: Vec<Request<TestBody>>) -> Vec<Reply> {
    let barrier = Arc::new(tokio::sync::Barrier::new(requests.len()));
    let tasks: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let (barrier, reply) = (Arc::clone(&barrier), client.call(request));
            tokio::spawn(async move {
                barrier.wait().await;
                reply.await
            })
        })
        .collect();
    let mut replies = Vec::new();
    for task in tasks {
        replies.push(task.await.unwrap());
    }
    replies
}

#[track_caller]
fn one_winner(name: &str, replies: &[Reply]) -> usize {
    let winners: Vec<_> = (0..replies.len()).filter(|at| replies[*at].status == 200).collect();
    let statuses: Vec<_> = replies.iter().map(|reply| reply.status.as_u16()).collect();
    assert_eq!(winners.len(), 1, "{name}: {statuses:?}");
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        reply.refused(if reply.status == 409 { 409 } else { 400 });
    }
    winners[0]
}

#[test]
fn of_many_completions_at_once_exactly_one_is_handed_over() {
    on_both_stores(|name, builder| async move {
        let client = Client::new(ChunkedUploadLayer::new(builder.build().unwrap()));
        for round in 1..=ROUNDS {
            let id = client.upload(b"abc").await;
            let requests = (0..TASKS).map(|_| complete(&id, &md5(b"abc"))).collect();
            one_winner(name, &together(&client, requests).await);
            assert_eq!(client.deliveries().len(), round, "{name}");
            client.complete(&id, &md5(b"abc")).await.refused(400);
        }
    });
}

#[test]
fn of_many_chunks_for_one_place_exactly_one_is_taken() {
    on_both_stores(|name, builder| async move {
        let client = Client::new(ChunkedUploadLayer::new(builder.build().unwrap()));
        for _ in 0..ROUNDS {
            let id = client.begin(200_003, b"abc").await;
            let contents: Vec<_> =
                (0..TASKS).map(|n| vec![u8::try_from(n).unwrap(); 200_000]).collect();
            let requests = contents.iter().map(|content| {
                let form = Form::new().id(Some(&id)).file("a", content).end();
                ranged("bytes 3-200002/200003", TestBody::halting(&form, 30_000))
            });
            let winner = one_winner(name, &together(&client, requests.collect()).await);
            let content = [b"abc", &contents[winner][..]].concat();
            let reply = client.complete(&id, &md5(&content)).await;
            assert_eq!(reply.status, 200, "{name}: {reply:?}");
            assert!(client.deliveries().pop().unwrap().content == content, "{name}");
        }
    });
}

#[test]
fn an_upload_that_is_completed_and_cancelled_at_once_is_one_of_them() {
    on_both_stores(|name, builder| async move {
        let uploads = builder.build().unwrap();
        let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
        for _ in 0..ROUNDS {
            let before = client.deliveries().len();
            let id = client.upload(b"abc").await;
            let requests = (0..TASKS).map(|n| match n % 3 {
                0 => complete(&id, &md5(b"abc")),
                1 => on_id(Method::DELETE, &id),
                _ => on_id(Method::GET, &id),
            });
            let replies = together(&client, requests.collect()).await;
            let of = |kind: usize, status: u16| {
                let mine = replies.iter().skip(kind).step_by(3);
                mine.filter(|reply| reply.status == status).count()
            };
            assert_eq!(of(0, 200) + of(1, 204), 1, "{name}: {replies:?}");
            assert_eq!(client.deliveries().len() - before, of(0, 200), "{name}");
            let exists = client.status(&id).await.status == 200;
            assert_eq!(exists, of(0, 200) == 1, "{name}");
            for reply in replies.iter().filter(|reply| reply.status.as_u16() >= 400) {
                assert!([400, 404, 409].contains(&reply.status.as_u16()), "{name}: {reply:?}");
                reply.refused(reply.status.as_u16());
            }
        }
    });
}

#[test]
fn uploads_side_by_side_do_not_mix() {
    on_both_stores(|name, builder| async move {
        let builder = builder.batch_bytes(20_000).max_batches(2);
        let client = Client::new(ChunkedUploadLayer::new(builder.build().unwrap()));
        let tasks: Vec<_> = (1..16_usize)
            .map(|n| {
                let client = client.clone();
                tokio::spawn(async move {
                    let content = &noise(200_000 + n)[n..];
                    let id = client.begin(200_000, &content[..n]).await;
                    for (at, end) in [(n, 90_000 + n), (90_000 + n, 200_000)] {
                        let form = Form::new().id(Some(&id)).file("a", &content[at..end]).end();
                        let place = range(at as u64, (end - at) as u64, 200_000);
                        let reply =
                            client.send(ranged(&place, TestBody::halting(&form, 11_000))).await;
                        assert_eq!(reply.status, 200, "{reply:?}");
                    }
                    assert_eq!(client.complete(&id, &md5(content)).await.status, 200);
                    (id, content.to_vec())
                })
            })
            .collect();
        for task in tasks {
            let (id, content) = task.await.unwrap();
            let deliveries = client.deliveries();
            let delivery = deliveries.iter().find(|delivery| delivery.upload.id().as_str() == id);
            assert!(delivery.unwrap().content == content, "{name}");
        }
    });
}

// --- the hand-over ---

/// An application that waits until it is let go on, and counts.
#[derive(Clone)]
struct Hook {
    entered: Arc<Notify>,
    go: Arc<Semaphore>,
    calls: Arc<AtomicUsize>,
}

impl Hook {
    fn new() -> Self {
        Self { entered: Arc::default(), go: Arc::new(Semaphore::new(0)), calls: Arc::default() }
    }

    fn client(&self, uploads: Uploads) -> Client {
        let hook = self.clone();
        Client::around(ChunkedUploadLayer::new(uploads), move |request| {
            let hook = hook.clone();
            async move {
                let upload = request.extensions().get::<CompletedUpload>().cloned().unwrap();
                hook.calls.fetch_add(1, Ordering::SeqCst);
                hook.entered.notify_one();
                hook.go.acquire().await.unwrap().forget();
                Response::new(Full::from(content(&upload).await))
            }
        })
    }
}

#[test]
fn while_the_application_has_a_file_nobody_else_gets_or_changes_it() {
    on_both_stores(|name, builder| async move {
        let hook = Hook::new();
        let client = hook.client(builder.build().unwrap());
        let id = client.upload(b"abc").await;
        let first = client.spawn(complete(&id, &md5(b"abc")));
        hook.entered.notified().await;
        let detail = client.complete(&id, &md5(b"abc")).await.refused(400);
        assert_eq!(detail, "Upload is being completed", "{name}");
        client.cancel(&id).await.refused(400);
        client.chunk(Some(&id), 3, 4, b"d").await.refused(400);
        assert_eq!(client.status(&id).await.json()["status"], "finishing", "{name}");
        hook.go.add_permits(1);
        assert_eq!(first.await.unwrap().body, "abc", "{name}");
        client.complete(&id, &md5(b"abc")).await.refused(400);
        assert_eq!(hook.calls.load(Ordering::SeqCst), 1, "{name}");
    });
}

#[test]
fn a_client_that_leaves_does_not_stop_the_application() {
    on_both_stores(|name, builder| async move {
        let hook = Hook::new();
        let uploads = builder.build().unwrap();
        let client = hook.client(uploads.clone());
        let id = client.upload(b"abc").await;
        let call = client.spawn(complete(&id, &md5(b"abc")));
        hook.entered.notified().await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        hook.go.add_permits(1);
        let id = support::id(&id);
        while uploads.for_operator().status(&id).await.unwrap().status() != Status::Complete {
            tokio::task::yield_now().await;
        }
        assert_eq!(hook.calls.load(Ordering::SeqCst), 1, "{name}");
    });
}

#[test]
fn an_application_that_fails_or_panics_gets_the_file_again() {
    on_both_stores(|name, builder| async move {
        let tries = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&tries);
        let uploads = builder.build().unwrap();
        let client = Client::around(ChunkedUploadLayer::new(uploads), move |request| {
            let tried = count.fetch_add(1, Ordering::SeqCst);
            async move {
                let upload = request.extensions().get::<CompletedUpload>().unwrap();
                assert_eq!(content(upload).await, b"abc");
                let mut response = Response::new(Full::default());
                match tried {
                    0 => *response.status_mut() = StatusCode::BAD_GATEWAY,
                    1 => panic!("the application has a bug"),
                    _ => {}
                }
                response
            }
        });
        let id = client.upload(b"abc").await;
        assert_eq!(client.complete(&id, &md5(b"abc")).await.status, 502, "{name}");
        let panicked = client.spawn(complete(&id, &md5(b"abc"))).await.unwrap_err();
        assert!(panicked.is_panic(), "{name}");
        let reply = client.complete(&id, &md5(b"abc")).await;
        assert_eq!(reply.status, 200, "{name}: {reply:?}");
        assert_eq!(tries.load(Ordering::SeqCst), 3, "{name}");
    });
}

#[test]
fn an_application_that_panics_and_still_has_a_clone_of_the_file_gets_it_again() {
    on_both_stores(|name, builder| async move {
        let kept = Arc::new(Mutex::new(None::<CompletedUpload>));
        let keep = Arc::clone(&kept);
        let uploads = builder.takeover_timeout(Duration::from_millis(20)).build().unwrap();
        let client = Client::around(ChunkedUploadLayer::new(uploads), move |request| {
            let upload = request.extensions().get::<CompletedUpload>().cloned();
            let first = keep.lock().unwrap().replace(upload.unwrap()).is_none();
            async move {
                assert!(!first, "the application has a bug");
                Response::new(Full::default())
            }
        });
        let id = client.upload(b"abc").await;
        let panicked = client.spawn(complete(&id, &md5(b"abc"))).await.unwrap_err();
        assert!(panicked.is_panic(), "{name}");
        let reply = client.complete(&id, &md5(b"abc")).await;
        assert_eq!(reply.status, 200, "{name}: {reply:?}");
    });
}

#[tokio::test]
async fn an_application_that_blames_the_client_has_not_taken_the_file() {
    let client = Client::around(layer(), |_| async {
        let mut response = Response::new(Full::from("we have that one"));
        *response.status_mut() = StatusCode::CONFLICT;
        response
    });
    let id = client.upload(b"abc").await;
    for _ in 0..2 {
        let reply = client.complete(&id, &md5(b"abc")).await;
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (409, &b"we have that one"[..]));
        assert_eq!(client.status(&id).await.json()["status"], "open");
    }
    assert_eq!(client.send(on_id(Method::DELETE, &id)).await.status, 204);
}

#[tokio::test]
async fn an_answer_of_the_application_that_cannot_stand_is_replaced() {
    let store = Double::default();
    let uploads = Uploads::builder(store.clone()).build().unwrap();
    let failing = store.clone();
    let client = Client::around(ChunkedUploadLayer::new(uploads), move |_| {
        failing.fail(Call::Commit(0), 5);
        async { Response::new(Full::from("done")) }
    });
    let id = client.upload(b"abc").await;
    client.complete(&id, &md5(b"abc")).await.refused(500);
    store.mend();
    client.complete(&id, &md5(b"abc")).await.refused(500);
    store.mend();
    assert_eq!(client.cancel(&id).await.status, 204);
}

// --- shutting down ---

#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_chunks_end_and_refuses_new_work() {
    let uploads = in_memory();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let id = client.begin(10, b"abc").await;
    let whole = client.upload(b"abc").await;
    let under_way = Stalled::begin(&client, &id, false).await;
    let closing = uploads.clone();
    let shutdown = tokio::spawn(async move { closing.shutdown(Duration::from_secs(30)).await });
    tokio::task::yield_now().await;

    for request in [
        chunk(None, 0, 3, b"abc"),
        chunk(Some(&id), 3, 10, b"defghij"),
        raw(Some(&id), Some("bytes 3-9/10"), TestBody::of("defghij")),
        on_id(Method::DELETE, &id),
        complete(&whole, &md5(b"abc")),
    ] {
        let reply = client.send(request).await;
        assert_eq!((reply.refused(503).is_empty(), reply.header(RETRY_AFTER)), (false, Some("5")));
    }
    assert_eq!(client.offset(&id).await, 3);
    assert!(!shutdown.is_finished());
    under_way.go_on(false);
    assert_eq!(under_way.end().await.json()["offset"], 10);
    shutdown.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_stops_what_is_stalled_when_its_patience_ends() {
    let uploads = in_memory();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let id = client.begin(10, b"abc").await;
    let stalled = Stalled::begin(&client, &id, true).await;
    let start = Instant::now();
    uploads.shutdown(Duration::from_secs(30)).await;
    assert_eq!(start.elapsed().as_secs(), 30);
    stalled.reply.await.unwrap().refused(503);
    assert_eq!(client.offset(&id).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_the_application() {
    let hook = Hook::new();
    let uploads = in_memory();
    let client = hook.client(uploads.clone());
    let id = client.upload(b"abc").await;
    let reply = client.spawn(complete(&id, &md5(b"abc")));
    hook.entered.notified().await;
    let mut shutdown = Box::pin(uploads.shutdown(Duration::from_secs(1)));
    let early = tokio::time::timeout(Duration::from_secs(60), &mut shutdown).await;
    assert!(early.is_err(), "the application still has the file");
    hook.go.add_permits(1);
    shutdown.await;
    assert_eq!(reply.await.unwrap().body, "abc");
    assert_eq!(client.status(&id).await.json()["status"], "complete");
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending_during_a_shutdown() {
    let uploads = in_memory();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    uploads.shutdown(Duration::ZERO).await;
    let pieces = (0..100).map(|_| Piece::Data(Bytes::from_static(&[7; 1000])));
    let body = TestBody::new(pieces);
    let mut probe = body.probe();
    client.send(raw(None, None, body)).await.refused(503);
    assert_eq!(probe.dropped().await.bytes, 100_000);
}

#[tokio::test]
async fn a_list_shows_nothing_of_a_chunk_that_is_not_acknowledged() {
    let (_folder, store) = folder();
    let uploads = Uploads::builder(store).build().unwrap();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let (more, body) = TestBody::live();
    let mut probe = body.probe();
    let reply = client.spawn(raw(None, None, body));
    more.send(Piece::Data(noise(300_000).into())).unwrap();
    probe.waiting().await;
    assert!(uploads.for_operator().list(Filter::all()).next().await.is_none());
    drop(more);
    assert_eq!(reply.await.unwrap().json()["offset"], 300_000);
    assert_eq!(all_ids(&uploads).await.len(), 1);
}

#[tokio::test]
async fn no_answer_of_the_layer_may_be_cached_or_sniffed() {
    let client = client();
    let id = client.begin(6, b"abc").await;
    for request in [
        chunk(Some(&id), 3, 6, b"def"),
        on_id(Method::GET, &id),
        on_id(Method::GET, NO_ID),
        Request::get(CHUNK).body(TestBody::empty()).unwrap(),
        with(chunk(None, 0, 3, b"abc"), "content-range", "x"),
        on_id(Method::DELETE, &id),
    ] {
        let reply = client.send(request).await;
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{reply:?}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
    }
}
