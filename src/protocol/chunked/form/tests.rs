use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use proptest::prelude::*;

use super::{
    Boundary, FormError, FormEvent, FormLimits, FormReader, read_all,
    trace::{Trace, cut, trace},
};

const BOUNDARY: &str = "----wire-Qv3kZ0aYx7";

fn boundary(boundary: &str) -> Boundary {
    let value = format!("multipart/form-data; boundary=\"{boundary}\"");
    Boundary::from_content_type(value.as_bytes()).expect("a valid boundary")
}

fn reader(limits: FormLimits) -> FormReader {
    FormReader::new(&boundary(BOUNDARY), Some("file".into()), limits)
}

/// The events of `body`, which must be the same however it is split.
fn read(body: &[u8], limits: FormLimits) -> Trace {
    let whole = trace(&mut reader(limits), [body]);
    for size in [1, 2, 7, 64] {
        let cut = trace(&mut reader(limits), body.chunks(size));
        assert_eq!(cut, whole, "in frames of {size}");
    }
    whole
}

fn error(body: &[u8]) -> FormError {
    let Err(error) = read(body, FormLimits::default()).end else {
        panic!("the form was taken: {}", String::from_utf8_lossy(body));
    };
    error
}

/// A form that consists of `parts`, each with its headers.
fn form(parts: &[&[u8]]) -> Vec<u8> {
    let mut form = Vec::new();
    for part in parts {
        form.extend_from_slice(format!("--{BOUNDARY}\r\n").as_bytes());
        form.extend_from_slice(part);
        form.extend_from_slice(b"\r\n");
    }
    form.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    form
}

fn file_part(data: &[u8]) -> Vec<u8> {
    let head = "Content-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n";
    [head.as_bytes(), data].concat()
}

fn field_part(name: &str, value: &str) -> Vec<u8> {
    format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}").into_bytes()
}

fn file(filename: &str, content_type: Option<&str>) -> FormEvent {
    FormEvent::File { filename: filename.to_owned(), content_type: content_type.map(str::to_owned) }
}

fn field(name: &str, value: &str) -> FormEvent {
    FormEvent::Field { name: name.to_owned(), value: value.to_owned() }
}

fn complete(events: Vec<FormEvent>, data: &[u8]) -> Trace {
    Trace { events, data: data.to_vec(), end: Ok(()) }
}

fn encoded_part(name: &str, encoding: &str, value: &[u8]) -> Vec<u8> {
    let head = format!("Content-Transfer-Encoding: {encoding}\r\n");
    [head.as_bytes(), &field_part(name, ""), value].concat()
}

fn one_file(data: &[u8]) -> Trace {
    complete(vec![file("a.bin", None)], data)
}

#[test]
fn fields_before_and_after_the_file() {
    let body = form(&[
        &field_part("a", "1"),
        &field_part("file", "not a file"),
        &file_part(b"hello"),
        &field_part("b", "é"),
        &field_part("c", ""),
    ]);
    let events = vec![
        field("a", "1"),
        field("file", "not a file"),
        file("a.bin", None),
        field("b", "é"),
        field("c", ""),
    ];
    assert_eq!(read(&body, FormLimits::default()), complete(events, b"hello"));
}

#[test]
fn events_come_in_the_order_of_the_parts() {
    let mut reader = reader(FormLimits::default());
    assert_eq!(reader.next(), Ok(FormEvent::NeedData));
    reader.feed(form(&[&field_part("a", "1"), &file_part(b"hello")]).into());
    for event in [
        field("a", "1"),
        file("a.bin", None),
        FormEvent::Data(Bytes::from_static(b"hello")),
        FormEvent::End,
        FormEvent::End,
    ] {
        assert_eq!(reader.next(), Ok(event));
    }
    assert!(reader.is_finished());
    reader.feed(Bytes::from_static(b"epilogue"));
    assert_eq!(reader.next(), Ok(FormEvent::End));
}

#[test]
fn data_is_a_slice_of_the_frame() {
    let body = Bytes::from(form(&[&file_part(&[b'x'; 1000])]));
    let mut reader = reader(FormLimits::default());
    reader.feed(body.clone());
    assert_eq!(reader.next(), Ok(file("a.bin", None)));
    let Ok(FormEvent::Data(data)) = reader.next() else {
        panic!("no data");
    };
    assert_eq!(data.len(), 1000);
    assert!(body.as_ptr_range().contains(&data.as_ptr()));
}

