//! Waiting with a reason and a deadline: level-triggered, and a timeout says what was last seen.

use std::time::Duration;

use thiserror::Error;

use crate::time::Clock;

/// A wait that ended without what was waited for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} did not happen within {}; last seen: {last}", crate::units::human(*.waited))]
pub struct TimedOut {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub waited: Duration,
    /// What the last look saw.
    pub last: String,
}

/// Looks every `interval` until `look` returns `Ok`, for at most `limit`. `Err` of `look` is what was seen instead.
pub async fn until<T, F, Look>(
    what: &str,
    clock: Clock,
    limit: Duration,
    interval: Duration,
    mut look: F,
) -> Result<T, TimedOut>
where
    F: FnMut() -> Look,
    Look: Future<Output = Result<T, String>>,
{
    let started = clock.now();
    let deadline = started.plus(limit);
    let mut last = "nothing yet".to_owned();
    loop {
        match tokio::time::timeout_at(clock.instant(deadline), look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => last = seen,
            Err(_) => return Err(TimedOut { what: what.to_owned(), waited: limit, last }),
        }
        if clock.now().plus(interval) >= deadline {
            return Err(TimedOut { what: what.to_owned(), waited: clock.now().since(started), last });
        }
        clock.sleep(interval).await;
    }
}
