//! The application's decisions about uploads, and the arguments they are based on.

use std::fmt;
use std::future::{Future, ready};
use std::ops::Deref;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use crate::code;
use crate::engine::{CompletedUpload, Error};
use crate::erased::erased;
use crate::filename;
use crate::id::UploadId;
pub use crate::upload::Dialect;
use crate::upload::{Owner, Upload};

/// The application's decisions about uploads. Every method has a default.
///
/// Every method has one argument, which dereferences to the [`Context`]: the head of the request,
/// with the extensions set by outer layers, and the requested action. Methods can be written as
/// `async fn`. An `Arc` of a policy is also a policy.
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
///     async fn authorize(&self, context: &Context<'_>) -> Result<Option<Owner>, Refusal> {
///         let user = context.request.extensions.get::<User>();
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
    /// Returns the owner that the caller acts for, or refuses the request. It is called before any
    /// other method, for every request that begins, continues, queries, completes or cancels an
    /// upload, and its refusal takes precedence over all other errors. It is not called for
    /// `OPTIONS`, for a method that is not allowed, or for a request that a
    /// [token](crate::guide::tokens) admits. A tus request for an unsupported version is refused
    /// before this is called.
    ///
    /// An upload belongs to the owner of its first chunk. For every other owner it does not exist.
    /// `None` is also an owner: that of the uploads without one.
    ///
    /// Default: every caller is allowed, and uploads have no owner.
    fn authorize(
        &self,
        context: &Context<'_>,
    ) -> impl Future<Output = Result<Option<Owner>, Refusal>> + Send {
        let _ = context;
        ready(Ok(None))
    }

    /// Returns the maximum size of the file that this request may add to.
    ///
    /// It is called before the body is read, with the limit of
    /// [`UploadsBuilder::max_bytes`](crate::UploadsBuilder::max_bytes), and again if the upload
    /// turns out to have its own limit ([`NewUpload::max_bytes`](crate::NewUpload::max_bytes)).
    ///
    /// Default: the configured limit.
    fn max_bytes(
        &self,
        limit: &SizeLimit<'_>,
    ) -> impl Future<Output = Result<MaxBytes, Refusal>> + Send {
        let _ = limit;
        ready(Ok(MaxBytes::Configured))
    }

    /// Accepts or refuses a chunk before any byte of it is written. In tus, that is each request
    /// that creates an upload or brings bytes, but not those of [parts](crate::guide::tus_parts):
    /// it is called for the file that is joined from them. (If the `upload_id` of a later chunk
    /// follows its file, it is called when the id is known, before the bytes are added to their
    /// upload.)
    ///
    /// Default: accepts.
    fn validate(&self, chunk: &Candidate<'_>) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = chunk;
        ready(Ok(()))
    }

    /// Returns the attributes of a new upload: see [`Upload::attributes`]. It is called when the
    /// file starts. If an `upload_id` follows the file after all, the attributes are discarded.
    ///
    /// Default: `null`.
    fn attributes(
        &self,
        chunk: &Candidate<'_>,
    ) -> impl Future<Output = Result<Value, Refusal>> + Send {
        let _ = chunk;
        ready(Ok(Value::Null))
    }

    /// Returns how many of the first bytes of a new file [`first_bytes`](Self::first_bytes) sees:
    /// at most [4 KiB](FirstBytes::MAX). It must always return the same number.
    ///
    /// Default: 0. The layer then buffers no bytes for `first_bytes`, and does not call it.
    fn first_bytes_wanted(&self) -> usize {
        0
    }

    /// Accepts or refuses a new file by its first bytes, before any byte that follows them is
    /// written, for example a file that is not an image, whatever its name is.
    ///
    /// It is called as soon as the file has as many bytes as
    /// [`first_bytes_wanted`](Self::first_bytes_wanted) returns, or when the file is complete with
    /// fewer, even none, whichever request brings them. If a request ends before there are enough
    /// bytes, they are acknowledged, and this method sees them together with those of the next
    /// request. An upload that has that many bytes, or all of its bytes, was accepted.
    ///
    /// It is called once for each upload. It is called again only if its result could not be
    /// stored: after a crash, after another request took over the upload, or if a separate request
    /// that ends the upload is sent again.
    ///
    /// After a refusal, the upload is removed, and the client gets the refusal. A refusal with a
    /// 5xx, such as that of an [`Error`], keeps the upload: the client may retry, and then this
    /// method is called again.
    ///
    /// The bytes are those that the client sent; nothing is verified yet. If the `upload_id` of a
    /// chunk follows its file, the chunk has been written when this is called, and is not part of
    /// the upload before it is accepted. It is not called for the parts of a file that is joined in
    /// tus, nor for that file: use [`verify`](Self::verify).
    ///
    /// Default: accepts.
    fn first_bytes(
        &self,
        first: &FirstBytes<'_>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = first;
        ready(Ok(()))
    }

    /// Accepts or refuses a finished file, once its length and digest are verified and before the
    /// inner service gets it. After a refusal the upload can be completed again or cancelled,
    /// unless this method has [discarded](CompletedUpload::discard) it. An upload that its client
    /// could not continue is removed: an empty one in tus, and one of the IETF draft whose URL the
    /// client was never told.
    ///
    /// If the client leaves meanwhile, this method is stopped after the [idle
    /// timeout](crate::ChunkedUploadLayer::idle_timeout), and called again for the next completion.
    ///
    /// Default: accepts.
    fn verify(
        &self,
        finished: &Verification<'_>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = finished;
        ready(Ok(()))
    }

    /// Changes the JSON of the layer's response to a chunk or to a status request. It is called in
    /// the chunked protocol only, since the responses of the other protocols have no content. The
    /// inner service responds to completions.
    ///
    /// To be notified of upload events, use an [`Observer`](crate::Observer).
    ///
    /// Default: no changes.
    fn respond(&self, answer: &mut ResponseContent<'_>) -> impl Future<Output = ()> + Send {
        let _ = answer;
        ready(())
    }
}

