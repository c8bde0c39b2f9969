//! The incremental checksum of an upload, and the resulting digest.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use data_encoding::{BASE64URL_NOPAD, Encoding, HEXLOWER, HEXLOWER_PERMISSIVE};
use md5::digest::common::hazmat::{SerializableState, SerializedState};
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

/// The digest of a whole file, or of some bytes of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Digest {
    /// MD5 (RFC 1321): protects against transmission errors, not against attackers.
    Md5([u8; 16]),
    /// SHA-1 (RFC 3174): protects against transmission errors, not against attackers.
    Sha1([u8; 20]),
    /// SHA-256 (RFC 6234).
    Sha256([u8; 32]),
    /// SHA-512 (RFC 6234).
    Sha512([u8; 64]),
    /// CRC-32C (Castagnoli, RFC 3720), the most significant byte first, as object stores have it: by
    /// far the fastest. It protects against transmission errors, not against attackers.
    Crc32c([u8; 4]),
}

/// An algorithm for a [`Digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DigestAlgorithm {
    /// See [`Digest::Md5`].
    Md5,
    /// See [`Digest::Sha1`].
    Sha1,
    /// See [`Digest::Sha256`].
    Sha256,
    /// See [`Digest::Sha512`].
    Sha512,
    /// See [`Digest::Crc32c`].
    Crc32c,
}

impl Digest {
    /// Parses the 32 hex digits of an MD5 digest, in either case; `None` if `text` is anything else.
    /// It does not compute a digest of `text`.
    pub fn md5(text: &str) -> Option<Self> {
        Some(Self::Md5(from_hex(text)?))
    }

    /// Returns the digest with these bytes, or `None` if their number is not that of the algorithm.
    pub fn from_bytes(algorithm: DigestAlgorithm, bytes: &[u8]) -> Option<Self> {
        Some(match algorithm {
            DigestAlgorithm::Md5 => Self::Md5(bytes.try_into().ok()?),
            DigestAlgorithm::Sha1 => Self::Sha1(bytes.try_into().ok()?),
            DigestAlgorithm::Sha256 => Self::Sha256(bytes.try_into().ok()?),
            DigestAlgorithm::Sha512 => Self::Sha512(bytes.try_into().ok()?),
            DigestAlgorithm::Crc32c => Self::Crc32c(bytes.try_into().ok()?),
        })
    }

    /// Returns the algorithm of the digest.
    pub fn algorithm(&self) -> DigestAlgorithm {
        match self {
            Self::Md5(_) => DigestAlgorithm::Md5,
            Self::Sha1(_) => DigestAlgorithm::Sha1,
            Self::Sha256(_) => DigestAlgorithm::Sha256,
            Self::Sha512(_) => DigestAlgorithm::Sha512,
            Self::Crc32c(_) => DigestAlgorithm::Crc32c,
        }
    }

    /// Returns the bytes of the digest.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Md5(bytes) => bytes,
            Self::Sha1(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
            Self::Sha512(bytes) => bytes,
            Self::Crc32c(bytes) => bytes,
        }
    }

    /// Returns the hex digits in lower case, without the name of the algorithm.
    pub fn to_hex(&self) -> String {
        HEXLOWER.encode(self.as_bytes())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.algorithm(), self.to_hex())
    }
}

impl DigestAlgorithm {
    /// All algorithms.
    pub const ALL: [Self; 5] = [Self::Sha1, Self::Sha256, Self::Sha512, Self::Md5, Self::Crc32c];

    /// Returns the name in lower case, without a hyphen: `sha256`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Crc32c => "crc32c",
        }
    }

    /// Returns the algorithm with this [name](Self::name), or `None` if there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// The state of a checksum over the bytes up to an upload's offset, as stored in the record.
///
/// It is opaque to a [`Store`](crate::store::Store), which only keeps the text. A state that this
/// version cannot read is not an error: the file is then read once instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChecksumState(String);

/// An incremental checksum.
#[derive(Clone, Debug)]
pub(crate) enum Running {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    /// Boxed because it is as large as two of the others.
    Sha512(Box<Sha512>),
    Crc32c(u32),
    /// For files that need no digest: it detects damage at almost no cost.
    Crc32(crc32fast::Hasher),
}

