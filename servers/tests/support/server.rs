//! What the tests of real `wire` processes share: starting and killing them, requests and answers on
//! plain sockets, and files to upload.
//!
//! `WIRE_SERVER` is the server to start instead of the example `wire` of this profile.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses some of it, and all of it is tests"
)]

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use md5::{Digest as _, Md5};
use serde_json::Value;
use tempfile::TempDir;

use crate::ports::free_ports;

/// The folders of one server, or of several, that may end and be started again.
pub(crate) struct World {
    folder: TempDir,
    data: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = TempDir::with_prefix_in("server-", env!("CARGO_TARGET_TMPDIR")).unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        Self::of(folder, data)
    }

    /// With the unfinished uploads in a folder that exists, and all else elsewhere.
    pub(crate) fn on(data: &Path) -> Self {
        let folder = TempDir::with_prefix_in("server-", env!("CARGO_TARGET_TMPDIR")).unwrap();
        Self::of(folder, data.to_owned())
    }

    fn of(folder: TempDir, data: PathBuf) -> Self {
        let world = Self { folder, data };
        fs::create_dir(world.finals()).unwrap();
        world
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Where the hook of the completion moves a file.
    pub(crate) fn finals(&self) -> PathBuf {
        self.folder.path().join("final")
    }

    pub(crate) fn final_of(&self, id: &str) -> PathBuf {
        self.finals().join(format!("{id}.bin"))
    }

    /// How often the hook has seen an upload.
    pub(crate) fn deliveries(&self, id: &str) -> u64 {
        let counter = self.finals().join(format!("{id}.deliveries"));
        fs::metadata(counter).map_or(0, |file| file.len())
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What the servers printed.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap()
    }

    pub(crate) fn no_panic(&self) {
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
    }

    /// A server that listens.
    pub(crate) fn start(&self, settings: &[(&str, &str)]) -> Server {
        let mut server = self.spawn(settings);
        until("the server listens", || {
            if let Some(end) = server.child.try_wait().unwrap() {
                panic!("the server ended at once: {end}\n{}", self.log());
            }
            TcpStream::connect(server.addr).is_ok()
        });
        server
    }

    /// A server that will listen some time.
    pub(crate) fn spawn(&self, settings: &[(&str, &str)]) -> Server {
        let addr = SocketAddr::from(([127, 0, 0, 1], free_ports(1)));
        let mut command = Command::new(program());
        for (name, _) in env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"WIRE_") {
                command.env_remove(name);
            }
        }
        command
            .env("WIRE_ADDR", addr.to_string())
            .env("WIRE_DATA", &self.data)
            .env("WIRE_FINAL", self.finals())
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::options().create(true).append(true).open(self.log_path()).unwrap());
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{}: {error}; cargo build -p servers --examples", program().display())
        });
        Server { child, addr }
    }

    /// All files in the data folder, in order.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = files_below(&self.data);
        files.sort();
        files
    }

    /// How many bytes of uploads lie in the data folder.
    pub(crate) fn stored(&self) -> u64 {
        let parts = self.files().into_iter().filter(|path| has_extension(path, "part"));
        parts.filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum()
    }

    /// How many bytes of this upload there are, those included that do not count.
    pub(crate) fn stored_of(&self, id: &str) -> u64 {
        self.part_of(id).and_then(|path| fs::metadata(path).ok()).map_or(0, |file| file.len())
    }

    /// Where the bytes of this upload are.
    pub(crate) fn part_of(&self, id: &str) -> Option<PathBuf> {
        // With a key there is something more between the id and the end.
        let is_its = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(id)) && has_extension(path, "part")
        };
        self.files().into_iter().find(|path| is_its(path))
    }

    /// Sends a chunk but its last byte, and waits until the server has written something of it
    /// behind the bytes that it had already. Nothing else may come or go in the folder.
    pub(crate) fn send_until_written(
        &self,
        server: &Server,
        chunk: &Chunk,
        before: u64,
    ) -> TcpStream {
        Self::send_until(server, chunk, || self.stored() > before)
    }

    /// The same for an upload that the server knows before the bytes come, and that stands at `offset`.
    pub(crate) fn send_until_held(
        &self,
        server: &Server,
        chunk: &Chunk,
        id: &str,
        offset: usize,
    ) -> TcpStream {
        Self::send_until(server, chunk, || self.stored_of(id) > offset as u64)
    }

    fn send_until(server: &Server, chunk: &Chunk, written: impl FnMut() -> bool) -> TcpStream {
        let mut stream = server.connect();
        stream.write_all(&chunk.bytes[..chunk.file_end - 1]).unwrap();
        until("the server writes", written);
        stream
    }

    /// Sends what an upload lacks, completes it and looks at the file.
    pub(crate) fn finish(
        &self,
        addr: SocketAddr,
        id: &str,
        plan: &Plan,
        offset: usize,
    ) -> Result<(), Violation> {
        self.finish_after_kill(addr, id, plan, offset, &[])
    }

    /// The same for an upload of which a kill has cut short the chunks that end at these places.
    pub(crate) fn finish_after_kill(
        &self,
        addr: SocketAddr,
        id: &str,
        plan: &Plan,
        mut offset: usize,
        cuts: &[usize],
    ) -> Result<(), Violation> {
        let total = plan.content.len();
        let wrong = |answer: &Answer| Violation::Wrong(format!("{answer:?}"));
        while offset < total {
            let rest = plan.chunk(offset..total, Some(id), Shape::IdFirst);
            let answer = ask_until_free(addr, &rest.bytes);
            if let Some(end) = confirmed(&answer, offset, cuts) {
                offset = end;
                continue;
            }
            if answer.status != 200 || answer.json["offset"] != total {
                return Err(wrong(&answer));
            }
            offset = total;
        }
        let answer = ask_until_free(addr, &complete_request(id, &plan.md5));
        if answer.status != 200 {
            return Err(wrong(&answer));
        }
        self.is_still_there(addr, id, plan)
    }

    /// An upload is complete, cannot be completed again, and its file is right.
    pub(crate) fn check_complete(&self, addr: SocketAddr, id: &str, plan: &Plan) {
        let again = ask(addr, &complete_request(id, &plan.md5)).unwrap();
        assert_eq!(again.status, 400, "{}", again.json);
        self.is_still_there(addr, id, plan).unwrap();
    }

    pub(crate) fn is_still_there(
        &self,
        addr: SocketAddr,
        id: &str,
        plan: &Plan,
    ) -> Result<(), Violation> {
        let standing = status(addr, id)?;
        let file = fs::read(self.final_of(id));
        if standing["status"] != "complete" || file.ok().as_ref() != Some(&plan.content) {
            return Err(Violation::Wrong(format!("{standing}, or its file is another one")));
        }
        Ok(())
    }
}