#[test]
fn data_is_held_back_no_further_than_a_delimiter() {
    let head = format!("--{BOUNDARY}\r\n{}", String::from_utf8_lossy(&file_part(b"")));
    let mut reader = reader(FormLimits::default());
    reader.feed(head.into());
    assert_eq!(reader.next(), Ok(file("a.bin", None)));
    assert_eq!(reader.next(), Ok(FormEvent::NeedData));
    let (mut sent, mut got) = (0, 0);
    let data = format!("\r\n\r\n--{BOUNDARY}{}\r", " \t".repeat(30));
    for byte in data.bytes().cycle().take(10_000) {
        reader.feed(Bytes::copy_from_slice(&[byte]));
        sent += 1;
        while let FormEvent::Data(data) = reader.next().expect("only data") {
            got += data.len();
        }
        assert!(sent - got <= BOUNDARY.len() + 4 + 66);
    }
}

#[test]
fn headers_in_every_shape() {
    for (head, event) in [
        (
            "content-disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\
             content-type: text/plain\r\n",
            file("a.bin", Some("text/plain")),
        ),
        (
            "CONTENT-TYPE:image/png \r\n\
             CONTENT-DISPOSITION:form-data;filename=a.bin;name=file\r\n",
            file("a.bin", Some("image/png")),
        ),
        (
            "Content-Length: 5\r\nContent-Transfer-Encoding: Binary\r\nX-Any: thing\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\nX-None:\r\n",
            file("a.bin", None),
        ),
        (
            "Content-Disposition: form-data; name=\"file\"; filename*=UTF-8''na%C3%AFve.txt\r\n",
            file("naïve.txt", None),
        ),
        (
            "Content-Disposition: form-data; name=\"file\"; filename=\"C:\\fakepath\\a.jpg\"\r\n\
             Content-Type: \x07\r\n",
            file("C:\\fakepath\\a.jpg", None),
        ),
        (
            "Content-Disposition: attachment; name=\"file\"; filename=\"a.bin\"\r\n",
            file("a.bin", None),
        ),
        ("Content-Disposition: file; name=file; filename=a.bin\r\n", file("a.bin", None)),
        (
            "Content-Disposition: form-data; name=\"file\"; filename=\"a\"b\".txt\"\r\n",
            file("a\"b\".txt", None),
        ),
        (
            "Content-Disposition: form-data; filename=\"a\\b\\c.txt\"; name=\"file\"\r\n",
            file("a\\b\\c.txt", None),
        ),
    ] {
        let body = form(&[format!("{head}\r\nhello").as_bytes()]);
        let events = vec![event];
        assert_eq!(read(&body, FormLimits::default()), complete(events, b"hello"));
    }
}

#[test]
fn parts_that_are_neither_the_file_nor_a_field() {
    for head in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Disposition: form-data\r\n",
        "Content-Disposition: form-data; filename=\"a.bin\"\r\n",
        "Content-Disposition: attachment; filename=\"a.bin\"\r\n",
        "Content-Disposition: form-data; name=\"other\"; filename=\"a.bin\"\r\n",
        "Content-Disposition: form-data; name=\"other\"; filename=\"\"\r\n",
        "Content-Disposition: form-data; name=\"File\"; filename=\"a.bin\"\r\n",
        "Content-Disposition: form-data; name=\"file\"; filename=\"\"\r\n",
        "Content-Disposition: form-data; name=\"file\"; filename=\".\"\r\n",
        "Content-Disposition: form-data; name=\"file\"; filename=\"..\"\r\n",
        "Content-Disposition: form-data; name=\"file\"; filename=\"folder/\"\r\n",
    ] {
        let other = format!("{head}\r\nhello");
        let alone = form(&[other.as_bytes()]);
        let read_alone = read(&alone, FormLimits::default());
        assert_eq!(read_alone, complete(vec![], b""), "{head}");
        let body = form(&[other.as_bytes(), &file_part(b"data"), other.as_bytes()]);
        assert_eq!(read(&body, FormLimits::default()), one_file(b"data"), "{head}");
    }
}

