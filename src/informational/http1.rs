//! A stream that writes informational responses between what the HTTP library writes.
//!
//! The bytes that the library writes are never parsed. Two things tell where a head may be written:
//!
//! - hyper flushes the stream only if its own buffer is empty, and between the heads of a request
//!   and of its final response it writes nothing but a `100 Continue`. So after a flush that comes
//!   later than the request, everything of earlier responses is written.
//! - The future of the response completes before hyper has its head. From then on nothing more is
//!   taken from the queue.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
use super::service::Http1Service;

/// A stream below hyper that can write informational responses of HTTP/1.1.
///
/// It has to be directly below hyper (so above TLS, and with no buffer in between), because it goes
/// by when hyper flushes. hyper's setting `pipeline_flush` does not flush while a pipelined request
/// waits; an informational response is then not sent. A connection of another version of HTTP
/// passes through unchanged. So does everything if nothing is queued.
#[derive(Debug)]
pub struct Http1<IO> {
    stream: IO,
    outlet: Outlet,
}

#[derive(Debug)]
struct Outlet {
    connection: Arc<Connection>,
    /// What is left of a head that has begun.
    begun: Bytes,
    /// Whether the HTTP library has tried to write since its last flush.
    wrote: bool,
}

impl<IO> Http1<IO> {
    /// Wraps the stream of a connection.
    pub fn new(stream: IO) -> Self {
        let connection = Arc::default();
        Self { stream, outlet: Outlet { connection, begun: Bytes::new(), wrote: false } }
    }

    /// Wraps a service for this connection. Its requests get an
    /// [`Informational`](super::Informational) if they are of HTTP/1.1.
    pub fn serve<S>(&self, service: S) -> Http1Service<S> {
        Http1Service::new(service, self.connection())
    }

    pub(super) fn connection(&self) -> Arc<Connection> {
        Arc::clone(&self.outlet.connection)
    }

    /// Returns a reference to the stream below.
    pub fn get_ref(&self) -> &IO {
        &self.stream
    }

    /// Returns a mutable reference to the stream below.
    pub fn get_mut(&mut self) -> &mut IO {
        &mut self.stream
    }

    /// Returns the stream below, for example after an upgrade.
    pub fn into_inner(self) -> IO {
        self.stream
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.connection.close();
    }
}

impl Outlet {
    /// Writes heads as long as there are any, if the HTTP library is at a place for them.
    fn poll_heads<IO>(&mut self, stream: &mut IO, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        IO: AsyncWrite + Unpin,
    {
        if self.wrote {
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.poll_begun(stream, cx))?;
            let Some(head) = self.connection.next_head() else { return Poll::Ready(Ok(())) };
            self.begun = head;
        }
    }

