//! Holds end by themselves: at their deadline, at the end of the lease, with the standard input, by a signal.

use std::time::Duration;

use firedrill_agent::protocol::{Answer, Ask, By};
use firedrill_core::action::Presence;

use crate::agent::{Agent, LONG};
use crate::world::{cut, pause, wait, world};

const HOLD: Duration = Duration::from_millis(200);

#[test]
fn a_hold_ends_at_its_deadline() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    let undo = agent.prepare(&cut(1, 2));
    agent.apply(&undo, Some(HOLD));
    let (tag, by, held) = agent.notice();
    assert_eq!((tag.as_str(), by), (undo.tag.as_str(), By::Deadline));
    assert!(Duration::from_nanos(held.to - held.from) >= HOLD);
    agent.sees(&undo, Presence::Absent);
    assert_eq!(agent.revert(&undo), (Some(held), By::Deadline));
}

#[test]
fn silence_for_the_lease_ends_everything() {
    let Some(world) = world() else { return };
    world.start(3, "sleep", &["600"]);
    let mut agent = Agent::start(&world, HOLD);
    let wire = agent.inject(&cut(1, 2));
    let paused = agent.inject(&pause(3, None));
    for undo in [&wire, &paused] {
        let (tag, by, _) = agent.notice();
        assert_eq!((tag.as_str(), by), (undo.tag.as_str(), By::Lease));
    }
    agent.sees(&wire, Presence::Absent);
    agent.sees(&paused, Presence::Absent);
    assert_eq!(agent.revert(&wire).1, By::Lease);
}

#[test]
fn renewals_keep_a_hold() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, Duration::from_secs(2));
    let undo = agent.inject(&cut(1, 2));
    // Each probe takes its time; no timer of the test is needed to outlast the lease.
    for _ in 0..12 {
        assert!(matches!(agent.ask(Ask::Renew), Answer::Renewed { .. }));
        agent.sees(&undo, Presence::Full);
    }
    assert_eq!(agent.revert(&undo).1, By::Asked);
}

#[test]
fn the_end_of_standard_input_ends_everything() {
    let Some(world) = world() else { return };
    world.start(3, "sleep", &["600"]);
    let mut agent = Agent::start(&world, LONG);
    agent.inject(&cut(1, 2));
    let paused = agent.inject(&pause(3, None));
    agent.close();
    for _ in 0..2 {
        assert_eq!(agent.notice().1, By::StdinClosed);
    }
    assert!(agent.exit().success());
    assert_eq!(world.ruleset(), "");
    Agent::start(&world, LONG).sees(&paused, Presence::Absent);
}

#[test]
fn sigterm_ends_everything() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    agent.inject(&cut(1, 2));
    for signal in [nix::sys::signal::Signal::SIGINT, nix::sys::signal::Signal::SIGTERM] {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(agent.pid()), signal).expect("sent");
    }
    assert_eq!(agent.notice().1, By::Signal);
    assert!(agent.exit().success());
    assert_eq!(world.ruleset(), "");
}

#[test]
fn bye_ends_everything_and_leaves_no_guard() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    agent.inject(&cut(1, 2));
    assert_eq!(agent.ask(Ask::Bye), Answer::Bye);
    assert!(agent.exit().success());
    assert_eq!(world.ruleset(), "");
    let switch = world.switch_processes();
    wait("nobody is left", || switch().is_empty().then_some(()));
}
