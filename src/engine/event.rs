use std::future::Future;
use std::pin::Pin;

use crate::upload::Upload;

/// What happened to an upload, after it was committed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// It began; its first chunk may be in it.
    Created(Upload),
    /// A later chunk was added.
    Grew(Upload),
    /// The application has taken the finished file.
    Completed(Upload),
    /// The client gave it up.
    Cancelled(Upload),
    /// The application ended it ([`CompletedUpload::discard`](crate::CompletedUpload::discard)).
    Discarded(Upload),
    /// Its time was up, and it was removed.
    Expired(Upload),
}

impl Event {
    /// The upload, as it is now; for one that is gone, as it was last.
    pub fn upload(&self) -> &Upload {
        match self {
            Self::Created(upload)
            | Self::Grew(upload)
            | Self::Completed(upload)
            | Self::Cancelled(upload)
            | Self::Discarded(upload)
            | Self::Expired(upload) => upload,
        }
    }
}

/// Is told what happens to uploads, whoever caused it: a request, a call of
/// [`Uploads`](crate::Uploads), or the sweeper.
///
/// The caller waits for it, on a task that a leaving client does not cancel. It comes after the
/// fact and cannot refuse; [`Policy`](crate::Policy) can. After a crash an event may be missing, and
/// none is told twice.
///
/// ```
/// use tower_chunked_upload::{Event, Observer};
///
/// struct Log;
///
/// impl Observer for Log {
///     async fn on_event(&self, event: &Event) {
///         println!("{:?} is at {}", event.upload().id, event.upload().offset());
///     }
/// }
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Something happened.
    fn on_event(&self, event: &Event) -> impl Future<Output = ()> + Send;
}

impl Observer for () {
    async fn on_event(&self, _: &Event) {}
}

pub(crate) trait DynObserver: Send + Sync + 'static {
    fn on_event<'a>(&'a self, event: &'a Event) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

impl<T: Observer> DynObserver for T {
    fn on_event<'a>(&'a self, event: &'a Event) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(Observer::on_event(self, event))
    }
}
