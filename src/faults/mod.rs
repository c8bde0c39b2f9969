//! What is done to uploads on a disk that fails, hangs or loses its power, and to futures that are
//! dropped, wherever the calls on files are made. `LONG=1` does all of it; the default is a sample.

mod calls;
mod check;
mod dropped;
mod hang;
mod image;
mod joined;
mod power;
mod scale;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::runtime::{Builder, Handle, RuntimeFlavor};

use crate::checksum::Running;
use crate::store::fs::disk::plan::Plan;
use crate::store::{Durability, FileCalls, FsStore, Store};
use crate::{AppendMode, CompletedUpload, Digest, Error, ErrorKind, NewUpload, UploadId, Uploads};

/// Where the pieces of the file end. They go through every way that bytes take: the small buffer, the
/// large one, several batches, a hash on another thread.
const ENDS: [usize; 6] = [20_000, 20_001, 100_000, 400_000, 400_010, 400_011];

/// Where the calls on files are made.
const WAYS: [FileCalls; 2] = [FileCalls::Pool, FileCalls::InPlace];

static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| noise(ENDS[ENDS.len() - 1]));

/// A store in a folder, the application that takes its files, and one client.
struct World {
    folder: TempDir,
    store: FsStore,
    uploads: Uploads,
    plan: Arc<Plan>,
    clock: Arc<Mutex<SystemTime>>,
    content: &'static [u8],
    /// Whether the client names the digest when it completes an upload.
    named: bool,
    durability: Durability,
    calls: FileCalls,
    checksum: bool,
}

impl World {
    fn new(durability: Durability, calls: FileCalls) -> Self {
        let folder = TempDir::new().unwrap();
        Self::open(folder, durability, calls, "first start", true)
    }

    /// On what is in the folder already, in this start of the machine.
    fn open(
        folder: TempDir,
        durability: Durability,
        calls: FileCalls,
        boot: &str,
        checksum: bool,
    ) -> Self {
        let plan = Plan::new(boot);
        let store = FsStore::new(folder.path().join("up/%Y")).durability(durability);
        let store = store.file_calls(calls);
        let store = store.with_plan(Arc::clone(&plan));
        let clock = Arc::new(Mutex::new(SystemTime::now()));
        let time = Arc::clone(&clock);
        let uploads = Uploads::builder(store.clone())
            .checksum(checksum)
            .batch_bytes(64 * 1024)
            .clock(move || *time.lock().unwrap())
            .build()
            .unwrap();
        let (content, named) = (CONTENT.as_slice(), true);
        Self { folder, store, uploads, plan, clock, content, named, durability, calls, checksum }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("up")
    }

    fn target(&self, id: &UploadId) -> PathBuf {
        self.folder.path().join("taken").join(id.as_str())
    }

    fn digest(&self) -> Digest {
        let mut md5 = Running::md5();
        md5.update(self.content);
        md5.digest().unwrap()
    }

    /// Begins the upload, or continues it, with the bytes up to `end`.
    async fn push(
        &self,
        upload: Option<(UploadId, usize)>,
        end: usize,
        mode: AppendMode,
    ) -> Result<(UploadId, usize), Error> {
        let start = upload.map_or(0, |(_, start)| start);
        let mut append = match upload {
            None => {
                let new = NewUpload::new().filename("a.bin").total(self.content.len() as u64);
                self.uploads.for_owner(None).create(new).await?
            }
            Some((id, start)) => {
                self.uploads.for_operator().append(&id, start as u64, mode).await?
            }
        };
        for piece in self.content[start..end].chunks(7000) {
            append.write(piece).await?;
        }
        let upload = append.commit().await?;
        assert_eq!(upload.offset(), end as u64);
        Ok((upload.id, end))
    }

    /// Completes the upload with an application that moves its file.
    async fn finish(&self, id: &UploadId) -> Result<(), Error> {
        let digest = self.named.then(|| self.digest());
        let completion = self.uploads.for_operator().complete(id, digest).await?;
        match self.take(completion.file()).await {
            Ok(()) => completion.finish().await.map(drop),
            Err(error) => {
                drop(completion.reopen().await);
                Err(error)
            }
        }
    }

