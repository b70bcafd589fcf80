//! Power loss: the wires of nodes are cut, and in the same moment their volumes are cut off from their devices and
//! everything on them is killed. What was not on the device is gone, whatever the kernel had in memory. Between the wire
//! and the device there must be no pause, in which servers could sync what they have acknowledged already. The volumes are mounted anew right away, which
//! replays their journals as a boot would, so that what is left can be looked at while the nodes are still down.
//!
//! Two files of ours tell whether it was a power loss: one that was synced must be there afterwards, and one that was
//! not must have lost what was written to it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread;

use firedrill_core::action::{Action, Effect, Endpoint, Link, Presence, ProcessRef, Undo};
use firedrill_core::cluster::NodeName;
use firedrill_sys::process::Process;
use firedrill_sys::{clock, files, mounts, volume};

use super::{Grip, Scene, Work, cut, disk, kill, not_mine, targets};
use crate::ends::Ends;
use crate::failpoint;
use crate::log::say;
use crate::protocol::{Refusal, RefusalKind};
use crate::tables;
use crate::wire::Way;
use crate::world::{self, World, is_tag};

/// Losing power.
#[derive(Clone, Copy, Debug)]
pub struct Power;

/// What is written to the files that tell.
const MARK: &[u8] = b"firedrill was here\n";

impl Work for Power {
    fn prepare(&self, world: &World, undo: Undo) -> Result<Undo, Refusal> {
        let nodes = nodes(&undo.action)?;
        let mut running = Vec::new();
        for node in nodes {
            Volume::of(world, node)?;
            running.extend(world.processes(node, None)?);
        }
        let processes = targets(&running, &undo.action)?;
        let marks = nodes.iter().map(|node| format!("file {} of {node}", mark_name(&undo.tag, "synced")));
        let creates = tables::creates(&undo.tag, &ways(world, &undo.action)?, world.keeper).into_iter().chain(marks);
        let restarts = nodes.iter().map(ToString::to_string).collect();
        Ok(Undo { processes, creates: creates.collect(), restarts, ..undo })
    }

    fn apply(&self, scene: &mut Scene<'_>, undo: &Undo) -> Result<(Box<dyn Grip>, u64), Refusal> {
        let nodes = nodes(&undo.action)?;
        let volumes: Vec<Volume> = nodes.iter().map(|node| Volume::of(scene.world, node)).collect::<Result<_, _>>()?;
        let mut roots = Vec::new();
        for volume in &volumes {
            // On a frozen one the first mark would wait for good, and this agent with it.
            volume.thaw().map_err(|error| volume.refusal("thaw", &error))?;
            volume.write_synced(&undo.tag).map_err(|error| volume.refusal("write to", &error))?;
            if volume.image.is_some() {
                roots.push(File::open(&volume.home).map_err(|error| volume.refusal("open", &error))?);
            }
        }
        failpoint::within("power-after-marks")?;
        let since_ticks = clock::boottime_ticks();
        let wire = cut::apply(scene.world, &undo.tag, ways(scene.world, &undo.action)?, None)?;
        failpoint::within("power-after-wire")?;
        for volume in &volumes {
            volume.write_unsynced(&undo.tag).map_err(|error| volume.refusal("write to", &error))?;
        }
        for volume in volumes.iter().filter(|volume| volume.image.is_none()) {
            disk::lose_power(scene.world, &volume.node)?;
        }
        // Whoever waits for a frozen file system could not be killed.
        for root in &roots {
            volume::thaw(root).map_err(|error| Refusal::system("thawing a volume", &error))?;
        }
        volume::cut_power(&roots).map_err(|error| Refusal::system("cutting volumes off from their devices", &error))?;
        let from = clock::boottime_nanos();
        failpoint::within("power-after-loss")?;
        drop(roots);
        in_parallel(&volumes, |volume| boot(scene.world, volume))?;
        Ok((Box::new(Lost { since_ticks, next: from, wire }), from))
    }

    fn undo(&self, world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        if !is_tag(&undo.tag) {
            return Err(Refusal::new(RefusalKind::Order, format!("`{}` is not a tag of ours", undo.tag)));
        }
        let restored = restore(world, undo);
        restored.and(cut::revert(None, &undo.tag, &ways(world, &undo.action)?))
    }

    fn probe(&self, _ends: &Ends, world: &World, undo: &Undo) -> Effect {
        let looked = nodes(&undo.action).and_then(|nodes| nodes.iter().map(|node| look(world, node, undo)).collect());
        match looked {
            Ok(looks) => judge(looks, &undo.processes),
            Err(refusal) => Effect { presence: Presence::Unknown, evidence: refusal.what },
        }
    }
}

