//! Copy one of these recipes to save, convert, scan, move or serve a finished file.
//!
//! Each recipe is a handler or a policy for [the quick start](super::quick_start), and says which other
//! crates it needs. All of them are compiled and run as tests.
//!
//! # How do I save a row for each file?
//!
//! Persist the file first, and then write the row, with the id of the upload as its key. The handler
//! runs again if the process ends in between, and both steps then do no harm. Here with SQLite and
//! [`sqlx`](https://docs.rs/sqlx):
//!
//! ```sh
//! cargo add sqlx@0.8 --no-default-features --features runtime-tokio,sqlite
//! cargo add tracing
//! ```
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/guide/client.rs"));
//! # use axum::{Router, routing::post};
//! # use tower_chunked_upload::{ChunkedUploadLayer, Uploads, store::FsStore};
//! use std::path::Path;
//! use std::sync::Arc;
//!
//! use axum::extract::State;
//! use axum::http::StatusCode;
//! use sqlx::SqlitePool;
//! use tower_chunked_upload::CompletedUpload;
//!
//! #[derive(Clone)]
//! struct App {
//!     db: SqlitePool,
//!     media: Arc<Path>,
//! }
//!
//! async fn done(State(app): State<App>, upload: CompletedUpload) -> Result<StatusCode, StatusCode> {
//!     let id = upload.id();
//!     let target = app.media.join(id.as_str());
//!     // The layer logs the cause.
//!     upload.persist(target).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
//!     let row = "INSERT INTO files (id, name, size) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING";
//!     let row = sqlx::query(row).bind(id.as_str()).bind(upload.filename());
//!     let saved = row.bind(upload.size().cast_signed()).execute(&app.db).await;
//!     saved.map_err(|error| {
//!         tracing::error!(%error, "cannot save the row of a file");
//!         StatusCode::INTERNAL_SERVER_ERROR
//!     })?;
//!     Ok(StatusCode::CREATED)
//! }
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let db = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect(":memory:").await?;
//! # let media: Arc<Path> = folder.path().join("media").into();
//! # let uploads = Uploads::builder(FsStore::new(folder.path().join("up"))).build()?;
//! # let app = App { db: db.clone(), media: media.clone() };
//! # let routes = Router::new().route(client::COMPLETE, post(done)).with_state(app);
//! # let app = routes.layer(ChunkedUploadLayer::new(uploads));
//! # let (_, begun) = client::send(&app, client::chunk(client::CHUNK, "a.txt", "", "Hello")).await;
//! # let complete = || client::completion(&begun["upload_id"], "Hello");
//! # // The database fails, and then it works.
//! # assert_eq!(client::send(&app, complete()).await.0, StatusCode::INTERNAL_SERVER_ERROR);
//! # let table = "CREATE TABLE files (id TEXT PRIMARY KEY, name TEXT NOT NULL, size INTEGER NOT NULL)";
//! # sqlx::query(table).execute(&db).await?;
//! # assert_eq!(client::send(&app, complete()).await.0, StatusCode::CREATED);
//! # let rows: Vec<(String, String, i64)> = sqlx::query_as("SELECT * FROM files").fetch_all(&db).await?;
//! # assert_eq!(rows, [(begun["upload_id"].as_str().unwrap().into(), "a.txt".into(), 5)]);
//! # assert_eq!(std::fs::read(media.join(&rows[0].0))?, b"Hello");
//! # Ok(())
//! # }
//! ```
//!
//! ```sql
//! CREATE TABLE files (id TEXT PRIMARY KEY, name TEXT NOT NULL, size INTEGER NOT NULL)
//! ```
//!
//! After your handler has taken the file, nobody can change it with the id. If uploads have
//! [owners](super::owners), the id may also appear in public URLs. Without owners, use a key of your
//! own for them: until the upload expires, whoever has its id can ask for its name and metadata and
//! for a [kept response](super::long_completions), and in tus and the IETF draft remove the record.
//!
//! # How do I start a job that takes minutes?
//!
//! Take the file, remember the job where it survives a restart, and answer 202 at once with a URL at
//! which the client asks for the result. A worker, which `main` starts with
//! `tokio::spawn(work(app.clone()))`, does the jobs. The crates are those of the recipe above:
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/guide/client.rs"));
//! # use tower_chunked_upload::{ChunkedUploadLayer, Uploads, store::FsStore};
//! use std::path::Path;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use axum::Router;
//! use axum::extract::{self, State};
//! use axum::http::{StatusCode, header};
//! use axum::response::IntoResponse;
//! use axum::routing::{get, post};
//! use sqlx::SqlitePool;
//! use tower_chunked_upload::CompletedUpload;
//!
//! #[derive(Clone)]
//! struct App {
//!     db: SqlitePool,
//!     media: Arc<Path>,
//! }
//!
//! /// The layer goes around these routes, as in the quick start.
//! fn routes(app: App) -> Router {
//!     Router::new()
//!         .route("/api/chunked_upload_complete", post(done))
//!         .route("/jobs/{id}", get(job))
//!         .with_state(app)
//! }
//!
//! fn failed(error: sqlx::Error) -> StatusCode {
//!     tracing::error!(%error, "the jobs cannot be read or written");
//!     StatusCode::INTERNAL_SERVER_ERROR
//! }
//!
//! async fn done(
//!     State(app): State<App>,
//!     upload: CompletedUpload,
//! ) -> Result<impl IntoResponse, StatusCode> {
//!     let id = upload.id();
//!     let target = app.media.join(id.as_str());
//!     upload.persist(target).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
//!     let job = sqlx::query("INSERT INTO jobs (id) VALUES (?) ON CONFLICT (id) DO NOTHING");
//!     job.bind(id.as_str()).execute(&app.db).await.map_err(failed)?;
//!     Ok((StatusCode::ACCEPTED, [(header::LOCATION, format!("/jobs/{id}"))]))
//! }
//!
//! /// Returns the state of a job, or its result.
//! async fn job(
//!     State(app): State<App>,
//!     extract::Path(id): extract::Path<String>,
//! ) -> Result<String, StatusCode> {
//!     let row = sqlx::query_scalar("SELECT COALESCE(result, 'waiting') FROM jobs WHERE id = ?");
//!     row.bind(id).fetch_optional(&app.db).await.map_err(failed)?.ok_or(StatusCode::NOT_FOUND)
//! }
//!
//! /// Does one job after another, as long as the runtime lives.
//! async fn work(app: App) {
//!     loop {
//!         match do_next(&app).await {
//!             Ok(true) => continue,
//!             Ok(false) => {}
//!             Err(error) => drop(failed(error)),
//!         }
//!         tokio::time::sleep(Duration::from_secs(1)).await;
//!     }
//! }
//!
//! /// Does the next job, if there is one. A job that a crash has interrupted is done again.
//! async fn do_next(app: &App) -> sqlx::Result<bool> {
//!     let next = sqlx::query_scalar("SELECT id FROM jobs WHERE result IS NULL LIMIT 1");
//!     let Some(id): Option<String> = next.fetch_optional(&app.db).await? else { return Ok(false) };
//!     let file = app.media.join(&id);
//!     // This takes minutes, so it must not run on a worker of the runtime.
//!     let result = match tokio::task::spawn_blocking(move || convert(&file)).await {
//!         Ok(Ok(result)) => result,
//!         // The program ends, and the job has not begun.
//!         Err(error) if error.is_cancelled() => return Ok(false),
//!         // It is not tried again, since the jobs behind it would wait for ever.
//!         Ok(Err(_)) | Err(_) => "failed".to_owned(),
//!     };
//!     let row = sqlx::query("UPDATE jobs SET result = ? WHERE id = ?");
//!     row.bind(result).bind(id).execute(&app.db).await?;
//!     Ok(true)
//! }
//!
//! /// Stands for your own work.
//! fn convert(file: &Path) -> std::io::Result<String> {
//!     Ok(format!("{} bytes are converted", std::fs::metadata(file)?.len()))
//! }
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let db = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect(":memory:").await?;
//! # sqlx::query("CREATE TABLE jobs (id TEXT PRIMARY KEY, result TEXT)").execute(&db).await?;
//! # let folder = tempfile::tempdir()?;
//! # let uploads = Uploads::builder(FsStore::new(folder.path().join("up"))).build()?;
//! # let state = App { db, media: folder.path().join("media").into() };
//! # let app = routes(state.clone()).layer(ChunkedUploadLayer::new(uploads));
//! # use tower::ServiceExt;
//! # let accept = async || {
//! #     let (_, begun) = client::send(&app, client::chunk(client::CHUNK, "a.mov", "", "Hello")).await;
//! #     let complete = client::completion(&begun["upload_id"], "Hello");
//! #     let accepted = app.clone().oneshot(complete).await.unwrap();
//! #     assert_eq!(accepted.status(), StatusCode::ACCEPTED);
//! #     accepted.headers()["location"].to_str().unwrap().to_owned()
//! # };
//! # let result = async |url: &str| {
//! #     let answer = app.clone().oneshot(client::request(http::Method::GET, url)).await.unwrap();
//! #     let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
//! #     String::from_utf8(body.to_vec()).unwrap()
//! # };
//! # let url = accept().await;
//! # assert_eq!(result(&url).await, "waiting");
//! # assert!(do_next(&state).await?);
//! # assert_eq!(result(&url).await, "5 bytes are converted");
//! # assert!(!do_next(&state).await?);
//! # let url = accept().await;
//! # std::fs::remove_dir_all(&state.media)?;
//! # let worker = tokio::spawn(work(state.clone()));
//! # while result(&url).await == "waiting" { tokio::task::yield_now().await }
//! # worker.abort();
//! # assert_eq!(result(&url).await, "failed");
//! # Ok(())
//! # }
//! ```
//!
//! ```sql
//! CREATE TABLE jobs (id TEXT PRIMARY KEY, result TEXT)
//! ```
//!
//! This is for one worker. If several processes work on one table, let each of them claim a job in
//! the table first.
//!
//! If your handler needs a minute and you do not want a table of jobs, [the layer can answer
//! 202](super::long_completions) and keep the handler's response for the client.
//!
//! # How do I scan files for viruses?
//!
//! In [`Policy::verify`](crate::Policy::verify), which sees the whole file before your handler
//! does. Here with ClamAV's daemon and [`clamav-client`](https://docs.rs/clamav-client). Set the
//! daemon's `StreamMaxLength`, `MaxFileSize` and `MaxScanSize` above your largest file, and
//! `AlertExceedsMax yes`: otherwise it reports OK for what it did not scan. Refuse larger files in
//! [`max_bytes`](crate::Policy::max_bytes). The policy goes into the layer, with
//! `ChunkedUploadLayer::new(uploads).policy(Scanned { clamd })`:
//!
//! ```sh
//! cargo add clamav-client@2 --no-default-features --features tokio-stream
//! cargo add tokio-util --features io
//! cargo add http tracing
//! ```
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/guide/client.rs"));
//! # use axum::{Router, routing::post};
//! # use tower_chunked_upload::{ChunkedUploadLayer, CompletedUpload, Uploads, store::MemoryStore};
//! use clamav_client::tokio::{Tcp, scan_stream};
//! use http::StatusCode;
//! use tokio_util::io::ReaderStream;
//! use tower_chunked_upload::policy::Verification;
//! use tower_chunked_upload::{Policy, Refusal};
//!
//! const PIECE: usize = 256 * 1024;
//!
//! struct Scanned {
//!     clamd: String, // for example "127.0.0.1:3310"
//! }
//!
//! impl Policy for Scanned {
//!     async fn verify(&self, finished: &Verification<'_>) -> Result<(), Refusal> {
//!         let bytes = ReaderStream::with_capacity(finished.file.open().await?, PIECE);
//!         let host_address = self.clamd.as_str();
//!         let found = match scan_stream(bytes, Tcp { host_address }, Some(PIECE)).await {
//!             Ok(found) => String::from_utf8_lossy(&found).into_owned(),
//!             Err(error) => error.to_string(),
//!         };
//!         let found = found.trim_end_matches(['\0', '\n']);
//!         if found.ends_with("FOUND") {
//!             finished.file.discard().await?;
//!             return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "The file has a virus")
//!                 .with_code("virus-found"));
//!         }
//!         if found.ends_with("OK") {
//!             return Ok(());
//!         }
//!         // Anything else says that it was not scanned. The upload stays, and the client tries again.
//!         tracing::error!(found, "cannot scan a file");
//!         Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "The file cannot be scanned now"))
//!     }
//! }
//! #
//! # /// Takes for a virus what has an X in it, and for too large what has an L in it.
//! # async fn clamd(listener: tokio::net::TcpListener) {
//! #     use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! #     while let Ok((mut stream, _)) = listener.accept().await {
//! #         let mut command = [0; 10];
//! #         stream.read_exact(&mut command).await.unwrap();
//! #         assert_eq!(&command, b"zINSTREAM\0");
//! #         let mut file = Vec::new();
//! #         while let length @ 1.. = stream.read_u32().await.unwrap() {
//! #             let read = (&mut stream).take(length.into()).read_to_end(&mut file).await.unwrap();
//! #             assert_eq!(read, length as usize);
//! #         }
//! #         let found = match () {
//! #             () if file.contains(&b'X') => "stream: Eicar FOUND\0",
//! #             () if file.contains(&b'L') => "INSTREAM size limit exceeded. ERROR\0",
//! #             () => "stream: OK\0",
//! #         };
//! #         stream.write_all(found.as_bytes()).await.unwrap();
//! #     }
//! # }
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let address = listener.local_addr()?.to_string();
//! # let daemon = tokio::spawn(clamd(listener));
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! # let layer = ChunkedUploadLayer::new(uploads).policy(Scanned { clamd: address });
//! # let routes = Router::new().route(client::COMPLETE, post(async |_: CompletedUpload| ()));
//! # let app = routes.layer(layer);
//! # assert_eq!(client::upload(&app, "a.txt", "Hello").await.0, StatusCode::OK);
//! # let (_, begun) = client::send(&app, client::chunk(client::CHUNK, "b.txt", "", "X5O!P%@AP")).await;
//! # let complete = || client::completion(&begun["upload_id"], "X5O!P%@AP");
//! # let (status, refusal) = client::send(&app, complete()).await;
//! # assert_eq!((status.as_u16(), &refusal["code"]), (422, &"virus-found".into()));
//! # assert_eq!(client::send(&app, complete()).await.0, StatusCode::NOT_FOUND);
//! # let (_, begun) = client::send(&app, client::chunk(client::CHUNK, "c.txt", "", "Large")).await;
//! # let complete = || client::completion(&begun["upload_id"], "Large");
//! # assert_eq!(client::send(&app, complete()).await.0, StatusCode::SERVICE_UNAVAILABLE);
//! # assert_eq!(client::send(&app, complete()).await.0, StatusCode::SERVICE_UNAVAILABLE);
//! # daemon.abort();
//! # drop(daemon.await);
//! # assert_eq!(client::upload(&app, "c.txt", "Hello").await.0, StatusCode::SERVICE_UNAVAILABLE);
//! # Ok(())
//! # }
//! ```
//!
//! A scan must not take longer than clients and proxies wait for a response: it is stopped some time
//! after the client has left ([`idle_timeout`](crate::ChunkedUploadLayer::idle_timeout)), and the next
//! completion begins it anew. If your files are larger than that allows, scan them in the handler and
//! let [the layer answer 202](super::long_completions) meanwhile.
//!
//! # What if a session ends in the middle of an upload?
//!
//! [Your policy](super::owners) then refuses the next request, with a 401 or, in the chunked protocol,
//! a 403. Nothing is lost. As soon as the client has a new session of the same user, it continues from
//! the offset. A client that cannot get a new session can continue with a [token](super::tokens)
//! instead:
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/guide/client.rs"));
//! # use axum::{Router, routing::post};
//! # use tower_chunked_upload::{CompletedUpload, store::MemoryStore};
//! use std::time::Duration;
//!
//! use tower_chunked_upload::{
//!     ChunkedUploadLayer, Context, Owner, Policy, Refusal, TokenKeys, Uploads,
//! };
//!
//! /// The authentication outside the layer puts it into the extensions of a request.
//! #[derive(Clone)]
//! struct Session {
//!     user: String,
//! }
//!
//! struct BySession;
//!
//! impl Policy for BySession {
//!     async fn authorize(&self, context: &Context<'_>) -> Result<Option<Owner>, Refusal> {
//!         // Requests with a valid token do not come here.
//!         let session = context.request.extensions.get::<Session>();
//!         let session = session.ok_or_else(Refusal::unauthenticated)?;
//!         Ok(Some(Owner::new(session.user.as_str())))
//!     }
//! }
//!
//! fn layer(uploads: Uploads, keys: &TokenKeys) -> ChunkedUploadLayer {
//!     let day = Duration::from_secs(24 * 60 * 60);
//!     ChunkedUploadLayer::new(uploads).policy(BySession).hand_out_tokens(keys, day)
//! }
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use http::{Request, StatusCode};
//! # use axum::body::Body;
//! # use tower::ServiceExt;
//! # let uploads = Uploads::builder(MemoryStore::new()).build()?;
//! # let routes = Router::new().route(client::COMPLETE, post(async |_: CompletedUpload| ()));
//! # let app = routes.layer(layer(uploads, &TokenKeys::new([7; 32])?));
//! # let in_session = |mut request: Request<Body>| {
//! #     request.extensions_mut().insert(Session { user: "ann".into() });
//! #     request
//! # };
//! # let begun = in_session(client::chunk(client::CHUNK, "a.txt", "bytes 0-4/15", "Hello"));
//! # let begun = app.clone().oneshot(begun).await?;
//! # let token = begun.headers()["upload-token"].clone();
//! # let body = http_body_util::BodyExt::collect(begun.into_body()).await?.to_bytes();
//! # let begun: serde_json::Value = serde_json::from_slice(&body)?;
//! # let path = format!("{}?upload_id={}", client::CHUNK, begun["upload_id"].as_str().unwrap());
//! # let second = || client::chunk(&path, "a.txt", "bytes 5-9/15", "world");
//! # let third = || client::chunk(&path, "a.txt", "bytes 10-14/15", "again");
//! # assert_eq!(client::send(&app, second()).await.0, StatusCode::FORBIDDEN);
//! # let mut by_token = second();
//! # by_token.headers_mut().insert("upload-token", token);
//! # let (status, standing) = client::send(&app, by_token).await;
//! # assert_eq!((status, &standing["offset"]), (StatusCode::OK, &10.into()));
//! # assert_eq!(client::send(&app, third()).await.0, StatusCode::FORBIDDEN);
//! # assert_eq!(client::send(&app, in_session(third())).await.0, StatusCode::OK);
//! # let complete = client::completion(&begun["upload_id"], "Helloworldagain");
//! # assert_eq!(client::send(&app, in_session(complete)).await.0, StatusCode::OK);
//! # Ok(())
//! # }
//! ```
//!
//! This needs the feature `tokens` of this crate. tus-js-client stops at a 401 unless it is told to
//! refresh the session and to try again, with these options. `session` is your own code, which gets an
//! access token and refreshes it. Uppy takes the same options:
//!
//! ```js
//! onBeforeRequest: (request) => request.setHeader("Authorization", `Bearer ${session.token}`),
//! onAfterResponse: async (request, response) => {
//!   if (response.getStatus() === 401) await session.refresh();
//! },
//! onShouldRetry: (error) => {
//!   const status = error.originalResponse?.getStatus() ?? 0;
//!   return status < 400 || status >= 500 || [401, 409, 423].includes(status);
//! },
//! ```
//!
//! # How do I make thumbnails?
//!
//! Decode the image on a thread for blocking work, with limits, since an image of a few kilobytes can
//! claim to have gigabytes of pixels. [`image`](https://docs.rs/image) has a limit of 512 MiB for each
//! image by default, so also limit how many are decoded at once:
//!
//! ```sh
//! cargo add image@0.25 --no-default-features --features jpeg,png
//! cargo add tracing
//! ```
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/guide/client.rs"));
//! # use axum::{Router, body::Body, routing::post};
//! # use tower_chunked_upload::{ChunkedUploadLayer, Uploads, store::FsStore};
//! use std::path::Path;
//! use std::sync::Arc;
//!
//! use axum::extract::State;
//! use axum::http::StatusCode;
//! use image::{ImageError, ImageFormat, ImageReader};
//! use tokio::sync::Semaphore;
//! use tower_chunked_upload::CompletedUpload;
//!
//! static AT_ONCE: Semaphore = Semaphore::const_new(2);
//!
//! type Media = Arc<Path>;
//!
//! async fn done(State(media): State<Media>, upload: CompletedUpload) -> Result<StatusCode, StatusCode> {
//!     let picture = media.join(upload.id().as_str());
//!     let small = picture.with_extension("small.png");
//!     upload.persist(&picture).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
//!     let _turn = AT_ONCE.acquire().await;
//!     match tokio::task::spawn_blocking(move || thumbnail(&picture, &small)).await {
//!         Ok(Ok(true)) => Ok(StatusCode::CREATED),
//!         // The file was taken, and has no thumbnail: it is no image, is cut off, or is too large.
//!         Ok(Ok(false)) => Ok(StatusCode::OK),
//!         // The disk is full, for example. The client tries again.
//!         Ok(Err(error)) => {
//!             tracing::error!(%error, "cannot make a thumbnail");
//!             Err(StatusCode::INTERNAL_SERVER_ERROR)
//!         }
//!         Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
//!     }
//! }
//!
//! fn thumbnail(picture: &Path, small: &Path) -> Result<bool, ImageError> {
//!     let Ok(picture) = ImageReader::open(picture)?.with_guessed_format()?.decode() else {
//!         return Ok(false);
//!     };
//!     // So a crash or a full disk leaves no partial thumbnail under this name.
//!     let part = small.with_extension("part");
//!     picture.thumbnail(320, 320).save_with_format(&part, ImageFormat::Png)?;
//!     std::fs::rename(part, small)?;
//!     Ok(true)
//! }
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let media: Media = folder.path().join("media").into();
//! # let uploads = Uploads::builder(FsStore::new(folder.path().join("up"))).build()?;
//! # let layer = ChunkedUploadLayer::new(uploads);
//! # let routes = Router::new().route(client::COMPLETE, post(done)).with_state(media.clone());
//! # let app = routes.layer(layer);
//! # let mut png = std::io::Cursor::new(Vec::new());
//! # image::RgbImage::new(640, 100).write_to(&mut png, ImageFormat::Png)?;
//! # let png = png.into_inner();
//! # let crc = |bytes: &[u8]| !bytes.iter().fold(!0_u32, |crc, byte| {
//! #     let step = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
//! #     (0..8).fold(crc ^ u32::from(*byte), step)
//! # });
//! # let mut huge = png.clone();
//! # huge[16..20].copy_from_slice(&30_000_u32.to_be_bytes());
//! # huge[20..24].copy_from_slice(&30_000_u32.to_be_bytes());
//! # let checked = crc(&huge[12..29]).to_be_bytes();
//! # huge[29..33].copy_from_slice(&checked);
//! # assert!(matches!(
//! #     ImageReader::new(std::io::Cursor::new(&huge)).with_guessed_format()?.decode(),
//! #     Err(ImageError::Limits(_))
//! # ));
//! # let cut_off = png[..png.len() / 2].to_vec();
//! # let nones = [b"Hello".to_vec(), cut_off, huge].map(|file| (file, StatusCode::OK));
//! # for (file, status) in [(png, StatusCode::CREATED)].into_iter().chain(nones) {
//! #     let mut whole = client::chunk(client::CHUNK, "a.png", "", "");
//! #     *whole.body_mut() = Body::from(file.clone());
//! #     let (_, begun) = client::send(&app, whole).await;
//! #     let id = begun["upload_id"].as_str().unwrap();
//! #     let digest: String =
//! #         <md5::Md5 as md5::Digest>::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
//! #     let mut complete = client::completion(&begun["upload_id"], "");
//! #     *complete.body_mut() = format!("upload_id={id}&md5={digest}").into();
//! #     assert_eq!(client::send(&app, complete).await.0, status);
//! #     let small = media.join(format!("{id}.small.png"));
//! #     assert_eq!(small.exists(), status == StatusCode::CREATED);
//! #     if small.exists() { assert_eq!(image::open(small)?.width(), 320) }
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! # How do I move a file from the folder to S3?
//!
//! Read it with [`open`](crate::CompletedUpload::open), write it with
//! [`object_store`](https://docs.rs/object_store), and answer when it has arrived. The key follows
//! from the id, so that a second call writes the same object:
//!
//! ```sh
//! cargo add object_store@0.14 --features aws
//! cargo add tracing
//! ```
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/guide/client.rs"));
//! # use axum::{Router, routing::post};
//! # use tower_chunked_upload::{ChunkedUploadLayer, Uploads, store::FsStore};
//! use std::io;
//! use std::sync::Arc;
//!
//! use axum::extract::State;
//! use axum::http::StatusCode;
//! use object_store::ObjectStore;
//! use object_store::buffered::BufWriter;
//! use tokio::io::AsyncWriteExt;
//! use tower_chunked_upload::CompletedUpload;
//!
//! type Bucket = Arc<dyn ObjectStore>;
//!
//! async fn done(State(bucket): State<Bucket>, upload: CompletedUpload) -> StatusCode {
//!     match copy(bucket, &upload).await {
//!         Ok(()) => StatusCode::CREATED,
//!         Err(error) => {
//!             tracing::error!(%error, "cannot copy a file to the bucket");
//!             StatusCode::INTERNAL_SERVER_ERROR
//!         }
//!     }
//! }
//!
//! async fn copy(bucket: Bucket, upload: &CompletedUpload) -> io::Result<()> {
//!     let mut file = upload.open().await.map_err(io::Error::other)?;
//!     let key = format!("media/{}", upload.id());
//!     // A multipart upload, if the file is larger than 10 MiB.
//!     let mut object = BufWriter::new(bucket, key.into());
//!     match tokio::io::copy(&mut file, &mut object).await {
//!         Ok(_) => object.shutdown().await,
//!         Err(error) => {
//!             object.abort().await.ok();
//!             Err(error)
//!         }
//!     }
//! }
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let bucket: Bucket = Arc::new(object_store::memory::InMemory::new());
//! # let uploads = Uploads::builder(FsStore::new(folder.path().join("up"))).build()?;
//! # let routes = Router::new().route(client::COMPLETE, post(done)).with_state(bucket.clone());
//! # let app = routes.layer(ChunkedUploadLayer::new(uploads));
//! # let (_, begun) = client::send(&app, client::chunk(client::CHUNK, "a.txt", "", "Hello")).await;
//! # let complete = client::completion(&begun["upload_id"], "Hello");
//! # assert_eq!(client::send(&app, complete).await.0, StatusCode::CREATED);
//! # let key = format!("media/{}", begun["upload_id"].as_str().unwrap());
//! # use object_store::ObjectStoreExt;
//! # assert_eq!(bucket.get(&key.into()).await?.bytes().await?, "Hello");
//! # Ok(())
//! # }
//! ```
//!
//! Give the bucket a lifecycle rule that removes abandoned multipart uploads: a crash leaves them.
//! The file in the folder stays until the upload [expires](super::expiry), so let uploads expire
//! early. Do not [`discard`](crate::CompletedUpload::discard) it: that removes the record as well,
//! and a client whose response was lost would send the file again. If several machines take
//! uploads, [keep the uploads themselves in a bucket](super::nodes): then
//! [`persist`](crate::CompletedUpload::persist) is all that you need.
//!
//! # How do I serve the files again?
//!
//! This serves what the recipes above have persisted under its id. Use
//! [`ServeFile`](https://docs.rs/tower-http/latest/tower_http/services/struct.ServeFile.html) of
//! tower-http, which answers ranges and conditional requests, in a route such as `/files/{id}`. A
//! browser must not run what a stranger has sent, so let it download the file:
//!
//! ```sh
//! cargo add tower-http@0.6 --features fs
//! cargo add tower@0.5 --features util
//! ```
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/guide/client.rs"));
//! # use axum::{Router, routing::get};
//! use std::sync::Arc;
//!
//! use axum::extract::{Path, Request, State};
//! use axum::http::{HeaderValue, header};
//! use axum::response::IntoResponse;
//! use tower::ServiceExt;
//! use tower_chunked_upload::UploadId;
//! use tower_http::services::ServeFile;
//!
//! type Media = Arc<std::path::Path>;
//!
//! /// An id is no path: nothing but 32 hexadecimal digits can be one.
//! async fn download(
//!     State(media): State<Media>,
//!     Path(id): Path<UploadId>,
//!     request: Request,
//! ) -> impl IntoResponse {
//!     let mut response = ServeFile::new(media.join(id.as_str())).oneshot(request).await?;
//!     let headers = response.headers_mut();
//!     headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
//!     headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
//!     Ok::<_, std::convert::Infallible>(response)
//! }
//! #
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let media: Media = folder.path().into();
//! # let id = "5230ec1f59d1485d9d7974b853802e31";
//! # std::fs::write(media.join(id), "Hello")?;
//! # let app = Router::new().route("/files/{id}", get(download)).with_state(media);
//! # let mut some = client::request(http::Method::GET, &format!("/files/{id}"));
//! # some.headers_mut().insert("range", HeaderValue::from_static("bytes=1-3"));
//! # let answer = app.clone().oneshot(some).await?;
//! # assert_eq!(answer.status(), 206);
//! # assert_eq!(answer.headers()["content-disposition"], "attachment");
//! # let body = http_body_util::BodyExt::collect(answer.into_body()).await?.to_bytes();
//! # assert_eq!(body, "ell");
//! # for path in ["/files/..%2F..%2Fetc%2Fpasswd", "/files/5230ec1f59d1485d9d7974b853802e32"] {
//! #     let other = app.clone().oneshot(client::request(http::Method::GET, path)).await?;
//! #     assert!(other.status().is_client_error(), "{}", other.status());
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! # Can I use axum's `Multipart` beside the layer?
//!
//! Yes, on any other route, with axum's feature `multipart`. The layer does not touch its requests, and
//! axum's `DefaultBodyLimit` applies to it as usual:
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/guide/client.rs"));
//! # use axum::http::{Request, StatusCode};
//! # use axum::body::Body;
//! # use tower::ServiceExt;
//! # use tower_chunked_upload::{CompletedUpload, Uploads, store::MemoryStore};
//! use axum::Router;
//! use axum::extract::Multipart;
//! use axum::extract::multipart::MultipartError;
//! use axum::routing::post;
//! use tower_chunked_upload::ChunkedUploadLayer;
//!
//! # async fn done(_: CompletedUpload) {}
//! async fn avatar(mut form: Multipart) -> Result<String, MultipartError> {
//!     let mut bytes = 0;
//!     while let Some(field) = form.next_field().await? {
//!         bytes += field.bytes().await?.len();
//!     }
//!     Ok(format!("{bytes} bytes"))
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let layer = ChunkedUploadLayer::new(Uploads::builder(MemoryStore::new()).build()?);
//! let routes = Router::new()
//!     .route("/api/chunked_upload_complete", post(done))
//!     .route("/avatar", post(avatar));
//! let app: Router = Router::new().fallback_service(layer.around(routes));
//! # let form = "--x\r\ncontent-disposition: form-data; name=a; filename=a.png\r\n\r\nHello\r\n--x--\r\n";
//! # let form = Request::post("/avatar")
//! #     .header("content-type", "multipart/form-data; boundary=x")
//! #     .body(Body::from(form))?;
//! # let answer = app.clone().oneshot(form).await?;
//! # assert_eq!(answer.status(), StatusCode::OK);
//! # let body = http_body_util::BodyExt::collect(answer.into_body()).await?.to_bytes();
//! # assert_eq!(body, "5 bytes");
//! # assert_eq!(client::upload(&app, "a.txt", "Hello").await.0, StatusCode::OK);
//! # Ok(())
//! # }
//! ```
