//! What the tests of the whole service share: forms, bodies that misbehave, and a client.

#![allow(
    dead_code,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "each test uses some of it, and all of it is tests"
)]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response, StatusCode, request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use md5::Digest as _;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, watch};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_chunked_upload::store::{
    Batch, Capabilities, Commit, Cursor, FsStore, HandoffRequest, MemoryStore, Page, Reader,
    Remains, Store, StoreError, Writer,
};
use tower_chunked_upload::{
    ChunkedUpload, ChunkedUploadLayer, CompletedUpload, ErrorKind, RequestBody, Upload, UploadId,
    Uploads, UploadsBuilder,
};

pub(crate) const CHUNK: &str = "/api/chunked_upload";
pub(crate) const COMPLETE: &str = "/api/chunked_upload_complete";
pub(crate) const NO_ID: &str = "00000000000040008000000000000000";
pub(crate) const TAKEN_OVER: &str = "Upload was taken over by a newer request";

/// Bytes that repeat only after a long time, so that a shifted or repeated piece shows.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

pub(crate) fn md5(bytes: &[u8]) -> String {
    md5::Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A form, part by part.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form {
    bytes: Vec<u8>,
}

impl Form {
    pub(crate) const BOUNDARY: &str = "----boundary";

    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn part(mut self, headers: &[u8], content: &[u8]) -> Self {
        self.bytes.extend_from_slice(format!("--{}\r\n", Self::BOUNDARY).as_bytes());
        self.bytes.extend_from_slice(headers);
        self.bytes.extend_from_slice(b"\r\n\r\n");
        self.bytes.extend_from_slice(content);
        self.bytes.extend_from_slice(b"\r\n");
        self
    }

    pub(crate) fn field(self, name: &str, value: &str) -> Self {
        let head = format!("Content-Disposition: form-data; name=\"{name}\"");
        self.part(head.as_bytes(), value.as_bytes())
    }

    pub(crate) fn id(self, id: Option<&str>) -> Self {
        match id {
            Some(id) => self.field("upload_id", id),
            None => self,
        }
    }

    pub(crate) fn file(self, filename: &str, content: &[u8]) -> Self {
        self.file_in("file", filename, content)
    }

    pub(crate) fn file_in(self, field: &str, filename: &str, content: &[u8]) -> Self {
        self.part(Self::file_head(field, filename).as_bytes(), content)
    }

    fn file_head(field: &str, filename: &str) -> String {
        format!(
            "Content-Disposition: form-data; name=\"{field}\"; filename=\"{filename}\"\r\n\
             Content-Type: application/octet-stream"
        )
    }

    /// The form up to the first byte of a file, for what follows in pieces.
    pub(crate) fn open_file(mut self, filename: &str) -> Bytes {
        let head = Self::file_head("file", filename);
        self.bytes.extend_from_slice(format!("--{}\r\n{head}\r\n\r\n", Self::BOUNDARY).as_bytes());
        self.bytes.into()
    }

    /// What ends a form whose last part is open.
    pub(crate) fn close() -> Bytes {
        format!("\r\n--{}--\r\n", Self::BOUNDARY).into()
    }

    pub(crate) fn end(mut self) -> Bytes {
        self.bytes.extend_from_slice(format!("--{}--\r\n", Self::BOUNDARY).as_bytes());
        self.bytes.into()
    }

    /// The parts so far, and no end.
    pub(crate) fn bytes(self) -> Bytes {
        self.bytes.into()
    }

    pub(crate) fn content_type() -> String {
        format!("multipart/form-data; boundary={}", Self::BOUNDARY)
    }
}

const ENDLESS: u64 = 128 << 20;
/// A test that takes so long waits for what will not come.
pub(crate) const HANGS: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(1);
/// Of uploads whose requests are to be refused for what others do, and not since the machine is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What was done with a [`TestBody`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) polls: usize,
    pub(crate) bytes: u64,
    /// Everything that was there has been taken, and more was asked for.
    pub(crate) waiting: bool,
    pub(crate) dropped: bool,
}

