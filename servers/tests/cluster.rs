//! Three nodes on one bucket behind a balancer that gives each request to the next of them: the
//! protocol is as on one server, and `kill -9` of nodes and of the bucket's gateways loses nothing
//! that was acknowledged. Half of the clients speak tus, whose requests also leave what came of them
//! when they are cut.
//!
//! The default run uploads fifty files and cuts fifty requests, `LONG=1` two thousand and five hundred. `SEED=N` repeats the random choices,
//! though not their moments.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/client.rs"]
mod client;
#[path = "support/engines.rs"]
mod engines;
#[path = "support/server.rs"]
mod server;
#[path = "support/upload.rs"]
mod upload;
#[path = "wire/main.rs"]
#[allow(dead_code, reason = "it is a program of its own")]
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::read_to_string;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::{Http2, Reply, read_end, read_reply, try_ask};
use engines::{Ceph, ceph};
use object_store::{ObjectStore, ObjectStoreExt as _, RetryConfig};
use rustix::net::sockopt::set_socket_linger;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use server::{
    DEADLINE, Plan, Random, Server, Shape, World, ask, complete_request, is_long, seed,
    status_request, until, upload_id,
};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use upload::{BYTES, Upload, patch_headers, tus};
use wire::ports;

/// One Ceph at a time is enough for a machine.
static ONE: Mutex<()> = Mutex::new(());

#[test]
fn three_nodes_on_one_bucket_speak_the_protocol_as_one_server_does() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let ceph = ceph(2, "memstore");
    let mut command = vec!["env".to_owned()];
    command.extend(settings(&ceph).into_iter().map(|(name, value)| format!("{name}={value}")));
    command.push(server::program().to_str().unwrap().to_owned());
    let few_at_a_time = ["--test-threads=2".to_owned()];
    assert!(wire::run(few_at_a_time.into_iter(), Some(command)).unwrap());
}

/// Clients upload while nodes and gateways die. What a node says where an upload stands binds all of
/// them: no later answer may be lower.
#[test]
fn kills_of_nodes_and_gateways_lose_no_byte_and_move_no_offset_back() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut random = Random::new(seed());
    let count = if is_long() { 2000 } else { 50 };
    let ceph = ceph(2, "memstore");
    let world = World::new();
    let mut settings = settings(&ceph);
    // So that there are chunks in pieces, and files that are persisted in parts.
    settings.push(("WIRE_SEGMENT_BYTES", (MIB / 2).to_string()));
    let texts: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let balancer = world.start(&texts);
    let run = Run { world: &world, addr: balancer.addr, findings: Findings::default() };

    let (seeds, over) = ([(); 3].map(|()| random.next()), AtomicBool::new(false));
    let next = AtomicU64::new(0);
    let (kills, uploads) = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut uploads = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return uploads;
                        }
                        uploads.extend(Client::new(&run, plan(seeds[0], number)).upload());
                    }
                })
            })
            .collect();
        let nodes = scope.spawn(|| run.kill_nodes(Random::new(seeds[1]), &over));
        let gateways = scope.spawn(|| run.kill_gateways(&ceph, Random::new(seeds[2]), &over));
        let uploads: Vec<_> =
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        over.store(true, Ordering::Relaxed);
        ([nodes, gateways].map(|killer| killer.join().unwrap()), uploads)
    });
    run.compare(&*object_store(&ceph, &settings), &uploads);
    run.conclude(balancer, count, kills, uploads.len());
}

/// How a request to a node ends in its middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    Fin,
    /// After the node has read what came.
    Rst,
    Http2Reset,
}

