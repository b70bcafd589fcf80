//! Where the agent is: nodes and clients with their namespaces, resolved once at hello.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use firedrill_core::action::{Endpoint, ProcessRef};
use firedrill_core::cluster::{NodeName, ProcessName};
use firedrill_sys::nft::{self, Keeper};
use firedrill_sys::process::{self, NetnsId, Process};

use crate::hog;
use crate::protocol::{Config, NodeSite, Refusal, RefusalKind, Site, TAG};
use crate::wire::client::Wires;

/// A configuration whose namespaces exist.
#[derive(Debug)]
pub struct World {
    /// As said at hello.
    pub config: Config,
    /// Who keeps the tables of cuts in being.
    pub keeper: Keeper,
    /// Whether what a host sends can be taken at its own end.
    pub has_egress: bool,
    /// Who impairs links.
    pub wires: Wires,
    netns: BTreeMap<NodeName, NetnsId>,
    /// What takes effect bit by bit, by tag, and since when; so that probes know what to look for by now.
    begun: Mutex<BTreeMap<String, u64>>,
    /// What only one action at a time can have, and the tag of the one that has it.
    claims: Mutex<BTreeMap<String, String>>,
}

impl World {
    /// Checks a configuration. Looks at its namespaces and changes nothing.
    pub fn new(config: Config) -> Result<Self, Refusal> {
        let mut netns = BTreeMap::new();
        for node in &config.nodes {
            let id = NetnsId::of_file(&node.site.netns)
                .map_err(|error| Refusal::system(format!("network namespace of {}", node.name), &error))?;
            netns.insert(node.name.clone(), id);
        }
        let (begun, claims) = (Mutex::default(), Mutex::default());
        let (keeper, has_egress) = (nft::keeper(), nft::has_egress());
        Self { config, keeper, has_egress, wires: Wires::default(), netns, begun, claims }.checked()
    }

    /// For undoing what an agent that is gone has left, of whose namespaces some may be gone too: with them went what ran
    /// there.
    pub fn of_leftovers(config: Config) -> Result<Self, Refusal> {
        let found = |node: &NodeSite| Some((node.name.clone(), NetnsId::of_file(&node.site.netns).ok()?));
        let netns = config.nodes.iter().filter_map(found).collect();
        let (begun, claims) = (Mutex::default(), Mutex::default());
        let (keeper, has_egress) = (nft::keeper(), nft::has_egress());
        Self { config, keeper, has_egress, wires: Wires::default(), netns, begun, claims }.checked()
    }

    fn checked(self) -> Result<Self, Refusal> {
        let refuse = |what: String| Err(Refusal::new(RefusalKind::Malformed, what));
        if !is_tag(&self.config.tag_prefix) {
            let prefix = &self.config.tag_prefix;
            return refuse(format!("`{prefix}` is no prefix for tags: it must begin with {TAG}"));
        }
        if self.config.lease_nanos == 0 {
            return refuse("a lease of 0 would hold nothing".to_owned());
        }
        Ok(self)
    }

    /// Notes since when an action is in force that takes effect bit by bit.
    pub fn begin(&self, tag: &str, from: u64) {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(tag.to_owned(), from);
    }

    /// Forgets it.
    pub fn end(&self, tag: &str) {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).remove(tag);
    }

    /// Since when it is in force; `None` when it is not.
    pub fn since(&self, tag: &str) -> Option<u64> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).get(tag).copied()
    }

    /// Refuses what an action other than this one has.
    pub fn unclaimed(&self, what: &str, tag: &str) -> Result<(), Refusal> {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let other = claims.get(what).filter(|other| *other != tag);
        other.map_or(Ok(()), |other| Err(Refusal::new(RefusalKind::Order, format!("{other} has the {what}"))))
    }

    /// Has it for this action, until [`World::give_back`].
    pub fn claim(&self, what: &str, tag: &str) -> Result<(), Refusal> {
        self.unclaimed(what, tag)?;
        self.claims.lock().unwrap_or_else(PoisonError::into_inner).insert(what.to_owned(), tag.to_owned());
        Ok(())
    }

    /// This action has nothing any more.
    pub fn give_back(&self, tag: &str) {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, other| other != tag);
    }

    /// Where an end of a link is.
    pub fn site(&self, endpoint: &Endpoint) -> Result<&Site, Refusal> {
        let found = match endpoint {
            Endpoint::Node(name) => self.config.nodes.iter().find(|node| node.name == *name).map(|node| &node.site),
            Endpoint::Clients => self.config.clients.as_ref(),
        };
        found.ok_or_else(|| Refusal::new(RefusalKind::NoTarget, format!("there is no {endpoint} here")))
    }

    /// A node and what of it can be reached.
    pub fn node(&self, name: &NodeName) -> Result<&NodeSite, Refusal> {
        let found = self.config.nodes.iter().find(|node| node.name == *name);
        found.ok_or_else(|| Refusal::new(RefusalKind::NoTarget, format!("there is no node {name} here")))
    }

    /// The node whose network namespace it is.
    pub fn node_in(&self, netns: NetnsId) -> Option<&NodeName> {
        self.netns.iter().find(|(_, of)| **of == netns).map(|(node, _)| node)
    }

    /// The living processes of a node, or those of a name, parents first. Hogs are none of its servers.
    pub fn processes(&self, node: &NodeName, name: Option<&ProcessName>) -> Result<Vec<Process>, Refusal> {
        let mut found = self.everybody(node)?;
        found.retain(|process| process.name != hog::NAME && name.is_none_or(|name| process.is_called(&name.0)));
        Ok(found)
    }

    /// The living processes of a node, whoever started them, parents first.
    pub fn everybody(&self, node: &NodeName) -> Result<Vec<Process>, Refusal> {
        let Some(netns) = self.netns.get(node) else {
            if self.config.nodes.iter().any(|known| known.name == *node) {
                return Ok(Vec::new());
            }
            return Err(Refusal::new(RefusalKind::NoTarget, format!("there is no node {node} here")));
        };
        process::in_netns(*netns).map_err(|error| Refusal::system(format!("processes of {node}"), &error))
    }
}

/// Whether it is a tag of ours: `fd-` and lower-case letters, digits and dashes.
pub fn is_tag(tag: &str) -> bool {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    tag.len() <= 64 && tag.strip_prefix(TAG).is_some_and(|rest| !rest.is_empty() && rest.chars().all(legal))
}

/// How an undo names a process.
pub fn reference(process: &Process) -> ProcessRef {
    ProcessRef { pid: process.pid, start: process.start, name: process.name.clone() }
}

/// The process of a reference as it is now; `None` if it has ended.
pub fn find(reference: &ProcessRef) -> Option<Process> {
    Process::read(reference.pid)
        .filter(|process| process.start == reference.start && process.state != process::State::Ended)
}

/// `postgres (12, 15), patroni (9)` for people, at most ten.
pub fn words<'a>(processes: impl IntoIterator<Item = &'a Process>) -> String {
    let mut names: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for process in processes.into_iter().take(10) {
        names.entry(&process.name).or_default().push(process.pid.to_string());
    }
    let words: Vec<String> = names.iter().map(|(name, pids)| format!("{name} ({})", pids.join(", "))).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_tags_are_tags() {
        for (tag, want) in [
            ("fd-1a2b-3", true),
            ("fd-", false),
            ("filter", false),
            ("fd-a b", false),
            ("fd-A", false),
            ("fd-../x", false),
            (&format!("fd-{}", "a".repeat(70)), false),
        ] {
            assert_eq!(is_tag(tag), want, "{tag}");
        }
    }
}
