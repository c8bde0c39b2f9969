//! tus 1.0: files that are sent in parts.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;
#[path = "support/tus.rs"]
mod tus_client;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use tower_chunked_upload::policy::Candidate;
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::tus::Extensions;
use tower_chunked_upload::{
    ChunkedUploadLayer, CompletedUpload, Context, Digest, DigestAlgorithm, ErrorKind, Expiry,
    NewUpload, Owner, Policy, Refusal, Status, Tus, UploadId, Uploads, UploadsBuilder,
};

use support::*;
use tus_client::*;

const PARTIAL: (&str, &str) = ("upload-concat", "partial");

/// Creates a part with these bytes.
async fn part(client: &Client, bytes: &'static str) -> String {
    let headers = [PARTIAL, ("upload-length", &bytes.len().to_string()), ("content-type", BYTES)];
    let reply = client.send(request("POST", "/files", &headers, TestBody::of(bytes))).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let taken = (!bytes.is_empty()).then(|| bytes.len().to_string());
    assert_eq!(reply.header("upload-offset"), taken.as_deref());
    reply.header("location").unwrap().to_owned()
}

/// Creates a part without bytes.
async fn empty_part(client: &Client, length: &str) -> String {
    client.create(&[PARTIAL, ("upload-length", length)]).await
}

async fn join(client: &Client, list: &str, headers: &[(&str, &str)]) -> Reply {
    let list = format!("final;{list}");
    let all = [&[("upload-concat", &*list), ("host", "localhost")], headers].concat();
    client.send(request("POST", "/files", &all, TestBody::empty())).await
}

async fn joined(client: &Client, list: &str) -> String {
    let reply = join(client, list, &[]).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.header("location").unwrap().to_owned()
}

fn served(uploads: UploadsBuilder) -> (Client, Uploads) {
    let uploads = uploads.build().unwrap();
    let layer = ChunkedUploadLayer::new(uploads.clone()).tus(Tus::new("/files"));
    (Client::new(layer), uploads)
}

async fn remove(client: &Client, path: &str) {
    assert_eq!(client.send(request("DELETE", path, &[], TestBody::empty())).await.status, 204);
}

fn contents(client: &Client) -> Vec<String> {
    let deliveries = client.deliveries();
    deliveries.iter().map(|it| String::from_utf8(it.content.clone()).unwrap()).collect()
}

fn id_of(path: &str) -> UploadId {
    id(path.trim_start_matches("/files/"))
}

#[test]
fn parts_are_joined_and_handed_over() {
    on_all_stores(|uploads| async move {
        let client = Client::new(layer(uploads));
        let a = empty_part(&client, "4").await;
        let reply = client.head(&a).await;
        assert_eq!(reply.header("upload-concat"), Some("partial"));
        assert_eq!(reply.header("upload-offset"), Some("0"));
        let all = patch(&a, 0, &[PARTIAL], TestBody::of("sand"));
        assert_eq!(client.send(all).await.header("upload-offset"), Some("4"));
        assert_eq!(client.stands_at(&a).await, "4");
        assert_eq!(client.patch(&a, 4, "").await.status, 204);
        refused(&client.patch(&a, 4, "x").await, 413);
        let b = part(&client, " and foam").await;
        assert!(client.deliveries().is_empty());
        let list = format!("{a} {b}");
        let metadata = ("upload-metadata", "filename c2FuZC50eHQ=");
        let reply = join(&client, &list, &[metadata]).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        assert_eq!(reply.header("upload-offset"), Some("13"));
        let path = reply.header("location").unwrap();
        assert_eq!(contents(&client), ["sand and foam"]);
        assert_eq!(client.deliveries()[0].upload.filename(), "sand.txt");
        let reply = client.head(path).await;
        assert_eq!(reply.header("upload-concat"), Some(&*format!("final;{list}")));
        assert_eq!(reply.header("upload-length"), Some("13"));
        assert_eq!(reply.header("upload-offset"), Some("13"));
        assert_eq!(reply.header("upload-metadata"), Some(metadata.1));
        for (at, bytes) in [(13, "x"), (13, ""), (0, "sand")] {
            assert_eq!(client.patch(path, at, bytes).await.status, 403);
        }
        assert_eq!(client.stands_at(&a).await, "4");
    });
}