/// Two nodes without a balancer: what one of them was given is there, and the other one shows it.
#[test]
fn a_request_to_a_node_that_is_cut_at_any_byte_leaves_all_that_came() {
    const CUTS: usize = 50;
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut random = Random::new(seed());
    let (ceph, world) = (ceph(1, "memstore"), World::new());
    let nodes = two_nodes(&ceph, &world);
    let mut found = BTreeMap::<Cut, [usize; 2]>::new();
    for number in 0..if is_long() { 10 } else { 1 } {
        let plan = Plan::of_length(random.next(), number, 8 << 20);
        let mut upload = Upload::create(nodes[0].addr, plan);
        for left in (1..=CUTS).rev() {
            let [node, other] = random.order();
            let at = upload.shown;
            let rest = upload.total() - 1 - at;
            let length = random.up_to((2 * rest / left).max(1) as u64).min(rest);
            let cut = Cut::ALL[random.below(3) as usize];
            upload.addr = nodes[node].addr;
            let (given, _connection) = cut_after(&mut upload, length, cut, &mut random);
            upload.addr = nodes[other].addr;
            upload.shows(at + given);
            let count = found.entry(cut).or_default();
            count[0] += 1;
            count[1] += given;
        }
        upload.finish(&world);
    }
    for (cut, [cuts, given]) in &found {
        println!("{cut:?}: {cuts} cuts, {given} bytes given, 0 of them not kept");
    }
    world.no_panic();
}

/// On a new bucket.
fn two_nodes(ceph: &Ceph, world: &World) -> [Server; 2] {
    let mut settings = settings(ceph);
    settings.retain(|(name, _)| *name != "WIRE_NODES");
    settings.push(("WIRE_SEGMENT_BYTES", (MIB / 2).to_string()));
    let texts: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    [(); 2].map(|()| world.start(&texts))
}

/// Sends at most so many bytes and ends the request; gives how many the node has got, and the
/// connection if there still is one: h2 forgets a request that it has not handed on when that ends.
fn cut_after(
    upload: &mut Upload,
    length: usize,
    cut: Cut,
    random: &mut Random,
) -> (usize, Option<Http2>) {
    let at = upload.shown;
    let bytes = upload.plan.content[at..at + length].to_vec();
    let shows = random.below(4) == 0;
    if cut == Cut::Http2Reset {
        let client = Http2::connect(upload.addr);
        let mut stream = client.begin_patch(&upload.path, at, &[]);
        client.send(&mut stream, &bytes);
        client.sends(&stream, if shows { length } else { 1 });
        if shows {
            upload.shows(at + length);
        }
        return (client.reset(stream), Some(client));
    }
    let mut stream = upload.begin_patch(&upload.length());
    stream.write_all(&bytes).unwrap();
    if shows {
        upload.shows(at + length);
    }
    if cut == Cut::Fin {
        stream.shutdown(Shutdown::Write).unwrap();
        read_end(&mut stream);
    } else {
        until("the node has read it", || is_read(&stream));
        set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    }
    (length, None)
}

/// Whether nothing that was sent waits in the kernel any more.
fn is_read(stream: &TcpStream) -> bool {
    let ends = [stream.local_addr().unwrap(), stream.peer_addr().unwrap()];
    let [here, there] = ends.map(|end| {
        let SocketAddr::V4(end) = end else { panic!("{end}") };
        format!("{:08X}:{:04X}", u32::from_ne_bytes(end.ip().octets()), end.port())
    });
    let table = read_to_string("/proc/net/tcp").unwrap();
    // What is to be sent, and what is to be read.
    let waits = |from: &str, to: &str| {
        let row = table.lines().find(|row| row.contains(&format!(" {from} {to} "))).unwrap();
        row.split_whitespace().nth(4).unwrap() != "00000000:00000000"
    };
    !waits(&here, &there) && !waits(&there, &here)
}

/// What the other node does to an upload while a request for it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overtaken {
    Grows,
    /// The application has all of it.
    Completes,
    /// The application does not take it.
    IsNotTaken,
    IsRemoved,
}