#[test]
fn data_that_resembles_a_delimiter() {
    let line = format!("\r\n--{BOUNDARY}");
    for data in [
        String::new(),
        "\r\n--hello\r\n".to_owned(),
        "data\r".to_owned(),
        "data\n".to_owned(),
        "data\r\n".to_owned(),
        "data\r\n\r\n".to_owned(),
        "\r\n".repeat(5000),
        "\r\n------wire-Qv3kZ0aYx8\r\n--\r\n------wire\r\n".to_owned(),
        format!("--{}", &BOUNDARY[1..]),
        format!("x--{BOUNDARY}--\r\n"),
        format!("\n--{BOUNDARY}--\r\n"),
        format!("\r--{BOUNDARY}--\r\n"),
        format!("{line}X"),
        format!("{line}-"),
        format!("{line}-x-"),
        format!("{line}- -"),
        format!("{line} --"),
        format!("{line}\rX"),
        format!("{line}\n"),
        format!("{line} \t \r"),
        format!("{line} \t \rX"),
        format!("{line}{}X", " ".repeat(64)),
        format!("{line}\r{line}\r\r{line}X\r"),
        format!("{line}X").repeat(100),
    ] {
        let body = form(&[&file_part(data.as_bytes()), &field_part("a", &data)]);
        let mut expected = one_file(data.as_bytes());
        expected.events.push(field("a", &data));
        assert_eq!(read(&body, FormLimits::default()), expected, "{data:?}");
    }
}

#[test]
fn delimiters_in_every_shape() {
    let part = String::from_utf8_lossy(&file_part(b"hello")).into_owned();
    let expected = one_file(b"hello");
    let b = BOUNDARY;
    let padding = " \t".repeat(32);
    for body in [
        format!("--{b}\r\n{part}\r\n--{b}--\r\n"),
        format!("--{b}\r\n{part}\r\n--{b}--"),
        format!("\r\n--{b}\r\n{part}\r\n--{b}--"),
        format!("This is a form.\r\n--{b}\r\n{part}\r\n--{b}--trailing words\r\n--{b}\r\n"),
        format!("x--{b}\r\n--{b}x\r\n--{b}\r\n{part}\r\n--{b}--"),
        format!("--{b} \t\r\n{part}\r\n--{b}-- \t\r\n"),
        format!("--{b}{padding}\r\n{part}\r\n--{b}--"),
        format!("--{b}\r\n\r\n--{b}\r\n{part}\r\n--{b}--"),
        format!("--{b}\r\nX: y\r\n\r\n--{b}\r\n{part}\r\n--{b}--"),
    ] {
        assert_eq!(read(body.as_bytes(), FormLimits::default()), expected, "{body}");
    }
    for before in [
        "\n",
        "\r",
        "\n\n\r\n",
        "\u{FEFF}",
        "\u{FEFF}\n",
        "\n\u{FEFF}",
        " \t",
        "\r\n \u{FEFF}\r\n\t",
        "text\n",
        "text\n \n",
        "text\n\u{FEFF}",
        "\u{FEFF}text\r\n",
        "--",
        "--\n",
        "----wire\n--\n",
    ] {
        let body = format!("{before}--{b}\r\n{part}\r\n--{b}--");
        let same = !before.ends_with('-');
        let expected = if same { expected.clone() } else { complete(vec![], b"") };
        assert_eq!(read(body.as_bytes(), FormLimits::default()), expected, "{before:?}");
    }
    let look_alikes = format!("--{b}x\n--{b}\n--{b} \n--{b}\r--{b}\n-{b}\n--{b}-\n");
    let body = format!("{look_alikes}--{b}\r\n{part}\r\n--{b}--");
    assert_eq!(read(body.as_bytes(), FormLimits::default()), expected);
    let empty = format!("--{b}\r\n{}--{b}--", String::from_utf8_lossy(&file_part(b"")));
    assert_eq!(read(empty.as_bytes(), FormLimits::default()), one_file(b""));
    let none = form(&[]);
    assert_eq!(read(&none, FormLimits::default()), complete(vec![], b""));
}

#[test]
fn boundaries_of_every_length() {
    for name in
        ["x", "-", "a b", "aZ09'()+_,-./:=?x", "*****", "{a&b}", "-_$", "~", " a", &"b".repeat(201)]
    {
        let body = format!(
            "--{name}\r\nContent-Disposition: form-data; name=file; filename=a.bin\r\n\r\n\
             \r\n--\r\n-{name}\r\n--{name}x\r\n--{name}--"
        );
        let data = format!("\r\n--\r\n-{name}\r\n--{name}x");
        for size in [1, 3, body.len()] {
            let mut reader =
                FormReader::new(&boundary(name), Some("file".into()), FormLimits::default());
            let trace = trace(&mut reader, body.as_bytes().chunks(size));
            assert_eq!(trace, one_file(data.as_bytes()), "{name}");
        }
    }
}

