//! `kill -9` of a server: whatever it has acknowledged is still there, and nothing else is.
//!
//! The default run takes some fifteen kills; `LONG=1` takes a hundred and more, `CRASH_KILLS=N` as
//! many as it says. `CRASH_SEED=N` repeats the random choices, though not their moments.
//! `WIRE_SERVER` is the server to kill instead of the example `wire` of this profile.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use md5::{Digest as _, Md5};
use serde_json::Value;
use tempfile::TempDir;

/// Four clients upload while the server is killed again and again. After each kill a client asks
/// where its upload stands and goes on from there.
#[test]
fn what_was_acknowledged_survives_kills_at_random_moments() {
    let mut random = Random::new(seed());
    let kills = kills().unwrap_or(if is_set("LONG") { 120 } else { 15 });
    let world = World::new();
    let door = Door::default();
    let findings = Findings::default();
    let over = AtomicBool::new(false);

    let uploads: Vec<Finished> = thread::scope(|scope| {
        let mut server = world.start(&random.durability());
        door.open(server.addr);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let seed = random.next();
                let (world, door, findings, over) = (&world, &door, &findings, &over);
                scope.spawn(move || {
                    let mut uploads = Vec::new();
                    for number in (client..).step_by(CLIENTS as usize) {
                        if over.load(Ordering::Relaxed) {
                            break;
                        }
                        let mut upload = Uploading::new(Plan::new(seed, number), door, findings);
                        match upload.run(&world.finals()) {
                            Ok(finished) => uploads.push(finished),
                            Err(violation) => findings.add(&upload.plan, violation),
                        }
                    }
                    uploads
                })
            })
            .collect();
        for _ in 0..kills {
            thread::sleep(random.moment());
            server.kill();
            server = world.start(&random.durability());
            door.open(server.addr);
        }
        over.store(true, Ordering::Relaxed);
        let uploads = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        server.kill();
        uploads
    });

    let server = world.start(&[]);
    for upload in &uploads {
        if let Err(violation) = upload.is_still_there(server.addr, &world.finals()) {
            findings.add(&upload.plan, violation);
        }
    }
    let unanswered = world.unanswered(server.addr, &findings);
    findings.conclude(kills, uploads.len(), unanswered, &world.log());
}

/// The hook has moved the file away and is killed before it can answer: the upload can be completed
/// again, and the file is the same.
#[test]
fn a_kill_between_the_hand_over_and_the_answer_leaves_the_upload_completable() {
    let world = World::new();
    let mut random = Random::new(seed());
    // Without a checksum the hook reads the file after it has moved it, which takes a while.
    let settings = [("WIRE_NO_MD5", "1")];
    let (mut hits, mut tries) = (0, 0);
    while hits < if is_set("LONG") { 20 } else { 3 } {
        tries += 1;
        assert!(tries <= 100, "{hits} of {tries} kills came before the answer");
        let plan = Plan::of_length(random.next(), tries, 8 * MIB);
        let server = world.start(&settings);
        let id = upload_whole(&server, &plan);
        let target = world.finals().join(format!("{id}.bin"));
        let request = complete_request(&id, &plan.md5);
        let mut stream = TcpStream::connect(server.addr).unwrap();
        stream.write_all(&request).unwrap();
        until("the hook moves the file", || target.exists());
        server.kill();

        let server = world.start(&settings);
        match status(server.addr, &id) {
            Ok(standing) if standing["status"] == "open" => {
                hits += 1;
                assert_eq!(standing["offset"], plan.content.len());
                let answer = ask(server.addr, &request).unwrap();
                assert_eq!((answer.status, &answer.json["deliveries"]), (200, &2.into()));
            }
            Ok(standing) => assert_eq!(standing["status"], "complete"),
            Err(violation) => panic!("{violation}"),
        }
        world.check_complete(server.addr, &id, &plan);
    }
    println!("{hits} of {tries} kills came after the move and before the answer");
}

