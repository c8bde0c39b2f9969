//! Requests that were right before some of their bytes were changed.

use std::collections::BTreeMap;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{ChunkedUploadLayer, NewUpload, Uploads};

use crate::dice::Dice;
use crate::is_long;
use crate::request::Raw;
use crate::server::{Answer, BROKEN, Server};
use crate::snapshot::{Guarded, files_now};
use crate::support::{self, *};

/// What there is of an upload when a request for it is made, and of how much.
const FIRST: &[u8] = b"0123456789";
const REST: &[u8] = b"abcdefghijklmnopqrst";
const TOTAL: usize = FIRST.len() + REST.len();
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A request that says that more comes than does costs so long.
const IDLE: Duration = Duration::from_millis(250);
const CONNECTIONS: usize = 160;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Counts the panics of this process that are not those of its tests.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.location().is_none_or(|place| !place.file().starts_with("tests/")) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            before(info);
        }));
    });
}

/// The right requests, each for an upload with a file that is begun and for one that is whole.
fn right(shape: usize, begun: &str, whole: &str) -> Raw {
    let place = range(FIRST.len() as u64, REST.len() as u64, TOTAL as u64);
    let digest = md5(&[FIRST, REST].concat());
    match shape {
        0 => Raw::form(
            &range(0, FIRST.len() as u64, TOTAL as u64),
            Form::new().field("note", "a").file("a.bin", FIRST),
        ),
        1 => Raw::form(&place, Form::new().id(Some(begun)).file("a.bin", REST)),
        2 => Raw::form(&place, Form::new().file("a.bin", REST).id(Some(begun))),
        3 => Raw::chunk(None, Some(&range(0, FIRST.len() as u64, TOTAL as u64)), FIRST),
        4 => Raw::chunk(Some(begun), Some(&place), REST),
        5 => Raw::completion(
            "application/x-www-form-urlencoded",
            format!("upload_id={whole}&md5={digest}"),
        ),
        6 => Raw::completion(
            &Form::content_type(),
            Form::new().id(Some(whole)).field("md5", &digest).end(),
        ),
        7 => Raw::completion(
            "application/json",
            json!({ "upload_id": whole, "md5": digest }).to_string(),
        ),
        8 => Raw::new("GET", &format!("{CHUNK}?upload_id={begun}")),
        _ => Raw::new("DELETE", &format!("{CHUNK}?upload_id={begun}")),
    }
}

const SHAPES: usize = 10;

const NASTY: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\0",
    b"\xff\xfe",
    b"\xc0\xae",
    b"------boundary",
    b"\r\n------boundary\r\n",
    b"\r\n------boundary--\r\n",
    b"--",
    b"; boundary=x",
    b"Content-Range: bytes 0-9/30\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Content-Type: application/json\r\n",
    b"Content-Disposition: form-data; name=\"upload_id\"\r\n\r\n",
    b"multipart/form-data",
    b"bytes 0-",
    b"bytes 10-29/30",
    b"bytes */30",
    b"18446744073709551616",
    b"18446744073709551615",
    b"-1",
    b"upload_id",
    b"upload_id=",
    b"&upload_id=00000000000040008000000000000000",
    b"md5",
    b"..%2f",
    b"../../../../beside",
    b"%00",
    b"%",
    b"\"",
    b"\\",
    b";",
    b"filename*=UTF-8''..%2f..%2fbeside",
    b"{",
    b"[[[[[[[[",
    b"null",
    b"HTTP/1.0",
];

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "9",
    "10",
    "29",
    "30",
    "31",
    "-1",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
];

/// Puts another number where one stands, if one does.
fn renumber(dice: &mut Dice, bytes: &mut Vec<u8>) {
    let other = |at: usize| bytes.get(at).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    let begins = |at: &usize| bytes[*at].is_ascii_digit() && other(at.wrapping_sub(1));
    let runs = (0..bytes.len()).filter(begins).map(|start| {
        let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit());
        (start, start + digits.count())
    });
    let numbers: Vec<_> = runs.filter(|(_, end)| other(*end)).collect();
    if !numbers.is_empty() {
        let (start, end) = *dice.of(&numbers);
        drop(bytes.splice(start..end, dice.of(NUMBERS).bytes()));
    }
}

