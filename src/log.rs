//! What `tracing` is told; nothing without the feature of that name.
//!
//! Ids are secrets, so only their beginnings are told, and nothing that a client sent.

use std::error::Error;

use crate::engine::ErrorKind;
use crate::id::UploadId;
use crate::policy::Refusal;

/// Something that an operator must mend.
pub(crate) fn failed(action: &str, id: Option<&UploadId>, error: &(dyn Error + 'static)) {
    #[cfg(feature = "tracing")]
    tracing::error!(?id, error, "cannot {action}");
    #[cfg(not(feature = "tracing"))]
    let _ = (action, id, error);
}

/// A request that was refused: the client's doing, or something that an operator must mend.
pub(crate) fn refused(refusal: &Refusal) {
    let status = refusal.status();
    match refusal.error() {
        Some(error) if status.is_server_error() || *error.kind() == ErrorKind::Damaged => {
            failed("serve an upload", None, error);
        }
        error => {
            #[cfg(feature = "tracing")]
            tracing::debug!(
                status = status.as_u16(),
                why = refusal.detail(),
                error = error.map(|error| error as &(dyn Error + 'static)),
                "upload refused"
            );
            #[cfg(not(feature = "tracing"))]
            let _ = error;
        }
    }
}
