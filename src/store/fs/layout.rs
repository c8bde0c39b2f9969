//! The paths of the files in a store.

use std::collections::BinaryHeap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use super::calls::FileCalls;
use super::disk::{Disk, Root, folders_above, is_link_on_the_way};
use super::durability::Durability;
use super::error::Context as _;
use crate::id::UploadId;
use crate::store::{Cursor, HandoffRequest, Result, StoreError};
use crate::upload::Upload;

#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
    /// The folder of new files below the root, with directives of `strftime`.
    pattern: String,
    problem: Option<&'static str>,
    pub(super) durability: Durability,
    pub(super) calls: FileCalls,
    /// How many files stay open of uploads that nobody holds.
    open_files: usize,
    pub(super) disk: Disk,
    /// Marks this store's own requests for hand-offs.
    instance: UploadId,
}

impl Layout {
    pub(super) fn new(path: &Path) -> Self {
        let is_fixed = |part: &Component<'_>| !part.as_os_str().as_encoded_bytes().contains(&b'%');
        let root: PathBuf = path.components().take_while(is_fixed).collect();
        let rest: PathBuf = path.components().skip_while(is_fixed).collect();
        let problem = if path.as_os_str().is_empty() {
            Some("it is empty")
        } else if path.as_os_str().as_encoded_bytes().contains(&0) {
            Some("it contains a NUL character")
        } else if rest.components().any(|part| !matches!(part, Component::Normal(_))) {
            Some("it has a `..` after a directive")
        } else if rest.to_str().is_none() {
            Some("it is not valid unicode")
        } else {
            None
        };
        let pattern = rest.to_str().unwrap_or_default().to_owned();
        Self {
            root,
            pattern,
            problem,
            durability: Durability::default(),
            calls: FileCalls::default(),
            open_files: OPEN_FILES,
            disk: Disk::default(),
            instance: UploadId::random(),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        if let Some(problem) = self.problem {
            return Err(StoreError::Config { problem: format!("invalid path pattern: {problem}") });
        }
        self.folder(SystemTime::now()).map(drop)
    }

    pub(super) fn set_open_files(&mut self, count: usize) {
        self.open_files = count;
    }

    /// Of how many uploads that nobody holds the files stay open.
    pub(super) fn open_uploads(&self) -> usize {
        static ALLOWED: OnceLock<Option<usize>> = OnceLock::new();
        let allowed = ALLOWED.get_or_init(|| Disk::max_open_files().map(|all| all / SHARE));
        allowed.unwrap_or(usize::MAX).min(self.open_files) / FILES
    }

    /// Whether commits are synced, to survive a power cut.
    pub(super) fn syncs(&self) -> bool {
        self.durability == Durability::Sync
    }

    pub(super) fn whole_pattern(&self) -> PathBuf {
        self.root.join(&self.pattern)
    }

    /// The folder below the root for the bytes of an upload that was created at `time`.
    fn folder(&self, time: SystemTime) -> Result<PathBuf> {
        let bad = |problem: String| StoreError::Config {
            problem: format!("invalid path pattern {:?}: {problem}", self.pattern),
        };
        let format = |time: jiff::Timestamp| {
            let time = time.to_zoned_datetime(jiff::tz::TimeZone::UTC);
            jiff::fmt::strtime::format(&self.pattern, &time)
        };
        let folder = jiff::Timestamp::try_from(time).and_then(format);
        let folder = PathBuf::from(folder.map_err(|error| bad(error.to_string()))?);
        if folder.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(bad("it leads out of its folder".to_owned()));
        }
        Ok(folder)
    }

    /// The path below the root for the bytes of a new upload.
    ///
    /// An id that follows from a key comes again, after a removal or a crash. Its file must not be one
    /// that the application has taken where it was, or that lies there without a record.
    pub(super) fn new_data(&self, upload: &Upload) -> Result<PathBuf> {
        let id = upload.id;
        let name = match upload.creation {
            Some(_) => format!("{id}.{}.part", UploadId::random()),
            None => format!("{id}.part"),
        };
        Ok(self.folder(upload.created)?.join(name))
    }

    /// Whether the application has taken the bytes at this path below the root without moving them.
    pub(super) fn is_taken_in_place(&self, data: &Path, moved: Option<&Path>) -> bool {
        let path = std::path::absolute(self.data(data));
        moved.is_some_and(|moved| path.is_ok_and(|path| path == moved))
    }

    /// The path below the root for the bytes of a check, in the folder of new uploads.
    pub(super) fn probe_data(&self, id: &UploadId) -> Result<PathBuf> {
        Ok(self.folder(SystemTime::now())?.join(format!("{id}.{PROBE}")))
    }

    /// Whether it is a path of that kind.
    pub(super) fn is_probe_data(id: &UploadId, below: &Path) -> bool {
        let is_normal = |part| matches!(part, Component::Normal(_));
        below.components().all(is_normal) && below.ends_with(format!("{id}.{PROBE}"))
    }

