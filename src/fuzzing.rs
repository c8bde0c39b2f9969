//! What the targets in `fuzz/` call, and the property tests: the parsers of bytes that come from a
//! client or a disk, with their promises asserted.

use std::path::{Component, Path};
#[cfg(feature = "tokens")]
use std::time::{Duration, UNIX_EPOCH};

use form_urlencoded::Serializer;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Uri};

use crate::{
    checksum::{ChecksumState, Digest, Running},
    filename,
    id::UploadId,
    idempotency::IdempotencyKey,
    policy::Refusal,
    protocol::chunked::{
        complete::{Fields, read_fields},
        content_range::ContentRange,
        form::{
            Boundary, FormLimits, FormReader,
            trace::{Trace, cut, trace, trace_head},
        },
        query::{has_id, read as read_query},
    },
    protocol::disposition::Disposition,
    store::{
        StoreError,
        fs::trace::{State, Trace as Journal, rewritten, trace as read_journal},
    },
};
#[cfg(feature = "tokens")]
use crate::{
    engine::{TokenKeys, Uploads},
    store::MemoryStore,
    upload::Identity,
};

/// A key that is read has the promised length, and means the same in quotes.
pub fn idempotency_key(input: &[u8]) {
    let Ok(key) = IdempotencyKey::parse(input) else { return };
    let text = key.as_str();
    assert!((16..=255).contains(&text.len()), "{} characters", text.len());
    assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?}");
    let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    assert_eq!(IdempotencyKey::parse(quoted.as_bytes()), Ok(key.clone()));
    assert!(!format!("{key:?}").contains(text));
}

/// The body is `input` but for its first four bytes, which choose the boundary and three cuts.
pub fn form(input: &[u8]) {
    let Some(([choice, cuts @ ..], body)) = input.split_first_chunk::<4>() else {
        return;
    };
    let boundary = BOUNDARIES[usize::from(*choice) % BOUNDARIES.len()];
    let Ok(boundary) = Boundary::from_content_type(boundary.as_bytes()) else {
        unreachable!("the boundaries are valid");
    };
    let read = |frames: Vec<&[u8]>| -> Trace {
        // Low enough for an input of the fuzzer's length to reach them.
        let limits = FormLimits::default()
            .parts(4)
            .part_header_bytes(200)
            .field_bytes(16)
            .fields_bytes(24)
            .ignored_bytes(32);
        trace(&mut FormReader::new(&boundary, Some("f".into()), limits), frames)
    };

    let whole = read(vec![body]);
    assert_eq!(read(body.chunks(1).collect()), whole);
    assert_eq!(read(cut(body, cuts.map(usize::from))), whole);
}

/// The headers of a part are `input` but for its first four bytes, which choose the limit and three
/// cuts.
pub fn head(input: &[u8]) {
    let Some(([limit, cuts @ ..], text)) = input.split_first_chunk::<4>() else {
        return;
    };
    let limit = usize::from(*limit);
    let whole = trace_head([text], limit);
    assert_eq!(trace_head(text.chunks(1), limit), whole);
    assert_eq!(trace_head(cut(text, cuts.map(usize::from)), limit), whole);
    let Ok(head) = whole else { return };
    let taken = text.len() - head.rest.as_deref().unwrap_or_default().len();
    assert!(taken <= limit, "{taken} bytes of {limit}");
    let plain = |byte: u8| (b' '..=b'~').contains(&byte);
    assert!(head.content_type.is_none_or(|value| value.len() <= 255 && value.bytes().all(plain)));
}

/// A query that is none of HTTP's is no query.
pub fn query(input: &[u8]) {
    let Ok(parts) = request(&[b"/?", input].concat(), None) else { return };
    let sent = parts.uri.query().unwrap_or_default();
    let pairs = || form_urlencoded::parse(sent.as_bytes());
    let mut ids: Vec<_> =
        pairs().filter(|(key, _)| key == "upload_id").map(|pair| pair.1).collect();
    ids.retain(|id| !id.is_empty());
    ids.dedup();
    assert_eq!(has_id(&parts), !ids.is_empty());
    let (id, fields) = match read_query(&parts) {
        Ok(read) => read,
        Err(refusal) => return assert_refused(&refusal, ids.len() > 1),
    };
    assert!(ids.len() <= 1 && ids.first().map(|id| &**id) == id.as_deref());
    assert_eq!(fields.len(), pairs().filter(|(key, _)| key != "upload_id").count());

    let named = id.iter().map(|id| ("upload_id", id.as_str()));
    let others = fields.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let again = Serializer::new("/?".to_owned()).extend_pairs(named.chain(others)).finish();
    let Ok(parts) = request(again.as_bytes(), None) else {
        unreachable!("an encoded query is one");
    };
    assert_eq!(read_query(&parts).ok(), Some((id, fields)));
}