/// Watches a [`TestBody`].
#[derive(Clone, Debug)]
pub(crate) struct Probe(watch::Receiver<Seen>);

impl Probe {
    pub(crate) fn now(&self) -> Seen {
        *self.0.borrow()
    }

    pub(crate) async fn waiting(&mut self) -> Seen {
        *self.0.wait_for(|seen| seen.waiting).await.expect("the body waits")
    }

    pub(crate) async fn begun(&mut self) -> Seen {
        *self.0.wait_for(|seen| seen.bytes > 0).await.expect("the body is read")
    }

    pub(crate) async fn dropped(&mut self) -> Seen {
        // The sender is dropped with the body; what it said last stays.
        drop(self.0.wait_for(|seen| seen.dropped).await);
        self.now()
    }
}

/// A piece of a [`TestBody`].
#[derive(Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    /// Not ready once.
    Yield,
    After(Duration, Bytes),
    /// The same again and again, until the test has failed.
    Endless(Bytes),
    /// Nothing for ever.
    Stall,
    Fail,
    Trailers,
    TrailersOf(HeaderMap),
}

/// A body that does what a test wants.
pub(crate) struct TestBody {
    pieces: VecDeque<Piece>,
    more: Option<mpsc::UnboundedReceiver<Piece>>,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    size: Option<u64>,
    seen: watch::Sender<Seen>,
}

impl TestBody {
    pub(crate) fn new(pieces: impl IntoIterator<Item = Piece>) -> Self {
        let (seen, _) = watch::channel(Seen::default());
        let pieces = pieces.into_iter().collect();
        Self { pieces, more: None, sleep: None, size: None, seen }
    }

    pub(crate) fn empty() -> Self {
        Self::new([]).declare(0)
    }

    /// A body of known length, as with a Content-Length.
    pub(crate) fn of(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let length = bytes.len() as u64;
        Self::new([Piece::Data(bytes)]).declare(length)
    }

    /// A body in pieces, with a pause of the source before each.
    pub(crate) fn halting(bytes: &Bytes, size: usize) -> Self {
        let mut pieces = Vec::new();
        for start in (0..bytes.len()).step_by(size) {
            // Whoever asks twice before it waits is to wait.
            pieces.extend([Piece::Yield, Piece::Yield]);
            pieces.push(Piece::Data(bytes.slice(start..bytes.len().min(start + size))));
        }
        Self::new(pieces)
    }

    /// A body to which a test adds as it goes; it stalls while there is nothing.
    pub(crate) fn live() -> (mpsc::UnboundedSender<Piece>, Self) {
        let (sender, more) = mpsc::unbounded_channel();
        let mut body = Self::new([]);
        body.more = Some(more);
        (sender, body)
    }

    pub(crate) fn declare(mut self, size: u64) -> Self {
        self.size = Some(size);
        self
    }

    /// How many pieces it has.
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    pub(crate) fn probe(&self) -> Probe {
        Probe(self.seen.subscribe())
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        if let Some(piece) = self.pieces.pop_front() {
            return Poll::Ready(Some(piece));
        }
        match &mut self.more {
            Some(more) => more.poll_recv(cx),
            None => Poll::Ready(None),
        }
    }

