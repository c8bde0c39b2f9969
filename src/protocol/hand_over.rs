//! Handing a finished upload to the inner service, and interpreting its answer.

use bytes::Bytes;
use http::{Request, Response};

use super::body::Answered;
use super::exchange::{Exchange, Problem};
use crate::engine::{Completion, Error, ErrorKind};
use crate::policy::{Action, Verification};

/// The outcome of a request that a dialect handles.
pub(crate) enum Outcome {
    /// The layer answers. The second value is dropped when the answer is being sent.
    Answer(Response<Bytes>, Option<Answered>),
    /// The inner service answers.
    Finished(Box<Finished>),
}

/// A finished upload, and the request for the inner service.
pub(crate) struct Finished {
    pub(crate) request: Request<Bytes>,
    pub(crate) completion: Completion,
}

/// Asks the application whether it accepts a finished file.
pub(super) async fn verify(
    exchange: &Exchange<'_>,
    completion: Completion,
) -> Result<Completion, Problem> {
    let file = completion.file();
    let context = exchange.context(Action::Complete, Some(file.id()));
    let question = Verification { context, file };
    let verified = exchange.ask(exchange.settings.policy.verify(&question)).await;
    if completion.is_discarded().await {
        return Err(verified.err().unwrap_or_else(|| ErrorKind::NotFound.into()));
    }
    if let Err(refusal) = verified {
        completion.reopen().await?;
        return Err(refusal);
    }
    Ok(completion)
}

/// Records whether the inner service has taken the file. If this fails, the upload could not be
/// marked as complete, and the inner service's answer must not be sent.
pub(crate) async fn settle(completion: Completion, taken: bool) -> Result<(), Error> {
    if !taken {
        // The upload can be completed again even if this fails.
        drop(completion.reopen().await);
        return Ok(());
    }
    if completion.is_discarded().await {
        return Ok(());
    }
    completion.finish().await.map(drop)
}

/// Whether the answer means that the inner service has taken the file.
pub(crate) fn takes<B>(answer: &Response<B>) -> bool {
    let status = answer.status();
    // gRPC reports errors, such as an unknown method, with status 200.
    let grpc = answer.headers().get("grpc-status");
    (status.is_success() || status.is_redirection()) && grpc.is_none_or(|status| status == "0")
}
