//! The agent and its guard watch each other; what both leave when they die together is in the journal.

use std::time::Duration;

use firedrill_agent::journal;
use firedrill_agent::protocol::{Answer, Ask};
use firedrill_core::action::Presence;
use nix::sys::signal::Signal;

use crate::agent::{Agent, LONG};
use crate::world::{World, cut, kill, pause, wait, world};

/// Shorter than the least silence that counts.
const SHORT: Duration = Duration::from_secs(1);

fn journals(world: &World) -> usize {
    let folder = world.config(LONG).journal.expect("a folder");
    journal::find(&folder, "fd-").expect("read").len()
}

#[test]
fn an_agent_that_is_stopped_is_killed_by_its_guard_and_everything_undone() {
    let Some(mut world) = world() else { return };
    let asked = world.with_starter(None);
    world.start(1, "sleep", &["600"]);
    world.start(2, "sleep", &["600"]);
    let mut agent = Agent::start(&world, SHORT);
    let paused = agent.inject(&pause(2, None));
    agent.inject(&cut(1, 2));
    agent.inject(&kill(1, None, true));
    Agent::signal(agent.pid(), Signal::SIGSTOP);
    assert!(!agent.exit().success());
    let mut second = Agent::start(&world, LONG);
    wait("it goes on", || (second.probe(&paused).presence == Presence::Absent).then_some(()));
    wait("the node is started", || (world.processes(1).len() == 1).then_some(()));
    assert!(!asked.lock().expect("the log").is_empty());
    assert!(world.passes(1, 2));
    wait("only the living one's journal is left", || (journals(&world) == 1).then_some(()));
}

#[test]
fn a_guard_that_dies_or_hangs_is_replaced_and_the_next_one_knows_everything() {
    let Some(mut world) = world() else { return };
    world.with_starter(None);
    for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
        world.start(1, "sleep", &["600"]);
        let mut agent = Agent::start(&world, SHORT);
        let undo = agent.prepare(&kill(1, None, true));
        let first = agent.guard().expect("a guard");
        agent.apply(&undo, None);
        Agent::signal(first, signal);
        wait("another guard", || {
            // Renews the lease.
            assert!(matches!(agent.ask(Ask::Ping), Answer::Pong { .. }));
            agent.guard().filter(|guard| *guard != first)
        });
        agent.sees(&undo, Presence::Full);
        agent.kill_9();
        wait("the new guard has the node started", || (world.processes(1).len() == 1).then_some(()));
        wait("its journal is gone", || (journals(&world) == 0).then_some(()));
        world.end_all(1);
    }
}

#[test]
fn a_dead_guard_is_noticed_before_an_action_is_applied() {
    let Some(world) = world() else { return };
    world.start(2, "sleep", &["600"]);
    let mut agent = Agent::start(&world, LONG);
    let undo = agent.prepare(&pause(2, None));
    Agent::signal(agent.guard().expect("a guard"), Signal::SIGKILL);
    agent.apply(&undo, None);
    agent.kill_9();
    let mut second = Agent::start(&world, LONG);
    wait("it goes on", || (second.probe(&undo).presence == Presence::Absent).then_some(()));
}

#[test]
fn what_agent_and_guard_leave_together_is_undone_by_the_next_agent() {
    let Some(mut world) = world() else { return };
    let asked = world.with_starter(None);
    world.start(1, "sleep", &["600"]);
    world.start(2, "sleep", &["600"]);
    let mut agent = Agent::start(&world, LONG);
    let paused = agent.inject(&pause(2, None));
    agent.inject(&kill(1, None, true));
    Agent::signal(agent.guard().expect("a guard"), Signal::SIGKILL);
    agent.kill_9();
    assert_eq!(journals(&world), 1);
    let mut second = Agent::start(&world, LONG);
    second.sees(&paused, Presence::Absent);
    wait("the node runs", || (world.processes(1).len() == 1).then_some(()));
    assert!(asked.lock().expect("the log").contains(&"ensure n1".to_owned()));
    assert_eq!(journals(&world), 1, "the living one's");
    assert!(matches!(second.ask(Ask::Bye), Answer::Bye));
    assert!(second.exit().success());
    assert_eq!(journals(&world), 0);
}

#[test]
fn a_run_does_not_undo_what_another_run_left() {
    let Some(world) = world() else { return };
    let mut other = world.config(LONG);
    other.tag_prefix = "fd-other-".to_owned();
    let mut agent = Agent::silent(&world);
    let hello = Ask::Hello { version: firedrill_agent::protocol::VERSION, config: other };
    assert!(matches!(agent.ask(hello), Answer::Hello { .. }));
    Agent::signal(agent.guard().expect("a guard"), Signal::SIGKILL);
    agent.kill_9();
    let mut second = Agent::start(&world, LONG);
    assert_eq!(journals(&world), 2);
    assert!(matches!(second.ask(Ask::Bye), Answer::Bye));
}

#[test]
fn a_node_comes_back_although_agent_and_guard_die_together() {
    let Some(mut world) = world() else { return };
    let asked = world.with_starter(None);
    world.start(1, "sleep", &["600"]);
    let mut agent = Agent::start(&world, LONG);
    agent.inject(&kill(1, None, true));
    assert!(world.processes(1).is_empty());
    Agent::signal(agent.guard().expect("a guard"), Signal::SIGKILL);
    agent.kill_9();
    wait("the node runs", || (world.processes(1).len() == 1).then_some(()));
    assert_eq!(*asked.lock().expect("the log"), ["down n1 broke off"]);
}
