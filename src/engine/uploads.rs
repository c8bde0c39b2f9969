//! The handle.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::append::{Append, AppendMode, Options};
use super::buffer::Pool;
use super::builder::{Expiry, UploadsBuilder};
use super::claim::{Claims, Work};
use super::complete::{self, Completion};
use super::error::{Error, ErrorKind};
use super::event::{DynObserver, Event};
use super::held::Held;
use super::list::{Filter, Listing};
use super::quota::Ledger;
use super::sweep::{self, Expired, Sweeper, Swept};
use crate::checksum::{Digest, Running};
use crate::id::UploadId;
use crate::store::{Commit, DynStore, DynWriter, Handover, Store, StoreError};
use crate::upload::{Owner, Status, Upload};

/// Uploads in a store: begins, continues, completes, cancels, lists and removes them, with or
/// without HTTP.
///
/// A clone is the same handle. It acts on every upload; [`for_owner`](Self::for_owner) gives one
/// that knows only one owner's.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_chunked_upload::store::MemoryStore;
/// use tower_chunked_upload::{AppendMode, NewUpload, Uploads};
///
/// let uploads = Uploads::builder(MemoryStore::new()).build()?;
///
/// let mut first = uploads.create(NewUpload::new().filename("a.txt").total(10)).await?;
/// first.write(&b"Hello"[..]).await?;
/// let upload = first.commit().await?;
/// assert_eq!(upload.offset(), 5);
///
/// let mut second = uploads.append(&upload.id, 5, AppendMode::AllOrNothing).await?;
/// second.write(&b"World"[..]).await?;
/// second.commit().await?;
///
/// let completion = uploads.complete(&upload.id, None).await?;
/// assert_eq!(completion.file().size(), 10);
/// completion.finish().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Uploads {
    pub(super) engine: Arc<Engine>,
    pub(super) scope: Scope,
    /// When the request came that it serves; `None`: each call comes when it is made.
    pub(super) came: Option<Instant>,
}

#[derive(Clone, Debug)]
pub(super) enum Scope {
    All,
    Of(Option<Owner>),
}

pub(super) struct Engine {
    pub(super) store: Box<dyn DynStore>,
    pub(super) observer: Box<dyn DynObserver>,
    pub(super) claims: Claims,
    pub(super) swept: Swept,
    pub(super) pool: Arc<Pool>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) expiry: Expiry,
    pub(super) max_bytes: Option<u64>,
    pub(super) checksum: bool,
    pub(super) read_back: bool,
    pub(super) patience: Duration,
    pub(super) clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

/// What is known of an upload when it begins.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct NewUpload {
    filename: String,
    content_type: Option<String>,
    fields: Vec<(String, String)>,
    attributes: serde_json::Value,
    total: Option<u64>,
    max_bytes: Option<u64>,
}

impl NewUpload {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// The file's name as the client sent it.
    pub fn filename(mut self, name: impl Into<String>) -> Self {
        self.filename = name.into();
        self
    }

    /// The media type that the client claims.
    pub fn content_type(mut self, media_type: impl Into<Option<String>>) -> Self {
        self.content_type = media_type.into();
        self
    }

    /// Names and values that came with it.
    pub fn fields(mut self, fields: Vec<(String, String)>) -> Self {
        self.fields = fields;
        self
    }

    /// What the application attaches.
    pub fn attributes(mut self, attributes: serde_json::Value) -> Self {
        self.attributes = attributes;
        self
    }

    /// How many bytes the file will have.
    pub fn total(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.total = bytes.into();
        self
    }

    /// The largest size that is taken, instead of the one for all uploads. It is kept with the upload and
    /// holds for whatever is added later.
    ///
    /// Over HTTP [`Policy::max_bytes`](crate::Policy::max_bytes) has the last word. It is asked with this
    /// limit when the upload is known; a form that starts at the file's beginning may be refused before, by
    /// its headers, if it is larger than other uploads may be.
    pub fn max_bytes(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.max_bytes = bytes.into();
        self
    }
}

impl Uploads {
    /// Settings for uploads in `store`.
    pub fn builder(store: impl Store) -> UploadsBuilder {
        UploadsBuilder::new(Box::new(store))
    }

    /// A handle that knows the uploads of one owner, and begins new ones in its name; every other
    /// upload looks to it as if it did not exist. `None` is the owner of uploads without owner.
    pub fn for_owner(&self, owner: impl Into<Option<Owner>>) -> Self {
        Self { engine: Arc::clone(&self.engine), scope: Scope::Of(owner.into()), came: None }
    }

