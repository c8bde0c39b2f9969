//! Receiving a chunk.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_DISPOSITION;
use http::request::Parts;

use super::answer::{Answer, bad_headers, coded, no_file, status_body, wrong_size};
use super::config::Chunked;
use super::content_range::ContentRange;
use super::disposition::Disposition;
use super::form::{Boundary, FormError, FormEvent, FormLimits, FormReader, plain_media_type};
use super::query::{self, set_once};
use crate::engine::{Append, AppendMode, ErrorKind, NewUpload, OwnerUploads};
use crate::filename;
use crate::id::UploadId;
use crate::policy::{Action, Answering, Candidate, Context, Refusal};
use crate::protocol::{Exchange, Incoming, Payload, Problem, headers};
use crate::upload::Upload;

pub(super) async fn receive<B: Payload>(
    chunked: &Chunked,
    exchange: &Exchange<'_>,
    body: &mut Incoming<B>,
) -> Result<Answer, Problem> {
    let id = query::id(exchange.parts);
    let context = exchange.context(Action::Append, id.as_ref());
    let uploads = exchange.authorize(&context).await?;
    let limit = exchange.limit(context, exchange.settings.uploads.max_bytes()).await?;
    let range = read_range(chunked, exchange.parts)?;
    let request = Request { chunked, exchange, context, uploads, limit, range };
    // An upload that exists may have a limit of its own.
    if request.start() == 0 && !query::has_id(exchange.parts) {
        request.check_total(limit)?;
    }
    let upload = match shape(exchange.parts)? {
        Shape::Form(boundary) => request.receive_form(boundary, body).await?,
        Shape::Raw(file) => request.receive_raw(file, body).await?,
    };
    let mut content = status_body(&upload);
    let context = exchange.context(Action::Append, Some(&upload.id));
    let mut answer = Answering { context, upload: &upload, content: &mut content };
    exchange.tell(exchange.settings.policy.respond(&mut answer)).await;
    Ok(Answer::ok(content).with_range(upload.offset()))
}

/// A chunk request, as far as its headers tell.
struct Request<'a> {
    chunked: &'a Chunked,
    exchange: &'a Exchange<'a>,
    context: Context<'a>,
    uploads: OwnerUploads,
    limit: Option<u64>,
    range: Option<ContentRange>,
}

/// What is said of the file beside its bytes.
struct File {
    name: String,
    content_type: Option<String>,
}

enum Shape {
    Form(Boundary),
    Raw(File),
}

/// Where the bytes of a file go, as far as that is known when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// To the upload that the request has named.
    Existing,
    /// To a new upload, unless an id comes after the file.
    New,
    /// To the upload whose id is still to come, since only a later chunk starts there.
    Unknown,
}

