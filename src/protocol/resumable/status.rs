//! Where an upload stands, and removing it.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

use super::answer::{bad, empty, not_now};
use super::config::Resumable;
use super::fields::{UPLOAD_COMPLETE, UPLOAD_OFFSET};
use crate::engine::{ErrorKind, OwnerUploads};
use crate::id::UploadId;
use crate::policy::Action;
use crate::protocol::{Exchange, Problem};
use crate::upload::Status;

pub(super) async fn status(
    resumable: &Resumable,
    exchange: &Exchange<'_>,
) -> Result<Response<Bytes>, Problem> {
    shown(resumable, exchange).await.map_err(|problem| not_now(problem).into())
}

async fn shown(resumable: &Resumable, exchange: &Exchange<'_>) -> Result<Response<Bytes>, Problem> {
    let (uploads, id) = named(resumable, exchange, Action::Status).await?;
    let upload = uploads.status(&id).await?;
    // Where it stands shows when the application has answered.
    if upload.status() == Status::Finishing {
        return Err(ErrorKind::Finishing.into());
    }
    Ok(empty(StatusCode::NO_CONTENT, resumable.headers(exchange, &upload)))
}

pub(super) async fn remove(
    resumable: &Resumable,
    exchange: &Exchange<'_>,
) -> Result<Response<Bytes>, Problem> {
    let (uploads, id) = named(resumable, exchange, Action::Cancel).await?;
    uploads.remove(&id).await?;
    Ok(empty(StatusCode::NO_CONTENT, HeaderMap::new()))
}

/// Returns the uploads of the caller, and the id in the path.
async fn named(
    resumable: &Resumable,
    exchange: &Exchange<'_>,
    action: Action,
) -> Result<(OwnerUploads, UploadId), Problem> {
    let id = resumable.upload_id(exchange.parts);
    let uploads = exchange.authorize(&exchange.context(action, id.as_ref())).await?;
    let headers = &exchange.parts.headers;
    if headers.contains_key(UPLOAD_OFFSET) || headers.contains_key(UPLOAD_COMPLETE) {
        return Err(bad("Such a request has neither Upload-Offset nor Upload-Complete").into());
    }
    Ok((uploads, id.ok_or(ErrorKind::NotFound)?))
}
