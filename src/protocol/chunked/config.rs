use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::header::{CONTENT_RANGE, HeaderName, HeaderValue};

use super::answer::{Encoder, JsonEncoder};
use super::form::FormLimits;
use crate::engine::Uploads;
use crate::policy::DynPolicy;

/// The settings of the layer.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) uploads: Uploads,
    pub(crate) chunk_path: String,
    pub(crate) complete_path: String,
    /// The same as the application has written it, and so has a route for it.
    pub(crate) handler_path: String,
    pub(crate) field: Arc<str>,
    pub(crate) range_header: HeaderName,
    pub(crate) range_required: bool,
    pub(crate) md5_check: bool,
    pub(crate) policy: Arc<dyn DynPolicy>,
    pub(crate) encoder: Arc<dyn Encoder>,
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) form_limits: FormLimits,
    pub(crate) completion_bytes: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) min_rate: Option<(u64, Duration)>,
    pub(crate) drain: (u64, Duration),
}

/// The two paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Chunk,
    Complete,
}

impl Config {
    pub(crate) fn new(uploads: Uploads) -> Self {
        Self {
            uploads,
            chunk_path: "/api/chunked_upload".to_owned(),
            complete_path: "/api/chunked_upload_complete".to_owned(),
            handler_path: "/api/chunked_upload_complete".to_owned(),
            field: Arc::from("file"),
            range_header: CONTENT_RANGE,
            range_required: false,
            md5_check: true,
            policy: Arc::new(()),
            encoder: Arc::new(JsonEncoder),
            content_type: None,
            form_limits: FormLimits::default(),
            completion_bytes: 64 * 1024,
            idle_timeout: Duration::from_secs(60),
            min_rate: None,
            drain: (32 * 1024 * 1024, Duration::from_secs(10)),
        }
    }

    /// That of a completion as the inner service gets it.
    pub(crate) fn handler_uri(&self, uri: &Uri) -> Uri {
        if uri.path() == self.handler_path {
            return uri.clone();
        }
        let target = match uri.query() {
            Some(query) => format!("{}?{query}", self.handler_path).parse(),
            None => self.handler_path.parse(),
        };
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = target.ok().or(parts.path_and_query);
        Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
    }

    /// Whether the path is one of ours, with or without a slash at its end.
    pub(crate) fn route(&self, path: &str) -> Option<Route> {
        let path = match path.strip_suffix('/') {
            Some("") | None => path,
            Some(path) => path,
        };
        if path == self.chunk_path {
            Some(Route::Chunk)
        } else if path == self.complete_path {
            Some(Route::Complete)
        } else {
            None
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("uploads", &self.uploads)
            .field("chunk_path", &self.chunk_path)
            .field("complete_path", &self.complete_path)
            .field("field", &self.field)
            .field("range_header", &self.range_header)
            .field("range_required", &self.range_required)
            .field("md5_check", &self.md5_check)
            .field("form_limits", &self.form_limits)
            .field("completion_bytes", &self.completion_bytes)
            .field("idle_timeout", &self.idle_timeout)
            .field("min_rate", &self.min_rate)
            .field("drain", &self.drain)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn a_handler_gets_the_path_that_the_application_has_written() {
        let mut config = Config::new(Uploads::builder(MemoryStore::new()).build().unwrap());
        for (handler, uri, want) in [
            ("/done", "/done", "/done"),
            ("/done", "/done/", "/done"),
            ("/done/", "/done", "/done/"),
            ("/done", "/done/?a=%20&b", "/done?a=%20&b"),
            ("/done", "http://x.org:80/done/?a", "http://x.org:80/done?a"),
            ("/", "/", "/"),
        ] {
            config.handler_path = handler.to_owned();
            assert_eq!(config.handler_uri(&uri.parse().unwrap()), want, "{handler} {uri}");
        }
    }

    #[test]
    fn each_path_matches_with_and_without_a_slash() {
        let config = Config::new(Uploads::builder(MemoryStore::new()).build().unwrap());
        for (path, route) in [
            ("/api/chunked_upload", Some(Route::Chunk)),
            ("/api/chunked_upload/", Some(Route::Chunk)),
            ("/api/chunked_upload_complete", Some(Route::Complete)),
            ("/api/chunked_upload_complete/", Some(Route::Complete)),
            ("/api/chunked_upload//", None),
            ("/api/chunked_upload/x", None),
            ("/api/chunked_uploa", None),
            ("//api/chunked_upload", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(config.route(path), route, "{path}");
        }
    }
}
