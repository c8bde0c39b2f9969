//! The header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).

use http::{HeaderMap, HeaderName};

use super::headers::single;
use super::refusals;
use crate::code;
use crate::idempotency::IdempotencyKey;
use crate::policy::Refusal;

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Returns the key of a request that creates an upload, if it has one.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Refusal> {
    let bad = |why: String| refusals::bad(code::MALFORMED_KEY, format!("Idempotency-Key: {why}"));
    let value =
        single(headers, &IDEMPOTENCY_KEY).map_err(|_| bad("it was sent twice".to_owned()))?;
    let key = value.map(|value| IdempotencyKey::parse(value.as_bytes())).transpose();
    key.map_err(|error| bad(error.to_string()))
}
