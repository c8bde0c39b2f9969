//! Look up what the code of a refusal means, and what the client should do.
//!
//! Every refusal of the layer has a code, a word such as `expired` that never changes. In all
//! protocols it is in the response header `Upload-Error-Code`. In the chunked protocol and in the
//! IETF draft it is also the member `code` of the JSON:
//!
//! ```json
//! {"code":"expired","detail":"Upload has expired"}
//! ```
//!
//! A program decides by the code or by the status. The [message](super::error_messages) beside it
//! is for people, and may change. [Handling errors](super::error_handling) has the few rules that
//! are enough for most clients.
//!
//! # What does each code mean?
//!
//! The columns show the status in the chunked protocol, in tus and in the IETF draft. In the last
//! two, the response to a `HEAD` (in the draft, also to a `GET`) has the status 423 instead of a
//! 5xx, because clients would begin a new upload after a 5xx. The exception is `interrupted`.
//!
//! | code | chunked | tus | draft | what is wrong: what the client should do |
//! |---|---|---|---|---|
//! | `not-found` | 404 | 404 | 404 | the upload does not exist, or belongs to another [owner](super::owners) or protocol: begin a new one |
//! | `expired` | 410 | 410 | 410 | the upload [has expired](super::expiry): begin a new one |
//! | `damaged` | 410 | 410 | 410 | the bytes or the record cannot be trusted: begin a new upload; with feature `tracing`, the log says why |
//! | `interrupted` | 400 | 410 | 500 | a crash interrupted the hand-over, which [must not be repeated](crate::Resumable::hand_over_once) (410 at [the address of a completion](super::long_completions)): begin a new upload if the work was not done |
//! | `already-complete` | 400 | 403 | 400 | the application has taken the file: done |
//! | `finishing` | 400 | 423 | 503 | the application is processing the file: wait, then ask for the offset |
//! | `offset-mismatch` | 400 | 409 | 409 | the bytes do not start at the upload's offset: continue from the offset in the response |
//! | `incomplete` | 400 | 400 | 400 | bytes are missing: continue from the offset in the response, or ask for it in tus and the draft |
//! | `source-failed` | 400 | 503 | 503 | the request was cut off: send the rest, or the chunk again |
//! | `superseded` | 409 | 503 | 503 | a newer request has continued or cancelled the upload: stop, unless that request is your own |
//! | `busy` | 409 | 423 | 503 | another request holds the upload: retry a little later |
//! | `shutting-down` | 503 | 503 | 503 | the server is shutting down: retry a little later |
//! | `store-failed` | 500 | 500 | 500 | the upload could not be stored: try again later; with feature `tracing`, the log says why |
//! | `already-exists` | 500 | 500 | 500 | a policy tried to move the file to a path that already exists |
//! | `full` | 507 | 507 | 507 | the store is full: try again later. In [a bucket](super::nodes_costs#how-large-should-a-chunk-be), the upload may have too many chunks: begin again with larger ones |
//! | `quota-exceeded` | 413, 429, 507 | 413, 429, 507 | 413, 429, 507 | [a quota](super::limits) of one owner (in bytes: 413, in uploads: 429) or of all (507) is reached: complete or cancel another upload, or wait |
//! | `key-reused` | 409 | 409 | 409 | the [`Idempotency-Key`](super::idempotency) was used for an upload with other parameters: use a new key |
//! | `malformed-key` | 400 | 400 | 400 | the `Idempotency-Key` is no [key](super::idempotency#what-is-a-key), for example too short |
//! | `not-completing` | 409 | 409 | 409 | at [the address of a completion](super::long_completions#what-if-the-handler-takes-long), no completion is running: send the completion again |
//! | `answer-not-kept` | 410 | 410 | 410 | at the same address, the application has taken the file, but its response was not kept or is too old: done |
//! | `too-large` | 400 | 413 | 413 | the file is larger than [allowed](super::limits): tell the user |
//! | `too-small` | – | – | 400 | the request, or the whole upload, has fewer bytes than allowed |
//! | `too-long` | 400 | 413 | 400 | more bytes arrived than were announced: a bug in the client |
//! | `total-mismatch` | 400 | 400 | 400 | another length was announced before: the file has changed, so begin a new upload |
//! | `length-mismatch` | 400 | 400 | 400 | the lengths in one request contradict each other or its body |
//! | `checksum-mismatch` | 400 | 460 | 400 | the bytes do not match the checksum: send the request again, or begin a new upload if the checksum is the file's |
//! | `last-byte-mismatch` | – | 400 | 400 | the last byte differs from the one that was sent before: the file has changed |
//! | `idle-timeout` | 408 | 503 | 503 | no data arrived [for too long](crate::ChunkedUploadLayer::idle_timeout): send it again |
//! | `too-slow` | 408 | 503 | 503 | data arrived [too slowly](crate::ChunkedUploadLayer::min_rate): send it again |
//! | `request-too-large` | 413 | 413 | 413 | [a layer outside](super::layer_order) limits requests: send smaller chunks. Or the body of a completion is larger than a small form |
//! | `headers-too-large` | – | 431 | 431 | the metadata, or the headers that must be kept, are too large |
//! | `method-not-allowed` | 405 | 405 | 405 | a bug in the client; `Allow` has the methods |
//! | `wrong-content-type` | – | 415 | 415 | the media type is not the protocol's type for bytes |
//! | `unsupported-encoding` | 400, 415 | – | – | there is a `Content-Encoding`, or a part has a `Content-Transfer-Encoding`: send the file without one |
//! | `missing-header` | – | 400 | 400 | a bug in the client; the message names the header. In the draft, a malformed header counts as missing |
//! | `repeated-header` | 400 | 400 | – | a header was sent twice |
//! | `malformed-header` | – | 400 | – | a header has an invalid value |
//! | `contradictory-headers` | – | 400 | 400 | two headers exclude each other |
//! | `malformed-checksum` | – | 400 | 400 | a digest cannot be parsed |
//! | `unknown-checksum-algorithm` | – | 400 | – | `OPTIONS` lists the offered algorithms in `Tus-Checksum-Algorithm` |
//! | `no-file` | 400 | – | – | the field's name is wrong, or its `filename` is missing |
//! | `two-files` | 400 | – | – | a request may bring only one chunk |
//! | `no-content-range` | 400 | – | – | the application [requires it](crate::Chunked::require_content_range) |
//! | `malformed-content-range` | 400 | – | – | `Content-Range` is not `bytes FIRST-LAST/TOTAL` |
//! | `malformed-form` | 400 | – | – | the form cannot be parsed; the message says why |
//! | `truncated-form` | 400 | – | – | the form ended before its last boundary: send the chunk again |
//! | `form-too-large` | 400 | – | – | what the form has besides the file exceeds the [`FormLimits`](crate::chunked::FormLimits) |
//! | `malformed-json` | 400 | – | – | the JSON of the completion is invalid |
//! | `missing-field` | 400 | – | – | a completion needs the id and, unless the check is switched off, the MD5 |
//! | `repeated-field` | 400 | – | – | a field was sent twice with different values |
//! | `id-in-query` | 400 | – | – | a form names its upload in the field `upload_id`, not in the query |
//! | `unsupported-version` | – | 412 | – | `Tus-Resumable` is missing or names another version; `Tus-Version` has the server's |
//! | `not-offered` | – | 400 | – | the extension [is switched off](crate::tus::Extensions) |
//! | `malformed-metadata` | – | 400 | – | `Upload-Metadata` is malformed |
//! | `joined-upload` | – | 400, 403 | – | a joined upload takes no bytes: its bytes are those of its parts |
//! | `no-such-part` | – | 400 | – | `Upload-Concat` names something that is not a part: it has expired, never existed, or is on another host |
//! | `incomplete-part` | – | 400 | – | a part is not complete, and the extension `concatenation-unfinished` is switched off |
//! | `too-many-parts` | – | 400 | – | a file has at most 1,000 parts |
//! | `token-invalid` | 401, 403 | 401, 403 | 401, 403 | the [token](super::tokens) is forged, or is for another upload: fetch a new one, or log in |
//! | `token-expired` | 401, 403 | 401, 403 | 401, 403 | the token has expired: fetch a new one, or log in |
//! | `unauthenticated` | 403 | 401 | 401 | log in |
//! | `forbidden` | 403 | 403 | 403 | this user may not do this |
//! | `too-many-requests` | 429 | 429 | 429 | wait |
//! | `unavailable` | 503 | 503 | 503 | try again later |
//! | `failed` | 5xx | 5xx | 5xx | try again later |
//! | `refused` | 4xx | 4xx | 4xx | tell the user; the message says why |
//! | `no-upload` | 500 | 500 | 500 | a bug in the server: the handler's route is not [behind the layer](super::layers) |
//!
//! A refusal of your [`Policy`](crate::Policy) has a code of your own, or one of these by its
//! status: see [`Refusal::with_code`](crate::Refusal::with_code).
