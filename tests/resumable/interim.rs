//! Informational responses: where the upload is, and how it grows.

use std::time::Duration;

use tower_chunked_upload::informational::{Informational, NotSent, SendInformational};

use tower_chunked_upload::Filter;

use super::*;

/// What a server was asked to send.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Response<()>>>>);

impl SendInformational for Told {
    fn send(&self, response: Response<()>) -> Result<(), NotSent> {
        self.0.lock().unwrap().push(response);
        Ok(())
    }
}

impl Told {
    fn put_into(&self, mut request: Request<TestBody>) -> Request<TestBody> {
        request.extensions_mut().insert(Informational::new(self.clone()));
        request
    }

    fn take(&self) -> Vec<Response<()>> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// The offsets in the responses that are not the first one.
    fn offsets(&self) -> Vec<u64> {
        let told = self.take();
        told.iter()
            .map(|response| {
                assert_eq!(response.status(), 104);
                assert!(!response.headers().contains_key("location"));
                assert!(response.headers().contains_key("upload-draft-interop-version"));
                response.headers()["upload-offset"].to_str().unwrap().parse().unwrap()
            })
            .collect()
    }
}

const VERSION: (&str, &str) = ("upload-draft-interop-version", "10");

fn post(told: &Told, headers: &[(&str, &str)], body: TestBody) -> Request<TestBody> {
    told.put_into(request("POST", "/inbox", headers, body))
}

/// The path in the first response.
fn announced(told: &Told) -> String {
    let told = told.take();
    let [response] = &told[..] else { panic!("{told:?}") };
    assert_eq!(response.status(), 104);
    assert_eq!(response.headers()["upload-draft-interop-version"], "10");
    assert!(!response.headers().contains_key("upload-offset"));
    let path = response.headers()["location"].to_str().unwrap();
    assert!(path.starts_with("/uploads/"), "{path}");
    path.to_owned()
}

#[test]
fn the_client_learns_where_its_upload_is_before_its_body_is_read() {
    on_all_stores(|uploads| async move {
        let app = App::new(layer(uploads.max_bytes(1000)));
        let told = Told::default();
        let (pieces, body) = TestBody::live();
        let mut probe = body.probe();
        let sent = app.client.call(post(&told, &[LAST, VERSION], body.declare(13)));
        let sent = tokio::spawn(sent);
        until("the response", async || !told.0.lock().unwrap().is_empty()).await;
        let limits = told.0.lock().unwrap()[0].headers()["upload-limit"].clone();
        let limits = limits.to_str().unwrap();
        assert!(limits.starts_with("max-size=1000, max-age=86"), "{limits}");
        let path = announced(&told);
        pieces.send(Piece::Data("sand".into())).ok().unwrap();
        probe.begun().await;
        // To ask ends the request, which the server may still take for one that goes on.
        assert_eq!(app.stands_at(&path).await, ("4".into(), "?0".into()));
        let reply = sent.await.unwrap();
        assert_eq!(reply.status, 503, "{reply:?}");
        let reply = app.send(patch(&path, 4, LAST, TestBody::of(" and foam"))).await;
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"got 13"[..]));
    });
}

#[test]
fn a_request_that_breaks_is_continued_where_it_broke() {
    on_all_stores(|uploads| async move {
        let app = App::new(layer(uploads));
        for first in [LAST, MORE] {
            let told = Told::default();
            let body = TestBody::new([Piece::Data("sand".into()), Piece::Fail]).declare(13);
            let headers = [first, VERSION, ("content-type", "text/plain")];
            let reply = app.send(post(&told, &headers, body)).await;
            refused(&reply, 503, None);
            let path = announced(&told);
            assert_eq!(app.stands_at(&path).await, ("4".into(), "?0".into()));
            let known = (first == LAST).then_some("13");
            assert_eq!(app.head(&path).await.header("upload-length"), known);
            let reply = app.send(patch(&path, 4, LAST, TestBody::of(" and foam"))).await;
            assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"got 13"[..]));
            let got = app.got();
            let [(parts, body)] = &got[..] else { panic!("{got:?}") };
            assert_eq!(&body[..], b"sand and foam");
            assert_eq!((parts.method.as_str(), parts.uri.path()), ("POST", "/inbox"));
            assert_eq!(parts.headers["content-type"], "text/plain");
        }
    });
}

