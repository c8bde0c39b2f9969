//! tus 1.0, the protocol of tus-js-client, Uppy, tuspy and many others.
//!
//! A client creates an upload by `POST` to one path, which tells it the URL of the upload. It sends
//! bytes there by `PATCH`, asks where the upload stands by `HEAD`, and removes it by `DELETE`. An
//! upload is complete as soon as it has all its bytes.
//!
//! The last byte is only acknowledged when the application has taken the file. Until then the
//! client is told that it is missing: clients continue after an error where `HEAD` says, so they
//! send that byte again and complete the upload once more, without knowing of any of this.

mod answer;
mod append;
pub(crate) mod checksum;
pub(crate) mod concat;
mod config;
mod create;
pub(crate) mod headers;
pub(crate) mod metadata;
mod status;

use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderName, LOCATION, RETRY_AFTER, TRAILER,
    TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{Method, Response};

pub use self::config::{Extensions, Tus};

use self::headers::{
    METHOD_OVERRIDE, TUS_CHECKSUM_ALGORITHM, TUS_EXTENSION, TUS_MAX_SIZE, TUS_RESUMABLE,
    TUS_VERSION, UPLOAD_CHECKSUM, UPLOAD_CONCAT, UPLOAD_DEFER_LENGTH, UPLOAD_EXPIRES,
    UPLOAD_LENGTH, UPLOAD_METADATA, UPLOAD_OFFSET,
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
    /// A method that is not allowed there.
    Other,
}

/// What the path of a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// The place where uploads are created.
    Creation,
    /// An upload, if there is one with this id.
    Upload(Option<UploadId>),
}

impl Dialect for Tus {
    type Action = Action;

    const NAME: policy::Dialect = policy::Dialect::Tus;

    fn route(&self, request: &Parts) -> Option<Action> {
        let target = self.target(request.uri.path())?;
        let headers = &request.headers;
        let speaks_tus = headers.contains_key(TUS_RESUMABLE);
        let method = match headers.get(METHOD_OVERRIDE) {
            Some(method) => &Method::from_bytes(method.as_bytes()).unwrap_or(Method::TRACE),
            None => &request.method,
        };
        Some(match (target, method) {
            (_, &Method::OPTIONS) => Action::Options,
            (Target::Creation, &Method::POST) if speaks_tus || headers::creates(headers) => {
                Action::Create
            }
            (Target::Upload(_), &Method::PATCH) => Action::Append,
            (Target::Upload(_), &Method::HEAD) => Action::Status,
            (Target::Upload(_), &Method::DELETE) => Action::Remove,
            // What a `GET` shows is the application's affair.
            (_, &Method::GET) => return None,
            _ if speaks_tus || headers.contains_key(METHOD_OVERRIDE) => Action::Other,
            _ => return None,
        })
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
        if action == Action::Options {
            return Ok(Reply::Answer(self.options(exchange)));
        }
        headers::check_version(&exchange.parts.headers)?;
        match action {
            Action::Create => create::create(self, exchange, body).await,
            Action::Append => append::append(self, exchange, body).await,
            Action::Status => status::status(self, exchange).await.map(Reply::Answer),
            Action::Remove => status::remove(self, exchange).await.map(Reply::Answer),
            Action::Options | Action::Other => Err(answer::not_allowed().into()),
        }
    }

