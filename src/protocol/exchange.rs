//! One request of a dialect, and its outcome.

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};

use super::body::{BodyError, Incoming, Payload};
use super::caller::Caller;
use super::first_bytes::Rejected;
use super::hand_over::{self, Discards, Finish, Finished, Outcome, Pending};
use super::kept::Answers;
use super::token::{Presented, Tokens};
use crate::cors::Cors;
use crate::engine::{Error, ErrorKind, OwnerUploads, ShutdownGuard, Uploads};
use crate::id::UploadId;
use crate::log;
use crate::metric;
use crate::policy::{self, Action, Context, DynPolicy, MaxBytes, Refusal, SizeLimit};
use crate::upload::{Identity, Status, Upload};

/// A protocol for uploads, with its own messages, statuses and headers.
///
/// It calls the engine's public API. [`Exchange`] and [`Incoming`] have the parts that are the same
/// in all dialects.
pub(crate) trait Dialect: Send + Sync {
    /// The action of a request, determined by its method and path.
    type Action: Copy + Send;

    /// The name that a [`Policy`](crate::Policy) sees.
    const NAME: policy::Dialect;

    /// Returns the action of the request, if it belongs to this dialect.
    fn route(&self, request: &Parts) -> Option<Self::Action>;

    /// Returns a word for the action, for the log.
    fn name(action: Self::Action, method: &Method) -> &'static str;

    /// Whether such a request is there to call the inner service, which is then reserved for it.
    /// Others call it too if they finish an upload, once it is ready.
    fn reserves_inner(action: Self::Action) -> bool;

    /// Handles the request.
    fn handle<B: Payload>(
        &self,
        action: Self::Action,
        exchange: &Exchange<'_>,
        body: &mut Incoming<B>,
    ) -> impl Future<Output = Result<Reply, Problem>> + Send;

    /// Changes the head of a request that finishes this upload into that of a request that the inner
    /// service could have got without the layer.
    fn prepare(&self, parts: &mut Parts, upload: &Upload);

    /// Returns the status, message and headers for a problem.
    fn refusal(&self, problem: Problem) -> Refusal;

    /// Encodes a refusal as a response.
    fn encode(&self, refusal: &Refusal) -> Response<Bytes>;

    /// Returns what pages of other origins need for this dialect.
    fn cors(&self) -> Cors;
}

/// The result of a request that a dialect has handled.
pub(crate) enum Reply {
    /// The layer answers.
    Answer(Response<Bytes>),
    /// The inner service answers the request.
    Finished(Box<Finish>),
}

/// Why a dialect could not handle a request.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The engine refused the request or failed.
    Engine(Error),
    /// The body could not be read.
    Body(BodyError),
    /// The application or the dialect refused the request.
    Refused(Refusal),
}

/// The settings of the layer that all dialects share.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) uploads: Uploads,
    pub(crate) policy: Arc<dyn DynPolicy>,
    /// The largest request body that is replayed to the inner service, in bytes.
    pub(crate) replayed_bytes: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) min_rate: Option<(u64, Duration)>,
    pub(crate) drain: (u64, Duration),
    pub(crate) tokens: Tokens,
    pub(crate) log: log::Settings,
    pub(crate) answers: Answers,
}

/// A request without its body, and the client that waits for its answer.
pub(crate) struct Exchange<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) parts: &'a Parts,
    /// What the log is told about the request.
    pub(crate) seen: &'a log::Request,
    caller: &'a Caller,
    token: &'a Presented,
    /// The unfinished upload that the answer is about.
    upload: OnceLock<Identity>,
    guard: ShutdownGuard,
    dialect: policy::Dialect,
    /// The upload whose first bytes the application has refused.
    pub(super) rejected: OnceLock<Rejected>,
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
            tokens: Tokens::default(),
            log: log::Settings::default(),
            answers: Answers::default(),
        }
    }
}

