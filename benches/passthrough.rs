//! What the layer adds to a request that is no upload: `benches/run passthrough`.
//!
//! The figure is the difference between a service without the layer and the same one behind it.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, criterion_group, criterion_main};
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, Service, service_fn};
use tower_chunked_upload::store::MemoryStore;
use tower_chunked_upload::{ChunkedUploadLayer, Uploads};
use tower_layer::Identity;

criterion_group!(benches, bare, axum);
criterion_main!(benches);

fn bare(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("service_fn");
    let request = || request(Full::new(Bytes::from_static(b"body")));
    measure(&mut group, "alone", service_fn(answer), request);
    measure(&mut group, "behind the layer", layer().layer(service_fn(answer)), request);
}

fn axum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("axum");
    let request = || request(Body::from("body"));
    let router = Router::new().route("/users/{id}", get(|| async { "answer" }));
    measure(&mut group, "alone", router.clone(), request);
    measure(&mut group, "around the router", layer().layer(router.clone()), request);
    // What axum itself adds for any layer.
    let nothing = router.clone().layer(Identity::new());
    measure(&mut group, "Router::layer of nothing", nothing, request);
    measure(&mut group, "Router::layer", router.layer(layer()), request);
}

/// From the call to the answer, which is there at the first poll.
fn measure<S, B>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut service: S,
    request: impl Fn() -> Request<B>,
) where
    S: Service<Request<B>, Error = Infallible>,
{
    let mut cx = Context::from_waker(Waker::noop());
    group.bench_function(name, |bencher| {
        bencher.iter_batched(
            &request,
            |request| match pin!(service.call(black_box(request))).poll(&mut cx) {
                Poll::Ready(answer) => answer.unwrap(),
                Poll::Pending => unreachable!("the service answers at once"),
            },
            // Few enough to stay in the cache.
            BatchSize::NumIterations(64),
        );
    });
}

async fn answer<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    black_box(request);
    Ok(Response::new(Full::new(Bytes::from_static(b"answer"))))
}

fn request<B>(body: B) -> Request<B> {
    Request::get("/users/1").header("x-user", "alice").body(body).unwrap()
}

fn layer() -> ChunkedUploadLayer {
    ChunkedUploadLayer::new(Uploads::builder(MemoryStore::new()).build().unwrap())
}
