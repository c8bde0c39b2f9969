//! Transfers one file to the server.

use std::io;
use std::sync::{Arc, Once};

use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::answer::{Standing, Trouble};
use crate::args::Args;
use crate::backoff;
use crate::body::ChunkBody;
use crate::client::{Chunk, Client};
use crate::outcome::{Failure, Outcome};
use crate::prefix::Prefix;
use crate::progress::{Meter, Progress};
use crate::resume::Resume;
use crate::source::Source;

/// What all files share.
pub(crate) struct Settings {
    client: Client,
    progress: Progress,
    chunk_size: u64,
    retries: u32,
    /// Whether uploads are remembered beside their files. A file that is sent several times has
    /// several uploads.
    pub(crate) remembers: bool,
}

impl Settings {
    pub(crate) fn new(args: &Args, client: Client, progress: Progress) -> Self {
        Self {
            client,
            progress,
            chunk_size: args.chunk_size.get(),
            retries: args.retries,
            remembers: args.random.is_none() && args.count.get() == 1,
        }
    }
}

/// A file that is being sent.
pub(crate) struct Transfer {
    settings: Arc<Settings>,
    source: Arc<Source>,
    resume: Option<Resume>,
    meter: Meter,
    /// What was read of it, up to the server's offset.
    prefix: Prefix,
    /// How many times in a row something has failed, and how many times a new upload was begun.
    failures: u32,
    restarts: u32,
    /// Whether the application may have the whole file, or have had it. An upload that is gone then
    /// is one that it has ended.
    handed_over: bool,
    /// Names the upload before it has an id.
    key: Uuid,
    outcome: Outcome,
}

/// The next step.
#[derive(Clone)]
enum Step {
    Begin,
    /// Ask for the status of the upload.
    Ask(String),
    Send(String, u64),
    Complete(String),
    Done,
}

impl Step {
    fn id(&self) -> Option<&String> {
        match self {
            Self::Ask(id) | Self::Send(id, _) | Self::Complete(id) => Some(id),
            Self::Begin | Self::Done => None,
        }
    }
}

impl Transfer {
    pub(crate) fn new(settings: Arc<Settings>, source: Source) -> Self {
        let meter = settings.progress.begin(&source.label, source.size());
        let resume = Resume::of(&source, settings.client.url()).filter(|_| settings.remembers);
        Self {
            settings,
            source: Arc::new(source),
            resume,
            meter,
            prefix: Prefix::default(),
            failures: 0,
            restarts: 0,
            handed_over: false,
            key: Uuid::new_v4(),
            outcome: Outcome::default(),
        }
    }

    pub(crate) async fn run(mut self) -> Outcome {
        let ended = self.walk().await;
        self.meter.end();
        match &ended {
            Ok(()) => {
                self.forget();
                self.settings.progress.say(&self.line("arrived"));
            }
            Err(Failure::Refused(why)) => self.complain(why),
            Err(Failure::GaveUp(why)) => self.complain(&format!("given up: {why}")),
        }
        self.outcome.failure = ended.err();
        self.outcome
    }

    async fn walk(&mut self) -> Result<(), Failure> {
        let known = self.resume.as_ref().and_then(Resume::recall);
        let mut step = known.map_or(Step::Begin, Step::Ask);
        loop {
            step = match self.take(&step).await {
                Ok(Step::Done) => return Ok(()),
                Ok(next) => next,
                Err(trouble) => self.recover(step, trouble).await?,
            };
        }
    }

    async fn take(&mut self, step: &Step) -> Result<Step, Trouble> {
        match step {
            Step::Begin => self.send(None, 0).await,
            Step::Ask(id) => self.ask(id).await,
            Step::Send(id, offset) => self.send(Some(id), *offset).await,
            Step::Complete(id) => self.complete(id).await,
            Step::Done => Ok(Step::Done),
        }
    }

    async fn ask(&mut self, id: &str) -> Result<Step, Trouble> {
        let standing = self.settings.client.status(id, &self.meter).await?;
        match self.prefix.length() {
            0 => self.outcome.already_there = standing.offset,
            // This happens if the response to a chunk was lost.
            read => self.outcome.sent += standing.offset.saturating_sub(read),
        }
        if standing.is_complete() {
            return Ok(Step::Done);
        }
        self.handed_over = standing.status.as_deref() == Some("finishing");
        if self.handed_over {
            // The application may take as long as it likes: the server is there.
            self.failures = 0;
            return Err(Trouble::again("it is being completed"));
        }
        if standing.total.is_some_and(|total| total != self.source.size()) {
            return Err(Trouble::Anew("the upload is one of another file".to_owned()));
        }
        self.step_from(standing)
    }

    async fn send(&mut self, id: Option<&str>, offset: u64) -> Result<Step, Trouble> {
        self.catch_up(offset).await?;
        let total = self.source.size();
        let end = total.min(offset.saturating_add(self.settings.chunk_size));
        // This is a copy, because a chunk that fails is read again.
        let (reading, body) = ChunkBody::new(self.prefix.clone(), end, &self.source, &self.meter);
        let chunk = Chunk { key: self.key, id, name: &self.source.name, range: offset..end, total };
        let standing = self.settings.client.send_chunk(&chunk, body, &self.meter).await?;
        if let Some(prefix) = reading.prefix().await {
            self.prefix = prefix;
        }
        self.failures = 0;
        self.outcome.sent += end - offset;
        if id.is_none() {
            self.remember(&standing.upload_id);
        }
        self.step_from(standing)
    }

