//! The paths of a dialect.

use http::Uri;

/// A path that matches with and without a trailing slash.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    /// As the application has written it, which is what its route matches.
    given: String,
    /// Without the trailing slash.
    short: String,
}

impl Path {
    pub(crate) fn new(path: impl Into<String>) -> Self {
        let mut given = path.into();
        if !given.starts_with('/') {
            given.insert(0, '/');
        }
        let short = match given.trim_end_matches('/') {
            "" => "/",
            short => short,
        };
        Self { short: short.to_owned(), given }
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        let short = match path.strip_suffix('/') {
            Some("") | None => path,
            Some(short) => short,
        };
        short == self.short
    }

    /// Returns the segment that a path has below this one.
    pub(crate) fn below<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.short.trim_end_matches('/'))?.strip_prefix('/')?;
        Some(rest).filter(|rest| !rest.is_empty() && !rest.contains('/'))
    }

    /// Returns the path without a slash at the end.
    pub(crate) fn as_str(&self) -> &str {
        &self.short
    }

    /// Returns the target with this path, keeping its query.
    pub(crate) fn replace(&self, uri: &Uri) -> Uri {
        if uri.path() == self.given {
            return uri.clone();
        }
        let target = match uri.query() {
            Some(query) => format!("{}?{query}", self.given).parse(),
            None => self.given.parse(),
        };
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = target.ok().or(parts.path_and_query);
        Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_brought_into_one_form() {
        for (given, want) in [("/a/b/", "/a/b"), ("a", "/a"), ("/a//", "/a"), ("/", "/"), ("", "/")]
        {
            assert_eq!(Path::new(given).short, want, "{given:?}");
        }
    }

    #[test]
    fn a_handler_gets_the_path_that_the_application_has_written() {
        for (handler, uri, want) in [
            ("/done", "/done", "/done"),
            ("/done", "/done/", "/done"),
            ("/done/", "/done", "/done/"),
            ("/done", "/done/?a=%20&b", "/done?a=%20&b"),
            ("/done", "http://x.org:80/done/?a", "http://x.org:80/done?a"),
            ("/", "/", "/"),
        ] {
            let path = Path::new(handler);
            assert_eq!(path.replace(&uri.parse().unwrap()), want, "{handler} {uri}");
        }
    }
}
