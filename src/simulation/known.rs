//! What a client knows of an upload, and what must therefore hold.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_store::path::Path;

use super::Checked;
use crate::upload::Identity;
use crate::{Error, ErrorKind, Status, Upload, UploadId};

/// All that clients were told of one upload.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) id: UploadId,
    pub(super) created: SystemTime,
    pub(super) total: Option<u64>,
    pub(super) attempts: Vec<Attempt>,
    /// The largest offset that anybody was told: it never shrinks.
    pub(super) floor: u64,
    /// It may be removed from then on.
    expires: SystemTime,
    /// Somebody has asked for that.
    shortened: bool,
    /// It was cancelled, or taken by the application.
    pub(super) cancelled: bool,
    pub(super) finished: bool,
    /// So many have asked for that and do not know what came of it.
    pub(super) cancelling: usize,
    pub(super) finishing: usize,
    /// The bytes that the application has taken.
    pub(super) taken: Option<Vec<u8>>,
    /// What it may have said then, and what it has if anybody knows.
    pub(super) answers: Vec<Bytes>,
    answer: Option<Bytes>,
    /// Where they must be for ever.
    pub(super) target: Option<Path>,
    /// Somebody has begun to complete it.
    pub(super) handed: bool,
    /// An observer was told so.
    completed: bool,
    /// Where it stood when it was removed.
    pub(super) removed: Option<u64>,
    /// How many requests that may change it are under way, and were ever.
    running: usize,
    begun: usize,
    /// Nobody had to guess what became of a request.
    certain: bool,
}

/// Bytes that a client has sent.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) at: u64,
    pub(super) bytes: Vec<u8>,
    /// Its beginning may count without its end.
    pub(super) in_parts: bool,
    pub(super) fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Under way, or nobody knows.
    Open,
    Acknowledged,
    /// The client was told that nothing of it counts.
    Refused,
}

/// A request that may change an upload.
#[derive(Debug)]
pub(super) struct Request {
    /// Nothing else was under way when it began.
    alone: bool,
    number: usize,
    pub(super) floor: u64,
    /// What had been said when it began.
    pub(super) cancelled: bool,
    pub(super) finished: bool,
    pub(super) removed: bool,
}

impl Known {
    pub(super) fn new(upload: Identity, total: Option<u64>, expires: SystemTime) -> Self {
        let Identity { id, created } = upload;
        Self {
            id,
            created,
            total,
            attempts: Vec::new(),
            floor: 0,
            expires,
            shortened: false,
            cancelled: false,
            finished: false,
            cancelling: 0,
            finishing: 0,
            taken: None,
            answers: Vec::new(),
            answer: None,
            target: None,
            handed: false,
            completed: false,
            removed: None,
            running: 0,
            begun: 0,
            certain: true,
        }
    }

    pub(super) fn begin(&mut self) -> Request {
        let alone = self.running == 0 && self.certain;
        self.running += 1;
        self.begun += 1;
        self.request(alone)
    }

    /// The same for a request that changes nothing.
    pub(super) fn look(&self) -> Request {
        self.request(self.running == 0 && self.certain)
    }

    fn request(&self, alone: bool) -> Request {
        Request {
            alone,
            number: self.begun,
            floor: self.floor,
            cancelled: self.cancelled,
            finished: self.finished,
            removed: self.removed.is_some(),
        }
    }

    /// Whether nothing else was under way as long as the request was.
    pub(super) fn is_alone(&self, request: &Request) -> bool {
        request.alone && request.number == self.begun
    }

    /// The request is over, and its client knows what came of it or not.
    pub(super) fn end(&mut self, certain: bool) {
        self.running -= 1;
        self.certain &= certain;
    }

    /// A client was told where the upload stands.
    pub(super) fn told(&mut self, request: &Request, offset: u64) -> Checked {
        if offset < request.floor {
            return Err(format!("it stood at {}, and now at {offset}", request.floor));
        }
        if self.is_alone(request) && offset != request.floor {
            let floor = request.floor;
            return Err(format!("nobody wrote, and it went from {floor} to {offset}"));
        }
        self.floor = self.floor.max(offset);
        Ok(())
    }