/// Changes the bytes in one to three places.
fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len() + 1);
        let end = bytes.len().min(at + 1 + dice.below(16));
        match dice.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            3 => {
                let long = vec![*dice.of(b"x0 \r\n%./-\0\xff"); 1 << dice.below(16)];
                drop(bytes.splice(at..at, long));
            }
            4 => {
                bytes.truncate(at);
                bytes.extend_from_slice(&other[dice.below(other.len() + 1)..]);
            }
            5 | 6 => renumber(dice, bytes),
            _ => drop(bytes.splice(at..at, dice.of(NASTY).iter().copied())),
        }
    }
}

/// A request as it is sent, changed in its head, in its body or in both, and sometimes right.
fn mutated(dice: &mut Dice, begun: &str, whole: &str) -> Vec<u8> {
    let mut request = right(dice.below(SHAPES), begun, whole);
    let other = right(dice.below(SHAPES), begun, whole);
    let length = request.body.len();
    let place = dice.below(8);
    if place > 1 {
        mutate(dice, &mut request.body, &other.body);
    }
    if (1..=3).contains(&place) {
        mutate(dice, &mut request.head, &other.bytes());
    }
    // With its true length, what was done to the body reaches the layer.
    if dice.once_in(2) { request.bytes() } else { request.bytes_of_length(length) }
}

/// What came of the requests.
#[derive(Debug, Default)]
struct Tally {
    sent: usize,
    answers: BTreeMap<u16, usize>,
    /// How many of them are not hyper's own.
    ours: usize,
    /// Connections that ended where an answer was due.
    closed: usize,
    cut: usize,
    /// Requests with answers that say that the server is at fault.
    faults: Vec<String>,
}

impl Tally {
    fn add(&mut self, request: &[u8], answer: &Answer) {
        *self.answers.entry(answer.status).or_default() += 1;
        self.ours += usize::from(!answer.body.is_empty());
        if answer.status >= 500 {
            let request = String::from_utf8_lossy(request).into_owned();
            self.faults.push(format!("{request:?} {} {}", answer.status, answer.text()));
        }
    }
}

struct Campaign {
    server: Server,
    uploads: Uploads,
    seed: u64,
    tally: Mutex<Tally>,
}

impl Campaign {
    /// The id of an upload that has its first bytes, or all.
    async fn upload(&self, is_whole: bool) -> String {
        let new = NewUpload::new().filename("a").total(TOTAL as u64);
        let mut append = self.uploads.for_owner(None).create(new).await.unwrap();
        append.write(FIRST).await.unwrap();
        if is_whole {
            append.write(REST).await.unwrap();
        }
        append.commit().await.unwrap().id.as_str().to_owned()
    }

    /// One connection with one to three requests, which is kept, half closed or cut.
    async fn connection(&self, number: usize) {
        let mut dice = Dice::new(self.seed, number as u64);
        // The server does not wait for long once they are connected.
        let mut uploads = Vec::new();
        for _ in 0..=dice.below(3) {
            uploads.push((self.upload(false).await, self.upload(true).await));
        }
        let mut connection = self.server.connect().await;
        let (mut request, mut is_due) = (Vec::new(), false);
        for (begun, whole) in uploads {
            request = mutated(&mut dice, &begun, &whole);
            self.tally.lock().unwrap().sent += 1;
            match dice.below(10) {
                0 => {
                    let cut = dice.below(request.len());
                    connection.send(&request[..cut]).await;
                    self.tally.lock().unwrap().cut += 1;
                    return;
                }
                1 => {
                    connection.send(&request).await;
                    is_due = true;
                    break;
                }
                _ => connection.send(&request).await,
            }
            let Some(answer) = connection.answer().await else {
                self.tally.lock().unwrap().closed += 1;
                return;
            };
            self.tally.lock().unwrap().add(&request, &answer);
            if answer.is_last {
                break;
            }
        }
        let answers = connection.answers().await;
        let mut tally = self.tally.lock().unwrap();
        tally.closed += usize::from(is_due && answers.is_empty());
        for answer in answers {
            tally.add(&request, &answer);
        }
    }