/// Accepts everything from everyone. This is the default policy.
impl Policy for () {}

impl<T: Policy> Policy for Arc<T> {
    async fn authorize(&self, context: &Context<'_>) -> Result<Option<Owner>, Refusal> {
        T::authorize(self, context).await
    }

    async fn max_bytes(&self, limit: &SizeLimit<'_>) -> Result<MaxBytes, Refusal> {
        T::max_bytes(self, limit).await
    }

    async fn validate(&self, chunk: &Candidate<'_>) -> Result<(), Refusal> {
        T::validate(self, chunk).await
    }

    async fn attributes(&self, chunk: &Candidate<'_>) -> Result<Value, Refusal> {
        T::attributes(self, chunk).await
    }

    fn first_bytes_wanted(&self) -> usize {
        T::first_bytes_wanted(self)
    }

    async fn first_bytes(&self, first: &FirstBytes<'_>) -> Result<(), Refusal> {
        T::first_bytes(self, first).await
    }

    async fn verify(&self, finished: &Verification<'_>) -> Result<(), Refusal> {
        T::verify(self, finished).await
    }

    async fn respond(&self, answer: &mut ResponseContent<'_>) {
        T::respond(self, answer).await;
    }
}

erased! {
    pub(crate) trait DynPolicy: Send, Sync; for Policy {
        async fn authorize(&self, context: &'a Context<'a>) -> Result<Option<Owner>, Refusal>;
        async fn max_bytes(&self, limit: &'a SizeLimit<'a>) -> Result<MaxBytes, Refusal>;
        async fn validate(&self, chunk: &'a Candidate<'a>) -> Result<(), Refusal>;
        async fn attributes(&self, chunk: &'a Candidate<'a>) -> Result<Value, Refusal>;
        fn first_bytes_wanted(&self) -> usize;
        async fn first_bytes(&self, first: &'a FirstBytes<'a>) -> Result<(), Refusal>;
        async fn verify(&self, finished: &'a Verification<'a>) -> Result<(), Refusal>;
        async fn respond(&self, answer: &'a mut ResponseContent<'a>) -> ();
    }
}