/// The hook has been called and has not touched the file.
#[test]
fn a_kill_before_the_hook_takes_the_file_leaves_the_upload_completable() {
    let world = World::new();
    let plan = Plan::of_length(seed(), 0, 300_000);
    let server = world.start(&[]);
    let id = upload_whole(&server, &plan);
    let request = complete_request(&id, &plan.md5);
    // The hook counts its deliveries in this file first: nobody reads from it, so it waits.
    let counter = world.finals().join(format!("{id}.deliveries"));
    assert!(Command::new("mkfifo").arg(&counter).status().unwrap().success());
    let mut stream = TcpStream::connect(server.addr).unwrap();
    stream.write_all(&request).unwrap();
    until("the hook is called", || {
        status(server.addr, &id).is_ok_and(|standing| standing["status"] == "finishing")
    });
    let second = ask(server.addr, &request).unwrap();
    assert_eq!(second.status, 400, "{}", second.json);
    server.kill();

    fs::remove_file(&counter).unwrap();
    let server = world.start(&[]);
    let standing = status(server.addr, &id).unwrap();
    assert_eq!((&standing["status"], &standing["offset"]), (&"open".into(), &300_000.into()));
    let answer = ask(server.addr, &request).unwrap();
    assert_eq!((answer.status, &answer.json["deliveries"]), (200, &1.into()));
    world.check_complete(server.addr, &id, &plan);
}

/// Whatever a completion was doing when the server was killed, it can be brought to its end.
#[test]
fn kills_at_random_moments_of_a_completion_lose_no_file() {
    let world = World::new();
    let mut random = Random::new(seed());
    let mut found = BTreeMap::new();
    let tries = kills().unwrap_or(if is_set("LONG") { 100 } else { 8 });
    for number in 0..tries {
        let plan = Plan::of_length(random.next(), number, 100_000);
        let durability = random.durability();
        let server = world.start(&durability);
        let id = upload_whole(&server, &plan);
        let request = complete_request(&id, &plan.md5);
        let mut stream = TcpStream::connect(server.addr).unwrap();
        stream.write_all(&request).unwrap();
        thread::sleep(Duration::from_micros(random.below(4000)));
        server.kill();

        let server = world.start(&durability);
        let standing = status(server.addr, &id).unwrap();
        let moved = world.finals().join(format!("{id}.bin")).exists();
        if standing["status"] != "complete" {
            let answer = ask(server.addr, &request).unwrap();
            assert_eq!(answer.status, 200, "{standing} {}", answer.json);
        }
        world.check_complete(server.addr, &id, &plan);
        let stand = format!("{} {}", standing["status"], if moved { "moved" } else { "not moved" });
        *found.entry(stand).or_insert(0) += 1;
    }
    println!("{tries} kills during a completion: {found:?}");
}

/// Bytes of an upload that nobody was told of, and the bytes of a chunk whose upload is not yet
/// known, are gone after the restart.
#[test]
fn a_kill_during_a_first_chunk_leaves_no_file_after_the_next_sweep() {
    let world = World::new();
    let plan = Plan::of_length(seed(), 0, MIB);
    let total = plan.content.len();
    for shape in [Shape::Raw, Shape::IdFirst] {
        let server = world.start(&[]);
        let first = plan.chunk(0..total, None, shape);
        let _held = world.send_until_written(&server, &first, 0);
        server.kill();
        assert_ne!(world.files().len(), 0, "{shape:?}: the kill came too early");
        let server = world.start(&[]);
        until("the sweep removes what nobody knows of", || world.files().is_empty());
        server.kill();
    }

    let server = world.start(&[]);
    let begun = ask(server.addr, &plan.chunk(0..1000, None, Shape::Raw).bytes).unwrap();
    let id = begun.json["upload_id"].as_str().unwrap().to_owned();
    let ours = world.files();
    let late = plan.chunk(1000..total, Some(&id), Shape::IdLast);
    let _held = world.send_until_written(&server, &late, 1000);
    server.kill();
    assert!(world.files().len() > ours.len(), "the kill came too early");
    let server = world.start(&[]);
    until("the sweep removes the staged chunk", || world.files() == ours);
    assert_eq!(status(server.addr, &id).unwrap()["offset"], 1000);
    let rest = ask(server.addr, &late.bytes).unwrap();
    assert_eq!((rest.status, &rest.json["offset"]), (200, &total.into()));
    let answer = ask(server.addr, &complete_request(&id, &plan.md5)).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.json);
    world.check_complete(server.addr, &id, &plan);
}

