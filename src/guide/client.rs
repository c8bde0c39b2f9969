/// The requests of the guide's examples, and how to send them.
#[allow(dead_code)]
mod client {
    use axum::Router;
    use axum::body::Body;
    use http::{Method, Request, Response, StatusCode};
    use http_body_util::BodyExt;
    use md5::{Digest, Md5};
    use serde_json::Value;
    use tower::ServiceExt;

    pub const CHUNK: &str = "/api/chunked_upload";
    pub const COMPLETE: &str = "/api/chunked_upload_complete";

    pub fn request(method: Method, path: &str) -> Request<Body> {
        Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
    }

    /// A chunk, or a whole file.
    pub fn chunk(path: &str, filename: &str, range: &str, bytes: &'static str) -> Request<Body> {
        let disposition = format!("attachment; filename=\"{filename}\"");
        let mut chunk = Request::post(path).header("content-disposition", disposition);
        if !range.is_empty() {
            chunk = chunk.header("content-range", range);
        }
        chunk.body(bytes.into()).unwrap()
    }

    /// The body of a completion, with the MD5 of the file.
    pub fn form(id: &Value, file: &str) -> String {
        let digest = Md5::digest(file);
        let md5: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("upload_id={}&md5={md5}", id.as_str().unwrap())
    }

    pub fn completion(id: &Value, file: &str) -> Request<Body> {
        Request::post(COMPLETE)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form(id, file).into())
            .unwrap()
    }

    pub fn by(user: &'static str, mut request: Request<Body>) -> Request<Body> {
        request.headers_mut().insert("x-user", http::HeaderValue::from_static(user));
        request
    }

    pub async fn send(app: &Router, request: Request<Body>) -> (StatusCode, Value) {
        read(app.clone().oneshot(request).await.unwrap()).await
    }

    pub async fn read(response: Response<Body>) -> (StatusCode, Value) {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Sends a whole file, and completes it.
    pub async fn upload(app: &Router, filename: &str, file: &'static str) -> (StatusCode, Value) {
        let (status, answer) = send(app, chunk(CHUNK, filename, "", file)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        send(app, completion(&answer["upload_id"], file)).await
    }
}
