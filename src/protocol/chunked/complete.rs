//! Completing an upload.

use std::fmt;
use std::future::ready;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::answer::{bad, bad_headers, request_too_large};
use super::config::Chunked;
use super::form::{self, Boundary, FormError, FormLimits};
use super::query::set_once;
use crate::checksum::Digest;
use crate::code;
use crate::engine::{Error, ErrorKind, OwnerUploads};
use crate::id::UploadId;
use crate::policy::{Action, Refusal};
use crate::protocol::headers::{essence, media_type};
use crate::protocol::{Exchange, Finish, Framing, Incoming, Payload, Problem, Replay, Reply};

pub(super) async fn complete<B: Payload>(
    chunked: &Chunked,
    exchange: &Exchange<'_>,
    body: &mut Incoming<B>,
) -> Result<Reply, Problem> {
    let mut context = exchange.context(Action::Complete, None);
    let mut uploads = exchange.admit_unnamed(&mut context).await?;
    let content = body
        .read_small(exchange.settings.replayed_bytes)
        .await?
        .ok_or_else(|| request_too_large("The request is too large"))?;
    let fields = read_fields(chunked.form_limits, exchange.parts, &content);
    let named = fields.as_ref().ok().and_then(|(id, _)| id.as_deref()?.parse().ok());
    if exchange.is_for_another(named.as_ref()) {
        uploads = exchange.authorize_instead(&mut context, named.as_ref()).await?;
    }
    let (id, md5) = fields?;
    if !is_self_delimiting(exchange.parts) {
        body.check_truncation()?;
    }
    let md5 = md5.filter(|_| chunked.md5_check);
    let id = match id {
        Some(id) if md5.is_some() || !chunked.md5_check => id,
        _ if chunked.md5_check => {
            let detail = "Both 'upload_id' and 'md5' are required";
            return Err(bad(code::MISSING_FIELD, detail).into());
        }
        _ => return Err(bad(code::MISSING_FIELD, "'upload_id' is required").into()),
    };
    let id: UploadId = id.parse().map_err(|_| ErrorKind::NotFound)?;
    exchange.seen.names(&id);
    exchange.confirm(&id, &uploads);
    let digest = md5.as_deref().and_then(Digest::md5);
    if md5.is_some() && digest.is_none() {
        // No file can have this MD5, but other problems with the upload take precedence.
        let refuse = |_| ready(Err::<(), Error>(ErrorKind::ChecksumMismatch.into()));
        let refused = uploads.acquire_if(&id, refuse).await.map(drop);
        return Err(refused.map_or_else(completion_error, |()| ErrorKind::Store.into()));
    }
    let completion = match uploads.complete(&id, digest).await {
        Ok(completion) => completion,
        Err(error) => {
            let answer = repeat(exchange, &uploads, &id, digest, &error).await?;
            return answer.map(Reply::Answer).ok_or_else(|| completion_error(error));
        }
    };
    let finish = Finish { completion, replay: Replay::Bytes(content), framing: Framing::default() };
    Ok(Reply::Finished(Box::new(finish)))
}

/// Returns the answer to a completion that came before.
async fn repeat(
    exchange: &Exchange<'_>,
    uploads: &OwnerUploads,
    id: &UploadId,
    digest: Option<Digest>,
    error: &Error,
) -> Result<Option<Response<Bytes>>, Problem> {
    let settings = exchange.settings;
    match error.kind() {
        ErrorKind::AlreadyComplete if settings.answers.time.is_some() => {
            let upload = uploads.status(id).await?;
            let own = digest.and_then(|digest| upload.digest_of(digest.algorithm()));
            match settings.kept(&upload) {
                Some(_) if own.is_some() && own != digest => {
                    Err(ErrorKind::ChecksumMismatch.into())
                }
                kept => Ok(kept),
            }
        }
        ErrorKind::Finishing => Ok(settings.accepted(exchange.parts, id)),
        _ => Ok(None),
    }
}

/// Whether the end of a body of this media type can be recognised from its content.
fn is_self_delimiting(parts: &Parts) -> bool {
    let media_type = media_type(&parts.headers).ok().flatten().map(HeaderValue::as_bytes);
    let essence = media_type.map(essence).unwrap_or_default();
    [&b"multipart/form-data"[..], b"application/json"].contains(&&*essence)
}

pub(crate) type Fields = (Option<String>, Option<String>);

