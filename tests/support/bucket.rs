//! The conformance suite for stores in a bucket.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures_util::TryStreamExt;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use tower_chunked_upload::UploadId;
use tower_chunked_upload::conformance::{Doing, Suite, Targets};
use tower_chunked_upload::store::BucketStore;

/// A suite for buckets that `bucket` makes, with objects of `segment` bytes at most. The store's own check
/// is run on each.
pub(crate) fn suite(
    bucket: impl Fn() -> Arc<dyn ObjectStore> + Send + Sync + 'static,
    segment: usize,
) -> Suite<BucketStore> {
    let open = move |objects: Arc<dyn ObjectStore>| {
        let store = BucketStore::builder(objects).segment_bytes(segment).connect();
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| runtime.block_on(store)).unwrap()
    };
    // The cases run one after the other, each with one store.
    let current = Arc::new(Mutex::new(bucket()));
    let (made, there) = (Arc::clone(&current), Arc::clone(&current));
    let make = move || {
        let new = bucket();
        made.lock().unwrap().clone_from(&new);
        open(new)
    };
    let reopen = move |_: &BucketStore| open(Arc::clone(&current.lock().unwrap()));
    Suite::new(make, "").reopen(reopen).targets(Keys { objects: there })
}

/// Files that were persisted to a bucket.
struct Keys {
    objects: Arc<Mutex<Arc<dyn ObjectStore>>>,
}

impl Keys {
    fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.objects.lock().unwrap())
    }
}

fn key(target: &Path) -> Key {
    let text = target.to_str().unwrap().replace(std::path::MAIN_SEPARATOR, "/");
    Key::parse(text).unwrap()
}

impl Targets for Keys {
    fn fresh(&self) -> PathBuf {
        PathBuf::from("media").join(UploadId::random().as_str()).join("file.bin")
    }

    fn impossible(&self) -> PathBuf {
        PathBuf::from("media/../elsewhere")
    }

    fn read<'a>(&'a self, target: &'a Path) -> Doing<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            match self.objects().get(&key(target)).await {
                Err(object_store::Error::NotFound { .. }) => None,
                found => Some(found.unwrap().bytes().await.unwrap().to_vec()),
            }
        })
    }

    fn write<'a>(&'a self, target: &'a Path, bytes: &'static [u8]) -> Doing<'a, ()> {
        Box::pin(async move {
            self.objects().put(&key(target), bytes.into()).await.unwrap();
        })
    }

    fn remove<'a>(&'a self, target: &'a Path) -> Doing<'a, ()> {
        Box::pin(async move { self.objects().delete(&key(target)).await.unwrap() })
    }

    fn around<'a>(&'a self, target: &'a Path) -> Doing<'a, Vec<PathBuf>> {
        Box::pin(async move {
            let folder = key(target.parent().unwrap());
            let found = self.objects().list(Some(&folder)).try_collect::<Vec<_>>().await.unwrap();
            found.iter().map(|object| PathBuf::from(object.location.as_ref())).collect()
        })
    }
}
