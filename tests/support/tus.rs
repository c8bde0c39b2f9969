//! A client of tus, and an application that fails at first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tower_chunked_upload::store::MemoryStore;
use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Tus, Uploads, UploadsBuilder};

use super::support::*;

pub(crate) const BYTES: &str = "application/offset+octet-stream";

pub(crate) fn layer(uploads: UploadsBuilder) -> ChunkedUploadLayer {
    ChunkedUploadLayer::new(uploads.build().unwrap()).tus(Tus::new("/files"))
}

pub(crate) fn memory() -> UploadsBuilder {
    patient(Uploads::builder(MemoryStore::new()))
}

pub(crate) fn tus() -> Client {
    Client::new(layer(memory()))
}

/// The same in memory, in a folder and in a bucket.
pub(crate) fn on_all_stores<R: Future<Output = ()>>(test: impl Fn(UploadsBuilder) -> R) {
    run(test(memory()));
    let (_folder, store) = folder();
    run(test(patient(Uploads::builder(store))));
    #[cfg(feature = "object-store")]
    run(async {
        let bucket = Arc::new(object_store::memory::InMemory::new());
        let store = tower_chunked_upload::store::BucketStore::builder(bucket);
        test(patient(Uploads::builder(store.connect().await.unwrap()))).await;
    });
}

/// A request of the protocol.
pub(crate) fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: TestBody,
) -> Request<TestBody> {
    request_with(method, path, &[&[("tus-resumable", "1.0.0")], headers].concat(), body)
}

pub(crate) fn patch(
    path: &str,
    at: u64,
    headers: &[(&str, &str)],
    body: TestBody,
) -> Request<TestBody> {
    let at = at.to_string();
    let mut all = vec![("content-type", BYTES), ("upload-offset", &*at)];
    all.extend_from_slice(headers);
    request("PATCH", path, &all, body)
}

pub(crate) trait Speaks {
    async fn create(&self, headers: &[(&str, &str)]) -> String;
    async fn patch(&self, path: &str, at: u64, bytes: &'static str) -> Reply;
    async fn head(&self, path: &str) -> Reply;
    async fn stands_at(&self, path: &str) -> String;
}

impl Speaks for Client {
    async fn create(&self, headers: &[(&str, &str)]) -> String {
        let reply = self.send(request("POST", "/files", headers, TestBody::empty())).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.header("location").expect("a location").to_owned()
    }

    async fn patch(&self, path: &str, at: u64, bytes: &'static str) -> Reply {
        self.send(patch(path, at, &[], TestBody::of(bytes))).await
    }

    async fn head(&self, path: &str) -> Reply {
        self.send(request("HEAD", path, &[], TestBody::empty())).await
    }

    async fn stands_at(&self, path: &str) -> String {
        let reply = self.head(path).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.header("upload-offset").expect("an offset").to_owned()
    }
}

/// A refusal in the form that every one has.
#[track_caller]
pub(crate) fn refused(reply: &Reply, status: u16) -> String {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.header("tus-resumable"), Some("1.0.0"), "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
    if status != 409 {
        assert_eq!(reply.header("upload-offset"), None, "{reply:?}");
    }
    String::from_utf8(reply.body.to_vec()).unwrap()
}

/// An application that answers with a status that changes.
pub(crate) fn fails_at_first(uploads: UploadsBuilder) -> (Client, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(500));
    let says = Arc::clone(&status);
    let client = Client::around(layer(uploads), move |request| {
        let says = Arc::clone(&says);
        async move {
            assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/files"));
            for name in ["content-length", "content-type", "transfer-encoding", "expect"] {
                assert!(!request.headers().contains_key(name), "{name}");
            }
            let upload = request.extensions().get::<CompletedUpload>().unwrap();
            let text = format!("{} bytes", upload.size());
            let mut response = Response::new(Full::from(text));
            *response.status_mut() = StatusCode::from_u16(says.load(Ordering::Relaxed)).unwrap();
            response.headers_mut().insert("x-saved-as", "a".parse().unwrap());
            response
        }
    });
    (client, status)
}
