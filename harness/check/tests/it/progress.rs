use std::time::Duration;

use firedrill_core::check::{Finding, When};
use firedrill_core::history::Outcome;
use firedrill_core::record::Recorded;
use firedrill_core::verdict::Verdict;

use crate::build::{Build, ask_when, failover, kill};

const GO: &str = "min = \"50/s\"";
const STALL: &str = "must = \"stall\"";

fn after(fault: &str) -> When {
    When::After(fault.to_owned())
}

fn progress(keys: &str, run: &Recorded, when: &When, grace: u64) -> Finding {
    ask_when("progress", keys, run, when, Duration::from_secs(grace))
}

#[test]
fn writes_that_resume_within_the_grace_pass() {
    let run = failover().end(2);
    let finding = progress(GO, &run, &after("kill"), 4);
    assert_eq!(finding.verdict, Verdict::Pass, "{finding:?}");
    assert!((finding.figures["rate"] - 100.0).abs() < 1.0, "{finding:?}");
}

#[test]
fn writes_that_resume_too_late_fail() {
    let finding = progress(GO, &failover().end(2), &after("kill"), 1);
    assert_eq!(finding.verdict, Verdict::Fail, "{finding:?}");
    assert!(finding.summary.contains("nothing was acknowledged for 2.002s from 11.000s"), "{}", finding.summary);
}

#[test]
fn a_cluster_dying_at_the_end_does_not_pass_on_its_past() {
    let mut build = Build::new();
    build.load(1000, 60_000, "n1", 1);
    for due in (60_000..64_000).step_by(10) {
        build.insert(due, due, Some((due + 100, Outcome::info("timed out"))));
    }
    let finding = progress(GO, &build.end(1), &When::Always, 5);
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!(finding.summary.contains("in the last 5s"), "{}", finding.summary);
}

#[test]
fn too_slow_on_average_fails() {
    let run = failover().end(2);
    assert_eq!(progress("min = \"150/s\"", &run, &after("kill"), 4).verdict, Verdict::Fail);
    assert_eq!(progress("min = \"100/s\"", &run, &after("kill"), 4).verdict, Verdict::Pass);
}

/// Nothing is acknowledged from 10 s to 15 s.
fn stalled() -> Build {
    let mut build = Build::new();
    build.load(1000, 10_000, "n1", 1);
    build.fault("quorum", "n2", kill("n2"), 10_000, 15_000);
    for due in (10_000..15_000).step_by(10) {
        build.insert(due, due, Some((due + 500, Outcome::info("timed out"))));
    }
    build.load(15_010, 17_000, "n1", 1);
    build
}

#[test]
fn a_stall_that_must_be_passes() {
    let finding = progress(STALL, &stalled().end(1), &When::During("quorum".into()), 1);
    assert_eq!(finding.verdict, Verdict::Pass, "{finding:?}");
}

#[test]
fn a_write_during_a_stall_fails() {
    let mut build = stalled();
    build.ack(3, 12_000, 12_100, "n1", 1);
    let finding = progress(STALL, &build.end(1), &When::During("quorum".into()), 1);
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!(finding.evidence[0].contains("n1 acknowledged `insert 3`"), "{finding:?}");
}

#[test]
fn what_is_not_wholly_inside_is_no_breach_of_a_stall() {
    let mut build = stalled();
    // Within the grace; begun before it; and acknowledged only when the fault was healed.
    build.ack(3, 10_000, 10_900, "n1", 1);
    build.ack(4, 10_900, 11_500, "n1", 1);
    build.ack(5, 14_900, 15_001, "n1", 1);
    assert_eq!(progress(STALL, &build.end(1), &When::During("quorum".into()), 1).verdict, Verdict::Pass);
}

#[test]
fn too_little_to_judge_is_invalid() {
    let run = failover().end(2);
    for (keys, when, grace) in [
        (GO, after("kill"), 9),
        (GO, after("nothing"), 0),
        (GO, When::AfterHealed("kill".into()), 30),
        (STALL, When::During("kill".into()), 5),
        (GO, When::End, 0),
    ] {
        let finding = progress(keys, &run, &when, grace);
        assert_eq!(finding.verdict, Verdict::Invalid, "{when:?} {finding:?}");
        assert!(finding.summary.starts_with("nothing to judge"), "{finding:?}");
    }
    assert_eq!(progress(GO, &Recorded::default(), &When::Always, 0).verdict, Verdict::Invalid);
    assert_eq!(progress(STALL, &Build::new().end(1), &When::Always, 0).verdict, Verdict::Invalid);
}

#[test]
fn a_stall_in_which_nobody_tried_is_invalid() {
    let mut build = Build::new();
    build.load(1000, 10_000, "n1", 1);
    build.fault("quorum", "n2", kill("n2"), 10_000, 15_000);
    build.load(15_010, 17_000, "n1", 1);
    let finding = progress(STALL, &build.end(1), &When::During("quorum".into()), 1);
    assert_eq!(finding.verdict, Verdict::Invalid, "{finding:?}");
}
