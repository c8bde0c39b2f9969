//! Names that lead elsewhere: none is a path, and none is an id.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use serde_json::json;
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, UploadId, Uploads};

use crate::snapshot::Guarded;
use crate::support::*;

/// Spellings of a way out of a folder to a file that is there.
const TRAVERSALS: &[&[u8]] = &[
    b"beside",
    b"../beside",
    b"../../beside",
    b"../../../beside",
    b"../../../../beside.log",
    b"../../../../../beside",
    b"..\\beside",
    b"..\\..\\..\\beside",
    b"./../beside",
    b"../store/../../beside",
    b"x/../../../beside",
    b"....//....//beside",
    b"..././..././beside",
    b"..;/..;/beside",
    b"..//..//beside",
    b"../\\../beside",
    b"%2e%2e%2fbeside",
    b"%2e%2e/%2e%2e/beside",
    b"..%2f..%2fbeside",
    b"..%5c..%5cbeside",
    b"%252e%252e%252fbeside",
    b"%25252e%25252e%25252fbeside",
    b"..%c0%afbeside",
    b"..%252fbeside",
    b"%u002e%u002e%u2215beside",
    b"\xc0\xae\xc0\xae\xc0\xafbeside",
    b"..\xc0\xafbeside",
    b"\xe0\x80\xae\xe0\x80\xae\xe0\x80\xafbeside",
    b"\xf0\x80\x80\xaf..\xc1\x9cbeside",
    b"\xc1\x9cbeside",
    b"/../../beside",
    b"file:///etc/passwd",
    b"/etc/passwd",
    b"//etc/passwd",
    b"\\etc\\passwd",
    b"~/beside",
    b"~root",
    b"..",
    b".",
    b"...",
    b"/",
    b"\\",
    b"../",
    b".records",
    b".records/be/beside.log",
    b"beside.log\0.png",
    b"../beside\0",
];

/// Names that mean something to a system, a shell, a terminal or a page.
const SPECIAL: &[&[u8]] = &[
    b"CON",
    b"con.txt",
    b"NUL",
    b"AUX.h",
    b"COM1",
    b"COM\xc2\xb9",
    b"LPT9.txt",
    b"CONIN$",
    b"CLOCK$",
    b"C:",
    b"C:x",
    b"C:\\Windows\\x.txt",
    b"\\\\host\\share\\x",
    b"\\\\?\\C:\\x",
    b"\\\\.\\PhysicalDrive0",
    b"x::$DATA",
    b"x:y",
    b"x.",
    b"x ",
    b" x",
    b" ",
    b"-rf",
    b"$(touch x)",
    b"`touch x`",
    b"${HOME}",
    b"x;touch y",
    b"x|y",
    b"*",
    b"?",
    b"%",
    b"%00",
    b"%n%s%d",
    b"x\0.png",
    b"\0",
    b"x\r\nX-Evil: 1\r\n",
    b"x\n",
    b"\x1b[31mx",
    b"\x7fx",
    b"x\xc2\x85y",
    "\u{202E}gpj.exe".as_bytes(),
    "x\u{2066}y\u{2069}".as_bytes(),
    "\u{200E}\u{200F}\u{61C}".as_bytes(),
    "\u{2028}x\u{2029}".as_bytes(),
    "\u{FEFF}x".as_bytes(),
    "\u{FF0E}\u{FF0E}\u{FF0F}beside".as_bytes(),
    "\u{2024}\u{2024}\u{2215}beside".as_bytes(),
    "..\u{2044}..\u{29F8}beside".as_bytes(),
    "٠١٢٣٤٥٦٧٨٩٠١٢٣٤٥".as_bytes(),
    "x\u{301}".as_bytes(),
    "😀".as_bytes(),
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"<img src=x onerror=alert(1)>",
    b"\"; filename=\"y",
    b"' OR 1=1 --",
    b"{}",
    b"null",
    b"__proto__",
    b"undefined",
    b".htaccess",
];

fn hostile_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> =
        TRAVERSALS.iter().chain(SPECIAL).map(|name| name.to_vec()).collect();
    names.extend([
        vec![b'x'; 10_000],
        vec![b'.'; 10_000],
        vec![b'/'; 10_000],
        "😀".repeat(2_500).into_bytes(),
        [&b"../".repeat(3_330)[..], b"beside"].concat(),
        [b"x.", &[b'y'; 5_000][..]].concat(),
        [&[b'x'; 199][..], "ä.txt".as_bytes()].concat(),
    ]);
    names
}

/// What looks like an id, or like one with something around it.
fn near_ids() -> Vec<Vec<u8>> {
    let good = "5230ec1f59d1485d9d7974b853802e31";
    [
        good.to_uppercase(),
        format!(" {good}"),
        format!("{good} "),
        format!("{good}\n"),
        format!("{good}\0"),
        format!("{good}/"),
        format!("{good}/.."),
        format!("../{good}"),
        format!("../52/{good}"),
        format!("{good}.part"),
        format!("{good}.log"),
        format!("{{{good}}}"),
        format!("urn:uuid:{good}"),
        "00000000-0000-4000-8000-000000000000".to_owned(),
        good[..31].to_owned(),
        format!("{good}0"),
        "0".repeat(60_000),
    ]
    .map(String::into_bytes)
    .to_vec()
}

