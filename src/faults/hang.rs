//! Every call of the system hangs once, the client leaves, and everybody else goes on.

use std::time::Duration;

use super::{Case, ENDS, World, run, running_tasks, sample};
use crate::store::Durability;
use crate::store::fs::disk::plan::Fault;
use crate::{AppendMode, Error, UploadId};

/// An upload from its beginning to its end, of which `told` has what its client knows.
async fn live(
    world: &World,
    told: &std::sync::Mutex<Option<(UploadId, usize)>>,
) -> Result<(), Error> {
    for end in ENDS {
        let upload = *told.lock().unwrap();
        let pushed = world.push(upload, end, AppendMode::AllOrNothing).await?;
        *told.lock().unwrap() = Some(pushed);
    }
    let (id, _) = told.lock().unwrap().unwrap();
    world.finish(&id).await
}

/// Lets what hangs go on, also if the test has failed: the runtime waits for it.
struct Mend<'a>(&'a World);

impl Drop for Mend<'_> {
    fn drop(&mut self) {
        self.0.plan.mend();
    }
}

/// On a runtime with one thread: a call on it that blocks would block the other upload.
async fn hangs_at(world: &World, call: usize) -> bool {
    let _mend = Mend(world);
    let told = std::sync::Mutex::new(None);
    world.plan.fail(Fault::Hang, call..call + 1);
    let hangs = async {
        while !world.plan.hangs() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        result = live(world, &told) => {
            result.unwrap();
            return false;
        }
        () = hangs => {}
    }
    // The client has left in the middle of it.
    let other = std::sync::Mutex::new(None);
    live(world, &other).await.unwrap();
    let told = *told.lock().unwrap();
    if let Some((id, at)) = told {
        // Nothing counts before its last call.
        world.stands(&id, &[at]).await.unwrap();
    }
    world.plan.mend();
    world.rests().await;
    if let Some((id, at)) = told {
        let end = ENDS.into_iter().find(|end| *end > at).unwrap_or(at);
        let at = world.stands(&id, &[at, end]).await.unwrap();
        world.go_on(&id, at).await;
    }
    true
}

fn every_call_hangs(durability: Durability) {
    let world = World::new(durability);
    let calls = run(async {
        live(&world, &std::sync::Mutex::new(None)).await.unwrap();
        world.plan.calls()
    });
    let mut hung = 0;
    for call in sample(calls, 0, 5) {
        let _case = Case(format!("{durability:?} {call}"));
        let world = World::new(durability);
        run(async {
            hung += usize::from(hangs_at(&world, call).await);
            world.uploads.shutdown(Duration::from_secs(10)).await;
        });
    }
    println!("{durability:?}: {calls} calls, {hung} of them hung, none held another upload up");
    assert!(hung > 0);
}

#[test]
fn a_call_that_hangs_holds_no_other_upload_up_and_loses_nothing() {
    every_call_hangs(Durability::Process);
    every_call_hangs(Durability::Sync);
}

/// What a shutdown returns from is over: no call of the system comes afterwards.
#[test]
fn nothing_outlives_a_shutdown() {
    let world = World::new(Durability::Process);
    let calls = run(async {
        live(&world, &std::sync::Mutex::new(None)).await.unwrap();
        world.plan.calls()
    });
    for call in sample(calls, 1, 5) {
        let _case = Case(format!("{call}"));
        let world = World::new(Durability::Process);
        run(async {
            let _mend = Mend(&world);
            let told = std::sync::Mutex::new(None);
            world.plan.fail(Fault::Hang, call..call + 1);
            let sweeper = world.uploads.sweep_every(Duration::from_millis(1));
            {
                let work = live(&world, &told);
                tokio::select! {
                    _ = work => {}
                    () = async {
                        while !world.plan.hangs() {
                            tokio::task::yield_now().await;
                        }
                    } => {}
                }
            }
            let shutdown = world.uploads.shutdown(Duration::from_millis(5));
            let mend = async {
                tokio::time::sleep(Duration::from_millis(3)).await;
                world.plan.mend();
            };
            tokio::join!(shutdown, mend);
            let (before, tasks) = (world.plan.calls(), running_tasks());
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!((world.plan.calls(), running_tasks()), (before, tasks));
            assert_eq!(tasks, 0);
            drop(sweeper);
        });
    }
}