    fn data(&self, bytes: Bytes) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        self.seen.send_modify(|seen| seen.bytes += bytes.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

impl Body for TestBody {
    type Data = Bytes;
    type Error = BodyFailed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        self.seen.send_modify(|seen| seen.polls += 1);
        if let Some(sleep) = &mut self.sleep {
            std::task::ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
        let Poll::Ready(piece) = self.next(cx) else {
            self.seen.send_modify(|seen| seen.waiting = true);
            return Poll::Pending;
        };
        match piece {
            None => Poll::Ready(None),
            Some(Piece::Data(bytes)) => self.data(bytes),
            Some(Piece::Yield) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Piece::After(time, bytes)) => {
                let mut sleep = Box::pin(tokio::time::sleep(time));
                self.pieces.push_front(Piece::Data(bytes));
                if sleep.as_mut().poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                } else {
                    self.sleep = Some(sleep);
                }
                self.seen.send_modify(|seen| seen.waiting = true);
                Poll::Pending
            }
            Some(Piece::Endless(bytes)) => {
                // A bound that is broken must not cost the machine its memory.
                assert!(self.seen.borrow().bytes < ENDLESS, "nobody ends an endless body");
                self.pieces.push_front(Piece::Endless(bytes.clone()));
                self.data(bytes)
            }
            Some(Piece::Stall) => {
                self.pieces.push_front(Piece::Stall);
                self.seen.send_modify(|seen| seen.waiting = true);
                Poll::Pending
            }
            Some(Piece::Fail) => Poll::Ready(Some(Err(BodyFailed))),
            Some(Piece::Trailers) => Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::new())))),
            Some(Piece::TrailersOf(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.size.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for TestBody {
    fn drop(&mut self) {
        self.seen.send_modify(|seen| seen.dropped = true);
    }
}

#[derive(Debug)]
pub(crate) struct BodyFailed;

impl fmt::Display for BodyFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection reset by peer (os error 104)")
    }
}

impl std::error::Error for BodyFailed {}

/// What the inner service was given.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) upload: CompletedUpload,
    pub(crate) content: Vec<u8>,
    pub(crate) form: Bytes,
}

pub(crate) type Inner =
    BoxCloneSyncService<Request<RequestBody<TestBody>>, Response<Full<Bytes>>, Infallible>;
pub(crate) type InnerRequest = Request<RequestBody<TestBody>>;

/// Calls the service that a layer makes around an application.
#[derive(Clone)]
pub(crate) struct Client {
    service: ChunkedUpload<Inner>,
    deliveries: Arc<Mutex<Vec<Delivery>>>,
}

impl Client {
    /// Around an application that reads each file and remembers it.
    pub(crate) fn new(layer: ChunkedUploadLayer) -> Self {
        let deliveries = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&deliveries);
        let inner = service_fn(move |request: InnerRequest| {
            let log = Arc::clone(&log);
            async move {
                let (parts, body) = request.into_parts();
                let form = body.collect().await.expect("the body").to_bytes();
                let Some(upload) = parts.extensions.get::<CompletedUpload>() else {
                    let not_ours = Response::new(Full::from(format!("inner {}", parts.uri)));
                    return Ok::<_, Infallible>(not_ours);
                };
                let delivery =
                    Delivery { upload: upload.clone(), content: content(upload).await, form };
                log.lock().unwrap().push(delivery);
                Ok(Response::new(Full::from(r#"{"saved":true}"#)))
            }
        });
        Self { service: layer.layer(BoxCloneSyncService::new(inner)), deliveries }
    }

    /// Around another application.
    pub(crate) fn around<F, R>(layer: ChunkedUploadLayer, hook: F) -> Self
    where
        F: Fn(InnerRequest) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let inner = service_fn(move |request| {
            let response = hook(request);
            async move { Ok::<_, Infallible>(response.await) }
        });
        let service = layer.layer(BoxCloneSyncService::new(inner));
        Self { service, deliveries: Arc::default() }
    }

    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries.lock().unwrap().clone()
    }

