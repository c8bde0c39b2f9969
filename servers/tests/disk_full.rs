//! A disk without room, without inodes, or read-only for a while, below a real server: what it
//! cannot do it refuses, nothing that was acknowledged is lost, and all goes on afterwards.
//!
//! The disk is a tmpfs, mounted in a process with mounts of its own: that takes root, or a system
//! that lets users have namespaces.

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

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use client::{Reply, read_reply};
use server::{
    Answer, Form, Plan, Random, SETTINGS, SYNC, Server, Settings, Shape, World, ask,
    cancel_request, complete_request, is_long, is_set, request, rerun, seed, status,
    status_request, until, upload_id,
};
use upload::{BYTES, Dialect, Upload};

#[test]
fn an_upload_that_runs_out_of_room_goes_on_when_there_is_room() {
    if !may_mount("an_upload_that_runs_out_of_room_goes_on_when_there_is_room") {
        return;
    }
    for settings in SETTINGS {
        let (disk, world) = disk("size=8m");
        let server = world.start(settings);
        let other = Plan::of_length(seed(), 0, 200_000);
        let other_id = server.begin(&other, 1000);
        let plan = Plan::of_length(other.seed, 2, 5_000_000);
        let id = server.begin(&plan, 1000);
        disk.leave(500);

        let mut stands = 1000;
        let full = loop {
            let end = stands + 300_000;
            let answer = server.ask(&plan.chunk(stands..end, Some(&id), Shape::Raw).bytes);
            if answer.status != 200 {
                break answer;
            }
            stands = end;
        };
        refused(&full, &[507]);
        assert!(stands > 1000, "no chunk found room");
        assert_eq!(server.offset(&id), stands);
        assert_eq!(server.offset(&other_id), 1000);
        until("the room of the refused chunk is free again", || {
            world.stored() == stands as u64 + 1000
        });

        disk.leave(0);
        let files = world.files();
        for length in [1, 1000, 300_000] {
            for shape in Shape::ALL {
                let new = Plan::of_length(other.seed, 4, length);
                refused(&server.ask(&new.chunk(0..length, None, shape).bytes), &[507]);
            }
        }
        until("a refused upload leaves no file", || world.files() == files);

        server.kill();
        let server = world.start(settings);
        assert_eq!([server.offset(&id), server.offset(&other_id)], [stands, 1000]);
        refused(
            &server.ask(&plan.chunk(stands..stands + 9000, Some(&id), Shape::Raw).bytes),
            &[507],
        );
        assert_eq!(server.ask(&cancel_request(&other_id)).status, 204);
        assert_eq!(server.offset(&id), stands);
        let room = plan.chunk(stands..stands + 1, Some(&id), Shape::Raw);
        assert_eq!(server.ask(&room.bytes).status, 200, "the cancelled upload's room is free");
        disk.make_room();
        world.finish(server.addr, &id, &plan, stands + 1).unwrap();
        println!("{settings:?}: {stands} bytes found room, and the rest when there was some");
        world.no_panic();
    }
}

/// From nothing to twice a chunk of 32 KiB, page by page: first there is no room for its bytes, then
/// none for its line in the record, which may end within a page or at one's end.
#[test]
fn whatever_part_of_a_chunk_finds_no_room_the_upload_stands() {
    if !may_mount("whatever_part_of_a_chunk_finds_no_room_the_upload_stands") {
        return;
    }
    for settings in SETTINGS {
        let (disk, world) = disk("size=8m");
        let server = world.start(settings);
        let seed = seed();
        let (mut accepted, mut full, mut only_line) = (0, 0, 0);
        for pages in (0..16).filter(|pages| is_long() || *pages < 2 || (7..11).contains(pages)) {
            for record_room in [2000, 100, 0] {
                for shape in Shape::ALL {
                    let plan = Plan::of_length(seed, 0, 100_000);
                    let id = begin_with(&world, &server, &plan, &[1000], record_room);
                    let chunk = plan.chunk(1000..1000 + 32 * KIB, Some(&id), shape);
                    let before = world.files();
                    disk.leave(pages);
                    let answer = server.ask(&chunk.bytes);
                    let stands = server.offset(&id);
                    if answer.status == 200 {
                        accepted += 1;
                        assert_eq!(stands, 1000 + 32 * KIB);
                    } else {
                        full += 1;
                        refused(&answer, &[507]);
                        assert_eq!(stands, 1000);
                    }
                    // The first page of the bytes is there already.
                    if let Shape::Raw = shape {
                        let due = 8 + u64::from(record_room < 200);
                        assert_eq!(answer.status == 200, pages >= due, "{pages} {record_room}");
                        only_line += u32::from(due == 9 && pages == 8);
                    }
                    until("no file is left", || world.files() == before);
                    disk.make_room();
                    world.finish(server.addr, &id, &plan, stands).unwrap();
                }
            }
            let plan = Plan::of_length(seed, 2 * pages, 32 * KIB);
            let before = world.files();
            disk.leave(pages);
            let answer = server.ask(&plan.chunk(0..32 * KIB, None, Shape::Raw).bytes);
            if answer.status == 200 {
                accepted += 1;
                disk.make_room();
                world.finish(server.addr, &upload_id(&answer.json), &plan, 32 * KIB).unwrap();
            } else {
                full += 1;
                refused(&answer, &[507]);
                until("no file is left", || world.files() == before);
                disk.make_room();
            }
        }
        println!(
            "{settings:?}: {accepted} chunks accepted, {full} refused, {only_line} of them for \
             want of room for a line"
        );
        world.no_panic();
    }
}