#[test]
fn a_form_that_was_cut_is_not_finished() {
    let body = form(&[&field_part("a", "1"), &file_part(b"hello")]);
    let whole = body.len() - "\r\n".len();
    for end in 0..whole {
        assert_eq!(error(&body[..end]), FormError::Truncated);
    }
    assert_eq!(read(&body[..whole], FormLimits::default()).end, Ok(()));
}

#[test]
fn malformed_headers() {
    let good = "Content-Disposition: form-data; name=\"a\"\r\n";
    for (head, expected) in [
        ("no colon\r\n".to_owned(), FormError::Header),
        (": no name\r\n".to_owned(), FormError::Header),
        ("X y: z\r\n".to_owned(), FormError::Header),
        ("X : z\r\n".to_owned(), FormError::Header),
        (format!("{good} folded\r\n"), FormError::Header),
        (format!("{good}\tfolded: yes\r\n"), FormError::Header),
        (format!(" {good}"), FormError::Header),
        ("X: \0\r\n".to_owned(), FormError::Header),
        ("X: a\rb\r\n".to_owned(), FormError::Header),
        ("X: a\nY: b\r\n".to_owned(), FormError::Header),
        ("X: a\r\r\n".to_owned(), FormError::Header),
        ("\n".to_owned(), FormError::Header),
        (format!("{good}{good}"), FormError::Header),
        ("Content-Disposition: \r\n".to_owned(), FormError::Header),
        ("Content-Disposition: form-data; name=\"a\r\n".to_owned(), FormError::Header),
        ("Content-Disposition: form-data; name=a; name=b\r\n".to_owned(), FormError::Header),
        (format!("{good}Content-Transfer-Encoding: gzip\r\n"), FormError::Encoding),
        (
            format!(
                "{good}Content-Transfer-Encoding: 8bit\r\nContent-Transfer-Encoding: base64\r\n"
            ),
            FormError::Encoding,
        ),
        ("Content-Transfer-Encoding:\r\n".to_owned(), FormError::Encoding),
    ] {
        let body = form(&[format!("{head}\r\nhello").as_bytes()]);
        assert_eq!(error(&body), expected, "{head:?}");
    }
}

#[test]
fn encodings_that_change_nothing() {
    for encoding in ["binary", "8BIT", "7bit"] {
        let part = format!(
            "Content-Transfer-Encoding: {encoding}\r\n{}",
            String::from_utf8_lossy(&file_part(b"hello"))
        );
        let body = form(&[part.as_bytes()]);
        assert_eq!(read(&body, FormLimits::default()), one_file(b"hello"));
    }
}

#[test]
fn text_fields_are_decoded() {
    for (encoding, value, text) in [
        ("base64", "NTIzMA==", "5230"),
        ("BASE64", "NTIz\r\nMA==", "5230"),
        ("base64", "", ""),
        ("base64", "bmH/dmU=", "na\u{FFFD}ve"),
        ("quoted-printable", "5230", "5230"),
        ("Quoted-Printable", "=35=\r\n23=30=\r\n", "5230"),
        ("quoted-printable", "na=C3=AFve", "na\u{EF}ve"),
        ("quoted-printable", "", ""),
    ] {
        let part = encoded_part("a", encoding, value.as_bytes());
        let expected = complete(vec![field("a", text)], b"");
        assert_eq!(read(&form(&[&part]), FormLimits::default()), expected, "{encoding} {value:?}");
    }
}

#[test]
fn text_fields_that_cannot_be_decoded() {
    for (encoding, value) in [("base64", "?"), ("base64", "NTIzM"), ("quoted-printable", "=G0")] {
        let part = encoded_part("a", encoding, value.as_bytes());
        assert_eq!(error(&form(&[&part])), FormError::Undecodable, "{encoding} {value}");
    }
}

