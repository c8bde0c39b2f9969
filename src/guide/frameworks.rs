//! Find out whether the layer works with your framework and on your system.
//!
//! # Does it work with axum, hyper, tonic and other tower services?
//!
//! [Layers](super::layers) shows where the layer goes. `examples/axum.rs`, `examples/hyper.rs` and
//! `servers/examples/tonic.rs` in the repository are whole servers.
//!
//! # Does it work with poem?
//!
//! [`mount`](crate::ChunkedUploadLayer::mount) the layer with a tower service as the handler, and let
//! poem's feature `tower-compat` make an endpoint of it:
//!
//! ```sh
//! cargo add poem@3 --features tower-compat
//! cargo add tower@0.5 --features util
//! ```
//!
//! ```
//! # use tower_chunked_upload::{Uploads, store::MemoryStore};
//! use std::convert::Infallible;
//!
//! use http::{Request, Response};
//! use poem::Route;
//! use poem::endpoint::TowerCompatExt;
//! use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload};
//!
//! async fn done<B>(request: Request<B>) -> Result<Response<String>, Infallible> {
//!     let upload = request.extensions().get::<CompletedUpload>();
//!     Ok(Response::new(upload.map(|upload| upload.filename().to_owned()).unwrap_or_default()))
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! let files = ChunkedUploadLayer::new(uploads).mount(tower::service_fn(done));
//! let app = Route::new().nest_no_strip("/api", files.compat());
//! # let app = poem::test::TestClient::new(app);
//! # let chunk = app.post("/api/chunked_upload").header("content-disposition", "attachment; filename=a.txt");
//! # let answer = chunk.body("Hello").send().await;
//! # answer.assert_status_is_ok();
//! # let answer = answer.json().await;
//! # let id = answer.value().object().get("upload_id").string().to_owned();
//! # let done = app.post("/api/chunked_upload_complete").content_type("application/x-www-form-urlencoded");
//! # let done = done.body(format!("upload_id={id}&md5=8b1a9953c4611296a827abf8c47804d7")).send().await;
//! # done.assert_status_is_ok();
//! # done.assert_text("a.txt").await;
//! # Ok(())
//! # }
//! ```
//!
//! A handler of poem itself cannot be inside the layer, since poem has requests of its own type.
//!
//! # Does it work with actix-web?
//!
//! No. actix-web has its own traits for services and requests, whose bodies stay on one thread, and no
//! adapter for tower. Run the layer as a server of its own beside it, for example on hyper with a
//! proxy that sends it the upload paths; or receive the bytes in actix-web and pass them to
//! [`Uploads`](crate::Uploads), which needs no HTTP.
//!
//! # Does it work with Rocket, warp or salvo?
//!
//! warp's `Filter` becomes a tower service with `warp::service`, which can be inside the layer like
//! any other. Rocket and salvo have requests of their own; what was said of actix-web holds for them.
//!
//! # Which operating systems does it run on?
//!
//! [`FsStore`](crate::store::FsStore) works on Linux, on macOS and other Unix systems, and on
//! Windows. They differ in what the store can promise there:
//!
//! | | Linux | macOS and other Unix systems | Windows |
//! |---|---|---|---|
//! | one writer per upload | yes | yes | yes |
//! | several processes share a folder | yes | yes | no: the first one that writes to it keeps it, and the others can only read |
//! | acknowledged bytes survive the end of the process | yes | yes | yes |
//! | acknowledged bytes survive a power cut, with [`Durability::Sync`](crate::store::Durability::Sync) | yes | as far as `F_FULLFSYNC` reaches the disk | names of new files are not synced, since Windows has no call for it |
//! | bytes that a power cut took are noticed, with [`Durability::Process`](crate::store::Durability::Process) | yes | no | no |
//! | symbolic links in the store's folder are not followed | checked by the kernel each time a file is opened | checked before a file is opened | checked before a file is opened |
//! | permissions of files and folders | 0600 and 0700 | the same | inherited from the parent folder |
//! | free space, and the limit of open files | known | known | unknown: [`min_free_bytes`](crate::UploadsBuilder::min_free_bytes) refuses everything |
//! | how files are joined | with shared blocks, where the filesystem supports them | by a copy | by a copy |
//!
//! On Windows the folder must be on a local NTFS volume, of Windows 10 1809 or Windows Server 2019
//! or later. On other volumes or versions, an open file cannot be replaced, and a removed file
//! stays until it is closed. An upload may then fail, and an empty folder may remain, but no byte
//! is lost.
//!
//! All tests run on Linux. For Windows and macOS the library and its tests are compiled and linted.
//! Some tests for Windows ran under Wine 8, which has the older rules for open files: 38 of 40 unit
//! tests of this store passed, and the two others need the newer rules. Nothing has run on Windows
//! itself or on macOS yet; the workflow of the repository is there for that.
//!
//! # Which Rust version does it need?
//!
//! The minimum supported Rust version is 1.89. Only a minor release raises it, to a version that is at
//! least six months old.
