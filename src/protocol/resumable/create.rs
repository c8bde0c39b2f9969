//! The request that begins an upload.

use http::header::{CONTENT_DISPOSITION, LOCATION};
use http::{HeaderMap, StatusCode};

use super::answer::{empty, inconsistent};
use super::append::{finish, invalidate};
use super::config::Resumable;
use super::content::Content;
use super::fields::{
    KNOWN, REPR_DIGEST, UPLOAD_COMPLETE, UPLOAD_LENGTH, UPLOAD_LIMIT, boolean, from_bool, integer,
    wanted,
};
use super::head;
use super::interim::Interim;
use crate::checksum::{Digest, DigestAlgorithm};
use crate::code;
use crate::engine::{Append, ErrorKind, NewUpload, OwnerUploads};
use crate::policy::{Action, Candidate, Context, Refusal};
use crate::protocol::disposition::Disposition;
use crate::protocol::headers::announces_trailer;
use crate::protocol::{
    Beginning, Begun, Discards, Exchange, Incoming, Payload, Problem, Reply, begin, end_repeated,
    idempotency_key,
};
use crate::upload::{Status, Upload};

pub(super) async fn create<B: Payload>(
    resumable: &Resumable,
    exchange: &Exchange<'_>,
    body: &mut Incoming<B>,
) -> Result<Reply, Problem> {
    let context = exchange.context(Action::Append, None);
    let uploads = exchange.authorize(&context).await?;
    let limit = exchange.limit(context, exchange.settings.uploads.max_bytes()).await?;
    let creation = Creation { resumable, exchange, context, uploads, limit };
    creation.receive(body).await.map_err(|problem| {
        let limits = resumable.limits(limit, None);
        super::answer::refusal(problem).header(UPLOAD_LIMIT, limits).into()
    })
}

struct Creation<'a> {
    resumable: &'a Resumable,
    exchange: &'a Exchange<'a>,
    context: Context<'a>,
    uploads: OwnerUploads,
    /// The limit of the whole size.
    limit: Option<u64>,
}

impl Creation<'_> {
    async fn receive<B: Payload>(&self, body: &mut Incoming<B>) -> Result<Reply, Problem> {
        let Self { resumable, exchange, .. } = *self;
        let described = Described::read(&exchange.parts.headers, body.exact_size());
        described.check(resumable, self.limit)?;
        if !resumable.can_keep(exchange.parts) {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            let detail = "The headers of the request cannot be kept";
            return Err(Refusal::coded(code::HEADERS_TOO_LARGE, status, detail).into());
        }
        let headers = &exchange.parts.headers;
        let content = Content::read(headers, described.complete, described.size)?;
        let head = head::of(resumable, exchange.parts);
        let key = idempotency_key(headers)?;
        let new = described.new_upload(exchange).head(head.clone()).idempotency_key(key.clone());
        if let Some(upload) = self.uploads.created_before(&new).await? {
            return self.repeat(&described, &upload, &content, body).await;
        }
        let has_key = key.is_some();
        let new = described.accept(exchange, self.context).await?.idempotency_key(key);
        let new = new.digests(digests(headers, content.of_whole(None)?)).limit(self.limit);
        let new = new.head(head);
        let append = match begin(&self.uploads, new).await? {
            Begun::New(append) => *append,
            Begun::Before(upload) => return self.repeat(&described, &upload, &content, body).await,
        };
        let upload = append.upload().identity();
        let id = upload.id;
        exchange.seen.names(&id);
        let interim = Interim::of(exchange.parts, 0);
        let announced = interim.is_some();
        let append = self.announce(append, &content, interim.as_ref()).await?;
        let first = Beginning::of(exchange, &self.uploads, self.context, append.upload()).await?;
        let lease = match content.receive(body, interim, append, first).await {
            Ok(lease) => lease,
            // The same request, sent again, may use it by now.
            Err(problem) if has_key => return Err(problem),
            Err(problem) => return Err(invalidate(&self.uploads, upload, problem).await),
        };
        exchange.stands(lease.upload());
        if described.complete {
            // Nobody would find it, unless it failed and the answer tells where it is.
            let discards = if announced { Discards::None } else { Discards::Refused };
            let finished = match content.of_whole(body.trailers()) {
                Ok(digests) => finish(resumable, exchange, lease, digests, discards).await,
                Err(refusal) => {
                    if !announced {
                        drop(lease.cancel().await);
                    }
                    Err(refusal.into())
                }
            };
            if finished.is_err() && !announced && !has_key {
                drop(self.uploads.remove(&id).await);
            }
            return finished;
        }
        let mut headers = resumable.headers(exchange, lease.upload());
        headers.extend(resumable.url(exchange.parts, &id).map(|url| (LOCATION, url)));
        headers.insert(UPLOAD_COMPLETE, from_bool(false));
        Ok(Reply::Answer(empty(StatusCode::CREATED, headers)))
    }

    /// Answers a request that has begun the upload before. The client goes on from where it stands.
    async fn repeat<B: Payload>(
        &self,
        described: &Described<'_>,
        upload: &Upload,
        content: &Content,
        body: &mut Incoming<B>,
    ) -> Result<Reply, Problem> {
        self.exchange.seen.names(&upload.id);
        let most = described.total().or(self.limit).unwrap_or(u64::MAX);
        body.skip(most).await?.ok_or(ErrorKind::TooLong { total: most })?;
        let upload = end_repeated(&self.uploads, upload).await?;
        self.exchange.stands(&upload);
        let is_complete = upload.status() == Status::Complete;
        if described.complete && upload.total() == Some(0) && !is_complete {
            let digests = content.of_whole(body.trailers())?;
            return self.finish_empty(&upload, digests).await;
        }
        let mut headers = self.resumable.headers(self.exchange, &upload);
        let url = self.resumable.url(self.exchange.parts, &upload.id);
        headers.extend(url.map(|url| (LOCATION, url)));
        if let Some(kept) = self.exchange.settings.kept(&upload).filter(|_| described.complete) {
            return Ok(Reply::Answer(kept));
        }
        let status = if is_complete { StatusCode::OK } else { StatusCode::CREATED };
        Ok(Reply::Answer(empty(status, headers)))
    }

    /// Hands over an upload without bytes, since no offset tells the client that the application has
    /// not taken it.
    async fn finish_empty(&self, upload: &Upload, digests: Vec<Digest>) -> Result<Reply, Problem> {
        let Self { resumable, exchange, .. } = *self;
        let mut lease = self.uploads.acquire(&upload.id).await?;
        if resumable.hands_over_once {
            lease = lease.end_interrupted().await?;
        }
        finish(resumable, exchange, lease, digests, Discards::Refused).await
    }

    /// Tells the client where its upload is before the content comes. Then what has come is kept if
    /// the connection breaks; without that, nobody would find it.
    async fn announce(
        &self,
        append: Append,
        content: &Content,
        interim: Option<&Interim>,
    ) -> Result<Append, Problem> {
        let mut append = match interim {
            None => append,
            Some(interim) => {
                let lease = append.commit_and_keep().await?;
                let mut headers = HeaderMap::new();
                let url = self.resumable.url(self.exchange.parts, &lease.upload().id);
                headers.extend(url.map(|url| (LOCATION, url)));
                let limits = self.resumable.limits(self.limit, lease.upload().expires());
                headers.insert(UPLOAD_LIMIT, limits);
                self.exchange.hand_out_token(lease.upload().identity(), &mut headers);
                interim.send(headers);
                lease.append(content.mode())
            }
        };
        append.set_limit(self.resumable.limit_at(0, self.limit));
        Ok(append)
    }
}

