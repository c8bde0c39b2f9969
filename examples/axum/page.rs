//! The page for files: files of their own, without a framework or a build step.

use axum::Router;
use axum::http::{HeaderName, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum_extra::extract::CookieJar;

use crate::user;

/// The page that sends files, and what it shares with the operator's.
pub(crate) fn pages() -> Router {
    let welcome = |jar: CookieJar| async move {
        (user::welcome(jar), html(include_str!("../page/index.html")))
    };
    Router::new()
        .route("/", get(welcome))
        .route("/page.css", get(async || file("text/css", include_str!("../page/page.css"))))
        .route("/page.js", get(async || script(include_str!("../page/page.js"))))
        .route("/words.js", get(async || script(include_str!("../page/words.js"))))
        .route("/md5.js", get(async || script(include_str!("../page/md5.js"))))
}

pub(crate) fn html(text: &'static str) -> impl IntoResponse + use<> {
    file("text/html; charset=utf-8", text)
}

pub(crate) fn script(text: &'static str) -> impl IntoResponse + use<> {
    file("text/javascript; charset=utf-8", text)
}

pub(crate) fn file(kind: &'static str, text: &'static str) -> impl IntoResponse + use<> {
    let headers: [(HeaderName, &'static str); 4] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; worker-src 'self'; img-src 'self' data:; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";