/// The body is `input` but for its first byte, which chooses what it is said to be.
pub fn completion(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let kind = KINDS[usize::from(*choice) % KINDS.len()];
    let json = (kind == JSON).then(|| serde_json::from_slice::<serde_json::Value>(body).ok());
    let said = |key: &str| json.as_ref()?.as_ref()?.get(key)?.as_str().filter(|id| !id.is_empty());
    let fields = match complete(kind, body) {
        Ok(fields) => fields,
        Err(refusal) => return assert_refused(&refusal, true),
    };
    assert!(json.as_ref().is_none_or(|json| json.as_ref().is_some_and(|json| json.is_object())));
    for (key, value) in [("upload_id", &fields.0), ("md5", &fields.1)] {
        let value = value.as_deref();
        assert_ne!(value, Some(""));
        // Of a key that is there twice, serde_json's map has the last.
        assert!(said(key).is_none_or(|said| value == Some(said)));
        assert!(kind != OTHER || value.is_none());
    }
    let pairs = [("upload_id", &fields.0), ("md5", &fields.1)];
    let pairs = pairs.map(|(key, value)| (key, value.as_deref().unwrap_or_default()));
    for kind in KINDS.into_iter().filter(|kind| *kind != OTHER) {
        if let Some(body) = encoded(kind, &pairs) {
            assert_eq!(complete(kind, &body).ok().as_ref(), Some(&fields), "{kind}");
        }
    }
}

/// A record's file: once as it is, and once with the right check before each of its lines, since no
/// fuzzer guesses one. The first two bytes say where it is cut, and where a block was lost.
pub fn record(input: &[u8]) {
    let Some((place, text)) = input.split_first_chunk::<2>() else { return };
    let place = usize::from(u16::from_le_bytes(*place));
    for mut bytes in [text.to_vec(), checked(text)] {
        let place = place.min(bytes.len());
        if let Some(journal) = believed(&bytes) {
            assert_older(&bytes[..journal.end], place.min(journal.end));
        }
        believed(&bytes[..place]);
        let block = bytes[place..].iter_mut().take(BLOCK);
        block.for_each(|byte| *byte = 0);
        believed(&bytes);
    }
}

/// The metadata of tus: read again, it is the same.
pub fn tus_metadata(input: &[u8]) {
    use crate::protocol::tus::metadata::Metadata;

    if let Ok(metadata) = Metadata::parse(input) {
        assert_eq!(Metadata::parse(input), Ok(metadata));
    }
}

/// A checksum of tus.
pub fn tus_checksum(input: &[u8]) {
    use crate::protocol::tus::checksum::Expected;

    if let Ok(Expected { algorithm, digest: Some(digest) }) = Expected::parse(input) {
        assert_eq!(digest.algorithm(), algorithm);
    }
}

/// The list of parts of tus: what is read names an upload of this server.
pub fn tus_concat(input: &[u8]) {
    use crate::protocol::tus::concat::Concat;

    let tus = crate::protocol::tus::Tus::new("/files");
    let Ok(request) = http::Request::post("/files").header("host", "a").body(()) else { return };
    let (parts, ()) = request.into_parts();
    if let Ok(Concat::Final(urls)) = Concat::parse(input) {
        assert!(!urls.is_empty() && urls.len() <= 1000);
        for url in urls {
            if let Some(id) = tus.part(&parts, url) {
                assert!(url.ends_with(&format!("/files/{id}")), "{url}");
                assert!(url.starts_with('/') || url[..8].to_lowercase().starts_with("http"));
            }
        }
    }
}

