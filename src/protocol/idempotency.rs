//! The header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).

use http::{HeaderMap, HeaderName};

use super::headers::single;
use super::refusals;
use crate::code;
use crate::engine::{Append, Error, ErrorKind, NewUpload, OwnerUploads};
use crate::idempotency::IdempotencyKey;
use crate::policy::Refusal;
use crate::upload::Upload;

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Returns the key of a request that creates an upload, if it has one.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Refusal> {
    let bad = |why: String| refusals::bad(code::MALFORMED_KEY, format!("Idempotency-Key: {why}"));
    let value =
        single(headers, &IDEMPOTENCY_KEY).map_err(|_| bad("it was sent twice".to_owned()))?;
    let key = value.map(|value| IdempotencyKey::parse(value.as_bytes())).transpose();
    key.map_err(|error| bad(error.to_string()))
}

/// An upload that a request creates.
pub(crate) enum Begun {
    New(Box<Append>),
    /// The same request has come twice, and the other one was faster. This is where it stands.
    Before(Box<Upload>),
}

/// Ends what still brings bytes to an upload that was created before, and returns where it stands.
/// Passing over a body takes a while, in which the key may have given the id to the next upload.
pub(crate) async fn end_repeated(uploads: &OwnerUploads, before: &Upload) -> Result<Upload, Error> {
    let now = uploads.end_append(&before.id).await?;
    match now.identity() == before.identity() {
        true => Ok(now),
        false => Err(ErrorKind::KeyReused.into()),
    }
}

/// Creates an upload that was not [there](OwnerUploads::created_before) a moment ago.
pub(crate) async fn begin(uploads: &OwnerUploads, new: NewUpload) -> Result<Begun, Error> {
    match uploads.create(new.clone()).await {
        Ok(append) if append.is_new() => return Ok(Begun::New(Box::new(append))),
        Ok(append) => drop(append),
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyComplete | ErrorKind::Finishing) => {
        }
        Err(error) => return Err(error),
    }
    let before = uploads.created_before(&new).await?;
    Ok(Begun::Before(Box::new(before.ok_or(ErrorKind::Superseded)?)))
}
