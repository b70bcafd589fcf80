//! What the agent and its owner say to each other: one JSON object a line, requests on the agent's standard input,
//! answers and notices on its standard output. Times are nanoseconds of `CLOCK_BOOTTIME`, which the agent's deadlines run on.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use firedrill_core::action::{Action, Effect, Undo};
use firedrill_core::cluster::NodeName;
use firedrill_core::platform::Inventory;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Version of the protocol. Both sides must have the same.
pub const VERSION: u32 = 1;

/// What every tag of firedrill begins with, whatever the run.
pub const TAG: &str = "fd-";

/// The longest line either side accepts, in bytes.
pub const MAX_LINE: usize = 1 << 20;

/// A request; the agent answers each exactly once, with its id, not always in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Chosen by the owner, unique among requests without an answer.
    pub id: u64,
    /// What is asked.
    pub ask: Ask,
}

/// What can be asked. Anything but [`Ask::Hello`] and [`Ask::Ping`] is refused before a hello.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// Begins. Said once.
    Hello {
        /// [`VERSION`] of the owner.
        version: u32,
        /// Where the agent is.
        config: Config,
    },
    /// Asks the time. Renews the lease, as every request does.
    Ping,
    /// Renews the lease.
    Renew,
    /// Reads what undoing the action takes. Changes nothing.
    Prepare {
        /// The tag of the action, [`Config::tag_prefix`] and a number.
        tag: String,
        /// The action.
        action: Action,
    },
    /// Performs an action. If it fails half-way it is reverted before the answer.
    Apply {
        /// As answered to [`Ask::Prepare`].
        undo: Undo,
        /// How long to hold it at most, in nanoseconds; the agent reverts it then by itself.
        hold_nanos: Option<u64>,
    },
    /// Undoes an action; fine if never, half or already done.
    Revert {
        /// As answered to [`Ask::Prepare`].
        undo: Undo,
    },
    /// Looks for the effect of an action.
    Probe {
        /// As answered to [`Ask::Prepare`].
        undo: Undo,
    },
    /// Lists what a fault could leave behind.
    Inventory,
    /// Ends: everything is reverted, then answered, then the agent exits.
    Bye,
}

/// Where the agent is and whom it serves.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the tags of this run begin with: `fd-<run>-`.
    pub tag_prefix: String,
    /// How long the agent holds actions without hearing from its owner, in nanoseconds; not 0.
    pub lease_nanos: u64,
    /// The nodes.
    pub nodes: Vec<NodeSite>,
    /// Where the clients are, if they can be cut.
    pub clients: Option<Site>,
    /// Unix stream socket of whoever starts the nodes' units. Asked `ensure <node>\n` or `stop <node>\n`
    /// (last started first), answers `ok\n` or `error <why>\n`.
    /// Told `down <node>\n`, answers likewise, and starts the node's units by itself when the connection ends, unless it was
    /// told `forget\n` before, or another connection says that the node is down.
    pub starter: Option<PathBuf>,
    /// Unix stream socket of the nodes' name server, if there is one that can mislead.
    #[serde(default)]
    pub resolver: Option<PathBuf>,
    /// Folder of the agent's own journal; without one nothing outlives an agent that dies together with its guard.
    #[serde(default)]
    pub journal: Option<PathBuf>,
}

/// A node and where it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSite {
    /// The node.
    pub name: NodeName,
    /// Where it is.
    pub site: Site,
    /// What else of it faults can reach.
    #[serde(default)]
    pub ground: Ground,
}

/// What of a node beside its network and processes faults can reach. Paths are as the agent sees them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ground {
    /// A file that is its mount namespace, if it has one of its own.
    pub mounts: Option<PathBuf>,
    /// Its home directory: everything its servers write is below it.
    pub home: Option<PathBuf>,
    /// The control groups its processes are in, one for each hierarchy.
    pub cgroups: Vec<PathBuf>,
    /// Unix stream socket of the disk that serves its home to its servers, if one that can harm does; then
    /// [`Ground::home`] is what it passes through to.
    pub disk: Option<PathBuf>,
    /// Where that disk is mounted.
    #[serde(default)]
    pub served: Option<PathBuf>,
    /// The folder with a folder for each process whose clock can be changed, if there are any.
    pub clock: Option<PathBuf>,
    /// The image of the volume that is mounted at its home, if it can lose its power.
    pub device: Option<PathBuf>,
}

