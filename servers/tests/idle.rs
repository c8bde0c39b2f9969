//! Two server processes on one folder. One keeps open what it may need for the next chunk of an
//! upload, and in between the other one, or somebody by hand, changes all that there is of it. The
//! first one answers as a server that has just been started.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/client.rs"]
mod client;
#[path = "support/ports.rs"]
mod ports;
#[path = "support/server.rs"]
mod server;
#[path = "support/upload.rs"]
mod upload;

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use server::{
    Answer, Plan, SETTINGS, Server, Settings, Shape, World, ask_until_free, cancel_request,
    complete_request, exchange, seed, status_request, until,
};
use upload::{Dialect, Upload};

#[test]
fn a_chunk_after_one_at_another_process_counts_if_it_is_the_next() {
    for settings in SETTINGS {
        for shape in Shape::ALL {
            let idle = Idle::begin(settings, shape);
            idle.brings(&idle.other, IDLE..5000);
            // The same bytes, others, and some that are too far.
            for stale in [IDLE..5000, IDLE..6000, 1000..IDLE, 7000..8000] {
                let answer = idle.answers_as_new(&idle.chunk(stale));
                assert!([400, 409].contains(&answer.status), "{answer:?}");
            }
            idle.answers_as_new(&status_request(&idle.id));
            let mut at = 5000;
            for server in [&idle.one, &idle.other, &idle.one, &idle.one, &idle.other, &idle.one] {
                idle.brings(server, at..at + 1000);
                at += 1000;
            }
            idle.ends(at);
        }
    }
}

#[test]
fn a_chunk_of_an_upload_that_another_process_has_completed_changes_nothing() {
    for settings in SETTINGS {
        for shape in Shape::ALL {
            let idle = Idle::begin(settings, shape);
            // The application has moved the file, whose bytes may still be open here.
            idle.world.finish(idle.other.addr, &idle.id, &idle.plan, IDLE).unwrap();
            let other = idle.plan.fork(0);
            for range in [IDLE..5000, 0..IDLE, IDLE..idle.total()] {
                let chunk = other.chunk(range, Some(&idle.id), shape).bytes;
                let answer = idle.answers_as_new(&chunk);
                assert!([400, 409].contains(&answer.status), "{answer:?}");
            }
            let again = idle.answers_as_new(&complete_request(&idle.id, &idle.plan.md5));
            assert_eq!(again.status, 400, "{again:?}");
            let cancel = idle.answers_as_new(&cancel_request(&idle.id));
            assert!([400, 409].contains(&cancel.status), "{cancel:?}");
            idle.world.check_complete(idle.one.addr, &idle.id, &idle.plan);
            assert_eq!(idle.world.deliveries(&idle.id), 1);
            idle.world.no_panic();
        }
    }
}

/// Its last chunk was brought here.
#[test]
fn a_whole_upload_that_another_process_has_completed_is_not_given_again() {
    for settings in SETTINGS {
        let idle = Idle::begin(settings, Shape::Raw);
        idle.brings(&idle.one, IDLE..idle.total());
        idle.world.finish(idle.other.addr, &idle.id, &idle.plan, idle.total()).unwrap();
        idle.world.check_complete(idle.one.addr, &idle.id, &idle.plan);
        assert_eq!(idle.world.deliveries(&idle.id), 1);
        idle.world.no_panic();
    }
}

#[test]
fn a_chunk_of_an_upload_that_another_process_has_cancelled_is_for_nothing() {
    for settings in SETTINGS {
        for shape in Shape::ALL {
            let idle = Idle::begin(settings, shape);
            assert_eq!(idle.other.ask(&cancel_request(&idle.id)).status, 204);
            let requests = [
                idle.chunk(IDLE..5000),
                idle.chunk(1000..IDLE),
                status_request(&idle.id),
                complete_request(&idle.id, &idle.plan.md5),
                cancel_request(&idle.id),
            ];
            for request in requests {
                let answer = idle.answers_as_new(&request);
                assert_eq!(answer.status, 404, "{answer:?}");
            }
            until("nothing is left of it", || idle.world.files().is_empty());
            idle.world.no_panic();
        }
    }
}

