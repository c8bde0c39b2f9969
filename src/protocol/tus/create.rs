//! Creating an upload.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};

use super::answer::{bad, empty, insert, not_allowed, shown_offset, wrong_media_type};
use super::append::{Check, Ending, of_its_parts};
use super::concat::{self, Concat};
use super::config::Tus;
use super::headers::{
    UPLOAD_DEFER_LENGTH, UPLOAD_LENGTH, UPLOAD_METADATA, UPLOAD_OFFSET, has_bytes, number, value,
};
use super::metadata::Metadata;
use crate::code;
use crate::engine::{ErrorKind, NewUpload, OwnerUploads};
use crate::policy::{Action, Candidate, Context, Refusal};
use crate::protocol::{
    Beginning, Begun, Exchange, Incoming, Payload, Problem, Reply, begin, end_repeated,
    idempotency_key,
};
use crate::upload::{Kind, Status, Upload};

pub(super) async fn create<B: Payload>(
    tus: &Tus,
    exchange: &Exchange<'_>,
    body: &mut Incoming<B>,
) -> Result<Reply, Problem> {
    let parts = exchange.parts;
    if !tus.extensions.creation {
        return Err(not_allowed().into());
    }
    let context = exchange.context(Action::Append, None);
    let uploads = exchange.authorize(&context).await?;
    let concat = tus.concat(&parts.headers)?;
    let size = body.exact_size();
    let brings_bytes = size != Some(0);
    if let Some(Concat::Final(urls)) = &concat {
        if brings_bytes {
            return Err(of_its_parts(StatusCode::BAD_REQUEST).into());
        }
        return concat::join(tus, exchange, context, &uploads, urls).await;
    }
    let limit = exchange.limit(context, exchange.settings.uploads.max_bytes()).await?;
    let described = Described::read(tus, parts, length(tus, &parts.headers)?)?;
    if brings_bytes && !(tus.extensions.creation_with_upload && has_bytes(&parts.headers)) {
        return Err(wrong_media_type().into());
    }
    let check = Check::announced(tus, &parts.headers)?;
    check_size(described.total, size, limit)?;
    let is_part = concat.is_some();
    let key = idempotency_key(&parts.headers)?;
    let new = described.new_upload(is_part).idempotency_key(key.clone());
    if let Some(upload) = uploads.created_before(&new).await? {
        return repeat(tus, exchange, &uploads, &upload, limit, body).await;
    }
    let new = match is_part {
        // The application decides on the file that is joined from them.
        true => new,
        false => described.accept(exchange, context).await?.idempotency_key(key),
    };
    let mut append = match begin(&uploads, new.limit(limit)).await? {
        Begun::New(append) => *append,
        Begun::Before(upload) => {
            return repeat(tus, exchange, &uploads, &upload, limit, body).await;
        }
    };
    exchange.seen.names(&append.upload().id);
    let mut first = match append.upload().kind {
        Kind::Part => Beginning::unseen(exchange, &uploads, context),
        _ => Beginning::of(exchange, &uploads, context, append.upload()).await?,
    };
    check.receive(body, &mut append, &mut first).await?;
    body.check_truncation()?;
    let lease = append.commit_and_keep().await?;
    let upload = lease.upload();
    exchange.stands(upload);
    let mut headers = HeaderMap::new();
    insert(&mut headers, http::header::LOCATION, tus.location(parts, &upload.id));
    if upload.total() == Some(upload.offset()) && upload.kind != Kind::Part {
        return created_whole(headers, upload).finish(tus, lease).await;
    }
    tus.insert_expires(&mut headers, upload);
    if brings_bytes {
        insert(&mut headers, UPLOAD_OFFSET, upload.offset());
    }
    Ok(Reply::Answer(empty(StatusCode::CREATED, headers)))
}

/// What follows a creation that has brought all bytes.
fn created_whole(headers: HeaderMap, upload: &Upload) -> Ending {
    let discards = upload.offset() == 0;
    Ending { status: StatusCode::CREATED, headers, discards, ..Ending::default() }
}

