//! The uploads of the user who asks, so that the page can resume them.

use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use tower_chunked_upload::{Filter, Status, Upload, UploadId, Uploads};

use crate::user;

/// An upload as its user sees it.
#[derive(Debug, Serialize)]
pub struct Mine {
    id: UploadId,
    name: String,
    offset: u64,
    total: Option<u64>,
    created: Option<Timestamp>,
    expires: Option<Timestamp>,
    status: Status,
    /// Only for a complete file.
    md5: Option<String>,
    /// Only for a complete file.
    saved_as: Option<String>,
}

/// The user's uploads that have not expired, oldest first. A visitor without a
/// cookie gets none: an upload without an owner is only for those who know its id.
pub async fn mine(
    State(uploads): State<Uploads>,
    headers: HeaderMap,
) -> Result<Json<Vec<Mine>>, StatusCode> {
    let mut mine = Vec::new();
    let Some(owner) = user::owner(&headers) else { return Ok(Json(mine)) };
    let mut listing = uploads.for_owner(Some(owner)).list(Filter::all().expired(false));
    while let Some(upload) = listing.next().await {
        mine.push(Mine::from(upload.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?));
    }
    mine.sort_by_key(|upload| upload.created);
    Ok(Json(mine))
}

/// The name that the handlers of the examples give to a finished file. The id keeps files of the same
/// name apart.
pub fn saved_as(upload: &Upload) -> String {
    format!("{}-{}", upload.id, upload.filename().as_deref().unwrap_or("upload"))
}

impl From<Upload> for Mine {
    fn from(upload: Upload) -> Self {
        let complete = upload.status() == Status::Complete;
        Self {
            id: upload.id,
            offset: upload.offset(),
            total: upload.total(),
            created: timestamp(upload.created),
            expires: upload.expires().and_then(timestamp),
            status: upload.status(),
            md5: upload.digest().filter(|_| complete).map(|digest| digest.to_hex()),
            saved_as: complete.then(|| saved_as(&upload)),
            name: upload.raw_filename,
        }
    }
}

/// `None` for a time that is out of range.
pub(crate) fn timestamp(time: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(time).ok()
}

#[cfg(test)]
mod tests {
    use tower_chunked_upload::NewUpload;
    use tower_chunked_upload::store::MemoryStore;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn who_has_no_cookie_is_not_shown_what_has_no_owner() {
        let uploads = Uploads::builder(MemoryStore::new()).build().unwrap();
        uploads.for_owner(None).create(NewUpload::new()).await.unwrap().commit().await.unwrap();
        let listed = mine(State(uploads), HeaderMap::new()).await.unwrap();
        assert!(listed.is_empty());
    }
}
