//! Pressing resources, and the kernel's out-of-memory killer, on real processes.

use std::time::Duration;

use firedrill_agent::hog;
use firedrill_agent::protocol::RefusalKind;
use firedrill_core::action::{Action, Presence};
use firedrill_core::cluster::ProcessName;
use firedrill_core::harm::Pressure;
use firedrill_sys::press;

use crate::agent::{Agent, LONG, refusal};
use crate::world::{World, node, wait, world};

const MEMORY: u64 = 192 << 20;
const PIDS: u64 = 60;

fn press(pressure: Pressure) -> Action {
    Action::Press { node: node(1), pressure }
}

fn oom(process: Option<&str>) -> Action {
    Action::Oom { node: node(1), process: process.map(|name| ProcessName(name.to_owned())) }
}

fn hogs(world: &World) -> usize {
    world.processes(1).iter().filter(|process| process.name == hog::NAME).count()
}

/// Applies it, sees it, and reverts it; nothing of it is left.
fn comes_and_goes(world: &World, agent: &mut Agent, pressure: Pressure) {
    let undo = agent.prepare(&press(pressure));
    agent.sees(&undo, Presence::Absent);
    agent.apply(&undo, None);
    agent.sees(&undo, Presence::Full);
    agent.revert(&undo);
    agent.sees(&undo, Presence::Absent);
    assert_eq!(hogs(world), 0);
    agent.revert(&undo);
}

#[test]
fn the_processor_and_the_disk_are_kept_busy() {
    let Some(world) = world() else { return };
    world.start(1, "sleep", &["600"]);
    let mut agent = Agent::start(&world, LONG);
    comes_and_goes(&world, &mut agent, Pressure::Cpu { workers: 2 });
    comes_and_goes(&world, &mut agent, Pressure::Io { workers: 1 });
}

#[test]
fn memory_and_process_numbers_are_taken() {
    let Some(mut world) = world() else { return };
    if !world.limit(MEMORY, PIDS) {
        return;
    }
    world.start(1, "sleep", &["600"]);
    let mut agent = Agent::start(&world, LONG);
    comes_and_goes(&world, &mut agent, Pressure::Memory { bytes: MEMORY / 2 });
    let answer = agent.try_prepare(&press(Pressure::Memory { bytes: MEMORY }));
    assert_eq!(refusal(answer).kind, RefusalKind::Order, "that would call the killer");
    comes_and_goes(&world, &mut agent, Pressure::Pids { spare: 3 });
}

#[test]
fn file_descriptors_run_out_and_come_back_even_to_children() {
    let Some(world) = world() else { return };
    world.start(1, "bash", &["-c", "while true; do sleep 0.2 & wait $!; done"]);
    let mut agent = Agent::start(&world, LONG);
    let bash = || world.processes(1).into_iter().find(|process| process.name == "bash").expect("it runs").pid;
    let before = press::file_limit(bash()).expect("a limit");
    comes_and_goes(&world, &mut agent, Pressure::Fds { spare: 1 });
    let undo = agent.inject(&press(Pressure::Fds { spare: 1 }));
    let held = press::file_limit(bash()).expect("a limit").soft;
    assert!(held < before.soft, "{held} of {}", before.soft);
    agent.revert(&undo);
    for process in world.processes(1) {
        // A child may have ended meanwhile.
        let limit = press::file_limit(process.pid).unwrap_or(before);
        assert_eq!(limit, before, "{}", process.name);
    }
}

#[test]
fn a_killed_agent_gives_everything_back() {
    let Some(world) = world() else { return };
    world.start(1, "sleep", &["600"]);
    let sleep = world.processes(1)[0].pid;
    let before = press::file_limit(sleep).expect("a limit");
    let mut agent = Agent::start(&world, LONG);
    agent.inject(&press(Pressure::Cpu { workers: 2 }));
    agent.inject(&press(Pressure::Fds { spare: 1 }));
    assert_ne!(press::file_limit(sleep).expect("a limit"), before);
    assert_eq!(hogs(&world), 2);
    agent.kill_9();
    wait("the hogs end", || (hogs(&world) == 0).then_some(()));
    wait("the limit is back", || (press::file_limit(sleep).ok() == Some(before)).then_some(()));
}

#[test]
fn the_kernels_killer_takes_whom_it_is_told() {
    let Some(mut world) = world() else { return };
    if !world.limit(MEMORY, PIDS) {
        return;
    }
    // Both are large, so that the one that is killed makes room enough.
    world.start(1, "perl", &["-e", "$x = 'x' x 20_000_000; sleep 600"]);
    world.start(1, "bash", &["-c", r"x=$(head -c 40000000 /dev/zero | tr '\0' x); while true; do sleep 600; done"]);
    wait("both are large", || (world.processes(1).len() == 3).then_some(()));
    let mut agent = Agent::start(&world, LONG);
    let undo = agent.prepare(&oom(Some("perl")));
    agent.sees(&undo, Presence::Absent);
    let before = world.processes(1);
    agent.apply(&undo, Some(Duration::from_secs(60)));
    agent.sees(&undo, Presence::Full);
    let after = world.processes(1);
    let bash = |processes: &[firedrill_sys::process::Process]| {
        processes.iter().find(|process| process.name == "bash").map(|process| process.pid)
    };
    assert!(bash(&before).is_some() && bash(&before) == bash(&after), "the large one was not chosen");
    agent.revert(&undo);
    for process in world.processes(1) {
        assert_eq!(firedrill_sys::process::oom_score_adj(process.pid).unwrap_or(0), 0, "{}", process.name);
    }
}

#[test]
fn a_node_without_limits_is_refused() {
    let Some(world) = world() else { return };
    world.start(1, "sleep", &["600"]);
    let mut agent = Agent::start(&world, LONG);
    for action in [oom(None), press(Pressure::Memory { bytes: 1 << 20 }), press(Pressure::Pids { spare: 1 })] {
        let answer = agent.try_prepare(&action);
        assert_eq!(refusal(answer).kind, RefusalKind::NotOffered, "{action}");
    }
}
