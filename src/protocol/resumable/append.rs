//! Appending bytes, and what follows the last one.

use std::sync::OnceLock;

use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, StatusCode};

use super::answer::{
    self, PARTIAL_UPLOAD, bad, empty, shown_offset, wrong_digest, wrong_media_type,
};
use super::config::Resumable;
use super::content::{Content, read_digests};
use super::fields::{
    INTEROP_VERSION, REPR_DIGEST, UPLOAD_COMPLETE, UPLOAD_LENGTH, UPLOAD_LIMIT, UPLOAD_OFFSET,
    boolean, from_bool, integer,
};
use super::head;
use super::interim::Interim;
use crate::checksum::Digest;
use crate::code;
use crate::engine::{AppendMode, ErrorKind, Lease, OwnerUploads};
use crate::id::UploadId;
use crate::policy::{Action, Candidate, Context, Refusal};
use crate::protocol::headers::{essence, single};
use crate::protocol::{
    Beginning, Discards, Exchange, Finish, Framing, Incoming, Payload, Problem, Replay, Reply,
    cancel_if,
};
use crate::upload::{Identity, Upload};

pub(super) async fn append<B: Payload>(
    resumable: &Resumable,
    exchange: &Exchange<'_>,
    body: &mut Incoming<B>,
) -> Result<Reply, Problem> {
    let id = resumable.upload_id(exchange.parts);
    let mut context = exchange.context(Action::Append, id.as_ref());
    let uploads = exchange.admit(&mut context).await?;
    let id = id.ok_or(ErrorKind::NotFound)?;
    let request = Request::read(resumable, exchange, context, body.exact_size())?;
    let problem = match request.append(&uploads, &id, body).await {
        Ok(reply) => return Ok(reply),
        Err(problem) => match request.judged.get().copied() {
            Some(upload) => invalidate(&uploads, upload, problem).await,
            None => problem,
        },
    };
    let Ok(upload) = uploads.status(&id).await else { return Err(problem) };
    exchange.stands(&upload);
    let refusal = match problem {
        Problem::Engine(error) if matches!(error.kind(), ErrorKind::OffsetMismatch { .. }) => {
            let offset = shown_offset(&upload);
            let refusal = answer::refusal(ErrorKind::OffsetMismatch { offset }.into());
            refusal.with("provided-offset", request.at)
        }
        problem => answer::refusal(problem),
    };
    Err(refusal.header(UPLOAD_LIMIT, resumable.limits_of(exchange, &upload)).into())
}

/// Removes an upload of which more bytes came than were announced, since nobody knows which are the
/// right ones; but not one that the application has taken in the meantime.
pub(super) async fn invalidate(
    uploads: &OwnerUploads,
    upload: Identity,
    problem: Problem,
) -> Problem {
    if is_too_long(&problem) {
        drop(cancel_if(uploads, upload, |_| true).await);
    }
    problem
}

pub(super) fn is_too_long(problem: &Problem) -> bool {
    matches!(problem, Problem::Engine(error) if matches!(error.kind(), ErrorKind::TooLong { .. }))
}

/// A request that brings bytes, as its headers describe it.
struct Request<'a> {
    resumable: &'a Resumable,
    exchange: &'a Exchange<'a>,
    context: Context<'a>,
    at: u64,
    length: Option<u64>,
    content: Content,
    /// The upload that the request was compared with.
    judged: OnceLock<Identity>,
}

impl<'a> Request<'a> {
    fn read(
        resumable: &'a Resumable,
        exchange: &'a Exchange<'a>,
        context: Context<'a>,
        size: Option<u64>,
    ) -> Result<Self, Refusal> {
        let headers = &exchange.parts.headers;
        check_media_type(headers)?;
        let at = integer(headers, &UPLOAD_OFFSET);
        let at = at.ok_or_else(|| bad(code::MISSING_HEADER, "Upload-Offset is required"))?;
        let complete = boolean(headers, &UPLOAD_COMPLETE);
        let complete =
            complete.ok_or_else(|| bad(code::MISSING_HEADER, "Upload-Complete is required"))?;
        let length = integer(headers, &UPLOAD_LENGTH);
        let content = Content::read(headers, complete, size)?;
        let judged = OnceLock::new();
        Ok(Self { resumable, exchange, context, at, length, content, judged })
    }

    /// What the length of the whole is after this request.
    fn total(&self) -> Option<u64> {
        let size = self.content.size.filter(|_| self.content.complete);
        self.length.or(size.and_then(|size| self.at.checked_add(size)))
    }

