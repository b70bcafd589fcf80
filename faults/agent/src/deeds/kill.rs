//! Killing processes: parents first, and again until none is left, so that no supervisor gets to start one in between.

use std::collections::BTreeSet;
use std::time::Duration;

use firedrill_core::action::{Action, Effect, Presence, ProcessRef, Undo};
use firedrill_core::cluster::{NodeName, ProcessName};
use firedrill_sys::clock;
use firedrill_sys::process::{self, Process};

use super::{Grip, Scene, Work, not_mine, targets};
use crate::ends::Ends;
use crate::failpoint;
use crate::log::say;
use crate::protocol::{Refusal, RefusalKind};
use crate::world::{self, World};

/// `SIGKILL`: the one signal that nothing survives, so that its end can be waited for.
const SIGKILL: i32 = 9;
/// How long processes may take to end after SIGKILL; only those stuck in the kernel take longer than milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_millis(1);

/// Whom a kill is for.
#[derive(Clone, Copy, Debug)]
struct Target<'a> {
    /// The node.
    node: &'a NodeName,
    /// The name; all of the node when absent.
    process: Option<&'a ProcessName>,
    /// Whether they are to stay down.
    stay_down: bool,
}

impl Target<'_> {
    /// Whether success means that none runs, and not only that those of the beginning are gone.
    const fn empties(&self) -> bool {
        self.stay_down || self.process.is_none()
    }
}

/// How often what is to stay down is looked for.
const KEEP_DOWN: Duration = Duration::from_millis(20);

/// Killing processes.
#[derive(Clone, Copy, Debug)]
pub struct Kill;

impl Work for Kill {
    fn prepare(&self, world: &World, undo: Undo) -> Result<Undo, Refusal> {
        let (target, _) = target(&undo.action)?;
        let processes = targets(&world.processes(target.node, target.process)?, &undo.action)?;
        let restarts = vec![target.node.to_string()];
        Ok(Undo { processes, restarts, ..undo })
    }

    fn apply(&self, scene: &mut Scene<'_>, undo: &Undo) -> Result<(Box<dyn Grip>, u64), Refusal> {
        let (target, signal) = target(&undo.action)?;
        let (from, since_ticks) = apply(scene.world, &target, signal)?;
        let next = target.stay_down.then_some(from);
        Ok((Box::new(Killed { since_ticks, next }), from))
    }

    /// What is down is started again by whoever starts units, see [`super::restarts`].
    fn undo(&self, _world: &World, _undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        Ok(())
    }

    fn probe(&self, _ends: &Ends, world: &World, undo: &Undo) -> Effect {
        match target(&undo.action) {
            Ok((target, _)) => probe(world, &target, &undo.processes),
            Err(refusal) => Effect { presence: Presence::Unknown, evidence: refusal.what },
        }
    }
}

/// Whom an action kills, and with what signal.
fn target(action: &Action) -> Result<(Target<'_>, i32), Refusal> {
    let Action::Kill { node, process, signal, stay_down } = action else { return Err(not_mine(action)) };
    Ok((Target { node, process: process.as_ref(), stay_down: *stay_down }, *signal))
}

/// Since when, in clock ticks, what was killed is to be gone, and when to look again whether it is.
#[derive(Debug)]
struct Killed {
    since_ticks: u64,
    next: Option<u64>,
}

impl Grip for Killed {
    fn let_go(self: Box<Self>, _world: &World, _undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        Ok(())
    }

    fn next_turn(&self) -> Option<u64> {
        self.next
    }

    /// Kills again what was started of what is to stay down.
    fn turn(&mut self, world: &World, undo: &Undo) {
        self.next = Some(next_look());
        let Ok((target, _)) = target(&undo.action) else { return };
        match keep_down(world, &target, self.since_ticks) {
            Ok(0) => {}
            Ok(count) => say(&format!("{}: killed {count} that were started on {} meanwhile", undo.tag, target.node)),
            Err(refusal) => say(&format!("{}: keeping {} down failed: {refusal}", undo.tag, target.node)),
        }
    }
}

/// Signals all. Returns `CLOCK_BOOTTIME` (nanoseconds, and ticks) after the first round of signals.
fn apply(world: &World, target: &Target<'_>, number: i32) -> Result<(u64, u64), Refusal> {
    let since_ticks = clock::boottime_ticks();
    let mut from = None;
    let mut last = Vec::new();
    let done = clock::until(PATIENCE, INTERVAL, || match round(world, target, number, since_ticks) {
        Ok(signalled) if signalled.is_empty() && from.is_none() => {
            let what = format!("what was to be killed on {} has already ended", target.node);
            Some(Err(Refusal::new(RefusalKind::NoTarget, what)))
        }
        Ok(signalled) => {
            from.get_or_insert_with(clock::boottime_nanos);
            if let Err(refusal) = failpoint::within("mid-apply") {
                return Some(Err(refusal));
            }
            let over = signalled.is_empty() || number != SIGKILL;
            last = signalled;
            over.then_some(Ok(()))
        }
        Err(refusal) => Some(Err(refusal)),
    });
    let result = done.unwrap_or_else(|| {
        let what = format!("{} of {} did not end after SIGKILL", world::words(&last), target.node);
        Err(Refusal::new(RefusalKind::System, what))
    });
    result.map(|()| (from.unwrap_or_default(), since_ticks))
}

/// Kills everything on a node until nothing is left. Succeeds if nothing runs.
pub(super) fn end_all(world: &World, node: &NodeName) -> Result<(), Refusal> {
    end(world, &Target { node, process: None, stay_down: true })
}

