//! Every operation is dropped after its n-th poll, for every n.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;

use super::{Case, ENDS, WAYS, World, run};
use crate::store::Durability;
use crate::{AppendMode, Error, ErrorKind, Filter, UploadId};

/// An operation on an upload that stands at the second of [`ENDS`], or is whole.
type Operation = for<'a> fn(
    &'a World,
    &'a UploadId,
) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

const PARTIAL: &[(&str, Operation)] = &[
    ("create", |world, _| {
        Box::pin(async { world.push(None, ENDS[0], AppendMode::AllOrNothing).await.map(drop) })
    }),
    ("append", |world, id| {
        let from = Some((*id, ENDS[1]));
        Box::pin(async move { world.push(from, ENDS[3], AppendMode::AllOrNothing).await.map(drop) })
    }),
    ("append a little", |world, id| {
        let from = Some((*id, ENDS[1]));
        let end = ENDS[1] + 5;
        Box::pin(async move { world.push(from, end, AppendMode::AllOrNothing).await.map(drop) })
    }),
    ("append and keep", |world, id| {
        let from = Some((*id, ENDS[1]));
        Box::pin(async move { world.push(from, ENDS[3], AppendMode::KeepWhatCame).await.map(drop) })
    }),
    ("status", |world, id| {
        Box::pin(async { world.uploads.for_operator().status(id).await.map(drop) })
    }),
    ("cancel", |world, id| {
        Box::pin(async { world.uploads.for_operator().cancel(id).await.map(drop) })
    }),
    ("list", |world, _| {
        Box::pin(async {
            let mut listing = world.uploads.for_operator().list(Filter::all());
            while let Some(upload) = listing.next().await {
                upload?;
            }
            Ok(())
        })
    }),
    ("sweep", |world, _| Box::pin(async { world.uploads.delete_expired().await.map(drop) })),
    ("sweep one", |world, id| {
        Box::pin(async { world.uploads.for_operator().delete_if_expired(id).await.map(drop) })
    }),
    ("complete too early", |world, id| {
        Box::pin(async {
            let error = world.uploads.for_operator().complete(id, None).await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Incomplete { .. } | ErrorKind::Finishing));
            Ok(())
        })
    }),
];

const WHOLE: &[(&str, Operation)] = &[
    ("complete", |world, id| {
        Box::pin(async {
            world.uploads.for_operator().complete(id, Some(world.digest())).await.map(drop)
        })
    }),
    ("complete, persist, finish", |world, id| Box::pin(world.finish(id))),
    ("complete, reopen", |world, id| {
        Box::pin(async {
            world.uploads.for_operator().complete(id, None).await?.reopen().await.map(drop)
        })
    }),
    ("complete, persist, reopen", |world, id| {
        Box::pin(async {
            let completion = world.uploads.for_operator().complete(id, None).await?;
            completion.file().persist(world.target(id)).await?;
            completion.reopen().await.map(drop)
        })
    }),
];

/// Polls it so often and drops it; says whether it had come to its end.
async fn poll_times(work: impl Future<Output = Result<(), Error>>, times: usize) -> bool {
    let (mut work, mut left) = (pin!(work), times);
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match work.as_mut().poll(cx) {
            Poll::Ready(result) => {
                result.unwrap();
                Poll::Ready(true)
            }
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn dropped_after_every_poll(
    durability: Durability,
    begun: usize,
    operations: &'static [(&str, Operation)],
) {
    for way in WAYS {
        let mut drops = 0;
        for (name, operation) in operations {
            for polls in 0.. {
                let _case = Case(format!("{way:?} {durability:?} {name} after {polls} polls"));
                let world = World::new(durability, way);
                let ended = run(way, async move {
                    let from = world.push(None, ENDS[0], AppendMode::AllOrNothing).await.unwrap();
                    let (id, at) =
                        world.push(Some(from), begun, AppendMode::AllOrNothing).await.unwrap();
                    let ended = poll_times(operation(&world, &id), polls).await;
                    check(&world, &id, at).await;
                    world.check_nothing_is_left().await;
                    ended
                });
                drops += 1;
                if ended {
                    break;
                }
            }
        }
        println!("{way:?}, {durability:?}: dropped {drops} times, lost 0, wrong 0, left behind 0");
    }
}

async fn check(world: &World, id: &UploadId, at: usize) {
    let places: Vec<usize> = (at..=ENDS[3].max(at)).collect();
    // What was under way when the future was dropped may still count.
    world.rests().await;
    match world.stands(id, &places).await {
        Ok(at) => world.go_on(id, at).await,
        // It was cancelled.
        Err(error) => assert_eq!(*error.kind(), ErrorKind::NotFound, "{error:?}"),
    }
}

#[test]
fn an_operation_on_a_part_that_is_dropped_anywhere_is_done_or_not() {
    dropped_after_every_poll(Durability::Process, ENDS[1], PARTIAL);
    dropped_after_every_poll(Durability::Sync, ENDS[1], PARTIAL);
}

#[test]
fn an_operation_on_a_whole_upload_that_is_dropped_anywhere_is_done_or_not() {
    dropped_after_every_poll(Durability::Process, ENDS[5], WHOLE);
    dropped_after_every_poll(Durability::Sync, ENDS[5], WHOLE);
}
