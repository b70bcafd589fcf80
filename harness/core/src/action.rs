//! Actions are data: one thing done to nodes or links. They print, journal and compare; agents perform them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{NodeName, ProcessName};
use crate::harm::{ClockChange, DiskHarm, DiskTarget, Impairment, NameAnswer, Pressure};
use crate::time::RunTime;
use crate::units::human;

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
        /// Only TCP and UDP packets from or to this port; all IPv4 packets when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
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
    /// Spoils what passes on these links, without cutting them.
    Impair {
        /// The directions that are impaired.
        links: Vec<Link>,
        /// Only TCP and UDP packets from or to this port; all IPv4 packets when absent.
        port: Option<u16>,
        /// How.
        how: Impairment,
        /// What chance is drawn from.
        seed: u64,
    },
    /// Spoils what a node reads from and writes to its data directory.
    HarmDisk {
        /// On which node.
        node: NodeName,
        /// Which files, operations and occurrences.
        target: DiskTarget,
        /// How.
        how: DiskHarm,
        /// What chance is drawn from.
        seed: u64,
    },
    /// The file system of a node's data directory takes no changes: who makes one waits. Reading goes on.
    FreezeDisk {
        /// On which node.
        node: NodeName,
    },
    /// All nodes lose their power at once: their wires are dead, and what is not on the device is gone. Undone by
    /// starting again.
    LosePower {
        /// Which nodes.
        nodes: Vec<NodeName>,
    },
    /// The kernel's out-of-memory killer ends processes of the node.
    Oom {
        /// On which node.
        node: NodeName,
        /// Which process is to be chosen by the killer; the largest when absent.
        process: Option<ProcessName>,
    },
    /// Kills processes again each time they have been up for a while, until the revert.
    RestartLoop {
        /// On which node.
        node: NodeName,
        /// Which process; all of the node when absent.
        process: Option<ProcessName>,
        /// From one kill to the next.
        every: Duration,
    },
    /// Restarts nodes in good order, one after the other.
    Roll {
        /// Which nodes, in their order.
        nodes: Vec<NodeName>,
        /// From one to the next.
        every: Duration,
        /// How long each stays down, from when it is asked to end; longer if it takes longer to end.
        down: Duration,
        /// What has not ended so long after it was asked to is killed.
        grace: Duration,
    },
    /// Ends what runs on a node in good order, and keeps it down.
    Stop {
        /// On which node.
        node: NodeName,
        /// What has not ended so long after it was asked to is killed.
        grace: Duration,
    },
    /// Takes away a share of a resource.
    Press {
        /// On which node.
        node: NodeName,
        /// Which resource, how much.
        pressure: Pressure,
    },
    /// Processes of the node read a wrong wall clock.
    ShiftClock {
        /// On which node.
        node: NodeName,
        /// Which process; all of the node when absent.
        process: Option<ProcessName>,
        /// How wrong.
        change: ClockChange,
    },
    /// Nodes that ask for names of nodes are misled.
    MisleadNames {
        /// Who asks.
        askers: Vec<NodeName>,
        /// For whose names.
        names: Vec<NodeName>,
        /// What they are answered.
        answer: NameAnswer,
    },
}

impl Action {
    /// What kind of deed this is, for offers and preflight.
    pub const fn deed(&self) -> Deed {
        match self {
            Self::Cut { .. } => Deed::CutLinks,
            Self::Kill { .. } | Self::RestartLoop { .. } | Self::Roll { .. } | Self::Stop { .. } => Deed::KillProcess,
            Self::Pause { .. } => Deed::PauseProcess,
            Self::Impair { .. } => Deed::ImpairLinks,
            Self::HarmDisk { .. } => Deed::HarmDisk,
            Self::FreezeDisk { .. } => Deed::FreezeDisk,
            Self::LosePower { .. } => Deed::LosePower,
            Self::Oom { .. } => Deed::OomProcess,
            Self::Press { pressure, .. } => match pressure {
                Pressure::Cpu { .. } => Deed::PressCpu,
                Pressure::Memory { .. } => Deed::PressMemory,
                Pressure::Io { .. } => Deed::PressIo,
                Pressure::Fds { .. } => Deed::PressFds,
                Pressure::Pids { .. } => Deed::PressPids,
            },
            Self::ShiftClock { .. } => Deed::ShiftClock,
            Self::MisleadNames { .. } => Deed::MisleadNames,
        }
    }

    /// The nodes whose processes or data it touches; links and names touch none.
    pub fn nodes(&self) -> Vec<&NodeName> {
        match self {
            Self::Cut { .. } | Self::Impair { .. } | Self::MisleadNames { .. } => Vec::new(),
            Self::LosePower { nodes } | Self::Roll { nodes, .. } => nodes.iter().collect(),
            Self::Kill { node, .. }
            | Self::Pause { node, .. }
            | Self::HarmDisk { node, .. }
            | Self::FreezeDisk { node }
            | Self::Oom { node, .. }
            | Self::RestartLoop { node, .. }
            | Self::Stop { node, .. }
            | Self::Press { node, .. }
            | Self::ShiftClock { node, .. } => vec![node],
        }
    }

