//! Digests that are computed beside the configured checksum while the bytes arrive.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha1::Digest as _;
use support::*;
use tower_chunked_upload::store::{Commit, FsStore, MemoryStore, Store, Writer};
use tower_chunked_upload::{
    Append, AppendMode, Digest, DigestAlgorithm, ErrorKind, NewUpload, OwnerUploads, Status,
    UploadId, Uploads, UploadsBuilder,
};

use DigestAlgorithm::{Crc32c, Md5, Sha1, Sha256, Sha512};

/// The digest by one of the libraries, and not by the code that is tested.
fn digest(algorithm: DigestAlgorithm, bytes: &[u8]) -> Digest {
    let digest = match algorithm {
        Md5 => md5::Md5::digest(bytes).to_vec(),
        Sha1 => sha1::Sha1::digest(bytes).to_vec(),
        Sha256 => sha2::Sha256::digest(bytes).to_vec(),
        Sha512 => sha2::Sha512::digest(bytes).to_vec(),
        Crc32c => crc32c::crc32c(bytes).to_be_bytes().to_vec(),
        _ => panic!("{algorithm:?}"),
    };
    Digest::from_bytes(algorithm, &digest).unwrap()
}

fn all(bytes: &[u8]) -> [Digest; 5] {
    DigestAlgorithm::ALL.map(|algorithm| digest(algorithm, bytes))
}

fn owner(builder: UploadsBuilder) -> OwnerUploads {
    builder.build().unwrap().for_owner(None)
}

fn every() -> NewUpload {
    NewUpload::new().digests(DigestAlgorithm::ALL)
}

async fn written(mut append: Append, bytes: &[u8]) -> Append {
    for piece in bytes.chunks(70_000) {
        append.write(piece).await.unwrap();
    }
    append
}

async fn begin(uploads: &OwnerUploads, new: NewUpload, bytes: &[u8]) -> UploadId {
    written(uploads.create(new).await.unwrap(), bytes).await.commit().await.unwrap().id
}

async fn push(uploads: &OwnerUploads, id: &UploadId, bytes: &[u8], mode: AppendMode) {
    let append = uploads.acquire(id).await.unwrap().append(mode);
    written(append, bytes).await.commit().await.unwrap();
}

/// Changes the states in a record, as another version may have written it.
async fn rewrite(
    store: &impl Store,
    id: &UploadId,
    change: impl FnOnce(&mut tower_chunked_upload::Progress),
) {
    let mut writer = store.writer(id).await.unwrap();
    let mut upload = writer.upload().clone();
    change(&mut upload.progress);
    writer.commit(Commit::new(Bytes::new(), upload)).await.unwrap();
}

fn was_read(store: &Double) -> bool {
    store.calls().contains(&Call::Open)
}

/// A file in four pieces, each brought by another process, some of whose requests fail.
fn in_pieces_on(open: impl AsyncFn() -> UploadsBuilder) {
    run(async {
        let content = noise(400_000);
        let handle = async || owner(open().await);
        let id = begin(&handle().await, every(), &content[..1]).await;
        for (from, to, mode) in [
            (1, 63, AppendMode::AllOrNothing),
            (63, 200_001, AppendMode::KeepWhatCame),
            (200_001, 400_000, AppendMode::AllOrNothing),
        ] {
            let uploads = handle().await;
            let append = uploads.append(&id, from as u64, AppendMode::AllOrNothing).await.unwrap();
            drop(written(append, b"what was never acknowledged").await);
            push(&handle().await, &id, &content[from..to], mode).await;
            let upload = handle().await.status(&id).await.unwrap();
            for expected in all(&content[..to]) {
                assert_eq!(upload.digest_of(expected.algorithm()), Some(expected));
            }
        }
        for wrong in DigestAlgorithm::ALL {
            let mut digests = all(&content);
            *digests.iter_mut().find(|it| it.algorithm() == wrong).unwrap() =
                digest(wrong, b"other");
            let refused = handle().await.complete(&id, digests).await.unwrap_err();
            assert_eq!(*refused.kind(), ErrorKind::ChecksumMismatch, "{wrong:?}");
        }
        let uploads = handle().await;
        let completion = uploads.complete(&id, all(&content)).await.unwrap();
        for expected in all(&content) {
            assert_eq!(completion.file().digest_of(expected.algorithm()), Some(expected));
        }
        assert_eq!(completion.file().digest(), Some(digest(Md5, &content)));
        let upload = completion.finish().await.unwrap();
        assert_eq!(upload.status(), Status::Complete);
        assert_eq!(upload.digest_of(Sha512), Some(digest(Sha512, &content)));
        let upload = handle().await.status(&id).await.unwrap();
        assert_eq!(upload.digest_of(Sha256), Some(digest(Sha256, &content)));
    });
}

