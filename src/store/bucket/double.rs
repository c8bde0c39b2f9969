//! An object store that does what its test says, and counts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Attribute, AttributeValue, Attributes, CopyOptions, Error, GetOptions, GetResult,
    GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing is done, and the answer is an error of the server or of the network.
    Refused,
    /// It is done, and the answer is lost.
    Lost,
    /// Nothing is done, and the answer is that the object exists, as for two that come at once
    /// (409).
    Contended,
    /// It is done twice, as by a client that has lost the first answer and tries again.
    Repeated,
    /// It is done by somebody else, just before.
    Taken,
    /// It takes so long, and is done then.
    Slow(Duration),
    /// Of the bytes that are read half come, then an error.
    Torn,
    /// An object is shown without its metadata.
    Bare,
}

/// Kinds of calls, as they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    Put,
    Get,
    Head,
    List,
    Delete,
    /// Makes an object of the parts of a large one.
    Complete,
}

#[derive(Clone, Default)]
pub(super) struct Double {
    pub(super) objects: Arc<InMemory>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// What happens to the next calls of a kind whose keys have this text in them.
    plan: Vec<(Call, &'static str, Fate)>,
    counts: BTreeMap<Call, usize>,
    /// Whether the bytes of pieces and of the application's files are thrown away.
    forgets: bool,
    /// Whether it writes whatever the condition.
    careless: bool,
}

impl Double {
    pub(super) fn plan(&self, call: Call, key: &'static str, fates: &[Fate]) {
        self.with(|inner| inner.plan.extend(fates.iter().map(|fate| (call, key, *fate))));
    }

    pub(super) fn forget_bytes(&self) {
        self.with(|inner| inner.forgets = true);
    }

    pub(super) fn ignore_conditions(&self) {
        self.with(|inner| inner.careless = true);
    }

    /// How many calls there were since the last time this was asked.
    pub(super) fn counts(&self) -> Vec<(Call, usize)> {
        self.with(|inner| std::mem::take(&mut inner.counts).into_iter().collect())
    }

    /// Whether all that was planned has happened.
    pub(super) fn is_done(&self) -> bool {
        self.with(|inner| inner.plan.is_empty())
    }

    pub(super) async fn keys(&self) -> Vec<String> {
        let listed = self.objects.list(None).map(|object| object.unwrap().location.to_string());
        listed.collect().await
    }

    /// Writes an object as somebody else would, with metadata.
    pub(super) async fn put_with(
        &self,
        key: &Path,
        bytes: impl Into<PutPayload>,
        attributes: Attributes,
    ) {
        let options = PutOptions { attributes, ..PutOptions::default() };
        self.objects.put_opts(key, bytes.into(), options).await.unwrap();
    }

    /// What is at the application's places.
    pub(super) async fn media(&self) -> Vec<String> {
        let listed = self.objects.list(Some(&"media".into()));
        listed.map(|object| object.unwrap().location.to_string()).collect().await
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn fate(&self, call: Call, key: &str) -> Option<Fate> {
        self.with(|inner| {
            *inner.counts.entry(call).or_default() += 1;
            let planned =
                |(kind, part, _): &(Call, &str, Fate)| *kind == call && key.contains(part);
            let at = inner.plan.iter().position(planned)?;
            Some(inner.plan.remove(at).2)
        })
    }
}

fn error(fate: Fate, key: &Path) -> Error {
    match fate {
        Fate::Contended => {
            Error::AlreadyExists { path: key.to_string(), source: "409 Conflict".into() }
        }
        _ => Error::Generic { store: "double", source: "503 or no answer".into() },
    }
}

#[async_trait]
impl ObjectStore for Double {
    async fn put_opts(
        &self,
        key: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        if self.with(|inner| inner.careless) {
            options.mode = PutMode::Overwrite;
        }
        let forgotten = ["/piece/", "media/"].iter().any(|part| key.as_ref().contains(part));
        let forgets = self.with(|inner| inner.forgets) && forgotten;
        let payload = if forgets { PutPayload::new() } else { payload };
        match self.fate(Call::Put, key.as_ref()) {
            None => self.objects.put_opts(key, payload, options).await,
            Some(Fate::Lost) => {
                drop(self.objects.put_opts(key, payload, options).await);
                Err(error(Fate::Lost, key))
            }
            Some(Fate::Repeated) => {
                self.objects.put_opts(key, payload.clone(), options.clone()).await?;
                self.objects.put_opts(key, payload, options).await
            }
            Some(Fate::Slow(time)) => {
                tokio::time::sleep(time).await;
                self.objects.put_opts(key, payload, options).await
            }
            Some(Fate::Taken) => {
                let other = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
                drop(self.objects.put_opts(key, "another's".into(), other).await);
                self.objects.put_opts(key, payload, options).await
            }
            Some(fate) => Err(error(fate, key)),
        }
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let parts = self.objects.put_multipart_opts(key, options).await?;
        Ok(Box::new(Parts { double: self.clone(), key: key.clone(), parts }))
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        let call = if options.head { Call::Head } else { Call::Get };
        match self.fate(call, key.as_ref()) {
            None => self.objects.get_opts(key, options).await,
            Some(Fate::Torn) => {
                let mut found = self.objects.get_opts(key, options).await?;
                let GetResultPayload::Stream(bytes) = found.payload;
                let torn = Err(error(Fate::Torn, key));
                let half = bytes.map_ok(|bytes| bytes.slice(..bytes.len() / 2));
                found.payload = GetResultPayload::Stream(half.chain(stream::iter([torn])).boxed());
                Ok(found)
            }
            Some(Fate::Bare) => {
                let mut found = self.objects.get_opts(key, options).await?;
                let kind = AttributeValue::from("binary/octet-stream");
                found.attributes = Attributes::from_iter([(Attribute::ContentType, kind)]);
                Ok(found)
            }
            Some(fate) => Err(error(fate, key)),
        }
    }

    fn delete_stream(
        &self,
        keys: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let keys = keys.map(move |key| {
            let key = key?;
            match this.fate(Call::Delete, key.as_ref()) {
                Some(fate @ Fate::Refused) => Err(error(fate, &key)),
                _ => Ok(key),
            }
        });
        self.objects.delete_stream(keys.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let key = prefix.map(Path::as_ref).unwrap_or_default();
        match self.fate(Call::List, key) {
            None => self.objects.list(prefix),
            // A listing that is late has nothing yet.
            Some(_) => stream::empty().boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct Parts {
    double: Double,
    key: Path,
    parts: Box<dyn MultipartUpload>,
}

#[async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        self.parts.put_part(part)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        match self.double.fate(Call::Complete, self.key.as_ref()) {
            None => self.parts.complete().await,
            Some(fate) => {
                if fate == Fate::Lost {
                    drop(self.parts.complete().await);
                }
                Err(error(fate, &self.key))
            }
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.abort().await
    }
}

impl fmt::Display for Double {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("double")
    }
}

impl fmt::Debug for Double {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Double")
    }
}