/// Two nodes may begin to write behind one byte, and one of them can. The client of the other one
/// asks where the upload stands, as after any answer of 409, and goes on there.
#[test]
fn a_request_that_another_node_overtakes_is_told_where_the_upload_stands() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (ceph, world) = (ceph(1, "memstore"), World::new());
    let nodes = two_nodes(&ceph, &world);
    let mut random = Random::new(seed());
    let not_taken = "X-Hook-Status: 503\r\n";
    let mut found = BTreeMap::new();
    for number in 0..if is_long() { 100 } else { 8 } {
        let how = Overtaken::ALL[number as usize % 4];
        let [slow, fast] = random.order();
        let total = 2 + random.below(2 * MIB) as usize;
        let plan = Plan::of_length(random.next(), number, total);
        let mut upload = Upload::create(nodes[slow].addr, plan);
        // Of the last byte there may be nothing more to write.
        if random.below(3) == 0 {
            assert_eq!(upload.patch(0..total, not_taken).told(), (503, None));
            assert_eq!(upload.offset(), total - 1);
        }
        let begun = upload.shown;
        let mut late = upload.begin_patch(&(upload.length() + "Expect: 100-continue\r\n"));
        // It has the upload now.
        assert_eq!(read_reply(&mut late, "PATCH").unwrap().told(), (100, None));

        upload.addr = nodes[fast].addr;
        let grown = begun + random.below((total - begun) as u64) as usize;
        let reply = match how {
            Overtaken::Grows => upload.patch(begun..grown, ""),
            Overtaken::Completes => upload.patch(begun..total, ""),
            Overtaken::IsNotTaken => upload.patch(begun..total, not_taken),
            Overtaken::IsRemoved => upload.delete(),
        };
        assert!([204, 503].contains(&reply.status), "{how:?}: {reply:?}");
        late.write_all(&upload.plan.content[begun..]).unwrap();
        let reply = read_reply(&mut late, "PATCH").unwrap();
        let refused = format!("{how:?}: {}", reply.status);
        match (how, reply.told()) {
            (Overtaken::IsRemoved, (404 | 503, None)) => assert_eq!(upload.head().status, 404),
            (Overtaken::Grows, (204, Some(end))) if grown == begun => {
                assert_eq!(end, total);
                upload.is_delivered(&world, 1..=1);
            }
            (_, (423 | 503, None)) => upload.is_brought_to_its_end(&world),
            (_, (409, Some(offset))) => {
                assert_eq!(upload.offset(), offset);
                upload.is_brought_to_its_end(&world);
            }
            _ => panic!("{how:?}: {reply:?}"),
        }
        *found.entry(refused).or_insert(0) += 1;
    }
    println!("{found:?}");
    world.no_panic();
}

#[test]
fn the_example_takes_a_file_through_all_its_nodes_and_none_outlives_it() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let ceph = ceph(1, "memstore");
    let settings = settings(&ceph);
    let example = Example::start(&settings);
    let plan = Plan::of_length(seed(), 0, 300_000);
    let (mut id, mut nodes) = (None, BTreeSet::new());
    for at in (0..300_000).step_by(100_000) {
        let chunk = plan.chunk(at..at + 100_000, id.as_deref(), Shape::IdFirst);
        let answer = ask(example.addr, &chunk.bytes).unwrap();
        let node = answer.head.lines().find_map(|line| line.strip_prefix("x-node: "));
        nodes.extend(node.map(str::to_owned));
        id = Some(upload_id(&answer.accepted().unwrap()));
    }
    assert_eq!(nodes.into_iter().collect::<Vec<_>>(), ["1", "2", "3"]);
    let id = id.unwrap();
    let saved = ask(example.addr, &complete_request(&id, &plan.md5)).unwrap().accepted().unwrap();
    let name = plan.filename();
    let saved_as = format!("{id}-{name}");
    let told = json!({
        "name": name,
        "saved": name,
        "saved_as": saved_as,
        "size": 300_000,
        "md5": plan.md5,
    });
    assert_eq!(saved, told);
    let kept = fetch(&*object_store(&ceph, &settings), &format!("media/{saved_as}"));
    assert!(kept.unwrap() == plan.content);

    let nodes = example.nodes();
    assert_eq!(example.end(Signal::TERM), Some(0));
    assert!(nodes.iter().all(|node| TcpStream::connect(node).is_err()));

    let example = Example::start(&settings);
    let nodes = example.nodes();
    assert_eq!(example.end(Signal::KILL), None);
    until("the nodes end", || nodes.iter().all(|node| TcpStream::connect(node).is_err()));
}

