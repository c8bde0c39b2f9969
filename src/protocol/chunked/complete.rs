//! Completing an upload.

use std::fmt;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use serde::de::{Deserialize, Deserializer, MapAccess};

use super::answer::{Answer, media_type};
use super::body::{BoxError, Incoming};
use super::caller::Caller;
use super::config::Config;
use super::form::{self, Boundary, FormError, FormLimits};
use super::query::set_once;
use crate::checksum::Digest;
use crate::engine::{Completion, Error, ErrorKind, Event};
use crate::id::UploadId;
use crate::policy::Refusal;

/// A finished upload, and the request that the inner service is to answer.
pub(crate) struct Finished {
    parts: Parts,
    body: Bytes,
    completion: Completion,
}

/// What becomes of the upload once the inner service has answered.
pub(crate) struct Verdict {
    parts: Parts,
    completion: Completion,
}

pub(super) async fn prepare<B>(
    config: &Config,
    caller: &Caller,
    parts: Parts,
    body: &mut Incoming<B>,
) -> Result<Finished, Refusal>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let owner = caller.ask(config, config.policy.authorize(&parts)).await?;
    let uploads = config.uploads.for_request(owner, caller.came());
    let content = read(config, body).await?;
    let (id, md5) = read_fields(config.form_limits, &parts, &content)?;
    if !names_its_end(&parts) {
        body.check_end()?;
    }
    let (id, md5) = match (id, md5) {
        (Some(id), Some(md5)) => (id, Some(md5)),
        (Some(id), None) if !config.md5_check => (id, None),
        _ if config.md5_check => return Err(missing("Both 'upload_id' and 'md5' are required")),
        _ => return Err(missing("'upload_id' is required")),
    };
    let id: UploadId = id.parse().map_err(|_| ErrorKind::NotFound)?;
    let digest = match md5.filter(|_| config.md5_check) {
        None => None,
        Some(md5) => match Digest::md5(&md5) {
            Some(digest) => Some(digest),
            // No file has such an md5; but what is wrong with the upload comes first.
            None => {
                uploads.check_open(&id).await.map_err(in_words)?;
                return Err(ErrorKind::ChecksumMismatch.into());
            }
        },
    };
    let completion = uploads.complete(&id, digest).await.map_err(in_words)?;
    let verified = caller.ask(config, config.policy.verify(&parts, completion.file())).await;
    if completion.is_discarded().await {
        let event = Event::Discarded(completion.file().record().clone());
        caller.tell(config, config.policy.on_event(&parts, &event)).await;
        return Err(verified.err().unwrap_or_else(|| ErrorKind::NotFound.into()));
    }
    if let Err(refusal) = verified {
        completion.reopen().await?;
        return Err(refusal);
    }
    Ok(Finished { parts, body: content, completion })
}

impl Finished {
    pub(crate) fn into_request(self, config: &Config) -> (Request<Bytes>, Verdict) {
        let Self { parts, body, completion } = self;
        let mut request = Request::from_parts(parts.clone(), body);
        *request.uri_mut() = config.handler_uri(&parts.uri);
        request.extensions_mut().insert(completion.file().clone());
        (request, Verdict { parts, completion })
    }
}

impl Verdict {
    /// The inner service has answered, and perhaps taken the file. An answer comes back if its own cannot
    /// stand, since the upload could not be marked as complete.
    pub(crate) async fn settle(self, config: &Config, taken: bool) -> Option<Response<Bytes>> {
        let Self { parts, completion } = self;
        if completion.is_discarded().await {
            let upload = completion.file().record().clone();
            config.policy.on_event(&parts, &Event::Discarded(upload)).await;
            return None;
        }
        if !taken {
            // It can be completed again, whether or not this can be written down.
            drop(completion.reopen().await);
            return None;
        }
        match completion.finish().await {
            Ok(upload) => {
                config.policy.on_event(&parts, &Event::Completed(upload)).await;
                None
            }
            Err(error) => Some(Answer::from(Refusal::from(error)).into_response(config)),
        }
    }
}

/// Whether the inner service has taken the file.
pub(crate) fn takes<B>(answer: &Response<B>) -> bool {
    let status = answer.status();
    // gRPC says its errors with a 200, also that it has no such method.
    let grpc = answer.headers().get("grpc-status");
    (status.is_success() || status.is_redirection()) && grpc.is_none_or(|status| status == "0")
}

/// The whole body, as long as it is small.
async fn read<B>(config: &Config, body: &mut Incoming<B>) -> Result<Bytes, Refusal>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let limit = config.completion_bytes;
    let too_large = || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large");
    if body.exact_size().is_some_and(|size| size > limit as u64) {
        return Err(too_large());
    }
    let mut whole = BytesMut::new();
    while let Some(bytes) = body.next(None).await? {
        if bytes.len() > limit - whole.len() {
            return Err(too_large());
        }
        whole.extend_from_slice(&bytes);
    }
    Ok(whole.freeze())
}

/// Whether a body of the request's type shows by itself where it ends.
fn names_its_end(parts: &Parts) -> bool {
    let media_type = media_type(parts).ok().flatten().map(HeaderValue::as_bytes);
    let essence = media_type.map(essence).unwrap_or_default();
    [&b"multipart/form-data"[..], b"application/json"].contains(&&*essence)
}

/// A media type without its parameters, in lower case.
fn essence(media_type: &[u8]) -> Vec<u8> {
    let essence = media_type.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().to_ascii_lowercase()
}

pub(crate) type Fields = (Option<String>, Option<String>);

/// The id and the md5, from a form of either kind or from JSON.
pub(crate) fn read_fields(
    limits: FormLimits,
    parts: &Parts,
    body: &[u8],
) -> Result<Fields, Refusal> {
    let media_type = media_type(parts)?.map(|value| value.as_bytes());
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
            let Pairs(pairs) =
                serde_json::from_slice(body).map_err(|_| missing("Error in the JSON body"))?;
            for (name, value) in pairs {
                take(&name, value.as_str().unwrap_or_default())?;
            }
        }
        _ => {
            // It may be meant for a form.
            let boundary = Boundary::from_content_type(media_type.unwrap_or_default());
            if let Err(error @ FormError::Boundary) = boundary {
                return Err(error.into());
            }
        }
    }
    Ok((id, md5))
}

/// A JSON object in which, unlike in a map, a key that is there twice shows.
struct Pairs(Vec<(String, serde_json::Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        from.deserialize_map(Visitor)
    }
}

fn missing(detail: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, detail)
}

/// The original's words for it are other ones here than for a chunk.
fn in_words(error: Error) -> Refusal {
    match error.kind() {
        ErrorKind::AlreadyComplete => missing("Upload has already been marked as complete"),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use crate::fuzzing::{self, KINDS, OTHER, complete, encoded};

    /// The one value of a key, if there is one; an error if there are several.
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

    /// What the three kinds of bodies are made of.
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