/// A number in a header of tus: digits and nothing else.
pub fn tus_number(input: &[u8]) {
    let number = crate::protocol::tus::headers::parse_number(input);
    if let Some(number) = number {
        let text = String::from_utf8_lossy(input);
        let digits = text.trim_start_matches('0');
        assert_eq!(if digits.is_empty() { "0" } else { digits }, number.to_string());
    }
}

/// The lines of a field of the draft, or of RFC 9530.
pub fn resumable_fields(input: &[u8]) {
    use crate::protocol::resumable::fields::{
        WANT_REPR_DIGEST as NAME, boolean, digests, from_bool, from_digests, integer, wanted,
    };

    let field = |lines: &[&[u8]]| -> Option<HeaderMap> {
        let lines = lines.iter().map(|line| Some((NAME, HeaderValue::from_bytes(line).ok()?)));
        lines.collect()
    };
    let of = |value: HeaderValue| HeaderMap::from_iter([(NAME, value)]);
    let lines: Vec<_> = input.splitn(8, |byte| *byte == b'\n').collect();
    let Some(headers) = field(&lines) else { return };
    let item = lines[0].trim_ascii().split(|byte| *byte == b';').next().unwrap_or_default();

    let complete = boolean(&headers, &NAME);
    if let Some(value) = complete {
        assert!(lines.len() == 1 && item == from_bool(value).as_bytes());
        assert_eq!(boolean(&of(from_bool(value)), &NAME), Some(value));
    }
    let number = integer(&headers, &NAME);
    if let Some(number) = number {
        let digits = str::from_utf8(item).unwrap_or_default();
        assert!(lines.len() == 1 && !digits.starts_with('+') && digits.len() <= 16);
        assert_eq!(digits.parse().ok(), i64::try_from(number).ok());
        assert_eq!(integer(&of(number.into()), &NAME), Some(number));
    }
    let is_number = (1..=15).contains(&input.len()) && input.iter().all(u8::is_ascii_digit);
    assert!(number.is_some() || !is_number);
    assert!(complete.is_none() || number.is_none());

    let (found, algorithms) = (digests(&headers, &NAME), wanted(&headers));
    let joined = field(&[&lines.join(&b", "[..])]).unwrap_or_default();
    assert_eq!((digests(&joined, &NAME), wanted(&joined)), (found.clone(), algorithms.clone()));
    // What is no digest is malformed.
    assert!(algorithms.is_empty() || found.is_err());
    assert!(algorithms.len() < 2 || algorithms[0] != algorithms[1]);
    if let Ok(found) = found {
        let again = from_digests(&found).map(of).unwrap_or_default();
        assert_eq!(digests(&again, &NAME), Ok(found));
    }
}

/// A state, a digest and an id are texts of the same kind.
pub fn checksum(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Ok(state) = text.parse::<ChecksumState>();
    if let Some(mut running) = Running::resume(&state) {
        assert!(running.save() == state || running.save_compact() == state);
        let other = running.clone();
        running.update(input);
        let mut parts = Running::resume(&other.save_compact());
        if let Some(parts) = &mut parts {
            input.chunks(60).for_each(|bytes| parts.update(bytes));
        }
        let ended = |running: &Running| (running.save(), running.digest());
        assert_eq!(parts.as_ref().map(ended), Some(ended(&running)));
    }
    if let Some(digest) = Digest::md5(&text) {
        assert_eq!(digest.to_hex(), text.to_ascii_lowercase());
    }
    if let Ok(id) = text.parse::<UploadId>() {
        assert_eq!(id.to_string(), text);
    }
}

pub fn content_range(value: &[u8]) {
    let Some(range) = ContentRange::parse(value) else {
        return;
    };
    assert!(range.start <= range.end && range.end < range.total);
    assert_eq!(range.start + (range.len() - 1), range.end);
    let ContentRange { start, end, total } = range;
    let plain = format!("bytes {start}-{end}/{total}");
    assert_eq!(ContentRange::parse(plain.as_bytes()), Some(range));
}