#[test]
fn a_file_is_not_decoded() {
    for encoding in ["base64", "quoted-printable"] {
        let head = format!("Content-Transfer-Encoding: {encoding}\r\n");
        let part = [head.as_bytes(), &file_part(b"aGVsbG8=")].concat();
        assert_eq!(error(&form(&[&part])), FormError::Encoding, "{encoding}");
        let part = String::from_utf8_lossy(&part).replace("file\"", "other\"");
        let read = read(&form(&[part.as_bytes()]), FormLimits::default());
        assert_eq!(read, complete(vec![], b""), "{encoding}");
    }
}

#[test]
fn a_file_without_a_filename_is_a_text_field() {
    let body = |name| form(&[&field_part(name, &"x".repeat(64 * 1024 + 1))]);
    assert_eq!(error(&body("file")), FormError::NoFilename);
    assert_eq!(error(&body("other")), FormError::FieldTooLong);
    let limits = FormLimits::default().fields_bytes(100);
    assert_eq!(read(&body("file"), limits).end, Err(FormError::NoFilename));
    assert_eq!(read(&body("other"), limits).end, Err(FormError::FieldsTooLong));
    let small = form(&[&field_part("file", "x")]);
    let expected = complete(vec![field("file", "x")], b"");
    assert_eq!(read(&small, FormLimits::default()), expected);
}

#[test]
fn a_large_file_whose_filename_names_none_is_told_so() {
    let limits = FormLimits::default().ignored_bytes(10);
    for (name, filename, expected) in [
        ("file", "report\\", FormError::Unnamed),
        ("file", "folder/", FormError::Unnamed),
        ("file", "", FormError::Unnamed),
        ("other", "report\\", FormError::TooMuchIgnored),
    ] {
        let part = |len| {
            format!(
                "Content-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\n\r\n{}",
                "x".repeat(len)
            )
        };
        assert_eq!(read(&form(&[part(10).as_bytes()]), limits), complete(vec![], b""));
        assert_eq!(read(&form(&[part(11).as_bytes()]), limits).end, Err(expected), "{filename}");
    }
}

#[test]
fn two_files_are_one_too_many() {
    let body = form(&[&file_part(b"hello"), &file_part(b"hello")]);
    assert_eq!(error(&body), FormError::TwoFiles);
}

#[test]
fn text_that_is_not_utf_8_is_mended_and_such_a_name_is_latin_1() {
    let part = b"Content-Disposition: form-data; name=\"\xFF\"\r\n\r\na\xFFb";
    let expected = complete(vec![field("\u{FF}", "a\u{FFFD}b")], b"");
    assert_eq!(read(&form(&[part]), FormLimits::default()), expected);
}

