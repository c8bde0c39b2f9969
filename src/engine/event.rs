use std::future::Future;
use std::sync::Arc;

use http::Extensions;

use super::core::Engine;
use crate::erased::erased;
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
/// The caller waits for it, on a task that a leaving client does not cancel, and before a request is
/// answered. It comes after the fact and cannot refuse; [`Policy`](crate::Policy) can. After a crash an
/// event may be missing, and none is told twice.
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
    /// Something happened. `request` has the extensions of the request that caused it, if it was a
    /// request.
    fn on_event(
        &self,
        event: &Event,
        request: Option<&Extensions>,
    ) -> impl Future<Output = ()> + Send;
}

impl<T: Observer + ?Sized> Observer for Arc<T> {
    fn on_event(
        &self,
        event: &Event,
        request: Option<&Extensions>,
    ) -> impl Future<Output = ()> + Send {
        T::on_event(self, event, request)
    }
}

erased! {
    pub(super) trait DynObserver: Send, Sync; for Observer {
        async fn on_event(&self, event: &'a Event, request: Option<&'a Extensions>) -> ();
    }
}

/// The extensions of the request that causes an event.
pub(super) type Cause = Option<Arc<Extensions>>;

impl Engine {
    /// Tells the observer, if there is one, and waits for it.
    pub(super) async fn tell(&self, event: Event, cause: &Cause) {
        if let Some(observer) = &self.observer {
            observer.on_event(&event, cause.as_deref()).await;
        }
    }
}