#[test]
fn parts_can_be_used_again_and_twice() {
    on_all_stores(|uploads| async move {
        let client = Client::new(layer(uploads));
        let (a, b) = (part(&client, "ab").await, part(&client, "").await);
        let c = part(&client, "cde").await;
        let first = joined(&client, &format!("{c} {a} {b} {c}")).await;
        let second = joined(&client, &format!("http://localhost{a} {c}")).await;
        assert_ne!(first, second);
        assert_eq!(contents(&client), ["cdeabcde", "abcde"]);
        // The answer was lost, and the client tries again.
        assert_eq!(joined(&client, &format!("http://localhost{a} {c}")).await, second);
        assert_eq!(client.deliveries().len(), 2);
        let other = ("upload-metadata", "name YQ==");
        let reply = join(&client, &format!("http://localhost{a} {c}"), &[other]).await;
        assert_ne!(reply.header("location").unwrap(), second);
    });
}

#[test]
fn what_is_joined_can_be_read_in_any_place() {
    use tokio::io::{AsyncReadExt, AsyncSeekExt};

    on_all_stores(|uploads| async move {
        let (client, uploads) = served(uploads);
        let (a, b) = (part(&client, "0123").await, part(&client, "456789").await);
        let path = joined(&client, &format!("{a} {b} {a}")).await;
        let mut reader = uploads.for_owner(None).open(&id_of(&path)).await.unwrap();
        assert_eq!(reader.size(), 14);
        for at in [3, 0, 10, 9, 13, 14] {
            reader.seek(std::io::SeekFrom::Start(at)).await.unwrap();
            let mut rest = String::new();
            reader.read_to_string(&mut rest).await.unwrap();
            assert_eq!(rest, "01234567890123"[usize::try_from(at).unwrap()..]);
        }
    });
}

#[test]
fn a_joined_file_has_a_digest_that_can_be_combined() {
    on_all_stores(|uploads| async move {
        let client = Client::new(layer(uploads.digest_algorithm(DigestAlgorithm::Crc32c)));
        let (a, b) = (part(&client, "1234").await, part(&client, "56789").await);
        let empty = part(&client, "").await;
        joined(&client, &format!("{a} {empty} {b}")).await;
        let digest = client.deliveries()[0].upload.digest();
        assert_eq!(
            digest,
            Digest::from_bytes(DigestAlgorithm::Crc32c, &0xe306_9283_u32.to_be_bytes())
        );
        assert!(digest.is_some());
    });
    on_all_stores(|uploads| async move {
        let client = Client::new(layer(uploads));
        let a = part(&client, "1234").await;
        joined(&client, &a).await;
        joined(&client, &format!("{a} {a}")).await;
        let digests: Vec<_> = client.deliveries().iter().map(|it| it.upload.digest()).collect();
        assert_eq!(digests, [Digest::md5("81dc9bdb52d04dc20036dbd8313ed055"), None]);
    });
}

#[test]
fn a_file_that_is_not_taken_can_be_joined_again() {
    on_all_stores(|uploads| async move {
        let (client, status) = fails_at_first(uploads);
        let (a, b) = (part(&client, "ab").await, part(&client, "c").await);
        let list = format!("{a} {b}");
        let mut location = None;
        for says in [500, 422] {
            status.store(says, Ordering::Relaxed);
            let reply = join(&client, &list, &[]).await;
            assert_eq!((reply.status.as_u16(), &*reply.body), (says, &b"3 bytes"[..]));
            let path = reply.header("location").unwrap().to_owned();
            let reply = client.head(&path).await;
            assert_eq!(reply.header("upload-offset"), None, "{reply:?}");
            assert_eq!(reply.header("upload-length"), Some("3"));
            assert_eq!(*location.get_or_insert(path.clone()), path);
        }
        status.store(200, Ordering::Relaxed);
        assert_eq!(Some(joined(&client, &list).await), location);
        assert_eq!(client.stands_at(&location.unwrap()).await, "3");
    });
}

#[test]
fn unfinished_parts_complete_the_file_with_their_last_byte() {
    on_all_stores(|uploads| async move {
        let client = Client::new(layer(uploads));
        let (a, b) = (empty_part(&client, "4").await, part(&client, " and ").await);
        let c = client.create(&[PARTIAL, ("upload-defer-length", "1")]).await;
        assert_eq!(client.patch(&c, 0, "fo").await.status, 204);
        let path = joined(&client, &format!("{a} {b} {c}")).await;
        let reply = client.head(&path).await;
        assert_eq!((reply.header("upload-offset"), reply.header("upload-length")), (None, None));
        assert!(!reply.headers.contains_key("upload-defer-length"), "{reply:?}");
        refused(&client.patch(&path, 0, "x").await, 403);
        assert_eq!(client.patch(&a, 0, "sand").await.header("upload-offset"), Some("4"));
        assert_eq!(client.stands_at(&a).await, "4");
        assert!(client.deliveries().is_empty());
        let last = patch(&c, 2, &[("upload-length", "4")], TestBody::of("am"));
        let reply = client.send(last).await;
        assert_eq!((reply.status.as_u16(), reply.header("upload-offset")), (204, Some("4")));
        assert_eq!(contents(&client), ["sand and foam"]);
        assert_eq!(client.stands_at(&path).await, "13");
        assert_eq!(client.stands_at(&c).await, "4");
    });
}