impl Running {
    /// Whether it is computed as fast as bytes are written.
    pub(crate) fn is_fast(&self) -> bool {
        matches!(self, Self::Crc32(_) | Self::Crc32c(_))
    }

    pub(crate) fn new(algorithm: DigestAlgorithm) -> Self {
        match algorithm {
            DigestAlgorithm::Md5 => Self::md5(),
            DigestAlgorithm::Sha1 => Self::Sha1(Sha1::new()),
            DigestAlgorithm::Sha256 => Self::Sha256(Sha256::new()),
            DigestAlgorithm::Sha512 => Self::Sha512(Box::default()),
            DigestAlgorithm::Crc32c => Self::Crc32c(0),
        }
    }

    pub(crate) fn md5() -> Self {
        Self::Md5(Md5::new())
    }

    pub(crate) fn crc32() -> Self {
        Self::Crc32(crc32fast::Hasher::new())
    }

    /// Returns a checksum of the same kind over no bytes.
    pub(crate) fn restarted(&self) -> Self {
        self.digest().map_or_else(Self::crc32, |digest| Self::new(digest.algorithm()))
    }

    /// Resumes a checksum from a saved state, if this version can read it.
    pub(crate) fn resume(state: &ChecksumState) -> Option<Self> {
        let at = state.0.find([PLAIN, COMPACT])?;
        let (name, text) = (&state.0[..at], &state.0[at + 1..]);
        let encoding = if state.0[at..].starts_with(PLAIN) { HEXLOWER } else { BASE64URL_NOPAD };
        let bytes = encoding.decode(text.as_bytes()).ok()?;
        let running = Self::read(name, &bytes)?;
        (running.state() == (name, bytes)).then_some(running)
    }

    fn read(name: &str, state: &[u8]) -> Option<Self> {
        if name == CRC32 {
            let sum = from_crc(state)?;
            return Some(Self::Crc32(crc32fast::Hasher::new_with_initial(sum)));
        }
        Some(match DigestAlgorithm::from_name(name)? {
            DigestAlgorithm::Md5 => Self::Md5(from_state(state, 16..24)?),
            DigestAlgorithm::Sha1 => Self::Sha1(from_state(state, 20..28)?),
            DigestAlgorithm::Sha256 => Self::Sha256(from_state(state, 32..40)?),
            DigestAlgorithm::Sha512 => Self::Sha512(Box::new(from_state(state, 64..80)?)),
            DigestAlgorithm::Crc32c => Self::Crc32c(from_crc(state)?),
        })
    }

    pub(crate) fn save(&self) -> ChecksumState {
        self.save_as(PLAIN, &HEXLOWER)
    }

    /// Saves the same state in a third fewer characters.
    pub(crate) fn save_compact(&self) -> ChecksumState {
        self.save_as(COMPACT, &BASE64URL_NOPAD)
    }

    fn save_as(&self, separator: char, encoding: &Encoding) -> ChecksumState {
        let (name, state) = self.state();
        let mut text = String::with_capacity(name.len() + 1 + encoding.encode_len(state.len()));
        text.push_str(name);
        text.push(separator);
        encoding.encode_append(&state, &mut text);
        ChecksumState(text)
    }