    /// A client was told that its chunk counts.
    pub(super) fn acknowledged(
        &mut self,
        request: &Request,
        attempt: usize,
        offset: u64,
    ) -> Checked {
        let Attempt { at, bytes, fate, .. } = &mut self.attempts[attempt];
        *fate = Fate::Acknowledged;
        let end = *at + bytes.len() as u64;
        if offset != end {
            return Err(format!("a chunk from {at} to {end} ended at {offset}"));
        }
        if request.cancelled || request.finished || request.removed {
            return Err(format!("a chunk was taken after the end: {request:?}"));
        }
        if let Some(removed) = self.removed.filter(|removed| *removed < end) {
            return Err(format!("a chunk up to {end} was taken; it was removed at {removed}"));
        }
        self.floor = self.floor.max(end);
        match &self.taken {
            Some(taken) => self.holds(taken, "the taken file"),
            None => Ok(()),
        }
    }

    pub(super) fn refused(&mut self, attempt: usize) {
        self.attempts[attempt].fate = Fate::Refused;
    }

    /// It is gone, by somebody's will or for its age.
    pub(super) fn gone(&mut self, offset: u64) -> Checked {
        if offset < self.floor {
            return Err(format!("it stood at {} and was removed at {offset}", self.floor));
        }
        self.removed = Some(self.removed.map_or(offset, |removed| removed.min(offset)));
        Ok(())
    }

    pub(super) fn cancelled(&mut self, offset: u64) -> Checked {
        if self.finished {
            return Err("it was cancelled when it was complete".to_owned());
        }
        self.cancelled = true;
        self.gone(offset)
    }

    /// This is what a client was told that the application has said, or would be.
    pub(super) fn answered(&mut self, answer: &Bytes) -> Checked {
        let first = self.answer.get_or_insert_with(|| answer.clone());
        match first == answer && self.answers.contains(answer) {
            true => Ok(()),
            false => Err(format!("the application has said {first:?}, and not {answer:?}")),
        }
    }

    /// An observer was told that it is complete.
    pub(super) fn completed(&mut self) -> Checked {
        if std::mem::replace(&mut self.completed, true) {
            return Err("an observer was told twice that it is complete".to_owned());
        }
        Ok(())
    }

    /// Its time is up earlier, perhaps.
    pub(super) fn expires_at(&mut self, expires: SystemTime) {
        self.expires = self.expires.min(expires);
        self.shortened = true;
    }

    pub(super) fn lives_until(&mut self, expires: SystemTime) {
        if !self.shortened {
            self.expires = expires;
        }
    }

    /// The application has taken these bytes.
    pub(super) fn taken(&mut self, request: &Request, bytes: Vec<u8>) -> Checked {
        if self.finished {
            return Err("it was completed twice".to_owned());
        }
        if self.cancelled || request.removed {
            return Err("it was completed after its end".to_owned());
        }
        self.finished = true;
        self.holds(&bytes, "the file that was taken")?;
        if bytes.len() as u64 != self.floor {
            let (length, floor) = (bytes.len(), self.floor);
            return Err(format!("{length} bytes were taken where it stood at {floor}"));
        }
        self.taken = Some(bytes);
        Ok(())
    }

    /// It must be there: nobody has asked for its end, and its time is not up.
    pub(super) fn must_live(&self, now: SystemTime) -> bool {
        !self.cancelled
            && self.cancelling == 0
            && self.removed.is_none()
            && now + DOUBT < self.expires
    }

    fn may_be_complete(&self) -> bool {
        self.finished || self.finishing > 0
    }

    pub(super) fn must_be_gone(&self) -> bool {
        self.cancelled || self.removed.is_some()
    }