impl Request<'_> {
    /// `multipart/form-data`, its parts in any order.
    async fn receive_form<B: Payload>(
        &self,
        boundary: Boundary,
        body: &mut Incoming<B>,
    ) -> Result<Upload, Problem> {
        let limits = self.chunked.form_limits;
        self.check_size(body.exact_size(), overhead(&limits), self.limit_so_far())?;
        let mut form = FormReader::new(&boundary, Arc::clone(&self.chunked.field), limits);
        let mut id = None;
        let mut fields = Vec::new();
        let mut receiver: Option<Receiver> = None;
        loop {
            match form.next()? {
                FormEvent::NeedData => {
                    let append = receiver.as_mut().map(|receiver| &mut receiver.append);
                    match body.next(append).await? {
                        Some(data) => form.feed(data),
                        None => return Err(FormError::Truncated.into()),
                    }
                }
                FormEvent::Field { name, value } if name == "upload_id" => {
                    set_once(&mut id, &value, "upload_id")?;
                }
                FormEvent::Field { name, value } => fields.push((name, value)),
                FormEvent::File { filename, content_type } => {
                    let file = File { name: filename, content_type };
                    receiver =
                        Some(Box::pin(self.begin(id.as_deref(), file, &fields, None)).await?);
                }
                FormEvent::Data(bytes) => match &mut receiver {
                    Some(receiver) => receiver.take(bytes, self.range.as_ref()).await?,
                    None => return Err(no_file().into()),
                },
                FormEvent::FileEnd => {}
                FormEvent::End => break,
            }
        }
        let mut receiver = receiver.ok_or_else(no_file)?;
        if !body.read_out(limits.ignored_bytes, &mut receiver.append).await? {
            return Err(FormError::TooMuchIgnored.into());
        }
        // It is the largest part of the future, and the shortest of its life.
        Box::pin(self.end(receiver, id.as_deref(), fields)).await
    }

    /// The chunk and nothing else, with the id in the query.
    async fn receive_raw<B: Payload>(
        &self,
        file: File,
        body: &mut Incoming<B>,
    ) -> Result<Upload, Problem> {
        let (id, fields) = query::read(self.exchange.parts)?;
        if id.is_none() {
            self.check_start()?;
        }
        let begin = self.begin(id.as_deref(), file, &fields, body.exact_size());
        let mut receiver = Box::pin(begin).await?;
        while let Some(bytes) = body.next(Some(&mut receiver.append)).await? {
            receiver.take(bytes, self.range.as_ref()).await?;
        }
        if self.range.is_none() {
            body.check_end()?;
        }
        // It is the largest part of the future, and the shortest of its life.
        Box::pin(self.end(receiver, id.as_deref(), fields)).await
    }

    /// The limit as long as it is not known where the chunk belongs. That of a later one comes with its id.
    fn limit_so_far(&self) -> Option<u64> {
        match self.start() {
            0 => self.limit,
            _ => self.exchange.settings.uploads.within_reach(None),
        }
    }

    /// Refuses a file whose range says that it is larger than is taken.
    fn check_total(&self, limit: Option<u64>) -> Result<(), Problem> {
        match (&self.range, limit) {
            (Some(range), Some(limit)) if range.total > limit => {
                Err(ErrorKind::TooLarge { limit }.into())
            }
            _ => Ok(()),
        }
    }

    /// Refuses a body that, with this much beside the chunk at most, has more of a file than is taken,
    /// or not as much as its range says.
    fn check_size(
        &self,
        size: Option<u64>,
        overhead: u64,
        limit: Option<u64>,
    ) -> Result<(), Problem> {
        let Some(size) = size else { return Ok(()) };
        let least = size.saturating_sub(overhead);
        match (limit, &self.range) {
            (Some(limit), None) if least > limit => Err(ErrorKind::TooLarge { limit }.into()),
            (_, Some(range)) if least > range.len() || size < range.len() => {
                Err(wrong_size().into())
            }
            _ => Ok(()),
        }
    }

    /// The file begins: finds out what it belongs to, as far as that is known.
    async fn begin(
        &self,
        id: Option<&str>,
        file: File,
        fields: &[(String, String)],
        size: Option<u64>,
    ) -> Result<Receiver, Problem> {
        let target = match (id, self.start()) {
            (Some(_), _) => Target::Existing,
            (None, 0) => Target::New,
            (None, _) => Target::Unknown,
        };
        if target != Target::Existing {
            self.check_size(size, 0, self.limit_so_far())?;
            self.check_total(self.limit_so_far())?;
        }
        let append = match (target, id) {
            (Target::Existing, Some(id)) => self.resume(id, &file, fields, size).await?,
            (Target::Unknown, _) => self.uploads.stage().await?,
            _ => self.create(&file, fields).await?,
        };
        Ok(Receiver { append, file, received: 0, target })
    }

    /// Begins an upload, if the application wants it.
    async fn create(&self, file: &File, fields: &[(String, String)]) -> Result<Append, Problem> {
        let policy = &self.exchange.settings.policy;
        let candidate = self.candidate(self.context, file, fields, None);
        self.exchange.ask(policy.validate(&candidate)).await?;
        let attributes = self.exchange.ask(policy.attributes(&candidate)).await?;
        let new = NewUpload::new()
            .filename(&*file.name)
            .content_type(file.content_type.clone())
            .attributes(attributes)
            .total(candidate.total)
            .limit(self.limit);
        Ok(self.uploads.create(new).await?)
    }

    /// Takes up an upload that exists, if the chunk fits it.
    async fn resume(
        &self,
        id: &str,
        file: &File,
        fields: &[(String, String)],
        size: Option<u64>,
    ) -> Result<Append, Problem> {
        let id: UploadId = id.parse().map_err(|_| ErrorKind::NotFound)?;
        let check = |upload| self.check_resumed(upload, file, fields, size);
        let (lease, limit) = self.uploads.acquire_if(&id, check).await?;
        let mut append = lease.append(AppendMode::AllOrNothing);
        append.set_limit(limit);
        if let Some(range) = &self.range {
            append.set_total(range.total).await?;
        }
        Ok(append)
    }

    /// Refuses a chunk that does not fit its upload, or that the application does not want; gives the
    /// limit of the file's size.
    async fn check_resumed(
        &self,
        upload: Upload,
        file: &File,
        fields: &[(String, String)],
        size: Option<u64>,
    ) -> Result<Option<u64>, Problem> {
        if upload.offset() != self.start() {
            return Err(ErrorKind::OffsetMismatch { offset: upload.offset() }.into());
        }
        if let (Some(range), Some(total)) = (&self.range, upload.total())
            && range.total != total
        {
            return Err(ErrorKind::TotalMismatch { total }.into());
        }
        let context = Context { upload_id: Some(&upload.id), ..self.context };
        let limit = match upload.max_bytes {
            None => self.limit,
            own => self.exchange.limit(context, own).await?,
        };
        self.check_total(limit)?;
        self.check_size(size, 0, limit)?;
        let candidate = self.candidate(context, file, fields, Some(&upload));
        self.exchange.ask(self.exchange.settings.policy.validate(&candidate)).await?;
        Ok(limit)
    }

    /// The file has ended.
    async fn end(
        &self,
        receiver: Receiver,
        id: Option<&str>,
        fields: Vec<(String, String)>,
    ) -> Result<Upload, Problem> {
        let Receiver { mut append, file, received: size, target } = receiver;
        match (target, id) {
            // The id came after the file: the bytes, which have waited, join their upload.
            (Target::New | Target::Unknown, Some(id)) => {
                let staged = append;
                append = self.resume(id, &file, &fields, Some(size)).await?;
                append.take_from(staged).await?;
            }
            (Target::New | Target::Unknown, None) => {
                self.check_start()?;
                append.set_fields(fields);
            }
            (Target::Existing, _) => {}
        }
        // The append has minded the limit.
        self.check_size(Some(size), 0, None)?;
        if self.range.is_none() {
            append.set_total(append.position()).await?;
        }
        Ok(append.commit().await?)
    }

    /// Refuses a chunk that begins an upload anywhere but at its start, or a larger one than may be.
    fn check_start(&self) -> Result<(), Problem> {
        self.check_total(self.limit)?;
        match self.start() {
            0 => Ok(()),
            // No offset: a client that goes on from it would begin one upload after the other.
            _ if query::has_id(self.exchange.parts) => {
                Err(Refusal::new(StatusCode::BAD_REQUEST, ID_IN_QUERY).into())
            }
            _ => Err(ErrorKind::OffsetMismatch { offset: 0 }.into()),
        }
    }

    /// Without a range a chunk is the whole file, so it starts at its beginning.
    fn start(&self) -> u64 {
        self.range.as_ref().map_or(0, |range| range.start)
    }

    fn candidate<'a>(
        &self,
        context: Context<'a>,
        file: &'a File,
        fields: &'a [(String, String)],
        upload: Option<&'a Upload>,
    ) -> Candidate<'a> {
        Candidate {
            context,
            raw_filename: &file.name,
            content_type: file.content_type.as_deref(),
            total: self.range.as_ref().map(|range| range.total),
            offset: self.start(),
            fields,
            upload,
        }
    }
}

