//! Digests of a request's content and of the whole.

use http::HeaderMap;

use super::*;

/// The SHA-256 of ` and foam`, and of `sand and foam`.
const FOAM: &str = "sha-256=:f6dk1TsscmXmmugN6c6MTvHNm09CYdyjpkWH9/5Ai/0=:";
const WHOLE: &str = "sha-256=:nfhuPWYBhsu0b/TNK5i0GFVG8eZ+XPo4Onj+kfJZpWM=:";
const SHA_512: &str = "sha-512=:AAAA:";

fn with_trailers(bytes: &'static str, name: &'static str, value: &str) -> TestBody {
    let trailers =
        HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())]);
    TestBody::new([Piece::Data(bytes.into()), Piece::TrailersOf(trailers)])
}

#[test]
fn the_digest_of_content_is_that_or_nothing_is_kept() {
    on_all_stores(|uploads| async move {
        let app = App::new(layer(uploads));
        let path = app.begin(&[], "sand").await;
        let with = |bytes: &'static str, sum: &str| {
            let mut request = patch(&path, 4, MORE, TestBody::of(bytes));
            request.headers_mut().insert("content-digest", sum.parse().unwrap());
            request
        };
        for (bytes, sum, kind) in [
            (" and fOam", FOAM, "digest-mismatching-values"),
            (" and foam", "sha-256=:AAAA:", "digest-invalid-values"),
            (" and foam", "sha-256=5", "digest-invalid-values"),
            (" and foam", "sha-256", "digest-invalid-values"),
            (" and foam", &format!("{FOAM}, {SHA_512}"), "digest-invalid-values"),
        ] {
            refused(&app.send(with(bytes, sum)).await, 400, Some(kind));
            assert_eq!(app.stands_at(&path).await.0, "4", "{bytes} {sum}");
        }
        let known = format!("md5=:AAAA:, {FOAM}");
        let reply = app.send(with(" and foam", &known)).await;
        assert_eq!((reply.status.as_u16(), reply.header("upload-offset")), (204, Some("13")));
    });
}

#[tokio::test]
async fn a_wrong_digest_is_named() {
    let app = App::new(layer(memory()));
    let headers = [MORE, ("content-digest", FOAM)];
    let reply = app.send(request("POST", "/inbox", &headers, TestBody::of("sand"))).await;
    refused(&reply, 400, Some("digest-mismatching-values"));
    assert_eq!(
        reply.json()["mismatching-digests"],
        serde_json::json!([{
            "algorithm": "sha-256",
            "provided-digest": FOAM.strip_prefix("sha-256=").unwrap(),
            "header": "content-digest",
        }]),
    );
}

#[tokio::test]
async fn the_digest_of_content_may_follow_it() {
    let app = App::new(layer(memory()));
    let path = app.begin(&[], "sand").await;
    let send = |body: TestBody| {
        let headers = [PARTIAL, ("upload-offset", "4"), MORE, ("trailer", "x, Content-Digest")];
        app.send(request("PATCH", &path, &headers, body))
    };
    let wrong = send(with_trailers(" and fOam", "content-digest", FOAM)).await;
    refused(&wrong, 400, Some("digest-mismatching-values"));
    let invalid = send(with_trailers(" and foam", "content-digest", "sha-256=5")).await;
    refused(&invalid, 400, Some("digest-invalid-values"));
    // What was announced and does not come cannot be right.
    refused(&send(TestBody::of(" and foam")).await, 503, None);
    assert_eq!(app.stands_at(&path).await.0, "4");
    let right = send(with_trailers(" and foam", "content-digest", FOAM)).await;
    assert_eq!((right.status.as_u16(), right.header("upload-offset")), (204, Some("13")));
}

