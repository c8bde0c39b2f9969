//! What an operator sees and does, with the public API alone: `list` returns the uploads, and
//! events say what happens to them. A real application puts its own authentication in front of
//! these routes.

use axum::http::Extensions;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, put};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tower_chunked_upload::{ErrorKind, Event, Filter, Observer, Status, Upload, UploadId, Uploads};

use crate::list::timestamp;

/// An observer of the uploads that remembers what happens.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Mutex<Seen>>);

#[derive(Debug)]
struct Seen {
    started: SystemTime,
    uploads: HashMap<UploadId, Known>,
    /// Bytes acknowledged since the last sample.
    bytes: u64,
    samples: VecDeque<Sample>,
}

#[derive(Debug)]
struct Known {
    upload: Upload,
    /// When this was so.
    heard: SystemTime,
    /// When its last chunk arrived; `None` if it has none, or none since the start.
    changed: Option<SystemTime>,
}

/// How an upload became known.
#[derive(Clone, Copy, Debug)]
enum News {
    Event,
    Listing { begun: SystemTime },
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
            event => seen.learn(event.upload().clone(), News::Event),
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
                self.seen().learn(upload, News::Listing { begun });
            }
            if whole {
                let is_there =
                    |id: &UploadId, known: &Known| listed.contains(id) || known.heard >= begun;
                self.seen().uploads.retain(|id, known| is_there(id, known));
            }
            // With many uploads, this must not take all of its time.
            tokio::time::sleep(REST.max(clock.elapsed() * 10)).await;
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            started: SystemTime::now(),
            uploads: HashMap::new(),
            bytes: 0,
            samples: VecDeque::new(),
        }
    }
}

impl Seen {
    fn learn(&mut self, upload: Upload, news: News) {
        let (when, is_event) = match news {
            News::Event => (SystemTime::now(), true),
            News::Listing { begun } => (begun, false),
        };
        let known = self.uploads.get(&upload.id);
        let before = match known {
            // A listing may be older than an event.
            Some(known)
                if when < known.heard
                    || upload.offset() < known.upload.offset()
                    || known.upload.status() == Status::Complete =>
            {
                return;
            }
            Some(known) => known.upload.own_bytes(),
            None if self.is_since_start(&upload) => 0,
            // Nobody knows which of them are from before the start, and those belong to none of its
            // seconds.
            None => upload.own_bytes(),
        };
        let grown = upload.own_bytes().saturating_sub(before);
        self.bytes += grown;
        // A listing may have found the bytes of an event before it.
        let has_changed = grown > 0 || (is_event && upload.offset() > 0);
        let changed = if has_changed { Some(when) } else { known.and_then(|known| known.changed) };
        self.uploads.insert(upload.id, Known { upload, heard: when, changed });
    }

    /// Whether the upload was created since the start, as far as a record knows, which counts in
    /// milliseconds.
    fn is_since_start(&self, upload: &Upload) -> bool {
        upload.created + Duration::from_millis(1) > self.started
    }
}

impl Known {
    fn is_open(&self, now: SystemTime) -> bool {
        self.upload.status() != Status::Complete && !self.upload.is_expired(now)
    }

    /// Whether the name or the owner contains the text, which is in lower case.
    fn contains(&self, find: &str) -> bool {
        let owner = self.upload.owner.as_ref().map_or("", |owner| owner.as_str());
        [&*self.upload.raw_filename, owner].iter().any(|text| text.to_lowercase().contains(find))
    }

    /// When it moved last, as far as is known.
    fn moved(&self) -> (SystemTime, UploadId) {
        (self.changed.unwrap_or(self.upload.created), self.upload.id)
    }
}

/// Which uploads the page shows.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wanted {
    /// A part of the name or of the owner; case does not matter.
    find: String,
    order: Order,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    /// What changed last comes first.
    #[default]
    Recent,
    /// What has not changed for longest comes first.
    Stalled,
}

/// What the page shows.
#[derive(Default, Serialize)]
pub(crate) struct View {
    now: Timestamp,
    open: usize,
    /// With a recent chunk.
    moving: usize,
    finishing: usize,
    complete: usize,
    expired: usize,
    /// For all unfinished uploads.
    bytes: u64,
    announced: u64,
    oldest: Option<Row>,
    samples: Vec<Sample>,
    /// How many of the unfinished uploads are wanted.
    found: usize,
    /// The first of those in the wanted order, and the oldest of them.
    rows: Vec<Row>,
}

