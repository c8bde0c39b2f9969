//! Uploads as their clients know them, in two protocols: tus and the IETF draft.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses some of it, and all of it is tests"
)]

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use crate::client::{Http2, Reply, Stream, ask, read_reply};
use crate::server::{Plan, Server, World, connect, request, until, until_or};

pub(crate) const BYTES: &str = "application/offset+octet-stream";
pub(crate) const PARTIAL: &str = "application/partial-upload";

/// A whole request of this version of tus; each header is a line with its end.
pub(crate) fn tus(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    Dialect::Tus.request(method, path, headers, body)
}

pub(crate) fn patch_headers(at: usize) -> String {
    format!("Content-Type: {BYTES}\r\nUpload-Offset: {at}\r\n")
}

/// The head of a request that brings bytes, up to its empty line. `framing` says how long it is.
pub(crate) fn patch_head(path: &str, at: usize, framing: &str) -> String {
    let headers = patch_headers(at);
    format!("PATCH {path} HTTP/1.1\r\nHost: here\r\nTus-Resumable: 1.0.0\r\n{headers}{framing}\r\n")
}

/// What the client of an upload speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Tus,
    /// The IETF draft.
    Draft,
}

impl Dialect {
    pub(crate) const ALL: [Self; 2] = [Self::Tus, Self::Draft];

    /// A whole request; each header is a line with its end.
    pub(crate) fn request(self, method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        request(method, path, &format!("{}{headers}", self.version()), body)
    }

    fn version(self) -> &'static str {
        match self {
            Self::Tus => "Tus-Resumable: 1.0.0\r\n",
            Self::Draft => "",
        }
    }

    /// Those of a request that brings bytes, in the draft perhaps the last ones.
    pub(crate) fn patch_headers(self, at: usize, last: bool) -> String {
        match self {
            Self::Tus => patch_headers(at),
            Self::Draft => format!(
                "Content-Type: {PARTIAL}\r\nUpload-Offset: {at}\r\nUpload-Complete: ?{}\r\n",
                u8::from(last)
            ),
        }
    }

    /// The status of a request whose bytes were taken, and with them perhaps the file.
    pub(crate) fn taken(self, last: bool) -> u16 {
        if last && self == Self::Draft { 200 } else { 204 }
    }

    /// The status of a request that would change an upload which another process holds.
    pub(crate) fn held(self) -> u16 {
        if self == Self::Tus { 423 } else { 503 }
    }
}

/// An upload as its client knows it.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) dialect: Dialect,
    pub(crate) addr: SocketAddr,
    pub(crate) path: String,
    pub(crate) plan: Plan,
    /// The most that any answer has told. It never falls.
    pub(crate) shown: usize,
    /// The most that the server can have been given.
    pub(crate) sent: usize,
}

impl Upload {
    /// Creates one of tus.
    pub(crate) fn create(addr: SocketAddr, plan: Plan) -> Self {
        Self::create_in(Dialect::Tus, addr, plan)
    }

    pub(crate) fn create_in(dialect: Dialect, addr: SocketAddr, plan: Plan) -> Self {
        Self::create_with(dialect, addr, plan, "")
    }

    pub(crate) fn create_with(
        dialect: Dialect,
        addr: SocketAddr,
        plan: Plan,
        headers: &str,
    ) -> Self {
        let headers = format!("Upload-Length: {}\r\n{headers}", plan.content.len());
        let (path, headers) = match dialect {
            Dialect::Tus => ("/files", headers),
            Dialect::Draft => ("/inbox", headers + "Upload-Complete: ?0\r\n"),
        };
        let reply = ask(addr, "POST", &dialect.request("POST", path, &headers, b""));
        assert_eq!(reply.status, 201, "{reply:?}");
        Self::at(dialect, addr, plan, reply.header("location").unwrap())
    }

