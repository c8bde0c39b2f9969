//! A store with a neighbourhood that nobody may touch.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{NewUpload, Uploads};

use crate::support::files_below;

/// What is at each path around the store: its kind and rights, what it has, when it was changed.
type Snapshot = Vec<(PathBuf, u32, Vec<u8>, (i64, i64))>;

/// A folder with a store deep inside it and files all around that.
pub(crate) struct Guarded {
    folder: tempfile::TempDir,
    before: Snapshot,
}

impl Guarded {
    /// With records beside the store that only the names `beside` and `beside.log` lead to: if such a
    /// name is believed, an upload is found.
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("record");
        let uploads = Uploads::builder(FsStore::new(outside.join("%Y"))).build().unwrap();
        let mut append =
            uploads.for_owner(None).create(NewUpload::new().filename("a").total(9)).await.unwrap();
        append.write(&b"beside"[..]).await.unwrap();
        append.commit().await.unwrap();
        let files = files_below(&outside);
        let ending = |name: &str| {
            let file = files.iter().find(|file| file.extension().is_some_and(|ext| ext == name));
            std::fs::read(file.unwrap()).unwrap()
        };
        let (record, part) = (ending("log"), ending("part"));
        let mut guarded = Self { folder, before: Vec::new() };
        for folder in [guarded.store(), guarded.media()] {
            std::fs::create_dir_all(folder).unwrap();
        }
        for above in guarded.inside().ancestors().take(4) {
            for name in ["beside", "beside.log"] {
                std::fs::write(above.join(name), &record).unwrap();
            }
            std::fs::write(above.join("beside.part"), &part).unwrap();
        }
        guarded.before = guarded.snapshot();
        guarded
    }

    /// Where files come and go that are not of the neighbourhood.
    fn inside(&self) -> PathBuf {
        self.folder.path().join("a/b/inside")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.inside().join("store")
    }

    /// For an application's finished files.
    pub(crate) fn media(&self) -> PathBuf {
        self.inside().join("media")
    }

    fn snapshot(&self) -> Snapshot {
        let mut paths = vec![self.folder.path().to_owned()];
        let mut snapshot = Snapshot::new();
        while let Some(path) = paths.pop() {
            if path == self.store() || path == self.media() {
                continue;
            }
            let meta = path.symlink_metadata().unwrap();
            let mut content = Vec::new();
            if meta.is_dir() {
                paths.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                content = std::fs::read(&path).unwrap();
            }
            snapshot.push((path, meta.mode(), content, (meta.mtime(), meta.mtime_nsec())));
        }
        snapshot.sort();
        snapshot
    }

    #[track_caller]
    pub(crate) fn unchanged(&self) -> usize {
        let after = self.snapshot();
        let differs = |one: &Snapshot, other: &Snapshot| {
            let missing = one.iter().filter(|entry| !other.contains(entry));
            missing.map(|(path, ..)| path.clone()).collect::<Vec<_>>()
        };
        let changed = [differs(&self.before, &after), differs(&after, &self.before)];
        assert_eq!(changed, [[], []] as [[PathBuf; 0]; 2], "around the store, before and after");
        after.len()
    }
}

/// How many files there are below a folder in which they still come and go.
pub(crate) fn files_now(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let count = |path: PathBuf| if path.is_dir() { files_now(&path) } else { 1 };
    entries.map(|entry| count(entry.path())).sum()
}