#[derive(Clone, Serialize)]
struct Row {
    id: UploadId,
    name: String,
    owner: Option<String>,
    status: Status,
    offset: u64,
    total: Option<u64>,
    created: Option<Timestamp>,
    changed: Option<Timestamp>,
    expires: Option<Timestamp>,
}

impl From<&Known> for Row {
    fn from(Known { upload, changed, .. }: &Known) -> Self {
        Self {
            id: upload.id,
            name: upload.raw_filename.clone(),
            owner: upload.owner.as_ref().map(|owner| owner.as_str().to_owned()),
            status: upload.status(),
            offset: upload.offset(),
            total: upload.total(),
            created: timestamp(upload.created),
            changed: changed.and_then(timestamp),
            expires: upload.expires().and_then(timestamp),
        }
    }
}

async fn view(
    State((_, watch)): State<(Uploads, Watch)>,
    Query(wanted): Query<Wanted>,
) -> Json<View> {
    Json(watch.seen().view(&wanted))
}

impl Seen {
    fn view(&self, wanted: &Wanted) -> View {
        let now = SystemTime::now();
        let mut view = View { now: Timestamp::now(), ..View::default() };
        let mut open = Vec::new();
        for known in self.uploads.values() {
            let upload = &known.upload;
            match upload.status() {
                Status::Complete => view.complete += 1,
                _ if upload.is_expired(now) => view.expired += 1,
                status => {
                    view.finishing += usize::from(status == Status::Finishing);
                    view.moving += usize::from(known.changed.is_some_and(|at| at + MOVING >= now));
                    view.bytes += upload.offset();
                    view.announced += upload.total().unwrap_or(upload.offset());
                    open.push(known);
                }
            }
        }
        view.open = open.len();
        view.oldest = oldest(&open).map(Row::from);
        let find = wanted.find.trim().to_lowercase();
        open.retain(|known| known.contains(&find));
        view.found = open.len();
        open.sort_unstable_by_key(|known| known.moved());
        if wanted.order == Order::Recent {
            open.reverse();
        }
        let oldest = oldest(&open).filter(|oldest| {
            !open.iter().take(ROWS).any(|known| known.upload.id == oldest.upload.id)
        });
        view.rows = open.iter().take(ROWS).copied().chain(oldest).map(Row::from).collect();
        view.samples = self.samples.iter().cloned().collect();
        view
    }
}

