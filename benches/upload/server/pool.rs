//! Has batches of frames written by a thread for work that blocks, one while the next is gathered.

use std::io;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Incoming};
use tokio::task::{JoinHandle, spawn_blocking};

use super::sink::{Place, Sink};

pub(super) async fn store(place: Place, mut body: Incoming) -> io::Result<String> {
    let mut writer = Writer::Idle(place);
    let (mut batch, mut size) = (Vec::new(), 0);
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        let Ok(mut bytes) = frame.map_err(io::Error::other)?.into_data() else { continue };
        while size + bytes.len() > BATCH {
            batch.push(bytes.split_to(BATCH - size));
            writer = Writer::Busy(writer.then(batch, Ok).await?);
            (batch, size) = (Vec::new(), 0);
        }
        size += bytes.len();
        batch.push(bytes);
    }
    writer.then(batch, Sink::finish).await?.await?
}

enum Writer {
    /// The file is not opened before the first batch, by whoever writes that.
    Idle(Place),
    Busy(JoinHandle<io::Result<Sink>>),
}

impl Writer {
    /// Has a batch written and something done then, once the batch before is written.
    async fn then<T: Send + 'static>(
        self,
        batch: Vec<Bytes>,
        next: fn(Sink) -> io::Result<T>,
    ) -> io::Result<JoinHandle<io::Result<T>>> {
        let open: Box<dyn FnOnce() -> io::Result<Sink> + Send> = match self {
            Self::Idle(place) => Box::new(|| place.open()),
            Self::Busy(before) => {
                let sink = before.await??;
                Box::new(|| Ok(sink))
            }
        };
        Ok(spawn_blocking(move || {
            let mut sink = open()?;
            sink.write_batch(&batch)?;
            next(sink)
        }))
    }
}

const BATCH: usize = 1 << 20;
