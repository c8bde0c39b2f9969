//! Refusals for a quota, which are the same in all dialects.

use http::StatusCode;

use crate::code;
use crate::engine::Quota;
use crate::policy::Refusal;

/// Refuses what would exceed a quota.
pub(super) fn exceeded(quota: &Quota, limit: u64) -> Refusal {
    let status = match quota {
        Quota::OwnerUploads => StatusCode::TOO_MANY_REQUESTS,
        Quota::OwnerBytes => StatusCode::PAYLOAD_TOO_LARGE,
        Quota::AllBytes | Quota::FreeBytes => StatusCode::INSUFFICIENT_STORAGE,
    };
    Refusal::coded(code::QUOTA_EXCEEDED, status, format!("The limit is {limit} {quota}"))
}
