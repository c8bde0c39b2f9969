//! Refusals that are the same in all dialects.

use http::StatusCode;

use crate::code;
use crate::engine::{ErrorKind, Quota};
use crate::policy::Refusal;

/// Refuses a request that is wrong in itself.
pub(super) fn bad(code: &'static str, detail: impl Into<String>) -> Refusal {
    Refusal::coded(code, StatusCode::BAD_REQUEST, detail)
}

/// Refuses what would exceed a quota.
pub(super) fn exceeded(quota: &Quota, limit: u64) -> Refusal {
    let status = match quota {
        Quota::OwnerUploads => StatusCode::TOO_MANY_REQUESTS,
        Quota::OwnerBytes => StatusCode::PAYLOAD_TOO_LARGE,
        Quota::AllBytes | Quota::FreeBytes => StatusCode::INSUFFICIENT_STORAGE,
    };
    Refusal::coded(code::QUOTA_EXCEEDED, status, format!("The limit is {limit} {quota}"))
}

/// Refuses what the store has no room for.
pub(super) fn full() -> Refusal {
    let detail = "There is no room for the upload";
    Refusal::coded(code::FULL, StatusCode::INSUFFICIENT_STORAGE, detail)
}

/// Refuses a creation that differs from the one that its key has made.
pub(super) fn key_reused() -> Refusal {
    let detail = "The Idempotency-Key was used for an upload with other parameters";
    Refusal::coded(code::KEY_REUSED, StatusCode::CONFLICT, detail)
}

/// Refuses a token.
pub(super) fn bad_token(kind: &ErrorKind) -> Refusal {
    let detail = match kind {
        ErrorKind::ExpiredToken => "The token has expired",
        _ => "The token is not valid for this upload",
    };
    Refusal::coded(kind.code(), StatusCode::UNAUTHORIZED, detail)
}

/// Says that the store has failed.
pub(super) fn not_stored(code: &'static str) -> Refusal {
    let detail = "The upload could not be stored";
    Refusal::coded(code, StatusCode::INTERNAL_SERVER_ERROR, detail)
}
