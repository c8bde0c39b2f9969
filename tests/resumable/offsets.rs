//! Offsets that clients were told, whatever became of the hand-over.

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
