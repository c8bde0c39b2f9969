//! Receiving a chunk.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_DISPOSITION;
use http::request::Parts;
use http_body::Body;
use tokio::io::AsyncReadExt;

use super::answer::{Answer, bad_headers, media_type, no_file, plain, standing, wrong_size};
use super::body::{BoxError, Incoming};
use super::caller::Caller;
use super::config::Config;
use super::content_range::ContentRange;
use super::disposition::Disposition;
use super::form::{Boundary, FormError, FormEvent, FormLimits, FormReader, plain_media_type};
use super::query::{self, set_once};
use crate::engine::{Append, AppendMode, ErrorKind, Event, NewUpload, Uploads, filename};
use crate::id::UploadId;
use crate::policy::{Candidate, Refusal};
use crate::upload::Upload;

pub(super) async fn receive<B>(
    config: &Config,
    caller: &Caller,
    parts: &Parts,
    body: &mut Incoming<B>,
) -> Result<Answer, Refusal>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let owner = caller.ask(config, config.policy.authorize(parts)).await?;
    let uploads = config.uploads.for_request(owner, caller.came());
    let limit = config.policy.max_bytes(parts, uploads.max_bytes());
    let limit = uploads.within_reach(caller.ask(config, limit).await?);
    let range = read_range(config, parts)?;
    let request = Request { config, caller, parts, uploads, limit, range };
    // An upload that exists may have a limit of its own.
    if request.start() == 0 && !query::has_id(parts) {
        request.check_total(limit)?;
    }
    let event = match shape(parts)? {
        Shape::Form(boundary) => request.receive_form(boundary, body).await?,
        Shape::Raw(file) => request.receive_raw(file, body).await?,
    };
    let upload = event.upload();
    caller.tell(config, config.policy.on_event(parts, &event)).await;
    let mut content = standing(upload);
    caller.tell(config, config.policy.respond(parts, upload, &mut content)).await;
    Ok(Answer::ok(content).with_range(upload.offset()))
}

/// A chunk request, as far as its headers tell.
struct Request<'a> {
    config: &'a Config,
    caller: &'a Caller,
    parts: &'a Parts,
    uploads: Uploads,
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

