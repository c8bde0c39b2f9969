//! A stream whose client has to begin in time.
//!
//! To detect whether a client speaks HTTP/1 or HTTP/2, hyper-util's `auto::Builder` waits for the
//! first byte that differs from HTTP/2's preface, or for all 24 bytes of the preface. None of
//! hyper's timeouts has started by then.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Fails if the client's HTTP version is not known within a timeout.
#[derive(Debug)]
pub struct Begins<T> {
    /// The stream that it reads from and writes to.
    pub stream: T,
    /// `None` once the version is known.
    beginning: Option<Box<Beginning>>,
}

#[derive(Debug)]
struct Beginning {
    /// How many bytes of the preface have arrived.
    come: usize,
    time_is_up: Pin<Box<Sleep>>,
}

impl<T> Begins<T> {
    /// `timeout` is how long a client may take to begin.
    pub fn new(stream: T, timeout: Duration) -> Self {
        let time_is_up = Box::pin(tokio::time::sleep(timeout));
        Self { stream, beginning: Some(Box::new(Beginning { come: 0, time_is_up })) }
    }
}

impl Beginning {
    /// Whether the version is still unknown.
    fn goes_on_with(&mut self, bytes: &[u8]) -> bool {
        let expected = &PREFACE[self.come..];
        self.come += bytes.len();
        !bytes.is_empty() && bytes.len() < expected.len() && expected.starts_with(bytes)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Begins<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let held = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some(beginning) = &mut self.beginning else { return read };
        match read {
            Poll::Pending => beginning.time_is_up.as_mut().poll(cx).map(|()| {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not begin"))
            }),
            read => {
                if !beginning.goes_on_with(&buffer.filled()[held..]) {
                    self.beginning = None;
                }
                read
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Begins<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
