//! Set how long an unfinished upload is kept, and remove what has expired.
//!
//! Here an upload expires an hour after its last chunk, and a sweep each minute removes it:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use std::sync::{Arc, Mutex};
//! # use std::time::SystemTime;
//! use std::time::Duration;
//! use tower_chunked_upload::store::MemoryStore;
//! use tower_chunked_upload::{AppendMode, ErrorKind, Expiry, NewUpload, Uploads};
//!
//! # let time = Arc::new(Mutex::new(SystemTime::now()));
//! # let clock = { let time = Arc::clone(&time); move || *time.lock().unwrap() };
//! const HOUR: Duration = Duration::from_secs(3600);
//! let uploads = Uploads::builder(MemoryStore::new())
//!     .expiry(Expiry::AfterLastChunk(HOUR))
//! #     .clock(clock)
//!     .build()?;
//! let sweeper = uploads.sweep_every(Duration::from_secs(60));
//! # sweeper.stop().await;
//!
//! let anonymous = uploads.for_owner(None);
//! let id = anonymous.create(NewUpload::new().total(10)).await?.commit().await?.id;
//! // An hour later:
//! # *time.lock().unwrap() += HOUR;
//! let late = anonymous.append(&id, 0, AppendMode::AllOrNothing).await.unwrap_err();
//! assert_eq!(*late.kind(), ErrorKind::Expired);
//! assert_eq!(uploads.delete_expired().await?.incomplete, 1);
//! # let later = anonymous.append(&id, 0, AppendMode::AllOrNothing).await.unwrap_err();
//! # assert_eq!(*later.kind(), ErrorKind::Expired);
//! # Ok(())
//! # }
//! ```
//!
//! # When does an upload expire?
//!
//! A day after it began, by default, even if it is still receiving chunks. Set another time with
//! [`expires_after`](crate::UploadsBuilder::expires_after), or another rule with
//! [`expiry`](crate::UploadsBuilder::expiry): after the last chunk, which suits large files and slow
//! clients, or never.
//! [`set_expires`](crate::OperatorUploads::set_expires) changes it for one upload. Every response
//! to a chunk says when the upload expires, in `expires`, and with [tus](super::tus) in
//! `Upload-Expires`.
//!
//! # What happens to an expired upload?
//!
//! It takes no more bytes and cannot be completed: clients get a 410. Its bytes stay until a sweep
//! removes them.
//!
//! # How do I start sweeping?
//!
//! Call [`Uploads::sweep_every`](crate::Uploads::sweep_every) once, in one of the processes that
//! share a folder (with [quotas](super::limits), in each of them). Without it, nothing sweeps. A
//! sweep uses at most a quarter of a core. In [a bucket](super::nodes_differences), it reads only
//! what is due. Or call [`Uploads::delete_expired`](crate::Uploads::delete_expired) from a job. The
//! example `expired` of the repository is a command that does so, after asking for confirmation.
//!
//! # Can a sweep remove a file that I have taken?
//!
//! Not if you have [persisted](super::files) it: then the sweep removes only the record. If the
//! handler left a finished file where it was, the sweep removes it with the record.
//!
//! # What about damaged uploads?
//!
//! If an upload's record is invalid, or its file has the wrong length, the upload is gone for its
//! client, which gets a 410, or a 404 if the record does not tell the owner any more.
//! [`list`](crate::OperatorUploads::list) returns an upload with an invalid record as an error that
//! names it ([`Error::damaged_upload`](crate::Error::damaged_upload)). With feature `tracing`, the
//! log says what is wrong. A sweep removes the upload once it has expired, by its last readable
//! record. If no record can be read, it adds the lifetime of a new upload to the time at which the
//! record was last written. [`remove_damaged`](crate::OperatorUploads::remove_damaged) removes the
//! upload at once.
//!
//! # How do I get notified?
//!
//! An [`Observer`](crate::Observer) is notified of every upload that begins, grows, is completed,
//! cancelled or discarded, or expires, whatever caused it. If a request caused it, the observer
//! also gets the request's extensions. For a damaged upload, it is notified only when a sweep
//! removes the upload and the record can still be read.
