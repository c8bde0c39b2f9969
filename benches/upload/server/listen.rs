//! hyper on a multi-thread runtime, with its own settings where the setup says nothing.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::TcpListener;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::setup::{Http, Setup};

pub(crate) fn serve<S, B>(listener: TcpListener, setup: Setup, service: S) -> io::Result<Infallible>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
    S: Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    listener.set_nonblocking(true)?;
    Runtime::new()?.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let service = service.clone();
            tokio::spawn(async move {
                if let Err(error) = connection(stream, setup, service).await {
                    eprintln!("{}: {error}", setup.server.name());
                }
            });
        }
    })
}

async fn connection<S, B>(
    stream: TcpStream,
    setup: Setup,
    service: S,
) -> Result<(), Box<dyn Error + Send + Sync>>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    stream.set_nodelay(true)?;
    let stream = TokioIo::new(stream);
    match setup.http {
        Http::One => {
            let mut builder = http1::Builder::new();
            if let Some(bytes) = setup.read_buffer {
                builder.max_buf_size(bytes);
            }
            builder.serve_connection(stream, service).await?;
        }
        Http::Two(windows) => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            if let Some(windows) = windows {
                builder
                    .initial_stream_window_size(windows.stream)
                    .initial_connection_window_size(windows.connection)
                    .max_frame_size(windows.frame);
            }
            builder.serve_connection(stream, service).await?;
        }
    }
    Ok(())
}