/// Every byte in percent-encoding.
pub(crate) fn encoded(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(&name[..name.len().min(60)]).into_owned()
}

fn completion(kind: &str, body: impl Into<Bytes>) -> Request<TestBody> {
    post(COMPLETE).header(CONTENT_TYPE, kind).body(TestBody::of(body)).unwrap()
}

/// Every place of every request where an id may stand.
fn requests_with_id(id: &[u8]) -> Vec<Request<TestBody>> {
    // Longer ones are no targets.
    let in_query = encoded(&id[..id.len().min(15_000)]);
    let head = b"Content-Disposition: form-data; name=\"upload_id\"";
    let file = |form: Form| form.file("a", b"def");
    let id_first = file(Form::new().part(head, id)).end();
    let id_last = file(Form::new()).part(head, id).end();
    let done = Form::new().part(head, id).field("md5", &md5(b"")).end();
    let json = json!({ "upload_id": String::from_utf8_lossy(id), "md5": md5(b"") }).to_string();
    let mut requests = vec![
        ranged("bytes 3-5/6", TestBody::of(id_first.clone())),
        ranged("bytes 3-5/6", TestBody::of(id_last.clone())),
        ranged("bytes 0-2/6", TestBody::of(id_first.clone())),
        ranged("bytes 0-2/6", TestBody::of(id_last.clone())),
        form_request(TestBody::of(id_first)),
        form_request(TestBody::of(id_last)),
        raw(Some(&in_query), None, TestBody::of("def")),
        raw(Some(&in_query), Some("bytes 3-5/6"), TestBody::of("def")),
        on_id(Method::GET, &in_query),
        on_id(Method::HEAD, &in_query),
        on_id(Method::DELETE, &in_query),
        completion(
            "application/x-www-form-urlencoded",
            format!("upload_id={in_query}&md5={}", md5(b"")),
        ),
        completion(&Form::content_type(), done),
        completion("application/json", json),
    ];
    // As few bytes escaped as a target allows, which escapes twice what is escaped already.
    let plain = [format!("{CHUNK}?upload_id=").as_bytes(), id].concat();
    if let Ok(uri) = Uri::try_from(plain)
        && !id.iter().any(|byte| b"&#+%".contains(byte))
    {
        for method in [Method::GET, Method::DELETE] {
            let request = Request::builder().method(method).uri(uri.clone());
            requests.push(request.body(TestBody::empty()).unwrap());
        }
    }
    requests
}

#[test]
fn no_id_that_a_client_makes_up_is_more_than_unknown() {
    let ids: Vec<_> = hostile_names().into_iter().chain(near_ids()).collect();
    let mut asked = 0;
    run(async {
        let guarded = Guarded::new().await;
        let store = FsStore::new(guarded.store().join("%Y"));
        let client = Client::new(ChunkedUploadLayer::new(Uploads::builder(store).build().unwrap()));
        for id in &ids {
            for request in requests_with_id(id) {
                let name = format!("{} {:.80} {:?}", request.method(), request.uri(), shown(id));
                let is_completion = request.uri().path() == COMPLETE;
                let is_head = request.method() == Method::HEAD;
                let reply = client.send(request).await;
                asked += 1;
                // With what is around it, the longest is too long for a completion.
                if id.len() > 60_000 - 1 && is_completion && reply.status == 413 {
                    continue;
                }
                assert_eq!(reply.status, 404, "{name}: {reply:?}");
                if !is_head {
                    assert_eq!(reply.refused(404), "Upload not found", "{name}");
                }
            }
        }
        assert_eq!(files_below(&guarded.store()), <[&Path; 0]>::default());
        let around = guarded.unchanged();
        println!(
            "ids: {} in {asked} requests, 0 found, {around} paths around the store as before",
            ids.len()
        );
    });
}

