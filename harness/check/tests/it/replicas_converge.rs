use firedrill_core::cluster::Position;
use firedrill_core::event::{Event, Phase};
use firedrill_core::record::Recorded;
use firedrill_core::verdict::Verdict;

use crate::build::{Build, ask, failover};

const CHECK: &str = "replicas-converge";

#[test]
fn equal_nodes_pass() {
    let finding = ask(CHECK, &failover().end(2));
    assert_eq!(finding.verdict, Verdict::Pass, "{finding:?}");
    assert!(finding.summary.contains("at or past 0/30D40 of n2"), "{}", finding.summary);
}

#[test]
fn different_rows_fail_and_are_named() {
    let mut build = failover();
    let rows = build.acked_rows();
    let mut more = rows.clone();
    more.extend([77_777, 88_888]);
    build.read("n1", 2, more).read("n2", 2, rows[1..].to_vec()).read("n3", 2, rows);
    let finding = ask(CHECK, &build.settle(true));
    assert_eq!(finding.verdict, Verdict::Fail);
    assert_eq!(finding.evidence[0], "2 rows only on n1: 77777 88888");
    assert_eq!(finding.evidence[1], "1 rows only on n1, n3: 1000");
}

#[test]
fn two_epochs_fail() {
    let mut build = failover();
    let rows = build.acked_rows();
    build.read("n1", 1, rows.clone()).read("n2", 2, rows.clone()).read("n3", 2, rows);
    let finding = ask(CHECK, &build.settle(true));
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!(finding.summary.contains("n1 is on 1"), "{}", finding.summary);
}

#[test]
fn a_node_behind_the_primary_fails() {
    let mut run = failover().end(2);
    run.finals[0].position = Some(Position(199_999));
    let finding = ask(CHECK, &run);
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!(finding.summary.contains("n1 is at 0/30D3F, behind 0/30D40"), "{}", finding.summary);
}

#[test]
fn the_last_receipt_stands_in_for_a_view() {
    let mut run = failover().end(2);
    run.events.retain(|stamped| !matches!(stamped.event, Event::View { .. }));
    assert_eq!(ask(CHECK, &run).verdict, Verdict::Pass);
    run.finals[2].position = Some(Position(199_899));
    assert_eq!(ask(CHECK, &run).verdict, Verdict::Fail);
    run.calls.iter_mut().for_each(|call| call.receipt = None);
    assert_eq!(ask(CHECK, &run).verdict, Verdict::Invalid);
}

#[test]
fn a_wait_that_ran_out_is_judged_and_one_that_never_began_is_not() {
    let mut build = failover();
    let rows = build.acked_rows();
    let mut stuck = build.clone();
    stuck.read("n1", 2, rows.clone()).read("n2", 2, rows.clone()).read("n3", 1, rows[..900].to_vec());
    assert_eq!(ask(CHECK, &stuck.settle(false)).verdict, Verdict::Fail);
    build.read("n1", 2, rows.clone()).read("n2", 2, rows.clone()).read("n3", 2, rows[..900].to_vec());
    build.event(19_000, Event::Interrupted { phase: Phase::Storm });
    assert_eq!(ask(CHECK, &build.sorted()).verdict, Verdict::Invalid);
    let equal = failover().end(2);
    let mut unsettled = equal.clone();
    for stamped in &mut unsettled.events {
        if let Event::Settled { met, .. } = &mut stamped.event {
            *met = false;
        }
    }
    assert_eq!(ask(CHECK, &unsettled).verdict, Verdict::Invalid);
}

#[test]
fn a_node_that_never_came_back_fails() {
    let mut build = failover();
    let mut settled = build.clone().end(2);
    settled.finals[2].rows = Err("connection refused".into());
    assert_eq!(ask(CHECK, &settled).verdict, Verdict::Invalid, "the read failed, not the node");
    let rows = build.acked_rows();
    build.read("n1", 2, rows.clone()).read("n2", 2, rows.clone()).read("n3", 2, rows);
    build.run.finals[2].rows = Err("connection refused".into());
    let finding = ask(CHECK, &build.settle(false));
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!(finding.summary.contains("n3 could not be read: connection refused"), "{}", finding.summary);
}

#[test]
fn nothing_to_compare_is_invalid() {
    assert_eq!(ask(CHECK, &Recorded::default()).verdict, Verdict::Invalid);
    assert_eq!(ask(CHECK, &Build::new().end(1)).verdict, Verdict::Invalid);
    let mut run = failover().end(2);
    run.finals[1].position = None;
    assert_eq!(ask(CHECK, &run).verdict, Verdict::Invalid);
}
