//! Measures over the repeats of a scenario: distributions, and the bounds that `[objectives]` sets. What never happened
//! counts as longer than everything that did, and is never dropped. Percentiles are by nearest rank.

use std::collections::BTreeMap;
use std::time::Duration;

use firedrill_core::record::{Distribution, ObjectiveRecord, RunRecord};
use firedrill_core::scenario::{Objective, ObjectiveMeasure, Statistic};
use firedrill_core::units::human;
use firedrill_core::verdict::Verdict;

use crate::calls::{nearest_rank, number64};
use crate::run::LOST_ACKNOWLEDGED;

/// Below so many runs there is no 95th percentile.
pub const RUNS_FOR_P95: usize = 20;

/// The values of one measure of one fault, ascending; infinite for what did not happen while watched.
struct Values {
    fault: String,
    measure: ObjectiveMeasure,
    sorted: Vec<f64>,
    /// The longest that was watched for something that did not happen, seconds.
    watched: f64,
}

impl Values {
    fn at(&self, statistic: Statistic) -> Option<f64> {
        let percent = match statistic {
            Statistic::P50 => 50,
            Statistic::P95 if self.sorted.len() < RUNS_FOR_P95 => return None,
            Statistic::P95 => 95,
            Statistic::Max => 100,
        };
        nearest_rank(&self.sorted, percent)
    }

    fn never(&self) -> usize {
        self.sorted.iter().filter(|value| value.is_infinite()).count()
    }
}

fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

/// Every measured value over the runs, by fault in order of first appearance and by measure.
fn values(runs: &[RunRecord]) -> Vec<Values> {
    let mut found: Vec<Values> = Vec::new();
    let mut add = |fault: &str, measure, value: Option<f64>, watched: f64| {
        let place = found.iter().position(|values| values.fault == fault && values.measure == measure);
        let place = place.unwrap_or_else(|| {
            found.push(Values { fault: fault.to_owned(), measure, sorted: Vec::new(), watched: 0.0 });
            found.len() - 1
        });
        found[place].sorted.push(value.unwrap_or(f64::INFINITY));
        if value.is_none() {
            found[place].watched = found[place].watched.max(watched);
        }
    };
    for fault in runs.iter().flat_map(|run| &run.faults) {
        let recovery = &fault.recovery;
        for (measure, value) in &recovery.phases {
            add(&fault.id, *measure, *value, recovery.watched);
        }
        if let Some(lost) = recovery.lost_writes {
            add(&fault.id, ObjectiveMeasure::LostWrites, Some(number64(lost)), recovery.watched);
        }
    }
    for values in &mut found {
        values.sorted.sort_by(f64::total_cmp);
    }
    let mut order: BTreeMap<String, usize> = BTreeMap::new();
    for fault in runs.iter().flat_map(|run| &run.faults) {
        let next = order.len();
        order.entry(fault.id.clone()).or_insert(next);
    }
    found.sort_by_key(|values| (order.get(&values.fault).copied(), values.measure));
    found
}

/// The distribution of every measure of every fault over the runs.
pub fn distributions(runs: &[RunRecord]) -> Vec<Distribution> {
    let distribution = |values: Values| Distribution {
        n: values.sorted.len(),
        never: values.never(),
        min: finite(values.sorted.first().copied()),
        p50: finite(values.at(Statistic::P50)),
        p95: finite(values.at(Statistic::P95)),
        max: finite(values.at(Statistic::Max)),
        fault: values.fault,
        measure: values.measure,
    };
    values(runs).into_iter().map(distribution).collect()
}

