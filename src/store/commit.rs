//! What a writer is given: bytes, and records.

use std::fmt;

use bytes::Bytes;

use super::{Result, StoreError};
use crate::metric;
use crate::task;
use crate::upload::Upload;

/// Looks at the bytes of a batch, in their order and in pieces of any length.
pub(super) type Look = Box<dyn FnMut(&[u8]) + Send>;

/// Bytes that are to be written to an upload.
///
/// The caller may want to inspect them, for a digest, which takes processor time in proportion to
/// their number. They are inspected when the store takes them: with
/// [`into_bytes`](Self::into_bytes) by a store whose writing blocks a thread anyway, so that one
/// hop to the thread is enough for both, and with [`prepare`](Self::prepare) by all others.
/// [`FsStore`](super::FsStore) may inspect them later, until the next commit.
pub struct Batch {
    bytes: Bytes,
    look: Option<Look>,
    /// Whether looking at them takes long for their number.
    slow: bool,
}

impl Batch {
    /// Creates a batch that is not inspected.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), look: None, slow: false }
    }

    /// Bytes that are looked at, in one piece or in several, which is as fast as writing them, or
    /// `slow`.
    pub(crate) fn looked_at(
        bytes: Bytes,
        slow: bool,
        look: impl FnMut(&[u8]) + Send + 'static,
    ) -> Self {
        Self { bytes, look: Some(Box::new(look)), slow }
    }

    /// Whether the look may take as long as a worker of the runtime should not be blocked.
    pub(super) fn is_long_to_look_at(&self) -> bool {
        self.slow && self.len() > WORK_IN_PLACE
    }

    /// Returns how many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Inspects the bytes and returns them. This may block.
    pub fn into_bytes(self) -> Bytes {
        if let Some(mut look) = self.look {
            look(&self.bytes);
        }
        self.bytes
    }

    /// The bytes, and the look at them that is left to the store.
    pub(super) fn into_bytes_and_look(self) -> (Bytes, Option<Look>) {
        (self.bytes, self.look)
    }

    /// Inspects the bytes and returns them, for a store that has no thread of its own to block.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the runtime is shutting down.
    pub async fn prepare(self) -> Result<Bytes> {
        match self.look {
            None => Ok(self.bytes),
            Some(_) => blocking(self.len(), || self.into_bytes()).await,
        }
    }
}

/// The last bytes of a write, and the record that makes them count.
pub struct Commit {
    last: Bytes,
    record: Box<dyn FnOnce(&[u8]) -> Upload + Send>,
    handover: Handover,
    slow: bool,
    releases: bool,
}

/// How far the application has got with the file of an upload.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Handover {
    /// The application has not got the file.
    #[default]
    None,
    /// The application gets the file with this commit, and decides until the writer is dropped. The
    /// file has exactly the bytes up to the offset. Until then, other callers that want a writer
    /// get [`StoreError::Busy`], in all processes and on all nodes.
    Given,
    /// The application has taken the file. If that was persisted, the store no longer needs its own
    /// bytes.
    Taken,
}

impl Commit {
    /// Creates a commit that writes `last`, then makes `upload` the record.
    pub fn new(last: impl Into<Bytes>, upload: Upload) -> Self {
        Self::computed(last.into(), false, |_| upload)
    }

    /// The same with a record that takes a look at the last bytes to make, which is as fast as
    /// writing them, or `slow`.
    pub(crate) fn computed(
        last: Bytes,
        slow: bool,
        record: impl FnOnce(&[u8]) -> Upload + Send + 'static,
    ) -> Self {
        let record = Box::new(record);
        Self { last, record, handover: Handover::None, slow, releases: false }
    }

    /// Sets how far the application has got with the file.
    #[must_use]
    pub fn with_handover(mut self, handover: Handover) -> Self {
        self.handover = handover;
        self
    }

    /// Announces that the writer is dropped after this commit, so a store can end the lease
    /// together with it.
    #[must_use]
    pub fn with_release(mut self) -> Self {
        self.releases = true;
        self
    }

    /// Returns whether the writer is dropped after this commit. A store that ends the lease in
    /// `drop` can ignore this.
    pub fn releases(&self) -> bool {
        self.releases
    }

    /// Whether the look may take as long as a worker of the runtime should not be blocked.
    pub(super) fn is_long_to_look_at(&self) -> bool {
        self.slow && self.len() > WORK_IN_PLACE
    }

    /// Returns how many bytes it has.
    pub fn len(&self) -> usize {
        self.last.len()
    }

    /// Returns whether it is a record without bytes.
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// Returns the last bytes, the record and how far the application has got. This may block.
    pub fn into_parts(self) -> (Bytes, Upload, Handover) {
        let upload = (self.record)(&self.last);
        (self.last, upload, self.handover)
    }

    /// Does the same as [`into_parts`](Self::into_parts), for a store that has no thread of its own
    /// to block.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the runtime is shutting down.
    pub async fn prepare(self) -> Result<(Bytes, Upload, Handover)> {
        blocking(self.len(), || self.into_parts()).await
    }
}

/// Does little work where it stands, since a hop to another thread costs more.
async fn blocking<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    if bytes <= WORK_IN_PLACE {
        return Ok(work());
    }
    metric::hopped();
    let worked = task::join(tokio::task::spawn_blocking(work)).await;
    worked.ok_or_else(|| StoreError::shutting_down("look at a batch"))
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit")
            .field("len", &self.len())
            .field("handover", &self.handover)
            .finish_non_exhaustive()
    }
}

const WORK_IN_PLACE: usize = 64 * 1024;
