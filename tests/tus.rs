//! tus 1.0 through the service.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;
#[path = "support/tus.rs"]
mod tus_client;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tower_chunked_upload::policy::Verification;
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::tus::Extensions;
use tower_chunked_upload::{
    ChunkedUploadLayer, CompletedUpload, Context, Expiry, Owner, Policy, Refusal, Tus, Uploads,
};

use support::*;
use tus_client::*;

#[test]
fn an_upload_is_created_filled_and_handed_over() {
    on_all_stores(|uploads| async move {
        let client = Client::new(layer(uploads));
        let metadata = "filename c2FuZC50eHQ=,filetype dGV4dC9wbGFpbg==,wet";
        let path = client.create(&[("upload-length", "13"), ("upload-metadata", metadata)]).await;
        assert!(path.starts_with("/files/") && path.len() == "/files/".len() + 32, "{path}");
        let reply = client.head(&path).await;
        assert_eq!(reply.header("upload-offset"), Some("0"));
        assert_eq!(reply.header("upload-length"), Some("13"));
        assert_eq!(reply.header("upload-metadata"), Some(metadata));
        assert!(reply.header("upload-expires").unwrap().ends_with(" GMT"), "{reply:?}");
        let reply = client.patch(&path, 0, "sand").await;
        assert_eq!((reply.status.as_u16(), reply.header("upload-offset")), (204, Some("4")));
        assert!(reply.headers.contains_key("upload-expires"), "{reply:?}");
        assert!(client.deliveries().is_empty());
        let reply = client.patch(&path, 4, " and foam").await;
        assert_eq!((reply.status.as_u16(), reply.header("upload-offset")), (204, Some("13")));
        assert!(reply.body.is_empty() && !reply.headers.contains_key("content-type"), "{reply:?}");
        let deliveries = client.deliveries();
        let [delivery] = &deliveries[..] else { panic!("{deliveries:?}") };
        assert_eq!(delivery.content, b"sand and foam");
        assert_eq!(delivery.upload.filename(), "sand.txt");
        assert_eq!(delivery.upload.content_type(), Some("text/plain"));
        assert_eq!(delivery.upload.field("wet"), Some(""));
        assert_eq!(client.stands_at(&path).await, "13");
        assert!(!client.head(&path).await.headers.contains_key("upload-expires"));
        // Nothing more fits, but a repeated empty request does.
        assert_eq!(client.patch(&path, 13, "").await.status, 204);
        refused(&client.patch(&path, 13, "x").await, 413);
        assert_eq!(client.patch(&path, 12, "m").await.header("upload-offset"), Some("13"));
    });
}

#[tokio::test]
async fn options_announce_exactly_what_is_on() {
    let options = |tus: Tus| async move {
        let uploads = memory().max_bytes(1000).build().unwrap();
        let client = Client::new(ChunkedUploadLayer::new(uploads).tus(tus));
        let mut options = request("OPTIONS", "/files", &[], TestBody::empty());
        options.headers_mut().insert("tus-resumable", "0.1".parse().unwrap());
        (client.send(options).await, client)
    };
    let (reply, _) = options(Tus::new("/files")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("tus-version"), Some("1.0.0"));
    assert_eq!(reply.header("tus-max-size"), Some("1000"));
    assert_eq!(reply.header("tus-checksum-algorithm"), Some("sha1,sha256,sha512,md5"));
    assert_eq!(reply.header("tus-resumable"), None);
    assert_eq!(
        reply.header("tus-extension"),
        Some(
            "creation,creation-with-upload,creation-defer-length,expiration,checksum,\
             checksum-trailer,termination,concatenation,concatenation-unfinished"
        )
    );
    let mut off = Extensions::default();
    off.creation_with_upload = false;
    off.creation_defer_length = false;
    off.expiration = false;
    off.checksum = false;
    off.termination = false;
    off.concatenation = false;
    let (reply, client) = options(Tus::new("/files").extensions(off)).await;
    assert_eq!(reply.header("tus-extension"), Some("creation"));
    assert_eq!(reply.header("tus-checksum-algorithm"), None);
    let with_upload = [("upload-length", "4"), ("content-type", BYTES)];
    refused(&client.send(request("POST", "/files", &with_upload, TestBody::of("sand"))).await, 415);
    let deferred = request("POST", "/files", &[("upload-defer-length", "1")], TestBody::empty());
    refused(&client.send(deferred).await, 400);
    let path = client.create(&[("upload-length", "4")]).await;
    assert!(!client.head(&path).await.headers.contains_key("upload-expires"));
    refused(&client.send(request("DELETE", &path, &[], TestBody::empty())).await, 405);
    off.creation = false;
    let (reply, client) = options(Tus::new("/files").extensions(off)).await;
    assert_eq!(reply.header("tus-extension"), None);
    let create = request("POST", "/files", &[("upload-length", "4")], TestBody::empty());
    refused(&client.send(create).await, 405);
}

