//! Places at which the harness can be made to die, between any two of its own steps around an injection: by
//! `FIREDRILL_FAILPOINT=<point>` in debug builds, or `<point>@<n>` for the n-th time that it is passed. In release builds
//! nothing of it is left. The agent has points of its own under the same variable; no two bear the same name.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The environment variable that asks for a death.
pub const VARIABLE: &str = "FIREDRILL_FAILPOINT";

/// The points, in the order in which an injection passes them.
pub const OF_HARNESS: [&str; 17] = [
    "harness-journal-made",
    "harness-journal-headed",
    "harness-before-prepare",
    "harness-prepared",
    "harness-entry-written",
    "harness-intent-synced",
    "harness-asking-apply",
    "harness-answered-apply",
    "harness-applied-synced",
    "harness-applied-told",
    "harness-before-revert",
    "harness-asking-revert",
    "harness-answered-revert",
    "harness-reverted-told",
    "harness-released",
    "harness-before-close",
    "harness-closed",
];

/// How long an ask may be on its way before a death in the middle of it.
const ON_ITS_WAY: Duration = Duration::from_millis(3);

/// Dies here if so asked, as if killed: nothing is flushed, nobody is told.
pub(crate) fn at(point: &str) {
    static PASSED: AtomicU32 = AtomicU32::new(0);
    if let Some(wanted) = asked(point)
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == wanted
    {
        std::process::abort();
    }
}

/// Does it, and dies here if so asked while it is being done, or has just been done.
pub(crate) async fn amid<T>(point: &str, work: impl Future<Output = T>) -> T {
    if asked(point).is_none() {
        return work.await;
    }
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => {
            at(point);
            done
        }
        () = tokio::time::sleep(ON_ITS_WAY) => {
            at(point);
            work.await
        }
    }
}

/// The how manieth passing of the point is asked for, if any is.
fn asked(point: &str) -> Option<u32> {
    if !cfg!(debug_assertions) {
        return None;
    }
    let asked = std::env::var(VARIABLE).ok()?;
    match asked.split_once('@') {
        Some((name, number)) => (name == point).then(|| number.parse().ok()).flatten(),
        None => (asked == point).then_some(1),
    }
}
