//! The server that the wire cases run against. All its settings are environment variables.
//!
//! `WIRE_ADDR` and `WIRE_DATA` are required. `WIRE_READ_BUFFER` (64 KiB) is the size of hyper's
//! read buffer in bytes, and `WIRE_HEAD_SECONDS` (10) is how long a client may be silent before and
//! between its requests. `WIRE_BLOCKING_THREADS` bounds the threads that block, and with
//! `WIRE_IN_PLACE` calls on files are made on the threads of the runtime. The server speaks
//! HTTP/1.1 and cleartext HTTP/2 on one port. A completion with a header `X-Hook-Status` is
//! answered with that status, and its file is not touched.
//!
//! It speaks three protocols: the chunked one, tus at `/files`, and the IETF draft at
//! `/inbox`. That is a resource of an application that knows nothing of uploads: a `POST` or `PUT`
//! of any body is answered with its method, size, SHA-256 and media type. If the folder
//! `WIRE_FINAL` is set, the body is kept there as `SHA256.bin`, and `SHA256.deliveries` grows by
//! one byte each time that the application runs. Unfinished uploads to `/inbox` are below
//! `/uploads`. For requests of HTTP/1.1, the server can send informational responses (104).
//!
//! Expired uploads are swept each `WIRE_SWEEP_SECONDS` (1).
//!
//! With `WIRE_TOKEN_SECRET`, of at least 32 bytes, answers hand out tokens that are good for an hour.
//!
//! With `WIRE_FIRST_BYTES` programs for Windows are refused, which it sees by so many first bytes.
//!
//! With `WIRE_KEEP_SECONDS` the answers to completions are kept, and one that takes more than
//! `WIRE_LONG_MILLIS` has an address below `/completions`.
//!
//! With `WIRE_BUCKET`, named as in the example `cluster`, the uploads are in a bucket, and
//! `WIRE_LEASE_SECONDS` (1) is the lease for completions. With `WIRE_NODES`, that number of servers
//! share the uploads behind a balancer.

use std::convert::Infallible;
use std::env;
use std::error::Error as StdError;
use std::future::poll_fn;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use object_store::{ObjectStore, ObjectStoreExt as _};
use serde_json::{Value, json};
use serve::Server;
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt as _};
use tower_chunked_upload::policy::FirstBytes;
use tower_chunked_upload::store::{BucketStore, Durability, FileCalls, FsStore};
use tower_chunked_upload::{
    Chunked, ChunkedUploadLayer, CompletedUpload, Context, LongCompletions, OperatorUploads, Owner,
    Policy, Refusal, RequestBody, Resumable, Status, TokenKeys, Tus, Uploads,
};

use self::nodes::{Nodes, told_to_end};

#[path = "cluster/balancer.rs"]
mod balancer;
#[path = "cluster/bucket.rs"]
mod bucket;
#[path = "wire/inbox.rs"]
mod inbox;
#[path = "cluster/nodes.rs"]
mod nodes;

type BoxError = Box<dyn StdError + Send + Sync>;

fn main() -> Result<(), BoxError> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(count) = number("WIRE_BLOCKING_THREADS")? {
        runtime.max_blocking_threads(usize::try_from(count)?);
    }
    runtime.enable_all().build()?.block_on(run())
}

async fn run() -> Result<(), BoxError> {
    // This fails only if there is a provider already.
    drop(rustls::crypto::ring::default_provider().install_default());
    match (number("WIRE_NODES")?, nodes::own_number()) {
        (Some(count), None) => balance(usize::try_from(count)?).await,
        (_, node) => serve(node).await,
    }
}

/// Starts that number of servers, and balances between them.
async fn balance(count: usize) -> Result<(), BoxError> {
    let nodes = Nodes::start(count).await?;
    let listener = TcpListener::bind(env::var("WIRE_ADDR")?).await?;
    let server = Server::new(head_timeout()?);
    let connections = balancer::serve(&server, listener, nodes.addresses(), told_to_end()).await;
    tokio::join!(nodes.stop(), async {
        // Apart from the chunks, only idle connections are left.
        drop(tokio::time::timeout(2 * SHUTDOWN, connections.shutdown()).await);
    });
    Ok(())
}

