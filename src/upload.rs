//! The record of an upload.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::checksum::{ChecksumState, Digest, DigestAlgorithm, Running};
use crate::filename;
use crate::id::UploadId;
use crate::time;

/// The record of an upload: its properties from when it started, and its progress.
///
/// The record is authoritative. Bytes that a store holds past [`offset`](Self::offset) belong to a
/// chunk that was never acknowledged.
///
/// A [`Store`](crate::store::Store) may keep it in any format. `Serialize` and `Deserialize` give
/// it a format that older and newer versions of this crate can read: a missing field has its
/// default, and an unknown field is ignored (and lost when such a version rewrites the record).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Upload {
    /// The id of the upload.
    pub id: UploadId,
    /// The owner, or `None` if the upload has no owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// The file's name as the client sent it. Never use it as a path. See [`Upload::filename`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub raw_filename: String,
    /// The media type that the client sent, unchecked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The protocol whose clients continue the upload; `None` for that of django-chunked-upload.
    /// The others do not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
    /// The metadata exactly as the client sent it, if the protocol returns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// Whether the upload is a file of its own, a part, or joined from parts.
    #[serde(default, skip_serializing_if = "Kind::is_whole")]
    pub kind: Kind,
    /// The list of the [parts](Self::parts) exactly as the client sent it, if the protocol returns
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts_as_sent: Option<Box<str>>,
    /// The head of the request that began the upload, if the application gets that request when all
    /// bytes have arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Box<Head>>,
    /// The text fields of the first chunk, in the order in which they were sent. In tus, all
    /// metadata whose values are text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, String)>,
    /// The attributes that the application attached when the upload started; `null` if there are
    /// none.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub attributes: serde_json::Value,
    /// The maximum size of the file in bytes, if it differs from that of all uploads
    /// ([`NewUpload::max_bytes`](crate::NewUpload::max_bytes)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// How the upload was created, if it was with an [idempotency key](crate::IdempotencyKey).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation: Option<Creation>,
    /// The application's response to the last hand-over of the file, if it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Box<KeptAnswer>>,
    /// When the upload was created, with millisecond precision.
    #[serde(with = "time::millis")]
    pub created: SystemTime,
    /// The progress of the upload.
    #[serde(flatten)]
    pub progress: Progress,
}

/// The part of a record that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// How many bytes are acknowledged. It never decreases.
    pub offset: u64,
    /// The total size of the file in bytes, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// The checksum's state over the bytes up to `offset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<ChecksumState>,
    /// The states of the additional checksums over the same bytes, requested with
    /// [`NewUpload::digests`](crate::NewUpload::digests).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checksums: Vec<ChecksumState>,
    /// When the upload may be removed; `None` means never.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::millis_option")]
    pub expires: Option<SystemTime>,
    /// The status of the upload.
    pub status: Status,
    /// Whether a response has acknowledged all bytes to the client before the application has taken
    /// the file. Then the client cannot be asked for the last byte again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub end_acknowledged: bool,
    /// What ties the upload to others.
    // Behind a pointer, since most uploads have none and a request holds the record several times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ties: Option<Box<Ties>>,
}

/// A response of the application that is kept, so that a client which lost it can ask again.
///
/// Its `Debug` has the status, the names of the headers and the length only, since a response may
/// have secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeptAnswer {
    /// The status.
    pub status: u16,
    /// Names and values of the headers. Each byte of a value is stored as the character with that
    /// code point (Latin-1).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(default, skip_serializing_if = "Bytes::is_empty", with = "base64")]
    pub body: Bytes,
    /// When it is no longer returned to clients.
    #[serde(with = "time::millis")]
    pub until: SystemTime,
}

impl KeptAnswer {
    /// Creates a kept response without headers.
    pub fn new(status: u16, body: impl Into<Bytes>, until: SystemTime) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), until: time::to_millis(until) }
    }
}

impl fmt::Debug for KeptAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("KeptAnswer")
            .field("status", &self.status)
            .field("headers", &names)
            .field("bytes", &self.body.len())
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// Serialises bytes as base64.
mod base64 {
    use bytes::Bytes;
    use data_encoding::BASE64;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        BASE64.decode(text.as_bytes()).map(Bytes::from).map_err(D::Error::custom)
    }
}

