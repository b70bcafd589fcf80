//! Stopping processes, until two looks in a row find all of them stopped, new threads and children included. They are held
//! as a debugger holds them, by a process of the agent's that dies with it: then the kernel lets them go on. What cannot be
//! held so, because somebody holds it already or the kernel forbids it, is stopped with SIGSTOP, which is the guard's to
//! undo.

mod traced;

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use firedrill_core::action::{Action, Effect, Presence, ProcessRef, Undo};
use firedrill_core::cluster::{NodeName, ProcessName};
use firedrill_sys::identity::Identity;
use firedrill_sys::process::{self, Process, State};
use firedrill_sys::{clock, trace};

use super::{Grip, Scene, Work, not_mine, targets};
pub use traced::hold;

use self::traced::Holder;
use crate::ends::Ends;
use crate::failpoint;
use crate::log::say;
use crate::protocol::{Refusal, RefusalKind};
use crate::world::{self, World};

/// The argument by which the program becomes what holds a pause; its tag follows.
pub const ARGUMENT: &str = "pause";
/// How often holding all is tried before signals are used.
const ATTEMPTS: usize = 3;
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
        let holder = hold_all(scene.world, undo);
        failpoint::within("mid-apply")?;
        let (found, from) = apply(scene.world, node, process, scene.held, holder.as_ref())?;
        let Found { stopped, shared } = found;
        if stopped.iter().any(|reference| !undo.processes.contains(reference)) {
            scene.guard.hold(&Undo { processes: stopped.clone(), ..undo.clone() }).or_else(|refusal| {
                revert(&stopped, scene.held)?;
                Err(refusal)
            })?;
        }
        let own = holder.iter().flat_map(|holder| &holder.held);
        let wanted = own.chain(&stopped).chain(&shared).cloned().collect();
        Ok((Box::new(Paused { holder, signalled: stopped, wanted }), from))
    }

    fn undo(&self, world: &World, undo: &Undo, held: &[ProcessRef]) -> Result<(), Refusal> {
        let (node, process) = whom(&undo.action)?;
        end_holder(&undo.tag)?;
        revert(&orphans(world, node, process, &undo.processes)?, held)
    }

    fn probe(&self, _ends: &Ends, world: &World, undo: &Undo) -> Effect {
        match whom(&undo.action) {
            Ok((node, process)) => probe(world, node, process),
            Err(refusal) => Effect { presence: Presence::Unknown, evidence: refusal.what },
        }
    }
}

/// What was stopped.
#[derive(Debug)]
struct Paused {
    holder: Option<Holder>,
    signalled: Vec<ProcessRef>,
    /// All that is to stay stopped: what the holder holds, what a signal has stopped, and what other pauses had stopped
    /// before.
    wanted: Vec<ProcessRef>,
}

/// Holders whose pause is over while others still want what they hold. Their end lets everything go, and comes with the
/// agent's.
static INHERITED: Mutex<Vec<Holder>> = Mutex::new(Vec::new());

/// Lets go of what no pause wants any more. A failure of one does not stop the others.
fn keep_only(holder: Option<Holder>, want: &[ProcessRef]) -> Result<(), Refusal> {
    let mut inherited = INHERITED.lock().unwrap_or_else(PoisonError::into_inner);
    let all: Vec<Holder> = inherited.drain(..).chain(holder).collect();
    let mut result = Ok(());
    for holder in all {
        match holder.keep_only(want) {
            Ok(kept) => inherited.extend(kept),
            Err(refusal) => result = Err(refusal),
        }
    }
    result
}

impl Grip for Paused {
    fn let_go(self: Box<Self>, _world: &World, _undo: &Undo, held: &[ProcessRef]) -> Result<(), Refusal> {
        let released = keep_only(self.holder, held);
        failpoint::at("mid-revert");
        revert(&self.signalled, held).and(released)
    }

    fn stopped(&self) -> &[ProcessRef] {
        &self.wanted
    }
}

/// Holds what can be held. Says why if nothing can: signals are for it then.
fn hold_all(world: &World, undo: &Undo) -> Option<Holder> {
    for _ in 0..ATTEMPTS {
        match Holder::start(&world.config, undo) {
            Ok(Some(holder)) => return Some(holder),
            Ok(None) => {}
            Err(refusal) => {
                say(&format!("{}: stopped by signals: {refusal}", undo.tag));
                return None;
            }
        }
    }
    say(&format!("{}: stopped by signals, because not all came to rest while they were held", undo.tag));
    None
}

