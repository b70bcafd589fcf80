//! The deeds, one module for each kind of work: prepare reads, apply does, revert undoes, probe looks where it bites.

pub mod clock;
pub mod cut;
pub mod disk;
pub mod freeze;
pub mod impair;
pub mod kill;
pub mod names;
pub mod oom;
pub mod pause;
pub mod power;
pub mod press;
pub mod restart_loop;
pub mod roll;
pub mod stop;

use std::fmt::Debug;

use firedrill_core::action::{Action, Effect, ProcessRef, Undo};
use firedrill_core::cluster::NodeName;
use firedrill_sys::clock as sys_clock;
use firedrill_sys::process::Process;

use crate::ends::Ends;
use crate::guard::Guard;
use crate::protocol::{Refusal, RefusalKind};
use crate::world::{self, World};

/// A kind of work the agent can do. It has no state of its own: what is in force is in its [`Grip`]s.
pub trait Work: Sync {
    /// Completes the undo: reads what undoing takes, and chooses the names of what will be created. Changes nothing.
    fn prepare(&self, world: &World, undo: Undo) -> Result<Undo, Refusal>;
    /// Does the deed, and says when it took effect (`CLOCK_BOOTTIME`, nanoseconds). What fails half-way is taken back by
    /// [`Work::undo`], which is called then.
    fn apply(&self, scene: &mut Scene<'_>, undo: &Undo) -> Result<(Box<dyn Grip>, u64), Refusal>;
    /// Takes back what is in force without a grip on it: an agent that died did it, or half of it, or it never was. Must
    /// touch only what the undo recorded or what bears its tag. `held` are processes that other pauses hold stopped.
    fn undo(&self, world: &World, undo: &Undo, held: &[ProcessRef]) -> Result<(), Refusal>;
    /// Looks for the effect where it bites, without asking the mechanism. May take a second or two: it has a thread.
    fn probe(&self, ends: &Ends, world: &World, undo: &Undo) -> Effect;
}

/// What a deed is done with.
pub struct Scene<'a> {
    /// Where the agent is.
    pub world: &'a World,
    /// Told of whatever the undo does not know yet.
    pub guard: &'a mut Guard,
    /// Processes that other pauses hold stopped.
    pub held: &'a [ProcessRef],
    /// How long the action is to be held at most, in nanoseconds.
    pub hold: Option<u64>,
    /// Whether what is done at once is to be done by half only, see [`crate::sabotage`].
    pub by_half: bool,
}

impl Scene<'_> {
    /// When a data plane is to end the action by itself, so long after the agent should have: both in nanoseconds, and the
    /// first by `CLOCK_BOOTTIME`.
    fn deadline(&self, margin: u64) -> Option<u64> {
        self.hold.map(|hold| sys_clock::boottime_nanos().saturating_add(hold).saturating_add(margin))
    }
}

/// What the agent has in its hands while an action is in force.
pub trait Grip: Debug + Send {
    /// Takes the action back. `held` are processes that other pauses hold stopped.
    fn let_go(self: Box<Self>, world: &World, undo: &Undo, held: &[ProcessRef]) -> Result<(), Refusal>;
    /// The processes it holds stopped.
    fn stopped(&self) -> &[ProcessRef] {
        &[]
    }
    /// When [`Grip::turn`] is to be called, by `CLOCK_BOOTTIME` in nanoseconds; `None` is never.
    fn next_turn(&self) -> Option<u64> {
        None
    }
    /// What keeping it in force takes, again and again. Must not wait.
    fn turn(&mut self, _world: &World, _undo: &Undo) {}
    /// When it was last seen in force, once [`Grip::turn`] has found that it no longer is (`CLOCK_BOOTTIME`, nanoseconds).
    fn lost(&self) -> Option<u64> {
        None
    }
}

/// Who does an action; a refusal if nobody does.
pub fn work(action: &Action) -> Result<&'static dyn Work, Refusal> {
    match action {
        Action::Cut { .. } => Ok(&cut::Cut),
        Action::FreezeDisk { .. } => Ok(&freeze::Freeze),
        Action::HarmDisk { .. } => Ok(&disk::Disk),
        Action::Kill { .. } => Ok(&kill::Kill),
        Action::LosePower { .. } => Ok(&power::Power),
        Action::Oom { .. } => Ok(&oom::Oom),
        Action::Pause { .. } => Ok(&pause::Pause),
        Action::Press { .. } => Ok(&press::Press),
        Action::ShiftClock { .. } => Ok(&clock::ShiftClock),
        Action::RestartLoop { .. } => Ok(&restart_loop::RestartLoop),
        Action::Roll { .. } => Ok(&roll::Roll),
        Action::Stop { .. } => Ok(&stop::Stop),
        Action::Impair { .. } => Ok(&impair::Impair),
        Action::MisleadNames { .. } => Ok(&names::Mislead),
    }
}

/// The undo of an action, complete.
pub fn prepare(world: &World, tag: String, action: Action) -> Result<Undo, Refusal> {
    work(&action)?.prepare(world, Undo::new(tag, action))
}

/// The nodes whose units must run again once the action is undone.
pub fn restarts(action: &Action) -> Vec<&NodeName> {
    match action {
        Action::Kill { node, .. }
        | Action::Oom { node, .. }
        | Action::RestartLoop { node, .. }
        | Action::Stop { node, .. } => vec![node],
        Action::LosePower { nodes } | Action::Roll { nodes, .. } => nodes.iter().collect(),
        Action::Cut { .. }
        | Action::Pause { .. }
        | Action::Impair { .. }
        | Action::FreezeDisk { .. }
        | Action::HarmDisk { .. }
        | Action::Press { .. }
        | Action::ShiftClock { .. }
        | Action::MisleadNames { .. } => Vec::new(),
    }
}

/// Whether the action, while it is in force, keeps every unit of the node from running. One that keeps a single process down
/// ends that again by itself, and must not keep others down whose own action is over.
pub fn keeps_down(action: &Action, whom: &NodeName) -> bool {
    match action {
        Action::Kill { node, process, .. } => node == whom && process.is_none(),
        Action::LosePower { nodes } => nodes.contains(whom),
        Action::Stop { node, .. } => node == whom,
        Action::Roll { .. }
        | Action::RestartLoop { .. }
        | Action::Oom { .. }
        | Action::Cut { .. }
        | Action::Pause { .. }
        | Action::Impair { .. }
        | Action::FreezeDisk { .. }
        | Action::HarmDisk { .. }
        | Action::Press { .. }
        | Action::ShiftClock { .. }
        | Action::MisleadNames { .. } => false,
    }
}

/// References to what was found; a refusal if that is nothing.
pub fn targets(found: &[Process], action: &Action) -> Result<Vec<ProcessRef>, Refusal> {
    if found.is_empty() {
        return Err(Refusal::new(RefusalKind::NoTarget, format!("no such process runs ({action})")));
    }
    Ok(found.iter().map(world::reference).collect())
}

/// The refusal of work that was handed somebody else's action.
pub fn not_mine(action: &Action) -> Refusal {
    Refusal::new(RefusalKind::Malformed, format!("not this work's action: {action}"))
}
