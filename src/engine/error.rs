use std::fmt;
use std::sync::Arc;

use super::quota::Quota;
use crate::id::UploadId;
use crate::store::StoreError;

/// Why an upload was refused or failed.
///
/// `Display` is safe to show to a client: it names no path and nothing of the system. What a store
/// failed with is the [`source`](std::error::Error::source).
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of [`Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such upload, or it is another owner's.
    NotFound,
    /// The upload's time is up.
    Expired,
    /// The upload is complete already.
    AlreadyComplete,
    /// The upload is being completed at this moment.
    Finishing,
    /// The bytes do not start where the upload stands.
    OffsetMismatch {
        /// Where it stands.
        offset: u64,
    },
    /// Another total was announced before.
    TotalMismatch {
        /// The total that was announced.
        total: u64,
    },
    /// There are more bytes than were announced.
    TooLong {
        /// The total that was announced.
        total: u64,
    },
    /// The file is larger than it may be.
    TooLarge {
        /// The largest size that is taken, in bytes.
        limit: u64,
    },
    /// Unfinished uploads take up all that they may.
    QuotaExceeded {
        /// What there is too much, or too little, of.
        quota: Quota,
        /// Its limit, a number of uploads or of bytes.
        limit: u64,
    },
    /// Bytes are missing.
    Incomplete {
        /// Where the upload stands.
        offset: u64,
        /// The total that was announced.
        total: u64,
    },
    /// The file's digest is not the one that was named.
    ChecksumMismatch,
    /// A newer request for the same upload has taken it over.
    Superseded,
    /// Another request holds the upload, and did not let it go in time.
    Busy,
    /// The server is shutting down.
    ShuttingDown,
    /// What the application wants to write to is there already.
    AlreadyExists,
    /// There is no room left.
    Full,
    /// The record or the bytes of the upload cannot be trusted.
    Damaged,
    /// The source of the bytes failed.
    Source,
    /// The store failed.
    Store,
}

impl Error {
    /// What happened.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The upload whose record or bytes cannot be trusted, if that is what happened.
    pub fn damaged_upload(&self) -> Option<UploadId> {
        match self.source.as_deref()?.downcast_ref::<StoreError>()? {
            StoreError::Damaged { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// The source of the bytes failed, for this reason.
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
            // Whose it was has not been compared with who asks.
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
            Self::AlreadyComplete => f.write_str("the upload is complete already"),
            Self::Finishing => f.write_str("the upload is being completed"),
            Self::OffsetMismatch { offset } => write!(f, "the upload stands at offset {offset}"),
            Self::TotalMismatch { total } => {
                write!(f, "a total of {total} bytes was announced before")
            }
            Self::TooLong { total } => write!(f, "there are more bytes than the announced {total}"),
            Self::TooLarge { limit } => write!(f, "the file is larger than {limit} bytes"),
            Self::QuotaExceeded { quota, limit } => write!(f, "the limit is {limit} {quota}"),
            Self::Incomplete { offset, total } => {
                write!(f, "{offset} of {total} bytes have arrived")
            }
            Self::ChecksumMismatch => f.write_str("the checksum does not match"),
            Self::Superseded => f.write_str("a newer request has taken the upload over"),
            Self::Busy => f.write_str("another request holds the upload"),
            Self::ShuttingDown => f.write_str("the server is shutting down"),
            Self::AlreadyExists => f.write_str("the target exists already"),
            Self::Full => f.write_str("there is no room left"),
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