#[test]
fn the_digests_of_a_file_in_pieces_are_those_of_the_whole_in_every_store() {
    let memory = MemoryStore::new();
    in_pieces_on(async || Uploads::builder(memory.clone()));
    let folder = tempfile::tempdir().unwrap();
    in_pieces_on(async || Uploads::builder(FsStore::new(folder.path())));
    #[cfg(feature = "object-store")]
    {
        use std::sync::Arc;

        let bucket = Arc::new(object_store::memory::InMemory::new());
        in_pieces_on(async || {
            let bucket = Arc::<object_store::memory::InMemory>::clone(&bucket);
            let store = tower_chunked_upload::store::BucketStore::builder(bucket).connect().await;
            Uploads::builder(store.unwrap())
        });
    }
}

#[tokio::test]
async fn a_given_digest_that_was_computed_does_not_open_the_file() {
    let content = noise(300_000);
    let store = Double::default();
    for checksum in [true, false] {
        let uploads = owner(Uploads::builder(store.clone()).checksum(checksum));
        let id = begin(&uploads, every(), &content[..100_001]).await;
        push(&uploads, &id, &content[100_001..], AppendMode::KeepWhatCame).await;
        let completion = uploads.complete(&id, all(&content)).await.unwrap();
        assert_eq!(completion.file().digest_of(Sha1), Some(digest(Sha1, &content)));
        let configured = checksum.then(|| digest(Md5, &content));
        assert_eq!(completion.file().digest(), configured);
        completion.finish().await.unwrap();
    }
    assert!(!was_read(&store), "{:?}", store.calls());
}

fn data_file(folder: &Path) -> PathBuf {
    let files = files_below(folder);
    files.into_iter().find(|path| path.extension().is_some_and(|it| it == "part")).unwrap()
}

/// Only the states in the record can tell the digests of bytes that are not there any more.
#[test]
fn after_a_restart_the_bytes_before_it_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let handle = || owner(Uploads::builder(FsStore::new(folder.path())));
    let content = noise(300_000);
    let id = run(async {
        let uploads = handle();
        let id = begin(&uploads, every(), &content[..100_000]).await;
        let append = uploads.append(&id, 100_000, AppendMode::AllOrNothing).await.unwrap();
        drop(written(append, &content[100_000..200_000]).await);
        id
    });
    let spoil = |to: usize| {
        let file = data_file(folder.path());
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[..to].fill(0);
        std::fs::write(file, bytes).unwrap();
    };
    spoil(100_000);
    run(push(&handle(), &id, &content[100_000..], AppendMode::AllOrNothing));
    spoil(300_000);
    run(async {
        let completion = handle().complete(&id, all(&content)).await.unwrap();
        assert_eq!(completion.file().digest_of(Sha512), Some(digest(Sha512, &content)));
    });
}

