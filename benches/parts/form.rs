//! The form reader, at the frames that it meets: of a slow network, of HTTP/2, of hyper's read
//! buffer when it is bounded and when it is not.

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use tower_chunked_upload::benching::form as read;

use crate::support::{Form, noise};

criterion_group!(benches, form);

fn form(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("form");
    for (name, content) in [("noise", noise(FRAMES[3])), ("look-alikes", look_alikes(FRAMES[3]))] {
        for length in FRAMES {
            let frames = frames(&content[..length]);
            let file = (frames.len() - 2) * length;
            let content_type = Form::content_type();
            let read = || read(&content_type, frames.iter().cloned());
            assert_eq!(read(), Some(file));

            group.throughput(Throughput::Bytes(file as u64));
            let id = BenchmarkId::new(name, format!("{} KiB", length >> 10));
            group.bench_function(id, |bencher| bencher.iter(read));
        }
    }
}

/// A form whose file comes in frames of this content. It is one buffer again and again, as it is
/// with hyper, so that the reader is measured and not the memory.
fn frames(content: &[u8]) -> Vec<Bytes> {
    let content = Bytes::copy_from_slice(content);
    let mut frames = vec![Form::new().open_file("f")];
    frames.resize(1 + FILE / content.len(), content);
    frames.push(Form::close());
    frames
}

/// Lines of 64 bytes, each of which begins with the whole boundary and then goes on.
fn look_alikes(length: usize) -> Vec<u8> {
    let line = format!("{:x<64}", format!("\r\n--{}", Form::BOUNDARY));
    line.bytes().cycle().take(length).collect()
}

const FRAMES: [usize; 4] = [1 << 10, 16 << 10, 64 << 10, 400 << 10];
const FILE: usize = 8 << 20;
