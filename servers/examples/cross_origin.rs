//! A server for pages on another origin: CORS, a session cookie, and a token against CSRF.
//!
//!     ORIGIN=http://127.0.0.1:8080 cargo run -p servers --example cross_origin
//!
//! A page on that origin asks for the token of its session. It sends the token as a field before
//! the file, or as a header; completions and cancellations need the header.
//!
//! ```js
//! const server = "http://127.0.0.1:3000";
//! const credentials = "include";
//! const { csrf_token } = await (await fetch(`${server}/session`, { credentials })).json();
//!
//! const body = new FormData();
//! body.append("csrf_token", csrf_token);
//! body.append("file", file);
//! const chunk = await fetch(`${server}/api/chunked_upload`, { method: "POST", credentials, body });
//! const { upload_id } = await chunk.json();
//!
//! await fetch(`${server}/api/chunked_upload_complete`, {
//!   method: "POST",
//!   credentials,
//!   headers: { "X-CSRF-Token": csrf_token },
//!   body: new URLSearchParams({ upload_id, md5 }),
//! });
//! ```
//!
//! The settings are environment variables, with these defaults:
//!
//! - `ADDR`: the address to listen on; `127.0.0.1:3000`
//! - `ORIGIN`: the origin of the page; `http://127.0.0.1:8080`
//! - `UPLOADS`: where unfinished files are kept; `chunked_uploads/%Y/%m/%d`
//! - `MEDIA`: where finished files go; `media`
//! - `HEAD_TIMEOUT`: how long a client may be silent before and between its requests, in seconds;
//!   10

use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::{digest, hmac};
use serde_json::{Value, json};
use serve::Server;
use tower_chunked_upload::policy::Verification;
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{
    Candidate, ChunkedUploadLayer, CompletedUpload, Context, Cors, Owner, Policy, Refusal, Tus,
    Uploads,
};
use tower_http::cors::{AllowHeaders, CorsLayer};
use uuid::Uuid;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    serve::log_errors();
    let store = FsStore::new(setting("UPLOADS", "chunked_uploads/%Y/%m/%d"));
    let uploads = Uploads::builder(store).max_bytes(20 << 30).build()?;
    let sweeper = uploads.sweep_every(Duration::from_secs(60));

    let origin = setting("ORIGIN", "http://127.0.0.1:8080").parse()?;
    let tokens = Tokens::new()?;
    let routes = Router::new()
        .route("/session", get(session).with_state(tokens.clone()))
        .route("/api/chunked_upload_complete", post(done))
        .with_state(PathBuf::from(setting("MEDIA", "media")));
    let tus = Tus::new("/files").handler_path("/api/chunked_upload_complete");
    let layer = ChunkedUploadLayer::new(uploads.clone()).policy(tokens).tus(tus);
    let app = Router::new()
        .fallback_service(layer.around(routes))
        // Outside, so that pages can read refusals too.
        .layer(pages_of(origin, layer.cors()));

    let listener = tokio::net::TcpListener::bind(setting("ADDR", "127.0.0.1:3000")).await?;
    println!("takes files at http://{}", listener.local_addr()?);
    let server = Server::new(Duration::from_secs(setting("HEAD_TIMEOUT", "10").parse()?));
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    let connections = server.serve(listener, app, stop).await;
    tokio::join!(uploads.shutdown(PATIENCE), async {
        // A client that keeps an idle connection open must not keep the server running.
        drop(tokio::time::timeout(2 * PATIENCE, connections.shutdown()).await);
    });
    sweeper.stop().await;
    Ok(())
}

/// Lets the pages of one origin, and of no other, send cookies and read responses.
fn pages_of(origin: HeaderValue, needs: Cors) -> CorsLayer {
    let headers = needs.request_headers.into_iter().chain([CSRF_TOKEN]);
    CorsLayer::new()
        .allow_origin([origin])
        .allow_credentials(true)
        .allow_methods(needs.methods)
        .allow_headers(AllowHeaders::list(headers))
        .expose_headers(needs.response_headers)
        // Otherwise each chunk costs two requests.
        .max_age(Duration::from_secs(60 * 60))
}