    fn state(&self) -> (&'static str, Vec<u8>) {
        match self {
            Self::Md5(md5) => ("md5", md5.serialize().to_vec()),
            Self::Sha1(sha) => ("sha1", sha.serialize().to_vec()),
            Self::Sha256(sha) => ("sha256", sha.serialize().to_vec()),
            Self::Sha512(sha) => ("sha512", sha.serialize().to_vec()),
            Self::Crc32c(sum) => ("crc32c", sum.to_be_bytes().to_vec()),
            Self::Crc32(crc32) => (CRC32, crc32.clone().finalize().to_be_bytes().to_vec()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(md5) => update(md5, bytes),
            Self::Sha1(sha) => sha.update(bytes),
            Self::Sha256(sha) => sha.update(bytes),
            Self::Sha512(sha) => sha.update(bytes),
            Self::Crc32c(sum) => *sum = crc32c::crc32c_append(*sum, bytes),
            Self::Crc32(crc32) => crc32.update(bytes),
        }
    }

    /// Returns the digest, unless the checksum only serves to detect damage.
    pub(crate) fn digest(&self) -> Option<Digest> {
        Some(match self {
            Self::Md5(md5) => Digest::Md5(md5.clone().finalize().into()),
            Self::Sha1(sha) => Digest::Sha1(sha.clone().finalize().into()),
            Self::Sha256(sha) => Digest::Sha256(sha.clone().finalize().into()),
            Self::Sha512(sha) => Digest::Sha512(Sha512::clone(sha).finalize().into()),
            Self::Crc32c(sum) => Digest::Crc32c(sum.to_be_bytes()),
            Self::Crc32(_) => return None,
        })
    }

    /// Returns the checksum of these bytes followed by the `other_len` bytes of `other`, without
    /// reading any of them. `None` if the algorithm does not allow it, or if the two differ in it.
    pub(crate) fn combine(&self, other: &Self, other_len: u64) -> Option<Self> {
        match (self, other) {
            (Self::Crc32(first), Self::Crc32(second)) => {
                let sum = second.clone().finalize();
                let second = crc32fast::Hasher::new_with_initial_len(sum, other_len);
                let mut both = first.clone();
                both.combine(&second);
                Some(Self::Crc32(both))
            }
            (Self::Crc32c(first), Self::Crc32c(second)) => {
                let length = usize::try_from(other_len).ok()?;
                Some(Self::Crc32c(crc32c::crc32c_combine(*first, *second, length)))
            }
            _ => None,
        }
    }
}

#[cfg(not(feature = "fast-md5"))]
fn update(md5: &mut Md5, bytes: &[u8]) {
    md5.update(bytes);
}

/// Hashes whole blocks with another library, which is faster but does not expose its state. The
/// remaining bytes and the state are handled as without it.
#[cfg(feature = "fast-md5")]
fn update(md5: &mut Md5, bytes: &[u8]) {
    /// The positions in the state of the number of blocks, and of the length of the partial block.
    const COUNT: usize = 16;
    const PARTIAL: usize = 24;
    const BLOCK: usize = 64;
    let partial = usize::from(md5.serialize()[PARTIAL]);
    let (start, rest) = bytes.split_at(bytes.len().min((BLOCK - partial) % BLOCK));
    md5.update(start);
    let (blocks, end) = rest.as_chunks::<BLOCK>();
    if !blocks.is_empty() {
        let mut state = md5.serialize();
        let (words, _) = state[..COUNT].as_chunks_mut::<4>();
        let mut sums: [u32; 4] = std::array::from_fn(|at| u32::from_le_bytes(words[at]));
        blocks.iter().for_each(|block| fast_md5::transform(&mut sums, block));
        words.iter_mut().zip(sums).for_each(|(word, sum)| *word = sum.to_le_bytes());
        if let Some(count) = state[COUNT..].first_chunk_mut() {
            *count = u64::from_le_bytes(*count).wrapping_add(blocks.len() as u64).to_le_bytes();
        }
        match Md5::deserialize(&state) {
            Ok(updated) => *md5 = updated,
            Err(_) => md5.update(blocks.as_flattened()),
        }
    }
    md5.update(end);
}

impl FromStr for ChecksumState {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// Parses hex digits in either case.
fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    let fits = HEXLOWER_PERMISSIVE.decode_len(text.len()).is_ok_and(|length| length == N);
    (fits && HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut out).is_ok()).then_some(out)
}

/// Reads the state of a CRC.
fn from_crc(state: &[u8]) -> Option<u32> {
    state.try_into().ok().map(u32::from_be_bytes)
}

/// Reads a saved state, whose number of blocks is in the bytes `count`.
fn from_state<T: SerializableState>(state: &[u8], count: Range<usize>) -> Option<T> {
    // The libraries compute the number of bits without a check.
    let blocks = state.get(count)?.iter().rev().fold(0, |sum, byte| sum << 8 | u128::from(*byte));
    if blocks > MAX_BLOCKS {
        return None;
    }
    T::deserialize(&SerializedState::<T>::try_from(state).ok()?).ok()
}

/// So many blocks of at most 128 bytes have a number of bits that fits 64 bits, with room for more.
const MAX_BLOCKS: u128 = 1 << 53;

