//! Plays exchanges that are written down as text against a server.
//!
//! `>` is a request, `<` its answer, `|` is between headers, `¶` before the body. `ID` is the last
//! `Location`. `=` goes on with a body, and `x` ends the connection in its middle. In an answer `…`
//! is anything, `-` says that there is no such header, and a body is JSON whose members are
//! compared. All other lines are titles.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use serde_json::Value;

use crate::client::{Reply, read_end, read_reply};
use crate::server::Server;

/// A text and what it leaves out.
pub(crate) struct Script<'a> {
    pub(crate) text: &'a str,
    /// What upper case words stand for.
    pub(crate) words: &'a [(&'a str, &'a str)],
    /// What the path of an upload begins with.
    pub(crate) uploads: &'a str,
    /// What each message has, unless it says something else. An answer to `OPTIONS` has none.
    pub(crate) version: Option<(&'a str, &'a str)>,
}

impl Script<'_> {
    /// Gives the number of answers.
    pub(crate) fn play(&self, server: &Server) -> usize {
        let (location, held) = (String::new(), String::new());
        let mut stage = Stage { script: self, server, under_way: None, held, location };
        let text = self.text.replace("\n      |", " |").replace("\n      ¶", " ¶");
        let (mut answers, mut last) = (0, "");
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            match kind {
                ">" => {
                    last = line;
                    stage.ask(rest, lines.peek().is_some_and(|next| next.starts_with("< 104")));
                }
                "=" => stage.go_on(rest),
                "x" => stage.cut(),
                "<" => {
                    stage.check(rest, &format!("{last}\n{line}"));
                    answers += 1;
                }
                _ => {}
            }
        }
        answers
    }

    fn body(&self, text: &str) -> String {
        self.said(&text.replace(r"\r\n", "\r\n"))
    }

    fn said(&self, text: &str) -> String {
        let say = |text: String, (word, meaning): &(&str, &str)| text.replace(word, meaning);
        self.words.iter().fold(text.to_owned(), say)
    }
}

struct Stage<'a> {
    script: &'a Script<'a>,
    server: &'a Server,
    /// The last request's connection and method.
    under_way: Option<(TcpStream, String)>,
    /// A body that is sent when the server has announced the upload: it announces none whose final
    /// answer has begun.
    held: String,
    location: String,
}

impl Stage<'_> {
    fn ask(&mut self, rest: &str, holds: bool) {
        let (head, body) = rest.split_once(" ¶ ").unwrap_or((rest, ""));
        let (first, headers) = parse(head);
        let (method, path) = first.split_once(' ').unwrap();
        let body = self.script.body(body);
        let has = |name: &str| headers.iter().any(|(other, _)| *other == name);
        let path = path.replace("ID", &self.location);
        let mut message = format!("{method} {path} HTTP/1.1\r\nHost: here\r\n");
        if let Some((name, value)) = self.script.version.filter(|(name, _)| !has(name)) {
            message += &format!("{name}: {value}\r\n");
        }
        if !has("Content-Length") && !has("Transfer-Encoding") {
            message += &format!("Content-Length: {}\r\n", body.len());
        }
        for (name, value) in headers.iter().filter(|(_, value)| *value != "-") {
            message += &format!("{name}: {}\r\n", self.script.said(value));
        }
        let mut stream = self.server.connect();
        let (now, held) = if holds { ("", body.as_str()) } else { (body.as_str(), "") };
        stream.write_all(format!("{message}\r\n{now}").as_bytes()).unwrap();
        held.clone_into(&mut self.held);
        self.under_way = Some((stream, method.to_owned()));
    }

    fn go_on(&mut self, rest: &str) {
        let (stream, _) = self.under_way.as_mut().unwrap();
        stream.write_all(self.script.body(rest).as_bytes()).unwrap();
    }

    fn cut(&mut self) {
        let (mut stream, _) = self.under_way.take().unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_end(&mut stream);
    }

    fn check(&mut self, rest: &str, about: &str) {
        let (head, body) = rest.split_once(" ¶ ").unwrap_or((rest, ""));
        let (status, headers) = parse(head);
        let (stream, method) = self.under_way.as_mut().unwrap();
        let mut reply = read_reply(stream, method).unwrap();
        // It may tell how far it is at any time.
        while reply.status == 104 && reply.header("location").is_none() {
            reply = read_reply(stream, method).unwrap();
        }
        stream.write_all(std::mem::take(&mut self.held).as_bytes()).unwrap();
        let about = format!("{about}\n{reply:?}");
        assert_eq!(reply.status.to_string(), status, "{about}");
        let before = self.location.clone();
        if let Some(there) = reply.header("location") {
            let id = there.strip_prefix(self.script.uploads).unwrap();
            assert!(id.len() == 32 && id.bytes().all(|it| it.is_ascii_hexdigit()), "{about}");
            there.clone_into(&mut self.location);
        }
        let version = self.script.version.filter(|_| method != "OPTIONS");
        let version = version.filter(|(name, _)| headers.iter().all(|(other, _)| other != name));
        for (name, expected) in headers.iter().copied().chain(version) {
            let expected = if expected == "ID" { &before } else { expected };
            check_header(&reply, name, expected, &about);
        }
        if !body.is_empty() {
            let expected = serde_json::from_str(&self.script.said(body)).unwrap();
            check_body(&reply.json(), &expected, &about);
        }
    }
}

fn parse(head: &str) -> (&str, Vec<(&str, &str)>) {
    let mut words = head.split(" | ");
    let first = words.next().unwrap();
    (first, words.map(|word| word.split_once(": ").unwrap()).collect())
}

fn check_header(reply: &Reply, name: &str, expected: &str, about: &str) {
    let value = reply.header(name);
    match (expected, expected.strip_prefix('≤'), expected.strip_suffix('…')) {
        ("-", ..) => assert_eq!(value, None, "{name}: {about}"),
        (_, Some(limit), _) => {
            let [value, limit] = [value.unwrap(), limit].map(|it| it.parse::<u64>().unwrap());
            assert!(value <= limit, "{name}: {about}");
        }
        (_, _, Some(begin)) => {
            let fits = |value: &str| !value.is_empty() && value.starts_with(begin);
            assert!(value.is_some_and(fits), "{name}: {about}");
        }
        _ => assert_eq!(value, Some(expected), "{name}: {about}"),
    }
}

fn check_body(value: &Value, expected: &Value, about: &str) {
    // Beside what the protocol asks for, a refusal has a code.
    let members = |value: &Value| {
        let members = value.as_object().unwrap().keys().filter(|member| *member != "code");
        members.cloned().collect::<Vec<_>>()
    };
    assert_eq!(members(value), members(expected), "{about}");
    for (name, expected) in expected.as_object().unwrap() {
        let is_there = expected == "…" && value[name].is_string();
        assert!(is_there || value[name] == *expected, "{name}: {about}");
    }
}
