//! The IETF draft with real sockets and processes: an ordinary request of an application is cut at
//! any byte, or its server is killed, and goes on where it was. The application gets it once.
//!
//! The default run takes five hundred cuts and some thirty kills, `LONG=1` ten times as many.
//! `SEED=N` repeats the random choices, though not their moments.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/client.rs"]
mod client;
#[path = "support/exchanges.rs"]
mod exchanges;
#[path = "support/ports.rs"]
mod ports;
#[path = "support/server.rs"]
mod server;
#[path = "support/upload.rs"]
mod upload;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use rustix::net::sockopt::set_socket_linger;
use serde_json::json;

use client::{Http2, Reply, ask, read_all, read_end, read_reply};
use exchanges::Script;
use server::{DEADLINE, Form, Plan, Random, Server, Shape, World, is_long, seed, until};
use upload::{Dialect, PARTIAL, Upload, sha256};

/// How the connection of a request ends in its middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    /// What was sent arrives.
    Fin,
    /// The client's system closes it, and resets it if there is something to read.
    Close,
    Rst,
    /// The client does not end it, and is back on another one.
    Stall,
}

/// The head of an upload task, as URLSession sends it.
fn url_session(server: &Server, size: usize, version: &str) -> String {
    format!(
        "POST /inbox HTTP/1.1\r\n\
         Host: {}\r\n\
         Accept: */*\r\n\
         Content-Type: image/heic\r\n\
         Upload-Complete: ?1\r\n\
         Upload-Draft-Interop-Version: {version}\r\n\
         Accept-Encoding: gzip, deflate\r\n\
         User-Agent: Photos/1 CFNetwork/1568.300.101 Darwin/24.2.0\r\n\
         Accept-Language: en-US,en;q=0.9\r\n\
         Content-Length: {size}\r\n\
         Connection: keep-alive\r\n\r\n",
        server.addr
    )
}

/// A whole request whose bytes are on their way, and the upload that the server has announced.
struct Begun {
    stream: TcpStream,
    upload: Upload,
}

impl Begun {
    /// Sends a head, and waits for the announcement.
    fn announced(server: &Server, plan: Plan) -> Self {
        let mut stream = server.connect();
        stream.write_all(url_session(server, plan.content.len(), "6").as_bytes()).unwrap();
        let path = announcement(&read_reply(&mut stream, "POST").unwrap(), "6");
        Self { stream, upload: Upload::at(Dialect::Draft, server.addr, plan, &path) }
    }

    fn send(&mut self, end: usize) {
        self.stream.write_all(&self.upload.plan.content[self.upload.sent..end]).unwrap();
        self.upload.sent = end;
    }
}

/// The URL in the response that announces an upload.
#[track_caller]
fn announcement(reply: &Reply, version: &str) -> String {
    assert_eq!(reply.status, 104, "{reply:?}");
    assert_eq!(reply.header("upload-draft-interop-version"), Some(version), "{reply:?}");
    for name in ["upload-complete", "content-length", "content-type"] {
        assert_eq!(reply.header(name), None, "{reply:?}");
    }
    let limits = reply.header("upload-limit").unwrap();
    assert!(limits.contains("max-age=") && limits.contains("expires="), "{reply:?}");
    let path = reply.header("location").unwrap();
    let id = path.strip_prefix("/uploads/").unwrap();
    assert!(id.len() == 32 && id.bytes().all(|it| it.is_ascii_hexdigit()), "{path}");
    path.to_owned()
}

/// What was said before the answer to a request for an upload that the client knows.
#[track_caller]
fn only_tells_progress(interim: &[Reply], end: usize) {
    for reply in interim {
        assert_eq!((reply.status, reply.header("location")), (104, None), "{reply:?}");
        assert!(reply.offset().unwrap() <= end, "{reply:?}");
    }
    assert!(interim.is_sorted_by_key(Reply::offset), "{interim:?}");
}

/// The answer of the application, as if there were no uploads.
#[track_caller]
fn is_answer(reply: &Reply, plan: &Plan, content_type: Option<&str>) {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("upload-complete"), Some("?1"), "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/json"), "{reply:?}");
    let answer = json!({
        "method": "POST",
        "size": plan.content.len(),
        "sha256": sha256(&plan.content),
        "content_type": content_type,
    });
    assert_eq!(reply.json(), answer);
}

