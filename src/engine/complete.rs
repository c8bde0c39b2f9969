//! Handing a finished upload to the application.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;

use super::claim::Claim;
use super::core::Engine;
use super::error::{Error, ErrorKind};
use super::event::{Cause, Event};
use super::joined;
use super::lease::Lease;
use crate::checksum::{Digest, Running};
use crate::id::UploadId;
use crate::store::{Commit, DynWriter, Handover, Reader, StoreError};
use crate::upload::{Owner, Status, Upload};

/// A finished upload that waits for the application's verdict.
///
/// While it lives, nobody else can write to, complete or cancel the upload.
/// [`finish`](Self::finish) says that the application has taken the file; if it is dropped without,
/// or the process ends, the upload can be completed again. [`CompletedUpload::discard`] ends the upload
/// without its being taken.
#[must_use = "without `finish` the upload stays to be completed again"]
pub struct Completion {
    file: CompletedUpload,
    /// `None` once the verdict is being written down.
    claim: Option<Claim>,
}

impl Lease {
    /// Hands over the finished upload; `digest`, if one is given, must be the file's.
    ///
    /// # Errors
    /// [`ErrorKind::Incomplete`], [`ErrorKind::ChecksumMismatch`], [`ErrorKind::Superseded`], and those
    /// of the store.
    pub async fn complete(self, digest: Option<Digest>) -> Result<Completion, Error> {
        let Self { engine, cause, claim, mut writer } = self;
        let expected = digest;
        let mut upload = writer.upload().clone();
        check_whole(&upload)?;
        // It ends here, also if the application, which may move the file away, does not take it.
        upload.progress.total = Some(upload.offset());
        // The file may have to be read, and that is not begun anew because a client is impatient.
        claim.finish()?;
        let commit = tokio::spawn(async move {
            let (running, read) = verify(&engine, &mut writer, &upload, expected).await?;
            let digest = running.as_ref().and_then(Running::digest);
            if expected.is_some() && expected != digest {
                return Err(Error::from(ErrorKind::ChecksumMismatch));
            }
            upload.progress.checksum = running.map(|running| running.save());
            if read {
                // So that it need not be read again if this ends here.
                upload.progress.status = Status::Open;
                engine.note(&mut *writer, upload.clone(), Handover::None).await?;
            }
            upload.progress.status = Status::Finishing;
            engine.note(&mut *writer, upload.clone(), Handover::Given).await?;
            let shared = Shared {
                engine,
                cause,
                filename: upload.filename().unwrap_or_else(|| UNNAMED.to_owned()),
                path: Mutex::new(writer.path()),
                hold: tokio::sync::Mutex::new(Hold::Given(writer)),
                upload,
                digest,
            };
            let file = CompletedUpload { shared: Arc::new(shared) };
            Ok(Completion { file, claim: Some(claim) })
        });
        joined(commit).await
    }
}

/// The lease on a complete upload, which others hold only for as long as it takes to see that.
async fn lease_again(engine: &Engine, id: &UploadId) -> Result<Box<dyn DynWriter>, StoreError> {
    let deadline = crate::time::deadline(engine.takeover_timeout);
    loop {
        match engine.store.writer(id).await {
            Err(StoreError::Busy) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            result => return result,
        }
    }
}

/// An upload whose total was never said ends where it stands.
pub(super) fn check_whole(upload: &Upload) -> Result<(), Error> {
    let offset = upload.offset();
    match upload.total() {
        Some(total) if total != offset => Err(ErrorKind::Incomplete { offset, total }.into()),
        _ => Ok(()),
    }
}

/// The checksum of the file: the one that ran along, unless the bytes may have changed since, are to be
/// read back, or it is none that answers to a digest. Then the file is read once; says whether it was.
async fn verify(
    engine: &Engine,
    writer: &mut Box<dyn DynWriter>,
    upload: &Upload,
    expected: Option<Digest>,
) -> Result<(Option<Running>, bool), Error> {
    let ran = upload.progress.checksum.as_ref().and_then(Running::resume);
    let doubtful = writer.needs_verification();
    // Of a record whose checksum this version cannot read there is nothing to compare the bytes with.
    let compared = doubtful || engine.read_back && ran.is_some();
    let named = expected.is_some() && ran.as_ref().and_then(Running::digest).is_none();
    let mut now: Vec<Running> = Vec::new();
    if compared {
        now.extend(ran.as_ref().map(Running::anew));
    }
    if named {
        now.push(Running::md5());
    }
    let reads = !now.is_empty();
    if reads {
        read(engine, upload, &mut now).await?;
    }
    if compared {
        let same = match &ran {
            Some(ran) => now.first().is_some_and(|now| now.save() == ran.save()),
            None => expected.is_some() && now.first().and_then(Running::digest) == expected,
        };
        if !same {
            let problem = "its bytes are not those that came";
            return Err(StoreError::damaged(&upload.id, problem).into());
        }
        writer.mark_verified();
    }
    Ok((now.pop().or(ran), reads))
}