/// Where a node is, or the clients are, in the network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// A file that is the network namespace (an nsfs mount or `/proc/PID/ns/net`).
    pub netns: PathBuf,
    /// Name of its link at the switch, in the agent's network namespace, where there is a switch.
    pub link: String,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Where its packets are taken.
    #[serde(default)]
    pub reach: Reach,
}

/// Where the packets of a node, or of the clients, are taken out of the kernel's way.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// At its link of the switch.
    #[default]
    Switch,
    /// At its own end: by this interface, in its own network namespace.
    OwnEnd(String),
    /// Only at the other end of each link.
    OtherEnd,
}

/// A line from the agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// The answer to a request.
    Answer {
        /// Id of the request; 0 if the line it was in could not be read so far.
        id: u64,
        /// The answer.
        answer: Answer,
    },
    /// Something the agent did by itself.
    Notice(Notice),
}

/// Answers, in the order of [`Ask`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The agent is ready.
    Hello {
        /// [`VERSION`] of the agent.
        version: u32,
        /// What cuts will be made with, in words.
        cut_by: String,
    },
    /// The time.
    Pong {
        /// Nanoseconds of `CLOCK_BOOTTIME`.
        boottime: u64,
    },
    /// The lease runs anew.
    Renewed {
        /// Nanoseconds of `CLOCK_BOOTTIME`.
        boottime: u64,
    },
    /// What undoing the action takes.
    Prepared(Undo),
    /// The action is in force.
    Applied {
        /// Since when.
        from: u64,
    },
    /// The action is undone.
    Reverted {
        /// When it was in force; `None` if never, as far as this agent knows.
        held: Option<Held>,
        /// Who undid it.
        by: By,
    },
    /// What a probe found.
    Probed(Effect),
    /// What a fault could leave behind.
    Inventory(Inventory),
    /// Everything is reverted.
    Bye,
    /// It was not done.
    Refused(Refusal),
}

/// An interval by the agent's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Held {
    /// Read after the action took effect.
    pub from: u64,
    /// Read before it was undone.
    pub to: u64,
}

/// Who undid an action.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// A [`Ask::Revert`] or [`Ask::Bye`].
    Asked,
    /// The agent, because the hold had passed.
    Deadline,
    /// The agent, because its owner was not heard for the lease.
    Lease,
    /// The agent, because its standard input ended.
    StdinClosed,
    /// Nobody: what held it in force ended by itself.
    Lost,
    /// The agent, because it was told to end by a signal.
    Signal,
    /// The agent, because it has lost its guard and cannot start another.
    Unguarded,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Asked => "asked",
            Self::Deadline => "deadline",
            Self::Lease => "lease",
            Self::StdinClosed => "stdin closed",
            Self::Lost => "nobody: what held it ended",
            Self::Signal => "signal",
            Self::Unguarded => "unguarded",
        })
    }
}

/// Why something was not done.
#[derive(Clone, PartialEq, Eq, Debug, Error, Serialize, Deserialize)]
#[error("{what}")]
pub struct Refusal {
    /// Of what sort.
    pub kind: RefusalKind,
    /// In words, lower case.
    pub what: String,
    /// What the operating system said: an error number.
    pub errno: Option<i32>,
}

impl Refusal {
    /// A refusal that the operating system has no part in.
    pub fn new(kind: RefusalKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), errno: None }
    }

    /// What the operating system refused. Errors without a number are put into words.
    pub fn system(what: impl Into<String>, error: &io::Error) -> Self {
        let (what, errno) = (what.into(), error.raw_os_error());
        let what = if errno.is_some() { what } else { format!("{what}: {error}") };
        Self { kind: RefusalKind::System, what, errno }
    }
}

/// The sorts of refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The other side speaks another version.
    Version,
    /// The line is not a request.
    Malformed,
    /// The request makes no sense now.
    Order,
    /// There is nothing to act on.
    NoTarget,
    /// This place does not have what it takes.
    NotOffered,
    /// The operating system, or whoever starts units, refused.
    System,
}

/// Something the agent did by itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// An action was undone without being asked.
    Reverted {
        /// Its tag.
        tag: String,
        /// Why.
        by: By,
        /// When it was in force.
        held: Held,
        /// What went wrong with the undoing, if anything; a later [`Ask::Revert`] tries again.
        failure: Option<String>,
    },
}
