//! The configuration of nginx that the guide shows, in front of a server.

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

use axum::extract::{Request, State};
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
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Tus, Uploads};

#[path = "support/client.rs"]
mod client;
#[path = "support/server.rs"]
mod server;
#[path = "support/upload.rs"]
mod upload;

use server::{
    Answer, DEADLINE, Plan, Shape, cancel_request, complete_request, has_extension, read_answer,
    request, status_request, until, upload_id,
};

const NGINX_CONF: &str = include_str!("../../examples/nginx/nginx.conf");
const UPLOAD_CONF: &str = include_str!("../../examples/nginx/upload.conf");
const TUS_CONF: &str = include_str!("../../examples/nginx/tus.conf");
/// Where clients see the uploads of tus, and where the server does.
const PUBLIC: &str = "/api/files";
const PRIVATE: &str = "/files";
/// Where the files of the guide expect the server.
const UPSTREAM: &str = "127.0.0.1:3000";
/// More than nginx takes unless it is told to, and than sockets hold on the way.
const CHUNK: usize = 8 << 20;
const LARGEST_FILE: u64 = 64 << 20;

/// nginx in front of a server, with their folders.
struct World {
    nginx: Nginx,
    server: Server,
    folder: TempDir,
}

impl World {
    fn start() -> Self {
        let folder = TempDir::with_prefix_in("nginx-", env!("CARGO_TARGET_TMPDIR")).unwrap();
        let server = Server::start(folder.path(), SocketAddr::from(([127, 0, 0, 1], 0)));
        let nginx = Nginx::start(&folder.path().join("nginx"), server.addr);
        Self { nginx, server, folder }
    }

    /// Ends the server in the middle of what it does, and puts another one in its place.
    fn restart(&mut self, meanwhile: impl FnOnce(&Nginx)) {
        let addr = self.server.addr;
        self.server.kill();
        meanwhile(&self.nginx);
        self.server = Server::start(self.folder.path(), addr);
    }

