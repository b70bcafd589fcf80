//! The nodes' control groups: which there are, and what limits they have for the sake of faults that meet these.

use std::io;
use std::path::PathBuf;

use firedrill_core::action::Deed;
use firedrill_core::fault::Needs;
use firedrill_core::platform::{Mechanism, Missing};
use firedrill_core::units::Bytes;
use firedrill_sys::cgroup::{self, Group};
use firedrill_sys::dirs;
use serde::{Deserialize, Serialize};

/// Memory of a node that has a limit, in bytes: several times what the servers of the shipped systems need.
const MEMORY: u64 = 512 << 20;
/// Processes and threads of a node that has a limit.
const PIDS: u64 = 1000;

/// The limits of each node; only for runs with faults that need them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Limits {
    memory: Option<u64>,
    pids: Option<u64>,
    /// Whether each node is to weigh as much as a process of the machine, and the lab as much as its nodes.
    cpu: bool,
}

/// The limits for the sake of these needs.
pub(super) fn limits(needs: &Needs) -> Limits {
    let has = |deed: Deed| needs.deeds.contains(&deed);
    Limits {
        memory: (has(Deed::OomProcess) || has(Deed::PressMemory)).then_some(MEMORY),
        pids: has(Deed::PressPids).then_some(PIDS),
        cpu: has(Deed::PressCpu),
    }
}

/// Roots of the hierarchies the nodes have groups in.
pub(super) fn roots(limits: Limits) -> Vec<PathBuf> {
    if !dirs::is_root() {
        return Vec::new();
    }
    let memory = limits.memory.map(|_| "memory");
    let cpu = limits.cpu.then_some("cpu");
    cgroup::roots_with(&memory.into_iter().chain(cpu).collect::<Vec<_>>())
}

impl Limits {
    /// Whether nodes with these have those, too.
    pub(super) fn cover(self, wanted: Self) -> bool {
        let Self { memory, pids, cpu } = wanted;
        (memory.is_none() || memory == self.memory) && (pids.is_none() || pids == self.pids) && (!cpu || self.cpu)
    }

    /// Sets them for the groups of one node, of so many. A group that has no such limit is not concerned.
    pub(super) fn set(self, groups: &[PathBuf], nodes: usize) -> io::Result<()> {
        for group in groups.iter().cloned().map(Group) {
            if let Some(bytes) = self.memory.filter(|_| group.has(&["memory.max", "memory.limit_in_bytes"])) {
                group.limit_memory(bytes)?;
            }
            if let Some(most) = self.pids.filter(|_| group.has(&["pids.max"])) {
                group.limit_pids(most)?;
            }
            if self.cpu && group.has(&["cpu.weight", "cpu.shares"]) {
                group.weigh(1)?;
                let lab = Group(group.0.parent().unwrap_or(&group.0).to_owned());
                lab.weigh(u64::try_from(nodes).unwrap_or(1))?;
            }
        }
        Ok(())
    }
}

/// What a deed that needs a group is done with; what is missing when there are none.
pub(super) fn mechanism(deed: Deed, controller: &str, by: &str) -> Result<Mechanism, Missing> {
    if dirs::is_root() && cgroup::has(controller) {
        return Ok(Mechanism::best(deed, by));
    }
    let remedy = format!("run firedrill as root, where the kernel has the {controller} controller of control groups");
    Err(Missing::new(format!("nodes cannot have a control group that limits {controller}"), remedy))
}

/// The same, where it is done worse without.
pub(super) fn mechanism_or(deed: Deed, controller: &str, by: &str, without: &str, why: &str) -> Mechanism {
    mechanism(deed, controller, by).unwrap_or_else(|missing| Mechanism::fallback(deed, without, why, &missing.remedy))
}

/// What a node's memory is limited to, in words.
pub(super) fn memory_words() -> String {
    Bytes(MEMORY).to_string()
}
