//! Adding bytes to an upload.
//!
//! These alternatives were measured on two cores, with the client on the same machine
//! (`benches/README.md`):
//!
//! - **Batches of 512 KiB** instead of 256 KiB, for 1 GiB in chunks of 8 MiB: 1.1 times the
//!   throughput for 0.9 times the CPU time. 1 MiB gains as much again, but 32 fast uploads then
//!   need more than 1 MiB each.
//! - **Hashing and writing in one job** instead of two jobs side by side: half the context
//!   switches, and with MD5 0.94 times the CPU time at the same throughput, since no third core has
//!   to fetch the batch.
//! - **Writing large frames directly** instead of copying them: for 16 concurrent chunks of 1 MiB,
//!   1.3 times the throughput for 0.75 times the CPU time. Forms then need the same CPU time as raw
//!   bodies, instead of 1.2 times. A single raw upload without a checksum loses a tenth, because
//!   the HTTP library's buffers are then new to its core.
//! - **Hashing each batch when it arrives** instead of reading the file later: with a saved state,
//!   completing costs the same for every size.
//! - **At most four blocking threads** instead of the runtime's limit: 0.9 times the CPU time for
//!   small files. Rejected, since four calls that hang would block all uploads.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};
use futures_core::Stream;
use tokio::io::AsyncReadExt;
use tokio::task::JoinHandle;

use super::buffer::{Buffer, Permit};
use super::claim::Claim;
use super::core::Engine;
use super::error::{Error, ErrorKind};
use super::event::{Cause, Event};
use super::lease::Lease;
use super::lock;
use super::quota::Reservation;
use crate::checksum::Running;
use crate::store::{Batch, Commit, DynWriter, Reader, StoreError};
use crate::task;
use crate::upload::{Status, Upload};

/// When the bytes of an append are acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppendMode {
    /// Either all bytes of an [`Append`] are acknowledged at its commit, or none are. For clients
    /// that resend a whole chunk after a failure, and for chunks with their own checksum.
    #[default]
    AllOrNothing,
    /// Every batch that reached the store is acknowledged, even if the rest never arrives.
    KeepWhatCame,
}

/// An append in progress. It holds the upload until it is committed or dropped.
///
/// Bytes are collected into batches. Each batch is hashed and written on another task while the
/// next one is collected, so an append holds at most two batches.
///
/// Dropping it releases the upload as it was last committed. A newer append to the same upload
/// stops this one: its next call fails with [`ErrorKind::Superseded`].
#[must_use = "an append that is not committed has no effect"]
pub struct Append {
    engine: Arc<Engine>,
    cause: Cause,
    /// The record to be committed, except for its offset and checksum.
    upload: Upload,
    mode: AppendMode,
    origin: Origin,
    limit: Option<u64>,
    /// How many bytes the upload has, including those received before this append.
    position: u64,
    /// How many of these bytes were handed to the store.
    submitted: u64,
    buffer: Buffer,
    state: WriterState,
    // Dropped before the claim: the next append must find the reserved bytes released.
    reservation: Option<Reservation>,
    claim: Arc<Claim>,
}

/// The writer: idle here, or moved into the task that writes a batch.
enum WriterState {
    Idle(BatchWriter),
    Busy(JoinHandle<(BatchWriter, Result<(), StoreError>)>),
    Failed,
}

/// The store's writer and the running checksum.
struct BatchWriter {
    writer: Box<dyn DynWriter>,
    checksum: Checksum,
    /// Keeps the claim while a batch is being written, even if the append was dropped.
    _claim: Arc<Claim>,
}

impl Append {
    pub(super) fn new(
        lease: Lease,
        mode: AppendMode,
        origin: Origin,
        limit: Option<u64>,
        reservation: Option<Reservation>,
    ) -> Self {
        let Lease { engine, cause, writer, claim } = lease;
        let (upload, claim) = (writer.upload().clone(), Arc::new(claim));
        let checksum = match &upload.progress.checksum {
            Some(state) => Running::resume(state),
            None => (upload.offset() == 0).then(|| engine.new_checksum()),
        };
        let checksum = Checksum(Arc::new(Mutex::new(checksum)));
        Self {
            mode,
            origin,
            limit,
            position: upload.offset(),
            submitted: upload.offset(),
            buffer: Buffer::new(&engine.pool),
            state: WriterState::Idle(BatchWriter { writer, checksum, _claim: Arc::clone(&claim) }),
            engine,
            cause,
            upload,
            claim,
            reservation,
        }
    }