/// Answers a request that has created the upload before. The bytes that it brings are there already,
/// or the client sends them when it has read where the upload stands.
async fn repeat<B: Payload>(
    tus: &Tus,
    exchange: &Exchange<'_>,
    uploads: &OwnerUploads,
    upload: &Upload,
    limit: Option<u64>,
    body: &mut Incoming<B>,
) -> Result<Reply, Problem> {
    exchange.seen.names(&upload.id);
    let most = upload.total().or(limit).unwrap_or(u64::MAX);
    let size = body.skip(most).await?.ok_or(ErrorKind::TooLong { total: most })?;
    let upload = end_repeated(uploads, upload).await?;
    exchange.stands(&upload);
    if let Some(kept) = exchange.settings.kept(&upload).filter(creates) {
        return Ok(Reply::Answer(kept));
    }
    let mut headers = HeaderMap::new();
    insert(&mut headers, http::header::LOCATION, tus.location(exchange.parts, &upload.id));
    // No offset tells the client that the application has not taken a file without bytes.
    let is_empty = upload.total() == Some(0) && upload.kind != Kind::Part;
    if is_empty && upload.status() != Status::Complete {
        match uploads.acquire(&upload.id).await {
            Err(error) if *error.kind() == ErrorKind::AlreadyComplete => {}
            lease => return created_whole(headers, &upload).finish(tus, lease?).await,
        }
    }
    tus.insert_expires(&mut headers, &upload);
    if size > 0 {
        insert(&mut headers, UPLOAD_OFFSET, shown_offset(&upload));
    }
    Ok(Reply::Answer(empty(StatusCode::CREATED, headers)))
}

/// Whether an answer is one to a request that creates an upload.
pub(super) fn creates(answer: &Response<Bytes>) -> bool {
    answer.status() == StatusCode::CREATED
}

/// What the headers say of the file.
pub(super) struct Described {
    total: Option<u64>,
    /// As the client sent it.
    raw: Option<String>,
    metadata: Metadata,
}

impl Described {
    pub(super) fn read(tus: &Tus, parts: &Parts, total: Option<u64>) -> Result<Self, Refusal> {
        let raw = value(&parts.headers, &UPLOAD_METADATA)?;
        if raw.is_some_and(|raw| raw.len() > tus.metadata_bytes) {
            let detail = format!("Upload-Metadata has more than {} bytes", tus.metadata_bytes);
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Err(Refusal::coded(code::HEADERS_TOO_LARGE, status, detail));
        }
        let metadata = Metadata::parse(raw.map_or(b"", |raw| raw.as_bytes()));
        let metadata = metadata.map_err(|error| bad(code::MALFORMED_METADATA, error.detail()))?;
        let raw = raw.and_then(|raw| raw.to_str().ok()).filter(|raw| !raw.is_empty());
        Ok(Self { total, raw: raw.map(str::to_owned), metadata })
    }

    /// Asks the application whether it takes such a file.
    pub(super) async fn accept(
        &self,
        exchange: &Exchange<'_>,
        context: Context<'_>,
    ) -> Result<NewUpload, Problem> {
        let (policy, fields) = (&exchange.settings.policy, self.metadata.fields());
        let candidate = Candidate {
            context,
            raw_filename: self.filename(),
            content_type: self.content_type(),
            total: self.total,
            offset: 0,
            fields: &fields,
            upload: None,
        };
        exchange.ask(policy.validate(&candidate)).await?;
        let attributes = exchange.ask(policy.attributes(&candidate)).await?;
        Ok(self.new_upload(false).attributes(attributes))
    }

    fn new_upload(&self, is_part: bool) -> NewUpload {
        let new = if is_part { NewUpload::new().part() } else { NewUpload::new() };
        new.filename(self.filename())
            .content_type(self.content_type().map(str::to_owned))
            .metadata(self.raw.clone())
            .total(self.total)
            .fields(self.metadata.fields())
    }

    fn filename(&self) -> &str {
        self.metadata.text(&["filename", "name"]).unwrap_or_default()
    }

    fn content_type(&self) -> Option<&str> {
        self.metadata.text(&["filetype", "type"])
    }
}

/// Returns the announced length; `None` if it will be known later.
fn length(tus: &Tus, headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let length = number(headers, &UPLOAD_LENGTH)?;
    match (length, value(headers, &UPLOAD_DEFER_LENGTH)?) {
        (Some(length), None) => Ok(Some(length)),
        (None, Some(_)) if !tus.extensions.creation_defer_length => {
            Err(bad(code::NOT_OFFERED, "Upload-Defer-Length is not offered"))
        }
        (None, Some(defers)) if defers == "1" => Ok(None),
        (None, Some(_)) => Err(bad(code::MALFORMED_HEADER, "Upload-Defer-Length is not 1")),
        (Some(_), Some(_)) => Err(bad(
            code::CONTRADICTORY_HEADERS,
            "Upload-Length and Upload-Defer-Length exclude each other",
        )),
        (None, None) => Err(bad(code::MISSING_HEADER, "Upload-Length is required")),
    }
}

/// Refuses a file that is too large, and a body that is longer than its file.
fn check_size(total: Option<u64>, size: Option<u64>, limit: Option<u64>) -> Result<(), ErrorKind> {
    let largest = total.max(size);
    match (limit, total, size) {
        (Some(limit), ..) if largest > Some(limit) => Err(ErrorKind::TooLarge { limit }),
        (_, Some(total), Some(size)) if size > total => Err(ErrorKind::TooLong { total }),
        _ => Ok(()),
    }
}
