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
//! - **Hashing behind the writing**, on a thread that reads the bytes back, for 1 GiB with MD5 in
//!   chunks of 8 MiB: 1.05 to 1.1 times the throughput for 1.1 times the CPU time. Chunks of up to
//!   two batches, and uploads that are slower than their digest, are hashed where they are written.
//! - **Hashing each batch when it arrives** instead of reading the file later: with a saved state,
//!   completing costs the same for every size.
//! - **At most four blocking threads** instead of the runtime's limit: 0.9 times the CPU time for
//!   small files. Rejected, since four calls that hang would block all uploads.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_core::Stream;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::batch::{BatchWriter, Checksum, LargeFrame, WriterState};
use super::buffer::Buffer;
use super::checksums::Checksums;
use super::claim::Claim;
use super::core::Engine;
use super::error::{Error, ErrorKind};
use super::event::{Cause, Event};
use super::lease::Lease;
use super::quota::Reservation;
use crate::checksum::{Digest, DigestAlgorithm};
use crate::log;
use crate::metric::Timer;
use crate::store::Reader;
use crate::upload::{Status, Upload};

/// When the bytes of an append are acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppendMode {
    /// Either all bytes of an [`Append`] are acknowledged at its commit, or none are. This is for
    /// clients that resend a whole chunk after a failure, and for chunks with their own checksum.
    #[default]
    AllOrNothing,
    /// All bytes that arrived are acknowledged, even if the rest never arrives: about twice a
    /// second while they arrive, and at the end, even if the append is dropped. Only a newer
    /// request that takes over the upload discards what was not yet acknowledged, since it sends
    /// these bytes again. A request that only [asks for the
    /// offset](crate::OwnerUploads::end_append) does not.
    KeepWhatCame,
}

/// An append in progress. It holds the upload until it is committed or dropped.
///
/// Bytes are collected into batches. Each batch is hashed and written on another task while the
/// next one is collected, so an append holds at most two batches.
///
/// Dropping it releases the upload as it was last committed, or, with
/// [`KeepWhatCame`](AppendMode::KeepWhatCame), commits what has arrived. A newer append to the same
/// upload stops this one: its next call fails with [`ErrorKind::Superseded`].
#[must_use = "an append that is not committed has no effect"]
pub struct Append {
    engine: Arc<Engine>,
    cause: Cause,
    /// The record to be committed, except for its offset and checksums.
    // Behind a pointer, since the futures of a request hold an append more than once.
    upload: Box<Upload>,
    mode: AppendMode,
    origin: Origin,
    limit: Option<u64>,
    /// How many bytes the upload has, including those received before this append.
    position: u64,
    /// How many of these bytes were handed to the store.
    submitted: u64,
    /// How many of these bytes were committed, and when. Only bytes that are kept as they come are
    /// committed before the end.
    committed: (u64, Instant),
    /// How many of these bytes the store's record had when a write last ended.
    acknowledged: u64,
    buffer: Buffer,
    state: WriterState,
    /// Since when the store's lease is left to the first write.
    unconfirmed: Option<Instant>,
    // Dropped before the claim, which the state has as well: the next append must find the reserved
    // bytes released.
    reservation: Option<Reservation>,
    /// `None` once the append has ended.
    claim: Option<Arc<Claim>>,
    timer: Timer,
}

/// The last step of an append.
struct Ending {
    engine: Arc<Engine>,
    cause: Cause,
    /// The record to be committed.
    upload: Upload,
    origin: Origin,
    reservation: Option<Reservation>,
    last: Bytes,
    timer: Timer,
}

impl Append {
    pub(super) fn new(
        lease: Lease,
        mode: AppendMode,
        origin: Origin,
        limit: Option<u64>,
        reservation: Option<Reservation>,
    ) -> Self {
        let Lease { engine, cause, writer, recalled, claim } = lease;
        let (upload, claim) = (Box::new(writer.upload().clone()), Arc::new(claim));
        let mut checksums = Checksums::resume(&upload.progress);
        if upload.progress.checksum.is_none() && upload.offset() == 0 {
            checksums.main = Some(engine.new_checksum());
        }
        let checksum = Checksum::new(checksums);
        Self {
            mode,
            origin,
            limit,
            position: upload.offset(),
            submitted: upload.offset(),
            committed: (upload.offset(), Instant::now()),
            acknowledged: upload.offset(),
            buffer: Buffer::new(&engine.pool),
            state: WriterState::Idle(BatchWriter::new(
                &engine,
                (writer, recalled),
                checksum,
                &claim,
            )),
            unconfirmed: recalled.then(Instant::now),
            engine,
            cause,
            upload,
            claim: Some(claim),
            reservation,
            timer: Timer::start(),
        }
    }

