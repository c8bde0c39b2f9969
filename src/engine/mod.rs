//! The upload lifecycle: what can be done with an upload, independent of the protocol.
//!
//! [`Uploads`] and the types it returns are the handles. They know neither HTTP nor files: a
//! protocol calls them from above, and they call a [`Store`](crate::store::Store) below.
//!
//! Every change to an upload starts by acquiring a [`Lease`]. An append acquires the lease, writes
//! bytes after the offset, and commits the record. The old record stands until the commit, so a
//! failure in between needs no repair.

mod access;
mod append;
mod batch;
mod buffer;
mod builder;
mod check;
mod checksums;
mod claim;
mod complete;
mod core;
mod error;
mod event;
mod join;
mod lease;
mod list;
mod new;
mod quota;
mod sweep;
#[cfg(feature = "tokens")]
mod token;
mod uploads;
mod watch;

pub use append::{Append, AppendMode};
pub use builder::{Expiry, UploadsBuilder};
pub use check::Health;
pub use claim::ShutdownGuard;
pub use complete::{CompletedUpload, Completion};
pub use error::{ConfigError, Error, ErrorKind};
pub use event::{Event, Observer};
pub use lease::Lease;
pub use list::{Filter, Listing};
pub use new::NewUpload;
pub use quota::Quota;
pub use sweep::{Expired, Sweeper};
#[cfg(feature = "tokens")]
pub use token::{TokenKeys, UploadToken};
pub use uploads::{OperatorUploads, OwnerUploads, Uploads};
pub use watch::{Ended, Snapshot, Watch};

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::task::Detached;

/// Locks data that is valid after each step, so that a panic in between does it no harm.
fn lock<T>(data: &Mutex<T>) -> MutexGuard<'_, T> {
    data.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does work that is not cancelled when the returned future is dropped: it goes on on a task then.
///
/// This is no `async fn`, whose future would be as large as that of the work.
fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> impl Future<Output = Result<T, Error>> + Send {
    result(Detached::new(work))
}

/// Does the same on a task from the beginning, for calls that wait for each other: a caller may
/// keep the future of one, and not poll it, while it waits for another.
fn spawned<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> impl Future<Output = Result<T, Error>> + Send {
    let mut work = Detached::new(work);
    work.spawn();
    result(work)
}

async fn result<T: Send + 'static>(work: Detached<Result<T, Error>>) -> Result<T, Error> {
    work.await.unwrap_or_else(|| Err(ErrorKind::Store.into()))
}