/// A completion writes lines to the record, and any of them may be the one without room.
#[test]
fn a_completion_on_a_full_disk_works_or_can_be_repeated() {
    if !may_mount("a_completion_on_a_full_disk_works_or_can_be_repeated") {
        return;
    }
    let step = if is_long() { 10 } else { 70 };
    let jitter = Random::new(seed()).below(step as u64) as usize;
    for settings in SETTINGS {
        let (disk, world) = disk("size=8m");
        let server = world.start(settings);
        let plan = Plan::of_length(seed(), 0, 5000);
        let (mut worked, mut by_layer, mut by_hook) = (0, 0, 0);
        for record_room in (jitter..1400).step_by(step) {
            let id = begin_with(&world, &server, &plan, &[plan.content.len()], record_room);
            disk.leave(0);
            let request = complete_request(&id, &plan.md5);
            let answer = server.ask(&request);
            if answer.status == 200 {
                worked += 1;
            } else {
                // The hook moves the file, which writes to the record as well.
                let hook = world.deliveries(&id) > 0;
                refused(&answer, if hook { &[500, 507] } else { &[507] });
                *(if hook { &mut by_hook } else { &mut by_layer }) += 1;
                assert_eq!(server.offset(&id), plan.content.len());
                disk.make_room();
                let answer = server.ask(&request);
                assert_eq!(answer.status, 200, "{record_room}: {}", answer.json);
            }
            world.check_complete(server.addr, &id, &plan);
            disk.make_room();
        }
        println!(
            "{settings:?}: {worked} completions worked on a full disk, {by_layer} were refused \
             before the hook and {by_hook} after it, and worked later"
        );
        assert_ne!(worked * by_layer, 0, "the disk was never full, or always");
        world.no_panic();
    }
}

#[test]
fn a_check_says_what_the_disk_cannot_do_and_leaves_nothing() {
    if !may_mount("a_check_says_what_the_disk_cannot_do_and_leaves_nothing") {
        return;
    }
    for settings in SETTINGS {
        let (disk, world) = disk("size=8m,nr_inodes=200");
        let server = world.start(settings);
        let plan = Plan::of_length(seed(), 0, 100_000);
        let id = server.begin(&plan, 1000);
        let files = world.files();
        let check = |status: u16| {
            let answer = server.ask(&request("GET", "/health", "", b""));
            assert_eq!(answer.status, status, "{answer:?}");
            assert_eq!(world.files(), files);
            answer.json
        };
        let fails = |detail: &str, steps: &[&str]| {
            let json = check(503);
            assert_eq!(json["detail"], detail);
            let why = json["why"].as_str().unwrap();
            assert!(why.contains(world.data().to_str().unwrap()), "{why}");
            assert!(steps.iter().any(|step| why.contains(step)), "{why}");
        };
        assert!(check(200)["free_bytes"].as_u64().unwrap() > 7 << 20);
        disk.leave(0);
        fails("the store is full", &["write "]);
        // The file that is locked has a page, and the other one has none.
        disk.leave(1);
        fails("the store is full", &["write "]);
        disk.leave(4);
        assert!(check(200)["free_bytes"].as_u64().unwrap() <= 4 * PAGE as u64);
        disk.make_room();
        disk.leave_inodes(1);
        fails("the store is full", &["create "]);
        disk.leave_inodes(100);
        disk.remount("ro");
        fails("the store failed", &["create "]);
        disk.remount("rw");
        check(200);
        world.finish(server.addr, &id, &plan, 1000).unwrap();
        world.no_panic();
    }
}

#[test]
fn an_upload_can_be_cancelled_when_not_a_byte_is_left() {
    if !may_mount("an_upload_can_be_cancelled_when_not_a_byte_is_left") {
        return;
    }
    for settings in SETTINGS {
        let (disk, world) = disk("size=8m");
        let server = world.start(settings);
        let seed = seed();
        let rooms = [0, 1, 10, 23, 24, 25, 100, 1000];
        for record_room in rooms {
            for length in [1, 5000, 100_000] {
                let plan = Plan::of_length(seed, 0, 200_000);
                let id = begin_with(&world, &server, &plan, &[length], record_room);
                disk.leave(0);
                let answer = server.ask(&cancel_request(&id));
                assert_eq!(answer.status, 204, "{record_room} {length}: {}", answer.json);
                assert_eq!(server.ask(&server::status_request(&id)).status, 404);
                assert_eq!(world.files(), Vec::<PathBuf>::new());
                let new = Plan::of_length(seed, 2, 1000);
                let id = server.begin(&new, 1000);
                world.finish(server.addr, &id, &new, 1000).unwrap();
                disk.make_room();
                fs::remove_dir_all(world.data().join("chunked_uploads")).unwrap();
            }
        }
        println!("{settings:?}: {} uploads cancelled on a full disk", rooms.len() * 3);
        world.no_panic();
    }
}