    /// The future of the response itself, for a test that drops it.
    pub(crate) fn call(
        &self,
        request: Request<TestBody>,
    ) -> impl Future<Output = Reply> + Send + 'static + use<> {
        let response = self.service.clone().oneshot(request);
        async move {
            let (parts, body) = response.await.expect("infallible").into_parts();
            let body = body.collect().await.expect("a body of ours").to_bytes();
            Reply { status: parts.status, headers: parts.headers, body }
        }
    }

    pub(crate) async fn send(&self, request: Request<TestBody>) -> Reply {
        self.call(request).await
    }

    /// The same when the service was called already, as servers do before they poll the future.
    pub(crate) fn call_now(
        &self,
        request: Request<TestBody>,
    ) -> impl Future<Output = StatusCode> + Send + 'static + use<> {
        let response = self.service.clone().call(request);
        async move { response.await.expect("infallible").status() }
    }

    /// A request whose client has left when it is looked at.
    pub(crate) fn leave(&self, request: Request<TestBody>) {
        drop(self.call_now(request));
    }

    /// A request that is answered while the test does something else.
    pub(crate) fn spawn(&self, request: Request<TestBody>) -> tokio::task::JoinHandle<Reply> {
        tokio::spawn(self.call(request))
    }

    pub(crate) async fn chunk(&self, id: Option<&str>, at: u64, total: u64, data: &[u8]) -> Reply {
        self.send(chunk(id, at, total, data)).await
    }

    /// Uploads the file in one chunk and gives its id.
    pub(crate) async fn upload(&self, content: &[u8]) -> String {
        let form = Form::new().file("a.bin", content).end();
        let reply = self.send(form_request(TestBody::of(form))).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.id()
    }

    /// Uploads the first bytes of a file and gives its id.
    pub(crate) async fn begin(&self, total: u64, first: &[u8]) -> String {
        let reply = self.chunk(None, 0, total, first).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.id()
    }

    pub(crate) async fn complete(&self, id: &str, md5: &str) -> Reply {
        self.send(complete(id, md5)).await
    }

    pub(crate) async fn status(&self, id: &str) -> Reply {
        self.send(on_id(Method::GET, id)).await
    }

    pub(crate) async fn offset(&self, id: &str) -> u64 {
        let reply = self.status(id).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["offset"].as_u64().expect("an offset")
    }

    pub(crate) async fn cancel(&self, id: &str) -> Reply {
        self.send(on_id(Method::DELETE, id)).await
    }
}

/// The file as the application reads it.
pub(crate) async fn content(upload: &CompletedUpload) -> Vec<u8> {
    let mut content = Vec::new();
    let mut reader = upload.open().await.expect("the file");
    reader.read_to_end(&mut content).await.expect("the content");
    content
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn id(&self) -> String {
        self.json()["upload_id"].as_str().expect("an id").to_owned()
    }

    pub(crate) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A refusal of the layer's own, in the form that every one has: gives its detail.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header(CONTENT_TYPE), Some("application/json"), "{self:?}");
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"), "{self:?}");
        let json = self.json();
        let detail = json["detail"].as_str().unwrap_or_else(|| panic!("no detail: {self:?}"));
        assert!(!detail.is_empty(), "{self:?}");
        let text = format!("{self:?}").to_lowercase();
        for secret in
            ["os error", "errno", "/tmp", ".part", ".log", "::", "storeerror", "errorkind"]
        {
            assert!(!text.contains(secret), "{secret}: {self:?}");
        }
        detail.to_owned()
    }
}

/// The request with one more header.
pub(crate) fn with(
    mut request: Request<TestBody>,
    name: &'static str,
    value: &str,
) -> Request<TestBody> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

pub(crate) fn request_with(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: TestBody,
) -> Request<TestBody> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

pub(crate) fn post(path: &str) -> request::Builder {
    Request::post(path)
}

pub(crate) fn on_id(method: Method, id: &str) -> Request<TestBody> {
    let uri = format!("{CHUNK}?upload_id={id}");
    Request::builder().method(method).uri(uri).body(TestBody::empty()).unwrap()
}

/// A chunk request without a range.
pub(crate) fn form_request(body: TestBody) -> Request<TestBody> {
    post(CHUNK).header(CONTENT_TYPE, Form::content_type()).body(body).unwrap()
}

pub(crate) fn range(at: u64, length: u64, total: u64) -> String {
    format!("bytes {at}-{}/{total}", (at + length).saturating_sub(1))
}

/// A chunk request with the range.
pub(crate) fn ranged(range: &str, body: TestBody) -> Request<TestBody> {
    let request = post(CHUNK).header(CONTENT_TYPE, Form::content_type());
    request.header(CONTENT_RANGE, range).body(body).unwrap()
}