#[test]
fn an_empty_request_may_be_the_end_of_the_last_part() {
    on_all_stores(|uploads| async move {
        let client = Client::new(layer(uploads));
        let a = client.create(&[PARTIAL, ("upload-defer-length", "1")]).await;
        let path = joined(&client, &a).await;
        assert_eq!(client.patch(&a, 0, "sand").await.status, 204);
        let end = patch(&a, 4, &[("upload-length", "4")], TestBody::empty());
        assert_eq!(client.send(end).await.header("upload-offset"), Some("4"));
        assert_eq!(contents(&client), ["sand"]);
        assert_eq!(client.stands_at(&path).await, "4");
    });
}

#[test]
fn the_last_byte_of_the_last_part_counts_when_the_application_has_taken_the_file() {
    on_all_stores(|uploads| async move {
        let (client, status) = fails_at_first(uploads);
        let (a, b) = (empty_part(&client, "2").await, empty_part(&client, "3").await);
        let path = joined(&client, &format!("{a} {b}")).await;
        assert_eq!(client.head(&path).await.header("upload-length"), Some("5"));
        assert_eq!(client.patch(&b, 0, "cde").await.header("upload-offset"), Some("3"));
        assert_eq!(client.patch(&a, 0, "ab").await.status, 500);
        assert_eq!(client.stands_at(&b).await, "3");
        assert_eq!(client.stands_at(&a).await, "1");
        assert_eq!(client.head(&path).await.header("upload-offset"), None);
        refused(&client.patch(&a, 1, "B").await, 400);
        assert_eq!(client.patch(&a, 1, "b").await.status, 500);
        status.store(200, Ordering::Relaxed);
        assert_eq!(client.patch(&a, 1, "b").await.header("upload-offset"), Some("2"));
        assert_eq!(client.stands_at(&a).await, "2");
        assert_eq!(client.stands_at(&path).await, "5");
        assert_eq!(client.patch(&a, 2, "").await.status, 204);
    });
}

/// Like that of a whole upload, its length is not kept, or its offset would fall.
#[test]
fn an_empty_request_that_ends_the_last_part_leaves_no_length_if_the_file_is_not_taken() {
    on_all_stores(|uploads| async move {
        let (client, status) = fails_at_first(uploads);
        for (bytes, length) in [("sand", "4"), ("", "0")] {
            status.store(500, Ordering::Relaxed);
            let a = client.create(&[PARTIAL, ("upload-defer-length", "1")]).await;
            let b = part(&client, "foam").await;
            let path = joined(&client, &format!("{b} {a}")).await;
            assert_eq!(client.patch(&a, 0, bytes).await.status, 204);
            let at = length.parse().unwrap();
            let end = || patch(&a, at, &[("upload-length", length)], TestBody::empty());
            assert_eq!(client.send(end()).await.status, 500);
            let reply = client.head(&a).await;
            assert_eq!(reply.header("upload-offset"), Some(length));
            assert_eq!(reply.header("upload-defer-length"), Some("1"));
            status.store(200, Ordering::Relaxed);
            assert_eq!(client.send(end()).await.header("upload-offset"), Some(length));
            assert_eq!(client.head(&a).await.header("upload-length"), Some(length));
            assert_eq!(client.stands_at(&path).await, (4 + at).to_string());
        }
    });
}

#[test]
fn a_part_that_another_file_has_taken_is_still_awaited() {
    on_all_stores(|uploads| async move {
        let (client, status) = fails_at_first(uploads);
        let a = empty_part(&client, "2").await;
        let first = joined(&client, &a).await;
        assert_eq!(client.patch(&a, 0, "ab").await.status, 500);
        status.store(200, Ordering::Relaxed);
        let b = part(&client, "c").await;
        joined(&client, &format!("{a} {b}")).await;
        assert_eq!(client.stands_at(&a).await, "1");
        assert_eq!(client.patch(&a, 1, "b").await.header("upload-offset"), Some("2"));
        assert_eq!(client.stands_at(&first).await, "2");
        assert_eq!(client.stands_at(&a).await, "2");
    });
}