    /// The record before the commit.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// How many bytes the upload has so far, including those received before this append.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Sets the total size of the file, in bytes. It cannot be changed later.
    ///
    /// # Errors
    /// [`ErrorKind::TotalMismatch`], [`ErrorKind::TooLarge`], [`ErrorKind::TooLong`],
    /// [`ErrorKind::QuotaExceeded`].
    pub async fn set_total(&mut self, total: u64) -> Result<(), Error> {
        self.check_total(total)?;
        self.reserve(total).await?;
        self.upload.progress.total = Some(total);
        Ok(())
    }

    /// Sets the maximum size of the file for this append, in bytes. It replaces all other limits;
    /// with `None` only the store's limit applies.
    pub fn set_limit(&mut self, bytes: impl Into<Option<u64>>) {
        self.limit = self.engine.within_reach(bytes.into());
    }

    fn check_total(&self, total: u64) -> Result<(), Error> {
        match (self.upload.total(), self.limit) {
            (Some(known), _) if known != total => {
                Err(ErrorKind::TotalMismatch { total: known }.into())
            }
            (_, Some(limit)) if total > limit => Err(ErrorKind::TooLarge { limit }.into()),
            _ if self.position > total => Err(ErrorKind::TooLong { total }.into()),
            _ => Ok(()),
        }
    }

    /// Reserves quota for a file of this many bytes.
    async fn reserve(&mut self, bytes: u64) -> Result<(), Error> {
        match &mut self.reservation {
            Some(reservation) if bytes > reservation.bytes() => {
                reservation.grow(&*self.engine.store, bytes).await
            }
            _ => Ok(()),
        }
    }

    /// Sets the text fields of a new upload, for a form whose fields follow its file. The fields of
    /// an existing upload do not change.
    pub fn set_fields(&mut self, fields: Vec<(String, String)>) {
        if self.origin != Origin::Existing {
            self.upload.fields = fields;
        }
    }

    /// Waits until a newer request asks for the upload, and returns the reason to stop. Code that
    /// waits for the client's bytes should also wait for this, and drop the append when it
    /// completes.
    pub fn stopped(&self) -> impl Future<Output = ErrorKind> + Send + use<> {
        // Polling for hand-off requests starts as soon as an append waits for its client.
        self.engine.watch();
        self.claim.stopped()
    }

    /// Adds bytes. It only waits if a whole batch is already waiting to be written.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`], [`ErrorKind::TooLong`], [`ErrorKind::QuotaExceeded`],
    /// [`ErrorKind::Superseded`], and the errors of the store. After an error, or if this future
    /// was dropped before it completed, the append can only be dropped.
    pub async fn write(&mut self, mut bytes: impl Buf + Send) -> Result<(), Error> {
        self.admit(bytes.remaining()).await?;
        self.gather(&mut bytes).await
    }

    /// Adds bytes like [`write`](Self::write), and does not copy large ones, since the copy would
    /// cost more than holding them.
    ///
    /// # Errors
    /// See [`write`](Self::write).
    pub async fn write_bytes(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        self.admit(bytes.len()).await?;
        let batch = self.engine.pool.large;
        while bytes.len() >= DIRECT_WRITE_BYTES.min(batch) {
            if !self.buffer.is_empty() {
                self.flush().await?;
            }
            let permit = self.engine.pool.permit();
            let pool_exhausted = permit.is_none();
            let whole = bytes.split_to(bytes.len().min(batch));
            let writer = self.take_writer().await?;
            self.start(writer, Bytes::from_owner(LargeFrame { bytes: whole, _permit: permit }));
            if pool_exhausted {
                // Without a permit the append holds one frame at a time, as the HTTP library does
                // anyway.
                self.finish_write().await?;
            }
        }
        self.gather(&mut bytes).await
    }

    /// Checks whether `more` bytes may be written, and reserves quota for them.
    async fn admit(&mut self, more: usize) -> Result<(), Error> {
        self.claim.check()?;
        self.position = self.checked_position(more)?;
        self.reserve(self.position).await
    }

    async fn gather(&mut self, bytes: &mut impl Buf) -> Result<(), Error> {
        while bytes.has_remaining() {
            if self.buffer.is_full() {
                let small = !self.buffer.is_large();
                self.flush().await?;
                if small {
                    // An upload with a small buffer holds no second one.
                    self.finish_write().await?;
                }
            }
            self.buffer.fill(bytes);
        }
        Ok(())
    }

    fn checked_position(&self, more: usize) -> Result<u64, Error> {
        let limit = self.limit.unwrap_or(u64::MAX);
        let total = self.upload.total().filter(|total| *total <= limit);
        let position = u64::try_from(more).ok().and_then(|more| self.position.checked_add(more));
        let position = position.filter(|position| *position <= total.unwrap_or(limit));
        position.ok_or_else(|| match total {
            Some(total) => ErrorKind::TooLong { total }.into(),
            None => ErrorKind::TooLarge { limit }.into(),
        })
    }

