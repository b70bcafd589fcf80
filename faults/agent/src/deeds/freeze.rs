//! Freezing a file system: `FIFREEZE` (fsfreeze(8)) on the volume of a node. Whoever changes anything on it waits in the
//! kernel, where not even SIGKILL reaches; reading goes on.
//!
//! A frozen file system stays frozen whoever dies, and even when nothing has it mounted any more. So besides the agent, its
//! guard and `firedrill heal` the lab's init thaws it before it ends, and after that the lab's holder.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use firedrill_core::action::{Action, Effect, Presence, ProcessRef, Undo};
use firedrill_sys::{clock, volume};

use super::disk::look;
use super::{Grip, Scene, Work, not_mine};
use crate::ends::Ends;
use crate::failpoint;
use crate::protocol::{NodeSite, Refusal, RefusalKind};
use crate::world::World;

/// Freezing the file system of a node's home.
#[derive(Clone, Copy, Debug)]
pub struct Freeze;

impl Work for Freeze {
    fn prepare(&self, world: &World, undo: Undo) -> Result<Undo, Refusal> {
        volume_of(world, &undo)?;
        Ok(undo)
    }

    fn apply(&self, scene: &mut Scene<'_>, undo: &Undo) -> Result<(Box<dyn Grip>, u64), Refusal> {
        let home = volume_of(scene.world, undo)?;
        scene.world.claim(&claimed(undo), &undo.tag)?;
        let root = File::open(home).map_err(|error| Refusal::system("opening the volume", &error))?;
        volume::freeze(&root).map_err(|error| Refusal::system("freezing the volume", &error))?;
        failpoint::within("freeze-after")?;
        in_force().insert(undo.tag.clone());
        Ok((Box::new(Frozen), clock::boottime_nanos()))
    }

    fn undo(&self, world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        if world.unclaimed(&claimed(undo), &undo.tag).is_err() {
            // Another action has frozen it, and that is still in force.
            return Ok(());
        }
        world.give_back(&undo.tag);
        thaw(volume_of(world, undo)?)
    }

    fn probe(&self, _ends: &Ends, world: &World, undo: &Undo) -> Effect {
        let looked =
            volume_of(world, undo).and_then(|home| look::changes(home, &undo.tag, in_force().contains(&undo.tag)));
        looked.unwrap_or_else(|refusal| Effect { presence: Presence::Unknown, evidence: refusal.what })
    }
}

/// Tags of what this process has in force. A probe asks it only how long to wait for an answer: the last look is taken
/// shortly before the heal.
fn in_force() -> MutexGuard<'static, BTreeSet<String>> {
    static TAGS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    TAGS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Frozen;

impl Grip for Frozen {
    fn let_go(self: Box<Self>, world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        in_force().remove(&undo.tag);
        world.give_back(&undo.tag);
        thaw(volume_of(world, undo)?)
    }
}

/// What only one action at a time can freeze.
fn claimed(undo: &Undo) -> String {
    let node = undo.action.nodes().first().map(ToString::to_string).unwrap_or_default();
    format!("file system of {node}")
}

fn thaw(home: &Path) -> Result<(), Refusal> {
    match File::open(home).and_then(|root| volume::thaw(&root)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|error| Refusal::system("thawing the volume", &error)),
    }
}

/// Where the volume of the node is mounted.
fn volume_of<'a>(world: &'a World, undo: &Undo) -> Result<&'a Path, Refusal> {
    let Action::FreezeDisk { node } = &undo.action else { return Err(not_mine(&undo.action)) };
    let site = world.config.nodes.iter().find(|site| site.name == *node);
    let site = site.ok_or_else(|| Refusal::new(RefusalKind::NoTarget, format!("there is no node {node} here")))?;
    let what = || format!("{node} is on no volume of its own, which could be frozen");
    home_on_volume(site).ok_or_else(|| Refusal::new(RefusalKind::NotOffered, what()))
}

/// The home of a node that is on a volume of its own.
pub fn home_on_volume(site: &NodeSite) -> Option<&Path> {
    site.ground.device.as_ref().and(site.ground.home.as_deref())
}

/// The command by which a person thaws it (fsfreeze(8)).
pub fn thaw_by_hand(home: &Path) -> String {
    format!("fsfreeze --unfreeze {}", home.display())
}
