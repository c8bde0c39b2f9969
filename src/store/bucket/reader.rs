//! Reading the commits of an upload as one file.

use std::collections::BTreeMap;
use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};

use super::entry::{Body, Entry, List, Piece};
use super::log::{CommitLog, Tail, missing};
use super::objects::{AT_ONCE, Chunks, Context as _, Objects, present};
use super::pool::Buffer;
use super::snapshot::Snapshots;
use super::targets::{Found, Targets};
use crate::id::UploadId;
use crate::store::{Reader, Result, StoreError};
use crate::upload::Upload;

/// The files of uploads, wherever they are.
#[derive(Clone)]
pub(super) struct Files {
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) targets: Targets,
    /// How much of a persisted file is asked for at once.
    pub(super) part: u64,
}

impl Files {
    pub(super) fn log(&self) -> &Arc<CommitLog> {
        &self.snapshots.log
    }

    /// The bytes up to the offset of `tail`, at which the upload is described so.
    pub(super) async fn open(&self, upload: &Upload, tail: Tail) -> Result<Reader> {
        if !upload.is_joined() || tail.entry.place().is_some() {
            return self.open_own(&upload.id, tail).await;
        }
        let files = self.clone();
        Ok(Reader::joined(upload.parts_with_bytes(), move |part| {
            let files = files.clone();
            Box::pin(async move {
                let tail = files.snapshots.current(&part).await?.tail;
                files.open_own(&part, tail).await
            })
        }))
    }

    /// The bytes of an upload that has its own.
    async fn open_own(&self, id: &UploadId, tail: Tail) -> Result<Reader> {
        let size = tail.entry.progress.offset;
        let Some(place) = tail.entry.place() else {
            let (log, spans) = (Arc::clone(self.log()), Mutex::default());
            let log = Log { log, id: *id, last: tail.seq, spans };
            return Ok(Reader::new(LogReader::new(Source::Log(log), size), size));
        };
        let key = Path::parse(&place.target)
            .map_err(|error| StoreError::damaged(id, error.to_string()))?;
        let problem = match self.targets.find(&key, &place.mark).await? {
            Found::Ours(length) if length >= size => {
                let objects = self.targets.objects.clone();
                let source = Source::Object { objects, key, part: self.part };
                return Ok(Reader::new(LogReader::new(source, size), size));
            }
            Found::Other => "another file is where it was persisted",
            _ => "its persisted file is not there",
        };
        Err(StoreError::damaged(id, problem))
    }

    /// Fails unless all bytes up to the offset of `tail` are there, those of parts excepted. It reads
    /// none.
    pub(super) async fn check(&self, upload: &Upload, tail: Tail) -> Result<()> {
        if upload.is_joined() || tail.entry.place().is_some() {
            return self.open(upload, tail).await.map(drop);
        }
        let id = &upload.id;
        let measured = stream::iter(1..=tail.seq).map(|seq| self.log().measure(id, seq));
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
}

/// What was written and not committed. `guard` is dropped with the reader.
pub(super) fn staged(buffer: Arc<Buffer>, guard: impl Send + Sync + 'static, size: u64) -> Reader {
    Reader::part(LogReader::new(Source::Staged(buffer), size), 0..size, guard)
}

enum Source {
    Log(Log),
    Object { objects: Objects, key: Path, part: u64 },
    Staged(Arc<Buffer>),
}

struct Log {
    log: Arc<CommitLog>,
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

/// A file that is made of several objects, for a [`Reader`], which asks for no byte after the last
/// and seeks from the start. Nothing is read ahead but what the object store's client sends.
struct LogReader {
    source: Arc<Source>,
    size: u64,
    position: u64,
    // Behind a lock that is never contended, since a stream need not be `Sync`.
    open: Mutex<Option<Open>>,
}

/// An object that is being read.
struct Open {
    chunks: BoxStream<'static, io::Result<Bytes>>,
    bytes: Bytes,
    /// Whether it has given a byte so far.
    came: bool,
}

impl LogReader {
    fn new(source: Source, size: u64) -> Self {
        Self { source: Arc::new(source), size, position: 0, open: Mutex::default() }
    }
}

impl Source {
    /// The bytes from there to the end of the object that holds them, or less.
    fn open(self: Arc<Self>, position: u64, size: u64) -> Open {
        let chunks = async move {
            let chunks = match &*self {
                Self::Log(log) => log.fetch(position).await,
                Self::Object { objects, key, part } => {
                    // The object store's client gives a request so much time and no more, however
                    // slowly its bytes are taken.
                    let range = position..size.min(position + part);
                    objects.stream(key, range).await
                }
                Self::Staged(buffer) => buffer.read(position).await,
            };
            Ok::<_, io::Error>(chunks.map_err(io::Error::other)?.map_err(io::Error::other))
        };
        let chunks = stream::once(chunks).try_flatten().boxed();
        Open { chunks, bytes: Bytes::new(), came: false }
    }
}

impl Log {
    async fn fetch(&self, position: u64) -> Result<Chunks> {
        let (before, mut high) = self.known(position);
        let (mut low, end) = before.as_ref().map_or((1, 0), |span| (span.seq + 1, span.end));
        if let Some(span) = before.filter(|span| position < span.end) {
            return self.read(&span, position).await;
        }
        // A reader that goes on at the start of a commit need not look at it first.
        let mut follows = position == end;
        while low <= high {
            let seq = if follows { low } else { low + (high - low) / 2 };
            let (span, chunks) = match follows {
                true => self.follow(seq).await?,
                false => (self.look(seq).await?, None),
            };
            if position < span.at {
                high = seq - 1;
            } else if position < span.end {
                self.spans().insert(span.at, span.clone());
                return match chunks {
                    Some(chunks) if span.at == position => Ok(chunks),
                    _ => self.read(&span, position).await,
                };
            } else {
                low = seq + 1;
            }
            follows &= span.end == position;
        }
        Err(StoreError::damaged(&self.id, format!("no commit has the byte at {position}")))
    }

