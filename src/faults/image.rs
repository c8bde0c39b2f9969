//! What a disk may hold after a power cut: all that was synced, and of the rest whatever it likes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::Random;
use crate::store::fs::disk::plan::Change;

/// A disk, from a trace of what was done to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    files: BTreeMap<u64, Contents>,
    /// The names as a running system sees them, and as they are on the disk.
    live: Names,
    safe: Names,
    /// Changes of names that are in no folder that was synced since, in their order.
    pending: Vec<Change>,
}

#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<PathBuf, u64>,
    folders: BTreeSet<PathBuf>,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    live: Vec<u8>,
    safe: Vec<u8>,
    /// Pages that are in memory only.
    dirty: BTreeSet<usize>,
}

/// How much of what was not synced is on the disk.
#[derive(Clone, Copy, Debug)]
pub(super) enum Luck {
    Nothing,
    Everything,
    /// Names and lengths, but no bytes: zeros.
    NamesAndLengths,
    /// Bytes, but no names.
    Bytes,
    /// All of the records, and of the other files names and lengths, but no bytes.
    Records,
    /// All of the records, and some sectors of the other files.
    RecordsAndSome(u64),
    /// Some names of each folder, in their order, some sectors and some lengths.
    Random(u64),
}

impl Names {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Create(path, file) => {
                self.files.insert(path.clone(), *file);
            }
            Change::CreateFolder(path) => {
                // Those above it may have been there before the trace began.
                self.folders.extend(path.ancestors().map(Path::to_owned));
            }
            Change::RemoveFolder(path) => {
                let is_empty = !self.files.keys().any(|file| file.starts_with(path))
                    && !self.folders.iter().any(|other| other != path && other.starts_with(path));
                if is_empty {
                    self.folders.remove(path);
                }
            }
            Change::Rename(from, to) => {
                if let Some(file) = self.files.remove(from) {
                    self.files.insert(to.clone(), file);
                }
            }
            Change::Link(from, to) => {
                if let (Some(file), false) = (self.files.get(from), self.files.contains_key(to)) {
                    self.files.insert(to.clone(), *file);
                }
            }
            Change::Remove(path) => {
                self.files.remove(path);
            }
            _ => {}
        }
    }
}

/// The folders whose entries a change is in.
fn folders(change: &Change) -> Vec<&Path> {
    let paths = match change {
        Change::Create(path, _)
        | Change::CreateFolder(path)
        | Change::RemoveFolder(path)
        | Change::Remove(path) => vec![path],
        Change::Rename(from, to) => vec![from, to],
        Change::Link(_, to) => vec![to],
        _ => Vec::new(),
    };
    paths.into_iter().filter_map(|path| path.parent()).collect()
}

impl Image {
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(file, at, bytes) => self.contents(*file).write(*at, bytes),
            Change::Cut(file, length) => self.contents(*file).cut(*length),
            Change::Sync(file) => self.contents(*file).sync(),
            // The pages count as clean from then on, though they are not on the disk.
            Change::FailedSync(file) => self.contents(*file).dirty.clear(),
            Change::SyncFolder(folder) => {
                let all = std::mem::take(&mut self.pending);
                for change in all {
                    if folders(&change).contains(&folder.as_path()) {
                        self.safe.apply(&change);
                    } else {
                        self.pending.push(change);
                    }
                }
            }
            Change::FailedSyncFolder(folder) => {
                self.pending.retain(|change| !folders(change).contains(&folder.as_path()));
            }
            _ => {
                self.live.apply(change);
                self.pending.push(change.clone());
            }
        }
    }

    fn contents(&mut self, file: u64) -> &mut Contents {
        self.files.entry(file).or_default()
    }

    /// Makes the folder what this disk holds after a power cut.
    pub(super) fn restore(&self, folder: &Path, luck: Luck) {
        drop(fs::remove_dir_all(folder));
        fs::create_dir_all(folder).unwrap();
        let mut random = Random(match luck {
            Luck::Random(seed) | Luck::RecordsAndSome(seed) => seed | 1,
            _ => 1,
        });
        let names = self.names(luck, &mut random);
        for path in names.folders.iter().filter(|path| path.starts_with(folder)) {
            fs::create_dir_all(path).unwrap();
        }
        let none = Contents::default();
        for (path, file) in &names.files {
            let parent = path.parent().unwrap();
            // A name in a folder that has none itself cannot be found.
            if parent.exists() {
                let contents = self.files.get(file).unwrap_or(&none);
                let is_record = path.extension().is_some_and(|end| end == "log");
                let luck = match luck {
                    Luck::Records | Luck::RecordsAndSome(_) if is_record => Luck::Everything,
                    Luck::Records => Luck::NamesAndLengths,
                    luck => luck,
                };
                fs::write(path, contents.after(luck, &mut random)).unwrap();
            }
        }
    }

    fn names(&self, luck: Luck, random: &mut Random) -> Names {
        let mut names = self.safe.clone();
        match luck {
            Luck::Nothing | Luck::Bytes => {}
            Luck::Everything | Luck::NamesAndLengths | Luck::Records | Luck::RecordsAndSome(_) => {
                names = self.live.clone()
            }
            Luck::Random(_) => {
                let mut full = BTreeSet::new();
                for change in &self.pending {
                    let folders = folders(change);
                    if folders.iter().any(|folder| full.contains(*folder)) || random.below(3) == 0 {
                        full.extend(folders.into_iter().map(Path::to_owned));
                    } else {
                        names.apply(change);
                    }
                }
            }
        }
        names
    }
}

impl Contents {
    fn write(&mut self, at: u64, bytes: &[u8]) {
        let start = usize::try_from(at).unwrap();
        let end = start + bytes.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[start..end].copy_from_slice(bytes);
        self.dirty.extend(start / PAGE..end.div_ceil(PAGE));
    }

    fn cut(&mut self, length: u64) {
        let length = usize::try_from(length).unwrap();
        self.live.resize(length, 0);
        self.dirty.retain(|page| page * PAGE < length);
    }

    fn sync(&mut self) {
        for page in std::mem::take(&mut self.dirty) {
            let end = self.live.len().min((page + 1) * PAGE);
            if self.safe.len() < end {
                self.safe.resize(end, 0);
            }
            self.safe[page * PAGE..end].copy_from_slice(&self.live[page * PAGE..end]);
        }
        self.safe.resize(self.live.len(), 0);
    }

    fn after(&self, luck: Luck, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.safe.clone();
        let with_length = match luck {
            Luck::Nothing => false,
            Luck::Random(_) => random.below(2) == 0,
            _ => true,
        };
        if with_length {
            bytes.resize(self.live.len(), 0);
        }
        for sector in self.dirty.iter().flat_map(|page| page * SECTORS..(page + 1) * SECTORS) {
            let is_there = match luck {
                Luck::Nothing | Luck::NamesAndLengths | Luck::Records => false,
                Luck::Everything | Luck::Bytes => true,
                Luck::Random(_) => random.below(2) == 0,
                // Nearly all, so that the damage is small.
                Luck::RecordsAndSome(_) => random.below(50) > 0,
            };
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(self.live.len()).min(bytes.len());
            if is_there && start < end {
                bytes[start..end].copy_from_slice(&self.live[start..end]);
            }
        }
        bytes
    }
}

const PAGE: usize = 4096;
const SECTOR: usize = 512;
const SECTORS: usize = PAGE / SECTOR;
