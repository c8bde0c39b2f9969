//! Whether uploads can be stored.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Mutex;

use super::core::Engine;
use super::detached;
use super::error::{Error, ErrorKind};

/// The result of a [check](crate::Uploads::check).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// How many bytes can still be stored; `None` if the store cannot tell, such as a bucket.
    pub free_bytes: Option<u64>,
}

/// The checks of one engine, of which one runs at a time.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// When the last one began, and what it found.
    last: Arc<Mutex<Option<(Instant, Result<Health, Error>)>>>,
}

pub(super) async fn check(engine: &Arc<Engine>) -> Result<Health, Error> {
    let called = Instant::now();
    let mut last = Arc::clone(&engine.checks.last).lock_owned().await;
    // Taken before the look, so that a shutdown that starts right after it waits for this check.
    let guard = engine.claims.guard();
    if engine.claims.is_closed() {
        return Err(ErrorKind::ShuttingDown.into());
    }
    if let Some((began, found)) = &*last
        && *began >= called
    {
        return found.clone();
    }
    let engine = Arc::clone(engine);
    // Who leaves does not let another one begin before this one has ended.
    detached(async move {
        let _guard = guard;
        let began = Instant::now();
        let found = look(&engine).await;
        *last = Some((began, found.clone()));
        found
    })
    .await
}

async fn look(engine: &Engine) -> Result<Health, Error> {
    engine.store.probe().await?;
    Ok(Health { free_bytes: engine.store.free_bytes().await? })
}