    fn prepare(&self, parts: &mut Parts, _: &Upload) {
        parts.method = Method::POST;
        parts.uri = self.handler_path.replace(&parts.uri);
        for name in
            [CONTENT_LENGTH, CONTENT_TYPE, EXPECT, METHOD_OVERRIDE, TRAILER, TRANSFER_ENCODING]
        {
            parts.headers.remove(name);
        }
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
            methods: vec![Method::POST, Method::HEAD, Method::PATCH, Method::DELETE, Method::GET],
            request_headers: vec![
                TUS_RESUMABLE,
                UPLOAD_LENGTH,
                UPLOAD_OFFSET,
                UPLOAD_METADATA,
                UPLOAD_DEFER_LENGTH,
                UPLOAD_CONCAT,
                UPLOAD_CHECKSUM,
                CONTENT_TYPE,
                METHOD_OVERRIDE,
                IDEMPOTENCY_KEY,
                HeaderName::from_static("x-request-id"),
            ],
            response_headers: vec![
                LOCATION,
                TUS_RESUMABLE,
                TUS_VERSION,
                TUS_EXTENSION,
                TUS_MAX_SIZE,
                TUS_CHECKSUM_ALGORITHM,
                UPLOAD_OFFSET,
                UPLOAD_LENGTH,
                UPLOAD_DEFER_LENGTH,
                UPLOAD_METADATA,
                UPLOAD_CONCAT,
                UPLOAD_EXPIRES,
                RETRY_AFTER,
            ],
        }
    }
}

impl Tus {
    fn target(&self, path: &str) -> Option<Target> {
        let creation = self.path.as_ref()?;
        if creation.matches(path) {
            return Some(Target::Creation);
        }
        let last = creation.below(path)?;
        Some(Target::Upload(last.parse().ok()))
    }

    /// The upload that the request names.
    fn upload_id(&self, parts: &Parts) -> Option<UploadId> {
        match self.target(parts.uri.path()) {
            Some(Target::Upload(id)) => id,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn the_path_of_an_upload_is_one_segment_below_that_of_the_creation() {
        let id = UploadId::random();
        for path in ["/files", "/files/", "/"] {
            let tus = Tus::new(path);
            let base = path.trim_end_matches('/');
            let there = |path: &str| tus.target(&format!("{base}{path}"));
            assert_eq!(there("/"), Some(Target::Creation), "{path}");
            assert_eq!(there(&format!("/{id}")), Some(Target::Upload(Some(id))), "{path}");
            for other in
                ["/x", "/..", "/%2e", &format!("/{id}%00"), &format!("/{id}/").replace('a', "A")]
            {
                assert!(
                    matches!(there(other), Some(Target::Upload(None)) | None),
                    "{path} {other}"
                );
            }
            assert_eq!(there(&format!("/x/{id}")), None, "{path}");
            assert_eq!(there(&format!("//{id}")), None, "{path}");
        }
        assert_eq!(Tus::off().target("/"), None);
    }

    #[test]
    fn requests_that_are_not_of_the_protocol_pass() {
        let tus = Tus::new("/files");
        let route = |method: &str, path: &str, headers: &[(&str, &str)]| {
            let mut request = Request::builder().method(method).uri(path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            tus.route(&request.body(()).unwrap().into_parts().0)
        };
        let version = ("tus-resumable", "1.0.0");
        assert_eq!(route("POST", "/files", &[version]), Some(Action::Create));
        assert_eq!(route("POST", "/files", &[("upload-length", "1")]), Some(Action::Create));
        assert_eq!(route("POST", "/files", &[]), None);
        for other in [("upload-complete", "?1"), ("content-type", "multipart/form-data")] {
            let mut headers = vec![("upload-length", "1"), other];
            assert_eq!(route("POST", "/files", &headers), None);
            headers.push(version);
            assert_eq!(route("POST", "/files", &headers), Some(Action::Create));
        }
        assert_eq!(route("POST", "/files/x", &[]), None);
        assert_eq!(route("PATCH", "/files/x", &[]), Some(Action::Append));
        assert_eq!(route("GET", "/files/x", &[version]), None);
        assert_eq!(route("PUT", "/files/x", &[]), None);
        assert_eq!(route("PUT", "/files/x", &[version]), Some(Action::Other));
        assert_eq!(route("OPTIONS", "/files/x", &[]), Some(Action::Options));
        let to = |method| ("x-http-method-override", method);
        assert_eq!(route("POST", "/files/x", &[to("PATCH")]), Some(Action::Append));
        assert_eq!(route("POST", "/files/x", &[to("nonsense ")]), Some(Action::Other));
        assert_eq!(route("POST", "/other", &[version, to("PATCH")]), None);
    }
}
