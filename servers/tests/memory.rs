//! What a server takes for uploads: memory that does not grow with the file, little for a slow
//! upload, and a completion that does not read the file.
//!
//! The default run takes small files; `LONG=1` takes full sizes.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/ports.rs"]
mod ports;
#[path = "support/process.rs"]
mod process;
#[path = "support/server.rs"]
mod server;

use std::convert::Infallible;
use std::env;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use serde_json::Value;
use tempfile::TempDir;
use tower::{Layer, ServiceExt};
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{ChunkedUploadLayer, Uploads};

use process::{KIB, MIB, number};
use server::{
    DEADLINE, Form, Server, Shape, World, complete_request, exchange, is_long, read_answer, rerun,
    until, upload_id,
};

#[test]
fn a_single_body_of_any_size_takes_constant_memory() {
    let server = Measured::start();
    let size = if is_long() { 256 * MIB } else { 64 * MIB };
    server.warm_up();
    let before = server.server.forget_peak();
    let upload = server.upload(&[size], Shape::IdFirst);
    let peak = server.server.peak_above(before);
    println!("{} MiB at once: peak + {} KiB", size / MIB, peak / KIB);
    assert_eq!(upload["offset"], size);
    assert!(peak < 4 * MIB, "{peak} bytes");
}

#[test]
fn a_chunk_with_its_id_at_the_end_takes_constant_memory() {
    let server = Measured::start();
    let size = if is_long() { 128 * MIB } else { 32 * MIB };
    server.warm_up();
    let before = server.server.forget_peak();
    let upload = server.upload(&[1000, size], Shape::IdLast);
    let peak = server.server.peak_above(before);
    println!("{} MiB with upload_id last: peak + {} KiB", size / MIB, peak / KIB);
    assert_eq!(upload["offset"], size + 1000);
    assert!(peak < 4 * MIB, "{peak} bytes");
}

/// What the docs promise: a slow upload takes some 8 KiB, and what `UploadsBuilder::max_batches` says of
/// its buffer only while its bytes come. A connection is not counted.
#[test]
fn a_slow_upload_takes_its_small_buffer_and_little_else() {
    if env::var_os(ALONE).is_none() {
        // In a process of its own, since it looks at the whole of its memory.
        return rerun("a_slow_upload_takes_its_small_buffer_and_little_else", ALONE, &[]);
    }
    let folder = TempDir::with_prefix_in("memory-", env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = FsStore::new(folder.path().join("%Y"));
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let uploads = Uploads::builder(store).build().unwrap();
        let inner = tower::service_fn(async |_: Request<_>| {
            Ok::<_, Infallible>(Response::new(String::new()))
        });
        let service = ChunkedUploadLayer::new(uploads).layer(inner);
        let stall = async |stored: u64| {
            let request = Request::post("/api/chunked_upload")
                .header("content-disposition", "attachment; filename=zeros.bin")
                .header("content-range", "bytes 0-1048575/1048576");
            let request = request.body(Stalling { pieces: SENT / PIECE }).unwrap();
            tokio::spawn(service.clone().oneshot(request));
            // One after the other: a slow upload has written a batch before it gathers the next.
            let end = Instant::now() + DEADLINE;
            while size_below(folder.path()) < stored {
                assert!(Instant::now() < end, "the bytes are not stored");
                tokio::time::sleep(POLL).await;
            }
        };
        let resident = || number(Path::new("/proc/self/status"), "VmRSS:") * KIB;
        let warm = 8;
        let mut before = 0;
        for count in 1..=warm + SLOW {
            stall(count * SENT).await;
            if count == warm {
                before = resident();
            }
        }
        let each = resident().saturating_sub(before) / SLOW;
        println!("{SLOW} slow uploads: {each} bytes each, without their connections");
        assert!(each <= SMALL, "{each} bytes each");
    });
}

/// Uploads that were fast and stall, behind a real connection each: what the builder allows for
/// all of them, what a slow one may have, and what hyper reads into by default.
#[test]
fn stalled_uploads_do_not_keep_what_was_sent() {
    let server = Measured::start();
    server.warm_up();
    let before = server.server.forget_peak();
    let mut streams: Vec<_> = (0..SLOW).map(|_| server.begin(2 * MIB)).collect();
    for stream in &mut streams {
        write_zeros(stream, MIB);
    }
    until("the bytes are stored", || server.world.stored() >= SLOW * (MIB - SMALL));
    let now = server.server.resident().saturating_sub(before);
    let peak = server.server.peak_above(before);
    println!(
        "{SLOW} uploads stalled after 1 MiB: {} bytes each, {} at the peak",
        now / SLOW,
        peak / SLOW
    );
    let bound = 16 * MIB + SLOW * (2 * SMALL + CONNECTION);
    assert!(peak <= bound, "{} bytes each at the peak", peak / SLOW);
}

