//! Reading the commits of an upload as one file.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io::{self, SeekFrom};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};

use super::entry::{Body, Entry, Piece};
use super::log::{Tail, missing, parse_list};
use super::persist::{There, find};
use super::pool::Buffer;
use super::writer::BucketWriter;
use super::{AT_ONCE, Bucket, failed};
use crate::id::UploadId;
use crate::store::{Reader, StoreError};

/// The bytes up to the offset of `tail`.
pub(super) async fn open(
    bucket: &Arc<Bucket>,
    id: &UploadId,
    tail: Tail,
) -> Result<Reader, StoreError> {
    let size = tail.entry.progress.offset;
    let source = match tail.entry.place() {
        Some(moved) => {
            let key = Path::parse(&moved.target)
                .map_err(|error| StoreError::damaged(id, error.to_string()))?;
            match find(&*bucket.targets, &key, &moved.mark).await? {
                There::Ours(length) if length >= size => {}
                There::Another => {
                    return Err(StoreError::damaged(
                        id,
                        "another's file is where it was persisted",
                    ));
                }
                _ => return Err(StoreError::damaged(id, "its persisted file is not there")),
            }
            let part = bucket.segment as u64;
            Source::Object { objects: Arc::clone(&bucket.targets), key, part }
        }
        None => Source::Log(Log {
            bucket: Arc::clone(bucket),
            id: *id,
            last: tail.seq,
            spans: Mutex::default(),
        }),
    };
    Ok(Reader::new(LogReader::new(source, size), size))
}

/// Whether all bytes up to the offset of `tail` are there. It reads none.
pub(super) async fn check(
    bucket: &Arc<Bucket>,
    id: &UploadId,
    tail: Tail,
) -> Result<(), StoreError> {
    if tail.entry.place().is_some() {
        return open(bucket, id, tail).await.map(drop);
    }
    let measured = stream::iter(1..=tail.seq).map(|seq| bucket.measure(id, seq));
    let mut measured = measured.buffered(AT_ONCE);
    let mut end = 0;
    while let Some(commit) = measured.next().await {
        let commit = commit?;
        if commit.start != end {
            return Err(StoreError::damaged(id, format!("no commit has the byte at {end}")));
        }
        end = commit.end;
    }
    Ok(())
}

/// What a writer has written and not committed; it is gone with the reader.
pub(super) fn staged(writer: BucketWriter, buffer: Arc<Buffer>, size: u64) -> Reader {
    let (bucket, id) = (Arc::clone(&writer.bucket), writer.id());
    let staged = Staged { bucket, id, buffer, _writer: Mutex::new(writer) };
    Reader::new(LogReader::new(Source::Staged(Box::new(staged)), size), size)
}

enum Source {
    Log(Log),
    Object { objects: Arc<dyn ObjectStore>, key: Path, part: u64 },
    Staged(Box<Staged>),
}

struct Staged {
    bucket: Arc<Bucket>,
    id: UploadId,
    buffer: Arc<Buffer>,
    /// Deletes the pieces at the end. Behind a lock, since it need not be `Sync`.
    _writer: Mutex<BucketWriter>,
}

struct Log {
    bucket: Arc<Bucket>,
    id: UploadId,
    last: u32,
    /// What is known of the commits, by where they start.
    spans: Mutex<BTreeMap<u64, Span>>,
}

#[derive(Clone)]
struct Span {
    seq: u32,
    at: u64,
    end: u64,
    /// `None`: its object holds the bytes.
    pieces: Option<Arc<Vec<Piece>>>,
}

type Chunks = BoxStream<'static, object_store::Result<Bytes>>;
type Opening = Pin<Box<dyn Future<Output = io::Result<Chunks>> + Send>>;

/// A file that lies in several objects. Nothing is read ahead but what the object store's client sends.
struct LogReader {
    source: Arc<Source>,
    size: u64,
    position: u64,
    // Behind a lock that is never contended, since a future need not be `Sync`.
    state: Mutex<State>,
}

enum State {
    Idle,
    Opening(Opening),
    /// And whether it has given a byte so far.
    Reading(Chunks, Bytes, bool),
}

impl LogReader {
    fn new(source: Source, size: u64) -> Self {
        Self { source: Arc::new(source), size, position: 0, state: Mutex::new(State::Idle) }
    }
}

