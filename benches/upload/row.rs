//! What is measured at once: a server, and what is uploaded to it.

use crate::setup::{Http, Kind, Setup};

/// One line of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) setup: Setup,
    pub(crate) shape: Shape,
    pub(crate) work: Work,
    /// A small file takes two requests. Where there is no completion, the second stores nothing.
    pub(crate) two_requests: bool,
    /// What its label says beyond the settings.
    pub(crate) note: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Raw,
    Multipart,
    /// `POST` creates the upload, and each chunk is a `PATCH`.
    Tus,
    /// The `POST` brings the first chunk.
    TusWithUpload,
}

impl Shape {
    pub(crate) fn parse(word: &str) -> Result<Self, String> {
        let all = [Self::Raw, Self::Multipart, Self::Tus, Self::TusWithUpload];
        let shape = all.into_iter().find(|shape| shape.name() == word);
        shape.ok_or_else(|| format!("no such body: {word}"))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Multipart => "multipart",
            Self::Tus => "tus",
            Self::TusWithUpload => "tus-with-upload",
        }
    }

    /// Whether an upload is complete with its last byte.
    pub(crate) fn is_tus(self) -> bool {
        matches!(self, Self::Tus | Self::TusWithUpload)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) files: u64,
    pub(crate) size: u64,
    pub(crate) chunk: u64,
    pub(crate) connections: usize,
}

impl Row {
    pub(crate) fn new(server: Kind, work: Work) -> Self {
        let setup = Setup { server, http: Http::One, md5: false, sync: false, read_buffer: None };
        Self { setup, shape: Shape::Raw, work, two_requests: false, note: None }
    }

    pub(crate) fn shaped(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    pub(crate) fn two_requests(self) -> Self {
        Self { two_requests: true, ..self }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Setup)) -> Self {
        change(&mut self.setup);
        self
    }

    /// The row of another server to compare with, which has as many requests.
    pub(crate) fn against(self, server: Kind) -> Self {
        let shape = if server.is_tus_peer() { Shape::Tus } else { Shape::Raw };
        Self { setup: Setup { server, ..self.setup }, shape, ..self }
    }

    /// Whether the rows belong beside each other.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.against(other.setup.server).setup == other.setup
    }

    /// Whether it is the same with raw bodies.
    pub(crate) fn is_raw_of(&self, other: &Self) -> bool {
        self.shape == Shape::Raw && self.setup == other.setup && self.note == other.note
    }

    /// What distinguishes it in its table.
    pub(crate) fn label(&self) -> String {
        let mut words = vec![self.setup.server.name().to_owned()];
        if let Some(word) = self.note {
            words.push(word.to_owned());
        }
        if self.shape != Shape::Raw {
            words.push(self.shape.name().to_owned());
        }
        if self.setup.md5 {
            words.push("md5".to_owned());
        }
        if let Http::Two(Some(windows)) = self.setup.http {
            let sizes = [windows.stream, windows.connection, windows.frame].map(|size| size >> 10);
            words.push(format!("windows {}/{} frame {} KiB", sizes[0], sizes[1], sizes[2]));
        }
        if let Some(bytes) = self.setup.read_buffer {
            words.push(format!("buffer {} KiB", bytes >> 10));
        }
        if self.two_requests {
            words.push("two requests".to_owned());
        }
        words.join(" ")
    }
}
