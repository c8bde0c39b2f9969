//! Making file names from clients safe as the last component of a path.

/// Returns the file name in `raw` in a form that no path, terminal or log can misinterpret; `None`
/// if there is none.
///
/// This is the part after the last `/` or `\`, without control characters and format characters
/// that reorder text, without surrounding whitespace and trailing dots, and at most 200 bytes long.
/// The name of a Windows device is prefixed with `_`.
///
/// `safe` does not change a name that is already safe.
pub(crate) fn safe(raw: &str) -> Option<String> {
    let base = raw.rsplit(['/', '\\']).next().unwrap_or_default();
    let visible: String =
        base.chars().filter(|char| !is_hidden(*char)).map(without_drive).collect();
    let name = cut(trim(&visible));
    let name = if is_device(&name) { cut(&format!("_{name}")) } else { name };
    (!name.is_empty()).then_some(name)
}

fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{061C}' // Arabic letter mark
                | '\u{200E}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2066}'..='\u{2069}'
                | '\u{FEFF}'
        )
}

// On Windows `C:x` is a path on another drive, and `x:y` a stream of the file `x`.
fn without_drive(char: char) -> char {
    if cfg!(windows) && char == ':' { '_' } else { char }
}

fn trim(name: &str) -> &str {
    name.trim_start().trim_end_matches(is_trailing)
}

// Windows drops trailing dots and spaces, so two names that differ in them are one file.
fn is_trailing(char: char) -> bool {
    char == '.' || char.is_whitespace()
}

fn cut(name: &str) -> String {
    if name.len() <= MAX_BYTES {
        return name.to_owned();
    }
    let extension = extension(name);
    let mut end = MAX_BYTES - extension.len();
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let mut cut = format!("{}{extension}", &name[..end]);
    cut.truncate(cut.trim_end_matches(is_trailing).len());
    cut
}

fn extension(name: &str) -> &str {
    match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= MAX_EXTENSION_BYTES => &name[at..],
        _ => "",
    }
}

// Whatever follows the first dot, and with whitespace before it, the name still means the device.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end();
    let is = |device: &&str| stem.eq_ignore_ascii_case(device);
    let is_port = |port: &str| PORTS.iter().any(|device| port.eq_ignore_ascii_case(device));
    let port = stem.strip_suffix(|char| matches!(char, '0'..='9' | '¹' | '²' | '³'));
    DEVICES.iter().any(is) || port.is_some_and(is_port)
}

/// Filesystems allow 255 bytes. Applications may add an id or a date in front.
const MAX_BYTES: usize = 200;
const MAX_EXTENSION_BYTES: usize = 32;
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];
/// Devices with a number.
const PORTS: [&str; 2] = ["com", "lpt"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_stay() {
        for name in [
            "photo.jpg",
            "my holiday photo.jpg",
            "naïve – 文件 😀.bin",
            "👨‍👩‍👧.txt",
            "100%25.txt",
            "a;b.txt",
            "a=b,c.txt",
            "a\"b.txt",
            ".profile",
            "README",
            "..hidden",
            "archive.tar.gz",
            "console.log",
            "com.txt",
            "com10.txt",
            "comx",
            "_CON",
        ] {
            assert_eq!(safe(name).as_deref(), Some(name));
        }
    }

    #[test]
    fn names_that_change() {
        for (raw, name) in [
            ("../../../etc/passwd", "passwd"),
            ("/etc/passwd", "passwd"),
            ("C:\\fakepath\\photo.jpg", "photo.jpg"),
            ("\\\\server\\share\\x.txt", "x.txt"),
            ("a/b\\c/d\\x.txt", "x.txt"),
            ("a\0b\r\n\u{7f}\u{85}.txt", "ab.txt"),
            ("evil\u{202E}gpj.exe", "evilgpj.exe"),
            ("\u{FEFF}a\u{2028}\u{2029}\u{200E}\u{2066}b\u{061C}", "ab"),
            ("  a.txt \t", "a.txt"),
            ("a.txt. . .", "a.txt"),
            ("\u{3000}a\u{A0}", "a"),
            ("CON", "_CON"),
            ("con.txt", "_con.txt"),
            ("nul .tar.gz", "_nul .tar.gz"),
            ("COM1", "_COM1"),
            ("lpt0.txt", "_lpt0.txt"),
            ("COM².txt", "_COM².txt"),
            ("CONIN$", "_CONIN$"),
        ] {
            assert_eq!(safe(raw).as_deref(), Some(name), "{raw:?}");
        }
    }

    #[test]
    fn names_that_are_none() {
        for raw in [
            "", ".", "..", "...", " . .", "folder/", "folder\\", "a/..", "a/.", "/", "\0",
            "\u{202E}", "   ",
        ] {
            assert_eq!(safe(raw), None, "{raw:?}");
        }
    }

    #[test]
    fn long_names_keep_a_sensible_extension() {
        let x = |count| "x".repeat(count);
        let long_extension = format!("{}.{}", x(10), x(290));
        for (raw, name) in [
            (format!("{}.txt", x(196)), format!("{}.txt", x(196))),
            (format!("{}.txt", x(296)), format!("{}.txt", x(196))),
            (x(300), x(200)),
            (long_extension.clone(), long_extension[..200].to_owned()),
            (format!("{}.txt", "é".repeat(200)), format!("{}.txt", "é".repeat(98))),
            (format!(".{}", x(300)), format!(".{}", x(199))),
            (format!("{}{}y", x(195), " ".repeat(50)), x(195)),
        ] {
            assert_eq!(safe(&raw), Some(name));
        }
    }

    #[test]
    fn a_device_name_that_appears_by_the_cut_is_none_either() {
        let raw = format!("CON{}x.txt", " ".repeat(300));
        let name = safe(&raw).expect("a name");
        assert!(name.starts_with("_CON ") && name.ends_with(".txt"), "{name}");
        assert_eq!(name.len(), 200);
        assert_eq!(safe(&name), Some(name));
    }

    proptest! {
        #[test]
        fn what_comes_out_is_safe(
            raw in prop_oneof![
                any::<String>(),
                "[./\\\\ a-cCON\u{202E}\u{85}é]{0,12}",
                "(con|NUL|com1|é|x)[ .x]{200,300}(x|\\.txt)?",
                "\\PC{200,300}(\\.[a-z]{1,40})?",
            ],
        ) {
            let Some(name) = safe(&raw) else { return Ok(()) };
            prop_assert!(!name.is_empty() && name.len() <= 200);
            prop_assert!(!name.contains(['/', '\\']) && !name.contains(is_hidden));
            prop_assert!(name != "." && name != "..");
            prop_assert!(!is_device(&name));
            let path = std::path::Path::new(&name);
            prop_assert_eq!(path.file_name(), Some(name.as_ref()));
            prop_assert_eq!(safe(&name), Some(name));
        }
    }
}
