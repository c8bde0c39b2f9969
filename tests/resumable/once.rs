//! Handlers that must not run twice.

use tower_chunked_upload::store::{Commit, FsStore, Handover, MemoryStore, Store, Writer};
use tower_chunked_upload::{Filter, Status, UploadId, Uploads};

use super::*;

/// Leaves a record as it is when the process ends while the application has the file.
async fn interrupt(store: &impl Store, path: &str) -> UploadId {
    let id: UploadId = path.rsplit('/').next().unwrap().parse().unwrap();
    let mut writer = store.writer(&id).await.unwrap();
    let mut upload = writer.upload().clone();
    upload.progress.status = Status::Finishing;
    let commit = Commit::new(Bytes::new(), upload).with_handover(Handover::Given);
    writer.commit(commit).await.unwrap();
    id
}

/// An upload whose hand-over was interrupted. Both stores have the same place.
async fn interrupted<S: Store>([own, others]: [S; 2], once: bool) -> (App, Uploads, String) {
    let uploads = Uploads::builder(own).build().unwrap();
    let resumable = Resumable::new("/uploads").paths(["/inbox"]).hand_over_once(once);
    let app = App::new(ChunkedUploadLayer::new(uploads.clone()).resumable(resumable));
    let path = app.begin(&[("upload-length", "4")], "san").await;
    app.says.store(500, Ordering::Relaxed);
    let reply = app.send(patch(&path, 3, LAST, TestBody::of("d"))).await;
    assert_eq!(reply.status, 500);
    assert_eq!(app.got().len(), 1);
    app.says.store(200, Ordering::Relaxed);
    interrupt(&others, &path).await;
    (app, uploads, path)
}

fn in_memory() -> [MemoryStore; 2] {
    let store = MemoryStore::new();
    [store.clone(), store]
}

async fn listed(uploads: &Uploads) -> Vec<Status> {
    let mut list = uploads.for_operator().list(Filter::all());
    let mut found = Vec::new();
    while let Some(upload) = list.next().await {
        found.push(upload.unwrap().status());
    }
    found
}

fn is_over(reply: &Reply) {
    assert_eq!(reply.status, 500, "{reply:?}");
    assert_eq!(reply.header("upload-complete"), Some("?1"), "{reply:?}");
}

async fn ends<S: Store>(stores: [S; 2]) {
    let (app, uploads, path) = interrupted(stores, true).await;
    let reply = app.send(patch(&path, 3, LAST, TestBody::of("d"))).await;
    is_over(&reply);
    assert_eq!(reply.json()["title"], "A crash has interrupted the handling of the request");
    is_over(&app.head(&path).await);
    is_over(&app.send(patch(&path, 3, LAST, TestBody::of("d"))).await);
    assert!(app.got().is_empty());
    assert_eq!(listed(&uploads).await, [Status::Interrupted]);
    assert_eq!(app.send(request("DELETE", &path, &[], TestBody::empty())).await.status, 204);
    refused(&app.head(&path).await, 404, None);
}

#[tokio::test]
async fn an_interrupted_hand_over_ends_the_upload() {
    ends(in_memory()).await;
    let folder = tempfile::TempDir::new().unwrap();
    ends([(); 2].map(|()| FsStore::new(folder.path().join("uploads")))).await;
}

#[tokio::test]
async fn to_ask_for_it_ends_it_too() {
    let (app, uploads, path) = interrupted(in_memory(), true).await;
    is_over(&app.head(&path).await);
    assert_eq!(listed(&uploads).await, [Status::Interrupted]);
    assert!(app.got().is_empty());
}

#[tokio::test]
async fn without_the_setting_the_handler_runs_again() {
    let (app, _, path) = interrupted(in_memory(), false).await;
    assert_eq!(app.stands_at(&path).await, ("3".into(), "?0".into()));
    assert_eq!(app.send(patch(&path, 3, LAST, TestBody::of("d"))).await.status, 200);
    assert_eq!(app.got().len(), 1);
}