// So that what has a policy can derive it. An application's policy may have secrets.
impl fmt::Debug for dyn DynPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Policy")
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Context<'a> {
    /// The head of the request.
    pub request: &'a Parts,
    /// The requested action.
    pub action: Action,
    /// The upload that the request names, if that is known already. Neither its existence nor its
    /// owner has been checked.
    pub upload_id: Option<&'a UploadId>,
    /// The protocol of the request. At [the address of a completion](crate::guide::long_completions),
    /// which all protocols share, it is none of the documented variants.
    pub dialect: Dialect,
    #[cfg(feature = "tokens")]
    pub(crate) by_token: Option<&'a ByToken>,
}

#[cfg(feature = "tokens")]
impl<'a> Context<'a> {
    /// Returns who the request acts for if it was admitted by a token, or `None` if
    /// [`Policy::authorize`] admitted it. With a token, the extensions of the request may have no
    /// user.
    pub fn by_token(&self) -> Option<&'a ByToken> {
        self.by_token
    }
}

/// Marks a request that was admitted by a token instead of by [`Policy::authorize`].
///
/// [`Context::by_token`] has it for the methods of a policy. The inner service finds it in the
/// extensions of the request that finishes an upload, and an [`Observer`](crate::Observer) in those
/// that it gets. A handler that requires a session for the completion refuses such a request:
///
/// ```
/// use http::{Extensions, StatusCode};
/// use tower_chunked_upload::ByToken;
///
/// fn check(extensions: &Extensions) -> Result<(), StatusCode> {
///     match extensions.get::<ByToken>() {
///         Some(_) => Err(StatusCode::UNAUTHORIZED),
///         None => Ok(()),
///     }
/// }
/// ```
#[cfg(feature = "tokens")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByToken {
    pub(crate) owner: Option<Owner>,
}

#[cfg(feature = "tokens")]
impl ByToken {
    /// The owner of the upload, for whom the request acts.
    pub fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }
}

/// The action of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Start an upload, or append to one. In tus and in the IETF draft, also the requests
    /// that complete an upload.
    Append,
    /// Complete an upload. In tus and in the draft, only [`Policy::verify`] sees this.
    Complete,
    /// Get the status of an upload.
    Status,
    /// Cancel an upload.
    Cancel,
}

/// The argument of [`Policy::max_bytes`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SizeLimit<'a> {
    /// The request.
    pub context: Context<'a>,
    /// The configured limit in bytes; `None` if there is none.
    pub configured: Option<u64>,
}

/// The maximum size of the file that a request may add to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MaxBytes {
    /// The configured limit.
    #[default]
    Configured,
    /// This many bytes, or the configured limit if that is lower.
    AtMost(u64),
    /// This many bytes, whatever is configured. `None` means any size that the store can hold.
    Override(Option<u64>),
}

/// The argument of [`Policy::validate`] and [`Policy::attributes`]: a chunk to accept or refuse.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Candidate<'a> {
    /// The request.
    pub context: Context<'a>,
    /// The file's name as the client sent it. Never use it as a path. In tus, the metadata
    /// `filename`, or else `name`; in the IETF draft, the one in `Content-Disposition` of the request
    /// that begins the upload. Empty if there is none.
    pub raw_filename: &'a str,
    /// The media type that the client sent, unchecked. In tus, the metadata `filetype`, or else
    /// `type`.
    pub content_type: Option<&'a str>,
    /// The total size of the file in bytes; `None` if the client did not send it.
    pub total: Option<u64>,
    /// The offset of the chunk in the file, in bytes.
    pub offset: u64,
    /// The text fields that preceded the file. In tus, all metadata whose values are text. Empty in
    /// the IETF draft.
    pub fields: &'a [(String, String)],
    /// The upload that the chunk continues; `None` if it begins one.
    pub upload: Option<&'a Upload>,
}

