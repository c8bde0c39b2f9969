//! Where an upload stands, and giving it up.

use http::StatusCode;
use http::request::Parts;

use super::answer::{Answer, standing};
use super::caller::Caller;
use super::config::Config;
use super::query;
use crate::engine::{ErrorKind, Event, Uploads};
use crate::id::UploadId;
use crate::policy::Refusal;

pub(super) async fn status(
    config: &Config,
    caller: &Caller,
    parts: &Parts,
) -> Result<Answer, Refusal> {
    let (uploads, id) = named(config, caller, parts).await?;
    let upload = uploads.status(&id).await?;
    let mut content = standing(&upload);
    content.insert("total".to_owned(), upload.total().into());
    content.insert("status".to_owned(), serde_json::json!(upload.status()));
    content.insert("filename".to_owned(), upload.filename().into());
    caller.tell(config, config.policy.respond(parts, &upload, &mut content)).await;
    Ok(Answer::ok(content).with_range(upload.offset()))
}

pub(super) async fn cancel(
    config: &Config,
    caller: &Caller,
    parts: &Parts,
) -> Result<Answer, Refusal> {
    let (uploads, id) = named(config, caller, parts).await?;
    let upload = uploads.cancel(&id).await?;
    let event = Event::Cancelled(upload);
    caller.tell(config, config.policy.on_event(parts, &event)).await;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// The upload of the query, among those of whoever asks.
async fn named(
    config: &Config,
    caller: &Caller,
    parts: &Parts,
) -> Result<(Uploads, UploadId), Refusal> {
    let owner = caller.ask(config, config.policy.authorize(parts)).await?;
    let (id, _) = query::read(parts)?;
    let id = id.and_then(|id| id.parse().ok()).ok_or(ErrorKind::NotFound)?;
    Ok((config.uploads.for_request(owner, caller.came()), id))
}