    /// An answer that says no must have a reason.
    pub(super) fn check(&self, error: &Error, now: SystemTime) -> Checked {
        let possible = match error.kind() {
            ErrorKind::NotFound | ErrorKind::Expired => !self.must_live(now),
            ErrorKind::Finishing => self.handed,
            ErrorKind::AlreadyComplete => self.may_be_complete(),
            ErrorKind::Incomplete { total, .. }
            | ErrorKind::TooLong { total }
            | ErrorKind::TotalMismatch { total } => match self.total {
                Some(announced) => announced == *total,
                // It ends where it stood when it was to be completed.
                None => self.handed,
            },
            ErrorKind::OffsetMismatch { .. }
            | ErrorKind::Superseded
            | ErrorKind::Busy
            | ErrorKind::Source
            | ErrorKind::Store => true,
            _ => false,
        };
        if possible { Ok(()) } else { Err(format!("there is no reason for {:?}", error.kind())) }
    }

    /// What a record says must be possible, if the upload was taken before it was asked for or not.
    pub(super) fn check_record(&mut self, upload: &Upload, finished: bool) -> Checked {
        match (upload.status(), upload.answer.as_deref()) {
            (Status::Complete, Some(kept)) if kept.status == TAKEN => self.answered(&kept.body)?,
            (Status::Open, Some(kept)) if kept.status == REFUSED => {}
            (Status::Open | Status::Finishing, None) => {}
            (status, answer) => return Err(format!("a record that is {status:?} has {answer:?}")),
        }
        match upload.status() {
            Status::Complete if !self.may_be_complete() => Err("nobody completed it".to_owned()),
            Status::Finishing if !self.handed => Err("nobody was handed it".to_owned()),
            _ if finished && upload.status() != Status::Complete => {
                Err(format!("it was complete and is {:?}", upload.status()))
            }
            _ => Ok(()),
        }
    }

    /// The file has all that was acknowledged, and nothing but what was sent, in whole chunks.
    pub(super) fn holds(&self, file: &[u8], what: &str) -> Checked {
        for attempt in &self.attempts {
            let start = usize::try_from(attempt.at).unwrap();
            let end = start + attempt.bytes.len();
            if attempt.fate == Fate::Acknowledged && file.get(start..end) != Some(&*attempt.bytes) {
                let length = file.len();
                return Err(format!("{what}, of {length} bytes, lacks the chunk {start}..{end}"));
            }
        }
        self.is_made_of_chunks(file, what)
    }

    /// The file, which may be older than the last chunk, has nothing but what was sent.
    pub(super) fn is_made_of_chunks(&self, file: &[u8], what: &str) -> Checked {
        let mut at = 0;
        while at < file.len() {
            let here = |attempt: &&Attempt| attempt.at == at as u64 && !attempt.bytes.is_empty();
            let fits = |attempt: &Attempt| self.fits(attempt, file, at);
            let sent = || self.attempts.iter().filter(here);
            let found = sent().find_map(|attempt| Some((attempt, fits(attempt)?)));
            match found {
                Some((attempt, _)) if attempt.fate == Fate::Refused => {
                    return Err(format!("{what} has a chunk at {at} that was refused"));
                }
                Some((_, length)) => at += length,
                None => {
                    let (length, count) = (file.len(), sent().count());
                    return Err(format!(
                        "{what}, of {length} bytes, has at {at} none of {count} chunks sent there"
                    ));
                }
            }
        }
        Ok(())
    }

    /// How much of the file from `at` on is what was sent there.
    fn fits(&self, attempt: &Attempt, file: &[u8], at: usize) -> Option<usize> {
        let rest = &file[at..];
        if rest.starts_with(&attempt.bytes) {
            return Some(attempt.bytes.len());
        }
        if !attempt.in_parts {
            return None;
        }
        // The next chunk may begin as this one goes on.
        let same = rest.iter().zip(&attempt.bytes).take_while(|(one, two)| one == two).count();
        let goes_on = |end: usize| self.attempts.iter().any(|next| next.at == end as u64);
        (TELLING..=same).rev().find(|length| *length == rest.len() || goes_on(at + length))
    }
}

/// The answers of an application that has taken the file, or has not.
pub(super) const TAKEN: u16 = 200;
pub(super) const REFUSED: u16 = 422;
/// By so much clocks differ at most, and more.
pub(super) const DOUBT: Duration = Duration::from_secs(20);
/// So many bytes tell one chunk from another.
pub(super) const TELLING: usize = 6;