    /// The files of checks that are under way, or were when their process ended.
    pub(super) fn probes(&self) -> Result<Vec<(UploadId, PathBuf)>> {
        let (mut probes, below) = (Vec::new(), Path::new(PROBES));
        if self.disk.is_link(&self.records()) {
            return Ok(probes);
        }
        self.each_name(&self.root.join(below), |name| {
            let id = name.split('.').next().and_then(|id| id.parse().ok());
            probes.extend(id.map(|id| (id, below.join(&name))));
        })?;
        Ok(probes)
    }

    pub(super) fn data(&self, below: &Path) -> PathBuf {
        self.root.join(below)
    }

    fn records(&self) -> PathBuf {
        self.root.join(RECORDS)
    }

    pub(super) fn record(&self, id: &UploadId) -> PathBuf {
        self.root.join(record_below(id))
    }

    /// The root, to open files below it.
    pub(super) fn open(&self) -> Root<'_> {
        self.disk.root(&self.root)
    }

    /// Fails if a folder above the file is a link, which could lead out of the store.
    pub(super) fn check_path(&self, id: &UploadId, below: &Path) -> Result<()> {
        match self.open().has_link(below) {
            true => Err(link_on_the_way(id)),
            false => Ok(()),
        }
    }

    /// A page of the ids of records, in order, and the cursor for the next page.
    pub(super) fn ids(&self, cursor: Option<Cursor>) -> Result<(Vec<UploadId>, Option<Cursor>)> {
        let after = cursor.map(|cursor| cursor.0).unwrap_or_default();
        let mut shards = Vec::new();
        self.each_name(&self.records(), |name| {
            if name.len() == 2 && name.as_str() >= after.get(..2).unwrap_or("") {
                shards.push(name);
            }
        })?;
        shards.sort_unstable();
        let mut ids = Vec::with_capacity(PAGE);
        for shard in shards {
            ids.append(&mut self.first_ids(&shard, &after, PAGE - ids.len())?);
            if ids.len() == PAGE {
                let next = ids.last().map(|id| Cursor::new(id.to_string()));
                return Ok((ids, next));
            }
        }
        Ok((ids, None))
    }

    /// The first ids of a shard that come after `after`, in order. Memory does not grow with the
    /// number of uploads in the shard.
    fn first_ids(&self, shard: &str, after: &str, count: usize) -> Result<Vec<UploadId>> {
        let mut first = BinaryHeap::with_capacity(count + 1);
        self.each_name(&self.records().join(shard), |name| {
            let id = name.strip_suffix(".log").and_then(|id| id.parse::<UploadId>().ok());
            first.extend(id.filter(|id| id.as_str().starts_with(shard) && id.as_str() > after));
            if first.len() > count {
                first.pop();
            }
        })?;
        Ok(first.into_sorted_vec())
    }

    fn each_name(&self, folder: &Path, see: impl FnMut(String)) -> Result<()> {
        // A link may lead out of the store.
        if self.disk.is_link(folder) {
            return Ok(());
        }
        self.disk.each_name(folder, see).context("list", folder)
    }

    /// The folders above the files of a new upload. Another upload may have created them and not
    /// synced them yet, so the first commit syncs all of them.
    pub(super) fn folders(&self, id: &UploadId, below: &Path) -> Vec<PathBuf> {
        let record = self.record(id);
        let records = record.ancestors().skip(1).take(2).map(Path::to_owned);
        let data = below.ancestors().skip(1).map(|folder| self.data(folder));
        // If it cannot be read, it cannot be synced; whoever created the root in it had to do that.
        let above = self.root.parent().filter(|above| self.disk.is_readable(above));
        let above = above.map(Path::to_owned);
        records.chain(data).chain(above).collect()
    }

    /// Removes the files of an upload, the record last: after a crash it still names the others.
    pub(super) fn remove_files(&self, id: &UploadId, data: Option<&Path>) -> Result<()> {
        let record = self.record(id);
        let data = data.map(|below| self.data(below));
        for path in data.into_iter().chain([record.with_extension(REWRITTEN), record]) {
            self.disk.remove(&path).context("remove", &path)?;
        }
        Ok(())
    }

    /// Searches for the bytes of an upload whose record does not name their path. Those of an upload
    /// with a key are not found: there may be several files with its id, and not all are the store's.
    pub(super) fn search(&self, id: &UploadId) -> Option<PathBuf> {
        let name = format!("{id}.part");
        // It searches no deeper than the pattern, since the root may be a folder of the
        // application.
        let depth = Path::new(&self.pattern).components().count();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let level = folder.components().count();
            for entry in self.disk.names(&self.data(&folder)).unwrap_or_default() {
                let below = folder.join(&entry);
                if entry == name && level == depth {
                    return Some(below);
                }
                if level < depth && entry != RECORDS && self.disk.is_folder(&self.data(&below)) {
                    folders.push(below);
                }
            }
        }
        None
    }

    /// Creates or removes the file that requests the hand-off of an upload.
    pub(super) fn request_handoff(&self, id: &UploadId, wanted: bool) -> Result<()> {
        let below = Path::new(HANDOFF_REQUESTS).join(format!("{id}.{}", self.instance));
        let path = self.data(&below);
        let done = if wanted {
            self.open().create(&below).map(drop)
        } else {
            self.check_path(id, &below)?;
            self.disk.remove(&path)
        };
        match done {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) if is_link_on_the_way(&error) => Err(link_on_the_way(id)),
            done => done.context("request a hand-off with", &path),
        }
    }

    /// The hand-offs that other instances request.
    pub(super) fn handoff_requests(&self) -> Result<Vec<HandoffRequest>> {
        let folder = self.root.join(HANDOFF_REQUESTS);
        if self.disk.is_link(&self.records()) || self.disk.is_link(&folder) {
            return Ok(Vec::new());
        }
        let names = self.disk.names(&folder).context("list", &folder)?;
        let others = names.iter().filter_map(|name| {
            let (id, instance) = name.split_once('.')?;
            let (id, instance) = (id.parse().ok()?, instance.parse::<UploadId>().ok()?);
            let age = self.disk.modified(&folder.join(name))?.elapsed().ok()?;
            // The process that created it must have been killed.
            if age > REQUEST_LIFETIME {
                drop(self.disk.remove(&folder.join(name)));
                return None;
            }
            (instance != self.instance).then_some(HandoffRequest { id, age })
        });
        Ok(others.collect())
    }

    /// How many bytes fit below the root, or where it will be created.
    pub(super) fn free_bytes(&self) -> Result<Option<u64>> {
        let root = std::path::absolute(&self.root).context("find", &self.root)?;
        let there =
            root.ancestors().find(|folder| self.disk.leads_to_folder(folder)).unwrap_or(&root);
        self.disk.free(there).context("look at", there)
    }

    /// Removes those folders between a removed file and the root that have become empty.
    pub(super) fn remove_empty_folders(&self, below: &Path) {
        for folder in folders_above(below) {
            if self.disk.remove_folder(&self.data(folder)).is_err() {
                return;
            }
        }
    }
}

