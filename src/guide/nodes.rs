//! Share uploads between several machines, with nothing but a bucket of an object store.
//!
//! # What do I need?
//!
//! Feature `object-store`, and a bucket: on S3, on any S3-compatible store with conditional writes,
//! on Azure Blob Storage, or on Google Cloud Storage. You need neither a lock server nor a
//! database. Put any load balancer in front. Whichever node gets a chunk continues where the
//! previous one stopped.
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
//! [Stores](super::nodes_stores) shows how to name a bucket in each cloud, and which stores work.
//! [Costs](super::nodes_costs) has the requests, the memory and the best size of a chunk.
//! [Differences](super::nodes_differences) lists what works differently from files on a disk.
//!
//! # What must be the same on all nodes?
//!
//! All nodes need the same bucket, the same prefix, the same [place for persisted
//! files](crate::store::BucketStoreBuilder::persist_to), the same
//! [grace](crate::store::BucketStoreBuilder::grace) and the same [completion
//! lease](crate::store::BucketStoreBuilder::completion_lease). The first node writes the last two
//! to `PREFIX/settings`, and every other node has to match them. To change them, stop all nodes and
//! delete that object. Everything else may differ while you roll out a new configuration.
//!
//! # Should the load balancer keep a client on one node?
//!
//! It does not have to. If it does (by a cookie, or by the hash of an address), a chunk costs one
//! `HEAD` instead of as many as there are nodes taking turns. Also, a chunk whose connection died
//! then gives way at once to the client's next try. Between nodes, there is nothing to take over:
//! the first to commit wins, and the other gets the right offset. Nothing waits for a lease.
//!
//! # What happens if a node dies?
//!
//! No acknowledged byte is lost. What the node leaves behind (a piece that no commit names) is
//! deleted by the sweep together with its upload. [A lifecycle
//! rule](super::nodes_stores#which-lifecycle-rules-do-i-need) removes what a request writes that is
//! delayed for hours.
//!
//! If a node dies in the middle of a completion, other nodes answer `Upload is being completed`
//! until the node that is asked has seen no heartbeat for [15
//! seconds](crate::store::BucketStoreBuilder::completion_lease) since it was first asked. (No clock
//! is compared with another node's.) Then the upload can be completed again.
//!
//! # Can two nodes hand over the same file?
//!
//! Not at the same time, because a completion is a commit too. But if a node was only stalled for
//! longer than the completion lease, and continues, it finds that it has lost the upload, and by
//! then the application has been given the file twice. So let the handler take a file under a name
//! that is derived from its id, as above. The second time then changes nothing.
//!
//! To persist a file, the node reads it and writes it again. So let the load balancer wait for as
//! long as that takes for your largest file (on an ALB, `idle_timeout`). If it gives up, the copy
//! continues, and the client's next completion finds it.
//!
//! # Can I try it locally?
//!
//! The repository has an example with three nodes, and a balancer that sends each request to the next
//! node. Here it runs on an in-memory S3:
//!
//! ```sh
//! python3 -m venv target/moto && target/moto/bin/pip install "moto[s3]" flask flask-cors
//! target/moto/bin/moto_server -p 5000 &
//! export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1
//! export AWS_ENDPOINT_URL=http://127.0.0.1:5000 BUCKET=s3://uploads
//! curl --retry 9 --retry-connrefused -X PUT $AWS_ENDPOINT_URL/uploads   # creates the bucket
//! cargo run -p servers --example cluster       # then drop a file at http://127.0.0.1:3000
//! ```
//!
//! For Ceph and other S3-compatible stores, set `AWS_ENDPOINT_URL` to their address; the example takes
//! several, separated by commas, and gives one to each node. On S3 itself, leave it out. For Azure, set
//! `BUCKET=az://container`, `AZURE_STORAGE_ACCOUNT_NAME` and `AZURE_STORAGE_ACCOUNT_KEY`; for Google
//! Cloud Storage, `BUCKET=gs://bucket` and `GOOGLE_APPLICATION_CREDENTIALS`.
