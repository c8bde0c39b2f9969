//! The `Content-Range` of a chunk.

use crate::protocol::disposition::split_once;

/// The position of a chunk in its file: `bytes start-end/total`.
///
/// A value of this type has `start <= end < total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    /// Position of the chunk's first byte.
    pub(crate) start: u64,
    /// Position of the chunk's last byte, inclusive.
    pub(crate) end: u64,
    /// Length of the whole file.
    pub(crate) total: u64,
}

impl ContentRange {
    /// Parses a header value (RFC 9110, 14.4). Returns `None` if it is malformed.
    ///
    /// The forms with a `*` are refused, since a chunk needs a position and its file a length.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        // HTTP/1 servers strip the whitespace around a value, HTTP/2 servers need not.
        let value = value.trim_ascii();
        let (unit, rest) = value.split_at_checked(UNIT.len())?;
        if !unit.eq_ignore_ascii_case(UNIT) {
            return None;
        }
        let (start, rest) = split_once(rest, b'-')?;
        let (end, total) = split_once(rest, b'/')?;
        let (start, end, total) = (number(start)?, number(end)?, number(total)?);
        (start <= end && end < total).then_some(Self { start, end, total })
    }

    /// Returns the size of the chunk, at least one byte.
    pub(crate) fn len(&self) -> u64 {
        // Neither step can overflow, since `start <= end < total`.
        self.end - self.start + 1
    }
}

// Not `str::parse`, which takes a leading `+`.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

const UNIT: &[u8] = b"bytes ";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn well_formed_values() {
        let max = u64::MAX;
        let largest = format!("bytes 0-{}/{max}", max - 1);
        for (value, start, end, total) in [
            ("bytes 0-9/20", 0, 9, 20),
            ("bytes 0-0/1", 0, 0, 1),
            ("bytes 10-19/20", 10, 19, 20),
            ("bytes 00-09/020", 0, 9, 20),
            ("bytes 010-019/0020", 10, 19, 20),
            ("Bytes 0-9/20", 0, 9, 20),
            ("BYTES 0-9/20", 0, 9, 20),
            ("   bytes 0-9/20  \t", 0, 9, 20),
            ("bytes 0-4/0000000000000000000000000000000000000000005", 0, 4, 5),
            (&largest, 0, max - 1, max),
        ] {
            let range = ContentRange::parse(value.as_bytes());
            assert_eq!(range, Some(ContentRange { start, end, total }), "{value}");
        }
    }

    #[test]
    fn malformed_values() {
        for value in [
            "",
            "bytes",
            "bytes ",
            "bytes 0-4",
            "bytes 0-4/",
            "bytes 0-4/*",
            "bytes */5",
            "bytes */*",
            "bytes=0-4/5",
            "bytes  0-4/5",
            "bytes\t0-4/5",
            "octets 0-4/5",
            "0-4/5",
            "bytes -1-4/5",
            "bytes -4/5",
            "bytes 0-/5",
            "bytes +0-4/5",
            "bytes 0-+4/5",
            "bytes 0 - 4/5",
            "bytes 0-4 /5",
            "bytes 0-4/ 5",
            "bytes a-b/c",
            "bytes 0x0-4/5",
            "bytes 0-9/5",
            "bytes 0-9/9",
            "bytes 5-4/9",
            "bytes 0-4/5, 5-9/10",
            "bytes 0-4/5/6",
            "bytes 0-4/5\0",
            "bytes ٠-٤/٥",
            "bytes 0-4/18446744073709551616",
            "bytes 0-18446744073709551616/5",
            "bytes 18446744073709551616-4/5",
            "bytes 0-9/9999999999999999999999999999999999999999",
        ] {
            assert_eq!(ContentRange::parse(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn length_counts_both_ends() {
        let range = |start, end, total| ContentRange { start, end, total };
        assert_eq!(range(0, 0, 1).len(), 1);
        assert_eq!(range(10, 19, 20).len(), 10);
        assert_eq!(range(0, u64::MAX - 1, u64::MAX).len(), u64::MAX);
    }

    proptest! {
        #[test]
        fn any_range_is_read_back(start: u64, len in 1..=u64::MAX, rest: u64, zeros in 0..40_usize) {
            let Some(end) = start.checked_add(len - 1) else { return Ok(()) };
            let Some(total) = end.checked_add(1).and_then(|end| end.checked_add(rest)) else {
                return Ok(());
            };
            let zeros = "0".repeat(zeros);
            let value = format!("bytes {zeros}{start}-{zeros}{end}/{zeros}{total}");
            let range = ContentRange::parse(value.as_bytes());
            prop_assert_eq!(range, Some(ContentRange { start, end, total }));
            prop_assert_eq!(range.map(|range| range.len()), Some(len));
        }

        #[test]
        fn any_bytes_keep_the_invariant(
            value in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..64),
                "bytes [0-9*]{0,22}-[0-9 ]{0,22}/[0-9*+]{0,22}".prop_map(String::into_bytes),
            ],
        ) {
            if let Some(range) = ContentRange::parse(&value) {
                prop_assert!(range.start <= range.end && range.end < range.total);
            }
        }
    }
}
