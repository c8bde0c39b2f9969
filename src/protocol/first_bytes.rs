//! The first bytes of a file, which the application sees before more is taken.

use std::future::ready;

use bytes::Bytes;
use tokio::io::AsyncReadExt;

use super::exchange::{Exchange, Problem};
use crate::engine::{Append, Error, ErrorKind, OwnerUploads};
use crate::policy::{Context, FirstBytes, Refusal};
use crate::upload::{Identity, Upload};

/// What is known of the first bytes of a file in a request, until the application has seen them.
///
/// They are kept back until there are enough of them, or the request ends. So an upload that has
/// more bytes than the application sees, or all of its bytes, was accepted, and nothing about it has
/// to be remembered.
pub(crate) struct Beginning<'a> {
    exchange: &'a Exchange<'a>,
    uploads: &'a OwnerUploads,
    context: Context<'a>,
    /// How many bytes the application sees; 0 if it has seen them, or wants to see none.
    wanted: usize,
    bytes: Vec<u8>,
    /// How many of those were written.
    written: usize,
    /// How many there are before those, in an upload that is not known yet. They are not kept back,
    /// since they are not its bytes yet either.
    before: Option<usize>,
}

impl<'a> Beginning<'a> {
    /// Of a file that the application is not asked about.
    pub(crate) fn unseen(
        exchange: &'a Exchange<'a>,
        uploads: &'a OwnerUploads,
        context: Context<'a>,
    ) -> Self {
        let (bytes, written, before) = (Vec::new(), 0, None);
        Self { exchange, uploads, context, wanted: 0, bytes, written, before }
    }

    /// Of the file that an append goes on with, or begins.
    pub(crate) async fn of(
        exchange: &'a Exchange<'a>,
        uploads: &'a OwnerUploads,
        context: Context<'a>,
        upload: &Upload,
    ) -> Result<Self, Problem> {
        let mut beginning = Self::unseen(exchange, uploads, context);
        if !is_whole(upload) {
            beginning.want(upload.offset());
        }
        if beginning.wanted > 0 {
            Box::pin(beginning.read_stored(upload)).await?;
        }
        Ok(beginning)
    }

    /// Of a file whose upload is not known yet, from this offset on.
    pub(crate) fn staged(
        exchange: &'a Exchange<'a>,
        uploads: &'a OwnerUploads,
        context: Context<'a>,
        at: u64,
    ) -> Self {
        let mut beginning = Self::unseen(exchange, uploads, context);
        beginning.want(at);
        beginning.before = usize::try_from(at).ok();
        beginning
    }

    fn want(&mut self, offset: u64) {
        let wanted = self.exchange.settings.policy.first_bytes_wanted().min(FirstBytes::MAX);
        if offset < wanted as u64 {
            self.wanted = wanted;
        }
    }

    /// Reads what earlier requests have brought, before what has come in this one.
    async fn read_stored(&mut self, upload: &Upload) -> Result<(), Problem> {
        let mut stored = Vec::new();
        if upload.offset() > 0 {
            let mut reader = self.uploads.open(&upload.id).await?.take(self.wanted as u64);
            // What a store says when a read fails is for the log of the store.
            reader.read_to_end(&mut stored).await.map_err(|_| ErrorKind::Store)?;
        }
        stored.append(&mut self.bytes);
        stored.truncate(self.wanted);
        self.written = stored.len();
        self.bytes = stored;
        self.before = None;
        Ok(())
    }

    /// Writes bytes of the file to the append, with the application's consent if they are the first.
    pub(crate) async fn write(
        &mut self,
        append: &mut Append,
        mut bytes: Bytes,
    ) -> Result<(), Problem> {
        if self.wanted == 0 {
            return Ok(append.write_bytes(bytes).await?);
        }
        let known = self.before.unwrap_or(0) + self.bytes.len();
        let more = bytes.len().min(self.wanted - known);
        self.bytes.extend_from_slice(&bytes[..more]);
        if self.before.is_some() {
            self.written = self.bytes.len();
            return Ok(append.write_bytes(bytes).await?);
        }
        if self.bytes.len() < self.wanted {
            return Ok(());
        }
        let rest = bytes.split_off(more);
        Box::pin(self.ask(append.upload(), append.stopped())).await?;
        self.release(append).await?;
        Ok(append.write_bytes(rest).await?)
    }

