//! Removing what has expired.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::error::Error;
use super::event::Event;
use super::uploads::{Engine, Scope, Uploads};
use crate::id::UploadId;
use crate::log;
use crate::store::StoreError;
use crate::upload::{Owner, Status, Upload};

/// What a sweep has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expired {
    /// Uploads that were complete. Their files are gone unless the application had taken them.
    pub complete: u64,
    /// Uploads that were not.
    pub incomplete: u64,
    /// What expired uploads are left, since they are in use or damaged or the store failed.
    pub skipped: u64,
}

pub(super) async fn delete_expired(engine: &Engine, scope: &Scope) -> Result<Expired, Error> {
    let mut expired = Expired::default();
    let mut cursor = None;
    // Only who sees all uploads can count them.
    let is_all = matches!(scope, Scope::All);
    let count = if is_all { engine.ledger.begin_count() } else { None };
    loop {
        let page = engine.store.list(cursor).await?;
        for upload in page.uploads {
            if let (Some(count), Ok(upload)) = (&count, &upload) {
                count.see(upload);
            }
            match upload {
                Ok(upload) if !scope.knows(&upload) || !upload.is_expired(engine.now()) => {}
                Ok(upload) => match remove(engine, &upload.id).await {
                    Ok(None) => {}
                    Ok(Some(Status::Complete)) => expired.complete += 1,
                    Ok(Some(_)) => expired.incomplete += 1,
                    Err(StoreError::Busy) => expired.skipped += 1,
                    Err(error) => {
                        log::failed("remove an expired upload", Some(&upload.id), &error);
                        expired.skipped += 1;
                    }
                },
                Err(error) => {
                    log::failed("read a record", None, &error);
                    expired.skipped += 1;
                }
            }
        }
        if is_all {
            for id in page.abandoned {
                discard(engine, &id).await;
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            if let Some(count) = count {
                count.finish();
            }
            return Ok(expired);
        }
    }
}

/// Removes the upload unless it lives again since it was listed.
pub(super) async fn remove(engine: &Engine, id: &UploadId) -> Result<Option<Status>, StoreError> {
    let writer = match engine.store.writer(id).await {
        Err(StoreError::NotFound) => return Ok(None),
        writer => writer?,
    };
    let upload: Upload = writer.upload().clone();
    if !upload.is_expired(engine.now()) {
        return Ok(None);
    }
    writer.remove().await?;
    engine.ledger.close(id);
    engine.swept.remember(&upload);
    let status = upload.status();
    engine.observer.on_event(&Event::Expired(upload)).await;
    Ok(Some(status))
}

async fn discard(engine: &Engine, id: &UploadId) {
    match engine.store.discard(id).await {
        Ok(()) | Err(StoreError::Busy) => {}
        Err(error) => log::failed("remove what an upload left", Some(id), &error),
    }
}

/// The uploads that were swept last, so that their clients are told that they came too late and not
/// that there never was such an upload.
#[derive(Debug, Default)]
pub(super) struct Swept {
    last: Mutex<(HashMap<UploadId, Option<Owner>>, VecDeque<UploadId>)>,
}

impl Swept {
    fn remember(&self, upload: &Upload) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (owners, order) = &mut *last;
        owners.insert(upload.id, upload.owner.clone());
        order.push_back(upload.id);
        if order.len() > REMEMBERED
            && let Some(oldest) = order.pop_front()
        {
            owners.remove(&oldest);
        }
    }

    /// Whether the upload was one of them, and the scope's.
    pub(super) fn knows(&self, id: &UploadId, scope: &Scope) -> bool {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.0.get(id).is_some_and(|owner| scope.owns(owner.as_ref()))
    }
}

/// Removes expired uploads in the background, until it is stopped or dropped or the uploads are
/// [shut down](Uploads::shutdown).
#[derive(Debug)]
#[must_use = "the sweeper stops when it is dropped"]
pub struct Sweeper {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Sweeper {
    pub(super) fn start(uploads: Uploads, every: Duration) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let closed = uploads.closed();
            let mut closed = std::pin::pin!(closed);
            loop {
                // Before the look, so that a shutdown that begins now waits for it.
                let work = uploads.work();
                if uploads.is_closed() {
                    return;
                }
                // On a task of its own, so that a panic of an observer ends this sweep and not all.
                let uploads = uploads.clone();
                let sweep = async move {
                    let _work = work;
                    uploads.delete_expired().await
                };
                match tokio::spawn(sweep).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => log::failed("sweep the store", None, &error),
                    Err(error) => log::failed("sweep the store", None, &error),
                }
                tokio::select! {
                    () = tokio::time::sleep(every) => {}
                    // Also when the handle is dropped.
                    _ = stopped.wait_for(|stop| *stop) => return,
                    () = &mut closed => return,
                }
            }
        });
        Self { stop, task }
    }

    /// Ends after the sweep that is under way, if one is, and waits for that.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

const REMEMBERED: usize = 1024;
