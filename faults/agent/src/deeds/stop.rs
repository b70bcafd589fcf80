//! Stopping a node in good order: whoever starts its units asks them to end, last started first. What has not ended within
//! the grace is killed, as an init system does. What is started afterwards is killed until the revert.

use std::time::Duration;

use firedrill_core::action::{Action, Effect, Presence, ProcessRef, Undo};
use firedrill_core::cluster::NodeName;
use firedrill_sys::clock;
use firedrill_sys::process::Process;

use super::{Grip, Scene, Work, kill, not_mine, targets};
use crate::ends::Ends;
use crate::failpoint;
use crate::log::say;
use crate::protocol::{Refusal, RefusalKind};
use crate::starter;
use crate::world::{self, World};

/// How long a probe waits for what is ending.
pub(super) const ENDING: Duration = Duration::from_secs(10);
/// How often it looks.
pub(super) const LOOKS: Duration = Duration::from_millis(20);

/// Stopping nodes.
#[derive(Clone, Copy, Debug)]
pub struct Stop;

impl Work for Stop {
    fn prepare(&self, world: &World, undo: Undo) -> Result<Undo, Refusal> {
        let (node, _) = target(&undo.action)?;
        asks_for_ends(world)?;
        let processes = targets(&world.processes(node, None)?, &undo.action)?;
        let restarts = vec![node.to_string()];
        Ok(Undo { processes, restarts, ..undo })
    }

    fn apply(&self, scene: &mut Scene<'_>, undo: &Undo) -> Result<(Box<dyn Grip>, u64), Refusal> {
        let (node, grace) = target(&undo.action)?;
        let ending = Ending::begin(scene.world, node, grace)?;
        failpoint::within("stop-mid-apply")?;
        scene.world.begin(&undo.tag, ending.from);
        let from = ending.from;
        Ok((Box::new(Stopped { ending, next: from }), from))
    }

    fn undo(&self, world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        world.end(&undo.tag);
        Ok(())
    }

    fn probe(&self, _ends: &Ends, world: &World, undo: &Undo) -> Effect {
        let looked = target(&undo.action).and_then(|(node, _)| {
            // What has been asked to end takes its time. Whether it has is seen in /proc alone.
            let asked = world.since(&undo.tag).is_some();
            if asked {
                let nobody = || world.processes(node, None).is_ok_and(|found| found.is_empty()).then_some(());
                let _in_time = clock::until(ENDING, LOOKS, nobody).is_some();
            }
            Ok((node, asked, world.processes(node, None)?))
        });
        match looked {
            Ok((node, asked, running)) => judge(node, asked, &undo.processes, &running),
            Err(refusal) => Effect { presence: Presence::Unknown, evidence: refusal.what },
        }
    }
}

fn target(action: &Action) -> Result<(&NodeName, Duration), Refusal> {
    let Action::Stop { node, grace } = action else { return Err(not_mine(action)) };
    Ok((node, *grace))
}

/// A refusal unless there is somebody who asks units to end.
pub(super) fn asks_for_ends(world: &World) -> Result<(), Refusal> {
    let nobody = || Refusal::new(RefusalKind::NotOffered, "nobody here starts and ends the servers");
    world.config.starter.as_ref().map(drop).ok_or_else(nobody)
}

/// A node that was asked to end.
#[derive(Debug)]
pub(super) struct Ending {
    node: NodeName,
    /// When it was asked.
    pub(super) from: u64,
    /// When what is left is killed.
    last: u64,
    /// Since when, in clock ticks, nothing runs any more; what is younger is killed.
    down: Option<u64>,
}

impl Ending {
    /// Asks.
    pub(super) fn begin(world: &World, node: &NodeName, grace: Duration) -> Result<Self, Refusal> {
        if let Some(path) = &world.config.starter {
            starter::stop(path, node)?;
        }
        let from = clock::boottime_nanos();
        let grace = u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX);
        Ok(Self { node: node.clone(), from, last: from.saturating_add(grace), down: None })
    }

    /// Whether nothing has run since some look.
    pub(super) const fn is_down(&self) -> bool {
        self.down.is_some()
    }

    /// Looks, and kills what must not be there.
    pub(super) fn turn(&mut self, world: &World, tag: &str) {
        let node = &self.node;
        let done = match self.down {
            Some(since) => kill::keep_all_down(world, node, since).map(|count| match count {
                0 => {}
                count => say(&format!("{tag}: killed {count} that were started on {node} meanwhile")),
            }),
            None if clock::boottime_nanos() >= self.last => {
                say(&format!("{tag}: killing what has not ended on {node}"));
                kill::end_all(world, node)
            }
            None => Ok(()),
        };
        if let Err(refusal) = done {
            say(&format!("{tag}: keeping {node} down failed: {refusal}"));
        }
        if self.down.is_none() && world.processes(node, None).is_ok_and(|found| found.is_empty()) {
            self.down = Some(clock::boottime_ticks());
        }
    }

    /// Kills what is still ending, so that it can be started again.
    pub(super) fn finish(&self, world: &World) -> Result<(), Refusal> {
        if self.is_down() { Ok(()) } else { kill::end_all(world, &self.node) }
    }
}

#[derive(Debug)]
struct Stopped {
    ending: Ending,
    next: u64,
}

impl Grip for Stopped {
    fn let_go(self: Box<Self>, world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        world.end(&undo.tag);
        self.ending.finish(world)
    }

    fn next_turn(&self) -> Option<u64> {
        Some(self.next)
    }

    fn turn(&mut self, world: &World, undo: &Undo) {
        self.next = kill::next_look();
        self.ending.turn(world, &undo.tag);
    }
}

/// Nothing may run. A node that was asked to end may be on its way; of any other, servers end a process of theirs now and
/// then (a backend whose client has gone).
fn judge(node: &NodeName, asked: bool, recorded: &[ProcessRef], running: &[Process]) -> Effect {
    let left = recorded.iter().filter(|known| running.iter().any(|one| world::reference(one) == **known)).count();
    let presence = if running.is_empty() {
        Presence::Full
    } else if asked && left > 0 && left < recorded.len() && running.len() == left {
        Presence::Partial
    } else {
        Presence::Absent
    };
    let now = if running.is_empty() { "none runs".to_owned() } else { format!("running: {}", world::words(running)) };
    let known = recorded.len();
    Effect { presence, evidence: format!("{} of {known} processes of {node} have ended; {now}", known - left) }
}

#[cfg(test)]
mod tests {
    use firedrill_sys::process::State;

    use super::*;

    #[test]
    fn a_stop_is_judged_by_who_runs() {
        let process = |pid| Process { pid, parent: 1, start: 1, name: "a".to_owned(), state: State::Alive };
        let recorded: Vec<ProcessRef> = [process(5), process(6)].iter().map(world::reference).collect();
        for (asked, running, want) in [
            (true, vec![], Presence::Full),
            (true, vec![process(5), process(6)], Presence::Absent),
            (true, vec![process(6)], Presence::Partial),
            (false, vec![process(6)], Presence::Absent),
            (true, vec![process(9)], Presence::Absent),
        ] {
            assert_eq!(judge(&NodeName::new("n1"), asked, &recorded, &running).presence, want, "{asked} {running:?}");
        }
    }
}
