//! Mechanisms made worse on purpose, in debug builds only: what proves faults must find that they do nothing, are on the
//! wrong node, or stop half-way through.

use std::borrow::Cow;
use std::thread;

use firedrill_core::action::{Action, Effect, Endpoint, Link, Presence, ProcessRef, Undo};
use firedrill_core::cluster::NodeName;
use firedrill_core::harm::DiskHarm;
use firedrill_sys::clock;

use crate::deeds::{self, Grip, Scene, Work};
use crate::ends::Ends;
use crate::protocol::{Refusal, RefusalKind};
use crate::starter;
use crate::world::World;

/// The environment variable that asks for it.
pub const VARIABLE: &str = "FIREDRILL_SABOTAGE";

/// How mechanisms are made worse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// An action reports success, and nothing is done.
    Nothing,
    /// It is done to the next node instead of each that it names, and to the first instead of the last.
    WrongNode,
    /// It is undone at half of its hold, and nobody is told; what is done at once is done by half.
    HalfWay,
}

/// What each is called in [`VARIABLE`].
const WORDS: [(&str, Sabotage); 3] =
    [("nothing", Sabotage::Nothing), ("wrong-node", Sabotage::WrongNode), ("half-way", Sabotage::HalfWay)];

/// What the environment asks for; nothing in a release build.
pub fn read() -> Result<Option<Sabotage>, Refusal> {
    let asked = std::env::var(VARIABLE).unwrap_or_default();
    if !cfg!(debug_assertions) || asked.is_empty() {
        return Ok(None);
    }
    let known = WORDS.iter().find(|(word, _)| *word == asked).map(|(_, sabotage)| Some(*sabotage));
    let unknown = || Refusal::new(RefusalKind::Malformed, format!("{VARIABLE}={asked} is no sabotage"));
    known.ok_or_else(unknown)
}

/// The undo of what is done instead.
pub fn aim<'a>(sabotage: Option<Sabotage>, world: &World, undo: &'a Undo) -> Result<Cow<'a, Undo>, Refusal> {
    match sabotage {
        None | Some(Sabotage::Nothing) => Ok(Cow::Borrowed(undo)),
        Some(Sabotage::WrongNode) => {
            let nodes: Vec<&NodeName> = world.config.nodes.iter().map(|node| &node.name).collect();
            deeds::prepare(world, undo.tag.clone(), moved(&undo.action, &nodes)).map(Cow::Owned)
        }
        Some(Sabotage::HalfWay) => Ok(half(undo)),
    }
}

/// Half of what is done in an instant and made of parts.
fn half(undo: &Undo) -> Cow<'_, Undo> {
    let Action::HarmDisk { how: DiskHarm::CorruptAtRest { .. }, .. } = undo.action else { return Cow::Borrowed(undo) };
    let saved = undo.saved.iter().step_by(2).map(|(key, value)| (key.clone(), value.clone())).collect();
    Cow::Owned(Undo { saved, ..undo.clone() })
}

/// Who does it instead.
pub fn work(sabotage: Option<Sabotage>, action: &Action) -> Result<&'static dyn Work, Refusal> {
    if sabotage == Some(Sabotage::Nothing) { Ok(&Idle) } else { deeds::work(action) }
}

/// What is held instead, of a hold that began at `from`.
pub fn hold(sabotage: Option<Sabotage>, grip: Box<dyn Grip>, from: u64, hold_nanos: Option<u64>) -> Box<dyn Grip> {
    match (sabotage, hold_nanos) {
        (Some(Sabotage::HalfWay), Some(hold)) => {
            Box::new(Brief { grip: Some(grip), until: from.saturating_add(hold / 2) })
        }
        (_, _) => grip,
    }
}