fn oldest<'a>(open: &[&'a Known]) -> Option<&'a Known> {
    open.iter().copied().min_by_key(|known| (known.upload.created, known.upload.id))
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
    watch.seen().learn(upload, News::Listing { begun: SystemTime::now() });
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
/// How long the last chunk of an upload counts as recent. A chunk is only seen when it ends.
const MOVING: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tower_chunked_upload::{Event, Observer as _, Owner, Upload, UploadId};

    use super::{News, Order, ROWS, Seen, View, Wanted, Watch};

    const SLOW: Duration = Duration::from_secs(47);

    fn upload(created: SystemTime, offset: u64) -> Upload {
        let mut upload = Upload::new(UploadId::random(), created);
        upload.progress.offset = offset;
        upload
    }

    fn listing() -> News {
        News::Listing { begun: SystemTime::now() }
    }

    /// A process that has been running for longer than a slow chunk takes.
    fn old() -> Watch {
        let watch = Watch::default();
        watch.seen().started -= 2 * SLOW;
        watch
    }

    #[tokio::test]
    async fn a_first_chunk_counts_when_it_has_arrived_however_long_it_took() {
        let watch = old();
        let slow = upload(SystemTime::now() - SLOW, 300);
        let before = SystemTime::now();
        watch.on_event(&Event::Created(slow.clone()), None).await;
        let seen = watch.seen();
        assert_eq!(seen.bytes, 300);
        assert!(seen.uploads[&slow.id].changed >= Some(before));
    }

    #[tokio::test]
    async fn a_first_chunk_counts_once_whether_an_event_or_a_listing_tells_it_first() {
        let watch = old();
        let mut slow = upload(SystemTime::now() - SLOW, 0);
        watch.seen().learn(slow.clone(), listing());
        assert_eq!(watch.seen().uploads[&slow.id].changed, None);
        slow.progress.offset = 300;
        watch.seen().learn(slow.clone(), listing());
        assert_eq!(watch.seen().bytes, 300);
        let before = SystemTime::now();
        watch.on_event(&Event::Created(slow.clone()), None).await;
        watch.seen().learn(slow.clone(), listing());
        let seen = watch.seen();
        assert_eq!(seen.bytes, 300);
        assert!(seen.uploads[&slow.id].changed >= Some(before));
    }

    #[tokio::test]
    async fn bytes_from_before_the_start_belong_to_no_second() {
        let watch = Watch::default();
        let mut left = upload(SystemTime::now() - SLOW, 300);
        watch.seen().learn(left.clone(), listing());
        assert_eq!(watch.seen().bytes, 0);
        assert_eq!(watch.seen().uploads[&left.id].changed, None);
        left.progress.offset = 500;
        watch.on_event(&Event::Grew(left.clone()), None).await;
        assert_eq!(watch.seen().bytes, 200);
        assert!(watch.seen().uploads[&left.id].changed.is_some());

        // Its first chunk is faster than the first listing.
        let resumed = upload(SystemTime::now() - SLOW, 700);
        watch.on_event(&Event::Grew(resumed.clone()), None).await;
        assert_eq!(watch.seen().bytes, 200);
        assert!(watch.seen().uploads[&resumed.id].changed.is_some());
    }

    #[test]
    fn an_upload_of_the_millisecond_of_the_start_is_since_the_start() {
        let started = SystemTime::UNIX_EPOCH + Duration::from_micros(1_999_900);
        let mut seen = Seen { started, ..Seen::default() };
        seen.learn(upload(seen.started, 300), listing());
        assert_eq!(seen.bytes, 300);
    }

    /// Has uploads 0 to `count - 1`, each of which is a second younger than the one before.
    fn many(count: usize) -> Seen {
        let mut seen = Seen::default();
        let begun = seen.started - Duration::from_secs(count as u64);
        for n in 0..count {
            let mut upload = upload(begun + Duration::from_secs(n as u64), 1);
            upload.raw_filename = format!("Film {n}.mov");
            upload.owner = Some(Owner::new(format!("Owner{}", n % 2)));
            seen.learn(upload, listing());
        }
        seen
    }

    fn names(view: &View) -> Vec<usize> {
        let number = |name: &str| name[5..].trim_end_matches(".mov").parse().unwrap();
        view.rows.iter().map(|row| number(&row.name)).collect()
    }

    #[test]
    fn the_rows_are_ordered_and_the_oldest_is_always_there() {
        let mut seen = many(250);
        // The oldest one moves.
        let oldest = seen.uploads.values_mut().min_by_key(|known| known.upload.created).unwrap();
        oldest.changed = Some(SystemTime::now());
        let view = seen.view(&Wanted::default());
        let recent: Vec<_> = std::iter::once(0).chain((151..250).rev()).collect();
        assert_eq!(names(&view), recent);
        let view = seen.view(&Wanted { order: Order::Stalled, ..Wanted::default() });
        assert_eq!(names(&view), (1..=ROWS).chain([0]).collect::<Vec<_>>());
        assert_eq!((view.open, view.found), (250, 250));
    }

    #[test]
    fn uploads_are_found_by_name_or_owner_without_regard_to_case() {
        let seen = many(250);
        let find = |find: &str| seen.view(&Wanted { find: find.into(), ..Wanted::default() });
        assert_eq!(
            names(&find(" film 24")),
            [249, 248, 247, 246, 245, 244, 243, 242, 241, 240, 24]
        );
        let view = find("OWNER1");
        assert_eq!((view.open, view.found, view.rows.len()), (250, 125, ROWS + 1));
        assert_eq!(names(&view)[ROWS - 1..], [51, 1]);
        assert_eq!(view.oldest.unwrap().name, "Film 0.mov");
        assert_eq!(find("nothing").rows.len(), 0);
    }

    #[test]
    fn an_old_listing_changes_nothing() {
        let mut seen = Seen::default();
        let begun = SystemTime::now();
        let mut upload = upload(begun, 300);
        upload.progress.expires = Some(begun);
        seen.learn(upload.clone(), News::Event);
        upload.progress.expires = None;
        seen.learn(upload.clone(), News::Listing { begun });
        assert!(seen.uploads[&upload.id].upload.expires().is_some());
    }
}
