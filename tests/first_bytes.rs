//! The first bytes of a file, which the application sees before more is taken, in every protocol.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;
#[path = "support/tus.rs"]
#[expect(dead_code, reason = "it is the client of one protocol")]
mod tus_client;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use http::{Request, StatusCode};
use proptest::prelude::*;
use support::*;
use tokio::sync::{Semaphore, watch};
use tower_chunked_upload::policy::FirstBytes;
use tower_chunked_upload::store::MemoryStore;
use tower_chunked_upload::{
    ChunkedUploadLayer, NewUpload, Policy, Refusal, Resumable, Tus, UploadId, Uploads,
    UploadsBuilder,
};
use tus_client::on_all_stores;

const MOST: usize = FirstBytes::MAX;

/// Takes no programs, and remembers what it was shown.
#[derive(Clone)]
struct NoPrograms {
    wanted: usize,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    asked: watch::Sender<usize>,
    /// How many questions it may answer.
    answers: Arc<Semaphore>,
    fails: Arc<AtomicBool>,
}

impl NoPrograms {
    fn new(wanted: usize) -> Self {
        let answers = Arc::new(Semaphore::new(1000));
        let (seen, fails) = (Arc::default(), Arc::default());
        Self { wanted, seen, asked: watch::Sender::new(0), answers, fails }
    }

    fn seen(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().clone()
    }
}

impl Policy for NoPrograms {
    fn first_bytes_wanted(&self) -> usize {
        self.wanted
    }

    async fn first_bytes(&self, first: &FirstBytes<'_>) -> Result<(), Refusal> {
        assert_eq!(first.upload_id, Some(&first.upload.id));
        self.seen.lock().unwrap().push(first.bytes.to_vec());
        self.asked.send_modify(|asked| *asked += 1);
        self.answers.acquire().await.unwrap().forget();
        if self.fails.load(Ordering::Relaxed) {
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "The scanner is down"));
        }
        match first.bytes.starts_with(b"MZ") {
            true => Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "No programs")),
            false => Ok(()),
        }
    }
}

