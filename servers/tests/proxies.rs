//! The configurations of proxies that the guide shows, in front of a server.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::env;
use std::fs;
use std::future::poll_fn;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, getuid, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower_chunked_upload::informational::{Http1Listener, Http1Make};
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Resumable, Tus, Uploads};

#[path = "support/client.rs"]
mod client;
#[path = "support/ports.rs"]
mod ports;
#[path = "support/server.rs"]
mod server;
#[path = "support/upload.rs"]
mod upload;

use ports::free_ports;
use server::{
    Answer, DEADLINE, Plan, Shape, cancel_request, complete_request, has_extension, read_answer,
    request, status_request, until, upload_id,
};
use upload::{Dialect, Upload};

const NGINX_CONF: &str = include_str!("../../examples/nginx/nginx.conf");
const UPLOAD_CONF: &str = include_str!("../../examples/nginx/upload.conf");
const TUS_CONF: &str = include_str!("../../examples/nginx/tus.conf");
const RESUMABLE_CONF: &str = include_str!("../../examples/nginx/resumable.conf");
const CADDYFILE: &str = include_str!("../../examples/deploy/Caddyfile");
const HAPROXY_CFG: &str = include_str!("../../examples/deploy/haproxy.cfg");
/// Where clients see the uploads of tus if a prefix is removed, and where the server does.
const PREFIXED: &str = "/api/files";
const PRIVATE: &str = "/files";
/// Where the files of the guide expect the server.
const UPSTREAM: &str = "127.0.0.1:3000";
/// More than nginx takes unless it is told to, and than sockets hold on the way.
const CHUNK: usize = 8 << 20;
const LARGEST_FILE: u64 = 64 << 20;

/// A proxy in front of a server, with their folders.
struct World {
    proxy: Proxy,
    server: Server,
    folder: TempDir,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It removes a prefix of the path for tus, which the URLs of uploads then have.
    Nginx,
    Caddy,
    Haproxy,
}

impl Kind {
    fn public(self) -> &'static str {
        if self == Self::Nginx { PREFIXED } else { PRIVATE }
    }
}

impl World {
    fn start(kind: Kind) -> Self {
        let folder = TempDir::with_prefix_in("proxy-", env!("CARGO_TARGET_TMPDIR")).unwrap();
        let addr = SocketAddr::from(([127, 0, 0, 1], free_ports(1)));
        let server = Server::start(folder.path(), addr, kind.public());
        let proxy = Proxy::start(kind, &folder.path().join("proxy"), server.addr);
        Self { proxy, server, folder }
    }

    /// Ends the server in the middle of what it does, and puts another one in its place.
    fn restart(&mut self, meanwhile: impl FnOnce(&Proxy)) {
        let addr = self.server.addr;
        self.server.kill();
        meanwhile(&self.proxy);
        self.server = Server::start(self.folder.path(), addr, self.proxy.kind.public());
    }

    fn ask(&self, bytes: &[u8]) -> Answer {
        self.proxy.ask(bytes)
    }

    /// How many bytes of uploads the server has written.
    fn stored(&self) -> u64 {
        let parts = files_below(&self.folder.path().join("uploads"));
        let parts = parts.iter().filter(|path| has_extension(path, "part"));
        parts.filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum()
    }

    /// Sends a file in chunks; gives its id.
    fn upload(&self, plan: &Plan) -> String {
        let mut id = None;
        for (number, start) in (0..plan.content.len()).step_by(CHUNK).enumerate() {
            let end = plan.content.len().min(start + CHUNK);
            let shape = Shape::ALL[number % Shape::ALL.len()];
            let chunk = plan.chunk(start..end, id.as_deref(), shape);
            let standing = self.ask(&chunk.bytes).accepted().unwrap();
            assert_eq!(standing["offset"], end);
            id = Some(upload_id(&standing));
        }
        id.unwrap()
    }

    /// Begins an upload with its first chunk and sends the second one but for its end, until the
    /// server has written something of that.
    fn within_the_second_chunk(&self, plan: &Plan) -> (String, TcpStream) {
        let first = plan.chunk(0..CHUNK, None, Shape::Raw);
        let id = upload_id(&self.ask(&first.bytes).accepted().unwrap());
        let second = plan.chunk(CHUNK..2 * CHUNK, Some(&id), Shape::IdFirst);
        let mut stream = self.proxy.connect();
        stream.write_all(&second.bytes[..second.file_end - 1]).unwrap();
        until("the server writes", || self.stored() > CHUNK as u64);
        (id, stream)
    }

