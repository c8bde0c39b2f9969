//! HTTP/1.1 over a blocking socket.

use std::fmt::Write as _;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::client::{Answer, Request};

pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: vec![0; 4096] }
    }

    pub(crate) fn ask(&mut self, request: &Request) -> io::Result<Answer> {
        let head = head(request);
        let [before, content, after] = &request.body;
        let mut parts = [&head, &**before, content, after].map(IoSlice::new);
        write_all(&mut self.stream, &mut parts)?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let mut filled = 0;
        loop {
            match self.stream.read(&mut self.buffer[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
            let Some((head, body)) = split(&self.buffer[..filled]) else { continue };
            let status = head[9..12].parse().map_err(io::Error::other)?;
            let Some(length) = content_length(head).or((status == 204).then_some(0)) else {
                return Err(io::Error::other(format!("no length: {head}")));
            };
            if body.len() >= length {
                let location = header(head, "location").map(str::to_owned);
                return Ok(Answer { status, location, body: body.to_vec() });
            }
        }
    }
}

/// The request's head, to be sent before its body.
pub(crate) fn head(request: &Request) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\nhost: localhost\r\n", request.method, request.path);
    for (name, value) in &request.headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    write!(head, "content-length: {}\r\n\r\n", request.length()).unwrap();
    head.into_bytes()
}

/// The head without its empty line, and what follows, once the head is there.
pub(crate) fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 4..]))
}

pub(crate) fn content_length(head: &str) -> Option<usize> {
    header(head, "content-length")?.parse().ok()
}

pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn write_all(stream: &mut TcpStream, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    // Leaves out what is empty.
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        let count = stream.write_vectored(parts)?;
        IoSlice::advance_slices(&mut parts, count);
    }
    Ok(())
}