#[test]
fn without_an_inode_uploads_go_on_and_new_ones_are_refused() {
    if !may_mount("without_an_inode_uploads_go_on_and_new_ones_are_refused") {
        return;
    }
    for settings in SETTINGS {
        let (disk, world) = disk("size=8m,nr_inodes=200");
        let server = world.start(settings);
        let seed = seed();
        let plan = Plan::of_length(seed, 0, 300_000);
        let [id, other] = [server.begin(&plan, 1000), server.begin(&plan, 1000)];
        let (mut begun, mut full) = (0, 0);
        for inodes in 0..8 {
            disk.leave_inodes(inodes);
            let before = world.files();
            let new = Plan::of_length(seed, 2, 1000);
            let answer = server.ask(&new.chunk(0..1000, None, Shape::Raw).bytes);
            if answer.status == 200 {
                begun += 1;
                assert_eq!(server.ask(&cancel_request(&upload_id(&answer.json))).status, 204);
            } else {
                full += 1;
                refused(&answer, &[507]);
            }
            until("no file is left", || world.files() == before);
        }
        assert_ne!(begun * full, 0, "there was always room, or never");

        disk.leave_inodes(0);
        let mut stands = 1000;
        // Until the record is due for a rewriting, for which there is no inode.
        while fs::metadata(record(&world, &id)).unwrap().len() < 70 * KIB as u64 {
            let chunk = plan.chunk(stands..stands + 1, Some(&id), Shape::Raw);
            assert_eq!(server.ask(&chunk.bytes).status, 200);
            stands += 1;
        }
        let late = plan.chunk(stands..stands + 1, Some(&id), Shape::IdLast);
        refused(&server.ask(&late.bytes), &[507]);
        server.kill();
        let server = world.start(settings);
        assert_eq!([server.offset(&id), server.offset(&other)], [stands, 1000]);
        assert_eq!(server.ask(&cancel_request(&other)).status, 204);
        world.finish(server.addr, &id, &plan, stands).unwrap();
        println!(
            "{settings:?}: {full} uploads refused for want of an inode, {begun} begun; one grew \
             by {} chunks and was completed without one, one cancelled",
            stands - 1000
        );
        world.no_panic();
    }
}

#[test]
fn a_disk_that_is_read_only_for_a_while_loses_nothing() {
    if !may_mount("a_disk_that_is_read_only_for_a_while_loses_nothing") {
        return;
    }
    for settings in SETTINGS {
        let (disk, world) = disk("size=8m");
        let server = world.start(settings);
        let plan = Plan::of_length(seed(), 0, 300_000);
        let total = plan.content.len();
        let [open, cancelled] = [(); 2].map(|()| server.begin(&plan, 100_000));
        let whole = server.begin(&plan, total);
        let done = server.begin(&plan, total);
        world.finish(server.addr, &done, &plan, total).unwrap();
        disk.remount("ro");
        let files = world.files();
        let look = |server: &Server| {
            assert_eq!(server.offset(&open), 100_000);
            assert_eq!(server.offset(&cancelled), 100_000);
            assert_eq!(server.offset(&whole), total);
            assert_eq!(status(server.addr, &done).unwrap()["status"], "complete");
        };
        let try_all = |server: &Server| {
            let mut requests =
                vec![complete_request(&whole, &plan.md5), cancel_request(&cancelled)];
            for shape in Shape::ALL {
                requests.push(plan.chunk(100_000..200_000, Some(&open), shape).bytes);
                requests.push(plan.chunk(0..1000, None, shape).bytes);
            }
            for request in &requests {
                refused(&ask(server.addr, request).unwrap(), &[500, 507]);
                look(server);
            }
            requests.len()
        };
        look(&server);
        let mut tried = try_all(&server);
        server.kill();
        let server = world.start(settings);
        look(&server);
        tried += try_all(&server);
        assert_eq!(world.files(), files);
        disk.remount("rw");
        look(&server);
        assert_eq!(server.ask(&cancel_request(&cancelled)).status, 204);
        world.finish(server.addr, &open, &plan, 100_000).unwrap();
        world.finish(server.addr, &whole, &plan, total).unwrap();
        let id = server.begin(&plan, 1000);
        world.finish(server.addr, &id, &plan, 1000).unwrap();
        println!("{settings:?}: {tried} requests refused while the disk was read-only");
        world.no_panic();
    }
}

