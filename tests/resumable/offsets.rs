//! Offsets that clients were told, whatever became of the hand-over.

use tower_chunked_upload::Uploads;
use tower_chunked_upload::store::FsStore;

use super::*;

/// A body whose length shows at its end.
fn chunked(bytes: &'static str) -> TestBody {
    TestBody::new((!bytes.is_empty()).then(|| Piece::Data(bytes.into())))
}

fn offset(reply: &Reply) -> Option<u64> {
    reply.header("upload-offset").map(|offset| offset.parse().unwrap())
}

#[test]
fn an_answer_that_is_an_error_tells_no_more_than_what_counts() {
    on_all_stores(|uploads| async move {
        let app = App::new(layer(uploads));
        for status in [500, 422] {
            app.says.store(status, Ordering::Relaxed);
            let path = app.begin(&[], "sand").await;
            let reply = app.send(patch(&path, 4, LAST, TestBody::of(" and foam"))).await;
            assert_eq!((reply.status.as_u16(), offset(&reply)), (status, Some(12)));
            assert_eq!(app.stands_at(&path).await, ("12".into(), "?0".into()));
        }
    });
}

#[test]
fn a_request_without_bytes_takes_no_byte_back() {
    on_all_stores(|uploads| async move {
        let app = App::new(layer(uploads));
        app.says.store(500, Ordering::Relaxed);
        // All bytes are there and were told: by a request that does not end the upload, or by one
        // that does, and whose length nobody knew.
        for first in [MORE, LAST] {
            for (second, status) in [(LAST, 500), (MORE, 204)] {
                for body in [chunked(""), TestBody::empty()] {
                    let path = app.begin(&[], "sand").await;
                    app.send(patch(&path, 4, first, chunked(" and foam"))).await;
                    assert_eq!(app.stands_at(&path).await, ("13".into(), "?0".into()));
                    let mut request = patch(&path, 13, second, body);
                    request.headers_mut().insert("upload-length", "13".parse().unwrap());
                    let reply = app.send(request).await;
                    assert_eq!((reply.status.as_u16(), offset(&reply)), (status, Some(13)));
                    assert_eq!(app.stands_at(&path).await, ("13".into(), "?0".into()));
                }
            }
        }
    });
}

#[test]
fn an_end_that_the_application_does_not_take_gives_no_length() {
    on_all_stores(|uploads| async move {
        let app = App::new(layer(uploads));
        for length in [&[][..], &[("upload-length", "13")]] {
            app.says.store(500, Ordering::Relaxed);
            let path = app.begin(&[], "sand and foam").await;
            let headers = [&[PARTIAL, ("upload-offset", "13"), LAST], length].concat();
            let end = || app.send(request("PATCH", &path, &headers, TestBody::empty()));
            assert_eq!(end().await.status, 500);
            let head = app.head(&path).await;
            assert_eq!((offset(&head), head.header("upload-length")), (Some(13), None));
            app.says.store(200, Ordering::Relaxed);
            assert_eq!(end().await.status, 200);
            assert_eq!(app.head(&path).await.header("upload-length"), Some("13"));
        }
    });
}

#[test]
fn what_a_client_is_told_is_where_it_goes_on() {
    on_all_stores(|uploads| async move {
        let app = App::new(layer(uploads));
        for method in ["HEAD", "GET"] {
            let path = app.begin(&[], "sand").await;
            let (pieces, body) = TestBody::live();
            let mut probe = body.probe();
            let older = tokio::spawn(app.client.call(patch(&path, 4, LAST, body)));
            pieces.send(Piece::Data(" and".into())).ok().unwrap();
            probe.waiting().await;
            let reply = app.send(request(method, &path, &[], TestBody::empty())).await;
            let at = offset(&reply).unwrap();
            // What was on its way arrives.
            drop(pieces.send(Piece::Data(" f".into())));
            refused(&older.await.unwrap(), 503, None);
            let rest = &"sand and foam"[usize::try_from(at).unwrap()..];
            let reply = app.send(patch(&path, at, LAST, TestBody::of(rest))).await;
            assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"got 13"[..]));
            let got = app.got();
            let [(_, body)] = &got[..] else { panic!("{got:?}") };
            assert_eq!(body, "sand and foam");
        }
    });
}

#[tokio::test]
async fn a_file_that_the_application_has_moved_does_not_become_shorter() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("sand");
    let moved = target.clone();
    let uploads = Uploads::builder(FsStore::new(folder.path().join("store")));
    let client = Client::around(layer(uploads), move |request| {
        let moved = moved.clone();
        async move {
            let upload = request.extensions().get::<CompletedUpload>().unwrap().clone();
            upload.persist(moved).await.unwrap();
            let mut response = Response::new(Full::from("failed"));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    });
    let begin = request("POST", "/inbox", &[MORE], TestBody::of("sand"));
    let path = client.send(begin).await.header("location").unwrap().to_owned();
    // Nobody knows its length before it ends, so all of its bytes may be told while it comes.
    let reply = client.send(patch(&path, 4, LAST, chunked(" and foam"))).await;
    assert_eq!((reply.status.as_u16(), offset(&reply)), (500, Some(13)));
    assert_eq!(std::fs::read(target).unwrap(), b"sand and foam");
    let head = client.send(request("HEAD", &path, &[], TestBody::empty())).await;
    assert_eq!((head.status.as_u16(), offset(&head)), (204, Some(13)));
}