    fn ask(&self, bytes: &[u8]) -> Answer {
        self.nginx.ask(bytes)
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
        let mut stream = self.nginx.connect();
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
    fn start(folder: &Path, addr: SocketAddr) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(addr)).unwrap();
        let addr = listener.local_addr().unwrap();
        let under_way = Arc::default();
        let app = app(folder, Arc::clone(&under_way));
        runtime.spawn(async { axum::serve(listener, app).await });
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

fn app(folder: &Path, under_way: Arc<AtomicUsize>) -> Router {
    let store = FsStore::new(folder.join("uploads/%Y"));
    let uploads = Uploads::builder(store).max_bytes(LARGEST_FILE).build().unwrap();
    let complete_path = "/api/chunked_upload_complete";
    let tus = Tus::new(PRIVATE).handler_path(complete_path).public_url(PUBLIC);
    let routes = Router::new().route(complete_path, post(done)).with_state(folder.join("media"));
    Router::new()
        .fallback_service(ChunkedUploadLayer::new(uploads).tus(tus).around(routes))
        .layer(middleware::from_fn_with_state(under_way, count))
}

async fn done(State(media): State<PathBuf>, upload: CompletedUpload) -> Json<Value> {
    upload.persist(media.join(upload.id().as_str())).await.unwrap();
    Json(json!({ "saved": upload.filename() }))
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
struct Nginx {
    child: Child,
    folder: PathBuf,
    http1: SocketAddr,
    http2: SocketAddr,
}

impl Nginx {
    fn start(folder: &Path, upstream: SocketAddr) -> Self {
        fs::create_dir(folder).unwrap();
        let http1 = TcpListener::bind("127.0.0.1:0").unwrap();
        let http2 = TcpListener::bind("127.0.0.1:0").unwrap();
        let addrs = [&http1, &http2].map(|listener| listener.local_addr().unwrap());
        let listen = format!("listen {}; listen {} http2;", addrs[0], addrs[1]);
        let to_here = |text: &str| replaced(text, UPSTREAM, &upstream.to_string());
        let conf = replaced(&to_here(NGINX_CONF), "listen 8080;", &listen);
        let conf = replaced(&conf, "http {", &format!("http {{ {}", files_in(folder)));
        fs::write(folder.join("nginx.conf"), conf).unwrap();
        fs::write(folder.join("upload.conf"), to_here(UPLOAD_CONF)).unwrap();
        let prefixed =
            replaced(TUS_CONF, &format!("location {PRIVATE} "), &format!("location {PUBLIC} "));
        let removed = format!("http://{UPSTREAM}{PRIVATE};");
        let prefixed = replaced(&prefixed, &format!("http://{UPSTREAM};"), &removed);
        fs::write(folder.join("tus.conf"), to_here(&prefixed)).unwrap();

        let log = folder.join("error.log");
        // It takes over the sockets, so that nobody else can have their ports.
        for listener in [&http1, &http2] {
            fcntl_setfd(listener, FdFlags::empty()).unwrap();
        }
        let child = Command::new(program())
            .arg("-e")
            .arg(&log)
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(folder.join("nginx.conf"))
            .args(["-g", &format!("daemon off; pid {}; {}", folder.join("pid").display(), user())])
            .env("NGINX", format!("{};{};", http1.as_raw_fd(), http2.as_raw_fd()))
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs nginx: apt-get install nginx");
        Self { child, folder: folder.to_owned(), http1: addrs[0], http2: addrs[1] }
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
        fs::read_to_string(self.folder.join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    /// In order, since a master that is killed leaves its workers behind.
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        self.child.wait().unwrap();
    }
}

/// The workers of root's nginx would be somebody who may not write here.
fn user() -> &'static str {
    if getuid().is_root() { "user root;" } else { "" }
}

fn program() -> PathBuf {
    // Debian's is where only root looks.
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut programs = folders.map(|folder| folder.join("nginx"));
    programs.find(|program| program.is_file()).unwrap_or_else(|| PathBuf::from("nginx"))
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

#[test]
fn a_file_arrives_byte_for_byte_in_chunks_larger_than_nginx_takes_by_itself() {
    let world = World::start();
    let plan = Plan::of_length(1, 0, 3 * CHUNK + 12_345);
    let id = world.upload(&plan);
    world.finish(&id, &plan);
}

#[test]
fn a_chunk_reaches_the_server_while_its_end_is_still_to_come() {
    let world = World::start();
    let plan = Plan::of_length(2, 0, 2 * CHUNK);
    let (id, mut stream) = world.within_the_second_chunk(&plan);
    let second = plan.chunk(CHUNK..2 * CHUNK, Some(&id), Shape::IdFirst);
    stream.write_all(&second.bytes[second.file_end - 1..]).unwrap();
    let standing = read_answer(&mut stream).unwrap().accepted().unwrap();
    assert_eq!(standing["offset"], plan.content.len());
    world.finish(&id, &plan);
}

#[test]
fn a_cut_connection_reaches_the_server_and_the_chunk_can_be_sent_again() {
    let world = World::start();
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

#[test]
fn a_server_that_ends_is_told_to_the_client_and_the_upload_goes_on_after_its_restart() {
    let mut world = World::start();
    let plan = Plan::of_length(4, 0, 2 * CHUNK);
    let (id, mut stream) = world.within_the_second_chunk(&plan);
    world.restart(|nginx| {
        // From nginx, or from the server with its last breath.
        assert!(read_answer(&mut stream).unwrap().status >= 500);
        assert_eq!(nginx.ask(&status_request(&id)).status, 502);
    });
    assert_eq!(world.ask(&status_request(&id)).accepted().unwrap()["offset"], CHUNK);
    let second = plan.chunk(CHUNK..2 * CHUNK, Some(&id), Shape::IdFirst);
    world.ask(&second.bytes).accepted().unwrap();
    world.finish(&id, &plan);
}

#[test]
fn a_refusal_arrives_as_the_layer_wrote_it_also_in_the_middle_of_a_body() {
    let world = World::start();
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

#[test]
fn a_refusal_is_there_before_the_client_has_sent_the_rest() {
    let world = World::start();
    let mut stream = world.nginx.connect();
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

#[test]
fn a_question_and_a_cancellation_pass() {
    let world = World::start();
    let plan = Plan::of_length(6, 0, 2 * CHUNK);
    let first = plan.chunk(0..CHUNK, None, Shape::IdLast);
    let id = upload_id(&world.ask(&first.bytes).accepted().unwrap());
    let standing = world.ask(&status_request(&id)).accepted().unwrap();
    assert_eq!((&standing["offset"], &standing["status"]), (&json!(CHUNK), &json!("open")));

    assert_eq!(world.ask(&cancel_request(&id)).status, 204);
    assert_eq!(world.ask(&status_request(&id)).status, 404);
    assert_eq!(world.stored(), 0);
}

/// nginx removes a prefix of the path, which the URLs of uploads have.
#[test]
fn an_upload_of_tus_that_is_cut_goes_on_where_the_server_had_it() {
    let world = World::start();
    let plan = Plan::of_length(7, 0, 2 * CHUNK);
    let total = plan.content.len();
    let path = created(&world, &format!("Upload-Length: {total}\r\n"));
    let mut stream = world.nginx.connect();
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

#[test]
fn parts_are_joined_by_the_urls_that_the_client_sees() {
    let world = World::start();
    let plan = Plan::of_length(8, 0, 3 * CHUNK);
    let urls = [0..CHUNK, CHUNK..3 * CHUNK].map(|range| {
        let length = range.len();
        let path =
            created(&world, &format!("Upload-Concat: partial\r\nUpload-Length: {length}\r\n"));
        let sent = asked(&world, "PATCH", &path, &upload::patch_headers(0), &plan.content[range]);
        assert_eq!(sent.told(), (204, Some(length)));
        // `Host` has no port when it comes to the server.
        format!("http://{}{path}", world.nginx.http1)
    });
    let path = created(&world, &format!("Upload-Concat: final;{}\r\n", urls.join(" ")));
    is_kept(&world, &path, &plan.content);
}

fn asked(world: &World, method: &str, path: &str, headers: &str, body: &[u8]) -> client::Reply {
    let headers = format!("Host: {}\r\nTus-Resumable: 1.0.0\r\n{headers}", world.nginx.http1);
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\n{headers}Content-Length: {length}\r\n\r\n");
    client::ask(world.nginx.http1, method, &[head.as_bytes(), body].concat())
}

fn created(world: &World, headers: &str) -> String {
    let reply = asked(world, "POST", PUBLIC, headers, b"");
    assert_eq!(reply.status, 201, "{reply:?}");
    let path = reply.header("location").unwrap();
    assert!(path.starts_with(&format!("{PUBLIC}/")), "{path}");
    path.to_owned()
}

fn is_kept(world: &World, path: &str, content: &[u8]) {
    let id = path.rsplit('/').next().unwrap();
    let kept = fs::read(world.folder.path().join("media").join(id)).unwrap();
    assert!(kept == content, "the file is another one");
}

#[test]
fn other_paths_keep_the_limits_of_nginx() {
    let world = World::start();
    let answer = world.ask(&request("POST", "/elsewhere", "", &vec![7; CHUNK]));
    assert_eq!(answer.status, u16::from(StatusCode::PAYLOAD_TOO_LARGE));
    assert_eq!(answer.json, Value::Null);
}

/// As large as the guide says, or a line with a long way is slow.
#[test]
fn the_window_over_http2_is_that_of_the_buffer() {
    assert!(UPLOAD_CONF.contains("client_body_buffer_size 1m;"));
    let world = World::start();
    let runtime = Runtime::new().unwrap();
    let window = runtime.block_on(window(world.nginx.http2, 1 << 20));
    assert_eq!(window, 1 << 20, "{}", world.nginx.log());
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