/// A kill in the middle of a commit can leave the record's last line whole but for its newline.
#[test]
fn a_line_that_a_kill_cut_short_can_be_read_where_nothing_can_be_written() {
    if !may_mount("a_line_that_a_kill_cut_short_can_be_read_where_nothing_can_be_written") {
        return;
    }
    for settings in SETTINGS {
        let (disk, world) = disk("size=8m");
        let server = world.start(settings);
        let plan = Plan::of_length(seed(), 0, 100_000);
        // The newline ends a page, is alone in one, or is in the middle of one.
        let [ids @ .., cancelled] = [0, PAGE - 1, 2000, 2000].map(|record_room| {
            begin_with(&world, &server, &plan, &[BEGUN, 2 * BEGUN], record_room)
        });
        server.kill();
        for id in ids.iter().chain([&cancelled]) {
            let record = File::options().write(true).open(record(&world, id)).unwrap();
            record.set_len(record.metadata().unwrap().len() - 1).unwrap();
        }
        let mut told = [BEGUN; 3];
        let mut look = |server: &Server| {
            let offsets = ids.each_ref().map(|id| server.offset(id));
            for (told, offset) in told.iter_mut().zip(offsets) {
                assert!((*told..=2 * BEGUN).contains(&offset), "{offset} after {told} was told");
                *told = offset;
            }
            offsets
        };
        disk.remount("ro");
        let server = world.start(settings);
        let read_only = if !settings.contains(&SYNC) {
            look(&server)
        } else {
            // Whether it was synced cannot be told, nor made sure.
            for id in &ids {
                assert_eq!(server.ask(&status_request(id)).status, 500);
            }
            [BEGUN; 3]
        };
        disk.remount("rw");
        disk.leave(0);
        let full = look(&server);
        assert_eq!(server.ask(&cancel_request(&cancelled)).status, 204);
        disk.make_room();
        let in_the_end = look(&server);
        for (id, offset) in ids.iter().zip(in_the_end) {
            world.finish_after_kill(server.addr, id, &plan, offset, &[2 * BEGUN]).unwrap();
        }
        println!(
            "{settings:?}: uploads with a cut line stand at {read_only:?} on a read-only disk, \
             {full:?} on a full one, {in_the_end:?} when there is room"
        );
        world.no_panic();
    }
}

/// What was shown is there while the rest finds no room, whether the request came at once or is
/// under way for a while.
#[test]
fn a_patch_that_runs_out_of_room_goes_on_from_where_head_shows_it() {
    if !may_mount("a_patch_that_runs_out_of_room_goes_on_from_where_head_shows_it") {
        return;
    }
    for (dialect, settings) in CASES {
        let (mut found, mut kept) = (0, 0);
        let mut random = Random::new(seed());
        for _ in 0..if is_long() { 20 } else { 1 } {
            let (disk, world) = disk("size=8m");
            let server = world.start(settings);
            let other = Plan::of_length(random.next(), 0, 200_000);
            let id = server.begin(&other, 1000);
            let mut beside = Upload::create_in(dialect, server.addr, other.clone());
            assert_eq!(beside.patch(0..1000, "").told(), (204, Some(1000)));
            let plan = Plan::of_length(random.next(), 2, 5_000_000);
            let mut upload = Upload::create_in(dialect, server.addr, plan);

            // It is under way when the room goes.
            let first = 1 + random.below(300_000) as usize;
            let mut stream = upload.begin_patch(&upload.length());
            stream.write_all(&upload.plan.content[..first]).unwrap();
            match dialect {
                Dialect::Tus => upload.shows(first),
                // A look would end the request.
                Dialect::Draft => until("it is under way", || upload.is_held_by(&server)),
            }
            disk.leave(random.below(50));
            // The refusal may come before its end.
            drop(stream.write_all(&upload.plan.content[first..]));
            refused_with(dialect, &read_reply(&mut stream, "PATCH").unwrap(), &[507]);
            kept += usize::from(upload.offset() > first);
            only_what_counts_is_stored(&world, &mut upload);

            // It comes at once, for the rest of the file or for a part of it.
            disk.make_room();
            disk.leave(500);
            let full = loop {
                let end = upload.shown + [300_000, 1, 5_000_000][random.below(3) as usize];
                let end = end.min(upload.total());
                let reply = upload.patch(upload.shown..end, "");
                if reply.told() != upload.taken(end) {
                    break reply;
                }
                found += 1;
            };
            refused_with(dialect, &full, &[507]);
            only_what_counts_is_stored(&world, &mut upload);
            assert_eq!((server.offset(&id), beside.offset()), (1000, 1000));

            disk.leave(0);
            creations_leave_nothing(dialect, &world, &server);
            let stands = upload.offset();
            server.kill();
            let server = world.start(settings);
            (upload.addr, beside.addr) = (server.addr, server.addr);
            assert_eq!((upload.offset_when_free(), beside.offset_when_free()), (stands, 1000));
            refused_with(dialect, &upload.patch(stands..stands + 9000, ""), &[507]);
            assert_eq!(beside.delete().status, 204);
            only_what_counts_is_stored(&world, &mut upload);
            let at = upload.shown;
            assert_eq!(upload.patch(at..at + 1, "").told(), (204, Some(at + 1)));
            disk.make_room();
            upload.finish(&world);
            world.finish(server.addr, &id, &other, 1000).unwrap();
            world.no_panic();
        }
        println!(
            "{dialect:?} {settings:?}: {found} requests found room; {kept} of those that lost it on \
             their way kept more than was shown"
        );
    }
}