#[test]
fn the_length_of_a_file_is_shown_as_soon_as_those_of_its_parts_are_known() {
    on_all_stores(|uploads| async move {
        let client = Client::new(layer(uploads));
        let (a, b) = (empty_part(&client, "4").await, part(&client, "xy").await);
        let c = client.create(&[PARTIAL, ("upload-defer-length", "1")]).await;
        let path = joined(&client, &format!("{a} {b} {c}")).await;
        assert_eq!(client.head(&path).await.header("upload-length"), None);
        let known = patch(&c, 0, &[("upload-length", "3")], TestBody::of("z"));
        assert_eq!(client.send(known).await.status, 204);
        assert_eq!(client.head(&path).await.header("upload-length"), Some("9"));
    });
}

#[test]
fn a_file_that_was_persisted_needs_its_parts_no_more() {
    let (folder, store) = folder();
    let target = folder.path().join("kept");
    run(async {
        let uploads = Uploads::builder(store).max_bytes_per_owner(4).build().unwrap();
        let layer = ChunkedUploadLayer::new(uploads.clone()).tus(Tus::new("/files"));
        let client = Client::around(layer, move |request| {
            let target = target.clone();
            async move {
                let upload = request.extensions().get::<CompletedUpload>().unwrap().clone();
                upload.persist(&target).await.unwrap();
                http::Response::default()
            }
        });
        let (a, b) = (part(&client, "ab").await, part(&client, "cd").await);
        let path = joined(&client, &format!("{a} {b}")).await;
        assert_eq!(std::fs::read(folder.path().join("kept")).unwrap(), b"abcd");
        remove(&client, &a).await;
        refused(&client.head(&a).await, 404);
        remove(&client, &b).await;
        assert_eq!(client.stands_at(&path).await, "4");
        let parts = files_below(folder.path());
        assert!(parts.iter().all(|it| it.extension().is_none_or(|it| it != "part")), "{parts:?}");
        part(&client, "abcd").await;
    });
}

#[test]
fn parts_that_were_cancelled_go_with_the_file_that_needs_them() {
    on_all_stores(|uploads| async move {
        let (client, uploads) = served(uploads.max_bytes_per_owner(4));
        let a = part(&client, "abcd").await;
        let path = joined(&client, &format!("{a} {a}")).await;
        remove(&client, &a).await;
        refused(&client.head(&a).await, 410);
        remove(&client, &path).await;
        assert_eq!(all_ids(&uploads).await, []);
        part(&client, "abcd").await;
    });
}

#[test]
fn an_unfinished_part_is_awaited_by_one_upload() {
    on_all_stores(|uploads| async move {
        let client = Client::new(layer(uploads));
        let (a, b) = (empty_part(&client, "2").await, part(&client, "c").await);
        let first = joined(&client, &format!("{a} {b}")).await;
        assert_eq!(joined(&client, &format!("{a} {b}")).await, first);
        refused(&join(&client, &format!("{b} {a}"), &[]).await, 423);
        remove(&client, &first).await;
        joined(&client, &format!("{b} {a}")).await;
        assert_eq!(client.patch(&a, 0, "ab").await.status, 204);
        assert_eq!(contents(&client), ["cab"]);
    });
}

#[test]
fn a_part_whose_upload_is_gone_needs_nothing_more() {
    on_all_stores(|uploads| async move {
        let (client, _) = fails_at_first(uploads);
        let a = empty_part(&client, "2").await;
        let path = joined(&client, &a).await;
        assert_eq!(client.patch(&a, 0, "ab").await.status, 500);
        assert_eq!(client.stands_at(&a).await, "1");
        remove(&client, &path).await;
        assert_eq!(client.patch(&a, 1, "b").await.header("upload-offset"), Some("2"));
        assert_eq!(client.stands_at(&a).await, "2");
    });
}

#[test]
fn the_bytes_of_a_part_stay_as_long_as_they_are_needed() {
    on_all_stores(|uploads| async move {
        let (client, uploads) = served(uploads);
        let (a, b) = (part(&client, "ab").await, part(&client, "c").await);
        let path = joined(&client, &format!("{a} {b}")).await;
        remove(&client, &a).await;
        refused(&client.head(&a).await, 410);
        refused(&join(&client, &a, &[]).await, 400);
        let operator = uploads.for_operator();
        operator.delete_expired().await.unwrap();
        let mut file = operator.open(&id_of(&path)).await.unwrap();
        let mut content = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut file, &mut content).await.unwrap();
        assert_eq!(content, "abc");
        drop(file);
        remove(&client, &path).await;
        assert_eq!(operator.delete_expired().await.unwrap().incomplete, 0);
        assert!(operator.open(&id_of(&a)).await.is_err());
        assert_eq!(client.stands_at(&b).await, "1");
    });
}

