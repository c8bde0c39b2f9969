//! Handlers of axum that know nothing of uploads get the same request, whether or not it came in
//! pieces, and answer alike.

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path};
use axum::http::HeaderMap;
use axum::routing::{any, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use tower::{Service as _, ServiceExt as _};
use tower_http::limit::RequestBodyLimitLayer;

use super::*;

async fn raw(Path(name): Path<String>, headers: HeaderMap, body: Body) -> String {
    let length = body.size_hint().exact();
    let bytes = body.collect().await.unwrap().to_bytes();
    let header = |name| headers.get(name).cloned();
    let (kind, said) = (header("content-type"), header("content-length"));
    format!("{name} {length:?} {kind:?} {said:?} {bytes:?}")
}

fn router() -> Router {
    let echo = |Json(value): Json<Value>| async move { Json(json!({ "got": value })) };
    let bytes = |bytes: Bytes| async move { format!("{bytes:?}") };
    Router::new()
        .route("/inbox/json", put(echo))
        .route("/inbox/bytes", any(bytes))
        .route("/inbox/raw/{name}", post(raw))
        .route("/inbox/small", post(bytes).layer(DefaultBodyLimit::max(10)))
        .route("/inbox/limited", post(raw_bytes).layer(RequestBodyLimitLayer::new(10)))
        .route("/inbox/part", post(part))
        .route("/inbox/nothing", post(|| async { StatusCode::ACCEPTED }))
        .route("/inbox/elsewhere", post(|| async { axum::response::Redirect::to("/done") }))
}

async fn raw_bytes(body: Body) -> Result<String, StatusCode> {
    let bytes = body.collect().await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    Ok(format!("{:?}", bytes.to_bytes()))
}

/// Reads the first bytes and answers early.
async fn part(mut body: Body) -> String {
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    format!("{}", first[0])
}

struct Case {
    method: &'static str,
    path: &'static str,
    kind: &'static str,
    body: &'static str,
    status: u16,
}

fn cases() -> Vec<Case> {
    [
        ("PUT", "/inbox/json", "application/json", r#"{"a":[1,2,3],"b":null}"#, 200),
        ("PUT", "/inbox/json", "application/json", r#"{"a":[1,2"#, 400),
        ("PUT", "/inbox/json", "text/plain", "{}", 415),
        ("POST", "/inbox/json", "application/json", "{}", 405),
        ("DELETE", "/inbox/bytes", "text/plain", "sand and foam", 200),
        ("POST", "/inbox/raw/a%20b?c=d", "text/x; q=\"\u{e9}\"", "sand and foam", 200),
        ("POST", "/inbox/small", "text/plain", "0123456789", 200),
        ("POST", "/inbox/small", "text/plain", "0123456789a", 413),
        ("POST", "/inbox/limited", "text/plain", "0123456789", 200),
        ("POST", "/inbox/limited", "text/plain", "0123456789a", 413),
        ("POST", "/inbox/part", "text/plain", "sand", 200),
        ("POST", "/inbox/nothing", "text/plain", "sand", 202),
        ("POST", "/inbox/elsewhere", "text/plain", "sand", 303),
        ("POST", "/inbox/unknown", "text/plain", "sand", 404),
    ]
    .map(|(method, path, kind, body, status)| Case { method, path, kind, body, status })
    .into()
}

impl Case {
    fn request(&self, complete: (&str, &str), bytes: &'static str) -> Request<Body> {
        let request = Request::builder().method(self.method).uri(self.path);
        let request = request.header("content-type", self.kind.as_bytes());
        let request = request.header(complete.0, complete.1);
        request.header("content-length", bytes.len()).body(Body::from(bytes)).unwrap()
    }
}

/// The status, the headers but those of the draft, and the body.
async fn said(
    response: Response<impl http_body::Body<Data = Bytes, Error: std::fmt::Debug>>,
) -> (u16, HeaderMap, Bytes) {
    let (parts, body) = response.into_parts();
    let mut headers = parts.headers;
    for name in ["upload-complete", "upload-offset"] {
        headers.remove(name);
    }
    (parts.status.as_u16(), headers, body.collect().await.unwrap().to_bytes())
}

#[test]
fn a_handler_answers_as_it_would_without_the_layer() {
    on_all_stores(|uploads| async move {
        let resumable =
            Resumable::new("/uploads").requests(|parts| parts.uri.path().starts_with("/inbox/"));
        let layer = ChunkedUploadLayer::new(uploads.build().unwrap()).resumable(resumable);
        let mut service = layer.around(router());
        for case in cases() {
            let Case { path, body, .. } = case;
            let plain = router().oneshot(case.request(LAST, body)).await.unwrap();
            let plain = said(plain).await;
            assert_eq!(plain.0, case.status, "{path}");

            let whole = service.call(case.request(LAST, body)).await.unwrap();
            assert_eq!(whole.headers()["upload-complete"], "?1", "{path}");
            assert_eq!(said(whole).await, plain, "{path}");

            let (first, rest) = body.split_at(body.len() / 2);
            let begun = service.call(case.request(MORE, first)).await.unwrap();
            assert_eq!(begun.status(), 201, "{path}");
            let upload = begun.headers()["location"].to_str().unwrap().to_owned();
            let last = Request::patch(upload).header(PARTIAL.0, PARTIAL.1).header(LAST.0, LAST.1);
            let last = last.header("upload-offset", first.len()).body(Body::from(rest)).unwrap();
            let pieces = service.call(last).await.unwrap();
            assert_eq!(pieces.headers()["upload-complete"], "?1", "{path}");
            assert_eq!(said(pieces).await, plain, "{path}");
        }
    });
}

#[tokio::test]
async fn a_limit_outside_is_about_each_request() {
    let resumable = Resumable::new("/uploads").paths(["/inbox/bytes"]);
    let layer = ChunkedUploadLayer::new(memory().build().unwrap()).resumable(resumable);
    let service = tower::ServiceBuilder::new()
        .layer(RequestBodyLimitLayer::new(8))
        .service(layer.around(router().layer(DefaultBodyLimit::disable())));
    let send = |request: Request<Body>| service.clone().oneshot(request);
    let begin = Request::post("/inbox/bytes").header(MORE.0, MORE.1);
    let begun = send(begin.body(Body::from("sand and")).unwrap()).await.unwrap();
    assert_eq!(begun.status(), 201);
    let path = begun.headers()["location"].to_str().unwrap().to_owned();
    let patch = |at: u64, complete: (&str, &str)| {
        let request = Request::patch(&path).header(PARTIAL.0, PARTIAL.1);
        request.header("upload-offset", at).header(complete.0, complete.1)
    };
    // Of a length that is not known, so that the limit is hit while the body comes.
    let stream = |bytes: &'static str| {
        Body::new(http_body_util::StreamBody::new(futures_util::stream::iter(
            bytes.as_bytes().chunks(4).map(|bytes| {
                Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from_static(bytes)))
            }),
        )))
    };
    let refused = send(patch(8, MORE).body(stream(" foam and")).unwrap()).await.unwrap();
    assert_eq!(refused.status(), 413);
    let stands = send(Request::head(&path).body(Body::empty()).unwrap()).await.unwrap();
    let at: u64 = stands.headers()["upload-offset"].to_str().unwrap().parse().unwrap();
    let rest = &"sand and foam"[usize::try_from(at.min(13)).unwrap()..];
    let done = send(patch(at, LAST).body(Body::from(rest)).unwrap()).await.unwrap();
    assert_eq!(done.status(), 200);
    let (_, _, body) = said(done).await;
    assert!(body.starts_with(b"b\"sand and foam"), "{body:?}");
}

#[tokio::test]
async fn headers_that_are_kept_do_not_change_where_the_request_ends() {
    let names = ["content-length", "transfer-encoding", "upload-complete", "x-kept"];
    let resumable = Resumable::new("/uploads")
        .paths(["/inbox"])
        .keep_headers(names.map(http::HeaderName::from_static));
    let uploads = memory().build().unwrap();
    let app = App::new(ChunkedUploadLayer::new(uploads).resumable(resumable));
    let headers = [("content-length", "4"), ("transfer-encoding", "chunked"), ("x-kept", "yes")];
    let path = app.begin(&headers, "sand").await;
    let reply = app.send(patch(&path, 4, LAST, TestBody::of(" and foam"))).await;
    assert_eq!(reply.status, 200);
    let got = app.got();
    let [(parts, _)] = &got[..] else { panic!("{got:?}") };
    assert_eq!(parts.headers["content-length"], "13");
    assert_eq!(parts.headers["x-kept"], "yes");
    for name in ["transfer-encoding", "upload-complete"] {
        assert!(!parts.headers.contains_key(name), "{name}");
    }
}