/// The bytes of a refused request that do not count take no room.
fn only_what_counts_is_stored(world: &World, upload: &mut Upload) {
    let stands = upload.offset();
    until("the room of the refused request is free again", || {
        world.stored_of(upload.id()) == stands as u64
    });
    upload.is_kept(world);
}

/// On a disk without room.
fn creations_leave_nothing(dialect: Dialect, world: &World, server: &Server) {
    let files = world.files();
    for (length, with) in [(0, 0), (1, 0), (100_000, 0), (1, 1), (100_000, 1), (100_000, 100_000)] {
        refused_with(dialect, &create(dialect, server, length, &vec![7; with]), &[507]);
    }
    until("a refused upload leaves no file", || world.files() == files);
}

/// Whatever part of the bytes, of the line or of a new record finds no room.
#[test]
fn whatever_part_of_a_patch_finds_no_room_the_upload_stands() {
    if !may_mount("whatever_part_of_a_patch_finds_no_room_the_upload_stands") {
        return;
    }
    for (dialect, settings) in CASES {
        let (disk, world) = disk("size=8m");
        let server = world.start(settings);
        let seed = seed();
        let (mut accepted, mut full) = ([0; 2], [0; 2]);
        for pages in (0..16).filter(|pages| is_long() || *pages < 3 || (7..11).contains(pages)) {
            for record_room in [2000, 100, 0] {
                let number = 2 * (3 * pages + record_room as u64);
                let plan = Plan::of_length(seed, number, 100_000);
                let mut upload = begin_in(dialect, &world, &server, &plan, 1000, record_room);
                let end = 1000 + 32 * KIB;
                let before = world.files();
                disk.leave(pages);
                let reply = upload.patch(1000..end, "");
                if reply.status == 204 {
                    accepted[0] += 1;
                    assert_eq!(reply.offset(), Some(end));
                } else {
                    full[0] += 1;
                    refused_with(dialect, &reply, &[507]);
                }
                only_what_counts_is_stored(&world, &mut upload);
                assert!(upload.shown <= end);
                until("no file is left", || world.files() == before);
                disk.make_room();
                upload.finish(&world);
            }
            for with in [0, 32 * KIB] {
                let before = world.files();
                disk.leave(pages);
                let reply = create(dialect, &server, 100_000, &vec![7; with]);
                if reply.status == 201 {
                    accepted[1] += 1;
                    let path = reply.header("location").unwrap();
                    let shown = server.ask(&dialect.request("HEAD", path, "", b""));
                    assert!(shown.head.contains(&format!("\nupload-offset: {with}\r")));
                    let deleted = server.ask(&dialect.request("DELETE", path, "", b""));
                    assert_eq!(deleted.status, 204, "{deleted:?}");
                } else {
                    full[1] += 1;
                    refused_with(dialect, &reply, &[507]);
                }
                until("no file is left", || world.files() == before);
                disk.make_room();
            }
        }
        println!(
            "{dialect:?} {settings:?}: {} requests and {} creations found room, {} and {} did not",
            accepted[0], accepted[1], full[0], full[1]
        );
        for count in accepted.into_iter().chain(full) {
            assert_ne!(count, 0, "there was always room, or never");
        }
        world.no_panic();
    }
}

/// The last byte, and then three lines of the record: any of them may be the one without room. A
/// client that is refused must not find the upload complete.
#[test]
fn the_last_byte_on_a_full_disk_counts_or_can_be_sent_again() {
    if !may_mount("the_last_byte_on_a_full_disk_counts_or_can_be_sent_again") {
        return;
    }
    let step = if is_long() { 10 } else { 70 };
    for (dialect, settings) in CASES {
        let (disk, world) = disk("size=8m");
        let server = world.start(settings);
        let mut random = Random::new(seed());
        let total = 5000;
        let jitter = random.below(step as u64) as usize;
        let (mut worked, mut by_layer, mut by_hook) = (0, 0, 0);
        for record_room in (jitter..1400).step_by(step) {
            let plan = Plan::of_length(random.next(), 0, total);
            // The page of the last bytes is there.
            let begun = [total - 1, 4097][random.below(2) as usize];
            let mut upload = begin_in(dialect, &world, &server, &plan, begun, record_room);
            disk.leave(0);
            let reply = upload.patch(begun..total, "");
            if reply.told() == upload.taken(total) {
                worked += 1;
            } else {
                let called = world.deliveries(&upload.name());
                *(if called > 0 { &mut by_hook } else { &mut by_layer }) += 1;
                is_not_taken(&world, &mut upload, &reply);
                let again = upload.patch(upload.shown..total, "");
                if again.told() != upload.taken(total) {
                    is_not_taken(&world, &mut upload, &again);
                    disk.make_room();
                    let reply = upload.patch(upload.shown..total, "");
                    assert_eq!(reply.told(), upload.taken(total), "{record_room}: {reply:?}");
                }
            }
            disk.make_room();
            let called = world.deliveries(&upload.name());
            // In the draft the last request may be repeated.
            let again = if dialect == Dialect::Tus { 409 } else { 200 };
            assert_eq!(upload.patch(total - 1..total, "").told(), (again, Some(total)));
            upload.is_delivered(&world, called..=called);
        }
        println!(
            "{dialect:?} {settings:?}: {worked} last bytes counted on a full disk, {by_layer} were \
             refused before the hook and {by_hook} after it, and counted later"
        );
        assert_ne!(worked * by_layer, 0, "the disk was never full, or always");
        world.no_panic();
    }
}