/// The algorithms of the digests of the whole that the client gives or wants.
fn digests(headers: &HeaderMap, given: Vec<Digest>) -> Vec<DigestAlgorithm> {
    let mut algorithms: Vec<_> = given.iter().map(Digest::algorithm).collect();
    algorithms.extend(wanted(headers));
    if announces_trailer(headers, &REPR_DIGEST) {
        // Which ones they are shows at the end.
        algorithms.extend(KNOWN.map(|(algorithm, _)| algorithm));
    }
    algorithms
}

/// What the head says of the content.
struct Described<'a> {
    complete: bool,
    length: Option<u64>,
    /// The number of bytes of this request, if it is known.
    size: Option<u64>,
    headers: &'a HeaderMap,
}

impl<'a> Described<'a> {
    fn read(headers: &'a HeaderMap, size: Option<u64>) -> Self {
        let complete = boolean(headers, &UPLOAD_COMPLETE).unwrap_or_default();
        Self { complete, length: integer(headers, &UPLOAD_LENGTH), size, headers }
    }

    /// The length of the whole, if it is known.
    fn total(&self) -> Option<u64> {
        self.length.or(self.size.filter(|_| self.complete))
    }

    fn check(&self, resumable: &Resumable, limit: Option<u64>) -> Result<(), Problem> {
        if let Some(limit) = limit.filter(|limit| self.total().max(self.size) > Some(*limit)) {
            return Err(ErrorKind::TooLarge { limit }.into());
        }
        resumable.check_size(self.size, self.complete)?;
        resumable.check_total(self.total())?;
        match (self.length, self.size) {
            (Some(length), Some(size)) if size > length || self.complete && size != length => {
                let detail = "Upload-Length is not the length of the content";
                Err(inconsistent(code::LENGTH_MISMATCH, detail).into())
            }
            _ => Ok(()),
        }
    }

    fn new_upload(&self, exchange: &Exchange<'_>) -> NewUpload {
        let new = NewUpload::new().total(self.total()).filename(self.filename());
        new.content_type(head::content_type(exchange.parts))
    }

    fn filename(&self) -> String {
        let disposition = self.headers.get(CONTENT_DISPOSITION);
        let disposition = disposition.and_then(|it| Disposition::of_request(it.as_bytes()));
        disposition.and_then(|it| it.filename).unwrap_or_default()
    }

    /// Asks the application whether it takes such content.
    async fn accept(
        &self,
        exchange: &Exchange<'_>,
        context: Context<'_>,
    ) -> Result<NewUpload, Problem> {
        let policy = &exchange.settings.policy;
        let (filename, content_type) = (self.filename(), head::content_type(exchange.parts));
        let candidate = Candidate {
            context,
            raw_filename: &filename,
            content_type: content_type.as_deref(),
            total: self.total(),
            offset: 0,
            fields: &[],
            upload: None,
        };
        exchange.ask(policy.validate(&candidate)).await?;
        let attributes = exchange.ask(policy.attributes(&candidate)).await?;
        Ok(self.new_upload(exchange).attributes(attributes))
    }
}
