//! What a server takes for uploads: memory that does not grow with the file, little for a slow
//! upload, and a completion that does not read the file.
//!
//! The default run takes small files; `LONG=1` takes full sizes. `WIRE_SERVER` is the server to
//! measure instead of the example `wire` of this profile.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::env;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use serde_json::Value;
use tempfile::TempDir;
use tower::{Layer, ServiceExt};
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{ChunkedUploadLayer, Uploads};

#[test]
fn a_single_body_of_any_size_takes_constant_memory() {
    let server = Server::start();
    let size = if is_long() { 256 * MIB } else { 64 * MIB };
    server.warm_up();
    let before = server.forget_peak();
    let upload = server.upload(&[size], IdField::First);
    let peak = server.peak() - before;
    println!("{} MiB at once: peak + {} KiB", size / MIB, peak / KIB);
    assert_eq!(upload["offset"], size);
    assert!(peak < 4 * MIB, "{peak} bytes");
}

#[test]
fn a_chunk_with_its_id_at_the_end_takes_constant_memory() {
    let server = Server::start();
    let size = if is_long() { 128 * MIB } else { 32 * MIB };
    server.warm_up();
    let before = server.forget_peak();
    let upload = server.upload(&[1000, size], IdField::Last);
    let peak = server.peak() - before;
    println!("{} MiB with upload_id last: peak + {} KiB", size / MIB, peak / KIB);
    assert_eq!(upload["offset"], size + 1000);
    assert!(peak < 4 * MIB, "{peak} bytes");
}

/// What `UploadsBuilder::max_batches` promises: a slow upload gets along with a buffer of 16 KiB. As
/// much again is for all else that it has here; a connection is not counted.
#[test]
fn a_slow_upload_takes_its_small_buffer_and_little_else() {
    if env::var_os(ALONE).is_none() {
        let name = "a_slow_upload_takes_its_small_buffer_and_little_else";
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", name, "--nocapture"]).env(ALONE, "1");
        // In a process of its own, since it looks at the whole of its memory.
        assert!(command.status().unwrap().success());
        return;
    }
    let folder = TempDir::with_prefix_in("memory-", env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = FsStore::new(folder.path().join("%Y"));
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let uploads = Uploads::builder(store).build().unwrap();
        let inner = tower::service_fn(async |_: Request<_>| Ok::<_, Infallible>(Response::new(())));
        let service = ChunkedUploadLayer::new(uploads).layer(inner);
        let stall = async |stored: u64| {
            let request = Request::post("/api/chunked_upload")
                .header("content-disposition", "attachment; filename=zeros.bin")
                .header("content-range", "bytes 0-1048575/1048576");
            let request = request.body(Stalling { pieces: SENT / PIECE }).unwrap();
            tokio::spawn(service.clone().oneshot(request));
            // One after the other: a slow upload has written a batch before it gathers the next.
            let end = Instant::now() + DEADLINE;
            while size_below(folder.path()) < stored {
                assert!(Instant::now() < end, "the bytes are not stored");
                tokio::time::sleep(POLL).await;
            }
        };
        let resident = || number(Path::new("/proc/self/status"), "VmRSS:") * KIB;
        let warm = 8;
        let mut before = 0;
        for count in 1..=warm + SLOW {
            stall(count * (SENT - SMALL)).await;
            if count == warm {
                before = resident();
            }
        }
        let each = (resident() - before) / SLOW;
        println!("{SLOW} slow uploads: {each} bytes each, without their connections");
        assert!(each <= 2 * SMALL, "{each} bytes each");
    });
}

/// Uploads that were fast and stall, behind a real connection each: what the builder allows for
/// all of them, what a slow one may have, and what hyper reads into by default.
#[test]
fn stalled_uploads_do_not_keep_what_was_sent() {
    let server = Server::start();
    server.warm_up();
    let before = server.forget_peak();
    let mut streams: Vec<_> = (0..SLOW).map(|_| server.begin(2 * MIB)).collect();
    for stream in &mut streams {
        write_zeros(stream, MIB);
    }
    until("the bytes are stored", || server.stored() >= SLOW * (MIB - SMALL));
    let (now, peak) = (server.resident() - before, server.peak() - before);
    println!(
        "{SLOW} uploads stalled after 1 MiB: {} bytes each, {} at the peak",
        now / SLOW,
        peak / SLOW
    );
    let bound = 16 * MIB + SLOW * (2 * SMALL + CONNECTION);
    assert!(peak <= bound, "{} bytes each at the peak", peak / SLOW);
}