impl Request<'_> {
    /// `multipart/form-data`, its parts in any order.
    async fn receive_form<B>(
        &self,
        boundary: Boundary,
        body: &mut Incoming<B>,
    ) -> Result<Event, Refusal>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let limits = self.config.form_limits;
        self.check_size(body.exact_size(), overhead(&limits), self.limit_so_far())?;
        let mut form = FormReader::new(&boundary, Arc::clone(&self.config.field), limits);
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
                    None => return Err(no_file()),
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
    async fn receive_raw<B>(&self, file: File, body: &mut Incoming<B>) -> Result<Event, Refusal>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let (id, fields) = query::read(self.parts)?;
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
        if self.start() == 0 { self.limit } else { self.uploads.within_reach(None) }
    }

    /// Refuses a file whose range says that it is larger than is taken.
    fn check_total(&self, limit: Option<u64>) -> Result<(), Refusal> {
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
    ) -> Result<(), Refusal> {
        let Some(size) = size else { return Ok(()) };
        let least = size.saturating_sub(overhead);
        match (limit, &self.range) {
            (Some(limit), None) if least > limit => Err(ErrorKind::TooLarge { limit }.into()),
            (_, Some(range)) if least > range.len() || size < range.len() => Err(wrong_size()),
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
    ) -> Result<Receiver, Refusal> {
        if let Some(id) = id {
            let append = self.continue_upload(id, &file, fields, size).await?;
            return Ok(Receiver { append, file, received: 0, bound: true });
        }
        let (start, limit) = (self.start(), self.limit_so_far());
        self.check_size(size, 0, limit)?;
        self.check_total(limit)?;
        let mut new = NewUpload::new();
        // A first chunk, unless an id comes after the file; a later one never begins an upload.
        if start == 0 {
            let candidate = self.candidate(&file, fields, None);
            self.ask(self.config.policy.validate(self.parts, &candidate)).await?;
            let attributes = self.config.policy.attributes(self.parts, &candidate);
            let attributes = self.ask(attributes).await?;
            let total = self.range.as_ref().map(|range| range.total);
            new = new.filename(&*file.name).content_type(file.content_type.clone());
            new = new.attributes(attributes).total(total);
        }
        // Only a later chunk can start anywhere else: its `upload_id` is still to come.
        let append = self.uploads.create_within(new, limit, start != 0).await?;
        Ok(Receiver { append, file, received: 0, bound: false })
    }

    /// Takes up an upload that exists, if the chunk fits it.
    async fn continue_upload(
        &self,
        id: &str,
        file: &File,
        fields: &[(String, String)],
        size: Option<u64>,
    ) -> Result<Append, Refusal> {
        let id: UploadId = id.parse().map_err(|_| ErrorKind::NotFound)?;
        let (start, mode) = (self.start(), AppendMode::AllOrNothing);
        let mut append = match self.uploads.hold_idle(&id).await {
            Some(held) => {
                let upload = held.upload().clone();
                let mut check = pin!(self.check_continued(&upload, file, fields, size));
                match poll_fn(|cx| Poll::Ready(check.as_mut().poll(cx))).await {
                    Poll::Ready(limit) => held.append(start, mode, limit?)?,
                    Poll::Pending => {
                        // An application that takes its time, or has its own way with the upload, must
                        // not find it held.
                        drop(held);
                        let limit = check.await?;
                        self.uploads.append_within(&id, start, mode, limit).await?
                    }
                }
            }
            None => {
                // Before the claim: what is refused now stops nobody.
                let upload = self.uploads.check_open(&id).await?;
                let limit = self.check_continued(&upload, file, fields, size).await?;
                self.uploads.append_within(&id, start, mode, limit).await?
            }
        };
        if let Some(range) = &self.range {
            append.set_total(range.total).await?;
        }
        Ok(append)
    }

    async fn ask<T>(
        &self,
        decision: impl Future<Output = Result<T, Refusal>> + Send,
    ) -> Result<T, Refusal> {
        self.caller.ask(self.config, decision).await
    }

    /// Refuses a chunk that does not fit its upload, or that the application does not want; gives the
    /// limit of the file's size.
    async fn check_continued(
        &self,
        upload: &Upload,
        file: &File,
        fields: &[(String, String)],
        size: Option<u64>,
    ) -> Result<Option<u64>, Refusal> {
        self.uploads.check_offset(upload, self.start())?;
        if let (Some(range), Some(total)) = (&self.range, upload.total())
            && range.total != total
        {
            return Err(ErrorKind::TotalMismatch { total }.into());
        }
        let limit = match upload.max_bytes {
            None => self.limit,
            own => {
                let limit = self.config.policy.max_bytes(self.parts, own);
                self.uploads.within_reach(self.ask(limit).await?)
            }
        };
        self.check_total(limit)?;
        self.check_size(size, 0, limit)?;
        let candidate = self.candidate(file, fields, Some(upload));
        self.ask(self.config.policy.validate(self.parts, &candidate)).await?;
        Ok(limit)
    }

    /// The file has ended.
    async fn end(
        &self,
        receiver: Receiver,
        id: Option<&str>,
        fields: Vec<(String, String)>,
    ) -> Result<Event, Refusal> {
        let Receiver { mut append, file, received: size, bound } = receiver;
        let append = match id {
            Some(id) if !bound => {
                let target = self.continue_upload(id, &file, &fields, Some(size)).await?;
                return join(append, target, self.range.is_none()).await.map(Event::Grew);
            }
            _ => {
                if !bound {
                    self.check_start()?;
                }
                // The append has minded the limit.
                self.check_size(Some(size), 0, None)?;
                if self.range.is_none() {
                    append.set_total(append.position()).await?;
                }
                append.set_fields(fields);
                append
            }
        };
        let upload = append.commit().await?;
        Ok(if bound { Event::Grew(upload) } else { Event::Created(upload) })
    }

    /// Refuses a chunk that begins an upload anywhere but at its start, or a larger one than may be.
    fn check_start(&self) -> Result<(), Refusal> {
        self.check_total(self.limit)?;
        match self.start() {
            0 => Ok(()),
            // No offset: a client that goes on from it would begin one upload after the other.
            _ if query::has_id(self.parts) => {
                Err(Refusal::new(StatusCode::BAD_REQUEST, ID_IN_QUERY))
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
        file: &'a File,
        fields: &'a [(String, String)],
        upload: Option<&'a Upload>,
    ) -> Candidate<'a> {
        Candidate {
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
    /// Whether it is known to which upload they belong; else the id may still follow.
    bound: bool,
}

impl Receiver {
    async fn take(&mut self, bytes: Bytes, range: Option<&ContentRange>) -> Result<(), Refusal> {
        self.received += bytes.len() as u64;
        if range.is_some_and(|range| self.received > range.len()) {
            return Err(wrong_size());
        }
        Ok(self.append.write_frame(bytes).await?)
    }
}

/// The id came after the file: the bytes, which waited as a new upload, join theirs.
async fn join(staged: Append, mut target: Append, whole: bool) -> Result<Upload, Refusal> {
    let mut reader = staged.into_reader().await?;
    let mut buffer = vec![0; COPY];
    loop {
        let read = reader.read(&mut buffer).await.map_err(|_| ErrorKind::Store)?;
        if read == 0 {
            if whole {
                target.set_total(target.position()).await?;
            }
            return Ok(target.commit().await?);
        }
        target.write(&buffer[..read]).await?;
    }
}

fn read_range(config: &Config, parts: &Parts) -> Result<Option<ContentRange>, Refusal> {
    let mut values = parts.headers.get_all(&config.range_header).iter();
    match (values.next(), values.next()) {
        (None, _) if config.range_required => Err(bad_headers()),
        (None, _) => Ok(None),
        // A range that cannot be read must not turn a piece into a whole file.
        (Some(value), None) => {
            ContentRange::parse(value.as_bytes()).map(Some).ok_or_else(bad_headers)
        }
        (Some(_), Some(_)) => Err(bad_headers()),
    }
}

fn shape(parts: &Parts) -> Result<Shape, Refusal> {
    let media_type = media_type(parts)?;
    if let Some(media_type) = media_type {
        match Boundary::from_content_type(media_type.as_bytes()) {
            Ok(boundary) => return Ok(Shape::Form(boundary)),
            Err(FormError::NotForm) => {}
            Err(error) => return Err(error.into()),
        }
    }
    plain(parts)?;
    let mut dispositions = parts.headers.get_all(CONTENT_DISPOSITION).iter();
    let disposition = dispositions.next().ok_or_else(no_file)?;
    if dispositions.next().is_some() {
        return Err(bad_headers());
    }
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
/// How much of a staged chunk is copied at a time.
const COPY: usize = 64 * 1024;