    /// Returns the record before the commit.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// Returns whether the append starts an upload, rather than continuing one.
    pub fn is_new(&self) -> bool {
        self.origin == Origin::New
    }

    /// Returns how many bytes the upload has so far, including those received before this append.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns how many bytes of the upload were committed, and so are kept whatever happens next.
    /// With [`KeepWhatCame`](AppendMode::KeepWhatCame), the number grows while bytes arrive.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
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

    /// Sets whether the response will acknowledge to the client that all bytes have arrived, if the
    /// append ends with the last one
    /// ([`Progress::end_acknowledged`](crate::Progress::end_acknowledged)).
    pub fn set_end_acknowledged(&mut self, told: bool) {
        self.upload.progress.end_acknowledged = told;
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
        let stopped = self.claim.as_ref().map(|claim| claim.stopped());
        async move {
            match stopped {
                Some(stopped) => stopped.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Adds bytes. It only waits if a whole batch is already waiting to be written.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`], [`ErrorKind::TooLong`], [`ErrorKind::QuotaExceeded`],
    /// [`ErrorKind::Superseded`], and the errors of the store. After an error, or if this future
    /// was dropped before it completed, the append can only be dropped.
    pub async fn write(&mut self, mut bytes: impl Buf + Send) -> Result<(), Error> {
        self.admit(bytes.remaining()).await?;
        self.gather(&mut bytes).await?;
        Ok(self.check_claim()?)
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
        self.gather(&mut bytes).await?;
        Ok(self.check_claim()?)
    }

    /// Checks whether `more` bytes may be written, and reserves quota for them.
    async fn admit(&mut self, more: usize) -> Result<(), Error> {
        // Bytes that were read before the append was stopped may be kept.
        if self.is_overtaken() {
            return Err(ErrorKind::Superseded.into());
        }
        if self.unconfirmed.is_some_and(|since| since.elapsed() >= FLUSH_DELAY) {
            // Boxed because it is seldom needed, and all slow uploads would have room for it.
            Box::pin(self.confirm()).await?;
        }
        if more > 0 && self.upload.is_joined() {
            return Err(ErrorKind::AlreadyComplete.into());
        }
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
        if self.must_commit() {
            self.flush().await?;
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

    /// Computes digests of the bytes that are added from now on.
    ///
    /// # Errors
    /// See [`write`](Self::write).
    pub async fn compute_digests(&mut self, algorithms: &[DigestAlgorithm]) -> Result<(), Error> {
        let mut writer = self.flushed().await?;
        writer.inspected().await?;
        writer.checksum.compute(algorithms);
        self.state = WriterState::Idle(writer);
        Ok(())
    }

    /// Returns the digests of the bytes that were added since
    /// [`compute_digests`](Self::compute_digests).
    ///
    /// # Errors
    /// See [`write`](Self::write).
    pub async fn computed_digests(&mut self) -> Result<Vec<Digest>, Error> {
        let mut writer = self.flushed().await?;
        writer.inspected().await?;
        let digests = writer.checksum.computed();
        self.state = WriterState::Idle(writer);
        Ok(digests)
    }

    /// Writes the collected bytes, and takes the writer.
    async fn flushed(&mut self) -> Result<BatchWriter, Error> {
        if !self.buffer.is_empty() {
            self.flush().await?;
        }
        self.take_writer().await
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
    /// uses very little memory. Less than 4 KiB stays in the buffer, unless it is to be kept.
    ///
    /// # Errors
    /// See [`write`](Self::write).
    pub async fn flush_idle(&mut self) -> Result<(), Error> {
        Box::pin(self.confirm()).await?;
        if self.is_worth_writing() || self.must_commit() {
            self.flush().await?;
        }
        self.finish_write().await?;
        self.buffer.shrink();
        Ok(())
    }

    /// Returns how long the client may pause until [`flush_idle`](Self::flush_idle) should be
    /// called, or `None` if it would do nothing.
    pub fn flush_delay(&self) -> Option<Duration> {
        let wants = self.is_worth_writing()
            || self.unconfirmed.is_some()
            || matches!(self.state, WriterState::Busy(_));
        let idle = wants.then_some(FLUSH_DELAY);
        let commit = self
            .has_uncommitted()
            .then(|| COMMIT_INTERVAL.saturating_sub(self.committed.1.elapsed()).max(FLUSH_DELAY));
        idle.into_iter().chain(commit).min()
    }

    /// Takes the store's lease, if that was left to the first write. Other processes must see that an
    /// append waits for its client.
    async fn confirm(&mut self) -> Result<(), Error> {
        if self.unconfirmed.is_some() {
            let writer = self.take_writer().await?;
            self.start(writer, Bytes::new());
            self.finish_write().await?;
        }
        Ok(())
    }

    fn is_worth_writing(&self) -> bool {
        self.buffer.is_large() || self.buffer.len() >= IDLE_FLUSH_BYTES
    }

    /// Whether there are bytes that are to be kept.
    fn has_uncommitted(&self) -> bool {
        self.mode == AppendMode::KeepWhatCame && self.contiguous() > self.committed.0
    }

    /// Whether the bytes that are to be kept have waited long enough.
    fn must_commit(&self) -> bool {
        self.has_uncommitted() && self.committed.1.elapsed() >= COMMIT_INTERVAL
    }

    fn check_claim(&self) -> Result<(), ErrorKind> {
        self.claim.as_ref().map_or(Ok(()), |claim| claim.check())
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

    fn start(&mut self, writer: BatchWriter, batch: Bytes) {
        self.unconfirmed = None;
        self.submitted += batch.len() as u64;
        if let Some(reservation) = &mut self.reservation {
            reservation.record_written(self.submitted, self.mode == AppendMode::KeepWhatCame);
        }
        self.engine.watches.received(&self.upload.id, Some(self.submitted));
        let keep = self.must_commit().then(|| {
            self.committed = (self.submitted, Instant::now());
            self.record(self.submitted)
        });
        self.state = writer.start(batch, keep);
    }

    /// Waits for the current write, and keeps the writer.
    async fn finish_write(&mut self) -> Result<(), Error> {
        self.state = WriterState::Idle(self.take_writer().await?);
        Ok(())
    }

    /// Waits for the current write, and takes the writer.
    async fn take_writer(&mut self) -> Result<BatchWriter, Error> {
        let writer = self.state.writer().await;
        self.state = WriterState::Failed;
        let mut writer = writer?;
        self.acknowledged = writer.upload().offset();
        if let Some(now) = writer.renewed() {
            // What has come may be more than the total that is known now.
            let offset = self.upload.offset();
            *self.upload = self.engine.carry_over(&self.record(self.position), &now)?;
            self.upload.progress.offset = offset;
        }
        Ok(writer)
    }

    /// Writes the remaining bytes and commits.
    ///
    /// The commit continues if this future is dropped: the upload then has the bytes, although the
    /// caller never learns of it. Do not keep the future without polling it: it holds the upload.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`] and the errors of the store. In a [bucket](crate::guide::nodes)
    /// another node may have committed first. The error then says what that node has done to the
    /// upload: [`ErrorKind::OffsetMismatch`] with the new offset, [`ErrorKind::Finishing`],
    /// [`ErrorKind::AlreadyComplete`], [`ErrorKind::NotFound`] or [`ErrorKind::Expired`].
    pub async fn commit(self) -> Result<Upload, Error> {
        self.check_claim()?;
        Ok(self.end(false).await?.0)
    }

    /// Does the same as [`commit`](Self::commit) and keeps holding the upload, so that no other
    /// request can change it before the next step.
    ///
    /// # Errors
    /// See [`commit`](Self::commit).
    pub async fn commit_and_keep(self) -> Result<Lease, Error> {
        self.check_claim()?;
        self.end(true).await?.1.ok_or_else(|| ErrorKind::Store.into())
    }

    /// Commits what has arrived and is to be kept, unless all of it is committed: a commit without
    /// bytes would take the place of a newer request's on another node.
    pub(crate) async fn commit_what_came(mut self) -> Result<(), Error> {
        if self.is_overtaken() {
            return Err(ErrorKind::Superseded.into());
        }
        match self.has_uncommitted() {
            true => self.end(false).await.map(drop),
            false => self.finish_write().await,
        }
    }

    /// Removes the upload while nobody else can use it. One that this would have started does not
    /// exist yet.
    pub(crate) async fn cancel(mut self) -> Result<(), Error> {
        if self.origin != Origin::Existing {
            return Ok(());
        }
        self.check_claim()?;
        let writer = self.take_writer().await?;
        drop((self.claim.take(), self.reservation.take()));
        let lease = writer.into_lease(self.cause.clone()).ok_or(ErrorKind::Store)?;
        lease.cancel().await.map(drop)
    }

    /// Whether a newer request brings these bytes again, from where it has seen the upload.
    fn is_overtaken(&self) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.is_overtaken())
    }

