//! The query of a request.

use std::borrow::Cow;

use http::request::Parts;

use super::answer::bad;
use crate::code;
use crate::id::UploadId;
use crate::policy::Refusal;

/// Whether the request names an upload in its query.
pub(crate) fn has_id(parts: &Parts) -> bool {
    pairs(parts).any(|(key, value)| key == "upload_id" && !value.is_empty())
}

/// The upload id in a query, if there is one, and the other fields.
pub(crate) type Query = (Option<String>, Vec<(String, String)>);

/// Reads the query of a request.
pub(crate) fn read(parts: &Parts) -> Result<Query, Refusal> {
    let (mut id, mut fields) = Query::default();
    for (key, value) in pairs(parts) {
        if key == "upload_id" {
            set_once(&mut id, &value, "upload_id")?;
        } else {
            fields.push((key.into_owned(), value.into_owned()));
        }
    }
    Ok((id, fields))
}

/// Returns the upload id in the query, if there is exactly one and it is valid.
pub(super) fn id(query: &Result<Query, Refusal>) -> Option<UploadId> {
    let (id, _) = query.as_ref().ok()?;
    id.as_deref()?.parse().ok()
}

fn pairs(parts: &Parts) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
}

/// Sets a value that may be sent only once, or repeatedly if it is the same. An empty value is
/// ignored.
pub(super) fn set_once(slot: &mut Option<String>, value: &str, name: &str) -> Result<(), Refusal> {
    if value.is_empty() {
        return Ok(());
    }
    match slot.get_or_insert_with(|| value.to_owned()) == value {
        true => Ok(()),
        false => {
            let detail = format!("'{name}' was sent twice with different values");
            Err(bad(code::REPEATED_FIELD, detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::fuzzing;

    fn parts(uri: &str) -> Parts {
        Request::get(uri).body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_id_and_the_rest_are_told_apart() {
        let (id, fields) = read(&parts("/x?a=1&upload_id=ab%63&b=%20")).unwrap();
        assert_eq!(id.as_deref(), Some("abc"));
        let fields: Vec<_> = fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(fields, [("a", "1"), ("b", " ")]);
    }

    #[test]
    fn two_ids_are_no_id() {
        assert!(read(&parts("/x?upload_id=a&upload_id=b")).is_err());
        assert!(read(&parts("/x?upload_id=a&upload_id=a&upload_id=")).is_ok());
        assert!(!has_id(&parts("/x?upload_id=")) && !has_id(&parts("/x")));
    }

    proptest! {
        #[test]
        fn any_id_and_fields_come_back(
            id in proptest::option::of(".{1,8}"),
            fields in vec(("[^u].{0,8}", ".{0,8}"), 0..4),
            at in 0..4_usize,
        ) {
            let mut pairs = fields.clone();
            let named = id.iter().map(|id| ("upload_id".to_owned(), id.clone()));
            pairs.splice(at.min(fields.len())..at.min(fields.len()), named);
            let mut query = form_urlencoded::Serializer::new("/x?".to_owned());
            let read = read(&parts(&query.extend_pairs(&pairs).finish()));
            prop_assert_eq!(read.ok(), Some((id, fields)));
        }

        #[test]
        fn any_query_names_one_upload_or_none(
            query in vec(
                prop_oneof!["upload_id", "=", "&", "%", "[a-cé+;]{1,3}", "%[0-9a-fA-F]{2}"],
                0..12,
            ),
        ) {
            fuzzing::query(query.concat().as_bytes());
        }
    }
}
