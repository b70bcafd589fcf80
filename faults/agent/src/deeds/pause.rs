//! Stopping processes with SIGSTOP, until two looks in a row find all of them stopped, new children included.

use std::time::Duration;

use firedrill_core::action::{Action, Effect, Presence, ProcessRef, Undo};
use firedrill_core::cluster::{NodeName, ProcessName};
use firedrill_sys::clock;
use firedrill_sys::process::{self, Process, State};

use super::{Grip, Scene, Work, not_mine, targets};
use crate::ends::Ends;
use crate::protocol::{Refusal, RefusalKind};
use crate::world::{self, World};

const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;
/// How long stopping all may take. Only what sleeps in the kernel uninterruptibly takes longer than milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_millis(1);

/// Stopping processes.
#[derive(Clone, Copy, Debug)]
pub struct Pause;

fn whom(action: &Action) -> Result<(&NodeName, Option<&ProcessName>), Refusal> {
    let Action::Pause { node, process } = action else { return Err(not_mine(action)) };
    Ok((node, process.as_ref()))
}

impl Work for Pause {
    fn prepare(&self, world: &World, undo: Undo) -> Result<Undo, Refusal> {
        let (node, process) = whom(&undo.action)?;
        let mut found = world.processes(node, process)?;
        targets(&found, &undo.action)?;
        // What somebody else has stopped is not ours to let go on.
        found.retain(|process| process.state != State::Stopped);
        let processes = found.iter().map(world::reference).collect();
        Ok(Undo { processes, ..undo })
    }

    fn apply(&self, scene: &mut Scene<'_>, undo: &Undo) -> Result<(Box<dyn Grip>, u64), Refusal> {
        let (node, process) = whom(&undo.action)?;
        let (stopped, from) = apply(scene.world, node, process, scene.held)?;
        if stopped.iter().any(|reference| !undo.processes.contains(reference)) {
            scene.guard.hold(&Undo { processes: stopped.clone(), ..undo.clone() }).or_else(|refusal| {
                revert(&stopped, scene.held)?;
                Err(refusal)
            })?;
        }
        Ok((Box::new(Paused(stopped)), from))
    }

    fn undo(&self, world: &World, undo: &Undo, held: &[ProcessRef]) -> Result<(), Refusal> {
        let (node, process) = whom(&undo.action)?;
        revert(&orphans(world, node, process, &undo.processes)?, held)
    }

    fn probe(&self, _ends: &Ends, world: &World, undo: &Undo) -> Effect {
        match whom(&undo.action) {
            Ok((node, process)) => probe(world, node, process),
            Err(refusal) => Effect { presence: Presence::Unknown, evidence: refusal.what },
        }
    }
}

/// What was stopped, in the order of stopping.
#[derive(Debug)]
struct Paused(Vec<ProcessRef>);

impl Grip for Paused {
    fn let_go(self: Box<Self>, _world: &World, _undo: &Undo, held: &[ProcessRef]) -> Result<(), Refusal> {
        revert(&self.0, held)
    }

    fn stopped(&self) -> &[ProcessRef] {
        &self.0
    }
}

/// Stops all; returns them, and when the last signal that was needed had been sent (boot time, nanoseconds): the looks that
/// follow only make sure. `held` are processes that other pauses hold. On an error what was stopped goes on.
fn apply(
    world: &World,
    node: &NodeName,
    name: Option<&ProcessName>,
    held: &[ProcessRef],
) -> Result<(Vec<ProcessRef>, u64), Refusal> {
    let mut stopped = Vec::new();
    let mut quiet_looks = 0;
    let mut since = clock::boottime_nanos();
    let done = clock::until(PATIENCE, INTERVAL, || match round(world, node, name, held, &mut stopped) {
        Ok(signalled) => {
            if signalled == 0 {
                quiet_looks += 1;
            } else {
                quiet_looks = 0;
                since = clock::boottime_nanos();
            }
            (quiet_looks == 2).then_some(Ok(()))
        }
        Err(refusal) => Some(Err(refusal)),
    });
    match done.unwrap_or_else(|| Err(never_quiet(node))) {
        Ok(()) => Ok((stopped, since)),
        Err(refusal) => Err(match revert(&stopped, held) {
            Ok(()) => refusal,
            Err(second) => {
                Refusal { what: format!("{}; and going on again failed: {second}", refusal.what), ..refusal }
            }
        }),
    }
}

