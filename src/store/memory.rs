//! Uploads in memory, for tests and examples.

use std::collections::{BTreeMap, btree_map};
use std::io::Cursor as IoCursor;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    Batch, Capabilities, Commit, Cursor, HandoffRequest, Page, Reader, Remains, Result, Store,
    StoreError, Writer,
};
use crate::id::UploadId;
use crate::upload::Upload;

/// Keeps uploads in memory, until the last clone is dropped. A clone is the same store.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    entries: Arc<Mutex<BTreeMap<UploadId, Entry>>>,
}

#[derive(Debug, Default)]
struct Entry {
    // `None` until the first commit.
    upload: Option<Upload>,
    bytes: Vec<u8>,
    persisted: Option<PathBuf>,
    leased: bool,
}

impl MemoryStore {
    /// Creates a store without uploads.
    pub fn new() -> Self {
        Self::default()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<UploadId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn committed<T>(
        &self,
        id: &UploadId,
        work: impl FnOnce(&mut Entry, Upload) -> Result<T>,
    ) -> Result<T> {
        let mut entries = self.entries();
        let entry = entries.get_mut(id).ok_or(StoreError::NotFound)?;
        let upload = entry.upload.clone().ok_or(StoreError::NotFound)?;
        work(entry, upload)
    }

    fn read(&self, id: &UploadId) -> Result<Vec<u8>> {
        let (persisted, mut bytes, upload) = self.committed(id, |entry, upload| {
            Ok((entry.persisted.clone(), entry.bytes.clone(), upload))
        })?;
        if let Some(path) = persisted {
            let failed = |error| StoreError::io(format!("read {}", path.display()), error);
            return std::fs::read(&path).map_err(failed);
        }
        for part in upload.parts_with_bytes() {
            bytes.extend(self.read(&part.id)?);
        }
        Ok(bytes)
    }
}

impl Store for MemoryStore {
    type Writer = MemoryWriter;

    fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn probe(&self) -> Result<()> {
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { max_bytes: u64::try_from(isize::MAX).ok(), ..Capabilities::default() }
    }

    async fn create(&self, upload: Upload) -> Result<MemoryWriter> {
        match self.entries().entry(upload.id) {
            btree_map::Entry::Occupied(entry) if entry.get().upload.is_some() => {
                return Err(StoreError::Conflict);
            }
            btree_map::Entry::Occupied(_) => return Err(StoreError::Busy),
            btree_map::Entry::Vacant(place) => {
                place.insert(Entry { leased: true, ..Entry::default() })
            }
        };
        Ok(MemoryWriter::new(self, upload))
    }

    async fn load(&self, id: &UploadId) -> Result<Upload> {
        self.committed(id, |_, upload| Ok(upload))
    }

    async fn writer(&self, id: &UploadId) -> Result<MemoryWriter> {
        self.committed(id, |entry, upload| {
            if entry.leased {
                return Err(StoreError::Busy);
            }
            entry.leased = true;
            Ok(MemoryWriter::new(self, upload))
        })
    }

    fn recall(&self, _: &UploadId) -> Option<Self::Writer> {
        None
    }

    async fn open(&self, id: &UploadId) -> Result<Reader> {
        let bytes = self.read(id)?;
        let size = bytes.len() as u64;
        Ok(Reader::new(IoCursor::new(bytes), size))
    }

    async fn discard(&self, id: &UploadId) -> Result<()> {
        // Nothing but a writer that lives has an entry without an upload.
        match self.entries().get(id) {
            Some(entry) if entry.leased => Err(StoreError::Busy),
            _ => Ok(()),
        }
    }

    async fn remove_damaged(&self, id: &UploadId) -> Result<bool> {
        self.committed(id, |_, _| Ok(false))
    }

    async fn list(&self, cursor: Option<Cursor>) -> Result<Page> {
        let after = cursor.and_then(|cursor| cursor.as_str().parse::<UploadId>().ok());
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Page::default();
        for (id, entry) in self.entries().range((start, Bound::Unbounded)).take(PAGE) {
            match &entry.upload {
                Some(upload) => page.uploads.push(Ok(upload.clone())),
                None => page.abandoned.push(*id),
            }
            if page.uploads.len() + page.abandoned.len() == PAGE {
                page.next = Some(Cursor::new(id.to_string()));
            }
        }
        Ok(page)
    }

    async fn list_expiring(&self, cursor: Option<Cursor>) -> Result<Page> {
        self.list(cursor).await
    }

    async fn remains(&self, _: &UploadId) -> Result<Remains> {
        Ok(Remains::default())
    }

    async fn request_handoff(&self, _: &UploadId, _: bool) -> Result<()> {
        Ok(())
    }