/// Kills what runs of that name, or everything, but not what is started meanwhile. Succeeds if nothing runs.
pub(super) fn end_those(world: &World, node: &NodeName, process: Option<&ProcessName>) -> Result<(), Refusal> {
    end(world, &Target { node, process, stay_down: false })
}

fn end(world: &World, target: &Target<'_>) -> Result<(), Refusal> {
    match apply(world, target, SIGKILL) {
        Err(refusal) if refusal.kind != RefusalKind::NoTarget => Err(refusal),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// When to look again at what is to stay down.
pub(super) fn next_look() -> u64 {
    clock::boottime_nanos().saturating_add(u64::try_from(KEEP_DOWN.as_nanos()).unwrap_or(u64::MAX))
}

/// Kills everything that was started on a node since then.
pub(super) fn keep_all_down(world: &World, node: &NodeName, since_ticks: u64) -> Result<usize, Refusal> {
    keep_down(world, &Target { node, process: None, stay_down: true }, since_ticks)
}

/// One look and one signal to each that is to go; those it was sent to.
fn round(world: &World, target: &Target<'_>, number: i32, since_ticks: u64) -> Result<Vec<Process>, Refusal> {
    let mut found = world.processes(target.node, target.process)?;
    found.retain(|process| target.empties() || process.start <= since_ticks);
    signal_all(&found, number)?;
    Ok(found)
}

/// Kills what was started since, of what is to stay down. Returns how many there were.
fn keep_down(world: &World, target: &Target<'_>, since_ticks: u64) -> Result<usize, Refusal> {
    let mut found = world.processes(target.node, target.process)?;
    // Start times are in ticks of 10 ms. What began in the tick of the onset came after it: all that was there is gone.
    found.retain(|process| process.start >= since_ticks);
    signal_all(&found, SIGKILL)?;
    Ok(found.len())
}

/// Parents first, as [`World::processes`] orders them.
fn signal_all(processes: &[Process], number: i32) -> Result<(), Refusal> {
    for process in processes {
        process::signal(process.pid, process.start, number).map_err(|error| {
            Refusal::system(format!("signal {number} to {} ({})", process.name, process.pid), &error)
        })?;
    }
    Ok(())
}

/// Looks whether they are gone.
fn probe(world: &World, target: &Target<'_>, recorded: &[ProcessRef]) -> Effect {
    let running = match world.processes(target.node, target.process) {
        Ok(running) => running,
        Err(refusal) => return Effect { presence: Presence::Unknown, evidence: refusal.what },
    };
    judge(target, recorded, &running)
}

/// The first recorded is the parent of the rest, or the oldest: servers end and start children all the time, so that some of
/// the others are gone says nothing while it lives.
fn judge(target: &Target<'_>, recorded: &[ProcessRef], running: &[Process]) -> Effect {
    let numbers: BTreeSet<(i32, u64)> = running.iter().map(|process| (process.pid, process.start)).collect();
    let lives = |reference: &ProcessRef| numbers.contains(&(reference.pid, reference.start));
    let left = recorded.iter().filter(|reference| lives(reference)).count();
    let known = recorded.len();
    let presence = if target.empties() && running.is_empty() {
        Presence::Full
    } else if recorded.is_empty() {
        Presence::Unknown
    } else if recorded.first().is_some_and(lives) {
        Presence::Absent
    } else if left > 0 {
        Presence::Partial
    } else if target.empties() {
        // Others run: it is over.
        Presence::Absent
    } else {
        Presence::Full
    };
    let name = target.process.map_or("processes", |process| process.0.as_str());
    let now = if running.is_empty() { "none runs".to_owned() } else { format!("running: {}", world::words(running)) };
    let evidence = format!("{} of {known} {name} of {} are gone; {now}", known - left, target.node);
    Effect { presence, evidence }
}

#[cfg(test)]
mod tests {
    use firedrill_sys::process::State;

    use super::*;

    #[test]
    fn a_kill_is_judged_by_who_runs() {
        let process = |pid, start| Process { pid, parent: 1, start, name: "a".to_owned(), state: State::Alive };
        let recorded: Vec<ProcessRef> = [process(5, 1), process(6, 1)].iter().map(world::reference).collect();
        let (node, name) = (NodeName::new("n1"), ProcessName("a".to_owned()));
        let named = Target { node: &node, process: Some(&name), stay_down: false };
        let down = Target { stay_down: true, ..named };
        let whole = Target { process: None, ..named };
        let before = vec![process(5, 1), process(6, 1)];
        let fewer = vec![process(5, 1)];
        let half = vec![process(6, 1)];
        let again = vec![process(5, 9)];
        for (target, running, want) in [
            (&named, &before, Presence::Absent),
            (&named, &fewer, Presence::Absent),
            (&named, &half, Presence::Partial),
            (&named, &again, Presence::Full),
            (&named, &vec![], Presence::Full),
            (&down, &before, Presence::Absent),
            (&down, &fewer, Presence::Absent),
            (&down, &half, Presence::Partial),
            (&down, &again, Presence::Absent),
            (&down, &vec![], Presence::Full),
            (&whole, &again, Presence::Absent),
            (&whole, &vec![], Presence::Full),
        ] {
            assert_eq!(judge(target, &recorded, running).presence, want, "{target:?} {running:?}");
        }
        assert_eq!(judge(&named, &[], &[]).presence, Presence::Unknown);
    }
}
