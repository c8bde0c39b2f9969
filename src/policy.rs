//! What the application decides about uploads.

use std::future::{Future, ready};
use std::pin::Pin;

use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use crate::engine::{CompletedUpload, Error, Event, filename};
use crate::upload::{Owner, Upload};

/// What the application decides; each method has a default.
///
/// Every method gets the request's parts, and so the extensions of any layer outside this one. A
/// method may be written as `async fn`.
///
/// ```
/// use http::request::Parts;
/// use http::StatusCode;
/// use tower_chunked_upload::{Candidate, Owner, Policy, Refusal};
///
/// #[derive(Clone)]
/// struct User(String); // put into the extensions by the layer that authenticates
///
/// struct Images;
///
/// impl Policy for Images {
///     async fn authorize(&self, request: &Parts) -> Result<Option<Owner>, Refusal> {
///         let user = request.extensions.get::<User>().ok_or_else(Refusal::unauthenticated)?;
///         Ok(Some(Owner::new(user.0.as_str())))
///     }
///
///     async fn validate(&self, _: &Parts, chunk: &Candidate<'_>) -> Result<(), Refusal> {
///         match chunk.content_type {
///             Some(kind) if kind.starts_with("image/") => Ok(()),
///             _ => Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Only images are taken")),
///         }
///     }
/// }
/// ```
pub trait Policy: Send + Sync + 'static {
    /// Who asks, and whether they may upload at all. It is asked first, for every chunk, completion,
    /// status and cancellation; its refusal comes before every other error.
    ///
    /// An upload belongs to the owner of its first chunk. To every other owner it looks like one
    /// that does not exist. `None` is an owner too: that of uploads without owner.
    ///
    /// Default: anybody may, and nobody is anybody in particular.
    fn authorize(
        &self,
        request: &Parts,
    ) -> impl Future<Output = Result<Option<Owner>, Refusal>> + Send {
        let _ = request;
        ready(Ok(None))
    }

    /// The largest file, in bytes, that this request may add to; `None`: any size that the store can hold.
    ///
    /// It is asked before the body with the limit of
    /// [`UploadsBuilder::max_bytes`](crate::UploadsBuilder::max_bytes), and once more when the upload turns
    /// out to have one of its own ([`NewUpload::max_bytes`](crate::NewUpload::max_bytes)).
    ///
    /// Default: `configured`.
    fn max_bytes(
        &self,
        request: &Parts,
        configured: Option<u64>,
    ) -> impl Future<Output = Result<Option<u64>, Refusal>> + Send {
        let _ = request;
        ready(Ok(configured))
    }

    /// Whether this chunk is welcome, asked before any byte of it is taken. (If the `upload_id` of a
    /// later chunk comes after its file, it is asked when the id is known, before the bytes join their
    /// upload.)
    ///
    /// Default: it is.
    fn validate(
        &self,
        request: &Parts,
        chunk: &Candidate<'_>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = (request, chunk);
        ready(Ok(()))
    }

    /// What is attached to a new upload, as [`Upload::attributes`]. It is asked when the file begins; if
    /// an `upload_id` follows behind the file after all, nothing comes of it.
    ///
    /// Default: `null`.
    fn attributes(
        &self,
        request: &Parts,
        chunk: &Candidate<'_>,
    ) -> impl Future<Output = Result<Value, Refusal>> + Send {
        let _ = (request, chunk);
        ready(Ok(Value::Null))
    }

    /// Whether the finished file is welcome, asked when its length and digest are right and before the
    /// inner service gets it. After a refusal the upload can be completed again or cancelled, unless this
    /// has [discarded](CompletedUpload::discard) it.
    ///
    /// Default: it is.
    fn verify(
        &self,
        request: &Parts,
        file: &CompletedUpload,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = (request, file);
        ready(Ok(()))
    }

    /// What the answer to a chunk or to a question for the status says, beyond or instead of what is
    /// in `answer` already. The answer to a completion is the inner service's.
    ///
    /// Default: no more.
    fn respond(
        &self,
        request: &Parts,
        upload: &Upload,
        answer: &mut Map<String, Value>,
    ) -> impl Future<Output = ()> + Send {
        let _ = (request, upload, answer);
        ready(())
    }

    /// What this request did to an upload, after it was committed and before it is answered. It is called
    /// to its end also when the client leaves in that moment; after a crash it may be missing. What a
    /// sweep or a call of [`Uploads`](crate::Uploads) does, only an [`Observer`](crate::Observer) is
    /// told.
    ///
    /// Default: nothing.
    fn on_event(&self, request: &Parts, event: &Event) -> impl Future<Output = ()> + Send {
        let _ = (request, event);
        ready(())
    }
}

/// Takes everything from everybody: the policy of a layer that was given none.
impl Policy for () {}

/// A chunk that asks to be taken.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Candidate<'a> {
    /// The file's name as the client sent it: never use it as a path.
    pub raw_filename: &'a str,
    /// The media type that the client claims for it.
    pub content_type: Option<&'a str>,
    /// How many bytes the whole file will have; `None` if the client did not say.
    pub total: Option<u64>,
    /// Where in the file the chunk starts.
    pub offset: u64,
    /// The text fields that came before the file.
    pub fields: &'a [(String, String)],
    /// The upload that the chunk continues; `None` if it begins one.
    pub upload: Option<&'a Upload>,
}