    async fn run(self: &Arc<Self>, requests: usize) {
        let mut workers = tokio::task::JoinSet::new();
        let next = Arc::new(AtomicUsize::new(0));
        for _ in 0..CONNECTIONS {
            let (campaign, next) = (Arc::clone(self), Arc::clone(&next));
            workers.spawn(async move {
                while campaign.tally.lock().unwrap().sent < requests {
                    campaign.connection(next.fetch_add(1, Ordering::SeqCst)).await;
                }
            });
        }
        while let Some(worker) = workers.join_next().await {
            worker.unwrap();
        }
    }

    /// A file in a form and a raw chunk, byte for byte, at a server with more patience.
    async fn clean_upload(&self) {
        let layer = ChunkedUploadLayer::new(self.uploads.clone());
        let server = Server::start(layer, HANGS).await;
        let content = noise(200_000);
        let form = Raw::form("bytes 0-99999/200000", Form::new().file("a", &content[..100_000]));
        let answer = server.ask(&form.bytes()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let id = answer.json()["upload_id"].as_str().unwrap().to_owned();
        let rest = Raw::chunk(Some(&id), Some("bytes 100000-199999/200000"), &content[100_000..]);
        assert_eq!(server.ask(&rest.bytes()).await.json()["offset"], 200_000);
        let done = format!("upload_id={id}&md5={}", md5(&content));
        let done = Raw::completion("application/x-www-form-urlencoded", done);
        assert_eq!(server.ask(&done.bytes()).await.text(), format!("{id} 200000 whole"));
    }
}

fn seed() -> u64 {
    let given = std::env::var("HOSTILE_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let time = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into();
    given.unwrap_or_else(time)
}

#[test]
fn mutated_requests_are_answered_or_ended_and_leave_nothing() {
    count_panics();
    let seed = seed();
    println!("mutated requests: HOSTILE_SEED={seed}");
    run(async {
        let clock = Clock::new();
        let guarded = Guarded::new().await;
        let store = FsStore::new(guarded.store().join("%Y/%m/%d"));
        let uploads = Uploads::builder(store).max_bytes(1 << 20).clock(clock.read());
        let uploads = uploads.build().unwrap();
        let layer =
            ChunkedUploadLayer::new(uploads.clone()).idle_timeout(IDLE).drain(1 << 20, IDLE);
        let server = Server::start(layer, IDLE).await;
        let campaign = Campaign { server, uploads, seed, tally: Mutex::default() };
        let campaign = Arc::new(campaign);
        campaign.run(if is_long() { 10_000 } else { 2_000 }).await;
        campaign.clean_upload().await;

        // Every record that is left can be read.
        let kept = support::all_ids(&campaign.uploads).await.len();
        clock.advance(2 * DAY);
        let left = swept(&campaign.uploads, &guarded).await;
        let around = guarded.unchanged();
        let asked = campaign.server.asked();
        let files = asked.iter().filter(|asked| asked.ends_with(" whole")).count();
        let panics = PANICS.load(Ordering::SeqCst);
        let tally = campaign.tally.lock().unwrap();
        println!(
            "mutated requests: {} sent, {:?} answered, {} of them by the layer, {} ended without an \
             answer, {} cut, {files} files handed over, {kept} uploads swept, {left} files left, {around} paths around the \
             store as before, {} faults, {panics} panics",
            tally.sent,
            tally.answers,
            tally.ours,
            tally.closed,
            tally.cut,
            tally.faults.len(),
        );
        assert!(tally.faults.is_empty(), "{:#?}", &tally.faults[..tally.faults.len().min(5)]);
        assert_eq!((panics, left), (0, 0));
        let broken = asked.iter().find(|asked| asked.ends_with(BROKEN));
        assert_eq!(broken, None);
        // Neither is everything refused at the door, nor does everything pass.
        let answered = tally.sent - tally.closed - tally.cut;
        assert!(answered > tally.sent / 10);
        assert!(tally.ours > answered / 4 && tally.answers[&200] > answered / 20);
    });
}

/// Sweeps until nothing is left, since what a client left behind may still be in its last write.
async fn swept(uploads: &Uploads, guarded: &Guarded) -> usize {
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        uploads.delete_expired().await.unwrap();
        let left = files_now(&guarded.store());
        if left == 0 || tokio::time::Instant::now() > end {
            return left;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
