//! Killing and pausing processes.

use std::os::unix::process::ExitStatusExt;

use firedrill_agent::protocol::{Ask, By, RefusalKind};
use firedrill_core::action::{Action, Presence};
use firedrill_core::cluster::ProcessName;

use crate::agent::{Agent, LONG, refusal};
use crate::world::{cut, kill, node, pause, wait, world};

/// A process that starts another of the same kind each time one ends.
const SUPERVISOR: &str = "while true; do sleep 600; done";
/// A process that starts others all the time.
const FORKER: &str = "while true; do sleep 0.01 & wait $!; done";

#[test]
fn a_pause_stops_all_of_a_node_and_ends() {
    let Some(world) = world() else { return };
    world.start(1, "bash", &["-c", SUPERVISOR]);
    world.start(2, "sleep", &["600"]);
    wait("the child runs", || (world.processes(1).len() == 2).then_some(()));
    let mut agent = Agent::start(&world, LONG);
    let undo = agent.prepare(&pause(1, None));
    agent.sees(&undo, Presence::Absent);
    agent.apply(&undo, None);
    agent.sees(&undo, Presence::Full);
    let other = agent.prepare(&pause(2, None));
    agent.sees(&other, Presence::Absent);
    assert_eq!(agent.inventory().len(), 2);
    let first = agent.revert(&undo);
    agent.sees(&undo, Presence::Absent);
    assert_eq!(agent.revert(&undo), first);
    assert_eq!(agent.revert(&other), (None, By::Asked));
    assert_eq!(agent.inventory(), [""; 0]);
}

#[test]
fn a_fork_storm_is_stopped_whole() {
    let Some(world) = world() else { return };
    world.start(1, "bash", &["-c", FORKER]);
    let mut agent = Agent::start(&world, LONG);
    for _ in 0..5 {
        let undo = agent.inject(&pause(1, None));
        agent.sees(&undo, Presence::Full);
        agent.revert(&undo);
        wait("it goes on", || (agent.probe(&undo).presence == Presence::Absent).then_some(()));
    }
}

#[test]
fn a_named_pause_leaves_others() {
    let Some(world) = world() else { return };
    world.start(1, "bash", &["-c", SUPERVISOR]);
    wait("the child runs", || (world.processes(1).len() == 2).then_some(()));
    let mut agent = Agent::start(&world, LONG);
    let named = agent.inject(&pause(1, Some("sleep")));
    let all = agent.prepare(&pause(1, None));
    agent.sees(&named, Presence::Full);
    agent.sees(&all, Presence::Partial);
}

#[test]
fn two_pauses_of_a_process_end_with_the_last() {
    let Some(world) = world() else { return };
    world.start(1, "sleep", &["600"]);
    let mut agent = Agent::start(&world, LONG);
    let (first, second) = (agent.inject(&pause(1, None)), agent.inject(&pause(1, Some("sleep"))));
    agent.revert(&first);
    agent.sees(&second, Presence::Full);
    agent.revert(&second);
    agent.sees(&second, Presence::Absent);
}

#[test]
fn what_somebody_else_stopped_stays_stopped() {
    let Some(world) = world() else { return };
    world.start(1, "sleep", &["600"]);
    world.start(1, "sleep", &["601"]);
    let theirs = world.processes(1).remove(0);
    firedrill_sys::process::signal(theirs.pid, theirs.start, 19).expect("stopped");
    let mut agent = Agent::start(&world, LONG);
    let undo = agent.inject(&pause(1, None));
    agent.sees(&undo, Presence::Full);
    agent.revert(&undo);
    agent.sees(&undo, Presence::Partial);
}

#[test]
fn the_death_of_the_agent_ends_its_pauses() {
    let Some(mut world) = world() else { return };
    let asked = world.with_starter(None);
    world.start(1, "sleep", &["600"]);
    world.start(2, "sleep", &["600"]);
    let mut agent = Agent::start(&world, LONG);
    let undo = agent.inject(&pause(2, None));
    agent.inject(&kill(1, None, true));
    agent.kill_9();
    let mut second = Agent::start(&world, LONG);
    wait("the guard lets it go on", || (second.probe(&undo).presence == Presence::Absent).then_some(()));
    wait("the guard has the node started", || (world.processes(1).len() == 1).then_some(()));
    wait("the guard has asked", || asked.lock().expect("the log").contains(&"ensure n1".to_owned()).then_some(()));
}

#[test]
fn another_agent_can_undo_a_pause() {
    let Some(world) = world() else { return };
    world.start(1, "sleep", &["600"]);
    let mut first = Agent::start(&world, LONG);
    let mut second = Agent::start(&world, LONG);
    let undo = first.inject(&pause(1, None));
    assert_eq!(second.revert(&undo), (None, By::Asked));
    second.sees(&undo, Presence::Absent);
}