fn client(uploads: &Uploads, policy: &NoPrograms) -> Client {
    let layer = ChunkedUploadLayer::new(uploads.clone()).policy(policy.clone());
    let resumable = Resumable::new("/uploads").paths(["/inbox"]);
    Client::new(layer.tus(Tus::new("/files")).resumable(resumable))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Dialect {
    Raw,
    Form,
    /// The id of the upload follows its file.
    IdLast,
    Tus,
    /// With a checksum, so that a request is taken whole or not at all.
    TusChecksum,
    Draft,
}

const DIALECTS: [Dialect; 6] = [
    Dialect::Raw,
    Dialect::Form,
    Dialect::IdLast,
    Dialect::Tus,
    Dialect::TusChecksum,
    Dialect::Draft,
];

impl Dialect {
    /// A request with some bytes of a file; the name of its upload, unless it begins one.
    fn request(
        self,
        upload: Option<&str>,
        at: usize,
        piece: &[u8],
        total: usize,
    ) -> Request<TestBody> {
        let body = || TestBody::of(piece.to_vec());
        let range = range(at as u64, piece.len() as u64, total as u64);
        let (at_text, total_text) = (at.to_string(), total.to_string());
        let last = if at + piece.len() == total { "?1" } else { "?0" };
        match self {
            Self::Raw => raw(upload, Some(&range), body()),
            Self::Form => chunk(upload, at as u64, total as u64, piece),
            Self::IdLast => {
                let form = Form::new().file("a", piece).id(upload).end();
                ranged(&range, TestBody::of(form))
            }
            Self::Tus | Self::TusChecksum => {
                let digest = crate::sha1(piece);
                let mut headers = match self {
                    Self::Tus => vec![],
                    _ => vec![("upload-checksum", &*digest)],
                };
                if let Some(path) = upload {
                    return tus_client::patch(path, at as u64, &headers, body());
                }
                headers
                    .extend([("upload-length", &*total_text), ("content-type", tus_client::BYTES)]);
                tus_client::request("POST", "/files", &headers, body())
            }
            Self::Draft => {
                let request = match upload {
                    Some(path) => Request::patch(path)
                        .header("content-type", "application/partial-upload")
                        .header("upload-offset", at_text),
                    None => Request::post("/inbox"),
                };
                request.header("upload-complete", last).body(body()).unwrap()
            }
        }
    }

    /// What later requests call the upload that this answer is about.
    fn name(self, reply: &Reply) -> Option<String> {
        match self {
            Self::Raw | Self::Form | Self::IdLast => (reply.status == 200).then(|| reply.id()),
            _ => reply.header("location").map(str::to_owned),
        }
    }
}

fn sha1(bytes: &[u8]) -> String {
    use base64::Engine as _;
    use sha1::Digest as _;

    let digest = sha1::Sha1::digest(bytes);
    format!("sha1 {}", base64::prelude::BASE64_STANDARD.encode(digest))
}

/// Sends a file in pieces that end there, and returns the answer to the last.
async fn send(client: &Client, dialect: Dialect, content: &[u8], ends: &[usize]) -> Reply {
    let (mut name, mut at, mut reply) = (None::<String>, 0, None);
    for end in ends {
        let piece = &content[at..*end];
        let request = dialect.request(name.as_deref(), at, piece, content.len());
        let answer = client.send(request).await;
        let last = *end == *ends.last().unwrap();
        assert!(last || answer.status.is_success(), "{dialect:?} {at} {answer:?}");
        name = name.or_else(|| dialect.name(&answer));
        (at, reply) = (*end, Some(answer));
    }
    let reply = reply.expect("a piece");
    if let (Some(id), Dialect::Raw | Dialect::Form | Dialect::IdLast) = (&name, dialect)
        && reply.status == 200
    {
        assert_eq!(client.complete(id, &md5(content)).await.status, 200);
    }
    reply
}

/// The ends of the pieces of a file with so many bytes.
fn cuts(length: usize) -> Vec<Vec<usize>> {
    let ends = [
        vec![],
        vec![1],
        vec![3, 4],
        vec![MOST - 1],
        vec![MOST],
        vec![MOST + 1],
        vec![1, 100, MOST - 1, MOST, MOST + 7],
    ];
    let fit = ends.into_iter().filter(|ends| ends.iter().all(|end| *end < length));
    fit.map(|ends| [ends, vec![length]].concat()).collect()
}

#[test]
fn the_application_sees_the_first_bytes_once_however_they_come() {
    on_all_stores(|uploads: UploadsBuilder| async move {
        let uploads = uploads.build().unwrap();
        for dialect in DIALECTS {
            for (length, wanted) in [(10_000, MOST), (10_000, 3), (MOST, MOST), (10, MOST), (1, 1)]
            {
                let content = noise(length);
                for ends in cuts(length) {
                    let policy = NoPrograms::new(wanted);
                    let client = client(&uploads, &policy);
                    let reply = send(&client, dialect, &content, &ends).await;
                    assert!(reply.status.is_success(), "{dialect:?} {ends:?} {reply:?}");
                    let first = &content[..wanted.min(length)];
                    assert_eq!(policy.seen(), [first], "{dialect:?} {length} {wanted} {ends:?}");
                    let deliveries = client.deliveries();
                    assert_eq!(deliveries.len(), 1, "{dialect:?} {ends:?}");
                    assert!(deliveries[0].content == content, "{dialect:?} {ends:?}");
                }
            }
        }
    });
}

/// A file, and how it comes.
#[derive(Clone, Debug)]
struct Program {
    dialect: Dialect,
    wanted: usize,
    length: usize,
    is_program: bool,
    /// Where pieces end, as parts of the whole.
    ends: Vec<u16>,
    /// Before which pieces the process starts again.
    restarts: u16,
    /// At which questions the application fails, and the piece comes again.
    failures: u16,
}

fn program() -> impl Strategy<Value = Program> {
    let wanted = prop_oneof![1_usize..10, 500_usize..600, Just(MOST)];
    let length = prop_oneof![2_usize..12, 400_usize..700, 4000_usize..9000];
    let ends = prop::collection::vec(any::<u16>(), 0..6);
    (
        prop::sample::select(DIALECTS.to_vec()),
        wanted,
        length,
        any::<bool>(),
        ends,
        any::<u16>(),
        any::<u16>(),
    )
        .prop_map(|(dialect, wanted, length, is_program, ends, restarts, failures)| Program {
            dialect,
            wanted,
            length,
            is_program,
            ends,
            restarts,
            failures: failures & 0b1001_0010_0100,
        })
}

/// A file that is refused never reaches the handler, one that is accepted does, and the application
/// decides before more is stored than it wants to see: however the file is cut into pieces, and
/// whenever the process ends or the application fails.
#[test]
fn random_pieces_restarts_and_failures_let_no_refused_file_through() {
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) },
        |(program in program())| run(check(program)));
}

