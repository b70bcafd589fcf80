//! A rolling restart: node after node is stopped in good order and started again, each at its moment, whatever has become
//! of the one before it.

use std::thread;
use std::time::Duration;

use firedrill_core::action::{Action, Effect, Presence, ProcessRef, Undo};
use firedrill_core::cluster::NodeName;
use firedrill_sys::clock;
use firedrill_sys::process::Process;

use super::stop::{ENDING, Ending, LOOKS, asks_for_ends};
use super::{Grip, Scene, Work, kill, not_mine, targets};
use crate::ends::Ends;
use crate::failpoint;
use crate::log::say;
use crate::protocol::Refusal;
use crate::starter;
use crate::world::{self, World};

/// Restarting nodes in turn.
#[derive(Clone, Copy, Debug)]
pub struct Roll;

/// Who, and when.
#[derive(Clone, Copy, Debug)]
struct Round<'a> {
    nodes: &'a [NodeName],
    every: Duration,
    down: Duration,
    grace: Duration,
}

impl Round<'_> {
    /// How many turns have begun so long after the beginning.
    fn begun(&self, elapsed: u64) -> usize {
        let every = self.every.as_nanos().max(1);
        let turns = usize::try_from(u128::from(elapsed) / every).unwrap_or(usize::MAX);
        turns.saturating_add(1).min(self.nodes.len())
    }
}

fn round(action: &Action) -> Result<Round<'_>, Refusal> {
    let Action::Roll { nodes, every, down, grace } = action else { return Err(not_mine(action)) };
    Ok(Round { nodes, every: *every, down: *down, grace: *grace })
}

impl Work for Roll {
    fn prepare(&self, world: &World, undo: Undo) -> Result<Undo, Refusal> {
        let nodes = round(&undo.action)?.nodes;
        asks_for_ends(world)?;
        let mut running = Vec::new();
        for node in nodes {
            running.extend(targets(&world.processes(node, None)?, &undo.action)?);
        }
        let restarts = nodes.iter().map(ToString::to_string).collect();
        Ok(Undo { processes: running, restarts, ..undo })
    }

    fn apply(&self, scene: &mut Scene<'_>, undo: &Undo) -> Result<(Box<dyn Grip>, u64), Refusal> {
        let from = clock::boottime_nanos();
        let mut rolling = Rolling { from, next: from, begun: 0, ending: None };
        rolling.go_on(scene.world, undo)?;
        failpoint::within("roll-mid-apply")?;
        scene.world.begin(&undo.tag, from);
        Ok((Box::new(rolling), from))
    }

    fn undo(&self, world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        world.end(&undo.tag);
        Ok(())
    }

    fn probe(&self, _ends: &Ends, world: &World, undo: &Undo) -> Effect {
        let looked = round(&undo.action).and_then(|round| {
            let since = world.since(&undo.tag);
            let due = since.map(|from| round.begun(clock::boottime_nanos().saturating_sub(from)));
            let look = || look(world, round.nodes, &undo.processes);
            if let (Some(due), Some(from)) = (due, since) {
                // The node whose turn it is takes its time to end, but no longer than its turn lasts: after that it may
                // have ended for another reason.
                let turn = round.every.saturating_mul(u32::try_from(due).unwrap_or(u32::MAX));
                let left = turn.saturating_sub(Duration::from_nanos(clock::boottime_nanos().saturating_sub(from)));
                let left = if due == round.nodes.len() { ENDING } else { left.min(ENDING) };
                let ended = || look().map(|seen| judge(&seen, Some(due)).presence == Presence::Full);
                let _in_time = clock::until(left, LOOKS, || ended().unwrap_or(true).then_some(())).is_some();
            }
            Ok(judge(&look()?, due))
        });
        looked.unwrap_or_else(|refusal| Effect { presence: Presence::Unknown, evidence: refusal.what })
    }
}

/// Where a rolling restart is.
#[derive(Debug)]
struct Rolling {
    from: u64,
    next: u64,
    /// How many nodes have had their turn, or have it.
    begun: usize,
    /// The node that is down, or on its way.
    ending: Option<Ending>,
}

impl Rolling {
    fn go_on(&mut self, world: &World, undo: &Undo) -> Result<(), Refusal> {
        let round = round(&undo.action)?;
        let now = clock::boottime_nanos();
        if let Some(ending) = &mut self.ending {
            ending.turn(world, &undo.tag);
            let waited = Duration::from_nanos(now.saturating_sub(ending.from)) >= round.down;
            if ending.is_down() && waited {
                start_again(world, &round.nodes[self.begun.saturating_sub(1)..self.begun]);
                self.ending = None;
            }
        }
        if self.ending.is_none() && self.begun < round.begun(now.saturating_sub(self.from)) {
            self.ending = Some(Ending::begin(world, &round.nodes[self.begun], round.grace)?);
            self.begun += 1;
        }
        Ok(())
    }
}

