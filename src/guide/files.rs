//! Take a finished file, move it where it belongs, and know what survives a crash.
//!
//! # How do I take a finished file?
//!
//! Call [`CompletedUpload::persist`](crate::CompletedUpload::persist) in your handler. It moves the
//! file atomically. From then on, nothing in this crate removes the file.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! # use axum::{Router, routing::post};
//! # use tower_chunked_upload::{ChunkedUploadLayer, Uploads, store::FsStore};
//! use std::path::Path;
//! use std::sync::Arc;
//!
//! use axum::extract::State;
//! use axum::http::StatusCode;
//! use tower_chunked_upload::{CompletedUpload, ErrorKind};
//!
//! type Media = Arc<Path>;
//!
//! async fn done(State(media): State<Media>, upload: CompletedUpload) -> Result<String, StatusCode> {
//!     // The id keeps files of the same name apart, and gives the same target each time.
//!     let target = media.join(format!("{}-{}", upload.id(), upload.filename()));
//!     upload.persist(target).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
//!     Ok(format!("{:?}", upload.filename()))
//! }
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let media: Media = folder.path().join("media").into();
//! # let uploads = Uploads::builder(FsStore::new(folder.path().join("up/%Y"))).build()?;
//! # let layer = ChunkedUploadLayer::new(uploads.clone());
//! # let routes = Router::new().route(client::COMPLETE, post(done)).with_state(media.clone());
//! # let app = routes.layer(layer);
//! # let (status, name) = client::upload(&app, "../../a.txt", "Hello").await;
//! # assert_eq!((status, name.as_str()), (StatusCode::OK, Some("a.txt")));
//! # let mut kept = std::fs::read_dir(&media)?;
//! # let kept = kept.next().unwrap()?.path();
//! # assert_eq!(std::fs::read(&kept)?, b"Hello");
//! # // To a file that is there already.
//! # let again = uploads.for_owner(None).create(Default::default()).await?.commit().await?.id;
//! # let again = uploads.for_operator().complete(&again, None).await?;
//! # let refused = again.file().persist_new(&kept).await.unwrap_err();
//! # assert_eq!(*refused.kind(), ErrorKind::AlreadyExists);
//! # Ok(())
//! # }
//! ```
//!
//! [`filename`](crate::CompletedUpload::filename) is safe as the last part of a path.
//! [`raw_filename`](crate::CompletedUpload::raw_filename) is what the client sent, and never is.
//! [`persist_new`](crate::CompletedUpload::persist_new) never replaces a file.
//!
//! # Where are the bytes while they arrive?
//!
//! In the folder of [`FsStore`](crate::store::FsStore): each upload has a file of bytes, at the
//! place that the pattern gives, and a record below `.records`. [The store's own
//! page](crate::store::fs) shows the layout. No client can choose a path in it. With [a
//! bucket](super::nodes), the bytes are in objects below its prefix.
//!
//! The pattern may change between restarts, as long as the part before its first `%` stays the
//! same.
//!
//! # Does persisting copy the file?
//!
//! Within one filesystem it is a rename, which takes no time, except for a file that tus [joined from
//! parts](super::tus_parts): it is written once more, without a copy where the filesystem can share
//! blocks. To another filesystem it is a copy, a
//! sync and a rename, and the client waits for it. So put the store's folder and the final place of
//! the files on one filesystem. In a bucket it is always a copy.
//!
//! # How do I send the file elsewhere, such as to an object store?
//!
//! With the uploads [in a bucket](super::nodes), `persist` does it. From a folder, read the file
//! with [`CompletedUpload::open`](crate::CompletedUpload::open), and respond when the copy is
//! complete. A file that you do not persist stays until the upload [expires](super::expiry), until
//! its client deletes it (in tus and the IETF draft), or until you
//! [discard](crate::CompletedUpload::discard) it. That removes its record too, and a
//! client whose response was lost sends the file again. If the copy takes long, [a
//! proxy](super::proxy) in front must wait for it. [`path`](crate::CompletedUpload::path) is for
//! programs that need a path: read the file there, but do not keep the path.
//!
//! # Can my handler be called twice for one upload?
//!
//! Yes, though not at the same time, unless a node of [a
//! bucket](super::nodes#can-two-nodes-hand-over-the-same-file) was stalled. It is not called again
//! once its response of 2xx or 3xx, which says that it has taken the file, is recorded. After any
//! other response, or if the process ended or the store failed before that, the upload can be
//! completed again, unless it was [discarded](crate::CompletedUpload::discard). So make your
//! handler idempotent: the upload's id is a good key, and you can repeat `persist` to the same
//! target. Give each upload one target, because [in a
//! bucket](super::nodes_differences#to-which-key-may-i-persist-a-file) a file does not go back to a
//! place that it was moved away from.
//!
//! # What if the disk returns different bytes than were written?
//!
//! The checksum covers the bytes as they arrived. By default, the layer compares the bytes on the
//! disk with it only after a power cut. With [`read_back`](crate::UploadsBuilder::read_back) it
//! does so at each completion, which then takes the time to read the file. It refuses a file that
//! differs, with a 410. The record of such a file is intact, so it is listed like any other upload,
//! and it stays until it is cancelled or expires.
//!
//! # What survives a crash?
//!
//! | | the end of the process, `kill -9` | a power cut |
//! |---|---|---|
//! | [`Durability::Process`](crate::store::Durability::Process), the default | all acknowledged bytes | perhaps not the last half minute; a file that is not whole is refused (on Linux) |
//! | [`Durability::Sync`](crate::store::Durability::Sync) | all acknowledged bytes | all acknowledged bytes |
//! | [a bucket](super::nodes) | all acknowledged bytes | what the object store keeps of what it has confirmed |
//!
//! # Can it be faster?
//!
//! On a fast local disk, yes, with [`FileCalls::InPlace`](crate::store::FileCalls::InPlace):
//!
//! ```
//! use tower_chunked_upload::store::{FileCalls, FsStore};
//!
//! let store = FsStore::new("chunked_uploads/%Y/%m/%d").file_calls(FileCalls::InPlace);
//! ```
//!
//! By default, no worker of the runtime makes calls on files. A disk that hangs, or that is busy
//! for seconds, then blocks nothing but the uploads on it, but each call costs a change of threads.
//! In place, a small chunk costs none, but a disk that hangs can block half of the workers, as it
//! can with nginx.
//!
//! MD5 is what limits the speed of one upload, so the feature `fast-md5` helps more.
//!
//! # Can several servers share a folder?
//!
//! Several processes on one machine can, on a local filesystem, but [not on
//! Windows](super::frameworks#which-operating-systems-does-it-run-on). Several machines cannot: let
//! them share [a bucket](super::nodes), or let a load balancer send all requests of one upload to
//! the same machine.
//!
//! # Who can read the files?
//!
//! Only the user of the server: files are created with mode 0600, folders with 0700, and a
//! persisted file still has 0600. If a web server of another user is to serve it, change the mode
//! in your handler, with `tokio::fs::set_permissions(&target, Permissions::from_mode(0o644))`.