/// A process, ended with SIGKILL when this goes.
pub(crate) struct Server {
    child: Child,
    pub(crate) addr: SocketAddr,
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGSTOP: it does nothing any more, and lets go of nothing.
    pub(crate) fn stop(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.addr).unwrap()
    }

    pub(crate) fn ask(&self, request: &[u8]) -> Answer {
        ask(self.addr, request).unwrap()
    }

    /// How an upload stands once nobody has it: a look at what a kill has cut short holds it for a moment.
    pub(crate) fn standing(&self, id: &str) -> Value {
        let mut standing = Value::Null;
        until("nobody holds it", || {
            standing = status(self.addr, id).unwrap();
            standing["status"] != "finishing"
        });
        standing
    }

    /// Where an upload that is open stands.
    pub(crate) fn offset(&self, id: &str) -> usize {
        let standing = status(self.addr, id).unwrap();
        assert_eq!(standing["status"], "open", "{standing}");
        usize::try_from(standing["offset"].as_u64().unwrap()).unwrap()
    }

    /// Begins an upload with bytes of this range; gives the id.
    pub(crate) fn begin(&self, plan: &Plan, length: usize) -> String {
        let chunk = plan.chunk(0..length, None, Shape::Raw);
        upload_id(&self.ask(&chunk.bytes).accepted().unwrap())
    }

    /// Uploads a file at once; gives the id.
    pub(crate) fn upload_whole(&self, plan: &Plan) -> String {
        let chunk = plan.chunk(0..plan.content.len(), None, Shape::IdFirst);
        upload_id(&ask(self.addr, &chunk.bytes).unwrap().accepted().unwrap())
    }

    /// SIGTERM; gives the code with which it has ended.
    pub(crate) fn end(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut code = None;
        until("it ends in order", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.and_then(|status| status.code())
    }

    /// SIGKILL; on return the process is gone.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A file to be uploaded; the same for the same seed and number.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) number: u64,
    pub(crate) seed: u64,
    pub(crate) content: Vec<u8>,
    pub(crate) md5: String,
}