#[tokio::test]
async fn a_part_expires_on_its_own() {
    let clock = Clock::new();
    let uploads =
        memory().clock(clock.read()).expiry(Expiry::AfterCreation(Duration::from_secs(60)));
    let (client, uploads) = served(uploads);
    let a = part(&client, "ab").await;
    clock.advance(Duration::from_secs(50));
    let path = joined(&client, &a).await;
    clock.advance(Duration::from_secs(20));
    refused(&client.head(&a).await, 410);
    let swept = uploads.delete_expired().await.unwrap();
    assert_eq!((swept.complete, swept.skipped), (0, 1));
    assert_eq!(client.stands_at(&path).await, "2");
    clock.advance(Duration::from_secs(50));
    uploads.delete_expired().await.unwrap();
    let swept = uploads.delete_expired().await.unwrap();
    assert_eq!(swept.skipped, 0);
    refused(&client.head(&path).await, 410);
}

#[test]
fn an_upload_lives_as_long_as_the_part_that_it_waits_for() {
    on_all_stores(|uploads| async move {
        let (clock, life) = (Clock::new(), Duration::from_secs(60));
        let uploads = uploads.clock(clock.read()).expiry(Expiry::AfterLastChunk(life));
        let (client, uploads) = served(uploads);
        let (a, b) = (empty_part(&client, "3").await, empty_part(&client, "1").await);
        let path = joined(&client, &a).await;
        let lost = joined(&client, &b).await;
        for (at, bytes) in ["x", "y"].into_iter().enumerate() {
            clock.advance(life - Duration::from_secs(1));
            assert_eq!(client.patch(&a, at as u64, bytes).await.status, 204);
            uploads.delete_expired().await.unwrap();
        }
        assert_eq!(client.head(&path).await.status, 200);
        refused(&client.head(&lost).await, 410);
        assert_eq!(client.patch(&a, 2, "z").await.status, 204);
        assert_eq!(contents(&client), ["xyz"]);
        assert_eq!(client.stands_at(&path).await, "3");
        clock.advance(life);
        refused(&client.head(&path).await, 410);
    });
}

#[tokio::test]
async fn a_quota_counts_each_byte_once() {
    let (client, uploads) = served(memory().max_bytes_per_owner(8).max_uploads_per_owner(2));
    let (a, b) = (part(&client, "abcd").await, part(&client, "efgh").await);
    let more = request("POST", "/files", &[("upload-length", "1")], TestBody::empty());
    refused(&client.send(more).await, 429);
    joined(&client, &format!("{a} {b}")).await;
    // What the application has taken is not counted.
    part(&client, "abcdefgh").await;
    let swept = uploads.delete_expired().await.unwrap();
    assert_eq!(swept.skipped, 0);
    let more = request("POST", "/files", &[("upload-length", "1")], TestBody::empty());
    refused(&client.send(more).await, 413);
}

#[tokio::test]
async fn the_sum_of_all_parts_is_limited() {
    let client = Client::new(layer(memory().max_bytes(10)));
    let (a, b) = (part(&client, "abcdefgh").await, part(&client, "efg").await);
    refused(&join(&client, &format!("{a} {b}"), &[]).await, 413);
    let deferred = client.create(&[PARTIAL, ("upload-defer-length", "1")]).await;
    joined(&client, &format!("{a} {deferred}")).await;
    let last = patch(&deferred, 0, &[("upload-length", "3")], TestBody::of("xyz"));
    refused(&client.send(last).await, 413);
    assert!(client.deliveries().is_empty());
}

#[tokio::test]
async fn totals_that_overflow_are_too_large() {
    let client = tus();
    let huge = (u64::MAX / 2).to_string();
    let part = empty_part(&client, &(isize::MAX as u64).to_string()).await;
    assert_eq!(huge.len(), 19);
    refused(&join(&client, &format!("{part} {part} {part}"), &[]).await, 413);
}

/// Refuses all files but those of one name.
struct OneName;

impl Policy for OneName {
    async fn authorize(&self, asked: &Context<'_>) -> Result<Option<Owner>, Refusal> {
        let owner = asked.request.headers.get("x-owner");
        Ok(owner.map(|owner| Owner::new(owner.to_str().unwrap())))
    }

