use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::store::Handover;

async fn begin(store: &FsStore, bytes: &'static [u8]) -> (FsWriter, Upload) {
    let mut upload = Upload::new(UploadId::random(), SystemTime::now());
    let mut writer = store.create(upload.clone()).await.unwrap();
    upload.progress.offset = bytes.len() as u64;
    writer.commit(Commit::new(bytes, upload.clone())).await.unwrap();
    (writer, upload)
}

fn note(upload: &Upload, handover: Handover) -> Commit {
    Commit::new(Bytes::new(), upload.clone()).with_handover(handover)
}

fn append(path: &Path, bytes: &[u8]) {
    fs::File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[tokio::test]
async fn what_a_crash_left_after_the_offset_stays_until_the_file_is_handed_over() {
    let home = TempDir::new().unwrap();
    let store = FsStore::new(home.path());
    let (writer, upload) = begin(&store, b"old").await;
    let path = writer.path().unwrap();
    drop(writer);
    append(&path, b"rubbish");
    drop(store.writer(&upload.id).await.unwrap());
    store.settle().await;
    assert_eq!(fs::read(&path).unwrap(), b"oldrubbish");

    let mut writer = store.writer(&upload.id).await.unwrap();
    writer.commit(note(&upload, Handover::Given)).await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

/// A file that was persisted belongs to the application, even if it stays where the store had it.
#[tokio::test]
async fn a_file_that_was_persisted_in_its_place_is_never_cut() {
    for taken in [false, true] {
        let home = TempDir::new().unwrap();
        let store = FsStore::new(home.path());
        let (mut writer, upload) = begin(&store, b"bytes").await;
        let path = writer.path().unwrap();
        writer.commit(note(&upload, Handover::Given)).await.unwrap();
        writer.persist(&path, true).await.unwrap();
        append(&path, b" and more");
        // If it is not taken, the process ended before the application answered.
        if taken {
            writer.commit(note(&upload, Handover::Taken)).await.unwrap();
        }
        drop(writer);

        let mut writer = store.writer(&upload.id).await.unwrap();
        writer.commit(note(&upload, Handover::Given)).await.unwrap();
        drop(writer);
        store.settle().await;
        assert_eq!(fs::read(&path).unwrap(), b"bytes and more", "taken: {taken}");
        store.writer(&upload.id).await.unwrap().remove().await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"bytes and more", "taken: {taken}");
    }
}