pub(crate) fn chunk(id: Option<&str>, at: u64, total: u64, data: &[u8]) -> Request<TestBody> {
    let form = Form::new().id(id).file("a.bin", data).end();
    ranged(&range(at, data.len() as u64, total), TestBody::of(form))
}

/// A chunk as jQuery-File-Upload sends it with `multipart: false`.
pub(crate) fn raw(id: Option<&str>, range: Option<&str>, body: TestBody) -> Request<TestBody> {
    let uri = id.map_or_else(|| CHUNK.to_owned(), |id| format!("{CHUNK}?upload_id={id}"));
    let mut request = post(&uri).header(CONTENT_DISPOSITION, "attachment; filename=\"a%20b.bin\"");
    if let Some(range) = range {
        request = request.header(CONTENT_RANGE, range);
    }
    request.body(body).unwrap()
}

pub(crate) fn complete(id: &str, md5: &str) -> Request<TestBody> {
    let request = post(COMPLETE).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    request.body(TestBody::of(format!("upload_id={id}&md5={md5}"))).unwrap()
}

pub(crate) fn in_memory() -> Uploads {
    Uploads::builder(MemoryStore::new()).build().unwrap()
}

/// A client of a store in memory with default settings.
pub(crate) fn client() -> Client {
    Client::new(ChunkedUploadLayer::new(in_memory()))
}

/// A store in a folder that goes when the test ends.
pub(crate) fn folder() -> (tempfile::TempDir, FsStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = FsStore::new(folder.path().join("up/%Y/%m/%d"));
    (folder, store)
}

/// A slow machine is not to be taken for a request that does not give way.
pub(crate) fn patient(builder: UploadsBuilder) -> UploadsBuilder {
    builder.takeover_timeout(PATIENCE)
}

/// Runs the test once in memory and once in a folder.
pub(crate) fn on_both_stores<R: Future<Output = ()>>(
    test: impl Fn(&'static str, UploadsBuilder) -> R,
) {
    run(test("memory", patient(Uploads::builder(MemoryStore::new()))));
    let (_folder, store) = folder();
    run(test("folder", patient(Uploads::builder(store))));
}

/// What goes while it looks is passed over.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        let entries = match std::fs::read_dir(&at) {
            Err(error) if gone(&error) && at != folder => continue,
            entries => entries.unwrap(),
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let is_folder = match path.symlink_metadata() {
                Err(error) if gone(&error) => continue,
                found => found.unwrap().is_dir(),
            };
            if is_folder {
                folders.push(path);
            } else if !(cfg!(windows) && path.ends_with(".records/process.lock")) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// All uploads of the store, by their ids.
pub(crate) async fn all_ids(uploads: &Uploads) -> Vec<UploadId> {
    let mut listing = uploads.for_operator().list(tower_chunked_upload::Filter::all());
    let mut ids = Vec::new();
    while let Some(upload) = listing.next().await {
        ids.push(upload.expect("a record").id);
    }
    ids
}

pub(crate) fn id(text: &str) -> UploadId {
    text.parse().expect("an id")
}

/// A clock that stands until it is set.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Arc<Mutex<SystemTime>>);

impl Clock {
    /// 2026-11-22T10:00:00Z
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(UNIX_EPOCH + Duration::from_secs(1_795_341_600))))
    }

    pub(crate) fn read(&self) -> impl Fn() -> SystemTime + Send + Sync + 'static + use<> {
        let time = Arc::clone(&self.0);
        move || *time.lock().unwrap()
    }

    pub(crate) fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }

    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

/// Does the work on a runtime of its own and waits for all that it left running there.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(HANGS, work).await.expect("it hangs") })
}

/// The same on one thread, so that nothing happens while a future is polled.
pub(crate) fn run_alone<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(HANGS, work).await.expect("it hangs") })
}

