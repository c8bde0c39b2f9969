//! Serves HTTP/1 and cleartext HTTP/2 on one port, to clients that say something.
//!
//! `axum::serve` keeps a connection for as long as its client likes, also one that never says a word
//! or stops in the middle of a request's head. Here each ends. Any tower service can be served so, an
//! axum router too: `TowerToHyperService::new(router)`.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;

pub use self::begins::Begins;

mod begins;

type BoxError = Box<dyn StdError + Send + Sync>;

/// A server that lets go of clients that are silent.
#[derive(Debug)]
pub struct Server {
    /// For settings beyond these.
    pub hyper: auto::Builder<TokioExecutor>,
    head_timeout: Duration,
}

impl Server {
    /// `head_timeout` is how long a client may take to begin, and then for each request's head; an
    /// HTTP/2 client that has said nothing for so long is asked whether it is there.
    pub fn new(head_timeout: Duration) -> Self {
        let mut hyper = auto::Builder::new(TokioExecutor::new());
        hyper.http1().timer(TokioTimer::new()).header_read_timeout(head_timeout);
        // A client that ends its sending behind a whole request still gets its answer.
        hyper.http1().half_close(true);
        let mut http2 = hyper.http2();
        http2.timer(TokioTimer::new()).keep_alive_interval(head_timeout);
        // Its word comes behind what it had sent before, which may be much for its line.
        http2.keep_alive_timeout(2 * head_timeout);
        Self { hyper, head_timeout }
    }

    /// Serves until it is told to stop; gives the connections that are still open.
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
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // No descriptor is left, say: others will close theirs.
                        eprintln!("accept: {error}");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = &mut stop => return connections,
            };
            // It fails only if the client has left already.
            drop(stream.set_nodelay(true));
            let stream = TokioIo::new(Begins::new(stream, self.head_timeout));
            let connection = self.hyper.serve_connection(stream, service.clone());
            // A client that leaves in the middle is no event here. (An async block around the
            // connection would make the task twice as large.)
            tokio::spawn(connections.watch(connection.into_owned()));
        }
    }
}
