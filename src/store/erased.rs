//! [`Store`] and [`Writer`] behind a pointer, so that nothing above is generic over them.

use std::path::{Path, PathBuf};

use super::{
    Batch, Capabilities, Commit, Cursor, HandoffRequest, Page, Reader, Remains, Result, Store,
    Writer,
};
use crate::erased::erased;
use crate::id::UploadId;
use crate::upload::Upload;

erased! {
    pub(crate) trait DynStore: Send, Sync; for Store {
        fn check(&self) -> Result<()>;
        async fn probe(&self) -> Result<()>;
        fn capabilities(&self) -> Capabilities;
        async fn create(&self, upload: Upload) -> Result<Box<dyn DynWriter>> as boxed;
        async fn load(&self, id: &'a UploadId) -> Result<Upload>;
        async fn writer(&self, id: &'a UploadId) -> Result<Box<dyn DynWriter>> as boxed;
        fn recall(&self, id: &UploadId) -> Option<Box<dyn DynWriter>> as boxed;
        async fn open(&self, id: &'a UploadId) -> Result<Reader>;
        async fn list(&self, cursor: Option<Cursor>) -> Result<Page>;
        async fn list_expiring(&self, cursor: Option<Cursor>) -> Result<Page>;
        async fn discard(&self, id: &'a UploadId) -> Result<()>;
        async fn remains(&self, id: &'a UploadId) -> Result<Remains>;
        async fn remove_damaged(&self, id: &'a UploadId) -> Result<bool>;
        async fn request_handoff(&self, id: &'a UploadId, wanted: bool) -> Result<()>;
        async fn handoff_requests(&self) -> Result<Vec<HandoffRequest>>;
        async fn free_bytes(&self) -> Result<Option<u64>>;
        async fn settle(&self) -> ();
    }
}

erased! {
    pub(crate) trait DynWriter: Send; for Writer {
        fn upload(&self) -> &Upload;
        fn path(&self) -> Option<PathBuf>;
        fn needs_verification(&self) -> bool;
        fn mark_verified(&mut self) -> ();
        async fn write(&mut self, batch: Batch) -> Result<()>;
        async fn inspected(&mut self) -> Result<()>;
        async fn commit(&mut self, commit: Commit) -> Result<()>;
        async fn into_reader(Box self) -> Result<Reader>;
        async fn persist(&mut self, target: &'a Path, overwrite: bool) -> Result<()>;
        async fn remove(Box self) -> Result<()>;
    }
}

fn boxed(writer: impl Writer) -> Box<dyn DynWriter> {
    Box::new(writer)
}
