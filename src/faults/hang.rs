//! Every call of the system hangs once, the client leaves, and everybody else goes on. So they do
//! beside calls that hang, or take long, on threads of the runtime.

use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::pin::pin;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::{Case, DEADLINE, ENDS, WAYS, World, run, running_tasks, sample_of};
use crate::store::fs::disk::plan::Fault;
use crate::store::{Durability, FileCalls};
use crate::{AppendMode, Error, UploadId};

/// A client on a task of its own.
#[derive(Default)]
struct Client {
    /// What it knows of its upload.
    told: Mutex<Option<(UploadId, usize)>>,
    /// The thread that works for it, unless it waits.
    thread: Mutex<Option<ThreadId>>,
}

impl Client {
    fn told(&self) -> Option<(UploadId, usize)> {
        *self.told.lock().unwrap()
    }

    /// An upload from its beginning to its end.
    async fn live(&self, world: &World) -> Result<(), Error> {
        let mut life = pin!(self.uploads(world));
        std::future::poll_fn(|cx| {
            *self.thread.lock().unwrap() = Some(thread::current().id());
            let polled = life.as_mut().poll(cx);
            *self.thread.lock().unwrap() = None;
            polled
        })
        .await
    }

    async fn uploads(&self, world: &World) -> Result<(), Error> {
        for end in ENDS {
            let pushed = world.push(self.told(), end, AppendMode::AllOrNothing).await?;
            *self.told.lock().unwrap() = Some(pushed);
        }
        let (id, _) = self.told().unwrap();
        world.finish(&id).await
    }

    /// Whether it is in a call that hangs, and so has no moment to leave.
    fn hangs(&self, world: &World) -> bool {
        self.thread.lock().unwrap().is_some_and(|thread| world.plan.hanging().contains(&thread))
    }
}

/// Lets what hangs go on, also if the test has failed: the runtime waits for it.
struct Mend<'a>(&'a World);

impl Drop for Mend<'_> {
    fn drop(&mut self) {
        self.0.plan.mend();
    }
}

