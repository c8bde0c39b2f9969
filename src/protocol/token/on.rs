use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderValue, StatusCode};

use super::UPLOAD_TOKEN;

use crate::cors::Cors;
use crate::engine::{Error, ErrorKind, OwnerUploads, TokenKeys};
use crate::id::UploadId;
use crate::policy::{ByToken, Context, Refusal};
use crate::protocol::Settings;
use crate::protocol::headers::single;
use crate::upload::Identity;

/// What the application has set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    pub(crate) keys: Option<TokenKeys>,
    /// How long those are good that answers hand out.
    pub(crate) life: Option<Duration>,
}

impl Tokens {
    /// Returns what pages of other origins need for tokens.
    pub(crate) fn cors(&self) -> Cors {
        let mut cors = Cors::default();
        if self.keys.is_some() {
            cors.request_headers.push(UPLOAD_TOKEN);
        }
        if self.life.is_some() {
            cors.response_headers.push(UPLOAD_TOKEN);
        }
        cors
    }
}

/// The token of a request.
pub(crate) struct Presented {
    token: Token,
    /// Whether the token is what admits the request.
    admits: AtomicBool,
}

enum Token {
    None,
    Bad(ErrorKind),
    Good { id: UploadId, uploads: Result<OwnerUploads, Error>, by: ByToken },
}

impl Presented {
    /// Takes the token out of the request, since nobody else is to see it.
    pub(crate) async fn read(settings: &Settings, parts: &mut Parts) -> Self {
        let token = match &settings.tokens.keys {
            Some(keys) => Token::read(settings, keys, &parts.headers).await,
            None => Token::None,
        };
        if settings.tokens.keys.is_some() {
            parts.headers.remove(UPLOAD_TOKEN);
        }
        Self { token, admits: AtomicBool::new(false) }
    }

    /// The upload that the token is for, if it is good.
    pub(crate) fn upload(&self) -> Option<&UploadId> {
        match &self.token {
            Token::Good { id, .. } => Some(id),
            Token::None | Token::Bad(_) => None,
        }
    }

    /// Returns the upload that a request names, if that is the one of the token.
    pub(crate) fn redeem(&self, named: Option<&UploadId>) -> Option<Result<OwnerUploads, Error>> {
        match &self.token {
            Token::Good { id, uploads, .. } if named == Some(id) => {
                self.admits.store(true, Ordering::Relaxed);
                Some(uploads.clone())
            }
            _ => None,
        }
    }

    /// Whether the token has admitted the request, which names another upload after all, or none.
    pub(crate) fn is_for_another(&self, named: Option<&UploadId>) -> bool {
        self.admits() && self.upload() != named
    }

    /// The token is not what admits the request.
    pub(crate) fn put_by(&self) {
        self.admits.store(false, Ordering::Relaxed);
    }

    pub(crate) fn admits(&self) -> bool {
        self.admits.load(Ordering::Relaxed)
    }

    fn by(&self) -> Option<&ByToken> {
        match &self.token {
            Token::Good { by, .. } if self.admits() => Some(by),
            _ => None,
        }
    }

    pub(crate) fn mark<'a>(&'a self, context: &mut Context<'a>) {
        context.by_token = self.by();
    }

    pub(crate) fn mark_extensions(&self, extensions: &mut Extensions) {
        if let Some(by) = self.by() {
            extensions.insert(by.clone());
        }
    }

    /// Says in a refusal of the session what is wrong with the token.
    pub(crate) fn explain(&self, refusal: Refusal) -> Refusal {
        let kind = match &self.token {
            Token::None => return refusal,
            Token::Bad(kind) => kind,
            Token::Good { .. } => &ErrorKind::InvalidToken,
        };
        let wants_session = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
        match wants_session.contains(&refusal.status()) {
            true => refusal.with_code(kind.code()),
            false => refusal,
        }
    }

    /// Adds a fresh token for the upload to an answer. A token cannot renew itself, or nothing would
    /// end it.
    pub(crate) fn hand_out(&self, settings: &Settings, upload: Identity, headers: &mut HeaderMap) {
        let Tokens { keys: Some(keys), life: Some(life) } = &settings.tokens else { return };
        if self.admits() {
            return;
        }
        let token = settings.uploads.sign_token(keys, upload, *life);
        if let Ok(mut value) = HeaderValue::from_str(token.as_str()) {
            value.set_sensitive(true);
            headers.insert(UPLOAD_TOKEN, value);
        }
    }
}

impl Token {
    async fn read(settings: &Settings, keys: &TokenKeys, headers: &HeaderMap) -> Self {
        let token = match single(headers, &UPLOAD_TOKEN) {
            Ok(None) => return Self::None,
            Ok(Some(token)) => token.to_str().unwrap_or_default(),
            // Nobody can tell which of them is meant.
            Err(_) => return Self::Bad(ErrorKind::InvalidToken),
        };
        match settings.uploads.redeem(keys, token).await {
            Ok((id, uploads)) => {
                let owner = uploads.as_ref().ok().and_then(OwnerUploads::owner).cloned();
                Self::Good { id, uploads, by: ByToken { owner } }
            }
            Err(error) => Self::Bad(error.kind().clone()),
        }
    }
}