    /// Adds all bytes of a stream.
    ///
    /// # Errors
    /// The errors of [`write`](Self::write); [`ErrorKind::Source`] with the stream's own error.
    pub async fn write_stream<S, B, E>(&mut self, stream: S) -> Result<(), Error>
    where
        S: Stream<Item = Result<B, E>> + Send,
        B: Buf + Send,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        let mut stream = pin!(stream);
        loop {
            let next = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx));
            let next = tokio::select! {
                biased;
                next = next => next,
                why = self.stopped() => return Err(why.into()),
            };
            match next {
                Some(Ok(bytes)) => self.write(bytes).await?,
                Some(Err(error)) => return Err(Error::source_failed(error)),
                None => return Ok(()),
            }
        }
    }

    /// Writes the collected bytes because the next ones are slow to arrive, so that a slow client
    /// uses very little memory. Less than 4 KiB stays in the buffer.
    ///
    /// # Errors
    /// See [`write`](Self::write).
    pub async fn flush_idle(&mut self) -> Result<(), Error> {
        if self.is_worth_writing() {
            self.flush().await?;
        }
        self.finish_write().await
    }

    /// Whether [`flush_idle`](Self::flush_idle) would free memory.
    pub fn wants_flush(&self) -> bool {
        self.is_worth_writing() || matches!(self.state, WriterState::Busy(_))
    }

    fn is_worth_writing(&self) -> bool {
        self.buffer.is_large() || self.buffer.len() >= IDLE_FLUSH_BYTES
    }

    /// Starts writing the collected bytes as soon as the previous batch is written.
    async fn flush(&mut self) -> Result<(), Error> {
        // This comes first: if this future is dropped while it waits, the batch is still in the
        // buffer.
        let writer = self.take_writer().await?;
        let batch = self.buffer.freeze();
        self.start(writer, batch);
        Ok(())
    }

    fn start(&mut self, mut writer: BatchWriter, batch: Bytes) {
        self.submitted += batch.len() as u64;
        if let Some(reservation) = &mut self.reservation {
            reservation.record_written(self.submitted, self.mode == AppendMode::KeepWhatCame);
        }
        let keep = (self.mode == AppendMode::KeepWhatCame).then(|| self.upload.clone());
        // The task owns the writer and thus the lease. If this future is dropped, the write still
        // completes before anybody else can write.
        self.state = WriterState::Busy(tokio::spawn(async move {
            let result = writer.write(batch, keep).await;
            (writer, result)
        }));
    }

    /// Waits for the current write, and keeps the writer.
    async fn finish_write(&mut self) -> Result<(), Error> {
        self.state = WriterState::Idle(self.take_writer().await?);
        Ok(())
    }

    /// Waits for the current write, and takes the writer.
    async fn take_writer(&mut self) -> Result<BatchWriter, Error> {
        if let WriterState::Busy(task) = &mut self.state {
            let joined = task.await;
            self.state = WriterState::Failed;
            let (writer, result) = task::joined(joined).ok_or(ErrorKind::Store)?;
            result?;
            return Ok(writer);
        }
        match std::mem::replace(&mut self.state, WriterState::Failed) {
            WriterState::Idle(writer) => Ok(writer),
            WriterState::Busy(_) | WriterState::Failed => Err(ErrorKind::Store.into()),
        }
    }

    /// Writes the remaining bytes and commits.
    ///
    /// The commit continues if this future is dropped: the upload then has the bytes, although the
    /// caller never learns of it.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`] and the errors of the store. In a [bucket](crate::guide::nodes)
    /// another node may have been faster. The error then tells what it has done to the upload:
    /// [`ErrorKind::OffsetMismatch`] with the new offset, [`ErrorKind::Finishing`],
    /// [`ErrorKind::AlreadyComplete`], [`ErrorKind::NotFound`] or [`ErrorKind::Expired`].
    pub async fn commit(self) -> Result<Upload, Error> {
        Ok(self.end(false).await?.0)
    }

    /// Does the same as [`commit`](Self::commit) and keeps holding the upload, so that no other
    /// request can change it before the next step.
    ///
    /// # Errors
    /// See [`commit`](Self::commit).
    pub async fn commit_and_keep(self) -> Result<Lease, Error> {
        self.end(true).await?.1.ok_or_else(|| ErrorKind::Store.into())
    }

    async fn end(mut self, keep: bool) -> Result<(Upload, Option<Lease>), Error> {
        self.claim.check()?;
        if self.origin == Origin::Staged {
            return Err(ErrorKind::NotFound.into());
        }
        if !self.is_whole() {
            return Err(ErrorKind::Store.into());
        }
        let BatchWriter { mut writer, checksum, _claim } = self.take_writer().await?;
        // The other clone of the claim is unwrapped below.
        drop(_claim);
        let last = self.buffer.freeze();
        let Self { engine, cause, mut upload, origin, position, claim, reservation, .. } = self;
        let claim = Arc::into_inner(claim).ok_or(ErrorKind::Store)?;
        upload.progress.offset = position;
        upload.progress.expires = engine.expiry.after_chunk(&upload, engine.now());
        upload.progress.status = Status::Open;
        super::detached(async move {
            engine.commit(&mut *writer, checksum.into_commit(last, upload)).await?;
            let upload = writer.upload().clone();
            if let Some(reservation) = reservation {
                reservation.commit(&upload);
            }
            let kept = keep.then_some(writer);
            let event = if origin == Origin::New { Event::Created } else { Event::Grew };
            // The claim is still held, so that events are reported in order.
            engine.tell(event(upload.clone()), &cause).await;
            Ok((upload, kept.map(|writer| Lease { engine, cause, writer, claim })))
        })
        .await
    }

    /// Appends the bytes of an append that was [staged](crate::OwnerUploads::stage), or that
    /// started an upload and was not committed, because they turned out to belong to this upload.
    ///
    /// # Errors
    /// See [`write`](Self::write).
    pub async fn take_from(&mut self, staged: Self) -> Result<(), Error> {
        let mut reader = staged.into_reader().await?;
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            match reader.read(&mut buffer).await {
                Ok(0) => return Ok(()),
                Ok(read) => self.write(&buffer[..read]).await?,
                Err(_) => return Err(ErrorKind::Store.into()),
            }
        }
    }

    /// Reads the bytes of an append of which none was committed.
    async fn into_reader(mut self) -> Result<Reader, Error> {
        let uncommitted = self.origin != Origin::Existing && self.mode == AppendMode::AllOrNothing;
        if !uncommitted || !self.is_whole() {
            return Err(ErrorKind::Store.into());
        }
        if !self.buffer.is_empty() {
            self.flush().await?;
        }
        Ok(self.take_writer().await?.writer.into_reader().await?)
    }

    /// Whether no call of `write` was dropped before it completed.
    fn is_whole(&self) -> bool {
        self.submitted + self.buffer.len() as u64 == self.position
    }
}

