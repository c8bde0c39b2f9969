//! One request of a dialect, and what becomes of it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderValue, Request, Response, Uri, Version};

use super::body::{BodyError, Incoming, Payload};
use super::caller::Caller;
use super::hand_over::{self, Finished, Outcome};
use crate::cors::Cors;
use crate::engine::{Completion, Error, ErrorKind, OwnerUploads, ShutdownGuard, Uploads};
use crate::id::UploadId;
use crate::log;
use crate::policy::{self, Action, Context, DynPolicy, MaxBytes, Refusal, SizeLimit};

/// A protocol for uploads: its words, its statuses, its headers.
///
/// It calls the engine with what everybody has. What is the same in all of them, it finds in an
/// [`Exchange`] and in [`Incoming`].
pub(crate) trait Dialect: Send + Sync {
    /// What a request wants, told by its method and path.
    type Action: Copy + Send;

    /// What a [`Policy`](crate::Policy) is told of it.
    const NAME: policy::Dialect;

    /// What the request wants, if it is one of this dialect's.
    fn route<B>(&self, request: &Request<B>) -> Option<Self::Action>;

    /// Whether such a request may end in the inner service.
    fn may_finish(action: Self::Action) -> bool;

    /// Does what the request wants.
    fn handle<B: Payload>(
        &self,
        action: Self::Action,
        exchange: &Exchange<'_>,
        body: &mut Incoming<B>,
    ) -> impl Future<Output = Result<Reply, Problem>> + Send;

    /// The target of the request that the inner service gets.
    fn handler_uri(&self, uri: &Uri) -> Uri;

    /// The status, the words and the headers for a problem.
    fn refusal(&self, problem: Problem) -> Refusal;

    /// Writes a refusal down.
    fn encode(&self, refusal: &Refusal) -> Response<Bytes>;

    /// What pages of other origins need to speak it.
    fn cors(&self) -> Cors;
}

/// What a dialect has made of a request.
pub(crate) enum Reply {
    /// The layer answers.
    Answer(Response<Bytes>),
    /// The inner service answers, to the request with this body.
    Finished(Box<Completion>, Bytes),
}

/// Why it has made nothing of it.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The engine has refused or failed.
    Engine(Error),
    /// The body did not come as it should.
    Body(BodyError),
    /// The application, or the dialect in its own words, has refused.
    Refused(Refusal),
}

/// The settings of the layer that all dialects share.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) uploads: Uploads,
    pub(crate) policy: Arc<dyn DynPolicy>,
    /// The largest body that the inner service gets once more.
    pub(crate) replayed_bytes: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) min_rate: Option<(u64, Duration)>,
    pub(crate) drain: (u64, Duration),
}

/// A request but for its body, and who waits for its answer.
pub(crate) struct Exchange<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) parts: &'a Parts,
    caller: &'a Caller,
    guard: ShutdownGuard,
    dialect: policy::Dialect,
}

impl Settings {
    pub(crate) fn new(uploads: Uploads) -> Self {
        Self {
            uploads,
            policy: Arc::new(()),
            replayed_bytes: 64 * 1024,
            idle_timeout: Duration::from_secs(60),
            min_rate: None,
            drain: (32 * 1024 * 1024, Duration::from_secs(10)),
        }
    }
}

