//! The `Content-Disposition` of a form's part or a request, and the parameter syntax that it shares
//! with `Content-Type`.
//!
//! Senders quote in three ways. Browsers write a quote as `%22` and a backslash as it is, so that
//! `name="dir\"` is a complete value. Other senders escape both with a backslash, as the RFC
//! requires. Old scripts escape nothing. All three are accepted:
//!
//! - A quote ends the value if the header ends after it or continues with `;` and a parameter:
//!   `filename="a"b".txt"` is the name `a"b".txt`.
//! - An escaped quote ends the value, and its backslash is part of the value, only if everything up
//!   to the next value can be parsed as the rest of the header. So `name="dir\"; filename="a.txt"`
//!   has two names, while `filename="a\"; b.txt"` and `filename="a\"; b=c.txt"` are one name each.
//!
//! If both readings are complete, as in `filename="a\"; b="c"`, the one of the browsers is taken: a
//! sender that escapes one quote of a value also escapes the next one.

use std::borrow::Cow;

use memchr::memchr;
use percent_encoding::percent_decode;

/// A parsed `Content-Disposition` value. The names are as the client meant them, and not yet safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disposition {
    /// The form field's name.
    pub(crate) name: Option<String>,
    /// The file's name, which may contain a path or be empty.
    pub(crate) filename: Option<String>,
}

impl Disposition {
    /// Parses the header of a form's part. Returns `None` if it is malformed.
    ///
    /// The type is ignored, since some senders write `attachment` or `file` for `form-data`.
    ///
    /// Browsers only percent-encode quotes and line breaks, so only `%22` is decoded: `100%25.txt`
    /// may be the actual name.
    pub(crate) fn of_part(value: &[u8]) -> Option<Self> {
        Self::parse(value, |quoted| text(quoted).replace("%22", "\""))
    }

    /// Parses the header of a request whose body is the file, or a chunk of it. Returns `None` if it
    /// is malformed.
    ///
    /// The type is ignored here, too: a file is sent as `attachment` or as `inline`.
    ///
    /// jQuery-File-Upload sends `encodeURI(name)`, so a quoted name is percent-decoded if the
    /// result is UTF-8, and kept otherwise.
    pub(crate) fn of_request(value: &[u8]) -> Option<Self> {
        Self::parse(value, |quoted| match percent_decode(quoted).decode_utf8() {
            Ok(decoded) => decoded.into_owned(),
            Err(_) => text(quoted),
        })
    }

    fn parse(value: &[u8], decode: fn(&[u8]) -> String) -> Option<Self> {
        let (kind, params) = Params::after(value);
        if !is_token(kind) {
            return None;
        }
        let (mut name, mut plain, mut extended, mut bare) = (None, None, None, None);
        for param in params {
            let Param { key, value, quoted } = param?;
            let text = |value: &[u8]| if quoted { decode(value) } else { text(value) };
            if key.eq_ignore_ascii_case(b"name") {
                set_once(&mut name, text(&value))?;
            } else if key.eq_ignore_ascii_case(b"filename") {
                set_once(&mut plain, text(&value))?;
            } else if key.eq_ignore_ascii_case(b"filename*") {
                set_once(&mut extended, decode_extended(&value))?;
                // Without a charset, the value is taken literally.
                bare = memchr(b'\'', &value).is_none().then(|| text(&value));
            }
        }
        let filename = match extended {
            Some(Some(extended)) => Some(extended),
            // Without a filename the part would be taken for a text field.
            Some(None) => Some(plain.or(bare)?),
            None => plain,
        };
        Some(Self { name, filename })
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
    match charset.to_ascii_lowercase().as_slice() {
        b"utf-8" => String::from_utf8(bytes.into_owned()).ok(),
        b"iso-8859-1" => Some(latin_1(&bytes)),
        _ => None,
    }
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

/// The parameters of a header. An item of `None` is a malformed parameter, and the last item.
#[derive(Debug)]
pub(super) struct Params<'a> {
    rest: &'a [u8],
}

impl<'a> Params<'a> {
    /// Splits a header value at its first `;` into the part before it and the parameters.
    pub(super) fn after(value: &'a [u8]) -> (&'a [u8], Self) {
        let end = memchr(b';', value).unwrap_or(value.len());
        let (first, rest) = value.split_at(end);
        (first.trim_ascii(), Self { rest })
    }