#[tokio::test]
async fn another_version_does_nothing() {
    let client = tus();
    let path = client.create(&[("upload-length", "4")]).await;
    for version in [None, Some("0.2.2"), Some("1.0"), Some(" 1.0.0,1.0.0")] {
        for (method, path) in
            [("POST", "/files"), ("PATCH", &path), ("HEAD", &path), ("DELETE", &path)]
        {
            let headers = [("upload-length", "4"), ("upload-offset", "0"), ("content-type", BYTES)];
            let mut request = request(method, path, &headers, TestBody::of("sand"));
            request.headers_mut().remove("tus-resumable");
            if let Some(version) = version {
                request.headers_mut().insert("tus-resumable", version.parse().unwrap());
            }
            let reply = client.send(request).await;
            refused(&reply, 412);
            assert_eq!(reply.header("tus-version"), Some("1.0.0"));
        }
    }
    assert_eq!(client.stands_at(&path).await, "0");
}

#[tokio::test]
async fn an_offset_that_does_not_match_is_answered_with_the_right_one() {
    let client = tus();
    let path = client.create(&[("upload-length", "13")]).await;
    assert_eq!(client.patch(&path, 0, "sand").await.status, 204);
    for at in [0, 3, 5, 13, u64::MAX] {
        let reply = client.patch(&path, at, "x").await;
        refused(&reply, 409);
        assert_eq!(reply.header("upload-offset"), Some("4"));
        assert!(reply.headers.contains_key("upload-expires"));
    }
    assert_eq!(client.stands_at(&path).await, "4");
}

#[tokio::test]
async fn headers_in_every_bad_spelling_are_refused() {
    let client = tus();
    let path = client.create(&[("upload-length", "13")]).await;
    let create = async |headers: &[(&str, &str)]| {
        let reply = client.send(request("POST", "/files", headers, TestBody::empty())).await;
        assert!(reply.status.is_client_error(), "{headers:?}: {reply:?}");
    };
    for bad in
        ["", "+5", "-5", "0x5", "5,5", "5.0", "1e3", "18446744073709551616", "9223372036854775808"]
    {
        create(&[("upload-length", bad)]).await;
        if bad != "9223372036854775808" {
            let reply = client
                .send(request(
                    "PATCH",
                    &path,
                    &[("content-type", BYTES), ("upload-offset", bad)],
                    TestBody::of("x"),
                ))
                .await;
            refused(&reply, 400);
        }
        let reply =
            client.send(patch(&path, 0, &[("upload-length", bad)], TestBody::of("x"))).await;
        assert!(reply.status.is_client_error(), "{bad}: {reply:?}");
    }
    create(&[]).await;
    create(&[("upload-length", "5"), ("upload-length", "5")]).await;
    create(&[("upload-length", "5"), ("upload-defer-length", "1")]).await;
    create(&[("upload-defer-length", "2")]).await;
    create(&[("upload-length", "5"), ("upload-concat", "partial,x")]).await;
    for metadata in ["a,,b", "a YQ==,a Yg==", "a Y", "é YQ==", ",", "a  YQ=="] {
        create(&[("upload-length", "5"), ("upload-metadata", metadata)]).await;
    }
    let long = format!("a {}", "QUFB".repeat(2000));
    create(&[("upload-length", "5"), ("upload-metadata", &long)]).await;
    let no_offset = request("PATCH", &path, &[("content-type", BYTES)], TestBody::of("x"));
    refused(&client.send(no_offset).await, 400);
    for media_type in ["text/plain", "application/octet-stream", ""] {
        let headers = [("content-type", media_type), ("upload-offset", "0")];
        refused(&client.send(request("PATCH", &path, &headers, TestBody::of("x"))).await, 415);
    }
    for wrong in
        ["/files/x", "/files/%00", "/files/..", "/files/%2e%2e", &format!("/files/{NO_ID}")]
    {
        refused(&client.patch(wrong, 0, "x").await, 404);
        refused(&client.head(wrong).await, 404);
    }
    for method in ["nonsense", "PATCH ", "GET,PATCH", ""] {
        let headers = [("x-http-method-override", method)];
        let reply = client.send(request("POST", &path, &headers, TestBody::empty())).await;
        assert!(reply.status.is_client_error(), "{method}: {reply:?}");
    }
    assert_eq!(client.stands_at(&path).await, "0");
    assert!(client.deliveries().is_empty());
}

