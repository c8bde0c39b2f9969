//! What a case file says, as types. A key that is not known here is an error.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::data::{Data, Number};

pub(crate) const BOUNDARY: &str = "----wire-Qv3kZ0aYx7";

pub(crate) type Headers = Vec<(String, String)>;

#[derive(Debug, Deserialize)]
pub(crate) struct Theme {
    pub(crate) cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    #[serde(default = "default_config")]
    pub(crate) config: String,
    pub(crate) steps: Vec<Value>,
}

fn default_config() -> String {
    "default".to_owned()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Step {
    // the verb
    pub(crate) chunk: Option<Chunk>,
    pub(crate) complete: Option<Complete>,
    pub(crate) request: Option<Request>,
    pub(crate) raw: Option<Data>,
    pub(crate) resume: Option<String>,
    pub(crate) upload: Option<Upload>,
    pub(crate) together: Option<Vec<Value>>,
    pub(crate) each: Option<Vec<Map<String, Value>>>,
    pub(crate) drop: Option<String>,
    pub(crate) server: Option<String>,
    pub(crate) peak: Option<Value>,
    pub(crate) disk: Option<Value>,
    pub(crate) sleep: Option<Number>,
    pub(crate) set: Option<Map<String, Value>>,
    // what goes with some verbs
    pub(crate) expect: Option<Map<String, Value>>,
    pub(crate) enough: Vec<Value>,
    pub(crate) how: Option<String>,
    pub(crate) note: Option<String>,
    pub(crate) save: BTreeMap<String, String>,
    pub(crate) send: Send,
    pub(crate) steps: Vec<Value>,
    pub(crate) tally: BTreeMap<String, usize>,
    pub(crate) timeout: Option<Number>,
    pub(crate) times: Option<usize>,
}

/// How a request goes over the line.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Send {
    pub(crate) split: Option<Number>,
    pub(crate) delay_ms: Option<Number>,
    pub(crate) stop_after: Option<Number>,
    pub(crate) then: Option<String>,
    pub(crate) wait_ms: Option<Number>,
    pub(crate) te_chunked: Option<Number>,
    pub(crate) expect_100: bool,
    pub(crate) wait_100: Option<Number>,
    pub(crate) declare: Option<Number>,
    pub(crate) endless: Option<Data>,
    pub(crate) cap: Option<Number>,
    pub(crate) timeout: Option<Number>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Request {
    #[serde(default = "get")]
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Headers,
    pub(crate) body: Option<Data>,
    pub(crate) multipart: Option<Form>,
    pub(crate) user: Option<String>,
    /// No headers of the runner's own.
    pub(crate) bare: bool,
    pub(crate) send: Send,
    pub(crate) conn: Option<String>,
}

fn get() -> String {
    "GET".to_owned()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Form {
    #[serde(flatten)]
    pub(crate) shape: Shape,
    pub(crate) parts: Vec<Part>,
}

/// What of a form is not in its parts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Shape {
    pub(crate) boundary: Option<String>,
    pub(crate) preamble: Option<Data>,
    pub(crate) first_mark: Option<Data>,
    #[serde(rename = "final")]
    pub(crate) last: Final,
    pub(crate) epilogue: Option<Data>,
    pub(crate) eol: Option<String>,
    /// The usual one, if the case says nothing; null is none at all.
    #[serde(deserialize_with = "said")]
    pub(crate) content_type: Said,
}

/// The closing mark: the usual one or none, or else these bytes.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Final {
    Usual(bool),
    Own(Data),
}

impl Default for Final {
    fn default() -> Self {
        Self::Usual(true)
    }
}

/// A text with a default; null says that there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Said {
    #[default]
    Usual,
    Text(Option<String>),
}

impl Said {
    pub(crate) fn or(self, usual: impl Into<String>) -> Option<String> {
        match self {
            Self::Usual => Some(usual.into()),
            Self::Text(text) => text,
        }
    }
}

fn said<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Said, D::Error> {
    Option::deserialize(from).map(Said::Text)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Part {
    pub(crate) name: Option<String>,
    pub(crate) filename: Option<String>,
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) disposition: Option<String>,
    pub(crate) head: Option<Data>,
    pub(crate) headers: Headers,
    pub(crate) data: Data,
    pub(crate) times: Option<usize>,
}

