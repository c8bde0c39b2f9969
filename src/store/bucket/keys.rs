//! The names of the objects.
//!
//! ```text
//! PREFIX/rec/S/ID              the record as the upload began
//! PREFIX/log/S/ID/SEQ          one commit
//! PREFIX/piece/S/ID/NONCE-K    bytes of a chunk that is larger than a segment
//! PREFIX/due/S/TIME/ID         an entry of the expiry index
//! PREFIX/busy/S/ID             a heartbeat of the node that completes it
//! PREFIX/settings              the settings that all nodes share
//! PREFIX/check/NONCE/NAME      objects with which a node tries the store
//! ```
//!
//! `S`, the last two digits of the id, spreads the load: no key begins with a time or a counter.

use std::time::{SystemTime, UNIX_EPOCH};

use object_store::path::Path;

use crate::id::UploadId;

#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: Path,
}

impl Keys {
    /// `None` if it is no prefix: its parts may be neither empty nor `.` or `..`.
    pub(super) fn new(prefix: &str) -> Option<Self> {
        let prefix = Path::parse(prefix).ok()?;
        Some(Self { prefix })
    }

    fn shard(&self, kind: &'static str, id: &UploadId) -> Path {
        let id = id.as_str();
        self.all(kind).join(&id[id.len() - 2..])
    }

    fn all(&self, kind: &'static str) -> Path {
        self.prefix.clone().join(kind)
    }

    pub(super) fn record(&self, id: &UploadId) -> Path {
        self.shard("rec", id).join(id.as_str())
    }

    pub(super) fn records(&self) -> Path {
        self.all("rec")
    }

    pub(super) fn log(&self, id: &UploadId) -> Path {
        self.shard("log", id).join(id.as_str())
    }

    /// The newest comes first, so that the first page of a listing shows it.
    pub(super) fn entry(&self, id: &UploadId, seq: u32) -> Path {
        self.log(id).join(format!("{:08x}", u32::MAX - seq))
    }

    pub(super) fn pieces(&self, id: &UploadId) -> Path {
        self.shard("piece", id).join(id.as_str())
    }

    pub(super) fn piece(&self, id: &UploadId, name: &str) -> Path {
        self.pieces(id).join(name)
    }

    pub(super) fn index_entry(&self, id: &UploadId, at: SystemTime) -> Path {
        self.shard("due", id).join(stamp(at)).join(id.as_str())
    }

    pub(super) fn index(&self) -> Path {
        self.all("due")
    }

    /// Where a listing of the index goes on if the rest of a shard lies in the future.
    pub(super) fn index_after(&self, entry: &IndexKey) -> Path {
        self.all("due").join(entry.shard.as_str()).join("z")
    }

    pub(super) fn heartbeat(&self, id: &UploadId) -> Path {
        self.shard("busy", id).join(id.as_str())
    }

    /// Whether it is a key of the store's own.
    pub(super) fn is_own(&self, key: &Path) -> bool {
        let first = key.prefix_match(&self.prefix).and_then(|mut rest| rest.next());
        first.is_some_and(|first| KINDS.contains(&first.as_ref()))
    }

    pub(super) fn settings(&self) -> Path {
        self.all("settings")
    }

    pub(super) fn all_probes(&self) -> Path {
        self.all("check")
    }

    pub(super) fn probes(&self, nonce: &str) -> Path {
        self.all_probes().join(nonce)
    }
}

/// The key of an entry of the expiry index, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexKey {
    pub(super) path: Path,
    pub(super) shard: String,
    pub(super) stamp: String,
    pub(super) id: UploadId,
}

impl IndexKey {
    pub(super) fn parse(path: Path) -> Option<Self> {
        let mut parts = path.as_ref().rsplit('/');
        let id = parts.next()?.parse().ok()?;
        let (stamp, shard) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        Some(Self { path, shard, stamp, id })
    }
}

pub(super) fn id_of(key: &Path) -> Option<UploadId> {
    key.filename()?.parse().ok()
}

pub(super) fn seq_of(key: &Path) -> Option<u32> {
    Some(u32::MAX - u32::from_str_radix(key.filename()?, 16).ok()?)
}