#[test]
fn a_chunk_after_a_rewriting_by_another_process_is_not_written_to_the_old_record() {
    for settings in SETTINGS {
        let idle = Idle::begin(settings, Shape::Raw);
        let mut at = IDLE;
        for _ in 0..2 {
            at = idle.rewrites(&idle.other, at);
            let stale = idle.answers_as_new(&idle.chunk(IDLE..5000));
            assert!([400, 409].contains(&stale.status), "{stale:?}");
            idle.brings(&idle.one, at..at + 1000);
            at += 1000;
            assert_eq!(idle.other.offset(&idle.id), at);
        }
        idle.ends(at);
    }
}

#[test]
fn a_chunk_gets_an_upload_that_another_process_has_taken_meanwhile() {
    for settings in SETTINGS {
        for shape in [Shape::Raw, Shape::IdFirst] {
            let idle = Idle::begin(settings, shape);
            let slow = idle.plan.chunk(IDLE..idle.total(), Some(&idle.id), shape);
            let _held = idle.world.send_until_held(&idle.other, &slow, &idle.id, IDLE);
            let answer = ask_until_free(idle.one.addr, &idle.chunk(IDLE..5000));
            assert_eq!((answer.status, &answer.json["offset"]), (200, &5000.into()), "{answer:?}");
            idle.brings(&idle.other, 5000..6000);
            idle.brings(&idle.one, 6000..7000);
            idle.ends(7000);
        }
    }
}

#[test]
fn a_patch_after_one_at_another_process_counts_if_it_is_the_next() {
    for settings in SETTINGS {
        for dialect in Dialect::ALL {
            let world = World::new();
            let [one, other] = [(); 2].map(|()| world.start(settings));
            let plan = Plan::of_length(seed(), 0, 20_000);
            let mut upload = Upload::create_in(dialect, one.addr, plan);
            let mut brings = |server: &Server, end: usize| {
                upload.addr = server.addr;
                let reply = upload.patch(upload.shown..end, "");
                assert_eq!(reply.told(), (204, Some(end)), "{reply:?}");
            };
            for (server, end) in [(&one, 1000), (&one, 2000), (&other, 5000)] {
                brings(server, end);
            }
            // It is refused with where the upload stands.
            upload.addr = one.addr;
            let stale = upload.patch(2000..3000, "");
            let fresh = world.start(settings);
            upload.addr = fresh.addr;
            let expected = upload.patch(2000..3000, "");
            assert_eq!((stale.status, stale.offset()), (409, expected.offset()), "{stale:?}");
            assert_eq!(expected.status, 409, "{expected:?}");
            upload.addr = one.addr;
            assert_eq!(upload.patch(5000..6000, "").told(), (204, Some(6000)));
            upload.addr = other.addr;
            assert_eq!(upload.delete().status, 204);
            upload.addr = one.addr;
            let gone = upload.patch(6000..7000, "").status;
            upload.addr = fresh.addr;
            assert_eq!(gone, upload.patch(6000..7000, "").status);
            assert!([404, 410].contains(&gone), "{gone}");
            until("nothing is left of it", || world.files().is_empty());
            world.no_panic();
        }
    }
}

/// What is acknowledged afterwards is not in a file that nobody finds.
#[test]
fn a_chunk_of_an_upload_whose_files_were_removed_by_hand_is_refused() {
    for settings in SETTINGS {
        for what in [ByHand::Data, ByHand::Record, ByHand::Both, ByHand::Cut, ByHand::Replaced] {
            let idle = Idle::begin(settings, Shape::Raw);
            idle.change(what);
            let answer = idle.answers_as_new(&idle.chunk(IDLE..5000));
            let due: &[u16] = match what {
                ByHand::Data | ByHand::Cut => &[410],
                ByHand::Record | ByHand::Both => &[404],
                // It has the same bytes.
                ByHand::Replaced => &[200],
            };
            assert!(due.contains(&answer.status), "{what:?}: {answer:?}");
            if answer.status == 200 {
                idle.ends(5000);
            }
            idle.world.no_panic();
        }
    }
}