impl Source {
    /// The bytes from there to the end of the object that holds them, or less.
    async fn fetch(self: Arc<Self>, position: u64, size: u64) -> io::Result<Chunks> {
        match &*self {
            Self::Log(log) => log.fetch(position).await.map_err(io::Error::other),
            Self::Object { objects, key, part } => {
                // The object store's client gives a request so much time and no more, however slowly its
                // bytes are taken.
                let range = GetRange::Bounded(position..size.min(position + part));
                get(&**objects, key, range).await.map_err(io::Error::other)
            }
            Self::Staged(staged) => staged.fetch(position).await.map_err(io::Error::other),
        }
    }
}

impl Staged {
    /// What is in memory may have become a piece since the last time.
    async fn fetch(&self, position: u64) -> Result<Chunks, StoreError> {
        let mut inner = self.buffer.lock().await;
        inner.check()?;
        let mut start = 0;
        for piece in &inner.pieces {
            if position < start + piece.length {
                return self.bucket.get_piece(&self.id, piece, position - start).await;
            }
            start += piece.length;
        }
        let mut skip = usize::try_from(position - start).unwrap_or(usize::MAX);
        let mut blocks = Vec::new();
        for block in inner.payload() {
            let passed = block.len().min(skip);
            skip -= passed;
            if passed < block.len() {
                blocks.push(Ok(block.slice(passed..)));
            }
        }
        Ok(stream::iter(blocks).boxed())
    }
}

impl Log {
    async fn fetch(&self, position: u64) -> Result<Chunks, StoreError> {
        let (known, mut low, mut high) = self.known(position);
        if let Some(span) = known {
            return self.read(&span, position).await;
        }
        // Who reads on from the start of a commit need not look at it first.
        let mut next = (position == 0 || self.ends_at(position)).then_some(low);
        while let Some(seq) = next
            && seq <= high
        {
            let (span, chunks) = self.follow(seq).await?;
            if span.at > position || span.end < position {
                break;
            }
            if span.end > position {
                self.remember(&span);
                return match chunks {
                    Some(chunks) if span.at == position => Ok(chunks),
                    _ => self.read(&span, position).await,
                };
            }
            low = seq + 1;
            next = Some(low);
        }
        while low <= high {
            let middle = low + (high - low) / 2;
            let span = self.look(middle).await?;
            if position < span.at {
                high = middle - 1;
            } else if position < span.end {
                self.remember(&span);
                return self.read(&span, position).await;
            } else {
                low = middle + 1;
            }
        }
        Err(StoreError::damaged(&self.id, format!("no commit has the byte at {position}")))
    }

    /// The commit that holds a byte, if it is known, and else between which ones it is.
    fn known(&self, position: u64) -> (Option<Span>, u32, u32) {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let before = spans.range(..=position).next_back().map(|(_, span)| span);
        let after = spans.range(position.saturating_add(1)..).next().map(|(_, span)| span);
        let known = before.filter(|span| position < span.end).cloned();
        let low = before.map_or(1, |span| span.seq + 1);
        (known, low, after.map_or(self.last, |span| span.seq - 1))
    }

    fn ends_at(&self, position: u64) -> bool {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.range(..position).next_back().is_some_and(|(_, span)| span.end == position)
    }

    fn remember(&self, span: &Span) {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.insert(span.at, span.clone());
    }

    async fn read(&self, span: &Span, position: u64) -> Result<Chunks, StoreError> {
        let skip = position - span.at;
        let Some(pieces) = &span.pieces else {
            let key = self.bucket.keys.entry(&self.id, span.seq);
            let range = GetRange::Bounded(skip..span.end - span.at);
            return get(&*self.bucket.objects, &key, range).await;
        };
        let mut start = 0;
        for piece in &**pieces {
            if skip < start + piece.length {
                return self.bucket.get_piece(&self.id, piece, skip - start).await;
            }
            start += piece.length;
        }
        Err(StoreError::damaged(&self.id, format!("commit {} lists too few bytes", span.seq)))
    }

    /// A commit, and its bytes if it holds some.
    async fn follow(&self, seq: u32) -> Result<(Span, Option<Chunks>), StoreError> {
        let key = self.bucket.keys.entry(&self.id, seq);
        let found = match self.bucket.objects.get(&key).await {
            Err(object_store::Error::NotFound { .. }) => return Err(missing(&self.id, seq)),
            found => found.map_err(|error| failed("read an object", error))?,
        };
        let entry = Entry::read(&found.attributes)
            .map_err(|why| StoreError::damaged(&self.id, format!("commit {seq}: {why}")))?;
        let mut span = Span { seq, at: entry.at, end: entry.progress.offset, pieces: None };
        if entry.body == Body::List {
            let bytes = found.bytes().await.map_err(|error| failed("read an object", error))?;
            span.pieces = Some(Arc::new(parse_list(&self.id, seq, &bytes)?.pieces));
            return Ok((span, None));
        }
        Ok((span, Some(found.into_stream())))
    }