    async fn end(mut self, keep: bool) -> Result<(Upload, Option<Lease>), Error> {
        if self.origin == Origin::Staged {
            return Err(ErrorKind::NotFound.into());
        }
        if !self.is_whole() {
            return Err(ErrorKind::Store.into());
        }
        let mut writer = self.take_writer().await?;
        let (ending, cause) = (self.ending(), self.cause.clone());
        // Only the writer has the claim from now on.
        drop(self.claim.take());
        super::detached(async move {
            // The claim is still held when the event is reported, so that events are in order.
            let upload = ending.commit(&mut writer, !keep).await?;
            Ok((upload, if keep { writer.into_lease(cause) } else { None }))
        })
        .await
    }

    /// The record with the bytes up to there.
    fn record(&self, offset: u64) -> Upload {
        let mut upload = Upload::clone(&self.upload);
        upload.progress.offset = offset;
        upload.progress.expires = self.engine.expiry.after_chunk(&upload, self.engine.now());
        upload.progress.status = Status::Open;
        upload
    }

    /// What is left to do: committing all bytes that have arrived.
    fn ending(&mut self) -> Ending {
        Ending {
            engine: Arc::clone(&self.engine),
            cause: self.cause.clone(),
            upload: self.record(self.contiguous()),
            origin: self.origin,
            reservation: self.reservation.take(),
            last: self.buffer.freeze(),
            timer: self.timer,
        }
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
        Ok(self.flushed().await?.into_reader().await?)
    }

