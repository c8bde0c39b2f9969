//! The properties of a new upload.

use std::time::SystemTime;

use super::error::{Error, ErrorKind};
use crate::checksum::{DigestAlgorithm, Running};
use crate::id::UploadId;
use crate::idempotency::IdempotencyKey;
use crate::upload::{Creation, Dialect, Head, Kind, Owner, Part, Upload};

/// The properties of a new upload.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct NewUpload {
    filename: String,
    content_type: Option<String>,
    metadata: Option<String>,
    kind: Kind,
    parts_as_sent: Option<Box<str>>,
    head: Option<Box<Head>>,
    /// `None` if they are not known yet.
    fields: Option<Vec<(String, String)>>,
    key: Option<IdempotencyKey>,
    attributes: serde_json::Value,
    total: Option<u64>,
    max_bytes: Option<u64>,
    digests: Vec<DigestAlgorithm>,
    limit: Limit,
}

/// The limit for the append that starts the upload.
#[derive(Clone, Copy, Debug, Default)]
enum Limit {
    /// The limit of the upload.
    #[default]
    Usual,
    Other(Option<u64>),
}

impl NewUpload {
    /// Describes an upload without any properties.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the file's name as the client sent it.
    pub fn filename(mut self, name: impl Into<String>) -> Self {
        self.filename = name.into();
        self
    }

    /// Sets the media type that the client sent.
    pub fn content_type(mut self, media_type: impl Into<Option<String>>) -> Self {
        self.content_type = media_type.into();
        self
    }

    /// Sets the metadata that the protocol returns exactly as the client sent it.
    pub fn metadata(mut self, metadata: impl Into<Option<String>>) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// Makes the upload a part of files that are [joined](crate::OwnerUploads::join) from several.
    pub fn part(mut self) -> Self {
        self.kind = Kind::Part;
        self
    }

    pub(super) fn joined_from(mut self, parts: Vec<Part>) -> Self {
        self.kind = Kind::Joined(parts);
        self
    }

    /// Sets the list of parts that the protocol returns exactly as the client sent it.
    pub fn parts_as_sent(mut self, list: impl Into<Option<String>>) -> Self {
        self.parts_as_sent = list.into().map(String::into_boxed_str);
        self
    }

    /// Sets the head of the request that the application gets when all bytes have arrived.
    pub fn head(mut self, head: Head) -> Self {
        self.head = Some(Box::new(head));
        self
    }

    /// Sets the text fields, as names and values.
    pub fn fields(mut self, fields: Vec<(String, String)>) -> Self {
        self.fields = Some(fields);
        self
    }

    /// Sets the idempotency key. A later creation with the same key, owner and protocol continues
    /// this upload instead of beginning another, for as long as the record exists.
    ///
    /// The filename, media type, metadata, text fields (if they are set), total, head and parts must
    /// be the same, or the creation fails with
    /// [`ErrorKind::KeyReused`](crate::ErrorKind::KeyReused). In an upload without an owner the key
    /// is all that a client needs, so it must be random.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_chunked_upload::store::MemoryStore;
    /// # use tower_chunked_upload::{ErrorKind, IdempotencyKey, NewUpload, Uploads};
    /// # let uploads = Uploads::builder(MemoryStore::new()).build()?.for_owner(None);
    /// let key = IdempotencyKey::new("8e03978e-40d5-43e8-bc93-6894a57f9324")?;
    /// let new = NewUpload::new().filename("a.txt").total(10).idempotency_key(key);
    ///
    /// let mut append = uploads.create(new.clone()).await?;
    /// append.write(&b"Hello"[..]).await?;
    /// let first = append.commit().await?;
    ///
    /// let again = uploads.create(new.clone()).await?;
    /// assert_eq!((again.upload().id, again.position()), (first.id, 5));
    ///
    /// let other = uploads.create(new.filename("b.txt")).await.unwrap_err();
    /// assert_eq!(*other.kind(), ErrorKind::KeyReused);
    /// # Ok(())
    /// # }
    /// ```
    pub fn idempotency_key(mut self, key: impl Into<Option<IdempotencyKey>>) -> Self {
        self.key = key.into();
        self
    }

    /// Sets the attributes that the application attaches.
    pub fn attributes(mut self, attributes: serde_json::Value) -> Self {
        self.attributes = attributes;
        self
    }

    /// Sets the total size of the file, in bytes.
    pub fn total(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.total = bytes.into();
        self
    }

