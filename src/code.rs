//! The words by which programs know errors. A word that was released never changes.

macro_rules! codes {
    ($($(#[$attribute:meta])* $name:ident: $word:literal,)+) => {
        $($(#[$attribute])* pub(crate) const $name: &str = $word;)+

        #[cfg(test)]
        pub(crate) const ALL: &[&str] = &[$($word),+];
    };
}

codes! {
    // Those of the engine's errors.
    NOT_FOUND: "not-found",
    EXPIRED: "expired",
    ALREADY_COMPLETE: "already-complete",
    FINISHING: "finishing",
    INTERRUPTED: "interrupted",
    OFFSET_MISMATCH: "offset-mismatch",
    TOTAL_MISMATCH: "total-mismatch",
    TOO_LONG: "too-long",
    TOO_LARGE: "too-large",
    QUOTA_EXCEEDED: "quota-exceeded",
    INCOMPLETE: "incomplete",
    CHECKSUM_MISMATCH: "checksum-mismatch",
    SUPERSEDED: "superseded",
    BUSY: "busy",
    SHUTTING_DOWN: "shutting-down",
    ALREADY_EXISTS: "already-exists",
    FULL: "full",
    DAMAGED: "damaged",
    TOKEN_INVALID: "token-invalid",
    TOKEN_EXPIRED: "token-expired",
    SOURCE_FAILED: "source-failed",
    STORE_FAILED: "store-failed",
    KEY_REUSED: "key-reused",
    // Those of completions that take long.
    NOT_COMPLETING: "not-completing",
    ANSWER_NOT_KEPT: "answer-not-kept",
    // Those of requests, whatever their protocol.
    IDLE_TIMEOUT: "idle-timeout",
    TOO_SLOW: "too-slow",
    REQUEST_TOO_LARGE: "request-too-large",
    HEADERS_TOO_LARGE: "headers-too-large",
    METHOD_NOT_ALLOWED: "method-not-allowed",
    WRONG_CONTENT_TYPE: "wrong-content-type",
    UNSUPPORTED_ENCODING: "unsupported-encoding",
    MISSING_HEADER: "missing-header",
    REPEATED_HEADER: "repeated-header",
    MALFORMED_HEADER: "malformed-header",
    CONTRADICTORY_HEADERS: "contradictory-headers",
    MALFORMED_KEY: "malformed-key",
    LENGTH_MISMATCH: "length-mismatch",
    LAST_BYTE_MISMATCH: "last-byte-mismatch",
    MALFORMED_CHECKSUM: "malformed-checksum",
    UNKNOWN_CHECKSUM_ALGORITHM: "unknown-checksum-algorithm",
    // Those of the protocol of django-chunked-upload.
    NO_FILE: "no-file",
    TWO_FILES: "two-files",
    NO_CONTENT_RANGE: "no-content-range",
    MALFORMED_CONTENT_RANGE: "malformed-content-range",
    MALFORMED_FORM: "malformed-form",
    TRUNCATED_FORM: "truncated-form",
    FORM_TOO_LARGE: "form-too-large",
    MALFORMED_JSON: "malformed-json",
    MISSING_FIELD: "missing-field",
    REPEATED_FIELD: "repeated-field",
    ID_IN_QUERY: "id-in-query",
    // Those of tus.
    UNSUPPORTED_VERSION: "unsupported-version",
    NOT_OFFERED: "not-offered",
    MALFORMED_METADATA: "malformed-metadata",
    JOINED_UPLOAD: "joined-upload",
    NO_SUCH_PART: "no-such-part",
    INCOMPLETE_PART: "incomplete-part",
    TOO_MANY_PARTS: "too-many-parts",
    // That of the IETF draft.
    TOO_SMALL: "too-small",
    // Those of the application.
    UNAUTHENTICATED: "unauthenticated",
    FORBIDDEN: "forbidden",
    TOO_MANY_REQUESTS: "too-many-requests",
    REFUSED: "refused",
    UNAVAILABLE: "unavailable",
    FAILED: "failed",
    #[cfg_attr(not(feature = "axum"), expect(dead_code, reason = "it is that of the extractor"))]
    NO_UPLOAD: "no-upload",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_has_each_code_once() {
        let rows = include_str!("guide/errors.rs").lines();
        let words = rows.filter_map(|row| row.strip_prefix("//! | `")?.split_once('`'));
        let mut words: Vec<_> = words.map(|(word, _)| word).collect();
        let mut all = ALL.to_vec();
        words.sort_unstable();
        all.sort_unstable();
        assert_eq!(words, all);
        all.dedup();
        assert_eq!(all.len(), ALL.len(), "two problems share a word");
    }

    #[test]
    fn a_code_fits_a_header_and_a_shell() {
        for code in ALL {
            let is_word = |byte: u8| byte == b'-' || byte.is_ascii_lowercase();
            assert!(code.bytes().all(is_word) && !code.starts_with('-'), "{code}");
        }
    }
}
