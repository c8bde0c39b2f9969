//! Adding bytes to an upload.
//!
//! What was tried on two cores, with the client on the same machine (`benches/README.md`):
//!
//! - **Batches of 512 KiB** against 256 KiB, 1 GiB in chunks of 8 MiB: 1.1 times the throughput for 0.9 of
//!   the CPU. 1 MiB gives as much again, and 32 fast uploads then take more than 1 MiB each.
//! - **Hashing and writing in one job** against two side by side: half the context switches, and with
//!   MD5 0.94 of the CPU at the same throughput, as a third core need not fetch the batch.
//! - **Large frames written as they are** against copied: 16 chunks of 1 MiB at once 1.3 times the
//!   throughput for 0.75 of the CPU, forms the same CPU as raw bodies instead of 1.2 times. One upload alone,
//!   raw and without a checksum, loses a tenth: the HTTP library's buffers are then new to its core.
//! - **Hashing each batch as it comes** against later from the file: a kept state makes completing cost
//!   the same for every size.
//! - **A limit of four blocking threads** against the runtime's own: 0.9 of the CPU for small files, but
//!   four calls that hang would stop everybody. Not taken.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
use super::quota::Reservation;
use crate::checksum::Running;
use crate::store::{Batch, Commit, DynWriter, StoreError};
use crate::task;
use crate::upload::{Status, Upload};

/// When bytes count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppendMode {
    /// All bytes of an [`Append`] count at its commit, or none does. For clients that send a whole
    /// chunk again after a failure, and for chunks with a checksum of their own.
    #[default]
    AllOrNothing,
    /// Every batch that reached the store counts, even if the rest never comes.
    KeepWhatCame,
}

/// An append under way: it holds the upload until it is committed or dropped.
///
/// Bytes are gathered into batches. One batch is written and hashed, off this task, while the next
/// one is gathered; so an append holds at most two batches.
///
/// Dropping it gives the upload back as it was last committed. A newer append of the same upload
/// stops this one: its next call gives [`ErrorKind::Superseded`].
#[must_use = "an append that is not committed has no effect"]
pub struct Append {
    engine: Arc<Engine>,
    cause: Cause,
    /// The record as it will be committed, but for the offset and the checksum.
    upload: Upload,
    mode: AppendMode,
    new: bool,
    limit: Option<u64>,
    /// How many bytes were taken, those before this append included.
    position: u64,
    /// How many of them the store has got.
    handed: u64,
    buffer: Buffer,
    work: Work,
    // Before the claim: the next append must find what this one gives back.
    reservation: Option<Reservation>,
    claim: Arc<Claim>,
}

/// The writer: here, or with the batch that is being written.
enum Work {
    Idle(BatchWriter),
    Busy(JoinHandle<(BatchWriter, Result<(), StoreError>)>),
    Failed,
}

/// The store's writer and the running checksum.
struct BatchWriter {
    writer: Box<dyn DynWriter>,
    checksum: Checksum,
    /// While a batch is being written the upload is claimed, even if the append was dropped.
    _claim: Arc<Claim>,
}

impl Append {
    pub(super) fn new(
        engine: Arc<Engine>,
        cause: Cause,
        claim: Claim,
        writer: Box<dyn DynWriter>,
        checksum: Option<Running>,
        options: Options,
    ) -> Self {
        let (upload, claim) = (writer.upload().clone(), Arc::new(claim));
        Self {
            mode: options.mode,
            new: options.new,
            limit: options.limit,
            position: upload.offset(),
            handed: upload.offset(),
            buffer: Buffer::new(&engine.pool),
            work: Work::Idle(BatchWriter {
                writer,
                checksum: Checksum::new(checksum),
                _claim: Arc::clone(&claim),
            }),
            engine,
            cause,
            upload,
            claim,
            reservation: options.reservation,
        }
    }

    /// Goes on with an upload that exists.
    pub(super) fn resume(lease: Lease, mode: AppendMode) -> Self {
        let Lease { engine, cause, writer, claim } = lease;
        let upload = writer.upload();
        let checksum = match &upload.progress.checksum {
            Some(state) => Running::resume(state),
            None => (upload.offset() == 0).then(|| engine.new_checksum()),
        };
        let limit = engine.within_reach(upload.max_bytes.or(engine.max_bytes));
        let reservation = engine.ledger.resume(upload);
        let options = Options { mode, new: false, limit, reservation };
        Self::new(engine, cause, claim, writer, checksum, options)
    }

    /// The record as it is before the commit.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// How many bytes were taken so far, those before this append included.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Says how many bytes the file will have. It can be said once.
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

    /// Sets the largest size of the file that this append takes, instead of every other limit; `None` for
    /// no limit but the store's.
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

    /// Makes sure that so many bytes are within the quotas.
    async fn reserve(&mut self, bytes: u64) -> Result<(), Error> {
        match &mut self.reservation {
            Some(reservation) if bytes > reservation.bytes() => {
                reservation.grow(&*self.engine.store, bytes).await
            }
            _ => Ok(()),
        }
    }

