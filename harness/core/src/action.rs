//! Actions are data: one thing done to nodes or links. They print, journal and compare; agents perform them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{NodeName, ProcessName};
use crate::time::RunTime;

/// One end of a link: a node, or the clients as a whole.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endpoint {
    /// A node of the cluster.
    Node(NodeName),
    /// All clients of the workload. Observers of the harness are never cut.
    Clients,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => node.fmt(f),
            Self::Clients => f.write_str("clients"),
        }
    }
}

/// One direction between two ends.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Link {
    /// Where packets come from.
    pub from: Endpoint,
    /// Where they would go.
    pub to: Endpoint,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}→{}", self.from, self.to)
    }
}

/// One thing done to the cluster, all at once, and undone all at once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    /// Silently drops every packet on these links (a black hole: senders see timeouts, never an error).
    Cut {
        /// The directions that are cut.
        links: Vec<Link>,
    },
    /// Sends a signal to processes so that they end. Undone by starting again what no supervisor restarts.
    Kill {
        /// On which node.
        node: NodeName,
        /// Which process; all of the node when absent.
        process: Option<ProcessName>,
        /// Signal number, 9 by default.
        signal: i32,
        /// Whether what was killed is to stay down until the revert.
        stay_down: bool,
    },
    /// Stops processes without ending them.
    Pause {
        /// On which node.
        node: NodeName,
        /// Which process; all of the node when absent.
        process: Option<ProcessName>,
    },
}

impl Action {
    /// What kind of deed this is, for offers and preflight.
    pub const fn deed(&self) -> Deed {
        match self {
            Self::Cut { .. } => Deed::CutLinks,
            Self::Kill { .. } => Deed::KillProcess,
            Self::Pause { .. } => Deed::PauseProcess,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = |process: &Option<ProcessName>| {
            process.as_ref().map_or_else(|| "every process".to_owned(), |process| process.0.clone())
        };
        match self {
            Self::Cut { links } => {
                let links: Vec<String> = links.iter().map(ToString::to_string).collect();
                write!(f, "cut {}", links.join(", "))
            }
            Self::Kill { node, process, signal, stay_down } => {
                let stay = if *stay_down { ", keep it down" } else { "" };
                write!(f, "kill -{signal} {} of {node}{stay}", whom(process))
            }
            Self::Pause { node, process } => write!(f, "pause {} of {node}", whom(process)),
        }
    }
}

/// The kinds of action, by which platforms say what they offer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// [`Action::Cut`].
    CutLinks,
    /// [`Action::Kill`].
    KillProcess,
    /// [`Action::Pause`].
    PauseProcess,
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::CutLinks => "cut-links",
            Self::KillProcess => "kill-process",
            Self::PauseProcess => "pause-process",
        })
    }
}

/// A process that will not be mistaken for a later one with the same number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ProcessRef {
    /// Process id, in the agent's pid namespace.
    pub pid: i32,
    /// Start time in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start: u64,
    /// Command name (`/proc/PID/comm`).
    pub name: String,
}

/// How to undo an action, complete before it is applied: names are chosen and state is read in `prepare`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Undo {
    /// The tag that everything created for this action bears, unique in the run: `fd-<run>-<n>`.
    pub tag: String,
    /// The action.
    pub action: Action,
    /// Kernel objects that `apply` will create, by kind and name (`nft bridge fd-…`).
    pub creates: Vec<String>,
    /// Processes the action concerns, as found in `prepare`.
    pub processes: Vec<ProcessRef>,
    /// Units that must be running again after the revert.
    pub restarts: Vec<String>,
}

/// An action in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Applied {
    /// When it took effect, by the agent's clock put into the run's time.
    pub from: RunTime,
    /// How far off `from` may be.
    pub error: Duration,
}

/// An action undone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reverted {
    /// The interval it was in force by the agent's log; `None` when it never was.
    pub held: Option<(RunTime, RunTime)>,
    /// Who undid it: `asked`, `deadline`, `lease`, `stdin closed`.
    pub by: String,
}

/// Whether an effect is there, found without asking the mechanism that makes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// On everything the action names.
    Full,
    /// On some of it.
    Partial,
    /// Nowhere.
    Absent,
    /// The probe itself could not run.
    Unknown,
}

/// What a probe found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Effect {
    /// Whether it is there.
    pub presence: Presence,
    /// The evidence in words: `n1→n2: 0 of 3 packets arrived`.
    pub evidence: String,
}
