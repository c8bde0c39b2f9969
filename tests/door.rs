//! The layer as tower sees it: one service around another.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use bytes::{Buf, Bytes};
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use md5::{Digest, Md5};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_chunked_upload::policy::Verification;
use tower_chunked_upload::store::MemoryStore;
use tower_chunked_upload::{
    Chunked, ChunkedUploadLayer, CompletedUpload, ErrorKind, Event, Observer, Owner, Policy,
    Refusal, RequestBody, Tus, UploadId, Uploads,
};

const CHUNK: &str = "/api/chunked_upload";
const COMPLETE: &str = "/api/chunked_upload_complete";
const FILE: &[u8] = b"Hello, world";
const FORM: &str = "application/x-www-form-urlencoded";

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn uploads() -> Uploads {
    Uploads::builder(MemoryStore::new()).build().unwrap()
}

fn layer() -> ChunkedUploadLayer {
    ChunkedUploadLayer::new(uploads())
}

/// A request body that does as it is told.
#[derive(Default)]
struct Script {
    steps: VecDeque<Step>,
}

enum Step {
    Data(&'static [u8]),
    /// Nothing comes any more.
    Stall,
    Fail,
    Trailers,
}

#[derive(Debug, PartialEq)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect() }
    }

    fn whole(bytes: &'static [u8]) -> Self {
        Self::new([Step::Data(bytes)])
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Poll::Ready(match self.steps.pop_front() {
            None => None,
            Some(Step::Data(bytes)) => Some(Ok(Frame::data(Bytes::from_static(bytes)))),
            Some(Step::Trailers) => Some(Ok(Frame::trailers(trailers()))),
            Some(Step::Fail) => Some(Err(Broken)),
            Some(Step::Stall) => {
                self.steps.push_front(Step::Stall);
                return Poll::Pending;
            }
        })
    }
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(
        header::HeaderName::from_static("x-end"),
        HeaderValue::from_static("1"),
    )])
}

/// A chunk of [`FILE`] as a raw body.
fn chunk<B>(range: &str, id: Option<&str>, body: B) -> Request<B> {
    let id = id.map(|id| format!("?upload_id={id}")).unwrap_or_default();
    Request::post(format!("{CHUNK}{id}"))
        .header(header::CONTENT_DISPOSITION, "attachment; filename=\"hello.txt\"")
        .header(header::CONTENT_RANGE, range)
        .body(body)
        .unwrap()
}

fn md5_of_file() -> String {
    Md5::digest(FILE).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn form(id: &str) -> String {
    format!("upload_id={id}&md5={}&note=a%20b+c", md5_of_file())
}

fn completion<B>(path: &str, id: &str, body: impl FnOnce(Bytes) -> B) -> Request<B> {
    Request::post(path).header(header::CONTENT_TYPE, FORM).body(body(form(id).into())).unwrap()
}

fn complete(id: &str) -> Request<Full<Bytes>> {
    completion(COMPLETE, id, Full::new)
}

/// Sends [`FILE`] in one chunk and gives the upload's id.
async fn send<S, B>(service: S, path: &str) -> String
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    S::Error: fmt::Debug,
    B: Body<Data: Buf, Error: fmt::Debug>,
{
    let mut request = chunk("bytes 0-11/12", None, Full::from(FILE));
    *request.uri_mut() = path.parse().unwrap();
    let (status, answer) = json_of(service.oneshot(request).await.unwrap()).await;
    assert_eq!((status, &answer["offset"]), (StatusCode::OK, &json!(12)), "{answer}");
    answer["upload_id"].as_str().unwrap().to_owned()
}

async fn bytes_of<B>(response: Response<B>) -> (StatusCode, Bytes)
where
    B: Body<Data: Buf, Error: fmt::Debug>,
{
    let (parts, body) = response.into_parts();
    (parts.status, body.collect().await.unwrap().to_bytes())
}

async fn json_of<B>(response: Response<B>) -> (StatusCode, Value)
where
    B: Body<Data: Buf, Error: fmt::Debug>,
{
    let (status, bytes) = bytes_of(response).await;
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

async fn status_of<S, B>(service: S, id: &str) -> Value
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    S::Error: fmt::Debug,
    B: Body<Data: Buf, Error: fmt::Debug>,
{
    let request = get(&format!("{CHUNK}?upload_id={id}"));
    json_of(service.oneshot(request).await.unwrap()).await.1
}

/// A hang is a failure, not a test that never ends.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it hangs")
}

fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(Full::default()).unwrap()
}

/// Calls a service as soon as it is ready.
async fn call<S: Service<Request<Full<Bytes>>, Error: fmt::Debug>>(
    service: &mut S,
    request: Request<Full<Bytes>>,
) -> S::Future {
    service.ready().await.unwrap().call(request)
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// An inner service that counts its calls and answers as it is told, the last way for ever.
fn answering(
    statuses: impl IntoIterator<Item = StatusCode>,
) -> (
    Arc<AtomicUsize>,
    impl Service<
        Request<RequestBody<Full<Bytes>>>,
        Response = Response<Full<Bytes>>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static,
) {
    let statuses: Arc<[StatusCode]> = statuses.into_iter().collect();
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let service = service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
        assert!(request.extensions().get::<CompletedUpload>().is_some());
        let call = counter.fetch_add(1, Ordering::SeqCst);
        ready(Ok(empty(statuses[call.min(statuses.len() - 1)])))
    });
    (calls, service)
}

mod readiness {
    use super::*;

    /// Says no until it is let, and may only be called by the very instance that said yes.
    #[derive(Debug)]
    struct Gate {
        open: Arc<AtomicBool>,
        broken: Arc<AtomicBool>,
        held: Arc<AtomicUsize>,
        is_ready: bool,
    }

    impl Gate {
        fn new(open: bool) -> Self {
            Self {
                open: Arc::new(AtomicBool::new(open)),
                broken: Arc::default(),
                held: Arc::default(),
                is_ready: false,
            }
        }
    }

    impl Clone for Gate {
        fn clone(&self) -> Self {
            Self {
                open: Arc::clone(&self.open),
                broken: Arc::clone(&self.broken),
                held: Arc::clone(&self.held),
                is_ready: false,
            }
        }
    }

    impl Drop for Gate {
        fn drop(&mut self) {
            self.held.fetch_sub(usize::from(self.is_ready), Ordering::SeqCst);
        }
    }