#[tokio::test]
async fn an_algorithm_is_computed_once_and_only_if_somebody_wants_it() {
    for (configured, checksum, asked, more) in [
        (Md5, true, vec![], 0),
        (Md5, true, vec![Md5, Md5], 0),
        (Md5, false, vec![Md5, Md5], 1),
        (Sha256, true, vec![Sha256, Sha512, Sha256, Sha512], 1),
        (Crc32c, true, DigestAlgorithm::ALL.to_vec(), 4),
    ] {
        let builder = Uploads::builder(MemoryStore::new()).digest_algorithm(configured);
        let uploads = owner(builder.checksum(checksum));
        let id = begin(&uploads, NewUpload::new().digests(asked.clone()), b"abc").await;
        let upload = uploads.status(&id).await.unwrap();
        assert_eq!(upload.progress.checksums.len(), more, "{configured:?} {asked:?}");
        for algorithm in DigestAlgorithm::ALL {
            let computed = checksum && algorithm == configured || asked.contains(&algorithm);
            let expected = computed.then(|| digest(algorithm, b"abc"));
            assert_eq!(upload.digest_of(algorithm), expected, "{configured:?} {asked:?}");
        }
    }
}

#[tokio::test]
async fn the_file_is_read_once_for_all_digests_that_were_not_computed() {
    let store = Double::default();
    let uploads = owner(Uploads::builder(store.clone()));
    let id = begin(&uploads, NewUpload::new().digests([Sha1]), b"abc").await;
    uploads.complete(&id, all(b"abc")).await.unwrap().reopen().await.unwrap();
    let opened = |store: &Double| store.calls().iter().filter(|call| **call == Call::Open).count();
    assert_eq!(opened(&store), 1);
    // Their states are in the record now, and go on with the upload.
    push(&uploads, &id, b"def", AppendMode::AllOrNothing).await;
    let completion = uploads.complete(&id, all(b"abcdef")).await.unwrap();
    assert_eq!(completion.file().digest(), Some(digest(Md5, b"abcdef")));
    assert_eq!(opened(&store), 1);
}

#[tokio::test]
async fn two_digests_of_one_algorithm_have_to_be_equal() {
    let uploads = owner(Uploads::builder(MemoryStore::new()));
    let id = begin(&uploads, NewUpload::new(), b"abc").await;
    for algorithm in [Md5, Sha1] {
        let (right, wrong) = (digest(algorithm, b"abc"), digest(algorithm, b"abd"));
        for digests in [[right, wrong], [wrong, right]] {
            let refused = uploads.complete(&id, digests).await.unwrap_err();
            assert_eq!(*refused.kind(), ErrorKind::ChecksumMismatch);
        }
        uploads.complete(&id, [right, right]).await.unwrap().reopen().await.unwrap();
    }
}

/// A state that was not resumed is one of fewer bytes, and a version that knows it must not take it
/// for that of the file.
#[tokio::test]
async fn a_state_that_cannot_be_resumed_is_given_up_and_the_file_is_read() {
    let store = Double::default();
    let uploads = owner(Uploads::builder(store.clone()));
    let id = begin(&uploads, every(), b"abc").await;
    rewrite(&store, &id, |progress| {
        progress.checksums.retain(|state| !format!("{state:?}").contains("sha256"));
        progress.checksums.push("sha256.later".parse().unwrap());
        progress.checksums.push("sha3-256.later".parse().unwrap());
    })
    .await;
    assert_eq!(uploads.status(&id).await.unwrap().digest_of(Sha256), None);
    // As long as nothing is added, it is right.
    uploads.complete(&id, [digest(Sha1, b"abc")]).await.unwrap().reopen().await.unwrap();
    assert_eq!(uploads.status(&id).await.unwrap().progress.checksums.len(), 5);
    push(&uploads, &id, b"def", AppendMode::AllOrNothing).await;
    let upload = uploads.status(&id).await.unwrap();
    assert_eq!(upload.progress.checksums.len(), 3);
    assert_eq!(upload.digest_of(Sha256), None);
    assert_eq!(upload.digest_of(Sha512), Some(digest(Sha512, b"abcdef")));
    let before = store.calls().len();
    let refused = uploads.complete(&id, Some(digest(Sha256, b"abcdeg"))).await.unwrap_err();
    assert_eq!(*refused.kind(), ErrorKind::ChecksumMismatch);
    assert!(store.calls()[before..].contains(&Call::Open));
    uploads.complete(&id, all(b"abcdef")).await.unwrap().reopen().await.unwrap();
    let before = store.calls().len();
    uploads.complete(&id, all(b"abcdef")).await.unwrap().finish().await.unwrap();
    assert!(!store.calls()[before..].contains(&Call::Open));
}

