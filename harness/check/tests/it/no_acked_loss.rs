use firedrill_check::losses;
use firedrill_core::action::Action;
use firedrill_core::cluster::Position;
use firedrill_core::event::{Event, Phase};
use firedrill_core::history::{Outcome, Route, SHED};
use firedrill_core::record::Recorded;
use firedrill_core::verdict::Verdict;

use crate::build::{Build, ask, cut, failover, kill, ms, node};

const CHECK: &str = "no-acked-loss";

fn without(rows: &[u64], lost: impl Fn(u64) -> bool) -> Vec<u64> {
    rows.iter().copied().filter(|row| !lost(*row)).collect()
}

#[test]
fn a_failover_that_loses_nothing_passes() {
    let finding = ask(CHECK, &failover().end(2));
    assert_eq!(finding.verdict, Verdict::Pass, "{finding:?}");
    assert_eq!(finding.figures["lost-acknowledged"].to_bits(), 0_f64.to_bits());
    assert!(finding.figures["in-doubt"] > 0.0);
}

#[test]
fn a_row_dropped_by_a_switch_is_lost_to_the_fault_that_caused_it() {
    let mut build = failover();
    let rows = without(&build.acked_rows(), |row| (9900..10_000).contains(&row));
    let finding = ask(CHECK, &build.end_with(2, &rows));
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!(finding.summary.contains("10 of 1600 acknowledged writes are lost (10 by kill)"), "{}", finding.summary);
    assert!((finding.figures["lost:kill"] - 10.0).abs() < 1e-9);
    let first = &finding.evidence[0];
    for part in ["row 9900", "9.902s", "n1", "router", "epoch 1 became 2", "fork point", "kill"] {
        assert!(first.contains(part), "{part} in {first}");
    }
    assert_eq!(finding.evidence.len(), 10);
}

#[test]
fn evidence_says_when_the_receipt_lies_beyond_the_fork() {
    let mut build = failover();
    build.run.switches[0].fork = Position(99_000);
    let rows = without(&build.acked_rows(), |row| row == 9900);
    let finding = ask(CHECK, &build.end_with(2, &rows));
    assert!(finding.evidence[0].contains("which it lies beyond"), "{:?}", finding.evidence);
}

#[test]
fn writes_the_old_primary_took_after_the_switch_count_too() {
    let mut build = failover();
    build.ack(5, 14_000, 14_001, "n1", 1).route = Route::Direct(node("n1"));
    let rows = without(&build.acked_rows(), |row| row == 5);
    let found = losses(&build.end_with(2, &rows));
    assert_eq!(found.lost.len(), 1);
    assert_eq!(found.lost[0].faults, ["kill"]);
}

#[test]
fn overlapping_faults_are_all_listed_and_past_ones_are_not() {
    let mut build = Build::new();
    build.view(950, "n1", 1, &[]);
    build.load(1000, 30_000, "n1", 1);
    build.fault("early", "n3", cut("n1", "n3"), 2000, 4000);
    build.view(6000, "n1", 1, &[]);
    build.fault("lag", "n2", cut("n1", "n2"), 20_000, 33_000).fault("crash", "n1", kill("n1"), 30_000, 35_000);
    build.load(34_000, 36_000, "n2", 2);
    build.switch(1, 2, 250_000);
    let rows = without(&build.acked_rows(), |row| (25_000..30_000).contains(&row));
    let found = losses(&build.end_with(2, &rows));
    assert_eq!(found.lost.len(), 500);
    assert_eq!(found.lost[0].faults, ["lag", "crash"]);
    assert_eq!(found.by_fault["lag"], 500);
    assert_eq!(found.by_fault["crash"], 500);
    assert!(!found.by_fault.contains_key("early"));
}

#[test]
fn a_kill_answers_for_the_failover_that_outlives_it() {
    let mut build = Build::new();
    build.view(950, "n1", 1, &[]);
    build.load(1000, 10_000, "n1", 1);
    let instant = Action::Kill { node: node("n1"), process: None, signal: 9, stay_down: false };
    build.fault("kill", "n1", instant, 10_000, 10_100).fault("other", "n3", cut("n3", "n2"), 12_000, 13_000);
    build.load(20_000, 21_000, "n2", 2);
    build.switch(1, 2, 99_000);
    let rows = without(&build.acked_rows(), |row| row == 9990);
    assert_eq!(losses(&build.end_with(2, &rows)).lost[0].faults, ["kill", "other"]);
}

#[test]
fn a_dead_branch_is_left_by_the_switch_that_passes_it_by() {
    let mut build = failover();
    build.run.switches.clear();
    build.switch(1, 3, 100_000).load(20_000, 21_000, "n3", 3);
    let rows = without(&build.acked_rows(), |row| (13_000..20_000).contains(&row));
    let found = losses(&build.end_with(3, &rows));
    assert_eq!(found.lost.len(), 700);
    assert!(found.lost[0].to_string().contains("epoch 1 became 3"), "{}", found.lost[0]);
}

#[test]
fn a_primary_that_takes_over_again_on_its_old_epoch_drops_what_its_successor_acknowledged() {
    let mut build = Build::new();
    build.view(950, "n1", 2, &[]);
    build.load(1000, 10_000, "n1", 2);
    build.fault("pause", "n1", Action::Pause { node: node("n1"), process: None }, 10_000, 20_000);
    build.load(13_000, 20_000, "n2", 3);
    build.load(20_100, 21_000, "n1", 2);
    build.view(22_000, "n1", 2, &[]);
    let rows = without(&build.acked_rows(), |row| (13_000..20_000).contains(&row));
    let found = losses(&build.end_with(2, &rows));
    assert_eq!((found.lost.len(), &found.by_fault["pause"]), (700, &700));
    assert!(found.lost[0].to_string().contains("dropped when epoch 3 became 2; pause"), "{}", found.lost[0]);
}