/// Requests for a file of that name, in every place where a name may stand.
fn requests_with_name(name: &[u8]) -> Vec<(&'static str, Request<TestBody>)> {
    let part = |head: Vec<u8>| form_request(TestBody::of(Form::new().part(&head, b"abc").end()));
    let head = |param: &[u8]| {
        let head = &b"Content-Disposition: form-data; name=\"file\"; "[..];
        [head, param].concat()
    };
    let quoted = |name: &[u8]| [b"filename=\"", name, b"\""].concat();
    let escaped = String::from_utf8_lossy(name).replace('\\', "\\\\").replace('"', "\\\"");
    // As browsers do, and what no line can have.
    let browser = String::from_utf8_lossy(name).replace('"', "%22");
    let browser = browser.replace(['\r', '\n', '\0'], " ");
    // Line ends would end the head, and the file would be another one.
    let token: Vec<u8> = name.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect();
    let star = format!("filename*=UTF-8''{}", encoded(&name[..name.len().min(5_000)]));
    let latin = format!("filename*=ISO-8859-1'en'{}", encoded(&name[..name.len().min(5_000)]));
    let both = [&quoted(b"a.txt")[..], b"; ", star.as_bytes()].concat();
    let mut requests = vec![
        ("filename", part(head(&quoted(name)))),
        ("filename as browsers do", part(head(&quoted(browser.as_bytes())))),
        ("filename with escapes", part(head(&quoted(escaped.as_bytes())))),
        ("filename without quotes", part(head(&[b"filename=", &token[..]].concat()))),
        ("filename*", part(head(star.as_bytes()))),
        ("filename* of latin 1", part(head(latin.as_bytes()))),
        ("both", part(head(&both))),
    ];
    for (place, param) in [
        ("raw filename", quoted(encoded(name).as_bytes())),
        ("raw filename as it is", quoted(name)),
        ("raw filename*", star.into_bytes()),
        ("raw, both", both),
    ] {
        // What is no header value reaches no layer.
        if let Ok(value) = HeaderValue::from_bytes(&[b"attachment; ", &param[..]].concat()) {
            let mut request = raw(None, None, TestBody::of("abc"));
            request.headers_mut().insert(CONTENT_DISPOSITION, value);
            requests.push((place, request));
        }
    }
    requests
}

/// An application that keeps each file under its own name, as the README says.
fn keeping(guarded: &Guarded, layer: ChunkedUploadLayer) -> Client {
    let media = guarded.media();
    Client::around(layer, move |request| {
        let media = media.clone();
        async move {
            let upload = request.extensions().get::<CompletedUpload>().cloned().unwrap();
            let name = upload.filename().to_owned();
            let target = media.join(format!("{}-{name}", upload.id()));
            let kept = upload.persist(&target).await;
            let mut response = Response::new(Full::from(name));
            if kept.is_err() {
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
            response
        }
    })
}

#[track_caller]
fn assert_safe(safe: &str, name: &str) {
    let mut parts = Path::new(safe).components();
    assert!(matches!(parts.next(), Some(Component::Normal(_))), "{name}: {safe:?}");
    assert!(parts.next().is_none() && safe.len() <= 200, "{name}: {safe:?}");
    let bad = |char: char| {
        char.is_control()
            || "/\\\u{61C}\u{200E}\u{200F}\u{2028}\u{2029}\u{202E}\u{2066}\u{2069}\u{FEFF}"
                .contains(char)
    };
    assert!(!safe.contains(bad), "{name}: {safe:?}");
    assert!(safe.trim() == safe && !safe.ends_with('.'), "{name}: {safe:?}");
    let stem = safe.split('.').next().unwrap().trim_end().to_uppercase();
    assert!(!["CON", "NUL", "AUX", "COM1", "LPT9"].contains(&&*stem), "{name}: {safe:?}");
}

#[test]
fn no_file_name_that_a_client_makes_up_is_a_path() {
    let names = hostile_names();
    let mut taken = BTreeMap::<&str, usize>::new();
    let (mut asked, mut refused) = (0, 0);
    run(async {
        let guarded = Guarded::new().await;
        let store = FsStore::new(guarded.store().join("%Y"));
        let layer = ChunkedUploadLayer::new(Uploads::builder(store).build().unwrap());
        let client = keeping(&guarded, layer);
        for name in &names {
            for (place, request) in requests_with_name(name) {
                let shown = format!("{:?} as {place}", shown(name));
                let reply = client.send(request).await;
                asked += 1;
                if reply.status != 200 {
                    reply.refused(400);
                    refused += 1;
                    continue;
                }
                *taken.entry(place).or_default() += 1;
                let status = client.status(&reply.id()).await;
                assert!(status.headers.iter().all(|(key, _)| key != "x-evil"), "{shown}");
                let done = client.complete(&reply.id(), &md5(b"abc")).await;
                assert_eq!(done.status, 200, "{shown}: {done:?}");
                let safe = String::from_utf8(done.body.to_vec()).unwrap();
                assert_eq!(status.json()["filename"], safe, "{shown}");
                assert_safe(&safe, &shown);
                let kept = guarded.media().join(format!("{}-{safe}", reply.id()));
                assert_eq!(std::fs::read(kept).unwrap(), b"abc", "{shown}");
            }
        }
        let around = guarded.unchanged();
        println!(
            "file names: {} in {asked} requests, {taken:?} taken, {refused} refused, {around} paths \
             around the store as before",
            names.len()
        );
        for path in files_below(&guarded.store()) {
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            assert!(stem.parse::<UploadId>().is_ok(), "{path:?}");
        }
        let kept = files_below(&guarded.media());
        assert!(kept.iter().all(|path| path.parent() == Some(&*guarded.media())));
        assert_eq!(kept.len(), taken.values().sum::<usize>());
    });
    // Every place takes the names that are names.
    assert!(taken.len() == 11 && taken.values().all(|taken| *taken > 30), "{taken:?}");
}
