//! A check on a disk that fails, ends in the middle, or hangs.

use std::error::Error as _;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::calls::FAULTS;
use super::{Case, WAYS, World, files_below, run};
use crate::ErrorKind;
use crate::store::Durability;
use crate::store::fs::disk::plan::{Fault, NO_SPACE};

const NONE: [PathBuf; 0] = [];

/// What a check says when it fails: nothing of the disk to a client, and all to the operator.
fn is_told(world: &World, error: &crate::Error, fault: Fault) {
    let full = matches!(fault, Fault::Errno(NO_SPACE) | Fault::ShortWrite);
    let kind = if full { ErrorKind::Full } else { ErrorKind::Store };
    assert_eq!(*error.kind(), kind, "{error:?}");
    assert!(!error.to_string().contains('/'), "{error}");
    let why = error.source().unwrap();
    assert!(why.to_string().contains(world.root().to_str().unwrap()), "{why}");
    assert!(why.source().unwrap().to_string().contains("os error"), "{why:?}");
}

/// The call fails and the next ones do not; or they do too, which leaves what the end of the process
/// leaves: files that nobody has locked.
#[test]
fn whichever_call_fails_is_told_and_nothing_is_left_in_the_end() {
    for (way, durability) in WAYS.into_iter().zip([Durability::Process, Durability::Sync]) {
        let world = World::new(durability, way);
        let calls = run(way, async move {
            world.uploads.check().await.unwrap();
            assert_eq!(files_below(&world.root()), NONE);
            world.plan.calls()
        });
        for fault in FAULTS {
            let (mut failed, mut left, mut struck) = (0, 0, 0);
            for (call, lasting) in (0..calls).flat_map(|call| [(call, false), (call, true)]) {
                let _case = Case(format!("{way:?} {durability:?} {fault:?} {call} {lasting}"));
                let world = World::new(durability, way);
                let end = if lasting { usize::MAX } else { call + 1 };
                world.plan.fail(fault, call..end);
                let (has_failed, was_left, was_struck) = run(way, async move {
                    let checked = world.uploads.check().await;
                    let struck = world.plan.mend();
                    if let Err(error) = &checked {
                        is_told(&world, error, fault);
                    }
                    let left = files_below(&world.root()).len();
                    assert!(checked.is_err() || left == 0, "{left} files are left");
                    let page = crate::store::Store::list(&world.store, None).await.unwrap();
                    assert!(page.uploads.is_empty() && page.abandoned.is_empty());
                    world.uploads.check().await.unwrap();
                    assert_eq!(files_below(&world.root()), NONE);
                    (checked.is_err(), left > 0, struck)
                });
                failed += usize::from(has_failed);
                left += usize::from(was_left);
                struck += usize::from(was_struck);
            }
            println!(
                "{way:?}, {durability:?}, {fault:?}: {struck} checks met it, {failed} failed, {left} left \
                 files to the next"
            );
            // It may strike the removal of a folder that has become empty, or of what is not there.
            assert!(failed > struck / 2);
            assert_eq!(left > 0, matches!(fault, Fault::Errno(_)));
        }
    }
}

/// However often it is asked, and given up.
#[test]
fn a_disk_that_hangs_holds_up_one_thread_and_no_worker() {
    for way in WAYS {
        let world = Arc::new(World::new(Durability::Sync, way));
        run(way, async move {
            world.plan.fail(Fault::Hang, 5..6);
            let checks: Vec<_> = (0..20)
                .map(|_| {
                    let world = Arc::clone(&world);
                    tokio::spawn(async move { world.uploads.check().await })
                })
                .collect();
            while !world.plan.hangs() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // The one that has begun goes on although nobody waits for it.
            for check in &checks[..10] {
                check.abort();
            }
            let late = tokio::time::timeout(Duration::from_millis(20), world.uploads.check());
            assert!(late.await.is_err());
            assert_eq!(world.plan.hanging().len(), 1);
            world.plan.mend();
            for check in checks.into_iter().skip(10) {
                check.await.unwrap().unwrap();
            }
            world.rests().await;
            assert_eq!(files_below(&world.root()), NONE);
        });
    }
}

/// What it has begun is over before a shutdown returns, and none begins after that.
#[test]
fn a_shutdown_waits_for_a_check_and_ends_them() {
    for way in WAYS {
        let world = Arc::new(World::new(Durability::Process, way));
        run(way, async move {
            world.plan.fail(Fault::Hang, 5..6);
            let check = tokio::spawn({
                let world = Arc::clone(&world);
                async move { world.uploads.check().await }
            });
            while !world.plan.hangs() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            check.abort();
            let mut shutdown = pin!(world.uploads.shutdown(Duration::ZERO));
            let early = tokio::time::timeout(Duration::from_millis(20), &mut shutdown).await;
            world.plan.mend();
            assert!(early.is_err(), "it did not wait");
            shutdown.await;
            let calls = world.plan.calls();
            assert_eq!(files_below(&world.root()), NONE);
            let refused = world.uploads.check().await.unwrap_err();
            assert_eq!(*refused.kind(), ErrorKind::ShuttingDown);
            assert_eq!(world.plan.calls(), calls);
        });
    }
}