#[test]
fn the_digest_of_the_whole_is_compared_at_the_end() {
    on_all_stores(|uploads| async move {
        let app = App::new(layer(uploads));
        for (first, last, status) in [
            (Some(WHOLE), None, 200),
            (None, Some(WHOLE), 200),
            (Some(WHOLE), Some(WHOLE), 200),
            (Some(FOAM), None, 400),
            (None, Some(FOAM), 400),
            (Some(WHOLE), Some(FOAM), 400),
        ] {
            let promised = first.map(|sum| ("repr-digest", sum));
            let path = app.begin(promised.as_slice(), "sand").await;
            let mut end = patch(&path, 4, LAST, TestBody::of(" and foam"));
            if let Some(sum) = last {
                end.headers_mut().insert("repr-digest", sum.parse().unwrap());
            }
            let reply = app.send(end).await;
            if status == 400 {
                refused(&reply, 400, Some("digest-mismatching-values"));
                let wrong = &reply.json()["mismatching-digests"];
                assert_eq!(wrong.as_array().unwrap().len(), 1, "{wrong}");
                assert_eq!(wrong[0]["header"], "repr-digest");
                assert!(app.got().is_empty());
                continue;
            }
            assert_eq!(reply.status, 200, "{first:?} {last:?}");
            let got = app.got();
            let [(parts, _)] = &got[..] else { panic!("{got:?}") };
            let seen = parts.headers.get("repr-digest").map(|value| value.to_str().unwrap());
            assert_eq!(seen, first.or(last), "what was given is there for the handler");
        }
    });
}

#[tokio::test]
async fn the_digest_of_the_whole_may_follow_the_content() {
    let app = App::new(layer(memory()));
    for (sum, status) in [(WHOLE, 200), (FOAM, 400)] {
        for announced in [true, false] {
            let mut headers = vec![LAST];
            if announced {
                headers.push(("trailer", "repr-digest"));
            }
            let body = with_trailers("sand and foam", "repr-digest", sum);
            let reply = app.send(request("POST", "/inbox", &headers, body)).await;
            assert_eq!(reply.status, status, "{reply:?}");
        }
    }
    assert_eq!(app.got().len(), 2);
}

#[test]
fn the_digest_that_is_wanted_is_given_with_the_whole() {
    on_all_stores(|uploads| async move {
        let app = App::new(layer(uploads));
        let want = ("want-repr-digest", "sha-512=0, sha-256=3, md5=10");
        let path = app.begin(&[want], "sand").await;
        assert_eq!(app.head(&path).await.header("repr-digest"), None);
        let reply = app.send(patch(&path, 4, LAST, TestBody::of(" and foam"))).await;
        assert_eq!(reply.status, 200);
        assert_eq!(app.head(&path).await.header("repr-digest"), Some(WHOLE));
        let other = [("want-repr-digest", "sha-512=1")];
        let reply = app.send(request("HEAD", &path, &other, TestBody::empty())).await;
        assert_eq!(reply.header("repr-digest"), None, "it was not computed");
    });
}

#[tokio::test]
async fn a_whole_request_with_a_wrong_digest_leaves_nothing() {
    let uploads = memory().build().unwrap();
    let resumable = Resumable::new("/uploads").paths(["/inbox"]);
    let app = App::new(ChunkedUploadLayer::new(uploads.clone()).resumable(resumable));
    let headers = [LAST, ("repr-digest", FOAM)];
    let reply = app.send(request("POST", "/inbox", &headers, TestBody::of("sand"))).await;
    refused(&reply, 400, Some("digest-mismatching-values"));
    assert_eq!(reply.json()["mismatching-digests"].as_array().unwrap().len(), 1, "{reply:?}");
    let body = with_trailers("sand", "repr-digest", "sha-256=5");
    let reply = app.send(request("POST", "/inbox", &[LAST], body)).await;
    refused(&reply, 400, Some("digest-invalid-values"));
    let mut left = uploads.for_operator().list(tower_chunked_upload::Filter::all());
    assert!(left.next().await.is_none());
}