/// A file that is being received.
struct Receiver {
    append: Append,
    file: File,
    /// How many of its bytes have come.
    received: u64,
    target: Target,
}

impl Receiver {
    async fn take(&mut self, bytes: Bytes, range: Option<&ContentRange>) -> Result<(), Problem> {
        self.received += bytes.len() as u64;
        if range.is_some_and(|range| self.received > range.len()) {
            return Err(wrong_size().into());
        }
        Ok(self.append.write(bytes).await?)
    }
}

fn read_range(chunked: &Chunked, parts: &Parts) -> Result<Option<ContentRange>, Refusal> {
    match headers::single(&parts.headers, &chunked.range_header).map_err(|_| bad_headers())? {
        None if chunked.range_required => Err(bad_headers()),
        None => Ok(None),
        // A range that cannot be read must not turn a piece into a whole file.
        Some(value) => ContentRange::parse(value.as_bytes()).map(Some).ok_or_else(bad_headers),
    }
}

fn shape(parts: &Parts) -> Result<Shape, Refusal> {
    let media_type = headers::media_type(&parts.headers).map_err(|_| bad_headers())?;
    if let Some(media_type) = media_type {
        match Boundary::from_content_type(media_type.as_bytes()) {
            Ok(boundary) => return Ok(Shape::Form(boundary)),
            Err(FormError::NotForm) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if !headers::is_plain(&parts.headers) {
        return Err(coded());
    }
    let disposition = headers::single(&parts.headers, &CONTENT_DISPOSITION);
    let disposition = disposition.map_err(|_| bad_headers())?.ok_or_else(no_file)?;
    let disposition = Disposition::of_request(disposition.as_bytes()).ok_or_else(no_file)?;
    let name = disposition.filename.filter(|name| filename::safe(name).is_some());
    let name = name.ok_or_else(no_file)?;
    let content_type = media_type.and_then(|value| plain_media_type(value.as_bytes()));
    Ok(Shape::Raw(File { name, content_type }))
}

/// The most that a form can have beside its file.
fn overhead(limits: &FormLimits) -> u64 {
    let heads = limits.parts.saturating_mul(limits.part_header_bytes.saturating_add(MARK));
    let fields = limits.fields_bytes.saturating_add(heads).saturating_add(MARK);
    limits.ignored_bytes.saturating_add(u64::try_from(fields).unwrap_or(u64::MAX))
}

/// A raw body names its upload in the query, and a form in a field.
const ID_IN_QUERY: &str = "A form names its upload in the field 'upload_id', not in the query";
/// A delimiter with its line ends and padding.
const MARK: usize = 512;