    async fn validate(&self, file: &Candidate<'_>) -> Result<(), Refusal> {
        match file.raw_filename {
            "a" => Ok(()),
            _ => Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "not a")),
        }
    }
}

#[tokio::test]
async fn the_application_decides_on_the_file_and_not_on_its_parts() {
    let uploads = memory().build().unwrap();
    let client =
        Client::new(ChunkedUploadLayer::new(uploads).policy(OneName).tus(Tus::new("/files")));
    let a = empty_part(&client, "2").await;
    assert_eq!(client.patch(&a, 0, "ab").await.status, 204);
    refused(&join(&client, &a, &[("upload-metadata", "name Yg==")]).await, 422);
    let reply = join(&client, &a, &[("upload-metadata", "name YQ==")]).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let foreign = join(&client, &a, &[("upload-metadata", "name YQ=="), ("x-owner", "b")]).await;
    refused(&foreign, 400);
}

#[tokio::test]
async fn hostile_lists_are_refused_and_leave_nothing() {
    let (client, uploads) = served(memory());
    let (a, whole) = (part(&client, "ab").await, client.create(&[("upload-length", "4")]).await);
    let taken = joined(&client, &a).await;
    let count = async || all_ids(&uploads).await.len();
    let there = count().await;
    let id = id_of(&a);
    let many = format!("{a} ").repeat(1001);
    for list in [
        "",
        " ",
        "/",
        "../../etc/passwd",
        "/files/../../etc/passwd",
        &taken,
        &whole,
        "/files/",
        &format!("{a} {taken}"),
        &format!("{a} {}", &a[..a.len() - 1]),
        &format!("{a}/"),
        &format!("{a}%00"),
        &format!("/files%2f{id}"),
        &format!("/files//{id}"),
        &format!("/files/./{id}"),
        &format!("http://evil.example{a}"),
        &format!("//localhost{a}"),
        &format!("http://localhost@evil.example{a}"),
        &format!("file://localhost{a}"),
        &format!("{a},{a}"),
        &format!("{a};{a}"),
        &format!("{a}\t{a}"),
        &many,
        &format!("/files/{}", UploadId::random()),
        &a.to_uppercase().replace("FILES", "files"),
    ] {
        // An id may consist of digits.
        if *list != a {
            refused(&join(&client, list, &[]).await, 400);
        }
    }
    for bad in ["final", "Final;/a", "partial;", "partial, partial", "final,/a", "0"] {
        let headers = [("upload-concat", bad), ("upload-length", "4")];
        refused(&client.send(request("POST", "/files", &headers, TestBody::empty())).await, 400);
    }
    let twice = [PARTIAL, PARTIAL, ("upload-length", "4")];
    refused(&client.send(request("POST", "/files", &twice, TestBody::empty())).await, 400);
    refused(&join(&client, &a, &[("upload-length", "2")]).await, 400);
    refused(&join(&client, &a, &[("upload-defer-length", "1")]).await, 400);
    let list = format!("final;{a}");
    let headers = [("upload-concat", &*list), ("content-type", BYTES)];
    refused(&client.send(request("POST", "/files", &headers, TestBody::of("x"))).await, 400);
    assert_eq!(count().await, there);
    assert_eq!(client.deliveries().len(), 1);
}

#[tokio::test]
async fn each_extension_can_be_switched_off() {
    let with = |change: fn(&mut Extensions)| {
        let mut extensions = Extensions::default();
        change(&mut extensions);
        let tus = Tus::new("/files").extensions(extensions);
        Client::new(ChunkedUploadLayer::new(memory().build().unwrap()).tus(tus))
    };
    let client = with(|on| on.concatenation_unfinished = false);
    let (a, b) = (part(&client, "a").await, empty_part(&client, "1").await);
    refused(&join(&client, &format!("{a} {b}"), &[]).await, 400);
    joined(&client, &a).await;
    let client = with(|on| on.concatenation = false);
    let headers = [PARTIAL, ("upload-length", "4")];
    refused(&client.send(request("POST", "/files", &headers, TestBody::empty())).await, 400);
}

#[tokio::test]
async fn a_thousand_parts_are_one_file() {
    let client = tus();
    let a = part(&client, "ab").await;
    let list = format!("{a} ").repeat(1000);
    joined(&client, list.trim_end()).await;
    assert_eq!(contents(&client), ["ab".repeat(1000)]);
}