/// Where no call may be made in place, the runtime has one thread: a call on it that blocks would
/// block the other upload.
async fn hangs_at(world: &Arc<World>, call: usize) -> bool {
    let _mend = Mend(world);
    let client = Arc::new(Client::default());
    world.plan.fail(Fault::Hang, call..call + 1);
    let life = tokio::spawn({
        let (world, client) = (Arc::clone(world), Arc::clone(&client));
        async move { client.live(&world).await }
    });
    while !world.plan.hangs() {
        if life.is_finished() {
            life.await.unwrap().unwrap();
            return false;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // It leaves in the middle of it.
    life.abort();
    while !life.is_finished() && !client.hangs(world) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Client::default().live(world).await.unwrap();
    let next = |at| ENDS.into_iter().find(|end| *end > at).unwrap_or(at);
    if let Some((id, at)) = client.told() {
        // Nothing counts before its last call but one, which gives the lease back.
        let place = if world.plan.hangs_at_unlock() { next(at) } else { at };
        world.stands(&id, &[place]).await.unwrap();
    }
    world.plan.mend();
    // In place it may come further, before it can leave.
    drop(life.await);
    world.rests().await;
    if let Some((id, at)) = client.told() {
        let end = next(at);
        let at = world.stands(&id, &[at, end]).await.unwrap();
        world.go_on(&id, at).await;
    }
    true
}

/// How many calls a client makes.
fn calls_of_a_life(durability: Durability, way: FileCalls) -> usize {
    let world = World::new(durability, way);
    run(way, async move {
        Client::default().live(&world).await.unwrap();
        world.plan.calls()
    })
}

fn every_call_hangs(durability: Durability, way: FileCalls) {
    let calls = calls_of_a_life(durability, way);
    let mut hung = 0;
    for call in sample_of(way, calls, 0, 5) {
        let _case = Case(format!("{way:?} {durability:?} {call}"));
        let world = Arc::new(World::new(durability, way));
        let hangs = run(way, async move {
            let hangs = hangs_at(&world, call).await;
            world.uploads.shutdown(Duration::from_secs(10)).await;
            hangs
        });
        hung += usize::from(hangs);
    }
    println!(
        "{way:?}, {durability:?}: {calls} calls, {hung} of them hung, none held another upload up"
    );
    assert!(hung > 0);
}

#[test]
fn a_call_that_hangs_holds_no_other_upload_up_and_loses_nothing() {
    for way in WAYS {
        every_call_hangs(Durability::Process, way);
        every_call_hangs(Durability::Sync, way);
    }
}

/// What a shutdown returns from is over: no call of the system comes afterwards.
#[test]
fn nothing_outlives_a_shutdown() {
    for way in WAYS {
        let calls = calls_of_a_life(Durability::Process, way);
        let mut hung = 0;
        for call in sample_of(way, calls, 1, 5) {
            let _case = Case(format!("{way:?} {call}"));
            hung += usize::from(run(way, shuts_down_at(way, call)));
        }
        assert!(hung > 0, "{way:?}");
    }
}

/// Returns whether a call hung when it began.
async fn shuts_down_at(way: FileCalls, call: usize) -> bool {
    let world = Arc::new(World::new(Durability::Process, way));
    let _mend = Mend(&world);
    world.plan.fail(Fault::Hang, call..call + 1);
    let sweeper = world.uploads.sweep_every(Duration::from_millis(1));
    let life = tokio::spawn({
        let world = Arc::clone(&world);
        async move { Client::default().live(&world).await }
    });
    while !world.plan.hangs() && !life.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    life.abort();
    let mut shutdown = pin!(world.uploads.shutdown(Duration::from_millis(5)));
    let hung = world.plan.hangs();
    if hung {
        let early = tokio::time::timeout(Duration::from_millis(10), &mut shutdown).await;
        assert!(early.is_err(), "it did not wait");
    }
    world.plan.mend();
    shutdown.await;
    let (calls, changes) = (world.plan.calls(), world.plan.moment());
    match way {
        FileCalls::Pool => assert_eq!(running_tasks(), 0),
        // The client may still be at what it has got, and look where its upload stands, before it
        // can leave.
        FileCalls::InPlace => world.rests().await,
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!((world.plan.moment(), running_tasks()), (changes, 0));
    if way == FileCalls::Pool {
        assert_eq!(world.plan.calls(), calls);
    }
    drop((sweeper, life));
    hung
}

/// A runtime that is watched from outside, since all of its threads might hang.
struct Watched {
    runtime: Arc<Runtime>,
    workers: Vec<ThreadId>,
    /// How many of them may hang.
    may_hang: usize,
    /// Ends when it is dropped.
    _alive: oneshot::Sender<()>,
}

impl Watched {
    /// With so many workers, or with `None` on one thread that is no worker.
    fn start(workers: Option<usize>) -> Self {
        let mut builder = match workers {
            None => Builder::new_current_thread(),
            Some(_) => Builder::new_multi_thread(),
        };
        let count = workers.unwrap_or(1);
        let (started, starting) = mpsc::channel();
        builder.on_thread_start(move || {
            // Nobody waits for those that start later.
            let _ = started.send(thread::current().id());
        });
        let runtime = Arc::new(builder.worker_threads(count).enable_all().build().unwrap());
        let (alive, ended) = oneshot::channel();
        let running = Arc::clone(&runtime);
        let caller = thread::spawn(move || drop(running.block_on(ended)));
        let workers = match workers {
            None => vec![caller.thread().id()],
            // No thread of the pool has anything to do yet.
            Some(_) => (0..count).map(|_| result(&starting)).collect(),
        };
        let may_hang = if count > 1 { count / 2 } else { 0 };
        Self { runtime, workers, may_hang, _alive: alive }
    }

    fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Receiver<T> {
        let (done, result) = mpsc::channel();
        self.runtime.spawn(async move { done.send(work.await) });
        result
    }

    /// How many of these threads are workers.
    fn workers_among(&self, threads: &[ThreadId]) -> usize {
        threads.iter().filter(|thread| self.workers.contains(thread)).count()
    }

    /// Begins an upload, or brings more of it.
    fn push(
        &self,
        world: &Arc<World>,
        upload: Option<(UploadId, usize)>,
        end: usize,
    ) -> Receiver<(UploadId, usize)> {
        let world = Arc::clone(world);
        self.spawn(async move { world.push(upload, end, AppendMode::AllOrNothing).await.unwrap() })
    }

    /// Begins uploads, of which each then hangs in a call; gives the workers that hang, and what
    /// comes of the uploads when the disk is mended.
    fn hang(
        &self,
        world: &Arc<World>,
        uploads: usize,
    ) -> (usize, Vec<Receiver<(UploadId, usize)>>) {
        let begun: Vec<_> = (0..uploads).map(|_| self.push(world, None, ENDS[0])).collect();
        let begun: Vec<_> = begun.iter().map(result).collect();
        world.plan.fail(Fault::Hang, 0..uploads);
        let more = |upload: &_| self.push(world, Some(*upload), ENDS[1]);
        let pushes: Vec<_> = begun.iter().map(more).collect();
        until("each hangs", || world.plan.hanging().len() == uploads);
        (self.workers_among(&world.plan.hanging()), pushes)
    }

    /// Waits until calls are made in place, if they may be: after one that took long by chance they
    /// are not for a while.
    fn warm_up(&self, world: &Arc<World>) {
        if self.may_hang > 0 {
            let mut upload = result(&self.push(world, None, ENDS[0]));
            until("calls are made in place", || {
                self.grows_in_place(world, &mut upload);
                let last = world.plan.callers(world.plan.calls() - 1);
                self.workers_among(&last) > 0
            });
        }
    }

    /// An upload of a byte more; whether any of its calls was made in place.
    fn grows_in_place(&self, world: &Arc<World>, upload: &mut (UploadId, usize)) -> bool {
        let before = world.plan.calls();
        *upload = result(&self.push(world, Some(*upload), upload.1 + 1));
        self.workers_among(&world.plan.callers(before)) > 0
    }
}

/// Where uploads that have hung stand, and that they come to their ends.
fn all_end(runtime: &Watched, world: &Arc<World>, pushes: &[Receiver<(UploadId, usize)>]) {
    world.plan.mend();
    for push in pushes {
        let (id, at) = result(push);
        let world = Arc::clone(world);
        result(&runtime.spawn(async move {
            world.stands(&id, &[at]).await.unwrap();
            world.go_on(&id, at).await;
        }));
    }
}

#[test]
fn a_disk_that_hangs_costs_at_most_half_of_the_workers() {
    for workers in RUNTIMES {
        let mut most = 0;
        until("calls are made in place where they may be", || {
            let _case = Case(format!("{workers:?} workers"));
            let runtime = Watched::start(workers);
            let world = Arc::new(World::new(Durability::Process, FileCalls::InPlace));
            let _mend = Mend(&world);
            runtime.warm_up(&world);
            let (held, pushes) = runtime.hang(&world, workers.unwrap_or(1) + 2);
            assert!(held <= runtime.may_hang, "{held} workers hang");
            most = most.max(held);

            // Timers, tasks that wake each other, and other uploads on the same disk.
            let tasks = (0..8).map(|_| runtime.spawn(ticks()));
            let tasks: Vec<_> = tasks.collect();
            let other = Arc::clone(&world);
            let life = runtime.spawn(async move { Client::default().live(&other).await });
            result(&life).unwrap();
            tasks.iter().for_each(result);
            assert_eq!(world.plan.hanging().len(), pushes.len());

            all_end(&runtime, &world, &pushes);
            most > 0 || runtime.may_hang == 0
        });
        println!("{workers:?} workers: at most {most} of them hung, and the others went on");
    }
}

async fn ticks() {
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        tokio::spawn(tokio::task::yield_now()).await.unwrap();
    }
}

/// However many disks there are.
#[test]
fn disks_that_hang_cost_at_most_half_of_the_workers_together() {
    for workers in RUNTIMES {
        let _case = Case(format!("{workers:?} workers"));
        let runtime = Watched::start(workers);
        let worlds =
            [(); 3].map(|()| Arc::new(World::new(Durability::Process, FileCalls::InPlace)));
        let _mend = worlds.each_ref().map(|world| Mend(world));
        runtime.warm_up(&worlds[0]);
        let hung = worlds.each_ref().map(|world| runtime.hang(world, workers.unwrap_or(1)));
        let held: usize = hung.iter().map(|(held, _)| held).sum();
        assert!(held <= runtime.may_hang, "{held} workers hang");
        for (world, (_, pushes)) in worlds.iter().zip(&hung) {
            all_end(&runtime, world, pushes);
        }
    }
}

/// The worker that hangs may be the one that had waited for timers and sockets, while all others
/// waited for it.
#[test]
fn timers_and_sockets_are_served_while_a_worker_hangs() {
    for workers in RUNTIMES {
        let mut seen = false;
        until("calls are made in place where they may be", || {
            let _case = Case(format!("{workers:?} workers"));
            let runtime = Watched::start(workers);
            let world = Arc::new(World::new(Durability::Process, FileCalls::InPlace));
            let _mend = Mend(&world);
            let addr = result(&runtime.spawn(answers()));
            let upload = result(&runtime.push(&world, None, ENDS[0]));
            runtime.warm_up(&world);
            world.plan.fail(Fault::Hang, 0..1);
            let own = Arc::clone(&world);
            let push = runtime.spawn(async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                own.push(Some(upload), ENDS[1], AppendMode::AllOrNothing).await.unwrap()
            });
            let timer = runtime.spawn(async {
                tokio::time::sleep(Duration::from_millis(50)).await;
            });
            until("it hangs", || world.plan.hangs());
            seen |= runtime.workers_among(&world.plan.hanging()) > 0;
            result(&timer);
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream.write_all(b"?").unwrap();
            stream.read_exact(&mut [0]).unwrap();
            assert!(world.plan.hangs());
            all_end(&runtime, &world, &[push]);
            seen || runtime.may_hang == 0
        });
    }
}

/// A server that answers each connection with a byte; gives its address.
async fn answers() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"!").await.unwrap();
        }
    });
    addr
}