impl Candidate<'_> {
    /// Returns the file's name, made safe as in [`Upload::filename`].
    pub fn filename(&self) -> Option<String> {
        filename::safe(self.raw_filename)
    }

    /// Returns the first text field with this name among those that preceded the file.
    pub fn field(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(key, _)| key == name);
        field.map(|(_, value)| value.as_str())
    }
}

/// The argument of [`Policy::first_bytes`]: the beginning of a new file.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FirstBytes<'a> {
    /// The request that has brought the last of these bytes.
    pub context: Context<'a>,
    /// The first bytes of the file: all of them if there are fewer than wanted.
    pub bytes: &'a [u8],
    /// The upload, as it is without the bytes of this request: with its name, media type, fields and
    /// attributes.
    pub upload: &'a Upload,
}

impl FirstBytes<'_> {
    /// The maximum number of bytes: 4 KiB.
    pub const MAX: usize = 4096;
}

/// The argument of [`Policy::verify`]: a finished file to accept or refuse.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Verification<'a> {
    /// The request.
    pub context: Context<'a>,
    /// The file.
    pub file: &'a CompletedUpload,
}

/// The argument of [`Policy::respond`]: a response of the layer that is about to be sent.
#[derive(Debug)]
#[non_exhaustive]
pub struct ResponseContent<'a> {
    /// The request.
    pub context: Context<'a>,
    /// The upload.
    pub upload: &'a Upload,
    /// The content of the response.
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

dereference!(SizeLimit Candidate FirstBytes Verification ResponseContent);

/// A refusal, which becomes the response to the request.
///
/// Its content is `{"code": …, "detail": …}` and whatever [`with`](Self::with) adds; in tus, it is
/// the detail as plain text, and in the IETF draft a problem whose `title` is the detail. In
/// all protocols the header `Upload-Error-Code` has the [`code`](Self::code). Outer layers find the
/// refusal in the extensions of the response and can log it.
#[derive(Clone, Debug)]
pub struct Refusal {
    inner: Box<Inner>,
}

#[derive(Clone, Debug)]
struct Inner {
    reason: Reason,
    code: &'static str,
    status: StatusCode,
    content: Map<String, Value>,
    headers: HeaderMap,
    error: Option<Error>,
}

/// The reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Unauthenticated,
    /// The application or the dialect has refused the request.
    Refused,
    /// The error, for which the dialect has a status and message.
    Error,
}

