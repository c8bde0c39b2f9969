//! Handing a finished upload to the application.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::access::Access;
use super::checksums::Checksums;
use super::claim::{Arrival, Claim};
use super::core::Engine;
use super::error::{Error, ErrorKind};
use super::event::{Cause, Event};
use super::lease::Lease;
use super::{detached, join, lock, spawned};
use crate::checksum::{Digest, DigestAlgorithm, Running};
use crate::id::UploadId;
use crate::log;
use crate::metric::Timer;
use crate::store::{Commit, DynWriter, Handover, Reader, StoreError};
use crate::upload::{KeptAnswer, Owner, Status, Upload};

/// A finished upload while the application decides whether to take its file.
///
/// While it exists, no other caller can write to, complete or cancel the upload.
/// [`finish`](Self::finish) records that the application has taken the file. If the completion is
/// dropped without that, or the process ends, the upload can be completed again.
/// [`CompletedUpload::discard`] ends the upload even though the application has not taken the file.
#[must_use = "without `finish`, the upload has to be completed again"]
pub struct Completion {
    file: CompletedUpload,
    /// `None` once the verdict is being recorded.
    claim: Option<Claim>,
    timer: Timer,
}

impl Lease {
    /// Hands over the finished upload. Each of the `digests` that are given must match the file.
    ///
    /// The file is read, once, only for those that were not computed while its bytes arrived. See
    /// [`OwnerUploads::complete`](crate::OwnerUploads::complete).
    ///
    /// # Errors
    /// [`ErrorKind::Incomplete`], [`ErrorKind::ChecksumMismatch`], [`ErrorKind::Superseded`], and
    /// the errors of the store.
    pub async fn complete(
        self,
        digests: impl IntoIterator<Item = Digest>,
    ) -> Result<Completion, Error> {
        let timer = Timer::start();
        let digests: Vec<Digest> = digests.into_iter().collect();
        let Self { engine, cause, claim, mut writer, recalled } = self;
        check_all_received(writer.upload())?;
        // Reading the file may take long. It must not start again each time an impatient client
        // retries.
        claim.finish()?;
        detached(async move {
            // What is read is noted under the lease.
            let mut given = match recalled && (writer.needs_verification() || engine.read_back) {
                true => Err(Outdated),
                false => give(&engine, &mut writer, recalled, &digests).await?,
            };
            if given.is_err() {
                writer = engine.renewed(writer.upload(), &claim).await?;
                check_all_received(writer.upload())?;
                given = give(&engine, &mut writer, false, &digests).await?;
            }
            let (mut upload, known_total) = given.map_err(|Outdated| ErrorKind::Busy)?;
            upload.progress.total = Some(upload.offset());
            let shared = Shared {
                engine,
                cause,
                filename: upload.filename().unwrap_or_else(|| DEFAULT_FILENAME.to_owned()),
                path: Mutex::new(writer.path()),
                known_total: Mutex::new(known_total),
                persisted: AtomicBool::new(false),
                answer: Mutex::default(),
                state: tokio::sync::Mutex::new(FileState::HandedOver(writer)),
                digest: upload.digest(),
                upload,
            };
            let file = CompletedUpload { shared: Arc::new(shared) };
            Ok(Completion { file, claim: Some(claim), timer })
        })
        .await
    }
}

/// A record that was only remembered is another one by now, or another process holds the upload.
struct Outdated;

/// Verifies an upload, and commits that the application gets it. Returns its record, and the total
/// that it had before.
async fn give(
    engine: &Engine,
    writer: &mut Box<dyn DynWriter>,
    mut recalled: bool,
    digests: &[Digest],
) -> Result<Result<(Upload, Option<u64>), Outdated>, Error> {
    let mut upload = writer.upload().clone();
    let known_total = upload.total();
    // It was about the hand-over before.
    upload.answer = None;
    verify_parts(engine, &upload).await?;
    let (sums, read) = verify(engine, writer, &upload, digests).await?;
    if digests.iter().any(|digest| sums.digest(digest.algorithm()) != Some(*digest)) {
        // Nobody is refused because of a record that is only remembered.
        if recalled {
            return Ok(Err(Outdated));
        }
        return Err(ErrorKind::ChecksumMismatch.into());
    }
    let mut commits = Vec::with_capacity(2);
    if read {
        sums.save(&mut upload.progress);
        // Saved so that the file need not be read again if the process ends here.
        upload.progress.status = Status::Open;
        commits.push(record(&upload, Handover::None));
    }
    upload.progress.status = Status::Finishing;
    commits.push(record(&upload, Handover::Given));
    for commit in commits {
        if std::mem::take(&mut recalled) {
            match writer.commit(commit).await {
                Err(StoreError::Busy | StoreError::Conflict) => return Ok(Err(Outdated)),
                committed => committed?,
            }
            engine.watches.committed(writer.upload());
        } else {
            engine.commit(&mut **writer, commit).await?;
        }
    }
    Ok(Ok((upload, known_total)))
}

