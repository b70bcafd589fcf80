//! What a process may see of writes: never less than before, always its own, and never too old.

use std::time::Duration;

use super::calls::Calls;
use super::{Asked, Ended, Findings, Model, Refusal, elements, registers};

/// What is asked of sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Question {
    /// How old was what they read?
    Staleness,
    /// Did they read their own writes?
    OwnWrites,
    /// Did they ever read less than before?
    Order,
}

impl Question {
    pub(super) fn of(model: Model) -> Self {
        if model == Model::BoundedStaleness {
            Self::Staleness
        } else if model == Model::ReadYourWrites {
            Self::OwnWrites
        } else {
            Self::Order
        }
    }
}

pub(super) fn check(asked: &mut Asked<'_, '_>, calls: &Calls<'_>, findings: &mut Findings) -> Result<(), Ended> {
    if calls.all.iter().any(|call| call.f == "add") {
        elements::check(asked, calls, findings)
    } else {
        registers::check(asked, calls, findings)
    }
}

/// How old something was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Age {
    /// Nanoseconds, when the history has times.
    pub(super) nanos: Option<i64>,
    /// Whether that is more than is allowed.
    pub(super) is_too_old: bool,
}

/// The age of what was replaced at one place and read by a call that began at another, if that is later. Without a bound
/// the order of the events is enough.
pub(super) fn age(calls: &Calls<'_>, bound: Duration, replaced: usize, begins: usize) -> Result<Option<Age>, Ended> {
    if replaced >= begins {
        return Ok(None);
    }
    let nanos = calls.between(replaced, begins).map(|nanos| nanos.max(0));
    if bound.is_zero() {
        return Ok(Some(Age { nanos, is_too_old: true }));
    }
    let bound = i64::try_from(bound.as_nanos()).unwrap_or(i64::MAX);
    match nanos {
        Some(nanos) => Ok(Some(Age { nanos: Some(nanos), is_too_old: nanos > bound })),
        None => Err(Refusal::Timeless { found: calls.op(begins).to_string() }.into()),
    }
}

/// The oldest thing that was read, and in how many reads there was any.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Oldest {
    reads: usize,
    worst: Option<i64>,
}

impl Oldest {
    pub(super) fn note(&mut self, age: Age) {
        self.reads += 1;
        self.worst = self.worst.max(age.nanos);
    }

    pub(super) fn figures(self, findings: &mut Findings) {
        findings.count("stale-reads", self.reads);
        if let Some(worst) = self.worst {
            findings.figure("worst-staleness-ns", worst);
        }
    }
}

/// An age in words.
pub(super) fn words(age: Age) -> String {
    age.nanos
        .map_or_else(|| "before".to_owned(), |nanos| format!("{:?} before", Duration::from_nanos(nanos.unsigned_abs())))
}
