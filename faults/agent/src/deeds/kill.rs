//! Killing processes: parents first, and again until none is left, so that no supervisor gets to start one in between.

use std::collections::BTreeSet;
use std::time::Duration;

use firedrill_core::action::{Effect, Presence, ProcessRef};
use firedrill_core::cluster::{NodeName, ProcessName};
use firedrill_sys::clock;
use firedrill_sys::process::{self, Process};

use crate::protocol::{Refusal, RefusalKind};
use crate::world::{self, World};

/// `SIGKILL`: the one signal that nothing survives, so that its end can be waited for.
pub const SIGKILL: i32 = 9;
/// How long processes may take to end after SIGKILL; only those stuck in the kernel take longer than milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_millis(1);

/// Whom a kill is for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The node.
    pub node: &'a NodeName,
    /// The name; all of the node when absent.
    pub process: Option<&'a ProcessName>,
    /// Whether they are to stay down.
    pub stay_down: bool,
}

impl Target<'_> {
    /// Whether success means that none runs, and not only that those of the beginning are gone.
    pub const fn empties(&self) -> bool {
        self.stay_down || self.process.is_none()
    }
}

/// Signals all. Returns `CLOCK_BOOTTIME` (nanoseconds, and ticks) after the first round of signals.
pub fn apply(world: &World, target: &Target<'_>, number: i32) -> Result<(u64, u64), Refusal> {
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

/// One look and one signal to each that is to go; those it was sent to.
fn round(world: &World, target: &Target<'_>, number: i32, since_ticks: u64) -> Result<Vec<Process>, Refusal> {
    let mut found = world.processes(target.node, target.process)?;
    found.retain(|process| target.empties() || process.start <= since_ticks);
    signal_all(&found, number)?;
    Ok(found)
}

/// Kills what was started since, of what is to stay down. Returns how many there were.
pub fn keep_down(world: &World, target: &Target<'_>, since_ticks: u64) -> Result<usize, Refusal> {
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
pub fn probe(world: &World, target: &Target<'_>, recorded: &[ProcessRef]) -> Effect {
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
