//! The addresses of completions that take long.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LOCATION, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};

use super::kept::restore;
use super::location::Location;
use super::path::Path;
use super::refusals::not_stored;
use super::{Dialect, Exchange, Incoming, Payload, Problem, Reply};
use crate::code;
use crate::cors::Cors;
use crate::engine::{Error, ErrorKind};
use crate::id::UploadId;
use crate::policy::{self, Refusal};
use crate::upload::{Status, Upload};

/// How completions that take long are answered, for
/// [`ChunkedUploadLayer::long_completions`](crate::ChunkedUploadLayer::long_completions).
#[derive(Clone, Debug)]
#[must_use]
pub struct LongCompletions {
    /// `None` if completions are waited for.
    path: Option<Path>,
    pub(super) after: Duration,
    location: Location,
}

impl LongCompletions {
    /// Creates settings in which the address of a completion is `path`, a slash and the id of the
    /// upload, for all protocols: `/api/completions/0123…`. The path must be one that neither the
    /// application nor another protocol uses.
    ///
    /// The path is compared byte by byte with that of the request as the layer sees it: under
    /// axum's `nest` and `nest_service`, without the prefix.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: Some(Path::new(path)), ..Self::off() }
    }

    /// Completions are waited for.
    pub(crate) fn off() -> Self {
        Self { path: None, after: Duration::from_secs(10), location: Location::Path }
    }

    /// Sets how long the client waits for the handler before it gets 202. Default: 10 seconds. With
    /// zero, the client gets 202 unless the handler responds immediately.
    pub fn after(mut self, time: Duration) -> Self {
        self.after = time;
        self
    }

    /// Sets what clients see in front of the id, such as `https://example.org/api/completions` or
    /// `/api/completions`. Default: the path that was given to [`new`](Self::new).
    ///
    /// This is needed if a proxy or an outer router, such as axum's `nest`, removes a prefix of the
    /// path.
    pub fn public_url(mut self, url: impl AsRef<str>) -> Self {
        self.location = Location::base(url.as_ref());
        self
    }

    /// Tells clients the absolute URL, with the host that the request names. Default: off, so that
    /// the URL is a path.
    ///
    /// If `forwarded` is true, `X-Forwarded-Proto` and `X-Forwarded-Host` are used: pass true only
    /// behind a proxy that sets them. If it is false, the scheme is that of the request's URI, or
    /// `http` if it has none, as over HTTP/1.1, even behind TLS. This setting and
    /// [`public_url`](Self::public_url) replace each other.
    pub fn absolute_urls(mut self, forwarded: bool) -> Self {
        self.location = Location::Host { forwarded };
        self
    }

    /// The address of the completion of an upload.
    pub(super) fn url(&self, parts: &Parts, id: &UploadId) -> Option<HeaderValue> {
        let url = self.location.url(parts, self.path.as_ref()?.as_str(), id);
        HeaderValue::try_from(url).ok()
    }
}

/// What a request is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Status,
    /// A method that is not allowed.
    Other,
}

impl Dialect for LongCompletions {
    type Action = Action;

    const NAME: policy::Dialect = policy::Dialect::Other;

    fn route(&self, request: &Parts) -> Option<Action> {
        self.path.as_ref()?.below(request.uri.path())?;
        Some(match request.method {
            Method::GET | Method::HEAD => Action::Status,
            _ => Action::Other,
        })
    }

    fn name(action: Action, _: &Method) -> &'static str {
        match action {
            Action::Status => "completion",
            Action::Other => "other",
        }
    }

    fn reserves_inner(_: Action) -> bool {
        false
    }

    async fn handle<B: Payload>(
        &self,
        action: Action,
        exchange: &Exchange<'_>,
        _: &mut Incoming<B>,
    ) -> Result<Reply, Problem> {
        match action {
            Action::Status => Box::pin(self.status(exchange)).await.map(Reply::Answer),
            Action::Other => {
                let detail = "This method is not allowed here";
                let (code, status) = (code::METHOD_NOT_ALLOWED, StatusCode::METHOD_NOT_ALLOWED);
                let refusal = Refusal::coded(code, status, detail);
                Err(refusal.header(ALLOW, HeaderValue::from_static("GET, HEAD")).into())
            }
        }
    }

    fn prepare(&self, _: &mut Parts, _: &Upload) {}

    fn refusal(&self, problem: Problem) -> Refusal {
        match problem {
            Problem::Refused(refused) => refused.in_words_of(|error| self.refusal(error.into())),
            Problem::Engine(error) => refusal(error.kind()).because_of(error),
            // No body is read.
            Problem::Body(_) => refusal(&ErrorKind::Source),
        }
    }

    fn encode(&self, refusal: &Refusal) -> Response<Bytes> {
        let content = serde_json::Value::Object(refusal.content()).to_string();
        let mut response = Response::new(Bytes::from(content));
        *response.status_mut() = refusal.status();
        *response.headers_mut() = refusal.headers().clone();
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }

    fn cors(&self) -> Cors {
        match self.path {
            None => Cors::default(),
            Some(_) => Cors {
                methods: vec![Method::GET, Method::HEAD],
                request_headers: Vec::new(),
                response_headers: vec![LOCATION, CONTENT_LOCATION, RETRY_AFTER],
            },
        }
    }
}

impl LongCompletions {
    async fn status(&self, exchange: &Exchange<'_>) -> Result<Response<Bytes>, Problem> {
        let last = self.path.as_ref().and_then(|path| path.below(exchange.parts.uri.path()));
        let id: Option<UploadId> = last.and_then(|id| id.parse().ok());
        let mut context = exchange.context(policy::Action::Status, id.as_ref());
        let uploads = exchange.admit(&mut context).await?;
        let upload = uploads.status(&id.ok_or(ErrorKind::NotFound)?).await?;
        exchange.seen.stands(&upload);
        let settings = exchange.settings;
        if upload.status() == Status::Finishing {
            let accepted = settings.accepted(exchange.parts, &upload.id);
            return accepted.ok_or_else(|| ErrorKind::NotFound.into());
        }
        if let Some(answer) = settings.uploads.kept_answer(&upload) {
            return Ok(restore(answer));
        }
        let gone = |code, detail| Refusal::coded(code, StatusCode::GONE, detail);
        Err(match upload.status() {
            Status::Complete => {
                gone(code::ANSWER_NOT_KEPT, "The response to the completion is no longer available")
            }
            Status::Interrupted => gone(code::INTERRUPTED, "The completion was interrupted"),
            _ => {
                let detail = "The upload is not being completed";
                Refusal::coded(code::NOT_COMPLETING, StatusCode::CONFLICT, detail)
            }
        }
        .into())
    }
}

fn refusal(kind: &ErrorKind) -> Refusal {
    let code = kind.code();
    let refuse = |status, detail: &str| Refusal::coded(code, status, detail);
    let soon = HeaderValue::from_static("1");
    match kind {
        ErrorKind::NotFound => refuse(StatusCode::NOT_FOUND, "Upload not found"),
        ErrorKind::Expired => refuse(StatusCode::GONE, "Upload has expired"),
        ErrorKind::Damaged => refuse(StatusCode::GONE, "The stored upload is damaged"),
        ErrorKind::Store | ErrorKind::Full | ErrorKind::AlreadyExists => not_stored(code),
        kind => refuse(StatusCode::SERVICE_UNAVAILABLE, &Error::from(kind.clone()).to_string())
            .header(RETRY_AFTER, soon),
    }
}
