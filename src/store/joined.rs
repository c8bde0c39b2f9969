//! Several uploads, read one after the other as one file.

use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeek, AsyncSeekExt as _, ReadBuf, Take};

use super::{Reader, Result};
use crate::erased::BoxFuture;
use crate::id::UploadId;
use crate::upload::Part;

/// The bytes of parts. One of them is open at a time, from when it is read.
pub(super) struct Joined<F> {
    /// The parts, and where each ends.
    parts: Vec<(UploadId, u64)>,
    open: F,
    position: u64,
    // Behind a lock that is never contended, since a future need not be `Sync`.
    state: Mutex<State>,
}

enum State {
    Closed,
    Opening(BoxFuture<'static, io::Result<Reader>>),
    Open(Take<Reader>),
}

impl<F> Joined<F>
where
    F: Fn(UploadId) -> BoxFuture<'static, Result<Reader>>,
{
    pub(super) fn new(parts: &[Part], open: F) -> Self {
        let mut end = 0;
        let ends = parts.iter().map(|part| {
            end += part.size.unwrap_or(0);
            (part.id, end)
        });
        Self { parts: ends.collect(), open, position: 0, state: Mutex::new(State::Closed) }
    }

    pub(super) fn size(&self) -> u64 {
        self.parts.last().map_or(0, |(_, end)| *end)
    }

    /// Opens the part that has the next byte, and seeks to it.
    fn open_next(&self, part: UploadId, within: u64) -> BoxFuture<'static, io::Result<Reader>> {
        let opening = (self.open)(part);
        Box::pin(async move {
            let mut reader = opening.await.map_err(io::Error::other)?;
            if within > 0 {
                reader.seek(SeekFrom::Start(within)).await?;
            }
            Ok(reader)
        })
    }
}

impl<F> AsyncRead for Joined<F>
where
    F: Fn(UploadId) -> BoxFuture<'static, Result<Reader>> + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let next = this.parts.partition_point(|(_, end)| *end <= this.position);
        let Some((part, end)) = this.parts.get(next).copied() else { return Poll::Ready(Ok(())) };
        let start = next.checked_sub(1).map_or(0, |before| this.parts[before].1);
        let opening = |this: &Self| State::Opening(this.open_next(part, this.position - start));
        loop {
            let fresh = matches!(this.state.get_mut(), Ok(State::Closed)).then(|| opening(this));
            let state = this.state.get_mut().unwrap_or_else(PoisonError::into_inner);
            if let Some(fresh) = fresh {
                *state = fresh;
            }
            match state {
                State::Closed => {}
                State::Opening(future) => {
                    let opened = ready!(future.as_mut().poll(cx));
                    *state = State::Closed;
                    *state = State::Open(opened?.take(end - this.position));
                }
                State::Open(reader) => {
                    let before = buf.filled().len();
                    ready!(Pin::new(reader).poll_read(cx, buf))?;
                    let read = (buf.filled().len() - before) as u64;
                    this.position += read;
                    if this.position == end {
                        *state = State::Closed;
                    } else if read == 0 && buf.remaining() > 0 {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl<F: Unpin> AsyncSeek for Joined<F> {
    fn start_seek(mut self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        // A reader seeks from the start.
        let SeekFrom::Start(position) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        self.position = position;
        self.state = Mutex::new(State::Closed);
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.position))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::store::StoreError;

    fn joined(contents: &[Vec<u8>]) -> Reader {
        let parts: Vec<_> = contents.iter().map(|it| (UploadId::random(), it.clone())).collect();
        let known = parts.iter().map(|(id, it)| Part::new(*id, it.len() as u64));
        let (known, stored): (Vec<_>, HashMap<_, _>) =
            (known.collect(), parts.into_iter().collect());
        Reader::joined(&known, move |id| {
            let content = stored.get(&id).cloned();
            Box::pin(async move {
                let content = content.ok_or(StoreError::NotFound)?;
                let size = content.len() as u64;
                Ok(Reader::new(Cursor::new(content), size))
            })
        })
    }

    proptest! {
        #[test]
        fn parts_read_as_one_file_from_any_place(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6),
            seeks in prop::collection::vec((0..130_u64, 0..130_u64), 0..6),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let whole = contents.concat();
            let result: Result<(), TestCaseError> = runtime.block_on(async {
                let mut reader = joined(&contents);
                prop_assert_eq!(reader.size(), whole.len() as u64);
                let mut read = Vec::new();
                reader.read_to_end(&mut read).await.unwrap();
                prop_assert_eq!(&read, &whole);
                for (at, count) in seeks {
                    reader.seek(SeekFrom::Start(at)).await.unwrap();
                    let mut read = Vec::new();
                    (&mut reader).take(count).read_to_end(&mut read).await.unwrap();
                    let expected = whole.iter().skip(at as usize).take(count as usize);
                    prop_assert_eq!(read, expected.copied().collect::<Vec<_>>());
                }
                Ok(())
            });
            result?;
        }
    }

    #[tokio::test]
    async fn a_part_that_is_missing_or_short_is_an_error() {
        let short = Part::new(UploadId::random(), 5);
        let mut reader = Reader::joined(&[short], |_| {
            Box::pin(async { Ok(Reader::new(Cursor::new(b"four".to_vec()), 4)) })
        });
        let error = reader.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let mut reader =
            Reader::joined(&[short], |_| Box::pin(async { Err(StoreError::NotFound) }));
        assert!(reader.read_to_end(&mut Vec::new()).await.is_err());
    }
}
