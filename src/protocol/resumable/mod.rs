//! "Resumable Uploads for HTTP", an IETF draft (draft-ietf-httpbis-resumable-upload).
//!
//! A request of the application becomes resumable: the bytes that have arrived when its connection
//! breaks are an upload, at a URL of its own. There the client asks where the upload stands, and
//! sends the rest. The application gets the request when all bytes have arrived, as if they had
//! come at once.

mod answer;
mod append;
mod config;
mod content;
mod create;
pub(crate) mod fields;
mod head;
mod interim;
mod status;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, CONTENT_DISPOSITION, CONTENT_TYPE, LOCATION, RETRY_AFTER,
};
use http::request::Parts;
use http::{Method, Response};

pub use self::config::Resumable;

use self::fields::{
    CONTENT_DIGEST, INTEROP_VERSION, REPR_DIGEST, UPLOAD_COMPLETE, UPLOAD_LENGTH, UPLOAD_LIMIT,
    UPLOAD_OFFSET, WANT_REPR_DIGEST,
};
use super::{Dialect, Exchange, IDEMPOTENCY_KEY, Incoming, Payload, Problem, Reply};
use crate::cors::Cors;
use crate::id::UploadId;
use crate::policy::{self, Refusal};
use crate::upload::Upload;

/// What a request is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Options,
    Create,
    Append,
    Status,
    Remove,
    /// A method that is not allowed on an upload.
    Other,
}

impl Dialect for Resumable {
    type Action = Action;

    const NAME: policy::Dialect = policy::Dialect::Resumable;

    fn route(&self, request: &Parts) -> Option<Action> {
        let path = self.path.as_ref()?;
        if path.below(request.uri.path()).is_some() {
            return Some(match request.method {
                Method::OPTIONS => Action::Options,
                Method::PATCH => Action::Append,
                Method::HEAD | Method::GET => Action::Status,
                Method::DELETE => Action::Remove,
                _ => Action::Other,
            });
        }
        let begins = match request.method {
            Method::GET | Method::HEAD | Method::TRACE | Method::CONNECT => return None,
            // A browser asks the application for its permission first.
            Method::OPTIONS if request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) => {
                return None;
            }
            Method::OPTIONS => false,
            _ => true,
        };
        if begins && !request.headers.contains_key(UPLOAD_COMPLETE) || !self.is_chosen(request) {
            return None;
        }
        if !begins {
            return Some(Action::Options);
        }
        // A value that is none is as good as no header. A whole request whose head cannot be kept
        // is an ordinary one.
        let complete = fields::boolean(&request.headers, &UPLOAD_COMPLETE)?;
        (!complete || self.can_keep(request)).then_some(Action::Create)
    }

    fn name(action: Action, _: &Method) -> &'static str {
        match action {
            Action::Options => "options",
            Action::Create => "create",
            Action::Append => "append",
            Action::Status => "status",
            Action::Remove => "cancel",
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
        body: &mut Incoming<B>,
    ) -> Result<Reply, Problem> {
        match action {
            Action::Options => Ok(Reply::Answer(self.options(exchange))),
            // Behind pointers, so that requests of other dialects do not need room for them.
            Action::Create => Box::pin(create::create(self, exchange, body)).await,
            Action::Append => Box::pin(append::append(self, exchange, body)).await,
            Action::Status => status::status(self, exchange).await.map(Reply::Answer),
            Action::Remove => status::remove(self, exchange).await.map(Reply::Answer),
            Action::Other => Err(answer::not_allowed().into()),
        }
    }

    fn prepare(&self, parts: &mut Parts, upload: &Upload) {
        let begins = self.path.as_ref().is_none_or(|it| it.below(parts.uri.path()).is_none());
        head::restore(parts, upload, begins);
    }

    fn refusal(&self, problem: Problem) -> Refusal {
        answer::refusal(problem)
    }

    fn encode(&self, refusal: &Refusal) -> Response<Bytes> {
        answer::encode(refusal)
    }

    fn cors(&self) -> Cors {
        if self.path.is_none() {
            return Cors::default();
        }
        Cors {
            methods: vec![
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::HEAD,
                Method::GET,
                Method::DELETE,
            ],
            request_headers: vec![
                UPLOAD_COMPLETE,
                UPLOAD_OFFSET,
                UPLOAD_LENGTH,
                INTEROP_VERSION,
                CONTENT_TYPE,
                CONTENT_DISPOSITION,
                CONTENT_DIGEST,
                REPR_DIGEST,
                WANT_REPR_DIGEST,
                IDEMPOTENCY_KEY,
            ],
            response_headers: vec![
                LOCATION,
                UPLOAD_OFFSET,
                UPLOAD_COMPLETE,
                UPLOAD_LENGTH,
                UPLOAD_LIMIT,
                REPR_DIGEST,
                RETRY_AFTER,
            ],
        }
    }
}

impl Resumable {
    /// The upload that the request names.
    fn upload_id(&self, parts: &Parts) -> Option<UploadId> {
        self.path.as_ref()?.below(parts.uri.path())?.parse().ok()
    }
}
