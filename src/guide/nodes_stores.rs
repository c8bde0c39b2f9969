//! Connect to S3, Ceph, MinIO, Azure or Google Cloud Storage, with the permissions and lifecycle
//! rules that uploads need.
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
//! # Which permissions does a node need?
//!
//! To read, write, list and delete below the prefix, and in the place that it persists to. On S3
//! these are `s3:GetObject`, `s3:PutObject`, `s3:DeleteObject`, `s3:AbortMultipartUpload`, and
//! `s3:ListBucket`, without which S3 does not say that an object is missing. If you
//! [`persist_to`](crate::store::BucketStoreBuilder::persist_to) another bucket, nodes need the same
//! permissions there, including below the prefix, where `connect` tests that bucket.
//!
//! On Ceph, add the option `tcp_nodelay=1` to `rgw frontends`. Without it, each `GET` takes 44 ms.
//!
//! # Which stores can be trusted?
//!
//! | store | how we know |
//! |---|---|
//! | Ceph 16 (one gateway, and two), `moto` 5.2, Azurite 3.35 | tested on every change |
//! | Amazon S3, Azure Blob Storage, MinIO, R2 and others that document `If-None-Match` | not tested; according to their documentation |
//! | Google Cloud Storage | not tested; according to its documentation |
//! | s3rver 3.7 | refused, tested on every change: it ignores the condition |
//! | Garage 2.5 | ignores the condition in the same way |
//! | OpenStack Swift's S3 | has no conditional writes, and says so |
//! | s3s-fs 0.14 | its conditional writes are not atomic, which `connect` notices in most cases |
//!
//! [`connect`](crate::store::BucketStoreBuilder::connect) tests the store, and says why it refuses
//! one. It cannot detect replication: where a bucket is replicated between sites, a conditional
//! write is atomic only within a site, so let all nodes use the same site. S3 Express does not list
//! in order, and is refused if the test notices that.
//!
//! # Which lifecycle rules do I need?
//!
//! A request that is delayed for hours may write an object that no node knows of. So let the bucket
//! delete old objects as a safety net. On S3, if an upload lives for a week at most, you need six
//! rules: the one below for `log/`, and the same for `rec/`, `piece/`, `due/`, `busy/` and
//! `check/`. `settings` must stay:
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
//! [`set_expires`](crate::OperatorUploads::set_expires) add to it. Leave the rules out if uploads
//! never expire. If the bucket keeps versions, deleted ones need a rule too.
