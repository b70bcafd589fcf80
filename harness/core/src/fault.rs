//! A fault is a pure decision: a view of the cluster and a seeded stream to a timed plan of actions.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::action::{Action, Deed};
use crate::cluster::{ClusterView, NodeName, ProcessName};
use crate::harm::FileSystem;
use crate::seed::ChaCha8Rng;
use crate::spec::Fields;

/// How an action lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// In force until the fault's heal; must be proven at onset, in the middle and before the heal.
    Held,
    /// Done in an instant; proven once.
    OneShot,
}

/// A timed action. Reverts run last first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// When, from the fault's onset.
    pub offset: Duration,
    /// What.
    pub action: Action,
    /// How it lasts.
    pub hold: Hold,
}

/// What a fault will do, with everything drawn.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FaultPlan {
    /// In order of offset.
    pub steps: Vec<Step>,
    /// What it impairs, for `max-impaired`: a node, or a named process of it.
    pub impairs: BTreeSet<(NodeName, Option<ProcessName>)>,
    /// In words: `isolate n1 from n2 and n3; clients still reach it`.
    pub words: String,
}

/// How many nodes these faults impair together, as [`counted`].
pub fn impaired<'a>(plans: impl IntoIterator<Item = &'a FaultPlan>) -> usize {
    counted(plans.into_iter().flat_map(|plan| &plan.impairs)).len()
}

/// What counts of what is impaired: a named process of a node counts as a node, unless all of that node is impaired.
pub fn counted<'a>(
    impaired: impl IntoIterator<Item = &'a (NodeName, Option<ProcessName>)>,
) -> Vec<&'a (NodeName, Option<ProcessName>)> {
    let all: BTreeSet<&(NodeName, Option<ProcessName>)> = impaired.into_iter().collect();
    let whole: BTreeSet<&NodeName> =
        all.iter().filter(|(_, process)| process.is_none()).map(|(node, _)| node).collect();
    all.iter().filter(|(node, process)| process.is_none() || !whole.contains(node)).copied().collect()
}

/// Why a fault cannot be planned on this view.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct PlanError(pub String);

/// What a fault may look at.
pub struct PlanInput<'a> {
    /// The cluster as seen at onset; for an offline plan, role words in place of node names.
    pub view: &'a ClusterView,
    /// The nodes the selector resolved to, in name order. Never empty.
    pub targets: &'a [NodeName],
    /// How long it is to be held, if `for` was given.
    pub hold: Option<Duration>,
}

/// A fault with its options read.
pub trait Fault: Send + Sync {
    /// Decides. Equal inputs and equal streams give equal plans.
    fn plan(&self, input: &PlanInput<'_>, rng: &mut ChaCha8Rng) -> Result<FaultPlan, PlanError>;
    /// The process it aims at, if it names one; checked against the system's when the file loads.
    fn process(&self) -> Option<&ProcessName> {
        None
    }
    /// What must be in place before the servers start.
    fn needs(&self) -> Needs {
        Needs::default()
    }
    /// Whether it shows only at a later power loss of the same node, so that a scenario without one is refused.
    fn waits_for_power_loss(&self) -> bool {
        false
    }
}

/// What must be in place before the servers start, because no platform can bring it to running ones.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Needs {
    /// The deeds of the scenario's faults.
    pub deeds: BTreeSet<Deed>,
    /// Paths whose operations are harmed, as in [`crate::harm::DiskTarget`]; `None` is everything.
    pub disk: BTreeSet<Option<String>>,
    /// Processes whose clock is changed; `None` is every process.
    pub clocks: BTreeSet<Option<ProcessName>>,
    /// The file system that the nodes' volumes are to have; more than one cannot be had.
    pub volumes: BTreeSet<FileSystem>,
    /// Nodes that are named whose names are to be answered wrongly.
    pub names: BTreeSet<NodeName>,
    /// Where the links between the lab's nodes are harmed.
    pub links: LabLinks,
}

/// Where the lab cuts and impairs links: `[cluster.lab] links`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabLinks {
    /// In the switch between the nodes.
    #[default]
    Switch,
    /// At the nodes' own ends, as on hosts with no switch of ours between them.
    Ends,
}

impl Needs {
    /// Those of both.
    pub fn add(&mut self, other: Self) {
        self.deeds.extend(other.deeds);
        self.disk.extend(other.disk);
        self.clocks.extend(other.clocks);
        self.volumes.extend(other.volumes);
        self.names.extend(other.names);
        self.links = self.links.max(other.links);
    }
}

/// Whether a fault takes `for`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldRule {
    /// `for` is mandatory.
    Required,
    /// `for` may be given; without it the effect is undone in the heal phase.
    Optional,
}

/// A fault in the registry.
pub struct FaultEntry {
    /// `family.noun`.
    pub kind: &'static str,
    /// One line for the listing.
    pub summary: &'static str,
    /// A `[[fault]]` section that parses.
    pub example: &'static str,
    /// The deeds it needs.
    pub deeds: &'static [Deed],
    /// Whether it takes `for`.
    pub hold: HoldRule,
    /// Reads its own keys (`id`, `kind`, `on`, `at`, `after`, `for` are already taken). Takes every key it
    /// knows before it returns, also after a mistake, because what is left is reported as unknown. `None` after noting one.
    pub parse: fn(&mut Fields<'_, '_>) -> Option<Box<dyn Fault>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_a_node_that_is_impaired_as_a_whole_does_not_count() {
        let process = Some(ProcessName("postgres".to_owned()));
        let impaired = [("n1", None), ("n1", process.clone()), ("n2", process)];
        let impaired = impaired.map(|(node, process)| (NodeName::new(node), process));
        assert_eq!(counted(&impaired), [&impaired[0], &impaired[2]]);
    }
}
