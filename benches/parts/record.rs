//! The record: its text, and what the filesystem store makes of it. The store's figures hold a hop
//! to a blocking thread each.

use std::hint::black_box;
use std::time::SystemTime;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tower_chunked_upload::store::fs::FsWriter;
use tower_chunked_upload::store::{Commit, FsStore, Store, Writer};
use tower_chunked_upload::{Progress, Upload, UploadId};

criterion_group!(benches, text, store);

fn text(criterion: &mut Criterion) {
    let upload = upload();
    let text = serde_json::to_string(&upload).unwrap();
    let progress = serde_json::to_string(&upload.progress).unwrap();
    assert_eq!(serde_json::from_str::<Upload>(&text).unwrap(), upload);

    let mut group = criterion.benchmark_group("record/text");
    group.bench_function("write", |bencher| {
        bencher.iter(|| serde_json::to_string(black_box(&upload)).unwrap());
    });
    group.bench_function("write progress", |bencher| {
        bencher.iter(|| serde_json::to_string(black_box(&upload.progress)).unwrap());
    });
    group.bench_function("read", |bencher| {
        bencher.iter(|| serde_json::from_str::<Upload>(black_box(&text)).unwrap());
    });
    group.bench_function("read progress", |bencher| {
        bencher.iter(|| serde_json::from_str::<Progress>(black_box(&progress)).unwrap());
    });
}

fn store(criterion: &mut Criterion) {
    let folder = TempDir::new().unwrap();
    let store = FsStore::new(folder.path().to_str().unwrap());
    let runtime = Builder::new_current_thread().build().unwrap();
    let mut group = criterion.benchmark_group("record/store");

    group.bench_function("hop alone", |bencher| {
        bencher.iter(|| runtime.block_on(async { tokio::task::spawn_blocking(|| ()).await }));
    });
    group.bench_function("create", |bencher| {
        bencher.iter_batched(
            upload,
            |upload| create(&runtime, &store, upload),
            BatchSize::LargeInput,
        );
    });
    let mut writer = create(&runtime, &store, upload());
    group.bench_function("append", |bencher| {
        bencher.iter(|| commit(&runtime, &mut writer));
    });

    for lines in [1, 10, 100] {
        let mut writer = create(&runtime, &store, upload());
        (1..lines).for_each(|_| commit(&runtime, &mut writer));
        let id = writer.upload().id;
        group.bench_function(format!("load {lines} lines"), |bencher| {
            bencher.iter(|| runtime.block_on(store.load(&id)).unwrap());
        });
    }
}

fn create(runtime: &Runtime, store: &FsStore, upload: Upload) -> FsWriter {
    let mut writer = runtime.block_on(store.create(upload)).unwrap();
    commit(runtime, &mut writer);
    writer
}

/// Appends a line, and moves nothing but the record.
fn commit(runtime: &Runtime, writer: &mut FsWriter) {
    let upload = writer.upload().clone();
    runtime.block_on(writer.commit(Commit::new(Bytes::new(), upload))).unwrap();
}

/// As a browser begins one, with a checksum.
fn upload() -> Upload {
    let now = SystemTime::now();
    let mut upload = Upload::new(UploadId::random(), now);
    upload.owner = Some("alice".into());
    upload.raw_filename = "holiday in July.mp4".to_owned();
    upload.content_type = Some("video/mp4".to_owned());
    upload.fields = vec![("folder".to_owned(), "2026".to_owned())];
    upload.progress.total = Some(10 << 30);
    upload.progress.checksum = format!("md5:{}", "0123456789abcdef".repeat(11)).parse().ok();
    // To the millisecond, as it is written down.
    upload.progress.expires = Some(upload.created);
    upload
}
