//! What faults do to the simulated world. A probe looks at the world (it sends packets, it watches a process work), never
//! at the table of what is held.
#![expect(clippy::wildcard_enum_match_arm, reason = "a few of all actions can be simulated")]

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use firedrill_core::action::{Action, Effect, Endpoint, Link, Presence, ProcessRef, Reverted, Undo};
use firedrill_core::cluster::{NodeName, ProcessName};
use firedrill_core::platform::{DeedError, Inventory, Item};
use firedrill_core::sim::PROCESS;
use firedrill_core::system::SimBug;
use firedrill_core::time::RunTime;

use super::Shared;

/// Packets a probe sends over each link.
const PACKETS: u32 = 3;
/// How long a probe watches a process for signs of work: some of its ticks.
const WATCH: Duration = Duration::from_millis(50);

/// One action's time in force.
pub(super) struct Held {
    from: RunTime,
    ended: Option<(RunTime, &'static str)>,
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn prepare(&self, action: &Action, tag: String) -> Result<Undo, DeedError> {
        let mut undo = Undo::new(tag, action.clone());
        match action {
            Action::Cut { port: Some(_), .. } => {
                return Err(DeedError::NotOffered(format!("{action}: the simulated network has no ports")));
            }
            Action::Cut { links, port: None } => {
                if links.is_empty() {
                    return Err(DeedError::NoTarget("no links to cut".to_owned()));
                }
                for link in links {
                    self.known(&link.from)?;
                    self.known(&link.to)?;
                    undo.creates.push(format!("sim cut {link}"));
                }
            }
            Action::Kill { node, process, .. } => {
                undo.processes.push(self.process(node, process.as_ref())?);
                undo.restarts.push(format!("{PROCESS} of {node}"));
            }
            Action::Pause { node, process } => undo.processes.push(self.process(node, process.as_ref())?),
            _ => return Err(DeedError::NotOffered(action.to_string())),
        }
        Ok(undo)
    }

    fn known(&self, end: &Endpoint) -> Result<(), DeedError> {
        match end {
            Endpoint::Node(node) if !self.world.lock().nodes.contains_key(node) => {
                Err(DeedError::NoTarget(format!("there is no node {node}")))
            }
            Endpoint::Node(_) | Endpoint::Clients => Ok(()),
        }
    }

    fn process(&self, name: &NodeName, process: Option<&ProcessName>) -> Result<ProcessRef, DeedError> {
        self.known(&Endpoint::Node(name.clone()))?;
        if let Some(process) = process.filter(|process| process.0 != PROCESS) {
            return Err(DeedError::NoTarget(format!("{name} runs no process {process}")));
        }
        let state = self.world.lock();
        let running = state.nodes.get(name).filter(|node| state.on && node.down.is_empty());
        running
            .map(|node| ProcessRef { pid: node.pid, start: node.incarnation, name: PROCESS.to_owned() })
            .ok_or_else(|| DeedError::NoTarget(format!("{PROCESS} of {name} does not run")))
    }

    pub(super) fn apply(&self, undo: &Undo) -> Result<RunTime, DeedError> {
        let from = self.world.clock.now();
        if self.table().contains_key(&undo.tag) {
            return Err(DeedError::NoTarget(format!("{} has already been applied", undo.tag)));
        }
        self.table().insert(undo.tag.clone(), Held { from, ended: None });
        if self.bugs.contains(&SimBug::FaultDoesNothing) {
            return Ok(from);
        }
        let tag = &undo.tag;
        self.world.change(|state, now| match &undo.action {
            Action::Cut { links, .. } => {
                for link in links {
                    state.cuts.entry(link.clone()).or_default().insert(tag.clone());
                }
            }
            Action::Kill { node, .. } => state.kill(node, tag, now),
            Action::Pause { node, .. } => state.pause(node, tag),
            // Refused by `prepare`.
            _ => {}
        });
        Ok(from)
    }

    /// Takes back what bears the tag of this undo and nothing else, whatever the table says.
    pub(super) fn revert(&self, undo: &Undo, by: &'static str) -> Reverted {
        let tag = &undo.tag;
        self.world.change(|state, now| match &undo.action {
            Action::Cut { links, .. } => {
                for link in links {
                    if let Some(tags) = state.cuts.get_mut(link) {
                        tags.remove(tag);
                    }
                }
                state.cuts.retain(|_, tags| !tags.is_empty());
            }
            Action::Kill { node, .. } => state.revive(node, tag, now),
            Action::Pause { node, .. } => state.resume(node, tag, now),
            _ => {}
        });
        let mut table = self.table();
        let Some(held) = table.get_mut(tag) else {
            return Reverted { held: None, by: by.to_owned() };
        };
        let (to, by) = *held.ended.get_or_insert((self.world.clock.now(), by));
        if self.bugs.contains(&SimBug::UndoLeavesSomething) {
            self.world.lock().leftovers.insert(format!("note of {tag}"));
        }
        Reverted { held: Some((held.from, to)), by: by.to_owned() }
    }

    pub(super) async fn probe(&self, undo: &Undo) -> Effect {
        match &undo.action {
            Action::Cut { links, .. } => self.probe_links(links).await,
            Action::Kill { node, .. } => self.probe_life(node, &undo.processes),
            Action::Pause { node, .. } => self.probe_work(node).await,
            action => Effect { presence: Presence::Unknown, evidence: format!("{action} is not offered here") },
        }
    }

    async fn probe_links(&self, links: &[Link]) -> Effect {
        let (mut dark, mut evidence) = (0, Vec::new());
        for link in links {
            let mut arrived = 0;
            for _ in 0..PACKETS {
                arrived += u32::from(self.packet(link).await);
            }
            dark += usize::from(arrived == 0);
            evidence.push(format!("{link}: {arrived} of {PACKETS} packets arrived"));
        }
        let presence = if dark == links.len() {
            Presence::Full
        } else if dark == 0 {
            Presence::Absent
        } else {
            Presence::Partial
        };
        Effect { presence, evidence: evidence.join("; ") }
    }

    /// Sends one packet the way all others go; kernels answer each other whatever their processes do.
    async fn packet(&self, link: &Link) -> bool {
        let latency = self.world.lock().latency();
        let left = self.world.lock().open(&link.from, &link.to);
        self.world.clock.sleep(latency).await;
        left && self.world.lock().open(&link.from, &link.to)
    }

    /// A kill is in force while nothing runs in the place of what was killed: there is no supervisor here.
    fn probe_life(&self, name: &NodeName, killed: &[ProcessRef]) -> Effect {
        let before: Vec<String> = killed.iter().map(|process| process.pid.to_string()).collect();
        let before = before.join(", ");
        let now = self.process(name, None).ok();
        match now {
            None => Effect {
                presence: Presence::Full,
                evidence: format!("{PROCESS} of {name}: pid {before} is gone and nothing runs in its place"),
            },
            Some(process) => Effect {
                presence: Presence::Absent,
                evidence: format!("{PROCESS} of {name}: pid {before} before, pid {} runs", process.pid),
            },
        }
    }

    async fn probe_work(&self, name: &NodeName) -> Effect {
        let beats = || self.world.lock().nodes.get(name).map_or(0, |node| node.beats);
        let Ok(process) = self.process(name, None) else {
            let evidence = format!("{PROCESS} of {name} does not run, so that it cannot be stopped");
            return Effect { presence: Presence::Absent, evidence };
        };
        let before = beats();
        self.world.clock.sleep(WATCH).await;
        let worked = beats() - before;
        let presence = if worked == 0 { Presence::Full } else { Presence::Absent };
        let evidence =
            format!("{PROCESS} of {name} (pid {}) worked {worked} times in {}ms", process.pid, WATCH.as_millis());
        Effect { presence, evidence }
    }

    pub(super) fn inventory(&self) -> Inventory {
        let state = self.world.lock();
        let mut found = Inventory::default();
        let mut add = |kind: &str, name: String| found.note(kind, name, Item::stray(NOTHING_TO_DO));
        for link in state.cuts.keys() {
            add("sim-cut", link.to_string());
        }
        for (name, node) in &state.nodes {
            if !node.down.is_empty() {
                add("sim-process-down", format!("{PROCESS} of {name}"));
            }
            if !node.paused.is_empty() {
                add("sim-process-stopped", format!("{PROCESS} of {name}"));
            }
        }
        for leftover in &state.leftovers {
            add("sim-leftover", leftover.clone());
        }
        found
    }
}

/// The command that undoes whatever is left in a simulation.
const NOTHING_TO_DO: &str = "true  # the simulated world ended with its process; nothing remains to be removed";