    fn read(&mut self) -> Option<Param<'a>> {
        let (key, _) = split_key(self.rest);
        let rest = value_of(self.rest)?;
        if let Some(rest) = rest.strip_prefix(b"\"") {
            let (inside, rest) = split_quoted(rest)?;
            self.rest = rest;
            return Some(Param { key, value: unescape(inside), quoted: true });
        }
        let end = memchr(b';', rest).unwrap_or(rest.len());
        let (value, rest) = rest.split_at(end);
        self.rest = rest;
        Some(Param { key, value: Cow::Borrowed(value.trim_ascii()), quoted: false })
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Option<Param<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rest = skip_blank_params(self.rest);
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

// Splits off the raw content of a quoted value from the rest of the header. The check after each
// quote reads no further than the second next quote, so a long value takes linear time.
fn split_quoted(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        at += memchr(b'"', &value[at..])?;
        let (inside, rest) = (&value[..at], &value[at + 1..]);
        let backslashes = inside.iter().rev().take_while(|byte| **byte == b'\\').count();
        let is_escaped = backslashes % 2 == 1;
        let ends = if is_escaped { is_rest_of_header(rest) } else { may_continue(rest) };
        if ends {
            return Some((inside, rest.trim_ascii_start()));
        }
        if !is_escaped && lacks_semicolon(rest) {
            return None;
        }
        at += 1;
    }
}

// Whether the header may continue like this after a value.
fn may_continue(rest: &[u8]) -> bool {
    let rest = rest.trim_ascii_start();
    if rest.is_empty() {
        return true;
    }
    let Some(rest) = rest.strip_prefix(b";") else { return false };
    let (key, rest) = split_key(skip_blank_params(rest));
    match rest.first() {
        None => true,
        Some(b'=' | b';') => !key.is_empty(),
        Some(_) => false,
    }
}

// Whether this can only be the rest of a header after a value: no quote follows, or only one that
// starts another value, which has an end.
fn is_rest_of_header(rest: &[u8]) -> bool {
    let quote = memchr(b'"', rest);
    let mut pieces = rest[..quote.unwrap_or(rest.len())].split(|byte| *byte == b';');
    let is_param = |piece: &[u8]| piece.trim_ascii().is_empty() || value_of(piece).is_some();
    if !pieces.next().is_some_and(|blank| blank.trim_ascii().is_empty()) {
        return false;
    }
    let Some(quote) = quote else { return pieces.all(is_param) };
    let begins_value = pieces.next_back().and_then(value_of).is_some_and(<[u8]>::is_empty);
    begins_value && pieces.all(is_param) && memchr(b'"', &rest[quote + 1..]).is_some()
}

// As in `name="a" filename="b"`, which is not meant as one name.
fn lacks_semicolon(rest: &[u8]) -> bool {
    value_of(rest).is_some_and(|value| value.starts_with(b"\""))
}

fn value_of(param: &[u8]) -> Option<&[u8]> {
    let (key, rest) = split_key(param.trim_ascii_start());
    let value = rest.strip_prefix(b"=")?;
    (!key.is_empty()).then(|| value.trim_ascii_start())
}

// Splits off the key of a parameter, which may be empty.
fn split_key(param: &[u8]) -> (&[u8], &[u8]) {
    let end = param.iter().position(|byte| !is_tchar(byte)).unwrap_or(param.len());
    let (key, rest) = param.split_at(end);
    (key, rest.trim_ascii_start())
}

// Empty parameters (`a=b;; c=d;`) are common and harmless.
fn skip_blank_params(rest: &[u8]) -> &[u8] {
    let blank = |byte: &&u8| matches!(**byte, b' ' | b'\t' | b';');
    &rest[rest.iter().take_while(blank).count()..]
}

// Only `\"` and `\\` are escapes: old browsers sent `C:\fakepath\photo.jpg` unescaped.
fn unescape(inside: &[u8]) -> Cow<'_, [u8]> {
    let (mut unescaped, mut rest) = (Vec::new(), inside);
    let mut at = 0;
    while let Some(found) = memchr(b'\\', &rest[at..]) {
        at += found;
        if let Some(b'"' | b'\\') = rest.get(at + 1) {
            unescaped.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            at = 0;
        }
        at += 1;
    }
    if unescaped.is_empty() && rest.len() == inside.len() {
        return Cow::Borrowed(inside);
    }
    unescaped.extend_from_slice(rest);
    Cow::Owned(unescaped)
}

// Bytes that are not UTF-8 are taken for Latin-1.
fn text(bytes: &[u8]) -> String {
    str::from_utf8(bytes).map_or_else(|_| latin_1(bytes), str::to_owned)
}

fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Whether `value` is a token (RFC 9110, 5.6.2).
pub(super) fn is_token(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(is_tchar)
}

/// Whether `byte` is allowed in a token.
pub(super) fn is_tchar(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || memchr(*byte, b"!#$%&'*+-.^_`|~").is_some()
}