    /// The text fields of a new upload, for a form whose fields come after its file. Those of an
    /// upload that exists stay as they are.
    pub fn set_fields(&mut self, fields: Vec<(String, String)>) {
        if self.new {
            self.upload.fields = fields;
        }
    }

    /// Waits until a newer request asks for the upload; gives the reason. Whoever waits for bytes of a
    /// client waits for this beside it, and drops the append when it comes.
    pub fn stopped(&self) -> impl Future<Output = ErrorKind> + Send + use<> {
        // Only who waits can be waited for by another process.
        self.engine.watch();
        self.claim.stopped()
    }

    /// Takes bytes. It waits only if a whole batch is waiting to be written already.
    ///
    /// A large [`Bytes`] becomes a batch as it is, since copying it costs a pass over memory more than
    /// holding it.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`], [`ErrorKind::TooLong`], [`ErrorKind::QuotaExceeded`],
    /// [`ErrorKind::Superseded`] and those of the store. After an error, or when this future was dropped
    /// before its end, the append is only good for being dropped.
    pub async fn write(&mut self, mut bytes: impl Buf + Send) -> Result<(), Error> {
        self.admit(bytes.remaining()).await?;
        let batch = self.engine.pool.large();
        while bytes.remaining() >= WHOLE.min(batch) {
            if !self.buffer.is_empty() {
                self.flush().await?;
            }
            let permit = self.engine.pool.permit();
            let alone = permit.is_none();
            let whole = bytes.copy_to_bytes(bytes.remaining().min(batch));
            let writer = self.settle().await?;
            self.start(writer, Bytes::from_owner(Whole { bytes: whole, _permit: permit }));
            if alone {
                // Then it holds one frame at a time, as the HTTP library does anyway.
                self.rest().await?;
            }
        }
        self.gather(&mut bytes).await
    }

