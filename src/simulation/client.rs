//! Clients, and the application that takes their files.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::time::sleep;

use super::Checked;
use super::known::{Attempt, Fate, Known, REFUSED, Request, TAKEN, TELLING};
use super::world::{Answer, LIFE, Node, World};
use crate::checksum::Running;
use crate::store::bucket::Mutation;
use crate::upload::Identity;
use crate::{
    AppendMode, CompletedUpload, Error, ErrorKind, IdempotencyKey, KeptAnswer, NewUpload, Owner,
    OwnerUploads, Status, UploadId, UploadToken,
};

/// A client of one upload.
#[derive(Clone)]
pub(super) struct Client {
    world: Arc<World>,
    known: Arc<Mutex<Known>>,
    id: UploadId,
    /// Where it thinks that the upload stands, and will end.
    offset: u64,
    total: Option<u64>,
    /// Good for longer than any upload lives.
    token: UploadToken,
    /// Whether its session has ended.
    by_token: bool,
}

/// How far a chunk had come when it failed.
enum Failed {
    Begun(Error),
    Written(Error),
    Committed(Error),
}

/// How the application has ended a completion.
enum Ended {
    Taken(Vec<u8>, Option<object_store::path::Path>, Bytes),
    NotTaken,
    Refused(Error),
    /// It was told that somebody else has the file.
    Overtaken,
    Unknown,
    Wrong(String),
}

impl Client {
    /// A client of an upload that exists.
    pub(super) fn new(world: &Arc<World>, known: &Arc<Mutex<Known>>) -> Self {
        let (id, created, offset, total) = {
            let known = known.lock().unwrap();
            (known.id, known.created, known.floor, known.total)
        };
        let token = world.keys.sign(Identity { id, created }, world.cloud.now() + 1000 * LIFE);
        let (world, known) = (Arc::clone(world), Arc::clone(known));
        Self { world, known, id, offset, total, token, by_token: false }
    }

    /// Begins an upload, unless that fails too often.
    pub(super) async fn begin(world: &Arc<World>) -> Checked<Option<Self>> {
        let describe = || {
            let total = world.flip().then(|| world_size(world));
            let bytes = if world.one_in(3) { Vec::new() } else { fresh(world, total) };
            (NewUpload::new().filename("a.bin").total(total), total, bytes)
        };
        let owner = world.flip().then(|| Owner::new("alice"));
        // With a key, the same is sent again until there is an answer.
        let key = world.flip().then(|| format!("{:032x}", world.dice().u128(..)));
        let same = key.map(|key| {
            let (new, total, bytes) = describe();
            let key = IdempotencyKey::new(key).ok();
            let key = key.filter(|_| world.plan.mutation != Mutation::NoKeys);
            (new.idempotency_key(key), total, bytes)
        });
        let mut was_lost = false;
        for _ in 0..5 {
            let node = world.pick().await;
            let (new, total, bytes) = same.clone().unwrap_or_else(describe);
            let work = async {
                let uploads = node.uploads.for_owner(owner.clone());
                if let Some(upload) = uploads.created_before(&new).await? {
                    return Ok(upload);
                }
                let mut append = uploads.create(new).await?;
                if !append.is_new() {
                    return Ok(append.upload().clone());
                }
                append.write(&bytes[..]).await?;
                append.commit().await
            };
            match world.ask(&node, world.patience(), work).await {
                Answer::Got(upload) => {
                    let expires = upload.expires().ok_or("it never expires")?;
                    let mut known = Known::new(upload.identity(), total, expires);
                    let request = known.look();
                    let attempt = Attempt { at: 0, bytes, in_parts: false, fate: Fate::Open };
                    known.attempts.push(attempt);
                    known.acknowledged(&request, 0, upload.offset())?;
                    let client = Self::new(world, &world.enter(known));
                    client.note("begins");
                    if let Some((new, ..)) = &same {
                        if was_lost {
                            world.begun_again();
                        }
                        client.begin_again(new, owner).await?;
                    }
                    return Ok(Some(client));
                }
                Answer::Failed(error) => match error.kind() {
                    ErrorKind::Store | ErrorKind::Busy => {}
                    // An earlier try comes true while this one is made.
                    ErrorKind::Superseded if same.is_some() => {}
                    kind => return Err(format!("a creation failed with {kind:?}")),
                },
                Answer::Lost => was_lost = true,
            }
        }
        Ok(None)
    }

