//! What the harness and the lab's init say to each other. Both are the same binary, so there is no versioning.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use firedrill_core::cluster::NodeName;
use firedrill_core::system::Unit;
use firedrill_sys::accounts::Account;
use serde::{Deserialize, Serialize};

use super::clocks::Clocks;
use super::groups::Limits;

/// Where in the lab's own mount namespace init keeps what people and the agent look for.
pub(crate) const LAB_RUN: &str = "/run/firedrill";
/// Where the network namespaces have names, in the lab's own mount namespace.
pub(crate) const NAMESPACES: &str = "/run/firedrill/ns";
/// The socket at which a process of the lab may ask init to start a node's units again.
pub(crate) const STARTER: &str = "/run/firedrill/init.sock";
/// The socket at which the harness of a run knocks that is to use a lab which lives on without one.
pub(crate) const DOOR: &str = "/run/firedrill/door.sock";
/// Where the agent keeps its journal, a folder of the host's shown there.
pub(crate) const JOURNALS: &str = "/run/firedrill/journals";
/// The folder of the agent's journals, in the lab's folder.
pub(crate) const JOURNAL_FOLDER: &str = "journals";
/// Where in the lab's own mount namespace every node has a folder that its own mount namespace shows at [`LAB_RUN`]:
/// what is mounted or unmounted in the one is in the other.
pub(crate) const NODES: &str = "/run/firedrill/nodes";
/// Where the images of volumes are found, by the node's name.
pub(crate) const IMAGES: &str = "/run/firedrill/images";
/// Where the disks are that serve homes: by the node's name, what each passes through to, and its socket.
pub(crate) const DISKS: &str = "/run/firedrill/disks";
/// The socket at which the agent asks the nodes' name server to mislead.
pub(crate) const NAME_SERVER: &str = "/run/firedrill/names.sock";
/// Name of the clients' network namespace, and of its link at the switch after a `v`.
pub(crate) const CLIENTS: &str = "clients";
/// Name of the observers' network namespace.
pub(crate) const CONTROL: &str = "control";
/// The clients' address.
pub(crate) const CLIENTS_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 201);
/// The observers' address.
pub(crate) const CONTROL_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 202);
/// The file in the lab's folder with the [`LabConfig`].
pub(crate) const CONFIG_FILE: &str = "config.json";

/// Everything the holder and init must know, in a file of the lab's folder.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct LabConfig {
    /// Where logs go: `<logs>/<node>/<unit>.log`.
    pub(crate) logs: PathBuf,
    /// The folder of the agent's journals.
    pub(crate) journals: PathBuf,
    /// The nodes.
    pub(crate) nodes: Vec<NodeConfig>,
    /// What runs.
    pub(crate) units: Vec<Unit>,
    /// The users that units run as; `None` when the lab has one user only, namely whoever started it.
    pub(crate) accounts: Option<BTreeMap<String, Account>>,
    /// What the nodes' control groups are limited to.
    pub(crate) limits: Limits,
    /// The clocks that can be changed, if any.
    pub(crate) clocks: Option<Clocks>,
    /// The file system of volumes, if one is asked for.
    #[serde(default)]
    pub(crate) volume: Option<String>,
    /// Effective user and group of whoever started it.
    pub(crate) owner: (u32, u32),
    /// How homes are served by disks that can be harmed, if they are.
    pub(crate) disk: Option<DiskConfig>,
    /// The agent's program, which is also the name server's, if the nodes have names.
    pub(crate) names: Option<PathBuf>,
}

/// How homes are served by disks that can be harmed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct DiskConfig {
    /// The agent's program, which is also the disk's.
    pub(crate) program: PathBuf,
    /// What may be harmed, as in `DiskTarget`; `None` is everything.
    pub(crate) targets: BTreeSet<Option<String>>,
    /// Whether they can lose their power.
    pub(crate) power: bool,
}

/// A node of the lab.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct NodeConfig {
    /// Its name.
    pub(crate) name: NodeName,
    /// Its address.
    pub(crate) address: Ipv4Addr,
    /// Its folder on the host, shown to its units as their home.
    pub(crate) home: PathBuf,
    /// Where its volume's image is to be, on the host, if its home is to be on a volume of its own.
    pub(crate) image: Option<PathBuf>,
    /// Its control groups.
    pub(crate) cgroups: Vec<PathBuf>,
}

/// Asked by the harness.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// A TCP socket in the network namespace of that name.
    Socket { namespace: String },
    /// Start the agent; its standard streams come along.
    Agent { argv: Vec<String>, env: BTreeMap<String, String> },
    /// Start every unit that does not run.
    StartUnits,
    /// Ask the units of that name to end, on all nodes; their ends are no incidents.
    EndUnits { unit: String },
    /// How many processes run.
    Count,
    /// Live on when the harness ends.
    Detach,
    /// End the lab.
    Stop,
}

/// A question and the number its answer will bear.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) ask: Ask,
}

/// What init says to the harness.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Tell {
    /// The network and the nodes are there; nothing runs yet.
    Ready,
    /// They could not be made; init ends.
    Failed { what: String },
    /// Whoever knocked cannot enter; `ends` when that will change by itself.
    Occupied { what: String, ends: bool },
    /// Done; descriptors come along.
    Done { id: u64, count: Count },
    /// Not done.
    Refused { id: u64, why: String },
    /// A unit ended without having been asked to.
    UnitExited { node: NodeName, unit: String, status: String },
    /// The agent ended.
    AgentExited { status: String },
    /// The disk that served a node's home ended.
    DiskExited { node: NodeName, status: String },
    /// The nodes' name server ended.
    NamesExited { status: String },
}

/// Processes of the lab.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Count {
    /// Main processes of units.
    pub(crate) units: usize,
    /// All but init, the agent and what the agent started.
    pub(crate) processes: usize,
    /// The agent, and who heals after one.
    pub(crate) agents: usize,
}
