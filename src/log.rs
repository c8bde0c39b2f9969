//! What `tracing` is told; nothing without the feature of that name.
//!
//! Ids are secrets, so only their beginnings are told, and nothing that a client sent.

use std::error::Error;

use crate::id::UploadId;

/// Something that an operator must mend.
pub(crate) fn failed(action: &str, id: Option<&UploadId>, error: &(dyn Error + 'static)) {
    #[cfg(feature = "tracing")]
    tracing::error!(?id, error, "cannot {action}");
    #[cfg(not(feature = "tracing"))]
    let _ = (action, id, error);
}

/// A request that was refused, which is the client's doing.
pub(crate) fn refused(status: u16, why: &str, error: Option<&(dyn Error + 'static)>) {
    #[cfg(feature = "tracing")]
    tracing::debug!(status, why, error, "upload refused");
    #[cfg(not(feature = "tracing"))]
    let _ = (status, why, error);
}
