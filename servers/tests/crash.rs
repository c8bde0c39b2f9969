//! `kill -9` of a server: whatever it has acknowledged is still there, and nothing else is.
//!
//! The default run takes some thirty kills, `LONG=1` five hundred. `SEED=N` repeats the random
//! choices, though not their moments.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/ports.rs"]
mod ports;
#[path = "support/server.rs"]
mod server;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use server::{
    Answer, Chunk, Cut, DEADLINE, Plan, Random, SETTINGS, Shape, Violation, World, ask,
    ask_until_free, complete_request, confirmed, connect, exchange, has_extension, is_long,
    read_answer, seed, status, status_request, until, until_or, upload_id,
};

/// Eight clients upload while the server is killed again and again, now and then before it
/// listens. After each kill a client asks where its upload stands and goes on from there. Some
/// uploads are left where they are, and brought to their end by the last server.
#[test]
fn what_was_acknowledged_survives_kills_at_random_moments() {
    let mut random = Random::new(seed());
    let kills = if is_long() { 250 } else { 12 };
    let mut in_start = 0;
    let world = World::new();
    let door = Door::default();
    let findings = Findings::default();
    let over = AtomicBool::new(false);

    let uploads: Vec<Left> = thread::scope(|scope| {
        let mut server = world.start(random.settings());
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
                        let plan = plan(seed, number);
                        let mut upload = Uploading::new(plan, world, door, findings, over);
                        match upload.run() {
                            Ok(left) => uploads.extend(left),
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
            if random.below(3) == 0 {
                kill_in_start(&world, &mut random);
                in_start += 1;
            }
            server = world.start(random.settings());
            door.open(server.addr);
        }
        over.store(true, Ordering::Relaxed);
        let uploads = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        server.kill();
        uploads
    });

    let server = world.start(&[]);
    for upload in &uploads {
        if upload.complete
            && let Err(violation) = world.is_still_there(server.addr, &upload.id, &upload.plan)
        {
            findings.add(&upload.plan, violation);
        }
        let Left { id, plan, acknowledged, cuts, .. } = upload;
        if !upload.complete
            && let Err(violation) =
                world.finish_after_kill(server.addr, id, plan, *acknowledged, cuts)
        {
            findings.unusable(&upload.plan, violation);
        }
    }
    let left = uploads.iter().filter(|upload| !upload.complete).count();
    let unanswered = unanswered(&world, server.addr, &findings);
    println!(
        "{kills} kills, {in_start} more of servers that had just begun to start; {} uploads, {left} of \
         them left and finished at the end",
        uploads.len()
    );
    findings.conclude(unanswered, &world.log());
}

/// A kill at each moment of a chunk that can be told from outside: the upload stands before the
/// chunk or behind it, and goes on from there.
#[test]
fn a_kill_at_any_moment_of_a_chunk_leaves_the_upload_before_it_or_behind_it() {
    let world = World::new();
    let mut random = Random::new(seed());
    let mut found = BTreeMap::new();
    let (first, total) = (1000, 400_000);
    let rounds = if is_long() { 14 } else { 2 };
    for (number, moment) in (0..rounds).flat_map(|_| Moment::ALL).enumerate() {
        let plan = Plan::of_length(random.next(), number as u64, total);
        let [pool, in_place] = [random.below(2), 2 + random.below(2)];
        let settings = SETTINGS[if number / 6 % 2 == 0 { pool } else { in_place } as usize];
        let shape = Shape::ALL[random.below(3) as usize];
        let server = world.start(settings);
        let begun = ask(server.addr, &plan.chunk(0..first, None, shape).bytes).unwrap();
        let id = upload_id(&begun.accepted().unwrap());
        // The first sweep may still be at what the kill before has left.
        let before = first as u64;
        until("nothing else is stored", || world.stored() == before);
        // A short chunk is written by its commit.
        let end = if let Moment::Sent = moment { first + 20_000 } else { total };
        let chunk = plan.chunk(first..end, Some(&id), shape);
        let mut stream = server.connect();
        stream.write_all(&chunk.bytes[..moment.sent(&chunk)]).unwrap();
        match moment {
            Moment::Connected | Moment::HeadSent => {}
            Moment::HalfWritten => until("it writes", || world.stored() > before),
            Moment::Written => {
                until("it writes", || world.stored() >= before + (end - first) as u64);
            }
            Moment::Sent => thread::sleep(Duration::from_micros(random.below(4000))),
            Moment::Answered => assert_eq!(read_answer(&mut stream).unwrap().status, 200),
        }
        server.kill();
        if random.below(2) == 0 {
            kill_in_start(&world, &mut random);
        }

        let server = world.start(settings);
        let standing = status(server.addr, &id).unwrap();
        let offset = usize::try_from(standing["offset"].as_u64().unwrap()).unwrap();
        let due: &[usize] = match moment {
            Moment::Connected | Moment::HeadSent | Moment::HalfWritten => &[first],
            Moment::Sent | Moment::Written => &[first, end],
            Moment::Answered => &[end],
        };
        assert!(due.contains(&offset), "{moment:?} {shape:?}: {standing}");
        world.finish_after_kill(server.addr, &id, &plan, offset, due).unwrap();
        let stand = if offset == first { "before" } else { "behind" };
        *found.entry(format!("{moment:?} {stand}")).or_insert(0) += 1;
    }
    world.no_panic();
    println!("kills during a chunk: {found:?}");
}

