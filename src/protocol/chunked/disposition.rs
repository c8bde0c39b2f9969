//! `Content-Disposition`, of a form's part and of a request, and the parameter syntax it shares
//! with `Content-Type`.

use std::borrow::Cow;

use memchr::{memchr, memchr2};
use percent_encoding::percent_decode;

/// What a `Content-Disposition` value says; the names are as the client meant them, not yet safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disposition {
    /// The type, in lower case: `form-data`, `attachment`.
    pub(crate) kind: String,
    /// The form field's name.
    pub(crate) name: Option<String>,
    /// The file's name, perhaps with a path, perhaps empty.
    pub(crate) filename: Option<String>,
}

impl Disposition {
    /// Reads the header of a form's part; `None` is a malformed one.
    ///
    /// Browsers write a quote as `%22` and nothing else in percents (but line breaks), so only
    /// that is decoded: `100%25.txt` may well be the name.
    pub(crate) fn of_part(value: &[u8]) -> Option<Self> {
        Self::parse(value, |quoted| String::from_utf8_lossy(quoted).replace("%22", "\""))
    }

    /// Reads the header of a request whose body is the chunk itself; `None` is a malformed one.
    ///
    /// jQuery-File-Upload sends `encodeURI(name)`, so a quoted name is percent-decoded if that
    /// gives UTF-8, and kept if not.
    pub(crate) fn of_request(value: &[u8]) -> Option<Self> {
        Self::parse(value, |quoted| match percent_decode(quoted).decode_utf8() {
            Ok(decoded) => decoded.into_owned(),
            Err(_) => String::from_utf8_lossy(quoted).into_owned(),
        })
    }

    fn parse(value: &[u8], decode: fn(&[u8]) -> String) -> Option<Self> {
        let (kind, params) = Params::after(value);
        if !is_token(kind) {
            return None;
        }
        let (mut name, mut plain, mut extended) = (None, None, None);
        for param in params {
            let Param { key, value, quoted } = param?;
            let text = || {
                if quoted { decode(&value) } else { String::from_utf8_lossy(&value).into_owned() }
            };
            if key.eq_ignore_ascii_case(b"name") {
                set_once(&mut name, text())?;
            } else if key.eq_ignore_ascii_case(b"filename") {
                set_once(&mut plain, text())?;
            } else if key.eq_ignore_ascii_case(b"filename*") {
                set_once(&mut extended, decode_extended(&value))?;
            }
        }
        let filename = match (extended, plain) {
            (Some(Some(extended)), _) => Some(extended),
            (_, Some(plain)) => Some(plain),
            // Without a file name the part would pass for a text field.
            (Some(None), None) => return None,
            (None, None) => None,
        };
        let kind = String::from_utf8_lossy(kind).to_ascii_lowercase();
        Some(Self { kind, name, filename })
    }
}

fn set_once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

// RFC 8187, 3.2: `charset'language'percent-encoded`.
fn decode_extended(value: &[u8]) -> Option<String> {
    let (charset, rest) = split_once(value, b'\'')?;
    let (_language, encoded) = split_once(rest, b'\'')?;
    if !is_percent_encoded(encoded) {
        return None;
    }
    let bytes: Cow<'_, [u8]> = percent_decode(encoded).into();
    if charset.eq_ignore_ascii_case(b"utf-8") {
        return String::from_utf8(bytes.into_owned()).ok();
    }
    if charset.eq_ignore_ascii_case(b"iso-8859-1") {
        return Some(bytes.iter().copied().map(char::from).collect());
    }
    None
}

fn is_percent_encoded(value: &[u8]) -> bool {
    let mut rest = value;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                after
            }
            (b'%' | b'"' | 0x80.., _) => return false,
            _ => after,
        };
    }
    true
}

/// One `key=value` of a header.
#[derive(Debug)]
pub(super) struct Param<'a> {
    pub(super) key: &'a [u8],
    /// Without its quotes and escapes.
    pub(super) value: Cow<'a, [u8]>,
    pub(super) quoted: bool,
}