#[tokio::test]
async fn every_saved_state_is_compared_where_files_are_read_back() {
    let (state_of, store) = (MemoryStore::new(), MemoryStore::new());
    let other = owner(Uploads::builder(state_of.clone()));
    let other = begin(&other, every(), b"abd").await;
    let other = state_of.load(&other).await.unwrap().progress;
    let uploads = owner(Uploads::builder(store.clone()).read_back(true));
    for at in 0..=other.checksums.len() {
        let id = begin(&uploads, every(), b"abc").await;
        uploads.complete(&id, all(b"abc")).await.unwrap().reopen().await.unwrap();
        rewrite(&store, &id, |progress| match at.checked_sub(1) {
            None => progress.checksum.clone_from(&other.checksum),
            Some(at) => progress.checksums[at].clone_from(&other.checksums[at]),
        })
        .await;
        let refused = uploads.complete(&id, None).await.unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::Damaged, "{at}");
    }
    // One that is left is enough to compare the bytes with.
    for (state, damaged) in [("sha3.AAAA".parse().ok(), true), (None, true), (None, false)] {
        let id = begin(&uploads, NewUpload::new().digests([Sha1]), b"abc").await;
        let of_sha1 = &other.checksums[0];
        assert!(format!("{of_sha1:?}").contains("sha1"));
        rewrite(&store, &id, |progress| {
            progress.checksum = state;
            if damaged {
                progress.checksums[0].clone_from(of_sha1);
            }
        })
        .await;
        let completed = uploads.complete(&id, None).await;
        assert_eq!(completed.is_err(), damaged);
        if let Ok(completion) = completed {
            assert_eq!(completion.file().digest_of(Sha1), Some(digest(Sha1, b"abc")));
        }
    }
}

#[tokio::test]
async fn bytes_that_were_staged_are_those_of_the_upload_that_takes_them() {
    let store = Double::default();
    let uploads = owner(Uploads::builder(store.clone()));
    let id = begin(&uploads, every(), b"abc").await;
    for (staged, bytes) in [
        (uploads.stage().await.unwrap(), &b"def"[..]),
        (uploads.create(NewUpload::new().digests([Sha256])).await.unwrap(), b"ghi"),
    ] {
        let staged = written(staged, bytes).await;
        let mut append = uploads.acquire(&id).await.unwrap().append(AppendMode::AllOrNothing);
        append.take_from(staged).await.unwrap();
        append.commit().await.unwrap();
    }
    let completion = uploads.complete(&id, all(b"abcdefghi")).await.unwrap();
    assert_eq!(completion.file().digest_of(Sha256), Some(digest(Sha256, b"abcdefghi")));
    assert!(!was_read(&store));
}

#[tokio::test]
async fn a_joined_upload_has_no_additional_digest_until_it_is_read_for_one() {
    let store = Double::default();
    let uploads = owner(Uploads::builder(store.clone()).digest_algorithm(Crc32c));
    let part = |bytes: &'static [u8]| {
        let new = every().part().total(bytes.len() as u64);
        begin(&uploads, new, bytes)
    };
    let parts = [part(b"abc").await, part(b"defg").await];
    let lease = uploads.join(every(), &parts).await.unwrap();
    assert!(lease.upload().progress.checksums.is_empty());
    let completion = lease.complete(None).await.unwrap();
    let file = completion.file();
    assert_eq!(file.digest(), Some(digest(Crc32c, b"abcdefg")));
    assert_eq!(file.digest_of(Crc32c), file.digest());
    assert_eq!(file.digest_of(Sha256), None);
    let id = *file.id();
    completion.reopen().await.unwrap();
    let completion = uploads.complete(&id, all(b"abcdefg")).await.unwrap();
    assert_eq!(completion.file().digest(), Some(digest(Crc32c, b"abcdefg")));
    assert_eq!(completion.file().digest_of(Sha256), Some(digest(Sha256, b"abcdefg")));
}