/// Reads the id and the MD5 from JSON or from a form of either kind.
pub(crate) fn read_fields(
    limits: FormLimits,
    parts: &Parts,
    body: &[u8],
) -> Result<Fields, Refusal> {
    let media_type = media_type(&parts.headers).map_err(|_| bad_headers(code::REPEATED_HEADER))?;
    let media_type = media_type.map(HeaderValue::as_bytes);
    let essence = essence(media_type.unwrap_or_default());
    let (mut id, mut md5) = (None, None);
    let mut take = |name: &str, value: &str| match name {
        "upload_id" => set_once(&mut id, value, "upload_id"),
        "md5" => set_once(&mut md5, value, "md5"),
        _ => Ok(()),
    };
    match essence.as_slice() {
        b"application/x-www-form-urlencoded" => {
            for (name, value) in form_urlencoded::parse(body) {
                take(&name, &value)?;
            }
        }
        b"multipart/form-data" => {
            for (name, value) in form::read_all(media_type, body, limits)? {
                take(&name, &value)?;
            }
        }
        b"application/json" => {
            let malformed = |_| bad(code::MALFORMED_JSON, "Error in the JSON body");
            let Pairs(pairs) = serde_json::from_slice(body).map_err(malformed)?;
            for (name, value) in pairs {
                take(&name, value.as_str().unwrap_or_default())?;
            }
        }
        _ => {
            // The media type may be that of a form with a malformed boundary.
            let boundary = Boundary::from_content_type(media_type.unwrap_or_default());
            if let Err(error @ FormError::Boundary) = boundary {
                return Err(error.into());
            }
        }
    }
    Ok((id, md5))
}

/// A JSON object that, unlike a map, keeps duplicate keys.
struct Pairs(Vec<(String, serde_json::Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Self(Vec::new()))
    }
}

impl<'de> Visitor<'de> for Pairs {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(pair) = map.next_entry()? {
            self.0.push(pair);
        }
        Ok(self)
    }
}

/// The original protocol uses a different message here than for a chunk.
fn completion_error(error: Error) -> Problem {
    match error.kind() {
        ErrorKind::AlreadyComplete => {
            bad(code::ALREADY_COMPLETE, "Upload has already been marked as complete").into()
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use crate::fuzzing::{self, KINDS, OTHER, complete, encoded};

    /// The value of a key, if there is one; an error if there are several values.
    fn said(key: &str, pairs: &[(&str, &str)]) -> Result<Option<String>, ()> {
        let of_key = pairs.iter().filter(|pair| pair.0 == key && !pair.1.is_empty());
        let mut values: Vec<_> = of_key.map(|pair| pair.1.to_owned()).collect();
        values.dedup();
        if values.len() > 1 { Err(()) } else { Ok(values.pop()) }
    }

    #[test]
    fn json_that_is_no_text_says_nothing() {
        for value in ["7", "null", "true", "[\"a\"]", "{\"upload_id\":\"a\"}"] {
            let body = format!("{{\"upload_id\":{value},\"md5\":\"b\"}}");
            let fields = complete("application/json", body.as_bytes()).unwrap();
            assert_eq!(fields, (None, Some("b".to_owned())), "{value}");
        }
    }

    /// The pieces that the three kinds of bodies consist of.
    fn pieces() -> impl Strategy<Value = String> {
        let urlencoded = prop_oneof!["upload_id=", "md5=", "&", "%[0-9a-f]{0,2}", "[a-c+]{0,3}"];
        let form = prop_oneof![
            "--x\r\n",
            "--x--",
            "Content-Disposition: form-data; name=(upload_id|md5|a)\r\n\r\n",
            "[a-c]{0,3}\r\n",
        ];
        let json = prop_oneof![
            "\\{\"upload_id\":\"[a-c]{0,2}\"",
            ",\"(upload_id|md5|a)\":(\"[a-c]{0,2}\"|7|null|\\[\\])",
            "\\}",
            "[\\[\\]{},:\"\\\\ ]",
        ];
        prop_oneof![vec(urlencoded, 0..8), vec(form, 0..8), vec(json, 0..5),]
            .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_body_names_one_id_and_one_md5(
            pairs in vec(("upload_id|md5|a", "a|b||(?s:.{0,20})"), 0..5),
        ) {
            let pairs: Vec<_> = pairs.iter().map(|(key, value)| (&**key, &**value)).collect();
            let fields = said("upload_id", &pairs).and_then(|id| Ok((id, said("md5", &pairs)?)));
            for kind in KINDS.into_iter().filter(|kind| *kind != OTHER) {
                if let Some(body) = encoded(kind, &pairs) {
                    prop_assert_eq!(complete(kind, &body).map_err(drop), fields.clone(), "{}", kind);
                }
            }
        }

        #[test]
        fn any_body_is_read_or_refused(kind: u8, body in pieces()) {
            fuzzing::completion(&[&[kind], body.as_bytes()].concat());
        }
    }
}
