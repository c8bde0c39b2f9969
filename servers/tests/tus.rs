//! tus with real sockets and processes: whatever cuts a request or ends a server, what came is
//! kept, what was told is kept, and the file is delivered once.
//!
//! The default run takes fifty cuts and some twenty kills, `LONG=1` five hundred of each. `SEED=N`
//! repeats the random choices, though not their moments.

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
use std::fs;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::process::Command;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderMap;
use md5::{Digest as _, Md5};
use rustix::net::sockopt::set_socket_linger;

use client::{Http2, ask, read_end, read_reply, try_ask};
use exchanges::Script;
use server::{Plan, Random, Server, World, is_long, seed, until};
use upload::{BYTES, Upload, patch_head, tus};

/// How the connection of a request ends in its middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    Fin,
    Rst,
    Http2Reset,
    Http2Fin,
}

/// Files are uploaded by requests that are all cut at random bytes, but for the last. Only a reset
/// of TCP may take bytes from the server that were on their way.
#[test]
fn a_request_that_is_cut_at_any_byte_leaves_all_that_came() {
    const CUTS: usize = 50;
    let world = World::new();
    let mut random = Random::new(seed());
    let server = world.start(random.settings());
    let mut found = BTreeMap::<Cut, [usize; 3]>::new();
    for number in 0..if is_long() { 10 } else { 1 } {
        let plan = Plan::of_length(random.next(), number, 32 * MIB);
        let mut upload = Upload::create(server.addr, plan);
        let mut http2 = None;
        for left in (1..=CUTS).rev() {
            let cut = Cut::ALL[random.below(4) as usize];
            let at = upload.shown;
            let rest = upload.total() - 1 - at;
            let length = 1 + random.below((2 * rest / left).max(1) as u64) as usize;
            let length = length.min(rest);
            let given = match cut {
                Cut::Fin | Cut::Rst => {
                    cut_http1(&world, &server, &mut upload, length, cut, &mut random);
                    length
                }
                Cut::Http2Reset | Cut::Http2Fin => {
                    let client = http2.take().unwrap_or_else(|| Http2::connect(server.addr));
                    http2 = cut_http2(&server, client, &mut upload, length, cut, &mut random);
                    upload.shown - at
                }
            };
            let count = found.entry(cut).or_default();
            count[0] += 1;
            count[1] += given;
            count[2] += at + given - upload.shown;
        }
        let (at, total) = (upload.shown, upload.total());
        let last = if number % 2 == 0 {
            upload.patch(at..total, "")
        } else {
            let client = Http2::connect(server.addr);
            client.patch(&upload.path, at, &upload.plan.content[at..])
        };
        assert_eq!(last.told(), (204, Some(total)), "{last:?}");
        upload.is_delivered(&world, 1..=1);
    }
    for (cut, [cuts, given, lost]) in &found {
        println!("{cut:?}: {cuts} cuts, {given} bytes given, {lost} of them not kept");
        assert!(*cut == Cut::Rst || *lost == 0);
    }
    world.no_panic();
}

/// Sends so many bytes and ends the connection. On return the server has ended the request.
fn cut_http1(
    world: &World,
    server: &Server,
    upload: &mut Upload,
    length: usize,
    cut: Cut,
    random: &mut Random,
) {
    let at = upload.shown;
    until("nothing else is under way", || !upload.is_held_by(server));
    let chunked = "Transfer-Encoding: chunked\r\n";
    let (mut stream, chunk) = match random.below(3) {
        0 => (upload.begin_patch(&upload.length()), None),
        // It ends within a chunk.
        1 => (upload.begin_patch(chunked), Some(upload.total() - at)),
        // It ends between two.
        _ => (upload.begin_patch(chunked), Some(length)),
    };
    if let Some(chunk) = chunk {
        stream.write_all(format!("{chunk:x}\r\n").as_bytes()).unwrap();
    }
    stream.write_all(&upload.plan.content[at..at + length]).unwrap();
    if random.below(4) == 0 {
        upload.shows(at + length);
    }
    if cut == Cut::Fin {
        stream.shutdown(Shutdown::Write).unwrap();
        read_end(&mut stream);
        upload.shows(at + length);
        return;
    }
    // A request that nobody had read by then would be read when the next one is there.
    until("it is under way", || upload.is_held_by(server));
    let written = usize::try_from(world.stored_of(upload.id())).unwrap();
    set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
    until("it has ended", || !upload.is_held_by(server));
    // What was on its way is lost, what the server had is not.
    assert!((written..=at + length).contains(&upload.offset()));
}