    /// Writes what is left of a head that has begun.
    ///
    /// A head has begun with the first attempt to write it, even if the stream has taken no byte: a
    /// TLS library may have encrypted the bytes already, and expects them again.
    fn poll_begun<IO>(&mut self, stream: &mut IO, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        IO: AsyncWrite + Unpin,
    {
        while !self.begun.is_empty() {
            match ready!(Pin::new(&mut *stream).poll_write(cx, &self.begun))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.begun.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Http1<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Http1<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, outlet } = &mut *self;
        ready!(outlet.poll_heads(stream, cx))?;
        outlet.wrote = true;
        Pin::new(stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, outlet } = &mut *self;
        ready!(outlet.poll_heads(stream, cx))?;
        outlet.wrote = true;
        Pin::new(stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, outlet } = &mut *self;
        outlet.wrote = false;
        outlet.connection.reach(cx.waker());
        ready!(outlet.poll_heads(stream, cx))?;
        Pin::new(stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, outlet } = &mut *self;
        ready!(outlet.poll_begun(stream, cx))?;
        Pin::new(stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use http::{Request, Response, StatusCode, Version};
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;
    use tower::{Service, service_fn};

    use super::*;
    use crate::informational::connection::OpenRequest;
    use crate::informational::{Informational, NotSent, SendInformational};

    /// A stream that takes a few bytes at a time, or none.
    #[derive(Default)]
    struct Mock {
        taken: Vec<u8>,
        /// How many bytes the next attempts take; without end if there is no number left.
        room: VecDeque<usize>,
        vectored: bool,
        /// What it was given when it took nothing. It expects that again.
        refused: Option<Vec<u8>>,
        shut_down: bool,
    }

    impl Mock {
        fn take(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
            assert!(!self.shut_down, "a write after the end");
            if let Some(refused) = self.refused.take() {
                assert!(bytes.starts_with(&refused), "other bytes than those that were refused");
            }
            let room = self.room.pop_front().unwrap_or(usize::MAX).min(bytes.len());
            if room == 0 && !bytes.is_empty() {
                self.refused = Some(bytes.to_vec());
                return Poll::Pending;
            }
            self.taken.extend_from_slice(&bytes[..room]);
            Poll::Ready(Ok(room))
        }
    }

    impl AsyncWrite for Mock {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.take(bytes)
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.take(&bytes)
        }

        fn is_write_vectored(&self) -> bool {
            self.vectored
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            // A flush has places of its own to wait at.
            match self.room.front() {
                Some(0) => {
                    self.room.pop_front();
                    Poll::Pending
                }
                _ => Poll::Ready(Ok(())),
            }
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.shut_down = true;
            Poll::Ready(Ok(()))
        }
    }

    fn noop() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    /// What writes as hyper does: it has a buffer, and flushes the stream only if that is empty.
    struct Library {
        stream: Http1<Mock>,
        buffer: VecDeque<u8>,
        request: Option<(OpenRequest, Informational)>,
        /// All handles, those of earlier requests, too.
        handles: Vec<Informational>,
        /// What was queued and what it has written for each request.
        told: Vec<Told>,
    }

    #[derive(Default)]
    struct Told {
        /// The heads that were queued.
        heads: Vec<String>,
        /// How many of them a flush has written.
        surely: usize,
        /// Whether there was a `100 Continue`.
        continued: bool,
        /// The final response.
        last: Option<String>,
    }

    const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

    #[derive(Clone, Debug)]
    enum Step {
        Request,
        Continue,
        Queue(usize),
        QueueLate(usize),
        Finish(usize),
        Flush,
    }

    impl Library {
        fn new(room: VecDeque<usize>, vectored: bool) -> Self {
            let stream = Http1::new(Mock { room, vectored, ..Mock::default() });
            let (handles, told) = Default::default();
            Self { stream, buffer: VecDeque::new(), request: None, handles, told }
        }

        fn buffer(&mut self, text: &str) {
            self.buffer.extend(text.as_bytes());
        }

        fn poll_flush(&mut self) -> Poll<()> {
            let mut cx = noop();
            while !self.buffer.is_empty() {
                let (first, second) = self.buffer.as_slices();
                let stream = Pin::new(&mut self.stream);
                let written = if stream.is_write_vectored() {
                    let slices = [IoSlice::new(first), IoSlice::new(second)];
                    ready!(stream.poll_write_vectored(&mut cx, &slices)).unwrap()
                } else {
                    ready!(stream.poll_write(&mut cx, first)).unwrap()
                };
                self.buffer.drain(..written);
            }
            Pin::new(&mut self.stream).poll_flush(&mut cx).map(Result::unwrap)
        }

        fn step(&mut self, step: &Step) {
            match *step {
                Step::Request => {
                    if self.request.is_none() {
                        let open = self.stream.connection().open();
                        let handle = Informational::new(open.sender());
                        self.handles.push(handle.clone());
                        self.request = Some((open, handle));
                        self.told.push(Told::default());
                    }
                }
                Step::Continue => {
                    let Some(told) = self.told.last_mut() else { return };
                    if self.request.is_some() && !told.continued {
                        told.continued = true;
                        self.buffer(CONTINUE);
                    }
                }
                Step::Queue(length) => {
                    let Some((_, handle)) = &self.request else { return };
                    let told = self.told.last_mut().unwrap();
                    let value = format!("{}{}", told.heads.len(), "x".repeat(length));
                    let response = Response::builder().status(142).header("x", &value).body(());
                    if handle.send(response.unwrap()) == Ok(()) {
                        let head = format!("HTTP/1.1 142 Informational\r\nx: {value}\r\n\r\n");
                        told.heads.push(head);
                    }
                }
                Step::QueueLate(number) => {
                    let open = usize::from(self.request.is_some());
                    let late = self.handles.len() - open;
                    if let Some(handle) = self.handles[..late].get(number) {
                        let response = Response::builder().status(142).body(()).unwrap();
                        assert_eq!(handle.send(response), Err(NotSent::TooLate));
                    }
                }
                Step::Finish(length) => {
                    if self.request.take().is_some() {
                        let told = self.told.last_mut().unwrap();
                        let body = "x".repeat(length);
                        let response = format!("HTTP/1.1 200 OK\r\nx: {body}\r\n\r\n{body}");
                        told.last = Some(response.clone());
                        self.buffer(&response);
                    }
                }
                Step::Flush => {
                    if self.poll_flush().is_ready()
                        && let (Some(told), Some(_)) = (self.told.last_mut(), &self.request)
                    {
                        told.surely = told.heads.len();
                    }
                }
            }
        }

        /// Flushes all, and checks what the client got.
        fn check(mut self) {
            while self.poll_flush().is_pending() {}
            if self.request.is_some() {
                let told = self.told.last_mut().unwrap();
                told.surely = told.heads.len();
            }
            let got = std::mem::take(&mut self.stream.get_mut().taken);
            let mut got = std::str::from_utf8(&got).unwrap();
            for told in &self.told {
                let mut heads = 0;
                let mut continued = false;
                loop {
                    if !continued
                        && told.continued
                        && let Some(rest) = got.strip_prefix(CONTINUE)
                    {
                        continued = true;
                        got = rest;
                    } else if let Some(rest) =
                        told.heads.get(heads).and_then(|head| got.strip_prefix(head.as_str()))
                    {
                        heads += 1;
                        got = rest;
                    } else {
                        break;
                    }
                }
                assert_eq!(continued, told.continued, "100 Continue is lost before {got:?}");
                assert!(heads >= told.surely, "a head is lost before {got:?}");
                let Some(last) = &told.last else { continue };
                got = got.strip_prefix(last.as_str()).unwrap_or_else(|| panic!("{got:?}"));
            }
            assert_eq!(got, "");
        }
    }

    fn steps() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Request),
            1 => Just(Step::Continue),
            4 => (0..30usize).prop_map(Step::Queue),
            1 => (0..9usize).prop_map(Step::QueueLate),
            2 => (0..40usize).prop_map(Step::Finish),
            5 => Just(Step::Flush),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn heads_are_whole_and_before_the_final_response_of_their_request(
            steps in proptest::collection::vec(steps(), 0..80),
            room in proptest::collection::vec(prop_oneof![Just(0), 1..9usize, 9..200usize], 0..300),
            vectored: bool,
        ) {
            let mut library = Library::new(room.into(), vectored);
            for step in &steps {
                library.step(step);
            }
            library.check();
        }
    }