    /// Writes what was kept back: the request has ended. If that is the end of the file, or if it is
    /// `whole` although its length is not known, the application is asked now.
    pub(crate) async fn end(&mut self, append: &mut Append, whole: bool) -> Result<(), Problem> {
        if self.wanted == 0 {
            return Ok(());
        }
        let end = self.end_of(append);
        let whole = append.upload().total().map_or(whole, |total| total == end);
        if whole || self.bytes.len() == self.wanted {
            Box::pin(self.ask(append.upload(), append.stopped())).await?;
        }
        self.release(append).await
    }

    /// The file is at its end, with the bytes that are stored.
    pub(crate) async fn end_stored(
        mut self,
        upload: &Upload,
        stopped: impl Future<Output = ErrorKind> + Send,
    ) -> Result<(), Problem> {
        match self.wanted {
            0 => Ok(()),
            _ => self.ask(upload, stopped).await,
        }
    }

    /// Goes on with the upload that the bytes before turned out to belong to.
    pub(crate) async fn belongs_to(
        &mut self,
        upload: &Upload,
        uploads: &'a OwnerUploads,
        context: Context<'a>,
    ) -> Result<(), Problem> {
        (self.uploads, self.context) = (uploads, context);
        // If the application was asked, it was about another upload.
        self.wanted = 0;
        self.want(upload.offset());
        match self.wanted {
            0 => Ok(()),
            _ => Box::pin(self.read_stored(upload)).await,
        }
    }

    /// Writes what was kept back.
    pub(crate) async fn release(&mut self, append: &mut Append) -> Result<(), Problem> {
        if self.written < self.bytes.len() {
            append.write(&self.bytes[self.written..]).await?;
            self.written = self.bytes.len();
        }
        Ok(())
    }

    /// Writes what was kept back by a request that has failed, if the upload would still be one that
    /// the application has not been asked about.
    pub(crate) async fn keep_what_came(&mut self, append: &mut Append) -> Result<(), Problem> {
        let is_whole = append.upload().total() == Some(self.end_of(append));
        match is_whole || self.bytes.len() == self.wanted {
            true => Ok(()),
            false => self.release(append).await,
        }
    }

    /// The end of what has come.
    fn end_of(&self, append: &Append) -> u64 {
        append.position() + (self.bytes.len() - self.written) as u64
    }

    async fn ask(
        &mut self,
        upload: &Upload,
        stopped: impl Future<Output = ErrorKind> + Send,
    ) -> Result<(), Problem> {
        let context = Context { upload_id: Some(&upload.id), ..self.context };
        let first = FirstBytes { context, bytes: &self.bytes, upload };
        let answer = self.exchange.ask(self.exchange.settings.policy.first_bytes(&first));
        let answer = tokio::select! {
            biased;
            answer = answer => answer,
            // Who brings the same bytes again is asked for them then.
            why = stopped => return Err(why.into()),
        };
        if let Err(Problem::Refused(refusal)) = &answer
            && is_final(refusal)
        {
            // It is removed when this request has given it back.
            let (uploads, wanted) = (self.uploads.clone(), self.wanted as u64);
            let upload = upload.identity();
            drop(self.exchange.rejected.set(Rejected { uploads, upload, wanted }));
        }
        answer?;
        self.wanted = 0;
        Ok(())
    }
}

/// An upload whose first bytes were refused.
#[derive(Debug)]
pub(super) struct Rejected {
    uploads: OwnerUploads,
    upload: Identity,
    wanted: u64,
}