/// Sends at most so many bytes and resets the stream or ends the connection, in which some of them
/// may still wait. Gives the connection back if there is one.
fn cut_http2(
    server: &Server,
    client: Http2,
    upload: &mut Upload,
    length: usize,
    cut: Cut,
    random: &mut Random,
) -> Option<Http2> {
    let at = upload.shown;
    let whole = (upload.total() - at).to_string();
    let headers = [("content-length", whole.as_str())];
    let headers = &headers[random.below(2) as usize..];
    until("nothing else is under way", || !upload.is_held_by(server));
    let mut stream = client.begin_patch(&upload.path, at, headers);
    client.send(&mut stream, &upload.plan.content[at..at + length]);
    let shows = random.below(4) == 0;
    // Something has to be there to wait for: otherwise the request may be read when the next is.
    client.sends(&stream, if shows { length } else { 1 });
    if shows {
        upload.shows(at + length);
    }
    if cut == Cut::Http2Reset {
        let given = client.reset(stream);
        upload.shows(at + given);
        return Some(client);
    }
    // h2 forgets a request that it has not handed on when the connection ends.
    until("it is under way", || upload.is_held_by(server));
    let (given, socket) = client.cut(&stream);
    upload.shows(at + given);
    drop(socket);
    None
}

#[test]
fn a_server_that_ends_in_order_keeps_what_it_has_shown() {
    let world = World::new();
    let mut random = Random::new(seed());
    let rounds = if is_long() { 25 } else { 2 };
    let (mut later, mut kept) = (0, 0);
    for number in 0..rounds {
        let server = world.start(random.settings());
        let mut uploads = [0, 1].map(|which| {
            let plan = Plan::of_length(random.next(), 2 * number + which, 8 * MIB);
            Upload::create(server.addr, plan)
        });
        let mut parts = || {
            let first = 1 + random.below(3 * MIB as u64) as usize;
            (first, first + random.below(3 * MIB as u64) as usize)
        };
        let parts = [parts(), parts()];
        let [one, other] = &mut uploads;
        let [(first, then), (other_first, other_then)] = parts;
        let mut http1 = one.begin_patch(&one.length());
        http1.write_all(&one.plan.content[..first]).unwrap();
        let http2 = Http2::connect(server.addr);
        let mut stream = http2.begin_patch(&other.path, 0, &[]);
        http2.send(&mut stream, &other.plan.content[..other_first]);
        one.shows(first);
        other.shows(other_first);
        http1.write_all(&one.plan.content[first..then]).unwrap();
        http2.send(&mut stream, &other.plan.content[other_first..other_then]);
        assert_eq!(server.end(), Some(0), "{}", world.log());
        read_end(&mut http1);

        let server = world.start(random.settings());
        for (upload, (first, then)) in uploads.iter_mut().zip(parts) {
            upload.addr = server.addr;
            let offset = upload.offset_when_free();
            assert!((first..=then).contains(&offset), "{offset} is not in {first}..={then}");
            later += then - first;
            kept += offset - first;
            upload.finish(&world);
        }
    }
    println!("{rounds} ends; {later} bytes came after those that were shown, {kept} are there");
    world.no_panic();
}

