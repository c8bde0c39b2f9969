//! How several machines share the uploads.
//!
//! # What do I need?
//!
//! Feature `object-store`, and a bucket: on S3, on any S3-compatible store with conditional writes,
//! on Azure Blob Storage, or on Google Cloud Storage. You need nothing else: no lock server, no
//! database. Put any load balancer in front. Whichever node a chunk comes to continues where the
//! one before stopped.
//!
//! The bucket is accessed through the crate [`object_store`], whose types you build and pass in.
//! Its features select the clouds; this crate adds none:
//!
//! ```toml
//! [dependencies]
//! object_store = { version = "0.14", features = ["aws"] }    # or azure, gcp
//! tower-chunked-upload = { version = "0.1", features = ["axum", "object-store", "tracing"] }
//! ```
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/guide/client.rs"));
//! # use axum::{Router, routing::post};
//! use std::sync::Arc;
//!
//! use axum::http::StatusCode;
//! use object_store::ObjectStore;
//! use tower_chunked_upload::store::BucketStore;
//! use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Uploads};
//!
//! async fn uploads(bucket: Arc<dyn ObjectStore>) -> Result<Uploads, Box<dyn std::error::Error>> {
//!     // Tests the store, and refuses one on which two nodes could overwrite each other.
//!     let store = BucketStore::builder(bucket).prefix("chunked_uploads").connect().await?;
//!     Ok(Uploads::builder(store).build()?)
//! }
//!
//! async fn done(upload: CompletedUpload) -> Result<String, StatusCode> {
//!     // To the key `media/…` of the same bucket.
//!     let target = format!("media/{}-{}", upload.id(), upload.filename());
//!     upload.persist(&target).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
//!     Ok(format!("{target:?}"))
//! }
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use object_store::ObjectStoreExt;
//! # let bucket = Arc::new(object_store::memory::InMemory::new());
//! # let uploads = uploads(bucket.clone()).await?;
//! # let layer = ChunkedUploadLayer::new(uploads);
//! # let app = Router::new().route(client::COMPLETE, post(done)).layer(layer);
//! # let (status, target) = client::upload(&app, "a.txt", "Hello").await;
//! # assert_eq!(status, StatusCode::OK);
//! # let kept = bucket.get(&target.as_str().unwrap().into()).await?.bytes().await?;
//! # assert_eq!(kept, "Hello");
//! # Ok(())
//! # }
//! ```
//!
//! A handler that reads with [`open`](crate::CompletedUpload::open) does not change.
//! [`path`](crate::CompletedUpload::path) is `None`, because there is no local file.
//!
//! # How do I name the bucket?
//!
//! ```
//! use std::sync::Arc;
//!
//! use object_store::ObjectStore;
//! use object_store::aws::AmazonS3Builder;
//! use object_store::azure::MicrosoftAzureBuilder;
//! use object_store::gcp::GoogleCloudStorageBuilder;
//!
//! # fn main() -> Result<(), object_store::Error> {
//! # drop(rustls::crypto::ring::default_provider().install_default());
//! // S3, with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION from the environment, or with
//! // the machine's role.
//! let s3 = AmazonS3Builder::from_env().with_bucket_name("uploads").with_region("eu-central-1");
//! let s3: Arc<dyn ObjectStore> = Arc::new(s3.build()?);
//!
//! // Ceph, MinIO and others: their own address, and the bucket's name in the path.
//! let ceph = AmazonS3Builder::new()
//!     .with_endpoint("http://ceph.internal:7480")
//!     .with_allow_http(true)
//!     .with_virtual_hosted_style_request(false)
//!     .with_access_key_id("key")
//!     .with_secret_access_key("secret")
//!     .with_bucket_name("uploads");
//! let ceph: Arc<dyn ObjectStore> = Arc::new(ceph.build()?);
//!
//! // Azure, with AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY.
//! let azure = MicrosoftAzureBuilder::from_env().with_container_name("uploads");
//! # let azure = azure.with_account("files").with_access_key("a2V5");
//! let azure: Arc<dyn ObjectStore> = Arc::new(azure.build()?);
//!
//! // Google, with GOOGLE_SERVICE_ACCOUNT, or the machine's account.
//! let google = GoogleCloudStorageBuilder::from_env().with_bucket_name("uploads");
//! # let google = google.with_skip_signature(true);
//! let google: Arc<dyn ObjectStore> = Arc::new(google.build()?);
//! # drop((s3, ceph, azure, google));
//! # Ok(())
//! # }
//! ```
//!
//! Each node needs permission to read, write, list and delete below the prefix, and in the place
//! that it persists to. On S3 these are `s3:GetObject`, `s3:PutObject`, `s3:DeleteObject`,
//! `s3:AbortMultipartUpload`, and `s3:ListBucket`, without which S3 does not say that an object is
//! missing. If you [`persist_to`](crate::store::BucketStoreBuilder::persist_to) another bucket,
//! nodes need the same permissions there, including below the prefix, where `connect` tests that
//! bucket.
//!
//! On Ceph, add the option `tcp_nodelay=1` to `rgw frontends`. Without it, each `GET` takes 44 ms.
//!
//! # Which stores can be trusted?
//!
//! | store | |
//! |---|---|
//! | Ceph 16 (one gateway, and two), `moto` 5.2, Azurite 3.35 | tested with each change |
//! | Amazon S3, Azure Blob Storage, MinIO, R2 and others that document `If-None-Match` | by their documentation |
//! | Google Cloud Storage | by its documentation; there is nothing to test it with offline |
//! | s3rver 3.7 | refused, tested with each change: it ignores the condition |
//! | Garage 2.5 | ignores the condition in the same way |
//! | OpenStack Swift's S3 | has no conditional writes, and says so |
//! | s3s-fs 0.14 | has conditional writes that are not atomic, which a race shows in most cases |
//!
//! [`connect`](crate::store::BucketStoreBuilder::connect) tests the store, and says why it refuses
//! one. It cannot detect replication: where a bucket is replicated between sites, a conditional
//! write is atomic only within a site, so let all nodes use the same site. S3 Express does not list
//! in order, and is refused if the test notices that.
//!
//! # What must be the same on all nodes?
//!
//! The bucket and the prefix; where files are [persisted
//! to](crate::store::BucketStoreBuilder::persist_to); the
//! [grace](crate::store::BucketStoreBuilder::grace) and the [completion
//! lease](crate::store::BucketStoreBuilder::completion_lease). The first node writes these two to
//! `PREFIX/settings`, and every other node has to match them. To change them, stop all nodes and
//! delete that object. Everything else may differ while you roll out a new configuration.
//!
//! # What does it cost?
//!
//! A chunk costs one `PUT`, plus `HEAD`s to find the current offset: one on the node that had the
//! previous chunk, and on another node as many as there are nodes taking turns, in parallel. Other
//! costs:
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
//! | the end of an upload | two small `PUT`s, three `LIST`s, a few `HEAD`s; `DELETE` costs nothing |
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
//! # How large should a chunk be?
//!
//! 8 MiB, or up to 32 MiB with [`segment_bytes`](crate::store::BucketStoreBuilder::segment_bytes)
//! as large and the memory for it. Small chunks cost requests and round trips.
//!
//! Each chunk is an object, and an upload has at most 500,000 of them
//! ([`max_commits`](crate::store::BucketStoreBuilder::max_commits)), so that a client that sends a
//! byte at a time cannot run up costs forever. That allows a file of 3.8 TiB in chunks of 8 MiB,
//! and one of 488 GiB in chunks of 1 MiB. For larger files, let clients send larger chunks, or raise
//! the limit. A chunk beyond it is answered with 507.
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
//! # How fast is it?
//!
//! A chunk waits for one round trip before its bytes are read, and for its `PUT` before it is
//! answered. The rest is the store's own time: `benches/README.md` in the repository compares it
//! with a bare `PUT`. On S3, expect 20 to 60 ms for a small chunk and 80 to 250 ms for 8 MiB, as
//! others report; it was not measured there.
//!
//! # And with a million uploads?
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
//!
//! # Should the balancer keep a client on one node?
//!
//! It need not. If it does (by a cookie, or by the hash of an address), a chunk costs one `HEAD`
//! instead of as many as there are nodes taking turns, and a chunk whose connection died makes way
//! at once for the client's next try. Between nodes, there is nothing to take over: the first to
//! commit wins, and the other is told the right offset. Nothing waits for a lease.
//!
//! # And completions?
//!
//! Two nodes do not hand over the same file, because a completion is a commit too. If a node dies
//! in the middle of a completion, other nodes answer `Upload is being completed` until the node
//! that is asked has seen no heartbeat for [15
//! seconds](crate::store::BucketStoreBuilder::completion_lease) since it was first asked. (No clock
//! is compared with another node's.) Then the upload can be completed again. If a node was only
//! stalled for that long, and continues, it finds that it has lost the upload, but by then the
//! application has been given the file twice. So let the handler take a file under a name that is
//! derived from its id, as above. The second time then changes nothing.
//!
//! To persist a file, the node reads it and writes it again. So let the balancer wait for as long
//! as that takes for your largest file (on an ALB, `idle_timeout`). If it gives up, the copy
//! continues, and the client's next completion finds it.
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
//! # What else is different from files?
//!
//! - **Sweeping** reads the expiry index and not all uploads. It costs one or two `LIST`s as long
//!   as fewer than a thousand uploads are waiting, and 513 with a million. Run
//!   [`sweep_every`](crate::Uploads::sweep_every) on one node (with quotas, on each), every ten
//!   minutes or less often. Two sweepers at the same time are harmless, and cost twice the
//!   requests. An upload that was cancelled, discarded or swept leaves a tombstone, and the first
//!   sweep after [an hour of grace](crate::store::BucketStoreBuilder::grace) deletes it.
//! - **[Quotas](super::limits)** are counted by each node, which learns of the other nodes' uploads
//!   when it sweeps. With quotas, sweeps read all uploads: four requests for each.
//! - **A listing** reads every record: four requests for each upload, 16 at a time.
//! - **`persist_new`** of a file above 8 MiB (or a segment) takes the name with an empty object
//!   before it writes the parts. If it fails, the empty object stays until the next try, or until
//!   the file is persisted elsewhere.
//! - **A key belongs to one upload**: put the id into its name. Deletions have no condition, and
//!   neither have writes, except for `persist_new` of a small file. A request may arrive late, from
//!   a node that was stalled, and then writes the same bytes again, over what you changed there,
//!   and even if you have deleted the file. So write a changed file under another name.
//! - **Persist an upload to one key.** A file never returns to a key that it was moved away from. A
//!   handler that persists to a first key and then to a second is refused for good when it runs
//!   again after both. If the deletion at the first key fails, that file stays there.
//! - **A key** may have about 500 characters; characters other than ASCII letters and digits count
//!   three times or more. The object has no content type, and `upload` in its metadata says which
//!   upload it belongs to.
//! - **Free space** is unknown: [`min_free_bytes`](crate::UploadsBuilder::min_free_bytes) refuses
//!   everything.
//! - **Clocks** of the nodes may differ by minutes. They decide when an upload expires and when a
//!   tombstone is deleted, but never who may write. If a machine was suspended for longer than half
//!   the grace, its clock must be right again before it continues, because that is how it knows
//!   that its cache is stale.
//!
//! # What if a node dies at the wrong moment?
//!
//! No upload loses anything. What the node leaves behind (a piece that no commit names) is deleted
//! by the sweep together with its upload. If a request is delayed for hours, no node knows of what
//! it writes then, so let the bucket delete old objects as a safety net. On S3, if an upload lives
//! for a week at most, you need six rules: the one below for `log/`, and the same for `rec/`,
//! `piece/`, `due/`, `busy/` and `check/`. `settings` stays:
//!
//! ```json
//! {
//!   "Rules": [{
//!     "ID": "old commits",
//!     "Filter": { "Prefix": "chunked_uploads/log/" },
//!     "Status": "Enabled",
//!     "Expiration": { "Days": 8 }
//!   }]
//! }
//! ```
//!
//! The prefix that files are persisted to gets no `Expiration`, but
//! `"AbortIncompleteMultipartUpload": { "DaysAfterInitiation": 1 }`, for what is left there of a
//! large file. A rule must never be shorter than the life of an upload, with all that
//! [`Expiry::AfterLastChunk`](crate::Expiry) and
//! [`set_expires`](crate::OperatorUploads::set_expires) add to it; leave the rules out if uploads
//! never expire. If the bucket keeps versions, deleted ones need a rule too.
//!
//! # Can I try it here?
//!
//! `cargo run -p servers --example cluster`, in the repository, starts three nodes and a balancer
//! that sends each request to the next node. It says what to set. For an in-memory S3, use
//! `moto_server`, from PyPI's `moto[s3]` with `flask` and `flask-cors`.
