//! Requests that the application thinks about while others go on with the upload.

use tokio::sync::oneshot;
use tower_chunked_upload::policy::{MaxBytes, SizeLimit};

use super::*;

/// An application that thinks about one request until a test has done something else.
#[derive(Clone, Default)]
struct Thoughtful(Arc<Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>>);

impl Thoughtful {
    /// The next request is thought about. Gives who tells that it has come, and who lets it go on.
    fn hold(&self) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let ((arrived, has_arrived), (open, opened)) = (oneshot::channel(), oneshot::channel());
        *self.0.lock().unwrap() = Some((arrived, opened));
        (has_arrived, open)
    }
}

impl Policy for Thoughtful {
    async fn max_bytes(&self, _: &SizeLimit<'_>) -> Result<MaxBytes, Refusal> {
        let held = self.0.lock().unwrap().take();
        if let Some((arrived, opened)) = held {
            arrived.send(()).unwrap();
            opened.await.unwrap();
        }
        Ok(MaxBytes::Configured)
    }
}

fn thoughtful(uploads: UploadsBuilder) -> (App, Thoughtful) {
    let policy = Thoughtful::default();
    (App::new(layer(uploads).policy(policy.clone())), policy)
}

/// More bytes than were announced end an upload, but none that the application has.
#[test]
fn a_late_verdict_removes_no_upload_that_was_taken() {
    on_all_stores(|uploads| async move {
        let (app, policy) = thoughtful(uploads);
        let path = app.begin(&[("upload-length", "8")], "sand").await;
        let (arrived, open) = policy.hold();
        let late = app.client.spawn(patch(&path, 4, LAST, TestBody::of("foam and more")));
        arrived.await.unwrap();
        let reply = app.send(patch(&path, 4, LAST, TestBody::of("foam"))).await;
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"got 8"[..]));
        open.send(()).unwrap();
        assert_eq!(late.await.unwrap().status, 400);
        assert_eq!(app.stands_at(&path).await, ("8".to_owned(), "?1".to_owned()));
    });
}

/// Nor an upload that gets its id later.
#[tokio::test]
async fn a_late_verdict_removes_no_upload_that_comes_later() {
    let clock = Clock::new();
    let (app, policy) = thoughtful(memory().clock(clock.read()));
    let headers =
        [("upload-length", "8"), ("idempotency-key", "8e03978e-40d5-43e8-bc93-6894a57f9324")];
    let path = app.begin(&headers, "sand").await;
    let (arrived, open) = policy.hold();
    let late = app.client.spawn(patch(&path, 4, MORE, TestBody::of("foam and more")));
    arrived.await.unwrap();
    let cancelled = app.send(request("DELETE", &path, &[], TestBody::empty())).await;
    assert_eq!(cancelled.status, 204);
    clock.advance(std::time::Duration::from_millis(1));
    assert_eq!(app.begin(&headers, "sand").await, path);
    open.send(()).unwrap();
    assert_eq!(late.await.unwrap().status, 400);
    assert_eq!(app.stands_at(&path).await, ("4".to_owned(), "?0".to_owned()));
}

/// Another request was told meanwhile that all bytes are there.
#[test]
fn a_late_last_byte_takes_no_offset_back() {
    on_all_stores(|uploads| async move {
        let (app, policy) = thoughtful(uploads);
        let path = app.begin(&[("upload-length", "8")], "sand").await;
        app.says.store(500, Ordering::Relaxed);
        let failed = app.send(patch(&path, 4, LAST, TestBody::of("foam"))).await;
        assert_eq!(failed.status, 500, "{failed:?}");
        assert_eq!(app.stands_at(&path).await.0, "7");
        let (arrived, open) = policy.hold();
        let late = app.client.spawn(patch(&path, 7, LAST, TestBody::of("m")));
        arrived.await.unwrap();
        let told = app.send(patch(&path, 7, MORE, TestBody::of("m"))).await;
        assert_eq!((told.status.as_u16(), told.header("upload-offset")), (204, Some("8")));
        open.send(()).unwrap();
        let late = late.await.unwrap();
        refused(&late, 409, Some("mismatching-upload-offset"));
        assert_eq!(late.header("upload-offset"), Some("8"));
        assert_eq!(app.stands_at(&path).await, ("8".to_owned(), "?0".to_owned()));
        assert_eq!(app.got().len(), 1);
    });
}
