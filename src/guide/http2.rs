//! Make one upload over HTTP/2 as fast as the network allows.
//!
//! These windows are twice and four times as large as hyper's defaults:
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use hyper_util::rt::TokioExecutor;
//! use hyper_util::server::conn::auto;
//!
//! let mut server = auto::Builder::new(TokioExecutor::new());
//! server
//!     .http2()
//!     .initial_stream_window_size(2 << 20)
//!     .initial_connection_window_size(4 << 20)
//!     .max_frame_size(256 << 10);
//! # use std::convert::Infallible;
//! # use std::future::poll_fn;
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! # use hyper::body::Incoming;
//! # use hyper_util::rt::TokioIo;
//! # let (near, far) = tokio::io::duplex(1 << 16);
//! # let service = hyper::service::service_fn(async |_: Request<Incoming>| {
//! #     std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>().await
//! # });
//! # tokio::spawn(async move { drop(server.serve_connection(TokioIo::new(far), service).await) });
//! # let mut client = h2::client::Builder::new();
//! # client.max_send_buffer_size(8 << 20);
//! # let (mut client, connection) = client.handshake::<_, Bytes>(near).await?;
//! # tokio::spawn(connection);
//! # let request = Request::post("http://x/").body(())?;
//! # let (_answer, mut body) = client.send_request(request, false)?;
//! # body.reserve_capacity(8 << 20);
//! # while body.capacity() < 2 << 20 {
//! #     poll_fn(|cx| body.poll_capacity(cx)).await.expect("the stream goes on")?;
//! # }
//! # assert_eq!(body.capacity(), 2 << 20);
//! # Ok(())
//! # }
//! ```
//!
//! In the examples of the repository, this builder is the field `hyper` of their `Server` (folder
//! `serve`). `axum::serve` has no such settings.
//!
//! # Why is an upload slow on a fast network?
//!
//! Over HTTP/2, a client may send only a limited number of bytes before the server has taken them:
//! the *window*. So an upload transfers at most one window per round trip. With 1 MiB and 100 ms
//! that is 10 MiB per second, whatever the bandwidth is. hyper's defaults are 1 MiB, both for a
//! stream and for a whole connection, and frames of 16 KiB. HTTP/1.1 leaves this to the operating
//! system, which adapts its window to the network.
//!
//! # How large should the windows be?
//!
//! As many bytes as the network carries in a round trip: 2.5 MB for 1 Gbit/s and 20 ms. A client
//! may then have that much in flight on each connection, and the server has to buffer it if it
//! arrives faster than the disk writes.
//!
//! # What about nginx?
//!
//! With nginx in front, nginx is the HTTP/2 server, and speaks HTTP/1.1 to yours. With [this
//! configuration](super::proxy), the window is `client_body_buffer_size`, set to 1 MiB. Without it,
//! the window is 64 KiB.