#[tokio::test]
async fn a_method_can_be_overridden() {
    let client = tus();
    let path = client.create(&[("upload-length", "4")]).await;
    let mut patch = patch(&path, 0, &[("x-http-method-override", "PATCH")], TestBody::of("sand"));
    *patch.method_mut() = Method::POST;
    assert_eq!(client.send(patch).await.header("upload-offset"), Some("4"));
    let remove = request("POST", &path, &[("x-http-method-override", "DELETE")], TestBody::empty());
    assert_eq!(client.send(remove).await.status, 204);
    refused(&client.head(&path).await, 404);
}

#[tokio::test]
async fn the_request_that_creates_an_upload_may_bring_bytes() {
    let client = tus();
    let headers = [("upload-length", "13"), ("content-type", BYTES)];
    let reply = client.send(request("POST", "/files", &headers, TestBody::of("sand"))).await;
    assert_eq!((reply.status.as_u16(), reply.header("upload-offset")), (201, Some("4")));
    let path = reply.header("location").unwrap().to_owned();
    assert_eq!(client.patch(&path, 4, " and foam").await.status, 204);
    let whole = request("POST", "/files", &headers, TestBody::of("sand and foam"));
    let reply = client.send(whole).await;
    assert_eq!((reply.status.as_u16(), reply.header("upload-offset")), (201, Some("13")));
    assert_eq!(client.deliveries().len(), 2);
    let long = request("POST", "/files", &headers, TestBody::of("sand and foam!"));
    refused(&client.send(long).await, 413);
    let broken = TestBody::new([Piece::Data("sand".into()), Piece::Fail]);
    refused(&client.send(request("POST", "/files", &headers, broken)).await, 503);
    let other = [("upload-length", "4"), ("content-type", "text/plain")];
    refused(&client.send(request("POST", "/files", &other, TestBody::of("sand"))).await, 415);
    client.create(&other).await;
}

#[test]
fn a_length_may_become_known_later() {
    on_all_stores(|uploads| async move {
        let client = Client::new(layer(uploads.max_bytes(1000)));
        let path = client.create(&[("upload-defer-length", "1")]).await;
        let reply = client.head(&path).await;
        assert_eq!(reply.header("upload-defer-length"), Some("1"));
        assert_eq!(reply.header("upload-length"), None);
        assert_eq!(client.patch(&path, 0, "sand").await.header("upload-offset"), Some("4"));
        let length = |length, bytes: &'static str| {
            patch(&path, 4, &[("upload-length", length)], TestBody::of(bytes))
        };
        refused(&client.send(length("3", "")).await, 400);
        refused(&client.send(length("1001", "x")).await, 413);
        assert_eq!(client.send(length("13", "")).await.header("upload-offset"), Some("4"));
        refused(&client.send(length("14", "x")).await, 400);
        assert_eq!(client.head(&path).await.header("upload-length"), Some("13"));
        assert_eq!(client.patch(&path, 4, " and foam").await.status, 204);
        assert_eq!(client.deliveries().len(), 1);
        // Without a length, too, the limit holds.
        let path = client.create(&[("upload-defer-length", "1")]).await;
        let long = TestBody::new([Piece::Data(vec![0; 1001].into())]);
        refused(&client.send(patch(&path, 0, &[], long)).await, 413);
        assert_eq!(client.stands_at(&path).await, "0");
    });
}

#[test]
fn a_cut_keeps_every_byte() {
    on_all_stores(|uploads| async move {
        let client = Client::new(layer(uploads));
        let path = client.create(&[("upload-length", "2000000")]).await;
        let content = noise(2_000_000);
        let mut at = 0;
        for length in [1, 4095, 4096, 300_001, 524_288, 600_000] {
            let bytes = Bytes::copy_from_slice(&content[at..at + length]);
            let body = TestBody::new([Piece::Data(bytes), Piece::Fail]);
            refused(&client.send(patch(&path, at as u64, &[], body)).await, 503);
            at += length;
            assert_eq!(client.stands_at(&path).await, at.to_string());
        }
        let rest = TestBody::of(content[at..].to_vec());
        assert_eq!(client.send(patch(&path, at as u64, &[], rest)).await.status, 204);
        assert!(client.deliveries()[0].content == content);
    });
}

