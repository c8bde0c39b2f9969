//! What an operator sees and does, with the public API alone: `list` returns the uploads, and
//! events say what happens to them. A real application puts its own authentication in front of
//! these routes.

use axum::http::Extensions;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, put};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Serialize;
use tower_chunked_upload::{ErrorKind, Event, Filter, Observer, Status, Upload, UploadId, Uploads};

use crate::list::timestamp;

/// An observer of the uploads that remembers what happens.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    uploads: HashMap<UploadId, Known>,
    /// Bytes acknowledged since the last sample.
    bytes: u64,
    samples: VecDeque<Sample>,
}

#[derive(Debug)]
struct Known {
    upload: Upload,
    changed: SystemTime,
}

/// One second.
#[derive(Clone, Debug, Serialize)]
struct Sample {
    at: Timestamp,
    bytes: u64,
    open: usize,
}

impl Observer for Watch {
    async fn on_event(&self, event: &Event, _: Option<&Extensions>) {
        let mut seen = self.seen();
        match event {
            Event::Cancelled(upload) | Event::Discarded(upload) | Event::Expired(upload) => {
                seen.uploads.remove(&upload.id);
            }
            event => seen.learn(event.upload().clone(), SystemTime::now()),
        }
    }
}

impl Watch {
    /// While it is polled, it takes a sample each second, and now and then reads what happened in
    /// other processes.
    pub async fn run(self, uploads: Uploads) {
        tokio::join!(self.sample(), self.list(uploads));
    }

