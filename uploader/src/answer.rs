//! The server's responses, and what to do about them.

use std::error::Error;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{LOCATION, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use crate::backoff;
use crate::body::Unreadable;

/// The state of an upload.
#[derive(Debug, Deserialize)]
pub(crate) struct Standing {
    pub(crate) upload_id: String,
    pub(crate) offset: u64,
    // Only in the response to a status request.
    pub(crate) total: Option<u64>,
    pub(crate) status: Option<String>,
}

impl Standing {
    pub(crate) fn is_complete(&self) -> bool {
        self.status.as_deref() == Some("complete")
    }
}

/// Why a request failed, by what helps.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Retrying after some time, which the server may have given.
    Again { why: String, after: Option<Duration> },
    /// Continuing from this offset.
    Moved { why: String, offset: u64 },
    /// A new upload, because this one does not exist.
    Gone(String),
    /// A new upload, because this one's bytes are not the file's.
    Anew(String),
    /// Nothing.
    Refused(String),
}

impl Trouble {
    pub(crate) fn again(why: impl Into<String>) -> Self {
        Self::Again { why: why.into(), after: None }
    }
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Self {
        let is_ours = error.is_builder();
        let error = error.without_url();
        let why = explain(&error);
        match is_ours || causes(&error).any(|cause| cause.is::<Unreadable>()) {
            true => Self::Refused(why),
            false => Self::again(why),
        }
    }
}

/// What went wrong, and why.
pub(crate) fn explain(error: &(dyn Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The response, if it is a success.
pub(crate) async fn check(response: Response) -> Result<Response, Trouble> {
    let status = response.status();
    // An application may redirect its visitors once it has the file.
    if status.is_success() || status.is_redirection() {
        return Ok(response);
    }
    let after = retry_after(&response);
    // A body that is not JSON comes from a proxy, or from another service.
    let answer = serde_json::from_slice(&body(response).await?).unwrap_or(Value::Null);
    Err(judge(status, after, &answer))
}

/// What the server says. That is short: of anything longer, the rest is left out.
pub(crate) async fn body(mut response: Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while body.len() < LARGEST
        && let Some(piece) = response.chunk().await?
    {
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// Where the answer of a completion that takes long will be. The credentials go there, too, and so
/// to no other server.
pub(crate) fn address(response: &Response) -> Option<Url> {
    let address = response.headers().get(LOCATION)?.to_str().ok()?;
    let address = response.url().join(address).ok()?;
    (address.origin() == response.url().origin()).then_some(address)
}

/// Whether this 202 is of a completion that takes long. An application may have one of its own.
pub(crate) fn is_late(body: &[u8]) -> bool {
    serde_json::from_slice(body).is_ok_and(|answer: Value| answer["status"] == "finishing")
}

pub(crate) fn retry_after(response: &Response) -> Option<Duration> {
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    after.and_then(|value| backoff::retry_after(value, Timestamp::now()))
}

fn judge(status: StatusCode, after: Option<Duration>, answer: &Value) -> Trouble {
    let detail = answer["detail"].as_str().or(status.canonical_reason()).unwrap_or_default();
    let why = format!("{detail} ({})", status.as_u16());
    if let (400, Some(offset)) = (status.as_u16(), answer["offset"].as_u64()) {
        return Trouble::Moved { why, offset };
    }
    match (status.as_u16(), answer["code"].as_str().unwrap_or_default()) {
        // The bytes may have been damaged, which shows only when they are compared.
        (_, "checksum-mismatch" | "damaged" | "total-mismatch") => Trouble::Anew(why),
        // The status then says that it is complete.
        (410, "answer-not-kept") => Trouble::again(why),
        // An application has other codes, or none, for a file that it does not take.
        (404 | 410, "expired" | "not-found") => Trouble::Gone(why),
        // The status then says whether the upload is complete.
        (400, "already-complete" | "finishing" | "source-failed") => Trouble::again(why),
        // Somebody else has continued the upload.
        (_, "superseded") => Trouble::Refused(why),
        (408 | 409 | 429 | 500..=599, _) => Trouble::Again { why, after },
        _ => Trouble::Refused(why),
    }
}

const LARGEST: usize = 64 << 10;
