//! The fields of the draft and of RFC 9530, which are structured fields (RFC 9651).
//!
//! A field that is malformed or of another type counts as absent, as RFC 9651 has it unless a field
//! says otherwise. So does one that says one thing and is sent twice. Parameters are passed over.
//! The fields that carry a digest are the exception, see [`digests`].

use std::cmp::Reverse;
use std::convert::Infallible;

use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::visitor::{
    DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ParameterVisitor,
};
use sfv::{BareItemFromInput, DictSerializer, Integer, KeyRef, Parser, key_ref};

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

/// The largest integer of a structured field.
pub(crate) const MAX_INTEGER: u64 = 999_999_999_999_999;

/// A field with digests cannot be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Returns the Boolean in a field.
pub(crate) fn boolean(headers: &HeaderMap, name: &HeaderName) -> Option<bool> {
    Parser::new(single(headers, name).ok()??).parse_item().ok()
}

/// Returns the Integer in a field, unless it is negative.
pub(crate) fn integer(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let integer: Integer = Parser::new(single(headers, name).ok()??).parse_item().ok()?;
    integer.try_into().ok()
}

pub(crate) fn from_bool(value: bool) -> HeaderValue {
    HeaderValue::from_static(if value { "?1" } else { "?0" })
}

/// Returns a Dictionary of limits in this order. A limit beyond [`MAX_INTEGER`] is told as that,
/// which no file comes near. Without limits, it says that even an empty file is large enough: an
/// empty Dictionary would not be sent, and the client could not tell that the field is known.
pub(crate) fn limits(entries: &[(&'static str, u64)]) -> HeaderValue {
    let mut dictionary = DictSerializer::new();
    for (name, limit) in entries {
        let limit = Integer::try_from((*limit).min(MAX_INTEGER));
        if let (Ok(name), Ok(limit)) = (KeyRef::from_str(name), limit) {
            _ = dictionary.bare_item(name, limit);
        }
    }
    printed(dictionary).unwrap_or(HeaderValue::from_static("min-size=0"))
}

/// Returns the digests of the algorithms that are known; others are passed over.
///
/// A field that is no Dictionary, or has no digest of the right length for one of these algorithms,
/// is malformed as a whole. RFC 9651 (4.2) leaves it open whether such a field is ignored or the
/// message is refused. Who sends a digest wants damage to be noticed, and what damaged the digest
/// may have damaged the content as well. So the message is to be refused.
pub(crate) fn digests(headers: &HeaderMap, name: &HeaderName) -> Result<Vec<Digest>, Malformed> {
    members(headers, name, |algorithm, value| match value {
        BareItemFromInput::ByteSequence(bytes) => Digest::from_bytes(algorithm, &bytes),
        _ => None,
    })
}

/// Returns the known algorithms whose digest the client wants, the most wanted first.
pub(crate) fn wanted(headers: &HeaderMap) -> Vec<DigestAlgorithm> {
    let preferences = members(headers, &WANT_REPR_DIGEST, |algorithm, value| match value {
        BareItemFromInput::Integer(value) => {
            let preference = u8::try_from(value).ok().filter(|preference| *preference <= 10)?;
            Some((preference, algorithm))
        }
        _ => None,
    });
    let mut preferences = preferences.unwrap_or_default();
    preferences.retain(|(preference, _)| *preference > 0);
    preferences.sort_by_key(|(preference, _)| Reverse(*preference));
    preferences.into_iter().map(|(_, algorithm)| algorithm).collect()
}

/// Returns a Dictionary of the digests whose algorithm has a name there; `None` if none has.
pub(crate) fn from_digests(digests: &[Digest]) -> Option<HeaderValue> {
    let mut dictionary = DictSerializer::new();
    for digest in digests {
        if let Some((_, key)) = KNOWN.iter().find(|known| known.0 == digest.algorithm()) {
            _ = dictionary.bare_item(key, digest.as_bytes());
        }
    }
    printed(dictionary)
}

fn printed(dictionary: DictSerializer<String>) -> Option<HeaderValue> {
    dictionary.finish()?.try_into().ok()
}

/// Reads the members of a Dictionary that are named after algorithms, in the order of [`KNOWN`].
fn members<T>(headers: &HeaderMap, name: &HeaderName, read: Read<T>) -> Result<Vec<T>, Malformed> {
    let mut found = Members { read, slots: KNOWN.map(|_| None) };
    // A field that is absent is an empty Dictionary, and joining no lines allocates nothing.
    let lines: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let value = lines.join(&b", "[..]);
    Parser::new(&value).parse_dictionary_with_visitor(&mut found).map_err(|_| Malformed)?;
    found.slots.into_iter().flatten().collect()
}

/// Makes what is wanted of the value of a member.
type Read<T> = fn(DigestAlgorithm, BareItemFromInput<'_>) -> Option<T>;

struct Members<T> {
    read: Read<T>,
    slots: [Option<Result<T, Malformed>>; KNOWN.len()],
}

/// The place of a member's value. Of members with the same key, only the last one counts.
struct Slot<'a, T> {
    algorithm: DigestAlgorithm,
    read: Read<T>,
    slot: &'a mut Option<Result<T, Malformed>>,
}

impl<'de, T> DictionaryVisitor<'de> for &mut Members<T> {
    type Out = ();
    type Error = Infallible;

    fn entry(&mut self, key: &'de KeyRef) -> Result<impl EntryVisitor<'de>, Infallible> {
        let mut places = KNOWN.iter().zip(&mut self.slots);
        let place = places.find(|((_, known), _)| *known == key);
        Ok(place.map(|((algorithm, _), slot)| Slot {
            algorithm: *algorithm,
            read: self.read,
            slot,
        }))
    }

    fn finish(self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl<'de, T> EntryVisitor<'de> for Slot<'_, T> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'de>, Infallible> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'de>, Infallible> {
        *self.slot = Some(Err(Malformed));
        Ok(Ignored)
    }
}

impl<'de, T> ItemVisitor<'de> for Slot<'_, T> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(
        self,
        value: BareItemFromInput<'de>,
    ) -> Result<impl ParameterVisitor<'de, Out = ()>, Infallible> {
        *self.slot = Some((self.read)(self.algorithm, value).ok_or(Malformed));
        Ok(Ignored)
    }
}