/// Each bound against the runs. A time is judged for each fault that it applies to, and the worst fault counts;
/// `lost-writes` is judged on all acknowledged writes a run lost, whatever dropped them.
pub fn objectives(bounds: &[Objective], runs: &[RunRecord]) -> Vec<ObjectiveRecord> {
    let values = values(runs);
    let record = |bound: &Objective| match bound.measure {
        ObjectiveMeasure::LostWrites => lost_writes(bound, runs),
        ObjectiveMeasure::Detected
        | ObjectiveMeasure::Elected
        | ObjectiveMeasure::Promoted
        | ObjectiveMeasure::Fenced
        | ObjectiveMeasure::Failover
        | ObjectiveMeasure::Redundancy
        | ObjectiveMeasure::Drained => time(bound, &values),
    };
    bounds.iter().map(record).collect()
}

fn undecided(objective: &Objective, n: usize, why: &str) -> ObjectiveRecord {
    let summary = format!("{} {}: {why}", objective.measure.word(), objective.statistic.word());
    ObjectiveRecord { objective: objective.clone(), verdict: Verdict::Invalid, reached: None, n, summary }
}

fn too_few(n: usize) -> String {
    format!("needs {RUNS_FOR_P95} values, there are {n}")
}

fn time(bound: &Objective, all: &[Values]) -> ObjectiveRecord {
    let of_measure = || all.iter().filter(|values| values.measure == bound.measure);
    let most = of_measure().map(|values| values.sorted.len()).max().unwrap_or(0);
    let reached = of_measure().filter_map(|values| Some((values, values.at(bound.statistic)?)));
    let Some((values, worst)) = reached.max_by(|a, b| a.1.total_cmp(&b.1)) else {
        let why =
            if most == 0 { "nothing was measured, no fault interrupted the service".to_owned() } else { too_few(most) };
        return undecided(bound, most, &why);
    };
    let n = values.sorted.len();
    let (measure, statistic) = (bound.measure.word(), bound.statistic.word());
    let (fault, limit) = (&values.fault, &bound.text);
    let (verdict, reached, summary) = if worst.is_finite() {
        let met = worst <= bound.at_most;
        let verdict = if met { Verdict::Pass } else { Verdict::Slow };
        let sign = if met { "within" } else { "over" };
        let words = format!("{measure} {statistic} {} after {fault}, {sign} {limit} (n = {n})", in_seconds(worst));
        (verdict, Some(worst), words)
    } else {
        let (never, watched) = (values.never(), in_seconds(values.watched));
        let words =
            format!("{measure} {statistic} after {fault} not within {watched} in {never} of {n}, limit {limit}");
        (Verdict::Slow, None, words)
    };
    ObjectiveRecord { objective: bound.clone(), verdict, reached, n, summary }
}

fn in_seconds(value: f64) -> String {
    human(Duration::try_from_secs_f64(value).unwrap_or(Duration::MAX))
}

fn lost_writes(bound: &Objective, runs: &[RunRecord]) -> ObjectiveRecord {
    let lost = runs.iter().filter_map(|run| run.run.figures.get(LOST_ACKNOWLEDGED).copied());
    let mut sorted: Vec<f64> = lost.collect();
    sorted.sort_by(f64::total_cmp);
    let values = Values { fault: String::new(), measure: bound.measure, sorted, watched: 0.0 };
    let n = values.sorted.len();
    let Some(reached) = values.at(bound.statistic) else {
        let why = if n == 0 { "no run could tell what was lost".to_owned() } else { too_few(n) };
        return undecided(bound, n, &why);
    };
    let (statistic, limit) = (bound.statistic.word(), &bound.text);
    let unknown = runs.len() - n;
    let verdict = match (reached <= bound.at_most, unknown) {
        (false, _) => Verdict::Slow,
        (true, 0) => Verdict::Pass,
        (true, _) => Verdict::Invalid,
    };
    let rest = if unknown == 0 { String::new() } else { format!("; {unknown} runs could not tell") };
    let sign = if reached <= bound.at_most { "within" } else { "over" };
    let summary = format!("lost-writes {statistic} {reached}, {sign} {limit} (n = {n}{rest})");
    ObjectiveRecord { objective: bound.clone(), verdict, reached: Some(reached), n, summary }
}