    async fn complete(&mut self, id: &str) -> Result<Step, Trouble> {
        self.catch_up(self.source.size()).await?;
        if !self.source.is_unchanged() {
            self.forget();
            return Err(Trouble::Refused("it was changed while it was sent".to_owned()));
        }
        let client = &self.settings.client;
        let ended = client.complete(id, &self.prefix.md5(), &self.meter).await;
        self.handed_over = matches!(ended, Ok(_) | Err(Trouble::Again { .. }));
        match ended {
            // This may come not from the application, but from something in front of it that wants
            // a login.
            Ok(status) if status.is_redirection() => {
                if client.status(id, &self.meter).await?.is_complete() {
                    return Ok(Step::Done);
                }
                Err(Trouble::Refused("the completion was sent elsewhere".to_owned()))
            }
            Ok(_) => Ok(Step::Done),
            Err(trouble) => Err(self.not_taken(id, trouble).await),
        }
    }

    /// Who ended a completion.
    async fn not_taken(&self, id: &str, trouble: Trouble) -> Trouble {
        let (Trouble::Gone(why) | Trouble::Refused(why)) = &trouble else { return trouble };
        let is_gone =
            matches!(self.settings.client.status(id, &self.meter).await, Err(Trouble::Gone(_)));
        match &trouble {
            Trouble::Gone(_) if is_gone => trouble,
            // The application had the file and ended the upload: another run must not look for it.
            _ if is_gone => {
                self.forget();
                trouble
            }
            // It did not take the file, but may do so when another run asks again.
            _ => Trouble::Refused(why.clone()),
        }
    }

    /// The next step for an upload in this state.
    fn step_from(&self, standing: Standing) -> Result<Step, Trouble> {
        let Standing { upload_id, offset, .. } = standing;
        if offset > self.source.size() {
            return Err(Trouble::Anew("the server has more than the file".to_owned()));
        }
        Ok(if offset == self.source.size() {
            Step::Complete(upload_id)
        } else {
            Step::Send(upload_id, offset)
        })
    }

    /// How to respond to the failure, or that nothing helps.
    async fn recover(&mut self, step: Step, trouble: Trouble) -> Result<Step, Failure> {
        match (trouble, step.id()) {
            (Trouble::Again { why, after }, id) => {
                self.count_failure(&why)?;
                let wait = backoff::delay(self.failures, after, fastrand::f64());
                let seconds = wait.as_secs_f64();
                self.complain(&format!("{why}; again in {seconds:.1} s"));
                tokio::time::sleep(wait).await;
                // Perhaps the response was lost, and not the bytes.
                Ok(id.cloned().map_or(Step::Begin, Step::Ask))
            }
            (Trouble::Moved { why, offset }, Some(id)) => {
                self.count_failure(&why)?;
                let standing =
                    Standing { upload_id: id.clone(), offset, total: None, status: None };
                self.step_from(standing).map_err(|_| Failure::Refused(why))
            }
            (Trouble::Gone(why), Some(_)) if self.handed_over => {
                // Another run must not look for it.
                self.forget();
                Err(Failure::Refused(why))
            }
            (Trouble::Gone(why) | Trouble::Anew(why), Some(_)) if self.restarts < RESTARTS => {
                self.restarts += 1;
                self.key = Uuid::new_v4();
                self.complain(&format!("{why}; begins anew"));
                self.forget();
                self.prefix = Prefix::default();
                self.outcome.already_there = 0;
                self.meter.skip_to(0);
                Ok(Step::Begin)
            }
            (
                Trouble::Moved { why, .. }
                | Trouble::Gone(why)
                | Trouble::Anew(why)
                | Trouble::Refused(why),
                _,
            ) => Err(Failure::Refused(why)),
        }
    }

    fn count_failure(&mut self, why: &str) -> Result<(), Failure> {
        self.failures += 1;
        if self.failures > self.settings.retries {
            return Err(Failure::GaveUp(why.to_owned()));
        }
        Ok(())
    }

    /// Reads the bytes that the server has and this run has not read, for the checksum.
    async fn catch_up(&mut self, offset: u64) -> Result<(), Trouble> {
        if offset < self.prefix.length() {
            self.prefix = Prefix::default();
        }
        if offset == self.prefix.length() {
            self.meter.set(offset);
            return Ok(());
        }
        let (prefix, source) = (self.prefix.clone(), Arc::clone(&self.source));
        let reading = spawn_blocking(move || prefix.read_to(offset, &source, |_| true));
        let read = reading.await.map_err(io::Error::other).flatten();
        self.prefix =
            read.map_err(|error| Trouble::Refused(format!("it cannot be read: {error}")))?;
        self.meter.skip_to(offset);
        Ok(())
    }

    fn remember(&mut self, id: &str) {
        static SAID: Once = Once::new();
        let Some(Err(error)) = self.resume.as_ref().map(|resume| resume.remember(id)) else {
            return;
        };
        self.resume = None;
        let line = format!("{error}; another run will not be able to go on");
        SAID.call_once(|| self.settings.progress.complain(&line));
    }

    fn forget(&self) {
        if let Some(resume) = &self.resume {
            resume.forget();
        }
    }

    fn complain(&self, what: &str) {
        self.settings.progress.complain(&self.line(what));
    }

    /// The message, prefixed with the file's name.
    fn line(&self, what: &str) -> String {
        format!("{}: {what}", self.source.label)
    }
}

/// How many times a file is begun again, for example because its upload was gone.
const RESTARTS: u32 = 3;
