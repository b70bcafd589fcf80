//! Harming disks: a connection to the disk that serves a node's home keeps a harm in force. It ends with the connection,
//! and so with the agent.

pub(super) mod look;
mod rest;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use firedrill_core::action::{Action, Effect, Presence, ProcessRef, Undo};
use firedrill_core::cluster::NodeName;
use firedrill_core::harm::{DiskHarm, DiskTarget};
use firedrill_sys::clock;

use super::{Grip, Scene, Work, not_mine};
use crate::disk::control::{Order, Reply, ask};
use crate::disk::places::Parts;
use crate::ends::Ends;
use crate::failpoint;
use crate::protocol::{Ground, Refusal, RefusalKind};
use crate::world::World;

/// A disk ends a harm by itself so long after the agent should have, in nanoseconds.
const MARGIN: u64 = 500_000_000;
/// How long the end of a harm may take; what was not synced is synced then.
const END: Duration = Duration::from_secs(5);
/// The key, in what an undo saves, of the folder by which the harm is tried.
const FOLDER: &str = "folder";
/// Folders looked into for a target, at most.
const MOST_FOLDERS: usize = 20_000;

/// Harming disks.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

/// What an action harms, and how.
#[derive(Clone, Copy, Debug)]
struct Harm<'a> {
    node: &'a NodeName,
    target: &'a DiskTarget,
    how: DiskHarm,
    seed: u64,
}

fn harm(undo: &Undo) -> Result<Harm<'_>, Refusal> {
    let Action::HarmDisk { node, target, how, seed } = &undo.action else { return Err(not_mine(&undo.action)) };
    Ok(Harm { node, target, how: *how, seed: *seed })
}

/// The disk of a node.
#[derive(Clone, Copy, Debug)]
struct Served<'a> {
    /// What it passes through to.
    home: &'a Path,
    socket: &'a Path,
    /// Where it is mounted.
    at: &'a Path,
}

impl<'a> Served<'a> {
    fn of(world: &'a World, node: &NodeName) -> Result<Self, Refusal> {
        let site = world.config.nodes.iter().find(|site| site.name == *node);
        let ground = site.map(|site| &site.ground);
        let Some(Ground { home: Some(home), disk: Some(socket), served: Some(at), .. }) = ground else {
            let what = format!("no disk that can be harmed serves {node}");
            return Err(Refusal::new(RefusalKind::NotOffered, what));
        };
        Ok(Self { home, socket, at })
    }

    fn ask(&self, order: &Order) -> Result<(UnixStream, Reply), Refusal> {
        ask(self.socket, order).map_err(|error| Refusal::system("asking the disk", &error))
    }
}

/// A node whose home a disk serves loses its power: what was not synced is gone, or only seemed to be, and until
/// [`regain_power`] every operation on a file fails. How many bytes in how many files are gone.
pub fn lose_power(world: &World, node: &NodeName) -> Result<(u64, u64), Refusal> {
    let reply = Served::of(world, node)?.ask(&Order::PowerLost)?.1;
    if let Reply::Lost { bytes, files } = reply { Ok((bytes, files)) } else { Err(unexpected(reply)) }
}

/// It has power again.
pub fn regain_power(world: &World, node: &NodeName) -> Result<(), Refusal> {
    let reply = Served::of(world, node)?.ask(&Order::PowerBack)?.1;
    if reply == Reply::Done { Ok(()) } else { Err(unexpected(reply)) }
}

fn unexpected(reply: Reply) -> Refusal {
    let what = if let Reply::Refused { why } = reply {
        format!("the disk refused: {why}")
    } else {
        format!("the disk answered {reply:?}")
    };
    Refusal::new(RefusalKind::System, what)
}

impl Work for Disk {
    fn prepare(&self, world: &World, mut undo: Undo) -> Result<Undo, Refusal> {
        let harm = harm(&undo)?;
        let served = Served::of(world, harm.node)?;
        let parts = Parts::of(harm.target.path.as_deref());
        if let DiskHarm::CorruptAtRest { bits } = harm.how {
            undo.saved = rest::choose(served.home, &parts, bits, harm.seed)?;
            return Ok(undo);
        }
        let folder = find_folder(served.home, &parts, harm)?;
        undo.saved.insert(FOLDER.to_owned(), folder.to_string_lossy().into_owned());
        Ok(undo)
    }

    fn apply(&self, scene: &mut Scene<'_>, undo: &Undo) -> Result<(Box<dyn Grip>, u64), Refusal> {
        let harm = harm(undo)?;
        let served = Served::of(scene.world, harm.node)?;
        if let DiskHarm::CorruptAtRest { .. } = harm.how {
            let own = bytes(harm, undo, |byte| scene.world.claim(byte, &undo.tag).is_ok());
            rest::flip(&served, harm.target, &own)?;
            return Ok((Box::new(Harming(None)), clock::boottime_nanos()));
        }
        let order = Order::Harm {
            tag: undo.tag.clone(),
            target: harm.target.clone(),
            how: harm.how,
            seed: harm.seed,
            deadline: scene.deadline(MARGIN),
        };
        let (stream, reply) = served.ask(&order)?;
        let Reply::InForce { from } = reply else { return Err(unexpected(reply)) };
        failpoint::within("disk-mid-apply")?;
        Ok((Box::new(Harming(Some(stream))), from))
    }

