//! Pauses held as a debugger holds: they end with whoever holds them, and the held are none the worse for it.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::thread;

use firedrill_core::action::Presence;
use firedrill_sys::process::{Process, State, started_self};
use nix::sys::signal::Signal;

use crate::agent::{Agent, LONG};
use crate::world::{World, pause, wait, world};

/// Many threads that count, and a number printed for each signal.
const BUSY: &str = "
import os, signal, threading
# Python's own handlers can be late by a signal; what they write into a pipe cannot.
told, tell = os.pipe()
os.set_blocking(tell, False)
signal.set_wakeup_fd(tell)
both = {signal.SIGUSR1, signal.SIGUSR2}
for number in both: signal.signal(number, lambda *_: None)
def count():
    signal.pthread_sigmask(signal.SIG_BLOCK, both)
    while True: pass
for _ in range(7): threading.Thread(target=count, daemon=True).start()
print('ready', flush=True)
while True: print(os.read(told, 1)[0], flush=True)
";

fn states(world: &World, number: u8) -> Vec<State> {
    world.processes(number).iter().map(|process| process.state).collect()
}

/// Starts [`BUSY`] on node 1; its lines.
fn busy(world: &World) -> (Process, std::sync::mpsc::Receiver<String>) {
    let mut command = world.end(1).command("/usr/bin/python3");
    let mut child = command.args(["-c", BUSY]).stdout(Stdio::piped()).spawn().expect("it starts");
    let (sender, lines) = channel();
    let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    thread::spawn(move || stdout.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
    world.keep(child);
    assert_eq!(lines.recv_timeout(std::time::Duration::from_secs(10)).expect("a line"), "ready");
    (world.processes(1).remove(0), lines)
}

#[test]
fn a_pause_ends_although_agent_and_guard_die_together() {
    let Some(world) = world() else { return };
    world.start(1, "bash", &["-c", "while true; do sleep 0.01 & wait $!; done"]);
    let mut agent = Agent::start(&world, LONG);
    let undo = agent.inject(&pause(1, None));
    agent.sees(&undo, Presence::Full);
    assert!(states(&world, 1).iter().all(|state| *state == State::Held), "{:?}", states(&world, 1));
    Agent::signal(agent.guard().expect("a guard"), Signal::SIGKILL);
    agent.kill_9();
    wait("they go on", || states(&world, 1).iter().all(|state| *state == State::Alive).then_some(()));
    wait("its holder is gone", || started_self(&["pause", &undo.tag]).expect("read").is_empty().then_some(()));
}

#[test]
fn a_pause_ends_with_an_agent_whose_holder_hangs() {
    let Some(world) = world() else { return };
    world.start(1, "sleep", &["600"]);
    for with_guard in [false, true] {
        let mut agent = Agent::start(&world, LONG);
        let undo = agent.inject(&pause(1, None));
        let holder = started_self(&["pause", &undo.tag]).expect("read").remove(0);
        Agent::signal(holder.pid, Signal::SIGSTOP);
        if with_guard {
            Agent::signal(agent.guard().expect("a guard"), Signal::SIGKILL);
            agent.kill_9();
        } else {
            agent.revert(&undo);
        }
        wait("it goes on", || (states(&world, 1) == [State::Alive]).then_some(()));
    }
}

#[test]
fn every_thread_is_held_and_no_signal_is_lost() {
    let Some(world) = world() else { return };
    let (process, lines) = busy(&world);
    let mut agent = Agent::start(&world, LONG);
    for round in 0..30 {
        Agent::signal(process.pid, Signal::SIGUSR1);
        let undo = agent.inject(&pause(1, None));
        agent.sees(&undo, Presence::Full);
        Agent::signal(process.pid, Signal::SIGUSR2);
        agent.sees(&undo, Presence::Full);
        agent.revert(&undo);
        let mut told = [0, 0].map(|_| lines.recv_timeout(std::time::Duration::from_secs(10)).expect("a signal"));
        told.sort();
        assert_eq!(told, ["10", "12"], "round {round}");
    }
}

#[test]
fn a_held_process_can_be_killed_and_its_parent_sees_it() {
    let Some(world) = world() else { return };
    let mut child = world.end(1).command("sleep").arg("600").spawn().expect("it starts");
    wait("it runs", || world.processes(1).iter().any(|process| process.name == "sleep").then_some(()));
    let mut agent = Agent::start(&world, LONG);
    agent.inject(&pause(1, None));
    Agent::signal(i32::try_from(child.id()).expect("a pid"), Signal::SIGKILL);
    let status = wait("its parent sees its end", || child.try_wait().expect("a child"));
    assert_eq!(status.signal(), Some(9));
}

#[test]
fn pauses_that_overlap_hold_until_the_last_and_not_longer() {
    let Some(world) = world() else { return };
    world.start(1, "bash", &["-c", "while true; do sleep 600; done"]);
    wait("the child runs", || (world.processes(1).len() == 2).then_some(()));
    let mut agent = Agent::start(&world, LONG);
    let (all, one) = (agent.inject(&pause(1, None)), agent.inject(&pause(1, Some("sleep"))));
    agent.revert(&one);
    agent.sees(&all, Presence::Full);
    let one = agent.inject(&pause(1, Some("sleep")));
    // What only the first wanted goes on at once.
    agent.revert(&all);
    agent.sees(&one, Presence::Full);
    agent.sees(&all, Presence::Partial);
    assert_eq!(states(&world, 1), [State::Alive, State::Held]);
    let all = agent.inject(&pause(1, None));
    agent.sees(&all, Presence::Full);
    agent.revert(&one);
    agent.sees(&all, Presence::Full);
    agent.revert(&all);
    assert_eq!(states(&world, 1), [State::Alive, State::Alive]);
    let _both = (agent.inject(&pause(1, None)), agent.inject(&pause(1, Some("sleep"))));
    Agent::signal(agent.guard().expect("a guard"), Signal::SIGKILL);
    agent.kill_9();
    wait("they go on", || (states(&world, 1) == [State::Alive, State::Alive]).then_some(()));
}

#[test]
fn what_somebody_elses_debugger_holds_is_stopped_by_a_signal() {
    let Some(world) = world() else { return };
    world.start(1, "sleep", &["600"]);
    let mut debugger = Agent::start(&world, LONG);
    let theirs = debugger.inject(&pause(1, None));
    let mut agent = Agent::silent(&world);
    let mut config = world.config(LONG);
    config.tag_prefix = "fd-second-".to_owned();
    let hello = firedrill_agent::protocol::Ask::Hello { version: firedrill_agent::protocol::VERSION, config };
    assert!(matches!(agent.ask(hello), firedrill_agent::protocol::Answer::Hello { .. }));
    agent.call_it("fd-second-");
    agent.inject(&pause(1, None));
    debugger.revert(&theirs);
    wait("it is stopped", || (states(&world, 1) == [State::Stopped]).then_some(()));
    agent.kill_9();
    wait("the guard lets it go on", || (states(&world, 1) == [State::Alive]).then_some(()));
}