pub fn disposition(value: &[u8]) {
    let part = Disposition::of_part(value);
    let request = Disposition::of_request(value);
    assert_eq!(part.is_some(), request.is_some());
    for disposition in [part, request].into_iter().flatten() {
        if let Some(name) = disposition.filename.and_then(|raw| filename::safe(&raw)) {
            assert_safe(&name);
        }
    }
    // White space before the type is passed over.
    let form = value.trim_ascii_start().get(.."multipart/form-data".len());
    let is_form = form.is_some_and(|form| form.eq_ignore_ascii_case(b"multipart/form-data"));
    assert!(is_form || Boundary::from_content_type(value).is_err());
    browser_names(value);
}

/// A browser's names come back, whatever is in them. Two backslashes in a row are those of a sender
/// that escapes.
fn browser_names(value: &[u8]) {
    let Ok(text) = str::from_utf8(value) else { return };
    let (name, filename) = text.split_once('/').unwrap_or((text, text));
    if text.contains(['\r', '\n', '%']) || text.contains("\\\\") {
        return;
    }
    let escape = |name: &str| name.replace('"', "%22");
    let (name, filename) = (escape(name), escape(filename));
    let header = format!("form-data; name=\"{name}\"; filename=\"{filename}\"");
    let read = Disposition::of_part(header.as_bytes());
    let names = read.map(|read| (read.name, read.filename));
    let unescape = |name: &str| Some(name.replace("%22", "\""));
    assert_eq!(names, Some((unescape(&name), unescape(&filename))), "{header}");
}

pub fn filename(raw: &[u8]) {
    if let Some(name) = filename::safe(&String::from_utf8_lossy(raw)) {
        assert_safe(&name);
    }
}

fn assert_safe(name: &str) {
    assert!((1..=255).contains(&name.len()));
    assert!(name != "." && name != "..");
    assert!(!name.contains(['/', '\\']) && !name.contains(char::is_control));
    assert_eq!(filename::safe(name).as_deref(), Some(name));
}

fn request(uri: &[u8], content_type: Option<&str>) -> Result<Parts, http::Error> {
    let mut request = Request::post(Uri::try_from(uri)?);
    if let Some(content_type) = content_type {
        request = request.header(CONTENT_TYPE, content_type);
    }
    Ok(request.body(())?.into_parts().0)
}

fn assert_refused(refusal: &Refusal, reason: bool) {
    assert!(refusal.status().is_client_error() && reason, "{refusal:?}");
}

pub(crate) fn complete(kind: &str, body: &[u8]) -> Result<Fields, Refusal> {
    let Ok(parts) = request(b"/", Some(kind)) else { unreachable!("the request is valid") };
    read_fields(FormLimits::default(), &parts, body)
}

/// The body of a completion that says so, unless it looks like the form's boundary.
pub(crate) fn encoded(kind: &str, pairs: &[(&str, &str)]) -> Option<Vec<u8>> {
    if kind == URLENCODED {
        return Some(Serializer::new(String::new()).extend_pairs(pairs).finish().into());
    }
    if kind == JSON {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let pairs: Vec<_> =
            pairs.iter().map(|(key, value)| [text(key), text(value)].join(":")).collect();
        return Some(format!("{{{}}}", pairs.join(",")).into());
    }
    let (_, boundary) = kind.split_once("boundary=")?;
    let mut form = String::new();
    for (key, value) in pairs {
        if value.contains(boundary) {
            return None;
        }
        let head = format!("Content-Disposition: form-data; name=\"{key}\"\r\n\r\n");
        form.extend(["--", boundary, "\r\n", &head, value, "\r\n"]);
    }
    form.extend(["--", boundary, "--"]);
    Some(form.into())
}

/// What a record's file says, which must stand in it.
fn believed(bytes: &[u8]) -> Option<Journal> {
    let id = id();
    let journal = match read_journal(&id, bytes) {
        Ok(journal) => journal,
        Err(error) => {
            assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
            return None;
        }
    };
    assert!(journal.base <= journal.end && journal.end <= bytes.len());
    let lines = &bytes[..journal.end];
    assert!(lines.split_inclusive(|byte| *byte == b'\n').all(is_checked));
    assert_eq!(rewritten(lines).and_then(|lines| whole(&lines)).as_ref(), Some(&journal.state));
    assert!(journal.state.data.as_deref().is_none_or(|data| is_inside(&id, data)));
    assert!(journal.state.record.as_ref().is_none_or(|record| record.id == id));
    if let Some(Ok((place, state))) = &journal.pending {
        assert!(place.start == journal.end && place.end <= bytes.len());
        let lines = [&bytes[..place.end], b"\n"].concat();
        assert!(is_checked(&lines[journal.end..]));
        assert_eq!(whole(&lines).as_ref(), Some(state));
    }
    Some(journal)
}