#[test]
fn completing_does_not_read_the_file() {
    let server = Server::start();
    let (large, md5) = if is_long() {
        (1024 * MIB, "cd573cfaace07e7949bc0c46028904ff")
    } else {
        (64 * MIB, "7f614da9329cd3aebf59b91aadc30bf0")
    };
    for (size, md5) in [(MIB, "b6d81b360a5672d80c27430f39153e2c"), (large, md5)] {
        let chunks = vec![MIB.min(size); usize::try_from(size / MIB).unwrap()];
        let upload = server.upload(&chunks, IdField::First);
        let id = upload["upload_id"].as_str().unwrap();
        let before = server.io();
        let start = Instant::now();
        let completion = server.complete(id, md5);
        let took = start.elapsed();
        let after = server.io();
        let [read, from_disk, written] = [0, 1, 2].map(|count| after[count] - before[count]);
        println!(
            "completing {} MiB: {took:?}, {read} bytes read, {from_disk} of them from the disk, \
             {written} written",
            size / MIB
        );
        assert_eq!(completion["size"], size);
        // What the sweeper, which goes on, reads of the records is in it too.
        assert!(read + written < MIB / 2, "{read} bytes were read and {written} written");
    }
}

struct Server {
    child: Child,
    addr: SocketAddr,
    folder: TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = TempDir::with_prefix_in("memory-", env!("CARGO_TARGET_TMPDIR")).unwrap();
        for name in ["data", "final"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = Command::new(program());
        for (name, _) in env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"WIRE_") {
                command.env_remove(name);
            }
        }
        command
            .env("WIRE_ADDR", addr.to_string())
            .env("WIRE_DATA", folder.path().join("data"))
            .env("WIRE_FINAL", folder.path().join("final"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log")).unwrap());
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{}: {error}; cargo build --example wire", program().display())
        });
        let mut server = Self { child, addr, folder };
        until("the server listens", || {
            if let Some(end) = server.child.try_wait().unwrap() {
                panic!("the server ended at once: {end}\n{}", server.log());
            }
            TcpStream::connect(addr).is_ok()
        });
        server
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Lets the server touch what it touches only once.
    fn warm_up(&self) {
        for id in [IdField::First, IdField::Last] {
            let upload = self.upload(&[1000, MIB], id);
            assert_eq!(upload["offset"], MIB + 1000);
        }
    }

    /// Uploads zeros in chunks of these sizes; gives the last answer.
    fn upload(&self, chunks: &[u64], id_field: IdField) -> Value {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        let total = chunks.iter().sum();
        let mut answer = Value::Null;
        let mut start = 0;
        for length in chunks {
            let form = Form::new(start, *length, total, answer["upload_id"].as_str(), id_field);
            stream.write_all(form.head.as_bytes()).unwrap();
            write_zeros(&mut stream, *length);
            stream.write_all(form.tail.as_bytes()).unwrap();
            answer = read_answer(&mut stream);
            start += length;
        }
        answer
    }

    /// Begins an upload, without a byte of its only chunk.
    fn begin(&self, length: u64) -> TcpStream {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        let form = Form::new(0, length, length, None, IdField::First);
        stream.write_all(form.head.as_bytes()).unwrap();
        stream
    }

    fn complete(&self, id: &str, md5: &str) -> Value {
        let body = format!("upload_id={id}&md5={md5}");
        let mut stream = TcpStream::connect(self.addr).unwrap();
        let head = format!(
            "POST /api/chunked_upload_complete HTTP/1.1\r\nHost: here\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        read_answer(&mut stream)
    }

    /// How many bytes of files lie in the data folder.
    fn stored(&self) -> u64 {
        size_below(&self.folder.path().join("data"))
    }

    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.child.id()))
    }

    fn resident(&self) -> u64 {
        number(&self.proc("status"), "VmRSS:") * KIB
    }

    fn peak(&self) -> u64 {
        number(&self.proc("status"), "VmHWM:") * KIB
    }

    /// From now on the peak is that of what follows; gives the resident set.
    fn forget_peak(&self) -> u64 {
        fs::write(self.proc("clear_refs"), "5").unwrap();
        self.peak()
    }

    /// Bytes read by any file call, those of them that came from the disk, and bytes written.
    fn io(&self) -> [u64; 3] {
        ["rchar:", "read_bytes:", "wchar:"].map(|name| number(&self.proc("io"), name))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A body that brings some pieces of zeros and then nothing for ever.
struct Stalling {
    pieces: u64,
}

impl Body for Stalling {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(left) = self.pieces.checked_sub(1) else { return Poll::Pending };
        self.pieces = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; PIECE as usize])))))
    }
}