/// A token that was given out before a kill is good after it, as are the bytes.
#[test]
fn a_token_is_good_after_a_kill() {
    let world = World::new();
    let mut random = Random::new(seed());
    let secret = ("WIRE_TOKEN_SECRET", "0123456789abcdef0123456789abcdef");
    for number in 0..if is_long() { 40 } else { 4 } {
        let settings = [&[("WIRE_AUTH", "1"), secret], random.settings()].concat();
        let (first, total) = (1000, 40_000);
        let plan = Plan::of_length(random.next(), number, total);
        let shape = Shape::ALL[random.below(3) as usize];
        let server = world.start(&settings);
        let begun = plan.chunk(0..first, None, shape).bytes;
        let answer = ask(server.addr, &with_header(&begun, "X-User: alice")).unwrap();
        let token = answer.token.clone().unwrap();
        let id = upload_id(&answer.accepted().unwrap());
        let rest = plan.chunk(first..total, Some(&id), shape).bytes;
        let token = format!("Upload-Token: {token}");
        if random.below(2) == 0 {
            // The kill comes in the middle of a chunk.
            let chunk = with_header(&rest, &token);
            let mut stream = server.connect();
            stream.write_all(&chunk[..chunk.len() / 2]).unwrap();
        }
        server.kill();

        let server = world.start(&settings);
        assert_eq!(ask(server.addr, &rest).unwrap().status, 403);
        let standing = ask(server.addr, &with_header(&status_request(&id), &token)).unwrap();
        assert_eq!(standing.accepted().unwrap()["offset"], first);
        let end = complete_request(&id, &plan.md5);
        for request in [rest, end] {
            let answer = ask(server.addr, &with_header(&request, &token)).unwrap();
            assert_eq!(answer.status, 200, "{}", answer.json);
        }
        assert!(fs::read(world.final_of(&id)).unwrap() == plan.content);
        server.kill();
        // Another secret has signed nothing.
        let other = ("WIRE_TOKEN_SECRET", "another secret, as long as it must be");
        let server = world.start(&[("WIRE_AUTH", "1"), other]);
        let refused = ask(server.addr, &with_header(&status_request(&id), &token)).unwrap();
        assert_eq!((refused.status, &refused.json["code"]), (403, &"token-invalid".into()));
        server.kill();
    }
    world.no_panic();
}

/// The request with one more header.
fn with_header(request: &[u8], header: &str) -> Vec<u8> {
    let end = memchr::memchr(b'\n', request).unwrap() + 1;
    [&request[..end], header.as_bytes(), b"\r\n", &request[end..]].concat()
}

