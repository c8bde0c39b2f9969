//! An object store with the retries that its client cannot make, and errors that say what failed.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, Error, GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, PutPayload, Result,
};

use super::entry::attribute;
use crate::store::StoreError;

/// A clone is the same object store.
#[derive(Clone)]
pub(super) struct Objects {
    /// For single requests, without retries.
    pub(super) store: Arc<dyn ObjectStore>,
}

pub(super) type Chunks = BoxStream<'static, Result<Bytes>>;

impl Objects {
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.store, &other.store)
    }

    /// Writes an object whose key nobody else writes to.
    pub(super) async fn put(&self, key: &Path, payload: PutPayload) -> Result<()> {
        let mut retries = Retries::default();
        while let Err(error) = self.store.put(key, payload.clone()).await {
            retries.after(error).await?;
        }
        Ok(())
    }

    /// Tries once to create an object. Only the caller can tell what it means if there is one.
    pub(super) async fn create(
        &self,
        key: &Path,
        payload: PutPayload,
        attributes: Attributes,
    ) -> Result<()> {
        let options = PutOptions { mode: PutMode::Create, attributes, ..PutOptions::default() };
        self.store.put_opts(key, payload, options).await.map(drop)
    }

    /// What is known of an object, if it is there, and its metadata, of which one has this name.
    pub(super) async fn head(&self, key: &Path, name: &'static str) -> Result<Option<GetResult>> {
        let mut looks = 0;
        loop {
            let options = GetOptions { head: true, ..GetOptions::default() };
            let Some(found) = present(self.store.get_opts(key, options).await)? else {
                return Ok(None);
            };
            // Some stores show an object a moment before its metadata.
            if attribute(&found.attributes, name).is_some() || looks == LOOKS {
                return Ok(Some(found));
            }
            looks += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// How many bytes an object has, if it is there.
    pub(super) async fn size(&self, key: &Path) -> Result<Option<u64>> {
        Ok(present(self.store.head(key).await)?.map(|object| object.size))
    }

    /// The whole of an object, if it is there.
    pub(super) async fn read(&self, key: &Path) -> Result<Option<Bytes>> {
        present(async { self.store.get(key).await?.bytes().await }.await)
    }

    /// Some bytes of an object, as they come.
    pub(super) async fn stream(&self, key: &Path, range: Range<u64>) -> Result<Chunks, StoreError> {
        let range = Some(GetRange::Bounded(range));
        let options = GetOptions { range, ..GetOptions::default() };
        Ok(self.store.get_opts(key, options).await.context("read an object")?.into_stream())
    }

    /// The keys below `prefix`, after `after`.
    pub(super) fn list(
        &self,
        prefix: &Path,
        after: Option<&Path>,
    ) -> BoxStream<'static, Result<Path>> {
        let listing = match after {
            Some(after) => self.store.list_with_offset(Some(prefix), after),
            None => self.store.list(Some(prefix)),
        };
        listing.map_ok(|object| object.location).boxed()
    }

    /// Deletes what there is of these.
    pub(super) async fn delete(&self, keys: &[Path]) -> Result<()> {
        for some in keys.chunks(DELETED_AT_ONCE) {
            let keys: Vec<_> = some.iter().cloned().map(Ok).collect();
            let mut deleted = self.store.delete_stream(stream::iter(keys).boxed());
            while let Some(deleted) = deleted.next().await {
                present(deleted)?;
            }
        }
        Ok(())
    }
}

/// Says that something is missing instead of failing with it.
pub(super) fn present<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Err(Error::NotFound { .. }) => Ok(None),
        found => found.map(Some),
    }
}

/// The retries of one request. The object store's client makes some by itself; these are for
/// requests whose outcome it cannot know.
#[derive(Default)]
pub(super) struct Retries(u32);

impl Retries {
    /// Waits before the next try. The error comes back if there were enough, or if no retry would
    /// help.
    pub(super) async fn after(&mut self, error: Error) -> Result<()> {
        if self.0 == MOST_RETRIES || is_final(&error) {
            return Err(error);
        }
        tokio::time::sleep(PAUSE * (1 << self.0)).await;
        self.0 += 1;
        Ok(())
    }
}

/// Whether another try would fail in the same way.
fn is_final(error: &Error) -> bool {
    matches!(
        error,
        Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::InvalidPath { .. }
    )
}

/// Says what failed.
pub(super) trait Context<T> {
    fn context(self, action: &'static str) -> Result<T, StoreError>;
}

impl<T> Context<T> for Result<T> {
    fn context(self, action: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::io(action, std::io::Error::other(error)))
    }
}

/// How many requests for different objects are under way at the same time.
pub(super) const AT_ONCE: usize = 16;
/// How often to look again for the metadata of an object.
const LOOKS: usize = 3;
const MOST_RETRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(20);
pub(super) const DELETED_AT_ONCE: usize = 100;