#[test]
fn a_request_that_is_dropped_keeps_every_byte() {
    on_all_stores(|uploads| async move {
        let client = Client::new(layer(uploads));
        let path = client.create(&[("upload-length", "13")]).await;
        let (more, body) = TestBody::live();
        let mut probe = body.probe();
        let dropped = client.spawn(patch(&path, 0, &[], body));
        more.send(Piece::Data("sand".into())).unwrap();
        probe.waiting().await;
        dropped.abort();
        drop(dropped.await);
        until("the bytes are there", async || client.stands_at(&path).await == "4").await;
        assert_eq!(client.patch(&path, 4, " and foam").await.status, 204);
    });
}

#[tokio::test(start_paused = true)]
async fn the_offset_grows_while_bytes_come_slowly() {
    let client = tus();
    let path = client.create(&[("upload-length", "100")]).await;
    let (more, body) = TestBody::live();
    let _patching = client.spawn(patch(&path, 0, &[], body));
    for second in 1..5 {
        for _ in 0..10 {
            more.send(Piece::Data("x".into())).unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let offset: u64 = client.stands_at(&path).await.parse().unwrap();
        assert!(offset > (second - 1) * 10 && offset <= second * 10, "{second}: {offset}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_does_not_expire_while_bytes_come() {
    let clock = Clock::new();
    let life = Duration::from_secs(60);
    let uploads = memory().clock(clock.read()).expiry(Expiry::AfterLastChunk(life));
    let client = Client::new(layer(uploads));
    let path = client.create(&[("upload-length", "100")]).await;
    let (more, body) = TestBody::live();
    let _patching = client.spawn(patch(&path, 0, &[], body));
    for offset in 1..4 {
        more.send(Piece::Data("x".into())).unwrap();
        until("it is kept", async || client.stands_at(&path).await == offset.to_string()).await;
        clock.advance(life * 2 / 3);
    }
}

#[tokio::test(start_paused = true)]
async fn the_newest_request_takes_over_at_once() {
    let client = tus();
    let path = client.create(&[("upload-length", "13")]).await;
    let (more, body) = TestBody::live();
    let mut probe = body.probe();
    let stalled = client.spawn(patch(&path, 0, &[], body));
    more.send(Piece::Data("sand".into())).unwrap();
    probe.waiting().await;
    // It is told where the upload stands without waiting for anybody.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = tokio::time::Instant::now();
    assert_eq!(client.stands_at(&path).await, "4");
    assert_eq!(client.patch(&path, 4, " and").await.header("upload-offset"), Some("8"));
    assert_eq!(start.elapsed(), Duration::ZERO);
    refused(&stalled.await.unwrap(), 503);
    assert_eq!(client.stands_at(&path).await, "8");
}

/// Two nodes may begin to write behind one byte. After a 403 clients would give up, though the
/// application may have the file.
#[cfg(feature = "object-store")]
#[tokio::test(start_paused = true)]
async fn a_request_that_another_node_overtakes_is_told_where_the_upload_stands() {
    let [slow, fast] = two_nodes().await;
    for (bytes, stands) in [(" and", "8"), (" and foam", "13")] {
        let path = slow.create(&[("upload-length", "13")]).await;
        assert_eq!(slow.patch(&path, 0, "sand").await.status, 204);
        let (more, body) = TestBody::live();
        let mut probe = body.probe();
        let late = slow.spawn(patch(&path, 4, &[], body));
        probe.waiting().await;
        assert_eq!(fast.patch(&path, 4, bytes).await.status, 204);
        more.send(Piece::Data(" and foam".into())).unwrap();
        drop(more);
        let reply = late.await.unwrap();
        refused(&reply, 409);
        assert_eq!(reply.header("upload-offset"), Some(stands));
        assert_eq!(fast.stands_at(&path).await, stands);
    }
}

/// A connection has died, and its node notices when the client is back at another one.
#[cfg(feature = "object-store")]
#[tokio::test(start_paused = true)]
async fn a_request_that_ends_late_takes_no_byte_from_a_newer_one_on_another_node() {
    let [old, new] = two_nodes().await;
    let path = old.create(&[("upload-length", "13")]).await;
    let (dead, body) = TestBody::live();
    let older = old.spawn(patch(&path, 0, &[], body));
    dead.send(Piece::Data("sand".into())).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(new.stands_at(&path).await, "4");

    let (more, body) = TestBody::live();
    let mut probe = body.probe();
    let newer = new.spawn(patch(&path, 4, &[], body));
    probe.waiting().await;
    dead.send(Piece::Fail).unwrap();
    refused(&older.await.unwrap(), 503);
    more.send(Piece::Data(" and".into())).unwrap();
    drop(more);
    assert_eq!(newer.await.unwrap().status, 204);
    assert_eq!(new.stands_at(&path).await, "8");
}

#[cfg(feature = "object-store")]
async fn two_nodes() -> [Client; 2] {
    let bucket = Arc::new(object_store::memory::InMemory::new());
    let node = async || {
        let bucket = Arc::<object_store::memory::InMemory>::clone(&bucket);
        let store = tower_chunked_upload::store::BucketStore::builder(bucket);
        Client::new(layer(Uploads::builder(store.connect().await.unwrap())))
    };
    [node().await, node().await]
}

#[test]
fn a_request_with_a_checksum_is_taken_whole_or_not_at_all() {
    on_all_stores(|uploads| async move {
        let client = Client::new(layer(uploads));
        let path = client.create(&[("upload-length", "26")]).await;
        let right = "sha1 vn8RjDp8U+TpFn844zWbu7fvZBA=";
        let send = async |checksum, bytes: &'static str| {
            let headers = [("upload-checksum", checksum)];
            client.send(patch(&path, 0, &headers, TestBody::of(bytes))).await
        };
        refused(&send(right, "sand and fOam").await, 460);
        refused(&send(right, "").await, 460);
        refused(&send("sha1 AAAA", "sand and foam").await, 460);
        refused(&send("sha1 !", "sand and foam").await, 400);
        refused(&send("rot13 AAAA", "sand and foam").await, 400);
        let cut = TestBody::new([Piece::Data("sand and foam".into()), Piece::Fail]);
        let cut = patch(&path, 0, &[("upload-checksum", right)], cut);
        refused(&client.send(cut).await, 503);
        assert_eq!(client.stands_at(&path).await, "0");
        assert_eq!(send(right, "sand and foam").await.header("upload-offset"), Some("13"));
        let trailer = async |checksum: &str| {
            let mut trailers = HeaderMap::new();
            trailers.insert("upload-checksum", checksum.parse().unwrap());
            let pieces = [Piece::Data("sand and foam".into()), Piece::TrailersOf(trailers)];
            let headers = [("trailer", "Other, Upload-Checksum")];
            client.send(patch(&path, 13, &headers, TestBody::new(pieces))).await
        };
        refused(&trailer("sha256 AAAA").await, 460);
        refused(&trailer("md5").await, 400);
        let missing = TestBody::new([Piece::Data("sand and foam".into())]);
        let missing = patch(&path, 13, &[("trailer", "upload-checksum")], missing);
        refused(&client.send(missing).await, 503);
        assert_eq!(client.stands_at(&path).await, "13");
        assert_eq!(trailer(right).await.header("upload-offset"), Some("26"));
        assert_eq!(client.deliveries()[0].content, b"sand and foamsand and foam");
    });
}

#[test]
fn the_last_byte_counts_when_the_application_has_taken_the_file() {
    on_all_stores(|uploads| async move {
        let (client, status) = fails_at_first(uploads);
        let path = client.create(&[("upload-length", "4")]).await;
        for says in [500, 422, 404] {
            status.store(says, Ordering::Relaxed);
            let at = if says == 500 { 0 } else { 3 };
            let reply = client.patch(&path, at, if at == 0 { "sand" } else { "d" }).await;
            assert_eq!((reply.status.as_u16(), &*reply.body), (says, &b"4 bytes"[..]));
            assert_eq!(reply.header("x-saved-as"), Some("a"));
            assert_eq!(reply.header("tus-resumable"), Some("1.0.0"));
            assert_eq!(reply.header("upload-offset"), None);
            assert!(reply.headers.contains_key("upload-expires"), "{reply:?}");
            assert_eq!(client.stands_at(&path).await, "3");
        }
        refused(&client.patch(&path, 3, "D").await, 400);
        refused(&client.patch(&path, 3, "dd").await, 413);
        refused(&client.patch(&path, 4, "").await, 409);
        assert_eq!(client.patch(&path, 3, "").await.header("upload-offset"), Some("3"));
        let wrong = patch(&path, 3, &[("upload-checksum", "md5 AAAA")], TestBody::of("d"));
        refused(&client.send(wrong).await, 460);
        status.store(303, Ordering::Relaxed);
        let reply = client.patch(&path, 3, "d").await;
        assert_eq!((reply.status.as_u16(), reply.header("upload-offset")), (204, Some("4")));
        assert!(!reply.headers.contains_key("upload-expires"), "{reply:?}");
        assert_eq!(reply.header("x-saved-as"), Some("a"));
        assert!(reply.body.is_empty());
        assert_eq!(client.stands_at(&path).await, "4");
    });
}

#[test]
fn an_empty_request_that_ends_an_upload_leaves_no_length_if_it_fails() {
    on_all_stores(|uploads| async move {
        let (client, status) = fails_at_first(uploads);
        let path = client.create(&[("upload-defer-length", "1")]).await;
        assert_eq!(client.patch(&path, 0, "sand").await.status, 204);
        let end = || patch(&path, 4, &[("upload-length", "4")], TestBody::empty());
        assert_eq!(client.send(end()).await.status, 500);
        let reply = client.head(&path).await;
        assert_eq!(reply.header("upload-offset"), Some("4"));
        assert_eq!(reply.header("upload-defer-length"), Some("1"));
        let more = patch(&path, 4, &[("upload-length", "4")], TestBody::of("x"));
        refused(&client.send(more).await, 413);
        status.store(200, Ordering::Relaxed);
        assert_eq!(client.send(end()).await.header("upload-offset"), Some("4"));
        assert_eq!(client.head(&path).await.header("upload-length"), Some("4"));
    });
}

#[test]
fn an_empty_file_that_is_not_taken_is_not_made() {
    on_all_stores(|uploads| async move {
        let (client, status) = fails_at_first(uploads);
        let create = || request("POST", "/files", &[("upload-length", "0")], TestBody::empty());
        let reply = client.send(create()).await;
        assert_eq!(reply.status, 500);
        refused(&client.head(reply.header("location").unwrap()).await, 404);
        status.store(200, Ordering::Relaxed);
        let reply = client.send(create()).await;
        assert_eq!(reply.status, 201);
        assert_eq!(client.stands_at(reply.header("location").unwrap()).await, "0");
    });
}

struct Rejects;

impl Policy for Rejects {
    async fn verify(&self, _: &Verification<'_>) -> Result<(), Refusal> {
        Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "not this one"))
    }
}

