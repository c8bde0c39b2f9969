//! Two server processes on one folder: whatever is asked of both at the same moment, an upload has
//! one writer and one end.
//!
//! The default run takes twenty races of each kind, `LONG=1` two hundred. `SEED=N` repeats the
//! random choices, though not their moments.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/client.rs"]
mod client;
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
use std::process::Command;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use client::read_end;
use server::{
    Answer, IN_PLACE, Plan, Random, Server, Shape, World, ask_until_free, cancel_request,
    complete_request, exchange, is_long, read_answer, seed, status, status_request, until,
};
use upload::{Dialect, Upload};

#[test]
fn of_two_chunks_at_one_offset_one_wins_and_the_file_is_its() {
    let pair = Pair::start(&[]);
    let mut random = Random::new(seed());
    let mut found = BTreeMap::new();
    for round in 0..rounds() {
        let plan = Plan::of_length(random.next(), 0, 400_000);
        let plans = [plan.fork(BEGUN), plan];
        let id = pair.servers[0].begin(&plans[0], BEGUN);
        let chunks = plans.each_ref().map(|plan| {
            let end = BEGUN + [1, 20_000, 300_000][random.below(3) as usize];
            (plan.chunk(BEGUN..end, Some(&id), random.shape()).bytes, end)
        });
        let answers = pair.race(&mut random, chunks.each_ref().map(|(bytes, _)| bytes.as_slice()));
        let winners: Vec<_> = (0..2).filter(|which| answers[*which].status == 200).collect();
        let [winner] = winners[..] else { panic!("round {round}: {answers:?}") };
        let loser = &answers[1 - winner];
        assert!([400, 409].contains(&loser.status), "{loser:?}");
        let end = chunks[winner].1;
        for server in &pair.servers {
            assert_eq!(server.offset(&id), end);
        }
        let finisher = &pair.servers[random.below(2) as usize];
        pair.world.finish(finisher.addr, &id, &plans[winner], end).unwrap();
        count(&mut found, "chunk + chunk", &answers);
    }
    pair.conclude(&found);
}

#[test]
fn of_two_completions_one_is_delivered() {
    let pair = Pair::start(&[]);
    let mut random = Random::new(seed());
    let mut found = BTreeMap::new();
    for number in 0..rounds() {
        let plan = Plan::of_length(random.next(), number, 5000);
        let id = pair.servers[0].upload_whole(&plan);
        let request = complete_request(&id, &plan.md5);
        let answers = pair.race(&mut random, [&request, &request]);
        let delivered = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!((delivered, pair.world.deliveries(&id)), (1, 1), "{answers:?}");
        assert!(answers.iter().all(|answer| [200, 400, 409].contains(&answer.status)));
        for server in &pair.servers {
            pair.world.check_complete(server.addr, &id, &plan);
        }
        count(&mut found, "complete + complete", &answers);
    }
    pair.conclude(&found);
}

#[test]
fn a_completion_beside_the_last_chunk_takes_all_of_the_file_or_nothing() {
    let pair = Pair::start(&[]);
    let mut random = Random::new(seed());
    let mut found = BTreeMap::new();
    for _ in 0..rounds() {
        let plan = Plan::of_length(random.next(), 0, 100_000);
        let total = plan.content.len();
        // A short chunk may be done before the completion looks.
        let begun = total - [1, 1, 20_000][random.below(3) as usize];
        let id = pair.servers[0].begin(&plan, begun);
        let chunk = plan.chunk(begun..total, Some(&id), random.shape());
        let request = complete_request(&id, &plan.md5);
        let answers = pair.race(&mut random, [&request, &chunk.bytes]);
        let [completion, chunk] = &answers;
        if completion.status == 200 {
            assert_eq!(chunk.status, 200, "{answers:?}");
            pair.world.check_complete(pair.servers[1].addr, &id, &plan);
        } else {
            assert!([400, 409].contains(&completion.status), "{answers:?}");
            assert_eq!(pair.world.deliveries(&id), 0);
            assert_eq!(chunk.status, 200, "a completion that comes too early stops no chunk");
            assert_eq!(pair.servers[1].offset(&id), total);
            pair.world.finish(pair.servers[1].addr, &id, &plan, total).unwrap();
        }
        count(&mut found, "complete + chunk", &answers);
    }
    pair.conclude(&found);
}