/// The end of an upload was refused.
fn is_not_taken(world: &World, upload: &mut Upload, reply: &Reply) {
    // The hook moves the file, which writes to the record as well.
    let called = world.deliveries(&upload.name()) > 0;
    assert!(reply.status == 507 || called && reply.status == 500, "{reply:?}");
    assert!(upload.offset() < upload.total());
    assert!(!called || upload.shown == upload.total() - 1);
}

#[test]
fn without_an_inode_a_patch_goes_on_and_a_creation_is_refused() {
    if !may_mount("without_an_inode_a_patch_goes_on_and_a_creation_is_refused") {
        return;
    }
    for (dialect, settings) in CASES {
        let (disk, world) = disk("size=8m,nr_inodes=200");
        let server = world.start(settings);
        let mut random = Random::new(seed());
        let [mut upload, beside] = [0, 2].map(|number| {
            let plan = Plan::of_length(random.next(), number, 300_000);
            Upload::create_in(dialect, server.addr, plan)
        });
        let (mut begun, mut full) = (0, 0);
        for inodes in 0..8 {
            for with in [0, 1000] {
                disk.leave_inodes(inodes);
                let before = world.files();
                let reply = create(dialect, &server, 100_000, &vec![7; with]);
                if reply.status == 201 {
                    begun += 1;
                    let path = reply.header("location").unwrap();
                    let delete = dialect.request("DELETE", path, "", b"");
                    assert_eq!(server.ask(&delete).status, 204);
                } else {
                    full += 1;
                    refused_with(dialect, &reply, &[507]);
                }
                until("no file is left", || world.files() == before);
            }
        }
        assert_ne!(begun * full, 0, "there was always room, or never");

        // The bytes of this upload have no file yet.
        disk.leave_inodes(1);
        for length in [1, 1000, 100_000] {
            let at = upload.shown;
            let reply = upload.patch(at..at + length, "");
            assert_eq!(reply.told(), (204, Some(at + length)), "{reply:?}");
        }
        disk.leave_inodes(0);
        let stands = upload.shown;
        server.kill();
        let server = world.start(settings);
        (upload.addr, upload.shown) = (server.addr, stands);
        assert_eq!(upload.offset_when_free(), stands);
        let deleted = server.ask(&dialect.request("DELETE", &beside.path, "", b""));
        assert_eq!(deleted.status, 204, "{deleted:?}");
        upload.finish(&world);
        println!(
            "{dialect:?} {settings:?}: {full} creations refused for want of an inode, {begun} begun"
        );
        world.no_panic();
    }
}

#[test]
fn a_patch_to_a_disk_that_is_read_only_for_a_while_goes_on_afterwards() {
    if !may_mount("a_patch_to_a_disk_that_is_read_only_for_a_while_goes_on_afterwards") {
        return;
    }
    for (dialect, settings) in CASES {
        let (disk, world) = disk("size=8m");
        let server = world.start(settings);
        let seed = seed();
        let mut uploads = [0, 1, 2, 3, 4].map(|number| {
            Upload::create_in(dialect, server.addr, Plan::of_length(seed, number, 300_000))
        });
        let total = uploads[0].total();
        let [open, deleted, whole, done, _] = &mut uploads;
        for upload in [open, deleted] {
            assert_eq!(upload.patch(0..100_000, "").told(), (204, Some(100_000)));
        }
        // The application did not take it.
        let refused = whole.patch(0..total, "X-Hook-Status: 503\r\n");
        assert_eq!((refused.status, whole.offset()), (503, total - 1));
        done.finish(&world);

        disk.remount("ro");
        let files = world.files();
        let mut tried = try_all(&server, &mut uploads);
        server.kill();
        let server = world.start(settings);
        tried += try_all(&server, &mut uploads);
        assert_eq!(world.files(), files);
        disk.remount("rw");
        let [open, deleted, whole, done, empty] = &mut uploads;
        assert_eq!(deleted.delete().status, 204);
        for upload in [open, whole, empty] {
            upload.finish(&world);
        }
        done.is_delivered(&world, 1..=1);
        println!("{dialect:?} {settings:?}: {tried} requests refused while the disk was read-only");
        world.no_panic();
    }
}

