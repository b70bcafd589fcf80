//! Processes: those of nodes that are stopped or held, what those are limited to, and our own.

use std::path::Path;

use firedrill_core::inventory::WAS;
use firedrill_core::platform::{Inventory, Item};
use firedrill_sys::process::{self, NetnsId, OwnProcess, Process, State};
use firedrill_sys::{children, clock, press};

use super::shell;
use crate::deeds::press::as_owner;
use crate::disk::trial;
use crate::protocol::Refusal;
use crate::world::World;
use crate::{heal, hog, lookup};

/// Processes of ours that ask one question and end, and how long they may take, in seconds.
const BRIEF: [&str; 3] = [heal::ARGUMENT, lookup::ARGUMENT, trial::ARGUMENT];
const BRIEFLY: u64 = 20;

pub(super) fn note(world: &World, inventory: &mut Inventory) -> Result<(), Refusal> {
    let failed = |error: std::io::Error| Refusal::system("looking at processes", &error);
    for (pid, _) in children::all().map_err(failed)? {
        // One that ends meanwhile leaves nothing.
        let Ok(netns) = NetnsId::of_file(Path::new(&format!("/proc/{pid}/ns/net"))) else { continue };
        let (Some(node), Some(process)) = (world.node_in(netns), Process::read(pid)) else { continue };
        if process.state == State::Ended {
            continue;
        }
        note_halt(&process, node.as_str(), inventory);
        if process.name != hog::NAME {
            note_limits(&process, node.as_str(), inventory);
        }
    }
    let mut own = process::own_processes().map_err(failed)?;
    own.retain(|one| is_of(one, &world.config.tag_prefix));
    note_own(own, inventory);
    Ok(())
}

fn note_halt(process: &Process, whose: &str, inventory: &mut Inventory) {
    let Process { pid, name, state, .. } = process;
    let remove = match state {
        State::Stopped => format!("kill -CONT {pid}"),
        // Whoever holds it lets go of it by ending.
        State::Held => process::tracer(*pid).map_or(format!("kill -CONT {pid}"), |tracer| format!("kill -9 {tracer}")),
        State::Ended | State::Alive => return,
    };
    inventory.note("stopped process", format!("{name} ({pid}) of {whose}"), Item::stray(remove));
}

/// By name and not by process, because processes come and go.
fn note_limits(process: &Process, whose: &str, inventory: &mut Inventory) {
    let Process { pid, name, .. } = process;
    let owner = as_owner(*pid);
    for (limit, state) in press::limits(*pid) {
        let reset = format!("{owner}prlimit --pid {pid} --{limit}={WAS}");
        inventory.note(
            "process limit",
            format!("{limit} of {name} of {whose}"),
            Item { state, reset, ..Item::default() },
        );
    }
    if let Ok(eager) = process::oom_score_adj(*pid) {
        let reset = shell(&format!("echo {WAS} > /proc/{pid}/oom_score_adj"));
        let item = Item { state: eager.to_string(), reset, ..Item::default() };
        inventory.note("process limit", format!("oom_score_adj of {name} of {whose}"), item);
    }
}

/// Whether it is this agent's, or of whoever has started this agent: a disk, the name server. There may be others on a host.
fn is_of(one: &OwnProcess, prefix: &str) -> bool {
    let tagged = one.tag.as_ref().is_some_and(|tag| tag.starts_with(prefix));
    tagged || one.role.is_some() && u32::try_from(one.process.parent) == Ok(std::os::unix::process::parent_id())
}

/// Ours, counted by what they are for: guards and wires are replaced, so that their numbers mean nothing.
fn note_own(mut own: Vec<OwnProcess>, inventory: &mut Inventory) {
    let agent = i32::try_from(std::process::id()).unwrap_or(0);
    let young = |one: &OwnProcess| clock::boottime_ticks().saturating_sub(one.process.start) < BRIEFLY * clock::ticks();
    own.retain(|one| !(one.role.as_deref().is_some_and(|role| BRIEF.contains(&role)) && young(one)));
    // Whom the agent has started comes first; one that it has no more is the odd one out.
    own.sort_by_key(|one| (one.process.parent != agent, one.process.start, one.process.pid));
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for OwnProcess { process, role, .. } in own {
        let role = role.unwrap_or_else(|| "agent".to_owned());
        let count = counts.entry(role.clone()).or_default();
        *count += 1;
        let item = Item::stray(format!("kill -9 {}", process.pid));
        inventory.note("process", format!("firedrill-agent {role} ({count})"), item);
        if role != hog::ARGUMENT {
            note_halt(&process, "firedrill's own", inventory);
        }
    }
}
