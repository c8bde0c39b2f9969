//! Limits of the size of requests and of the whole.

use super::*;

fn app(resumable: Resumable, uploads: UploadsBuilder) -> App {
    App::new(ChunkedUploadLayer::new(uploads.build().unwrap()).resumable(resumable))
}

fn limits(reply: &Reply) -> &str {
    reply.header("upload-limit").expect("limits")
}

#[tokio::test]
async fn all_limits_are_told_and_kept() {
    let resumable = Resumable::new("/uploads").paths(["/inbox"]);
    let resumable = resumable.min_bytes(4).min_append_bytes(3).max_append_bytes(6);
    let app = app(resumable, memory().max_bytes(10));
    let all = "max-size=10, min-size=4, max-append-size=6, min-append-size=3";
    let options = app.send(request("OPTIONS", "/inbox", &[], TestBody::empty())).await;
    assert_eq!(limits(&options), all);

    let long = [MORE, ("upload-length", "11")];
    let short = [MORE, ("upload-length", "3")];
    for (headers, bytes, status) in [
        (&long[..], "", 413),
        (&long, "sandsan", 413),
        (&short, "", 400),
        (&[LAST], "san", 400),
        (&[MORE], "sa", 400),
        (&[MORE], "sandsan", 413),
        (&[LAST], "sandsan", 413),
    ] {
        let reply = app.send(request("POST", "/inbox", headers, TestBody::of(bytes))).await;
        refused(&reply, status, None);
        assert_eq!(limits(&reply), all);
    }

    let path = app.begin(&[], "").await;
    for (complete, bytes, status) in [(MORE, "sa", 400), (MORE, "sandsan", 413), (LAST, "san", 400)]
    {
        let reply = app.send(patch(&path, 0, complete, TestBody::of(bytes))).await;
        refused(&reply, status, None);
        assert!(limits(&reply).starts_with(all), "{reply:?}");
    }
    // Content of unknown length counts while it comes.
    let body = TestBody::new([Piece::Data("sand".into()), Piece::Data("foam".into())]);
    let at = app.stands_at(&path).await.0.parse().unwrap();
    refused(&app.send(patch(&path, at, MORE, body)).await, 413, None);
    let at: u64 = app.stands_at(&path).await.0.parse().unwrap();
    let rest = &"sandsandsa"[usize::try_from(at).unwrap()..];
    let reply = app.send(patch(&path, at, LAST, TestBody::of(rest))).await;
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"got 10"[..]));
    assert_eq!(app.got().len(), 1);
}

#[tokio::test]
async fn a_browser_asks_the_application_for_its_permission() {
    let app = App::new(layer(memory()));
    let ask = [("access-control-request-method", "POST"), ("origin", "https://example.org")];
    let reply = app.send(request("OPTIONS", "/inbox", &ask, TestBody::empty())).await;
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"got 0"[..]));
    assert_eq!(app.got().len(), 1);
}