/// Asks for the start on a thread of its own: the answer may take a while.
pub(super) fn start_again(world: &World, nodes: &[NodeName]) {
    let Some(path) = world.config.starter.clone() else { return };
    let nodes = nodes.to_vec();
    let asked = thread::Builder::new().name("starter".to_owned()).spawn(move || {
        for node in &nodes {
            if let Err(refusal) = starter::ensure(&path, node) {
                say(&refusal.to_string());
            }
        }
    });
    if let Err(error) = asked {
        say(&format!("a thread to ask for a start: {error}"));
    }
}

impl Grip for Rolling {
    fn let_go(self: Box<Self>, world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        world.end(&undo.tag);
        self.ending.map_or(Ok(()), |ending| ending.finish(world))
    }

    fn next_turn(&self) -> Option<u64> {
        Some(self.next)
    }

    fn turn(&mut self, world: &World, undo: &Undo) {
        self.next = kill::next_look();
        if let Err(refusal) = self.go_on(world, undo) {
            say(&format!("{}: {refusal}", undo.tag));
        }
    }
}

/// What is seen of a node: how many run that ran before, and who runs.
type Seen = (NodeName, usize, Vec<Process>);

fn look(world: &World, nodes: &[NodeName], recorded: &[ProcessRef]) -> Result<Vec<Seen>, Refusal> {
    let one = |node: &NodeName| {
        let running = world.processes(node, None)?;
        let old = running.iter().filter(|process| recorded.contains(&world::reference(process))).count();
        Ok((node.clone(), old, running))
    };
    nodes.iter().map(one).collect()
}

/// While it goes on, nothing of before may run on the first `due` nodes. Before and after, something must run on each.
fn judge(seen: &[Seen], due: Option<usize>) -> Effect {
    let presence = match due {
        Some(due) => {
            let gone = seen.iter().take(due).filter(|(_, old, _)| *old == 0).count();
            if gone == due {
                Presence::Full
            } else if gone > 0 {
                Presence::Partial
            } else {
                Presence::Absent
            }
        }
        None if seen.iter().all(|(_, _, running)| !running.is_empty()) => Presence::Absent,
        None => Presence::Partial,
    };
    let words = seen.iter().map(|(node, old, running)| match (old, running.len()) {
        (_, 0) => format!("nothing runs on {node}"),
        (0, new) => format!("{node} was restarted ({new} processes)"),
        (old, _) => format!("{old} processes of {node} still are those of before"),
    });
    Effect { presence, evidence: words.collect::<Vec<_>>().join("; ") }
}

#[cfg(test)]
mod tests {
    use firedrill_sys::process::State;

    use super::*;

    #[test]
    fn a_turn_begins_at_its_moment() {
        let nodes = NodeName::numbered(3);
        let second = Duration::from_secs(1);
        let round = Round { nodes: &nodes, every: second * 10, down: second, grace: second };
        let at = |seconds: u64| round.begun(seconds * 1_000_000_000);
        assert_eq!([at(0), at(9), at(10), at(25), at(900)], [1, 1, 2, 3, 3]);
    }

    #[test]
    fn a_rolling_restart_is_judged_by_who_is_still_there() {
        let process = Process { pid: 5, parent: 1, start: 1, name: "a".to_owned(), state: State::Alive };
        let seen = |old: [usize; 2], runs: [bool; 2]| -> Vec<Seen> {
            let one = |index: usize| {
                let running = runs[index].then(|| process.clone()).into_iter().collect();
                (NodeName::new(format!("n{index}")), old[index], running)
            };
            vec![one(0), one(1)]
        };
        for (old, runs, due, want) in [
            ([1, 1], [true, true], None, Presence::Absent),
            ([0, 0], [true, true], None, Presence::Absent),
            ([0, 0], [true, false], None, Presence::Partial),
            ([1, 1], [true, true], Some(1), Presence::Absent),
            ([0, 1], [false, true], Some(1), Presence::Full),
            ([0, 1], [true, true], Some(2), Presence::Partial),
            ([0, 0], [true, true], Some(2), Presence::Full),
        ] {
            assert_eq!(judge(&seen(old, runs), due).presence, want, "{old:?} {runs:?} {due:?}");
        }
    }
}