    async fn take(&self, file: &CompletedUpload) -> Result<(), Error> {
        let mut bytes = Vec::new();
        if file.open().await?.read_to_end(&mut bytes).await.is_ok() {
            assert!(bytes == self.content, "a wrong file was handed over");
        }
        file.persist(self.target(file.id())).await
    }

    /// Where the upload stands: at one of these places, and if all its bytes are there, whole.
    async fn stands(&self, id: &UploadId, places: &[usize]) -> Result<usize, Error> {
        let offset = self.uploads.for_operator().status(id).await?.offset();
        let offset = usize::try_from(offset).unwrap();
        assert!(places.contains(&offset), "it stands at {offset}, and {places:?} were due");
        Ok(offset)
    }

    /// Brings the upload to its end from wherever it stands, and looks at the file.
    async fn go_on(&self, id: &UploadId, from: usize) {
        let end = self.content.len();
        if from < end {
            self.push(Some((*id, from)), end, AppendMode::AllOrNothing).await.unwrap();
        }
        loop {
            match self.finish(id).await {
                // It is given back, or taken, without anybody who waits for it.
                Err(error) if *error.kind() == ErrorKind::Finishing => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(error) if *error.kind() == ErrorKind::AlreadyComplete => break,
                result => break result.unwrap(),
            }
        }
        self.check_taken(id);
    }

    fn check_taken(&self, id: &UploadId) {
        let taken = std::fs::read(self.target(id)).unwrap();
        assert!(taken == self.content, "the application has a wrong file");
    }

    /// Waits until all that was left behind by what was dropped has come to its end: first the tasks, which
    /// begin calls of the store, and then the calls that nobody waits for.
    async fn rests(&self) {
        while running_tasks() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.store.settle().await;
    }

    /// After a day and a sweep nothing is left in the store.
    async fn check_nothing_is_left(&self) {
        self.rests().await;
        *self.clock.lock().unwrap() += Duration::from_secs(100_000);
        self.uploads.delete_expired().await.unwrap();
        assert_eq!(files_below(&self.root()), <[PathBuf; 0]>::default());
    }
}

/// Says in which case a test has failed.
struct Case(String);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("in the case {}", self.0);
        }
    }
}

fn noise(length: usize) -> Vec<u8> {
    let mut random = Random(7);
    (0..length).map(|_| random.next().to_le_bytes()[3]).collect()
}

/// Xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

/// On one thread, if none may be blocked: a call that blocks it blocks everything. Where calls may
/// be made in place, on one of two, of which they may block the half.
fn run<T: Send + 'static>(calls: FileCalls, work: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = match calls {
        FileCalls::Pool => {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            return runtime
                .block_on(async { tokio::time::timeout(DEADLINE, work).await.expect("it hangs") });
        }
        FileCalls::InPlace => {
            Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
        }
    };
    let (done, result) = std::sync::mpsc::channel();
    let task = runtime.spawn(async move { drop(done.send(work.await)) });
    // The runtime's own timers might hang, too.
    match result.recv_timeout(DEADLINE) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => {
            runtime.shutdown_background();
            panic!("it hangs");
        }
        Err(RecvTimeoutError::Disconnected) => {
            let failed = runtime.block_on(task).unwrap_err();
            std::panic::resume_unwind(failed.into_panic());
        }
    }
}

/// How many there are beside the test's own, which is a task only where there are several threads.
fn running_tasks() -> usize {
    let runtime = Handle::current();
    let own = usize::from(runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    runtime.metrics().num_alive_tasks() - own
}

fn is_long() -> bool {
    std::env::var_os("LONG").is_some_and(|value| !value.is_empty())
}

/// All of them, or a sample that is another one for each `offset`.
fn sample(all: usize, offset: usize, one_of: usize) -> impl Iterator<Item = usize> {
    let step = if is_long() { 1 } else { one_of };
    (offset % step..all).step_by(step)
}

/// The same, and of what is done in place as well others and fewer.
fn sample_of(
    calls: FileCalls,
    all: usize,
    offset: usize,
    one_of: usize,
) -> impl Iterator<Item = usize> {
    match calls {
        FileCalls::Pool => sample(all, offset, one_of),
        FileCalls::InPlace => sample(all, offset + 1, 2 * one_of),
    }
}

/// Nothing here takes so long.
const DEADLINE: Duration = Duration::from_secs(600);