    /// Sets the maximum size of the file, in bytes, instead of the one for all uploads, which it may
    /// exceed; with `None`, that one applies. It is stored with the upload and applies to all later
    /// appends.
    ///
    /// Over HTTP, [`Policy::max_bytes`](crate::Policy::max_bytes) decides. It is called with this
    /// limit once the upload is known. A form that starts at offset 0 may be refused earlier
    /// because of its headers, if it is larger than the limit for all uploads.
    pub fn max_bytes(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.max_bytes = bytes.into();
        self
    }

    /// Sets the algorithms of the digests that are computed while the bytes arrive, in addition to
    /// the [configured](crate::UploadsBuilder::digest_algorithm) one. Completing with any of them
    /// then costs the same for every size, and
    /// [`CompletedUpload::digest_of`](crate::CompletedUpload::digest_of) returns them. An algorithm
    /// that occurs twice, or is the configured one, is computed once.
    ///
    /// An upload that is [joined](crate::OwnerUploads::join) from parts has none, since it has no
    /// bytes of its own.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_chunked_upload::store::MemoryStore;
    /// # use tower_chunked_upload::{DigestAlgorithm, NewUpload, Uploads};
    /// # let uploads = Uploads::builder(MemoryStore::new()).build()?.for_owner(None);
    /// let new = NewUpload::new().digests([DigestAlgorithm::Sha256, DigestAlgorithm::Sha512]);
    /// let mut append = uploads.create(new).await?;
    /// append.write(&b"abc"[..]).await?;
    /// let upload = append.commit().await?;
    /// let digest = upload.digest_of(DigestAlgorithm::Sha256).expect("it is computed");
    /// assert!(digest.to_hex().starts_with("ba7816bf"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn digests(mut self, algorithms: impl IntoIterator<Item = DigestAlgorithm>) -> Self {
        self.digests.clear();
        for algorithm in algorithms {
            if !self.digests.contains(&algorithm) {
                self.digests.push(algorithm);
            }
        }
        self
    }

    /// Sets the maximum size of the file for the [`Append`](crate::Append) that starts the upload,
    /// in bytes. It replaces all other limits; `None` means no limit. It is not stored with the
    /// upload.
    pub fn limit(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.limit = Limit::Other(bytes.into());
        self
    }

    /// Returns the size limit, where `configured` is the one for all uploads.
    pub(super) fn limit_within(&self, configured: Option<u64>) -> Option<u64> {
        match self.limit {
            Limit::Usual => self.max_bytes.or(configured),
            Limit::Other(limit) => limit,
        }
    }

    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Fails if an upload is not the one that this describes, of which this is the record.
    pub(super) fn check_describes(&self, record: &Upload, upload: &Upload) -> Result<(), Error> {
        match self.describes(record, upload) {
            true => Ok(()),
            false => Err(ErrorKind::KeyReused.into()),
        }
    }

    fn describes(&self, record: &Upload, upload: &Upload) -> bool {
        let parts = |upload: &Upload| upload.parts().iter().map(|part| part.id).collect::<Vec<_>>();
        let is_part = |upload: &Upload| upload.kind == Kind::Part;
        record.creation == upload.creation
            && record.raw_filename == upload.raw_filename
            && record.content_type == upload.content_type
            && record.metadata == upload.metadata
            && record.head == upload.head
            && (self.fields.is_none() || record.fields == upload.fields)
            && record.parts_as_sent == upload.parts_as_sent
            && is_part(record) == is_part(upload)
            && parts(record) == parts(upload)
    }

    pub(super) fn into_record(
        self,
        owner: Option<Owner>,
        dialect: Dialect,
        created: SystemTime,
        expires: Option<SystemTime>,
        computed: Option<DigestAlgorithm>,
    ) -> Upload {
        let id = match &self.key {
            Some(key) => key.upload_id(owner.as_ref(), dialect),
            None => UploadId::random(),
        };
        let mut upload = Upload::new(id, created);
        upload.owner = owner;
        upload.creation = self.key.map(|_| Creation::new(self.total));
        upload.raw_filename = self.filename;
        upload.content_type = self.content_type;
        upload.metadata = self.metadata;
        upload.kind = self.kind;
        upload.parts_as_sent = self.parts_as_sent;
        upload.head = self.head;
        upload.fields = self.fields.unwrap_or_default();
        upload.attributes = self.attributes;
        upload.max_bytes = self.max_bytes;
        if !upload.is_joined() {
            let more = self.digests.into_iter().filter(|algorithm| computed != Some(*algorithm));
            upload.progress.checksums = more.map(|it| Running::new(it).save_compact()).collect();
        }
        upload.progress.total = self.total;
        upload.progress.expires = expires;
        upload
    }
}