/// The state that whole lines lead to; `None` if they are no record.
fn whole(lines: &[u8]) -> Option<State> {
    let journal = read_journal(&id(), lines).ok()?;
    assert!(journal.end == lines.len() && journal.pending.is_none());
    Some(journal.state)
}

/// A record of whole lines that is cut says what it said before the line that is not whole.
fn assert_older(lines: &[u8], cut: usize) {
    let start = memchr::memrchr(b'\n', &lines[..cut]).map_or(0, |at| at + 1);
    let end = memchr::memchr(b'\n', &lines[cut..]).map_or(cut, |at| cut + at);
    let Some(journal) = believed(&lines[..cut]) else { unreachable!("a cut is no damage") };
    assert_eq!((journal.end, Some(&journal.state)), (start, whole(&lines[..start]).as_ref()));
    // Only its newline may be missing of a line that is pending.
    assert_eq!(journal.pending.is_some(), start < cut && cut == end);
}

fn is_checked(line: &[u8]) -> bool {
    let Some((check, [b' ', json @ .., b'\n'])) = line.split_at_checked(8) else { return false };
    check == format!("{:08x}", crc32fast::hash(json)).as_bytes()
}

fn checked(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let json = line.strip_suffix(b"\n").unwrap_or(line);
        out.extend_from_slice(format!("{:08x} ", crc32fast::hash(json)).as_bytes());
        out.extend_from_slice(line);
    }
    out
}

fn is_inside(id: &UploadId, data: &Path) -> bool {
    let mut parts = data.components();
    // The bytes of an upload with a key have a random word behind the id.
    let first = |name: &str| name.split('.').next() == Some(id.as_str());
    parts.all(|part| matches!(part, Component::Normal(_)))
        && data.file_name().and_then(|name| name.to_str()).is_some_and(first)
}

fn id() -> UploadId {
    let Ok(id) = "5230ec1f59d1485d9d7974b853802e31".parse() else {
        unreachable!("the id is valid");
    };
    id
}

const URLENCODED: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
pub(crate) const OTHER: &str = "text/plain";
pub(crate) const KINDS: [&str; 5] = [
    URLENCODED,
    "multipart/form-data; boundary=x",
    "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxk",
    JSON,
    OTHER,
];
// As much as a power cut takes at once, in small.
const BLOCK: usize = 16;

const BOUNDARIES: [&str; 6] = [
    "multipart/form-data; boundary=x",
    "multipart/form-data; boundary=--",
    "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxk",
    "multipart/form-data; boundary=*****",
    "multipart/form-data; boundary=-\"&{$}",
    "multipart/form-data; boundary=\" -- x\"",
];

/// A text that is a token is the only spelling of it, and no other keys take it.
#[cfg(feature = "tokens")]
pub fn token(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (Ok(keys), Ok(others)) = (TokenKeys::new(TOKEN_SECRET), TokenKeys::new([0; 32])) else {
        unreachable!("the secrets are long enough");
    };
    let Ok(uploads) = Uploads::builder(MemoryStore::new()).clock(|| UNIX_EPOCH).build() else {
        unreachable!("the default settings can be built");
    };
    assert!(uploads.verify_token(&others, text).is_err());
    let Ok(id) = uploads.verify_token(&keys, text) else { return };
    let bytes = data_encoding::BASE64URL_NOPAD.decode(input).unwrap_or_default();
    let number = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
    let [life, created] = [&bytes[1..9], &bytes[9..15]].map(number).map(Duration::from_millis);
    let upload = Identity { id, created: UNIX_EPOCH + created };
    let again = uploads.sign_token(&keys, upload, life);
    assert_eq!(again.as_str(), text);
}

/// It has signed what is in the corpus.
#[cfg(feature = "tokens")]
const TOKEN_SECRET: [u8; 32] = [7; 32];