    /// The end of the bytes that were taken completely.
    fn contiguous(&self) -> u64 {
        self.submitted + self.buffer.len() as u64
    }

    /// Whether no call of `write` was dropped before it completed.
    fn is_whole(&self) -> bool {
        self.contiguous() == self.position
    }
}

impl Drop for Append {
    /// Keeps what came.
    fn drop(&mut self) {
        self.engine.watches.received(&self.upload.id, None);
        let overtaken = self.is_overtaken();
        let Some(claim) = self.claim.take() else { return };
        let keeps = self.has_uncommitted() && self.origin == Origin::Existing && !overtaken;
        // Without a runtime nothing can be written.
        let Some(runtime) = tokio::runtime::Handle::try_current().ok().filter(|_| keeps) else {
            drop(self.reservation.take());
            return;
        };
        let mut state = std::mem::replace(&mut self.state, WriterState::Failed);
        let ending = self.ending();
        runtime.spawn(log::in_span(async move {
            match state.writer().await {
                // If this fails, what was committed before is kept.
                Ok(mut writer) => drop(ending.commit(&mut writer, true).await),
                Err(_) => drop(ending),
            }
            drop(claim);
        }));
    }
}

impl Ending {
    async fn commit(self, writer: &mut BatchWriter, releases: bool) -> Result<Upload, Error> {
        let Self { engine, cause, upload, origin, reservation, last, timer } = self;
        let keyed = origin == Origin::New && upload.creation.is_some();
        writer.commit(last, upload, releases).await.map_err(|error| match error.kind() {
            // Another request has created the same upload, and perhaps more has happened to it.
            ErrorKind::OffsetMismatch { .. }
            | ErrorKind::AlreadyComplete
            | ErrorKind::Finishing
            | ErrorKind::NotFound
                if keyed =>
            {
                ErrorKind::Superseded.into()
            }
            _ => error,
        })?;
        timer.appended();
        let upload = writer.upload().clone();
        if let Some(reservation) = reservation {
            reservation.commit(&upload);
        }
        let event = if origin == Origin::New { Event::Created } else { Event::Grew };
        engine.tell(event(upload.clone()), &cause).await;
        Ok(upload)
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

/// A client that pauses for this long does not need a large buffer.
const FLUSH_DELAY: Duration = Duration::from_millis(10);
/// How often bytes that are kept as they come are committed.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);
/// Fewer bytes than this stay in the buffer of a slow client: writing them would cost more than
/// keeping them.
const IDLE_FLUSH_BYTES: usize = 4 * 1024;
/// Frames of at least this size are written without being copied. Smaller ones are not worth a hop
/// to another thread.
const DIRECT_WRITE_BYTES: usize = 256 * 1024;
/// How many staged bytes are copied at a time.
const COPY_BYTES: usize = 64 * 1024;
