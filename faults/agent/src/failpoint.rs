//! Places at which the agent or its guard can be made to die, between any two steps of journal, apply and revert: by
//! `FIREDRILL_FAILPOINT=<point>` in debug builds, or `<point>,guard` for the agent and its guard together. With
//! `<point>,refuse` a deed fails at that point as if the system had refused its next step, and the agent lives on. With
//! `@<file>` the file says which, read anew at each point. In release builds nothing of it is left.

use std::sync::{Mutex, PoisonError};

use firedrill_sys::identity::Identity;

use crate::protocol::{Refusal, RefusalKind};

/// The environment variable that asks for a death.
pub const VARIABLE: &str = "FIREDRILL_FAILPOINT";

/// The points that the agent passes, in the order in which an action passes them.
pub const OF_AGENT: [&str; 11] = [
    "before-journal",
    "after-journal",
    "after-guard",
    "mid-apply",
    "after-apply",
    "after-held",
    "before-revert",
    "mid-revert",
    "after-revert",
    "before-release",
    "after-release",
];

/// The points in the middle of deeds, each passed by the deeds of one kind.
pub const OF_DEEDS: [&str; 17] = [
    "clock-mid-apply",
    "disk-mid-apply",
    "disk-mid-revert",
    "impair-mid-apply",
    "impair-mid-revert",
    "loop-mid-apply",
    "oom-mid-apply",
    "power-after-marks",
    "power-after-wire",
    "power-after-loss",
    "power-mid-revert",
    "press-mid-apply",
    "press-mid-revert",
    "rest-mid-apply",
    "rest-mid-revert",
    "roll-mid-apply",
    "stop-mid-apply",
];

/// The points that the guard passes once its agent has died.
pub const OF_GUARD: [&str; 3] = ["guard-before-undo", "guard-after-undo", "guard-after-release"];

/// The guard of this agent.
static GUARD: Mutex<Option<Identity>> = Mutex::new(None);

/// To be called when the agent has a guard, or another one.
pub fn guarded_by(guard: Option<Identity>) {
    *GUARD.lock().unwrap_or_else(PoisonError::into_inner) = guard;
}

/// Dies here if so asked; the guard goes first if it is asked too.
pub fn at(point: &str) {
    let Some(asked) = asked() else { return };
    let (name, both) = asked.strip_suffix(",guard").map_or((asked.as_str(), false), |name| (name, true));
    // A guard does deeds too, when it undoes them: it dies at its own points only.
    let is_guard = std::env::args().nth(1).is_some_and(|role| role == crate::guard::ARGUMENT);
    if name != point || (is_guard && !OF_GUARD.contains(&point)) {
        return;
    }
    let guard = *GUARD.lock().unwrap_or_else(PoisonError::into_inner);
    if let (Some(guard), true) = (guard, both) {
        // A guard that cannot be killed makes the test that asked fail.
        drop(guard.kill());
    }
    firedrill_sys::process::die();
}

/// The same between two steps of a deed, which fails here if it is asked to be refused.
pub fn within(point: &str) -> Result<(), Refusal> {
    at(point);
    match asked().and_then(|asked| asked.strip_suffix(",refuse").map(|name| name == point)) {
        Some(true) => Err(Refusal::new(RefusalKind::System, format!("{VARIABLE} refuses to go on at {point}"))),
        Some(false) | None => Ok(()),
    }
}

/// What is asked for now; never anything in a release build.
fn asked() -> Option<String> {
    if !cfg!(debug_assertions) {
        return None;
    }
    let asked = std::env::var(VARIABLE).ok()?;
    match asked.strip_prefix('@') {
        // A file that is not there asks for nothing.
        Some(file) => std::fs::read_to_string(file).ok().map(|asked| asked.trim().to_owned()),
        None => Some(asked),
    }
}
