//! The request that begins an upload.

use http::header::CONTENT_DISPOSITION;
use http::{HeaderMap, StatusCode};

use super::answer::{empty, inconsistent, wrong_digest};
use super::append::{Content, finish};
use super::config::Resumable;
use super::fields::{
    REPR_DIGEST, UPLOAD_COMPLETE, UPLOAD_LENGTH, boolean, digests, from_bool, integer,
};
use super::head;
use crate::engine::{ErrorKind, NewUpload};
use crate::policy::{Action, Candidate, Context, Refusal};
use crate::protocol::disposition::Disposition;
use crate::protocol::{Exchange, Incoming, Payload, Problem, Reply};

pub(super) async fn create<B: Payload>(
    resumable: &Resumable,
    exchange: &Exchange<'_>,
    body: &mut Incoming<B>,
) -> Result<Reply, Problem> {
    let request = exchange.parts;
    let context = exchange.context(Action::Append, None);
    let uploads = exchange.authorize(&context).await?;
    let limit = exchange.limit(context, exchange.settings.uploads.max_bytes()).await?;
    let described = Described::read(&request.headers, body.exact_size());
    if let Err(problem) = described.check(resumable, limit) {
        let refusal = super::answer::refusal(problem);
        return Err(refusal
            .header(super::fields::UPLOAD_LIMIT, resumable.limits(limit, None))
            .into());
    }
    if !resumable.can_keep(request) {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Refusal::new(status, "The headers of the request cannot be kept").into());
    }
    let content = Content::read(&request.headers, described.complete)?;
    digests(&request.headers, &REPR_DIGEST).map_err(|_| wrong_digest())?;
    let new = described.accept(exchange, context).await?;
    let new = new.head(head::of(resumable, request)).limit(limit);
    let mut append = uploads.create(new).await?;
    content.receive(body, &mut append).await?;
    body.check_truncation()?;
    let lease = append.commit_and_keep().await?;
    if described.complete {
        return finish(resumable, exchange, lease).await;
    }
    let mut headers = resumable.headers(exchange, lease.upload());
    resumable.insert_location(&mut headers, &lease.upload().id);
    headers.insert(UPLOAD_COMPLETE, from_bool(false));
    Ok(Reply::Answer(empty(StatusCode::CREATED, headers)))
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
        if let Some(limit) = resumable.max_append_bytes.filter(|most| self.size > Some(*most)) {
            return Err(ErrorKind::TooLarge { limit }.into());
        }
        match (self.length, self.size) {
            (Some(length), Some(size)) if size > length || self.complete && size != length => {
                Err(inconsistent("Upload-Length is not the length of the content").into())
            }
            _ => Ok(()),
        }
    }

    /// Asks the application whether it takes such content.
    async fn accept(
        &self,
        exchange: &Exchange<'_>,
        context: Context<'_>,
    ) -> Result<NewUpload, Problem> {
        let policy = &exchange.settings.policy;
        let disposition = self.headers.get(CONTENT_DISPOSITION);
        let disposition = disposition.and_then(|it| Disposition::of_request(it.as_bytes()));
        let filename = disposition.and_then(|it| it.filename).unwrap_or_default();
        let content_type = head::content_type(exchange.parts);
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
        let new = NewUpload::new().attributes(attributes).total(self.total());
        Ok(new.filename(filename).content_type(content_type))
    }
}
