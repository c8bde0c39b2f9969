//! What an operator sees: the log, and metrics.
//!
//! With feature `tracing` the crate reports to [`tracing`](https://docs.rs/tracing) what happens.
//! Without a subscriber it is silent; this one writes to the terminal:
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
//! A file that the handler could not move looks like this there (in one line):
//!
//! ```text
//! ERROR upload{dialect="chunked" action="complete" upload="9ddb9fd519b3" offset=7 received=82}:
//!   tower_chunked_upload: cannot persist a finished upload upload=9ddb9fd519b3
//!   error=the store failed: make media: File exists (os error 17)
//! ```
//!
//! # Which spans are there?
//!
//! One for each request that the layer handles, `upload`, at level `info`. Other requests have
//! none. Its fields are set as soon as they are known:
//!
//! | field | what it is |
//! |---|---|
//! | `dialect` | `chunked`, `tus` or `resumable`; `other` at [the address of a completion](super::long_completions#what-if-the-handler-takes-long) |
//! | `action` | `create`, `append`, `complete`, `completion`, `status`, `cancel`, `options` or `other`. The chunked protocol has no `create`: the first chunk is an `append` |
//! | `upload` | the fingerprint of the upload's id, see below |
//! | `owner` | the upload's owner, if [`log_owners`](crate::ChunkedUploadLayer::log_owners) is on |
//! | `offset` | how many bytes the upload has after the request |
//! | `received` | how many bytes of the request's body came |
//! | `status`, `code` | that of the response; [the code](super::errors#what-does-each-code-mean) of a refusal |
//! | `answer` | `kept` if what [the handler has answered before](super::long_completions) was given again, `accepted` if it has not answered yet |
//! | `seconds` | how long it took until the response began |
//!
//! Your [`Policy`](crate::Policy), [`Observer`](crate::Observer) and handler are called within the
//! span, so what they log has it too. Work that goes on after the client has left stays in it.
//!
//! # Which events are there?
//!
//! | level | message | fields |
//! |---|---|---|
//! | `error` | `cannot serve an upload`: a request failed for a reason that an operator must mend | `upload`, `status`, `code`, `error` |
//! | `error` | `cannot persist a finished upload`, `cannot discard a finished upload` and other work that failed, also of the sweeper | `upload`, `error` |
//! | `error` | `the application has failed to take an upload`: the handler's response was a 5xx, or it has panicked | `upload`, `status` |
//! | `debug` | `upload refused` | `upload`, `status`, `code`, `error` |
//! | `debug` | `the application has not taken an upload`: the response was a 4xx, or an error of gRPC | `upload`, `status` |
//! | `debug` | `upload created`, `completed`, `cancelled`, `discarded`, `expired` | `upload`, `offset`, `total` |
//! | `trace` | `upload grew`, `upload request answered` | |
//!
//! `error` has the error with all its causes, such as the path of a file and what the system said.
//! Clients are told none of it. The target of all is `tower_chunked_upload`.
//!
//! # How do I find the upload of a line?
//!
//! An id is a secret, since whoever knows it can write to the upload. So a log has its fingerprint,
//! also where a path has the id: 12 digits that tell nobody the id.
//! [`UploadId::fingerprint`](crate::UploadId::fingerprint) computes it, and so does a shell:
//!
//! ```sh
//! printf %s 5230ec1f59d1485d9d7974b853802e31 | sha256sum | cut -c -12   # 9ddb9fd519b3
//! ```
//!
//! Compare it with those of the uploads that there are:
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
//! # Does the log have what clients send?
//!
//! No names of files, no fields, headers or bodies, and not the detail of a refusal, in which your
//! policy may quote them. Two things come from you: the name of an owner, and the path to which you
//! persist a file. Characters in them that would begin a line, or turn its direction, are escaped.
//!
//! # Which metrics are there?
//!
//! With feature `metrics` the crate reports to the facade
//! [`metrics`](https://docs.rs/metrics/0.24), for which there are recorders for Prometheus,
//! OpenTelemetry, StatsD and others. Without a recorder they are dropped. Install one before the
//! first [`Uploads`](crate::Uploads) is built, so that it learns what each of them is. In the
//! repository, `servers/examples/metrics.rs` is a server for Prometheus, and
//! `servers/examples/metrics/grafana.json` a dashboard for Grafana.
//!
//! All are those of one process since it started, unless the row says otherwise. No label has
//! anything that a client sent.
//!
//! | metric | what it is |
//! |---|---|
//! | `chunked_upload_begun_total` | counter: uploads that were created |
//! | `chunked_upload_ended_total` | counter: uploads that have ended, with the label `as`: `completed`, `cancelled`, `discarded` or `expired` |
//! | `chunked_upload_unfinished` | gauge: uploads that are not complete, as the last [sweep](crate::Uploads::sweep_every) has found them. Nodes that share a store report the same number, so take the maximum. A bucket has an index of what expires, so its sweeps do not count the others |
//! | `chunked_upload_received_bytes_total` | counter: bytes of files that arrived |
//! | `chunked_upload_committed_bytes_total` | counter: bytes of files that were acknowledged. What is missing to those received was sent in vain |
//! | `chunked_upload_refusals_total` | counter: requests that were refused or failed, with the labels `dialect` (`chunked`, `tus`, `resumable`) and [`code`](super::errors#what-does-each-code-mean) |
//! | `chunked_upload_answers_total` | counter: completions that the handler has not answered just now, with the labels `dialect` (`other` at [the address of a completion](super::long_completions#what-if-the-handler-takes-long)) and `as`: `kept` if its answer was given again, `accepted` if it has not answered yet |
//! | `chunked_upload_takeovers_total` | counter: requests that were stopped for a newer one of the same upload, with the label `by`: a `request` to this process, or another `process` |
//! | `chunked_upload_append_duration_seconds` | histogram: from the start of a chunk to its acknowledgement, so it includes the client's network |
//! | `chunked_upload_commit_duration_seconds` | histogram: writing the last bytes of a chunk and its record |
//! | `chunked_upload_completion_duration_seconds` | histogram: verifying a finished file, and the application's answer to it |
//! | `chunked_upload_hops_total` | counter: calls that were made on a thread for work that blocks |
//! | `chunked_upload_sweep_duration_seconds` | histogram: a sweep of the whole store |
//! | `chunked_upload_sweep_skipped_total` | counter: uploads that a sweep should have removed and has not, such as damaged ones |
//! | `chunked_upload_quota_uploads` | gauge: unfinished uploads that count towards the [quotas](super::limits), if there are any |
//! | `chunked_upload_quota_bytes` | gauge: bytes that count towards the quotas |
//! | `chunked_upload_quota_limit` | gauge: the limit, with the label `quota`: `owner_uploads`, `owner_bytes`, `all_bytes` or `free_bytes` |