fn nodes(action: &Action) -> Result<&[NodeName], Refusal> {
    let Action::LosePower { nodes } = action else { return Err(not_mine(action)) };
    Ok(nodes)
}

/// Where the links of these nodes are cut.
fn ways(world: &World, action: &Action) -> Result<Vec<Way>, Refusal> {
    tables::ways(world, &links(world, nodes(action)?))
}

/// Every link with one of these nodes at an end.
fn links(world: &World, dead: &[NodeName]) -> Vec<Link> {
    let nodes = world.config.nodes.iter().map(|site| Endpoint::Node(site.name.clone()));
    let ends: Vec<Endpoint> = nodes.chain(world.config.clients.iter().map(|_| Endpoint::Clients)).collect();
    let is_dead = |end: &Endpoint| matches!(end, Endpoint::Node(name) if dead.contains(name));
    let pairs = ends.iter().flat_map(|from| ends.iter().map(move |to| (from, to)));
    let cut = pairs.filter(|(from, to)| from != to && (is_dead(from) || is_dead(to)));
    cut.map(|(from, to)| Link { from: from.clone(), to: to.clone() }).collect()
}

/// Whatever of it was done: in the end the volumes are mounted, and nothing of ours is on them.
fn restore(world: &World, undo: &Undo) -> Result<(), Refusal> {
    let volumes: Vec<Volume> =
        nodes(&undo.action)?.iter().map(|node| Volume::of(world, node)).collect::<Result<_, _>>()?;
    in_parallel(&volumes, |volume| {
        volume.thaw().map_err(|error| volume.refusal("thaw", &error))?;
        if !volume.is_well(&undo.tag) {
            boot(world, volume)?;
        }
        volume.remove_marks(&undo.tag).map_err(|error| volume.refusal("remove our files from", &error))
    })
}

/// Kills what is on a node and mounts its volume anew; a disk that serves its home gets its power back.
fn boot(world: &World, volume: &Volume) -> Result<(), Refusal> {
    kill::end_all(world, &volume.node)?;
    let Some(image) = &volume.image else { return disk::regain_power(world, &volume.node) };
    let image = File::options().read(true).write(true).open(image);
    let image = image.map_err(|error| volume.refusal("open the image of", &error))?;
    volume::unmount(&image, &volume.home).map_err(|error| volume.refusal("unmount", &error))?;
    volume::mount(&image, &volume.home).map_err(|error| volume.refusal("mount", &error))
}

/// Does `work` for each at the same time; the first refusal of all.
fn in_parallel(
    volumes: &[Volume],
    work: impl Fn(&Volume) -> Result<(), Refusal> + Send + Sync + Copy,
) -> Result<(), Refusal> {
    thread::scope(|scope| {
        let started: Vec<_> = volumes.iter().map(|volume| scope.spawn(move || work(volume))).collect();
        let panicked = || Err(Refusal::new(RefusalKind::System, "a thread for a volume panicked"));
        started.into_iter().map(|one| one.join().unwrap_or_else(|_| panicked())).fold(Ok(()), Result::and)
    })
}

/// The volume of a node.
#[derive(Debug)]
struct Volume {
    node: NodeName,
    home: PathBuf,
    /// `None` where a disk serves its home, which loses its power in place of a volume.
    image: Option<PathBuf>,
}

impl Volume {
    fn of(world: &World, node: &NodeName) -> Result<Self, Refusal> {
        let site = world.config.nodes.iter().find(|site| site.name == *node);
        let site = site.ok_or_else(|| Refusal::new(RefusalKind::NoTarget, format!("there is no node {node} here")))?;
        let (home, image) = match (&site.ground.home, &site.ground.device, &site.ground.served) {
            (_, _, Some(served)) => (served, None),
            (Some(home), Some(image), None) => (home, Some(image.clone())),
            (_, _, None) => {
                let what = format!("{node} is on no volume of its own, whose power could be cut");
                return Err(Refusal::new(RefusalKind::NotOffered, what));
            }
        };
        Ok(Self { node: node.clone(), home: home.clone(), image })
    }

    fn refusal(&self, what: &str, error: &io::Error) -> Refusal {
        Refusal::system(format!("could not {what} the volume of {}", self.node), error)
    }

    fn write_synced(&self, tag: &str) -> io::Result<()> {
        let mut file = File::create(self.home.join(mark_name(tag, "synced")))?;
        file.write_all(MARK)?;
        file.sync_all()?;
        File::open(&self.home)?.sync_all()
    }

    fn write_unsynced(&self, tag: &str) -> io::Result<()> {
        fs::write(self.home.join(mark_name(tag, "unsynced")), MARK)
    }

    /// Whether it is mounted, and not cut off.
    fn is_well(&self, tag: &str) -> bool {
        let mounted = mounts::source(&self.home).is_ok_and(|source| source.is_some());
        mounted && volume::takes_writes(&self.home, &mark_name(tag, "trial"))
    }