#[test]
fn the_example_says_what_to_set() {
    let output = Example::command().env_remove("BUCKET").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    for word in ["BUCKET is not set", "AWS_ACCESS_KEY_ID", "AZURE_", "GOOGLE_", "moto_server"] {
        assert!(said.contains(word), "{said}");
    }
}

/// The process of the example `cluster`.
struct Example {
    child: Child,
    addr: SocketAddr,
    said: NamedTempFile,
}

impl Example {
    fn command() -> Command {
        Command::new(server::program().with_file_name("cluster"))
    }

    fn start(settings: &[(&str, String)]) -> Self {
        let said = NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut child = Self::command()
            .envs(settings.iter().map(|(name, value)| (*name, value)))
            .env("BUCKET", bucket_of(settings))
            .env("ADDR", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(said.reopen().unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{error}; cargo build -p servers --examples"));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim_end().strip_prefix("drop files at http://");
        let addr = addr.unwrap_or_else(|| panic!("{line}{}", read_to_string(&said).unwrap()));
        Self { child, addr: addr.parse().unwrap(), said }
    }

    /// Where its nodes listen.
    fn nodes(&self) -> Vec<SocketAddr> {
        let said = read_to_string(&self.said).unwrap();
        let nodes = said.lines().filter_map(|line| line.split_once(" at http://"));
        let nodes: Vec<_> = nodes.map(|(_, node)| node.parse().unwrap()).collect();
        assert_eq!(nodes.len(), 3, "{said}");
        nodes
    }

    fn end(mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Those of a cluster on a new bucket.
fn settings(ceph: &Ceph) -> Vec<(&'static str, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bucket = runtime.block_on(ceph.new_bucket());
    vec![
        ("WIRE_NODES", "3".to_owned()),
        ("WIRE_BUCKET", format!("s3://{bucket}")),
        ("AWS_ENDPOINT_URL", ceph.urls.join(",")),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", ceph.keys.0.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", ceph.keys.1.to_owned()),
    ]
}

fn bucket_of<'a>(settings: &'a [(&str, String)]) -> &'a str {
    settings.iter().find_map(|(_, value)| value.strip_prefix("s3://")).unwrap()
}

fn object_store(ceph: &Ceph, settings: &[(&str, String)]) -> Arc<dyn ObjectStore> {
    ceph.open(bucket_of(settings), &RetryConfig::default()).remove(0)
}

fn fetch(objects: &dyn ObjectStore, key: &str) -> object_store::Result<Bytes> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { objects.get(&key.into()).await?.bytes().await })
}

/// A file whose length is often one of those at which something begins.
fn plan(seed: u64, number: u64) -> Plan {
    let mut random = Random::new(seed ^ number);
    let length = match random.below(8) {
        0 => 0,
        1 => 1,
        2..=4 => random.below(64 * KIB),
        5..=6 => random.below(MIB),
        _ => random.below(12 * MIB),
    };
    Plan::of_length(seed, number, usize::try_from(length).unwrap())
}

struct Run<'a> {
    world: &'a World,
    addr: SocketAddr,
    findings: Findings,
}

