use std::time::SystemTime;
use std::{fmt, io};

use crate::id::UploadId;
use crate::upload::Upload;

/// The result of an operation of a store.
pub(crate) type Result<T, E = StoreError> = std::result::Result<T, E>;

/// An error of a store.
///
/// The messages name paths and the system's errors. They are for the log, and are never sent to a
/// client.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such upload.
    NotFound,
    /// The upload was removed. A store does not have to remember that.
    Removed {
        /// Its last record.
        upload: Box<Upload>,
        /// When it was removed.
        at: SystemTime,
    },
    /// Another writer holds the lease.
    Busy,
    /// Another writer has committed since this one began. What this one wrote is not in the upload.
    Conflict,
    /// The target already exists.
    AlreadyExists {
        /// The target.
        target: String,
    },
    /// There is no room left.
    Full {
        /// What was tried.
        action: String,
        /// What the system said.
        source: io::Error,
    },
    /// The record, or the bytes that it describes, cannot be trusted.
    Damaged {
        /// The upload.
        id: UploadId,
        /// What is wrong with it.
        problem: String,
    },
    /// A setting that cannot work.
    Config {
        /// What is wrong with it.
        problem: String,
    },
    /// Any other failure of the place where uploads are kept.
    Io {
        /// What was tried.
        action: String,
        /// What the system said.
        source: io::Error,
    },
}

impl StoreError {
    /// Creates the error for a failed system call. A full disk or quota becomes [`Self::Full`].
    pub fn io(action: impl Into<String>, source: io::Error) -> Self {
        let action = action.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { action, source }
            }
            _ => Self::Io { action, source },
        }
    }

    /// The error for work that the runtime did not start, or did not end.
    pub(crate) fn shutting_down(action: &str) -> Self {
        Self::io(action, io::Error::other("the runtime is shutting down"))
    }

    pub(crate) fn damaged(id: &UploadId, problem: impl Into<String>) -> Self {
        Self::Damaged { id: *id, problem: problem.into() }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such upload"),
            Self::Removed { .. } => f.write_str("the upload was removed"),
            Self::Busy => f.write_str("another writer holds the upload"),
            Self::Conflict => f.write_str("another writer committed first"),
            Self::AlreadyExists { target } => write!(f, "{target:?} already exists"),
            Self::Full { action, .. } => write!(f, "no room left: {action}"),
            Self::Damaged { id, problem } => write!(f, "upload {id:?} is damaged: {problem}"),
            Self::Config { problem } => f.write_str(problem),
            Self::Io { action, .. } => write!(f, "the store failed: {action}"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Full { source, .. } | Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
