//! Receiving a chunk.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::CONTENT_DISPOSITION;
use http::request::Parts;

use super::answer::{Answer, bad, bad_headers, encoded_body, no_file, status_body, wrong_size};
use super::config::Chunked;
use super::content_range::ContentRange;
use super::form::{Boundary, FormError, FormEvent, FormLimits, FormReader, plain_media_type};
use super::query::{self, Query, set_once};
use crate::code;
use crate::engine::{Append, AppendMode, ErrorKind, NewUpload, OwnerUploads};
use crate::filename;
use crate::id::UploadId;
use crate::policy::{Action, Candidate, Context, Refusal, ResponseContent};
use crate::protocol::disposition::Disposition;
use crate::protocol::{
    Beginning, Begun, Exchange, Incoming, Payload, Problem, begin, headers, idempotency_key,
};
use crate::upload::{Identity, Upload};

pub(super) async fn receive<B: Payload>(
    chunked: &Chunked,
    exchange: &Exchange<'_>,
    body: &mut Incoming<B>,
) -> Result<Answer, Problem> {
    let kind = body_kind(exchange.parts);
    // A form names its upload in a field.
    let query = match &kind {
        Ok(BodyKind::Raw(_)) => query::read(exchange.parts),
        _ => Ok(Query::default()),
    };
    let id = query::id(&query);
    let mut context = exchange.context(Action::Append, id.as_ref());
    let uploads = match (&kind, &id) {
        (Ok(BodyKind::Form(_)), _) => exchange.admit_unnamed(&mut context).await?,
        (_, Some(_)) => exchange.admit(&mut context).await?,
        // It begins an upload, for which there is no token.
        _ => exchange.authorize(&context).await?,
    };
    let by = Authorized::new(exchange, context, uploads).await?;
    let limit = by.limit;
    let range = read_range(chunked, exchange.parts)?;
    let request = Request { chunked, exchange, by, instead: OnceLock::new(), range };
    // An existing upload may have its own limit.
    if request.start() == 0 && !query::has_id(exchange.parts) {
        request.check_total(limit)?;
    }
    let upload = match kind? {
        BodyKind::Form(boundary) => request.receive_form(boundary, body).await?,
        BodyKind::Raw(file) => request.receive_raw(file, query?, body).await?,
    };
    exchange.stands(&upload);
    let mut content = status_body(&upload);
    let context = exchange.context(Action::Append, Some(&upload.id));
    let mut answer = ResponseContent { context, upload: &upload, content: &mut content };
    exchange.tell(exchange.settings.policy.respond(&mut answer)).await;
    Ok(Answer::ok(content).with_range(upload.offset()))
}

/// A chunk request, as described by its headers.
struct Request<'a> {
    chunked: &'a Chunked,
    exchange: &'a Exchange<'a>,
    by: Authorized<'a>,
    /// Takes its place if a form is not for the upload of its token.
    instead: OnceLock<Authorized<'a>>,
    range: Option<ContentRange>,
}

/// Whose request it is, and how large their files may be.
struct Authorized<'a> {
    context: Context<'a>,
    uploads: OwnerUploads,
    limit: Option<u64>,
}

impl<'a> Authorized<'a> {
    async fn new(
        exchange: &'a Exchange<'_>,
        context: Context<'a>,
        uploads: OwnerUploads,
    ) -> Result<Self, Problem> {
        let limit = exchange.limit(context, exchange.settings.uploads.max_bytes()).await?;
        Ok(Self { context, uploads: uploads.order_tolerance(ORDER_TOLERANCE), limit })
    }
}

/// What the request says about the file.
struct File {
    name: String,
    content_type: Option<String>,
}

/// The upload that a chunk goes on with.
#[derive(Clone, Copy)]
enum Expected {
    /// It has so many bytes.
    At(u64),
    /// It is the one that was there before, however many it has by now.
    Same(Identity),
}

enum BodyKind {
    Form(Boundary),
    Raw(File),
}