    fn finish(&self, id: &str, plan: &Plan) {
        let answer = self.ask(&complete_request(id, &plan.md5));
        assert_eq!((answer.status, &answer.json["saved"]), (200, &json!(plan.filename())));
        let kept = fs::read(self.folder.path().join("media").join(id)).unwrap();
        assert!(kept == plan.content, "the file is another one");
    }
}

/// The server, on threads of its own.
struct Server {
    addr: SocketAddr,
    runtime: Option<Runtime>,
    under_way: Arc<AtomicUsize>,
}

impl Server {
    fn start(folder: &Path, addr: SocketAddr, public: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        // A proxy that another test starts has a copy of the listener that was here until it runs.
        let mut listener = None;
        until("nobody listens there", || {
            listener = runtime.block_on(tokio::net::TcpListener::bind(addr)).ok();
            listener.is_some()
        });
        let listener = listener.unwrap();
        let under_way = Arc::default();
        let app = app(folder, Arc::clone(&under_way), public);
        let app = Http1Make::new(app.into_make_service());
        runtime.spawn(async { axum::serve(Http1Listener::new(listener), app).await });
        Self { addr, runtime: Some(runtime), under_way }
    }

    fn requests_under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    /// Its connections are cut, and nobody listens any more.
    fn kill(&mut self) {
        drop(self.runtime.take());
    }
}

fn app(folder: &Path, under_way: Arc<AtomicUsize>, public: &str) -> Router {
    let store = FsStore::new(folder.join("uploads/%Y"));
    let uploads = Uploads::builder(store).max_bytes(LARGEST_FILE).build().unwrap();
    let complete_path = "/api/chunked_upload_complete";
    let tus = Tus::new(PRIVATE).handler_path(complete_path).public_url(public);
    let resumable = Resumable::new("/uploads").paths(["/inbox"]);
    let layer = ChunkedUploadLayer::new(uploads).tus(tus).resumable(resumable);
    let routes = Router::new()
        .route(complete_path, post(done))
        .with_state(folder.join("media"))
        .route("/inbox", post(inbox).layer(DefaultBodyLimit::disable()));
    Router::new()
        .fallback_service(layer.around(routes))
        .layer(middleware::from_fn_with_state(under_way, count))
}

async fn done(State(media): State<PathBuf>, upload: CompletedUpload) -> Json<Value> {
    upload.persist(media.join(upload.id().as_str())).await.unwrap();
    Json(json!({ "saved": upload.filename() }))
}

/// A handler that knows nothing of uploads.
async fn inbox(body: Bytes) -> String {
    upload::sha256(&body)
}

async fn count(
    State(under_way): State<Arc<AtomicUsize>>,
    request: Request,
    next: Next,
) -> Response {
    struct Guard(Arc<AtomicUsize>);

    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    under_way.fetch_add(1, Ordering::SeqCst);
    let _guard = Guard(under_way);
    next.run(request).await
}

/// A process with the files of the guide, ended when this goes.
struct Proxy {
    kind: Kind,
    child: Child,
    log: PathBuf,
    http1: SocketAddr,
    /// Of nginx only.
    http2: SocketAddr,
}

impl Proxy {
    fn start(kind: Kind, folder: &Path, upstream: SocketAddr) -> Self {
        fs::create_dir(folder).unwrap();
        let http1 = TcpListener::bind("127.0.0.1:0").unwrap();
        let http2 = TcpListener::bind("127.0.0.1:0").unwrap();
        let addrs = [&http1, &http2].map(|listener| listener.local_addr().unwrap());
        let to_here = |text: &str| replaced(text, UPSTREAM, &upstream.to_string());
        // It takes over the sockets, so that nobody else can have their ports.
        for listener in [&http1, &http2] {
            fcntl_setfd(listener, FdFlags::empty()).unwrap();
        }
        let log = folder.join("error.log");
        let mut command = match kind {
            Kind::Nginx => nginx(folder, addrs, to_here, &log, [&http1, &http2]),
            Kind::Haproxy => {
                let inherited = format!("bind fd@{}", http1.as_raw_fd());
                let config = replaced(&to_here(HAPROXY_CFG), "bind :8080", &inherited);
                let path = folder.join("haproxy.cfg");
                fs::write(&path, config).unwrap();
                let mut haproxy = Command::new(program("haproxy"));
                haproxy.args(["-db", "-f"]).arg(path);
                haproxy
            }
            Kind::Caddy => return caddy(folder, log, (http1, http2), to_here),
        };
        if kind != Kind::Nginx {
            command.stderr(fs::File::create(&log).unwrap());
        }
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{kind:?} does not start: {error} (apt-get install nginx haproxy caddy)")
        });
        Self { kind, child, log, http1: addrs[0], http2: addrs[1] }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.http1);
        stream.unwrap_or_else(|error| panic!("{error}: {}", self.log()))
    }

    fn ask(&self, bytes: &[u8]) -> Answer {
        let answer = server::ask(self.http1, bytes);
        answer.unwrap_or_else(|cut| panic!("{cut:?}: {}", self.log()))
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Proxy {
    /// In order, since a master that is killed leaves its workers behind.
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        self.child.wait().unwrap();
    }
}