impl<'a> Exchange<'a> {
    /// Returns what the application is told about the request.
    pub(crate) fn context(&self, action: Action, upload_id: Option<&'a UploadId>) -> Context<'a> {
        let mut context = Context {
            request: self.parts,
            action,
            upload_id,
            dialect: self.dialect,
            #[cfg(feature = "tokens")]
            by_token: None,
        };
        self.token.mark(&mut context);
        context
    }

    /// Returns the uploads of the caller. This is the first question to the application.
    pub(crate) async fn authorize(&self, context: &Context<'_>) -> Result<OwnerUploads, Problem> {
        if let Some(id) = context.upload_id {
            self.seen.names(id);
        }
        let owner = self.ask(self.settings.policy.authorize(context)).await?;
        self.seen.is_by(&self.settings.log, owner.as_ref());
        Ok(self.serving(self.settings.uploads.for_owner(owner)))
    }

    /// Returns the uploads that a request for an existing upload acts on: that of its token, or else
    /// those of the caller.
    pub(crate) async fn admit(&self, context: &mut Context<'a>) -> Result<OwnerUploads, Problem> {
        let uploads = self.admit_as(context.upload_id, context).await?;
        if let Some(id) = context.upload_id {
            self.confirm(id, &uploads);
        }
        Ok(uploads)
    }

    /// Does the same for a request that names its upload in its body. Until then it is taken to be
    /// that of its token.
    pub(crate) async fn admit_unnamed(
        &self,
        context: &mut Context<'a>,
    ) -> Result<OwnerUploads, Problem> {
        let named = self.token.upload();
        match self.token.redeem(named) {
            // It may be for another upload than the one that is gone.
            Some(Err(error)) => {
                self.token.put_by();
                self.authorize(context).await.map_err(|problem| match problem {
                    Problem::Refused(_) => error.into(),
                    problem => problem,
                })
            }
            _ => self.admit_as(named, context).await,
        }
    }

    async fn admit_as(
        &self,
        named: Option<&UploadId>,
        context: &mut Context<'a>,
    ) -> Result<OwnerUploads, Problem> {
        let Some(uploads) = self.token.redeem(named) else {
            let session = self.authorize(context).await;
            return session.map_err(|problem| match problem {
                Problem::Refused(refusal) => self.token.explain(refusal).into(),
                problem => problem,
            });
        };
        self.token.mark(context);
        Ok(self.serving(uploads?))
    }

    /// Whether the token has admitted the request, which names another upload after all, or none.
    /// Then the caller is [authorized](Self::authorize), as if there were no token.
    pub(crate) fn is_for_another(&self, named: Option<&UploadId>) -> bool {
        self.token.is_for_another(named)
    }

    /// Authorizes the caller of a request that is not for the upload of its token.
    pub(crate) async fn authorize_instead(
        &self,
        context: &mut Context<'a>,
        named: Option<&UploadId>,
    ) -> Result<OwnerUploads, Problem> {
        self.token.put_by();
        self.token.mark(context);
        match named {
            Some(_) => self.admit_as(None, context).await,
            // It begins an upload, for which there is no token.
            None => self.authorize(context).await,
        }
    }

    /// Notes for the log whose upload a request is for that a token has admitted.
    pub(crate) fn confirm(&self, id: &UploadId, uploads: &OwnerUploads) {
        if self.token.admits() {
            self.seen.names(id);
            self.seen.is_by(&self.settings.log, uploads.owner());
        }
    }

    fn serving(&self, uploads: OwnerUploads) -> OwnerUploads {
        let uploads = match self.dialect {
            // The address of a completion is the same in all dialects.
            policy::Dialect::Other => uploads,
            dialect => uploads.for_dialect(dialect),
        };
        let arrived = self.caller.arrived();
        match self.token.admits() {
            false => uploads.for_request(arrived, &self.parts.extensions),
            true => {
                let mut extensions = self.parts.extensions.clone();
                self.token.mark_extensions(&mut extensions);
                uploads.for_request(arrived, &extensions)
            }
        }
    }

    /// Notes where the upload of the request stands.
    pub(crate) fn stands(&self, upload: &Upload) {
        self.seen.stands(upload);
        if upload.status() != Status::Complete {
            // Only the first one counts.
            self.upload.get_or_init(|| upload.identity());
        }
    }

    /// Adds a token for an upload to an answer, if the application hands them out.
    pub(crate) fn hand_out_token(&self, upload: Identity, headers: &mut HeaderMap) {
        self.token.hand_out(self.settings, upload, headers);
    }

    /// Returns the maximum size of the file that the request may add to, where `configured` is the
    /// server's limit.
    pub(crate) async fn limit(
        &self,
        context: Context<'_>,
        configured: Option<u64>,
    ) -> Result<Option<u64>, Problem> {
        let question = SizeLimit { context, configured };
        let limit = match self.ask(self.settings.policy.max_bytes(&question)).await? {
            MaxBytes::Configured => configured,
            MaxBytes::AtMost(bytes) => Some(configured.unwrap_or(bytes).min(bytes)),
            MaxBytes::Override(limit) => limit,
        };
        Ok(self.settings.uploads.within_reach(limit))
    }

    /// Waits for a decision of the application, without a limit while the client waits. After that,
    /// the idle timeout and a shutdown limit it, since nothing else would end it.
    pub(crate) async fn ask<T>(
        &self,
        decision: impl Future<Output = Result<T, Refusal>> + Send,
    ) -> Result<T, Problem> {
        let mut decision = pin!(decision);
        if let Some(decided) = self.caller.until_left(decision.as_mut()).await {
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

    /// Does the same for a call that cannot refuse.
    pub(crate) async fn tell(&self, notice: impl Future<Output = ()> + Send) {
        let notice = async {
            notice.await;
            Ok(())
        };
        // This can only fail because it took too long.
        drop(self.ask(notice).await);
    }
}

/// Lets a dialect handle a request.
pub(crate) async fn serve<D: Dialect, B: Payload>(
    dialect: &D,
    settings: &Settings,
    action: D::Action,
    request: Request<B>,
    caller: Caller,
    seen: &log::Request,
) -> Outcome {
    let (mut parts, body) = request.into_parts();
    detach(&mut parts);
    let token = Presented::read(settings, &mut parts).await;
    let guard = settings.uploads.shutdown_guard();
    let mut body = Incoming::new(body, &parts.headers, settings, caller.clone());
    let exchange = Exchange {
        settings,
        parts: &parts,
        seen,
        caller: &caller,
        token: &token,
        upload: OnceLock::new(),
        guard,
        dialect: D::NAME,
        rejected: OnceLock::new(),
    };
    let handled = dialect.handle(action, &exchange, &mut body).await;
    seen.has_received(body.received());
    let mut response = match handled {
        Ok(Reply::Answer(mut response)) => {
            if let Some(upload) = exchange.upload.get().filter(|_| response.status().is_success()) {
                exchange.hand_out_token(*upload, response.headers_mut());
            }
            response
        }
        Ok(Reply::Finished(finish)) => {
            let Finish { completion, replay, mut framing } = *finish;
            if framing.discards == Discards::None {
                // A part may be named whose last byte has completed a joined upload.
                let whole = || completion.file().record().identity();
                let upload = exchange.upload.get().copied().unwrap_or_else(whole);
                exchange.hand_out_token(upload, &mut framing.not_taken);
            }
            seen.stands(completion.file().record());
            let refused = framing.clone();
            let pending = Pending {
                completion,
                framing,
                unreadable: replay.unreadable(),
                is_late: Arc::default(),
            };
            match hand_over::verify(&exchange, pending).await {
                // The body has been read completely.
                Ok(pending) => {
                    let late = settings.late(&parts, &pending);
                    dialect.prepare(&mut parts, pending.completion.file().record());
                    token.mark_extensions(&mut parts.extensions);
                    parts.extensions.insert(pending.completion.file().clone());
                    let request = Request::from_parts(parts, replay);
                    return Outcome::Finished(Box::new(Finished { request, pending, late }));
                }
                Err(problem) => refused.frame_refusal(refuse(dialect, problem, seen)),
            }
        }
        Err(problem) => {
            if let Some(rejected) = exchange.rejected.get() {
                // One that was not committed is gone already.
                drop(Box::pin(rejected.remove()).await);
            }
            refuse(dialect, problem, seen)
        }
    };
    if body.is_awaiting_continue() && parts.version <= Version::HTTP_11 {
        // The client may still send the body or not, so the start of the next request is unknown.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    // The answer is sent while the rest of the body, if any, is still being discarded.
    let answered = body.drain();
    Outcome::Answer(with_headers(response), answered)
}

/// Logs a refusal and encodes it as the dialect's response.
pub(crate) fn refuse<D: Dialect>(
    dialect: &D,
    problem: Problem,
    seen: &log::Request,
) -> Response<Bytes> {
    let refusal = dialect.refusal(problem);
    metric::refused(D::NAME, refusal.code());
    log_refused(&refusal, seen);
    let mut response = dialect.encode(&refusal);
    // An application's code need not be one that fits a header.
    if let Ok(code) = HeaderValue::from_str(refusal.code()) {
        response.headers_mut().insert(ERROR_CODE, code);
    }
    response.extensions_mut().insert(refusal);
    with_headers(response)
}

/// Adds the headers that all answers of the layer have.
pub(crate) fn with_headers(mut response: Response<Bytes>) -> Response<Bytes> {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Copies the values that may be slices of the HTTP library's read buffer. They would keep the
/// whole buffer alive while the body is being received.
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

/// Logs a refusal as an error if an operator must fix it, and otherwise as the client's mistake.
fn log_refused(refusal: &Refusal, seen: &log::Request) {
    let (status, code, error) = (refusal.status(), refusal.code(), refusal.error());
    let must_fix = match error.map(Error::kind) {
        // Its status says nothing: in some dialects a client that disconnects gets a 503.
        Some(kind) => matches!(
            kind,
            ErrorKind::Store | ErrorKind::Full | ErrorKind::Damaged | ErrorKind::AlreadyExists
        ),
        None => status.is_server_error() && !PASSING.contains(&status),
    };
    let error = error.map(|error| error as _);
    match must_fix {
        true => seen.has_failed(status.as_u16(), code, error),
        false => seen.is_refused(status.as_u16(), code, error),
    }
}

/// With these an application, and a dialect that asks for patience, say what will pass.
const PASSING: [StatusCode; 2] =
    [StatusCode::SERVICE_UNAVAILABLE, StatusCode::INSUFFICIENT_STORAGE];

/// Has the code of a refusal. The answers of some protocols have no other place for it, and that to
/// a `HEAD` none at all.
pub(crate) const ERROR_CODE: HeaderName = HeaderName::from_static("upload-error-code");

impl<E: Into<Error>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Engine(error.into())
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
