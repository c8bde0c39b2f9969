//! The page for files and the operator's page, without a framework or a build step, and the routes
//! that they need on their server.

use axum::Router;
use axum::http::{HeaderName, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum_extra::extract::CookieJar;

pub mod form;
pub mod list;
pub mod operator;
pub mod progress;
pub mod user;

/// The page that sends files, and what it shares with the operator's page.
pub fn pages() -> Router {
    let welcome =
        |jar: CookieJar| async move { (user::welcome(jar), html(include_str!("../index.html"))) };
    Router::new()
        .route("/", get(welcome))
        .route("/page.css", get(async || file("text/css", include_str!("../page.css"))))
        .route("/page.js", get(async || script(include_str!("../page.js"))))
        .route("/words.js", get(async || script(include_str!("../words.js"))))
        .route("/md5.js", get(async || script(include_str!("../md5.js"))))
}

fn html(text: &'static str) -> impl IntoResponse + use<> {
    file("text/html; charset=utf-8", text)
}

fn script(text: &'static str) -> impl IntoResponse + use<> {
    file("text/javascript; charset=utf-8", text)
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse + use<> {
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
