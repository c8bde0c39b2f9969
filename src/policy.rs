//! What the application decides about uploads, and what it is told when it is asked.

use std::future::{Future, ready};
use std::ops::Deref;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use crate::engine::{CompletedUpload, Error};
use crate::erased::erased;
use crate::filename;
use crate::id::UploadId;
use crate::upload::{Owner, Upload};

/// What the application decides; each method has a default.
///
/// Every method gets one argument, which dereferences to the [`Context`]: the request's head, with the
/// extensions of any layer outside this one, and what is asked for. A method may be written as
/// `async fn`. An `Arc` of a policy is a policy, too.
///
/// ```
/// use http::StatusCode;
/// use tower_chunked_upload::{Candidate, Context, Owner, Policy, Refusal};
///
/// #[derive(Clone)]
/// struct User(String); // put into the extensions by the layer that authenticates
///
/// struct Images;
///
/// impl Policy for Images {
///     async fn authorize(&self, asked: &Context<'_>) -> Result<Option<Owner>, Refusal> {
///         let user = asked.request.extensions.get::<User>();
///         let user = user.ok_or_else(Refusal::unauthenticated)?;
///         Ok(Some(Owner::new(user.0.as_str())))
///     }
///
///     async fn validate(&self, chunk: &Candidate<'_>) -> Result<(), Refusal> {
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
        asked: &Context<'_>,
    ) -> impl Future<Output = Result<Option<Owner>, Refusal>> + Send {
        let _ = asked;
        ready(Ok(None))
    }

    /// The largest file that this request may add to.
    ///
    /// It is asked before the body with the limit of
    /// [`UploadsBuilder::max_bytes`](crate::UploadsBuilder::max_bytes), and once more when the upload turns
    /// out to have one of its own ([`NewUpload::max_bytes`](crate::NewUpload::max_bytes)).
    ///
    /// Default: what is configured.
    fn max_bytes(
        &self,
        limit: &SizeLimit<'_>,
    ) -> impl Future<Output = Result<MaxBytes, Refusal>> + Send {
        let _ = limit;
        ready(Ok(MaxBytes::Configured))
    }

    /// Whether this chunk is welcome, asked before any byte of it is taken. (If the `upload_id` of a
    /// later chunk comes after its file, it is asked when the id is known, before the bytes join their
    /// upload.)
    ///
    /// Default: it is.
    fn validate(&self, chunk: &Candidate<'_>) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = chunk;
        ready(Ok(()))
    }

    /// What is attached to a new upload, as [`Upload::attributes`]. It is asked when the file begins; if
    /// an `upload_id` follows behind the file after all, nothing comes of it.
    ///
    /// Default: `null`.
    fn attributes(
        &self,
        chunk: &Candidate<'_>,
    ) -> impl Future<Output = Result<Value, Refusal>> + Send {
        let _ = chunk;
        ready(Ok(Value::Null))
    }

    /// Whether the finished file is welcome, asked when its length and digest are right and before the
    /// inner service gets it. After a refusal the upload can be completed again or cancelled, unless this
    /// has [discarded](CompletedUpload::discard) it.
    ///
    /// Default: it is.
    fn verify(
        &self,
        finished: &Verification<'_>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = finished;
        ready(Ok(()))
    }

    /// What the answer to a chunk or to a question for the status says, beyond or instead of what is
    /// in its content already. The answer to a completion is the inner service's.
    ///
    /// What happened to an upload, an [`Observer`](crate::Observer) is told.
    ///
    /// Default: no more.
    fn respond(&self, answer: &mut Answering<'_>) -> impl Future<Output = ()> + Send {
        let _ = answer;
        ready(())
    }
}

/// Takes everything from everybody: the policy of a layer that was given none.
impl Policy for () {}

impl<T: Policy + ?Sized> Policy for Arc<T> {
    fn authorize(
        &self,
        asked: &Context<'_>,
    ) -> impl Future<Output = Result<Option<Owner>, Refusal>> + Send {
        T::authorize(self, asked)
    }

    fn max_bytes(
        &self,
        limit: &SizeLimit<'_>,
    ) -> impl Future<Output = Result<MaxBytes, Refusal>> + Send {
        T::max_bytes(self, limit)
    }

    fn validate(&self, chunk: &Candidate<'_>) -> impl Future<Output = Result<(), Refusal>> + Send {
        T::validate(self, chunk)
    }

    fn attributes(
        &self,
        chunk: &Candidate<'_>,
    ) -> impl Future<Output = Result<Value, Refusal>> + Send {
        T::attributes(self, chunk)
    }

    fn verify(
        &self,
        finished: &Verification<'_>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        T::verify(self, finished)
    }

    fn respond(&self, answer: &mut Answering<'_>) -> impl Future<Output = ()> + Send {
        T::respond(self, answer)
    }
}

