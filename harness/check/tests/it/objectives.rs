use std::collections::BTreeMap;

use firedrill_check::{distributions, judge, objectives};
use firedrill_core::record::RunRecord;
use firedrill_core::scenario::{Objective, ObjectiveMeasure, Statistic};
use firedrill_core::verdict::Verdict;

use crate::build::{failover, input};

/// A run in which `kill` took so long to fail over; `None` never did.
fn run(failover_seconds: Option<f64>) -> RunRecord {
    let mut record = judge(&failover().end(2), &input(&[]));
    let recovery = &mut record.faults[0].recovery;
    recovery.phases = BTreeMap::from([(ObjectiveMeasure::Failover, failover_seconds)]);
    recovery.watched = 42.0;
    record
}

fn runs(values: &[f64]) -> Vec<RunRecord> {
    values.iter().map(|value| run(Some(*value).filter(|value| value.is_finite()))).collect()
}

fn bound(measure: ObjectiveMeasure, statistic: Statistic, at_most: f64) -> Objective {
    Objective { measure, statistic, at_most, text: format!("{at_most}s") }
}

#[test]
fn percentiles_are_by_nearest_rank_and_say_n() {
    let found = distributions(&runs(&[3.0, 1.0, 2.0, 10.0]));
    let failover = found.iter().find(|d| d.measure == ObjectiveMeasure::Failover).unwrap();
    assert_eq!((failover.n, failover.never), (4, 0));
    assert_eq!((failover.min, failover.p50, failover.p95, failover.max), (Some(1.0), Some(2.0), None, Some(10.0)));
    let twenty: Vec<f64> = (1..=20_u32).map(f64::from).collect();
    let found = distributions(&runs(&twenty));
    let failover = found.iter().find(|d| d.measure == ObjectiveMeasure::Failover).unwrap();
    assert_eq!((failover.p50, failover.p95), (Some(10.0), Some(19.0)));
}

#[test]
fn a_run_that_never_recovered_is_longer_than_all_others() {
    let found = distributions(&runs(&[3.0, f64::INFINITY, 1.0]));
    let failover = found.iter().find(|d| d.measure == ObjectiveMeasure::Failover).unwrap();
    assert_eq!((failover.n, failover.never), (3, 1));
    assert_eq!((failover.min, failover.p50, failover.max), (Some(1.0), Some(3.0), None));
}

#[test]
fn bounds_are_met_missed_or_never_reached() {
    let all = runs(&[3.0, f64::INFINITY, 1.0]);
    let found = objectives(
        &[
            bound(ObjectiveMeasure::Failover, Statistic::P50, 3.0),
            bound(ObjectiveMeasure::Failover, Statistic::P50, 2.9),
            bound(ObjectiveMeasure::Failover, Statistic::Max, 60.0),
            bound(ObjectiveMeasure::Failover, Statistic::P95, 60.0),
            bound(ObjectiveMeasure::Redundancy, Statistic::Max, 60.0),
        ],
        &all,
    );
    let verdicts: Vec<Verdict> = found.iter().map(|record| record.verdict).collect();
    assert_eq!(verdicts, [Verdict::Pass, Verdict::Slow, Verdict::Slow, Verdict::Invalid, Verdict::Invalid]);
    assert_eq!(found[0].summary, "failover p50 3s after kill, within 3s (n = 3)");
    assert_eq!(found[2].summary, "failover max after kill not within 42s in 1 of 3, limit 60s");
    assert_eq!(found[2].reached, None);
    assert_eq!(found[3].summary, "failover p95: needs 20 values, there are 3");
}

#[test]
fn the_worst_fault_counts() {
    let mut all = runs(&[1.0]);
    let mut worse = all[0].faults[0].clone();
    worse.id = "second".into();
    worse.recovery.phases.insert(ObjectiveMeasure::Failover, Some(9.0));
    all[0].faults.push(worse);
    let found = objectives(&[bound(ObjectiveMeasure::Failover, Statistic::Max, 5.0)], &all);
    assert_eq!(found[0].verdict, Verdict::Slow);
    assert!(found[0].summary.contains("after second"), "{}", found[0].summary);
}

#[test]
fn lost_writes_count_whatever_dropped_them() {
    let mut build = failover();
    let rows = build.acked_rows();
    let some = run(Some(1.0));
    let lossy = judge(&build.end_with(2, &rows[7..]), &input(&[]));
    assert_eq!(lossy.faults[0].recovery.lost_writes, Some(7));
    let bounds = [
        bound(ObjectiveMeasure::LostWrites, Statistic::Max, 7.0),
        bound(ObjectiveMeasure::LostWrites, Statistic::Max, 6.0),
        bound(ObjectiveMeasure::LostWrites, Statistic::P50, 0.0),
    ];
    let found = objectives(&bounds, &[some.clone(), lossy]);
    let verdicts: Vec<Verdict> = found.iter().map(|record| record.verdict).collect();
    assert_eq!(verdicts, [Verdict::Pass, Verdict::Slow, Verdict::Pass]);
    let mut undecided = some.clone();
    undecided.run.figures.clear();
    assert_eq!(objectives(&bounds[..1], &[some, undecided])[0].verdict, Verdict::Invalid);
    assert_eq!(objectives(&bounds[..1], &[])[0].verdict, Verdict::Invalid);
}