/// Returns the commit of a record without any bytes.
fn record(upload: &Upload, handover: Handover) -> Commit {
    Commit::new(Bytes::new(), upload.clone()).with_handover(handover)
}

/// Leases the upload that a file is of, which the application has taken, unless another upload has
/// got its id by a key.
async fn reacquire_same(engine: &Engine, upload: &Upload) -> Result<Box<dyn DynWriter>, Error> {
    let writer = reacquire(engine, &upload.id).await?;
    let now = writer.upload();
    match now.identity() == upload.identity() && now.status() == Status::Complete {
        true => Ok(writer),
        false => Err(ErrorKind::NotFound.into()),
    }
}

/// Leases a complete upload. Others hold such an upload only until they see that it is complete.
async fn reacquire(engine: &Engine, id: &UploadId) -> Result<Box<dyn DynWriter>, StoreError> {
    let deadline = crate::time::deadline(engine.takeover_timeout);
    loop {
        match engine.store.writer(id).await {
            Err(StoreError::Busy) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            result => return result,
        }
    }
}

/// Checks that all bytes have arrived. An upload without a total ends at its offset, unless it
/// waits for parts.
pub(super) fn check_all_received(upload: &Upload) -> Result<(), Error> {
    let offset = upload.offset();
    match upload.total() {
        Some(total) if total != offset => Err(ErrorKind::Incomplete { offset, total }.into()),
        None if upload.is_joined() => Err(ErrorKind::Incomplete { offset, total: offset }.into()),
        _ => Ok(()),
    }
}

/// Verifies the parts of a joined upload, as they would be if they were completed.
async fn verify_parts(engine: &Engine, joined: &Upload) -> Result<(), Error> {
    for part in join::distinct(joined) {
        let mut writer = reacquire(engine, &part).await?;
        // Its bytes must be there.
        drop(engine.store.open(&part).await?);
        let mut upload = writer.upload().clone();
        let (sums, read) = verify(engine, &mut writer, &upload, &[]).await?;
        if read {
            sums.save(&mut upload.progress);
            engine.commit(&mut *writer, record(&upload, Handover::None)).await?;
        }
    }
    Ok(())
}

/// Returns the checksums of the file, and whether the file was read for them.
///
/// The file is only read if its bytes may have changed, if `read_back` is on, or if no saved
/// checksum can be compared with one of the expected digests.
async fn verify(
    engine: &Engine,
    writer: &mut Box<dyn DynWriter>,
    upload: &Upload,
    expected: &[Digest],
) -> Result<(Checksums, bool), Error> {
    let mut sums = Checksums::resume(&upload.progress);
    let unverified = writer.needs_verification();
    // If this version can read no saved checksum, there is nothing to compare the bytes with.
    let compares = unverified || engine.read_back && sums.iter().next().is_some();
    // The parts of a joined upload were verified.
    let compares = compares && !upload.is_joined();
    let saved = if compares { sums.iter().collect() } else { Vec::new() };
    let mut computed: Vec<Running> = saved.iter().map(|sum| sum.restarted()).collect();
    computed.extend(lacking(engine, &sums, expected).into_iter().map(Running::new));
    let reads = !computed.is_empty();
    if reads {
        read(engine, upload, &mut computed).await?;
    }
    if compares {
        let is_computed = |digest: &Digest| computed.iter().any(|it| it.digest() == Some(*digest));
        let same = match saved.is_empty() {
            false => saved.iter().zip(&computed).all(|(saved, read)| saved.save() == read.save()),
            true => !expected.is_empty() && expected.iter().all(is_computed),
        };
        if !same {
            let problem = "its bytes differ from those received";
            return Err(StoreError::damaged(&upload.id, problem).into());
        }
        writer.mark_verified();
    }
    computed.drain(..saved.len());
    computed.into_iter().for_each(|sum| sums.add(sum));
    Ok((sums, reads))
}

