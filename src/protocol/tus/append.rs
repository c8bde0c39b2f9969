//! Appending bytes, and what follows the last one.

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderMap, Response, StatusCode};

use super::answer::{self, bad, checksum_mismatch, empty, insert, shown_offset, wrong_media_type};
use super::checksum::{Expected, OFFERED};
use super::config::Tus;
use super::create::creates;
use super::headers::{
    TUS_RESUMABLE, UPLOAD_CHECKSUM, UPLOAD_EXPIRES, UPLOAD_LENGTH, UPLOAD_OFFSET, VERSION,
    has_bytes, number, value,
};
use crate::checksum::{DigestAlgorithm, Running};
use crate::code;
use crate::engine::{Append, AppendMode, ErrorKind, Lease, OwnerUploads};
use crate::id::UploadId;
use crate::policy::{Action, Candidate, Context, Refusal};
use crate::protocol::headers::announces_trailer;
use crate::protocol::{
    Beginning, BodyError, Discards, Exchange, Finish, Framing, Incoming, Payload, Problem, Replay,
    Reply, Taken,
};
use crate::upload::{Kind, Upload};

pub(super) async fn append<B: Payload>(
    tus: &Tus,
    exchange: &Exchange<'_>,
    body: &mut Incoming<B>,
) -> Result<Reply, Problem> {
    let id = tus.upload_id(exchange.parts);
    let mut context = exchange.context(Action::Append, id.as_ref());
    let uploads = exchange.admit(&mut context).await?;
    let id = id.ok_or(ErrorKind::NotFound)?;
    let result = match Request::read(tus, exchange, context, body.exact_size()) {
        Ok(request) => request.append(&uploads, &id, body).await,
        Err(refusal) => Err(refusal.into()),
    };
    let Err(problem) = result else { return result };
    let Ok(upload) = uploads.status(&id).await else { return Err(problem) };
    exchange.stands(&upload);
    let problem = match problem {
        // The engine knows nothing of the last byte. If another node has completed the upload
        // meanwhile, a client that asks where it stands finds that out; after a 403 it would give
        // up.
        Problem::Engine(error)
            if matches!(
                error.kind(),
                ErrorKind::OffsetMismatch { .. } | ErrorKind::AlreadyComplete
            ) =>
        {
            ErrorKind::OffsetMismatch { offset: shown_offset(&upload) }.into()
        }
        problem => problem,
    };
    // Clients are told in every answer how long the upload lives.
    let refusal = answer::refusal(problem);
    Err(match tus.expires(&upload) {
        Some(expires) => refusal.header(UPLOAD_EXPIRES, expires),
        None => refusal,
    }
    .into())
}

/// A request that brings bytes, as its headers describe it.
struct Request<'a> {
    tus: &'a Tus,
    exchange: &'a Exchange<'a>,
    context: Context<'a>,
    at: u64,
    /// The length of the upload, if it was not known before.
    length: Option<u64>,
    /// The number of bytes, if it is known.
    size: Option<u64>,
    check: Check,
}

impl<'a> Request<'a> {
    fn read(
        tus: &'a Tus,
        exchange: &'a Exchange<'a>,
        context: Context<'a>,
        size: Option<u64>,
    ) -> Result<Self, Refusal> {
        let headers = &exchange.parts.headers;
        if !has_bytes(headers) {
            return Err(wrong_media_type());
        }
        let at = number(headers, &UPLOAD_OFFSET)?;
        let at = at.ok_or_else(|| bad(code::MISSING_HEADER, "Upload-Offset is required"))?;
        let length = number(headers, &UPLOAD_LENGTH)?;
        let check = Check::announced(tus, headers)?;
        Ok(Self { tus, exchange, context, at, length, size, check })
    }