impl Plan {
    pub(crate) fn of_length(seed: u64, number: u64, length: usize) -> Self {
        let mut random = Random::new(seed ^ number.rotate_left(32));
        let mut content = Vec::with_capacity(length + 8);
        while content.len() < length {
            content.extend_from_slice(&random.next().to_le_bytes());
        }
        content.truncate(length);
        Self::of(seed, number, content)
    }

    pub(crate) fn of(seed: u64, number: u64, content: Vec<u8>) -> Self {
        let md5 = Md5::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { number, seed, content, md5 }
    }

    /// The same up to some place, and another file behind it.
    pub(crate) fn fork(&self, place: usize) -> Self {
        let (same, other) = self.content.split_at(place);
        let content = same.iter().copied().chain(other.iter().map(|byte| !byte)).collect();
        Self::of(self.seed, self.number, content)
    }

    pub(crate) fn filename(&self) -> String {
        format!("upload-{}-{:x}.bin", self.number, self.seed)
    }

    pub(crate) fn chunk(&self, range: Range<usize>, id: Option<&str>, shape: Shape) -> Chunk {
        let total = self.content.len();
        let content = &self.content[range.clone()];
        // Without a range a chunk is the whole file, and only so can that be empty.
        let whole = range == (0..total) && (self.number % 2 == 1 || total == 0);
        let place = (!whole).then_some((range.start as u64..range.end as u64, total as u64));
        let form = Form::new(shape, &self.filename(), id, content.len() as u64, place);
        let file_end = form.head.len() + content.len();
        let bytes = [form.head.as_bytes(), content, form.tail.as_bytes()].concat();
        Chunk { bytes, file_end }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    Raw,
    IdFirst,
    IdLast,
}

impl Shape {
    pub(crate) const ALL: [Self; 3] = [Self::Raw, Self::IdFirst, Self::IdLast];
}

/// A request with a chunk.
pub(crate) struct Chunk {
    pub(crate) bytes: Vec<u8>,
    /// Where in the request the chunk's last byte has gone by.
    pub(crate) file_end: usize,
}

/// A chunk's request around its bytes.
pub(crate) struct Form {
    pub(crate) head: String,
    pub(crate) tail: String,
}

impl Form {
    /// `place` is the chunk's range and the total.
    pub(crate) fn new(
        shape: Shape,
        filename: &str,
        id: Option<&str>,
        length: u64,
        place: Option<(Range<u64>, u64)>,
    ) -> Self {
        let place = place.map_or_else(String::new, |(range, total)| {
            format!("Content-Range: bytes {}-{}/{total}\r\n", range.start, range.end - 1)
        });
        let field = id.map_or_else(String::new, |id| {
            format!(
                "--frontier\r\nContent-Disposition: form-data; name=\"upload_id\"\r\n\r\n{id}\r\n"
            )
        });
        let (query, headers, before, tail) = match (shape, id) {
            (Shape::Raw, id) => (
                id.map_or_else(String::new, |id| format!("?upload_id={id}")),
                format!("Content-Disposition: attachment; filename=\"{filename}\"\r\n"),
                String::new(),
                String::new(),
            ),
            _ => {
                let part = format!(
                    "--frontier\r\nContent-Disposition: form-data; name=\"file\"; \
                     filename=\"{filename}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
                );
                let (before, after) = if let Shape::IdFirst = shape {
                    (field, String::new())
                } else {
                    (String::new(), field)
                };
                (
                    String::new(),
                    "Content-Type: multipart/form-data; boundary=frontier\r\n".to_owned(),
                    before + &part,
                    format!("\r\n{after}--frontier--\r\n"),
                )
            }
        };
        let whole = before.len() as u64 + length + tail.len() as u64;
        let path = format!("/api/chunked_upload{query}");
        let head = head("POST", &path, &(place + &headers), whole) + &before;
        Self { head, tail }
    }
}

/// A promise that was not kept.
#[derive(Debug)]
pub(crate) enum Violation {
    /// So many bytes were acknowledged and are not there.
    Lost(usize),
    /// Something is otherwise than it was acknowledged.
    Wrong(String),
    /// An upload that was acknowledged does not exist.
    Vanished,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(bytes) => write!(f, "{bytes} acknowledged bytes are lost"),
            Self::Wrong(what) => f.write_str(what),
            Self::Vanished => f.write_str("it does not exist any more"),
        }
    }
}