/// Four clients upload while the server is killed again and again. Most of what they send is told
/// by a `HEAD` beside the request, before its end.
#[test]
fn what_was_told_survives_kills() {
    let world = World::new();
    let mut random = Random::new(seed());
    let kills = if is_long() { 500 } else { 12 };
    let mut number = 0;
    let mut create = |server: &Server, random: &mut Random| {
        number += 1;
        Upload::create(server.addr, Plan::of_length(random.next(), number, 4 * MIB))
    };
    let mut uploads = Vec::new();
    let (mut done, mut told, mut more) = (0, 0, 0);
    for _ in 0..kills {
        let server = world.start(random.settings());
        uploads.resize_with(4, || create(&server, &mut random));
        for upload in &mut uploads {
            upload.addr = server.addr;
            let before = upload.shown;
            // It is not below that.
            let offset = upload.offset_after_kill();
            assert!(offset <= upload.sent, "{offset} of {} that were sent", upload.sent);
            more += usize::from(offset > before);
            if upload.total() - offset < 64 * KIB {
                upload.finish(&world);
                done += 1;
                *upload = create(&server, &mut random);
            }
        }
        let shown: usize = uploads.iter().map(|upload| upload.shown).sum();
        thread::scope(|scope| {
            for upload in &mut uploads {
                let random = Random::new(random.next());
                scope.spawn(|| send_until_killed(upload, random));
            }
            let limit = [50_000, 300_000, 1_200_000][random.below(3) as usize];
            thread::sleep(Duration::from_micros(random.below(limit)));
            server.kill();
        });
        told += uploads.iter().map(|upload| upload.shown).sum::<usize>() - shown;
    }
    let server = world.start(&[]);
    for upload in &mut uploads {
        upload.addr = server.addr;
        upload.offset_after_kill();
        upload.finish(&world);
        done += 1;
    }
    println!(
        "{kills} kills, {done} uploads, {told} bytes told before a kill, {more} times more was there"
    );
    assert_ne!(told, 0);
    world.no_panic();
}

/// Everything but the last byte, in requests of all lengths.
fn send_until_killed(upload: &mut Upload, mut random: Random) {
    let stands = tus("HEAD", &upload.path, "", b"");
    loop {
        let at = upload.shown;
        let length = match random.below(4) {
            0 => 1 + random.below(16) as usize,
            1 => 1 + random.below(64 * KIB as u64) as usize,
            _ => 1 + random.below(MIB as u64) as usize,
        };
        let end = (at + length).min(upload.total() - 1);
        let pieces = 1 + random.below(3) as usize;
        let sent = (|| {
            let mut stream = server::connect(upload.addr)?;
            let framing = format!("Content-Length: {}\r\n", end - at);
            stream.write_all(patch_head(&upload.path, at, &framing).as_bytes())?;
            let piece = (end - at).div_ceil(pieces).max(1);
            for from in (at..end).step_by(piece) {
                let to = end.min(from + piece);
                upload.sent = upload.sent.max(to);
                stream.write_all(&upload.plan.content[from..to])?;
                thread::sleep(Duration::from_micros(random.below(2) * random.below(400_000)));
                let reply = try_ask(upload.addr, "HEAD", &stands)?;
                let offset = upload.showed(&reply);
                assert!(offset <= to, "{offset} of {to}");
            }
            read_reply(&mut stream, "PATCH")
        })();
        match sent {
            Ok(reply) => {
                assert_eq!(reply.told(), (204, Some(end)), "{reply:?}");
                upload.took(&reply);
            }
            Err(_) => return,
        }
    }
}