/// What the creating request announced and the record does not otherwise keep. A repeated creation
/// with the same idempotency key is compared with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Creation {
    /// The total size in bytes that it has announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

impl Creation {
    /// A creation that has announced this total size, in bytes.
    pub fn new(total: impl Into<Option<u64>>) -> Self {
        Self { total: total.into() }
    }
}

/// The head of a request, without headers of the connection and without credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Head {
    /// The method.
    pub method: String,
    /// The target.
    pub target: String,
    /// Names and values of headers. Each byte of a value is stored as the character with that
    /// number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// Creates a head without headers.
    pub fn new(method: impl Into<String>, target: impl Into<String>) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new() }
    }
}

/// The relations between a part and the uploads that are joined from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ties {
    /// The uploads that are joined from this one, some of which may no longer exist. As long as one
    /// of them exists and is not [`persisted`](Self::persisted), the bytes stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needed_by: Vec<UploadId>,
    /// The one of those uploads that waits for the last byte of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaited_by: Option<UploadId>,
    /// The offset at which the client has said that this one ends, if its total was unknown. The
    /// total is noted only when the upload is complete; until then the upload can still grow, and
    /// what was said before does not count any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// Whether the application has taken the file and has moved it out of the store, so that its
    /// parts are not needed any more. It is set only for an upload that is joined.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub persisted: bool,
}

impl Progress {
    /// Returns the relations of the upload to others.
    pub fn ties(&self) -> &Ties {
        const NONE: &Ties =
            &Ties { needed_by: Vec::new(), awaited_by: None, ended_at: None, persisted: false };
        self.ties.as_deref().unwrap_or(NONE)
    }

    /// Changes the relations of the upload to others.
    pub fn change_ties(&mut self, change: impl FnOnce(&mut Ties)) {
        let mut ties = self.ties().clone();
        change(&mut ties);
        self.ties = (ties != Ties::default()).then(|| Box::new(ties));
    }
}

/// The kind of an upload: a file of its own, a part, or joined from parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// It is a file of its own.
    #[default]
    Whole,
    /// It is a part of files that are joined from several uploads.
    Part,
    /// It is joined from these parts, in this order. It has no bytes of its own.
    Joined(Vec<Part>),
}

/// A part of an upload that is joined from several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Part {
    /// The id of the part.
    pub id: UploadId,
    /// The size in bytes; `None` until the part has all of its bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

impl Kind {
    fn is_whole(&self) -> bool {
        *self == Self::Whole
    }
}

impl Part {
    /// Creates a part with this id and size.
    pub fn new(id: UploadId, size: impl Into<Option<u64>>) -> Self {
        Self { id, size: size.into() }
    }
}

/// A protocol of the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Dialect {
    /// The protocol of django-chunked-upload and jQuery-File-Upload.
    Chunked,
    /// tus 1.0.
    Tus,
    /// "Resumable Uploads for HTTP", an IETF draft.
    Resumable,
    /// One that this version does not know.
    #[doc(hidden)]
    #[serde(other)]
    Other,
}

/// The status of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// The upload accepts chunks, or has all its bytes and waits to be completed.
    Open,
    /// The application was given the file and has not responded yet. If the process ends meanwhile,
    /// the upload can be completed again.
    Finishing,
    /// The application has taken the file, by responding with a 2xx or 3xx.
    Complete,
    /// The process ended while the application had the file, so it is unknown what it has done with
    /// it. The upload is not handed over again
    /// ([`Lease::end_interrupted`](crate::Lease::end_interrupted)).
    Interrupted,
}

/// What tells an upload from one that gets its id later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: UploadId,
    pub(crate) created: SystemTime,
}

impl Upload {
    pub(crate) fn identity(&self) -> Identity {
        Identity { id: self.id, created: self.created }
    }

