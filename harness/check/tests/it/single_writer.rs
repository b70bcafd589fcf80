use firedrill_core::history::Route;
use firedrill_core::record::Recorded;
use firedrill_core::verdict::Verdict;

use crate::build::{Build, ask, failover, node};

const CHECK: &str = "single-writer";

#[test]
fn a_failover_passes() {
    let finding = ask(CHECK, &failover().end(2));
    assert_eq!(finding.verdict, Verdict::Pass, "{finding:?}");
}

#[test]
fn a_write_of_the_old_primary_that_began_after_one_of_the_new_fails() {
    let mut build = failover();
    build.ack(5, 13_003, 13_004, "n1", 1).route = Route::Direct(node("n1"));
    let finding = ask(CHECK, &build.end(2));
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!((finding.figures["late-writes"] - 1.0).abs() < 1e-9);
    let line = &finding.evidence[0];
    assert!(line.contains("n1 (epoch 1)") && line.contains("after n2 (epoch 2)") && line.contains("kill"), "{line}");
}

#[test]
fn overlapping_writes_prove_nothing() {
    let mut build = failover();
    // Invoked just before the first write of the new primary completes at 13.002 s, and acknowledged long after.
    build.ack(5, 13_001, 14_500, "n1", 1);
    build.ack(6, 13_002, 14_500, "n1", 1);
    assert_eq!(ask(CHECK, &build.end(2)).verdict, Verdict::Pass);
}

#[test]
fn the_same_node_on_a_higher_epoch_is_no_other_writer() {
    let mut build = Build::new();
    build.ack(1, 1000, 1001, "n1", 2);
    build.ack(2, 1002, 1003, "n1", 1);
    assert_eq!(ask(CHECK, &build.end(2)).verdict, Verdict::Pass);
    // But one of another node hides behind it.
    build.ack(3, 1004, 1005, "n2", 3);
    build.ack(4, 1006, 1007, "n2", 4);
    build.ack(5, 1008, 1009, "n1", 5);
    build.ack(6, 1010, 1011, "n1", 1);
    assert_eq!(ask(CHECK, &build.end(2)).verdict, Verdict::Fail);
}

#[test]
fn a_writer_seen_between_two_answers_of_the_old_one_fails() {
    let mut build = failover();
    build.seen("n1", 1, 9000, 13_500);
    let finding = ask(CHECK, &build.end(2));
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!(finding.evidence[0].contains("n2 took writes on epoch 2 between 12.500s and 12.501s"), "{finding:?}");
}

#[test]
fn answers_that_overlap_prove_nothing() {
    let mut build = failover();
    // The last question to n1 is asked as the first answer of n2 is under way.
    build.seen("n1", 1, 9000, 12_501);
    assert_eq!(ask(CHECK, &build.end(2)).verdict, Verdict::Pass);
}

#[test]
fn nothing_to_judge_is_invalid() {
    assert_eq!(ask(CHECK, &Recorded::default()).verdict, Verdict::Invalid);
    let mut build = Build::new();
    build.ack(1, 1000, 1001, "n1", 1).epoch = None;
    assert_eq!(ask(CHECK, &build.end(1)).verdict, Verdict::Invalid);
}