    /// The same for a request that came at that moment: whoever came later is the newer one, though its
    /// turn may come first.
    pub(crate) fn for_request(&self, owner: Option<Owner>, came: Instant) -> Self {
        Self { came: Some(came), ..self.for_owner(owner) }
    }

    pub(super) fn came(&self) -> Instant {
        self.came.unwrap_or_else(Instant::now)
    }

    /// Begins an upload. It exists for others after the [`Append`]'s commit.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] if the announced total is; [`ErrorKind::QuotaExceeded`].
    pub async fn create(&self, new: NewUpload) -> Result<Append, Error> {
        let limit = self.engine.within_reach(new.max_bytes.or(self.engine.max_bytes));
        self.create_within(new, limit, false).await
    }

    /// The same with a limit, or none, of its own. What is `staged` turns out later to be an upload's or
    /// a part of one.
    pub(crate) async fn create_within(
        &self,
        new: NewUpload,
        limit: Option<u64>,
        staged: bool,
    ) -> Result<Append, Error> {
        let engine = &self.engine;
        if let (Some(total), Some(limit)) = (new.total, limit)
            && total > limit
        {
            return Err(ErrorKind::TooLarge { limit }.into());
        }
        let now = engine.now();
        let mut upload = Upload::new(UploadId::random(), now);
        upload.owner = match &self.scope {
            Scope::All => None,
            Scope::Of(owner) => owner.clone(),
        };
        upload.raw_filename = new.filename;
        upload.content_type = new.content_type;
        upload.fields = new.fields;
        upload.attributes = new.attributes;
        upload.max_bytes = new.max_bytes;
        upload.progress.total = new.total;
        upload.progress.expires = engine.expiry.at_creation(now);

        let claim = engine.claims.claim(&upload.id, self.came(), engine.patience).await?;
        let reservation = engine.ledger.open(&*engine.store, &upload, staged).await?;
        let writer = engine.store.create(upload).await?;
        let checksum = Some(engine.new_checksum());
        let mode = AppendMode::AllOrNothing;
        let options = Options { mode, new: true, limit, reservation };
        Ok(Append::new(Arc::clone(engine), claim, writer, checksum, options))
    }

    /// Adds bytes to an upload, from offset `at` on.
    ///
    /// An append of the same upload that is under way is asked to stop and waited for briefly.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Expired`], [`ErrorKind::AlreadyComplete`],
    /// [`ErrorKind::Finishing`], [`ErrorKind::OffsetMismatch`], [`ErrorKind::Superseded`],
    /// [`ErrorKind::Busy`] and those of the store.
    pub async fn append(&self, id: &UploadId, at: u64, mode: AppendMode) -> Result<Append, Error> {
        let held = self.hold_at(id, at).await?;
        let own = held.upload().max_bytes;
        let limit = self.engine.within_reach(own.or(self.engine.max_bytes));
        held.append(at, mode, limit)
    }

    /// The same with another limit for the file's size.
    pub(crate) async fn append_within(
        &self,
        id: &UploadId,
        at: u64,
        mode: AppendMode,
        limit: Option<u64>,
    ) -> Result<Append, Error> {
        self.hold_at(id, at).await?.append(at, mode, limit)
    }

    async fn hold_at(&self, id: &UploadId, at: u64) -> Result<Held, Error> {
        if let Some(held) = self.hold_idle(id).await {
            return Ok(held);
        }
        // Before the claim: what is refused now stops nobody.
        self.engine.check_offset(&self.find(id).await?, at)?;
        self.hold(id).await
    }

    /// Where an upload stands. It waits for nobody who writes to it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Expired`] and those of the store.
    pub async fn status(&self, id: &UploadId) -> Result<Upload, Error> {
        let mut upload = self.find(id).await?;
        if upload.is_expired(self.engine.now()) {
            return Err(ErrorKind::Expired.into());
        }
        if upload.status() != Status::Complete {
            // An offset up to which there are no bytes is none.
            drop(self.engine.store.open(id).await?);
        }
        // The process that was finishing it may be gone. Then nobody holds it, and it can be completed
        // again.
        if upload.status() == Status::Finishing && self.engine.store.writer(id).await.is_ok() {
            upload.progress.status = Status::Open;
        }
        Ok(upload)
    }