    async fn append<B: Payload>(
        &self,
        uploads: &OwnerUploads,
        id: &UploadId,
        body: &mut Incoming<B>,
    ) -> Result<Reply, Problem> {
        let acquired = uploads.acquire_if(id, |upload| self.check_upload(upload)).await;
        let (lease, limit) = match acquired {
            Err(Problem::Engine(error)) if *error.kind() == ErrorKind::AlreadyComplete => {
                let upload = uploads.status(id).await?;
                return match self.kept(&upload) {
                    Some(kept) => {
                        body.skip(upload.offset()).await?;
                        Ok(Reply::Answer(kept))
                    }
                    None => self.repeat(&upload),
                };
            }
            acquired => acquired?,
        };
        let upload = lease.upload();
        let is_part = upload.kind == Kind::Part;
        if upload.total() == Some(upload.offset()) {
            return match is_part && upload.progress.ties().awaited_by.is_none() {
                true => self.repeat(upload),
                false => Box::pin(self.repeat_last_byte(uploads, lease, body)).await,
            };
        }
        if upload.total().is_none() && self.length == Some(upload.offset()) {
            return Box::pin(self.end(uploads, lease, body)).await;
        }
        let mut first = match is_part {
            true => Beginning::unseen(self.exchange, uploads, self.context),
            false => Beginning::of(self.exchange, uploads, self.context, upload).await?,
        };
        let mut append = lease.append(self.check.mode());
        append.set_limit(limit);
        if let Some(length) = self.length {
            append.set_total(length).await?;
        }
        if let Err(problem) = self.check.receive(body, &mut append, &mut first).await {
            if self.check.mode() == AppendMode::KeepWhatCame {
                drop(first.keep_what_came(&mut append).await);
                // What came is there before the client asks. If this fails, it is kept on a task,
                // or else it was not acknowledged.
                drop(append.commit_what_came().await);
            }
            return Err(problem);
        }
        let lease = append.commit_and_keep().await?;
        let upload = lease.upload();
        self.exchange.stands(upload);
        if upload.total() == Some(upload.offset()) {
            return Box::pin(self.finish(lease)).await;
        }
        Ok(Reply::Answer(empty(StatusCode::NO_CONTENT, self.tus.headers(upload))))
    }

    /// Refuses bytes that do not fit their upload or that the application does not accept. Returns
    /// the limit of the file's size.
    async fn check_upload(&self, upload: Upload) -> Result<Option<u64>, Problem> {
        if upload.is_joined() {
            return Err(of_its_parts(StatusCode::FORBIDDEN).into());
        }
        let offset = shown_offset(&upload);
        if self.at != offset {
            return Err(ErrorKind::OffsetMismatch { offset }.into());
        }
        let total = match (upload.total(), self.length) {
            (Some(total), Some(length)) if total != length => {
                return Err(ErrorKind::TotalMismatch { total }.into());
            }
            (total, length) => total.or(length),
        };
        if let Some(total) = total
            && self.size.is_some_and(|size| size > total.saturating_sub(offset))
        {
            return Err(ErrorKind::TooLong { total }.into());
        }
        if total.is_some_and(|total| total < upload.offset()) {
            let detail = "Upload-Length is less than the offset";
            return Err(bad(code::LENGTH_MISMATCH, detail).into());
        }
        let context = Context { upload_id: Some(&upload.id), ..self.context };
        let configured = upload.max_bytes.or(self.exchange.settings.uploads.max_bytes());
        let limit = self.exchange.limit(context, configured).await?;
        let end = total.max(self.size.map(|size| offset.saturating_add(size)));
        if let Some(limit) = limit.filter(|limit| end > Some(*limit)) {
            return Err(ErrorKind::TooLarge { limit }.into());
        }
        if upload.kind == Kind::Part {
            // The application decides on the file that is joined from it.
            return Ok(limit);
        }
        let candidate = Candidate {
            context,
            raw_filename: &upload.raw_filename,
            content_type: upload.content_type.as_deref(),
            total,
            offset,
            fields: &upload.fields,
            upload: Some(&upload),
        };
        self.exchange.ask(self.exchange.settings.policy.validate(&candidate)).await?;
        Ok(limit)
    }

    /// The answer of the application, if this may be the request that has completed the upload.
    fn kept(&self, upload: &Upload) -> Option<Response<Bytes>> {
        let end = self.size.and_then(|size| self.at.checked_add(size));
        let fits = end == Some(upload.offset()) && !upload.is_joined();
        let mut kept = self.exchange.settings.kept(upload).filter(|_| fits)?;
        if creates(&kept) {
            // The request that it was given to has created the upload, too.
            *kept.status_mut() = self.tus.taken_status();
            kept.headers_mut().remove(LOCATION);
        }
        Some(kept)
    }

    /// Answers a request for an upload that is complete. Only an empty one fits it.
    fn repeat(&self, upload: &Upload) -> Result<Reply, Problem> {
        let offset = upload.offset();
        match self.size {
            _ if upload.is_joined() => Err(of_its_parts(StatusCode::FORBIDDEN).into()),
            _ if self.at != offset => Err(ErrorKind::OffsetMismatch { offset }.into()),
            Some(0) => Ok(Reply::Answer(empty(StatusCode::NO_CONTENT, self.tus.headers(upload)))),
            _ => Err(ErrorKind::TooLong { total: offset }.into()),
        }
    }

