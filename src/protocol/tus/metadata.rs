//! `Upload-Metadata`: keys with values in Base64.

use std::collections::HashSet;

use data_encoding::BASE64;

/// What a client says of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    pairs: Vec<(String, Vec<u8>)>,
}

/// Why metadata was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetadataError {
    /// A key is empty or has characters that it must not have.
    Key,
    /// A key came twice.
    Repeated,
    /// A value is not Base64.
    Value,
}

impl Metadata {
    pub(crate) fn parse(text: &[u8]) -> Result<Self, MetadataError> {
        let mut pairs = Vec::new();
        let mut keys = HashSet::new();
        if text.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        for pair in text.split(|byte| *byte == b',') {
            let mut words = pair.trim_ascii().splitn(2, |byte| *byte == b' ');
            let key = words.next().unwrap_or_default();
            if key.is_empty() || !key.iter().all(u8::is_ascii_graphic) {
                return Err(MetadataError::Key);
            }
            if !keys.insert(key) {
                return Err(MetadataError::Repeated);
            }
            let value = words.next().unwrap_or_default();
            let value = BASE64.decode(value).map_err(|_| MetadataError::Value)?;
            pairs.push((String::from_utf8_lossy(key).into_owned(), value));
        }
        Ok(Self { pairs })
    }

    /// The first of the keys whose value is text.
    pub(super) fn text(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().find_map(|key| {
            let (_, value) = self.pairs.iter().find(|(name, _)| name == key)?;
            std::str::from_utf8(value).ok()
        })
    }

    /// All keys whose values are text.
    pub(super) fn fields(&self) -> Vec<(String, String)> {
        let text = |(key, value): &(String, Vec<u8>)| {
            Some((key.clone(), String::from_utf8(value.clone()).ok()?))
        };
        self.pairs.iter().filter_map(text).collect()
    }
}

impl MetadataError {
    pub(super) fn detail(self) -> &'static str {
        match self {
            Self::Key => "Upload-Metadata has a key that is empty or not plain text",
            Self::Repeated => "Upload-Metadata has a key twice",
            Self::Value => "Upload-Metadata has a value that is not Base64",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Result<Vec<(String, Vec<u8>)>, MetadataError> {
        Ok(Metadata::parse(text.as_bytes())?.pairs)
    }

    #[test]
    fn keys_and_values_are_read() {
        let name = ("name".to_owned(), b"sand.txt".to_vec());
        let wet = ("wet".to_owned(), Vec::new());
        for text in ["name c2FuZC50eHQ=,wet", " name c2FuZC50eHQ= , wet ", "name c2FuZC50eHQ=,wet "]
        {
            assert_eq!(pairs(text), Ok(vec![name.clone(), wet.clone()]), "{text}");
        }
        for empty in ["", " ", "\t"] {
            assert_eq!(pairs(empty), Ok(vec![]), "{empty:?}");
        }
        for (text, error) in [
            ("a,,b", MetadataError::Key),
            (",", MetadataError::Key),
            ("a\u{1}b YQ==", MetadataError::Key),
            ("é YQ==", MetadataError::Key),
            ("a YQ==,a Yg==", MetadataError::Repeated),
            ("a YQ", MetadataError::Value),
            ("a YQ==,b  YQ==", MetadataError::Value),
            ("a YQ== YQ==", MetadataError::Value),
            ("a YR==", MetadataError::Value),
            ("a -_==", MetadataError::Value),
        ] {
            assert_eq!(pairs(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_name_is_the_first_key_that_is_text() {
        let metadata = Metadata::parse(b"filename /w==,name YQ==,type dGV4dA==").unwrap();
        assert_eq!(metadata.text(&["filename", "name"]), Some("a"));
        assert_eq!(metadata.text(&["relativePath"]), None);
        let fields = metadata.fields();
        assert_eq!(fields, [("name".into(), "a".into()), ("type".into(), "text".into())]);
    }

    proptest! {
        #[test]
        fn what_a_client_writes_is_read(
            values in proptest::collection::btree_map("[!-+.-~]{1,9}", vec(any::<u8>(), 0..20), 0..5),
        ) {
            let pair = |(key, value): (&String, &Vec<u8>)| format!("{key} {}", BASE64.encode(value));
            let text = values.iter().map(pair).collect::<Vec<_>>().join(",");
            prop_assert_eq!(pairs(&text).unwrap(), values.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a-c= ,\\t\u{1}YQ]{0,20}") {
            crate::fuzzing::tus_metadata(text.as_bytes());
        }
    }
}