async fn read(engine: &Engine, upload: &Upload, sums: &mut [Running]) -> Result<(), Error> {
    let mut reader = engine.store.open(&upload.id).await?;
    let mut left = upload.offset();
    let mut buffer = vec![0; 256 * 1024];
    while left > 0 {
        let read = reader.read(&mut buffer).await;
        let read = read.map_err(|error| StoreError::io("read an upload back", error))?;
        if read == 0 {
            return Err(StoreError::damaged(&upload.id, "it ended before its end").into());
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
    /// The file.
    pub fn file(&self) -> &CompletedUpload {
        &self.file
    }

    /// The application has taken the file: the upload is complete, and cannot be completed again.
    ///
    /// What the application did not [`persist`](CompletedUpload::persist) stays until the upload
    /// expires.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the upload was [discarded](CompletedUpload::discard). Those of the store;
    /// the upload can then be completed again.
    pub async fn finish(self) -> Result<Upload, Error> {
        self.settle(Status::Complete).await
    }

    /// The application has not taken the file: the upload can be completed again, or cancelled.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the upload was [discarded](CompletedUpload::discard). Those of the store;
    /// the upload can be completed again all the same.
    pub async fn reopen(self) -> Result<Upload, Error> {
        self.settle(Status::Open).await
    }

    /// Whether the application has [ended](CompletedUpload::discard) the upload meanwhile.
    pub async fn is_discarded(&self) -> bool {
        matches!(*self.file.shared.hold.lock().await, Hold::Discarded)
    }

    async fn settle(mut self, status: Status) -> Result<Upload, Error> {
        let (shared, claim) = (Arc::clone(&self.file.shared), self.claim.take());
        let commit = tokio::spawn(async move {
            let mut upload = shared.upload.clone();
            upload.progress.status = status;
            // Whoever wants the file meanwhile waits for the verdict.
            let mut hold = shared.hold.lock().await;
            let mut writer = hold.take()?;
            let handover = match status {
                Status::Complete => Handover::Taken,
                _ => Handover::None,
            };
            writer
                .commit(Commit::new(Bytes::new(), upload.clone()).with_handover(handover))
                .await?;
            drop(writer);
            if status == Status::Complete {
                *hold = Hold::Kept;
                drop(hold);
                shared.engine.ledger.close(&upload.id);
                shared.engine.tell(Event::Completed(upload.clone()), &shared.cause).await;
            }
            drop(claim);
            Ok::<_, Error>(upload)
        });
        joined(commit).await
    }
}

impl Drop for Completion {
    /// Without a verdict it is as if the application had not taken the file. Clones of the file may
    /// outlive this: they must not keep the lease.
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else { return };
        let shared = Arc::clone(&self.file.shared);
        // Without a runtime nobody waits for the lease either.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Ok(mut writer) = shared.hold.lock().await.take() {
                let mut upload = shared.upload.clone();
                upload.progress.status = Status::Open;
                // If it fails the upload can be completed again all the same.
                drop(writer.commit(Commit::new(Bytes::new(), upload)).await);
            }
            drop(claim);
        });
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").field("file", &self.file).finish_non_exhaustive()
    }
}

/// A finished, verified upload: the file and what is known of it.
///
/// The inner service finds it in the extensions of the request that completes the upload. A clone
/// is the same upload.
///
/// ```
/// # use http::{Request, Response};
/// # use tower_chunked_upload::{CompletedUpload, Error};
/// async fn done<B>(request: Request<B>) -> Result<Response<String>, Error> {
///     let upload = request.extensions().get::<CompletedUpload>().expect("behind the layer");
///     upload.persist("media/report.pdf").await?;
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
    hold: tokio::sync::Mutex<Hold>,
}

/// Whose the file is.
enum Hold {
    /// The application has it and has not answered.
    Given(Box<dyn DynWriter>),
    /// The application has taken it.
    Kept,
    /// The application has not taken it, and perhaps has it again by another completion.
    Lost,
    /// The application has ended the upload.
    Discarded,
}

impl Hold {
    /// Gives what has not been settled yet, which is lost then.
    fn take(&mut self) -> Result<Box<dyn DynWriter>, Error> {
        match std::mem::replace(self, Self::Lost) {
            Self::Given(writer) => Ok(writer),
            settled => {
                *self = settled;
                Err(self.error())
            }
        }
    }

    /// Why there is nothing to take.
    fn error(&self) -> Error {
        match self {
            Self::Discarded => ErrorKind::NotFound.into(),
            Self::Given(_) | Self::Kept | Self::Lost => ErrorKind::Superseded.into(),
        }
    }
}

impl CompletedUpload {
    /// Its name.
    pub fn id(&self) -> &UploadId {
        &self.record().id
    }

    /// Who sent it.
    pub fn owner(&self) -> Option<&Owner> {
        self.record().owner.as_ref()
    }