#[test]
fn limits_are_the_last_that_passes() {
    let limits = FormLimits::default()
        .parts(3)
        .part_header_bytes(100)
        .field_bytes(10)
        .fields_bytes(20)
        .ignored_bytes(30);
    let header = |len: usize| format!("X: {}\r\n\r\n", "x".repeat(len - 7)).into_bytes();
    let other = |len: usize| format!("\r\n{}", "x".repeat(len)).into_bytes();
    let text = |len: usize| "x".repeat(len);
    let form_of = |parts: &[Vec<u8>]| form(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let preamble = |len: usize| [text(len).as_bytes(), b"\r\n", &form(&[])].concat();
    for (body, error) in [
        (form_of(&vec![other(0); 3]), None),
        (form_of(&vec![other(0); 4]), Some(FormError::TooManyParts)),
        (form_of(&[header(100)]), None),
        (form_of(&[header(101)]), Some(FormError::HeaderTooLong)),
        (form_of(&[field_part("a", &text(10))]), None),
        (form_of(&[field_part("a", &text(11))]), Some(FormError::FieldTooLong)),
        (form_of(&[field_part("a", &text(10)), field_part("b", &text(8))]), None),
        (
            form_of(&[field_part("a", &text(10)), field_part("b", &text(9))]),
            Some(FormError::FieldsTooLong),
        ),
        (form_of(&[field_part(&text(20), "")]), None),
        (form_of(&[field_part(&text(21), "")]), Some(FormError::FieldsTooLong)),
        (form_of(&[other(10), other(20)]), None),
        (form_of(&[other(10), other(21)]), Some(FormError::TooMuchIgnored)),
        (preamble(28), None),
        (preamble(29), Some(FormError::TooMuchIgnored)),
        ([&b"\n".repeat(30)[..], &form(&[])].concat(), None),
        ([&b"\n".repeat(31)[..], &form(&[])].concat(), Some(FormError::TooMuchIgnored)),
        (form_of(&[encoded_part("a", "base64", b"YWFhYWFh")]), None),
        (form_of(&[encoded_part("a", "base64", b"YWFhYWFhYQ==")]), Some(FormError::FieldTooLong)),
        (form_of(&[encoded_part("a", "base64", &[b'\n'; 11])]), Some(FormError::FieldTooLong)),
        (
            form_of(&[encoded_part("a", "quoted-printable", b"=61=61=61=61")]),
            Some(FormError::FieldTooLong),
        ),
        (form_of(&[file_part(&[b'x'; 1000])]), None),
        (format!("--{BOUNDARY}{}\r\n", " ".repeat(66)).into_bytes(), Some(FormError::BoundaryLine)),
    ] {
        assert_eq!(read(&body, limits).end.err(), error, "{}", String::from_utf8_lossy(&body));
    }
}

#[test]
fn limits_hold_while_the_form_streams() {
    let endless = |head: &[u8], limits| {
        let mut reader = reader(limits);
        let frames = std::iter::once(head).chain(std::iter::repeat(&[b'x'; 4096][..]));
        let frames = frames.take(1000);
        trace(&mut reader, frames).end
    };
    let limits = FormLimits::default();
    let part = |part: &[u8]| [format!("--{BOUNDARY}\r\n").as_bytes(), part].concat();
    let ignored = Err(FormError::TooMuchIgnored);
    assert_eq!(endless(b"", limits), ignored);
    assert_eq!(endless(&part(b"\r\n"), limits), ignored);
    assert_eq!(endless(&part(b"X: "), limits), Err(FormError::HeaderTooLong));
    assert_eq!(endless(&part(&field_part("a", "")), limits), Err(FormError::FieldTooLong));
    let limits = limits.field_bytes(usize::MAX);
    assert_eq!(endless(&part(&field_part("a", "")), limits), Err(FormError::FieldsTooLong));
}

#[test]
fn an_error_is_repeated() {
    let mut reader = reader(FormLimits::default());
    reader.feed(form(&[b"no colon\r\n"]).into());
    for _ in 0..3 {
        assert_eq!(reader.next(), Err(FormError::Header));
        assert!(!reader.is_finished());
    }
    reader.feed(form(&[]).into());
    assert_eq!(reader.next(), Err(FormError::Header));
}

#[test]
fn errors_are_short_lower_case_sentences() {
    for error in [
        FormError::NotForm,
        FormError::Boundary,
        FormError::Undecodable,
        FormError::NoFilename,
        FormError::Unnamed,
        FormError::TooMuchIgnored,
    ] {
        let message = error.to_string();
        assert!(message.starts_with(char::is_lowercase) && !message.ends_with('.'), "{message}");
    }
}

#[test]
fn a_completion_form() {
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    let read_all =
        |body: &[u8]| read_all(Some(content_type.as_bytes()), body, FormLimits::default());
    let body = form(&[
        &field_part("upload_id", "5230"),
        &file_part(b"hello"),
        &field_part("md5", "fc3f"),
        &file_part(b"hello"),
    ]);
    let fields = [("upload_id", "5230"), ("md5", "fc3f")];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(read_all(&body), Ok(fields.to_vec()));
    assert_eq!(read_all(&form(&[])), Ok(vec![]));
    assert_eq!(read_all(b""), Err(FormError::Truncated));
    assert_eq!(read_all(&body[..body.len() - 4]), Err(FormError::Truncated));
    assert_eq!(read_all(&form(&[b"no colon\r\n"])), Err(FormError::Header));
}

#[test]
fn a_completion_that_is_no_form() {
    let limits = FormLimits::default();
    for (content_type, error) in [
        (None, FormError::NotForm),
        (Some("application/json"), FormError::NotForm),
        (Some("multipart/form-data"), FormError::Boundary),
        (Some("multipart/form-data boundary=x"), FormError::Boundary),
    ] {
        let content_type = content_type.map(str::as_bytes);
        assert_eq!(read_all(content_type, b"", limits), Err(error));
    }
}

#[test]
fn hostile_forms_cost_linear_work() {
    let line = format!("\r\n--{BOUNDARY}");
    let limits = FormLimits::default().ignored_bytes(u64::MAX);
    for piece in [
        "\r\n".to_owned(),
        "\r".to_owned(),
        "\r\n--".to_owned(),
        line[..line.len() - 1].to_owned(),
        format!("{line}x"),
        format!("{line}-"),
        format!("{line}\r"),
        format!("{line}{}x", " ".repeat(64)),
        format!("{line}{}\r", " ".repeat(64)),
        "\n".to_owned(),
        "\u{FEFF}".to_owned(),
        format!("\n--{BOUNDARY}x"),
        format!("\n--{BOUNDARY}{}x", " ".repeat(64)),
    ] {
        let head = [format!("--{BOUNDARY}\r\n").as_bytes(), &file_part(b"")].concat();
        let data = piece.repeat((1 << 16) / piece.len()).into_bytes();
        let bodies = [[head, data.clone()].concat(), data];
        for (body, size) in
            bodies.iter().flat_map(|body| [1, 2, 4096, body.len()].map(|size| (body, size)))
        {
            let mut reader = reader(limits);
            let trace = trace(&mut reader, body.chunks(size));
            assert_eq!(trace.end, Err(FormError::Truncated));
            let frames = body.len().div_ceil(size) as u64;
            // Each byte is searched and compared, and so is the byte that ends a comparison.
            let most = 4 * body.len() as u64 + 2 * frames;
            let examined = reader.examined();
            assert!(examined <= most, "{piece:?} in frames of {size}: {examined} of {most}");
        }
    }
}

#[derive(Clone, Debug)]
enum Part {
    Field(String, Vec<u8>),
    Encoded(String, Vec<u8>),
    File(Vec<u8>),
    Other(Vec<u8>),
}

fn name() -> impl Strategy<Value = String> {
    "[^\r\n\\\\%\0]{0,8}"
}

/// Content made of pieces of delimiters, but without a delimiter.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop_oneof![Just("\r\n"), Just("\r"), Just("\n"), Just("--"), Just("-"), Just(" ")]
            .prop_map(|piece| piece.as_bytes().to_vec()),
        Just(BOUNDARY.as_bytes().to_vec()),
        (0..BOUNDARY.len() + 4)
            .prop_map(|len| format!("\r\n--{BOUNDARY}").as_bytes()[..len].to_vec()),
        Just(format!("\r\n--{BOUNDARY}X").into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| {
        let mut content = pieces.concat();
        while let Some(after) = after_delimiter(&content) {
            content.truncate(after);
            content.push(b'X');
        }
        content
    })
}