const CRC32: &str = "crc32";
/// Ends the name before a state in hex digits.
const PLAIN: char = ':';
/// Ends the name before a state in the URL-safe alphabet of Base64, none of whose characters needs
/// to be escaped where a bucket keeps it.
const COMPACT: char = '.';

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fuzzing;

    /// One of each kind, over no bytes.
    fn kinds() -> impl Iterator<Item = Running> {
        DigestAlgorithm::ALL.into_iter().map(Running::new).chain([Running::crc32()])
    }

    /// The checksum of the same kind over these bytes.
    fn over(kind: &Running, bytes: &[u8]) -> Running {
        let mut running = kind.restarted();
        running.update(bytes);
        running
    }

    #[test]
    fn a_crc32c_is_that_of_its_standard() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        for (bytes, sum) in [
            (&b""[..], "00000000"),
            (b"123456789", "e3069283"),
            (&[0; 32], "8a9136aa"),
            (&[0xff; 32], "62a8ab43"),
            (&ascending, "46dd794e"),
            (&descending, "113fdb5c"),
        ] {
            let running = over(&Running::new(DigestAlgorithm::Crc32c), bytes);
            assert_eq!(running.digest().unwrap().to_hex(), sum, "{bytes:?}");
            assert_eq!(running.save().0, format!("crc32c:{sum}"), "{bytes:?}");
        }
    }

    #[test]
    fn a_saved_state_goes_on_where_it_stopped() {
        let bytes: Vec<u8> = (0..300_u16).map(|n| n.to_le_bytes()[0]).collect();
        for kind in kinds() {
            let whole = over(&kind, &bytes);
            for cut in [0, 1, 55, 56, 63, 64, 65, 127, 128, 299, 300] {
                let first = over(&kind, &bytes[..cut]);
                let mut second = Running::resume(&first.save()).unwrap();
                second.update(&bytes[cut..]);
                assert_eq!(second.save(), whole.save(), "{whole:?} cut at {cut}");
                let compact = Running::resume(&first.save_compact()).unwrap();
                assert_eq!(compact.save(), first.save(), "{whole:?} cut at {cut}");
                assert_eq!(second.digest(), whole.digest(), "{whole:?} cut at {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn an_md5_is_the_same_however_the_bytes_come(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..6),
        ) {
            let mut running = Running::md5();
            pieces.iter().for_each(|piece| running.update(piece));
            let mut md5 = Md5::new();
            md5.update(pieces.concat());
            prop_assert_eq!(running.save(), Running::Md5(md5).save());
        }
    }

    // The text is part of the record's format: after a change, every pending upload would have to
    // be read again.
    #[test]
    fn the_state_of_nothing_is_pinned() {
        assert_eq!(Running::crc32().save().0, "crc32:00000000");
        assert_eq!(Running::crc32().save_compact().0, "crc32.AAAAAA");
        let text = Running::new(DigestAlgorithm::Sha256).save_compact().0;
        assert_eq!(text.len(), "sha256.".len() + 139);
        assert!(
            text.starts_with("sha256.Z-YJaoWuZ7ty8248OvVPpX9SDlGMaAWbq9mDHxnN4FsAAAAA"),
            "{text}"
        );
        let text = Running::md5().save().0;
        assert_eq!(text.len(), "md5:".len() + 2 * 88);
        assert!(text.starts_with("md5:0123456789abcdeffedcba9876543210"), "{text}");
    }

    #[test]
    fn an_unreadable_state_is_none() {
        for text in [
            "",
            "md5:",
            "md5:zz",
            "sha1:00",
            "md5:00",
            "é",
            "crc32:",
            "crc32:0",
            "crc32:CBF43926",
            "crc32c:",
            "crc32c:0",
            "crc32c:E3069283",
            "crc32",
            "crc32.",
            "crc32.AAAA",
            "crc32.AAAAAB",
            "crc32.AAAAAA==",
            "crc32.00000000",
            "crc32:AAAAAA",
            "crc32-AAAAAA",
            "sha3.AAAAAA",
            "md5.AAAA",
        ] {
            assert!(Running::resume(&text.parse().unwrap()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_state_of_more_bytes_than_can_be_counted_is_none() {
        for (algorithm, count_at) in [
            (DigestAlgorithm::Md5, 16),
            (DigestAlgorithm::Sha1, 20),
            (DigestAlgorithm::Sha256, 32),
            (DigestAlgorithm::Sha512, 64),
        ] {
            let with_count = |count| {
                let ChecksumState(mut text) = Running::new(algorithm).save();
                let at = algorithm.name().len() + 1 + 2 * count_at;
                text.replace_range(at..at + 16, count);
                Running::resume(&ChecksumState(text))
            };
            for count in ["ffffffffffffffff", "0000000000002001"] {
                assert!(with_count(count).is_none(), "{algorithm:?} {count}");
            }
            let mut most = with_count("0000000000002000").unwrap();
            most.update(&[0; 1000]);
            assert!(most.digest().is_some(), "{algorithm:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_state_that_saves_to_itself_or_none(
            text in prop_oneof![
                ".{0,20}",
                "crc32c?:[0-9a-fA-F]{7,9}",
                "crc32c?[.][A-Za-z0-9_-]{5}[AQgw]",
                "(md5|sha1|sha256)[.][A-Za-z0-9_-]{30}A{50,120}",
                "md5:[0-9a-f]{32}[0-9a-f]{16}[0-4][0-9a-f]0{126}",
                "md5:[0-9a-f]{48}[0-4][0-9a-f][0-9a-f]{0,8}0{118}",
                "sha1:[0-9a-f]{52}(0{4}|[0-9a-f]{4})[0-4][0-9a-f]0{126}",
                "sha256:[0-9a-f]{76}(0{4}|[0-9a-f]{4})[0-4][0-9a-f]0{126}",
                "[0-9a-fA-F]{32}",
            ],
        ) {
            fuzzing::checksum(text.as_bytes());
        }

        #[test]
        fn any_bytes_sum_up_the_same_with_a_save_in_between(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            cut in 0..300_usize,
        ) {
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            for kind in kinds() {
                let whole = over(&kind, &bytes);
                let first = over(&kind, first);
                for state in [first.save(), first.save_compact()] {
                    let mut parts = Running::resume(&state).unwrap();
                    parts.update(second);
                    prop_assert_eq!((parts.save(), parts.digest()), (whole.save(), whole.digest()));
                }
            }
        }

        #[test]
        fn only_those_of_two_crcs_combine_and_as_if_the_bytes_were_one(
            first in proptest::collection::vec(any::<u8>(), 0..300),
            second in proptest::collection::vec(any::<u8>(), 0..300),
            third in proptest::collection::vec(any::<u8>(), 0..9),
        ) {
            for (kind, other) in kinds().flat_map(|kind| kinds().map(move |it| (kind.clone(), it))) {
                let both = over(&kind, &first).combine(&over(&other, &second), second.len() as u64);
                let same = kind.save() == other.save();
                let is_crc = matches!(kind, Running::Crc32(_) | Running::Crc32c(_));
                prop_assert_eq!(both.is_some(), same && is_crc);
                let Some(mut both) = both else { continue };
                both.update(&third);
                let whole = [&first[..], &second, &third].concat();
                prop_assert_eq!(both.save(), over(&kind, &whole).save());
            }
        }

        #[test]
        fn it_does_not_matter_which_of_three_are_combined_first(
            sums: [u32; 3],
            second in 1_u64..1 << 62,
            third in 1_u64..1 << 62,
        ) {
            for name in ["crc32", "crc32c"] {
                let [a, b, c] = sums.map(|sum| {
                    Running::resume(&ChecksumState(format!("{name}:{sum:08x}"))).unwrap()
                });
                let left = a.combine(&b, second).unwrap().combine(&c, third).unwrap();
                let right = a.combine(&b.combine(&c, third).unwrap(), second + third).unwrap();
                prop_assert_eq!(left.save(), right.save());
            }
        }
    }

    #[test]
    fn digests_are_read_in_either_case() {
        let empty = "d41d8cd98f00b204e9800998ecf8427e";
        assert_eq!(Digest::md5(empty), Running::md5().digest());
        assert_eq!(Digest::md5(&empty.to_uppercase()).unwrap().to_hex(), empty);
        for bad in ["", "d41d", "gg1d8cd98f00b204e9800998ecf8427e", "é"] {
            assert_eq!(Digest::md5(bad), None, "{bad}");
        }
    }
}