    impl<B> Service<Request<B>> for Gate {
        type Response = Response<Full<Bytes>>;
        type Error = Broken;
        type Future = Ready<Result<Response<Full<Bytes>>, Broken>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
            if self.broken.load(Ordering::SeqCst) {
                return Poll::Ready(Err(Broken));
            }
            if !self.open.load(Ordering::SeqCst) {
                return Poll::Pending;
            }
            if !std::mem::replace(&mut self.is_ready, true) {
                self.held.fetch_add(1, Ordering::SeqCst);
            }
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<B>) -> Self::Future {
            assert!(
                std::mem::take(&mut self.is_ready),
                "called without having said that it is ready"
            );
            self.held.fetch_sub(1, Ordering::SeqCst);
            ready(Ok(empty(StatusCode::OK)))
        }
    }

    fn poll_ready<S: Service<Request<Full<Bytes>>>>(service: &mut S) -> Poll<Result<(), S::Error>> {
        service.poll_ready(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn is_that_of_the_inner_service() {
        let gate = Gate::new(false);
        let mut service = layer().layer(gate.clone());
        assert_eq!(poll_ready(&mut service), Poll::Pending);
        gate.open.store(true, Ordering::SeqCst);
        assert_eq!(poll_ready(&mut service), Poll::Ready(Ok(())));
        assert!(service.get_ref().is_ready, "it was not asked");
        gate.broken.store(true, Ordering::SeqCst);
        assert_eq!(poll_ready(&mut service), Poll::Ready(Err(Broken)));
    }

    #[tokio::test]
    async fn the_instance_that_is_ready_is_the_one_that_is_called() {
        let mut service = layer().layer(Gate::new(true));
        let id = send(service.clone(), CHUNK).await;

        // Twice each, so that what is left behind is asked again as well.
        for _ in 0..2 {
            let response = call(&mut service, get("/other")).await.await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
        }
        let response = call(&mut service, complete(&id)).await.await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let id = send(service.clone(), CHUNK).await;
        let response = call(&mut service, complete(&id)).await.await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_completion_is_handed_over_without_asking_again() {
        let gate = Gate::new(true);
        let mut service = layer().layer(gate.clone());
        let id = send(service.clone(), CHUNK).await;
        let future = call(&mut service, complete(&id)).await;
        gate.open.store(false, Ordering::SeqCst);
        assert_eq!(future.await.unwrap().status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn bytes_of_tus_reserve_nothing_and_the_last_of_them_wait_until_it_is_ready() {
        let gate = Gate::new(true);
        let mut service = layer().tus(Tus::new("/files")).layer(gate.clone());
        let request = |method: &str, path: &str, at: &str, bytes: &'static str| {
            Request::builder()
                .method(method)
                .uri(path)
                .header("tus-resumable", "1.0.0")
                .header("upload-length", "8")
                .header("upload-offset", at)
                .header("content-type", "application/offset+octet-stream")
                .body(Full::from(bytes))
                .unwrap()
        };
        let create = call(&mut service, request("POST", "/files", "0", "sand"));
        let created = create.await.await.unwrap();
        let path = created.headers()["location"].to_str().unwrap();
        let bytes = call(&mut service, request("PATCH", path, "4", "foam")).await;
        drop(service);
        assert_eq!(gate.held.load(Ordering::SeqCst), 0);
        let taken = bytes.await.unwrap();
        assert_eq!(taken.status(), StatusCode::NO_CONTENT);
        assert_eq!(gate.held.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_place_that_was_reserved_for_a_chunk_is_given_back() {
        let gate = Gate::new(true);
        let service = layer().layer(gate.clone());
        send(service.clone(), CHUNK).await;
        drop(service);
        assert_eq!(gate.held.load(Ordering::SeqCst), 0);
    }
}

mod errors {
    use super::*;

    #[tokio::test]
    async fn of_the_inner_service_keep_their_type() {
        let service = layer().layer(service_fn(|_| ready(Err::<Response<Full<Bytes>>, _>(Broken))));
        let error: Broken = service.oneshot(get("/other")).await.unwrap_err();
        assert_eq!(error, Broken);
    }

    #[tokio::test]
    async fn of_the_inner_service_at_completion_leave_the_upload_to_be_completed_again() {
        let fails = Arc::new(AtomicBool::new(true));
        let service = layer().layer(service_fn(move |_| {
            let fails = fails.swap(false, Ordering::SeqCst);
            ready(if fails { Err(Broken) } else { Ok(empty(StatusCode::CREATED)) })
        }));
        let id = send(service.clone(), CHUNK).await;
        let error: Broken = service.clone().oneshot(complete(&id)).await.unwrap_err();
        assert_eq!(error, Broken);
        assert_eq!(status_of(service.clone(), &id).await["status"], "open");
        let response = service.oneshot(complete(&id)).await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
    }

    #[tokio::test]
    async fn a_refusal_can_be_told_by_its_kind_outside() {
        struct Nobody;
        impl Policy for Nobody {
            async fn verify(&self, _: &Verification<'_>) -> Result<(), Refusal> {
                Err(Refusal::unauthenticated())
            }
        }
        let (_, inner) = answering([StatusCode::OK]);
        let service = layer().policy(Nobody).layer(inner);
        let id = send(service.clone(), CHUNK).await;
        let response = service.oneshot(complete(&id)).await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        let refusal = response.extensions().get::<Refusal>().unwrap();
        assert!(refusal.is_unauthenticated());
        assert_eq!(refusal.status(), StatusCode::FORBIDDEN);
    }

    #[tokio::test]
    async fn a_refusal_is_a_response() {
        let service = layer().layer(service_fn(|_| ready(Err::<Response<Full<Bytes>>, _>(Broken))));
        let request = chunk("nonsense", None, Full::<Bytes>::from(FILE));
        let (status, answer) = json_of(service.oneshot(request).await.unwrap()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(
            answer,
            json!({ "code": "malformed-content-range", "detail": "Error in request headers" })
        );
    }
}

mod paths {
    use super::*;

    /// What an axum handler does with a finished file.
    async fn done(upload: CompletedUpload) -> String {
        format!("{} {}", upload.filename(), upload.size())
    }

    async fn text_of(service: Router, request: Request<Full<Bytes>>) -> (StatusCode, String) {
        let (status, bytes) = bytes_of(service.oneshot(request).await.unwrap()).await;
        (status, String::from_utf8_lossy(&bytes).into_owned())
    }

    #[tokio::test]
    async fn match_with_either_form_of_trailing_slash() {
        for configured in ["", "/"] {
            for asked in ["", "/"] {
                let (calls, inner) = answering([StatusCode::CREATED]);
                let paths = Chunked::new()
                    .chunk_path(format!("/chunk{configured}"))
                    .complete_path(format!("/done{configured}"));
                let service = layer().chunked(paths).layer(inner);
                let id = send(service.clone(), &format!("/chunk{asked}")).await;
                let request = completion(&format!("/done{asked}"), &id, Full::new);
                let response = service.oneshot(request).await.unwrap();
                assert_eq!(response.status(), StatusCode::CREATED, "{configured:?} {asked:?}");
                assert_eq!(calls.load(Ordering::SeqCst), 1);
            }
        }
    }

    #[tokio::test]
    async fn reach_the_inner_service_as_it_has_a_route_for_them() {
        for configured in [COMPLETE.to_owned(), format!("{COMPLETE}/")] {
            for asked in [COMPLETE.to_owned(), format!("{COMPLETE}/")] {
                let layer = layer().chunked(Chunked::new().complete_path(&*configured));
                let service = layer.layer(service_fn(async |request: Request<RequestBody<_>>| {
                    let path = request.uri().to_string();
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(path)))
                }));
                let id = send(service.clone(), CHUNK).await;
                let path = format!("{asked}?from=page");
                let response = service.oneshot(completion(&path, &id, Full::new)).await.unwrap();
                assert_eq!(
                    bytes_of(response).await.1,
                    format!("{configured}?from=page"),
                    "{asked}"
                );
            }
        }
    }

    #[tokio::test]
    async fn around_an_axum_router_find_its_route_in_either_form() {
        for configured in ["/done", "/done/"] {
            for asked in ["/done", "/done/"] {
                let routes = Router::new().route(configured, post(done));
                let service =
                    layer().chunked(Chunked::new().complete_path(configured)).around(routes);
                let service = Router::new().fallback_service(service);
                let id = send(service.clone(), CHUNK).await;
                let (status, text) = text_of(service, completion(asked, &id, Full::new)).await;
                assert_eq!(
                    (status, &*text),
                    (StatusCode::OK, "hello.txt 12"),
                    "{configured} {asked}"
                );
            }
        }
    }

    #[tokio::test]
    async fn that_an_axum_router_has_no_route_for_complete_nothing() {
        let service = Router::new().route(COMPLETE, post(done)).layer(layer());
        let id = send(service.clone(), CHUNK).await;
        let other = completion(&format!("{COMPLETE}/"), &id, Full::new);
        assert_eq!(text_of(service.clone(), other).await.0, StatusCode::NOT_FOUND);
        assert_eq!(text_of(service, complete(&id)).await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn others_reach_the_inner_service() {
        let service = layer().layer(service_fn(async |request: Request<RequestBody<_>>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(request.uri().path().to_owned())))
        }));
        for path in
            ["/", "/api", "/api/chunked_uploads", "/api/chunked_upload//", "/API/CHUNKED_UPLOAD"]
        {
            let request = Request::post(path).body(Full::<Bytes>::default()).unwrap();
            let response = service.clone().oneshot(request).await.unwrap();
            assert_eq!(bytes_of(response).await, (StatusCode::OK, Bytes::from(path)));
        }
    }

    #[tokio::test]
    async fn of_an_axum_router_need_no_route_for_the_chunks() {
        let app = Router::new().route(COMPLETE, post(done)).layer(layer());
        let id = send(app.clone(), CHUNK).await;
        let answer = text_of(app.clone(), complete(&id)).await;
        assert_eq!(answer, (StatusCode::OK, "hello.txt 12".to_owned()));
        assert_eq!(text_of(app, get("/other")).await.0, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn are_seen_without_the_prefix_behind_nest_service() {
        let files = Router::new()
            .route("/done", post(done))
            .layer(layer().chunked(Chunked::new().chunk_path("/chunk").complete_path("/done")));
        let app = Router::new().nest_service("/files", files);
        let id = send(app.clone(), "/files/chunk").await;
        let answer = text_of(app.clone(), completion("/files/done", &id, Full::new)).await;
        assert_eq!(answer, (StatusCode::OK, "hello.txt 12".to_owned()));
        let outside = completion("/done", &id, Full::new);
        assert_eq!(text_of(app, outside).await.0, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn are_seen_without_the_prefix_behind_nest() {
        // A nested router hands what it has no route for to the outer one, around its own layers.
        let files = Router::new()
            .route("/chunk", post(async || StatusCode::NOT_IMPLEMENTED))
            .route("/done", post(done))
            .layer(layer().chunked(Chunked::new().chunk_path("/chunk").complete_path("/done")));
        let app = Router::new().nest("/files", files);
        let id = send(app.clone(), "/files/chunk").await;
        let answer = text_of(app.clone(), completion("/files/done", &id, Full::new)).await;
        assert_eq!(answer, (StatusCode::OK, "hello.txt 12".to_owned()));
    }

    fn mounted_at(chunk: &str, complete: &str) -> ChunkedUploadLayer {
        layer().chunked(Chunked::new().chunk_path(chunk).complete_path(complete))
    }

    #[tokio::test]
    async fn mounted_with_nest_service_need_no_route_of_their_own() {
        let files = mounted_at("/", "/done").mount(post(done));
        let inner = Router::new().nest_service("/files", files);
        for (app, prefix) in [
            (inner.clone(), "/files"),
            (Router::new().nest("/api", inner.clone()), "/api/files"),
            (Router::new().nest_service("/api", inner), "/api/files"),
        ] {
            let id = send(app.clone(), prefix).await;
            for path in ["done", "done/"] {
                let other = send(app.clone(), prefix).await;
                let request = completion(&format!("{prefix}/{path}"), &other, Full::new);
                let answer = text_of(app.clone(), request).await;
                assert_eq!(answer, (StatusCode::OK, "hello.txt 12".to_owned()), "{prefix}/{path}");
            }
            for elsewhere in [format!("{prefix}/other"), "/other".to_owned()] {
                let request = completion(&elsewhere, &id, Full::new);
                let (status, text) = text_of(app.clone(), request).await;
                assert_eq!((status, &*text), (StatusCode::NOT_FOUND, ""), "{elsewhere}");
            }
        }
    }

    #[tokio::test]
    async fn mounted_with_route_service_are_two_routes() {
        let files = mounted_at("/chunk", "/done").mount(post(done));
        let app =
            Router::new().route_service("/chunk", files.clone()).route_service("/done", files);
        let id = send(app.clone(), "/chunk").await;
        let answer = text_of(app, completion("/done", &id, Full::new)).await;
        assert_eq!(answer, (StatusCode::OK, "hello.txt 12".to_owned()));
    }

    #[tokio::test]
    async fn mounted_call_the_handler_for_nothing_else() {
        let (calls, inner) = answering([StatusCode::CREATED]);
        let service = layer().mount(inner);
        let response = service.clone().oneshot(get("/other")).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let id = send(service.clone(), CHUNK).await;
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        let response = service.oneshot(complete(&id)).await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn mounted_are_a_service_of_hyper() {
        let hyper = hyper_util::service::TowerToHyperService::new(layer().mount(post(done)));
        let call = async |request: Request<Full<Bytes>>| {
            json_of(hyper::service::Service::call(&hyper, request).await.unwrap()).await
        };
        let (_, answer) = call(chunk("bytes 0-11/12", None, Full::from(FILE))).await;
        let id = answer["upload_id"].as_str().unwrap();
        assert_eq!(call(complete(id)).await.0, StatusCode::OK);
        assert_eq!(call(get("/other")).await.0, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn without_an_upload_the_extractor_says_so_and_no_more() {
        let app = Router::new().route("/elsewhere", post(done)).layer(layer());
        let request = Request::post("/elsewhere").body(Full::default()).unwrap();
        let (status, text) = text_of(app, request).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(text, r#"{"code":"no-upload","detail":"There is no upload to complete"}"#);
    }

    #[tokio::test]
    async fn a_handler_may_do_without_an_upload() {
        async fn maybe(upload: Option<CompletedUpload>) -> String {
            upload.map_or("none".to_owned(), |upload| upload.size().to_string())
        }
        let app = Router::new().route("/elsewhere", post(maybe)).route(COMPLETE, post(maybe));
        let app = app.layer(layer());
        let request = Request::post("/elsewhere").body(Full::default()).unwrap();
        assert_eq!(text_of(app.clone(), request).await.1, "none");
        let id = send(app.clone(), CHUNK).await;
        assert_eq!(text_of(app, complete(&id)).await.1, "12");
    }
}

mod bodies {
    use super::*;

    /// Bytes that are not `Bytes`.
    #[derive(Debug)]
    struct Own(Bytes);

    impl From<Bytes> for Own {
        fn from(bytes: Bytes) -> Self {
            Self(bytes)
        }
    }

    impl Buf for Own {
        fn remaining(&self) -> usize {
            self.0.remaining()
        }

        fn chunk(&self) -> &[u8] {
            self.0.chunk()
        }

        fn advance(&mut self, count: usize) {
            self.0.advance(count);
        }
    }

    /// Uploads and completes with bodies of two kinds, and asks for another path.
    async fn round_trip<Req, Res>(
        request: impl Fn(Bytes) -> Req,
        response: impl Fn(Bytes) -> Res + Clone + Send + Sync + 'static,
    ) where
        Req: Body<Data: From<Bytes> + Send, Error: fmt::Debug + Into<BoxError>> + Send + 'static,
        Res: Body<Data: From<Bytes> + Send, Error: fmt::Debug + Send> + Send + 'static,
    {
        let service = layer().layer(service_fn(move |request: Request<RequestBody<Req>>| {
            let response = response.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let kind = if parts.extensions.get::<CompletedUpload>().is_some() {
                    "done"
                } else {
                    "other"
                };
                let answer = [kind.as_bytes(), b":", &body].concat();
                Ok::<_, Infallible>(Response::new(response(answer.into())))
            }
        }));

        let other = Request::post("/other").body(request(Bytes::from_static(b"data"))).unwrap();
        let answer = bytes_of(service.clone().oneshot(other).await.unwrap()).await;
        assert_eq!(answer.1, "other:data");

        let first = chunk("bytes 0-11/12", None, request(Bytes::from_static(FILE)));
        let (status, answer) = json_of(service.clone().oneshot(first).await.unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let id = answer["upload_id"].as_str().unwrap();
        let last = completion(COMPLETE, id, request);
        let answer = bytes_of(service.oneshot(last).await.unwrap()).await;
        assert_eq!(answer.1, format!("done:{}", form(id)));
    }

    #[tokio::test]
    async fn of_many_kinds_come_and_go() {
        fn full(bytes: Bytes) -> Full<Bytes> {
            Full::new(bytes)
        }
        let own = |bytes| full(bytes).map_frame(|frame| frame.map_data(Own));
        let tonic = |bytes| tonic::body::Body::new(full(bytes));
        round_trip(full, full).await;
        round_trip(full, axum::body::Body::from).await;
        round_trip(axum::body::Body::from, axum::body::Body::from).await;
        round_trip(tonic, tonic).await;
        round_trip(|bytes| full(bytes).boxed(), |bytes| full(bytes).boxed_unsync()).await;
        round_trip(own, own).await;
        round_trip(own, full).await;
    }

    /// What a server demands of the layer around each kind of inner service.
    #[test]
    fn of_hyper_axum_and_tonic_fit_a_server() {
        fn fits<S, B>(_: S)
        where
            S: Service<Request<B>, Response = Response<Out>, Error = Infallible>
                + Clone
                + Send
                + 'static,
            S::Future: Send,
        {
        }
        type Out = tower_chunked_upload::ResponseBody<axum::body::Body>;
        fits::<_, hyper::body::Incoming>(layer().layer(Router::new()));
        fits::<_, axum::body::Body>(layer().layer(Router::new()));
        fits::<_, tonic::body::Body>(layer().layer(Router::new()));
        fits::<_, Empty<Bytes>>(layer().layer(Router::new()));
        fits::<_, hyper::body::Incoming>(layer().mount(Router::new()));
        fits::<_, tonic::body::Body>(layer().mount(Router::new()));
    }

    #[tokio::test]
    async fn pass_through_with_their_trailers_and_errors() {
        let service = layer().layer(service_fn(async |request: Request<RequestBody<Script>>| {
            Ok::<_, Infallible>(Response::new(request.into_body()))
        }));
        let steps = [Step::Data(b"one"), Step::Data(b"two"), Step::Trailers, Step::Fail];
        let request = Request::post("/other").body(Script::new(steps)).unwrap();
        let mut body = service.oneshot(request).await.unwrap().into_body();
        assert!(!body.is_end_stream());
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "two");
        assert_eq!(body.frame().await.unwrap().unwrap().into_trailers().unwrap(), trailers());
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error.downcast_ref::<Broken>(), Some(&Broken));
    }

    #[tokio::test]
    async fn keep_their_size_and_their_end() {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&sizes);
        let service =
            layer().layer(service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
                let body = request.body();
                seen.lock().unwrap().push((body.size_hint().exact(), body.is_end_stream()));
                ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("three"))))
            }));
        for body in [Full::default(), Full::from(FILE)] {
            let request = Request::post("/other").body(body).unwrap();
            let response = service.clone().oneshot(request).await.unwrap();
            assert_eq!(response.body().size_hint().exact(), Some(5));
            assert!(!response.body().is_end_stream());
        }
        let id = send(service.clone(), CHUNK).await;
        service.clone().oneshot(complete(&id)).await.unwrap();
        let form_size = form(&id).len() as u64;
        let want = [(Some(0), true), (Some(12), false), (Some(form_size), false)];
        assert_eq!(*sizes.lock().unwrap(), want);

        let options = Request::options(CHUNK).body(Full::default()).unwrap();
        let response = service.oneshot(options).await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(response.body().size_hint().exact(), Some(0));
        assert!(response.body().is_end_stream());
    }

    #[tokio::test]
    async fn of_a_completion_are_replayed_byte_for_byte() {
        let seen = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&seen);
        let service = layer().layer(service_fn(move |request: Request<RequestBody<_>>| {
            let keep = Arc::clone(&keep);
            async move {
                let (parts, body) = request.into_parts();
                let body: Bytes = BodyExt::collect(body).await.unwrap().to_bytes();
                *keep.lock().unwrap() = Some((parts, body));
                Ok::<_, Infallible>(empty(StatusCode::OK))
            }
        }));
        let kinds: [(&str, fn(&str) -> String); 3] = [
            (FORM, |id| format!("%75pload_id={id}&md5={}&x=%00%ff+%2B&&=", md5_of_file())),
            ("multipart/form-data; boundary=\"b b\"", |id| {
                let part = |name: &str, value: &str| {
                    format!(
                        "--b b\r\nContent-Disposition: form-data; name={name}\r\n\r\n{value}\r\n"
                    )
                };
                let parts = [
                    part("md5", &md5_of_file()),
                    part("extra", "a\r\n\0\u{1F600}"),
                    part("upload_id", id),
                ];
                format!("before\r\n{}--b b--\r\nafter", parts.concat())
            }),
            ("application/json", |id| {
                format!(
                    "{{\"md5\" :\t\"{}\",\r\n \"upload_id\":\"{id}\", \"n\": 1e3}} ",
                    md5_of_file()
                )
            }),
        ];
        for (kind, body) in kinds {
            let id = send(
                service.clone().map_request(|request: Request<Full<Bytes>>| {
                    request.map(axum::body::Body::new)
                }),
                CHUNK,
            )
            .await;
            let body = body(&id);
            // One byte a frame: the replay is of the whole.
            let frames: Vec<_> =
                body.bytes().map(|byte| Step::Data(Vec::leak(vec![byte]))).collect();
            let request = Request::post(format!("{COMPLETE}?q=1"))
                .header(header::CONTENT_TYPE, kind)
                .header("x-user", "alice")
                .extension(7_u32)
                .body(axum::body::Body::new(Script::new(frames)))
                .unwrap();
            let response = service.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{kind}");
            let (parts, replayed) = seen.lock().unwrap().take().unwrap();
            assert_eq!(replayed, body, "{kind}");
            assert_eq!((parts.method, parts.uri.query()), (Method::POST, Some("q=1")));
            assert_eq!(
                (&parts.headers[header::CONTENT_TYPE], &parts.headers["x-user"]),
                (&HeaderValue::from_str(kind).unwrap(), &HeaderValue::from_static("alice"))
            );
            assert_eq!(parts.extensions.get(), Some(&7_u32));
            let upload = parts.extensions.get::<CompletedUpload>().unwrap();
            assert_eq!(upload.id().as_str(), id);
        }
    }
}

mod chunks {
    use super::*;

    fn service() -> impl Service<
        Request<Script>,
        Response = Response<impl Body<Data = Bytes, Error = Infallible>>,
        Error = Infallible,
        Future: Send,
    > + Clone {
        layer().idle_timeout(Duration::from_secs(7)).layer(service_fn(not_called))
    }

    async fn not_called<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
        panic!("a chunk is none of the inner service's business")
    }

    async fn answer<S, B>(service: S, request: Request<Script>) -> (StatusCode, Value)
    where
        S: Service<Request<Script>, Response = Response<B>, Error = Infallible>,
        B: Body<Data = Bytes, Error = Infallible>,
    {
        json_of(service.oneshot(request).await.unwrap()).await
    }

    async fn offset<S, B>(service: S, id: &str) -> Value
    where
        S: Service<Request<Script>, Response = Response<B>, Error = Infallible>,
        B: Body<Data = Bytes, Error = Infallible>,
    {
        let request = Request::get(format!("{CHUNK}?upload_id={id}"));
        answer(service, request.body(Script::default()).unwrap()).await.1["offset"].take()
    }

    /// Begins an upload with the first five bytes.
    async fn begin<S, B>(service: S) -> String
    where
        S: Service<Request<Script>, Response = Response<B>, Error = Infallible>,
        B: Body<Data = Bytes, Error = Infallible>,
    {
        let first = chunk("bytes 0-4/12", None, Script::whole(b"Hello"));
        let (status, answer) = answer(service, first).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["upload_id"].as_str().unwrap().to_owned()
    }

    fn rest(id: &str, steps: impl IntoIterator<Item = Step>) -> Request<Script> {
        chunk("bytes 5-11/12", Some(id), Script::new(steps))
    }

    #[tokio::test]
    async fn whose_body_fails_do_not_count() {
        let service = service();
        let id = begin(service.clone()).await;
        let broken = rest(&id, [Step::Data(b", wor"), Step::Fail]);
        let (status, content) = answer(service.clone(), broken).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(content["detail"], "The request body ended early");
        assert_eq!(offset(service.clone(), &id).await, 5);
        let again = rest(&id, [Step::Data(b", "), Step::Data(b"world"), Step::Trailers]);
        assert_eq!(answer(service, again).await.1["offset"], 12);
    }

    #[tokio::test(start_paused = true)]
    async fn whose_body_stalls_are_ended() {
        let service = service();
        let id = begin(service.clone()).await;
        let stalled = rest(&id, [Step::Data(b", wor"), Step::Stall]);
        let (status, _) = answer(service.clone(), stalled).await;
        assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(offset(service, &id).await, 5);
    }

    #[tokio::test]
    async fn that_are_dropped_give_the_upload_back_as_it_was() {
        let uploads = uploads();
        let service = ChunkedUploadLayer::new(uploads.clone()).idle_timeout(Duration::from_secs(7));
        let service = service.layer(service_fn(not_called));
        let id = begin(service.clone()).await;
        let mut stalled =
            Box::pin(service.clone().oneshot(rest(&id, [Step::Data(b", wor"), Step::Stall])));
        // It reads where the upload stands while the other one holds it.
        let held = async {
            loop {
                tokio::task::yield_now().await;
                if offset(service.clone(), &id).await == 5 {
                    break;
                }
            }
        };
        tokio::select! {
            biased;
            _ = &mut stalled => panic!("nothing more came"),
            () = held => {}
        }
        drop(stalled);
        // Perhaps on a task of its own, and not only to somebody who asks for it.
        let upload = id.parse().unwrap();
        let given_back = async {
            while let Err(error) = uploads.for_operator().delete_if_expired(&upload).await {
                assert_eq!(*error.kind(), ErrorKind::Busy);
                tokio::task::yield_now().await;
            }
        };
        soon(given_back).await;
        assert_eq!(offset(service.clone(), &id).await, 5);
        let again = rest(&id, [Step::Data(b", world")]);
        assert_eq!(answer(service, again).await.1["offset"], 12);
    }

    #[tokio::test]
    async fn a_newer_one_takes_over_from_a_stalled_one() {
        let service = service();
        let id = begin(service.clone()).await;
        let stalled = answer(service.clone(), rest(&id, [Step::Data(b", wor"), Step::Stall]));
        let newer = answer(service, rest(&id, [Step::Data(b", world")]));
        let (stalled, newer) = tokio::join!(biased; stalled, newer);
        assert_eq!(stalled.0, StatusCode::CONFLICT);
        assert_eq!(newer.1["offset"], 12);
    }

    #[tokio::test]
    async fn a_refusal_that_needs_no_body_waits_for_none() {
        let service = service();
        let id = begin(service.clone()).await;
        for request in [
            chunk("nonsense", None, Script::new([Step::Stall])),
            chunk("bytes 7-11/12", Some(&id), Script::new([Step::Stall])),
            chunk(
                "bytes 5-11/12",
                Some(&UploadId::random().to_string()),
                Script::new([Step::Stall]),
            ),
            Request::put(CHUNK).body(Script::new([Step::Stall])).unwrap(),
        ] {
            assert!(answer(service.clone(), request).await.0.is_client_error());
        }
    }

    /// A body without end that counts what was taken of it.
    struct Endless {
        taken: Arc<AtomicUsize>,
        _alive: mpsc::Sender<()>,
    }

    impl Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.taken.fetch_add(100, Ordering::SeqCst);
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 100])))))
        }
    }

    #[tokio::test]
    async fn what_follows_a_refusal_is_read_up_to_the_bound_and_let_go() {
        let taken = Arc::new(AtomicUsize::new(0));
        let (_alive, mut dropped) = mpsc::channel(1);
        let body = Endless { taken: Arc::clone(&taken), _alive };
        let service = layer().drain(1000, Duration::from_secs(3600)).layer(service_fn(not_called));
        let response = service.oneshot(chunk("nonsense", None, body)).await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(soon(dropped.recv()).await, None);
        assert_eq!(taken.load(Ordering::SeqCst), 1100);
    }

    struct Stalled(#[expect(dead_code, reason = "its end is what counts")] mpsc::Sender<()>);

    impl Body for Stalled {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_follows_a_refusal_is_waited_for_no_longer_than_the_bound() {
        // For a short silence, or as long as the bound is.
        for (bound, waits) in [(3, 3), (10, 5), (3600, 5)] {
            let (alive, mut dropped) = mpsc::channel(1);
            let layer = layer().drain(1000, Duration::from_secs(bound));
            let service = layer.layer(service_fn(not_called));
            let request = chunk("nonsense", None, Stalled(alive));
            let start = tokio::time::Instant::now();
            assert_eq!(service.oneshot(request).await.unwrap().status(), StatusCode::BAD_REQUEST);
            assert_eq!(start.elapsed(), Duration::ZERO);
            assert_eq!(dropped.recv().await, None);
            assert_eq!(start.elapsed().as_secs(), waits, "{bound}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_was_refused_for_its_silence_is_not_waited_for_again() {
        for (idle, waits) in [(60, 60), (5, 5), (2, 5)] {
            let (alive, mut dropped) = mpsc::channel(1);
            let layer = layer().idle_timeout(Duration::from_secs(idle));
            let service = layer.layer(service_fn(not_called));
            let start = tokio::time::Instant::now();
            let response = service.oneshot(chunk("bytes 0-11/12", None, Stalled(alive))).await;
            assert_eq!(response.unwrap().status(), StatusCode::REQUEST_TIMEOUT);
            assert_eq!(start.elapsed().as_secs(), idle);
            assert_eq!(dropped.recv().await, None);
            assert_eq!(start.elapsed().as_secs(), waits, "{idle}");
        }
    }
}

mod completion {
    use super::*;

    async fn asks<S, B>(service: &S, id: &str) -> (StatusCode, Value)
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible> + Clone + Sync,
        B: Body<Data = Bytes, Error = Infallible>,
    {
        json_of(service.clone().oneshot(complete(id)).await.unwrap()).await
    }

    fn refusal(code: &str, text: &str) -> Value {
        json!({ "code": code, "detail": text })
    }

    #[tokio::test]
    async fn the_answer_is_the_inner_services() {
        let service = layer().layer(service_fn(|_| {
            let response =
                Response::builder().status(StatusCode::ACCEPTED).header("x-inner", "yes");
            let text = Full::<Bytes>::from("as it likes");
            ready(Ok::<_, Infallible>(response.extension(7_u32).body(text).unwrap()))
        }));
        let id = send(service.clone(), CHUNK).await;
        let response = service.oneshot(complete(&id)).await.unwrap();
        assert_eq!(response.headers().len(), 1);
        assert_eq!(response.headers()["x-inner"], "yes");
        assert_eq!(response.extensions().get(), Some(&7_u32));
        assert_eq!(bytes_of(response).await, (StatusCode::ACCEPTED, Bytes::from("as it likes")));
    }

    #[tokio::test]
    async fn after_an_error_can_be_asked_for_again_and_the_hook_runs_again() {
        let errors = [401, 403, 404, 409, 413, 422, 499, 500, 503, 599];
        let errors = errors.map(|status| StatusCode::from_u16(status).unwrap());
        let (calls, inner) = answering(errors.into_iter().chain([StatusCode::OK]));
        let service = layer().layer(inner);
        let id = send(service.clone(), CHUNK).await;
        for error in errors {
            assert_eq!(asks(&service, &id).await.0, error);
            assert_eq!(status_of(service.clone(), &id).await["status"], "open", "{error}");
        }
        assert_eq!(asks(&service, &id).await.0, StatusCode::OK);
        assert_eq!(calls.load(Ordering::SeqCst), errors.len() + 1);
        assert_eq!(status_of(service, &id).await["status"], "complete");
    }

    #[tokio::test]
    async fn an_answer_that_takes_the_file_completes_it_and_the_hook_never_runs_again() {
        for status in [StatusCode::OK, StatusCode::NO_CONTENT, StatusCode::SEE_OTHER] {
            let (calls, inner) = answering([status]);
            let service = layer().layer(inner);
            let id = send(service.clone(), CHUNK).await;
            assert_eq!(asks(&service, &id).await.0, status);
            assert_eq!(status_of(service.clone(), &id).await["status"], "complete");
            let again = asks(&service, &id).await;
            let refused = refusal("already-complete", "Upload has already been marked as complete");
            assert_eq!(again, (StatusCode::BAD_REQUEST, refused), "{status}");
            assert_eq!(calls.load(Ordering::SeqCst), 1, "{status}");
        }
    }

    #[tokio::test]
    async fn what_is_not_finished_or_not_right_never_reaches_the_inner_service() {
        let (calls, inner) = answering([StatusCode::OK]);
        let service = layer().layer(inner);
        let first = chunk("bytes 0-4/12", None, Full::from(&FILE[..5]));
        let (_, answer) = json_of(service.clone().oneshot(first).await.unwrap()).await;
        let id = answer["upload_id"].as_str().unwrap();
        assert_eq!(asks(&service, id).await.0, StatusCode::BAD_REQUEST);
        let unknown = UploadId::random();
        assert_eq!(asks(&service, unknown.as_str()).await.0, StatusCode::NOT_FOUND);
        let id = send(service.clone(), CHUNK).await;
        let mut wrong = complete(&id);
        *wrong.body_mut() = Full::from(form(&id).replace(&md5_of_file(), &"0".repeat(32)));
        let response = service.clone().oneshot(wrong).await.unwrap();
        assert_eq!(
            json_of(response).await.1,
            refusal("checksum-mismatch", "md5 checksum does not match")
        );
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        assert_eq!(asks(&service, &id).await.0, StatusCode::OK);
    }

    /// Runs until it is let go, and says when it began.
    fn waiting() -> (
        Arc<Notify>,
        Arc<Notify>,
        Arc<AtomicUsize>,
        impl Service<
            Request<RequestBody<Full<Bytes>>>,
            Response = Response<Full<Bytes>>,
            Error = Infallible,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static,
    ) {
        let (began, go, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::default());
        let shared = (Arc::clone(&began), Arc::clone(&go), Arc::clone(&ended));
        let service = service_fn(move |_| {
            let (began, go, ended): (_, _, Arc<AtomicUsize>) = shared.clone();
            async move {
                began.notify_one();
                go.notified().await;
                ended.fetch_add(1, Ordering::SeqCst);
                Ok(empty(StatusCode::OK))
            }
        });
        (began, go, ended, service)
    }

    #[tokio::test]
    async fn a_second_one_while_the_first_runs_is_refused() {
        let (began, go, ended, inner) = waiting();
        let service = layer().layer(inner);
        let id = send(service.clone(), CHUNK).await;
        let second = async {
            began.notified().await;
            let second = asks(&service, &id).await;
            assert_eq!(status_of(service.clone(), &id).await["status"], "finishing");
            assert_eq!(ended.load(Ordering::SeqCst), 0);
            go.notify_one();
            second
        };
        let (first, second) = tokio::join!(asks(&service, &id), second);
        assert_eq!(first.0, StatusCode::OK);
        assert_eq!(
            second,
            (StatusCode::BAD_REQUEST, refusal("finishing", "Upload is being completed"))
        );
        assert_eq!(ended.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn goes_on_when_the_client_leaves() {
        let (began, go, ended, inner) = waiting();
        let (tell, mut told) = mpsc::unbounded_channel();
        let uploads = Uploads::builder(MemoryStore::new()).observer(Tell(tell)).build().unwrap();
        let service = ChunkedUploadLayer::new(uploads).layer(inner);
        let id = send(service.clone(), CHUNK).await;
        tokio::select! {
            _ = service.clone().oneshot(complete(&id)) => panic!("it was not let go"),
            () = began.notified() => {}
        }
        assert_eq!(ended.load(Ordering::SeqCst), 0);
        go.notify_one();
        assert!(matches!(soon(told.recv()).await, Some(Event::Created(_))));
        assert!(matches!(soon(told.recv()).await, Some(Event::Completed(_))));
        assert_eq!(ended.load(Ordering::SeqCst), 1);
        assert_eq!(status_of(service.clone(), &id).await["status"], "complete");
        assert_eq!(asks(&service, &id).await.0, StatusCode::BAD_REQUEST);
    }

    struct Tell(mpsc::UnboundedSender<Event>);

    impl Observer for Tell {
        async fn on_event(&self, event: &Event, _: Option<&Extensions>) {
            drop(self.0.send(event.clone()));
        }
    }

    #[tokio::test]
    async fn a_panic_reaches_the_caller_and_the_upload_can_be_completed_again() {
        for in_call in [true, false] {
            let calls = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&calls);
            let service = layer().layer(service_fn(move |_| {
                let panics = counter.fetch_add(1, Ordering::SeqCst) == 0;
                assert!(!(panics && in_call), "in its call");
                async move {
                    assert!(!panics, "in its future");
                    Ok::<_, Infallible>(empty(StatusCode::OK))
                }
            }));
            let id = send(service.clone(), CHUNK).await;
            let task = tokio::spawn(service.clone().oneshot(complete(&id)));
            let panic = task.await.unwrap_err().into_panic();
            let want = if in_call { "in its call" } else { "in its future" };
            assert_eq!(panic.downcast_ref(), Some(&want));
            assert_eq!(asks(&service, &id).await.0, StatusCode::OK);
            assert_eq!(calls.load(Ordering::SeqCst), 2);
        }
    }

    #[tokio::test]
    async fn the_inner_service_runs_where_the_request_does() {
        tokio::task_local! {
            static USER: &'static str;
        }
        let service = layer().layer(service_fn(async |_| {
            let user = USER.try_with(|user| *user).unwrap_or("nobody");
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(user)))
        }));
        let id = send(service.clone(), CHUNK).await;
        let answer = USER.scope("ada", service.oneshot(complete(&id))).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ada");
    }

    #[tokio::test]
    async fn that_is_dropped_before_it_was_handed_over_changes_nothing() {
        let service =
            layer().layer(service_fn(async |_| Ok::<_, Infallible>(empty(StatusCode::OK))));
        let whole = chunk("bytes 0-11/12", None, Script::whole(FILE));
        let (_, answer) = json_of(service.clone().oneshot(whole).await.unwrap()).await;
        let id = answer["upload_id"].as_str().unwrap().to_owned();
        let stalled =
            completion(COMPLETE, &id, |_| Script::new([Step::Data(b"upload"), Step::Stall]));
        let mut stalled = pin!(service.clone().oneshot(stalled));
        assert!(stalled.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        stalled.set(
            service.clone().oneshot(completion(COMPLETE, &id, |bytes| {
                Script::whole(Vec::leak(bytes.to_vec()))
            })),
        );
        assert_eq!(stalled.await.unwrap().status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn the_extension_is_the_upload() {
        let service =
            layer().layer(service_fn(async |request: Request<RequestBody<Full<Bytes>>>| {
                let upload = request.extensions().get::<CompletedUpload>().unwrap();
                let mut bytes = Vec::new();
                tokio::io::copy(&mut upload.open().await.unwrap(), &mut bytes).await.unwrap();
                assert_eq!(bytes, FILE);
                let facts = json!({
                    "id": upload.id(),
                    "filename": upload.filename(),
                    "size": upload.size(),
                    "type": upload.content_type(),
                    "md5": upload.digest().unwrap().to_hex(),
                    "colour": upload.field("colour"),
                    "owner": upload.owner().is_some(),
                });
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(facts.to_string())))
            }));
        let mut request = chunk("bytes 0-11/12", None, Full::from(FILE));
        *request.uri_mut() = format!("{CHUNK}?colour=blue").parse().unwrap();
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let (_, answer) = json_of(service.clone().oneshot(request).await.unwrap()).await;
        let id = answer["upload_id"].as_str().unwrap();
        let want = json!({
            "id": id,
            "filename": "hello.txt",
            "size": 12,
            "type": "text/plain",
            "md5": md5_of_file(),
            "colour": "blue",
            "owner": false,
        });
        assert_eq!(asks(&service, id).await, (StatusCode::OK, want));
    }
}

mod events {
    use super::*;

    /// Writes down what it is told.
    #[derive(Clone, Default)]
    struct Log {
        lines: Arc<Mutex<Vec<String>>>,
        refuses_files: Arc<AtomicBool>,
    }

    impl Log {
        fn write(&self, user: &str, event: &Event) {
            let kind = match event {
                Event::Created(_) => "created",
                Event::Grew(_) => "grew",
                Event::Completed(_) => "completed",
                Event::Cancelled(_) => "cancelled",
                _ => "other",
            };
            self.push(format!("observer for {user}: {kind} at {}", event.upload().offset()));
        }

        fn push(&self, line: impl Into<String>) {
            self.lines.lock().unwrap().push(line.into());
        }

        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.lines.lock().unwrap())
        }
    }

    impl Observer for Log {
        async fn on_event(&self, event: &Event, request: Option<&Extensions>) {
            // Long enough for everybody who does not wait for it to be heard before.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            let User(name) = request.unwrap().get().unwrap();
            self.write(name, event);
        }
    }

    #[derive(Clone)]
    struct User(&'static str);

    impl Policy for Log {
        async fn authorize(
            &self,
            asked: &tower_chunked_upload::Context<'_>,
        ) -> Result<Option<Owner>, Refusal> {
            let User(name) = asked.request.extensions.get().ok_or_else(Refusal::unauthenticated)?;
            Ok(Some(Owner::new(*name)))
        }

        async fn verify(&self, _: &Verification<'_>) -> Result<(), Refusal> {
            if self.refuses_files.load(Ordering::SeqCst) {
                return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Not that"));
            }
            Ok(())
        }
    }

    type Logged = BoxCloneSyncService<Request<Full<Bytes>>, (StatusCode, Value), Infallible>;

    /// Behind a layer that authenticates, in front of a service that answers with `status`.
    fn logged(status: StatusCode) -> (Log, Logged) {
        let log = Log::default();
        let uploads = Uploads::builder(MemoryStore::new()).observer(log.clone()).build().unwrap();
        let inner = log.clone();
        let service = ChunkedUploadLayer::new(uploads).policy(log.clone()).layer(service_fn(
            move |request: Request<RequestBody<Full<Bytes>>>| {
                let owner = request.extensions().get::<CompletedUpload>().unwrap().owner().cloned();
                inner.push(format!("inner: {}", owner.unwrap().as_str()));
                ready(Ok::<_, Infallible>(empty(status)))
            },
        ));
        let service = service
            .map_request(|mut request: Request<Full<Bytes>>| {
                request.extensions_mut().insert(User("alice"));
                request
            })
            .then(async |response: Result<Response<_>, Infallible>| Ok(json_of(response?).await));
        (log, BoxCloneSyncService::new(service))
    }

    async fn two_chunks(service: &Logged) -> String {
        let first = chunk("bytes 0-4/12", None, Full::from(&FILE[..5]));
        let (_, answer) = service.clone().oneshot(first).await.unwrap();
        let id = answer["upload_id"].as_str().unwrap();
        let second = chunk("bytes 5-11/12", Some(id), Full::from(&FILE[5..]));
        let (status, _) = service.clone().oneshot(second).await.unwrap();
        assert_eq!(status, StatusCode::OK);
        id.to_owned()
    }

    const RECEIVED: [&str; 2] =
        ["observer for alice: created at 5", "observer for alice: grew at 12"];

    #[tokio::test]
    async fn come_in_the_order_of_what_happened_and_before_the_answer() {
        let (log, service) = logged(StatusCode::OK);
        let id = two_chunks(&service).await;
        assert_eq!(log.take(), RECEIVED);
        service.oneshot(complete(&id)).await.unwrap();
        let completed = ["inner: alice", "observer for alice: completed at 12"];
        assert_eq!(log.take(), completed);
    }

    #[tokio::test]
    async fn a_cancelled_upload_is_told_as_it_was() {
        let (log, service) = logged(StatusCode::OK);
        let id = two_chunks(&service).await;
        log.take();
        let cancel = Request::delete(format!("{CHUNK}?upload_id={id}")).body(Full::default());
        let (status, _) = service.oneshot(cancel.unwrap()).await.unwrap();
        assert_eq!(status, StatusCode::NO_CONTENT);
        let cancelled = ["observer for alice: cancelled at 12"];
        assert_eq!(log.take(), cancelled);
    }

    #[tokio::test]
    async fn nothing_is_completed_by_a_server_error() {
        let (log, service) = logged(StatusCode::BAD_GATEWAY);
        let id = two_chunks(&service).await;
        log.take();
        service.oneshot(complete(&id)).await.unwrap();
        assert_eq!(log.take(), ["inner: alice"]);
    }

    #[tokio::test]
    async fn a_file_that_the_policy_refuses_is_not_handed_over_until_it_is_welcome() {
        let (log, service) = logged(StatusCode::OK);
        let id = two_chunks(&service).await;
        log.take();
        log.refuses_files.store(true, Ordering::SeqCst);
        let refused = service.clone().oneshot(complete(&id)).await.unwrap();
        let refusal = json!({ "code": "wrong-content-type", "detail": "Not that" });
        assert_eq!(refused, (StatusCode::UNSUPPORTED_MEDIA_TYPE, refusal));
        assert!(log.take().is_empty());
        log.refuses_files.store(false, Ordering::SeqCst);
        assert_eq!(service.oneshot(complete(&id)).await.unwrap().0, StatusCode::OK);
        assert_eq!(log.take().len(), 2);
    }
}
