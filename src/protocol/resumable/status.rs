//! Where an upload stands, and removing it.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

use super::answer::{bad, empty, not_now};
use super::config::Resumable;
use super::fields::{
    REPR_DIGEST, UPLOAD_COMPLETE, UPLOAD_OFFSET, WANT_REPR_DIGEST, from_digests, wanted,
};
use super::head;
use crate::checksum::Digest;
use crate::code;
use crate::engine::{ErrorKind, OwnerUploads};
use crate::id::UploadId;
use crate::policy::Action;
use crate::protocol::{Exchange, Problem};
use crate::upload::{Status, Upload};

pub(super) async fn status(
    resumable: &Resumable,
    exchange: &Exchange<'_>,
) -> Result<Response<Bytes>, Problem> {
    shown(resumable, exchange).await.map_err(|problem| not_now(problem).into())
}

async fn shown(resumable: &Resumable, exchange: &Exchange<'_>) -> Result<Response<Bytes>, Problem> {
    let (uploads, id) = named(resumable, exchange, Action::Status).await?;
    let upload = uploads.end_append(&id).await?;
    exchange.stands(&upload);
    match upload.status() {
        // Where it stands shows when the application has answered.
        Status::Finishing => return Err(ErrorKind::Finishing.into()),
        Status::Interrupted => return Err(ErrorKind::Interrupted.into()),
        Status::Open if resumable.hands_over_once => {
            drop(uploads.acquire(&id).await?.end_interrupted().await?);
        }
        _ => {}
    }
    let mut headers = resumable.headers(exchange, &upload);
    if upload.total() == Some(upload.offset()) {
        let digests = digests_of(exchange, &upload);
        headers.extend(from_digests(&digests).map(|value| (REPR_DIGEST, value)));
    }
    Ok(empty(StatusCode::NO_CONTENT, headers))
}

/// The digests that the client wants now, or has wanted when it began the upload.
fn digests_of(exchange: &Exchange<'_>, upload: &Upload) -> Vec<Digest> {
    let now = wanted(&exchange.parts.headers);
    let before = wanted(&head::field(upload, &WANT_REPR_DIGEST));
    let wanted = if now.is_empty() { before } else { now };
    wanted.into_iter().filter_map(|algorithm| upload.digest_of(algorithm)).collect()
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
    let uploads = exchange.admit(&mut exchange.context(action, id.as_ref())).await?;
    let headers = &exchange.parts.headers;
    if headers.contains_key(UPLOAD_OFFSET) || headers.contains_key(UPLOAD_COMPLETE) {
        let detail = "This request must not have Upload-Offset or Upload-Complete";
        return Err(bad(code::CONTRADICTORY_HEADERS, detail).into());
    }
    Ok((uploads, id.ok_or(ErrorKind::NotFound)?))
}
