use firedrill_check::{losses, recovery};
use firedrill_core::action::Action;
use firedrill_core::cluster::Role;
use firedrill_core::event::Event;
use firedrill_core::history::{Outcome, Route};
use firedrill_core::record::{Recorded, Recovery};
use firedrill_core::scenario::ObjectiveMeasure::{Detected, Drained, Elected, Failover, Fenced, Promoted, Redundancy};

use crate::build::{Build, cut, failover, kill, node};

fn of(run: &Recorded, fault: &str) -> Recovery {
    let span = run.faults().into_iter().find(|span| span.fault == fault).expect("the fault");
    recovery(run, &span, &losses(run))
}

fn close(value: Option<f64>, want: f64) -> bool {
    value.is_some_and(|value| (value - want).abs() < 1e-9)
}

#[test]
fn every_phase_of_a_failover_is_measured_by_its_own_observer() {
    let found = of(&failover().end(2), "kill");
    assert!(found.disrupted);
    for (measure, want) in [
        (Detected, 2.0),
        (Elected, 2.2),
        (Promoted, 2.501),
        (Failover, 3.002),
        (Drained, 3.002),
        (Fenced, 0.0),
        (Redundancy, 8.0),
    ] {
        assert!(close(found.phases[&measure], want), "{measure:?}: {:?}", found.phases);
    }
    // From the last acknowledgement before the kill to the first after it.
    assert!(close(found.outage, 3.010), "{:?}", found.outage);
    assert_eq!(found.lost_writes, Some(0));
}

#[test]
fn fenced_is_the_last_write_the_old_primary_took() {
    let mut build = failover();
    build.ack(5, 14_000, 14_001, "n1", 1).route = Route::Direct(node("n1"));
    let found = of(&build.end(2), "kill");
    assert!(close(found.phases[&Fenced], 4.001), "{:?}", found.phases);
}

#[test]
fn what_the_old_primary_still_took_is_no_recovery() {
    let mut build = failover();
    for due in (10_000..10_500).step_by(10) {
        build.ack(due + 1, due, due + 2, "n1", 1);
    }
    let found = of(&build.end(2), "kill");
    assert!(close(found.phases[&Failover], 3.002), "{:?}", found.phases);
}

#[test]
fn a_backlog_keeps_latency_up_until_it_is_drained() {
    let mut build = Build::new();
    build.load(1000, 10_000, "n1", 1);
    build.fault("pause", "n1", Action::Pause { node: node("n1"), process: None }, 10_000, 12_000);
    // Queued while paused; all answered by 12.5 s; on time from 12.51 s on.
    for due in (10_000..12_500).step_by(10) {
        build.ack(due, due, 12_500, "n1", 1);
    }
    build.load(12_510, 15_000, "n1", 1);
    let found = of(&build.end(1), "pause");
    assert!(found.disrupted);
    assert!(close(found.phases[&Failover], 2.5), "{:?}", found.phases);
    assert!(found.phases[&Drained].is_some_and(|at| (2.5..=2.6).contains(&at)), "{:?}", found.phases);
    for absent in [Detected, Elected, Promoted, Fenced, Redundancy] {
        assert!(!found.phases.contains_key(&absent), "{absent:?} does not apply to a pause without a failover");
    }
}

#[test]
fn a_killed_replica_disrupts_nothing_but_redundancy() {
    let mut build = Build::new();
    build.leader(500, Some("n1"));
    build.view(950, "n1", 1, &[]);
    build.load(1000, 20_000, "n1", 1);
    build.fault("replica", "n3", kill("n3"), 5000, 8000);
    build.view(5300, "n1", 1, &["n3"]);
    build.view(10_000, "n1", 1, &[]);
    let found = of(&build.end(1), "replica");
    assert!(!found.disrupted);
    assert_eq!(found.phases.keys().collect::<Vec<_>>(), [&Redundancy]);
    assert!(close(found.phases[&Redundancy], 5.0), "{:?}", found.phases);
}

#[test]
fn redundancy_wants_the_sync_standby_named_again() {
    let mut build = failover();
    for stamped in &mut build.run.events {
        if let Event::View { view } = &mut stamped.event
            && view.at.as_millis() == 18_000
        {
            for node in &mut view.nodes {
                node.roles.remove(&Role::SyncStandby);
            }
        }
    }
    let found = of(&build.end(2), "kill");
    assert!(close(found.phases[&Redundancy], 10.5), "{:?}", found.phases);
}

#[test]
fn what_never_comes_back_is_there_without_a_value() {
    let mut build = Build::new();
    build.leader(500, Some("n1"));
    build.view(950, "n1", 1, &[]);
    build.load(1000, 10_000, "n1", 1);
    build.fault("kill", "n1", kill("n1"), 10_000, 15_000);
    build.leader(12_000, None);
    for due in (10_000..30_000).step_by(10) {
        build.insert(due, due, Some((due + 500, Outcome::info("timed out"))));
    }
    build.view(10_300, "n1", 1, &["n1"]);
    let found = of(&build.settle(false), "kill");
    assert!(close(found.phases[&Detected], 2.0));
    for never in [Elected, Promoted, Failover, Drained, Redundancy] {
        assert_eq!(found.phases.get(&never), Some(&None), "{never:?}");
    }
    assert!(!found.phases.contains_key(&Fenced));
    assert!(found.outage.is_some_and(|outage| outage > 19.9), "{:?}", found.outage);
    assert_eq!(found.lost_writes, None, "undecided");
    assert!(found.watched > 80.0);
}

#[test]
fn a_fault_answers_until_the_next_one_begins() {
    let mut build = failover();
    build.fault("next", "n3", cut("n3", "n1"), 12_100, 12_300);
    let run = build.end(2);
    let (first, second) = (of(&run, "kill"), of(&run, "next"));
    assert!(close(first.phases[&Detected], 2.0));
    assert_eq!(first.phases[&Elected], None);
    assert_eq!(first.phases[&Failover], None);
    assert!(second.disrupted);
    assert!(close(second.phases[&Promoted], 0.401), "{:?}", second.phases);
    assert!((first.watched - 2.1).abs() < 1e-9);
}

#[test]
fn a_hiccup_of_the_host_is_no_disruption() {
    let mut build = Build::new();
    build.leader(500, Some("n1"));
    build.load(1000, 6000, "n1", 1).load(6090, 10_000, "n1", 1);
    build.fault("replica", "n3", kill("n3"), 5000, 8000);
    let found = of(&build.end(1), "replica");
    assert!(!found.disrupted, "{found:?}");
    assert!(found.phases.is_empty());
    assert!(close(found.outage, 0.1), "{:?}", found.outage);
}
