//! Uploads in an object store that many nodes share: S3 and compatible stores, Azure Blob Storage,
//! Google Cloud Storage.
//!
//! Behind a load balancer, the chunks of one upload reach different nodes. With a [`BucketStore`],
//! that works without a lock server, a database or exact clocks.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use object_store::memory::InMemory;
//! use tower_chunked_upload::Uploads;
//! use tower_chunked_upload::store::BucketStore;
//!
//! // On S3: `AmazonS3Builder::from_env().with_bucket_name("files").build()?`
//! let objects = Arc::new(InMemory::new());
//! let store = BucketStore::builder(objects).prefix("chunked_uploads").connect().await?;
//! let uploads = Uploads::builder(store).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! Each commit is a new object whose name is the number of the commit, and it is created only if no
//! object has that name (`If-None-Match: *`). The node that creates it has made the commit. Any
//! other node learns that it exists, continues from there and refuses its client with the right
//! offset. No commit is ever overwritten, so nothing can expire at the wrong moment: there is no
//! lease between nodes to wait for. The metadata of an object describes its content, so one `HEAD`
//! returns the whole state.
//!
//! - **A chunk costs** one `PUT`, and the `HEAD`s that find the current offset: one on the node
//!   that had the previous chunk, a few in parallel on another. The first chunk takes two more
//!   small `PUT`s, a completion takes two.
//! - **A chunk larger than a segment** (8 MiB by default) becomes pieces under names of their own,
//!   and its commit lists them. So memory is bounded, whatever the client sends.
//! - **A lost response** does no harm: each commit carries a nonce. A node that learns that its
//!   object exists compares the nonce to find out whether the object is its own.
//! - **A removed upload** gets a tombstone as its last commit. The sweep deletes its objects after
//!   the grace (1 hour by default), when no request that began before can still be under way.
//! - **An upload that is being completed** belongs to its node until that node has got the response
//!   of the application, or has written no heartbeat for 15 seconds (by default).
//!
//! # What it needs of the store
//!
//! The store must create objects under an atomic condition, keep metadata, serve ranges, list, and
//! read what was just written. [`connect`](BucketStoreBuilder::connect) tests all of this and
//! refuses a store that ignores the condition or lets two writers win. A listing may be stale: it
//! is only a hint here. The clocks of the nodes may differ by minutes, as long as that is short
//! compared with the grace.

mod appender;
mod builder;
mod check;
mod clock;
mod collector;
#[cfg(test)]
mod double;
mod entry;
mod heartbeat;
mod index;
mod keys;
mod log;
mod mover;
mod node;
mod objects;
mod pool;
mod reader;
mod snapshot;
mod store;
mod targets;
mod tasks;
#[cfg(test)]
mod tests;
mod writer;

pub use self::builder::BucketStoreBuilder;
#[cfg(test)]
pub(crate) use self::clock::Mutation;
pub use self::store::BucketStore;
pub use self::writer::BucketWriter;