/// The hook has moved the file away and is killed before it can answer: the upload can be completed
/// again, and the file is the same.
#[test]
fn a_kill_between_the_hand_over_and_the_answer_leaves_the_upload_completable() {
    let world = World::new();
    let mut random = Random::new(seed());
    // Without a checksum the hook reads the file after it has moved it, which takes a while.
    let settings = [&[("WIRE_NO_MD5", "1")], random.settings()].concat();
    let (mut hits, mut tries) = (0, 0);
    while hits < if is_long() { 20 } else { 3 } {
        tries += 1;
        assert!(tries <= 100, "{hits} of {tries} kills came before the answer");
        let plan = Plan::of_length(random.next(), tries, 8 * MIB);
        let server = world.start(&settings);
        let id = server.upload_whole(&plan);
        let target = world.final_of(&id);
        let request = complete_request(&id, &plan.md5);
        let mut stream = server.connect();
        stream.write_all(&request).unwrap();
        until("the hook moves the file", || target.exists());
        server.kill();

        let server = world.start(&settings);
        let standing = server.standing(&id);
        if standing["status"] == "open" {
            assert_eq!(standing["offset"], plan.content.len());
            let answer = ask_until_free(server.addr, &request);
            // What was being synced at the kill may have been confirmed after the look.
            if answer.json["code"] != "already-complete" {
                hits += 1;
                assert_eq!((answer.status, &answer.json["deliveries"]), (200, &2.into()));
            }
        } else {
            assert_eq!(standing["status"], "complete");
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
    let id = server.upload_whole(&plan);
    let request = complete_request(&id, &plan.md5);
    // The hook counts its deliveries in this file first: nobody reads from it, so it waits.
    let counter = world.finals().join(format!("{id}.deliveries"));
    assert!(Command::new("mkfifo").arg(&counter).status().unwrap().success());
    let mut stream = server.connect();
    stream.write_all(&request).unwrap();
    until("the hook is called", || {
        status(server.addr, &id).is_ok_and(|standing| standing["status"] == "finishing")
    });
    let second = ask(server.addr, &request).unwrap();
    assert_eq!(second.status, 400, "{}", second.json);
    server.kill();

    fs::remove_file(&counter).unwrap();
    let server = world.start(&[]);
    let standing = server.standing(&id);
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
    let tries = if is_long() { 80 } else { 6 };
    for number in 0..tries {
        let plan = Plan::of_length(random.next(), number, 100_000);
        let settings = random.settings();
        let server = world.start(settings);
        let id = server.upload_whole(&plan);
        let request = complete_request(&id, &plan.md5);
        let mut stream = server.connect();
        stream.write_all(&request).unwrap();
        thread::sleep(Duration::from_micros(random.below(4000)));
        server.kill();
        if random.below(4) == 0 {
            kill_in_start(&world, &mut random);
        }

        let server = world.start(settings);
        // The first sweep may be looking at it too.
        let standing = server.standing(&id);
        let moved = world.final_of(&id).exists();
        if standing["status"] != "complete" {
            let answer = ask_until_free(server.addr, &request);
            // What was being synced at the kill may have been confirmed after the look.
            let confirmed = answer.json["code"] == "already-complete";
            assert!(confirmed || answer.status == 200, "{standing} {}", answer.json);
        }
        world.check_complete(server.addr, &id, &plan);
        let stand = format!("{} {}", standing["status"], if moved { "moved" } else { "not moved" });
        *found.entry(stand).or_insert(0) += 1;
    }
    println!("{tries} kills during a completion: {found:?}");
}

/// The client has sent its completion and read nothing.
#[test]
fn an_answer_that_nobody_has_read_before_a_kill_is_given_after_it() {
    let world = World::new();
    let settings = [("WIRE_KEEP_SECONDS", "3600"), ("WIRE_LONG_MILLIS", "60000")];
    let plan = Plan::of_length(seed(), 0, 100_000);
    let server = world.start(&settings);
    let id = server.upload_whole(&plan);
    let request = complete_request(&id, &plan.md5);
    let mut stream = server.connect();
    stream.write_all(&request).unwrap();
    until("the file is taken", || {
        status(server.addr, &id).is_ok_and(|standing| standing["status"] == "complete")
    });
    server.kill();
    drop(stream);

    let server = world.start(&settings);
    let get = format!("GET /completions/{id} HTTP/1.1\r\nHost: here\r\n\r\n");
    let first = ask(server.addr, &request).unwrap();
    assert_eq!((first.status, &first.json["deliveries"]), (200, &1.into()));
    for again in [&request[..], get.as_bytes()] {
        let again = ask(server.addr, again).unwrap();
        assert_eq!((again.status, &again.json), (200, &first.json));
    }
    assert_eq!(world.deliveries(&id), 1);
    assert!(fs::read(world.final_of(&id)).unwrap() == plan.content, "the file differs");
    world.no_panic();
}

/// Whenever the server was killed, the same completion is answered, and the handler does not run again
/// once its answer has been kept.
#[test]
fn a_kill_during_a_completion_loses_no_answer_that_was_kept() {
    let world = World::new();
    let mut random = Random::new(seed());
    let mut found = BTreeMap::new();
    let tries = if is_long() { 80 } else { 8 };
    for number in 0..tries {
        let plan = Plan::of_length(random.next(), number, 100_000);
        let keeps = [("WIRE_KEEP_SECONDS", "3600"), ("WIRE_LONG_MILLIS", "60000")];
        let settings = [&keeps, random.settings()].concat();
        let server = world.start(&settings);
        let id = server.upload_whole(&plan);
        let request = complete_request(&id, &plan.md5);
        let mut stream = server.connect();
        stream.write_all(&request).unwrap();
        thread::sleep(Duration::from_micros(random.below(6000)));
        server.kill();

        let server = world.start(&settings);
        let address = format!("/completions/{id}");
        let get = format!("GET {address} HTTP/1.1\r\nHost: here\r\n\r\n");
        let get = || ask(server.addr, get.as_bytes()).unwrap();
        let mut asked = get();
        until("no sweep holds it", || {
            if asked.status == 202 {
                asked = get();
            }
            asked.status != 202
        });
        let (status, before) = (server.standing(&id)["status"].clone(), world.deliveries(&id));
        if status == "complete" && asked.status == 409 {
            // What was being synced at the kill was confirmed between the two.
            asked = get();
        }
        assert_eq!(asked.status, if status == "complete" { 200 } else { 409 }, "{}", asked.json);
        let answers = [(); 2].map(|()| ask_until_free(server.addr, &request));
        for answer in &answers {
            assert_eq!((answer.status, &answer.json), (200, &answers[0].json));
        }
        let runs = before + u64::from(status != "complete");
        assert_eq!(world.deliveries(&id), runs, "{status}");
        let asked = get();
        assert_eq!((asked.status, &asked.json), (200, &answers[0].json));
        server.kill();
        *found.entry(format!("{status} after {before} runs")).or_insert(0) += 1;
    }
    world.no_panic();
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
    let id = upload_id(&begun.json);
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

/// A first chunk with a key is sent again after a kill at any moment of it: there is one upload.
#[test]
fn a_kill_during_a_creation_with_a_key_leaves_one_upload() {
    let world = World::new();
    let mut random = Random::new(seed());
    let mut found = BTreeMap::new();
    let tries = if is_long() { 100 } else { 8 };
    for number in 0..tries {
        let plan = Plan::of_length(random.next(), number, 400_000);
        let shape = [Shape::Raw, Shape::IdFirst][random.below(2) as usize];
        let (first, settings) = (1 + random.below(399_999) as usize, random.settings());
        let chunk = plan.chunk(0..first, None, shape).bytes;
        let line = chunk.windows(2).position(|two| two == b"\r\n").unwrap() + 2;
        let key = format!("Idempotency-Key: \"{:032x}\"\r\n", random.next());
        let request = [&chunk[..line], key.as_bytes(), &chunk[line..]].concat();
        let server = world.start(settings);
        let answers = number % 2 == 0;
        let sent = if answers { request.len() } else { request.len() / 2 };
        let mut stream = server.connect();
        stream.write_all(&request[..sent]).unwrap();
        if answers {
            // All of it is there, and whether it was acknowledged nobody reads.
            until("its bytes are stored", || world.stored() == first as u64);
        }
        thread::sleep(Duration::from_micros(random.below(8000)));
        server.kill();
        let before = world.files().len();
        *found.entry(before).or_insert(0) += 1;

        let server = world.start(settings);
        let answers = [(); 2].map(|()| {
            let answer = ask_until_free(server.addr, &request);
            assert_eq!((answer.status, &answer.json["offset"]), (200, &first.into()));
            upload_id(&answer.json)
        });
        assert_eq!(answers[0], answers[1]);
        until("one upload is stored", || world.files().len() == 2);
        world.finish(server.addr, &answers[0], &plan, first).unwrap();
        world.check_complete(server.addr, &answers[0], &plan);
        let late = ask(server.addr, &request).unwrap();
        assert_eq!(upload_id(&late.json), answers[0]);
        server.kill();
        for file in world.files() {
            fs::remove_file(file).unwrap();
        }
    }
    world.no_panic();
    println!("{tries} kills during a creation, by how many files they left: {found:?}");
}

/// The application decides about the first bytes of each file, also if kills come between them: none
/// that it refuses is delivered, and each of the others is.
#[test]
fn kills_between_the_first_bytes_let_no_refused_file_through() {
    const WANTED: usize = 512;
    let world = World::new();
    let mut random = Random::new(seed());
    let (mut taken, mut refused) = (0, 0);
    for number in 0..if is_long() { 100 } else { 8 } {
        let settings = [&[("WIRE_FIRST_BYTES", "512")], random.settings()].concat();
        let total = 600 + random.below(50_000) as usize;
        let mut content = Plan::of_length(random.next(), number, total).content;
        let is_program = number % 2 == 0;
        content[..2].copy_from_slice(if is_program { b"MZ" } else { b"OK" });
        let plan = Plan::of(random.next(), number, content);
        let mut server = world.start(&settings);
        let first = 1 + random.below(200) as usize;
        let begun = ask(server.addr, &plan.chunk(0..first, None, Shape::Raw).bytes).unwrap();
        let id = upload_id(&begun.accepted().unwrap());
        let mut at = first;
        // What was being synced at a kill may be confirmed after the look.
        let mut cuts = Vec::new();
        let refusal = loop {
            let end =
                total.min(at + 1 + random.below(if at < WANTED { 300 } else { 60_000 }) as usize);
            let chunk = plan.chunk(at..end, Some(&id), Shape::ALL[random.below(3) as usize]).bytes;
            if random.below(2) == 0 {
                let mut stream = server.connect();
                let sent = chunk.len() - random.below(2) as usize * (1 + random.below(20) as usize);
                stream.write_all(&chunk[..sent]).unwrap();
                thread::sleep(Duration::from_micros(random.below(4000)));
                server.kill();
                server = world.start(&settings);
                let Ok(standing) = ask(server.addr, &status_request(&id)).unwrap().accepted()
                else {
                    // The kill came when it had been refused already.
                    break None;
                };
                at = standing["offset"].as_u64().unwrap() as usize;
                cuts.push(end);
            } else {
                let answer = ask_until_free(server.addr, &chunk);
                at = match confirmed(&answer, at, &cuts) {
                    Some(end) => end,
                    None if answer.status == 200 => {
                        cuts.clear();
                        end
                    }
                    None => break Some(answer),
                };
            }
            assert!(!is_program || at < WANTED, "{at} bytes of a program are stored");
            if at == total {
                break None;
            }
        };
        if is_program {
            // As above, if the sweep has removed it after the look.
            let gone = |answer: &Answer| answer.status == 404 && !cuts.is_empty();
            let told = refusal.as_ref().is_none_or(|answer| answer.status == 415 || gone(answer));
            assert!(told && at < WANTED, "{at} {refusal:?}");
            assert_eq!(ask(server.addr, &status_request(&id)).unwrap().status, 404);
            assert!(!world.final_of(&id).exists());
            refused += 1;
        } else {
            assert!(refusal.is_none(), "{refusal:?}");
            world.finish(server.addr, &id, &plan, total).unwrap();
            taken += 1;
        }
        server.kill();
    }
    assert!(taken > 0 && refused > 0);
    world.no_panic();
}

/// A kill leaves what can be seen at its moment: as often as somebody looks, the bytes are there that
/// the record speaks of.
#[test]
fn the_record_is_at_no_moment_ahead_of_the_bytes() {
    let world = World::new();
    let mut random = Random::new(seed());
    for settings in SETTINGS {
        let chunks = if is_long() { 400 } else { 60 };
        let length = 20_000;
        let plan = Plan::of_length(random.next(), 0, chunks * length);
        let server = world.start(settings);
        let id = server.begin(&plan, length);
        let path = |extension| {
            let ours = |path: &PathBuf| path.ends_with(format!("{id}.{extension}"));
            world.files().into_iter().find(ours).unwrap()
        };
        let (record, data) = (path("log"), path("part"));
        let mut looks = 0;
        thread::scope(|scope| {
            let uploader = scope.spawn(|| {
                for at in (length..chunks * length).step_by(length) {
                    let chunk = plan.chunk(at..at + length, Some(&id), Shape::Raw);
                    assert_eq!(ask(server.addr, &chunk.bytes).unwrap().status, 200);
                }
            });
            while !uploader.is_finished() {
                let offset = last_offset(&fs::read_to_string(&record).unwrap());
                let stored = fs::metadata(&data).unwrap().len();
                assert!(offset <= stored, "{offset} bytes are recorded and {stored} stored");
                looks += 1;
            }
        });
        world.finish(server.addr, &id, &plan, chunks * length).unwrap();
        println!("{settings:?}: {looks} looks at an upload of {chunks} chunks, no record ahead");
    }
}

/// What the last whole line with an offset says.
fn last_offset(record: &str) -> u64 {
    let (whole, _) = record.rsplit_once('\n').unwrap();
    let (_, offset) = whole.rsplit_once("\"offset\":").unwrap();
    offset.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// Moments of a chunk.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Connected,
    HeadSent,
    HalfWritten,
    /// Perhaps nothing of it was written, perhaps all.
    Sent,
    /// The bytes are in their file and the record may not know of it.
    Written,
    Answered,
}

impl Moment {
    const ALL: [Self; 6] = [
        Self::Connected,
        Self::HeadSent,
        Self::HalfWritten,
        Self::Sent,
        Self::Written,
        Self::Answered,
    ];

    /// How much of the request goes out.
    fn sent(self, chunk: &Chunk) -> usize {
        match self {
            Self::Connected => 0,
            Self::HeadSent => memchr::memmem::find(&chunk.bytes, b"\r\n\r\n").unwrap() + 4,
            Self::HalfWritten => chunk.file_end - 1,
            Self::Sent | Self::Written | Self::Answered => chunk.bytes.len(),
        }
    }
}

/// Starts a server and kills it while it starts.
fn kill_in_start(world: &World, random: &mut Random) {
    let server = world.spawn(random.settings());
    thread::sleep(Duration::from_micros(random.below(10_000)));
    server.kill();
}

/// Looks at what the data folder holds beside the records of complete uploads. Only uploads whose
/// first chunk was stored and not answered may be there, and can be finished; gives their number.
fn unanswered(world: &World, addr: SocketAddr, findings: &Findings) -> usize {
    until_or("the sweep is done", || {
        let known = |path: &PathBuf| {
            let id = path.file_stem().unwrap().to_str().unwrap();
            matches!(ask(addr, &status_request(id)), Ok(answer) if answer.status == 200)
        };
        let files = world.files();
        files.iter().all(known).then_some(()).ok_or(files)
    });
    let lost_answers = findings.lost_answers.lock().unwrap();
    let mut unanswered = 0;
    for path in world.files() {
        let id = path.file_stem().unwrap().to_str().unwrap();
        // The rewriting of a record may have been killed: what it left goes with its upload.
        assert!(["part", "log", "new"].iter().any(|end| has_extension(&path, end)), "{path:?}");
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
        } else if let Err(violation) = world.finish(addr, id, plan, offset) {
            findings.unusable(plan, violation);
        }
    }
    let answers: usize = lost_answers.values().map(|(_, ends)| ends.len()).sum();
    if unanswered > answers {
        findings.note(format!("{unanswered} uploads for {answers} lost answers"));
    }
    unanswered
}

/// A file whose length is often one of those at which something begins.
fn plan(seed: u64, number: u64) -> Plan {
    let mut random = Random::new(seed ^ number);
    let length = match random.below(8) {
        0 => 1,
        1 => 1000,
        2 => 64 * KIB,
        _ => random.below(8 * MIB as u64) as usize + 1,
    };
    Plan::of_length(seed, number, length)
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

/// A client that uploads one file.
struct Uploading<'a> {
    plan: Plan,
    random: Random,
    world: &'a World,
    door: &'a Door,
    findings: &'a Findings,
    over: &'a AtomicBool,
    server: Option<(u64, SocketAddr)>,
    stream: Option<TcpStream>,
}

impl<'a> Uploading<'a> {
    fn new(
        plan: Plan,
        world: &'a World,
        door: &'a Door,
        findings: &'a Findings,
        over: &'a AtomicBool,
    ) -> Self {
        let random = Random::new(plan.seed ^ plan.number.rotate_left(16));
        Self { plan, random, world, door, findings, over, server: None, stream: None }
    }

    /// `None` if the upload was never acknowledged and there is no more time for it.
    fn run(&mut self) -> Result<Option<Left>, Violation> {
        let total = self.plan.content.len();
        let mut id: Option<String> = None;
        let mut offset = 0;
        // What was being synced at a kill may be confirmed after the look.
        let mut cuts = Vec::new();
        while offset < total {
            // Every so often a client never comes back.
            if self.over.load(Ordering::Relaxed) || id.is_some() && self.random.below(16) == 0 {
                return Ok(id.map(|id| self.left(id, offset, cuts, false)));
            }
            let end = total.min(offset + self.random.chunk_length());
            let shape = Shape::ALL[self.random.below(3) as usize];
            let chunk = self.plan.chunk(offset..end, id.as_deref(), shape);
            match (self.call_until_free(&chunk.bytes)?, &id) {
                (Ok(answer), _) => {
                    if let Some(end) = confirmed(&answer, offset, &cuts) {
                        offset = end;
                        continue;
                    }
                    let standing = answer.accepted()?;
                    if standing["offset"] != end {
                        return Err(Violation::Wrong(format!("{standing} after {end} bytes")));
                    }
                    id.get_or_insert_with(|| upload_id(&standing));
                    offset = end;
                    cuts.clear();
                }
                (Err(cut), Some(id)) => {
                    let sent = if cut.sent >= chunk.file_end { end } else { offset };
                    cuts.push(sent);
                    let stands = self.offset(id, offset, &cuts)?;
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
        self.complete(&id)?;
        Ok(Some(self.left(id, total, cuts, true)))
    }

    fn left(&self, id: String, acknowledged: usize, cuts: Vec<usize>, complete: bool) -> Left {
        Left { id, plan: self.plan.clone(), acknowledged, cuts, complete }
    }

    /// Where the upload stands after a kill: where it stood before the chunk in flight, or after it
    /// if the whole chunk was sent, or after an earlier one that a kill has cut short.
    fn offset(
        &mut self,
        id: &str,
        acknowledged: usize,
        cuts: &[usize],
    ) -> Result<usize, Violation> {
        let standing = self.insist(&status_request(id))?.accepted()?;
        let offset = standing["offset"].as_u64().and_then(|offset| usize::try_from(offset).ok());
        let total = self.plan.content.len();
        match offset {
            Some(offset) if offset < acknowledged => Err(Violation::Lost(acknowledged - offset)),
            Some(offset)
                if (offset == acknowledged || cuts.contains(&offset))
                    && standing["total"] == total
                    && standing["status"] == "open"
                    && standing["filename"] == self.plan.filename() =>
            {
                Ok(offset)
            }
            _ => {
                let due = format!("{standing}, and {acknowledged} or {cuts:?} of {total} were due");
                Err(Violation::Wrong(due))
            }
        }
    }

    fn complete(&mut self, id: &str) -> Result<(), Violation> {
        let request = complete_request(id, &self.plan.md5);
        let mut attempts = 0;
        let patience = Instant::now() + DEADLINE;
        let counted = loop {
            attempts += 1;
            if let Ok(answer) = self.call(&request)? {
                if answer.is_held() && Instant::now() < patience {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                }
                // What was being synced at a kill was confirmed after the look.
                if attempts > 1 && answer.json["code"] == "already-complete" {
                    break self.world.deliveries(id);
                }
                break answer.accepted()?["deliveries"].as_u64().unwrap_or_default();
            }
            self.findings.in_completion.fetch_add(1, Ordering::Relaxed);
            let standing = loop {
                let standing = self.insist(&status_request(id))?.accepted()?;
                // A sweep may hold it while it confirms the record.
                if standing["status"] != "finishing" || Instant::now() > patience {
                    break standing;
                }
                thread::sleep(Duration::from_millis(5));
            };
            if standing["status"] == "complete" {
                break self.world.deliveries(id);
            }
        };
        let again = self.insist(&request)?;
        let delivered = self.world.deliveries(id);
        if again.status != 400 || delivered != counted || !(1..=attempts).contains(&counted) {
            return Err(Violation::Wrong(format!(
                "delivered {delivered} times, {counted} of them counted, in {attempts} attempts; \
                 then {} {}",
                again.status, again.json
            )));
        }
        if fs::read(self.world.final_of(id)).ok().as_ref() != Some(&self.plan.content) {
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
            None => connect(addr).map_err(|error| Cut { sent: 0, why: error.kind() }),
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

    /// Repeats it while a sweep after a kill holds the upload to confirm what was being synced.
    fn call_until_free(&mut self, request: &[u8]) -> Result<Result<Answer, Cut>, Violation> {
        let patience = Instant::now() + DEADLINE;
        loop {
            let result = self.call(request)?;
            if !result.as_ref().is_ok_and(Answer::is_held) || Instant::now() > patience {
                return Ok(result);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn next_server(&mut self, last: u64) -> Result<(u64, SocketAddr), Violation> {
        let lost = || Violation::Wrong("the connection ended without a kill".to_owned());
        let server = self.door.after(last).ok_or_else(lost)?;
        self.server = Some(server);
        Ok(server)
    }
}

/// An upload as its client has left it.
struct Left {
    id: String,
    plan: Plan,
    acknowledged: usize,
    /// Where the chunks ended that a kill has cut short.
    cuts: Vec<usize>,
    complete: bool,
}

/// What the clients found.
#[derive(Default)]
struct Findings {
    lost: AtomicU64,
    wrong: AtomicU64,
    vanished: AtomicU64,
    unusable: AtomicU64,
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

    fn unusable(&self, plan: &Plan, violation: Violation) {
        self.unusable.fetch_add(1, Ordering::Relaxed);
        let note = format!("{} cannot be finished: {violation}", plan.filename());
        self.notes.lock().unwrap().push(note);
    }

    fn note(&self, what: String) {
        self.wrong.fetch_add(1, Ordering::Relaxed);
        self.notes.lock().unwrap().push(what);
    }

    fn lost_answer(&self, plan: &Plan, end: usize) {
        let mut lost = self.lost_answers.lock().unwrap();
        lost.entry(plan.filename()).or_insert_with(|| (plan.clone(), Vec::new())).1.push(end);
    }

    fn conclude(&self, unanswered: usize, log: &str) {
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
        let broken = [&self.lost, &self.vanished, &self.wrong, &self.unusable].map(count);
        let [lost, vanished, wrong, unusable] = broken;
        println!("lost {lost}, vanished {vanished}, wrong {wrong}, unusable {unusable}");
        let notes = self.notes.lock().unwrap();
        assert_eq!(broken, [0; 4], "{}\n{log}", notes.join("\n"));
        assert!(!log.contains("panicked"), "{log}");
        assert_ne!(count(&self.in_chunk), 0, "no kill came in a chunk");
    }
}

impl Random {
    /// When to kill next: now and then while clients are still coming back.
    fn moment(&mut self) -> Duration {
        let limit = [20_000, 200_000, 1_000_000][self.below(3) as usize];
        Duration::from_micros(self.below(limit))
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

const CLIENTS: u64 = 8;
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
