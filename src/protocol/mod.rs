//! The protocols on the wire, one folder per dialect, and what all dialects share.
//!
//! A dialect knows HTTP and calls the engine; it never opens a file.

mod body;
mod caller;
pub(crate) mod chunked;
pub(crate) mod completions;
pub(crate) mod disposition;
mod exchange;
mod first_bytes;
mod hand_over;
mod headers;
mod idempotency;
mod kept;
mod location;
mod path;
mod refusals;
pub(crate) mod resumable;
mod token;
pub(crate) mod tus;

pub(crate) use self::body::{Answered, BodyError, BoxError, Incoming, Payload};
pub(crate) use self::caller::Caller;
pub(crate) use self::exchange::{
    Dialect, ERROR_CODE, Exchange, Problem, Reply, Settings, refuse, serve,
};
pub(crate) use self::first_bytes::{Beginning, cancel_if};
pub(crate) use self::hand_over::{
    Discards, Finish, Finished, Framing, Outcome, Pending, Replay, Taken, Unreadable, Verdict,
};
pub(crate) use self::idempotency::{Begun, IDEMPOTENCY_KEY, begin, end_repeated, idempotency_key};
pub(crate) use self::kept::{Given, MAX_BODY};