/// The algorithms of the expected digests that no saved checksum gives, the configured one first.
fn lacking(engine: &Engine, saved: &Checksums, expected: &[Digest]) -> Vec<DigestAlgorithm> {
    let mut lacks = Vec::new();
    for algorithm in expected.iter().map(Digest::algorithm) {
        if saved.digest(algorithm).is_none() && !lacks.contains(&algorithm) {
            lacks.push(algorithm);
        }
    }
    lacks.sort_by_key(|algorithm| *algorithm != engine.digest_algorithm);
    lacks
}

async fn read(engine: &Engine, upload: &Upload, sums: &mut [Running]) -> Result<(), Error> {
    let mut reader = engine.store.open(&upload.id).await?;
    let mut left = upload.offset();
    let mut buffer = vec![0; 256 * 1024];
    while left > 0 {
        let read = reader.read(&mut buffer).await;
        let read = read.map_err(|error| StoreError::io("read an upload back", error))?;
        if read == 0 {
            return Err(StoreError::damaged(&upload.id, "it is shorter than its offset").into());
        }
        for sum in &mut *sums {
            sum.update(&buffer[..read]);
        }
        left = left.saturating_sub(read as u64);
        tokio::task::consume_budget().await;
    }
    Ok(())
}

impl Completion {
    /// Returns the file.
    pub fn file(&self) -> &CompletedUpload {
        &self.file
    }

    /// Records that the application has taken the file: the upload is complete and cannot be
    /// completed again.
    ///
    /// A file that the application did not [`persist`](CompletedUpload::persist) stays until the
    /// upload expires.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the upload was [discarded](CompletedUpload::discard), and the
    /// errors of the store. After a store error the upload can be completed again.
    pub async fn finish(self) -> Result<Upload, Error> {
        let timer = self.timer;
        let upload = self.settle(Status::Complete).await?;
        timer.completed();
        Ok(upload)
    }

    /// Records that the application has not taken the file: the upload can be completed again, or
    /// cancelled.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the upload was [discarded](CompletedUpload::discard), and the
    /// errors of the store. Even after a store error the upload can be completed again.
    pub async fn reopen(self) -> Result<Upload, Error> {
        self.settle(Status::Open).await
    }

    /// Sets the response to keep in the record. [`finish`](Self::finish) or [`reopen`](Self::reopen)
    /// stores it in the same commit.
    pub fn keep_answer(&self, answer: impl Into<Option<KeptAnswer>>) {
        *lock(&self.file.shared.answer) = answer.into().map(Box::new);
    }

    /// Returns whether the application has [discarded](CompletedUpload::discard) the upload in the
    /// meantime.
    pub async fn is_discarded(&self) -> bool {
        matches!(*self.file.shared.state.lock().await, FileState::Discarded)
    }

    async fn settle(mut self, status: Status) -> Result<Upload, Error> {
        let (shared, claim) = (Arc::clone(&self.file.shared), self.claim.take());
        detached(async move {
            let settled = shared.settle(status).await;
            drop(claim);
            settled
        })
        .await
    }
}

impl Shared {
    /// Records the verdict. Other calls for the file wait for it.
    async fn settle(&self, status: Status) -> Result<Upload, Error> {
        let taken = status == Status::Complete;
        let mut state = self.state.lock().await;
        let mut writer = state.take_writer()?;
        let handover = if taken { Handover::Taken } else { Handover::None };
        // Only now, since a move that has ended meanwhile is noted in the record.
        let mut upload = self.settled(status);
        let committed = writer.commit(record(&upload, handover).with_release()).await;
        match committed {
            // There may be room for what the answer means, and then the handler does not run again.
            Err(StoreError::Full { .. }) if upload.answer.is_some() => {
                upload.answer = None;
                writer.commit(record(&upload, handover).with_release()).await?;
            }
            committed => committed?,
        }
        self.engine.watches.committed(&upload);
        drop(writer);
        if taken {
            *lock(&self.known_total) = upload.total();
            *state = FileState::Taken;
            drop(state);
            Access::like(&self.engine, &upload).release_parts(&upload).await;
            self.engine.ledger.close(&upload.id);
            self.engine.tell(Event::Completed(upload.clone()), &self.cause).await;
        }
        Ok(upload)
    }

