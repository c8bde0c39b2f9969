//! Tokens that requests present instead of a session, and those that answers hand out. Without
//! feature `tokens` there are none.

use http::HeaderName;

#[cfg(feature = "tokens")]
mod on;
#[cfg(feature = "tokens")]
pub(crate) use on::*;

#[cfg(not(feature = "tokens"))]
mod off;
#[cfg(not(feature = "tokens"))]
pub(crate) use off::*;

/// Has a token for the upload of a request, or of an answer.
pub(crate) const UPLOAD_TOKEN: HeaderName = HeaderName::from_static("upload-token");
