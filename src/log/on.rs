use std::error::Error;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tracing::field::{self, Empty};
use tracing::instrument::{Instrument, Instrumented};
use tracing::{Span, debug, error, info_span, trace};

use crate::id::{self, UploadId};
use crate::upload::{Dialect, Owner, Upload};

/// What the application allows to be logged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) owner: bool,
}

/// A request to a dialect, as the log sees it: its span, and what is recorded there once it is known.
#[derive(Clone, Debug)]
pub(crate) struct Request(Arc<Seen>);

#[derive(Debug)]
struct Seen {
    span: Span,
    begun: Instant,
    upload: OnceLock<UploadId>,
    offset: OnceLock<u64>,
}

impl Request {
    pub(crate) fn new(dialect: Dialect, action: &'static str) -> Self {
        let dialect = match dialect {
            Dialect::Chunked => "chunked",
            Dialect::Tus => "tus",
            Dialect::Resumable => "resumable",
            Dialect::Other => "other",
        };
        let span = info_span!(
            target: TARGET,
            "upload",
            dialect,
            action,
            upload = Empty,
            owner = Empty,
            offset = Empty,
            received = Empty,
            status = Empty,
            code = Empty,
            answer = Empty,
            seconds = Empty,
        );
        let (upload, offset) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(Seen { span, begun: Instant::now(), upload, offset }))
    }

    /// Does work for the request.
    pub(crate) fn in_span<F: Future>(&self, work: F) -> Instrumented<F> {
        work.instrument(self.0.span.clone())
    }

    /// Notes which upload the request is for. Only the first one counts.
    pub(crate) fn names(&self, id: &UploadId) {
        if self.0.upload.set(*id).is_ok() && !self.0.span.is_disabled() {
            self.0.span.record("upload", id.fingerprint());
        }
    }

    /// Notes where the upload stands after the request.
    pub(crate) fn stands(&self, upload: &Upload) {
        self.names(&upload.id);
        if self.0.offset.set(upload.offset()).is_ok() {
            self.0.span.record("offset", upload.offset());
        }
    }

    pub(crate) fn is_by(&self, settings: &Settings, owner: Option<&Owner>) {
        if let Some(owner) = owner.filter(|_| settings.owner) {
            self.0.span.record("owner", field::debug(owner.as_str()));
        }
    }

    /// Notes how many bytes of its body have come.
    pub(crate) fn has_received(&self, bytes: u64) {
        self.0.span.record("received", bytes);
    }

    /// Logs a refusal, which is the client's mistake or will pass.
    pub(crate) fn is_refused(
        &self,
        status: u16,
        code: &str,
        error: Option<&(dyn Error + 'static)>,
    ) {
        let (upload, error) = (self.fingerprint(), error.map(Chain));
        debug!(
            target: TARGET,
            upload = upload.map(field::display),
            status,
            code,
            error = error.map(field::display),
            "upload refused"
        );
    }

    /// Logs a refusal whose reason an operator must mend.
    pub(crate) fn has_failed(
        &self,
        status: u16,
        code: &str,
        error: Option<&(dyn Error + 'static)>,
    ) {
        let (upload, error) = (self.fingerprint(), error.map(Chain));
        error!(
            target: TARGET,
            upload = upload.map(field::display),
            status,
            code,
            error = error.map(field::display),
            "cannot serve an upload"
        );
    }

    /// Notes the answer, with its code if it is a refusal, and what it is if the application has not
    /// given it just now.
    pub(crate) fn is_answered(
        &self,
        status: u16,
        code: Option<&'static str>,
        answer: Option<&'static str>,
    ) {
        let Seen { span, begun, .. } = &*self.0;
        span.record("status", status);
        if let Some(code) = code {
            span.record("code", code);
        }
        if let Some(answer) = answer {
            span.record("answer", answer);
        }
        span.record("seconds", begun.elapsed().as_secs_f64());
        trace!(target: TARGET, "upload request answered");
    }

    fn fingerprint(&self) -> Option<Fingerprint<'_>> {
        self.0.upload.get().map(Fingerprint)
    }
}

/// Keeps work in the span in which it begins, also on another task.
pub(crate) fn in_span<F: Future>(work: F) -> Instrumented<F> {
    work.in_current_span()
}