/// Ends the process that holds the pause of this tag, for whoever has no grip on it.
fn end_holder(tag: &str) -> Result<(), Refusal> {
    let failed = |error: io::Error| Refusal::system(format!("ending what holds {tag}"), &error);
    for process in process::started_self(&[ARGUMENT, tag]).map_err(failed)? {
        let holder = Identity { pid: process.pid, start: process.start };
        holder.kill().map_err(failed)?;
        if !holder.wait_gone(PATIENCE).map_err(failed)? {
            return Err(failed(io::Error::from(io::ErrorKind::TimedOut)));
        }
    }
    Ok(())
}

/// What was found beside that which is held.
#[derive(Default)]
struct Found {
    /// Stopped by a signal, of this pause or of another one.
    stopped: Vec<ProcessRef>,
    /// Held by another pause's holder.
    shared: Vec<ProcessRef>,
}

/// Stops by signals what is not held; returns that, and when the last that was needed had been done (boot time,
/// nanoseconds): the looks that follow only make sure. `held` are processes that other pauses want stopped. On an error what
/// was stopped goes on.
fn apply(
    world: &World,
    node: &NodeName,
    name: Option<&ProcessName>,
    held: &[ProcessRef],
    holder: Option<&Holder>,
) -> Result<(Found, u64), Refusal> {
    let own = holder.map_or(&[][..], |holder| &holder.held);
    let mut found = Found::default();
    let mut quiet_looks = 0;
    let mut since = holder.map_or_else(clock::boottime_nanos, |holder| holder.since);
    let done = clock::until(PATIENCE, INTERVAL, || match round(world, node, name, (held, own), &mut found) {
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
        Ok(()) => Ok((found, since)),
        Err(refusal) => Err(match revert(&found.stopped, held) {
            Ok(()) => refusal,
            Err(second) => {
                Refusal { what: format!("{}; and going on again failed: {second}", refusal.what), ..refusal }
            }
        }),
    }
}

/// One look and one SIGSTOP to each that runs, or that somebody else's debugger holds; how many there were. Of the two
/// lists the first are those that other pauses want stopped, the second those that this one holds.
fn round(
    world: &World,
    node: &NodeName,
    name: Option<&ProcessName>,
    (held, own): (&[ProcessRef], &[ProcessRef]),
    found: &mut Found,
) -> Result<usize, Refusal> {
    let mut signalled = 0;
    for process in world.processes(node, name)? {
        let reference = world::reference(&process);
        let known = found.stopped.contains(&reference) || found.shared.contains(&reference);
        match process.state {
            // Stopped by another pause of ours: it must not go on before both end. By somebody else: not ours to let go on.
            State::Stopped if held.contains(&reference) && !known => found.stopped.push(reference),
            State::Stopped => {}
            State::Held if known || own.contains(&reference) => {}
            State::Held if held.contains(&reference) => found.shared.push(reference),
            State::Held | State::Alive | State::Ended => {
                signalled += 1;
                if !found.stopped.contains(&reference) {
                    found.stopped.push(reference);
                }
                process::signal(process.pid, process.start, SIGSTOP)
                    .map_err(|error| Refusal::system(format!("stopping {} ({})", process.name, process.pid), &error))?;
            }
        }
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
        // Whatever its state: what another pause has just let go of may not have taken its stop yet, and this one takes that
        // back. What runs is none the wiser.
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

/// Looks at the state of each, and of every thread of it.
fn probe(world: &World, node: &NodeName, name: Option<&ProcessName>) -> Effect {
    match world.processes(node, name) {
        Ok(found) => judge(node, &found, |process| trace::is_halted(process.pid)),
        Err(refusal) => Effect { presence: Presence::Unknown, evidence: refusal.what },
    }
}

fn judge(node: &NodeName, found: &[Process], every_thread: impl Fn(&Process) -> bool) -> Effect {
    let halted = |process: &&Process| process.state != State::Alive && every_thread(process);
    let stopped = found.iter().filter(halted).count();
    let presence = match (found.len(), stopped) {
        (0, _) => Presence::Unknown,
        (_, 0) => Presence::Absent,
        (all, stopped) if all == stopped => Presence::Full,
        (_, _) => Presence::Partial,
    };
    let running: Vec<&Process> = found.iter().filter(|process| !halted(process)).collect();
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
            (vec![process(2, State::Held)], Presence::Full),
            (vec![process(2, State::Stopped), process(3, State::Alive)], Presence::Partial),
            (vec![process(2, State::Held), process(4, State::Held)], Presence::Partial),
        ] {
            let one_thread_runs = |process: &Process| process.pid != 4;
            assert_eq!(judge(&NodeName::new("n1"), &found, one_thread_runs).presence, want, "{found:?}");
        }
    }
}
