//! A request that is no upload costs what it costs without the layer: not one allocation more.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response};
use http_body::Body;
use http_body_util::Full;
use tower::{Layer, Service};
use tower_chunked_upload::store::MemoryStore;
use tower_chunked_upload::{ChunkedUploadLayer, Uploads};

/// Answers at once, with as many allocations as it is told.
#[derive(Clone)]
struct Inner {
    allocations: usize,
}

impl<B> Service<Request<B>> for Inner {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Full<Bytes>>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        for number in 0..self.allocations {
            drop(std::hint::black_box(Box::new(number)));
        }
        ready(Ok(Response::new(Full::new(Bytes::from_static(b"inner")))))
    }
}

/// How many allocations the whole life of a request makes, its answer's body included.
fn cost<S, B>(service: &mut S, request: Request<Full<Bytes>>) -> u64
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes, Error = Infallible>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let mut answered = false;
    let measured = allocation_counter::measure(|| {
        assert!(service.poll_ready(&mut cx).is_ready());
        let future = pin!(service.call(request));
        let Poll::Ready(Ok(response)) = future.poll(&mut cx) else { return };
        let mut body = pin!(response.into_body());
        while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut cx) {
            answered |= frame.data_ref().is_some_and(|data| data == "inner");
        }
    });
    assert!(answered, "the inner service did not answer");
    measured.count_total
}

fn layer() -> ChunkedUploadLayer {
    ChunkedUploadLayer::new(Uploads::builder(MemoryStore::new()).build().unwrap())
}

fn request(method: Method, uri: &'static str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::from_static(b"body")));
    *request.method_mut() = method;
    *request.uri_mut() = uri.parse().unwrap();
    request.headers_mut().insert("x-user", HeaderValue::from_static("alice"));
    request.extensions_mut().insert(7_u32);
    request
}

#[test]
fn a_request_to_another_path_allocates_nothing() {
    let mut plain = Inner { allocations: 0 };
    let mut layered = layer().layer(plain.clone());
    for (method, uri) in [
        (Method::GET, "/"),
        (Method::POST, "/other?upload_id=5230ec1f59d1485d9d7974b853802e31"),
        (Method::POST, "/api/chunked_uploads"),
        (Method::POST, "/api/chunked_upload/more"),
        (Method::POST, "/api/chunked_upload//"),
        (Method::GET, "http://host/api"),
        (Method::OPTIONS, "*"),
        (Method::CONNECT, "host:443"),
    ] {
        assert_eq!(cost(&mut plain, request(method.clone(), uri)), 0, "{uri} alone");
        assert_eq!(cost(&mut layered, request(method, uri)), 0, "{uri} behind the layer");
    }
}

#[test]
fn the_inner_service_pays_for_itself_and_nothing_else() {
    for allocations in [1, 2, 10] {
        let mut plain = Inner { allocations };
        let mut layered = layer().layer(plain.clone());
        let alone = cost(&mut plain, request(Method::GET, "/other"));
        assert_eq!(alone, allocations as u64);
        assert_eq!(cost(&mut layered, request(Method::GET, "/other")), alone);
    }
}

#[test]
fn a_clone_of_layer_and_service_allocates_nothing() {
    let layer = layer();
    let service = layer.layer(Inner { allocations: 0 });
    let measured = allocation_counter::measure(|| drop((layer.clone(), service.clone())));
    assert_eq!(measured.count_total, 0);
}

/// The measurement is not blind: an upload's own future is boxed.
#[test]
fn a_request_to_the_chunk_path_is_seen_to_allocate() {
    let mut layered = layer().layer(Inner { allocations: 0 });
    let request = request(Method::POST, "/api/chunked_upload");
    let measured = allocation_counter::measure(|| drop(layered.call(request)));
    assert_ne!(measured.count_total, 0);
}