async fn serve(node: Option<usize>) -> Result<(), BoxError> {
    let data = PathBuf::from(env::var_os("WIRE_DATA").ok_or("WIRE_DATA is not set")?);
    let hook = Arc::new(Hook::new(&data, node)?);
    let uploads = match &hook.bucket {
        Some((objects, prefix)) => {
            let lease = Duration::from_secs(number("WIRE_LEASE_SECONDS")?.unwrap_or(1));
            let mut store = BucketStore::builder(Arc::clone(objects)).prefix(prefix);
            if let Some(bytes) = number("WIRE_SEGMENT_BYTES")? {
                store = store.segment_bytes(usize::try_from(bytes)?);
            }
            Uploads::builder(store.completion_lease(lease).connect().await?)
        }
        None => {
            let sync = is_set("WIRE_SYNC");
            let durability = if sync { Durability::Sync } else { Durability::Process };
            let in_place = is_set("WIRE_IN_PLACE");
            let calls = if in_place { FileCalls::InPlace } else { FileCalls::Pool };
            let folder = data.join("chunked_uploads/%Y/%m/%d");
            Uploads::builder(FsStore::new(folder).durability(durability).file_calls(calls))
        }
    };
    let md5_check = !is_set("WIRE_NO_MD5");
    let mut uploads = uploads.checksum(md5_check).read_back(is_set("WIRE_READ_BACK"));
    if let Some(bytes) = number("WIRE_MAX_BYTES")? {
        uploads = uploads.max_bytes(bytes);
    }
    if let Some(seconds) = number("WIRE_EXPIRY_SECONDS")? {
        uploads = uploads.expires_after(Duration::from_secs(seconds));
    }
    let uploads = uploads.build()?;
    let sweep = number("WIRE_SWEEP_SECONDS")?.unwrap_or(1);
    let sweeper = uploads.sweep_every(Duration::from_secs(sweep));

    let layer = ChunkedUploadLayer::new(uploads.clone())
        .chunked(
            Chunked::new()
                .field_name(env::var("WIRE_FIELD").unwrap_or_else(|_| "file".to_owned()))
                .require_content_range(is_set("WIRE_FAIL_IF_NO_HEADER"))
                .md5_check(md5_check),
        )
        .tus(tus())
        .resumable(resumable())
        .idle_timeout(Duration::from_secs(number("WIRE_IDLE_SECONDS")?.unwrap_or(60)))
        .policy(Users {
            required: is_set("WIRE_AUTH"),
            first_bytes: number("WIRE_FIRST_BYTES")?.unwrap_or(0).try_into()?,
        });
    let layer = match env::var("WIRE_TOKEN_SECRET") {
        Ok(secret) => layer.hand_out_tokens(&TokenKeys::new(secret)?, TOKEN_LIFE),
        Err(_) => layer,
    };
    let layer = match number("WIRE_KEEP_SECONDS")? {
        Some(seconds) => layer.keep_answers(Duration::from_secs(seconds)),
        None => layer,
    };
    let layer = match number("WIRE_LONG_MILLIS")? {
        Some(millis) => layer.long_completions(
            LongCompletions::new("/completions").after(Duration::from_millis(millis)),
        ),
        None => layer,
    };
    let finished = uploads.for_operator();
    let application =
        tower::service_fn(move |request| application(Arc::clone(&hook), finished.clone(), request));
    let around = layer.layer(application);
    let (finished, checked) = (uploads.for_operator(), uploads.clone());
    // What is below the path of the draft's uploads does not reach the application.
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let (around, finished, checked) = (around.clone(), finished.clone(), checked.clone());
        async move {
            if request.uri().path() == "/health" {
                return Ok(health(&checked).await.map(Either::Left));
            }
            let (method, uri) = (request.method().clone(), request.uri().clone());
            if let Some(content) = inbox::finished(&finished, method, uri).await {
                return Ok(Response::new(Either::Left(Full::new(Bytes::from(content)))));
            }
            Ok::<_, Infallible>(around.oneshot(request).await?.map(Either::Right))
        }
    });

    let listener = match node {
        Some(_) => TcpListener::bind("127.0.0.1:0").await?,
        None => TcpListener::bind(env::var("WIRE_ADDR")?).await?,
    };
    if node.is_some() {
        nodes::listens_at(listener.local_addr()?);
    }
    let mut server = Server::new(head_timeout()?);
    let read_buffer = number("WIRE_READ_BUFFER")?.unwrap_or(64 * 1024);
    server.hyper.http1().max_buf_size(usize::try_from(read_buffer)?);
    let connections = server.serve(listener, service, told_to_end()).await;
    tokio::join!(uploads.shutdown(SHUTDOWN), async {
        // Apart from the chunks, only idle connections are left.
        drop(tokio::time::timeout(2 * SHUTDOWN, connections.shutdown()).await);
    });
    sweeper.stop().await;
    Ok(())
}

