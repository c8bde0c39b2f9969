//! The protocol's three requests.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{
    CONTENT_DISPOSITION, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use reqwest::multipart::{Form, Part};
use reqwest::redirect::Policy;
use reqwest::{Body, RequestBuilder, Response, StatusCode, Url};
use uuid::Uuid;

use crate::answer::{Standing, Trouble, address, body, check, is_late, retry_after};
use crate::args::Args;
use crate::backoff;
use crate::body::ChunkBody;
use crate::progress::Meter;

pub(crate) struct Client {
    http: reqwest::Client,
    headers: HeaderMap,
    url: Url,
    complete_url: Url,
    multipart: bool,
    fields: Vec<(String, String)>,
    timeout: Duration,
    session: Session,
}

/// What goes on when the server wants a login: uploads by their tokens, if it gave them.
#[derive(Default)]
struct Session {
    has_ended: AtomicBool,
    /// The last token of each upload.
    tokens: Mutex<HashMap<String, HeaderValue>>,
}

/// The position of a chunk in its file.
pub(crate) struct Chunk<'a> {
    /// Names the upload before it has an id.
    pub(crate) key: Uuid,
    pub(crate) id: Option<&'a str>,
    pub(crate) name: &'a str,
    pub(crate) range: Range<u64>,
    pub(crate) total: u64,
}

impl Client {
    pub(crate) fn new(args: &Args) -> reqwest::Result<Self> {
        let mut http = reqwest::Client::builder()
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(args.timeout)
            // A chunk's body can be sent only once, and its id belongs to one server.
            .redirect(Policy::none());
        let complete_url = args.complete_url.clone().unwrap_or_else(|| {
            let mut url = args.url.clone();
            url.set_path(&format!("{}_complete", url.path().trim_end_matches('/')));
            url
        });
        if [&args.url, &complete_url].iter().all(|url| url.scheme() == "http") {
            // The system's certificates are not needed, and may be missing.
            let config = rustls::ClientConfig::builder()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            http = http.tls_backend_preconfigured(config);
        }
        Ok(Self {
            http: http.build()?,
            headers: args.headers.iter().cloned().collect(),
            url: args.url.clone(),
            complete_url,
            multipart: args.multipart,
            fields: args.fields.clone(),
            timeout: args.timeout,
            session: Session::default(),
        })
    }

    pub(crate) fn url(&self) -> &str {
        self.url.as_str()
    }

    pub(crate) async fn send_chunk(
        &self,
        chunk: &Chunk<'_>,
        body: ChunkBody,
        meter: &Meter,
    ) -> Result<Standing, Trouble> {
        let mut request =
            if self.multipart { self.form(chunk, body) } else { self.raw(chunk, body) };
        let Range { start, end } = chunk.range;
        // There is no range for an empty file; without one, a chunk is the whole file.
        if start < end {
            let range = format!("bytes {start}-{}/{}", end - 1, chunk.total);
            request = request.header(CONTENT_RANGE, range);
        }
        if chunk.id.is_none() {
            // If the answer is lost, the same request gives the same upload.
            request = request.header("Idempotency-Key", format!("\"{}\"", chunk.key));
        }
        self.standing(self.answer(request, chunk.id, meter).await?).await
    }

