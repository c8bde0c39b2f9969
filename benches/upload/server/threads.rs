//! The machine: a thread a connection reads up to 1 MiB and writes it.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::sink::Sink;
use crate::http1::{content_length, header, split};
use crate::setup::Setup;

pub(crate) fn start(listener: TcpListener, setup: Setup, data: &Path) {
    let data: Arc<Path> = data.into();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let data = Arc::clone(&data);
            thread::spawn(move || {
                if let Err(error) = stream.and_then(|stream| serve(stream, &setup, &data)) {
                    eprintln!("std: {error}");
                }
            });
        }
    });
}

fn serve(mut stream: TcpStream, setup: &Setup, data: &Path) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut filled = 0;
        let (head, begun) = loop {
            match stream.read(&mut buffer[filled..])? {
                0 => return Ok(()),
                count => filled += count,
            }
            if let Some((head, body)) = split(&buffer[..filled]) {
                break (head.to_owned(), filled - body.len()..filled);
            }
        };
        let answer = match header(&head, "content-range") {
            None => "{}".to_owned(),
            Some(range) => {
                let path = head.split(' ').nth(1).unwrap_or_default();
                let mut sink = Sink::open(setup, data, path, range)?;
                let mut left = content_length(&head).unwrap_or_default();
                left -= begun.len();
                sink.write(&buffer[begun])?;
                while left > 0 {
                    let most = left.min(BUFFER);
                    let count = stream.read(&mut buffer[..most])?;
                    if count == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    sink.write(&buffer[..count])?;
                    left -= count;
                }
                sink.finish()?
            }
        };
        let length = answer.len();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        stream.write_all(format!("{head}content-length: {length}\r\n\r\n{answer}").as_bytes())?;
    }
}

const BUFFER: usize = 1 << 20;
