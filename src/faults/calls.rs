//! Every call of the system fails once, or from then on until the client has its answer.

use super::{Case, ENDS, WAYS, World, run, sample_of};
use crate::store::fs::disk::plan::{Fault, IO_ERROR, NO_SPACE, READ_ONLY};
use crate::store::{Durability, FileCalls};
use crate::{AppendMode, Error, ErrorKind, UploadId};

pub(super) const FAULTS: [Fault; 5] = [
    Fault::Errno(IO_ERROR),
    Fault::Errno(NO_SPACE),
    Fault::Errno(READ_ONLY),
    Fault::ShortWrite,
    Fault::FailedSync,
];

/// A client whose upload meets the fault somewhere, and goes on from where the server says.
struct Life {
    world: World,
    mode: AppendMode,
    /// How often something failed.
    failures: usize,
}

impl Life {
    fn new(calls: FileCalls, durability: Durability, mode: AppendMode) -> Self {
        Self { world: World::new(durability, calls), mode, failures: 0 }
    }

    /// What failed has to fail cleanly. Then the disk is well again.
    async fn failed(&mut self, error: &Error) {
        let kind = error.kind();
        assert!(matches!(kind, ErrorKind::Store | ErrorKind::Full | ErrorKind::Source), "{kind:?}");
        self.world.rests().await;
        self.world.plan.mend();
        self.failures += 1;
    }

    async fn live(&mut self) {
        let mut upload: Option<(UploadId, usize)> = None;
        for end in ENDS {
            loop {
                let start = upload.map_or(0, |(_, start)| start);
                if start == end {
                    break;
                }
                match self.world.push(upload, end, self.mode).await {
                    Ok(pushed) => upload = Some(pushed),
                    Err(error) => {
                        self.failed(&error).await;
                        if let Some((id, _)) = upload {
                            let offset = self.stands(&id, start, end).await;
                            upload = Some((id, offset));
                        }
                    }
                }
            }
            if let Some((id, at)) = upload {
                assert_eq!(self.stands(&id, at, at).await, at);
            }
        }
        let (id, _) = upload.unwrap();
        while let Err(error) = self.world.finish(&id).await {
            if *error.kind() == ErrorKind::AlreadyComplete {
                break;
            }
            self.failed(&error).await;
        }
        self.world.check_taken(&id);
        self.cancel_one().await;
        self.list().await;
    }

    async fn stands(&mut self, id: &UploadId, start: usize, end: usize) -> usize {
        let places: Vec<usize> = match self.mode {
            AppendMode::AllOrNothing => vec![start, end],
            AppendMode::KeepWhatCame => (start..=end).collect(),
        };
        loop {
            match self.world.stands(id, &places).await {
                Ok(offset) => return offset,
                Err(error) => self.failed(&error).await,
            }
        }
    }

    async fn cancel_one(&mut self) {
        let (id, at) = loop {
            match self.world.push(None, ENDS[0], self.mode).await {
                Ok(upload) => break upload,
                Err(error) => self.failed(&error).await,
            }
        };
        while let Err(error) = self.world.uploads.for_operator().cancel(&id).await {
            if *error.kind() == ErrorKind::NotFound {
                break;
            }
            self.failed(&error).await;
            // It is whole or gone.
            match self.world.uploads.for_operator().status(&id).await {
                Ok(upload) => assert_eq!(upload.offset(), at as u64),
                Err(error) => assert_eq!(*error.kind(), ErrorKind::NotFound),
            }
        }
    }

    async fn list(&mut self) {
        loop {
            let mut listing = self.world.uploads.for_operator().list(crate::Filter::all());
            match listing.next().await {
                Some(Ok(_)) | None => break,
                Some(Err(error)) => self.failed(&error).await,
            }
        }
    }
}

fn every_call_fails(durability: Durability, mode: AppendMode) {
    for way in WAYS {
        let mut life = Life::new(way, durability, mode);
        let (calls, failures) = run(way, async move {
            life.live().await;
            (life.world.plan.calls(), life.failures)
        });
        assert_eq!(failures, 0);
        let (mut lives, mut failures) = (0, 0);
        for (number, fault) in FAULTS.into_iter().enumerate() {
            for lasting in [false, true] {
                for call in sample_of(way, calls, number + usize::from(lasting), 4) {
                    let case =
                        format!("{way:?} {durability:?} {mode:?} {fault:?} {call} {lasting}");
                    let _case = Case(case);
                    let mut life = Life::new(way, durability, mode);
                    let end = if lasting { usize::MAX } else { call + 1 };
                    life.world.plan.fail(fault, call..end);
                    failures += run(way, async move {
                        life.live().await;
                        life.world.plan.mend();
                        life.world.check_nothing_is_left().await;
                        life.failures
                    });
                    lives += 1;
                }
            }
        }
        println!(
            "{way:?}, {durability:?}, {mode:?}: {calls} calls, {lives} lives with a fault, \
             {failures} operations failed, lost 0, wrong 0, left behind 0"
        );
        assert!(failures > lives / 3);
    }
}

#[test]
fn whichever_call_fails_the_upload_goes_on_from_where_it_is_said_to_stand() {
    every_call_fails(Durability::Process, AppendMode::AllOrNothing);
}

#[test]
fn whichever_call_fails_a_synced_upload_goes_on_from_where_it_is_said_to_stand() {
    every_call_fails(Durability::Sync, AppendMode::AllOrNothing);
}

#[test]
fn whichever_call_fails_an_upload_that_keeps_what_came_goes_on() {
    every_call_fails(Durability::Process, AppendMode::KeepWhatCame);
    every_call_fails(Durability::Sync, AppendMode::KeepWhatCame);
}