/// Logs a failure that an operator must fix.
pub(crate) fn failed(action: &str, id: Option<&UploadId>, error: &(dyn Error + 'static)) {
    let upload = id.map(Fingerprint).map(field::display);
    error!(target: TARGET, upload, error = %Chain(error), "cannot {action}");
}

/// Logs that an upload was created, or something else.
pub(crate) fn changed(how: &str, upload: &Upload) {
    let (id, offset, total) = (Fingerprint(&upload.id), upload.offset(), upload.total());
    match how {
        // As often as there are chunks.
        "grew" => trace!(target: TARGET, upload = %id, offset, total, "upload {how}"),
        _ => debug!(target: TARGET, upload = %id, offset, total, "upload {how}"),
    }
}

/// Logs that the application has not taken a finished upload. Without a status, it has panicked or
/// given no answer.
pub(crate) fn not_taken(id: &UploadId, status: Option<u16>) {
    let upload = Fingerprint(id);
    match status {
        Some(status) if status < 500 => {
            debug!(target: TARGET, %upload, status, "the application has not taken an upload");
        }
        _ => {
            error!(target: TARGET, %upload, status, "the application has failed to take an upload")
        }
    }
}

/// Computes the fingerprint only if somebody wants to see it.
#[derive(Clone, Copy)]
struct Fingerprint<'a>(&'a UploadId);

impl fmt::Display for Fingerprint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.fingerprint())
    }
}

/// An error with its causes. The messages of stores name files, and so ids.
struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let (mut error, mut last) = (self.0, 0);
        while let Some(cause) = error.source() {
            let told = cause.to_string();
            // Some errors begin with what the one above has said.
            if told.starts_with(&text[last..]) {
                text.truncate(last);
            } else {
                text.push_str(": ");
                last = text.len();
            }
            text.push_str(&told);
            error = cause;
        }
        f.write_str(&masked(&text))
    }
}

/// Replaces ids by their fingerprints, and escapes what ends or turns a line.
fn masked(text: &str) -> String {
    let is_digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = rest.find(|c| !is_digit(c)).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(length.max(c.len_utf8()));
        rest = tail;
        match word.parse::<UploadId>() {
            Ok(id) => {
                hide_shard(&mut shown, word);
                shown.push_str(&id.fingerprint());
            }
            // It may have an id in it.
            Err(_) if length > id::LENGTH => shown.push('…'),
            Err(_) if length > 0 => shown.push_str(word),
            Err(_) if turns_lines(c) => shown.extend(c.escape_unicode()),
            Err(_) => shown.push(c),
        }
    }
    shown
}

/// Stores put an upload into a folder that has the first or the last two digits of its id as name.
fn hide_shard(shown: &mut String, id: &str) {
    for shard in [&id[..2], &id[id.len() - 2..]] {
        let before = shown.strip_suffix('/').and_then(|path| path.strip_suffix(shard));
        if let Some(length) = before.filter(|path| path.ends_with('/')).map(str::len) {
            shown.truncate(length);
            shown.push_str("…/");
            return;
        }
    }
}

fn turns_lines(c: char) -> bool {
    let turns = ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
    c.is_control() || turns.iter().any(|range| range.contains(&c))
}

const TARGET: &str = "tower_chunked_upload";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_has_no_id_and_no_part_of_one() {
        let text = "5230ec1f59d1485d9d7974b853802e31";
        let id: UploadId = text.parse().unwrap();
        let hash = id.fingerprint();
        for (path, shown) in [
            (format!("open /up/2026/{text}.part: no"), format!("open /up/2026/{hash}.part: no")),
            (format!("/up/.records/52/{text}.log"), format!("/up/.records/…/{hash}.log")),
            (format!("up/log/31/{text}/fffffffe"), format!("up/log/…/{hash}/fffffffe")),
            (format!("media/{text}-a\n\u{202e}b"), format!("media/{hash}-a\\u{{a}}\\u{{202e}}b")),
            (format!("media/file{text}"), "media/fil…".to_owned()),
            ("é ß 0123 deadbeef".to_owned(), "é ß 0123 deadbeef".to_owned()),
        ] {
            assert_eq!(masked(&path), shown);
        }
    }

    proptest! {
        #[test]
        fn no_text_shows_an_id_or_a_line_of_its_own(
            before in "(?s:.{0,20})", after in "(?s:.{0,20})",
        ) {
            let id = UploadId::random();
            let shown = masked(&format!("{before}{id}{after}"));
            prop_assert!(!shown.contains(id.as_str()), "{}", shown);
            prop_assert!(!shown.contains(turns_lines), "{}", shown);
        }
    }
}