/// What somebody does to an upload's files.
#[derive(Clone, Copy, Debug)]
enum ByHand {
    /// Removes the bytes.
    Data,
    /// Removes the record.
    Record,
    Both,
    /// Takes away some of the bytes that were acknowledged.
    Cut,
    /// Puts copies in the place of both, as a restored backup would.
    Replaced,
}

/// An upload that stands at [`IDLE`], and whose last two chunks were brought to the first server.
struct Idle {
    settings: Settings,
    shape: Shape,
    plan: Plan,
    id: String,
    one: Server,
    other: Server,
    world: World,
}

impl Idle {
    fn begin(settings: Settings, shape: Shape) -> Self {
        println!("{settings:?} {shape:?}");
        let world = World::new();
        let [one, other] = [(); 2].map(|()| world.start(settings));
        let plan = Plan::of_length(seed(), 0, 100_000);
        let id = one.begin(&plan, 1000);
        let idle = Self { settings, shape, plan, id, one, other, world };
        idle.brings(&idle.one, 1000..IDLE);
        idle
    }

    fn total(&self) -> usize {
        self.plan.content.len()
    }

    fn chunk(&self, range: Range<usize>) -> Vec<u8> {
        self.plan.chunk(range, Some(&self.id), self.shape).bytes
    }

    /// The next chunk, which is taken.
    fn brings(&self, server: &Server, range: Range<usize>) {
        let end = range.end;
        let answer = server.ask(&self.chunk(range));
        assert_eq!((answer.status, &answer.json["offset"]), (200, &end.into()), "{answer:?}");
    }

    /// What the first server answers: the same as one that knows nothing, if it refuses.
    fn answers_as_new(&self, request: &[u8]) -> Answer {
        let answer = self.one.ask(request);
        if answer.status != 200 || request.starts_with(b"GET") {
            let new = self.world.start(self.settings).ask(request);
            assert_eq!((answer.status, &answer.json), (new.status, &new.json));
        }
        answer
    }

    fn record(&self) -> PathBuf {
        let name = format!("{}.log", self.id);
        self.world.files().into_iter().find(|path| path.ends_with(&name)).unwrap()
    }

    /// Brings byte after byte until another file is the record; gives where the upload stands.
    fn rewrites(&self, server: &Server, mut at: usize) -> usize {
        let (record, mut stream) = (self.record(), server.connect());
        let number = || fs::metadata(&record).unwrap().ino();
        // Its number is not given to another one while it is open.
        let before = File::open(&record).unwrap();
        while number() == before.metadata().unwrap().ino() {
            let answer = exchange(&mut stream, &self.chunk(at..at + 1)).unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            at += 1;
        }
        at
    }

    fn change(&self, what: ByHand) {
        let (record, data) = (self.record(), self.world.part_of(&self.id).unwrap());
        match what {
            ByHand::Data => fs::remove_file(data).unwrap(),
            ByHand::Record => fs::remove_file(record).unwrap(),
            ByHand::Both => [record, data].iter().for_each(|path| fs::remove_file(path).unwrap()),
            ByHand::Cut => File::options().write(true).open(data).unwrap().set_len(1500).unwrap(),
            ByHand::Replaced => {
                for path in [record, data] {
                    let copy = path.with_extension("copy");
                    fs::copy(&path, &copy).unwrap();
                    fs::rename(&copy, &path).unwrap();
                }
            }
        }
    }

    /// Brings it to its end at the other server, and looks at the file at both.
    fn ends(&self, at: usize) {
        self.world.finish(self.other.addr, &self.id, &self.plan, at).unwrap();
        for server in [&self.one, &self.other] {
            self.world.check_complete(server.addr, &self.id, &self.plan);
        }
        self.world.no_panic();
    }
}

const IDLE: usize = 2000;