    /// Whether the request says that the upload has ended, and no more. If the application does
    /// not take it, its length is as unknown as before: some clients take an upload that is as long
    /// as it should be for one that has succeeded.
    fn only_ends(&self) -> bool {
        self.content.complete && self.content.size == Some(0)
    }

    async fn append<B: Payload>(
        &self,
        uploads: &OwnerUploads,
        id: &UploadId,
        body: &mut Incoming<B>,
    ) -> Result<Reply, Problem> {
        let acquired = uploads.acquire_if(id, |upload| self.check_upload(upload)).await;
        let (mut lease, limit) = match acquired {
            Err(Problem::Engine(error)) if *error.kind() == ErrorKind::AlreadyComplete => {
                return self.repeat(&uploads.status(id).await?);
            }
            acquired => acquired?,
        };
        if self.resumable.hands_over_once {
            lease = lease.end_interrupted().await?;
        }
        if self.at < lease.upload().offset() {
            return Box::pin(self.repeat_last_byte(uploads, lease, body)).await;
        }
        let first = Beginning::of(self.exchange, uploads, self.context, lease.upload()).await?;
        let mut append = lease.append(self.content.mode());
        append.set_limit(limit);
        if let Some(total) = self.total().filter(|_| !self.only_ends()) {
            append.set_total(total).await?;
        }
        append.set_limit(self.resumable.limit_at(self.at, limit));
        let interim = Interim::of(self.exchange.parts, self.at);
        let lease = self.content.receive(body, interim, append, first).await?;
        self.answer(lease, body.trailers()).await
    }

    async fn answer(&self, lease: Lease, trailers: Option<&HeaderMap>) -> Result<Reply, Problem> {
        self.exchange.stands(lease.upload());
        if self.content.complete {
            let digests = self.content.of_whole(trailers)?;
            let finished = finish(self.resumable, self.exchange, lease, digests, Discards::None);
            return Box::pin(finished).await;
        }
        let headers = self.resumable.headers(self.exchange, lease.upload());
        Ok(Reply::Answer(empty(StatusCode::NO_CONTENT, headers)))
    }

    /// Refuses bytes that do not fit their upload or that the application does not accept. Returns
    /// the limit of the whole size.
    async fn check_upload(&self, upload: Upload) -> Result<Option<u64>, Problem> {
        self.judged.get_or_init(|| upload.identity());
        let offset = shown_offset(&upload);
        if self.at != offset {
            return Err(ErrorKind::OffsetMismatch { offset }.into());
        }
        self.resumable.check_size(self.content.size, self.content.complete)?;
        let context = Context { upload_id: Some(&upload.id), ..self.context };
        let configured = upload.max_bytes.or(self.exchange.settings.uploads.max_bytes());
        let limit = self.exchange.limit(context, configured).await?;
        let end = self.content.size.map(|size| offset.saturating_add(size));
        if let Some(limit) = limit.filter(|limit| self.length.max(end) > Some(*limit)) {
            return Err(ErrorKind::TooLarge { limit }.into());
        }
        self.check_length(&upload, end)?;
        self.resumable.check_total(self.total())?;
        let candidate = Candidate {
            context,
            raw_filename: &upload.raw_filename,
            content_type: upload.content_type.as_deref(),
            total: upload.total().or(self.total()),
            offset,
            fields: &upload.fields,
            upload: Some(&upload),
        };
        self.exchange.ask(self.exchange.settings.policy.validate(&candidate)).await?;
        Ok(limit)
    }

    /// Refuses a request whose lengths differ from each other or from those of earlier ones. `end`
    /// is where its bytes end.
    fn check_length(&self, upload: &Upload, end: Option<u64>) -> Result<(), Problem> {
        if let Some(total) = upload.total() {
            if end.is_some_and(|end| end > total) {
                return Err(ErrorKind::TooLong { total }.into());
            }
            if self.total().is_some_and(|it| it != total) {
                return Err(ErrorKind::TotalMismatch { total }.into());
            }
        }
        match (self.length, end) {
            (Some(length), Some(end)) if end > length || self.content.complete && end != length => {
                let detail = "Upload-Length is not where the content ends";
                Err(answer::inconsistent(code::LENGTH_MISMATCH, detail).into())
            }
            (Some(length), _) if length < upload.offset() => {
                let detail = "Upload-Length is less than the offset";
                Err(answer::inconsistent(code::LENGTH_MISMATCH, detail).into())
            }
            _ => Ok(()),
        }
    }