#[test]
fn a_cancelled_upload_is_gone_and_one_that_was_not_stands() {
    let pair = Pair::start(&[]);
    let mut random = Random::new(seed());
    let mut found = BTreeMap::new();
    for round in 0..2 * rounds() {
        let plan = Plan::of_length(random.next(), 0, 100_000);
        let total = plan.content.len();
        let whole = round % 2 == 0;
        let id = pair.servers[0].begin(&plan, if whole { total } else { BEGUN });
        let (kind, other) = if whole {
            ("cancel + complete", complete_request(&id, &plan.md5))
        } else {
            ("cancel + chunk", plan.chunk(BEGUN..total, Some(&id), random.shape()).bytes)
        };
        let answers = pair.race(&mut random, [&cancel_request(&id), &other]);
        let [cancel, other] = &answers;
        if cancel.status == 204 {
            assert!([404, 409].contains(&other.status) || !whole && other.status == 200);
            assert_eq!(pair.world.deliveries(&id), 0, "{answers:?}");
            for server in &pair.servers {
                assert_eq!(server.ask(&status_request(&id)).status, 404);
            }
            until("nothing is left of it", || pair.files_of(&id) == 0);
        } else {
            assert!([400, 409].contains(&cancel.status), "{answers:?}");
            assert_eq!(other.status, 200, "{answers:?}");
            if whole {
                pair.world.check_complete(pair.servers[0].addr, &id, &plan);
            } else {
                pair.world.finish(pair.servers[1].addr, &id, &plan, total).unwrap();
            }
        }
        count(&mut found, kind, &answers);
    }
    pair.conclude(&found);
}

/// Both sweep every second; the chunks come around the moment at which the uploads expire.
#[test]
fn chunks_beside_a_sweep_are_taken_or_come_too_late() {
    let pair = Pair::start(&[("WIRE_EXPIRY_SECONDS", "1")]);
    let mut random = Random::new(seed());
    let plans: Vec<_> =
        (0..rounds()).map(|number| Plan::of_length(random.next(), number, 100_000)).collect();
    let mut found = BTreeMap::new();
    thread::scope(|scope| {
        let uploads: Vec<_> = plans
            .iter()
            .map(|plan| {
                let (pair, mut random) = (&pair, Random::new(random.next()));
                scope.spawn(move || {
                    let server = &pair.servers[random.below(2) as usize];
                    let id = server.begin(plan, BEGUN);
                    let mut stands = BEGUN;
                    loop {
                        let server = &pair.servers[random.below(2) as usize];
                        let end = stands + 1;
                        let answer =
                            server.ask(&plan.chunk(stands..end, Some(&id), random.shape()).bytes);
                        if answer.status != 200 {
                            return (answer, stands);
                        }
                        assert_eq!(answer.json["offset"], end);
                        stands = end;
                        thread::sleep(Duration::from_millis(random.below(20)));
                    }
                })
            })
            .collect();
        for upload in uploads {
            let (last, stands) = upload.join().unwrap();
            assert!([404, 410].contains(&last.status), "after {stands} bytes: {last:?}");
            *found.entry(format!("sweep + chunk: {}", last.status)).or_insert(0) += 1;
        }
    });
    until("all of it is swept", || pair.world.files().is_empty());
    pair.conclude(&found);
}

/// A sweep leaves alone what another process is receiving.
#[test]
fn an_upload_that_expires_while_its_chunk_comes_is_not_swept_from_under_it() {
    // So long that the chunk is under way before.
    let pair = Pair::start(&[("WIRE_EXPIRY_SECONDS", "15")]);
    let [one, other] = &pair.servers;
    let plan = Plan::of_length(seed(), 0, 400_000);
    let id = one.begin(&plan, BEGUN);
    let chunk = plan.chunk(BEGUN..plan.content.len(), Some(&id), Shape::Raw);
    let mut stream = pair.world.send_until_held(one, &chunk, &id, BEGUN);
    let canary = other.begin(&Plan::of_length(1, 2, 1000), 10);
    until("the sweep has gone by", || pair.files_of(&canary) == 0);
    assert_eq!(other.ask(&status_request(&id)).status, 410);
    assert_eq!(pair.files_of(&id), 2);
    stream.write_all(&chunk.bytes[chunk.file_end - 1..]).unwrap();
    let answer = read_answer(&mut stream).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.json);
    drop(stream);
    until("it is swept now", || pair.world.files().is_empty());
    pair.world.no_panic();
}

