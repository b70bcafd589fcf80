//! The deeds, one module each: prepare reads, apply does, revert undoes, probe looks where it bites.

pub mod cut;
pub mod kill;
pub mod pause;

use firedrill_core::action::{Action, ProcessRef, Undo};
use firedrill_sys::nft::DropTable;
use firedrill_sys::process::{Process, State};

use crate::protocol::Refusal;
use crate::world::World;

/// What the agent has in its hands while an action is in force.
#[derive(Debug)]
pub enum Grip {
    /// The table of a cut.
    Cut(DropTable),
    /// Since when, in clock ticks, what was killed is to be gone.
    Kill {
        /// Processes that started later are killed again, if they are to stay down.
        since_ticks: u64,
    },
    /// What was stopped, in the order of stopping.
    Pause(Vec<ProcessRef>),
}

/// Reads what undoing the action takes and chooses the names of what it will create.
pub fn prepare(world: &World, tag: String, action: Action) -> Result<Undo, Refusal> {
    let undo = |action: Action| Undo { tag, action, creates: Vec::new(), processes: Vec::new(), restarts: Vec::new() };
    match &action {
        Action::Cut { links } => {
            cut::pairs(world, links)?;
            let mut undo = undo(action);
            undo.creates = cut::creates(world.keeper, &undo.tag);
            Ok(undo)
        }
        Action::Kill { node, process, .. } => {
            let processes = targets(&world.processes(node, process.as_ref())?, &action)?;
            let restarts = vec![node.to_string()];
            Ok(Undo { processes, restarts, ..undo(action) })
        }
        Action::Pause { node, process } => {
            let mut found = world.processes(node, process.as_ref())?;
            targets(&found, &action)?;
            // What somebody else has stopped is not ours to let go on.
            found.retain(|process| process.state != State::Stopped);
            let processes = found.iter().map(crate::world::reference).collect();
            Ok(Undo { processes, ..undo(action) })
        }
    }
}

fn targets(found: &[Process], action: &Action) -> Result<Vec<ProcessRef>, Refusal> {
    if found.is_empty() { Err(no_target(action)) } else { Ok(found.iter().map(crate::world::reference).collect()) }
}

fn no_target(action: &Action) -> Refusal {
    Refusal::new(crate::protocol::RefusalKind::NoTarget, format!("no such process runs ({action})"))
}
