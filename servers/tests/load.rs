//! A server with many clients: thousands of slow uploads, dozens at full speed, and those that
//! fall silent.
//!
//! The default run has 500 slow uploads, `LONG=1` 5,000; that takes 15,000 descriptors, and 5 GiB
//! on the disk for a while.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/ports.rs"]
mod ports;
#[path = "support/process.rs"]
mod process;
#[path = "support/server.rs"]
mod server;

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use process::{KIB, MIB};
use server::{
    Form, Plan, Server, Shape, World, cancel_request, is_long, read_answer, until, until_or,
    upload_id,
};

/// How a slow client is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slow {
    /// It has only connected: what any HTTP server pays.
    Idle,
    /// It sends one byte and stalls.
    FromTheStart,
    /// It sends 12 KiB, which a small buffer would hold, and stalls.
    AfterLittle,
    /// After 64 KiB it sends a byte now and then.
    Dribbling,
    /// It sends much, in a long run 1 MiB, as fast as it can, and stalls.
    AfterMuch,
}

impl Slow {
    /// How much it sends before it is slow.
    fn burst(self) -> u64 {
        match self {
            Self::Idle => 0,
            Self::FromTheStart => 1,
            Self::AfterLittle => 12 * KIB,
            Self::Dribbling => 64 * KIB,
            Self::AfterMuch if is_long() => MIB,
            Self::AfterMuch => 256 * KIB,
        }
    }

    /// What the server has open for it: the connection, and from the first batch on the bytes and the
    /// record.
    fn descriptors(self) -> u64 {
        if self.burst() > LITTLE { 3 } else { 1 }
    }
}

#[test]
fn each_of_thousands_of_slow_uploads_takes_little_and_leaves_nothing() {
    allow_descriptors();
    let cases = [
        (Slow::Idle, Shape::Raw),
        (Slow::FromTheStart, Shape::Raw),
        (Slow::FromTheStart, Shape::IdFirst),
        (Slow::AfterLittle, Shape::Raw),
        (Slow::AfterLittle, Shape::IdFirst),
        (Slow::Dribbling, Shape::Raw),
        (Slow::Dribbling, Shape::IdFirst),
        (Slow::AfterMuch, Shape::Raw),
        (Slow::AfterMuch, Shape::IdFirst),
    ];
    // Each has a server of its own, but all clients are in this process.
    for together in cases.chunks(if is_long() { 1 } else { 4 }) {
        thread::scope(|scope| {
            for &(kind, shape) in together {
                scope.spawn(move || hold(kind, shape));
            }
        });
    }
}

fn hold(kind: Slow, shape: Shape) {
    let world = World::new();
    // Each thread has a stack, and how many there are depends on how busy the machine is.
    let few_threads = ("WIRE_BLOCKING_THREADS", "8");
    let patient = [("WIRE_IDLE_SECONDS", "600"), ("WIRE_HEAD_SECONDS", "600")];
    // And each has an arena of the C library, which keeps what is freed.
    let few_arenas = ("MALLOC_ARENA_MAX", "1");
    let server = world.start(&[patient[0], patient[1], few_threads, few_arenas, READ_BUFFER]);
    let descriptors = settled(|| server.descriptors());
    let empty = server.resident();
    // The first ones bring what is made only once: large buffers, threads and their like.
    let first = begin(&server, kind, shape, FIRST);
    let memory = settled(|| server.resident());

    let clients = begin(&server, kind, shape, slow());
    if kind == Slow::Dribbling {
        for _ in 0..2 {
            clients.iter().for_each(|mut client| client.write_all(b"0").unwrap());
        }
    }
    until("what came in fast is stored", || world.stored() >= slow() * stored(kind));
    let open = descriptors + (FIRST + slow()) * kind.descriptors();
    until_or("all are under way", || {
        let now = server.descriptors();
        if now == open { Ok(()) } else { Err(format!("{now} descriptors, and {open} are due")) }
    });
    let full = settled(|| server.resident());
    let each = full.saturating_sub(memory) / slow();
    let from_empty = full.saturating_sub(empty) / (FIRST + slow());

    // Beside them a fast one is taken as ever.
    let plan = Plan::of_length(7, 1, 3_000_000);
    let start = Instant::now();
    let id = server.upload_whole(&plan);
    world.finish(server.addr, &id, &plan, plan.content.len()).unwrap();
    let beside = start.elapsed();

    drop((first, clients));
    until("their descriptors are closed", || server.descriptors() == descriptors);
    until("their files are gone, but for the record of the fast one", || world.files().len() == 1);
    world.no_panic();
    println!(
        "{} slow, {kind:?}, {shape:?}: {each} bytes each ({from_empty} with what is made once); \
         descriptors {descriptors}, {open}, \
         {descriptors}; 3 MB beside them in {beside:?}",
        slow()
    );
    assert!(kind == Slow::Idle || each <= EACH, "{kind:?}, {shape:?}: {each} bytes each");
}