fn tus() -> Tus {
    let tus = Tus::new("/files").handler_path("/api/chunked_upload_complete");
    if is_set("WIRE_ABSOLUTE") { tus.absolute_urls(false) } else { tus }
}

fn resumable() -> Resumable {
    let resumable = Resumable::new("/uploads").paths([inbox::PATH]);
    if is_set("WIRE_ABSOLUTE") { resumable.absolute_urls(false) } else { resumable }
}

/// `X-User` names the user.
struct Users {
    required: bool,
    first_bytes: usize,
}

impl Policy for Users {
    async fn authorize(&self, asked: &Context<'_>) -> Result<Option<Owner>, Refusal> {
        let name = asked.request.headers.get("x-user").and_then(|name| name.to_str().ok());
        match name {
            Some(name) if self.required => Ok(Some(Owner::new(name))),
            None if self.required => Err(Refusal::unauthenticated()),
            _ => Ok(None),
        }
    }

    fn first_bytes_wanted(&self) -> usize {
        self.first_bytes
    }

    async fn first_bytes(&self, first: &FirstBytes<'_>) -> Result<(), Refusal> {
        match first.bytes.starts_with(b"MZ") {
            true => Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "No programs")),
            false => Ok(()),
        }
    }
}

/// The service inside the layer.
async fn application<B>(
    hook: Arc<Hook>,
    uploads: OperatorUploads,
    request: Request<RequestBody<B>>,
) -> Result<Response<Full<Bytes>>, Infallible>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    if request.uri().path().trim_end_matches('/') == inbox::PATH {
        return Ok(inbox::receive(hook.folder.as_deref(), request).await);
    }
    let Some(upload) = request.extensions().get::<CompletedUpload>().cloned() else {
        let (parts, _) = request.into_parts();
        if let Some(content) = hook.finished(&uploads, &parts).await {
            return Ok(Response::new(Full::new(content.into())));
        }
        return Ok(answer(StatusCode::NOT_FOUND, &json!({ "detail": "Not found" })));
    };
    if let Some(status) = hook_status(request.headers()) {
        return Ok(answer(status, &json!({})));
    }
    Ok(match hook.completed(&upload).await {
        Ok(content) => answer(StatusCode::OK, &content),
        Err(error) => {
            eprintln!("completion of {:?}: {error}", upload.id());
            answer(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "detail": "Internal error" }))
        }
    })
}

/// Whether uploads can be stored. A server of an application would keep the reason for its log.
async fn health(uploads: &Uploads) -> Response<Full<Bytes>> {
    match tokio::time::timeout(SHUTDOWN, uploads.check()).await {
        Ok(Ok(health)) => answer(StatusCode::OK, &json!({ "free_bytes": health.free_bytes })),
        Ok(Err(error)) => {
            let why = error.source().map(ToString::to_string);
            let content = json!({ "detail": error.to_string(), "why": why });
            answer(StatusCode::SERVICE_UNAVAILABLE, &content)
        }
        Err(_) => answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "detail": "no answer" })),
    }
}

/// The status that a request wants to be answered with.
fn hook_status(headers: &HeaderMap) -> Option<StatusCode> {
    StatusCode::from_bytes(headers.get("x-hook-status")?.as_bytes()).ok()
}

struct Hook {
    /// Where finished files go, if they are kept.
    folder: Option<PathBuf>,
    /// The bucket, and the prefix of the keys in it.
    bucket: Option<(Arc<dyn ObjectStore>, String)>,
}