/// One look and one SIGSTOP to each that runs; how many there were.
fn round(
    world: &World,
    node: &NodeName,
    name: Option<&ProcessName>,
    held: &[ProcessRef],
    stopped: &mut Vec<ProcessRef>,
) -> Result<usize, Refusal> {
    let mut signalled = 0;
    for process in world.processes(node, name)? {
        let reference = world::reference(&process);
        if process.state == State::Stopped {
            // Stopped by another pause of ours: it must not go on before both end. By somebody else: not ours to let go on.
            if held.contains(&reference) && !stopped.contains(&reference) {
                stopped.push(reference);
            }
            continue;
        }
        signalled += 1;
        if !stopped.contains(&reference) {
            stopped.push(reference);
        }
        process::signal(process.pid, process.start, SIGSTOP)
            .map_err(|error| Refusal::system(format!("stopping {} ({})", process.name, process.pid), &error))?;
    }
    Ok(signalled)
}

fn never_quiet(node: &NodeName) -> Refusal {
    let what = format!("processes of {node} did not all stop within {}", firedrill_core::units::human(PATIENCE));
    Refusal::new(RefusalKind::System, what)
}

/// Lets go on what was stopped and is not `held` by another pause, children first. The first failure is the answer.
fn revert(stopped: &[ProcessRef], held: &[ProcessRef]) -> Result<(), Refusal> {
    let mut result = Ok(());
    for reference in stopped.iter().rev().filter(|reference| !held.contains(reference)) {
        if find_stopped(reference).is_none() {
            continue;
        }
        let signalled = process::signal(reference.pid, reference.start, SIGCONT);
        let failed = match signalled {
            Ok(_) => clock::until(PATIENCE, INTERVAL, || find_stopped(reference).is_none().then_some(()))
                .is_none()
                .then(|| Refusal::new(RefusalKind::System, format!("{} does not go on", words(reference)))),
            Err(error) => Some(Refusal::system(format!("letting {} go on", words(reference)), &error)),
        };
        if let (Some(refusal), true) = (failed, result.is_ok()) {
            result = Err(refusal);
        }
    }
    result
}

fn find_stopped(reference: &ProcessRef) -> Option<Process> {
    world::find(reference).filter(|process| process.state == State::Stopped)
}

fn words(reference: &ProcessRef) -> String {
    format!("{} ({})", reference.name, reference.pid)
}

/// What another agent stopped, as far as its undo tells: what it recorded, and what has come from that since.
fn orphans(
    world: &World,
    node: &NodeName,
    name: Option<&ProcessName>,
    recorded: &[ProcessRef],
) -> Result<Vec<ProcessRef>, Refusal> {
    let mut orphans: Vec<ProcessRef> = recorded.to_vec();
    // Parents come first, so children of children are found in one pass.
    for process in world.processes(node, name)? {
        let reference = world::reference(&process);
        if !orphans.contains(&reference) && orphans.iter().any(|known| known.pid == process.parent) {
            orphans.push(reference);
        }
    }
    Ok(orphans)
}

/// Looks at the state of each.
fn probe(world: &World, node: &NodeName, name: Option<&ProcessName>) -> Effect {
    match world.processes(node, name) {
        Ok(found) => judge(node, &found),
        Err(refusal) => Effect { presence: Presence::Unknown, evidence: refusal.what },
    }
}

fn judge(node: &NodeName, found: &[Process]) -> Effect {
    let stopped = found.iter().filter(|process| process.state == State::Stopped).count();
    let presence = match (found.len(), stopped) {
        (0, _) => Presence::Unknown,
        (_, 0) => Presence::Absent,
        (all, stopped) if all == stopped => Presence::Full,
        (_, _) => Presence::Partial,
    };
    let running: Vec<&Process> = found.iter().filter(|process| process.state != State::Stopped).collect();
    let mut evidence = format!("{stopped} of {} processes of {node} are stopped", found.len());
    if presence == Presence::Partial {
        evidence = format!("{evidence}; running: {}", world::words(running));
    }
    Effect { presence, evidence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_judged_by_the_state_of_all() {
        let process = |pid, state| Process { pid, parent: 1, start: 1, name: "a".to_owned(), state };
        for (found, want) in [
            (vec![], Presence::Unknown),
            (vec![process(2, State::Alive)], Presence::Absent),
            (vec![process(2, State::Stopped)], Presence::Full),
            (vec![process(2, State::Stopped), process(3, State::Alive)], Presence::Partial),
        ] {
            assert_eq!(judge(&NodeName::new("n1"), &found).presence, want, "{found:?}");
        }
    }
}