async fn check(program: Program) {
    let Program { dialect, wanted, length, is_program, .. } = program;
    let mut content = noise(length);
    content[..2].copy_from_slice(if is_program { b"MZ" } else { b"OK" });
    let refuses = is_program && wanted >= 2;
    let mut ends: Vec<_> =
        program.ends.iter().map(|end| 1 + usize::from(*end) % (length - 1)).collect();
    ends.push(length);
    ends.sort_unstable();
    ends.dedup();

    let (store, policy) = (MemoryStore::new(), NoPrograms::new(wanted));
    let start = || {
        let uploads = Uploads::builder(store.clone()).build().unwrap();
        let client = client(&uploads, &policy);
        (uploads, client)
    };
    let (mut uploads, mut client) = start();
    let (mut name, mut at, mut delivered) = (None::<String>, 0, Vec::new());
    let enough = wanted.min(length);
    for (number, end) in ends.iter().enumerate() {
        if program.restarts >> number & 1 == 1 {
            delivered.append(&mut client.deliveries());
            (uploads, client) = start();
        }
        let decides = at < enough && *end >= enough;
        let before = policy.seen().len();
        if decides && program.failures >> number & 1 == 1 && name.is_some() {
            policy.fails.store(true, Ordering::Relaxed);
            let request = dialect.request(name.as_deref(), at, &content[at..*end], length);
            assert_eq!(client.send(request).await.status, 503);
            policy.fails.store(false, Ordering::Relaxed);
            let stored = uploads.for_operator().status(&all_ids(&uploads).await[0]).await.unwrap();
            // In two protocols it keeps what the application may see.
            assert!(stored.offset() <= wanted as u64, "{stored:?}");
            at = usize::try_from(stored.offset()).unwrap();
            if at == *end {
                at -= 1;
            }
        }
        let request = dialect.request(name.as_deref(), at, &content[at..*end], length);
        let reply = client.send(request).await;
        if decides && refuses {
            assert_eq!(reply.status, 415, "{reply:?}");
            assert_eq!(all_ids(&uploads).await, []);
            assert!(delivered.is_empty() && client.deliveries().is_empty());
            return;
        }
        assert!(reply.status.is_success(), "{number} {reply:?}");
        let asked = policy.seen();
        assert_eq!(asked.len() > before, decides, "{number}");
        assert!(asked.iter().all(|first| *first == content[..enough]));
        name = name.or_else(|| dialect.name(&reply));
        at = *end;
    }
    if let (Some(id), Dialect::Raw | Dialect::Form | Dialect::IdLast) = (&name, dialect) {
        assert_eq!(client.complete(id, &md5(&content)).await.status, 200);
    }
    delivered.append(&mut client.deliveries());
    assert_eq!(delivered.len(), 1);
    assert!(delivered[0].content == content);
}

#[test]
fn a_file_that_is_refused_leaves_nothing() {
    on_all_stores(|uploads: UploadsBuilder| async move {
        // The quota is free again.
        let uploads = uploads.max_uploads_per_owner(1).build().unwrap();
        let policy = NoPrograms::new(MOST);
        let client = client(&uploads, &policy);
        let mut program = noise(10_000);
        program[..2].copy_from_slice(b"MZ");
        let mut asked = 0;
        for dialect in DIALECTS {
            for content in [&program[..], &program[..10]] {
                for mut ends in cuts(content.len()) {
                    // With the piece that brings enough of it.
                    let enough = ends.iter().position(|end| *end >= MOST.min(content.len()));
                    ends.truncate(enough.unwrap() + 1);
                    let reply = send(&client, dialect, content, &ends).await;
                    assert_eq!(reply.status, 415, "{dialect:?} {ends:?} {reply:?}");
                    let text = String::from_utf8_lossy(&reply.body).into_owned();
                    assert!(text.contains("No programs"), "{text}");
                    asked += 1;
                    assert_eq!(policy.seen().len(), asked);
                    assert_eq!(all_ids(&uploads).await, [], "{dialect:?} {ends:?}");
                }
            }
        }
        assert!(client.deliveries().is_empty());
    });
}