erased! {
    pub(crate) trait DynPolicy: Send, Sync; for Policy {
        async fn authorize(&self, asked: &'a Context<'a>) -> Result<Option<Owner>, Refusal>;
        async fn max_bytes(&self, limit: &'a SizeLimit<'a>) -> Result<MaxBytes, Refusal>;
        async fn validate(&self, chunk: &'a Candidate<'a>) -> Result<(), Refusal>;
        async fn attributes(&self, chunk: &'a Candidate<'a>) -> Result<Value, Refusal>;
        async fn verify(&self, finished: &'a Verification<'a>) -> Result<(), Refusal>;
        async fn respond(&self, answer: &'a mut Answering<'a>) -> ();
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Context<'a> {
    /// The head of the request.
    pub request: &'a Parts,
    /// What it wants.
    pub action: Action,
    /// The upload that it names, if that is known already. Whether there is one, and whose it is, was not
    /// looked at.
    pub upload_id: Option<&'a UploadId>,
    /// The protocol that it speaks.
    pub dialect: Dialect,
}

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// To begin an upload, or to add to one.
    Append,
    /// To complete an upload.
    Complete,
    /// To know where an upload stands.
    Status,
    /// To give an upload up.
    Cancel,
}

/// A protocol that the layer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// That of django-chunked-upload.
    Chunked,
}

/// Asks [`Policy::max_bytes`] for a limit.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SizeLimit<'a> {
    /// Who asks for what.
    pub context: Context<'a>,
    /// The limit in bytes that holds otherwise; `None` if there is none.
    pub configured: Option<u64>,
}

/// The largest file that a request may add to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MaxBytes {
    /// As configured.
    #[default]
    Configured,
    /// So many bytes, and no more than is configured.
    AtMost(u64),
    /// So many bytes, whatever is configured; `None`: any size that the store can hold.
    Override(Option<u64>),
}

/// A chunk that asks to be taken.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Candidate<'a> {
    /// Who asks for what.
    pub context: Context<'a>,
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

/// A finished file that asks to be handed to the inner service.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Verification<'a> {
    /// Who asks for what.
    pub context: Context<'a>,
    /// The file.
    pub file: &'a CompletedUpload,
}

/// An answer of the layer that is about to be given.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answering<'a> {
    /// Who asked for what.
    pub context: Context<'a>,
    /// The upload that it is about.
    pub upload: &'a Upload,
    /// What it says.
    pub content: &'a mut Map<String, Value>,
}

macro_rules! dereference {
    ($($question:ident)+) => {$(
        impl<'a> Deref for $question<'a> {
            type Target = Context<'a>;

            fn deref(&self) -> &Context<'a> {
                &self.context
            }
        }
    )+};
}

dereference!(SizeLimit Candidate Verification Answering);

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
    reason: Reason,
    content: Map<String, Value>,
    headers: HeaderMap,
    error: Option<Error>,
}

/// Why the application says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Unauthenticated,
    Status(StatusCode),
    /// As the dialect has it for the error.
    Error,
}

impl Refusal {
    /// A refusal with a status and, for the client to read, a reason.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::because(Reason::Status(status), detail.into())
    }

    /// Who asks has not said who they are. It is a 401 where the protocol has one; the one of
    /// django-chunked-upload says 403.
    pub fn unauthenticated() -> Self {
        let detail = "Authentication credentials were not provided";
        Self::because(Reason::Unauthenticated, detail.to_owned())
    }

    fn because(reason: Reason, detail: String) -> Self {
        let mut content = Map::new();
        content.insert("detail".to_owned(), Value::String(detail));
        Self { inner: Box::new(Inner { reason, content, headers: HeaderMap::new(), error: None }) }
    }

    /// Whether it says that who asks has not said who they are.
    pub fn is_unauthenticated(&self) -> bool {
        self.inner.reason == Reason::Unauthenticated
    }

    /// The same with the status that a dialect has for it.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.inner.reason = Reason::Status(status);
        self
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

    /// The error, if the application refuses for nothing else.
    pub(crate) fn into_error(self) -> Result<Error, Self> {
        match self.inner.reason {
            Reason::Error => self.inner.error.clone().ok_or(self),
            Reason::Unauthenticated | Reason::Status(_) => Err(self),
        }
    }

    pub(crate) fn because_of(mut self, error: Error) -> Self {
        self.inner.error = Some(error);
        self
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self.inner.reason {
            Reason::Unauthenticated => StatusCode::UNAUTHORIZED,
            Reason::Status(status) => status,
            Reason::Error => StatusCode::INTERNAL_SERVER_ERROR,
        }
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

/// What the application has called has failed. The client is told what the protocol has for such an
/// error, with the protocol's status.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::because(Reason::Error, error.to_string()).because_of(error)
    }
}