/// A connection has died without a word, and its client is back. The dead one may wake up again.
#[test]
fn a_stalled_request_gives_way_to_a_newer_one() {
    let world = World::new();
    let mut random = Random::new(seed());
    let server = world.start(random.settings());
    let tries = if is_long() { 50 } else { 4 };
    let mut answers = BTreeMap::new();
    for number in 0..tries {
        let mut upload = Upload::create(server.addr, Plan::of_length(number, number, MIB));
        let first = 1 + random.below(MIB as u64 / 2) as usize;
        let wrong = vec![0; MIB / 4];
        let mut stalled = upload.begin_patch(&upload.length());
        stalled.write_all(&upload.plan.content[..first]).unwrap();
        upload.shows(first);
        // The newer one stalls too, then comes to its end.
        let end = first + 1 + random.below(MIB as u64 / 4) as usize;
        let content = &upload.plan.content[first..end];
        let reply = if number % 2 == 0 {
            let framing = format!("Content-Length: {}\r\n", end - first);
            let mut newer = upload.begin_patch(&framing);
            let (begin, rest) = content.split_at(content.len() / 2);
            newer.write_all(begin).unwrap();
            count(&mut answers, ended(&mut stalled));
            drop(stalled.write_all(&wrong));
            newer.write_all(rest).unwrap();
            read_reply(&mut newer, "PATCH").unwrap()
        } else {
            let http2 = Http2::connect(server.addr);
            let reply = http2.patch(&upload.path, first, content);
            drop(stalled.write_all(&wrong));
            count(&mut answers, ended(&mut stalled));
            reply
        };
        assert_eq!(reply.told(), (204, Some(end)), "{reply:?}");
        upload.took(&reply);
        assert_eq!(upload.offset(), end);

        // The same over HTTP/2, where the newer request may come on the same connection.
        let http2 = Http2::connect(server.addr);
        let mut stalled = http2.begin_patch(&upload.path, end, &[]);
        let then = end + 1 + random.below(MIB as u64 / 8) as usize;
        http2.send(&mut stalled, &upload.plan.content[end..then]);
        upload.shows(then);
        let reply = if number % 2 == 0 {
            http2.patch(&upload.path, then, &upload.plan.content[then..])
        } else {
            upload.patch(then..MIB, "")
        };
        assert_eq!(reply.told(), (204, Some(MIB)), "{reply:?}");
        let loser = http2.answer(stalled).map_or("an end".to_owned(), |it| it.status.to_string());
        count(&mut answers, loser);
        upload.is_delivered(&world, 1..=1);
    }
    println!("{} stalled requests; they got {answers:?}", 2 * tries);
    let allowed = |answer: &String| ["503", "an end"].contains(&answer.as_str());
    assert!(answers.keys().all(allowed), "{answers:?}");
    world.no_panic();
}

fn count(found: &mut BTreeMap<String, u32>, what: String) {
    *found.entry(what).or_insert(0) += 1;
}

/// How an HTTP/1.1 connection has ended.
fn ended(stream: &mut TcpStream) -> String {
    read_reply(stream, "PATCH").map_or("an end".to_owned(), |reply| reply.status.to_string())
}

/// A client that gets an error asks where the upload stands, and must not find it complete.
#[test]
fn the_last_byte_counts_when_the_application_has_taken_the_file() {
    let world = World::new();
    let mut random = Random::new(seed());
    let server = world.start(random.settings());
    for (number, status) in [500, 503, 422].into_iter().enumerate() {
        let total = 100_000;
        let plan = Plan::of_length(random.next(), number as u64, total);
        let mut upload = Upload::create(server.addr, plan);
        let fails = format!("X-Hook-Status: {status}\r\n");
        let begun = random.below(total as u64) as usize;
        assert_eq!(upload.patch(0..begun, &fails).told(), (204, Some(begun)));
        for _ in 0..3 {
            let reply = upload.patch(upload.shown..total, &fails);
            assert_eq!(reply.told(), (status, None), "{reply:?}");
            assert_eq!(reply.header("tus-resumable"), Some("1.0.0"));
            assert_eq!(upload.offset(), total - 1);
        }
        // What there is already is not taken again.
        let reply = upload.patch(begun.min(total - 2)..total, "");
        assert_eq!(reply.told(), (409, Some(total - 1)), "{reply:?}");
        assert_eq!(world.deliveries(upload.id()), 0);
        assert_eq!(upload.patch(total - 1..total, "").told(), (204, Some(total)));
        upload.is_delivered(&world, 1..=1);
    }
    world.no_panic();
}