/// A frame that is written without being copied.
struct LargeFrame {
    bytes: Bytes,
    _permit: Option<Permit>,
}

impl AsRef<[u8]> for LargeFrame {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl BatchWriter {
    /// Hashes and writes one batch.
    async fn write(&mut self, batch: Bytes, keep: Option<Upload>) -> Result<(), StoreError> {
        let checksum = self.checksum.clone();
        let Some(mut upload) = keep else {
            let batch = Batch::looked_at(batch, move |bytes| checksum.update(bytes));
            return self.writer.write(batch).await;
        };
        upload.progress.offset = self.writer.upload().offset() + batch.len() as u64;
        self.writer.commit(checksum.into_commit(batch, upload)).await
    }
}

/// The incremental checksum, which moves with each batch to the thread that writes it.
///
/// Hashing and writing one after the other, while the next batch is collected, is faster than doing
/// both in parallel: fetching the batch to a third core costs more than it saves.
#[derive(Clone)]
struct Checksum(Arc<Mutex<Option<Running>>>);

impl Checksum {
    fn update(&self, bytes: &[u8]) {
        if let Some(running) = &mut *lock(&self.0) {
            running.update(bytes);
        }
    }

    /// The commit of these bytes, with the checksum's state after them.
    fn into_commit(self, last: Bytes, mut upload: Upload) -> Commit {
        Commit::computed(last, move |last| {
            self.update(last);
            upload.progress.checksum = lock(&self.0).as_ref().map(Running::save);
            upload
        })
    }
}

impl fmt::Debug for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Append")
            .field("upload", &self.upload.id)
            .field("mode", &self.mode)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// The upload of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Existing,
    New,
    /// None: the bytes will be moved to another upload.
    Staged,
}

/// Fewer bytes than this stay in the buffer of a slow client: writing them would cost more than
/// keeping them.
const IDLE_FLUSH_BYTES: usize = 4 * 1024;
/// Frames of at least this size are written without being copied. Smaller ones are not worth a hop
/// to another thread.
const DIRECT_WRITE_BYTES: usize = 256 * 1024;
/// How many staged bytes are copied at a time.
const COPY_BYTES: usize = 64 * 1024;