impl Run<'_> {
    /// A gateway dies now and then, and is back after a while.
    fn kill_gateways(&self, ceph: &Ceph, mut random: Random, over: &AtomicBool) -> u64 {
        let mut kills = 0;
        while !over.load(Ordering::Relaxed) {
            let gateway = usize::try_from(random.below(2)).unwrap();
            ceph.kill_gateway(gateway);
            kills += 1;
            random.sleep(1000);
            ceph.restart_gateway(gateway);
            self.moves_on(over);
            random.sleep(5000);
        }
        kills
    }

    fn kill_nodes(&self, mut random: Random, over: &AtomicBool) -> u64 {
        let mut kills = 0;
        while !over.load(Ordering::Relaxed) {
            // Only when the balancer has buried the last one, whose number may be another process's, and
            // so has told that before it is asked which ones are there.
            let nodes = if self.ended() == kills { self.nodes() } else { Vec::new() };
            if !nodes.is_empty() {
                let victim = nodes[usize::try_from(random.below(nodes.len() as u64)).unwrap()];
                kill_process(victim, Signal::KILL).unwrap();
                kills += 1;
                self.moves_on(over);
            }
            random.sleep(3000);
        }
        kills
    }

    /// Waits until some uploads have got further, however slow the machine is: of one that is killed
    /// more often than that, none comes to its end.
    fn moves_on(&self, over: &AtomicBool) {
        let moved = || self.findings.moved.load(Ordering::Relaxed);
        let enough = moved() + MOVES;
        while moved() < enough && !over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The processes of the nodes that are there, by what the balancer has said.
    fn nodes(&self) -> Vec<Pid> {
        let log = self.world.log();
        let mut nodes = BTreeMap::new();
        // A line may have been written in part, also by a node that was killed before this one was.
        let whole = |line: &&str| line.contains(" at http://") || line.contains(" has ended: ");
        let lines = log.lines().filter(whole);
        for (_, line) in lines.filter_map(|line| line.rsplit_once("node ")) {
            let mut words = line.split(' ');
            let number = words.next().unwrap();
            match words.next() {
                Some("is") => nodes.insert(number, words.nth(1).unwrap().parse().unwrap()),
                Some("has") => nodes.remove(number),
                _ => None,
            };
        }
        nodes.into_values().map(|id| Pid::from_raw(id).unwrap()).collect()
    }

    /// How many nodes have ended.
    fn ended(&self) -> u64 {
        self.world.log().matches(" has ended: ").count() as u64
    }

    /// Compares what was kept with what was sent.
    fn compare(&self, objects: &dyn ObjectStore, uploads: &[(String, Plan)]) {
        let folder = self.world.data().to_str().unwrap().trim_matches('/');
        for (id, plan) in uploads {
            match fetch(objects, &format!("{folder}-final/{id}.bin")) {
                Ok(kept) if Sha256::digest(&kept) == Sha256::digest(&plan.content) => {}
                Ok(kept) => {
                    let note = format!("{} bytes of {}", kept.len(), plan.content.len());
                    self.findings.wrong(plan, &note);
                }
                Err(error) => self.findings.wrong(plan, &error.to_string()),
            }
        }
    }

    fn conclude(&self, balancer: Server, count: u64, kills: [u64; 2], complete: usize) {
        let log = self.world.log();
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Findings { lost, wrong, back, refused, left, resumed, moved: _, notes } =
            &self.findings;
        let found = [lost, wrong, back].map(value);
        println!(
            "{count} uploads, {} kills, {} lost, {} wrong, {} moved back",
            kills[0] + kills[1],
            found[0],
            found[1],
            found[2]
        );
        let refused = refused.lock().unwrap();
        println!(
            "{} kills of nodes and {} of gateways; sent again after {refused:?}; {} requests were left \
             alone, {} uploads went on from a higher offset",
            kills[0],
            kills[1],
            value(left),
            value(resumed)
        );
        let notes = notes.lock().unwrap();
        assert_eq!((found, complete as u64), ([0; 3], count), "{}\n{log}", notes.join("\n"));
        self.world.no_panic();
        until("the balancer tells of all kills", || self.ended() >= kills[0]);
        assert_eq!(self.ended(), kills[0], "a node has ended that nobody killed: {log}");
        assert!(refused.contains_key(&BROKEN_OFF), "no kill came in a request");
        assert_eq!(balancer.end(), Some(0), "{}", self.world.log());
    }
}