pub(super) fn link_on_the_way(id: &UploadId) -> StoreError {
    StoreError::damaged(id, "a folder on the way to it is a link")
}

/// The path, below the root, of an upload's record.
pub(super) fn record_below(id: &UploadId) -> PathBuf {
    Path::new(RECORDS).join(&id.as_str()[..2]).join(format!("{id}.log"))
}

/// How many files stay open unless the application says otherwise.
const OPEN_FILES: usize = 256;
/// They are at most this fraction of the files that the process may open.
const SHARE: usize = 4;
/// An upload has a record and bytes.
const FILES: usize = 2;
/// The folder of the records, in the root.
const RECORDS: &str = ".records";
/// The extension of a record that is about to replace another.
pub(super) const REWRITTEN: &str = "new";
/// The folder with a file for each request to hand an upload off, in the root.
const HANDOFF_REQUESTS: &str = ".records/asked";
/// The folder with a file for each check, in the root.
pub(super) const PROBES: &str = ".records/probe";
/// The extension of the bytes of a check.
const PROBE: &str = "probe";
/// How long a request for a hand-off counts at most.
const REQUEST_LIFETIME: Duration = Duration::from_secs(10);
const PAGE: usize = 256;

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn layout(pattern: &str) -> Layout {
        Layout::new(Path::new(pattern))
    }

    #[test]
    fn the_root_ends_before_the_first_directive() {
        for (pattern, root, folder) in [
            ("chunked_uploads/%Y/%m/%d", "chunked_uploads", "2026/11/22"),
            ("/srv/../var/up", "/srv/../var/up", ""),
            ("up/%Y-%m/x", "up", "2026-11/x"),
            ("%Y", "", "2026"),
            ("a/100%%/%H", "a", "100%/00"),
        ] {
            let layout = layout(pattern);
            layout.check().unwrap();
            let time = UNIX_EPOCH + Duration::from_secs(1_795_305_600);
            assert_eq!(layout.root, Path::new(root), "{pattern}");
            assert_eq!(layout.folder(time).unwrap(), Path::new(folder), "{pattern}");
        }
    }

    #[test]
    fn a_bad_pattern_is_an_error() {
        for pattern in ["", "up/%", "up/%Y/..", "up/%Y/../../x", "up/%!", "up/%Y%n/%"] {
            let error = layout(pattern).check().unwrap_err();
            assert!(matches!(error, StoreError::Config { .. }), "{pattern}: {error}");
        }
    }
}