/// Whichever request finds that all parts are there hands the file over, and no other does.
#[test]
fn parts_that_end_at_the_same_time_are_handed_over_once() {
    on_all_stores(|uploads| async move {
        let client = Client::new(layer(uploads));
        for round in 0..30 {
            let (a, b) = (empty_part(&client, "2").await, empty_part(&client, "2").await);
            let list = format!("{a} {b}");
            let path = if round % 2 == 0 { Some(joined(&client, &list).await) } else { None };
            let both = [(&a, "ab"), (&b, "cd")]
                .map(|(path, bytes)| client.spawn(patch(path, 0, &[PARTIAL], TestBody::of(bytes))));
            let path = match path {
                Some(path) => path,
                None => eventually_joined(&client, &list).await,
            };
            for (part, path) in both.into_iter().zip([&a, &b]) {
                let reply = part.await.unwrap();
                if reply.status != 204 {
                    eventually_sent(&client, path, if path == &a { "ab" } else { "cd" }).await;
                }
            }
            assert_eq!(client.stands_at(&path).await, "4");
            assert_eq!(client.stands_at(&a).await, "2");
            assert_eq!(client.stands_at(&b).await, "2");
            assert_eq!(contents(&client).len(), round + 1);
            assert_eq!(contents(&client)[round], "abcd");
        }
    });
}

/// Parts of unknown length end with an empty request, whose length is not kept before the look.
#[test]
fn parts_whose_ends_are_said_at_the_same_time_are_handed_over_once() {
    run(async {
        let store = Double::default();
        let uploads = Uploads::builder(store.clone()).takeover_timeout(Duration::from_millis(10));
        let owned = uploads.build().unwrap().for_owner(None);
        let mut parts = Vec::new();
        for bytes in [b"ab", b"cd"] {
            let mut append = owned.create(NewUpload::new().part()).await.unwrap();
            append.write(&bytes[..]).await.unwrap();
            parts.push(append.commit().await.unwrap().id);
        }
        let joined = owned.join(NewUpload::new(), &parts).await.unwrap().upload().id;
        let mut leases = Vec::new();
        for part in &parts {
            leases.push(owned.acquire(part).await.unwrap());
        }
        let commits =
            || store.calls().iter().filter(|call| matches!(call, Call::Commit(_))).count();
        let before = commits();
        let gate = store.hold(Call::Commit(0));
        let ends: Vec<_> = leases.into_iter().map(|it| tokio::spawn(it.end_part())).collect();
        until("both parts are about to end", async || commits() == before + 2).await;
        gate.open();
        let mut found = Vec::new();
        for end in ends {
            match end.await.unwrap() {
                Ok(lease) => found.extend(lease),
                // The other one has it.
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Busy | ErrorKind::Superseded));
                }
            }
        }
        assert_eq!(found.iter().map(|it| it.upload().id).collect::<Vec<_>>(), [joined]);
        // The other one may have asked this lease to end.
        drop(found);
        owned.complete(&joined, None).await.unwrap().finish().await.unwrap();
        for (id, size) in [(parts[0], 2), (parts[1], 2), (joined, 4)] {
            let upload = owned.status(&id).await.unwrap();
            assert_eq!((upload.status(), upload.total()), (Status::Complete, Some(size)));
            assert_eq!(
                (upload.progress.ties().awaited_by, upload.progress.ties().ended_at),
                (None, None)
            );
        }
    });
}

/// What its client has said failed with the file that it was for.
#[test]
fn a_part_whose_end_was_not_taken_may_still_grow() {
    on_all_stores(|uploads| async move {
        let (client, status) = fails_at_first(uploads);
        let a = client.create(&[PARTIAL, ("upload-defer-length", "1")]).await;
        let first = joined(&client, &a).await;
        assert_eq!(client.patch(&a, 0, "sand").await.status, 204);
        let end = |at: u64, length| patch(&a, at, &[("upload-length", length)], TestBody::empty());
        assert_eq!(client.send(end(4, "4")).await.status, 500);
        remove(&client, &first).await;
        status.store(200, Ordering::Relaxed);
        let path = joined(&client, &a).await;
        assert_eq!(client.patch(&a, 4, "y").await.status, 204);
        assert_eq!(client.head(&path).await.header("upload-length"), None);
        assert_eq!(client.send(end(5, "5")).await.status, 204);
        assert_eq!(client.stands_at(&path).await, "5");
    });
}

/// Lets other requests go on, also those of the same task.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Joins parts as a client does that tries again.
async fn eventually_joined(client: &Client, list: &str) -> String {
    loop {
        let reply = join(client, list, &[]).await;
        match reply.status.as_u16() {
            201 => return reply.header("location").unwrap().to_owned(),
            423 | 503 => pause().await,
            _ => panic!("{reply:?}"),
        }
    }
}

