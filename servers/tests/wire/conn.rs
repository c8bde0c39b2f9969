//! One HTTP/1.1 connection that can send badly on purpose.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use memchr::memmem;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_linger;

use super::expect::{Reply, Status};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Conn {
    stream: TcpStream,
    timeout: Duration,
    inbuf: Vec<u8>,
    eof: bool,
    /// A 100 has come.
    pub(crate) continued: bool,
    /// The answer has no body, whatever its head says.
    pub(crate) to_head: bool,
    /// What a held request still has to send.
    pub(crate) rest: Vec<u8>,
}

/// How a wait for bytes ended without any.
enum Lack {
    Closed,
    Timeout,
}

impl Conn {
    pub(crate) fn open(addr: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            timeout,
            inbuf: Vec::new(),
            eof: false,
            continued: false,
            to_head: false,
            rest: Vec::new(),
        })
    }

    /// Sends until an answer or an end arrives; how many bytes the system took.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        let mut end = Instant::now() + self.timeout;
        while done < bytes.len() && !self.over() {
            match self.wait(end, true) {
                (true, _) => self.take(),
                (_, true) => {
                    let to = bytes.len().min(done + (1 << 18));
                    match self.stream.write(&bytes[done..to]) {
                        Ok(n) => {
                            done += n;
                            end = Instant::now() + self.timeout;
                        }
                        Err(error) if again(&error) => {}
                        Err(_) => {
                            self.drain();
                            self.eof = true;
                        }
                    }
                }
                _ => break,
            }
        }
        done
    }

    /// Whether there is no sense in sending more: the answer is here, or the end.
    pub(crate) fn over(&mut self) -> bool {
        self.eof || self.answered()
    }

    /// Takes what is on its way.
    pub(crate) fn drain(&mut self) {
        while !self.eof && self.wait(Instant::now() + Duration::from_millis(200), false).0 {
            self.take();
        }
    }

    pub(crate) fn await_continue(&mut self, limit: Duration) {
        let end = Instant::now() + limit;
        while !self.over() && !self.continued && self.wait(end, false).0 {
            self.take();
        }
    }

    pub(crate) fn answer(&mut self, timeout: Option<Duration>) -> Result<Reply, String> {
        let end = Instant::now() + timeout.unwrap_or(self.timeout);
        match self.read_answer(end) {
            Ok(reply) => reply,
            Err(Lack::Closed) => Ok(Reply::without(Status::Closed)),
            Err(Lack::Timeout) => Ok(Reply::without(Status::Timeout)),
        }
    }

    pub(crate) fn half_close(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends with a reset instead of an orderly close.
    pub(crate) fn reset(self) {
        let _ = set_socket_linger(&self.stream, Some(Duration::ZERO));
    }

    /// Whether bytes can be read, and whether some can be written; neither at the `end`.
    fn wait(&self, end: Instant, write: bool) -> (bool, bool) {
        let flags = if write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).ok();
            let mut fds = [PollFd::new(&self.stream, flags)];
            match poll(&mut fds, left.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return (true, false),
                Ok(_) => {
                    let got = fds[0].revents();
                    let readable = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
                    return (got.intersects(readable), got.contains(PollFlags::OUT));
                }
            }
        }
    }

    fn take(&mut self) {
        let mut block = [0; 1 << 16];
        match self.stream.read(&mut block) {
            Ok(n) if n > 0 => self.inbuf.extend_from_slice(&block[..n]),
            Err(error) if again(&error) => {}
            _ => self.eof = true,
        }
    }

    /// Whether the head of a final answer is here; 1xx are taken out.
    fn answered(&mut self) -> bool {
        while let Some(end) = memmem::find(&self.inbuf, b"\r\n\r\n") {
            if !self.inbuf.starts_with(b"HTTP/1.") || self.inbuf.get(8..10) != Some(b" 1") {
                return true;
            }
            self.inbuf.drain(..end + 4);
            self.continued = true;
        }
        false
    }

    /// Waits for more bytes.
    fn more(&mut self, end: Instant) -> Result<(), Lack> {
        if !self.eof {
            if !self.wait(end, false).0 {
                return Err(Lack::Timeout);
            }
            self.take();
        }
        if self.eof { Err(Lack::Closed) } else { Ok(()) }
    }

    fn read_answer(&mut self, end: Instant) -> Result<Result<Reply, String>, Lack> {
        while !self.answered() {
            self.more(end)?;
        }
        let head = self.until(b"\r\n\r\n");
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let Some(status) = first.split(' ').nth(1).and_then(|code| code.parse().ok()) else {
            return Ok(Err(format!("no status in {first:?}")));
        };
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.trim().to_owned(), value.trim().to_owned())
        });
        let mut reply = Reply::new(status, headers.collect());
        let length = reply.header("content-length").map(|text| text.parse::<usize>());
        let chunked = reply.header("transfer-encoding").is_some_and(|te| te.contains("chunked"));
        reply.body = match length {
            _ if self.to_head || [204, 304].contains(&status) => Vec::new(),
            _ if chunked => self.read_chunks(end)?,
            Some(Ok(size)) => self.read_body(size, end)?,
            Some(Err(_)) => return Ok(Err("Content-Length is no number".to_owned())),
            None => self.read_body(usize::MAX, end)?,
        };
        Ok(Ok(reply))
    }

    /// What is before `mark`, which is taken too; all there is when it is missing.
    fn until(&mut self, mark: &[u8]) -> String {
        let place = memmem::find(&self.inbuf, mark);
        let line: Vec<u8> = self.inbuf.drain(..place.unwrap_or(self.inbuf.len())).collect();
        self.inbuf.drain(..place.map_or(0, |_| mark.len()));
        line.into_iter().map(char::from).collect()
    }

    /// Waits until there is enough; the end of the stream is enough.
    fn fetch(&mut self, end: Instant, enough: impl Fn(&[u8]) -> bool) -> Result<(), Lack> {
        while !enough(&self.inbuf) {
            match self.more(end) {
                Err(Lack::Closed) => break,
                other => other?,
            }
        }
        Ok(())
    }

    fn read_body(&mut self, size: usize, end: Instant) -> Result<Vec<u8>, Lack> {
        self.fetch(end, |got| got.len() >= size)?;
        Ok(self.inbuf.drain(..size.min(self.inbuf.len())).collect())
    }

    fn read_chunks(&mut self, end: Instant) -> Result<Vec<u8>, Lack> {
        let mut out = Vec::new();
        loop {
            self.fetch(end, |got| memmem::find(got, b"\r\n").is_some())?;
            let line = self.until(b"\r\n");
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16).unwrap_or(0);
            let mut block = self.read_body(size.saturating_add(2), end)?;
            block.truncate(size);
            out.append(&mut block);
            if size == 0 {
                return Ok(out);
            }
        }
    }
}

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
