use firedrill_check::{PlannedFault, clean, fault_findings, losses, run_finding};
use firedrill_core::action::{Action, Presence};
use firedrill_core::check::Finding;
use firedrill_core::event::{Event, Moment, Phase};
use firedrill_core::history::{Outcome, SHED};
use firedrill_core::platform::{Incident, Residue};
use firedrill_core::record::Recorded;
use firedrill_core::verdict::Verdict;

use crate::build::{Build, failover, kill, ms, node};

fn finding(run: &Recorded) -> Finding {
    let planned = [PlannedFault { id: "kill".into(), kind: "process.kill".into() }];
    fault_findings(run, &planned, &losses(run)).remove(0).finding
}

/// The failover with its events changed.
fn changed(change: impl FnMut(&mut Event)) -> Recorded {
    let mut run = failover().end(2);
    run.events.iter_mut().map(|stamped| &mut stamped.event).for_each(change);
    run
}

fn expect(run: &Recorded, verdict: Verdict, words: &str) {
    let found = finding(run);
    assert_eq!(found.verdict, verdict, "{found:?}");
    assert!(found.summary.contains(words), "{words}: {found:?}");
}

#[test]
fn a_fault_that_bit_and_was_held_and_is_gone_passes() {
    let found = finding(&failover().end(2));
    assert_eq!(found.verdict, Verdict::Pass, "{found:?}");
    assert!(found.summary.contains("held 5s"), "{found:?}");
}

#[test]
fn a_fault_that_was_never_injected_is_invalid() {
    expect(&Build::new().end(1), Verdict::Invalid, "never injected");
    let mut build = Build::new();
    build.event(2000, Event::FaultRefused { fault: "kill".into(), reason: "it would impair 2 at once".into() });
    expect(&build.end(1), Verdict::Invalid, "it would impair 2 at once");
}

#[test]
fn every_proof_is_needed_and_must_show_the_whole_effect() {
    for wanted in [Moment::Onset, Moment::Middle, Moment::BeforeHeal] {
        for weak in [Presence::Partial, Presence::Absent, Presence::Unknown] {
            let run = changed(|event| {
                if let Event::StepProof { moment, effect, .. } = event
                    && *moment == wanted
                {
                    effect.presence = weak;
                }
            });
            expect(&run, Verdict::Invalid, "did not bite");
        }
        let mut run = failover().end(2);
        run.events.retain(|s| !matches!(&s.event, Event::StepProof { moment, .. } if *moment == wanted));
        expect(&run, Verdict::Invalid, "was not proven");
    }
}

#[test]
fn an_effect_that_was_there_before_proves_nothing() {
    let run = changed(|event| {
        if let Event::StepProof { moment: Moment::Before, effect, .. } = event {
            effect.presence = Presence::Full;
        }
    });
    expect(&run, Verdict::Invalid, "was there before");
}

#[test]
fn a_fault_held_short_is_invalid_and_a_little_short_is_not() {
    for (until, verdict) in [(14_901, Verdict::Pass), (14_899, Verdict::Invalid)] {
        let run = changed(|event| {
            if let Event::StepReverted { held, .. } = event {
                *held = Some((ms(10_000), ms(until)));
            }
        });
        assert_eq!(finding(&run).verdict, verdict);
    }
    let never = changed(|event| {
        if let Event::StepReverted { held, .. } = event {
            *held = None;
        }
    });
    expect(&never, Verdict::Invalid, "never in force");
}

#[test]
#[expect(clippy::wildcard_enum_match_arm, reason = "a few kinds of event out of many")]
fn a_later_step_is_held_until_the_first_one_ends() {
    let mut build = failover();
    build.fault("twin", "n1", kill("n1"), 10_400, 15_200);
    for stamped in &mut build.run.events {
        // The second step of the same fault, due at 10 s, took 400 ms to take effect and ends with the first at 15 s.
        match &mut stamped.event {
            Event::StepApplied { fault, step, hold_nanos, .. } if fault == "twin" => {
                (*fault, *step, *hold_nanos) = ("kill".into(), 1, Some(5_000_000_000));
            }
            Event::StepReverted { fault, step, held, .. } if fault == "twin" => {
                (*fault, *step, *held) = ("kill".into(), 1, Some((ms(10_400), ms(15_000))));
            }
            Event::StepProof { fault, step, .. } if fault == "twin" => (*fault, *step) = ("kill".into(), 1),
            _ => {}
        }
    }
    build.run.events.retain(|s| !matches!(&s.event, Event::FaultOnset { fault, .. } if fault == "twin"));
    assert_eq!(finding(&build.end(2)).verdict, Verdict::Pass, "{:?}", finding(&build.end(2)));
    for stamped in &mut build.run.events {
        if let Event::StepReverted { step: 1, held, .. } = &mut stamped.event {
            *held = Some((ms(10_400), ms(14_800)));
        }
    }
    expect(&build.end(2), Verdict::Invalid, "was held for 4.4s of 4.6s");
}