    /// Hands over a finished upload; `digest`, if one is given, must be the file's.
    ///
    /// Its cost does not depend on the file's size, unless the bytes are to be [read
    /// back](UploadsBuilder::read_back), a power cut may have taken some of them, or no checksum of the
    /// digest's kind has run along: then the file is read once.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Expired`], [`ErrorKind::AlreadyComplete`],
    /// [`ErrorKind::Finishing`], [`ErrorKind::Incomplete`], [`ErrorKind::ChecksumMismatch`],
    /// [`ErrorKind::Busy`], [`ErrorKind::Superseded`] and those of the store; where another node was faster
    /// [`ErrorKind::OffsetMismatch`].
    pub async fn complete(
        &self,
        id: &UploadId,
        digest: Option<Digest>,
    ) -> Result<Completion, Error> {
        let held = match self.hold_idle(id).await {
            Some(held) => held,
            None => {
                let upload = self.find(id).await?;
                self.engine.check_open(&upload)?;
                // Before the claim: asking too early stops no chunk.
                complete::check_whole(&upload)?;
                self.hold(id).await?
            }
        };
        complete::complete(held, digest).await
    }

    /// Removes an upload that is not complete, and its bytes; gives its last record.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Expired`], [`ErrorKind::AlreadyComplete`],
    /// [`ErrorKind::Finishing`], [`ErrorKind::Busy`], [`ErrorKind::Superseded`] and those of the store.
    pub async fn cancel(&self, id: &UploadId) -> Result<Upload, Error> {
        self.check_open(id).await?;
        let Held { engine, claim, writer } = self.hold(id).await?;
        engine.check_open(writer.upload())?;
        let removal = tokio::spawn(async move {
            let upload = writer.upload().clone();
            writer.remove().await?;
            engine.ledger.close(&upload.id);
            engine.observer.on_event(&Event::Cancelled(upload.clone())).await;
            drop(claim);
            Ok::<_, StoreError>(upload)
        });
        super::append::joined(removal).await
    }

    /// Sets when an upload that is not complete expires, `None` for never; gives its record. With a time
    /// that has come it is refused from now on, and the next sweep removes it.
    ///
    /// A chunk under way makes way for it, as for a newer chunk. Where each chunk prolongs an upload's
    /// life ([`Expiry`]), the next one does so again.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::{Duration, SystemTime};
    /// # use tower_chunked_upload::{AppendMode, ErrorKind, NewUpload, Uploads, store::MemoryStore};
    /// # let uploads = Uploads::builder(MemoryStore::new()).build()?;
    /// # let id = uploads.create(NewUpload::new()).await?.commit().await?.id;
    /// uploads.set_expires(&id, SystemTime::now() + Duration::from_secs(3600)).await?;
    /// uploads.set_expires(&id, SystemTime::now()).await?;
    /// let refused = uploads.append(&id, 0, AppendMode::AllOrNothing).await.unwrap_err();
    /// assert_eq!(*refused.kind(), ErrorKind::Expired);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel).
    pub async fn set_expires(
        &self,
        id: &UploadId,
        expires: impl Into<Option<SystemTime>>,
    ) -> Result<Upload, Error> {
        let expires = expires.into().map(crate::time::to_millis);
        self.check_open(id).await?;
        let Held { engine, claim, mut writer } = self.hold(id).await?;
        engine.check_open(writer.upload())?;
        let change = tokio::spawn(async move {
            let mut upload = writer.upload().clone();
            upload.progress.expires = expires;
            writer.commit(Commit::new(Bytes::new(), upload.clone())).await?;
            drop(writer);
            drop(claim);
            Ok::<_, StoreError>(upload)
        });
        super::append::joined(change).await
    }

    /// The uploads that match, as a stream.
    pub fn list(&self, filter: Filter) -> Listing {
        Listing::new(Arc::clone(&self.engine), self.scope.clone(), filter)
    }

    /// Removes the expired uploads, and what interrupted ones left.
    ///
    /// It reads all records, or those that are due where the store keeps an index of them
    /// ([`Store::list_expiring`]), as fast as it can; its memory does not grow with their number.
    /// [`sweep_every`](Self::sweep_every) takes its time.
    ///
    /// One that is being written to or handed over at this moment is left for the next time. (In a
    /// bucket, a chunk that comes to another node is refused.) A file that the application has taken is
    /// never touched.
    ///
    /// # Errors
    /// Those of the store, if it cannot be listed. What cannot be removed is counted as skipped.
    pub async fn delete_expired(&self) -> Result<Expired, Error> {
        sweep::delete_expired(&self.engine, &self.scope).await
    }

    /// Removes one upload if it has expired, and says whether it did.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Busy`] if it is in use, and those of the store.
    pub async fn delete_if_expired(&self, id: &UploadId) -> Result<bool, Error> {
        self.find(id).await?;
        Ok(sweep::remove(&self.engine, &self.scope, id).await?.is_some())
    }

