//! The service.

use std::future::{pending, poll_fn};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::body::{RequestBody, ResponseBody};
use crate::dialects::{Dialects, Route};
use crate::engine::{Error, ErrorKind};
use crate::future::ResponseFuture;
use crate::layer::Config;
use crate::log;
use crate::metric;
use crate::policy::Refusal;
use crate::protocol::{
    BoxError, Caller, Finished, Given, MAX_BODY, Outcome, Pending, Settings, Verdict,
};
use crate::task::{self, Detached};

/// The service that [`ChunkedUploadLayer`](crate::ChunkedUploadLayer) creates.
///
/// Requests to other paths are passed on unchanged, at the cost of comparing the path. If the
/// service was [mounted](crate::ChunkedUploadLayer::mount), they are answered with a 404.
#[derive(Clone, Debug)]
pub struct ChunkedUpload<S> {
    inner: S,
    config: Arc<Config>,
    /// Whether the inner service only handles finished uploads.
    mounted: bool,
}

impl<S> ChunkedUpload<S> {
    pub(crate) fn new(inner: S, config: Arc<Config>, mounted: bool) -> Self {
        Self { inner, config, mounted }
    }

    /// Returns a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ChunkedUpload<S>
where
    S: Service<Request<RequestBody<ReqBody>>, Response = Response<ResBody>>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    ReqBody: Body + Send + 'static,
    ReqBody::Data: From<Bytes> + Send,
    ReqBody::Error: Into<BoxError>,
    ResBody: Body + Send + 'static,
    ResBody::Data: Send,
    ResBody::Error: Send,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let Some(route) = self.config.dialects.route(&parts) else {
            if self.mounted {
                return ResponseFuture::not_found();
            }
            let request = Request::from_parts(parts, RequestBody::theirs(body));
            return ResponseFuture::inner(self.inner.call(request));
        };
        let seen = Dialects::log(route, &parts);
        let request = Request::from_parts(parts, body);
        let mut inner = self.inner.clone();
        if Dialects::reserves_inner(route) {
            // The ready service moves into the future, since its clone may not be ready. Other
            // requests must not keep a place that the ready service may have reserved.
            std::mem::swap(&mut inner, &mut self.inner);
        }
        let config = Arc::clone(&self.config);
        let caller = Caller::now();
        let (serving, serves) = (caller.clone(), seen.clone());
        let work = async move {
            let (dialects, settings) = (&config.dialects, &config.settings);
            let result = match dialects.serve(settings, route, request, serving, &serves).await {
                Outcome::Answer(response, answered) => {
                    Ok(response.map(|bytes| ResponseBody::ours(bytes, answered)))
                }
                Outcome::Finished(finished) => {
                    let config = Arc::clone(&config);
                    hand_over(config, route, inner, *finished, serves.clone()).await
                }
            };
            if let Ok(response) = &result {
                let (status, told) = (response.status().as_u16(), response.extensions());
                let given = told.get::<Given>().map(|given| given.as_str());
                if let Some(given) = given {
                    metric::answered(Dialects::name(route), given);
                }
                serves.is_answered(status, told.get::<Refusal>().map(Refusal::code), given);
            }
            result
        };
        ResponseFuture::upload(Box::pin(seen.in_span(work)), caller)
    }
}

/// Calls the inner service with a finished upload. If the client disconnects, this continues on a
/// task, as all work on an upload does; and so it does if the client waits no longer for a completion
/// that takes long.
async fn hand_over<S, ReqBody, ResBody>(
    config: Arc<Config>,
    route: Route,
    inner: S,
    mut finished: Finished,
    seen: log::Request,
) -> Result<Response<ResponseBody<ResBody>>, S::Error>
where
    S: Service<Request<RequestBody<ReqBody>>, Response = Response<ResBody>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    ReqBody: Send + 'static,
    ResBody: Body + Send + 'static,
    ResBody::Data: Send,
    ResBody::Error: Send,
{
    let late = finished.late.take();
    // Boxed, since the future of every request has room for it.
    let answered = Box::pin(answer(config, route, inner, finished, seen));
    let Some(late) = late else { return answered.await };
    let mut answered = Detached::new(answered);
    match tokio::time::timeout(late.after, &mut answered).await {
        // There is a result unless the runtime is shutting down, and this task with it.
        Ok(Some(result)) => result,
        Ok(None) => pending().await,
        Err(_) => {
            late.is_told.store(true, Ordering::Relaxed);
            Ok(late.answer.map(|bytes| ResponseBody::ours(bytes, None)))
        }
    }
}

