//! Numbers that are none, and what is said in two ways.

use http::Request;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue};
use serde_json::json;
use tower_chunked_upload::ChunkedUploadLayer;

use crate::support::*;

/// With the header as these bytes.
fn placed(mut request: Request<TestBody>, range: &str) -> Request<TestBody> {
    let value = HeaderValue::from_bytes(range.as_bytes()).unwrap();
    request.headers_mut().insert(CONTENT_RANGE, value);
    request
}

#[tokio::test]
async fn a_range_in_any_other_spelling_begins_and_moves_nothing() {
    let uploads = in_memory();
    let client = Client::new(ChunkedUploadLayer::new(uploads.clone()));
    let id = client.begin(9, b"abc").await;
    let good = "bytes 3-5/9";
    let ranges = [
        "bytes ３-５/９",
        "bytes ³-⁵/⁹",
        "bytes 3-5/९",
        "bytes\u{a0}3-5/9",
        "bytes 3\u{2013}5/9",
        "bytes \u{200b}3-5/9",
        "bytes \u{2212}3-5/9",
        "bytes 3-5/9;",
        "bytes 3-5/9,",
        "bytes 3-5/9, bytes 3-5/9",
        "bytes 3-5/9, bytes 0-2/9",
        "bytes 3-5,6-8/9",
        "bytes 3.0-5/9",
        "bytes 3e0-5/9",
        "bytes 3_0-5/9",
        "bytes 0b11-5/9",
        "bytes 3-5/0x9",
        "bytes 3-5/-9",
        "bytes 3--5/9",
        "bytes 3-5//9",
        "bytes 3-5\t/9",
        "bytes 3-5/9\tx",
        "bytes \"3-5/9\"",
        "bytes 3-5/18446744073709551625",
        "bytes 18446744073709551619-18446744073709551621/9",
        "bytes 3-340282366920938463463374607431768211461/9",
        "bytes NaN-5/9",
        "bytes 3-5/inf",
    ];
    for range in ranges {
        let form = Form::new().id(Some(&id)).file("a", b"def").end();
        let new = Form::new().file("a", b"def").end();
        for request in [
            form_request(TestBody::of(form)),
            form_request(TestBody::of(new)),
            raw(Some(&id), None, TestBody::of("def")),
            raw(None, None, TestBody::of("def")),
        ] {
            let detail = client.send(placed(request, range)).await.refused(400);
            assert_eq!(detail, "Error in request headers", "{range}");
        }
    }
    assert_eq!(all_ids(&uploads).await.len(), 1);
    let reply = client.send(placed(raw(Some(&id), None, TestBody::of("def")), good)).await;
    assert_eq!(reply.json()["offset"], 6);
    println!("ranges in other spellings: {} refused in 4 requests each", ranges.len());
}

#[tokio::test]
async fn an_md5_in_any_other_spelling_completes_nothing() {
    let client = client();
    let id = client.upload(b"abc").await;
    let good = md5(b"abc");
    let wide = |char: char| char::from_u32(u32::from(char) + 0xfee0).unwrap();
    let md5s = [
        good[1..].to_owned(),
        format!("{good}0"),
        format!("0{good}"),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{good}\0"),
        format!("0x{}", &good[..30]),
        format!("+{}", &good[1..]),
        format!("-{}", &good[1..]),
        format!("{}\u{e9}", &good[..30]),
        good.chars().map(wide).collect(),
        "٠".repeat(16),
        "g".repeat(32),
        format!("{good},{good}"),
        format!("\"{good}\""),
        "*".to_owned(),
    ];
    for wrong in &md5s {
        let json = json!({ "upload_id": id, "md5": wrong }).to_string();
        let form = Form::new().id(Some(&id)).field("md5", wrong).end();
        let pairs = [("upload_id", id.as_str()), ("md5", wrong)];
        let pairs = form_urlencoded(&pairs);
        for (kind, body) in [
            ("application/json", json.into()),
            (&*Form::content_type(), form),
            ("application/x-www-form-urlencoded", pairs.into()),
        ] {
            let request = post(COMPLETE).header(CONTENT_TYPE, kind).body(TestBody::of(body));
            let detail = client.send(request.unwrap()).await.refused(400);
            assert_eq!(detail, "md5 checksum does not match", "{wrong:?}");
        }
    }
    assert!(client.deliveries().is_empty());
    assert_eq!(client.complete(&id, &good).await.status, 200);
    println!("md5s in other spellings: {} refused in 3 forms each", md5s.len());
}

fn form_urlencoded(pairs: &[(&str, &str)]) -> String {
    let encoded = |text: &str| crate::names::encoded(text.as_bytes());
    let pairs: Vec<_> =
        pairs.iter().map(|(key, value)| format!("{key}={}", encoded(value))).collect();
    pairs.join("&")
}