#[test]
fn an_upload_wanders_between_processes() {
    let pair = Pair::start(&[]);
    let mut random = Random::new(seed());
    for number in 0..rounds() {
        let plan = Plan::of_length(random.next(), number, 300_000);
        let [one, other] = &pair.servers;
        let [first, second] = if number % 2 == 0 { [one, other] } else { [other, one] };
        let id = first.begin(&plan, BEGUN);
        assert_eq!(second.offset(&id), BEGUN);
        let chunk = plan.chunk(BEGUN..200_000, Some(&id), random.shape());
        assert_eq!(second.ask(&chunk.bytes).status, 200);
        assert_eq!(first.offset(&id), 200_000);
        pair.world.finish(first.addr, &id, &plan, 200_000).unwrap();
        pair.world.check_complete(second.addr, &id, &plan);
    }
    println!("{} uploads begun at one, continued at the other, completed at the first", rounds());
    pair.world.no_panic();
}

/// The kernel frees a dead process's lease: its upload goes on at the other at the first request.
/// A connection that died without a word holds its upload in one process; its client is back at the
/// other one.
#[test]
fn a_dead_connection_to_one_process_gives_way_to_a_request_at_the_other() {
    let pair = Pair::start(&[]);
    let mut random = Random::new(seed());
    let tries = if is_long() { 50 } else { 4 };
    for number in 0..tries {
        let plan = Plan::of_length(random.next(), number, 400_000);
        let [dead, other] = &pair.servers;
        let id = dead.begin(&plan, BEGUN);
        let chunk = plan.chunk(BEGUN..400_000, Some(&id), random.shape_with_id());
        let _held = pair.world.send_until_held(dead, &chunk, &id, BEGUN);
        let answer = ask_until_free(other.addr, &chunk.bytes);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(other.offset(&id), 400_000);
        pair.world.finish(dead.addr, &id, &plan, 400_000).unwrap();
        assert_eq!(pair.asked(), 0);
    }
    println!("{tries} dead connections to one process gave way to the other");
}

#[test]
fn the_lease_of_a_killed_process_is_free() {
    let world = World::new();
    let other = world.start(&[]);
    let mut random = Random::new(seed());
    for number in 0..rounds().div_ceil(4) {
        let plan = Plan::of_length(random.next(), 2 * number, 400_000);
        let total = plan.content.len();
        let holder = world.start(random.settings());
        let id = holder.begin(&plan, BEGUN);
        let held = plan.chunk(BEGUN..total, Some(&id), random.shape_with_id());
        let _stream = world.send_until_held(&holder, &held, &id, BEGUN);
        if number == 0 {
            // It cannot hear that somebody asks for the upload.
            holder.stop();
            let early = other.ask(&held.bytes);
            assert_eq!(early.status, 409, "it is held: {}", early.json);
        }
        holder.kill();
        let answer = other.ask(&plan.chunk(BEGUN..BEGUN + 5, Some(&id), Shape::IdFirst).bytes);
        assert_eq!(answer.status, 200, "{}", answer.json);
        world.finish(other.addr, &id, &plan, BEGUN + 5).unwrap();

        let holder = world.start(random.settings());
        let id = holder.upload_whole(&plan);
        // The hook counts its deliveries in this file first: nobody reads from it, so it waits.
        let counter = world.finals().join(format!("{id}.deliveries"));
        assert!(Command::new("mkfifo").arg(&counter).status().unwrap().success());
        let request = complete_request(&id, &plan.md5);
        let mut stream = holder.connect();
        stream.write_all(&request).unwrap();
        until("the hook is called", || {
            status(other.addr, &id).is_ok_and(|standing| standing["status"] == "finishing")
        });
        let early = other.ask(&request);
        assert_eq!(early.status, 400, "it is being completed: {}", early.json);
        holder.kill();
        fs::remove_file(&counter).unwrap();
        world.finish(other.addr, &id, &plan, total).unwrap();
    }
    println!("{} kills in a chunk and as many in the hook", rounds().div_ceil(4));
    world.no_panic();
}