/// The algorithms that RFC 9530 has registered as fit for use, with their keys.
pub(crate) const KNOWN: [(DigestAlgorithm, &KeyRef); 2] =
    [(DigestAlgorithm::Sha256, key_ref("sha-256")), (DigestAlgorithm::Sha512, key_ref("sha-512"))];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checksum::Running;
    use crate::fuzzing;

    /// The SHA-256 of ` and foam`.
    const FOAM: &str = "f6dk1TsscmXmmugN6c6MTvHNm09CYdyjpkWH9/5Ai/0=";

    /// The field, with these lines.
    fn field(lines: &[impl AsRef<[u8]>]) -> HeaderMap {
        let value = |line: &[u8]| HeaderValue::from_bytes(line).unwrap();
        lines.iter().map(|line| (UPLOAD_OFFSET, value(line.as_ref()))).collect()
    }

    fn read_digests(lines: &[impl AsRef<[u8]>]) -> Result<Vec<Digest>, Malformed> {
        digests(&field(lines), &UPLOAD_OFFSET)
    }

    fn read_wanted(lines: &[&str]) -> Vec<DigestAlgorithm> {
        let value = |line: &&str| HeaderValue::from_str(line).unwrap();
        wanted(&lines.iter().map(|line| (WANT_REPR_DIGEST, value(line))).collect())
    }

    /// A Dictionary member with a digest of this many bytes.
    fn member(key: &str, length: usize) -> String {
        format!("{key}=:{}:", data_encoding::BASE64.encode(&vec![7; length]))
    }

    #[test]
    fn what_is_a_boolean() {
        for (text, value) in [
            ("?1", Some(true)),
            ("?0", Some(false)),
            (" ?1 ", Some(true)),
            ("?1;a=b", Some(true)),
            ("?0;a;b=\"?1\";a=?1", Some(false)),
            ("?1; a", Some(true)),
            ("?1 ;a", None),
            ("?1;A", None),
            ("?1;a=", None),
            ("?1;", None),
            ("?2", None),
            ("?", None),
            ("? 1", None),
            ("?10", None),
            ("?1\t", None),
            ("?T", None),
            ("1", None),
            ("true", None),
            ("\"?1\"", None),
            (":?1:", None),
            ("?1, ?1", None),
            ("?1,", None),
            ("(?1)", None),
            ("a=?1", None),
            ("", None),
            (" ", None),
            ("\u{FF1F}1", None),
        ] {
            assert_eq!(boolean(&field(&[text]), &UPLOAD_OFFSET), value, "{text:?}");
        }
    }

    #[test]
    fn what_is_an_integer() {
        for (text, value) in [
            ("0", Some(0)),
            ("5", Some(5)),
            (" 5  ", Some(5)),
            ("5;a=b", Some(5)),
            ("5;a=(", None),
            ("-0", Some(0)),
            ("-0005", None),
            ("-1", None),
            ("-", None),
            ("--1", None),
            ("+5", None),
            ("007", Some(7)),
            ("000000000000005", Some(5)),
            ("0000000000000005", None),
            ("100000000000000", Some(100_000_000_000_000)),
            ("999999999999999", Some(MAX_INTEGER)),
            ("-999999999999999", None),
            ("1000000000000000", None),
            ("9999999999999999", None),
            ("18446744073709551616", None),
            ("5.0", None),
            ("5.", None),
            (".5", None),
            ("5e3", None),
            ("0x5", None),
            ("1_000", None),
            ("5 000", None),
            ("\t5", None),
            ("\"5\"", None),
            ("@5", None),
            ("?1", None),
            ("five", None),
            ("5, 5", None),
            ("5,", None),
            ("(5)", None),
            ("a=5", None),
            ("", None),
            ("\u{665}", None),
        ] {
            assert_eq!(integer(&field(&[text]), &UPLOAD_OFFSET), value, "{text:?}");
        }
    }

    #[test]
    fn an_item_that_is_absent_or_sent_twice_does_not_exist() {
        let none: [&str; 0] = [];
        for lines in [&none[..], &["?1", "?1"], &["?1", ""], &["", "?1"]] {
            assert_eq!(boolean(&field(lines), &UPLOAD_OFFSET), None, "{lines:?}");
        }
        for lines in [&none[..], &["5", "5"], &["5", ""], &["", "5"]] {
            assert_eq!(integer(&field(lines), &UPLOAD_OFFSET), None, "{lines:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_ascii_are_refused_wherever_they_stand() {
        for text in [
            &b"\xFF"[..],
            b"?1\xFF",
            b"5\xE9",
            b"5;a=\"\xE9\"",
            b"5;a=%\"\xE9\"",
            b"5;\xE9",
            b"sha-256\xE9=?1",
            b"x=:\xE9\xE9\xE9\xE9:",
            b"x=%\"%ff\"",
            b"x=(a \xE9)",
        ] {
            let headers = field(&[text]);
            assert_eq!(boolean(&headers, &UPLOAD_OFFSET), None, "{text:?}");
            assert_eq!(integer(&headers, &UPLOAD_OFFSET), None, "{text:?}");
            assert_eq!(digests(&headers, &UPLOAD_OFFSET), Err(Malformed), "{text:?}");
        }
    }

    #[test]
    fn what_is_printed() {
        assert_eq!(from_bool(true), "?1");
        assert_eq!(from_bool(false), "?0");
        let entries = [
            ("max-size", u64::MAX),
            ("min-size", 0),
            ("max-append-size", MAX_INTEGER),
            ("min-append-size", MAX_INTEGER + 1),
            ("max-age", 3600),
            ("expires", 3600),
        ];
        assert_eq!(
            limits(&entries),
            "max-size=999999999999999, min-size=0, max-append-size=999999999999999, \
             min-append-size=999999999999999, max-age=3600, expires=3600"
        );
        assert_eq!(limits(&[("max-age", 1)]), "max-age=1");
        assert_eq!(limits(&[]), "min-size=0");
    }

    #[test]
    fn digests_are_those_of_the_algorithms_that_are_known() {
        let sha_256 = Digest::Sha256([7; 32]);
        let sha_512 = Digest::Sha512([7; 64]);
        let (one, other) = (member("sha-256", 32), member("sha-512", 64));
        for (lines, expected) in [
            (vec![one.clone()], vec![sha_256]),
            (vec![format!("{other};a=b, {one};c")], vec![sha_256, sha_512]),
            (vec![other.clone(), one.clone()], vec![sha_256, sha_512]),
            (vec![format!("md5=:AAAA:,\t{one}, unixsum=5, sha=(a b), x")], vec![sha_256]),
            (vec!["sha=:AAAA:".into(), "sha-256-x=1".into(), "*sha-256=1".into()], vec![]),
            // Of a key that is there twice, RFC 9651 takes the last.
            (vec![format!("{}, {one}", member("sha-256", 31))], vec![sha_256]),
            (vec!["sha-256".into(), one.clone()], vec![sha_256]),
            (vec![one.trim_end_matches([':', '=']).to_owned() + ":"], vec![sha_256]),
            // This one has a parameter.
            (vec![format!("{one};{}", member("sha-256", 31))], vec![sha_256]),
            (vec![String::new()], vec![]),
            (vec![], vec![]),
        ] {
            assert_eq!(read_digests(&lines), Ok(expected), "{lines:?}");
        }
        let mut running = Running::new(DigestAlgorithm::Sha256);
        running.update(b" and foam");
        assert_eq!(
            read_digests(&[format!("sha-256=:{FOAM}:")]),
            Ok(vec![running.digest().unwrap()])
        );
    }

    #[test]
    fn a_digest_that_nothing_can_have_is_malformed() {
        let one = member("sha-256", 32);
        for lines in [
            vec![member("sha-256", 31)],
            vec![member("sha-256", 33)],
            vec![member("sha-256", 0)],
            vec![member("sha-256", 64)],
            vec![member("sha-512", 32)],
            vec![one.clone(), member("sha-512", 63)],
            vec![one.clone(), member("sha-256", 31)],
            vec![one.clone(), "sha-256".into()],
            vec!["sha-256".into()],
            vec!["sha-256;a=b".into()],
            vec!["sha-256=5".into()],
            vec![format!("sha-256={}", "7".repeat(64))],
            vec![format!("sha-256=\"{FOAM}\"")],
            vec![format!("sha-256={FOAM}")],
            vec![format!("sha-256=(:{FOAM}:)")],
            vec![format!("sha-256=:{FOAM}")],
            vec![format!("sha-256=:{}:", FOAM.replace('/', "_"))],
            vec![format!("sha-256=: {FOAM}:")],
            vec![format!("sha-256 =:{FOAM}:")],
            vec![format!("SHA-256=:{FOAM}:")],
            vec![format!("{one},")],
            vec![format!(",{one}")],
            vec![format!("{one} {one}")],
            vec![one.clone(), "!".into()],
            vec![one.clone(), String::new()],
            vec!["x=(a".into(), "b)".into()],
            vec!["?1".into()],
        ] {
            assert_eq!(read_digests(&lines), Err(Malformed), "{lines:?}");
        }
    }

    #[test]
    fn the_most_wanted_algorithm_comes_first() {
        let (sha_256, sha_512) = (DigestAlgorithm::Sha256, DigestAlgorithm::Sha512);
        for (lines, expected) in [
            (&["sha-256=1"][..], vec![sha_256]),
            (&["sha-512=3, sha-256=10, unixsum=0"], vec![sha_256, sha_512]),
            (&["sha-256=3, sha-512=10;a=b"], vec![sha_512, sha_256]),
            (&["sha-256=3", "sha-512=10"], vec![sha_512, sha_256]),
            (&["sha-512=5, sha-256=5"], vec![sha_256, sha_512]),
            (&["sha-256=0, sha-512=1"], vec![sha_512]),
            (&["sha-512=1, sha-512=0"], vec![]),
            (&["sha-512=11, sha-512=2"], vec![sha_512]),
            (&["md5=10, sha=?1, x, sha-256=2"], vec![sha_256]),
            (&["md5=10"], vec![]),
            (&["sha-256=0"], vec![]),
            (&["sha-256=11"], vec![]),
            (&["sha-256=-1"], vec![]),
            (&["sha-256=1.0"], vec![]),
            (&["sha-256"], vec![]),
            (&["sha-256=(1)"], vec![]),
            (&["sha-256=5, sha-512=11"], vec![]),
            (&["sha-256=5,"], vec![]),
            (&["sha-256:5"], vec![]),
            (&[""], vec![]),
            (&[], vec![]),
        ] {
            assert_eq!(read_wanted(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_digest_without_a_key_is_not_printed() {
        let others = [Digest::Md5([1; 16]), Digest::Sha1([1; 20]), Digest::Crc32c([1; 4])];
        assert_eq!(from_digests(&[]), None);
        assert_eq!(from_digests(&others), None);
        let all = [&others[..], &[Digest::Sha256([0; 32])], &others].concat();
        let text = "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:";
        assert_eq!(from_digests(&all).unwrap(), text);
    }

    #[test]
    fn a_field_that_is_absent_costs_no_allocation() {
        let headers = HeaderMap::new();
        let measured = allocation_counter::measure(|| {
            assert_eq!(boolean(&headers, &UPLOAD_COMPLETE), None);
            assert_eq!(integer(&headers, &UPLOAD_OFFSET), None);
            assert_eq!(digests(&headers, &CONTENT_DIGEST), Ok(Vec::new()));
            assert_eq!(wanted(&headers), Vec::new());
        });
        assert_eq!(measured.count_total, 0);
        let headers = field(&["?1"]);
        let measured = allocation_counter::measure(|| {
            assert_eq!(boolean(&headers, &UPLOAD_OFFSET), Some(true));
        });
        assert_eq!(measured.count_total, 0);
    }

    proptest! {
        #[test]
        fn an_integer_that_is_printed_is_read(number: u64, small in 0..=MAX_INTEGER) {
            for number in [number, small] {
                let read = integer(&field(&[number.to_string()]), &UPLOAD_OFFSET);
                prop_assert_eq!(read, Some(number).filter(|number| *number <= MAX_INTEGER));
            }
        }

        #[test]
        fn digests_that_are_printed_are_read(one: [u8; 32], other: [u8; 64], which in 0..4_u8) {
            let mut both = vec![Digest::Sha256(one), Digest::Sha512(other)];
            both.retain(|digest| which & if digest.as_bytes().len() == 32 { 1 } else { 2 } != 0);
            let printed: Vec<_> = from_digests(&both).into_iter().collect();
            prop_assert_eq!(printed.len(), usize::from(!both.is_empty()));
            prop_assert_eq!(read_digests(&printed), Ok(both.clone()));
            both.reverse();
            let printed: Vec<_> = from_digests(&both).into_iter().collect();
            both.reverse();
            prop_assert_eq!(read_digests(&printed), Ok(both));
        }

        #[test]
        fn limits_that_are_printed_are_read(sizes: [u64; 5]) {
            let names = ["max-size", "min-size", "max-append-size", "min-append-size", "max-age"];
            let entries: Vec<_> = names.into_iter().zip(sizes).collect();
            let value = limits(&entries);
            let read: Vec<_> = value
                .to_str()
                .unwrap()
                .split(", ")
                .map(|member| {
                    let (name, limit) = member.split_once('=').unwrap();
                    (name, integer(&field(&[limit]), &UPLOAD_OFFSET).unwrap())
                })
                .collect();
            let capped: Vec<_> =
                entries.iter().map(|(name, limit)| (*name, (*limit).min(MAX_INTEGER))).collect();
            prop_assert_eq!(read, capped);
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            text in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..64),
                "[ ?:=()\"%@;,.0-9a-\u{E9}\n-]{0,24}".prop_map(String::into_bytes),
                "-?[0-9]{0,17}(;[a-c]=[?:0-9]{0,3})?".prop_map(String::into_bytes),
                "((sha-(256|512)|x)(=(:[A-Za-z0-9+/]{0,6}=?:|[0-9]{1,2}|\\?1|\\(\\)))?\
                  [,\n ]{0,2}){0,5}"
                    .prop_map(String::into_bytes),
                "(sha-256=:[A-Za-z0-9+/]{43}=?:|sha-512=:[A-Za-z0-9+/]{86}(==)?:|x)\
                  ([,\n](sha-256=:[A-Za-z0-9+/]{43}=:|sha-512=:[A-Za-z0-9+/]{86}==:|x=5)){0,2}"
                    .prop_map(String::into_bytes),
            ],
        ) {
            fuzzing::resumable_fields(&text);
        }
    }
}
