//! Send logs to a `tracing` subscriber, and metrics to Prometheus or another recorder.
//!
//! With feature `tracing`, the crate emits spans and events of
//! [`tracing`](https://docs.rs/tracing). This subscriber writes them to the terminal:
//!
//! ```toml
//! tower-chunked-upload = { version = "0.1", features = ["axum", "tracing"] }
//! tracing-subscriber = "0.3"
//! ```
//!
//! ```
//! tracing_subscriber::fmt::init();
//! ```
//!
//! If the handler cannot move a file, the log says so, in one line:
//!
//! ```text
//! ERROR upload{dialect="chunked" action="complete" upload="9ddb9fd519b3" offset=7 received=82}:
//!   tower_chunked_upload: cannot persist a finished upload upload=9ddb9fd519b3
//!   error=the store failed: make media: File exists (os error 17)
//! ```
//!
//! # Which spans are there?
//!
//! One span, `upload`, at level `info`, for each request that the layer handles. Other requests
//! have none. Its fields are set as soon as they are known:
//!
//! | field | what it is |
//! |---|---|
//! | `dialect` | `chunked`, `tus` or `resumable`; `other` at [the address of a completion](super::long_completions#what-if-the-handler-takes-long) |
//! | `action` | `create`, `append`, `complete`, `completion`, `status`, `cancel`, `options` or `other`. The chunked protocol has no `create`: the first chunk is an `append` |
//! | `upload` | [the fingerprint](#how-do-i-find-the-upload-that-a-log-line-is-about) of the upload's id |
//! | `owner` | the upload's owner, if [`log_owners`](crate::ChunkedUploadLayer::log_owners) is on |
//! | `offset` | how many bytes the upload has after the request |
//! | `received` | how many bytes of the request's body arrived |
//! | `status`, `code` | the status of the response; [the code](super::errors#what-does-each-code-mean) of a refusal |
//! | `answer` | `kept` if the layer repeated [an earlier response of the handler](super::long_completions), `accepted` if the handler has not responded yet |
//! | `seconds` | how long it took until the response began |
//!
//! The layer calls your [`Policy`](crate::Policy), [`Observer`](crate::Observer) and handler within
//! the span, so what they log has it too. Work that continues after the client has left stays in
//! the span.
//!
//! # Which events are there?
//!
//! | level | message | fields |
//! |---|---|---|
//! | `error` | `cannot serve an upload`: a request failed for a reason that an operator must fix | `upload`, `status`, `code`, `error` |
//! | `error` | `cannot persist a finished upload`, `cannot discard a finished upload` and other work that failed, including that of the sweeper | `upload`, `error` |
//! | `error` | `the application has failed to take an upload`: the handler responded with a 5xx, or panicked | `upload`, `status` |
//! | `debug` | `upload refused` | `upload`, `status`, `code`, `error` |
//! | `debug` | `the application has not taken an upload`: the response was a 4xx, or an error of gRPC | `upload`, `status` |
//! | `debug` | `upload created`, `completed`, `cancelled`, `discarded`, `expired` | `upload`, `offset`, `total` |
//! | `trace` | `upload grew` | `upload`, `offset`, `total` |
//! | `trace` | `upload request answered` | |
//!
//! The field `error` has the error with all its causes, such as the path of a file and what the
//! system reported. Clients get none of it. The target of all spans and events is
//! `tower_chunked_upload`.
//!
//! # How do I find the upload that a log line is about?
//!
//! An id is a secret: anyone who knows it can write to the upload. So the log contains only its
//! fingerprint, also in place of the id in paths. A fingerprint has 12 hex digits, from which the
//! id cannot be computed. [`UploadId::fingerprint`](crate::UploadId::fingerprint) returns it, and a
//! shell can compute it:
//!
//! ```sh
//! printf %s 5230ec1f59d1485d9d7974b853802e31 | sha256sum | cut -c -12   # 9ddb9fd519b3
//! ```
//!
//! Compare it with those of all uploads:
//!
//! ```
//! use futures_util::StreamExt;
//! use tower_chunked_upload::{Filter, Upload, Uploads};
//!
//! /// The upload with this fingerprint, for an operator.
//! async fn find(uploads: &Uploads, fingerprint: &str) -> Option<Upload> {
//!     let mut all = std::pin::pin!(uploads.for_operator().list(Filter::default()));
//!     while let Some(upload) = all.next().await {
//!         if let Ok(upload) = upload && upload.id.fingerprint() == fingerprint {
//!             return Some(upload);
//!         }
//!     }
//!     None
//! }
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use tower_chunked_upload::{NewUpload, store::MemoryStore};
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! # let upload = uploads.for_owner(None).create(NewUpload::new()).await?.commit().await?;
//! # let found = find(&uploads, &upload.id.fingerprint()).await.ok_or("it is there")?;
//! # assert_eq!(found.id, upload.id);
//! # Ok(())
//! # }
//! ```
//!
//! # Does the log contain what clients send?
//!
//! No: it contains no names of files, fields, headers or bodies. It does not contain the detail of
//! a refusal either, in which your policy may quote them. Two values come from you: the name of an
//! owner, and the path to which you persist a file. In these, characters that would begin a line,
//! or reverse its direction, are escaped.
//!
//! # Which metrics are there?
//!
//! With feature `metrics`, the crate reports to the facade
//! [`metrics`](https://docs.rs/metrics/0.24), which has recorders for Prometheus, OpenTelemetry,
//! StatsD and others. Without a recorder, metrics are dropped. Install one before you build the
//! first [`Uploads`](crate::Uploads), so that it gets the descriptions. In the repository,
//! `servers/examples/metrics.rs` is a server for Prometheus, and
//! `servers/examples/metrics/grafana.json` a dashboard for Grafana.
//!
//! Each metric covers one process since it started, unless its row says otherwise. No label
//! contains anything that a client sent.
//!
//! | metric | what it is |
//! |---|---|
//! | `chunked_upload_begun_total` | counter: uploads that were created |
//! | `chunked_upload_ended_total` | counter: uploads that have ended, with the label `as`: `completed`, `cancelled`, `discarded` or `expired`. A completed one counts once more, as `expired`, when a sweep removes its record |
//! | `chunked_upload_unfinished` | gauge: uploads that are not complete, as the last [sweep](crate::Uploads::sweep_every) found them. Nodes that share a store report the same number, so take the maximum. With a bucket it is not reported, since a sweep there does not read all uploads |
//! | `chunked_upload_received_bytes_total` | counter: bytes of files that arrived |
//! | `chunked_upload_committed_bytes_total` | counter: bytes of files that were acknowledged. Received bytes beyond these were discarded, and had to be sent again |
//! | `chunked_upload_refusals_total` | counter: requests that were refused or failed, with the labels `dialect` (`chunked`, `tus`, `resumable`, or `other` at [the address of a completion](super::long_completions#what-if-the-handler-takes-long)) and [`code`](super::errors#what-does-each-code-mean) |
//! | `chunked_upload_answers_total` | counter: responses to completions that the layer sent in place of the handler, with the labels `dialect` (`other` at [the address of a completion](super::long_completions#what-if-the-handler-takes-long)) and `as`: `kept` if its response was repeated, `accepted` if it has not responded yet |
//! | `chunked_upload_takeovers_total` | counter: requests that were stopped for a newer one of the same upload, with the label `by`: a `request` to this process, or another `process` |
//! | `chunked_upload_append_duration_seconds` | histogram: from the start of a chunk to its acknowledgement, so it includes the client's network |
//! | `chunked_upload_commit_duration_seconds` | histogram: writing the last bytes of a chunk and its record |
//! | `chunked_upload_completion_duration_seconds` | histogram: verifying a finished file, and the application's response to it |
//! | `chunked_upload_hops_total` | counter: calls that were made on a thread for blocking work |
//! | `chunked_upload_sweep_duration_seconds` | histogram: a sweep of the whole store |
//! | `chunked_upload_sweep_skipped_total` | counter: uploads that a sweep could not remove, such as damaged ones |
//! | `chunked_upload_quota_uploads` | gauge: unfinished uploads that count towards the [quotas](super::limits), if there are any |
//! | `chunked_upload_quota_bytes` | gauge: bytes that count towards the quotas |
//! | `chunked_upload_quota_limit` | gauge: the limit, with the label `quota`: `owner_uploads`, `owner_bytes`, `all_bytes` or `free_bytes` |
