use std::fmt;
use std::sync::Arc;

use super::quota::Quota;
use crate::code;
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

/// The kinds of [`Error`], each with a word that never changes ([`code`](Self::code)).
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
        /// The upload's offset, in bytes.
        offset: u64,
    },
    /// A different total was announced before.
    TotalMismatch {
        /// The total that was announced, in bytes.
        total: u64,
    },
    /// More bytes arrived than were announced.
    TooLong {
        /// The total that was announced, in bytes.
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
        /// The upload's offset, in bytes.
        offset: u64,
        /// The total that was announced, in bytes.
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
    /// The [idempotency key](crate::NewUpload::idempotency_key) was used for another upload.
    KeyReused,
    /// The store is full.
    Full,
    /// The record or the bytes of the upload cannot be trusted.
    Damaged,
    /// The token is malformed, was not signed by any of the keys, or is for another upload.
    InvalidToken,
    /// The token has expired.
    ExpiredToken,
    /// The source of the bytes failed.
    Source,
    /// The store failed.
    Store,
}

impl Error {
    /// Returns the kind of the error.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Returns the damaged upload, if the store reported one.
    pub fn damaged_upload(&self) -> Option<UploadId> {
        match self.source.as_deref()?.downcast_ref::<StoreError>()? {
            StoreError::Damaged { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// Creates an error of the source of the bytes, with its cause.
    pub fn source_failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind: ErrorKind::Source, source: Some(Arc::from(source.into())) }
    }
}

impl ErrorKind {
    /// Returns the word that identifies this kind for programs, such as `offset-mismatch`. It never
    /// changes, unlike the message that `Display` writes. The guide [lists all of
    /// them](crate::guide::errors#what-does-each-code-mean).
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound => code::NOT_FOUND,
            Self::Expired => code::EXPIRED,
            Self::AlreadyComplete => code::ALREADY_COMPLETE,
            Self::Finishing => code::FINISHING,
            Self::Interrupted => code::INTERRUPTED,
            Self::OffsetMismatch { .. } => code::OFFSET_MISMATCH,
            Self::TotalMismatch { .. } => code::TOTAL_MISMATCH,
            Self::TooLong { .. } => code::TOO_LONG,
            Self::TooLarge { .. } => code::TOO_LARGE,
            Self::QuotaExceeded { .. } => code::QUOTA_EXCEEDED,
            Self::Incomplete { .. } => code::INCOMPLETE,
            Self::ChecksumMismatch => code::CHECKSUM_MISMATCH,
            Self::Superseded => code::SUPERSEDED,
            Self::Busy => code::BUSY,
            Self::ShuttingDown => code::SHUTTING_DOWN,
            Self::AlreadyExists => code::ALREADY_EXISTS,
            Self::Full => code::FULL,
            Self::Damaged => code::DAMAGED,
            Self::InvalidToken => code::TOKEN_INVALID,
            Self::ExpiredToken => code::TOKEN_EXPIRED,
            Self::Source => code::SOURCE_FAILED,
            Self::Store => code::STORE_FAILED,
            Self::KeyReused => code::KEY_REUSED,
        }
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
            Self::KeyReused => f.write_str("the idempotency key was used for another upload"),
            Self::Full => f.write_str("the store is full"),
            Self::Damaged => f.write_str("the upload is damaged"),
            Self::InvalidToken => f.write_str("the token is not valid"),
            Self::ExpiredToken => f.write_str("the token has expired"),
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

/// An error for a setting that cannot work.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What was released. Whoever adds a kind has to add it here, and nobody may change a word.
    fn word(kind: &ErrorKind) -> &'static str {
        match kind {
            ErrorKind::NotFound => "not-found",
            ErrorKind::Expired => "expired",
            ErrorKind::AlreadyComplete => "already-complete",
            ErrorKind::Finishing => "finishing",
            ErrorKind::Interrupted => "interrupted",
            ErrorKind::OffsetMismatch { .. } => "offset-mismatch",
            ErrorKind::TotalMismatch { .. } => "total-mismatch",
            ErrorKind::TooLong { .. } => "too-long",
            ErrorKind::TooLarge { .. } => "too-large",
            ErrorKind::QuotaExceeded { .. } => "quota-exceeded",
            ErrorKind::Incomplete { .. } => "incomplete",
            ErrorKind::ChecksumMismatch => "checksum-mismatch",
            ErrorKind::Superseded => "superseded",
            ErrorKind::Busy => "busy",
            ErrorKind::ShuttingDown => "shutting-down",
            ErrorKind::AlreadyExists => "already-exists",
            ErrorKind::Full => "full",
            ErrorKind::Damaged => "damaged",
            ErrorKind::InvalidToken => "token-invalid",
            ErrorKind::ExpiredToken => "token-expired",
            ErrorKind::Source => "source-failed",
            ErrorKind::Store => "store-failed",
            ErrorKind::KeyReused => "key-reused",
        }
    }

    #[test]
    fn the_word_of_a_kind_never_changes() {
        let (offset, total, limit) = (1, 2, 3);
        let kinds = [
            ErrorKind::NotFound,
            ErrorKind::Expired,
            ErrorKind::AlreadyComplete,
            ErrorKind::Finishing,
            ErrorKind::Interrupted,
            ErrorKind::OffsetMismatch { offset },
            ErrorKind::TotalMismatch { total },
            ErrorKind::TooLong { total },
            ErrorKind::TooLarge { limit },
            ErrorKind::QuotaExceeded { quota: Quota::AllBytes, limit },
            ErrorKind::Incomplete { offset, total },
            ErrorKind::ChecksumMismatch,
            ErrorKind::Superseded,
            ErrorKind::Busy,
            ErrorKind::ShuttingDown,
            ErrorKind::AlreadyExists,
            ErrorKind::Full,
            ErrorKind::Damaged,
            ErrorKind::InvalidToken,
            ErrorKind::ExpiredToken,
            ErrorKind::Source,
            ErrorKind::Store,
            ErrorKind::KeyReused,
        ];
        for kind in &kinds {
            assert_eq!(kind.code(), word(kind), "{kind:?}");
        }
        let words: std::collections::BTreeSet<_> = kinds.iter().map(word).collect();
        assert_eq!(words.len(), kinds.len());
    }
}
