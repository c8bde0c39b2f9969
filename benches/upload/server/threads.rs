//! The machine: a thread a connection reads up to 1 MiB and writes it.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::sink::{Place, Sink};
use crate::http1::{content_length, header, split};
use crate::setup::Setup;

pub(crate) fn serve(listener: &TcpListener, setup: Setup, data: &Path) -> io::Result<Infallible> {
    let data: Arc<Path> = data.into();
    loop {
        let (stream, _) = listener.accept()?;
        let data = Arc::clone(&data);
        thread::spawn(move || {
            if let Err(error) = connection(stream, &setup, &data) {
                eprintln!("std: {error}");
            }
        });
    }
}

fn connection(mut stream: TcpStream, setup: &Setup, data: &Path) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER];
    while let Some((head, begun)) = read_head(&mut stream, &mut buffer)? {
        let answer = match header(&head, "content-range") {
            None => "{}".to_owned(),
            Some(range) => {
                let path = head.split(' ').nth(1).unwrap_or_default();
                let mut sink = Place::of(setup, data, path, range)?.open()?;
                let length = content_length(&head).unwrap_or_default();
                store(&mut stream, &mut buffer, begun, length, &mut sink)?;
                sink.finish()?
            }
        };
        let length = answer.len();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        stream.write_all(format!("{head}content-length: {length}\r\n\r\n{answer}").as_bytes())?;
    }
    Ok(())
}

/// The next request's head, and where in the buffer its body has begun.
fn read_head(
    stream: &mut TcpStream,
    buffer: &mut [u8],
) -> io::Result<Option<(String, Range<usize>)>> {
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..])? {
            0 => return Ok(None),
            count => filled += count,
        }
        if let Some((head, body)) = split(&buffer[..filled]) {
            return Ok(Some((head.to_owned(), filled - body.len()..filled)));
        }
    }
}

/// Stores a body of that length, the first bytes of which are in the buffer.
fn store(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    begun: Range<usize>,
    length: usize,
    sink: &mut Sink,
) -> io::Result<()> {
    let mut left = length - begun.len();
    sink.write(&buffer[begun])?;
    while left > 0 {
        let most = left.min(buffer.len());
        let count = stream.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        sink.write(&buffer[..count])?;
        left -= count;
    }
    Ok(())
}

const BUFFER: usize = 1 << 20;
