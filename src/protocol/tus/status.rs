//! Where an upload stands, and removing it.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::answer::{empty, insert, not_allowed, not_now};
use super::concat;
use super::config::Tus;
use super::headers::{
    UPLOAD_CONCAT, UPLOAD_DEFER_LENGTH, UPLOAD_LENGTH, UPLOAD_METADATA, UPLOAD_OFFSET,
};
use crate::engine::{ErrorKind, OwnerUploads};
use crate::id::UploadId;
use crate::policy::Action;
use crate::protocol::{Exchange, Problem};
use crate::upload::{Kind, Status, Upload};

pub(super) async fn status(tus: &Tus, exchange: &Exchange<'_>) -> Result<Response<Bytes>, Problem> {
    shown(tus, exchange).await.map_err(|problem| not_now(problem).into())
}

async fn shown(tus: &Tus, exchange: &Exchange<'_>) -> Result<Response<Bytes>, Problem> {
    let (uploads, id) = named(tus, exchange, Action::Status).await?;
    let mut upload = uploads.status(&id).await?;
    exchange.stands(&upload);
    if upload.is_joined() && upload.total().is_none() {
        upload.progress.total = concat::length(&uploads, upload.parts()).await;
    }
    // Where it stands shows when the application has answered.
    if upload.status() == Status::Finishing {
        return Err(ErrorKind::Finishing.into());
    }
    let mut headers = tus.headers(&upload);
    insert_concat(&mut headers, &upload);
    insert_description(&mut headers, &upload);
    Ok(empty(StatusCode::OK, headers))
}

fn insert_concat(headers: &mut HeaderMap, upload: &Upload) {
    match &upload.kind {
        Kind::Part => insert(headers, UPLOAD_CONCAT, "partial"),
        Kind::Joined(_) => {
            if let Some(list) = &upload.parts_as_sent {
                insert(headers, UPLOAD_CONCAT, list);
            }
            if upload.status() != Status::Complete {
                headers.remove(UPLOAD_OFFSET);
            }
        }
        Kind::Whole => {}
    }
}

fn insert_description(headers: &mut HeaderMap, upload: &Upload) {
    let complete = (upload.status() == Status::Complete).then(|| upload.offset());
    match upload.total().or(complete) {
        Some(total) => insert(headers, UPLOAD_LENGTH, total),
        // It will be the sum of its parts.
        None if upload.is_joined() => {}
        None => {
            headers.insert(UPLOAD_DEFER_LENGTH, HeaderValue::from_static("1"));
        }
    }
    if let Some(metadata) = &upload.metadata {
        insert(headers, UPLOAD_METADATA, metadata);
    }
}

pub(super) async fn remove(tus: &Tus, exchange: &Exchange<'_>) -> Result<Response<Bytes>, Problem> {
    if !tus.extensions.termination {
        return Err(not_allowed().into());
    }
    let (uploads, id) = named(tus, exchange, Action::Cancel).await?;
    uploads.remove(&id).await?;
    Ok(empty(StatusCode::NO_CONTENT, HeaderMap::new()))
}

/// Returns the uploads of the caller, and the id in the path.
pub(super) async fn named(
    tus: &Tus,
    exchange: &Exchange<'_>,
    action: Action,
) -> Result<(OwnerUploads, UploadId), Problem> {
    let id = tus.upload_id(exchange.parts);
    let uploads = exchange.admit(&mut exchange.context(action, id.as_ref())).await?;
    Ok((uploads, id.ok_or(ErrorKind::NotFound)?))
}
