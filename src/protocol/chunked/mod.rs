//! The protocol of django-chunked-upload, which jQuery-File-Upload speaks in browsers.
//!
//! A client sends chunks to one path by `POST`, then the id and the MD5 to another. Beyond the
//! original, `GET` on the chunk path returns the status of an upload and `DELETE` cancels it.

mod answer;
mod chunk;
pub(crate) mod complete;
mod config;
pub(crate) mod content_range;
pub(crate) mod form;
pub(crate) mod query;
mod status;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};

pub use self::answer::{Encoder, JsonEncoder};
pub use self::config::Chunked;
pub use self::form::FormLimits;

use self::answer::Answer;
use super::{Dialect, Exchange, IDEMPOTENCY_KEY, Incoming, Payload, Problem, Reply};
use crate::code;
use crate::cors::Cors;
use crate::policy::{self, Refusal};
use crate::upload::Upload;

/// Which of the two paths a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Chunk,
    Complete,
}

impl Dialect for Chunked {
    type Action = Action;

    const NAME: policy::Dialect = policy::Dialect::Chunked;

    fn route(&self, request: &Parts) -> Option<Action> {
        self.action(request.uri.path())
    }

    fn name(action: Action, method: &Method) -> &'static str {
        match (action, method) {
            (Action::Complete, &Method::POST) => "complete",
            (Action::Chunk, &Method::POST) => "append",
            (Action::Chunk, &Method::GET | &Method::HEAD) => "status",
            (Action::Chunk, &Method::DELETE) => "cancel",
            (_, &Method::OPTIONS) => "options",
            _ => "other",
        }
    }

    fn reserves_inner(action: Action) -> bool {
        action == Action::Complete
    }

    async fn handle<B: Payload>(
        &self,
        action: Action,
        exchange: &Exchange<'_>,
        body: &mut Incoming<B>,
    ) -> Result<Reply, Problem> {
        let has_id = || query::has_id(exchange.parts);
        let answer = match (action, &exchange.parts.method) {
            (Action::Complete, &Method::POST) => {
                return complete::complete(self, exchange, body).await;
            }
            (Action::Chunk, &Method::POST) => chunk::receive(self, exchange, body).await?,
            (Action::Chunk, &Method::GET | &Method::HEAD) if has_id() => {
                status::status(exchange).await?
            }
            (Action::Chunk, &Method::DELETE) if has_id() => status::cancel(exchange).await?,
            (_, method) => other_method(action, method, has_id())?,
        };
        let Answer { status, content, headers } = answer;
        Ok(Reply::Answer(self.response(status, headers, content.as_ref())))
    }

    fn prepare(&self, parts: &mut Parts, _: &Upload) {
        parts.uri = self.complete_path.replace(&parts.uri);
    }

    fn refusal(&self, problem: Problem) -> Refusal {
        answer::refusal(problem)
    }

    fn encode(&self, refusal: &Refusal) -> Response<Bytes> {
        self.response(refusal.status(), refusal.headers().clone(), Some(&refusal.content()))
    }

    fn cors(&self) -> Cors {
        Cors {
            methods: vec![Method::GET, Method::POST, Method::DELETE],
            request_headers: vec![
                header::CONTENT_DISPOSITION,
                self.range_header.clone(),
                header::CONTENT_TYPE,
                IDEMPOTENCY_KEY,
            ],
            response_headers: vec![header::RANGE, header::RETRY_AFTER],
        }
    }
}

impl Chunked {
    fn action(&self, path: &str) -> Option<Action> {
        if self.chunk_path.matches(path) {
            Some(Action::Chunk)
        } else if self.complete_path.matches(path) {
            Some(Action::Complete)
        } else {
            None
        }
    }
}

fn other_method(action: Action, method: &Method, has_id: bool) -> Result<Answer, Refusal> {
    let allow = HeaderValue::from_static(match action {
        Action::Chunk if has_id => "GET, HEAD, POST, DELETE, OPTIONS",
        _ => "POST, OPTIONS",
    });
    if method == Method::OPTIONS {
        return Ok(Answer::empty(StatusCode::NO_CONTENT).header(header::ALLOW, allow));
    }
    let (code, status) = (code::METHOD_NOT_ALLOWED, StatusCode::METHOD_NOT_ALLOWED);
    let refusal = Refusal::coded(code, status, "This method is not allowed here");
    Err(refusal.header(header::ALLOW, allow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_matches_with_and_without_a_slash() {
        let chunked = Chunked::new();
        for (path, action) in [
            ("/api/chunked_upload", Some(Action::Chunk)),
            ("/api/chunked_upload/", Some(Action::Chunk)),
            ("/api/chunked_upload_complete", Some(Action::Complete)),
            ("/api/chunked_upload_complete/", Some(Action::Complete)),
            ("/api/chunked_upload//", None),
            ("/api/chunked_upload/x", None),
            ("/api/chunked_uploa", None),
            ("//api/chunked_upload", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(chunked.action(path), action, "{path}");
        }
    }
}