impl Candidate<'_> {
    /// The file's name, made safe as in [`Upload::filename`].
    pub fn filename(&self) -> Option<String> {
        filename::safe(self.raw_filename)
    }

    /// The first text field of that name among those that came before the file.
    pub fn field(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(key, _)| key == name);
        field.map(|(_, value)| value.as_str())
    }
}

/// An answer that says no.
///
/// It becomes `{"detail": …}` and what [`with`](Self::with) adds. Layers outside this one find it in
/// the extensions of the response, so that they can log it.
#[derive(Clone, Debug)]
pub struct Refusal {
    inner: Box<Inner>,
}

#[derive(Clone, Debug)]
struct Inner {
    status: StatusCode,
    content: Map<String, Value>,
    headers: HeaderMap,
    error: Option<Error>,
}

impl Refusal {
    /// A refusal with a status and, for the client to read, a reason.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let mut content = Map::new();
        content.insert("detail".to_owned(), Value::String(detail.into()));
        Self { inner: Box::new(Inner { status, content, headers: HeaderMap::new(), error: None }) }
    }

    /// 403: who asks has not said who they are.
    pub fn unauthenticated() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Authentication credentials were not provided")
    }

    /// Adds something to the answer.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.inner.content.insert(key.into(), value.into());
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.inner.headers.append(name, value);
        self
    }

    pub(crate) fn because_of(mut self, error: Error) -> Self {
        self.inner.error = Some(error);
        self
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.inner.status
    }

    /// The reason, as the client reads it.
    pub fn detail(&self) -> &str {
        self.inner.content.get("detail").and_then(Value::as_str).unwrap_or_default()
    }

    /// The error behind it, if it was not the application that refused. Its
    /// [`source`](std::error::Error::source) is for the log and not for the client.
    pub fn error(&self) -> Option<&Error> {
        self.inner.error.as_ref()
    }

    pub(crate) fn content(&self) -> &Map<String, Value> {
        &self.inner.content
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.inner.headers
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// [`Policy`] behind a pointer.
pub(crate) trait DynPolicy: Send + Sync + 'static {
    fn authorize<'a>(&'a self, request: &'a Parts)
    -> BoxFuture<'a, Result<Option<Owner>, Refusal>>;
    fn max_bytes<'a>(
        &'a self,
        request: &'a Parts,
        configured: Option<u64>,
    ) -> BoxFuture<'a, Result<Option<u64>, Refusal>>;
    fn validate<'a>(
        &'a self,
        request: &'a Parts,
        chunk: &'a Candidate<'a>,
    ) -> BoxFuture<'a, Result<(), Refusal>>;
    fn attributes<'a>(
        &'a self,
        request: &'a Parts,
        chunk: &'a Candidate<'a>,
    ) -> BoxFuture<'a, Result<Value, Refusal>>;
    fn verify<'a>(
        &'a self,
        request: &'a Parts,
        file: &'a CompletedUpload,
    ) -> BoxFuture<'a, Result<(), Refusal>>;
    fn respond<'a>(
        &'a self,
        request: &'a Parts,
        upload: &'a Upload,
        answer: &'a mut Map<String, Value>,
    ) -> BoxFuture<'a, ()>;
    fn on_event<'a>(&'a self, request: &'a Parts, event: &'a Event) -> BoxFuture<'a, ()>;
}

impl<T: Policy> DynPolicy for T {
    fn authorize<'a>(
        &'a self,
        request: &'a Parts,
    ) -> BoxFuture<'a, Result<Option<Owner>, Refusal>> {
        Box::pin(Policy::authorize(self, request))
    }

    fn max_bytes<'a>(
        &'a self,
        request: &'a Parts,
        configured: Option<u64>,
    ) -> BoxFuture<'a, Result<Option<u64>, Refusal>> {
        Box::pin(Policy::max_bytes(self, request, configured))
    }

    fn validate<'a>(
        &'a self,
        request: &'a Parts,
        chunk: &'a Candidate<'a>,
    ) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(Policy::validate(self, request, chunk))
    }

    fn attributes<'a>(
        &'a self,
        request: &'a Parts,
        chunk: &'a Candidate<'a>,
    ) -> BoxFuture<'a, Result<Value, Refusal>> {
        Box::pin(Policy::attributes(self, request, chunk))
    }

    fn verify<'a>(
        &'a self,
        request: &'a Parts,
        file: &'a CompletedUpload,
    ) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(Policy::verify(self, request, file))
    }

    fn respond<'a>(
        &'a self,
        request: &'a Parts,
        upload: &'a Upload,
        answer: &'a mut Map<String, Value>,
    ) -> BoxFuture<'a, ()> {
        Box::pin(Policy::respond(self, request, upload, answer))
    }

    fn on_event<'a>(&'a self, request: &'a Parts, event: &'a Event) -> BoxFuture<'a, ()> {
        Box::pin(Policy::on_event(self, request, event))
    }
}
