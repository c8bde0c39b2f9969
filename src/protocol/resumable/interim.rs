//! Informational responses (104), which tell the client where its upload is and how it grows.

use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::time::Instant;

use super::fields::{INTEROP_VERSION, UPLOAD_OFFSET, integer};
use crate::engine::Append;
use crate::informational::Informational;

/// Sends informational responses to a client that speaks a version of the draft that we speak.
pub(super) struct Interim {
    informational: Informational,
    version: HeaderValue,
    /// When the client was last told of its offset, and of which.
    reported: (Instant, u64),
}

impl Interim {
    /// `None` if the server cannot send such responses, or the client has not said that it knows
    /// them. The client knows that its upload stands at `offset`.
    pub(super) fn of(request: &Parts, offset: u64) -> Option<Self> {
        let informational = request.extensions.get::<Informational>()?.clone();
        let version = integer(&request.headers, &INTEROP_VERSION)?;
        VERSIONS.contains(&version).then(|| Self {
            informational,
            version: version.into(),
            reported: (Instant::now(), offset),
        })
    }

    /// Sends a response with these headers. One that cannot be sent is not missed: the client goes
    /// on as if the server could not send it.
    pub(super) fn send(&self, headers: HeaderMap) {
        let mut response = Response::new(());
        // Upload Resumption Supported.
        *response.status_mut() = StatusCode::from_u16(104).unwrap_or(StatusCode::PROCESSING);
        *response.headers_mut() = headers;
        response.headers_mut().insert(INTEROP_VERSION, self.version.clone());
        drop(self.informational.send(response));
    }

    /// Tells the client from time to time how many bytes are there for certain. All of a request
    /// that `completes` an upload only count when the application has taken it.
    pub(super) fn report(&mut self, append: &Append, completes: bool) {
        let (when, before) = self.reported;
        let offset = append.acknowledged();
        let ends = completes && append.upload().total() == Some(offset);
        if offset > before && !ends && when.elapsed() >= REPORT_INTERVAL {
            self.send([(UPLOAD_OFFSET, offset.into())].into_iter().collect());
            self.reported = (Instant::now(), offset);
        }
    }
}

/// The versions of the draft whose clients know all that we say.
const VERSIONS: [u64; 5] = [5, 6, 8, 9, 10];
/// How long the client is not told of its progress after it was.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