impl Hook {
    fn new(data: &Path, node: Option<usize>) -> Result<Self, BoxError> {
        let bucket = match env::var("WIRE_BUCKET") {
            Ok(bucket) => {
                // Each data folder has its own uploads.
                let prefix = data.to_str().ok_or("WIRE_DATA is not text")?.trim_matches('/');
                Some((bucket::open(&bucket, node.unwrap_or(0))?, prefix.to_owned()))
            }
            Err(_) => None,
        };
        Ok(Self { folder: env::var_os("WIRE_FINAL").map(PathBuf::from), bucket })
    }

    /// The bytes of the finished upload that a `GET` names by its URL.
    async fn finished(&self, uploads: &OperatorUploads, request: &Parts) -> Option<Vec<u8>> {
        let id = request.uri.path().strip_prefix("/files/")?.parse().ok()?;
        if request.method != Method::GET
            || uploads.status(&id).await.ok()?.status() != Status::Complete
        {
            return None;
        }
        if let Some(folder) = &self.folder {
            return tokio::fs::read(folder.join(format!("{id}.bin"))).await.ok();
        }
        let mut content = Vec::new();
        uploads.open(&id).await.ok()?.read_to_end(&mut content).await.ok()?;
        Some(content)
    }

    async fn completed(&self, upload: &CompletedUpload) -> Result<Value, BoxError> {
        if let Some(folder) = &self.folder {
            return self.keep(upload, folder).await;
        }
        if !is_set("WIRE_ECHO") {
            return Ok(json!({}));
        }
        Ok(json!({
            "filename": upload.filename(),
            "size": upload.size(),
            "sha256": hex(&read::<Sha256>(upload).await?),
        }))
    }

    async fn keep(&self, upload: &CompletedUpload, folder: &Path) -> Result<Value, BoxError> {
        let counter = folder.join(format!("{}.deliveries", upload.id()));
        let deliveries = tokio::task::spawn_blocking(move || {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(counter)?;
            file.write_all(b".")?;
            Ok::<_, std::io::Error>(file.metadata()?.len())
        });
        let deliveries = deliveries.await??;
        let target = folder.join(format!("{}.bin", upload.id()));
        match &self.bucket {
            None => upload.persist(target).await?,
            Some((objects, prefix)) => {
                let key = format!("{prefix}-final/{}.bin", upload.id());
                upload.persist(&key).await?;
                fetch(&**objects, &key, &target).await?;
            }
        }
        let md5 = match upload.digest() {
            Some(digest) => digest.to_hex(),
            None => hex(&read::<md5::Md5>(upload).await?),
        };
        Ok(json!({
            "upload_id": upload.id(),
            "size": upload.size(),
            "md5": md5,
            "deliveries": deliveries,
        }))
    }
}

/// Copies an object to a file, whole or not at all.
async fn fetch(objects: &dyn ObjectStore, key: &str, target: &Path) -> Result<(), BoxError> {
    let mut content = objects.get(&key.into()).await?.into_stream();
    let part = target.with_extension(format!("{}.part", std::process::id()));
    let mut file = tokio::fs::File::create(&part).await?;
    while let Some(piece) = poll_fn(|cx| content.as_mut().poll_next(cx)).await {
        file.write_all(&piece?).await?;
    }
    file.flush().await?;
    Ok(tokio::fs::rename(&part, target).await?)
}

/// The digest of the file as it is in the store.
async fn read<D: sha2::Digest>(upload: &CompletedUpload) -> Result<Vec<u8>, BoxError> {
    let mut file = pin!(upload.open().await?);
    let mut digest = D::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer).await? {
            0 => return Ok(digest.finalize().to_vec()),
            read => digest.update(&buffer[..read]),
        }
    }
}

fn answer(status: StatusCode, content: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(content.to_string().into()));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}

fn head_timeout() -> Result<Duration, BoxError> {
    Ok(Duration::from_secs(number("WIRE_HEAD_SECONDS")?.unwrap_or(10)))
}

fn number(name: &str) -> Result<Option<u64>, BoxError> {
    match env::var(name) {
        Ok(text) => Ok(Some(text.parse().map_err(|_| format!("{name} is not a number"))?)),
        Err(_) => Ok(None),
    }
}

const SHUTDOWN: Duration = Duration::from_secs(3);
const TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);