impl<'a> Request<'a> {
    fn by(&self) -> &Authorized<'a> {
        self.instead.get().unwrap_or(&self.by)
    }

    /// Authorizes the caller after all, if a form that a token has admitted turns out to be for
    /// another upload, or to begin one.
    async fn decide(&self, id: Option<&str>) -> Result<(), Problem> {
        let exchange = self.exchange;
        let named = id.and_then(|id| id.parse().ok());
        if exchange.is_for_another(named.as_ref()) {
            let mut context = self.by.context;
            let uploads = exchange.authorize_instead(&mut context, named.as_ref()).await?;
            let instead = Authorized::new(exchange, context, uploads).await?;
            drop(self.instead.set(instead));
        } else if let (Some(named), None) = (&named, self.by.context.upload_id) {
            exchange.confirm(named, &self.by().uploads);
        }
        Ok(())
    }

    /// Receives `multipart/form-data` with its parts in any order.
    async fn receive_form<B: Payload>(
        &self,
        boundary: Boundary,
        body: &mut Incoming<B>,
    ) -> Result<Upload, Problem> {
        let limits = self.chunked.form_limits;
        self.check_size(body.exact_size(), overhead(&limits), self.provisional_limit())?;
        let field = Arc::clone(&self.chunked.field);
        let mut form = FormReader::new(&boundary, Some(field), limits);
        let mut id = None;
        let mut fields = Vec::new();
        let mut receiver: Option<Receiver<'_>> = None;
        loop {
            match form.next()? {
                FormEvent::NeedData => {
                    let append = receiver.as_mut().and_then(Receiver::append);
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
                FormEvent::End => break,
            }
        }
        let mut receiver = receiver.ok_or_else(no_file)?;
        if !body.discard_rest(limits.ignored_bytes, receiver.append()).await? {
            return Err(FormError::TooMuchIgnored.into());
        }
        // Boxed because it is the largest part of the future, but only needed at the end.
        Box::pin(self.end(receiver, id.as_deref(), fields)).await
    }

    /// Receives a raw chunk, with the id in the query.
    async fn receive_raw<B: Payload>(
        &self,
        file: File,
        (id, fields): Query,
        body: &mut Incoming<B>,
    ) -> Result<Upload, Problem> {
        if id.is_none() {
            self.check_start()?;
        }
        let begin = self.begin(id.as_deref(), file, &fields, body.exact_size());
        let mut receiver = Box::pin(begin).await?;
        while let Some(bytes) = body.next(receiver.append()).await? {
            receiver.take(bytes, self.range.as_ref()).await?;
        }
        if self.range.is_none() {
            body.check_truncation()?;
        }
        // Boxed because it is the largest part of the future, but only needed at the end.
        Box::pin(self.end(receiver, id.as_deref(), fields)).await
    }

    /// The size limit while the upload is not known. A later chunk is checked against its upload's
    /// limit when the id arrives.
    fn provisional_limit(&self) -> Option<u64> {
        match self.start() {
            0 => self.by().limit,
            _ => self.exchange.settings.uploads.within_reach(None),
        }
    }

    fn expected(&self) -> Expected {
        Expected::At(self.start())
    }

    /// Refuses a file whose range announces more bytes than the limit.
    fn check_total(&self, limit: Option<u64>) -> Result<(), Problem> {
        match (&self.range, limit) {
            (Some(range), Some(limit)) if range.total > limit => {
                Err(ErrorKind::TooLarge { limit }.into())
            }
            _ => Ok(()),
        }
    }

    /// Refuses a body whose size exceeds the limit or does not match its range, if up to `overhead`
    /// of its bytes are not the file's.
    fn check_size(
        &self,
        size: Option<u64>,
        overhead: u64,
        limit: Option<u64>,
    ) -> Result<(), Problem> {
        let Some(size) = size else { return Ok(()) };
        let min_bytes = size.saturating_sub(overhead);
        match (limit, &self.range) {
            (Some(limit), None) if min_bytes > limit => Err(ErrorKind::TooLarge { limit }.into()),
            (_, Some(range)) if min_bytes > range.len() || size < range.len() => {
                Err(wrong_size(code::LENGTH_MISMATCH).into())
            }
            _ => Ok(()),
        }
    }

    /// Handles the start of the file: determines the upload that it belongs to, as far as that is
    /// known.
    async fn begin(
        &self,
        id: Option<&str>,
        file: File,
        fields: &[(String, String)],
        size: Option<u64>,
    ) -> Result<Receiver<'_>, Problem> {
        if id.is_none() {
            self.check_size(size, 0, self.provisional_limit())?;
            self.check_total(self.provisional_limit())?;
        }
        if id.is_some() || self.start() == 0 {
            self.decide(id).await?;
        }
        let target = match (id, self.start()) {
            (Some(id), _) => {
                let append = self.resume(id, &file, fields, size, self.expected()).await?;
                Target::Resumed(Box::new(append))
            }
            // A new upload, unless an id follows the file.
            (None, 0) => self.create(&file, fields, size).await?,
            // An upload whose id must follow the file.
            (None, _) => Target::Begun(Box::new(self.by().uploads.stage().await?)),
        };
        let first = match (&target, id) {
            (Target::There(_), _) => {
                Beginning::unseen(self.exchange, &self.by().uploads, self.by().context)
            }
            (Target::Begun(_), None) if self.start() > 0 => {
                let at = self.start();
                Beginning::staged(self.exchange, &self.by().uploads, self.by().context, at)
            }
            (
                Target::Resumed(append) | Target::Begun(append) | Target::Repeated { append, .. },
                _,
            ) => {
                let upload = append.upload();
                Beginning::of(self.exchange, &self.by().uploads, self.by().context, upload).await?
            }
        };
        Ok(Receiver { target, first, file, received: 0 })
    }

    /// Starts an upload if the application accepts it, or goes on with the one that the same request
    /// has started before.
    async fn create(
        &self,
        file: &File,
        fields: &[(String, String)],
        size: Option<u64>,
    ) -> Result<Target, Problem> {
        let new = NewUpload::new()
            .filename(&*file.name)
            .content_type(file.content_type.clone())
            .total(self.range.as_ref().map(|range| range.total))
            .idempotency_key(idempotency_key(&self.exchange.parts.headers)?);
        if let Some(upload) = self.by().uploads.created_before(&new).await? {
            return self.repeat(upload, file, fields, size).await;
        }
        let policy = &self.exchange.settings.policy;
        let candidate = self.candidate(self.by().context, file, fields, None);
        self.exchange.ask(policy.validate(&candidate)).await?;
        let attributes = self.exchange.ask(policy.attributes(&candidate)).await?;
        let new = new.attributes(attributes).limit(self.by().limit);
        match begin(&self.by().uploads, new).await? {
            Begun::New(append) => {
                self.exchange.seen.names(&append.upload().id);
                Ok(Target::Begun(append))
            }
            Begun::Before(upload) => self.repeat(*upload, file, fields, size).await,
        }
    }

    /// Goes on with the upload that the same request has started before: what is there already is
    /// passed over.
    async fn repeat(
        &self,
        upload: Upload,
        file: &File,
        fields: &[(String, String)],
        size: Option<u64>,
    ) -> Result<Target, Problem> {
        self.exchange.seen.names(&upload.id);
        let end = self.range.as_ref().map_or(size, |range| Some(range.len()));
        let lacks = upload.total() != Some(upload.offset());
        if !lacks || end.is_some_and(|end| end <= upload.offset()) {
            return Ok(Target::There(Box::new(upload)));
        }
        let same = Expected::Same(upload.identity());
        let append = self.resume(upload.id.as_str(), file, fields, size, same).await?;
        let there = append.position();
        Ok(Target::Repeated { append: Box::new(append), there })
    }

    /// Continues an existing upload if the chunk fits it.
    async fn resume(
        &self,
        id: &str,
        file: &File,
        fields: &[(String, String)],
        size: Option<u64>,
        expected: Expected,
    ) -> Result<Append, Problem> {
        let id: UploadId = id.parse().map_err(|_| ErrorKind::NotFound)?;
        self.exchange.seen.names(&id);
        let check = |upload| self.check_resumed(upload, file, fields, size, expected);
        let (lease, limit) = self.by().uploads.acquire_if(&id, check).await?;
        let mut append = lease.append(AppendMode::AllOrNothing);
        append.set_limit(limit);
        if let Some(range) = &self.range {
            append.set_total(range.total).await?;
        }
        Ok(append)
    }

    /// Refuses a chunk that does not fit its upload or that the application does not accept.
    /// Returns the limit of the file's size.
    async fn check_resumed(
        &self,
        upload: Upload,
        file: &File,
        fields: &[(String, String)],
        size: Option<u64>,
        expected: Expected,
    ) -> Result<Option<u64>, Problem> {
        match expected {
            Expected::At(at) if at != upload.offset() => {
                return Err(ErrorKind::OffsetMismatch { offset: upload.offset() }.into());
            }
            Expected::Same(before) if before != upload.identity() => {
                return Err(ErrorKind::KeyReused.into());
            }
            Expected::At(_) | Expected::Same(_) => {}
        }
        if let (Some(range), Some(total)) = (&self.range, upload.total())
            && range.total != total
        {
            return Err(ErrorKind::TotalMismatch { total }.into());
        }
        let context = Context { upload_id: Some(&upload.id), ..self.by().context };
        let limit = match upload.max_bytes {
            None => self.by().limit,
            own => self.exchange.limit(context, own).await?,
        };
        self.check_total(limit)?;
        self.check_size(size, 0, limit)?;
        let candidate = self.candidate(context, file, fields, Some(&upload));
        self.exchange.ask(self.exchange.settings.policy.validate(&candidate)).await?;
        Ok(limit)
    }

    /// Handles the end of the file.
    async fn end(
        &self,
        receiver: Receiver<'_>,
        id: Option<&str>,
        fields: Vec<(String, String)>,
    ) -> Result<Upload, Problem> {
        let Receiver { target, mut first, file, received: size } = receiver;
        let mut append = match (target, id) {
            (Target::Resumed(append), _) => append,
            // The id followed the file: the staged bytes are moved to their upload.
            (Target::Begun(mut staged), Some(id)) => {
                first.release(&mut staged).await?;
                self.decide(Some(id)).await?;
                let resumed = self.resume(id, &file, &fields, Some(size), self.expected());
                let mut append = Box::new(resumed.await?);
                let by = self.by();
                first.belongs_to(append.upload(), &by.uploads, by.context).await?;
                append.take_from(*staged).await?;
                append
            }
            (Target::Begun(mut append), None) => {
                self.check_start()?;
                append.set_fields(fields);
                append
            }
            (Target::Repeated { append, there }, id) => {
                check_repeated(append.upload(), id, &fields)?;
                // Without a range, they are the whole file.
                if self.range.is_none() && size < there {
                    return Err(ErrorKind::KeyReused.into());
                }
                append
            }
            (Target::There(upload), id) => {
                check_repeated(&upload, id, &fields)?;
                self.check_size(Some(size), 0, None)?;
                // Without a range, they are the whole file.
                let whole = self.range.is_some() || upload.total() == Some(size);
                return if whole { Ok(*upload) } else { Err(ErrorKind::KeyReused.into()) };
            }
        };
        // The append has already checked the limit.
        self.check_size(Some(size), 0, None)?;
        first.end(&mut append, self.range.is_none()).await?;
        if self.range.is_none() {
            append.set_total(append.position()).await?;
        }
        Ok(append.commit().await?)
    }

    /// Refuses a chunk that would start an upload at another offset than 0, or that exceeds the
    /// limit.
    fn check_start(&self) -> Result<(), Problem> {
        self.check_total(self.by().limit)?;
        match self.start() {
            0 => Ok(()),
            // Without an offset in the answer: a client that continues from it would start one
            // upload after another.
            _ if query::has_id(self.exchange.parts) => {
                Err(bad(code::ID_IN_QUERY, ID_IN_QUERY).into())
            }
            _ => Err(ErrorKind::OffsetMismatch { offset: 0 }.into()),
        }
    }

    /// Without a range, a chunk is the whole file and starts at offset 0.
    fn start(&self) -> u64 {
        self.range.as_ref().map_or(0, |range| range.start)
    }

    fn candidate<'c>(
        &self,
        context: Context<'c>,
        file: &'c File,
        fields: &'c [(String, String)],
        upload: Option<&'c Upload>,
    ) -> Candidate<'c> {
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
struct Receiver<'a> {
    target: Target,
    first: Beginning<'a>,
    file: File,
    /// How many of its bytes have arrived.
    received: u64,
}

