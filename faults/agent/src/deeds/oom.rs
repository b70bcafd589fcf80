//! Having the kernel's out-of-memory killer choose: a hog takes what the node's control group has left, until the killer has
//! come once. Nothing of it stays: the hog's memory is gone with the hog.

use std::path::PathBuf;

use firedrill_core::action::{Action, Effect, Presence, ProcessRef, Undo};
use firedrill_core::cluster::{NodeName, ProcessName};
use firedrill_sys::cgroup::Group;
use firedrill_sys::{clock, process};

use super::{Grip, Scene, Work, not_mine, targets};
use crate::ends::Ends;
use crate::failpoint;
use crate::hog::{self, Hog, Order, Take};
use crate::protocol::{Refusal, RefusalKind};
use crate::world::{self, World};

/// What the count of kills is called in an undo.
const KEY_KILLS: &str = "oom kills";
/// What the eagerness to choose a process is called, before the process.
const KEY_EAGER: &str = "oom_score_adj ";
/// As eager as the killer can be made.
const MOST_EAGER: i32 = 1000;
/// The largest limit of a node that is filled up, in bytes: with more, the machine itself could come to its end.
const LARGEST: u64 = 8 << 30;

/// The kernel's killer.
#[derive(Clone, Copy, Debug)]
pub struct Oom;

fn whom(action: &Action) -> Result<(&NodeName, Option<&ProcessName>), Refusal> {
    let Action::Oom { node, process } = action else { return Err(not_mine(action)) };
    Ok((node, process.as_ref()))
}

/// The group that limits the memory of the node, and its limit.
fn limited(world: &World, node: &NodeName) -> Result<(Group, u64), Refusal> {
    let site = world.node(node)?;
    let group = hog::group_with(&site.ground.cgroups, &["memory.oom_control", "memory.events"]);
    let refused = |what: String| Refusal::new(RefusalKind::NotOffered, what);
    let group = group.ok_or_else(|| refused(format!("{node} has no control group that counts out-of-memory kills")))?;
    let memory = group.memory().map_err(|error| Refusal::system(format!("memory of {node}"), &error))?;
    if memory.limit > LARGEST {
        return Err(refused(format!("the memory of {node} is not limited")));
    }
    Ok((group, memory.limit))
}

fn kills(group: &Group, node: &NodeName) -> Result<u64, Refusal> {
    group.oom_kills().map_err(|error| Refusal::system(format!("out-of-memory kills of {node}"), &error))
}

fn key(process: &ProcessRef) -> String {
    format!("{KEY_EAGER}{} {}", process.pid, process.start)
}

impl Work for Oom {
    fn prepare(&self, world: &World, mut undo: Undo) -> Result<Undo, Refusal> {
        let (node, name) = whom(&undo.action)?;
        let (group, _) = limited(world, node)?;
        let processes = targets(&world.processes(node, name)?, &undo.action)?;
        undo.saved.insert(KEY_KILLS.to_owned(), kills(&group, node)?.to_string());
        for process in processes.iter().filter(|_| name.is_some()) {
            if let Ok(eager) = process::oom_score_adj(process.pid) {
                undo.saved.insert(key(process), eager.to_string());
            }
        }
        undo.restarts = vec![node.to_string()];
        undo.processes = processes;
        Ok(undo)
    }

    fn apply(&self, scene: &mut Scene<'_>, undo: &Undo) -> Result<(Box<dyn Grip>, u64), Refusal> {
        let (node, name) = whom(&undo.action)?;
        let (Group(group), limit) = limited(scene.world, node)?;
        if name.is_some() {
            for process in undo.processes.iter().filter(|process| world::find(process).is_some()) {
                // A child may end meanwhile.
                if let Err(error) = process::set_oom_score_adj(process.pid, MOST_EAGER)
                    && world::find(process).is_some()
                {
                    let what = format!("having the killer choose {} ({})", process.name, process.pid);
                    return Err(Refusal::system(what, &error));
                }
            }
        }
        failpoint::within("oom-mid-apply")?;
        let cgroups: Vec<PathBuf> = vec![group.clone()];
        let take = if scene.by_half {
            let memory = Group(group).memory().map_err(|error| Refusal::system(format!("memory of {node}"), &error))?;
            Take::Memory(limit.saturating_sub(memory.kept) / 2)
        } else {
            Take::AllMemory { group, most: limit }
        };
        let order = Order { netns: None, cgroups, take };
        let hog = Hog::start(&order);
        // Read first: whatever else there is to do, the deed is done.
        let from = clock::boottime_nanos();
        restore(undo)?;
        if let Err(refusal) = hog {
            // On a busy machine the killer may come once more, for the hog, before that has let go.
            let struck = look(scene.world, undo).is_ok_and(|effect| effect.presence == Presence::Full);
            struck.then_some(()).ok_or(refusal)?;
        }
        Ok((Box::new(Killed), from))
    }

    fn undo(&self, _world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        restore(undo)
    }

    fn probe(&self, _ends: &Ends, world: &World, undo: &Undo) -> Effect {
        look(world, undo)
            .unwrap_or_else(|refusal| Effect { presence: Presence::Unknown, evidence: refusal.to_string() })
    }
}

/// Makes the killer as eager as it was, for children too that were started meanwhile. The first failure is the answer.
fn restore(undo: &Undo) -> Result<(), Refusal> {
    let mut result = Ok(());
    for process in &undo.processes {
        let before = undo.saved.get(&key(process)).and_then(|text| text.parse::<i32>().ok());
        let Some(before) = before.filter(|_| world::find(process).is_some()) else { continue };
        for pid in std::iter::once(process.pid).chain(process::descendants(process.pid)) {
            let raised = process::oom_score_adj(pid).is_ok_and(|now| now == MOST_EAGER && now != before);
            if raised && let Err(error) = process::set_oom_score_adj(pid, before) {
                let what = format!("having the killer think of process {pid} as before");
                result = result.and(Err(Refusal::system(what, &error)));
            }
        }
    }
    result
}

/// There is nothing to let go of: who was killed stays killed, and the units that are down are started again.
#[derive(Debug)]
struct Killed;

impl Grip for Killed {
    fn let_go(self: Box<Self>, _world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        restore(undo)
    }
}

/// Some of the processes are gone, and the kernel says that its killer has come since.
fn look(world: &World, undo: &Undo) -> Result<Effect, Refusal> {
    let (node, _) = whom(&undo.action)?;
    let (group, _) = limited(world, node)?;
    let before: u64 = undo.saved.get(KEY_KILLS).and_then(|text| text.parse().ok()).unwrap_or(0);
    let came = kills(&group, node)?.saturating_sub(before);
    let gone: Vec<&ProcessRef> = undo.processes.iter().filter(|process| world::find(process).is_none()).collect();
    let presence = match (came, gone.len()) {
        (0, _) => Presence::Absent,
        (_, 0) => Presence::Partial,
        (_, _) => Presence::Full,
    };
    let names: Vec<String> = gone.iter().take(5).map(|process| format!("{} ({})", process.name, process.pid)).collect();
    let gone = if names.is_empty() {
        "none of its processes is gone".to_owned()
    } else {
        format!("gone: {}", names.join(", "))
    };
    Ok(Effect { presence, evidence: format!("the killer came to {node} {came} times; {gone}") })
}