#[test]
fn what_is_left_of_a_fault_is_dirty() {
    let stays = changed(|event| {
        if let Event::StepProof { moment: Moment::AfterHeal, effect, .. } = event {
            effect.presence = Presence::Partial;
        }
    });
    expect(&stays, Verdict::Dirty, "is still there");
    let mut build = failover();
    build.event(15_001, Event::HealFailed { fault: "kill".into(), reason: "no agent".into() });
    expect(&build.end(2), Verdict::Dirty, "its heal failed: no agent");
    let mut unknown = failover().end(2);
    unknown.events.retain(|s| !matches!(&s.event, Event::StepProof { moment: Moment::AfterHeal, .. }));
    expect(&unknown, Verdict::Invalid, "nobody looked");
}

#[test]
fn an_instant_fault_needs_one_proof() {
    let mut run = failover().end(2);
    for stamped in &mut run.events {
        if let Event::StepApplied { action, hold_nanos, .. } = &mut stamped.event {
            *action = Action::Kill { node: node("n1"), process: None, signal: 9, stay_down: false };
            *hold_nanos = None;
        }
    }
    let only = |moment: Moment| matches!(moment, Moment::Before | Moment::Onset);
    run.events.retain(|s| !matches!(&s.event, Event::StepProof { moment, .. } if !only(*moment)));
    assert_eq!(finding(&run).verdict, Verdict::Pass);
    run.events.retain(|s| !matches!(&s.event, Event::StepProof { .. }));
    expect(&run, Verdict::Invalid, "was not proven");
}

fn run_verdict(run: &Recorded, torn: &[String]) -> (Verdict, String) {
    let found = run_finding(run, &losses(run), torn);
    (found.verdict, found.summary)
}

#[test]
fn a_run_that_came_through_passes_and_says_its_rate() {
    let (verdict, words) = run_verdict(&failover().end(2), &[]);
    assert_eq!(verdict, Verdict::Pass, "{words}");
    assert!(words.contains("1900 operations through the router, 1600 acknowledged"), "{words}");
}

#[test]
fn whatever_keeps_a_run_from_proving_anything_is_named() {
    let with = |event: Event| {
        let mut build = failover();
        build.event(15_000, event);
        run_verdict(&build.end(2), &[])
    };
    let broken = with(Event::Broken { phase: Phase::Storm, reason: "disk full".into() });
    assert_eq!(broken, (Verdict::Invalid, "storm: disk full".into()));
    let died = with(Event::Incident { incident: Incident::AgentDied { detail: "signal 9".into() } });
    assert_eq!(died.0, Verdict::Invalid);
    assert_eq!(with(Event::Halted { condition: "c".into(), seen: "s".into() }).0, Verdict::Aborted);
    assert_eq!(with(Event::Interrupted { phase: Phase::Storm }).0, Verdict::Aborted);
    assert_eq!(run_verdict(&failover().end(2), &["history: torn".into()]).0, Verdict::Invalid);
    let unsteady = changed(|event| {
        if let Event::Steady { met, .. } = event {
            *met = false;
        }
    });
    assert_eq!(run_verdict(&unsteady, &[]).0, Verdict::Invalid);
    assert!(run_verdict(&Recorded::default(), &[]).1.contains("before the cluster was found steady"));
    let mut idle = Build::new();
    idle.insert(1, 1000, Some((1000, Outcome::fail(SHED))));
    assert_eq!(run_verdict(&idle.end(1), &[]), (Verdict::Invalid, "there were no operations".into()));
}

#[test]
fn clean_needs_a_look() {
    assert_eq!(clean(&failover().end(2)).verdict, Verdict::Pass);
    assert_eq!(clean(&Recorded::default()).verdict, Verdict::Invalid);
    let mut build = Build::new();
    let residue = vec![Residue { what: "nft table fd-1".into(), remedy: "nft delete table fd-1".into() }];
    build.event(100_001, Event::Swept { residue });
    assert_eq!(clean(&build.end(1)).verdict, Verdict::Dirty);
    assert_eq!(build.run.nodes[0], node("n1"));
    assert_eq!(kill("n1").deed(), firedrill_core::action::Deed::KillProcess);
}