#[test]
fn of_two_patches_at_one_offset_one_writes_and_the_bytes_are_its() {
    let pair = Pair::start(&[]);
    let mut random = Random::new(seed());
    let mut found = BTreeMap::new();
    for round in 0..rounds() {
        let plan = Plan::of_length(random.next(), 0, 400_000);
        let plans = [plan.fork(BEGUN), plan];
        let dialect = Dialect::ALL[round as usize / 5 % 2];
        let mut upload = pair.begin(dialect, &plans[0], BEGUN);
        let ends = [(); 2].map(|()| BEGUN + [1, 20_000, 300_000][random.below(3) as usize]);
        let patches =
            [0, 1].map(|which| patch(&upload, &plans[which].content[..ends[which]], BEGUN));
        let requests = patches.each_ref().map(Vec::as_slice);
        let (kind, answers) = if round % 5 == 0 {
            let left = 1 + random.below((ends[0] - BEGUN) as u64) as usize;
            ("PATCH around PATCH", pair.overlap(&mut random, requests, left))
        } else {
            ("PATCH + PATCH", pair.race(&mut random, requests))
        };
        let stands = pair.shown_by_both(&mut upload);
        let kept = fs::read(pair.world.part_of(upload.id()).unwrap()).unwrap();
        let writer = plans.iter().position(|plan| plan.content[..stands] == kept[..stands]);
        let writer = writer.unwrap_or_else(|| panic!("round {round}: the bytes are of both"));
        for (which, answer) in answers.iter().enumerate() {
            match answer.status {
                204 => assert_eq!((which, ends[which]), (writer, stands), "{answers:?}"),
                // It came too late, or gave way to the other one.
                status => assert!([409, 423, 503].contains(&status), "{answer:?}"),
            }
        }
        upload.plan = plans[writer].clone();
        upload.addr = pair.servers[random.below(2) as usize].addr;
        upload.finish(&pair.world);
        count(&mut found, kind, &answers);
    }
    pair.conclude(&found);
}

#[test]
fn of_two_last_patches_one_is_delivered() {
    let pair = Pair::start(&[]);
    let mut random = Random::new(seed());
    let mut found = BTreeMap::new();
    for number in 0..rounds() {
        let plan = Plan::of_length(random.next(), number, 5000);
        let total = plan.content.len();
        let begun = total - [1, 1, 1000, total][random.below(4) as usize];
        let dialect = Dialect::ALL[number as usize % 2];
        let mut upload = pair.begin(dialect, &plan, begun);
        let last = patch(&upload, &plan.content, begun);
        let answers = pair.race(&mut random, [&last, &last]);
        let done = dialect.taken(true);
        let mut taken = answers.iter().filter(|answer| answer.status == done).count();
        if dialect == Dialect::Draft {
            // The last request may be repeated.
            taken = taken.min(1);
        }
        assert!(answers.iter().all(|answer| [done, 409, 423, 503].contains(&answer.status)));
        assert_eq!(pair.world.deliveries(&upload.name()), taken as u64, "{answers:?}");
        let stands = pair.shown_by_both(&mut upload);
        match taken {
            1 => upload.is_delivered(&pair.world, 1..=1),
            // Each gave way to the other one.
            _ => {
                assert!(taken == 0 && stands < total, "{answers:?}");
                upload.finish(&pair.world);
            }
        }
        count(&mut found, "last PATCH + last PATCH", &answers);
    }
    pair.conclude(&found);
}