#[tokio::test]
async fn a_file_that_the_policy_rejects_can_be_found_again() {
    let client = Client::new(layer(memory()).policy(Rejects));
    let headers = [("upload-length", "4"), ("content-type", BYTES)];
    let reply = client.send(request("POST", "/files", &headers, TestBody::of("sand"))).await;
    assert_eq!(refused(&reply, 422), "not this one");
    let path = reply.header("location").unwrap();
    assert_eq!(client.stands_at(path).await, "3");
    let reply = client.patch(path, 3, "d").await;
    refused(&reply, 422);
    assert!(reply.headers.contains_key("upload-expires"), "{reply:?}");
    assert!(client.deliveries().is_empty());
}

#[tokio::test]
async fn the_body_of_the_application_may_pass() {
    let tus = Tus::new("/files").response_body(true);
    let client = Client::new(ChunkedUploadLayer::new(in_memory()).tus(tus));
    let path = client.create(&[("upload-length", "4")]).await;
    let reply = client.patch(&path, 0, "sand").await;
    assert_eq!((reply.status.as_u16(), reply.header("upload-offset")), (200, Some("4")));
    assert_eq!(reply.json()["saved"], true);
}

#[tokio::test]
async fn while_the_application_has_the_file_others_are_told_to_wait() {
    let (entered, is_entered) = tokio::sync::oneshot::channel();
    let (leave, may_leave) = tokio::sync::oneshot::channel::<()>();
    let once = Arc::new(std::sync::Mutex::new(Some((entered, may_leave))));
    let client = Client::around(layer(memory()), move |_| {
        let once = once.lock().unwrap().take();
        async move {
            if let Some((entered, may_leave)) = once {
                entered.send(()).unwrap();
                may_leave.await.unwrap();
            }
            Response::new(Full::default())
        }
    });
    let path = client.create(&[("upload-length", "4")]).await;
    let last = client.spawn(patch(&path, 0, &[], TestBody::of("sand")));
    is_entered.await.unwrap();
    for reply in [client.head(&path).await, client.patch(&path, 3, "d").await] {
        refused(&reply, 423);
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    leave.send(()).unwrap();
    assert_eq!(last.await.unwrap().status, 204);
    assert_eq!(client.stands_at(&path).await, "4");
}

#[test]
fn an_upload_can_be_removed_at_any_time() {
    on_all_stores(|uploads| async move {
        let client = Client::new(layer(uploads));
        let remove =
            async |path: &str| client.send(request("DELETE", path, &[], TestBody::empty())).await;
        for bytes in ["", "san", "sand"] {
            let path = client.create(&[("upload-length", "4")]).await;
            client.patch(&path, 0, bytes).await;
            assert_eq!(remove(&path).await.status, 204);
            refused(&client.head(&path).await, 404);
            refused(&client.patch(&path, 0, "sand").await, 404);
            refused(&remove(&path).await, 404);
        }
        // A request that is under way does not bring it back.
        let path = client.create(&[("upload-length", "4")]).await;
        let (more, body) = TestBody::live();
        let mut probe = body.probe();
        let patching = client.spawn(patch(&path, 0, &[], body));
        more.send(Piece::Data("sa".into())).unwrap();
        probe.waiting().await;
        assert_eq!(remove(&path).await.status, 204);
        refused(&patching.await.unwrap(), 503);
        refused(&client.head(&path).await, 404);
    });
}

#[tokio::test]
async fn a_location_is_a_path_unless_it_is_set() {
    let located = async |tus: Tus, headers: &[(&str, &str)]| {
        let client = Client::new(ChunkedUploadLayer::new(in_memory()).tus(tus));
        let mut all = vec![("upload-length", "4"), ("host", "x.org:81")];
        all.extend_from_slice(headers);
        let path = client.create(&all).await;
        path[..path.len() - 32].to_owned()
    };
    let forwarded = [("x-forwarded-host", "y.org, z.org"), ("x-forwarded-proto", "https")];
    let tus = || Tus::new("/files");
    assert_eq!(located(tus(), &forwarded).await, "/files/");
    assert_eq!(located(tus().public_url("/up/files/"), &forwarded).await, "/up/files/");
    let public = tus().public_url("https://y.org/up");
    assert_eq!(located(public, &[]).await, "https://y.org/up/");
    assert_eq!(located(tus().absolute_urls(false), &forwarded).await, "http://x.org:81/files/");
    assert_eq!(located(tus().absolute_urls(true), &forwarded).await, "https://y.org/files/");
}

struct Users;

impl Policy for Users {
    async fn authorize(&self, asked: &Context<'_>) -> Result<Option<Owner>, Refusal> {
        let name = asked.request.headers.get("x-user").and_then(|name| name.to_str().ok());
        name.map(|name| Some(Owner::new(name))).ok_or_else(Refusal::unauthenticated)
    }
}

#[tokio::test]
async fn an_upload_belongs_to_its_owner_and_its_protocol() {
    let uploads = in_memory();
    let client =
        Client::new(ChunkedUploadLayer::new(uploads.clone()).tus(Tus::new("/files")).policy(Users));
    let create = request("POST", "/files", &[("upload-length", "4")], TestBody::empty());
    refused(&client.send(create).await, 401);
    let path = client.create(&[("upload-length", "4"), ("x-user", "a")]).await;
    let head = async |user| {
        client.send(request("HEAD", &path, &[("x-user", user)], TestBody::empty())).await
    };
    assert_eq!(head("a").await.status, 200);
    refused(&head("b").await, 404);
    let wrong = patch(&path, 0, &[("x-user", "b")], TestBody::of("sand"));
    refused(&client.send(wrong).await, 404);

    let client = Client::new(ChunkedUploadLayer::new(in_memory()).tus(Tus::new("/files")));
    let chunked = client.begin(10, b"abc").await;
    refused(&client.head(&format!("/files/{chunked}")).await, 404);
    let path = client.create(&[("upload-length", "4")]).await;
    let id = path.trim_start_matches("/files/");
    client.chunk(Some(id), 0, 4, b"sand").await.refused(404);
    client.status(id).await.refused(404);
    client.complete(id, &md5(b"")).await.refused(404);
    assert_eq!(client.stands_at(&path).await, "0");
}

#[tokio::test]
async fn an_upload_expires() {
    let clock = Clock::new();
    let uploads = memory().expires_after(Duration::from_secs(60)).clock(clock.read());
    let client = Client::new(layer(uploads));
    let path = client.create(&[("upload-length", "4")]).await;
    clock.advance(Duration::from_secs(61));
    refused(&client.head(&path).await, 410);
    refused(&client.patch(&path, 0, "sand").await, 410);
}

#[tokio::test]
async fn a_store_that_fails_makes_no_client_begin_anew() {
    let store = Double::default();
    let client = Client::new(layer(Uploads::builder(store.clone())));
    let path = client.create(&[("upload-length", "4")]).await;
    store.fail(Call::Load, 5);
    let reply = client.head(&path).await;
    refused(&reply, 423);
    assert_eq!(reply.headers.get_all("retry-after").iter().count(), 1);
    store.mend();
    let path = client.create(&[("upload-length", "1000000")]).await;
    store.fail(Call::Commit(1), 5);
    let bytes = TestBody::of(noise(1_000_000));
    refused(&client.send(patch(&path, 0, &[], bytes)).await, 500);
    store.mend();
    assert_eq!(client.stands_at(&path).await, "0");
}

#[tokio::test]
async fn bytes_with_a_content_coding_are_not_taken() {
    let client = tus();
    let path = client.create(&[("upload-length", "4")]).await;
    let encoded = patch(&path, 0, &[("content-encoding", "gzip")], TestBody::of("sand"));
    refused(&client.send(encoded).await, 415);
    let plain = patch(&path, 0, &[("content-encoding", "identity")], TestBody::of("sand"));
    assert_eq!(client.send(plain).await.status, 204);
}

#[tokio::test]
async fn requests_that_are_not_of_the_protocol_reach_the_application() {
    let client = tus();
    for (method, path) in
        [("GET", "/files"), ("GET", "/files/x"), ("POST", "/files"), ("PUT", "/files/x")]
    {
        let request =
            Request::builder().method(method).uri(path).body(TestBody::of("a=b")).unwrap();
        let reply = client.send(request).await;
        assert_eq!((reply.status.as_u16(), reply.body), (200, format!("inner {path}").into()));
    }
}

#[test]
fn a_file_store_has_no_bytes_left_of_what_was_removed() {
    let (folder, store) = folder();
    run(async {
        let client = Client::new(layer(Uploads::builder(FsStore::clone(&store))));
        let path = client.create(&[("upload-length", "4")]).await;
        client.patch(&path, 0, "sand").await;
        client.send(request("DELETE", &path, &[], TestBody::empty())).await;
    });
    assert_eq!(files_below(folder.path()), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn it_can_be_mounted_and_nested() {
    use axum::Router;
    use axum::routing::post;
    use tower::ServiceExt;

    async fn done(upload: CompletedUpload) -> String {
        upload.filename().to_owned()
    }

    let dialect = || Tus::new("/").public_url("/api/files");
    let layer = |tus| ChunkedUploadLayer::new(in_memory()).tus(tus);
    let mounted = layer(dialect()).mount(post(done));
    let routed = Tus::new("/files").handler_path("/done").public_url("/api/files");
    let routed = layer(routed).around(Router::new().route("/done", post(done)));
    for app in [
        Router::new().nest_service("/api/files", mounted.clone()),
        Router::new().nest("/api", Router::new().nest_service("/files", mounted)),
        Router::new().nest_service("/api", routed),
    ] {
        let send = async |request: Request<TestBody>| {
            let request = request.map(axum::body::Body::new);
            let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
            let body = axum::body::to_bytes(body, 1000).await.unwrap();
            Reply { status: parts.status, headers: parts.headers, body }
        };
        let create = [("upload-length", "4")];
        let reply = send(request("POST", "/api/files", &create, TestBody::empty())).await;
        let path = reply.header("location").unwrap().to_owned();
        assert!(path.starts_with("/api/files/"), "{path}");
        let reply = send(patch(&path, 0, &[], TestBody::of("sand"))).await;
        assert_eq!((reply.status.as_u16(), reply.header("upload-offset")), (204, Some("4")));
        let reply = send(request("HEAD", &path, &[], TestBody::empty())).await;
        assert_eq!(reply.header("upload-offset"), Some("4"));
    }
}