/// The parameters of a header; an item of `None` is a malformed one, and the last.
#[derive(Debug)]
pub(super) struct Params<'a> {
    rest: &'a [u8],
}

impl<'a> Params<'a> {
    /// Splits a header value into what is before its first `;` and the parameters.
    pub(super) fn after(value: &'a [u8]) -> (&'a [u8], Self) {
        let end = memchr(b';', value).unwrap_or(value.len());
        let (first, rest) = value.split_at(end);
        (first.trim_ascii(), Self { rest })
    }

    fn read(&mut self) -> Option<Param<'a>> {
        let (key, rest) = split_once(self.rest, b'=')?;
        let key = key.trim_ascii();
        if !is_token(key) {
            return None;
        }
        let rest = rest.trim_ascii_start();
        let (value, quoted, rest) = match rest.strip_prefix(b"\"") {
            Some(rest) => {
                let (value, rest) = unquote(rest)?;
                (value, true, rest.trim_ascii_start())
            }
            None => {
                let end = memchr(b';', rest).unwrap_or(rest.len());
                let (value, rest) = rest.split_at(end);
                (Cow::Borrowed(value.trim_ascii()), false, rest)
            }
        };
        let is_whole = rest.is_empty() || rest.starts_with(b";");
        let has_stray_quote = !quoted && memchr(b'"', &value).is_some();
        if !is_whole || has_stray_quote {
            return None;
        }
        self.rest = rest;
        Some(Param { key, value, quoted })
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Option<Param<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        // Empty parameters (`a=b;; c=d;`) are common and harmless.
        let blank = |byte: &&u8| matches!(**byte, b' ' | b'\t' | b';');
        let skip = self.rest.iter().take_while(blank).count();
        self.rest = &self.rest[skip..];
        if self.rest.is_empty() {
            return None;
        }
        let param = self.read();
        if param.is_none() {
            self.rest = &[];
        }
        Some(param)
    }
}

// Only `\"` and `\\` are escapes: browsers once sent `C:\fakepath\photo.jpg` as it is.
fn unquote(value: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let mut unescaped = Vec::new();
    let mut from = 0;
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', &value[at..])?;
        match &value[at..] {
            [b'\\', b'"' | b'\\', ..] => {
                unescaped.extend_from_slice(&value[from..at]);
                from = at + 1;
                at += 2;
            }
            [b'\\', ..] => at += 1,
            _ => break,
        }
    }
    let last = &value[from..at];
    let rest = &value[at + 1..];
    if from == 0 {
        return Some((Cow::Borrowed(last), rest));
    }
    unescaped.extend_from_slice(last);
    Some((Cow::Owned(unescaped), rest))
}

/// Whether `value` is a token (RFC 9110, 5.6.2).
pub(super) fn is_token(value: &[u8]) -> bool {
    let is_tchar =
        |byte: &u8| byte.is_ascii_alphanumeric() || memchr(*byte, b"!#$%&'*+-.^_`|~").is_some();
    !value.is_empty() && value.iter().all(is_tchar)
}

fn split_once(value: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr(at, value)?;
    Some((&value[..at], &value[at + 1..]))
}