    /// One that was created.
    pub(crate) fn at(dialect: Dialect, addr: SocketAddr, plan: Plan, path: &str) -> Self {
        Self { dialect, addr, path: path.to_owned(), plan, shown: 0, sent: 0 }
    }

    pub(crate) fn id(&self) -> &str {
        self.path.rsplit('/').next().unwrap()
    }

    /// What its file is called when it was delivered.
    pub(crate) fn name(&self) -> String {
        match self.dialect {
            Dialect::Tus => self.id().to_owned(),
            Dialect::Draft => sha256(&self.plan.content),
        }
    }

    pub(crate) fn total(&self) -> usize {
        self.plan.content.len()
    }

    /// What `HEAD` answers.
    pub(crate) fn head(&self) -> Reply {
        ask(self.addr, "HEAD", &self.request("HEAD", "", b""))
    }

    fn request(&self, method: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        self.dialect.request(method, &self.path, headers, body)
    }

    /// Where `HEAD` shows it.
    pub(crate) fn offset(&mut self) -> usize {
        let reply = self.head();
        self.showed(&reply)
    }

    pub(crate) fn showed(&mut self, reply: &Reply) -> usize {
        let status = if self.dialect == Dialect::Tus { 200 } else { 204 };
        assert_eq!(reply.status, status, "{reply:?}");
        let total = self.total().to_string();
        assert_eq!(reply.header("upload-length"), Some(total.as_str()), "{reply:?}");
        let offset = reply.offset().unwrap();
        assert!(offset >= self.shown, "{} was told, now it is {offset}", self.shown);
        self.shown = offset;
        offset
    }

    /// After a restart a look at what was cut short may hold the upload for a moment.
    pub(crate) fn offset_when_free(&mut self) -> usize {
        let mut reply = self.head();
        until("nobody holds it", || {
            reply = self.head();
            reply.status != 423
        });
        self.showed(&reply)
    }

    /// Where it stands after a kill. What was being synced then is confirmed by the next request that
    /// takes the upload, which may come after a look.
    pub(crate) fn offset_after_kill(&mut self) -> usize {
        until("what was being synced is decided", || {
            let at = self.offset_when_free();
            if at == self.total() {
                return true;
            }
            let reply = self.patch(at..at, "");
            let may_pass = [409, self.dialect.held()].contains(&reply.status);
            assert!(may_pass || reply.told() == self.taken(at), "{reply:?}");
            !may_pass
        });
        self.shown
    }

    /// Waits until `HEAD` shows that it has all that was given, and not more.
    pub(crate) fn shows(&mut self, given: usize) {
        let request = self.request("HEAD", "", b"");
        let mut stream = connect(self.addr).unwrap();
        until_or("all that was given is there", || {
            stream.write_all(&request).unwrap();
            let reply = read_reply(&mut stream, "HEAD").unwrap();
            let offset = self.showed(&reply);
            assert!(offset <= given, "{offset} of {given} bytes");
            if offset == given { Ok(()) } else { Err((offset, given)) }
        });
    }

    /// Looks at it while another request brings what was given. With tus this waits until all of it
    /// is there. In the draft it ends that request.
    pub(crate) fn looks(&mut self, given: usize) {
        match self.dialect {
            Dialect::Tus => self.shows(given),
            Dialect::Draft => assert!(self.offset_when_free() <= given),
        }
    }

    /// A whole request with bytes of this range.
    pub(crate) fn patch(&mut self, range: Range<usize>, headers: &str) -> Reply {
        let (last, end) = (range.end == self.total(), range.end);
        let headers = self.dialect.patch_headers(range.start, last) + headers;
        self.sent = self.sent.max(end);
        let request = self.request("PATCH", &headers, &self.plan.content[range]);
        let reply = ask(self.addr, "PATCH", &request);
        if reply.told() == self.taken(end) {
            self.took(&reply);
        }
        reply
    }