    /// Creates an empty upload without an owner, name, total or expiry.
    pub fn new(id: UploadId, created: SystemTime) -> Self {
        Self {
            id,
            owner: None,
            raw_filename: String::new(),
            content_type: None,
            dialect: None,
            metadata: None,
            kind: Kind::Whole,
            parts_as_sent: None,
            head: None,
            fields: Vec::new(),
            attributes: serde_json::Value::Null,
            max_bytes: None,
            creation: None,
            answer: None,
            created: time::to_millis(created),
            progress: Progress {
                offset: 0,
                total: None,
                checksum: None,
                checksums: Vec::new(),
                expires: None,
                status: Status::Open,
                end_acknowledged: false,
                ties: None,
            },
        }
    }

    /// Returns the parts from which the upload is joined; none if it has bytes of its own.
    pub fn parts(&self) -> &[Part] {
        match &self.kind {
            Kind::Joined(parts) => parts,
            Kind::Whole | Kind::Part => &[],
        }
    }

    /// The parts that have the bytes up to the offset: none before all sizes are known.
    pub(crate) fn parts_with_bytes(&self) -> &[Part] {
        if self.offset() > 0 { self.parts() } else { &[] }
    }

    /// Returns how many of the bytes up to the offset were written to this upload: all of them, or
    /// none if it is joined from others.
    pub fn own_bytes(&self) -> u64 {
        if self.is_joined() { 0 } else { self.offset() }
    }

    pub(crate) fn is_joined(&self) -> bool {
        matches!(self.kind, Kind::Joined(_))
    }

    /// Returns the file's name, made safe: its last component, without control characters or
    /// characters that change the direction of text, at most 200 bytes long (so that an id fits
    /// before it), and never `.`, `..` or the name of a device. Returns `None` if nothing is left
    /// of it.
    pub fn filename(&self) -> Option<String> {
        filename::safe(&self.raw_filename)
    }

    /// Returns how many bytes are acknowledged.
    pub fn offset(&self) -> u64 {
        self.progress.offset
    }

    /// Returns the total size of the file in bytes, or `None` while that is unknown.
    pub fn total(&self) -> Option<u64> {
        self.progress.total
    }

    /// Returns the status of the upload.
    pub fn status(&self) -> Status {
        self.progress.status
    }

    /// Returns when the upload may be removed; `None` means never.
    pub fn expires(&self) -> Option<SystemTime> {
        self.progress.expires
    }

    /// Returns the digest of the bytes up to the offset, and so of the file once all bytes have
    /// arrived, or `None` if no [`checksum`](crate::UploadsBuilder::checksum) is computed.
    pub fn digest(&self) -> Option<Digest> {
        self.progress.checksum.as_ref().and_then(Running::resume)?.digest()
    }

    /// Returns the digest of the bytes up to the offset by this algorithm, or `None` if it is not
    /// computed. It is computed if it is the [configured](crate::UploadsBuilder::digest_algorithm)
    /// one, or was [requested](crate::NewUpload::digests) when the upload started.
    pub fn digest_of(&self, algorithm: DigestAlgorithm) -> Option<Digest> {
        let states = self.progress.checksum.iter().chain(&self.progress.checksums);
        let mut digests = states.filter_map(|state| Running::resume(state)?.digest());
        digests.find(|digest| digest.algorithm() == algorithm)
    }

    /// Returns whether the upload has expired at `now`.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.progress.expires.is_some_and(|expires| expires <= now)
    }
}

/// The owner of an upload: a name that the application chooses, such as a user's key.
///
/// It is compared byte by byte. `Debug` shows it, so it should not be a secret.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Owner(Arc<str>);

impl Owner {
    /// Creates an owner with this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({:?})", &*self.0)
    }
}

