//! The body of a chunk.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::prefix::Prefix;
use crate::progress::Meter;
use crate::source::Source;

/// Streams a chunk while it is read, so that memory does not depend on the chunk's size.
///
/// Unlike a stream, it knows its length, which servers and proxies prefer.
pub(crate) struct ChunkBody {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    wanted: oneshot::Receiver<()>,
    left: u64,
    meter: Meter,
}

/// The task that reads a chunk. When this is dropped, the body ends, even if a connection still has
/// it.
pub(crate) struct Reading {
    task: JoinHandle<Option<Prefix>>,
    _wanted: oneshot::Sender<()>,
}

impl ChunkBody {
    /// The bytes after a prefix, up to some position.
    pub(crate) fn new(
        prefix: Prefix,
        end: u64,
        source: &Arc<Source>,
        meter: &Meter,
    ) -> (Reading, Self) {
        let left = end - prefix.length();
        let (sender, pieces) = mpsc::channel(AHEAD);
        let source = Arc::clone(source);
        let task = spawn_blocking(move || {
            match prefix.read_to(end, &source, |piece| sender.blocking_send(Ok(piece)).is_ok()) {
                Ok(prefix) => Some(prefix),
                Err(error) => {
                    drop(sender.blocking_send(Err(error)));
                    None
                }
            }
        });
        let (sender, wanted) = oneshot::channel();
        let reading = Reading { task, _wanted: sender };
        (reading, Self { pieces, wanted, left, meter: meter.clone() })
    }

    pub(crate) fn length(&self) -> u64 {
        self.left
    }
}

impl Reading {
    /// The bytes that have been read; `None` if reading failed.
    pub(crate) async fn prefix(self) -> Option<Prefix> {
        self.task.await.ok().flatten()
    }
}

impl Body for ChunkBody {
    type Data = Bytes;
    type Error = Unreadable;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Unreadable>>> {
        if Pin::new(&mut self.wanted).poll(cx).is_ready() {
            return Poll::Ready(Some(Err(Unreadable("nobody wants it any more".to_owned()))));
        }
        Poll::Ready(match ready!(self.pieces.poll_recv(cx)) {
            Some(Ok(piece)) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                self.meter.advance(piece.len() as u64);
                Some(Ok(Frame::data(piece)))
            }
            Some(Err(error)) => Some(Err(Unreadable(error.to_string()))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// A file that cannot be read, so that its upload cannot continue.
#[derive(Debug)]
pub(crate) struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it cannot be read: {}", self.0)
    }
}

impl Error for Unreadable {}

/// How many pieces are read before they can be sent.
const AHEAD: usize = 2;