    /// Whether so many more bytes may be written.
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
                    // An upload with a small buffer holds nothing beside it.
                    self.rest().await?;
                }
            }
            self.buffer.fill(bytes);
        }
        Ok(())
    }

    fn checked_position(&self, more: usize) -> Result<u64, Error> {
        let (total, limit) = (self.upload.total(), self.limit);
        let limit_or_max = limit.unwrap_or(u64::MAX);
        let position = u64::try_from(more).ok().and_then(|more| self.position.checked_add(more));
        match position {
            Some(position) if position <= total.unwrap_or(limit_or_max).min(limit_or_max) => {
                Ok(position)
            }
            _ => Err(match total {
                Some(total) if total <= limit_or_max => ErrorKind::TooLong { total }.into(),
                _ => ErrorKind::TooLarge { limit: limit_or_max }.into(),
            }),
        }
    }

    /// Takes all bytes of a stream.
    ///
    /// # Errors
    /// Those of [`write`](Self::write); [`ErrorKind::Source`] with the stream's own error.
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

    /// Writes what was gathered, since the next bytes are slow to come: so a slow client keeps next to no
    /// memory. Less than a page stays.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn flush_idle(&mut self) -> Result<(), Error> {
        if self.is_worth_writing() {
            self.flush().await?;
        }
        self.rest().await
    }

    /// Whether [`flush_idle`](Self::flush_idle) would give memory back.
    pub fn wants_flush(&self) -> bool {
        self.is_worth_writing() || matches!(self.work, Work::Busy(_))
    }

    fn is_worth_writing(&self) -> bool {
        self.buffer.is_large() || self.buffer.len() >= LITTLE
    }

    /// Starts to write what is gathered, as soon as the batch before it is written.
    async fn flush(&mut self) -> Result<(), Error> {
        // First: if this future is dropped while it waits, the batch is still there.
        let writer = self.settle().await?;
        let batch = self.buffer.freeze();
        self.start(writer, batch);
        Ok(())
    }

    fn start(&mut self, mut writer: BatchWriter, batch: Bytes) {
        self.handed += batch.len() as u64;
        if let Some(reservation) = &mut self.reservation {
            reservation.wrote(self.handed, self.mode == AppendMode::KeepWhatCame);
        }
        let keep = (self.mode == AppendMode::KeepWhatCame).then(|| self.upload.clone());
        // On a task of its own, with the writer and so the lease: if this future is dropped, the
        // write still ends before anybody else can write.
        self.work = Work::Busy(tokio::spawn(async move {
            let result = writer.write(batch, keep).await;
            (writer, result)
        }));
    }

    /// Waits until nothing is being written.
    async fn rest(&mut self) -> Result<(), Error> {
        self.work = Work::Idle(self.settle().await?);
        Ok(())
    }

    /// Waits for the batch that is being written.
    async fn settle(&mut self) -> Result<BatchWriter, Error> {
        if let Work::Busy(task) = &mut self.work {
            let joined = task.await;
            self.work = Work::Failed;
            let (writer, result) = task::joined(joined).ok_or(ErrorKind::Store)?;
            result?;
            return Ok(writer);
        }
        match std::mem::replace(&mut self.work, Work::Failed) {
            Work::Idle(writer) => Ok(writer),
            Work::Busy(_) | Work::Failed => Err(ErrorKind::Store.into()),
        }
    }

    /// Writes what is left, and makes it count.
    ///
    /// It goes on when this future is dropped: the upload then has the bytes, though nobody was
    /// told.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`] and those of the store. In a [bucket](crate::guide::nodes), where another
    /// node was faster, what that has made of the upload: [`ErrorKind::OffsetMismatch`] with the new
    /// offset, [`ErrorKind::Finishing`], [`ErrorKind::AlreadyComplete`], [`ErrorKind::NotFound`] or
    /// [`ErrorKind::Expired`].
    pub async fn commit(self) -> Result<Upload, Error> {
        Ok(self.end(false).await?.0)
    }

    /// The same, and goes on holding the upload: so nothing comes between the last byte and what is done
    /// then.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn commit_and_keep(self) -> Result<Lease, Error> {
        self.end(true).await?.1.ok_or_else(|| ErrorKind::Store.into())
    }

    async fn end(mut self, keep: bool) -> Result<(Upload, Option<Lease>), Error> {
        self.claim.check()?;
        if self.handed + self.buffer.len() as u64 != self.position {
            // A write was dropped in its middle.
            return Err(ErrorKind::Store.into());
        }
        let BatchWriter { mut writer, checksum, _claim } = self.settle().await?;
        // Of the two this is the last.
        drop(_claim);
        let last = self.buffer.freeze();
        let Self { engine, cause, mut upload, new, position, claim, reservation, .. } = self;
        let claim = Arc::into_inner(claim).ok_or(ErrorKind::Store)?;
        upload.progress.offset = position;
        upload.progress.expires = engine.expiry.after_chunk(&upload, engine.now());
        upload.progress.status = Status::Open;
        let commit = tokio::spawn(async move {
            let before = writer.upload().clone();
            if let Err(error) = writer.commit(checksum.into_commit(last, upload)).await {
                return Err(engine.overtaken(&before, error).await);
            }
            let upload = writer.upload().clone();
            if let Some(reservation) = reservation {
                reservation.keep(&upload);
            }
            let kept = keep.then_some(writer);
            let event = if new { Event::Created } else { Event::Grew };
            // Under the claim, so that what comes next is told next.
            engine.tell(event(upload.clone()), &cause).await;
            Ok((upload, kept.map(|writer| Lease { engine, cause, writer, claim })))
        });
        super::joined(commit).await
    }

    /// Takes the bytes of an append that was [staged](crate::OwnerUploads::stage), or that began an upload
    /// and was not committed: they turn out to belong to this upload.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn take_from(&mut self, mut staged: Self) -> Result<(), Error> {
        if !staged.buffer.is_empty() {
            staged.flush().await?;
        }
        let mut reader = staged.settle().await?.writer.into_reader().await?;
        let mut buffer = vec![0; COPIED];
        loop {
            match reader.read(&mut buffer).await {
                Ok(0) => return Ok(()),
                Ok(read) => self.write(&buffer[..read]).await?,
                Err(_) => return Err(ErrorKind::Store.into()),
            }
        }
    }
}

/// A frame that is written as it is.
struct Whole {
    bytes: Bytes,
    _permit: Option<Permit>,
}

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl BatchWriter {
    /// Writes and hashes one batch.
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

/// The checksum that runs along: with a batch it goes where that is written.
///
/// Hashing and writing one after the other, while the next batch is gathered, beats doing them side by
/// side: a batch that a third core has to fetch costs more than is won.
#[derive(Clone)]
struct Checksum(Arc<Mutex<Option<Running>>>);

impl Checksum {
    fn new(running: Option<Running>) -> Self {
        Self(Arc::new(Mutex::new(running)))
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, bytes: &[u8]) {
        if let Some(running) = &mut *self.running() {
            running.update(bytes);
        }
    }

    /// The record, with the state after these bytes.
    fn into_commit(self, last: Bytes, mut upload: Upload) -> Commit {
        Commit::computed(last, move |last| {
            self.update(last);
            upload.progress.checksum = self.running().as_ref().map(Running::save);
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

#[derive(Default)]
pub(super) struct Options {
    pub(super) mode: AppendMode,
    pub(super) new: bool,
    pub(super) limit: Option<u64>,
    pub(super) reservation: Option<Reservation>,
}

/// As much as a slow client may leave in the buffer: a write for less would cost more than it.
const LITTLE: usize = 4 * 1024;
/// As large as a frame must be to be written as it is: less is not worth a hop to another thread.
const WHOLE: usize = 256 * 1024;
/// How much of staged bytes is copied at a time.
const COPIED: usize = 64 * 1024;