    async fn sample(&self) {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            second.tick().await;
            let mut seen = self.seen();
            let now = SystemTime::now();
            let open = seen.uploads.values().filter(|known| known.is_open(now)).count();
            let bytes = std::mem::take(&mut seen.bytes);
            if seen.samples.len() == SAMPLES {
                seen.samples.pop_front();
            }
            seen.samples.push_back(Sample { at: Timestamp::now(), bytes, open });
        }
    }

    async fn list(&self, uploads: Uploads) {
        loop {
            let (begun, clock) = (SystemTime::now(), Instant::now());
            let mut listing = uploads.for_operator().list(Filter::all());
            let mut listed = HashSet::new();
            let mut whole = true;
            while let Some(upload) = listing.next().await {
                let Ok(upload) = upload else {
                    whole = false;
                    continue;
                };
                listed.insert(upload.id);
                self.seen().learn(upload, begun);
            }
            if whole {
                let gone =
                    |id: &UploadId, known: &Known| !listed.contains(id) && known.changed < begun;
                self.seen().uploads.retain(|id, known| !gone(id, known));
            }
            // With many uploads, this must not take all of its time.
            tokio::time::sleep(REST.max(clock.elapsed() * 10)).await;
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn learn(&mut self, upload: Upload, when: SystemTime) {
        let Some(known) = self.uploads.get_mut(&upload.id) else {
            // Bytes from before this process belong to none of its seconds.
            if upload.created + REST >= when {
                self.bytes += upload.offset();
            }
            let changed = if upload.created + REST >= when { when } else { upload.created };
            self.uploads.insert(upload.id, Known { upload, changed });
            return;
        };
        // A listing may be older than an event.
        if upload.offset() < known.upload.offset() || known.upload.status() == Status::Complete {
            return;
        }
        if upload.offset() > known.upload.offset() {
            self.bytes += upload.offset() - known.upload.offset();
            known.changed = when;
        }
        known.upload = upload;
    }
}

impl Known {
    fn is_open(&self, now: SystemTime) -> bool {
        self.upload.status() != Status::Complete && !self.upload.is_expired(now)
    }
}

/// What the page shows.
#[derive(Default, Serialize)]
pub(crate) struct View {
    now: Timestamp,
    open: usize,
    moving: usize,
    finishing: usize,
    complete: usize,
    expired: usize,
    /// For all unfinished uploads.
    bytes: u64,
    announced: u64,
    oldest: Option<Row>,
    samples: Vec<Sample>,
    /// The uploads that changed last.
    rows: Vec<Row>,
}

#[derive(Clone, Serialize)]
struct Row {
    id: UploadId,
    name: String,
    owner: Option<String>,
    offset: u64,
    total: Option<u64>,
    created: Option<Timestamp>,
    changed: Option<Timestamp>,
    expires: Option<Timestamp>,
}

impl From<&Known> for Row {
    fn from(Known { upload, changed }: &Known) -> Self {
        Self {
            id: upload.id,
            name: upload.raw_filename.clone(),
            owner: upload.owner.as_ref().map(|owner| owner.as_str().to_owned()),
            offset: upload.offset(),
            total: upload.total(),
            created: timestamp(upload.created),
            changed: timestamp(*changed),
            expires: upload.expires().and_then(timestamp),
        }
    }
}

async fn view(State((_, watch)): State<(Uploads, Watch)>) -> Json<View> {
    let seen = watch.seen();
    let now = SystemTime::now();
    let mut view = View { now: Timestamp::now(), ..View::default() };
    let mut open = Vec::new();
    for known in seen.uploads.values() {
        let upload = &known.upload;
        match upload.status() {
            Status::Complete => view.complete += 1,
            _ if upload.is_expired(now) => view.expired += 1,
            status => {
                view.finishing += usize::from(status == Status::Finishing);
                view.moving += usize::from(known.changed + MOVING >= now);
                view.bytes += upload.offset();
                view.announced += upload.total().unwrap_or(upload.offset());
                open.push(known);
            }
        }
    }
    view.open = open.len();
    view.oldest =
        open.iter().min_by_key(|known| known.upload.created).map(|known| Row::from(*known));
    open.sort_by_key(|known| std::cmp::Reverse((known.changed, known.upload.id)));
    view.rows = open.into_iter().take(ROWS).map(Row::from).collect();
    view.samples = seen.samples.iter().cloned().collect();
    Json(view)
}

async fn cancel(
    State((uploads, _)): State<(Uploads, Watch)>,
    Path(id): Path<UploadId>,
) -> Result<StatusCode, StatusCode> {
    uploads.for_operator().cancel(&id).await.map_err(|error| status(error.kind()))?;
    Ok(StatusCode::NO_CONTENT)
}

/// The upload is refused from now on; the next sweep removes it.
async fn expire(
    State((uploads, watch)): State<(Uploads, Watch)>,
    Path(id): Path<UploadId>,
) -> Result<StatusCode, StatusCode> {
    let upload = uploads.for_operator().set_expires(&id, SystemTime::now()).await;
    let upload = upload.map_err(|error| status(error.kind()))?;
    watch.seen().learn(upload, SystemTime::now());
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) fn status(kind: &ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::NotFound | ErrorKind::Expired => StatusCode::NOT_FOUND,
        ErrorKind::AlreadyComplete
        | ErrorKind::Finishing
        | ErrorKind::Interrupted
        | ErrorKind::Busy => StatusCode::CONFLICT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A form on another site cannot send the methods that change something.
pub fn routes(uploads: Uploads, watch: Watch) -> Router {
    let html = async || crate::html(include_str!("../operator.html"));
    let css = async || crate::file("text/css", include_str!("../operator.css"));
    let script = async || crate::script(include_str!("../operator.js"));
    Router::new()
        .route("/operator", get(html))
        .route("/operator.css", get(css))
        .route("/operator.js", get(script))
        .route("/operator/view", get(view))
        .route("/operator/uploads/{id}", delete(cancel))
        .route("/operator/uploads/{id}/expired", put(expire))
        .with_state((uploads, watch))
}

const SAMPLES: usize = 300;
const ROWS: usize = 100;
const REST: Duration = Duration::from_secs(2);
/// How long after its last chunk an upload counts as active.
const MOVING: Duration = Duration::from_secs(10);
