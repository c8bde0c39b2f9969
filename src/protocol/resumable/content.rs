//! Receiving the content of a request.

use http::HeaderMap;
use http::header::HeaderName;

use super::answer::{invalid_digest, wrong_digest};
use super::append::is_too_long;
use super::fields::{CONTENT_DIGEST, KNOWN, REPR_DIGEST, digests};
use super::interim::Interim;
use crate::checksum::{Digest, DigestAlgorithm, Running};
use crate::engine::{Append, AppendMode, ErrorKind, Lease};
use crate::policy::Refusal;
use crate::protocol::headers::announces_trailer;
use crate::protocol::{Beginning, BodyError, Incoming, Payload, Problem};

/// The content of a request, as its headers describe it.
pub(super) struct Content {
    pub(super) complete: bool,
    /// The number of bytes, if it is known.
    pub(super) size: Option<u64>,
    digests: Vec<Digest>,
    /// Whether digests of the content follow it.
    has_trailer: bool,
    /// The digests of the whole that this request gives.
    of_whole: Vec<Digest>,
}

impl Content {
    pub(super) fn read(
        headers: &HeaderMap,
        complete: bool,
        size: Option<u64>,
    ) -> Result<Self, Refusal> {
        Ok(Self {
            complete,
            size,
            digests: read_digests(headers, &CONTENT_DIGEST)?,
            has_trailer: announces_trailer(headers, &CONTENT_DIGEST),
            of_whole: read_digests(headers, &REPR_DIGEST)?,
        })
    }

    /// Content with a digest of its own is kept if that is right, and otherwise not at all.
    pub(super) fn mode(&self) -> AppendMode {
        match self.has_digest() {
            false => AppendMode::KeepWhatCame,
            true => AppendMode::AllOrNothing,
        }
    }

    fn has_digest(&self) -> bool {
        self.has_trailer || !self.digests.is_empty()
    }

    /// Receives the body and commits it.
    pub(super) async fn receive<B: Payload>(
        &self,
        body: &mut Incoming<B>,
        interim: Option<Interim>,
        mut append: Append,
        mut first: Beginning<'_>,
    ) -> Result<Lease, Problem> {
        // The client goes on from the bytes that are there, so it knows of them.
        append.set_end_acknowledged(true);
        if let Err(problem) = self.receive_into(body, interim, &mut append, &mut first).await {
            if is_too_long(&problem) {
                // Nobody knows which bytes are the right ones.
                drop(append.cancel().await);
                return Err(problem);
            }
            drop(first.keep_what_came(&mut append).await);
            // What came is there before the client asks. If this fails, it is kept on a task, or
            // else it was not acknowledged.
            drop(append.commit_what_came().await);
            return Err(problem);
        }
        body.check_truncation()?;
        Ok(append.commit_and_keep().await?)
    }

    async fn receive_into<B: Payload>(
        &self,
        body: &mut Incoming<B>,
        mut interim: Option<Interim>,
        append: &mut Append,
        first: &mut Beginning<'_>,
    ) -> Result<(), Problem> {
        if self.has_digest() {
            append.compute_digests(&self.algorithms()).await?;
        }
        while let Some(bytes) = body.next(Some(append)).await? {
            // All bytes of an upload whose length nobody knows are told as they come.
            let told = !self.complete || append.upload().total().is_none();
            append.set_end_acknowledged(told);
            first.write(append, bytes).await?;
            if let Some(interim) = &mut interim {
                interim.report(append, self.complete);
            }
        }
        if self.complete {
            body.check_truncation()?;
        }
        first.end(append, self.complete).await?;
        let (offset, total) = (append.position(), append.upload().total());
        if let Some(total) = total.filter(|total| self.complete && *total != offset) {
            return Err(ErrorKind::Incomplete { offset, total }.into());
        }
        match self.has_digest() {
            true => self.verify(body.trailers(), &append.computed_digests().await?),
            false => Ok(()),
        }
    }

    fn algorithms(&self) -> Vec<DigestAlgorithm> {
        match self.has_trailer {
            // Which ones they are shows at the end.
            true => KNOWN.map(|(algorithm, _)| algorithm).to_vec(),
            false => self.digests.iter().map(Digest::algorithm).collect(),
        }
    }

    fn verify(&self, trailers: Option<&HeaderMap>, computed: &[Digest]) -> Result<(), Problem> {
        let mut expected = self.digests.clone();
        if self.has_trailer {
            let missing = || BodyError::Failed("it lacks the announced trailer".into());
            let trailers = trailers.filter(|trailers| trailers.contains_key(CONTENT_DIGEST));
            expected.extend(read_digests(trailers.ok_or_else(missing)?, &CONTENT_DIGEST)?);
        }
        expected.retain(|digest| !computed.contains(digest));
        match expected.is_empty() {
            true => Ok(()),
            false => Err(wrong_digest(&CONTENT_DIGEST, &expected).into()),
        }
    }

    /// Verifies a body that was read as a whole.
    pub(super) fn verify_small(
        &self,
        trailers: Option<&HeaderMap>,
        content: &[u8],
    ) -> Result<(), Problem> {
        let computed = KNOWN.iter().filter_map(|(algorithm, _)| {
            let mut running = Running::new(*algorithm);
            running.update(content);
            running.digest()
        });
        match self.has_digest() {
            true => self.verify(trailers, &computed.collect::<Vec<_>>()),
            false => Ok(()),
        }
    }

    /// The digests of the whole that this request has given, once its body has been read.
    pub(super) fn of_whole(&self, trailers: Option<&HeaderMap>) -> Result<Vec<Digest>, Refusal> {
        let mut digests = self.of_whole.clone();
        if let Some(trailers) = trailers {
            digests.extend(read_digests(trailers, &REPR_DIGEST)?);
        }
        Ok(digests)
    }
}

pub(super) fn read_digests(headers: &HeaderMap, name: &HeaderName) -> Result<Vec<Digest>, Refusal> {
    digests(headers, name).map_err(|_| invalid_digest(name))
}
