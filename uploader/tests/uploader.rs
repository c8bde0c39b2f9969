//! The uploader as it runs: its program against the example `axum`, over real sockets.
//!
//! `AXUM_EXAMPLE` is the server to start instead of the example of this profile.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{self, Poll};
use std::time::{Duration, SystemTime};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use http_body::Frame;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpSocket, TcpStream, tcp};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::watch;
use tower_chunked_upload::store::MemoryStore;
use tower_chunked_upload::{
    ChunkedUploadLayer, CompletedUpload, Context, LongCompletions, Owner, Policy, Refusal,
    TokenKeys, Uploads,
};

const CHUNK: u64 = 64 << 10;
/// Some chunks and a piece of one.
const SIZE: u64 = 4 * CHUNK + 1000;
/// In the middle of the second chunk.
const STALL: u64 = CHUNK + CHUNK / 2;

/// The folders of a server, and of the files to send.
struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("files")).unwrap();
        Self { folder }
    }

    /// A place for a file that is to be sent.
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("files").join(name)
    }

    /// A file of [`SIZE`].
    fn big(&self) -> PathBuf {
        let path = self.file("big.bin");
        fs::write(&path, noise(SIZE)).unwrap();
        path
    }

    /// Starts the server, once more if it has ended.
    async fn server(&self, settings: &[(&str, &str)]) -> Server {
        let program = std::env::var_os("AXUM_EXAMPLE");
        let mut child = Command::new(program.map_or_else(|| example("axum"), PathBuf::from))
            .env("ADDR", "127.0.0.1:0")
            .env("UPLOADS", self.folder.path().join("uploads/%Y"))
            .env("MEDIA", self.folder.path().join("media"))
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("`cargo build --example axum` makes it");
        let mut printed = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        soon(printed.read_line(&mut line)).await.unwrap();
        let (_, addr) = line.trim_end().split_once("http://").expect("it prints its address");
        Server { child, addr: addr.parse().unwrap(), _printed: printed }
    }

    /// What has arrived, by name, without the ids in front.
    fn arrived(&self) -> Vec<(String, Vec<u8>)> {
        let media = fs::read_dir(self.folder.path().join("media")).into_iter().flatten();
        let read = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().unwrap();
            (name.split_once('-').unwrap().1.to_owned(), fs::read(entry.path()).unwrap())
        };
        let mut arrived: Vec<_> = media.map(|entry| read(entry.unwrap())).collect();
        arrived.sort();
        arrived
    }

    /// How many uploads the server knows.
    fn records(&self) -> usize {
        let shards = fs::read_dir(self.folder.path().join("uploads/.records")).unwrap();
        let names = shards.flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap());
        let is_record =
            |entry: &fs::DirEntry| entry.path().extension().is_some_and(|it| it == "log");
        names.filter(|entry| entry.as_ref().is_ok_and(is_record)).count()
    }

    /// The file is there, and nothing else.
    fn has_arrived(&self, file: &Path) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(
            self.arrived() == [(name, fs::read(file).unwrap())],
            "{file:?} is not what arrived"
        );
        assert!(!record(file).exists(), "nothing is to be gone on with");
    }
}

struct Server {
    child: Child,
    addr: SocketAddr,
    // What it prints has to go somewhere.
    _printed: BufReader<ChildStdout>,
}

impl Server {
    async fn kill(mut self) {
        soon(self.child.kill()).await.unwrap();
    }
}

/// `target/<profile>/examples/NAME`, beside `target/<profile>/deps` with this test.
fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let profile = own.parent().and_then(Path::parent).unwrap();
    profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// The uploader under way.
struct Uploader {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    complained: String,
}

/// How it ended.
struct Ended {
    code: Option<i32>,
    summary: String,
    complained: String,
}

impl Uploader {
    fn start(addr: SocketAddr, options: &[&str], paths: &[&Path]) -> Self {
        Self::start_to(&format!("http://{addr}/api/chunked_upload"), options, paths)
    }

    fn start_to(url: &str, options: &[&str], paths: &[&Path]) -> Self {
        Self::start_below(&[], url, options, paths)
    }

    /// As the arguments of these words.
    fn start_below(below: &[&str], url: &str, options: &[&str], paths: &[&Path]) -> Self {
        let words = [below, &[env!("CARGO_BIN_EXE_chunked-upload")]].concat();
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .args(["--url", url])
            .args(["--chunk-size", &CHUNK.to_string()])
            .args(options)
            .args(paths)
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines, complained: String::new() }
    }

    /// Waits until it says this.
    async fn says(&mut self, what: &str) {
        while !self.complained.contains(what) {
            let line = soon(self.lines.next_line()).await.unwrap();
            let line = line.unwrap_or_else(|| panic!("never {what:?}: {}", self.complained));
            self.complained += &line;
            self.complained += "\n";
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.try_into().unwrap()));
        kill_process(pid.expect("it has ended already"), signal).unwrap();
    }

    async fn end(mut self) -> Ended {
        while let Some(line) = soon(self.lines.next_line()).await.unwrap() {
            self.complained += &line;
            self.complained += "\n";
        }
        let output = soon(self.child.wait_with_output()).await.unwrap();
        let summary = String::from_utf8(output.stdout).unwrap();
        Ended { code: output.status.code(), summary, complained: self.complained }
    }
}

