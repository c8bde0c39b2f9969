//! What `benches/instructions` counts: a scenario, so many times. Without arguments, each once.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, CONTENT_TYPE};
use http::{Request, Response};
use http_body::Body;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use tempfile::TempDir;
use tokio::runtime::Builder;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{Chunked, ChunkedUploadLayer, Uploads};

use support::{CHUNK, COMPLETE, Form, md5, noise};

fn main() {
    // `cargo bench` adds an argument of its own.
    let words: Vec<_> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.as_slice() {
        [name, times] => run(name, times.parse().unwrap()),
        _ => SCENARIOS.into_iter().for_each(|name| run(name, 1)),
    }
}

fn run(name: &str, times: u64) {
    let folder = TempDir::new().unwrap();
    let with_md5 = !name.ends_with("-without-md5");
    let uploads = Uploads::builder(FsStore::new(folder.path().to_str().unwrap()))
        .checksum(with_md5)
        .build()
        .unwrap();
    let layer = ChunkedUploadLayer::new(uploads).chunked(Chunked::new().md5_check(with_md5));
    let layered = BoxCloneSyncService::new(layer.layer(service_fn(answer)).map_response(boxed));
    let alone = BoxCloneSyncService::new(service_fn(answer).map_response(boxed));
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        match name {
            "no-layer" => others(&alone, times).await,
            "pass-through" => others(&layered, times).await,
            "upload" | "upload-without-md5" => small_uploads(&layered, times).await,
            "chunk" | "chunk-without-md5" => chunks(&layered, times).await,
            _ => panic!("no such scenario: {name}"),
        }
    });
}

async fn answer<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::default()))
}

fn boxed<B>(response: Response<B>) -> Response<BoxBody<Bytes, Infallible>>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static,
{
    response.map(BoxBody::new)
}

/// Requests that are no uploads.
async fn others(client: &Client, times: u64) {
    for _ in 0..times {
        let request = Request::get("/users/1").header("x-user", "alice");
        send(client, request.body(Full::default()).unwrap()).await;
    }
}

/// Files of 16 KiB, each in one chunk, from the first request to the completion.
async fn small_uploads(client: &Client, times: u64) {
    let content = noise(16 << 10);
    let form = Form::new().file("a.bin", &content).end();
    let md5 = md5(&content);
    for _ in 0..times {
        let id = upload_id(&send(client, post(CHUNK, form.clone())).await);
        let form = Form::new().field("upload_id", &id).field("md5", &md5).end();
        send(client, post(COMPLETE, form)).await;
    }
}

/// One file in chunks of 64 KiB.
async fn chunks(client: &Client, times: u64) {
    let content = noise(64 << 10);
    let length = content.len() as u64;
    let mut id = None;
    for start in (0..times).map(|number| number * length) {
        let form = Form::new().id(id.as_deref()).file("a.bin", &content).end();
        let mut request = post(CHUNK, form);
        let range = format!("bytes {start}-{}/{}", start + length - 1, times * length);
        request.headers_mut().insert(CONTENT_RANGE, range.try_into().unwrap());
        id = Some(upload_id(&send(client, request).await));
    }
}

fn post(path: &str, form: Bytes) -> Request<Full<Bytes>> {
    let request = Request::post(path).header(CONTENT_TYPE, Form::content_type());
    request.body(Full::new(form)).unwrap()
}

async fn send(client: &Client, request: Request<Full<Bytes>>) -> Bytes {
    let response = client.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(status.is_success(), "{status}: {body:?}");
    body
}

fn upload_id(answer: &[u8]) -> String {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap();
    answer["upload_id"].as_str().unwrap().to_owned()
}

/// The same for a service with and without the layer, so that it falls out of the difference.
type Client =
    BoxCloneSyncService<Request<Full<Bytes>>, Response<BoxBody<Bytes, Infallible>>, Infallible>;

const SCENARIOS: [&str; 6] =
    ["no-layer", "pass-through", "upload", "upload-without-md5", "chunk", "chunk-without-md5"];