    async fn move_to(&self, target: &Path, overwrite: bool) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let mut later;
        let (writer, is_taken) = match &mut *state {
            FileState::HandedOver(writer) => (writer, false),
            // A clone of the file has outlived the completion.
            FileState::Taken => {
                later = reacquire_same(&self.engine, &self.upload).await?;
                (&mut later, true)
            }
            ended @ (FileState::NotTaken | FileState::Discarded) => return Err(ended.error()),
        };
        if lock(&self.known_total).is_none() {
            // A file that the application may have moved cannot grow any more.
            self.engine.commit(&mut **writer, record(&self.upload, Handover::Given)).await?;
            *lock(&self.known_total) = self.upload.total();
        }
        writer.persist(target, overwrite).await?;
        self.persisted.store(true, Ordering::Relaxed);
        *lock(&self.path) = writer.path();
        if is_taken && self.upload.is_joined() {
            // The record was written before.
            let mut upload = writer.upload().clone();
            upload.progress.change_ties(|ties| ties.persisted = true);
            self.engine.commit(&mut **writer, record(&upload, Handover::Taken)).await?;
        }
        Ok(())
    }

    async fn discard(&self) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let mut _claim = None;
        let writer = match &mut *state {
            FileState::Discarded => return Ok(()),
            FileState::Taken => {
                _claim = self.claim_taken().await;
                reacquire_same(&self.engine, &self.upload).await?
            }
            state => state.take_writer()?,
        };
        writer.remove().await?;
        *state = FileState::Discarded;
        // While somebody has the claim, so that it is not another upload of this id.
        self.engine.ledger.close(&self.upload.id);
        // Unlocked first, since an observer may access the file.
        drop(state);
        self.engine.tell(Event::Discarded(self.upload.clone()), &self.cause).await;
        Ok(())
    }

    /// Claims the upload once its completion has ended and been told, so that nobody begins another
    /// one of this id meanwhile. Stops nobody, and waits no longer than for a takeover: an observer
    /// may discard the file when it is told of the completion.
    async fn claim_taken(&self) -> Option<Claim> {
        let deadline = crate::time::deadline(self.engine.takeover_timeout);
        loop {
            let claim = self.engine.claims.try_claim(&self.upload.id, Arrival::now());
            let gives_up = self.engine.claims.is_closed() || Instant::now() >= deadline;
            if claim.is_some() || gives_up {
                return claim;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Logs what the application may tell nobody. That the target exists is an answer.
    fn has_failed(&self, action: &str, error: &Error) {
        if *error.kind() != ErrorKind::AlreadyExists {
            log::failed(action, Some(&self.upload.id), error);
        }
    }
}

impl Drop for Completion {
    /// Without a verdict, the application has not taken the file. Clones of the file may outlive
    /// the completion, but must not keep the lease.
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else { return };
        let shared = Arc::clone(&self.file.shared);
        // Without a runtime nothing waits for the lease either.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(log::in_span(async move {
            // If this fails, the upload can be completed again anyway.
            drop(shared.settle(Status::Open).await);
            drop(claim);
        }));
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").field("file", &self.file).finish_non_exhaustive()
    }
}

/// A finished and verified upload: the file and its record.
///
/// The inner service finds it in the extensions of the request that completes the upload. A clone
/// refers to the same upload.
///
/// A response of 2xx or 3xx takes the file. After any other response the client may complete the
/// upload again, and the handler is called again, unless the file was
/// [discarded](crate::guide::validation#can-my-handler-refuse-a-file). A file that was taken
/// without [`persist`](Self::persist) is deleted by the first sweep after the upload has expired.
///
/// ```
/// # use http::{Request, Response};
/// # use tower_chunked_upload::{CompletedUpload, Error};
/// async fn done<B>(request: Request<B>) -> Result<Response<String>, Error> {
///     let upload = request.extensions().get::<CompletedUpload>().expect("behind the layer");
///     upload.persist(format!("media/{}-{}", upload.id(), upload.filename())).await?;
///     Ok(Response::new(format!("{} bytes", upload.size())))
/// }
/// ```
#[derive(Clone)]
pub struct CompletedUpload {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Arc<Engine>,
    cause: Cause,
    upload: Upload,
    filename: String,
    digest: Option<Digest>,
    path: Mutex<Option<PathBuf>>,
    /// The total in the record unless the application takes the file.
    known_total: Mutex<Option<u64>>,
    /// Whether the application has moved the file.
    persisted: AtomicBool,
    /// What the application has answered, if that is to be kept.
    answer: Mutex<Option<Box<KeptAnswer>>>,
    state: tokio::sync::Mutex<FileState>,
}

