//! Taking a resource away from a node, by hogs that give it back when the agent lets go of them or dies.

mod probe;

use std::path::PathBuf;

use firedrill_core::action::{Action, Effect, Presence, ProcessRef, Undo};
use firedrill_core::cluster::NodeName;
use firedrill_core::harm::Pressure;
use firedrill_core::units::Bytes;
use firedrill_sys::cgroup::Group;
use firedrill_sys::{clock, press};

use super::{Grip, Scene, Work, not_mine, targets};
use crate::ends::Ends;
use crate::failpoint;
use crate::hog::{self, Hog, Lowered, Order, Take};
use crate::protocol::{NodeSite, Refusal, RefusalKind};
use crate::world::{self, World};

/// Memory that is left to the servers whatever is taken, in bytes: less would call the kernel's killer, which is
/// another fault.
const LEFT: u64 = 48 << 20;
/// What the memory that a node keeps is called in an undo.
const KEY_MEMORY: &str = "memory kept";
/// What a limit of open files is called in an undo, before the process.
const KEY_FILES: &str = "nofile ";

/// Taking resources.
#[derive(Clone, Copy, Debug)]
pub struct Press;

fn whom(action: &Action) -> Result<(&NodeName, Pressure), Refusal> {
    let Action::Press { node, pressure } = action else { return Err(not_mine(action)) };
    Ok((node, *pressure))
}

fn not_offered(what: impl Into<String>) -> Refusal {
    Refusal::new(RefusalKind::NotOffered, what)
}

fn memory_group(site: &NodeSite) -> Option<Group> {
    hog::group_with(&site.ground.cgroups, &["memory.limit_in_bytes", "memory.max"])
}

fn pids_group(site: &NodeSite) -> Result<Group, Refusal> {
    let found = hog::group_with(&site.ground.cgroups, &["pids.max"]);
    let limited = found.filter(|group| matches!(group.most_pids(), Ok(Some(_))));
    limited.ok_or_else(|| not_offered(format!("{} has no control group with a limit of process numbers", site.name)))
}

impl Work for Press {
    fn prepare(&self, world: &World, mut undo: Undo) -> Result<Undo, Refusal> {
        let (node, pressure) = whom(&undo.action)?;
        let site = world.node(node)?;
        match pressure {
            Pressure::Cpu { .. } => {}
            Pressure::Memory { bytes } => {
                let kept = kept_memory(world, site, bytes)?;
                undo.saved.insert(KEY_MEMORY.to_owned(), kept.to_string());
            }
            Pressure::Io { .. } => drop(home(site)?),
            Pressure::Fds { spare } => {
                // Limits that another action has lowered are not those to put back.
                world.unclaimed(&files_of(node), &undo.tag)?;
                let found = world.processes(node, None)?;
                let processes = targets(&found, &undo.action)?;
                for process in &processes {
                    // A process that ends meanwhile has no limit any more.
                    let (Ok(limit), Ok(open)) = (press::file_limit(process.pid), press::open_files(process.pid)) else {
                        continue;
                    };
                    let lowered = (open + spare).min(limit.soft);
                    undo.saved.insert(key(process), format!("{lowered} {}", limit.soft));
                }
                undo.processes = processes;
            }
            Pressure::Pids { .. } => drop(pids_group(site)?),
        }
        Ok(undo)
    }

    fn apply(&self, scene: &mut Scene<'_>, undo: &Undo) -> Result<(Box<dyn Grip>, u64), Refusal> {
        let (node, pressure) = whom(&undo.action)?;
        let site = scene.world.node(node)?;
        let orders = match pressure {
            Pressure::Cpu { workers } => repeated(site, &Take::Cpu, workers),
            Pressure::Memory { bytes } => repeated(site, &Take::Memory(bytes), 1),
            Pressure::Io { workers } => repeated(site, &Take::Io(home(site)?), workers),
            Pressure::Pids { spare } => repeated(site, &Take::Pids { group: pids_group(site)?.0, spare }, 1),
            Pressure::Fds { .. } => {
                scene.world.claim(&files_of(node), &undo.tag)?;
                let by_owner = limits(undo).into_iter();
                let order = |(owner, limits)| Order {
                    netns: None,
                    cgroups: Vec::new(),
                    take: Take::Files { owner, limits, only_back: false },
                };
                by_owner.map(order).collect()
            }
        };
        let mut hogs = Vec::new();
        for order in &orders {
            hogs.push(Hog::start(order)?);
            failpoint::within("press-mid-apply")?;
        }
        Ok((Box::new(Hogs(hogs)), clock::boottime_nanos()))
    }

