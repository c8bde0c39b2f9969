//! The settings of the dialect.

use crate::protocol::location::Location;
use crate::protocol::path::Path;

/// Settings of [tus 1.0](https://tus.io/protocols/resumable-upload), for
/// [`ChunkedUploadLayer::tus`](crate::ChunkedUploadLayer::tus).
#[derive(Clone, Debug)]
#[must_use]
pub struct Tus {
    /// `None` if the protocol is not spoken.
    pub(super) path: Option<Path>,
    pub(super) handler_path: Path,
    pub(super) extensions: Extensions,
    pub(super) metadata_bytes: usize,
    pub(super) location: Location,
    pub(super) answers_body: bool,
}

/// Which extensions of tus a server offers. Default: all of them.
///
/// What is off is not announced. A request for it is refused, except that checksums are ignored.
/// `creation_with_upload`, `creation_defer_length`, `concatenation` and `concatenation_unfinished`
/// also need `creation`; `concatenation_unfinished` also needs `concatenation`, and
/// `checksum_trailer` needs `checksum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extensions {
    /// Clients may create uploads with `POST`. Without it, only the application does.
    pub creation: bool,
    /// The request that creates an upload may bring bytes.
    pub creation_with_upload: bool,
    /// The length of an upload may become known later.
    pub creation_defer_length: bool,
    /// Responses say when an upload expires.
    pub expiration: bool,
    /// A request may bring a checksum of its body.
    pub checksum: bool,
    /// The checksum may be sent as a trailer.
    pub checksum_trailer: bool,
    /// Clients may remove uploads with `DELETE`.
    pub termination: bool,
    /// A file may be sent in parts, which are uploads of their own and are joined at the end.
    pub concatenation: bool,
    /// Parts may be joined before they are complete.
    pub concatenation_unfinished: bool,
}

impl Default for Extensions {
    fn default() -> Self {
        Self {
            creation: true,
            creation_with_upload: true,
            creation_defer_length: true,
            expiration: true,
            checksum: true,
            checksum_trailer: true,
            termination: true,
            concatenation: true,
            concatenation_unfinished: true,
        }
    }
}

impl Extensions {
    /// The names of what is on, as they are announced.
    pub(super) fn names(self) -> String {
        let all = [
            (self.creation, "creation"),
            (self.creation && self.creation_with_upload, "creation-with-upload"),
            (self.creation && self.creation_defer_length, "creation-defer-length"),
            (self.expiration, "expiration"),
            (self.checksum, "checksum"),
            (self.checksum && self.checksum_trailer, "checksum-trailer"),
            (self.termination, "termination"),
            (self.creation && self.concatenation, "concatenation"),
            (
                self.creation && self.concatenation && self.concatenation_unfinished,
                "concatenation-unfinished",
            ),
        ];
        let on: Vec<_> = all.into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect();
        on.join(",")
    }
}

impl Tus {
    /// Creates settings in which uploads are created at this path, and each upload is one segment
    /// below it: `/files` and `/files/0123…`.
    ///
    /// The path is compared byte by byte with that of the request as the layer sees it: under
    /// axum's `nest` and `nest_service`, without the prefix. A trailing slash makes no difference.
    ///
    /// `OPTIONS` at the path, and `PATCH`, `HEAD`, `DELETE` and `OPTIONS` one segment below it,
    /// belong to the layer, also without `Tus-Resumable`. Apart from `GET`, and the `POST` of the
    /// [handler](Self::handler_path), the application should have no routes there.
    pub fn new(path: impl Into<String>) -> Self {
        let path = Path::new(path);
        Self { handler_path: path.clone(), path: Some(path), ..Self::off() }
    }

    /// The protocol is not spoken.
    pub(crate) fn off() -> Self {
        Self {
            path: None,
            handler_path: Path::new("/"),
            extensions: Extensions::default(),
            metadata_bytes: 4 * 1024,
            location: Location::Path,
            answers_body: false,
        }
    }

    /// Sets the path under which the inner service gets finished uploads. Default: the path where
    /// they are created.
    ///
    /// The inner service must answer `POST` requests to this path. It may be that of another
    /// protocol, so that one handler serves both.
    pub fn handler_path(mut self, path: impl Into<String>) -> Self {
        self.handler_path = Path::new(path);
        self
    }

    /// Sets which extensions are offered. Default: all.
    ///
    /// ```
    /// use tower_chunked_upload::{Tus, tus::Extensions};
    ///
    /// let mut extensions = Extensions::default();
    /// extensions.termination = false;
    /// let tus = Tus::new("/files").extensions(extensions);
    /// ```
    pub fn extensions(mut self, extensions: Extensions) -> Self {
        self.extensions = extensions;
        self
    }

    /// Sets the maximum length of `Upload-Metadata`, in bytes. Default: 4 KiB. A longer one gets a
    /// 431.
    pub fn max_metadata_bytes(mut self, bytes: usize) -> Self {
        self.metadata_bytes = bytes;
        self
    }

    /// Sets the URL that clients see in front of an upload's id, such as
    /// `https://example.org/api/files` or `/api/files`. Default: the path of the request as the
    /// layer sees it.
    ///
    /// This is needed if a proxy or an outer router, such as axum's `nest`, removes a prefix of the
    /// path.
    pub fn public_url(mut self, url: impl AsRef<str>) -> Self {
        self.location = Location::base(url.as_ref());
        self
    }

    /// Sends clients the absolute URL of an upload, with the host that the request names. Default:
    /// off, so the URL is a path, which all clients understand and which stays right behind any
    /// proxy.
    ///
    /// If `forwarded` is true, `X-Forwarded-Proto` and `X-Forwarded-Host` are used: pass true only
    /// behind a proxy that sets them. If it is false, the scheme is that of the request's URI, or
    /// `http` if it has none, as over HTTP/1.1, even behind TLS. This setting and
    /// [`public_url`](Self::public_url) replace each other.
    pub fn absolute_urls(mut self, forwarded: bool) -> Self {
        self.location = Location::Host { forwarded };
        self
    }

    /// Sets whether clients get the body of the inner service's response when it has taken a file.
    /// Default: off.
    ///
    /// The protocol's own status, 204, has no body. With this setting a client gets 200 instead,
    /// which clients accept.
    pub fn response_body(mut self, on: bool) -> Self {
        self.answers_body = on;
        self
    }
}
