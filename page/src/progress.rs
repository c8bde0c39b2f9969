//! The progress of an upload as server-sent events, for another tab or device of its user.
//!
//! ```js
//! const progress = new EventSource(`/api/uploads/${id}/progress`)
//! progress.onmessage = event => show(JSON.parse(event.data))
//! // A browser would connect again and again.
//! progress.addEventListener('ended', () => progress.close())
//! ```

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt};
use serde_json::json;
use tower_chunked_upload::{Snapshot, UploadId, Uploads};

use crate::{operator, user};

/// A message for each change, and at last an event `ended`. At the beginning of a shutdown there is
/// none, and the browser asks again.
pub async fn progress(
    State(uploads): State<Uploads>,
    headers: HeaderMap,
    Path(id): Path<UploadId>,
) -> Result<Sse<impl Stream<Item = Result<Event, axum::Error>>>, StatusCode> {
    let watch = uploads.for_owner(user::owner(&headers)).watch(&id).await;
    let watch = watch.map_err(|error| operator::status(error.kind()))?;
    Ok(Sse::new(watch.map(event)).keep_alive(KeepAlive::default()))
}

fn event(now: Snapshot) -> Result<Event, axum::Error> {
    let event = match now.ended {
        Some(_) => Event::default().event("ended"),
        None => Event::default(),
    };
    event.json_data(json!({
        "offset": now.upload.offset(),
        "received": now.received,
        "total": now.upload.total(),
        "ended": now.ended.map(|ended| format!("{ended:?}").to_lowercase()),
    }))
}
