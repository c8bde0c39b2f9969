//! What it costs to read what a hostile client sends: time that grows with the bytes, and no memory.

use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_chunked_upload::{ChunkedUploadLayer, RequestBody, Uploads};

use crate::is_long;
use crate::support::*;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// A release build that takes longer for 4 MiB has a defect.
const MUCH: Duration = Duration::from_millis(250);
/// The buffers of a fast upload, the fields of a form, and its record, more than once.
const PEAK: u64 = 2 * MIB as u64;

/// A body in frames of one size.
struct Frames {
    bytes: Bytes,
    size: usize,
    read: Arc<AtomicU64>,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let size = self.size.min(self.bytes.len());
        if size == 0 {
            return Poll::Ready(None);
        }
        let frame = self.bytes.split_to(size);
        self.read.fetch_add(size as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }
}

struct Hostile {
    name: &'static str,
    path: &'static str,
    content_type: String,
    body: Bytes,
    status: u16,
    /// What the refusal says, if the body is long enough to be refused for it.
    detail: &'static str,
    /// How many bytes are read at most.
    most: usize,
}

/// The piece again and again.
fn flood(piece: &[u8], size: usize) -> Vec<u8> {
    piece.repeat(size / piece.len() + 1)
}

/// A form that is refused after so many bytes.
fn form(name: &'static str, most: usize, detail: &'static str, body: impl Into<Bytes>) -> Hostile {
    let content_type = Form::content_type();
    Hostile { name, path: CHUNK, content_type, body: body.into(), status: 400, detail, most }
}

/// A form that is right, with a file that looks wrong.
fn file(name: &'static str, content: &[u8]) -> Hostile {
    let body = Form::new().file("a", content).end();
    Hostile { status: 200, ..form(name, body.len(), "", body) }
}

fn part(head: &str, content: &[u8]) -> Bytes {
    Form::new().part(head.as_bytes(), content).bytes()
}

fn completion(name: &'static str, content_type: &str, piece: &[u8], size: usize) -> Hostile {
    Hostile {
        path: COMPLETE,
        content_type: content_type.to_owned(),
        status: 413,
        ..form(name, 64 * KIB, "The request is too large", flood(piece, size))
    }
}

fn completions(size: usize) -> Vec<Hostile> {
    vec![
        completion("pairs", "application/x-www-form-urlencoded", b"a=&", size),
        completion("JSON of arrays", "application/json", b"[", size),
        completion("JSON of objects", "application/json", b"{\"a\":", size),
    ]
}

/// The same, as large as a completion may be.
fn small_completions() -> Vec<Hostile> {
    let small = completions(64 * KIB - 16).into_iter();
    small.map(|hostile| Hostile { status: 400, ..hostile }).collect()
}

/// Parts of a form, again and again.
fn floods_of_parts(size: usize) -> Vec<Hostile> {
    let disposition = "Content-Disposition: form-data";
    let params: String = (0..1_500).map(|n| format!("; a{n}=b")).collect();
    let name = "%22\\\"".repeat(3_000);
    let star = "%C3%A4".repeat(2_500);
    let (many, long) = ("too many parts", "the text fields are too long");
    let parts = [
        ("parts", many, part(&format!("{disposition}; name=a"), b"1")),
        ("parts without a name", many, part("X-A: b", b"1")),
        ("files", many, part(&format!("{disposition}; name=x; filename=y"), &[b'x'; 1_000])),
        ("parts with many parameters", many, part(&format!("{disposition}; name=a{params}"), b"")),
        ("parts with long names", long, part(&format!("{disposition}; name=\"{name}\""), b"")),
        ("files with long names", many, {
            part(&format!("{disposition}; name=a; filename*=UTF-8''{star}"), b"")
        }),
    ];
    let floods = parts.map(|(name, detail, part)| {
        // What is escaped counts as what it stands for.
        let most = if detail == long { 3 * 256 * KIB } else { 128 * part.len() };
        form(name, most, detail, flood(&part, size))
    });
    floods.into()
}

/// What is no form, or begins as one and does not end.
fn malformed(size: usize) -> Vec<Hostile> {
    let open = |head: &str| format!("--{}\r\n{head}", Form::BOUNDARY).into_bytes();
    let heads = |head: &str| [open(""), flood(head.as_bytes(), size)].concat();
    let line = format!("\r\n--{}", Form::BOUNDARY);
    let nested = [
        open("Content-Disposition: form-data; name=\"file\"\r\n"),
        b"Content-Type: multipart/mixed; boundary=in\r\n\r\n".to_vec(),
        flood(b"--in\r\nContent-Disposition: file; filename=\"a\"\r\n\r\nx\r\n", size),
    ];
    let (much, bad) = ("the form has too much content besides the file", "a part are malformed");
    let long = "the headers of a part are too long";
    vec![
        form("preamble", MIB, much, vec![b'x'; 4 * size]),
        form("blank lines before", MIB, much, flood(b"\r\n", 4 * size)),
        form("other boundaries before", MIB, much, flood(b"\r\n--x\r\n", 4 * size)),
        form("boundaries before", KIB, bad, flood(line.as_bytes(), size)),
        form("header without end", 16 * KIB, long, [open("X-A: "), vec![b'x'; size]].concat()),
        form("headers", 16 * KIB, long, heads("X-A: b\r\n")),
        form("folded headers", KIB, bad, heads("X-A: b\r\n c\r\n")),
        form("NULs in a header", KIB, bad, heads("X-A: \0\r\n")),
        form("LF in a head", KIB, bad, heads("\n")),
        form("CR in a head", 16 * KIB, long, heads("\r")),
        form("nested forms", 64 * KIB, "has no filename", nested.concat()),
        form("no end", size + KIB, "", Form::new().file("a", &vec![b'x'; size]).bytes()),
        Hostile {
            content_type: format!("multipart/form-data; boundary={}", "b".repeat(1_000)),
            ..form("boundary of 1,000 characters", 0, "no valid boundary", vec![b'b'; size])
        },
    ]
}

