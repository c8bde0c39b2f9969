//! Files from a page without JavaScript: an HTML form, one request, one response in words.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde_json::Value;
use tower::ServiceExt;

/// Why the file was not taken.
struct Refused {
    status: StatusCode,
    code: String,
    reason: String,
}

/// Sends the request to `app` as an upload of one chunk, and then completes the upload.
pub async fn whole_file(State(app): State<Router>, request: Request) -> (StatusCode, String) {
    let (head, body) = request.into_parts();
    match upload(&app, head, body).await {
        Ok(name) => (StatusCode::OK, format!("“{name}” has arrived.")),
        Err(Refused { status, code, .. }) if code == "no-file" => {
            (status, "No file was chosen. Go back and choose one.".to_owned())
        }
        Err(Refused { status, reason, .. }) => {
            (status, format!("The file was not taken. {reason}."))
        }
    }
}

/// The name of the file that was taken.
async fn upload(app: &Router, head: Parts, body: Body) -> Result<String, Refused> {
    // The later requests are from the same user, with the same credentials.
    let mut later = head.clone();
    later.headers.remove(header::CONTENT_LENGTH);
    later.headers.remove(header::TRANSFER_ENCODING);
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    later.headers.insert(header::CONTENT_TYPE, form);

    let received = answer(app, Method::POST, CHUNKS, head, body).await?;
    let id = format!("upload_id={}", text(&received, "upload_id"));
    let completed = answer(app, Method::POST, COMPLETE, later.clone(), id.clone().into()).await;
    if completed.is_err() {
        // Nobody would continue it.
        let upload = format!("{CHUNKS}?{id}");
        drop(answer(app, Method::DELETE, &upload, later, Body::empty()).await);
    }
    Ok(text(&completed?, "saved"))
}

async fn answer(
    app: &Router,
    method: Method,
    uri: &str,
    mut head: Parts,
    body: Body,
) -> Result<Value, Refused> {
    head.method = method;
    head.uri = uri.parse().unwrap_or_default();
    let response: Response = match app.clone().oneshot(Request::from_parts(head, body)).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (head, body) = response.into_parts();
    let body = to_bytes(body, 64 * 1024).await.unwrap_or_default();
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    if head.status.is_success() {
        return Ok(answer);
    }
    let reason = answer["detail"].as_str().unwrap_or("The server has a problem").to_owned();
    Err(Refused { status: head.status, code: text(&answer, "code"), reason })
}

fn text(answer: &Value, key: &str) -> String {
    answer[key].as_str().unwrap_or_default().to_owned()
}

const CHUNKS: &str = "/api/chunked_upload";
const COMPLETE: &str = "/api/chunked_upload_complete";
