//! Serves HTTP/1 and cleartext HTTP/2 on one port, and closes silent connections.
//!
//! `axum::serve` keeps a connection open for as long as its client likes, even if the client never
//! sends anything or stops in the middle of a request's head. This server closes such connections.
//! It can serve any tower service, including an axum router. A request of HTTP/1.1 can be told
//! something before its final response: it has an `Informational` in its extensions.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower_chunked_upload::informational::Http1;
use tower_service::Service;

pub use self::begins::Begins;
pub use self::log::log_errors;
pub use self::terminated::terminated;

mod begins;
mod log;
mod terminated;

type BoxError = Box<dyn StdError + Send + Sync>;

/// A server that closes connections whose client is silent.
#[derive(Debug)]
pub struct Server {
    /// For other settings.
    pub hyper: auto::Builder<TokioExecutor>,
    head_timeout: Duration,
}

impl Server {
    /// `head_timeout` is how long a client may take to begin, and then for each request's head. An
    /// HTTP/2 client that has been silent for this long is pinged.
    pub fn new(head_timeout: Duration) -> Self {
        let mut hyper = auto::Builder::new(TokioExecutor::new());
        hyper.http1().timer(TokioTimer::new()).header_read_timeout(head_timeout);
        // A client that closes its sending side after a whole request still gets its response.
        hyper.http1().half_close(true);
        let mut http2 = hyper.http2();
        http2.timer(TokioTimer::new()).keep_alive_interval(head_timeout);
        // The reply to the ping comes after what the client sent before, which may take long.
        http2.keep_alive_timeout(2 * head_timeout);
        Self { hyper, head_timeout }
    }

    /// Serves until it is told to stop; returns the connections that are still open.
    pub async fn serve<S, B>(
        &self,
        listener: TcpListener,
        service: S,
        stop: impl Future<Output = ()>,
    ) -> GracefulShutdown
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Error: Into<BoxError>, Data: Send> + Send + 'static,
    {
        let connections = GracefulShutdown::new();
        let mut stop = pin!(stop);
        loop {
            let stream = tokio::select! {
                // The handler of a signal is there once this has been polled, which must be before
                // the first connection.
                biased;
                () = &mut stop => return connections,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // For example, no descriptor is left: other connections will close theirs.
                        eprintln!("accept: {error}");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            // This fails only if the client has already left.
            drop(stream.set_nodelay(true));
            let stream = Http1::new(Begins::new(stream, self.head_timeout));
            let service = TowerToHyperService::new(stream.serve(service.clone()));
            let connection = self.hyper.serve_connection(TokioIo::new(stream), service);
            // A client that leaves in the middle is not an error here. (An async block around the
            // connection would make the task twice as large.)
            tokio::spawn(connections.watch(connection.into_owned()));
        }
    }
}