/// The action with each node replaced by the next.
fn moved(action: &Action, nodes: &[&NodeName]) -> Action {
    let next = |node: &NodeName| {
        let place = nodes.iter().position(|known| *known == node).map_or(0, |place| place + 1);
        nodes.get(place).or_else(|| nodes.first()).map_or_else(|| node.clone(), |next| (*next).clone())
    };
    let end = |end: &mut Endpoint| {
        if let Endpoint::Node(node) = end {
            *node = next(node);
        }
    };
    let mut moved = action.clone();
    match &mut moved {
        Action::Cut { links, .. } | Action::Impair { links, .. } => {
            for Link { from, to } in links {
                end(from);
                end(to);
            }
        }
        Action::Kill { node, .. }
        | Action::Pause { node, .. }
        | Action::FreezeDisk { node }
        | Action::HarmDisk { node, .. }
        | Action::Oom { node, .. }
        | Action::RestartLoop { node, .. }
        | Action::Press { node, .. }
        | Action::Stop { node, .. }
        | Action::ShiftClock { node, .. } => *node = next(node),
        Action::LosePower { nodes } | Action::Roll { nodes, .. } => {
            for node in nodes {
                *node = next(node);
            }
        }
        Action::MisleadNames { askers, names, .. } => {
            askers.iter_mut().chain(names).for_each(|node| *node = next(node));
        }
    }
    moved
}

/// Does nothing.
struct Idle;

impl Work for Idle {
    fn prepare(&self, _world: &World, undo: Undo) -> Result<Undo, Refusal> {
        Ok(undo)
    }

    fn apply(&self, _scene: &mut Scene<'_>, _undo: &Undo) -> Result<(Box<dyn Grip>, u64), Refusal> {
        Ok((Box::new(Brief { grip: None, until: 0 }), clock::boottime_nanos()))
    }

    fn undo(&self, _world: &World, _undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        Ok(())
    }

    fn probe(&self, _ends: &Ends, _world: &World, _undo: &Undo) -> Effect {
        Effect { presence: Presence::Unknown, evidence: "nothing was done".to_owned() }
    }
}

/// Holds until then.
#[derive(Debug)]
struct Brief {
    grip: Option<Box<dyn Grip>>,
    until: u64,
}

impl Grip for Brief {
    fn let_go(self: Box<Self>, world: &World, undo: &Undo, held: &[ProcessRef]) -> Result<(), Refusal> {
        self.grip.map_or(Ok(()), |grip| grip.let_go(world, undo, held))
    }

    fn stopped(&self) -> &[ProcessRef] {
        self.grip.as_ref().map_or(&[], |grip| grip.stopped())
    }

    fn next_turn(&self) -> Option<u64> {
        let grip = self.grip.as_ref()?;
        Some(grip.next_turn().map_or(self.until, |next| next.min(self.until)))
    }

    fn turn(&mut self, world: &World, undo: &Undo) {
        let now = clock::boottime_nanos();
        if now < self.until {
            if let Some(grip) = self.grip.as_mut().filter(|grip| grip.next_turn().is_some_and(|next| next <= now)) {
                grip.turn(world, undo);
            }
            return;
        }
        let Some(grip) = self.grip.take() else { return };
        // What fails now is undone once more at the end of the hold.
        drop(grip.let_go(world, undo, &[]));
        let Some(path) = world.config.starter.clone() else { return };
        let nodes: Vec<NodeName> = deeds::restarts(&undo.action).into_iter().cloned().collect();
        let start = move || nodes.iter().for_each(|node| drop(starter::ensure(&path, node)));
        drop(thread::Builder::new().name("starter".to_owned()).spawn(start));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_becomes_the_next_and_the_last_the_first() {
        let names = ["n1", "n2", "n3"].map(NodeName::new);
        let nodes: Vec<&NodeName> = names.iter().collect();
        let node = |i: usize| Endpoint::Node(names[i].clone());
        let cut = Action::Cut {
            port: None,
            links: vec![Link { from: node(0), to: node(2) }, Link { from: Endpoint::Clients, to: node(1) }],
        };
        assert_eq!(moved(&cut, &nodes).to_string(), "cut n2→n1, clients→n3");
        let pause = Action::Pause { node: names[2].clone(), process: None };
        assert_eq!(moved(&pause, &nodes).to_string(), "pause every process of n1");
        let power = Action::LosePower { nodes: names[..2].to_vec() };
        assert_eq!(moved(&power, &nodes).to_string(), "power loss of n2, n3");
    }
}