    /// Hogs end with their agent, and put back what they limited. Should one have been killed too, it is done for it.
    fn undo(&self, world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        if world.unclaimed(&files_of(whom(&undo.action)?.0), &undo.tag).is_err() {
            // What is lowered, another action has lowered, which is still in force.
            return Ok(());
        }
        failpoint::within("press-mid-revert")?;
        let mut result = Ok(());
        for (owner, limits) in limits(undo) {
            let lowered = |one: &Lowered| press::file_limit(one.process.pid).is_ok_and(|limit| limit.soft < one.from);
            if limits.iter().any(lowered) {
                result = result.and(hog::put_back(owner, limits));
            }
        }
        world.give_back(&undo.tag);
        result
    }

    fn probe(&self, _ends: &Ends, world: &World, undo: &Undo) -> Effect {
        let looked =
            whom(&undo.action).and_then(|(node, pressure)| probe::look(world, world.node(node)?, pressure, undo));
        looked.unwrap_or_else(|refusal| Effect { presence: Presence::Unknown, evidence: refusal.to_string() })
    }
}

/// So many hogs of a kind, which are processes of the node and in its groups.
fn repeated(site: &NodeSite, take: &Take, count: u32) -> Vec<Order> {
    let order =
        Order { netns: Some(site.site.netns.clone()), cgroups: site.ground.cgroups.clone(), take: take.clone() };
    (0..count).map(|_| order.clone()).collect()
}

fn home(site: &NodeSite) -> Result<PathBuf, Refusal> {
    site.ground.home.clone().ok_or_else(|| not_offered(format!("the home of {} cannot be reached", site.name)))
}

/// What the node keeps of memory now, but for what hogs of other actions have; a refusal when there is no room for what is
/// to be taken.
fn kept_memory(world: &World, site: &NodeSite, bytes: u64) -> Result<u64, Refusal> {
    let group = memory_group(site);
    let group = group.ok_or_else(|| not_offered(format!("the memory of {} is not limited", site.name)))?;
    let memory = group.memory().map_err(|error| Refusal::system(format!("memory of {}", site.name), &error))?;
    let room = memory.limit.saturating_sub(memory.kept).saturating_sub(LEFT);
    if bytes > room {
        let (bytes, room) = (Bytes(bytes), Bytes(room));
        let what = format!("{bytes} of memory would call the kernel's killer: {} has room for {room}", site.name);
        return Err(Refusal::new(RefusalKind::Order, what));
    }
    let everybody = world.everybody(&site.name)?;
    let hogs = everybody.iter().filter(|process| process.name == hog::NAME);
    Ok(memory.kept.saturating_sub(hogs.map(|hog| press::taken(hog.pid)).sum()))
}

/// What only one action at a time can lower.
fn files_of(node: &NodeName) -> String {
    format!("limits of open files of {node}")
}

fn key(process: &ProcessRef) -> String {
    format!("{KEY_FILES}{} {}", process.pid, process.start)
}

/// What a person puts before a command to be the user whose process that is, who may set its limits as far as they were; root
/// may not everywhere. Nothing for a process of root's, or one that has ended.
pub fn as_owner(pid: i32) -> String {
    let owner = press::owner(pid).ok().filter(|(user, _)| *user != 0);
    let words = |(user, group)| format!("setpriv --reuid={user} --regid={group} --clear-groups ");
    owner.map(words).unwrap_or_default()
}

/// User and group.
type Owner = (u32, u32);

/// The limits that an undo knows of processes that still run, by their owner.
fn limits(undo: &Undo) -> Vec<(Owner, Vec<Lowered>)> {
    let mut found: Vec<(Owner, Vec<Lowered>)> = Vec::new();
    for process in undo.processes.iter().filter(|process| world::find(process).is_some()) {
        let saved = undo.saved.get(&key(process)).and_then(|text| text.split_once(' '));
        let numbers = saved.and_then(|(lowered, before)| Some((lowered.parse().ok()?, before.parse().ok()?)));
        let (Some((to, from)), Ok(owner)) = (numbers, press::owner(process.pid)) else { continue };
        let entry = Lowered { process: process.clone(), to, from };
        match found.iter_mut().find(|(known, _)| *known == owner) {
            Some((_, limits)) => limits.push(entry),
            None => found.push((owner, vec![entry])),
        }
    }
    found
}

/// The hogs of an action.
#[derive(Debug)]
struct Hogs(Vec<Hog>);

impl Grip for Hogs {
    fn let_go(mut self: Box<Self>, world: &World, undo: &Undo, held: &[ProcessRef]) -> Result<(), Refusal> {
        // All are told before the first is waited for.
        self.0.iter_mut().for_each(Hog::let_go);
        drop(self);
        Press.undo(world, undo, held)
    }
}