/// Byte for byte what URLSession sends when its connection breaks.
#[test]
fn an_upload_task_of_urlsession_goes_on_where_it_was_cut() {
    let world = World::new();
    let mut random = Random::new(seed());
    let server = world.start(random.settings());
    for (number, cut) in [Cut::Fin, Cut::Close, Cut::Rst].into_iter().enumerate() {
        let plan = Plan::of_length(random.next(), number as u64, 300_000);
        let total = plan.content.len();
        let mut stream = server.connect();
        // It sends the body at once.
        let begin = [url_session(&server, total, "6").as_bytes(), &plan.content[..1000]].concat();
        stream.write_all(&begin).unwrap();
        let path = announcement(&read_reply(&mut stream, "POST").unwrap(), "6");
        let sent = 1000 + random.below(200_000) as usize;
        stream.write_all(&plan.content[1000..sent]).unwrap();
        let mut upload = Upload::at(Dialect::Draft, server.addr, plan, &path);
        until("it is under way", || upload.is_held_by(&server));
        let written = usize::try_from(world.stored_of(upload.id())).unwrap();
        end(stream, cut);

        let head = format!(
            "HEAD {path} HTTP/1.1\r\nHost: {}\r\nUpload-Draft-Interop-Version: 6\r\n\
             Accept: */*\r\nConnection: keep-alive\r\n\r\n",
            server.addr
        );
        // The same connection serves what follows.
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let reply = read_reply(&mut stream, "HEAD").unwrap();
        let offset = upload.showed(&reply);
        let kept = if cut == Cut::Fin { sent..=sent } else { written..=sent };
        assert!(kept.contains(&offset), "{cut:?}: {offset} is not in {kept:?}");
        assert_eq!(reply.header("upload-complete"), Some("?0"), "{reply:?}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
        let limits = reply.header("upload-limit").unwrap();
        assert!(limits.contains("max-age=") && limits.contains("expires="), "{reply:?}");
        let patch = format!(
            "PATCH {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {PARTIAL}\r\n\
             Upload-Draft-Interop-Version: 6\r\nUpload-Complete: ?1\r\nUpload-Offset: {offset}\r\n\
             Accept: */*\r\nContent-Length: {}\r\nConnection: keep-alive\r\n\r\n",
            server.addr,
            total - offset
        );
        stream.write_all(patch.as_bytes()).unwrap();
        stream.write_all(&upload.plan.content[offset..]).unwrap();
        let (interim, reply) = read_all(&mut stream, "PATCH").unwrap();
        only_tells_progress(&interim, total);
        is_answer(&reply, &upload.plan, Some("image/heic"));
        upload.is_delivered(&world, 1..=1);
        assert_eq!(upload.head().header("upload-complete"), Some("?1"));
    }
    world.no_panic();
}

/// Ends a connection, whose request the server may not have noticed yet.
fn end(mut stream: TcpStream, cut: Cut) {
    match cut {
        Cut::Fin => {
            stream.shutdown(Shutdown::Write).unwrap();
            read_end(&mut stream);
        }
        Cut::Rst => set_socket_linger(&stream, Some(Duration::ZERO)).unwrap(),
        Cut::Close | Cut::Stall => {}
    }
}

/// Whole requests are cut after their announcement, some of those that go on as well.
#[test]
fn whole_requests_that_are_cut_at_any_byte_go_on_and_are_delivered_once() {
    let world = World::new();
    let mut random = Random::new(seed());
    let server = world.start(random.settings());
    let sizes = [16, 100, 1000, 64 * KIB, 300_000, MIB + 1];
    let (mut cuts, mut uploads) = (BTreeMap::<Cut, [usize; 3]>::new(), 0);
    while cuts.values().map(|[count, ..]| count).sum::<usize>() < if is_long() { 5000 } else { 500 }
    {
        uploads += 1;
        let plan = Plan::of_length(random.next(), uploads, sizes[random.below(6) as usize]);
        let total = plan.content.len();
        let mut begun = Begun::announced(&server, plan);
        let mut stalled = Vec::new();
        loop {
            let at = begun.upload.sent;
            begun.send(at + random.below((total - at) as u64) as usize);
            let Begun { mut stream, mut upload } = begun;
            // A request that nobody had read by then would be the newer one.
            until("it is under way", || upload.is_held_by(&server));
            let cut = Cut::ALL[random.below(4) as usize];
            if cut == Cut::Stall {
                stalled.push(stream.try_clone().unwrap());
            }
            end(stream.try_clone().unwrap(), cut);
            drop(stream);
            // The client is back before the server may have noticed.
            let sent = upload.sent;
            let offset = upload.offset_when_free();
            assert!(offset <= sent, "{offset} of {sent}");
            assert!(cut != Cut::Fin || offset == sent, "{offset} of {sent}");
            let found = cuts.entry(cut).or_default();
            *found = [found[0] + 1, found[1] + sent - at, found[2] + sent - offset];
            if random.below(3) > 0 {
                let reply = upload.patch(offset..total, "");
                is_answer(&reply, &upload.plan, Some("image/heic"));
                upload.is_delivered(&world, 1..=1);
                break;
            }
            stream = upload.begin_patch(&upload.length());
            upload.sent = offset;
            begun = Begun { stream, upload };
        }
        for mut stream in stalled {
            // It may wake up.
            drop(stream.write_all(&[0; 100]));
            drop(stream.shutdown(Shutdown::Write));
            read_end(&mut stream);
        }
    }
    for (cut, [count, given, lost]) in &cuts {
        println!("{cut:?}: {count} cuts, {given} bytes given, {lost} of them not kept");
    }
    println!("{uploads} requests");
    world.no_panic();
}

/// A connection has died without a word, and its client is back. The dead one wakes up again.
#[test]
fn a_stalled_request_gives_way_to_a_newer_one() {
    let world = World::new();
    let mut random = Random::new(seed());
    let server = world.start(random.settings());
    for number in 0..if is_long() { 100 } else { 10 } {
        let total = 300_000;
        let plan = Plan::of_length(random.next(), number, total);
        let mut begun = Begun::announced(&server, plan);
        begun.send(1 + random.below(200_000) as usize);
        let Begun { mut stream, mut upload } = begun;
        let sent = upload.sent;
        let first = upload.offset_when_free();
        assert!(first <= sent, "{first} of {sent}");
        // The newer one stalls, too.
        let mut newer = upload.begin_patch(&upload.length());
        let then = first + 1 + random.below((total - first - 1) as u64) as usize;
        newer.write_all(&upload.plan.content[first..then]).unwrap();
        if let Ok((interim, loser)) = read_all(&mut stream, "POST") {
            only_tells_progress(&interim, sent);
            assert_eq!((loser.status, loser.header("upload-complete")), (503, Some("?0")));
        }
        drop(stream.write_all(&vec![0; total - first]));
        newer.write_all(&upload.plan.content[then..]).unwrap();
        let (_, reply) = read_all(&mut newer, "PATCH").unwrap();
        is_answer(&reply, &upload.plan, Some("image/heic"));
        upload.is_delivered(&world, 1..=1);
    }
    world.no_panic();
}

/// A server tells the client how much it has while the body comes, and only what stays.
#[test]
fn the_progress_that_is_told_survives_a_kill() {
    let world = World::new();
    let mut random = Random::new(seed());
    let settings = random.settings();
    let server = world.start(settings);
    let plan = Plan::of_length(random.next(), 0, 8 * MIB);
    let mut begun = Begun::announced(&server, plan);
    let mut told = 0;
    for _ in 0..2 {
        let progress = tells(&mut begun);
        assert_eq!(progress.status, 104, "{progress:?}");
        assert_eq!(progress.header("location"), None, "{progress:?}");
        assert_eq!(progress.header("upload-draft-interop-version"), Some("6"), "{progress:?}");
        let offset = progress.offset().unwrap();
        assert!(told < offset && offset <= begun.upload.sent, "{offset} after {told}");
        told = offset;
    }
    server.kill();
    let server = world.start(settings);
    let Begun { mut upload, .. } = begun;
    (upload.addr, upload.shown) = (server.addr, told);
    upload.offset_after_kill();
    upload.finish(&world);
    world.no_panic();
}

/// Sends bit by bit until the server says something.
fn tells(begun: &mut Begun) -> Reply {
    let deadline = Instant::now() + DEADLINE;
    begun.stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    loop {
        assert!(Instant::now() < deadline, "it tells nothing");
        let end = begun.upload.sent + 1000;
        // Not the last ones.
        if end < begun.upload.total() {
            begun.send(end);
        }
        match begun.stream.peek(&mut [0]) {
            Ok(_) => return read_reply(&mut begun.stream, "POST").unwrap(),
            Err(error) => assert!(is_timeout(&error), "{error}"),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind())
}

/// Whole requests and those that go on, killed with their server at random moments. What a `HEAD`
/// or a progress response has told is there.
#[test]
fn what_was_told_survives_kills() {
    let world = World::new();
    let mut random = Random::new(seed());
    let kills = if is_long() { 300 } else { 24 };
    let (mut known, mut more) = (0, 0);
    for number in 0..kills / 2 {
        let settings = random.settings();
        let mut server = world.start(settings);
        let plan = Plan::of_length(random.next(), number, 4 * MIB);
        let total = plan.content.len();
        let mut begun = Begun::announced(&server, plan);
        for again in [false, true] {
            let at = begun.upload.sent;
            if again {
                let version = "Upload-Draft-Interop-Version: 6\r\n".to_owned();
                begun.stream = begun.upload.begin_patch(&(version + &begun.upload.length()));
                until("it is under way", || begun.upload.is_held_by(&server));
            }
            let length = 1 + random.below((total - at) as u64 / 4) as usize;
            begun.send(at + length);
            match random.below(4) {
                0 => begun.upload.shown = tells(&mut begun).offset().unwrap(),
                1 => thread::sleep(Duration::from_micros(random.below(800_000))),
                2 => drop(begun.upload.offset_when_free()),
                _ => {}
            }
            server.kill();
            // It may have told something in the end.
            let progress = rest(&mut begun.stream);
            let told = progress.iter().filter_map(Reply::offset).max();
            begun.upload.shown = begun.upload.shown.max(told.unwrap_or_default());
            let before = begun.upload.shown;
            server = world.start(settings);
            begun.upload.addr = server.addr;
            let sent = begun.upload.sent;
            let offset = begun.upload.offset_after_kill();
            assert!(offset <= sent, "{offset} of {sent}");
            begun.upload.sent = offset;
            known += before;
            more += usize::from(offset > before);
        }
        begun.upload.finish(&world);
    }
    println!("{kills} kills, {known} bytes told before them, {more} times more was there");
    assert_ne!(known, 0);
    world.no_panic();
}

/// The progress that the client has still to read.
fn rest(stream: &mut TcpStream) -> Vec<Reply> {
    let mut replies = Vec::new();
    while let Ok(reply) = read_reply(stream, "POST") {
        // A `HEAD` beside a request ends it.
        assert!([104, 503].contains(&reply.status), "{reply:?}");
        replies.extend(Some(reply).filter(|reply| reply.status == 104));
    }
    replies
}

/// The application has been called and has not answered.
#[test]
fn a_kill_in_the_handler_leaves_the_last_byte_to_be_sent_again() {
    let world = World::new();
    let mut random = Random::new(seed());
    for number in 0..if is_long() { 50 } else { 5 } {
        let settings = random.settings();
        let server = world.start(settings);
        let plan = Plan::of_length(random.next(), number, 100_000);
        let mut begun = Begun::announced(&server, plan);
        let total = begun.upload.total();
        // The handler counts its deliveries in this file first: nobody reads from it, so it waits.
        let counter = world.finals().join(format!("{}.deliveries", begun.upload.name()));
        assert!(Command::new("mkfifo").arg(&counter).status().unwrap().success());
        let before = fs::read_dir(world.finals()).unwrap().count();
        begun.send(total);
        let Begun { stream, mut upload } = begun;
        // It takes the bytes to a file that has no name yet.
        let files = || fs::read_dir(world.finals()).unwrap().count();
        until("the handler is called", || files() > before);
        let head = upload.head();
        assert_eq!(head.told(), (423, None), "{head:?}");
        let early = upload.patch(total - 1..total, "");
        assert!([409, 423, 503].contains(&early.status), "{early:?}");
        server.kill();
        drop(stream);

        fs::remove_file(&counter).unwrap();
        let server = world.start(settings);
        upload.addr = server.addr;
        assert_eq!(upload.offset_when_free(), total - 1);
        assert_eq!(upload.head().header("upload-complete"), Some("?0"));
        upload.finish(&world);
    }
    world.no_panic();
}

/// A client that gets an error asks where the upload stands, and must not find it complete.
#[test]
fn a_handler_that_fails_gets_the_request_again() {
    let world = World::new();
    let mut random = Random::new(seed());
    let server = world.start(random.settings());
    for (number, status) in [500, 503].into_iter().enumerate() {
        let plan = Plan::of_length(random.next(), number as u64, 100_000);
        let head = url_session(&server, plan.content.len(), "6");
        let head = head.replace("Accept: */*\r\n", &format!("X-Hook-Status: {status}\r\n"));
        let mut stream = server.connect();
        // With all of it at once, the answer could begin before the announcement.
        stream.write_all(head.as_bytes()).unwrap();
        let path = announcement(&read_reply(&mut stream, "POST").unwrap(), "6");
        stream.write_all(&plan.content).unwrap();
        let (interim, reply) = read_all(&mut stream, "POST").unwrap();
        only_tells_progress(&interim, plan.content.len());
        assert_eq!((reply.status, reply.header("upload-complete")), (status, Some("?0")));
        // There is one URL for all of it.
        assert_eq!(reply.header("location"), Some(&*path), "{reply:?}");
        let mut upload = Upload::at(Dialect::Draft, server.addr, plan, &path);
        let total = upload.total();
        assert_eq!(upload.offset(), total - 1);
        let fails = format!("X-Hook-Status: {status}\r\n");
        let again = upload.patch(total - 1..total, &fails);
        assert_eq!((again.status, again.header("upload-complete")), (status, Some("?0")));
        assert_eq!(world.deliveries(&upload.name()), 0);
        upload.finish(&world);
    }
    world.no_panic();
}

/// A client that waits for `100 Continue` learns first where its upload is, and sends no body in
/// vain.
#[test]
fn an_announcement_comes_before_100_continue_and_a_refusal_instead_of_it() {
    let world = World::new();
    let server = world.start(&[("WIRE_MAX_BYTES", "1000")]);
    let expects = |head: String| head.replace("Accept: */*", "Expect: 100-continue");
    let plan = Plan::of_length(seed(), 0, 1000);
    let mut stream = server.connect();
    stream.write_all(expects(url_session(&server, 1000, "6")).as_bytes()).unwrap();
    let path = announcement(&read_reply(&mut stream, "POST").unwrap(), "6");
    let go_on = read_reply(&mut stream, "POST").unwrap();
    assert_eq!(go_on.told(), (100, None), "{go_on:?}");
    stream.write_all(&plan.content).unwrap();
    let (interim, reply) = read_all(&mut stream, "POST").unwrap();
    only_tells_progress(&interim, 1000);
    is_answer(&reply, &plan, Some("image/heic"));
    let mut upload = Upload::at(Dialect::Draft, server.addr, plan, &path);
    upload.is_delivered(&world, 1..=1);

    // Without a version there is nothing but the 100.
    let mut stream = server.connect();
    stream.write_all(expects(url_session(&server, 1000, "4711")).as_bytes()).unwrap();
    assert_eq!(read_reply(&mut stream, "POST").unwrap().told(), (100, None));
    stream.write_all(&upload.plan.content).unwrap();
    is_answer(&read_reply(&mut stream, "POST").unwrap(), &upload.plan, Some("image/heic"));

    let plan = Plan::of_length(seed(), 1, 100);
    let mut other = Upload::create_in(Dialect::Draft, server.addr, plan);
    assert_eq!(other.patch(0..10, "").told(), (204, Some(10)));
    let patch = |path: &str, content_type: &str, at: usize, length: usize| {
        format!(
            "PATCH {path} HTTP/1.1\r\nHost: here\r\nContent-Type: {content_type}\r\n\
             Upload-Draft-Interop-Version: 6\r\nUpload-Complete: ?1\r\nUpload-Offset: {at}\r\n\
             Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let creation = expects(url_session(&server, 1001, "6"));
    let length = |length: usize| {
        let with = format!("Upload-Length: {length}\r\nExpect: 100-continue");
        url_session(&server, 100, "6").replace("Accept: */*", &with)
    };
    let refused = [
        ("a file above the maximum", creation, 413),
        ("a length that is another one", length(101), 400),
        ("a length above the maximum", length(1001), 413),
        ("another offset", patch(&other.path, PARTIAL, 9, 91), 409),
        ("an end that is not the length", patch(&other.path, PARTIAL, 10, 89), 400),
        ("another media type", patch(&other.path, "text/plain", 10, 90), 415),
        ("an unknown upload", patch("/uploads/x", PARTIAL, 10, 90), 404),
    ];
    for (what, head, status) in refused {
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let reply = read_reply(&mut stream, "POST").unwrap();
        assert_eq!(reply.status, status, "{what}: {reply:?}");
        assert_eq!(reply.header("upload-complete"), Some("?0"), "{what}: {reply:?}");
        assert_eq!(other.offset(), 10, "{what}");
    }
    let mut stream = server.connect();
    stream.write_all(patch(&other.path, PARTIAL, 10, 90).as_bytes()).unwrap();
    assert_eq!(read_reply(&mut stream, "PATCH").unwrap().told(), (100, None));
    stream.write_all(&other.plan.content[10..]).unwrap();
    let (_, reply) = read_all(&mut stream, "PATCH").unwrap();
    is_answer(&reply, &other.plan, None);
    world.no_panic();
}

/// Only a client that has named a version which the server speaks is told in between.
#[test]
fn only_known_versions_are_announced() {
    let world = World::new();
    let server = world.start(&[]);
    let plan = Plan::of_length(seed(), 0, 1000);
    for version in ["5", "6", "8", "9", "10", "4711", "7", "x", "?1", "6, 6", "-6", "006x"] {
        let mut stream = server.connect();
        let head = url_session(&server, 1000, version);
        stream.write_all(head.as_bytes()).unwrap();
        let is_known = ["5", "6", "8", "9", "10"].contains(&version);
        if is_known {
            announcement(&read_reply(&mut stream, "POST").unwrap(), version);
        }
        stream.write_all(&plan.content).unwrap();
        let (interim, reply) = read_all(&mut stream, "POST").unwrap();
        is_answer(&reply, &plan, Some("image/heic"));
        if is_known {
            only_tells_progress(&interim, 1000);
        } else {
            assert!(interim.is_empty(), "{version}: {interim:?}");
        }
    }
    // HTTP/1.0 has no interim responses.
    let head = url_session(&server, 1000, "6").replace("HTTP/1.1", "HTTP/1.0");
    let mut stream = server.connect();
    stream.write_all(&[head.as_bytes(), &plan.content].concat()).unwrap();
    is_answer(&read_reply(&mut stream, "POST").unwrap(), &plan, Some("image/heic"));
    world.no_panic();
}

/// Over HTTP/2 this server cannot send interim responses. All else is as over HTTP/1.1.
#[test]
fn over_http2_a_client_asks_for_its_upload_first() {
    let world = World::new();
    let mut random = Random::new(seed());
    let server = world.start(random.settings());
    let whole = [("upload-complete", "?1"), ("upload-draft-interop-version", "6")];
    for number in 0..if is_long() { 50 } else { 5 } {
        let plan = Plan::of_length(random.next(), number, 300_000);
        let total = plan.content.len();
        let http2 = Http2::connect(server.addr);
        let mut stream = http2.begin("POST", "/inbox", &whole);
        http2.send(&mut stream, &plan.content);
        is_answer(&http2.end(stream, None), &plan, None);

        // Nobody knows where the rest of this would go.
        let files = world.files();
        let mut stream = http2.begin("POST", "/inbox", &whole);
        // Some bytes would not be worth writing yet.
        let half = 100_000 + random.below(200_000) as usize;
        http2.send(&mut stream, &plan.content[..half]);
        until("bytes of it are kept", || world.files() != files);
        http2.reset(stream);
        until("nothing of it is left", || world.files() == files);

        let begun = http2.begin("POST", "/inbox", &[("upload-complete", "?0"), whole[1]]);
        let reply = http2.end(begun, None);
        assert_eq!(reply.told(), (201, Some(0)), "{reply:?}");
        assert_eq!(reply.header("upload-complete"), Some("?0"), "{reply:?}");
        let plan = Plan::of_length(random.next(), number, total);
        let path = reply.header("location").unwrap();
        let mut upload = Upload::at(Dialect::Draft, server.addr, plan, path);
        let patch = |upload: &Upload, at: usize| {
            let at = at.to_string();
            let own = [("content-type", PARTIAL), ("upload-offset", &at)];
            http2.begin("PATCH", &upload.path, &[&own[..], &whole].concat())
        };
        let mut stream = patch(&upload, 0);
        http2.send(&mut stream, &upload.plan.content[..half]);
        until("it is under way", || upload.is_held_by(&server));
        let given = http2.reset(stream);
        let reply = http2.end(http2.begin("HEAD", path, &[]), None);
        assert_eq!((reply.status, reply.header("upload-complete")), (204, Some("?0")));
        // The length was not announced.
        let offset = reply.offset().unwrap();
        assert!(offset <= given, "{offset} of {given}");
        let mut stream = patch(&upload, offset);
        http2.send(&mut stream, &upload.plan.content[offset..]);
        is_answer(&http2.end(stream, None), &upload.plan, None);
        upload.is_delivered(&world, 1..=1);
    }
    world.no_panic();
}

/// Announcements and answers are in the order of the requests, on one connection.
#[test]
fn answers_on_one_connection_are_in_order() {
    let world = World::new();
    let mut random = Random::new(seed());
    let server = world.start(random.settings());
    for round in 0..if is_long() { 50 } else { 5 } {
        let requests: Vec<_> = ["6", "x", "10", "6", "x", "8"]
            .into_iter()
            .enumerate()
            .map(|(number, version)| {
                let length = [0, 1, 5000, 100_000][random.below(4) as usize];
                let plan = Plan::of_length(random.next(), number as u64, length);
                let head = url_session(&server, length, version);
                (version, [head.as_bytes(), &plan.content].concat(), plan)
            })
            .collect();
        let mut stream = server.connect();
        let mut writer = stream.try_clone().unwrap();
        let pipelined = round % 2 == 0;
        thread::scope(|scope| {
            if pipelined {
                let all: Vec<_> = requests.iter().map(|(_, bytes, _)| bytes.as_slice()).collect();
                let all = all.concat();
                let writer = &mut writer;
                scope.spawn(move || writer.write_all(&all).unwrap());
            }
            let mut paths = Vec::new();
            for (version, bytes, plan) in &requests {
                if !pipelined {
                    stream.write_all(bytes).unwrap();
                }
                let (interim, reply) = read_all(&mut stream, "POST").unwrap();
                is_answer(&reply, plan, Some("image/heic"));
                if *version == "x" {
                    assert!(interim.is_empty(), "{interim:?}");
                } else if let Some((first, others)) = interim.split_first() {
                    paths.push(announcement(first, version));
                    only_tells_progress(others, plan.content.len());
                }
            }
            for path in &paths {
                let head = Dialect::Draft.request("HEAD", path, "", b"");
                stream.write_all(&head).unwrap();
                let reply = read_reply(&mut stream, "HEAD").unwrap();
                assert_eq!((reply.status, reply.header("upload-complete")), (204, Some("?1")));
            }
            // An answer that begins first takes the place of its announcement.
            let announced = paths.len();
            assert!(announced <= 4, "{paths:?}");
            paths.sort();
            paths.dedup();
            assert_eq!(paths.len(), announced);
        });
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0);
    }
    world.no_panic();
}

/// The exchanges of the protocol, 14 to 24, before the application of this server.
const EXCHANGES: &str = r#"
1
> OPTIONS /inbox
< 200 | Upload-Limit: max-size=1000 | Accept-Patch: application/partial-upload
14
> POST /inbox | Upload-Complete: ?1 | Upload-Draft-Interop-Version: 10 | Content-Type: text/plain | Content-Length: 13
< 104 | Upload-Draft-Interop-Version: 10 | Location: … | Upload-Limit: max-size=1000, max-age=…
= sand and foam
< 200 | Upload-Complete: ?1 | Content-Type: application/json ¶ {"method":"POST","size":13,"sha256":"WHOLE","content_type":"text/plain"}
15
> POST /inbox | Upload-Complete: ?1 | Upload-Draft-Interop-Version: 10 | Content-Type: text/plain | Content-Length: 13
< 104 | Upload-Draft-Interop-Version: 10 | Location: … | Upload-Limit: max-size=1000, max-age=…
= sand
x
> HEAD ID
< 204 | Upload-Offset: 4 | Upload-Complete: ?0 | Upload-Length: 13 | Upload-Limit: max-size=1000, max-age=… | Cache-Control: no-store
> PATCH ID | Content-Type: PARTIAL | Upload-Offset: 4 | Upload-Complete: ?1 ¶  and foam
< 200 | Upload-Complete: ?1 | Upload-Offset: 13 | Content-Type: application/json
      ¶ {"method":"POST","size":13,"sha256":"WHOLE","content_type":"text/plain"}
16
> POST /inbox | Upload-Complete: ?0
< 201 | Location: … | Upload-Complete: ?0 | Upload-Offset: 0 | Upload-Limit: max-size=1000, max-age=…
> PATCH ID | Content-Type: PARTIAL | Upload-Offset: 0 | Upload-Complete: ?0 ¶ sand and foam
< 204 | Upload-Complete: ?0 | Upload-Offset: 13
> PATCH ID | Content-Type: PARTIAL | Upload-Offset: 13 | Upload-Complete: ?1
< 200 | Upload-Complete: ?1 ¶ {"method":"POST","size":13,"sha256":"WHOLE","content_type":null}
> PATCH ID | Content-Type: PARTIAL | Upload-Offset: 13 | Upload-Complete: ?1
< 200 | Upload-Complete: ?1
> PATCH ID | Content-Type: PARTIAL | Upload-Offset: 13 | Upload-Complete: ?0 ¶ x
< 400 | Upload-Complete: ?0
17
> POST /inbox | Upload-Complete: ?0 ¶ sand
< 201 | Location: … | Upload-Complete: ?0 | Upload-Offset: 4
> PATCH ID | Content-Type: PARTIAL | Upload-Offset: 9 | Upload-Complete: ?1 ¶ foam
< 409 | Upload-Complete: ?0 | Upload-Offset: 4 | Content-Type: application/problem+json
      ¶ {"type":"PROBLEM#mismatching-upload-offset","title":"…","expected-offset":4,"provided-offset":9}
18
> POST /inbox | Upload-Complete: ?1 | Upload-Length: 14 ¶ sand and foam
< 400 | Upload-Complete: ?0 | Content-Type: application/problem+json ¶ {"type":"PROBLEM#inconsistent-upload-length","title":"…"}
19
> POST /inbox | Upload-Complete: ?0 | Upload-Length: 8 ¶ sand
< 201 | Location: … | Upload-Length: 8 | Upload-Offset: 4
> PATCH ID | Content-Type: PARTIAL | Upload-Offset: 4 | Upload-Complete: ?0 | Transfer-Encoding: chunked ¶ 9\r\n and foam\r\n0\r\n\r\n
< 400 | Upload-Complete: ?0 | Content-Type: application/problem+json ¶ {"type":"PROBLEM#inconsistent-upload-length","title":"…"}
> HEAD ID
< 404
20
> POST /inbox | Upload-Complete: ?0 | Upload-Length: 1001
< 413 | Upload-Complete: ?0 | Upload-Limit: max-size=1000
21
> POST /inbox | Upload-Complete: ?0 | Upload-Draft-Interop-Version: 6 ¶ sand
< 104 | Upload-Draft-Interop-Version: 6 | Location: …
< 201 | Upload-Offset: 4 | Location: ID | Upload-Complete: ?0
> POST /inbox | Upload-Complete: ?0 | Upload-Draft-Interop-Version: 4711 ¶ sand
< 201 | Upload-Offset: 4 | Location: … | Upload-Complete: ?0
> POST /inbox | Upload-Complete: ?0 | Upload-Draft-Interop-Version: x ¶ sand
< 201 | Upload-Offset: 4 | Location: … | Upload-Complete: ?0
> POST /inbox | Upload-Complete: ?0 ¶ sand
< 201 | Upload-Offset: 4 | Location: … | Upload-Complete: ?0
22
> PATCH ID | Content-Type: PARTIAL | Upload-Offset: 4 | Upload-Complete: ?0 | Content-Digest: sha-256=:f6dk1TsscmXmmugN6c6MTvHNm09CYdyjpkWH9/5Ai/0=: ¶  and fOam
< 400 | Upload-Complete: ?0
> HEAD ID
< 204 | Upload-Offset: 4
> PATCH ID | Content-Type: PARTIAL | Upload-Offset: 4 | Upload-Complete: ?0 | Content-Digest: sha-256=:f6dk1TsscmXmmugN6c6MTvHNm09CYdyjpkWH9/5Ai/0=: ¶  and foam
< 204 | Upload-Complete: ?0 | Upload-Offset: 13
23
> POST /inbox | Upload-Complete: true | Upload-Draft-Interop-Version: 10 ¶ sand
< 200 | Upload-Complete: - | Location: - ¶ {"method":"POST","size":4,"sha256":"SAND","content_type":null}
24
> POST /api/chunked_upload | Upload-Complete: ?1 | Upload-Draft-Interop-Version: 6 | Content-Range: bytes 0-3/13 | Content-Type: multipart/form-data; boundary=frontier ¶ FORM
< 200 | Location: - | Upload-Complete: - | Upload-Offset: - ¶ {"upload_id":"…","offset":4,"expires":"…"}
"#;

#[test]
fn the_exchanges_of_the_protocol_are_as_written() {
    let world = World::new();
    let server = world.start(&[("WIRE_MAX_BYTES", "1000")]);
    let [whole, sand] = ["sand and foam", "sand"].map(|text| sha256(text.as_bytes()));
    let Form { head, tail } = Form::new(Shape::IdFirst, "sand.txt", None, 4, Some((0..4, 13)));
    let (_, before) = head.split_once("\r\n\r\n").unwrap();
    let form = format!("{before}sand{tail}");
    let exchanges = Script {
        text: EXCHANGES,
        words: &[
            ("PARTIAL", PARTIAL),
            ("PROBLEM", "https://iana.org/assignments/http-problem-types"),
            ("WHOLE", &whole),
            ("SAND", &sand),
            ("FORM", &form),
        ],
        uploads: "/uploads/",
        version: None,
    };
    println!("{} answers", exchanges.play(&server));
    world.no_panic();
}

/// An upload task that sends a form is an ordinary request where forms are expected, and one of a
/// path that takes no uploads as well.
#[test]
fn requests_to_other_paths_pass() {
    let world = World::new();
    let server = world.start(&[]);
    let head = url_session(&server, 4, "6").replace("/inbox", "/elsewhere");
    let reply = ask(server.addr, "POST", format!("{head}sand").as_bytes());
    assert_eq!((reply.status, reply.header("upload-complete")), (404, None), "{reply:?}");
    assert!(world.files().is_empty());
}

impl Cut {
    const ALL: [Self; 4] = [Self::Fin, Self::Close, Self::Rst, Self::Stall];
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