/// The application has been called and has not touched the file.
#[test]
fn a_kill_in_the_handler_leaves_the_last_byte_to_be_sent_again() {
    let world = World::new();
    let mut random = Random::new(seed());
    let tries = if is_long() { 50 } else { 3 };
    for number in 0..tries {
        let plan = Plan::of_length(random.next(), number, 100_000);
        let settings = random.settings();
        let server = world.start(settings);
        let mut upload = Upload::create(server.addr, plan);
        let total = upload.total();
        // The handler counts its deliveries in this file first: nobody reads from it, so it waits.
        let counter = world.finals().join(format!("{}.deliveries", upload.id()));
        assert!(Command::new("mkfifo").arg(&counter).status().unwrap().success());
        let mut stream = upload.begin_patch(&upload.length());
        stream.write_all(&upload.plan.content).unwrap();
        until("the handler is called", || upload.head().status == 423);
        assert_eq!(upload.head().offset(), None);
        let early = upload.patch(total - 1..total, "");
        assert_eq!(early.status, 423, "{early:?}");
        server.kill();

        fs::remove_file(&counter).unwrap();
        let server = world.start(settings);
        upload.addr = server.addr;
        assert_eq!(upload.offset_when_free(), total - 1);
        upload.finish(&world);
    }
    println!("{tries} kills in the handler");
    world.no_panic();
}

/// The handler has moved the file away and is killed before it can answer.
#[test]
fn a_kill_between_the_hand_over_and_the_answer_leaves_the_last_byte_to_be_sent_again() {
    let world = World::new();
    let mut random = Random::new(seed());
    // Without a checksum the handler reads the file after it has moved it, which takes a while.
    let settings = [("WIRE_NO_MD5", "1")];
    let (mut hits, mut tries) = (0, 0);
    while hits < if is_long() { 20 } else { 3 } {
        tries += 1;
        assert!(tries <= 100, "{hits} of {tries} kills came before the answer");
        let server = world.start(&settings);
        let plan = Plan::of_length(random.next(), tries, 8 * MIB);
        let mut upload = Upload::create(server.addr, plan);
        let (total, target) = (upload.total(), world.final_of(upload.id()));
        let mut stream = upload.begin_patch(&upload.length());
        stream.write_all(&upload.plan.content).unwrap();
        until("the handler moves the file", || target.exists());
        server.kill();

        let server = world.start(&settings);
        upload.addr = server.addr;
        if upload.offset_when_free() < total {
            assert_eq!(upload.shown, total - 1);
            hits += 1;
            let reply = upload.patch(total - 1..total, "");
            assert_eq!(reply.told(), (204, Some(total)), "{reply:?}");
            upload.is_delivered(&world, 2..=2);
        } else {
            upload.is_delivered(&world, 1..=1);
        }
    }
    println!("{hits} of {tries} kills came after the move and before the answer");
    world.no_panic();
}

#[test]
fn kills_at_random_moments_of_the_last_byte_lose_no_file() {
    let world = World::new();
    let mut random = Random::new(seed());
    let mut found = BTreeMap::new();
    let tries = if is_long() { 100 } else { 8 };
    for number in 0..tries {
        let settings = random.settings();
        let server = world.start(settings);
        let plan = Plan::of_length(random.next(), number, 100_000);
        let mut upload = Upload::create(server.addr, plan);
        let total = upload.total();
        upload.patch(0..total - 1, "");
        let mut stream = upload.begin_patch(&upload.length());
        stream.write_all(&upload.plan.content[total - 1..]).unwrap();
        let limit = [500, 4000, 20_000][random.below(3) as usize];
        thread::sleep(Duration::from_micros(random.below(limit)));
        server.kill();
        let answered = read_reply(&mut stream, "PATCH").ok();

        let server = world.start(settings);
        upload.addr = server.addr;
        let stands = upload.offset_after_kill();
        if let Some(answer) = &answered {
            assert_eq!(answer.told(), (204, Some(total)), "{answer:?}");
            assert_eq!(stands, total);
        }
        let before = world.deliveries(upload.id());
        if stands < total {
            assert_eq!(stands, total - 1);
            assert_eq!(upload.patch(total - 1..total, "").told(), (204, Some(total)));
        }
        let again = u64::from(stands < total);
        assert!(before <= 1 && (again == 1 || before == 1), "delivered {before} times before");
        upload.is_delivered(&world, before + again..=before + again);
        let stand = ["complete", "to be completed"][usize::from(stands < total)];
        let answer = if answered.is_some() { "answered" } else { "not answered" };
        count(&mut found, format!("{answer}, {stand}, called {before} times"));
    }
    println!("{tries} kills around the last byte: {found:?}");
    world.no_panic();
}

