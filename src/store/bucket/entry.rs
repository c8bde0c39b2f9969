//! What a commit says. It is in the object's metadata, so one `HEAD` tells everything.

use std::borrow::Cow;
use std::time::SystemTime;

use object_store::{Attribute, AttributeValue, Attributes};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::id::UploadId;
use crate::store::{Handover, Result, StoreError};
use crate::time;
use crate::upload::{Progress, Upload};

/// One commit of an upload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Of this very commit. A writer that finds it at the key that it wanted to create has created
    /// it.
    pub(super) nonce: String,
    /// The node that has written it.
    pub(super) node: String,
    #[serde(with = "time::millis")]
    pub(super) written: SystemTime,
    /// Where its bytes start. They end at `progress.offset`.
    pub(super) at: u64,
    pub(super) body: Body,
    /// The number of the commit whose list has the record, if that was changed after the first
    /// commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) described: Option<u32>,
    /// Where the file was moved to, or is on its way to, and then where it may still be from
    /// before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) moved: Vec<Moved>,
    /// How far the application has got with the file.
    #[serde(default, skip_serializing_if = "knows_nothing")]
    pub(super) handover: Handover,
    #[serde(flatten)]
    pub(super) progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Body {
    /// The bytes.
    Bytes,
    /// A [`List`].
    List,
    /// Nothing: the upload was removed.
    #[serde(rename = "gone")]
    Tombstone,
}

/// A place of the application's choice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moved {
    pub(super) target: String,
    /// What the object there is marked with.
    pub(super) mark: String,
    /// Whether the object there is whole. Otherwise the bytes are where they were before.
    pub(super) done: bool,
}

/// Where the bytes of a large commit are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct List {
    pub(super) pieces: Vec<Piece>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) record: Option<Upload>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) name: String,
    pub(super) length: u64,
}

impl Entry {
    /// An entry without bytes, at the start of the file.
    pub(super) fn new(node: &str, written: SystemTime, progress: Progress) -> Self {
        Self {
            nonce: nonce(),
            node: node.to_owned(),
            written,
            at: 0,
            body: Body::Bytes,
            described: None,
            moved: Vec::new(),
            handover: Handover::None,
            progress,
        }
    }

    pub(super) fn attributes(&self) -> Attributes {
        let text = serde_json::to_string(self).unwrap_or_default();
        attributes(ENTRY, &text)
    }

    /// How many bytes it takes up as metadata.
    pub(super) fn size(&self) -> usize {
        self.attributes().iter().map(|(_, value)| ENTRY.len() + value.len()).sum()
    }

    /// What the metadata of an object say. An error says why they are no entry.
    pub(super) fn read(attributes: &Attributes) -> Result<Self, String> {
        let text = attribute(attributes, ENTRY).ok_or("it has no metadata of an entry")?;
        serde_json::from_str(&text)
            .map_err(|error| format!("its metadata is not a commit: {error}"))
    }

    /// The same for the object of a commit.
    pub(super) fn of_commit(attributes: &Attributes, id: &UploadId, seq: u32) -> Result<Self> {
        let entry = Self::read(attributes);
        entry.map_err(|why| StoreError::damaged(id, format!("commit {seq}: {why}")))
    }

    /// Where the whole file was moved to.
    pub(super) fn place(&self) -> Option<&Moved> {
        self.moved.iter().find(|moved| moved.done)
    }

    pub(super) fn is_tombstone(&self) -> bool {
        self.body == Body::Tombstone
    }
}

impl List {
    pub(super) fn read(bytes: &[u8], id: &UploadId, seq: u32) -> Result<Self> {
        let list = serde_json::from_slice(bytes);
        list.map_err(|error| StoreError::damaged(id, format!("commit {seq}: {error}")))
    }
}

fn knows_nothing(handover: &Handover) -> bool {
    *handover == Handover::None
}

/// A name that nobody else has.
pub(super) fn nonce() -> String {
    UploadId::random().to_string()
}

/// Metadata with one value, in characters that no store changes.
pub(super) fn attributes(name: &'static str, text: &str) -> Attributes {
    let value = utf8_percent_encode(text, ESCAPED).to_string();
    let name = Attribute::Metadata(Cow::Borrowed(name));
    Attributes::from_iter([(name, AttributeValue::from(value))])
}

pub(super) fn attribute(attributes: &Attributes, name: &'static str) -> Option<String> {
    let value = attributes.get(&Attribute::Metadata(Cow::Borrowed(name)))?;
    let text = percent_decode_str(value).decode_utf8().ok()?;
    Some(text.into_owned())
}

pub(super) const ENTRY: &str = "entry";
/// Marks a file that was moved out of the store.
pub(super) const MARK: &str = "upload";
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b':').remove(b',');

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;
    use crate::upload::Status;

    fn entry() -> Entry {
        Entry {
            nonce: "n".to_owned(),
            node: "N".to_owned(),
            written: UNIX_EPOCH + Duration::from_millis(5),
            at: 1,
            body: Body::Bytes,
            described: None,
            moved: Vec::new(),
            handover: Handover::None,
            progress: Progress {
                offset: 3,
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

    #[test]
    fn the_format_is_pinned() {
        let value = entry().attributes();
        let value = value.get(&Attribute::Metadata("entry".into())).unwrap();
        let text = percent_decode_str(value).decode_utf8().unwrap();
        assert_eq!(
            text,
            r#"{"nonce":"n","node":"N","written":5,"at":1,"body":"bytes","offset":3,"status":"open"}"#
        );
        let list = List { pieces: vec![Piece { name: "a-0".to_owned(), length: 5 }], record: None };
        assert_eq!(
            serde_json::to_string(&list).unwrap(),
            r#"{"pieces":[{"name":"a-0","length":5}]}"#
        );
    }

    #[test]
    fn what_is_no_entry_says_so() {
        assert!(Entry::read(&Attributes::new()).is_err());
        for bad in ["", "{}", "[", "\u{fffd}"] {
            assert!(Entry::read(&attributes(ENTRY, bad)).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_entry_comes_back_in_plain_ascii(
            nonce in ".{0,20}", target in ".{0,20}", checksum in ".{0,200}",
            checksums in proptest::collection::vec(".{0,200}", 0..3),
            at in any::<u64>(), total in any::<Option<u64>>(), gone in any::<bool>(),
        ) {
            let mut entry = entry();
            entry.nonce = nonce;
            entry.at = at;
            entry.body = if gone { Body::Tombstone } else { Body::List };
            let old = Moved { target: "old".to_owned(), mark: "m".to_owned(), done: true };
            entry.moved = vec![Moved { target, mark: "n".to_owned(), done: gone }, old];
            entry.progress.total = total;
            entry.progress.checksum = checksum.parse().ok();
            entry.progress.checksums = checksums.iter().flat_map(|it| it.parse()).collect();
            let attributes = entry.attributes();
            let (_, value) = attributes.iter().next().unwrap();
            prop_assert!(value.chars().all(|c| c.is_ascii_graphic()));
            prop_assert_eq!(Entry::read(&attributes), Ok(entry));
        }
    }
}