#[cfg(test)]
mod tests {
    use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_part() {
        for (value, name, filename) in [
            ("form-data", None, None),
            ("form-data;", None, None),
            ("form-data; name=\"a\"", Some("a"), None),
            ("form-data; name=\"\"", Some(""), None),
            ("form-data;name=a;filename=b", Some("a"), Some("b")),
            ("form-data ; name = a ; filename = \"b\" ;; ", Some("a"), Some("b")),
            ("Form-Data; NAME=\"a\"; FileName=\"b\"", Some("a"), Some("b")),
            ("form-data; filename=\"b\"; name=\"a\"", Some("a"), Some("b")),
            ("form-data; name=a; size=5; filename=b; x=\"y;z\"", Some("a"), Some("b")),
            ("form-data; name=\"a\"; filename=\"\"", Some("a"), Some("")),
            ("form-data; name=\"a\"; filename=", Some("a"), Some("")),
            ("form-data; name=\"ä;=,ö\"", Some("ä;=,ö"), None),
            ("form-data; name=a; filename=my photo.jpg", Some("a"), Some("my photo.jpg")),
            ("attachment; filename=\"b\"", None, Some("b")),
        ] {
            let disposition = Disposition::of_part(value.as_bytes());
            let disposition = disposition.unwrap_or_else(|| panic!("{value}"));
            assert_eq!(disposition.name.as_deref(), name, "{value}");
            assert_eq!(disposition.filename.as_deref(), filename, "{value}");
        }
    }

    #[test]
    fn the_kind_is_in_lower_case() {
        let kind = |value: &[u8]| Disposition::of_part(value).map(|it| it.kind);
        assert_eq!(kind(b" Form-DATA ; name=a").as_deref(), Some("form-data"));
        assert_eq!(kind(b"attachment").as_deref(), Some("attachment"));
    }

