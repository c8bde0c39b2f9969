//! Whether an answer is what a case asks for.

use regex::Regex;
use serde_json::{Map, Value};

use super::data::Number;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Status {
    Code(u16),
    /// The connection ended without an answer.
    Closed,
    /// No answer in time.
    Timeout,
    /// An endless body was taken to its cap without an answer.
    Silent,
    /// There was no connection.
    Refused,
}

impl Status {
    pub(crate) fn text(self) -> String {
        match self {
            Self::Code(code) => code.to_string(),
            Self::Closed => "closed".to_owned(),
            Self::Timeout => "timeout".to_owned(),
            Self::Silent => "silent".to_owned(),
            Self::Refused => "refused".to_owned(),
        }
    }

    pub(crate) fn is(self, want: &Value) -> bool {
        match self {
            Self::Code(code) => *want == code,
            word => *want == word.text(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: Status,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Bytes of the request's body that were taken before the answer.
    pub(crate) sent: usize,
    pub(crate) seconds: f64,
}

impl Reply {
    pub(crate) fn new(code: u16, headers: Vec<(String, String)>) -> Self {
        let status = Status::Code(code);
        Self { status, headers, body: Vec::new(), sent: 0, seconds: 0.0 }
    }

    pub(crate) fn without(status: Status) -> Self {
        Self { status, ..Self::new(0, Vec::new()) }
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let all = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        all.map(|(_, value)| value.clone()).reduce(|all, next| format!("{all}, {next}"))
    }

    pub(crate) fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.body).map_err(|_| format!("body is not JSON: {self}"))
    }

    /// A value of the JSON answer.
    pub(crate) fn value(&self, key: &str) -> Result<Value, String> {
        let value = self.json()?.get(key).cloned();
        value.ok_or_else(|| format!("no {key:?} in the answer: {self}"))
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.status.text())?;
        if let Status::Code(_) = self.status {
            let text = String::from_utf8_lossy(&self.body);
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let kind = self.header("content-type");
            write!(f, " {} {text:.300}", kind.as_deref().unwrap_or("-"))?;
        }
        Ok(())
    }
}

/// Why the reply is not what `want` asks for, if it is not.
pub(crate) fn judge(want: &Map<String, Value>, reply: &Reply) -> Option<String> {
    const KEYS: &[&str] = &["either", "status", "within", "sent_max", "json", "body", "headers"];
    if let Some(key) = want.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Some(format!("the case is broken: nobody knows how to expect {key:?}"));
    }
    if let Some(choices) = want.get("either").and_then(Value::as_array) {
        return nor(choices.iter().map(|choice| judge(choice.as_object()?, reply)));
    }
    let number = |key| Number::try_from(want.get(key)?.clone()).ok();
    match want.get("status") {
        Some(Value::Array(list)) if list.iter().any(|one| reply.status.is(one)) => {}
        Some(one) if reply.status.is(one) => {}
        Some(other) => return Some(format!("answer is {reply}, wanted status {other}")),
        None if matches!(reply.status, Status::Code(_)) => {}
        None => return Some(format!("answer is {reply}")),
    }
    if let Some(limit) = number("within").filter(|limit| reply.seconds > limit.real()) {
        return Some(format!("answer took {:.2} s, wanted {}", reply.seconds, limit.real()));
    }
    if let Some(limit) = number("sent_max").filter(|limit| reply.sent > limit.size()) {
        let (sent, limit) = (reply.sent, limit.size());
        return Some(format!("{sent} body bytes were taken before the answer, wanted {limit}"));
    }
    if !matches!(reply.status, Status::Code(_)) {
        return None;
    }
    if let Some(json) = want.get("json") {
        let kind = reply.header("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Some(format!("content type is {kind:?}, wanted application/json: {reply}"));
        }
        match reply.json() {
            Err(why) => return Some(why),
            Ok(got) => {
                if let Some(why) = differs(json, &got, "body") {
                    return Some(format!("{}: {why}", reply.status.text()));
                }
            }
        }
    }
    if let Some(body) = want.get("body") {
        let got = Value::from(String::from_utf8_lossy(&reply.body));
        if let Some(why) = differs(body, &got, "body") {
            return Some(format!("{}: {why}", reply.status.text()));
        }
    }
    let headers = want.get("headers").and_then(Value::as_object);
    headers.into_iter().flatten().find_map(|(name, matcher)| match (matcher, reply.header(name)) {
        (Value::Null, None) => None,
        (Value::Null, Some(got)) => Some(format!("header {name} is {got:?}, wanted none")),
        (_, None) => Some(format!("no header {name}")),
        (_, Some(got)) => differs(matcher, &Value::from(got), &format!("header {name}")),
    })
}