/// What becomes of the bytes.
// Appends are behind pointers, since the future of a request has room for this more than once.
enum Target {
    /// They are added to the upload that the request has named before the file.
    Resumed(Box<Append>),
    /// They start an upload, unless its id follows.
    Begun(Box<Append>),
    /// An earlier request has started the upload with the first of them.
    Repeated {
        append: Box<Append>,
        /// How many.
        there: u64,
    },
    /// An earlier request has brought all of them.
    There(Box<Upload>),
}

impl Receiver<'_> {
    fn append(&mut self) -> Option<&mut Append> {
        match &mut self.target {
            Target::Resumed(append) | Target::Begun(append) | Target::Repeated { append, .. } => {
                Some(append)
            }
            Target::There(_) => None,
        }
    }

    async fn take(
        &mut self,
        mut bytes: Bytes,
        range: Option<&ContentRange>,
    ) -> Result<(), Problem> {
        let before = self.received;
        self.received += bytes.len() as u64;
        if range.is_some_and(|range| self.received > range.len()) {
            return Err(wrong_size(code::LENGTH_MISMATCH).into());
        }
        match &mut self.target {
            Target::Resumed(append) | Target::Begun(append) => {
                self.first.write(append, bytes).await?;
            }
            Target::Repeated { append, there } => {
                let known = usize::try_from(there.saturating_sub(before)).unwrap_or(usize::MAX);
                bytes.advance(known.min(bytes.len()));
                self.first.write(append, bytes).await?;
            }
            Target::There(upload) if self.received > upload.offset() => {
                return Err(ErrorKind::KeyReused.into());
            }
            Target::There(_) => {}
        }
        Ok(())
    }
}