impl Rejected {
    /// Removes the upload, unless the application has accepted what another request has brought
    /// meanwhile.
    pub(super) async fn remove(&self) -> Result<(), Error> {
        let is_unseen = |upload: &Upload| upload.offset() < self.wanted && !is_whole(upload);
        cancel_if(&self.uploads, self.upload, is_unseen).await
    }
}

/// Removes an incomplete upload if its record is one to remove, but not the next one that has its
/// id.
pub(crate) async fn cancel_if(
    uploads: &OwnerUploads,
    upload: Identity,
    is_wrong: impl Fn(&Upload) -> bool + Send + Sync,
) -> Result<(), Error> {
    let check = |now: Upload| {
        ready(match now.identity() == upload && is_wrong(&now) {
            true => Ok(()),
            false => Err(Error::from(ErrorKind::Superseded)),
        })
    };
    let (lease, ()) = uploads.acquire_if(&upload.id, check).await?;
    lease.cancel().await.map(drop)
}

/// Whether the upload has all bytes that were announced, so that the application has accepted it.
fn is_whole(upload: &Upload) -> bool {
    upload.offset() > 0 && upload.total() == Some(upload.offset())
}

/// Whether the file is refused, and not only this request since something has failed.
fn is_final(refusal: &Refusal) -> bool {
    !refusal.status().is_server_error()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::store::MemoryStore;
    use crate::{IdempotencyKey, NewUpload, Uploads};

    #[tokio::test]
    async fn what_was_accepted_meanwhile_is_not_removed() {
        let uploads = Uploads::builder(MemoryStore::new()).build().unwrap().for_owner(None);
        for (bytes, total, removed) in [
            (&b""[..], Some(0), true),
            (b"", Some(20), true),
            (b"abc", Some(20), true),
            (b"abc", None, true),
            // As many as are wanted, and all of them.
            (b"abcdefgh", Some(20), false),
            (b"abc", Some(3), false),
        ] {
            let mut append = uploads.create(NewUpload::new().total(total)).await.unwrap();
            append.write(bytes).await.unwrap();
            let upload = append.commit().await.unwrap().identity();
            let rejected = Rejected { uploads: uploads.clone(), upload, wanted: 8 };
            assert_eq!(rejected.remove().await.is_ok(), removed, "{bytes:?} of {total:?}");
            assert_eq!(
                uploads.status(&upload.id).await.is_err(),
                removed,
                "{bytes:?} of {total:?}"
            );
        }
        let complete = uploads.create(NewUpload::new().total(0)).await.unwrap();
        let upload = complete.commit().await.unwrap().identity();
        uploads.complete(&upload.id, []).await.unwrap().finish().await.unwrap();
        Rejected { uploads: uploads.clone(), upload, wanted: 8 }.remove().await.unwrap_err();
        uploads.status(&upload.id).await.unwrap();
    }

    #[tokio::test]
    async fn the_next_upload_of_the_key_is_not_removed() {
        let time = Arc::new(AtomicU64::new(1));
        let now = Arc::clone(&time);
        let clock = move || UNIX_EPOCH + Duration::from_millis(now.load(Ordering::Relaxed));
        let uploads = Uploads::builder(MemoryStore::new()).clock(clock).build().unwrap();
        let uploads = uploads.for_owner(None);
        let create = async || {
            let key = IdempotencyKey::new("8e03978e-40d5-43e8-bc93-6894a57f9324").unwrap();
            let new = NewUpload::new().idempotency_key(key);
            uploads.create(new).await.unwrap().commit().await.unwrap().identity()
        };
        let upload = create().await;
        uploads.cancel(&upload.id).await.unwrap();
        time.store(2, Ordering::Relaxed);
        let next = create().await;
        assert_eq!(next.id, upload.id);
        Rejected { uploads: uploads.clone(), upload, wanted: 8 }.remove().await.unwrap_err();
        uploads.status(&next.id).await.unwrap();
    }
}
