//! Uploads over many nodes and one object store, in virtual time and with a seed.
//!
//! Each seed sets what can go wrong and how often, how many nodes and clients there are, and what
//! they do. After each step the objects are examined, past all faults: what was acknowledged is in
//! the file, no offset that anybody was told has shrunk, nothing is in the file that was refused,
//! an upload that lives can be read, and one that was removed stays so. Clients lose their session
//! now and then and go on by token, which gets at no other upload. At the end nothing goes
//! wrong any more, open uploads are brought to their end, the others expire, and no object may be
//! left.
//!
//! [`protocol`] has the states of an upload that are tried here, as tables.
//!
//! `SEED=5` runs one seed and prints each call, `SEEDS=1000` runs that many from 0 on, and `LONG=1`
//! runs 100,000.

mod client;
mod faults;
mod known;
mod load;
mod protocol;
mod world;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::client::Client;
use self::faults::{Cloud, Weather};
use self::world::{GRACE, LATEST, LIFE, LONG, Node, Plan, World};
use crate::id::seeded;
use crate::store::bucket::Mutation;

/// What holds, or what was found wrong.
type Checked<T = ()> = Result<T, String>;

#[test]
fn whatever_goes_wrong_no_acknowledged_byte_is_lost_and_nothing_is_left() {
    let seeds = match (number("SEED"), number("SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) => 0..if is_long() { 100_000 } else { 400 },
    };
    let told = number("SEED").is_some();
    let totals = Mutex::new([0; 5]);
    let found = search(seeds.clone(), Mutation::None, told, &totals);
    let [calls, faults, uploads, taken, again] = *totals.lock().unwrap();
    println!(
        "{} seeds: {uploads} uploads, {again} of them by a creation that was sent again with its \
         key, {taken} taken, {calls} calls, {faults} of them with a fault",
        seeds.end - seeds.start
    );
    if let Some((seed, wrong)) = found {
        panic!("seed {seed}: {wrong}\nSEED={seed} tells each call of it");
    }
    assert!(told || calls > faults && taken > 0 && again > 0, "nothing happened");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..if is_long() { 1000 } else { 40 } {
        let traces = [(); 2].map(|()| run(seed, Mutation::None, false).trace);
        assert_eq!(traces[0], traces[1], "seed {seed}");
    }
    assert_ne!(run(0, Mutation::None, false).trace, run(1, Mutation::None, false).trace);
}

#[test]
fn each_mistake_is_found() {
    for mutation in [
        Mutation::NoNonceCheck,
        Mutation::NoHeadAfterConflict,
        Mutation::NoEndCheck,
        Mutation::NoGrace,
        Mutation::NoKeys,
        Mutation::NoUploadInToken,
        Mutation::NoAnswer,
        Mutation::RunsAgain,
    ] {
        let found = search(0..400, mutation, false, &Mutex::default());
        println!("{mutation:?}: {found:?}");
        assert!(found.is_some(), "{mutation:?} was not noticed");
    }
}

/// The first of the seeds with which something is wrong, or one of the first.
fn search(
    seeds: std::ops::Range<u64>,
    mutation: Mutation,
    told: bool,
    totals: &Mutex<[u64; 5]>,
) -> Option<(u64, String)> {
    let (next, found) = (AtomicU64::new(seeds.start), Mutex::new(None));
    let work = || {
        while found.lock().unwrap().is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let run = run(seed, mutation, told);
            let mut totals = totals.lock().unwrap();
            totals.iter_mut().zip(run.counts).for_each(|(total, count)| *total += count);
            drop(totals);
            if let Err(wrong) = run.result {
                found.lock().unwrap().get_or_insert((seed, wrong));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    found.into_inner().unwrap()
}

struct Run {
    result: Checked,
    trace: u64,
    /// Calls, faults, uploads, how many were taken, and how many creations were sent again.
    counts: [u64; 5],
}

fn run(seed: u64, mutation: Mutation, told: bool) -> Run {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    seeded::set(Some(seed));
    let run = runtime.block_on(async {
        let mut dice = Rng::with_seed(seed);
        let plan = Plan::new(&mut dice, mutation);
        let cloud = Cloud::new(dice.u64(..), told);
        cloud.note(format_args!("{plan:?}"));
        let world = World::new(Arc::clone(&cloud), plan, dice);
        let world = world.unwrap();
        let result = match tokio::time::timeout(100 * LONG, live(&world)).await {
            Ok(result) => result.and(world.wrong()),
            Err(_) => Err("it hangs".to_owned()),
        };
        let known = world.known();
        let taken = known.iter().filter(|known| known.lock().unwrap().finished).count();
        let (calls, faults) = cloud.counts();
        let counts = [calls, faults, known.len() as u64, taken as u64, world.again()];
        Run { result, trace: cloud.trace(), counts }
    });
    drop(runtime);
    seeded::set(None);
    run
}

/// A life of a bucket from its beginning to its end.
async fn live(world: &Arc<World>) -> Checked {
    let mut chaos = JoinSet::new();
    if world.plan.kills {
        chaos.spawn(kill(Arc::clone(world)));
    }
    if world.plan.freezes {
        chaos.spawn(freeze(Arc::clone(world)));
    }
    if world.plan.sweeps {
        chaos.spawn(sweep(Arc::clone(world)));
    }
    let mut clients = JoinSet::new();
    for _ in 0..world.plan.uploads {
        clients.spawn(upload(Arc::clone(world)));
    }
    joined(&mut clients).await?;
    chaos.shutdown().await;

    world.cloud.set_weather(Weather { page: 1000, ..Weather::default() });
    for node in world.nodes().iter() {
        node.link.thaw();
    }
    world.cloud.note(format_args!("all is well"));
    // What is late comes, and who waits for an answer gives up.
    sleep(LATEST + Duration::from_secs(120)).await;
    world.start_node()?;
    for known in world.known() {
        world.check(&known).await?;
        if world.flip() {
            Client::new(world, &known).bring_home().await?;
            world.check(&known).await?;
        }
    }
    sleep(LIFE.max(LONGEST_CREATION) + GRACE + Duration::from_secs(60)).await;
    let node = world.pick().await;
    // What a dead node was completing is left until it has been silent for long enough.
    swept(world, &node).await?;
    sleep(Duration::from_secs(60)).await;
    let skipped = swept(world, &node).await?;
    if skipped > 0 {
        return Err(format!("a sweep skips {skipped} at which nothing goes wrong"));
    }
    sleep(GRACE + Duration::from_secs(60)).await;
    swept(world, &node).await?;
    world.check_remains()
}

async fn upload(world: Arc<World>) -> Checked {
    world.pause(Duration::from_secs(600)).await;
    let Some(client) = Client::begin(&world).await? else { return Ok(()) };
    let mut clients = JoinSet::new();
    if world.plan.races && world.flip() {
        clients.spawn(client.clone().run(world.plan.steps));
    }
    clients.spawn(client.run(world.plan.steps));
    joined(&mut clients).await
}

async fn joined(tasks: &mut JoinSet<Checked>) -> Checked {
    while let Some(task) = tasks.join_next().await {
        match task {
            Ok(result) => result?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    Ok(())
}

/// Nodes die, and others come in their place.
async fn kill(world: Arc<World>) {
    loop {
        world.pause(Duration::from_secs(400)).await;
        let node = world.pick().await;
        world.kill(&node);
        world.pause(Duration::from_secs(20)).await;
        if let Err(wrong) = world.start_node() {
            world.blame(wrong);
        }
    }
}

/// Nodes stand still, some for longer than the grace, and go on.
async fn freeze(world: Arc<World>) {
    loop {
        world.pause(Duration::from_secs(300)).await;
        let node = world.pick().await;
        let longest = match world.below(4) {
            0 => 2 * GRACE,
            _ => Duration::from_secs(60),
        };
        world.cloud.note(format_args!("{node:?} freezes"));
        node.link.freeze();
        world.pause(longest).await;
        node.link.thaw();
        world.cloud.note(format_args!("{node:?} thaws"));
    }
}

async fn sweep(world: Arc<World>) {
    loop {
        world.pause(Duration::from_secs(500)).await;
        let node = world.pick().await;
        world.cloud.note(format_args!("{node:?} sweeps"));
        let swept = world.ask(&node, LONG, node.uploads.delete_expired()).await;
        drop(swept);
    }
}

async fn swept(world: &World, node: &Node) -> Checked<u64> {
    world.cloud.note(format_args!("{node:?} sweeps"));
    let expired = node.uploads.delete_expired().await;
    Ok(expired.map_err(|error| format!("a sweep fails: {error:?}"))?.skipped)
}

/// After so long the first sweep looks for what is left of a creation that came to nothing.
const LONGEST_CREATION: Duration = Duration::from_secs(12 * 60 * 60);

fn is_long() -> bool {
    std::env::var_os("LONG").is_some_and(|value| !value.is_empty())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