/// What the clients found.
#[derive(Default)]
struct Findings {
    lost: AtomicU64,
    wrong: AtomicU64,
    back: AtomicU64,
    /// Why requests were sent again: by status, how often.
    refused: Mutex<BTreeMap<u16, u64>>,
    left: AtomicU64,
    resumed: AtomicU64,
    /// How often an upload was seen to have grown, or to be complete.
    moved: AtomicU64,
    notes: Mutex<Vec<String>>,
}

impl Findings {
    fn wrong(&self, plan: &Plan, what: &str) {
        self.wrong.fetch_add(1, Ordering::Relaxed);
        self.note(plan, what);
    }

    fn note(&self, plan: &Plan, what: &str) {
        self.notes.lock().unwrap().push(format!("{}: {what}", plan.filename()));
    }
}

/// Uploads one file, whatever happens.
struct Client<'a> {
    run: &'a Run<'a>,
    plan: Plan,
    random: Random,
    /// Where the upload stands, by the highest that a server has said.
    offset: usize,
    /// Requests that may still be under way.
    hanging: Vec<TcpStream>,
    patience: Instant,
}

impl<'a> Client<'a> {
    fn new(run: &'a Run<'a>, plan: Plan) -> Self {
        let random = Random::new(plan.seed ^ plan.number.rotate_left(16));
        let patience = Instant::now() + PATIENCE;
        Self { run, plan, random, offset: 0, hanging: Vec::new(), patience }
    }

    /// `None` if it cannot be brought to its end, which is then noted.
    fn upload(self) -> Option<(String, Plan)> {
        if self.plan.number % 4 < 2 { self.upload_chunked() } else { self.upload_with_tus() }
    }

    /// How much a request brings at most.
    fn most(&mut self) -> u64 {
        let most = [1000, 64 * KIB, MIB, 3 * MIB][self.random.below(4) as usize];
        most.max(self.plan.content.len() as u64 / 20 + 1)
    }

    fn upload_chunked(mut self) -> Option<(String, Plan)> {
        let total = self.plan.content.len();
        let most = self.most();
        let id = loop {
            let end = total.min(self.random.up_to(most));
            let shape = self.random.shape();
            let first = self.plan.chunk(0..end, None, shape).bytes;
            match self.call(&first)? {
                (200, standing) => {
                    self.learn(&standing)?;
                    break upload_id(&standing);
                }
                // An upload may be there now whose id nobody knows.
                (status, json) if !may_pass(status) => return self.stuck(status, &json),
                _ => {}
            }
        };
        while self.offset < total {
            let end = total.min(self.offset + self.random.up_to(most));
            let shape = self.random.shape();
            let chunk = self.plan.chunk(self.offset..end, Some(&id), shape).bytes;
            if self.random.below(4) == 0 {
                self.let_hang(&chunk);
                self.look(&id)?;
                continue;
            }
            match self.call(&chunk)? {
                (200, standing) if standing["offset"] == end => self.learn(&standing)?,
                // An earlier try has come through.
                (400, json) if json["offset"].is_u64() => self.resume(&json)?,
                (status, json) if !may_pass(status) => return self.stuck(status, &json),
                _ => self.look(&id)?,
            }
        }
        let complete = complete_request(&id, &self.plan.md5);
        loop {
            match self.call(&complete)? {
                (200, kept) => {
                    if kept["size"] != total || kept["md5"] != self.plan.md5 {
                        self.run.findings.wrong(&self.plan, &kept.to_string());
                    }
                    break;
                }
                // Another node is about it, or was.
                (status, json) if status != 400 && !may_pass(status) => {
                    return self.stuck(status, &json);
                }
                _ if self.standing(&id)?["status"] == "complete" => break,
                _ => {}
            }
        }
        self.run.findings.moved.fetch_add(1, Ordering::Relaxed);
        Some((id, self.plan))
    }