// The position in `content` at which the boundary of a delimiter ends, including the CR LF on
// either side.
fn after_delimiter(content: &[u8]) -> Option<usize> {
    let line = format!("\r\n--{BOUNDARY}");
    let framed = [b"\r\n", content, b"\r\n"].concat();
    let mut ends = memchr::memmem::find_iter(&framed, &line).map(|at| at + line.len());
    let end = ends.find(|end| {
        let after = &framed[*end..];
        let is_blank = |byte: &&u8| matches!(**byte, b' ' | b'\t');
        let padding = after.iter().take_while(is_blank).count();
        after.starts_with(b"--") || padding > 64 || after[padding..].starts_with(b"\r\n")
    })?;
    Some(end - b"\r\n".len())
}

/// What may precede the first boundary: nothing, or something that ends a line.
fn preamble() -> impl Strategy<Value = String> {
    "(([a-z\u{FEFF}\r-]{0,9}|--x|------wire-Qv3kZ0aYx7[x-])?\n)?[ \t\n\u{FEFF}]{0,4}"
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let field_or_other = prop_oneof![
        (name(), content()).prop_map(|(name, value)| Part::Field(name, value)),
        (name(), content()).prop_map(|(name, value)| Part::Encoded(name, value)),
        content().prop_map(Part::Other),
    ];
    let before = proptest::collection::vec(field_or_other.clone(), 0..3);
    let file = proptest::option::of(content().prop_map(Part::File));
    let after = proptest::collection::vec(field_or_other, 0..3);
    (before, file, after).prop_map(|(mut parts, file, after)| {
        parts.extend(file);
        parts.extend(after);
        parts
    })
}