/// Refuses a request whose fields are not those of the one that has started the upload.
fn check_repeated(
    upload: &Upload,
    id: Option<&str>,
    fields: &[(String, String)],
) -> Result<(), ErrorKind> {
    let is_other = id.is_some_and(|id| id != upload.id.as_str());
    if is_other || upload.fields != fields { Err(ErrorKind::KeyReused) } else { Ok(()) }
}

fn read_range(chunked: &Chunked, parts: &Parts) -> Result<Option<ContentRange>, Refusal> {
    match headers::single(&parts.headers, &chunked.range_header).map_err(|_| repeated())? {
        None if chunked.range_required => Err(bad_headers(code::NO_CONTENT_RANGE)),
        None => Ok(None),
        // A malformed range must not turn a chunk into a whole file.
        Some(value) => ContentRange::parse(value.as_bytes())
            .map(Some)
            .ok_or_else(|| bad_headers(code::MALFORMED_CONTENT_RANGE)),
    }
}

fn repeated() -> Refusal {
    bad_headers(code::REPEATED_HEADER)
}

fn body_kind(parts: &Parts) -> Result<BodyKind, Refusal> {
    let media_type = headers::media_type(&parts.headers).map_err(|_| repeated())?;
    if let Some(media_type) = media_type {
        match Boundary::from_content_type(media_type.as_bytes()) {
            Ok(boundary) => return Ok(BodyKind::Form(boundary)),
            Err(FormError::NotForm) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if !headers::is_plain(&parts.headers) {
        return Err(encoded_body());
    }
    let disposition = headers::single(&parts.headers, &CONTENT_DISPOSITION);
    let disposition = disposition.map_err(|_| repeated())?.ok_or_else(no_file)?;
    let disposition = Disposition::of_request(disposition.as_bytes()).ok_or_else(no_file)?;
    let name = disposition.filename.filter(|name| filename::safe(name).is_some());
    let name = name.ok_or_else(no_file)?;
    let content_type = media_type.and_then(|value| plain_media_type(value.as_bytes()));
    Ok(BodyKind::Raw(File { name, content_type }))
}

/// Returns the maximum number of bytes that a form can have besides its file.
fn overhead(limits: &FormLimits) -> u64 {
    let heads = limits.parts.saturating_mul(limits.part_header_bytes.saturating_add(DELIMITER));
    let fields = limits.fields_bytes.saturating_add(heads).saturating_add(DELIMITER);
    limits.ignored_bytes.saturating_add(u64::try_from(fields).unwrap_or(u64::MAX))
}

/// A raw body names its upload in the query, and a form in a field.
const ID_IN_QUERY: &str = "A form names its upload in the field 'upload_id', not in the query";
/// A chunk is sent again as a whole, so the broken request before it must not stop it. Servers that
/// read two connections in the wrong order do so within a few milliseconds.
const ORDER_TOLERANCE: Duration = Duration::from_millis(25);
/// The size of a delimiter with its line ends and padding.
const DELIMITER: usize = 512;
