//! Chunked, resumable uploads of big files as a tower `Layer`.

pub mod store;

#[cfg(feature = "axum")]
mod axum;
mod body;
mod checksum;
mod engine;
mod future;
mod id;
mod layer;
mod log;
mod policy;
mod protocol;
mod service;
mod time;
mod upload;

#[cfg(feature = "axum")]
pub use self::axum::NoUpload;
pub use body::{RequestBody, ResponseBody};
pub use checksum::{ChecksumState, Digest};
pub use engine::{
    Append, AppendMode, CompletedUpload, Completion, ConfigError, Error, ErrorKind, Event, Expired,
    Expiry, Filter, Listing, NewUpload, Observer, Sweeper, Uploads, UploadsBuilder,
};
pub use future::ResponseFuture;
pub use id::{ParseIdError, UploadId};
pub use layer::ChunkedUploadLayer;
pub use policy::{Candidate, Policy, Refusal};
pub use protocol::chunked::{Encoder, FormLimits, JsonEncoder};
pub use service::ChunkedUpload;
pub use upload::{Owner, Progress, Status, Upload};

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