    fn hint() -> Response<()> {
        Response::builder().status(StatusCode::EARLY_HINTS).body(()).unwrap()
    }

    const HINT: &str = "HTTP/1.1 103 Early Hints\r\n\r\n";

    fn written(stream: &Http1<Mock>) -> &str {
        std::str::from_utf8(&stream.get_ref().taken).unwrap()
    }

    #[test]
    fn a_head_that_was_tried_is_finished_and_the_next_one_is_dropped() {
        // Takes nothing at first, then five bytes.
        let mut stream = Http1::new(Mock { room: [0, 0, 5, 0].into(), ..Mock::default() });
        let mut cx = noop();
        assert!(Pin::new(&mut stream).poll_flush(&mut cx).is_pending());
        let open = stream.connection().open();
        let sender = open.sender();
        sender.send(hint()).unwrap();
        sender.send(hint()).unwrap();
        assert!(Pin::new(&mut stream).poll_flush(&mut cx).is_pending());
        assert_eq!(written(&stream), "");
        drop(open);
        assert_eq!(sender.send(hint()), Err(NotSent::TooLate));
        assert!(Pin::new(&mut stream).poll_write(&mut cx, b"final").is_pending());
        assert_eq!(written(&stream), "HTTP/");
        assert!(Pin::new(&mut stream).poll_write(&mut cx, b"final").is_ready());
        assert!(Pin::new(&mut stream).poll_flush(&mut cx).is_ready());
        assert_eq!(written(&stream), format!("{HINT}final"));
    }

    #[test]
    fn a_head_that_has_begun_is_finished_before_the_end() {
        let mut stream = Http1::new(Mock { room: [5, 0, 5, 0].into(), ..Mock::default() });
        let mut cx = noop();
        let open = stream.connection().open();
        open.sender().send(hint()).unwrap();
        assert!(Pin::new(&mut stream).poll_flush(&mut cx).is_pending());
        open.sender().send(hint()).unwrap();
        assert!(Pin::new(&mut stream).poll_shutdown(&mut cx).is_pending());
        assert!(Pin::new(&mut stream).poll_shutdown(&mut cx).is_ready());
        assert_eq!(written(&stream), HINT);
        assert!(stream.get_ref().shut_down);
    }

