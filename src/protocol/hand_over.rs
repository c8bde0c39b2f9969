//! Handing a finished upload to the inner service, and interpreting its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response, StatusCode};

use super::body::Answered;
use super::exchange::{Exchange, Problem};
use crate::engine::{Completion, Error, ErrorKind};
use crate::log;
use crate::policy::{Action, Verification};
use crate::store::Reader;
use crate::upload::KeptAnswer;

/// The outcome of a request that a dialect handles.
pub(crate) enum Outcome {
    /// The layer answers. The second value is dropped when the answer is being sent.
    Answer(Response<Bytes>, Option<Answered>),
    /// The inner service answers.
    Finished(Box<Finished>),
}

/// A finished upload, and the request for the inner service.
pub(crate) struct Finished {
    pub(crate) request: Request<Replay>,
    pub(crate) pending: Pending,
    /// `None` if the client waits for the inner service, however long it takes.
    pub(crate) late: Option<Late>,
}

/// What a client gets that has waited long enough.
pub(crate) struct Late {
    pub(crate) after: Duration,
    pub(crate) answer: Response<Bytes>,
    /// Set when it gets that.
    pub(crate) is_told: Arc<AtomicBool>,
}

/// Whether the stored file could not be read while the inner service read its body.
pub(crate) type Unreadable = Arc<AtomicBool>;

/// A finished upload that the inner service shall get.
pub(crate) struct Finish {
    pub(crate) completion: Completion,
    pub(crate) replay: Replay,
    pub(crate) framing: Framing,
}

/// The body of the request for the inner service.
#[derive(Debug)]
pub(crate) enum Replay {
    Bytes(Bytes),
    File(Reader, Unreadable),
}

impl Replay {
    pub(super) fn file(reader: Reader) -> Self {
        Self::File(reader, Unreadable::default())
    }

    pub(super) fn unreadable(&self) -> Unreadable {
        match self {
            Self::Bytes(_) => Unreadable::default(),
            Self::File(_, unreadable) => Arc::clone(unreadable),
        }
    }
}

/// How a dialect changes the answer of the inner service.
#[derive(Clone, Default)]
pub(crate) struct Framing {
    /// Set in every answer.
    pub(crate) headers: HeaderMap,
    /// Set in an answer that does not take the file.
    pub(crate) not_taken: HeaderMap,
    /// Set after these in an answer of 5xx.
    pub(crate) failed: HeaderMap,
    /// For an answer that takes the file. Default: it is passed on as it is.
    pub(crate) taken: Option<Taken>,
    pub(crate) discards: Discards,
}

/// Which uploads are discarded when the inner service has not taken them.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Discards {
    #[default]
    None,
    /// Those that were refused, and did not fail.
    Refused,
    All,
}

/// What the inner service's answer means for the upload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Taken,
    Refused,
    /// A client may try again.
    Failed,
}