impl Part {
    fn field(name: &str, text: &str) -> Self {
        Self { name: Some(name.to_owned()), data: Data::text(text), ..Self::default() }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Chunk {
    pub(crate) data: Data,
    pub(crate) id: Option<String>,
    pub(crate) id_last: bool,
    pub(crate) at: Option<Number>,
    pub(crate) total: Option<Number>,
    pub(crate) range: Option<OneOrMore>,
    #[serde(deserialize_with = "said")]
    pub(crate) filename: Said,
    pub(crate) field: Option<String>,
    pub(crate) fields: Headers,
    pub(crate) fields_last: Headers,
    #[serde(rename = "type", deserialize_with = "said")]
    pub(crate) kind: Said,
    pub(crate) disposition: Option<String>,
    pub(crate) head: Option<Data>,
    pub(crate) part_headers: Headers,
    #[serde(flatten)]
    pub(crate) shape: Shape,
    pub(crate) headers: Headers,
    pub(crate) query: String,
    pub(crate) user: Option<String>,
    pub(crate) send: Send,
    pub(crate) conn: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl TryFrom<Chunk> for Request {
    type Error = String;

    fn try_from(chunk: Chunk) -> Result<Self, String> {
        let mut headers = chunk.headers;
        if let Some(at) = chunk.at {
            let total = chunk.total.ok_or("`at` without `total`")?.size();
            let (first, size) = (at.size(), chunk.data.0.len());
            let last = (first + size) as i64 - 1;
            headers.push(("Content-Range".to_owned(), format!("bytes {first}-{last}/{total}")));
        }
        let ranges = match chunk.range {
            None => Vec::new(),
            Some(OneOrMore::One(range)) => vec![range],
            Some(OneOrMore::More(ranges)) => ranges,
        };
        headers.extend(ranges.into_iter().map(|range| ("Content-Range".to_owned(), range)));

        let fields = |list: &Headers| -> Vec<Part> {
            list.iter().map(|(name, text)| Part::field(name, text)).collect()
        };
        let mut parts = fields(&chunk.fields);
        parts.push(Part {
            name: chunk.field,
            filename: chunk.filename.or("blob.bin"),
            kind: chunk.kind.or("application/octet-stream"),
            disposition: chunk.disposition,
            head: chunk.head,
            headers: chunk.part_headers,
            data: chunk.data,
            times: None,
        });
        if let Some(id) = &chunk.id {
            let place = parts.len() - usize::from(!chunk.id_last);
            parts.insert(place, Part::field("upload_id", id));
        }
        parts.extend(fields(&chunk.fields_last));
        Ok(Self {
            method: "POST".to_owned(),
            path: format!("@chunk{}", chunk.query),
            headers,
            multipart: Some(Form { shape: chunk.shape, parts }),
            user: chunk.user,
            send: chunk.send,
            conn: chunk.conn,
            ..Self::default()
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Complete {
    pub(crate) id: Option<String>,
    pub(crate) md5: Option<String>,
    pub(crate) fields: Vec<(String, Value)>,
    #[serde(rename = "as")]
    pub(crate) encoding: Encoding,
    pub(crate) headers: Headers,
    pub(crate) query: String,
    pub(crate) user: Option<String>,
    pub(crate) send: Send,
    pub(crate) conn: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    #[default]
    Urlencoded,
    Multipart,
    Json,
}

impl TryFrom<Complete> for Request {
    type Error = String;

    fn try_from(complete: Complete) -> Result<Self, String> {
        let mut pairs = complete.fields;
        if let Some(id) = complete.id {
            pairs.push(("upload_id".to_owned(), id.into()));
        }
        if let Some(md5) = complete.md5 {
            let sum = match md5.strip_prefix("of:") {
                Some(spec) => super::data::md5_hex(&Data::parse(spec)?.0),
                None => md5,
            };
            pairs.push(("md5".to_owned(), sum.into()));
        }
        let mut request = Self {
            method: "POST".to_owned(),
            path: format!("@complete{}", complete.query),
            headers: complete.headers,
            user: complete.user,
            send: complete.send,
            conn: complete.conn,
            ..Self::default()
        };
        let texts = pairs.iter().map(|(name, value)| (name, plain(value)));
        let (kind, body) = match complete.encoding {
            Encoding::Multipart => {
                let parts = texts.map(|(name, text)| Part::field(name, &text)).collect();
                request.multipart = Some(Form { parts, ..Form::default() });
                return Ok(request);
            }
            Encoding::Urlencoded => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                ("x-www-form-urlencoded", form.extend_pairs(texts).finish())
            }
            Encoding::Json => ("json", Value::Object(pairs.into_iter().collect()).to_string()),
        };
        request.headers.push(("Content-Type".to_owned(), format!("application/{kind}")));
        request.body = Some(Data::text(&body));
        Ok(request)
    }
}

/// A whole file in chunks.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Upload {
    pub(crate) data: Data,
    pub(crate) from: Option<Number>,
    pub(crate) id: Option<String>,
    pub(crate) id_last: bool,
    pub(crate) sizes: Vec<Number>,
    pub(crate) size: Option<Number>,
    #[serde(deserialize_with = "said")]
    pub(crate) filename: Said,
    pub(crate) user: Option<String>,
    pub(crate) send: Send,
    pub(crate) save: Option<String>,
}

/// A JSON value as a name keeps it: strings without quotes.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
