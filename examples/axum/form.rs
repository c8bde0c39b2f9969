//! Files from a page without JavaScript: an HTML form, one request, one answer in words.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri, header, request};
use axum::response::Response;
use serde_json::Value;
use tower::ServiceExt;

/// Sends what came to `app` as an upload of one chunk, and then the upload's completion.
pub(crate) async fn whole_file(
    State(app): State<Router>,
    request: Request,
) -> (StatusCode, String) {
    let (mut head, body) = request.into_parts();
    head.uri = Uri::from_static("/api/chunked_upload");
    let mut completion = completion_like(&head);
    let (status, received) = answer(&app, Request::from_parts(head, body)).await;
    let Some(id) = received["upload_id"].as_str() else {
        return (status, format!("The file was not taken: {}", detail(&received)));
    };
    *completion.body_mut() = Body::from(format!("upload_id={id}"));
    match answer(&app, completion).await {
        (StatusCode::OK, saved) => (StatusCode::OK, format!("Saved: {}", saved["saved"])),
        (status, refused) => (status, format!("The file was not taken: {}", detail(&refused))),
    }
}

/// From the same user and with the same credentials.
fn completion_like(head: &request::Parts) -> Request {
    let mut completion = Request::new(Body::empty());
    *completion.method_mut() = Method::POST;
    *completion.uri_mut() = Uri::from_static("/api/chunked_upload_complete");
    let headers = completion.headers_mut();
    headers.clone_from(&head.headers);
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    let form = header::HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(header::CONTENT_TYPE, form);
    completion
}

async fn answer(app: &Router, request: Request) -> (StatusCode, Value) {
    let response: Response = match app.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (head, body) = response.into_parts();
    let body = to_bytes(body, 64 * 1024).await.unwrap_or_default();
    (head.status, serde_json::from_slice(&body).unwrap_or_default())
}

fn detail(answer: &Value) -> &str {
    answer["detail"].as_str().unwrap_or("the server has a problem")
}