    /// Whether it damages data that is at rest or read, so that somebody should find out while it is in force.
    pub const fn damages_data(&self) -> bool {
        matches!(self, Self::HarmDisk { how: DiskHarm::CorruptRead | DiskHarm::CorruptAtRest { .. }, .. })
    }

    /// Whether it is done in an instant, so that nothing of it stays in force: what was killed once stays killed.
    pub const fn is_instant(&self) -> bool {
        matches!(self, Self::Kill { stay_down: false, .. } | Self::Oom { .. })
    }
}

fn names(nodes: &[NodeName]) -> String {
    nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ")
}

fn arrows(links: &[Link]) -> String {
    links.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = |process: &Option<ProcessName>| {
            process.as_ref().map_or_else(|| "every process".to_owned(), |process| process.0.clone())
        };
        let on = |port: &Option<u16>| port.map(|port| format!(" on port {port}")).unwrap_or_default();
        match self {
            Self::Cut { links, port } => write!(f, "cut{} {}", on(port), arrows(links)),
            Self::Kill { node, process, signal, stay_down } => {
                let stay = if *stay_down { ", keep it down" } else { "" };
                write!(f, "kill -{signal} {} of {node}{stay}", whom(process))
            }
            Self::Pause { node, process } => write!(f, "pause {} of {node}", whom(process)),
            Self::Impair { links, port, how, .. } => {
                write!(f, "{how}{} {}", on(port), arrows(links))
            }
            Self::HarmDisk { node, target, how, .. } => write!(f, "{how}, {target} of {node}"),
            Self::FreezeDisk { node } => write!(f, "freeze the file system of {node}"),
            Self::LosePower { nodes } => write!(f, "power loss of {}", names(nodes)),
            Self::Oom { node, process } => write!(f, "out of memory for {} of {node}", whom(process)),
            Self::RestartLoop { node, process, every } => {
                write!(f, "kill {} of {node} every {}", whom(process), human(*every))
            }
            Self::Roll { nodes, every, down, .. } => {
                let (every, down) = (human(*every), human(*down));
                write!(f, "restart {} in turn, one every {every}, each down for {down}", names(nodes))
            }
            Self::Stop { node, grace } => write!(f, "stop {node}, {} for its servers to end", human(*grace)),
            Self::Press { node, pressure } => write!(f, "{pressure} on {node}"),
            Self::ShiftClock { node, process, change } => write!(f, "{change} for {} of {node}", whom(process)),
            Self::MisleadNames { askers, names: of, answer } => {
                write!(f, "{} asking for {}: {answer}", names(askers), names(of))
            }
        }
    }
}

/// The kinds of action, by which platforms say what they offer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// [`Action::Cut`].
    CutLinks,
    /// [`Action::FreezeDisk`].
    FreezeDisk,
    /// [`Action::HarmDisk`].
    HarmDisk,
    /// [`Action::Impair`].
    ImpairLinks,
    /// [`Action::Kill`], [`Action::RestartLoop`], [`Action::Roll`] and [`Action::Stop`].
    KillProcess,
    /// [`Action::LosePower`].
    LosePower,
    /// [`Action::MisleadNames`].
    MisleadNames,
    /// [`Action::Oom`].
    OomProcess,
    /// [`Action::Pause`].
    PauseProcess,
    /// [`Action::Press`] on the processor.
    PressCpu,
    /// [`Action::Press`] on file descriptors.
    PressFds,
    /// [`Action::Press`] on the disk's bandwidth.
    PressIo,
    /// [`Action::Press`] on memory.
    PressMemory,
    /// [`Action::Press`] on process numbers.
    PressPids,
    /// [`Action::ShiftClock`].
    ShiftClock,
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::CutLinks => "cut-links",
            Self::FreezeDisk => "freeze-disk",
            Self::HarmDisk => "harm-disk",
            Self::ImpairLinks => "impair-links",
            Self::KillProcess => "kill-process",
            Self::LosePower => "lose-power",
            Self::MisleadNames => "mislead-names",
            Self::OomProcess => "oom-process",
            Self::PauseProcess => "pause-process",
            Self::PressCpu => "press-cpu",
            Self::PressFds => "press-fds",
            Self::PressIo => "press-io",
            Self::PressMemory => "press-memory",
            Self::PressPids => "press-pids",
            Self::ShiftClock => "shift-clock",
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
    /// State that was read and is to be restored, by what it is of (`rlimit 123 nofile`).
    #[serde(default)]
    pub saved: BTreeMap<String, String>,
}

impl Undo {
    /// The undo of an action that needs nothing but its tag; `prepare` adds the rest.
    pub fn new(tag: impl Into<String>, action: Action) -> Self {
        Self {
            tag: tag.into(),
            action,
            creates: Vec::new(),
            processes: Vec::new(),
            restarts: Vec::new(),
            saved: BTreeMap::new(),
        }
    }
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