/// A connection that ended before the answer.
#[derive(Debug)]
pub(crate) struct Cut {
    /// How many bytes of the request were sent.
    pub(crate) sent: usize,
    /// How it ended.
    pub(crate) why: io::ErrorKind,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    /// Its `Upload-Token`.
    pub(crate) token: Option<String>,
    pub(crate) json: Value,
}

impl Answer {
    /// Somebody else has the upload at the moment.
    pub(crate) fn is_held(&self) -> bool {
        ["busy", "finishing"].iter().any(|code| self.json["code"] == *code)
    }

    pub(crate) fn accepted(self) -> Result<Value, Violation> {
        match self.status {
            200 => Ok(self.json),
            404 | 410 => Err(Violation::Vanished),
            status => Err(Violation::Wrong(format!("{status} {}", self.json))),
        }
    }
}

/// Waits for a port where connections that were closed still have them all.
pub(crate) fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let mut connected = TcpStream::connect(addr);
    until("there is a port", || {
        let lacks_port = |error: &io::Error| error.kind() == io::ErrorKind::AddrNotAvailable;
        let lacks_port = connected.as_ref().err().is_some_and(lacks_port);
        if lacks_port {
            connected = TcpStream::connect(addr);
        }
        !lacks_port
    });
    connected
}

/// A request on a connection of its own.
pub(crate) fn ask(addr: SocketAddr, request: &[u8]) -> Result<Answer, Cut> {
    let mut stream = connect(addr).map_err(|error| Cut { sent: 0, why: error.kind() })?;
    let answer = exchange(&mut stream, request);
    drop(stream.shutdown(Shutdown::Both));
    answer
}

/// Where an upload stands.
pub(crate) fn status(addr: SocketAddr, id: &str) -> Result<Value, Violation> {
    ask(addr, &status_request(id)).unwrap().accepted()
}

pub(crate) fn exchange(stream: &mut TcpStream, request: &[u8]) -> Result<Answer, Cut> {
    stream.set_nodelay(true).unwrap();
    let mut sent = 0;
    while sent < request.len() {
        match stream.write(&request[sent..]) {
            Ok(more) => sent += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    // Also after a failed write: a refusal may be on its way.
    let answer = read_answer(stream).map_err(|error| {
        assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "the server does not answer");
        Cut { sent, why: error.kind() }
    })?;
    assert!(sent == request.len() || answer.status >= 400, "answered before its end: {answer:?}");
    Ok(answer)
}

pub(crate) fn read_answer(stream: &mut TcpStream) -> io::Result<Answer> {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let token = head.lines().find_map(|line| line.strip_prefix("upload-token: "));
            let (token, head) = (token.map(str::to_owned), head.to_ascii_lowercase());
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if let Some(body) = bytes.get(end + 4..end + 4 + length) {
                let json = serde_json::from_slice(body).unwrap_or(Value::Null);
                return Ok(Answer { status, head, token, json });
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

fn head(method: &str, path: &str, headers: &str, length: u64) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: here\r\n{headers}Content-Length: {length}\r\n\r\n")
}

pub(crate) fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = head(method, path, headers, body.len() as u64);
    [head.as_bytes(), body].concat()
}

pub(crate) fn status_request(id: &str) -> Vec<u8> {
    request("GET", &format!("/api/chunked_upload?upload_id={id}"), "", b"")
}

pub(crate) fn cancel_request(id: &str) -> Vec<u8> {
    request("DELETE", &format!("/api/chunked_upload?upload_id={id}"), "", b"")
}

pub(crate) fn complete_request(id: &str, md5: &str) -> Vec<u8> {
    let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
    let body = format!("upload_id={id}&md5={md5}");
    request("POST", "/api/chunked_upload_complete", headers, body.as_bytes())
}

/// The id that an answer tells.
pub(crate) fn upload_id(standing: &Value) -> String {
    standing["upload_id"].as_str().unwrap().to_owned()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    // Folders and files go while this looks at them.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.append(&mut files_below(&entry.path())),
            Ok(_) => files.push(entry.path()),
            Err(_) => {}
        }
    }
    files
}

