use std::time::Duration;

use firedrill_check::{Conclusion, conclude, judge};
use firedrill_core::check::When;
use firedrill_core::check::{Finding, anomaly_figure};
use firedrill_core::event::{Event, Phase};
use firedrill_core::platform::Residue;
use firedrill_core::record::{Recorded, RunRecord};
use firedrill_core::scenario::{Expect, InvariantSpec};
use firedrill_core::verdict::Verdict;

use crate::build::{failover, input, parse};

fn judged(run: &Recorded) -> RunRecord {
    let check = |name| InvariantSpec {
        check: parse(name, "").unwrap_or_else(|mistakes| panic!("{mistakes:?}")),
        when: When::Always,
        grace: Duration::ZERO,
    };
    let invariants = [check("no-acked-loss"), check("single-writer")];
    judge(run, &input(&invariants))
}

fn losing(count: usize) -> RunRecord {
    let mut build = failover();
    let rows = build.acked_rows();
    judged(&build.end_with(2, &rows[count..]))
}

fn known_bad(min_lost: u64) -> Expect {
    Expect { verdict: Verdict::Fail, check: Some("no-acked-loss".into()), min_lost: Some(min_lost), anomaly: None }
}

fn expecting(run: RunRecord, expect: &Expect) -> Conclusion {
    conclude(&[run], &[], Some(expect))
}

#[test]
fn a_healthy_run_passes_and_is_told_whole() {
    let run = judged(&failover().end(2));
    assert_eq!(run.verdict, Verdict::Pass, "{run:?}");
    assert_eq!(run.cluster, "n1 sync-standby (epoch 2), n2 primary (epoch 2), n3 replica (epoch 2)");
    assert_eq!(run.phases[1], ("storm".to_owned(), 1.0));
    assert!((run.load.latency[0] - 0.002).abs() < 1e-9);
    assert_eq!(conclude(&[run], &[], None).verdict, Verdict::Pass);
}

#[test]
fn the_worst_wins_and_nothing_checked_is_never_a_pass() {
    let healthy = judged(&failover().end(2));
    assert_eq!(conclude(&[healthy.clone(), losing(3)], &[], None).verdict, Verdict::Fail);
    let mut unchecked = healthy;
    unchecked.findings.clear();
    assert_eq!(conclude(&[unchecked], &[], None).verdict, Verdict::Invalid);
    assert_eq!(conclude(&[], &[], None).verdict, Verdict::Invalid);
}

#[test]
fn a_known_bad_scenario_passes_when_it_finds_what_it_must() {
    let found = expecting(losing(3), &known_bad(3));
    assert_eq!(found.verdict, Verdict::Pass);
    let expectation = found.expectation.unwrap();
    assert!(expectation.met);
    assert_eq!(expectation.found, Verdict::Fail);
}

#[test]
fn a_known_bad_scenario_fails_when_it_no_longer_finds_it() {
    for run in [losing(0), losing(2)] {
        let found = expecting(run, &known_bad(3));
        assert_eq!(found.verdict, Verdict::Fail);
        assert!(found.expectation.unwrap().words.contains("no longer finds FAIL of no-acked-loss"));
    }
    let other = Expect { verdict: Verdict::Fail, check: Some("single-writer".into()), min_lost: None, anomaly: None };
    assert_eq!(expecting(losing(3), &other).verdict, Verdict::Fail);
}

#[test]
fn the_anomaly_that_is_expected_must_be_named() {
    let mut run = losing(0);
    let finding = Finding::new("isolation", Verdict::Fail, "lost-update").figure(&anomaly_figure("lost-update"), 1.0);
    run.findings.push(finding);
    run.verdict = Verdict::Fail;
    for (anomaly, verdict) in [("lost-update", Verdict::Pass), ("G2-item", Verdict::Fail)] {
        let (check, anomaly) = (Some("isolation".to_owned()), Some(anomaly.to_owned()));
        let expect = Expect { verdict: Verdict::Fail, check, min_lost: None, anomaly };
        let found = expecting(run.clone(), &expect);
        assert_eq!(found.verdict, verdict, "{found:?}");
        assert!(found.expectation.unwrap().words.contains(" with "));
    }
}

#[test]
fn a_spoilt_run_cannot_tell_unless_that_is_what_was_expected() {
    let with = |event: Event| {
        let mut build = failover();
        build.event(100_001, event);
        let rows = build.acked_rows();
        judged(&build.end_with(2, &rows[3..]))
    };
    let dirty = with(Event::Swept { residue: vec![Residue { what: "x".into(), remedy: "rm x".into() }] });
    let aborted = with(Event::Interrupted { phase: Phase::Storm });
    let broken = with(Event::Broken { phase: Phase::Storm, reason: "x".into() });
    for (run, verdict) in [(&dirty, Verdict::Dirty), (&aborted, Verdict::Aborted), (&broken, Verdict::Invalid)] {
        let found = expecting(run.clone(), &known_bad(1));
        assert_eq!(found.verdict, verdict);
        assert!(!found.expectation.unwrap().met);
    }
    let wanted = Expect { verdict: Verdict::Dirty, check: None, min_lost: None, anomaly: None };
    assert_eq!(expecting(dirty, &wanted).verdict, Verdict::Pass);
}