#[test]
fn a_disk_that_is_busy_is_left_to_the_pool_until_it_is_fast_again() {
    for workers in RUNTIMES {
        let _case = Case(format!("{workers:?} workers"));
        let runtime = Watched::start(workers);
        let world = Arc::new(World::new(Durability::Process, FileCalls::InPlace));
        let mut upload = result(&runtime.push(&world, None, ENDS[0]));
        let mut grows = || runtime.grows_in_place(&world, &mut upload);
        if runtime.may_hang == 0 {
            assert!((0..20).all(|_| !grows()), "there is no worker to spare");
            continue;
        }
        until("calls are made in place", &mut grows);

        let start = Instant::now();
        let slow = Duration::from_millis(20);
        world.plan.fail(Fault::Slow(slow), 0..usize::MAX);
        grows();
        let in_place = (0..10).filter(|_| grows()).count() as u128;
        // It is tried again after fifty times as long as a call took.
        let tries = start.elapsed().as_millis() / (50 * slow.as_millis());
        assert!(in_place <= tries, "{in_place} of 10 in place, and it was tried {tries} times");

        world.plan.mend();
        until("calls are made in place again", grows);
        println!(
            "{workers:?} workers: {in_place} of 10 chunks were written in place while it was busy"
        );
    }
}

/// What comes of something that must not hang.
fn result<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(DEADLINE).expect("it fails or hangs")
}

/// Waits for what this thread is not told of.
fn until(what: &str, mut happens: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !happens() {
        assert!(Instant::now() < end, "{what}: it does not happen");
        thread::sleep(Duration::from_millis(1));
    }
}

/// How many workers they have. The first has none, but the thread of its caller.
const RUNTIMES: [Option<usize>; 4] = [None, Some(1), Some(2), Some(4)];
