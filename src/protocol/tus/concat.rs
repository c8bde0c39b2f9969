//! Joining the parts of a file: the header `Upload-Concat`.

use std::collections::{BTreeMap, BTreeSet};

use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::answer::{bad, empty, insert};
use super::append::Ending;
use super::config::Tus;
use super::create::{Described, creates};
use super::headers::{UPLOAD_CONCAT, UPLOAD_DEFER_LENGTH, UPLOAD_LENGTH, value};
use crate::code;
use crate::engine::{ErrorKind, NewUpload, OwnerUploads};
use crate::id::UploadId;
use crate::policy::{Context, Refusal};
use crate::protocol::location::Location;
use crate::protocol::path::Path;
use crate::protocol::{Exchange, Problem, Reply, idempotency_key};
use crate::upload::{Kind, Part, Status};

/// What an upload is, according to the request that creates it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Concat<'a> {
    /// A part of a file.
    Partial,
    /// A file that is joined from the parts at these URLs.
    Final(Vec<&'a str>),
}

impl<'a> Concat<'a> {
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, ConcatError> {
        let text = std::str::from_utf8(text).map_err(|_| ConcatError::Malformed)?;
        if text == "partial" {
            return Ok(Self::Partial);
        }
        let urls = text.strip_prefix("final;").ok_or(ConcatError::Malformed)?;
        let urls = urls.split(' ').filter(|url| !url.is_empty());
        let urls: Vec<_> = urls.take(MAX_PARTS + 1).collect();
        match urls.len() {
            0 => Err(ConcatError::Malformed),
            1..=MAX_PARTS => Ok(Self::Final(urls)),
            _ => Err(ConcatError::TooMany),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConcatError {
    Malformed,
    TooMany,
}

impl ConcatError {
    fn code(self) -> &'static str {
        match self {
            Self::Malformed => code::MALFORMED_HEADER,
            Self::TooMany => code::TOO_MANY_PARTS,
        }
    }

    fn detail(self) -> String {
        match self {
            Self::Malformed => "Upload-Concat is neither partial nor final with a list".to_owned(),
            Self::TooMany => format!("Upload-Concat names more than {MAX_PARTS} parts"),
        }
    }
}

impl Tus {
    /// Reads the header of a request that creates an upload.
    pub(super) fn concat<'a>(&self, headers: &'a HeaderMap) -> Result<Option<Concat<'a>>, Refusal> {
        let Some(value) = value(headers, &UPLOAD_CONCAT)? else { return Ok(None) };
        if !self.extensions.concatenation {
            return Err(bad(code::NOT_OFFERED, "Upload-Concat is not offered"));
        }
        let concat = Concat::parse(value.as_bytes());
        concat.map(Some).map_err(|error| bad(error.code(), error.detail()))
    }

    /// Returns the id in a URL that this server may have told a client.
    pub(crate) fn part(&self, parts: &Parts, url: &str) -> Option<UploadId> {
        let path = match scheme_of(url) {
            None => url,
            Some(rest) => {
                let (authority, _) = rest.split_once('/')?;
                self.is_own_authority(parts, authority).then(|| &rest[authority.len()..])?
            }
        };
        let public = match &self.location {
            Location::Base(base) => Some(Path::new(scheme_of(base).map_or(&**base, path_of))),
            Location::Path | Location::Host { .. } => None,
        };
        let places = self.path.iter().chain(&public);
        places.filter_map(|place| place.below(path)).find_map(|id| id.parse().ok())
    }

    fn is_own_authority(&self, parts: &Parts, authority: &str) -> bool {
        let base = match &self.location {
            Location::Base(base) => scheme_of(base).and_then(|rest| rest.split('/').next()),
            Location::Path | Location::Host { .. } => None,
        };
        let mut own = self.location.host(parts).into_iter().chain(base);
        own.any(|own| is_same_host(own, authority))
    }
}

/// Whether two authorities name the same host. A proxy may have removed the port from one of them.
fn is_same_host(one: &str, other: &str) -> bool {
    let ((host, port), (other_host, other_port)) = (host_and_port(one), host_and_port(other));
    host.eq_ignore_ascii_case(other_host)
        && (port.is_none() || other_port.is_none() || port == other_port)
}

fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        // The last colon of an IPv6 address is within brackets.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// What follows the scheme of an absolute URL.
fn scheme_of(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let known = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    known.then_some(rest)
}

/// The path of a URL without its scheme.
fn path_of(url: &str) -> &str {
    url.find('/').map_or("/", |at| &url[at..])
}

/// Joins the parts at these URLs.
pub(super) async fn join(
    tus: &Tus,
    exchange: &Exchange<'_>,
    context: Context<'_>,
    uploads: &OwnerUploads,
    urls: &[&str],
) -> Result<Reply, Problem> {
    let headers = &exchange.parts.headers;
    if headers.contains_key(UPLOAD_LENGTH) || headers.contains_key(UPLOAD_DEFER_LENGTH) {
        let detail = "Upload-Length is not allowed for a joined upload";
        return Err(bad(code::CONTRADICTORY_HEADERS, detail).into());
    }
    let ids: Option<Vec<_>> = urls.iter().map(|url| tus.part(exchange.parts, url)).collect();
    let ids = ids.ok_or_else(no_such_part)?;
    let limit = exchange.limit(context, exchange.settings.uploads.max_bytes()).await?;
    let total = total(tus, uploads, &ids).await?;
    if let Some(limit) = limit.filter(|limit| total.is_some_and(|total| total > (*limit).into())) {
        return Err(ErrorKind::TooLarge { limit }.into());
    }
    let total = total.and_then(|total| u64::try_from(total).ok());
    let described = Described::read(tus, exchange.parts, total)?;
    // The limit is kept, since the sizes of all parts may become known later.
    let new = described.accept(exchange, context).await?.max_bytes(limit);
    let new = new.idempotency_key(idempotency_key(headers)?);
    let list = value(headers, &UPLOAD_CONCAT)?.and_then(|list| list.to_str().ok());
    let new: NewUpload = new.total(None).parts_as_sent(list.map(str::to_owned));
    let lease = uploads.join(new, &ids).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::Expired => no_such_part().into(),
        _ => Problem::from(error),
    })?;
    let upload = lease.upload();
    exchange.stands(upload);
    let mut headers = HeaderMap::new();
    insert(&mut headers, http::header::LOCATION, tus.location(exchange.parts, &upload.id));
    if upload.status() != Status::Complete && upload.total() == Some(upload.offset()) {
        let ending = Ending { status: StatusCode::CREATED, headers, ..Ending::default() };
        return ending.finish(tus, lease).await;
    }
    if let Some(kept) = exchange.settings.kept(upload).filter(creates) {
        return Ok(Reply::Answer(kept));
    }
    tus.insert_expires(&mut headers, upload);
    Ok(Reply::Answer(empty(StatusCode::CREATED, headers)))
}

/// Returns the length of an upload that waits for its parts, if theirs are known by now.
pub(super) async fn length(uploads: &OwnerUploads, parts: &[Part]) -> Option<u64> {
    let mut sum = 0_u64;
    for part in parts {
        sum = sum.checked_add(uploads.status(&part.id).await.ok()?.total()?)?;
    }
    Some(sum)
}

/// Returns the sum of the lengths of all parts, if all are known.
async fn total(
    tus: &Tus,
    uploads: &OwnerUploads,
    ids: &[UploadId],
) -> Result<Option<u128>, Problem> {
    let mut known = BTreeMap::new();
    for id in ids.iter().collect::<BTreeSet<_>>() {
        let part = match uploads.status(id).await {
            Ok(part) if part.kind == Kind::Part => part,
            Ok(_) => return Err(no_such_part().into()),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::Expired => return Err(no_such_part().into()),
                _ => return Err(error.into()),
            },
        };
        if !tus.extensions.concatenation_unfinished && part.total() != Some(part.offset()) {
            return Err(bad(code::INCOMPLETE_PART, "A part is not complete").into());
        }
        known.insert(id, part.total());
    }
    Ok(ids.iter().map(|id| known.get(id).copied().flatten().map(u128::from)).sum())
}

