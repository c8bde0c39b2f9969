//! How several machines share the uploads.
//!
//! # What do I need?
//!
//! Feature `object-store`, and a bucket: on S3 or anything that speaks it with conditional writes,
//! Azure Blob Storage, or Google Cloud Storage. Nothing else runs: no lock server, no database. Put any balancer in
//! front; whichever node a chunk comes to, it goes on where the one before stopped.
//!
//! The bucket is reached through the crate [`object_store`], whose types you build and hand over. Its
//! features say which clouds; this crate adds none:
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
//!     // Tries what it rests on, and refuses a store on which two nodes would write over each other.
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
//! # let app = Router::new().route(client::COMPLETE, post(done)).layer(ChunkedUploadLayer::new(uploads));
//! # let (status, target) = client::upload(&app, "a.txt", "Hello").await;
//! # assert_eq!(status, StatusCode::OK);
//! # let kept = bucket.get(&target.as_str().unwrap().into()).await?.bytes().await?;
//! # assert_eq!(kept, "Hello");
//! # Ok(())
//! # }
//! ```
//!
//! A handler that reads with [`open`](crate::CompletedUpload::open) needs no change. [`path`](crate::CompletedUpload::path)
//! is `None`: there is no local file.
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
//! // S3, with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION from the environment, or the role of the machine.
//! let s3 = AmazonS3Builder::from_env().with_bucket_name("uploads").with_region("eu-central-1");
//! let s3: Arc<dyn ObjectStore> = Arc::new(s3.build()?);
//!
//! // Ceph, MinIO and others: an address of their own, and the bucket's name in the path.
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
//! let azure = MicrosoftAzureBuilder::from_env().with_account("files").with_container_name("uploads");
//! # let azure = azure.with_access_key("a2V5");
//! let azure: Arc<dyn ObjectStore> = Arc::new(azure.build()?);
//!
//! // Google, with GOOGLE_SERVICE_ACCOUNT, or the account of the machine.
//! let google = GoogleCloudStorageBuilder::from_env().with_bucket_name("uploads");
//! # let google = google.with_skip_signature(true);
//! let google: Arc<dyn ObjectStore> = Arc::new(google.build()?);
//! # drop((s3, ceph, azure, google));
//! # Ok(())
//! # }
//! ```
//!
//! Each node needs to read, write, list and delete below the prefix, and where it persists to: on S3
//! `s3:GetObject`, `s3:PutObject`, `s3:DeleteObject`, `s3:AbortMultipartUpload`, and `s3:ListBucket`, without which S3
//! does not say that an object is missing. [`persist_to`](crate::store::BucketStoreBuilder::persist_to) another bucket
//! takes the same rights there, also below the prefix, where `connect` tries it.
//!
//! Ceph: give `rgw frontends` the option `tcp_nodelay=1`, or each `GET` takes 44 ms.
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
//! | OpenStack Swift's S3 | has no condition, and says so |
//! | s3s-fs 0.14 | has one that is not atomic, which a race shows in most cases |
//!
//! [`connect`](crate::store::BucketStoreBuilder::connect) tries it, and says why it refuses. What it cannot see:
//! where a bucket is replicated between sites, the condition holds within a site, so let all nodes use
//! the same one. S3 Express does not list in order, and is refused if that shows.
//!
//! # What must all nodes have alike?
//!
//! The bucket and the prefix; where files are [persisted to](crate::store::BucketStoreBuilder::persist_to); the [grace](crate::store::BucketStoreBuilder::grace) and the
//! [completion lease](crate::store::BucketStoreBuilder::completion_lease), which the first node writes to
//! `PREFIX/settings` and every other is held to. To change these, stop all nodes and delete that object. Everything
//! else may differ while a new configuration is rolled out.
//!
//! # What does it cost?
//!
//! A chunk costs one `PUT`, and `HEAD`s to learn where the upload stands: one on the node that had the
//! chunk before; on another one as many, at the same time, as nodes take turns. What else it costs:
//!
//! | | requests |
//! |---|---|
//! | the first chunk | two small `PUT`s more, for the record and the expiry index |
//! | the first chunk that a node sees of an upload, or one of an upload that it does not [remember](crate::store::BucketStoreBuilder::remembered_uploads) | a `GET`, a `LIST` and a `HEAD` more |
//! | a chunk larger than a segment (8 MiB) | a `PUT` for each segment, and one for the list of them |
//! | a completion | two `PUT`s; with [`read_back`](crate::UploadsBuilder::read_back) as many requests on top as reading the file takes |
//! | to read | a `GET` for each chunk, and one for each segment of a chunk larger than that; of a persisted file a `HEAD`, and a `GET` for each 8 MiB |
//! | to persist | as much as to read; four `PUT`s (of a file above 8 MiB one for each 8 MiB, and five or six), and one or two `HEAD`s |
//! | a status | one `HEAD` or a few, twice |
//! | the end of an upload | two small `PUT`s, three `LIST`s, a few `HEAD`s; `DELETE` costs nothing |
//!
//! On S3 in us-east-1 ($0.005 for 1,000 `PUT`s or `LIST`s, $0.0004 for 1,000 `GET`s or `HEAD`s) 1 TiB, in files
//! of less than 80 GiB, costs:
//!
//! | chunk | the same node | three nodes in turn | to persist |
//! |---|---|---|---|
//! | 1 MiB | $5.66 | $6.50 | $1.07 |
//! | 5 MiB | $1.13 | $1.30 | $0.74 |
//! | **8 MiB** | **$0.71** | **$0.81** | $0.71 |
//! | 32 MiB in segments of 8 MiB | $0.83 | $0.86 | $0.72 |
//! | 32 MiB in segments of 32 MiB | $0.18 | $0.20 | $0.18 |
//!
//! A TiB that waits for a day costs $0.79, so a short [expiry](super::expiry) saves as much as large chunks do.
//!
//! # How large should a chunk be?
//!
//! 8 MiB, or up to 32 MiB with [`segment_bytes`](crate::store::BucketStoreBuilder::segment_bytes) as large and
//! the memory for it. Small chunks cost requests and round trips.
//!
//! Each chunk is an object, and an upload has at most 100,000
//! ([`max_commits`](crate::store::BucketStoreBuilder::max_commits)), so that a client that sends a byte at a time
//! cannot have you pay for ever: in chunks of 8 MiB a file of 781 GiB, of 1 MiB one of 97 GiB. For larger files
//! let clients send larger chunks, or raise it. One more is answered with 507.
//!
//! Have memory for as many chunks as come at once: 200 uploads that share 256 MiB are written in pieces of
//! 1.3 MiB, which cost more requests. An [`append`](crate::AppendMode::KeepWhatCame) of your own that keeps what
//! came commits each batch, so set [`batch_bytes`](crate::UploadsBuilder::batch_bytes) to a segment there. And a form
//! whose `upload_id` comes behind its file costs a small `PUT` more, and is written twice if it is larger than a
//! segment.
//!
//! # How fast is it?
//!
//! A chunk waits for one round trip before its bytes are read, and for its `PUT` before it is answered. The
//! rest is the store's own time: see the figures beside a bare `PUT` in `benches/README.md` of the repository. On S3
//! expect 20 to 60 ms for a small chunk and 80 to 250 ms for 8 MiB, as others report; it was not measured there.
//!
//! # And with a million uploads?
//!
//! Simulated with the code of this crate on four nodes, 1,000,000 pending uploads and 10,000 chunks a second (of
//! virtual time, one small commit each):
//!
//! | | requests |
//! |---|---|
//! | a new upload | 3.00 `PUT` |
//! | a chunk on the node of the one before, if it remembers the upload | 1.00 `PUT`, 1.00 `HEAD` |
//! | a chunk on one of four nodes after the other, if they do | 1.00 `PUT`, 4.00 `HEAD` |
//! | a chunk on a node that does not remember the upload, as with more active ones than [4,096](crate::store::BucketStoreBuilder::remembered_uploads) | 1.00 `PUT`, 1.00 `GET`, 2.00 `HEAD`, 1.00 `LIST` |
//! | a sweep that finds nothing due among all of them | 513 `LIST` |
//! | an upload that expires | 2.00 `PUT`, 1.00 `GET`, 3.00 `HEAD`, 1.00 `LIST`, 1 `DELETE` |
//! | an upload that is deleted after the grace | 1.00 `GET`, 2.00 `HEAD`, 2.00 `LIST`, 5.68 `DELETE` |
//! | the busiest of the 256 prefixes, over 20 seconds | 1.10 times the mean |
//! | the same in each second, when 39 chunks with random ids fall on a prefix | 1.46 times on average, 1.56 at worst |
//! | the same with 2,500 active uploads, whose ids fall on the prefixes as they do | 1.95 times the mean |
//! | memory of the four nodes, with their clients | 77 MiB at most |
//!
//! # Should the balancer keep a client on one node?
//!
//! It need not. If it does (by a cookie, or by the hash of an address), a chunk costs one `HEAD` instead of
//! as many as nodes take turns, and a chunk whose connection died makes way at once for the client's next try. On another node
//! there is nobody to make way: whichever commits first wins, and the other is told the right
//! offset. Nothing waits for a lease.
//!
//! # And completions?
//!
//! Two nodes do not hand over the same file: a completion is a commit too. If the node dies in the middle
//! of it, others are told `Upload is being completed` until the node that they ask has seen no sign of life for
//! [15 seconds](crate::store::BucketStoreBuilder::completion_lease) since it was first asked, for no clock is
//! compared with another's; then the upload can be completed again.
//! A node that stood still for so long, and goes on, finds that the upload is another's, but the file was
//! given to the application twice: let its handler take a file under a name that its id decides, as above, so
//! that the second time changes nothing.
//!
//! To persist, the node reads the file and writes it again. So let the balancer wait for as long as that takes for your
//! largest file (for an ALB `idle_timeout`). If it gives up, the copy goes on, and the client's next completion
//! finds it.
//!
//! # How much memory does it take?
//!
//! Each upload gathers up to one segment, all on a node together up to
//! [256 MiB](crate::store::BucketStoreBuilder::max_buffered_bytes). Beyond that the fullest buffers are written
//! early, as pieces. A chunk of 1 GiB takes no more than that.
//!
//! Persisting a file takes three parts of it, each as large as a segment and at least 5 MiB (of a file above
//! 80 GiB, a ten-thousandth of it). All that are persisted at once take as much together as the uploads may, the
//! same number of bytes again; who finds no room waits.
//!
//! # What else is different from files?
//!
//! - **Sweeping** goes by an index and not through all uploads: it costs one or two `LIST`s as long as fewer than a
//!   thousand wait, and 513 with a million. Run [`sweep_every`](crate::Uploads::sweep_every) on one node (with quotas
//!   on each), every ten minutes or more; two at once are harmless, and cost requests twice. What is cancelled, discarded or swept is deleted by the first sweep after
//!   [an hour of grace](crate::store::BucketStoreBuilder::grace).
//! - **[Quotas](super::limits)** are counted by each node, which learns of the others' uploads at its
//!   sweeps, and with quotas these go through all uploads: four requests for each.
//! - **A listing** reads every record: four requests for each upload, 16 at a time.
//! - **`persist_new`** of a file above 8 MiB (or a segment) takes the name with an empty object before its parts are
//!   written. If it fails, the empty object stays until the next try, or until the file is persisted elsewhere.
//! - **A key is one upload's**: put the id into its name. No deletion has a condition, and no write but `persist_new` of a
//!   small file. One that was sent may come late, from a node that stood still, and then writes the same bytes
//!   again, over what you changed there, and also where you have deleted the file. So change a file under another name.
//! - **Persist an upload to one key.** A file never goes back to a key that it was moved away from: a handler that
//!   persists to a first key and then to a second is refused when it is run again after both, for good. And if the
//!   deletion at the first key fails, that file stays there.
//! - **A key** may have some 500 characters; others than ASCII letters and digits count three times or more. The object
//!   has no content type, and `upload` among its metadata says whose it is.
//! - **Free room** cannot be asked: [`min_free_bytes`](crate::UploadsBuilder::min_free_bytes) refuses all.
//! - **Clocks** of the nodes may differ by minutes. They decide when an upload expires, and when what is gone
//!   is deleted; never who may write. Of a machine that was suspended for longer than half the grace the clock must be right
//!   again before it goes on: by that it knows that what it knew is old.
//!
//! # What if a node dies at the wrong moment?
//!
//! Nothing of an upload is lost. What it leaves behind (a piece that no commit names) the sweep deletes with
//! its upload. What a request that was lost for hours writes after that, nobody knows of: let the bucket
//! delete what is old, as the last net. On S3, where an upload lives for a week at most, with six rules, for `log/`
//! as here, and the same for `rec/`, `piece/`, `due/`, `busy/` and `check/`; `settings` stays:
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
//! `"AbortIncompleteMultipartUpload": { "DaysAfterInitiation": 1 }`: what is left there of a large file. Never let a rule be shorter than an upload may live, with all that
//! [`Expiry::AfterLastChunk`](crate::Expiry) and [`set_expires`](crate::OperatorUploads::set_expires) add to it, and leave it out
//! where one never expires. Where the bucket keeps versions, deleted ones need a rule too.
//!
//! # Can I try it here?
//!
//! `cargo run -p servers --example cluster`, in the repository, starts three nodes and a balancer that hands each
//! request to the next one. It says what to set; an S3 in memory is `moto_server`, from PyPI's `moto[s3]` with `flask` and `flask-cors`.
//!