    /// Removes an upload whose record or bytes cannot be trusted, and what can be found of it; says
    /// whether it was one. Such an upload is refused with [`ErrorKind::Damaged`]; a
    /// [`list`](Self::list) names it in an error ([`Error::damaged_upload`]), and a sweep removes it when
    /// its time has come by what can still be told of it: its record as it was before, or when that was
    /// written last and how long a new upload lives. One whose bytes were found to differ when it was
    /// completed is none of these, since its record is whole: [`cancel`](Self::cancel) it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], also on a handle of one owner, since nobody knows whose it is;
    /// [`ErrorKind::Busy`] if it is in use, and those of the store.
    pub async fn remove_damaged(&self, id: &UploadId) -> Result<bool, Error> {
        if !matches!(self.scope, Scope::All) {
            return Err(ErrorKind::NotFound.into());
        }
        let removed = self.engine.store.remove_damaged(id).await?;
        if removed {
            self.engine.ledger.close(id);
        }
        Ok(removed)
    }

    /// Does what [`delete_expired`](Self::delete_expired) does, in the background, now and each time
    /// `every` after the sweep before it has ended, until the [`Sweeper`] is stopped or dropped.
    ///
    /// Such a sweep is gentle: after each page of the store (at most 256 uploads in the stores of this
    /// crate) it rests three times as long as that page took, but no longer than a minute. So it takes
    /// at most a quarter of one core, and four times as long. A store with an index
    /// ([`Capabilities::expiry_index`](crate::store::Capabilities::expiry_index)), such as a bucket, it waits for more than it works: there it does not
    /// rest, and removes 16 uploads at the same time. When the sweeper ends or a
    /// [shutdown](Self::shutdown) begins, it stops after the page that it is at.
    ///
    /// Each process that sweeps a store reads all of its records, unless the store has an index and there
    /// are no quotas. Where several share a store, one sweeper is enough; with quotas each of them needs
    /// its own.
    pub fn sweep_every(&self, every: Duration) -> Sweeper {
        Sweeper::start(Arc::clone(&self.engine), self.scope.clone(), every)
    }

    /// Ends the work in order: chunks that are under way may go on for as long as `patience`, new ones
    /// and completions are refused with [`ErrorKind::ShuttingDown`], 503 on the wire. After that time
    /// what still receives is stopped, as if its client had left; a file that the application has been
    /// given is waited for, and so is a call of the system that does not return. Where an upload stands
    /// can still be asked. When this returns, nothing is under way any more: no task, no write, no
    /// sweep.
    ///
    /// Call it when the server stops to accept connections, and before the runtime ends.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use tower_chunked_upload::{ErrorKind, NewUpload, Uploads, store::MemoryStore};
    /// # let uploads = Uploads::builder(MemoryStore::new()).build()?;
    /// uploads.shutdown(Duration::from_secs(10)).await;
    /// let refused = uploads.create(NewUpload::new()).await.unwrap_err();
    /// assert_eq!(*refused.kind(), ErrorKind::ShuttingDown);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn shutdown(&self, patience: Duration) {
        let claims = &self.engine.claims;
        claims.close();
        if tokio::time::timeout(patience, claims.ended()).await.is_err() {
            claims.stop();
            claims.ended().await;
        }
        claims.watch_ended().await;
        self.engine.store.settle().await;
    }

    /// Waits until a shutdown has no patience any more.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        self.engine.claims.stopped()
    }

    /// Something that [`shutdown`](Self::shutdown) waits for.
    pub(crate) fn work(&self) -> Work {
        self.engine.claims.work()
    }

    async fn find(&self, id: &UploadId) -> Result<Upload, Error> {
        let upload = match self.engine.store.load(id).await {
            Err(StoreError::Removed { upload, at })
                if self.scope.knows(&upload) && upload.is_expired(at) =>
            {
                return Err(ErrorKind::Expired.into());
            }
            Err(StoreError::NotFound | StoreError::Removed { .. })
                if self.engine.swept.knows(id, &self.scope) =>
            {
                return Err(ErrorKind::Expired.into());
            }
            Err(damage @ StoreError::Damaged { .. }) => {
                return Err(self.damage_of(id, damage).await);
            }
            result => result?,
        };
        if !self.scope.knows(&upload) {
            return Err(ErrorKind::NotFound.into());
        }
        Ok(upload)
    }

    /// What to say of a damaged upload: to its owner that it is, to everybody else that there is none.
    async fn damage_of(&self, id: &UploadId, damage: StoreError) -> Error {
        let Scope::Of(owner) = &self.scope else { return damage.into() };
        let remains = self.engine.store.remains(id).await.unwrap_or_default();
        let ours = match &remains.record {
            Some(record) => self.scope.knows(record),
            // Whose it was cannot be told; where nobody is anybody in particular it need not be.
            None => owner.is_none(),
        };
        if ours { damage.into() } else { ErrorKind::NotFound.into() }
    }

    /// The error that says why the upload takes nothing more, if it does not.
    pub(crate) async fn check_open(&self, id: &UploadId) -> Result<Upload, Error> {
        let upload = self.find(id).await?;
        self.engine.check_open(&upload)?;
        Ok(upload)
    }

    pub(crate) fn check_offset(&self, upload: &Upload, at: u64) -> Result<(), Error> {
        self.engine.check_offset(upload, at)
    }

    pub(crate) fn max_bytes(&self) -> Option<u64> {
        self.engine.max_bytes
    }

    /// The limit, or what the store can hold if that is less.
    pub(crate) fn within_reach(&self, limit: Option<u64>) -> Option<u64> {
        self.engine.within_reach(limit)
    }
}

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploads")
            .field("scope", &self.scope)
            .field("expiry", &self.engine.expiry)
            .field("max_bytes", &self.engine.max_bytes)
            .finish_non_exhaustive()
    }
}

