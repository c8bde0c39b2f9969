//! The status of an upload, and cancelling it.

use http::StatusCode;

use super::answer::{Answer, status_body};
use super::query;
use crate::engine::{ErrorKind, OwnerUploads};
use crate::id::UploadId;
use crate::policy::{Action, ResponseContent};
use crate::protocol::{Exchange, Problem};

pub(super) async fn status(exchange: &Exchange<'_>) -> Result<Answer, Problem> {
    let (uploads, id) = requested_upload(exchange, Action::Status).await?;
    let upload = uploads.status(&id).await?;
    exchange.stands(&upload);
    let mut content = status_body(&upload);
    content.insert("total".to_owned(), upload.total().into());
    content.insert("status".to_owned(), serde_json::json!(upload.status()));
    content.insert("filename".to_owned(), upload.filename().into());
    let context = exchange.context(Action::Status, Some(&upload.id));
    let mut answer = ResponseContent { context, upload: &upload, content: &mut content };
    exchange.tell(exchange.settings.policy.respond(&mut answer)).await;
    Ok(Answer::ok(content).with_range(upload.offset()))
}

pub(super) async fn cancel(exchange: &Exchange<'_>) -> Result<Answer, Problem> {
    let (uploads, id) = requested_upload(exchange, Action::Cancel).await?;
    uploads.cancel(&id).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// Returns the uploads of the caller, and the id in the query.
async fn requested_upload(
    exchange: &Exchange<'_>,
    action: Action,
) -> Result<(OwnerUploads, UploadId), Problem> {
    let query = query::read(exchange.parts);
    let id = query::id(&query);
    let uploads = exchange.admit(&mut exchange.context(action, id.as_ref())).await?;
    // Errors in the query are only reported to authorized callers.
    query?;
    Ok((uploads, id.ok_or(ErrorKind::NotFound)?))
}