#[tokio::test]
async fn a_handler_that_answers_with_an_error_runs_again() {
    let uploads = memory().build().unwrap();
    let resumable = Resumable::new("/uploads").paths(["/inbox"]).hand_over_once(true);
    let app = App::new(ChunkedUploadLayer::new(uploads).resumable(resumable));
    let path = app.begin(&[("upload-length", "4")], "san").await;
    app.says.store(503, Ordering::Relaxed);
    assert_eq!(app.send(patch(&path, 3, LAST, TestBody::of("d"))).await.status, 503);
    assert_eq!(app.stands_at(&path).await, ("3".into(), "?0".into()));
    app.says.store(200, Ordering::Relaxed);
    assert_eq!(app.send(patch(&path, 3, LAST, TestBody::of("d"))).await.status, 200);
    assert_eq!(app.got().len(), 2);
}

#[tokio::test]
async fn what_the_handler_refuses_and_nobody_could_find_is_not_kept() {
    let uploads = memory().build().unwrap();
    let resumable = Resumable::new("/uploads").paths(["/inbox"]);
    let app = App::new(ChunkedUploadLayer::new(uploads.clone()).resumable(resumable));
    for (status, left) in [(422, 0), (401, 0), (500, 1), (503, 2), (200, 3)] {
        app.says.store(status, Ordering::Relaxed);
        let reply = app.send(request("POST", "/inbox", &[LAST], TestBody::of("sand"))).await;
        assert_eq!(reply.status, status);
        assert_eq!(listed(&uploads).await.len(), left, "{status}");
        // Who does not know where it is cannot end it by another request.
        assert_eq!(reply.header("location").is_some(), status >= 500);
    }
    // An upload that its client knows is there until it expires.
    let path = app.begin(&[], "san").await;
    app.says.store(422, Ordering::Relaxed);
    let reply = app.send(patch(&path, 3, LAST, TestBody::of("d"))).await;
    assert_eq!((reply.status.as_u16(), reply.header("upload-complete")), (422, Some("?1")));
    assert_eq!(app.stands_at(&path).await, ("3".into(), "?0".into()));
}

#[tokio::test]
async fn the_digest_of_a_whole_request_reaches_the_handler() {
    let app = App::new(layer(memory()));
    let digest = ("content-digest", "sha-256=:nfhuPWYBhsu0b/TNK5i0GFVG8eZ+XPo4Onj+kfJZpWM=:");
    let whole = request("POST", "/inbox", &[LAST, digest], TestBody::of("sand and foam"));
    assert_eq!(app.send(whole).await.status, 200);
    assert_eq!(app.got()[0].0.headers["content-digest"], digest.1);
}

/// axum's `Bytes` and others answer with a 400 then, which is final for a client.
#[tokio::test]
async fn a_file_that_cannot_be_read_is_no_mistake_of_the_client() {
    let folder = tempfile::TempDir::new().unwrap();
    let uploads = Uploads::builder(FsStore::new(folder.path())).build().unwrap();
    let resumable = Resumable::new("/uploads").paths(["/inbox"]);
    let layer = ChunkedUploadLayer::new(uploads).resumable(resumable);
    let client = Client::around(layer, |request: Request<_>| async move {
        let (parts, body): (_, tower_chunked_upload::RequestBody<_>) = request.into_parts();
        let path = parts.extensions.get::<CompletedUpload>().unwrap().path().unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(if parts.headers.contains_key("x-cut") { 3 } else { length }).unwrap();
        let read = body.collect().await;
        let mut response = Response::new(Full::from("read"));
        if read.is_err() {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        response
    });
    let send = |headers: Vec<(&'static str, &'static str)>| {
        let headers = [vec![LAST], headers].concat();
        client.send(request("POST", "/inbox", &headers, TestBody::of("sand")))
    };
    let reply = send(vec![("x-cut", "1")]).await;
    refused(&reply, 500, None);
    assert!(reply.header("location").is_some(), "{reply:?}");
    assert_eq!(send(vec![]).await.status, 200);
}