impl Ended {
    #[track_caller]
    fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.complained, self.summary);
        self
    }

    #[track_caller]
    fn says(&self, summary: &str) {
        assert!(self.summary.contains(summary), "{}{}", self.complained, self.summary);
    }

    #[track_caller]
    fn complains(&self, line: &str) {
        assert!(self.complained.contains(line), "{}{}", self.complained, self.summary);
    }
}

async fn upload(addr: SocketAddr, options: &[&str], paths: &[&Path]) -> Ended {
    Uploader::start(addr, options, paths).end().await
}

fn set_modified(file: &Path, time: SystemTime) {
    fs::File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
}

/// Where an upload of this file is remembered.
fn record(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".upload");
    name.into()
}

/// Stands between the uploader and a server, and may hold back what is sent.
struct Proxy {
    addr: SocketAddr,
    target: watch::Sender<SocketAddr>,
    way: Arc<Way>,
}

struct Way {
    /// How many bytes may pass to the server, and how many have.
    limit: watch::Sender<u64>,
    passed: watch::Sender<u64>,
    /// How often all connections were cut.
    cuts: watch::Sender<u32>,
    /// The answer to the next request that begins so gets lost.
    loses_answer: Mutex<Option<&'static str>>,
}

impl Proxy {
    async fn to(server: &Server, limit: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (target, to) = watch::channel(server.addr);
        let way = Arc::new(Way {
            limit: watch::Sender::new(limit),
            passed: watch::Sender::new(0),
            cuts: watch::Sender::new(0),
            loses_answer: Mutex::default(),
        });
        let of_connection = Arc::clone(&way);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (to, way) = (*to.borrow(), Arc::clone(&of_connection));
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(to).await {
                        way.join(client, server).await;
                    }
                });
            }
        });
        Self { addr, target, way }
    }

    /// Waits until as much has passed as may.
    async fn stalls(&self) {
        let limit = *self.way.limit.borrow();
        let mut passed = self.way.passed.subscribe();
        soon(passed.wait_for(|passed| *passed == limit)).await.unwrap();
    }

    fn loses_answer_to(&self, line: &'static str) {
        *self.way.loses_answer.lock().unwrap() = Some(line);
    }

    /// What a killed client has sent may still be on its way, and is not to arrive.
    fn cut(&self) {
        self.way.cuts.send_modify(|cuts| *cuts += 1);
    }

    fn open(&self) {
        self.way.limit.send_replace(u64::MAX);
    }
}

impl Way {
    /// Until one side has ended, or it is cut.
    async fn join(&self, client: TcpStream, server: TcpStream) {
        let mut cuts = self.cuts.subscribe();
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let loses = AtomicBool::new(false);
        tokio::select! {
            // Nothing passes that was let through only afterwards.
            biased;
            _ = cuts.changed() => {}
            () = self.forth(from_client, to_server, &loses) => {}
            () = self.back(from_server, to_client, &loses) => {}
        }
    }

    async fn forth(
        &self,
        mut from: tcp::OwnedReadHalf,
        mut to: tcp::OwnedWriteHalf,
        loses: &AtomicBool,
    ) {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let mut rest = &buffer[..read];
            let is_in = |line: &str| memchr::memmem::find(rest, line.as_bytes()).is_some();
            if self.loses_answer.lock().unwrap().take_if(|line| is_in(line)).is_some() {
                loses.store(true, Ordering::SeqCst);
            }
            while !rest.is_empty() {
                let passed = *self.passed.borrow();
                let mut limit = self.limit.subscribe();
                let limit = *limit.wait_for(|limit| *limit > passed).await.unwrap();
                let length = rest.len().min(usize::try_from(limit - passed).unwrap());
                if to.write_all(&rest[..length]).await.is_err() {
                    return;
                }
                self.passed.send_modify(|passed| *passed += length as u64);
                rest = &rest[length..];
            }
        }
    }

    async fn back(
        &self,
        mut from: tcp::OwnedReadHalf,
        mut to: tcp::OwnedWriteHalf,
        loses: &AtomicBool,
    ) {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            if loses.load(Ordering::SeqCst) || to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }
}

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it hangs")
}

