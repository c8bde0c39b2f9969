//! The checksums of an upload, whose states are in its record.

use crate::checksum::{Digest, DigestAlgorithm, Running};
use crate::upload::Progress;

/// The checksums over the bytes of an upload.
#[derive(Clone, Debug)]
pub(super) struct Checksums {
    /// The configured one. After a file was read for a digest, it may be that of the digest.
    pub(super) main: Option<Running>,
    /// Those that are computed beside it.
    pub(super) more: Vec<Running>,
}

impl Checksums {
    /// Resumes those whose states this version can read.
    pub(super) fn resume(progress: &Progress) -> Self {
        let main = progress.checksum.as_ref().and_then(Running::resume);
        Self { main, more: progress.checksums.iter().filter_map(Running::resume).collect() }
    }

    /// Saves their states. A state that was not resumed is forgotten, since it may be that of fewer
    /// bytes.
    pub(super) fn save(&self, progress: &mut Progress) {
        progress.checksum = self.main.as_ref().map(Running::save);
        progress.checksums = self.more.iter().map(Running::save_compact).collect();
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.main.iter_mut().chain(&mut self.more).for_each(|sum| sum.update(bytes));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Running> {
        self.main.iter().chain(&self.more)
    }

    /// The digest by this algorithm, if it is computed.
    pub(super) fn digest(&self, algorithm: DigestAlgorithm) -> Option<Digest> {
        self.iter().filter_map(Running::digest).find(|digest| digest.algorithm() == algorithm)
    }

    /// Adds one over the same bytes. It takes the place of a main one that gives no digest.
    pub(super) fn add(&mut self, sum: Running) {
        match &self.main {
            Some(main) if main.digest().is_some() => self.more.push(sum),
            _ => self.main = Some(sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;
    use proptest::sample::subsequence;

    use super::*;
    use crate::id::UploadId;
    use crate::upload::Upload;

    fn all() -> Vec<DigestAlgorithm> {
        DigestAlgorithm::ALL.to_vec()
    }

    proptest! {
        #[test]
        fn digests_are_the_same_however_often_they_are_saved_and_resumed(
            main in proptest::option::of(proptest::sample::select(all())),
            more in subsequence(all(), 0..=DigestAlgorithm::ALL.len()),
            pieces in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..200), any::<bool>()), 0..8,
            ),
        ) {
            let mut upload = Upload::new(UploadId::random(), UNIX_EPOCH);
            let main = main.map_or_else(Running::crc32, Running::new);
            let mut sums =
                Checksums { main: Some(main), more: more.into_iter().map(Running::new).collect() };
            let whole = sums.clone();
            for (piece, resumes) in &pieces {
                sums.update(piece);
                if *resumes {
                    sums.save(&mut upload.progress);
                    let text = serde_json::to_string(&upload).unwrap();
                    let read: Upload = serde_json::from_str(&text).unwrap();
                    sums = Checksums::resume(&read.progress);
                }
            }
            sums.save(&mut upload.progress);
            let bytes: Vec<u8> = pieces.into_iter().flat_map(|(piece, _)| piece).collect();
            for algorithm in DigestAlgorithm::ALL {
                let computed = whole.digest(algorithm).is_some();
                let mut sum = Running::new(algorithm);
                sum.update(&bytes);
                prop_assert_eq!(sums.digest(algorithm), sum.digest().filter(|_| computed));
                prop_assert_eq!(upload.digest_of(algorithm), sums.digest(algorithm));
            }
        }
    }

    #[test]
    fn what_is_added_never_takes_the_place_of_a_digest() {
        let [sha, md5] = [DigestAlgorithm::Sha1, DigestAlgorithm::Md5].map(Running::new);
        for main in [None, Some(Running::crc32())] {
            let mut sums = Checksums { main, more: Vec::new() };
            sums.add(sha.clone());
            sums.add(md5.clone());
            assert_eq!(sums.main.map(|sum| sum.save()), Some(sha.save()));
            assert_eq!(sums.more.iter().map(Running::save).collect::<Vec<_>>(), [md5.save()]);
        }
    }
}