    /// Answers a request for an upload that is complete. Only one that ends there fits it.
    fn repeat(&self, upload: &Upload) -> Result<Reply, Problem> {
        let fits =
            self.content.size.and_then(|size| self.at.checked_add(size)) == Some(upload.offset());
        if !self.content.complete || !fits {
            return Err(ErrorKind::AlreadyComplete.into());
        }
        if let Some(kept) = self.exchange.settings.kept(upload) {
            return Ok(Reply::Answer(kept));
        }
        let headers = self.resumable.headers(self.exchange, upload);
        Ok(Reply::Answer(empty(StatusCode::OK, headers)))
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
        let content = tokio::select! {
            biased;
            content = body.read_small(1) => content?.ok_or(ErrorKind::TooLong { total })?,
            why = stopped => return Err(why.into()),
        };
        self.content.verify_small(body.trailers(), &content)?;
        if content.is_empty() {
            if self.content.complete {
                return Err(ErrorKind::Incomplete { offset: self.at, total }.into());
            }
            let headers = self.resumable.headers(self.exchange, lease.upload());
            return Ok(Reply::Answer(empty(StatusCode::NO_CONTENT, headers)));
        }
        if uploads.open(&lease.upload().id).await?.last_byte().await? != content[0] {
            let detail = "The last byte is not the one that was sent before";
            return Err(bad(code::LAST_BYTE_MISMATCH, detail).into());
        }
        let mut append = lease.append(AppendMode::AllOrNothing);
        append.set_end_acknowledged(!self.content.complete);
        let lease = append.commit_and_keep().await?;
        self.answer(lease, body.trailers()).await
    }
}

/// Refuses bytes of another media type. Older versions of the draft have none.
fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let media_type = single(headers, &CONTENT_TYPE).map_err(|_| wrong_media_type())?;
    let version = integer(headers, &INTEROP_VERSION);
    match media_type {
        Some(it) if essence(it.as_bytes()) == PARTIAL_UPLOAD.as_bytes() => Ok(()),
        _ if version.is_some_and(|version| version <= NO_MEDIA_TYPE) => Ok(()),
        _ => Err(wrong_media_type()),
    }
}

/// Hands over an upload that has all its bytes, if it has these digests.
pub(super) async fn finish(
    resumable: &Resumable,
    exchange: &Exchange<'_>,
    lease: Lease,
    mut digests: Vec<Digest>,
    discards: Discards,
) -> Result<Reply, Problem> {
    let upload = lease.upload().clone();
    if let Err(problem) = check_whole(resumable, &upload, &mut digests) {
        if discards != Discards::None {
            drop(lease.cancel().await);
        }
        return Err(problem);
    }
    // Where the client goes on if the application fails.
    let mut failed = HeaderMap::new();
    failed.insert(UPLOAD_COMPLETE, from_bool(false));
    failed.insert(UPLOAD_LIMIT, resumable.limits_of(exchange, &upload));
    let url = resumable.url(exchange.parts, &upload.id);
    failed.extend(url.map(|url| (LOCATION, url)));
    let mut headers = HeaderMap::new();
    headers.insert(UPLOAD_COMPLETE, from_bool(true));
    headers.insert(UPLOAD_OFFSET, upload.offset().into());
    let not_taken = [(UPLOAD_OFFSET, shown_offset(&upload).into())].into_iter().collect();
    let completion =
        lease.complete(digests.iter().copied()).await.map_err(|error| match error.kind() {
            ErrorKind::ChecksumMismatch => {
                digests.retain(|digest| upload.digest_of(digest.algorithm()) != Some(*digest));
                Problem::from(wrong_digest(&REPR_DIGEST, &digests).because_of(error))
            }
            _ => error.into(),
        })?;
    let replay = Replay::file(completion.file().open().await?);
    let framing = Framing { headers, not_taken, failed, discards, ..Framing::default() };
    Ok(Reply::Finished(Box::new(Finish { completion, replay, framing })))
}

/// Refuses content that has not the promised digests, as far as the record shows it, or a size that
/// is not taken. Adds the digests that the first request has promised to the others.
fn check_whole(
    resumable: &Resumable,
    upload: &Upload,
    digests: &mut Vec<Digest>,
) -> Result<(), Problem> {
    resumable.check_total(Some(upload.offset()))?;
    for promised in read_digests(&head::field(upload, &REPR_DIGEST), &REPR_DIGEST)? {
        if !digests.contains(&promised) {
            digests.push(promised);
        }
    }
    let differs = |digest: &&Digest| {
        upload.digest_of(digest.algorithm()).is_some_and(|computed| computed != **digest)
    };
    let wrong: Vec<_> = digests.iter().filter(differs).copied().collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let why = ErrorKind::ChecksumMismatch.into();
    Err(wrong_digest(&REPR_DIGEST, &wrong).because_of(why).into())
}

/// The last version of the draft in which bytes have no media type.
const NO_MEDIA_TYPE: u64 = 5;
