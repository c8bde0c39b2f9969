//! Tests of the runner of the wire cases itself.

#![forbid(unsafe_code)]
#![allow(dead_code, reason = "a part of the runner only")]

mod args;
mod case;
mod conn;
mod data;
mod expect;
mod form;
#[path = "../support/ports.rs"]
mod ports;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
#[cfg(unix)]
use std::{net::TcpStream, process::Command};

use args::Args;
use case::{Chunk, Complete, Request};
use conn::Conn;
use data::{Data, Names, Number, fill};
use expect::{Reply, Status, differs, judge};
use serde_json::{Value, from_value, json};

fn bytes(spec: &str) -> Result<Vec<u8>, String> {
    Data::parse(spec).map(|data| data.0)
}

#[test]
fn numbers() {
    assert_eq!(Number::parse("4k"), Ok(Number::Whole(4096)));
    assert_eq!(Number::parse(" 1G "), Ok(Number::Whole(1 << 30)));
    assert_eq!(Number::parse("-7"), Ok(Number::Whole(-7)));
    assert_eq!(Number::parse("2.4"), Ok(Number::Real(2.4)));
    assert!(Number::parse("k").is_err() && Number::parse("").is_err());
}

#[test]
fn data_specs() {
    assert_eq!(bytes("text:a@1:b").unwrap(), b"a@1:b");
    assert_eq!(bytes("hex:00ff10@1:").unwrap(), [0xff, 0x10]);
    assert_eq!(bytes("fill:6162:5@1:+3").unwrap(), b"bab");
    assert_eq!(bytes("empty").unwrap(), b"");
    let whole = bytes("rand:3:1k").unwrap();
    assert_eq!(whole.len(), 1024);
    assert_eq!(bytes("rand:3:1k@13:100").unwrap(), whole[13..100]);
    assert_eq!(bytes("rand:3:1k@1000:2k").unwrap(), whole[1000..]);
    assert_eq!(bytes("rand:3:1k@2k:").unwrap(), b"");
    assert_ne!(bytes("rand:4:1k").unwrap(), whole);
    let list: Data = from_value(json!(["text:a", "hex:62"])).unwrap();
    assert_eq!(list.0, b"ab");
    for wrong in ["nope:1", "hex:0", "hex:zz", "rand:x:1", "fill:00", "fill::5", "empty@1"] {
        assert!(bytes(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn names_are_filled_in() {
    let names = Names::from([("id".to_owned(), "7".to_owned())]);
    let text = |text: &str| fill(&json!([text]), &names).map(|value| value[0].clone());
    assert_eq!(text("a${id}b${id}").unwrap(), "a7b7");
    assert_eq!(text("${len fill:00:${id}}").unwrap(), "7");
    assert_eq!(text("${text hex:41e9}").unwrap(), "Aé");
    assert_eq!(text("${md5 empty}").unwrap(), "d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(text("${MD5 empty}").unwrap(), "D41D8CD98F00B204E9800998ECF8427E");
    assert_eq!(text("$${other thing} ${").unwrap(), "$${other thing} ${");
    assert!(text("${nobody}").is_err());
}

#[test]
fn matchers() {
    let in_an_hour = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string();
    let in_an_hour = format!("{}.123Z", &in_an_hour[..19]);
    let or = json!({"or": ["x", "type:null"]});
    let all: [(Value, Value, bool); 26] = [
        (json!("any"), json!(null), true),
        (json!("a"), json!("a"), true),
        (json!("1"), json!(1), false),
        (json!(1), json!(1), true),
        (json!(1), json!(1.0), false),
        (json!(1), json!(true), false),
        (json!("int:5"), json!(5), true),
        (json!("int:5"), json!("5"), false),
        (json!("type:int"), json!(5), true),
        (json!("type:int"), json!(5.5), false),
        (json!("type:str"), json!(5), false),
        (json!("type:nope"), json!(5), false),
        (json!("re:[0-9a-f]{2}"), json!("0f"), true),
        (json!("re:[0-9a-f]{2}"), json!("0f0"), false),
        (json!("re:a|b"), json!("bc"), false),
        (json!("re:a.b"), json!("a\nb"), true),
        (json!("re:5"), json!(5), false),
        (json!("expires:3600"), json!(in_an_hour), true),
        (json!("expires:86400"), json!(in_an_hour), false),
        (json!("expires:*"), json!("2013-07-18T17:56:22.186Z"), true),
        (json!("expires:*"), json!("2013-07-18T17:56:22.186123Z"), false),
        (json!("expires:*"), json!("2013-07-18T17:56:22.186+00:00"), false),
        (or.clone(), json!("x"), true),
        (or.clone(), json!(null), true),
        (or, json!("y"), false),
        (json!([1, "any"]), json!([1, 2]), false),
    ];
    for (want, got, fits) in all {
        assert_eq!(differs(&want, &got, "it").is_none(), fits, "{want} and {got}");
    }
    let object = json!({"a": 1, "b": {"c": "x"}});
    for (want, fits) in [
        (json!({"a": 1, "b": {"c": "type:str"}}), true),
        (json!({"a": 1}), false),
        (json!({"a": 1, "*": "any"}), true),
        (json!({"a": 1, "b": {"*": "any"}, "d": "any"}), false),
        (json!({"a": 1, "b": {"c": "y"}}), false),
    ] {
        assert_eq!(differs(&want, &object, "it").is_none(), fits, "{want}");
    }
}

#[test]
fn judgements() {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let json_type = header("Content-Type", "Application/JSON; charset=utf-8");
    let mut reply = Reply::new(400, vec![json_type, header("Allow", "POST")]);
    reply.body = br#"{"code": "refused", "detail": "no"}"#.to_vec();
    (reply.sent, reply.seconds) = (5000, 2.0);
    let fits = |want: Value, reply: &Reply| judge(want.as_object().unwrap(), reply).is_none();
    for (want, wanted) in [
        (json!({"status": 400}), true),
        (json!({"status": [200, 400, "closed"]}), true),
        (json!({"status": 200}), false),
        (json!({"status": "400"}), false),
        (json!({"status": "closed"}), false),
        (json!({"json": {"detail": "no"}}), true),
        (json!({"json": {"code": "refused", "detail": "no"}}), true),
        (json!({"json": {"code": "failed", "detail": "no"}}), false),
        (json!({"json": {"code": "refused"}}), false),
        (json!({"json": {}}), false),
        (json!({"body": "re:.*no.*"}), true),
        (json!({"body": "no"}), false),
        (json!({"headers": {"allow": "POST", "etag": null}}), true),
        (json!({"headers": {"allow": null}}), false),
        (json!({"headers": {"etag": "any"}}), false),
        (json!({"within": 3}), true),
        (json!({"within": 1.5}), false),
        (json!({"sent_max": "5k"}), true),
        (json!({"sent_max": "4k"}), false),
        (json!({"either": [{"status": 200}, {"status": 400}]}), true),
        (json!({"either": [{"status": 200}, {"status": 404}]}), false),
        (json!({"statsu": 400}), false),
    ] {
        assert_eq!(fits(want.clone(), &reply), wanted, "{want}");
    }
    let closed = Reply::without(Status::Closed);
    assert!(fits(json!({"status": "closed"}), &closed));
    assert!(!fits(json!({}), &closed) && !fits(json!({"status": "timeout"}), &closed));
    let plain = Reply::new(200, Vec::new());
    assert!(!fits(json!({"json": {}}), &plain), "not application/json");
}

#[test]
fn requests_as_bytes() {
    let text = |request: Result<Request, String>| {
        let made = form::prepare(request.unwrap(), "h:1", "file");
        String::from_utf8([made.head, made.body].concat()).unwrap()
    };
    let chunk: Chunk = from_value(json!({
        "data": "text:hello", "at": 5, "total": "1k", "id": "i", "boundary": "B", "conn": "c",
        "filename": null, "query": "?q"
    }))
    .unwrap();
    assert_eq!(
        text(Request::try_from(chunk)),
        "POST /api/chunked_upload/?q HTTP/1.1\r\nHost: h:1\r\n\
         Content-Range: bytes 5-9/1024\r\nContent-Type: multipart/form-data; boundary=B\r\n\
         Content-Length: 166\r\n\r\n\
         --B\r\nContent-Disposition: form-data; name=\"upload_id\"\r\n\r\ni\r\n\
         --B\r\nContent-Disposition: form-data; name=\"file\"\r\n\
         Content-Type: application/octet-stream\r\n\r\nhello\r\n--B--\r\n"
    );
    let complete: Complete =
        from_value(json!({"id": "a b", "md5": "of:empty", "send": {"te_chunked": 30}})).unwrap();
    assert_eq!(
        text(Request::try_from(complete)),
        "POST /api/chunked_upload_complete/ HTTP/1.1\r\nHost: h:1\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n\
         1e\r\nupload_id=a+b&md5=d41d8cd98f00\r\n14\r\nb204e9800998ecf8427e\r\n0\r\n\r\n"
    );
    let bare: Request =
        from_value(json!({"path": "@chunk-?x", "bare": true, "conn": "c"})).unwrap();
    assert_eq!(text(Ok(bare)), "GET /api/chunked_upload?x HTTP/1.1\r\n\r\n");
}

#[test]
fn unknown_keys_are_refused() {
    assert!(from_value::<case::Step>(json!({"chunk": {"data": "text:x"}, "save": {}})).is_ok());
    assert!(from_value::<case::Step>(json!({"chunk": {"dta": "text:x"}})).is_err());
    assert!(from_value::<case::Step>(json!({"chunk": {"send": {"spilt": 1}}})).is_err());
    assert!(from_value::<case::Step>(json!({"chnuk": {}})).is_err());
}

#[cfg(unix)]
#[test]
fn nobody_listens_at_a_free_port_while_programs_are_started() {
    let start = || {
        for _ in 0..2000 {
            let port = ports::free_ports(1);
            let mut program = Command::new("true").spawn().unwrap();
            let heard = TcpStream::connect(("127.0.0.1", port));
            program.wait().unwrap();
            // Somebody who really listens there by now still does.
            let again = || TcpStream::connect(("127.0.0.1", port));
            assert!(heard.is_err() || again().is_ok(), "{heard:?}");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(start);
        }
    });
}

/// A server that reads until there is a blank line, and then says this once.
fn server_that_says(answer: &'static [u8]) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr();
    std::thread::spawn(move || -> io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let (mut got, mut byte) = (Vec::new(), [0]);
        while !got.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? > 0 {
            got.push(byte[0]);
        }
        stream.write_all(answer)?;
        while answer.ends_with(b"...") && stream.read(&mut byte)? > 0 {}
        Ok(())
    });
    addr
}

#[test]
fn answers_are_read() {
    let ask_for = |answer, wait| {
        let mut conn =
            Conn::open(server_that_says(answer).unwrap(), Duration::from_secs(5)).unwrap();
        conn.push(b"GET / HTTP/1.1\r\n\r\n");
        conn.answer(Some(wait))
    };
    let ask = |answer| ask_for(answer, Duration::from_secs(20));
    let body = |answer| String::from_utf8(ask(answer).unwrap().body).unwrap();
    assert_eq!(body(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc"), "ab");
    assert_eq!(body(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nabc"), "abc");
    let chunked =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    assert_eq!(body(chunked), "abc");
    assert_eq!(body(b"HTTP/1.1 204 No Content\r\n\r\n..."), "");
    assert_eq!(ask(b"").unwrap().status, Status::Closed);
    assert_eq!(ask(b"HTTP/1.1 200 OK\r\nContent-Le").unwrap().status, Status::Closed);
    let unfinished = ask_for(b"HTTP/1.1 200 OK\r\n...", Duration::from_millis(400));
    assert_eq!(unfinished.unwrap().status, Status::Timeout);
    assert!(ask(b"what\r\n\r\n").is_err());
}

#[test]
fn sending_stops_at_an_early_answer() {
    let addr = server_that_says(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\n...").unwrap();
    let mut conn = Conn::open(addr, Duration::from_secs(20)).unwrap();
    conn.push(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n");
    conn.await_continue(Duration::from_secs(10));
    assert!(!conn.continued && conn.over());
    assert_eq!(conn.push(&[0; 1 << 20]), 0);
    assert_eq!(conn.answer(None).unwrap().status, Status::Code(413));
}

#[test]
fn arguments() {
    let args = |line: &str| Args::parse(line.split_whitespace().map(str::to_owned));
    let some = args("abc --nocapture --skip=x --test-threads 2").unwrap();
    assert!(some.wants("1abc2") && !some.wants("ab") && !some.wants("abcx") && some.filters());
    assert_eq!((some.show, some.threads), (true, Some(2)));
    assert!(args("--exact abc").unwrap().wants("abc"));
    assert!(!args("--exact abc").unwrap().wants("abcd"));
    let all = args("").unwrap();
    assert!(all.wants("x") && !all.filters() && !all.list);
    let list = args("--list --format terse --ignored").unwrap();
    assert!(list.list && list.terse && !list.wants("abc"));
    assert!(args("--no-such-thing").is_err() && args("--skip").is_err());
}
