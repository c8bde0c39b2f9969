//! The places of the application's choice that files are persisted to.
//!
//! Each file has a mark in its metadata, so that after a crash it is known whose it is.

use object_store::path::Path;
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};

use super::entry::{MARK, Moved, attribute, attributes};
use super::objects::{Context, Objects, Retries};
use crate::store::{Result, StoreError};

#[derive(Clone)]
pub(super) struct Targets {
    pub(super) objects: Objects,
}

/// What is at a key of the application's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// The file, or its beginning: so many bytes.
    Ours(u64),
    Other,
}

impl Targets {
    pub(super) async fn find(&self, key: &Path, mark: &str) -> Result<Found> {
        let found = self.objects.head(key, MARK).await.context("look at a target")?;
        Ok(match found {
            None => Found::Nothing,
            Some(found) if attribute(&found.attributes, MARK).as_deref() == Some(mark) => {
                Found::Ours(found.meta.size)
            }
            Some(_) => Found::Other,
        })
    }

    /// Writes an object. If an answer is lost, it is found that the object was written.
    pub(super) async fn create(
        &self,
        key: &Path,
        bytes: PutPayload,
        mark: &str,
        overwrite: bool,
    ) -> Result<()> {
        let mode = if overwrite { PutMode::Overwrite } else { PutMode::Create };
        let mut options =
            PutOptions { mode, attributes: attributes(MARK, mark), ..PutOptions::default() };
        let mut retries = Retries::default();
        loop {
            let put = self.objects.store.put_opts(key, bytes.clone(), options.clone()).await;
            let Err(error) = put else { return Ok(()) };
            match self.find(key, mark).await {
                Ok(Found::Ours(size)) if size >= bytes.content_length() as u64 => return Ok(()),
                // It is of an earlier `persist` with smaller segments, which has only taken the
                // name.
                Ok(Found::Ours(_)) => options.mode = PutMode::Overwrite,
                Ok(Found::Other) if !overwrite => return Err(exists(key)),
                _ => {}
            }
            retries.after(error).await.context("write a file")?;
        }
    }

    /// Deletes the file from the places that it has left and cannot come back to: no deletion has a
    /// condition, and one that was sent may come late.
    ///
    /// What fails is tried again by the next `persist` to the same place, and by nobody else.
    pub(super) async fn clear(&self, places: &[Moved]) {
        for place in places {
            if let Ok(key) = Path::parse(&place.target)
                && let Ok(Found::Ours(_)) = self.find(&key, &place.mark).await
            {
                drop(self.objects.delete(&[key]).await);
            }
        }
    }

    /// Says that the file has left a key for good.
    pub(super) async fn refuse<T>(&self, key: &Path, overwrite: bool) -> Result<T> {
        if !overwrite && self.find(key, "").await? == Found::Other {
            return Err(exists(key));
        }
        let problem = format!("the file was moved away from {key}, and cannot go back");
        Err(StoreError::Config { problem })
    }
}

pub(super) fn exists(key: &Path) -> StoreError {
    StoreError::AlreadyExists { target: key.to_string() }
}
