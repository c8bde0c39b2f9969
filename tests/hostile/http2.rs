//! Streams that are broken off, starved or lie.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream, client};
use http::Request;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use tokio::net::TcpStream;
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{
    AppendMode, Candidate, ChunkedUploadLayer, ErrorKind, Policy, Refusal, Uploads,
};

use crate::request::Raw;
use crate::server::Server;
use crate::snapshot::files_now;
use crate::support::{self, *};

const DEADLINE: Duration = Duration::from_secs(30);

/// Counts the files that begin.
#[derive(Clone, Default)]
struct Begun(Arc<AtomicUsize>);

impl Policy for Begun {
    async fn validate(&self, _: &Candidate<'_>) -> Result<(), Refusal> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

struct Fixture {
    folder: tempfile::TempDir,
    server: Server,
    uploads: Uploads,
    begun: Begun,
}

impl Fixture {
    async fn new() -> Self {
        let (folder, store) = folder();
        let uploads = Uploads::builder(store).takeover_timeout(PATIENCE).build().unwrap();
        let begun = Begun::default();
        let layer = ChunkedUploadLayer::new(uploads.clone()).policy(begun.clone());
        let server = Server::start(layer, DEADLINE).await;
        Self { folder, server, uploads, begun }
    }

    /// An upload of ten bytes of which three have come.
    async fn begin(&self) -> String {
        let request = Raw::chunk(None, Some("bytes 0-2/10"), b"abc").bytes();
        self.server.ask(&request).await.json()["upload_id"].as_str().unwrap().to_owned()
    }

    async fn offset(&self, id: &str) -> u64 {
        self.uploads.for_operator().status(&support::id(id)).await.unwrap().offset()
    }

    /// Completes the upload of ten bytes over another connection.
    async fn goes_on(&self, id: &str) {
        let request = Raw::chunk(Some(id), Some("bytes 3-9/10"), b"defghij").bytes();
        // What was broken off may have the upload for a moment before it sees that.
        let answer = loop {
            let answer = self.server.ask(&request).await;
            if answer.status != 409 {
                break answer;
            }
            assert_eq!(answer.json()["detail"], TAKEN_OVER);
        };
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    async fn connect(&self, builder: &client::Builder) -> SendRequest<Bytes> {
        let stream = TcpStream::connect(self.server.addr).await.unwrap();
        let (sender, connection) = builder.handshake(stream).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        sender
    }
}

fn request(id: Option<&str>, range: &str) -> http::request::Builder {
    let query = id.map(|id| format!("?upload_id={id}")).unwrap_or_default();
    Request::post(format!("http://localhost{CHUNK}{query}")).header(CONTENT_RANGE, range)
}

fn raw_request(id: Option<&str>, range: &str) -> Request<()> {
    let request = request(id, range).header(CONTENT_DISPOSITION, "attachment; filename=a");
    request.body(()).unwrap()
}

fn form_request(range: &str) -> Request<()> {
    request(None, range).header(CONTENT_TYPE, Form::content_type()).body(()).unwrap()
}

type Stream = (ResponseFuture, SendStream<Bytes>);

async fn open(sender: &SendRequest<Bytes>, request: Request<()>) -> Result<Stream, h2::Error> {
    sender.clone().ready().await?.send_request(request, false)
}

/// Sends the bytes in a frame of their own, once there is room for them.
async fn send(stream: &mut SendStream<Bytes>, bytes: Bytes, ends: bool) -> Result<(), h2::Error> {
    stream.reserve_capacity(bytes.len());
    while stream.capacity() < bytes.len() {
        match poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(room) => room?,
            None => return Err(Reason::STREAM_CLOSED.into()),
        };
    }
    stream.send_data(bytes, ends)
}

async fn answer(response: ResponseFuture) -> Result<(u16, Bytes), h2::Error> {
    let response = tokio::time::timeout(DEADLINE, response).await.expect("no answer")?;
    let (parts, mut body) = response.into_parts();
    let mut whole = Vec::new();
    while let Some(bytes) = poll_fn(|cx| body.poll_data(cx)).await {
        let bytes = bytes?;
        body.flow_control().release_capacity(bytes.len())?;
        whole.extend_from_slice(&bytes);
    }
    Ok((parts.status.as_u16(), whole.into()))
}

#[test]
fn a_stream_that_is_reset_in_its_body_frees_its_upload_and_moves_nothing() {
    run(async {
        let fixture = Fixture::new().await;
        let sender = fixture.connect(&client::Builder::new()).await;
        // Another process, whose requests stop none of the first's.
        let other = FsStore::new(fixture.folder.path().join("up/%Y/%m/%d"));
        let other =
            Uploads::builder(other).takeover_timeout(Duration::from_millis(1)).build().unwrap();
        let mut resets = 0;
        for reason in [Reason::CANCEL, Reason::NO_ERROR, Reason::INTERNAL_ERROR] {
            for is_raw in [true, false] {
                let id = fixture.begin().await;
                let place = "bytes 3-9/10";
                let (request, head) = match is_raw {
                    true => (raw_request(Some(&id), place), Bytes::new()),
                    false => (form_request(place), Form::new().id(Some(&id)).open_file("a")),
                };
                let upload = support::id(&id);
                let other = other.for_operator();
                let append = || other.append(&upload, 3, AppendMode::AllOrNothing);
                let (response, mut stream) = open(&sender, request).await.unwrap();
                send(&mut stream, [&head[..], b"OLD"].concat().into(), false).await.unwrap();
                until("the chunk takes the upload", async || {
                    append().await.is_err_and(|error| *error.kind() == ErrorKind::Busy)
                })
                .await;
                stream.send_reset(reason);
                until("the upload is free", async || append().await.is_ok()).await;
                assert!(response.await.is_err());
                assert_eq!(fixture.offset(&id).await, 3, "{reason:?}, raw: {is_raw}");
                fixture.goes_on(&id).await;
                resets += 1;
            }
        }
        println!("reset in mid-body: {resets} streams, 0 bytes of them counted, 0 leases kept");
    });
}

#[test]
fn a_flood_of_streams_that_are_reset_leaves_nothing_and_stops_nobody() {
    run(async {
        let fixture = Fixture::new().await;
        let streams = if crate::is_long() { 20_000 } else { 2_000 };
        let begun = || fixture.begun.0.load(Ordering::SeqCst);
        let (mut connections, mut opened) = (0, 0);
        while opened < streams {
            let sender = fixture.connect(&client::Builder::new()).await;
            connections += 1;
            // A server that has had enough ends the connection.
            while opened < streams {
                let before = begun();
                let opening = open(&sender, raw_request(None, "bytes 0-99999/100000")).await;
                let Ok((response, mut stream)) = opening else { break };
                opened += 1;
                // Some come as far as the disk, some as far as the layer. One that is reset before
                // anything of it is sent is none.
                let (to_disk, to_layer) = (opened % 32 == 0, opened % 8 == 0);
                let data = vec![7; if to_disk { 60_000 } else { 10 }];
                drop(stream.send_data(data.into(), false));
                let arrived = async || match to_disk {
                    true => files_now(fixture.folder.path()) > 0,
                    false => begun() > before,
                };
                if to_layer {
                    tokio::select! {
                        _ = response => {}
                        () = until("the stream arrives", arrived) => {}
                    }
                }
                for _ in 0..opened % 7 {
                    tokio::task::yield_now().await;
                }
                stream.send_reset(Reason::CANCEL);
            }
        }
        let begun = begun();
        let id = fixture.begin().await;
        fixture.goes_on(&id).await;
        let mut left = 0;
        until("nothing is left but one upload", async || {
            left = files_now(fixture.folder.path());
            left == 2
        })
        .await;
        println!(
            "flood of resets: {opened} streams over {connections} connections, {begun} files \
             begun, {} files left",
            left - 2
        );
        assert!(begun > streams / 20, "the flood hardly reached the layer: {begun}");
    });
}

#[test]
fn a_client_that_takes_no_answer_keeps_nobody_from_going_on() {
    run(async {
        let fixture = Fixture::new().await;
        let mut builder = client::Builder::new();
        builder.initial_window_size(0);
        let mut kept = Vec::new();
        for _ in 0..50 {
            let sender = fixture.connect(&builder).await;
            let (response, mut stream) =
                open(&sender, raw_request(None, "bytes 0-2/10")).await.unwrap();
            send(&mut stream, Bytes::from_static(b"abc"), true).await.unwrap();
            let response = tokio::time::timeout(DEADLINE, response).await.unwrap().unwrap();
            assert_eq!(response.status(), 200);
            // Nothing of the answer's body comes, and all of it is kept.
            kept.push((sender, stream, response));
        }
        let ids = all_ids(&fixture.uploads).await;
        assert_eq!(ids.len(), kept.len());
        for id in &ids {
            fixture.goes_on(id.as_str()).await;
        }
        println!("no window for the answer: {} clients, 0 uploads held", kept.len());
    });
}

#[test]
fn frames_of_one_byte_and_of_none_are_taken_for_what_they_bring() {
    run(async {
        let fixture = Fixture::new().await;
        // Of more frames that wait to be read, h2 has enough and ends the connection.
        let content = noise(1_200);
        let place = "bytes 0-1199/1200";
        let form = Form::new().file("a", &content).end();
        for (request, body) in
            [(raw_request(None, place), content.clone().into()), (form_request(place), form)]
        {
            let sender = fixture.connect(&client::Builder::new()).await;
            let (response, mut stream) = open(&sender, request).await.unwrap();
            for at in 0..body.len() {
                send(&mut stream, body.slice(at..=at), false).await.unwrap();
                if at % 100 == 0 {
                    stream.send_data(Bytes::new(), false).unwrap();
                }
                // So that they go out one by one.
                tokio::task::yield_now().await;
            }
            stream.send_data(Bytes::new(), true).unwrap();
            let (status, answer) = answer(response).await.unwrap();
            assert_eq!(status, 200, "{answer:?}");
        }
        for id in all_ids(&fixture.uploads).await {
            let done = format!("upload_id={}&md5={}", id.as_str(), md5(&content));
            let done = Raw::completion("application/x-www-form-urlencoded", done);
            let text = fixture.server.ask(&done.bytes()).await.text();
            assert_eq!(text, format!("{} 1200 whole", id.as_str()));
        }
        println!("frames of one byte: {} files of 1200 bytes, whole", fixture.server.asked().len());
    });
}

#[test]
fn empty_frames_without_end_cost_the_connection_and_nothing_else() {
    run(async {
        let fixture = Fixture::new().await;
        let id = fixture.begin().await;
        let sender = fixture.connect(&client::Builder::new()).await;
        let request = raw_request(Some(&id), "bytes 3-9/10");
        let (response, mut stream) = open(&sender, request).await.unwrap();
        send(&mut stream, Bytes::from_static(b"OLD"), false).await.unwrap();
        let mut frames = 0;
        while stream.send_data(Bytes::new(), false).is_ok() && frames < 1_000_000 {
            frames += 1;
            tokio::task::yield_now().await;
        }
        assert!(answer(response).await.is_err());
        assert_eq!(fixture.offset(&id).await, 3);
        fixture.goes_on(&id).await;
        println!("empty frames: {frames} until the connection ended, 0 bytes counted");
    });
}

#[test]
fn a_length_that_lies_is_an_error_and_counts_no_byte() {
    run(async {
        let fixture = Fixture::new().await;
        let (mut refused, mut broken) = (0, 0);
        // What is said, what is sent, and whether the stream then ends.
        for (said, sent, ends) in [
            (7, &b"defghi"[..], true),
            (7, b"", true),
            (7, b"defghijk", true),
            (6, b"defghij", true),
            (8, b"defghij", true),
            (0, b"defghij", true),
            (7, b"defghijklmnopqrs", false),
            (u64::MAX, b"defghij", true),
        ] {
            for is_raw in [true, false] {
                let id = fixture.begin().await;
                let sender = fixture.connect(&client::Builder::new()).await;
                let place = "bytes 3-9/10";
                let mut body = Bytes::from_static(sent);
                let (mut request, mut said) = (raw_request(Some(&id), place), said);
                if !is_raw {
                    let around = Form::new().id(Some(&id)).file("a", b"").end().len() as u64;
                    said = said.saturating_add(around);
                    body = Form::new().id(Some(&id)).file("a", sent).end();
                    request = form_request(place);
                }
                request.headers_mut().insert(CONTENT_LENGTH, said.into());
                let (response, mut stream) = open(&sender, request).await.unwrap();
                let name = format!("{said} said, {} sent, raw: {is_raw}", body.len());
                let sent = send(&mut stream, body, ends).await;
                match sent.and(answer(response).await) {
                    Ok((status, answer)) => {
                        assert_eq!(status, 400, "{name}: {answer:?}");
                        refused += 1;
                    }
                    Err(_) => broken += 1,
                }
                assert_eq!(fixture.offset(&id).await, 3, "{name}");
                fixture.goes_on(&id).await;
            }
        }
        println!("lengths that lie: {refused} refused, {broken} streams broken, 0 bytes counted");
    });
}
