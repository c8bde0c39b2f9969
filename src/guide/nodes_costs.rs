//! Estimate the requests, the money, the time and the memory that uploads in a bucket take, and
//! choose the size of a chunk.
//!
//! # How large should a chunk be?
//!
//! 8 MiB, or up to 32 MiB with [`segment_bytes`](crate::store::BucketStoreBuilder::segment_bytes)
//! of the same size and the memory for it. Small chunks cost requests and round trips.
//!
//! Each chunk is an object, and an upload has at most 500,000 of them
//! ([`max_commits`](crate::store::BucketStoreBuilder::max_commits)), so that a client that sends a
//! byte at a time cannot run up costs forever. That allows a file of 3.8 TiB in chunks of 8 MiB,
//! and one of 488 GiB in chunks of 1 MiB. For larger files, let clients send larger chunks, or
//! raise the limit. A chunk beyond it gets a 507.
//!
//! Provide memory for as many chunks as arrive at the same time: 200 uploads that share 256 MiB are
//! written in pieces of 1.3 MiB, which cost more requests. A form whose `upload_id` comes after its
//! file costs one more small `PUT`, and is written twice if it is larger than a segment.
//!
//! A request of [tus](super::tus) without a checksum, and an append of your own that [keeps what
//! came](crate::AppendMode::KeepWhatCame), commit twice a second while bytes arrive. Each commit is
//! an object, so an upload whose bytes arrive for an hour makes 7,200 of them, and one whose bytes
//! arrive for 69 hours reaches the limit: 1 TiB in one request fits at 4.4 MB/s.
//!
//! # How many requests does an upload take?
//!
//! A chunk takes one `PUT`, plus `HEAD`s to find the current offset: one on the node that had the
//! previous chunk, and on another node as many as there are nodes taking turns, in parallel. The
//! rest:
//!
//! | | requests |
//! |---|---|
//! | the first chunk | two small `PUT`s more, for the record and the expiry index |
//! | the first chunk of an upload that a node sees, or one of an upload that is no longer in its [cache](crate::store::BucketStoreBuilder::remembered_uploads) | a `GET`, a `LIST` and a `HEAD` more |
//! | a chunk larger than a segment (8 MiB) | a `PUT` for each segment, and one for the list of them |
//! | a completion | two `PUT`s; with [`read_back`](crate::UploadsBuilder::read_back), also the requests to read the file |
//! | to read | a `GET` for each chunk, and one for each segment of a larger chunk; for a persisted file, a `HEAD` and a `GET` for each 8 MiB |
//! | to persist | the requests to read; four `PUT`s (for a file above 8 MiB, one for each 8 MiB, and five or six), and one or two `HEAD`s |
//! | a status | one or a few `HEAD`s, twice |
//! | the end of an upload | two small `PUT`s, three `LIST`s, a few `HEAD`s; `DELETE` is free |
//!
//! # How much money does that cost?
//!
//! On S3 in us-east-1 ($0.005 for 1,000 `PUT`s or `LIST`s, $0.0004 for 1,000 `GET`s or `HEAD`s), 1
//! TiB in files of less than 80 GiB costs:
//!
//! | chunk | the same node | three nodes in turn | to persist |
//! |---|---|---|---|
//! | 1 MiB | $5.66 | $6.50 | $1.07 |
//! | 5 MiB | $1.13 | $1.30 | $0.74 |
//! | **8 MiB** | **$0.71** | **$0.81** | $0.71 |
//! | 32 MiB in segments of 8 MiB | $0.83 | $0.86 | $0.72 |
//! | 32 MiB in segments of 32 MiB | $0.18 | $0.20 | $0.18 |
//!
//! Storing a TiB for a day costs $0.79, so a short [expiry](super::expiry) saves as much as large
//! chunks do.
//!
//! # How fast is it?
//!
//! A chunk waits for one round trip before its bytes are read, and for its `PUT` before it is
//! answered. The rest is the store's own time: `benches/README.md` in the repository compares it
//! with a bare `PUT`. On S3, expect 20 to 60 ms for a small chunk and 80 to 250 ms for 8 MiB. These
//! are figures that others report; it was not measured there.
//!
//! # How much memory does it take?
//!
//! Each upload buffers up to one segment, and all uploads on a node together up to [256
//! MiB](crate::store::BucketStoreBuilder::max_buffered_bytes). Beyond that, the fullest buffers are
//! flushed early, as pieces. Even a chunk of 1 GiB takes no more than that.
//!
//! Persisting a file takes three parts of it, each as large as a segment and at least 5 MiB (for a
//! file above 80 GiB, a ten-thousandth of the file). All files that are persisted at the same time
//! share another budget of the same size as that of the uploads. If there is no room left in it, a
//! file waits.
//!
//! # What about a million uploads?
//!
//! This was simulated with the code of this crate on four nodes, with 1,000,000 pending uploads and
//! 10,000 chunks a second (of virtual time, one small commit each):
//!
//! | | requests |
//! |---|---|
//! | a new upload | 3.00 `PUT` |
//! | a chunk on the same node as the one before, if the upload is cached | 1.00 `PUT`, 1.00 `HEAD` |
//! | a chunk when four nodes take turns, if the upload is cached | 1.00 `PUT`, 4.00 `HEAD` |
//! | a chunk on a node that does not have the upload cached, as with more than [4,096](crate::store::BucketStoreBuilder::remembered_uploads) active ones | 1.00 `PUT`, 1.00 `GET`, 2.00 `HEAD`, 1.00 `LIST` |
//! | a sweep that finds nothing due among all of them | 513 `LIST` |
//! | an upload that expires | 2.00 `PUT`, 1.00 `GET`, 3.00 `HEAD`, 1.00 `LIST`, 1 `DELETE` |
//! | an upload that is deleted after the grace | 1.00 `GET`, 2.00 `HEAD`, 2.00 `LIST`, 5.68 `DELETE` |
//! | the busiest of the 256 prefixes, over 20 seconds | 1.10 times the mean |
//! | the same in each second, with 39 chunks with random ids per prefix | 1.46 times on average, 1.56 at worst |
//! | the same with 2,500 active uploads, on the prefixes that their ids give | 1.95 times the mean |
//! | memory of the four nodes, with their clients | 77 MiB at most |
