//! The lists for a CORS layer against what the protocol does: the headers that change its answers, the
//! methods it takes, the headers it gives.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode};
use tower_chunked_upload::store::MemoryStore;
use tower_chunked_upload::{ChunkedUploadLayer, Cors, Uploads};

use support::{CHUNK, COMPLETE, Client, Form, NO_ID, Reply, TestBody, md5};

const DATA: &[u8] = b"0123456789";

fn uploads() -> Uploads {
    Uploads::builder(MemoryStore::new()).build().unwrap()
}

fn needs() -> Cors {
    ChunkedUploadLayer::new(uploads()).cors()
}

fn client() -> Client {
    Client::new(ChunkedUploadLayer::new(uploads()))
}

fn request(method: Method, uri: &str, body: TestBody) -> Request<TestBody> {
    Request::builder().method(method).uri(uri).body(body).unwrap()
}

fn with(mut request: Request<TestBody>, name: HeaderName, value: &str) -> Request<TestBody> {
    request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    request
}

fn raw() -> Request<TestBody> {
    let chunk = request(Method::POST, CHUNK, TestBody::of(DATA));
    let chunk = with(chunk, header::CONTENT_DISPOSITION, "attachment; filename=\"a.bin\"");
    with(chunk, header::CONTENT_RANGE, "bytes 0-9/10")
}

fn form() -> Request<TestBody> {
    let body = TestBody::of(Form::new().file("a.bin", DATA).end());
    let chunk = request(Method::POST, CHUNK, body);
    let chunk = with(chunk, header::CONTENT_TYPE, &Form::content_type());
    with(chunk, header::CONTENT_RANGE, "bytes 0-9/10")
}

fn completion(id: &str) -> Request<TestBody> {
    let fields = format!("upload_id={id}&md5={}", md5(DATA));
    let completion = request(Method::POST, COMPLETE, TestBody::of(fields));
    with(completion, header::CONTENT_TYPE, "application/x-www-form-urlencoded")
}

fn of_upload(method: Method, id: &str) -> Request<TestBody> {
    request(method, &format!("{CHUNK}?upload_id={id}"), TestBody::empty())
}

/// Every kind of request, each to an upload of its own.
async fn every_request(client: &Client) -> Vec<Request<TestBody>> {
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(client.send(raw()).await.id());
    }
    let [asked, cancelled, completed] = ids.try_into().unwrap();
    let (asked, cancelled) =
        (of_upload(Method::GET, &asked), of_upload(Method::DELETE, &cancelled));
    vec![raw(), form(), asked, cancelled, completion(&completed)]
}

/// Every kind of answer that has a header of its own.
async fn every_answer() -> Vec<Reply> {
    let mut replies = Vec::new();
    let client = client();
    for request in every_request(&client).await {
        replies.push(client.send(request).await);
    }
    replies.push(client.send(of_upload(Method::GET, NO_ID)).await);
    replies.push(client.send(request(Method::PUT, CHUNK, TestBody::empty())).await);
    replies.push(client.chunk(Some(&replies[0].id()), 3, 10, b"3").await);

    let closing = uploads();
    closing.shutdown(Duration::ZERO).await;
    replies.push(Client::new(ChunkedUploadLayer::new(closing)).send(raw()).await);
    replies
}

#[tokio::test]
async fn the_headers_that_change_an_answer_are_those_of_the_list() {
    let mut read = BTreeSet::new();
    for name in KNOWN {
        let client = client();
        for request in every_request(&client).await {
            let nonsense = with(request, HeaderName::from_static(name), "multipart/form-data;");
            if client.send(nonsense).await.status.is_client_error() {
                read.insert(name);
            }
        }
    }
    let needs = needs();
    let listed = names(&needs.request_headers);
    assert_eq!(read, listed.into_iter().chain(REFUSED).collect());
}

#[tokio::test]
async fn every_method_that_does_something_is_in_the_list() {
    let client = client();
    let mut taken = BTreeSet::new();
    for request in every_request(&client).await {
        taken.insert(request.method().to_string());
        assert!(client.send(request).await.status.is_success());
    }
    assert_eq!(taken, needs().methods.iter().map(Method::to_string).collect());
}

#[tokio::test]
async fn the_headers_of_answers_are_in_the_list_or_need_not_be() {
    let replies = every_answer().await;
    let statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    for status in [
        StatusCode::OK,
        StatusCode::NO_CONTENT,
        StatusCode::BAD_REQUEST,
        StatusCode::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED,
        StatusCode::SERVICE_UNAVAILABLE,
    ] {
        assert!(statuses.contains(&status), "no {status} among {statuses:?}");
    }
    let given: BTreeSet<_> =
        replies.iter().flat_map(|reply| reply.headers.keys()).map(HeaderName::as_str).collect();
    let exposed: BTreeSet<_> =
        given.into_iter().filter(|name| !ALWAYS_READABLE.contains(name)).collect();
    let needs = needs();
    let listed: BTreeSet<_> =
        names(&needs.response_headers).into_iter().chain(NOT_FOR_SCRIPTS).collect();
    assert_eq!(exposed, listed);
}

fn names(list: &[HeaderName]) -> BTreeSet<&str> {
    list.iter().map(HeaderName::as_str).collect()
}

/// What no client of the layer itself may send: a body is taken as it is.
const REFUSED: [&str; 1] = ["content-encoding"];
/// The CORS-safelisted response-header names of the fetch standard.
const ALWAYS_READABLE: [&str; 7] = [
    "cache-control",
    "content-language",
    "content-length",
    "content-type",
    "expires",
    "last-modified",
    "pragma",
];
/// What a developer reads, and what the browser reads itself.
const NOT_FOR_SCRIPTS: [&str; 2] = ["allow", "x-content-type-options"];
/// The request headers of RFC 9110 to 9112 and of the protocol's relatives.
const KNOWN: [&str; 46] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "authorization",
    "cache-control",
    "connection",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "digest",
    "expect",
    "forwarded",
    "from",
    "host",
    "idempotency-key",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "origin",
    "pragma",
    "prefer",
    "priority",
    "range",
    "referer",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upload-offset",
    "user-agent",
    "via",
    "x-csrf-token",
    "x-http-method-override",
    "x-requested-with",
];