/// Begins a session, unless there is one, and returns its token.
///
/// Any page can send this request, but only a page on the allowed origin can read the response.
async fn session(State(tokens): State<Tokens>, jar: CookieJar) -> impl IntoResponse {
    let known = session_of(&jar);
    let session = known.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
    let answer = Json(json!({ "csrf_token": tokens.token(&session) }));
    let jar = if known.is_some() { jar } else { jar.add(cookie(session)) };
    ([(header::CACHE_CONTROL, "no-store")], jar, answer)
}

/// Because of `__Host-`, no other host can set it.
fn cookie(session: String) -> Cookie<'static> {
    Cookie::build((COOKIE, session))
        .path("/")
        .secure(true)
        .http_only(true)
        // Page and server may be on different hosts or ports of one site. On two sites, this has to
        // be `None`. With `Strict`, a link to `/session` on any site would replace the session.
        .same_site(SameSite::Lax)
        .build()
}

fn session_of(jar: &CookieJar) -> Option<String> {
    let session = Uuid::try_parse(jar.get(COOKIE)?.value()).ok()?;
    Some(session.to_string())
}

/// The tokens of all sessions: each is the signed name of its session.
///
/// CORS alone does not prevent a page on another origin from sending a form, only from reading the
/// response. But such a page cannot know the token.
#[derive(Clone)]
struct Tokens(Arc<hmac::Key>);

impl Tokens {
    /// Creates a new key, so a restart needs new tokens. Servers that share sessions share a key.
    fn new() -> Result<Self, &'static str> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Ok(Self(Arc::new(key.map_err(|_| "the system gives no random bytes")?)))
    }

    fn token(&self, session: &str) -> String {
        BASE64.encode(hmac::sign(&self.0, session.as_bytes()))
    }

    /// Compares in constant time.
    fn check(&self, request: &Parts, token: Option<&str>) -> Result<(), Refusal> {
        let session = session_in(&request.headers)?;
        let signature = token.and_then(|token| BASE64.decode(token).ok()).unwrap_or_default();
        hmac::verify(&self.0, session.as_bytes(), &signature).map_err(|_| {
            Refusal::new(StatusCode::FORBIDDEN, "The CSRF token is missing or wrong")
                .with_code("wrong-csrf-token")
        })
    }
}

impl Policy for Tokens {
    /// A status needs no token: it changes nothing, and other origins cannot read the response.
    async fn authorize(&self, asked: &Context<'_>) -> Result<Option<Owner>, Refusal> {
        let session = session_in(&asked.request.headers)?;
        // A cancellation is not checked again, and neither is a part of a file.
        let is_part = asked.request.headers.contains_key(PARTS);
        if asked.request.method == Method::DELETE || is_part {
            self.check(asked.request, token_in(asked.request))?;
        }
        // The owner is stored, but the session is a credential.
        let owner = digest::digest(&digest::SHA256, session.as_bytes());
        Ok(Some(Owner::new(BASE64.encode(owner))))
    }

    /// Checks each chunk, before a byte of it is kept.
    async fn validate(&self, chunk: &Candidate<'_>) -> Result<(), Refusal> {
        self.check(chunk.request, chunk.field("csrf_token").or(token_in(chunk.request)))
    }

    /// The fields of a completion are not available here, so only the header counts.
    async fn verify(&self, finished: &Verification<'_>) -> Result<(), Refusal> {
        self.check(finished.request, token_in(finished.request))
    }
}

fn session_in(headers: &HeaderMap) -> Result<String, Refusal> {
    session_of(&CookieJar::from_headers(headers)).ok_or_else(Refusal::unauthenticated)
}

fn token_in(request: &Parts) -> Option<&str> {
    request.headers.get(CSRF_TOKEN)?.to_str().ok()
}

/// Takes a finished file.
async fn done(
    State(media): State<PathBuf>,
    upload: CompletedUpload,
) -> Result<Json<Value>, StatusCode> {
    // The id keeps files of the same name apart.
    let target = media.join(format!("{}-{}", upload.id(), upload.filename()));
    // The layer logs the cause.
    upload.persist(target).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Json(json!({ "saved": upload.filename(), "size": upload.size() })))
}

fn setting(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// Of tus: sent with the parts of a file, and with the list of them.
const PARTS: HeaderName = HeaderName::from_static("upload-concat");
const CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");
const COOKIE: &str = "__Host-session";
const PATIENCE: Duration = Duration::from_secs(3);
