//! What agents left that are gone: undone by the next agent of the same run, and by `firedrill heal`.

use std::collections::BTreeMap;
use std::path::Path;

use firedrill_core::action::Undo;

use crate::guard::undo_without_agent;
use crate::journal::{self, Leftover};
use crate::log::say;
use crate::protocol::Refusal;
use crate::world::World;

/// Undoes what dead agents with the tags of this world have left, and removes their journals. What could not be undone, by
/// tag: it stays in its journal too.
pub fn undo_all(folder: &Path, world: &World) -> BTreeMap<String, Undo> {
    let mut failed = BTreeMap::new();
    let paths = journal::find(folder, &world.config.tag_prefix).unwrap_or_else(|error| {
        say(&format!("{} cannot be looked at: {error}", folder.display()));
        Vec::new()
    });
    for path in paths {
        match Leftover::take(&path) {
            Ok(Some(mut leftover)) => {
                let undone = undo_one(&mut leftover, world, |undo, result| {
                    let tag = &undo.tag;
                    match result {
                        Ok(()) => say(&format!("{tag}, left by an agent that died, is undone ({})", undo.action)),
                        Err(refusal) => say(&format!("{tag}, left by an agent that died, is not undone: {refusal}")),
                    }
                });
                failed.extend(undone.into_iter().map(|undo| (undo.tag.clone(), undo)));
            }
            Ok(None) => {}
            Err(error) => say(&format!("{} cannot be read: {error}", path.display())),
        }
    }
    failed
}

/// Undoes what one journal holds, last first, and tells of each. What could not be undone.
pub fn undo_one(
    leftover: &mut Leftover,
    world: &World,
    mut tell: impl FnMut(&Undo, &Result<(), Refusal>),
) -> Vec<Undo> {
    let mut failed = Vec::new();
    let knows_processes = leftover.header.knows_processes();
    for undo in leftover.pending.clone() {
        let mut meant = undo.clone();
        if !knows_processes {
            // The numbers are another boot's, or another lab's: they say nothing here.
            meant.processes.clear();
        }
        let undone = undo_without_agent(world, &meant);
        let undone = undone
            .and_then(|()| leftover.release(&undo.tag).map_err(|error| Refusal::system("writing the journal", &error)));
        tell(&undo, &undone);
        if undone.is_err() {
            failed.push(undo);
        }
    }
    if leftover.pending.is_empty()
        && let Err(error) = leftover.remove()
    {
        say(&format!("{} cannot be removed: {error}", leftover.path.display()));
    }
    failed
}