    /// With another fault's freeze nothing could be tried on it. One that was cut off cannot even be opened.
    fn thaw(&self) -> io::Result<()> {
        if self.image.is_none() {
            return Ok(());
        }
        match File::open(&self.home).and_then(|root| volume::thaw(&root)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_cut_off(&error) => Ok(()),
            other => other,
        }
    }

    fn remove_marks(&self, tag: &str) -> io::Result<()> {
        for mark in ["synced", "unsynced"] {
            match fs::remove_file(self.home.join(mark_name(tag, mark))) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }
}

fn is_cut_off(error: &io::Error) -> bool {
    error.raw_os_error() == Some(files::EIO)
}

fn mark_name(tag: &str, what: &str) -> String {
    format!(".{tag}.{what}")
}

/// Since when, in clock ticks, everything is to be gone, and when to look again whether it is.
#[derive(Debug)]
struct Lost {
    since_ticks: u64,
    next: u64,
    wire: cut::Severance,
}

impl Grip for Lost {
    fn let_go(self: Box<Self>, world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        let restored = restore(world, undo);
        failpoint::at("power-mid-revert");
        restored.and(cut::revert(Some(self.wire), &undo.tag, &ways(world, &undo.action)?))
    }

    fn next_turn(&self) -> Option<u64> {
        Some(self.next)
    }

    /// Kills again what was started.
    fn turn(&mut self, world: &World, undo: &Undo) {
        self.next = kill::next_look();
        for node in nodes(&undo.action).unwrap_or_default() {
            match kill::keep_all_down(world, node, self.since_ticks) {
                Ok(0) => {}
                Ok(count) => say(&format!("{}: killed {count} that were started on {node} meanwhile", undo.tag)),
                Err(refusal) => say(&format!("{}: keeping {node} down failed: {refusal}", undo.tag)),
            }
        }
    }
}

/// What is seen of one node.
struct Look {
    node: NodeName,
    running: Vec<Process>,
    /// Whether what was synced is there.
    synced: bool,
    /// Whether what was not synced is there.
    unsynced: bool,
}

fn look(world: &World, node: &NodeName, undo: &Undo) -> Result<Look, Refusal> {
    let volume = Volume::of(world, node)?;
    let holds = |mark: &str| holds_mark(&volume.home.join(mark_name(&undo.tag, mark)));
    let running = world.processes(node, None)?;
    Ok(Look { node: node.clone(), running, synced: holds("synced"), unsynced: holds("unsynced") })
}

fn holds_mark(path: &Path) -> bool {
    fs::read(path).is_ok_and(|content| content == MARK)
}

fn judge(looks: Vec<Look>, recorded: &[ProcessRef]) -> Effect {
    let lost = |look: &&Look| look.running.is_empty() && look.synced && !look.unsynced;
    let presence = if looks.iter().all(|look| !look.running.is_empty()) {
        // Those of before, or others: it is over, or was never there.
        Presence::Absent
    } else if looks.iter().filter(lost).count() == looks.len() {
        Presence::Full
    } else {
        Presence::Partial
    };
    let words = looks.into_iter().map(|look| {
        let Look { node, running, synced, unsynced } = look;
        let is = |there: bool| if there { "there" } else { "gone" };
        if running.is_empty() {
            format!("nothing runs on {node}; what was synced is {}, what was not is {}", is(synced), is(unsynced))
        } else {
            format!("{} run on {node}", world::words(&running))
        }
    });
    let evidence = words.collect::<Vec<_>>().join("; ");
    let evidence = format!("{evidence}; {} processes ran before", recorded.len());
    Effect { presence, evidence }
}

#[cfg(test)]
mod tests {
    use firedrill_sys::process::State;

    use super::*;

    #[test]
    fn a_power_loss_is_judged_by_who_runs_and_what_is_left() {
        let process = Process { pid: 5, parent: 1, start: 1, name: "a".to_owned(), state: State::Alive };
        let recorded = [world::reference(&process)];
        let look = |runs: bool, synced, unsynced| Look {
            node: NodeName::new("n1"),
            running: runs.then(|| process.clone()).into_iter().collect(),
            synced,
            unsynced,
        };
        for (looks, want) in [
            (vec![look(true, false, false)], Presence::Absent),
            (vec![look(false, true, false)], Presence::Full),
            (vec![look(false, true, true)], Presence::Partial),
            (vec![look(false, false, false)], Presence::Partial),
            (vec![look(false, true, false), look(true, true, false)], Presence::Partial),
            (vec![look(true, true, false), look(true, true, false)], Presence::Absent),
        ] {
            assert_eq!(judge(looks, &recorded).presence, want);
        }
    }
}