fn encode(parts: &[Part]) -> Vec<u8> {
    let parts: Vec<Vec<u8>> = parts
        .iter()
        .map(|part| match part {
            Part::Field(name, value) => {
                let head = field_part(&name.replace('"', "%22"), "");
                [head, value.clone()].concat()
            }
            Part::Encoded(name, value) => {
                encoded_part(&name.replace('"', "%22"), "base64", STANDARD.encode(value).as_bytes())
            }
            Part::File(data) => file_part(data),
            Part::Other(data) => [b"X: y\r\n\r\n", &data[..]].concat(),
        })
        .collect();
    form(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn expected(parts: &[Part]) -> Trace {
    let mut expected = complete(vec![], b"");
    for part in parts {
        match part {
            Part::Field(name, value) | Part::Encoded(name, value) => {
                let value = String::from_utf8_lossy(value);
                expected.events.push(field(name, &value));
            }
            Part::File(data) => {
                expected.data.clone_from(data);
                expected.events.push(file("a.bin", None));
            }
            Part::Other(_) => {}
        }
    }
    expected
}

proptest! {
    #[test]
    fn any_form_comes_back_however_it_is_cut(
        before in preamble(),
        parts in parts(),
        lens in proptest::collection::vec(0..40_usize, 0..40),
    ) {
        let body = [before.into_bytes(), encode(&parts)].concat();
        let expected = expected(&parts);
        let limits = FormLimits::default();
        prop_assert_eq!(&trace(&mut reader(limits), cut(&body, lens)), &expected);
        prop_assert_eq!(&trace(&mut reader(limits), body.chunks(1)), &expected);
        prop_assert_eq!(&trace(&mut reader(limits), [&body[..]]), &expected);
    }

    #[test]
    fn any_bytes_read_the_same_however_they_are_cut(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just(format!("\r\n--{BOUNDARY}").into_bytes()),
                Just(file_part(b"")),
                Just(field_part("a", "b")),
                Just(encoded_part("a", "base64", b"Yg=")),
                Just(encoded_part("a", "quoted-printable", b"=6")),
                Just(b"\n".to_vec()),
                Just("\u{FEFF}".as_bytes().to_vec()),
                Just(b"--".to_vec()),
                Just(b"\r\n".to_vec()),
                Just(b"\r\n\r\n".to_vec()),
                Just(vec![b' '; 40]),
                proptest::collection::vec(any::<u8>(), 0..20),
            ],
            0..12,
        ),
        lens in proptest::collection::vec(0..40_usize, 0..40),
    ) {
        let body = pieces.concat();
        let limits = FormLimits::default()
            .parts(4)
            .part_header_bytes(100)
            .field_bytes(20)
            .fields_bytes(30)
            .ignored_bytes(40);
        let whole = trace(&mut reader(limits), [&body[..]]);
        prop_assert_eq!(&trace(&mut reader(limits), cut(&body, lens)), &whole);
        prop_assert_eq!(&trace(&mut reader(limits), body.chunks(1)), &whole);
    }

    // `trace` checks how much the reader holds whenever it needs data.
    #[test]
    fn no_more_than_the_bound_is_held_whatever_is_sent(
        pieces in proptest::collection::vec(
            prop_oneof![
                (1..400_usize).prop_map(|len| vec![b'x'; len]),
                (1..200_usize).prop_map(|len| vec![0xFF; len]),
                (1..1200_usize).prop_map(|len| vec![b' '; len]),
                Just(format!("\r\n--{BOUNDARY}\r\n").into_bytes()),
                Just(format!("\r\n--{BOUNDARY}").into_bytes()),
                Just(field_part("a", "")),
                Just(file_part(b"")),
                Just(b"Content-Disposition: form-data; name=".to_vec()),
                Just(b"\r\n".to_vec()),
            ],
            0..40,
        ),
        lens in proptest::collection::vec(0..200_usize, 0..40),
        (header, field, fields) in (50..300_usize, 0..200_usize, 0..300_usize),
    ) {
        let limits =
            FormLimits::default().part_header_bytes(header).field_bytes(field).fields_bytes(fields);
        let body = [format!("--{BOUNDARY}\r\n").into_bytes(), pieces.concat()].concat();
        let whole = trace(&mut reader(limits), [&body[..]]);
        prop_assert_eq!(&trace(&mut reader(limits), cut(&body, lens)), &whole);
        prop_assert_eq!(&trace(&mut reader(limits), body.chunks(1)), &whole);
    }
}
