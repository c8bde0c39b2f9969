use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::access::Scope;
use super::core::Engine;
use super::error::Error;
use crate::erased::BoxFuture;
use crate::store::{Cursor, Page, StoreError};
use crate::upload::{Status, Upload};

/// A filter for listed uploads. The default matches all of them.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Filter {
    status: Option<Status>,
    filename: Option<String>,
    expired: Option<bool>,
}

impl Filter {
    /// Returns a filter that matches all uploads.
    pub fn all() -> Self {
        Self::default()
    }

    /// Selects only uploads with this status.
    pub fn status(mut self, status: Status) -> Self {
        self.status = Some(status);
        self
    }

    /// Selects only uploads whose filename contains this text, ignoring case.
    pub fn filename(mut self, part: impl AsRef<str>) -> Self {
        self.filename = Some(part.as_ref().to_lowercase());
        self
    }

    /// Selects only uploads that have expired, or only those that have not.
    pub fn expired(mut self, expired: bool) -> Self {
        self.expired = Some(expired);
        self
    }

    fn matches(&self, upload: &Upload, engine: &Engine) -> bool {
        let status = self.status.is_none_or(|status| status == upload.status());
        let expired = self.expired.is_none_or(|want| want == upload.is_expired(engine.now()));
        let filename = self.filename.as_deref();
        status
            && expired
            && filename.is_none_or(|part| upload.raw_filename.to_lowercase().contains(part))
    }
}

/// The uploads that match a [`Filter`], in no particular order.
///
/// It is a `Stream`, and also has a method [`next`](Self::next). It reads the store one page at a
/// time. An upload whose record is damaged ([`Error::damaged_upload`]) or cannot be read is reported
/// as an error, and the listing continues after it. If a page cannot be read, that error is the last
/// item, and the rest was not read.
#[must_use]
pub struct Listing {
    engine: Arc<Engine>,
    scope: Scope,
    filter: Filter,
    ready: VecDeque<Result<Upload, StoreError>>,
    /// The page that comes after those; `None` if there is none.
    page: Option<BoxFuture<'static, Result<Page, StoreError>>>,
}

impl Listing {
    pub(super) fn new(engine: Arc<Engine>, scope: Scope, filter: Filter) -> Self {
        let page = Some(page(&engine, None));
        Self { engine, scope, filter, ready: VecDeque::new(), page }
    }

    /// Returns the next upload, or `None` after the last one.
    pub async fn next(&mut self) -> Option<Result<Upload, Error>> {
        std::future::poll_fn(|cx| self.poll_upload(cx)).await
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Upload, Error>>> {
        loop {
            while let Some(upload) = self.ready.pop_front() {
                let matches = |upload| {
                    self.scope.contains(upload) && self.filter.matches(upload, &self.engine)
                };
                // The owner of an unreadable record is unknown, so only the operator sees it.
                if upload.as_ref().map_or(self.scope.is_all(), matches) {
                    return Poll::Ready(Some(upload.map_err(Error::from)));
                }
            }
            let Some(reading) = &mut self.page else { return Poll::Ready(None) };
            let read = ready!(reading.as_mut().poll(cx));
            self.page = None;
            match read {
                Ok(read) => {
                    self.ready.extend(read.uploads);
                    self.page = read.next.map(|cursor| page(&self.engine, Some(cursor)));
                }
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }
}

fn page(
    engine: &Arc<Engine>,
    cursor: Option<Cursor>,
) -> BoxFuture<'static, Result<Page, StoreError>> {
    let engine = Arc::clone(engine);
    Box::pin(async move { engine.store.list(cursor).await })
}

impl Stream for Listing {
    type Item = Result<Upload, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_upload(cx)
    }
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing").field("filter", &self.filter).finish_non_exhaustive()
    }
}
