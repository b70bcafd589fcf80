//! A restart loop: processes are killed as soon as they have been up for a while, again and again, and what no supervisor
//! starts is started by whoever starts units.

use std::time::Duration;

use firedrill_core::action::{Action, Effect, Presence, ProcessRef, Undo};
use firedrill_core::cluster::{NodeName, ProcessName};
use firedrill_sys::clock;
use firedrill_sys::process::Process;

use super::roll::start_again;
use super::{Grip, Scene, Work, kill, not_mine, targets};
use crate::ends::Ends;
use crate::failpoint;
use crate::log::say;
use crate::protocol::Refusal;
use crate::world::{self, World};

/// How much older than allowed something may be seen: a busy machine takes its time to kill.
const SLACK: Duration = Duration::from_secs(1);
/// Clock ticks in a second, as `/proc` counts them on every architecture Linux has but Alpha.
const TICKS: u64 = 100;

/// Killing again and again.
#[derive(Clone, Copy, Debug)]
pub struct RestartLoop;

type Target<'a> = (&'a NodeName, Option<&'a ProcessName>, Duration);

fn target(action: &Action) -> Result<Target<'_>, Refusal> {
    let Action::RestartLoop { node, process, every } = action else { return Err(not_mine(action)) };
    Ok((node, process.as_ref(), *every))
}

impl Work for RestartLoop {
    fn prepare(&self, world: &World, undo: Undo) -> Result<Undo, Refusal> {
        let (node, process, _) = target(&undo.action)?;
        let processes = targets(&world.processes(node, process)?, &undo.action)?;
        let restarts = vec![node.to_string()];
        Ok(Undo { processes, restarts, ..undo })
    }

    fn apply(&self, scene: &mut Scene<'_>, undo: &Undo) -> Result<(Box<dyn Grip>, u64), Refusal> {
        let (node, process, _) = target(&undo.action)?;
        kill::end_those(scene.world, node, process)?;
        let from = clock::boottime_nanos();
        failpoint::within("loop-mid-apply")?;
        start_again(scene.world, std::slice::from_ref(node));
        scene.world.begin(&undo.tag, from);
        Ok((Box::new(Looping { next: from, kills: 1 }), from))
    }

    fn undo(&self, world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        world.end(&undo.tag);
        Ok(())
    }

    fn probe(&self, _ends: &Ends, world: &World, undo: &Undo) -> Effect {
        let looked = target(&undo.action).and_then(|(node, process, every)| {
            let running = world.processes(node, process)?;
            let goes_on = world.since(&undo.tag).is_some();
            Ok(judge(&undo.processes, &running, every, clock::boottime_ticks(), goes_on))
        });
        looked.unwrap_or_else(|refusal| Effect { presence: Presence::Unknown, evidence: refusal.what })
    }
}

#[derive(Debug)]
struct Looping {
    next: u64,
    kills: u64,
}

impl Grip for Looping {
    fn let_go(self: Box<Self>, world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        world.end(&undo.tag);
        say(&format!("{}: killed {} times", undo.tag, self.kills));
        Ok(())
    }

    fn next_turn(&self) -> Option<u64> {
        Some(self.next)
    }

    fn turn(&mut self, world: &World, undo: &Undo) {
        self.next = kill::next_look();
        let Ok((node, process, every)) = target(&undo.action) else { return };
        let Ok(running) = world.processes(node, process) else { return };
        // The first is the parent of the rest, or the oldest.
        let Some(first) = running.first() else { return };
        if age(first, clock::boottime_ticks()) < every {
            return;
        }
        match kill::end_those(world, node, process) {
            Ok(()) => {
                self.kills += 1;
                start_again(world, std::slice::from_ref(node));
            }
            Err(refusal) => say(&format!("{}: {refusal}", undo.tag)),
        }
    }
}

fn age(process: &Process, now: u64) -> Duration {
    Duration::from_millis(now.saturating_sub(process.start) * 1000 / TICKS)
}

/// While it goes on, nothing of before runs and nothing is older than it may become. Before and after, something is.
fn judge(recorded: &[ProcessRef], running: &[Process], every: Duration, now: u64, goes_on: bool) -> Effect {
    let old = running.iter().any(|process| recorded.contains(&world::reference(process)));
    let oldest = running.iter().map(|process| age(process, now)).max();
    let lasts = oldest.is_some_and(|oldest| oldest > every + SLACK);
    let presence = match (goes_on, lasts) {
        (true, false) if !old => Presence::Full,
        (true, _) | (false, true) => Presence::Absent,
        // It has not yet lasted longer than it could before.
        (false, false) => Presence::Partial,
    };
    let evidence = match oldest {
        None => "nothing of it runs".to_owned(),
        Some(oldest) => format!("up for {:.1} s: {}", oldest.as_secs_f64(), world::words(running)),
    };
    Effect { presence, evidence }
}

#[cfg(test)]
mod tests {
    use firedrill_sys::process::State;

    use super::*;

    #[test]
    fn a_restart_loop_is_judged_by_how_long_something_lasts() {
        let process = |start| Process { pid: 5, parent: 1, start, name: "a".to_owned(), state: State::Alive };
        let recorded = [world::reference(&process(100))];
        let (every, now) = (Duration::from_secs(2), 10_000);
        for (running, goes_on, want) in [
            (vec![process(100)], false, Presence::Absent),
            (vec![process(100)], true, Presence::Absent),
            (vec![process(9_900)], true, Presence::Full),
            (vec![], true, Presence::Full),
            (vec![process(9_000)], true, Presence::Absent),
            (vec![process(9_900)], false, Presence::Partial),
            (vec![], false, Presence::Partial),
            (vec![process(9_600)], false, Presence::Absent),
        ] {
            assert_eq!(judge(&recorded, &running, every, now, goes_on).presence, want, "{running:?} {goes_on}");
        }
    }
}
