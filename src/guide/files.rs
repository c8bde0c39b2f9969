//! Where files wait, and how a finished one becomes yours.
//!
//! # Where are the bytes while they come?
//!
//! In the folder of [`FsStore`](crate::store::FsStore): each upload has a file of bytes, where the
//! pattern says, and a record below `.records`. [The store's own page](crate::store::fs) shows the
//! layout. No client can choose a path in it. Or in [a bucket](super::nodes), in objects below its prefix.
//!
//! The pattern may change between restarts, as long as the part before its first `%` stays.
//!
//! # How do I take a finished file?
//!
//! With [`CompletedUpload::persist`](crate::CompletedUpload::persist), in your handler. It moves
//! the file, whole or not at all, and from then on nothing here removes it.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/client.rs"));
//! # use axum::{Router, routing::post};
//! # use std::path::PathBuf;
//! # use std::sync::OnceLock;
//! # use tower_chunked_upload::{ChunkedUploadLayer, Uploads, store::FsStore};
//! use http::StatusCode;
//! use tower_chunked_upload::{CompletedUpload, ErrorKind};
//!
//! # static MEDIA: OnceLock<PathBuf> = OnceLock::new();
//! # fn media() -> &'static PathBuf { MEDIA.get().unwrap() }
//! async fn done(upload: CompletedUpload) -> Result<String, StatusCode> {
//!     // The id keeps two files of one name apart, and makes the same target each time.
//!     let target = media().join(format!("{}-{}", upload.id(), upload.filename()));
//!     upload.persist(target).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
//!     Ok(format!("{:?}", upload.filename()))
//! }
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # MEDIA.set(folder.path().join("media")).unwrap();
//! # let uploads = Uploads::builder(FsStore::new(folder.path().join("up/%Y"))).build()?;
//! # let layer = ChunkedUploadLayer::new(uploads.clone());
//! # let app = Router::new().route(client::COMPLETE, post(done)).layer(layer);
//! # let (status, name) = client::upload(&app, "../../a.txt", "Hello").await;
//! # assert_eq!((status, name.as_str()), (StatusCode::OK, Some("a.txt")));
//! # let mut kept = std::fs::read_dir(media())?;
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
//! [`filename`](crate::CompletedUpload::filename) is safe as the last part of a path;
//! [`raw_filename`](crate::CompletedUpload::raw_filename) is what the client said, and never is.
//! [`persist_new`](crate::CompletedUpload::persist_new) never replaces a file.
//!
//! # Does it copy?
//!
//! On the same filesystem it is a rename, which takes no time. To another one it is a copy, a sync
//! and a rename, and the client waits for it. So put the store's folder and the files' last place
//! on one filesystem. In a bucket it is always a copy.
//!
//! # And if the file goes elsewhere, such as to an object store?
//!
//! With the uploads [in a bucket](super::nodes), `persist` does it. From a folder, read the file with
//! [`CompletedUpload::open`](crate::CompletedUpload::open), and answer when it has arrived. What was not persisted stays until the upload [expires](super::expiry), or until you [discard](crate::CompletedUpload::discard) it. A long copy
//! needs [a proxy](super::proxy) that waits for so long. [`path`](crate::CompletedUpload::path) is
//! for programs that want a path: read it, and do not keep it.
//!
//! # Can my handler be called twice for one upload?
//!
//! Yes, though not at the same time, unless a node of [a bucket](super::nodes#and-completions) stood still.
//! It is not called again once its answer of 2xx or 3xx, which says that it has taken the file, was written
//! down. If it answered anything else, or the process ended or the store failed before that, the upload can
//! be completed again, unless it was [discarded](crate::CompletedUpload::discard). So make it end the same if
//! it is done again: the upload's id is a good key, and `persist` to the same target is. Give an upload one
//! target: [in a bucket](super::nodes) a file does not go back to where it was moved away from.
//!
//! # What if the disk does not give back what it was given?
//!
//! The checksum is that of the bytes as they came. Whether they are still the same on the disk is looked at
//! after a power cut only; with [`read_back`](crate::UploadsBuilder::read_back) at each completion, which
//! then costs the time to read the file. What differs is refused, 410 on the wire. Its record is whole, so a
//! listing shows it as any other, and it stays until it is cancelled or expires.
//!
//! # What survives a crash?
//!
//! | | the end of the process, `kill -9` | a power cut |
//! |---|---|---|
//! | [`Durability::Process`](crate::store::Durability::Process), the default | all that was acknowledged | perhaps not the last half minute; what is not whole is refused (on Linux) |
//! | [`Durability::Sync`](crate::store::Durability::Sync) | all that was acknowledged | all that was acknowledged |
//! | [a bucket](super::nodes) | all that was acknowledged | what the object store keeps of what it has confirmed |
//!
//! # May several servers share a folder?
//!
//! Several processes on one machine may, on a local filesystem. Several machines may not: they share
//! [a bucket](super::nodes), or a balancer sends all requests of one upload to the same one.
//!
//! # Who may read the files?
//!
//! The user of the server: files are made with mode 0600, folders with 0700, and a persisted file
//! is still 0600. A web server that is to serve it needs another mode from your handler.
