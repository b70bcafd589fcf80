//! The system under test as firedrill sees it: nodes, roles, epochs, and the role words scenarios use.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use crate::select::{resolve, symbolic_view};
use crate::time::RunTime;

/// The name of a node: `n1`, `n2`… in the lab.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// A node of that name.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self(Arc::from(name.as_ref()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `n1` to `n<count>`.
    pub fn numbered(count: u32) -> Vec<Self> {
        (1..=count).map(|i| Self::new(format!("n{i}"))).collect()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The name of a process a fault may aim at, as the system calls it: `postgres`, `patroni`, `etcd`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessName(pub String);

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Who leads, as a number that only grows: a timeline, a term, a config epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A position in the log of the system: an LSN, a revision, an offset. Comparable within one epoch's history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    /// As PostgreSQL writes an LSN: `0/3000060`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// What a node is to the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Takes writes.
    Primary,
    /// Follows a primary.
    Replica,
    /// A replica whose acknowledgement a commit waits for.
    SyncStandby,
    /// Leads the consensus store beside the database.
    DcsLeader,
}

/// One node, as last seen.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NodeView {
    /// Which node.
    pub name: NodeName,
    /// Whether the server answered at all.
    pub up: bool,
    /// Its roles. Empty when it is down or undecided.
    pub roles: BTreeSet<Role>,
    /// Whether it takes writes, asked of itself.
    pub read_write: bool,
    /// The epoch it is on.
    pub epoch: Option<Epoch>,
    /// How far its log goes: written on a primary, replayed on a replica.
    pub position: Option<Position>,
    /// Whether it receives the primary's log now.
    pub streaming: bool,
    /// When its server process started, in the server's own count; a change is a restart.
    pub incarnation: Option<u64>,
    /// Writes that it has begun and not ended: a commit that still waits for a standby is hidden on its own primary.
    #[serde(default)]
    pub unfinished: u64,
    /// Labels of the node (zone, kind of hardware…).
    pub labels: BTreeMap<String, String>,
    /// What it said, or why it did not answer.
    pub detail: String,
}

impl NodeView {
    /// A node that did not answer, and why.
    pub fn down(name: NodeName, why: impl Into<String>) -> Self {
        Self {
            name,
            up: false,
            roles: BTreeSet::new(),
            read_write: false,
            epoch: None,
            position: None,
            streaming: false,
            incarnation: None,
            unfinished: 0,
            labels: BTreeMap::new(),
            detail: why.into(),
        }
    }
}

/// The whole cluster, as seen by asking every node at about the same time.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ClusterView {
    /// When the view was complete.
    pub at: RunTime,
    /// Every node of the scenario, in name order.
    pub nodes: Vec<NodeView>,
    /// Whether all nodes that answered tell the same story of who leads; else what they disagree about.
    pub disagreement: Option<String>,
}

impl ClusterView {
    /// The node of that name.
    pub fn node(&self, name: &NodeName) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    /// Names of the nodes with a role, in name order.
    pub fn with_role(&self, role: Role) -> Vec<NodeName> {
        self.nodes.iter().filter(|node| node.roles.contains(&role)).map(|node| node.name.clone()).collect()
    }

    /// How many nodes take writes.
    pub fn primaries(&self) -> usize {
        self.nodes.iter().filter(|node| node.up && node.read_write).count()
    }

    /// How many nodes receive the primary's log.
    pub fn streaming(&self) -> usize {
        self.nodes.iter().filter(|node| node.up && node.streaming).count()
    }

    /// The primary if there is exactly one, by the nodes' own word.
    pub fn primary(&self) -> Option<&NodeView> {
        let mut writers = self.nodes.iter().filter(|node| node.up && node.read_write);
        let first = writers.next()?;
        if writers.next().is_none() { Some(first) } else { None }
    }

    /// `n1 primary (3), n2 sync-standby, n3 down` for people.
    pub fn in_words(&self) -> String {
        let words = self.nodes.iter().map(|node| {
            let role = if !node.up {
                "down"
            } else if node.read_write {
                "primary"
            } else if node.roles.contains(&Role::SyncStandby) {
                "sync-standby"
            } else if node.streaming {
                "replica"
            } else {
                "not streaming"
            };
            match node.epoch {
                Some(epoch) => format!("{} {role} (epoch {epoch})", node.name),
                None => format!("{} {role}", node.name),
            }
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

/// Whom a fault aims at, in role words; resolved once at onset.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selector {
    /// The node that takes writes.
    Primary,
    /// Every replica.
    Replicas,
    /// One replica that is not the sync standby, drawn from the seed; any replica if there is no other.
    Replica,
    /// The standby that commits wait for.
    SyncStandby,
    /// The leader of the consensus store.
    DcsLeader,
    /// The largest number of nodes that is no majority, drawn from the seed.
    Minority,
    /// The smallest majority, drawn from the seed.
    Majority,
    /// All nodes.
    All,
    /// So many nodes, drawn from the seed.
    Any(u32),
    /// Nodes whose label `zone` has this value.
    Zone(String),
    /// A node by name.
    Node(NodeName),
}

/// The role words, for "did you mean" and for the listing.
pub const SELECTOR_WORDS: [&str; 10] =
    ["primary", "replicas", "replica", "sync-standby", "dcs-leader", "minority", "majority", "all", "any:2", "zone:a"];

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |rest: &str| rest.parse::<u32>().ok().filter(|n| *n > 0);
        Ok(match text {
            "primary" => Self::Primary,
            "replicas" => Self::Replicas,
            "replica" => Self::Replica,
            "sync-standby" => Self::SyncStandby,
            "dcs-leader" => Self::DcsLeader,
            "minority" => Self::Minority,
            "majority" => Self::Majority,
            "all" => Self::All,
            _ => match text.split_once(':') {
                Some(("any", rest)) => {
                    Self::Any(number(rest).ok_or_else(|| format!("`{text}`: write a count, as \"any:2\""))?)
                }
                Some(("zone", zone)) if !zone.is_empty() => Self::Zone(zone.to_owned()),
                _ if text.strip_prefix('n').is_some_and(|rest| number(rest).is_some()) => {
                    Self::Node(NodeName::new(text))
                }
                _ => return Err(format!("`{text}` is not a role of the cluster")),
            },
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primary => f.write_str("primary"),
            Self::Replicas => f.write_str("replicas"),
            Self::Replica => f.write_str("replica"),
            Self::SyncStandby => f.write_str("sync-standby"),
            Self::DcsLeader => f.write_str("dcs-leader"),
            Self::Minority => f.write_str("minority"),
            Self::Majority => f.write_str("majority"),
            Self::All => f.write_str("all"),
            Self::Any(count) => write!(f, "any:{count}"),
            Self::Zone(zone) => write!(f, "zone:{zone}"),
            Self::Node(node) => node.fmt(f),
        }
    }
}