    async fn look(&self, seq: u32) -> Result<Span, StoreError> {
        let entry = self.bucket.entry(&self.id, seq).await?;
        let entry = entry.ok_or_else(|| missing(&self.id, seq))?;
        let pieces = match entry.body {
            Body::Bytes | Body::Gone => None,
            Body::List => Some(Arc::new(self.bucket.list_of(&self.id, seq).await?.pieces)),
        };
        Ok(Span { seq, at: entry.at, end: entry.progress.offset, pieces })
    }
}

impl Bucket {
    /// Which bytes a commit has, if their objects are there.
    async fn measure(&self, id: &UploadId, seq: u32) -> Result<Range<u64>, StoreError> {
        let found = self.sized_entry(id, seq).await?;
        let (entry, size) = found.ok_or_else(|| missing(id, seq))?;
        let range = entry.at..entry.progress.offset;
        let lacks = |what: &str| StoreError::damaged(id, format!("commit {seq} lacks {what}"));
        if entry.body != Body::List {
            let whole = size >= range.end.saturating_sub(range.start);
            return if whole { Ok(range) } else { Err(lacks("bytes")) };
        }
        for piece in self.list_of(id, seq).await?.pieces {
            match self.objects.head(&self.keys.piece(id, &piece.name)).await {
                Ok(object) if object.size >= piece.length => {}
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {
                    return Err(lacks(&format!("bytes of the piece {}", piece.name)));
                }
                Err(error) => return Err(failed("look at a piece", error)),
            }
        }
        Ok(range)
    }

    async fn get_piece(
        &self,
        id: &UploadId,
        piece: &Piece,
        skip: u64,
    ) -> Result<Chunks, StoreError> {
        let range = GetRange::Bounded(skip..piece.length);
        get(&*self.objects, &self.keys.piece(id, &piece.name), range).await
    }
}

async fn get(objects: &dyn ObjectStore, key: &Path, range: GetRange) -> Result<Chunks, StoreError> {
    let options = GetOptions { range: Some(range), ..GetOptions::default() };
    let found = objects.get_opts(key, options).await;
    Ok(found.map_err(|error| failed("read an object", error))?.into_stream())
}

impl AsyncRead for LogReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { source, size, position, state } = self.get_mut();
        let state = state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let left = size.saturating_sub(*position);
            if left == 0 {
                *state = State::Idle;
                return Poll::Ready(Ok(()));
            }
            match state {
                State::Idle => {
                    *state = State::Opening(Box::pin(Arc::clone(source).fetch(*position, *size)));
                }
                State::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(chunks) => *state = State::Reading(chunks, Bytes::new(), false),
                    Err(error) => {
                        *state = State::Idle;
                        return Poll::Ready(Err(error));
                    }
                },
                State::Reading(_, bytes, came) if !bytes.is_empty() => {
                    let left = usize::try_from(left).unwrap_or(usize::MAX);
                    let length = bytes.len().min(buffer.remaining()).min(left);
                    buffer.put_slice(&bytes[..length]);
                    bytes.advance(length);
                    *position += length as u64;
                    *came = true;
                    return Poll::Ready(Ok(()));
                }
                State::Reading(chunks, bytes, came) => match ready!(chunks.poll_next_unpin(cx)) {
                    Some(Ok(more)) => *bytes = more,
                    // The object is read; the next one begins here.
                    None if *came => *state = State::Idle,
                    None => {
                        *state = State::Idle;
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                    // It broke off, and has come further than the last time.
                    Some(Err(_)) if *came => *state = State::Idle,
                    Some(Err(error)) => {
                        *state = State::Idle;
                        return Poll::Ready(Err(io::Error::other(error)));
                    }
                },
            }
        }
    }
}

impl AsyncSeek for LogReader {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let this = self.get_mut();
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => this.position.checked_add_signed(by),
            SeekFrom::End(by) => this.size.checked_add_signed(by),
        };
        let target = target.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "a place before the start or beyond all files",
            )
        })?;
        if target != this.position {
            this.position = target;
            *this.state.get_mut().unwrap_or_else(PoisonError::into_inner) = State::Idle;
        }
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.position))
    }
}

impl fmt::Debug for LogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader")
            .field("size", &self.size)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