    /// The same creation again, on any node, gives this upload.
    async fn begin_again(&self, new: &NewUpload, owner: Option<Owner>) -> Checked {
        let node = self.world.pick().await;
        let work = async {
            let append = node.uploads.for_owner(owner).create(new.clone()).await?;
            Ok::<_, Error>((append.is_new(), append.upload().clone()))
        };
        match self.world.ask(&node, self.world.patience(), work).await {
            Answer::Got((is_new, upload)) if is_new || upload.id != self.id => {
                Err(self.wrong("a second one was created with its key"))
            }
            Answer::Got((_, upload)) if upload.offset() != self.offset => {
                Err(self.wrong(&format!("it stood at {}, and not there", upload.offset())))
            }
            Answer::Failed(error) if *error.kind() == ErrorKind::KeyReused => {
                Err(self.wrong("its key is taken for another's"))
            }
            _ => Ok(()),
        }
    }

    /// Goes on until the upload has ended or the steps are done.
    pub(super) async fn run(mut self, steps: usize) -> Checked {
        for _ in 0..steps {
            let longest = match self.world.below(20) {
                0 => LIFE,
                1..4 => Duration::from_secs(300),
                _ => Duration::from_secs(3),
            };
            self.world.pause(longest).await;
            if self.has_ended() && !self.world.one_in(3) {
                return Ok(());
            }
            self.step().await.map_err(|wrong| self.wrong(&wrong))?;
            self.world.check(&self.known).await.map_err(|wrong| self.wrong(&wrong))?;
            self.world.wrong()?;
        }
        Ok(())
    }