    fn upload_with_tus(mut self) -> Option<(String, Plan)> {
        let total = self.plan.content.len();
        let most = self.most();
        let path = self.create(most)?;
        while self.offset < total {
            let end = total.min(self.offset + self.random.up_to(most));
            let bytes = &self.plan.content[self.offset..end];
            let mut patch = tus("PATCH", &path, &patch_headers(self.offset), bytes);
            match self.random.below(6) {
                0 => self.let_hang(&patch),
                1 => {
                    patch.truncate(patch.len() - self.random.below(bytes.len() as u64) as usize);
                    self.let_hang(&patch);
                    // It ends there.
                    self.hanging.pop();
                }
                _ => match self.call_with_tus("PATCH", &patch)? {
                    reply if reply.told() == (204, Some(end)) => {
                        self.learn_told(&reply)?;
                        continue;
                    }
                    reply if !may_pass(reply.status) => return self.stuck_with(&reply),
                    _ => {}
                },
            }
            self.look_with_tus(&path)?;
        }
        let id = path.rsplit('/').next().unwrap().to_owned();
        Some((id, self.plan))
    }

    /// Gives the path of a new upload, which may have bytes already.
    fn create(&mut self, most: u64) -> Option<String> {
        let total = self.plan.content.len();
        loop {
            let with = total.min(self.random.up_to(most)) * self.random.below(2) as usize;
            let mut headers = format!("Upload-Length: {total}\r\n");
            if with > 0 {
                headers += &format!("Content-Type: {BYTES}\r\n");
            }
            let post = tus("POST", "/files", &headers, &self.plan.content[..with]);
            let reply = self.call_with_tus("POST", &post)?;
            match reply.status {
                201 => {
                    if with > 0 {
                        self.learn_told(&reply)?;
                    }
                    return Some(reply.header("location").unwrap().to_owned());
                }
                // An upload may be there now whose path nobody knows.
                status if !may_pass(status) => return self.stuck_with(&reply),
                _ => {}
            }
        }
    }

    fn look_with_tus(&mut self, path: &str) -> Option<()> {
        let head = tus("HEAD", path, "", b"");
        loop {
            let reply = self.call_with_tus("HEAD", &head)?;
            match reply.status {
                200 => {
                    let total = self.plan.content.len().to_string();
                    if reply.header("upload-length") != Some(&total) {
                        return self.stuck_with(&reply);
                    }
                    let before = self.offset;
                    self.learn_told(&reply)?;
                    let grown = u64::from(self.offset > before);
                    self.run.findings.resumed.fetch_add(grown, Ordering::Relaxed);
                    return Some(());
                }
                status if !may_pass(status) => return self.stuck_with(&reply),
                _ => {}
            }
        }
    }

    /// An answer; `None` if there is no more time.
    fn call_with_tus(&mut self, method: &str, request: &[u8]) -> Option<Reply> {
        self.is_in_time()?;
        let reply = try_ask(self.run.addr, method, request);
        let reply = reply.unwrap_or_else(|_| Reply::of_status(BROKEN_OFF));
        self.note_refusal(reply.status);
        Some(reply)
    }

    fn learn_told(&mut self, reply: &Reply) -> Option<()> {
        self.learn_offset(reply.offset(), &format!("{reply:?}"))
    }

    fn stuck_with<T>(&self, reply: &Reply) -> Option<T> {
        self.stuck(reply.status, &json!(format!("{reply:?}")))
    }

    /// Status and content of an answer; `None` if there is no more time.
    fn call(&mut self, request: &[u8]) -> Option<(u16, Value)> {
        self.is_in_time()?;
        // The balancer says the same if a node ends before it has answered.
        let (status, json) = ask(self.run.addr, request)
            .map_or((BROKEN_OFF, Value::Null), |answer| (answer.status, answer.json));
        self.note_refusal(status);
        Some((status, json))
    }

    fn is_in_time(&self) -> Option<()> {
        if Instant::now() > self.patience {
            self.run.findings.wrong(&self.plan, "it comes to no end");
            return None;
        }
        Some(())
    }

    fn note_refusal(&mut self, status: u16) {
        if may_pass(status) {
            *self.run.findings.refused.lock().unwrap().entry(status).or_default() += 1;
            self.random.sleep(200);
        }
    }