impl Scope {
    pub(super) fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    pub(super) fn knows(&self, upload: &Upload) -> bool {
        self.owns(upload.owner.as_ref())
    }

    pub(super) fn owns(&self, whose: Option<&Owner>) -> bool {
        match self {
            Self::All => true,
            Self::Of(owner) => owner.as_ref() == whose,
        }
    }
}

impl Engine {
    pub(super) fn now(&self) -> SystemTime {
        (self.clock)()
    }

    pub(super) fn within_reach(&self, limit: Option<u64>) -> Option<u64> {
        let most = self.store.capabilities().max_bytes;
        limit.map_or(most, |limit| Some(most.map_or(limit, |most| most.min(limit))))
    }

    pub(super) fn new_checksum(&self) -> Running {
        if self.checksum { Running::md5() } else { Running::crc32() }
    }

    pub(super) fn check_open(&self, upload: &Upload) -> Result<(), Error> {
        if upload.is_expired(self.now()) {
            return Err(ErrorKind::Expired.into());
        }
        if upload.status() == Status::Complete {
            return Err(ErrorKind::AlreadyComplete.into());
        }
        Ok(())
    }

    pub(super) fn check_offset(&self, upload: &Upload, at: u64) -> Result<(), Error> {
        self.check_open(upload)?;
        if upload.offset() != at {
            return Err(ErrorKind::OffsetMismatch { offset: upload.offset() }.into());
        }
        Ok(())
    }

    /// Commits a record without bytes.
    pub(super) async fn note(
        &self,
        writer: &mut dyn DynWriter,
        upload: Upload,
        handover: Handover,
    ) -> Result<(), Error> {
        let before = writer.upload().clone();
        match writer.commit(Commit::new(Bytes::new(), upload).with_handover(handover)).await {
            Err(error) => Err(self.overtaken(&before, error).await),
            Ok(()) => Ok(()),
        }
    }

    /// Why a commit failed that began with this record. Where another node was faster, it is told what
    /// that has made of the upload.
    pub(super) async fn overtaken(&self, before: &Upload, error: StoreError) -> Error {
        if !matches!(error, StoreError::Conflict) {
            return error.into();
        }
        match self.store.load(&before.id).await {
            Err(error) => error.into(),
            Ok(now) => match self.check_offset(&now, before.offset()) {
                Err(error) => error,
                Ok(()) if now.status() == Status::Finishing => ErrorKind::Finishing.into(),
                Ok(()) => StoreError::Conflict.into(),
            },
        }
    }

    /// Looks now and then what other processes ask for, as long as anybody holds an upload.
    pub(super) fn watch(self: &Arc<Self>) {
        if !self.store.capabilities().handoff || !self.claims.watch() {
            return;
        }
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => {
                        let requests = engine.store.handoff_requests().await;
                        for request in requests.unwrap_or_default() {
                            engine.claims.ask(&request.id, request.age);
                        }
                    }
                    () = engine.claims.ended() => {
                        if engine.claims.end_watch() {
                            return;
                        }
                    }
                }
            }
        });
    }
}

/// How often to look what other processes ask for.
const LOOK: Duration = Duration::from_millis(500);