    /// What the answer tells to a request with the bytes up to some place.
    pub(crate) fn taken(&self, end: usize) -> (u16, Option<usize>) {
        (self.dialect.taken(end == self.total()), Some(end))
    }

    /// Bytes were taken.
    pub(crate) fn took(&mut self, reply: &Reply) {
        let offset = reply.offset().unwrap();
        assert_eq!(reply.told(), self.taken(offset), "{reply:?}");
        if self.dialect == Dialect::Draft {
            let complete = format!("?{}", u8::from(offset == self.total()));
            assert_eq!(reply.header("upload-complete"), Some(&*complete), "{reply:?}");
        }
        assert!(offset >= self.shown, "{} was told, now it is {offset}", self.shown);
        self.shown = offset;
    }

    /// Begins a request for all that is missing, of which none is sent yet.
    pub(crate) fn begin_patch(&self, framing: &str) -> TcpStream {
        let mut stream = connect(self.addr).unwrap();
        let headers = self.dialect.patch_headers(self.shown, true);
        let (version, path) = (self.dialect.version(), &self.path);
        let head =
            format!("PATCH {path} HTTP/1.1\r\nHost: here\r\n{version}{headers}{framing}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    /// The header that says how much is missing.
    pub(crate) fn length(&self) -> String {
        format!("Content-Length: {}\r\n", self.total() - self.shown)
    }

    /// Sends what is missing, and looks at the file that was delivered.
    pub(crate) fn finish(&mut self, world: &World) {
        let (at, total) = (self.offset_when_free(), self.total());
        assert_eq!(self.patch(at..total, "").told(), self.taken(total));
        self.is_delivered(world, 1..=1);
    }

    /// The application has the file, and has got it so often.
    pub(crate) fn is_delivered(&mut self, world: &World, times: std::ops::RangeInclusive<u64>) {
        assert_eq!(self.offset(), self.total());
        let name = self.name();
        let file = fs::read(world.final_of(&name)).unwrap();
        assert!(file == self.plan.content, "{} is another file", self.path);
        let deliveries = world.deliveries(&name);
        assert!(times.contains(&deliveries), "delivered {deliveries} times");
    }

    /// What was told to be there is in the server's folder.
    pub(crate) fn is_kept(&self, world: &World) {
        let kept = world.part_of(self.id()).map_or(Vec::new(), |part| fs::read(part).unwrap());
        assert!(kept.get(..self.shown) == Some(&self.plan.content[..self.shown]), "{}", self.path);
    }

    pub(crate) fn delete(&self) -> Reply {
        ask(self.addr, "DELETE", &self.request("DELETE", "", b""))
    }

    /// Whether a request has it: the server has a lock on its record.
    pub(crate) fn is_held_by(&self, server: &Server) -> bool {
        let name = format!("{}.log", self.id());
        let process = PathBuf::from(format!("/proc/{}", server.pid()));
        let open = fs::read_dir(process.join("fd")).unwrap();
        // They come and go.
        open.flatten().any(|open| {
            fs::read_link(open.path()).is_ok_and(|target| target.ends_with(&name))
                && fs::read_to_string(process.join("fdinfo").join(open.file_name()))
                    .is_ok_and(|info| info.lines().any(|line| line.starts_with("lock:")))
        })
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Http2 {
    /// Begins a request of tus with bytes for that place.
    pub(crate) fn begin_patch(&self, path: &str, at: usize, headers: &[(&str, &str)]) -> Stream {
        let at = at.to_string();
        let own = [("tus-resumable", "1.0.0"), ("content-type", BYTES), ("upload-offset", &at)];
        self.begin("PATCH", path, &[&own, headers].concat())
    }

    /// A whole request of tus.
    pub(crate) fn patch(&self, path: &str, at: usize, bytes: &[u8]) -> Reply {
        let mut stream = self.begin_patch(path, at, &[]);
        self.send(&mut stream, bytes);
        self.end(stream, None)
    }
}