/// It cannot take over a socket, so somebody else may have its port before it does.
fn caddy(
    folder: &Path,
    log: PathBuf,
    (mut http1, http2): (TcpListener, TcpListener),
    to_here: impl Fn(&str) -> String,
) -> Proxy {
    let path = folder.join("Caddyfile");
    for _ in 0..5 {
        let addr = http1.local_addr().unwrap();
        let here = format!("http://:{} {{\n bind {}", addr.port(), addr.ip());
        let config = replaced(&to_here(CADDYFILE), ":8080 {", &here);
        fs::write(&path, format!("{{\n admin off\n}}\n{config}")).unwrap();
        drop(http1);
        let child = Command::new(program("caddy"))
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(&path)
            .env("HOME", folder)
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .expect("this test needs caddy: apt-get install caddy");
        let log = log.clone();
        let http2 = http2.local_addr().unwrap();
        let mut proxy = Proxy { kind: Kind::Caddy, child, log, http1: addr, http2 };
        let mut ended = false;
        until("caddy listens, or ends", || {
            ended = proxy.child.try_wait().unwrap().is_some();
            // A connection would also be taken by whoever has got the port meanwhile.
            ended || proxy.log().contains("serving initial configuration")
        });
        if !ended {
            return proxy;
        }
        http1 = TcpListener::bind("127.0.0.1:0").unwrap();
    }
    panic!("caddy does not start: {}", fs::read_to_string(log).unwrap());
}

fn nginx(
    folder: &Path,
    addrs: [SocketAddr; 2],
    to_here: impl Fn(&str) -> String,
    log: &Path,
    listeners: [&TcpListener; 2],
) -> Command {
    let listen = format!("listen {}; listen {} http2;", addrs[0], addrs[1]);
    let conf = replaced(&to_here(NGINX_CONF), "listen 8080;", &listen);
    let conf = replaced(&conf, "include tus.conf;", "include tus.conf; include resumable.conf;");
    let conf = replaced(&conf, "http {", &format!("http {{ {}", files_in(folder)));
    fs::write(folder.join("nginx.conf"), conf).unwrap();
    fs::write(folder.join("upload.conf"), to_here(UPLOAD_CONF)).unwrap();
    fs::write(folder.join("resumable.conf"), to_here(RESUMABLE_CONF)).unwrap();
    let prefixed =
        replaced(TUS_CONF, &format!("location {PRIVATE} "), &format!("location {PREFIXED} "));
    let removed = format!("http://{UPSTREAM}{PRIVATE};");
    let prefixed = replaced(&prefixed, &format!("http://{UPSTREAM};"), &removed);
    fs::write(folder.join("tus.conf"), to_here(&prefixed)).unwrap();

    let mut nginx = Command::new(program("nginx"));
    nginx
        .arg("-e")
        .arg(log)
        .arg("-p")
        .arg(folder)
        .arg("-c")
        .arg(folder.join("nginx.conf"))
        .args(["-g", &format!("daemon off; pid {}; {}", folder.join("pid").display(), user())])
        .env("NGINX", format!("{};{};", listeners[0].as_raw_fd(), listeners[1].as_raw_fd()))
        .stderr(Stdio::null());
    nginx
}

/// The workers of root's nginx would be somebody who may not write here.
fn user() -> &'static str {
    if getuid().is_root() { "user root;" } else { "" }
}

fn program(name: &str) -> PathBuf {
    // Debian's is where only root looks.
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut programs = folders.map(|folder| folder.join(name));
    programs.find(|program| program.is_file()).unwrap_or_else(|| PathBuf::from(name))
}

