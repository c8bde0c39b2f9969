//! Requests that hide in the body of another one.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use tower_chunked_upload::store::MemoryStore;
use tower_chunked_upload::{ChunkedUploadLayer, Context, Owner, Policy, Refusal, Uploads};

use crate::request::Raw;
use crate::server::Server;
use crate::support::{self, *};

struct Forbids;

impl Policy for Forbids {
    async fn authorize(&self, asked: &Context<'_>) -> Result<Option<Owner>, Refusal> {
        match asked.request.headers.get("x-refuse") {
            Some(_) => Err(Refusal::new(StatusCode::FORBIDDEN, "Not you")),
            None => Ok(None),
        }
    }
}

/// How much of a refused body is read.
const DRAIN: u64 = 10_000;

/// A request that is refused, whose body is still to be given to it.
struct Refused {
    name: &'static str,
    status: u16,
    /// Whether its head settles it, however the length of its body is said.
    by_head: bool,
    request: Raw,
}

fn refused() -> Vec<Refused> {
    let raw = |range| Raw::chunk(None, Some(range), b"");
    let form = |range| Raw::form(range, Form::new());
    let row = |name, status, by_head, request| Refused { name, status, by_head, request };
    vec![
        row("by the policy", 403, true, raw("bytes 0-9/10").header("x-refuse", "1")),
        row("completion by the policy", 403, true, {
            Raw::completion("application/json", "").header("x-refuse", "1")
        }),
        row("bad range", 400, true, raw("bytes 9-0/10")),
        row("bad range of a form", 400, true, form("bytes 0-9")),
        row("no form", 400, false, form("bytes 0-9/10")),
        row("unknown id", 404, true, Raw::chunk(Some(NO_ID), Some("bytes 3-9/10"), b"")),
        row("longer than its range", 400, false, raw("bytes 0-9/10")),
        row("over the limit", 400, false, Raw::chunk(None, None, b"")),
        row("over the limit by its range", 400, true, raw("bytes 0-9/1000000")),
        row("method", 405, true, Raw::new("PUT", CHUNK)),
        row("too long a completion", 413, false, Raw::completion("text/plain", "")),
        row("waits to be asked", 400, true, raw("bytes 9-0/10").header("Expect", "100-continue")),
    ]
}

/// How the end of a body is said.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Length,
    Chunked,
    /// In one chunk, with a length beside it that says the same, or less.
    Both {
        shorter: bool,
    },
    /// Two lengths of which the first is the body's.
    Lengths,
}

const FRAMINGS: [Framing; 5] = [
    Framing::Length,
    Framing::Chunked,
    Framing::Both { shorter: false },
    Framing::Both { shorter: true },
    Framing::Lengths,
];

impl Framing {
    /// The header lines and the body as it goes over the wire.
    fn apply(self, body: &[u8]) -> (String, Vec<u8>) {
        let chunked = |size: usize| {
            let mut bytes = Vec::new();
            for chunk in body.chunks(size) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            [&bytes[..], b"0\r\n\r\n"].concat()
        };
        let length = |length: usize| format!("Content-Length: {length}\r\n");
        let te = "Transfer-Encoding: chunked\r\n";
        match self {
            Self::Length => (length(body.len()), body.to_vec()),
            // So that a request begins where a chunk does.
            Self::Chunked => (te.to_owned(), chunked(body.len() / 4 + 1)),
            Self::Both { shorter } => {
                let bytes = chunked(body.len());
                let said = if shorter { 4 } else { bytes.len() };
                (length(said) + te, bytes)
            }
            Self::Lengths => (length(body.len()) + &length(3), body.to_vec()),
        }
    }
}

/// What came of one hidden request.
#[derive(Debug, Default)]
struct Tally {
    connections: usize,
    /// The refusals that came, honest requests that were answered, and connections that ended.
    refused: usize,
    honest: usize,
    ended: usize,
}

#[test]
fn a_request_in_the_body_of_a_refused_one_is_never_obeyed() {
    run(async {
        let uploads = Uploads::builder(MemoryStore::new()).max_bytes(20).build().unwrap();
        let layer = ChunkedUploadLayer::new(uploads.clone()).policy(Forbids);
        let layer = layer.drain(DRAIN, Duration::from_secs(10));
        let server = Server::start(layer.max_completion_bytes(100), Duration::from_secs(30)).await;
        let begun = Raw::chunk(None, Some("bytes 0-2/10"), b"abc").bytes();
        let id = server.ask(&begun).await.json()["upload_id"].as_str().unwrap().to_owned();
        let target = format!("{CHUNK}?upload_id={id}");
        let hidden = [Raw::new("DELETE", &target), Raw::new("GET", "/inner")];
        let hidden = hidden.map(|request| request.framed("", b"")).concat();
        // Wherever the server stops to read, a request begins soon.
        let bodies = [1, 100_000 / hidden.len()].map(|times| hidden.repeat(times));

        let mut tally = Tally::default();
        for refused in refused() {
            for framing in FRAMINGS {
                for body in &bodies {
                    for waits in [false, true] {
                        let hidden = Hidden { refused: &refused, framing, body, waits };
                        let name = hidden.to_string();
                        hidden.play(&server, &target, &mut tally).await;
                        assert_eq!(server.asked(), <[String; 0]>::default(), "{name}");
                        let upload =
                            uploads.for_operator().status(&support::id(&id)).await.unwrap();
                        assert_eq!(upload.offset(), 3, "{name}");
                        assert_eq!(support::all_ids(&uploads).await.len(), 1, "{name}");
                    }
                }
            }
        }
        println!("hidden requests: {tally:?}, 0 obeyed");
        assert!(tally.refused > tally.connections / 2 && tally.honest > 0 && tally.ended > 0);
    });
}

struct Hidden<'a> {
    refused: &'a Refused,
    framing: Framing,
    body: &'a [u8],
    /// Whether the body is sent only when the refusal has come.
    waits: bool,
}

impl fmt::Display for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { refused: Refused { name, .. }, framing, body, waits } = self;
        write!(f, "{name}, {framing:?}, of {}, waits: {waits}", body.len())
    }
}

impl Hidden<'_> {
    /// Sends it and an honest request behind it: each has its own answer, or none.
    async fn play(&self, server: &Server, honest: &str, tally: &mut Tally) {
        let Refused { status, by_head, request, .. } = self.refused;
        let (lines, body) = self.framing.apply(self.body);
        let mut connection = server.connect().await;
        connection.send(&request.framed(&lines, b"")).await;
        tally.connections += 1;
        let mut first = None;
        if self.waits && *by_head {
            first = connection.answer().await;
        }
        connection.send(&body).await;
        if first.is_none() {
            first = connection.answer().await;
        }
        if let Some(answer) = first {
            // Two lengths that differ are refused by hyper itself.
            let is_ours = answer.status == *status;
            assert!(is_ours || matches!(self.framing, Framing::Lengths), "{self}: {answer:?}");
            tally.refused += usize::from(is_ours);
        }
        connection.send(&Raw::new("GET", honest).framed("", b"")).await;
        match connection.answer().await {
            Some(answer) => {
                assert_eq!((answer.status, &answer.json()["offset"]), (200, &3.into()), "{self}");
                tally.honest += 1;
            }
            None => tally.ended += 1,
        }
        let more = connection.answers().await;
        assert!(more.is_empty(), "{self}: {more:?}");
    }
}