/// Waits for what nobody tells.
pub(crate) async fn until(what: &str, mut happens: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + HANGS;
    while !happens().await {
        assert!(tokio::time::Instant::now() < end, "{what}: it does not happen");
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until nobody holds the upload. Whatever was dropped and held it gives it back in the background,
/// when its last write has come to rest.
pub(crate) async fn given_back(uploads: &Uploads, id: &UploadId) {
    until("the upload is given back", async || {
        // It asks nobody to stop, and changes nothing.
        match uploads.for_operator().delete_if_expired(id).await {
            Err(error) if *error.kind() == ErrorKind::Busy => false,
            asked => {
                assert!(!asked.expect("an upload"), "it had expired and is gone");
                true
            }
        }
    })
    .await;
}

/// A call of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Create,
    Load,
    Writer,
    Open,
    List,
    Write(usize),
    Commit(usize),
    Reread,
    Persist,
    Remove,
    Probe,
    /// A record was loaded, and is not given out yet. It is held, and does not count as a call.
    Loaded,
    /// The same of a page.
    Listed,
    /// An upload was removed, and nobody is told yet. It is held, and does not count as a call.
    Removed,
}

/// A store in memory that fails, or waits, where a test says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Double {
    inner: MemoryStore,
    plan: Arc<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    calls: Mutex<Vec<Call>>,
    failing: Mutex<Option<(Call, i32)>>,
    gate: Mutex<Option<(Call, Gate)>>,
    room: Mutex<Option<u64>>,
}

/// Where a call of a [`Double`] waits.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    arrived: watch::Sender<bool>,
    open: watch::Sender<bool>,
}

impl Gate {
    pub(crate) async fn arrived(&self) {
        self.arrived.subscribe().wait_for(|arrived| *arrived).await.expect("the gate");
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }
}

fn same_kind(one: Call, other: Call) -> bool {
    std::mem::discriminant(&one) == std::mem::discriminant(&other)
}

impl Double {
    /// From now on calls of this kind fail with this error of the system.
    pub(crate) fn fail(&self, call: Call, errno: i32) {
        *self.plan.failing.lock().unwrap() = Some((call, errno));
    }

    pub(crate) fn mend(&self) {
        *self.plan.failing.lock().unwrap() = None;
    }

    /// From now on it has room for so many bytes; unless set, it cannot tell.
    pub(crate) fn set_room(&self, bytes: u64) {
        *self.plan.room.lock().unwrap() = Some(bytes);
    }

    /// From now on calls of this kind wait until the gate is opened.
    pub(crate) fn hold(&self, call: Call) -> Gate {
        let gate = Gate { arrived: watch::Sender::new(false), open: watch::Sender::new(false) };
        *self.plan.gate.lock().unwrap() = Some((call, gate.clone()));
        gate
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.plan.calls.lock().unwrap().clone()
    }
}

impl Plan {
    async fn pass(&self, call: Call) {
        let gate = self.gate.lock().unwrap().clone();
        if let Some((held, gate)) = gate
            && same_kind(held, call)
        {
            gate.arrived.send_replace(true);
            gate.open.subscribe().wait_for(|open| *open).await.expect("the gate");
        }
    }

    async fn enter(&self, call: Call) -> Result<(), StoreError> {
        self.calls.lock().unwrap().push(call);
        self.pass(call).await;
        match *self.failing.lock().unwrap() {
            Some((failing, errno)) if same_kind(failing, call) => {
                let error = std::io::Error::from_raw_os_error(errno);
                Err(StoreError::io("write /srv/uploads/secret.part", error))
            }
            _ => Ok(()),
        }
    }
}

impl Store for Double {
    type Writer = DoubleWriter;

    fn check(&self) -> Result<(), StoreError> {
        self.inner.check()
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.plan.enter(Call::Probe).await?;
        self.inner.probe().await
    }

    async fn create(&self, upload: Upload) -> Result<DoubleWriter, StoreError> {
        self.plan.enter(Call::Create).await?;
        let inner = self.inner.create(upload).await?;
        Ok(DoubleWriter { inner, plan: Arc::clone(&self.plan) })
    }

