//! [`CompletedUpload`] as an axum extractor.

use std::convert::Infallible;
use std::fmt;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;

use crate::code;
use crate::engine::CompletedUpload;
use crate::protocol::ERROR_CODE;

impl<S: Sync> FromRequestParts<S> for CompletedUpload {
    type Rejection = NoUpload;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoUpload> {
        parts.extensions.get::<Self>().cloned().ok_or(NoUpload(()))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for CompletedUpload {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

/// The rejection of a handler that extracts a [`CompletedUpload`] from a request without one.
///
/// Its `Display` explains what to check; the client only sees a 500.
#[derive(Debug)]
pub struct NoUpload(());

impl fmt::Display for NoUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this request has no completed upload: check that the route is the layer's `complete_path` or \
             `handler_path`, and that the `ChunkedUploadLayer` wraps the router or was added after the route",
        )
    }
}

impl std::error::Error for NoUpload {}

impl IntoResponse for NoUpload {
    fn into_response(self) -> Response {
        crate::log::failed("extract a completed upload", None, &self);
        let code = code::NO_UPLOAD;
        let headers = [(CONTENT_TYPE, "application/json"), (ERROR_CODE, code)];
        let content = format!(r#"{{"code":"{code}","detail":"There is no upload to complete"}}"#);
        (StatusCode::INTERNAL_SERVER_ERROR, headers, content).into_response()
    }
}