/// The folders of a server that is killed and started again.
struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = TempDir::with_prefix_in("crash-", env!("CARGO_TARGET_TMPDIR")).unwrap();
        let world = Self { folder };
        fs::create_dir(world.data()).unwrap();
        fs::create_dir(world.finals()).unwrap();
        world
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn finals(&self) -> PathBuf {
        self.folder.path().join("final")
    }

    /// What the servers printed.
    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn start(&self, settings: &[(&str, &str)]) -> Server {
        let log = self.folder.path().join("log");
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = Command::new(program());
        for (name, _) in env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"WIRE_") {
                command.env_remove(name);
            }
        }
        command
            .env("WIRE_ADDR", addr.to_string())
            .env("WIRE_DATA", self.data())
            .env("WIRE_FINAL", self.finals())
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::options().create(true).append(true).open(&log).unwrap());
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{}: {error}; cargo build --example wire", program().display())
        });
        let mut server = Server { child, addr };
        until("the server listens", || {
            if let Some(end) = server.child.try_wait().unwrap() {
                panic!("the server ended at once: {end}\n{}", self.log());
            }
            TcpStream::connect(addr).is_ok()
        });
        server
    }

    /// All files in the data folder, in order.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = files_below(&self.data());
        files.sort();
        files
    }

    /// Sends a chunk but its last byte, and waits until the server has written something of it
    /// behind the bytes that it had already.
    fn send_until_written(&self, server: &Server, chunk: &Chunk, before: u64) -> TcpStream {
        let mut stream = TcpStream::connect(server.addr).unwrap();
        stream.write_all(&chunk.bytes[..chunk.file_end - 1]).unwrap();
        until("the server writes", || self.stored() > before);
        stream
    }

    /// How many bytes of files lie in the data folder.
    fn stored(&self) -> u64 {
        let parts = self.files().into_iter().filter(|path| has_extension(path, "part"));
        parts.filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum()
    }

    /// An upload is complete, cannot be completed again, and its file is right.
    fn check_complete(&self, addr: SocketAddr, id: &str, plan: &Plan) {
        let again = ask(addr, &complete_request(id, &plan.md5)).unwrap();
        assert_eq!(again.status, 400, "{}", again.json);
        let finished = Finished { id: id.to_owned(), plan: plan.clone() };
        finished.is_still_there(addr, &self.finals()).unwrap();
    }

    /// Looks at what the data folder holds beside the records of complete uploads. Only uploads
    /// whose first chunk was stored and not answered may be there; gives their number.
    fn unanswered(&self, addr: SocketAddr, findings: &Findings) -> usize {
        until_or("the sweep is done", || {
            let known = |path: &PathBuf| {
                let id = path.file_stem().unwrap().to_str().unwrap();
                matches!(ask(addr, &status_request(id)), Ok(answer) if answer.status == 200)
            };
            let files = self.files();
            files.iter().all(known).then_some(()).ok_or(files)
        });
        let lost_answers = findings.lost_answers.lock().unwrap();
        let mut unanswered = 0;
        for path in self.files() {
            let id = path.file_stem().unwrap().to_str().unwrap();
            assert!(has_extension(&path, "part") || has_extension(&path, "log"), "{path:?}");
            if !has_extension(&path, "part") {
                continue;
            }
            unanswered += 1;
            let standing = status(addr, id).unwrap();
            let name = standing["filename"].as_str().unwrap_or_default();
            let Some((plan, ends)) = lost_answers.get(name) else {
                findings.note(format!("{path:?} is nobody's: {standing}"));
                continue;
            };
            let offset = usize::try_from(standing["offset"].as_u64().unwrap()).unwrap();
            let stored = fs::read(&path).unwrap();
            if !ends.contains(&offset) || stored.get(..offset) != Some(&plan.content[..offset]) {
                findings.note(format!("{path:?} is not the first chunk of {name}: {standing}"));
            }
        }
        let answers: usize = lost_answers.values().map(|(_, ends)| ends.len()).sum();
        if unanswered > answers {
            findings.note(format!("{unanswered} uploads for {answers} lost answers"));
        }
        unanswered
    }
}

struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    /// SIGKILL; on return the process is gone.
    fn kill(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Where the server is, for clients that have lost it.
#[derive(Default)]
struct Door {
    current: Mutex<Option<(u64, SocketAddr)>>,
    changed: Condvar,
}

impl Door {
    fn open(&self, addr: SocketAddr) {
        let mut current = self.current.lock().unwrap();
        *current = Some((current.map_or(1, |(number, _)| number + 1), addr));
        self.changed.notify_all();
    }

    /// Waits for a server that was started after number `last`.
    fn after(&self, last: u64) -> Option<(u64, SocketAddr)> {
        let current = self.current.lock().unwrap();
        let older = |current: &mut Option<(u64, SocketAddr)>| {
            current.is_none_or(|(number, _)| number <= last)
        };
        let (current, _) = self.changed.wait_timeout_while(current, DEADLINE, older).unwrap();
        current.filter(|(number, _)| *number > last)
    }
}

/// A file to be uploaded; the same for the same seed and number.
#[derive(Clone, Debug)]
struct Plan {
    number: u64,
    seed: u64,
    content: Vec<u8>,
    md5: String,
}

impl Plan {
    fn new(seed: u64, number: u64) -> Self {
        let length = match Random::new(seed ^ number).below(8) {
            0 => 1,
            1 => 1000,
            2 => 64 * KIB,
            _ => Random::new(seed ^ number).below(8 * MIB as u64) as usize + 1,
        };
        Self::of_length(seed, number, length)
    }

    fn of_length(seed: u64, number: u64, length: usize) -> Self {
        let mut random = Random::new(seed ^ number.rotate_left(32));
        let mut content = Vec::with_capacity(length + 8);
        while content.len() < length {
            content.extend_from_slice(&random.next().to_le_bytes());
        }
        content.truncate(length);
        let md5 = Md5::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { number, seed, content, md5 }
    }

    fn filename(&self) -> String {
        format!("upload-{}-{:x}.bin", self.number, self.seed)
    }

    fn chunk(&self, range: std::ops::Range<usize>, id: Option<&str>, shape: Shape) -> Chunk {
        let total = self.content.len();
        let content = &self.content[range.clone()];
        let name = self.filename();
        let place = format!("Content-Range: bytes {}-{}/{total}\r\n", range.start, range.end - 1);
        // Without a range a chunk is the whole file.
        let whole = range == (0..total) && self.number % 2 == 1;
        let place = if whole { String::new() } else { place };

        let (mut query, mut body) = (String::new(), Vec::new());
        let mut headers = place;
        let file_end;
        if let Shape::Raw = shape {
            query = id.map(|id| format!("?upload_id={id}")).unwrap_or_default();
            headers += &format!("Content-Disposition: attachment; filename=\"{name}\"\r\n");
            body.extend_from_slice(content);
            file_end = body.len();
        } else {
            headers += "Content-Type: multipart/form-data; boundary=frontier\r\n";
            let field = id.map(|id| {
                format!("--frontier\r\nContent-Disposition: form-data; name=\"upload_id\"\r\n\r\n{id}\r\n")
            });
            let field = field.unwrap_or_default();
            let (before, after) = match shape {
                Shape::IdFirst => (field.as_str(), ""),
                _ => ("", field.as_str()),
            };
            body.extend_from_slice(before.as_bytes());
            body.extend_from_slice(
                format!(
                    "--frontier\r\nContent-Disposition: form-data; name=\"file\"; \
                     filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
                )
                .as_bytes(),
            );
            body.extend_from_slice(content);
            file_end = body.len();
            body.extend_from_slice(format!("\r\n{after}--frontier--\r\n").as_bytes());
        }
        let path = format!("/api/chunked_upload{query}");
        let bytes = request("POST", &path, &headers, &body);
        let file_end = bytes.len() - body.len() + file_end;
        Chunk { bytes, file_end }
    }
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Raw,
    IdFirst,
    IdLast,
}

/// A request with a chunk.
struct Chunk {
    bytes: Vec<u8>,
    /// Where in the request the chunk's last byte has gone by.
    file_end: usize,
}

/// A client that uploads one file.
struct Uploading<'a> {
    plan: Plan,
    random: Random,
    door: &'a Door,
    findings: &'a Findings,
    server: Option<(u64, SocketAddr)>,
    stream: Option<TcpStream>,
}