#[test]
fn a_kill_leaves_nobody_on_the_node() {
    let Some(mut world) = world() else { return };
    let asked = world.with_starter(None);
    world.start(1, "bash", &["-c", SUPERVISOR]);
    world.start(1, "bash", &["-c", FORKER]);
    world.start(2, "sleep", &["600"]);
    let mut agent = Agent::start(&world, LONG);
    let undo = agent.prepare(&kill(1, None, true));
    assert_eq!(undo.restarts, ["n1"]);
    agent.sees(&undo, Presence::Absent);
    agent.apply(&undo, None);
    agent.sees(&undo, Presence::Full);
    assert!(world.processes(1).is_empty() && world.processes(2).len() == 1);
    let mut returned = world.end(1).command("sleep").arg("600").spawn().expect("it starts");
    let status = wait("what comes back is killed", || returned.try_wait().expect("a child"));
    assert_eq!(status.signal(), Some(9), "what comes back is killed");
    let (held, by) = agent.revert(&undo);
    assert!(held.is_some() && by == By::Asked);
    agent.sees(&undo, Presence::Absent);
    assert_eq!(world.processes(1).len(), 1);
    assert_eq!(agent.revert(&undo), (held, by));
    assert_eq!(*asked.lock().expect("the log"), ["ensure n1"]);
}

#[test]
fn a_named_kill_takes_those_of_the_name_and_spares_the_next() {
    let Some(world) = world() else { return };
    world.start(1, "bash", &["-c", SUPERVISOR]);
    wait("the child runs", || (world.processes(1).len() == 2).then_some(()));
    let mut agent = Agent::start(&world, LONG);
    let undo = agent.inject(&kill(1, Some("sleep"), false));
    agent.sees(&undo, Presence::Full);
    wait("its supervisor starts another", || (world.processes(1).len() == 2).then_some(()));
    agent.sees(&undo, Presence::Full);
    agent.revert(&undo);
    let nobody = agent.try_prepare(&kill(1, Some("postgres"), false));
    assert_eq!(refusal(nobody).kind, RefusalKind::NoTarget);
}

#[test]
fn a_script_is_killed_by_its_name() {
    let Some(world) = world() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("patroni");
    std::fs::write(&script, "sleep 600 & wait\n").expect("written");
    world.start(1, "bash", &[script.to_str().expect("text")]);
    let mut agent = Agent::start(&world, LONG);
    let undo = agent.inject(&kill(1, Some("patroni"), false));
    agent.sees(&undo, Presence::Full);
}

#[test]
fn other_signals_are_sent_once() {
    let Some(world) = world() else { return };
    world.start(1, "sleep", &["600"]);
    world.start(2, "bash", &["-c", "trap '' TERM; while true; do read -t 600 < <(exec sleep 600); done"]);
    let mut agent = Agent::start(&world, LONG);
    let term = |number: u8, name: &str| Action::Kill {
        node: node(number),
        process: Some(ProcessName(name.to_owned())),
        signal: 15,
        stay_down: false,
    };
    let obeyed = agent.inject(&term(1, "sleep"));
    wait("it ends", || (agent.probe(&obeyed).presence == Presence::Full).then_some(()));
    let ignored = agent.inject(&term(2, "bash"));
    agent.sees(&ignored, Presence::Absent);
}

#[test]
fn a_crashed_node_is_not_started_by_the_heal_of_another_kill() {
    let Some(mut world) = world() else { return };
    let asked = world.with_starter(None);
    world.start(1, "sleep", &["600"]);
    world.start(1, "bash", &["-c", SUPERVISOR]);
    let mut agent = Agent::start(&world, LONG);
    let named = agent.inject(&kill(1, Some("sleep"), false));
    let wire = agent.inject(&cut(1, 2));
    let whole = agent.inject(&kill(1, None, true));
    agent.revert(&named);
    agent.sees(&whole, Presence::Full);
    agent.revert(&wire);
    agent.sees(&whole, Presence::Full);
    assert!(asked.lock().expect("the log").is_empty());
    agent.revert(&whole);
    agent.sees(&whole, Presence::Absent);
}

#[test]
fn a_failed_restart_is_an_error_and_can_be_tried_again() {
    let Some(mut world) = world() else { return };
    let asked = world.with_starter(Some("no such unit"));
    world.start(1, "sleep", &["600"]);
    world.start(2, "sleep", &["600"]);
    let mut agent = Agent::start(&world, LONG);
    let paused = agent.inject(&pause(2, None));
    let undo = agent.inject(&kill(1, None, true));
    for _ in 0..2 {
        let refused = refusal(agent.ask(Ask::Revert { undo: undo.clone() }));
        assert_eq!(refused.what, "`ensure n1` was refused: no such unit");
    }
    assert_eq!(asked.lock().expect("the log").len(), 2);
    // One failing undo does not stop the others, and the end says that not all is well.
    assert_eq!(refusal(agent.ask(Ask::Bye)).kind, RefusalKind::System);
    assert!(!agent.exit().success());
    let mut second = Agent::start(&world, LONG);
    second.sees(&paused, Presence::Absent);
    // What is still not undone is the next agent's too.
    assert_eq!(refusal(second.ask(Ask::Bye)).kind, RefusalKind::System);
    assert_eq!(asked.lock().expect("the log").last().map(String::as_str), Some("ensure n1"));
}