    async fn load(&self, id: &UploadId) -> Result<Upload, StoreError> {
        self.plan.enter(Call::Load).await?;
        let loaded = self.inner.load(id).await;
        self.plan.pass(Call::Loaded).await;
        loaded
    }

    async fn writer(&self, id: &UploadId) -> Result<DoubleWriter, StoreError> {
        self.plan.enter(Call::Writer).await?;
        let inner = self.inner.writer(id).await?;
        Ok(DoubleWriter { inner, plan: Arc::clone(&self.plan) })
    }

    fn recall(&self, _: &UploadId) -> Option<DoubleWriter> {
        None
    }

    async fn open(&self, id: &UploadId) -> Result<Reader, StoreError> {
        self.plan.enter(Call::Open).await?;
        self.inner.open(id).await
    }

    async fn discard(&self, id: &UploadId) -> Result<(), StoreError> {
        self.inner.discard(id).await
    }

    async fn remove_damaged(&self, id: &UploadId) -> Result<bool, StoreError> {
        self.inner.remove_damaged(id).await
    }

    async fn list(&self, cursor: Option<Cursor>) -> Result<Page, StoreError> {
        self.plan.enter(Call::List).await?;
        let listed = self.inner.list(cursor).await;
        self.plan.pass(Call::Listed).await;
        listed
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn list_expiring(&self, cursor: Option<Cursor>) -> Result<Page, StoreError> {
        self.inner.list_expiring(cursor).await
    }

    async fn remains(&self, id: &UploadId) -> Result<Remains, StoreError> {
        self.inner.remains(id).await
    }

    async fn request_handoff(&self, id: &UploadId, wanted: bool) -> Result<(), StoreError> {
        self.inner.request_handoff(id, wanted).await
    }

    async fn handoff_requests(&self) -> Result<Vec<HandoffRequest>, StoreError> {
        self.inner.handoff_requests().await
    }

    async fn settle(&self) {
        self.inner.settle().await;
    }

    async fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        // Others ask and reserve in between.
        tokio::task::yield_now().await;
        Ok(*self.plan.room.lock().unwrap())
    }
}

pub(crate) struct DoubleWriter {
    inner: <MemoryStore as Store>::Writer,
    plan: Arc<Plan>,
}

impl Writer for DoubleWriter {
    fn upload(&self) -> &Upload {
        self.inner.upload()
    }

    fn needs_verification(&self) -> bool {
        self.inner.needs_verification()
    }

    fn mark_verified(&mut self) {
        self.inner.mark_verified();
    }

    async fn write(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.plan.enter(Call::Write(batch.len())).await?;
        self.inner.write(batch).await
    }

    async fn inspected(&mut self) -> Result<(), StoreError> {
        self.inner.inspected().await
    }

    async fn commit(&mut self, commit: Commit) -> Result<(), StoreError> {
        self.plan.enter(Call::Commit(commit.len())).await?;
        self.inner.commit(commit).await
    }

    async fn into_reader(self) -> Result<Reader, StoreError> {
        self.plan.enter(Call::Reread).await?;
        self.inner.into_reader().await
    }

    fn path(&self) -> Option<PathBuf> {
        self.inner.path()
    }

    async fn persist(&mut self, target: &Path, overwrite: bool) -> Result<(), StoreError> {
        self.plan.enter(Call::Persist).await?;
        self.inner.persist(target, overwrite).await
    }

    async fn remove(self) -> Result<(), StoreError> {
        self.plan.enter(Call::Remove).await?;
        let removed = self.inner.remove().await;
        self.plan.pass(Call::Removed).await;
        removed
    }
}

/// Polls the work so often, and drops it.
pub(crate) async fn poll_times<T>(work: impl Future<Output = T>, times: usize) -> Option<T> {
    let (mut work, mut left) = (pin!(work), times);
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        let poll = work.as_mut().poll(cx).map(Some);
        if left == 0 && poll.is_pending() { Poll::Ready(None) } else { poll }
    })
    .await
}