impl Verdict {
    pub(crate) fn of<B>(answer: &Response<B>) -> Self {
        match takes(answer) {
            true => Self::Taken,
            false if answer.status().is_client_error() => Self::Refused,
            false => Self::Failed,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Taken {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Whether the body of the answer is passed on.
    pub(crate) has_body: bool,
}

/// An upload whose file the inner service has, until its answer is known.
pub(crate) struct Pending {
    pub(super) completion: Completion,
    pub(super) framing: Framing,
    pub(super) unreadable: Unreadable,
    /// Whether the client was told where to ask for the answer, which is kept with the upload.
    pub(super) is_late: Arc<AtomicBool>,
}

/// Asks the application whether it accepts a finished file.
pub(super) async fn verify(exchange: &Exchange<'_>, pending: Pending) -> Result<Pending, Problem> {
    let file = pending.completion.file();
    let context = exchange.context(Action::Complete, Some(file.id()));
    let question = Verification { context, file };
    let verified = exchange.ask(exchange.settings.policy.verify(&question)).await;
    if pending.completion.is_discarded().await {
        return Err(verified.err().unwrap_or_else(|| ErrorKind::NotFound.into()));
    }
    if let Err(problem) = verified {
        let refused = matches!(&problem, Problem::Refused(it) if it.status().is_client_error());
        pending.give_back(if refused { Verdict::Refused } else { Verdict::Failed }).await?;
        return Err(problem);
    }
    Ok(pending)
}

impl Pending {
    /// Whether the inner service could not read the file, so that its refusal says nothing about
    /// the request.
    pub(crate) fn was_unreadable(&self) -> bool {
        self.unreadable.load(Ordering::Relaxed)
    }

    /// Logs that the inner service has not taken the file. Without a status, it has not answered.
    pub(crate) fn log_not_taken(&self, status: Option<StatusCode>) {
        let status = status.map(|status| status.as_u16());
        log::not_taken(self.completion.file().id(), status);
    }

    pub(crate) fn framing(&self) -> &Framing {
        &self.framing
    }

    /// Keeps the answer with the record, when that says what the answer means.
    pub(crate) fn keep(&self, answer: Option<KeptAnswer>) {
        self.completion.keep_answer(answer);
    }

    /// Records whether the inner service has taken the file. If this fails, the upload could not be
    /// marked as complete, and the inner service's answer must not be sent.
    pub(crate) async fn settle(self, verdict: Verdict) -> Result<(), Error> {
        if verdict != Verdict::Taken {
            // The upload can be completed again even if this fails.
            let id = *self.completion.file().id();
            if let Err(error) = self.give_back(verdict).await {
                log::failed("give back a finished upload", Some(&id), &error);
            }
        } else if !self.completion.is_discarded().await {
            self.completion.finish().await?;
        }
        Ok(())
    }

    async fn give_back(self, verdict: Verdict) -> Result<(), Error> {
        let refused = verdict == Verdict::Refused;
        match self.framing.discards {
            _ if self.is_late.load(Ordering::Relaxed) => self.completion.reopen().await.map(drop),
            Discards::All => self.completion.file().discard().await,
            Discards::Refused if refused => self.completion.file().discard().await,
            Discards::None | Discards::Refused => self.completion.reopen().await.map(drop),
        }
    }
}

impl Framing {
    /// Whether the dialect sets this header in some answer.
    pub(super) fn sets(&self, name: &HeaderName) -> bool {
        let taken = self.taken.iter().map(|taken| &taken.headers);
        let mut all = [&self.headers, &self.not_taken, &self.failed].into_iter().chain(taken);
        all.any(|headers| headers.contains_key(name))
    }

    /// Changes an answer of the inner service, and drops its body if the dialect has no place for
    /// it.
    pub(crate) fn frame<B>(self, answer: Response<B>) -> Response<Option<B>> {
        if !takes(&answer) {
            return self.frame_refusal(answer).map(Some);
        }
        let (mut parts, body) = answer.into_parts();
        set(&mut parts.headers, self.headers);
        let Some(taken) = self.taken else { return Response::from_parts(parts, Some(body)) };
        set(&mut parts.headers, taken.headers);
        parts.status = taken.status;
        if taken.has_body {
            return Response::from_parts(parts, Some(body));
        }
        for name in [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING] {
            parts.headers.remove(name);
        }
        Response::from_parts(parts, None)
    }

    /// Changes an answer that comes before the inner service's: nobody knows yet whether that takes
    /// the file.
    pub(crate) fn frame_later<B>(self, answer: Response<B>) -> Response<B> {
        let failed = self.failed.clone();
        let mut answer = self.frame_refusal(answer);
        set(answer.headers_mut(), failed);
        answer
    }

    /// Changes an answer that does not take the file.
    pub(crate) fn frame_refusal<B>(self, mut answer: Response<B>) -> Response<B> {
        set(answer.headers_mut(), self.headers);
        set(answer.headers_mut(), self.not_taken);
        if answer.status().is_server_error() {
            set(answer.headers_mut(), self.failed);
        }
        answer
    }
}

fn set(headers: &mut HeaderMap, more: HeaderMap) {
    for (name, value) in more {
        if let Some(name) = name {
            headers.insert(name, value);
        }
    }
}

/// Whether the answer means that the inner service has taken the file.
fn takes<B>(answer: &Response<B>) -> bool {
    let status = answer.status();
    // gRPC reports errors, such as an unknown method, with status 200.
    let grpc = answer.headers().get("grpc-status");
    (status.is_success() || status.is_redirection()) && grpc.is_none_or(|status| status == "0")
}