impl<'a> Uploading<'a> {
    fn new(plan: Plan, door: &'a Door, findings: &'a Findings) -> Self {
        let random = Random::new(plan.seed ^ plan.number.rotate_left(16));
        Self { plan, random, door, findings, server: None, stream: None }
    }

    fn run(&mut self, finals: &Path) -> Result<Finished, Violation> {
        let total = self.plan.content.len();
        let mut id: Option<String> = None;
        let mut offset = 0;
        while offset < total {
            let end = total.min(offset + self.random.chunk_length());
            let shape = [Shape::Raw, Shape::IdFirst, Shape::IdLast][self.random.below(3) as usize];
            let chunk = self.plan.chunk(offset..end, id.as_deref(), shape);
            match (self.call(&chunk.bytes)?, &id) {
                (Ok(answer), _) => {
                    let standing = answer.accepted()?;
                    if standing["offset"] != end {
                        return Err(Violation::Wrong(format!("{standing} after {end} bytes")));
                    }
                    id.get_or_insert(standing["upload_id"].as_str().unwrap_or_default().to_owned());
                    offset = end;
                }
                (Err(cut), Some(id)) => {
                    let sent = if cut.sent >= chunk.file_end { end } else { offset };
                    let stands = self.offset(id, offset, sent)?;
                    let kept = stands > offset;
                    let counter =
                        if kept { &self.findings.in_kept } else { &self.findings.in_chunk };
                    counter.fetch_add(1, Ordering::Relaxed);
                    offset = stands;
                }
                (Err(cut), None) => {
                    self.findings.in_first.fetch_add(1, Ordering::Relaxed);
                    if cut.sent >= chunk.file_end {
                        self.findings.lost_answer(&self.plan, end);
                    }
                }
            }
        }
        let id = id.ok_or_else(|| Violation::Wrong("an empty file".to_owned()))?;
        self.complete(&id, finals)?;
        Ok(Finished { id, plan: self.plan.clone() })
    }

    /// Where the upload stands after a kill: where it stood before the chunk in flight, or after it
    /// if the whole chunk was sent.
    fn offset(&mut self, id: &str, acknowledged: usize, sent: usize) -> Result<usize, Violation> {
        let standing = self.insist(&status_request(id))?.accepted()?;
        let offset = standing["offset"].as_u64().and_then(|offset| usize::try_from(offset).ok());
        let total = self.plan.content.len();
        match offset {
            Some(offset) if offset < acknowledged => Err(Violation::Lost(acknowledged - offset)),
            Some(offset)
                if (offset == acknowledged || offset == sent)
                    && standing["total"] == total
                    && standing["status"] == "open"
                    && standing["filename"] == self.plan.filename() =>
            {
                Ok(offset)
            }
            _ => {
                let due = format!("{standing}, and {acknowledged} or {sent} of {total} were due");
                Err(Violation::Wrong(due))
            }
        }
    }

    fn complete(&mut self, id: &str, finals: &Path) -> Result<(), Violation> {
        let request = complete_request(id, &self.plan.md5);
        let mut attempts = 0;
        let counted = loop {
            attempts += 1;
            if let Ok(answer) = self.call(&request)? {
                break answer.accepted()?["deliveries"].as_u64().unwrap_or_default();
            }
            self.findings.in_completion.fetch_add(1, Ordering::Relaxed);
            let standing = self.insist(&status_request(id))?.accepted()?;
            if standing["status"] == "complete" {
                break deliveries(finals, id);
            }
        };
        let again = self.insist(&request)?;
        let delivered = deliveries(finals, id);
        if again.status != 400 || delivered != counted || !(1..=attempts).contains(&counted) {
            return Err(Violation::Wrong(format!(
                "delivered {delivered} times, {counted} of them counted, in {attempts} attempts; \
                 then {} {}",
                again.status, again.json
            )));
        }
        if fs::read(finals.join(format!("{id}.bin"))).ok().as_ref() != Some(&self.plan.content) {
            return Err(Violation::Wrong("its file is another one".to_owned()));
        }
        Ok(())
    }

    /// Repeats a request that changes nothing until it is answered.
    fn insist(&mut self, request: &[u8]) -> Result<Answer, Violation> {
        loop {
            if let Ok(answer) = self.call(request)? {
                return Ok(answer);
            }
        }
    }

