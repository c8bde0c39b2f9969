//! Sizes as people write them.

use std::num::NonZeroU64;

/// Reads a number of bytes: `4096`, `64K`, `8M`, `8MiB`, `2g`; the units are powers of 1024.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let unit = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(format!("no unit is called {unit:?}; there are K, M, G and T")),
    };
    let number: u64 = number.parse().map_err(|error| format!("{error}"))?;
    number.checked_mul(1 << shift).ok_or_else(|| "too large".to_owned())
}

pub(crate) fn parse_nonzero(text: &str) -> Result<NonZeroU64, String> {
    NonZeroU64::new(parse(text)?).ok_or_else(|| "must be more than 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, size) in [
            ("0", 0),
            ("4096", 4096),
            ("7b", 7),
            ("64K", 64 << 10),
            ("8M", 8 << 20),
            ("8MiB", 8 << 20),
            ("2g", 2 << 30),
            ("1T", 1 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(size), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in
            ["", "M", "-1", "1.5M", "8 M", "8MB", "1MM", "18446744073709551616", "16777216T"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse_nonzero("0K").is_err() && parse_nonzero("1").is_ok());
    }
}