#[test]
fn a_restart_on_the_same_epoch_loses_what_was_acknowledged_before_it() {
    let mut build = Build::new();
    build.view(950, "n1", 1, &[]);
    build.load(1000, 10_000, "n1", 1);
    build.fault("crash", "n1", kill("n1"), 10_000, 11_000);
    build.view(12_000, "n1", 1, &[]).nodes[0].incarnation = Some(2);
    build.load(12_000, 15_000, "n1", 1);
    let rows = without(&build.acked_rows(), |row| row == 9990);
    let found = losses(&build.end_with(1, &rows));
    assert_eq!(found.lost[0].faults, ["crash"]);
    assert!(found.lost[0].to_string().contains("restart of n1"), "{}", found.lost[0]);
}

#[test]
fn a_loss_that_nothing_explains_says_so() {
    let mut build = Build::new();
    build.load(1000, 10_000, "n1", 1);
    let rows = without(&build.acked_rows(), |row| row == 5000);
    let finding = ask(CHECK, &build.end_with(1, &rows));
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!((finding.figures["lost:unattributed"] - 1.0).abs() < 1e-9);
    assert!(finding.evidence[0].contains("no fault explains it"), "{:?}", finding.evidence);
}

#[test]
fn a_row_reported_failed_and_one_nobody_inserted_must_not_be_there() {
    let mut build = failover();
    build.insert(7, 2000, Some((2001, Outcome::fail("refused"))));
    build.insert(8, 2000, Some((2000, Outcome::fail(SHED))));
    let mut rows = build.acked_rows();
    rows.extend([7, 8, 9]);
    let finding = ask(CHECK, &build.end_with(2, &rows));
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!((finding.figures["phantom"] - 3.0).abs() < 1e-9);
    let all = finding.evidence.join("\n");
    assert!(all.contains("row 7 was reported failed (refused)") && all.contains("row 9 was never inserted"), "{all}");
}

#[test]
fn what_is_in_doubt_may_be_there_or_not() {
    let mut build = Build::new();
    build.load(1000, 2000, "n1", 1);
    for row in [1, 2, 3] {
        build.insert(row, 1500, Some((1600, Outcome::info("connection reset"))));
    }
    build.insert(4, 1990, None);
    let mut rows = build.acked_rows();
    rows.extend([1, 4]);
    let found = losses(&build.end_with(1, &rows));
    assert_eq!((found.in_doubt, found.in_doubt_present), (4, 2));
    assert!(found.lost.is_empty() && found.phantoms.is_empty());
}

#[test]
fn a_row_missing_on_a_replica_only_is_not_lost() {
    let mut build = failover();
    let rows = build.acked_rows();
    build.read("n1", 2, rows[1..].to_vec()).read("n2", 2, rows.clone()).read("n3", 2, rows);
    let finding = ask(CHECK, &build.settle(true));
    assert_eq!(finding.verdict, Verdict::Pass);
    assert!(finding.summary.contains("1 are missing on some nodes"), "{}", finding.summary);
}

#[test]
fn a_row_only_on_a_node_of_an_old_epoch_is_lost() {
    let mut build = failover();
    let all = build.acked_rows();
    let rest = without(&all, |row| row == 9990);
    build.read("n1", 1, all).read("n2", 2, rest.clone()).read("n3", 2, rest);
    assert_eq!(losses(&build.settle(true)).lost.len(), 1);
}

#[test]
fn without_settled_reads_it_is_undecided_unless_the_primary_was_read() {
    let mut build = failover();
    let rows = without(&build.acked_rows(), |row| row == 9990);
    let aborted = {
        let mut build = build.clone();
        build.event(19_000, Event::Interrupted { phase: Phase::Storm });
        build.read("n2", 2, rows.clone());
        build.sorted()
    };
    assert_eq!(ask(CHECK, &aborted).verdict, Verdict::Invalid);
    assert!(!ask(CHECK, &aborted).figures.contains_key("lost-acknowledged"));
    let replica_only = build.clone().read("n3", 2, rows.clone()).settle(false);
    assert_eq!(ask(CHECK, &replica_only).verdict, Verdict::Invalid);
    let primary = build.read("n2", 2, rows).settle(false);
    assert_eq!(ask(CHECK, &primary).verdict, Verdict::Fail);
}

#[test]
fn a_phantom_is_certain_without_settled_reads() {
    let mut build = failover();
    let mut rows = build.acked_rows();
    rows.push(3);
    build.read("n3", 2, rows);
    assert_eq!(ask(CHECK, &build.settle(false)).verdict, Verdict::Fail);
}

#[test]
fn nothing_acknowledged_is_invalid() {
    assert_eq!(ask(CHECK, &Build::new().end(1)).verdict, Verdict::Invalid);
    assert_eq!(ask(CHECK, &Recorded::default()).verdict, Verdict::Invalid);
    let mut build = Build::new();
    build.insert(1, 1000, Some((1500, Outcome::info("timed out"))));
    assert_eq!(ask(CHECK, &build.end(1)).verdict, Verdict::Invalid);
    assert_eq!(build.run.calls[0].invoked, ms(1000));
}