fn no_such_part() -> Refusal {
    bad(code::NO_SUCH_PART, "Upload-Concat names something that is not a part on this server")
}

/// How many parts a file can have. What clients send in parallel is a few.
const MAX_PARTS: usize = 1000;

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list_has_one_url_or_more() {
        let parse = |text: &'static str| Concat::parse(text.as_bytes());
        assert_eq!(parse("partial"), Ok(Concat::Partial));
        assert_eq!(parse("final;/a"), Ok(Concat::Final(vec!["/a"])));
        assert_eq!(parse("final; /a  /b "), Ok(Concat::Final(vec!["/a", "/b"])));
        for bad in ["", "Partial", "partial;", "final", "final;", "final; ", "final /a", " partial"]
        {
            assert_eq!(parse(bad), Err(ConcatError::Malformed), "{bad:?}");
        }
        let many = format!("final;{}", "/a ".repeat(MAX_PARTS + 1));
        assert_eq!(Concat::parse(many.as_bytes()), Err(ConcatError::TooMany));
        assert!(Concat::parse(&many.as_bytes()[..many.len() - 3]).is_ok());
    }

    #[test]
    fn a_url_names_a_part_only_if_it_is_of_this_server() {
        let id = UploadId::random();
        let request = |host: &str, forwarded: &str| {
            let request = Request::post("/files").header("host", host);
            let request = request.header("x-forwarded-host", forwarded).body(()).unwrap();
            request.into_parts().0
        };
        let parts = request("a.example:8080", "b.example");
        let tus = Tus::new("/files");
        for url in
            ["/files/ID", "http://a.example:8080/files/ID", "HTTPS://A.example:8080/files/ID"]
        {
            assert_eq!(tus.part(&parts, &url.replace("ID", id.as_str())), Some(id), "{url}");
        }
        for url in [
            "ID",
            "files/ID",
            "//a.example:8080/files/ID",
            "/ID",
            "/files/",
            "/files",
            "/files/ID/",
            "/files/../files/ID",
            "/files//ID",
            "/files/ID?",
            "/files/ID#",
            "/files/%00ID",
            "/files%2fID",
            "http://b.example/files/ID",
            "http://a.example:80/files/ID",
            "http://a.example:/files/ID",
            "http://a.example:8080",
            "http://x@a.example:8080/files/ID",
            "ftp://a.example:8080/files/ID",
            "http://a.example:8080/../files/ID",
            "http:///files/ID",
            "file:///files/ID",
            "",
        ] {
            assert_eq!(tus.part(&parts, &url.replace("ID", id.as_str())), None, "{url}");
        }
        let there = format!("http://b.example/files/{id}");
        assert_eq!(tus.clone().absolute_urls(true).part(&parts, &there), Some(id));
        assert_eq!(tus.clone().absolute_urls(false).part(&parts, &there), None);
        let there = format!("https://c.example/api/files/{id}");
        let public = |url| tus.clone().public_url(url);
        assert_eq!(public("https://c.example/api/files").part(&parts, &there), Some(id));
        assert_eq!(public("/api/files").part(&parts, &format!("/api/files/{id}")), Some(id));
        assert_eq!(public("/api/files").part(&parts, &there), None);
    }

    proptest! {
        #[test]
        fn any_list_comes_back(urls in prop::collection::vec("[!-~]{1,12}", 1..9), spaces in 1..3_usize) {
            let text = format!("final;{}", urls.join(&" ".repeat(spaces)));
            let parsed = Concat::parse(text.as_bytes());
            prop_assert_eq!(parsed, Ok(Concat::Final(urls.iter().map(String::as_str).collect())));
        }

        #[test]
        fn no_url_leads_elsewhere(
            host in "((http|HTTPS|ftp):)?(//(a|b|a:80|x@a|))?",
            path in "(/|/files/|/files//|/files/../files/|/%2e/files/)?([0-9a-f]{32})?[/?#%.0]{0,2}",
        ) {
            let url = host + &path;
            crate::fuzzing::tus_concat(format!("final;{url}").as_bytes());
        }
    }
}