/// Splits `value` at the first byte `at`, which is in neither part.
pub(super) fn split_once(value: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
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
    fn the_type_may_be_any() {
        for kind in [" Form-DATA ", "attachment", "file", "inline", "x-any"] {
            let disposition = Disposition::of_part(format!("{kind}; name=a").as_bytes());
            assert_eq!(disposition.and_then(|it| it.name).as_deref(), Some("a"), "{kind}");
        }
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
            ("filename=\"a\"; filename*=UTF-8''b\"c", "a"),
            ("filename=\"a\"; filename*=UTF-8''\"b c\"", "a"),
            ("filename*=UTF-8''\"b c\"; filename=\"a\"", "a"),
            ("filename=\"a\"; filename*=\"UTF-8''b\"c\"", "a"),
            ("filename=\"a\"; filename*=na\u{EF}ve", "a"),
            ("filename=\"a\"; filename*=", "a"),
            ("filename*=b", "b"),
            ("filename*=\"b c\"", "b c"),
            (r#"filename="dir\""#, r"dir\"),
            (r#"filename="a\b\""#, r"a\b\"),
            (r#"filename="dir\" ; "#, r"dir\"),
            (r#"filename="dir\"; x=y"#, r"dir\"),
            (r#"filename="dir\"; x=y; z="""#, r"dir\"),
            (r#"filename="dir\"; x="y""#, r"dir\"),
            (r#"filename="a\"; b.txt""#, "a\"; b.txt"),
            (r#"filename="a\"; b=c.txt""#, "a\"; b=c.txt"),
            (r#"filename="a\"; b=c; d.txt""#, "a\"; b=c; d.txt"),
            (r#"filename="a\"; b=""#, "a\"; b="),
            (r#"filename="a\"; b=\"c""#, "a\"; b=\"c"),
            (r#"filename="a\"b\".txt\"; x=y"#, "a\"b\".txt\\"),
            (r#"filename="a"b".txt""#, r#"a"b".txt"#),
            (r#"filename=""a".txt""#, r#""a".txt"#),
            (r#"filename=""a"""#, r#""a""#),
            (r#"filename="a"b".txt"; x="y""#, r#"a"b".txt"#),
            (r#"filename="a"; b.txt""#, r#"a"; b.txt"#),
            (r#"filename=a"b".txt"#, r#"a"b".txt"#),
            (r#"filename="12" disc.mp3""#, r#"12" disc.mp3"#),
        ] {
            let value = format!("form-data; name=\"file\"; {param}");
            let filename_read = Disposition::of_part(value.as_bytes()).and_then(|it| it.filename);
            assert_eq!(filename_read.as_deref(), Some(filename), "{param}");
        }
    }

    #[test]
    fn a_name_of_the_field_that_ends_with_a_backslash() {
        for value in [
            r#"form-data; name="dir\""#,
            r#"form-data; name="dir\"; filename="a""#,
            r#"form-data; filename="a"; name="dir\""#,
            r#"form-data; name="dir\"; filename="a\""#,
        ] {
            let disposition = Disposition::of_part(value.as_bytes());
            let name = disposition.and_then(|it| it.name);
            assert_eq!(name.as_deref(), Some(r"dir\"), "{value}");
        }
    }

    #[test]
    fn a_name_that_is_not_utf_8_is_latin_1() {
        for (value, filename) in [
            (&b"form-data; name=\"\xE9\"; filename=\"na\xEFve%22.txt\""[..], "na\u{EF}ve\".txt"),
            (b"form-data; name=\"\xE9\"; filename=na\xEFve.txt", "na\u{EF}ve.txt"),
            (b"form-data; name=\"\xE9\"; filename=\"\xC3\xEF\"", "\u{C3}\u{EF}"),
        ] {
            let disposition = Disposition::of_part(value).expect("well-formed");
            assert_eq!(disposition.name.as_deref(), Some("\u{E9}"));
            assert_eq!(disposition.filename.as_deref(), Some(filename));
        }
        for (value, filename) in [
            (&b"attachment; filename=\"na\xEFve.txt\""[..], "na\u{EF}ve.txt"),
            (b"attachment; filename=\"na\xEFve%20.txt\"", "na\u{EF}ve%20.txt"),
            (b"attachment; filename=na\xEFve.txt", "na\u{EF}ve.txt"),
        ] {
            let disposition = Disposition::of_request(value).expect("well-formed");
            assert_eq!(disposition.filename.as_deref(), Some(filename));
        }
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
            "form-data; name=\"a\"b",
            "form-data; name=\"a\" filename=\"b\"",
            "form-data; name=\"a\"; b; filename=\"c\"",
            "form-data; name=\"a\\\"b",
            "form-data; name=a; name=a",
            "form-data; name=a; NAME=b",
            "form-data; filename=a; filename=b",
            "form-data; filename*=UTF-8''a; filename*=UTF-8''b",
            "form-data; filename*=UTF-8''%FF",
            "form-data; filename*=koi8-r''b",
            "form-data; filename*=UTF-8''\"b c\"",
            "form-data; filename*=UTF-8'b",
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
    fn the_file_name_of_a_request_of_any_type() {
        for kind in ["inline", "attachment", "form-data; name=\"a\"", "INLINE ", "x-any"] {
            for (param, filename) in [
                ("filename=\"a.txt\"", "a.txt"),
                ("filename=a.txt", "a.txt"),
                ("filename*=UTF-8''%e2%82%ac%20rates.txt", "€ rates.txt"),
                ("filename=\"EURO.txt\"; filename*=utf-8''%e2%82%ac.txt", "€.txt"),
                ("filename*=utf-8'en'%e2%82%ac.txt; filename=\"EURO.txt\"", "€.txt"),
            ] {
                let value = format!("{kind}; {param}");
                let read = Disposition::of_request(value.as_bytes()).and_then(|it| it.filename);
                assert_eq!(read.as_deref(), Some(filename), "{value}");
            }
            let without = Disposition::of_request(kind.as_bytes()).map(|it| it.filename);
            assert_eq!(without, Some(None), "{kind}");
        }
        for value in ["inline filename=a", "filename=a", "in line; filename=a", "; filename=a"] {
            assert_eq!(Disposition::of_request(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn a_long_value_is_read_in_linear_time() {
        for piece in [
            "\\",
            "\\\"",
            "\\\\",
            ";",
            "a=b;",
            "\"",
            "=",
            "%",
            "'",
            " ",
            "a",
            "\";",
            "\\\";",
            "\"; a",
            "\"; a\"",
            "\"a=b",
            "\\\"; a=\"",
            "\\\"; a=b; c",
            "\\\"; a=b;\"",
        ] {
            let value = format!("form-data; filename=\"{}", piece.repeat(1 << 18));
            let _ = Disposition::of_part(value.as_bytes());
            let value = format!("form-data; {}", piece.repeat(1 << 18));
            let _ = Disposition::of_part(value.as_bytes());
        }
    }

    // Two backslashes in a row come from a sender that escapes.
    const BROWSER_NAME: &str = "([^\r\n\\\\%]|\\\\[^\r\n\\\\%])*\\\\?";
    // `encodeURI` does not encode these.
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
        fn any_name_comes_back_from_a_browser(name in BROWSER_NAME, filename in BROWSER_NAME) {
            let escape = |text: &str| text.replace('"', "%22");
            let value = format!(
                "form-data; name=\"{}\"; filename=\"{}\"", escape(&name), escape(&filename)
            );
            let disposition = Disposition::of_part(value.as_bytes()).expect("well-formed");
            prop_assert_eq!(disposition.name, Some(name));
            prop_assert_eq!(disposition.filename, Some(filename));
        }

        #[test]
        fn any_name_comes_back_from_who_escapes(
            name in "[^\r\n\"\\\\%]*",
            filename in "[^\r\n%]*|([\"\\\\;= a\u{EF}])*",
        ) {
            let escaped = filename.replace('\\', "\\\\").replace('"', "\\\"");
            let value = format!("form-data; name=\"{name}\"; filename=\"{escaped}\"");
            let disposition = Disposition::of_part(value.as_bytes()).expect("well-formed");
            prop_assert_eq!(disposition.name, Some(name));
            prop_assert_eq!(disposition.filename, Some(filename));
        }

        #[test]
        fn any_name_comes_back_from_who_escapes_nothing(
            filename in "([^\r\n%;\\\\=]|\\\\[^\r\n%;\\\\\"=])*\\\\?",
        ) {
            let value = format!("form-data; name=\"a\"; filename=\"{filename}\"");
            let disposition = Disposition::of_part(value.as_bytes()).expect("well-formed");
            prop_assert_eq!(disposition.name.as_deref(), Some("a"));
            prop_assert_eq!(disposition.filename, Some(filename));
        }

        #[test]
        fn any_name_comes_back_from_latin_1(filename in "[ a\u{A0}-\u{FF}]*") {
            let bytes: Vec<u8> = filename.chars().map(|char| char as u8).collect();
            if str::from_utf8(&bytes).is_err() {
                let value = [b"form-data; filename=\"", &bytes[..], b"\""].concat();
                let disposition = Disposition::of_part(&value).expect("well-formed");
                prop_assert_eq!(disposition.filename, Some(filename));
            }
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
                "form-data; (name|filename\\*?)?[=\"\\\\;%' a]{0,24}".prop_map(String::into_bytes),
            ],
        ) {
            let _ = Disposition::of_part(&value);
            let _ = Disposition::of_request(&value);
        }
    }
}