#[tokio::test]
async fn what_nobody_could_find_is_not_kept() {
    let builder = memory().build().unwrap();
    let resumable = Resumable::new("/uploads").paths(["/inbox"]);
    let app = App::new(ChunkedUploadLayer::new(builder.clone()).resumable(resumable));
    for version in ["4711", "x", "7", "3", "10, 10", ""] {
        let told = Told::default();
        let body = TestBody::new([Piece::Data("sand".into()), Piece::Fail]).declare(13);
        let headers = [LAST, ("upload-draft-interop-version", version)];
        refused(&app.send(post(&told, &headers, body)).await, 503, None);
        assert!(told.take().is_empty(), "{version}");
    }
    // A server that cannot send it.
    let body = TestBody::new([Piece::Data("sand".into()), Piece::Fail]).declare(13);
    refused(&app.send(request("POST", "/inbox", &[LAST, VERSION], body)).await, 503, None);
    let mut left = builder.for_operator().list(Filter::all());
    assert!(left.next().await.is_none());
}

#[tokio::test]
async fn a_version_is_answered_with_itself() {
    let app = App::new(layer(memory()));
    for version in ["5", "6", "8", "9", "10"] {
        let told = Told::default();
        let headers = [LAST, ("upload-draft-interop-version", version)];
        let reply = app.send(post(&told, &headers, TestBody::of("sand"))).await;
        assert_eq!(reply.status, 200);
        let told = told.take();
        let [response] = &told[..] else { panic!("{told:?}") };
        assert_eq!(response.headers()["upload-draft-interop-version"], version);
    }
    // What is refused at once, or not chosen, is told nothing.
    let told = Told::default();
    let headers = [LAST, VERSION, ("upload-length", "5")];
    refused(
        &app.send(post(&told, &headers, TestBody::of("sand"))).await,
        400,
        Some("inconsistent-upload-length"),
    );
    let other = told.put_into(request("POST", "/other", &[LAST, VERSION], TestBody::of("sand")));
    assert_eq!(app.send(other).await.status, 200);
    assert!(told.take().is_empty());
}

#[tokio::test]
async fn more_than_was_announced_ends_an_upload_that_the_client_knows() {
    let app = App::new(layer(memory()));
    let told = Told::default();
    let key = ("idempotency-key", "8e03978e-40d5-43e8-bc93-6894a57f9324");
    for more in [&[][..], &[key]] {
        let headers = [&[MORE, VERSION, ("upload-length", "8")], more].concat();
        let body = TestBody::new([Piece::Data("sand and foam".into())]);
        let reply = app.send(post(&told, &headers, body)).await;
        refused(&reply, 400, Some("inconsistent-upload-length"));
        refused(&app.head(&announced(&told)).await, 404, None);
    }
}

#[tokio::test(start_paused = true)]
async fn the_client_is_told_once_a_second_of_what_is_there_for_certain() {
    let app = App::new(layer(memory()));
    let told = Told::default();
    let (pieces, body) = TestBody::live();
    let headers = [MORE, VERSION, ("upload-length", "45")];
    let reply = tokio::spawn(app.client.call(post(&told, &headers, body)));
    let mut announcement = Vec::new();
    for _ in 0..45 {
        pieces.send(Piece::After(Duration::from_millis(100), "x".into())).ok().unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let new = told.take();
        announcement.extend(new);
    }
    drop(pieces);
    assert_eq!(reply.await.unwrap().status, 201);
    let again = Told(Arc::new(Mutex::new(announcement.split_off(1))));
    let offsets = again.offsets();
    assert!((3..=4).contains(&offsets.len()), "{offsets:?}");
    assert!(offsets.is_sorted_by(|one, other| one < other), "{offsets:?}");
    assert!(offsets.iter().all(|offset| (1..45).contains(offset)), "{offsets:?}");
}