#[test]
fn files_of_what_is_refused_are_gone() {
    let (folder, store) = folder();
    run(async {
        let uploads = Uploads::builder(store).build().unwrap();
        let client = client(&uploads, &NoPrograms::new(MOST));
        let program = [b"MZ", &noise(9998)[..]].concat();
        for dialect in DIALECTS {
            for ends in [vec![10_000], vec![5, 10_000]] {
                assert_eq!(send(&client, dialect, &program, &ends).await.status, 415);
                until("nothing is left", async || files_below(folder.path()).is_empty()).await;
            }
        }
    });
}

#[test]
fn an_application_that_fails_is_asked_again() {
    on_all_stores(|uploads: UploadsBuilder| async move {
        let uploads = uploads.build().unwrap();
        let policy = NoPrograms::new(MOST);
        let client = client(&uploads, &policy);
        let content = noise(10_000);
        for dialect in DIALECTS {
            let before = policy.seen().len();
            let begun = client.send(dialect.request(None, 0, &content[..7], 10_000)).await;
            let name = dialect.name(&begun).unwrap();
            let rest = || dialect.request(Some(&name), 7, &content[7..], 10_000);
            policy.fails.store(true, Ordering::Relaxed);
            assert_eq!(client.send(rest()).await.status, 503, "{dialect:?}");
            policy.fails.store(false, Ordering::Relaxed);
            let reply = client.send(rest()).await;
            assert!(reply.status.is_success(), "{dialect:?} {reply:?}");
            assert_eq!(policy.seen()[before..], [&content[..MOST], &content[..MOST]]);
        }
    });
}

#[test]
fn nothing_that_follows_is_written_before_the_answer() {
    for dialect in [Dialect::Raw, Dialect::Form, Dialect::Tus, Dialect::TusChecksum, Dialect::Draft]
    {
        let (folder, store) = folder();
        run(async {
            let uploads = Uploads::builder(store).build().unwrap();
            let mut policy = NoPrograms::new(MOST);
            policy.answers = Arc::new(Semaphore::new(0));
            let client = client(&uploads, &policy);
            let content = noise(3 << 20);
            let request = dialect.request(None, 0, &content, content.len());
            let sending = client.spawn(request);
            policy.asked.subscribe().wait_for(|asked| *asked == 1).await.unwrap();
            let written = files_below(folder.path());
            let written = written.iter().filter(|path| path.extension().unwrap() == "part");
            let written: u64 = written.map(|path| path.metadata().unwrap().len()).sum();
            assert!(written <= MOST as u64, "{dialect:?}: {written}");
            policy.answers.add_permits(1);
            assert!(sending.await.unwrap().status.is_success(), "{dialect:?}");
        });
    }
}

#[test]
fn a_newer_request_does_not_wait_for_an_answer() {
    on_all_stores(|uploads: UploadsBuilder| async move {
        let uploads = uploads.build().unwrap();
        let mut policy = NoPrograms::new(MOST);
        policy.answers = Arc::new(Semaphore::new(0));
        let client = client(&uploads, &policy);
        let content = noise(10_000);
        let dialect = Dialect::Tus;
        let begun = client.send(dialect.request(None, 0, &content[..7], 10_000)).await;
        let name = dialect.name(&begun).unwrap();
        let first = client.spawn(dialect.request(Some(&name), 7, &content[7..], 10_000));
        policy.asked.subscribe().wait_for(|asked| *asked == 1).await.unwrap();
        let second = client.spawn(dialect.request(Some(&name), 7, &content[7..], 10_000));
        policy.asked.subscribe().wait_for(|asked| *asked == 2).await.unwrap();
        assert!(!first.await.unwrap().status.is_success());
        policy.answers.add_permits(1);
        assert_eq!(second.await.unwrap().status, 204);
        assert_eq!(client.deliveries().len(), 1);
    });
}

#[test]
fn a_file_whose_length_is_told_at_its_end_is_shown_then() {
    on_all_stores(|uploads: UploadsBuilder| async move {
        let uploads = uploads.build().unwrap();
        for (content, status) in [(&b"abc"[..], 204), (&b"MZc"[..], 415), (&b""[..], 204)] {
            let policy = NoPrograms::new(MOST);
            let client = client(&uploads, &policy);
            let headers = [("upload-defer-length", "1")];
            let create = tus_client::request("POST", "/files", &headers, TestBody::empty());
            let path = client.send(create).await.header("location").unwrap().to_owned();
            let bytes = TestBody::of(content.to_vec());
            assert_eq!(client.send(tus_client::patch(&path, 0, &[], bytes)).await.status, 204);
            assert!(policy.seen().is_empty());
            let length = content.len().to_string();
            let end = [("upload-length", &*length)];
            let end = tus_client::patch(&path, content.len() as u64, &end, TestBody::empty());
            assert_eq!(client.send(end).await.status, status);
            assert_eq!(policy.seen(), [content]);
        }
    });
}