    /// Handles the last byte of an upload that the application has not taken. The byte is there
    /// already.
    async fn repeat_last_byte<B: Payload>(
        &self,
        uploads: &OwnerUploads,
        lease: Lease,
        body: &mut Incoming<B>,
    ) -> Result<Reply, Problem> {
        let (total, stopped) = (lease.upload().offset(), lease.stopped());
        let content = self.read_at_most(1, total, stopped, body).await?;
        if content.is_empty() {
            let headers = self.tus.headers(lease.upload());
            return Ok(Reply::Answer(empty(StatusCode::NO_CONTENT, headers)));
        }
        if uploads.open(&lease.upload().id).await?.last_byte().await? != content[0] {
            let detail = "The last byte is not the one that was sent before";
            return Err(bad(code::LAST_BYTE_MISMATCH, detail).into());
        }
        self.finish(lease).await
    }

    /// Handles a request that says that the upload has ended. If the application does not take it,
    /// its length is as unknown as before: otherwise the client would see it complete.
    async fn end<B: Payload>(
        &self,
        uploads: &OwnerUploads,
        lease: Lease,
        body: &mut Incoming<B>,
    ) -> Result<Reply, Problem> {
        let (total, stopped) = (lease.upload().offset(), lease.stopped());
        self.read_at_most(0, total, stopped, body).await?;
        let (upload, stopped) = (lease.upload().clone(), lease.stopped());
        if upload.kind != Kind::Part {
            let first = Beginning::of(self.exchange, uploads, self.context, &upload).await?;
            first.end_stored(&upload, stopped).await?;
        }
        self.finish(lease).await
    }

    /// Reads the body of a request for an upload that has all its bytes, unless it is stopped.
    async fn read_at_most<B: Payload>(
        &self,
        limit: usize,
        total: u64,
        stopped: impl Future<Output = ErrorKind> + Send,
        body: &mut Incoming<B>,
    ) -> Result<Bytes, Problem> {
        let content = tokio::select! {
            biased;
            content = body.read_small(limit) => content?.ok_or(ErrorKind::TooLong { total })?,
            why = stopped => return Err(why.into()),
        };
        self.check.verify_small(&content, body.trailers())?;
        Ok(content)
    }

    /// Handles what follows the last byte.
    async fn finish(&self, lease: Lease) -> Result<Reply, Problem> {
        let upload = lease.upload().clone();
        if upload.kind != Kind::Part {
            return Ending::default().finish(self.tus, lease).await;
        }
        let mut taken = self.tus.headers(&upload);
        insert(&mut taken, UPLOAD_OFFSET, upload.offset());
        match lease.end_part().await? {
            None => Ok(Reply::Answer(empty(StatusCode::NO_CONTENT, taken))),
            Some(joined) => {
                let ending = Ending { taken: Some(taken), ..Ending::default() };
                ending.finish(self.tus, joined).await
            }
        }
    }
}

/// Refuses bytes for an upload that is joined from others.
pub(super) fn of_its_parts(status: StatusCode) -> Refusal {
    let detail = "A joined upload accepts no bytes of its own";
    Refusal::coded(code::JOINED_UPLOAD, status, detail)
}

/// How a request that completes an upload is answered.
pub(super) struct Ending {
    /// If the application takes the file.
    pub(super) status: StatusCode,
    /// Whether or not it does.
    pub(super) headers: HeaderMap,
    /// If it does. Default: how many bytes it has taken.
    pub(super) taken: Option<HeaderMap>,
    /// Whether the upload ends if it does not.
    pub(super) discards: bool,
}

impl Default for Ending {
    /// For a `PATCH`.
    fn default() -> Self {
        let (status, headers) = (StatusCode::NO_CONTENT, HeaderMap::new());
        Self { status, headers, taken: None, discards: false }
    }
}

impl Tus {
    /// The status of a `PATCH` with which the application has taken the file.
    fn taken_status(&self) -> StatusCode {
        if self.answers_body { StatusCode::OK } else { StatusCode::NO_CONTENT }
    }
}

