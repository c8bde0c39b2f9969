//! What can be done with an upload, whoever asks for it.
//!
//! [`Uploads`] is the handle. It knows neither HTTP nor files: a protocol calls it from above, and
//! it calls a [`Store`](crate::store::Store) below.
//!
//! An append is: take the lease, write bytes at the offset, commit the record. Until the commit
//! the old record stands, so nothing that fails on the way needs a repair.

mod append;
mod buffer;
mod builder;
mod claim;
mod complete;
mod error;
mod event;
pub(crate) mod filename;
mod held;
mod list;
mod quota;
mod sweep;
mod uploads;

pub use append::{Append, AppendMode};
pub use builder::{Expiry, UploadsBuilder};
pub(crate) use claim::Work;
pub use complete::{CompletedUpload, Completion};
pub use error::{ConfigError, Error, ErrorKind};
pub use event::{Event, Observer};
pub use list::{Filter, Listing};
pub use quota::Quota;
pub use sweep::{Expired, Sweeper};
pub use uploads::{NewUpload, Uploads};