impl Shared {
    /// The record once the application has decided. Without a total that was announced, an upload
    /// that was not taken may still grow.
    fn settled(&self, status: Status) -> Upload {
        let mut upload = self.upload.clone();
        upload.progress.status = status;
        upload.answer = lock(&self.answer).take();
        if let (Some(answer), Some(expires)) = (&upload.answer, &mut upload.progress.expires) {
            // An answer that is kept can be asked for.
            *expires = answer.until.max(*expires);
        }
        if status == Status::Complete
            && upload.is_joined()
            && self.persisted.load(Ordering::Relaxed)
        {
            upload.progress.change_ties(|ties| ties.persisted = true);
        }
        if status != Status::Complete {
            upload.progress.total = *lock(&self.known_total);
        }
        upload
    }
}

/// The state of the file in its hand-over.
enum FileState {
    /// The application was given the file and has not answered.
    HandedOver(Box<dyn DynWriter>),
    /// The application has taken the file.
    Taken,
    /// The application has not taken the file. Another completion may have given it out again.
    NotTaken,
    /// The application has discarded the upload.
    Discarded,
}

impl FileState {
    /// Takes the writer if there is no verdict yet. The file then counts as not taken.
    fn take_writer(&mut self) -> Result<Box<dyn DynWriter>, Error> {
        match std::mem::replace(self, Self::NotTaken) {
            Self::HandedOver(writer) => Ok(writer),
            settled => {
                *self = settled;
                Err(self.error())
            }
        }
    }

    /// Returns the error of a call that comes too late.
    fn error(&self) -> Error {
        match self {
            Self::Discarded => ErrorKind::NotFound.into(),
            Self::HandedOver(_) | Self::Taken | Self::NotTaken => ErrorKind::Superseded.into(),
        }
    }
}

impl CompletedUpload {
    /// Returns the id of the upload.
    pub fn id(&self) -> &UploadId {
        &self.record().id
    }

    /// Returns the owner of the upload, or `None` if it has none.
    pub fn owner(&self) -> Option<&Owner> {
        self.record().owner.as_ref()
    }

    /// Returns the file's name, made safe as in [`Upload::filename`], or `upload` if no safe name
    /// is left.
    ///
    /// Several uploads may have the same name.
    pub fn filename(&self) -> &str {
        &self.shared.filename
    }

    /// Returns the file's name as the client sent it. Never use it as a path.
    pub fn raw_filename(&self) -> &str {
        &self.record().raw_filename
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        self.record().offset()
    }

    /// Returns the media type that the client sent, unchecked.
    pub fn content_type(&self) -> Option<&str> {
        self.record().content_type.as_deref()
    }

    /// Returns the digest of the file, or `None` if checksums are switched off. A file that is
    /// [joined](crate::OwnerUploads::join) from parts has one only if it can be computed from
    /// theirs, which is the case for CRC-32C.
    pub fn digest(&self) -> Option<Digest> {
        self.shared.digest
    }

    /// Returns the digest of the file by this algorithm, or `None` if it was not computed: see
    /// [`Upload::digest_of`]. A digest that the client sent was compared, and is there as well.
    pub fn digest_of(&self, algorithm: DigestAlgorithm) -> Option<Digest> {
        self.record().digest_of(algorithm)
    }

    /// Returns the text fields of the first chunk, in the order in which they were sent.
    pub fn fields(&self) -> &[(String, String)] {
        &self.record().fields
    }