    /// The file's name, made safe as in [`Upload::filename`]; `upload` if nothing is left of it.
    ///
    /// Two uploads may have the same one.
    pub fn filename(&self) -> &str {
        &self.shared.filename
    }

    /// The file's name as the client sent it: never use it as a path.
    pub fn raw_filename(&self) -> &str {
        &self.record().raw_filename
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.record().offset()
    }

    /// The media type that the client claimed, unchecked.
    pub fn content_type(&self) -> Option<&str> {
        self.record().content_type.as_deref()
    }

    /// The digest of the file, unless the checksum is switched off.
    pub fn digest(&self) -> Option<Digest> {
        self.shared.digest
    }

    /// The text fields that came with the first chunk, in their order.
    pub fn fields(&self) -> &[(String, String)] {
        &self.record().fields
    }

    /// The first text field of that name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let field = self.fields().iter().find(|(key, _)| key == name);
        field.map(|(_, value)| value.as_str())
    }

    /// What the application attached when the upload began.
    pub fn attributes(&self) -> &serde_json::Value {
        &self.record().attributes
    }

    /// The whole record.
    pub fn record(&self) -> &Upload {
        &self.shared.upload
    }

    /// Opens the file, wherever it is now.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn open(&self) -> Result<Reader, Error> {
        Ok(self.shared.engine.store.open(self.id()).await?)
    }

    /// The local file that holds the bytes, where there is one.
    ///
    /// It is the store's until [`persist`](Self::persist): read it, but do not keep the path.
    pub fn path(&self) -> Option<PathBuf> {
        self.shared.path.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Moves the file to `target`, whole or not at all, replacing what is there. From then on it is
    /// the application's, and nothing here removes it. Folders above it are made.
    ///
    /// On the same filesystem it is a rename; to another one, a copy, a sync and a rename. With
    /// [`Durability::Sync`](crate::store::Durability::Sync) it survives a power cut. It can be
    /// called again: after a crash the upload is completed again, and a `persist` to the same
    /// target ends with the same file. To another target it is moved once more.
    ///
    /// In [a bucket](crate::guide::nodes) the target is a key: its parts with `/` in between, without the root.
    /// The bytes are copied, and the file is not moved back to where it was before.
    ///
    /// # Errors
    /// Those of the store; in a bucket also for a target with `..`, or among the store's own keys.
    pub async fn persist(&self, target: impl AsRef<Path>) -> Result<(), Error> {
        self.move_to(target.as_ref().to_owned(), true).await
    }

    /// The same, but never replaces a file. In a bucket one above 8 MiB (or a segment) first takes the name
    /// with an empty object.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] if there is something else at `target`; those of the store.
    pub async fn persist_new(&self, target: impl AsRef<Path>) -> Result<(), Error> {
        self.move_to(target.as_ref().to_owned(), false).await
    }

    async fn move_to(&self, target: PathBuf, overwrite: bool) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let guard = shared.engine.claims.guard();
        let moving = tokio::spawn(async move {
            let _guard = guard;
            let mut hold = shared.hold.lock().await;
            let mut later;
            let writer = match &mut *hold {
                Hold::Given(writer) => writer,
                // A clone was kept beyond the completion.
                Hold::Kept => {
                    later = lease_again(&shared.engine, &shared.upload.id).await?;
                    &mut later
                }
                ended @ (Hold::Lost | Hold::Discarded) => return Err(ended.error()),
            };
            writer.persist(&target, overwrite).await?;
            *shared.path.lock().unwrap_or_else(PoisonError::into_inner) = writer.path();
            Ok(())
        });
        joined(moving).await
    }

    /// Ends the upload for good: removes its record, and its file unless that was
    /// [persisted](Self::persist). Whoever names it from now on is told that there is none, 404 on the wire.
    ///
    /// It is for a file that no further try will make welcome. Without it, an upload whose completion is
    /// answered with an error waits to be completed again until it expires. It can be called
    /// again, and also when the application has taken the file.
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
    ///     upload.persist("media/report.pdf").await?;
    ///     Ok(Response::new("saved"))
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`] if the completion that has given this file ended without its being taken,
    /// since the upload is no longer its own; those of the store.
    pub async fn discard(&self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let guard = shared.engine.claims.guard();
        let ending = tokio::spawn(async move {
            let _guard = guard;
            let mut hold = shared.hold.lock().await;
            let writer = match &mut *hold {
                Hold::Discarded => return Ok(()),
                Hold::Kept => lease_again(&shared.engine, &shared.upload.id).await?,
                hold => hold.take()?,
            };
            writer.remove().await?;
            *hold = Hold::Discarded;
            // An observer may look at the file, too.
            drop(hold);
            shared.engine.ledger.close(&shared.upload.id);
            shared.engine.tell(Event::Discarded(shared.upload.clone()), &shared.cause).await;
            Ok::<_, Error>(())
        });
        joined(ending).await
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

const UNNAMED: &str = "upload";