impl From<String> for Owner {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<&str> for Owner {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> Self {
        owner.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_record_survives_being_written_down() {
        let mut upload = Upload::new(UploadId::random(), SystemTime::now());
        let empty = serde_json::to_string(&upload).unwrap();
        assert_eq!(serde_json::from_str::<Upload>(&empty).unwrap(), upload);

        upload.owner = Some("alice".into());
        upload.raw_filename = "naïve \"😀\"\r\n.txt".to_owned();
        upload.content_type = Some("text/plain".to_owned());
        upload.dialect = Some(Dialect::Tus);
        upload.metadata = Some("name YS50eHQ=,wet".to_owned());
        upload.fields = vec![("a".to_owned(), "1".to_owned())];
        upload.attributes = serde_json::json!({ "folder": 7 });
        upload.max_bytes = Some(u64::MAX);
        upload.creation = Some(Creation::new(7));
        let mut answer = KeptAnswer::new(207, &b"\0\xff\n"[..], SystemTime::now());
        answer.headers = vec![("x-a".to_owned(), "\u{e9}\"".to_owned())];
        upload.answer = Some(Box::new(answer));
        upload.progress.offset = u64::MAX;
        upload.progress.total = Some(u64::MAX);
        upload.progress.checksum = Some(Running::md5().save());
        upload.progress.checksums = vec![Running::new(DigestAlgorithm::Sha1).save_compact()];
        upload.progress.expires = Some(UNIX_EPOCH + Duration::from_millis(1));
        upload.progress.status = Status::Finishing;
        upload.progress.change_ties(|ties| {
            ties.needed_by = vec![UploadId::random(), UploadId::random()];
            ties.awaited_by = Some(UploadId::random());
            ties.ended_at = Some(u64::MAX);
            ties.persisted = true;
        });
        upload.parts_as_sent = Some("final;/a /b".into());
        for kind in
            [Kind::Part, Kind::Joined(vec![Part::new(upload.id, 5), Part::new(upload.id, None)])]
        {
            upload.kind = kind;
            let full = serde_json::to_string(&upload).unwrap();
            assert_eq!(serde_json::from_str::<Upload>(&full).unwrap(), upload);
        }
        let full = serde_json::to_string(&upload).unwrap();
        assert_eq!(serde_json::from_str::<Upload>(&full).unwrap(), upload);
    }

    /// This allows new fields in the record without a new version of its format.
    #[test]
    fn what_a_record_lacks_has_a_default_and_what_is_unknown_is_passed_over() {
        let id = UploadId::random();
        let least = format!(r#"{{"id":"{id}","created":7,"offset":3,"status":"open"}}"#);
        let mut want = Upload::new(id, UNIX_EPOCH + Duration::from_millis(7));
        want.progress.offset = 3;
        assert_eq!(serde_json::from_str::<Upload>(&least).unwrap(), want);
        let unknown = r#","later":{"part":1},"tail":["POST","/a"]}"#;
        let newer = format!("{}{unknown}", least.trim_end_matches('}'));
        assert_eq!(serde_json::from_str::<Upload>(&newer).unwrap(), want);
        for key in ["id", "created", "offset", "status"] {
            let lacks = least.replace(key, "other");
            assert!(serde_json::from_str::<Upload>(&lacks).is_err(), "{key}");
        }
        assert!(serde_json::from_str::<Upload>(&least.replace("open", "new")).is_err());
    }

    #[test]
    fn a_digest_is_found_by_its_algorithm_wherever_its_state_is() {
        let mut upload = Upload::new(UploadId::random(), UNIX_EPOCH);
        let over = |algorithm| {
            let mut sum = Running::new(algorithm);
            sum.update(b"abc");
            sum
        };
        upload.progress.checksum = Some(over(DigestAlgorithm::Md5).save());
        upload.progress.checksums = vec![
            "sha3.AAAA".parse().unwrap(),
            over(DigestAlgorithm::Sha256).save_compact(),
            over(DigestAlgorithm::Crc32c).save(),
        ];
        for algorithm in DigestAlgorithm::ALL {
            let computed = !matches!(algorithm, DigestAlgorithm::Sha1 | DigestAlgorithm::Sha512);
            let digest = over(algorithm).digest().filter(|_| computed);
            assert_eq!(upload.digest_of(algorithm), digest, "{algorithm:?}");
        }
        assert_eq!(upload.digest(), upload.digest_of(DigestAlgorithm::Md5));
    }

    #[test]
    fn an_upload_expires_at_its_time_and_not_before() {
        let now = UNIX_EPOCH + Duration::from_secs(100);
        let mut upload = Upload::new(UploadId::random(), now);
        assert!(!upload.is_expired(now));
        upload.progress.expires = Some(now);
        assert!(upload.is_expired(now));
        assert!(!upload.is_expired(now - Duration::from_millis(1)));
    }
}
