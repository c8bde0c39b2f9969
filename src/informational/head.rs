//! The head of an informational response of HTTP/1.1, as bytes.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// Encodes the head of a response.
///
/// The types of `http` allow no line end in a name or a value.
pub(super) fn encode(status: StatusCode, headers: &HeaderMap) -> Bytes {
    let mut head = Vec::with_capacity(64 + headers.len() * 64);
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(reason(status).as_bytes());
    head.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

/// A reason may be empty, but some clients want one.
fn reason(status: StatusCode) -> &'static str {
    match status.as_u16() {
        104 => "Upload Resumption Supported",
        _ => status.canonical_reason().unwrap_or("Informational"),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{LINK, LOCATION};

    use super::*;

    fn encoded(status: u16, headers: &HeaderMap) -> Bytes {
        encode(StatusCode::from_u16(status).unwrap(), headers)
    }

    #[test]
    fn a_head_has_a_status_line_headers_and_an_empty_line() {
        let mut headers = HeaderMap::new();
        assert_eq!(encoded(103, &headers), "HTTP/1.1 103 Early Hints\r\n\r\n");
        assert_eq!(encoded(142, &headers), "HTTP/1.1 142 Informational\r\n\r\n");
        headers.insert(LOCATION, HeaderValue::from_static("/files/1"));
        headers.append(LINK, HeaderValue::from_static("</a>"));
        headers.append(LINK, HeaderValue::from_bytes(b"</\xe9>").unwrap());
        let expected: &[u8] = b"HTTP/1.1 104 Upload Resumption Supported\r\n\
            location: /files/1\r\nlink: </a>\r\nlink: </\xe9>\r\n\r\n";
        assert_eq!(encoded(104, &headers), expected);
    }
}
