//! Numbers, bytes and names as the cases write them.

use std::collections::HashMap;
use std::ops::Range;

use md5::{Digest, Md5};
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;

/// Saved values, by name.
pub(crate) type Names = HashMap<String, String>;

/// `10`, `0.5`, `"4k"`, `"4m"`, `"1g"` (binary multiples).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(try_from = "Value")]
pub(crate) enum Number {
    Whole(i64),
    Real(f64),
}

impl Number {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim().to_ascii_lowercase();
        let (digits, scale) = match text.as_bytes().last() {
            Some(b'k') => (&text[..text.len() - 1], 1 << 10),
            Some(b'm') => (&text[..text.len() - 1], 1 << 20),
            Some(b'g') => (&text[..text.len() - 1], 1 << 30),
            _ => (&text[..], 1),
        };
        match (digits.parse::<i64>(), digits.parse()) {
            (Ok(n), _) => Ok(Self::Whole(n * scale)),
            (_, Ok(x)) if scale == 1 => Ok(Self::Real(x)),
            _ => Err(format!("no such number: {text:?}")),
        }
    }

    pub(crate) fn size(self) -> usize {
        match self {
            Self::Whole(n) => usize::try_from(n).unwrap_or(0),
            Self::Real(x) => x as usize,
        }
    }

    pub(crate) fn real(self) -> f64 {
        match self {
            Self::Whole(n) => n as f64,
            Self::Real(x) => x,
        }
    }
}

impl TryFrom<Value> for Number {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let number = match &value {
            Value::Number(n) => n.as_i64().map(Self::Whole).or(n.as_f64().map(Self::Real)),
            Value::String(text) => Some(Self::parse(text)?),
            _ => None,
        };
        number.ok_or_else(|| format!("no such number: {value}"))
    }
}

/// Bytes from a spec: `text:..`, `hex:..`, `rand:SEED:LEN`, `fill:HEX:LEN` (the bytes over and
/// over), `empty`; all but text with an optional slice `@FROM:TO` or `@FROM:+LEN`. A list is joined.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "Value")]
pub(crate) struct Data(pub(crate) Vec<u8>);

impl Data {
    pub(crate) fn parse(spec: &str) -> Result<Self, String> {
        let (kind, rest) = spec.split_once(':').unwrap_or((spec, ""));
        if kind == "text" {
            return Ok(Self::text(rest));
        }
        let (whole, cut) = spec.split_once('@').unwrap_or((spec, ":"));
        let pieces: Vec<_> = whole.split(':').collect();
        Ok(Self(match pieces[..] {
            ["empty"] => range(cut, 0)?.map(|_| 0).collect(),
            ["hex", digits] => {
                let bytes = hex(digits)?;
                bytes[range(cut, bytes.len())?].to_vec()
            }
            ["fill", digits, len] if !digits.is_empty() => {
                let unit = hex(digits)?;
                range(cut, Number::parse(len)?.size())?.map(|i| unit[i % unit.len()]).collect()
            }
            ["rand", seed, len] => {
                let seed = seed.parse().map_err(|_| format!("no such seed: {seed:?}"))?;
                random(seed, range(cut, Number::parse(len)?.size())?)
            }
            _ => return Err(format!("no such data: {spec:?}")),
        }))
    }

    pub(crate) fn text(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl TryFrom<Value> for Data {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(spec) => Self::parse(&spec),
            Value::Array(specs) => {
                let parts: Result<Vec<_>, _> = specs.into_iter().map(Self::try_from).collect();
                Ok(Self(parts?.into_iter().flat_map(|part| part.0).collect()))
            }
            _ => Err(format!("no such data: {value}")),
        }
    }
}

/// A slice of something that is `len` long.
fn range(cut: &str, len: usize) -> Result<Range<usize>, String> {
    let size = |text: &str, default| match text {
        "" => Ok(default),
        _ => Number::parse(text).map(Number::size),
    };
    let (from, to) = cut.split_once(':').ok_or("a slice without a colon")?;
    let from = size(from, 0)?;
    let to = match to.strip_prefix('+') {
        Some(count) => from + size(count, 0)?,
        None => size(to, len)?,
    };
    Ok(from.min(to).min(len)..to.min(len))
}

fn hex(digits: &str) -> Result<Vec<u8>, String> {
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| {
            let text = str::from_utf8(pair).unwrap_or_default();
            u8::from_str_radix(text, 16)
                .ok()
                .filter(|_| pair.len() == 2)
                .ok_or_else(|| format!("no such hex: {digits:?}"))
        })
        .collect()
}

/// Bytes `range` of the stream that belongs to `seed` (splitmix64 over a counter).
fn random(seed: u64, range: Range<usize>) -> Vec<u8> {
    let block = |index: usize| {
        let mut z = ((seed << 40) ^ index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    };
    let first = range.start / 8;
    let mut out = Vec::with_capacity(range.len() + 16);
    for index in first..range.end.div_ceil(8) {
        out.extend_from_slice(&block(index));
    }
    out.drain(..range.start - first * 8);
    out.truncate(range.len());
    out
}

pub(crate) fn md5_hex(bytes: &[u8]) -> String {
    lower_hex(&Md5::digest(bytes))
}

fn lower_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A JSON value with `${name}`, and then `${md5 SPEC}`, `${MD5 SPEC}`, `${sha256 SPEC}`,
/// `${len SPEC}` and `${text SPEC}` replaced in every string.
pub(crate) fn fill(value: &Value, names: &Names) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => {
            let text = replace(text, |inside| {
                if inside.is_empty() || !inside.chars().all(|c| c.is_alphanumeric() || c == '_') {
                    return Ok(None);
                }
                let known = names.get(inside).cloned();
                known.map(Some).ok_or_else(|| format!("unknown name {inside:?}"))
            })?;
            Value::String(replace(&text, computed)?)
        }
        Value::Array(list) => list.iter().map(|v| fill(v, names)).collect::<Result<_, _>>()?,
        Value::Object(map) => map
            .iter()
            .map(|(k, v)| Ok((k.clone(), fill(v, names)?)))
            .collect::<Result<_, String>>()?,
        other => other.clone(),
    })
}

fn computed(inside: &str) -> Result<Option<String>, String> {
    let Some((word, spec)) = inside.split_once(' ') else {
        return Ok(None);
    };
    let make: fn(&[u8]) -> String = match word {
        "md5" => md5_hex,
        "MD5" => |bytes| md5_hex(bytes).to_uppercase(),
        "sha256" => |bytes| lower_hex(&Sha256::digest(bytes)),
        "len" => |bytes| bytes.len().to_string(),
        "text" => |bytes| bytes.iter().map(|&byte| char::from(byte)).collect(),
        _ => return Ok(None),
    };
    Ok(Some(make(&Data::parse(spec)?.0)))
}

/// Calls `with` for what is inside of each `${..}`; `None` leaves it as it is.
fn replace(
    text: &str,
    with: impl Fn(&str) -> Result<Option<String>, String>,
) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(start) = rest.find("${") {
        let (before, tail) = rest.split_at(start + 2);
        let found = match tail.split_once('}') {
            Some((inside, after)) => with(inside)?.map(|made| (made, after)),
            None => None,
        };
        if let Some((made, after)) = found {
            out += &before[..start];
            out += &made;
            rest = after;
        } else {
            out += before;
            rest = tail;
        }
    }
    Ok(out + rest)
}