    #[test]
    fn the_file_name_of_a_part() {
        for (param, filename) in [
            (r#"filename="photo.jpg""#, "photo.jpg"),
            (r#"filename="naïve – 文件 😀.bin""#, "naïve – 文件 😀.bin"),
            (r#"filename="100%25.txt""#, "100%25.txt"),
            (r#"filename="a;b.txt""#, "a;b.txt"),
            (r#"filename="a=b,c.txt""#, "a=b,c.txt"),
            (r#"filename="a\"b.txt""#, "a\"b.txt"),
            (r#"filename="a%22b.txt""#, "a\"b.txt"),
            (r#"filename="a%0D%0Ab.txt""#, "a%0D%0Ab.txt"),
            (r#"filename="C:\fakepath\photo.jpg""#, r"C:\fakepath\photo.jpg"),
            (r#"filename="a\\b.txt""#, r"a\b.txt"),
            (r#"filename="\\\"""#, "\\\""),
            (r#"filename="folder\\""#, r"folder\"),
            (r#"filename="a/b\c/d\x.txt""#, r"a/b\c/d\x.txt"),
            (r"filename=a\b%22.txt", r"a\b%22.txt"),
            ("filename*=UTF-8''na%C3%AFve%20%E2%82%AC.txt", "naïve €.txt"),
            ("filename*=utf-8'de'a.txt", "a.txt"),
            ("filename*=\"UTF-8''a%20b.txt\"", "a b.txt"),
            ("filename*=ISO-8859-1'en'na%EFve.txt", "naïve.txt"),
            ("filename*=UTF-8''..%2F..%2Fetc%2Fpasswd", "../../etc/passwd"),
            ("filename=\"naive.txt\"; filename*=UTF-8''na%C3%AFve.txt", "naïve.txt"),
            ("filename*=UTF-8''na%C3%AFve.txt; filename=\"naive.txt\"", "naïve.txt"),
            ("filename=a; filename*=UTF-8''%FF", "a"),
            ("filename=a; filename*=UTF-8''100%", "a"),
            ("filename=a; filename*=koi8-r''b", "a"),
            ("filename=a; filename*=b", "a"),
        ] {
            let value = format!("form-data; name=\"file\"; {param}");
            let filename_read = Disposition::of_part(value.as_bytes()).and_then(|it| it.filename);
            assert_eq!(filename_read.as_deref(), Some(filename), "{param}");
        }
    }

    #[test]
    fn a_name_that_is_not_utf_8_is_mended() {
        let disposition = Disposition::of_part(b"form-data; name=\"file\"; filename=\"\xE9.txt\"");
        let filename = disposition.and_then(|it| it.filename);
        assert_eq!(filename.as_deref(), Some("\u{FFFD}.txt"));
    }

    #[test]
    fn malformed_values() {
        for value in [
            "",
            ";",
            "; name=a",
            "form data; name=a",
            "\"form-data\"; name=a",
            "form-data; name",
            "form-data; =a",
            "form-data; na me=a",
            "form-data; name=\"a",
            "form-data; name=\"a\\\"",
            "form-data; name=\"a\"b",
            "form-data; name=\"a\" filename=\"b\"",
            "form-data; name=a\"b\"",
            "form-data; name=a; name=a",
            "form-data; name=a; NAME=b",
            "form-data; filename=a; filename=b",
            "form-data; filename*=UTF-8''a; filename*=UTF-8''b",
            "form-data; filename*=UTF-8''%FF",
            "form-data; filename*=koi8-r''b",
            "form-data; filename*=b",
        ] {
            assert_eq!(Disposition::of_part(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn the_file_name_of_a_request() {
        for (value, filename) in [
            (r#"attachment; filename="photo.jpg""#, Some("photo.jpg")),
            (r#"attachment; filename="na%C3%AFve%20%22x%22.txt""#, Some("naïve \"x\".txt")),
            (r#"attachment; filename="100%25.txt""#, Some("100%.txt")),
            (r#"attachment; filename="100%.txt""#, Some("100%.txt")),
            (r#"attachment; filename="a%2Fb%5Cc""#, Some(r"a/b\c")),
            (r#"attachment; filename="%FF%41""#, Some("%FF%41")),
            ("attachment; filename=a%20b", Some("a%20b")),
            ("attachment; filename*=UTF-8''a%2520b", Some("a%20b")),
            ("attachment", None),
        ] {
            let disposition = Disposition::of_request(value.as_bytes());
            let disposition = disposition.unwrap_or_else(|| panic!("{value}"));
            assert_eq!(disposition.filename.as_deref(), filename, "{value}");
        }
        assert_eq!(Disposition::of_request(b"attachment; filename=\"a"), None);
    }

    #[test]
    fn a_long_value_is_read_in_linear_time() {
        for piece in ["\\", "\\\"", "\\\\", ";", "a=b;", "\"", "=", "%", "'"] {
            let value = format!("form-data; filename=\"{}", piece.repeat(1 << 20));
            let _ = Disposition::of_part(value.as_bytes());
            let value = format!("form-data; {}", piece.repeat(1 << 20));
            let _ = Disposition::of_part(value.as_bytes());
        }
    }

    // `encodeURI` leaves these as they are.
    const ENCODE_URI: &AsciiSet = &CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'%')
        .add(b'<')
        .add(b'>')
        .add(b'[')
        .add(b'\\')
        .add(b']')
        .add(b'^')
        .add(b'`')
        .add(b'{')
        .add(b'|')
        .add(b'}');

    proptest! {
        #[test]
        fn any_name_comes_back_from_a_browser(name in "[^\r\n\\\\%]*", filename in "[^\r\n\\\\%]*") {
            let escape = |text: &str| text.replace('"', "%22");
            let value = format!(
                "form-data; name=\"{}\"; filename=\"{}\"", escape(&name), escape(&filename)
            );
            let disposition = Disposition::of_part(value.as_bytes()).expect("well-formed");
            prop_assert_eq!(disposition.name, Some(name));
            prop_assert_eq!(disposition.filename, Some(filename));
        }

        #[test]
        fn any_name_comes_back_from_jquery_file_upload(filename: String) {
            let encoded = utf8_percent_encode(&filename, ENCODE_URI);
            let value = format!("attachment; filename=\"{encoded}\"");
            let disposition = Disposition::of_request(value.as_bytes()).expect("well-formed");
            prop_assert_eq!(disposition.filename, Some(filename));
        }

        #[test]
        fn no_bytes_panic(
            value in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..64),
                "form-data; (name|filename\\*?)?[=\"\\\\;%' a]{0,16}".prop_map(String::into_bytes),
            ],
        ) {
            let _ = Disposition::of_part(&value);
            let _ = Disposition::of_request(&value);
        }
    }
}
