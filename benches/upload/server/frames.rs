//! The smallest hyper servers. One writes each frame where it stands, which blocks a runtime's
//! thread; the other has batches of them written by a thread for work that blocks.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use http::header::{CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;

use super::sink::Place;
use super::{listen, pool};
use crate::setup::{Kind, Setup};

pub(crate) fn serve(listener: TcpListener, setup: Setup, data: &Path) -> io::Result<Infallible> {
    let data: Arc<Path> = data.into();
    let service = service_fn(move |request| answer(setup, Arc::clone(&data), request));
    listen::serve(listener, setup, service)
}

async fn answer(
    setup: Setup,
    data: Arc<Path>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let result = store(&setup, &data, request).await;
    let (status, text) = match result {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

async fn store(setup: &Setup, data: &Path, request: Request<Incoming>) -> io::Result<String> {
    let Some(range) = request.headers().get(CONTENT_RANGE) else { return Ok("{}".to_owned()) };
    let range = range.to_str().map_err(io::Error::other)?;
    let place = Place::of(setup, data, request.uri().path(), range)?;
    let mut body = request.into_body();
    if setup.server == Kind::HyperPool {
        return pool::store(place, body).await;
    }
    let mut sink = place.open()?;
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame.map_err(io::Error::other)?.into_data() {
            sink.write(&bytes)?;
        }
    }
    sink.finish()
}
