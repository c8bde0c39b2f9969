//! How long an unfinished upload waits, and who removes it.
//!
//! # When does an upload expire?
//!
//! A day after it began, unless [`expires_after`](crate::UploadsBuilder::expires_after) says
//! another time, or [`expiry`](crate::UploadsBuilder::expiry) another rule: after the last chunk,
//! or never. For one upload, [`set_expires`](crate::OperatorUploads::set_expires) does. Every
//! answer to a chunk says when, as `expires`.
//!
//! # What happens then?
//!
//! From that moment on it takes no byte and cannot be completed: clients are told 410. Its bytes
//! stay until a sweep.
//!
//! # Who sweeps?
//!
//! Nobody by himself. Start [`Uploads::sweep_every`](crate::Uploads::sweep_every) once, in one
//! process of those that share a folder (with [quotas](super::limits) in each); it takes at most a
//! quarter of a core. In [a bucket](super::nodes) it reads only what is due. Or call [`Uploads::delete_expired`](crate::Uploads::delete_expired) from a
//! job; the example `expired` of the repository is a command that does, and asks before.
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
//! let nobodys = uploads.for_owner(None);
//! let id = nobodys.create(NewUpload::new().total(10)).await?.commit().await?.id;
//! // An hour later:
//! # *time.lock().unwrap() += HOUR;
//! let late = nobodys.append(&id, 0, AppendMode::AllOrNothing).await.unwrap_err();
//! assert_eq!(*late.kind(), ErrorKind::Expired);
//! assert_eq!(uploads.delete_expired().await?.incomplete, 1);
//! # let later = nobodys.append(&id, 0, AppendMode::AllOrNothing).await.unwrap_err();
//! # assert_eq!(*later.kind(), ErrorKind::Expired);
//! # Ok(())
//! # }
//! ```
//!
//! # Can a sweep remove a file that I have taken?
//!
//! Not if it was [persisted](super::files): then only the record goes. A finished file that the
//! handler left where it was goes with it.
//!
//! # What about uploads that cannot be read?
//!
//! One whose record, or the length of whose file, is wrong is gone for its client, who is told so with a 410.
//! A [`list`](crate::OperatorUploads::list) names one with a wrong record in an error
//! ([`Error::damaged_upload`](crate::Error::damaged_upload)), and with feature `tracing` the log says what is
//! wrong with it. A sweep removes it when its time has come by its record as it was before, or else by when
//! that was written last and how long a new upload lives;
//! [`remove_damaged`](crate::OperatorUploads::remove_damaged) does so at once.
//!
//! # Who is told?
//!
//! An [`Observer`](crate::Observer), of every upload that begins, grows, is completed, cancelled, discarded or
//! expires, whoever caused it; it also gets the extensions of the request, if there was one. Of a damaged upload it is told only when a sweep removes it and its record can still be
//! read.