/// A client that waits for `100 Continue` sends no body in vain.
#[test]
fn a_refused_request_is_not_told_to_go_on() {
    let world = World::new();
    let server = world.start(&[("WIRE_MAX_BYTES", "1000")]);
    let mut upload = Upload::create(server.addr, Plan::of_length(1, 0, 100));
    assert_eq!(upload.patch(0..10, "").told(), (204, Some(10)));
    let patch = |path: &str, version: &str, content_type: &str, at: usize, length: usize| {
        format!(
            "PATCH {path} HTTP/1.1\r\nHost: here\r\n{version}Content-Type: {content_type}\r\n\
             Upload-Offset: {at}\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let create = |length: usize| {
        format!(
            "POST /files HTTP/1.1\r\nHost: here\r\n{VERSION}Upload-Length: {length}\r\n\
             Content-Type: {BYTES}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let path = upload.path.as_str();
    let deferred =
        ask(server.addr, "POST", &tus("POST", "/files", "Upload-Defer-Length: 1\r\n", b""));
    let deferred = deferred.header("location").unwrap();
    let refused = [
        ("another offset", patch(path, VERSION, BYTES, 9, 5), 409),
        ("another version", patch(path, "Tus-Resumable: 0.2.2\r\n", BYTES, 10, 5), 412),
        ("no version", patch(path, "", BYTES, 10, 5), 412),
        ("more than the length", patch(path, VERSION, BYTES, 10, 91), 413),
        ("more than the maximum", patch(deferred, VERSION, BYTES, 0, 1001), 413),
        ("another media type", patch(path, VERSION, "text/plain", 10, 5), 415),
        ("an unknown upload", patch("/files/x", VERSION, BYTES, 10, 5), 404),
        ("a file above the maximum", create(1001), 413),
        ("a body longer than its file", create(3), 413),
    ];
    for (what, head, status) in &refused {
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let reply = read_reply(&mut stream, "PATCH").unwrap();
        assert_eq!(reply.status, *status, "{what}: {reply:?}");
        assert_eq!(reply.header("tus-resumable"), Some("1.0.0"), "{what}");
        assert_eq!(reply.offset(), (*status == 409).then_some(10), "{what}");
        assert_eq!(upload.head().offset(), Some(10), "{what}");
    }
    let accepted = [
        (patch(path, VERSION, BYTES, 10, 5), upload.plan.content[10..15].to_vec(), (204, Some(15))),
        (create(1000), b"sand".to_vec(), (201, Some(4))),
    ];
    for (head, body, told) in accepted {
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(read_reply(&mut stream, "PATCH").unwrap().told(), (100, None));
        stream.write_all(&body).unwrap();
        assert_eq!(read_reply(&mut stream, "PATCH").unwrap().told(), told);
    }
    upload.finish(&world);
    world.no_panic();
}

#[test]
fn a_checksum_may_follow_the_bytes() {
    let world = World::new();
    let mut random = Random::new(seed());
    let server = world.start(random.settings());
    let wrong = format!("sha1 {}", BASE64.encode([7; 20]));
    let trailers = |sum: &str| {
        let mut trailers = HeaderMap::new();
        trailers.insert("upload-checksum", sum.parse().unwrap());
        Some(trailers)
    };
    for (number, length) in [(0, 13), (1, 100_000), (2, 3 * MIB)] {
        let plan = Plan::of_length(random.next(), number, length);
        let mut upload = Upload::create(server.addr, plan);
        let half = length / 2;
        let announced = [("trailer", "upload-checksum")];
        let http1 = |upload: &Upload, range: Range<usize>, trailer: &str| {
            let framing = "Transfer-Encoding: chunked\r\nTrailer: Upload-Checksum\r\n";
            let mut stream = upload.begin_patch(framing);
            for chunk in upload.plan.content[range].chunks(50_000) {
                stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).unwrap();
                stream.write_all(chunk).unwrap();
                stream.write_all(b"\r\n").unwrap();
            }
            stream.write_all(format!("0\r\n{trailer}\r\n").as_bytes()).unwrap();
            read_reply(&mut stream, "PATCH").unwrap()
        };
        let http2 = |upload: &Upload, range: Range<usize>, sum: Option<&str>| {
            let client = Http2::connect(server.addr);
            let mut stream = client.begin_patch(&upload.path, range.start, &announced);
            client.send(&mut stream, &upload.plan.content[range]);
            client.end(stream, sum.and_then(trailers))
        };
        let trailer = |sum: &str| format!("Upload-Checksum: {sum}\r\n");
        let first = md5_sum(&upload.plan.content[..half]);
        let second = md5_sum(&upload.plan.content[half..]);

        assert_eq!(http1(&upload, 0..half, &trailer(&wrong)).told(), (460, None));
        assert_eq!(http1(&upload, 0..half, &trailer(&second)).told(), (460, None));
        assert_eq!(http1(&upload, 0..half, &trailer("rot13 AAAA")).told(), (400, None));
        // The sum was announced and is not there: as if the request were cut.
        assert_eq!(http1(&upload, 0..half, "").told(), (503, None));
        assert_eq!(upload.offset(), 0);
        let reply = http1(&upload, 0..half, &trailer(&first));
        assert_eq!(reply.told(), (204, Some(half)), "{reply:?}");
        upload.took(&reply);

        assert_eq!(http2(&upload, half..length, Some(&wrong)).told(), (460, None));
        assert_eq!(http2(&upload, half..length, Some(&first)).told(), (460, None));
        assert_eq!(http2(&upload, half..length, None).told(), (503, None));
        assert_eq!(upload.offset(), half);
        let reply = http2(&upload, half..length, Some(&second));
        assert_eq!(reply.told(), (204, Some(length)), "{reply:?}");
        upload.is_delivered(&world, 1..=1);
    }
    world.no_panic();
}

fn md5_sum(bytes: &[u8]) -> String {
    format!("md5 {}", BASE64.encode(Md5::digest(bytes)))
}

/// The exchanges of the protocol, in the order of its extensions.
const EXCHANGES: &str = r"
1
> OPTIONS /files | Tus-Resumable: -
< 200 | Tus-Version: 1.0.0 | Tus-Max-Size: 1000 | Tus-Checksum-Algorithm: sha1,sha256,sha512,md5
      | Tus-Extension: creation,creation-with-upload,creation-defer-length,expiration,checksum,checksum-trailer,termination,concatenation,concatenation-unfinished
T2
> POST /files | Upload-Length: 13 | Upload-Metadata: name c2FuZC50eHQ=,wet
< 201 | Location: … | Upload-Expires: … | Upload-Offset: -
> HEAD ID
< 200 | Upload-Offset: 0 | Upload-Length: 13 | Upload-Metadata: name c2FuZC50eHQ=,wet | Cache-Control: no-store
      | Upload-Expires: …
T3
> PATCH ID | Content-Type: BYTES | Upload-Offset: 0 ¶ sand
< 204 | Upload-Offset: 4 | Upload-Expires: …
> PATCH ID | Content-Type: BYTES | Upload-Offset: 0 ¶ sand
< 409 | Upload-Offset: 4 | Upload-Expires: …
> HEAD ID
< 200 | Upload-Offset: 4
4
> HEAD ID | Tus-Resumable: 0.2.2
< 412 | Tus-Version: 1.0.0
> HEAD ID | Tus-Resumable: -
< 412 | Tus-Version: 1.0.0
T5
> POST /files | Upload-Length: 13 | Content-Type: BYTES | Expect: 100-continue | Content-Length: 4
< 100 | Tus-Resumable: -
= sand
< 201 | Location: … | Upload-Offset: 4
> POST /files | Upload-Length: 1001 | Content-Type: BYTES | Expect: 100-continue | Content-Length: 4
< 413
T6
> POST /files | Upload-Defer-Length: 1
< 201 | Location: …
> HEAD ID
< 200 | Upload-Offset: 0 | Upload-Defer-Length: 1 | Upload-Length: -
> PATCH ID | Content-Type: BYTES | Upload-Offset: 0 | Upload-Length: 13 ¶ sand
< 204 | Upload-Offset: 4
> PATCH ID | Content-Type: BYTES | Upload-Offset: 4 | Upload-Length: 14 ¶ x
< 400 | Upload-Offset: -
> HEAD ID
< 200 | Upload-Offset: 4 | Upload-Length: 13 | Upload-Defer-Length: -
T7
> POST /files | Upload-Length: 13
< 201 | Location: …
> PATCH ID | Content-Type: BYTES | Upload-Offset: 0 | Upload-Checksum: sha1 vn8RjDp8U+TpFn844zWbu7fvZBA= ¶ sand and fOam
< 460 | Upload-Offset: -
> PATCH ID | Content-Type: BYTES | Upload-Offset: 0 | Upload-Checksum: rot13 AAAA ¶ sand and foam
< 400 | Upload-Offset: -
> PATCH ID | Content-Type: BYTES | Upload-Offset: 0 | Upload-Checksum: sha1 AAAA ¶ sand and foam
< 460 | Upload-Offset: -
> PATCH ID | Content-Type: BYTES | Upload-Offset: 0 | Upload-Checksum: sha1 ! ¶ sand and foam
< 400 | Upload-Offset: -
> HEAD ID
< 200 | Upload-Offset: 0
> PATCH ID | Content-Type: BYTES | Upload-Offset: 0 | Upload-Checksum: sha1 vn8RjDp8U+TpFn844zWbu7fvZBA= ¶ sand and foam
< 204 | Upload-Offset: 13
T8
> POST /files | Upload-Length: 13
< 201 | Location: …
> PATCH ID | Content-Type: BYTES | Upload-Offset: 0 | Transfer-Encoding: chunked | Trailer: Upload-Checksum ¶ d\r\nsand and foam\r\n0\r\nUpload-Checksum: sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n
< 460 | Upload-Offset: -
> HEAD ID
< 200 | Upload-Offset: 0
> PATCH ID | Content-Type: BYTES | Upload-Offset: 0 | Transfer-Encoding: chunked | Trailer: Upload-Checksum ¶ d\r\nsand and foam\r\n0\r\nUpload-Checksum: sha1 vn8RjDp8U+TpFn844zWbu7fvZBA=\r\n\r\n
< 204 | Upload-Offset: 13
T11
> POST /files | Upload-Length: 13
< 201 | Location: …
> POST ID | X-HTTP-Method-Override: PATCH | Content-Type: BYTES | Upload-Offset: 0 ¶ sand
< 204 | Upload-Offset: 4
T12
> POST /files | Upload-Defer-Length: 1
< 201 | Location: …
> PATCH ID | Content-Type: BYTES | Upload-Offset: 0 | Transfer-Encoding: chunked ¶ 3e8\r\nTHOUSAND\r\n1\r\nx\r\n0\r\n\r\n
< 413 | Upload-Offset: -
> HEAD ID
< 200 | Upload-Offset: ≤1000 | Upload-Length: -
T13
> DELETE ID
< 204
> HEAD ID
< 404 | Upload-Offset: -
";

#[test]
fn the_exchanges_of_the_protocol_are_as_written() {
    let world = World::new();
    let server = world.start(&[("WIRE_MAX_BYTES", "1000")]);
    let thousand = "x".repeat(1000);
    let exchanges = Script {
        text: EXCHANGES,
        words: &[("BYTES", BYTES), ("THOUSAND", &thousand)],
        uploads: "/files/",
        version: Some(("Tus-Resumable", "1.0.0")),
    };
    println!("{} answers", exchanges.play(&server));
    world.no_panic();
}

impl Cut {
    const ALL: [Self; 4] = [Self::Fin, Self::Rst, Self::Http2Reset, Self::Http2Fin];
}

const VERSION: &str = "Tus-Resumable: 1.0.0\r\n";
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