/// A time in whole seconds, not before it, that sorts as text.
pub(super) fn stamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let up = u64::from(since.subsec_nanos() > 0);
    let seconds = since.as_secs().saturating_add(up).min(LAST_SECOND);
    let at = i64::try_from(seconds).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
    at.unwrap_or(jiff::Timestamp::MAX).strftime(STAMP).to_string()
}

const KINDS: [&str; 7] = ["rec", "log", "piece", "due", "busy", "settings", "check"];
const STAMP: &str = "%Y%m%dT%H%M%SZ";
/// 9999-12-30T22:00:00Z, the last that is sure to be written with four digits.
const LAST_SECOND: u64 = 253_402_207_200;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id() -> UploadId {
        "5230ec1f59d1485d9d7974b853802e31".parse().unwrap()
    }

    #[test]
    fn keys_lead_with_what_spreads_them() {
        let keys = Keys::new("a/b").unwrap();
        let id = id();
        assert_eq!(keys.record(&id).as_ref(), format!("a/b/rec/31/{id}"));
        assert_eq!(keys.entry(&id, 1).as_ref(), format!("a/b/log/31/{id}/fffffffe"));
        let at = UNIX_EPOCH + Duration::from_millis(1_800_000_000_001);
        let due = keys.index_entry(&id, at);
        assert_eq!(due.as_ref(), format!("a/b/due/31/20270115T080001Z/{id}"));
        let parsed = IndexKey::parse(due.clone()).unwrap();
        assert_eq!(parsed.id, id);
        assert_eq!((parsed.shard.as_str(), parsed.stamp.as_str()), ("31", "20270115T080001Z"));
        assert!(keys.index_after(&parsed) > due);
    }

    #[test]
    fn the_stores_own_keys_are_told_from_others() {
        for (prefix, key, own) in [
            ("a/b", "a/b/log/31/x", true),
            ("a/b", "a/b/settings", true),
            ("a/b", "a/b/media/x", false),
            ("a/b", "a/b", false),
            ("a/b", "a/bc/log/x", false),
            ("a/b", "log/x", false),
            ("", "log/x", true),
            ("", "media/log/x", false),
        ] {
            let keys = Keys::new(prefix).unwrap();
            assert_eq!(keys.is_own(&Path::from(key)), own, "{prefix:?} {key}");
        }
        let (keys, id) = (Keys::new("p").unwrap(), id());
        for key in [
            keys.record(&id),
            keys.entry(&id, 1),
            keys.piece(&id, "x"),
            keys.index_entry(&id, UNIX_EPOCH),
            keys.heartbeat(&id),
            keys.settings(),
            keys.probes("n").join("x"),
        ] {
            assert!(keys.is_own(&key), "{key}");
        }
    }

    #[test]
    fn a_newer_entry_sorts_first_and_its_number_comes_back() {
        let keys = Keys::new("x").unwrap();
        for seq in [0, 1, 2, 9, 10, 15, 16, 255, 256, u32::MAX - 1] {
            assert_eq!(seq_of(&keys.entry(&id(), seq)), Some(seq));
            assert!(keys.entry(&id(), seq + 1) < keys.entry(&id(), seq));
        }
    }

    #[test]
    fn stamps_sort_like_times_and_are_never_early() {
        let times = [0, 1, 999, 1000, 1001, 1_800_000_000_000, 253_402_300_799_999];
        let stamps = times.map(|millis| stamp(UNIX_EPOCH + Duration::from_millis(millis)));
        assert!(stamps.is_sorted(), "{stamps:?}");
        assert_eq!(stamps[1], "19700101T000001Z");
        assert_eq!(stamps[6], "99991230T220000Z");
    }

    #[test]
    fn a_prefix_that_is_no_path_is_refused() {
        for bad in ["a//b", "../a", "./a"] {
            assert!(Keys::new(bad).is_none(), "{bad}");
        }
        for good in ["", "a", "/a/b/"] {
            assert!(Keys::new(good).is_some(), "{good}");
        }
    }
}