    /// Returns the first text field with this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let field = self.fields().iter().find(|(key, _)| key == name);
        field.map(|(_, value)| value.as_str())
    }

    /// Returns the attributes that the application attached when the upload started.
    pub fn attributes(&self) -> &serde_json::Value {
        &self.record().attributes
    }

    /// Returns the complete record.
    pub fn record(&self) -> &Upload {
        &self.shared.upload
    }

    /// Opens the file at its current place.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the completion that gave out this file has ended, and the upload
    /// is gone or has grown since; and the errors of the store.
    pub async fn open(&self) -> Result<Reader, Error> {
        let Shared { engine, upload, state, .. } = &*self.shared;
        // A move that is under way ends first.
        drop(state.lock().await);
        let reader = engine.store.open(self.id()).await?;
        // While the application was given the file, nobody else could change the upload. After that
        // the id may be another upload's.
        if !matches!(*state.lock().await, FileState::HandedOver(_)) {
            let now = engine.store.load(self.id()).await?;
            if now.identity() != upload.identity() || reader.size() != self.size() {
                return Err(ErrorKind::NotFound.into());
            }
        }
        Ok(reader)
    }

    /// Returns the path of the local file with the bytes, or `None` if there is no such file. A
    /// file that is [joined](crate::OwnerUploads::join) from parts has none before it is
    /// [persisted](Self::persist).
    ///
    /// The file belongs to the store until [`persist`](Self::persist): you may read it, but do not
    /// keep the path.
    pub fn path(&self) -> Option<PathBuf> {
        lock(&self.shared.path).clone()
    }

    /// Moves the file to `target` atomically, replacing an existing file. After that it belongs to
    /// the application, and this crate never removes it. Missing parent folders are created.
    ///
    /// On the same filesystem the move is a rename; to another filesystem it is a copy, a sync and
    /// a rename. A file that is [joined](crate::OwnerUploads::join) from parts is copied too, and
    /// shares their blocks where the filesystem can do so. With
    /// [`Durability::Sync`](crate::store::Durability::Sync) it survives a power cut.
    ///
    /// This is safe to repeat: after a crash the upload is completed again, and a `persist` to the
    /// same target ends with the same file. A `persist` to another target moves the file again.
    ///
    /// In [a bucket](crate::guide::nodes) the target is a key: the components of the path joined by
    /// `/`, without the root. The bytes are copied, and the file is never moved back to a previous
    /// key.
    ///
    /// # Errors
    /// The errors of the store. In a bucket, also an error for a target that contains `..` or is
    /// among the store's own keys.
    pub async fn persist(&self, target: impl AsRef<Path>) -> Result<(), Error> {
        self.move_to(target.as_ref().to_owned(), true).await
    }

    /// Does the same as [`persist`](Self::persist), but never replaces a file. In a bucket, a file
    /// larger than 8 MiB (or than a segment) first reserves the key with an empty object.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] if something else exists at `target`, and the errors of the
    /// store.
    pub async fn persist_new(&self, target: impl AsRef<Path>) -> Result<(), Error> {
        self.move_to(target.as_ref().to_owned(), false).await
    }

    async fn move_to(&self, target: PathBuf, overwrite: bool) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let guard = shared.engine.claims.guard();
        spawned(async move {
            let _guard = guard;
            let moved = shared.move_to(&target, overwrite).await;
            moved.inspect_err(|error| shared.has_failed("persist a finished upload", error))
        })
        .await
    }

    /// Ends the upload permanently: removes its record, and its file unless that was
    /// [persisted](Self::persist). Later requests for the upload fail with [`ErrorKind::NotFound`],
    /// 404 on the wire.
    ///
    /// Use it for a file that will never be accepted, however often the client retries. Without it,
    /// an upload whose completion is answered with an error can be completed again until it
    /// expires. `discard` is safe to repeat, and also works after the application has taken the
    /// file.
    ///
    /// ```
    /// # use http::{Response, StatusCode};
    /// # use tower_chunked_upload::{CompletedUpload, Error};
    /// async fn done(upload: CompletedUpload) -> Result<Response<&'static str>, Error> {
    ///     if upload.size() == 0 {
    ///         upload.discard().await?;
    ///         let mut refusal = Response::new("there is nothing in it");
    ///         *refusal.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    ///         return Ok(refusal);
    ///     }
    ///     upload.persist(format!("media/{}", upload.id())).await?;
    ///     Ok(Response::new("saved"))
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`] if the completion that gave out this file has ended and the file
    /// was not taken, since another request may then hold the upload; and the errors of the store.
    pub async fn discard(&self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let guard = shared.engine.claims.guard();
        spawned(async move {
            let _guard = guard;
            let discarded = shared.discard().await;
            discarded.inspect_err(|error| shared.has_failed("discard a finished upload", error))
        })
        .await
    }
}

impl fmt::Debug for CompletedUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompletedUpload")
            .field("id", self.id())
            .field("filename", &self.filename())
            .field("size", &self.size())
            .field("digest", &self.digest())
            .finish_non_exhaustive()
    }
}

const DEFAULT_FILENAME: &str = "upload";