    async fn step(&mut self) -> Checked {
        if self.world.one_in(10) {
            self.note("has no session any more");
            self.by_token = true;
        }
        if self.by_token && self.world.one_in(4) {
            return self.trespass().await;
        }
        let point = self.world.below(100);
        let whole = self.total.is_none_or(|total| total == self.offset);
        let plan = &self.world.plan;
        match point {
            0..8 => self.status().await,
            8..12 => self.read().await,
            12..17 if plan.cancels => self.cancel().await,
            17..20 => self.sweep_one().await,
            20..22 => self.set_expires().await,
            22..27 if self.offset > 0 => {
                // As a proxy does that sends what it has sent before.
                let stale = self.world.below(self.offset);
                self.append(stale).await
            }
            27..40 if whole => self.complete().await,
            40..70 if whole && self.total.is_some() => self.complete().await,
            _ => self.append(self.offset).await,
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }

    fn has_ended(&self) -> bool {
        let known = self.known();
        known.finished || known.must_be_gone()
    }

    fn wrong(&self, wrong: &str) -> String {
        format!("upload {}: {wrong}", self.id)
    }

    fn note(&self, what: &str) {
        self.world.cloud.note(format_args!("upload {} {what}", self.id));
    }

    /// The upload says no, or nobody knows what it says.
    fn failed(&mut self, request: &Request, error: &Error) -> Checked {
        self.note(&format!("told {:?}", error.kind()));
        let now = self.world.cloud.now();
        let mut known = self.known.lock().unwrap();
        known.check(error, now)?;
        if let ErrorKind::OffsetMismatch { offset } | ErrorKind::Incomplete { offset, .. } =
            error.kind()
        {
            known.told(request, *offset)?;
            self.offset = *offset;
        }
        Ok(())
    }

    pub(super) async fn status(&mut self) -> Checked {
        let node = self.world.pick().await;
        self.note(&format!("status on {node:?}"));
        let request = self.known().look();
        let work = async {
            match self.by_token {
                true => self.redeem(&node).await?.status(&self.id).await,
                false => node.uploads.for_operator().status(&self.id).await,
            }
        };
        match self.world.ask(&node, self.world.patience(), work).await {
            Answer::Got(upload) => {
                self.note(&format!("stands at {} {:?}", upload.offset(), upload.status()));
                let mut known = self.known();
                if request.cancelled || request.removed {
                    return Err("it is gone and has a status".to_owned());
                }
                known.told(&request, upload.offset())?;
                known.check_record(&upload, request.finished)?;
                drop(known);
                self.offset = upload.offset();
                self.total = upload.total();
                Ok(())
            }
            Answer::Failed(error) => self.failed(&request, &error),
            Answer::Lost => Ok(()),
        }
    }

    /// Reads what is there, on a node that may fail at it.
    async fn read(&mut self) -> Checked {
        let node = self.world.pick().await;
        self.note(&format!("read on {node:?}"));
        let request = self.known().look();
        let work = async {
            let mut bytes = Vec::new();
            let mut reader = node.store.open(&self.id).await?;
            reader.read_to_end(&mut bytes).await.map_err(Error::source_failed)?;
            Ok::<_, Error>(bytes)
        };
        match self.world.ask(&node, self.world.patience(), work).await {
            Answer::Got(bytes) => {
                let known = self.known();
                if (bytes.len() as u64) < request.floor {
                    let (length, floor) = (bytes.len(), request.floor);
                    return Err(format!("it stood at {floor}, and {length} bytes can be read"));
                }
                known.is_made_of_chunks(&bytes, "what a node reads")
            }
            Answer::Failed(error) => self.failed(&request, &error),
            Answer::Lost => Ok(()),
        }
    }

    async fn append(&mut self, at: u64) -> Checked {
        let node = self.world.pick().await;
        let bytes = fresh(&self.world, self.total.map(|total| total.saturating_sub(at)));
        let mode =
            if self.world.flip() { AppendMode::AllOrNothing } else { AppendMode::KeepWhatCame };
        let in_parts = mode == AppendMode::KeepWhatCame;
        self.note(&format!("append {at}+{} {mode:?} on {node:?}", bytes.len()));
        let (request, number) = self.attempt(at, &bytes, in_parts);
        let work = self.send(&node, at, mode, &bytes);
        let answer = self.world.ask(&node, self.world.patience(), work).await;
        let alone = self.known().is_alone(&request);
        let (error, refused, certain) = match answer {
            Answer::Got(upload) => {
                self.note(&format!("acknowledged {at} to {}", upload.offset()));
                self.offset = upload.offset();
                let mut known = self.known();
                known.end(true);
                known.lives_until(upload.expires().ok_or("it never expires")?);
                return known.acknowledged(&request, number, upload.offset());
            }
            Answer::Lost => {
                self.known().end(false);
                return self.again().await;
            }
            Answer::Failed(Failed::Begun(error)) => (error, true, true),
            Answer::Failed(Failed::Written(error)) => (error, !in_parts, !in_parts),
            Answer::Failed(Failed::Committed(error)) => {
                let definite = !matches!(error.kind(), ErrorKind::Store);
                (error, definite && !in_parts, definite && !in_parts)
            }
        };
        if alone
            && certain
            && match error.kind() {
                ErrorKind::Superseded => true,
                ErrorKind::OffsetMismatch { .. } => at == request.floor,
                _ => false,
            }
        {
            return Err(format!("it was alone at {at} and was told {:?}", error.kind()));
        }
        self.failed(&request, &error)?;
        {
            let mut known = self.known();
            known.end(certain);
            if refused {
                known.refused(number);
            }
        }
        self.again().await
    }

    fn attempt(&self, at: u64, bytes: &[u8], in_parts: bool) -> (Request, usize) {
        let mut known = self.known();
        let request = known.begin();
        known.attempts.push(Attempt { at, bytes: bytes.to_vec(), in_parts, fate: Fate::Open });
        (request, known.attempts.len() - 1)
    }

    async fn send(
        &self,
        node: &Node,
        at: u64,
        mode: AppendMode,
        bytes: &[u8],
    ) -> Result<crate::Upload, Failed> {
        let world = &self.world;
        let append = async {
            match self.by_token {
                true => self.redeem(node).await?.append(&self.id, at, mode).await,
                false => node.uploads.for_operator().append(&self.id, at, mode).await,
            }
        };
        let mut append = append.await.map_err(Failed::Begun)?;
        let mut middle = world.dice().usize(0..=bytes.len());
        if middle < TELLING {
            // What is kept of it must tell whose it is.
            middle = 0;
        }
        append.write(&bytes[..middle]).await.map_err(Failed::Written)?;
        world.stall().await;
        if world.one_in(4) {
            world.pause(Duration::from_secs(5)).await;
        }
        append.write(&bytes[middle..]).await.map_err(Failed::Written)?;
        append.commit().await.map_err(Failed::Committed)
    }

    /// What a node lets a client do whose session has ended.
    async fn redeem(&self, node: &Node) -> Result<OwnerUploads, Error> {
        node.uploads.for_token(&self.world.keys, self.token.as_str()).await
    }

    /// Tries its token on somebody else's upload, or on another one of its own.
    async fn trespass(&self) -> Checked {
        let others = self.world.known();
        let other = &others[self.world.dice().usize(0..others.len())];
        let other = other.lock().unwrap().id;
        if other == self.id {
            return Ok(());
        }
        let (node, what) = (self.world.pick().await, self.world.below(4));
        self.note(&format!("tries its token on upload {other} on {node:?}"));
        let work = async {
            let uploads = self.redeem(&node).await?;
            match what {
                0 => uploads.status(&other).await.map(drop),
                1 => uploads.append(&other, 0, AppendMode::AllOrNothing).await.map(drop),
                2 => uploads.open(&other).await.map(drop),
                _ => uploads.set_expires(&other, None).await.map(drop),
            }
        };
        match self.world.ask(&node, self.world.patience(), work).await {
            Answer::Got(()) => Err(format!("its token opens upload {other}")),
            Answer::Failed(error) => match error.kind() {
                // Its own may be gone.
                ErrorKind::NotFound | ErrorKind::Expired | ErrorKind::Store => Ok(()),
                kind => Err(format!("its token tells {kind:?} of upload {other}")),
            },
            Answer::Lost => Ok(()),
        }
    }

    /// Asks where to go on, as a client does after a failure.
    async fn again(&mut self) -> Checked {
        if self.world.one_in(4) { Ok(()) } else { self.status().await }
    }

    async fn cancel(&mut self) -> Checked {
        let node = self.world.pick().await;
        self.note(&format!("cancel on {node:?}"));
        let request = {
            let mut known = self.known();
            known.cancelling += 1;
            known.begin()
        };
        let work = async {
            match self.by_token {
                true => self.redeem(&node).await?.cancel(&self.id).await,
                false => node.uploads.for_operator().cancel(&self.id).await,
            }
        };
        match self.world.ask(&node, self.world.patience(), work).await {
            Answer::Got(upload) => {
                self.note("cancelled");
                let mut known = self.known();
                known.end(true);
                known.cancelling -= 1;
                known.cancelled(upload.offset())
            }
            Answer::Failed(error) => {
                let certain = *error.kind() != ErrorKind::Store;
                self.failed(&request, &error)?;
                let mut known = self.known();
                known.end(certain);
                if certain {
                    known.cancelling -= 1;
                }
                Ok(())
            }
            Answer::Lost => {
                self.known().end(false);
                Ok(())
            }
        }
    }

    async fn set_expires(&mut self) -> Checked {
        let node = self.world.pick().await;
        let expires = self.world.cloud.now() + self.world.time(LIFE);
        self.note(&format!("set to expire at {expires:?} on {node:?}"));
        let request = {
            let mut known = self.known();
            known.expires_at(expires);
            known.begin()
        };
        let uploads = node.uploads.for_operator();
        let work = uploads.set_expires(&self.id, expires);
        let certain = match self.world.ask(&node, self.world.patience(), work).await {
            Answer::Got(_) => true,
            Answer::Failed(error) => {
                self.failed(&request, &error)?;
                *error.kind() != ErrorKind::Store
            }
            Answer::Lost => false,
        };
        self.known().end(certain);
        Ok(())
    }

    async fn sweep_one(&mut self) -> Checked {
        let node = self.world.pick().await;
        self.note(&format!("sweep it on {node:?}"));
        let request = self.known().look();
        let uploads = node.uploads.for_operator();
        let work = uploads.delete_if_expired(&self.id);
        match self.world.ask(&node, self.world.patience(), work).await {
            Answer::Got(true) if self.known().must_live(self.world.cloud.now()) => {
                Err("it was swept before its time".to_owned())
            }
            Answer::Got(_) | Answer::Lost => Ok(()),
            Answer::Failed(error) => self.failed(&request, &error),
        }
    }

    pub(super) async fn complete(&mut self) -> Checked {
        let node = self.world.pick().await;
        self.note(&format!("complete on {node:?}"));
        let request = {
            let mut known = self.known();
            known.handed = true;
            known.begin()
        };
        let work = async { Ok::<_, Error>(self.hand_over(&node, &request).await) };
        let ended = match self.world.ask(&node, self.world.patience(), work).await {
            Answer::Got(ended) => ended,
            Answer::Failed(_) | Answer::Lost => Ended::Unknown,
        };
        match ended {
            Ended::Taken(bytes, target, answer) => {
                self.note("completed");
                let mut known = self.known();
                known.answered(&answer)?;
                known.end(true);
                known.finishing -= 1;
                known.target = target;
                known.taken(&request, bytes)
            }
            Ended::NotTaken => {
                self.known().end(true);
                Ok(())
            }
            Ended::Overtaken => {
                self.note("overtaken");
                let mut known = self.known();
                known.end(true);
                known.finishing -= 1;
                Ok(())
            }
            Ended::Refused(error) => {
                let certain = *error.kind() != ErrorKind::Store;
                self.failed(&request, &error)?;
                self.known().end(certain);
                match error.kind() {
                    // The answer to it is that of the one before.
                    ErrorKind::AlreadyComplete => self.status().await,
                    _ => self.again().await,
                }
            }
            Ended::Unknown => {
                self.known().end(false);
                // The answer is lost, so the client asks again.
                match self.world.flip() {
                    true => Box::pin(self.complete()).await,
                    false => Ok(()),
                }
            }
            Ended::Wrong(wrong) => Err(wrong),
        }
    }

    async fn hand_over(&self, node: &Node, request: &Request) -> Ended {
        let world = &self.world;
        let completion = async {
            match self.by_token {
                true => self.redeem(node).await?.complete(&self.id, None).await,
                false => node.uploads.for_operator().complete(&self.id, None).await,
            }
        };
        let completion = match completion.await {
            Ok(completion) => completion,
            Err(error) => return Ended::Refused(error),
        };
        let file = completion.file().clone();
        self.note(&format!("handed over, {} bytes", file.size()));
        {
            let mut known = self.known();
            if let Err(wrong) = known.told(request, file.size()) {
                return Ended::Wrong(wrong);
            }
        }
        let bytes = match self.look(&file).await {
            Ok(bytes) => bytes,
            Err(wrong) => return Ended::Wrong(wrong),
        };
        world.stall().await;
        if world.one_in(3) {
            world.pause(Duration::from_secs(40)).await;
        }
        let persist = world.plan.persists && world.flip();
        let target = persist.then(|| world.target(&self.id));
        let mut persisted = true;
        if let Some(target) = &target {
            let replaces = world.flip();
            self.note(&format!("persist to {target}, replacing: {replaces}"));
            let moved = if replaces {
                file.persist(target.as_ref()).await
            } else {
                file.persist_new(target.as_ref()).await
            };
            persisted = moved.is_ok();
        }
        match bytes {
            Some(bytes) if persisted && !world.one_in(4) => {
                let answer = Bytes::from(format!("run {}", self.known().answers.len()));
                completion.keep_answer(self.kept(TAKEN, &answer));
                self.known().finishing += 1;
                self.known().answers.push(answer.clone());
                match completion.finish().await {
                    Ok(upload) if upload.status() == Status::Complete => {
                        Ended::Taken(bytes, target, answer)
                    }
                    Ok(upload) => Ended::Wrong(format!("it ended as {:?}", upload.status())),
                    Err(error) if *error.kind() == ErrorKind::Superseded => Ended::Overtaken,
                    Err(_) => Ended::Unknown,
                }
            }
            _ if world.flip() => {
                completion.keep_answer(self.kept(REFUSED, &Bytes::new()));
                match completion.reopen().await {
                    Ok(_) => Ended::NotTaken,
                    Err(_) => Ended::Unknown,
                }
            }
            _ => {
                drop(completion);
                Ended::Unknown
            }
        }
    }

    fn kept(&self, status: u16, body: &Bytes) -> KeptAnswer {
        KeptAnswer::new(status, body.clone(), self.world.cloud.now() + LIFE)
    }

    /// The application reads its file.
    async fn look(&self, file: &CompletedUpload) -> Checked<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        let Ok(mut reader) = file.open().await else { return Ok(None) };
        if reader.read_to_end(&mut bytes).await.is_err() {
            return Ok(None);
        }
        let size = usize::try_from(file.size()).unwrap();
        if bytes.len() < size {
            return Err(format!("the application was given {} bytes of {size}", bytes.len()));
        }
        bytes.truncate(size);
        let mut md5 = Running::md5();
        md5.update(&bytes);
        if file.digest() != md5.digest() {
            return Err("the application was told another digest".to_owned());
        }
        self.known().is_made_of_chunks(&bytes, "what the application reads")?;
        Ok(Some(bytes))
    }

