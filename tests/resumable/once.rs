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