    /// Sends a request; if the connection ends before the answer, waits for the next server.
    fn call(&mut self, request: &[u8]) -> Result<Result<Answer, Cut>, Violation> {
        let (number, addr) = match self.server {
            Some(server) => server,
            None => self.next_server(0)?,
        };
        let stream = match self.stream.take() {
            Some(stream) => Ok(stream),
            None => TcpStream::connect(addr).map_err(|_| Cut { sent: 0 }),
        };
        let result = stream.and_then(|mut stream| {
            let answer = exchange(&mut stream, request)?;
            self.stream = Some(stream);
            Ok(answer)
        });
        if result.is_err() {
            self.next_server(number)?;
        }
        Ok(result)
    }

    fn next_server(&mut self, last: u64) -> Result<(u64, SocketAddr), Violation> {
        let lost = || Violation::Wrong("the connection ended without a kill".to_owned());
        let server = self.door.after(last).ok_or_else(lost)?;
        self.server = Some(server);
        Ok(server)
    }
}

/// An upload that was completed.
struct Finished {
    id: String,
    plan: Plan,
}

impl Finished {
    fn is_still_there(&self, addr: SocketAddr, finals: &Path) -> Result<(), Violation> {
        let standing = status(addr, &self.id)?;
        let file = fs::read(finals.join(format!("{}.bin", self.id)));
        if standing["status"] != "complete" || file.ok().as_ref() != Some(&self.plan.content) {
            return Err(Violation::Wrong(format!("{standing}, or its file is another one")));
        }
        Ok(())
    }
}

/// A promise that was not kept.
#[derive(Debug)]
enum Violation {
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

/// What the clients found.
#[derive(Default)]
struct Findings {
    lost: AtomicU64,
    wrong: AtomicU64,
    vanished: AtomicU64,
    notes: Mutex<Vec<String>>,
    /// Files whose first chunk went out and was not answered, with the ends of those chunks.
    lost_answers: Mutex<HashMap<String, (Plan, Vec<usize>)>>,
    in_first: AtomicU64,
    in_chunk: AtomicU64,
    in_kept: AtomicU64,
    in_completion: AtomicU64,
}

impl Findings {
    fn add(&self, plan: &Plan, violation: Violation) {
        let (counter, by) = match &violation {
            Violation::Lost(bytes) => (&self.lost, *bytes as u64),
            Violation::Wrong(_) => (&self.wrong, 1),
            Violation::Vanished => (&self.vanished, 1),
        };
        counter.fetch_add(by, Ordering::Relaxed);
        self.notes.lock().unwrap().push(format!("{}: {violation}", plan.filename()));
    }

    fn note(&self, what: String) {
        self.wrong.fetch_add(1, Ordering::Relaxed);
        self.notes.lock().unwrap().push(what);
    }

    fn lost_answer(&self, plan: &Plan, end: usize) {
        let mut lost = self.lost_answers.lock().unwrap();
        lost.entry(plan.filename()).or_insert_with(|| (plan.clone(), Vec::new())).1.push(end);
    }

    fn conclude(&self, kills: u64, uploads: usize, unanswered: usize, log: &str) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        println!(
            "a kill came in {} first chunks, {} of them stored; in {} later chunks, {} of them \
             stored; in {} completions",
            count(&self.in_first),
            unanswered,
            count(&self.in_chunk) + count(&self.in_kept),
            count(&self.in_kept),
            count(&self.in_completion),
        );
        let [lost, wrong, vanished] = [&self.lost, &self.wrong, &self.vanished].map(count);
        println!(
            "kills {kills}, uploads {uploads}, lost {lost}, wrong {wrong}, vanished {vanished}"
        );
        let notes = self.notes.lock().unwrap();
        assert!(notes.is_empty(), "{}\n{log}", notes.join("\n"));
        assert!(!log.contains("panicked"), "{log}");
        assert_ne!(count(&self.in_chunk), 0, "no kill came in a chunk");
    }
}

/// A connection that ended before the answer.
#[derive(Debug)]
struct Cut {
    /// How many bytes of the request were sent.
    sent: usize,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    json: Value,
}