/// Returns the answer of the inner service, once what it means for the upload is recorded.
async fn answer<S, ReqBody, ResBody>(
    config: Arc<Config>,
    route: Route,
    mut inner: S,
    finished: Finished,
    seen: log::Request,
) -> Result<Response<ResponseBody<ResBody>>, S::Error>
where
    S: Service<Request<RequestBody<ReqBody>>, Response = Response<ResBody>>,
    ResBody: Body + Send + 'static,
    ResBody::Data: Send,
    ResBody::Error: Send,
{
    let _guard = config.settings.uploads.shutdown_guard();
    let Finished { request, pending, .. } = finished;
    let request = request.map(RequestBody::replay);
    let call = async move {
        // A service that was reserved is ready, and need not be asked again.
        if !Dialects::reserves_inner(route) {
            poll_fn(|cx| inner.poll_ready(cx)).await?;
        }
        inner.call(request).await
    };
    let called = task::caught(call).await;
    // If the call has panicked, the file was not taken, and there is no answer.
    let mut verdict = match &called {
        Ok(Ok(answer)) => Verdict::of(answer),
        _ => Verdict::Failed,
    };
    let unreadable = verdict != Verdict::Taken && pending.was_unreadable();
    if unreadable {
        verdict = Verdict::Failed;
    }
    if verdict != Verdict::Taken && !unreadable {
        let answer = called.as_ref().ok().and_then(|answer| answer.as_ref().ok());
        pending.log_not_taken(answer.map(Response::status));
    }
    let refuse = |error: Error| {
        let answer = config.dialects.refuse(route, error.into(), &seen);
        answer.map(|bytes| ResponseBody::ours(bytes, None))
    };
    let framing = pending.framing().clone();
    let framed = match called {
        Ok(Ok(_)) if unreadable => Ok(Ok(framing.frame_refusal(refuse(ErrorKind::Store.into())))),
        Ok(Ok(answer)) => {
            let framed = framing.frame(answer);
            match config.settings.answers.keeps(verdict) {
                // A body that panics is no verdict.
                true => {
                    Box::pin(task::caught(kept(&config.settings, &pending, framed))).await.map(Ok)
                }
                false => Ok(Ok(framed.map(or_empty))),
            }
        }
        Ok(Err(error)) => Ok(Err(error)),
        Err(panic) => Err(panic),
    };
    let settled = pending.settle(verdict).await;
    // A panic is resumed where it would have occurred without the layer.
    let result = framed.unwrap_or_else(|panic| resume_unwind(panic));
    settled.map_or_else(|error| Ok(refuse(error)), |()| result)
}

/// Reads a body that is small enough to be kept, and keeps the answer. One that cannot be read, or
/// not in time, is passed on as it comes.
async fn kept<B>(
    settings: &Settings,
    pending: &Pending,
    framed: Response<Option<B>>,
) -> Response<ResponseBody<B>>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Send,
{
    let (head, body) = framed.into_parts();
    let (body, whole) = match body {
        Some(body) => ResponseBody::read_small(body, MAX_BODY, settings.idle_timeout).await,
        None => (or_empty(None), Some(Bytes::new())),
    };
    pending.keep(whole.and_then(|bytes| settings.keep(&head, bytes, pending.framing())));
    Response::from_parts(head, body)
}

fn or_empty<B>(body: Option<B>) -> ResponseBody<B> {
    body.map_or_else(|| ResponseBody::ours(Bytes::new(), None), ResponseBody::theirs)
}