impl<'a> Exchange<'a> {
    /// What the application is told of the request.
    pub(crate) fn context(&self, action: Action, upload_id: Option<&'a UploadId>) -> Context<'a> {
        Context { request: self.parts, action, upload_id, dialect: self.dialect }
    }

    /// The uploads of whoever asks. It is the first question to the application.
    pub(crate) async fn authorize(&self, context: &Context<'_>) -> Result<OwnerUploads, Problem> {
        let owner = self.ask(self.settings.policy.authorize(context)).await?;
        let uploads = self.settings.uploads.for_owner(owner);
        Ok(uploads.for_request(self.caller.came(), &self.parts.extensions))
    }

    /// The largest size of a file that the request may add to, where `configured` is the server's limit.
    pub(crate) async fn limit(
        &self,
        context: Context<'_>,
        configured: Option<u64>,
    ) -> Result<Option<u64>, Problem> {
        let question = SizeLimit { context, configured };
        let limit = match self.ask(self.settings.policy.max_bytes(&question)).await? {
            MaxBytes::Configured => configured,
            MaxBytes::AtMost(bytes) => {
                Some(configured.map_or(bytes, |configured| configured.min(bytes)))
            }
            MaxBytes::Override(limit) => limit,
        };
        Ok(self.settings.uploads.within_reach(limit))
    }

    /// What the application decides. It may take its time while its caller waits; afterwards no longer
    /// than a body may be silent, and not beyond a shutdown: nobody would end it otherwise.
    pub(crate) async fn ask<T>(
        &self,
        decision: impl Future<Output = Result<T, Refusal>> + Send,
    ) -> Result<T, Problem> {
        let mut decision = pin!(decision);
        if let Some(decided) = self.caller.attend(decision.as_mut()).await {
            return decided.map_err(Problem::from);
        }
        tokio::select! {
            decided = &mut decision => decided.map_err(Problem::from),
            () = tokio::time::sleep(self.settings.idle_timeout) => {
                Err(ErrorKind::Superseded.into())
            }
            () = self.guard.stopping() => Err(ErrorKind::ShuttingDown.into()),
        }
    }

    /// The same for what cannot refuse.
    pub(crate) async fn tell(&self, told: impl Future<Output = ()> + Send) {
        let told = async {
            told.await;
            Ok(())
        };
        // It may only be too late.
        drop(self.ask(told).await);
    }
}

/// Has a request handled by its dialect.
pub(super) async fn serve<D: Dialect, B: Payload>(
    dialect: &D,
    settings: &Settings,
    action: D::Action,
    request: Request<B>,
    caller: Caller,
) -> Outcome {
    let (mut parts, body) = request.into_parts();
    detach(&mut parts);
    let guard = settings.uploads.shutdown_guard();
    let mut body = Incoming::new(body, &parts.headers, settings, caller.clone());
    let exchange = Exchange { settings, parts: &parts, caller: &caller, guard, dialect: D::NAME };
    let mut response = match dialect.handle(action, &exchange, &mut body).await {
        Ok(Reply::Answer(response)) => response,
        Ok(Reply::Finished(completion, replay)) => {
            match hand_over::verify(&exchange, *completion).await {
                // The body was read to its end.
                Ok(completion) => {
                    let uri = dialect.handler_uri(&parts.uri);
                    let finished = Finished { parts, uri, body: replay, completion };
                    return Outcome::Finished(Box::new(finished));
                }
                Err(problem) => refuse(dialect, problem),
            }
        }
        Err(problem) => refuse(dialect, problem),
    };
    if body.is_unasked() && parts.version <= Version::HTTP_11 {
        // Whether the body still comes is the client's choice, so nobody knows where the next request
        // begins.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    // The answer goes out while the rest of the body, if any, is still being thrown away.
    let answered = body.drain();
    Outcome::Answer(with_headers(response), answered)
}

/// Says no, in the dialect's words, to the client and to the log.
pub(super) fn refuse<D: Dialect>(dialect: &D, problem: Problem) -> Response<Bytes> {
    let refusal = dialect.refusal(problem);
    log_refused(&refusal);
    let mut response = dialect.encode(&refusal);
    response.extensions_mut().insert(refusal);
    with_headers(response)
}

/// What is the same in all answers of the layer.
fn with_headers(mut response: Response<Bytes>) -> Response<Bytes> {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Copies what may be slices of the HTTP library's read buffer: as long as the body comes, they
/// would keep the whole of it.
fn detach(parts: &mut Parts) {
    for value in parts.headers.values_mut() {
        if let Ok(mut copy) = HeaderValue::from_bytes(value.as_bytes()) {
            copy.set_sensitive(value.is_sensitive());
            *value = copy;
        }
    }
    if let Ok(copy) = parts.uri.to_string().try_into() {
        parts.uri = copy;
    }
}

/// A refusal is the client's doing, or something that an operator must mend.
fn log_refused(refusal: &Refusal) {
    let status = refusal.status();
    match refusal.error() {
        Some(error) if status.is_server_error() || *error.kind() == ErrorKind::Damaged => {
            log::failed("serve an upload", None, error);
        }
        error => log::refused(status.as_u16(), refusal.detail(), error.map(|error| error as _)),
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl From<ErrorKind> for Problem {
    fn from(kind: ErrorKind) -> Self {
        Self::Engine(kind.into())
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        refusal.into_error().map_or_else(Self::Refused, Self::Engine)
    }
}