/// What nginx writes, and where.
fn files_in(folder: &Path) -> String {
    let folder = folder.display();
    let unused = ["proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/unused;"))
        .concat();
    format!("access_log off; client_body_temp_path {folder}/bodies; {unused}")
}

/// A text that would stand in for nothing is a test of nothing.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is gone from {text}");
    text.replace(from, to)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(folder).into_iter().flatten();
    files.filter(|entry| entry.file_type().is_file()).map(|entry| entry.into_path()).collect()
}

/// Each of these with a proxy, as a test of its own.
macro_rules! tests {
    ($proxy:ident $kind:ident $($test:ident)*) => {
        mod $proxy {
            $(#[test]
            fn $test() {
                super::$test(super::World::start(super::Kind::$kind));
            })*
        }
    };
}

macro_rules! tests_of_all {
    ($($test:ident)*) => {
        tests! { nginx Nginx $($test)* a_refusal_is_there_before_the_client_has_sent_the_rest }
        tests! { haproxy Haproxy $($test)* a_refusal_is_there_before_the_client_has_sent_the_rest }
        // It wants more of the body before it answers.
        tests! { caddy Caddy $($test)* }
    };
}

tests_of_all! {
    a_file_arrives_byte_for_byte_in_large_chunks
    a_chunk_reaches_the_server_while_its_end_is_still_to_come
    a_cut_connection_reaches_the_server_and_the_chunk_can_be_sent_again
    a_server_that_ends_is_told_to_the_client_and_the_upload_goes_on_after_its_restart
    a_refusal_arrives_as_the_layer_wrote_it_also_in_the_middle_of_a_body
    a_question_and_a_cancellation_pass
    an_upload_of_tus_that_is_cut_goes_on_where_the_server_had_it
    parts_are_joined_by_the_urls_that_the_client_sees
}

fn a_file_arrives_byte_for_byte_in_large_chunks(world: World) {
    let plan = Plan::of_length(1, 0, 3 * CHUNK + 12_345);
    let id = world.upload(&plan);
    world.finish(&id, &plan);
}

fn a_chunk_reaches_the_server_while_its_end_is_still_to_come(world: World) {
    let plan = Plan::of_length(2, 0, 2 * CHUNK);
    let (id, mut stream) = world.within_the_second_chunk(&plan);
    let second = plan.chunk(CHUNK..2 * CHUNK, Some(&id), Shape::IdFirst);
    stream.write_all(&second.bytes[second.file_end - 1..]).unwrap();
    let standing = read_answer(&mut stream).unwrap().accepted().unwrap();
    assert_eq!(standing["offset"], plan.content.len());
    world.finish(&id, &plan);
}

fn a_cut_connection_reaches_the_server_and_the_chunk_can_be_sent_again(world: World) {
    let plan = Plan::of_length(3, 0, 2 * CHUNK);
    let (id, stream) = world.within_the_second_chunk(&plan);
    assert_eq!(world.server.requests_under_way(), 1);
    stream.shutdown(Shutdown::Both).unwrap();
    drop(stream);
    until("the server sees it", || world.server.requests_under_way() == 0);

    let second = plan.chunk(CHUNK..2 * CHUNK, Some(&id), Shape::IdFirst);
    world.ask(&second.bytes).accepted().unwrap();
    world.finish(&id, &plan);
}

fn a_server_that_ends_is_told_to_the_client_and_the_upload_goes_on_after_its_restart(
    mut world: World,
) {
    let plan = Plan::of_length(4, 0, 2 * CHUNK);
    let (id, mut stream) = world.within_the_second_chunk(&plan);
    let cuts = world.proxy.kind != Kind::Nginx;
    world.restart(|proxy| {
        // From the proxy, or from the server with its last breath; or the connection is cut.
        assert!(read_answer(&mut stream).is_ok_and(|answer| answer.status >= 500) || cuts);
        assert!(matches!(proxy.ask(&status_request(&id)).status, 502 | 503));
    });
    assert_eq!(world.ask(&status_request(&id)).accepted().unwrap()["offset"], CHUNK);
    let second = plan.chunk(CHUNK..2 * CHUNK, Some(&id), Shape::IdFirst);
    world.ask(&second.bytes).accepted().unwrap();
    world.finish(&id, &plan);
}