fn noise(length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    fastrand::Rng::with_seed(length).fill(&mut bytes);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_and_folders_arrive() {
    for options in [&[][..], &["--multipart"], &["--parallel", "4", "--quiet"]] {
        let world = World::new();
        let server = world.server(&[]).await;
        fs::create_dir_all(world.file("folder/deep/empty")).unwrap();
        let mut sent = Vec::new();
        for (name, length) in [
            ("alone.bin", 5),
            ("folder/several chunks.bin", SIZE),
            ("folder/whole chunks.bin", 2 * CHUNK),
            ("folder/deep/empty.bin", 0),
            ("folder/deep/alone.bin", 7),
            ("folder/quote\" und ümlaut 😀.bin", 11),
            ("folder/100%25 a=b;c, 'd'.bin", 13),
            ("folder/no record.upload", 17),
        ] {
            let content = noise(length);
            fs::write(world.file(name), &content).unwrap();
            sent.push((name.rsplit('/').next().unwrap().to_owned(), content));
        }
        sent.sort();
        let paths = [&*world.file("alone.bin"), &*world.file("folder")];
        let ended = upload(server.addr, options, &paths).await.with(0);
        ended.says("8 of 8 files arrived");
        assert!(world.arrived() == sent, "{options:?}");
        let quiet = options.contains(&"--quiet");
        assert_eq!(ended.complained.lines().count(), if quiet { 0 } else { 8 });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slash_at_the_end_of_the_url_changes_nothing() {
    for end in ["/", "/?from=here", "?from=here"] {
        let world = World::new();
        let (server, file) = (world.server(&[]).await, world.big());
        let url = format!("http://{}/api/chunked_upload{end}", server.addr);
        Uploader::start_to(&url, &[], &[&file]).end().await.with(0).says("1 of 1 files arrived");
        world.has_arrived(&file);
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_no_utf8_is_read_as_latin_1() {
    use std::os::unix::ffi::OsStrExt;

    for options in [&[][..], &["--multipart"]] {
        let world = World::new();
        let server = world.server(&[]).await;
        let file = world.file("").join(std::ffi::OsStr::from_bytes(b"na\xefve.txt"));
        fs::write(&file, "1").unwrap();
        upload(server.addr, options, &[&file]).await.with(0);
        assert_eq!(world.arrived(), [("na\u{ef}ve.txt".to_owned(), b"1".to_vec())]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_upload_goes_on_where_it_was() {
    for (signal, code) in [(Signal::KILL, None), (Signal::INT, Some(130))] {
        let world = World::new();
        let (server, file) = (world.server(&[]).await, world.big());
        let proxy = Proxy::to(&server, STALL).await;
        let uploader = Uploader::start(proxy.addr, &[], &[&file]);
        proxy.stalls().await;
        uploader.signal(signal);
        let ended = uploader.end().await;
        assert_eq!(ended.code, code);
        assert_eq!(ended.complained.contains("run the same command again"), code.is_some());
        assert!(record(&file).exists());

        proxy.cut();
        proxy.open();
        let ended = upload(proxy.addr, &[], &[&file]).await.with(0);
        ended.says(&format!("{} bytes sent, {CHUNK} there before", SIZE - CHUNK));
        world.has_arrived(&file);
    }
}

/// A server with a first chunk of the file, whose uploader was killed.
async fn interrupted(world: &World, settings: &[(&str, &str)]) -> (Server, Proxy, PathBuf) {
    let (server, file) = (world.server(settings).await, world.big());
    let proxy = Proxy::to(&server, STALL).await;
    let uploader = Uploader::start(proxy.addr, &[], &[&file]);
    proxy.stalls().await;
    uploader.signal(Signal::KILL);
    uploader.end().await;
    proxy.cut();
    proxy.open();
    (server, proxy, file)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_has_changed_begins_anew() {
    for size in [SIZE - 1, SIZE] {
        let world = World::new();
        let (_server, proxy, file) = interrupted(&world, &[]).await;
        fs::write(&file, noise(SIZE + 1).split_off(usize::try_from(SIZE + 1 - size).unwrap()))
            .unwrap();
        set_modified(&file, SystemTime::now() + Duration::from_secs(1));
        let ended = upload(proxy.addr, &[], &[&file]).await.with(0);
        ended.says(&format!("{size} bytes sent, 0 there before"));
        world.has_arrived(&file);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_of_another_server_is_not_asked_for() {
    let world = World::new();
    let (server, _proxy, file) = interrupted(&world, &[]).await;
    let ended = upload(server.addr, &[], &[&file]).await.with(0);
    ended.says(&format!("{SIZE} bytes sent, 0 there before"));
    world.has_arrived(&file);
}

/// Of the same size and time, so that only the checksum tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_has_changed_unseen_begins_anew() {
    let world = World::new();
    let (_server, proxy, file) = interrupted(&world, &[]).await;
    let modified = fs::metadata(&file).unwrap().modified().unwrap();
    let other: Vec<_> = noise(SIZE).iter().map(|byte| !byte).collect();
    fs::write(&file, other).unwrap();
    set_modified(&file, modified);
    let ended = upload(proxy.addr, &[], &[&file]).await.with(0);
    ended.complains("md5 checksum does not match (400); begins anew");
    ended.says(&format!("{} bytes sent, 0 there before", 2 * SIZE - CHUNK));
    world.has_arrived(&file);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_upload_begins_anew() {
    let world = World::new();
    let (server, proxy, file) = interrupted(&world, &[("EXPIRES_AFTER", "5")]).await;
    server.kill().await;
    // What is begun now has all the time.
    let server = world.server(&[]).await;
    proxy.target.send_replace(server.addr);
    let record: Value = serde_json::from_slice(&fs::read(record(&file)).unwrap()).unwrap();
    let id = record["upload_id"].as_str().unwrap();
    let url = format!("http://{}/api/chunked_upload?upload_id={id}", server.addr);
    soon(async {
        while status(&url).await.is_success() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let ended = upload(proxy.addr, &[], &[&file]).await.with(0);
    ended.complains("; begins anew");
    ended.says(&format!("{SIZE} bytes sent, 0 there before"));
    world.has_arrived(&file);
}

async fn status(url: &str) -> StatusCode {
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(url).send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_is_waited_for() {
    let world = World::new();
    let (server, file) = (world.server(&[]).await, world.big());
    let proxy = Proxy::to(&server, STALL).await;
    let mut uploader = Uploader::start(proxy.addr, &[], &[&file]);
    proxy.stalls().await;
    server.kill().await;
    uploader.says("; again in ").await;
    let server = world.server(&[]).await;
    proxy.target.send_replace(server.addr);
    proxy.open();
    let ended = uploader.end().await.with(0);
    ended.says(&format!("1 of 1 files arrived, {SIZE} bytes sent, 0 there before"));
    world.has_arrived(&file);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_the_completion_is_asked_for() {
    let world = World::new();
    let (server, file) = (world.server(&[]).await, world.big());
    let proxy = Proxy::to(&server, u64::MAX).await;
    proxy.loses_answer_to("POST /api/chunked_upload_complete");
    let ended = upload(proxy.addr, &[], &[&file]).await.with(0);
    ended.complains("; again in ");
    world.has_arrived(&file);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_the_first_chunk_leaves_one_upload() {
    for options in [&[][..], &["--multipart"]] {
        let world = World::new();
        let (server, file) = (world.server(&[]).await, world.big());
        let proxy = Proxy::to(&server, u64::MAX).await;
        // It names no upload.
        proxy.loses_answer_to("POST /api/chunked_upload HTTP");
        let ended = upload(proxy.addr, options, &[&file]).await.with(0);
        ended.complains("; again in ");
        assert!(proxy.way.loses_answer.lock().unwrap().is_none(), "no answer was lost");
        world.has_arrived(&file);
        assert_eq!(world.records(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_changes_on_the_way_is_not_sent() {
    for (length, complaint) in
        [(SIZE + 1, "it was changed while it was sent"), (CHUNK, "it cannot be read")]
    {
        let world = World::new();
        let (server, file) = (world.server(&[]).await, world.big());
        let proxy = Proxy::to(&server, STALL).await;
        let uploader = Uploader::start(proxy.addr, &[], &[&file]);
        proxy.stalls().await;
        fs::File::options().write(true).open(&file).unwrap().set_len(length).unwrap();
        proxy.open();
        let ended = uploader.end().await.with(1);
        ended.complains(complaint);
        assert_eq!(world.arrived().len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_or_unreadable_does_not_hinder_the_rest() {
    let world = World::new();
    let server = world.server(&[("MAX_BYTES", "1000")]).await;
    let (small, large, none) = (world.file("small"), world.file("large"), world.file("none"));
    fs::write(&small, "small").unwrap();
    fs::write(&large, noise(1001)).unwrap();
    std::os::unix::fs::symlink(&small, world.file("link")).unwrap();
    let ended = upload(server.addr, &[], &[&none, &world.file("")]).await.with(1);
    ended.says("1 of 2 files arrived");
    ended.complains("large: Size of file exceeds the limit (1000 bytes) (400)");
    ended.complains("link: not a regular file");
    ended.complains("none");
    world.has_arrived(&small);
    assert!(!record(&large).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_it_gives_up() {
    let world = World::new();
    let file = world.big();
    // Nobody listens there, nor can, as long as the address is bound.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let addr = socket.local_addr().unwrap();
    let ended = upload(addr, &["--retries", "1"], &[&file]).await.with(3);
    assert_eq!(ended.complained.matches("; again in ").count(), 1, "{}", ended.complained);
    ended.complains("given up: ");
    ended.says("0 of 1 files arrived");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_is_not_waited_for_without_end() {
    let world = World::new();
    let file = world.big();
    // The system accepts, and nobody reads.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let ended = upload(addr, &["--retries", "0", "--timeout", "1"], &[&file]).await.with(3);
    ended.complains("given up: nothing moves any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_the_name_of_its_record_is_left_alone() {
    let world = World::new();
    let (server, file) = (world.server(&[]).await, world.big());
    let second = world.file("second");
    fs::write(&second, "second").unwrap();
    for path in [&file, &second] {
        fs::write(record(path), "{}").unwrap();
    }
    let ended = upload(server.addr, &[], &[&file, &second]).await.with(0);
    let complaint = "another run will not be able to go on";
    assert_eq!(ended.complained.matches(complaint).count(), 1, "{}", ended.complained);
    ended.says("2 of 2 files arrived");
    assert_eq!(fs::read(record(&file)).unwrap(), b"{}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_written_is_not_left() {
    let world = World::new();
    let (server, file) = (world.server(&[]).await, world.big());
    let url = format!("http://{}/api/chunked_upload", server.addr);
    let ended = Uploader::start_below(&FULL, &url, &[], &[&file]).end().await.with(0);
    ended.complains("another run will not be able to go on");
    world.has_arrived(&file);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_a_crash_has_left_empty_is_replaced() {
    let world = World::new();
    let (server, file) = (world.server(&[]).await, world.big());
    let url = format!("http://{}/api/chunked_upload", server.addr);
    let ended = Uploader::start_below(&KILLED, &url, &[], &[&file]).end().await;
    assert_eq!(ended.code, None, "{}", ended.complained);
    assert_eq!(fs::read(record(&file)).unwrap(), b"");
    // Not a file to send, either.
    let ended = upload(server.addr, &[], &[&world.file("")]).await.with(0);
    assert_eq!(ended.complained.lines().count(), 1, "{}", ended.complained);
    world.has_arrived(&file);
}

/// Empty files that are not its own are files to send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_file_of_the_name_of_a_record_is_left_alone() {
    let world = World::new();
    let (server, file) = (world.server(&[]).await, world.big());
    for path in [&record(&file), &world.file("alone.upload")] {
        fs::write(path, "").unwrap();
    }
    fs::set_permissions(record(&file), PermissionsExt::from_mode(0o644)).unwrap();
    fs::set_permissions(world.file("alone.upload"), PermissionsExt::from_mode(0o600)).unwrap();
    upload(server.addr, &[], &[&world.file("")]).await.with(0).says("3 of 3 files arrived");
    assert!(record(&file).exists() && world.file("alone.upload").exists());
}

/// A shell whose program cannot write into a file, or is killed by it.
const FULL: [&str; 3] = ["sh", "-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""];
const KILLED: [&str; 3] = ["sh", "-c", "ulimit -c 0; ulimit -f 0; exec \"$0\" \"$@\""];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_load_tool_it_needs_no_files() {
    let world = World::new();
    let server = world.server(&[]).await;
    let size = 2 * CHUNK + 1;
    let random = ["--random", &size.to_string(), "--count", "5", "--parallel", "3"];
    let ended = upload(server.addr, &random, &[]).await.with(0);
    ended.says(&format!("5 of 5 files arrived, {} bytes sent, 0 there before, ", 5 * size));
    ended.says("B/s\n");
    let arrived = world.arrived();
    assert_eq!(arrived.len(), 5);
    assert!(arrived.iter().all(|(_, content)| content.len() as u64 == size));

    let file = world.big();
    let ended = upload(server.addr, &["--count", "2"], &[&file]).await.with(0);
    ended.says(&format!("2 of 2 files arrived, {} bytes sent", 2 * SIZE));
    assert_eq!(world.arrived().len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificates_of_the_system_are_asked_for_if_they_are_needed() {
    let world = World::new();
    let (server, file) = (world.server(&[]).await, world.big());
    let url = format!("http://{}/api/chunked_upload", server.addr);
    let without = ["env", "SSL_CERT_FILE=/dev/null", "SSL_CERT_DIR=/dev/null"];
    let start = |options: &[&str]| Uploader::start_below(&without, &url, options, &[&file]);
    let ended =
        start(&["--retries", "0", "--complete-url", "https://127.0.0.1:1/"]).end().await.with(1);
    ended.complains("error: ");
    start(&[]).end().await.with(0);
    world.has_arrived(&file);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_understood_is_said() {
    let addr = SocketAddr::from(([127, 0, 0, 1], 1));
    for options in [
        &[][..],
        &["--random", "1X"],
        &["--random", "1", "a-file"],
        &["--chunk-size", "0", "a-file"],
        &["--header", "no colon", "a-file"],
        &["--field", "no equals sign", "a-file"],
        &["--complete-url", "ftp://a/b", "a-file"],
    ] {
        upload(addr, options, &[]).await.with(2);
    }
}

const CHUNKS: &str = "POST /api/chunked_upload";
const COMPLETIONS: &str = "POST /api/chunked_upload_complete";
const STATUS: &str = "GET /api/chunked_upload?";
const LATE_ANSWERS: &str = "GET /api/completions/";

/// A server that answers some requests as a test wants, and the rest as the layer does.
#[derive(Clone, Default)]
struct Scripted {
    /// `None` is an answer of the layer.
    answers: Arc<Mutex<VecDeque<Option<(u16, Value)>>>>,
    seen: Arc<Mutex<Vec<(String, HeaderMap)>>>,
    /// What the application was given.
    arrived: Arc<Mutex<Vec<CompletedUpload>>>,
    /// What it says to that.
    verdict: StatusCode,
    /// Whether it ends the upload first.
    discards: bool,
    /// If it takes its time: until so many requests have begun like this.
    waits_for: Option<(&'static str, usize)>,
    /// The answer to the next request that begins like this, in place of the layer's.
    instead: Arc<Mutex<Vec<(&'static str, Response)>>>,
}

impl Scripted {
    async fn start(&self) -> SocketAddr {
        let uploads = Uploads::builder(MemoryStore::new()).build().unwrap();
        let after = self.waits_for.map_or(Duration::from_secs(300), |_| Duration::ZERO);
        let long = LongCompletions::new("/api/completions").after(after);
        let app = Router::new()
            .route("/api/chunked_upload_complete", post(Self::done))
            .with_state(self.clone())
            .layer(ChunkedUploadLayer::new(uploads).long_completions(long))
            .layer(from_fn_with_state(self.clone(), Self::pass));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        addr
    }

    async fn done(State(scripted): State<Self>, upload: CompletedUpload) -> StatusCode {
        scripted.arrived.lock().unwrap().push(upload.clone());
        if let Some((line, times)) = scripted.waits_for {
            soon(async {
                while scripted.asks(line) < times {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await;
        }
        if scripted.discards {
            upload.discard().await.unwrap();
        }
        scripted.verdict
    }

    fn answers_instead(&self, line: &'static str, answer: impl IntoResponse) {
        self.instead.lock().unwrap().push((line, answer.into_response()));
    }

    fn take_instead(&self, line: &str) -> Option<Response> {
        let mut instead = self.instead.lock().unwrap();
        let next = instead.iter().position(|(start, _)| line.starts_with(start))?;
        Some(instead.remove(next).1)
    }

    /// How many requests began like this.
    fn asks(&self, line: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| seen.0.starts_with(line)).count()
    }

    async fn pass(State(scripted): State<Self>, request: Request, next: Next) -> Response {
        let line = format!("{} {}", request.method(), request.uri());
        let planned = scripted.answers.lock().unwrap().pop_front().flatten().map(of_the_layer);
        let answer = planned.or_else(|| scripted.take_instead(&line));
        scripted.seen.lock().unwrap().push((line, request.headers().clone()));
        let Some(answer) = answer else { return next.run(request).await };
        // A connection that is closed over unread bytes may take the answer with it.
        to_bytes(request.into_body(), usize::MAX).await.unwrap();
        answer
    }
}

/// As the layer would answer.
fn of_the_layer((status, content): (u16, Value)) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, [(header::RETRY_AFTER, "0")], Json(content)).into_response()
}

/// The answer to a completion that takes long.
fn later(address: &str) -> (StatusCode, [(HeaderName, String); 1], Json<Value>) {
    let status = json!({ "status": "finishing" });
    (StatusCode::ACCEPTED, [(header::LOCATION, address.to_owned())], Json(status))
}

/// A body that begins like this, and does not go on.
struct Stalled(Option<Bytes>);

impl http_body::Body for Stalled {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(Frame::data(bytes)))))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_answer_is_followed() {
    let said = |status, code: &str| Some((status, json!({ "code": code, "detail": "no" })));
    let at = |offset| Some((400, json!({ "detail": "Offsets do not match", "offset": offset })));
    let gone = || said(410, "expired");
    let at_its_end = |answers| [vec![None; 5], answers].concat();
    let again = "; again in ";
    let anew = "; begins anew";
    for (name, answers, code, complaint) in [
        ("a chunk that is not taken", vec![said(503, "")], 0, again),
        ("nor the second", vec![None, said(429, ""), None, said(408, ""), said(502, "")], 0, again),
        ("busy", vec![None, said(409, "busy")], 0, again),
        ("taken over", vec![None, said(409, "superseded")], 1, "(409)"),
        ("still handed over", vec![None, said(400, "finishing")], 0, again),
        ("another file", vec![None, said(400, "total-mismatch")], 0, anew),
        ("elsewhere", vec![None, at(CHUNK)], 0, ""),
        ("at its beginning", vec![None, None, at(0), at(CHUNK), None, at(2 * CHUNK)], 0, ""),
        ("beyond its end", vec![None, at(SIZE + 1)], 1, "Offsets do not match (400)"),
        ("gone", vec![None, gone()], 0, anew),
        ("unknown", vec![None, None, said(404, "not-found")], 0, anew),
        ("gone at its end", at_its_end(vec![gone(), gone()]), 0, anew),
        ("gone later", at_its_end(vec![said(503, ""), None, gone(), gone()]), 0, anew),
        ("no such path", vec![said(404, "")], 1, "(404)"),
        ("not allowed", vec![said(403, "unauthenticated")], 1, "(403)"),
        ("no such server", vec![Some((200, json!("hello")))], 1, "no server of chunked uploads"),
    ] {
        let scripted =
            Scripted { answers: Arc::new(Mutex::new(answers.into())), ..Scripted::default() };
        let addr = scripted.start().await;
        let world = World::new();
        let ended = upload(addr, &[], &[&world.big()]).await;
        assert_eq!(ended.code, Some(code), "{name}: {}", ended.complained);
        assert!(ended.complained.contains(complaint), "{name}: {}", ended.complained);
        assert!(scripted.answers.lock().unwrap().is_empty(), "{name}: {}", ended.complained);
        assert_eq!(scripted.arrived.lock().unwrap().len(), usize::from(code == 0), "{name}");
    }
}

/// The user's session ends after so many requests.
struct Session {
    requests: AtomicUsize,
    ends_after: usize,
}

impl Policy for Session {
    async fn authorize(&self, _: &Context<'_>) -> Result<Option<Owner>, Refusal> {
        match self.requests.fetch_add(1, Ordering::Relaxed) < self.ends_after {
            true => Ok(Some(Owner::new("alice"))),
            false => Err(Refusal::unauthenticated()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_by_its_token_when_the_session_ends() {
    for (ends_after, gives, code) in [(2, true, 0), (5, true, 0), (2, false, 1), (0, true, 1)] {
        let uploads = Uploads::builder(MemoryStore::new()).build().unwrap();
        let session = Arc::new(Session { requests: AtomicUsize::new(0), ends_after });
        let mut layer = ChunkedUploadLayer::new(uploads).policy(Arc::clone(&session));
        if gives {
            let keys = TokenKeys::new([7; 32]).unwrap();
            layer = layer.hand_out_tokens(&keys, Duration::from_secs(3600));
        }
        let arrived = Arc::new(AtomicUsize::new(0));
        let done = Arc::clone(&arrived);
        let done = post(move |upload: CompletedUpload| async move {
            assert_eq!((upload.size(), &upload.record().owner), (SIZE, &Some("alice".into())));
            done.fetch_add(1, Ordering::Relaxed);
        });
        let app = Router::new().route("/api/chunked_upload_complete", done).layer(layer);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let ended = upload(addr, &[], &[&World::new().big()]).await.with(code);
        // Once it has a token, it asks for no session any more.
        assert_eq!(session.requests.load(Ordering::Relaxed), ends_after + 1);
        let name = format!("{ends_after} {gives}");
        assert_eq!(arrived.load(Ordering::Relaxed), usize::from(code == 0), "{name}");
        assert_eq!(ended.complained.contains("goes on by its token"), code == 0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_never_content_is_given_up() {
    let never = (0..100).map(|_| Some((500, json!({ "detail": "It hurts" }))));
    let scripted =
        Scripted { answers: Arc::new(Mutex::new(never.collect())), ..Scripted::default() };
    let world = World::new();
    let ended = upload(scripted.start().await, &["--retries", "2"], &[&world.big()]).await.with(3);
    ended.complains("given up: It hurts (500)");
    assert_eq!(scripted.seen.lock().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_application_does_not_want_is_not_sent_again() {
    for verdict in [StatusCode::NOT_FOUND, StatusCode::UNPROCESSABLE_ENTITY] {
        let scripted = Scripted { verdict, ..Scripted::default() };
        let (addr, world) = (scripted.start().await, World::new());
        let file = world.big();
        let ended = upload(addr, &[], &[&file]).await.with(1);
        ended.says(&format!("0 of 1 files arrived, {SIZE} bytes sent"));
        ended.complains(&format!("({})", verdict.as_u16()));
        assert_eq!(scripted.arrived.lock().unwrap().len(), 1);
        // Another run asks the application again, and sends no byte for it.
        let ended = upload(addr, &[], &[&file]).await.with(1);
        ended.says(&format!("0 of 1 files arrived, 0 bytes sent, {SIZE} there before"));
        ended.complains(&format!("({})", verdict.as_u16()));
        assert_eq!(scripted.arrived.lock().unwrap().len(), 2);
    }
}

/// Where it stands shows nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_turns_out_to_be_damaged_is_sent_anew() {
    let scripted = Scripted::default();
    let damaged = json!({ "code": "damaged", "detail": "no" });
    let (addr, world) = (scripted.start().await, World::new());
    scripted.answers_instead(COMPLETIONS, of_the_layer((410, damaged)));
    let ended = upload(addr, &[], &[&world.big()]).await.with(0);
    ended.says(&format!("1 of 1 files arrived, {} bytes sent", 2 * SIZE));
    assert_eq!(scripted.arrived.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_application_has_ended_is_forgotten() {
    for (verdict, complaint) in [
        (StatusCode::UNPROCESSABLE_ENTITY, "(422)"),
        (StatusCode::NOT_FOUND, "Not Found (404)"),
        (StatusCode::SEE_OTHER, "Upload not found (404)"),
    ] {
        let scripted = Scripted { verdict, discards: true, ..Scripted::default() };
        let (addr, world) = (scripted.start().await, World::new());
        let file = world.big();
        let ended = upload(addr, &[], &[&file]).await.with(1);
        ended.says(&format!("0 of 1 files arrived, {SIZE} bytes sent"));
        ended.complains(complaint);
        assert_eq!(scripted.arrived.lock().unwrap().len(), 1);
        assert!(!record(&file).exists(), "another run would look for it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_that_takes_long_is_followed_to_its_end() {
    for (verdict, code) in [(StatusCode::OK, 0), (StatusCode::UNPROCESSABLE_ENTITY, 1)] {
        let waits_for = Some((LATE_ANSWERS, 2));
        let scripted = Scripted { verdict, waits_for, ..Scripted::default() };
        let (addr, world) = (scripted.start().await, World::new());
        let ended = upload(addr, &[], &[&world.big()]).await.with(code);
        if code > 0 {
            ended.complains("(422)");
        }
        assert_eq!(scripted.arrived.lock().unwrap().len(), 1);
        assert!(scripted.asks(LATE_ANSWERS) > 1, "it was not asked for");
        assert_eq!(scripted.asks(COMPLETIONS), 1);
    }
}

/// The address of the completion is then unknown, and what the application said is, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_application_ends_after_a_while_is_not_sent_again() {
    for (line, fails) in [(LATE_ANSWERS, false), (STATUS, true)] {
        let verdict = StatusCode::UNPROCESSABLE_ENTITY;
        let waits_for = Some((line, 2));
        let scripted = Scripted { verdict, waits_for, discards: true, ..Scripted::default() };
        if fails {
            // Only the status is asked for from then on.
            scripted.answers_instead(LATE_ANSWERS, StatusCode::BAD_GATEWAY);
        }
        let (addr, world) = (scripted.start().await, World::new());
        let file = world.big();
        let ended = upload(addr, &[], &[&file]).await.with(1);
        ended.says(&format!("0 of 1 files arrived, {SIZE} bytes sent"));
        ended.complains("(404)");
        assert_eq!(scripted.arrived.lock().unwrap().len(), 1);
        assert!(!record(&file).exists(), "another run would look for it");
    }
}

/// The address could be anybody's, and the headers are credentials.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_elsewhere_is_not_asked_for() {
    let (scripted, other) = (Scripted::default(), Scripted::default());
    let (addr, elsewhere) = (scripted.start().await, other.start().await);
    let address = format!("http://{elsewhere}/api/completions/1");
    scripted.answers_instead(COMPLETIONS, later(&address));
    upload(addr, &["--header", "Authorization: mine"], &[&World::new().big()]).await.with(0);
    assert_eq!(*other.seen.lock().unwrap(), []);
    // The status said that it was not there yet.
    assert_eq!(scripted.asks(STATUS), 1);
    assert_eq!(scripted.arrived.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_does_not_end_is_not_waited_for_without_end() {
    for (line, status) in [
        (CHUNKS, StatusCode::OK),
        (STATUS, StatusCode::OK),
        (COMPLETIONS, StatusCode::ACCEPTED),
        (LATE_ANSWERS, StatusCode::ACCEPTED),
    ] {
        let scripted = Scripted::default();
        if line == STATUS {
            scripted.answers_instead(COMPLETIONS, StatusCode::BAD_GATEWAY);
        } else if line == LATE_ANSWERS {
            scripted.answers_instead(COMPLETIONS, later("/api/completions/1"));
        }
        let body = Body::new(Stalled(Some(Bytes::from_static(b"{"))));
        let place = [(header::LOCATION, "/api/completions/1")];
        scripted.answers_instead(line, (status, place, body));
        let (addr, world) = (scripted.start().await, World::new());
        let ended = upload(addr, &["--timeout", "1"], &[&world.big()]).await.with(0);
        ended.complains("nothing moves any more; again in ");
        assert_eq!(scripted.arrived.lock().unwrap().len(), 1, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_answer_that_is_too_long_the_rest_is_not_waited_for() {
    let scripted = Scripted::default();
    let body = Body::new(Stalled(Some(vec![b' '; 1 << 20].into())));
    scripted.answers_instead(CHUNKS, body);
    let (addr, world) = (scripted.start().await, World::new());
    let ended = upload(addr, &["--timeout", "600"], &[&world.big()]).await.with(1);
    ended.complains("no server of chunked uploads");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_is_completed_it_can_be_tried_again() {
    let scripted = Scripted::default();
    let (addr, world) = (scripted.start().await, World::new());
    let file = world.big();
    let elsewhere = format!("http://{addr}/elsewhere");
    let ended = upload(addr, &["--complete-url", &elsewhere], &[&file]).await.with(1);
    ended.complains("(404)");
    ended.says(&format!("0 of 1 files arrived, {SIZE} bytes sent"));
    let ended = upload(addr, &[], &[&file]).await.with(0);
    ended.says(&format!("1 of 1 files arrived, 0 bytes sent, {SIZE} there before"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_and_fields_go_along() {
    for options in [&[][..], &["--multipart"]] {
        let scripted = Scripted::default();
        let addr = scripted.start().await;
        let world = World::new();
        let given = [
            ["--header", "X-Token: a: b"],
            ["--header", "X-Token: second"],
            // The uploader has its own.
            ["--header", "Content-Type: a/b"],
            ["--field", "topic=ä & b"],
            ["--field", "empty="],
        ];
        upload(addr, &[options, given.as_flattened()].concat(), &[&world.big()]).await.with(0);
        let seen = scripted.seen.lock().unwrap();
        let all = |headers: &HeaderMap| headers.get_all("x-token").iter().eq(["a: b", "second"]);
        assert!(seen.iter().all(|(_, headers)| all(headers)), "{seen:?}");
        let arrived = scripted.arrived.lock().unwrap();
        let fields = [("topic", "ä & b"), ("empty", "")];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert!(arrived[0].fields().iter().eq(&fields), "{:?}", arrived[0].fields());
    }
}