    fn undo(&self, world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        let harm = harm(undo)?;
        let served = Served::of(world, harm.node)?;
        if let DiskHarm::CorruptAtRest { .. } = harm.how {
            // What another action has flipped, though this one was to flip it too, stays flipped.
            let own = bytes(harm, undo, |byte| world.unclaimed(byte, &undo.tag).is_ok());
            world.give_back(&undo.tag);
            return rest::restore(&served, harm.target, &own);
        }
        // The connection went with whoever had it; a disk that is gone harms nothing.
        let gone = || match ask(served.socket, &Order::Count { tag: undo.tag.clone() }) {
            Ok((_, Reply::Counted { .. })) => None,
            Ok(_) | Err(_) => Some(()),
        };
        let what = || Refusal::new(RefusalKind::System, format!("{} is still in force on the disk", undo.tag));
        clock::until(END, Duration::from_millis(5), gone).ok_or_else(what)?;
        if UnixStream::connect(served.socket).is_err() {
            look::remove_trials(&served, undo).map_err(|error| Refusal::system("removing files of ours", &error))?;
        }
        Ok(())
    }

    fn probe(&self, _ends: &Ends, world: &World, undo: &Undo) -> Effect {
        let looked = harm(undo).and_then(|harm| {
            let served = Served::of(world, harm.node)?;
            let at_rest = matches!(harm.how, DiskHarm::CorruptAtRest { .. });
            if at_rest { Ok(rest::look(served.home, &undo.saved)) } else { look::look(&served, undo, harm) }
        });
        looked.unwrap_or_else(|refusal| Effect { presence: Presence::Unknown, evidence: refusal.what })
    }
}

/// The bytes at rest that are chosen of those that an undo knows, each of which only one action at a time can have.
fn bytes(harm: Harm<'_>, undo: &Undo, chosen: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let saved = undo.saved.iter().filter(|(byte, _)| chosen(&format!("{byte} of {}", harm.node)));
    saved.map(|(byte, was)| (byte.clone(), was.clone())).collect()
}

/// The connection that keeps a harm in force; `None` where nothing has to.
#[derive(Debug)]
struct Harming(Option<UnixStream>);

impl Grip for Harming {
    fn let_go(self: Box<Self>, world: &World, undo: &Undo, held: &[ProcessRef]) -> Result<(), Refusal> {
        let Some(mut stream) = self.0 else { return Disk.undo(world, undo, held) };
        // The disk hears the end of our side, ends the harm, and then ends its own.
        let ended = stream
            .shutdown(std::net::Shutdown::Write)
            .and_then(|()| stream.set_read_timeout(Some(END)))
            .and_then(|()| stream.read(&mut [0]));
        drop(stream);
        failpoint::at("disk-mid-revert");
        // A disk that is gone, or slow to sync, harms nothing any more: that is looked at.
        drop(ended);
        Disk.undo(world, undo, held)
    }
}

/// The first folder, by its place below the home, that the target names.
fn find_folder(home: &Path, parts: &Parts, harm: Harm<'_>) -> Result<PathBuf, Refusal> {
    let target = harm.target.path.as_deref().unwrap_or("home");
    let mut files = false;
    for (folder, place, is_folder) in walk(home) {
        if parts.end(&place) {
            if is_folder {
                return Ok(folder);
            }
            files = true;
        }
    }
    let what = if files {
        format!("`{target}` of {} is a file: name the folder it is in", harm.node)
    } else {
        format!("there is no `{target}` on {}", harm.node)
    };
    Err(Refusal::new(RefusalKind::NoTarget, what))
}

/// Everything below the home, upper before lower, by name: its path from there, the parts of that, and whether it is a
/// folder. What cannot be read is left out.
fn walk(home: &Path) -> impl Iterator<Item = (PathBuf, Vec<OsString>, bool)> + '_ {
    let mut waiting = std::collections::VecDeque::from([(PathBuf::new(), true)]);
    let mut folders = 0;
    std::iter::from_fn(move || {
        let (path, is_folder) = waiting.pop_front()?;
        if is_folder && folders < MOST_FOLDERS {
            folders += 1;
            let mut found: Vec<(OsString, bool)> = Vec::new();
            for entry in fs::read_dir(home.join(&path)).into_iter().flatten().flatten() {
                if let Ok(kind) = entry.file_type()
                    && (kind.is_dir() || kind.is_file())
                {
                    found.push((entry.file_name(), kind.is_dir()));
                }
            }
            found.sort();
            waiting.extend(found.into_iter().map(|(name, is_folder)| (path.join(name), is_folder)));
        }
        let place = path.iter().map(ToOwned::to_owned).collect();
        Some((path, place, is_folder))
    })
}