    /// Sends a request and waits for no answer, as if the connection had died on the way back.
    fn let_hang(&mut self, request: &[u8]) {
        let mut stream = TcpStream::connect(self.run.addr).unwrap();
        // It may be refused before its end.
        drop(stream.write_all(request));
        self.hanging.push(stream);
        self.run.findings.left.fetch_add(1, Ordering::Relaxed);
        self.random.sleep(30);
    }

    /// Asks until it is told.
    fn standing(&mut self, id: &str) -> Option<Value> {
        loop {
            match self.call(&status_request(id))? {
                (200, standing) => {
                    self.learn(&standing)?;
                    return Some(standing);
                }
                (status, json) if !may_pass(status) => return self.stuck(status, &json),
                _ => {}
            }
        }
    }

    fn look(&mut self, id: &str) -> Option<()> {
        let standing = self.standing(id)?;
        self.resume(&standing)
    }

    fn resume(&mut self, standing: &Value) -> Option<()> {
        let before = self.offset;
        self.learn(standing)?;
        if self.offset > before {
            self.run.findings.resumed.fetch_add(1, Ordering::Relaxed);
        }
        Some(())
    }

    fn learn(&mut self, standing: &Value) -> Option<()> {
        let offset = standing["offset"].as_u64().and_then(|offset| usize::try_from(offset).ok());
        self.learn_offset(offset, &standing.to_string())
    }

    /// Takes the offset that a server says.
    fn learn_offset(&mut self, offset: Option<usize>, said: &str) -> Option<()> {
        let total = self.plan.content.len();
        match offset {
            Some(offset) if offset < self.offset => {
                let lost = (self.offset - offset) as u64;
                self.run.findings.back.fetch_add(1, Ordering::Relaxed);
                self.run.findings.lost.fetch_add(lost, Ordering::Relaxed);
                self.run.findings.note(&self.plan, &format!("{said} after {}", self.offset));
                None
            }
            Some(offset) if offset <= total => {
                let grown = u64::from(offset > self.offset);
                self.run.findings.moved.fetch_add(grown, Ordering::Relaxed);
                self.offset = offset;
                Some(())
            }
            _ => {
                self.run.findings.wrong(&self.plan, said);
                None
            }
        }
    }

    fn stuck<T>(&self, status: u16, json: &Value) -> Option<T> {
        if [404, 410].contains(&status) {
            self.run.findings.lost.fetch_add(self.offset as u64, Ordering::Relaxed);
        }
        self.run.findings.wrong(&self.plan, &format!("{status} {json}"));
        None
    }
}

/// Whether what was refused with this status may be taken later.
fn may_pass(status: u16) -> bool {
    status >= 500 || [409, 423].contains(&status)
}

impl Upload {
    /// It is complete, or will be if what is missing is sent.
    fn is_brought_to_its_end(&mut self, world: &World) {
        match self.offset() == self.total() {
            true => self.is_delivered(world, 1..=1),
            false => self.finish(world),
        }
    }
}

impl Overtaken {
    const ALL: [Self; 4] = [Self::Grows, Self::Completes, Self::IsNotTaken, Self::IsRemoved];
}

impl Cut {
    const ALL: [Self; 3] = [Self::Fin, Self::Rst, Self::Http2Reset];
}

impl Random {
    fn shape(&mut self) -> Shape {
        Shape::ALL[self.below(3) as usize]
    }

    /// Two nodes in some order.
    fn order(&mut self) -> [usize; 2] {
        [[0, 1], [1, 0]][self.below(2) as usize]
    }

    fn up_to(&mut self, most: u64) -> usize {
        usize::try_from(1 + self.below(most)).unwrap()
    }

    fn sleep(&mut self, milliseconds: u64) {
        thread::sleep(Duration::from_millis(self.below(milliseconds)));
    }
}

const CLIENTS: usize = 8;
/// How many steps uploads make between two kills, at least.
const MOVES: u64 = 8;
const BROKEN_OFF: u16 = 502;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// A client that has not come to its end by then never will.
const PATIENCE: Duration = DEADLINE.saturating_mul(5);
