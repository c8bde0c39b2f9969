//! The store in a bucket, on object stores as they are in the world.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode};
use tokio::runtime::Handle;
use tokio::sync::Barrier;
use tokio::task::{JoinSet, block_in_place};
use tower_chunked_upload::conformance::Suite;
use tower_chunked_upload::store::{BucketStore, StoreError};
use tower_chunked_upload::{ErrorKind, NewUpload, UploadId, Uploads};

#[path = "../../tests/support/bucket.rs"]
mod bucket;
#[path = "support/engines.rs"]
mod engines;
#[path = "support/ports.rs"]
mod ports;

use engines::{azurite, ceph, moto, s3rver};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_is_kept_on_ceph_through_one_gateway() {
    let ceph = ceph(1, "memstore");
    bucket_suite(&ceph.bucket().await).run().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_is_kept_on_ceph_when_the_other_handle_uses_another_gateway() {
    let ceph = ceph(2, "memstore");
    bucket_suite(&ceph.bucket().await).run().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_is_kept_on_moto() {
    let moto = moto();
    bucket_suite(&moto.bucket().await).run().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_is_kept_on_azurite() {
    let azurite = azurite();
    bucket_suite(&azurite.bucket().await).run().await;
}

/// Each case has a folder of the bucket, and the last handle is that of the other process.
fn bucket_suite(handles: &[Arc<dyn ObjectStore>]) -> Suite<BucketStore> {
    let [first, last] =
        [handles.first(), handles.last()].map(|objects| Arc::clone(objects.unwrap()));
    let in_folder = |objects: &Arc<dyn ObjectStore>, folder: &UploadId| {
        PrefixStore::new(Arc::clone(objects), folder.as_str())
    };
    let current = Arc::new(Mutex::new(UploadId::random()));
    let made = Arc::clone(&current);
    let make = move || {
        let folder = UploadId::random();
        *made.lock().unwrap() = folder;
        Arc::new(in_folder(&first, &folder)) as Arc<dyn ObjectStore>
    };
    bucket::suite(make, 8 << 20).reopen(move |_| {
        let objects = in_folder(&last, &current.lock().unwrap());
        let connecting = BucketStore::builder(Arc::new(objects)).connect();
        block_in_place(|| Handle::current().block_on(connecting)).unwrap()
    })
}

#[tokio::test]
async fn the_check_is_passed_by_ceph_through_one_gateway() {
    let ceph = ceph(1, "memstore");
    all_connect(&ceph.bucket().await).await;
}

#[tokio::test]
async fn the_check_is_passed_by_ceph_through_two_gateways_at_once() {
    let ceph = ceph(2, "memstore");
    all_connect(&ceph.bucket().await).await;
}

#[tokio::test]
async fn the_check_is_passed_by_moto() {
    let moto = moto();
    all_connect(&moto.bucket().await).await;
}

#[tokio::test]
async fn the_check_is_passed_by_azurite() {
    let azurite = azurite();
    all_connect(&azurite.bucket().await).await;
}

#[tokio::test]
async fn the_check_is_passed_by_memory() {
    all_connect(&[Arc::new(InMemory::new()) as _]).await;
}

/// Several nodes start at the same time.
async fn all_connect(handles: &[Arc<dyn ObjectStore>]) {
    let mut nodes = JoinSet::new();
    for objects in [handles, handles].concat() {
        nodes.spawn(BucketStore::builder(objects).connect());
    }
    for connected in nodes.join_all().await {
        connected.unwrap();
    }
}

#[tokio::test]
async fn a_large_file_is_persisted_on_ceph() {
    let ceph = ceph(2, "memstore");
    persists_a_large_file(&ceph.bucket().await).await;
}

#[tokio::test]
async fn a_large_file_is_persisted_on_moto() {
    let moto = moto();
    persists_a_large_file(&moto.bucket().await).await;
}

#[tokio::test]
async fn a_large_file_is_persisted_on_azurite() {
    let azurite = azurite();
    persists_a_large_file(&azurite.bucket().await).await;
}

/// In parts, as of one that does not fit into a segment.
async fn persists_a_large_file(handles: &[Arc<dyn ObjectStore>]) {
    let bytes: Vec<u8> = (0..13_000_001_u32).map(|n| (n % 251) as u8).collect();
    let mut nodes = Vec::new();
    for objects in [handles.first(), handles.last()] {
        let settings = BucketStore::builder(Arc::clone(objects.unwrap())).segment_bytes(1 << 20);
        nodes.push(Uploads::builder(settings.connect().await.unwrap()).build().unwrap());
    }
    handles[0].put(&Path::from("media/taken"), "mine".into()).await.unwrap();
    for overwrite in [true, false] {
        let mut append = nodes[0].for_owner(None).create(NewUpload::new()).await.unwrap();
        append.write(Bytes::from(bytes.clone())).await.unwrap();
        let id = append.commit().await.unwrap().id;
        let given = nodes[1].for_operator().complete(&id, None).await.unwrap();
        let taken = given.file().persist_new("media/taken").await.unwrap_err();
        assert_eq!(*taken.kind(), ErrorKind::AlreadyExists);
        let target = format!("media/{id}");
        for _ in 0..2 {
            match overwrite {
                true => given.file().persist(&target).await.unwrap(),
                false => given.file().persist_new(&target).await.unwrap(),
            }
        }
        given.finish().await.unwrap();
        let there = handles[0].get(&Path::from(target)).await.unwrap().bytes().await.unwrap();
        assert!(there == bytes, "{} bytes", there.len());
    }
}

#[tokio::test]
async fn an_engine_that_ignores_create_only_is_refused_with_the_reason() {
    let s3rver = s3rver();
    let objects = s3rver.bucket().await.remove(0);
    match BucketStore::builder(objects).connect().await {
        Err(StoreError::Config { problem }) => {
            assert!(problem.contains("does not keep to create-only"), "{problem}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn of_many_who_create_one_key_through_two_gateways_one_wins() {
    let ceph = ceph(2, "memstore");
    let handles = ceph.bucket().await;
    assert_eq!(handles.len(), 2);
    for round in 0..10 {
        let key = Path::from(format!("race/{round}"));
        let winners = race(&handles, &key).await;
        let [winner] = winners[..] else { panic!("round {round}: {winners:?}") };
        for objects in &handles {
            let bytes = objects.get(&key).await.unwrap().bytes().await.unwrap();
            assert_eq!(bytes, entry(winner), "round {round}");
        }
    }
}

/// So the race would show it.
#[tokio::test]
async fn of_many_who_create_one_key_in_an_engine_that_ignores_it_many_win() {
    let s3rver = s3rver();
    let winners = race(&s3rver.bucket().await, &Path::from("race")).await;
    assert!(winners.len() > 1, "{winners:?}");
}

#[tokio::test]
async fn what_ceph_has_acknowledged_outlives_a_killed_gateway_and_a_killed_osd() {
    let ceph = ceph(2, "bluestore");
    let [first, second] = ceph.bucket().await.try_into().unwrap();
    let put = async |objects: &Arc<dyn ObjectStore>, number: u8| {
        let key = Path::from(format!("key/{number}"));
        objects.put_opts(&key, entry(number).into(), PutMode::Create.into()).await.unwrap();
    };
    put(&first, 0).await;
    ceph.kill_gateway(0);
    assert!(std::net::TcpStream::connect(&ceph.urls[0]["http://".len()..]).is_err());
    put(&second, 1).await;
    ceph.restart_gateway(0);
    put(&first, 2).await;
    ceph.kill_osd();
    let waiting = tokio::spawn({
        let first = Arc::clone(&first);
        async move { first.get(&Path::from("key/0")).await.unwrap().bytes().await.unwrap() }
    });
    ceph.restart_osd();
    assert_eq!(waiting.await.unwrap(), entry(0));
    for number in [0, 1, 2] {
        for objects in [&first, &second] {
            let bytes = objects.get(&Path::from(format!("key/{number}"))).await.unwrap();
            assert_eq!(bytes.bytes().await.unwrap(), entry(number));
        }
    }
}

/// Who of twenty was told that they created it.
async fn race(handles: &[Arc<dyn ObjectStore>], key: &Path) -> Vec<u8> {
    const RACERS: u8 = 20;
    let start = Arc::new(Barrier::new(RACERS.into()));
    let mut racers = JoinSet::new();
    for (racer, objects) in (0..RACERS).zip(handles.iter().cycle().cloned()) {
        let (start, key) = (Arc::clone(&start), key.clone());
        racers.spawn(async move {
            start.wait().await;
            match objects.put_opts(&key, entry(racer).into(), PutMode::Create.into()).await {
                Ok(_) => Some(racer),
                Err(Error::AlreadyExists { .. }) => None,
                Err(error) => panic!("{error}"),
            }
        });
    }
    racers.join_all().await.into_iter().flatten().collect()
}

fn entry(number: u8) -> Bytes {
    vec![number; 10_000].into()
}
