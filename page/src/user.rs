//! The user: a browser, identified by a cookie, because an example has no accounts.

use axum::http::HeaderMap;
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use sha2::{Digest, Sha256};
use tower_chunked_upload::{Context, Owner, Policy, Refusal};
use uuid::Uuid;

const NAME: &str = "user";

/// Gives each browser its own uploads. Requests without the cookie, such as those of `curl`, have
/// no owner.
#[derive(Debug)]
pub struct ByCookie;

impl Policy for ByCookie {
    async fn authorize(&self, asked: &Context<'_>) -> Result<Option<Owner>, Refusal> {
        Ok(owner(&asked.request.headers))
    }
}

pub(crate) fn owner(headers: &HeaderMap) -> Option<Owner> {
    let jar = CookieJar::from_headers(headers);
    // The owner is in the record and in the operator's view, which must not contain secrets.
    let digest = Sha256::digest(jar.get(NAME)?.value());
    Some(Owner::new(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>()))
}

/// Gives a cookie to a visitor without one.
pub(crate) fn welcome(jar: CookieJar) -> CookieJar {
    if jar.get(NAME).is_some() {
        return jar;
    }
    let cookie = Cookie::build((NAME, Uuid::new_v4().simple().to_string()))
        .http_only(true)
        .same_site(SameSite::Strict)
        .path("/")
        .permanent();
    jar.add(cookie)
}
