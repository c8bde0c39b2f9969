//! Logging with `tracing`, which does nothing without that feature.
//!
//! Ids are secrets, so only their beginnings are logged, and nothing that a client sent.

use std::error::Error;

use crate::id::UploadId;

/// Logs a failure that an operator must fix.
pub(crate) fn failed(action: &str, id: Option<&UploadId>, error: &(dyn Error + 'static)) {
    #[cfg(feature = "tracing")]
    tracing::error!(?id, error, "cannot {action}");
    #[cfg(not(feature = "tracing"))]
    let _ = (action, id, error);
}

/// Logs a refused request, which is the client's mistake.
pub(crate) fn refused(status: u16, code: &str, error: Option<&(dyn Error + 'static)>) {
    #[cfg(feature = "tracing")]
    tracing::debug!(status, code, error, "upload refused");
    #[cfg(not(feature = "tracing"))]
    let _ = (status, code, error);
}
