//! HTTP/2 with prior knowledge.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Error, Reason, SendStream};
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};

use crate::client::{Answer, Request};

/// The connection's task runs only while somebody waits for an answer, which is enough.
pub(crate) struct Connection {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
}

impl Connection {
    pub(crate) fn open(addr: SocketAddr) -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let stream = TcpStream::connect(addr).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut builder = Builder::new();
            builder.max_send_buffer_size(SEND_BUFFER);
            let (sender, connection) = builder.handshake(stream).await.unwrap();
            tokio::spawn(async move { drop(connection.await) });
            sender
        });
        Self { runtime, sender }
    }

    pub(crate) fn ask(&self, request: &Request) -> Result<Answer, Error> {
        self.runtime.block_on(ask(self.sender.clone(), request))
    }
}

async fn ask(sender: SendRequest<Bytes>, request: &Request) -> Result<Answer, Error> {
    let mut head = http::Request::builder()
        .method(request.method)
        .uri(format!("http://localhost{}", request.path))
        .header("content-length", request.length());
    for (name, value) in &request.headers {
        head = head.header(*name, value);
    }
    let head = head.body(()).unwrap();
    let (response, mut stream) = sender.ready().await?.send_request(head, false)?;
    for part in &request.body {
        send(&mut stream, part.clone()).await?;
    }
    stream.send_data(Bytes::new(), true)?;

    let (head, mut body) = response.await?.into_parts();
    let location = head.headers.get("location").and_then(|url| url.to_str().ok());
    let location = location.map(str::to_owned);
    let mut answer = Answer { status: head.status.as_u16(), location, body: Vec::new() };
    while let Some(bytes) = poll_fn(|cx| body.poll_data(cx)).await.transpose()? {
        body.flow_control().release_capacity(bytes.len())?;
        answer.body.extend_from_slice(&bytes);
    }
    Ok(answer)
}

/// Sends the bytes as the windows open.
async fn send(stream: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), Error> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = room.unwrap_or_else(|| Err(Reason::STREAM_CLOSED.into()))?;
        stream.send_data(bytes.split_to(room.min(bytes.len())), false)?;
    }
    Ok(())
}

const SEND_BUFFER: usize = 4 << 20;
