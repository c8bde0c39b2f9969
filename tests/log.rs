//! What feature `tracing` tells the log.

#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fmt::Write;
use std::sync::{Arc, Mutex};

use support::*;
use tower_chunked_upload::{ChunkedUploadLayer, Uploads};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps the events of this crate as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Level, String)>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }

    fn record_error(&mut self, field: &Field, mut error: &(dyn std::error::Error + 'static)) {
        write!(self.0, "{field}={error}").unwrap();
        while let Some(cause) = error.source() {
            write!(self.0, ": {cause}").unwrap();
            error = cause;
        }
        self.0.push(' ');
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tower_chunked_upload")
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push((*event.metadata().level(), text.0));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn why_a_body_failed_and_what_is_damaged_is_told_and_nothing_of_the_client() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let told = || std::mem::take(&mut *log.0.lock().unwrap());
    let (folder, store) = folder();
    let client = Client::new(ChunkedUploadLayer::new(Uploads::builder(store).build().unwrap()));
    let id = client.begin(6, b"abc").await;
    assert_eq!(told(), []);

    let broken = TestBody::new([Piece::Data("secret".into()), Piece::Fail]);
    client.send(raw(Some(&id), Some("bytes 3-5/6"), broken)).await.refused(400);
    let broken = TestBody::new([Piece::Fail]);
    client.send(raw(Some(&id), Some("bytes 3-5/6"), broken)).await.refused(400);
    let refused = told();
    assert!(refused.iter().all(|(level, _)| *level == Level::DEBUG), "{refused:?}");
    let cause = "the source of the bytes failed: connection reset by peer (os error 104)";
    assert!(refused[1].1.contains(cause), "{refused:?}");

    for file in files_below(folder.path()) {
        if file.extension().is_some_and(|extension| extension == "log") {
            std::fs::write(file, b"rubbish\n").unwrap();
        }
    }
    client.status(&id).await.refused(410);
    let damaged = told();
    assert_eq!(damaged.len(), 1, "{damaged:?}");
    assert_eq!(damaged[0].0, Level::ERROR, "{damaged:?}");
    assert!(damaged[0].1.contains("a line does not match its check"), "{damaged:?}");
    for (_, text) in refused.iter().chain(&damaged) {
        assert!(!text.contains("secret"), "{text}");
    }
}
