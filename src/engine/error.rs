use std::fmt;
use std::sync::Arc;

use super::quota::Quota;
use crate::id::UploadId;
use crate::store::StoreError;

/// Why an upload was refused or failed.
///
/// `Display` is safe to show to a client: it contains no path and no detail of the system. The
/// error of the store is the [`source`](std::error::Error::source).
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of [`Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The upload does not exist, or belongs to another owner.
    NotFound,
    /// The upload has expired.
    Expired,
    /// The upload is already complete.
    AlreadyComplete,
    /// The upload is being completed right now.
    Finishing,
    /// The upload has ended, because a crash interrupted its hand-over and it must not be handed
    /// over again.
    Interrupted,
    /// The bytes do not start at the upload's offset.
    OffsetMismatch {
        /// The upload's offset.
        offset: u64,
    },
    /// A different total was announced before.
    TotalMismatch {
        /// The total that was announced.
        total: u64,
    },
    /// More bytes arrived than were announced.
    TooLong {
        /// The total that was announced.
        total: u64,
    },
    /// The file is larger than allowed.
    TooLarge {
        /// The maximum size, in bytes.
        limit: u64,
    },
    /// The unfinished uploads have reached a quota.
    QuotaExceeded {
        /// The quota.
        quota: Quota,
        /// Its limit, as a number of uploads or bytes.
        limit: u64,
    },
    /// Bytes are missing.
    Incomplete {
        /// The upload's offset.
        offset: u64,
        /// The total that was announced.
        total: u64,
    },
    /// The file's digest is not the expected one.
    ChecksumMismatch,
    /// A newer request for the same upload has taken it over.
    Superseded,
    /// Another request holds the upload and did not release it in time.
    Busy,
    /// The server is shutting down.
    ShuttingDown,
    /// The file that the application wants to create already exists.
    AlreadyExists,
    /// The store is full.
    Full,
    /// The record or the bytes of the upload cannot be trusted.
    Damaged,
    /// The source of the bytes failed.
    Source,
    /// The store failed.
    Store,
}

impl Error {
    /// The kind of the error.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The damaged upload, if the store reported one.
    pub fn damaged_upload(&self) -> Option<UploadId> {
        match self.source.as_deref()?.downcast_ref::<StoreError>()? {
            StoreError::Damaged { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// An error of the source of the bytes, with its cause.
    pub fn source_failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind: ErrorKind::Source, source: Some(Arc::from(source.into())) }
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, source: None }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            // The owner of the removed upload has not been compared with the caller.
            StoreError::NotFound | StoreError::Removed { .. } => ErrorKind::NotFound,
            StoreError::Busy => ErrorKind::Busy,
            StoreError::Conflict => ErrorKind::Superseded,
            StoreError::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            StoreError::Full { .. } => ErrorKind::Full,
            StoreError::Damaged { .. } => ErrorKind::Damaged,
            StoreError::Config { .. } | StoreError::Io { .. } => ErrorKind::Store,
        };
        Self { kind, source: Some(Arc::new(error)) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such upload"),
            Self::Expired => f.write_str("the upload has expired"),
            Self::AlreadyComplete => f.write_str("the upload is already complete"),
            Self::Finishing => f.write_str("the upload is being completed"),
            Self::Interrupted => f.write_str("the hand-over of the upload was interrupted"),
            Self::OffsetMismatch { offset } => write!(f, "the upload is at offset {offset}"),
            Self::TotalMismatch { total } => {
                write!(f, "a total of {total} bytes was announced before")
            }
            Self::TooLong { total } => write!(f, "more than the announced {total} bytes arrived"),
            Self::TooLarge { limit } => write!(f, "the file is larger than {limit} bytes"),
            Self::QuotaExceeded { quota, limit } => write!(f, "the limit is {limit} {quota}"),
            Self::Incomplete { offset, total } => {
                write!(f, "{offset} of {total} bytes have arrived")
            }
            Self::ChecksumMismatch => f.write_str("the checksum does not match"),
            Self::Superseded => f.write_str("a newer request has taken over the upload"),
            Self::Busy => f.write_str("another request holds the upload"),
            Self::ShuttingDown => f.write_str("the server is shutting down"),
            Self::AlreadyExists => f.write_str("the target already exists"),
            Self::Full => f.write_str("the store is full"),
            Self::Damaged => f.write_str("the upload is damaged"),
            Self::Source => f.write_str("the source of the bytes failed"),
            Self::Store => f.write_str("the store failed"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// A setting that cannot work.
#[derive(Debug)]
pub struct ConfigError {
    problem: String,
}

impl ConfigError {
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ConfigError {}
