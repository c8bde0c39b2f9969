//! What a page of another origin needs to send uploads, for a CORS layer outside of this one.
//!
//! The fetch standard lets a script send other headers than the plainest, and read other headers of an
//! answer, only if the server says so ([CORS protocol]). `tower-http`'s `CorsLayer` takes these lists as
//! they are:
//!
//! ```
//! use tower_chunked_upload::cors;
//! use tower_http::cors::CorsLayer;
//!
//! let cors = CorsLayer::new()
//!     .allow_origin(["https://app.example.com".parse()?])
//!     .allow_methods(cors::METHODS)
//!     .allow_headers(cors::REQUEST_HEADERS)
//!     .expose_headers(cors::RESPONSE_HEADERS);
//! # Ok::<(), http::header::InvalidHeaderValue>(())
//! ```
//!
//! What your application asks for on top, such as `Authorization`, or another
//! [`content_range_header`](crate::ChunkedUploadLayer::content_range_header), you add.
//!
//! [CORS protocol]: https://fetch.spec.whatwg.org/#http-cors-protocol

use http::Method;
use http::header::{self, HeaderName};

/// The methods of the protocol.
pub const METHODS: [Method; 3] = [Method::GET, Method::POST, Method::DELETE];

/// The headers that its requests carry.
pub const REQUEST_HEADERS: [HeaderName; 3] =
    [header::CONTENT_DISPOSITION, header::CONTENT_RANGE, header::CONTENT_TYPE];

/// The headers of its answers that a client looks at: how far the upload is, and how long to wait.
pub const RESPONSE_HEADERS: [HeaderName; 2] = [header::RANGE, header::RETRY_AFTER];