/// Starts the slow ones, a few at a time: each is fast only for its share of the large buffers.
fn begin(server: &Server, kind: Slow, shape: Shape, count: u64) -> Vec<TcpStream> {
    let mut before = written(server);
    let mut clients = Vec::new();
    while (clients.len() as u64) < count {
        let mut client = server.connect();
        if kind != Slow::Idle {
            client.write_all(zeros(shape, 4 * MIB).head.as_bytes()).unwrap();
            write_zeros(&mut client, kind.burst());
        }
        clients.push(client);
        if clients.len().is_multiple_of(AT_ONCE) {
            let sent = AT_ONCE as u64 * stored(kind);
            until("what came in fast is written", || written(server) - before >= sent);
            before = written(server);
        }
    }
    clients
}

/// How much of such an upload is on the disk when the client has become slow.
fn stored(kind: Slow) -> u64 {
    kind.burst().saturating_sub(LITTLE)
}

fn written(server: &Server) -> u64 {
    let [_, _, written] = server.io();
    written
}

/// How much of its speed a fast upload loses to thousands that trickle beside it, or say nothing: by
/// turns on a server that has them and on one that has not.
#[test]
fn a_fast_upload_beside_slow_ones() {
    allow_descriptors();
    let worlds = [World::new(), World::new()];
    let settings = [("WIRE_NO_MD5", "1"), ("WIRE_IDLE_SECONDS", "600")];
    let [alone, crowded] = worlds.each_ref().map(|world| world.start(&settings));
    let mut clients = begin(&crowded, Slow::Dribbling, Shape::Raw, slow());
    let mut took = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..if is_long() { 8 } else { 1 } {
        let now = [
            upload_fast(&alone),
            upload_fast(&crowded),
            while_trickling(&mut clients, || upload_fast(&crowded)),
        ];
        // The first one is for warming up.
        if round > 0 || !is_long() {
            took.iter_mut().zip(now).for_each(|(all, now)| all.push(now));
        }
    }
    worlds.iter().for_each(World::no_panic);
    let [alone, silent, trickling] = took.map(|mut took| {
        took.sort_unstable();
        took[took.len() / 2]
    });
    let ratio = |took: Duration| alone.as_secs_f64() / took.as_secs_f64();
    println!(
        "{} MiB: {alone:?} alone; beside {} silent ones {silent:?}, {:.3} of its speed; beside \
         trickling ones {trickling:?}, {:.3}",
        fast() / MIB,
        slow(),
        ratio(silent),
        ratio(trickling)
    );
}