fn files(size: usize) -> Vec<Hostile> {
    let line = format!("\r\n--{}", Form::BOUNDARY).into_bytes();
    let before = |more: &str| flood(&[&line[..], more.as_bytes()].concat(), size);
    let prefixes: Vec<u8> = (0..=line.len()).flat_map(|end| &line[..end]).copied().collect();
    vec![
        file("most of a boundary on every line", &flood(&line[..line.len() - 1], size)),
        file("boundary with more on every line", &before("x")),
        file("boundary with blanks on every line", &before(&format!("{}x", " ".repeat(60)))),
        file("half an end on every line", &before("-x")),
        file("prefixes of the boundary", &[&flood(&prefixes, size)[..], b"x"].concat()),
        file("CR LF", &flood(b"\r\n", size)),
        file("CR", &flood(b"\r", size)),
        file("LF", &flood(b"\n", size)),
        file("hyphens", &flood(b"-", size)),
    ]
}

/// What reading it took.
struct Cost {
    status: u16,
    answer: Bytes,
    read: u64,
    cpu: Duration,
    peak: u64,
    allocations: u64,
}

/// On one thread, so that all of it but hashing and writing is seen.
fn cost(hostile: &Hostile, size: usize) -> Cost {
    let (_folder, store) = folder();
    let uploads = Uploads::builder(store).build().unwrap();
    let layer = ChunkedUploadLayer::new(uploads).drain(0, Duration::from_secs(10));
    let service = layer.layer(service_fn(|_: Request<RequestBody<Frames>>| {
        ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
    }));
    let read = Arc::new(AtomicU64::new(0));
    let body = Frames { bytes: hostile.body.clone(), size, read: Arc::clone(&read) };
    let request = post(hostile.path).header(CONTENT_TYPE, &hostile.content_type);
    let request = request.body(body).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut answer = None;
    let before = cpu_time();
    let measured = allocation_counter::measure(|| {
        answer = Some(runtime.block_on(service.oneshot(request)).unwrap());
    });
    let cpu = cpu_time() - before;
    let response = answer.unwrap();
    let status = response.status().as_u16();
    let answer = runtime.block_on(response.into_body().collect()).unwrap().to_bytes();
    let read = read.load(Ordering::Relaxed);
    let (peak, allocations) = (measured.bytes_max, measured.count_total);
    Cost { status, answer, read, cpu, peak, allocations }
}

/// What this thread has run so far, to be printed. Only Linux tells it.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

#[test]
fn reading_costs_no_more_than_its_bytes_and_no_memory() {
    // Small frames cost a debug build too much.
    let sizes = [(1, 20 * KIB), (16, 100 * KIB), (KIB, 512 * KIB), (64 * KIB, MIB)];
    let mut dear = Vec::new();
    for (frame, size) in sizes {
        let size = if is_long() { 4 * MIB } else { size };
        let mut forms = floods_of_parts(size);
        forms.extend(malformed(size));
        forms.extend(files(size));
        if frame >= KIB {
            forms.extend(completions(size));
        }
        forms.extend(small_completions());
        for hostile in forms {
            if check(&hostile, frame) > MUCH {
                dear.push(format!("{} in frames of {frame}", hostile.name));
            }
        }
    }
    // Only of a release build does this say anything.
    if !cfg!(debug_assertions) {
        println!("hostile forms that cost more than {MUCH:?} of CPU: {dear:?}");
    }
}

/// Gives the time that reading it took.
fn check(hostile: &Hostile, frame: usize) -> Duration {
    let Cost { status, answer, read, cpu, peak, allocations } = cost(hostile, frame);
    let name = format!("{} in frames of {frame}", hostile.name);
    let answer = String::from_utf8_lossy(&answer);
    println!(
        "{name}: {status}, {read} of {} bytes read, {:.1} ms of CPU, {} KiB at most, {allocations} \
         allocations",
        hostile.body.len(),
        cpu.as_secs_f64() * 1e3,
        peak / 1024,
    );
    assert_eq!(status, hostile.status, "{name}: {answer}");
    let most = hostile.most + 2 * frame + KIB;
    assert!(read <= most as u64, "{name}: {read} of {most} bytes read");
    if hostile.body.len() > most {
        assert!(answer.contains(hostile.detail), "{name}: {answer}");
    } else if status == 400 && hostile.path == CHUNK {
        assert!(answer.contains("the form ended before its last boundary"), "{name}: {answer}");
    }
    assert!(peak <= PEAK, "{name}: {peak} bytes of memory");
    assert!(allocations <= 500 + read / 4, "{name}: {allocations} allocations");
    cpu
}