#[derive(Clone, Copy)]
enum IdField {
    First,
    Last,
}

/// A chunk's request around its bytes.
struct Form {
    head: String,
    tail: String,
}

impl Form {
    fn new(start: u64, length: u64, total: u64, id: Option<&str>, id_field: IdField) -> Self {
        let field = id.map_or_else(String::new, |id| {
            format!(
                "--frontier\r\nContent-Disposition: form-data; name=\"upload_id\"\r\n\r\n{id}\r\n"
            )
        });
        let (before, after) = match id_field {
            IdField::First => (field.as_str(), ""),
            IdField::Last => ("", field.as_str()),
        };
        let part = format!(
            "{before}--frontier\r\nContent-Disposition: form-data; name=\"file\"; \
             filename=\"zeros.bin\"\r\n\r\n"
        );
        let tail = format!("\r\n{after}--frontier--\r\n");
        let head = format!(
            "POST /api/chunked_upload HTTP/1.1\r\nHost: here\r\n\
             Content-Type: multipart/form-data; boundary=frontier\r\n\
             Content-Range: bytes {start}-{}/{total}\r\nContent-Length: {}\r\n\r\n{part}",
            start + length - 1,
            part.len() as u64 + length + tail.len() as u64,
        );
        Self { head, tail }
    }
}

fn write_zeros(stream: &mut TcpStream, mut length: u64) {
    let zeros = vec![0; 256 * 1024];
    while length > 0 {
        let more = length.min(zeros.len() as u64);
        stream.write_all(&zeros[..usize::try_from(more).unwrap()]).unwrap();
        length -= more;
    }
}

/// The body of an answer, which must be a good one.
fn read_answer(stream: &mut TcpStream) -> Value {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            assert!(head.starts_with("HTTP/1.1 200 "), "{text}");
            if let Ok(json) = serde_json::from_str(body) {
                return json;
            }
        }
        match stream.read(&mut buffer).unwrap() {
            0 => panic!("the connection ended before the answer"),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

/// The number after a name in a file of /proc.
fn number(path: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    value.split_whitespace().next().unwrap().parse().unwrap()
}

fn size_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

fn is_long() -> bool {
    env::var_os("LONG").is_some_and(|value| !value.is_empty())
}

fn program() -> PathBuf {
    let example = || {
        let tests = env::current_exe().unwrap();
        tests.ancestors().nth(2).unwrap().join("examples/wire")
    };
    env::var_os("WIRE_SERVER").map_or_else(example, PathBuf::from)
}

/// Below those that the system gives out for outgoing connections: a client that knocks too early
/// at one of those may be connected to itself.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let next = std::process::id() * 97 % 18_000 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(12_000 + next % 18_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits for something that this process is not told of.
fn until(what: &str, mut happens: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !happens() {
        assert!(Instant::now() < end, "{what}: it does not happen");
        thread::sleep(POLL);
    }
}

const DEADLINE: Duration = Duration::from_secs(60);
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const POLL: Duration = Duration::from_millis(1);
/// Set in the process that measures itself.
const ALONE: &str = "MEMORY_ALONE";
/// How many uploads stall.
const SLOW: u64 = 200;
/// How much a slow one has sent then, and how much at a time.
const SENT: u64 = 64 * KIB;
const PIECE: u64 = 4 * KIB;
/// An upload's own buffer.
const SMALL: u64 = 16 * KIB;
/// hyper's largest read buffer, which it may double to get room, its write buffer and its state.
const CONNECTION: u64 = 2 * 408 * KIB + 32 * KIB;
