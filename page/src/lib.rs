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
    let css = || async { file("text/css", include_str!("../page.css")) };
    let form = || async { file("text/css", include_str!("../form.css")) };
    let pages = Router::new()
        .route("/", get(welcome))
        .route("/page.css", get(css))
        .route("/form.css", get(form));
    SCRIPTS.iter().fold(pages, |pages, (path, text)| {
        pages.route(path, get(move || async move { script(text) }))
    })
}

fn html<T: IntoResponse>(text: T) -> impl IntoResponse + use<T> {
    file("text/html; charset=utf-8", text)
}

fn script(text: &'static str) -> impl IntoResponse + use<> {
    file("text/javascript; charset=utf-8", text)
}

fn file<T: IntoResponse>(kind: &'static str, text: T) -> impl IntoResponse + use<T> {
    let headers: [(HeaderName, &'static str); 4] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}

/// `page.js` is the first one, and imports the others.
const SCRIPTS: [(&str, &str); 17] = [
    ("/page.js", include_str!("../page.js")),
    ("/list.js", include_str!("../list.js")),
    ("/overall.js", include_str!("../overall.js")),
    ("/questions.js", include_str!("../questions.js")),
    ("/upload.js", include_str!("../upload.js")),
    ("/transfer.js", include_str!("../transfer.js")),
    ("/rate.js", include_str!("../rate.js")),
    ("/rows.js", include_str!("../rows.js")),
    ("/locks.js", include_str!("../locks.js")),
    ("/requests.js", include_str!("../requests.js")),
    ("/memory.js", include_str!("../memory.js")),
    ("/problems.js", include_str!("../problems.js")),
    ("/speech.js", include_str!("../speech.js")),
    ("/dialog.js", include_str!("../dialog.js")),
    ("/words.js", include_str!("../words.js")),
    ("/md5.js", include_str!("../md5.js")),
    ("/checksum.js", include_str!("../checksum.js")),
];

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; worker-src 'self'; img-src 'self' data: blob:; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";
