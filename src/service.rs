//! The service.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::task::JoinError;
use tower_service::Service;

use crate::body::{RequestBody, ResponseBody};
use crate::future::ResponseFuture;
use crate::protocol::chunked::{self, BoxError, Caller, Config, Finished, Outcome, Route};

/// The service that [`ChunkedUploadLayer`](crate::ChunkedUploadLayer) makes.
///
/// A request to another path goes through as it came, for one comparison of its path.
#[derive(Clone)]
pub struct ChunkedUpload<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S> ChunkedUpload<S> {
    pub(crate) fn new(inner: S, config: Arc<Config>) -> Self {
        Self { inner, config }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
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
    ResBody: Send + 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let Some(route) = self.config.route(request.uri().path()) else {
            return ResponseFuture::inner(self.inner.call(request.map(RequestBody::theirs)));
        };
        let mut inner = self.inner.clone();
        if route == Route::Complete {
            // The one that is ready goes with the future; the clone may not be. A chunk calls neither,
            // and must not keep the place that the ready one may have taken.
            std::mem::swap(&mut inner, &mut self.inner);
        }
        let config = Arc::clone(&self.config);
        let caller = Caller::now();
        let its = caller.clone();
        let work = async move {
            match chunked::handle(&config, route, request, its).await {
                Outcome::Answer(response, answered) => {
                    Ok(response.map(|bytes| ResponseBody::ours(bytes, answered)))
                }
                Outcome::Finished(finished) => hand_over(config, inner, *finished).await,
            }
        };
        ResponseFuture::upload(Box::pin(work), caller)
    }
}

/// Calls the inner service with a finished upload, on a task that goes on when the client leaves.
async fn hand_over<S, ReqBody, ResBody>(
    config: Arc<Config>,
    mut inner: S,
    finished: Finished,
) -> Result<Response<ResponseBody<ResBody>>, S::Error>
where
    S: Service<Request<RequestBody<ReqBody>>, Response = Response<ResBody>> + Send + 'static,
    S::Future: Future + Send,
    S::Error: Send + 'static,
    ReqBody: Send + 'static,
    ResBody: Send + 'static,
{
    let work = config.uploads.work();
    let task = tokio::spawn(async move {
        let _work = work;
        let (request, verdict) = finished.into_request(&config);
        let request = request.map(RequestBody::replay);
        let result = match tokio::spawn(async move { inner.call(request).await }).await {
            Ok(result) => result,
            Err(error) => {
                verdict.settle(&config, false).await;
                return ended(error).await;
            }
        };
        let taken = result.as_ref().is_ok_and(chunked::takes);
        match verdict.settle(&config, taken).await {
            None => result.map(|response| response.map(ResponseBody::theirs)),
            Some(answer) => Ok(answer.map(|bytes| ResponseBody::ours(bytes, None))),
        }
    });
    match task.await {
        Ok(result) => result,
        Err(error) => ended(error).await,
    }
}

/// A panic goes on where it would have gone without the layer.
async fn ended<T>(error: JoinError) -> T {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        // The runtime is shutting down, and this task with it.
        Err(_) => std::future::pending().await,
    }
}

impl<S: fmt::Debug> fmt::Debug for ChunkedUpload<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkedUpload")
            .field("inner", &self.inner)
            .field("config", &self.config)
            .finish()
    }
}