/// Each client sends a byte a second while the work is done.
fn while_trickling<T>(clients: &mut [TcpStream], work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let pause = Duration::from_secs(1) / u32::try_from(clients.len()).unwrap() * 10;
            while !done.load(Ordering::Relaxed) {
                for some in clients.chunks_mut(10) {
                    some.iter_mut().for_each(|client| client.write_all(b"0").unwrap());
                    thread::sleep(pause);
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// Uploads a file in chunks on one connection, and cancels it; says how long the chunks took.
fn upload_fast(server: &Server) -> Duration {
    let mut client = server.connect();
    client.set_nodelay(true).unwrap();
    let (mut id, mut at) = (None::<String>, 0);
    let start = Instant::now();
    while at < fast() {
        let end = at + 8 * MIB;
        let place = Some((at..end, fast()));
        let form = Form::new(Shape::Raw, "zeros.bin", id.as_deref(), 8 * MIB, place);
        client.write_all(form.head.as_bytes()).unwrap();
        write_zeros(&mut client, 8 * MIB);
        let answer = read_answer(&mut client).unwrap().accepted().unwrap();
        assert_eq!(answer["offset"], end);
        (id, at) = (Some(upload_id(&answer)), end);
    }
    let took = start.elapsed();
    assert_eq!(server.ask(&cancel_request(&id.unwrap())).status, 204);
    took
}

#[test]
fn bodies_at_full_speed_take_a_mebibyte_each() {
    let world = World::new();
    let server = world.start(&[]);
    server.upload_whole(&Plan::of_length(7, 1, 3_000_000));
    let length = if is_long() { 32 * MIB } else { 4 * MIB };
    let before = server.forget_peak();
    thread::scope(|scope| {
        for shape in [Shape::Raw, Shape::IdFirst].into_iter().cycle().take(FAST) {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.connect();
                let form = zeros(shape, length);
                client.write_all(form.head.as_bytes()).unwrap();
                write_zeros(&mut client, length);
                client.write_all(form.tail.as_bytes()).unwrap();
                let answer = read_answer(&mut client).unwrap();
                assert_eq!(answer.accepted().unwrap()["offset"], length);
            });
        }
    });
    let each = server.peak_above(before) / FAST as u64;
    println!("{FAST} at once of {} MiB: {each} bytes each at the peak", length / MIB);
    assert!(each <= MIB, "{each} bytes each");
}

#[test]
fn a_body_that_brings_nothing_is_ended_and_its_upload_is_free() {
    allow_descriptors();
    let world = World::new();
    let server = world.start(&[("WIRE_IDLE_SECONDS", "1")]);
    let descriptors = settled(|| server.descriptors());
    let plan = Plan::of_length(7, 0, 200_000);
    let mut clients = Vec::new();
    for number in 0..slow() {
        let id = server.begin(&plan, 70_000);
        let shape = Shape::ALL[number as usize % 3];
        let chunk = plan.chunk(70_000..140_000, Some(&id), shape);
        let mut client = server.connect();
        // Silent within its head, with a few bytes, with a batch.
        let sent = [chunk.file_end - 70_000, chunk.file_end - 69_999, chunk.file_end - 1];
        client.write_all(&chunk.bytes[..sent[number as usize / 3 % 3]]).unwrap();
        clients.push((client, id));
    }
    for (client, id) in &mut clients {
        let answer = read_answer(client).unwrap();
        assert_eq!(answer.status, 408, "{}", answer.json);
        assert!(answer.json["detail"].is_string(), "{}", answer.json);
        let next = plan.chunk(70_000..140_000, Some(id), Shape::Raw);
        server.ask(&next.bytes).accepted().unwrap();
    }
    let (_, id) = clients.last().unwrap();
    world.finish(server.addr, id, &plan, 140_000).unwrap();
    drop(clients);
    until("all descriptors are closed", || server.descriptors() == descriptors);
    world.no_panic();
    println!("{} silent bodies: all told so with 408, and all uploads went on", slow());
}

#[test]
fn a_dead_connection_does_not_hold_its_upload() {
    let world = World::new();
    let server = world.start(&[("WIRE_IDLE_SECONDS", "600")]);
    let plan = Plan::of_length(7, 0, 400_000);
    let rounds = if is_long() { 300 } else { 30 };
    let mut dead = Vec::new();
    for round in 0..rounds {
        let id = server.begin(&plan, 1000);
        for (start, end) in [(1000, 200_000), (200_000, 400_000)] {
            let chunk = |shape| plan.chunk(start..end, Some(&id), shape);
            // Its id is known, so it has the upload; it never says another word.
            let lost = chunk([Shape::Raw, Shape::IdFirst][round % 2]);
            dead.push(world.send_until_held(&server, &lost, &id, start));
            let next = chunk(Shape::ALL[round % 3]);
            assert_eq!(server.ask(&next.bytes).accepted().unwrap()["offset"], end);
        }
        world.finish(server.addr, &id, &plan, 400_000).unwrap();
    }
    world.no_panic();
    println!("{} dead connections held no upload", dead.len());
}

fn zeros(shape: Shape, length: u64) -> Form {
    Form::new(shape, "zeros.bin", None, length, Some((0..length, length)))
}

fn write_zeros(client: &mut TcpStream, mut length: u64) {
    let zeros = vec![0; 256 * 1024];
    while length > 0 {
        let more = length.min(zeros.len() as u64);
        client.write_all(&zeros[..usize::try_from(more).unwrap()]).unwrap();
        length -= more;
    }
}

/// A number when it does not change any more.
fn settled(number: impl Fn() -> u64) -> u64 {
    let (mut last, mut same) = (0, 0);
    until("the number settles", || {
        let now = number();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        thread::sleep(Duration::from_millis(20));
        same == 50
    });
    last
}

/// As many as the system gives: the server gets the same.
fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// How many slow uploads there are.
fn slow() -> u64 {
    if is_long() { 5_000 } else { 500 }
}

/// How large the fast one is.
fn fast() -> u64 {
    if is_long() { 1024 * MIB } else { 32 * MIB }
}

/// Of a build without optimizations, whose futures are larger.
const EACH: u64 = 36 * KIB;
/// How many are there before the measurement: more than there are idle uploads whose files stay open.
const FIRST: u64 = 200;
const FAST: usize = 32;
/// How many of the slow ones are fast at once.
const AT_ONCE: usize = 4;
/// What a slow upload may keep without writing it.
const LITTLE: u64 = 4 * KIB;
/// What the README advises where there are thousands.
const READ_BUFFER: (&str, &str) = ("WIRE_READ_BUFFER", "8192");