#[test]
fn a_file_without_bytes_is_shown_too() {
    run(async {
        let policy = NoPrograms::new(MOST);
        let client = client(&in_memory(), &policy);
        let headers = [("upload-length", "0")];
        let create = tus_client::request("POST", "/files", &headers, TestBody::empty());
        assert_eq!(client.send(create).await.status, 201);
        assert_eq!(policy.seen(), [b""]);
    });
}

#[test]
fn who_wants_no_byte_is_not_asked() {
    run(async {
        let policy = NoPrograms::new(0);
        let client = client(&in_memory(), &policy);
        for dialect in DIALECTS {
            let reply = send(&client, dialect, b"MZabc", &[2, 5]).await;
            assert!(reply.status.is_success(), "{dialect:?} {reply:?}");
        }
        assert!(policy.seen().is_empty());
    });
}

/// All bytes came, and the request broke before its end, which nobody could tell from one that has
/// more: what was not accepted must not count as a file that was.
#[test]
fn a_whole_file_of_a_broken_request_is_shown_before_it_counts() {
    on_all_stores(|uploads: UploadsBuilder| async move {
        let uploads = uploads.build().unwrap();
        for (content, came, stands) in
            [(&b"MZcde"[..], 5, "0"), (&b"MZcde"[..], 4, "4"), (&b"abcde"[..], 5, "0")]
        {
            let policy = NoPrograms::new(MOST);
            let client = client(&uploads, &policy);
            let headers = [("upload-length", "5")];
            let create = tus_client::request("POST", "/files", &headers, TestBody::empty());
            let path = client.send(create).await.header("location").unwrap().to_owned();
            let bytes = content[..came].to_vec();
            let body = TestBody::new([Piece::Data(bytes.into()), Piece::Fail]);
            let broken = client.send(tus_client::patch(&path, 0, &[], body)).await;
            assert!(!broken.status.is_success(), "{broken:?}");
            assert!(policy.seen().is_empty());
            let head = tus_client::request("HEAD", &path, &[], TestBody::empty());
            assert_eq!(client.send(head).await.header("upload-offset"), Some(stands));
            let at = stands.parse::<usize>().unwrap();
            let rest = TestBody::of(content[at..].to_vec());
            let reply = client.send(tus_client::patch(&path, at as u64, &[], rest)).await;
            assert_eq!(reply.status, if content.starts_with(b"MZ") { 415 } else { 204 });
            assert_eq!(policy.seen(), [content]);
        }
    });
}

#[test]
fn a_chunk_whose_id_follows_is_shown_as_that_of_its_upload() {
    on_all_stores(|builder| async move {
        let uploads = builder.build().unwrap();
        let owned = uploads.for_owner(None);
        for bytes in [&b"MZ and more"[..], b"no program"] {
            let policy = OfUploads::default();
            let layer = ChunkedUploadLayer::new(uploads.clone()).policy(policy.clone());
            let client = Client::new(layer);
            let new = NewUpload::new().filename("real.png");
            let id = owned.create(new).await.unwrap().commit().await.unwrap().id;
            let request = Dialect::IdLast.request(Some(id.as_str()), 0, bytes, bytes.len());
            let reply = client.send(request).await;
            let shown = policy.0.lock().unwrap().clone();
            assert!(shown.contains(&id), "{shown:?}");
            let refused = bytes.starts_with(b"MZ");
            assert_eq!(reply.status, if refused { 415 } else { 200 }, "{reply:?}");
            assert_eq!(owned.status(&id).await.is_err(), refused, "{bytes:?}");
        }
    });
}

/// Takes no programs as the upload `real.png`, and remembers about which it was asked.
#[derive(Clone, Default)]
struct OfUploads(Arc<Mutex<Vec<UploadId>>>);

impl Policy for OfUploads {
    fn first_bytes_wanted(&self) -> usize {
        4
    }

    async fn first_bytes(&self, first: &FirstBytes<'_>) -> Result<(), Refusal> {
        self.0.lock().unwrap().push(first.upload.id);
        match first.upload.filename().as_deref() == Some("real.png")
            && first.bytes.starts_with(b"MZ")
        {
            true => Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "No programs")),
            false => Ok(()),
        }
    }
}