    /// The last commit that is known to start at a byte or before it, and the last one that may
    /// hold the byte.
    fn known(&self, position: u64) -> (Option<Span>, u32) {
        let spans = self.spans();
        let before = spans.range(..=position).next_back().map(|(_, span)| span.clone());
        let after = spans.range(position.saturating_add(1)..).next();
        (before, after.map_or(self.last, |(_, span)| span.seq - 1))
    }

    fn spans(&self) -> MutexGuard<'_, BTreeMap<u64, Span>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, span: &Span, position: u64) -> Result<Chunks> {
        let skip = position - span.at;
        let Some(pieces) = &span.pieces else {
            let key = self.log.keys.entry(&self.id, span.seq);
            return self.log.objects.stream(&key, skip..span.end - span.at).await;
        };
        let mut start = 0;
        for piece in &**pieces {
            if skip < start + piece.length {
                let key = self.log.keys.piece(&self.id, &piece.name);
                return self.log.objects.stream(&key, skip - start..piece.length).await;
            }
            start += piece.length;
        }
        Err(StoreError::damaged(&self.id, format!("commit {} lists too few bytes", span.seq)))
    }

    /// A commit, and its bytes if it holds some.
    async fn follow(&self, seq: u32) -> Result<(Span, Option<Chunks>)> {
        let key = self.log.keys.entry(&self.id, seq);
        let found = present(self.log.objects.store.get(&key).await).context("read an object")?;
        let found = found.ok_or_else(|| missing(&self.id, seq))?;
        let entry = Entry::of_commit(&found.attributes, &self.id, seq)?;
        let mut span = Span { seq, at: entry.at, end: entry.progress.offset, pieces: None };
        if entry.body == Body::List {
            let bytes = found.bytes().await.context("read an object")?;
            span.pieces = Some(Arc::new(List::read(&bytes, &self.id, seq)?.pieces));
            return Ok((span, None));
        }
        Ok((span, Some(found.into_stream())))
    }

    async fn look(&self, seq: u32) -> Result<Span> {
        let entry = self.log.entry(&self.id, seq).await?;
        let entry = entry.ok_or_else(|| missing(&self.id, seq))?;
        let pieces = match entry.body {
            Body::Bytes | Body::Tombstone => None,
            Body::List => Some(Arc::new(self.log.list(&self.id, seq).await?.pieces)),
        };
        Ok(Span { seq, at: entry.at, end: entry.progress.offset, pieces })
    }
}

impl AsyncRead for LogReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { source, size, position, open } = self.get_mut();
        let open = open.get_mut().unwrap_or_else(PoisonError::into_inner);
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let at = open.get_or_insert_with(|| Arc::clone(source).open(*position, *size));
            if !at.bytes.is_empty() {
                let length = at.bytes.len().min(buffer.remaining());
                buffer.put_slice(&at.bytes.split_to(length));
                *position += length as u64;
                at.came = true;
                if position == size {
                    *open = None;
                }
                return Poll::Ready(Ok(()));
            }
            match ready!(at.chunks.poll_next_unpin(cx)) {
                Some(Ok(more)) => at.bytes = more,
                // The object ends here, or breaks off further than the last time. The next request
                // begins here.
                _ if at.came => *open = None,
                failed => {
                    *open = None;
                    let eof = || io::ErrorKind::UnexpectedEof.into();
                    return Poll::Ready(Err(failed.and_then(Result::err).unwrap_or_else(eof)));
                }
            }
        }
    }
}

impl AsyncSeek for LogReader {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let this = self.get_mut();
        let SeekFrom::Start(target) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        if target != this.position {
            this.position = target;
            *this.open.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        }
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.position))
    }
}