impl Ending {
    pub(super) async fn finish(self, tus: &Tus, lease: Lease) -> Result<Reply, Problem> {
        let Self { mut status, mut headers, taken, discards } = self;
        headers.insert(TUS_RESUMABLE, VERSION);
        let mut not_taken = HeaderMap::new();
        match &taken {
            // The request was one to a part.
            Some(part) => {
                let expires = part.get(UPLOAD_EXPIRES).cloned();
                not_taken.extend(expires.map(|expires| (UPLOAD_EXPIRES, expires)));
            }
            None => tus.insert_expires(&mut not_taken, lease.upload()),
        }
        let completion = lease.complete(None).await.map_err(|error| match error.kind() {
            // Another node has completed it. The client asks where it stands, and sees that.
            ErrorKind::AlreadyComplete => ErrorKind::Busy.into(),
            _ => error,
        })?;
        let taken = taken.unwrap_or_else(|| {
            let mut taken = HeaderMap::new();
            insert(&mut taken, UPLOAD_OFFSET, completion.file().size());
            taken
        });
        if status == StatusCode::NO_CONTENT {
            status = tus.taken_status();
        }
        let taken = Some(Taken { status, headers: taken, has_body: tus.answers_body });
        let discards = if discards { Discards::All } else { Discards::None };
        let framing = Framing { headers, not_taken, taken, discards, ..Framing::default() };
        let replay = Replay::Bytes(Bytes::new());
        Ok(Reply::Finished(Box::new(Finish { completion, replay, framing })))
    }
}

/// The checksum of a request's body.
pub(super) enum Check {
    None,
    Header(Expected),
    /// It follows the body, which is all that is known of it.
    Trailer,
}

impl Check {
    pub(super) fn announced(tus: &Tus, headers: &HeaderMap) -> Result<Self, Refusal> {
        if !tus.extensions.checksum {
            return Ok(Self::None);
        }
        if let Some(value) = value(headers, &UPLOAD_CHECKSUM)? {
            return Ok(Self::Header(parse(value.as_bytes())?));
        }
        let is_announced =
            tus.extensions.checksum_trailer && announces_trailer(headers, &UPLOAD_CHECKSUM);
        Ok(if is_announced { Self::Trailer } else { Self::None })
    }

    /// Bytes with a checksum of their own are kept if it is right, and otherwise not at all.
    fn mode(&self) -> AppendMode {
        match self {
            Self::None => AppendMode::KeepWhatCame,
            Self::Header(_) | Self::Trailer => AppendMode::AllOrNothing,
        }
    }

    fn algorithms(&self) -> Vec<DigestAlgorithm> {
        match self {
            Self::None => Vec::new(),
            Self::Header(expected) => vec![expected.algorithm],
            Self::Trailer => OFFERED.to_vec(),
        }
    }

    /// Receives the body.
    pub(super) async fn receive<B: Payload>(
        &self,
        body: &mut Incoming<B>,
        append: &mut Append,
        first: &mut Beginning<'_>,
    ) -> Result<(), Problem> {
        let algorithms = self.algorithms();
        if !algorithms.is_empty() {
            append.compute_digests(&algorithms).await?;
        }
        while let Some(bytes) = body.next(Some(append)).await? {
            first.write(append, bytes).await?;
        }
        first.end(append, false).await?;
        let Some(expected) = self.expected(body.trailers())? else { return Ok(()) };
        let digests = append.computed_digests().await?;
        match digests.into_iter().any(|digest| expected.digest == Some(digest)) {
            true => Ok(()),
            false => Err(checksum_mismatch().into()),
        }
    }

    fn expected(&self, trailers: Option<&HeaderMap>) -> Result<Option<Expected>, Problem> {
        match self {
            Self::None => Ok(None),
            Self::Header(expected) => Ok(Some(*expected)),
            Self::Trailer => {
                let trailers = trailers.and_then(|trailers| trailers.get(UPLOAD_CHECKSUM));
                let missing = || BodyError::Failed("it lacks the announced trailer".into());
                Ok(Some(parse(trailers.ok_or_else(missing)?.as_bytes())?))
            }
        }
    }

    /// Verifies a body that was read as a whole.
    fn verify_small(&self, body: &[u8], trailers: Option<&HeaderMap>) -> Result<(), Problem> {
        let Some(expected) = self.expected(trailers)? else { return Ok(()) };
        let mut running = Running::new(expected.algorithm);
        running.update(body);
        match running.digest() == expected.digest {
            true => Ok(()),
            false => Err(checksum_mismatch().into()),
        }
    }
}

fn parse(text: &[u8]) -> Result<Expected, Refusal> {
    Expected::parse(text).map_err(|error| bad(error.code(), error.detail()))
}
