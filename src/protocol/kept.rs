//! Answers of the application that are kept, and completions that take long.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_TYPE, ETAG,
    HeaderName, LAST_MODIFIED, LOCATION, RETRY_AFTER,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, response};
use serde_json::json;

use super::completions::LongCompletions;
use super::exchange::{Settings, with_headers};
use super::hand_over::{Framing, Late, Pending, Verdict};
use super::token::UPLOAD_TOKEN;
use crate::id::UploadId;
use crate::time;
use crate::upload::{KeptAnswer, Status, Upload};

/// What the layer does with answers of the application.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    /// How long they are kept; `None` means not at all.
    pub(crate) time: Option<Duration>,
    /// The headers that are kept beside the usual ones.
    pub(crate) headers: Arc<BTreeSet<String>>,
    /// `None` if clients wait for an answer, however long it takes.
    pub(crate) long: Option<LongCompletions>,
}

/// Says in an answer's extensions that the application has not given it just now.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Given {
    /// It was kept.
    Kept,
    /// The application still works on it.
    Accepted,
}

impl Given {
    /// The word that logs and metrics have for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Accepted => "accepted",
        }
    }
}

impl Answers {
    /// Whether an answer is kept that means this. One that takes no file is told only at the address
    /// of a completion that takes long.
    pub(crate) fn keeps(&self, verdict: Verdict) -> bool {
        self.time.is_some() && (verdict == Verdict::Taken || self.long.is_some())
    }
}

impl Settings {
    /// Makes what is kept of an answer with this head and body, after it was framed.
    pub(crate) fn keep(
        &self,
        head: &response::Parts,
        body: Bytes,
        framing: &Framing,
    ) -> Option<KeptAnswer> {
        let until = self.uploads.now().checked_add(self.answers.time?).unwrap_or_else(time::never);
        let mut answer = KeptAnswer::new(head.status.as_u16(), body, until);
        for (name, value) in &head.headers {
            let is_kept = KEPT.contains(name)
                || self.answers.headers.contains(name.as_str())
                || framing.sets(name);
            // A token is for whoever was answered just now.
            if is_kept && name != UPLOAD_TOKEN {
                let text = value.as_bytes().iter().copied().map(char::from).collect();
                answer.headers.push((name.as_str().to_owned(), text));
            }
        }
        let bytes = answer.headers.iter().map(|(name, value)| name.len() + value.len());
        (bytes.sum::<usize>() <= MAX_HEADERS).then_some(answer)
    }

    /// Returns the answer that is kept with an upload which the application has taken.
    pub(crate) fn kept(&self, upload: &Upload) -> Option<Response<Bytes>> {
        let answer = self.uploads.kept_answer(upload)?;
        (upload.status() == Status::Complete).then(|| restore(answer))
    }

    /// What the client gets in case that the completion takes long.
    pub(super) fn late(&self, parts: &Parts, pending: &Pending) -> Option<Late> {
        let after = self.answers.long.as_ref()?.after;
        let answer = self.accepted(parts, pending.completion.file().id())?;
        let answer = with_headers(pending.framing().clone().frame_later(answer));
        Some(Late { after, answer, is_told: Arc::clone(&pending.is_late) })
    }

    /// The answer to a completion that takes long: it says where to ask for what comes of it.
    pub(crate) fn accepted(&self, parts: &Parts, id: &UploadId) -> Option<Response<Bytes>> {
        let address = self.answers.long.as_ref()?.url(parts, id)?;
        let text = json!({ "upload_id": id.as_str(), "status": Status::Finishing }).to_string();
        let mut response = Response::new(Bytes::from(text));
        *response.status_mut() = StatusCode::ACCEPTED;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        // A dialect may have another use for the first one.
        headers.insert(LOCATION, address.clone());
        headers.insert(CONTENT_LOCATION, address);
        response.extensions_mut().insert(Given::Accepted);
        Some(response)
    }
}

/// The answer as the application gave it.
pub(crate) fn restore(answer: &KeptAnswer) -> Response<Bytes> {
    let mut response = Response::new(answer.body.clone());
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or_default();
    let headers: &mut HeaderMap = response.headers_mut();
    for (name, value) in &answer.headers {
        let bytes: Option<Vec<u8>> =
            value.chars().map(|it| u8::try_from(u32::from(it)).ok()).collect();
        let value = bytes.and_then(|bytes| HeaderValue::try_from(bytes).ok());
        if let (Ok(name), Some(value)) = (HeaderName::try_from(name), value) {
            headers.append(name, value);
        }
    }
    response.extensions_mut().insert(Given::Kept);
    response
}

/// How long a body may be that is kept, in bytes.
pub(crate) const MAX_BODY: u64 = 64 * 1024;
/// How long the headers may be in total.
const MAX_HEADERS: usize = 16 * 1024;
/// The headers that tell what the body is, or where else it is.
const KEPT: [HeaderName; 7] = [
    CONTENT_TYPE,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_DISPOSITION,
    ETAG,
    LAST_MODIFIED,
    LOCATION,
];
