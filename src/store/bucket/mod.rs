//! Uploads in an object store that many nodes share: S3 and what speaks it, Azure Blob Storage, Google
//! Cloud Storage.
//!
//! Behind a balancer the chunks of one upload come to different nodes. With a [`BucketStore`] that just
//! works, with nothing else to run: no lock server, no database, no clock that must be exact.
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
//! Each commit is a new object whose name is the number of the commit, and it is created only if there
//! is none of that name (`If-None-Match: *`). Whoever creates it has made the commit; everybody else is
//! told that it exists, reads on from there and refuses his client with the right offset. Nothing that
//! counts is ever written over, so nothing can expire at the wrong moment: across nodes there is no
//! lease to wait for. What an object holds is in its metadata, so one `HEAD` gives the whole state.
//!
//! - **A chunk costs** one `PUT`, and `HEAD`s to learn where the upload stands: one on the node that had
//!   the chunk before, a few in parallel on another. The first chunk has two small `PUT`s more, a completion two.
//! - **A chunk larger than a segment** (8 MiB unless set) becomes pieces under names of their own, and its commit
//!   the list of them. So memory is bounded, whatever the client sends.
//! - **A lost answer** is no loss: each commit carries a nonce, and who is told that his object exists looks
//!   whether it is his.
//! - **A removed upload** gets a last commit that says so. Its objects are deleted by the sweep
//!   after a time of grace (1 hour unless set), when no request that began before can still be under way.
//! - **An upload that is being completed** is another node's until that node has answered, or has given no sign of
//!   life for 15 seconds (unless set).
//!
//! # What it needs of the store
//!
//! Creating under a condition that is atomic, metadata, ranges, listing, and reading what was written.
//! [`connect`](BucketStoreBuilder::connect) tries all of it and refuses a store that ignores the condition
//! or lets two writers win. Listing may be late: it is a hint here, never the truth. Clocks of the nodes may differ by
//! minutes, as long as that is little compared with the grace.

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
