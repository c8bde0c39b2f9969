//! Informational responses, which a server sends before the final response to a request.
//!
//! A handler, or this crate's layer, sends them through an [`Informational`], which it finds in the
//! extensions of a request if the server can send such responses. hyper, and so axum, cannot send
//! them yet, except for the `100 Continue` that it sends when the body is first read. For HTTP/1.1,
//! feature `informational` has a substitute: [`Http1`] is a stream below hyper, which writes the
//! heads of such responses between those of hyper. HTTP/1.0 has no such responses. Requests of
//! HTTP/2 have no `Informational`, since their frames cannot be written below hyper.
//!
//! A server with its own interface for them puts an [`Informational`] with its own
//! [`SendInformational`] into the extensions.
//!
//! # How do I serve with hyper?
//!
//! Wrap the stream in [`Http1`], and the service with [`Http1::serve`], once for each connection:
//!
//! ```no_run
//! # #[cfg(feature = "informational")]
//! # mod example {
//! use hyper_util::rt::{TokioExecutor, TokioIo};
//! use hyper_util::server::conn::auto;
//! use hyper_util::service::TowerToHyperService;
//! use tokio::net::TcpListener;
//! use tower_chunked_upload::informational::Http1;
//!
//! async fn serve(listener: TcpListener, app: axum::Router) -> std::io::Result<()> {
//!     loop {
//!         let (stream, _) = listener.accept().await?;
//!         stream.set_nodelay(true)?;
//!         let stream = Http1::new(stream);
//!         let service = TowerToHyperService::new(stream.serve(app.clone()));
//!         tokio::spawn(async move {
//!             let server = auto::Builder::new(TokioExecutor::new());
//!             let connection = server.serve_connection(TokioIo::new(stream), service);
//!             drop(connection.await);
//!         });
//!     }
//! }
//! # }
//! ```
//!
//! [`Http1`] has to be directly below hyper, and so above TLS. Without `TCP_NODELAY`, the system
//! may hold back what is written after an informational response until the client has acknowledged
//! that.
//!
//! # How do I serve with axum?
//!
//! With feature `axum-serve`, wrap the listener and the application:
//!
//! ```no_run
//! # #[cfg(feature = "axum-serve")]
//! # mod example {
//! use axum::Router;
//! use axum::serve::ListenerExt;
//! use tokio::net::TcpListener;
//! use tower_chunked_upload::informational::{Http1Listener, Http1Make};
//!
//! async fn serve(listener: TcpListener, app: Router) -> std::io::Result<()> {
//!     let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
//!     let app = Http1Make::new(app.into_make_service());
//!     axum::serve(Http1Listener::new(listener), app).await
//! }
//! # }
//! ```
//!
//! A [`ChunkedUpload`](crate::ChunkedUpload) becomes such an application with
//! `axum::ServiceExt::into_make_service`. The client's address is
#![cfg_attr(feature = "axum-serve", doc = "where it always is, see [`Accepted`].")]
#![cfg_attr(not(feature = "axum-serve"), doc = "where it always is.")]
//!
//! # How do I send one?
//!
//! ```
//! use http::{Request, Response, StatusCode};
//! use tower_chunked_upload::informational::Informational;
//!
//! fn hint<B>(request: &Request<B>) {
//!     let Some(informational) = request.extensions().get::<Informational>() else { return };
//!     let mut response = Response::new(());
//!     *response.status_mut() = StatusCode::EARLY_HINTS;
//!     // A response that cannot be sent any more is not missed.
//!     drop(informational.send(response));
//! }
//! # hint(&Request::new(()));
//! ```

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, Response, StatusCode};

#[cfg(feature = "informational")]
mod connection;
#[cfg(feature = "informational")]
mod head;
#[cfg(feature = "informational")]
mod http1;
#[cfg(feature = "axum-serve")]
mod serve;
#[cfg(feature = "informational")]
mod service;

#[cfg(feature = "informational")]
pub use self::http1::Http1;
#[cfg(feature = "axum-serve")]
pub use self::serve::{
    Accepted, Http1App, Http1AppFuture, Http1Listener, Http1Make, Http1MakeFuture,
};
#[cfg(feature = "informational")]
pub use self::service::{Http1ResponseFuture, Http1Service};

/// Sends informational responses for one request. It is in the request's extensions if the server
/// can send them.
///
/// It can be stored and moved to other tasks. After the final response has begun, it does nothing.
#[derive(Clone)]
pub struct Informational(Arc<dyn SendInformational>);