pub(crate) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|other| other == extension)
}

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// How a server writes.
    pub(crate) fn settings(&mut self) -> Settings {
        SETTINGS[self.below(4) as usize]
    }
}

/// The seed of all random choices: that of `SEED`, or another one each time. It is printed, so that
/// they can be made again.
pub(crate) fn seed() -> u64 {
    let seed = env::var("SEED").map_or_else(
        |_| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0),
        |seed| seed.parse().unwrap(),
    );
    println!("SEED={seed}");
    seed
}

pub(crate) fn is_long() -> bool {
    is_set("LONG")
}

pub(crate) fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Runs the test of this name in a process of its own, given this variable; with a program and its
/// arguments in front, below that.
pub(crate) fn rerun(name: &str, variable: &str, below: &[&str]) {
    let own = env::current_exe().unwrap();
    let words = [below, &[own.to_str().unwrap(), "--exact", name, "--nocapture"]].concat();
    let output = Command::new(words[0]).args(&words[1..]).env(variable, "1").output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    println!("{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && printed.contains("1 passed"), "{name}: {}", output.status);
}

pub(crate) fn program() -> PathBuf {
    let example = || {
        let tests = env::current_exe().unwrap();
        tests.ancestors().nth(2).unwrap().join("examples/wire")
    };
    env::var_os("WIRE_SERVER").map_or_else(example, PathBuf::from)
}

/// Where an upload stands if a chunk is refused since one before it, which was being synced at a
/// kill, was confirmed after the client had looked.
pub(crate) fn confirmed(answer: &Answer, offset: usize, cuts: &[usize]) -> Option<usize> {
    let is_due = |end: &&usize| **end > offset && answer.json["offset"] == **end;
    cuts.iter().find(is_due).copied().filter(|_| answer.json["code"] == "offset-mismatch")
}

/// Sends a request again while the upload is held: a sweep holds one whose record it confirms, and
/// another process gives it up when it notices the request.
pub(crate) fn ask_until_free(addr: SocketAddr, request: &[u8]) -> Answer {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = ask(addr, request).unwrap();
        if !answer.is_held() || Instant::now() > end {
            return answer;
        }
        thread::sleep(POLL);
    }
}

/// Waits for something that this process is not told of.
pub(crate) fn until(what: &str, mut happens: impl FnMut() -> bool) {
    until_or(what, || happens().then_some(()).ok_or("it does not happen"));
}

pub(crate) fn until_or<E: fmt::Debug>(what: &str, mut happens: impl FnMut() -> Result<(), E>) {
    let end = Instant::now() + DEADLINE;
    while let Err(instead) = happens() {
        assert!(Instant::now() < end, "{what}: {instead:?}");
        thread::sleep(POLL);
    }
}

pub(crate) type Settings = &'static [(&'static str, &'static str)];

/// All ways to write: with a sync or without, with calls on files in place or on the pool.
pub(crate) const SETTINGS: [Settings; 4] = [&[], &[SYNC], &[IN_PLACE], &[SYNC, IN_PLACE]];
pub(crate) const SYNC: (&str, &str) = ("WIRE_SYNC", "1");
pub(crate) const IN_PLACE: (&str, &str) = ("WIRE_IN_PLACE", "1");

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_micros(200);