/// None if one of the choices fits, or else why none does.
fn nor(whys: impl Iterator<Item = Option<String>>) -> Option<String> {
    whys.collect::<Option<Vec<_>>>().map(|whys| whys.join("; nor "))
}

/// Why `got` is not what `want` describes, if it is not.
pub(crate) fn differs(want: &Value, got: &Value, place: &str) -> Option<String> {
    match want {
        Value::Object(map) => match (map.get("or"), got) {
            (Some(Value::Array(choices)), _) if map.len() == 1 => {
                nor(choices.iter().map(|choice| differs(choice, got, place)))
            }
            (_, Value::Object(fields)) => fields_differ(map, fields, place),
            _ => Some(format!("{place} is {got}, wanted an object")),
        },
        Value::String(text) if text == "any" => None,
        Value::String(text) => match text.split_once(':') {
            Some((kind @ ("type" | "re" | "int" | "expires"), rest)) => {
                let why = match kind {
                    "type" => is_not_type(rest, got),
                    "re" => is_not_like(rest, got),
                    "int" => (rest.parse::<i64>().ok() != got.as_i64() || !got.is_i64())
                        .then(|| format!("wanted {rest}")),
                    _ => does_not_expire(rest, got),
                };
                why.map(|why| format!("{place} is {got}, {why}"))
            }
            _ => (want != got).then(|| format!("{place} is {got}, wanted {want}")),
        },
        _ => (want != got).then(|| format!("{place} is {got}, wanted {want}")),
    }
}

fn fields_differ(
    want: &Map<String, Value>,
    got: &Map<String, Value>,
    place: &str,
) -> Option<String> {
    for (key, matcher) in want.iter().filter(|(key, _)| *key != "*") {
        let why = match got.get(key) {
            None => Some(format!("{place} has no {key:?}: {}", Value::from(got.clone()))),
            Some(value) => differs(matcher, value, &format!("{place}.{key}")),
        };
        if why.is_some() {
            return why;
        }
    }
    // An error may name itself by a word that never changes, which the cases do not know.
    let is_code = |key: &str| place == "body" && key == "code" && got.contains_key("detail");
    let more = got.keys().filter(|key| !want.contains_key(*key) && !is_code(key));
    let more: Vec<_> = more.collect();
    (!more.is_empty() && !want.contains_key("*"))
        .then(|| format!("{place} has more than wanted: {more:?}"))
}

fn is_not_type(name: &str, got: &Value) -> Option<String> {
    let fits = match name {
        "int" => got.is_i64() || got.is_u64(),
        "str" => got.is_string(),
        "bool" => got.is_boolean(),
        "list" => got.is_array(),
        "object" => got.is_object(),
        "null" => got.is_null(),
        _ => return Some(format!("and the case is broken: no such type: {name:?}")),
    };
    (!fits).then(|| format!("wanted {name}"))
}

fn is_not_like(pattern: &str, got: &Value) -> Option<String> {
    match Regex::new(&format!(r"(?s)\A(?:{pattern})\z")) {
        Err(error) => Some(format!("and the case is broken: {error}")),
        Ok(regex) if got.as_str().is_some_and(|text| regex.is_match(text)) => None,
        Ok(_) => Some(format!("wanted /{pattern}/")),
    }
}

/// A time like `2013-07-18T17:56:22.186Z`, a minute around `ahead` seconds from now.
fn does_not_expire(ahead: &str, got: &Value) -> Option<String> {
    let text = got.as_str().unwrap_or_default();
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let time = text.parse::<jiff::Timestamp>();
    let known = ["0000-00-00T00:00:00Z", "0000-00-00T00:00:00.000Z"].contains(&&*shape);
    let (true, Ok(time)) = (known, time) else {
        return Some("not YYYY-MM-DDTHH:MM:SS[.mmm]Z".to_owned());
    };
    let seconds = time.duration_since(jiff::Timestamp::now()).as_secs_f64();
    let fits =
        ahead == "*" || ahead.parse::<f64>().is_ok_and(|want| (seconds - want).abs() <= 60.0);
    (!fits).then(|| format!("{seconds:.0} s ahead, wanted about {ahead}"))
}