/// Everything that writes, to a server whose disk is read-only; gives how much it was. `HEAD`
/// answers as before.
fn try_all(server: &Server, uploads: &mut [Upload; 5]) -> usize {
    let stand = uploads.each_ref().map(|upload| upload.shown);
    for upload in uploads.iter_mut() {
        upload.addr = server.addr;
        upload.offset_when_free();
    }
    let mut tried = 0;
    for which in [OPEN, WHOLE, EMPTY] {
        for length in [1, 5000, 300_000] {
            let upload = &mut uploads[which];
            let end = upload.total().min(upload.shown + length);
            refused_with(upload.dialect, &upload.patch(upload.shown..end, ""), &[500, 507]);
            assert_eq!(uploads.each_mut().map(Upload::offset), stand);
            tried += 1;
        }
    }
    let dialect = uploads[OPEN].dialect;
    for which in [OPEN, DELETED, DONE] {
        refused_with(dialect, &uploads[which].delete(), &[500, 507]);
        tried += 1;
    }
    for (length, with) in [(0, 0), (1000, 0), (1000, 100), (1000, 1000)] {
        refused_with(dialect, &create(dialect, server, length, &vec![7; with]), &[500, 507]);
        tried += 1;
    }
    assert_eq!(uploads.each_mut().map(Upload::offset), stand);
    tried
}

const OPEN: usize = 0;
const DELETED: usize = 1;
const WHOLE: usize = 2;
const DONE: usize = 3;
const EMPTY: usize = 4;

fn create(dialect: Dialect, server: &Server, length: usize, bytes: &[u8]) -> Reply {
    let mut headers = format!("Upload-Length: {length}\r\n");
    let path = match dialect {
        Dialect::Tus => "/files",
        Dialect::Draft => "/inbox",
    };
    match dialect {
        Dialect::Tus if bytes.is_empty() => {}
        Dialect::Tus => headers += &format!("Content-Type: {BYTES}\r\n"),
        Dialect::Draft => headers += "Upload-Complete: ?0\r\n",
    }
    client::ask(server.addr, "POST", &dialect.request("POST", path, &headers, bytes))
}

/// A refusal in the words of the dialect.
fn refused_with(dialect: Dialect, reply: &Reply, statuses: &[u16]) {
    assert!(statuses.contains(&reply.status), "{reply:?}");
    let detail = match dialect {
        Dialect::Tus => {
            assert_eq!(reply.header("tus-resumable"), Some("1.0.0"), "{reply:?}");
            String::from_utf8_lossy(&reply.body).into_owned()
        }
        Dialect::Draft => {
            assert_eq!(reply.header("upload-complete"), Some("?0"), "{reply:?}");
            reply.json()["title"].as_str().unwrap().to_owned()
        }
    };
    assert!(!detail.contains('/') && !detail.contains("os error"), "{detail}");
}

/// Begins an upload with so many bytes, so that its record has so much room left in its last page.
fn begin_in(
    dialect: Dialect,
    world: &World,
    server: &Server,
    plan: &Plan,
    length: usize,
    record_room: usize,
) -> Upload {
    let mut padding = 0;
    for _ in 0..20 {
        let headers = match dialect {
            Dialect::Tus => {
                // Each quotation mark takes two bytes in the record. A value that is no text is
                // there once.
                let key = "\"".repeat(padding / 2) + &"x".repeat(padding % 2 + 1);
                format!("Upload-Metadata: {key} /w==\r\n")
            }
            // It is kept for the application.
            Dialect::Draft => format!("Content-Language: {}\r\n", "x".repeat(padding + 1)),
        };
        let mut upload = Upload::create_with(dialect, server.addr, plan.clone(), &headers);
        assert_eq!(upload.patch(0..length, "").told(), (204, Some(length)));
        let left = room_of(world, upload.id());
        if left == record_room {
            return upload;
        }
        assert_eq!(upload.delete().status, 204);
        // Times of different lengths change the record's length by a little.
        padding = (padding + PAGE + left - record_room) % PAGE;
    }
    panic!("no record got the length that it should have");
}

/// How much is left of the last page of an upload's record.
fn room_of(world: &World, id: &str) -> usize {
    let length = fs::metadata(record(world, id)).unwrap().len();
    (PAGE - usize::try_from(length).unwrap() % PAGE) % PAGE
}

