//! Live measures over the last second, for the steady gate, halt conditions and the console. Verdicts never use them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use firedrill_core::cluster::{ClusterView, Role};
use firedrill_core::history::{Call, Route};
use firedrill_core::scenario::{Condition, Measure};
use firedrill_core::time::RunTime;

const WINDOW: Duration = Duration::from_secs(1);

/// What router clients got in the last second.
#[derive(Default)]
pub(crate) struct Meter {
    recent: Mutex<VecDeque<Recent>>,
}

struct Recent {
    at: RunTime,
    ok: bool,
    latency: Duration,
}

/// The measures at a moment.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Reading {
    pub(crate) ok: f64,
    pub(crate) bad: f64,
    pub(crate) latency_p99: f64,
}

impl Meter {
    pub(crate) fn count(&self, call: &Call) {
        let (Route::Router, Some((at, outcome))) = (&call.route, &call.completed) else { return };
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back(Recent { at: *at, ok: outcome.is_ok(), latency: at.since(call.due) });
        while recent.front().is_some_and(|first| at.since(first.at) > WINDOW) {
            recent.pop_front();
        }
    }

    pub(crate) fn read(&self, now: RunTime) -> Reading {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        while recent.front().is_some_and(|first| now.since(first.at) > WINDOW) {
            recent.pop_front();
        }
        let mut latencies: Vec<Duration> = recent.iter().filter(|one| one.ok).map(|one| one.latency).collect();
        latencies.sort_unstable();
        let bad = recent.len() - latencies.len();
        let rank = (latencies.len() * 99).div_ceil(100).saturating_sub(1);
        Reading {
            ok: count(latencies.len()),
            bad: count(bad),
            latency_p99: latencies.get(rank).map_or(f64::INFINITY, Duration::as_secs_f64),
        }
    }
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}

/// A condition and since when it has held without a break.
pub(crate) struct Gate {
    condition: Condition,
    since: Option<RunTime>,
    seen: f64,
}

impl Gate {
    pub(crate) fn new(condition: &Condition) -> Self {
        Self { condition: condition.clone(), since: None, seen: f64::NAN }
    }

    pub(crate) fn text(&self) -> &str {
        &self.condition.text
    }

    /// Looks once; `true` when it has held for its own time.
    pub(crate) fn look(&mut self, view: &ClusterView, reading: Reading, now: RunTime) -> bool {
        self.seen = measure(self.condition.measure, view, reading);
        if !self.condition.comparison.holds(self.seen, self.condition.value) {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        now.since(since) >= self.condition.hold
    }

    /// `ok-ratio >= 99.9% (now 0.42)`.
    pub(crate) fn in_words(&self) -> String {
        let seen = format!("{:.4}", self.seen);
        format!("{} (now {})", self.condition.text, seen.trim_end_matches('0').trim_end_matches('.'))
    }
}

fn measure(what: Measure, view: &ClusterView, reading: Reading) -> f64 {
    match what {
        Measure::Primaries => count(view.primaries()),
        Measure::Streaming => count(view.streaming()),
        Measure::SyncStandbys => count(view.with_role(Role::SyncStandby).len()),
        Measure::Up => count(view.nodes.iter().filter(|node| node.up).count()),
        Measure::OkRatio if reading.ok + reading.bad == 0.0 => 0.0,
        Measure::OkRatio => reading.ok / (reading.ok + reading.bad),
        Measure::OkRate => reading.ok,
        Measure::LatencyP99 => reading.latency_p99,
    }
}