impl Answer {
    fn accepted(self) -> Result<Value, Violation> {
        match self.status {
            200 => Ok(self.json),
            404 | 410 => Err(Violation::Vanished),
            status => Err(Violation::Wrong(format!("{status} {}", self.json))),
        }
    }
}

/// A request on a connection of its own.
fn ask(addr: SocketAddr, request: &[u8]) -> Result<Answer, Cut> {
    let mut stream = TcpStream::connect(addr).map_err(|_| Cut { sent: 0 })?;
    let answer = exchange(&mut stream, request);
    drop(stream.shutdown(Shutdown::Both));
    answer
}

fn status(addr: SocketAddr, id: &str) -> Result<Value, Violation> {
    ask(addr, &status_request(id)).unwrap().accepted()
}

fn exchange(stream: &mut TcpStream, request: &[u8]) -> Result<Answer, Cut> {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
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
        Cut { sent }
    })?;
    assert!(sent == request.len() || answer.status >= 400, "answered before its end: {answer:?}");
    Ok(answer)
}

fn read_answer(stream: &mut TcpStream) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if let Some(body) = bytes.get(end + 4..end + 4 + length) {
                let json = serde_json::from_slice(body).unwrap_or(Value::Null);
                return Ok(Answer { status, json });
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: here\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn status_request(id: &str) -> Vec<u8> {
    request("GET", &format!("/api/chunked_upload?upload_id={id}"), "", b"")
}

fn complete_request(id: &str, md5: &str) -> Vec<u8> {
    let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
    let body = format!("upload_id={id}&md5={md5}");
    request("POST", "/api/chunked_upload_complete", headers, body.as_bytes())
}

/// Uploads a file at once; gives the id.
fn upload_whole(server: &Server, plan: &Plan) -> String {
    let chunk = plan.chunk(0..plan.content.len(), None, Shape::IdFirst);
    let standing = ask(server.addr, &chunk.bytes).unwrap().accepted().unwrap();
    standing["upload_id"].as_str().unwrap().to_owned()
}

/// How often the hook has seen an upload.
fn deliveries(finals: &Path, id: &str) -> u64 {
    fs::metadata(finals.join(format!("{id}.deliveries"))).map_or(0, |file| file.len())
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

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|other| other == extension)
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// When to kill next: now and then while clients are still coming back.
    fn moment(&mut self) -> Duration {
        let limit = [20_000, 200_000, 1_000_000][self.below(3) as usize];
        Duration::from_micros(self.below(limit))
    }

    fn durability(&mut self) -> Vec<(&'static str, &'static str)> {
        if self.below(2) == 0 { vec![("WIRE_SYNC", "1")] } else { Vec::new() }
    }

    /// From 1 byte to 3 MiB, often around the sizes at which the server changes its ways.
    fn chunk_length(&mut self) -> usize {
        let around = self.below(3) as usize;
        match self.below(16) {
            0..=2 => 1,
            3..=4 => 1 + self.below(4096) as usize,
            5..=6 => 16 * KIB - 1 + around,
            7..=8 => 64 * KIB - 1 + around,
            9..=11 => 256 * KIB - 1 + around,
            12..=14 => 1 + self.below(MIB as u64) as usize,
            _ => 3 * MIB,
        }
    }
}

/// The seed of all random choices, printed so that they can be made again.
fn seed() -> u64 {
    let seed = env::var("CRASH_SEED").map_or_else(
        |_| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0),
        |seed| seed.parse().unwrap(),
    );
    println!("CRASH_SEED={seed}");
    seed
}

fn kills() -> Option<u64> {
    env::var("CRASH_KILLS").ok().map(|kills| kills.parse().unwrap())
}

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
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
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let start = u64::from(std::process::id()) * 97;
    loop {
        let next = start + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(12_000 + next % 18_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits for something that this process is not told of.
fn until(what: &str, mut happens: impl FnMut() -> bool) {
    until_or(what, || happens().then_some(()).ok_or("it does not happen"));
}

fn until_or<E: std::fmt::Debug>(what: &str, mut happens: impl FnMut() -> Result<(), E>) {
    let end = Instant::now() + DEADLINE;
    while let Err(instead) = happens() {
        assert!(Instant::now() < end, "{what}: {instead:?}");
        thread::sleep(POLL);
    }
}

const CLIENTS: u64 = 4;
const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_micros(200);
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
