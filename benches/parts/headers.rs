//! The headers of a chunk.

use std::hint::black_box;

use criterion::{Criterion, criterion_group};
use tower_chunked_upload::benching::{content_range, disposition_of_part, disposition_of_request};

criterion_group!(benches, headers);

fn headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("headers");

    let range = b"bytes 1073741824-1082130431/10737418240";
    assert_eq!(content_range(range), Some(8 << 20));
    group.bench_function("content-range", |bencher| {
        bencher.iter(|| content_range(black_box(range)));
    });

    let part = br#"form-data; name="file"; filename="holiday in July.mp4""#;
    assert_eq!(disposition_of_part(part).as_deref(), Some(NAME));
    group.bench_function("content-disposition of a part", |bencher| {
        bencher.iter(|| disposition_of_part(black_box(part)));
    });

    let request = br#"attachment; filename="holiday%20in%20July.mp4""#;
    assert_eq!(disposition_of_request(request).as_deref(), Some(NAME));
    group.bench_function("content-disposition of a request", |bencher| {
        bencher.iter(|| disposition_of_request(black_box(request)));
    });
}

const NAME: &str = "holiday in July.mp4";