fn a_refusal_arrives_as_the_layer_wrote_it_also_in_the_middle_of_a_body(world: World) {
    let plan = Plan::of_length(5, 0, 2 * CHUNK);
    let first = plan.chunk(0..CHUNK, None, Shape::IdFirst);
    let id = upload_id(&world.ask(&first.bytes).accepted().unwrap());

    for shape in Shape::ALL {
        let again = plan.chunk(0..CHUNK, Some(&id), shape);
        let answer = world.ask(&again.bytes);
        assert_eq!((answer.status, &answer.json["offset"]), (400, &json!(CHUNK)), "{shape:?}");
        assert_eq!(answer.json["code"], "offset-mismatch");
    }

    let total = LARGEST_FILE + 1;
    let range = format!(
        "Content-Disposition: attachment; filename=\"a\"\r\nContent-Range: bytes 0-{}/{total}\r\n",
        CHUNK - 1
    );
    let answer = world.ask(&request("POST", "/api/chunked_upload", &range, &plan.content[..CHUNK]));
    assert_eq!((answer.status, &answer.json["code"]), (400, &json!("too-large")));
}

fn a_refusal_is_there_before_the_client_has_sent_the_rest(world: World) {
    let mut stream = world.proxy.connect();
    let head = format!(
        "POST /api/chunked_upload HTTP/1.1\r\nHost: x\r\nContent-Length: {CHUNK}\r\n\
         Content-Disposition: attachment; filename=\"a\"\r\n\
         Content-Range: bytes 7-{}/{LARGEST_FILE}\r\n\r\n",
        CHUNK + 6
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&[7; 1000]).unwrap();
    let answer = read_answer(&mut stream).unwrap();
    assert_eq!((answer.status, &answer.json["offset"]), (400, &json!(0)));
}

fn a_question_and_a_cancellation_pass(world: World) {
    let plan = Plan::of_length(6, 0, 2 * CHUNK);
    let first = plan.chunk(0..CHUNK, None, Shape::IdLast);
    let id = upload_id(&world.ask(&first.bytes).accepted().unwrap());
    let standing = world.ask(&status_request(&id)).accepted().unwrap();
    assert_eq!((&standing["offset"], &standing["status"]), (&json!(CHUNK), &json!("open")));

    assert_eq!(world.ask(&cancel_request(&id)).status, 204);
    assert_eq!(world.ask(&status_request(&id)).status, 404);
    assert_eq!(world.stored(), 0);
}

fn an_upload_of_tus_that_is_cut_goes_on_where_the_server_had_it(world: World) {
    let plan = Plan::of_length(7, 0, 2 * CHUNK);
    let total = plan.content.len();
    let path = created(&world, &format!("Upload-Length: {total}\r\n"));
    let mut stream = world.proxy.connect();
    let head = upload::patch_head(&path, 0, &format!("Content-Length: {total}\r\n"));
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&plan.content[..CHUNK]).unwrap();
    let standing = || asked(&world, "HEAD", &path, "", b"").offset().unwrap();
    until("the server has all of it", || standing() == CHUNK);
    drop(stream);
    until("the server sees it", || world.server.requests_under_way() == 0);
    let rest = asked(&world, "PATCH", &path, &upload::patch_headers(CHUNK), &plan.content[CHUNK..]);
    assert_eq!(rest.told(), (204, Some(total)));
    is_kept(&world, &path, &plan.content);
}

fn parts_are_joined_by_the_urls_that_the_client_sees(world: World) {
    let plan = Plan::of_length(8, 0, 3 * CHUNK);
    let urls = [0..CHUNK, CHUNK..3 * CHUNK].map(|range| {
        let length = range.len();
        let path =
            created(&world, &format!("Upload-Concat: partial\r\nUpload-Length: {length}\r\n"));
        let sent = asked(&world, "PATCH", &path, &upload::patch_headers(0), &plan.content[range]);
        assert_eq!(sent.told(), (204, Some(length)));
        // `Host` has no port when it comes to the server.
        format!("http://{}{path}", world.proxy.http1)
    });
    let path = created(&world, &format!("Upload-Concat: final;{}\r\n", urls.join(" ")));
    is_kept(&world, &path, &plan.content);
}