    /// All goes well again: what is open can be brought to its end.
    pub(super) async fn bring_home(&mut self) -> Checked {
        let node = self.world.pick().await;
        self.note(&format!("is brought home on {node:?}"));
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            self.status().await?;
            if self.has_ended() || !self.known().must_live(self.world.cloud.now()) {
                return Ok(());
            }
            match self.go_home(&node).await {
                Ok(result) => return result,
                Err(error) => match error.kind() {
                    // A node that was completing it may be dead, which others must have found out
                    // by now.
                    ErrorKind::Finishing if tokio::time::Instant::now() < deadline => {
                        sleep(Duration::from_secs(2)).await;
                    }
                    ErrorKind::AlreadyComplete => {
                        return self.known().check(&error, self.world.cloud.now());
                    }
                    _ => return Err(format!("all is well, and it fails with {error:?}")),
                },
            }
        }
    }

    async fn go_home(&mut self, node: &Node) -> Result<Checked, Error> {
        let request = self.known().look();
        let stands = node.uploads.for_operator().status(&self.id).await?;
        // The client's own question may have had no answer.
        if let Err(wrong) = self.known().told(&request, stands.offset()) {
            return Ok(Err(wrong));
        }
        match stands.status() {
            Status::Finishing => return Err(ErrorKind::Finishing.into()),
            Status::Complete => return Err(ErrorKind::AlreadyComplete.into()),
            Status::Open | Status::Interrupted => {}
        }
        let at = stands.offset();
        let missing = stands.total().map(|total| total - at);
        if missing != Some(0) {
            let bytes = match missing {
                Some(missing) => noise(&self.world, missing),
                None => fresh(&self.world, None),
            };
            let (request, number) = self.attempt(at, &bytes, false);
            let mut append =
                node.uploads.for_operator().append(&self.id, at, AppendMode::AllOrNothing).await?;
            append.write(&bytes[..]).await?;
            let upload = append.commit().await?;
            let mut known = self.known();
            known.end(true);
            if let Err(wrong) = known.acknowledged(&request, number, upload.offset()) {
                return Ok(Err(wrong));
            }
        }
        let request = {
            let mut known = self.known();
            known.handed = true;
            known.begin()
        };
        let completion = node.uploads.for_operator().complete(&self.id, None).await?;
        let bytes = match self.look(completion.file()).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Err("all is well, and it cannot be read".to_owned())),
            Err(wrong) => return Ok(Err(wrong)),
        };
        let answer = Bytes::from_static(b"home");
        completion.keep_answer(self.kept(TAKEN, &answer));
        self.known().finishing += 1;
        self.known().answers.push(answer.clone());
        completion.finish().await?;
        let mut known = self.known();
        if let Err(wrong) = known.answered(&answer) {
            return Ok(Err(wrong));
        }
        known.finishing -= 1;
        known.end(true);
        Ok(known.taken(&request, bytes))
    }
}

fn world_size(world: &World) -> u64 {
    let longest = if world.plan.large { 60_000 } else { 600 };
    world.below(longest)
}

/// A chunk that is like no other, and not longer than what is missing.
fn fresh(world: &World, missing: Option<u64>) -> Vec<u8> {
    let length = {
        let mut dice = world.dice();
        let longest = if world.plan.large && dice.bool() { 40_000 } else { 200 };
        dice.u64(TELLING as u64..longest)
    };
    match missing {
        // What would be too short to tell goes with it.
        Some(missing) if length + TELLING as u64 > missing => noise(world, missing),
        _ => noise(world, length),
    }
}

fn noise(world: &World, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    world.dice().fill(&mut bytes);
    bytes
}

/// Longer than a dead node is taken to be completing an upload.
const PATIENCE: Duration = Duration::from_secs(60);