impl Refusal {
    /// Creates a refusal with a status, and a reason that the client can read. Its code follows from
    /// the status, unless [`with_code`](Self::with_code) sets another one.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::coded(code_of(status), status, detail)
    }

    /// Creates a refusal with a code of its own.
    pub(crate) fn coded(code: &'static str, status: StatusCode, detail: impl Into<String>) -> Self {
        Self::because(Reason::Refused, code, status, detail.into())
    }

    /// Creates a refusal for a caller that is not authenticated. The status is 401, except in
    /// protocols that use another one: that of django-chunked-upload uses 403.
    pub fn unauthenticated() -> Self {
        let detail = "Authentication credentials were not provided";
        let (code, status) = (code::UNAUTHENTICATED, StatusCode::UNAUTHORIZED);
        Self::because(Reason::Unauthenticated, code, status, detail.to_owned())
    }

    fn because(reason: Reason, code: &'static str, status: StatusCode, detail: String) -> Self {
        let content = Map::from_iter([("detail".to_owned(), Value::String(detail))]);
        let headers = HeaderMap::new();
        Self { inner: Box::new(Inner { reason, code, status, content, headers, error: None }) }
    }

    /// Returns whether the caller was refused because it is not authenticated.
    pub fn is_unauthenticated(&self) -> bool {
        self.inner.reason == Reason::Unauthenticated
    }

    /// Sets the code, which identifies the refusal for programs. It should be a word of lower-case
    /// letters, digits and hyphens that never changes, and none of [those that the layer
    /// has](crate::guide::errors#what-does-each-code-mean) unless it means the same.
    ///
    /// Default: by the status, `unauthenticated` for 401, `forbidden` for 403, `not-found` for 404,
    /// `too-large` for 413, `wrong-content-type` for 415, `too-many-requests` for 429, `unavailable`
    /// for 503, `full` for 507, `failed` for all others of 5xx, and otherwise `refused`. A refusal
    /// for an [`Error`] has [the code of its kind](crate::ErrorKind::code).
    ///
    /// ```
    /// use http::StatusCode;
    /// use tower_chunked_upload::Refusal;
    ///
    /// let refusal = Refusal::new(StatusCode::BAD_REQUEST, "Only PDF files are taken");
    /// assert_eq!(refusal.code(), "refused");
    /// assert_eq!(refusal.with_code("not-a-pdf").code(), "not-a-pdf");
    /// ```
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.inner.code = code;
        self
    }

    /// Sets the status that the dialect uses.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.inner.status = status;
        self
    }

    /// Adds an entry to the JSON of the response. In tus, whose refusals are plain text, it is not
    /// sent.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.inner.content.insert(key.into(), value.into());
        self
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.inner.headers.append(name, value);
        self
    }

    /// Says what the dialect says for the error behind the refusal, if an error is its reason. What
    /// the application has added stays.
    pub(crate) fn in_words_of(mut self, dialect: impl FnOnce(Error) -> Self) -> Self {
        let error = self.inner.error.take_if(|_| self.inner.reason == Reason::Error);
        let Some(error) = error else { return self };
        let mut said = dialect(error);
        // That of the error, or the application's own.
        said.inner.code = self.inner.code;
        let (content, headers) = (self.inner.content, self.inner.headers);
        said.inner.content.extend(content.into_iter().filter(|(key, _)| key != "detail"));
        said.inner.headers.extend(headers);
        said
    }

    pub(crate) fn because_of(mut self, error: Error) -> Self {
        self.inner.error = Some(error);
        self
    }

    /// Returns the word that identifies the refusal for programs, such as `expired`. Unlike the
    /// [`detail`](Self::detail), it never changes.
    pub fn code(&self) -> &'static str {
        self.inner.code
    }

    /// Returns the status of the response.
    pub fn status(&self) -> StatusCode {
        self.inner.status
    }

    /// Returns the reason that the client can read.
    pub fn detail(&self) -> &str {
        self.inner.content.get("detail").and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns the underlying error, or `None` if the application refused the request itself. Its
    /// [`source`](std::error::Error::source) is meant for the log and not for the client.
    pub fn error(&self) -> Option<&Error> {
        self.inner.error.as_ref()
    }

    /// The content of the answer. A `code` that the application has added itself stays.
    pub(crate) fn content(&self) -> Map<String, Value> {
        let mut content = self.inner.content.clone();
        content.entry("code").or_insert_with(|| self.inner.code.into());
        content
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.inner.headers
    }
}

/// Refuses a request because a call of the application failed. The client gets the protocol's
/// status and message for the error.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let (code, status) = (error.kind().code(), StatusCode::INTERNAL_SERVER_ERROR);
        Self::because(Reason::Error, code, status, error.to_string()).because_of(error)
    }
}

/// The code of a refusal of the application that has given none.
fn code_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => code::UNAUTHENTICATED,
        StatusCode::FORBIDDEN => code::FORBIDDEN,
        StatusCode::NOT_FOUND => code::NOT_FOUND,
        StatusCode::PAYLOAD_TOO_LARGE => code::TOO_LARGE,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => code::WRONG_CONTENT_TYPE,
        StatusCode::TOO_MANY_REQUESTS => code::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE => code::UNAVAILABLE,
        StatusCode::INSUFFICIENT_STORAGE => code::FULL,
        status if status.is_server_error() => code::FAILED,
        _ => code::REFUSED,
    }
}