/// nginx would take an informational response for the answer, so a client that asks for one gets none.
#[test]
fn a_request_to_a_handler_is_answered_and_goes_on_behind_nginx() {
    let world = World::start(Kind::Nginx);
    let plan = Plan::of_length(9, 0, 2 * CHUNK);
    let total = plan.content.len();
    let digest = upload::sha256(&plan.content);
    let headers = "Upload-Complete: ?1\r\nUpload-Draft-Interop-Version: 6\r\n";
    let whole = Dialect::Draft.request("POST", "/inbox", headers, &plan.content);
    let reply = client::ask(world.proxy.http1, "POST", &whole);
    assert_eq!((reply.status, reply.body), (200, digest.clone().into_bytes()));

    let mut upload = Upload::create_in(Dialect::Draft, world.proxy.http1, plan);
    let before = world.stored();
    let mut stream = upload.begin_patch(&upload.length());
    stream.write_all(&upload.plan.content[..CHUNK]).unwrap();
    until("the server has all of it", || world.stored() == before + CHUNK as u64);
    drop(stream);
    until("the server sees it", || world.server.requests_under_way() == 0);
    assert_eq!(upload.offset(), CHUNK);
    let reply = upload.patch(CHUNK..total, "");
    assert_eq!((reply.status, reply.body), (200, digest.into_bytes()));
}

fn asked(world: &World, method: &str, path: &str, headers: &str, body: &[u8]) -> client::Reply {
    let headers = format!("Host: {}\r\nTus-Resumable: 1.0.0\r\n{headers}", world.proxy.http1);
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\n{headers}Content-Length: {length}\r\n\r\n");
    client::ask(world.proxy.http1, method, &[head.as_bytes(), body].concat())
}

fn created(world: &World, headers: &str) -> String {
    let reply = asked(world, "POST", world.proxy.kind.public(), headers, b"");
    assert_eq!(reply.status, 201, "{reply:?}");
    let path = reply.header("location").unwrap();
    assert!(path.starts_with(&format!("{}/", world.proxy.kind.public())), "{path}");
    path.to_owned()
}

fn is_kept(world: &World, path: &str, content: &[u8]) {
    let id = path.rsplit('/').next().unwrap();
    let kept = fs::read(world.folder.path().join("media").join(id)).unwrap();
    assert!(kept == content, "the file is another one");
}

#[test]
fn other_paths_keep_the_limits_of_nginx() {
    let world = World::start(Kind::Nginx);
    let answer = world.ask(&request("POST", "/elsewhere", "", &vec![7; CHUNK]));
    assert_eq!(answer.status, u16::from(StatusCode::PAYLOAD_TOO_LARGE));
    assert_eq!(answer.json, Value::Null);
}

/// As large as the guide says, or a line with a long way is slow.
#[test]
fn the_window_over_http2_is_that_of_the_buffer() {
    assert!(UPLOAD_CONF.contains("client_body_buffer_size 1m;"));
    let world = World::start(Kind::Nginx);
    let runtime = Runtime::new().unwrap();
    let window = runtime.block_on(window(world.proxy.http2, 1 << 20));
    assert_eq!(window, 1 << 20, "{}", world.proxy.log());
}

/// How much of a chunk may be sent before the server has taken any: waits for this much, but not for ever.
async fn window(addr: SocketAddr, least: usize) -> usize {
    let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let mut client = h2::client::Builder::new();
    client.max_send_buffer_size(CHUNK);
    let (mut client, connection) = client.handshake::<_, Bytes>(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::post("http://x/api/chunked_upload")
        .header("content-disposition", "attachment; filename=\"a\"")
        .header("content-range", format!("bytes 0-{}/{LARGEST_FILE}", CHUNK - 1))
        .body(())
        .unwrap();
    let (_answer, mut body) = client.send_request(request, false).unwrap();
    body.reserve_capacity(CHUNK);
    let grown = async {
        while body.capacity() < least {
            poll_fn(|cx| body.poll_capacity(cx)).await.expect("the stream goes on").unwrap();
        }
    };
    drop(tokio::time::timeout(DEADLINE, grown).await);
    // A connection that has ended gives none.
    let window = body.capacity();
    connection.abort();
    window
}

#[test]
fn the_timeouts_leave_the_word_to_the_layer_and_the_handler() {
    let seconds = |name: &str| {
        let (_, value) = UPLOAD_CONF.split_once(&format!(" {name} ")).expect(name);
        let (seconds, _) = value.split_once("s;").unwrap();
        seconds.parse::<u64>().unwrap()
    };
    // That of the layer, unless set.
    assert!(seconds("client_body_timeout") > 60);
    // That of nginx, unless set.
    assert!(seconds("proxy_read_timeout") > 60);
}
