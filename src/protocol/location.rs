//! The URLs of uploads.

use std::sync::Arc;

use http::header::HOST;
use http::request::Parts;

use crate::id::UploadId;

/// What clients see in front of an upload's id.
#[derive(Clone, Debug)]
pub(crate) enum Location {
    /// The path as the layer sees it.
    Path,
    Base(Arc<str>),
    /// The same path, with the host that the request names.
    Host {
        forwarded: bool,
    },
}

impl Location {
    pub(super) fn base(url: &str) -> Self {
        Self::Base(url.trim_end_matches('/').into())
    }

    /// The URL of an upload below `path`.
    pub(super) fn url(&self, parts: &Parts, path: &str, id: &UploadId) -> String {
        let path = path.trim_end_matches('/');
        match self {
            Self::Path => format!("{path}/{id}"),
            Self::Base(base) => format!("{base}/{id}"),
            Self::Host { .. } => {
                let scheme = self.forwarded(parts, "x-forwarded-proto").or(parts.uri.scheme_str());
                match self.host(parts) {
                    Some(host) => format!("{}://{host}{path}/{id}", scheme.unwrap_or("http")),
                    None => format!("{path}/{id}"),
                }
            }
        }
    }

    /// The host that the client has asked.
    pub(super) fn host<'a>(&self, parts: &'a Parts) -> Option<&'a str> {
        let host = || parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let forwarded = self.forwarded(parts, "x-forwarded-host");
        forwarded.or_else(host).or_else(|| Some(parts.uri.authority()?.as_str()))
    }

    /// Returns a header of a proxy, if those are trusted.
    fn forwarded<'a>(&self, parts: &'a Parts, name: &str) -> Option<&'a str> {
        let trusted = matches!(self, Self::Host { forwarded: true });
        let value = parts.headers.get(name).filter(|_| trusted)?;
        // The first proxy saw the client.
        value.to_str().ok()?.split(',').next().map(str::trim)
    }
}