#[test]
fn an_upload_that_was_deleted_beside_a_patch_is_gone_or_stands() {
    let pair = Pair::start(&[]);
    let mut random = Random::new(seed());
    let mut found = BTreeMap::new();
    for round in 0..2 * rounds() {
        let plan = Plan::of_length(random.next(), 0, 100_000);
        let total = plan.content.len();
        let (kind, begun, end) = if round % 2 == 0 {
            ("DELETE + last PATCH", total - [1, 50_000][random.below(2) as usize], total)
        } else {
            ("DELETE + PATCH", BEGUN, total - 1)
        };
        let dialect = Dialect::ALL[round as usize / 2 % 2];
        let mut upload = pair.begin(dialect, &plan, begun);
        let delete = dialect.request("DELETE", &upload.path, "", b"");
        let brings = patch(&upload, &plan.content[..end], begun);
        let answers = pair.race(&mut random, [&delete, &brings]);
        let [delete, brings] = &answers;
        let done = dialect.taken(end == total);
        let delivered = end == total && brings.status == done;
        let deliveries = pair.world.deliveries(&upload.name());
        assert_eq!(deliveries, u64::from(delivered), "{answers:?}");
        if delete.status == 204 {
            let allowed = [done, 404, 409, 410, 423, 503];
            assert!(allowed.contains(&brings.status), "{answers:?}");
            pair.is_gone(&mut upload);
            let kept = fs::read(pair.world.final_of(&upload.name())).ok();
            assert!(kept == delivered.then_some(plan.content), "{answers:?}");
        } else {
            let held = [delete.status == dialect.held(), [done, 503].contains(&brings.status)];
            assert_eq!(held, [true; 2], "{answers:?}");
            match pair.shown_by_both(&mut upload) {
                stands if stands == total => upload.is_delivered(&pair.world, 1..=1),
                _ => upload.finish(&pair.world),
            }
        }
        count(&mut found, kind, &answers);
    }
    pair.conclude(&found);
}

/// What becomes of a request for an upload whose client is back at the other process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Older {
    /// Its connection died without a word.
    Stalls,
    /// It wakes up later, with other bytes.
    Wakes,
    /// It brings bytes as before.
    GoesOn,
    /// Its process is killed.
    Dies,
}

/// What either process has shown stays, and the newer request gets the upload.
#[test]
fn a_patch_at_one_process_gives_way_to_a_newer_one_at_the_other() {
    let mut pair = Pair::start(&[]);
    let mut random = Random::new(seed());
    let mut found = BTreeMap::new();
    for number in 0..if is_long() { 200 } else { 8 } {
        let fate = Older::ALL[number as usize % 4];
        let dialect = Dialect::ALL[number as usize / 4 % 2];
        let [old, new] = if random.below(2) == 0 { [0, 1] } else { [1, 0] };
        let plan = Plan::of_length(random.next(), number, 400_000);
        let mut upload = Upload::create_in(dialect, pair.servers[old].addr, plan);
        let first = 1 + random.below(200_000) as usize;
        let mut older = upload.begin_patch(&upload.length());
        older.write_all(&upload.plan.content[..first]).unwrap();
        until("it is under way", || upload.is_held_by(&pair.servers[old]));
        upload.addr = pair.servers[new].addr;
        upload.looks(first);
        if fate == Older::Dies {
            pair.restart(old, random.settings());
        }
        let tries = thread::scope(|scope| {
            if fate == Older::GoesOn {
                let (older, plan) = (&older, upload.plan.clone());
                scope.spawn(move || trickle(older, &plan.content[first..]));
            }
            take_over(&mut upload, &mut random)
        });
        if fate == Older::Wakes {
            // It may have been answered and closed.
            drop(older.write_all(&vec![0; 100_000]));
        }
        drop(older.shutdown(Shutdown::Write));
        read_end(&mut older);
        let stands = upload.shown;
        assert_eq!(pair.shown_by_both(&mut upload), stands);
        upload.is_kept(&pair.world);
        upload.addr = pair.servers[random.below(2) as usize].addr;
        upload.finish(&pair.world);
        let kind = format!("{dialect:?}, {fate:?}: after {tries} tries");
        *found.entry(kind).or_insert(0) += 1;
    }
    until("no process asks for an upload any more", || pair.asked() == 0);
    pair.conclude(&found);
}

