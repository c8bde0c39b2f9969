//! [`Store`] and [`Writer`] behind a pointer, so that nothing above is generic over them.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use super::{Cursor, Page, Reader, Remains, Store, StoreError, Writer};
use crate::id::UploadId;
use crate::upload::Upload;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

pub(crate) trait DynStore: Send + Sync + 'static {
    fn check(&self) -> Result<(), StoreError>;
    fn create(&self, upload: Upload) -> BoxFuture<'_, Box<dyn DynWriter>>;
    fn load<'a>(&'a self, id: &'a UploadId) -> BoxFuture<'a, Upload>;
    fn writer<'a>(&'a self, id: &'a UploadId) -> BoxFuture<'a, Box<dyn DynWriter>>;
    fn open<'a>(&'a self, id: &'a UploadId) -> BoxFuture<'a, Reader>;
    fn discard<'a>(&'a self, id: &'a UploadId) -> BoxFuture<'a, ()>;
    fn remove_damaged<'a>(&'a self, id: &'a UploadId) -> BoxFuture<'a, bool>;
    fn list(&self, cursor: Option<Cursor>) -> BoxFuture<'_, Page>;
    fn due(&self, cursor: Option<Cursor>) -> BoxFuture<'_, Page>;
    fn keeps_due(&self) -> bool;
    fn is_shared(&self) -> bool;
    fn ask<'a>(&'a self, id: &'a UploadId, wanted: bool) -> BoxFuture<'a, ()>;
    fn asked(&self) -> BoxFuture<'_, Vec<(UploadId, Duration)>>;
    fn free_bytes(&self) -> BoxFuture<'_, Option<u64>>;
    fn max_bytes(&self) -> Option<u64>;
    fn remains<'a>(&'a self, id: &'a UploadId) -> BoxFuture<'a, Remains>;
    fn settle(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

pub(crate) trait DynWriter: Send + 'static {
    fn upload(&self) -> &Upload;
    fn commit(&mut self, last: Bytes, upload: Upload) -> BoxFuture<'_, ()>;
    fn write_with(&mut self, bytes: Bytes, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'_, ()>;
    fn commit_with(
        &mut self,
        last: Bytes,
        upload: Box<dyn FnOnce() -> Upload + Send>,
    ) -> BoxFuture<'_, ()>;
    fn into_reader(self: Box<Self>) -> BoxFuture<'static, Reader>;
    fn is_doubtful(&self) -> bool;
    fn vouch(&mut self);
    fn path(&self) -> Option<PathBuf>;
    fn persist<'a>(&'a mut self, target: &'a Path, overwrite: bool) -> BoxFuture<'a, ()>;
    fn remove(self: Box<Self>) -> BoxFuture<'static, ()>;
}

impl<T: Store> DynStore for T {
    fn check(&self) -> Result<(), StoreError> {
        Store::check(self)
    }

    fn create(&self, upload: Upload) -> BoxFuture<'_, Box<dyn DynWriter>> {
        Box::pin(async { Ok(Box::new(Store::create(self, upload).await?) as _) })
    }

    fn load<'a>(&'a self, id: &'a UploadId) -> BoxFuture<'a, Upload> {
        Box::pin(Store::load(self, id))
    }

    fn writer<'a>(&'a self, id: &'a UploadId) -> BoxFuture<'a, Box<dyn DynWriter>> {
        Box::pin(async { Ok(Box::new(Store::writer(self, id).await?) as _) })
    }

    fn open<'a>(&'a self, id: &'a UploadId) -> BoxFuture<'a, Reader> {
        Box::pin(Store::open(self, id))
    }

    fn discard<'a>(&'a self, id: &'a UploadId) -> BoxFuture<'a, ()> {
        Box::pin(Store::discard(self, id))
    }

    fn remove_damaged<'a>(&'a self, id: &'a UploadId) -> BoxFuture<'a, bool> {
        Box::pin(Store::remove_damaged(self, id))
    }

    fn list(&self, cursor: Option<Cursor>) -> BoxFuture<'_, Page> {
        Box::pin(Store::list(self, cursor))
    }

    fn due(&self, cursor: Option<Cursor>) -> BoxFuture<'_, Page> {
        Box::pin(Store::due(self, cursor))
    }

    fn keeps_due(&self) -> bool {
        Store::keeps_due(self)
    }

    fn is_shared(&self) -> bool {
        Store::is_shared(self)
    }

    fn ask<'a>(&'a self, id: &'a UploadId, wanted: bool) -> BoxFuture<'a, ()> {
        Box::pin(Store::ask(self, id, wanted))
    }

    fn asked(&self) -> BoxFuture<'_, Vec<(UploadId, Duration)>> {
        Box::pin(Store::asked(self))
    }

    fn free_bytes(&self) -> BoxFuture<'_, Option<u64>> {
        Box::pin(Store::free_bytes(self))
    }

    fn max_bytes(&self) -> Option<u64> {
        Store::max_bytes(self)
    }

    fn remains<'a>(&'a self, id: &'a UploadId) -> BoxFuture<'a, Remains> {
        Box::pin(Store::remains(self, id))
    }

    fn settle(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(Store::settle(self))
    }
}

impl<T: Writer> DynWriter for T {
    fn upload(&self) -> &Upload {
        Writer::upload(self)
    }

    fn commit(&mut self, last: Bytes, upload: Upload) -> BoxFuture<'_, ()> {
        Box::pin(Writer::commit(self, last, upload))
    }

    fn write_with(&mut self, bytes: Bytes, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'_, ()> {
        Box::pin(Writer::write_with(self, bytes, work))
    }

    fn commit_with(
        &mut self,
        last: Bytes,
        upload: Box<dyn FnOnce() -> Upload + Send>,
    ) -> BoxFuture<'_, ()> {
        Box::pin(Writer::commit_with(self, last, upload))
    }

    fn into_reader(self: Box<Self>) -> BoxFuture<'static, Reader> {
        Box::pin(Writer::into_reader(*self))
    }

    fn is_doubtful(&self) -> bool {
        Writer::is_doubtful(self)
    }

    fn vouch(&mut self) {
        Writer::vouch(self);
    }

    fn path(&self) -> Option<PathBuf> {
        Writer::path(self)
    }

    fn persist<'a>(&'a mut self, target: &'a Path, overwrite: bool) -> BoxFuture<'a, ()> {
        Box::pin(Writer::persist(self, target, overwrite))
    }

    fn remove(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(Writer::remove(*self))
    }
}
