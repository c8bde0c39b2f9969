//! What can be done with an upload, whoever asks for it.
//!
//! [`Uploads`] and what it gives are the handles. They know neither HTTP nor files: a protocol calls
//! them from above, and they call a [`Store`](crate::store::Store) below.
//!
//! Whatever changes an upload acquires a [`Lease`] first. An append is: acquire, write bytes behind the
//! offset, commit the record. Until the commit the old record stands, so nothing that fails on the way
//! needs a repair.

mod access;
mod append;
mod buffer;
mod builder;
mod claim;
mod complete;
mod core;
mod error;
mod event;
mod lease;
mod list;
mod new;
mod quota;
mod sweep;
mod uploads;

pub use append::{Append, AppendMode};
pub use builder::{Expiry, UploadsBuilder};
pub use claim::ShutdownGuard;
pub use complete::{CompletedUpload, Completion};
pub use error::{ConfigError, Error, ErrorKind};
pub use event::{Event, Observer};
pub use lease::Lease;
pub use list::{Filter, Listing};
pub use new::NewUpload;
pub use quota::Quota;
pub use sweep::{Expired, Sweeper};
pub use uploads::{OperatorUploads, OwnerUploads, Uploads};

use tokio::task::JoinHandle;

use crate::task;

/// The result of a task that a dropped future does not cancel.
async fn joined<T>(task: JoinHandle<Result<T, Error>>) -> Result<T, Error> {
    task::join(task).await.unwrap_or_else(|| Err(ErrorKind::Store.into()))
}