/// Sends some bytes, but not the last, wherever the upload stands, until they are taken; gives how
/// many requests that took.
fn take_over(upload: &mut Upload, random: &mut Random) -> u32 {
    let mut tries = 0;
    until("the newer request gets the upload", || {
        tries += 1;
        let at = upload.offset_when_free();
        let end = at + 1 + random.below((upload.total() - 1 - at) as u64) as usize;
        let reply = upload.patch(at..end, "");
        // The other process had no time to hear of it, or the upload has grown since it was looked
        // at. In the draft, to look ends who makes it grow.
        let grown = upload.dialect == Dialect::Tus && reply.status == 409;
        assert!(grown || [204, upload.dialect.held()].contains(&reply.status), "{reply:?}");
        reply.status == 204
    });
    tries
}

/// Sends bytes bit by bit, but not the last ones, until nobody wants them.
fn trickle(mut stream: &TcpStream, bytes: &[u8]) {
    for piece in bytes[..bytes.len() - 100_000].chunks(100) {
        if stream.write_all(piece).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_delete_at_one_process_ends_a_patch_at_the_other() {
    let pair = Pair::start(&[]);
    let mut random = Random::new(seed());
    let tries = if is_long() { 100 } else { 8 };
    let mut again = 0;
    for number in 0..tries {
        let dialect = Dialect::ALL[number as usize % 2];
        let [old, new] = if random.below(2) == 0 { [0, 1] } else { [1, 0] };
        let plan = Plan::of_length(random.next(), number, 400_000);
        let mut upload = Upload::create_in(dialect, pair.servers[old].addr, plan);
        let first = 1 + random.below(300_000) as usize;
        let mut older = upload.begin_patch(&upload.length());
        older.write_all(&upload.plan.content[..first]).unwrap();
        until("it is under way", || upload.is_held_by(&pair.servers[old]));
        upload.addr = pair.servers[new].addr;
        upload.looks(first);
        until("it is deleted", || {
            let reply = upload.delete();
            // The other process had no time to hear of it.
            assert!([204, dialect.held()].contains(&reply.status), "{reply:?}");
            again += u32::from(reply.status == dialect.held());
            reply.status == 204
        });
        drop(older.write_all(&upload.plan.content[first..]));
        drop(older.shutdown(Shutdown::Write));
        read_end(&mut older);
        pair.is_gone(&mut upload);
        assert_eq!(pair.world.deliveries(&upload.name()), 0);
    }
    println!("{tries} requests at one process ended by the other, which asked {again} times more");
    pair.world.no_panic();
}

#[test]
fn an_upload_in_patches_wanders_between_processes() {
    let pair = Pair::start(&[]);
    let mut random = Random::new(seed());
    let mut requests = 0;
    for number in 0..rounds() {
        let plan = Plan::of_length(random.next(), number, 300_000);
        let mut upload = pair.begin(Dialect::ALL[number as usize % 2], &plan, BEGUN);
        while upload.shown < upload.total() {
            upload.addr = pair.servers[random.below(2) as usize].addr;
            let length = [1, 1000, 100_000, 300_000][random.below(4) as usize];
            let (at, end) = (upload.shown, upload.total().min(upload.shown + length));
            assert_eq!(upload.patch(at..end, "").told(), upload.taken(end));
            assert_eq!(pair.shown_by_both(&mut upload), end);
            requests += 1;
        }
        upload.is_delivered(&pair.world, 1..=1);
    }
    println!("{} uploads in {requests} requests, each to one of two processes", rounds());
    pair.world.no_panic();
}

/// A request with the bytes from some place on.
fn patch(upload: &Upload, content: &[u8], at: usize) -> Vec<u8> {
    let headers = upload.dialect.patch_headers(at, content.len() == upload.total());
    upload.dialect.request("PATCH", &upload.path, &headers, &content[at..])
}

/// Two servers on one folder, of which one makes calls on files in place.
struct Pair {
    servers: [Server; 2],
    world: World,
}

impl Pair {
    fn start(settings: &[(&str, &str)]) -> Self {
        let world = World::new();
        let in_place = [settings, &[IN_PLACE]].concat();
        let servers = [world.start(settings), world.start(&in_place)];
        Self { servers, world }
    }

    /// Sends two requests at the same moment or nearly so, each to a server of its own.
    fn race(&self, random: &mut Random, requests: [&[u8]; 2]) -> [Answer; 2] {
        let swapped = random.below(2) == 0;
        let start = Barrier::new(2);
        let start = &start;
        thread::scope(|scope| {
            let runners = [0, 1].map(|which| {
                let server = &self.servers[which ^ usize::from(swapped)];
                let late = Duration::from_micros(random.below(2) * random.below(2000));
                scope.spawn(move || {
                    let mut stream = server.connect();
                    start.wait();
                    thread::sleep(late);
                    exchange(&mut stream, requests[which]).unwrap()
                })
            });
            runners.map(|runner| runner.join().unwrap())
        })
    }

    fn files_of(&self, id: &str) -> usize {
        let ours = |path: &&std::path::PathBuf| path.file_stem().is_some_and(|stem| stem == id);
        self.world.files().iter().filter(ours).count()
    }

    /// Sends the last bytes of the first request after the other one has begun, and perhaps ended.
    fn overlap(&self, random: &mut Random, requests: [&[u8]; 2], left: usize) -> [Answer; 2] {
        let swapped = usize::from(random.below(2) == 0);
        let mut streams = [swapped, 1 - swapped].map(|which| self.servers[which].connect());
        let [first, second] = &mut streams;
        let (begin, rest) = requests[0].split_at(requests[0].len() - left);
        first.write_all(begin).unwrap();
        thread::sleep(Duration::from_millis(random.below(2) * random.below(700)));
        thread::scope(|scope| {
            let second = scope.spawn(move || exchange(second, requests[1]).unwrap());
            thread::sleep(Duration::from_millis(random.below(700)));
            [exchange(first, rest).unwrap(), second.join().unwrap()]
        })
    }

    /// Begins an upload at the first server.
    fn begin(&self, dialect: Dialect, plan: &Plan, length: usize) -> Upload {
        let mut upload = Upload::create_in(dialect, self.servers[0].addr, plan.clone());
        if length > 0 {
            assert_eq!(upload.patch(0..length, "").told(), upload.taken(length));
        }
        upload
    }

    /// Where both show an upload that nobody works on.
    fn shown_by_both(&self, upload: &mut Upload) -> usize {
        let [one, other] = self.servers.each_ref().map(|server| {
            upload.addr = server.addr;
            upload.offset_when_free()
        });
        assert_eq!(one, other);
        one
    }

    fn is_gone(&self, upload: &mut Upload) {
        for server in &self.servers {
            upload.addr = server.addr;
            assert_eq!(upload.head().status, 404);
        }
        until("nothing is left of it", || self.files_of(upload.id()) == 0);
    }

    fn restart(&mut self, which: usize, settings: &[(&str, &str)]) {
        let server = self.world.start(settings);
        std::mem::replace(&mut self.servers[which], server).kill();
    }

    /// How many requests for uploads of the other process there are.
    fn asked(&self) -> usize {
        let files = self.world.files();
        files.iter().filter(|path| path.parent().unwrap().ends_with("asked")).count()
    }

    fn conclude(&self, found: &BTreeMap<String, u32>) {
        println!("{found:?}");
        self.world.no_panic();
    }
}

fn count(found: &mut BTreeMap<String, u32>, kind: &str, answers: &[Answer; 2]) {
    let [one, other] = answers.each_ref().map(|answer| answer.status);
    *found.entry(format!("{kind}: {one} + {other}")).or_insert(0) += 1;
}

impl Older {
    const ALL: [Self; 4] = [Self::Stalls, Self::Wakes, Self::GoesOn, Self::Dies];
}

impl Random {
    fn shape(&mut self) -> Shape {
        Shape::ALL[self.below(3) as usize]
    }

    /// One with which the server knows the upload before the bytes come.
    fn shape_with_id(&mut self) -> Shape {
        [Shape::Raw, Shape::IdFirst][self.below(2) as usize]
    }
}

fn rounds() -> u64 {
    if is_long() { 200 } else { 20 }
}

/// How much of an upload is there before the race.
const BEGUN: usize = 1000;
