use std::future::Future;
use std::sync::Arc;

use http::Extensions;

use super::core::Engine;
use crate::erased::erased;
use crate::log;
use crate::metric;
use crate::upload::Upload;

/// A change to an upload, reported after it was committed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The upload was created, possibly with its first chunk.
    Created(Upload),
    /// A later chunk was added.
    Grew(Upload),
    /// The application has taken the finished file.
    Completed(Upload),
    /// The upload was cancelled: by its client, or by a call of `cancel` or `remove`.
    Cancelled(Upload),
    /// The application discarded it
    /// ([`CompletedUpload::discard`](crate::CompletedUpload::discard)).
    Discarded(Upload),
    /// It expired and was removed.
    Expired(Upload),
}

impl Event {
    /// Returns the upload as it is now, or as it last was if it was removed.
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

    fn name(&self) -> &'static str {
        match self {
            Self::Created(_) => "created",
            Self::Grew(_) => "grew",
            Self::Completed(_) => "completed",
            Self::Cancelled(_) => "cancelled",
            Self::Discarded(_) => "discarded",
            Self::Expired(_) => "expired",
        }
    }
}

/// Receives the events of all uploads, whether a request, a call of [`Uploads`](crate::Uploads) or
/// the sweeper caused them.
///
/// The caller waits for the observer before it responds to the request, on a task that a client
/// cannot cancel by disconnecting. An event reports something that has already happened, so the
/// observer cannot refuse it; [`Policy`](crate::Policy) can. After a crash an event may be missing,
/// but none is reported twice.
///
/// ```
/// use http::Extensions;
/// use tower_chunked_upload::{Event, Observer};
///
/// #[derive(Clone)]
/// struct User(String); // put into the request's extensions by the layer that authenticates
///
/// struct Log;
///
/// impl Observer for Log {
///     async fn on_event(&self, event: &Event, request: Option<&Extensions>) {
///         let user = request.and_then(|extensions| extensions.get::<User>());
///         let user = user.map_or("nobody", |user| &user.0);
///         println!("{user}: {:?} is at {}", event.upload().id, event.upload().offset());
///     }
/// }
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Handles an event. `request` has the extensions of the request that caused it, if there was
    /// one.
    fn on_event(
        &self,
        event: &Event,
        request: Option<&Extensions>,
    ) -> impl Future<Output = ()> + Send;
}

impl<T: Observer> Observer for Arc<T> {
    async fn on_event(&self, event: &Event, request: Option<&Extensions>) {
        T::on_event(self, event, request).await;
    }
}

erased! {
    pub(super) trait DynObserver: Send, Sync; for Observer {
        async fn on_event(&self, event: &'a Event, request: Option<&'a Extensions>) -> ();
    }
}

/// The extensions of the request that caused an event.
pub(super) type Cause = Option<Arc<Extensions>>;

impl Engine {
    /// Logs an event, reports it to those who watch the upload, and to the observer, if there is
    /// one, and waits for that.
    pub(super) async fn tell(&self, event: Event, cause: &Cause) {
        log::changed(event.name(), event.upload());
        self.watches.removed(&event);
        metric::happened(&event);
        if let Some(observer) = &self.observer {
            observer.on_event(&event, cause.as_deref()).await;
        }
    }
}