    fn raw(&self, chunk: &Chunk<'_>, body: ChunkBody) -> RequestBuilder {
        let name = utf8_percent_encode(chunk.name, NON_ALPHANUMERIC);
        self.http
            .post(self.with_query(chunk.id, &self.fields))
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_DISPOSITION, format!("attachment; filename*=UTF-8''{name}"))
            .body(Body::wrap(body))
    }

    fn form(&self, chunk: &Chunk<'_>, body: ChunkBody) -> RequestBuilder {
        // This is how browsers write names, as RFC 7578 requires.
        let mut form = Form::new().percent_encode_noop();
        // This goes before the file; otherwise the server has to set the bytes aside.
        if let Some(id) = chunk.id {
            form = form.text("upload_id", id.to_owned());
        }
        for (name, value) in self.fields.iter().cloned() {
            form = form.text(name, value);
        }
        let length = body.length();
        let file = Part::stream_with_length(Body::wrap(body), length);
        self.http
            .post(self.url.clone())
            .multipart(form.part("file", file.file_name(chunk.name.to_owned())))
    }

    pub(crate) async fn status(&self, id: &str, meter: &Meter) -> Result<Standing, Trouble> {
        let request = self.http.get(self.with_query(Some(id), &[]));
        self.standing(self.answer(request, Some(id), meter).await?).await
    }

    pub(crate) async fn complete(
        &self,
        id: &str,
        md5: &str,
        meter: &Meter,
    ) -> Result<StatusCode, Trouble> {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("upload_id", id), ("md5", md5)])
            .extend_pairs(&self.fields)
            .finish();
        let request = self.http.post(self.complete_url.clone());
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let mut answer = self.answer(request.body(body), Some(id), meter).await?;
        loop {
            let status = answer.status();
            if status != StatusCode::ACCEPTED {
                return Ok(status);
            }
            let address = address(&answer);
            let after = retry_after(&answer).unwrap_or(Duration::from_secs(1));
            if !is_late(&self.body(answer).await?) {
                return Ok(status);
            }
            let elsewhere = || Trouble::again("its answer is not at this server");
            let address = address.ok_or_else(elsewhere)?;
            tokio::time::sleep(backoff::delay(1, Some(after), fastrand::f64())).await;
            let asked = self.answer(self.http.get(address), Some(id), meter).await;
            answer = asked.map_err(|trouble| match trouble {
                // The application had the whole file and ended the upload.
                Trouble::Gone(why) => Trouble::Refused(why),
                trouble => trouble,
            })?;
        }
    }

    fn with_query(&self, id: Option<&str>, fields: &[(String, String)]) -> Url {
        let mut url = self.url.clone();
        if id.is_some() || !fields.is_empty() {
            let id = id.map(|id| ("upload_id", id));
            url.query_pairs_mut().extend_pairs(id).extend_pairs(fields);
        }
        url
    }

    async fn standing(&self, response: Response) -> Result<Standing, Trouble> {
        let status = response.status().as_u16();
        let token = response.headers().get(UPLOAD_TOKEN).cloned();
        let standing: Standing =
            serde_json::from_slice(&self.body(response).await?).map_err(|_| {
                let why = "this is no server of chunked uploads: it answers with";
                Trouble::Refused(format!("{why} {status}"))
            })?;
        if let Some(mut token) = token {
            token.set_sensitive(true);
            self.session.tokens().insert(standing.upload_id.clone(), token);
        }
        Ok(standing)
    }

    /// Reads what a server says, and gives up if that takes too long.
    async fn body(&self, response: Response) -> Result<Vec<u8>, Trouble> {
        match tokio::time::timeout(self.timeout, body(response)).await {
            Ok(body) => Ok(body?),
            Err(_) => Err(stalled()),
        }
    }

    /// Sends a request, and gives up if it makes no progress for too long.
    async fn answer(
        &self,
        request: RequestBuilder,
        id: Option<&str>,
        meter: &Meter,
    ) -> Result<Response, Trouble> {
        let known = id.and_then(|id| self.session.token(id));
        let token = known.clone().filter(|_| self.session.has_ended.load(Ordering::Relaxed));
        let mut request = request.build()?;
        // The request's own headers win. Default headers of reqwest have one value for each name.
        let own = std::mem::replace(request.headers_mut(), self.headers.clone());
        request.headers_mut().extend(own);
        if let Some(token) = &token {
            request.headers_mut().insert(UPLOAD_TOKEN, token.clone());
        }
        let mut answer = std::pin::pin!(async {
            let response = self.http.execute(request).await?;
            let wants_login =
                matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            if wants_login && token.is_none() && known.is_some() {
                self.session.has_ended.store(true, Ordering::Relaxed);
                let why = "the session has ended; the upload goes on by its token".to_owned();
                return Err(Trouble::Again { why, after: Some(Duration::ZERO) });
            }
            check(response).await
        });
        loop {
            let before = meter.position();
            tokio::select! {
                answer = &mut answer => return answer,
                // A limit of the whole request would also limit the chunk's size.
                () = tokio::time::sleep(self.timeout) => if meter.position() == before {
                    return Err(stalled());
                },
            }
        }
    }
}

impl Session {
    fn token(&self, id: &str) -> Option<HeaderValue> {
        self.tokens().get(id).cloned()
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<String, HeaderValue>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stalled() -> Trouble {
    Trouble::again("nothing moves any more")
}

const UPLOAD_TOKEN: HeaderName = HeaderName::from_static("upload-token");