    async fn handoff_requests(&self) -> Result<Vec<HandoffRequest>> {
        Ok(Vec::new())
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    async fn settle(&self) {}
}

/// The lease on an upload in a [`MemoryStore`].
#[derive(Debug)]
pub struct MemoryWriter {
    store: MemoryStore,
    upload: Upload,
    written: Vec<u8>,
    /// Then the entry of its id, if there is one, is another writer's.
    removed: bool,
}

impl MemoryWriter {
    fn new(store: &MemoryStore, upload: Upload) -> Self {
        Self { store: store.clone(), upload, written: Vec::new(), removed: false }
    }
}

impl Writer for MemoryWriter {
    fn upload(&self) -> &Upload {
        &self.upload
    }

    fn path(&self) -> Option<PathBuf> {
        None
    }

    fn needs_verification(&self) -> bool {
        false
    }

    fn mark_verified(&mut self) {}

    async fn write(&mut self, batch: Batch) -> Result<()> {
        self.written.extend_from_slice(&batch.prepare().await?);
        Ok(())
    }

    async fn inspected(&mut self) -> Result<()> {
        Ok(())
    }

    async fn commit(&mut self, commit: Commit) -> Result<()> {
        let (last, upload, _) = commit.prepare().await?;
        self.written.extend_from_slice(&last);
        let mut entries = self.store.entries();
        let entry = entries.entry(upload.id).or_default();
        let end = usize::try_from(upload.own_bytes()).unwrap_or(usize::MAX);
        if entry.persisted.is_some() && !self.written.is_empty() {
            let why = std::io::Error::other("the application has it");
            return Err(StoreError::io("add to a file that was moved away", why));
        }
        if entry.persisted.is_none() && entry.bytes.len() + self.written.len() < end {
            return Err(StoreError::damaged(&upload.id, "there are fewer bytes than committed"));
        }
        entry.bytes.append(&mut self.written);
        entry.bytes.truncate(end);
        entry.upload = Some(upload.clone());
        self.upload = upload;
        Ok(())
    }

    async fn into_reader(mut self) -> Result<Reader> {
        let written = std::mem::take(&mut self.written);
        let size = written.len() as u64;
        Ok(Reader::new(IoCursor::new(written), size))
    }

    async fn persist(&mut self, target: &Path, overwrite: bool) -> Result<()> {
        let failed = |error| StoreError::io(format!("write {}", target.display()), error);
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let bytes = self.store.read(&self.upload.id)?;
        self.store.committed(&self.upload.id, |entry, _| {
            let again = entry.persisted.as_deref() == Some(target);
            if !overwrite && !again && target.exists() {
                return Err(StoreError::AlreadyExists { target: target.display().to_string() });
            }
            match &entry.persisted {
                Some(_) if again => {}
                Some(old) => std::fs::rename(old, target).map_err(failed)?,
                None => std::fs::write(target, &bytes).map_err(failed)?,
            }
            entry.bytes = Vec::new();
            entry.persisted = Some(target.to_owned());
            Ok(())
        })
    }

    async fn remove(mut self) -> Result<()> {
        self.store.entries().remove(&self.upload.id);
        self.removed = true;
        Ok(())
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        let mut entries = self.store.entries();
        let Some(entry) = entries.get_mut(&self.upload.id) else { return };
        entry.leased = false;
        if entry.upload.is_none() {
            entries.remove(&self.upload.id);
        }
    }
}

const PAGE: usize = 64;

#[cfg(test)]
mod tests {
    use std::thread;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::upload::Creation;

    #[test]
    fn a_writer_that_has_removed_its_upload_leaves_a_new_one_of_that_id_alone() {
        let store = MemoryStore::new();
        let create = |upload: &Upload| store.create(upload.clone()).now_or_never().unwrap();
        for _ in 0..2000 {
            let mut upload = Upload::new(UploadId::random(), std::time::SystemTime::now());
            upload.creation = Some(Creation::new(None));
            let mut writer = create(&upload).unwrap();
            let commit = Commit::new(bytes::Bytes::new(), upload.clone());
            writer.commit(commit).now_or_never().unwrap().unwrap();
            let removal = thread::scope(|scope| {
                let removal = scope.spawn(|| writer.remove().now_or_never().unwrap());
                let again = loop {
                    match create(&upload) {
                        Ok(again) => break again,
                        Err(error) => assert!(matches!(error, StoreError::Conflict), "{error:?}"),
                    }
                };
                let removal = removal.join().unwrap();
                assert!(matches!(create(&upload), Err(StoreError::Busy)), "two create it");
                drop(again);
                removal
            });
            removal.unwrap();
        }
    }
}