/// Sends what is missing as a client does that tries again.
async fn eventually_sent(client: &Client, path: &str, bytes: &'static str) {
    loop {
        let at: usize = client.stands_at(path).await.parse().unwrap();
        if at == bytes.len() {
            return;
        }
        let reply = client.patch(path, at as u64, &bytes[at..]).await;
        assert!([204, 409, 423, 503].contains(&reply.status.as_u16()), "{reply:?}");
        pause().await;
    }
}

/// A client joins parts again before the first request is answered, which goes on.
#[test]
fn what_is_joined_twice_at_the_same_time_is_handed_over_once() {
    on_all_stores(|uploads| async move {
        let client = Client::new(layer(uploads));
        for round in 0..20 {
            let (a, b) = (part(&client, "ab").await, part(&client, "c").await);
            let list = format!("final;{a} {b}");
            let twice = [(); 2].map(|()| {
                let headers = [("upload-concat", &*list), ("host", "localhost")];
                client.spawn(request("POST", "/files", &headers, TestBody::empty()))
            });
            for answer in twice {
                let status = answer.await.unwrap().status.as_u16();
                assert!([201, 423, 503].contains(&status), "{status}");
            }
            let path = eventually_joined(&client, &format!("{a} {b}")).await;
            assert_eq!(client.stands_at(&path).await, "3");
            assert_eq!(contents(&client).len(), round + 1);
        }
    });
}

/// Two clients of two servers that share a store join the same parts while those are being sent.
async fn joined_by_two(servers: [UploadsBuilder; 2]) {
    let clients = servers.map(|uploads| Client::new(layer(uploads)));
    for round in 0..20 {
        let [one, two] = &clients;
        let (a, b) = (empty_part(one, "3").await, empty_part(two, "2").await);
        let list = format!("{a} {b}");
        let (first, second, (), ()) = tokio::join!(
            eventually_joined(one, &list),
            eventually_joined(two, &list),
            eventually_sent(two, &a, "abc"),
            eventually_sent(one, &b, "de"),
        );
        assert_eq!(first, second);
        assert_eq!(one.stands_at(&first).await, "5");
        let taken = [contents(one), contents(two)].concat();
        assert_eq!((taken.len(), &*taken[0]), (round + 1, "abcde"));
    }
}

#[test]
fn two_processes_join_the_same_parts_once() {
    let (home, store) = folder();
    let other = FsStore::new(home.path().join("up/%Y/%m/%d"));
    run(joined_by_two([Uploads::builder(store), Uploads::builder(other)]));
}

#[cfg(feature = "object-store")]
#[test]
fn two_nodes_join_the_same_parts_once() {
    use tower_chunked_upload::store::BucketStore;

    run(async {
        let bucket: Arc<dyn object_store::ObjectStore> =
            Arc::new(object_store::memory::InMemory::new());
        let node = async || BucketStore::builder(Arc::clone(&bucket)).connect().await.unwrap();
        joined_by_two([Uploads::builder(node().await), Uploads::builder(node().await)]).await;
    });
}

#[tokio::test]
async fn an_upload_that_has_expired_waits_for_no_part() {
    let (client, uploads) = served(memory());
    let a = empty_part(&client, "2").await;
    let first = joined(&client, &a).await;
    assert_eq!(client.patch(&a, 0, "a").await.status, 204);
    // No sweep has removed it.
    let now = std::time::SystemTime::now();
    uploads.for_operator().set_expires(&id_of(&first), now).await.unwrap();
    assert_ne!(joined(&client, &a).await, first);
    assert_eq!(client.patch(&a, 1, "b").await.status, 204);
    assert_eq!(contents(&client), ["ab"]);
}

#[tokio::test]
async fn an_answer_about_a_part_tells_how_long_the_part_lives() {
    let clock = Clock::new();
    let uploads =
        memory().clock(clock.read()).expiry(Expiry::AfterCreation(Duration::from_secs(600)));
    let (client, _) = fails_at_first(uploads);
    let a = empty_part(&client, "2").await;
    clock.advance(Duration::from_secs(300));
    joined(&client, &a).await;
    let expires = client.head(&a).await.header("upload-expires").unwrap().to_owned();
    let reply = client.patch(&a, 0, "ab").await;
    assert_eq!((reply.status.as_u16(), reply.header("upload-expires")), (500, Some(&*expires)));
}
