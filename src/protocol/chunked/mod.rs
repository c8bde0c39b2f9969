//! The protocol of django-chunked-upload, which jQuery-File-Upload speaks in browsers.
//!
//! `POST` chunks to one path, then the id and the MD5 to another. Beyond the original, `GET` on the
//! chunk path tells where an upload stands and `DELETE` cancels it.

mod answer;
mod body;
mod caller;
mod chunk;
pub(crate) mod complete;
mod config;
pub(crate) mod content_range;
pub(crate) mod disposition;
pub(crate) mod form;
pub(crate) mod query;
mod status;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;

pub use self::answer::{Encoder, JsonEncoder};
pub(crate) use self::body::{Answered, BoxError};
pub(crate) use self::caller::Caller;
pub(crate) use self::complete::{Finished, takes};
pub(crate) use self::config::{Config, Route};
pub use self::form::FormLimits;

use self::answer::Answer;
use self::body::Incoming;
use crate::policy::Refusal;

/// What comes of a request to one of the two paths.
pub(crate) enum Outcome {
    /// With what is to be dropped when it is on its way.
    Answer(Response<Bytes>, Option<Answered>),
    /// The inner service answers.
    Finished(Box<Finished>),
}

pub(crate) async fn handle<B>(
    config: &Config,
    route: Route,
    request: Request<B>,
    caller: Caller,
) -> Outcome
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let (mut parts, body) = request.into_parts();
    detach(&mut parts);
    let version = parts.version;
    let mut body = Incoming::new(body, &parts.headers, config, caller.clone());
    let result = match (route, &parts.method) {
        (Route::Chunk, &Method::POST) => chunk::receive(config, &caller, &parts, &mut body).await,
        (Route::Complete, &Method::POST) => {
            match complete::prepare(config, &caller, parts, &mut body).await {
                // Its body was read to its end.
                Ok(finished) => return Outcome::Finished(Box::new(finished)),
                Err(refusal) => Err(refusal),
            }
        }
        (Route::Chunk, &Method::GET | &Method::HEAD) if query::has_id(&parts) => {
            status::status(config, &caller, &parts).await
        }
        (Route::Chunk, &Method::DELETE) if query::has_id(&parts) => {
            status::cancel(config, &caller, &parts).await
        }
        (_, method) => Ok(other_method(route, method, query::has_id(&parts))),
    };
    let mut answer = result.unwrap_or_else(Answer::from);
    if body.is_unasked() && version <= Version::HTTP_11 {
        // Whether the body still comes is the client's choice, so nobody knows where the next request
        // begins.
        answer = answer.header(header::CONNECTION, HeaderValue::from_static("close"));
    }
    // The answer goes out while the rest of the body, if any, is still being thrown away.
    let answered = body.drain();
    Outcome::Answer(answer.into_response(config), answered)
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

fn other_method(route: Route, method: &Method, has_id: bool) -> Answer {
    let allow = match route {
        Route::Chunk if has_id => "GET, HEAD, POST, DELETE, OPTIONS",
        _ => "POST, OPTIONS",
    };
    let answer = if method == Method::OPTIONS {
        Answer::empty(StatusCode::NO_CONTENT)
    } else {
        let detail = "This method is not allowed here";
        Answer::from(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, detail))
    };
    answer.header(header::ALLOW, HeaderValue::from_static(allow))
}
