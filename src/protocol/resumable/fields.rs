//! The structured fields (RFC 9651) of the protocol.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

use crate::checksum::{Digest, DigestAlgorithm};
use crate::protocol::headers::single;

pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
pub(crate) const INTEROP_VERSION: HeaderName =
    HeaderName::from_static("upload-draft-interop-version");
pub(crate) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
pub(crate) const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");
pub(crate) const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub(crate) const UPLOAD_LIMIT: HeaderName = HeaderName::from_static("upload-limit");
pub(crate) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
pub(crate) const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");

pub(crate) const TRUE: HeaderValue = HeaderValue::from_static("?1");
pub(crate) const FALSE: HeaderValue = HeaderValue::from_static("?0");

/// A field that a client relies on cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Returns a Boolean; `None` also if it is malformed or was sent twice, as if it were not there.
pub(crate) fn boolean(headers: &HeaderMap, name: &HeaderName) -> Option<bool> {
    item(headers, name)?.as_boolean()
}

/// Returns an Integer that is not negative; `None` like [`boolean`].
pub(crate) fn integer(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    u64::try_from(i64::from(item(headers, name)?.as_integer()?)).ok()
}

fn item(headers: &HeaderMap, name: &HeaderName) -> Option<BareItem> {
    let value = single(headers, name).ok()??;
    Some(Parser::new(value.as_bytes()).parse::<Item>().ok()?.bare_item)
}

/// Prints a dictionary of integers.
pub(crate) fn limits(entries: &[(&str, u64)]) -> HeaderValue {
    let entries: Vec<_> =
        entries.iter().map(|(key, value)| format!("{key}={}", (*value).min(MAX_INTEGER))).collect();
    HeaderValue::try_from(entries.join(", ")).unwrap_or(HeaderValue::from_static("min-size=0"))
}

/// Returns the digests of known algorithms in a field of RFC 9530. Those of unknown ones are
/// ignored (RFC 9530, 2). A field that cannot be read is an error, since the client relies on its
/// check.
pub(crate) fn digests(headers: &HeaderMap, name: &HeaderName) -> Result<Vec<Digest>, Malformed> {
    let Some(entries) = dictionary(headers, name)? else { return Ok(Vec::new()) };
    let mut digests = Vec::new();
    for (key, entry) in &entries {
        let Some(algorithm) = algorithm(key.as_str()) else { continue };
        let ListEntry::Item(item) = entry else { return Err(Malformed) };
        let bytes = item.bare_item.as_byte_sequence().ok_or(Malformed)?;
        digests.push(Digest::from_bytes(algorithm, bytes).ok_or(Malformed)?);
    }
    Ok(digests)
}

fn dictionary(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Dictionary>, Malformed> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    let mut text = first.as_bytes().to_vec();
    for value in values {
        text.push(b',');
        text.extend_from_slice(value.as_bytes());
    }
    Parser::new(&text).parse::<Dictionary>().map(Some).map_err(|_| Malformed)
}

fn algorithm(key: &str) -> Option<DigestAlgorithm> {
    match key {
        "sha-256" => Some(DigestAlgorithm::Sha256),
        "sha-512" => Some(DigestAlgorithm::Sha512),
        _ => None,
    }
}

/// The largest Integer (RFC 9651, 3.3.1).
const MAX_INTEGER: u64 = 999_999_999_999_999;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(name: &HeaderName, values: &[&[u8]]) -> HeaderMap {
        let values = values.iter().map(|it| (name.clone(), HeaderValue::from_bytes(it).unwrap()));
        values.collect()
    }

    #[test]
    fn a_boolean_is_read_or_as_if_it_were_not_there() {
        for (values, want) in [
            (&["?1"][..], Some(true)),
            (&["?0"], Some(false)),
            (&["?1;a=b"], Some(true)),
            (&[" ?0 "], Some(false)),
            (&["?2"], None),
            (&["true"], None),
            (&["1"], None),
            (&["?1, ?1"], None),
            (&["?1", "?1"], None),
            (&[""], None),
            (&["\u{fc}"], None),
            (&[], None),
        ] {
            let values: Vec<_> = values.iter().map(|value| value.as_bytes()).collect();
            let headers = headers(&UPLOAD_COMPLETE, &values);
            assert_eq!(boolean(&headers, &UPLOAD_COMPLETE), want, "{values:?}");
        }
    }

    #[test]
    fn an_integer_is_read_or_as_if_it_were_not_there() {
        for (value, want) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("999999999999999", Some(MAX_INTEGER)),
            ("-0", Some(0)),
            ("5;a", Some(5)),
            ("1000000000000000", None),
            ("+5", None),
            ("-1", None),
            ("5.0", None),
            ("\"5\"", None),
            ("5, 5", None),
            ("(5)", None),
        ] {
            let headers = headers(&UPLOAD_OFFSET, &[value.as_bytes()]);
            assert_eq!(integer(&headers, &UPLOAD_OFFSET), want, "{value}");
        }
    }

    #[test]
    fn every_known_digest_counts() {
        let sha = "sha-256=:f6dk1TsscmXmmugN6c6MTvHNm09CYdyjpkWH9/5Ai/0=:";
        for (values, want) in [
            (&[sha][..], Ok(1)),
            (&["md5=:AAAA:", sha], Ok(1)),
            (&["unknown=5"], Ok(0)),
            (&[], Ok(0)),
            (&["sha-256=:AAAA:"], Err(Malformed)),
            (&["sha-256=5"], Err(Malformed)),
            (&["sha-256"], Err(Malformed)),
            (&["sha-512=(:AAAA:)"], Err(Malformed)),
            (&["sha-256=:"], Err(Malformed)),
        ] {
            let values: Vec<_> = values.iter().map(|value| value.as_bytes()).collect();
            let headers = headers(&CONTENT_DIGEST, &values);
            let digests = digests(&headers, &CONTENT_DIGEST);
            assert_eq!(digests.map(|digests| digests.len()), want, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_printed_is_read(number in 0..=MAX_INTEGER) {
            let one = headers(&UPLOAD_OFFSET, &[number.to_string().as_bytes()]);
            prop_assert_eq!(integer(&one, &UPLOAD_OFFSET), Some(number));
            let printed = limits(&[("max-size", number), ("max-age", u64::MAX)]);
            let all = headers(&UPLOAD_LIMIT, &[printed.as_bytes()]);
            let entries = dictionary(&all, &UPLOAD_LIMIT).unwrap().unwrap();
            prop_assert_eq!(entries.len(), 2);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-z?:=,;() +/.\"-]{0,40}") {
            let headers = headers(&UPLOAD_OFFSET, &[text.as_bytes()]);
            let number = integer(&headers, &UPLOAD_OFFSET);
            prop_assert!(number.is_none_or(|number| number <= MAX_INTEGER));
            crate::fuzzing::resumable_fields(text.as_bytes());
        }
    }
}
