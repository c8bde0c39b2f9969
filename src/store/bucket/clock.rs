//! The clocks of a node, and for how long it believes what it has read.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

#[derive(Clone)]
pub(super) struct Clock {
    pub(super) wall: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    pub(super) grace: Duration,
    #[cfg(test)]
    pub(super) mutation: Mutation,
}

/// A moment by the monotonic clock, and by the one that also counts the time that a machine has
/// slept.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

/// Mistakes, each of which the simulation must notice.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mutation {
    #[default]
    None,
    /// An object that exists is taken for this node's own.
    NoNonceCheck,
    /// An object that exists is taken for another's.
    NoHeadAfterConflict,
    /// A commit that took long is acknowledged without a look whether the upload was removed.
    NoEndCheck,
    /// What was removed is deleted at once.
    NoGrace,
    /// The key of a creation is passed over.
    NoKeys,
    /// None of this store's: a token is good for all uploads of its owner.
    NoUploadInToken,
    /// What the application has answered is not part of what a commit changes.
    NoAnswer,
    /// A complete upload is handed over again.
    RunsAgain,
}

impl Clock {
    pub(super) fn now(&self) -> SystemTime {
        (self.wall)()
    }

    pub(super) fn moment(&self) -> Moment {
        Moment { monotonic: Instant::now(), wall: self.now() }
    }

    /// How long ago that was, by the clock that says more.
    pub(super) fn age(&self, moment: Moment) -> Duration {
        let slept = self.now().duration_since(moment.wall).unwrap_or_default();
        moment.monotonic.elapsed().max(slept)
    }

    /// Whether what was read at that moment can be believed without a look whether the upload was
    /// removed since: a tombstone outlives it.
    pub(super) fn is_fresh(&self, read: Moment) -> bool {
        self.age(read) <= self.grace / 2
    }

    /// How long the objects of a removed upload are kept.
    pub(super) fn retention(&self) -> Duration {
        #[cfg(test)]
        if self.is(Mutation::NoGrace) {
            return Duration::ZERO;
        }
        self.grace
    }

    #[cfg(test)]
    pub(super) fn is(&self, mutation: Mutation) -> bool {
        self.mutation == mutation
    }
}