/// Sends informational responses for one request: implemented by a server.
pub trait SendInformational: Send + Sync + 'static {
    /// Queues a response, and never waits.
    ///
    /// [`Informational::send`] has checked that its status is neither final nor `100 Continue` nor
    /// `101 Switching Protocols`, and that no header is about the connection or the framing.
    fn send(&self, response: Response<()>) -> Result<(), NotSent>;
}

impl Informational {
    /// Creates the handle of one request.
    pub fn new(sender: impl SendInformational) -> Self {
        Self(Arc::new(sender))
    }

    /// Queues a response, and never waits. That it was queued does not mean that it is sent: if the
    /// final response begins first, it is dropped.
    ///
    /// Its status has to be between 102 and 199. hyper itself sends `100 Continue`, and `101
    /// Switching Protocols` is the last response of a connection. Headers about the connection or
    /// the framing are not allowed (`Connection`, `Content-Length` and others).
    ///
    /// # Errors
    /// Why it was not queued: its status or a header is not allowed, or the response cannot be sent
    /// any more.
    pub fn send(&self, response: Response<()>) -> Result<(), NotSent> {
        let status = response.status();
        if !matches!(status.as_u16(), 102..=199) {
            return Err(NotSent::Status(status));
        }
        if let Some(name) = response.headers().keys().find(|name| is_of_the_connection(name)) {
            return Err(NotSent::Header(name.clone()));
        }
        self.0.send(response)
    }
}

impl fmt::Debug for Informational {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Informational").finish_non_exhaustive()
    }
}

/// Whether a header is about the connection or the framing, and not about the response.
fn is_of_the_connection(name: &HeaderName) -> bool {
    const STANDARD: [HeaderName; 6] =
        [CONNECTION, CONTENT_LENGTH, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
    STANDARD.contains(name)
        || matches!(name.as_str(), "http2-settings" | "keep-alive" | "proxy-connection")
}

/// Why an informational response was not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotSent {
    /// The final response has begun, or the connection is gone.
    TooLate,
    /// Too many responses wait for the client, or they are too large.
    Full,
    /// An informational response cannot have this status.
    Status(StatusCode),
    /// An informational response cannot have this header.
    Header(HeaderName),
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLate => f.write_str("the final response has begun, or the connection is gone"),
            Self::Full => f.write_str("too many or too large informational responses are waiting"),
            Self::Status(status) => {
                write!(f, "an informational response cannot have the status {}", status.as_u16())
            }
            Self::Header(name) => {
                write!(f, "an informational response cannot have the header {name}")
            }
        }
    }
}

impl Error for NotSent {}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::HeaderValue;

    use super::*;

    /// Keeps the statuses that it is asked to send.
    #[derive(Clone, Default)]
    struct Sent(Arc<Mutex<Vec<u16>>>);

    impl SendInformational for Sent {
        fn send(&self, response: Response<()>) -> Result<(), NotSent> {
            self.0.lock().unwrap().push(response.status().as_u16());
            Ok(())
        }
    }

    fn response(status: u16) -> Response<()> {
        Response::builder().status(status).body(()).unwrap()
    }

    #[test]
    fn a_status_is_informational_and_not_of_hyper_itself() {
        let sent = Sent::default();
        let informational = Informational::new(sent.clone());
        for status in 100..=999 {
            let expected = match status {
                102..=199 => Ok(()),
                _ => Err(NotSent::Status(StatusCode::from_u16(status).unwrap())),
            };
            assert_eq!(informational.send(response(status)), expected);
        }
        assert_eq!(*sent.0.lock().unwrap(), (102..=199).collect::<Vec<_>>());
    }

    #[test]
    fn no_header_is_about_the_connection_or_the_framing() {
        let sent = Sent::default();
        let informational = Informational::new(sent.clone());
        let refused = [
            "Connection",
            "Content-Length",
            "HTTP2-Settings",
            "Keep-Alive",
            "Proxy-Connection",
            "TE",
            "Trailer",
            "Transfer-Encoding",
            "Upgrade",
        ];
        for name in refused {
            let name: HeaderName = name.parse().unwrap();
            let mut response = response(104);
            response.headers_mut().insert("location", HeaderValue::from_static("/files/1"));
            response.headers_mut().insert(&name, HeaderValue::from_static("0"));
            assert_eq!(informational.send(response), Err(NotSent::Header(name)));
        }
        assert!(sent.0.lock().unwrap().is_empty());
        let mut allowed = response(104);
        allowed.headers_mut().insert("upload-offset", HeaderValue::from_static("5"));
        assert_eq!(informational.send(allowed), Ok(()));
    }
}
