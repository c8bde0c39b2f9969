//! Look up any setting and its default.
//!
//! Each setting is a method, whose documentation says more.
//!
//! # Files
//!
//! On [`FsStore`](crate::store::FsStore):
//!
//! | setting | default |
//! |---|---|
//! | [`new(pattern)`](crate::store::FsStore::new): where unfinished files are kept, with `strftime` directives | `chunked_uploads/%Y/%m/%d` |
//! | [`durability`](crate::store::FsStore::durability): what an acknowledged byte survives: `kill -9`, or a power cut too | `Process` |
//! | [`file_calls`](crate::store::FsStore::file_calls): which threads make the calls on files | `Pool` |
//! | [`open_files`](crate::store::FsStore::open_files): how many files stay open between two chunks | 256 |
//!
//! # Buckets
//!
//! On the builder of [`BucketStore`](crate::store::BucketStore), with feature `object-store`:
//!
//! | setting | default |
//! |---|---|
//! | [`prefix`](crate::store::BucketStoreBuilder::prefix) of all keys | `chunked_uploads` |
//! | [`segment_bytes`](crate::store::BucketStoreBuilder::segment_bytes), [`max_buffered_bytes`](crate::store::BucketStoreBuilder::max_buffered_bytes): memory per upload, and in total | 8 MiB, 256 MiB |
//! | [`grace`](crate::store::BucketStoreBuilder::grace): how long tombstones are kept; the same on all nodes | 1 h |
//! | [`completion_lease`](crate::store::BucketStoreBuilder::completion_lease): how long a completing node may go without a heartbeat; the same on all nodes | 15 s |
//! | [`max_commits`](crate::store::BucketStoreBuilder::max_commits): roughly, the number of chunks per upload | 500,000 |
//! | [`remembered_uploads`](crate::store::BucketStoreBuilder::remembered_uploads): how many uploads a node caches | 4,096 |
//! | [`persist_to`](crate::store::BucketStoreBuilder::persist_to): the bucket that finished files go to | the same bucket |
//! | [`clock`](crate::store::BucketStoreBuilder::clock) | the system clock |
//!
//! # Uploads
//!
//! On the builder of [`Uploads`](crate::Uploads):
//!
//! | setting | default |
//! |---|---|
//! | [`max_bytes`](crate::UploadsBuilder::max_bytes) | unlimited |
//! | [`expires_after`](crate::UploadsBuilder::expires_after), [`expiry`](crate::UploadsBuilder::expiry): after creation, after the last chunk, or never | a day after creation |
//! | [`checksum`](crate::UploadsBuilder::checksum): whether a digest is computed incrementally | on |
//! | [`digest_algorithm`](crate::UploadsBuilder::digest_algorithm): MD5, SHA-1, SHA-256, SHA-512 or CRC-32C. With any but MD5, a completion reads the whole file if the client has sent an MD5 | MD5 |
//! | [`read_back`](crate::UploadsBuilder::read_back): whether each completion compares the stored bytes with the checksum | off |
//! | [`observer`](crate::UploadsBuilder::observer): is notified of upload events: created, grew, completed, cancelled, discarded, expired | none |
//! | [`batch_bytes`](crate::UploadsBuilder::batch_bytes), [`max_batches`](crate::UploadsBuilder::max_batches): memory of all fast uploads together | 512 KiB × 32 |
//! | [`max_uploads_per_owner`](crate::UploadsBuilder::max_uploads_per_owner), [`max_bytes_per_owner`](crate::UploadsBuilder::max_bytes_per_owner), [`max_bytes_in_all`](crate::UploadsBuilder::max_bytes_in_all): quotas of unfinished uploads | unlimited |
//! | [`min_free_bytes`](crate::UploadsBuilder::min_free_bytes): disk space to keep free, in bytes, once all unfinished uploads have arrived | not checked |
//! | [`takeover_timeout`](crate::UploadsBuilder::takeover_timeout): how long a request waits for an older one that holds the same upload | 2 s |
//! | [`watch_interval`](crate::UploadsBuilder::watch_interval): how often the store is read for an upload that is watched | 1 s |
//! | [`clock`](crate::UploadsBuilder::clock) | the system clock |
//!
//! Your program has to call two methods of [`Uploads`](crate::Uploads):
//! [`sweep_every`](crate::Uploads::sweep_every), which removes expired uploads, and
//! [`shutdown`](crate::Uploads::shutdown), which finishes the work on uploads before the program
//! ends.
//!
//! # The layer
//!
//! On [`ChunkedUploadLayer`](crate::ChunkedUploadLayer):
//!
//! | setting | default |
//! |---|---|
//! | [`policy`](crate::ChunkedUploadLayer::policy): who may upload what | everybody, everything |
//! | [`chunked`](crate::ChunkedUploadLayer::chunked): the settings of [the chunked protocol](#the-chunked-protocol) | as below |
//! | [`tus`](crate::ChunkedUploadLayer::tus): speaks [tus](#tus) | off |
//! | [`resumable`](crate::ChunkedUploadLayer::resumable): speaks [the IETF draft](#resumable-uploads-for-http) | off |
//! | [`log_owners`](crate::ChunkedUploadLayer::log_owners): whether the log has the names of owners (feature `tracing`) | no |
//! | [`keep_answers`](crate::ChunkedUploadLayer::keep_answers), [`keep_answer_headers`](crate::ChunkedUploadLayer::keep_answer_headers): for how long the handler's responses are kept, and with which headers | not kept; for 1 hour if `long_completions` is on |
//! | [`long_completions`](crate::ChunkedUploadLayer::long_completions): [whether and when](super::long_completions) a client gets 202 while the handler runs | off |
//! | [`accept_tokens`](crate::ChunkedUploadLayer::accept_tokens), [`hand_out_tokens`](crate::ChunkedUploadLayer::hand_out_tokens): whether a client can continue an upload with a [token](super::tokens) instead of a session (feature `tokens`) | no |
//! | [`max_completion_bytes`](crate::ChunkedUploadLayer::max_completion_bytes) | 64 KiB |
//! | [`idle_timeout`](crate::ChunkedUploadLayer::idle_timeout): how long a body may be silent | 60 s |
//! | [`min_rate`](crate::ChunkedUploadLayer::min_rate): the fewest bytes that a body must bring in a given time | no minimum |
//! | [`drain`](crate::ChunkedUploadLayer::drain): how much of a refused body is read, so that the refusal reaches the client; 5 s of silence also end it | 32 MiB, 10 s |
//!
//! # The chunked protocol
//!
//! On [`Chunked`](crate::Chunked):
//!
//! | setting | default |
//! |---|---|
//! | [`chunk_path`](crate::Chunked::chunk_path), [`complete_path`](crate::Chunked::complete_path) | `/api/chunked_upload`, `/api/chunked_upload_complete` |
//! | [`field_name`](crate::Chunked::field_name) | `file` |
//! | [`content_range_header`](crate::Chunked::content_range_header), [`require_content_range`](crate::Chunked::require_content_range) | `Content-Range`, no |
//! | [`md5_check`](crate::Chunked::md5_check) | on |
//! | [`encoder`](crate::Chunked::encoder), [`content_type`](crate::Chunked::content_type): the format of responses | JSON |
//! | [`form_limits`](crate::Chunked::form_limits): what a form may have besides the file | 128 parts; 16 KiB of headers for each; 64 KiB for one field, and 256 KiB for all; 1 MiB of ignored bytes |
//!
//! # Long completions
//!
//! On [`LongCompletions`](crate::LongCompletions):
//!
//! | setting | default |
//! |---|---|
//! | [`new(path)`](crate::LongCompletions::new): below which path clients ask for the result | required |
//! | [`after`](crate::LongCompletions::after): how long a client waits before it gets 202 | 10 s |
//! | [`public_url`](crate::LongCompletions::public_url), [`absolute_urls`](crate::LongCompletions::absolute_urls): the address, as clients are told | the path |
//!
//! # tus
//!
//! On [`Tus`](crate::Tus):
//!
//! | setting | default |
//! |---|---|
//! | [`new(path)`](crate::Tus::new): where uploads are created | required |
//! | [`handler_path`](crate::Tus::handler_path): the route of the handler | the same path |
//! | [`extensions`](crate::Tus::extensions): what clients may do | everything |
//! | [`max_metadata_bytes`](crate::Tus::max_metadata_bytes) | 4 KiB |
//! | [`public_url`](crate::Tus::public_url), [`absolute_urls`](crate::Tus::absolute_urls): the URL of an upload, as clients are told | the path of the request |
//! | [`response_body`](crate::Tus::response_body): whether clients get the body of the handler's response | no |
//!
//! # Resumable Uploads for HTTP
//!
//! On [`Resumable`](crate::Resumable):
//!
//! | setting | default |
//! |---|---|
//! | [`new(path)`](crate::Resumable::new): where the uploads are | required |
//! | [`paths`](crate::Resumable::paths), [`requests`](crate::Resumable::requests): which requests are resumable | none |
//! | [`max_head_bytes`](crate::Resumable::max_head_bytes): how much of a request's head is kept | 8 KiB |
//! | [`keep_headers`](crate::Resumable::keep_headers): which headers of the first request the handler gets, beside those of the content | none |
//! | [`max_append_bytes`](crate::Resumable::max_append_bytes): the largest body of one request | unlimited |
//! | [`min_bytes`](crate::Resumable::min_bytes), [`min_append_bytes`](crate::Resumable::min_append_bytes): the smallest upload, and the smallest body of one request | 0 |
//! | [`hand_over_once`](crate::Resumable::hand_over_once): whether a handler that a crash has interrupted is never called again | no |
//! | [`public_url`](crate::Resumable::public_url), [`absolute_urls`](crate::Resumable::absolute_urls): the URL of the uploads, as clients are told | the path |
