//! What pages of other origins need for uploads.

use http::Method;
use http::header::HeaderName;

/// The methods and headers that pages of other origins need for uploads, for an outer CORS layer.
///
/// The fetch standard only lets a script send other than the simplest headers, or read other than
/// the simplest response headers, if the server allows it ([CORS protocol]). `tower-http`'s
/// `CorsLayer` accepts these lists directly:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use tower_chunked_upload::{ChunkedUploadLayer, Uploads, store::MemoryStore};
/// # let uploads = Uploads::builder(MemoryStore::new()).build()?;
/// use tower_http::cors::CorsLayer;
///
/// let layer = ChunkedUploadLayer::new(uploads);
/// let needs = layer.cors();
/// let cors = CorsLayer::new()
///     .allow_origin(["https://app.example.com".parse()?])
///     .allow_methods(needs.methods)
///     .allow_headers(needs.request_headers)
///     .expose_headers(needs.response_headers);
/// # Ok(())
/// # }
/// ```
///
/// Add whatever your application needs in addition, such as `Authorization`.
///
/// [CORS protocol]: https://fetch.spec.whatwg.org/#http-cors-protocol
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cors {
    /// The methods of the protocols that are on.
    pub methods: Vec<Method>,
    /// The headers of their requests.
    pub request_headers: Vec<HeaderName>,
    /// The headers of their responses that clients read, such as the offset of an upload.
    pub response_headers: Vec<HeaderName>,
}

impl Cors {
    /// Adds what another dialect needs.
    pub(crate) fn add(&mut self, other: Self) {
        union(&mut self.methods, other.methods);
        union(&mut self.request_headers, other.request_headers);
        union(&mut self.response_headers, other.response_headers);
    }
}

fn union<T: PartialEq>(all: &mut Vec<T>, more: Vec<T>) {
    for one in more {
        if !all.contains(&one) {
            all.push(one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_protocols_need_is_named_once() {
        let cors = |method, header| Cors {
            methods: vec![Method::GET, method],
            request_headers: vec![http::header::CONTENT_TYPE, header],
            response_headers: Vec::new(),
        };
        let mut all = cors(Method::POST, http::header::RANGE);
        all.add(cors(Method::PATCH, http::header::RANGE));
        assert_eq!(all.methods, [Method::GET, Method::POST, Method::PATCH]);
        assert_eq!(all.request_headers, [http::header::CONTENT_TYPE, http::header::RANGE]);
    }
}