/// Begins an upload with chunks up to these places, so that its record has so much room left in its
/// last page.
fn begin_with(
    world: &World,
    server: &Server,
    plan: &Plan,
    ends: &[usize],
    record_room: usize,
) -> String {
    let mut padding = 0;
    for _ in 0..20 {
        let name = format!("{}.bin", "x".repeat(padding));
        let mut id: Option<String> = None;
        let mut start = 0;
        for &end in ends {
            let place = (start as u64..end as u64, plan.content.len() as u64);
            let length = (end - start) as u64;
            let form = Form::new(Shape::Raw, &name, id.as_deref(), length, Some(place));
            let request = [form.head.as_bytes(), &plan.content[start..end]].concat();
            id = Some(upload_id(&server.ask(&request).accepted().unwrap()));
            start = end;
        }
        let id = id.unwrap();
        let left = room_of(world, &id);
        if left == record_room {
            return id;
        }
        assert_eq!(server.ask(&cancel_request(&id)).status, 204);
        // Times of different lengths change the record's length by a little.
        padding = (padding + PAGE + left - record_room) % PAGE;
    }
    panic!("no record got the length that it should have");
}

fn record(world: &World, id: &str) -> PathBuf {
    world.data().join(format!("chunked_uploads/.records/{}/{id}.log", &id[..2]))
}

/// A refusal tells the client what is the matter, and nothing of the system.
fn refused(answer: &Answer, statuses: &[u16]) {
    assert!(statuses.contains(&answer.status), "{answer:?}");
    let detail = answer.json["detail"].as_str().unwrap();
    assert!(!detail.contains('/') && !detail.contains("os error"), "{answer:?}");
}

/// A filesystem of its own.
struct Disk {
    point: TempDir,
}

fn disk(options: &str) -> (Disk, World) {
    let point = TempDir::with_prefix_in("disk-", env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", options, "none"]).arg(point.path());
    assert!(mount.status().unwrap().success());
    let disk = Disk { point };
    let data = disk.point.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::create_dir(disk.nodes()).unwrap();
    File::create(disk.ballast()).unwrap();
    (disk, World::on(&data))
}

impl Disk {
    fn ballast(&self) -> PathBuf {
        self.point.path().join("ballast")
    }

    fn nodes(&self) -> PathBuf {
        self.point.path().join("nodes")
    }

    /// Fills the disk but for so many pages.
    fn leave(&self, pages: u64) {
        let mut file = File::options().append(true).open(self.ballast()).unwrap();
        while is_done(file.write_all(&[0; PAGE])) {}
        let length = file.metadata().unwrap().len();
        file.set_len(length - length % PAGE as u64 - pages * PAGE as u64).unwrap();
    }

    fn make_room(&self) {
        File::create(self.ballast()).unwrap();
    }

    /// Uses the inodes up but for so many.
    fn leave_inodes(&self, count: usize) {
        let node = |number: usize| self.nodes().join(number.to_string());
        let mut used = fs::read_dir(self.nodes()).unwrap().count();
        while is_done(File::create_new(node(used))) {
            used += 1;
        }
        for number in used - count..used {
            fs::remove_file(node(number)).unwrap();
        }
    }

    fn remount(&self, how: &str) {
        // A file of a request that was answered may still be about to be closed.
        until("the disk can be remounted", || {
            let mut mount = Command::new("mount");
            // Told all of it, mount does not repeat an owner that a user's namespace does not know.
            mount.args(["-t", "tmpfs", "-o", &format!("remount,{how}"), "none"]);
            mount.arg(self.point.path());
            mount.stderr(Stdio::null()).status().unwrap().success()
        });
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.point.path()).status();
        assert!(unmounted.unwrap().success());
    }
}

/// Whether there was room for it.
fn is_done<T>(result: io::Result<T>) -> bool {
    match result {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::StorageFull => false,
        Err(error) => panic!("{error}"),
    }
}

/// Whether this process has mounts of its own. If not, it runs the test of this name in one that has.
fn may_mount(test: &str) -> bool {
    if is_set(OWN_MOUNTS) {
        return true;
    }
    let ways: [&[&str]; 2] = [&["unshare", "-m"], &["unshare", "-Urm"]];
    let works = |way: &&[&str]| {
        let mut mount = Command::new(way[0]);
        mount.args(&way[1..]).args(["mount", "-t", "tmpfs", "none"]).arg(env::temp_dir());
        mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let Some(way) = ways.iter().copied().find(works) else {
        panic!("missing: mounts of its own (neither `unshare -m` nor `unshare -Urm` can mount)");
    };
    rerun(test, OWN_MOUNTS, way);
    false
}

/// Set in the process that may mount.
const OWN_MOUNTS: &str = "DISK_FULL_OWN_MOUNTS";
const CASES: [(Dialect, Settings); 8] = [
    (Dialect::Tus, SETTINGS[0]),
    (Dialect::Tus, SETTINGS[1]),
    (Dialect::Tus, SETTINGS[2]),
    (Dialect::Tus, SETTINGS[3]),
    (Dialect::Draft, SETTINGS[0]),
    (Dialect::Draft, SETTINGS[1]),
    (Dialect::Draft, SETTINGS[2]),
    (Dialect::Draft, SETTINGS[3]),
];
const BEGUN: usize = 1000;
const KIB: usize = 1024;
const PAGE: usize = 4096;
