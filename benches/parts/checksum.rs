//! The running checksum: its speed, and its state in the record.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group};
use tower_chunked_upload::benching::Checksum;

use crate::support::noise;

criterion_group!(benches, checksum);

fn checksum(criterion: &mut Criterion) {
    let batch = noise(256 * 1024);
    for (name, mut running) in [("md5", Checksum::md5()), ("crc32", Checksum::crc32())] {
        let mut group = criterion.benchmark_group(format!("checksum/{name}"));
        group.throughput(Throughput::Bytes(batch.len() as u64));
        group.bench_function("update", |bencher| bencher.iter(|| running.update(&batch)));
    }
    let mut running = Checksum::md5();
    // A part of a block is kept in the state as well.
    running.update(&batch[..100]);
    let state = running.save();
    assert_eq!(Checksum::resume(&state).unwrap().save(), state);

    let mut group = criterion.benchmark_group("checksum/md5");
    group.bench_function("save", |bencher| bencher.iter(|| running.save()));
    group.bench_function("load", |bencher| {
        bencher.iter(|| Checksum::resume(black_box(&state)).unwrap());
    });
}