    #[test]
    fn what_is_queued_is_not_written_between_two_writes() {
        let mut stream = Http1::new(Mock::default());
        let mut cx = noop();
        let open = stream.connection().open();
        assert!(Pin::new(&mut stream).poll_flush(&mut cx).is_ready());
        assert!(Pin::new(&mut stream).poll_write(&mut cx, b"one,").is_ready());
        open.sender().send(hint()).unwrap();
        assert!(Pin::new(&mut stream).poll_write(&mut cx, b"two,").is_ready());
        assert!(Pin::new(&mut stream).poll_flush(&mut cx).is_ready());
        open.sender().send(hint()).unwrap();
        assert!(Pin::new(&mut stream).poll_write(&mut cx, b"three").is_ready());
        assert_eq!(written(&stream), format!("one,two,{HINT}{HINT}three"));
    }

    #[test]
    fn a_stream_that_takes_nothing_is_an_error() {
        struct Full;
        impl AsyncWrite for Full {
            fn poll_write(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
                _: &[u8],
            ) -> Poll<io::Result<usize>> {
                Poll::Ready(Ok(0))
            }
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
        let mut stream = Http1::new(Full);
        let open = stream.connection().open();
        open.sender().send(hint()).unwrap();
        let Poll::Ready(Err(error)) = Pin::new(&mut stream).poll_flush(&mut noop()) else {
            panic!("no error");
        };
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }

    #[test]
    fn writes_allocate_nothing_if_nothing_is_queued() {
        let mut stream = Http1::new(tokio::io::sink());
        let open = stream.connection().open();
        let mut cx = noop();
        let mut work = || {
            for _ in 0..10 {
                assert!(Pin::new(&mut stream).poll_write(&mut cx, b"bytes").is_ready());
                assert!(Pin::new(&mut stream).poll_flush(&mut cx).is_ready());
            }
        };
        assert_eq!(allocation_counter::measure(&mut work).count_total, 0);
        open.sender().send(hint()).unwrap();
        work();
        assert_eq!(allocation_counter::measure(&mut work).count_total, 0);
        drop(open);
        assert_eq!(allocation_counter::measure(&mut work).count_total, 0);
    }

    #[tokio::test]
    async fn the_handle_ends_when_the_future_of_the_response_completes_or_is_dropped() {
        let mut stream = Http1::new(Mock::default());
        let mut service = stream.serve(service_fn(async |request: Request<()>| {
            Ok::<_, ()>(request.extensions().get::<Informational>().cloned())
        }));
        let mut future = Box::pin(service.call(Request::new(())));
        let handle = future.as_mut().await.unwrap().unwrap();
        assert_eq!(handle.send(hint()), Err(NotSent::TooLate));
        drop(future);

        let mut kept = None;
        let mut service = stream.serve(service_fn(|request: Request<()>| {
            kept = request.extensions().get::<Informational>().cloned();
            std::future::pending::<Result<(), ()>>()
        }));
        let future = service.call(Request::new(()));
        drop(service);
        let handle = kept.unwrap();
        handle.send(hint()).unwrap();
        drop(future);
        assert_eq!(handle.send(hint()), Err(NotSent::TooLate));
        stream.flush().await.unwrap();
        assert_eq!(written(&stream), "");
    }

    #[tokio::test]
    async fn only_requests_of_http_1_1_have_a_handle() {
        let stream = Http1::new(Mock::default());
        let mut service = stream.serve(service_fn(async |request: Request<()>| {
            Ok::<_, ()>(request.extensions().get::<Informational>().is_some())
        }));
        let versions = [Version::HTTP_09, Version::HTTP_10, Version::HTTP_2, Version::HTTP_3];
        for version in versions {
            let mut request = Request::new(());
            *request.version_mut() = version;
            assert_eq!(service.call(request).await, Ok(false));
        }
        assert_eq!(service.call(Request::new(())).await, Ok(true));
    }

    #[test]
    fn the_handle_ends_when_the_stream_is_dropped() {
        let stream = Http1::new(Mock::default());
        let open = stream.connection().open();
        let sender = open.sender();
        assert_eq!(sender.send(hint()), Ok(()));
        drop(stream);
        assert_eq!(sender.send(hint()), Err(NotSent::TooLate));
    }
}