#[test]
fn completing_does_not_read_the_file() {
    let server = Measured::start();
    let (large, md5) = if is_long() {
        (1024 * MIB, "cd573cfaace07e7949bc0c46028904ff")
    } else {
        (64 * MIB, "7f614da9329cd3aebf59b91aadc30bf0")
    };
    for (size, md5) in [(MIB, "b6d81b360a5672d80c27430f39153e2c"), (large, md5)] {
        let chunks = vec![MIB.min(size); usize::try_from(size / MIB).unwrap()];
        let upload = server.upload(&chunks, Shape::IdFirst);
        let id = upload_id(&upload);
        let before = server.server.io();
        let start = Instant::now();
        let completion = server.complete(&id, md5);
        let took = start.elapsed();
        let after = server.server.io();
        let [read, from_disk, written] = [0, 1, 2].map(|count| after[count] - before[count]);
        println!(
            "completing {} MiB: {took:?}, {read} bytes read, {from_disk} of them from the disk, \
             {written} written",
            size / MIB
        );
        assert_eq!(completion["size"], size);
        // What the sweeper, which goes on, reads of the records is in it too.
        assert!(read + written < MIB / 2, "{read} bytes were read and {written} written");
    }
}

/// A server and what it takes.
struct Measured {
    world: World,
    server: Server,
}

impl Measured {
    fn start() -> Self {
        let world = World::new();
        let server = world.start(&[]);
        Self { world, server }
    }

    /// Lets the server touch what it touches only once.
    fn warm_up(&self) {
        for id in [Shape::IdFirst, Shape::IdLast] {
            let upload = self.upload(&[1000, MIB], id);
            assert_eq!(upload["offset"], MIB + 1000);
        }
    }

    /// Uploads zeros in chunks of these sizes; gives the last answer.
    fn upload(&self, chunks: &[u64], shape: Shape) -> Value {
        let mut stream = self.server.connect();
        let total = chunks.iter().sum();
        let mut answer = Value::Null;
        let mut start = 0;
        for length in chunks {
            let form = zeros(start, *length, total, answer["upload_id"].as_str(), shape);
            stream.write_all(form.head.as_bytes()).unwrap();
            write_zeros(&mut stream, *length);
            stream.write_all(form.tail.as_bytes()).unwrap();
            answer = read_answer(&mut stream).unwrap().accepted().unwrap();
            start += length;
        }
        answer
    }

    /// Begins an upload, without a byte of its only chunk.
    fn begin(&self, length: u64) -> TcpStream {
        let mut stream = self.server.connect();
        let form = zeros(0, length, length, None, Shape::IdFirst);
        stream.write_all(form.head.as_bytes()).unwrap();
        stream
    }

    fn complete(&self, id: &str, md5: &str) -> Value {
        let mut stream = self.server.connect();
        let answer = exchange(&mut stream, &complete_request(id, md5)).unwrap();
        answer.accepted().unwrap()
    }
}

/// A body that brings some pieces of zeros and then nothing for ever.
struct Stalling {
    pieces: u64,
}

impl Body for Stalling {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(left) = self.pieces.checked_sub(1) else { return Poll::Pending };
        self.pieces = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; PIECE as usize])))))
    }
}

/// The request around a chunk of zeros.
fn zeros(start: u64, length: u64, total: u64, id: Option<&str>, shape: Shape) -> Form {
    Form::new(shape, "zeros.bin", id, length, Some((start..start + length, total)))
}

fn write_zeros(stream: &mut TcpStream, mut length: u64) {
    let zeros = vec![0; 256 * 1024];
    while length > 0 {
        let more = length.min(zeros.len() as u64);
        stream.write_all(&zeros[..usize::try_from(more).unwrap()]).unwrap();
        length -= more;
    }
}

fn size_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

const POLL: std::time::Duration = std::time::Duration::from_millis(1);
/// Set in the process that measures itself.
const ALONE: &str = "MEMORY_ALONE";
/// How many uploads stall.
const SLOW: u64 = 200;
/// How much a slow one has sent then, and how much at a time.
const SENT: u64 = 64 * KIB;
const PIECE: u64 = 4 * KIB;
/// An upload's own buffer.
const SMALL: u64 = 16 * KIB;
/// hyper's largest read buffer, which it may double to get room, its write buffer and its state.
const CONNECTION: u64 = 2 * 408 * KIB + 32 * KIB;
